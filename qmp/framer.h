/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * framer.h - cuts a byte stream into single JSON objects, for any chunking, with limits on the way.
 *
 * Feed bytes; take messages until there is none. A message is either one complete object's bytes
 * (not yet parsed) or one error. After an error the framer is in step again at the next 0xff byte,
 * or at the next line end; the whole broken line costs one error, not one per byte. Time is linear
 * in the bytes fed, whatever they are.
 */
#pragma once

#include <glib.h>

#include "../common/json.h"

typedef struct Framer Framer;

Framer *framer_new(const JsonLimits *limits);
void framer_free(Framer *f);

typedef enum {
    FRAMER_MORE,    /* nothing complete: feed more */
    FRAMER_MESSAGE, /* *TEXT, *LEN: one object; valid until the next framer call */
    FRAMER_ERROR,   /* *ERROR set: one broken piece was skipped */
} FramerResult;

void framer_feed(Framer *f, const char *data, gsize len);
FramerResult framer_take(Framer *f, const char **text, gsize *len, GError **error);
gsize framer_pending(const Framer *f); /* bytes held: charged to the session */
/* How many bytes of the stream lie before the end of what framer_take() returned last: tells which
 * file descriptors came with which message. */
guint64 framer_position(const Framer *f);

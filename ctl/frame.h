/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

/* Bytes in, as they come; whole JSON objects out. It neither reads nor blocks. */
typedef struct Frame Frame;

Frame *frame_new(void);
void frame_free(Frame *frame);
void frame_feed(Frame *frame, const char *bytes, gsize length);
char *frame_take(Frame *frame, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Frame, frame_free)

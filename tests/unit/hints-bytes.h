/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hints-bytes.h - compat-hints files taken apart by hand, for tests and fuzzers: what the layout in daemon/hints-file.h says, written down a
 * second time, so that a change of one of the two shows.
 */
#pragma once

#include <glib.h>
#include <string.h>

#include "../../common/util.h"

#define HB_HEADER 72
#define HB_ENTRY 112
#define HB_DIGEST 32
/* In the header, and in an entry of the table. */
enum { HB_VERSION = 8, HB_OLDEST = 10, HB_SECTIONS = 12, HB_LENGTH = 16, HB_PRODUCER = 24 };
enum { HB_NAME = 0, HB_TYPE = 24, HB_OFFSET = 64, HB_SIZE = 72, HB_SUM = 80 };

static inline void hb_digest(const guint8 *data, gsize len, guint8 *to)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    gsize n = HB_DIGEST;

    g_checksum_update(sum, data, (gssize)len);
    g_checksum_get_digest(sum, to, &n);
}

static inline guint8 *hb_entry(guint8 *data, guint i)
{
    return data + HB_HEADER + HB_ENTRY * i;
}

/* Length and checksums become right, as far as there is room for them: what is wrong besides has to be found by what it is. */
static inline void hb_seal(guint8 *data, gsize len)
{
    if (len < HB_HEADER + HB_DIGEST)
        return;
    le64_put(data + HB_LENGTH, len);
    guint n = MIN(le32_get(data + HB_SECTIONS), 64);
    for (guint i = 0; i < n && HB_HEADER + (gsize)HB_ENTRY * (i + 1) <= len - HB_DIGEST; i++) {
        guint64 at = le64_get(hb_entry(data, i) + HB_OFFSET), size = le64_get(hb_entry(data, i) + HB_SIZE);
        if (at <= len && size <= len - at)
            hb_digest(data + at, size, hb_entry(data, i) + HB_SUM);
    }
    hb_digest(data, len - HB_DIGEST, data + len - HB_DIGEST);
}

/* A copy of BYTES that may be written. */
static inline guint8 *hb_copy(GBytes *bytes, gsize *len)
{
    gconstpointer data = g_bytes_get_data(bytes, len);

    return g_memdup2(data, *len);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * util.h - the few helpers that glib lacks: little-endian access to unaligned bytes, checked
 * ranges and a file descriptor that closes itself.
 */
#pragma once

#include <glib.h>
#include <string.h>
#include <unistd.h>

/* ---- little-endian access; the address need not be aligned ---- */

static inline guint16 le16_get(const void *p)
{
    guint16 v;
    memcpy(&v, p, sizeof v);
    return GUINT16_FROM_LE(v);
}

static inline guint32 le32_get(const void *p)
{
    guint32 v;
    memcpy(&v, p, sizeof v);
    return GUINT32_FROM_LE(v);
}

static inline guint64 le64_get(const void *p)
{
    guint64 v;
    memcpy(&v, p, sizeof v);
    return GUINT64_FROM_LE(v);
}

static inline void le16_put(void *p, guint16 v)
{
    v = GUINT16_TO_LE(v);
    memcpy(p, &v, sizeof v);
}

static inline void le32_put(void *p, guint32 v)
{
    v = GUINT32_TO_LE(v);
    memcpy(p, &v, sizeof v);
}

static inline void le64_put(void *p, guint64 v)
{
    v = GUINT64_TO_LE(v);
    memcpy(p, &v, sizeof v);
}

/* The low SIZE (1, 2, 4 or 8) bytes at P as a little-endian number. */
static inline guint64 le_get(const void *p, unsigned size)
{
    guint64 v = 0;
    memcpy(&v, p, size);
    return GUINT64_FROM_LE(v);
}

static inline void le_put(void *p, unsigned size, guint64 v)
{
    v = GUINT64_TO_LE(v);
    memcpy(p, &v, size);
}

/* All ones in the low SIZE bytes: what an unclaimed read answers. */
static inline guint64 ones(unsigned size)
{
    return size >= 8 ? G_MAXUINT64 : (G_GUINT64_CONSTANT(1) << (size * 8)) - 1;
}

/* TRUE if [off, off + len) lies within [0, size), without overflow. */
static inline gboolean range_within(guint64 off, guint64 len, guint64 size)
{
    return off <= size && len <= size - off;
}

/* ---- a file descriptor that closes itself (glib has g_autofd only from 2.76) ---- */

typedef int AutoFd;

static inline void auto_fd_close(AutoFd fd)
{
    if (fd >= 0)
        close(fd);
}
G_DEFINE_AUTO_CLEANUP_FREE_FUNC(AutoFd, auto_fd_close, -1)

/* Takes the descriptor out of an AutoFd variable: g_auto (AutoFd) fd = ...; return fd_steal(&fd); */
static inline int fd_steal(int *fd)
{
    int v = *fd;
    *fd = -1;
    return v;
}

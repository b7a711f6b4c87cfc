/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * block-rig.h - a block queue on an I/O thread of its own, used from the test's thread: requests are
 * collected, handed over in one batch and waited for.
 */
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include "../../devices/backend/block.h"
#include "../../devices/backend/iothread.h"
#include "core-rig.h"

typedef struct {
    Rig        *rig;
    char       *tmp, *path;
    Device     *node;
    IoThread   *thread;
    BlockQueue *q;
    guint       batches; /* queue's thread */
    GMutex      lock;
    GCond       changed;
    guint       pending; /* lock */
    guint       threads; /* before its own */
} Disk;

typedef struct {
    BlockReq     req;
    struct iovec iov;
    int          error; /* -1: not done */
} Io;

static inline void disk_done(BlockReq *req, int error)
{
    Disk *d = req->user;
    Io *io = (Io *)req;

    g_assert_cmpint(io->error, ==, -1);
    io->error = error;
    g_mutex_lock(&d->lock);
    d->pending--;
    g_cond_signal(&d->changed);
    g_mutex_unlock(&d->lock);
}

static inline void disk_batch(gpointer user)
{
    ((Disk *)user)->batches++;
}

/* An empty place with a file of SIZE bytes, byte N being N / 512 + N. */
static inline Disk *disk_new(gsize size)
{
    Disk *d = g_new0(Disk, 1);
    g_autofree guint8 *data = g_malloc(MAX(size, 1));

    d->rig = rig_new();
    d->threads = rig_count_threads();
    d->tmp = rig_tmp_new();
    d->path = g_build_filename(d->tmp, "disk", NULL);
    d->thread = iothread_new("IO test", NULL);
    g_assert_nonnull(d->thread);
    for (gsize i = 0; i < size; i++)
        data[i] = (guint8)(i / 512 + i);
    g_assert_true(g_file_set_contents(d->path, (const char *)data, (gssize)size, NULL));
    return d;
}

static inline void disk_close(Disk *d)
{
    g_clear_pointer(&d->q, block_queue_free);
    if (d->node)
        rig_remove(g_steal_pointer(&d->node));
}

static inline void disk_free(Disk *d)
{
    disk_close(d);
    iothread_free(d->thread);
    for (guint i = 0; i < 500 && rig_count_threads() > d->threads; i++)
        g_usleep(10000); /* who was joined is seen for a little longer, and io_uring's workers end when they like */
    rig_free(d->rig);
    rig_tmp_remove(d->tmp);
    g_free(d->path);
    g_free(d);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Disk, disk_free)

static inline void disk_attach(Disk *d, Device *node, guint depth)
{
    d->q = block_queue_new(node, d->thread, depth, NULL);
    g_assert_nonnull(d->q);
    block_queue_on_batch(d->q, disk_batch, d);
}

/* Opens the file as node "n" with MORE properties, and a queue on it. */
static inline void disk_open(Disk *d, const char *more, guint depth)
{
    d->node = rig_plug(d->rig, "{\"qom-type\":\"blockdev-file\",\"id\":\"n\",\"filename\":\"%s\"%s}", d->path, more);
    disk_attach(d, d->node, depth);
}

typedef struct {
    Disk *d;
    Io   *ios;
    guint n;
} Batch;

static inline void disk_submit_all(gpointer user)
{
    Batch *b = user;

    for (guint i = 0; i < b->n; i++)
        block_submit(b->d->q, &b->ios[i].req);
    block_kick(b->d->q);
}

static inline void disk_start(Disk *d, Io *ios, guint n)
{
    Batch b = { d, ios, n };

    for (guint i = 0; i < n; i++) {
        ios[i].error = -1;
        ios[i].req.done = disk_done;
        ios[i].req.user = d;
    }
    g_mutex_lock(&d->lock);
    d->pending += n;
    g_mutex_unlock(&d->lock);
    iothread_call(d->thread, disk_submit_all, &b);
}

static inline void disk_wait(Disk *d)
{
    gint64 end = g_get_monotonic_time() + 20 * G_TIME_SPAN_SECOND;

    g_mutex_lock(&d->lock);
    while (d->pending)
        g_assert_true(g_cond_wait_until(&d->changed, &d->lock, end));
    g_mutex_unlock(&d->lock);
}

static inline Io io_make(BlockOp op, guint64 offset, void *buf, gsize len)
{
    return (Io){ .req = { .op = (guint8)op, .offset = offset, .bytes = len }, .iov = { buf, len } };
}

/* One request; 0 or the errno. */
static inline int disk_do_flags(Disk *d, BlockOp op, guint8 flags, guint64 offset, void *buf, gsize len)
{
    Io io = io_make(op, offset, buf, len);

    io.req.flags = flags;
    io.req.iov = buf ? &io.iov : NULL;
    io.req.n_iov = buf ? 1 : 0;
    disk_start(d, &io, 1);
    disk_wait(d);
    return io.error;
}

static inline int disk_do(Disk *d, BlockOp op, guint64 offset, void *buf, gsize len)
{
    return disk_do_flags(d, op, 0, offset, buf, len);
}

/* What the host sees. */
static inline void disk_host_read(Disk *d, guint64 offset, void *buf, gsize len)
{
    g_auto(AutoFd) fd = open(d->path, O_RDONLY | O_CLOEXEC);

    g_assert_cmpint(pread(fd, buf, len, (off_t)offset), ==, (gssize)len);
}

static inline struct stat disk_stat(Disk *d)
{
    struct stat st;

    g_assert_cmpint(stat(d->path, &st), ==, 0);
    return st;
}

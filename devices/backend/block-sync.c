/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * block-sync.c - one request by plain system calls: what the threads of a pool run, and with that
 * everything that io_uring leaves behind: short transfers, unaligned O_DIRECT, discards, zeroes.
 *
 * The hard part is O_DIRECT with requests that are not aligned. They go through a bounce buffer,
 * window by window; a window that a write does not cover whole is read, changed and written back.
 * Two such cycles on one leaf exclude each other (BlockNode.rmw). They do not exclude an aligned
 * write that overlaps them, which a guest can only ask for by writing the same sectors twice at
 * once. A device with 512 byte sectors on a file that wants 4096 works, slowly.
 *
 * A file may end within a window or within its last sector: what is missing reads as zeroes, and
 * a window written back beyond the end is cut off again, so that the size stays what it was.
 */
#include "block-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#define WINDOW (1u << 20)

/* ---- vectors ---- */

guint block_iov_skip(struct iovec **v, guint n, gsize skip)
{
    while (n && skip >= (*v)->iov_len) {
        skip -= (*v)->iov_len;
        (*v)++;
        n--;
    }
    if (n && skip) {
        (*v)->iov_base = (guint8 *)(*v)->iov_base + skip;
        (*v)->iov_len -= skip;
    }
    return n;
}

/* Between LEN bytes at BUF and the vector from its byte FROM on; BUF NULL: zeroes. */
static void iov_copy(const struct iovec *iov, guint n, gsize from, guint8 *buf, gsize len, gboolean to_iov)
{
    for (; n && len; iov++, n--) {
        if (from >= iov->iov_len) {
            from -= iov->iov_len;
            continue;
        }
        gsize part = MIN(iov->iov_len - from, len);
        guint8 *at = (guint8 *)iov->iov_base + from;
        if (!buf)
            memset(at, 0, part);
        else if (to_iov)
            memcpy(at, buf, part);
        else
            memcpy(buf, at, part);
        buf = buf ? buf + part : NULL;
        len -= part;
        from = 0;
    }
}

void block_iov_zero(const struct iovec *iov, guint n, gsize from)
{
    iov_copy(iov, n, from, NULL, G_MAXSIZE, TRUE);
}

gboolean block_range_aligned(const BlockTarget *t, const BlockReq *req)
{
    return ((t->base + req->offset) | req->bytes) % t->leaf->limits.align == 0;
}

gboolean block_iov_aligned(const BlockTarget *t, const BlockReq *req)
{
    gsize bits = 0;

    for (guint i = 0; i < req->n_iov; i++)
        bits |= (gsize)req->iov[i].iov_base | req->iov[i].iov_len;
    return bits % t->leaf->limits.mem_align == 0;
}

/* ---- reading and writing ---- */

static int rw_flags(const BlockReq *req)
{
    return req->flags & BLOCK_FUA ? RWF_DSYNC : 0;
}

/* All BYTES of the vector; what lies behind the end of the file reads as zeroes. */
static int transfer(int fd, gboolean write, const struct iovec *iov, guint n, guint64 bytes, guint64 offset, int flags)
{
    g_autofree struct iovec *copy = NULL;
    struct iovec *v = (struct iovec *)iov;

    for (;;) {
        int count = (int)MIN(n, IOV_MAX);
        ssize_t got = write ? pwritev2(fd, v, count, (off_t)offset, flags) : preadv(fd, v, count, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno;
        if (got == 0 && write)
            return EIO;
        if (got == 0)
            block_iov_zero(v, n, 0);
        if (got == 0 || (guint64)got >= bytes)
            return 0;
        bytes -= (guint64)got;
        offset += (guint64)got;
        if (!copy)
            v = copy = g_memdup2(v, n * sizeof *v);
        n = block_iov_skip(&v, n, (gsize)got);
    }
}

static int transfer_buffer(int fd, gboolean write, void *buf, gsize len, guint64 offset, int flags)
{
    const struct iovec iov = { buf, len };

    return transfer(fd, write, &iov, 1, len, offset, flags);
}

gpointer block_aligned_alloc(const BlockTarget *t, gsize size)
{
    void *p = NULL;
    gsize align = MAX(t->leaf->limits.mem_align, sizeof(void *));

    return posix_memalign(&p, align, size) == 0 ? p : NULL;
}

/* ---- unaligned with O_DIRECT ---- */

/* Bytes FROM to TO of the leaf, which lie in the window of LEN bytes at START. */
typedef struct {
    guint64 start, from, to;
    gsize   len;
    guint8 *buf;
} Window;

static int window_read(const BlockTarget *t, const BlockReq *req, const Window *w)
{
    int err = transfer_buffer(t->fd, FALSE, w->buf, w->len, w->start, 0);

    if (!err)
        iov_copy(req->iov, req->n_iov, (gsize)(w->from - t->base - req->offset), w->buf + (w->from - w->start),
                 (gsize)(w->to - w->from), TRUE);
    return err;
}

static int window_write(const BlockTarget *t, const BlockReq *req, const Window *w)
{
    gboolean whole = w->from == w->start && w->to == w->start + w->len;
    struct stat st;
    int err = 0;
    LOCK_SCOPE(whole ? NULL : &t->leaf->rmw);

    if (!whole && fstat(t->fd, &st) < 0)
        return errno;
    if (!whole)
        err = transfer_buffer(t->fd, FALSE, w->buf, w->len, w->start, 0);
    if (err)
        return err;
    iov_copy(req->iov, req->n_iov, (gsize)(w->from - t->base - req->offset), w->buf + (w->from - w->start),
             (gsize)(w->to - w->from), FALSE);
    err = transfer_buffer(t->fd, TRUE, w->buf, w->len, w->start, rw_flags(req));
    if (!err && !whole && S_ISREG(st.st_mode) && w->start + w->len > MAX((guint64)st.st_size, w->to) &&
        ftruncate(t->fd, MAX(st.st_size, (off_t)w->to)) < 0)
        err = errno;
    return err;
}

static int bounced(const BlockTarget *t, const BlockReq *req)
{
    guint64 align = t->leaf->limits.align, end = t->base + req->offset + req->bytes;
    Window w = { .from = t->base + req->offset };
    int err = 0;

    w.buf = block_aligned_alloc(t, WINDOW);
    if (!w.buf)
        return ENOMEM;
    for (; !err && w.from < end; w.from = w.to) {
        w.start = w.from - w.from % align;
        w.to = MIN(end, w.start + WINDOW);
        w.len = (gsize)((w.to - w.start + align - 1) / align * align);
        err = req->op == BLOCK_WRITE ? window_write(t, req, &w) : window_read(t, req, &w);
    }
    free(w.buf);
    return err;
}

static int read_write(const BlockTarget *t, const BlockReq *req)
{
    if (t->leaf->direct && !(block_range_aligned(t, req) && block_iov_aligned(t, req)))
        return bounced(t, req);
    return transfer(t->fd, req->op == BLOCK_WRITE, req->iov, req->n_iov, req->bytes, t->base + req->offset, rw_flags(req));
}

/* ---- discard and zeroes ---- */

static int allocate(const BlockTarget *t, const BlockReq *req, int mode)
{
    int r;

    do {
        r = fallocate(t->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)(t->base + req->offset), (off_t)req->bytes);
    } while (r < 0 && errno == EINTR);
    return r < 0 ? errno : 0;
}

/* Advice: where it can not be followed nothing happens. */
static int discard(const BlockTarget *t, const BlockReq *req)
{
    guint64 range[2] = { t->base + req->offset, req->bytes };
    int err;

    if (t->leaf->is_bdev)
        err = ioctl(t->fd, BLKDISCARD, range) < 0 ? errno : 0;
    else
        err = allocate(t, req, FALLOC_FL_PUNCH_HOLE);
    return err == EOPNOTSUPP || err == ENOTTY || err == EINVAL ? 0 : err;
}

static int write_zero_bytes(const BlockTarget *t, const BlockReq *req)
{
    guint8 *zeroes = block_aligned_alloc(t, WINDOW);
    int err = 0;

    if (!zeroes)
        return ENOMEM;
    memset(zeroes, 0, WINDOW);
    for (guint64 done = 0; !err && done < req->bytes; done += WINDOW) {
        struct iovec iov = { zeroes, (gsize)MIN(req->bytes - done, WINDOW) };
        const BlockReq part = { .op = BLOCK_WRITE, .flags = req->flags & BLOCK_FUA, .offset = req->offset + done,
                                .bytes = iov.iov_len, .iov = &iov, .n_iov = 1 };
        err = read_write(t, &part);
    }
    free(zeroes);
    return err;
}

static int write_zeroes(const BlockTarget *t, const BlockReq *req)
{
    int err = EOPNOTSUPP;

    if (req->bytes == 0)
        return 0;
    if (req->flags & BLOCK_UNMAP)
        err = allocate(t, req, FALLOC_FL_PUNCH_HOLE);
    if (err)
        err = allocate(t, req, FALLOC_FL_ZERO_RANGE);
    if (err == EOPNOTSUPP || err == EINVAL || err == ENOSYS)
        return write_zero_bytes(t, req);
    return !err && (req->flags & BLOCK_FUA) && fdatasync(t->fd) < 0 ? errno : err;
}

int block_sync(const BlockTarget *t, const BlockReq *req)
{
    switch (req->op) {
    case BLOCK_READ:
    case BLOCK_WRITE:
        return read_write(t, req);
    case BLOCK_FLUSH:
        return fdatasync(t->fd) < 0 ? errno : 0;
    case BLOCK_DISCARD:
        return req->bytes ? discard(t, req) : 0;
    case BLOCK_WRITE_ZEROES:
        return write_zeroes(t, req);
    }
    g_assert_not_reached();
}

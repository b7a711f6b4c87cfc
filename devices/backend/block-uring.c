/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * block-uring.c - a queue's io_uring: reads, writes and flushes without a thread.
 *
 * By system calls, not through liburing: what is needed of it is the three mappings and two index
 * pairs below. The ring is made on the queue's thread, which is its only issuer, so the kernel
 * needs no locks and no interrupts between processors (Linux 6.0; plain rings otherwise). Its
 * descriptor is readable when something completed, so the I/O thread's epoll needs no eventfd in
 * between. (With DEFER_TASKRUN it is not: nothing wakes a poller until somebody enters the kernel.)
 * The file is registered: no reference is counted per request. Buffers are not: that would pin the
 * guest's memory for good.
 *
 * What is found in the page cache is complete when io_uring_enter() returns, so block_uring_kick()
 * looks at once.
 *
 * Rings never refuse a request: at most DEPTH are in flight, and there are that many entries. What
 * the kernel does not take (EAGAIN), cuts short or interrupts goes to the queue's pool whole: doing
 * it again does no harm.
 */
#include "block-priv.h"

#include <errno.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#ifndef IORING_SETUP_COOP_TASKRUN /* Linux 5.19 and 6.0; older headers do not have them */
#define IORING_SETUP_COOP_TASKRUN (1u << 8)
#endif
#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1u << 12)
#endif

struct BlockUring {
    BlockQueue          *q;
    const BlockTarget   *target;
    int                  fd;
    gboolean             fixed_file;
    guint                depth, in_flight, to_submit;
    guint                sq_tail;
    guint               *sq_khead, *sq_ktail, *cq_khead, *cq_ktail;
    guint                sq_mask, cq_mask;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
    void                *ring;
    gsize                ring_size, sqes_size;
};

static int enter(const BlockUring *u, guint submit, guint wait, guint flags)
{
    return (int)syscall(SYS_io_uring_enter, u->fd, submit, wait, flags, NULL, 0);
}

/* ---- life cycle ---- */

static int setup(BlockUring *u, struct io_uring_params *p)
{
    *p = (struct io_uring_params){ .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN };
    u->fd = (int)syscall(SYS_io_uring_setup, u->depth, p);
    if (u->fd < 0 && errno == EINVAL) {
        *p = (struct io_uring_params){ .flags = 0 };
        u->fd = (int)syscall(SYS_io_uring_setup, u->depth, p);
    }
    if (u->fd < 0)
        return errno;
    /* SINGLE_MMAP: Linux 5.4. NODROP: 5.5. What has neither is served by threads. */
    return (p->features & IORING_FEAT_SINGLE_MMAP) && (p->features & IORING_FEAT_NODROP) ? 0 : ENOSYS;
}

static void *map(BlockUring *u, gsize size, guint64 what)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, u->fd, (off_t)what);

    return p == MAP_FAILED ? NULL : p;
}

static int map_rings(BlockUring *u, const struct io_uring_params *p)
{
    guint8 *ring;
    guint *array;

    u->ring_size = MAX(p->sq_off.array + p->sq_entries * sizeof(guint),
                       p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe));
    u->sqes_size = p->sq_entries * sizeof(struct io_uring_sqe);
    u->ring = ring = map(u, u->ring_size, IORING_OFF_SQ_RING);
    u->sqes = map(u, u->sqes_size, IORING_OFF_SQES);
    if (!u->ring || !u->sqes)
        return errno;
    u->sq_khead = (guint *)(ring + p->sq_off.head);
    u->sq_ktail = (guint *)(ring + p->sq_off.tail);
    u->cq_khead = (guint *)(ring + p->cq_off.head);
    u->cq_ktail = (guint *)(ring + p->cq_off.tail);
    u->sq_mask = *(guint *)(ring + p->sq_off.ring_mask);
    u->cq_mask = *(guint *)(ring + p->cq_off.ring_mask);
    u->cqes = (struct io_uring_cqe *)(ring + p->cq_off.cqes);
    array = (guint *)(ring + p->sq_off.array);
    for (guint i = 0; i < p->sq_entries; i++)
        array[i] = i;
    return 0;
}

BlockUring *block_uring_new(BlockQueue *q, const BlockTarget *t, guint depth, int *err)
{
    BlockUring *u = g_new0(BlockUring, 1);
    struct io_uring_params p;

    u->q = q;
    u->target = t;
    u->depth = depth;
    *err = setup(u, &p);
    if (!*err)
        *err = map_rings(u, &p);
    if (*err) {
        block_uring_free(u);
        return NULL;
    }
    u->fixed_file = syscall(SYS_io_uring_register, u->fd, IORING_REGISTER_FILES, &t->fd, 1) == 0;
    return u;
}

void block_uring_free(BlockUring *u)
{
    if (!u)
        return;
    g_assert(u->in_flight == 0);
    if (u->sqes)
        munmap(u->sqes, u->sqes_size);
    if (u->ring)
        munmap(u->ring, u->ring_size);
    auto_fd_close(u->fd);
    g_free(u);
}

int block_uring_fd(const BlockUring *u)
{
    return u->fd;
}

guint block_uring_room(const BlockUring *u)
{
    return u->depth - u->in_flight;
}

/* ---- submission ---- */

static void prepare(struct io_uring_sqe *sqe, const BlockTarget *t, const BlockReq *req)
{
    gboolean write = req->op == BLOCK_WRITE;

    if (req->op == BLOCK_FLUSH) {
        sqe->opcode = IORING_OP_FSYNC;
        sqe->fsync_flags = IORING_FSYNC_DATASYNC;
        return;
    }
    sqe->off = t->base + req->offset;
    if (write && (req->flags & BLOCK_FUA))
        sqe->rw_flags = RWF_DSYNC;
    if (req->n_iov == 1) {
        sqe->opcode = write ? IORING_OP_WRITE : IORING_OP_READ;
        sqe->addr = (guint64)(gsize)req->iov[0].iov_base;
        sqe->len = (guint32)req->iov[0].iov_len;
    } else {
        sqe->opcode = write ? IORING_OP_WRITEV : IORING_OP_READV;
        sqe->addr = (guint64)(gsize)req->iov;
        sqe->len = req->n_iov;
    }
}

gboolean block_uring_submit(BlockUring *u, BlockReq *req)
{
    struct io_uring_sqe *sqe = &u->sqes[u->sq_tail & u->sq_mask];

    if (u->in_flight >= u->depth)
        return FALSE;
    memset(sqe, 0, sizeof *sqe);
    prepare(sqe, u->target, req);
    sqe->fd = u->fixed_file ? 0 : u->target->fd;
    sqe->flags = u->fixed_file ? IOSQE_FIXED_FILE : 0;
    sqe->user_data = (guint64)(gsize)req;
    u->sq_tail++;
    u->to_submit++;
    u->in_flight++;
    return TRUE;
}

/* ---- completion ---- */

static void completed(BlockUring *u, BlockReq *req, int res)
{
    u->in_flight--;
    if (res == -EAGAIN || res == -EINTR || res == -ECANCELED)
        block_again(u->q, req);
    else if (res < 0)
        block_complete(u->q, req, -res);
    else if (req->op != BLOCK_FLUSH && (guint64)res < req->bytes)
        block_again(u->q, req);
    else
        block_complete(u->q, req, 0);
}

void block_uring_reap(BlockUring *u)
{
    guint head = *u->cq_khead;

    while (head != __atomic_load_n(u->cq_ktail, __ATOMIC_ACQUIRE)) {
        const struct io_uring_cqe *cqe = &u->cqes[head & u->cq_mask];
        BlockReq *req = (BlockReq *)(gsize)cqe->user_data;
        int res = cqe->res;

        __atomic_store_n(u->cq_khead, ++head, __ATOMIC_RELEASE);
        completed(u, req, res);
    }
}

/* The kernel does not take what is left in the ring. */
static void take_back(BlockUring *u)
{
    guint head = __atomic_load_n(u->sq_khead, __ATOMIC_ACQUIRE);

    for (guint i = head; i != u->sq_tail; i++) {
        u->in_flight--;
        block_again(u->q, (BlockReq *)(gsize)u->sqes[i & u->sq_mask].user_data);
    }
    u->sq_tail = head;
    __atomic_store_n(u->sq_ktail, head, __ATOMIC_RELEASE);
    u->to_submit = 0;
}

void block_uring_kick(BlockUring *u)
{
    if (!u->to_submit)
        return;
    __atomic_store_n(u->sq_ktail, u->sq_tail, __ATOMIC_RELEASE);
    while (u->to_submit) {
        int n = enter(u, u->to_submit, 0, 0);
        if (n > 0)
            u->to_submit -= (guint)n;
        else if (n == 0 || errno != EINTR)
            take_back(u);
    }
    block_uring_reap(u);
}

void block_uring_wait(BlockUring *u)
{
    if (u->in_flight)
        (void)enter(u, 0, 1, IORING_ENTER_GETEVENTS);
    block_uring_reap(u);
}

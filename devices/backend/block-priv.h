/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * block-priv.h - private to the block back ends.
 *
 *   block.c         nodes: users, sizes, statistics
 *   block-file.c    file, host_device: opening, limits, locks
 *   block-lock.c    locks against double use, compatible with QEMU's
 *   block-nodes.c   raw, null-co
 *   block-queue.c   queues: what is done at once, what by whom, completion
 *   block-uring.c   io_uring
 *   block-pool.c    threads for what io_uring does not do, or all of it
 *   block-sync.c    one request by system calls: what the threads run
 *
 * A stack of nodes ends in one descriptor and an offset, so requests do not travel through it: a
 * queue looks up its BlockTarget once.
 */
#pragma once

#include "block.h"

typedef struct BlockNode BlockNode;
typedef struct BlockUring BlockUring;
typedef struct BlockPool BlockPool;

typedef struct {
    Device             *dev;
    gboolean            write;
    const BlockUserOps *ops;
    gpointer            opaque;
} BlockUser;

/* Every node's instance begins with this. */
struct BlockNode {
    Device      dev;
    const char *driver;
    char       *filename;
    int         fd;         /* leaves; -1: none */
    guint64     size;       /* atomic */
    BlockNode  *child;      /* raw: the node below */
    guint64     base;       /* raw: where in it */
    gboolean    fixed_size; /* raw with a size of its own */
    gboolean    is_bdev, no_flush, threads, direct, read_zeroes, locked;
    BlockLimits limits;
    GArray     *users;      /* of BlockUser */
    GPtrArray  *queues;     /* of BlockQueue, under dev.lock */
    BlockCounts  past;       /* of queues that are gone, under dev.lock */
    GMutex      rmw;        /* leaves: one read-modify-write at a time */
    guint64     changes;    /* leaves: ends of what a flush is for; atomic */
    guint64     flushed;    /* leaves: that many of them are on stable storage for certain; atomic */
};

#define BLOCK_NEVER_FLUSHED G_MAXUINT64 /* what `changes` never is */

/* Where requests of a queue go. */
typedef struct {
    BlockNode *leaf;
    int        fd; /* -1: null-co */
    guint64    base;
} BlockTarget;

/* block.c */
void block_node_init(BlockNode *n, const char *driver);
void block_node_exit(BlockNode *n);
void block_node_set_size(BlockNode *n, guint64 size);
void block_node_target(BlockNode *n, BlockTarget *t);

/* block-lock.c */
gboolean block_lock(Device *dev, int fd, const char *path, gboolean write, gboolean wanted, GError **error);
void     block_unlock(int fd);

#define IOV_MAX_RING 1024u /* UIO_MAXIOV */

/* block-queue.c, on the queue's thread: the one way in which a request ends. ERROR positive. */
void block_complete(BlockQueue *q, BlockReq *req, int error);
/* The pool does it from the beginning. */
void block_again(BlockQueue *q, BlockReq *req);

/* block-uring.c. All on the queue's thread. */
BlockUring *block_uring_new(BlockQueue *q, const BlockTarget *t, guint depth, int *err);
void        block_uring_free(BlockUring *u);
int         block_uring_fd(const BlockUring *u);
/* FALSE: the ring is full. */
gboolean    block_uring_submit(BlockUring *u, BlockReq *req);
void        block_uring_kick(BlockUring *u);
void        block_uring_reap(BlockUring *u);
/* Sleeps until at least one request completed. */
void        block_uring_wait(BlockUring *u);
guint       block_uring_room(const BlockUring *u);

/* block-pool.c. */
BlockPool  *block_pool_new(BlockQueue *q, const BlockTarget *t, GError **error);
void        block_pool_free(BlockPool *p); /* nothing is in flight */
int         block_pool_fd(const BlockPool *p);
void        block_pool_submit(BlockPool *p, BlockReq *req);
void        block_pool_reap(BlockPool *p);   /* on the queue's thread */
BlockReq   *block_pool_cancel(BlockPool *p); /* what no thread has begun, as a list */

/* block-sync.c: the whole request; 0 or a positive errno. [any] */
int block_sync(const BlockTarget *t, const BlockReq *req);
/* Whether offset and length, and buffers, are as the leaf's O_DIRECT wants them. */
gboolean block_range_aligned(const BlockTarget *t, const BlockReq *req);
gboolean block_iov_aligned(const BlockTarget *t, const BlockReq *req);
/* Leaves out the first SKIP bytes of the N iovecs; returns how many are left, at V. */
guint block_iov_skip(struct iovec **v, guint n, gsize skip);
void  block_iov_zero(const struct iovec *iov, guint n, gsize from);
gpointer block_aligned_alloc(const BlockTarget *t, gsize size); /* free() */

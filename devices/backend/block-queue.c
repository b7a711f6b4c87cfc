/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * block-queue.c - one I/O thread's way to a node: which request is done at once, by the ring or by
 * the pool, and how each ends.
 *
 * All ends pass through block_complete(), which only puts the request on `ended`. finish() calls
 * DONE for those, then the owner's batch hook, and starts over while that brought new ends: so DONE
 * never runs within block_submit(), and never recurses. It is called at the end of block_kick() and
 * of each event.
 *
 * A flush when nothing was written since the last one that succeeded ends at once: the kernel would wait for the disk even so. What
 * counts is what ended before a flush was submitted, on any queue of the file: a driver can not expect more of a flush (virtio 1.2
 * section 5.2.6.2), and so `changes` grows before DONE is called. A node's first flush is always done: who knows what was before.
 *
 * A small write to the page cache that is alone is done by the thread itself: most file systems have no way to try one, so the ring would
 * hand it to a thread of the kernel's, which costs twice as much as the copy that it is. Where such a write has taken long (the host
 * slows down who makes pages dirty, or its storage hangs) the ring does them for a while.
 *
 * The queue bounds what a request can reach: nothing outside the node's size, which keeps a raw
 * node within its window even if its user is mistaken, and no write to a read-only node.
 */
#include "block-priv.h"

#include <errno.h>
#include <poll.h>
#include <time.h>

#define LONE_BYTES (16u << 10)
#define LONE_TOO_LONG G_GINT64_CONSTANT(1000000)      /* ns */
#define LONE_PAUSE G_GINT64_CONSTANT(1000000000)

struct BlockQueue {
    BlockNode  *node;
    IoThread   *thread;
    BlockTarget target;
    BlockUring *uring; /* NULL: all by the pool */
    BlockPool  *pool;  /* NULL: null-co */
    IoWatch    *uring_watch, *pool_watch;
    gboolean    no_flush, read_zeroes;
    guint       depth;
    /* ---- the queue's thread ---- */
    BlockReq  *ended, **ended_tail;
    BlockReq  *waiting, **waiting_tail; /* for room in the ring */
    BlockReq  *lone;      /* a small write that nobody has, the only request so far */
    gint64     lone_from; /* not before: the last one took long */
    guint      in_flight;
    gboolean   finishing;
    gint64     now; /* of this batch of submissions; 0: ask the clock */
    void (*batch)(gpointer user);
    gpointer   batch_user;
    BlockCounts stats; /* written by the queue's thread, read by any */
};

static gint64 clock_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * G_GINT64_CONSTANT(1000000000) + ts.tv_nsec;
}

static void append(BlockReq ***tail, BlockReq *req)
{
    req->next = NULL;
    **tail = req;
    *tail = &req->next;
}

static BlockReq *take(BlockReq **list, BlockReq ***tail)
{
    BlockReq *req = *list;

    *list = req->next;
    if (!*list)
        *tail = list;
    return req;
}

/* ---- ends ---- */

void block_complete(BlockQueue *q, BlockReq *req, int error)
{
    req->result = error;
    append(&q->ended_tail, req);
}

/* One writer each, so no read-modify-write instruction is needed. */
static void add(guint64 *counter, guint64 n)
{
    __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static void account(BlockQueue *q, const BlockReq *req, gint64 now)
{
    if (req->result) {
        add(&q->stats.failed[req->op], 1);
        return;
    }
    add(&q->stats.ops[req->op], 1);
    add(&q->stats.bytes[req->op], req->op == BLOCK_FLUSH ? 0 : req->bytes);
    add(&q->stats.time_ns[req->op], (guint64)MAX(now - req->since, 0));
}

/* Before anybody hears of its end. */
static void note_change(BlockQueue *q, const BlockReq *req)
{
    BlockNode *leaf = q->target.leaf;

    if (req->op == BLOCK_FLUSH && !req->result)
        __atomic_store_n(&leaf->flushed, req->covers, __ATOMIC_RELEASE);
    else if (req->op != BLOCK_READ && req->op != BLOCK_FLUSH)
        __atomic_add_fetch(&leaf->changes, 1, __ATOMIC_RELEASE);
}

/* Notes what the flush covers; TRUE: nothing, or nobody wants to know. */
static gboolean nothing_to_flush(const BlockQueue *q, BlockReq *req)
{
    const BlockNode *leaf = q->target.leaf;

    req->covers = BLOCK_NEVER_FLUSHED;
    if (q->no_flush || q->target.fd < 0)
        return TRUE;
    req->covers = __atomic_load_n(&leaf->changes, __ATOMIC_ACQUIRE);
    return req->covers == __atomic_load_n(&leaf->flushed, __ATOMIC_ACQUIRE);
}

static void finish(BlockQueue *q)
{
    if (q->finishing)
        return; /* whoever is at it looks again */
    q->finishing = TRUE;
    while (q->ended) {
        gint64 now = clock_ns();
        while (q->ended) {
            BlockReq *req = take(&q->ended, &q->ended_tail);
            account(q, req, now);
            note_change(q, req);
            q->in_flight--;
            req->done(req, req->result);
        }
        if (q->batch)
            q->batch(q->batch_user);
    }
    q->finishing = FALSE;
}

/* ---- ways ---- */

void block_again(BlockQueue *q, BlockReq *req)
{
    block_pool_submit(q->pool, req);
}

/* What needs no I/O at all: TRUE with the error by which it ends. */
static gboolean at_once(BlockQueue *q, BlockReq *req, int *error)
{
    const BlockLimits *limits = &q->node->limits;

    *error = 0;
    if (req->op == BLOCK_FLUSH)
        return nothing_to_flush(q, req);
    if (!range_within(req->offset, req->bytes, block_node_size(&q->node->dev)))
        *error = EIO;
    else if (req->op != BLOCK_READ && limits->read_only)
        *error = EROFS;
    if (*error || req->bytes == 0 || (req->op == BLOCK_DISCARD && !limits->discard))
        return TRUE;
    if (q->target.fd < 0 && req->op == BLOCK_READ && q->read_zeroes)
        block_iov_zero(req->iov, req->n_iov, 0);
    return q->target.fd < 0;
}

static gboolean fits_ring(const BlockQueue *q, const BlockReq *req)
{
    if (!q->uring || req->op > BLOCK_FLUSH)
        return FALSE;
    if (req->op == BLOCK_FLUSH || !q->target.leaf->direct)
        return req->n_iov <= IOV_MAX_RING && req->bytes <= G_MAXINT32;
    return req->n_iov <= IOV_MAX_RING && req->bytes <= G_MAXINT32 && block_range_aligned(&q->target, req) &&
           block_iov_aligned(&q->target, req);
}

static gboolean may_be_lone(const BlockQueue *q, const BlockReq *req)
{
    return q->in_flight == 1 && req->op == BLOCK_WRITE && req->bytes <= LONE_BYTES && !(req->flags & BLOCK_FUA) && !q->target.leaf->direct &&
           q->now >= q->lone_from;
}

static void to_ring(BlockQueue *q, BlockReq *req)
{
    if (q->waiting || !block_uring_submit(q->uring, req))
        append(&q->waiting_tail, req);
}

/* It has company. */
static void lone_to_ring(BlockQueue *q)
{
    if (q->lone)
        to_ring(q, g_steal_pointer(&q->lone));
}

static void do_lone(BlockQueue *q)
{
    BlockReq *req = g_steal_pointer(&q->lone);

    block_complete(q, req, block_sync(&q->target, req));
    gint64 now = clock_ns();
    if (now - req->since > LONE_TOO_LONG)
        q->lone_from = now + LONE_PAUSE;
}

void block_submit(BlockQueue *q, BlockReq *req)
{
    int error;

    if (!q->now)
        q->now = clock_ns();
    req->since = q->now;
    q->in_flight++;
    lone_to_ring(q);
    if (at_once(q, req, &error))
        block_complete(q, req, error);
    else if (!fits_ring(q, req))
        block_pool_submit(q->pool, req);
    else if (may_be_lone(q, req))
        q->lone = req;
    else
        to_ring(q, req);
}

/* To the kernel with all that it has room for; what it has done already makes room for more. */
static void push_on(BlockQueue *q)
{
    if (!q->uring)
        return;
    do {
        while (q->waiting && block_uring_room(q->uring)) {
            BlockReq *req = take(&q->waiting, &q->waiting_tail);
            gboolean taken = block_uring_submit(q->uring, req);
            g_assert(taken);
        }
        block_uring_kick(q->uring);
    } while (q->waiting && block_uring_room(q->uring));
}

void block_kick(BlockQueue *q)
{
    q->now = 0;
    if (q->lone)
        do_lone(q);
    push_on(q);
    finish(q);
}

guint block_queue_in_flight(const BlockQueue *q)
{
    return q->in_flight;
}

gboolean block_queue_is_uring(const BlockQueue *q)
{
    return q->uring != NULL;
}

void block_queue_on_batch(BlockQueue *q, void (*batch)(gpointer user), gpointer user)
{
    q->batch = batch;
    q->batch_user = user;
}

static void ring_event(gpointer user)
{
    BlockQueue *q = user;

    block_uring_reap(q->uring);
    push_on(q);
    finish(q);
}

static void pool_event(gpointer user)
{
    BlockQueue *q = user;

    block_pool_reap(q->pool);
    finish(q);
}

/* ---- draining ---- */

static void wait_pool(BlockQueue *q)
{
    struct pollfd p = { block_pool_fd(q->pool), POLLIN, 0 };
    guint64 count;

    if (poll(&p, 1, -1) > 0 && read(p.fd, &count, sizeof count) > 0)
        block_pool_reap(q->pool);
}

/* On the queue's thread: DONE was called for everything. */
static void drain_now(gpointer user)
{
    BlockQueue *q = user;

    block_kick(q);
    while (q->in_flight) {
        if (q->uring && block_uring_room(q->uring) < q->depth) {
            block_uring_wait(q->uring);
            push_on(q);
        } else {
            wait_pool(q);
        }
        finish(q);
    }
}

void block_queue_drain(BlockQueue *q)
{
    iothread_call(q->thread, drain_now, q);
}

static void cancel_now(gpointer user)
{
    BlockQueue *q = user;
    BlockReq *list = q->pool ? block_pool_cancel(q->pool) : NULL;

    while (list) {
        BlockReq *next = list->next;
        block_complete(q, list, ECANCELED);
        list = next;
    }
    if (q->lone)
        block_complete(q, g_steal_pointer(&q->lone), ECANCELED);
    while (q->waiting)
        block_complete(q, take(&q->waiting, &q->waiting_tail), ECANCELED);
    drain_now(q);
}

/* ---- life cycle ---- */

/* On the queue's thread, which is the ring's only issuer. */
static void make_ring(gpointer user)
{
    BlockQueue *q = user;
    int err;

    q->uring = block_uring_new(q, &q->target, q->depth, &err);
    if (!q->uring)
        g_info("Node '%s': no io_uring (%s), threads do the work", q->node->dev.id, g_strerror(err));
}

static void free_ring(gpointer user)
{
    BlockQueue *q = user;

    g_clear_pointer(&q->uring, block_uring_free);
}

static void release(BlockQueue *q)
{
    if (q->uring_watch)
        iothread_unwatch(q->uring_watch);
    if (q->pool_watch)
        iothread_unwatch(q->pool_watch);
    if (q->uring)
        iothread_call(q->thread, free_ring, q);
    block_pool_free(q->pool);
    g_free(q);
}

static gboolean open_ways(BlockQueue *q, GError **error)
{
    if (q->target.fd < 0)
        return TRUE;
    q->pool = block_pool_new(q, &q->target, error);
    if (!q->pool)
        return FALSE;
    q->pool_watch = iothread_watch(q->thread, block_pool_fd(q->pool), TRUE, pool_event, q, error);
    if (!q->pool_watch)
        return FALSE;
    if (q->target.leaf->threads)
        return TRUE;
    iothread_call(q->thread, make_ring, q);
    if (!q->uring)
        return TRUE;
    q->uring_watch = iothread_watch(q->thread, block_uring_fd(q->uring), FALSE, ring_event, q, error);
    return q->uring_watch != NULL;
}

BlockQueue *block_queue_new(Device *node, IoThread *thread, guint depth, GError **error)
{
    BlockQueue *q = g_new0(BlockQueue, 1);

    q->node = (BlockNode *)node;
    q->thread = thread;
    q->depth = CLAMP(depth, 1, 4096);
    q->ended_tail = &q->ended;
    q->waiting_tail = &q->waiting;
    block_node_target(q->node, &q->target);
    for (BlockNode *n = q->node; n; n = n->child)
        q->no_flush = q->no_flush || n->no_flush;
    q->read_zeroes = q->target.leaf->read_zeroes;
    if (!open_ways(q, error)) {
        release(q);
        return NULL;
    }
    LOCK_SCOPE(&node->lock);
    g_ptr_array_add(q->node->queues, q);
    return q;
}

static void add_stats(BlockCounts *sum, const BlockCounts *s)
{
    for (guint i = 0; i < BLOCK_N_OPS; i++) {
        sum->bytes[i] += __atomic_load_n(&s->bytes[i], __ATOMIC_RELAXED);
        sum->ops[i] += __atomic_load_n(&s->ops[i], __ATOMIC_RELAXED);
        sum->failed[i] += __atomic_load_n(&s->failed[i], __ATOMIC_RELAXED);
        sum->time_ns[i] += __atomic_load_n(&s->time_ns[i], __ATOMIC_RELAXED);
    }
}

void block_queue_free(BlockQueue *q)
{
    if (!q)
        return;
    iothread_call(q->thread, cancel_now, q);
    {
        LOCK_SCOPE(&q->node->dev.lock);
        add_stats(&q->node->past, &q->stats);
        g_ptr_array_remove(q->node->queues, q);
    }
    release(q);
}

void block_node_stats(Device *node, BlockCounts *out)
{
    BlockNode *n = (BlockNode *)node;
    LOCK_SCOPE(&node->lock);

    *out = n->past;
    for (guint i = 0; i < n->queues->len; i++)
        add_stats(out, &((BlockQueue *)g_ptr_array_index(n->queues, i))->stats);
}

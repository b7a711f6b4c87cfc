/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtio-blk-io.c - the virtio disk's data path: virtio 1.2 section 5.2.6, all on one I/O thread.
 *
 * A kick pops what is there, hands it to the block queue in one batch and lets that start all of
 * it with one system call. What ended is collected on `ended` and pushed when the block queue
 * says that a batch is over, so that many requests cost one look at the driver's event index and
 * one interrupt.
 *
 * A queue's `users` counts its chains in flight, and whoever is about to pop. stop() sets `stopping`
 * and looks at `users`; here `users` is raised before `stopping` is looked at, and lowered after the
 * last touch of the ring. So either stop() sees that somebody is at it, or nobody begins; and who
 * lowers it to 0 while it is stopping posts blk_stopped().
 *
 * A request that failed under the policy `stop` is parked with its chain until the machine goes on. So is one that ends while the
 * function must not reach memory (held): the guest can not be told, so it is done again when it may.
 */
#include "virtio-blk-priv.h"

#include <errno.h>

enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2 };
enum { HEADER = 16, ID_BYTES = 20, RANGE_BYTES = 16, RANGE_UNMAP = 1 };

struct BlkReq {
    BlockReq     io; /* first */
    BlkReq      *next;
    BlkQueue    *q;
    VqChain      chain;
    guint8      *status_at;
    guint8       status, cut, cut_at; /* unwrap() took CUT bytes off the front of segment CUT_AT */
    struct iovec iov[]; /* queue-size */
};

static VirtQueue *vq_of(const BlkQueue *q)
{
    return q->blk->virtio.vd.queues[q->index].vq;
}

/* ---- requests and users ---- */

static BlkReq *req_new(BlkQueue *q)
{
    VirtioBlk *blk = q->blk;
    guint n = blk_config(blk)->queue_size;
    BlkReq *req = blk->free;

    if (req)
        blk->free = req->next;
    else
        req = g_malloc(sizeof *req + n * sizeof req->iov[0]);
    req->q = q;
    req->chain.iov = req->iov;
    req->chain.max_iov = n;
    req->io.user = blk;
    return req;
}

static void req_free(BlkReq *req)
{
    VirtioBlk *blk = req->q->blk;

    req->next = blk->free;
    blk->free = req;
}

void blk_requests_free(VirtioBlk *blk)
{
    while (blk->free) {
        BlkReq *req = blk->free;
        blk->free = req->next;
        g_free(req);
    }
}

static void users_leave(BlkQueue *q, int n)
{
    if (__atomic_sub_fetch(&q->users, n, __ATOMIC_SEQ_CST) == 0 && __atomic_load_n(&q->stopping, __ATOMIC_SEQ_CST))
        vm_post(device_set_vm(q->blk->virtio.pci.dev.set), blk_stopped, q->blk);
}

/* ---- ends ---- */

static void end(BlkReq *req, guint8 status)
{
    VirtioBlk *blk = req->q->blk;

    req->status = status;
    req->next = blk->ended;
    blk->ended = req;
}

/* Returns the run of LIST that belongs to one queue; the rest of the list. */
static BlkReq *return_run(VirtioBlk *blk, BlkReq *list)
{
    BlkQueue *q = list->q;
    VirtQueue *vq = vq_of(q);
    gboolean open = !blk->held && vq_begin(vq);
    int n = 0;

    while (list && list->q == q) {
        BlkReq *req = list;
        list = req->next;
        if (open) {
            *req->status_at = req->status;
            vq_push(vq, &req->chain, (guint32)MIN(req->chain.in_len, G_MAXUINT32));
        } else {
            vq_drop(vq, &req->chain);
        }
        req_free(req);
        n++;
    }
    if (open) {
        vq_flush(vq);
        if (vq_should_notify(vq))
            virtio_notify_queue(&blk->virtio.vd, q->index);
        vq_end(vq);
    }
    blk->n_in_flight -= (guint)n;
    users_leave(q, n);
    return list;
}

/* `ended` has the latest first. */
static BlkReq *take_ended(VirtioBlk *blk)
{
    BlkReq *list = NULL;

    while (blk->ended) {
        BlkReq *req = blk->ended;
        blk->ended = req->next;
        req->next = list;
        list = req;
    }
    return list;
}

/* ---- errors ---- */

static void report(VirtioBlk *blk, const BlockReq *io, int error, DeviceIoAction action)
{
    gboolean post;

    {
        LOCK_SCOPE(&blk->error_lock);
        post = !blk->error_posted;
        blk->error_posted = TRUE;
        if (post || action == DEVICE_IO_STOP)
            blk->error = (DeviceIoError){ .dev = &blk->virtio.pci.dev, .write = io->op != BLOCK_READ, .action = action, .error = error };
    }
    if (action == DEVICE_IO_STOP)
        vm_hold(device_set_vm(blk->virtio.pci.dev.set));
    if (post)
        vm_post(device_set_vm(blk->virtio.pci.dev.set), blk_tell_error, blk);
}

static DeviceIoAction policy(const VirtioBlk *blk, const BlockReq *io, int error)
{
    const VirtioBlkPciConfig *c = blk_config(blk);

    if (io->op == BLOCK_READ)
        return c->rerror == VIRTIO_BLK_PCI_RERROR_STOP     ? DEVICE_IO_STOP
               : c->rerror == VIRTIO_BLK_PCI_RERROR_IGNORE ? DEVICE_IO_IGNORE
                                                           : DEVICE_IO_REPORT;
    if (c->werror == VIRTIO_BLK_PCI_WERROR_STOP || (c->werror == VIRTIO_BLK_PCI_WERROR_ENOSPC && error == ENOSPC))
        return DEVICE_IO_STOP;
    return c->werror == VIRTIO_BLK_PCI_WERROR_IGNORE ? DEVICE_IO_IGNORE : DEVICE_IO_REPORT;
}

static void park(BlkReq *req)
{
    VirtioBlk *blk = req->q->blk;

    req->next = blk->parked;
    blk->parked = req;
}

static void io_done(BlockReq *io, int error)
{
    BlkReq *req = (BlkReq *)io;
    VirtioBlk *blk = io->user;
    DeviceIoAction action;

    if (blk->held && !__atomic_load_n(&req->q->stopping, __ATOMIC_SEQ_CST)) {
        park(req);
        return;
    }
    if (!error) {
        end(req, S_OK);
        return;
    }
    action = policy(blk, io, error);
    if (action == DEVICE_IO_STOP) {
        park(req);
        __atomic_store_n(&blk->parked_error, error, __ATOMIC_RELAXED);
    } else {
        end(req, action == DEVICE_IO_IGNORE ? S_OK : S_IOERR);
    }
    report(blk, io, error, action);
}

void blk_retry_parked(gpointer user)
{
    VirtioBlk *blk = user;
    BlkReq *list = blk->parked;

    if (blk->held)
        return;
    blk->parked = NULL;
    __atomic_store_n(&blk->parked_error, 0, __ATOMIC_RELAXED);
    while (list) {
        BlkReq *next = list->next;
        block_submit(blk->io, &list->io);
        list = next;
    }
    block_kick(blk->io);
}

void blk_drop_parked(gpointer user)
{
    VirtioBlk *blk = user;
    BlkReq *list = g_steal_pointer(&blk->parked);

    __atomic_store_n(&blk->parked_error, 0, __ATOMIC_RELAXED);
    while (list) {
        BlkReq *req = list;
        list = req->next;
        if (!__atomic_load_n(&req->q->stopping, __ATOMIC_SEQ_CST)) {
            park(req);
            continue;
        }
        vq_drop(vq_of(req->q), &req->chain);
        blk->n_in_flight--;
        users_leave(req->q, 1);
        req_free(req);
    }
}

void blk_hold(gpointer user)
{
    ((VirtioBlk *)user)->held = TRUE;
}

void blk_release(gpointer user)
{
    ((VirtioBlk *)user)->held = FALSE;
}

/* ---- the guest's requests ---- */

static void invalid(BlkReq *req, BlockOp op, guint8 status)
{
    guint64 *count = &req->q->blk->invalid[op];

    __atomic_store_n(count, *count + 1, __ATOMIC_RELAXED);
    end(req, status);
}

/* The front of the segment where the header ends, and the end of the last one: off (BY 1) or on again (-1). */
static void cut(BlkReq *req, int by)
{
    VqChain *c = &req->chain;

    if (req->cut) {
        struct iovec *iov = &c->iov[req->cut_at];
        iov->iov_base = (guint8 *)iov->iov_base + by * req->cut;
        iov->iov_len -= (gsize)(by * req->cut);
    }
    c->iov[c->n_out + c->n_in - 1].iov_len -= (gsize)by;
}

/* Takes the header off the front of the readable part and the status off the end of the writable one. FALSE: a chain without
 * them, which breaks the queue. */
static gboolean unwrap(BlkReq *req, guint8 header[HEADER], struct iovec **out, guint *n_out)
{
    VqChain *c = &req->chain;
    struct iovec *last = &c->iov[c->n_out + c->n_in - 1];
    gsize left = HEADER;
    guint i;

    if (c->out_len < HEADER || c->in_len < 1) {
        vq_break(vq_of(req->q), "a request of %" G_GUINT64_FORMAT " readable and %" G_GUINT64_FORMAT " writable bytes", c->out_len, c->in_len);
        return FALSE;
    }
    iov_read(c->iov, c->n_out, 0, header, HEADER);
    for (i = 0; left && left >= c->iov[i].iov_len; i++)
        left -= c->iov[i].iov_len;
    req->cut = (guint8)left;
    req->cut_at = (guint8)i; /* no segment is empty: 16 at most */
    *out = c->iov + i;
    *n_out = c->n_out - i;
    req->status_at = (guint8 *)last->iov_base + last->iov_len - 1;
    cut(req, 1);
    return TRUE;
}

static gboolean write_through(const VirtioBlk *blk)
{
    const VirtioDevice *vd = &blk->virtio.vd;

    return !virtio_has(vd, BLK_F_FLUSH) || !__atomic_load_n(&vd->config[BLK_WRITEBACK], __ATOMIC_RELAXED);
}

static void submit(BlkReq *req, BlockOp op, guint8 flags, guint64 sector, guint64 bytes)
{
    VirtioBlk *blk = req->q->blk;
    guint block = blk_config(blk)->logical_block_size;

    if (sector > G_MAXUINT64 / 512 || bytes % block || sector * 512 % block ||
        !range_within(sector * 512, bytes, block_node_size(blk->node)) ||
        (op != BLOCK_READ && op != BLOCK_FLUSH && block_node_limits(blk->node)->read_only)) {
        invalid(req, op, S_IOERR);
        return;
    }
    req->io.op = (guint8)op;
    req->io.flags = flags;
    req->io.offset = sector * 512;
    req->io.bytes = bytes;
    req->io.done = io_done;
    if (blk->held) /* loaded so */
        park(req);
    else
        block_submit(blk->io, &req->io);
}

static void submit_data(BlkReq *req, BlockOp op, guint64 sector, const struct iovec *iov, guint n, guint64 bytes)
{
    req->io.iov = iov;
    req->io.n_iov = n;
    submit(req, op, op == BLOCK_WRITE && write_through(req->q->blk) ? BLOCK_FUA : 0, sector, bytes);
}

/* Discard and write zeroes have one range each: max_discard_seg and max_write_zeroes_seg are 1. */
static void submit_range(BlkReq *req, BlockOp op, const struct iovec *out, guint n, guint64 bytes)
{
    const VirtioBlkPciConfig *c = blk_config(req->q->blk);
    gboolean zeroes = op == BLOCK_WRITE_ZEROES;
    guint8 range[RANGE_BYTES];
    guint32 sectors, flags;

    if (!(zeroes ? c->write_zeroes : c->discard) || bytes != RANGE_BYTES) {
        invalid(req, op, S_UNSUPP);
        return;
    }
    iov_read(out, n, 0, range, sizeof range);
    sectors = le32_get(range + 8);
    flags = le32_get(range + 12);
    if (flags & ~(zeroes ? RANGE_UNMAP : 0u)) {
        invalid(req, op, S_UNSUPP);
        return;
    }
    if (sectors > (zeroes ? c->max_write_zeroes_sectors : c->max_discard_sectors)) {
        invalid(req, op, S_IOERR);
        return;
    }
    req->io.iov = NULL;
    req->io.n_iov = 0;
    submit(req, op, (guint8)((flags ? BLOCK_UNMAP : 0) | (zeroes && write_through(req->q->blk) ? BLOCK_FUA : 0)),
           le64_get(range), (guint64)sectors * 512);
}

static void get_id(BlkReq *req, const struct iovec *in, guint n, guint64 bytes)
{
    const char *serial = blk_config(req->q->blk)->serial;
    char id[ID_BYTES + 1] = "";

    if (bytes < ID_BYTES) {
        end(req, S_IOERR);
        return;
    }
    if (serial)
        g_strlcpy(id, serial, sizeof id);
    iov_write(in, n, 0, id, ID_BYTES);
    end(req, S_OK);
}

static void handle(BlkReq *req)
{
    const VqChain *c = &req->chain;
    guint8 header[HEADER];
    struct iovec *out, *in = c->iov + c->n_out;
    guint n_out, n_in = c->n_in;
    guint64 sector, in_bytes = c->in_len - 1, out_bytes = c->out_len - HEADER;

    if (!unwrap(req, header, &out, &n_out)) {
        end(req, S_IOERR);
        return;
    }
    if (in[n_in - 1].iov_len == 0) /* the status had a segment of its own: O_DIRECT looks at an empty one's address too */
        n_in--;
    sector = le64_get(header + 8);
    switch (le32_get(header)) {
    case T_IN:
        submit_data(req, BLOCK_READ, sector, in, n_in, in_bytes);
        break;
    case T_OUT:
        submit_data(req, BLOCK_WRITE, sector, out, n_out, out_bytes);
        break;
    case T_FLUSH:
        submit(req, BLOCK_FLUSH, 0, 0, 0);
        break;
    case T_DISCARD:
        submit_range(req, BLOCK_DISCARD, out, n_out, out_bytes);
        break;
    case T_WRITE_ZEROES:
        submit_range(req, BLOCK_WRITE_ZEROES, out, n_out, out_bytes);
        break;
    case T_GET_ID:
        get_id(req, in, n_in, in_bytes);
        break;
    default:
        end(req, S_UNSUPP);
    }
}

/* The chain of REQ is in flight. */
static void take(BlkReq *req)
{
    req->q->blk->n_in_flight++;
    __atomic_add_fetch(&req->q->users, 1, __ATOMIC_SEQ_CST);
    handle(req);
}

/* ---- saving ---- */

void blk_save_parked(VirtioBlk *blk)
{
    guint8 queue[2];

    g_byte_array_set_size(blk->parked_state, 0);
    for (BlkReq *req = blk->parked; req; req = req->next) {
        le16_put(queue, (guint16)req->q->index);
        g_byte_array_append(blk->parked_state, queue, sizeof queue);
        cut(req, -1);
        vq_chain_save(vq_of(req->q), &req->chain, blk->parked_state);
        cut(req, 1);
    }
}

static void load_one(BlkQueue *q, const guint8 *saved)
{
    BlkReq *req;

    if (!vq_begin(vq_of(q)))
        return; /* an earlier one broke it */
    req = req_new(q);
    if (vq_chain_load(vq_of(q), &req->chain, saved))
        take(req);
    else
        req_free(req);
    vq_end(vq_of(q));
}

void blk_load_parked(gpointer user)
{
    VirtioBlk *blk = user;
    const guint8 *at = blk->parked_state->data, *end = at + blk->parked_state->len;

    while (at < end) {
        load_one(&blk->queues[le16_get(at)], at + 2);
        at += 2 + vq_chain_saved_size(at + 2, (gsize)(end - at) - 2);
    }
    block_kick(blk->io);
    blk_batch(blk);
}

/* ---- the queue ---- */

/* TRUE: a chain was taken. */
static gboolean pop_one(BlkQueue *q)
{
    BlkReq *req = req_new(q);

    if (vq_pop(vq_of(q), &req->chain) != VQ_CHAIN) {
        req_free(req);
        return FALSE;
    }
    take(req);
    return TRUE;
}

static void pop_all(BlkQueue *q)
{
    VirtQueue *vq = vq_of(q);

    do {
        vq_kicks_off(vq);
        while (q->blk->n_in_flight < BLK_IN_FLIGHT && pop_one(q))
            continue;
        q->starved = q->blk->n_in_flight >= BLK_IN_FLIGHT;
    } while (!q->starved && vq_kicks_on(vq));
}

static void serve(BlkQueue *q)
{
    __atomic_add_fetch(&q->users, 1, __ATOMIC_SEQ_CST);
    if (!q->blk->held && !__atomic_load_n(&q->stopping, __ATOMIC_SEQ_CST) && vq_begin(vq_of(q))) {
        pop_all(q);
        vq_end(vq_of(q));
        block_kick(q->blk->io);
    }
    users_leave(q, 1);
}

/* Returns what ended; that makes room for queues that wait for it. */
void blk_batch(gpointer user)
{
    VirtioBlk *blk = user;
    guint n = blk->virtio.vd.n_queues;

    while (blk->ended) {
        BlkReq *list = take_ended(blk);
        while (list)
            list = return_run(blk, list);
        for (guint i = 0; i < n && blk->n_in_flight < BLK_IN_FLIGHT; i++) {
            if (blk->queues[i].starved) {
                blk->queues[i].starved = FALSE;
                serve(&blk->queues[i]);
            }
        }
    }
}

void blk_queue_kicked(gpointer user)
{
    BlkQueue *q = user;

    serve(q);
    blk_batch(q->blk);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * block.h - block back ends: nodes (the `blockdev-*` objects, made by blockdev-add or object-add)
 * and the queues through which I/O threads use them.
 *
 * A node is a Device of NS_OBJECT whose id is QEMU's node-name; main thread only, but for what is
 * marked [any]. A BlockQueue belongs to one node and one I/O thread: its requests are submitted and
 * completed on that thread, without locks. Several queues of one node run side by side.
 */
#pragma once

#include <sys/uio.h>

#include "../core/device.h"
#include "../../kvm/iothread.h"

typedef enum {
    BLOCK_READ,
    BLOCK_WRITE,
    BLOCK_FLUSH,
    BLOCK_DISCARD,
    BLOCK_WRITE_ZEROES,
    BLOCK_N_OPS,
} BlockOp;

enum {
    BLOCK_FUA = 1 << 0,   /* WRITE: on stable storage when done */
    BLOCK_UNMAP = 1 << 1, /* WRITE_ZEROES: the space may be given back */
};

typedef struct BlockQueue BlockQueue;
typedef struct BlockReq BlockReq;

/* One request; the caller's memory until DONE, which is called exactly once, on the queue's thread, never from within
 * block_submit(), maybe from within block_kick(). It may submit. ERROR is 0 or a positive errno. */
struct BlockReq {
    guint8              op, flags;
    guint32             n_iov;
    guint64             offset, bytes; /* bytes; READ and WRITE: what the iovecs hold together */
    const struct iovec *iov;           /* unchanged until DONE */
    void (*done)(BlockReq *req, int error);
    gpointer user;
    /* ---- the queue's ---- */
    BlockReq *next;
    gint64    since;  /* monotonic ns */
    guint64   covers; /* FLUSH: BlockNode.changes when it was submitted */
    int       result;
};

typedef struct {
    guint64 bytes[BLOCK_N_OPS], ops[BLOCK_N_OPS], failed[BLOCK_N_OPS], time_ns[BLOCK_N_OPS];
} BlockCounts;

typedef struct {
    guint32  align;         /* of offsets and lengths that need no read-modify-write; at least 512 with O_DIRECT, else 1 */
    guint32  mem_align;     /* of buffers that need no copy */
    guint32  block_size;    /* physical, for the guest's topology */
    gboolean read_only;
    gboolean discard;       /* DISCARD does something */
} BlockLimits;

typedef struct {
    /* The node has another size now: [main] */
    void (*resized)(gpointer user, guint64 size);
} BlockUserOps;

/* ---- nodes ---- */

gboolean           block_is_node(const Device *dev);
/* [any] Bytes; a multiple of 512 (the tail of an odd file reads as zeroes). */
guint64            block_node_size(Device *node);
const BlockLimits *block_node_limits(Device *node);
/* Claims the node NODE_NAME for USER, the device's property PROP; device_unlink() comes with block_detach(). One user
 * may write and then nobody else uses it; several may read. Errors name both users. */
Device            *block_attach(Device *user, const char *node_name, const char *prop, gboolean write,
                                const BlockUserOps *ops, gpointer opaque, GError **error);
void               block_detach(Device *user, Device *node);
/* block_resize: the file grows or shrinks; users are told. */
gboolean           block_node_resize(Device *node, guint64 size, GError **error);
void               block_node_stats(Device *node, BlockCounts *out); /* of all queues, those gone included */
/* What queries show. */
const char        *block_node_driver(const Device *node);   /* "file", "host_device", "raw", "null-co" */
const char        *block_node_filename(const Device *node); /* of the leaf; "null-co://" */
gint64             block_node_allocated(const Device *node); /* bytes that the leaf takes on the host; -1: unknown */
Device            *block_node_child(const Device *node);    /* NULL: none */
Device            *block_node_user(const Device *node);     /* one of them, or NULL */

/* ---- queues ---- */

/* [main] DEPTH requests are given to the kernel at a time, more wait. Asks for io_uring unless the node says threads; where that is refused
 * a few threads do the work. */
BlockQueue *block_queue_new(Device *node, IoThread *thread, guint depth, GError **error);
/* [main] Requests that the kernel does not have yet end with ECANCELED, the others are waited for. */
void        block_queue_free(BlockQueue *q);
/* [main] Waits until DONE was called for everything submitted. */
void        block_queue_drain(BlockQueue *q);
/* [main] Before the first request: BATCH runs on the queue's thread after one or more DONEs in a row. It may submit. */
void        block_queue_on_batch(BlockQueue *q, void (*batch)(gpointer user), gpointer user);
/* On the queue's thread. Collects; block_kick() hands them to the kernel. */
void        block_submit(BlockQueue *q, BlockReq *req);
void        block_kick(BlockQueue *q);
guint       block_queue_in_flight(const BlockQueue *q); /* on the queue's thread */
gboolean    block_queue_is_uring(const BlockQueue *q);

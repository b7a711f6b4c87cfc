/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtqueue.h - the device's side of one virtqueue: virtio 1.2 sections 2.7 (split) and 2.8
 * (packed). Nothing else in the tree touches rings.
 *
 * One thread at a time uses a queue: the one that serves it (an I/O thread), or whoever holds the
 * lock that its user says. Nothing here blocks, takes a lock or, after vq_start(), allocates, but
 * for a few bytes when guest memory was plugged since the last batch.
 *
 * Everything between vq_begin() and vq_end() is a batch: the memory map is held, so ring and
 * buffers stay where they are. A chain that was popped holds the map by itself until it is pushed
 * or dropped, so its iovecs may be given to asynchronous I/O; vm_memory_remove() waits for it.
 *
 *     if (!vq_begin(vq))
 *         return;
 *     do {
 *         vq_kicks_off(vq);
 *         while (vq_pop(vq, &chain) == VQ_CHAIN)
 *             ... vq_push(vq, &chain, bytes_written);
 *     } while (vq_kicks_on(vq));
 *     vq_flush(vq);
 *     if (vq_should_notify(vq))
 *         ... interrupt;
 *     vq_end(vq);
 *
 * A guest that breaks a rule breaks the queue: `broken` is called once with the reason, from then
 * on vq_begin() fails, nothing more is read from or written to the ring, and chains are dropped.
 */
#pragma once

#include <sys/uio.h>

#include "../../kvm/memory.h"

#define VQ_MAX_SIZE 32768

enum {
    VQ_PACKED = 1 << 0,    /* VIRTIO_F_RING_PACKED */
    VQ_EVENT_IDX = 1 << 1, /* VIRTIO_F_EVENT_IDX */
    VQ_INDIRECT = 1 << 2,  /* VIRTIO_F_INDIRECT_DESC */
    /* VIRTIO_F_IN_ORDER: chains are pushed in the order of their pops (asserted). What is pushed
     * with nothing written shares one used element per batch (sections 2.7.9, 2.8.10). */
    VQ_IN_ORDER = 1 << 3,
};

/* As the driver set it up; guest-physical addresses. */
typedef struct {
    guint16 size; /* descriptors */
    guint32 flags;
    guint64 desc;   /* descriptor table; packed: descriptor ring */
    guint64 driver; /* available ring; packed: driver event suppression */
    guint64 device; /* used ring; packed: device event suppression */
} VqConfig;

/* What is saved of a queue, but for chains in flight (vq_chain_save()). Split: free-running indices, wraps unused.
 * Packed: slots and wrap counters. */
typedef struct {
    guint16 avail_idx, used_idx;
    guint8  avail_wrap, used_wrap; /* 0 or 1 */
} VqState;

typedef struct VirtQueue VirtQueue;
typedef struct VqMap VqMap;

typedef struct {
    struct iovec *iov;     /* the caller's, with room for max_iov; set both before vq_pop() */
    guint32       max_iov; /* a chain with more segments breaks the queue */
    guint32       n_out;   /* iov[0 .. n_out - 1]: device-readable */
    guint32       n_in;    /* iov[n_out .. n_out + n_in - 1]: device-writable */
    guint64       out_len, in_len; /* bytes; together at most 4 GiB */
    guint16       id;      /* head index (split) or buffer id (packed) */
    guint16       n_slots; /* ring slots it takes (split: 1) */
    guint16       seq;     /* order of the pops */
    VqMap        *map;     /* internal; NULL: not popped */
} VqChain;

typedef enum { VQ_BROKEN = -1, VQ_EMPTY, VQ_CHAIN } VqPop;

/* BROKEN gets the reason, valid during the call only, on the thread that uses the queue. */
VirtQueue *vq_new(Vm *vm, void (*broken)(gpointer user, VirtQueue *vq, const char *reason),
                  gpointer user);
/* Stopped or never started. */
void       vq_free(VirtQueue *vq);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VirtQueue, vq_free)

/* Checks sizes, alignment and addresses (2.7: size a power of two up to 32768, 16/2/4 byte
 * alignment; 2.8: any size, 16/4/4), each ring within one region of RAM, the device's part not
 * read-only. STATE NULL: the queue starts at 0. FALSE: `broken` was called. */
gboolean    vq_start(VirtQueue *vq, const VqConfig *config, const VqState *state);
/* No chain is in flight any more. STATE (may be NULL) gets what vq_start() takes. */
void        vq_stop(VirtQueue *vq, VqState *state);
/* Where it stands, outside a batch. */
void        vq_get_state(const VirtQueue *vq, VqState *state);
gboolean    vq_started(const VirtQueue *vq);
/* Why it is broken; NULL: it is not. */
const char *vq_broken(const VirtQueue *vq);
/* Chains popped and neither pushed nor dropped. */
guint       vq_in_flight(const VirtQueue *vq);
guint16     vq_size(const VirtQueue *vq);
/* The device found a mistake in what the guest sent. */
void        vq_break(VirtQueue *vq, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* FALSE: not started, broken, or a ring's memory is gone (which breaks it). */
gboolean vq_begin(VirtQueue *vq);
void     vq_end(VirtQueue *vq);

/* The next chain, whole and checked before the caller sees any of it. On VQ_EMPTY and VQ_BROKEN
 * the chain's content is undefined. */
VqPop    vq_pop(VirtQueue *vq, VqChain *chain);
/* Puts the chain popped last back, for a device that can not serve it now. */
void     vq_unpop(VirtQueue *vq, VqChain *chain);
/* Returns the chain with WRITTEN bytes written into its device-writable part, from its start. The
 * driver sees it with vq_flush(). Within a batch; a broken queue drops it. */
void     vq_push(VirtQueue *vq, VqChain *chain, guint32 written);
/* Forgets the chain: the queue was reset, or broke. Also outside a batch. */
void     vq_drop(VirtQueue *vq, VqChain *chain);
/* Publishes what was pushed. */
void     vq_flush(VirtQueue *vq);
/* After vq_flush(): whether the driver wants an interrupt for what was published since the last
 * time this was asked. */
gboolean vq_should_notify(VirtQueue *vq);

/* The driver need not kick while the queue is being looked at anyway. Advice only. */
void     vq_kicks_off(VirtQueue *vq);
/* The driver must kick for the next chain. TRUE: there is one already, look again. */
gboolean vq_kicks_on(VirtQueue *vq);
/* Whether a chain waits, without taking it. */
gboolean vq_pending(VirtQueue *vq);

/* ---- chains that stay in flight while the machine is saved (saved.c) ---- */

/* Appends C, its segments as they were popped, in the form that the next two take. */
void     vq_chain_save(const VirtQueue *vq, const VqChain *c, GByteArray *out);
/* The bytes of one saved chain at the start of LEN bytes; 0: there is none. */
gsize    vq_chain_saved_size(const guint8 *saved, gsize len);
/* Within a batch of a queue that was started from saved state: C is as if it had just been popped. FALSE: a place
 * that is no RAM, or an id that is none; the queue is broken. */
gboolean vq_chain_load(VirtQueue *vq, VqChain *c, const guint8 *saved);

/* ---- copies between a chain's segments and a buffer; bytes copied ---- */
gsize iov_read(const struct iovec *iov, guint n, gsize offset, void *buf, gsize len);
gsize iov_write(const struct iovec *iov, guint n, gsize offset, const void *buf, gsize len);

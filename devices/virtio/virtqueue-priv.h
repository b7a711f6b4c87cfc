/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtqueue-priv.h - private to virtqueue.c, split.c, packed.c and saved.c.
 *
 * Guest memory is read once into locals, never twice: the guest may change it in between. The
 * accessors here are atomic or volatile so that the compiler keeps to that, and so that the test's
 * driver on another thread is no data race.
 *
 * Barriers. Ring memory is shared with a CPU that runs the guest, so these are the ordinary
 * inter-processor ones (as between two threads of one process):
 *   - an index or a descriptor's flags that say "available" are loaded with acquire, before what
 *     they make available is read;
 *   - "used" is stored with release, after the used elements and all data are written;
 *   - each side first writes its own index and then reads the other's wish about notifications, so
 *     between these two a full fence is needed, which x86 does not give by itself: a store may
 *     pass a later load, and both sides would sleep. vq_should_notify() and vq_kicks_on() have it.
 */
#pragma once

#include "virtqueue.h"

#include "../../common/util.h"

#define DESC_NEXT 1
#define DESC_WRITE 2
#define DESC_INDIRECT 4
#define DESC_SIZE 16

#define MAX_CHAIN_BYTES (G_GUINT64_CONSTANT(1) << 32)

/* One generation of the memory map and those who need it: chains in flight and the open batch. */
struct VqMap {
    MemMap *map; /* NULL: held by nobody */
    guint   users;
};

struct VirtQueue {
    /* ---- read on each pop and push ---- */
    guint8          *desc, *driver, *device; /* host addresses, valid within a batch */
    const MemRegion *last;                   /* of the current map: where the last segment was */
    VqMap           *cur;
    guint16          size, mask; /* mask: split */
    guint16          avail_idx, used_idx;
    guint16          avail_seen; /* split: the driver's index when last read */
    guint8           avail_wrap, used_wrap;
    guint32          flags;
    guint32          since_signal; /* slots used since vq_should_notify(); saturates */
    guint32          in_flight;
    guint32          batch_slots;  /* used but not yet flushed */
    guint16          pop_seq, push_seq;
    /* Packed: the first slot of the batch, whose flags are written last. IN_ORDER: the used
     * element that the whole batch shares so far. */
    guint16          head_slot, head_flags;
    gboolean         mergeable;
    gboolean         started, broken, in_batch;
    /* ---- the rest ---- */
    Vm      *vm;
    VqConfig config;
    void (*on_broken)(gpointer user, VirtQueue *vq, const char *reason);
    gpointer user;
    char     reason[192];
};

/* A descriptor, read once. */
typedef struct {
    guint64 addr;
    guint32 len;
    guint16 a, b; /* split: flags, next; packed: id, flags */
} VqDesc;

/* An indirect table. PTR NULL: it spans regions, each descriptor is fetched through the map. */
typedef struct {
    const guint8 *ptr;
    guint64       gpa;
    guint32       n;
} VqTable;

typedef struct {
    guint64 v;
} __attribute__((packed, may_alias)) Le64Cell;

static inline guint16 ring_load(const guint8 *p)
{
    return GUINT16_FROM_LE(__atomic_load_n((const guint16 *)(gconstpointer)p, __ATOMIC_RELAXED));
}

static inline guint16 ring_load_acquire(const guint8 *p)
{
    return GUINT16_FROM_LE(__atomic_load_n((const guint16 *)(gconstpointer)p, __ATOMIC_ACQUIRE));
}

static inline void ring_store(guint8 *p, guint16 v)
{
    __atomic_store_n((guint16 *)(gpointer)p, GUINT16_TO_LE(v), __ATOMIC_RELAXED);
}

static inline void ring_store_release(guint8 *p, guint16 v)
{
    __atomic_store_n((guint16 *)(gpointer)p, GUINT16_TO_LE(v), __ATOMIC_RELEASE);
}

/* A full fence. ThreadSanitizer does not know fences, and gcc refuses them there; an exchange is one too. */
static inline void full_fence(void)
{
#ifdef __SANITIZE_THREAD__
    int dummy = 0;
    __atomic_exchange_n(&dummy, 1, __ATOMIC_SEQ_CST);
#else
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

static inline VqDesc desc_load(const guint8 *p)
{
    guint64 addr = GUINT64_FROM_LE(((const volatile Le64Cell *)(gconstpointer)p)[0].v);
    guint64 rest = GUINT64_FROM_LE(((const volatile Le64Cell *)(gconstpointer)p)[1].v);

    return (VqDesc){ .addr = addr,
                     .len = (guint32)rest,
                     .a = (guint16)(rest >> 32),
                     .b = (guint16)(rest >> 48) };
}

/* virtqueue.c */
gboolean vq_chain_taken(VirtQueue *vq, VqChain *c);
gboolean vq_segment_slow(VirtQueue *vq, VqChain *c, guint64 gpa, guint32 len, gboolean write);
gboolean vq_table(VirtQueue *vq, const VqDesc *d, guint16 flags, VqTable *table);
VqDesc   vq_table_get(VirtQueue *vq, const VqTable *table, guint32 i);

/* Adds one segment. The usual case, RAM in the region of the segment before, stands here: LEN 0
 * wraps around and fails the first comparison. */
static inline gboolean vq_segment(VirtQueue *vq, VqChain *c, guint64 gpa, guint32 len,
                                  gboolean write)
{
    const MemRegion *r = vq->last;
    guint64 off = gpa - r->gpa;
    guint32 n = c->n_out + c->n_in;

    if (G_UNLIKELY(off >= r->size || (guint64)len - 1 >= r->size - off || n >= c->max_iov ||
                   (write ? (r->flags & MEM_READONLY) != 0 : c->n_in != 0)))
        return vq_segment_slow(vq, c, gpa, len, write);
    c->iov[n].iov_base = r->hva + off;
    c->iov[n].iov_len = len;
    if (write) {
        c->n_in++;
        c->in_len += len;
    } else {
        c->n_out++;
        c->out_len += len;
    }
    return TRUE;
}

/* split.c */
gboolean vq_split_available(VirtQueue *vq);
VqPop    vq_split_pop(VirtQueue *vq, VqChain *c);
void     vq_split_push(VirtQueue *vq, const VqChain *c, guint32 written);
void     vq_split_flush(VirtQueue *vq);
gboolean vq_split_should_notify(VirtQueue *vq);
void     vq_split_kicks(VirtQueue *vq, gboolean on);

/* packed.c */
gboolean vq_packed_available(VirtQueue *vq);
VqPop    vq_packed_pop(VirtQueue *vq, VqChain *c);
void     vq_packed_unpop(VirtQueue *vq, const VqChain *c);
void     vq_packed_push(VirtQueue *vq, const VqChain *c, guint32 written);
void     vq_packed_flush(VirtQueue *vq);
gboolean vq_packed_should_notify(VirtQueue *vq);
void     vq_packed_kicks(VirtQueue *vq, gboolean on);

/* Section 2.7.7.2: whether EVENT lies among the slots (NEW - SINCE) .. NEW - 1, modulo 2^16. */
static inline gboolean vq_event_passed(guint16 event, guint16 new, guint32 since)
{
    return (guint16)(new - event - 1) < since;
}

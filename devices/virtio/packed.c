/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * packed.c - the packed ring, virtio 1.2 section 2.8.
 *
 * One ring of descriptors {addr u64, len u32, id u16, flags u16} that both sides write. A slot is
 * available when its AVAIL bit equals the driver's wrap counter and its USED bit does not; the
 * device writes used descriptors into the same ring, in order of completion, with both bits equal
 * to its own wrap counter, and leaves out as many slots as the chain had. Each side has an event
 * suppression structure {off_wrap u16, flags u16}.
 *
 * Chains stand in consecutive slots; only the first one's flags say that all are there, so the
 * driver writes them last. Likewise our batch of used descriptors appears as a whole, when
 * vq_packed_flush() writes the flags of its first.
 */
#include "virtqueue-priv.h"

#define DESC_AVAIL (1 << 7)
#define DESC_USED (1 << 15)

enum { EVENT_ENABLE, EVENT_DISABLE, EVENT_DESC };

#define WRAP_BIT 0x8000u

static guint8 *slot_at(VirtQueue *vq, guint32 slot)
{
    return vq->desc + slot * DESC_SIZE;
}

static gboolean is_available(guint16 flags, guint8 wrap)
{
    return !(flags & DESC_AVAIL) == !wrap && !(flags & DESC_USED) != !wrap;
}

gboolean vq_packed_available(VirtQueue *vq)
{
    return is_available(ring_load_acquire(slot_at(vq, vq->avail_idx) + 14), vq->avail_wrap);
}

/* The entries of an indirect table follow one another; NEXT means nothing in them (2.8.7). */
static gboolean walk_indirect(VirtQueue *vq, VqChain *c, const VqDesc *outer)
{
    VqTable table;

    if (!vq_table(vq, outer, outer->b, &table))
        return FALSE;
    for (guint32 i = 0; i < table.n; i++) {
        VqDesc d = vq_table_get(vq, &table, i);

        if (G_UNLIKELY(d.b & DESC_INDIRECT)) {
            vq_break(vq, "indirect descriptor within an indirect table, entry %u", i);
            return FALSE;
        }
        if (!vq_segment(vq, c, d.addr, d.len, (d.b & DESC_WRITE) != 0))
            return FALSE;
    }
    return TRUE;
}

VqPop vq_packed_pop(VirtQueue *vq, VqChain *c)
{
    guint32 slot = vq->avail_idx;
    guint16 flags;

    if (!vq_packed_available(vq))
        return VQ_EMPTY;
    c->n_slots = 0;
    do {
        VqDesc d = desc_load(slot_at(vq, slot));

        if (G_UNLIKELY(++c->n_slots > vq->size)) {
            vq_break(vq, "descriptor chain of more than %u slots", vq->size);
            return VQ_BROKEN;
        }
        if (++slot == vq->size)
            slot = 0;
        c->id = d.a;
        flags = d.b;
        if (G_UNLIKELY(flags & DESC_INDIRECT)) {
            if (!walk_indirect(vq, c, &d))
                return VQ_BROKEN;
        } else if (!vq_segment(vq, c, d.addr, d.len, (flags & DESC_WRITE) != 0)) {
            return VQ_BROKEN;
        }
    } while (flags & DESC_NEXT);
    if (slot <= vq->avail_idx)
        vq->avail_wrap ^= 1;
    vq->avail_idx = (guint16)slot;
    return VQ_CHAIN;
}

void vq_packed_unpop(VirtQueue *vq, const VqChain *c)
{
    if (vq->avail_idx < c->n_slots) {
        vq->avail_idx = (guint16)(vq->avail_idx + vq->size);
        vq->avail_wrap ^= 1;
    }
    vq->avail_idx = (guint16)(vq->avail_idx - c->n_slots);
}

/* The used position moves at once; the driver sees nothing of it before the first flags. */
static void used_advance(VirtQueue *vq, guint32 slots)
{
    guint32 next = vq->used_idx + slots;

    if (next >= vq->size) {
        next -= vq->size;
        vq->used_wrap ^= 1;
    }
    vq->used_idx = (guint16)next;
}

void vq_packed_push(VirtQueue *vq, const VqChain *c, guint32 written)
{
    guint16 flags = (guint16)((vq->used_wrap ? DESC_AVAIL | DESC_USED : 0) |
                              (written ? DESC_WRITE : 0));
    gboolean first = vq->batch_slots == 0, merge = !first && vq->mergeable && !written;
    guint32 at = merge ? vq->head_slot : vq->used_idx;
    guint8 *slot = slot_at(vq, at);
    guint32 len_le = GUINT32_TO_LE(written);

    __atomic_store_n((guint32 *)(gpointer)(slot + 8), len_le, __ATOMIC_RELAXED);
    ring_store(slot + 12, c->id);
    if (first) {
        vq->head_slot = vq->used_idx;
        vq->head_flags = flags;
    } else if (!merge) {
        ring_store_release(slot + 14, flags);
    }
    vq->mergeable = vq->mergeable && !written;
    vq->batch_slots += c->n_slots;
    used_advance(vq, c->n_slots);
}

void vq_packed_flush(VirtQueue *vq)
{
    ring_store_release(slot_at(vq, vq->head_slot) + 14, vq->head_flags);
}

gboolean vq_packed_should_notify(VirtQueue *vq)
{
    guint16 off_wrap = ring_load(vq->driver), flags = ring_load(vq->driver + 2) & 3;
    guint16 event = (guint16)(off_wrap & ~WRAP_BIT);

    if (flags != EVENT_DESC || !(vq->flags & VQ_EVENT_IDX))
        return flags != EVENT_DISABLE;
    if ((off_wrap & WRAP_BIT ? 1 : 0) != vq->used_wrap)
        event = (guint16)(event - vq->size); /* of the round before */
    return vq_event_passed(event, vq->used_idx, vq->since_signal);
}

void vq_packed_kicks(VirtQueue *vq, gboolean on)
{
    if (vq->flags & VQ_EVENT_IDX) {
        if (!on)
            return; /* the event lies behind, until it is renewed */
        ring_store(vq->device, (guint16)(vq->avail_idx | (vq->avail_wrap ? WRAP_BIT : 0)));
        ring_store_release(vq->device + 2, EVENT_DESC);
    } else {
        ring_store(vq->device + 2, on ? EVENT_ENABLE : EVENT_DISABLE);
    }
}

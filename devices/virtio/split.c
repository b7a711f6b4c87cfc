/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * split.c - the split ring, virtio 1.2 section 2.7.
 *
 *   descriptor table  16 bytes each: addr u64, len u32, flags u16, next u16
 *   available ring    flags u16, idx u16, ring[size] u16, used_event u16          (driver)
 *   used ring         flags u16, idx u16, ring[size] {id u32, len u32}, avail_event u16 (device)
 *
 * Indices run freely modulo 2^16. A driver can not have more than `size` chains out, so an index
 * that moved further is a broken driver.
 */
#include "virtqueue-priv.h"

#define NO_INTERRUPT 1 /* avail.flags, without EVENT_IDX */
#define NO_NOTIFY 1    /* used.flags, likewise */

gboolean vq_split_available(VirtQueue *vq)
{
    if (vq->avail_seen == vq->avail_idx)
        vq->avail_seen = ring_load_acquire(vq->driver + 2);
    return vq->avail_seen != vq->avail_idx;
}

/* All entries of an indirect table, linked by their next fields (2.7.5.3). */
static gboolean walk_indirect(VirtQueue *vq, VqChain *c, const VqDesc *outer)
{
    VqTable table;
    guint32 i = 0, left;

    if (!vq_table(vq, outer, outer->a, &table))
        return FALSE;
    for (left = table.n; left > 0; left--) {
        VqDesc d = vq_table_get(vq, &table, i);

        if (G_UNLIKELY(d.a & DESC_INDIRECT)) {
            vq_break(vq, "indirect descriptor within an indirect table, entry %u", i);
            return FALSE;
        }
        if (!vq_segment(vq, c, d.addr, d.len, (d.a & DESC_WRITE) != 0))
            return FALSE;
        if (!(d.a & DESC_NEXT))
            return TRUE;
        i = d.b;
        if (G_UNLIKELY(i >= table.n)) {
            vq_break(vq, "entry %u of an indirect table of %u", i, table.n);
            return FALSE;
        }
    }
    vq_break(vq, "loop in an indirect table of %u", table.n);
    return FALSE;
}

static gboolean walk(VirtQueue *vq, VqChain *c)
{
    guint32 i = c->id;

    for (guint32 left = vq->size; left > 0; left--) {
        VqDesc d = desc_load(vq->desc + i * DESC_SIZE);

        if (G_UNLIKELY(d.a & DESC_INDIRECT))
            return walk_indirect(vq, c, &d);
        if (!vq_segment(vq, c, d.addr, d.len, (d.a & DESC_WRITE) != 0))
            return FALSE;
        if (!(d.a & DESC_NEXT))
            return TRUE;
        i = d.b;
        if (G_UNLIKELY(i >= vq->size)) {
            vq_break(vq, "descriptor %u of %u", i, vq->size);
            return FALSE;
        }
    }
    vq_break(vq, "descriptor chain at %u loops", c->id);
    return FALSE;
}

VqPop vq_split_pop(VirtQueue *vq, VqChain *c)
{
    guint16 ahead;

    if (!vq_split_available(vq))
        return VQ_EMPTY;
    ahead = (guint16)(vq->avail_seen - vq->avail_idx);
    if (G_UNLIKELY(ahead > vq->size)) {
        vq_break(vq, "available index moved from %u to %u with %u descriptors", vq->avail_idx,
                 vq->avail_seen, vq->size);
        return VQ_BROKEN;
    }
    c->id = ring_load(vq->driver + 4 + 2 * (vq->avail_idx & vq->mask));
    c->n_slots = 1;
    if (G_UNLIKELY(c->id >= vq->size)) {
        vq_break(vq, "available descriptor %u of %u", c->id, vq->size);
        return VQ_BROKEN;
    }
    if (!walk(vq, c))
        return VQ_BROKEN;
    vq->avail_idx++;
    return VQ_CHAIN;
}

void vq_split_push(VirtQueue *vq, const VqChain *c, guint32 written)
{
    /* A shared element stays where the batch began: the driver finds out by its id how many it
     * stands for (2.7.9). */
    guint16 at = (guint16)(vq->mergeable && !written ? vq->used_idx : vq->used_idx + vq->batch_slots);
    guint8 *element = vq->device + 4 + 8 * (guint32)(at & vq->mask);

    ((Le64Cell *)(gpointer)element)->v = GUINT64_TO_LE((guint64)c->id | (guint64)written << 32);
    vq->mergeable = vq->mergeable && !written;
    vq->batch_slots++;
}

void vq_split_flush(VirtQueue *vq)
{
    vq->used_idx = (guint16)(vq->used_idx + vq->batch_slots);
    ring_store_release(vq->device + 2, vq->used_idx);
}

gboolean vq_split_should_notify(VirtQueue *vq)
{
    if (!(vq->flags & VQ_EVENT_IDX))
        return !(ring_load(vq->driver) & NO_INTERRUPT);
    return vq_event_passed(ring_load(vq->driver + 4 + 2 * (guint32)vq->size), vq->used_idx,
                           vq->since_signal);
}

/* With EVENT_IDX there is nothing to switch off: the event lies behind, until it is renewed. */
void vq_split_kicks(VirtQueue *vq, gboolean on)
{
    if (!(vq->flags & VQ_EVENT_IDX))
        ring_store(vq->device, on ? 0 : NO_NOTIFY);
    else if (on)
        ring_store(vq->device + 4 + 8 * (guint32)vq->size, vq->avail_idx);
}

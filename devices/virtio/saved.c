/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * saved.c - chains in flight as part of the saved state.
 *
 * A chain can not be read again from the ring where the machine is loaded: in a packed ring the device's used descriptors
 * may stand by then where the chain stood. So its segments go with it, as guest-physical addresses.
 *
 *   id u16, slots u16, readable segments u32, writable ones u32, then for each: address u64, length u32
 *
 * What comes back is checked as what a guest sends is: all of it must be RAM, written to only where that may be written.
 */
#include "virtqueue-priv.h"

enum { HEAD = 12, SEGMENT = 12 };

/* The guest's address of what the map that the chain holds has at HVA. */
static guint64 gpa_of(const VqChain *c, const guint8 *hva)
{
    guint n;
    const MemRegion *regions = mem_map_regions(c->map->map, &n);

    for (guint i = 0; i < n; i++) {
        if (hva >= regions[i].hva && (gsize)(hva - regions[i].hva) < regions[i].size)
            return regions[i].gpa + (gsize)(hva - regions[i].hva);
    }
    g_assert_not_reached(); /* a chain's segments lie in its map */
}

void vq_chain_save(const VirtQueue *vq, const VqChain *c, GByteArray *out)
{
    guint8 bytes[HEAD];

    g_assert(c->map);
    le16_put(bytes, c->id);
    le16_put(bytes + 2, c->n_slots);
    le32_put(bytes + 4, c->n_out);
    le32_put(bytes + 8, c->n_in);
    g_byte_array_append(out, bytes, HEAD);
    for (guint i = 0; i < c->n_out + c->n_in; i++) {
        le64_put(bytes, gpa_of(c, c->iov[i].iov_base));
        le32_put(bytes + 8, (guint32)c->iov[i].iov_len);
        g_byte_array_append(out, bytes, SEGMENT);
    }
}

gsize vq_chain_saved_size(const guint8 *saved, gsize len)
{
    guint64 segments;

    if (len < HEAD)
        return 0;
    segments = (guint64)le32_get(saved + 4) + le32_get(saved + 8);
    return segments > 0 && segments <= (len - HEAD) / SEGMENT ? HEAD + segments * SEGMENT : 0;
}

gboolean vq_chain_load(VirtQueue *vq, VqChain *c, const guint8 *saved)
{
    guint32 n_out = le32_get(saved + 4), n = n_out + le32_get(saved + 8);
    gboolean packed = (vq->flags & VQ_PACKED) != 0;

    g_assert(vq->in_batch);
    c->id = le16_get(saved);
    c->n_slots = le16_get(saved + 2);
    c->n_out = c->n_in = 0;
    c->out_len = c->in_len = 0;
    c->map = NULL;
    if (c->n_slots == 0 || c->n_slots > (packed ? vq->size : 1) || (!packed && c->id >= vq->size)) {
        vq_break(vq, "a saved chain with id %u of %u slots in a ring of %u", c->id, c->n_slots, vq->size);
        return FALSE;
    }
    for (guint i = 0; i < n; i++) {
        const guint8 *at = saved + HEAD + i * SEGMENT;
        if (!vq_segment(vq, c, le64_get(at), le32_get(at + 8), i >= n_out))
            return FALSE;
    }
    return vq_chain_taken(vq, c);
}

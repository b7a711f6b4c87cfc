/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtqueue.c - what both kinds of rings share: life cycle, the memory map, checked segments.
 *
 * The map is the hard part. Host addresses are valid as long as a map that has their region is
 * held, and memory that the guest gives back can not be unmapped before. A batch therefore holds
 * the current map, and each chain the one it was made from, until its I/O is done. A busy queue
 * has always chains in flight; if they shared one reference, it would never be given back and the
 * main thread would wait for ever in vm_memory_remove(). So there is a VqMap for each generation:
 * a batch that finds a newer map starts a new one, and the old one goes with its last chain.
 *
 * While nothing is in flight nothing is held. The next batch can not know whether the map is
 * still the same one (another might have been made at the same address), so it looks the rings up
 * again: three searches in a short array.
 */
#include "virtqueue-priv.h"

static const MemRegion nowhere; /* size 0: no address is in it */

/* ---- life cycle ---- */

VirtQueue *vq_new(Vm *vm, void (*broken)(gpointer user, VirtQueue *vq, const char *reason),
                  gpointer user)
{
    VirtQueue *vq = g_new0(VirtQueue, 1);

    vq->vm = vm;
    vq->on_broken = broken;
    vq->user = user;
    vq->last = &nowhere;
    vq->cur = g_new0(VqMap, 1);
    return vq;
}

void vq_free(VirtQueue *vq)
{
    if (!vq)
        return;
    g_assert(!vq->started && vq->in_flight == 0);
    g_free(vq->cur);
    g_free(vq);
}

void vq_break(VirtQueue *vq, const char *format, ...)
{
    va_list args;

    if (vq->broken)
        return;
    va_start(args, format);
    g_vsnprintf(vq->reason, sizeof vq->reason, format, args);
    va_end(args);
    vq->broken = TRUE;
    if (vq->on_broken)
        vq->on_broken(vq->user, vq, vq->reason);
}

const char *vq_broken(const VirtQueue *vq)
{
    return vq->broken ? vq->reason : NULL;
}

gboolean vq_started(const VirtQueue *vq)
{
    return vq->started;
}

guint vq_in_flight(const VirtQueue *vq)
{
    return vq->in_flight;
}

guint16 vq_size(const VirtQueue *vq)
{
    return vq->size;
}

static gboolean check_aligned(VirtQueue *vq, const char *what, guint64 gpa, guint align)
{
    if (gpa % align == 0)
        return TRUE;
    vq_break(vq, "%s at 0x%" G_GINT64_MODIFIER "x, which is no multiple of %u", what, gpa, align);
    return FALSE;
}

static gboolean check_config(VirtQueue *vq, const VqConfig *c)
{
    gboolean packed = (c->flags & VQ_PACKED) != 0;

    if (c->size == 0 || c->size > VQ_MAX_SIZE) {
        vq_break(vq, "queue size %u, 1 to %u are possible", c->size, VQ_MAX_SIZE);
        return FALSE;
    }
    if (!packed && (c->size & (c->size - 1))) {
        vq_break(vq, "queue size %u of a split ring, which is no power of two", c->size);
        return FALSE;
    }
    return check_aligned(vq, "descriptors", c->desc, 16) &&
           check_aligned(vq, "driver area", c->driver, packed ? 4 : 2) &&
           check_aligned(vq, "device area", c->device, 4);
}

/* The host address of a ring's part, in one region; NULL breaks the queue. */
static guint8 *ring_area(VirtQueue *vq, const char *what, guint64 gpa, guint64 len, gboolean write)
{
    const MemRegion *r = mem_map_find(vq->cur->map, gpa);

    if (!r || !range_within(gpa - r->gpa, len, r->size) || (write && (r->flags & MEM_READONLY))) {
        vq_break(vq,
                 "%s at 0x%" G_GINT64_MODIFIER "x, %" G_GUINT64_FORMAT
                 " bytes, is not within one region of %s",
                 what, gpa, len, write ? "writable RAM" : "RAM");
        return NULL;
    }
    vq->last = r;
    return r->hva + (gpa - r->gpa);
}

static gboolean rings_find(VirtQueue *vq)
{
    const VqConfig *c = &vq->config;
    gboolean packed = (c->flags & VQ_PACKED) != 0;
    guint64 n = c->size;

    vq->last = &nowhere;
    return (vq->driver = ring_area(vq, "driver area", c->driver, packed ? 4 : 6 + 2 * n, FALSE)) &&
           (vq->device = ring_area(vq, "device area", c->device, packed ? 4 : 6 + 8 * n, TRUE)) &&
           (vq->desc = ring_area(vq, "descriptors", c->desc, n * DESC_SIZE, packed));
}

gboolean vq_start(VirtQueue *vq, const VqConfig *config, const VqState *state)
{
    g_assert(!vq->started && vq->in_flight == 0);
    vq->broken = FALSE;
    if (!check_config(vq, config))
        return FALSE;
    vq->config = *config;
    vq->size = config->size;
    vq->mask = (guint16)(config->size - 1);
    vq->flags = config->flags;
    vq->avail_idx = state ? state->avail_idx : 0;
    vq->used_idx = state ? state->used_idx : 0;
    vq->avail_wrap = state ? state->avail_wrap != 0 : 1;
    vq->used_wrap = state ? state->used_wrap != 0 : 1;
    if ((vq->flags & VQ_PACKED) && (vq->avail_idx >= vq->size || vq->used_idx >= vq->size)) {
        vq_break(vq, "position %u and %u in a ring of %u", vq->avail_idx, vq->used_idx, vq->size);
        return FALSE;
    }
    vq->avail_seen = vq->avail_idx;
    vq->since_signal = state ? G_MAXUINT32 : 0; /* restored: whether the driver was told, who knows */
    vq->batch_slots = 0;
    vq->push_seq = vq->pop_seq = 0;
    vq->mergeable = (vq->flags & VQ_IN_ORDER) != 0;
    vq->started = TRUE;
    if (!vq_begin(vq)) {
        vq->started = FALSE;
        return FALSE;
    }
    vq_end(vq);
    return TRUE;
}

void vq_get_state(const VirtQueue *vq, VqState *state)
{
    g_assert(!vq->in_batch);
    *state = (VqState){ .avail_idx = vq->avail_idx,
                        .used_idx = vq->used_idx,
                        .avail_wrap = vq->avail_wrap,
                        .used_wrap = vq->used_wrap };
}

void vq_stop(VirtQueue *vq, VqState *state)
{
    VqState s;

    g_assert(vq->in_flight == 0);
    vq_get_state(vq, &s);
    vq->started = FALSE;
    if (state)
        *state = s;
}

/* ---- the map ---- */

static void map_release(VirtQueue *vq, VqMap *m)
{
    if (--m->users > 0)
        return;
    vm_memory_unref_map(vq->vm, m->map);
    m->map = NULL;
    if (m != vq->cur)
        g_free(m);
}

gboolean vq_begin(VirtQueue *vq)
{
    MemMap *map;

    g_assert(!vq->in_batch);
    if (!vq->started || vq->broken)
        return FALSE;
    map = vm_memory_ref_map(vq->vm);
    if (vq->cur->map == map) { /* held by a chain: not another one at the same address */
        vm_memory_unref_map(vq->vm, map);
        vq->cur->users++;
    } else {
        if (vq->cur->map)
            vq->cur = g_new0(VqMap, 1); /* the old one is freed by its last chain */
        vq->cur->map = map;
        vq->cur->users = 1;
        if (!rings_find(vq)) {
            map_release(vq, vq->cur);
            return FALSE;
        }
    }
    vq->in_batch = TRUE;
    return TRUE;
}

void vq_end(VirtQueue *vq)
{
    g_assert(vq->in_batch);
    vq->in_batch = FALSE;
    map_release(vq, vq->cur);
}

/* ---- segments ---- */

/* The part of [gpa, gpa + len) in one region; 0: none, the queue is broken. */
static guint32 segment_piece(VirtQueue *vq, guint64 gpa, guint32 len, gboolean write)
{
    const MemRegion *r = mem_map_find(vq->cur->map, gpa);

    if (!r || (write && (r->flags & MEM_READONLY))) {
        vq_break(vq, "buffer at 0x%" G_GINT64_MODIFIER "x, %u bytes, is not %s", gpa, len,
                 write ? "writable RAM" : "RAM");
        return 0;
    }
    vq->last = r;
    return (guint32)MIN((guint64)len, r->size - (gpa - r->gpa));
}

/* Everything but the usual: another region, several of them, or a mistake. */
gboolean vq_segment_slow(VirtQueue *vq, VqChain *c, guint64 gpa, guint32 len, gboolean write)
{
    guint64 last;

    if (len == 0 || __builtin_add_overflow(gpa, len - 1, &last)) {
        vq_break(vq, "buffer at 0x%" G_GINT64_MODIFIER "x, %u bytes", gpa, len);
        return FALSE;
    }
    if (!write && c->n_in) {
        vq_break(vq, "device-readable buffer after a device-writable one");
        return FALSE;
    }
    while (len > 0) {
        guint32 n = c->n_out + c->n_in, piece;

        if (n >= c->max_iov) {
            vq_break(vq, "more than %u segments in a chain", c->max_iov);
            return FALSE;
        }
        if (!(piece = segment_piece(vq, gpa, len, write)))
            return FALSE;
        c->iov[n] = (struct iovec){ vq->last->hva + (gpa - vq->last->gpa), piece };
        *(write ? &c->n_in : &c->n_out) += 1;
        *(write ? &c->in_len : &c->out_len) += piece;
        gpa += piece;
        len -= piece;
    }
    return TRUE;
}

/* Checks a descriptor with DESC_INDIRECT (sections 2.7.5.3, 2.8.7) and finds its table. */
gboolean vq_table(VirtQueue *vq, const VqDesc *d, guint16 flags, VqTable *table)
{
    guint64 last;

    if (!(vq->flags & VQ_INDIRECT))
        vq_break(vq, "indirect descriptor, which was not negotiated");
    else if (flags & DESC_NEXT)
        vq_break(vq, "indirect descriptor with a next one");
    else if (d->len == 0 || d->len % DESC_SIZE || d->len / DESC_SIZE > VQ_MAX_SIZE)
        vq_break(vq, "indirect table of %u bytes", d->len);
    else if (__builtin_add_overflow(d->addr, d->len - 1, &last))
        vq_break(vq, "indirect table at 0x%" G_GINT64_MODIFIER "x, %u bytes", d->addr, d->len);
    if (vq->broken)
        return FALSE;
    table->n = d->len / DESC_SIZE;
    table->gpa = d->addr;
    table->ptr = range_within(d->addr - vq->last->gpa, d->len, vq->last->size) ?
                     vq->last->hva + (d->addr - vq->last->gpa) :
                     mem_map_ptr(vq->cur->map, d->addr, d->len);
    return TRUE;
}

/* A table that crosses from one region into the next; bytes that are not RAM make a descriptor of
 * length 0, which vq_segment() refuses. */
static VqDesc table_get_slow(VirtQueue *vq, guint64 gpa)
{
    guint8 raw[DESC_SIZE];

    for (guint i = 0; i < DESC_SIZE; i++) {
        const volatile guint8 *p = mem_map_ptr(vq->cur->map, gpa + i, 1);

        if (!p)
            return (VqDesc){ .addr = gpa };
        raw[i] = *p;
    }
    return desc_load(raw);
}

VqDesc vq_table_get(VirtQueue *vq, const VqTable *table, guint32 i)
{
    if (G_LIKELY(table->ptr))
        return desc_load(table->ptr + i * DESC_SIZE);
    return table_get_slow(vq, table->gpa + i * DESC_SIZE);
}

/* ---- chains ---- */

/* All segments are there: it is in flight. */
gboolean vq_chain_taken(VirtQueue *vq, VqChain *c)
{
    if (G_UNLIKELY(c->out_len + c->in_len > MAX_CHAIN_BYTES)) {
        vq_break(vq, "chain of %" G_GUINT64_FORMAT " bytes", c->out_len + c->in_len);
        return FALSE;
    }
    c->seq = vq->pop_seq++;
    c->map = vq->cur;
    c->map->users++;
    vq->in_flight++;
    return TRUE;
}

VqPop vq_pop(VirtQueue *vq, VqChain *c)
{
    VqPop r;

    g_assert(vq->in_batch);
    if (G_UNLIKELY(vq->broken))
        return VQ_BROKEN;
    c->n_out = c->n_in = 0;
    c->out_len = c->in_len = 0;
    c->map = NULL;
    r = vq->flags & VQ_PACKED ? vq_packed_pop(vq, c) : vq_split_pop(vq, c);
    if (r != VQ_CHAIN)
        return r;
    return vq_chain_taken(vq, c) ? VQ_CHAIN : VQ_BROKEN;
}

static void chain_release(VirtQueue *vq, VqChain *c)
{
    VqMap *map = g_steal_pointer(&c->map);

    vq->in_flight--;
    map_release(vq, map);
}

void vq_unpop(VirtQueue *vq, VqChain *c)
{
    g_assert(c->map && c->seq == (guint16)(vq->pop_seq - 1));
    if (vq->flags & VQ_PACKED)
        vq_packed_unpop(vq, c);
    else
        vq->avail_idx--;
    vq->pop_seq--;
    chain_release(vq, c);
}

void vq_drop(VirtQueue *vq, VqChain *c)
{
    g_assert(c->map);
    chain_release(vq, c);
}

void vq_push(VirtQueue *vq, VqChain *c, guint32 written)
{
    g_assert(c->map && vq->in_batch && written <= c->in_len);
    if (G_LIKELY(!vq->broken)) {
        /* In order means that the driver counts: one that is left out would shift all others. */
        g_assert(!(vq->flags & VQ_IN_ORDER) || c->seq == vq->push_seq);
        vq->push_seq++;
        if (vq->flags & VQ_PACKED)
            vq_packed_push(vq, c, written);
        else
            vq_split_push(vq, c, written);
    }
    chain_release(vq, c);
}

void vq_flush(VirtQueue *vq)
{
    if (!vq->batch_slots || vq->broken)
        return;
    g_assert(vq->in_batch);
    if (vq->flags & VQ_PACKED)
        vq_packed_flush(vq);
    else
        vq_split_flush(vq);
    if (__builtin_add_overflow(vq->since_signal, vq->batch_slots, &vq->since_signal))
        vq->since_signal = G_MAXUINT32;
    vq->batch_slots = 0;
    vq->mergeable = (vq->flags & VQ_IN_ORDER) != 0;
}

/* ---- notifications ---- */

gboolean vq_should_notify(VirtQueue *vq)
{
    gboolean wanted;

    if (!vq->since_signal || vq->broken)
        return FALSE;
    g_assert(vq->in_batch);
    full_fence(); /* our index before their wish: see virtqueue-priv.h */
    wanted = vq->flags & VQ_PACKED ? vq_packed_should_notify(vq) : vq_split_should_notify(vq);
    vq->since_signal = 0;
    return wanted;
}

gboolean vq_pending(VirtQueue *vq)
{
    g_assert(vq->in_batch);
    if (vq->broken)
        return FALSE;
    return vq->flags & VQ_PACKED ? vq_packed_available(vq) : vq_split_available(vq);
}

static void kicks(VirtQueue *vq, gboolean on)
{
    g_assert(vq->in_batch);
    if (vq->broken)
        return;
    if (vq->flags & VQ_PACKED)
        vq_packed_kicks(vq, on);
    else
        vq_split_kicks(vq, on);
}

void vq_kicks_off(VirtQueue *vq)
{
    kicks(vq, FALSE);
}

gboolean vq_kicks_on(VirtQueue *vq)
{
    kicks(vq, TRUE);
    full_fence(); /* our wish before their index */
    return vq_pending(vq);
}

/* ---- copies ---- */

static gsize iov_copy(const struct iovec *iov, guint n, gsize offset, guint8 *buf, gsize len,
                      gboolean write)
{
    gsize done = 0;

    for (guint i = 0; i < n && done < len; i++) {
        gsize piece = iov[i].iov_len;

        if (offset >= piece) {
            offset -= piece;
            continue;
        }
        piece = MIN(piece - offset, len - done);
        if (write)
            memcpy((guint8 *)iov[i].iov_base + offset, buf + done, piece);
        else
            memcpy(buf + done, (guint8 *)iov[i].iov_base + offset, piece);
        done += piece;
        offset = 0;
    }
    return done;
}

gsize iov_read(const struct iovec *iov, guint n, gsize offset, void *buf, gsize len)
{
    return iov_copy(iov, n, offset, buf, len, FALSE);
}

gsize iov_write(const struct iovec *iov, guint n, gsize offset, const void *buf, gsize len)
{
    return iov_copy(iov, n, offset, (guint8 *)buf, len, TRUE); /* only read: see above */
}

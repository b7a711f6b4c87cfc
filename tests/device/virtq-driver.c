/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virtq-driver.c - see virtq-driver.h. */
#include "virtq-driver.h"

#include "../../common/util.h"

#define MAX_INDIRECT 32

static guint8 *at(Drv *d, guint64 gpa)
{
    return d->mem + (gpa - d->base);
}

static guint16 load16(guint8 *p)
{
    return __atomic_load_n((guint16 *)(gpointer)p, __ATOMIC_ACQUIRE);
}

static void store16(guint8 *p, guint16 v)
{
    __atomic_store_n((guint16 *)(gpointer)p, v, __ATOMIC_RELEASE);
}

static gboolean packed(const Drv *d)
{
    return (d->config.flags & VQ_PACKED) != 0;
}

static guint64 align(guint64 v)
{
    return (v + 4095) & ~G_GUINT64_CONSTANT(4095);
}

static guint64 table_of(Drv *d, guint id)
{
    return align(d->config.device + 6 + 8 * d->config.size) + id * MAX_INDIRECT * 16;
}

guint64 drv_init(Drv *d, guint8 *mem, guint64 base, guint64 start, guint16 size, guint32 flags)
{
    *d = (Drv){ .mem = mem, .base = base, .avail_wrap = 1, .used_wrap = 1, .n_free = size, .n_free_ids = size };
    d->config = (VqConfig){ .size = size, .flags = flags, .desc = start };
    d->config.driver = align(start + 16 * size);
    d->config.device = align(d->config.driver + 6 + 2 * size);
    d->free_desc = g_new(guint16, size);
    d->next = g_new0(guint16, size);
    d->chain_len = g_new0(guint16, size);
    d->token = g_new0(guint32, size);
    d->order = g_new0(guint16, size);
    for (guint i = 0; i < size; i++)
        d->free_desc[i] = (guint16)(size - 1 - i);
    guint64 end = table_of(d, size);
    memset(at(d, start), 0, end - start);
    return end;
}

void drv_clear(Drv *d)
{
    g_free(d->free_desc);
    g_free(d->next);
    g_free(d->chain_len);
    g_free(d->token);
    g_free(d->order);
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

static void put_desc(guint8 *p, guint64 addr, guint32 len, guint16 a, guint16 b)
{
    le64_put(p, addr);
    le32_put(p + 8, len);
    le16_put(p + 12, a);
    le16_put(p + 14, b);
}

static guint16 seg_flags(const DrvSeg *s, gboolean next)
{
    return (guint16)((next ? 1 : 0) | (s->write ? 2 : 0));
}

/* Fills the table of ID; the descriptor that stands for it. */
static DrvSeg indirect_table(Drv *d, guint id, const DrvSeg *segs, guint n)
{
    guint64 table = table_of(d, id);

    g_assert(n <= MAX_INDIRECT);
    for (guint i = 0; i < n; i++) {
        guint16 flags = seg_flags(&segs[i], !packed(d) && i + 1 < n);
        if (packed(d))
            put_desc(at(d, table) + 16 * i, segs[i].gpa, segs[i].len, 0, flags);
        else
            put_desc(at(d, table) + 16 * i, segs[i].gpa, segs[i].len, flags, (guint16)(i + 1));
    }
    return (DrvSeg){ table, n * 16, FALSE };
}

/* ---- split ---- */

static gboolean split_add(Drv *d, const DrvSeg *segs, guint n, gboolean indirect, guint32 token)
{
    guint16 head = d->free_desc[d->n_free - 1], i = head;
    DrvSeg table;

    if (indirect) {
        table = indirect_table(d, head, segs, n);
        segs = &table;
        n = 1;
    }
    for (guint k = 0; k < n; k++) {
        guint16 next = k + 1 < n ? d->free_desc[d->n_free - 2 - k] : 0;
        put_desc(at(d, d->config.desc) + 16 * i, segs[k].gpa, segs[k].len,
                 indirect ? 4 : seg_flags(&segs[k], k + 1 < n), next);
        d->next[i] = next;
        i = next;
    }
    d->n_free -= n;
    d->chain_len[head] = (guint16)n;
    d->token[head] = token;
    d->order[d->order_tail++ % d->config.size] = head;
    store16(at(d, d->config.driver) + 4 + 2 * (d->avail % d->config.size), head);
    store16(at(d, d->config.driver) + 2, ++d->avail);
    d->since_kick++;
    return TRUE;
}

static void split_free(Drv *d, guint16 id)
{
    guint16 i = id;

    for (guint k = 0; k < d->chain_len[id]; k++) {
        d->free_desc[d->n_free++] = i;
        i = d->next[i];
    }
    d->chain_len[id] = 0;
}

/* ---- packed ---- */

static guint8 *slot(Drv *d, guint i)
{
    return at(d, d->config.desc) + 16 * i;
}

static gboolean packed_add(Drv *d, const DrvSeg *segs, guint n, gboolean indirect, guint32 token)
{
    guint16 id = d->free_desc[--d->n_free_ids], head = d->avail, head_flags = 0;
    DrvSeg table;

    if (indirect) {
        table = indirect_table(d, id, segs, n);
        segs = &table;
        n = 1;
    }
    for (guint k = 0; k < n; k++) {
        guint16 flags = (guint16)((indirect ? 4 : seg_flags(&segs[k], k + 1 < n)) | (d->avail_wrap ? 0x80 : 0x8000));
        guint8 *p = slot(d, d->avail);
        le64_put(p, segs[k].gpa);
        le32_put(p + 8, segs[k].len);
        le16_put(p + 12, id);
        if (k == 0)
            head_flags = flags;
        else
            store16(p + 14, flags);
        if (++d->avail == d->config.size) {
            d->avail = 0;
            d->avail_wrap ^= 1;
        }
    }
    d->n_free -= n;
    d->chain_len[id] = (guint16)n;
    d->token[id] = token;
    d->order[d->order_tail++ % d->config.size] = id;
    store16(slot(d, head) + 14, head_flags);
    d->since_kick = (guint16)(d->since_kick + n);
    return TRUE;
}

/* ---- both ---- */

gboolean drv_add(Drv *d, const DrvSeg *segs, guint n, gboolean indirect, guint32 token)
{
    guint slots = indirect ? 1 : n;

    if (slots > d->n_free || (packed(d) && d->n_free_ids == 0))
        return FALSE;
    return packed(d) ? packed_add(d, segs, n, indirect, token) : split_add(d, segs, n, indirect, token);
}

static gboolean read_used(Drv *d, guint16 *id, guint32 *len)
{
    if (packed(d)) {
        guint8 *p = slot(d, d->used);
        guint16 flags = load16(p + 14);
        if (!(flags & 0x80) == !!d->used_wrap || !(flags & 0x8000) == !!d->used_wrap)
            return FALSE;
        *id = le16_get(p + 12);
        *len = le32_get(p + 8);
        return TRUE;
    }
    guint8 *ring = at(d, d->config.device);
    if (load16(ring + 2) == d->used)
        return FALSE;
    *id = (guint16)le32_get(ring + 4 + 8 * (d->used % d->config.size));
    *len = le32_get(ring + 8 + 8 * (d->used % d->config.size));
    return TRUE;
}

static void chain_done(Drv *d, guint16 id)
{
    guint16 n = d->chain_len[id];

    g_assert_cmpuint(n, >, 0); /* nothing is used twice */
    if (!packed(d)) {
        split_free(d, id);
        d->used++;
        return;
    }
    d->chain_len[id] = 0;
    d->n_free += n;
    d->free_desc[d->n_free_ids++] = id;
    d->used = (guint16)(d->used + n);
    if (d->used >= d->config.size) {
        d->used = (guint16)(d->used - d->config.size);
        d->used_wrap ^= 1;
    }
}

/* In order: an element stands for all chains up to the one that it names. */
static gboolean take_in_order(Drv *d, guint32 *token, guint32 *len)
{
    guint16 id = 0;

    if (!d->batch_left) {
        if (!read_used(d, &id, &d->batch_len))
            return FALSE;
        while (d->order[(d->order_head + d->batch_left++) % d->config.size] != id)
            g_assert_cmpuint(d->order_head + d->batch_left, <, d->order_tail);
    }
    id = d->order[d->order_head++ % d->config.size];
    *token = d->token[id];
    *len = --d->batch_left ? 0 : d->batch_len;
    chain_done(d, id);
    return TRUE;
}

gboolean drv_take(Drv *d, guint32 *token, guint32 *len)
{
    guint16 id;

    if (d->config.flags & VQ_IN_ORDER)
        return take_in_order(d, token, len);
    if (!read_used(d, &id, len))
        return FALSE;
    g_assert_cmpuint(id, <, d->config.size);
    *token = d->token[id];
    chain_done(d, id);
    return TRUE;
}

static gboolean between(guint16 event, guint16 new, guint16 old)
{
    return (guint16)(new - event - 1) < (guint16)(new - old);
}

gboolean drv_kick(Drv *d)
{
    guint8 *area = at(d, d->config.device);
    guint16 old = (guint16)(d->avail - d->since_kick), event;

    if (!d->since_kick)
        return FALSE;
    d->since_kick = 0;
    full_fence();
    if (!packed(d)) {
        if (!(d->config.flags & VQ_EVENT_IDX))
            return !(load16(area) & 1);
        return between(load16(area + 4 + 8 * d->config.size), d->avail, old);
    }
    guint16 flags = load16(area + 2), off_wrap = load16(area);
    if (flags != 2)
        return flags == 0;
    event = off_wrap & 0x7fff;
    if (off_wrap >> 15 != d->avail_wrap)
        event = (guint16)(event - d->config.size);
    return between(event, d->avail, old);
}

gboolean drv_irq_on(Drv *d)
{
    guint8 *area = at(d, d->config.driver);
    gboolean event_idx = (d->config.flags & VQ_EVENT_IDX) != 0;
    guint16 id;
    guint32 len;

    if (packed(d)) {
        store16(area, (guint16)(d->used | (d->used_wrap ? 0x8000 : 0)));
        store16(area + 2, event_idx ? 2 : 0);
    } else if (event_idx) {
        store16(area + 4 + 2 * d->config.size, d->used);
    } else {
        store16(area, 0);
    }
    full_fence();
    return d->batch_left || read_used(d, &id, &len);
}

void drv_irq_off(Drv *d)
{
    if (packed(d))
        store16(at(d, d->config.driver) + 2, 1);
    else if (!(d->config.flags & VQ_EVENT_IDX))
        store16(at(d, d->config.driver), 1);
}

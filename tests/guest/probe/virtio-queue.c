/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Virtqueues from the driver's side (virtio 1.2, 2.7 split, 2.8 packed), with descriptor tables,
 * tables behind one descriptor, and event indices.
 *
 * Interrupts are asked for all the time or never (the mode says), from the ring's set-up on: what is
 * used when nothing was waiting must interrupt, unless it was looked at meanwhile. The processor takes interrupts only inside
 * virtio_await(), so a count read before can not have moved by itself, and none is missed.
 *
 * The device runs on another processor: writes of descriptors are seen before those of the index
 * (x86 keeps stores in order), but "index written, then the device's wish read" needs a fence.
 */
#include "virtio.h"

enum { D_NEXT = 1, D_WRITE = 2, D_INDIRECT = 4, P_AVAIL = 0x80, P_USED = 0x8000 };
enum { EVENT_ENABLE = 0, EVENT_DISABLE = 1, EVENT_DESC = 2 };

#define PATIENCE_US 20000000u

struct desc {
    u64 addr;
    u32 len;
    u16 a, b; /* split: flags, next; packed: id, flags */
};

static inline void fence(void)
{
    __asm__ volatile("lock; addl $0, (%%rsp)" : : : "memory", "cc");
}

static inline volatile u16 *at16(u8 *base, u32 off)
{
    return (volatile u16 *)(base + off);
}

static inline volatile u32 *at32(u8 *base, u32 off)
{
    return (volatile u32 *)(base + off);
}

static struct desc *descs(struct queue *q)
{
    return (struct desc *)q->desc;
}

/* ---- set-up ---- */

bool queue_alloc(struct vdev *vd, struct queue *q)
{
    q->desc = virtio_alloc(vd, q->size * 16u, 16);
    q->driver = virtio_alloc(vd, 6 + 2u * q->size, 4);
    q->device = virtio_alloc(vd, 6 + 8u * q->size, 4);
    q->indirect = vd->indirect ? virtio_alloc(vd, q->size * MAX_CHAIN * 16u, 16) : NULL;
    if (!q->desc || !q->driver || !q->device || (vd->indirect && !q->indirect))
        return false;
    queue_init(vd, q);
    return true;
}

/* Says to the device whether the next used buffer is to interrupt. */
static void arm(struct vdev *vd, struct queue *q)
{
    bool wanted = virtio_interrupts(vd), event = virtio_has(vd, F_EVENT_IDX);

    if (virtio_has(vd, F_PACKED)) {
        *at16(q->driver, 0) = (u16)(q->used | q->used_wrap << 15);
        *at16(q->driver, 2) = !wanted ? EVENT_DISABLE : event ? EVENT_DESC : EVENT_ENABLE;
    } else if (event) {
        /* Not wanted: far from any that comes, since a device may look late. */
        *at16(q->driver, 4 + 2u * q->size) = (u16)(wanted ? q->used : q->used + 0x8000);
    } else {
        *at16(q->driver, 0) = !wanted;
    }
    fence();
}

void queue_init(struct vdev *vd, struct queue *q)
{
    memset(q->desc, 0, q->size * 16u);
    memset(q->driver, 0, 6 + 2u * q->size);
    memset(q->device, 0, 6 + 8u * q->size);
    for (u32 i = 0; i < q->size; i++) {
        q->link[i] = (u16)(i + 1);
    }
    q->avail = q->used = q->next_free = q->told = 0;
    q->since_told = 0;
    q->avail_wrap = q->used_wrap = true;
    q->free = q->size;
    q->broken = false;
    arm(vd, q);
}

/* ---- adding ---- */

/* All segments into a table of the buffer's own; in a packed queue's the order is the link. */
static struct seg fill_table(struct vdev *vd, struct queue *q, u16 id, const struct seg *segs,
                             u32 n_out, u32 n)
{
    struct desc *table = (struct desc *)(q->indirect + id * MAX_CHAIN * 16u);
    bool packed = virtio_has(vd, F_PACKED);

    for (u32 i = 0; i < n; i++) {
        u16 flags = i >= n_out ? D_WRITE : 0;
        table[i].addr = (uintptr_t)segs[i].addr;
        table[i].len = segs[i].len;
        table[i].a = packed ? 0 : (u16)(flags | (i + 1 < n ? D_NEXT : 0));
        table[i].b = packed ? flags : (u16)(i + 1);
    }
    return (struct seg){table, n * 16};
}

static void add_split(struct queue *q, const struct seg *segs, u32 n_out, u32 n, bool table)
{
    u16 head = q->next_free, at = head;

    for (u32 i = 0; i < n; i++) {
        struct desc *d = &descs(q)[at];
        d->addr = (uintptr_t)segs[i].addr;
        d->len = segs[i].len;
        d->a = (u16)((i >= n_out ? D_WRITE : 0) | (i + 1 < n ? D_NEXT : 0) | (table ? D_INDIRECT : 0));
        d->b = q->link[at];
        at = q->link[at];
    }
    q->next_free = at;
    q->count[head] = (u16)n;
    *at16(q->driver, 4 + 2u * (q->avail % q->size)) = head;
    __asm__ volatile("" : : : "memory");
    *at16(q->driver, 2) = ++q->avail;
}

/* The first descriptor's flags make all of them available: they are written last. */
static void add_packed(struct queue *q, const struct seg *segs, u32 n_out, u32 n, bool table)
{
    u16 id = q->next_free, first = q->avail, first_flags = 0;

    q->next_free = q->link[id];
    q->count[id] = (u16)n;
    for (u32 i = 0; i < n; i++) {
        struct desc *d = &descs(q)[q->avail];
        u16 flags = (u16)((i >= n_out ? D_WRITE : 0) | (i + 1 < n ? D_NEXT : 0) |
                          (table ? D_INDIRECT : 0) | (q->avail_wrap ? P_AVAIL : P_USED));
        d->addr = (uintptr_t)segs[i].addr;
        d->len = segs[i].len;
        d->a = id;
        if (i)
            *(volatile u16 *)&d->b = flags;
        else
            first_flags = flags;
        if (++q->avail == q->size) {
            q->avail = 0;
            q->avail_wrap = !q->avail_wrap;
        }
    }
    __asm__ volatile("" : : : "memory");
    *(volatile u16 *)&descs(q)[first].b = first_flags;
}

int queue_add(struct vdev *vd, struct queue *q, const struct seg *segs, u32 n_out, u32 n_in)
{
    u32 n = n_out + n_in, needed = vd->indirect ? 1 : n;
    u16 id = q->next_free;
    struct seg table;

    if (!n || n > MAX_CHAIN || q->free < needed)
        return -1;
    q->free = (u16)(q->free - needed);
    q->since_told += virtio_has(vd, F_PACKED) ? needed : 1;
    if (vd->indirect) {
        table = fill_table(vd, q, id, segs, n_out, n);
        segs = &table;
        n = n_out = 1;
    }
    if (virtio_has(vd, F_PACKED))
        add_packed(q, segs, n_out, n, vd->indirect);
    else
        add_split(q, segs, n_out, n, vd->indirect);
    return id;
}

/* ---- telling ---- */

/* Whether EVENT is among the COUNT places up to (without) NEW. */
static bool passed(u16 event, u16 new, u32 count)
{
    return (u16)(new - event - 1) < (u16)count;
}

/* The place in EVENT is before ours by up to a ring, in this turn or in the one before. */
static bool packed_wants(struct queue *q)
{
    u16 event = *at16(q->device, 0), flags = *at16(q->device, 2) & 3, place = event & 0x7fff;

    if (flags != EVENT_DESC)
        return flags == EVENT_ENABLE;
    if ((event >> 15 != 0) != q->avail_wrap)
        place = (u16)(place - q->size);
    return passed(place, q->avail, q->since_told);
}

static bool wants_kick(struct vdev *vd, struct queue *q)
{
    fence();
    if (virtio_has(vd, F_PACKED))
        return packed_wants(q);
    if (virtio_has(vd, F_EVENT_IDX))
        return passed(*at16(q->device, 4 + 8u * q->size), q->avail, q->since_told);
    return !(*at16(q->device, 0) & 1);
}

void queue_kick(struct vdev *vd, struct queue *q)
{
    bool wanted = q->since_told && wants_kick(vd, q);

    q->since_told = 0;
    if (!wanted) {
        q->quiet_kicks++;
        return;
    }
    q->kicks++;
    virtio_set16(vd, q->notify, 0, q->index);
}

/* ---- used buffers ---- */

static void give_back(struct queue *q, u16 id, bool packed)
{
    u16 n = q->count[id], last = id;

    for (u32 i = 1; !packed && i < n; i++) {
        last = q->link[last];
    }
    q->link[last] = q->next_free;
    q->next_free = id;
    q->free = (u16)(q->free + n);
    q->count[id] = 0;
}

static bool pop_split(struct queue *q, u32 *id, u32 *len)
{
    u32 at = 4 + 8u * (q->used % q->size);

    if (*at16(q->device, 2) == q->used)
        return false;
    __asm__ volatile("" : : : "memory");
    *id = *at32(q->device, at);
    *len = *at32(q->device, at + 4);
    q->used++;
    return true;
}

/* A buffer is used when both bits are the counter's; the device skips as many places as it had. */
static bool pop_packed(struct queue *q, u32 *id, u32 *len)
{
    struct desc *d = &descs(q)[q->used];
    u16 flags = *(volatile u16 *)&d->b, want = q->used_wrap ? P_AVAIL | P_USED : 0;

    if ((flags & (P_AVAIL | P_USED)) != want)
        return false;
    __asm__ volatile("" : : : "memory");
    *id = d->a;
    *len = d->len;
    if (*id >= q->size)
        return true;
    q->used = (u16)(q->used + q->count[*id]);
    if (q->used >= q->size) {
        q->used = (u16)(q->used - q->size);
        q->used_wrap = !q->used_wrap;
    }
    return true;
}

bool queue_pop(struct vdev *vd, struct queue *q, u32 *id, u32 *len)
{
    bool packed = virtio_has(vd, F_PACKED);

    if (q->broken || !(packed ? pop_packed(q, id, len) : pop_split(q, id, len)))
        return false;
    if (*id >= q->size || !q->count[*id]) {
        emit("virtio used");
        pci_emit_bdf(vd->bdf);
        emit(" queue=%u id=%u status=bad\n", q->index, *id);
        q->broken = true;
        return false;
    }
    give_back(q, (u16)*id, packed);
    arm(vd, q);
    return true;
}

bool queue_wait(struct vdev *vd, struct queue *q, u32 *id, u32 *len)
{
    struct deadline d;

    for (deadline_start(&d, PATIENCE_US); !queue_pop(vd, q, id, len);) {
        if (q->broken || deadline_passed(&d))
            return false;
        if (virtio_interrupts(vd) &&
            !virtio_await(vd, q, virtio_queue_interrupts(vd, q), PATIENCE_US))
            return false;
    }
    return true;
}

static void complain(struct vdev *vd, struct queue *q, const char *what)
{
    emit("virtio request");
    pci_emit_bdf(vd->bdf);
    emit(" queue=%u device=%#x what=%s status=timeout\n", q->index, virtio_status(vd), what);
}

bool queue_request(struct vdev *vd, struct queue *q, const struct seg *segs, u32 n_out, u32 n_in,
                   u32 *len)
{
    u32 before = virtio_queue_interrupts(vd, q), id;
    int added = queue_add(vd, q, segs, n_out, n_in);

    if (added < 0) {
        complain(vd, q, "room");
        return false;
    }
    queue_kick(vd, q);
    /* Before it is looked at: a device need not interrupt for what the driver has seen already. */
    if (virtio_interrupts(vd) && !virtio_await(vd, q, before, PATIENCE_US)) {
        complain(vd, q, "interrupt");
        return false;
    }
    if (!queue_wait(vd, q, &id, len) || id != (u32)added) {
        complain(vd, q, "buffer");
        return false;
    }
    return true;
}

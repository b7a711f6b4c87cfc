/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A virtio function's registers, its status and its interrupts.
 *
 * Registers are reached through phys_ptr() at each access: above 4 GiB the mapping may be a window
 * that is not to be kept. Memory for rings and buffers comes from a fixed part of RAM per device,
 * taken anew with each opening, so that a device opened a thousand times needs no more.
 *
 * MSI-X: entry 0 is for configuration changes, entry 1 + i for queue i; with fewer entries than that
 * the queues share what is there. Entry n has vector VEC_FIRST + n % VEC_COUNT, so interrupts are
 * counted per vector and with very many queues two share a number. INTx: one function at a time; the
 * handler reads the ISR, which takes the level back, and counts by its bits.
 */
#include "virtio.h"

/* Above those of probe.h and of the order loop. */
enum { VEC_INTX = 0x5f, VEC_FIRST = 0x60, VEC_COUNT = 0x90 };

#define ARENA_BASE 0x2000000ull
#define ARENA_SIZE 0x400000ull
#define MAX_DEVICES 8
#define PATIENCE_US 20000000u
#define MADT_LEVEL_HIGH 0xd

enum { CFG_COMMON = 1, CFG_NOTIFY, CFG_ISR, CFG_DEVICE };

static struct vdev devices[MAX_DEVICES];
static struct vdev *intx_device;
static volatile u32 intx_queue, intx_config;

/* ---- registers ---- */

u8 virtio_get8(struct vdev *vd, u64 base, u32 off)
{
    (void)vd;
    return *(volatile u8 *)phys_ptr(base + off, 1);
}

u16 virtio_get16(struct vdev *vd, u64 base, u32 off)
{
    (void)vd;
    return *(volatile u16 *)phys_ptr(base + off, 2);
}

u32 virtio_get32(struct vdev *vd, u64 base, u32 off)
{
    (void)vd;
    return *(volatile u32 *)phys_ptr(base + off, 4);
}

void virtio_set8(struct vdev *vd, u64 base, u32 off, u8 v)
{
    (void)vd;
    *(volatile u8 *)phys_ptr(base + off, 1) = v;
}

void virtio_set16(struct vdev *vd, u64 base, u32 off, u16 v)
{
    (void)vd;
    *(volatile u16 *)phys_ptr(base + off, 2) = v;
}

void virtio_set32(struct vdev *vd, u64 base, u32 off, u32 v)
{
    (void)vd;
    *(volatile u32 *)phys_ptr(base + off, 4) = v;
}

/* 64-bit fields are two halves (4.1.3.1). */
void virtio_set64(struct vdev *vd, u64 base, u32 off, u64 v)
{
    virtio_set32(vd, base, off, (u32)v);
    virtio_set32(vd, base, off + 4, (u32)(v >> 32));
}

/* ---- finding ---- */

/* The first capability of each type counts (4.1.4). */
static void read_cap(struct vdev *vd, u8 at)
{
    u32 head = pci_read32(vd->bdf, at), bar = pci_read32(vd->bdf, (u8)(at + 4)) & 0xff;
    u64 base = bar < 6 ? pci_bar_address(vd->bdf, bar) : 0;
    u64 addr = base ? base + pci_read32(vd->bdf, (u8)(at + 8)) : 0;

    switch (head >> 24) {
    case CFG_COMMON:
        vd->common = vd->common ? vd->common : addr;
        break;
    case CFG_NOTIFY:
        vd->notify = vd->notify ? vd->notify : addr;
        vd->notify_multiplier = pci_read32(vd->bdf, (u8)(at + 16));
        break;
    case CFG_ISR:
        vd->isr = vd->isr ? vd->isr : addr;
        break;
    case CFG_DEVICE:
        vd->config = vd->config ? vd->config : addr;
        vd->config_size = pci_read32(vd->bdf, (u8)(at + 12));
        break;
    }
}

bool virtio_registers(struct vdev *vd)
{
    u8 at;

    vd->common = vd->notify = vd->isr = vd->config = vd->msix = 0;
    vd->config_size = vd->msix_count = 0;
    for (at = pci_find_cap(vd->bdf, PCI_CAP_VENDOR, 0); at;
         at = pci_find_cap(vd->bdf, PCI_CAP_VENDOR, at)) {
        read_cap(vd, at);
    }
    at = pci_find_cap(vd->bdf, PCI_CAP_MSIX, 0);
    if (at) {
        u32 table = pci_read32(vd->bdf, (u8)(at + 4));
        vd->msix = pci_bar_address(vd->bdf, table & 7) + (table & ~7u);
        vd->msix_count = (pci_get16(vd->bdf, (u8)(at + 2)) & 0x7ff) + 1u;
    }
    return vd->common && vd->notify && phys_ptr(vd->common, 1);
}

/* The place of a function that went is given to the next. */
static struct vdev *slot_of(u16 bdf)
{
    struct vdev *unused = NULL;

    for (u32 i = 0; i < MAX_DEVICES; i++) {
        if (devices[i].present && devices[i].bdf == bdf)
            return &devices[i];
        if (!devices[i].present && !unused)
            unused = &devices[i];
    }
    return unused;
}

struct vdev *virtio_find(u16 bdf)
{
    struct vdev *vd = slot_of(bdf);
    u32 id = pci_read32(bdf, 0);

    if (!vd)
        return NULL;
    if ((id & 0xffff) != 0x1af4 || id >> 16 < 0x1040) {
        vd->present = false;
        return NULL;
    }
    id = (id >> 16) - 0x1040;
    if (vd->present && vd->id == id && vd->common)
        return vd;
    vd->present = true;
    vd->queues = 0;
    vd->bdf = bdf;
    vd->id = (u16)id;
    return virtio_registers(vd) ? vd : NULL;
}

/* ---- memory ---- */

static bool is_ram(u64 base, u64 size)
{
    for (u32 i = 0; i < boot.ranges && i < MAX_RANGES; i++) {
        const struct range *r = &boot.range[i];
        if (r->type == 1 && r->base <= base && base - r->base <= r->size &&
            r->size - (base - r->base) >= size)
            return true;
    }
    return false;
}

static bool arena_begin(struct vdev *vd)
{
    u64 base = ARENA_BASE + (u64)(vd - devices) * ARENA_SIZE;

    if (!is_ram(base, ARENA_SIZE))
        return false;
    vd->arena = phys_ptr(base, ARENA_SIZE);
    vd->arena_end = vd->arena + ARENA_SIZE - DATA_SIZE;
    vd->data = vd->arena_end;
    return true;
}

void *virtio_alloc(struct vdev *vd, u32 size, u32 align)
{
    u8 *at = (u8 *)(((uintptr_t)vd->arena + align - 1) & ~(uintptr_t)(align - 1));

    if (at > vd->arena_end || (u64)(vd->arena_end - at) < size)
        return NULL;
    vd->arena = at + size;
    return memset(at, 0, size);
}

/* ---- interrupts ---- */

bool virtio_interrupts(const struct vdev *vd)
{
    return vd->mode == MODE_MSIX || vd->mode == MODE_INTX;
}

static u8 cpu_vector(u32 entry)
{
    return (u8)(VEC_FIRST + entry % VEC_COUNT);
}

static void intx_handler(void)
{
    u8 isr = intx_device ? virtio_get8(intx_device, intx_device->isr, 0) : 0;

    intx_queue += isr & 1;
    intx_config += isr >> 1 & 1;
}

/* The pin's turn through a port, then the LPC bridge's PIRQ: inputs 16 to 23. */
static u32 intx_gsi(u16 bdf)
{
    u32 pin = pci_get8(bdf, PCI_INTERRUPT_PIN) - 1u, slot = bdf >> 3 & 31;

    for (u32 devfn = 0; (bdf >> 8) && devfn < 256; devfn++) {
        u8 hdr = pci_get8((u16)devfn, PCI_HEADER_TYPE);
        if (hdr == 0xff || (hdr & 0x7f) != 1 || pci_get8((u16)devfn, PCI_PRIMARY + 1) != bdf >> 8)
            continue;
        pin = (pin + slot) % 4;
        slot = devfn >> 3;
        break;
    }
    if (slot < 25 || slot == 30)
        return 16 + 4 + (slot < 24 ? slot + pin : pin) % 4;
    return 16 + pin;
}

/* A shared line's other functions keep silent: their INTx is off. */
static void intx_begin(struct vdev *vd)
{
    u32 gsi = intx_gsi(vd->bdf);

    intx_device = vd;
    trap_set(VEC_INTX, intx_handler);
    virtio_get8(vd, vd->isr, 0);
    ioapic_route(gsi, VEC_INTX, MADT_LEVEL_HIGH);
}

static u64 msix_entry(const struct vdev *vd, u32 n)
{
    return vd->msix + 16 * n;
}

static void msix_begin(struct vdev *vd)
{
    for (u32 n = 0; n < vd->msix_count; n++) {
        u64 at = msix_entry(vd, n);
        virtio_set32(vd, at, 0, 0xfee00000u | lapic_id() << 12);
        virtio_set32(vd, at, 4, 0);
        virtio_set32(vd, at, 8, cpu_vector(n));
        virtio_set32(vd, at, 12, 0);
    }
}

void virtio_mask(struct vdev *vd, u32 n, bool on)
{
    virtio_set32(vd, msix_entry(vd, n), 12, on);
}

bool virtio_pending(struct vdev *vd, u32 n)
{
    u8 at = pci_find_cap(vd->bdf, PCI_CAP_MSIX, 0);
    u32 pba = pci_read32(vd->bdf, (u8)(at + 8));
    u64 base = pci_bar_address(vd->bdf, pba & 7) + (pba & ~7u);

    return virtio_get32(vd, base, n / 32 * 4) >> n % 32 & 1;
}

static void interrupts_begin(struct vdev *vd)
{
    bool msix = vd->mode == MODE_MSIX || vd->mode == MODE_QUIET;
    u16 command = pci_get16(vd->bdf, PCI_COMMAND) | PCI_CMD_MEMORY | PCI_CMD_MASTER;
    u8 at = pci_find_cap(vd->bdf, PCI_CAP_MSIX, 0);

    if (intx_device == vd)
        intx_device = NULL;
    command = vd->mode == MODE_INTX ? command & (u16)~PCI_CMD_NO_INTX : command | PCI_CMD_NO_INTX;
    pci_set16(vd->bdf, PCI_COMMAND, command);
    if (at)
        pci_set16(vd->bdf, (u8)(at + 2), msix ? 0x8000 : 0);
    if (msix && at)
        msix_begin(vd);
    if (vd->mode == MODE_INTX)
        intx_begin(vd);
}

u32 virtio_queue_interrupts(struct vdev *vd, const struct queue *q)
{
    if (vd->mode == MODE_INTX)
        return intx_queue;
    return q->vector == NO_VECTOR ? 0 : irq_count[cpu_vector(q->vector)];
}

u32 virtio_config_interrupts(struct vdev *vd)
{
    return vd->mode == MODE_INTX ? intx_config : irq_count[cpu_vector(0)];
}

/* Q NULL: a configuration change. */
bool virtio_await(struct vdev *vd, const struct queue *q, u32 before, u32 us)
{
    struct deadline d;
    bool come = false, late = false;

    irq_enable();
    for (deadline_start(&d, us); !come && !late;) {
        late = deadline_passed(&d);
        come = (q ? virtio_queue_interrupts(vd, q) : virtio_config_interrupts(vd)) != before;
    }
    irq_disable();
    return come;
}

/* ---- features and status ---- */

bool virtio_has(const struct vdev *vd, u32 bit)
{
    return vd->features >> bit & 1;
}

u64 virtio_offered(struct vdev *vd)
{
    u64 v;

    virtio_set32(vd, vd->common, C_DEVICE_SELECT, 0);
    v = virtio_get32(vd, vd->common, C_DEVICE_FEATURES);
    virtio_set32(vd, vd->common, C_DEVICE_SELECT, 1);
    return v | (u64)virtio_get32(vd, vd->common, C_DEVICE_FEATURES) << 32;
}

u8 virtio_status(struct vdev *vd)
{
    return virtio_get8(vd, vd->common, C_STATUS);
}

u32 virtio_queue_count(struct vdev *vd)
{
    return virtio_get16(vd, vd->common, C_NUM_QUEUES);
}

bool virtio_reset(struct vdev *vd)
{
    struct deadline d;

    virtio_set8(vd, vd->common, C_STATUS, 0);
    for (deadline_start(&d, PATIENCE_US); virtio_status(vd);) {
        if (deadline_passed(&d))
            return false;
    }
    return true;
}

static bool add_status(struct vdev *vd, u8 bits)
{
    u8 status = virtio_status(vd) | bits;

    virtio_set8(vd, vd->common, C_STATUS, status);
    return (virtio_status(vd) & bits) == bits;
}

static bool write_features(struct vdev *vd)
{
    for (u32 i = 0; i < 2; i++) {
        virtio_set32(vd, vd->common, C_DRIVER_SELECT, i);
        virtio_set32(vd, vd->common, C_DRIVER_FEATURES, (u32)(vd->features >> 32 * i));
    }
    return true;
}

static bool write_config_vector(struct vdev *vd)
{
    bool msix = vd->mode == MODE_MSIX || vd->mode == MODE_QUIET;

    interrupts_begin(vd);
    if (!msix)
        return true;
    virtio_set16(vd, vd->common, C_CONFIG_VECTOR, 0);
    return virtio_get16(vd, vd->common, C_CONFIG_VECTOR) == 0;
}

/* ---- queues ---- */

static u16 choose_vector(const struct vdev *vd, u32 index)
{
    if (vd->mode != MODE_MSIX && vd->mode != MODE_QUIET)
        return NO_VECTOR;
    return vd->msix_count > 1 ? (u16)(1 + index % (vd->msix_count - 1)) : 0;
}

static bool write_queue(struct vdev *vd, struct queue *q)
{
    virtio_set16(vd, vd->common, C_QUEUE_SELECT, q->index);
    virtio_set16(vd, vd->common, C_QUEUE_SIZE, q->size);
    virtio_set16(vd, vd->common, C_QUEUE_VECTOR, q->vector);
    virtio_set64(vd, vd->common, C_QUEUE_DESC, (uintptr_t)q->desc);
    virtio_set64(vd, vd->common, C_QUEUE_DRIVER, (uintptr_t)q->driver);
    virtio_set64(vd, vd->common, C_QUEUE_DEVICE, (uintptr_t)q->device);
    q->notify = vd->notify +
                virtio_get16(vd, vd->common, C_QUEUE_NOTIFY_OFF) * vd->notify_multiplier;
    return virtio_get16(vd, vd->common, C_QUEUE_SIZE) == q->size &&
           virtio_get16(vd, vd->common, C_QUEUE_VECTOR) == q->vector;
}

static bool enable_queue(struct vdev *vd, struct queue *q)
{
    virtio_set16(vd, vd->common, C_QUEUE_SELECT, q->index);
    virtio_set16(vd, vd->common, C_QUEUE_ENABLE, 1);
    return virtio_get16(vd, vd->common, C_QUEUE_ENABLE) == 1;
}

/* A power of two, as split rings want. */
static bool prepare_queue(struct vdev *vd, u32 index, u32 size)
{
    struct queue *q = &vd->queue[index];
    u32 most;

    virtio_set16(vd, vd->common, C_QUEUE_SELECT, (u16)index);
    most = virtio_get16(vd, vd->common, C_QUEUE_SIZE);
    q->index = (u16)index;
    q->size = (u16)(size < most ? size : most);
    q->vector = choose_vector(vd, index);
    q->interrupts = virtio_queue_interrupts(vd, q);
    if (!q->size || q->size > MAX_RING || virtio_get16(vd, vd->common, C_QUEUE_ENABLE))
        return false;
    return queue_alloc(vd, q) && write_queue(vd, q);
}

/* Steps behind the first queue's concern all the others. */
static bool open_queues(struct vdev *vd, const struct opening *how)
{
    u32 all = virtio_queue_count(vd), wanted = how->queues && how->queues < all ? how->queues : all;

    vd->queues = 0;
    if (wanted > MAX_QUEUES || !(vd->queue = virtio_alloc(vd, wanted * sizeof(struct queue), 16)))
        return false;
    for (u32 i = 0; i < wanted; i++) {
        if (!prepare_queue(vd, i, how->size))
            return false;
        vd->queues = i + 1;
        if (how->step == STEP_QUEUE_WRITTEN)
            return true;
        if (!enable_queue(vd, &vd->queue[i]))
            return false;
        if (how->step == STEP_QUEUE_ENABLED)
            return true;
    }
    return true;
}

bool virtio_queue_reset(struct vdev *vd, u32 index, bool enable)
{
    struct queue *q = &vd->queue[index];
    struct deadline d;

    virtio_set16(vd, vd->common, C_QUEUE_SELECT, (u16)index);
    virtio_set16(vd, vd->common, C_QUEUE_RESET, 1);
    for (deadline_start(&d, PATIENCE_US); virtio_get16(vd, vd->common, C_QUEUE_RESET);) {
        if (deadline_passed(&d))
            return false;
    }
    if (virtio_get16(vd, vd->common, C_QUEUE_ENABLE))
        return false;
    queue_init(vd, q);
    return !enable || (write_queue(vd, q) && enable_queue(vd, q));
}

bool virtio_open(struct vdev *vd, const struct opening *how)
{
    u16 command = pci_get16(vd->bdf, PCI_COMMAND);

    vd->mode = how->mode;
    vd->sent = vd->received = 0;
    if (!(command & PCI_CMD_MEMORY))
        pci_set16(vd->bdf, PCI_COMMAND, command | PCI_CMD_MEMORY | PCI_CMD_MASTER);
    if (!arena_begin(vd) || !virtio_reset(vd))
        return false;
    vd->offered = virtio_offered(vd);
    vd->features = vd->offered & how->only & ~how->without;
    vd->indirect = how->indirect && virtio_has(vd, F_INDIRECT);
    return (how->step < STEP_ACKNOWLEDGE || add_status(vd, S_ACKNOWLEDGE)) &&
           (how->step < STEP_DRIVER || add_status(vd, S_DRIVER)) &&
           (how->step < STEP_FEATURES || write_features(vd)) &&
           (how->step < STEP_FEATURES_OK || add_status(vd, S_FEATURES_OK)) &&
           (how->step < STEP_VECTORS || write_config_vector(vd)) &&
           (how->step < STEP_QUEUE_WRITTEN || open_queues(vd, how)) &&
           (how->step < STEP_DRIVER_OK || add_status(vd, S_DRIVER_OK));
}

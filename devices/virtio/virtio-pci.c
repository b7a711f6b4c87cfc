/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtio-pci.c - virtio over PCI, virtio 1.2 section 4.1.
 *
 * Everything is in one BAR, 64 bits wide and prefetchable, so that a device costs one range in a
 * bridge's window:
 *
 *   0x0000 common configuration   0x3000 notification: 4 bytes a queue
 *   0x1000 ISR status             0x4000 MSI-X table: up to 512 vectors
 *   0x2000 device configuration   0x6000 MSI-X pending bits
 *
 * The fields of each have a page of their own; bytes behind a structure read as ones.
 *
 * Interrupts. With MSI-X a queue's interrupt is a write to its vector's eventfd, from any thread; no
 * lock is taken and no exit made. Without it (SeaBIOS, and drivers that gave up on MSI-X) the ISR
 * bit is set and the pin follows on the main thread, since the pin needs the device's lock and
 * an I/O thread must never wait for that. The pin's level is always what the ISR says at that moment,
 * so a bit that was read meanwhile raises nothing.
 *
 * VIRTIO_PCI_CAP_PCI_CFG (section 4.1.4.9) is a window through which firmware reaches the BAR by
 * configuration accesses. A read of its data register acts (the ISR is cleared), so the function's
 * hook before a read fetches the data.
 */
#include "virtio-pci.h"

#include "../pci/root-port.h"

#include <unistd.h>

enum {
    AT_COMMON = 0x0000,
    AT_ISR = 0x1000,
    AT_DEVICE = 0x2000,
    AT_NOTIFY = 0x3000,
    AT_TABLE = 0x4000,
    AT_PBA = 0x6000,
    BAR_SIZE = 0x8000,
    BAR = 4,
    NOTIFY_MULTIPLIER = 4,
    MAX_VECTORS = 512,
};
G_STATIC_ASSERT(AT_TABLE + MAX_VECTORS * 16 <= AT_PBA);
G_STATIC_ASSERT(VIRTIO_MAX_QUEUES * NOTIFY_MULTIPLIER <= AT_TABLE - AT_NOTIFY);

/* ---- capabilities: struct virtio_pci_cap, section 4.1.4 ---- */

enum {
    CFG_COMMON = 1,
    CFG_NOTIFY = 2,
    CFG_ISR = 3,
    CFG_DEVICE = 4,
    CFG_PCI = 5,
    CAP_LENGTH = 16,
    CAP_NOTIFY_LENGTH = 20,
    CAP_PCI_LENGTH = 20,
    CAP_BAR = 4,    /* byte offsets within the capability */
    CAP_OFFSET = 8,
    CAP_SIZE = 12,
    CAP_DATA = 16,
};

static const PciCapDesc caps[] = {
    { .name = "common", .id = PCI_CAP_VENDOR, .length = CAP_LENGTH },
    { .name = "isr", .id = PCI_CAP_VENDOR, .length = CAP_LENGTH },
    { .name = "device", .id = PCI_CAP_VENDOR, .length = CAP_LENGTH },
    { .name = "notify", .id = PCI_CAP_VENDOR, .length = CAP_NOTIFY_LENGTH },
    { .name = "cfg", .id = PCI_CAP_VENDOR, .length = CAP_PCI_LENGTH },
    { .name = "pm", .id = PCI_CAP_PM, .length = PCI_PM_LENGTH },
    { .name = "exp", .id = PCI_CAP_EXPRESS, .length = PCI_EXPRESS_LENGTH },
    { .name = "msix", .id = PCI_CAP_MSIX, .length = PCI_MSIX_LENGTH }, /* last: not with vectors=0 */
};

static const VirtioPciConfig *config_of(const Device *dev)
{
    return DEVICE_CONFIG(dev, VirtioPciConfig);
}

static void cap_put(VirtioPci *v, const char *name, guint8 type, guint32 offset, guint32 size)
{
    guint16 at = pci_device_cap(&v->pci.dev, name);
    const PciCapDesc *desc = caps;

    while (strcmp(desc->name, name) != 0)
        desc++;
    v->pci.fn.config[at + 2] = (guint8)desc->length;
    v->pci.fn.config[at + 3] = type;
    if (type != CFG_PCI)
        v->pci.fn.config[at + CAP_BAR] = BAR;
    le32_put(v->pci.fn.config + at + CAP_OFFSET, offset);
    le32_put(v->pci.fn.config + at + CAP_SIZE, size);
}

/* Drivers exist that insist on the structure, so a device without configuration has 4 bytes of 0. */
static guint32 device_size(const VirtioDevice *vd)
{
    return MAX(vd->config_size, 4);
}

static void caps_fill(VirtioPci *v)
{
    VirtioDevice *vd = &v->vd;

    cap_put(v, "common", CFG_COMMON, AT_COMMON, VIRTIO_COMMON_SIZE);
    cap_put(v, "isr", CFG_ISR, AT_ISR, 1);
    cap_put(v, "device", CFG_DEVICE, AT_DEVICE, device_size(vd));
    cap_put(v, "notify", CFG_NOTIFY, AT_NOTIFY, vd->n_queues * NOTIFY_MULTIPLIER);
    le32_put(v->pci.fn.config + pci_device_cap(&v->pci.dev, "notify") + CAP_DATA,
             NOTIFY_MULTIPLIER);
    if (!v->cfg)
        return;
    cap_put(v, "cfg", CFG_PCI, 0, 0);
    v->pci.fn.wmask[v->cfg + CAP_BAR] = 0xff;
    memset(v->pci.fn.wmask + v->cfg + CAP_OFFSET, 0xff, 12);
}

/* ---- the BAR ---- */

static guint64 common_read(gpointer opaque, guint64 offset, unsigned size)
{
    return virtio_common_read(opaque, (guint32)offset, size);
}

static void common_write(gpointer opaque, guint64 offset, guint64 value, unsigned size)
{
    virtio_common_write(opaque, (guint32)offset, value, size);
}

static guint64 isr_read(gpointer opaque, guint64 offset, unsigned size)
{
    return virtio_isr_read(opaque);
}

static guint64 device_read(gpointer opaque, guint64 offset, unsigned size)
{
    return virtio_config_read(opaque, (guint32)offset, size);
}

static void device_write(gpointer opaque, guint64 offset, guint64 value, unsigned size)
{
    virtio_config_write(opaque, (guint32)offset, value, size);
}

static guint64 notify_read(gpointer opaque, guint64 offset, unsigned size)
{
    return 0;
}

/* Which queue is meant follows from the address (section 4.1.4.4), as with an ioeventfd. */
static void notify_write(gpointer opaque, guint64 offset, guint64 value, unsigned size)
{
    virtio_kick(opaque, (guint)offset / NOTIFY_MULTIPLIER);
}

static const IoOps common_ops = { .read = common_read, .write = common_write };
static const IoOps isr_ops = { .read = isr_read, .min_size = 1, .max_size = 1 };
static const IoOps device_ops = { .read = device_read, .write = device_write, .unaligned = TRUE };
static const IoOps notify_ops = { .read = notify_read, .write = notify_write };

static void bar_add(VirtioPci *v, const char *name, guint64 offset, guint64 size, const IoOps *ops)
{
    const PciBarPart part = {
        .offset = offset,
        .size = size,
        .ops = ops,
        .opaque = &v->vd,
        .lockless = ops == &notify_ops, /* a write to an eventfd */
        .name = name,
    };

    pci_bar_add_part(&v->pci.fn, BAR, &part);
}

static void bar_build(VirtioPci *v)
{
    PciFunction *fn = &v->pci.fn;
    guint n = v->vd.n_queues;

    pci_bar_init(fn, BAR, PCI_BAR_MEM64, TRUE, BAR_SIZE);
    bar_add(v, "virtio-common", AT_COMMON, VIRTIO_COMMON_SIZE, &common_ops);
    bar_add(v, "virtio-isr", AT_ISR, 1, &isr_ops);
    bar_add(v, "virtio-device", AT_DEVICE, device_size(&v->vd), &device_ops);
    bar_add(v, "virtio-notify", AT_NOTIFY, n * NOTIFY_MULTIPLIER, &notify_ops);
    for (guint i = 0; i < n && config_of(&v->pci.dev)->ioeventfd; i++)
        pci_bar_add_event(fn, BAR, AT_NOTIFY + i * NOTIFY_MULTIPLIER, 0, FALSE, 0,
                          virtio_kick_fd(&v->vd, i));
}

/* ---- the window in configuration space ---- */

/* The structure that [offset, +size) of the BAR lies in, as it is with an access by the window. */
static gboolean window_target(VirtioPci *v, guint32 *offset, unsigned *size)
{
    const guint8 *cap = v->pci.fn.config + v->cfg;
    guint32 at = le32_get(cap + CAP_OFFSET), n = le32_get(cap + CAP_SIZE);

    if (cap[CAP_BAR] != BAR || (n != 1 && n != 2 && n != 4) || at % n != 0)
        return FALSE;
    *offset = at;
    *size = n;
    return TRUE;
}

static void window_read(PciFunction *fn, guint16 offset, unsigned size)
{
    VirtioPci *v = (VirtioPci *)fn->dev;
    guint8 *data = fn->config + v->cfg + CAP_DATA;
    guint32 at;
    unsigned n;

    if (!pci_touches(offset, size, v->cfg + CAP_DATA, 4) || !window_target(v, &at, &n))
        return;
    if (range_within(at, n, VIRTIO_COMMON_SIZE))
        le_put(data, n, virtio_common_read(&v->vd, at, n));
    else if (at == AT_ISR)
        *data = virtio_isr_read(&v->vd);
    else if (at >= AT_DEVICE && range_within(at - AT_DEVICE, n, v->vd.config_size))
        le_put(data, n, virtio_config_read(&v->vd, at - AT_DEVICE, n));
}

/* Command register, bit 2 (PCI 3.0 section 6.2.2). */
static gboolean is_bus_master(const VirtioPci *v)
{
    return (le16_get(v->pci.fn.config + PCI_COMMAND) & PCI_COMMAND_MASTER) != 0;
}

static void config_written(PciDevice *pci, guint16 offset, unsigned size, guint32 old_value)
{
    VirtioPci *v = (VirtioPci *)pci;
    guint32 at;
    unsigned n;

    virtio_dma_set(&v->vd, is_bus_master(v));
    if (!v->cfg || !pci_touches(offset, size, v->cfg + CAP_DATA, 4) || !window_target(v, &at, &n))
        return;
    guint64 value = le_get(pci->fn.config + v->cfg + CAP_DATA, n);
    if (range_within(at, n, VIRTIO_COMMON_SIZE))
        virtio_common_write(&v->vd, at, value, n);
    else if (at >= AT_DEVICE && range_within(at - AT_DEVICE, n, v->vd.config_size))
        virtio_config_write(&v->vd, at - AT_DEVICE, value, n);
    else if (at >= AT_NOTIFY && range_within(at - AT_NOTIFY, n, v->vd.n_queues * NOTIFY_MULTIPLIER))
        virtio_kick(&v->vd, (at - AT_NOTIFY) / NOTIFY_MULTIPLIER);
}

/* ---- interrupts ---- */

static void pin_update(gpointer user)
{
    VirtioPci *v = user;

    g_atomic_int_set(&v->intx_asked, FALSE);
    LOCK_SCOPE(&v->pci.dev.lock);
    pci_intx_set(&v->pci.fn, __atomic_load_n(&v->vd.isr, __ATOMIC_ACQUIRE) != 0);
}

static void interrupt(VirtioPci *v, guint16 vector, guint8 isr)
{
    guint64 one = 1;

    if (pci_msix_enabled(&v->pci.msix)) {
        if (vector < v->pci.msix.n && write(v->vector_fds[vector], &one, sizeof one) < 0)
            return; /* full: an interrupt is due anyway */
        return;
    }
    __atomic_fetch_or(&v->vd.isr, isr, __ATOMIC_ACQ_REL);
    if (g_atomic_int_compare_and_exchange(&v->intx_asked, FALSE, TRUE))
        vm_post(device_set_vm(v->pci.dev.set), pin_update, v);
}

static void notify_queue(gpointer transport, guint index)
{
    VirtioPci *v = transport;

    interrupt(v, __atomic_load_n(&v->vd.regs[index].vector, __ATOMIC_RELAXED), VIRTIO_ISR_QUEUE);
}

static void notify_config(gpointer transport)
{
    VirtioPci *v = transport;

    interrupt(v, __atomic_load_n(&v->vd.config_vector, __ATOMIC_RELAXED), VIRTIO_ISR_CONFIG);
}

static void isr_cleared(gpointer transport)
{
    pci_intx_set(&((VirtioPci *)transport)->pci.fn, FALSE);
}

static const VirtioTransportOps transport_ops = {
    .notify_queue = notify_queue, .notify_config = notify_config, .isr_cleared = isr_cleared
};

static gboolean vectors_open(VirtioPci *v, guint n, GError **error)
{
    v->vector_fds = g_new0(int, n);
    for (guint i = 0; i < n; i++) {
        v->vector_fds[i] = pci_msix_fd(&v->pci.msix, i, error);
        if (v->vector_fds[i] < 0)
            return FALSE;
    }
    return TRUE;
}

/* ---- resolve and realize ---- */

static gboolean check_capabilities(const Device *dev, guint vectors, GError **error)
{
    static const char *const wanted[] = { "common", "isr", "device", "notify", "msix" };

    for (guint i = 0; i < G_N_ELEMENTS(wanted) - (vectors ? 0 : 1); i++) {
        if (!pci_device_cap(dev, wanted[i]))
            return error_set(error,
                             "Property 'capabilities' of device '%s': it needs '%s', and '%s' does "
                             "not name it",
                             dev->id, wanted[i], config_of(dev)->base.capabilities);
    }
    return TRUE;
}

gboolean virtio_pci_resolve(Device *dev, const VirtioPciType *type, guint n_queues, GError **error)
{
    VirtioPci *v = (VirtioPci *)dev;
    const VirtioPciConfig *c = config_of(dev);

    if (!prop_bag_is_set(dev->bag, "vectors"))
        prop_bag_set_u(dev->bag, "vectors", MIN(n_queues + 1, MAX_VECTORS), ORIGIN_DEFAULT);
    if (c->in_order && !type->in_order)
        return error_set(error,
                         "Property 'in_order' of device '%s' is on, but a %s does not always return "
                         "buffers in order",
                         dev->id, dev->type->name);
    v->info = (PciTypeInfo){
        .vendor = 0x1af4,
        .device = (guint16)(0x1040 + type->ops->device_id),
        .subsystem_vendor = 0x1af4,
        .subsystem = 0x1100,
        .revision = 1,
        .class_code = type->class_code,
        .pin = 1,
        .caps = caps,
        .n_caps = G_N_ELEMENTS(caps) - (c->vectors ? 0 : 1),
    };
    return pci_device_resolve(dev, &v->info, error) && check_capabilities(dev, c->vectors, error);
}

static guint64 ring_features(const VirtioPciConfig *c)
{
    return (c->indirect_desc ? VIRTIO_BIT(VIRTIO_F_INDIRECT_DESC) : 0) |
           (c->event_idx ? VIRTIO_BIT(VIRTIO_F_EVENT_IDX) : 0) |
           (c->packed ? VIRTIO_BIT(VIRTIO_F_RING_PACKED) : 0) |
           (c->in_order ? VIRTIO_BIT(VIRTIO_F_IN_ORDER) : 0) |
           (c->queue_reset ? VIRTIO_BIT(VIRTIO_F_RING_RESET) : 0);
}

static void function_build(VirtioPci *v, guint vectors)
{
    Device *dev = &v->pci.dev;
    PciFunction *fn = &v->pci.fn;
    guint16 at;
    PcieDesc express = { .kind = PCIE_INTEGRATED_ENDPOINT, .flr = TRUE };

    if (pcie_slot_link(fn->bus, &express.speed, &express.width))
        express.kind = PCIE_ENDPOINT;
    v->cfg = pci_device_cap(dev, "cfg");
    v->pci.config_written = config_written;
    if (v->cfg)
        fn->config_reading = window_read;
    bar_build(v);
    caps_fill(v);
    if ((at = pci_device_cap(dev, "pm")))
        pci_pm_init(fn, at);
    if ((at = pci_device_cap(dev, "exp"))) {
        pcie_cap_init(fn, at, &express);
        v->pci.express = (guint8)at;
        fn->config_size = 4096;
    }
    if (vectors)
        pci_msix_init(&v->pci.msix, fn, pci_device_cap(dev, "msix"), vectors, BAR, AT_TABLE, AT_PBA);
    pci_device_seal(dev);
}

gboolean virtio_pci_realize(Device *dev, const VirtioPciType *type, guint64 features, guint n_queues,
                            const guint16 *max_sizes, guint config_size, GError **error)
{
    VirtioPci *v = (VirtioPci *)dev;
    const VirtioPciConfig *c = config_of(dev);

    if (!pci_device_realize(dev, &v->info, error) ||
        !virtio_init(&v->vd, dev, type->ops, features | ring_features(c), n_queues, max_sizes,
                     config_size, &transport_ops, v, c->vectors, error))
        return FALSE;
    function_build(v, c->vectors);
    virtio_dma_set(&v->vd, is_bus_master(v));
    return vectors_open(v, c->vectors, error);
}

/* ---- the rest of life ---- */

void virtio_pci_publish(Device *dev)
{
    pci_device_publish(dev);
}

void virtio_pci_reset(Device *dev, ResetKind kind)
{
    virtio_reset(virtio_pci_vd(dev));
    pci_device_reset(dev);
    virtio_dma_set(virtio_pci_vd(dev), is_bus_master((VirtioPci *)dev));
}

void virtio_pci_quiesce(Device *dev)
{
    VirtioPci *v = (VirtioPci *)dev;

    virtio_quiesced(&v->vd);
    pci_intx_set(&v->pci.fn, __atomic_load_n(&v->vd.isr, __ATOMIC_ACQUIRE) != 0); /* what is posted comes after it is saved */
    pci_device_quiesce(dev);
}

void virtio_pci_resume(Device *dev)
{
    virtio_resume(virtio_pci_vd(dev));
}

void virtio_pci_unpublish(Device *dev)
{
    pci_device_unpublish(dev);
    LOCK_SCOPE(&dev->lock);
    virtio_reset(virtio_pci_vd(dev));
}

void virtio_pci_unrealize(Device *dev)
{
    VirtioPci *v = (VirtioPci *)dev;

    vm_post_cancel(device_set_vm(dev->set), pin_update, v);
    pci_device_unrealize(dev);
    virtio_exit(&v->vd);
    g_clear_pointer(&v->vector_fds, g_free);
}

gboolean virtio_pci_post_load(Device *dev, GError **error)
{
    VirtioPci *v = (VirtioPci *)dev;

    pci_device_post_load(dev);
    virtio_dma_set(&v->vd, is_bus_master(v));
    pci_intx_set(&v->pci.fn, v->vd.isr != 0); /* of a build that saved it before the pin had followed */
    return virtio_post_load(&v->vd, error);
}

void virtio_pci_abi(Device *dev, AbiSink *sink)
{
    const VirtioDevice *vd = virtio_pci_vd(dev);
    g_autofree guint8 *sizes = g_malloc0(2 * vd->n_queues);
    guint8 features[8], config_size[4];

    pci_device_abi(dev, sink);
    le64_put(features, vd->offered);
    abi_leaf(sink, "virtio-features", features, sizeof features, NULL);
    for (guint i = 0; i < vd->n_queues; i++)
        le16_put(sizes + 2 * i, vd->queues[i].max_size);
    abi_leaf(sink, "virtio-queues", sizes, 2 * vd->n_queues, NULL);
    le32_put(config_size, vd->config_size);
    abi_leaf(sink, "virtio-config-size", config_size, sizeof config_size, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * host-bridge.c - the Q35 host bridge (Intel 3 Series Express chipset datasheet, chapter 5) and
 * with it pcie.0: the ports 0xcf8/0xcfc and the ECAM window.
 *
 * ECAM is enabled from reset on, at the rows ecam-base and ecam-size, although the chip comes up
 * with it disabled: a guest that is entered without firmware (PVH) finds its address in MCFG and
 * nobody would have programmed it. Firmware may move it by PCIEXBAR as usual. A move is a change
 * of topology, so the hook posts it and holds the vCPUs until the main thread is done: the guest
 * uses the window with its next instruction.
 *
 * The regions' hooks run without a lock. They touch one word of their own (the address latch,
 * atomic); the lock that an access needs is that of the function which it reaches, and the bus
 * takes it. Under this device's lock they would nest.
 *
 * PAM (0x90-0x96) rules what stands at 0xc0000-0xfffff, as shadow.c says, while there is firmware.
 * A machine without firmware has RAM there whatever the registers say: its kernel was loaded with
 * tables in that area, and nobody would have opened it. A change is posted like a move of ECAM.
 *
 * SMRAM (0x9d) is a register only. There is no SMM.
 */
#include "../mem/memory-backend.h"
#include "../pci/bar.h"
#include "parts.h"
#include "shadow.h"

enum {
    PCIEXBAR = 0x60,
    PAM0 = 0x90,
    PAM_LAST = 0x96,
    SMRAM = 0x9d,
    SMRAM_D_LCK = 1 << 4,
    SMRAM_D_OPEN = 1 << 6,
    RESET_CONTROL = 1, /* 0xcf9 - 0xcf8 */
    CONFIG_DATA = 4,   /* 0xcfc - 0xcf8 */
};

#define ADDRESS_ENABLE (1u << 31)

typedef struct {
    Device      dev;
    PciFunction fn;
    PciBus     *bus;
    Device     *lpc;
    guint32     address; /* the latch at 0xcf8; atomic */
    IoRegion   *ports, *ecam;
    guint64     ecam_base, ecam_size; /* where the region is now; 0: nowhere. Main thread */
    Shadow     *shadow;     /* NULL: no firmware. Main thread */
    Deferred   *move, *pam;
} HostBridge;

/* ---- ports 0xcf8-0xcff ---- */

static guint64 ports_read(gpointer opaque, guint64 offset, unsigned size)
{
    HostBridge *hb = opaque;
    guint32 address = (guint32)g_atomic_int_get((gint *)&hb->address);

    if (offset < CONFIG_DATA) {
        if (offset == RESET_CONTROL && size == 1)
            return lpc_reset_control_read(hb->lpc);
        return size == 4 ? address : ones(size);
    }
    if (!(address & ADDRESS_ENABLE))
        return ones(size);
    return pci_bus_config_read(hb->bus, (guint8)(address >> 16), (guint8)(address >> 8),
                               (guint16)((address & 0xfc) + (offset - CONFIG_DATA)), size);
}

static void ports_write(gpointer opaque, guint64 offset, guint64 value, unsigned size)
{
    HostBridge *hb = opaque;

    if (offset < CONFIG_DATA) {
        if (offset == 0 && size == 4) /* narrower accesses are not for the latch */
            g_atomic_int_set((gint *)&hb->address, (gint)(value & 0x80fffffc));
        else if (offset == RESET_CONTROL && size == 1)
            lpc_reset_control_write(hb->lpc, (guint8)value);
        return;
    }
    guint32 address = (guint32)g_atomic_int_get((gint *)&hb->address);
    if (address & ADDRESS_ENABLE)
        pci_bus_config_write(hb->bus, (guint8)(address >> 16), (guint8)(address >> 8),
                             (guint16)((address & 0xfc) + (offset - CONFIG_DATA)), (guint32)value,
                             size);
}

static const IoOps ports_ops = {
    .read = ports_read, .write = ports_write, .min_size = 1, .max_size = 4
};

/* ---- ECAM (PCI Express base 7.2.2): bus in bits 27-20, function 19-12, register 11-0 ---- */

static guint64 ecam_read(gpointer opaque, guint64 offset, unsigned size)
{
    HostBridge *hb = opaque;
    return pci_bus_config_read(hb->bus, (guint8)(offset >> 20), (guint8)(offset >> 12),
                               offset & 0xfff, size);
}

static void ecam_write(gpointer opaque, guint64 offset, guint64 value, unsigned size)
{
    HostBridge *hb = opaque;
    pci_bus_config_write(hb->bus, (guint8)(offset >> 20), (guint8)(offset >> 12), offset & 0xfff,
                         (guint32)value, size);
}

static const IoOps ecam_ops = {
    .read = ecam_read, .write = ecam_write, .min_size = 1, .max_size = 4
};

/* What PCIEXBAR says: size by bits 2-1 (3 is reserved), base by the bits above that size. Lock
 * held. */
static void ecam_wanted(const HostBridge *hb, guint64 *base, guint64 *size)
{
    guint64 bar = le64_get(hb->fn.config + PCIEXBAR);
    guint length = (bar >> 1) & 3;

    *size = (bar & 1) && length < 3 ? (256u << 20) >> length : 0;
    *base = *size ? bar & G_GUINT64_CONSTANT(0xffffff000) & ~(*size - 1) : 0;
}

static void ecam_unmap(HostBridge *hb)
{
    if (hb->ecam)
        iobus_remove(device_set_vm(hb->dev.set), hb->ecam);
    hb->ecam = NULL;
    hb->ecam_base = hb->ecam_size = 0;
}

/* Main thread, lock not held: brings the region to where the register has it. */
static void ecam_update(gpointer user)
{
    HostBridge *hb = user;
    g_autoptr(GError) error = NULL;
    guint64 base, size;

    g_mutex_lock(&hb->dev.lock);
    ecam_wanted(hb, &base, &size);
    g_mutex_unlock(&hb->dev.lock);
    if (hb->dev.state != DEVICE_PUBLISHED || (base == hb->ecam_base && size == hb->ecam_size))
        return;
    ecam_unmap(hb);
    pci_reserve(hb->bus, PCI_FIXED_ECAM, IO_MMIO, base, size);
    if (size == 0)
        return;
    hb->ecam = iobus_add(device_set_vm(hb->dev.set), IO_MMIO, base, size, &ecam_ops, hb, NULL, 0,
                         "ecam", &error);
    if (!hb->ecam) {
        device_guest_error(&hb->dev, "PCIEXBAR: %s", error->message);
        return;
    }
    hb->ecam_base = base;
    hb->ecam_size = size;
}

/* ---- firmware's area below 1 MiB ---- */

static HostBridge *host_bridge_of(DeviceSet *set)
{
    return (HostBridge *)device_set_part(set, PART_HOST_BRIDGE);
}

void board_set_rom(DeviceSet *set, guint8 *rom, guint64 size)
{
    HostBridge *hb = host_bridge_of(set);

    g_clear_pointer(&hb->shadow, shadow_free);
    if (rom)
        hb->shadow = shadow_new(device_set_vm(set), rom, size);
}

gboolean board_has_rom(DeviceSet *set)
{
    const HostBridge *hb = host_bridge_of(set);

    return hb && hb->shadow;
}

void board_shadow_unmap(DeviceSet *set)
{
    HostBridge *hb = host_bridge_of(set);

    if (hb && hb->shadow)
        shadow_unmap(hb->shadow);
}

/* Main thread, lock not held. Before the layout of base RAM there is nothing to map. */
static gboolean shadow_update(HostBridge *hb, GError **error)
{
    guint8 pam[SHADOW_PAM];
    guint8 *ram;

    if (!hb->shadow)
        return TRUE;
    ram = mem_base_ptr(hb->dev.set, SHADOW_BASE, SHADOW_SIZE);
    if (!ram)
        return error_set(error, "Firmware needs 0x%x bytes of RAM in the first memory module: plug a larger one",
                         SHADOW_BASE + SHADOW_SIZE);
    g_mutex_lock(&hb->dev.lock);
    memcpy(pam, hb->fn.config + PAM0, sizeof pam);
    g_mutex_unlock(&hb->dev.lock);
    return shadow_map(hb->shadow, ram, pam, error);
}

/* A slot is taken out and another put in its place: no CPU may run in between. */
static void pam_changed(gpointer user)
{
    HostBridge *hb = user;
    Vm *vm = device_set_vm(hb->dev.set);
    g_autoptr(GError) error = NULL;

    if (!hb->shadow || !mem_base_ptr(hb->dev.set, SHADOW_BASE, SHADOW_SIZE))
        return; /* no layout (any more): power-on comes first */
    vm_hold_brief(vm);
    vm_hold_wait(vm);
    if (!shadow_update(hb, &error))
        device_guest_error(&hb->dev, "PAM: %s", error->message);
    vm_hold_brief_end(vm);
}

/* ---- the function 00:00.0 ---- */

/* D_LCK makes the register read-only, itself included, until reset, and closes D_OPEN. The write
 * mask stays as it is: it is part of the fingerprint, and this is run time. */
static void smram_written(PciFunction *fn, guint8 old)
{
    if (old & SMRAM_D_LCK)
        fn->config[SMRAM] = old;
    else if (fn->config[SMRAM] & SMRAM_D_LCK)
        fn->config[SMRAM] &= (guint8)~SMRAM_D_OPEN;
}

static void config_written(PciFunction *fn, guint16 offset, unsigned size, guint32 old_value)
{
    HostBridge *hb = (HostBridge *)fn->dev;

    if (offset <= SMRAM && SMRAM < offset + size)
        smram_written(fn, (guint8)(old_value >> (SMRAM - offset) * 8));
    if (offset < PCIEXBAR + 8 && PCIEXBAR < offset + size &&
        pci_config_read(fn, offset, size) != old_value)
        deferred_schedule_held(hb->move);
    if (offset <= PAM_LAST && PAM0 < offset + size && pci_config_read(fn, offset, size) != old_value)
        deferred_schedule_held(hb->pam);
}

static void build_config(HostBridge *hb, const BoardConfig *c)
{
    PciFunction *fn = &hb->fn;
    guint length = c->ecam_size == 256u << 20 ? 0 : c->ecam_size == 128u << 20 ? 1 : 2;

    pci_function_init(fn, &hb->dev, HOST_BRIDGE_DEVFN, c->host_bridge_vendor_id,
                      c->host_bridge_device_id, c->host_bridge_revision, 0x060000,
                      c->subsystem_vendor_id, c->subsystem_device_id);
    le16_put(fn->config + 0x04, 0x0006); /* memory and bus master: hard-wired */
    le64_put(fn->config + PCIEXBAR, c->ecam_base | length << 1 | 1);
    le64_put(fn->wmask + PCIEXBAR, G_GUINT64_CONSTANT(0xffc000007));
    fn->wmask[PAM0] = 0x30;
    for (guint i = PAM0 + 1; i <= PAM_LAST; i++)
        fn->wmask[i] = 0x33;
    fn->config[SMRAM] = 0x02; /* C_BASE_SEG: 0xa0000 */
    fn->wmask[SMRAM] = 0x78;
    fn->config_written = config_written;
    pci_function_seal(fn);
}

/* ---- the device ---- */

static gboolean host_bridge_realize(Device *dev, GError **error)
{
    HostBridge *hb = (HostBridge *)dev;
    const BoardConfig *c = board_config(dev->set);

    hb->bus = pci_bus_new(dev->set, "pcie.0");
    hb->move = deferred_new(device_set_vm(dev->set), ecam_update, hb);
    hb->pam = deferred_new(device_set_vm(dev->set), pam_changed, hb);
    build_config(hb, c);
    return device_claim_io(dev, IO_PIO, 0xcf8, 8, "pci-config-ports", error) &&
           device_claim_io(dev, IO_MMIO, c->ecam_base, c->ecam_size, "ecam-base", error) &&
           pci_bus_claim(hb->bus, &hb->fn, error);
}

static void host_bridge_publish(Device *dev)
{
    HostBridge *hb = (HostBridge *)dev;
    g_autoptr(GError) error = NULL;

    hb->lpc = device_set_part(dev->set, PART_LPC); /* realized after us: it plugs into our bus */
    hb->ports = iobus_add(device_set_vm(dev->set), IO_PIO, 0xcf8, 8, &ports_ops, hb, NULL, 0,
                          "pci-config", &error);
    g_assert_no_error(error); /* claimed in realize */
    pci_bus_publish(hb->bus, &hb->fn);
    ecam_update(hb);
}

static void host_bridge_unpublish(Device *dev)
{
    HostBridge *hb = (HostBridge *)dev;

    board_shadow_unmap(dev->set);
    ecam_unmap(hb);
    iobus_remove(device_set_vm(dev->set), hb->ports);
}

static void host_bridge_unrealize(Device *dev)
{
    HostBridge *hb = (HostBridge *)dev;

    if (hb->bus)
        pci_bus_remove(hb->bus, &hb->fn);
    g_clear_pointer(&hb->bus, pci_bus_free);
    g_clear_pointer(&hb->move, deferred_free);
    g_clear_pointer(&hb->pam, deferred_free);
    g_clear_pointer(&hb->shadow, shadow_free);
}

static void host_bridge_reset(Device *dev, ResetKind kind)
{
    HostBridge *hb = (HostBridge *)dev;

    g_atomic_int_set((gint *)&hb->address, 0);
    pci_function_reset(&hb->fn);
    deferred_schedule(hb->move);
    deferred_schedule(hb->pam);
}

/* Before the first instruction the window, all BARs and firmware are in their places, whatever is still queued. */
static gboolean host_bridge_power_on(Device *dev, GError **error)
{
    ecam_update(dev);
    pci_sync(dev->set);
    return shadow_update((HostBridge *)dev, error);
}

static gboolean host_bridge_post_load(Device *dev, GError **error)
{
    HostBridge *hb = (HostBridge *)dev;

    pci_function_post_load(&hb->fn);
    hb->address &= 0x80fffffc;
    deferred_schedule(hb->move);
    deferred_schedule(hb->pam);
    return TRUE;
}

static void host_bridge_abi(Device *dev, AbiSink *sink)
{
    pci_function_abi(&((HostBridge *)dev)->fn, sink, "");
}

static const StateDesc host_bridge_state[] = {
    PCI_STATE_ROW(HostBridge, fn, 256, "0.1"),
    STATE_ROW(HostBridge, address, U32, "0.1"),
    STATE_END,
};

static const DeviceOps host_bridge_ops = {
    .realize = host_bridge_realize,
    .publish = host_bridge_publish,
    .reset = host_bridge_reset,
    .power_on = host_bridge_power_on,
    .unpublish = host_bridge_unpublish,
    .unrealize = host_bridge_unrealize,
    .post_load = host_bridge_post_load,
    .abi = host_bridge_abi,
};

const DeviceType host_bridge_type = {
    .name = PART_HOST_BRIDGE,
    .size = sizeof(HostBridge),
    .ops = &host_bridge_ops,
    .state = host_bridge_state,
};

PciBus *pci_root_bus(DeviceSet *set)
{
    HostBridge *hb = host_bridge_of(set);
    return hb ? hb->bus : NULL;
}

guint64 pci_ecam_base(DeviceSet *set)
{
    return board_config(set)->ecam_base;
}

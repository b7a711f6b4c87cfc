/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lpc.c - the ICH9 LPC bridge at 00:1f.0 (Intel ICH9 datasheet, chapter 13): configuration
 * space, the ACPI block's place, and the ways to reset.
 *
 * PMBASE and ACPI_CNTL come up programmed and enabled by the rows pm-base and sci-irq, so that a
 * guest without firmware finds what FADT says. Firmware may program them anew: the block moves
 * and the SCI changes pins as a deferred topology change, like ECAM in host-bridge.c. The PIRQ
 * registers route PCI interrupt pins to the PIC (pci/intx.c). RCBA is a register that firmware
 * expects to keep what it wrote; nothing is behind it.
 *
 * Resets: 0xcf9, bit 0 of port 0x92, and the 8042's pulse (0xfe to port 0x64). There is no 8042:
 * its status reads as 0xff, which every probe takes as absence after a few reads. Port 0x80
 * swallows POST codes without a stop of the vCPU.
 */
#include "../pci/bar.h"
#include "parts.h"
#include "pm.h"

enum {
    PMBASE = 0x40,
    ACPI_CNTL = 0x44,
    ACPI_EN = 0x80,
    PIRQA = 0x60,
    PIRQE = 0x68,
    RCBA = 0xf0,
};

enum {
    RC_FULL_RESET = 0x0a, /* SYS_RST, FULL_RST: what is kept */
    RC_RESET_CPU = 0x04,
    PORT92_RESET = 0x01,
    PORT92_A20 = 0x02,
};

typedef struct {
    Device      dev;
    PciFunction fn;
    Pm          pm;
    guint8      reset_control, port92;
    IoRegion   *pm_region, *port92_region, *i8042_region, *post_region;
    guint32     pm_at; /* where the block is; 0: nowhere. Main thread */
    guint       sci_gsi;
    Deferred   *move;
    guint64     gpe_due; /* what plugging raises at the end of the bracket. Main thread */
} Lpc;

static Lpc *lpc_of(DeviceSet *set)
{
    return (Lpc *)device_set_part(set, PART_LPC);
}

/* ---- the ACPI block ---- */

static guint64 block_read(gpointer opaque, guint64 offset, unsigned size)
{
    return pm_read(&((Lpc *)opaque)->pm, (guint32)offset, size);
}

static void block_write(gpointer opaque, guint64 offset, guint64 value, unsigned size)
{
    Lpc *lpc = opaque;

    if (pm_write(&lpc->pm, (guint32)offset, (guint32)value, size))
        board_guest_shutdown(lpc->dev.set);
}

static const IoOps block_ops = {
    .read = block_read, .write = block_write, .min_size = 1, .max_size = 4
};

static void pm_timer_due(gpointer user)
{
    pm_update(&((Lpc *)user)->pm);
}

/* ACPI_CNTL bits 2-0: 0 to 2 are interrupts 9 to 11; 4 and 5 are 20 and 21; the rest is
 * reserved. */
static guint sci_wanted(const Lpc *lpc)
{
    static const guint8 pins[8] = { 9, 10, 11, 9, 20, 21, 9, 9 };
    return pins[lpc->fn.config[ACPI_CNTL] & 7];
}

static void block_unmap(Lpc *lpc)
{
    if (lpc->pm_region)
        iobus_remove(device_set_vm(lpc->dev.set), lpc->pm_region);
    lpc->pm_region = NULL;
    lpc->pm_at = 0;
}

static void block_map(Lpc *lpc, guint32 base)
{
    g_autoptr(GError) error = NULL;

    lpc->pm_region = iobus_add(device_set_vm(lpc->dev.set), IO_PIO, base, PM_BLOCK_SIZE, &block_ops,
                               lpc, &lpc->dev.lock, 0, "acpi-pm", &error);
    if (lpc->pm_region)
        lpc->pm_at = base;
    else
        device_guest_error(&lpc->dev, "PMBASE: %s", error->message);
}

static void sci_move(Lpc *lpc, guint gsi)
{
    IrqLine *fresh = irq_line_new(device_set_vm(lpc->dev.set), gsi, PART_LPC);
    IrqLine *old;

    g_mutex_lock(&lpc->dev.lock);
    old = lpc->pm.sci;
    lpc->pm.sci = fresh;
    pm_update(&lpc->pm);
    g_mutex_unlock(&lpc->dev.lock);
    lpc->sci_gsi = gsi;
    irq_line_free(old);
}

/* Main thread, lock not held: block and SCI go where the registers have them. */
static void lpc_update(gpointer user)
{
    Lpc *lpc = user;

    g_mutex_lock(&lpc->dev.lock);
    guint32 base =
        lpc->fn.config[ACPI_CNTL] & ACPI_EN ? le16_get(lpc->fn.config + PMBASE) & 0xff80u : 0;
    guint gsi = sci_wanted(lpc);
    g_mutex_unlock(&lpc->dev.lock);
    if (lpc->dev.state != DEVICE_PUBLISHED)
        return;
    if (gsi != lpc->sci_gsi)
        sci_move(lpc, gsi);
    if (base == lpc->pm_at)
        return;
    block_unmap(lpc);
    pci_reserve(pci_root_bus(lpc->dev.set), PCI_FIXED_PM, IO_PIO, base, base ? PM_BLOCK_SIZE : 0);
    if (base)
        block_map(lpc, base);
}

/* ---- the function 00:1f.0 ---- */

static void route_pirqs(Lpc *lpc)
{
    guint8 routes[8];

    memcpy(routes, lpc->fn.config + PIRQA, 4);
    memcpy(routes + 4, lpc->fn.config + PIRQE, 4);
    pci_intx_route(pci_root_bus(lpc->dev.set), routes);
}

static void config_written(PciFunction *fn, guint16 offset, unsigned size, guint32 old_value)
{
    Lpc *lpc = (Lpc *)fn->dev;

    if (offset <= ACPI_CNTL && PMBASE < offset + size &&
        pci_config_read(fn, offset, size) != old_value)
        deferred_schedule_held(lpc->move);
    if (pci_touches(offset, size, PIRQA, 4) || pci_touches(offset, size, PIRQE, 4))
        route_pirqs(lpc);
}

static void build_config(Lpc *lpc, const BoardConfig *c)
{
    PciFunction *fn = &lpc->fn;

    pci_function_init(fn, &lpc->dev, LPC_DEVFN, c->lpc_vendor_id, c->lpc_device_id, c->lpc_revision,
                      0x060100, c->subsystem_vendor_id, c->subsystem_device_id);
    le16_put(fn->config + 0x04, 0x0007); /* I/O, memory and bus master: hard-wired */
    le32_put(fn->config + PMBASE, c->pm_base | 1u);
    le32_put(fn->wmask + PMBASE, 0xff80);
    fn->config[ACPI_CNTL] = (guint8)(ACPI_EN | (c->sci_irq - 9));
    fn->wmask[ACPI_CNTL] = 0x87;
    for (guint i = 0; i < 4; i++) {
        fn->config[PIRQA + i] = fn->config[PIRQE + i] = c->pirq_routing & 0x8f;
        fn->wmask[PIRQA + i] = fn->wmask[PIRQE + i] = 0x8f;
    }
    le32_put(fn->wmask + RCBA, 0xffffc001);
    fn->config_written = config_written;
    pci_function_seal(fn);
}

/* ---- resets ---- */

guint8 lpc_reset_control_read(Device *lpc)
{
    LOCK_SCOPE(&lpc->lock);
    return ((Lpc *)lpc)->reset_control;
}

void lpc_reset_control_write(Device *lpc, guint8 value)
{
    LOCK_SCOPE(&lpc->lock);
    ((Lpc *)lpc)->reset_control = value & RC_FULL_RESET;
    if (value & RC_RESET_CPU)
        board_guest_reset(lpc->set);
}

static guint64 port92_read(gpointer opaque, guint64 offset, unsigned size)
{
    return ((Lpc *)opaque)->port92;
}

/* A20 is always open; the bit is kept for whoever reads it back. */
static void port92_write(gpointer opaque, guint64 offset, guint64 value, unsigned size)
{
    Lpc *lpc = opaque;
    gboolean rises = (value & PORT92_RESET) && !(lpc->port92 & PORT92_RESET);

    lpc->port92 = value & (PORT92_RESET | PORT92_A20);
    if (rises)
        board_guest_reset(lpc->dev.set);
}

static guint64 i8042_read(gpointer opaque, guint64 offset, unsigned size)
{
    return 0xff;
}

/* Commands 0xf0-0xff pulse output lines low whose bit is clear; line 0 is the reset line. */
static void i8042_write(gpointer opaque, guint64 offset, guint64 value, unsigned size)
{
    if ((value & 0xf1) == 0xf0)
        board_guest_reset(((Lpc *)opaque)->dev.set);
}

static guint64 post_read(gpointer opaque, guint64 offset, unsigned size)
{
    return 0xff;
}

static void post_write(gpointer opaque, guint64 offset, guint64 value, unsigned size)
{
}

static const IoOps port92_ops = { .read = port92_read, .write = port92_write, .max_size = 1 };
static const IoOps i8042_ops = { .read = i8042_read, .write = i8042_write, .max_size = 1 };
static const IoOps post_ops = { .read = post_read, .write = post_write, .max_size = 1 };

/* ---- the device ---- */

static gboolean lpc_realize(Device *dev, GError **error)
{
    Lpc *lpc = (Lpc *)dev;
    const BoardConfig *c = board_config(dev->set);
    Vm *vm = device_set_vm(dev->set);

    build_config(lpc, c);
    lpc->move = deferred_new(vm, lpc_update, lpc);
    lpc->pm.vm = vm;
    lpc->pm.s5_type = c->s5_sleep_type;
    if (!device_claim_io(dev, IO_PIO, c->pm_base, PM_BLOCK_SIZE, "pm-base", error) ||
        !device_claim_io(dev, IO_PIO, 0x92, 1, "port92", error) ||
        !device_claim_io(dev, IO_PIO, 0x64, 1, "i8042", error) ||
        !device_claim_io(dev, IO_PIO, 0x80, 1, "post-port", error) ||
        !device_claim_irq(dev, c->sci_irq, "sci-irq", error) ||
        !pci_bus_claim(pci_root_bus(dev->set), &lpc->fn, error))
        return FALSE;
    lpc->sci_gsi = c->sci_irq;
    lpc->pm.sci = irq_line_new(vm, lpc->sci_gsi, PART_LPC);
    lpc->pm.timer = vm_timer_new(vm, &dev->lock, pm_timer_due, lpc);
    lpc->port92 = PORT92_A20;
    pm_reset(&lpc->pm);
    return TRUE;
}

static IoRegion *fixed_port(Lpc *lpc, guint16 port, const IoOps *ops, GMutex *lock, guint32 flags,
                            const char *name)
{
    g_autoptr(GError) error = NULL;
    IoRegion *region = iobus_add(device_set_vm(lpc->dev.set), IO_PIO, port, 1, ops, lpc, lock,
                                 flags, name, &error);

    g_assert_no_error(error); /* claimed in realize */
    return region;
}

static void lpc_publish(Device *dev)
{
    Lpc *lpc = (Lpc *)dev;

    lpc->port92_region = fixed_port(lpc, 0x92, &port92_ops, &dev->lock, 0, "port92");
    lpc->i8042_region = fixed_port(lpc, 0x64, &i8042_ops, NULL, 0, "i8042"); /* no state */
    lpc->post_region =
        fixed_port(lpc, 0x80, &post_ops, NULL, IO_COALESCED, "post-port"); /* no state */
    pci_bus_publish(pci_root_bus(dev->set), &lpc->fn);
    route_pirqs(lpc);
    lpc_update(lpc);
}

static void lpc_unpublish(Device *dev)
{
    Lpc *lpc = (Lpc *)dev;
    Vm *vm = device_set_vm(dev->set);

    block_unmap(lpc);
    iobus_remove(vm, lpc->post_region);
    iobus_remove(vm, lpc->i8042_region);
    iobus_remove(vm, lpc->port92_region);
    pci_bus_remove(pci_root_bus(dev->set), &lpc->fn);
}

static void lpc_unrealize(Device *dev)
{
    Lpc *lpc = (Lpc *)dev;

    pci_bus_remove(pci_root_bus(dev->set), &lpc->fn);
    g_clear_pointer(&lpc->move, deferred_free);
    g_clear_pointer(&lpc->pm.timer, vm_timer_free);
    g_clear_pointer(&lpc->pm.sci, irq_line_free);
}

static void lpc_reset(Device *dev, ResetKind kind)
{
    Lpc *lpc = (Lpc *)dev;

    pci_function_reset(&lpc->fn);
    route_pirqs(lpc);
    lpc->reset_control = 0;
    lpc->port92 = PORT92_A20;
    pm_reset(&lpc->pm);
    deferred_schedule(lpc->move);
}

/* What came and went since the reset is no event: the guest begins with what is there. */
static gboolean lpc_power_on(Device *dev, GError **error)
{
    Lpc *lpc = (Lpc *)dev;

    g_mutex_lock(&dev->lock);
    lpc->pm.gpe_sts = 0;
    pm_update(&lpc->pm);
    g_mutex_unlock(&dev->lock);
    lpc_update(dev);
    return TRUE;
}

static gboolean lpc_post_load(Device *dev, GError **error)
{
    Lpc *lpc = (Lpc *)dev;

    pci_function_post_load(&lpc->fn);
    route_pirqs(lpc);
    pm_post_load(&lpc->pm);
    deferred_schedule(lpc->move);
    return TRUE;
}

static void lpc_abi(Device *dev, AbiSink *sink)
{
    pci_function_abi(&((Lpc *)dev)->fn, sink, "");
}

#define PM_ROW(field, KIND) \
    { .name = #field, .kind = STATE_##KIND, .offset = G_STRUCT_OFFSET(Lpc, pm.field), \
      .size = sizeof(((Pm *)0)->field), .since = "0.1" }

static const StateDesc lpc_state[] = {
    PCI_STATE_ROW(Lpc, fn, 256, "0.1"),
    STATE_ROW(Lpc, reset_control, U8, "0.1"),
    STATE_ROW(Lpc, port92, U8, "0.1"),
    PM_ROW(pm1_sts, U16),
    PM_ROW(pm1_en, U16),
    PM_ROW(pm1_cnt, U32),
    PM_ROW(gpe_sts, U64),
    PM_ROW(gpe_en, U64),
    PM_ROW(smi_en, U32),
    PM_ROW(carry_at, I64),
    STATE_END,
};

static const DeviceOps lpc_ops = {
    .realize = lpc_realize,
    .publish = lpc_publish,
    .reset = lpc_reset,
    .power_on = lpc_power_on,
    .unpublish = lpc_unpublish,
    .unrealize = lpc_unrealize,
    .post_load = lpc_post_load,
    .abi = lpc_abi,
};

const DeviceType lpc_type = {
    .name = PART_LPC,
    .size = sizeof(Lpc),
    .ops = &lpc_ops,
    .state = lpc_state,
};

/* ---- for others ---- */

static void gpe_raise(Lpc *lpc, guint64 bits)
{
    LOCK_SCOPE(&lpc->dev.lock);
    lpc->pm.gpe_sts |= bits;
    pm_update(&lpc->pm);
}

void pm_gpe_set(DeviceSet *set, guint bit)
{
    g_assert(bit < 64);
    gpe_raise(lpc_of(set), G_GUINT64_CONSTANT(1) << bit);
}

static void raise_due(gpointer user)
{
    Lpc *lpc = user;

    gpe_raise(lpc, lpc->gpe_due);
    lpc->gpe_due = 0;
}

void pm_gpe_plugged(DeviceSet *set, guint bit)
{
    Lpc *lpc = lpc_of(set);

    g_assert(bit < 64);
    lpc->gpe_due |= G_GUINT64_CONSTANT(1) << bit;
    device_plug_settle(set, raise_due, lpc);
}

void pm_power_button(DeviceSet *set)
{
    Lpc *lpc = lpc_of(set);

    LOCK_SCOPE(&lpc->dev.lock);
    lpc->pm.pm1_sts |= PM1_PWRBTN;
    pm_update(&lpc->pm);
}

guint16 pm_base(DeviceSet *set)
{
    return board_config(set)->pm_base;
}

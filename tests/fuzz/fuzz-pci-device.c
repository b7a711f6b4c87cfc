/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz-pci-device.c - libFuzzer target for functions, bridges and slots: configuration and BAR accesses of every width to a device on
 * the root bus, one behind a native root port and one behind two bridges; plugging and unplugging meanwhile, the attention
 * button, the main loop now and then. Whatever was written: bits that no guest can change are what they were,
 * what is saved loads into another machine and saves alike, and a reset brings back what was configured.
 *
 * An operation is eight bytes: kind, which function, register (two), value (four). Kinds of 6 and 7 are rare events.
 */
#include "../../devices/pci/root-port.h"
#include "../device/pci-test.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

static const char *const ids[] = { "dev", "port", "behind", "b1", "b2", "deep" };

static void start(BoardTest *t)
{
    board_test_init(t, "{\"driver\": \"board\", \"max-cpus\": 1}");
    pci_plug(t, "pci-testdev", "{\"id\": \"dev\", \"addr\": \"1\"}");
    pci_plug(t, "pcie-root-port", "{\"id\": \"port\", \"addr\": \"2\", \"native-hotplug\": true}");
    pci_plug(t, "pci-testdev", "{\"id\": \"behind\", \"bus\": \"port\"}");
    pci_plug(t, "pci-testbridge", "{\"id\": \"b1\", \"addr\": \"3\"}");
    pci_plug(t, "pci-testbridge", "{\"id\": \"b2\", \"addr\": \"3\", \"bus\": \"b1\"}");
    pci_plug(t, "pci-testdev", "{\"id\": \"deep\", \"addr\": \"0\", \"bus\": \"b2\"}");
    board_test_power_on(t);
}

static PciDevice *device(BoardTest *t, guint which)
{
    return (PciDevice *)device_set_find(t->set, NS_DEVICE, ids[which % G_N_ELEMENTS(ids)]);
}

/* Where a guest that has not numbered its bridges well finds nothing, this one comes in by the function itself. */
static void config_access(BoardTest *t, PciDevice *pci, guint16 reg, guint32 value, guint size, gboolean write)
{
    LOCK_SCOPE(&pci->dev.lock);
    if (write)
        pci_config_write(&pci->fn, reg, value, size);
    else
        (void)pci_config_read(&pci->fn, reg, size);
}

/* At or about what the BAR's register says. */
static void bar_access(BoardTest *t, PciDevice *pci, guint16 reg, guint32 value, guint size)
{
    guint n = reg % 3;
    guint64 base = le64_get(pci->fn.config + PCI_BAR0 + (n == 2 ? 8 : n * 4)) & ~G_GUINT64_CONSTANT(15);
    gboolean io = n == 1;

    base = io ? base & 0xffff : n == 0 ? base & G_MAXUINT32 : base;
    guint64 at = base + (reg >> 2 & 0xfff) + (reg & 0x8000 ? FAR_PART : 0);
    if (io)
        at &= 0xffff;
    if (value & 1)
        iobus_write(t->vm, io ? IO_PIO : IO_MMIO, at, io ? MIN(size, 4) : size, value >> 1);
    else
        iobus_read(t->vm, io ? IO_PIO : IO_MMIO, at, io ? MIN(size, 4) : size, &(guint64){ 0 });
}

/* Takes the device behind the port out, or puts one in. */
static void swap_behind(BoardTest *t)
{
    PciDevice *behind = device(t, 2);

    if (behind)
        g_assert_true(device_remove(&behind->dev, NULL));
    else
        pci_plug(t, "pci-testdev", "{\"id\": \"behind\", \"bus\": \"port\"}");
}

static void event(BoardTest *t, guint8 which)
{
    switch (which & 7) {
    case 0:
        swap_behind(t);
        break;
    case 1:
        pcie_slot_push_button(pci_bus_find(t->set, "port"));
        break;
    case 2:
        vm_run(t->vm);
        break;
    case 3:
        pci_assign_bridges(t->set);
        break;
    case 4:
        device_set_quiesce(t->set);
        device_set_resume(t->set);
        break;
    default:
        board_test_settle();
    }
}

static void one(BoardTest *t, const guint8 op[8])
{
    guint size = 1u << (op[0] >> 3) % 4;
    PciDevice *pci = device(t, op[1]);
    guint16 reg = le16_get(op + 2);
    guint32 value = le32_get(op + 4);

    if ((op[0] & 7) >= 6)
        event(t, op[1]);
    else if (!pci)
        return;
    else if ((op[0] & 7) == 5)
        bar_access(t, pci, reg, value, size);
    else if ((op[0] & 7) == 4)
        mem_out(t, ECAM + (reg & 0x0fff) + (guint64)(value >> 12 & 0xfffff) * 4096, value, MIN(size, 4));
    else
        config_access(t, pci, reg & 0x1ff, value, MIN(size, 4), (op[0] & 7) != 3);
}

/* Registers that the device changes by itself: interrupt status, link and slot status. */
static gboolean volatile_register(const PciDevice *pci, guint reg)
{
    return reg == PCI_STATUS || (pci->msi.fn && reg - pci->msi.cap - 0x14u < 4) ||
           (pci->express && (reg - pci->express - (guint)PCIE_LNKSTA < 2 || reg - pci->express - (guint)PCIE_SLTSTA < 2));
}

static void check_fixed(const PciDevice *pci)
{
    const PciFunction *fn = &pci->fn;

    for (guint i = 0; i < PCI_CONFIG_STORED; i++) {
        guint8 fixed = (guint8)~(fn->wmask[i] | fn->w1c[i]);
        if (!volatile_register(pci, i))
            g_assert_cmphex(fn->config[i] & fixed, ==, fn->at_reset[i] & fixed);
    }
}

static void check_saved(Device *from, Device *to)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GVariant) saved = device_save(from);

    device_load(to, saved, &error);
    g_assert_no_error(error);
    board_test_settle();
    g_autoptr(GVariant) again = device_save(to);
    g_assert_true(g_variant_equal(saved, again));
}

static void check_reset(BoardTest *t)
{
    board_test_power_on(t);
    for (guint i = 0; i < G_N_ELEMENTS(ids); i++) {
        const PciDevice *pci = device(t, i);
        for (guint reg = 0; pci && i != 1 && reg < PCI_CONFIG_STORED; reg++)
            g_assert_cmphex(pci->fn.config[reg], ==, pci->fn.at_reset[reg]);
    }
    g_assert_cmphex(pci_in(t, fn_at(0, 1, 0), 0, 4), ==, 0x56781234);
    g_assert_cmphex(pci_in(t, fn_at(1, 0, 0), 0, 4), ==, NOTHING);
}

static void silent(const gchar *domain, GLogLevelFlags level, const gchar *message, gpointer user)
{
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    BoardTest a, b;

    g_log_set_default_handler(silent, NULL);
    start(&a);
    for (gsize i = 0; i + 8 <= size && i < 4096; i += 8)
        one(&a, data + i);
    board_test_settle();
    if (!device(&a, 2))
        swap_behind(&a);
    device_set_quiesce(a.set);
    start(&b);
    for (guint i = 0; i < G_N_ELEMENTS(ids); i++) {
        check_fixed(device(&a, i));
        check_saved(&device(&a, i)->dev, &device(&b, i)->dev);
        check_fixed(device(&b, i));
    }
    check_reset(&a);
    board_test_clear(&b);
    board_test_clear(&a);
    return 0;
}

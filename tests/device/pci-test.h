/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pci-test.h - PCI device types of the tests' own, and a guest's ways to reach them. A program that
 * includes this defines the table of types that devices/types.c defines elsewhere.
 *
 *   pci-testdev    a function with everything: BAR 0 (32-bit, 4 KiB: registers, MSI-X), BAR 1 (32 ports), BARs 2 and 3 (64-bit,
 *                  prefetchable, 1 MiB, two parts with a gap), MSI, MSI-X, FLR, INTA
 *   pci-testbridge a bridge that plugs anywhere, with 32 slots behind it
 *
 * Registers of pci-testdev, 32 bits each: 0 scratch, 4 fires the vector written, 8 drives the pin, 12 counts writes.
 */
#pragma once

#include "../../devices/pci/pci-device.h"
#include "board-test.h"

#define ECAM G_GUINT64_CONSTANT(0xb0000000)
#define TEST_VECTORS 70 /* more than one word of pending bits */

enum { REG_SCRATCH = 0, REG_FIRE = 4, REG_LEVEL = 8, REG_WRITES = 12 };
enum { TABLE_AT = 0x800, PBA_AT = 0xd00, FAR_PART = 0x80000 };

/* ---- pci-testdev ---- */

typedef struct {
    PciDevice pci;
    guint32   scratch, writes;
    guint     resets;
} TestDev;

static guint64 reg_read(gpointer opaque, guint64 offset, unsigned size)
{
    TestDev *d = opaque;

    return offset == REG_SCRATCH ? d->scratch : offset == REG_WRITES ? d->writes : 0;
}

static void reg_write(gpointer opaque, guint64 offset, guint64 value, unsigned size)
{
    TestDev *d = opaque;

    d->writes++;
    if (offset == REG_SCRATCH)
        d->scratch = (guint32)value;
    else if (offset == REG_FIRE)
        pci_device_interrupt(&d->pci, (guint)value, TRUE);
    else if (offset == REG_LEVEL)
        pci_device_interrupt(&d->pci, 0, value != 0);
}

static const IoOps reg_ops = { .read = reg_read, .write = reg_write, .min_size = 4, .max_size = 4 };

static const PciCapDesc testdev_caps[] = {
    { .name = "pm", .id = PCI_CAP_PM, .length = PCI_PM_LENGTH },
    { .name = "msi", .id = PCI_CAP_MSI, .length = PCI_MSI_LENGTH },
    { .name = "exp", .id = PCI_CAP_EXPRESS, .length = PCI_EXPRESS_LENGTH },
    { .name = "msix", .id = PCI_CAP_MSIX, .length = PCI_MSIX_LENGTH },
    { .name = "vendor", .id = PCI_CAP_VENDOR, .length = 16 },
    { .name = "serial", .id = PCI_EXT_CAP_SERIAL, .length = PCI_SERIAL_LENGTH, .version = 1 },
};

static const PciTypeInfo testdev_info = {
    .vendor = 0x1234,
    .device = 0x5678,
    .subsystem_vendor = 0x1af4,
    .subsystem = 0x1100,
    .revision = 1,
    .class_code = 0x00ff00,
    .pin = 1,
    .caps = testdev_caps,
    .n_caps = G_N_ELEMENTS(testdev_caps),
};

static gboolean testdev_resolve(Device *dev, GError **error)
{
    return pci_device_resolve(dev, &testdev_info, error);
}

static void testdev_bars(TestDev *d)
{
    PciFunction *fn = &d->pci.fn;
    PciBarPart regs = { .size = 16, .ops = &reg_ops, .opaque = d, .name = "testdev-registers" };

    pci_bar_init(fn, 0, PCI_BAR_MEM32, FALSE, 4096);
    pci_bar_init(fn, 1, PCI_BAR_IO, FALSE, 32);
    pci_bar_init(fn, 2, PCI_BAR_MEM64, TRUE, 1 << 20);
    for (guint i = 0; i < 3; i++)
        pci_bar_add_part(fn, i, &regs);
    regs.offset = FAR_PART;
    pci_bar_add_part(fn, 2, &regs);
}

static gboolean testdev_realize(Device *dev, GError **error)
{
    TestDev *d = (TestDev *)dev;
    PciFunction *fn = &d->pci.fn;
    PcieDesc express = { .kind = PCIE_ENDPOINT, .speed = 1, .width = 1, .flr = TRUE };

    if (!pci_device_realize(dev, &testdev_info, error))
        return FALSE;
    testdev_bars(d);
    d->pci.express = (guint8)pci_device_cap(dev, "exp");
    pcie_cap_init(fn, d->pci.express, &express);
    pci_pm_init(fn, pci_device_cap(dev, "pm"));
    pci_serial_init(fn, pci_device_cap(dev, "serial"), 0x1122334455667788);
    pci_msi_init(&d->pci.msi, fn, pci_device_cap(dev, "msi"), 4);
    pci_msix_init(&d->pci.msix, fn, pci_device_cap(dev, "msix"), TEST_VECTORS, 0, TABLE_AT, PBA_AT);
    pci_device_seal(dev);
    return TRUE;
}

static void testdev_reset(Device *dev, ResetKind kind)
{
    TestDev *d = (TestDev *)dev;

    pci_device_reset(dev);
    d->scratch = d->writes = 0;
    d->resets++;
}

static gboolean testdev_post_load(Device *dev, GError **error)
{
    pci_device_post_load(dev);
    return TRUE;
}

static const StateDesc testdev_state[] = {
    PCI_DEVICE_ROWS(TestDev, "0.2"),
    STATE_ROW(TestDev, scratch, U32, "0.2"),
    STATE_ROW(TestDev, writes, U32, "0.2"),
    STATE_END,
};

static const DeviceOps testdev_ops = {
    .resolve = testdev_resolve,
    .realize = testdev_realize,
    .publish = pci_device_publish,
    .reset = testdev_reset,
    .quiesce = pci_device_quiesce,
    .places = pci_device_places,
    .unplug_request = pci_device_unplug_request,
    .unpublish = pci_device_unpublish,
    .unrealize = pci_device_unrealize,
    .post_load = testdev_post_load,
    .abi = pci_device_abi,
};

static const DeviceType testdev_type = {
    .name = "pci-testdev", .size = sizeof(TestDev), .ops = &testdev_ops, .state = testdev_state
};

/* ---- pci-testbridge ---- */

typedef struct {
    PciDevice pci;
    PciBus   *bus;
} TestBridge;

static const PciTypeInfo bridge_info = {
    .vendor = 0x1234, .device = 0x0002, .class_code = 0x060400, .bridge = TRUE
};

static gboolean bridge_resolve(Device *dev, GError **error)
{
    return pci_device_resolve(dev, &bridge_info, error);
}

static gboolean bridge_realize(Device *dev, GError **error)
{
    TestBridge *b = (TestBridge *)dev;
    PciFunction *fn = &b->pci.fn;

    if (!pci_device_realize(dev, &bridge_info, error))
        return FALSE;
    b->bus = pci_bus_new_behind(fn, dev->id, 32, TRUE);
    fn->wmask[PCI_COMMAND] |= 3;
    memset(fn->wmask + PCI_PRIMARY, 0xff, 3);
    memset(fn->wmask + PCI_IO_BASE, 0xf0, 2);
    memset(fn->wmask + PCI_MEMORY_BASE, 0xff, 16);
    pci_device_seal(dev);
    return TRUE;
}

static void bridge_reset(Device *dev, ResetKind kind)
{
    pci_device_reset(dev);
}

static void bridge_unrealize(Device *dev)
{
    g_clear_pointer(&((TestBridge *)dev)->bus, pci_bus_free);
    pci_device_unrealize(dev);
}

static const StateDesc bridge_state[] = { PCI_DEVICE_ROWS(TestBridge, "0.2"), STATE_END };

static const DeviceOps bridge_ops = {
    .resolve = bridge_resolve,
    .realize = bridge_realize,
    .publish = pci_device_publish,
    .reset = bridge_reset,
    .unpublish = pci_device_unpublish,
    .unrealize = bridge_unrealize,
    .post_load = testdev_post_load,
    .abi = pci_device_abi,
};

static const DeviceType bridge_type = {
    .name = "pci-testbridge", .size = sizeof(TestBridge), .ops = &bridge_ops, .state = bridge_state
};

/* ---- tables ---- */

extern const DeviceType board_type, cpu_hotplug_type, fw_cfg_type, host_bridge_type, lpc_type,
    mem_hotplug_type, pci_hotplug_type, pcie_root_port_type, rtc_type;
const DeviceType *const device_types[] = { &board_type,    &cpu_hotplug_type, &fw_cfg_type,
                                           &host_bridge_type, &lpc_type,      &mem_hotplug_type, &pci_hotplug_type, &testdev_type,
                                           &bridge_type,   &pcie_root_port_type, &rtc_type, NULL };

/* The base's rows under another name: these types are not in the generated directory. */
static PropTable test_table(const char *name)
{
    PropTable table = pci_device_table;

    table.name = name;
    table.base = &pci_device_table;
    table.flags = TYPE_HOTPLUG | TYPE_HOT_UNPLUG;
    return table;
}

/* Plugs TYPE with what JSON says: {"id": ..., "addr": ...}. */
static Device *pci_realize(BoardTest *t, const char *type, const char *json, GError **error)
{
    static PropTable dev_table, bridge_table;
    g_autoptr(JsonDoc) doc = json_doc_parse(json, strlen(json), &json_limits_default, NULL);
    const PropTable *table = prop_table_find(type);
    JsonIter it;
    JsonVal name, value;

    if (!dev_table.name) {
        dev_table = test_table("pci-testdev");
        bridge_table = test_table("pci-testbridge");
    }
    if (!table)
        table = strcmp(type, "pci-testdev") ? &bridge_table : &dev_table;
    g_autoptr(PropBag) bag = prop_bag_new(table);
    json_iter_init(&it, json_doc_root(doc));
    while (json_iter_next(&it, &name, &value)) {
        g_autofree char *key = json_dup_string(name);
        if (strcmp(key, "id") == 0)
            bag->id = json_dup_string(value);
        else if (!prop_bag_set_json(bag, (guint)prop_table_row(table, key), value, ORIGIN_CONFIG,
                                    error))
            return NULL;
    }
    return device_plug_realize(t->set, g_steal_pointer(&bag), error);
}

static inline Device *pci_plug(BoardTest *t, const char *type, const char *json)
{
    g_autoptr(GError) error = NULL;
    Device *dev = pci_realize(t, type, json, &error);

    g_assert_no_error(error);
    device_plug_publish(dev);
    return dev;
}

static inline void pci_plug_fails(BoardTest *t, const char *type, const char *json,
                                  const char *message)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(pci_realize(t, type, json, &error));
    g_assert_cmpstr(error->message, ==, message);
}

static inline const char *addr_of(const Device *dev)
{
    return DEVICE_CONFIG(dev, PciDeviceConfig)->addr;
}

/* ---- a guest's accesses; what they set in motion is done when they return ---- */

static inline guint64 fn_at(guint bus, guint slot, guint function)
{
    return ECAM + (bus << 20) + (slot << 15) + (function << 12);
}

static inline guint32 pci_in(BoardTest *t, guint64 fn, guint reg, unsigned size)
{
    return (guint32)mem_in(t, fn + reg, size);
}

static inline void pci_out(BoardTest *t, guint64 fn, guint reg, guint32 value, unsigned size)
{
    mem_out(t, fn + reg, value, size);
    board_test_settle();
}

/* The capability ID of the function; 0: none. */
static inline guint find_cap(BoardTest *t, guint64 fn, guint8 id)
{
    guint at = pci_in(t, fn, PCI_CAPABILITIES, 1);

    for (guint i = 0; at && i < 48; i++) {
        if (pci_in(t, fn, at, 1) == id)
            return at;
        at = pci_in(t, fn, at + 1, 1);
    }
    return 0;
}

#define NOTHING 0xffffffff

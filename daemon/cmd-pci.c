/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cmd-pci.c - query-pci: what a guest that walks the buses finds, as its registers are now. Each function is read under its own
 * device's lock, so a function is consistent in itself; a guest that moves things meanwhile can be seen half way between two.
 */
#include "../devices/pci/bar.h"
#include "handlers.h"

/* What the class says (PCI code and ID assignment specification), of those that are here or were seen beside us in a guest. */
static const char *class_name(guint16 class)
{
    static const struct {
        guint16     class;
        const char *name;
    } names[] = {
        { 0x0100, "SCSI controller" },       { 0x0106, "SATA controller" },   { 0x0180, "Storage controller" },
        { 0x0200, "Ethernet controller" },   { 0x0300, "VGA controller" },    { 0x0380, "Display controller" },
        { 0x0500, "RAM controller" },        { 0x0600, "Host bridge" },       { 0x0601, "ISA bridge" },
        { 0x0604, "PCI bridge" },            { 0x0780, "Communication controller" },
    };

    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        if (names[i].class == class)
            return names[i].name;
    }
    return NULL;
}

/* ---- one function: its device's lock is held ---- */

static void add_region(const PciFunction *fn, guint n, GPtrArray *regions)
{
    gboolean prefetch;
    guint64 size;
    PciBarKind kind = pci_bar_kind(fn, n, &prefetch, &size);

    if (kind == PCI_BAR_NONE)
        return;
    PciMemoryRegion *r = g_new0(PciMemoryRegion, 1);
    r->bar = n;
    r->type = kind == PCI_BAR_IO ? PCI_REGION_TYPE_IO : PCI_REGION_TYPE_MEMORY;
    r->address = (gint64)pci_bar_address(fn, n); /* all ones where it is not decoded: -1 */
    r->size = (gint64)size;
    r->has_prefetch = r->has_mem_type_64 = kind != PCI_BAR_IO;
    r->prefetch = prefetch;
    r->mem_type_64 = kind == PCI_BAR_MEM64;
    g_ptr_array_add(regions, r);
}

static PciMemoryRange *new_range(PciWindow which, const PciFunction *fn)
{
    PciMemoryRange *range = g_new0(PciMemoryRange, 1);
    guint64 base, limit;

    pci_bridge_window(fn, which, &base, &limit);
    range->base = (gint64)base;
    range->limit = (gint64)limit;
    return range;
}

static PciBridgeInfo *new_bridge(const PciFunction *fn)
{
    PciBridgeInfo *bridge = g_new0(PciBridgeInfo, 1);

    bridge->bus = g_new0(PciBusInfo, 1);
    bridge->bus->number = fn->config[PCI_PRIMARY];
    bridge->bus->secondary = fn->config[PCI_SECONDARY];
    bridge->bus->subordinate = fn->config[PCI_SUBORDINATE];
    bridge->bus->io_range = new_range(PCI_WINDOW_IO, fn);
    bridge->bus->memory_range = new_range(PCI_WINDOW_MEMORY, fn);
    bridge->bus->prefetchable_range = new_range(PCI_WINDOW_PREFETCH, fn);
    return bridge;
}

static void add_ids(const PciFunction *fn, PciDeviceInfo *info)
{
    const guint8 *c = fn->config;

    info->class_info = g_new0(PciDeviceClass, 1);
    info->class_info->class = le16_get(c + PCI_CLASS);
    info->class_info->desc = g_strdup(class_name(le16_get(c + PCI_CLASS)));
    info->id = g_new0(PciDeviceId, 1);
    info->id->vendor = le16_get(c + PCI_VENDOR);
    info->id->device = le16_get(c + PCI_DEVICE);
    info->id->has_subsystem = info->id->has_subsystem_vendor = !fn->secondary;
    info->id->subsystem = fn->secondary ? 0 : le16_get(c + PCI_SUBSYSTEM);
    info->id->subsystem_vendor = fn->secondary ? 0 : le16_get(c + PCI_SUBSYSTEM_VENDOR);
    info->irq_pin = c[PCI_IRQ_PIN];
    info->has_irq = c[PCI_IRQ_PIN] != 0;
    info->irq = c[PCI_IRQ_LINE];
}

/* ---- the walk ---- */

static GPtrArray *functions_of(const PciBus *bus, guint8 number);

static PciDeviceInfo *new_function(PciFunction *fn, guint8 bus_number)
{
    PciDeviceInfo *info = g_new0(PciDeviceInfo, 1);
    guint8 below = 0;

    info->bus = bus_number;
    info->slot = fn->devfn >> 3;
    info->function = fn->devfn & 7;
    info->qdev_id = g_strdup(fn->dev->parent ? "" : fn->dev->id);
    info->regions = REPLY_LIST(pci_memory_region_free);
    g_mutex_lock(&fn->dev->lock);
    add_ids(fn, info);
    for (guint n = 0; n < PCI_BARS; n++)
        add_region(fn, n, info->regions);
    if (fn->secondary) {
        info->pci_bridge = new_bridge(fn);
        below = fn->config[PCI_SECONDARY];
    }
    g_mutex_unlock(&fn->dev->lock);
    if (fn->secondary && pci_bus_n_visible(fn->secondary) > 0)
        info->pci_bridge->devices = functions_of(fn->secondary, below);
    return info;
}

static GPtrArray *functions_of(const PciBus *bus, guint8 number)
{
    GPtrArray *list = REPLY_LIST(pci_device_info_free);

    for (guint devfn = 0; devfn < pci_bus_slots(bus) * 8; devfn++) {
        PciFunction *fn = pci_bus_visible(bus, devfn);
        if (fn)
            g_ptr_array_add(list, new_function(fn, number));
    }
    return list;
}

gboolean cmd_query_pci(Machine *m, QmpRequest *req, GPtrArray **ret, GError **error)
{
    const PciBus *root = pci_root_bus(m->devices);

    *ret = REPLY_LIST(pci_info_free);
    if (!root)
        return TRUE;
    PciInfo *info = g_new0(PciInfo, 1);
    info->devices = functions_of(root, 0);
    g_ptr_array_add(*ret, info);
    return TRUE;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bus.c - the functions of one PCI bus by number, claimed in realize and shown to the guest in
 * publish.
 *
 * The hard part is removal while a vCPU is inside the function's hook. Each access holds the bus
 * mutex from lookup to completion, so pci_bus_remove(), which takes it too, returns when nobody
 * is inside. Hooks never come back here: a device lock is held in them (see bus.h), and what
 * they want changed they post.
 */
#include "bus.h"

#define PCI_DEVFNS 256

struct PciBus {
    DeviceSet   *set;
    char        *name;
    GMutex       lock;
    PciFunction *claimed[PCI_DEVFNS];
    PciFunction *visible[PCI_DEVFNS];
};

PciBus *pci_bus_new(DeviceSet *set, const char *name)
{
    PciBus *bus = g_new0(PciBus, 1);

    bus->set = set;
    bus->name = g_strdup(name);
    g_mutex_init(&bus->lock);
    return bus;
}

void pci_bus_free(PciBus *bus)
{
    if (!bus)
        return;
    for (guint i = 0; i < PCI_DEVFNS; i++)
        g_assert(!bus->claimed[i]);
    g_mutex_clear(&bus->lock);
    g_free(bus->name);
    g_free(bus);
}

const char *pci_bus_name(const PciBus *bus)
{
    return bus->name;
}

gboolean pci_bus_claim(PciBus *bus, PciFunction *fn, GError **error)
{
    const PciFunction *holder = bus->claimed[fn->devfn];

    if (holder)
        return error_set(error, "Device '%s': PCI slot %s:%02x.%x is in use by device '%s'",
                         fn->dev->id, bus->name, fn->devfn >> 3, fn->devfn & 7, holder->dev->id);
    bus->claimed[fn->devfn] = fn;
    return TRUE;
}

void pci_bus_publish(PciBus *bus, PciFunction *fn)
{
    LOCK_SCOPE(&bus->lock);
    g_assert(bus->claimed[fn->devfn] == fn);
    bus->visible[fn->devfn] = fn;
}

void pci_bus_remove(PciBus *bus, PciFunction *fn)
{
    LOCK_SCOPE(&bus->lock);
    if (bus->claimed[fn->devfn] != fn)
        return; /* a realize that failed before its claim */
    bus->visible[fn->devfn] = NULL;
    bus->claimed[fn->devfn] = NULL;
}

/* Bus 0 is the only one until there are root ports; on others nothing answers. */
static PciFunction *lookup(PciBus *bus, guint8 bus_nr, guint8 devfn)
{
    return bus_nr == 0 ? bus->visible[devfn] : NULL;
}

guint32 pci_bus_config_read(PciBus *bus, guint8 bus_nr, guint8 devfn, guint16 offset, unsigned size)
{
    LOCK_SCOPE(&bus->lock);
    PciFunction *fn = lookup(bus, bus_nr, devfn);

    if (!fn)
        return (guint32)ones(size);
    LOCK_SCOPE(&fn->dev->lock);
    return pci_config_read(fn, offset, size);
}

void pci_bus_config_write(PciBus *bus, guint8 bus_nr, guint8 devfn, guint16 offset, guint32 value,
                          unsigned size)
{
    LOCK_SCOPE(&bus->lock);
    PciFunction *fn = lookup(bus, bus_nr, devfn);

    if (!fn)
        return;
    LOCK_SCOPE(&fn->dev->lock);
    pci_config_write(fn, offset, value, size);
}

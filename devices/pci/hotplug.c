/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hotplug.c - see hotplug.h.
 *
 * A guest deals in slots, a manager in functions. To ask for one function is to ask for its slot, and what the guest ejects are
 * all functions in it, each with its own end. Functions 1 to 7 that are plugged before function 0 are not seen by the guest
 * until that comes (bus.c); until then they go as they came, unnoticed.
 */
#include "hotplug.h"

#include "../acpi/pci-hotplug.h"
#include "../core/unplug.h"
#include "pci-device.h"
#include "root-port.h"

#define BEHIND_PORTS 32 /* the first number of a slot behind a root port */

static PciSlot slot_of(PciBus *bus, guint8 devfn)
{
    return (PciSlot){ bus, devfn & 0xf8 };
}

/* ---- numbers ---- */

/* The bus behind the root port at DEVFN, if ACPI controls its slot. */
static PciBus *port_at(const PciBus *root, guint devfn)
{
    const PciFunction *fn = pci_bus_claimed(root, devfn);
    PciBus *bus = fn ? fn->secondary : NULL;

    return bus && pcie_slot_is(bus) && !pcie_slot_native(bus) && pci_bus_hotplug(bus) ? bus : NULL;
}

gboolean pci_slot_by_number(DeviceSet *set, guint number, PciSlot *slot)
{
    PciBus *root = pci_root_bus(set);

    if (!root)
        return FALSE;
    if (number < BEHIND_PORTS)
        *slot = slot_of(root, (guint8)(number << 3));
    else
        *slot = slot_of(port_at(root, number - BEHIND_PORTS), 0);
    return slot->bus != NULL;
}

/* G_MAXUINT: ACPI does not control it. */
static guint number_of(const PciSlot *slot)
{
    const PciFunction *bridge = pci_bus_bridge(slot->bus);

    if (!bridge)
        return slot->first >> 3;
    if (pci_bus_bridge(bridge->bus) || port_at(bridge->bus, bridge->devfn) != slot->bus || slot->first)
        return G_MAXUINT;
    return BEHIND_PORTS + bridge->devfn;
}

guint32 pci_slot_sun(const PciSlot *slot)
{
    const PciFunction *bridge = pci_bus_bridge(slot->bus);

    if (!bridge)
        return slot->first >> 3;
    const PcieRootPortConfig *c = DEVICE_CONFIG(bridge->dev, PcieRootPortConfig);
    return BEHIND_PORTS + ((guint32)c->chassis << 13 | c->slot);
}

/* ---- what is in them ---- */

/* Parts of the board have no rows and stay. */
static gboolean stays(const Device *dev)
{
    return !dev->bag || !(dev->bag->table->flags & TYPE_HOT_UNPLUG);
}

gboolean pci_slot_is_removable(const PciSlot *slot)
{
    for (guint f = 0; f < 8; f++) {
        const PciFunction *fn = pci_bus_claimed(slot->bus, slot->first | f);
        if (fn && stays(fn->dev))
            return FALSE;
    }
    return TRUE;
}

gboolean pci_slot_is_occupied(const PciSlot *slot)
{
    for (guint f = 0; f < 8; f++) {
        if (pci_bus_visible(slot->bus, slot->first | f))
            return TRUE;
    }
    return FALSE;
}

gboolean pci_slot_is_named(PciBus *bus, guint8 devfn)
{
    PciSlot slot = slot_of(bus, devfn);

    return devfn == slot.first && number_of(&slot) != G_MAXUINT;
}

guint16 pci_slot_acpi_index(const PciSlot *slot)
{
    const PciFunction *fn = pci_bus_visible(slot->bus, slot->first);

    return fn && !stays(fn->dev) ? (guint16)DEVICE_CONFIG(fn->dev, PciDeviceConfig)->acpi_index : 0;
}

/* ---- what the guest says ---- */

void pci_slot_noticed(const PciSlot *slot)
{
    for (guint f = 0; f < 8; f++) {
        PciFunction *fn = pci_bus_visible(slot->bus, slot->first | f);
        if (fn)
            device_unplug_noticed(fn->dev);
    }
}

/* Function 0 last, as a guest takes them. */
void pci_slot_eject(const PciSlot *slot)
{
    for (guint f = 8; f > 0; f--) {
        PciFunction *fn = pci_bus_visible(slot->bus, slot->first | (f - 1));
        if (fn && !stays(fn->dev))
            device_unplug_done(fn->dev);
    }
}

void pci_slot_keep(const PciSlot *slot, const char *reason)
{
    for (guint f = 0; f < 8; f++) {
        PciFunction *fn = pci_bus_visible(slot->bus, slot->first | f);
        if (fn)
            device_unplug_refused(fn->dev, reason);
    }
}

/* ---- what functions say ---- */

void pci_slot_arrived(PciFunction *fn)
{
    PciSlot slot = slot_of(fn->bus, fn->devfn);
    guint number = number_of(&slot);

    if (device_set_is_started(fn->dev->set) && number != G_MAXUINT && pci_bus_visible(fn->bus, fn->devfn))
        pci_hotplug_arrived(fn->dev->set, number);
}

void pci_slot_left(PciBus *bus, guint8 devfn)
{
    PciSlot slot = slot_of(bus, devfn);
    guint number = number_of(&slot);
    DeviceSet *set = pci_bus_set(bus);

    if (device_set_is_started(set) && number != G_MAXUINT && !pci_slot_is_occupied(&slot))
        pci_hotplug_left(set, number);
}

static UnplugAnswer refuse(const Device *dev, const PciSlot *slot, GError **error)
{
    error_set(error, "Device '%s': slot %x of bus '%s' does not support hot unplug", dev->id, slot->first >> 3,
              pci_bus_name(slot->bus));
    return UNPLUG_REFUSED;
}

static UnplugAnswer ask_acpi(Device *dev, const PciSlot *slot, GError **error)
{
    guint number = number_of(slot);

    if (number == G_MAXUINT || !pci_slot_is_removable(slot))
        return refuse(dev, slot, error);
    pci_hotplug_request_remove(dev->set, number);
    return UNPLUG_ASKED;
}

UnplugAnswer pci_device_unplug_request(Device *dev, gboolean force, GError **error)
{
    const PciFunction *fn = &((PciDevice *)dev)->fn;
    PciSlot slot = slot_of(fn->bus, fn->devfn);

    if (!pci_bus_hotplug(fn->bus))
        return refuse(dev, &slot, error); /* by force neither: the slot could not be filled again */
    if (force || !pci_bus_visible(fn->bus, fn->devfn))
        return UNPLUG_AT_ONCE;
    if (!pcie_slot_native(fn->bus))
        return ask_acpi(dev, &slot, error);
    return pcie_slot_ask(fn->bus) ? UNPLUG_ASKED : UNPLUG_AT_ONCE;
}

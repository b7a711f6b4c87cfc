/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hotplug.h - PCI slots of a running machine: who tells the guest of what comes, and who asks it for what shall go. Main
 * thread.
 *
 * The guest controls slots of root ports with native-hotplug (root-port.h). ACPI controls all others that take devices:
 * those of pcie.0, and those of root ports with hotplug. Its registers and tables know each by a number.
 */
#pragma once

#include "bus.h"

typedef struct {
    PciBus *bus;
    guint8  first; /* devfn of its function 0 */
} PciSlot;

/* ---- slots that ACPI controls ---- */

/* Numbers are below PCI_HOTPLUG_SLOTS (acpi/pci-hotplug.h): N is slot N of pcie.0, 32 + N is the slot behind the root port at devfn N,
 * as that does not change while the machine runs. FALSE: ACPI does not control such a slot. */
gboolean pci_slot_by_number(DeviceSet *set, guint number, PciSlot *slot);
/* What people know the slot by (_SUN), unique: slots of pcie.0 as they are; behind a port 32 + its slot number, the chassis above. */
guint32  pci_slot_sun(const PciSlot *slot);
gboolean pci_slot_is_removable(const PciSlot *slot); /* holds nothing that stays */
gboolean pci_slot_is_occupied(const PciSlot *slot);  /* by functions that the guest can see */
/* Whether the function at DEVFN has an object in the tables by which it can have a name: it is function 0 of a slot that ACPI controls. */
gboolean pci_slot_is_named(PciBus *bus, guint8 devfn);
guint16  pci_slot_acpi_index(const PciSlot *slot); /* of its function 0, as the guest sees it; 0: none */

/* ---- what the guest says of a slot ---- */

void pci_slot_noticed(const PciSlot *slot); /* it has heard the request */
void pci_slot_eject(const PciSlot *slot);   /* it let go: all functions are gone when this returns */
void pci_slot_keep(const PciSlot *slot, const char *reason); /* it said no */

/* ---- what functions say ---- */

void pci_slot_arrived(PciFunction *fn);
/* The function at BUS, DEVFN is gone. */
void pci_slot_left(PciBus *bus, guint8 devfn);

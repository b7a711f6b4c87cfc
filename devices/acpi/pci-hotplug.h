/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pci-hotplug.h - the ACPI PCI hotplug registers as slots see them (slots have numbers: pci/hotplug.h). All functions: main
 * thread.
 */
#pragma once

#include "../core/device.h"

#define PCI_HOTPLUG_REG_LEN 24
#define PCI_HOTPLUG_GPE 1    /* \_GPE._E01 */
#define PCI_HOTPLUG_GROUPS 9 /* of 32 slots: what the selector selects */
#define PCI_HOTPLUG_SLOTS (PCI_HOTPLUG_GROUPS * 32)

/* A function was published in SLOT while the machine runs: the guest is told (GPE 1), at the end of the bracket
 * (device_plug_begin()) if there is one. */
void pci_hotplug_arrived(DeviceSet *set, guint slot);
/* The guest shall let go of what is in SLOT. Its answer goes to core/unplug.h. */
void pci_hotplug_request_remove(DeviceSet *set, guint slot);
/* The last function in SLOT is gone. If the guest did not eject it, it is told to drop what it still believes to be there. */
void pci_hotplug_left(DeviceSet *set, guint slot);

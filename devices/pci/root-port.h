/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * root-port.h - PCI Express root ports as the hot plug code sees them: the slot that each leads to.
 * Buses are those behind a pcie-root-port. Main thread.
 */
#pragma once

#include "bus.h"

/* Whether the guest controls the slot by its registers (PCIe 6.7); FALSE for buses that are not behind such a port. */
gboolean pcie_slot_native(const PciBus *bus);
gboolean pcie_slot_powered(const PciBus *bus); /* TRUE where power can not be switched */
/* Presses the attention button: the guest is asked to give up what is in the slot (or to take it, if it is off). */
void     pcie_slot_push_button(PciBus *bus);
/* FN(user) runs each time the guest has switched the slot's power off; by then nothing reaches the bus. One at a time; FN NULL: none. */
void     pcie_slot_on_power_off(PciBus *bus, void (*fn)(gpointer user), gpointer user);

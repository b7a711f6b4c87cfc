/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * root-port.h - PCI Express root ports as the hot plug code sees them: the slot that each leads to.
 * Buses are those behind a pcie-root-port. Main thread.
 */
#pragma once

#include "bus.h"

gboolean pcie_slot_is(const PciBus *bus); /* behind a root port */
/* Whether the guest controls the slot by its registers (PCIe 6.7); FALSE for buses that are not behind such a port. */
gboolean pcie_slot_native(const PciBus *bus);
/* Speed and width, as PCIE_LNKCAP has them, of the link that leads to BUS: what is at its other end runs at those. FALSE: there is no link. */
gboolean pcie_slot_link(const PciBus *bus, guint8 *speed, guint8 *width);
gboolean pcie_slot_powered(const PciBus *bus); /* TRUE where power can not be switched */
/* Presses the attention button: the guest is asked to give up what is in the slot (or to take it, if it is off). */
void     pcie_slot_push_button(PciBus *bus);
/* Asks the guest to give up what is in the slot, by the button; not if it is at it already, since the button would call that off; while
 * it powers the slot on, as soon as it has. FALSE: the slot has no power, there is nobody to ask. What the guest answers
 * goes to hotplug.h. */
gboolean pcie_slot_ask(PciBus *bus);

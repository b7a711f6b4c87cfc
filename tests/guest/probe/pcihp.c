/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * PCI hotplug by ACPI: the register block at 0xcc0 that QEMU documents
 * (docs/specs/acpi_pci_hotplug). Reads of "up" and "down" take the bits they return. What the
 * selector selects is between monitor and AML; Backplane has groups of 32 slots there
 * (docs/design/machine.md): number N is slot N of bus 0, 32 + devfn the slot behind the root port
 * at devfn.
 */
#include "hotplug.h"

#define HP_BASE 0xcc0
enum { R_UP = 0x00, R_DOWN = 0x04, W_EJECT = 0x08, R_REMOVABLE = 0x0c, SELECTOR = 0x10 };

#define GROUPS 9
#define BEHIND_PORTS 32
#define SECONDARY 0x18

/* Function 0 of a slot. Behind a port nobody has numbered the bus is 0, and nothing is found. */
static u16 bdf_of(u32 slot)
{
    if (slot < BEHIND_PORTS)
        return (u16)(slot << 3);
    return (u16)((pci_read32((u16)(slot - BEHIND_PORTS), SECONDARY) >> 8 & 0xff) << 8);
}

static bool reachable(u32 slot)
{
    return slot < BEHIND_PORTS || bdf_of(slot) >> 8;
}

static bool is_there(u32 slot)
{
    return reachable(slot) && pci_read16(bdf_of(slot), 0) != 0xffff;
}

/* All functions of it, as they are at first sight. */
static void checked(u32 slot)
{
    u32 functions = 0;

    for (u32 fn = 0; fn < 8 && reachable(slot); fn++) {
        functions += pci_report((u16)(bdf_of(slot) + fn));
    }
    emit("pcihp-inserted slot=%u bdf=%02x:%02x.0 functions=%u\n", slot, bdf_of(slot) >> 8,
         bdf_of(slot) >> 3 & 31, functions);
}

void pcihp_eject(u32 slot)
{
    outl(HP_BASE + SELECTOR, slot / 32);
    outl(HP_BASE + W_EJECT, 1u << slot % 32);
    emit("pcihp-removed slot=%u present=%u\n", slot, is_there(slot));
}

/* There is no _OST here: a guest that refuses says nothing. */
static void asked(u32 slot)
{
    emit("pcihp-asked slot=%u present=%u\n", slot, is_there(slot));
    if (temper == WILLING)
        pcihp_eject(slot);
}

static void each_bit(u32 group, u32 bits, void (*fn)(u32 slot))
{
    for (u32 i = 0; i < 32; i++) {
        if (bits >> i & 1)
            fn(group * 32 + i);
    }
}

/* All ones are what an absent block reads as. */
bool pcihp_gpe(void)
{
    bool any = false;

    for (u32 g = 0; g < GROUPS; g++) {
        outl(HP_BASE + SELECTOR, g);
        u32 up = inl(HP_BASE + R_UP), down = inl(HP_BASE + R_DOWN);
        if (up == ~0u && down == ~0u)
            return any;
        each_bit(g, up, checked);
        each_bit(g, down, asked);
        any |= up || down;
    }
    return any;
}

void pcihp_status(void)
{
    for (u32 g = 0; g < GROUPS; g++) {
        outl(HP_BASE + SELECTOR, g);
        u32 removable = inl(HP_BASE + R_REMOVABLE);
        if (removable)
            emit("pcihp group=%u removable=%#x\n", g, removable);
    }
}

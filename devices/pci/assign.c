/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * assign.c - what firmware would do for bridges, for a kernel that is started without any: bus numbers, and windows that
 * hold what is behind now and what may be plugged there later.
 *
 * Without it a guest complains of bridges without numbers and, worse, leaves the windows of an empty port closed: it
 * gives room for later only to ports that say they are hot-plug capable, and those that ACPI controls do not. BARs are left
 * to the guest, which places them within the windows.
 *
 * Each port gets at least DEFAULT_32 and DEFAULT_64, halved until all ports together take no more than half of the board's
 * window (the rest is for functions on the root bus); more if what is behind it needs more. A window that finds no room stays closed,
 * and the guest does what it does without firmware. It is all done by the accesses that a guest could make.
 */
#include "bar.h"

#include "../platform/board.h"

#define WINDOW_UNIT (G_GUINT64_CONSTANT(1) << 20)
#define DEFAULT_32 (2 * WINDOW_UNIT)
#define DEFAULT_64 (32 * WINDOW_UNIT)

typedef struct {
    guint64 next, end; /* what is still free */
    guint64 share;     /* of a port that can be plugged into */
} Room;

static guint64 align_up(guint64 value, guint64 unit)
{
    return (value + unit - 1) & ~(unit - 1);
}

/* Memory behind the bus that only a window of this kind can hold; the largest BAR's size is the alignment. */
static guint64 needed(const PciBus *bus, gboolean prefetch, guint64 *align)
{
    guint64 sum = 0, size;
    gboolean is_prefetch;

    for (guint devfn = 0; devfn < pci_bus_slots(bus) * 8; devfn++) {
        const PciFunction *fn = pci_bus_visible(bus, devfn);
        for (guint n = 0; fn && n < PCI_BARS; n++) {
            PciBarKind kind = pci_bar_kind(fn, n, &is_prefetch, &size);
            if (kind < PCI_BAR_MEM32 || (kind == PCI_BAR_MEM64 && is_prefetch) != prefetch)
                continue;
            sum += size;
            *align = MAX(*align, size);
        }
    }
    return align_up(sum, WINDOW_UNIT);
}

/* Takes a window out of ROOM; FALSE if there is no need or no room. */
static gboolean take_window(Room *room, const PciBus *bus, gboolean prefetch, guint64 *base, guint64 *limit)
{
    guint64 align = WINDOW_UNIT;
    guint64 size = MAX(needed(bus, prefetch, &align), pci_bus_hotplug(bus) ? room->share : 0);

    *base = align_up(room->next, align);
    if (size == 0 || *base < room->next || *base > room->end || room->end - *base < size)
        return FALSE;
    room->next = *base + size;
    *limit = room->next - 1;
    return TRUE;
}

static void assign_bridge(PciBus *root, const PciFunction *fn, guint8 number, Room *low, Room *high)
{
    guint64 base, limit;
    guint8 devfn = fn->devfn;

    pci_bus_config_write(root, 0, devfn, PCI_PRIMARY, (guint32)number << 8 | (guint32)number << 16, 4);
    if (take_window(low, fn->secondary, FALSE, &base, &limit))
        pci_bus_config_write(root, 0, devfn, PCI_MEMORY_BASE,
                             (guint32)(base >> 16) | ((guint32)limit & 0xfff00000), 4);
    if (take_window(high, fn->secondary, TRUE, &base, &limit)) {
        pci_bus_config_write(root, 0, devfn, PCI_PREFETCH_BASE,
                             ((guint32)base >> 16) | ((guint32)limit & 0xfff00000), 4);
        pci_bus_config_write(root, 0, devfn, PCI_PREFETCH_BASE_HIGH, (guint32)(base >> 32), 4);
        pci_bus_config_write(root, 0, devfn, PCI_PREFETCH_LIMIT_HIGH, (guint32)(limit >> 32), 4);
    }
}

static Room room_of(guint64 base, guint64 size, guint64 share, guint n_ports)
{
    Room room = { base, base + size, base ? share : 0 };

    while (room.share > WINDOW_UNIT && room.share * n_ports > size / 2)
        room.share /= 2;
    return room;
}

void pci_assign_bridges(DeviceSet *set)
{
    PciBus *root = pci_root_bus(set);
    const BoardConfig *board = board_config(set);
    guint n_ports = 0;
    guint8 number = 0;

    for (guint devfn = 0; root && devfn < pci_bus_slots(root) * 8; devfn++) {
        const PciFunction *fn = pci_bus_visible(root, devfn);
        n_ports += fn && fn->secondary && pci_bus_hotplug(fn->secondary);
    }
    if (!root)
        return;
    Room low = room_of(board->pci_hole32_base, board->pci_hole32_size, DEFAULT_32, n_ports);
    Room high = room_of(board->pci_hole64_base, board->pci_hole64_base ? board->pci_hole64_size : 0, DEFAULT_64, n_ports);
    for (guint devfn = 0; devfn < pci_bus_slots(root) * 8; devfn++) {
        const PciFunction *fn = pci_bus_visible(root, devfn);
        if (fn && fn->secondary && number < G_MAXUINT8)
            assign_bridge(root, fn, ++number, &low, &high);
    }
    pci_sync(set);
}

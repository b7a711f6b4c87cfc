/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * e820.c - the memory map as firmware and kernels learn it, in address order.
 *
 * The first MiB looks as on any PC: 639 KiB of RAM, the extended BIOS data area, the hole of the video
 * memory and option ROMs, and the BIOS area, which is RAM here but where guests look for RSDP and SMBIOS anchors.
 */
#include "../platform/board.h"
#include "memory-backend.h"

#define EBDA 0x9fc00u
#define VGA_HOLE 0xa0000u
#define BIOS_AREA 0xf0000u
#define ONE_MIB 0x100000u
#define FOUR_GIB (G_GUINT64_CONSTANT(1) << 32)

static void add(GArray *map, guint64 addr, guint64 end, E820Type type)
{
    E820Entry e = { .addr = addr, .len = end - addr, .type = type };

    if (end > addr)
        g_array_append_val(map, e);
}

GArray *mem_e820(DeviceSet *set)
{
    GArray *map = g_array_new(FALSE, FALSE, sizeof(E820Entry));
    const BoardConfig *board = board_config(set);
    guint64 low = mem_below_4g(set), high = mem_above_4g(set);

    add(map, 0, MIN(low, EBDA), E820_RAM);
    add(map, EBDA, VGA_HOLE, E820_RESERVED);
    add(map, BIOS_AREA, ONE_MIB, E820_RESERVED);
    add(map, ONE_MIB, low, E820_RAM);
    add(map, board->ecam_base, (guint64)board->ecam_base + board->ecam_size, E820_RESERVED);
    add(map, FOUR_GIB, FOUR_GIB + high, E820_RAM);
    return map;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* boot-fixture.h - guest RAM, tables and a memory map for the kernel loader, without a machine: for its test and its fuzzer. */
#pragma once

#include <sys/mman.h>

#include "acpi-fixture.h"
#include "devices/boot/boot.h"

/* RAM from 0 in two regions, so that loads cross a border, each between pages that nobody may touch. */
typedef struct {
    Fixture     board;
    MemRegion   regions[2];
    BootMachine m;
} BootFixture;

static inline guint8 *guarded_ram(guint64 size)
{
    guint8 *p = mmap(NULL, size + 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    g_assert(p != MAP_FAILED);
    g_assert(mprotect(p + 4096, size, PROT_READ | PROT_WRITE) == 0);
    return p + 4096;
}

static inline void boot_fixture_map(BootFixture *f, guint64 ram)
{
    E820Entry low = {.addr = 0, .len = BOOT_EBDA, .type = E820_RAM};
    E820Entry bios = {.addr = 0xf0000, .len = 0x10000, .type = E820_RESERVED};
    E820Entry high = {.addr = BOOT_ONE_MIB, .len = ram - BOOT_ONE_MIB, .type = E820_RAM};

    f->m.map = g_array_new(FALSE, FALSE, sizeof(E820Entry));
    g_array_append_val(f->m.map, low);
    g_array_append_val(f->m.map, bios);
    if (ram > BOOT_ONE_MIB)
        g_array_append_val(f->m.map, high);
}

/* RAM: bytes, more than SPLIT, where the second region begins. */
static inline void boot_fixture_ram(BootFixture *f, guint64 ram, guint64 split)
{
    f->regions[0] = (MemRegion){.gpa = 0, .size = split, .hva = guarded_ram(split)};
    f->regions[1] = (MemRegion){.gpa = split, .size = ram - split, .hva = guarded_ram(ram - split)};
    f->m.ram = (BootRam){.regions = f->regions, .n = 2};
    f->m.low_end = ram;
    boot_fixture_map(f, ram);
}

static inline void boot_fixture_ram_clear(BootFixture *f)
{
    for (guint i = 0; i < 2; i++)
        munmap(f->regions[i].hva - 4096, f->regions[i].size + 8192);
    g_array_unref(f->m.map);
}

static inline void boot_fixture_init(BootFixture *f, guint64 ram, guint64 split)
{
    memset(f, 0, sizeof *f);
    fixture_init(&f->board, 2, 1, ram, ram);
    boot_fixture_ram(f, ram, split);
    f->m.acpi = acpi_build_view(&f->board.view);
    f->m.smbios = smbios_build_view(&f->board.view);
    f->m.mp = mp_table_build_view(&f->board.view);
    f->m.cmdline = "console=ttyS0 quiet";
}

static inline void boot_fixture_clear(BootFixture *f)
{
    boot_fixture_ram_clear(f);
    acpi_tables_free(f->m.acpi);
    g_byte_array_unref(f->m.smbios);
    g_byte_array_unref(f->m.mp);
    fixture_clear(&f->board);
}

/* Host address of GPA, for what does not cross the border. */
static inline guint8 *ram_at(BootFixture *f, guint64 gpa)
{
    guint i = gpa >= f->regions[1].gpa;

    g_assert_cmpuint(gpa - f->regions[i].gpa, <, f->regions[i].size);
    return f->regions[i].hva + (gpa - f->regions[i].gpa);
}

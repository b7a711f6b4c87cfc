/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bzimage.c - Linux's bzImage by the 64-bit boot protocol (kernel: Documentation/arch/x86/boot.rst, sections "The Real-Mode
 * Kernel Header" and "64-bit Boot Protocol"; version 2.12 and XLF_KERNEL_64).
 *
 * The real-mode part is not run. Its header goes into the zero page with the rest of what that part would have found
 * out, and the protected-mode part is entered in long mode at +0x200, with the first 4 GiB mapped one to one.
 */
#include "boot.h"

enum {
    H_SETUP_SECTS = 0x1f1,
    H_BOOT_FLAG = 0x1fe,
    H_JUMP = 0x201, /* its operand tells where the header ends */
    H_MAGIC = 0x202,
    H_VERSION = 0x206,
    H_LOADER = 0x210,
    H_LOADFLAGS = 0x211,
    H_CODE32 = 0x214,
    H_RAMDISK = 0x218,
    H_RAMDISK_SIZE = 0x21c,
    H_CMDLINE = 0x228,
    H_INITRD_MAX = 0x22c,
    H_ALIGNMENT = 0x230,
    H_RELOCATABLE = 0x234,
    H_XLOADFLAGS = 0x236,
    H_CMDLINE_SIZE = 0x238,
    H_PREFERRED = 0x258,
    H_INIT_SIZE = 0x260,
    HEADER_2_12 = 0x268, /* the end of the fields that version 2.12 has */

    ZP_RSDP = 0x070,
    ZP_MAP_ENTRIES = 0x1e8,
    ZP_MAP = 0x2d0,
    ZP_SIZE = 0x1000,
    ENTRY_64 = 0x200,
};

gboolean boot_is_bzimage(const guint8 *head, gsize n)
{
    return n >= H_VERSION + 2 && le16_get(head + H_BOOT_FLAG) == 0xaa55 && memcmp(head + H_MAGIC, "HdrS", 4) == 0;
}

/* What the header must say for the 64-bit entry to exist. */
static gboolean check_protocol(const BootKernel *k, const guint8 *head, gsize n, GError **error)
{
    guint version = le16_get(head + H_VERSION);

    if (version < 0x020c)
        return error_set(error, "%s: Linux boot protocol %u.%02u; 2.12 or later expected", k->file.name, version >> 8,
                         version & 0xff);
    if (!boot_file_has(&k->file, 0, HEADER_2_12, "setup header", error))
        return FALSE;
    if (H_MAGIC + head[H_JUMP] < HEADER_2_12 || H_MAGIC + head[H_JUMP] > (int)MIN(n, LINUX_HEADER_END))
        return error_set(error, "%s is corrupt: its setup header ends at 0x%x, 0x%x to 0x%x expected", k->file.name,
                         H_MAGIC + head[H_JUMP], HEADER_2_12, LINUX_HEADER_END);
    if (!(head[H_LOADFLAGS] & 1))
        return error_set(error, "%s is a zImage (loadflags 0x%x): only a bzImage can be loaded", k->file.name,
                         head[H_LOADFLAGS]);
    if (!(le16_get(head + H_XLOADFLAGS) & 1))
        return error_set(error, "%s has no 64-bit entry (xloadflags 0x%x without XLF_KERNEL_64): a 32-bit kernel?", k->file.name,
                         le16_get(head + H_XLOADFLAGS));
    return TRUE;
}

static gboolean check_placement(BootKernel *k, GError **error)
{
    if (k->alignment == 0 || (k->alignment & (k->alignment - 1)) || k->alignment > 1u << 30)
        return error_set(error, "%s is corrupt: kernel_alignment 0x%" G_GINT64_MODIFIER "x is not a power of 2 up to 1 GiB",
                         k->file.name, k->alignment);
    if (k->preferred < BOOT_ONE_MIB || !range_within(k->preferred, k->init_size, G_GUINT64_CONSTANT(1) << 32))
        return error_set(error,
                         "%s is corrupt: pref_address 0x%" G_GINT64_MODIFIER "x with init_size 0x%" G_GINT64_MODIFIER
                         "x is not between 1 MiB and 4 GiB",
                         k->file.name, k->preferred, k->init_size);
    return TRUE;
}

gboolean boot_bzimage_parse(BootKernel *k, const guint8 *head, gsize n, GError **error)
{
    guint64 setup = ((head[H_SETUP_SECTS] ? head[H_SETUP_SECTS] : 4) + 1) * 512u;
    BootSegment s;

    if (!check_protocol(k, head, n, error))
        return FALSE;
    if (!boot_file_has(&k->file, setup, ENTRY_64 + 1, "protected-mode kernel", error))
        return FALSE;
    k->header_end = H_MAGIC + head[H_JUMP];
    memcpy(k->header + LINUX_HEADER_START, head + LINUX_HEADER_START, k->header_end - LINUX_HEADER_START);
    k->initrd_max = le32_get(head + H_INITRD_MAX);
    k->alignment = le32_get(head + H_ALIGNMENT);
    k->relocatable = head[H_RELOCATABLE];
    k->cmdline_max = MIN(le32_get(head + H_CMDLINE_SIZE), BOOT_CMDLINE_MAX);
    k->preferred = le64_get(head + H_PREFERRED);
    k->init_size = MAX(le32_get(head + H_INIT_SIZE), k->file.size - setup);
    k->entry = ENTRY_64;
    if (!check_placement(k, error))
        return FALSE;
    /* mem_len is what loading fills; the kernel wants init_size there, which boot_load() reserves. */
    s = (BootSegment){.gpa = k->preferred, .offset = setup, .file_len = k->file.size - setup, .mem_len = k->file.size - setup};
    return boot_kernel_add_segment(k, &s, error);
}

/* ---- entering ---- */

/* One PML4, one PDPT, four page directories of 2 MiB pages: the first 4 GiB, writable. */
static void write_page_tables(const BootMachine *m)
{
    guint8 page[4096] = {0};
    guint64 pdpt = BOOT_PAGE_TABLES + 0x1000, pd = BOOT_PAGE_TABLES + 0x2000;

    le64_put(page, pdpt | 3);
    boot_ram_write(&m->ram, BOOT_PAGE_TABLES, page, sizeof page);
    for (guint i = 0; i < 4; i++)
        le64_put(page + i * 8, (pd + i * 0x1000) | 3);
    boot_ram_write(&m->ram, pdpt, page, sizeof page);
    for (guint i = 0; i < 4; i++) {
        for (guint j = 0; j < 512; j++)
            le64_put(page + j * 8, (guint64)(i * 512 + j) << 21 | 0x83);
        boot_ram_write(&m->ram, pd + i * 0x1000, page, sizeof page);
    }
}

/* Flat: 0x10 64-bit code, 0x18 data. */
static void write_gdt(const BootMachine *m)
{
    guint8 gdt[32] = {0};

    le64_put(gdt + 0x10, G_GUINT64_CONSTANT(0x00af9b000000ffff));
    le64_put(gdt + 0x18, G_GUINT64_CONSTANT(0x00cf93000000ffff));
    boot_ram_write(&m->ram, BOOT_DATA, gdt, sizeof gdt);
}

static void put_map(guint8 *zp, const GArray *map)
{
    zp[ZP_MAP_ENTRIES] = map->len;
    for (guint i = 0; i < map->len; i++) {
        const E820Entry *e = &g_array_index(map, E820Entry, i);
        guint8 *p = zp + ZP_MAP + i * 20;

        le64_put(p, e->addr);
        le64_put(p + 8, e->len);
        le32_put(p + 16, e->type);
    }
}

void boot_linux_enter(const BootKernel *k, const BootMachine *m, const BootPlaces *p, VcpuBoot *out)
{
    guint8 zp[ZP_SIZE] = {0};

    memcpy(zp + LINUX_HEADER_START, k->header + LINUX_HEADER_START, k->header_end - LINUX_HEADER_START);
    zp[H_LOADER] = 0xff; /* a loader without a number of its own */
    le32_put(zp + H_CODE32, p->load);
    le32_put(zp + H_CMDLINE, BOOT_CMDLINE);
    if (p->initrd_len) {
        le32_put(zp + H_RAMDISK, p->initrd);
        le32_put(zp + H_RAMDISK_SIZE, p->initrd_len);
    }
    le64_put(zp + ZP_RSDP, p->rsdp);
    put_map(zp, m->map);
    boot_ram_write(&m->ram, BOOT_INFO, zp, sizeof zp);
    write_page_tables(m);
    write_gdt(m);
    *out = (VcpuBoot){.mode = VCPU_BOOT_LONG64, .rip = p->load + k->entry, .rsp = BOOT_STACK, .rsi = BOOT_INFO,
                      .cr3 = BOOT_PAGE_TABLES, .gdt = BOOT_DATA, .gdt_limit = 31};
}

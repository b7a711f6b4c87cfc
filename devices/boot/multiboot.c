/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * multiboot.c - Multiboot 1 (specification 0.6.96): header, flat ("a.out kludge") images, and the information structure.
 *
 * A header with addresses (flag 16) describes the image completely, even if the file is ELF as well. The kernel
 * starts in 32-bit protected mode with its magic in EAX and the information's address in EBX.
 */
#include "boot.h"

enum {
    MB_HEADER_MAGIC = 0x1badb002,
    MB_MAGIC = 0x2badb002,
    MB_ADDRESSES = 1 << 16,
    MB_UNKNOWN = 0xfff8, /* of the bits that a loader must understand: all but 0 to 2 */
};

gint boot_multiboot_find(const guint8 *head, gsize n)
{
    for (gsize at = 0; at + 12 <= n; at += 4)
        if (le32_get(head + at) == MB_HEADER_MAGIC &&
            le32_get(head + at) + le32_get(head + at + 4) + le32_get(head + at + 8) == 0)
            return at;
    return -1;
}

gboolean boot_multiboot_wants_elf(const guint8 *head, gint offset)
{
    return !(le32_get(head + offset + 4) & MB_ADDRESSES);
}

/* The image lies in the file around its header: as many bytes before it as in memory. */
static gboolean parse_flat(BootKernel *k, const guint8 *h, guint32 at, GError **error)
{
    guint32 header = le32_get(h + 12), load = le32_get(h + 16), load_end = le32_get(h + 20), bss_end = le32_get(h + 24);
    BootSegment s = {.gpa = load};

    if (header < load || header - load > at)
        return error_set(error,
                         "%s: multiboot header_addr 0x%x and load_addr 0x%x do not fit the header's offset 0x%x in the file",
                         k->file.name, header, load, at);
    s.offset = at - (header - load);
    if (load_end == 0)
        s.file_len = k->file.size - s.offset;
    else if (load_end >= load)
        s.file_len = load_end - load;
    else
        return error_set(error, "%s: multiboot load_end_addr 0x%x is below load_addr 0x%x", k->file.name, load_end, load);
    if (bss_end != 0 && bss_end < load + s.file_len)
        return error_set(error, "%s: multiboot bss_end_addr 0x%x is below the end of the image 0x%" G_GINT64_MODIFIER "x",
                         k->file.name, bss_end, load + s.file_len);
    s.mem_len = bss_end ? bss_end - load : s.file_len;
    k->entry = le32_get(h + 28);
    return boot_kernel_add_segment(k, &s, error);
}

gboolean boot_multiboot_parse(BootKernel *k, const guint8 *head, gint offset, GError **error)
{
    const guint8 *h = head + offset;
    guint32 flags = le32_get(h + 4);

    if (flags & MB_UNKNOWN)
        return error_set(error, "%s: multiboot flags 0x%x require what this loader does not know (0x%x)", k->file.name, flags,
                         flags & MB_UNKNOWN);
    if (!(flags & MB_ADDRESSES))
        return TRUE;
    if (!boot_file_has(&k->file, offset, 32, "multiboot header", error))
        return FALSE;
    if (offset + 32 > BOOT_HEAD_LEN)
        return error_set(error, "%s: its multiboot header at offset %d is not within the first %d bytes", k->file.name, offset,
                         BOOT_HEAD_LEN);
    return parse_flat(k, h, offset, error);
}

/* ---- entering ---- */

enum { INFO_MEMORY = 1 << 0, INFO_CMDLINE = 1 << 2, INFO_MODULES = 1 << 3, INFO_MAP = 1 << 6, INFO_LOADER = 1 << 9 };
enum { AT_MODULE = 0x80, AT_NAME = 0xc0, AT_EMPTY = 0xe0, AT_MAP = 0x100, MAP_ENTRY = 24 };

/* KiB of RAM from 1 MiB up to the first hole. */
static guint32 upper_memory(const GArray *map)
{
    guint64 end = BOOT_ONE_MIB;

    for (guint i = 0; i < map->len; i++) {
        const E820Entry *e = &g_array_index(map, E820Entry, i);

        if (e->type == E820_RAM && e->addr <= end && e->addr + e->len > end)
            end = e->addr + e->len;
    }
    return MIN((end - BOOT_ONE_MIB) >> 10, G_MAXUINT32);
}

static void write_map(const BootMachine *m)
{
    for (guint i = 0; i < m->map->len; i++) {
        const E820Entry *e = &g_array_index(m->map, E820Entry, i);
        guint8 b[MAP_ENTRY];

        le32_put(b, MAP_ENTRY - 4);
        le64_put(b + 4, e->addr);
        le64_put(b + 12, e->len);
        le32_put(b + 20, e->type);
        boot_ram_write(&m->ram, BOOT_INFO + AT_MAP + i * MAP_ENTRY, b, sizeof b);
    }
}

void boot_multiboot_enter(const BootKernel *k, const BootMachine *m, const BootPlaces *p, VcpuBoot *out)
{
    static const char loader[] = "Backplane";
    guint8 info[0x78] = {0}, module[16] = {0};

    le32_put(info, INFO_MEMORY | INFO_CMDLINE | INFO_MAP | INFO_LOADER | (p->initrd_len ? INFO_MODULES : 0));
    le32_put(info + 4, BOOT_EBDA >> 10);
    le32_put(info + 8, upper_memory(m->map));
    le32_put(info + 16, BOOT_CMDLINE);
    if (p->initrd_len) {
        le32_put(info + 20, 1);
        le32_put(info + 24, BOOT_INFO + AT_MODULE);
        le32_put(module, p->initrd);
        le32_put(module + 4, p->initrd + p->initrd_len);
        le32_put(module + 8, BOOT_INFO + AT_EMPTY);
    }
    le32_put(info + 44, m->map->len * MAP_ENTRY);
    le32_put(info + 48, BOOT_INFO + AT_MAP);
    le32_put(info + 64, BOOT_INFO + AT_NAME);
    boot_ram_write(&m->ram, BOOT_INFO, info, sizeof info);
    boot_ram_write(&m->ram, BOOT_INFO + AT_MODULE, module, sizeof module);
    boot_ram_write(&m->ram, BOOT_INFO + AT_NAME, loader, sizeof loader);
    boot_ram_write(&m->ram, BOOT_INFO + AT_EMPTY, "", 1);
    write_map(m);
    *out = (VcpuBoot){.mode = VCPU_BOOT_PROT32, .rip = k->entry, .rsp = BOOT_STACK, .rax = MB_MAGIC, .rbx = BOOT_INFO};
}

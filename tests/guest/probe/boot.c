/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Before anything else (32-bit mode only): copy what the loader said. The loader's own structures
 * may lie anywhere, in memory that the trampoline of the APs or a memory test will overwrite, so
 * nothing of them is used later; struct boot is what 32-bit and 64-bit code both know. Then build
 * the page tables.
 */
#include "probe.h"

struct boot boot;

_Static_assert(offsetof(struct boot, range) % 8 == 0, "the same layout in both modes");
_Static_assert(offsetof(struct boot, module) % 8 == 0 && sizeof(struct module) % 8 == 0,
               "the same layout in both modes");
_Static_assert(sizeof(struct range) == 24, "the same layout in both modes");

#define PVH_MAGIC 0x336ec578
#define MB_INFO_MEM (1u << 0)
#define MB_INFO_CMDLINE (1u << 2)
#define MB_INFO_MODS (1u << 3)
#define MB_INFO_MMAP (1u << 6)
#define MB_INFO_LOADER (1u << 9)

/* hvm_start_info: version 0 ends before memmap. */
struct pvh_info {
    u32 magic, version, flags, modules;
    u64 modlist, cmdline, rsdp, memmap;
    u32 memmap_entries, reserved;
} __attribute__((packed));

struct pvh_range {
    u64 base, size;
    u32 type, reserved;
} __attribute__((packed));

struct pvh_module {
    u64 base, size, cmdline, reserved;
} __attribute__((packed));

struct mb_module {
    u32 start, end, cmdline, reserved;
} __attribute__((packed));

struct mb_info {
    u32 flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4];
    u32 mmap_length, mmap_addr, drives_length, drives_addr, config_table, loader_name;
} __attribute__((packed));

/* Entries are chained by their size, which does not count itself. */
struct mb_range {
    u32 size; /* of what follows */
    u64 base, length;
    u32 type;
} __attribute__((packed));

/* Too long a map is cut, and said so at the end of the memory test. */
static void add_range(u64 base, u64 size, u32 type, u32 source)
{
    if (boot.ranges == MAX_RANGES) {
        boot.truncated = 1;
        return;
    }
    boot.range[boot.ranges++] =
        (struct range){.base = base, .size = size, .type = type, .source = source};
}

/* modules counts them all, also those that have no room here. */
static void add_module(u64 base, u64 size, u64 cmdline)
{
    struct module *m;
    const char *text = phys_ptr(cmdline, sizeof m->cmdline);

    if (boot.modules++ >= MAX_MODULES)
        return;
    m = &boot.module[boot.modules - 1];
    m->base = base;
    m->size = size;
    if (text)
        str_copy(m->cmdline, text, sizeof m->cmdline);
}

static void pvh_modules(const struct pvh_info *info)
{
    const struct pvh_module *m = phys_ptr(info->modlist, 0);

    for (u32 i = 0; m && i < info->modules; i++) {
        add_module(m[i].base, m[i].size, m[i].cmdline);
    }
}

static void mb_modules(const struct mb_info *info)
{
    const struct mb_module *m = phys_ptr(info->mods_addr, 0);

    for (u32 i = 0; m && i < info->mods_count; i++) {
        add_module(m[i].start, m[i].end - m[i].start, m[i].cmdline);
    }
}

static void collect_pvh(const struct pvh_info *info)
{
    const struct pvh_range *range = phys_ptr(info->memmap, 0);
    const char *cmdline = phys_ptr(info->cmdline, sizeof boot.cmdline);

    /* With a wrong magic nothing else can be believed; the banner shows it. */
    boot.magic = info->magic;
    if (info->magic != PVH_MAGIC)
        return;
    boot.version = info->version;
    boot.flags = info->flags;
    pvh_modules(info);
    boot.rsdp = info->rsdp;
    if (cmdline)
        str_copy(boot.cmdline, cmdline, sizeof boot.cmdline);
    if (info->version < 1 || !range)
        return;
    for (u32 i = 0; i < info->memmap_entries; i++) {
        add_range(range[i].base, range[i].size, range[i].type, SRC_PVH);
    }
}

static void collect_multiboot(const struct mb_info *info, u32 magic)
{
    boot.magic = magic;
    boot.flags = info->flags;
    if (info->flags & MB_INFO_MEM) {
        boot.mem_lower = info->mem_lower;
        boot.mem_upper = info->mem_upper;
    }
    if ((info->flags & MB_INFO_CMDLINE) && info->cmdline)
        str_copy(boot.cmdline, (const char *)info->cmdline, sizeof boot.cmdline);
    if (info->flags & MB_INFO_MODS)
        mb_modules(info);
    if ((info->flags & MB_INFO_LOADER) && info->loader_name)
        str_copy(boot.loader, (const char *)info->loader_name, sizeof boot.loader);
    if (!(info->flags & MB_INFO_MMAP))
        return;
    for (u32 at = 0; at + sizeof(struct mb_range) <= info->mmap_length;) {
        const struct mb_range *r = (const void *)(info->mmap_addr + at);
        add_range(r->base, r->length, r->type, SRC_MULTIBOOT);
        at += r->size + 4;
    }
}

static bool has_extended(u32 leaf, u32 edx_bit)
{
    return cpuid(0x80000000, 0).eax >= leaf && (cpuid(leaf, 0).edx & edx_bit);
}

/* Called by entry.S. The result is the mode to run in; without long mode it is not a choice. */
u32 boot_collect(u32 multiboot, const void *info, u32 eax);
u32 boot_collect(u32 multiboot, const void *info, u32 eax)
{
    boot.info = (uintptr_t)info;
    boot.multiboot = multiboot;
    if (multiboot)
        collect_multiboot(info, eax);
    else
        collect_pvh(info);
    boot.gib_pages = has_extended(0x80000001, 1u << 26);
    boot.no_long_mode = !has_extended(0x80000001, 1u << 29);
    boot.mode = boot.no_long_mode || options_has_word(boot.cmdline, "mode=32") ? 32 : 64;
    return boot.mode;
}

/*
 * One to one: the first 4 GiB by 2 MiB pages, or with 1 GiB pages all 512 GiB that one PML4 entry
 * reaches, whether there is memory or not. In the first case the rest of page_pdpt is map.c's.
 */
#define PD_BOOT 4

u64 page_pml4[512] __attribute__((section(".bss.page_tables"), aligned(4096)));
u64 page_pdpt[512] __attribute__((section(".bss.page_tables"), aligned(4096)));
static u64 page_pd[PD_BOOT][512] __attribute__((section(".bss.page_tables"), aligned(4096)));

#define PTE_TABLE 0x03u
#define PTE_LARGE 0x83u

u32 paging_build(void);
u32 paging_build(void)
{
    page_pml4[0] = (uintptr_t)page_pdpt | PTE_TABLE;
    if (boot.gib_pages) {
        for (u32 i = 0; i < 512; i++) {
            page_pdpt[i] = (u64)i << 30 | PTE_LARGE;
        }
    } else {
        for (u32 i = 0; i < PD_BOOT * 512; i++) {
            page_pd[i / 512][i % 512] = (u64)i << 21 | PTE_LARGE;
        }
        for (u32 i = 0; i < PD_BOOT; i++) {
            page_pdpt[i] = (uintptr_t)page_pd[i] | PTE_TABLE;
        }
    }
    return (uintptr_t)page_pml4;
}

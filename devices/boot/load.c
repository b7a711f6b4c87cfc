/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * load.c - puts a kernel, its initrd, the firmware tables and the memory map into guest RAM.
 *
 * Placement is derived, not configured: it follows from the sizes of the files and the board's RAM.
 *   0x400           BIOS data area: base memory, EBDA segment
 *   0x1000-0x11fff  GDT, stack, start information, page tables, command line (boot.h)
 *   0x9fc00         extended BIOS data area (reserved, zero)
 *   0xf0000         RSDP and SMBIOS anchor, where guests scan for them
 *   kernel          where its headers say; a relocatable bzImage may move down if RAM is small
 *   initrd          multiboot: the first page behind the kernel; else as high as kernel and RAM below 4 GiB allow
 *   top of low RAM  ACPI tables and SMBIOS structures, of type ACPI in the map
 * Everything placed is a claim; two that overlap are an error that names both.
 */
#include "boot.h"

#define PAGE 4096u

typedef struct {
    guint64     addr, end;
    const char *name;
} Claim;

typedef struct {
    const BootKernel *k;
    BootMachine      *m;
    Claim             claims[BOOT_MAX_SEGMENTS + 8];
    guint             n;
    guint64           low_end; /* of what is left for kernel and initrd */
    guint64           kernel_end;
} Loader;

static gboolean claim(Loader *l, guint64 addr, guint64 len, const char *name, GError **error)
{
    for (guint i = 0; i < l->n; i++) {
        const Claim *c = &l->claims[i];

        if (addr < c->end && c->addr < addr + len)
            return error_set(error,
                             "%s: %s at 0x%" G_GINT64_MODIFIER "x-0x%" G_GINT64_MODIFIER "x overlaps %s at 0x%" G_GINT64_MODIFIER
                             "x-0x%" G_GINT64_MODIFIER "x",
                             l->k->file.name, name, addr, addr + len - 1, c->name, c->addr, c->end - 1);
    }
    g_assert(l->n < G_N_ELEMENTS(l->claims));
    l->claims[l->n++] = (Claim){.addr = addr, .end = addr + len, .name = name};
    return TRUE;
}

/* ---- the memory map ---- */

static gint by_address(gconstpointer a, gconstpointer b)
{
    const E820Entry *x = a, *y = b;

    return x->addr < y->addr ? -1 : x->addr > y->addr;
}

void boot_map_set(GArray *map, guint64 addr, guint64 len, guint32 type)
{
    guint64 end = addr + len;
    guint n = map->len;

    /* Cut the range out of what is there; an entry around it leaves two pieces. */
    for (guint i = 0; i < n; i++) {
        E820Entry *e = &g_array_index(map, E820Entry, i), tail = *e;
        guint64 e_end = e->addr + e->len;

        if (e_end <= addr || e->addr >= end)
            continue;
        e->len = e->addr < addr ? addr - e->addr : 0;
        if (e_end > end) {
            tail.addr = end;
            tail.len = e_end - end;
            g_array_append_val(map, tail);
        }
    }
    for (guint i = map->len; i-- > 0;)
        if (g_array_index(map, E820Entry, i).len == 0)
            g_array_remove_index(map, i);
    if (type != 0 && len != 0) {
        E820Entry e = {.addr = addr, .len = len, .type = type};

        g_array_append_val(map, e);
    }
    g_array_sort(map, by_address);
}

/* ---- tables ---- */

static gboolean no_room(const Loader *l, const char *what, guint64 size, guint64 room, GError **error)
{
    return error_set(error,
                     "%s: not enough RAM: %s needs %" G_GUINT64_FORMAT " KiB, there are %" G_GUINT64_FORMAT
                     " KiB for it below 4 GiB",
                     l->k->file.name, what, (size + 1023) >> 10, room >> 10);
}

/* Base memory and the EBDA's segment, as a PC BIOS leaves them for those who scan. */
static void write_bda(const BootRam *ram)
{
    guint8 word[2];

    boot_ram_zero(ram, BOOT_BDA, 0x100);
    le16_put(word, BOOT_EBDA >> 4);
    boot_ram_write(ram, BOOT_BDA + 0x0e, word, 2);
    le16_put(word, BOOT_EBDA >> 10);
    boot_ram_write(ram, BOOT_BDA + 0x13, word, 2);
    boot_ram_zero(ram, BOOT_EBDA, 0xa0000 - BOOT_EBDA);
    boot_ram_write(ram, BOOT_EBDA, &(guint8){1}, 1); /* KiB */
}

static void write_mp_table(const BootMachine *m)
{
    guint8 pointer[16];

    mp_floating_pointer(BOOT_MP_TABLE, pointer);
    boot_ram_write(&m->ram, BOOT_MP_POINTER, pointer, sizeof pointer);
    boot_ram_write(&m->ram, BOOT_MP_TABLE, m->mp->data, m->mp->len);
}

static gboolean place_tables(Loader *l, GError **error)
{
    BootMachine *m = l->m;
    guint64 size = m->acpi->blob->len + 64 + m->smbios->len, base, smbios;
    guint8 anchor[24];

    if (m->low_end < size + BOOT_ONE_MIB + PAGE)
        return no_room(l, "ACPI and SMBIOS tables", size + PAGE, m->low_end > BOOT_ONE_MIB ? m->low_end - BOOT_ONE_MIB : 0,
                       error);
    base = (m->low_end - size) & ~(guint64)(PAGE - 1);
    smbios = (base + m->acpi->blob->len + 63) & ~(guint64)63;
    acpi_relocate(m->acpi, base);
    boot_ram_write(&m->ram, base, m->acpi->blob->data, m->acpi->blob->len);
    boot_ram_write(&m->ram, smbios, m->smbios->data, m->smbios->len);
    boot_ram_write(&m->ram, BOOT_RSDP, m->acpi->rsdp, sizeof m->acpi->rsdp);
    smbios_anchor(smbios, m->smbios->len, anchor);
    boot_ram_write(&m->ram, BOOT_SMBIOS_ANCHOR, anchor, sizeof anchor);
    boot_map_set(m->map, base, m->low_end - base, E820_ACPI);
    l->low_end = base;
    return TRUE;
}

/* The ranges that are the board's and the loader's own. */
static gboolean claim_fixed(Loader *l, GError **error)
{
    if (!boot_ram_has(&l->m->ram, 0, MIN(l->m->low_end, BOOT_ONE_MIB)))
        return no_room(l, "the first MiB", BOOT_ONE_MIB, 0, error);
    return claim(l, BOOT_BDA, 0x100, "the BIOS data area", error) &&
           claim(l, BOOT_DATA, BOOT_DATA_END - BOOT_DATA, "the start information", error) &&
           claim(l, BOOT_EBDA, BOOT_ONE_MIB - BOOT_EBDA, "the area of video memory and BIOS", error);
}

/* ---- kernel ---- */

/* A bzImage goes where it prefers; if it may move, to the lowest aligned address that has room. */
static gboolean place_linux(Loader *l, guint64 *load, GError **error)
{
    const BootKernel *k = l->k;

    *load = k->preferred;
    if (k->relocatable && !range_within(*load, k->init_size, l->low_end))
        *load = (BOOT_ONE_MIB + k->alignment - 1) & ~(k->alignment - 1);
    if (!range_within(*load, k->init_size, l->low_end))
        return no_room(l, "the kernel", *load + k->init_size, l->low_end, error);
    return claim(l, *load, k->init_size, "the kernel", error);
}

static gboolean claim_segments(Loader *l, GError **error)
{
    for (guint i = 0; i < l->k->n_segments; i++) {
        const BootSegment *s = &l->k->segments[i];

        if (!range_within(s->gpa, s->mem_len, l->low_end))
            return no_room(l, "the kernel", s->gpa + s->mem_len, l->low_end, error);
        if (!claim(l, s->gpa, s->mem_len, "a segment of the kernel", error))
            return FALSE;
    }
    return TRUE;
}

static gboolean load_segments(Loader *l, guint64 shift, GError **error)
{
    const BootRam *ram = &l->m->ram;

    for (guint i = 0; i < l->k->n_segments; i++) {
        const BootSegment *s = &l->k->segments[i];
        guint64 gpa = s->gpa + shift;

        if (!boot_ram_has(ram, gpa, s->mem_len))
            return no_room(l, "the kernel", gpa + s->mem_len, l->low_end, error);
        if (!boot_ram_read_file(ram, gpa, &l->k->file, s->offset, s->file_len, error))
            return FALSE;
        boot_ram_zero(ram, gpa + s->file_len, s->mem_len - s->file_len);
    }
    return TRUE;
}

static gboolean load_kernel(Loader *l, BootPlaces *p, GError **error)
{
    const BootKernel *k = l->k;

    if (k->protocol == BOOT_LINUX) {
        if (!place_linux(l, &p->load, error))
            return FALSE;
        l->kernel_end = p->load + k->init_size;
        return load_segments(l, p->load - k->preferred, error);
    }
    if (!claim_segments(l, error))
        return FALSE;
    for (guint i = 0; i < k->n_segments; i++)
        l->kernel_end = MAX(l->kernel_end, k->segments[i].gpa + k->segments[i].mem_len);
    return load_segments(l, 0, error);
}

/* ---- initrd and command line ---- */

static guint64 initrd_limit(const Loader *l)
{
    if (l->k->protocol == BOOT_LINUX)
        return MIN(l->low_end, l->k->initrd_max + 1);
    return l->low_end;
}

/* Behind the kernel is free up to the tables: segments end at kernel_end. */
static gboolean load_initrd(Loader *l, BootPlaces *p, GError **error)
{
    const BootFile *f = l->m->initrd;
    guint64 low = (MAX(l->kernel_end, BOOT_ONE_MIB) + PAGE - 1) & ~(guint64)(PAGE - 1), limit = initrd_limit(l);
    guint64 room = limit > low ? limit - low : 0;

    if (!f)
        return TRUE;
    if (f->size > room)
        return error_set(error,
                         "%s: not enough RAM: it has %" G_GUINT64_FORMAT " KiB, there are %" G_GUINT64_FORMAT
                         " KiB behind the kernel",
                         f->name, (f->size + 1023) >> 10, room >> 10);
    p->initrd_len = f->size;
    p->initrd = l->k->protocol == BOOT_MULTIBOOT ? low : (limit - f->size) & ~(guint64)(PAGE - 1);
    if (!boot_ram_has(&l->m->ram, p->initrd, f->size))
        return no_room(l, "the initrd", f->size, room, error);
    return boot_ram_read_file(&l->m->ram, p->initrd, f, 0, f->size, error);
}

static gboolean write_cmdline(const Loader *l, GError **error)
{
    gsize len = strlen(l->m->cmdline);

    if (len > l->k->cmdline_max)
        return error_set(error, "%s: the command line has %" G_GSIZE_FORMAT " bytes, the kernel takes %u", l->k->file.name, len,
                         l->k->cmdline_max);
    boot_ram_write(&l->m->ram, BOOT_CMDLINE, l->m->cmdline, len + 1);
    return TRUE;
}

/* ---- all together ---- */

gboolean boot_load(const BootKernel *k, BootMachine *m, VcpuBoot *out, GError **error)
{
    Loader l = {.k = k, .m = m, .low_end = m->low_end};
    BootPlaces places = {.rsdp = BOOT_RSDP};

    if (!claim_fixed(&l, error) || !place_tables(&l, error) || !load_kernel(&l, &places, error) ||
        !load_initrd(&l, &places, error) || !write_cmdline(&l, error))
        return FALSE;
    write_bda(&m->ram);
    write_mp_table(m);
    g_assert(m->map->len <= BOOT_MAX_MAP);
    if (k->protocol == BOOT_PVH)
        boot_pvh_enter(k, m, &places, out);
    else if (k->protocol == BOOT_LINUX)
        boot_linux_enter(k, m, &places, out);
    else
        boot_multiboot_enter(k, m, &places, out);
    return TRUE;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ram.c - guest RAM for loaders: the memory map's regions as one byte-addressed space.
 *
 * Files are read straight into the guest's pages. A range may span regions, so every operation is a loop over
 * the pieces that are contiguous in the host.
 */
#include "boot.h"

#include <sys/mman.h>

/* The host address of GPA and, in AVAIL, how far it goes. NULL: not RAM. */
static guint8 *piece(const BootRam *ram, guint64 gpa, guint64 *avail)
{
    for (guint i = 0; i < ram->n; i++) {
        const MemRegion *r = &ram->regions[i];

        if (gpa >= r->gpa && gpa - r->gpa < r->size) {
            *avail = r->size - (gpa - r->gpa);
            return r->hva + (gpa - r->gpa);
        }
    }
    return NULL;
}

gboolean boot_ram_has(const BootRam *ram, guint64 gpa, guint64 len)
{
    guint64 avail;

    while (len > 0) {
        if (!piece(ram, gpa, &avail))
            return FALSE;
        avail = MIN(avail, len);
        gpa += avail;
        len -= avail;
    }
    return TRUE;
}

void boot_ram_write(const BootRam *ram, guint64 gpa, const void *bytes, gsize len)
{
    const guint8 *from = bytes;

    while (len > 0) {
        guint64 avail;
        guint8 *p = piece(ram, gpa, &avail);

        g_assert(p);
        avail = MIN(avail, len);
        memcpy(p, from, avail);
        from += avail;
        gpa += avail;
        len -= avail;
    }
}

void boot_ram_zero(const BootRam *ram, guint64 gpa, guint64 len)
{
    while (len > 0) {
        guint64 avail;
        guint8 *p = piece(ram, gpa, &avail);

        g_assert(p);
        avail = MIN(avail, len);
        memset(p, 0, avail);
        gpa += avail;
        len -= avail;
    }
}

/* Faults the whole pages of [P, P+LEN) in at once, where the kernel can (Linux 5.14): cheaper than one fault a page within
 * the read. Only a hint: what fails here fails or works in the read. */
static void populate(guint8 *p, guint64 len)
{
#ifdef MADV_POPULATE_WRITE
    guintptr first = ((guintptr)p + 4095) & ~(guintptr)4095, last = ((guintptr)p + len) & ~(guintptr)4095;

    if (last > first)
        (void)madvise((void *)first, last - first, MADV_POPULATE_WRITE);
#endif
}

gboolean boot_ram_read_file(const BootRam *ram, guint64 gpa, const BootFile *f, guint64 offset, guint64 len, GError **error)
{
    while (len > 0) {
        guint64 avail;
        guint8 *p = piece(ram, gpa, &avail);

        g_assert(p);
        avail = MIN(avail, len);
        populate(p, avail);
        if (!boot_file_read(f, offset, p, avail, "content", error))
            return FALSE;
        gpa += avail;
        offset += avail;
        len -= avail;
    }
    return TRUE;
}

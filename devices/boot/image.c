/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * image.c - kernel files: opening, exact reads, which format it is, and the checks that every segment passes.
 *
 * All numbers come from the file and none is believed: each range is checked without overflow against the file's length and
 * against 4 GiB before it is used. The file stays open, so what was checked is what is loaded; a file that shrinks
 * meanwhile is found by the read that comes up short.
 */
#include "boot.h"

#include <errno.h>
#include <sys/stat.h>

#define FOUR_GIB (G_GUINT64_CONSTANT(1) << 32)

/* ---- files ---- */

static gboolean check_file(BootFile *f, GError **error)
{
    struct stat st;

    if (fstat(f->fd, &st) < 0)
        return error_set_errno(error, errno, "%s", f->name);
    if (S_ISDIR(st.st_mode))
        return error_set(error, "%s is a directory, not a file", f->name);
    if (!S_ISREG(st.st_mode))
        return error_set(error, "%s is not a regular file", f->name);
    if (st.st_size == 0)
        return error_set(error, "%s is empty", f->name);
    f->size = st.st_size;
    return TRUE;
}

gboolean boot_file_take(BootFile *f, int fd, char *name, GError **error)
{
    f->fd = fd;
    f->name = name;
    if (check_file(f, error))
        return TRUE;
    boot_file_close(f);
    return FALSE;
}

void boot_file_close(BootFile *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
    g_clear_pointer(&f->name, g_free);
}

gboolean boot_file_has(const BootFile *f, guint64 offset, guint64 len, const char *part, GError **error)
{
    if (range_within(offset, len, f->size))
        return TRUE;
    return error_set(error,
                     "%s is truncated or corrupt: its %s needs 0x%" G_GINT64_MODIFIER "x bytes at offset 0x%" G_GINT64_MODIFIER
                     "x, the file has 0x%" G_GINT64_MODIFIER "x",
                     f->name, part, len, offset, f->size);
}

gboolean boot_file_read(const BootFile *f, guint64 offset, void *buf, gsize len, const char *part, GError **error)
{
    guint8 *p = buf;

    if (!boot_file_has(f, offset, len, part, error))
        return FALSE;
    while (len > 0) {
        gssize n = pread(f->fd, p, len, offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set_errno(error, errno, "%s: reading its %s at offset %" G_GUINT64_FORMAT, f->name, part, offset);
        if (n == 0)
            return error_set(error, "%s became shorter while it was read: its %s ends at offset %" G_GUINT64_FORMAT, f->name,
                             part, offset);
        p += n;
        offset += n;
        len -= n;
    }
    return TRUE;
}

/* ---- segments ---- */

static gboolean overlap(guint64 a, guint64 a_len, guint64 b, guint64 b_len)
{
    return a < b + b_len && b < a + a_len;
}

gboolean boot_kernel_add_segment(BootKernel *k, const BootSegment *s, GError **error)
{
    if (s->file_len > s->mem_len)
        return error_set(error,
                         "%s is corrupt: segment at 0x%" G_GINT64_MODIFIER "x has 0x%" G_GINT64_MODIFIER
                         "x bytes in the file, more than its 0x%" G_GINT64_MODIFIER "x in memory",
                         k->file.name, s->gpa, s->file_len, s->mem_len);
    if (s->mem_len == 0)
        return TRUE;
    if (!range_within(s->gpa, s->mem_len, FOUR_GIB))
        return error_set(error,
                         "%s: segment at 0x%" G_GINT64_MODIFIER "x of 0x%" G_GINT64_MODIFIER "x bytes is not below 4 GiB",
                         k->file.name, s->gpa, s->mem_len);
    if (!boot_file_has(&k->file, s->offset, s->file_len, "segment", error))
        return FALSE;
    for (guint i = 0; i < k->n_segments; i++)
        if (overlap(k->segments[i].gpa, k->segments[i].mem_len, s->gpa, s->mem_len))
            return error_set(error,
                             "%s: segments overlap: 0x%" G_GINT64_MODIFIER "x-0x%" G_GINT64_MODIFIER
                             "x and 0x%" G_GINT64_MODIFIER "x-0x%" G_GINT64_MODIFIER "x",
                             k->file.name, k->segments[i].gpa, k->segments[i].gpa + k->segments[i].mem_len - 1, s->gpa,
                             s->gpa + s->mem_len - 1);
    if (k->n_segments == BOOT_MAX_SEGMENTS)
        return error_set(error, "%s has more than %d loadable segments", k->file.name, BOOT_MAX_SEGMENTS);
    k->segments[k->n_segments++] = *s;
    return TRUE;
}

gboolean boot_kernel_contains(const BootKernel *k, guint64 gpa)
{
    for (guint i = 0; i < k->n_segments; i++)
        if (gpa >= k->segments[i].gpa && gpa - k->segments[i].gpa < k->segments[i].mem_len)
            return TRUE;
    return FALSE;
}

/* ---- which format ---- */

static const char *const protocol_names[] = {"any", "pvh", "linux", "multiboot"};

static gboolean check_entry(const BootKernel *k, GError **error)
{
    if (boot_kernel_contains(k, k->entry))
        return TRUE;
    return error_set(error, "%s is corrupt: its entry point 0x%" G_GINT64_MODIFIER "x is in none of its segments",
                     k->file.name, k->entry);
}

static gboolean open_multiboot(BootKernel *k, const guint8 *head, gint at, GError **error)
{
    k->protocol = BOOT_MULTIBOOT;
    return boot_multiboot_parse(k, head, at, error) && check_entry(k, error);
}

/* An ELF kernel: by its PVH note, or with a multiboot header in front. */
static gboolean open_elf(BootKernel *k, const guint8 *head, gsize n, BootProtocol wanted, GError **error)
{
    gint multiboot = boot_multiboot_find(head, n);
    BootElf elf = {0};

    if (!boot_elf_parse(k, head, n, &elf, error))
        return FALSE;
    if (elf.has_pvh && wanted != BOOT_MULTIBOOT && wanted != BOOT_LINUX) {
        k->protocol = BOOT_PVH;
        k->entry = elf.pvh_entry;
        return check_entry(k, error);
    }
    if (multiboot >= 0 && (wanted == BOOT_MULTIBOOT || wanted == BOOT_ANY)) {
        if (!boot_multiboot_wants_elf(head, multiboot))
            k->n_segments = 0;
        k->entry = elf.entry;
        return open_multiboot(k, head, multiboot, error);
    }
    if (wanted == BOOT_ANY)
        return error_set(error, "%s is an ELF file without a PVH note (XEN_ELFNOTE_PHYS32_ENTRY) or multiboot header",
                         k->file.name);
    return error_set(error, "%s is an ELF file that can not be started by protocol '%s'", k->file.name,
                     protocol_names[wanted]);
}

static gboolean open_head(BootKernel *k, const guint8 *head, gsize n, BootProtocol wanted, GError **error)
{
    gint multiboot;

    if (boot_is_elf(head, n))
        return open_elf(k, head, n, wanted, error);
    if (boot_is_bzimage(head, n) && (wanted == BOOT_LINUX || wanted == BOOT_ANY)) {
        k->protocol = BOOT_LINUX;
        return boot_bzimage_parse(k, head, n, error);
    }
    multiboot = boot_multiboot_find(head, n);
    if (multiboot >= 0 && (wanted == BOOT_MULTIBOOT || wanted == BOOT_ANY)) {
        if (boot_multiboot_wants_elf(head, multiboot))
            return error_set(error, "%s has a multiboot header without addresses and is no ELF file", k->file.name);
        return open_multiboot(k, head, multiboot, error);
    }
    if (wanted == BOOT_ANY)
        return error_set(error, "%s is no kernel of a known kind (PVH ELF, bzImage, multiboot): it begins with %02x %02x %02x %02x",
                         k->file.name, head[0], head[1], head[2], head[3]);
    return error_set(error, "%s can not be started by protocol '%s'", k->file.name, protocol_names[wanted]);
}

gboolean boot_kernel_open(BootKernel *k, int fd, char *name, BootProtocol protocol, GError **error)
{
    guint8 head[BOOT_HEAD_LEN] = {0};
    gsize n;

    memset(k, 0, sizeof *k);
    k->cmdline_max = BOOT_CMDLINE_MAX;
    if (!boot_file_take(&k->file, fd, name, error))
        return FALSE;
    n = MIN(k->file.size, sizeof head);
    if (boot_file_read(&k->file, 0, head, n, "beginning", error) && open_head(k, head, n, protocol, error))
        return TRUE;
    boot_kernel_close(k);
    return FALSE;
}

void boot_kernel_close(BootKernel *k)
{
    boot_file_close(&k->file);
    k->n_segments = 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * elf.c - ELF kernels of both classes, little endian, i386 or x86-64: loadable segments and the PVH entry.
 *
 * Segments are loaded at their physical addresses; Linux's vmlinux has virtual ones that no 32-bit entry could use. The PVH entry
 * is a note (Xen's docs/misc/pvh.pandoc; XEN_ELFNOTE_PHYS32_ENTRY), whose value is 4 bytes, or 8 as Linux writes it.
 */
#include "boot.h"

#include <elf.h>

#define NOTES_MAX 65536

typedef struct {
    guint32 type;
    guint64 offset, vaddr, paddr, filesz, memsz, align;
} Phdr;

gboolean boot_is_elf(const guint8 *head, gsize n)
{
    return n >= 4 && memcmp(head, ELFMAG, 4) == 0;
}

/* One field of the ELF header: VALUE must be one of two. */
static gboolean check_field(const BootKernel *k, const char *field, guint value, guint want, guint or, const char *meaning,
                            GError **error)
{
    if (value == want || value == or)
        return TRUE;
    return error_set(error, "%s: %s is %u; %u or %u expected (%s)", k->file.name, field, value, want, or, meaning);
}

static gboolean check_header(const BootKernel *k, const guint8 *h, GError **error)
{
    return check_field(k, "ELF class", h[EI_CLASS], ELFCLASS32, ELFCLASS64, "32 or 64 bits", error) &&
           check_field(k, "ELF data encoding", h[EI_DATA], ELFDATA2LSB, ELFDATA2LSB, "little endian", error) &&
           check_field(k, "ELF type", le16_get(h + 16), ET_EXEC, ET_DYN, "executable", error) &&
           check_field(k, "ELF machine", le16_get(h + 18), EM_386, EM_X86_64, "i386 or x86-64", error);
}

static Phdr decode_phdr(const guint8 *p, gboolean is64)
{
    if (is64)
        return (Phdr){.type = le32_get(p), .offset = le64_get(p + 8), .vaddr = le64_get(p + 16), .paddr = le64_get(p + 24),
                      .filesz = le64_get(p + 32), .memsz = le64_get(p + 40), .align = le64_get(p + 48)};
    return (Phdr){.type = le32_get(p), .offset = le32_get(p + 4), .vaddr = le32_get(p + 8), .paddr = le32_get(p + 12),
                  .filesz = le32_get(p + 16), .memsz = le32_get(p + 20), .align = le32_get(p + 28)};
}

static guint64 align_up(guint64 v, guint64 to)
{
    return (v + to - 1) & ~(to - 1);
}

/* Walks the notes in P for Xen's number 18. A note that does not fit ends the walk: others' notes are not ours to judge. */
static void find_pvh_note(const guint8 *p, gsize len, guint64 align, BootElf *elf)
{
    gsize at = 0;

    while (range_within(at, 12, len)) {
        guint32 namesz = le32_get(p + at), descsz = le32_get(p + at + 4), type = le32_get(p + at + 8);
        guint64 name = at + 12, desc = align_up(name + namesz, align);

        if (!range_within(name, namesz, len) || !range_within(desc, descsz, len))
            return;
        if (type == 18 && namesz == 4 && memcmp(p + name, "Xen", 4) == 0 && descsz >= 4) {
            elf->has_pvh = TRUE;
            elf->pvh_entry = descsz >= 8 ? le64_get(p + desc) : le32_get(p + desc);
            return;
        }
        at = align_up(desc + descsz, align);
    }
}

static gboolean read_notes(const BootKernel *k, const Phdr *ph, BootElf *elf, GError **error)
{
    g_autofree guint8 *notes = NULL;
    gsize n = MIN(ph->filesz, NOTES_MAX);

    if (!boot_file_has(&k->file, ph->offset, ph->filesz, "note segment", error))
        return FALSE;
    notes = g_malloc(n + 1);
    if (!boot_file_read(&k->file, ph->offset, notes, n, "note segment", error))
        return FALSE;
    find_pvh_note(notes, n, ph->align == 8 ? 8 : 4, elf);
    return TRUE;
}

/* E_ENTRY may be virtual: it is then translated by the segment that holds it. */
static void note_entry(const Phdr *ph, guint64 e_entry, BootElf *elf)
{
    if (e_entry >= ph->vaddr && e_entry - ph->vaddr < ph->memsz)
        elf->entry = e_entry - ph->vaddr + ph->paddr;
}

static gboolean take_phdr(BootKernel *k, const Phdr *ph, guint64 e_entry, BootElf *elf, GError **error)
{
    BootSegment s = {.gpa = ph->paddr, .mem_len = ph->memsz, .offset = ph->offset, .file_len = ph->filesz};

    if (ph->type == PT_NOTE && !elf->has_pvh)
        return read_notes(k, ph, elf, error);
    if (ph->type != PT_LOAD)
        return TRUE;
    note_entry(ph, e_entry, elf);
    return boot_kernel_add_segment(k, &s, error);
}

static gboolean check_phdr_table(const BootKernel *k, guint64 offset, guint size, guint want, guint n, GError **error)
{
    if (n == 0 || n > 1024)
        return error_set(error, "%s: its ELF header has %u program headers, 1 to 1024 expected", k->file.name, n);
    if (size != want)
        return error_set(error, "%s: its ELF program headers have %u bytes, %u expected", k->file.name, size, want);
    return boot_file_has(&k->file, offset, (guint64)n * size, "ELF program header table", error);
}

gboolean boot_elf_parse(BootKernel *k, const guint8 *head, gsize n, BootElf *elf, GError **error)
{
    gboolean is64 = n > EI_CLASS && head[EI_CLASS] == ELFCLASS64;
    gsize header = is64 ? sizeof(Elf64_Ehdr) : sizeof(Elf32_Ehdr);
    guint size = is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr), count;
    guint64 offset, entry;

    if (!boot_file_has(&k->file, 0, header, "ELF header", error) || !check_header(k, head, error))
        return FALSE;
    entry = is64 ? le64_get(head + 24) : le32_get(head + 24);
    offset = is64 ? le64_get(head + 32) : le32_get(head + 28);
    count = le16_get(head + (is64 ? 56 : 44));
    if (!check_phdr_table(k, offset, le16_get(head + (is64 ? 54 : 42)), size, count, error))
        return FALSE;
    elf->entry = entry;
    for (guint i = 0; i < count; i++) {
        guint8 raw[sizeof(Elf64_Phdr)];
        Phdr ph;

        if (!boot_file_read(&k->file, offset + (guint64)i * size, raw, size, "ELF program header", error))
            return FALSE;
        ph = decode_phdr(raw, is64);
        if (!take_phdr(k, &ph, entry, elf, error))
            return FALSE;
    }
    if (k->n_segments == 0)
        return error_set(error, "%s is an ELF file without anything to load", k->file.name);
    return TRUE;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* boot-kernels.h - tiny kernels of each kind, made in memory, for the test of the kernel loader. */
#pragma once

#include "boot-fixture.h"

#define KERNEL 0x200000u
#define CODE_LEN 0x1800u
#define BSS_LEN 0x3000u

/* ---- kernels ---- */

static void put_code(GByteArray *file, gsize at)
{
    g_byte_array_set_size(file, at + CODE_LEN);
    for (guint i = 0; i < CODE_LEN; i++)
        file->data[at + i] = i * 7 + (i >> 8);
}

static GByteArray *new_file(gsize len)
{
    GByteArray *file = g_byte_array_sized_new(len);

    g_byte_array_set_size(file, len);
    memset(file->data, 0, len);
    return file;
}

enum { NOTE_AT = 0x180, CODE_AT = 0x1000 };

static void put_note(guint8 *p, unsigned value_size, guint64 value)
{
    static const guint8 other[] = {4, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 'G', 'N', 'U', 0, 1, 2, 3, 4};

    memcpy(p, other, sizeof other);
    p += sizeof other;
    le32_put(p, 4);
    le32_put(p + 4, value_size);
    le32_put(p + 8, 18);
    memcpy(p + 12, "Xen", 4);
    le_put(p + 16, value_size, value);
}

static void put_phdr64(guint8 *p, guint32 type, guint64 offset, guint64 vaddr, guint64 paddr, guint64 filesz, guint64 memsz)
{
    le32_put(p, type);
    le64_put(p + 8, offset);
    le64_put(p + 16, vaddr);
    le64_put(p + 24, paddr);
    le64_put(p + 32, filesz);
    le64_put(p + 40, memsz);
    le64_put(p + 48, 4);
}

/* One segment with code and BSS, one note; entry at KERNEL + 0x10 by the note, + 0x20 by the ELF header. */
static GByteArray *elf64(void)
{
    GByteArray *file = new_file(CODE_AT);
    guint8 *p = file->data;

    memcpy(p, "\177ELF\2\1\1", 7);
    le16_put(p + 16, 2);
    le16_put(p + 18, 62);
    le32_put(p + 20, 1);
    le64_put(p + 24, 0xffffffff80000020);
    le64_put(p + 32, 64);
    le16_put(p + 52, 64);
    le16_put(p + 54, 56);
    le16_put(p + 56, 2);
    put_phdr64(p + 64, 1, CODE_AT, 0xffffffff80000000, KERNEL, CODE_LEN, CODE_LEN + BSS_LEN);
    put_phdr64(p + 120, 4, NOTE_AT, 0, 0, 20 + 24, 20 + 24);
    put_note(p + NOTE_AT, 8, KERNEL + 0x10);
    put_code(file, CODE_AT);
    return file;
}

static void put_phdr32(guint8 *p, guint32 type, guint32 offset, guint32 paddr, guint32 filesz, guint32 memsz)
{
    const guint32 words[8] = {type, offset, paddr, paddr, filesz, memsz, 7, 4};

    for (guint i = 0; i < 8; i++)
        le32_put(p + 4 * i, words[i]);
}

static GByteArray *elf32(gboolean note)
{
    GByteArray *file = new_file(CODE_AT);
    guint8 *p = file->data;

    memcpy(p, "\177ELF\1\1\1", 7);
    le16_put(p + 16, 2);
    le16_put(p + 18, 3);
    le32_put(p + 20, 1);
    le32_put(p + 24, KERNEL + 0x20);
    le32_put(p + 28, 52);
    le16_put(p + 40, 52);
    le16_put(p + 42, 32);
    le16_put(p + 44, note ? 2 : 1);
    put_phdr32(p + 52, 1, CODE_AT, KERNEL, CODE_LEN, CODE_LEN + BSS_LEN);
    put_phdr32(p + 84, 4, NOTE_AT, 0, 20 + 20, 20 + 20);
    if (note)
        put_note(p + NOTE_AT, 4, KERNEL + 0x10);
    put_code(file, CODE_AT);
    return file;
}

static void put_multiboot(guint8 *p, guint32 flags)
{
    le32_put(p, 0x1badb002);
    le32_put(p + 4, flags);
    le32_put(p + 8, -(0x1badb002 + flags));
}

static GByteArray *multiboot_elf(gboolean note)
{
    GByteArray *file = elf32(note);

    put_multiboot(file->data + 0x200, 3);
    return file;
}

enum { FLAT_HEADER = 0x40 };

/* The header at file offset 0x40 stands 0x20 behind the image's first byte: 0x20 bytes of the file are not loaded. */
static GByteArray *multiboot_flat(void)
{
    GByteArray *file = new_file(FLAT_HEADER - 0x20);
    guint8 *p;

    put_code(file, FLAT_HEADER - 0x20);
    p = file->data + FLAT_HEADER;
    put_multiboot(p, 1 << 16 | 1);
    le32_put(p + 12, KERNEL + 0x20);
    le32_put(p + 16, KERNEL);
    le32_put(p + 20, 0);
    le32_put(p + 24, KERNEL + CODE_LEN + BSS_LEN);
    le32_put(p + 28, KERNEL + 0x60);
    return file;
}

enum { BZ_SETUP = 0x600 };

static GByteArray *bzimage(void)
{
    GByteArray *file = new_file(BZ_SETUP);
    guint8 *p = file->data;

    p[0x1f1] = BZ_SETUP / 512 - 1;
    le16_put(p + 0x1fe, 0xaa55);
    p[0x200] = 0xeb;
    p[0x201] = 0x6a;
    memcpy(p + 0x202, "HdrS", 4);
    le16_put(p + 0x206, 0x020f);
    p[0x211] = 1;
    le32_put(p + 0x22c, 0x7fffffff);
    le32_put(p + 0x230, 0x200000);
    p[0x234] = 1;
    le16_put(p + 0x236, 0x3f);
    le32_put(p + 0x238, 2047);
    le64_put(p + 0x258, 0x1000000);
    le32_put(p + 0x260, 0x100000);
    put_code(file, BZ_SETUP);
    return file;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * firmware-rig.h - a machine with firmware, RAM and a CPU on the test accelerator, and its memory as a CPU sees it: RAM, or ROM that
 * ignores writes, or what the I/O bus says. For test-firmware and its fuzzer.
 */
#pragma once

#include <glib/gstdio.h>
#include <sys/stat.h>

#include "../../devices/boot/boot.h"
#include "core-rig.h"

#define IMAGE_LEN 0x40000u
#define AREA 0xc0000u
#define AREA_END 0x100000u
#define GRANULE 0x4000u
#define ROM_BASE (G_GUINT64_CONSTANT(0x100000000) - IMAGE_LEN)
#define PAM0 0x90

/* No two places of an image look alike: neither neighbours nor the same place of other 16 KiB. */
static inline guint8 image_byte(gsize i)
{
    return (guint8)(i * 3 + (i >> 8) * 5 + (i >> 14) * 17);
}

/* Writes an image of LEN bytes; the caller frees the name. */
static inline char *image_file(const char *dir, const char *name, gsize len)
{
    g_autofree guint8 *image = g_malloc(len + 1);
    char *path = g_build_filename(dir, name, NULL);

    for (gsize i = 0; i < len; i++)
        image[i] = image_byte(i);
    g_assert_true(g_file_set_contents(path, (const char *)image, (gssize)len, NULL));
    return path;
}

static inline Device *plug_dimm(Rig *rig, const char *id, guint64 size)
{
    rig_plug(rig, "{\"qom-type\":\"memory-backend-ram\",\"id\":\"%s\",\"size\":%" G_GUINT64_FORMAT "}", id, size);
    return rig_plug(rig, "{\"driver\":\"pc-dimm\",\"id\":\"d-%s\",\"memdev\":\"%s\"}", id, id);
}

static inline void lay_out(Rig *rig)
{
    g_autoptr(GError) error = NULL;

    mem_layout_base_ram(rig->set, &error);
    g_assert_no_error(error);
}

/* As machine.c does at the first cont. */
static inline void start(Rig *rig)
{
    lay_out(rig);
    rig_power_on(rig);
    device_set_started(rig->set);
}

static inline Rig *rig_with_firmware(const char *file, const char *extra)
{
    Rig *rig = rig_new();

    rig_plug(rig, "{\"driver\":\"board\",\"max-cpus\":2}");
    rig_plug(rig, "{\"driver\":\"qemu64-x86_64-cpu\"}");
    rig_plug(rig, "{\"driver\":\"firmware\",\"id\":\"fw\",\"file\":\"%s\"%s}", file, extra);
    return rig;
}

/* ---- the CPU ---- */

static inline guint8 peek(Rig *rig, guint64 gpa)
{
    guint64 v = 0xff;
    guint8 byte;

    if (vm_memory_read(rig->vm, gpa, &byte, 1))
        return byte;
    iobus_read(rig->vm, IO_MMIO, gpa, 1, &v);
    return (guint8)v;
}

static inline void poke(Rig *rig, guint64 gpa, guint8 byte)
{
    MemMap *map = vm_memory_ref_map(rig->vm);
    const MemRegion *region = mem_map_find(map, gpa);

    if (region && !(region->flags & MEM_READONLY))
        region->hva[gpa - region->gpa] = byte;
    else
        iobus_write(rig->vm, IO_MMIO, gpa, 1, byte);
    vm_memory_unref_map(rig->vm, map);
}

/* A byte of the host bridge's configuration, and what was posted by it. */
static inline void set_pam(Rig *rig, guint n, guint8 value)
{
    rig_out(rig, 0xcf8, 4, 0x80000000u | ((PAM0 + n) & 0xfc));
    rig_out(rig, 0xcfc + ((PAM0 + n) & 3), 1, value);
    rig_settle();
}

/* Both bits of the segment of granule G: 1 reads from RAM, 2 writes to it. PAM are the registers as they are. */
static inline void set_mode(Rig *rig, guint8 pam[7], guint g, guint mode)
{
    guint n = g >= 12 ? 0 : 1 + g / 2, shift = g >= 12 || g % 2 ? 4 : 0;

    pam[n] = (guint8)((pam[n] & ~(3u << shift)) | mode << shift);
    set_pam(rig, n, pam[n]);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * shadow.c - RAM and ROM at 0xc0000-0xfffff.
 *
 * Two bits of a PAM register rule each segment (16 KiB; the last one 64 KiB): reads come from RAM
 * or from what lies beneath, writes go to RAM or nowhere. Beneath is the end of the firmware image
 * from 0xe0000 on, and nothing below that. Firmware starts with all bits clear, so in its ROM, sets
 * both to copy itself into RAM, and clears the one for writes when it is done.
 *
 * To KVM this is memory slots: RAM, RAM or ROM read-only, or none. Neighbours that are backed alike
 * share a slot, since a slot may cost milliseconds to change, and only what differs is touched. What
 * has no slot comes as MMIO, and so does a write to a read-only one: the region under all of it drops
 * it, except for the one combination that KVM has no slot for, writes to RAM while reads do not
 * come from there.
 *
 * The region's hook runs on vCPU threads without a lock. It sees the modes as bytes, each atomic;
 * RAM stays in place as long as the region does.
 */
#include "shadow.h"

enum {
    GRANULE = 0x4000,
    GRANULES = SHADOW_SIZE / GRANULE,
    PAM_LOW = 12,      /* granules of PAM1 to PAM6, two a register; the other four are PAM0's */
    MODE_READ = 1,     /* reads come from RAM */
    MODE_WRITE = 2,    /* writes go there */
    ROM_MAX = 0x20000, /* below 1 MiB */
};

typedef enum { BACK_NONE, BACK_ROM, BACK_RAM_READ, BACK_RAM } Backing;

struct Shadow {
    Vm       *vm;
    guint8   *rom;        /* what ends at 1 MiB */
    guint     rom_first;  /* its first granule */
    guint8   *ram;
    guint8    mode[GRANULES]; /* atomic */
    Backing   now[GRANULES];
    IoRegion *io; /* NULL: nothing is mapped */
};

/* ---- the region under it ---- */

static guint64 beneath_read(gpointer opaque, guint64 offset, unsigned size)
{
    return ones(size);
}

static void beneath_write(gpointer opaque, guint64 offset, guint64 value, unsigned size)
{
    Shadow *s = opaque;

    if (__atomic_load_n(&s->mode[offset / GRANULE], __ATOMIC_ACQUIRE) == MODE_WRITE)
        le_put(s->ram + offset, size, value);
}

static const IoOps beneath_ops = { .read = beneath_read, .write = beneath_write };

/* ---- slots ---- */

static guint8 mode_of(const guint8 *pam, guint granule)
{
    if (granule >= PAM_LOW)
        return pam[0] >> 4 & 3;
    return pam[1 + granule / 2] >> (granule % 2 * 4) & 3;
}

static Backing backing_of(const Shadow *s, guint granule)
{
    guint8 mode = s->mode[granule];

    if (mode & MODE_READ)
        return mode & MODE_WRITE ? BACK_RAM : BACK_RAM_READ;
    return granule >= s->rom_first ? BACK_ROM : BACK_NONE;
}

/* The end of the run of equal backing that begins at granule I. */
static guint run_end(const Backing *b, guint i)
{
    guint end = i + 1;

    while (end < GRANULES && b[end] == b[i])
        end++;
    return end;
}

/* Whether OTHER has the run [I, END) of B too, as the same run. */
static gboolean has_run(const Backing *other, const Backing *b, guint i, guint end)
{
    return other[i] == b[i] && (i == 0 || other[i - 1] != b[i]) && run_end(other, i) == end;
}

static void drop_runs(Shadow *s, const Backing *want)
{
    for (guint i = 0, end; i < GRANULES; i = end) {
        end = run_end(s->now, i);
        if (s->now[i] != BACK_NONE && !has_run(want, s->now, i, end))
            vm_memory_remove(s->vm, SHADOW_BASE + (guint64)i * GRANULE);
    }
}

static gboolean add_run(Shadow *s, guint i, guint end, Backing backing, GError **error)
{
    guint8 *hva = backing == BACK_ROM ? s->rom + (guint64)(i - s->rom_first) * GRANULE :
                                        s->ram + (guint64)i * GRANULE;

    return vm_memory_add(s->vm, SHADOW_BASE + (guint64)i * GRANULE, hva,
                         (guint64)(end - i) * GRANULE, backing == BACK_RAM ? 0 : MEM_READONLY,
                         error);
}

/* From NOW to WANT; runs that both have stay untouched. */
static gboolean change_runs(Shadow *s, const Backing *want, GError **error)
{
    Backing old[GRANULES];
    gboolean ok = TRUE;

    memcpy(old, s->now, sizeof old);
    drop_runs(s, want);
    for (guint i = 0, end; i < GRANULES; i = end) {
        end = run_end(want, i);
        if (ok && want[i] != BACK_NONE && !has_run(old, want, i, end))
            ok = add_run(s, i, end, want[i], error);
        for (guint j = i; j < end; j++)
            s->now[j] = ok || has_run(old, want, i, end) ? want[i] : BACK_NONE;
    }
    return ok;
}

gboolean shadow_map(Shadow *s, guint8 *ram, const guint8 pam[SHADOW_PAM], GError **error)
{
    Backing want[GRANULES];

    g_assert(!s->io || s->ram == ram);
    if (!s->io)
        s->ram = ram;
    for (guint i = 0; i < GRANULES; i++)
        __atomic_store_n(&s->mode[i], mode_of(pam, i), __ATOMIC_RELEASE);
    if (!s->io)
        s->io = iobus_add(s->vm, IO_MMIO, SHADOW_BASE, SHADOW_SIZE, &beneath_ops, s, NULL, 0,
                          "pam", error);
    if (!s->io)
        return FALSE;
    for (guint i = 0; i < GRANULES; i++)
        want[i] = backing_of(s, i);
    return change_runs(s, want, error);
}

void shadow_unmap(Shadow *s)
{
    static const Backing none[GRANULES] = { BACK_NONE };

    if (!s->io)
        return;
    drop_runs(s, none);
    memset(s->now, 0, sizeof s->now);
    iobus_remove(s->vm, g_steal_pointer(&s->io));
    s->ram = NULL;
}

Shadow *shadow_new(Vm *vm, guint8 *rom, guint64 size)
{
    Shadow *s = g_new0(Shadow, 1);
    guint64 shown = MIN(size, ROM_MAX);

    s->vm = vm;
    s->rom = rom + (size - shown);
    s->rom_first = GRANULES - (guint)(shown / GRANULE);
    return s;
}

void shadow_free(Shadow *s)
{
    if (!s)
        return;
    shadow_unmap(s);
    g_free(s);
}

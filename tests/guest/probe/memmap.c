/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The memory map from every source there is, and a touch of the memory itself: one quadword in
 * each GiB of each usable range gets a value of its own, all are written before the first is read
 * back (so that two addresses of the same memory show), then the old contents return.
 */
#include "probe.h"

#define MAX_TOUCH 1024
#define GIB (1ull << 30)

static const char *const source_names[] = {
    [SRC_PVH] = "pvh", [SRC_MULTIBOOT] = "multiboot", [SRC_FWCFG] = "fwcfg"};

static struct range fw_ranges[MAX_RANGES];

struct touch {
    u64 addr, old;
};

static struct touch touches[MAX_TOUCH];
static u32 touch_count, skipped;

static void print_ranges(const struct range *r, u32 n)
{
    for (u32 i = 0; i < n; i++) {
        emit("mem src=%s base=%#llx size=%#llx type=%u\n", source_names[r[i].source], r[i].base,
             r[i].size, r[i].type);
    }
}

/* Different at every address, and never what memory or a bus without memory shows by itself. */
static u64 pattern(u64 addr)
{
    return addr ^ 0x5aa5c33c0ff01248ull;
}

/* Long mode reads and writes in one access; two halves are as good in 32-bit mode. */
static void write64(void *p, u64 v)
{
    *(volatile u64 *)p = v;
}

static u64 read64(void *p)
{
    return *(volatile u64 *)p;
}

/* Below 1 MiB lie the trampoline, the firmware's data and often tables: not worth the risk. */
static bool usable(u64 addr)
{
    return addr >= 0x100000 && (addr + 8 <= (uintptr_t)image_start || addr >= (uintptr_t)image_end);
}

static void touch(u64 addr)
{
    void *p;

    if (!usable(addr))
        return;
    p = phys_ptr(addr, 8);
    if (!p || touch_count == MAX_TOUCH) {
        skipped++;
        return;
    }
    touches[touch_count++] = (struct touch){.addr = addr, .old = read64(p)};
    write64(p, pattern(addr));
}

/* The last aligned quadword of each GiB. */
static u64 touch_ranges(const struct range *r, u32 n)
{
    u64 total = 0;

    for (u32 i = 0; i < n; i++) {
        u64 end = r[i].base + r[i].size;
        if (r[i].type != 1 || r[i].size < 16 || end < r[i].base)
            continue;
        total += r[i].size;
        for (u64 at = r[i].base; at < end;) {
            u64 stop = (at & ~(GIB - 1)) + GIB;
            if (stop > end || stop < at)
                stop = end;
            touch((stop - 8) & ~7ull);
            at = stop;
        }
    }
    return total;
}

/* Restores in any case, so that a bad cell can be looked at afterwards. */
static u32 verify(void)
{
    u32 bad = 0;

    for (u32 i = 0; i < touch_count; i++) {
        void *p = phys_ptr(touches[i].addr, 8);
        u64 seen = read64(p);
        if (seen != pattern(touches[i].addr)) {
            emit("mem-bad addr=%#llx seen=%#llx\n", touches[i].addr, seen);
            bad++;
        }
        write64(p, touches[i].old);
    }
    return bad;
}

void memmap_section(void)
{
    u32 fw_count, n = boot.ranges;
    const struct range *r = boot.range;
    u64 total;

    print_ranges(boot.range, boot.ranges);
    if (boot.multiboot)
        emit("mem-limits lower_kib=%u upper_kib=%u\n", boot.mem_lower, boot.mem_upper);
    fwcfg_section();
    fw_count = fwcfg_e820(fw_ranges, MAX_RANGES);
    print_ranges(fw_ranges, fw_count);
    /* The loader's map is the one to believe; firmware's own is for machines without. */
    if (!n) {
        r = fw_ranges;
        n = fw_count;
    }
    touch_count = skipped = 0;
    total = touch_ranges(r, n);
    emit("mem-test touched=%u bad=%u skipped=%u total=%#llx ranges=%u truncated=%u\n", touch_count,
         verify(), skipped, total, n, boot.truncated);
}

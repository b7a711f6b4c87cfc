/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reaching guest-physical memory. 32-bit mode runs without paging and sees 4 GiB. Long mode has
 * everything below 512 GiB where the CPU knows 1 GiB pages; elsewhere a GiB above 4, and any GiB
 * above 512, is mapped when asked for, by a page directory out of a small pool that is reused in
 * turn (and, above 512, one table in between for each of the few halves of a TiB that may be asked
 * for: a 64-bit PCI window lies behind all memory, and may well begin at 1 TiB). Only the boot
 * processor asks, and the others touch nothing above 4 GiB, so dropping its own TLB is enough.
 */
#include "probe.h"

#define GIB 30

#ifdef __x86_64__

#define WINDOWS 8
#define HIGH_TABLES 4
#define PTE_TABLE 0x03u
#define PTE_LARGE 0x83u

extern u64 page_pml4[512] __asm__("m32_page_pml4");
extern u64 page_pdpt[512] __asm__("m32_page_pdpt");
static u64 window[WINDOWS][512] __attribute__((section(".bss.page_tables"), aligned(4096)));
static u64 high[HIGH_TABLES][512] __attribute__((section(".bss.page_tables"), aligned(4096)));
static u32 high_used;
static u64 *window_entry[WINDOWS];
static u32 next;

static void reload_cr3(void)
{
    u64 v;
    __asm__ volatile("mov %%cr3, %0; mov %0, %%cr3" : "=r"(v) : : "memory");
}

/* The entry for a GiB, in boot.c's table or in one of those made here; NULL: no more can be made. */
static u64 *entry_of(u64 gib)
{
    u64 *pml4 = &page_pml4[gib / 512];

    if (gib < 512)
        return &page_pdpt[gib];
    if (!*pml4) {
        if (high_used == HIGH_TABLES)
            return NULL;
        *pml4 = (uintptr_t)high[high_used++] | PTE_TABLE;
    }
    return (u64 *)(uintptr_t)(*pml4 & ~0xfffull) + gib % 512;
}

/* The oldest window goes when all are taken; entries of boot.c are never touched. */
static bool map_gib(u64 gib)
{
    u64 *entry = entry_of(gib);

    if (!entry || *entry)
        return entry != NULL;
    if (window_entry[next])
        *window_entry[next] = 0;
    for (u32 i = 0; i < 512; i++) {
        window[next][i] = gib << GIB | (u64)i << 21 | PTE_LARGE;
    }
    *entry = (uintptr_t)window[next] | PTE_TABLE;
    window_entry[next] = entry;
    next = (next + 1) % WINDOWS;
    reload_cr3();
    return true;
}

void *phys_ptr(u64 addr, u64 len)
{
    u64 last = addr + (len ? len - 1 : 0);

    /* Two GiB at most are mapped for one call: nothing asked for is longer than a table. */
    if (!addr || last < addr || last >> 47 || !map_gib(addr >> GIB) || !map_gib(last >> GIB))
        return NULL;
    return (void *)addr;
}

#else

void *phys_ptr(u64 addr, u64 len)
{
    u64 last = addr + (len ? len - 1 : 0);

    if (!addr || last < addr || last >> 32)
        return NULL;
    return (void *)(uintptr_t)addr;
}

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reaching guest-physical memory. 32-bit mode runs without paging and sees 4 GiB. Long mode has
 * everything below 512 GiB where the CPU knows 1 GiB pages; elsewhere a GiB above 4 is mapped when
 * asked for, by a page directory out of a small pool that is reused in turn. Only the boot
 * processor asks, and the others touch nothing above 4 GiB, so dropping its own TLB is enough.
 */
#include "probe.h"

#define GIB 30

#ifdef __x86_64__

#define WINDOWS 8
#define PTE_TABLE 0x03u
#define PTE_LARGE 0x83u

extern u64 page_pdpt[512] __asm__("m32_page_pdpt");
static u64 window[WINDOWS][512] __attribute__((section(".bss.page_tables"), aligned(4096)));
static u32 window_gib[WINDOWS];
static u32 next;

static void reload_cr3(void)
{
    u64 v;
    __asm__ volatile("mov %%cr3, %0; mov %0, %%cr3" : "=r"(v) : : "memory");
}

/* The oldest window goes when all are taken; entries of boot.c are never touched. */
static void map_gib(u32 gib)
{
    if (page_pdpt[gib])
        return;
    if (window_gib[next])
        page_pdpt[window_gib[next]] = 0;
    for (u32 i = 0; i < 512; i++) {
        window[next][i] = (u64)gib << GIB | (u64)i << 21 | PTE_LARGE;
    }
    page_pdpt[gib] = (uintptr_t)window[next] | PTE_TABLE;
    window_gib[next] = gib;
    next = (next + 1) % WINDOWS;
    reload_cr3();
}

void *phys_ptr(u64 addr, u64 len)
{
    u64 last = addr + (len ? len - 1 : 0);

    /* Two GiB at most are mapped for one call: nothing asked for is longer than a table. */
    if (!addr || last < addr || last >> 39)
        return NULL;
    map_gib((u32)(addr >> GIB));
    map_gib((u32)(last >> GIB));
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

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Configuration space by ports, and what a driver needs to find its registers: capabilities, BARs,
 * bridges with numbers and windows (pci-setup.c). Long mode only.
 */
#ifndef PROBE_PCI_H
#define PROBE_PCI_H

#include "probe.h"

enum {
    PCI_COMMAND = 0x04,
    PCI_STATUS = 0x06,
    PCI_HEADER_TYPE = 0x0e,
    PCI_BAR0 = 0x10,
    PCI_PRIMARY = 0x18, /* type 1: primary, secondary, subordinate */
    PCI_MEMORY_WINDOW = 0x20,
    PCI_PREFETCH_WINDOW = 0x24,
    PCI_PREFETCH_BASE_HIGH = 0x28,
    PCI_PREFETCH_LIMIT_HIGH = 0x2c,
    PCI_CAPABILITIES = 0x34,
    PCI_INTERRUPT_PIN = 0x3d,
};
enum { PCI_CMD_MEMORY = 0x02, PCI_CMD_MASTER = 0x04, PCI_CMD_NO_INTX = 0x400 };
enum { PCI_CAP_VENDOR = 0x09, PCI_CAP_EXPRESS = 0x10, PCI_CAP_MSIX = 0x11 };

static inline u16 pci_get16(u16 bdf, u8 off)
{
    return (u16)(pci_read32(bdf, off) >> (off & 2) * 8);
}

static inline u8 pci_get8(u16 bdf, u8 off)
{
    return (u8)(pci_read32(bdf, off) >> (off & 3) * 8);
}

/* The address register holds what the last access to the function left there; each sets it anew. */
static inline void pci_set32(u16 bdf, u8 off, u32 v)
{
    outl(0xcf8, 0x80000000u | (u32)bdf << 8 | (off & 0xfc));
    outl(0xcfc, v);
}

static inline void pci_set16(u16 bdf, u8 off, u16 v)
{
    outl(0xcf8, 0x80000000u | (u32)bdf << 8 | (off & 0xfc));
    outw((u16)(0xcfc + (off & 2)), v);
}

static inline void pci_set8(u16 bdf, u8 off, u8 v)
{
    outl(0xcf8, 0x80000000u | (u32)bdf << 8 | (off & 0xfc));
    outb((u16)(0xcfc + (off & 3)), v);
}

/* An address like 00:1f.3 at *s, which moves behind it and the blanks there; -1 if it is none. */
int pci_parse_bdf(const char **s);
void pci_emit_bdf(u16 bdf);
/* The first capability ID behind offset AFTER (0: from the start); 0 when there is no more. */
u8 pci_find_cap(u16 bdf, u8 id, u8 after);
/* Where memory BAR N is; 0 if it is none. */
u64 pci_bar_address(u16 bdf, u32 n);
/*
 * The order `pci-setup`: gives bridges without bus numbers theirs and windows, BARs without an
 * address one within their bridge's windows, and opens memory decoding. README.md has its words.
 */
void pci_setup_order(const char *args);

#endif

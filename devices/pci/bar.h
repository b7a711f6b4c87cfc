/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bar.h - base address registers (PCI 3.0 section 6.2.5): what is behind them, and where the guest
 * has put them.
 *
 * A BAR is a list of parts, each with hooks of its own and byte-exact place, and of eventfds that
 * a write at some offset signals. Both follow the BAR wherever the guest moves it. A device adds
 * them in realize, in any order; the gaps between parts read as ones.
 *
 * Moves. A guest's write to a BAR, to the command register or to a bridge's window only changes
 * bytes; what it means is worked out on the main thread while no vCPU runs on (bus.h, work).
 *
 * Overlap. A guest may put anything anywhere. In order of precedence: RAM, the board's own
 * ranges (ECAM, the ACPI block, fixed ports), then BARs by position: a function on a bus before
 * what is behind it, lower function before higher, lower BAR before higher. A part that would
 * overlap something of higher precedence, or that a window on the way does not cover whole, is
 * not reached until that ends.
 */
#pragma once

#include "bus.h"

typedef enum { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEM32, PCI_BAR_MEM64 } PciBarKind;

#define PCI_BAR_UNMAPPED G_MAXUINT64

typedef struct {
    guint64      offset, size; /* within the BAR; parts do not overlap */
    const IoOps *ops;
    gpointer     opaque;
    gboolean     lockless;     /* the hooks are thread safe; else the device's lock is held around them */
    const char  *name;         /* for messages; copied */
} PciBarPart;

/* BAR N (and N + 1 for MEM64) of SIZE bytes: a power of two, 16 to 2^62 (I/O: 4 to 256). Main thread, in realize, as
 * all of these. */
void pci_bar_init(PciFunction *fn, guint n, PciBarKind kind, gboolean prefetch, guint64 size);
void pci_bar_add_part(PciFunction *fn, guint n, const PciBarPart *part);
/* A write of SIZE bytes (0: any; MATCH: of VALUE) at OFFSET, within a part, signals FD instead of the part's hook.
 * Any time between realize and unrealize; at once if the BAR is mapped. */
void pci_bar_add_event(PciFunction *fn, guint n, guint64 offset, unsigned size, gboolean match, guint64 value, int fd);
void pci_bar_remove_event(PciFunction *fn, guint n, guint64 offset, unsigned size, gboolean match, guint64 value, int fd);
/* After pci_bus_remove(). */
void pci_bars_free(PciFunction *fn);

/* Where the registers have the BAR, or PCI_BAR_UNMAPPED while it is not decoded. Lock held. */
guint64    pci_bar_address(const PciFunction *fn, guint n);
PciBarKind pci_bar_kind(const PciFunction *fn, guint n, gboolean *prefetch, guint64 *size);

/* A bridge's window as its registers say, whether the command register opens it or not; closed where LIMIT is below BASE. Lock held. */
typedef enum { PCI_WINDOW_IO, PCI_WINDOW_MEMORY, PCI_WINDOW_PREFETCH } PciWindow;
void pci_bridge_window(const PciFunction *fn, PciWindow which, guint64 *base, guint64 *limit);

/* The board's own ranges that can move. The range is free of BARs when this returns; SIZE 0 gives it up.
 * Main thread, no device lock held. */
typedef enum { PCI_FIXED_ECAM, PCI_FIXED_PM, PCI_FIXED__MAX } PciFixed;
void pci_reserve(PciBus *root, PciFixed which, IoSpace space, guint64 base, guint64 size);

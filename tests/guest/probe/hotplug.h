/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guest's half of hotplug, and the loop that serves it. Long mode only.
 *
 * The loop (serve.c) sleeps until an interrupt. Interrupt handlers only note what happened; the
 * sources' work functions act on it, with interrupts off: nothing here needs a lock.
 */
#ifndef HOTPLUG_H
#define HOTPLUG_H

#include "probe.h"

/* Vectors of the loop's own, above those of probe.h. */
enum { VEC_SLOT = 0x50, VEC_SERVE_SERIAL = 0x51 };

/* ---- serve.c -------------------------------------------------------------------------------- */

/* A word of a line on COM1, with the rest of the line. */
struct order {
    const char *name;
    void (*fn)(const char *args);
};

/* Something that interrupts ask to be served. */
struct source {
    void (*start)(void); /* once, before the first sleep; may be NULL */
    bool (*work)(void);  /* true: there was something to do */
};

/* What the guest does when it is asked to give something back. */
enum temper {
    WILLING, /* lets go at once */
    REFUSE,  /* says no where the interface has a way to say it, else as silent */
    SILENT,  /* takes notice, and no more */
};
extern enum temper temper;

void serve_section(void);
/* The number at *args, which moves behind it and its separators. */
u32 order_number(const char **args);

/* ---- sci.c: the system control interrupt, PM1 and GPE0 -------------------------------------- */

enum { GPE_PCI = 1, GPE_CPU = 2, GPE_MEMORY = 3 };

extern const struct source sci_source;
void sci_print(void);

/* ---- a file for each interface -------------------------------------------------------------- */

extern const struct order hotplug_orders[];
extern const u32 hotplug_order_count;

/* What the events' handlers are called for; false: no such event was pending. */
bool cpuhp_gpe(void);
bool memhp_gpe(void);
bool pcihp_gpe(void);
void cpuhp_eject(u32 sel);
void memhp_eject(u32 slot);
void pcihp_eject(u32 slot);
void cpuhp_status(void);
void memhp_status(void);
void pcihp_status(void);

/* _OST's codes (ACPI 6.5, 6.3.5). */
enum {
    OST_DEVICE_CHECK = 1,
    OST_EJECT_REQUEST = 3,
    OST_SUCCESS = 0,
    OST_IN_USE = 0x81,
    OST_EJECT_IN_PROGRESS = 0x84,
};

extern const struct source slot_source;
void slot_status(void);
/* Orders about the native slot at an address like 00:02.0. */
void slot_order(const char *args);

/* ---- configuration space by ports: halves too, for registers that are cleared by ones ------- */

static inline u16 pci_read16(u16 bdf, u8 off)
{
    return (u16)(pci_read32(bdf, off) >> (off & 2) * 8);
}

static inline void pci_write16(u16 bdf, u8 off, u16 v)
{
    outl(0xcf8, 0x80000000u | (u32)bdf << 8 | (off & 0xfc));
    outw((u16)(0xcfc + (off & 2)), v);
}

static inline void pci_write32(u16 bdf, u8 off, u32 v)
{
    outl(0xcf8, 0x80000000u | (u32)bdf << 8 | (off & 0xfc));
    outl(0xcfc, v);
}

#endif

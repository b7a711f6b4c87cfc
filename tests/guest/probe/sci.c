/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The system control interrupt (ACPI 6.5, 4.8.3 and 5.6): the fixed events of PM1 and the general
 * purpose events of GPE0, at the ports that the FADT names.
 *
 * The interrupt is level triggered and the events are edges: the handler takes what is pending and
 * enabled and clears it, so that the line goes down and a further event counts anew; the events'
 * work is done afterwards, outside of the handler. A status bit must therefore be cleared before
 * its controller's registers are read, as AML interpreters do for _Exx methods.
 */
#include "hotplug.h"

#define PWRBTN (1u << 8)
#define LEVEL_HIGH 0x0d

static struct {
    volatile u32 count, spurious;
    volatile u32 pm1, gpe; /* to be served */
    u32 served;
} sci;

static u16 pm1_status(void)
{
    return (u16)acpi.pm1a_evt;
}

static u16 pm1_enable(void)
{
    return (u16)(acpi.pm1a_evt + acpi.pm1_evt_len / 2);
}

/* Status bytes are followed by as many enable bytes; the first four hold all events used here. */
static u16 gpe_status(void)
{
    return (u16)acpi.gpe0;
}

static u16 gpe_enable(void)
{
    return (u16)(acpi.gpe0 + acpi.gpe0_len / 2);
}

/* Nothing pending is no fault: lines are shared, and some hosts deliver an interrupt twice. */
static void sci_handler(void)
{
    u16 pm1 = inw(pm1_status()) & inw(pm1_enable());
    u8 gpe = inb(gpe_status()) & inb(gpe_enable());

    if (!pm1 && !gpe) {
        sci.spurious++;
        return;
    }
    sci.count++;
    outw(pm1_status(), pm1);
    outb(gpe_status(), gpe);
    sci.pm1 |= pm1;
    sci.gpe |= gpe;
}

/* Events that came before count: they are pending when the enable bits are set. */
static void sci_start(void)
{
    if (!acpi.pm1a_evt || !acpi.gpe0)
        return;
    acpi_enable();
    trap_set(VEC_SCI, sci_handler);
    ioapic_route(acpi.isa_gsi[acpi.sci & 15], VEC_SCI, acpi.isa_flags[acpi.sci & 15] | LEVEL_HIGH);
    outw(pm1_enable(), PWRBTN);
    outb(gpe_enable(), 1u << GPE_PCI | 1u << GPE_CPU | 1u << GPE_MEMORY);
}

static void serve_gpe(u32 gpe)
{
    if (gpe & 1u << GPE_CPU)
        cpuhp_gpe();
    if (gpe & 1u << GPE_MEMORY)
        memhp_gpe();
    if (gpe & 1u << GPE_PCI)
        pcihp_gpe();
}

/* Interrupts are off: what is taken here is all that the handler has seen. */
static bool sci_work(void)
{
    u32 gpe = sci.gpe, pm1 = sci.pm1;

    if (sci.served == sci.count)
        return false;
    sci.served = sci.count;
    sci.gpe = sci.pm1 = 0;
    emit("sci n=%u gpe=%#x pm1=%#x\n", sci.served, gpe, pm1);
    serve_gpe(gpe);
    emit("sci-done n=%u\n", sci.served);
    return true;
}

void sci_print(void)
{
    emit("sci-status n=%u spurious=%u gpe_sts=%#x gpe_en=%#x pm1_sts=%#x pm1_en=%#x\n", sci.count,
         sci.spurious, inb(gpe_status()), inb(gpe_enable()), inw(pm1_status()), inw(pm1_enable()));
}

const struct source sci_source = {sci_start, sci_work};

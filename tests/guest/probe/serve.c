/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The order loop: asleep until the SCI, a message or a character on COM1, then served in turn:
 * complete lines, then the sources. Characters are taken by their interrupt and kept, so lines sent
 * while something is being served are not lost.
 *
 * Interrupts are on only in HLT (and where a source waits for one), so what is looked at before the
 * sleep can not change until STI, which takes effect behind HLT: no event is slept over.
 */
#include "hotplug.h"

enum { COM_IER = 1, COM_MCR = 4, COM_LSR = 5 };
#define RING 1024u

enum temper temper;

static volatile char ring[RING];
static volatile u32 ring_in;
static u32 ring_out;

static const struct source *const sources[] = {&sci_source, &slot_source};

/* The end of the table is counted by its owner: arrays of other files have no size here. */
static const struct {
    const struct order *orders;
    const u32 *count;
} order_tables[] = {
    {hotplug_orders, &hotplug_order_count},
};

/* ---- COM1 ----------------------------------------------------------------------------------- */

/* The line goes down when the FIFO is empty. */
static void serial_handler(void)
{
    int c;

    while ((c = console_poll()) >= 0) {
        if (ring_in - ring_out < RING)
            ring[ring_in++ % RING] = (char)c;
    }
}

static void serial_start(void)
{
    trap_set(VEC_SERVE_SERIAL, serial_handler);
    ioapic_route(acpi.isa_gsi[4], VEC_SERVE_SERIAL, acpi.isa_flags[4]);
    outb(COM1 + COM_MCR, 0x0b);
    outb(COM1 + COM_IER, 0x01);
}

/* A character puts one together; a complete line stays until it is taken. */
static bool next_line(char *line, u32 size)
{
    static u32 n;
    static char partial[512];

    while (ring_out != ring_in) {
        char c = ring[ring_out++ % RING];
        if (c != '\r' && c != '\n') {
            if (n + 1 < sizeof partial)
                partial[n++] = c;
            continue;
        }
        if (!n)
            continue;
        partial[n] = 0;
        n = 0;
        str_copy(line, partial, size);
        return true;
    }
    return false;
}

/* ---- orders --------------------------------------------------------------------------------- */

u32 order_number(const char **args)
{
    u32 v = (u32)str_number(*args, args);

    while (**args == ' ') {
        ++*args;
    }
    return v;
}

static bool obey_from(const struct order *orders, u32 count, const char *line)
{
    for (u32 i = 0; i < count; i++) {
        const char *rest = str_after(line, orders[i].name);
        if (!rest || (*rest && *rest != ' '))
            continue;
        while (*rest == ' ') {
            rest++;
        }
        orders[i].fn(rest);
        return true;
    }
    return false;
}

/* What is no order is an interactive line: sections, options, an ending. */
static void obey(const char *line)
{
    for (u32 i = 0; i < ARRAY_SIZE(order_tables); i++) {
        if (obey_from(order_tables[i].orders, *order_tables[i].count, line))
            return;
    }
    run_line(line);
    serial_start(); /* a section may have used the port in its own way */
}

/*
 * What is pending is let in, so that it is served before a line that was sent after it. Not by
 * NOPs: a host that emulates looks for interrupts at exits only, as reading a port is.
 */
static void take_interrupts(void)
{
    irq_enable();
    for (u32 i = 0; i < 4; i++) {
        clock_read();
    }
    irq_disable();
}

static bool serve_sources(void)
{
    bool worked = false;

    take_interrupts();
    for (u32 i = 0; i < ARRAY_SIZE(sources); i++) {
        worked |= sources[i]->work();
    }
    return worked;
}

static bool serve_line(void)
{
    static char line[512];
    static u32 lines;

    if (!next_line(line, sizeof line))
        return false;
    obey(line);
    emit("ready n=%u\n", ++lines);
    return true;
}

/* Never returns: an ending is the way out. */
void serve_section(void)
{
    if (!acpi.ioapic) {
        emit("error unserved=ioapic\n");
        return;
    }
    serial_start();
    for (u32 i = 0; i < ARRAY_SIZE(sources); i++) {
        if (sources[i]->start)
            sources[i]->start();
    }
    emit("ready n=0\n");
    for (;;) {
        if (!serve_sources() && !serve_line())
            __asm__ volatile("sti; hlt; cli" : : : "memory");
    }
}

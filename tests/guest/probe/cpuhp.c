/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * CPU hotplug by the register block at 0xcd8 that QEMU documents (docs/specs/acpi_cpu_hotplug) and
 * that firmware and AML share: select a processor, look at its flags, clear its events, eject it.
 * The block starts as a bitmap (the legacy interface); writing 0 to the selector switches it.
 * Command 0 moves the selector to the next processor with an event, so it must not be written
 * while walking: only once before, for "data returns the selector" to tell where the list ends.
 */
#include "hotplug.h"

#define HP_SELECTOR 0xcd8 /* write; reads as 0 in the modern interface */
#define HP_FLAGS 0xcdc
#define HP_COMMAND 0xcdd
#define HP_DATA 0xce0

#define FLAG_PRESENT 0x01
#define FLAG_INSERT 0x02
#define FLAG_REMOVE 0x04
#define CLEAR_INSERT 0x02
#define CLEAR_REMOVE 0x04
#define EJECT 0x08

enum { CMD_NEXT_EVENT = 0, CMD_OST_EVENT = 1, CMD_OST_STATUS = 2, CMD_ARCH_ID = 3 };

#define MAX_POSSIBLE 1024

/* Twice: the first write switches, the second selects. An absent block reads as all ones. */
static bool switch_to_modern(void)
{
    outl(HP_SELECTOR, 0);
    outl(HP_SELECTOR, 0);
    outb(HP_COMMAND, CMD_NEXT_EVENT);
    return inl(HP_SELECTOR) == 0;
}

static u8 flags_of(u32 sel)
{
    outl(HP_SELECTOR, sel);
    return inb(HP_FLAGS);
}

/* The command stays in force: data means the APIC id until another command is written. */
static u32 arch_id_of(u32 sel)
{
    outl(HP_SELECTOR, sel);
    outb(HP_COMMAND, CMD_ARCH_ID);
    return inl(HP_DATA);
}

/* A selector beyond the last one is not taken, and data does not return it. */
static u32 count_possible(void)
{
    u32 n = 1;

    outl(HP_SELECTOR, 0);
    outb(HP_COMMAND, CMD_NEXT_EVENT);
    for (; n < MAX_POSSIBLE; n++) {
        outl(HP_SELECTOR, n);
        if (inl(HP_DATA) != n)
            break;
    }
    return n;
}

static u32 count_present(u32 possible)
{
    u32 present = 0;

    for (u32 sel = 0; sel < possible; sel++) {
        present += flags_of(sel) & FLAG_PRESENT;
    }
    return present;
}

static void ost(u32 sel, u32 event, u32 status)
{
    outl(HP_SELECTOR, sel);
    outb(HP_COMMAND, CMD_OST_EVENT);
    outl(HP_DATA, event);
    outb(HP_COMMAND, CMD_OST_STATUS);
    outl(HP_DATA, status);
}

/*
 * Started before the event is cleared: a test that sees it cleared may count on the processor. The
 * slot's former occupant may have gone without a word.
 */
static void inserted(u32 sel)
{
    u32 arch_id = arch_id_of(sel);
    struct cpu *cpu = cpu_find(arch_id, true);
    bool ok;

    if (cpu)
        cpu->online = 0;
    ok = cpu && smp_start(cpu);
    if (cpu)
        cpu->flags = 1;
    outb(HP_FLAGS, CLEAR_INSERT);
    emit("cpuhp-inserted sel=%u arch_id=%u started=%u", sel, arch_id, ok);
    if (ok)
        smp_print_ids(cpu);
    emit("\n");
}

/* As an operating system does: stop using it, then let it go. */
void cpuhp_eject(u32 sel)
{
    bool present = flags_of(sel) & FLAG_PRESENT;
    u32 arch_id = arch_id_of(sel);
    struct cpu *cpu = cpu_find(arch_id, false);

    if (cpu && present)
        smp_park(cpu);
    if (cpu && cpu->apic_id != lapic_id())
        cpu->flags = cpu->online = 0;
    outb(HP_FLAGS, EJECT);
    emit("cpuhp-removed sel=%u arch_id=%u present=%u\n", sel, arch_id,
         flags_of(sel) & FLAG_PRESENT);
}

static void removing(u32 sel)
{
    outb(HP_FLAGS, CLEAR_REMOVE);
    cpuhp_eject(sel);
}

static void handle_events(u32 possible)
{
    for (u32 sel = 0; sel < possible; sel++) {
        u8 flags = flags_of(sel);
        if (flags & FLAG_INSERT)
            inserted(sel);
        else if (flags & FLAG_REMOVE)
            removing(sel);
    }
}

static void print_all(u32 possible)
{
    for (u32 sel = 0; sel < possible; sel++) {
        u8 flags = flags_of(sel);
        emit("cpuhp sel=%u arch_id=%u present=%u flags=%#x\n", sel, arch_id_of(sel),
             flags & FLAG_PRESENT, flags);
    }
}

/* Until as many are present as asked for, and no event is left. */
static void wait_present(u32 possible)
{
    struct deadline d;
    u32 present;

    emit("cpuhp-waiting present=%u target=%u\n", count_present(possible), options.cpuhp_wait);
    deadline_start(&d, options.cpuhp_timeout < 3600 ? options.cpuhp_timeout * 1000000 : ~0u);
    do {
        handle_events(possible);
        present = count_present(possible);
        if (present != options.cpuhp_wait)
            irq_wait_serial();
    } while (present != options.cpuhp_wait && !deadline_passed(&d));
    handle_events(possible);
    emit("cpuhp-waited present=%u target=%u status=%s\n", present, options.cpuhp_wait,
         present == options.cpuhp_wait ? "ok" : "timeout");
    smp_section();
}

/* ---- by the SCI ------------------------------------------------------------------------------ */

/* Taking notice, then what the temper is. */
static void asked(u32 sel)
{
    outb(HP_FLAGS, CLEAR_REMOVE);
    emit("cpuhp-asked sel=%u\n", sel);
    if (temper == WILLING) {
        ost(sel, OST_EJECT_REQUEST, OST_EJECT_IN_PROGRESS);
        cpuhp_eject(sel);
    } else if (temper == REFUSE) {
        ost(sel, OST_EJECT_REQUEST, OST_IN_USE);
        emit("cpuhp-refused sel=%u\n", sel);
    }
}

/* The way of AML: from event to event by the command for it, until none is left. */
bool cpuhp_gpe(void)
{
    u32 n = 0;

    if (!switch_to_modern())
        return false;
    for (; n < 2 * MAX_POSSIBLE; n++) {
        outb(HP_COMMAND, CMD_NEXT_EVENT);
        u32 sel = inl(HP_DATA);
        u8 flags = inb(HP_FLAGS);
        if (flags & FLAG_INSERT) {
            inserted(sel);
            ost(sel, OST_DEVICE_CHECK, OST_SUCCESS);
        } else if (flags & FLAG_REMOVE) {
            asked(sel);
        } else {
            break;
        }
    }
    return n > 0;
}

void cpuhp_status(void)
{
    if (switch_to_modern())
        print_all(count_possible());
}

void cpuhp_section(void)
{
    u32 possible;

    if (!switch_to_modern()) {
        emit("cpuhp-total interface=absent\n");
        return;
    }
    possible = count_possible();
    print_all(possible);
    emit("cpuhp-total interface=modern present=%u possible=%u\n", count_present(possible),
         possible);
    if (options.cpuhp_wait)
        wait_present(possible);
}

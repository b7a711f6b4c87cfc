/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The ACPI CPU hotplug registers, driven as the AML of QEMU's documents does. */
#include "board-test.h"

#include "../../devices/acpi/cpu-hotplug.h"
#include "../../devices/core/unplug.h"

#define BASE 0xcd8
#define SELECTOR (BASE + 0)
#define FLAGS (BASE + 4)
#define COMMAND (BASE + 5)
#define DATA (BASE + 8)
#define BOARD_6 "{\"driver\": \"board\", \"max-cpus\": 6, \"cpu-sockets\": 2, \"cpu-cores\": 3}"

static void plug_cpu(BoardTest *t, guint socket, guint core)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *json = g_strdup_printf(
        "{\"driver\": \"host-x86_64-cpu\", \"socket-id\": %u, \"core-id\": %u}", socket, core);

    board_test_plug(t, json, &error);
    g_assert_no_error(error);
}

/* Two CPUs, 0 and 4. */
static void init_with_cpus(BoardTest *t)
{
    g_autoptr(GError) error = NULL;

    board_test_init_empty(t);
    board_test_plug(t, BOARD_6, &error);
    g_assert_no_error(error);
    plug_cpu(t, 0, 0);
    plug_cpu(t, 1, 1);
    board_test_power_on(t);
    device_set_started(t->set);
}

static guint8 flags_of(BoardTest *t, guint32 cpu)
{
    outl(t, SELECTOR, cpu);
    return inb(t, FLAGS);
}

static void test_detection(void)
{
    BoardTest t;

    /* the sequence from the document by which firmware finds the modern interface */
    init_with_cpus(&t);
    outl(&t, SELECTOR, 0);
    outl(&t, SELECTOR, 0);
    outb(&t, COMMAND, 0);
    g_assert_cmphex(inl(&t, SELECTOR), ==, 0);
    outb(&t, COMMAND, 3);
    g_assert_cmphex(inl(&t, SELECTOR), ==, 0);
    board_test_clear(&t);
}

static void test_presence(void)
{
    BoardTest t;
    guint present = 0;

    init_with_cpus(&t);
    for (guint i = 0; i < 6; i++)
        present |= (guint)flags_of(&t, i) << i;
    g_assert_cmphex(present, ==, 0x11);
    g_assert_cmphex(inb(&t, FLAGS + 2), ==, 0);
    board_test_clear(&t);
}

static void test_cpu_id(void)
{
    static const guint32 apic_ids[6] = { 0, 1, 2, 4, 5, 6 };
    BoardTest t;

    init_with_cpus(&t);
    for (guint i = 0; i < 6; i++) {
        outl(&t, SELECTOR, i);
        outb(&t, COMMAND, 3);
        g_assert_cmpuint(inl(&t, DATA), ==, apic_ids[i]);
    }
    board_test_clear(&t);
}

static void test_invalid_selector(void)
{
    static const guint32 bad[] = { 6, 1024, 0x80000000, 0xffffffff };
    BoardTest t;

    init_with_cpus(&t);
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        outl(&t, SELECTOR, bad[i]);
        outb(&t, COMMAND, 0);
        outb(&t, FLAGS, 0xff);
        outl(&t, DATA, 0xffffffff);
        for (guint reg = 0; reg < 12; reg++)
            g_assert_cmphex(inb(&t, BASE + reg), ==, 0);
    }
    board_test_settle();
    g_assert_cmphex(flags_of(&t, 4), ==, 1);
    /* the command is kept, too */
    outb(&t, COMMAND, 3);
    outl(&t, SELECTOR, 6);
    outb(&t, COMMAND, 2);
    outl(&t, SELECTOR, 4);
    g_assert_cmphex(inl(&t, DATA), ==, 5);
    board_test_clear(&t);
}

static void test_insert_event(void)
{
    BoardTest t;

    init_with_cpus(&t);
    outl(&t, 0x628, 1 << CPU_HOTPLUG_GPE);
    g_assert_false(irq_pin_level(t.vm, 9));
    plug_cpu(&t, 0, 2); /* the machine runs: the CPU itself tells */
    g_assert_cmphex(inl(&t, 0x620), ==, 1 << CPU_HOTPLUG_GPE);
    g_assert_true(irq_pin_level(t.vm, 9));
    g_assert_cmphex(flags_of(&t, 2), ==, 3);
    /* the scan finds it from anywhere, itself included */
    for (guint from = 0; from < 6; from++) {
        outl(&t, SELECTOR, from);
        outb(&t, COMMAND, 0);
        g_assert_cmpuint(inl(&t, DATA), ==, 2);
    }
    outb(&t, FLAGS, 2); /* clear */
    g_assert_cmphex(flags_of(&t, 2), ==, 1);
    outl(&t, SELECTOR, 5);
    outb(&t, COMMAND, 0); /* none: stays */
    g_assert_cmpuint(inl(&t, DATA), ==, 5);
    board_test_clear(&t);
}

/* With several events the scan goes round from the selected CPU. */
static void test_next_event(void)
{
    static const guint found[6] = { 2, 2, 2, 4, 4, 2 };
    BoardTest t;

    init_with_cpus(&t);
    plug_cpu(&t, 0, 2);
    cpu_hotplug_request_remove(t.set, 4);
    for (guint from = 0; from < 6; from++) {
        outl(&t, SELECTOR, from);
        outb(&t, COMMAND, 0);
        g_assert_cmpuint(inl(&t, DATA), ==, found[from]);
    }
    board_test_clear(&t);
}

static void test_plugged_cold_is_no_event(void)
{
    BoardTest t;

    init_with_cpus(&t);
    g_assert_cmphex(flags_of(&t, 0), ==, 1);
    g_assert_cmphex(inl(&t, 0x620), ==, 0);
    board_test_clear(&t);
}

static Device *cpu_in(BoardTest *t, guint index)
{
    CpuSlot slot;

    cpu_slot_get(t->set, index, &slot);
    return slot.cpu;
}

static void ask(BoardTest *t, guint index, guint timeout_ms, gboolean force)
{
    g_autoptr(GError) error = NULL;

    device_unplug(cpu_in(t, index), &(UnplugHow){ .force = force, .timeout_ms = timeout_ms }, &error);
    g_assert_no_error(error);
}

/* The guest's _OST, as its AML does it. */
static void report(BoardTest *t, guint32 cpu, guint32 event, guint32 status)
{
    outl(t, SELECTOR, cpu);
    outb(t, COMMAND, 1);
    outl(t, DATA, event);
    outb(t, COMMAND, 2);
    outl(t, DATA, status);
    board_test_settle();
}

static gboolean phase_is(BoardTest *t, guint index, UnplugPhase want)
{
    UnplugPhase phase;
    gint64 left;

    return device_unplug_info(cpu_in(t, index), &phase, &left) && phase == want;
}

/* Asked, noticed, ejected; then the slot is plugged anew, as often as one likes. */
static void test_eject(void)
{
    BoardTest t;

    init_with_cpus(&t);
    for (guint turn = 0; turn < 3; turn++) {
        g_autofree char *gone = g_strdup_printf(" %s gone", cpu_in(&t, 4)->id);

        outl(&t, 0x620, 1 << CPU_HOTPLUG_GPE);
        ask(&t, 4, 0, FALSE);
        g_assert_cmphex(inl(&t, 0x620), ==, 1 << CPU_HOTPLUG_GPE);
        g_assert_cmphex(flags_of(&t, 4), ==, turn ? 7 : 5);
        g_assert_true(phase_is(&t, 4, UNPLUG_REQUESTED));
        outb(&t, FLAGS, 6);
        board_test_settle();
        g_assert_cmphex(inb(&t, FLAGS), ==, 1);
        g_assert_true(phase_is(&t, 4, UNPLUG_NOTIFIED));
        outb(&t, FLAGS, 8);
        outb(&t, FLAGS, 8);        /* twice before anybody looked is once */
        g_assert_cmphex(inb(&t, FLAGS), ==, 0); /* as the guest sees it, it is gone at once */
        board_test_ends(&t, "");   /* not on the vCPU's thread */
        board_test_settle();
        board_test_ends(&t, gone);
        g_assert_cmphex(flags_of(&t, 4), ==, 0);
        outb(&t, FLAGS, 8); /* an empty slot */
        report(&t, 4, 3, 0);
        report(&t, 4, 3, 0x81);
        board_test_ends(&t, "");
        plug_cpu(&t, 1, 1);
        g_assert_cmphex(flags_of(&t, 4), ==, 3);
    }
    board_test_clear(&t);
}

/* What nobody asked for goes too, but the last CPU. */
static void test_eject_unasked(void)
{
    BoardTest t;

    init_with_cpus(&t);
    g_autofree char *gone = g_strdup_printf(" %s gone", cpu_in(&t, 0)->id);
    outl(&t, SELECTOR, 0);
    outb(&t, FLAGS, 8);
    outl(&t, SELECTOR, 4);
    outb(&t, FLAGS, 8);
    board_test_settle();
    board_test_ends(&t, gone);
    g_assert_cmphex(flags_of(&t, 0), ==, 0);
    g_assert_cmphex(flags_of(&t, 4), ==, 1);
    board_test_clear(&t);
}

static void test_refused(void)
{
    static const struct { guint32 event, status; const char *reason; } refusals[] = {
        { 3, 1, "non-specific failure (_OST status 0x1)" }, { 3, 0x80, "ejection not supported (_OST status 0x80)" },
        { 3, 0x81, "device in use (_OST status 0x81)" }, { 0x103, 0x82, "device busy (_OST status 0x82)" },
        { 3, 0x83, "ejection dependency busy (_OST status 0x83)" }, { 3, 0xffffffff, "unknown status (_OST status 0xffffffff)" },
    };
    BoardTest t;

    init_with_cpus(&t);
    for (guint i = 0; i < G_N_ELEMENTS(refusals); i++) {
        g_autofree char *stays = g_strdup_printf(" %s stays: the guest refused: %s", cpu_in(&t, 4)->id, refusals[i].reason);

        ask(&t, 4, 0, FALSE);
        report(&t, 4, 3, 0);    /* no eject: no end */
        report(&t, 4, 3, 0x84); /* in progress */
        report(&t, 4, 1, 0x81); /* of an insertion */
        g_assert_true(phase_is(&t, 4, UNPLUG_NOTIFIED));
        board_test_ends(&t, "");
        report(&t, 4, refusals[i].event, refusals[i].status);
        board_test_ends(&t, stays);
        g_assert_cmpint(cpu_in(&t, 4)->state, ==, DEVICE_PUBLISHED);
        report(&t, 4, 3, 0x81); /* once */
        board_test_ends(&t, "");
    }
    board_test_clear(&t);
}

static void test_timeout(void)
{
    BoardTest t;

    init_with_cpus(&t);
    vm_run(t.vm);
    g_autofree char *id = g_strdup(cpu_in(&t, 4)->id), *gone = g_strdup_printf(" %s gone", id);
    g_autofree char *stays = g_strdup_printf(" %s stays: the guest did not let go of it within 100 ms", id);
    ask(&t, 4, 100, FALSE);
    step(&t, 99 * NS_PER_MS);
    board_test_ends(&t, "");
    ask(&t, 4, 100, FALSE); /* the same request, counted from now */
    step(&t, 99 * NS_PER_MS);
    ask(&t, 4, 0, FALSE); /* no word of a timeout: the last one stands */
    board_test_ends(&t, "");
    step(&t, NS_PER_MS);
    board_test_ends(&t, stays);
    g_assert_cmpint(cpu_in(&t, 4)->state, ==, DEVICE_PUBLISHED);
    outl(&t, SELECTOR, 4); /* late */
    outb(&t, FLAGS, 8);
    board_test_settle();
    board_test_ends(&t, gone);
    board_test_clear(&t);
}

/* Asking again reminds a guest that lost the event; force ends the wait. */
static void test_again_and_force(void)
{
    BoardTest t;

    init_with_cpus(&t);
    g_autofree char *gone = g_strdup_printf(" %s gone", cpu_in(&t, 4)->id);
    ask(&t, 4, 50, FALSE);
    outl(&t, SELECTOR, 4);
    outb(&t, FLAGS, 4);
    outl(&t, 0x620, 0xffffffff);
    board_test_settle();
    ask(&t, 4, 0, FALSE);
    g_assert_cmphex(flags_of(&t, 4), ==, 5);
    g_assert_cmphex(inl(&t, 0x620), ==, 1 << CPU_HOTPLUG_GPE);
    ask(&t, 4, 0, TRUE);
    board_test_ends(&t, gone);
    step(&t, 100 * NS_PER_MS); /* its timer went with it */
    board_test_ends(&t, "");
    g_assert_cmphex(flags_of(&t, 4), ==, 0);
    board_test_clear(&t);
}

/* One CPU stays, whatever is asked for and in which order. */
static void test_last(void)
{
    BoardTest t;
    g_autoptr(GError) error = NULL;

    init_with_cpus(&t);
    ask(&t, 4, 0, FALSE);
    g_assert_false(device_unplug(cpu_in(&t, 0), &(UnplugHow){ 0 }, &error));
    g_assert_nonnull(strstr(error->message, "no CPU would be left"));
    g_clear_error(&error);
    ask(&t, 4, 0, FALSE);
    ask(&t, 4, 0, TRUE);
    g_assert_false(device_unplug(cpu_in(&t, 0), &(UnplugHow){ .force = TRUE }, &error));
    g_assert_cmphex(flags_of(&t, 0), ==, 1);
    board_test_clear(&t);
}

/* A guest that is reset answers no more: what it was asked for is gone. */
static void test_guest_over(void)
{
    BoardTest t;

    init_with_cpus(&t);
    plug_cpu(&t, 0, 1);
    g_autofree char *gone = g_strdup_printf(" %s gone %s gone", cpu_in(&t, 1)->id, cpu_in(&t, 4)->id);
    ask(&t, 4, 0, FALSE);
    ask(&t, 1, 1000, FALSE);
    device_set_unplug_pending(t.set);
    board_test_ends(&t, gone);
    device_set_unplug_pending(t.set);
    board_test_ends(&t, "");
    g_assert_cmpuint(cpu_plugged_count(t.set), ==, 1);
    board_test_clear(&t);
}

/* The other CPU was ejected meanwhile: found by test-unplug-random. */
static void test_last_and_guest_over(void)
{
    BoardTest t;

    init_with_cpus(&t);
    g_autofree char *id = g_strdup(cpu_in(&t, 4)->id);
    g_autofree char *stays = g_strdup_printf(" %s stays: Device '%s': the machine has started, and no CPU would be left", id, id);
    ask(&t, 4, 0, FALSE);
    outl(&t, SELECTOR, 0);
    outb(&t, FLAGS, 8);
    board_test_settle();
    g_string_truncate(t.ends, 0);
    device_set_unplug_pending(t.set);
    board_test_ends(&t, stays);
    g_assert_cmpuint(cpu_plugged_count(t.set), ==, 1);
    board_test_clear(&t);
}

static const char *cpu_slot_id(BoardTest *t, guint index)
{
    CpuSlot slot;

    cpu_slot_get(t->set, index, &slot);
    return slot.cpu->id;
}

static void test_ost(void)
{
    BoardTest t;
    guint32 event, status;

    init_with_cpus(&t);
    outl(&t, SELECTOR, 4);
    outb(&t, COMMAND, 1);
    outl(&t, DATA, 0x103);
    outb(&t, COMMAND, 2);
    outl(&t, DATA, 0x84);
    outb(&t, COMMAND, 0x7f); /* no such command: the last one stays */
    outw(&t, DATA, 0x11);    /* only dwords are data */
    cpu_hotplug_ost(t.set, 4, &event, &status);
    g_assert_cmphex(event, ==, 0x103);
    g_assert_cmphex(status, ==, 0x84);
    cpu_hotplug_ost(t.set, 3, &event, &status);
    g_assert_cmphex(event, ==, 0);
    board_test_settle();
    g_autofree char *want = g_strdup_printf(" CPU 4 %s 0x103 0x84", cpu_slot_id(&t, 4));
    g_assert_cmpstr(t.osts->str, ==, want);
    g_string_truncate(t.osts, 0);
    outl(&t, SELECTOR, 5); /* a slot with nothing in it */
    outl(&t, DATA, 1);
    board_test_settle();
    g_assert_cmpstr(t.osts->str, ==, " CPU 5 - 0x0 0x1");
    board_test_clear(&t);
}

static void test_reset(void)
{
    BoardTest t;

    init_with_cpus(&t);
    plug_cpu(&t, 1, 2);
    cpu_hotplug_request_remove(t.set, 4);
    board_test_power_on(&t);
    g_assert_cmphex(flags_of(&t, 4), ==, 1);
    g_assert_cmphex(flags_of(&t, 5), ==, 1); /* there from the start now */
    g_assert_cmphex(inl(&t, 0x620), ==, 0);
    board_test_clear(&t);
}

static void test_save_load(void)
{
    BoardTest a, b;

    init_with_cpus(&a);
    init_with_cpus(&b);
    cpu_hotplug_request_remove(a.set, 4);
    outl(&a, SELECTOR, 4);
    outb(&a, COMMAND, 2);
    outl(&a, DATA, 0x80);
    board_test_move(&a, &b, "acpi-cpu-hotplug");
    for (guint reg = 0; reg < 12; reg++)
        g_assert_cmphex(inb(&a, BASE + reg), ==, inb(&b, BASE + reg));
    g_assert_cmphex(inb(&b, FLAGS), ==, 5);
    guint32 event, status;
    cpu_hotplug_ost(b.set, 4, &event, &status);
    g_assert_cmphex(status, ==, 0x80);
    board_test_clear(&a);
    board_test_clear(&b);
}

static void test_row(void)
{
    BoardTest t;

    board_test_init(&t, "{\"driver\": \"board\", \"cpu-hotplug-base\": 44800}");
    outl(&t, 0xaf00, 1);
    g_assert_cmphex(inl(&t, 0xaf08), ==, 1);
    g_assert_cmphex(inl(&t, BASE), ==, 0xffffffff);
    board_test_clear(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cpu-hotplug-regs/detection", test_detection);
    g_test_add_func("/cpu-hotplug-regs/presence", test_presence);
    g_test_add_func("/cpu-hotplug-regs/cpu-id", test_cpu_id);
    g_test_add_func("/cpu-hotplug-regs/invalid-selector", test_invalid_selector);
    g_test_add_func("/cpu-hotplug-regs/insert-event", test_insert_event);
    g_test_add_func("/cpu-hotplug-regs/next-event", test_next_event);
    g_test_add_func("/cpu-hotplug-regs/plugged-cold-is-no-event", test_plugged_cold_is_no_event);
    g_test_add_func("/cpu-hotplug-regs/eject", test_eject);
    g_test_add_func("/cpu-hotplug-regs/eject-unasked", test_eject_unasked);
    g_test_add_func("/cpu-hotplug-regs/refused", test_refused);
    g_test_add_func("/cpu-hotplug-regs/timeout", test_timeout);
    g_test_add_func("/cpu-hotplug-regs/again-and-force", test_again_and_force);
    g_test_add_func("/cpu-hotplug-regs/last", test_last);
    g_test_add_func("/cpu-hotplug-regs/guest-over", test_guest_over);
    g_test_add_func("/cpu-hotplug-regs/last-and-guest-over", test_last_and_guest_over);
    g_test_add_func("/cpu-hotplug-regs/ost", test_ost);
    g_test_add_func("/cpu-hotplug-regs/reset", test_reset);
    g_test_add_func("/cpu-hotplug-regs/save-load", test_save_load);
    g_test_add_func("/cpu-hotplug-regs/row", test_row);
    return g_test_run();
}

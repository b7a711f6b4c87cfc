/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The ACPI CPU hotplug registers, driven as the AML of QEMU's documents does. */
#include "board-test.h"

#include "../../devices/acpi/cpu-hotplug.h"

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

typedef struct {
    guint count, last;
} Ejected;

static void on_eject(gpointer user, guint index)
{
    Ejected *e = user;

    e->count++;
    e->last = index;
}

static void test_eject(void)
{
    BoardTest t;
    Ejected e = { 0 };

    init_with_cpus(&t);
    /* nobody listens: no effect */
    outl(&t, SELECTOR, 4);
    outb(&t, FLAGS, 8);
    board_test_settle();
    g_assert_cmphex(inb(&t, FLAGS), ==, 1);

    cpu_hotplug_set_eject(t.set, on_eject, &e);
    cpu_hotplug_request_remove(t.set, 4);
    g_assert_cmphex(inb(&t, FLAGS), ==, 5);
    outb(&t, FLAGS, 4);
    g_assert_cmphex(inb(&t, FLAGS), ==, 1);
    outb(&t, FLAGS, 8);
    outb(&t, FLAGS, 8); /* twice before anybody looked is once */
    g_assert_cmpuint(e.count, ==, 0); /* not on the vCPU's thread */
    board_test_settle();
    g_assert_cmpuint(e.count, ==, 1);
    g_assert_cmpuint(e.last, ==, 4);
    outl(&t, SELECTOR, 5); /* an empty slot */
    outb(&t, FLAGS, 8);
    board_test_settle();
    g_assert_cmpuint(e.count, ==, 1);
    cpu_hotplug_gone(t.set, 4);
    g_assert_cmphex(flags_of(&t, 4), ==, 0);
    board_test_clear(&t);
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
    g_test_add_func("/cpu-hotplug-regs/ost", test_ost);
    g_test_add_func("/cpu-hotplug-regs/reset", test_reset);
    g_test_add_func("/cpu-hotplug-regs/save-load", test_save_load);
    g_test_add_func("/cpu-hotplug-regs/row", test_row);
    return g_test_run();
}

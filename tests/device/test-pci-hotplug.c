/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* PCI functions come and go under a running guest by the ACPI PCI hotplug registers, driven as our AML drives them. */
#include "../../devices/acpi/pci-hotplug.h"
#include "../../devices/acpi/view.h"
#include "../../devices/core/unplug.h"
#include "../../devices/pci/hotplug.h"
#include "pci-test.h"

#define BASE 0xcc0
#define UP (BASE + 0)
#define DOWN (BASE + 4)
#define EJECT (BASE + 8)
#define REMOVABLE (BASE + 0xc)
#define SELECTOR (BASE + 0x10)
#define INDEX (BASE + 0x14)
#define EVENT (1u << PCI_HOTPLUG_GPE)

/* Ports: "rp" at 02.0, "rp1" at 02.1, "native" at 04.0, "off" at 06.0; a device in slot 1 and one behind "rp". */
enum { RP = 32 + 0x10, RP1 = 32 + 0x11, NATIVE = 32 + 0x20, NO_HOTPLUG = 32 + 0x30 };

static void start(BoardTest *t)
{
    board_test_init(t, BOARD_DEFAULT);
    pci_plug(t, "pcie-root-port", "{\"id\": \"rp\", \"addr\": \"2.0\", \"multifunction\": true, \"slot\": 7}");
    pci_plug(t, "pcie-root-port", "{\"id\": \"rp1\", \"addr\": \"2.1\", \"multifunction\": true, \"chassis\": 1}");
    pci_plug(t, "pcie-root-port", "{\"id\": \"native\", \"addr\": \"4\", \"native-hotplug\": true}");
    pci_plug(t, "pcie-root-port", "{\"id\": \"off\", \"addr\": \"6\", \"hotplug\": false}");
    pci_plug(t, "pci-testdev", "{\"id\": \"cold\", \"addr\": \"1\"}");
    pci_plug(t, "pci-testdev", "{\"id\": \"behind\", \"bus\": \"rp\"}");
    board_test_power_on(t);
    device_set_started(t->set);
    pci_out(t, fn_at(0, 2, 0), PCI_PRIMARY, 0x010100, 4);
    pci_out(t, fn_at(0, 2, 1), PCI_PRIMARY, 0x020200, 4);
}

static Device *find(BoardTest *t, const char *id)
{
    return device_set_find(t->set, NS_DEVICE, id);
}

static guint32 reg(BoardTest *t, guint slot, guint16 port)
{
    outl(t, SELECTOR, slot / 32);
    return inl(t, port);
}

/* Takes the pending bits of the slot's group; whether the slot's is the only one. */
static gboolean taken(BoardTest *t, guint slot, guint16 port)
{
    guint32 bits = reg(t, slot, port);

    board_test_settle();
    g_assert_cmphex(bits & ~(1u << slot % 32), ==, 0);
    return bits != 0;
}

static void eject(BoardTest *t, guint slot)
{
    outl(t, SELECTOR, slot / 32);
    outl(t, EJECT, 1u << slot % 32);
    board_test_settle();
}

/* Whether there was an event since the last look. */
static gboolean event(BoardTest *t)
{
    guint32 sts = inl(t, 0x620);

    outl(t, 0x620, sts);
    return sts & EVENT;
}

static gboolean ask(BoardTest *t, const char *id, guint timeout_ms, gboolean force)
{
    return device_unplug(find(t, id), &(UnplugHow){ .force = force, .timeout_ms = timeout_ms }, NULL);
}

static void ask_fails(BoardTest *t, const char *id, const char *message)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(device_unplug(find(t, id), &(UnplugHow){ 0 }, &error));
    g_assert_cmpstr(error->message, ==, message);
}

static gboolean phase_is(BoardTest *t, const char *id, UnplugPhase want)
{
    UnplugPhase phase;
    gint64 left;

    return device_unplug_info(find(t, id), &phase, &left) && phase == want;
}

/* ---- registers ---- */

static void test_registers(void)
{
    BoardTest t;
    static const guint32 bad[] = { PCI_HOTPLUG_GROUPS, 0x80000000, 0xffffffff };

    start(&t);
    /* Neither what the board has (0, 31) nor slots of ports; behind ports those that ACPI controls. */
    g_assert_cmphex(reg(&t, 0, REMOVABLE), ==, 0x7fffffff & ~(1u << 0 | 1u << 2 | 1u << 4 | 1u << 6));
    g_assert_cmphex(reg(&t, RP, REMOVABLE), ==, 3u << RP % 32);
    g_assert_cmphex(reg(&t, NATIVE, REMOVABLE), ==, 0);
    for (guint g = 0; g < PCI_HOTPLUG_GROUPS; g++) {
        outl(&t, SELECTOR, g);
        g_assert_cmphex(inl(&t, SELECTOR), ==, g);
        g_assert_cmphex(inl(&t, UP) | inl(&t, DOWN) | inl(&t, EJECT) | inl(&t, INDEX), ==, 0);
    }
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        outl(&t, SELECTOR, bad[i]);
        outl(&t, EJECT, 0xffffffff);
        g_assert_cmphex(inl(&t, SELECTOR), ==, bad[i]);
        g_assert_cmphex(inl(&t, UP) | inl(&t, DOWN) | inl(&t, EJECT) | inl(&t, REMOVABLE), ==, 0);
    }
    outl(&t, SELECTOR, 0);
    outb(&t, EJECT, 2); /* registers are dwords */
    outw(&t, EJECT, 2);
    outl(&t, UP, 2);
    outl(&t, REMOVABLE, 2);
    board_test_settle();
    board_test_ends(&t, "");
    g_assert_false(event(&t)); /* what was plugged cold is no event */
    board_test_clear(&t);
}

/* ---- acpi-index ---- */

static guint32 index_of(BoardTest *t, guint slot)
{
    outl(t, SELECTOR, slot / 32);
    outl(t, INDEX, slot % 32);
    return inl(t, INDEX);
}

static void test_index(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    pci_plug(&t, "pcie-root-port", "{\"id\": \"rp\", \"addr\": \"2.0\"}");
    pci_plug(&t, "pci-testdev", "{\"id\": \"cold\", \"addr\": \"1\", \"acpi-index\": 7}");
    pci_plug(&t, "pci-testdev", "{\"id\": \"nameless\", \"addr\": \"3\"}");
    board_test_power_on(&t);
    device_set_started(t.set);
    g_assert_cmpuint(index_of(&t, 1), ==, 7);
    g_assert_cmpuint(index_of(&t, 3), ==, 0);
    g_assert_cmpuint(index_of(&t, RP), ==, 0);
    pci_plug(&t, "pci-testdev", "{\"id\": \"hot\", \"bus\": \"rp\", \"acpi-index\": 16383}");
    g_assert_cmpuint(index_of(&t, RP), ==, 16383);
    outl(&t, INDEX, 32); /* there is no such slot in the group, nor such a group */
    g_assert_cmpuint(inl(&t, INDEX), ==, 0);
    outl(&t, SELECTOR, 0x10000000);
    outl(&t, INDEX, 1);
    g_assert_cmpuint(inl(&t, INDEX), ==, 0);
    outl(&t, SELECTOR, 0);
    outl(&t, EJECT, 2);
    g_assert_cmpuint(index_of(&t, 1), ==, 0); /* the slot is empty at once */
    board_test_settle();
    pci_plug(&t, "pci-testdev", "{\"id\": \"next\", \"addr\": \"1\"}");
    g_assert_cmpuint(index_of(&t, 1), ==, 0);
    g_assert_true(ask(&t, "next", 0, TRUE));
    pci_plug(&t, "pci-testdev", "{\"id\": \"again\", \"addr\": \"1\", \"acpi-index\": 7}");
    g_assert_cmpuint(index_of(&t, 1), ==, 7);
    board_test_clear(&t);
}

static void test_index_refused(void)
{
    BoardTest t;

    start(&t);
    pci_plug(&t, "pci-testdev", "{\"id\": \"first\", \"addr\": \"3\", \"acpi-index\": 9}");
    pci_plug_fails(&t, "pci-testdev", "{\"id\": \"d\", \"addr\": \"5\", \"acpi-index\": 9}",
                   "Property 'acpi-index' of device 'd': 9 is that of device 'first'");
    pci_plug_fails(&t, "pci-testdev", "{\"id\": \"d\", \"addr\": \"5.1\", \"acpi-index\": 1}",
                   "Property 'acpi-index' of device 'd': only function 0 of a slot that ACPI controls has a name, and pci-testdev 05.1 of "
                   "bus 'pcie.0' is none");
    pci_plug_fails(&t, "pci-testdev", "{\"id\": \"d\", \"bus\": \"native\", \"acpi-index\": 1}",
                   "Property 'acpi-index' of device 'd': only function 0 of a slot that ACPI controls has a name, and pci-testdev 00.0 of "
                   "bus 'native' is none");
    board_test_clear(&t);
    board_test_init(&t, BOARD_DEFAULT);
    pci_plug_fails(&t, "pcie-root-port", "{\"id\": \"p\", \"addr\": \"5\", \"acpi-index\": 1}",
                   "Property 'acpi-index' of device 'p': only function 0 of a slot that ACPI controls has a name, and pcie-root-port 05.0 of "
                   "bus 'pcie.0' is none");
    board_test_clear(&t);
}

/* The tables have an object for each removable slot and no other. */
static void test_tables_agree(void)
{
    BoardTest t;

    start(&t);
    g_autoptr(AcpiView) v = acpi_view_new(t.set);
    for (guint n = 0, i = 0; n < PCI_HOTPLUG_SLOTS; n++) {
        const AcpiPciSlot *s = i < v->pci_slots->len ? &g_array_index(v->pci_slots, AcpiPciSlot, i) : NULL;
        gboolean listed = s && s->number == n;

        g_assert_true(listed == !!(reg(&t, n, REMOVABLE) >> n % 32 & 1));
        i += listed;
        if (listed && n < 32)
            g_assert_cmpuint(s->sun, ==, n);
        if (n == RP)
            g_assert_cmpuint(s->sun, ==, 32 + 7);
        if (n == RP1)
            g_assert_cmpuint(s->sun, ==, 32 + 8192);
    }
    board_test_clear(&t);
}

static void test_row(void)
{
    BoardTest t;

    board_test_init(&t, "{\"driver\": \"board\", \"pci-hotplug-base\": 44800}");
    outl(&t, 0xaf10, 1);
    g_assert_cmphex(inl(&t, 0xaf10), ==, 1);
    g_assert_cmphex(inl(&t, SELECTOR), ==, 0xffffffff);
    board_test_clear(&t);
}

/* ---- plugging ---- */

static void check_arrival(BoardTest *t, guint slot, guint64 fn, const char *json)
{
    g_assert_cmphex(pci_in(t, fn, 0, 4), ==, NOTHING);
    pci_plug(t, "pci-testdev", json);
    g_assert_true(event(t));
    g_assert_cmphex(pci_in(t, fn, 0, 4), ==, 0x56781234);
    g_assert_true(taken(t, slot, UP));
    g_assert_false(taken(t, slot, UP)); /* told once */
    g_assert_false(taken(t, slot, DOWN));
    g_assert_false(event(t));
}

static void test_plug(void)
{
    BoardTest t;

    start(&t);
    outl(&t, 0x628, EVENT);
    g_assert_false(irq_pin_level(t.vm, 9));
    check_arrival(&t, 3, fn_at(0, 3, 0), "{}"); /* the lowest that is free */
    check_arrival(&t, 30, fn_at(0, 30, 0), "{\"addr\": \"1e\"}");
    check_arrival(&t, RP1, fn_at(2, 0, 0), "{\"bus\": \"rp1\"}");
    pci_plug(&t, "pci-testdev", "{\"bus\": \"native\"}"); /* by its own interrupt */
    g_assert_false(event(&t));
    pci_plug_fails(&t, "pci-testdev", "{\"id\": \"x\", \"bus\": \"off\"}",
                   "Property 'bus' of device 'x': bus 'off' does not support hotplugging");
    pci_plug(&t, "pci-testdev", "{\"addr\": \"5\"}");
    g_assert_true(irq_pin_level(t.vm, 9));
    board_test_clear(&t);
}

/* Several at once: one notification, when all are there. */
static void test_together(void)
{
    BoardTest t;

    start(&t);
    device_plug_begin(t.set);
    pci_plug(&t, "pci-testdev", "{\"addr\": \"8\"}");
    pci_plug(&t, "pci-testdev", "{\"addr\": \"9\"}");
    pci_plug(&t, "pci-testdev", "{\"bus\": \"rp1\"}");
    g_assert_false(event(&t));
    device_plug_end(t.set);
    g_assert_true(event(&t));
    g_assert_cmphex(reg(&t, 0, UP), ==, 3 << 8);
    g_assert_true(taken(&t, RP1, UP));
    pci_plug(&t, "pci-testdev", "{\"addr\": \"a\"}");
    g_assert_true(event(&t));
    board_test_clear(&t);
}

/* Functions 1 to 7 wait for function 0, and go unnoticed before it. */
static void test_multifunction(void)
{
    BoardTest t;

    start(&t);
    pci_plug(&t, "pci-testdev", "{\"id\": \"f1\", \"addr\": \"8.1\"}");
    pci_plug(&t, "pci-testdev", "{\"id\": \"f7\", \"addr\": \"8.7\"}");
    pci_plug(&t, "pci-testdev", "{\"id\": \"f2\", \"addr\": \"8.2\"}");
    g_assert_cmphex(pci_in(&t, fn_at(0, 8, 1), 0, 4), ==, NOTHING);
    g_assert_true(ask(&t, "f2", 0, FALSE));
    board_test_ends(&t, " f2 gone");
    g_assert_false(event(&t));
    g_assert_false(taken(&t, 8, UP) || taken(&t, 8, DOWN));
    pci_plug(&t, "pci-testdev", "{\"id\": \"f0\", \"addr\": \"8.0\", \"multifunction\": true}");
    g_assert_true(event(&t));
    g_assert_true(taken(&t, 8, UP));
    for (guint f = 0; f < 8; f++)
        g_assert_cmphex(pci_in(&t, fn_at(0, 8, f), 0, 4), ==, f == 0 || f == 1 || f == 7 ? 0x56781234 : NOTHING);
    pci_plug_fails(&t, "pci-testdev", "{\"id\": \"late\", \"addr\": \"8.3\"}",
                   "Property 'addr' of device 'late': function 0 of slot 8 of bus 'pcie.0' is device 'f0', and the guest looks "
                   "for no other function any more");
    /* To ask for one is to ask for the slot; each has an end of its own. */
    ask(&t, "f1", 0, FALSE);
    g_assert_true(event(&t) && taken(&t, 8, DOWN));
    g_assert_true(phase_is(&t, "f1", UNPLUG_NOTIFIED));
    eject(&t, 8);
    board_test_ends(&t, " f7 gone f1 gone f0 gone");
    board_test_clear(&t);
}

/* ---- unplugging ---- */

/* Asked, noticed, ejected, and plugged anew, ID and address free when it is gone and not before; some rounds. */
static void check_rounds(BoardTest *t, guint slot, guint64 fn, const char *id, const char *json)
{
    g_autofree char *gone = g_strdup_printf(" %s gone", id), *taken_id = g_strdup_printf("Duplicate device ID '%s'", id);

    for (guint turn = 0; turn < 3; turn++) {
        ask(t, id, 0, FALSE);
        g_assert_true(event(t));
        g_assert_true(phase_is(t, id, UNPLUG_REQUESTED));
        g_assert_true(taken(t, slot, DOWN));
        g_assert_false(taken(t, slot, DOWN)); /* told once */
        g_assert_true(phase_is(t, id, UNPLUG_NOTIFIED));
        pci_plug_fails(t, "pci-testdev", json, taken_id);
        vm_run(t->vm);
        outl(t, SELECTOR, slot / 32);
        outl(t, EJECT, 1u << slot % 32);
        g_assert_cmpint(t->vm->hold, !=, 0); /* the guest goes on when it is gone */
        board_test_settle();
        board_test_ends(t, gone);
        g_assert_cmphex(pci_in(t, fn, 0, 4), ==, NOTHING);
        eject(t, slot); /* an empty slot */
        board_test_ends(t, "");
        g_assert_false(event(t));
        check_arrival(t, slot, fn, json);
    }
}

static void test_willing(void)
{
    BoardTest t;

    start(&t);
    check_rounds(&t, 1, fn_at(0, 1, 0), "cold", "{\"id\": \"cold\", \"addr\": \"1\"}");
    check_rounds(&t, RP, fn_at(1, 0, 0), "behind", "{\"id\": \"behind\", \"bus\": \"rp\"}");
    ask(&t, "behind", 0, FALSE);
    pci_plug_fails(&t, "pci-testdev", "{\"id\": \"x\", \"bus\": \"rp\"}", "Device 'x': bus 'rp' has no free slot");
    board_test_clear(&t);
}

/* Whatever the guest lets go of is gone; what can not be let go of stays. */
static void test_unasked(void)
{
    BoardTest t;

    start(&t);
    eject(&t, 1);
    board_test_ends(&t, " cold gone");
    eject(&t, RP);
    board_test_ends(&t, " behind gone");
    for (guint g = 0; g < PCI_HOTPLUG_GROUPS; g++) {
        outl(&t, SELECTOR, g);
        outl(&t, EJECT, 0xffffffff);
    }
    board_test_settle();
    board_test_ends(&t, "");
    g_assert_nonnull(find(&t, "rp"));
    g_assert_cmphex(pci_in(&t, fn_at(0, 31, 0), 0, 4), ==, 0x29188086);
    board_test_clear(&t);
}

static void test_silent(void)
{
    BoardTest t;

    start(&t);
    ask(&t, "cold", 50, FALSE);
    ask(&t, "cold", 100, FALSE); /* the same request, counted from now */
    step(&t, 99 * NS_PER_MS);
    board_test_ends(&t, "");
    step(&t, NS_PER_MS);
    board_test_ends(&t, " cold stays: the guest did not let go of it within 100 ms");
    g_assert_cmphex(pci_in(&t, fn_at(0, 1, 0), 0, 4), ==, 0x56781234);
    eject(&t, 1); /* late */
    board_test_ends(&t, " cold gone");
    board_test_clear(&t);
}

/* By force: at once; the guest is told to drop what it believes to be there, and its ejection does not hit the one that came since. */
static void test_force(void)
{
    BoardTest t;

    start(&t);
    ask(&t, "cold", 0, TRUE);
    board_test_ends(&t, " cold gone");
    g_assert_cmphex(pci_in(&t, fn_at(0, 1, 0), 0, 4), ==, NOTHING);
    g_assert_true(event(&t));
    pci_plug(&t, "pci-testdev", "{\"id\": \"new\", \"addr\": \"1\"}");
    g_assert_true(taken(&t, 1, UP));
    g_assert_true(taken(&t, 1, DOWN));
    event(&t);
    eject(&t, 1); /* the former one */
    board_test_ends(&t, "");
    g_assert_true(event(&t)); /* and sees the new one now */
    g_assert_true(taken(&t, 1, UP));
    eject(&t, 1);
    board_test_ends(&t, " new gone");
    /* The guest drops it before another comes: the ejection of that counts. */
    pci_plug(&t, "pci-testdev", "{\"id\": \"a\", \"addr\": \"1\"}");
    g_assert_true(taken(&t, 1, UP));
    ask(&t, "a", 0, TRUE);
    g_assert_true(taken(&t, 1, DOWN));
    eject(&t, 1);
    pci_plug(&t, "pci-testdev", "{\"id\": \"b\", \"addr\": \"1\"}");
    eject(&t, 1);
    board_test_ends(&t, " a gone b gone");
    /* Twice, and another: two ejections to come, before and after it. */
    for (guint i = 0; i < 2; i++) {
        pci_plug(&t, "pci-testdev", "{\"id\": \"c\", \"addr\": \"1\"}");
        ask(&t, "c", 0, TRUE);
        g_assert_true(taken(&t, 1, DOWN));
    }
    g_assert_false(taken(&t, 1, UP)); /* it is gone */
    pci_plug(&t, "pci-testdev", "{\"id\": \"d\", \"addr\": \"1\"}");
    eject(&t, 1);
    eject(&t, 1);
    board_test_ends(&t, " c gone c gone");
    g_assert_true(taken(&t, 1, UP));
    /* By itself, before it has looked. */
    ask(&t, "d", 0, TRUE);
    pci_plug(&t, "pci-testdev", "{\"id\": \"e\", \"addr\": \"1\"}");
    eject(&t, 1);
    board_test_ends(&t, " d gone");
    g_assert_false(taken(&t, 1, DOWN));
    eject(&t, 1);
    board_test_ends(&t, " e gone");
    board_test_clear(&t);
}

/* Reminded, a guest may eject twice; the second does not hit the newcomer. */
static void test_reminded(void)
{
    BoardTest t;

    start(&t);
    for (guint i = 0; i < 2; i++) {
        ask(&t, "cold", 0, FALSE);
        g_assert_true(event(&t) && taken(&t, 1, DOWN));
    }
    eject(&t, 1);
    board_test_ends(&t, " cold gone");
    pci_plug(&t, "pci-testdev", "{\"id\": \"new\", \"addr\": \"1\"}");
    g_assert_true(event(&t) && taken(&t, 1, UP));
    eject(&t, 1);
    board_test_ends(&t, "");
    g_assert_true(event(&t) && taken(&t, 1, UP));
    /* It is asked for: now the ejection is meant for it. */
    ask(&t, "new", 0, FALSE);
    g_assert_true(taken(&t, 1, DOWN));
    eject(&t, 1);
    board_test_ends(&t, " new gone");
    board_test_clear(&t);
}

/* Slots that nobody could ask for. */
static void test_impossible(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    pci_plug(&t, "pcie-root-port", "{\"id\": \"off\", \"addr\": \"6\", \"hotplug\": false}");
    pci_plug(&t, "pci-testdev", "{\"id\": \"fixed\", \"bus\": \"off\"}");
    pci_plug(&t, "pci-testbridge", "{\"id\": \"bridge\", \"addr\": \"7\"}");
    pci_plug(&t, "pci-testdev", "{\"id\": \"deep\", \"bus\": \"bridge\", \"addr\": \"3\"}");
    pci_plug(&t, "pcie-root-port", "{\"id\": \"rp\", \"addr\": \"8\", \"multifunction\": true}");
    pci_plug(&t, "pci-testdev", "{\"id\": \"neighbour\", \"addr\": \"8.1\"}");
    board_test_power_on(&t);
    device_set_started(t.set);
    ask_fails(&t, "fixed", "Device 'fixed': slot 0 of bus 'off' does not support hot unplug");
    ask_fails(&t, "deep", "Device 'deep': slot 3 of bus 'bridge' does not support hot unplug");
    ask_fails(&t, "neighbour", "Device 'neighbour': slot 8 of bus 'pcie.0' does not support hot unplug");
    g_assert_false(ask(&t, "fixed", 0, TRUE)); /* by force neither: nothing could follow it */
    g_assert_true(ask(&t, "neighbour", 0, TRUE)); /* a surprise needs no slot */
    board_test_ends(&t, " neighbour gone");
    board_test_clear(&t);
}

/* A guest that is reset answers no more; what was plugged meanwhile is there from the start. */
static void test_reset(void)
{
    BoardTest t;

    start(&t);
    pci_plug(&t, "pci-testdev", "{\"id\": \"new\", \"addr\": \"8\"}");
    ask(&t, "cold", 0, FALSE);
    ask(&t, "behind", 1000, FALSE);
    device_set_unplug_pending(t.set);
    board_test_ends(&t, " behind gone cold gone");
    board_test_power_on(&t);
    for (guint n = 0; n < PCI_HOTPLUG_SLOTS; n += 32)
        g_assert_cmphex(reg(&t, n, UP) | reg(&t, n, DOWN), ==, 0);
    g_assert_false(event(&t));
    g_assert_cmphex(pci_in(&t, fn_at(0, 8, 0), 0, 4), ==, 0x56781234);
    eject(&t, 8);
    board_test_ends(&t, " new gone");
    board_test_clear(&t);
}

/* Between a reset and power-on there is nobody to tell: what comes and goes then is no event. */
static void test_before_power_on(void)
{
    BoardTest t;

    start(&t);
    device_set_reset(t.set, RESET_WARM);
    g_assert_true(ask(&t, "cold", 0, TRUE));
    g_assert_true(ask(&t, "behind", 0, TRUE));
    pci_plug(&t, "pci-testdev", "{\"id\": \"new\", \"addr\": \"8\"}");
    board_test_ends(&t, " cold gone behind gone");
    g_assert_true(device_set_power_on(t.set, NULL));
    g_assert_false(event(&t));
    for (guint n = 0; n < PCI_HOTPLUG_SLOTS; n += 32)
        g_assert_cmphex(reg(&t, n, UP) | reg(&t, n, DOWN), ==, 0);
    board_test_clear(&t);
}

static void test_save_load(void)
{
    BoardTest a, b;

    start(&a);
    start(&b);
    for (guint i = 0; i < 2; i++) {
        BoardTest *t = i ? &b : &a;
        pci_plug(t, "pci-testdev", "{\"id\": \"new\", \"addr\": \"8\"}");
        reg(t, 8, UP);
        board_test_settle();
    }
    ask(&a, "cold", 0, FALSE);
    ask(&a, "new", 0, FALSE);
    g_assert_cmphex(reg(&a, 0, DOWN), ==, 1 << 1 | 1 << 8);
    ask(&a, "new", 0, FALSE);
    reg(&a, 0, DOWN);
    ask(&a, "behind", 0, FALSE);
    pci_plug(&a, "pci-testdev", "{\"id\": \"x\", \"addr\": \"9\"}");
    pci_plug(&b, "pci-testdev", "{\"id\": \"x\", \"addr\": \"9\"}");
    reg(&b, 0, UP);
    board_test_move(&a, &b, "acpi-pci-hotplug");
    g_assert_cmphex(inl(&b, SELECTOR), ==, inl(&a, SELECTOR));
    g_assert_true(taken(&b, 9, UP));
    g_assert_true(taken(&b, RP, DOWN));
    eject(&b, 8); /* it was reminded of that one: there is one more to come */
    board_test_ends(&b, " new gone");
    pci_plug(&b, "pci-testdev", "{\"id\": \"new\", \"addr\": \"8\"}");
    eject(&b, 8);
    board_test_ends(&b, "");
    board_test_clear(&a);
    board_test_clear(&b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pci-hotplug/registers", test_registers);
    g_test_add_func("/pci-hotplug/index", test_index);
    g_test_add_func("/pci-hotplug/index-refused", test_index_refused);
    g_test_add_func("/pci-hotplug/tables-agree", test_tables_agree);
    g_test_add_func("/pci-hotplug/row", test_row);
    g_test_add_func("/pci-hotplug/plug", test_plug);
    g_test_add_func("/pci-hotplug/together", test_together);
    g_test_add_func("/pci-hotplug/multifunction", test_multifunction);
    g_test_add_func("/pci-hotplug/willing", test_willing);
    g_test_add_func("/pci-hotplug/unasked", test_unasked);
    g_test_add_func("/pci-hotplug/silent", test_silent);
    g_test_add_func("/pci-hotplug/force", test_force);
    g_test_add_func("/pci-hotplug/reminded", test_reminded);
    g_test_add_func("/pci-hotplug/impossible", test_impossible);
    g_test_add_func("/pci-hotplug/reset", test_reset);
    g_test_add_func("/pci-hotplug/before-power-on", test_before_power_on);
    g_test_add_func("/pci-hotplug/save-load", test_save_load);
    return g_test_run();
}

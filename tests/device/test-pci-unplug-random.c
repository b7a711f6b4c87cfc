/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Disks and sources of random numbers plugged and asked back at random, on pcie.0 and behind root ports, by ACPI and natively, with a
 * guest that is slow, silent, or ejects what nobody asked for: each request ends once, ids and slots are free exactly then, in the
 * end nothing is left, and whenever the guest has caught up, it believes what is. TEST_SEED repeats a walk.
 */
#include "board-test.h"

#include "../../devices/acpi/pci-hotplug.h"
#include "../../devices/core/set.h"
#include "../../devices/core/unplug.h"

#define STEPS 20000
#define BASE 0xcc0
#define ECAM G_GUINT64_CONSTANT(0xb0000000)
#define NUMBER_NATIVE 0xffff

/* NUMBER: ACPI's; PORT: devfn of the root port, 0: none. */
static const struct {
    const char *bus, *addr;
    guint       number, port;
} places[] = {
    { "pcie.0", "8", 8, 0 },          { "pcie.0", "9", 9, 0 },          { "pcie.0", "1e", 30, 0 },
    { "a0", "0", 32 + 0x10, 0x10 },   { "a1", "0", 32 + 0x11, 0x11 },   { "n0", "0", NUMBER_NATIVE, 0x20 },
    { "n1", "0", NUMBER_NATIVE, 0x28 },
};

#define PLACES G_N_ELEMENTS(places)

typedef struct {
    guint    place;
    gboolean eject; /* else: look */
} Notice;

typedef struct {
    BoardTest t;
    GRand    *rand;
    gboolean  there[PLACES], asked[PLACES];
    guint     believed[PLACES]; /* seq + 1 of the device that the guest has found; 0: none */
    GQueue    notices;          /* taken by the guest, in order */
    guint     gone, stayed;
} Walk;

static Device *thing(Walk *w, guint i)
{
    g_autofree char *id = g_strdup_printf("d%u", i);

    return device_set_find(w->t.set, NS_DEVICE, id);
}

/* ---- the manager ---- */

static void plug(Walk *w, guint i)
{
    g_autofree char *drive = g_strdup_printf(", \"drive\": \"node%u\"", i);
    gboolean disk = i % 2 == 0;
    g_autofree char *json = g_strdup_printf("{\"driver\": \"virtio-%s-pci\", \"id\": \"d%u\", \"bus\": \"%s\", \"addr\": \"%s\"%s}",
                                            disk ? "blk" : "rng", i, places[i].bus, places[i].addr, disk ? drive : "");

    if (thing(w, i)) {
        g_autoptr(GError) error = NULL;
        g_assert_null(board_test_plug(&w->t, json, &error)); /* the id is taken until it is gone */
    } else {
        g_assert_nonnull(board_test_plug(&w->t, json, NULL));
    }
}

static void ask(Walk *w, guint i, gboolean force)
{
    UnplugHow how = { .force = force, .timeout_ms = g_rand_boolean(w->rand) ? 20 : 0 };
    g_autoptr(GError) error = NULL;

    if (!thing(w, i))
        return;
    device_unplug(thing(w, i), &how, &error);
    g_assert_no_error(error);
}

/* ---- a guest with ACPI ---- */

static void note(Walk *w, guint group, guint32 bits, gboolean eject)
{
    for (guint i = 0; i < PLACES; i++) {
        if (places[i].number / 32 == group && (bits >> places[i].number % 32 & 1))
            g_queue_push_tail(&w->notices, g_memdup2(&(Notice){ i, eject }, sizeof(Notice)));
    }
}

/* The handler of the event. FALSE: there was none. */
static gboolean take_event(Walk *w)
{
    if (!(inl(&w->t, 0x620) & 1 << PCI_HOTPLUG_GPE))
        return FALSE;
    outl(&w->t, 0x620, 1 << PCI_HOTPLUG_GPE);
    for (guint g = 0; g < 3; g++) {
        outl(&w->t, BASE + 0x10, g);
        note(w, g, inl(&w->t, BASE), FALSE);
        note(w, g, inl(&w->t, BASE + 4), TRUE);
    }
    return TRUE;
}

static guint64 function_at(guint i)
{
    guint bus = places[i].port ? (places[i].port & 0xf) + (places[i].port >> 4 << 1) : 0;

    return ECAM + (bus << 20) + (places[i].port ? 0 : places[i].number << 15);
}

static guint64 port_at(guint i)
{
    return ECAM + ((guint64)places[i].port << 12);
}

/* What it has found it does not look for again. */
static void look(Walk *w, guint i)
{
    if (!w->believed[i] && mem_in(&w->t, function_at(i), 4) != 0xffffffff)
        w->believed[i] = thing(w, i)->seq + 1;
}

static void eject(Walk *w, guint i)
{
    w->believed[i] = 0;
    outl(&w->t, BASE + 0x10, places[i].number / 32);
    outl(&w->t, BASE + 8, 1u << places[i].number % 32);
    board_test_settle();
}

static gboolean work(Walk *w)
{
    g_autofree Notice *n = g_queue_pop_head(&w->notices);

    if (n && n->eject)
        eject(w, n->place);
    else if (n)
        look(w, n->place);
    return n != NULL;
}

/* ---- its native slots: any command, whether it makes sense or not ---- */

static void command_slot(Walk *w, guint i)
{
    static const guint16 commands[] = { 0x1c0, 0x1c0, 0x2c0, 0x6c0, 0x7c0, 0x7c0, 0x5c0, 0x3c0 };
    guint at = 0x60; /* the PCI Express capability */

    if (g_rand_boolean(w->rand))
        mem_out(&w->t, port_at(i) + at + 0x1a, 0x11f, 2);
    else
        mem_out(&w->t, port_at(i) + at + 0x18, commands[g_rand_int_range(w->rand, 0, G_N_ELEMENTS(commands))], 2);
}

static void guest_acts(Walk *w, guint i)
{
    gint choice = g_rand_int_range(w->rand, 0, 20);

    if (places[i].number == NUMBER_NATIVE)
        command_slot(w, i);
    else if (choice == 0)
        eject(w, i); /* of its own accord */
    else if (choice < 8)
        take_event(w);
    else
        work(w);
}

/* It has done all that it was told, and believes what is. */
static void catch_up(Walk *w)
{
    do {
        while (take_event(w) || work(w))
            board_test_settle();
        board_test_settle();
    } while (inl(&w->t, 0x620) & 1 << PCI_HOTPLUG_GPE);
    for (guint i = 0; i < PLACES; i++) {
        if (places[i].number != NUMBER_NATIVE)
            g_assert_cmpuint(w->believed[i], ==, thing(w, i) ? thing(w, i)->seq + 1 : 0);
    }
}

/* ---- the walk ---- */

static void number_ports(Walk *w)
{
    for (guint i = 0; i < PLACES; i++) {
        guint bus = (guint)(function_at(i) - ECAM) >> 20;
        if (places[i].port)
            mem_out(&w->t, port_at(i) + PCI_PRIMARY, bus << 8 | bus << 16, 4);
    }
    board_test_settle();
}

/* It starts with what is there. */
static void restart(Walk *w)
{
    device_set_unplug_pending(w->t.set);
    board_test_power_on(&w->t);
    number_ports(w);
    g_queue_clear_full(&w->notices, g_free);
    for (guint i = 0; i < PLACES; i++) {
        w->believed[i] = 0;
        look(w, i);
    }
}

static void step_at_random(Walk *w)
{
    guint i = (guint)g_rand_int_range(w->rand, 0, PLACES);
    gint choice = g_rand_int_range(w->rand, 0, 200);

    if (choice < 50)
        plug(w, i);
    else if (choice < 100)
        ask(w, i, choice < 60);
    else if (choice < 180)
        guest_acts(w, i);
    else if (choice < 195)
        step(&w->t, 5 * NS_PER_MS);
    else if (choice < 199)
        catch_up(w);
    else
        restart(w);
    board_test_settle();
}

/* How often the end HOW of thing I was told. */
static guint told(Walk *w, guint i, const char *how)
{
    g_autofree char *word = g_strdup_printf(" d%u %s", i, how);
    guint n = 0;

    for (const char *at = strstr(w->t.ends->str, word); at; at = strstr(at + 1, word))
        n++;
    return n;
}

static void check(Walk *w)
{
    for (guint i = 0; i < PLACES; i++) {
        UnplugPhase phase;
        gint64 left;
        gboolean there = thing(w, i) != NULL, asked = there && device_unplug_info(thing(w, i), &phase, &left);
        guint gone = told(w, i, "gone"), stays = told(w, i, "stays:");

        g_assert_cmpuint(gone + stays, <=, 1);
        g_assert_true((gone > 0) == (w->there[i] && !there));
        if (stays && !gone)
            g_assert_true(w->asked[i] && there && !asked);
        if (w->asked[i])
            g_assert_true(asked == (!gone && !stays));
        w->there[i] = there;
        w->asked[i] = asked;
        w->gone += gone;
        w->stayed += stays;
    }
    g_string_truncate(w->t.ends, 0);
}

static void begin(Walk *w)
{
    board_test_init_empty(&w->t);
    g_assert_nonnull(board_test_plug(&w->t, BOARD_DEFAULT, NULL));
    for (guint i = 0; i < PLACES; i++) {
        g_autofree char *node = g_strdup_printf("{\"qom-type\": \"blockdev-null-co\", \"id\": \"node%u\", \"size\": 1048576}", i);
        g_autofree char *port = g_strdup_printf("{\"driver\": \"pcie-root-port\", \"id\": \"%s\", \"addr\": \"%x.%x\", \"multifunction\": true,"
                                                "\"native-hotplug\": %s}", places[i].bus, places[i].port >> 3, places[i].port & 7,
                                                places[i].number == NUMBER_NATIVE ? "true" : "false");
        board_test_object(&w->t, node);
        if (places[i].port)
            g_assert_nonnull(board_test_plug(&w->t, port, NULL));
    }
    board_test_power_on(&w->t);
    device_set_started(w->t.set);
    number_ports(w);
}

static void test_walk(void)
{
    const char *given = g_getenv("TEST_SEED");
    guint32 seed = given ? (guint32)g_ascii_strtoull(given, NULL, 0) : g_random_int();
    Walk w = { .rand = g_rand_new_with_seed(seed), .notices = G_QUEUE_INIT };

    g_test_message("TEST_SEED=%u", seed);
    begin(&w);
    guint claims = w.t.set->claims->len, links = w.t.set->links->len, devices = w.t.set->devices->len;
    for (guint n = 0; n < STEPS; n++) {
        step_at_random(&w);
        check(&w);
    }
    catch_up(&w);
    check(&w);
    g_test_message("%u gone, %u stayed", w.gone, w.stayed);
    g_assert_cmpuint(w.gone, >, STEPS / 20);
    g_assert_cmpuint(w.stayed, >, STEPS / 400);
    for (guint i = 0; i < PLACES; i++)
        ask(&w, i, TRUE);
    g_assert_cmpuint(w.t.set->claims->len, ==, claims);
    g_assert_cmpuint(w.t.set->links->len, ==, links);
    g_assert_cmpuint(w.t.set->devices->len, ==, devices);
    g_queue_clear_full(&w.notices, g_free);
    board_test_clear(&w.t);
    g_rand_free(w.rand);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pci-unplug/random-walk", test_walk);
    return g_test_run();
}

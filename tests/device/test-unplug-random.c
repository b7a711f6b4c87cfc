/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * CPUs and DIMMs plugged and asked back at random, with a guest that is willing, refuses, ejects what nobody asked for, or is silent: each
 * request ends once, ids and slots are free exactly then, and in the end nothing is left. TEST_SEED repeats a walk.
 */
#include "board-test.h"

#include "../../devices/core/set.h"
#include "../../devices/core/unplug.h"

#define SLOTS 6
#define THINGS (2 * SLOTS) /* CPUs, then DIMMs */
#define STEPS 20000
#define MIB (G_GUINT64_CONSTANT(1) << 20)

typedef struct {
    gboolean there, asked;
} Seen;

typedef struct {
    BoardTest t;
    GRand    *rand;
    Seen      before[THINGS];
    guint     gone, stayed;
} Walk;

static gboolean is_cpu(guint i)
{
    return i < SLOTS;
}

static char *id_of(guint i)
{
    return g_strdup_printf("%s%u", is_cpu(i) ? "cpu" : "dimm", i % SLOTS);
}

static Device *thing(Walk *w, guint i)
{
    g_autofree char *id = id_of(i);

    return device_set_find(w->t.set, NS_DEVICE, id);
}

static void plug(Walk *w, guint i)
{
    g_autofree char *json = is_cpu(i) ?
        g_strdup_printf("{\"driver\": \"qemu64-x86_64-cpu\", \"id\": \"cpu%u\", \"core-id\": %u}", i, i) :
        g_strdup_printf("{\"driver\": \"pc-dimm\", \"id\": \"dimm%u\", \"slot\": %u, \"memdev\": \"m%u\"}", i % SLOTS, i % SLOTS, i % SLOTS);

    if (thing(w, i)) {
        g_autoptr(GError) error = NULL;
        g_assert_null(board_test_plug(&w->t, json, &error)); /* the id is taken until it is gone */
    } else {
        g_assert_nonnull(board_test_plug(&w->t, json, NULL));
    }
}

/* May be refused: the last CPU, base RAM. */
static void ask(Walk *w, guint i)
{
    UnplugHow how = { .force = g_rand_int_range(w->rand, 0, 8) == 0, .timeout_ms = g_rand_boolean(w->rand) ? 20 : 0 };
    g_autoptr(GError) error = NULL;

    if (thing(w, i) && !device_unplug(thing(w, i), &how, &error))
        g_assert_nonnull(error);
}

/* The controller's flags of thing I, selected. */
static guint16 flags_port(Walk *w, guint i)
{
    outl(&w->t, is_cpu(i) ? 0xcd8 : 0xa00, i % SLOTS);
    return is_cpu(i) ? 0xcdc : 0xa14;
}

static void report(Walk *w, guint i, guint32 status)
{
    if (is_cpu(i)) {
        outb(&w->t, 0xcdd, 1);
        outl(&w->t, 0xce0, 3);
        outb(&w->t, 0xcdd, 2);
        outl(&w->t, 0xce0, status);
    } else {
        outl(&w->t, 0xa04, 3);
        outl(&w->t, 0xa08, status);
    }
}

static void guest_answers(Walk *w, guint i)
{
    guint16 port = flags_port(w, i);
    guint8 flags = inb(&w->t, port);

    if (flags & 2)
        outb(&w->t, port, 2);
    if (!(flags & 4))
        return;
    outb(&w->t, port, 4);
    switch (g_rand_int_range(w->rand, 0, 4)) {
    case 0:
        report(w, i, 0x84); /* later */
        break;
    case 1:
        report(w, i, 0x80 + (guint32)g_rand_int_range(w->rand, 0, 4));
        break;
    default:
        outb(&w->t, port, 8);
        report(w, i, 0);
        break;
    }
}

static void step_at_random(Walk *w)
{
    guint i = (guint)g_rand_int_range(w->rand, 0, THINGS);
    gint choice = g_rand_int_range(w->rand, 0, 100);

    if (choice < 35) {
        plug(w, i);
    } else if (choice < 65) {
        ask(w, i);
    } else if (choice < 90) {
        guest_answers(w, i);
    } else if (choice < 94) {
        outb(&w->t, flags_port(w, i), 8); /* of its own accord */
    } else if (choice < 99) {
        step(&w->t, 5 * NS_PER_MS);
    } else {
        device_set_unplug_pending(w->t.set);
        board_test_power_on(&w->t);
    }
    board_test_settle();
}

static Seen look(Walk *w, guint i)
{
    UnplugPhase phase;
    gint64 left;
    Device *dev = thing(w, i);

    return (Seen){ dev != NULL, dev && device_unplug_info(dev, &phase, &left) };
}

static gboolean told(Walk *w, guint i, const char *how)
{
    g_autofree char *id = id_of(i), *word = g_strdup_printf(" %s %s", id, how);
    const char *at = strstr(w->t.ends->str, word);

    g_assert_true(!at || !strstr(at + 1, word)); /* once at most */
    return at != NULL;
}

static void check(Walk *w)
{
    for (guint i = 0; i < THINGS; i++) {
        Seen was = w->before[i], now = look(w, i);
        gboolean gone = told(w, i, "gone"), stays = told(w, i, "stays:");

        g_assert_false(gone && stays);
        g_assert_true(gone == (was.there && !now.there));
        if (stays)
            g_assert_true(was.asked && now.there && !now.asked);
        if (was.asked)
            g_assert_true(now.asked == (!gone && !stays));
        w->before[i] = now;
        w->gone += gone;
        w->stayed += stays;
    }
    g_string_truncate(w->t.ends, 0);
    g_assert_cmpuint(cpu_plugged_count(w->t.set), >=, 1);
    g_assert_nonnull(thing(w, SLOTS)); /* base RAM */
}

/* CPU 0, and DIMM 0 as base RAM; memory objects for all. */
static void begin(Walk *w)
{
    g_autoptr(GError) error = NULL;

    board_test_init_empty(&w->t);
    board_test_plug(&w->t, "{\"driver\": \"board\", \"max-cpus\": 6, \"memory-slots\": 6, \"max-memory\": 8589934592}", &error);
    g_assert_no_error(error);
    for (guint i = 0; i < SLOTS; i++) {
        g_autofree char *json = g_strdup_printf("{\"qom-type\": \"memory-backend-ram\", \"id\": \"m%u\", \"size\": %" G_GUINT64_FORMAT "}", i, (i + 1) * MIB);
        board_test_object(&w->t, json);
    }
    plug(w, 0);
    plug(w, SLOTS);
    g_assert_true(mem_layout_base_ram(w->t.set, &error));
    board_test_power_on(&w->t);
    device_set_started(w->t.set);
}

static void test_walk(void)
{
    const char *given = g_getenv("TEST_SEED");
    guint32 seed = given ? (guint32)g_ascii_strtoull(given, NULL, 0) : g_random_int();
    Walk w = { .rand = g_rand_new_with_seed(seed) };

    g_test_message("TEST_SEED=%u", seed);
    begin(&w);
    plug(&w, 1);
    guint claims = w.t.set->claims->len, links = w.t.set->links->len, devices = w.t.set->devices->len;
    for (guint i = 0; i < THINGS; i++)
        w.before[i] = look(&w, i);
    for (guint n = 0; n < STEPS; n++) {
        step_at_random(&w);
        check(&w);
    }
    g_test_message("%u gone, %u stayed", w.gone, w.stayed);
    g_assert_cmpuint(w.gone, >, STEPS / 100);
    g_assert_cmpuint(w.stayed, >, STEPS / 1000);
    /* Two CPUs and base RAM again: nothing else is left of it all. A CPU that the guest was asked for does not count as one that is left. */
    device_set_unplug_pending(w.t.set);
    plug(&w, 0);
    plug(&w, 1);
    for (guint i = 2; i < THINGS; i++) {
        if (i != SLOTS && thing(&w, i))
            device_unplug(thing(&w, i), &(UnplugHow){ .force = TRUE }, NULL);
    }
    g_assert_cmpuint(w.t.set->claims->len, ==, claims);
    g_assert_cmpuint(w.t.set->links->len, ==, links);
    g_assert_cmpuint(w.t.set->devices->len, ==, devices);
    g_assert_cmphex(mem_plugged(w.t.set), ==, 0);
    board_test_clear(&w.t);
    g_rand_free(w.rand);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/unplug/random-walk", test_walk);
    return g_test_run();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory plugged into a machine that runs: where it goes, what the guest reads of it, and how it goes again. */
#include "board-test.h"

#include "../../devices/acpi/mem-hotplug.h"
#include "../../devices/core/record.h"
#include "../../devices/core/unplug.h"

#define MIB (G_GUINT64_CONSTANT(1) << 20)
#define GIB (G_GUINT64_CONSTANT(1) << 30)
#define REGS 0xa00
#define SELECTOR (REGS + 0x00)
#define OST_EVENT (REGS + 0x04)
#define OST_STATUS (REGS + 0x08)
#define FLAGS (REGS + 0x14)

static Device *try_dimm(BoardTest *t, const char *id, guint64 size, const char *extra, GError **error)
{
    g_autofree char *object = g_strdup_printf("{\"qom-type\": \"memory-backend-ram\", \"id\": \"of-%s\", \"size\": %" G_GUINT64_FORMAT "}", id, size);
    g_autofree char *dimm = g_strdup_printf("{\"driver\": \"pc-dimm\", \"id\": \"%s\", \"memdev\": \"of-%s\"%s}", id, id, extra);
    g_autofree char *name = g_strdup_printf("of-%s", id);

    if (!device_set_find(t->set, NS_OBJECT, name))
        board_test_object(t, object);
    return board_test_plug(t, dimm, error);
}

static Device *plug_dimm(BoardTest *t, const char *id, guint64 size, const char *extra)
{
    g_autoptr(GError) error = NULL;
    Device *dimm = try_dimm(t, id, size, extra, &error);

    g_assert_no_error(error);
    return dimm;
}

static void refuse_dimm(BoardTest *t, const char *id, guint64 size, const char *extra, const char *fragment)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(try_dimm(t, id, size, extra, &error));
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, fragment));
}

/* A machine that runs with 1 GiB of base RAM, in slot 0 of six, and at most 8 GiB. */
static void init(BoardTest *t)
{
    g_autoptr(GError) error = NULL;

    board_test_init_empty(t);
    board_test_plug(t, "{\"driver\": \"board\", \"max-memory\": 8589934592, \"memory-slots\": 6}", &error);
    g_assert_no_error(error);
    plug_dimm(t, "base", GIB, "");
    g_assert_true(mem_layout_base_ram(t->set, &error));
    board_test_power_on(t);
    device_set_started(t->set);
}

static guint8 flags_of(BoardTest *t, guint32 slot)
{
    outl(t, SELECTOR, slot);
    return inb(t, FLAGS);
}

static void range_is(BoardTest *t, guint32 slot, guint64 addr, guint64 size)
{
    outl(t, SELECTOR, slot);
    g_assert_cmphex(inl(t, REGS) | (guint64)inl(t, REGS + 4) << 32, ==, addr);
    g_assert_cmphex(inl(t, REGS + 8) | (guint64)inl(t, REGS + 12) << 32, ==, size);
    g_assert_cmphex(inl(t, REGS + 16), ==, 0);
}

static void ask(Device *dimm, gboolean force)
{
    g_autoptr(GError) error = NULL;

    device_unplug(dimm, &(UnplugHow){ .force = force }, &error);
    g_assert_no_error(error);
}

static void test_base_ram_is_not_there(void)
{
    BoardTest t;
    g_autoptr(GError) error = NULL;

    init(&t);
    for (guint i = 0; i < 8; i++) {
        g_assert_cmphex(flags_of(&t, i), ==, 0);
        range_is(&t, i, 0, 0);
    }
    g_assert_false(device_unplug(device_set_find(t.set, NS_DEVICE, "base"), &(UnplugHow){ .force = TRUE }, &error));
    g_assert_nonnull(strstr(error->message, "base RAM"));
    outl(&t, SELECTOR, 0);
    outb(&t, FLAGS, 8); /* nor does an eject change that */
    board_test_settle();
    board_test_ends(&t, "");
    board_test_clear(&t);
}

static void test_insert(void)
{
    BoardTest t;

    init(&t);
    Device *dimm = plug_dimm(&t, "d", 256 * MIB, "");
    g_assert_true(dimm_is_device_memory(dimm));
    g_assert_cmphex(dimm_address(dimm), ==, 4 * GIB);
    g_assert_true(vm_memory_ptr(t.vm, 4 * GIB, 256 * MIB) == memory_backend_hva(dimm_backend(dimm)));
    g_assert_cmphex(inl(&t, 0x620), ==, 1 << MEM_HOTPLUG_GPE);
    g_assert_cmphex(flags_of(&t, 1), ==, 3);
    range_is(&t, 1, 4 * GIB, 256 * MIB);
    outb(&t, FLAGS, 2);
    g_assert_cmphex(inb(&t, FLAGS), ==, 1);
    /* it is no base RAM */
    g_assert_cmphex(mem_total(t.set), ==, GIB);
    g_assert_cmphex(mem_plugged(t.set), ==, 256 * MIB);
    board_test_clear(&t);
}

/* Lowest free place, by the size's alignment; a hole is kept for whoever was there, and used again when that is forgotten. */
static void test_places(void)
{
    BoardTest t;

    init(&t);
    Device *a = plug_dimm(&t, "a", 256 * MIB, ""), *b = plug_dimm(&t, "b", 2 * GIB, ""), *c = plug_dimm(&t, "c", 128 * MIB, "");
    g_assert_cmphex(dimm_address(a), ==, 4 * GIB);
    g_assert_cmphex(dimm_address(b), ==, 5 * GIB);
    g_assert_cmphex(dimm_address(c), ==, 4 * GIB + 256 * MIB);
    ask(a, TRUE);
    Device *h = plug_dimm(&t, "h", 128 * MIB, "");
    g_assert_cmphex(dimm_address(h), ==, 4 * GIB + 384 * MIB);
    ask(h, TRUE);
    g_assert_true(device_set_forget(t.set, "a") && device_set_forget(t.set, "h"));
    g_assert_cmphex(dimm_address(plug_dimm(&t, "d", 128 * MIB, "")), ==, 4 * GIB);
    g_assert_cmphex(dimm_address(plug_dimm(&t, "e", 3 * MIB, ",\"addr\": 8589934592")), ==, 8 * GIB);
    plug_dimm(&t, "f", MIB, "");
    refuse_dimm(&t, "g", MIB, "", "all 6 memory slots");
    board_test_clear(&t);
}

static void test_refused_places(void)
{
    BoardTest t;

    init(&t);
    plug_dimm(&t, "a", GIB, "");
    refuse_dimm(&t, "b", GIB, ",\"addr\": 3221225472", "not within device memory, 0x100000000 to 0x2ffffffff");
    refuse_dimm(&t, "b", GIB, ",\"addr\": 12348030976", "not within device memory");
    refuse_dimm(&t, "b", GIB, ",\"addr\": 18446744073709547520", "not within device memory");
    refuse_dimm(&t, "b", GIB, ",\"addr\": 4831838208", "overlaps device 'a' at 0x100000000");
    refuse_dimm(&t, "b", GIB, ",\"addr\": 8589934593", "not a multiple of 4096");
    refuse_dimm(&t, "big", 7 * GIB, "", "max-memory is 8589934592");
    plug_dimm(&t, "c", GIB, ",\"addr\": 7516192768"); /* in the middle */
    refuse_dimm(&t, "whole", 5 * GIB, "", "no room for its 5368709120 bytes in one piece");
    g_assert_cmphex(mem_plugged(t.set), ==, 2 * GIB);
    board_test_clear(&t);
}

static void test_eject(void)
{
    BoardTest t;

    init(&t);
    for (guint turn = 0; turn < 3; turn++) {
        UnplugPhase phase;
        gint64 left;
        Device *dimm = plug_dimm(&t, "d", GIB, "");

        outl(&t, 0x620, 0xffffffff);
        ask(dimm, FALSE);
        g_assert_cmphex(inl(&t, 0x620), ==, 1 << MEM_HOTPLUG_GPE);
        g_assert_cmphex(flags_of(&t, 1), ==, 7);
        outb(&t, FLAGS, 6);
        board_test_settle();
        g_assert_true(device_unplug_info(dimm, &phase, &left) && phase == UNPLUG_NOTIFIED && left == -1);
        outb(&t, FLAGS, 8);
        g_assert_cmphex(inb(&t, FLAGS), ==, 0); /* at once, as the guest sees it */
        board_test_settle();
        board_test_ends(&t, " d gone");
        g_assert_null(vm_memory_ptr(t.vm, 4 * GIB, 1));
        range_is(&t, 1, 0, 0);
    }
    board_test_clear(&t);
}

static void test_refused_by_guest(void)
{
    BoardTest t;

    init(&t);
    Device *dimm = plug_dimm(&t, "d", GIB, "");
    ask(dimm, FALSE);
    outl(&t, SELECTOR, 1);
    outl(&t, OST_EVENT, 3);
    outl(&t, OST_STATUS, 0x82);
    board_test_settle();
    board_test_ends(&t, " d stays: the guest refused: device busy (_OST status 0x82)");
    g_assert_cmpint(dimm->state, ==, DEVICE_PUBLISHED);
    g_assert_nonnull(vm_memory_ptr(t.vm, 4 * GIB, GIB));
    board_test_clear(&t);
}

/* After a reset it is there without an event, and still no part of the map that firmware hands over. */
static void test_reset(void)
{
    BoardTest t;

    init(&t);
    plug_dimm(&t, "d", GIB, ",\"slot\": 4");
    board_test_power_on(&t);
    g_assert_cmphex(flags_of(&t, 4), ==, 1);
    range_is(&t, 4, 4 * GIB, GIB);
    g_assert_cmphex(inl(&t, 0x620), ==, 0);
    g_autoptr(GArray) map = mem_e820(t.set);
    for (guint i = 0; i < map->len; i++)
        g_assert_cmphex(g_array_index(map, E820Entry, i).addr, <, 4 * GIB);
    board_test_clear(&t);
}

/* A machine rebuilt with all that was said of it, from the start. */
static void test_cold(void)
{
    BoardTest t;
    g_autoptr(GError) error = NULL;

    board_test_init_empty(&t);
    board_test_plug(&t, "{\"driver\": \"board\", \"max-memory\": 8589934592, \"device-memory-base\": 4294967296}", &error);
    g_assert_no_error(error);
    Device *d = plug_dimm(&t, "d", GIB, ",\"slot\": 1, \"addr\": 5368709120");
    plug_dimm(&t, "base", GIB, ",\"slot\": 0, \"addr\": 0");
    g_assert_true(dimm_is_device_memory(d));
    for (guint turn = 0; turn < 2; turn++) {
        g_assert_true(mem_layout_base_ram(t.set, &error));
        g_assert_cmphex(dimm_address(d), ==, 5 * GIB);
        if (turn == 0)
            mem_layout_undo(t.set);
    }
    g_assert_cmphex(mem_total(t.set), ==, GIB);
    board_test_power_on(&t);
    device_set_started(t.set);
    g_assert_cmphex(flags_of(&t, 1), ==, 1);
    ask(d, FALSE);
    g_assert_cmphex(flags_of(&t, 1), ==, 5);
    board_test_clear(&t);
}

static void test_invalid_accesses(void)
{
    static const guint32 bad[] = { 6, 256, 0x80000000, 0xffffffff };
    BoardTest t;

    init(&t);
    Device *dimm = plug_dimm(&t, "d", GIB, "");
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        outl(&t, SELECTOR, bad[i]);
        outb(&t, FLAGS, 0xff);
        outl(&t, OST_STATUS, 1);
        for (guint reg = 0; reg < MEM_HOTPLUG_REG_LEN; reg++)
            g_assert_cmphex(inb(&t, REGS + reg), ==, 0);
    }
    outl(&t, SELECTOR, 1);
    outw(&t, FLAGS, 0x0808); /* only a byte controls */
    outl(&t, FLAGS, 8);
    outw(&t, SELECTOR, 3);
    board_test_settle();
    g_assert_cmphex(inb(&t, FLAGS), ==, 3);
    g_assert_cmpint(dimm->state, ==, DEVICE_PUBLISHED);
    board_test_ends(&t, "");
    board_test_clear(&t);
}

static void test_save_load(void)
{
    BoardTest a, b;

    init(&a);
    init(&b);
    ask(plug_dimm(&a, "d", GIB, ""), FALSE);
    plug_dimm(&b, "d", GIB, "");
    outl(&a, SELECTOR, 1);
    outl(&a, OST_EVENT, 3);
    board_test_move(&a, &b, "acpi-mem-hotplug");
    for (guint reg = 0; reg < MEM_HOTPLUG_REG_LEN; reg++)
        g_assert_cmphex(inb(&a, REGS + reg), ==, inb(&b, REGS + reg));
    g_assert_cmphex(inb(&b, FLAGS), ==, 7);
    board_test_clear(&a);
    board_test_clear(&b);
}

static void load(Device *dimm, GVariant *state, const char *message)
{
    g_autoptr(GVariant) owned = g_variant_ref_sink(state);
    g_autoptr(GError) error = NULL;

    g_assert_true(device_load(dimm, owned, &error) == !message);
    if (message)
        g_assert_cmpstr(error->message, ==, message);
}

static GVariant *record(guint32 phase, guint32 timeout_ms, gint64 deadline)
{
    return g_variant_new_parsed("{'unplug': <(%u, %u, %x)>}", phase, timeout_ms, deadline);
}

/* A request goes with its device, and ends where that is: by its timeout, a refusal or an eject. */
static void test_request_moves(void)
{
    enum { TIMEOUT, REFUSAL, EJECT, WITHOUT, WAYS };

    for (guint end = 0; end < WAYS; end++) {
        g_autoptr(GError) error = NULL;
        BoardTest a, b;
        UnplugPhase phase;
        gint64 left;
        init(&a);
        init(&b);
        Device *from = plug_dimm(&a, "d", GIB, ""), *to = plug_dimm(&b, "d", GIB, "");
        g_assert_true(device_unplug(from, &(UnplugHow){ .timeout_ms = 500 }, &error));
        g_assert_cmphex(flags_of(&a, 1), ==, 7);
        outb(&a, FLAGS, 4);
        step(&a, 200 * NS_PER_MS);
        board_test_settle();
        g_autoptr(GVariant) saved = device_save(from);
        board_test_move(&a, &b, "acpi-mem-hotplug");
        load(to, g_variant_ref(saved), NULL);
        g_assert_true(device_unplug_info(to, &phase, &left) && phase == UNPLUG_NOTIFIED && left == 300);
        g_assert_cmpint(to->state, ==, DEVICE_UNPLUG_PENDING);
        g_autoptr(GVariant) again = device_save(to);
        g_assert_true(g_variant_equal(saved, again));
        flags_of(&b, 1);
        if (end == TIMEOUT) {
            step(&b, 299 * NS_PER_MS);
            board_test_ends(&b, "");
            step(&b, NS_PER_MS);
            board_test_ends(&b, " d stays: the guest did not let go of it within 500 ms");
        } else if (end == REFUSAL) {
            outl(&b, OST_EVENT, 3);
            outl(&b, OST_STATUS, 0x80);
            board_test_settle();
            board_test_ends(&b, " d stays: the guest refused: ejection not supported (_OST status 0x80)");
        } else if (end == EJECT) {
            outb(&b, FLAGS, 8);
            board_test_settle();
            board_test_ends(&b, " d gone");
        } else {
            load(to, g_variant_new("a{sv}", NULL), NULL); /* a record without one ends it, and nobody is told */
            g_assert_false(device_unplug_info(to, &phase, &left));
            g_assert_cmpint(to->state, ==, DEVICE_PUBLISHED);
            step(&b, NS_PER_S);
            board_test_ends(&b, "");
        }
        board_test_clear(&a);
        board_test_clear(&b);
    }
}

static void test_request_checked(void)
{
    BoardTest t;
    UnplugPhase phase;
    gint64 left;

    init(&t);
    Device *dimm = plug_dimm(&t, "d", GIB, "");
    load(dimm, record(2, 0, 0), "State of device 'd': field 'unplug' has phase 2, at most 1");
    load(dimm, g_variant_new_parsed("{'unplug': <true>}"), "State of device 'd': field 'unplug' has type 'b', wanted '(uux)'");
    load(device_set_board(t.set), record(0, 0, 0), "State of device 'board.0': field 'unplug': guests are not asked for a board");
    g_assert_false(device_unplug_info(dimm, &phase, &left));
    load(dimm, record(0, 5, -1), NULL); /* long past: it fails at once */
    step(&t, 1);
    board_test_ends(&t, " d stays: the guest did not let go of it within 5 ms");
    load(dimm, record(1, 0, 7), NULL);
    g_assert_true(device_unplug_info(dimm, &phase, &left) && phase == UNPLUG_NOTIFIED && left == -1);
    board_test_clear(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/mem-hotplug/base-ram-is-not-there", test_base_ram_is_not_there);
    g_test_add_func("/mem-hotplug/insert", test_insert);
    g_test_add_func("/mem-hotplug/places", test_places);
    g_test_add_func("/mem-hotplug/refused-places", test_refused_places);
    g_test_add_func("/mem-hotplug/eject", test_eject);
    g_test_add_func("/mem-hotplug/refused-by-guest", test_refused_by_guest);
    g_test_add_func("/mem-hotplug/reset", test_reset);
    g_test_add_func("/mem-hotplug/cold", test_cold);
    g_test_add_func("/mem-hotplug/invalid-accesses", test_invalid_accesses);
    g_test_add_func("/mem-hotplug/save-load", test_save_load);
    g_test_add_func("/mem-hotplug/request-moves", test_request_moves);
    g_test_add_func("/mem-hotplug/request-checked", test_request_checked);
    return g_test_run();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz-pci-hotplug.c - libFuzzer target for hot plug: the ACPI registers accessed in every width and order, native slots commanded
 * to do anything, while devices are plugged, asked for and taken by force on pcie.0, in a slot of several functions, and
 * behind ports. Whatever the guest did: what stands is what was plugged and is not gone, the cold ports stay,
 * the controller's state loads into another machine and saves alike, and after a reset there is no event.
 *
 * An operation is four bytes: kind, which place, value (two).
 */
#include "../../devices/core/unplug.h"
#include "../device/pci-test.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

#define BASE 0xcc0
#define EXPRESS 0x60

static const char *const places[] = {
    "\"addr\": \"8\"",   "\"addr\": \"9.1\"", "\"addr\": \"9.2\"", "\"addr\": \"9.0\", \"multifunction\": true",
    "\"bus\": \"rp\"",   "\"bus\": \"native\"",
};

#define PLACES G_N_ELEMENTS(places)

static void start(BoardTest *t)
{
    board_test_init(t, "{\"driver\": \"board\", \"max-cpus\": 1}");
    pci_plug(t, "pcie-root-port", "{\"id\": \"rp\", \"addr\": \"2\"}");
    pci_plug(t, "pcie-root-port", "{\"id\": \"native\", \"addr\": \"3\", \"native-hotplug\": true}");
    board_test_power_on(t);
}

static Device *thing(BoardTest *t, guint i)
{
    char id[3] = { 'd', (char)('0' + i), 0 };

    return device_set_find(t->set, NS_DEVICE, id);
}

/* Function 1 or 2 is refused once the guest has seen function 0. */
static void plug(BoardTest *t, guint i)
{
    g_autofree char *json = g_strdup_printf("{\"id\": \"d%u\", %s}", i, places[i]);
    g_autoptr(GError) error = NULL;
    Device *dev = thing(t, i) ? NULL : pci_realize(t, "pci-testdev", json, &error);

    if (dev)
        device_plug_publish(dev);
}

static void ask(BoardTest *t, guint i, guint16 value)
{
    UnplugHow how = { .force = value & 1, .timeout_ms = value >> 1 & 0xff };
    g_autoptr(GError) error = NULL;

    if (thing(t, i) && !device_unplug(thing(t, i), &how, &error))
        g_assert_nonnull(error);
}

static void access_register(BoardTest *t, guint8 which, guint16 value)
{
    guint16 port = BASE + which % 26;
    guint size = 1u << (which >> 5) % 3;

    if (value & 0x8000)
        (void)port_in(t, port, size);
    else
        port_out(t, port, value & 0x4000 ? 1u << value % 32 : value & 0xff, size);
}

static void one(BoardTest *t, const guint8 op[4])
{
    guint16 value = le16_get(op + 2);
    guint i = op[1] % PLACES;

    switch (op[0] & 7) {
    case 0:
        plug(t, i);
        break;
    case 1:
        ask(t, i, value);
        break;
    case 2:
        mem_out(t, fn_at(0, 3, 0) + EXPRESS + PCIE_SLTCTL + (op[1] & 3), value, 1u << (op[1] >> 2) % 3);
        break;
    case 3:
        board_test_settle();
        break;
    case 4:
        step(t, value % 100 * NS_PER_MS);
        break;
    default:
        access_register(t, op[1], value);
    }
}

static void check_saved(Device *from, Device *to)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GVariant) saved = device_save(from);

    device_load(to, saved, &error);
    g_assert_no_error(error);
    g_autoptr(GVariant) again = device_save(to);
    g_assert_true(g_variant_equal(saved, again));
}

/* A second machine with the same devices takes over what the guest knows of them. */
static void check_move(BoardTest *from)
{
    BoardTest to;

    start(&to);
    for (guint i = 0; i < PLACES; i++) {
        if (thing(from, i))
            plug(&to, i);
        g_assert_true(!thing(from, i) == !thing(&to, i));
    }
    check_saved(device_set_part(from->set, "acpi-pci-hotplug"), device_set_part(to.set, "acpi-pci-hotplug"));
    check_saved(device_set_find(from->set, NS_DEVICE, "native"), device_set_find(to.set, NS_DEVICE, "native"));
    board_test_settle();
    board_test_clear(&to);
}

static void silent(const gchar *domain, GLogLevelFlags level, const gchar *message, gpointer user)
{
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    BoardTest t;

    g_log_set_default_handler(silent, NULL);
    start(&t);
    device_set_started(t.set);
    for (gsize i = 0; i + 4 <= size && i < 4096; i += 4)
        one(&t, data + i);
    board_test_settle();
    g_assert_nonnull(device_set_find(t.set, NS_DEVICE, "rp"));
    g_assert_nonnull(device_set_find(t.set, NS_DEVICE, "native"));
    check_move(&t);
    device_set_unplug_pending(t.set);
    board_test_power_on(&t);
    for (guint g = 0; g < 9; g++) {
        outl(&t, BASE + 0x10, g);
        g_assert_cmphex(inl(&t, BASE) | inl(&t, BASE + 4), ==, 0);
    }
    g_assert_cmphex(inl(&t, 0x620), ==, 0);
    board_test_clear(&t);
    return 0;
}

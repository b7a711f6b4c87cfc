/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz-acpi.c - libFuzzer target: a hostile guest at the registers of ACPI: CPU hotplug, memory hotplug, PM1, PM timer and GPE0, in any
 * order and width, while the manager plugs, asks for devices back, forces them, and resets. Whatever it did: the manager's and the
 * guest's views agree (a slot that the guest sees occupied has a device and the other way round), one CPU stays, each request has
 * one end, what is saved loads elsewhere and saves alike, and after a reset an ordinary guest can eject.
 *
 * An operation is eight bytes: kind, width, offset (two), value (four).
 */
#include "../device/board-test.h"

#include "../../devices/acpi/cpu-hotplug.h"
#include "../../devices/acpi/mem-hotplug.h"
#include "../../devices/core/unplug.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

#define CPUS 4
#define SLOTS 4
#define CPU_REGS 0xcd8
#define MEM_REGS 0xa00
#define PM_REGS 0x600
#define BOARD "{\"driver\":\"board\",\"max-cpus\":4,\"max-memory\":1073741824,\"memory-slots\":4}"

static Device *plug(BoardTest *t, const char *json)
{
    g_autoptr(GError) error = NULL;

    return board_test_plug(t, json, &error);
}

static void plug_dimm(BoardTest *t, guint n)
{
    g_autofree char *object = g_strdup_printf("{\"qom-type\":\"memory-backend-ram\",\"id\":\"m%u\",\"size\":1048576}", n);
    g_autofree char *dimm = g_strdup_printf("{\"driver\":\"pc-dimm\",\"id\":\"d%u\",\"memdev\":\"m%u\"}", n, n);
    g_autofree char *id = g_strdup_printf("m%u", n);
    g_autoptr(GError) error = NULL;

    if (!device_set_find(t->set, NS_OBJECT, id)) {
        g_autoptr(JsonDoc) doc = json_doc_parse(object, strlen(object), &json_limits_default, &error);
        device_plug_publish(device_plug_realize(t->set, prop_bag_decode(json_doc_root(doc), "qom-type", &error), &error));
        g_assert_no_error(error);
    }
    plug(t, dimm); /* or not, where there is one */
}

static void plug_cpu(BoardTest *t, guint n)
{
    g_autofree char *json = g_strdup_printf("{\"driver\":\"qemu64-x86_64-cpu\",\"id\":\"c%u\"}", n);

    plug(t, json);
}

static void machine(BoardTest *t)
{
    g_autoptr(GError) error = NULL;

    board_test_init_empty(t);
    g_assert_nonnull(plug(t, BOARD));
    plug_cpu(t, 0);
    plug_cpu(t, 1);
    plug_dimm(t, 0);
    g_assert_true(mem_layout_base_ram(t->set, &error));
    board_test_power_on(t);
    device_set_started(t->set);
}

static void touch(BoardTest *t, guint16 port, guint32 value, unsigned width)
{
    if (value & 0x80000000)
        (void)port_in(t, port, width);
    else
        port_out(t, port, value, width);
}

static void ask(BoardTest *t, guint8 what, guint32 value)
{
    g_autofree char *id = g_strdup_printf("%c%u", what & 1 ? 'c' : 'd', value % 4);
    Device *dev = device_set_find(t->set, NS_DEVICE, id);
    UnplugHow how = { .force = (value & 0x300) == 0x300, .timeout_ms = value >> 16 & 0xff };

    if (dev)
        device_unplug(dev, &how, NULL);
}

static void reset(BoardTest *t)
{
    device_set_unplug_pending(t->set);
    board_test_power_on(t);
}

static void one(BoardTest *t, const guint8 op[8])
{
    unsigned width = 1u << op[1] % 3;
    guint16 at = le16_get(op + 2);
    guint32 value = le32_get(op + 4);

    switch (op[0] % 10) {
    case 0:
        touch(t, (guint16)(CPU_REGS + at % CPU_HOTPLUG_REG_LEN), value, width);
        break;
    case 1:
        touch(t, (guint16)(MEM_REGS + at % MEM_HOTPLUG_REG_LEN), value, width);
        break;
    case 2:
        touch(t, (guint16)(PM_REGS + at % 0x80), value, width);
        break;
    case 3: /* a slot is chosen, and its control written */
        port_out(t, op[1] & 0x80 ? CPU_REGS : MEM_REGS, value % 6, 4);
        port_out(t, op[1] & 0x80 ? CPU_REGS + 4 : MEM_REGS + 0x14, at & 0xff, 1);
        break;
    case 4:
        ask(t, op[1], value);
        break;
    case 5:
        plug_cpu(t, value % CPUS);
        break;
    case 6:
        plug_dimm(t, value % SLOTS);
        break;
    case 7:
        board_test_settle();
        break;
    case 8:
        step(t, value % (200 * NS_PER_MS));
        break;
    default:
        if (value % 8 == 0)
            reset(t);
    }
}

/* The registers show what is there. */
static void check_views(BoardTest *t)
{
    guint cpus = 0;

    board_test_settle();
    for (guint i = 0; i < CPUS; i++) {
        CpuSlot slot;
        cpu_slot_get(t->set, i, &slot);
        port_out(t, CPU_REGS, i, 4);
        g_assert_cmpuint(port_in(t, CPU_REGS + 4, 1) & 1, ==, slot.cpu != NULL);
        cpus += slot.cpu != NULL;
    }
    g_assert_cmpuint(cpus, >=, 1);
    for (guint i = 0; i < SLOTS; i++) {
        port_out(t, MEM_REGS, i, 4);
        g_assert_cmpuint(port_in(t, MEM_REGS + 0x14, 1) & 1, ==, mem_device_dimm(t->set, i) != NULL);
    }
}

static gboolean none_is_asked_for(Device *dev, gpointer unused)
{
    g_assert_null(dev->unplug);
    return TRUE;
}

static void check_parts(BoardTest *t)
{
    static const char *const parts[] = { "acpi-cpu-hotplug", "acpi-mem-hotplug" };

    for (guint i = 0; i < G_N_ELEMENTS(parts); i++) {
        Device *part = device_set_part(t->set, parts[i]);
        g_autoptr(GVariant) saved = device_save(part);
        g_assert_true(device_load(part, saved, NULL));
        g_autoptr(GVariant) again = device_save(part);
        g_assert_true(g_variant_equal(saved, again));
    }
}

static void check_works(BoardTest *t)
{
    reset(t);
    device_set_foreach(t->set, none_is_asked_for, NULL);
    for (guint i = 0; i < CPUS; i++)
        plug_cpu(t, i); /* until all slots are taken */
    port_out(t, CPU_REGS, CPUS - 1, 4);
    port_out(t, CPU_REGS + 4, 8, 1);
    g_assert_cmpuint(port_in(t, CPU_REGS + 4, 1) & 1, ==, 0);
    check_views(t);
}

static void silent(const gchar *domain, GLogLevelFlags level, const gchar *message, gpointer user)
{
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    BoardTest t;

    g_log_set_default_handler(silent, NULL);
    machine(&t);
    for (gsize i = 0; i + 8 <= size && i < 8 * 1000; i += 8)
        one(&t, data + i);
    check_views(&t);
    check_parts(&t);
    check_works(&t);
    board_test_clear(&t);
    return 0;
}

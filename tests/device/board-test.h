/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * board-test.h - a machine with a board on the test accelerator, for tests of the board's parts.
 * The test is the CPU: it accesses ports and memory as one does, moves the virtual clock, and
 * looks at interrupt pins and at what the machine was told.
 */
#pragma once

#include "../../devices/core/abi.h"
#include "../../devices/cpu/cpu.h"
#include "../../devices/mem/memory-backend.h"
#include "../../devices/pci/bus.h"
#include "../../devices/platform/board.h"
#include "../../kvm/accel.h"

#define RAM_SIZE (4u << 20)

typedef struct {
    Vm        *vm;
    DeviceSet *set;
    guint8    *ram;   /* RAM_SIZE bytes at 0, if board_test_ram() was called */
    guint      resets, shutdowns, rtc_changes;
    gint64     rtc_offset;
    guint      balloon_changes;
    guint64    balloon; /* what the last of them said */
    GString   *ports; /* VSERPORT_CHANGE: " ID open", " ID closed" */
    GString   *ends;  /* of unplug requests: " ID gone", " ID stays: REASON" */
    GString   *osts;  /* what was reported by _OST: " CPU 4 ID 3 0" */
} BoardTest;

static inline void board_test_on_shutdown(gpointer user)
{
    ((BoardTest *)user)->shutdowns++;
}

static inline void board_test_on_reset(gpointer user)
{
    ((BoardTest *)user)->resets++;
}

static inline void board_test_on_rtc(gpointer user, gint64 offset_s, const char *path)
{
    BoardTest *t = user;

    g_assert_cmpstr(path, ==, "/machine/unattached/mc146818rtc");
    t->rtc_changes++;
    t->rtc_offset = offset_s;
}

static inline void board_test_on_gone(gpointer user, const char *id, const char *path)
{
    g_string_append_printf(((BoardTest *)user)->ends, " %s gone", id);
    g_assert_true(g_str_has_suffix(path, id));
    g_assert_null(device_set_find(((BoardTest *)user)->set, NS_DEVICE, id)); /* its id is free by now */
}

static inline void board_test_on_failed(gpointer user, const char *id, const char *path, const char *reason)
{
    g_string_append_printf(((BoardTest *)user)->ends, " %s stays: %s", id, reason);
}

static inline void board_test_on_balloon(gpointer user, guint64 actual)
{
    ((BoardTest *)user)->balloon_changes++;
    ((BoardTest *)user)->balloon = actual;
}

static inline void board_test_on_port(gpointer user, const char *id, gboolean open)
{
    g_string_append_printf(((BoardTest *)user)->ports, " %s %s", id, open ? "open" : "closed");
}

/* Ports have changed so since the last look. */
static inline void board_test_ports(BoardTest *t, const char *want)
{
    g_assert_cmpstr(t->ports->str, ==, want);
    g_string_truncate(t->ports, 0);
}

/* Requests have ended so since the last look. */
static inline void board_test_ends(BoardTest *t, const char *want)
{
    g_assert_cmpstr(t->ends->str, ==, want);
    g_string_truncate(t->ends, 0);
}

static inline void board_test_on_ost(gpointer user, const DeviceOst *ost)
{
    g_string_append_printf(((BoardTest *)user)->osts, " %s %u %s 0x%x 0x%x", ost->cpu ? "CPU" : "DIMM", ost->slot,
                           ost->id ? ost->id : "-", ost->event, ost->status);
}

static const DeviceObserver board_test_observer = {
    .acpi_ost = board_test_on_ost,
    .guest_shutdown = board_test_on_shutdown,
    .guest_reset = board_test_on_reset,
    .rtc_change = board_test_on_rtc,
    .balloon_change = board_test_on_balloon,
    .port_change = board_test_on_port,
    .device_gone = board_test_on_gone,
    .unplug_failed = board_test_on_failed,
};

static inline Device *board_test_plug_as(BoardTest *t, const char *discriminator, const char *json, GError **error)
{
    g_autoptr(JsonDoc) doc = json_doc_parse(json, strlen(json), &json_limits_default, error);

    g_assert_nonnull(doc);
    PropBag *bag = prop_bag_decode(json_doc_root(doc), discriminator, error);
    Device *dev = bag ? device_plug_realize(t->set, bag, error) : NULL;
    if (dev)
        device_plug_publish(dev);
    return dev;
}

/* Plugs what JSON says, as device_add would. */
static inline Device *board_test_plug(BoardTest *t, const char *json, GError **error)
{
    return board_test_plug_as(t, "driver", json, error);
}

/* As object-add would; it must succeed. */
static inline Device *board_test_object(BoardTest *t, const char *json)
{
    g_autoptr(GError) error = NULL;
    Device *dev = board_test_plug_as(t, "qom-type", json, &error);

    g_assert_no_error(error);
    return dev;
}

static inline void board_test_init_empty(BoardTest *t)
{
    g_autoptr(GError) error = NULL;

    *t = (BoardTest){ .ends = g_string_new(NULL), .osts = g_string_new(NULL), .ports = g_string_new(NULL) };
    t->vm = vm_new(VM_ACCEL_TEST, NULL, NULL, &error);
    g_assert_no_error(error);
    vm_ready(t->vm, &error);
    g_assert_no_error(error);
    t->set = device_set_new(t->vm, &board_test_observer, t);
}

static inline void board_test_power_on(BoardTest *t)
{
    g_autoptr(GError) error = NULL;

    device_set_reset(t->set, RESET_COLD);
    device_set_power_on(t->set, &error);
    g_assert_no_error(error);
}

/* A machine with the board that JSON describes, reset and powered on. */
static inline void board_test_init(BoardTest *t, const char *json)
{
    g_autoptr(GError) error = NULL;

    board_test_init_empty(t);
    board_test_plug(t, json, &error);
    g_assert_no_error(error);
    board_test_power_on(t);
}

#define BOARD_DEFAULT "{\"driver\": \"board\"}"

static inline void board_test_ram(BoardTest *t)
{
    g_autoptr(GError) error = NULL;

    g_assert_cmpint(posix_memalign((void **)&t->ram, 4096, RAM_SIZE), ==, 0);
    memset(t->ram, 0, RAM_SIZE);
    vm_memory_add(t->vm, 0, t->ram, RAM_SIZE, 0, &error);
    g_assert_no_error(error);
}

static inline void board_test_clear(BoardTest *t)
{
    device_set_free(t->set);
    if (t->ram)
        vm_memory_remove(t->vm, 0);
    vm_free(t->vm);
    free(t->ram);
    g_string_free(t->ends, TRUE);
    g_string_free(t->osts, TRUE);
    g_string_free(t->ports, TRUE);
}

/* What was posted to the main thread runs. */
static inline void board_test_settle(void)
{
    while (g_main_context_iteration(NULL, FALSE))
        continue;
}

static inline guint64 port_in(BoardTest *t, guint16 port, unsigned size)
{
    guint64 v = 0;

    iobus_read(t->vm, IO_PIO, port, size, &v);
    return v;
}

static inline void port_out(BoardTest *t, guint16 port, guint64 value, unsigned size)
{
    iobus_write(t->vm, IO_PIO, port, size, value);
}

#define inb(t, port) ((guint8)port_in(t, port, 1))
#define inw(t, port) ((guint16)port_in(t, port, 2))
#define inl(t, port) ((guint32)port_in(t, port, 4))
#define outb(t, port, v) port_out(t, port, v, 1)
#define outw(t, port, v) port_out(t, port, v, 2)
#define outl(t, port, v) port_out(t, port, v, 4)

static inline guint64 mem_in(BoardTest *t, guint64 addr, unsigned size)
{
    guint64 v = 0;

    iobus_read(t->vm, IO_MMIO, addr, size, &v);
    return v;
}

static inline void mem_out(BoardTest *t, guint64 addr, guint64 value, unsigned size)
{
    iobus_write(t->vm, IO_MMIO, addr, size, value);
}

static inline guint32 cfg_in(BoardTest *t, guint8 devfn, guint8 reg, unsigned size)
{
    outl(t, 0xcf8, 0x80000000u | (guint32)devfn << 8 | (reg & 0xfc));
    return (guint32)port_in(t, 0xcfc + (reg & 3), size);
}

static inline void cfg_out(BoardTest *t, guint8 devfn, guint8 reg, guint32 value, unsigned size)
{
    outl(t, 0xcf8, 0x80000000u | (guint32)devfn << 8 | (reg & 0xfc));
    port_out(t, 0xcfc + (reg & 3), value, size);
}

static inline void step(BoardTest *t, gint64 ns)
{
    g_assert_true(vm_clock_step_to(t->vm, vm_clock_ns(t->vm) + ns, 100000));
}

#define NS_PER_MS G_GINT64_CONSTANT(1000000)
#define NS_PER_S G_GINT64_CONSTANT(1000000000)

/* Saves PART, loads it into the same part of a second machine whose clock says the same, and
 * checks that a second save is equal. The second machine is left to the caller for comparing
 * what a guest reads. */
static inline void board_test_move(BoardTest *from, BoardTest *to, const char *part)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GVariant) saved = device_save(device_set_part(from->set, part));

    if (vm_clock_ns(from->vm) > vm_clock_ns(to->vm))
        g_assert_true(vm_clock_step_to(to->vm, vm_clock_ns(from->vm), 1000000));
    device_load(device_set_part(to->set, part), saved, &error);
    g_assert_no_error(error);
    board_test_settle();
    g_autoptr(GVariant) again = device_save(device_set_part(to->set, part));
    g_assert_true(g_variant_equal(saved, again));
}

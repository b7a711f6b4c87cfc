/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * core-types.h - device types of the tests' own. A program that includes this defines the tables that devices/types.c and the generator
 * define elsewhere. The hooks write what happens into a journal and fail where a property says so.
 */
#pragma once

#include <fcntl.h>

#include "../../devices/core/abi.h"
#include "core-rig.h"

typedef struct {
    guint32  fail;
    guint32  a, b, live;
    char    *peer;
    guint32  iobase, irq, bootindex;
} GadgetConfig;

typedef struct {
    Device   dev;
    gboolean flag;
    guint8   u8;
    guint16  u16;
    guint32  u32;
    guint64  u64;
    gint64   i64;
    guint8   bytes[4];
    guint    loads;
} Gadget;

enum { FAIL_NOT, FAIL_RESOLVE, FAIL_REALIZE, FAIL_POWER_ON, FAIL_POST_LOAD, FAIL_WITH_PARTS };

static GString *journal;

static inline void note(const Device *dev, const char *what)
{
    g_string_append_printf(journal, "%s%s:%s", journal->len ? " " : "", dev->id, what);
}

static inline void journal_is(const char *wanted)
{
    g_assert_cmpstr(journal->str, ==, wanted);
    g_string_truncate(journal, 0);
}

static const GadgetConfig *config_of(const Device *dev)
{
    return DEVICE_CONFIG(dev, GadgetConfig);
}

static inline gboolean lock_held(Device *dev)
{
    if (!g_mutex_trylock(&dev->lock))
        return TRUE;
    g_mutex_unlock(&dev->lock);
    return FALSE;
}

static inline gboolean fails(const Device *dev, guint where, GError **error)
{
    const GadgetConfig *config = dev->bag ? config_of(dev) : NULL;

    return config && config->fail == where && !error_set(error, "'%s' fails at %u", dev->id, where);
}

/* ---- hooks ---- */

static inline gboolean gadget_resolve(Device *dev, GError **error)
{
    g_assert_cmpint(dev->state, ==, DEVICE_NEW);
    note(dev, "resolve");
    if (fails(dev, FAIL_RESOLVE, error))
        return FALSE;
    if (!prop_bag_is_set(dev->bag, "b"))
        prop_bag_set_u(dev->bag, "b", config_of(dev)->a + 1, ORIGIN_DEFAULT);
    return TRUE;
}

/* Two that say `irq` can not have the same: it is allocated from 8 on where nobody says. */
static inline Place gadget_place(guint irq)
{
    return (Place){ "interrupt", "", irq, NULL };
}

static inline void gadget_places(const PropBag *bag, PlaceSink *sink)
{
    static const char *const rows[] = { "irq", NULL };

    if (prop_bag_is_set(bag, "irq") && ((const GadgetConfig *)bag->config)->irq)
        device_place(sink, rows, gadget_place(((const GadgetConfig *)bag->config)->irq));
}

static inline gboolean gadget_realize(Device *dev, GError **error)
{
    const GadgetConfig *config = config_of(dev);
    g_autofree char *path = g_strdup_printf("/%s", dev->id);

    g_assert_cmpint(dev->state, ==, DEVICE_CONFIGURED);
    note(dev, "realize");
    if (!device_claim_boot(dev, path, error))
        return FALSE;
    if (config->iobase && !device_claim_io(dev, IO_PIO, config->iobase, 8, "iobase", error))
        return FALSE;
    if (config->irq && !device_claim_irq(dev, config->irq, "irq", error))
        return FALSE;
    if (config->peer && !device_link(dev, NS_CHARDEV, config->peer, "talker", "peer", error))
        return FALSE;
    return !fails(dev, FAIL_REALIZE, error); /* after everything was reserved */
}

static inline gboolean board_realize(Device *dev, GError **error)
{
    note(dev, "realize");
    return device_part_new(dev, "part-a", error) && device_part_new(dev, "part-b", error) &&
           !fails(dev, FAIL_WITH_PARTS, error);
}

static inline gboolean part_realize(Device *dev, GError **error)
{
    note(dev, "realize");
    return device_claim_io(dev, IO_PIO, strcmp(dev->type->name, "part-a") ? 0x20 : 0x10, 8, "", error);
}

static inline void gadget_publish(Device *dev)
{
    g_assert_cmpint(dev->state, ==, DEVICE_PUBLISHED);
    note(dev, "publish");
}

static inline void gadget_unpublish(Device *dev)
{
    note(dev, "unpublish");
}

static inline void gadget_unrealize(Device *dev)
{
    note(dev, "unrealize");
}

static inline void gadget_reset(Device *dev, ResetKind kind)
{
    g_assert_true(lock_held(dev));
    note(dev, kind == RESET_WARM ? "warm" : "reset");
}

static inline gboolean gadget_power_on(Device *dev, GError **error)
{
    g_assert_false(lock_held(dev));
    note(dev, "power-on");
    return !fails(dev, FAIL_POWER_ON, error);
}

static inline void gadget_quiesce(Device *dev)
{
    g_assert_true(lock_held(dev));
    note(dev, "quiesce");
}

static inline void gadget_resume(Device *dev)
{
    g_assert_true(lock_held(dev));
    note(dev, "resume");
}

static inline gboolean gadget_post_load(Device *dev, GError **error)
{
    Gadget *g = (Gadget *)dev;

    g_assert_true(lock_held(dev));
    g->loads++;
    return g->u8 != 13 || error_set(error, "'%s' does not take thirteen", dev->id);
}

static inline void gadget_abi(Device *dev, AbiSink *sink)
{
    note(dev, "abi");
    abi_leaf(sink, "registers", dev->type->name, 4, NULL);
    abi_leaf(sink, "masked", "\1\2", 2, "\3\4");
}

static const StateDesc gadget_state[] = {
    STATE_ROW(Gadget, flag, BOOL, "0.1"),
    STATE_ROW(Gadget, u8, U8, "0.1"),
    STATE_ROW(Gadget, u16, U16, "0.1"),
    STATE_ROW(Gadget, u32, U32, "0.1"),
    STATE_ROW(Gadget, u64, U64, "0.1"),
    { .name = "i64", .kind = STATE_I64, .offset = G_STRUCT_OFFSET(Gadget, i64), .size = 8, .since = "0.2", .before = 77 },
    { .name = "bytes", .kind = STATE_BYTES, .offset = G_STRUCT_OFFSET(Gadget, bytes), .size = 4, .since = "0.2", .before = 0xee },
    STATE_END,
};

#define COMMON_HOOKS                                                                                               \
    .publish = gadget_publish, .unpublish = gadget_unpublish, .unrealize = gadget_unrealize, .reset = gadget_reset, \
    .power_on = gadget_power_on, .quiesce = gadget_quiesce, .resume = gadget_resume, .abi = gadget_abi
static const DeviceOps gadget_ops = {
    .resolve = gadget_resolve, .places = gadget_places, .realize = gadget_realize, .post_load = gadget_post_load, COMMON_HOOKS
};
static const DeviceOps board_ops = { .realize = board_realize, COMMON_HOOKS };
static const DeviceOps part_ops = { .realize = part_realize, COMMON_HOOKS };
static const DeviceOps no_ops = { .realize = NULL };

/* ---- tables ---- */

#define ROW(name_, KIND, field, ...) \
    { .name = name_, .doc = "", .kind = PROP_##KIND, .offset = G_STRUCT_OFFSET(GadgetConfig, field), .since = "0.1", __VA_ARGS__ }
static const PropDesc rows[] = {
    ROW("fail", U32, fail, .max = 9, .has_default = TRUE),
    ROW("a", U32, a, .max = 99, .flags = PROP_GUEST, .has_default = TRUE, .def.u = 1, .has_before = TRUE, .before.u = 5),
    ROW("b", U32, b, .max = 99, .flags = PROP_GUEST | PROP_AUTO),
    ROW("live", U32, live, .max = 99, .has_default = TRUE, .def.u = 4),
    ROW("peer", LINK, peer, .max = 127, .link_to = "talker"),
    ROW("iobase", U32, iobase, .max = G_MAXUINT32, .flags = PROP_GUEST, .has_default = TRUE),
    ROW("irq", U32, irq, .max = 99, .flags = PROP_GUEST, .has_default = TRUE),
    ROW("bootindex", U32, bootindex, .max = G_MAXINT32, .flags = PROP_GUEST),
};

#define TABLE(symbol, name_, plug_, flags_)                                                                  \
    static const PropTable symbol = { .name = name_, .doc = "", .since = "0.1", .plug = PLUG_##plug_, .flags = flags_, \
                                      .rows = rows, .n_rows = G_N_ELEMENTS(rows), .config_size = sizeof(GadgetConfig) }
TABLE(board_table, "board", BOARD, TYPE_SINGLETON);
TABLE(boot_table, "boot", BOOT, 0);
TABLE(cpu_table, "cpu", CPU, TYPE_HOTPLUG | TYPE_HOT_UNPLUG);
TABLE(gadget_table, "gadget", ISA, 0);
TABLE(single_table, "single", ISA, TYPE_SINGLETON);
TABLE(store_table, "store", OBJECT, 0);
TABLE(talker_table, "talker", CHARDEV, 0);
const PropTable *const prop_tables[] = { &board_table, &boot_table, &cpu_table, &gadget_table, &single_table, &store_table, &talker_table };
const guint prop_n_tables = G_N_ELEMENTS(prop_tables);

#define TYPE(symbol, name_, ops_) static const DeviceType symbol = { name_, sizeof(Gadget), ops_, gadget_state }
TYPE(board_type, "board", &board_ops);
TYPE(boot_type, "boot", &gadget_ops);
TYPE(cpu_type, "cpu", &gadget_ops);
TYPE(gadget_type, "gadget", &gadget_ops);
TYPE(part_a_type, "part-a", &part_ops);
TYPE(part_b_type, "part-b", &part_ops);
TYPE(single_type, "single", &gadget_ops);
TYPE(store_type, "store", &no_ops);
TYPE(talker_type, "talker", &no_ops);
const DeviceType *const device_types[] = { &board_type, &boot_type, &cpu_type, &gadget_type, &part_a_type, &part_b_type,
                                           &single_type, &store_type, &talker_type, NULL };

static inline Rig *rig_with_board(void)
{
    Rig *rig = rig_new();

    rig_plug(rig, "{\"driver\":\"board\",\"id\":\"board\"}");
    g_string_truncate(journal, 0);
    return rig;
}

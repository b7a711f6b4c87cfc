/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-core.c - the device model itself: plug states, ids, roll-back, claims, links, order, saving, fingerprint.
 *
 * The types are the test's own: this program defines the tables that devices/types.c and the generator define elsewhere. Their
 * hooks write what happens into a journal and fail where a property says so.
 */
#include <fcntl.h>

#include "../../devices/core/abi.h"
#include "core-rig.h"

typedef struct {
    guint32  fail;
    guint32  a, b, live;
    char    *peer;
    guint32  iobase, irq;
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

static void note(const Device *dev, const char *what)
{
    g_string_append_printf(journal, "%s%s:%s", journal->len ? " " : "", dev->id, what);
}

static void journal_is(const char *wanted)
{
    g_assert_cmpstr(journal->str, ==, wanted);
    g_string_truncate(journal, 0);
}

static const GadgetConfig *config_of(const Device *dev)
{
    return DEVICE_CONFIG(dev, GadgetConfig);
}

static gboolean lock_held(Device *dev)
{
    if (!g_mutex_trylock(&dev->lock))
        return TRUE;
    g_mutex_unlock(&dev->lock);
    return FALSE;
}

static gboolean fails(const Device *dev, guint where, GError **error)
{
    const GadgetConfig *config = dev->bag ? config_of(dev) : NULL;

    return config && config->fail == where && !error_set(error, "'%s' fails at %u", dev->id, where);
}

/* ---- hooks ---- */

static gboolean gadget_resolve(Device *dev, GError **error)
{
    g_assert_cmpint(dev->state, ==, DEVICE_NEW);
    note(dev, "resolve");
    if (fails(dev, FAIL_RESOLVE, error))
        return FALSE;
    if (!prop_bag_is_set(dev->bag, "b"))
        prop_bag_set_u(dev->bag, "b", config_of(dev)->a + 1, ORIGIN_DEFAULT);
    return TRUE;
}

static gboolean gadget_realize(Device *dev, GError **error)
{
    const GadgetConfig *config = config_of(dev);

    g_assert_cmpint(dev->state, ==, DEVICE_CONFIGURED);
    note(dev, "realize");
    if (config->iobase && !device_claim_io(dev, IO_PIO, config->iobase, 8, "iobase", error))
        return FALSE;
    if (config->irq && !device_claim_irq(dev, config->irq, "irq", error))
        return FALSE;
    if (config->peer && !device_link(dev, NS_CHARDEV, config->peer, "talker", "peer", error))
        return FALSE;
    return !fails(dev, FAIL_REALIZE, error); /* after everything was reserved */
}

static gboolean board_realize(Device *dev, GError **error)
{
    note(dev, "realize");
    return device_part_new(dev, "part-a", error) && device_part_new(dev, "part-b", error) &&
           !fails(dev, FAIL_WITH_PARTS, error);
}

static gboolean part_realize(Device *dev, GError **error)
{
    note(dev, "realize");
    return device_claim_io(dev, IO_PIO, strcmp(dev->type->name, "part-a") ? 0x20 : 0x10, 8, "", error);
}

static void gadget_publish(Device *dev)
{
    g_assert_cmpint(dev->state, ==, DEVICE_PUBLISHED);
    note(dev, "publish");
}

static void gadget_unpublish(Device *dev)
{
    note(dev, "unpublish");
}

static void gadget_unrealize(Device *dev)
{
    note(dev, "unrealize");
}

static void gadget_reset(Device *dev, ResetKind kind)
{
    g_assert_true(lock_held(dev));
    note(dev, kind == RESET_WARM ? "warm" : "reset");
}

static gboolean gadget_power_on(Device *dev, GError **error)
{
    g_assert_false(lock_held(dev));
    note(dev, "power-on");
    return !fails(dev, FAIL_POWER_ON, error);
}

static void gadget_quiesce(Device *dev)
{
    g_assert_true(lock_held(dev));
    note(dev, "quiesce");
}

static void gadget_resume(Device *dev)
{
    g_assert_true(lock_held(dev));
    note(dev, "resume");
}

static gboolean gadget_post_load(Device *dev, GError **error)
{
    Gadget *g = (Gadget *)dev;

    g_assert_true(lock_held(dev));
    g->loads++;
    return g->u8 != 13 || error_set(error, "'%s' does not take thirteen", dev->id);
}

static void gadget_abi(Device *dev, AbiSink *sink)
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
    .resolve = gadget_resolve, .realize = gadget_realize, .post_load = gadget_post_load, COMMON_HOOKS
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

static Rig *rig_with_board(void)
{
    Rig *rig = rig_new();

    rig_plug(rig, "{\"driver\":\"board\",\"id\":\"board\"}");
    g_string_truncate(journal, 0);
    return rig;
}

/* ---- plug states ---- */

static void test_states(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    PropBag *bag = rig_bag("{\"driver\":\"gadget\",\"id\":\"g\"}", NULL);
    Device *dev = device_plug_realize(rig->set, bag, NULL);

    g_assert_cmpint(dev->state, ==, DEVICE_REALIZED);
    journal_is("g:resolve g:realize");
    g_assert_true(device_set_find(rig->set, NS_DEVICE, "g") == dev);
    device_plug_publish(dev);
    g_assert_cmpint(dev->state, ==, DEVICE_PUBLISHED);
    journal_is("g:publish");
    rig_remove(dev);
    journal_is("g:unpublish g:unrealize");
    g_assert_null(device_set_find(rig->set, NS_DEVICE, "g"));
}

static void test_rollback_of_realized(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    PropBag *bag = rig_bag("{\"driver\":\"gadget\",\"id\":\"g\",\"iobase\":64}", NULL);

    device_plug_rollback(device_plug_realize(rig->set, bag, NULL));
    journal_is("g:resolve g:realize g:unrealize"); /* never published, so never unpublished */
    rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"g\",\"iobase\":64}");
}

static void test_failures_leave_nothing(void)
{
    g_autoptr(Rig) rig = rig_with_board();

    rig_plug(rig, "{\"chardev\":\"talker\",\"id\":\"t\"}");
    rig_refuse(rig, "fails at 1", "{\"driver\":\"gadget\",\"id\":\"g\",\"fail\":1}");
    journal_is("g:resolve"); /* nothing was realized: nothing to undo */
    rig_refuse(rig, "fails at 2", "{\"driver\":\"gadget\",\"id\":\"g\",\"fail\":2,\"iobase\":64,\"irq\":5,\"peer\":\"t\"}");
    journal_is("g:resolve g:realize g:unrealize");
    rig_remove(device_set_find(rig->set, NS_CHARDEV, "t")); /* nobody holds it */
}

static void test_board_that_fails(void)
{
    g_autoptr(Rig) rig = rig_new();

    g_string_truncate(journal, 0);
    rig_refuse(rig, "fails at 5", "{\"driver\":\"board\",\"id\":\"b\",\"fail\":5}");
    g_assert_null(device_set_board(rig->set));
    journal_is("b:realize b/part-a:realize b/part-b:realize b/part-b:unrealize b/part-a:unrealize b:unrealize");
    rig_plug(rig, "{\"driver\":\"board\",\"id\":\"b\"}");
    g_assert_nonnull(device_set_board(rig->set));
}

/* ---- who may be plugged ---- */

static void test_board_first(void)
{
    g_autoptr(Rig) rig = rig_new();

    rig_refuse(rig, "needs a board", "{\"driver\":\"gadget\"}");
    rig_plug(rig, "{\"qom-type\":\"store\",\"id\":\"s\"}"); /* the host's side needs none */
    rig_plug(rig, "{\"chardev\":\"talker\",\"id\":\"t\"}");
    rig_plug(rig, "{\"driver\":\"board\"}");
    rig_refuse(rig, "'board' can be plugged once", "{\"driver\":\"board\"}");
}

static void test_singleton(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    Device *one = rig_plug(rig, "{\"driver\":\"single\"}");

    rig_refuse(rig, "'single' can be plugged once", "{\"driver\":\"single\"}");
    rig_remove(one);
    rig_plug(rig, "{\"driver\":\"single\"}");
}

static void test_started(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    g_autoptr(GError) error = NULL;
    Device *cold = rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"cold\"}");

    g_assert_false(device_set_is_started(rig->set));
    device_set_started(rig->set);
    rig_refuse(rig, "'gadget' does not support hotplugging", "{\"driver\":\"gadget\"}");
    rig_remove(rig_plug(rig, "{\"driver\":\"cpu\"}"));
    rig_remove(rig_plug(rig, "{\"qom-type\":\"store\",\"id\":\"s\"}"));
    rig_remove(rig_plug(rig, "{\"chardev\":\"talker\",\"id\":\"t\"}"));
    g_assert_false(device_remove(cold, &error));
    g_assert_nonnull(strstr(error->message, "'cold' of type 'gadget' does not support hot unplug"));
    g_assert_cmpint(cold->state, ==, DEVICE_PUBLISHED);
}

static void test_board_in_use(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    g_autoptr(GError) error = NULL;
    Device *dev = rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"g\"}");

    g_assert_false(device_remove(device_set_board(rig->set), &error));
    g_assert_nonnull(strstr(error->message, "'g'"));
    rig_remove(dev);
    rig_remove(device_set_board(rig->set));
    g_assert_null(device_set_board(rig->set));
    g_assert_null(device_set_part(rig->set, "part-a"));
}

/* ---- ids ---- */

static void test_ids(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    Device *d[4];

    for (guint i = 0; i < 3; i++)
        d[i] = rig_plug(rig, "{\"driver\":\"gadget\"}");
    g_assert_cmpstr(d[0]->id, ==, "gadget.0");
    g_assert_cmpstr(d[2]->id, ==, "gadget.2");
    g_assert_false(d[2]->id_given);
    rig_remove(d[1]);
    d[3] = rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"gadget.3\"}");
    g_assert_true(d[3]->id_given);
    g_assert_cmpstr(rig_plug(rig, "{\"driver\":\"gadget\"}")->id, ==, "gadget.1"); /* lowest free */
    g_assert_cmpstr(rig_plug(rig, "{\"driver\":\"gadget\"}")->id, ==, "gadget.4"); /* over one that was given */
    rig_remove(d[3]);
    rig_remove(d[0]);
    g_assert_cmpstr(rig_plug(rig, "{\"driver\":\"gadget\"}")->id, ==, "gadget.0");
    g_assert_cmpstr(rig_plug(rig, "{\"driver\":\"gadget\"}")->id, ==, "gadget.3"); /* free again, though it was given */
    g_assert_cmpstr(rig_plug(rig, "{\"driver\":\"cpu\"}")->id, ==, "cpu.0");       /* counted by type */
}

static void test_duplicate_ids(void)
{
    g_autoptr(Rig) rig = rig_with_board();

    rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"x\"}");
    rig_refuse(rig, "Duplicate device ID 'x'", "{\"driver\":\"cpu\",\"id\":\"x\"}");
    rig_plug(rig, "{\"qom-type\":\"store\",\"id\":\"x\"}"); /* name spaces of their own */
    rig_refuse(rig, "Duplicate object ID 'x'", "{\"qom-type\":\"store\",\"id\":\"x\"}");
    rig_plug(rig, "{\"chardev\":\"talker\",\"id\":\"x\"}");
    rig_refuse(rig, "Duplicate chardev ID 'x'", "{\"chardev\":\"talker\",\"id\":\"x\"}");
}

static void test_paths(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    Device *devices[] = { rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"x\"}"), rig_plug(rig, "{\"qom-type\":\"store\",\"id\":\"x\"}"),
                          rig_plug(rig, "{\"chardev\":\"talker\",\"id\":\"x\"}"), device_set_part(rig->set, "part-b") };
    static const char *const paths[] = { "/machine/peripheral/x", "/objects/x", "/chardevs/x", "/machine/unattached/part-b" };

    for (guint i = 0; i < G_N_ELEMENTS(paths); i++) {
        g_autofree char *path = device_path(devices[i]);
        g_assert_cmpstr(path, ==, paths[i]);
        g_assert_true(device_set_by_path(rig->set, path) == devices[i]);
    }
    g_assert_null(device_set_by_path(rig->set, "/machine/peripheral/"));
    g_assert_null(device_set_by_path(rig->set, "/machine/unattached/part-c"));
    g_assert_null(device_set_by_path(rig->set, "x"));
}

/* ---- claims and links ---- */

static void test_claims(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    Device *dev = rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"one\",\"iobase\":1000,\"irq\":5}");

    rig_refuse(rig, "device 'one'", "{\"driver\":\"gadget\",\"iobase\":1007}");
    rig_refuse(rig, "device 'one'", "{\"driver\":\"gadget\",\"iobase\":993}");
    rig_refuse(rig, "device 'board/part-a'", "{\"driver\":\"gadget\",\"iobase\":16}");
    rig_refuse(rig, "interrupt 5 is in use by device 'one'", "{\"driver\":\"gadget\",\"irq\":5}");
    rig_refuse(rig, "interrupt 24 is not one of 0 to 23", "{\"driver\":\"gadget\",\"irq\":24}");
    rig_refuse(rig, "end beyond 0xffff", "{\"driver\":\"gadget\",\"iobase\":65529}");
    rig_refuse(rig, "end beyond 0xffff", "{\"driver\":\"gadget\",\"iobase\":4294967295}");
    rig_plug(rig, "{\"driver\":\"gadget\",\"iobase\":1008,\"irq\":23}"); /* side by side is no conflict */
    rig_plug(rig, "{\"driver\":\"gadget\",\"iobase\":992}");
    rig_plug(rig, "{\"driver\":\"gadget\",\"iobase\":65528}");
    rig_remove(dev);
    rig_plug(rig, "{\"driver\":\"gadget\",\"iobase\":1000,\"irq\":5}");
}

static void test_claim_edges(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    Device *dev = rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"g\"}");

    g_assert_true(device_claim_io(dev, IO_MMIO, G_MAXUINT64, 1, "p", NULL));
    g_assert_false(device_claim_io(dev, IO_MMIO, G_MAXUINT64, 2, "p", NULL));
    g_assert_false(device_claim_io(dev, IO_MMIO, 0, 0, "p", NULL));
    g_assert_false(device_claim_io(dev, IO_MMIO, 1, G_MAXUINT64, "p", NULL)); /* overlaps the first */
    g_assert_true(device_claim_io(dev, IO_MMIO, 0x10, 8, "p", NULL));         /* part-a's 0x10 are ports */
    g_assert_true(device_claim_irq(dev, 16, "p", NULL));                      /* nor are interrupts ports */
}

static void test_links(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    g_autoptr(GError) error = NULL;
    Device *talker = rig_plug(rig, "{\"chardev\":\"talker\",\"id\":\"t\"}");
    g_autofree char *huge = g_strnfill(120, 'n');

    rig_refuse(rig, "there is no talker 'none'", "{\"driver\":\"gadget\",\"peer\":\"none\"}");
    rig_refuse(rig, huge, "{\"driver\":\"gadget\",\"peer\":\"%s\"}", huge);
    g_assert_null(device_used_by(talker));
    Device *user = rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"u\",\"peer\":\"t\"}");
    g_assert_true(device_used_by(talker) == user);
    g_assert_false(device_remove(talker, &error));
    g_assert_cmpstr(error->message, ==, "The chardev 't' is in use by device 'u'");
    g_assert_null(device_link(user, NS_DEVICE, "u", "talker", "peer", NULL)); /* a gadget is no talker */
    rig_remove(user);
    rig_remove(talker);
}

/* ---- the whole set ---- */

static void test_order(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    static const char *const drivers[] = { "boot", "gadget", "cpu" };
    ResetKind warm = RESET_WARM;

    for (guint i = 0; i < G_N_ELEMENTS(drivers); i++)
        rig_plug(rig, "{\"driver\":\"%s\",\"id\":\"%c\"}", drivers[i], (char)('x' + i));
    g_string_truncate(journal, 0);
    device_set_reset(rig->set, warm);
    journal_is("board:warm board/part-a:warm board/part-b:warm x:warm y:warm z:warm"); /* plug order */
    g_assert_true(device_set_power_on(rig->set, NULL));
    journal_is("board/part-a:power-on board/part-b:power-on board:power-on z:power-on y:power-on x:power-on"); /* loaders last */
    device_set_quiesce(rig->set);
    journal_is("board:quiesce board/part-a:quiesce board/part-b:quiesce x:quiesce y:quiesce z:quiesce");
    device_set_resume(rig->set);
    journal_is("board:resume board/part-a:resume board/part-b:resume x:resume y:resume z:resume");
}

static void test_power_on_fails(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    g_autoptr(GError) error = NULL;

    rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"bad\",\"fail\":3}");
    rig_plug(rig, "{\"driver\":\"boot\",\"id\":\"later\"}");
    g_string_truncate(journal, 0);
    g_assert_false(device_set_power_on(rig->set, &error));
    g_assert_nonnull(strstr(error->message, "'bad'"));
    g_assert_null(strstr(journal->str, "later"));
}

static void test_free_goes_backwards(void)
{
    Rig *rig = rig_with_board();

    rig_plug(rig, "{\"chardev\":\"talker\",\"id\":\"t\"}");
    rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"x\",\"peer\":\"t\"}");
    rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"y\"}");
    g_string_truncate(journal, 0);
    rig_free(rig);
    journal_is("y:unpublish y:unrealize x:unpublish x:unrealize board/part-b:unpublish board/part-a:unpublish board:unpublish "
               "board/part-b:unrealize board/part-a:unrealize board:unrealize");
}

/* ---- resolution ---- */

typedef struct {
    PropOrigin origin; /* what the advisor offers, UNSET: nothing */
    guint64    value;
    guint      asked;
} Advice;

static gboolean advise(gpointer user, const char *id, const PropTable *table, guint row, PropBag *bag)
{
    Advice *advice = user;

    g_assert_cmpstr(id, ==, "g");
    g_assert_cmpint(bag->origin[row], ==, ORIGIN_UNSET); /* what the manager said is not asked for */
    if (strcmp(table->rows[row].name, "a") != 0)
        return FALSE;
    advice->asked++;
    if (advice->origin == ORIGIN_UNSET)
        return FALSE;
    prop_bag_set(bag, row, (PropValue){ .u = advice->value }, advice->origin);
    return TRUE;
}

static void test_resolution(void)
{
    static const struct {
        gboolean   configured;
        PropOrigin advised, origin;
        guint      a, b; /* b is computed from a: after it is known */
    } cases[] = {
        { TRUE, ORIGIN_HINT, ORIGIN_CONFIG, 50, 51 },          { FALSE, ORIGIN_HINT, ORIGIN_HINT, 30, 31 },
        { FALSE, ORIGIN_BEFORE, ORIGIN_BEFORE, 30, 31 },       { FALSE, ORIGIN_BASELINE, ORIGIN_BASELINE, 30, 31 },
        { FALSE, ORIGIN_UNSET, ORIGIN_DEFAULT, 1, 2 },
    };

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(Rig) rig = rig_with_board();
        Advice advice = { cases[i].advised, 30, 0 };
        device_set_advisor(rig->set, advise, &advice);
        Device *dev = rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"g\"%s}", cases[i].configured ? ",\"a\":50" : "");
        g_assert_cmpuint(advice.asked, ==, !cases[i].configured);
        g_assert_cmpuint(config_of(dev)->a, ==, cases[i].a);
        g_assert_cmpint(prop_bag_origin(dev->bag, "a"), ==, cases[i].origin);
        g_assert_cmpuint(config_of(dev)->b, ==, cases[i].b);
        device_set_advisor(rig->set, NULL, NULL);
    }
}

/* ---- saving ---- */

static Gadget *filled(Rig *rig)
{
    Gadget *g = (Gadget *)rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"g\"}");

    g->flag = TRUE;
    g->u8 = 0xab;
    g->u16 = 0xabcd;
    g->u32 = 0xabcdef01;
    g->u64 = G_MAXUINT64;
    g->i64 = G_MININT64;
    memcpy(g->bytes, "\0\1\2\xff", 4);
    return g;
}

static void test_save_and_load(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    Gadget *g = filled(rig);
    g_autoptr(GVariant) saved = device_save(&g->dev);
    g_autofree char *text = g_variant_print(saved, FALSE);
    g_autoptr(GError) error = NULL;

    g_assert_cmpstr(text, ==, "{'flag': <true>, 'u8': <byte 0xab>, 'u16': <uint16 43981>, 'u32': <uint32 2882400001>, 'u64': "
                              "<uint64 18446744073709551615>, 'i64': <int64 -9223372036854775808>, 'bytes': <[byte 0x00, 0x01, 0x02, 0xff]>}");
    memset((char *)g + sizeof(Device), 0, sizeof *g - sizeof(Device));
    /* Through bytes, as from a file. */
    g_autoptr(GBytes) bytes = g_variant_get_data_as_bytes(saved);
    g_autoptr(GVariant) read = g_variant_ref_sink(g_variant_new_from_bytes(G_VARIANT_TYPE_VARDICT, bytes, FALSE));
    g_assert_true(device_load(&g->dev, read, &error));
    g_assert_cmpuint(g->loads, ==, 1);
    g_autoptr(GVariant) again = device_save(&g->dev);
    g_assert_true(g_variant_equal(saved, again));
}

static void test_load_missing(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    Gadget *g = filled(rig);
    g_autoptr(GVariant) some = g_variant_ref_sink(g_variant_new_parsed("{'u8': <byte 1>}"));

    g_assert_true(device_load(&g->dev, some, NULL));
    g_assert_cmpuint(g->u8, ==, 1);
    g_assert_false(g->flag); /* `before`, not what was there */
    g_assert_cmpuint(g->u64, ==, 0);
    g_assert_cmpint(g->i64, ==, 77);
    g_assert_cmpmem(g->bytes, 4, "\xee\xee\xee\xee", 4);
}

static void load_refused(Gadget *g, GVariant *state, const char *fragment)
{
    g_autoptr(GVariant) taken = g_variant_ref_sink(state);
    g_autoptr(GVariant) was = device_save(&g->dev);
    g_autoptr(GError) error = NULL;

    g_assert_false(device_load(&g->dev, taken, &error));
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, fragment));
    g_assert_nonnull(strstr(error->message, "'g'"));
    g_autoptr(GVariant) now = device_save(&g->dev);
    g_assert_true(g_variant_equal(was, now));
}

static void test_load_refused(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    Gadget *g = filled(rig);

    load_refused(g, g_variant_new_parsed("{'u8': <byte 1>, 'colour': <byte 1>}"), "'colour'");
    load_refused(g, g_variant_new_parsed("{'u8': <byte 1>, 'u16': <uint32 1>}"), "'u16' has type 'u', wanted 'q'");
    load_refused(g, g_variant_new_parsed("{'u8': <byte 1>, 'bytes': <[byte 1, 2, 3]>}"), "3 bytes, wanted 4");
    load_refused(g, g_variant_new_parsed("{'u8': <byte 1>, 'u8': <byte 2>}"), "twice");
    load_refused(g, g_variant_new_parsed("{'u8': <byte 13>, 'flag': <false>}"), "thirteen"); /* post_load's no */
    load_refused(g, g_variant_new_string("state"), "well-formed");
    g_autoptr(GBytes) broken = g_bytes_new_static("\1\2\3\4\5", 5);
    load_refused(g, g_variant_new_from_bytes(G_VARIANT_TYPE_VARDICT, broken, FALSE), "well-formed");
}

/* ---- the guest's mistakes ---- */

static guint logged;

static GLogWriterOutput count_log(GLogLevelFlags level, const GLogField *fields, gsize n, gpointer user)
{
    logged += (level & G_LOG_LEVEL_MESSAGE) != 0;
    return G_LOG_WRITER_HANDLED;
}

static gpointer complain(gpointer dev)
{
    for (guint i = 0; i < 1000; i++)
        device_guest_error(dev, "wrote %u", i);
    return NULL;
}

/* Runs in a child: the log writer can be set once in a process. */
static void test_guest_errors(void)
{
    if (!g_test_subprocess()) {
        g_test_trap_subprocess(NULL, 0, 0);
        g_test_trap_assert_passed();
        return;
    }
    g_autoptr(Rig) rig = rig_with_board();
    Device *dev = rig_plug(rig, "{\"driver\":\"gadget\"}"), *other = rig_plug(rig, "{\"driver\":\"gadget\"}");
    GThread *threads[4];

    g_log_set_writer_func(count_log, NULL, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(threads); i++)
        threads[i] = g_thread_new("guest", complain, dev);
    for (guint i = 0; i < G_N_ELEMENTS(threads); i++)
        g_thread_join(threads[i]);
    g_assert_cmpuint(logged, ==, 1);
    g_assert_cmpuint(dev->guest_errors, ==, 3999);
    device_guest_error(other, "has a limit of its own");
    g_assert_cmpuint(logged, ==, 2);
    dev->guest_error_at -= 2 * G_USEC_PER_SEC;
    device_guest_error(dev, "a second later");
    g_assert_cmpuint(logged, ==, 3);
    g_assert_cmpuint(dev->guest_errors, ==, 0);
}

/* ---- fingerprint ---- */

static GPtrArray *fingerprint(Rig *rig, guint8 root[ABI_HASH_LEN])
{
    GPtrArray *leaves = NULL;

    abi_fingerprint(rig->set, root, &leaves);
    return leaves;
}

static const AbiLeaf *leaf_find(GPtrArray *leaves, const char *device, const char *item)
{
    for (guint i = 0; i < leaves->len; i++) {
        const AbiLeaf *leaf = g_ptr_array_index(leaves, i);
        if (strcmp(leaf->device, device) == 0 && strcmp(leaf->item, item) == 0)
            return leaf;
    }
    return NULL;
}

static void test_abi_leaves(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    guint8 root[ABI_HASH_LEN];

    rig_plug(rig, "{\"chardev\":\"talker\",\"id\":\"t\"}");
    rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"g\",\"peer\":\"t\"}");
    g_autoptr(GPtrArray) leaves = fingerprint(rig, root);
    g_assert_nonnull(leaf_find(leaves, "g", "prop:a"));
    g_assert_null(leaf_find(leaves, "g", "prop:live")); /* not the guest's */
    g_assert_null(leaf_find(leaves, "g", "prop:peer"));
    g_assert_null(leaf_find(leaves, "t", "prop:a")); /* the host's side is not visible */
    g_assert_nonnull(leaf_find(leaves, "board", "part-a:registers"));
    const AbiLeaf *masked = leaf_find(leaves, "g", "masked");
    g_assert_cmpuint(g_bytes_get_size(masked->mask), ==, 2);
    for (guint i = 1; i < leaves->len; i++) {
        const AbiLeaf *before = g_ptr_array_index(leaves, i - 1), *leaf = g_ptr_array_index(leaves, i);
        int by_device = strcmp(before->device, leaf->device);
        g_assert_true(by_device < 0 || (by_device == 0 && strcmp(before->item, leaf->item) < 0));
    }
}

static void test_abi_one_change(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    guint8 before[ABI_HASH_LEN], after[ABI_HASH_LEN], back[ABI_HASH_LEN];
    Device *dev = rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"g\"}");
    guint moved = 0;

    rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"h\"}");
    g_autoptr(GPtrArray) old = fingerprint(rig, before);
    prop_bag_set_u(dev->bag, "a", 60, ORIGIN_CONFIG);
    abi_fingerprint(rig->set, after, NULL);
    g_assert_cmpmem(before, ABI_HASH_LEN, after, ABI_HASH_LEN); /* cached: nobody said that it changed */
    abi_invalidate(dev);
    g_autoptr(GPtrArray) new = fingerprint(rig, after);
    g_assert_cmpint(memcmp(before, after, ABI_HASH_LEN), !=, 0);
    g_assert_cmpuint(old->len, ==, new->len);
    for (guint i = 0; i < old->len; i++) {
        const AbiLeaf *a = g_ptr_array_index(old, i), *b = g_ptr_array_index(new, i);
        if (memcmp(a->hash, b->hash, ABI_HASH_LEN) == 0)
            continue;
        moved++;
        g_assert_cmpstr(a->item, ==, "prop:a");
        g_assert_cmpstr(a->device, ==, "g");
    }
    g_assert_cmpuint(moved, ==, 1);
    prop_bag_set_u(dev->bag, "live", 60, ORIGIN_CONFIG); /* not visible */
    prop_bag_set_u(dev->bag, "a", 1, ORIGIN_HINT);       /* the value counts, not where it is from */
    abi_invalidate(dev);
    abi_fingerprint(rig->set, back, NULL);
    g_assert_cmpmem(before, ABI_HASH_LEN, back, ABI_HASH_LEN);
}

static void test_abi_order_and_cache(void)
{
    static const char *const ids[] = { "g", "h", "i" };
    guint8 roots[2][ABI_HASH_LEN];

    for (guint pass = 0; pass < 2; pass++) {
        g_autoptr(Rig) rig = rig_with_board();
        for (guint i = 0; i < 3; i++)
            rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"%s\",\"a\":%u}", ids[pass ? 2 - i : i], pass ? 2 - i : i);
        abi_fingerprint(rig->set, roots[pass], NULL);
        g_string_truncate(journal, 0);
        abi_fingerprint(rig->set, roots[pass], NULL);
        journal_is(""); /* nothing made anew */
        rig_remove(device_set_find(rig->set, NS_DEVICE, "h"));
        g_string_truncate(journal, 0);
        guint8 less[ABI_HASH_LEN];
        abi_fingerprint(rig->set, less, NULL);
        journal_is("board:abi board/part-a:abi board/part-b:abi"); /* the board lists the devices */
        g_assert_cmpint(memcmp(less, roots[pass], ABI_HASH_LEN), !=, 0);
    }
    g_assert_cmpmem(roots[0], ABI_HASH_LEN, roots[1], ABI_HASH_LEN);
}

/* ---- files ---- */

static int give_fd(gpointer user, gint64 set, int flags, GError **error)
{
    if (set == 7)
        return 42;
    error_set(error, "no such set");
    return -1;
}

static void test_open_path(void)
{
    static const DeviceObserver with_sets = { .open_fdset = give_fd };
    g_autoptr(Rig) rig = rig_with_board();
    g_autofree char *tmp = rig_tmp_new(), *file = g_build_filename(tmp, "f", NULL), *huge = g_strnfill(900, 'p');
    g_autofree char *set_with_tail = g_strdup_printf("/dev/fdset/%s", huge);
    const char *bad[] = { "/dev/fdset/8", "/dev/fdset/", "/dev/fdset/-1", "/dev/fdset/7x", set_with_tail, tmp, huge };
    DeviceSet *set = device_set_new(rig->vm, &with_sets, NULL);
    Device *dev;
    g_autoptr(GError) none = NULL;

    device_plug_publish(device_plug_realize(set, rig_bag("{\"driver\":\"board\",\"id\":\"b\"}", NULL), NULL));
    dev = device_plug_realize(set, rig_bag("{\"driver\":\"gadget\",\"id\":\"g\"}", NULL), NULL);
    int fd = device_open_path(dev, "peer", file, O_WRONLY | O_CREAT, 0600, NULL);
    g_assert_cmpint(fcntl(fd, F_GETFD) & FD_CLOEXEC, !=, 0);
    close(fd);
    g_assert_cmpint(device_open_path(dev, "peer", "/dev/fdset/7", O_RDONLY, 0, NULL), ==, 42);
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_cmpint(device_open_path(dev, "peer", bad[i], O_WRONLY, 0, &error), ==, -1);
        g_test_message("%s", error->message);
        g_assert_nonnull(strstr(error->message, "'peer'"));
        g_assert_nonnull(strstr(error->message, "'g'"));
        g_assert_cmpuint(strlen(error->message), <, 420);
    }
    g_assert_cmpint(device_open_path(dev, "peer", "/dev/fdset/8", O_WRONLY, 0, NULL), ==, -1); /* nobody asks why */
    device_set_free(set);
    rig_tmp_remove(g_steal_pointer(&tmp));
}

int main(int argc, char **argv)
{
    int status;

    g_test_init(&argc, &argv, NULL);
    journal = g_string_new(NULL);
    g_test_add_func("/core/states", test_states);
    g_test_add_func("/core/rollback-of-realized", test_rollback_of_realized);
    g_test_add_func("/core/failures-leave-nothing", test_failures_leave_nothing);
    g_test_add_func("/core/board-that-fails", test_board_that_fails);
    g_test_add_func("/core/board-first", test_board_first);
    g_test_add_func("/core/singleton", test_singleton);
    g_test_add_func("/core/started", test_started);
    g_test_add_func("/core/board-in-use", test_board_in_use);
    g_test_add_func("/core/ids", test_ids);
    g_test_add_func("/core/duplicate-ids", test_duplicate_ids);
    g_test_add_func("/core/paths", test_paths);
    g_test_add_func("/core/claims", test_claims);
    g_test_add_func("/core/claim-edges", test_claim_edges);
    g_test_add_func("/core/links", test_links);
    g_test_add_func("/core/order", test_order);
    g_test_add_func("/core/power-on-fails", test_power_on_fails);
    g_test_add_func("/core/free-goes-backwards", test_free_goes_backwards);
    g_test_add_func("/core/resolution", test_resolution);
    g_test_add_func("/core/save-and-load", test_save_and_load);
    g_test_add_func("/core/load-missing", test_load_missing);
    g_test_add_func("/core/load-refused", test_load_refused);
    g_test_add_func("/core/guest-errors", test_guest_errors);
    g_test_add_func("/core/abi-leaves", test_abi_leaves);
    g_test_add_func("/core/abi-one-change", test_abi_one_change);
    g_test_add_func("/core/abi-order-and-cache", test_abi_order_and_cache);
    g_test_add_func("/core/open-path", test_open_path);
    status = g_test_run();
    g_string_free(journal, TRUE);
    return status;
}

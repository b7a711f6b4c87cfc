/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-record.c - what is remembered of devices: where values come from, and the places of devices that are not there. */
#include "../../devices/core/record.h"
#include "../../devices/core/unplug.h"
#include "core-types.h"

/* A record of gadget ID whose row `a` is in STATE, with VALUE; of its other rows today's defaults count. */
static DeviceRecord *record_a(const char *id, RecordState state, guint64 value)
{
    DeviceRecord *record = device_record_new(&gadget_table, id);
    guint a = (guint)prop_table_row(&gadget_table, "a");

    memset(record->state, RECORD_TODAY, gadget_table.n_rows);
    record->state[a] = (guint8)state;
    if (state == RECORD_VALUE)
        prop_bag_set(record->bag, a, (PropValue){ .u = value }, ORIGIN_HINT);
    return record;
}

static void set_baseline(DeviceSet *set, guint64 a)
{
    GHashTable *bags = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, (GDestroyNotify)prop_bag_free);
    PropBag *bag = prop_bag_new(&gadget_table);

    prop_bag_set_u(bag, "a", a, ORIGIN_BASELINE);
    g_hash_table_insert(bags, (gpointer)gadget_table.name, bag);
    device_set_baseline(set, "0.0", bags);
}

/* ---- resolution: docs/design/compat-hints.md section 1, all of it for one row ---- */

#define NO_RECORD 99

static void test_matrix(void)
{
    static const struct {
        guint      state; /* of the record's row, or NO_RECORD */
        gboolean   configured, baseline;
        PropOrigin origin;
        guint      a; /* configured 50, hint 30, before 5, baseline 20, default 1 */
    } cases[] = {
        { NO_RECORD, FALSE, FALSE, ORIGIN_DEFAULT, 1 },       { NO_RECORD, FALSE, TRUE, ORIGIN_BASELINE, 20 },
        { RECORD_UNKNOWN, FALSE, FALSE, ORIGIN_BEFORE, 5 },   { RECORD_UNKNOWN, FALSE, TRUE, ORIGIN_BEFORE, 5 },
        { RECORD_VALUE, FALSE, FALSE, ORIGIN_HINT, 30 },      { RECORD_VALUE, FALSE, TRUE, ORIGIN_HINT, 30 },
        { RECORD_NONE, FALSE, FALSE, ORIGIN_UNSET, 0 },       { RECORD_NONE, FALSE, TRUE, ORIGIN_UNSET, 0 },
        { RECORD_TODAY, FALSE, FALSE, ORIGIN_DEFAULT, 1 },    { RECORD_TODAY, FALSE, TRUE, ORIGIN_DEFAULT, 1 },
        { RECORD_REFRESH, FALSE, FALSE, ORIGIN_DEFAULT, 1 },  { RECORD_REFRESH, FALSE, TRUE, ORIGIN_DEFAULT, 1 },
        { NO_RECORD, TRUE, FALSE, ORIGIN_CONFIG, 50 },        { NO_RECORD, TRUE, TRUE, ORIGIN_CONFIG, 50 },
        { RECORD_UNKNOWN, TRUE, FALSE, ORIGIN_CONFIG, 50 },   { RECORD_UNKNOWN, TRUE, TRUE, ORIGIN_CONFIG, 50 },
        { RECORD_VALUE, TRUE, FALSE, ORIGIN_CONFIG, 50 },     { RECORD_VALUE, TRUE, TRUE, ORIGIN_CONFIG, 50 },
        { RECORD_NONE, TRUE, FALSE, ORIGIN_CONFIG, 50 },      { RECORD_NONE, TRUE, TRUE, ORIGIN_CONFIG, 50 },
        { RECORD_TODAY, TRUE, FALSE, ORIGIN_CONFIG, 50 },     { RECORD_TODAY, TRUE, TRUE, ORIGIN_CONFIG, 50 },
    };

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(Rig) rig = rig_with_board();
        if (cases[i].state != NO_RECORD)
            device_set_remember(rig->set, record_a("g", (RecordState)cases[i].state, 30));
        if (cases[i].baseline)
            set_baseline(rig->set, 20);
        Device *dev = rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"g\"%s}", cases[i].configured ? ",\"a\":50" : "");
        g_assert_cmpint(prop_bag_origin(dev->bag, "a"), ==, cases[i].origin);
        g_assert_cmpuint(config_of(dev)->a, ==, cases[i].a);
        g_assert_cmpuint(config_of(dev)->b, ==, cases[i].a + 1); /* computed from a: after that is known */
        g_assert_cmpuint(config_of(dev)->live, ==, 4);           /* no guest sees it: its default, whatever there is */
    }
}

/* The id is another's, or of another type: the record says nothing of this one. */
static void test_whose_record(void)
{
    g_autoptr(Rig) rig = rig_with_board();

    device_set_remember(rig->set, record_a("g", RECORD_VALUE, 30));
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_MESSAGE, "device 'g' is a single: what is known of a gadget of this id*");
    Device *other = rig_plug(rig, "{\"driver\":\"single\",\"id\":\"g\"}");
    g_test_assert_expected_messages();
    g_assert_cmpuint(config_of(other)->a, ==, 1);
    g_assert_cmpuint(config_of(rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"h\"}"))->a, ==, 1);
    rig_remove(other);
    g_assert_cmpuint(config_of(rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"g\"}"))->a, ==, 30); /* kept for a later plug */
}

static void test_losers(void)
{
    static const struct {
        PropOrigin origin;
        gboolean   there;
        guint64    a;
    } cases[] = { { ORIGIN_HINT, TRUE, 30 }, { ORIGIN_BEFORE, FALSE, 0 }, { ORIGIN_BASELINE, TRUE, 20 }, { ORIGIN_DEFAULT, TRUE, 1 } };
    g_autoptr(Rig) rig = rig_with_board();
    g_autoptr(PropBag) bag = prop_bag_new(&gadget_table);
    guint a = (guint)prop_table_row(&gadget_table, "a");

    device_set_remember(rig->set, record_a("g", RECORD_VALUE, 30));
    set_baseline(rig->set, 20);
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_assert_cmpint(device_candidate(rig->set, "g", cases[i].origin, bag, a), ==, cases[i].there);
        if (cases[i].there)
            g_assert_cmpuint(prop_bag_get_u(bag, a), ==, cases[i].a);
    }
    g_assert_true(device_candidate(rig->set, "else", ORIGIN_BASELINE, bag, a));
    g_assert_false(device_candidate(rig->set, "else", ORIGIN_HINT, bag, a));
}

/* ---- what is remembered of a device that goes ---- */

static RecordState state_of(const DeviceRecord *record, const char *row)
{
    return (RecordState)record->state[prop_table_row(record->bag->table, row)];
}

static void unplug(Device *dev)
{
    g_autoptr(GError) error = NULL;
    UnplugHow how = { 0 };

    g_assert_true(device_unplug(dev, &how, &error));
    g_assert_no_error(error);
}

static void test_remembered(void)
{
    g_autoptr(Rig) rig = rig_with_board();

    unplug(rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"g\",\"a\":44,\"live\":9}"));
    const DeviceRecord *record = device_set_record(rig->set, "g");
    g_assert_nonnull(record);
    g_assert_cmpint(state_of(record, "a"), ==, RECORD_VALUE);
    g_assert_cmpint(state_of(record, "b"), ==, RECORD_VALUE);
    g_assert_cmpint(state_of(record, "bootindex"), ==, RECORD_NONE);
    Device *again = rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"g\"}");
    g_assert_cmpuint(config_of(again)->a, ==, 44);
    g_assert_cmpint(prop_bag_origin(again->bag, "a"), ==, ORIGIN_HINT);
    g_assert_cmpuint(config_of(again)->live, ==, 4); /* the manager's, who says it again or does not */
    unplug(again);
    g_assert_true(device_set_forget(rig->set, "g"));
    g_assert_false(device_set_forget(rig->set, "g"));
    g_assert_cmpuint(config_of(rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"g\"}"))->a, ==, 1);
}

/* What was rolled back was never there. */
static void test_rollback_leaves_nothing(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    g_autoptr(GError) error = NULL;

    device_plug_rollback(device_plug_realize(rig->set, rig_bag("{\"driver\":\"gadget\",\"id\":\"g\",\"a\":44}", NULL), &error));
    g_assert_null(device_set_record(rig->set, "g"));
}

static void test_refresh(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    guint a = (guint)prop_table_row(&gadget_table, "a"), irq = (guint)prop_table_row(&gadget_table, "irq");

    device_set_remember(rig->set, record_a("g", RECORD_VALUE, 30));
    Device *dev = rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"g\",\"irq\":9}");
    device_set_refresh(rig->set, "g", &gadget_table, &a, 1);
    g_assert_cmpuint(config_of(dev)->a, ==, 30); /* not before it is plugged again */
    g_autoptr(DeviceRecord) told = device_record_of(dev);
    g_assert_cmpint(told->state[a], ==, RECORD_TODAY); /* what an export says */
    g_assert_cmpint(told->state[irq], ==, RECORD_VALUE);
    unplug(dev);
    dev = rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"g\"}");
    g_assert_cmpuint(config_of(dev)->a, ==, 1);
    g_assert_cmpuint(config_of(dev)->irq, ==, 9);
    g_autoptr(DeviceRecord) later = device_record_of(dev);
    g_assert_cmpint(later->state[a], ==, RECORD_VALUE); /* the wish is fulfilled */
}

/* At most 1024 are kept; the longest gone is forgotten. What was imported is not of that number. */
static void test_bounded(void)
{
    g_autoptr(Rig) rig = rig_with_board();

    device_set_remember(rig->set, record_a("imported", RECORD_VALUE, 30));
    for (guint i = 0; i < 1100; i++)
        unplug(rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"g%u\"}", i));
    g_autoptr(GPtrArray) all = device_set_records(rig->set);
    g_assert_cmpuint(all->len, ==, 1024 + 1);
    g_assert_null(device_set_record(rig->set, "g75"));
    g_assert_nonnull(device_set_record(rig->set, "g76"));
    g_assert_nonnull(device_set_record(rig->set, "imported"));
}

/* ---- places ---- */

/* What a device ID would be given if it was plugged now. */
static guint allocate(Rig *rig, const char *id)
{
    g_autofree char *json = g_strdup_printf("{\"driver\":\"gadget\",\"id\":\"%s\",\"irq\":0}", id);
    Device *dev = device_plug_realize(rig->set, rig_bag(json, NULL), NULL);
    PlaceSearch search = device_place_search(dev);

    for (guint i = 8; i < 11; i++) {
        if (device_place_try(&search, i, gadget_place(i)))
            break;
    }
    g_assert_true(search.found);
    device_plug_rollback(dev);
    return search.value;
}

static void test_places_are_kept(void)
{
    g_autoptr(Rig) rig = rig_with_board();

    g_assert_cmpuint(allocate(rig, "new"), ==, 8);
    unplug(rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"one\",\"irq\":8}"));
    unplug(rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"two\",\"irq\":10}"));
    g_assert_cmpuint(allocate(rig, "new"), ==, 9); /* around it */
    g_assert_cmpuint(allocate(rig, "one"), ==, 8); /* one's own is as good as nobody's */
    unplug(rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"three\",\"irq\":9}"));
    g_assert_cmpuint(allocate(rig, "new"), ==, 8); /* all are kept for somebody: the longest gone gives way */
    g_assert_true(device_set_forget(rig->set, "two"));
    g_assert_cmpuint(allocate(rig, "new"), ==, 10);
}

static void test_place_taken(void)
{
    g_autoptr(Rig) rig = rig_with_board();

    unplug(rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"one\",\"a\":44,\"irq\":8}"));
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_MESSAGE, "device 'two' has interrupt 0x8 now, which was kept for 'one'");
    rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"two\",\"irq\":8}");
    g_test_assert_expected_messages();
    const DeviceRecord *record = device_set_record(rig->set, "one");
    g_assert_cmpint(state_of(record, "irq"), ==, RECORD_TODAY); /* its return finds another place instead of an error */
    g_assert_cmpint(state_of(record, "a"), ==, RECORD_VALUE);
    g_assert_cmpuint(config_of(rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"one\"}"))->irq, ==, 0);
}

/* A device that is back keeps nothing for itself but what it has. */
static void test_place_left(void)
{
    g_autoptr(Rig) rig = rig_with_board();

    unplug(rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"one\",\"irq\":8}"));
    Device *back = rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"one\",\"irq\":10}");
    g_assert_cmpuint(allocate(rig, "new"), ==, 8);
    unplug(back);
    g_assert_cmpuint(allocate(rig, "new"), ==, 8);
}

/* A transaction says what it will plug: what is told where to be has that place, though it comes last. */
static void test_place_expected(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    g_autoptr(GPtrArray) bags = g_ptr_array_new_with_free_func((GDestroyNotify)prop_bag_free);

    unplug(rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"one\",\"a\":44,\"irq\":8,\"bootindex\":3}"));
    g_ptr_array_add(bags, rig_bag("{\"driver\":\"gadget\",\"id\":\"two\",\"irq\":8}", NULL));
    device_places_expect(rig->set, bags);
    g_assert_cmpuint(allocate(rig, "new"), ==, 9);
    Device *one = rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"one\"}");
    g_assert_cmpuint(config_of(one)->irq, ==, 0);
    g_assert_cmpuint(config_of(one)->a, ==, 44);
    g_assert_cmpuint(config_of(one)->bootindex, ==, 3);
    device_places_expect(rig->set, NULL);
    g_assert_cmpuint(config_of(rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"two\",\"irq\":8}"))->irq, ==, 8);
}

/* A boot index that is only remembered gives way to one that is configured; two that are configured are refused. */
static void test_bootindex(void)
{
    g_autoptr(Rig) rig = rig_with_board();

    unplug(rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"one\",\"bootindex\":1}"));
    Device *one = rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"one\"}");
    g_assert_cmpint(prop_bag_origin(one->bag, "bootindex"), ==, ORIGIN_HINT);
    rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"two\",\"bootindex\":1}");
    g_assert_false(prop_bag_is_set(one->bag, "bootindex"));
    rig_refuse(rig, "1 is that of device 'two' already", "{\"driver\":\"gadget\",\"id\":\"three\",\"bootindex\":1}");
}

int main(int argc, char **argv)
{
    int status;

    g_test_init(&argc, &argv, NULL);
    journal = g_string_new(NULL);
    g_test_add_func("/record/matrix", test_matrix);
    g_test_add_func("/record/whose", test_whose_record);
    g_test_add_func("/record/losers", test_losers);
    g_test_add_func("/record/remembered", test_remembered);
    g_test_add_func("/record/rollback", test_rollback_leaves_nothing);
    g_test_add_func("/record/refresh", test_refresh);
    g_test_add_func("/record/bounded", test_bounded);
    g_test_add_func("/record/places/kept", test_places_are_kept);
    g_test_add_func("/record/places/taken", test_place_taken);
    g_test_add_func("/record/places/left", test_place_left);
    g_test_add_func("/record/places/expected", test_place_expected);
    g_test_add_func("/record/places/bootindex", test_bootindex);
    status = g_test_run();
    g_string_free(journal, TRUE);
    return status;
}

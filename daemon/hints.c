/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hints.c - records of devices as sections of a compat-hints file, and back.
 *
 *   "types"     name, and its properties in the order in which records have their values
 *   "values"    each different value once: b, t, s, ay; the byte 0: there was none, 1: today's default
 *   "devices"   id, type, 0 or the rank of a device that is not plugged (longest gone first), its values
 *   "baseline"  name; per type property and value
 *
 * All numbers but the rank are indices. So a name is written once per type, and what devices have in common (all CPUs their CPUID) once per file. Devices
 * stand in the order of their ids, all else in the order of its first use: the same machine gives the same bytes.
 *
 * Reading (hints-read.c) goes on after what it can not use, and lists it: the caller decides whether that is an error.
 */
#include "hints.h"

#include "../common/error.h"

/* ---- out: the tables that grow while devices are written ---- */

typedef struct {
    GHashTable     *types; /* PropTable -> index + 1 */
    GVariantBuilder type_list;
    GHashTable     *values; /* GVariant -> index + 1 */
    GVariantBuilder value_list;
} Writer;

static guint value_hash(gconstpointer key)
{
    GVariant *v = (GVariant *)key;
    const guint8 *p = g_variant_get_data(v);
    guint h = 5381;

    for (gsize i = 0; i < g_variant_get_size(v); i++)
        h = h * 33 + p[i];
    return h;
}

static gboolean value_equal(gconstpointer a, gconstpointer b)
{
    GVariant *x = (GVariant *)a, *y = (GVariant *)b;
    gsize n = g_variant_get_size(x);

    return n == g_variant_get_size(y) && strcmp(g_variant_get_type_string(x), g_variant_get_type_string(y)) == 0 &&
           (n == 0 || memcmp(g_variant_get_data(x), g_variant_get_data(y), n) == 0);
}

static void writer_init(Writer *w)
{
    w->types = g_hash_table_new(NULL, NULL);
    w->values = g_hash_table_new_full(value_hash, value_equal, (GDestroyNotify)g_variant_unref, NULL);
    g_variant_builder_init(&w->type_list, G_VARIANT_TYPE(HINT_TYPES));
    g_variant_builder_init(&w->value_list, G_VARIANT_TYPE(HINT_VALUES));
}

static void writer_finish(Writer *w, HintsFile *file)
{
    hints_file_add(file, "types", g_variant_builder_end(&w->type_list));
    hints_file_add(file, "values", g_variant_builder_end(&w->value_list));
    g_hash_table_unref(w->types);
    g_hash_table_unref(w->values);
}

static guint32 write_type(Writer *w, const PropTable *table)
{
    guint n = GPOINTER_TO_UINT(g_hash_table_lookup(w->types, table));

    if (n)
        return n - 1;
    g_variant_builder_open(&w->type_list, G_VARIANT_TYPE("(sas)"));
    g_variant_builder_add(&w->type_list, "s", prop_table_first_name(table));
    g_variant_builder_open(&w->type_list, G_VARIANT_TYPE("as"));
    for (guint i = 0; i < table->n_rows; i++) {
        if (table->rows[i].flags & PROP_GUEST)
            g_variant_builder_add(&w->type_list, "s", table->rows[i].name);
    }
    g_variant_builder_close(&w->type_list);
    g_variant_builder_close(&w->type_list);
    n = g_hash_table_size(w->types);
    g_hash_table_insert(w->types, (gpointer)table, GUINT_TO_POINTER(n + 1));
    return n;
}

static guint32 write_value(Writer *w, GVariant *floating)
{
    GVariant *value = g_variant_ref_sink(floating);
    guint n = GPOINTER_TO_UINT(g_hash_table_lookup(w->values, value));

    if (n) {
        g_variant_unref(value);
        return n - 1;
    }
    n = g_hash_table_size(w->values);
    g_variant_builder_add(&w->value_list, "v", value);
    g_hash_table_insert(w->values, value, GUINT_TO_POINTER(n + 1));
    return n;
}

static GVariant *row_value(const DeviceRecord *record, guint row)
{
    switch ((RecordState)record->state[row]) {
    case RECORD_VALUE:
        return prop_bag_get_variant(record->bag, row);
    case RECORD_NONE:
        return g_variant_new_byte(HINT_VALUE_NONE);
    case RECORD_UNKNOWN: /* of a writer before us: told on as what it was taken for */
        if (record->bag->table->rows[row].before_none)
            return g_variant_new_byte(HINT_VALUE_NONE);
        if (record->bag->table->rows[row].has_before) {
            g_autoptr(PropBag) bag = prop_bag_new(record->bag->table);
            prop_bag_set(bag, row, record->bag->table->rows[row].before, ORIGIN_BEFORE);
            return prop_bag_get_variant(bag, row);
        }
        return g_variant_new_byte(HINT_VALUE_TODAY);
    default:
        return g_variant_new_byte(HINT_VALUE_TODAY);
    }
}

static void write_record(Writer *w, GVariantBuilder *devices, const DeviceRecord *record, guint rank)
{
    const PropTable *table = record->bag->table;

    g_variant_builder_open(devices, G_VARIANT_TYPE("(suuau)"));
    g_variant_builder_add(devices, "s", record->id);
    g_variant_builder_add(devices, "u", write_type(w, table));
    g_variant_builder_add(devices, "u", rank);
    g_variant_builder_open(devices, G_VARIANT_TYPE("au"));
    for (guint i = 0; i < table->n_rows; i++) {
        if (table->rows[i].flags & PROP_GUEST)
            g_variant_builder_add(devices, "u", write_value(w, row_value(record, i)));
    }
    g_variant_builder_close(devices);
    g_variant_builder_close(devices);
}

/* ---- out: which devices ---- */

static gint by_since(gconstpointer a, gconstpointer b)
{
    guint64 x = (*(DeviceRecord *const *)a)->since, y = (*(DeviceRecord *const *)b)->since;

    return x < y ? -1 : x > y;
}

static gint by_id(gconstpointer a, gconstpointer b)
{
    return strcmp((*(DeviceRecord *const *)a)->id, (*(DeviceRecord *const *)b)->id);
}

static gboolean add_plugged(Device *dev, gpointer list)
{
    if (device_ns(dev) == NS_DEVICE)
        g_ptr_array_add(list, device_record_of(dev));
    return TRUE;
}

/* Of plugged devices as they are, SINCE 0; of others as remembered, SINCE their rank. In the order of ids. */
static GPtrArray *collect(const DeviceSet *set)
{
    GPtrArray *all = g_ptr_array_new_with_free_func((GDestroyNotify)device_record_free);
    g_autoptr(GPtrArray) known = device_set_records(set);
    guint rank = 0;

    device_set_foreach(set, add_plugged, all);
    g_ptr_array_sort(known, by_since);
    for (guint i = 0; i < known->len; i++) {
        const DeviceRecord *record = g_ptr_array_index(known, i);
        if (device_set_find(set, NS_DEVICE, record->id))
            continue;
        DeviceRecord *copy = device_record_copy(record);
        copy->since = ++rank;
        g_ptr_array_add(all, copy);
    }
    g_ptr_array_sort(all, by_id);
    return all;
}

static gint by_name(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void write_baseline_type(Writer *w, GVariantBuilder *out, const PropBag *bag)
{
    guint index = 0;

    g_variant_builder_open(out, G_VARIANT_TYPE("(ua(uu))"));
    g_variant_builder_add(out, "u", write_type(w, bag->table));
    g_variant_builder_open(out, G_VARIANT_TYPE("a(uu)"));
    for (guint i = 0; i < bag->table->n_rows; i++) {
        if (!(bag->table->rows[i].flags & PROP_GUEST))
            continue;
        if (bag->origin[i] != ORIGIN_UNSET)
            g_variant_builder_add(out, "(uu)", index, write_value(w, prop_bag_get_variant(bag, i)));
        index++;
    }
    g_variant_builder_close(out);
    g_variant_builder_close(out);
}

static GVariant *write_baseline(Writer *w, const DeviceSet *set)
{
    GHashTable *bags = device_set_baseline_bags(set);
    guint n;
    g_autofree const char **names = (const char **)g_hash_table_get_keys_as_array(bags, &n);
    GVariantBuilder out;

    qsort(names, n, sizeof *names, by_name);
    g_variant_builder_init(&out, G_VARIANT_TYPE(HINT_BASELINE));
    g_variant_builder_add(&out, "s", device_set_baseline_name(set));
    g_variant_builder_open(&out, G_VARIANT_TYPE("a(ua(uu))"));
    for (guint i = 0; i < n; i++)
        write_baseline_type(w, &out, g_hash_table_lookup(bags, names[i]));
    g_variant_builder_close(&out);
    return g_variant_builder_end(&out);
}

GBytes *hints_write(const DeviceSet *set, guint *n)
{
    g_autoptr(HintsFile) file = hints_file_new();
    g_autoptr(GPtrArray) records = collect(set);
    GVariantBuilder devices;
    Writer w;

    writer_init(&w);
    g_variant_builder_init(&devices, G_VARIANT_TYPE(HINT_DEVICES));
    for (guint i = 0; i < records->len; i++) {
        const DeviceRecord *record = g_ptr_array_index(records, i);
        write_record(&w, &devices, record, (guint)record->since);
    }
    hints_file_add(file, "devices", g_variant_builder_end(&devices));
    if (device_set_baseline_bags(set))
        hints_file_add(file, "baseline", write_baseline(&w, set));
    writer_finish(&w, file);
    if (n)
        *n = records->len;
    return hints_file_encode(file);
}

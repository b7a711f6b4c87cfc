/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hints-read.c - a compat-hints file as records. What the sections hold is told in hints.c.
 *
 * The file is in order as far as its envelope goes, but nothing that it says is believed: each index is checked, each value by its
 * property's row. Since one value can stand in many records, what is made of a value is bounded too: what is said of it when it can not be
 * used, and the copies of texts.
 */
#include "../common/error.h"
#include "hints.h"

#define MAX_RECORDS 65536
#define MAX_TYPES 4096
#define MAX_PROPERTIES 1024
#define MAX_NAME 127
#define MAX_LOSSES 65536
/* Texts of all records together: a value is written once in the file, and a record has a copy of its own. */
#define MAX_TEXT (4 * (gsize)HINTS_MAX_BYTES)

typedef struct {
    const char      *name;  /* the file's */
    const PropTable *table; /* NULL: this build has no such type */
    int             *rows;  /* per property of the file: ours, or -1 */
    const char     **properties;
    gsize            n;
} FileType;

typedef struct {
    Hints      *hints;
    FileType   *types;
    gsize       n_types;
    GVariant  **values;
    gsize       n_values;
    gsize       text; /* bytes of texts in the records so far */
} Reader;

static void loss_free(HintLoss *loss)
{
    g_free(loss->id);
    g_free(loss->property);
    g_free(loss->reason);
    g_free(loss);
}

void hints_free(Hints *hints)
{
    if (!hints)
        return;
    g_free(hints->producer);
    g_free(hints->baseline_name);
    g_clear_pointer(&hints->records, g_ptr_array_unref);
    g_ptr_array_unref(hints->losses);
    g_clear_pointer(&hints->baseline, g_hash_table_unref);
    g_free(hints);
}

Hints *hints_new(void)
{
    Hints *hints = g_new0(Hints, 1);

    hints->records = g_ptr_array_new_with_free_func((GDestroyNotify)device_record_free);
    hints->losses = g_ptr_array_new_with_free_func((GDestroyNotify)loss_free);
    return hints;
}

void hints_lose(Hints *hints, HintLossKind kind, const char *id, const char *property, char *reason)
{
    HintLoss *loss = g_new0(HintLoss, 1);

    loss->kind = kind;
    loss->id = g_strdup(id);
    loss->property = g_strdup(property);
    loss->reason = reason;
    g_ptr_array_add(hints->losses, loss);
}

static void reader_clear(Reader *r)
{
    for (gsize i = 0; i < r->n_types; i++) {
        g_free(r->types[i].rows);
        g_free(r->types[i].properties);
    }
    for (gsize i = 0; i < r->n_values; i++)
        g_variant_unref(r->values[i]);
    g_free(r->types);
    g_free(r->values);
    hints_free(r->hints);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Reader, reader_clear)

/* ---- types and values ---- */

static int guest_row(const PropTable *table, const char *name)
{
    int row = table ? prop_table_row(table, name) : -1;

    return row >= 0 && table->rows[row].flags & PROP_GUEST ? row : -1;
}

/* Names of types and properties stand in replies and logs. */
static gboolean is_name(const char *name)
{
    gsize n = 0;

    while (n <= MAX_NAME && g_ascii_isgraph(name[n]))
        n++;
    return n > 0 && n <= MAX_NAME && name[n] == '\0';
}

static gboolean bad_name(const char *what, const char *name, GError **error)
{
    g_autofree char *given = error_quote(name, (gssize)strnlen(name, MAX_NAME + 1));

    return error_set(error, "'%s' is no name of a %s", given, what);
}

/* A property that stands twice would say two things of one row. */
static gboolean read_properties(FileType *type, GError **error)
{
    g_autofree guint8 *seen = g_new0(guint8, type->table ? MAX(type->table->n_rows, 1) : 1);

    for (gsize i = 0; i < type->n; i++) {
        if (!is_name(type->properties[i]))
            return bad_name("property", type->properties[i], error);
        int row = type->rows[i] = guest_row(type->table, type->properties[i]);
        if (row >= 0 && seen[row]++)
            return error_set(error, "type '%s' has property '%s' twice", type->name, type->properties[i]);
    }
    return TRUE;
}

static gboolean read_type(FileType *type, GVariant *entry, GError **error)
{
    g_autoptr(GVariant) names = NULL;

    g_variant_get(entry, "(&s@as)", &type->name, &names);
    if (!is_name(type->name))
        return bad_name("type", type->name, error);
    if (g_variant_n_children(names) > MAX_PROPERTIES)
        return error_set(error, "type '%s' has %zu properties, and there can be %u", type->name, g_variant_n_children(names), MAX_PROPERTIES);
    const PropTable *table = prop_table_find(type->name);
    type->table = table && !(table->flags & TYPE_ABSTRACT) && table->plug < PLUG_OBJECT ? table : NULL;
    type->properties = g_variant_get_strv(names, &type->n);
    type->rows = g_new(int, MAX(type->n, 1));
    return read_properties(type, error);
}

static gboolean read_types(Reader *r, GVariant *types, GError **error)
{
    gsize n = g_variant_n_children(types);

    if (n > MAX_TYPES)
        return error_set(error, "%zu types, and there can be %u", n, MAX_TYPES);
    r->types = g_new0(FileType, MAX(n, 1));
    while (r->n_types < n) {
        g_autoptr(GVariant) entry = g_variant_get_child_value(types, r->n_types);
        if (!read_type(&r->types[r->n_types++], entry, error))
            return FALSE;
    }
    return TRUE;
}

static gboolean is_value(GVariant *v)
{
    static const char *const types[] = { "b", "t", "s", "ay" };

    if (g_variant_is_of_type(v, G_VARIANT_TYPE_BYTE))
        return g_variant_get_byte(v) <= HINT_VALUE_TODAY;
    for (guint i = 0; i < G_N_ELEMENTS(types); i++) {
        if (strcmp(g_variant_get_type_string(v), types[i]) == 0)
            return TRUE;
    }
    return FALSE;
}

static gboolean read_values(Reader *r, GVariant *values, GError **error)
{
    gsize n = g_variant_n_children(values);

    r->values = g_new0(GVariant *, MAX(n, 1));
    while (r->n_values < n) {
        g_autoptr(GVariant) boxed = g_variant_get_child_value(values, r->n_values);
        GVariant *value = r->values[r->n_values++] = g_variant_get_variant(boxed);
        if (!is_value(value)) {
            g_autofree char *type = error_quote(g_variant_get_type_string(value), -1);
            return error_set(error, "value %zu has type '%s', which no property has", r->n_values - 1, type);
        }
    }
    return TRUE;
}

/* ---- devices ---- */

static gboolean lose(Reader *r, HintLossKind kind, const char *id, const char *property, char *reason, GError **error)
{
    hints_lose(r->hints, kind, id, property, reason);
    return r->hints->losses->len <= MAX_LOSSES || error_set(error, "more than %u things in it can not be used by this build", MAX_LOSSES);
}

static gboolean lose_value(Reader *r, const char *id, const FileType *type, gsize i, GVariant *value, GError **error)
{
    g_autofree char *text = prop_variant_text(value);
    char *reason = g_strdup_printf("this build's %s has no such property; it is %s", type->name,
                                   g_variant_is_of_type(value, G_VARIANT_TYPE_BYTE) ? "today's default or none" : text);

    return lose(r, HINT_UNKNOWN, id, type->properties[i], reason, error);
}

/* FALSE: the file goes too far. */
static gboolean take_text(Reader *r, GVariant *value, GError **error)
{
    r->text += g_variant_is_of_type(value, G_VARIANT_TYPE_STRING) ? g_variant_get_size(value) : 0;
    return r->text <= MAX_TEXT || error_set(error, "its records have more than %zu bytes of text", MAX_TEXT);
}

static gboolean read_row(Reader *r, DeviceRecord *record, const FileType *type, gsize i, GVariant *value, GError **error)
{
    int row = type->rows[i];
    g_autoptr(GError) reason = NULL;

    if (row < 0)
        return lose_value(r, record->id, type, i, value, error);
    if (g_variant_is_of_type(value, G_VARIANT_TYPE_BYTE)) {
        record->state[row] = g_variant_get_byte(value) == HINT_VALUE_NONE ? RECORD_NONE : RECORD_TODAY;
    } else if (prop_bag_set_variant(record->bag, (guint)row, value, ORIGIN_HINT, &reason)) {
        record->state[row] = RECORD_VALUE;
        return take_text(r, value, error);
    } else {
        record->state[row] = RECORD_TODAY;
        return lose(r, HINT_UNSUPPORTED, record->id, type->properties[i], g_strdup(reason->message), error);
    }
    return TRUE;
}

static gboolean read_rows(Reader *r, DeviceRecord *record, const FileType *type, const guint32 *values, GError **error)
{
    for (gsize i = 0; i < type->n; i++) {
        if (values[i] >= r->n_values)
            return error_set(error, "device '%s' has value %u of %zu", record->id, values[i], r->n_values);
        if (!read_row(r, record, type, i, r->values[values[i]], error))
            return FALSE;
    }
    return TRUE;
}

static gboolean read_device(Reader *r, GVariant *entry, GError **error)
{
    const char *id;
    guint32 index, rank;
    g_autoptr(GVariant) list = NULL;
    gsize n;

    g_variant_get(entry, "(&suu@au)", &id, &index, &rank, &list);
    const guint32 *values = g_variant_get_fixed_array(list, &n, sizeof *values);
    g_autofree char *given = error_quote(id, -1);
    if (!prop_id_valid(id))
        return error_set(error, "'%s' is no id", given);
    if (index >= r->n_types || n != r->types[index].n)
        return error_set(error, "device '%s' has type %u of %zu, and %zu values", given, index, r->n_types, n);
    const FileType *type = &r->types[index];
    if (!type->table)
        return lose(r, HINT_UNKNOWN, id, NULL, g_strdup_printf("this build has no device type '%s'", type->name), error);
    g_autoptr(DeviceRecord) record = device_record_new(type->table, id);
    record->since = rank;
    if (!read_rows(r, record, type, values, error))
        return FALSE;
    g_ptr_array_add(r->hints->records, g_steal_pointer(&record));
    return TRUE;
}

/* They stand in the order of their ids, so that two of one id are beside each other. */
static gboolean check_order(GVariant *before, GVariant *entry, GError **error)
{
    const char *a, *b;

    if (!before)
        return TRUE;
    g_variant_get_child(before, 0, "&s", &a);
    g_variant_get_child(entry, 0, "&s", &b);
    if (strcmp(a, b) < 0)
        return TRUE;
    g_autofree char *given = error_quote(b, -1);
    return error_set(error, strcmp(a, b) == 0 ? "device '%s' has two records" : "the record of device '%s' is out of order", given);
}

/* Those that were gone, longest first, then those that were plugged: their places are the last to be given to others. */
static gint by_rank(gconstpointer a, gconstpointer b)
{
    const DeviceRecord *x = *(DeviceRecord *const *)a, *y = *(DeviceRecord *const *)b;

    if (x->since != y->since)
        return x->since - 1 < y->since - 1 ? -1 : 1; /* 0 is last */
    return strcmp(x->id, y->id);
}

static gboolean read_devices(Reader *r, GVariant *devices, GError **error)
{
    gsize n = g_variant_n_children(devices);
    g_autoptr(GVariant) before = NULL;

    if (n > MAX_RECORDS)
        return error_set(error, "%zu records, and there can be %u", n, MAX_RECORDS);
    for (gsize i = 0; i < n; i++) {
        g_autoptr(GVariant) entry = g_variant_get_child_value(devices, i);
        if (!check_order(before, entry, error) || !read_device(r, entry, error))
            return FALSE;
        g_clear_pointer(&before, g_variant_unref);
        before = g_steal_pointer(&entry);
    }
    g_ptr_array_sort(r->hints->records, by_rank);
    return TRUE;
}

/* ---- baseline ---- */

static gboolean read_baseline_value(Reader *r, PropBag *bag, const FileType *type, guint i, GVariant *value, GError **error)
{
    int row = type->rows[i];
    g_autoptr(GError) reason = NULL;

    if (row < 0)
        return lose_value(r, NULL, type, i, value, error);
    if (prop_bag_set_variant(bag, (guint)row, value, ORIGIN_BASELINE, &reason))
        return take_text(r, value, error);
    return lose(r, HINT_UNSUPPORTED, NULL, type->properties[i], g_strdup(reason->message), error);
}

static gboolean read_baseline_type(Reader *r, GVariant *entry, GError **error)
{
    guint32 index, property, value;
    g_autoptr(GVariantIter) pairs = NULL;

    g_variant_get(entry, "(ua(uu))", &index, &pairs);
    if (index >= r->n_types)
        return error_set(error, "the baseline has type %u of %zu", index, r->n_types);
    const FileType *type = &r->types[index];
    if (type->table && g_hash_table_contains(r->hints->baseline, type->table->name))
        return error_set(error, "the baseline has type '%s' twice", type->name);
    g_autoptr(PropBag) bag = type->table ? prop_bag_new(type->table) : NULL;
    while (g_variant_iter_next(pairs, "(uu)", &property, &value)) {
        if (property >= type->n || value >= r->n_values)
            return error_set(error, "the baseline has property %u of %zu with value %u of %zu", property, type->n, value, r->n_values);
        if (!read_baseline_value(r, bag, type, property, r->values[value], error))
            return FALSE;
    }
    if (bag)
        g_hash_table_replace(r->hints->baseline, (gpointer)type->table->name, g_steal_pointer(&bag));
    return TRUE;
}

gboolean hints_baseline_name_valid(const char *name)
{
    gsize n = strspn(name, "0123456789.abcdefghijklmnopqrstuvwxyz-");

    return g_ascii_isdigit(name[0]) && name[n] == '\0' && n <= MAX_NAME;
}

void hints_baseline_new(Hints *hints, const char *name)
{
    hints->baseline_name = g_strdup(name);
    hints->baseline = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, (GDestroyNotify)prop_bag_free);
}

static gboolean read_baseline(Reader *r, GVariant *section, GError **error)
{
    const char *name;
    g_autoptr(GVariant) types = NULL;

    g_variant_get(section, "(&s@a(ua(uu)))", &name, &types);
    if (!hints_baseline_name_valid(name)) {
        g_autofree char *given = error_quote(name, -1);
        return error_set(error, "its baseline '%s' is no release", given);
    }
    hints_baseline_new(r->hints, name);
    for (gsize i = 0; i < g_variant_n_children(types); i++) {
        g_autoptr(GVariant) entry = g_variant_get_child_value(types, i);
        if (!read_baseline_type(r, entry, error))
            return FALSE;
    }
    return TRUE;
}

/* ---- the whole ---- */

static void lose_sections(Hints *hints, const HintsFile *file)
{
    static const char *const known[] = { "types", "values", "devices", "baseline", NULL };

    for (guint i = 0; i < file->sections->len; i++) {
        const HintsSection *section = g_ptr_array_index(file->sections, i);
        if (!g_strv_contains(known, section->name))
            hints_lose(hints, HINT_UNKNOWN, NULL, NULL, g_strdup_printf("this build has no section '%s'", section->name));
    }
}

/* A section that must be there. */
static GVariant *need(const HintsFile *file, const char *name, const char *type, GError **error)
{
    GVariant *content = hints_file_section(file, name, type, error);

    if (!content && error && !*error)
        error_set(error, "section '%s' is missing", name);
    return content;
}

static gboolean read_sections(Reader *r, const HintsFile *file, GError **error)
{
    GError *reason = NULL;
    GVariant *types = need(file, "types", HINT_TYPES, error), *values = types ? need(file, "values", HINT_VALUES, error) : NULL;
    GVariant *devices = values ? need(file, "devices", HINT_DEVICES, error) : NULL;

    if (!devices || !read_types(r, types, error) || !read_values(r, values, error) || !read_devices(r, devices, error))
        return FALSE;
    GVariant *baseline = hints_file_section(file, "baseline", HINT_BASELINE, &reason);
    if (reason) {
        g_propagate_error(error, reason);
        return FALSE;
    }
    return !baseline || read_baseline(r, baseline, error);
}

Hints *hints_read(GBytes *bytes, GError **error)
{
    g_autoptr(HintsFile) file = hints_file_decode(bytes, error);
    g_auto(Reader) r = { .hints = hints_new() };
    g_autoptr(GError) reason = NULL;

    if (!file)
        return NULL;
    r.hints->producer = g_strdup(file->producer);
    lose_sections(r.hints, file);
    if (read_sections(&r, file, &reason))
        return g_steal_pointer(&r.hints);
    g_propagate_error(error, g_steal_pointer(&reason));
    return NULL;
}

void hints_adopt(Hints *hints, DeviceSet *set)
{
    if (hints->baseline)
        device_set_baseline(set, hints->baseline_name, g_steal_pointer(&hints->baseline));
    device_set_remember_all(set, g_steal_pointer(&hints->records));
}

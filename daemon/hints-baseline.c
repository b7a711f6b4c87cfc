/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hints-baseline.c - a release's defaults as a baseline: compat-db/NAME/defaults.json, {type: {property: value}}.
 *
 * The file is ours and frozen, yet it is checked like one from anywhere.
 */
#include "../common/error.h"
#include "hints.h"

static void read_property(Hints *hints, PropBag *bag, const char *name, JsonVal value)
{
    int row = prop_table_row(bag->table, name);
    g_autoptr(GError) error = NULL;

    if (row < 0 || !(bag->table->rows[row].flags & PROP_GUEST))
        hints_lose(hints, HINT_UNKNOWN, NULL, name, g_strdup_printf("this build's %s has no such property that a guest can see", bag->table->name));
    else if (!prop_bag_set_json(bag, (guint)row, value, ORIGIN_BASELINE, &error))
        hints_lose(hints, HINT_UNSUPPORTED, NULL, name, g_strdup(error->message));
}

static gboolean read_type(Hints *hints, const char *name, JsonVal properties, GError **error)
{
    const PropTable *table = prop_table_find(name);
    JsonIter it;
    JsonVal key, value;

    if (json_kind(properties) != JSON_KIND_OBJECT)
        return error_set(error, "'%s' is no object", name);
    if (!table || table->flags & TYPE_ABSTRACT || table->plug >= PLUG_OBJECT) {
        hints_lose(hints, HINT_UNKNOWN, NULL, NULL, g_strdup_printf("this build has no device type '%s'", name));
        return TRUE;
    }
    g_autoptr(PropBag) bag = prop_bag_new(table);
    json_iter_init(&it, properties);
    while (json_iter_next(&it, &key, &value)) {
        g_autofree char *property = json_dup_string(key);
        if (property)
            read_property(hints, bag, property, value);
    }
    g_hash_table_replace(hints->baseline, (gpointer)table->name, g_steal_pointer(&bag));
    return TRUE;
}

static gboolean read_types(Hints *hints, JsonVal root, GError **error)
{
    JsonIter it;
    JsonVal key, value;

    if (json_kind(root) != JSON_KIND_OBJECT)
        return error_set(error, "it is no JSON object");
    json_iter_init(&it, root);
    while (json_iter_next(&it, &key, &value)) {
        g_autofree char *name = json_dup_string(key);
        if (name && !read_type(hints, name, value, error))
            return FALSE;
    }
    return TRUE;
}

/* Where releases' folders are; another place for a tree that is not installed. */
static char *defaults_path(const char *name)
{
    const char *dir = g_getenv("BACKPLANE_COMPAT_DB");

    return g_build_filename(dir ? dir : COMPAT_DB, name, "defaults.json", NULL);
}

Hints *hints_read_baseline(const char *name, GError **error)
{
    g_autofree char *given = error_quote(name, -1), *path = NULL, *text = NULL;
    g_autoptr(Hints) hints = hints_new();
    gsize len;

    if (!hints_baseline_name_valid(name)) {
        error_set(error, "baseline '%s' is no release, such as 0.1", given);
        return NULL;
    }
    path = defaults_path(name);
    if (!g_file_get_contents(path, &text, &len, error)) {
        g_prefix_error(error, "baseline '%s': ", given);
        return NULL;
    }
    g_autoptr(JsonDoc) doc = json_doc_parse(text, len, &json_limits_default, error);
    hints->producer = g_strdup_printf("release %s", name);
    hints_baseline_new(hints, name);
    if (doc && read_types(hints, json_doc_root(doc), error))
        return g_steal_pointer(&hints);
    g_prefix_error(error, "baseline '%s': %s: ", given, path);
    return NULL;
}

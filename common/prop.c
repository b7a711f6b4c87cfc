/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * prop.c - property bags: one set of values for one table of rows, each value with its origin.
 *
 * The hard part is ownership: a config struct is plain memory whose pointers (strings, byte arrays) belong to the bag,
 * and a row may be set again (a hint, then a resolve hook), so every store goes through field_clear(). Text on the
 * wire is in prop-json.c.
 */
#include "prop.h"

#include "error.h"

static gpointer field_of(const PropBag *bag, guint row)
{
    return (char *)bag->config + bag->table->rows[row].offset;
}

const char *prop_origin_name(PropOrigin origin)
{
    static const char *const names[] = {
        [ORIGIN_UNSET] = "unset",   [ORIGIN_CONFIG] = "config",     [ORIGIN_HINT] = "hint",
        [ORIGIN_BEFORE] = "before", [ORIGIN_BASELINE] = "baseline", [ORIGIN_DEFAULT] = "default",
        [ORIGIN_HOST] = "host",
    };
    G_STATIC_ASSERT(G_N_ELEMENTS(names) == ORIGIN_HOST + 1);
    return names[origin];
}

const PropTable *prop_table_find(const char *name)
{
    guint lo = 0, hi = prop_n_tables;

    while (lo < hi) {
        guint mid = lo + (hi - lo) / 2;
        int cmp = strcmp(name, prop_tables[mid]->name);
        if (cmp == 0)
            return prop_tables[mid];
        if (cmp < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    for (guint i = 0; i < prop_n_tables; i++) {
        if (prop_tables[i]->was && strcmp(prop_tables[i]->was, name) == 0)
            return prop_tables[i];
    }
    return NULL;
}

const char *prop_table_first_name(const PropTable *table)
{
    return table->was ? table->was : table->name;
}

int prop_table_row(const PropTable *table, const char *name)
{
    for (guint i = 0; i < table->n_rows; i++) { /* CPUs have hundreds: most end with the first letter */
        const char *row = table->rows[i].name;
        if (row[0] == name[0] && strcmp(row, name) == 0)
            return (int)i;
    }
    return -1;
}

gboolean prop_id_valid(const char *id)
{
    gsize n = strlen(id);

    if (n == 0 || n > 127 || !g_ascii_isalpha(id[0]))
        return FALSE;
    return strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") == n;
}

/* ---- life ---- */

PropBag *prop_bag_new(const PropTable *table)
{
    PropBag *bag = g_new0(PropBag, 1);

    bag->table = table;
    bag->config = g_malloc0(MAX(table->config_size, 1));
    bag->origin = g_new0(guint8, MAX(table->n_rows, 1));
    return bag;
}

static void field_clear(PropBag *bag, guint row)
{
    gpointer field = field_of(bag, row);

    switch (bag->table->rows[row].kind) {
    case PROP_STRING:
    case PROP_LINK:
        g_clear_pointer((char **)field, g_free);
        break;
    case PROP_BYTES:
        g_clear_pointer((GBytes **)field, g_bytes_unref);
        break;
    default:
        break;
    }
}

void prop_bag_free(PropBag *bag)
{
    if (!bag)
        return;
    for (guint i = 0; i < bag->table->n_rows; i++)
        field_clear(bag, i);
    g_free(bag->config);
    g_free(bag->origin);
    g_free(bag->id);
    g_free(bag);
}

PropBag *prop_bag_copy(const PropBag *bag)
{
    PropBag *copy = prop_bag_new(bag->table);

    copy->id = g_strdup(bag->id);
    memcpy(copy->config, bag->config, bag->table->config_size);
    memcpy(copy->origin, bag->origin, bag->table->n_rows);
    for (guint i = 0; i < bag->table->n_rows; i++) {
        gpointer field = field_of(copy, i);
        switch (bag->table->rows[i].kind) {
        case PROP_STRING:
        case PROP_LINK:
            *(char **)field = g_strdup(*(char **)field);
            break;
        case PROP_BYTES:
            if (*(GBytes **)field)
                g_bytes_ref(*(GBytes **)field);
            break;
        default:
            break;
        }
    }
    return copy;
}

/* ---- values ---- */

guint64 prop_bag_get_u(const PropBag *bag, guint row)
{
    gconstpointer field = field_of(bag, row);

    switch (bag->table->rows[row].kind) {
    case PROP_BOOL:
        return *(const gboolean *)field != FALSE;
    case PROP_U8:
        return *(const guint8 *)field;
    case PROP_U16:
        return *(const guint16 *)field;
    case PROP_U32:
        return *(const guint32 *)field;
    case PROP_U64:
    case PROP_SIZE:
        return *(const guint64 *)field;
    case PROP_ENUM:
        return (guint64) * (const int *)field;
    default:
        g_assert_not_reached();
    }
}

const char *prop_bag_get_s(const PropBag *bag, guint row)
{
    return *(const char *const *)field_of(bag, row);
}

GBytes *prop_bag_get_bytes(const PropBag *bag, guint row)
{
    return *(GBytes *const *)field_of(bag, row);
}

static gboolean kind_has_text(PropKind kind)
{
    return kind == PROP_STRING || kind == PROP_LINK || kind == PROP_BYTES;
}

void prop_bag_set(PropBag *bag, guint row, PropValue v, PropOrigin origin)
{
    gpointer field = field_of(bag, row);
    g_autofree char *text = kind_has_text(bag->table->rows[row].kind) ? g_strdup(v.s) : NULL; /* V.s may be the field's own */

    field_clear(bag, row);
    switch (bag->table->rows[row].kind) {
    case PROP_BOOL:
        *(gboolean *)field = v.u != 0;
        break;
    case PROP_U8:
        *(guint8 *)field = (guint8)v.u;
        break;
    case PROP_U16:
        *(guint16 *)field = (guint16)v.u;
        break;
    case PROP_U32:
        *(guint32 *)field = (guint32)v.u;
        break;
    case PROP_U64:
    case PROP_SIZE:
        *(guint64 *)field = v.u;
        break;
    case PROP_ENUM:
        *(int *)field = (int)v.u;
        break;
    case PROP_STRING:
    case PROP_LINK:
        *(char **)field = g_steal_pointer(&text);
        break;
    case PROP_BYTES: {
        gsize n = 0;
        guchar *raw = text ? g_base64_decode(text, &n) : NULL;
        *(GBytes **)field = raw ? g_bytes_new_take(raw, n) : NULL;
        break;
    }
    }
    bag->origin[row] = (guint8)origin;
}

void prop_bag_unset(PropBag *bag, guint row)
{
    prop_bag_set(bag, row, (PropValue){ 0 }, ORIGIN_UNSET);
}

static GBytes *bytes_or_empty(const PropBag *bag, guint row)
{
    GBytes *bytes = prop_bag_get_bytes(bag, row);

    return bytes ? g_bytes_ref(bytes) : g_bytes_new(NULL, 0);
}

void prop_bag_copy_row(PropBag *bag, const PropBag *from, guint row, PropOrigin origin)
{
    PropKind kind = bag->table->rows[row].kind;

    g_assert(bag->table == from->table && from->origin[row] != ORIGIN_UNSET);
    if (kind == PROP_BYTES) {
        g_autoptr(GBytes) bytes = bytes_or_empty(from, row);
        prop_bag_set_bytes(bag, row, bytes, origin);
    } else if (kind_has_text(kind)) {
        prop_bag_set(bag, row, (PropValue){ .s = prop_bag_get_s(from, row) }, origin);
    } else {
        prop_bag_set(bag, row, (PropValue){ .u = prop_bag_get_u(from, row) }, origin);
    }
}

gboolean prop_bag_row_equal(const PropBag *a, const PropBag *b, guint row)
{
    PropKind kind = a->table->rows[row].kind;

    g_assert(a->table == b->table);
    if ((a->origin[row] == ORIGIN_UNSET) != (b->origin[row] == ORIGIN_UNSET))
        return FALSE;
    if (a->origin[row] == ORIGIN_UNSET)
        return TRUE;
    if (kind == PROP_BYTES) {
        g_autoptr(GBytes) bytes = bytes_or_empty(a, row), other = bytes_or_empty(b, row);
        return g_bytes_equal(bytes, other);
    }
    if (kind_has_text(kind))
        return g_strcmp0(prop_bag_get_s(a, row), prop_bag_get_s(b, row)) == 0;
    return prop_bag_get_u(a, row) == prop_bag_get_u(b, row);
}

void prop_bag_set_bytes(PropBag *bag, guint row, GBytes *bytes, PropOrigin origin)
{
    g_assert(bag->table->rows[row].kind == PROP_BYTES);
    g_bytes_ref(bytes);
    field_clear(bag, row);
    *(GBytes **)field_of(bag, row) = bytes;
    bag->origin[row] = (guint8)origin;
}

static guint row_of(const PropBag *bag, const char *name)
{
    int row = prop_table_row(bag->table, name);

    g_assert(row >= 0);
    return (guint)row;
}

void prop_bag_set_u(PropBag *bag, const char *name, guint64 u, PropOrigin origin)
{
    prop_bag_set(bag, row_of(bag, name), (PropValue){ .u = u }, origin);
}

void prop_bag_set_s(PropBag *bag, const char *name, const char *s, PropOrigin origin)
{
    prop_bag_set(bag, row_of(bag, name), (PropValue){ .s = s }, origin);
}

gboolean prop_bag_is_set(const PropBag *bag, const char *name)
{
    return bag->origin[row_of(bag, name)] != ORIGIN_UNSET;
}

PropOrigin prop_bag_origin(const PropBag *bag, const char *name)
{
    return bag->origin[row_of(bag, name)];
}

void prop_bag_apply_defaults(PropBag *bag)
{
    for (guint i = 0; i < bag->table->n_rows; i++) {
        const PropDesc *row = &bag->table->rows[i];
        if (bag->origin[i] == ORIGIN_UNSET && row->has_default && !(row->flags & PROP_AUTO))
            prop_bag_set(bag, i, row->def, ORIGIN_DEFAULT);
    }
}

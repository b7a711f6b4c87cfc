/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * prop-variant.c - property values as GVariants: how compat hints hold them.
 *
 * Few types, so that a row that becomes wider later reads what was written before: every number is a "t", an enumeration is the
 * name of its value, bytes are "ay".
 */
#include "error.h"
#include "prop.h"

#define TEXT_MAX 256 /* of a string, in a message */

GVariant *prop_bag_get_variant(const PropBag *bag, guint index)
{
    const PropDesc *row = &bag->table->rows[index];

    switch (row->kind) {
    case PROP_BOOL:
        return g_variant_new_boolean(prop_bag_get_u(bag, index) != 0);
    case PROP_ENUM:
        return g_variant_new_string(row->enum_names[prop_bag_get_u(bag, index)]);
    case PROP_STRING:
    case PROP_LINK:
        return g_variant_new_string(prop_bag_get_s(bag, index));
    case PROP_BYTES: {
        GBytes *bytes = prop_bag_get_bytes(bag, index);
        gsize n = 0;
        gconstpointer data = bytes ? g_bytes_get_data(bytes, &n) : NULL;
        return g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, data, n, 1);
    }
    default:
        return g_variant_new_uint64(prop_bag_get_u(bag, index));
    }
}

static const GVariantType *wanted_type(PropKind kind)
{
    switch (kind) {
    case PROP_BOOL:
        return G_VARIANT_TYPE_BOOLEAN;
    case PROP_ENUM:
    case PROP_STRING:
    case PROP_LINK:
        return G_VARIANT_TYPE_STRING;
    case PROP_BYTES:
        return G_VARIANT_TYPE_BYTESTRING;
    default:
        return G_VARIANT_TYPE_UINT64;
    }
}

char *prop_variant_text(GVariant *value)
{
    if (g_variant_is_of_type(value, G_VARIANT_TYPE_STRING)) {
        gsize n;
        const char *text = g_variant_get_string(value, &n);
        g_autofree char *quoted = error_quote(text, (gssize)MIN(n, TEXT_MAX));
        return g_strdup_printf("'%s'%s", quoted, n > TEXT_MAX ? "..." : "");
    }
    if (g_variant_is_of_type(value, G_VARIANT_TYPE_BYTESTRING))
        return g_strdup_printf("%zu bytes", g_variant_get_size(value));
    return g_variant_print(value, FALSE);
}

/* NAME.ROW does not accept VALUE: RANGE. */
static gboolean refuse(const PropBag *bag, const PropDesc *row, GVariant *value, const char *range, GError **error)
{
    g_autofree char *text = prop_variant_text(value);

    return error_set(error, "Property '%s.%s' does not accept %s: %s", bag->table->name, row->name, text, range);
}

static gboolean set_enum(PropBag *bag, guint index, GVariant *value, PropOrigin origin, GError **error)
{
    const PropDesc *row = &bag->table->rows[index];
    const char *name = g_variant_get_string(value, NULL);

    for (guint i = 0; row->enum_names[i]; i++) {
        if (strcmp(row->enum_names[i], name) == 0) {
            prop_bag_set(bag, index, (PropValue){ .u = i }, origin);
            return TRUE;
        }
    }
    g_autofree char *all = g_strjoinv(", ", (char **)row->enum_names);
    g_autofree char *range = g_strdup_printf("one of %s", all);
    return refuse(bag, row, value, range, error);
}

gboolean prop_bag_set_variant(PropBag *bag, guint index, GVariant *value, PropOrigin origin, GError **error)
{
    const PropDesc *row = &bag->table->rows[index];
    const GVariantType *wanted = wanted_type(row->kind);
    PropValue v = { 0 };
    guint64 measure;
    gsize n;

    if (!g_variant_is_of_type(value, wanted)) {
        g_autofree char *range = g_strdup_printf("a value of type '%.*s' is wanted", (int)g_variant_type_get_string_length(wanted),
                                                 g_variant_type_peek_string(wanted));
        return refuse(bag, row, value, range, error);
    }
    if (row->kind == PROP_ENUM)
        return set_enum(bag, index, value, origin, error);
    if (row->kind == PROP_BOOL) {
        v.u = g_variant_get_boolean(value);
        prop_bag_set(bag, index, v, origin);
        return TRUE;
    }
    if (row->kind == PROP_STRING || row->kind == PROP_LINK) {
        v.s = g_variant_get_string(value, &n);
        measure = n;
    } else if (row->kind == PROP_BYTES) {
        measure = g_variant_get_size(value);
    } else {
        v.u = measure = g_variant_get_uint64(value);
    }
    if (measure < row->min || measure > row->max) {
        g_autofree char *range = g_strdup_printf("%" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT "%s", row->min, row->max,
                                                 row->kind == PROP_STRING || row->kind == PROP_LINK || row->kind == PROP_BYTES ? " bytes" : "");
        return refuse(bag, row, value, range, error);
    }
    if (row->kind == PROP_BYTES) {
        g_autoptr(GBytes) bytes = g_variant_get_data_as_bytes(value);
        prop_bag_set_bytes(bag, index, bytes, origin);
    } else {
        prop_bag_set(bag, index, v, origin);
    }
    return TRUE;
}

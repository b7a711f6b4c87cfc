/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-state.c - saving and loading of the test accelerator's models: named, typed fields from a
 * table.
 *
 * The same kind of record as the devices' (a{sv}, a number by its width, an array as bytes), so
 * that state files of a machine under the test accelerator are complete.
 */
#include "test-accel.h"

#include <string.h>

#include "../common/error.h"

static GVariant *field_get(const TestField *f, gconstpointer from)
{
    const guint8 *p = (const guint8 *)from + f->offset;
    guint64 v = 0;

    switch (f->size) {
    case 1:
        return g_variant_new_byte(*p);
    case 2:
        return g_variant_new_uint16(*(const guint16 *)(gconstpointer)p);
    case 4:
        return g_variant_new_uint32(*(const guint32 *)(gconstpointer)p);
    case 8:
        memcpy(&v, p, sizeof v);
        return g_variant_new_uint64(v);
    default:
        return g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, p, f->size, 1);
    }
}

static gboolean field_set(const TestField *f, gpointer into, GVariant *value)
{
    static const char *const types[] = { [1] = "y", [2] = "q", [4] = "u", [8] = "t" };
    const char *type = f->size < G_N_ELEMENTS(types) && types[f->size] ? types[f->size] : "ay";

    if (!g_variant_is_of_type(value, G_VARIANT_TYPE(type)) || g_variant_get_size(value) != f->size)
        return FALSE;
    memcpy((guint8 *)into + f->offset, g_variant_get_data(value), f->size);
    return TRUE;
}

void test_fields_save(GVariantBuilder *builder, const char *prefix, const TestField *fields,
                      guint n, gconstpointer from)
{
    for (guint i = 0; i < n; i++) {
        g_autofree char *name = g_strconcat(prefix, fields[i].name, NULL);

        g_variant_builder_add(builder, "{sv}", name, field_get(&fields[i], from));
    }
}

gboolean test_fields_load(GVariant *state, const char *prefix, const TestField *fields, guint n,
                          gpointer into, GError **error)
{
    for (guint i = 0; i < n; i++) {
        g_autofree char *name = g_strconcat(prefix, fields[i].name, NULL);
        g_autoptr(GVariant) value = g_variant_lookup_value(state, name, NULL);

        if (!value)
            return error_set(error, "Saved state lacks '%s'", name);
        if (!field_set(&fields[i], into, value))
            return error_set(error,
                             "Saved state: '%s' has type '%s' and %" G_GSIZE_FORMAT
                             " bytes; %u bytes are wanted",
                             name, g_variant_get_type_string(value), g_variant_get_size(value),
                             fields[i].size);
    }
    return TRUE;
}

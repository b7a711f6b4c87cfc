/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * state.c - saving and loading a device by its state rows, as a GVariant a{sv}.
 *
 * Loading is strict and all-or-nothing: the record is checked whole (normal form, names, types, lengths) before the first byte of the
 * device changes, and what was there comes back if post_load refuses the result. A field that the writer
 * did not know takes the row's `before`; a field that we do not know is refused by name. An open request to unplug the device
 * is a field too, there only while it is open (unplug.c).
 */
#include "unplug.h"

/* A bound for what a record can make us allocate. */
#define STATE_ARRAY_MAX (16u << 20)

static const GVariantType *variant_type(StateKind kind)
{
    static const char *const types[] = {
        [STATE_BOOL] = "b", [STATE_U8] = "y",  [STATE_U16] = "q",   [STATE_U32] = "u",
        [STATE_U64] = "t",  [STATE_I64] = "x", [STATE_BYTES] = "ay",
        [STATE_BUF] = "ay", [STATE_ARRAY] = "ay",
    };
    return (const GVariantType *)types[kind];
}

static gboolean is_bytes(const StateDesc *row)
{
    return row->kind == STATE_BYTES || row->kind == STATE_BUF;
}

/* Where the bytes of a BYTES or BUF row are, and how many. */
static guint8 *row_bytes(const StateDesc *row, gconstpointer field, gsize *len)
{
    const StateBuf *buf = field;

    *len = row->kind == STATE_BUF ? buf->len : row->size;
    return row->kind == STATE_BUF ? buf->data : (guint8 *)field;
}

static GVariant *row_save(const StateDesc *row, gconstpointer field)
{
    switch (row->kind) {
    case STATE_BOOL:
        return g_variant_new_boolean(*(const gboolean *)field);
    case STATE_U8:
        return g_variant_new_byte(*(const guint8 *)field);
    case STATE_U16:
        return g_variant_new_uint16(*(const guint16 *)field);
    case STATE_U32:
        return g_variant_new_uint32(*(const guint32 *)field);
    case STATE_U64:
        return g_variant_new_uint64(*(const guint64 *)field);
    case STATE_I64:
        return g_variant_new_int64(*(const gint64 *)field);
    case STATE_BYTES:
    case STATE_BUF: {
        gsize n;
        const guint8 *bytes = row_bytes(row, field, &n);
        return g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, bytes, n, 1);
    }
    case STATE_ARRAY: {
        const GByteArray *array = *(GByteArray *const *)field;
        return g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, array->data, array->len, 1);
    }
    }
    g_assert_not_reached();
}

static void row_load(const StateDesc *row, gpointer field, GVariant *v)
{
    switch (row->kind) {
    case STATE_BOOL:
        *(gboolean *)field = g_variant_get_boolean(v);
        break;
    case STATE_U8:
        *(guint8 *)field = g_variant_get_byte(v);
        break;
    case STATE_U16:
        *(guint16 *)field = g_variant_get_uint16(v);
        break;
    case STATE_U32:
        *(guint32 *)field = g_variant_get_uint32(v);
        break;
    case STATE_U64:
        *(guint64 *)field = g_variant_get_uint64(v);
        break;
    case STATE_I64:
        *(gint64 *)field = g_variant_get_int64(v);
        break;
    case STATE_BYTES:
    case STATE_BUF: {
        gsize n, given;
        guint8 *bytes = row_bytes(row, field, &n);
        gconstpointer from = g_variant_get_fixed_array(v, &given, 1);
        if (n > 0)
            memcpy(bytes, from, n);
        break;
    }
    case STATE_ARRAY: {
        GByteArray *array = *(GByteArray **)field;
        gsize given;
        gconstpointer from = g_variant_get_fixed_array(v, &given, 1);
        g_byte_array_set_size(array, 0);
        g_byte_array_append(array, from, (guint)given);
        break;
    }
    }
}

static void row_before(const StateDesc *row, gpointer field)
{
    gsize n;

    if (is_bytes(row)) {
        guint8 *bytes = row_bytes(row, field, &n);
        if (n > 0)
            memset(bytes, (int)row->before, n);
    } else if (row->kind == STATE_ARRAY) {
        g_byte_array_set_size(*(GByteArray **)field, 0);
    } else if (row->kind == STATE_BOOL) {
        *(gboolean *)field = row->before != 0;
    } else {
        le_put(field, row->size, row->before); /* the host is little endian too */
    }
}

static const StateDesc *row_find(const StateDesc *rows, const char *name)
{
    for (; rows->name; rows++) {
        if (strcmp(rows->name, name) == 0)
            return rows;
    }
    return NULL;
}

GVariant *device_save(Device *dev)
{
    GVariantBuilder b;
    LOCK_SCOPE(&dev->lock);

    g_variant_builder_init(&b, G_VARIANT_TYPE_VARDICT);
    for (const StateDesc *row = dev->type->state; row->name; row++)
        g_variant_builder_add(&b, "{sv}", row->name, row_save(row, (char *)dev + row->offset));
    if (dev->unplug)
        g_variant_builder_add(&b, "{sv}", UNPLUG_FIELD, device_unplug_save(dev));
    return g_variant_ref_sink(g_variant_builder_end(&b));
}

static gboolean check_field(const Device *dev, const char *name, GVariant *v, GError **error)
{
    const StateDesc *row = row_find(dev->type->state, name);

    if (strcmp(name, UNPLUG_FIELD) == 0)
        return device_unplug_check(dev, v, error);
    if (!row) {
        g_autofree char *given = error_quote(name, -1);
        return error_set(error, "State of device '%s' (%s): field '%s' is unknown to this build", dev->id,
                         dev->type->name, given);
    }
    if (!g_variant_is_of_type(v, variant_type(row->kind)))
        return error_set(error, "State of device '%s': field '%s' has type '%s', wanted '%s'", dev->id, name,
                         g_variant_get_type_string(v), (const char *)variant_type(row->kind));
    if (row->kind == STATE_ARRAY && g_variant_get_size(v) > STATE_ARRAY_MAX)
        return error_set(error, "State of device '%s': field '%s' has %zu bytes, at most %u", dev->id, name,
                         g_variant_get_size(v), STATE_ARRAY_MAX);
    if (!is_bytes(row))
        return TRUE;
    gsize wanted;
    row_bytes(row, (const char *)dev + row->offset, &wanted);
    if (g_variant_n_children(v) != wanted)
        return error_set(error, "State of device '%s': field '%s' has %zu bytes, wanted %zu", dev->id, name,
                         g_variant_n_children(v), wanted);
    return TRUE;
}

static gboolean check_record(const Device *dev, GVariant *state, GError **error)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    GVariantIter it;
    const char *name;
    GVariant *v;

    if (!g_variant_is_of_type(state, G_VARIANT_TYPE_VARDICT) || !g_variant_is_normal_form(state))
        return error_set(error, "State of device '%s' is not a well-formed record", dev->id);
    g_variant_iter_init(&it, state);
    while (g_variant_iter_next(&it, "{&sv}", &name, &v)) {
        g_autoptr(GVariant) value = v;
        if (!check_field(dev, name, value, error))
            return FALSE;
        if (!g_hash_table_add(seen, (gpointer)name))
            return error_set(error, "State of device '%s': field '%s' stands twice", dev->id, name);
    }
    return TRUE;
}

static void apply(Device *dev, GVariant *state)
{
    for (const StateDesc *row = dev->type->state; row->name; row++) {
        g_autoptr(GVariant) v = g_variant_lookup_value(state, row->name, variant_type(row->kind));
        if (v)
            row_load(row, (char *)dev + row->offset, v);
        else
            row_before(row, (char *)dev + row->offset);
    }
    g_autoptr(GVariant) unplug = g_variant_lookup_value(state, UNPLUG_FIELD, NULL);
    device_unplug_load(dev, unplug);
}

gboolean device_load(Device *dev, GVariant *state, GError **error)
{
    if (!check_record(dev, state, error))
        return FALSE;
    g_autoptr(GVariant) old = device_save(dev);
    LOCK_SCOPE(&dev->lock);
    apply(dev, state);
    if (!dev->type->ops->post_load || dev->type->ops->post_load(dev, error))
        return TRUE;
    apply(dev, old);
    dev->type->ops->post_load(dev, NULL); /* what the device itself saved */
    return FALSE;
}

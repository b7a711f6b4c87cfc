/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * prop-json.c - property values as JSON: the decoder behind device_add and object-add, and the
 * encoders behind configuration dumps and the fingerprint.
 *
 * The rows do the work, so that a new property needs no code here. Every refusal names the property, the value given and what would
 * have been taken.
 */
#include "error.h"
#include "prop.h"

static const char *kind_wanted(PropKind kind)
{
    static const char *const names[] = {
        [PROP_BOOL] = "boolean", [PROP_U8] = "uint8",   [PROP_U16] = "uint16",  [PROP_U32] = "uint32",
        [PROP_U64] = "uint64",   [PROP_SIZE] = "size",  [PROP_ENUM] = "string", [PROP_STRING] = "string",
        [PROP_LINK] = "string",  [PROP_BYTES] = "base64 string",
    };
    return names[kind];
}

static gboolean wrong_type(const PropBag *bag, const PropDesc *row, JsonVal v, GError **error)
{
    gsize len;
    const char *raw = json_raw(v, &len);
    g_autofree char *given = error_quote(raw, (gssize)len);

    return error_set(error, "Invalid parameter type for '%s' of %s, expected: %s, got %s", row->name,
                     bag->table->name, kind_wanted(row->kind), given);
}

static gboolean check_enum(const PropBag *bag, const PropDesc *row, JsonVal v, PropValue *out, GError **error)
{
    g_autofree char *s = json_dup_string(v);
    if (!s)
        return wrong_type(bag, row, v, error);
    for (guint i = 0; row->enum_names[i]; i++) {
        if (strcmp(row->enum_names[i], s) == 0) {
            out->u = i;
            return TRUE;
        }
    }
    g_autofree char *given = error_quote(s, -1);
    g_autofree char *all = g_strjoinv(", ", (char **)row->enum_names);
    return error_set(error, "Property '%s.%s' does not accept '%s': one of %s", bag->table->name, row->name, given,
                     all);
}

static gboolean check_number(const PropBag *bag, const PropDesc *row, JsonVal v, PropValue *out, GError **error)
{
    guint64 u;
    gint64 negative;
    double d;

    if (json_get_uint64(v, &u)) {
        if (u >= row->min && u <= row->max) {
            out->u = u;
            return TRUE;
        }
    } else if (!json_get_int64(v, &negative) && !(json_get_double(v, &d) && (d > 1.8e19 || d < 0))) {
        return wrong_type(bag, row, v, error); /* not a number at all, or a fraction */
    }
    gsize len;
    const char *raw = json_raw(v, &len);
    g_autofree char *given = error_quote(raw, (gssize)len);
    return error_set(error, "Property '%s.%s' does not accept %s: %s from %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT,
                     bag->table->name, row->name, given, kind_wanted(row->kind), row->min, row->max);
}

/* S is the text of a string, or of LEN bytes as base64. */
static gboolean check_length(const PropBag *bag, const PropDesc *row, const char *s, gsize len, GError **error)
{
    if (len < row->min || len > row->max) {
        g_autofree char *given = error_quote(s, -1);
        return error_set(error,
                         "Property '%s.%s' does not accept '%s' (%zu bytes): %" G_GUINT64_FORMAT
                         " to %" G_GUINT64_FORMAT " bytes",
                         bag->table->name, row->name, given, len, row->min, row->max);
    }
    return TRUE;
}

static gboolean check_base64(const char *s)
{
    gsize n = strlen(s), body = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");

    return n % 4 == 0 && n - body <= 2 && strspn(s + body, "=") == n - body;
}

static gsize decoded_length(const char *base64)
{
    gsize n = strlen(base64);

    return n / 4 * 3 - (n - strcspn(base64, "="));
}

gboolean prop_bag_set_json(PropBag *bag, guint index, JsonVal v, PropOrigin origin, GError **error)
{
    const PropDesc *row = &bag->table->rows[index];
    g_autofree char *text = NULL;
    PropValue value = { 0 };
    gboolean b;

    switch (row->kind) {
    case PROP_BOOL:
        if (!json_get_bool(v, &b))
            return wrong_type(bag, row, v, error);
        value.u = (guint64)b;
        break;
    case PROP_ENUM:
        if (!check_enum(bag, row, v, &value, error))
            return FALSE;
        break;
    case PROP_STRING:
    case PROP_LINK:
    case PROP_BYTES:
        text = json_dup_string(v);
        if (!text || (row->kind == PROP_BYTES && !check_base64(text)))
            return wrong_type(bag, row, v, error);
        if (!check_length(bag, row, text, row->kind == PROP_BYTES ? decoded_length(text) : strlen(text), error))
            return FALSE;
        value.s = text;
        break;
    default:
        if (!check_number(bag, row, v, &value, error))
            return FALSE;
        break;
    }
    prop_bag_set(bag, index, value, origin);
    return TRUE;
}

/* ---- a whole command ---- */

static gboolean decode_id(PropBag *bag, JsonVal v, GError **error)
{
    bag->id = json_dup_string(v);
    if (!bag->id) {
        gsize len;
        const char *raw = json_raw(v, &len);
        g_autofree char *given = error_quote(raw, (gssize)len);
        return error_set(error, "Invalid parameter type for 'id', expected: string, got %s", given);
    }
    if (!prop_id_valid(bag->id)) {
        g_autofree char *given = error_quote(bag->id, -1);
        return error_set(error,
                         "Parameter 'id' expects an identifier, got '%s': a letter, then letters, digits, '-', '.', '_', "
                         "at most 127",
                         given);
    }
    return TRUE;
}

static gboolean decode_member(PropBag *bag, JsonVal name, JsonVal value, GError **error)
{
    g_autofree char *key = json_dup_string(name);
    int row = key ? prop_table_row(bag->table, key) : -1;

    if (row < 0 || (bag->table->rows[row].flags & PROP_INTERNAL)) {
        g_autofree char *given = error_quote(key ? key : "", -1);
        return error_set(error, "Property '%s.%s' not found", bag->table->name, given);
    }
    return prop_bag_set_json(bag, (guint)row, value, ORIGIN_CONFIG, error);
}

static const PropTable *decode_type(JsonVal object, const char *discriminator, GError **error)
{
    JsonVal v;

    if (!json_member(object, discriminator, &v)) {
        error_set(error, "Parameter '%s' is missing", discriminator);
        return NULL;
    }
    g_autofree char *name = json_dup_string(v);
    if (!name) {
        error_set(error, "Invalid parameter type for '%s', expected: string", discriminator);
        return NULL;
    }
    const PropTable *table = prop_table_find(name);
    gboolean object_wanted = strcmp(discriminator, "qom-type") == 0;
    if (!table || (table->flags & TYPE_ABSTRACT) || table->plug == PLUG_CHARDEV ||
        (table->plug == PLUG_OBJECT) != object_wanted) {
        g_autofree char *given = error_quote(name, -1);
        error_set(error, "Parameter '%s' does not accept value '%s': not a known %s type", discriminator, given,
                  object_wanted ? "object" : "device");
        return NULL;
    }
    return table;
}

PropBag *prop_bag_decode(JsonVal object, const char *discriminator, GError **error)
{
    if (json_kind(object) != JSON_KIND_OBJECT) {
        error_set(error, "Invalid parameter type for '%s' arguments, expected: object", discriminator);
        return NULL;
    }
    const PropTable *table = decode_type(object, discriminator, error);
    if (!table)
        return NULL;

    g_autoptr(PropBag) bag = prop_bag_new(table);
    JsonIter it;
    JsonVal name, value;
    json_iter_init(&it, object);
    while (json_iter_next(&it, &name, &value)) {
        if (json_string_equal(name, discriminator))
            continue;
        if (json_string_equal(name, "id") ? !decode_id(bag, value, error) : !decode_member(bag, name, value, error))
            return NULL;
    }
    if (!bag->id && table->plug == PLUG_OBJECT) {
        error_set(error, "Parameter 'id' is missing");
        return NULL;
    }
    for (guint i = 0; i < table->n_rows; i++) {
        if ((table->rows[i].flags & PROP_REQUIRED) && bag->origin[i] == ORIGIN_UNSET) {
            error_set(error, "Parameter '%s' is missing: %s needs it", table->rows[i].name, table->name);
            return NULL;
        }
    }
    return g_steal_pointer(&bag);
}

/* ---- writing ---- */

void prop_bag_write(const PropBag *bag, guint index, JsonOut *out)
{
    const PropDesc *row = &bag->table->rows[index];

    if (bag->origin[index] == ORIGIN_UNSET) {
        json_out_null(out);
        return;
    }
    switch (row->kind) {
    case PROP_BOOL:
        json_out_bool(out, prop_bag_get_u(bag, index) != 0);
        break;
    case PROP_ENUM:
        json_out_string(out, row->enum_names[prop_bag_get_u(bag, index)]);
        break;
    case PROP_STRING:
    case PROP_LINK:
        json_out_string(out, prop_bag_get_s(bag, index));
        break;
    case PROP_BYTES: {
        gsize n;
        GBytes *bytes = prop_bag_get_bytes(bag, index);
        const guint8 *raw = bytes ? g_bytes_get_data(bytes, &n) : NULL;
        g_autofree char *text = raw ? g_base64_encode(raw, n) : g_strdup("");
        json_out_string(out, text);
        break;
    }
    default:
        json_out_uint(out, prop_bag_get_u(bag, index));
        break;
    }
}

void prop_bag_encode_said(const PropBag *bag, const char *discriminator, JsonOut *out)
{
    json_out_begin_object(out);
    json_out_key(out, discriminator);
    json_out_string(out, bag->table->name);
    if (bag->id) {
        json_out_key(out, "id");
        json_out_string(out, bag->id);
    }
    for (guint i = 0; i < bag->table->n_rows; i++) {
        if (bag->origin[i] != ORIGIN_CONFIG)
            continue;
        json_out_key(out, bag->table->rows[i].name);
        prop_bag_write(bag, i, out);
    }
    json_out_end_object(out);
}

void prop_bag_canonical(const PropBag *bag, guint row, GString *text)
{
    JsonOut out = JSON_OUT_INIT(text);

    g_string_append(text, bag->table->rows[row].name);
    g_string_append_c(text, '=');
    prop_bag_write(bag, row, &out);
}

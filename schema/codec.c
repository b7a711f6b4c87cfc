/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * codec.c - see codec.h.
 *
 * Decoding walks the members of the JSON object once and looks each up in the type's table, so an
 * unknown member is found where it stands; what was not seen and is not optional is missing. The
 * path in messages is a chain of frames on the stack, written out only when something is wrong: the
 * good case allocates nothing for it. Recursion goes no deeper than the document does, which the
 * reader limits.
 *
 * A union is decoded in two steps, since its discriminator may stand anywhere in the object: first
 * the discriminator alone, then all members against the union's own table and the variant's.
 */
#include "codec.h"

#include <string.h>

/* ---- where we are, for messages ---- */

typedef struct Path Path;
struct Path {
    const Path *up;
    const char *name; /* NULL: an element of a list */
    guint index;
};

static void path_write(const Path *path, GString *out)
{
    if (!path)
        return;
    path_write(path->up, out);
    if (!path->name)
        g_string_append_printf(out, "[%u]", path->index);
    else
        g_string_append_printf(out, path->up ? ".%s" : "%s", path->name);
}

static char *path_text(const Path *path)
{
    GString *out = g_string_new(NULL);

    path_write(path, out);
    if (!path)
        g_string_append(out, "arguments");
    return g_string_free(out, FALSE);
}

static gboolean wrong_kind(const Path *path, const char *expected, GError **error)
{
    g_autofree char *at = path_text(path);

    return error_set(error, "Invalid parameter type for '%s', expected: %s", at, expected);
}

static char *quote_raw(JsonVal v)
{
    gsize len;
    const char *raw = json_raw(v, &len);

    return error_quote(raw, (gssize)len);
}

/* ---- scalars ---- */

static const struct {
    guint8 size;
    const char *name; /* in messages */
} scalars[] = {
    [CODEC_BOOL] = { sizeof(gboolean), "boolean" },
    [CODEC_I8] = { 1, "int8" },
    [CODEC_I16] = { 2, "int16" },
    [CODEC_I32] = { 4, "int32" },
    [CODEC_I64] = { 8, "int64" },
    [CODEC_U8] = { 1, "uint8" },
    [CODEC_U16] = { 2, "uint16" },
    [CODEC_U32] = { 4, "uint32" },
    [CODEC_U64] = { 8, "uint64" },
    [CODEC_DOUBLE] = { sizeof(double), "number" },
    [CODEC_ENUM] = { sizeof(int), "string" },
};

static gboolean is_pointer(guint8 kind)
{
    return kind == CODEC_STR || kind == CODEC_ANY || kind >= CODEC_STRUCT;
}

/* TRUE if the number is written without fraction and exponent: then only its size can be wrong. */
static gboolean is_integer(JsonVal v)
{
    gsize len;
    const char *raw = json_raw(v, &len);

    for (gsize i = 0; i < len; i++)
        if (raw[i] == '.' || raw[i] == 'e' || raw[i] == 'E')
            return FALSE;
    return TRUE;
}

static gboolean wrong_integer(guint8 kind, JsonVal v, const Path *path, GError **error)
{
    if (json_kind(v) != JSON_KIND_NUMBER || !is_integer(v))
        return wrong_kind(path, "integer", error);

    g_autofree char *at = path_text(path);
    g_autofree char *got = quote_raw(v);
    return error_set(error, "Parameter '%s' expects %s, got %s", at, scalars[kind].name, got);
}

/* Little-endian: the low bytes of the value are the narrow one. */
static gboolean decode_signed(guint8 kind, JsonVal v, gpointer field, const Path *path,
                              GError **error)
{
    guint bits = scalars[kind].size * 8u;
    gint64 n;

    if (!json_get_int64(v, &n) ||
        (bits < 64 && (n < -(1ll << (bits - 1)) || n >= 1ll << (bits - 1))))
        return wrong_integer(kind, v, path, error);
    memcpy(field, &n, scalars[kind].size);
    return TRUE;
}

static gboolean decode_unsigned(guint8 kind, JsonVal v, gpointer field, const Path *path,
                                GError **error)
{
    guint bits = scalars[kind].size * 8u;
    guint64 n;

    if (!json_get_uint64(v, &n) || (bits < 64 && n >> bits))
        return wrong_integer(kind, v, path, error);
    memcpy(field, &n, scalars[kind].size);
    return TRUE;
}

static gboolean decode_enum(const char *const *names, JsonVal v, int *field, const Path *path,
                            GError **error)
{
    if (json_kind(v) != JSON_KIND_STRING)
        return wrong_kind(path, "string", error);
    for (int i = 0; names[i]; i++) {
        if (json_string_equal(v, names[i])) {
            *field = i;
            return TRUE;
        }
    }

    g_autofree char *at = path_text(path);
    g_autofree char *got = quote_raw(v);
    g_autofree char *known = g_strjoinv(", ", (char **)names);
    return error_set(error, "Parameter '%s' does not accept value %s (accepts: %s)", at, got,
                     known);
}

static gboolean decode_string(JsonVal v, char **field, const Path *path, GError **error)
{
    if (json_kind(v) != JSON_KIND_STRING)
        return wrong_kind(path, "string", error);
    *field = json_dup_string(v);
    if (!*field) {
        g_autofree char *at = path_text(path);
        return error_set(error, "Parameter '%s' contains a NUL character", at);
    }
    return TRUE;
}

static gboolean decode_bag(const char *discriminator, JsonVal v, PropBag **field, const Path *path,
                           GError **error)
{
    if (json_kind(v) != JSON_KIND_OBJECT)
        return wrong_kind(path, "object", error);
    *field = prop_bag_decode(v, discriminator, error);
    if (!*field && path) {
        g_autofree char *at = path_text(path);
        g_prefix_error(error, "%s: ", at);
    }
    return *field != NULL;
}

/* ---- structs and lists ---- */

static gpointer decode_new(const CodecType *type, JsonVal v, const Path *path, GError **error);

/* One value that is not a list. */
static gboolean decode_one(const CodecMember *m, JsonVal v, gpointer field, const Path *path,
                           GError **error)
{
    switch ((CodecKind)m->kind) {
    case CODEC_STR:
        return decode_string(v, field, path, error);
    case CODEC_ANY:
        *(char **)field = json_dup_raw(v);
        return TRUE;
    case CODEC_BOOL:
        return json_get_bool(v, field) || wrong_kind(path, "boolean", error);
    case CODEC_I8:
    case CODEC_I16:
    case CODEC_I32:
    case CODEC_I64:
        return decode_signed(m->kind, v, field, path, error);
    case CODEC_U8:
    case CODEC_U16:
    case CODEC_U32:
    case CODEC_U64:
        return decode_unsigned(m->kind, v, field, path, error);
    case CODEC_DOUBLE:
        return json_get_double(v, field) || wrong_kind(path, "number", error);
    case CODEC_NULL:
        return json_kind(v) == JSON_KIND_NULL || wrong_kind(path, "null", error);
    case CODEC_ENUM:
        return decode_enum(m->type, v, field, path, error);
    case CODEC_STRUCT:
        *(gpointer *)field = decode_new(m->type, v, path, error);
        return *(gpointer *)field != NULL;
    case CODEC_DEVICE:
        return decode_bag("driver", v, field, path, error);
    case CODEC_OBJECT:
        return decode_bag("qom-type", v, field, path, error);
    }
    g_assert_not_reached();
}

static GDestroyNotify element_destroy(const CodecMember *m)
{
    if (m->kind == CODEC_STRUCT)
        return ((const CodecType *)m->type)->destroy;
    return m->kind >= CODEC_DEVICE ? (GDestroyNotify)prop_bag_free : g_free;
}

static gboolean decode_pointers(const CodecMember *m, JsonVal v, GPtrArray **field,
                                const Path *path, GError **error)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new_full(json_size(v), element_destroy(m));
    Path here = { .up = path };
    JsonIter it;
    JsonVal name, value;

    json_iter_init(&it, v);
    for (; json_iter_next(&it, &name, &value); here.index++) {
        gpointer element = NULL;
        if (!decode_one(m, value, &element, &here, error))
            return FALSE;
        g_ptr_array_add(list, element);
    }
    *field = g_steal_pointer(&list);
    return TRUE;
}

static gboolean decode_scalars(const CodecMember *m, JsonVal v, GArray **field, const Path *path,
                               GError **error)
{
    guint size = scalars[m->kind].size;
    g_autoptr(GArray) list = g_array_sized_new(FALSE, TRUE, size, json_size(v));
    Path here = { .up = path };
    JsonIter it;
    JsonVal name, value;

    json_iter_init(&it, v);
    for (; json_iter_next(&it, &name, &value); here.index++) {
        guint64 element = 0;
        if (!decode_one(m, value, &element, &here, error))
            return FALSE;
        g_array_append_vals(list, &element, 1);
    }
    *field = g_steal_pointer(&list);
    return TRUE;
}

static gboolean decode_field(const CodecMember *m, JsonVal v, gpointer field, const Path *path,
                             GError **error)
{
    if (!(m->flags & CODEC_LIST))
        return decode_one(m, v, field, path, error);
    if (json_kind(v) != JSON_KIND_ARRAY)
        return wrong_kind(path, "array", error);
    return is_pointer(m->kind) ? decode_pointers(m, v, field, path, error) :
                                 decode_scalars(m, v, field, path, error);
}

static gboolean unexpected(JsonVal name, const Path *path, GError **error)
{
    gsize len;
    const char *raw = json_raw(name, &len);
    g_autofree char *quoted =
        error_quote(raw + 1, (gssize)len - 2); /* without the string's own quotes */
    Path here = { .up = path, .name = quoted };
    g_autofree char *at = path_text(&here);

    return error_set(error, "Parameter '%s' is unexpected", at);
}

static gboolean missing(const char *name, const Path *path, GError **error)
{
    Path here = { .up = path, .name = name };
    g_autofree char *at = path_text(&here);

    return error_set(error, "Parameter '%s' is missing", at);
}

static int find_member(const CodecType *type, JsonVal name)
{
    for (guint i = 0; i < type->n_members; i++)
        if (json_string_equal(name, type->members[i].name))
            return (int)i;
    return -1;
}

static gboolean decode_member(const CodecMember *m, JsonVal v, gpointer value, const Path *path,
                              GError **error)
{
    Path here = { .up = path, .name = m->name };

    if (!decode_field(m, v, (char *)value + m->offset, &here, error))
        return FALSE;
    if (m->has_offset != m->offset)
        *(gboolean *)((char *)value + m->has_offset) = TRUE;
    return TRUE;
}

static gboolean all_there(const CodecType *type, guint64 seen, const Path *path, GError **error)
{
    for (guint i = 0; i < type->n_members; i++)
        if (!(seen >> i & 1) && !(type->members[i].flags & CODEC_OPTIONAL))
            return missing(type->members[i].name, path, error);
    return TRUE;
}

/* Decodes the discriminator and allocates the variant's struct. *VARIANT NULL: it has no members.
 */
static gboolean choose_variant(const CodecType *type, JsonVal v, gpointer value,
                               const CodecType **variant, const Path *path, GError **error)
{
    const CodecMember *tag = &type->members[0];
    JsonVal v_tag;

    if (!json_member(v, tag->name, &v_tag))
        return missing(tag->name, path, error);
    if (!decode_member(tag, v_tag, value, path, error))
        return FALSE;
    *variant = type->variants[*(int *)((char *)value + tag->offset)];
    if (*variant)
        *(gpointer *)((char *)value + type->variant_offset) = g_malloc0((*variant)->size);
    return TRUE;
}

static gboolean decode_members(const CodecType *type, JsonVal v, gpointer value, const Path *path,
                               GError **error)
{
    const CodecType *variant = NULL;
    guint64 seen = 0, variant_seen = 0;
    gpointer variant_value = NULL;
    JsonIter it;
    JsonVal name, member;

    if (json_kind(v) != JSON_KIND_OBJECT)
        return wrong_kind(path, "object", error);
    if (type->variants) {
        if (!choose_variant(type, v, value, &variant, path, error))
            return FALSE;
        if (variant)
            variant_value = *(gpointer *)((char *)value + type->variant_offset);
    }
    json_iter_init(&it, v);
    while (json_iter_next(&it, &name, &member)) {
        int i = find_member(type, name);
        if (i >= 0) {
            seen |= G_GUINT64_CONSTANT(1) << i;
            if (!decode_member(&type->members[i], member, value, path, error))
                return FALSE;
        } else if (variant && (i = find_member(variant, name)) >= 0) {
            variant_seen |= G_GUINT64_CONSTANT(1) << i;
            if (!decode_member(&variant->members[i], member, variant_value, path, error))
                return FALSE;
        } else {
            return unexpected(name, path, error);
        }
    }
    return all_there(type, seen, path, error) &&
           (!variant || all_there(variant, variant_seen, path, error));
}

static gpointer decode_new(const CodecType *type, JsonVal v, const Path *path, GError **error)
{
    gpointer value = g_malloc0(type->size);

    if (decode_members(type, v, value, path, error))
        return value;
    codec_free(type, value);
    return NULL;
}

gboolean codec_decode(const CodecType *type, JsonVal v, gpointer value, GError **error)
{
    gboolean ok;

    if (!v.doc)
        ok = all_there(type, 0, NULL, error);
    else
        ok = decode_members(type, v, value, NULL, error);
    if (!ok)
        codec_clear(type, value);
    return ok;
}

gpointer codec_decode_new(const CodecType *type, JsonVal v, GError **error)
{
    return decode_new(type, v, NULL, error);
}

gboolean codec_decode_nothing(JsonVal v, GError **error)
{
    JsonIter it;
    JsonVal name, value;

    if (!v.doc)
        return TRUE;
    if (json_kind(v) != JSON_KIND_OBJECT)
        return wrong_kind(NULL, "object", error);
    json_iter_init(&it, v);
    return !json_iter_next(&it, &name, &value) || unexpected(name, NULL, error);
}

PropBag *codec_decode_bag(JsonVal v, const char *discriminator, GError **error)
{
    PropBag *bag = NULL;

    if (!v.doc)
        missing(discriminator, NULL, error);
    else
        decode_bag(discriminator, v, &bag, NULL, error);
    return bag;
}

/* ---- encoding ---- */

static gint64 load_signed(gconstpointer field, guint size)
{
    switch (size) {
    case 1:
        return *(const gint8 *)field;
    case 2:
        return *(const gint16 *)field;
    case 4:
        return *(const gint32 *)field;
    default:
        return *(const gint64 *)field;
    }
}

static guint64 load_unsigned(gconstpointer field, guint size)
{
    guint64 n = 0;

    memcpy(&n, field, size);
    return n;
}

/* One value that is not a list. A mandatory pointer that is NULL is our own bug. */
static void encode_one(const CodecMember *m, gconstpointer field, JsonOut *out)
{
    gconstpointer p = is_pointer(m->kind) ? *(const gconstpointer *)field : field;

    g_assert(p || m->kind == CODEC_NULL);
    switch ((CodecKind)m->kind) {
    case CODEC_STR:
        json_out_string(out, p);
        break;
    case CODEC_ANY:
        json_out_raw(out, p, -1);
        break;
    case CODEC_BOOL:
        json_out_bool(out, *(const gboolean *)p);
        break;
    case CODEC_I8:
    case CODEC_I16:
    case CODEC_I32:
    case CODEC_I64:
        json_out_int(out, load_signed(p, scalars[m->kind].size));
        break;
    case CODEC_U8:
    case CODEC_U16:
    case CODEC_U32:
    case CODEC_U64:
        json_out_uint(out, load_unsigned(p, scalars[m->kind].size));
        break;
    case CODEC_DOUBLE:
        json_out_double(out, *(const double *)p);
        break;
    case CODEC_NULL:
        json_out_null(out);
        break;
    case CODEC_ENUM:
        json_out_string(out, ((const char *const *)m->type)[*(const int *)p]);
        break;
    case CODEC_STRUCT:
        codec_encode(m->type, p, out);
        break;
    case CODEC_DEVICE:
        prop_bag_encode_said(p, "driver", out);
        break;
    case CODEC_OBJECT:
        prop_bag_encode_said(p, "qom-type", out);
        break;
    }
}

static void encode_list(const CodecMember *m, gconstpointer list, JsonOut *out)
{
    json_out_begin_array(out);
    if (list && is_pointer(m->kind)) {
        const GPtrArray *a = list;
        for (guint i = 0; i < a->len; i++)
            encode_one(m, &a->pdata[i], out);
    } else if (list) {
        const GArray *a = list;
        for (guint i = 0; i < a->len; i++)
            encode_one(m, a->data + (gsize)i * scalars[m->kind].size, out);
    }
    json_out_end_array(out);
}

void codec_encode_field(const CodecMember *m, gconstpointer field, JsonOut *out)
{
    if (m->flags & CODEC_LIST)
        encode_list(m, *(const gconstpointer *)field, out);
    else
        encode_one(m, field, out);
}

static gboolean is_absent(const CodecMember *m, gconstpointer value)
{
    if (!(m->flags & CODEC_OPTIONAL))
        return FALSE;
    if (m->has_offset != m->offset)
        return !*(const gboolean *)((const char *)value + m->has_offset);
    return m->kind == CODEC_NULL || !*(const gconstpointer *)((const char *)value + m->offset);
}

static void encode_members(const CodecType *type, gconstpointer value, JsonOut *out)
{
    for (guint i = 0; i < type->n_members; i++) {
        const CodecMember *m = &type->members[i];
        if (is_absent(m, value))
            continue;
        json_out_key(out, m->name);
        codec_encode_field(m, (const char *)value + m->offset, out);
    }
}

/* The variant that the discriminator selects and the pointer to its struct; NULL for none. */
static const CodecType *variant_of(const CodecType *type, gconstpointer value, gpointer *p)
{
    *p = *(const gpointer *)((const char *)value + type->variant_offset);
    return type->variants[*(const int *)((const char *)value + type->members[0].offset)];
}

void codec_encode(const CodecType *type, gconstpointer value, JsonOut *out)
{
    gpointer p;

    json_out_begin_object(out);
    encode_members(type, value, out);
    if (type->variants) {
        const CodecType *variant = variant_of(type, value, &p);
        if (variant) {
            g_assert(p);
            encode_members(variant, p, out);
        }
    }
    json_out_end_object(out);
}

char *codec_encode_text(const CodecType *type, gconstpointer value)
{
    JsonOut out = JSON_OUT_INIT(g_string_sized_new(128));

    codec_encode(type, value, &out);
    return g_string_free(out.text, FALSE);
}

/* ---- freeing ---- */

void codec_clear_field(const CodecMember *m, gpointer field)
{
    gpointer p;

    if (!(m->flags & CODEC_LIST) && !is_pointer(m->kind))
        return;
    p = g_steal_pointer((gpointer *)field);
    if (!p)
        return;
    if (!(m->flags & CODEC_LIST))
        element_destroy(m)(p);
    else if (is_pointer(m->kind))
        g_ptr_array_unref(p);
    else
        g_array_unref(p);
}

void codec_clear(const CodecType *type, gpointer value)
{
    gpointer p;

    if (type->variants) {
        const CodecType *variant = variant_of(type, value, &p);
        if (variant && p)
            codec_free(variant, p);
    }
    for (guint i = 0; i < type->n_members; i++)
        codec_clear_field(&type->members[i], (char *)value + type->members[i].offset);
    memset(value, 0, type->size);
}

void codec_free(const CodecType *type, gpointer value)
{
    if (!value)
        return;
    codec_clear(type, value);
    g_free(value);
}

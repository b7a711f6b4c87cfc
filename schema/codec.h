/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * codec.h - decodes, encodes and frees the C types that the schema generates, from constant tables.
 *
 * The generator emits one CodecType a struct or union; everything that runs is here, once. A
 * field is described by a CodecMember, whether it is a member of a struct, an element's type or a
 * command's whole result.
 *
 * In memory: scalars by value, strings and `any` (JSON text) as char *, structs and unions by
 * pointer, lists as GPtrArray (scalars: GArray; enums: of int), a NULL list being an empty or
 * absent one. An optional scalar has a gboolean before it.
 */
#pragma once

#include "common/error.h"
#include "common/json.h"
#include "common/prop.h"

typedef enum {
    CODEC_STR,
    CODEC_ANY,    /* char *: JSON text */
    CODEC_BOOL,   /* gboolean */
    CODEC_I8,
    CODEC_I16,
    CODEC_I32,
    CODEC_I64,
    CODEC_U8,
    CODEC_U16,
    CODEC_U32,
    CODEC_U64,
    CODEC_DOUBLE,
    CODEC_NULL,   /* takes no room */
    CODEC_ENUM,   /* TYPE: NULL-terminated names */
    CODEC_STRUCT, /* TYPE: a CodecType */
    CODEC_DEVICE, /* PropBag *, DeviceAdd */
    CODEC_OBJECT, /* PropBag *, ObjectAdd */
} CodecKind;

enum {
    CODEC_OPTIONAL = 1 << 0,
    CODEC_LIST = 1 << 1,
};

typedef struct {
    const char *name;
    const void *type;
    guint16     offset;
    guint16     has_offset; /* optional scalars: of their has_ flag */
    guint8      kind;       /* CodecKind */
    guint8      flags;
} CodecMember;

typedef struct CodecType CodecType;
struct CodecType {
    const CodecMember *members;
    guint16            n_members; /* at most 64 */
    guint16            size;
    /* Unions: member 0 is the discriminator, which selects a struct whose members stand in the
     * same JSON object. By value of it; NULL entries have no members. */
    const CodecType *const *variants; /* NULL: not a union */
    guint16            variant_offset; /* of the pointer to the variant */
    GDestroyNotify     destroy;        /* frees one on the heap */
};

/* Fills the zeroed VALUE of a type from an object; on error VALUE is cleared again. V.doc NULL
 * counts as an empty object (a command without arguments). Errors name the member with its path
 * from V. */
gboolean codec_decode(const CodecType *type, JsonVal v, gpointer value, GError **error);
/* The same into new memory; NULL on error. */
gpointer codec_decode_new(const CodecType *type, JsonVal v, GError **error);
/* Refuses every member: for commands without arguments. */
gboolean codec_decode_nothing(JsonVal v, GError **error);
/* Arguments that are a DeviceAdd or ObjectAdd. */
PropBag *codec_decode_bag(JsonVal v, const char *discriminator, GError **error);

void     codec_encode(const CodecType *type, gconstpointer value, JsonOut *out);
/* An event's data as text. Caller frees. */
char    *codec_encode_text(const CodecType *type, gconstpointer value);
/* One field at FIELD, without its name. */
void     codec_encode_field(const CodecMember *m, gconstpointer field, JsonOut *out);

void     codec_clear(const CodecType *type, gpointer value);
void     codec_clear_field(const CodecMember *m, gpointer field);
void     codec_free(const CodecType *type, gpointer value);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * json.h - strict JSON (RFC 8259) in and out.
 *
 * Reading builds a *tape*: one flat array of tokens over the unmodified text, made in one pass
 * without recursion and with limits on size, depth and token count. Values are read from it
 * where they are wanted, so a number keeps every digit (2^64-1 is itself, which json-glib's nodes
 * can not hold) and the `id` of a command is echoed as its own bytes.
 *
 * The tape refuses what json-glib lets pass: duplicate members, single quotes, hexadecimal, bare
 * words, trailing commas, lone surrogates, control characters in strings, invalid UTF-8 and
 * anything after the value.
 */
#pragma once

#include <glib.h>

typedef enum {
    JSON_KIND_NULL,
    JSON_KIND_BOOL,
    JSON_KIND_NUMBER,
    JSON_KIND_STRING,
    JSON_KIND_ARRAY,
    JSON_KIND_OBJECT,
} JsonKind;

typedef struct {
    gsize   max_bytes;  /* 0: no limit */
    guint   max_depth;  /* nesting of arrays and objects */
    guint   max_tokens; /* values plus member names */
} JsonLimits;

extern const JsonLimits json_limits_default; /* 64 MiB, 1024, 1 Mi: docs/design/qmp.md section 1 */

typedef struct JsonDoc JsonDoc;

/* One value of a document; passed by value, valid as long as the document. */
typedef struct {
    const JsonDoc *doc;
    guint32        index;
} JsonVal;

/* Parses exactly one JSON value. The text is copied; errors name the byte offset. */
JsonDoc *json_doc_parse(const char *text, gsize len, const JsonLimits *limits, GError **error);
/* The same without the copy: TEXT must outlive the document. */
JsonDoc *json_doc_parse_static(const char *text, gsize len, const JsonLimits *limits, GError **error);
void     json_doc_free(JsonDoc *doc);
JsonVal  json_doc_root(const JsonDoc *doc);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(JsonDoc, json_doc_free)

JsonKind    json_kind(JsonVal v);
const char *json_kind_name(JsonKind kind); /* "null", "boolean", "number", "string", ... */
/* The value's own bytes within the text (strings with their quotes). Not NUL-terminated. */
const char *json_raw(JsonVal v, gsize *len);
/* The same as a string on one line: line breaks, which JSON has between tokens only, become spaces. Caller frees. */
char       *json_dup_raw(JsonVal v);

/* ---- scalars: FALSE if the value is of another kind or out of range ---- */
gboolean json_get_bool(JsonVal v, gboolean *out);
gboolean json_get_int64(JsonVal v, gint64 *out);   /* integers only: 1.0 and 1e3 are refused */
gboolean json_get_uint64(JsonVal v, guint64 *out);
gboolean json_get_double(JsonVal v, double *out);
char    *json_dup_string(JsonVal v);               /* unescaped; NULL if not a string or if it contains \u0000 */
gboolean json_string_equal(JsonVal v, const char *s);

/* ---- containers ---- */
guint    json_size(JsonVal v);                     /* members or elements; 0 for scalars */
gboolean json_member(JsonVal object, const char *name, JsonVal *out);

/* Walks an array or object:
 *     JsonIter it; JsonVal name, value;
 *     json_iter_init(&it, v);
 *     while (json_iter_next(&it, &name, &value)) ...      NAME is a string value; unset for arrays */
typedef struct {
    const JsonDoc *doc;
    guint32        next, end;
    gboolean       object;
} JsonIter;
void     json_iter_init(JsonIter *it, JsonVal container);
gboolean json_iter_next(JsonIter *it, JsonVal *name, JsonVal *value);

/* ---- writing: appends to a GString, places commas itself; no white space ---- */
typedef struct {
    GString *text;
    gboolean comma; /* the next value needs one before it */
} JsonOut;

#define JSON_OUT_INIT(string) { .text = (string) }
void json_out_begin_object(JsonOut *o);
void json_out_end_object(JsonOut *o);
void json_out_begin_array(JsonOut *o);
void json_out_end_array(JsonOut *o);
void json_out_key(JsonOut *o, const char *name);
void json_out_null(JsonOut *o);
void json_out_bool(JsonOut *o, gboolean v);
void json_out_int(JsonOut *o, gint64 v);
void json_out_uint(JsonOut *o, guint64 v);
void json_out_double(JsonOut *o, double v);
void json_out_string(JsonOut *o, const char *utf8); /* NULL writes null; invalid UTF-8 is replaced by U+FFFD */
void json_out_raw(JsonOut *o, const char *json, gssize len); /* already JSON */

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz-json.c - any bytes into the reader. What it accepts must be walkable, and must be the same
 * document again after it was written from the tape.
 */
#include "common/error.h"
#include "common/json.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

static void write_value(JsonVal v, JsonOut *out);

static void write_container(JsonVal v, JsonOut *out)
{
    gboolean object = json_kind(v) == JSON_KIND_OBJECT;
    JsonVal name, value, found;
    JsonIter it;
    guint n = 0;

    (object ? json_out_begin_object : json_out_begin_array)(out);
    json_iter_init(&it, v);
    while (json_iter_next(&it, &name, &value)) {
        g_autofree char *key = object ? json_dup_string(name) : NULL;

        n++;
        if (key) {
            g_assert_true(json_member(v, key, &found) && found.index == value.index);
            json_out_key(out, key);
        } else if (object) {
            /* It contains \u0000 and has no C string: the text itself is the only form. */
            g_autofree char *raw = json_dup_raw(name);

            json_out_raw(out, raw, -1);
            g_string_append_c(out->text, ':');
            out->comma = FALSE;
        }
        write_value(value, out);
    }
    g_assert_cmpuint(n, ==, json_size(v));
    (object ? json_out_end_object : json_out_end_array)(out);
}

static void write_value(JsonVal v, JsonOut *out)
{
    g_autofree char *raw = NULL, *string = NULL;
    gint64 i;
    guint64 u;
    double d;

    if (json_kind(v) == JSON_KIND_OBJECT || json_kind(v) == JSON_KIND_ARRAY) {
        write_container(v, out);
        return;
    }
    string = json_dup_string(v);
    raw = json_dup_raw(v);
    json_get_double(v, &d);
    if (string) {
        g_assert_true(json_string_equal(v, string));
        g_assert_true(g_utf8_validate(string, -1, NULL));
        json_out_string(out, string);
    } else if (json_get_int64(v, &i)) {
        json_out_int(out, i);
    } else if (json_get_uint64(v, &u)) {
        json_out_uint(out, u);
    } else {
        json_out_raw(out, raw, -1);
    }
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    JsonLimits limits = { 1 << 20, 64, 100000 };
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonDoc) doc = json_doc_parse_static((const char *)data, size, &limits, &error);
    g_autoptr(GString) once = g_string_new(NULL), twice = g_string_new(NULL);
    JsonOut out = JSON_OUT_INIT(once), again = JSON_OUT_INIT(twice);
    g_autoptr(JsonDoc) copy = NULL;

    g_assert_true((doc == NULL) == (error != NULL));
    if (!doc) {
        g_assert_cmpuint(strlen(error->message), <, 300);
        return 0;
    }
    write_value(json_doc_root(doc), &out);
    copy = json_doc_parse(once->str, once->len, &json_limits_default, NULL);
    g_assert_nonnull(copy);
    write_value(json_doc_root(copy), &again);
    g_assert_cmpstr(once->str, ==, twice->str);
    return 0;
}

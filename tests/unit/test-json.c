/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-json.c - the strict reader and the writer. */
#include "common/json.h"

#include <math.h>
#include <string.h>

#include "common/error.h"

/* Parses a copy of exactly LEN bytes, so that a sanitizer sees any read beyond it. */
static JsonDoc *parse_n(const char *text, gsize len, GError **error)
{
    g_autofree char *exact = g_memdup2(text, len);

    return json_doc_parse(exact, len, &json_limits_default, error);
}

static JsonDoc *parse(const char *text)
{
    g_autoptr(GError) error = NULL;
    JsonDoc *doc = parse_n(text, strlen(text), &error);

    g_assert_no_error(error);
    return doc;
}

static void refuse_n(const char *text, gsize len, const char *why)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonDoc) doc = parse_n(text, len, &error);

    if (doc)
        g_error("accepted: %s", text);
    if (!strstr(error->message, why))
        g_error("'%s' refused by \"%s\", expected: %s", text, error->message, why);
}

static void refuse(const char *text, const char *why)
{
    refuse_n(text, strlen(text), why);
}

/* ---- structure ---- */

static void test_tape(void)
{
    g_autoptr(JsonDoc)
        doc = parse(" { \"a\" : [ 1 , {\"x\":[]} , null ] , \"b\":true, \"c\": \"s\" } ");
    JsonVal root = json_doc_root(doc), a, b, element, name;
    const char *kinds[] = { "number", "object", "null" };
    JsonIter it;
    gsize len;
    guint n = 0;

    g_assert_cmpint(json_kind(root), ==, JSON_KIND_OBJECT);
    g_assert_cmpuint(json_size(root), ==, 3);
    g_assert_true(json_member(root, "a", &a));
    g_assert_cmpuint(json_size(a), ==, 3);
    json_iter_init(&it, a);
    while (json_iter_next(&it, &name, &element))
        g_assert_cmpstr(json_kind_name(json_kind(element)), ==, kinds[n++]);
    g_assert_cmpuint(n, ==, 3);
    g_assert_true(json_member(root, "b", &b));
    g_assert_cmpint(json_kind(b), ==, JSON_KIND_BOOL);
    g_assert_false(json_member(root, "x", &b)); /* is a member of something further inside */
    g_assert_false(json_member(a, "a", &b));    /* an array has no members */
    json_raw(a, &len);
    g_assert_cmpuint(len, ==, strlen("[ 1 , {\"x\":[]} , null ]"));
}

static void test_iterate_object(void)
{
    g_autoptr(JsonDoc) doc = parse("{\"one\":1,\"two\":[2,2],\"three\":{\"x\":3}}");
    g_autoptr(GString) seen = g_string_new(NULL);
    JsonVal name, value;
    JsonIter it;

    json_iter_init(&it, json_doc_root(doc));
    while (json_iter_next(&it, &name, &value)) {
        g_autofree char *n = json_dup_string(name), *v = json_dup_raw(value);

        g_string_append_printf(seen, "%s=%s;", n, v);
    }
    g_assert_cmpstr(seen->str, ==, "one=1;two=[2,2];three={\"x\":3};");
}

/* No document at all (a command without arguments) behaves like an empty object. */
static void test_absent(void)
{
    JsonVal none = { NULL, 0 }, name, value;
    JsonIter it;

    json_iter_init(&it, none);
    g_assert_false(json_iter_next(&it, &name, &value));
    g_assert_false(json_member(none, "a", &value));
    g_assert_cmpuint(json_size(none), ==, 0);
}

static void test_static_text(void)
{
    const char text[] = "[\"a\"]";
    g_autoptr(JsonDoc) doc = json_doc_parse_static(text, strlen(text), &json_limits_default, NULL);
    gsize len;

    g_assert_true(json_raw(json_doc_root(doc), &len) == text);
}

static void test_refused_structure(void)
{
    static const char *const bad[][2] = {
        { "", "unexpected end" },
        { " ", "unexpected end" },
        { "{", "unexpected end" },
        { "[", "unexpected end" },
        { "[1", "unexpected end" },
        { "[1,", "unexpected end" },
        { "{\"a\"", "unexpected end" },
        { "{\"a\":", "unexpected end" },
        { "{\"a\":1", "unexpected end" },
        { "{\"a\":1,", "unexpected end" },
        { "\"abc", "unexpected end" },
        { "[1,]", "byte 3: expecting a value" },
        { "{\"a\":1,}", "expecting a member's name" },
        { "[,1]", "expecting a value" },
        { "[1 2]", "expecting ',' or ']'" },
        { "[1}", "expecting ',' or ']'" },
        { "{\"a\":1]", "expecting ',' or '}'" },
        { "{\"a\" 1}", "expecting ':'" },
        { "{a:1}", "member's name" },
        { "{1:1}", "member's name" },
        { "{'a':1}", "member's name" },
        { "['a']", "expecting a value" },
        { "{} {}", "expecting nothing after" },
        { "1 2", "expecting nothing after" },
        { "]", "expecting a value" },
        { "}", "expecting a value" },
        { "nul", "expecting a value" },
        { "nulll", "expecting nothing" },
        { "True", "expecting a value" },
        { "NaN", "expecting a value" },
        { "Infinity", "expecting a value" },
        { "// c\n1", "expecting a value" },
        { "[1]/**/", "expecting nothing" },
        { "\xef\xbb\xbf{}", "expecting a value" },
        { "{\"a\":}", "expecting a value" },
        { "{:1}", "member's name" },
        { "\f1", "expecting a value" },
    };

    for (guint i = 0; i < G_N_ELEMENTS(bad); i++)
        refuse(bad[i][0], bad[i][1]);
    refuse_n("1\0", 2, "expecting nothing after");
    refuse_n("\0", 1, "expecting a value");
    refuse_n("{\0}", 3, "member's name");
}

/* ---- numbers ---- */

static void test_integers(void)
{
    g_autoptr(JsonDoc) doc = parse(
        "[18446744073709551615, 18446744073709551616, 9223372036854775807, 9223372036854775808,"
        " -9223372036854775808, -9223372036854775809, -0, 1.0, 1e3, \"1\", -1, 0]");
    static const struct {
        gboolean u_ok, i_ok;
        guint64 u;
        gint64 i;
    } expected[] = {
        { TRUE, FALSE, G_MAXUINT64, 0 },
        { FALSE, FALSE, 0, 0 },
        { TRUE, TRUE, G_MAXINT64, G_MAXINT64 },
        { TRUE, FALSE, (guint64)G_MAXINT64 + 1, 0 },
        { FALSE, TRUE, 0, G_MININT64 },
        { FALSE, FALSE, 0, 0 },
        { TRUE, TRUE, 0, 0 },
        { FALSE, FALSE, 0, 0 },
        { FALSE, FALSE, 0, 0 },
        { FALSE, FALSE, 0, 0 },
        { FALSE, TRUE, 0, -1 },
        { TRUE, TRUE, 0, 0 },
    };
    JsonVal name, v;
    JsonIter it;

    json_iter_init(&it, json_doc_root(doc));
    for (guint i = 0; json_iter_next(&it, &name, &v); i++) {
        guint64 u = 0;
        gint64 n = 0;

        g_assert_cmpint(json_get_uint64(v, &u), ==, expected[i].u_ok);
        g_assert_cmpint(json_get_int64(v, &n), ==, expected[i].i_ok);
        g_assert_cmpuint(u, ==, expected[i].u);
        g_assert_cmpint(n, ==, expected[i].i);
    }
}

static void test_doubles(void)
{
    g_autoptr(JsonDoc) doc = parse("[0.5, 1e3, -2.5E-1, 1e999, true]");
    JsonVal name, v;
    JsonIter it;
    double d, sum = 0;
    guint refused = 0;

    json_iter_init(&it, json_doc_root(doc));
    while (json_iter_next(&it, &name, &v)) {
        if (json_get_double(v, &d))
            sum += d;
        else
            refused++;
    }
    g_assert_cmpfloat(sum, ==, 1000.25);
    g_assert_cmpuint(refused, ==, 2); /* beyond a double; not a number */
}

static void test_refused_numbers(void)
{
    static const char *const bad[] = { "01", "-",    "+1", "1.",   ".5",  "1e", "1e+",
                                       "-a", "0x10", "00", "1.e3", "--1", "1_0" };

    for (guint i = 0; i < G_N_ELEMENTS(bad); i++)
        refuse(bad[i], "JSON parse error at byte");
}

/* A number of a million digits is read, and fits nowhere. */
static void test_huge_number(void)
{
    g_autofree char *digits = g_strnfill(1 << 20, '9');
    g_autoptr(JsonDoc) doc = parse(digits);
    gint64 i;
    guint64 u;
    double d;

    g_assert_false(json_get_int64(json_doc_root(doc), &i));
    g_assert_false(json_get_uint64(json_doc_root(doc), &u));
    g_assert_false(json_get_double(json_doc_root(doc), &d));
}

/* ---- strings ---- */

static void check_string(const char *json, const char *expected)
{
    g_autoptr(JsonDoc) doc = parse(json);
    g_autofree char *s = json_dup_string(json_doc_root(doc));

    g_assert_cmpstr(s, ==, expected);
    if (expected)
        g_assert_true(json_string_equal(json_doc_root(doc), expected));
}

static void test_strings(void)
{
    g_autoptr(JsonDoc) doc = parse("\"ab\"");

    check_string("\"\"", "");
    check_string("\"plain text, longer than eight bytes\"", "plain text, longer than eight bytes");
    check_string("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t");
    check_string("\"\\u0041\\u00e9\\u20ac\"", "A\xc3\xa9\xe2\x82\xac");
    check_string("\"\\uD83D\\ude00!\"", "\xf0\x9f\x98\x80!");
    check_string("\"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80\"",
                 "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80");
    check_string("\"\x7f\"", "\x7f");
    check_string("\"a\\u0000b\"", NULL); /* valid JSON, but no C string */
    check_string("17", NULL);

    g_assert_false(json_string_equal(json_doc_root(doc), "a"));
    g_assert_false(json_string_equal(json_doc_root(doc), "abc"));
    g_assert_false(json_string_equal(json_doc_root(doc), ""));
}

static void test_refused_strings(void)
{
    static const char *const bad[][2] = {
        { "\"a\nb\"", "control character" },
        { "\"\x1f\"", "control character" },
        { "\"\\x41\"", "escape" },
        { "\"\\u12\"", "escape" },
        { "\"\\u12g4\"", "escape" },
        { "\"\\", "escape" },
        { "\"\\'\"", "escape" },
        { "\"\\ud800\"", "lone surrogate" },
        { "\"\\udc00\"", "lone surrogate" },
        { "\"\\ud800\\ud800\"", "lone surrogate" },
        { "\"\\ud800x\"", "lone surrogate" },
        { "\"\\ud800\\n\"", "lone surrogate" },
        { "\"\\udc00\\ud800\"", "lone surrogate" },
        { "\"\\ud800\\u", "lone surrogate" },
        { "\"\x80\"", "UTF-8" },
        { "\"\xc3\"", "UTF-8" },
        { "\"\xc0\x80\"", "UTF-8" },
        { "\"\xc1\xbf\"", "UTF-8" },
        { "\"\xe0\x9f\xbf\"", "UTF-8" },
        { "\"\xed\xa0\x80\"", "UTF-8" },
        { "\"\xf0\x8f\xbf\xbf\"", "UTF-8" },
        { "\"\xf4\x90\x80\x80\"", "UTF-8" },
        { "\"\xf5\x80\x80\x80\"", "UTF-8" },
        { "\"\xff\"", "UTF-8" },
        { "\"\xe2\x82", "UTF-8" },
        { "\"long enough for words \x01\"", "control character" },
        { "\"long enough for words \xff\"", "UTF-8" },
    };

    for (guint i = 0; i < G_N_ELEMENTS(bad); i++)
        refuse(bad[i][0], bad[i][1]);
    refuse_n("\"a\0b\"", 5, "byte 2: control character");
    refuse_n("\"\\\0\"", 4, "escape");
}

/* Every byte value at every place of a word: the word-wise scan agrees with the plain definition.
 */
static void test_string_bytes(void)
{
    for (guint at = 0; at < 16; at++) {
        for (guint c = 0; c < 256; c++) {
            char text[19] = "\"aaaaaaaaaaaaaaaa\"";
            gboolean good = c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
            g_autoptr(JsonDoc) doc = NULL;

            text[1 + at] = (char)c;
            doc = parse_n(text, 18, NULL);
            g_assert_cmpint(doc != NULL, ==, good);
        }
    }
}

static void test_long_string(void)
{
    g_autofree char *letters = g_strnfill(1 << 20, 'x');
    g_autofree char *json = g_strdup_printf("{\"%s\":\"%s\"}", letters, letters);
    g_autoptr(JsonDoc) doc = parse(json);
    JsonVal v;

    g_assert_true(json_member(json_doc_root(doc), letters, &v));
    g_assert_true(json_string_equal(v, letters));
}

/* ---- duplicates ---- */

static void test_duplicates(void)
{
    refuse("{\"a\":1,\"a\":2}", "byte 7: duplicate member 'a'");
    refuse("{\"a\":1,\"b\":1,\"\\u0061\":2}", "duplicate member");
    refuse("{\"\\u00e9\":1,\"\xc3\xa9\":2}", "duplicate member");
    refuse("{\"\":1,\"\":2}", "duplicate member");
    refuse("[{\"x\":{\"a\":1,\"a\":2}}]", "duplicate member 'a'");
    refuse("{\"a\\u0000\":1,\"a\\u0000\":1}", "duplicate member");
    json_doc_free(parse("{\"a\":{\"a\":1},\"b\":{\"a\":1}}"));
    json_doc_free(parse("{\"a\":1,\"a\\u0000\":1,\"\\u0000a\":1,\"aaaaaaa\":1,\"aaaaaaaa\":1,"
                        "\"aaaaaaa\\u0000\":1}"));
}

/* {"prefix0":0, "prefix1":1, ... } with N members. */
static char *many_members(guint n, const char *prefix, const char *last)
{
    GString *text = g_string_new("{");

    for (guint i = 0; i < n; i++)
        g_string_append_printf(text, "\"%s%u\":%u,", prefix, i, i);
    g_string_append_printf(text, "\"%s\":0}", last);
    return g_string_free(text, FALSE);
}

static void test_duplicates_of_many(void)
{
    for (guint n = 1; n < 40; n++) {
        g_autofree char *good = many_members(n, "member", "other"),
                        *bad = many_members(n, "member", "member0");

        json_doc_free(parse(good));
        refuse(bad, "duplicate member 'member0'");
    }
}

/* 300,000 members cost well under a second, with short, long and escaped names. */
static void test_many_members(void)
{
    const char *const prefixes[] = { "", "a-rather-long-prefix-that-is-always-the-same-",
                                     "\\u0061" };

    for (guint i = 0; i < G_N_ELEMENTS(prefixes); i++) {
        g_autofree char *text = many_members(300000, prefixes[i], "last");
        gint64 start = g_get_monotonic_time(), took;
        g_autoptr(JsonDoc) doc = parse(text);

        took = g_get_monotonic_time() - start;
        g_test_message("300,000 members: %" G_GINT64_FORMAT " us", took);
        g_assert_cmpuint(json_size(json_doc_root(doc)), ==, 300001);
        g_assert_cmpint(took, <, 5 * G_USEC_PER_SEC); /* pair by pair it would be minutes */
    }
}

/* ---- limits ---- */

static JsonDoc *parse_limited(const char *text, gsize bytes, guint depth, guint tokens,
                              GError **error)
{
    JsonLimits limits = { bytes, depth, tokens };

    return json_doc_parse(text, strlen(text), &limits, error);
}

static void test_limits(void)
{
    g_autoptr(JsonDoc) fits = parse_limited("[[1,2]]", 7, 2, 4, NULL);
    g_autoptr(GError) bytes = NULL, depth = NULL, tokens = NULL;

    g_assert_nonnull(fits);
    g_assert_null(parse_limited("[[1,2]]", 6, 2, 4, &bytes));
    g_assert_cmpstr(bytes->message, ==, "JSON text of 7 bytes is longer than 6");
    g_assert_null(parse_limited("[[1,2]]", 7, 1, 4, &depth));
    g_assert_cmpstr(depth->message, ==, "JSON parse error at byte 1: nested deeper than 1");
    g_assert_null(parse_limited("[[1,2]]", 7, 2, 3, &tokens));
    g_assert_cmpstr(tokens->message, ==, "JSON parse error at byte 4: more than 3 tokens");
}

static void test_depth(void)
{
    g_autofree char *open = g_strnfill(1024, '['), *close = g_strnfill(1024, ']');
    g_autofree char *deep = g_strconcat(open, close, NULL),
                    *deeper = g_strconcat("[", deep, "]", NULL);
    g_autofree char *abyss = g_strnfill(1 << 20, '[');

    json_doc_free(parse(deep));
    refuse(deeper, "nested deeper than 1024");
    refuse(abyss, "nested deeper than 1024");
}

/* A document that needs more tokens than first reserved: all offsets survive the move. */
static void test_growth(void)
{
    g_autoptr(GString) text = g_string_new("[");
    g_autoptr(JsonDoc) doc = NULL;
    JsonVal name, v;
    JsonIter it;
    gint64 expected = 0, got;

    for (guint i = 0; i < 20000; i++)
        g_string_append_printf(text, "%s%u", i ? "," : "", i % 10);
    g_string_append_c(text, ']');
    doc = parse(text->str);
    json_iter_init(&it, json_doc_root(doc));
    for (; json_iter_next(&it, &name, &v); expected++) {
        g_assert_true(json_get_int64(v, &got));
        g_assert_cmpint(got, ==, expected % 10);
    }
    g_assert_cmpint(expected, ==, 20000);
}

/* ---- writing ---- */

static void test_write(void)
{
    g_autoptr(GString) text = g_string_new(NULL);
    JsonOut o = JSON_OUT_INIT(text);

    json_out_begin_object(&o);
    json_out_key(&o, "a");
    json_out_begin_array(&o);
    json_out_int(&o, G_MININT64);
    json_out_uint(&o, G_MAXUINT64);
    json_out_bool(&o, TRUE);
    json_out_null(&o);
    json_out_end_array(&o);
    json_out_key(&o, "b");
    json_out_begin_object(&o);
    json_out_end_object(&o);
    json_out_key(&o, "c");
    json_out_raw(&o, "[1, 2]", -1);
    json_out_key(&o, "d");
    json_out_string(&o, NULL);
    json_out_end_object(&o);
    g_assert_cmpstr(text->str, ==,
                    "{\"a\":[-9223372036854775808,18446744073709551615,true,null],\"b\":{},\"c\":["
                    "1, 2],\"d\":null}");
}

static void check_written_string(const char *s, const char *expected)
{
    g_autoptr(GString) text = g_string_new(NULL);
    JsonOut o = JSON_OUT_INIT(text);

    json_out_string(&o, s);
    g_assert_cmpstr(text->str, ==, expected);
    json_doc_free(parse(text->str));
}

static void test_write_strings(void)
{
    check_written_string("", "\"\"");
    check_written_string("a\"b\\c/d", "\"a\\\"b\\\\c/d\"");
    check_written_string("\b\f\n\r\t\x01\x1f\x7f", "\"\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\"");
    check_written_string("gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80",
                         "\"gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80\"");
    check_written_string("a\xff\xc3", "\"a\xef\xbf\xbd\xef\xbf\xbd\"");
    check_written_string("\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
}

static void test_write_doubles(void)
{
    static const double values[] = { 0.1, 1.0 / 3, 5e-324, 1.7976931348623157e308, -2.5, 1e21 };

    for (guint i = 0; i < G_N_ELEMENTS(values); i++) {
        g_autoptr(GString) text = g_string_new(NULL);
        JsonOut o = JSON_OUT_INIT(text);
        g_autoptr(JsonDoc) doc = NULL;
        double back;

        json_out_double(&o, values[i]);
        doc = parse(text->str);
        g_assert_true(json_get_double(json_doc_root(doc), &back));
        g_assert_cmpfloat(back, ==, values[i]);
    }
}

static void test_write_infinity(void)
{
    g_autoptr(GString) text = g_string_new(NULL);
    JsonOut o = JSON_OUT_INIT(text);

    json_out_double(&o, INFINITY);
    g_assert_cmpstr(text->str, ==, "null");
}

/* ---- there and back ---- */

/* Writes V from the tape alone. */
static void rewrite(JsonVal v, JsonOut *o)
{
    JsonVal name, value;
    JsonIter it;

    if (json_kind(v) == JSON_KIND_OBJECT || json_kind(v) == JSON_KIND_ARRAY) {
        gboolean object = json_kind(v) == JSON_KIND_OBJECT;

        (object ? json_out_begin_object : json_out_begin_array)(o);
        json_iter_init(&it, v);
        while (json_iter_next(&it, &name, &value)) {
            if (object) {
                g_autofree char *key = json_dup_string(name);

                json_out_key(o, key);
            }
            rewrite(value, o);
        }
        (object ? json_out_end_object : json_out_end_array)(o);
    } else if (json_kind(v) == JSON_KIND_STRING) {
        g_autofree char *s = json_dup_string(v);

        json_out_string(o, s);
    } else {
        gsize len;
        const char *raw = json_raw(v, &len);

        json_out_raw(o, raw, (gssize)len);
    }
}

/* Appends one random value to TEXT in some form, and to PLAIN in the form that we write. */
static void make_value(GRand *rand, GString *text, GString *plain, guint depth)
{
    static const char *const scalars[][2] = {
        { "null", "null" },
        { "true", "true" },
        { "false", "false" },
        { "0", "0" },
        { "-12", "-12" },
        { "3.50", "3.50" },
        { "123456789012", "123456789012" },
        { "\"\"", "\"\"" },
        { "\"t\\/x\"", "\"t/x\"" },
        { "\"\\u00e9\\u000a\"", "\"\xc3\xa9\\n\"" },
        { "\"\xe2\x82\xac\"", "\"\xe2\x82\xac\"" },
    };
    guint n = (guint)g_rand_int_range(rand, 0, 20),
          what = (guint)g_rand_int_range(rand, 0, depth ? 3 : 1);

    if (what == 0) {
        guint which = (guint)g_rand_int_range(rand, 0, G_N_ELEMENTS(scalars));

        g_string_append(text, scalars[which][0]);
        g_string_append(plain, scalars[which][1]);
        return;
    }
    g_string_append(text, what == 1 ? "[ " : "{\t");
    g_string_append_c(plain, what == 1 ? '[' : '{');
    for (guint i = 0; i < n; i++) {
        g_string_append(text, i ? " ,\n" : "");
        g_string_append(plain, i ? "," : "");
        if (what == 2) {
            g_string_append_printf(text, "\"\\u006d%u\" : ", i);
            g_string_append_printf(plain, "\"m%u\":", i);
        }
        make_value(rand, text, plain, depth - 1);
    }
    g_string_append(text, what == 1 ? "\r\n]" : " }");
    g_string_append_c(plain, what == 1 ? ']' : '}');
}

static void test_there_and_back(void)
{
    const char *given = g_getenv("TEST_SEED");
    guint32 seed = given ? (guint32)g_ascii_strtoull(given, NULL, 10) : g_random_int();
    g_autoptr(GRand) rand = g_rand_new_with_seed(seed);

    g_test_message("TEST_SEED=%u", seed);
    for (guint i = 0; i < 300; i++) {
        g_autoptr(GString) text = g_string_new(NULL), plain = g_string_new(NULL),
                           again = g_string_new(NULL);
        JsonOut o = JSON_OUT_INIT(again);
        g_autoptr(JsonDoc) doc = NULL;

        make_value(rand, text, plain, 3);
        doc = parse(text->str);
        rewrite(json_doc_root(doc), &o);
        g_assert_cmpstr(again->str, ==, plain->str);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/json/tape", test_tape);
    g_test_add_func("/json/iterate-object", test_iterate_object);
    g_test_add_func("/json/absent", test_absent);
    g_test_add_func("/json/static-text", test_static_text);
    g_test_add_func("/json/refused-structure", test_refused_structure);
    g_test_add_func("/json/integers", test_integers);
    g_test_add_func("/json/doubles", test_doubles);
    g_test_add_func("/json/refused-numbers", test_refused_numbers);
    g_test_add_func("/json/huge-number", test_huge_number);
    g_test_add_func("/json/strings", test_strings);
    g_test_add_func("/json/refused-strings", test_refused_strings);
    g_test_add_func("/json/string-bytes", test_string_bytes);
    g_test_add_func("/json/long-string", test_long_string);
    g_test_add_func("/json/duplicates", test_duplicates);
    g_test_add_func("/json/duplicates-of-many", test_duplicates_of_many);
    g_test_add_func("/json/many-members", test_many_members);
    g_test_add_func("/json/limits", test_limits);
    g_test_add_func("/json/depth", test_depth);
    g_test_add_func("/json/growth", test_growth);
    g_test_add_func("/json/write", test_write);
    g_test_add_func("/json/write-strings", test_write_strings);
    g_test_add_func("/json/write-doubles", test_write_doubles);
    g_test_add_func("/json/write-infinity", test_write_infinity);
    g_test_add_func("/json/there-and-back", test_there_and_back);
    return g_test_run();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-framer.c - a stream in, messages and errors out.
 *
 * A stream's outcome is written as a list: a message as itself, an error as "!" and a part of its
 * text. Each stream is fed whole, split in two at every byte, and byte by byte: the outcome must be
 * the same.
 */
#include "qmp/framer.h"

#include <string.h>

#include "common/error.h"

static void drain(Framer *f, GPtrArray *out)
{
    for (;;) {
        g_autoptr(GError) error = NULL;
        const char *text;
        gsize len;
        FramerResult result = framer_take(f, &text, &len, &error);

        if (result == FRAMER_MORE)
            return;
        g_assert_cmpint(result == FRAMER_ERROR, ==, error != NULL);
        g_ptr_array_add(out, error ? g_strconcat("!", error->message, NULL) : g_strndup(text, len));
    }
}

/* Feeds copies of exactly the size given, so that a sanitizer sees any read beyond. */
static void feed(Framer *f, const char *data, gsize len, GPtrArray *out)
{
    g_autofree char *copy = g_memdup2(data, len);

    framer_feed(f, copy, len);
    drain(f, out);
}

static void compare(GPtrArray *got, const char *const *expected)
{
    guint n = g_strv_length((char **)expected);

    for (guint i = 0; i < MIN(n, got->len); i++) {
        const char *g = g_ptr_array_index(got, i);

        if (expected[i][0] == '!' ? !(g[0] == '!' && strstr(g, expected[i] + 1))
                                  : strcmp(g, expected[i]) != 0)
            g_error("outcome %u is \"%s\" instead of \"%s\"", i, g, expected[i]);
    }
    g_assert_cmpuint(got->len, ==, n);
}

static void check_n(const char *stream, gsize len, const char *const *expected)
{
    for (gsize split = 0; split <= len; split++) {
        g_autoptr(GPtrArray) out = g_ptr_array_new_with_free_func(g_free);
        Framer *f = framer_new(&json_limits_default);

        feed(f, stream, split, out);
        feed(f, stream + split, len - split, out);
        compare(out, expected);
        g_assert_cmpuint(framer_position(f), ==, len);
        framer_free(f);
    }
    g_autoptr(GPtrArray) out = g_ptr_array_new_with_free_func(g_free);
    Framer *f = framer_new(&json_limits_default);

    for (gsize i = 0; i < len; i++)
        feed(f, stream + i, 1, out);
    compare(out, expected);
    framer_free(f);
}

#define CHECK(stream, ...)                                                                         \
    check_n(stream, sizeof(stream) - 1, (const char *const[]){ __VA_ARGS__, NULL })

static void test_messages(void)
{
    CHECK("{}", "{}");
    CHECK("{}{}", "{}", "{}");
    CHECK(" \t\r\n{\"a\":1}\r\n\r\n{\"b\":[true,null]}\n", "{\"a\":1}", "{\"b\":[true,null]}");
    CHECK("{\n  \"a\": [\n    {\n    },\n    -1.5e+3\n  ]\n}\n",
          "{\n  \"a\": [\n    {\n    },\n    -1.5e+3\n  ]\n}");
    CHECK("{\"a\":\"}]{[\\\"\\\\\"}{}", "{\"a\":\"}]{[\\\"\\\\\"}", "{}");
    CHECK("{\"gr\xc3\xbc\xc3\x9f\":\"\\ud83d\"}",
          "{\"gr\xc3\xbc\xc3\x9f\":\"\\ud83d\"}"); /* the parser's business */
    CHECK("{\"a\":nonsense}", "{\"a\":nonsense}"); /* likewise */
}

static void test_nothing(void)
{
    check_n("", 0, (const char *const[]){ NULL });
    check_n(" \r\n\n \t", 6, (const char *const[]){ NULL });
    check_n("{\"a\":", 5, (const char *const[]){ NULL });
}

/* A broken line costs one error, and the next one is read again. */
static void test_broken_lines(void)
{
    CHECK("rubbish and more rubbish\n{}", "!expecting an object, got 'r'", "{}");
    CHECK("}{}{}{}\n{}", "!expecting an object, got '}'", "{}");
    CHECK("[1,2]\n{}", "!expecting an object, got '['", "{}");
    CHECK("\"text\" 17\r\n{}\n", "!expecting an object", "{}");
    CHECK("one\ntwo\n{}", "!got 'o'", "!got 't'", "{}");
    CHECK("{} trailing {}\n{}", "{}", "!expecting an object, got 't'", "{}");
    CHECK("{]}\n{}", "!expecting a member's name or '}', got ']'", "{}");
    CHECK("{\"a\"}\n{}", "!expecting ':', got '}'", "{}");
    CHECK("{\"a\":}\n{}", "!expecting a value, got '}'", "{}");
    CHECK("{\"a\":1,}\n{}", "!expecting a member's name, got '}'", "{}");
    CHECK("{\"a\":1 2}\n{}", "!expecting ',' or '}', got '2'", "{}");
    CHECK("{\"a\":[1}\n{}", "!expecting ',' or ']', got '}'", "{}");
    CHECK("{\"a\":[,1]}\n{}", "!expecting a value or ']', got ','", "{}");
    CHECK("{\"a\":[1,]}\n{}", "!expecting a value, got ']'", "{}");
    CHECK("{a:1}\n{}", "!expecting a member's name or '}', got 'a'", "{}");
    CHECK("{'a':1}\n{}", "!got '''", "{}");
    CHECK("{\"a\":$}\n{}", "!got '$'", "{}");
    CHECK("\xef\xbb\xbf{}\n{}", "!got '\\xef'", "{}");
    CHECK("\0\0\0{}\n{}", "!got '\\x00'", "{}");
    CHECK("{\"a\":\0}\n{}", "!got '\\x00'", "{}");
}

static void test_controls_in_strings(void)
{
    CHECK("{\"a\":\"x\ty\"}\n{}", "!control character 0x09", "{}");
    CHECK("{\"a\":\"x\0y\"}\n{}", "!control character 0x00", "{}");
    /* The line end that broke the string ends the broken line. */
    CHECK("{\"a\":\"x\n{}", "!control character 0x0a", "{}");
    CHECK("{\"a\":\"x\\\n{}", "!control character 0x0a", "{}");
}

/* The client forgot to close a bracket and goes on in the next line. */
static void test_forgotten_bracket(void)
{
    CHECK("{\"a\":1\n{\"b\":2}\n", "!expecting ',' or '}', got '{'", "{\"b\":2}");
    CHECK("{\"a\"\r\n  {\"b\":2}\n", "!expecting ':', got '{'", "{\"b\":2}");
    CHECK("{\"a\":1 {\"b\":2}\n{}", "!expecting ',' or '}'", "{}"); /* not the start of a line */
}

static void test_resync(void)
{
    CHECK("\xff{}", "{}");
    CHECK("\xff\xff\xff{}\xff", "{}");
    CHECK("{\"a\":1\xff{}", "!cut short by a 0xff byte", "{}");
    CHECK("{\"a\":\"text\xff{}", "!cut short by a 0xff byte", "{}");
    CHECK("{\"a\":\"text\\\xff\"{}", "!cut short by a 0xff byte", "!got '\"'");
    CHECK("{\"a\":12\xff{}", "!cut short", "{}");
    CHECK("rubbish\xff{}", "!expecting an object", "{}");
    CHECK("rub\xff"
          "bish\n{}",
          "!got 'r'", "!got 'b'", "{}");
}

static GPtrArray *run_limited(const JsonLimits *limits, const char *stream, gsize chunk)
{
    GPtrArray *out = g_ptr_array_new_with_free_func(g_free);
    Framer *f = framer_new(limits);
    gsize len = strlen(stream);

    for (gsize i = 0; i < len; i += chunk)
        feed(f, stream + i, MIN(chunk, len - i), out);
    framer_free(f);
    return out;
}

static void check_limited(JsonLimits limits, const char *stream, const char *const *expected)
{
    for (gsize chunk = 1; chunk < 20; chunk++) {
        g_autoptr(GPtrArray) out = run_limited(&limits, stream, chunk);

        compare(out, expected);
    }
}

/* One error for a message over a limit, however many lines it has; in step again at the next one.
 */
static void test_limits(void)
{
    JsonLimits size = { 16, 100, 100 }, depth = { 0, 3, 100 }, tokens = { 0, 100, 5 };

    check_limited(
        size, "{\"a\":\"123456789\"}\n{}\n{\"a\":\"12345678\"}",
        (const char *const[]){ "!longer than 16 bytes", "{}", "{\"a\":\"12345678\"}", NULL });
    check_limited(
        size, "{\"a\":\"1234567890123456789012345678901234567890\",\n \"b\":1,\n \"c\":2\n}\n{}\n",
        (const char *const[]){ "!longer than 16 bytes", "{}", NULL });
    check_limited(depth, "{\"a\":[[\n[[1]],\n [2]\n]]}\n{\"a\":[[1]]}\n",
                  (const char *const[]){ "!nested deeper than 3", "{\"a\":[[1]]}", NULL });
    check_limited(tokens, "{\"a\":[1,2,3,4,\n5,\n6]}\n{\"a\":[1,2]}\n",
                  (const char *const[]){ "!more than 5 tokens", "{\"a\":[1,2]}", NULL });
    check_limited(tokens, "{\"a\":[1,2,3,4,5]}\xff{\"a\":[1,2]}",
                  (const char *const[]){ "!more than 5 tokens", "{\"a\":[1,2]}", NULL });
}

static void test_default_limits(void)
{
    g_autofree char *brackets = g_strnfill(1 << 20, '[');
    g_autofree char *stream = g_strconcat("{\"a\":", brackets, "\n{}\n", NULL);
    g_autoptr(GPtrArray) out = run_limited(&json_limits_default, stream, 4096);

    compare(out, (const char *const[]){ "!nested deeper than 1024", "{}", NULL });
}

static void test_long_strings(void)
{
    g_autofree char *letters = g_strnfill(1 << 20, 'x');
    g_autofree char *message = g_strconcat("{\"", letters, "\":\"", letters, "\"}", NULL);
    g_autofree char *stream = g_strconcat(message, message, NULL);
    g_autoptr(GPtrArray) out = run_limited(&json_limits_default, stream, 65536);

    compare(out, (const char *const[]){ message, message, NULL });
}

/* A MiB of noise in one line: one short error, in no time. */
static void test_noise(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);
    g_autofree char *noise = g_malloc(1 << 20);
    g_autoptr(GPtrArray) out = g_ptr_array_new_with_free_func(g_free);
    Framer *f = framer_new(&json_limits_default);
    gint64 start, took;

    for (gsize i = 0; i < 1 << 20; i++) {
        do
            noise[i] = (char)g_rand_int(rand);
        while (strchr("\n\r\t {\xff", noise[i]) && noise[i]);
    }
    noise[(1 << 20) - 1] = '\n';
    start = g_get_monotonic_time();
    for (gsize i = 0; i < 1 << 20; i += 65536)
        feed(f, noise + i, 65536, out);
    feed(f, "{}", 2, out);
    took = g_get_monotonic_time() - start;
    g_test_message("1 MiB of noise: %" G_GINT64_FORMAT " us", took);
    compare(out, (const char *const[]){ "!expecting an object", "{}", NULL });
    g_assert_cmpuint(strlen(g_ptr_array_index(out, 0)), <, 200);
    g_assert_cmpint(took, <, G_USEC_PER_SEC); /* 20 ms is the aim; the bench counts */
    framer_free(f);
}

/* Time grows with the bytes, not with the chunks: 4 MiB in chunks of 16 bytes. */
static void test_small_chunks(void)
{
    g_autofree char *letters = g_strnfill(4 << 20, 'x');
    g_autofree char *stream = g_strconcat("{\"a\":\"", letters, "\"}", NULL);
    gint64 start = g_get_monotonic_time(), took;
    g_autoptr(GPtrArray) out = run_limited(&json_limits_default, stream, 16);

    took = g_get_monotonic_time() - start;
    g_test_message("4 MiB in chunks of 16 bytes: %" G_GINT64_FORMAT " us", took);
    compare(out, (const char *const[]){ stream, NULL });
    g_assert_cmpint(took, <, 10 * G_USEC_PER_SEC); /* quadratic it would be hours */
}

/* Consumed bytes are given back. */
static void test_pending(void)
{
    g_autoptr(GPtrArray) out = g_ptr_array_new_with_free_func(g_free);
    Framer *f = framer_new(&json_limits_default);

    for (guint i = 0; i < 1000; i++) {
        feed(f, "{\"a\":1}\n{\"b\"", 12, out);
        g_assert_cmpuint(framer_pending(f), ==, 4);
        feed(f, ":2}\n", 4, out);
        g_assert_cmpuint(framer_pending(f), ==, 0);
    }
    g_assert_cmpuint(out->len, ==, 2000);
    g_assert_cmpuint(framer_position(f), ==, 16000);
    framer_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/framer/messages", test_messages);
    g_test_add_func("/framer/nothing", test_nothing);
    g_test_add_func("/framer/broken-lines", test_broken_lines);
    g_test_add_func("/framer/controls-in-strings", test_controls_in_strings);
    g_test_add_func("/framer/forgotten-bracket", test_forgotten_bracket);
    g_test_add_func("/framer/resync", test_resync);
    g_test_add_func("/framer/limits", test_limits);
    g_test_add_func("/framer/default-limits", test_default_limits);
    g_test_add_func("/framer/long-strings", test_long_strings);
    g_test_add_func("/framer/noise", test_noise);
    g_test_add_func("/framer/small-chunks", test_small_chunks);
    g_test_add_func("/framer/pending", test_pending);
    return g_test_run();
}

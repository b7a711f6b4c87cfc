/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-error.c - error classes, and that quoted input stays short and printable. */
#include "common/error.h"

#include <errno.h>
#include <string.h>

static void test_classes(void)
{
    g_autoptr(GError) generic = NULL, missing = NULL, foreign = NULL;

    g_assert_false(error_set(&generic, "device '%s' is %d too many", "a", 1));
    g_assert_cmpstr(generic->message, ==, "device 'a' is 1 too many");
    g_assert_cmpstr(error_class_name(generic), ==, "GenericError");

    g_assert_false(error_set_class(&missing, ERROR_DEVICE_NOT_FOUND, "no '%s'", "x"));
    g_assert_error(missing, ERROR_DOMAIN, ERROR_DEVICE_NOT_FOUND);
    g_assert_cmpstr(error_class_name(missing), ==, "DeviceNotFound");

    /* Another domain's code is no class of ours. */
    g_set_error(&foreign, G_FILE_ERROR, 3, "no such file");
    g_assert_cmpstr(error_class_name(foreign), ==, "GenericError");
}

static void test_errno(void)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(error_set_errno(&error, ENOENT, "can not open '%s'", "/x"));
    g_assert_cmpstr(error->message, ==, "can not open '/x': No such file or directory");
}

static void test_nowhere(void)
{
    g_assert_false(error_set(NULL, "nobody listens"));
    g_assert_false(error_set_errno(NULL, EIO, "nobody listens"));
}

static void check_quote(const char *text, gssize len, const char *expected)
{
    g_autofree char *quoted = error_quote(text, len);

    g_assert_cmpstr(quoted, ==, expected);
}

static void test_quote(void)
{
    check_quote("plain", -1, "plain");
    check_quote("", 0, "");
    check_quote("ab", 1, "a");
    check_quote("a\nb\t\r\x01\x7f", -1, "a\\nb\\t\\r\\x01\\x7f");
    check_quote("a\0b", 3, "a\\x00b");
    check_quote("gr\xc3\xbc\xc3\x9f", -1, "gr\xc3\xbc\xc3\x9f");
    check_quote("\xc3", -1, "\\xc3");
    check_quote("\xff\xfe", -1, "\\xff\\xfe");
    check_quote("\xed\xa0\x80", -1, "\\xed\\xa0\\x80"); /* a surrogate */
    check_quote("\xc2\x85", -1, "\\u0085");             /* C1: some terminals obey it */
    check_quote("\xe2\x80\xa8", -1, "\\u2028");         /* a line end to JavaScript */
}

static void test_quote_is_short(void)
{
    g_autofree char *letters = g_strnfill(100000, 'a');
    g_autofree char *controls = g_strnfill(100000, '\x02');
    g_autofree char *exact = g_strnfill(200, 'a');
    g_autofree char *quoted = error_quote(letters, -1), *escaped = error_quote(controls, -1);
    g_autoptr(GString) umlauts = g_string_new("x");
    g_autofree char *cut = NULL;

    g_assert_cmpuint(strlen(quoted), ==, 203);
    g_assert_true(g_str_has_suffix(quoted, "a..."));
    g_assert_cmpuint(strlen(escaped), ==, 203); /* the escaped form is what is bounded */
    check_quote(exact, -1, exact);

    /* The cut never splits a character. */
    for (guint i = 0; i < 150; i++)
        g_string_append(umlauts, "\xc3\xbc");
    cut = error_quote(umlauts->str, (gssize)umlauts->len);
    g_assert_true(g_utf8_validate(cut, -1, NULL));
    g_assert_cmpuint(strlen(cut), ==, 199 + 3);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/error/classes", test_classes);
    g_test_add_func("/error/errno", test_errno);
    g_test_add_func("/error/nowhere", test_nowhere);
    g_test_add_func("/error/quote", test_quote);
    g_test_add_func("/error/quote-is-short", test_quote_is_short);
    return g_test_run();
}

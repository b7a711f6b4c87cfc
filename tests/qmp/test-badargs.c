/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-badargs.c - each argument of each command with each wrong type, as schema/gen/badargs.py
 * lists them, against the real thunks; no handler may be reached. The valid arguments that the bad
 * ones are made from must reach it, so that a bad case is known to be refused for the one thing
 * that is wrong with it.
 *
 * Reads badargs.jsonl and valid.jsonl beside the program; both are made when the test is built.
 */
#include <string.h>

#include "common/error.h"
#include "schema/generated/qmp-commands.h"

#define REACHED "handler reached"

static char *member_text(JsonVal object, const char *name)
{
    JsonVal v;
    char *text;

    g_assert_true(json_member(object, name, &v));
    text = json_dup_string(v);
    g_assert_nonnull(text);
    return text;
}

static const QmpCommandRow *find_row(const char *name)
{
    for (guint i = 0; i < qmp_n_commands; i++)
        if (g_str_equal(qmp_commands[i].name, name))
            return &qmp_commands[i];
    g_error("no command '%s'", name);
}

/* What the command of one line answers: NULL for success, else the message. Caller frees. */
static char *run(const char *request, const QmpCommandRow *row)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonDoc) doc = json_doc_parse(request, strlen(request), &json_limits_default, &error);
    g_autoptr(GString) text = g_string_new(NULL);
    JsonOut out = JSON_OUT_INIT(text);
    QmpRequest req = { 0 };
    JsonVal args;

    g_assert_no_error(error);
    g_assert_true(json_member(json_doc_root(doc), "arguments", &args));
    if (row->invoke(NULL, &req, args, &out, &error)) {
        g_assert_no_error(error);
        return NULL;
    }
    g_assert_nonnull(error);
    return g_strdup(error->message);
}

static void check_line(const char *line, gboolean valid)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonDoc) doc = json_doc_parse(line, strlen(line), &json_limits_default, &error);
    g_autofree char *command = NULL, *why = NULL, *request = NULL, *got = NULL;

    g_assert_no_error(error);
    command = member_text(json_doc_root(doc), "command");
    why = member_text(json_doc_root(doc), "why");
    request = member_text(json_doc_root(doc), "request");
    got = run(request, find_row(command));
    if (g_str_equal(command, "query-qmp-schema") ? (got == NULL) != valid :
                                                   (g_strcmp0(got, REACHED) == 0) != valid)
        g_error("%s (%s): %s\nanswered: %s", command, why, request, got ? got : "success");
    if (!valid) {
        g_assert_true(g_utf8_validate(got, -1, NULL));
        g_assert_cmpuint(strlen(got), <, 600);
    }
}

static void check_file(const char *folder, const char *name, gboolean valid, guint at_least)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    g_autoptr(GError) error = NULL;
    guint n = 0;

    g_file_get_contents(path, &text, NULL, &error);
    g_assert_no_error(error);
    lines = g_strsplit(text, "\n", -1);
    for (; lines[n] && *lines[n]; n++)
        check_line(lines[n], valid);
    g_test_message("%u cases", n);
    g_assert_cmpuint(n, >=, at_least);
}

static void test_valid(gconstpointer folder)
{
    check_file(folder, "valid.jsonl", TRUE, 50);
}

static void test_bad(gconstpointer folder)
{
    check_file(folder, "badargs.jsonl", FALSE, 1000);
}

int main(int argc, char **argv)
{
    g_autofree char *folder = g_path_get_dirname(argv[0]);

    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/badargs/valid", folder, test_valid);
    g_test_add_data_func("/badargs/bad", folder, test_bad);
    return g_test_run();
}

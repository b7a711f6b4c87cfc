/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hints: compat hints between a file of the operator's and the machine.
 *
 * The file is the client's own: it is read and written here, with the operator's rights, and travels inline. So it may be on
 * another host than the daemon, or where the daemon can not go.
 */
#include "ctl.h"
#include "args.h"
#include "jtext.h"
#include "table.h"

#include <stdio.h>
#include <string.h>

typedef struct {
    char    *baseline;
    gboolean allow_degraded;
} HintsOptions;

/* {"from": {"data": ...}} or {"from": {"baseline": ...}}. */
static Args *
from_arguments(const char *file, const char *baseline, GError **error)
{
    g_autoptr(Args) args = args_new();
    g_autofree char *bytes = NULL, *data = NULL;
    gsize len;

    if (file != NULL) {
        if (!g_file_get_contents(file, &bytes, &len, error))
            return NULL;
        data = g_base64_encode((const guchar *)bytes, len);
    }
    if (!args_set_string(args, file != NULL ? "from.data" : "from.baseline", file != NULL ? data : baseline, error))
        return NULL;
    return g_steal_pointer(&args);
}

static JsonNode *
call(Ctl *ctl, const char *command, const Args *args, GError **error)
{
    g_autoptr(QmpClient) client = ctl_connect(ctl, error);
    g_autofree char *text = args != NULL ? args_text(args) : NULL;

    return client != NULL ? client_query(client, command, text, error) : NULL;
}

static void
print_node(const Ctl *ctl, JsonNode *node)
{
    g_autofree char *text = json_to_string(node, FALSE);

    ctl_print_json(ctl, text);
}

/* ---- out ---- */

static gboolean
hints_export(Ctl *ctl, const char *file, GError **error)
{
    g_autoptr(JsonNode) node = call(ctl, "compat-hints-export", NULL, error);
    JsonObject *reply = node != NULL ? ctl_object(node, "compat-hints-export", error) : NULL;
    const char *data = reply != NULL ? ctl_string_member(reply, "data") : NULL;
    gsize len;

    if (reply == NULL)
        return FALSE;
    if (data == NULL) {
        g_set_error_literal(error, CTL_ERROR, CTL_ERROR_FAILED, "compat-hints-export: the reply has no data");
        return FALSE;
    }
    g_autofree guchar *bytes = g_base64_decode(data, &len);
    if (!ctl_write_file(file, bytes, len, error))
        return FALSE;
    json_object_remove_member(reply, "data");
    if (ctl->json)
        print_node(ctl, node);
    return TRUE;
}

static gboolean
hints_describe(Ctl *ctl, const char *file, GError **error)
{
    g_autoptr(Args) args = file != NULL ? from_arguments(file, NULL, error) : NULL;
    g_autoptr(JsonNode) node = file == NULL || args != NULL ? call(ctl, "compat-hints-describe", args, error) : NULL;

    if (node == NULL)
        return FALSE;
    print_node(ctl, node);
    return TRUE;
}

/* ---- in ---- */

/* The findings that are worth a line: all but those that say that everything is as it was, if CHANGES. */
static guint
print_findings(JsonArray *findings, gboolean changes)
{
    g_autoptr(Table) table = table_new("VERDICT", "DEVICE", "PROPERTY", "HINT", "VALUE", "REASON", NULL);
    static const char *const columns[] = { "verdict", "id", "property", "hint", "value", "reason" };
    guint n = 0;

    for (guint i = 0; i < json_array_get_length(findings); i++) {
        JsonObject *f = json_array_get_object_element(findings, i);
        if (changes && g_strcmp0(ctl_string_member(f, "verdict"), "applied") == 0)
            continue;
        for (guint c = 0; c < G_N_ELEMENTS(columns); c++) {
            JsonNode *member = json_object_get_member(f, columns[c]);
            g_autofree char *text = member != NULL ? table_value_text(member) : g_strdup("-");
            table_cell(table, text);
        }
        n++;
    }
    if (n > 0)
        table_print(table, stdout);
    return n;
}

static gboolean
hints_import(Ctl *ctl, const HintsOptions *options, const char *file, GError **error)
{
    g_autoptr(Args) args = from_arguments(file, options->baseline, error);

    if (args == NULL || (options->allow_degraded && !args_set_json(args, "allow-degraded", "true", error)))
        return FALSE;
    g_autoptr(JsonNode) node = call(ctl, "compat-hints-import", args, error);
    JsonObject *reply = node != NULL ? ctl_object(node, "compat-hints-import", error) : NULL;
    if (reply == NULL)
        return FALSE;
    if (ctl->json)
        print_node(ctl, node);
    else if (json_object_has_member(reply, "lost"))
        print_findings(json_object_get_array_member(reply, "lost"), FALSE);
    return TRUE;
}

/* check: an error if an import would be refused. diff: what is not as in the file, whatever an import would do. */
static gboolean
hints_check(Ctl *ctl, const HintsOptions *options, const char *file, gboolean diff, GError **error)
{
    g_autoptr(Args) args = from_arguments(file, options->baseline, error);
    g_autoptr(JsonNode) node = args != NULL ? call(ctl, "compat-hints-check", args, error) : NULL;
    JsonObject *reply = node != NULL ? ctl_object(node, "compat-hints-check", error) : NULL;

    if (reply == NULL)
        return FALSE;
    if (ctl->json)
        print_node(ctl, node);
    else
        print_findings(json_object_get_array_member(reply, "findings"), diff);
    if (diff || json_object_get_boolean_member(reply, "usable"))
        return TRUE;
    g_set_error(error, CTL_ERROR, CTL_ERROR_DAEMON, "%s: an import would be refused", file != NULL ? file : options->baseline);
    return FALSE;
}

/* ---- one device's ---- */

static gboolean
hints_forget(Ctl *ctl, const char *id, GError **error)
{
    g_autoptr(Args) args = args_new();

    if (!args_set_string(args, "id", id, error))
        return FALSE;
    g_autoptr(JsonNode) node = call(ctl, "compat-hints-forget", args, error);
    return node != NULL;
}

static char *
quoted_list(char **words)
{
    g_autoptr(GString) text = g_string_new("[");

    for (guint i = 0; words[i] != NULL; i++) {
        g_autofree char *word = jtext_quote(words[i]);
        g_string_append_printf(text, "%s%s", i ? ", " : "", word);
    }
    g_string_append_c(text, ']');
    return g_string_free(g_steal_pointer(&text), FALSE);
}

static gboolean
hints_refresh(Ctl *ctl, char **words, GError **error)
{
    g_autoptr(Args) args = args_new();
    g_autofree char *properties = quoted_list(words + 1);

    if (!args_set_string(args, "id", words[0], error) || (words[1] != NULL && !args_set_json(args, "properties", properties, error)))
        return FALSE;
    g_autoptr(JsonNode) node = call(ctl, "compat-hints-refresh", args, error);
    JsonObject *reply = node != NULL ? ctl_object(node, "compat-hints-refresh", error) : NULL;
    if (reply == NULL)
        return FALSE;
    if (ctl->json) {
        print_node(ctl, node);
    } else if (json_array_get_length(json_object_get_array_member(reply, "changes")) > 0) {
        g_autoptr(Table) table = table_from_array(json_object_get_array_member(reply, "changes"));
        table_print(table, stdout);
    }
    return TRUE;
}

/* ---- the command ---- */

static gboolean
usage(GError **error, const char *text)
{
    g_set_error_literal(error, CTL_ERROR, CTL_ERROR_USAGE, text);
    return FALSE;
}

static gboolean
from_file_or_baseline(Ctl *ctl, const HintsOptions *options, const char *verb, const char *file, GError **error)
{
    if ((file == NULL) == (options->baseline == NULL))
        return usage(error, "hints: a FILE or --baseline RELEASE is needed, one of them");
    if (g_str_equal(verb, "import"))
        return hints_import(ctl, options, file, error);
    if (options->allow_degraded)
        return usage(error, "--allow-degraded is for import");
    return hints_check(ctl, options, file, g_str_equal(verb, "diff"), error);
}

/* WORDS: the verb and what follows it. */
static gboolean
run(Ctl *ctl, const HintsOptions *options, char **words, GError **error)
{
    static const char *const readers[] = { "import", "check", "diff", NULL };
    guint n = g_strv_length(words + 1);
    if (g_strv_contains(readers, words[0]) && n <= 1)
        return from_file_or_baseline(ctl, options, words[0], words[1], error);
    if (options->baseline != NULL || options->allow_degraded)
        return usage(error, "--baseline is for import, check and diff, --allow-degraded for import");
    if (g_str_equal(words[0], "export") && n == 1)
        return hints_export(ctl, words[1], error);
    if (g_str_equal(words[0], "describe") && n <= 1)
        return hints_describe(ctl, words[1], error);
    if (g_str_equal(words[0], "forget") && n == 1)
        return hints_forget(ctl, words[1], error);
    if (g_str_equal(words[0], "refresh") && n >= 1)
        return hints_refresh(ctl, words + 1, error);
    return usage(error, "hints: export FILE, import, check or diff FILE, describe [FILE], forget ID, or refresh ID [PROPERTY ...]");
}

gboolean
cmd_hints(Ctl *ctl, char ***args, GError **error)
{
    HintsOptions options = { 0 };
    const GOptionEntry entries[] = {
        { "baseline", 'b', 0, G_OPTION_ARG_STRING, &options.baseline, NULL, NULL },
        { "allow-degraded", 0, 0, G_OPTION_ARG_NONE, &options.allow_degraded, NULL, NULL },
        G_OPTION_ENTRY_NULL,
    };

    gboolean done = ctl_parse(ctl, entries, args, 1, CTL_ANY_NUMBER, error) && run(ctl, &options, *args + 1, error);
    g_free(options.baseline);
    return done;
}

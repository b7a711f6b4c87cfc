/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * config and abi: what the machine is, and what its guest sees.
 *
 * A configuration goes through as text in both directions. The tool checks no more than that a
 * file is JSON (the daemon's error could not name the line); what it means is the daemon's.
 */
#include "ctl.h"
#include "jtext.h"
#include "table.h"

#include <stdio.h>
#include <string.h>

#define VALUE_SHOWN 40

static gboolean
is_standard(const char *file)
{
    return file == NULL || g_str_equal(file, "-");
}

static gboolean
write_document(const Ctl *ctl, const char *file, const char *json, GError **error)
{
    g_autofree char *pretty = ctl->json ? g_strdup(json) : jtext_pretty(json);
    g_autofree char *text = g_strconcat(pretty, "\n", NULL);

    if (!is_standard(file))
        return ctl_write_file(file, text, strlen(text), error);
    fputs(text, stdout);
    return TRUE;
}

static gboolean
config_dump(Ctl *ctl, gboolean resolved, const char *file, GError **error)
{
    g_autoptr(QmpClient) client = ctl_connect(ctl, error);
    g_autofree char *reply = NULL, *config = NULL;

    if (client == NULL)
        return FALSE;
    reply = client_call(client, "query-machine-config",
                        resolved ? "{\"resolved\": true}" : NULL, error);
    if (reply == NULL)
        return FALSE;
    const char *member = resolved ? "resolved" : "config";
    if ((config = jtext_member(reply, member)) == NULL) {
        g_set_error(error, CTL_ERROR, CTL_ERROR_FAILED,
                    "query-machine-config: the reply has no %s", member);
        return FALSE;
    }
    return write_document(ctl, file, config, error);
}

static char *
read_standard_input(GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);
    char bytes[4096];
    size_t n;

    while ((n = fread(bytes, 1, sizeof bytes, stdin)) > 0)
        g_string_append_len(text, bytes, n);
    if (ferror(stdin)) {
        g_set_error_literal(error, CTL_ERROR, CTL_ERROR_FAILED, "standard input: can not be read");
        return NULL;
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

static gboolean
check_document(const char *file, const char *text, GError **error)
{
    gsize bad;
    guint line = 1;

    if (!jtext_valid(text, strlen(text), &bad)) {
        for (gsize i = 0; i < bad; i++)
            line += text[i] == '\n';
        g_set_error(error, CTL_ERROR, CTL_ERROR_FAILED, "%s: line %u is not JSON", file, line);
        return FALSE;
    }
    if (text[strspn(text, " \t\r\n")] != '{') {
        g_set_error(error, CTL_ERROR, CTL_ERROR_FAILED, "%s: not a JSON object", file);
        return FALSE;
    }
    return TRUE;
}

/* The document in @file, checked. It may be JSON over several lines: QMP does not mind. */
static char *
read_document(const char *file, GError **error)
{
    g_autofree char *text = NULL;

    if (is_standard(file))
        text = read_standard_input(error);
    else if (!g_file_get_contents(file, &text, NULL, error))
        return NULL;
    return text != NULL && check_document(file, text, error) ? g_steal_pointer(&text) : NULL;
}

static gboolean
config_load(Ctl *ctl, gboolean dry_run, const char *file, GError **error)
{
    g_autofree char *config = read_document(file, error);
    g_autoptr(QmpClient) client = config != NULL ? ctl_connect(ctl, error) : NULL;
    g_autofree char *arguments = NULL, *reply = NULL;

    if (client == NULL)
        return FALSE;
    arguments = g_strdup_printf("{\"config\": %s%s}", config, dry_run ? ", \"dry-run\": true" : "");
    reply = client_call(client, "machine-config-load", arguments, error);
    if (reply != NULL && (ctl->json || !g_str_equal(reply, "{}")))
        ctl_print_json(ctl, reply);
    return reply != NULL;
}

gboolean
cmd_config(Ctl *ctl, char ***args, GError **error)
{
    gboolean resolved = FALSE, dry_run = FALSE;
    const GOptionEntry entries[] = {
        { "resolved", 'r', 0, G_OPTION_ARG_NONE, &resolved, NULL, NULL },
        { "dry-run", 'n', 0, G_OPTION_ARG_NONE, &dry_run, NULL, NULL },
        G_OPTION_ENTRY_NULL,
    };

    if (!ctl_parse(ctl, entries, args, 1, 2, error))
        return FALSE;
    const char *verb = (*args)[1], *file = (*args)[2];
    if (g_str_equal(verb, "dump") && !dry_run)
        return config_dump(ctl, resolved, file, error);
    if (g_str_equal(verb, "load") && !resolved && file != NULL)
        return config_load(ctl, dry_run, file, error);
    if (g_str_equal(verb, "dump") || g_str_equal(verb, "load"))
        g_set_error(error, CTL_ERROR, CTL_ERROR_USAGE, "%s",
                    dry_run && *verb == 'd' ? "--dry-run is for load"
                    : resolved              ? "--resolved is for dump"
                                            : "load needs a FILE, - for standard input");
    else
        g_set_error(error, CTL_ERROR, CTL_ERROR_USAGE, "'%s' is neither dump nor load", verb);
    return FALSE;
}

/* The leaves: the list in the reply, whatever its name and members. */
static JsonArray *
find_list(JsonObject *object)
{
    g_autoptr(GList) members = json_object_get_values(object);

    for (GList *m = members; m != NULL; m = m->next)
        if (JSON_NODE_HOLDS_ARRAY((JsonNode *)m->data))
            return json_node_get_array(m->data);
    return NULL;
}

/* The table is for the eye: of a value as long as a configuration space it shows the beginning. */
static void
shorten_values(JsonArray *leaves)
{
    for (guint i = 0; i < json_array_get_length(leaves); i++) {
        JsonNode *node = json_array_get_element(leaves, i);
        JsonObject *leaf = JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
        const char *value = ctl_string_member(leaf, "value");
        if (value == NULL || g_utf8_strlen(value, -1) <= VALUE_SHOWN)
            continue;
        g_autofree char *start = g_utf8_substring(value, 0, VALUE_SHOWN - 3);
        g_autofree char *text = g_strconcat(start, "...", NULL);
        json_object_set_string_member(leaf, "value", text);
    }
}

static gboolean
print_abi(const char *reply, GError **error)
{
    g_autoptr(JsonNode) node = json_from_string(reply, error);
    JsonObject *abi = ctl_object(node, "query-guest-abi", error);
    const char *fingerprint = ctl_string_member(abi, "fingerprint");

    if (abi == NULL)
        return FALSE;
    if (fingerprint == NULL) {
        g_set_error_literal(error, CTL_ERROR, CTL_ERROR_FAILED,
                            "query-guest-abi: the reply has no fingerprint");
        return FALSE;
    }
    puts(fingerprint);
    JsonArray *leaves = find_list(abi);
    if (leaves != NULL) {
        shorten_values(leaves);
        g_autoptr(Table) table = table_from_array(leaves);
        putchar('\n');
        table_print(table, stdout);
    }
    return TRUE;
}

gboolean
cmd_abi(Ctl *ctl, char ***args, GError **error)
{
    gboolean detail = FALSE;
    const GOptionEntry entries[] = {
        { "detail", 'd', 0, G_OPTION_ARG_NONE, &detail, NULL, NULL },
        G_OPTION_ENTRY_NULL,
    };
    g_autoptr(QmpClient) client = NULL;
    g_autofree char *reply = NULL;

    if (!ctl_parse(ctl, entries, args, 0, 0, error) || (client = ctl_connect(ctl, error)) == NULL)
        return FALSE;
    reply = client_call(client, "query-guest-abi", detail ? "{\"detail\": true}" : NULL, error);
    if (reply == NULL)
        return FALSE;
    if (!ctl->json)
        return print_abi(reply, error);
    ctl_print_json(ctl, reply);
    return TRUE;
}

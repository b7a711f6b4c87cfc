/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * list: the machines that run.
 *
 * One machine that does not answer must not hide the others: it is listed as "no answer", and the
 * time for it is short. One that ended between the look at its pid file and the connection is not
 * listed at all.
 */
#include "ctl.h"
#include "jtext.h"
#include "paths.h"
#include "table.h"

#include <stdio.h>

#define LIST_TIMEOUT 2.0

/* The run state of @name for the table; NULL when nobody is there. */
static char *
machine_state(const Ctl *ctl, const char *socket)
{
    g_autoptr(GError) wrong = NULL;
    g_autoptr(QmpClient) client =
        client_open(socket, ctl->timeout > 0 ? ctl->timeout : LIST_TIMEOUT, &wrong);
    g_autoptr(JsonNode) node =
        client != NULL ? client_query(client, "query-status", NULL, &wrong) : NULL;
    JsonObject *status = ctl_object(node, "query-status", NULL);
    const char *state = ctl_string_member(status, "status");

    if (state != NULL)
        return g_strdup(state);
    return g_error_matches(wrong, CTL_ERROR, CTL_ERROR_CONNECT) ? NULL : g_strdup("no answer");
}

static void
append_machine(GString *json, Table *table, const char *name, const char *state, const char *socket)
{
    pid_t pid = paths_machine_pid(name);
    g_autofree char *quoted_state = jtext_quote(state);
    g_autofree char *quoted_socket = jtext_quote(socket);

    table_cell(table, name);
    table_cell(table, state);
    table_cellf(table, "%d", (int)pid);
    table_cell(table, socket);
    g_string_append_printf(json,
                           "%s{\"name\": \"%s\", \"status\": %s, \"pid\": %d, \"socket\": %s}",
                           json->len > 1 ? ", " : "", name, quoted_state, (int)pid, quoted_socket);
}

gboolean
cmd_list(Ctl *ctl, char ***args, GError **error)
{
    g_autoptr(GPtrArray) names = NULL;
    g_autoptr(Table) table = table_new("name", "state", "pid", "socket", NULL);
    g_autoptr(GString) json = g_string_new("[");

    if (!ctl_parse(ctl, NULL, args, 0, 0, error) || (names = paths_running(error)) == NULL)
        return FALSE;
    for (guint i = 0; i < names->len; i++) {
        g_autofree char *socket = paths_socket(names->pdata[i], error);
        g_autofree char *state = socket != NULL ? machine_state(ctl, socket) : NULL;
        if (socket == NULL)
            return FALSE;
        if (state != NULL)
            append_machine(json, table, names->pdata[i], state, socket);
    }
    if (ctl->json)
        printf("%s]\n", json->str);
    else
        table_print(table, stdout);
    return TRUE;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * events and wait.
 *
 * Both have no time limit unless --timeout was given, and then it is for the whole of it. A state
 * is waited for without polling: the connection receives every event from its first moment on, so
 * it is asked once after that, and again after each event, whichever it is. A change between
 * question and event can not be missed.
 */
#include "ctl.h"
#include "jtext.h"

#include <stdio.h>
#include <string.h>

static const char *const run_states[] = {
    "prelaunch",      "running",  "paused",      "io-error",       "guest-panicked",
    "internal-error", "shutdown", "inmigrate",   "postmigrate",    "finish-migrate",
    "save-vm",        "suspended", "restore-vm", "watchdog",       "debug",
    NULL,
};

static gint64
whole_deadline(const Ctl *ctl)
{
    return ctl->timeout > 0 ? ctl_deadline(ctl->timeout) : -1;
}

static char *
event_name(const char *event)
{
    g_autoptr(JsonNode) node = json_from_string(event, NULL);

    return g_strdup(ctl_string_member(ctl_object(node, "event", NULL), "event"));
}

static gboolean
event_wanted(const char *event, char **names)
{
    g_autofree char *name = event_name(event);

    return *names == NULL || (name != NULL && g_strv_contains((const char *const *)names, name));
}

gboolean
cmd_events(Ctl *ctl, char ***args, GError **error)
{
    int count = 0;
    const GOptionEntry entries[] = {
        { "count", 'n', 0, G_OPTION_ARG_INT, &count, NULL, NULL },
        G_OPTION_ENTRY_NULL,
    };
    g_autoptr(QmpClient) client = NULL;

    if (!ctl_parse(ctl, entries, args, 0, CTL_ANY_NUMBER - 1, error))
        return FALSE;
    if (count < 0) {
        g_set_error(error, CTL_ERROR, CTL_ERROR_USAGE, "--count %d: it can not be negative", count);
        return FALSE;
    }
    if ((client = ctl_connect(ctl, error)) == NULL)
        return FALSE;
    gint64 deadline = whole_deadline(ctl);
    for (int seen = 0; count == 0 || seen < count;) {
        g_autofree char *event = client_next_event(client, deadline, error);
        if (event == NULL)
            return FALSE;
        if (!event_wanted(event, *args + 1))
            continue;
        puts(event);
        fflush(stdout); /* the reader of a pipe waits for each */
        seen++;
    }
    return TRUE;
}

static gboolean
wait_for_event(QmpClient *client, const char *name, gint64 deadline, char **event, GError **error)
{
    char *names[] = { (char *)name, NULL };

    for (;;) {
        g_autofree char *text = client_next_event(client, deadline, error);
        if (text == NULL)
            return FALSE;
        if (event_wanted(text, names)) {
            *event = g_steal_pointer(&text);
            return TRUE;
        }
    }
}

static gboolean
wait_for_state(QmpClient *client, const char *state, gint64 deadline, char **reply, GError **error)
{
    for (;;) {
        g_autofree char *text = client_call(client, "query-status", NULL, error);
        g_autoptr(JsonNode) node = text != NULL ? json_from_string(text, error) : NULL;
        JsonObject *status = ctl_object(node, "query-status", error);
        g_autofree char *event = NULL;
        if (status == NULL)
            return FALSE;
        if (g_strcmp0(ctl_string_member(status, "status"), state) == 0) {
            *reply = g_steal_pointer(&text);
            return TRUE;
        }
        if ((event = client_next_event(client, deadline, error)) == NULL)
            return FALSE;
    }
}

/* Events are named in capitals and states are not. */
static gboolean
is_event_name(const char *word)
{
    return g_ascii_isupper(*word);
}

static gboolean
check_state_name(const char *word, GError **error)
{
    g_autofree char *all = NULL;

    if (is_event_name(word) || g_strv_contains(run_states, word))
        return TRUE;
    all = g_strjoinv(", ", (char **)run_states);
    g_set_error(error, CTL_ERROR, CTL_ERROR_USAGE,
                "'%s' is neither an EVENT (in capitals) nor one of the run states %s", word, all);
    return FALSE;
}

gboolean
cmd_wait(Ctl *ctl, char ***args, GError **error)
{
    g_autoptr(QmpClient) client = NULL;
    g_autofree char *what = NULL;
    gboolean ok;

    if (!ctl_parse(ctl, NULL, args, 1, 1, error) || !check_state_name((*args)[1], error))
        return FALSE;
    if ((client = ctl_connect(ctl, error)) == NULL)
        return FALSE;
    if (is_event_name((*args)[1]))
        ok = wait_for_event(client, (*args)[1], whole_deadline(ctl), &what, error);
    else
        ok = wait_for_state(client, (*args)[1], whole_deadline(ctl), &what, error);
    if (ok && ctl->json)
        ctl_print_json(ctl, what);
    if (!ok)
        g_prefix_error(error, "waiting for %s: ", (*args)[1]);
    return ok;
}

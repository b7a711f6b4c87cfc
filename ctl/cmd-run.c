/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The run state: stop, cont, reset, powerdown, quit.
 *
 * The first four are one QMP command each. quit also waits until the daemon is gone, since what
 * people type next is `start` with the same name; that the connection ends before a reply is what
 * was asked for and no error.
 */
#include "ctl.h"

static gboolean
run_simple(Ctl *ctl, char ***args, const char *command, GError **error)
{
    return ctl_parse(ctl, NULL, args, 0, 0, error) && ctl_simple(ctl, command, NULL, error);
}

gboolean
cmd_stop(Ctl *ctl, char ***args, GError **error)
{
    return run_simple(ctl, args, "stop", error);
}

gboolean
cmd_cont(Ctl *ctl, char ***args, GError **error)
{
    return run_simple(ctl, args, "cont", error);
}

gboolean
cmd_reset(Ctl *ctl, char ***args, GError **error)
{
    return run_simple(ctl, args, "system_reset", error);
}

gboolean
cmd_powerdown(Ctl *ctl, char ***args, GError **error)
{
    return run_simple(ctl, args, "system_powerdown", error);
}

gboolean
cmd_quit(Ctl *ctl, char ***args, GError **error)
{
    g_autoptr(QmpClient) client = NULL;
    g_autoptr(GError) wrong = NULL;
    g_autofree char *reply = NULL;

    if (!ctl_parse(ctl, NULL, args, 0, 0, error) || (client = ctl_connect(ctl, error)) == NULL)
        return FALSE;
    reply = client_call(client, "quit", NULL, &wrong);
    if (reply == NULL && !g_error_matches(wrong, CTL_ERROR, CTL_ERROR_LOST)) {
        g_propagate_error(error, g_steal_pointer(&wrong));
        return FALSE;
    }
    if (reply != NULL && !client_wait_end(client, error))
        return FALSE;
    if (ctl->json)
        ctl_print_json(ctl, reply != NULL ? reply : "{}");
    return TRUE;
}

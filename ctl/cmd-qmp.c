/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qmp: one command of the protocol, or the shell for many.
 *
 * A word that begins with a brace is a whole request and goes out as it is: its id, exec-oob and
 * whatever the protocol may learn later are the user's business. It is only checked to be JSON,
 * since a server may wait for ever for the end of something that is not.
 */
#include "ctl.h"
#include "jtext.h"
#include "shell.h"

#include <string.h>

static gboolean
run_request(const Ctl *ctl, const char *request, GError **error)
{
    g_autoptr(QmpClient) client = NULL;
    g_autofree char *reply = NULL;
    gsize bad;

    if (!jtext_valid(request, strlen(request), &bad)) {
        g_set_error(error, CTL_ERROR, CTL_ERROR_USAGE, "the request is not JSON at byte %zu", bad);
        return FALSE;
    }
    if ((client = ctl_connect(ctl, error)) == NULL)
        return FALSE;
    reply = client_call_text(client, request, error);
    if (reply != NULL)
        ctl_print_json(ctl, reply);
    return reply != NULL;
}

gboolean
cmd_qmp(Ctl *ctl, char ***args, GError **error)
{
    g_autoptr(QmpClient) client = NULL;

    if (!ctl_parse(ctl, NULL, args, 0, CTL_ANY_NUMBER - 1, error))
        return FALSE;
    char **words = *args + 1;
    if (*words != NULL && **words == '{') {
        if (words[1] == NULL)
            return run_request(ctl, *words, error);
        g_set_error(error, CTL_ERROR, CTL_ERROR_USAGE, "'%s' follows a whole request", words[1]);
        return FALSE;
    }
    if ((client = ctl_connect(ctl, error)) == NULL)
        return FALSE;
    return *words != NULL ? shell_execute(ctl, client, words, error)
                          : shell_run(ctl, client, error);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the commands share: their options, the connection to the machine that was meant, and the
 * printing of replies.
 *
 * The common options may stand before the command (`-m vm1 status`) and among its arguments
 * (`status -m vm1 --json`): both are natural to type. So they are parsed twice, and the second
 * parse only replaces what it was given.
 */
#include "ctl.h"
#include "jtext.h"
#include "paths.h"
#include "table.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

/* Not by G_DEFINE_QUARK, which keeps a writable variable to save a lookup at an error. */
GQuark
ctl_error_quark(void)
{
    return g_quark_from_static_string("ctl-error-quark");
}

/* More than this many seconds would not fit in the microseconds of a deadline. */
#define MAX_TIMEOUT 1e9

void
ctl_clear(Ctl *ctl)
{
    g_free(ctl->machine);
    g_free(ctl->socket);
}

static void
take_string(char **to, char *value)
{
    if (value == NULL)
        return;
    g_free(*to);
    *to = value;
}

/* Puts the options of one parse over those of an earlier one; the later ones win. */
static gboolean
merge_options(Ctl *ctl, Ctl *given, GError **error)
{
    if (given->machine != NULL && given->socket != NULL) {
        g_set_error(error, CTL_ERROR, CTL_ERROR_USAGE, "-m %s and -s %s: only one can be meant",
                    given->machine, given->socket);
        ctl_clear(given);
        return FALSE;
    }
    if (given->machine != NULL)
        g_clear_pointer(&ctl->socket, g_free);
    if (given->socket != NULL)
        g_clear_pointer(&ctl->machine, g_free);
    take_string(&ctl->machine, given->machine);
    take_string(&ctl->socket, given->socket);
    ctl->json = ctl->json || given->json;
    if (isnan(given->timeout) || given->timeout > MAX_TIMEOUT ||
        (given->timeout < 0 && given->timeout != -1)) {
        g_set_error(error, CTL_ERROR, CTL_ERROR_USAGE,
                    "--timeout %g: seconds from 0 (none) to %g are allowed", given->timeout,
                    MAX_TIMEOUT);
        return FALSE;
    }
    if (given->timeout >= 0)
        ctl->timeout = given->timeout;
    return TRUE;
}

/* Takes the common options and @entries out of @args; with @leading_only those before a word. */
gboolean
ctl_options(Ctl *ctl, const GOptionEntry *entries, char ***args, gboolean leading_only,
            GError **error)
{
    Ctl given = { .timeout = -1 };
    const GOptionEntry common[] = {
        { "machine", 'm', 0, G_OPTION_ARG_STRING, &given.machine, NULL, NULL },
        { "socket", 's', 0, G_OPTION_ARG_FILENAME, &given.socket, NULL, NULL },
        { "json", 'j', 0, G_OPTION_ARG_NONE, &given.json, NULL, NULL },
        { "timeout", 't', 0, G_OPTION_ARG_DOUBLE, &given.timeout, NULL, NULL },
        G_OPTION_ENTRY_NULL,
    };
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_autoptr(GError) wrong = NULL;

    g_option_context_set_help_enabled(context, FALSE);
    g_option_context_set_strict_posix(context, leading_only);
    g_option_context_add_main_entries(context, common, NULL);
    if (entries != NULL)
        g_option_context_add_main_entries(context, entries, NULL);
    if (g_option_context_parse_strv(context, args, &wrong))
        return merge_options(ctl, &given, error);
    ctl_clear(&given);
    g_set_error_literal(error, CTL_ERROR, CTL_ERROR_USAGE, wrong->message);
    return FALSE;
}

/* As ctl_options(), and checks that @min to @max words are left behind the command's name. */
gboolean
ctl_parse(Ctl *ctl, const GOptionEntry *entries, char ***args, guint min, guint max, GError **error)
{
    guint words;

    if (!ctl_options(ctl, entries, args, FALSE, error))
        return FALSE;
    words = g_strv_length(*args) - 1;
    if (words < min)
        g_set_error_literal(error, CTL_ERROR, CTL_ERROR_USAGE, "an argument is missing");
    else if (words > max)
        g_set_error(error, CTL_ERROR, CTL_ERROR_USAGE, "'%s' is one argument too many",
                    (*args)[max + 1]);
    return words >= min && words <= max;
}

gboolean
ctl_parse_count(const char *what, const char *text, guint *count, GError **error)
{
    guint64 value;

    if (!g_ascii_string_to_unsigned(text, 10, 1, G_MAXINT, &value, NULL)) {
        g_set_error(error, CTL_ERROR, CTL_ERROR_USAGE, "%s: '%s' is not a number from 1 to %d",
                    what, text, G_MAXINT);
        return FALSE;
    }
    *count = value;
    return TRUE;
}

/* The time in which an answer must come. */
double
ctl_timeout(const Ctl *ctl)
{
    return ctl->timeout < 0 ? CTL_DEFAULT_TIMEOUT : ctl->timeout;
}

/* The point in monotonic time @seconds from now; -1 (never) for none. */
gint64
ctl_deadline(double seconds)
{
    return seconds <= 0 ? -1 : g_get_monotonic_time() + (gint64)(seconds * G_USEC_PER_SEC);
}

/* The socket of the machine that was meant. */
char *
ctl_socket(const Ctl *ctl, GError **error)
{
    g_autofree char *name = NULL;

    if (ctl->socket != NULL)
        return paths_check_socket(ctl->socket, error) ? g_strdup(ctl->socket) : NULL;
    name = ctl->machine != NULL ? g_strdup(ctl->machine) : paths_default_machine(error);
    return name != NULL ? paths_socket(name, error) : NULL;
}

QmpClient *
ctl_connect(const Ctl *ctl, GError **error)
{
    g_autofree char *path = ctl_socket(ctl, error);

    return path != NULL ? client_open(path, ctl_timeout(ctl), error) : NULL;
}

/* An error that the daemon answered says so, since its class is worth being searched for. */
void
ctl_print_error(const GError *error)
{
    gboolean daemon = g_error_matches(error, CTL_ERROR, CTL_ERROR_DAEMON);
    g_autofree char *message = table_clean_text(error->message);

    fprintf(stderr, "backplanectl: %s%s\n", daemon ? "error: " : "", message);
}

/* For scripts one line, as the daemon wrote it; for people several. */
void
ctl_print_json(const Ctl *ctl, const char *json)
{
    g_autofree char *pretty = ctl->json ? NULL : jtext_pretty(json);

    puts(pretty != NULL ? pretty : json);
}

/* One command of which people only want to know that it was done. */
gboolean
ctl_simple(const Ctl *ctl, const char *command, const char *arguments, GError **error)
{
    g_autoptr(QmpClient) client = ctl_connect(ctl, error);
    g_autofree char *reply = NULL;

    if (client == NULL)
        return FALSE;
    reply = client_call(client, command, arguments, error);
    if (reply != NULL && ctl->json)
        ctl_print_json(ctl, reply);
    return reply != NULL;
}

/* Replies are not trusted to have the form that we expect; nor are NULL ones passed on. */
JsonObject *
ctl_object(JsonNode *node, const char *what, GError **error)
{
    if (node == NULL)
        return NULL;
    if (JSON_NODE_HOLDS_OBJECT(node))
        return json_node_get_object(node);
    g_set_error(error, CTL_ERROR, CTL_ERROR_FAILED, "%s: the reply is not an object", what);
    return NULL;
}

JsonArray *
ctl_array(JsonNode *node, const char *what, GError **error)
{
    if (node == NULL)
        return NULL;
    if (JSON_NODE_HOLDS_ARRAY(node))
        return json_node_get_array(node);
    g_set_error(error, CTL_ERROR, CTL_ERROR_FAILED, "%s: the reply is not a list", what);
    return NULL;
}

/* The member's string; NULL if it is not there or something else. */
const char *
ctl_string_member(JsonObject *object, const char *name)
{
    JsonNode *node = object != NULL ? json_object_get_member(object, name) : NULL;

    if (node == NULL || !JSON_NODE_HOLDS_VALUE(node))
        return NULL;
    return json_node_get_value_type(node) == G_TYPE_STRING ? json_node_get_string(node) : NULL;
}

JsonObject *
ctl_object_member(JsonObject *object, const char *name)
{
    JsonNode *node = object != NULL ? json_object_get_member(object, name) : NULL;

    return node != NULL && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}

/*
 * A file is replaced whole or not at all, and is on the disk when this returns; what is there and
 * no file, such as /dev/null or a FIFO, is written to.
 */
gboolean
ctl_write_file(const char *file, const void *data, gsize length, GError **error)
{
    FILE *stream;

    if (!g_file_test(file, G_FILE_TEST_EXISTS) || g_file_test(file, G_FILE_TEST_IS_REGULAR))
        return g_file_set_contents_full(file, data, (gssize)length, G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE, 0644, error);
    stream = fopen(file, "we");
    gboolean written = stream != NULL && fwrite(data, 1, length, stream) == length;
    if (stream != NULL && fclose(stream) != 0)
        written = FALSE;
    if (!written)
        g_set_error(error, CTL_ERROR, CTL_ERROR_FAILED, "%s: can not be written: %s", file, g_strerror(errno));
    return written;
}

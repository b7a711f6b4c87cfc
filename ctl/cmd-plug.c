/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * plug and unplug: devices, objects and chardevs.
 *
 * Unplugging a device is a request: the guest gives the device up when it likes, or refuses. The
 * command returns when the request was taken; with --wait it returns when the guest has answered,
 * and a refusal is an error.
 */
#include "ctl.h"
#include "args.h"
#include "table.h"

#include <stdio.h>

typedef enum { KIND_DEVICE, KIND_OBJECT, KIND_CHARDEV } Kind;

static gboolean
choose_kind(gboolean object, gboolean chardev, Kind *kind, GError **error)
{
    *kind = object ? KIND_OBJECT : chardev ? KIND_CHARDEV : KIND_DEVICE;
    if (object && chardev)
        g_set_error_literal(error, CTL_ERROR, CTL_ERROR_USAGE,
                            "--object and --chardev: it can only be one of them");
    return !(object && chardev);
}

/* chardev-add keeps what describes the back end two levels down; data is there even when empty. */
static gboolean
chardev_arguments(Args *args, char **words, GError **error)
{
    if (words[0] == NULL || words[1] == NULL) {
        g_set_error_literal(error, CTL_ERROR, CTL_ERROR_USAGE, "--chardev needs an ID and a TYPE");
        return FALSE;
    }
    if (!args_set_string(args, "id", words[0], error) ||
        !args_set_string(args, "backend.type", words[1], error))
        return FALSE;
    if (words[2] == NULL)
        return args_set_json(args, "backend.data", "{}", error);
    return args_add_pairs(args, "backend.data.", words + 2, error);
}

static gboolean
plug_arguments(Args *args, Kind kind, char **words, GError **error)
{
    if (kind == KIND_CHARDEV)
        return chardev_arguments(args, words, error);
    return args_set_string(args, kind == KIND_OBJECT ? "qom-type" : "driver", words[0], error) &&
           args_add_pairs(args, "", words + 1, error);
}

/* What a reply tells beyond "done": the id or the path (pty) that the daemon chose. */
static void
print_plugged(const Ctl *ctl, const char *reply)
{
    g_autoptr(JsonNode) node = json_from_string(reply, NULL);
    JsonObject *object = ctl_object(node, "reply", NULL);
    const char *id = ctl_string_member(object, "id");
    const char *pty = ctl_string_member(object, "pty");

    if (ctl->json) {
        ctl_print_json(ctl, reply);
    } else if (pty != NULL || id != NULL) {
        g_autofree char *text = table_clean_text(pty != NULL ? pty : id);
        puts(text);
    }
}

gboolean
cmd_plug(Ctl *ctl, char ***args, GError **error)
{
    static const char *const commands[] = { "device_add", "object-add", "chardev-add" };
    gboolean object = FALSE, chardev = FALSE;
    const GOptionEntry entries[] = {
        { "object", 'o', 0, G_OPTION_ARG_NONE, &object, NULL, NULL },
        { "chardev", 'c', 0, G_OPTION_ARG_NONE, &chardev, NULL, NULL },
        G_OPTION_ENTRY_NULL,
    };
    g_autoptr(Args) arguments = args_new();
    g_autoptr(QmpClient) client = NULL;
    g_autofree char *text = NULL, *reply = NULL;
    Kind kind;

    if (!ctl_parse(ctl, entries, args, 1, CTL_ANY_NUMBER - 1, error) ||
        !choose_kind(object, chardev, &kind, error) ||
        !plug_arguments(arguments, kind, *args + 1, error))
        return FALSE;
    if ((client = ctl_connect(ctl, error)) == NULL)
        return FALSE;
    text = args_text(arguments);
    reply = client_call(client, commands[kind], text, error);
    if (reply != NULL)
        print_plugged(ctl, reply);
    return reply != NULL;
}

/* The end of the unplug of @id that @text (an event) tells, if it is one; @refused: why it stays. */
static gboolean
unplug_ended(const char *text, const char *id, char **refused)
{
    g_autoptr(JsonNode) node = json_from_string(text, NULL);
    JsonObject *event = ctl_object(node, "event", NULL);
    const char *name = ctl_string_member(event, "event");
    const char *device = ctl_string_member(ctl_object_member(event, "data"), "device");

    if (g_strcmp0(device, id) != 0)
        return FALSE;
    if (g_strcmp0(name, "DEVICE_UNPLUG_GUEST_ERROR") == 0) {
        const char *reason = ctl_string_member(ctl_object_member(event, "data"), "reason");
        *refused = g_strdup(reason != NULL ? reason : "the guest refuses");
    }
    return *refused != NULL || g_strcmp0(name, "DEVICE_DELETED") == 0;
}

static gboolean
wait_unplugged(const Ctl *ctl, QmpClient *client, const char *id, GError **error)
{
    gint64 deadline = ctl_deadline(ctl_timeout(ctl));

    for (;;) {
        g_autofree char *event = client_next_event(client, deadline, error);
        g_autofree char *refused = NULL;
        if (event == NULL) {
            g_prefix_error(error, "waiting for the guest to release %s: ", id);
            return FALSE;
        }
        if (!unplug_ended(event, id, &refused))
            continue;
        if (refused != NULL)
            g_set_error(error, CTL_ERROR, CTL_ERROR_DAEMON, "DEVICE_UNPLUG_GUEST_ERROR: %s stays: %s",
                        id, refused);
        return refused == NULL;
    }
}

static gboolean
unplug_run(Ctl *ctl, Kind kind, const char *text, const char *id, gboolean wait, GError **error)
{
    static const char *const commands[] = { "device_del", "object-del", "chardev-remove" };
    g_autoptr(QmpClient) client = ctl_connect(ctl, error);
    g_autofree char *reply = NULL;

    if (client == NULL || (reply = client_call(client, commands[kind], text, error)) == NULL)
        return FALSE;
    if (wait && !wait_unplugged(ctl, client, id, error))
        return FALSE;
    if (ctl->json)
        ctl_print_json(ctl, reply);
    return TRUE;
}

gboolean
cmd_unplug(Ctl *ctl, char ***args, GError **error)
{
    gboolean object = FALSE, chardev = FALSE, wait = FALSE;
    const GOptionEntry entries[] = {
        { "object", 'o', 0, G_OPTION_ARG_NONE, &object, NULL, NULL },
        { "chardev", 'c', 0, G_OPTION_ARG_NONE, &chardev, NULL, NULL },
        { "wait", 'w', 0, G_OPTION_ARG_NONE, &wait, NULL, NULL },
        G_OPTION_ENTRY_NULL,
    };
    g_autoptr(Args) arguments = args_new();
    g_autofree char *text = NULL;
    Kind kind;

    if (!ctl_parse(ctl, entries, args, 1, CTL_ANY_NUMBER - 1, error) ||
        !choose_kind(object, chardev, &kind, error) ||
        !args_set_string(arguments, "id", (*args)[1], error) ||
        !args_add_pairs(arguments, "", *args + 2, error))
        return FALSE;
    if (wait && kind != KIND_DEVICE) {
        g_set_error_literal(error, CTL_ERROR, CTL_ERROR_USAGE,
                            "--wait is for devices: objects and chardevs are removed at once");
        return FALSE;
    }
    text = args_text(arguments);
    return unplug_run(ctl, kind, text, (*args)[1], wait, error);
}

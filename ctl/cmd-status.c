/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * status: the machine on one screen.
 *
 * It is put together from several queries. A machine that is still empty refuses some of them
 * (those that need a board), and an older daemon may not know one: what was refused is shown as
 * absent, with the refusal's text for people, and null for scripts. Only query-status must succeed.
 */
#include "ctl.h"
#include "table.h"

#include <stdio.h>
#include <string.h>

enum { Q_STATUS, Q_NAME, Q_KVM, Q_SLOTS, Q_MEMORY, Q_DEVICES, N_QUERIES };

static const struct {
    const char *key; /* of the --json object */
    const char *command;
    const char *arguments;
} queries[] = {
    [Q_STATUS] = { "status", "query-status", NULL },
    [Q_NAME] = { "name", "query-name", NULL },
    [Q_KVM] = { "kvm", "query-kvm", NULL },
    [Q_SLOTS] = { "cpus", "query-hotpluggable-cpus", NULL },
    [Q_MEMORY] = { "memory", "query-memory-size-summary", NULL },
    [Q_DEVICES] = { "devices", "qom-list", "{\"path\": \"/machine/peripheral\"}" },
};

G_STATIC_ASSERT(G_N_ELEMENTS(queries) == N_QUERIES);

typedef struct {
    char *text[N_QUERIES];     /* replies */
    JsonNode *node[N_QUERIES]; /* the same parsed */
    char *refusal[N_QUERIES];
} Status;

static void
status_clear(Status *status)
{
    for (int i = 0; i < N_QUERIES; i++) {
        g_free(status->text[i]);
        g_clear_pointer(&status->node[i], json_node_unref);
        g_free(status->refusal[i]);
    }
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Status, status_clear)

/* FALSE only where going on makes no sense: a lost connection, or no run state. */
static gboolean
status_ask(QmpClient *client, Status *status, int i, GError **error)
{
    g_autoptr(GError) wrong = NULL;

    status->text[i] = client_call(client, queries[i].command, queries[i].arguments, &wrong);
    if (status->text[i] != NULL) {
        status->node[i] = json_from_string(status->text[i], error);
        return status->node[i] != NULL;
    }
    if (i != Q_STATUS && g_error_matches(wrong, CTL_ERROR, CTL_ERROR_DAEMON)) {
        status->refusal[i] = g_strdup(wrong->message);
        return TRUE;
    }
    g_propagate_error(error, g_steal_pointer(&wrong));
    return FALSE;
}

static void
print_line(const char *label, const char *value, const char *refusal)
{
    g_autofree char *text = NULL;

    if (value != NULL)
        text = table_clean_text(value);
    else
        text = table_clean_text(refusal != NULL ? refusal : "not told");
    printf(value != NULL ? "%-8s %s\n" : "%-8s - (%s)\n", label, text);
}

static void
print_cpus(const Status *status)
{
    JsonArray *slots = ctl_array(status->node[Q_SLOTS], "cpus", NULL);
    g_autofree char *text = NULL;
    gint64 plugged = 0, total = 0;

    for (guint i = 0; slots != NULL && i < json_array_get_length(slots); i++) {
        JsonObject *slot = ctl_object(json_array_get_element(slots, i), "cpus", NULL);
        gint64 vcpus = slot ? json_object_get_int_member_with_default(slot, "vcpus-count", 1) : 0;
        total += vcpus;
        plugged += ctl_string_member(slot, "qom-path") != NULL ? vcpus : 0;
    }
    if (slots != NULL)
        text = g_strdup_printf("%" G_GINT64_FORMAT " of %" G_GINT64_FORMAT, plugged, total);
    print_line("cpus", text, status->refusal[Q_SLOTS]);
}

static void
print_memory(const Status *status)
{
    JsonObject *summary = ctl_object(status->node[Q_MEMORY], "memory", NULL);
    g_autofree char *text = NULL;

    if (summary != NULL) {
        g_autofree char *base = table_size_text(
            (guint64)json_object_get_int_member_with_default(summary, "base-memory", 0));
        g_autofree char *plugged = table_size_text(
            (guint64)json_object_get_int_member_with_default(summary, "plugged-memory", 0));
        text = g_strdup_printf("%s base, %s plugged", base, plugged);
    }
    print_line("memory", text, status->refusal[Q_MEMORY]);
}

/* The type in `child<TYPE>`; NULL for what is no child, such as the container's own "type". */
static char *
child_type(const char *type)
{
    if (type == NULL || !g_str_has_prefix(type, "child<") || !g_str_has_suffix(type, ">"))
        return NULL;
    return g_strndup(type + strlen("child<"), strlen(type) - strlen("child<>"));
}

static void
print_devices(const Status *status)
{
    JsonArray *list = ctl_array(status->node[Q_DEVICES], "devices", NULL);
    g_autoptr(Table) table = table_new("device", "type", NULL);
    guint count = 0;

    for (guint i = 0; list != NULL && i < json_array_get_length(list); i++) {
        JsonObject *item = ctl_object(json_array_get_element(list, i), "devices", NULL);
        g_autofree char *type = child_type(ctl_string_member(item, "type"));
        if (type == NULL)
            continue;
        table_cell(table, ctl_string_member(item, "name"));
        table_cell(table, type);
        count++;
    }
    if (count == 0) {
        print_line("devices", list != NULL ? "none" : NULL, status->refusal[Q_DEVICES]);
        return;
    }
    putchar('\n');
    table_print(table, stdout);
}

static void
print_status(const Status *status)
{
    JsonObject *run = ctl_object(status->node[Q_STATUS], "status", NULL);
    JsonObject *name = ctl_object(status->node[Q_NAME], "name", NULL);
    JsonObject *kvm = ctl_object(status->node[Q_KVM], "kvm", NULL);
    const char *accel = NULL;

    if (kvm != NULL)
        accel = json_object_get_boolean_member_with_default(kvm, "enabled", FALSE) ? "kvm" : "test";
    print_line("name", ctl_string_member(name, "name"), status->refusal[Q_NAME]);
    print_line("state", ctl_string_member(run, "status"), NULL);
    print_line("accel", accel, status->refusal[Q_KVM]);
    print_cpus(status);
    print_memory(status);
    print_devices(status);
}

static void
print_status_json(const Status *status)
{
    for (int i = 0; i < N_QUERIES; i++)
        printf("%s\"%s\": %s", i == 0 ? "{" : ", ", queries[i].key,
               status->text[i] != NULL ? status->text[i] : "null");
    puts("}");
}

gboolean
cmd_status(Ctl *ctl, char ***args, GError **error)
{
    g_autoptr(QmpClient) client = NULL;
    g_auto(Status) status = { { NULL }, { NULL }, { NULL } };

    if (!ctl_parse(ctl, NULL, args, 0, 0, error) || (client = ctl_connect(ctl, error)) == NULL)
        return FALSE;
    for (int i = 0; i < N_QUERIES; i++)
        if (!status_ask(client, &status, i, error))
            return FALSE;
    if (ctl->json)
        print_status_json(&status);
    else
        print_status(&status);
    return TRUE;
}

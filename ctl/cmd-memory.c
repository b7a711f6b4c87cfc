/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory: how much there is, and in which devices.
 *
 * The two kinds of memory device name the same things differently (a DIMM's "addr", a virtio-mem's
 * "memaddr"), and only the latter has a size that was asked for beside the one that it has. One
 * table holds both, with a dash where a kind has nothing to say.
 */
#include "ctl.h"
#include "table.h"

#include <stdio.h>

/* Sizes are unsigned: json-glib's integers hold the bits, not the sign. */
static void
print_size(JsonObject *object, const char *member, const char *label)
{
    g_autofree char *text = NULL;

    if (!json_object_has_member(object, member))
        return;
    text = table_size_text((guint64)json_object_get_int_member_with_default(object, member, 0));
    printf("%-9s%s\n", label, text);
}

static void
table_size(Table *table, JsonObject *object, const char *member)
{
    g_autofree char *text = NULL;

    if (object != NULL && json_object_has_member(object, member))
        text = table_size_text((guint64)json_object_get_int_member_with_default(object, member, 0));
    table_cell(table, text);
}

static void
table_device(Table *table, JsonObject *device)
{
    JsonObject *data = ctl_object_member(device, "data");
    const char *address = NULL;

    table_cell(table, ctl_string_member(data, "id"));
    table_cell(table, ctl_string_member(device, "type"));
    table_size(table, data, "size");
    table_size(table, data, "requested-size");
    address = data == NULL ? NULL
              : json_object_has_member(data, "addr") ? "addr"
              : json_object_has_member(data, "memaddr") ? "memaddr"
                                                        : NULL;
    if (address != NULL)
        table_cellf(table, "0x%" G_GINT64_MODIFIER "x",
                    (guint64)json_object_get_int_member_with_default(data, address, 0));
    else
        table_cell(table, NULL);
    table_cell(table, ctl_string_member(data, "memdev"));
}

static void
print_devices(JsonArray *devices)
{
    g_autoptr(Table) table =
        table_new("id", "type", "size", "requested", "address", "memdev", NULL);

    if (json_array_get_length(devices) == 0)
        return;
    for (guint i = 0; i < json_array_get_length(devices); i++) {
        JsonNode *node = json_array_get_element(devices, i);
        if (JSON_NODE_HOLDS_OBJECT(node))
            table_device(table, json_node_get_object(node));
    }
    putchar('\n');
    table_print(table, stdout);
}

static gboolean
print_memory(const char *summary_text, const char *devices_text, GError **error)
{
    g_autoptr(JsonNode) summary_node = json_from_string(summary_text, error);
    g_autoptr(JsonNode) devices_node = json_from_string(devices_text, error);
    JsonObject *summary = ctl_object(summary_node, "query-memory-size-summary", error);
    JsonArray *devices =
        summary != NULL ? ctl_array(devices_node, "query-memory-devices", error) : NULL;

    if (devices == NULL)
        return FALSE;
    print_size(summary, "base-memory", "base");
    print_size(summary, "plugged-memory", "plugged");
    print_devices(devices);
    return TRUE;
}

gboolean
cmd_memory(Ctl *ctl, char ***args, GError **error)
{
    g_autoptr(QmpClient) client = NULL;
    g_autofree char *summary = NULL, *devices = NULL;

    if (!ctl_parse(ctl, NULL, args, 0, 0, error) || (client = ctl_connect(ctl, error)) == NULL)
        return FALSE;
    summary = client_call(client, "query-memory-size-summary", NULL, error);
    if (summary == NULL ||
        (devices = client_call(client, "query-memory-devices", NULL, error)) == NULL)
        return FALSE;
    if (!ctl->json)
        return print_memory(summary, devices, error);
    printf("{\"summary\": %s, \"devices\": %s}\n", summary, devices);
    return TRUE;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cpus: the table of CPU slots, and plugging until a number of CPUs is there.
 *
 * query-hotpluggable-cpus lists every slot, plugged (it has a qom-path) or free, in whatever order
 * the daemon likes: QEMU's is highest first. Both uses here need them in the order of the
 * topology, so they are sorted by socket, die, core and thread before anything else. The place in
 * that order also gives a CPU its id, cpuN, whatever was plugged before.
 */
#include "ctl.h"
#include "args.h"
#include "table.h"

#include <stdio.h>

static const char *const topology[] = {
    "node-id", "socket-id", "die-id", "cluster-id", "module-id", "core-id", "thread-id",
};

/* A number among the properties of a slot or of a CPU, -1 if it is not there. */
static gint64
cpu_prop(JsonObject *cpu, const char *name)
{
    JsonObject *props = ctl_object_member(cpu, "props");

    return props != NULL ? json_object_get_int_member_with_default(props, name, -1) : -1;
}

static int
compare_slots(gconstpointer a, gconstpointer b)
{
    JsonObject *const *left = a, *const *right = b;

    for (guint i = 0; i < G_N_ELEMENTS(topology); i++) {
        gint64 l = cpu_prop(*left, topology[i]), r = cpu_prop(*right, topology[i]);
        if (l != r)
            return l < r ? -1 : 1;
    }
    return 0;
}

static GPtrArray *
sorted_slots(JsonArray *reply)
{
    GPtrArray *slots = g_ptr_array_new();

    for (guint i = 0; i < json_array_get_length(reply); i++) {
        JsonNode *node = json_array_get_element(reply, i);
        if (JSON_NODE_HOLDS_OBJECT(node))
            g_ptr_array_add(slots, json_node_get_object(node));
    }
    g_ptr_array_sort(slots, compare_slots);
    return slots;
}

static gint64
slot_vcpus(JsonObject *slot)
{
    return MAX(1, json_object_get_int_member_with_default(slot, "vcpus-count", 1));
}

static gboolean
slot_plugged(JsonObject *slot)
{
    return ctl_string_member(slot, "qom-path") != NULL;
}

/* The entry of query-cpus-fast with this path. */
static JsonObject *
find_cpu(JsonArray *cpus, const char *path)
{
    for (guint i = 0; path != NULL && i < json_array_get_length(cpus); i++) {
        JsonNode *node = json_array_get_element(cpus, i);
        JsonObject *cpu = JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
        if (g_strcmp0(ctl_string_member(cpu, "qom-path"), path) == 0)
            return cpu;
    }
    return NULL;
}

static void
table_number(Table *table, gint64 number)
{
    if (number < 0)
        table_cell(table, NULL);
    else
        table_cellf(table, "%" G_GINT64_FORMAT, number);
}

static void
print_slot(Table *table, guint place, JsonObject *slot, JsonObject *cpu)
{
    table_number(table, place);
    table_number(table, cpu_prop(slot, "socket-id"));
    table_number(table, cpu_prop(slot, "die-id"));
    table_number(table, cpu_prop(slot, "core-id"));
    table_number(table, cpu_prop(slot, "thread-id"));
    table_cell(table, slot_plugged(slot) ? "plugged" : "free");
    table_number(table, cpu ? json_object_get_int_member_with_default(cpu, "cpu-index", -1) : -1);
    table_number(table, cpu ? json_object_get_int_member_with_default(cpu, "thread-id", -1) : -1);
    table_cell(table, ctl_string_member(slot, "type"));
    table_cell(table, ctl_string_member(slot, "qom-path"));
}

static void
print_cpus(JsonArray *slot_list, JsonArray *cpus)
{
    g_autoptr(GPtrArray) slots = sorted_slots(slot_list);
    g_autoptr(Table) table = table_new("slot", "socket", "die", "core", "thread", "state", "cpu",
                                       "tid", "type", "qom-path", NULL);

    for (guint i = 0; i < slots->len; i++) {
        JsonObject *slot = slots->pdata[i];
        print_slot(table, i, slot, find_cpu(cpus, ctl_string_member(slot, "qom-path")));
    }
    table_print(table, stdout);
}

static gboolean
show_cpus(const Ctl *ctl, QmpClient *client, GError **error)
{
    g_autofree char *slot_text = client_call(client, "query-hotpluggable-cpus", NULL, error);
    g_autofree char *cpu_text =
        slot_text != NULL ? client_call(client, "query-cpus-fast", NULL, error) : NULL;

    if (cpu_text == NULL)
        return FALSE;
    if (ctl->json) {
        printf("{\"slots\": %s, \"cpus\": %s}\n", slot_text, cpu_text);
        return TRUE;
    }
    g_autoptr(JsonNode) slot_node = json_from_string(slot_text, error);
    g_autoptr(JsonNode) cpu_node = json_from_string(cpu_text, error);
    JsonArray *slots = ctl_array(slot_node, "query-hotpluggable-cpus", error);
    JsonArray *cpus = slots != NULL ? ctl_array(cpu_node, "query-cpus-fast", error) : NULL;
    if (cpus != NULL)
        print_cpus(slots, cpus);
    return cpus != NULL;
}

/* device_add with the type and the place that the slot itself tells. */
static gboolean
plug_slot(QmpClient *client, JsonObject *slot, guint place, GError **error)
{
    const char *type = ctl_string_member(slot, "type");
    JsonObject *props = ctl_object_member(slot, "props");
    g_autoptr(Args) args = args_new();
    g_autoptr(GList) names = props != NULL ? json_object_get_members(props) : NULL;
    g_autofree char *id = g_strdup_printf("cpu%u", place);
    g_autofree char *text = NULL, *reply = NULL;

    if (!args_set_string(args, "driver", type != NULL ? type : "", error) ||
        !args_set_string(args, "id", id, error))
        return FALSE;
    for (GList *n = names; n != NULL; n = n->next) {
        g_autofree char *value = json_to_string(json_object_get_member(props, n->data), FALSE);
        if (!args_set_json(args, n->data, value, error))
            return FALSE;
    }
    text = args_text(args);
    reply = client_call(client, "device_add", text, error);
    return reply != NULL;
}

/* Counts what is there and what could be; @wanted must lie between the two. */
static gboolean
check_wanted(GPtrArray *slots, gint64 wanted, gint64 *plugged, GError **error)
{
    gint64 total = 0;

    *plugged = 0;
    for (guint i = 0; i < slots->len; i++) {
        total += slot_vcpus(slots->pdata[i]);
        if (slot_plugged(slots->pdata[i]))
            *plugged += slot_vcpus(slots->pdata[i]);
    }
    if (wanted < *plugged)
        g_set_error(error, CTL_ERROR, CTL_ERROR_FAILED,
                    "%" G_GINT64_FORMAT " CPUs are there, more than %" G_GINT64_FORMAT
                    ": unplug those that shall go by their ids",
                    *plugged, wanted);
    else if (wanted > total)
        g_set_error(error, CTL_ERROR, CTL_ERROR_FAILED,
                    "%" G_GINT64_FORMAT " CPUs: this board has room for %" G_GINT64_FORMAT, wanted,
                    total);
    return wanted >= *plugged && wanted <= total;
}

static gboolean
plug_until(QmpClient *client, gint64 wanted, GError **error)
{
    g_autoptr(JsonNode) node = client_query(client, "query-hotpluggable-cpus", NULL, error);
    JsonArray *list = ctl_array(node, "query-hotpluggable-cpus", error);
    g_autoptr(GPtrArray) slots = list != NULL ? sorted_slots(list) : NULL;
    gint64 plugged;

    if (slots == NULL || !check_wanted(slots, wanted, &plugged, error))
        return FALSE;
    for (guint i = 0; i < slots->len && plugged < wanted; i++) {
        if (slot_plugged(slots->pdata[i]))
            continue;
        if (!plug_slot(client, slots->pdata[i], i, error)) {
            g_prefix_error(error, "%" G_GINT64_FORMAT " of %" G_GINT64_FORMAT " CPUs are there: ",
                           plugged, wanted);
            return FALSE;
        }
        plugged += slot_vcpus(slots->pdata[i]);
    }
    return TRUE;
}

gboolean
cmd_cpus(Ctl *ctl, char ***args, GError **error)
{
    g_autoptr(QmpClient) client = NULL;
    guint wanted = 0;

    if (!ctl_parse(ctl, NULL, args, 0, 1, error))
        return FALSE;
    if ((*args)[1] != NULL && !ctl_parse_count("number of CPUs", (*args)[1], &wanted, error))
        return FALSE;
    if ((client = ctl_connect(ctl, error)) == NULL)
        return FALSE;
    if (wanted == 0)
        return show_cpus(ctl, client, error);
    if (!plug_until(client, wanted, error))
        return FALSE;
    return ctl->json ? show_cpus(ctl, client, error) : TRUE;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmd-cpu.c - CPU slots, CPUs and CPU models. */
#include "../devices/cpu/cpu.h"
#include "../devices/platform/board.h"
#include "handlers.h"

static CpuInstanceProperties *slot_props(const CpuSlot *slot)
{
    CpuInstanceProperties *p = g_new0(CpuInstanceProperties, 1);

    p->has_socket_id = p->has_die_id = p->has_core_id = p->has_thread_id = TRUE;
    p->socket_id = slot->socket;
    p->die_id = slot->die;
    p->core_id = slot->core;
    p->thread_id = slot->thread;
    return p;
}

gboolean cmd_query_hotpluggable_cpus(Machine *m, QmpRequest *req, GPtrArray **ret, GError **error)
{
    const BoardConfig *board = board_config(m->devices);

    if (!board)
        return error_set(error, "query-hotpluggable-cpus: there is no board yet; plug one, or any device");
    Device *bsp = cpu_bsp(m->devices);
    const char *type = bsp ? bsp->type->name : board->cpu_type;
    GPtrArray *list = REPLY_LIST(hotpluggable_cpu_free);
    for (guint i = 0; i < board->max_cpus; i++) {
        HotpluggableCPU *h = g_new0(HotpluggableCPU, 1);
        CpuSlot slot;
        cpu_slot_get(m->devices, i, &slot);
        h->type = g_strdup(type);
        h->vcpus_count = 1;
        h->props = slot_props(&slot);
        h->qom_path = slot.cpu ? device_path(slot.cpu) : NULL;
        g_ptr_array_add(list, h);
    }
    *ret = list;
    return TRUE;
}

static gint by_index(gconstpointer a, gconstpointer b)
{
    const CpuInfoFast *x = *(CpuInfoFast *const *)a, *y = *(CpuInfoFast *const *)b;

    return (x->cpu_index > y->cpu_index) - (x->cpu_index < y->cpu_index);
}

static gboolean add_cpu(Device *dev, gpointer list)
{
    if (!cpu_is_cpu(dev))
        return TRUE;
    CpuInfoFast *info = g_new0(CpuInfoFast, 1);
    CpuSlot slot;
    cpu_slot_get(dev->set, cpu_index(dev), &slot);
    info->cpu_index = cpu_index(dev);
    info->qom_path = device_path(dev);
    info->thread_id = vcpu_thread_id(cpu_vcpu(dev));
    info->props = slot_props(&slot);
    info->target = SYS_EMU_TARGET_X86_64;
    g_ptr_array_add(list, info);
    return TRUE;
}

gboolean cmd_query_cpus_fast(Machine *m, QmpRequest *req, GPtrArray **ret, GError **error)
{
    GPtrArray *list = REPLY_LIST(cpu_info_fast_free);

    device_set_foreach(m->devices, add_cpu, list);
    g_ptr_array_sort(list, by_index);
    *ret = list;
    return TRUE;
}

gboolean cmd_query_cpu_definitions(Machine *m, QmpRequest *req, GPtrArray **ret, GError **error)
{
    static const char suffix[] = "-x86_64-cpu";
    GPtrArray *list = REPLY_LIST(cpu_definition_info_free);

    for (const char *const *type = cpu_type_names(); *type; type++) {
        CpuDefinitionInfo *info = g_new0(CpuDefinitionInfo, 1);
        info->name = g_strndup(*type, strlen(*type) - strlen(suffix));
        info->typename = g_strdup(*type);
        info->has_migration_safe = TRUE;
        info->migration_safe = strcmp(info->name, "host") != 0;
        info->unavailable_features = g_ptr_array_new_with_free_func(g_free);
        g_ptr_array_add(list, info);
    }
    *ret = list;
    return TRUE;
}

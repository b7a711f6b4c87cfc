/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmd-machine.c - boards and I/O threads. */
#include "../devices/backend/iothread.h"
#include "handlers.h"

gboolean cmd_query_machines(Machine *m, QmpRequest *req, GPtrArray **ret, GError **error)
{
    GPtrArray *list = REPLY_LIST(machine_info_free);
    MachineInfo *info = g_new0(MachineInfo, 1);
    const PropTable *board = prop_table_find("board");
    int max_cpus = prop_table_row(board, "max-cpus");
    int cpu_type = prop_table_row(board, "cpu-type");

    info->name = g_strdup("pc-q35-backplane"); /* no version: versions decide nothing here */
    info->alias = g_strdup("q35");
    info->has_is_default = info->is_default = TRUE;
    info->cpu_max = (gint64)board->rows[max_cpus].max;
    info->hotpluggable_cpus = TRUE;
    info->default_cpu_type = g_strdup(board->rows[cpu_type].def.s);
    info->default_ram_id = g_strdup("pc.ram");
    info->acpi = TRUE;
    g_ptr_array_add(list, info);
    *ret = list;
    return TRUE;
}

static gboolean add_iothread(Device *dev, gpointer list)
{
    if (strcmp(dev->type->name, "iothread") != 0)
        return TRUE;
    IOThreadInfo *info = g_new0(IOThreadInfo, 1);
    info->id = g_strdup(dev->id);
    info->thread_id = iothread_id(iothread_object_thread(dev));
    g_ptr_array_add(list, info);
    return TRUE;
}

gboolean cmd_query_iothreads(Machine *m, QmpRequest *req, GPtrArray **ret, GError **error)
{
    *ret = REPLY_LIST(io_thread_info_free);
    device_set_foreach(m->devices, add_iothread, *ret);
    return TRUE;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmd-lifecycle.c - run states: cont, stop, system_reset and what goes with them. */
#include "../devices/cpu/cpu.h"
#include "../devices/platform/board.h"
#include "../schema/generated/qmp-events.h"
#include "handlers.h"

gboolean cmd_cont(Machine *m, QmpRequest *req, GError **error)
{
    return machine_check_alive(m, "cont", error) && machine_cont(m, error);
}

gboolean cmd_stop(Machine *m, QmpRequest *req, GError **error)
{
    if (!machine_check_alive(m, "stop", error))
        return FALSE;
    machine_stop(m);
    return TRUE;
}

gboolean cmd_system_reset(Machine *m, QmpRequest *req, GError **error)
{
    if (!machine_check_alive(m, "system_reset", error))
        return FALSE;
    machine_reset(m);
    return TRUE;
}

gboolean cmd_query_status(Machine *m, QmpRequest *req, StatusInfo **ret, GError **error)
{
    *ret = g_new0(StatusInfo, 1);
    (*ret)->running = m->state == RUN_STATE_RUNNING;
    (*ret)->status = m->state;
    return TRUE;
}

static gboolean check_running(Machine *m, const char *command, GError **error)
{
    if (m->state == RUN_STATE_RUNNING)
        return TRUE;
    return error_set(error, "%s: the machine is in state '%s', not 'running'", command, run_state_names[m->state]);
}

gboolean cmd_system_powerdown(Machine *m, QmpRequest *req, GError **error)
{
    if (!check_running(m, "system_powerdown", error))
        return FALSE;
    pm_power_button(m->devices);
    qmp_event_powerdown(m->server);
    return TRUE;
}

static gboolean nmi_one(Device *dev, gpointer unused)
{
    if (cpu_is_cpu(dev))
        vcpu_nmi(cpu_vcpu(dev));
    return TRUE;
}

gboolean cmd_inject_nmi(Machine *m, QmpRequest *req, GError **error)
{
    if (!check_running(m, "inject-nmi", error))
        return FALSE;
    device_set_foreach(m->devices, nmi_one, NULL);
    return TRUE;
}

gboolean cmd_set_action(Machine *m, QmpRequest *req, const SetActionArgs *args, GError **error)
{
    if (args->has_reboot)
        m->on_reboot = args->reboot;
    if (args->has_shutdown)
        m->on_shutdown = args->shutdown;
    if (args->has_panic)
        m->on_panic = args->panic;
    return TRUE;
}

gboolean cmd_query_uuid(Machine *m, QmpRequest *req, UuidInfo **ret, GError **error)
{
    const BoardConfig *board = board_config(m->devices);

    if (!board)
        return error_set(error, "query-uuid: there is no board yet, and the UUID is a property of it");
    *ret = g_new0(UuidInfo, 1);
    (*ret)->UUID = g_strdup(board->uuid);
    return TRUE;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmd-plug.c - device_add, device-plug-transaction, device_del, object-add, object-del. How a device ends is told by machine.c. */
#include "../devices/acpi/cpu-hotplug.h"
#include "../devices/acpi/mem-hotplug.h"
#include "../devices/core/unplug.h"
#include "../devices/cpu/cpu.h"
#include "../devices/mem/memory-backend.h"
#include "../devices/platform/board.h"
#include "handlers.h"

void handler_say_s(PropBag *bag, const char *name, const char *value)
{
    if (value)
        prop_bag_set_s(bag, name, value, ORIGIN_CONFIG);
}

void handler_say_u(PropBag *bag, gboolean given, const char *name, guint64 value)
{
    if (given)
        prop_bag_set_u(bag, name, value, ORIGIN_CONFIG);
}

Device *handler_find(Machine *m, DeviceNs ns, const char *id, GError **error)
{
    static const char *const kinds[] = { [NS_DEVICE] = "Device", [NS_OBJECT] = "object", [NS_CHARDEV] = "Chardev" };
    Device *dev = device_set_find(m->devices, ns, id);

    if (!dev && ns == NS_DEVICE && id[0] == '/') {
        dev = device_set_by_path(m->devices, id);
        if (dev && (dev->parent || device_ns(dev) != NS_DEVICE))
            dev = NULL;
    }
    if (!dev) {
        g_autofree char *given = error_quote(id, -1);
        error_set_class(error, ERROR_DEVICE_NOT_FOUND, "%s '%s' not found", kinds[ns], given);
    }
    return dev;
}

gboolean cmd_device_add(Machine *m, QmpRequest *req, PropBag **args, GError **error)
{
    return machine_check_alive(m, "device_add", error) && machine_plug(m, g_steal_pointer(args), error) != NULL;
}

gboolean cmd_device_plug_transaction(Machine *m, QmpRequest *req, const DevicePlugTransactionArgs *args,
                                     DevicePlugTransactionResult **ret, GError **error)
{
    const MachineConfig what = { .chardevs = args->chardevs, .objects = args->objects, .devices = args->devices };
    GPtrArray *ids;

    if (!machine_check_alive(m, "device-plug-transaction", error) ||
        !plug_together(m, req, &what, args->has_dry_run && args->dry_run, &ids, error))
        return FALSE;
    *ret = g_new0(DevicePlugTransactionResult, 1);
    (*ret)->devices = ids;
    return TRUE;
}

gboolean cmd_device_del(Machine *m, QmpRequest *req, const DeviceDelArgs *args, GError **error)
{
    Device *dev = handler_find(m, NS_DEVICE, args->id, error);
    /* Whom should one ask, where the guest is over? */
    UnplugHow how = { .force = (args->has_force && args->force) || !machine_guest_alive(m),
                      .timeout_ms = args->has_timeout ? args->timeout : 0 };

    return dev && machine_check_alive(m, "device_del", error) && device_unplug(dev, &how, error);
}

static gboolean add_job(Device *dev, gpointer list)
{
    UnplugPhase phase;
    gint64 left_ms;

    if (!device_unplug_info(dev, &phase, &left_ms))
        return TRUE;
    UnplugJob *job = g_new0(UnplugJob, 1);
    job->device = g_strdup(dev->id);
    job->path = device_path(dev);
    job->state = phase == UNPLUG_NOTIFIED ? UNPLUG_STATE_NOTIFIED : UNPLUG_STATE_REQUESTED;
    job->has_timeout = left_ms >= 0;
    job->timeout = job->has_timeout ? (guint64)left_ms : 0;
    g_ptr_array_add(list, job);
    return TRUE;
}

gboolean cmd_query_unplug_jobs(Machine *m, QmpRequest *req, UnplugJobs **ret, GError **error)
{
    *ret = g_new0(UnplugJobs, 1);
    (*ret)->jobs = REPLY_LIST(unplug_job_free);
    device_set_foreach(m->devices, add_job, (*ret)->jobs);
    return TRUE;
}

gboolean cmd_query_acpi_ospm_status(Machine *m, QmpRequest *req, GPtrArray **ret, GError **error)
{
    const BoardConfig *board = board_config(m->devices);
    CpuSlot slot;

    *ret = REPLY_LIST(acpiost_info_free);
    for (guint i = 0; board && i < board->memory_slots; i++) {
        Device *dimm = mem_device_dimm(m->devices, i);
        DeviceOst ost = { .slot = i, .id = dimm ? dimm->id : NULL };
        mem_hotplug_ost(m->devices, i, &ost.event, &ost.status);
        g_ptr_array_add(*ret, machine_ost_info(&ost));
    }
    for (guint i = 0; board && i < board->max_cpus; i++) {
        cpu_slot_get(m->devices, i, &slot);
        DeviceOst ost = { .cpu = TRUE, .slot = i, .id = slot.cpu ? slot.cpu->id : NULL };
        cpu_hotplug_ost(m->devices, i, &ost.event, &ost.status);
        g_ptr_array_add(*ret, machine_ost_info(&ost));
    }
    return TRUE;
}

gboolean cmd_object_add(Machine *m, QmpRequest *req, PropBag **args, GError **error)
{
    return machine_check_alive(m, "object-add", error) && machine_plug(m, g_steal_pointer(args), error) != NULL;
}

gboolean cmd_object_del(Machine *m, QmpRequest *req, const ObjectDelArgs *args, GError **error)
{
    Device *dev = handler_find(m, NS_OBJECT, args->id, error);

    return dev && device_remove(dev, error);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmd-memory.c - memory objects, DIMMs and the balloon. */
#include "../devices/mem/memory-backend.h"
#include "../devices/virtio/virtio-balloon.h"
#include "../schema/generated/devices.h"
#include "handlers.h"

static gboolean add_dimm(Device *dev, gpointer list)
{
    if (device_plug(dev) != PLUG_MEMORY)
        return TRUE;
    PCDIMMDeviceInfo *d = g_new0(PCDIMMDeviceInfo, 1);
    MemoryDeviceInfo *info = g_new0(MemoryDeviceInfo, 1);
    guint64 address = dimm_address(dev);
    d->id = g_strdup(dev->id);
    d->addr = address == G_MAXUINT64 ? 0 : (gint64)address; /* not laid out yet */
    d->size = (gint64)dimm_size(dev);
    d->slot = dimm_slot(dev);
    d->node = DEVICE_CONFIG(dev, PcDimmConfig)->node;
    d->hotplugged = dimm_is_device_memory(dev);
    d->hotpluggable = TRUE;
    d->memdev = device_path(dimm_backend(dev));
    info->type = MEMORY_DEVICE_INFO_KIND_DIMM;
    info->u.dimm = g_new0(PCDIMMDeviceInfoWrapper, 1);
    info->u.dimm->data = d;
    g_ptr_array_add(list, info);
    return TRUE;
}

gboolean cmd_query_memory_devices(Machine *m, QmpRequest *req, GPtrArray **ret, GError **error)
{
    *ret = REPLY_LIST(memory_device_info_free);
    device_set_foreach(m->devices, add_dimm, *ret);
    return TRUE;
}

gboolean cmd_query_memory_size_summary(Machine *m, QmpRequest *req, MemoryInfo **ret, GError **error)
{
    *ret = g_new0(MemoryInfo, 1);
    (*ret)->base_memory = mem_total(m->devices);
    (*ret)->has_plugged_memory = TRUE;
    (*ret)->plugged_memory = mem_plugged(m->devices);
    return TRUE;
}

static gboolean add_memdev(Device *dev, gpointer list)
{
    if (!g_str_has_prefix(dev->type->name, "memory-backend-"))
        return TRUE;
    Memdev *info = g_new0(Memdev, 1);
    int share = prop_table_row(dev->bag->table, "share");
    info->id = g_strdup(dev->id);
    info->size = memory_backend_size(dev);
    info->prealloc = DEVICE_CONFIG(dev, MemoryBackendConfig)->prealloc;
    info->share = prop_bag_get_u(dev->bag, (guint)share) != 0;
    info->has_reserve = TRUE; /* memory is sparse: no swap space is reserved */
    info->host_nodes = g_array_new(FALSE, FALSE, sizeof(guint16));
    info->policy = HOST_MEM_POLICY_DEFAULT;
    g_ptr_array_add(list, info);
    return TRUE;
}

gboolean cmd_query_memdev(Machine *m, QmpRequest *req, GPtrArray **ret, GError **error)
{
    *ret = REPLY_LIST(memdev_free);
    device_set_foreach(m->devices, add_memdev, *ret);
    return TRUE;
}

/* ---- the balloon ---- */

static Device *the_balloon(Machine *m, GError **error)
{
    Device *dev = virtio_balloon_find(m->devices);

    if (!dev)
        error_set_class(error, ERROR_DEVICE_NOT_ACTIVE, "No balloon device has been activated");
    return dev;
}

gboolean cmd_balloon(Machine *m, QmpRequest *req, const BalloonArgs *args, GError **error)
{
    Device *dev = the_balloon(m, error);

    if (!dev)
        return FALSE;
    if (args->value <= 0)
        return error_set(error, "Parameter 'value' is %" G_GINT64_FORMAT ": a size is wanted", args->value);
    virtio_balloon_set_target(dev, (guint64)args->value);
    return TRUE;
}

gboolean cmd_query_balloon(Machine *m, QmpRequest *req, BalloonInfo **ret, GError **error)
{
    Device *dev = the_balloon(m, error);

    if (!dev)
        return FALSE;
    *ret = g_new0(BalloonInfo, 1);
    (*ret)->actual = (gint64)virtio_balloon_actual(dev);
    return TRUE;
}

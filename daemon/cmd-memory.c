/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmd-memory.c - memory objects and DIMMs. */
#include "../devices/mem/memory-backend.h"
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

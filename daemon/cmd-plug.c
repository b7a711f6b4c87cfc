/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cmd-plug.c - device_add, device_del, object-add, object-del.
 *
 * No device of this build waits for the guest to let go of it, so removal is at once: the reply comes first, then
 * DEVICE_DELETED, as QEMU's clients expect.
 */
#include "../schema/generated/qmp-events.h"
#include "handlers.h"

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

/* The removal is carried out after the reply: its event must not overtake the answer. */
typedef struct {
    Machine *m;
    char    *id, *path;
} Deleted;

static gboolean send_deleted(gpointer user)
{
    Deleted *d = user;

    if (!d->m->quitting)
        qmp_event_device_deleted(d->m->server, d->id, d->path);
    g_free(d->id);
    g_free(d->path);
    g_free(d);
    return G_SOURCE_REMOVE;
}

gboolean cmd_device_del(Machine *m, QmpRequest *req, const DeviceDelArgs *args, GError **error)
{
    Device *dev = handler_find(m, NS_DEVICE, args->id, error);

    if (!dev || !machine_check_alive(m, "device_del", error))
        return FALSE;
    g_autofree char *id = g_strdup(dev->id), *path = device_path(dev);
    if (!device_remove(dev, error))
        return FALSE;
    Deleted *d = g_new0(Deleted, 1);
    d->m = m;
    d->id = g_steal_pointer(&id);
    d->path = g_steal_pointer(&path);
    g_idle_add_full(G_PRIORITY_DEFAULT, send_deleted, d, NULL);
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

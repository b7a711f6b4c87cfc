/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * netdev.c - what all network back ends have in common: who uses them, and their link.
 *
 * user_ops and user are read on I/O threads, by netdev_readable() and netdev_writable(), without a lock: they are set before
 * the first queue_start() and cleared after the last queue_stop(), which order the accesses.
 */
#include "netdev.h"

void netdev_init(Netdev *nd, const NetdevOps *ops)
{
    nd->ops = ops;
    nd->n_queues = 1;
    nd->link_up = TRUE;
}

void netdev_exit(Netdev *nd)
{
    g_assert(!nd->nic);
}

gboolean netdev_is(const Device *dev)
{
    return g_str_has_prefix(dev->type->name, "netdev-");
}

void netdev_set_link(Netdev *nd, gboolean up)
{
    if (nd->link_up == up)
        return;
    nd->link_up = up;
    if (nd->nic && nd->user_ops->link_changed)
        nd->user_ops->link_changed(nd->user, up);
}

Netdev *netdev_attach(Device *nic, const char *id, const char *prop, const NetdevUserOps *ops, gpointer user, GError **error)
{
    Netdev *nd = (Netdev *)device_link(nic, NS_OBJECT, id, "netdev", prop, error);

    if (!nd)
        return NULL;
    if (nd->nic) {
        error_set(error, "Property '%s' of device '%s': '%s' is in use by '%s'", prop, nic->id, id, nd->nic->id);
        device_unlink(nic, &nd->dev);
        return NULL;
    }
    nd->nic = nic;
    nd->user_ops = ops;
    nd->user = user;
    return nd;
}

void netdev_detach(Netdev *nd)
{
    Device *nic = nd->nic;

    nd->nic = NULL;
    nd->user_ops = NULL;
    nd->user = NULL;
    device_unlink(nic, &nd->dev);
}

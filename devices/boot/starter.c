/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* starter.c - what all devices that start the machine share: their files, and that there is one of them. */
#include "starter.h"

#include <fcntl.h>

char *boot_file_name(const Device *dev, const char *prop, const char *path)
{
    g_autofree char *quoted = error_quote(path, -1);

    return g_strdup_printf("Property '%s' of device '%s': '%s'", prop, dev->id, quoted);
}

/* Not blocking: a FIFO would wait for its writer before it can be refused. */
int boot_file_open(Device *dev, const char *prop, const char *path, GError **error)
{
    return device_open_path(dev, prop, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, error);
}

static gboolean find_other(Device *dev, gpointer found)
{
    if (device_plug(dev) != PLUG_BOOT)
        return TRUE;
    *(Device **)found = dev;
    return FALSE;
}

gboolean boot_check_alone(Device *dev, GError **error)
{
    const Device *other = NULL;

    device_set_foreach(dev->set, find_other, &other);
    if (!other)
        return TRUE;
    return error_set(error, "Device '%s' (%s) starts the machine, and so does device '%s' (%s): one of them at a time", dev->id,
                     dev->type->name, other->id, other->type->name);
}

Device *boot_find_cpu(Device *dev, const char *what, GError **error)
{
    Device *bsp = cpu_bsp(dev->set);

    if (!bsp)
        error_set(error, "Device '%s' has no CPU to start its %s on: plug one first", dev->id, what);
    return bsp;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* open.c - files that a property names, whether by path or as a descriptor that a client passed. */
#include <errno.h>
#include <fcntl.h>

#include "set.h"

#define FDSET "/dev/fdset/"

static int open_fdset(Device *dev, const char *number, int flags, GError **error)
{
    DeviceSet *set = dev->set;
    guint64 n;

    if (!g_ascii_string_to_unsigned(number, 10, 0, G_MAXINT64, &n, NULL)) {
        error_set(error, "what follows " FDSET " is not a number");
        return -1;
    }
    if (!set->observer || !set->observer->open_fdset) {
        error_set(error, "there are no descriptor sets here");
        return -1;
    }
    return set->observer->open_fdset(set->user, (gint64)n, flags, error);
}

int device_open_path(Device *dev, const char *prop, const char *path, int flags, mode_t mode, GError **error)
{
    if (g_str_has_prefix(path, FDSET)) {
        int fd = open_fdset(dev, path + strlen(FDSET), flags, error);
        if (fd < 0) {
            g_autofree char *given = error_quote(path, -1);
            g_prefix_error(error, "Property '%s' of device '%s': '%s': ", prop, dev->id, given);
        }
        return fd;
    }
    int fd = open(path, flags | O_CLOEXEC, mode);
    if (fd < 0) {
        int err = errno;
        g_autofree char *given = error_quote(path, -1);
        error_set_errno(error, err, "Property '%s' of device '%s': can not open '%s'", prop, dev->id, given);
    }
    return fd;
}

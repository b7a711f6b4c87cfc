/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rng.c - the `rng-random` object: random bytes for guests.
 *
 * The host kernel's generator is reached by getrandom(2), which needs no descriptor and, once the
 * host is up, neither blocks nor runs dry: since Linux 5.18 /dev/random and /dev/urandom are the
 * same. So these two names are what `filename` accepts; other files would have to be read by a
 * thread that may wait.
 */
#include "rng.h"

#include <errno.h>
#include <sys/random.h>

#include "../../schema/generated/devices.h"

void rng_fill(Device *source, void *buf, gsize len)
{
    guint8 *at = buf;

    while (len > 0) {
        gssize n = getrandom(at, len, 0);

        g_assert(n > 0 || errno == EINTR);
        if (n > 0) {
            at += n;
            len -= (gsize)n;
        }
    }
}

static gboolean resolve(Device *dev, GError **error)
{
    const char *name = DEVICE_CONFIG(dev, RngRandomConfig)->filename;

    if (strcmp(name, "/dev/urandom") == 0 || strcmp(name, "/dev/random") == 0)
        return TRUE;
    g_autofree char *given = error_quote(name, -1);
    return error_set(error,
                     "Property 'filename' of object '%s' accepts '/dev/urandom' and '/dev/random', "
                     "not '%s'",
                     dev->id, given);
}

static const DeviceOps ops = { .resolve = resolve };

const DeviceType rng_random_type = { "rng-random", sizeof(Device), &ops, state_none };

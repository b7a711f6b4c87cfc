/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guest-error.c - what a guest did wrong, in the log, at most once a second per device: no guest can fill
 * the host's disk. Called on vCPU and I/O threads, mostly but not always under the device's lock, hence the atomics.
 */
#include "device.h"

void device_guest_error(Device *dev, const char *format, ...)
{
    gint64 now = g_get_monotonic_time();
    gint64 last = __atomic_load_n(&dev->guest_error_at, __ATOMIC_RELAXED);

    /* Of several threads at the same moment one logs. */
    if ((last && now - last < G_USEC_PER_SEC) ||
        !__atomic_compare_exchange_n(&dev->guest_error_at, &last, now, FALSE, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        __atomic_fetch_add(&dev->guest_errors, 1, __ATOMIC_RELAXED);
        return;
    }
    guint held = __atomic_exchange_n(&dev->guest_errors, 0, __ATOMIC_RELAXED);

    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    if (held)
        g_message("device '%s' (%s): guest error: %s (%u more not logged)", dev->id, dev->type->name, text, held);
    else
        g_message("device '%s' (%s): guest error: %s", dev->id, dev->type->name, text);
}

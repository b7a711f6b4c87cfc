/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * unplug.h - taking a device away from a running guest, which has to agree (devices/core/unplug.c). Main thread only.
 *
 * Whoever asks the guest (the ACPI hotplug controllers, a root port) tells here what it answered. Each request ends in
 * exactly one call of the observer: device_gone() or unplug_failed().
 */
#pragma once

#include "device.h"

typedef enum {
    UNPLUG_REQUESTED, /* the guest was told, and has not looked yet */
    UNPLUG_NOTIFIED,  /* it has taken notice: its answer is what is missing */
} UnplugPhase;

typedef struct {
    gboolean force;      /* surprise removal: the guest is not asked, or not waited for any longer */
    guint32  timeout_ms; /* of the guest's time, which stands still while it is stopped; 0: its answer is waited for */
} UnplugHow;

/* Asks for DEV. What the guest needs not be asked for is gone when this returns, and so is DEV. Asking again is the same request:
 * the guest is reminded, and a timeout given now counts from now. Errors: in use, can not be unplugged; nothing changed then. */
gboolean device_unplug(Device *dev, const UnplugHow *how, GError **error);

/* ---- what the guest says ---- */

void device_unplug_noticed(Device *dev);
/* It let go of DEV, asked or by its own wish: DEV is gone when this returns, unless another device uses it. */
void device_unplug_done(Device *dev);
/* It keeps DEV: REASON is for people. No request: nothing happens. */
void device_unplug_refused(Device *dev, const char *reason);
/* There is no guest any more (reset, power-off): every device asked for is gone, but one that can not be spared. */
void device_set_unplug_pending(DeviceSet *set);

/* ---- saving (state.c): an open request is a field of its device's record ---- */

#define UNPLUG_FIELD "unplug"
/* (phase, timeout in ms, its instant on the virtual clock); NULL: there is none. */
GVariant *device_unplug_save(const Device *dev);
gboolean  device_unplug_check(const Device *dev, GVariant *saved, GError **error);
/* SAVED (checked) or NULL is what DEV is asked for now; nobody is told of what was before. */
void      device_unplug_load(Device *dev, GVariant *saved);

/* Whether DEV is asked for; then PHASE, and LEFT_MS to the timeout (-1: none). */
gboolean device_unplug_info(const Device *dev, UnplugPhase *phase, gint64 *left_ms);

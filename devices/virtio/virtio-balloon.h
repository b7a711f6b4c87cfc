/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtio-balloon.h - the virtio memory balloon as commands see it. Main thread, the device's lock not held.
 */
#pragma once

#include "../core/device.h"

/* The balloon of the machine, or NULL. */
Device *virtio_balloon_find(DeviceSet *set);
/* The guest shall have BYTES of the machine's memory (more than all of it: all). */
void    virtio_balloon_set_target(Device *dev, guint64 bytes);
/* What it has now, as its driver says. */
guint64 virtio_balloon_actual(Device *dev);

/* Hints of free memory, for whoever copies guest memory away (section 5.5.6.7): between start and stop the guest tells of
 * pages that need not be copied; after stop it keeps them aside until done. The id of the round, or 0: the driver does not do it. */
guint32 virtio_balloon_hint_start(Device *dev);
void    virtio_balloon_hint_stop(Device *dev);
void    virtio_balloon_hint_done(Device *dev);
/* Bytes hinted in this round so far. */
guint64 virtio_balloon_hinted(Device *dev);

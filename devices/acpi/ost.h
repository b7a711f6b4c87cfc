/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ost.h - what a guest reports by _OST (ACPI 6.5 section 6.3.5), for the hotplug controllers. */
#pragma once

#include "../core/device.h"

/* The guest reported STATUS for EVENT on DEV. A refusal ends the request for DEV (core/unplug.h). Main thread. */
void ost_report(Device *dev, guint32 event, guint32 status);
/* Tells the machine what the guest reported. Main thread. */
void ost_tell(DeviceSet *set, const DeviceOst *ost);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mem-hotplug.h - the ACPI memory hotplug registers as DIMMs see them. All functions: main thread. */
#pragma once

#include "../core/device.h"

#define MEM_HOTPLUG_REG_LEN 24
#define MEM_HOTPLUG_GPE 3 /* \_GPE._E03 */

/* The DIMM in slot INDEX was published while the machine runs: an insert event is pending, GPE 3 is
 * raised. */
void mem_hotplug_notify(DeviceSet *set, guint index);
/* The guest shall let go of the DIMM in slot INDEX: a remove event is pending, GPE 3 is raised. Its
 * answer goes to core/unplug.h. */
void mem_hotplug_request_remove(DeviceSet *set, guint index);
/* The DIMM in slot INDEX is gone. */
void mem_hotplug_gone(DeviceSet *set, guint index);
/* What the guest last reported for a slot by _OST. */
void mem_hotplug_ost(DeviceSet *set, guint index, guint32 *event, guint32 *status);

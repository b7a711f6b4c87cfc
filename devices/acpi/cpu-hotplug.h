/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cpu-hotplug.h - the ACPI CPU hotplug registers as CPUs and the machine see them. All
 * functions: main thread.
 */
#pragma once

#include "../core/device.h"

#define CPU_HOTPLUG_REG_LEN 12
#define CPU_HOTPLUG_GPE 2 /* \_GPE._E02 */

/* The CPU in slot INDEX was published while the machine runs: it is there, an insert event is
 * pending, GPE 2 is raised. */
void cpu_hotplug_notify(DeviceSet *set, guint index);
/* The guest shall let go of the CPU in slot INDEX: a remove event is pending, GPE 2 is raised. Its
 * answer goes to core/unplug.h. */
void cpu_hotplug_request_remove(DeviceSet *set, guint index);
/* The CPU in slot INDEX is gone. */
void cpu_hotplug_gone(DeviceSet *set, guint index);

/* What the guest last reported for a slot by _OST (ACPI 6.5 section 6.3.5). */
void cpu_hotplug_ost(DeviceSet *set, guint index, guint32 *event, guint32 *status);

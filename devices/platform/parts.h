/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* parts.h - private to devices/platform: the board's parts among themselves. */
#pragma once

#include "board.h"
#include "deferred.h"

#define PART_HOST_BRIDGE "q35-host-bridge"
#define PART_LPC "ICH9-LPC"
#define PART_RTC "mc146818rtc"
#define PART_FW_CFG "fw_cfg"
#define PART_CPU_HOTPLUG "acpi-cpu-hotplug"
#define PART_MEM_HOTPLUG "acpi-mem-hotplug"
#define PART_PCI_HOTPLUG "acpi-pci-hotplug"

#define HOST_BRIDGE_DEVFN 0x00
#define LPC_DEVFN 0xf8

/* The reset control register, port 0xcf9: it lies within the four ports of the PCI address
 * register and so is reached through the host bridge's region. Takes the LPC bridge's lock.
 * [any] */
guint8 lpc_reset_control_read(Device *lpc);
void   lpc_reset_control_write(Device *lpc, guint8 value);

/* The guest wants a reset or power-off: no vCPU goes on, the machine is told. [any] */
void board_guest_reset(DeviceSet *set);
void board_guest_shutdown(DeviceSet *set);

/* Parses the row rtc-base: seconds that the RTC is ahead of NOW_S (UTC, seconds since 1970) at
 * the start. */
gboolean board_rtc_offset(const char *base, gint64 now_s, gint64 *offset_s);

/* board-resolve.c: the resolve hook of the board. */
gboolean board_resolve(Device *dev, GError **error);
/* The part of it that depends on the host. */
gboolean board_resolve_memory(Device *dev, GError **error);

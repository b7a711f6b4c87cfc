/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* memory-backend.h - host memory objects (memory-backend-ram, -memfd, -file) as DIMMs and queries see them. */
#pragma once

#include "../core/device.h"

guint8  *memory_backend_hva(Device *backend);
guint64  memory_backend_size(Device *backend);
/* Waits for the preallocation, where one was asked for. */
gboolean memory_backend_ready(Device *backend, GError **error);
/* Gives the pages of [HVA, HVA + LEN), page aligned, back to the host: they read as 0, or as the file that is behind a private mapping, when
 * touched again. Main thread. FALSE: it is not within one object of SET, or the host refuses; nothing is lost then. */
gboolean memory_backend_discard(DeviceSet *set, guint8 *hva, guint64 len);

/* ---- DIMMs (devices/mem/dimm.c) ---- */
guint64  dimm_size(Device *dimm);
guint    dimm_slot(Device *dimm);
Device  *dimm_backend(Device *dimm);
/* Host address of [gpa, gpa + len) of laid out base RAM below 4 GiB, shown there or hidden by firmware's area; NULL: there is no
 * module that has all of it. */
guint8  *mem_base_ptr(DeviceSet *set, guint64 gpa, guint64 len);
/* Whether it is device memory (plugged after the first cont, or placed there); else it is base RAM. */
gboolean dimm_is_device_memory(Device *dimm);
/* Guest-physical address, or G_MAXUINT64 before the layout. */
guint64  dimm_address(Device *dimm);

/* ---- layout of base RAM, at the first cont ---- */
/* Places all DIMMs of base RAM in slot order, [0, lowmem) and from 4 GiB (docs/design/machine.md "memory"), maps them, and fills the board's
 * layout rows, from which the tables are made. May be repeated, with other modules, until the machine has started. */
gboolean mem_layout_base_ram(DeviceSet *set, GError **error);
/* It did not start after all: modules are nowhere again, and neither an address nor the layout is recorded. */
void     mem_layout_undo(DeviceSet *set);

/* The map as firmware and kernels learn it: e820 entries in address order. */
typedef enum { E820_RAM = 1, E820_RESERVED = 2, E820_ACPI = 3, E820_NVS = 4 } E820Type;
typedef struct { guint64 addr, len; guint32 type; } E820Entry;
GArray  *mem_e820(DeviceSet *set); /* of E820Entry */
guint64  mem_total(DeviceSet *set); /* all DIMMs of base RAM together, laid out or not */
guint64  mem_plugged(DeviceSet *set); /* all DIMMs of device memory together */
/* The DIMM of device memory in SLOT, or NULL. */
Device  *mem_device_dimm(DeviceSet *set, guint slot);
guint64  mem_below_4g(DeviceSet *set);
guint64  mem_above_4g(DeviceSet *set);

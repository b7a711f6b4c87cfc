/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * board.h - the board and its parts, as other devices see them. See docs/design/machine.md.
 *
 * Parts (each a Device of its own with its lock and state rows; configuration is the board's rows):
 *   q35-host-bridge, ICH9-LPC (PM block, PIRQ, reset port), mc146818rtc, fw_cfg, acpi-cpu-hotplug,
 *   acpi-mem-hotplug, acpi-pci-hotplug
 */
#pragma once

#include "../core/device.h"
#include "../../schema/generated/devices.h"

const BoardConfig *board_config(DeviceSet *set); /* NULL without a board */

/* ---- memory layout (devices/platform/board-resolve.c). Until it is committed the rows lowmem,
 * device-memory-base and pci-hole64-base may be unset; BASE_RAM is the size of all base RAM
 * together. [main] ---- */
/* RAM below 4 GiB at most: the row, or what it will be. */
guint64  board_lowmem(DeviceSet *set, guint64 base_ram);
/* Whether BASE_RAM, device memory and the windows fit below max-memory and phys-bits, and do not
 * overlap. Changes nothing. */
gboolean board_layout_check(DeviceSet *set, guint64 base_ram, GError **error);
/* The machine starts, after a successful check: fills those of the three rows that nobody gave. */
void     board_layout_commit(DeviceSet *set, guint64 base_ram);

/* ---- fw_cfg (devices/platform/fw-cfg.c): QEMU's documented interface ---- */

/* Adds or replaces a file; takes a reference. Machine paused (tables are built at power-on).
 * Files keep their selector key over replacements. */
void fw_cfg_set_file(DeviceSet *set, const char *name, GBytes *content);
void fw_cfg_set_key(DeviceSet *set, guint16 key, GBytes *content);
GBytes *fw_cfg_get_file(DeviceSet *set, const char *name);

/* ---- firmware's area 0xc0000-0xfffff (devices/platform/host-bridge.c, shadow.c). [main] ---- */

/* There is firmware with this image (NULL: none any more), SIZE a multiple of 64 KiB: from the next
 * power-on the area is ruled by PAM, with the end of the image beneath. Before the layout of base
 * RAM; ROM is not owned. */
void     board_set_rom(DeviceSet *set, guint8 *rom, guint64 size);
/* Base RAM leaves that area to the host bridge. */
gboolean board_has_rom(DeviceSet *set);
/* Base RAM goes: nothing is mapped there until the next power-on. */
void     board_shadow_unmap(DeviceSet *set);

/* ---- PM block (devices/platform/lpc.c) ---- */

/* Raises or clears a GPE0 status bit; the SCI follows the enable bits. [any] */
void pm_gpe_set(DeviceSet *set, guint bit);
/* The same for what was plugged: at the end of the bracket (device_plug_begin()), all bits of it together, so that there is one interrupt. Main thread. */
void pm_gpe_plugged(DeviceSet *set, guint bit);
/* Presses the power button: PM1_STS.PWRBTN and SCI. [any] */
void pm_power_button(DeviceSet *set);
guint16 pm_base(DeviceSet *set);

/* ---- PCI (devices/pci/bus.h has the bus itself) ---- */
guint64 pci_ecam_base(DeviceSet *set);

/* ---- ACPI and SMBIOS (devices/acpi): built at power-on from the set ---- */

/* One blob of tables as fw_cfg's etc/acpi/tables with the pointers and checksums that its
 * etc/table-loader script patches; the linux-loader patches them itself. */
typedef struct {
    guint32 offset; /* of a little-endian pointer of SIZE bytes, an offset into the tables blob */
    guint8  size;
} AcpiPointer;

typedef struct {
    guint32 start, length, checksum; /* a table within the blob; where its checksum byte is */
} AcpiTable;

typedef struct {
    GByteArray *blob;     /* tables, pointers still offsets, checksums over that content */
    GArray     *pointers; /* of AcpiPointer */
    GArray     *tables;   /* of AcpiTable */
    guint32     rsdt;     /* offset of the RSDT */
    guint32     xsdt;     /* offset of the XSDT */
    guint8      rsdp[36]; /* revision 2; RsdtAddress and XsdtAddress hold the offsets until installed */
} AcpiTables;

AcpiTables *acpi_build(DeviceSet *set);
void        acpi_tables_free(AcpiTables *t);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AcpiTables, acpi_tables_free)
/* Rebases the blob to guest-physical BASE: pointers and checksums final. Call once. */
void        acpi_relocate(AcpiTables *t, guint64 base);
/* Publishes etc/acpi/rsdp, etc/acpi/tables and etc/table-loader in fw_cfg. Returns the tables, not relocated. */
AcpiTables *acpi_publish_fw_cfg(DeviceSet *set);
/* What the board published at this power-on, for the one that starts the guest without firmware; owned. Once. */
AcpiTables *board_take_tables(DeviceSet *set);

/* MP 1.4: the configuration table, and the floating pointer for a table at TABLE. */
GByteArray *mp_table_build(DeviceSet *set);
void        mp_floating_pointer(guint32 table, guint8 out[16]);

/* SMBIOS 3: structure table, and the anchor for a table at ADDRESS. */
GByteArray *smbios_build_tables(DeviceSet *set);
void        smbios_anchor(guint64 address, gsize table_len, guint8 out[24]);
void        smbios_publish_fw_cfg(DeviceSet *set);

/* The board's abi hook: one leaf a table, "acpi:FACP" ..., over the bytes before relocation, and
 * "smbios". */
void        acpi_abi(Device *board, AbiSink *sink);

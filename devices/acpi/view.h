/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * view.h - the machine as its tables describe it: the board's rows and a few lists gathered from the plugged devices
 * (view.c), so that the builders are pure functions which tests call without a machine.
 */
#pragma once

#include "../platform/board.h"

typedef struct {
    guint32  apic_id;
    gboolean plugged;
    guint32  signature, features; /* CPUID leaf 1 EAX and EDX of a plugged CPU */
} AcpiCpu;

typedef struct {
    guint8  index; /* 0: COM1 */
    guint16 iobase;
    guint8  irq;
} AcpiSerial;

typedef struct {
    guint64 size;
    guint   slot;
} AcpiDimm;

/* A PCI slot that ACPI controls: its number (pci/hotplug.h), and what people know it by. */
typedef struct {
    guint16 number;
    guint32 sun;
} AcpiPciSlot;

#define ACPI_MAX_SERIAL 4

typedef struct {
    const BoardConfig *board;                 /* not owned */
    guint64            below_4g, above_4g;    /* base RAM at 0 and at 4 GiB */
    guint64            device_memory;         /* start of the region for memory plugged later; 0: no such region */
    guint64            pci64, pci64_len;      /* 64-bit PCI window; length 0: none */
    guint8             last_bus;              /* highest PCI bus there can be: 0 as long as there are no bridges */
    GArray            *cpus;                  /* AcpiCpu, one a slot in index order */
    GArray            *dimms;                 /* AcpiDimm, by slot */
    GArray            *pci_slots;             /* AcpiPciSlot of those that can be emptied or filled, by number */
    guint              n_serial;
    AcpiSerial         serial[ACPI_MAX_SERIAL]; /* by index */
} AcpiView;

AcpiView *acpi_view_new(DeviceSet *set);
void      acpi_view_free(AcpiView *v);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AcpiView, acpi_view_free)

/* Fills in device_memory, pci64 and pci64_len from the board's rows and the RAM above 4 GiB. A row that is not set yet (they are
 * recorded at the first cont) is computed as its documentation says. */
void      acpi_view_place(AcpiView *v, const PropBag *board);

/* ---- the builders (tables.c, dsdt.c, smbios.c) ---- */

AcpiTables *acpi_build_view(const AcpiView *v);
/* The MADT entry of a CPU (5.2.12.2, 5.2.12.12) into OUT; returns its length. */
enum { MADT_ENABLED = 1, MADT_ONLINE_CAPABLE = 2 };
guint       acpi_madt_cpu(guint8 out[16], guint32 uid, guint32 apic_id, guint32 flags);
/* Appends the DSDT's AML, without its header. */
void        acpi_dsdt_body(const AcpiView *v, GByteArray *out);
/* dsdt-hotplug.c: the part of it by which things come and go. */
struct Aml;
void        acpi_dsdt_hotplug(struct Aml *a, const AcpiView *v);
/* dsdt-slots.c: the objects of PCI slots, and \_SB.PCI0.PSCN, which the handler of their event calls; nothing without slots. */
void        acpi_dsdt_slots(struct Aml *a, const AcpiView *v);
/* The linker-loader script (fw_cfg etc/table-loader) for T, which is not yet relocated; T's blob and RSDP as firmware has
 * to find them: checksum bytes zero. */
GByteArray *acpi_loader_script(AcpiTables *t);
GByteArray *smbios_build_view(const AcpiView *v);
GByteArray *mp_table_build_view(const AcpiView *v);

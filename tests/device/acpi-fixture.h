/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* acpi-fixture.h - a board's rows and a view of a machine, made by hand, for the tests of tables and SMBIOS. */
#pragma once

#include "devices/acpi/view.h"

#define MIB(n) ((guint64)(n) << 20)
#define GIB(n) ((guint64)(n) << 30)

typedef struct {
    PropBag *bag; /* of the board */
    AcpiView view;
} Fixture;

static inline void fixture_board(Fixture *f, guint max_cpus, guint sockets)
{
    f->bag = prop_bag_new(&board_table);
    prop_bag_apply_defaults(f->bag);
    prop_bag_set_u(f->bag, "max-cpus", max_cpus, ORIGIN_CONFIG);
    prop_bag_set_u(f->bag, "cpu-sockets", sockets, ORIGIN_CONFIG);
    prop_bag_set_u(f->bag, "cpu-dies", 1, ORIGIN_DEFAULT);
    prop_bag_set_u(f->bag, "cpu-cores", max_cpus / sockets, ORIGIN_DEFAULT);
    prop_bag_set_u(f->bag, "cpu-threads", 1, ORIGIN_DEFAULT);
    prop_bag_set_u(f->bag, "phys-bits", 40, ORIGIN_CONFIG);
    prop_bag_set_u(f->bag, "lowmem", MIB(2816), ORIGIN_DEFAULT);
    f->view.board = f->bag->config;
}

/* CPUs 0 to PLUGGED-1 are there; APIC ids are the indexes. */
static inline void fixture_cpus(Fixture *f, guint plugged)
{
    f->view.cpus = g_array_new(FALSE, FALSE, sizeof(AcpiCpu));
    for (guint i = 0; i < f->view.board->max_cpus; i++) {
        AcpiCpu cpu = {.apic_id = i, .plugged = i < plugged};

        g_array_append_val(f->view.cpus, cpu);
    }
}

/* RAM in one DIMM; MAX as the board's max-memory. */
static inline void fixture_memory(Fixture *f, guint64 ram, guint64 max)
{
    AcpiDimm dimm = {.size = ram, .slot = 0};

    f->view.below_4g = MIN(ram, MIB(2816));
    f->view.above_4g = ram - f->view.below_4g;
    f->view.dimms = g_array_new(FALSE, FALSE, sizeof(AcpiDimm));
    g_array_append_val(f->view.dimms, dimm);
    prop_bag_set_u(f->bag, "max-memory", max, ORIGIN_CONFIG);
    acpi_view_place(&f->view, f->bag);
}

/* PCI slots A to B. */
static inline void fixture_slots(Fixture *f, guint a, guint b)
{
    for (guint n = a; n <= b; n++) {
        AcpiPciSlot slot = {.number = n, .sun = n};

        g_array_append_val(f->view.pci_slots, slot);
    }
}

static inline void fixture_init(Fixture *f, guint max_cpus, guint plugged, guint64 ram, guint64 max_ram)
{
    memset(f, 0, sizeof *f);
    fixture_board(f, max_cpus, 1);
    fixture_cpus(f, plugged);
    f->view.pci_slots = g_array_new(FALSE, FALSE, sizeof(AcpiPciSlot));
    fixture_memory(f, ram, max_ram);
}

static inline void fixture_clear(Fixture *f)
{
    g_clear_pointer(&f->view.cpus, g_array_unref);
    g_clear_pointer(&f->view.dimms, g_array_unref);
    g_clear_pointer(&f->view.pci_slots, g_array_unref);
    g_clear_pointer(&f->bag, prop_bag_free);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Fixture, fixture_clear)

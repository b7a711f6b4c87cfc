/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * view.c - gathers from the devices what the tables say, and publishes what the builders make of it.
 *
 * Tables must come out the same for the same configuration in whatever order it was plugged, so lists are sorted by what the
 * guest sees: CPUs by slot, serial ports by index, modules by slot. A device that is on its way out is still there.
 */
#include "view.h"

#include "../../common/util.h"
#include "../cpu/cpu.h"
#include "../mem/memory-backend.h"
#include "../pci/hotplug.h"
#include "pci-hotplug.h"

#define ECAM_PER_BUS (1u << 20)

/* ---- gathering ---- */

static void gather_cpus(DeviceSet *set, AcpiView *v)
{
    guint n = cpu_slots_count(set);

    v->cpus = g_array_sized_new(FALSE, FALSE, sizeof(AcpiCpu), n);
    for (guint i = 0; i < n; i++) {
        CpuSlot slot;

        cpu_slot_get(set, i, &slot);
        AcpiCpu cpu = {.apic_id = slot.apic_id, .plugged = slot.cpu != NULL};
        if (slot.cpu) {
            cpu.signature = DEVICE_CONFIG(slot.cpu, X86CpuConfig)->signature;
            cpu.features = DEVICE_CONFIG(slot.cpu, X86CpuConfig)->feat_1_edx;
        }
        g_array_append_val(v->cpus, cpu);
    }
}

static void gather_slots(DeviceSet *set, AcpiView *v)
{
    v->pci_slots = g_array_new(FALSE, FALSE, sizeof(AcpiPciSlot));
    for (guint n = 0; n < PCI_HOTPLUG_SLOTS; n++) {
        PciSlot slot;

        if (pci_slot_by_number(set, n, &slot) && pci_slot_is_removable(&slot)) {
            AcpiPciSlot s = {.number = n, .sun = pci_slot_sun(&slot)};

            g_array_append_val(v->pci_slots, s);
        }
    }
}

static gint by_slot(gconstpointer a, gconstpointer b)
{
    return (gint)((const AcpiDimm *)a)->slot - (gint)((const AcpiDimm *)b)->slot;
}

static gint by_index(gconstpointer a, gconstpointer b)
{
    return (gint)((const AcpiSerial *)a)->index - (gint)((const AcpiSerial *)b)->index;
}

static void add_serial(AcpiView *v, const Device *dev)
{
    const IsaSerialConfig *config = DEVICE_CONFIG(dev, IsaSerialConfig);

    g_assert(v->n_serial < ACPI_MAX_SERIAL); /* each has an index of its own, 0 to 3 */
    v->serial[v->n_serial++] = (AcpiSerial){.index = config->index, .iobase = config->iobase, .irq = config->irq};
}

static gboolean gather_device(Device *dev, gpointer view)
{
    AcpiView *v = view;

    if (device_plug(dev) == PLUG_MEMORY) {
        AcpiDimm dimm = {.size = dimm_size(dev), .slot = dimm_slot(dev)};

        g_array_append_val(v->dimms, dimm);
    } else if (g_str_equal(dev->type->name, "isa-serial")) {
        add_serial(v, dev);
    } else if (g_str_equal(dev->type->name, "pcie-root-port")) {
        v->last_bus = (guint8)(v->board->ecam_size / ECAM_PER_BUS - 1);
    }
    return TRUE;
}

AcpiView *acpi_view_new(DeviceSet *set)
{
    AcpiView *v = g_new0(AcpiView, 1);

    v->board = board_config(set);
    g_assert(v->board);
    v->below_4g = mem_below_4g(set);
    v->above_4g = mem_above_4g(set);
    acpi_view_place(v, device_set_board(set)->bag);
    v->dimms = g_array_new(FALSE, FALSE, sizeof(AcpiDimm));
    gather_cpus(set, v);
    gather_slots(set, v);
    device_set_foreach(set, gather_device, v);
    g_array_sort(v->dimms, by_slot);
    qsort(v->serial, v->n_serial, sizeof v->serial[0], by_index);
    return v;
}

void acpi_view_free(AcpiView *v)
{
    g_array_unref(v->cpus);
    g_array_unref(v->dimms);
    g_array_unref(v->pci_slots);
    g_free(v);
}

/* ---- publishing ---- */

AcpiTables *acpi_build(DeviceSet *set)
{
    g_autoptr(AcpiView) v = acpi_view_new(set);

    return acpi_build_view(v);
}

static void publish(DeviceSet *set, const char *name, const void *bytes, gsize len)
{
    g_autoptr(GBytes) content = g_bytes_new(bytes, len);

    fw_cfg_set_file(set, name, content);
}

AcpiTables *acpi_publish_fw_cfg(DeviceSet *set)
{
    g_autoptr(AcpiTables) t = acpi_build(set);
    g_autoptr(GByteArray) script = acpi_loader_script(t); /* also clears the checksums */

    publish(set, "etc/acpi/tables", t->blob->data, t->blob->len);
    publish(set, "etc/acpi/rsdp", t->rsdp, sizeof t->rsdp);
    publish(set, "etc/table-loader", script->data, script->len);
    return g_steal_pointer(&t);
}

GByteArray *smbios_build_tables(DeviceSet *set)
{
    g_autoptr(AcpiView) v = acpi_view_new(set);

    return smbios_build_view(v);
}

/* Firmware puts the table's address into the anchor. */
void smbios_publish_fw_cfg(DeviceSet *set)
{
    g_autoptr(GByteArray) tables = smbios_build_tables(set);
    guint8 anchor[24];

    smbios_anchor(0, tables->len, anchor);
    publish(set, "etc/smbios/smbios-tables", tables->data, tables->len);
    publish(set, "etc/smbios/smbios-anchor", anchor, sizeof anchor);
}

void acpi_abi(Device *board, AbiSink *sink)
{
    g_autoptr(AcpiTables) t = acpi_build(board->set);
    g_autoptr(GByteArray) smbios = smbios_build_tables(board->set);

    for (guint i = 0; i < t->tables->len; i++) {
        const AcpiTable *table = &g_array_index(t->tables, AcpiTable, i);
        const guint8 *bytes = t->blob->data + table->start;
        g_autofree char *name = g_strdup_printf("acpi:%.4s", (const char *)bytes);

        abi_leaf(sink, name, bytes, table->length, NULL);
    }
    abi_leaf(sink, "acpi:RSDP", t->rsdp, sizeof t->rsdp, NULL);
    abi_leaf(sink, "smbios", smbios->data, smbios->len, NULL);
}

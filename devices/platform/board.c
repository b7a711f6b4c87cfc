/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * board.c - the board: a device like others whose properties are everything about the chipset,
 * the tables and the memory layout.
 *
 * It has no registers itself; its parts have (each a Device with its lock and state rows), and
 * they read the board's rows. Order of the parts counts: the host bridge makes the PCI bus that
 * the LPC bridge plugs into. At power-on the parts run first, then the board publishes the
 * tables, when CPU slots and memory are known.
 */
#include "../mem/memory-backend.h"
#include "parts.h"

typedef struct {
    Device dev;
    AcpiTables *tables; /* this power-on's, until the linux-loader takes them */
} Board;

const BoardConfig *board_config(DeviceSet *set)
{
    const Device *board = device_set_board(set);
    return board ? DEVICE_CONFIG(board, BoardConfig) : NULL;
}

void board_guest_reset(DeviceSet *set)
{
    gpointer user;
    const DeviceObserver *observer = device_set_observer(set, &user);

    vm_hold(device_set_vm(set));
    if (observer && observer->guest_reset)
        observer->guest_reset(user);
}

void board_guest_shutdown(DeviceSet *set)
{
    gpointer user;
    const DeviceObserver *observer = device_set_observer(set, &user);

    vm_hold(device_set_vm(set));
    if (observer && observer->guest_shutdown)
        observer->guest_shutdown(user);
}

/* On failure the core frees the parts that are there. */
static gboolean realize(Device *dev, GError **error)
{
    static const char *const parts[] = { PART_HOST_BRIDGE, PART_LPC, PART_RTC, PART_FW_CFG,
                                         PART_CPU_HOTPLUG, PART_MEM_HOTPLUG, PART_PCI_HOTPLUG };

    for (guint i = 0; i < G_N_ELEMENTS(parts); i++) {
        if (!device_part_new(dev, parts[i], error))
            return FALSE;
    }
    return TRUE;
}

static gboolean power_on(Device *dev, GError **error)
{
    Board *b = (Board *)dev;

    g_clear_pointer(&b->tables, acpi_tables_free);
    b->tables = acpi_publish_fw_cfg(dev->set);
    smbios_publish_fw_cfg(dev->set);
    return TRUE;
}

AcpiTables *board_take_tables(DeviceSet *set)
{
    return g_steal_pointer(&((Board *)device_set_board(set))->tables);
}

static void unrealize(Device *dev)
{
    g_clear_pointer(&((Board *)dev)->tables, acpi_tables_free);
}

static void abi(Device *dev, AbiSink *sink)
{
    g_autoptr(GArray) map = mem_e820(dev->set);
    g_autoptr(GByteArray) bytes = g_byte_array_new();

    for (guint i = 0; i < map->len; i++) {
        const E820Entry *e = &g_array_index(map, E820Entry, i);
        guint8 raw[20];
        le64_put(raw, e->addr);
        le64_put(raw + 8, e->len);
        le32_put(raw + 16, e->type);
        g_byte_array_append(bytes, raw, sizeof raw);
    }
    abi_leaf(sink, "memory-map", bytes->data, bytes->len, NULL);
    acpi_abi(dev, sink);
}

static const DeviceOps board_ops = {
    .resolve = board_resolve,
    .host_check = board_resolve_memory,
    .realize = realize,
    .power_on = power_on,
    .unrealize = unrealize,
    .abi = abi,
};

const DeviceType board_type = {
    .name = "board",
    .size = sizeof(Board),
    .ops = &board_ops,
    .state = state_none,
};

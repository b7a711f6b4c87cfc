/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * boot-order.c - which devices firmware tries to start from, and in what order.
 *
 * A type that firmware can start from has the row "bootindex" (type bootindex in the schema): lowest first, and a device
 * without a value has no place. Places are claimed in realize, so that two devices with one index are found when the second
 * is plugged. What the list names is a device's path as firmware knows it, in the manner of IEEE 1275.
 */
#include "abi.h"
#include "set.h"

static guint32 index_of(const Device *dev)
{
    return (guint32)prop_bag_get_u(dev->bag, (guint)prop_table_row(dev->bag->table, BOOTINDEX));
}

/* HOLDER has its index only because it had it once, and DEV is configured to have it: configuration wins. */
static gboolean gives_way(Device *holder, const Device *dev)
{
    guint row = (guint)prop_table_row(holder->bag->table, BOOTINDEX);

    if (prop_bag_origin(dev->bag, BOOTINDEX) != ORIGIN_CONFIG || holder->bag->origin[row] == ORIGIN_CONFIG)
        return FALSE;
    g_message("device '%s' has bootindex %u now, which was remembered for '%s'", dev->id, index_of(dev), holder->id);
    prop_bag_unset(holder->bag, row);
    abi_invalidate(holder);
    device_release_boot(holder);
    return TRUE;
}

gboolean device_claim_boot(Device *dev, const char *of_path, GError **error)
{
    GArray *places = dev->set->boot;

    if (!prop_bag_is_set(dev->bag, BOOTINDEX))
        return TRUE;
    for (guint i = 0; i < places->len; i++) {
        const BootPlace *place = &g_array_index(places, BootPlace, i);

        if (place->index == index_of(dev) && gives_way(place->dev, dev))
            break;
        if (place->index == index_of(dev))
            return error_set(error, "Property '" BOOTINDEX "' of device '%s': %u is that of device '%s' already", dev->id,
                             place->index, place->dev->id);
    }
    g_array_append_vals(places, &(BootPlace){ .dev = dev, .index = index_of(dev), .path = g_strdup(of_path) }, 1);
    return TRUE;
}

void device_release_boot(Device *dev)
{
    GArray *places = dev->set->boot;

    for (guint i = places->len; i > 0; i--) {
        if (g_array_index(places, BootPlace, i - 1).dev == dev)
            g_array_remove_index(places, i - 1);
    }
}

void boot_place_clear(gpointer place)
{
    g_free(((BootPlace *)place)->path);
}

static gint by_index(gconstpointer a, gconstpointer b)
{
    const BootPlace *x = a, *y = b;

    return x->index < y->index ? -1 : x->index > y->index;
}

GPtrArray *device_set_boot_order(DeviceSet *set)
{
    GPtrArray *paths = g_ptr_array_new_with_free_func(g_free);

    g_array_sort(set->boot, by_index);
    for (guint i = 0; i < set->boot->len; i++) {
        const BootPlace *place = &g_array_index(set->boot, BootPlace, i);

        if (place->dev->state == DEVICE_PUBLISHED || place->dev->state == DEVICE_UNPLUG_PENDING)
            g_ptr_array_add(paths, g_strdup(place->path));
    }
    return paths;
}

char *boot_path_pci(const guint8 *devfns, guint n, const char *node, const char *tail)
{
    GString *path = g_string_new("/pci@i0cf8");

    for (guint i = 0; i < n; i++) {
        guint slot = devfns[i] >> 3, function = devfns[i] & 7;

        g_string_append_printf(path, "/%s@%x", i + 1 < n ? "pci-bridge" : node, slot);
        if (function)
            g_string_append_printf(path, ",%x", function);
    }
    if (tail)
        g_string_append_printf(path, "/%s", tail);
    return g_string_free(path, FALSE);
}

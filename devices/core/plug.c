/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * plug.c - the way of a device in and out: NEW -> CONFIGURED -> REALIZED -> PUBLISHED -> UNPUBLISHED -> gone.
 *
 * Everything that can fail happens before the first effect that a guest could see: realize is the last hook that may
 * fail, publish can not. So several devices are plugged at once by realizing all of them and then publishing all,
 * and undone by rolling back what was realized. device_destroy() takes a device back from whatever state it is in; the
 * state field says what there is to undo.
 *
 * Property resolution has one place, device_resolve() (resolve.c): docs/design/compat-hints.md section 1.
 */
#include "abi.h"
#include "record.h"
#include "set.h"

const StateDesc state_none[] = { STATE_END };

static const char *const ns_names[] = { [NS_DEVICE] = "device", [NS_OBJECT] = "object", [NS_CHARDEV] = "chardev" };

DeviceNs device_ns(const Device *dev)
{
    switch (device_plug(dev)) {
    case PLUG_OBJECT:
        return NS_OBJECT;
    case PLUG_CHARDEV:
        return NS_CHARDEV;
    default:
        return NS_DEVICE;
    }
}

PlugKind device_plug(const Device *dev)
{
    return dev->bag ? dev->bag->table->plug : PLUG_BOARD;
}

const DeviceType *device_type_find(const char *name)
{
    for (guint i = 0; device_types[i]; i++) {
        if (strcmp(device_types[i]->name, name) == 0)
            return device_types[i];
    }
    return NULL;
}

/* ---- life of an instance ---- */

static Device *device_new(DeviceSet *set, const DeviceType *type)
{
    Device *dev = g_malloc0(type->size);

    dev->type = type;
    dev->set = set;
    dev->seq = set->next_seq++;
    g_mutex_init(&dev->lock);
    return dev;
}

static void device_free(Device *dev)
{
    device_release_claims(dev);
    device_release_links(dev);
    device_release_boot(dev);
    abi_invalidate(dev);
    g_mutex_clear(&dev->lock);
    if (dev->remembered)
        device_remember(dev);
    prop_bag_free(dev->bag);
    g_free(dev->id);
    g_free(dev);
}

static Device *last_part_of(DeviceSet *set, const Device *parent)
{
    for (guint i = set->parts->len; i > 0; i--) {
        Device *part = g_ptr_array_index(set->parts, i - 1);
        if (part->parent == parent)
            return part;
    }
    return NULL;
}

static void unpublish(Device *dev)
{
    if (dev->state != DEVICE_PUBLISHED && dev->state != DEVICE_UNPLUG_PENDING)
        return;
    if (dev->type->ops->unpublish)
        dev->type->ops->unpublish(dev);
    dev->state = DEVICE_UNPUBLISHED;
}

void device_part_free(Device *part)
{
    unpublish(part);
    if (part->type->ops->unrealize)
        part->type->ops->unrealize(part);
    g_ptr_array_remove(part->set->parts, part);
    device_free(part);
}

/* DRIVER.N is free again: the next device without an id may take it. */
static void release_auto_id(DeviceSet *set, const char *id)
{
    const char *dot = strrchr(id, '.');
    guint64 n;

    if (!dot || !g_ascii_string_to_unsigned(dot + 1, 10, 0, G_MAXINT, &n, NULL))
        return;
    g_autofree char *type = g_strndup(id, (gsize)(dot - id));
    if (n < GPOINTER_TO_UINT(g_hash_table_lookup(set->next_auto, type)))
        g_hash_table_insert(set->next_auto, g_steal_pointer(&type), GUINT_TO_POINTER((guint)n));
}

static void release_id(Device *dev)
{
    GHashTable *ids = dev->set->by_id[device_ns(dev)];

    if (!dev->id || g_hash_table_lookup(ids, dev->id) != dev)
        return;
    g_hash_table_remove(ids, dev->id);
    release_auto_id(dev->set, dev->id);
}

/* Those that go are often the last that came. */
static void forget(GPtrArray *devices, const Device *dev)
{
    for (guint i = devices->len; i > 0; i--) {
        if (g_ptr_array_index(devices, i - 1) == dev) {
            g_ptr_array_remove_index(devices, i - 1);
            return;
        }
    }
}

void device_destroy(Device *dev)
{
    DeviceSet *set = dev->set;
    Device *part;

    device_unplug_drop(dev);
    for (guint i = set->parts->len; i > 0; i--) {
        part = g_ptr_array_index(set->parts, i - 1);
        if (part->parent == dev)
            unpublish(part);
    }
    unpublish(dev);
    while ((part = last_part_of(set, dev)))
        device_part_free(part);
    if (dev->state >= DEVICE_CONFIGURED && dev->type->ops->unrealize)
        dev->type->ops->unrealize(dev);
    forget(set->devices, dev);
    release_id(dev);
    if (set->board == dev)
        set->board = NULL;
    else if (set->board)
        abi_invalidate(set->board);
    device_free(dev);
}

Device *device_part_new(Device *parent, const char *type_name, GError **error)
{
    const DeviceType *type = device_type_find(type_name);

    g_assert(type);
    Device *part = device_new(parent->set, type);
    part->parent = parent;
    part->id = g_strdup_printf("%s/%s", parent->id, type_name);
    part->state = DEVICE_CONFIGURED;
    g_ptr_array_add(parent->set->parts, part);
    if (type->ops->realize && !type->ops->realize(part, error)) {
        device_part_free(part);
        return NULL;
    }
    part->state = DEVICE_REALIZED;
    return part;
}

/* ---- plug ---- */

static gboolean has_instance(DeviceSet *set, const PropTable *table)
{
    for (guint i = 0; i < set->devices->len; i++) {
        const Device *dev = g_ptr_array_index(set->devices, i);
        if (dev->bag->table == table)
            return TRUE;
    }
    return FALSE;
}

static gboolean check_pluggable(DeviceSet *set, const PropTable *table, GError **error)
{
    gboolean host_side = table->plug == PLUG_OBJECT || table->plug == PLUG_CHARDEV;

    if (set->started && !host_side && !(table->flags & TYPE_HOTPLUG))
        return error_set(error,
                         "Device type '%s' does not support hotplugging: it is plugged before the first 'cont', and "
                         "the machine has started",
                         table->name);
    if ((table->flags & TYPE_SINGLETON) && has_instance(set, table))
        return error_set(error, "Device type '%s' can be plugged once, and there is one already", table->name);
    if (!host_side && table->plug != PLUG_BOARD && !set->board)
        return error_set(error, "Device type '%s' needs a board, and there is none", table->name);
    return TRUE;
}

/* DRIVER.N with the lowest N that is free. The search starts where the last one ended, or a thousand CPUs would take a million steps. */
static char *auto_id(Device *dev)
{
    GHashTable *ids = dev->set->by_id[device_ns(dev)], *next = dev->set->next_auto;
    const char *type = prop_table_first_name(dev->bag->table); /* an id is for ever */
    guint n = GPOINTER_TO_UINT(g_hash_table_lookup(next, type));
    char *id = g_strdup_printf("%s.%u", type, n);

    while (g_hash_table_contains(ids, id)) {
        g_free(id);
        id = g_strdup_printf("%s.%u", type, ++n);
    }
    g_hash_table_insert(next, g_strdup(type), GUINT_TO_POINTER(n + 1));
    return id;
}

static gboolean claim_id(Device *dev, GError **error)
{
    GHashTable *ids = dev->set->by_id[device_ns(dev)];

    dev->id_given = dev->bag->id != NULL;
    if (dev->id_given) {
        if (g_hash_table_contains(ids, dev->bag->id))
            return error_set(error, "Duplicate %s ID '%s'", ns_names[device_ns(dev)], dev->bag->id);
        dev->id = g_strdup(dev->bag->id);
    } else {
        dev->id = auto_id(dev);
    }
    g_hash_table_insert(ids, dev->id, dev);
    return TRUE;
}

Device *device_plug_realize(DeviceSet *set, PropBag *taken, GError **error)
{
    g_autoptr(PropBag) bag = taken;
    const PropTable *table = bag->table;
    const DeviceType *type = device_type_find(table->name);

    g_assert(type); /* a schema file without a line in types.c */
    if (!check_pluggable(set, table, error))
        return NULL;
    Device *dev = device_new(set, type);
    dev->bag = g_steal_pointer(&bag);
    if (!claim_id(dev, error))
        goto fail;
    if (table->plug == PLUG_BOARD)
        set->board = dev;
    if (!device_resolve(dev, error) || (type->ops->realize && !type->ops->realize(dev, error)))
        goto fail;
    dev->state = DEVICE_REALIZED;
    g_ptr_array_add(set->devices, dev);
    return dev;
fail:
    device_destroy(dev);
    return NULL;
}

static void publish(Device *dev)
{
    g_assert(dev->state == DEVICE_REALIZED);
    dev->state = DEVICE_PUBLISHED;
    if (dev->type->ops->publish)
        dev->type->ops->publish(dev);
}

void device_plug_publish(Device *dev)
{
    DeviceSet *set = dev->set;

    device_places_taken(dev);
    publish(dev);
    for (guint i = 0; i < set->parts->len; i++) {
        Device *part = g_ptr_array_index(set->parts, i);
        if (part->parent == dev)
            publish(part);
    }
    if (set->board)
        abi_invalidate(set->board);
}

void device_plug_rollback(Device *dev)
{
    g_assert(dev->state == DEVICE_REALIZED);
    device_destroy(dev);
}

/* ---- removal ---- */

static gboolean board_in_use(const Device *board, GError **error)
{
    for (guint i = 0; i < board->set->devices->len; i++) {
        const Device *dev = g_ptr_array_index(board->set->devices, i);
        if (dev != board && device_ns(dev) == NS_DEVICE)
            return error_set(error, "Device '%s' is the board, and device '%s' is plugged into it", board->id, dev->id);
    }
    return TRUE;
}

gboolean device_removable(const Device *dev, GError **error)
{
    const PropTable *table = dev->bag->table;
    const Device *user = device_used_by(dev);

    if (user)
        return error_set(error, "The %s '%s' is in use by device '%s'", ns_names[device_ns(dev)], dev->id, user->id);
    if (dev->set->started && device_ns(dev) == NS_DEVICE && !(table->flags & TYPE_HOT_UNPLUG))
        return error_set(error, "Device '%s' of type '%s' does not support hot unplug, and the machine has started",
                         dev->id, table->name);
    return dev != dev->set->board || board_in_use(dev, error);
}

gboolean device_remove(Device *dev, GError **error)
{
    if (!device_removable(dev, error))
        return FALSE;
    device_destroy(dev);
    return TRUE;
}

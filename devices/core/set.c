/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * set.c - all devices of one machine: lookup, order, and what is done to all of them at once.
 *
 * Order matters twice. Reset and quiesce go in plug order, parts of the board right after the board. Power-on goes
 * by PlugKind, so that tables are built when every device has been reset and loaders run last, when the tables are there.
 */
#include "set.h"

#include "abi.h"
#include "record.h"

DeviceSet *device_set_new(Vm *vm, const DeviceObserver *observer, gpointer user)
{
    DeviceSet *set = g_new0(DeviceSet, 1);

    set->vm = vm;
    set->observer = observer;
    set->user = user;
    for (guint i = 0; i < G_N_ELEMENTS(set->by_id); i++)
        set->by_id[i] = g_hash_table_new(g_str_hash, g_str_equal);
    set->next_auto = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    set->devices = g_ptr_array_new();
    set->parts = g_ptr_array_new();
    set->claims = g_array_new(FALSE, FALSE, sizeof(Claim));
    set->links = g_array_new(FALSE, FALSE, sizeof(Link));
    set->boot = g_array_new(FALSE, FALSE, sizeof(BootPlace));
    set->settle = g_array_new(FALSE, FALSE, sizeof(Settle));
    g_array_set_clear_func(set->boot, boot_place_clear);
    set->records = device_records_new();
    set->reserved = device_places_new();
    set->expected = device_places_new();
    return set;
}

void device_set_free(DeviceSet *set)
{
    if (!set)
        return;
    while (set->devices->len)
        device_destroy(g_ptr_array_index(set->devices, set->devices->len - 1));
    for (guint i = 0; i < G_N_ELEMENTS(set->by_id); i++)
        g_hash_table_destroy(set->by_id[i]);
    g_hash_table_destroy(set->next_auto);
    g_ptr_array_free(set->devices, TRUE);
    g_ptr_array_free(set->parts, TRUE);
    g_array_free(set->claims, TRUE);
    g_array_free(set->links, TRUE);
    g_array_free(set->boot, TRUE);
    g_array_free(set->settle, TRUE);
    g_tree_unref(set->reserved);
    g_tree_unref(set->expected);
    g_tree_unref(set->records);
    device_set_baseline(set, NULL, NULL);
    g_free(set);
}

Vm *device_set_vm(const DeviceSet *set)
{
    return set->vm;
}

const DeviceObserver *device_set_observer(const DeviceSet *set, gpointer *user)
{
    *user = set->user;
    return set->observer;
}

void device_set_started(DeviceSet *set)
{
    set->started = TRUE;
}

gboolean device_set_is_started(const DeviceSet *set)
{
    return set->started;
}

/* ---- lookup ---- */

Device *device_set_find(const DeviceSet *set, DeviceNs ns, const char *id)
{
    return g_hash_table_lookup(set->by_id[ns], id);
}

Device *device_set_board(const DeviceSet *set)
{
    return set->board;
}

Device *device_set_part(const DeviceSet *set, const char *type_name)
{
    for (guint i = 0; i < set->parts->len; i++) {
        Device *part = g_ptr_array_index(set->parts, i);
        if (strcmp(part->type->name, type_name) == 0)
            return part;
    }
    return NULL;
}

void device_set_foreach(const DeviceSet *set, gboolean (*fn)(Device *, gpointer), gpointer user)
{
    for (guint i = 0; i < set->devices->len; i++) {
        if (!fn(g_ptr_array_index(set->devices, i), user))
            return;
    }
}

void device_set_foreach_part(const DeviceSet *set, gboolean (*fn)(Device *, gpointer), gpointer user)
{
    for (guint i = 0; i < set->parts->len; i++) {
        if (!fn(g_ptr_array_index(set->parts, i), user))
            return;
    }
}

char *device_path(const Device *dev)
{
    static const char *const roots[] = { [NS_DEVICE] = "/machine/peripheral", [NS_OBJECT] = "/objects",
                                         [NS_CHARDEV] = "/chardevs" };

    if (dev->parent)
        return g_strdup_printf("/machine/unattached/%s", dev->type->name);
    return g_strdup_printf("%s/%s", roots[device_ns(dev)], dev->id);
}

Device *device_set_by_path(const DeviceSet *set, const char *path)
{
    static const struct {
        const char *root;
        DeviceNs    ns;
    } roots[] = { { "/machine/peripheral/", NS_DEVICE }, { "/objects/", NS_OBJECT }, { "/chardevs/", NS_CHARDEV } };

    for (guint i = 0; i < G_N_ELEMENTS(roots); i++) {
        if (g_str_has_prefix(path, roots[i].root))
            return device_set_find(set, roots[i].ns, path + strlen(roots[i].root));
    }
    if (g_str_has_prefix(path, "/machine/unattached/"))
        return device_set_part(set, path + strlen("/machine/unattached/"));
    return NULL;
}

/* ---- all of them at once ---- */

/* Device, then its parts. */
static void foreach_with_parts(DeviceSet *set, void (*fn)(Device *, gpointer), gpointer user)
{
    for (guint i = 0; i < set->devices->len; i++) {
        Device *dev = g_ptr_array_index(set->devices, i);
        fn(dev, user);
        for (guint j = 0; dev == set->board && j < set->parts->len; j++)
            fn(g_ptr_array_index(set->parts, j), user);
    }
}

static void reset_one(Device *dev, gpointer kind)
{
    if (!dev->type->ops->reset)
        return;
    LOCK_SCOPE(&dev->lock);
    dev->type->ops->reset(dev, *(const ResetKind *)kind);
}

void device_set_reset(DeviceSet *set, ResetKind kind)
{
    foreach_with_parts(set, reset_one, &kind);
}

static gboolean power_on_one(Device *dev, GError **error)
{
    return !dev->type->ops->power_on || dev->type->ops->power_on(dev, error);
}

gboolean device_set_power_on(DeviceSet *set, GError **error)
{
    for (guint i = 0; i < set->parts->len; i++) {
        if (!power_on_one(g_ptr_array_index(set->parts, i), error))
            return FALSE;
    }
    for (PlugKind kind = PLUG_BOARD; kind <= PLUG_BOOT; kind++) {
        for (guint i = 0; i < set->devices->len; i++) {
            Device *dev = g_ptr_array_index(set->devices, i);
            if (device_plug(dev) == kind && !power_on_one(dev, error))
                return FALSE;
        }
    }
    return TRUE;
}

static void quiesce_one(Device *dev, gpointer unused)
{
    if (!dev->type->ops->quiesce)
        return;
    LOCK_SCOPE(&dev->lock);
    dev->type->ops->quiesce(dev);
}

void device_set_quiesce(DeviceSet *set)
{
    foreach_with_parts(set, quiesce_one, NULL);
}

static void resume_one(Device *dev, gpointer unused)
{
    if (!dev->type->ops->resume)
        return;
    LOCK_SCOPE(&dev->lock);
    dev->type->ops->resume(dev);
}

void device_set_resume(DeviceSet *set)
{
    foreach_with_parts(set, resume_one, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * transaction.c - several plugs at once, all or nothing: device-plug-transaction and machine-config-load.
 *
 * Realize is the last that can fail, and what is realized can be referred to. So all members are realized, in order, while
 * the guest sees none of them; a failure, or the end of a dry run, rolls back in reverse. Only then they are
 * published, in a bracket (devices/core/batch.c): the guest is told once, when the last of them is there.
 */
#include "../devices/core/record.h"
#include "handlers.h"

typedef struct {
    Machine    *m;
    QmpRequest *req;
    GPtrArray  *done; /* of Device, realized */
} Plugging;

/* "devices[3] ('disk0'): " in front of what went wrong with it; without id its type. */
static void name_member(GError **error, const char *list, guint i, const char *id)
{
    g_prefix_error(error, "%s[%u] ('%s'): ", list, i, id);
}

static gboolean add_one(Plugging *p, PropBag *bag, GError **error)
{
    Device *board;
    Device *dev = machine_plug_realize(p->m, bag, &board, error);

    if (board)
        g_ptr_array_add(p->done, board);
    if (dev)
        g_ptr_array_add(p->done, dev);
    return dev != NULL;
}

static gboolean add_chardev(Plugging *p, const ChardevAddArguments *args, GError **error)
{
    PropBag *bag = chardev_bag_from_args(p->req, args, error);

    if (!bag)
        return FALSE;
    int named = chardev_bag_named_fd(bag);
    if (add_one(p, bag, error))
        return TRUE;
    auto_fd_close(named);
    return FALSE;
}

static gboolean add_chardevs(Plugging *p, const GPtrArray *chardevs, GError **error)
{
    for (guint i = 0; chardevs && i < chardevs->len; i++) {
        const ChardevAddArguments *args = g_ptr_array_index(chardevs, i);
        if (!add_chardev(p, args, error)) {
            name_member(error, "chardevs", i, args->id);
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean add_bags(Plugging *p, const char *list, const GPtrArray *bags, GError **error)
{
    for (guint i = 0; bags && i < bags->len; i++) {
        const PropBag *bag = g_ptr_array_index(bags, i);
        if (!add_one(p, prop_bag_copy(bag), error)) {
            name_member(error, list, i, bag->id ? bag->id : bag->table->name);
            return FALSE;
        }
    }
    return TRUE;
}

static void roll_back(Plugging *p)
{
    for (guint i = p->done->len; i > 0; i--)
        device_plug_rollback(g_ptr_array_index(p->done, i - 1));
}

static void publish(Plugging *p, const MachineConfig *what)
{
    device_plug_begin(p->m->devices);
    for (guint i = 0; i < p->done->len; i++)
        device_plug_publish(g_ptr_array_index(p->done, i));
    device_plug_end(p->m->devices);
    for (guint i = 0; what->chardevs && i < what->chardevs->len; i++)
        chardev_use_up_name(p->req, g_ptr_array_index(what->chardevs, i));
}

/* The last N of what was realized: nothing comes after the devices. */
static GPtrArray *last_ids(const GPtrArray *done, guint n)
{
    GPtrArray *ids = g_ptr_array_new_full(n, g_free);
    guint skip = done->len - n;

    for (guint i = 0; i < n; i++)
        g_ptr_array_add(ids, g_strdup(((const Device *)g_ptr_array_index(done, skip + i))->id));
    return ids;
}

gboolean plug_together(Machine *m, QmpRequest *req, const MachineConfig *what, gboolean dry_run, GPtrArray **ids, GError **error)
{
    g_autoptr(GPtrArray) done = g_ptr_array_new();
    Plugging p = { m, req, done };

    device_places_expect(m->devices, what->devices);
    gboolean ok = add_chardevs(&p, what->chardevs, error) && add_bags(&p, "objects", what->objects, error) &&
                  add_bags(&p, "devices", what->devices, error);

    device_places_expect(m->devices, NULL);
    if (ok && ids)
        *ids = last_ids(done, what->devices ? what->devices->len : 0);
    if (ok && !dry_run)
        publish(&p, what);
    else
        roll_back(&p);
    return ok;
}

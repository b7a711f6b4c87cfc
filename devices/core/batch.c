/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * batch.c - several plugs as one.
 *
 * Devices of a transaction are published one after the other, and each tells some controller about itself. What the
 * controller does then - raise an interrupt, work out a map - is done once, at the end of the bracket, when all of them are
 * there: the guest is told once and finds everything. Outside of any bracket "at the end" is at once, so a controller has one
 * way for both.
 */
#include "set.h"

void device_plug_begin(DeviceSet *set)
{
    set->brackets++;
}

/* What is asked for while one of them runs comes after those that are waiting. */
static void settle_all(DeviceSet *set)
{
    for (guint i = 0; i < set->settle->len; i++) {
        Settle s = g_array_index(set->settle, Settle, i);
        if (s.fn)
            s.fn(s.user);
    }
    g_array_set_size(set->settle, 0);
}

void device_plug_end(DeviceSet *set)
{
    g_assert(set->brackets > 0);
    if (set->brackets == 1)
        settle_all(set);
    set->brackets--;
}

void device_plug_settle(DeviceSet *set, void (*fn)(gpointer user), gpointer user)
{
    if (set->brackets == 0) {
        fn(user);
        return;
    }
    for (guint i = set->settle->len; i > 0; i--) {
        const Settle *s = &g_array_index(set->settle, Settle, i - 1);
        if (s->fn == fn && s->user == user)
            return;
    }
    g_array_append_vals(set->settle, &(Settle){ fn, user }, 1);
}

void device_plug_settle_cancel(DeviceSet *set, gpointer user)
{
    for (guint i = 0; i < set->settle->len; i++) {
        if (g_array_index(set->settle, Settle, i).user == user)
            g_array_index(set->settle, Settle, i).fn = NULL;
    }
}

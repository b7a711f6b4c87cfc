/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * deferred.c - see deferred.h. Requests come from any thread; what they set is atomic, and the
 * request itself is a post to the main thread, where it runs and where it is taken back when the
 * owner goes.
 */
#include "deferred.h"

struct Deferred {
    Vm      *vm;
    void   (*fn)(gpointer user);
    gpointer user;
    gint     queued, held; /* atomic */
};

Deferred *deferred_new(Vm *vm, void (*fn)(gpointer user), gpointer user)
{
    Deferred *d = g_new0(Deferred, 1);

    d->vm = vm;
    d->fn = fn;
    d->user = user;
    return d;
}

static void run(gpointer user)
{
    Deferred *d = user;

    g_atomic_int_set(&d->queued, 0); /* before FN: what comes from here on is a new request */
    gboolean held = g_atomic_int_exchange(&d->held, 0);
    d->fn(d->user);
    if (held)
        vm_hold_brief_end(d->vm);
}

void deferred_schedule(Deferred *d)
{
    if (g_atomic_int_compare_and_exchange(&d->queued, 0, 1))
        vm_post(d->vm, run, d);
}

void deferred_schedule_held(Deferred *d)
{
    if (g_atomic_int_compare_and_exchange(&d->held, 0, 1))
        vm_hold_brief(d->vm);
    deferred_schedule(d);
}

void deferred_free(Deferred *d)
{
    if (!d)
        return;
    vm_post_cancel(d->vm, run, d);
    if (g_atomic_int_get(&d->held))
        vm_hold_brief_end(d->vm);
    g_free(d);
}

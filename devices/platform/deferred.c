/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * deferred.c - see deferred.h. The hard part is the life time: a posted request can not be taken back, so it holds a reference of its own
 * to the little record here, and the owner clears the function before it goes. Both happen on the main thread.
 */
#include "deferred.h"

struct Deferred {
    gatomicrefcount refs; /* the owner's, and one a request in the queue */
    gint            queued, held;
    Vm             *vm;
    void (*fn)(gpointer user);
    gpointer        user;
};

Deferred *deferred_new(Vm *vm, void (*fn)(gpointer user), gpointer user)
{
    Deferred *d = g_new0(Deferred, 1);

    g_atomic_ref_count_init(&d->refs);
    d->vm = vm;
    d->fn = fn;
    d->user = user;
    return d;
}

static void unref(Deferred *d)
{
    if (g_atomic_ref_count_dec(&d->refs))
        g_free(d);
}

static void run(gpointer user)
{
    Deferred *d = user;

    g_atomic_int_set(&d->queued, 0); /* before FN: what comes from here on is a new request */
    gboolean held = g_atomic_int_exchange(&d->held, 0);
    if (d->fn) {
        d->fn(d->user);
        /* Stopped meanwhile by a command: whoever did that lets it run again. */
        if (held && vm_running(d->vm))
            vm_run(d->vm);
    }
    unref(d);
}

void deferred_schedule(Deferred *d)
{
    if (!g_atomic_int_compare_and_exchange(&d->queued, 0, 1))
        return;
    g_atomic_ref_count_inc(&d->refs);
    vm_post(d->vm, run, d);
}

void deferred_schedule_held(Deferred *d)
{
    vm_hold(d->vm);
    g_atomic_int_set(&d->held, 1);
    deferred_schedule(d);
}

void deferred_free(Deferred *d)
{
    if (!d)
        return;
    d->fn = NULL;
    unref(d);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * deferred.h - work that a region hook wants done on the main thread: topology changes, which
 * are not allowed under a device lock. Requests made while one is queued are one; after
 * deferred_free() nothing runs any more, even if the request is still in the main loop's queue.
 */
#pragma once

#include "../../kvm/vm.h"

typedef struct Deferred Deferred;

Deferred *deferred_new(Vm *vm, void (*fn)(gpointer user), gpointer user);
void      deferred_schedule(Deferred *d); /* [any] */
/* The same, and no vCPU passes its safe point before FN ran: a guest that wrote a base address
 * finds the window there with its next instruction. [any] */
void      deferred_schedule_held(Deferred *d);
void      deferred_free(Deferred *d); /* main thread; NULL is fine */

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* iothread.c - the `iothread` object: a kvm/iothread.h thread under a name of the manager's. */
#include "iothread.h"

typedef struct {
    Device    dev;
    IoThread *thread;
} IoThreadObject;

IoThread *iothread_object_thread(Device *object)
{
    return ((IoThreadObject *)object)->thread;
}

static gboolean realize(Device *dev, GError **error)
{
    IoThreadObject *o = (IoThreadObject *)dev;
    g_autofree char *name = g_strdup_printf("IO %s", dev->id);

    o->thread = iothread_new(name, error);
    return o->thread != NULL;
}

static void unrealize(Device *dev)
{
    g_clear_pointer(&((IoThreadObject *)dev)->thread, iothread_free);
}

static const DeviceOps ops = { .realize = realize, .unrealize = unrealize };

const DeviceType iothread_type = { "iothread", sizeof(IoThreadObject), &ops, state_none };

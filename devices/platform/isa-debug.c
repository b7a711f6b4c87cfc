/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * isa-debug.c - two ports for programs that know a virtual machine when they see one: isa-debugcon takes a firmware's log,
 * isa-debug-exit ends the daemon with a status of the guest's choice.
 *
 * A log has no flow control: what the chardev does not take at once is lost, and the guest does not wait.
 */
#include "../../schema/generated/devices.h"
#include "../backend/chardev.h"

typedef struct {
    Device    dev;
    Device   *chardev;
    IoRegion *region;
} DebugPort;

static void unpublish(Device *dev)
{
    iobus_remove(device_set_vm(dev->set), g_steal_pointer(&((DebugPort *)dev)->region));
}

static void publish_ports(Device *dev, guint32 base, guint32 size, const IoOps *io)
{
    DebugPort *p = (DebugPort *)dev;

    p->region = iobus_add(device_set_vm(dev->set), IO_PIO, base, size, io, p, &dev->lock, 0, dev->id, NULL);
    g_assert(p->region); /* claimed in realize */
}

/* ---- isa-debugcon ---- */

static guint64 debugcon_read(gpointer opaque, guint64 offset, unsigned size)
{
    return DEVICE_CONFIG(opaque, IsaDebugconConfig)->readback;
}

static void debugcon_write(gpointer opaque, guint64 offset, guint64 value, unsigned size)
{
    guint8 byte = (guint8)value;

    chardev_write(((DebugPort *)opaque)->chardev, &byte, 1);
}

static const IoOps debugcon_io = { .read = debugcon_read, .write = debugcon_write, .min_size = 1, .max_size = 1 };

static gsize takes_nothing(gpointer user)
{
    return 0;
}

static void no_input(gpointer user, const guint8 *data, gsize len)
{
}

static const ChardevFrontend debugcon_frontend = { .can_receive = takes_nothing, .receive = no_input };

static gboolean debugcon_realize(Device *dev, GError **error)
{
    DebugPort *p = (DebugPort *)dev;
    const IsaDebugconConfig *config = DEVICE_CONFIG(dev, IsaDebugconConfig);

    if (!device_claim_io(dev, IO_PIO, config->iobase, 1, "iobase", error))
        return FALSE;
    p->chardev = device_link(dev, NS_CHARDEV, config->chardev, "chardev", "chardev", error);
    if (!p->chardev)
        return FALSE;
    if (chardev_attach(p->chardev, &debugcon_frontend, p, error))
        return TRUE;
    g_prefix_error(error, "Property 'chardev' of device '%s': ", dev->id);
    p->chardev = NULL;
    return FALSE;
}

static void debugcon_publish(Device *dev)
{
    publish_ports(dev, DEVICE_CONFIG(dev, IsaDebugconConfig)->iobase, 1, &debugcon_io);
}

static void debugcon_unrealize(Device *dev)
{
    DebugPort *p = (DebugPort *)dev;

    if (p->chardev)
        chardev_detach(p->chardev);
}

static const DeviceOps debugcon_ops = {
    .realize = debugcon_realize,
    .publish = debugcon_publish,
    .unpublish = unpublish,
    .unrealize = debugcon_unrealize,
};

const DeviceType isa_debugcon_type = { "isa-debugcon", sizeof(DebugPort), &debugcon_ops, state_none };

/* ---- isa-debug-exit ---- */

static guint64 exit_read(gpointer opaque, guint64 offset, unsigned size)
{
    return 0;
}

static void exit_write(gpointer opaque, guint64 offset, guint64 value, unsigned size)
{
    DebugPort *p = opaque;
    gpointer user;
    const DeviceObserver *observer = device_set_observer(p->dev.set, &user);

    if (observer && observer->debug_exit)
        observer->debug_exit(user, (int)(value << 1 | 1) & 0xff); /* never 0: that says that the daemon ended by itself */
}

static const IoOps exit_io = { .read = exit_read, .write = exit_write, .min_size = 1, .max_size = 4, .unaligned = TRUE };

static gboolean exit_realize(Device *dev, GError **error)
{
    const IsaDebugExitConfig *config = DEVICE_CONFIG(dev, IsaDebugExitConfig);

    return device_claim_io(dev, IO_PIO, config->iobase, config->iosize, "iobase", error);
}

static void exit_publish(Device *dev)
{
    const IsaDebugExitConfig *config = DEVICE_CONFIG(dev, IsaDebugExitConfig);

    publish_ports(dev, config->iobase, config->iosize, &exit_io);
}

static const DeviceOps exit_ops = { .realize = exit_realize, .publish = exit_publish, .unpublish = unpublish };

const DeviceType isa_debug_exit_type = { "isa-debug-exit", sizeof(DebugPort), &exit_ops, state_none };

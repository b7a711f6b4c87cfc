/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtio-serial.c - the virtio console device (virtio 1.2 section 5.3): the PCI function that ports are plugged into, and the
 * way of the bytes.
 *
 * The hard part is a peer that does not read. What its chardev does not take stays in the guest's ring: the chain is put back
 * with a note of how far it was sent (`done`), and the queue rests until the chardev has room; no byte is copied here, so
 * nothing grows, and other ports have queues of their own. A console is the exception: guests send to it with interrupts off and
 * wait, so what is not taken is dropped.
 *
 * The other way the chardev is read only when the guest has a buffer, and for no more than that buffer holds.
 *
 * One visit to a queue handles at most BUDGET bytes and comes back for the rest, so that a guest that sends without end
 * slows down nobody but itself.
 */
#include "../../schema/generated/devices.h"
#include "virtio-serial-priv.h"

#define BUDGET (256u << 10)
#define CHAIN_COST 256 /* of the budget, for a chain of any length */

static VirtioSerial *serial_of(VirtioDevice *vd)
{
    return (VirtioSerial *)vd->dev;
}

void serial_batch_end(VirtioDevice *vd, guint index)
{
    VirtQueue *vq = vd->queues[index].vq;

    vq_flush(vq);
    if (vq_should_notify(vq))
        virtio_notify_queue(vd, index);
    vq_end(vq);
}

/* ---- from the guest ---- */

typedef enum { CHAIN_SENT, CHAIN_BLOCKED, CHAIN_AGAIN } Sent;

/* Sends the part of one segment that was not yet sent: bytes taken. */
static gsize send_part(const SerialPort *port, const guint8 *data, gsize len)
{
    gsize taken = port && port->chardev ? chardev_write(port->chardev, data, len) : len;

    return port && port->console ? len : taken;
}

/* Goes on with the chain from s->done[NR]. */
static Sent send_chain(VirtioSerial *s, guint nr, const VqChain *c, guint *budget)
{
    guint64 skip = s->done[nr];

    for (guint i = 0; i < c->n_out; i++) {
        guint64 len = c->iov[i].iov_len;
        if (skip >= len) {
            skip -= len;
            continue;
        }
        gsize n = (gsize)MIN(len - skip, *budget);
        gsize taken = send_part(s->ports[nr], (const guint8 *)c->iov[i].iov_base + skip, n);
        s->done[nr] += taken;
        *budget -= (guint)taken;
        if (taken < n)
            return CHAIN_BLOCKED;
        if (taken < len - skip)
            return CHAIN_AGAIN;
        skip = 0;
    }
    s->done[nr] = 0;
    return CHAIN_SENT;
}

/* One chain. FALSE: none is left, or the visit is over. */
static gboolean transmit_one(VirtioSerial *s, VirtQueue *vq, guint nr, guint *budget, gboolean *blocked)
{
    VqChain chain = { .iov = s->iov, .max_iov = SERIAL_MAX_SEGMENTS };
    Sent sent = CHAIN_SENT;

    if (*budget < CHAIN_COST || vq_pop(vq, &chain) != VQ_CHAIN)
        return FALSE;
    *budget -= CHAIN_COST;
    if (chain.n_in > 0)
        vq_break(vq, "port %u sends a chain with %u writable segments", nr, chain.n_in);
    else
        sent = send_chain(s, nr, &chain, budget);
    if (sent == CHAIN_SENT) {
        vq_push(vq, &chain, 0);
        return TRUE;
    }
    vq_unpop(vq, &chain);
    *blocked = sent == CHAIN_BLOCKED;
    return FALSE;
}

void serial_transmit(VirtioSerial *s, guint nr)
{
    VirtioDevice *vd = &s->virtio.vd;
    guint index = serial_out_queue(nr), budget = BUDGET;
    gboolean blocked = FALSE, more;

    if (!virtio_queue_ready(vd, index))
        return;
    VirtQueue *vq = vd->queues[index].vq;
    if (!vq_begin(vq))
        return;
    do {
        vq_kicks_off(vq);
        more = TRUE;
        while (more)
            more = transmit_one(s, vq, nr, &budget, &blocked);
    } while (vq_kicks_on(vq) && !blocked && budget >= CHAIN_COST);
    if (!blocked && vq_pending(vq))
        virtio_kick(vd, index);
    serial_batch_end(vd, index);
}

static void out_kicked(VirtioDevice *vd, guint index)
{
    serial_transmit(serial_of(vd), serial_queue_port(index));
}

/* ---- to the guest ---- */

static gboolean buffer_take(VirtQueue *vq, guint nr, VqChain *chain)
{
    do {
        if (vq_pop(vq, chain) == VQ_CHAIN) {
            if (chain->n_out == 0 && chain->in_len > 0)
                return TRUE;
            vq_break(vq, "port %u has a buffer with %u readable segments and %" G_GUINT64_FORMAT " bytes to be written", nr,
                     chain->n_out, chain->in_len);
            vq_drop(vq, chain);
            return FALSE;
        }
    } while (vq_kicks_on(vq));
    return FALSE;
}

static gboolean can_receive(const VirtioSerial *s, guint nr)
{
    return (s->flags[nr] & SLOT_OPEN) && virtio_queue_ready(&s->virtio.vd, serial_in_queue(nr));
}

gsize serial_room(VirtioSerial *s, guint nr)
{
    VqChain chain = { .iov = s->iov, .max_iov = SERIAL_MAX_SEGMENTS };
    VirtQueue *vq = s->virtio.vd.queues[serial_in_queue(nr)].vq;
    gsize room = 0;

    if (!can_receive(s, nr) || !vq_begin(vq))
        return 0;
    if (buffer_take(vq, nr, &chain)) {
        room = (gsize)chain.in_len;
        vq_unpop(vq, &chain);
    }
    vq_end(vq);
    return room;
}

/* What the guest has no room for, though it said so a moment ago, is lost. */
void serial_receive(VirtioSerial *s, guint nr, const guint8 *data, gsize len)
{
    VqChain chain = { .iov = s->iov, .max_iov = SERIAL_MAX_SEGMENTS };
    VirtioDevice *vd = &s->virtio.vd;
    guint index = serial_in_queue(nr);
    VirtQueue *vq = vd->queues[index].vq;

    if (!can_receive(s, nr) || !vq_begin(vq))
        return;
    while (len > 0 && buffer_take(vq, nr, &chain)) {
        gsize n = iov_write(chain.iov, chain.n_in, 0, data, len);
        vq_push(vq, &chain, (guint32)n);
        data += n;
        len -= n;
    }
    serial_batch_end(vd, index);
}

static void in_kicked(VirtioDevice *vd, guint index)
{
    const SerialPort *port = serial_of(vd)->ports[serial_queue_port(index)];

    if (port && port->chardev)
        chardev_accept_input(port->chardev);
}

/* ---- open and closed ---- */

static void tell_manager(gpointer user)
{
    VirtioSerial *s = user;
    gboolean open[SERIAL_MAX_PORTS];

    {
        LOCK_SCOPE(&s->virtio.pci.dev.lock);
        s->tell_posted = FALSE;
        for (guint nr = 0; nr < SERIAL_MAX_PORTS; nr++)
            open[nr] = (s->flags[nr] & SLOT_OPEN) != 0;
    }
    for (guint nr = 0; nr < SERIAL_MAX_PORTS; nr++) {
        if (s->owners[nr] && s->owners[nr]->published)
            serial_port_event(s->owners[nr], open[nr]);
    }
}

static void post_tell(VirtioSerial *s)
{
    if (!s->tell_posted)
        vm_post(device_set_vm(s->virtio.pci.dev.set), tell_manager, s);
    s->tell_posted = TRUE;
}

void serial_set_open(VirtioSerial *s, guint nr, gboolean open)
{
    const SerialPort *port = s->ports[nr];

    if (!(s->flags[nr] & SLOT_OPEN) == !open)
        return;
    s->flags[nr] ^= SLOT_OPEN;
    post_tell(s);
    if (!port || !port->chardev)
        return;
    if (!port->console)
        chardev_set_frontend_open(port->chardev, open);
    if (open)
        chardev_accept_input(port->chardev);
}

/* The driver is gone, and with it all that it knew. */
static void forget_driver(VirtioSerial *s)
{
    s->ready = FALSE;
    for (guint nr = 0; nr < SERIAL_MAX_PORTS; nr++) {
        serial_set_open(s, nr, FALSE);
        s->flags[nr] = s->pending[nr] = 0;
        s->done[nr] = 0;
    }
}

/* ---- virtio ---- */

/* A driver without MULTIPORT has port 0 alone, and can not say that it uses it. */
static void serial_start(VirtioDevice *vd)
{
    VirtioSerial *s = serial_of(vd);

    if (!virtio_has(vd, SERIAL_F_MULTIPORT) && s->ports[0])
        serial_set_open(s, 0, TRUE);
}

static gboolean serial_stop(VirtioDevice *vd)
{
    forget_driver(serial_of(vd));
    return TRUE;
}

static gboolean serial_queue_stop(VirtioDevice *vd, guint index)
{
    guint nr = serial_queue_port(index);

    if (index == serial_out_queue(nr))
        serial_of(vd)->done[nr] = 0;
    return TRUE;
}

/* Section 5.3.5.1: works before the driver has set anything up. Reads as 0. */
static gboolean serial_config_written(VirtioDevice *vd, guint32 offset, unsigned size)
{
    VirtioSerial *s = serial_of(vd);

    for (guint nr = 0; offset == SERIAL_EMERG_WR && nr < SERIAL_MAX_PORTS; nr++) {
        const SerialPort *port = s->ports[nr];
        if (!port || !port->console)
            continue;
        if (port->chardev)
            chardev_write(port->chardev, vd->config + SERIAL_EMERG_WR, 1);
        break;
    }
    return FALSE;
}

static const VirtioDeviceOps serial_ops = {
    .device_id = VIRTIO_ID_CONSOLE,
    .name = "virtio-serial",
    .start = serial_start,
    .stop = serial_stop,
    .queue_stop = serial_queue_stop,
    .config_written = serial_config_written,
};

static const VirtioPciType serial_pci = { .ops = &serial_ops, .class_code = 0x078000, .in_order = TRUE };

/* ---- life cycle ---- */

static gboolean power_of_two(const Device *dev, const char *name, guint16 value, GError **error)
{
    return !(value & (value - 1)) ||
           error_set(error, "Property '%s' of device '%s' is %u, not a power of two", name, dev->id, value);
}

/* One vector a port by default: drivers that want one a queue share instead. */
static gboolean serial_resolve(Device *dev, GError **error)
{
    const VirtioSerialPciConfig *c = serial_config((VirtioSerial *)dev);

    return power_of_two(dev, "queue-size", c->queue_size, error) &&
           power_of_two(dev, "control-queue-size", c->control_queue_size, error) &&
           virtio_pci_resolve(dev, &serial_pci, c->max_ports, error);
}

static void watch_queues(VirtioDevice *vd)
{
    for (guint i = 0; i < vd->n_queues; i++) {
        if (i == SERIAL_Q_CONTROL_IN || i == SERIAL_Q_CONTROL_OUT)
            virtio_watch(vd, i, serial_control_kicked);
        else
            virtio_watch(vd, i, i % 2 ? out_kicked : in_kicked);
    }
}

static gboolean serial_realize(Device *dev, GError **error)
{
    VirtioSerial *s = (VirtioSerial *)dev;
    const VirtioSerialPciConfig *c = serial_config(s);
    gboolean many = c->max_ports > 1;
    guint n = many ? 2 * (c->max_ports + 1) : 2;
    guint64 features = (many ? VIRTIO_BIT(SERIAL_F_MULTIPORT) : 0) |
                       (c->emergency_write ? VIRTIO_BIT(SERIAL_F_EMERG_WRITE) : 0);
    guint16 sizes[VIRTIO_MAX_QUEUES];

    for (guint i = 0; i < n; i++)
        sizes[i] = i == SERIAL_Q_CONTROL_IN || i == SERIAL_Q_CONTROL_OUT ? c->control_queue_size : c->queue_size;
    if (!virtio_pci_realize(dev, &serial_pci, features, n, sizes,
                            c->emergency_write ? SERIAL_CONFIG_SIZE : SERIAL_EMERG_WR, error))
        return FALSE;
    le32_put(s->virtio.vd.config + SERIAL_MAX_NR_PORTS, c->max_ports);
    watch_queues(&s->virtio.vd);
    return TRUE;
}

static void serial_reset(Device *dev, ResetKind kind)
{
    virtio_pci_reset(dev, kind);
    forget_driver((VirtioSerial *)dev); /* also of a state that was loaded and has never run */
}

/* Peers may have come and gone while the machine stood, or be others than where the state was saved. */
static void serial_resume(Device *dev)
{
    VirtioSerial *s = (VirtioSerial *)dev;

    virtio_pci_resume(dev);
    for (guint nr = 0; nr < SERIAL_MAX_PORTS; nr++) {
        if (s->ports[nr])
            serial_host_changed(s, nr);
    }
}

static void serial_unrealize(Device *dev)
{
    vm_post_cancel(device_set_vm(dev->set), tell_manager, dev);
    virtio_pci_unrealize(dev);
}

static gboolean check_slot(const VirtioSerial *s, guint nr, GError **error)
{
    const char *id = s->virtio.pci.dev.id;
    guint8 flags = s->flags[nr], pending = s->pending[nr];

    if ((flags & ~0xf) || (pending & ~0x1f) || (pending && nr >= serial_config(s)->max_ports))
        return error_set(error, "State of device '%s': port %u has flags that are none", id, nr);
    if ((flags || (pending & ~TELL_REMOVE)) && !s->ports[nr])
        return error_set(error, "State of device '%s': the guest knows a port %u, and there is none", id, nr);
    return TRUE;
}

static gboolean serial_post_load(Device *dev, GError **error)
{
    VirtioSerial *s = (VirtioSerial *)dev;

    for (guint nr = 0; nr < SERIAL_MAX_PORTS; nr++) {
        if (!check_slot(s, nr, error))
            return FALSE;
    }
    if (!virtio_pci_post_load(dev, error))
        return FALSE;
    for (guint nr = 0; nr < SERIAL_MAX_PORTS; nr++) {
        const SerialPort *port = s->ports[nr];
        if (port && port->chardev && !port->console)
            chardev_set_frontend_open(port->chardev, (s->flags[nr] & SLOT_OPEN) != 0);
    }
    post_tell(s);
    return TRUE;
}

static const StateDesc serial_state[] = {
    VIRTIO_PCI_ROWS("0.2"),
    STATE_ROW(VirtioSerial, ready, BOOL, "0.2"),
    STATE_ROW(VirtioSerial, flags, BYTES, "0.2"),
    STATE_ROW(VirtioSerial, pending, BYTES, "0.2"),
    STATE_ROW(VirtioSerial, done, BYTES, "0.2"),
    STATE_END,
};

static const DeviceOps ops = {
    .resolve = serial_resolve,
    .realize = serial_realize,
    .publish = virtio_pci_publish,
    .reset = serial_reset,
    .quiesce = virtio_pci_quiesce,
    .resume = serial_resume,
    .places = pci_device_places,
    .unplug_request = pci_device_unplug_request,
    .unpublish = virtio_pci_unpublish,
    .unrealize = serial_unrealize,
    .post_load = serial_post_load,
    .abi = virtio_pci_abi,
};

const DeviceType virtio_serial_pci_type = { "virtio-serial-pci", sizeof(VirtioSerial), &ops, serial_state };

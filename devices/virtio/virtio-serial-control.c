/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtio-serial-control.c - the control queues of the virtio console (virtio 1.2 section 5.3.6.2): ports come and go, open and
 * close, and have names.
 *
 * The hard part is a guest that does not fetch its messages while ports are plugged and unplugged all the time. Nothing is
 * queued: per slot there are bits of what the guest must still hear, and a message is made when a buffer is there for it. What
 * became untrue meanwhile is not sent: an ADD that nobody has seen is undone by the removal. Messages of the guest about a port that it
 * does not know, or knows no more, are late answers and not mistakes.
 */
#include "../../schema/generated/devices.h"
#include "virtio-serial-priv.h"

/* struct virtio_console_control: id (32 bits), event and value (16 bits each). */
#define MESSAGE 8
#define MESSAGES_A_VISIT 64

enum {
    DEVICE_READY = 0,
    PORT_ADD = 1,
    PORT_REMOVE = 2,
    PORT_READY = 3,
    CONSOLE_PORT = 4,
    RESIZE = 5,
    PORT_OPEN = 6,
    PORT_NAME = 7,
};

/* ---- to the guest ---- */

static const char *port_name(const SerialPort *port)
{
    return DEVICE_CONFIG(port, VirtioSerialPortConfig)->name;
}

/* Takes the first thing that slot NR has to say. MESSAGE bytes, and behind them *NAME if that is set. */
static void message_take(VirtioSerial *s, guint nr, guint8 *message, const char **name)
{
    const SerialPort *port = s->ports[nr];
    guint8 what = s->pending[nr] & (guint8)-s->pending[nr];
    guint16 event = PORT_ADD, value = 1;

    *name = NULL;
    switch (what) {
    case TELL_REMOVE:
        event = PORT_REMOVE;
        break;
    case TELL_ADD:
        s->flags[nr] |= SLOT_ANNOUNCED;
        break;
    case TELL_CONSOLE:
        event = CONSOLE_PORT;
        break;
    case TELL_NAME:
        event = PORT_NAME;
        *name = port_name(port);
        break;
    default:
        event = PORT_OPEN;
        value = port->host_open;
        s->flags[nr] = (guint8)((s->flags[nr] & ~SLOT_TOLD_OPEN) | (value ? SLOT_TOLD_OPEN : 0));
    }
    s->pending[nr] &= (guint8)~what;
    le32_put(message, nr);
    le16_put(message + 4, event);
    le16_put(message + 6, value);
}

/* A buffer for a message. FALSE: none, or the queue is broken. */
static gboolean buffer_take(VirtQueue *vq, VqChain *chain)
{
    do {
        if (vq_pop(vq, chain) == VQ_CHAIN) {
            if (chain->n_out == 0 && chain->in_len >= MESSAGE)
                return TRUE;
            vq_break(vq, "a buffer of %" G_GUINT64_FORMAT " bytes for control messages, with %u readable segments",
                     chain->in_len, chain->n_out);
            vq_drop(vq, chain);
            return FALSE;
        }
    } while (vq_kicks_on(vq));
    return FALSE;
}

static gboolean tell_slot(VirtioSerial *s, VirtQueue *vq, guint nr)
{
    VqChain chain = { .iov = s->iov, .max_iov = SERIAL_MAX_SEGMENTS };
    guint8 message[MESSAGE];
    const char *name;
    gsize n;

    while (s->pending[nr]) {
        if (!buffer_take(vq, &chain))
            return FALSE;
        message_take(s, nr, message, &name);
        n = iov_write(chain.iov, chain.n_in, 0, message, MESSAGE);
        if (name) /* without its NUL; a buffer that is too small gets the beginning */
            n += iov_write(chain.iov, chain.n_in, MESSAGE, name, strlen(name));
        vq_push(vq, &chain, (guint32)n);
    }
    return TRUE;
}

void serial_tell(VirtioSerial *s)
{
    VirtioDevice *vd = &s->virtio.vd;
    guint n = serial_config(s)->max_ports, nr = 0;

    if (!s->ready || !virtio_queue_ready(vd, SERIAL_Q_CONTROL_IN))
        return;
    VirtQueue *vq = vd->queues[SERIAL_Q_CONTROL_IN].vq;
    if (!vq_begin(vq))
        return;
    while (nr < n && tell_slot(s, vq, nr))
        nr++;
    serial_batch_end(vd, SERIAL_Q_CONTROL_IN);
}

void serial_port_added(VirtioSerial *s, guint nr)
{
    VirtioDevice *vd = &s->virtio.vd;

    s->flags[nr] = 0;
    s->done[nr] = 0;
    if (nr == 0 && vd->live && !virtio_has(vd, SERIAL_F_MULTIPORT))
        serial_set_open(s, nr, TRUE);
    if (!s->ready)
        return;
    s->pending[nr] |= TELL_ADD;
    serial_tell(s);
}

void serial_port_removed(VirtioSerial *s, guint nr)
{
    gboolean known = (s->flags[nr] & SLOT_ANNOUNCED) || (s->pending[nr] & TELL_REMOVE);

    s->flags[nr] = 0;
    s->pending[nr] = known ? TELL_REMOVE : 0;
    serial_tell(s);
}

void serial_host_changed(VirtioSerial *s, guint nr)
{
    gboolean told = (s->flags[nr] & SLOT_TOLD_OPEN) != 0;

    if (!(s->flags[nr] & SLOT_READY))
        return; /* it will hear when it answers */
    s->pending[nr] &= (guint8)~TELL_OPEN;
    if (s->ports[nr]->host_open != told)
        s->pending[nr] |= TELL_OPEN;
    serial_tell(s);
}

/* ---- from the guest ---- */

static void device_ready(VirtioSerial *s, guint16 value)
{
    if (!value)
        device_guest_error(&s->virtio.pci.dev, "the driver could not set the device up");
    if (!value || s->ready)
        return;
    s->ready = TRUE;
    for (guint nr = 0; nr < SERIAL_MAX_PORTS; nr++) {
        if (s->ports[nr])
            s->pending[nr] = TELL_ADD;
    }
}

static void port_ready(VirtioSerial *s, guint nr, guint16 value)
{
    const SerialPort *port = s->ports[nr];

    if (!value) {
        device_guest_error(&s->virtio.pci.dev, "the driver could not set port %u up", nr);
        return;
    }
    s->flags[nr] = (guint8)((s->flags[nr] & ~SLOT_TOLD_OPEN) | SLOT_READY);
    s->pending[nr] = (guint8)((port->console ? TELL_CONSOLE : 0) | (port_name(port) ? TELL_NAME : 0) |
                              (port->host_open ? TELL_OPEN : 0));
}

static void handle(VirtioSerial *s, guint32 nr, guint16 event, guint16 value)
{
    if (event == DEVICE_READY) {
        device_ready(s, value);
        return;
    }
    if (nr >= serial_config(s)->max_ports || (event != PORT_READY && event != PORT_OPEN)) {
        device_guest_error(&s->virtio.pci.dev, "control message %u for port %u", event, nr);
        return;
    }
    if (!s->ports[nr] || !(s->flags[nr] & SLOT_ANNOUNCED))
        return; /* of a port that has gone */
    if (event == PORT_READY)
        port_ready(s, nr, value);
    else
        serial_set_open(s, nr, value != 0);
}

static gboolean read_message(VirtioSerial *s, VirtQueue *vq, const VqChain *c)
{
    guint8 m[MESSAGE];

    if (c->n_in > 0 || c->out_len < MESSAGE) {
        vq_break(vq, "a control message of %" G_GUINT64_FORMAT " bytes with %u writable segments", c->out_len, c->n_in);
        return FALSE;
    }
    iov_read(c->iov, c->n_out, 0, m, MESSAGE);
    handle(s, le32_get(m), le16_get(m + 4), le16_get(m + 6));
    return TRUE;
}

static void read_messages(VirtioSerial *s, VirtQueue *vq)
{
    VqChain chain = { .iov = s->iov, .max_iov = SERIAL_MAX_SEGMENTS };
    guint left = MESSAGES_A_VISIT;

    do {
        vq_kicks_off(vq);
        while (left > 0 && vq_pop(vq, &chain) == VQ_CHAIN) {
            left--;
            read_message(s, vq, &chain);
            vq_push(vq, &chain, 0);
        }
    } while (vq_kicks_on(vq) && left > 0);
}

void serial_control_kicked(VirtioDevice *vd, guint index)
{
    VirtioSerial *s = (VirtioSerial *)vd->dev;

    if (index == SERIAL_Q_CONTROL_OUT && vq_begin(vd->queues[index].vq)) {
        read_messages(s, vd->queues[index].vq);
        if (vq_pending(vd->queues[index].vq))
            virtio_kick(vd, index);
        serial_batch_end(vd, index);
    }
    serial_tell(s);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtio-serial-priv.h - private to the virtio console device.
 *
 *   virtio-serial.c          the PCI function: data queues, configuration space, life cycle
 *   virtio-serial-control.c  the control queues: what guest and host tell each other about ports
 *   virtio-serial-port.c     the ports, which are devices, and their chardevs
 *
 * A slot is what the guest knows of port number N, whether a port is plugged there or not; slots are the hub's state and
 * under its lock. All queues are served on the main thread.
 */
#pragma once

#include "../backend/chardev.h"
#include "virtio-pci.h"

#define SERIAL_MAX_PORTS 64
#define SERIAL_MAX_SEGMENTS 1024 /* the largest queue */

/* Feature bits, section 5.3.3. */
enum {
    SERIAL_F_SIZE = 0,
    SERIAL_F_MULTIPORT = 1,
    SERIAL_F_EMERG_WRITE = 2,
};

/* Configuration space, section 5.3.4. */
enum {
    SERIAL_MAX_NR_PORTS = 4,
    SERIAL_EMERG_WR = 8,
    SERIAL_CONFIG_SIZE = 12,
};

/* Queues, section 5.3.2; port N > 0 has 2 * N + 2 and the next. */
enum {
    SERIAL_Q_CONTROL_IN = 2, /* to the guest */
    SERIAL_Q_CONTROL_OUT = 3,
};

/* What the guest knows of a slot. */
enum {
    SLOT_ANNOUNCED = 1 << 0, /* PORT_ADD was sent */
    SLOT_READY = 1 << 1,     /* it answered */
    SLOT_OPEN = 1 << 2,      /* a program of the guest has it open */
    SLOT_TOLD_OPEN = 1 << 3, /* the last PORT_OPEN that was sent said 1 */
};

/* What it has still to be told, in the order of the bits: not a queue of messages, so what it does not fetch takes no room. */
enum {
    TELL_REMOVE = 1 << 0,
    TELL_ADD = 1 << 1,
    TELL_CONSOLE = 1 << 2,
    TELL_NAME = 1 << 3,
    TELL_OPEN = 1 << 4,
};

typedef struct VirtioSerial VirtioSerial;

typedef struct {
    Device        dev;
    VirtioSerial *hub;
    Device       *chardev;
    guint         nr;
    gboolean      console;
    gboolean      published; /* main thread */
    gboolean      host_open; /* the chardev has a peer; under the hub's lock */
    gboolean      told;      /* what the last event said; main thread */
} SerialPort;

struct VirtioSerial {
    VirtioPci    virtio;
    SerialPort  *owners[SERIAL_MAX_PORTS]; /* realized; main thread */
    SerialPort  *ports[SERIAL_MAX_PORTS];  /* published; under the lock */
    gboolean     tell_posted;
    /* ---- state ---- */
    gboolean     ready; /* the driver has said DEVICE_READY */
    guint8       flags[SERIAL_MAX_PORTS], pending[SERIAL_MAX_PORTS];
    guint64      done[SERIAL_MAX_PORTS]; /* bytes of the first chain of its transmit queue that the chardev has */
    /* ---- */
    struct iovec iov[SERIAL_MAX_SEGMENTS];
};

static inline const VirtioSerialPciConfig *serial_config(const VirtioSerial *s)
{
    return DEVICE_CONFIG(s, VirtioSerialPciConfig);
}

static inline guint serial_in_queue(guint nr)
{
    return nr ? 2 * nr + 2 : 0;
}

static inline guint serial_out_queue(guint nr)
{
    return serial_in_queue(nr) + 1;
}

static inline guint serial_queue_port(guint index)
{
    return index < 2 ? 0 : (index - 2) / 2;
}

extern const DeviceType virtio_serial_pci_type;

/* ---- virtio-serial.c; lock held ---- */

/* The guest opened or closed a slot: its chardev and the manager hear of it. */
void  serial_set_open(VirtioSerial *s, guint nr, gboolean open);
/* Bytes that the guest takes now. */
gsize serial_room(VirtioSerial *s, guint nr);
void  serial_receive(VirtioSerial *s, guint nr, const guint8 *data, gsize len);
/* Gives the chardev, or if there is none nobody, what the guest has sent. */
void  serial_transmit(VirtioSerial *s, guint nr);
/* The interrupt at the end of a batch. */
void  serial_batch_end(VirtioDevice *vd, guint index);

/* ---- virtio-serial-control.c; lock held ---- */

void serial_port_added(VirtioSerial *s, guint nr);
void serial_port_removed(VirtioSerial *s, guint nr);
/* SerialPort.host_open has changed. */
void serial_host_changed(VirtioSerial *s, guint nr);
/* Sends what is pending, as far as there are buffers. */
void serial_tell(VirtioSerial *s);
void serial_control_kicked(VirtioDevice *vd, guint index);

/* ---- virtio-serial-port.c; main thread, lock not held ---- */

void serial_port_event(SerialPort *port, gboolean open);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * netdev.h - network back ends: what a NIC and a back end (`netdev-tap`, `netdev-user` ...) know of each other.
 *
 * A back end is a Device of NS_OBJECT, made by netdev_add or object-add; its type's struct begins with Netdev, its realize
 * hook calls netdev_init(), its unrealize netdev_exit(). One NIC uses it. It has one or more queues (pairs of a transmit and
 * a receive queue), numbered from 0.
 *
 * Packets. A packet is an Ethernet frame without preamble and checksum, in iovecs, preceded by a header of
 * netdev->header_len bytes: 0, or 12 for struct virtio_net_hdr_v1 in little endian (virtio 1.2 section 5.1.6). Whoever can
 * not do offloads says 0 and offers none. What the header asks for is checked by the NIC before the back end sees it, and the
 * NIC's header is a private copy; frames are guest memory, which may change while it is looked at. A back end on its part hands
 * out only what netdev_set_offloads() allowed.
 *
 * Threads. [main] is the main thread. [locked] is the main thread or a vCPU's, the NIC's Device lock held. [io] is the I/O thread
 * that queue_start() named: between queue_start() and the end of queue_stop() the queue is used there and nowhere else, and the
 * NIC's `readable` and `writable` are called there. It never takes the Device lock. A back end
 * that works on a thread of its own has to hand over (an eventfd watched on the I/O thread). [any] may be any thread, the Device
 * lock of the NIC held or not; it must not wait for the I/O thread. Queues of one back end run on the same or on several threads.
 *
 * Receiving is pulled, with back-pressure: when there is something, the back end calls readable(). The NIC pulls with recv()
 * until that says NET_AGAIN, or its ring is full: then it calls pause() and the back end keeps what it has (a bounded amount;
 * what comes beyond that is dropped or not accepted from its source). After resume() the back end calls readable() again if
 * something is there, from its own watch or timer on the I/O thread and never from within resume(). readable() that did not pull
 * everything and did not pause is called again (level-triggered).
 *
 * Sending: send() takes a packet, or says NET_AGAIN: then the NIC keeps it and waits for writable(). Any other failure drops the
 * packet. The packet's memory is the NIC's again when send() returns. flush() ends a batch of sends. readable() may be called
 * from within send() and flush() (then the NIC pulls afterwards), but not from within recv() and resume(); writable() from none.
 */
#pragma once

#include <sys/uio.h>

#include "../../kvm/iothread.h"
#include "../core/device.h"

typedef struct Netdev Netdev;

#define NET_MAX_QUEUES 64                 /* pairs */
#define NET_HEADER 12                     /* struct virtio_net_hdr_v1 */
#define NET_MAX_FRAME (65535 + 14 + 4)    /* with segmentation offload; a back end never hands out more */
#define NET_AGAIN (-1)
#define NET_VISIT 64                      /* packets that readable() pulls at least, if they are there and the ring has room */

/* Offloads, in either direction. */
enum {
    NET_CSUM = 1 << 0, /* partial checksums */
    NET_TSO4 = 1 << 1,
    NET_TSO6 = 1 << 2,
    NET_ECN = 1 << 3,  /* TSO of packets with ECN */
    NET_ALL_OFFLOADS = NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN,
};

/* What a back end does. Those marked optional may be NULL. */
typedef struct {
    const char *kind; /* "tap", "user": QEMU's NetClientDriver */
    /* [locked] Queue INDEX is used from now on, on THREAD; readable() may be called at once. The driver started it, or the machine
     * goes on. */
    gboolean (*queue_start)(Netdev *nd, guint index, IoThread *thread, GError **error);
    /* [locked], when the driver or the machine stops; never from THREAD. Returns when readable() and writable() do not run for the queue and will not
     * again. What was received and not pulled may be dropped. */
    void (*queue_stop)(Netdev *nd, guint index);
    /* [io] One packet with its header into IOV, which has room for header_len + NET_MAX_FRAME bytes: their number, or NET_AGAIN. */
    gssize (*recv)(Netdev *nd, guint index, const struct iovec *iov, guint n);
    /* [io] */
    void (*pause)(Netdev *nd, guint index);
    void (*resume)(Netdev *nd, guint index);
    /* [io] 0: taken (or dropped), or NET_AGAIN. N may be up to 1024. */
    int (*send)(Netdev *nd, guint index, const struct iovec *iov, guint n);
    void (*flush)(Netdev *nd, guint index); /* optional */
    /* [any] The offloads that may be used towards the NIC from now on, a subset of nd->offloads. Optional where there are none. */
    void (*set_offloads)(Netdev *nd, guint offloads);
    /* [any] Queues 0 to N-1 are to be used from now on (the driver chose; receive steering). Optional. */
    void (*set_queues)(Netdev *nd, guint n);
} NetdevOps;

/* What a NIC does. */
typedef struct {
    /* [io] */
    void (*readable)(gpointer user, guint index);
    void (*writable)(gpointer user, guint index);
    /* [main] netdev_set_link() changed it. */
    void (*link_changed)(gpointer user, gboolean up);
} NetdevUserOps;

struct Netdev {
    Device           dev;
    const NetdevOps *ops;
    /* ---- by realize, then constant ---- */
    guint            n_queues;   /* at least 1 */
    guint            header_len; /* 0 or NET_HEADER */
    guint            offloads;   /* what it can take from and give to the NIC; NET_ECN may come with one of the TSOs only, these
                                  * only with NET_CSUM; 0 without a header */
    /* ---- main thread ---- */
    gboolean             link_up;
    Device              *nic;
    const NetdevUserOps *user_ops;
    gpointer             user;
    guint64              rx_dropped, tx_dropped; /* atomic, relaxed: packets that were thrown away; towards and from the NIC */
};

/* ---- for back ends ---- */

/* One queue, no header, no offloads, link up: realize changes what is not so. */
void     netdev_init(Netdev *nd, const NetdevOps *ops);
/* No NIC uses it: the core has seen to that. */
void     netdev_exit(Netdev *nd);
/* [main] As set_link does, or since the back end lost its peer; tells the NIC. */
void     netdev_set_link(Netdev *nd, gboolean up);

static inline void netdev_readable(Netdev *nd, guint index) /* [io] */
{
    nd->user_ops->readable(nd->user, index);
}

static inline void netdev_writable(Netdev *nd, guint index) /* [io] */
{
    nd->user_ops->writable(nd->user, index);
}

static inline void netdev_drop(guint64 *count) /* [any] */
{
    __atomic_add_fetch(count, 1, __ATOMIC_RELAXED);
}

/* ---- for NICs, [main] ---- */

gboolean netdev_is(const Device *dev);
/* Claims the back end ID for NIC, whose property PROP names it; a second user is refused by name. */
Netdev  *netdev_attach(Device *nic, const char *id, const char *prop, const NetdevUserOps *ops, gpointer user, GError **error);
/* All queues are stopped. */
void     netdev_detach(Netdev *nd);

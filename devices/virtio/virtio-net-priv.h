/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtio-net-priv.h - private to the virtio network card.
 *
 *   virtio-net.c         properties, features, life cycle               (main thread, vCPU threads)
 *   virtio-net-ctrl.c    control queue, receive filter                  (main thread; filter: I/O thread)
 *   virtio-net-header.c  what a transmitted frame's header may say      (I/O thread)
 *   virtio-net-io.c      receive and transmit queues                    (I/O thread)
 */
#pragma once

#include "../../schema/generated/devices.h"
#include "../backend/netdev.h"
#include "virtio-net.h"
#include "virtio-pci.h"

/* Feature bits, section 5.1.3. */
enum {
    NET_F_CSUM = 0,
    NET_F_GUEST_CSUM = 1,
    NET_F_CTRL_GUEST_OFFLOADS = 2,
    NET_F_MTU = 3,
    NET_F_MAC = 5,
    NET_F_GUEST_TSO4 = 7,
    NET_F_GUEST_TSO6 = 8,
    NET_F_GUEST_ECN = 9,
    NET_F_HOST_TSO4 = 11,
    NET_F_HOST_TSO6 = 12,
    NET_F_HOST_ECN = 13,
    NET_F_MRG_RXBUF = 15,
    NET_F_STATUS = 16,
    NET_F_CTRL_VQ = 17,
    NET_F_CTRL_RX = 18,
    NET_F_CTRL_VLAN = 19,
    NET_F_CTRL_RX_EXTRA = 20,
    NET_F_GUEST_ANNOUNCE = 21,
    NET_F_MQ = 22,
    NET_F_CTRL_MAC_ADDR = 23,
};

/* Configuration space, section 5.1.4. */
enum {
    NET_CONFIG_MAC = 0,
    NET_CONFIG_STATUS = 6,
    NET_CONFIG_MAX_PAIRS = 8,
    NET_CONFIG_MTU = 10,
    NET_CONFIG_SIZE = 12,
};
enum { NET_S_LINK_UP = 1, NET_S_ANNOUNCE = 2 };

/* struct virtio_net_hdr, section 5.1.6: NET_HEADER bytes. */
enum {
    HDR_FLAGS = 0,
    HDR_GSO_TYPE = 1,
    HDR_HDR_LEN = 2,
    HDR_GSO_SIZE = 4,
    HDR_CSUM_START = 6,
    HDR_CSUM_OFFSET = 8,
    HDR_NUM_BUFFERS = 10,
};
enum { HDR_F_NEEDS_CSUM = 1, HDR_F_DATA_VALID = 2 };
enum { GSO_NONE = 0, GSO_TCPV4 = 1, GSO_TCPV6 = 4, GSO_ECN = 0x80 };

#define NET_IOV 1024                                /* segments of one readv() or writev(): IOV_MAX */
#define NET_RX_CHAINS 256                           /* that one packet may be spread over */
#define NET_RX_POOL (2 * NET_IOV)
#define NET_BOUNCE (NET_HEADER + NET_MAX_FRAME)

typedef struct VirtioNet VirtioNet;

/* A pair of queues: receive queue 2 * INDEX, transmit queue 2 * INDEX + 1. */
typedef struct {
    VirtioNet *net;
    guint      index;
    /* ---- Device lock ---- */
    IoWatch   *rx_watch, *tx_watch; /* NULL: nobody looks at kicks */
    gboolean   open;                /* the back end's queue is started */
    gboolean   rx_stop, tx_stop;    /* the driver resets the queue */
    /* ---- I/O thread; constant while it does not run ---- */
    gboolean   rx_on, tx_on;        /* the rings may be used */
    gboolean   paused;              /* the back end waits for buffers */
    gboolean   blocked;             /* a frame waits for the back end */
    IoLater    late;            /* the interrupt for frames that are sent */
    gboolean   sending, answered;   /* within a transmit visit; in which the back end became readable */
    /* Receiving: chains popped ahead, their segments in POOL one behind the other; none between visits. */
    guint      want;                /* bytes to have at hand: about the size of the latest packets */
    guint      first, n_chains, pool_at, pool_end;
    guint64    have;                /* bytes */
    VqChain    chains[NET_RX_CHAINS];
    struct iovec pool[NET_RX_POOL];
    struct iovec scratch[NET_IOV + 2];
    guint8    *bounce;              /* what does not fit; a packet of a guest without buffers: STASHED bytes of it */
    guint      stashed;
} NetPair;

struct VirtioNet {
    VirtioPci  virtio;
    Device    *iothread; /* NULL: OWN */
    IoThread  *thread, *own;
    Netdev    *nd;
    NetPair   *pairs;
    guint      n_pairs;
    IoWatch   *ctrl_watch;  /* Device lock */
    gboolean   running;     /* Device lock: between start() and stop() */
    gboolean   cable;       /* main thread: set_link */
    gint       link_up;     /* atomic */
    gboolean   tell_filter; /* main thread: the next change of the filter is news */
    gboolean   announce;    /* main thread: loaded, and the guest is to tell the network where it is now */
    /* ---- state ---- */
    guint16    active;      /* Device lock: pairs that the driver uses */
    guint64    offloads;    /* Device lock: NET_F_GUEST_* that the driver has not switched off */
    GMutex     filter_lock; /* innermost */
    NetFilter  filter;
};

static inline const VirtioNetPciConfig *net_config(const VirtioNet *net)
{
    return DEVICE_CONFIG(net, VirtioNetPciConfig);
}

static inline VirtioNet *net_of(VirtioDevice *vd)
{
    return (VirtioNet *)vd->dev;
}

/* ---- virtio-net.c, Device lock held ---- */

/* What the driver chose takes effect: queues, offloads. */
void     net_apply(VirtioNet *net);
/* The pairs' data path stands between these two. */
void     net_halt(VirtioNet *net);
void     net_go(VirtioNet *net);

/* ---- virtio-net-ctrl.c ---- */

/* The control queue was kicked: its commands, on the main thread, posted. */
void     net_ctrl_posted(gpointer net);
guint    net_ctrl_index(const VirtioNet *net);
void     net_filter_reset(VirtioNet *net);
gboolean net_filter_valid(const NetFilter *f);
/* [any] Whether the frame whose first LEN bytes (18 do) are HEAD is for the guest. */
gboolean net_filter_takes(VirtioNet *net, const guint8 *head, gsize len);

/* ---- virtio-net-header.c ---- */

/* Whether the back end may see HEADER before a frame of LEN bytes whose first N (60 do, or LEN) are HEAD. Takes out what means
 * nothing; NULL, or what is wrong with it. */
const char *net_header_check(guint8 header[NET_HEADER], guint64 features, const guint8 *head, gsize n, gsize len);

/* ---- virtio-net-io.c, on the I/O thread ---- */

/* Once for each pair. */
void net_io_init(NetPair *p);
/* No interrupt is owed any more; the queue's next visit will look. */
void net_io_stop(gpointer pair);
void net_rx_kicked(gpointer pair);
void net_tx_kicked(gpointer pair);
void net_readable(gpointer net, guint index);
void net_writable(gpointer net, guint index);

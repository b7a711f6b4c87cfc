/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtio-net.h - the virtio network card as commands and queries see it. Main thread.
 */
#pragma once

#include "../core/device.h"

#define NET_MAC_TABLE 64

/* What the driver wants to receive (virtio 1.2 section 5.1.6.5). Saved row by row. */
typedef struct {
    guint8  mac[6];
    guint8  promisc, all_multicast, all_unicast, no_multicast, no_unicast, no_broadcast; /* 0 or 1, as the next two */
    guint8  unicast_overflow, multicast_overflow;
    guint16 n_unicast, n_multicast; /* together at most NET_MAC_TABLE */
    guint8  macs[NET_MAC_TABLE * 6]; /* first unicast, then multicast */
    guint8  vlans[4096 / 8];
} NetFilter;

gboolean virtio_net_is(const Device *dev);
/* The cable: the guest is told. Both this and its back end's own link must be up. */
void     virtio_net_set_link(Device *dev, gboolean up);
/* VLANS: whether the driver filters them. From now on the next change is told by the observer's rx_filter_changed(). */
void     virtio_net_filter(Device *dev, NetFilter *out, gboolean *vlans);

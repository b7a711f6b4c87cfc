/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtio-net-ctrl.c - the network card's control queue (virtio 1.2 section 5.1.6.5) and the receive filter that it sets.
 *
 * Commands run on the main thread under the Device lock, since some of them stop the data path for a moment. Which queue they
 * come by depends on what was negotiated, so its kicks go through the I/O thread, which only passes them on.
 *
 * The filter is read on I/O threads for each frame, hence its own lock.
 */
#include "virtio-net-priv.h"

enum { CLASS_RX, CLASS_MAC, CLASS_VLAN, CLASS_ANNOUNCE, CLASS_MQ, CLASS_GUEST_OFFLOADS };
enum { RX_PROMISC, RX_ALLMULTI, RX_ALLUNI, RX_NOMULTI, RX_NOUNI, RX_NOBCAST };
enum { MAC_TABLE_SET, MAC_ADDR_SET };
enum { VLAN_ADD, VLAN_DEL };
enum { ACK_OK = 0, ACK_ERR = 1 };
enum { CTRL_SEGMENTS = 128, CTRL_BUDGET = 64, MAC = 6, TAG_AT = 12, TYPE_VLAN = 0x8100 };

#define GUEST_OFFLOADS                                                                                             \
    (VIRTIO_BIT(NET_F_GUEST_CSUM) | VIRTIO_BIT(NET_F_GUEST_TSO4) | VIRTIO_BIT(NET_F_GUEST_TSO6) | VIRTIO_BIT(NET_F_GUEST_ECN))

/* ---- the filter ---- */

void net_filter_reset(VirtioNet *net)
{
    NetFilter f = { .promisc = 1 }; /* until the driver says something else */

    for (guint i = 0; i < MAC; i++)
        f.mac[i] = (guint8)g_ascii_strtoull(net_config(net)->mac + 3 * i, NULL, 16);
    LOCK_SCOPE(&net->filter_lock);
    net->filter = f;
}

gboolean net_filter_valid(const NetFilter *f)
{
    return f->promisc <= 1 && f->all_multicast <= 1 && f->all_unicast <= 1 && f->no_multicast <= 1 && f->no_unicast <= 1 &&
           f->no_broadcast <= 1 && f->unicast_overflow <= 1 && f->multicast_overflow <= 1 &&
           f->n_unicast + f->n_multicast <= NET_MAC_TABLE;
}

static gboolean in_table(const NetFilter *f, guint first, guint n, const guint8 *mac)
{
    for (guint i = first; i < first + n; i++) {
        if (memcmp(f->macs + MAC * i, mac, MAC) == 0)
            return TRUE;
    }
    return FALSE;
}

static gboolean vlan_passes(const NetFilter *f, const guint8 *head, gsize len)
{
    guint id;

    if (len < TAG_AT + 4 || (head[TAG_AT] << 8 | head[TAG_AT + 1]) != TYPE_VLAN)
        return TRUE;
    id = (guint)(head[TAG_AT + 2] & 15) << 8 | head[TAG_AT + 3];
    return (f->vlans[id / 8] & (1 << (id % 8))) != 0;
}

static gboolean address_passes(const NetFilter *f, const guint8 *mac)
{
    static const guint8 everybody[MAC] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

    if (memcmp(mac, everybody, MAC) == 0)
        return !f->no_broadcast;
    if (mac[0] & 1)
        return !f->no_multicast && (f->all_multicast || f->multicast_overflow || in_table(f, f->n_unicast, f->n_multicast, mac));
    return !f->no_unicast && (f->all_unicast || f->unicast_overflow || memcmp(mac, f->mac, MAC) == 0 || in_table(f, 0, f->n_unicast, mac));
}

gboolean net_filter_takes(VirtioNet *net, const guint8 *head, gsize len)
{
    LOCK_SCOPE(&net->filter_lock);
    const NetFilter *f = &net->filter;

    if (len < 14)
        return FALSE;
    if (f->promisc)
        return TRUE;
    if (virtio_has(&net->virtio.vd, NET_F_CTRL_VLAN) && !vlan_passes(f, head, len))
        return FALSE;
    return address_passes(f, head);
}

static void filter_changed(VirtioNet *net)
{
    Device *dev = &net->virtio.pci.dev;
    gpointer observed;
    const DeviceObserver *observer = device_set_observer(dev->set, &observed);

    if (!net->tell_filter || !observer || !observer->rx_filter_changed)
        return;
    net->tell_filter = FALSE;
    observer->rx_filter_changed(observed, dev);
}

/* ---- commands: what follows class and command is DATA ---- */

typedef struct {
    struct iovec *iov;
    guint         n;
    gsize         len;
} Data;

static gboolean get(const Data *d, gsize offset, void *to, gsize len)
{
    return range_within(offset, len, d->len) && iov_read(d->iov, d->n, 2 + offset, to, len) == len;
}

static gboolean rx_mode(VirtioNet *net, guint8 command, const Data *d)
{
    NetFilter *f = &net->filter;
    guint8 *const modes[] = { &f->promisc, &f->all_multicast, &f->all_unicast, &f->no_multicast, &f->no_unicast, &f->no_broadcast };
    guint8 on;

    if (command >= G_N_ELEMENTS(modes) || d->len != 1 || !get(d, 0, &on, 1) ||
        !virtio_has(&net->virtio.vd, command <= RX_ALLMULTI ? NET_F_CTRL_RX : NET_F_CTRL_RX_EXTRA))
        return FALSE;
    LOCK_SCOPE(&net->filter_lock);
    *modes[command] = on != 0;
    return TRUE;
}

/* One of the two tables, at OFFSET of DATA, which moves behind it. More than there is room for overflows, and takes none. */
static gboolean mac_table(NetFilter *f, const Data *d, gsize *offset, guint16 *n, guint8 *overflow)
{
    guint8 raw[4];
    guint64 bytes;
    guint32 count;

    if (!get(d, *offset, raw, 4))
        return FALSE;
    count = le32_get(raw);
    bytes = (guint64)count * MAC;
    if (!range_within(*offset + 4, bytes, d->len))
        return FALSE;
    *overflow = count > NET_MAC_TABLE - (guint)f->n_unicast;
    *n = 0;
    if (!*overflow) {
        get(d, *offset + 4, f->macs + MAC * (gsize)f->n_unicast, bytes);
        *n = (guint16)count;
    }
    *offset += 4 + bytes;
    return TRUE;
}

static gboolean mac_table_set(VirtioNet *net, const Data *d)
{
    NetFilter f = net->filter; /* written on this thread only */
    gsize offset = 0;
    guint16 n_unicast = 0;

    f.n_unicast = f.n_multicast = 0;
    memset(f.macs, 0, sizeof f.macs);
    if (!mac_table(&f, d, &offset, &n_unicast, &f.unicast_overflow))
        return FALSE;
    f.n_unicast = n_unicast;
    if (!mac_table(&f, d, &offset, &f.n_multicast, &f.multicast_overflow) || offset != d->len)
        return FALSE;
    LOCK_SCOPE(&net->filter_lock);
    net->filter = f;
    return TRUE;
}

static gboolean mac_set(VirtioNet *net, guint8 command, const Data *d)
{
    VirtioDevice *vd = &net->virtio.vd;
    guint8 mac[MAC];

    if (command == MAC_TABLE_SET)
        return virtio_has(vd, NET_F_CTRL_RX) && mac_table_set(net, d);
    if (command != MAC_ADDR_SET || !virtio_has(vd, NET_F_CTRL_MAC_ADDR) || d->len != MAC || !get(d, 0, mac, MAC))
        return FALSE;
    memcpy(vd->config + NET_CONFIG_MAC, mac, MAC);
    LOCK_SCOPE(&net->filter_lock);
    memcpy(net->filter.mac, mac, MAC);
    return TRUE;
}

static gboolean vlan(VirtioNet *net, guint8 command, const Data *d)
{
    guint8 raw[2];
    guint id;

    if (command > VLAN_DEL || !virtio_has(&net->virtio.vd, NET_F_CTRL_VLAN) || d->len != 2 || !get(d, 0, raw, 2))
        return FALSE;
    id = le16_get(raw);
    if (id >= 4096)
        return FALSE;
    LOCK_SCOPE(&net->filter_lock);
    if (command == VLAN_ADD)
        net->filter.vlans[id / 8] |= (guint8)(1 << (id % 8));
    else
        net->filter.vlans[id / 8] &= (guint8)~(1 << (id % 8));
    return TRUE;
}

static gboolean announced(VirtioNet *net, guint8 command, const Data *d)
{
    VirtioDevice *vd = &net->virtio.vd;

    if (command != 0 || d->len || !virtio_has(vd, NET_F_GUEST_ANNOUNCE) || !(vd->config[NET_CONFIG_STATUS] & NET_S_ANNOUNCE))
        return FALSE;
    vd->config[NET_CONFIG_STATUS] &= (guint8)~NET_S_ANNOUNCE;
    return TRUE;
}

static gboolean pairs_set(VirtioNet *net, guint8 command, const Data *d)
{
    guint8 raw[2];
    guint n;

    if (command != 0 || !virtio_has(&net->virtio.vd, NET_F_MQ) || d->len != 2 || !get(d, 0, raw, 2))
        return FALSE;
    n = le16_get(raw);
    if (n < 1 || n > net->n_pairs)
        return FALSE;
    net->active = (guint16)n;
    net_apply(net);
    return TRUE;
}

static gboolean offloads_set(VirtioNet *net, guint8 command, const Data *d)
{
    VirtioDevice *vd = &net->virtio.vd;
    guint8 raw[8];

    if (command != 0 || !virtio_has(vd, NET_F_CTRL_GUEST_OFFLOADS) || d->len != 8 || !get(d, 0, raw, 8))
        return FALSE;
    if (le64_get(raw) & ~(GUEST_OFFLOADS & vd->driver_features))
        return FALSE;
    net->offloads = le64_get(raw);
    net_apply(net);
    return TRUE;
}

static gboolean command(VirtioNet *net, const Data *d)
{
    guint8 head[2];

    iov_read(d->iov, d->n, 0, head, 2);
    switch (head[0]) {
    case CLASS_RX:
        return rx_mode(net, head[1], d);
    case CLASS_MAC:
        return mac_set(net, head[1], d);
    case CLASS_VLAN:
        return vlan(net, head[1], d);
    case CLASS_ANNOUNCE:
        return announced(net, head[1], d);
    case CLASS_MQ:
        return pairs_set(net, head[1], d);
    case CLASS_GUEST_OFFLOADS:
        return offloads_set(net, head[1], d);
    default:
        return FALSE;
    }
}

/* ---- the queue ---- */

guint net_ctrl_index(const VirtioNet *net)
{
    return virtio_has(&net->virtio.vd, NET_F_MQ) ? 2 * net->n_pairs : 2;
}

/* FALSE: the chain is none, the queue is broken. */
static gboolean answer(VirtioNet *net, VirtQueue *vq, VqChain *c)
{
    Data d = { c->iov, c->n_out, c->out_len - 2 };
    NetFilter before = net->filter;
    guint8 ack;

    if (c->out_len < 2 || c->in_len < 1) {
        vq_break(vq, "a command of %" G_GUINT64_FORMAT " readable and %" G_GUINT64_FORMAT " writable bytes", c->out_len, c->in_len);
        vq_drop(vq, c);
        return FALSE;
    }
    ack = command(net, &d) ? ACK_OK : ACK_ERR;
    iov_write(c->iov + c->n_out, c->n_in, 0, &ack, 1);
    vq_push(vq, c, 1);
    if (memcmp(&before, &net->filter, sizeof before) != 0)
        filter_changed(net);
    return TRUE;
}

static void serve(VirtioNet *net, guint index)
{
    VirtQueue *vq = net->virtio.vd.queues[index].vq;
    struct iovec iov[CTRL_SEGMENTS];
    VqChain c = { .iov = iov, .max_iov = CTRL_SEGMENTS };
    guint left = CTRL_BUDGET;

    if (!vq_begin(vq))
        return;
    do {
        vq_kicks_off(vq);
        while (left && vq_pop(vq, &c) == VQ_CHAIN && answer(net, vq, &c))
            left--;
    } while (left && vq_kicks_on(vq));
    if (!left)
        virtio_kick(&net->virtio.vd, index);
    vq_flush(vq);
    if (vq_should_notify(vq))
        virtio_notify_queue(&net->virtio.vd, index);
    vq_end(vq);
}

void net_ctrl_posted(gpointer user)
{
    VirtioNet *net = user;
    LOCK_SCOPE(&net->virtio.pci.dev.lock);
    guint index = net_ctrl_index(net);

    if (virtio_has(&net->virtio.vd, NET_F_CTRL_VQ) && virtio_queue_ready(&net->virtio.vd, index))
        serve(net, index);
}

/* ---- queries ---- */

void virtio_net_filter(Device *dev, NetFilter *out, gboolean *vlans)
{
    VirtioNet *net = (VirtioNet *)dev;
    LOCK_SCOPE(&dev->lock);

    *out = net->filter;
    *vlans = net->running && virtio_has(&net->virtio.vd, NET_F_CTRL_VLAN);
    net->tell_filter = TRUE;
}

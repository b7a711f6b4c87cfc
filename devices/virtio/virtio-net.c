/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtio-net.c - the virtio network card (virtio 1.2 section 5.1): what it is and how it comes and goes.
 *
 * Data queues are served on an I/O thread with nothing in flight between two visits. So to stop, for whatever reason, is
 * net_halt(): no kick is looked at and the back end's queues are stopped, which returns when no visit runs. net_go() starts
 * again what may run, and kicks it: nothing is lost, and both can be called as often as one likes.
 */
#include "virtio-net-priv.h"

#include "../backend/iothread.h"

/* ---- the data path ---- */

static void unwatch(IoWatch **watch)
{
    if (*watch)
        iothread_unwatch(g_steal_pointer(watch));
}

void net_halt(VirtioNet *net)
{
    for (guint i = 0; i < net->n_pairs; i++) {
        NetPair *p = &net->pairs[i];

        unwatch(&p->rx_watch);
        unwatch(&p->tx_watch);
        if (!p->open)
            continue;
        net->nd->ops->queue_stop(net->nd, i);
        iothread_call(net->thread, net_io_stop, p);
        p->open = FALSE;
    }
}

static gboolean watch(VirtioNet *net, IoWatch **w, guint queue, void (*cb)(gpointer), gpointer user, GError **error)
{
    VirtioDevice *vd = &net->virtio.vd;

    *w = iothread_watch(net->thread, virtio_kick_fd(vd, queue), TRUE, cb, user, error);
    virtio_kick(vd, queue);
    return *w != NULL;
}

static gboolean pair_go(NetPair *p, GError **error)
{
    VirtioNet *net = p->net;
    const VirtioQueue *q = &net->virtio.vd.queues[2 * p->index];

    p->rx_on = vq_started(q[0].vq) && !p->rx_stop;
    p->tx_on = vq_started(q[1].vq) && !p->tx_stop;
    p->paused = p->blocked = FALSE;
    if (!p->rx_on && !p->tx_on)
        return TRUE;
    p->open = net->nd->ops->queue_start(net->nd, p->index, net->thread, error);
    return p->open && (!p->rx_on || watch(net, &p->rx_watch, 2 * p->index, net_rx_kicked, p, error)) &&
           (!p->tx_on || watch(net, &p->tx_watch, 2 * p->index + 1, net_tx_kicked, p, error));
}

void net_go(VirtioNet *net)
{
    g_autoptr(GError) error = NULL;

    if (!net->running || net->virtio.vd.quiesced || net->virtio.vd.no_dma)
        return;
    for (guint i = 0; i < net->active; i++) {
        if (!net->pairs[i].open && !pair_go(&net->pairs[i], &error)) {
            virtio_needs_reset(&net->virtio.vd, error->message);
            return;
        }
    }
}

/* What the back end may use towards the guest (section 5.1.6.5.6.1: at first all that was negotiated). */
static guint guest_offloads(const VirtioNet *net)
{
    guint64 f = net->virtio.vd.driver_features & net->offloads;

    if (!(f & VIRTIO_BIT(NET_F_GUEST_CSUM)))
        return 0;
    return NET_CSUM | (f & VIRTIO_BIT(NET_F_GUEST_TSO4) ? NET_TSO4 : 0) | (f & VIRTIO_BIT(NET_F_GUEST_TSO6) ? NET_TSO6 : 0) |
           (f & VIRTIO_BIT(NET_F_GUEST_ECN) && f & (VIRTIO_BIT(NET_F_GUEST_TSO4) | VIRTIO_BIT(NET_F_GUEST_TSO6)) ? NET_ECN : 0);
}

void net_apply(VirtioNet *net)
{
    const NetdevOps *ops = net->nd->ops;

    net_halt(net);
    if (ops->set_queues)
        ops->set_queues(net->nd, net->active);
    if (ops->set_offloads)
        ops->set_offloads(net->nd, guest_offloads(net) & net->nd->offloads);
    net_go(net);
}

/* ---- start and stop ---- */

static void ctrl_kicked(gpointer user)
{
    VirtioNet *net = user;

    vm_post(device_set_vm(net->virtio.pci.dev.set), net_ctrl_posted, net);
}

static void ctrl_go(VirtioNet *net)
{
    VirtioDevice *vd = &net->virtio.vd;
    guint index = net_ctrl_index(net);
    g_autoptr(GError) error = NULL;

    if (!net->running || vd->quiesced || vd->no_dma || net->ctrl_watch || !virtio_has(vd, NET_F_CTRL_VQ) || !vq_started(vd->queues[index].vq))
        return;
    if (!watch(net, &net->ctrl_watch, index, ctrl_kicked, net, &error))
        virtio_needs_reset(vd, error->message);
}

static void net_start(VirtioDevice *vd)
{
    VirtioNet *net = net_of(vd);

    for (guint i = 0; i < net->n_pairs; i++) {
        NetPair *p = &net->pairs[i];
        p->rx_stop = p->tx_stop = FALSE;
        p->stashed = 0;
    }
    net->running = TRUE;
    net_apply(net);
    ctrl_go(net);
}

/* What the driver set goes with it. Device lock held. */
static void forget_driver(VirtioNet *net)
{
    VirtioDevice *vd = &net->virtio.vd;

    net->active = 1;
    net->offloads = G_MAXUINT64;
    net_filter_reset(net);
    memcpy(vd->config + NET_CONFIG_MAC, net->filter.mac, sizeof net->filter.mac);
    vd->config[NET_CONFIG_STATUS] &= (guint8)~NET_S_ANNOUNCE;
}

static gboolean net_stop(VirtioDevice *vd)
{
    VirtioNet *net = net_of(vd);

    net_halt(net);
    unwatch(&net->ctrl_watch);
    net->running = FALSE;
    forget_driver(net);
    if (net->nd->ops->set_queues)
        net->nd->ops->set_queues(net->nd, 1);
    return TRUE;
}

/* Starts (STOP FALSE) or stops one queue: the pair stands meanwhile. */
static void one_queue(VirtioNet *net, guint index, gboolean stop)
{
    NetPair *p = &net->pairs[MIN(index / 2, net->n_pairs - 1)];

    if (virtio_has(&net->virtio.vd, NET_F_CTRL_VQ) && index == net_ctrl_index(net)) {
        if (stop)
            unwatch(&net->ctrl_watch);
        else
            ctrl_go(net);
        return;
    }
    net_halt(net);
    if (index / 2 < net->n_pairs)
        *(index % 2 ? &p->tx_stop : &p->rx_stop) = stop;
    if (stop && index % 2 == 0)
        p->stashed = 0;
    net_go(net);
}

/* Nothing is in flight, so nothing waits either: frames stay with the back end. */
static void net_dma(VirtioDevice *vd, gboolean on)
{
    VirtioNet *net = net_of(vd);

    if (on) {
        net_go(net);
        ctrl_go(net);
    } else {
        net_halt(net);
        unwatch(&net->ctrl_watch);
    }
}

static void net_queue_start(VirtioDevice *vd, guint index)
{
    one_queue(net_of(vd), index, FALSE);
}

static gboolean net_queue_stop(VirtioDevice *vd, guint index)
{
    one_queue(net_of(vd), index, TRUE);
    return TRUE;
}

/* ---- features: section 5.1.3.1 ---- */

typedef struct {
    guint8 bit, needs, or_needs; /* needs: one of these two */
} Need;

static const Need needs[] = {
    { NET_F_GUEST_TSO4, NET_F_GUEST_CSUM, NET_F_GUEST_CSUM },
    { NET_F_GUEST_TSO6, NET_F_GUEST_CSUM, NET_F_GUEST_CSUM },
    { NET_F_GUEST_ECN, NET_F_GUEST_TSO4, NET_F_GUEST_TSO6 },
    { NET_F_HOST_TSO4, NET_F_CSUM, NET_F_CSUM },
    { NET_F_HOST_TSO6, NET_F_CSUM, NET_F_CSUM },
    { NET_F_HOST_ECN, NET_F_HOST_TSO4, NET_F_HOST_TSO6 },
    { NET_F_CTRL_GUEST_OFFLOADS, NET_F_CTRL_VQ, NET_F_CTRL_VQ },
    { NET_F_CTRL_RX, NET_F_CTRL_VQ, NET_F_CTRL_VQ },
    { NET_F_CTRL_VLAN, NET_F_CTRL_VQ, NET_F_CTRL_VQ },
    { NET_F_CTRL_RX_EXTRA, NET_F_CTRL_VQ, NET_F_CTRL_VQ },
    { NET_F_GUEST_ANNOUNCE, NET_F_CTRL_VQ, NET_F_CTRL_VQ },
    { NET_F_MQ, NET_F_CTRL_VQ, NET_F_CTRL_VQ },
    { NET_F_CTRL_MAC_ADDR, NET_F_CTRL_VQ, NET_F_CTRL_VQ },
};

static gboolean net_features_ok(VirtioDevice *vd, guint64 f)
{
    for (guint i = 0; i < G_N_ELEMENTS(needs); i++) {
        const Need *n = &needs[i];
        if ((f & VIRTIO_BIT(n->bit)) && !(f & (VIRTIO_BIT(n->needs) | VIRTIO_BIT(n->or_needs)))) {
            device_guest_error(vd->dev, "feature %u without feature %u", n->bit, n->needs);
            return FALSE;
        }
    }
    return TRUE;
}

static guint64 bit(gboolean on, guint n)
{
    return on ? VIRTIO_BIT(n) : 0;
}

static guint64 features(const VirtioNet *net)
{
    const VirtioNetPciConfig *c = net_config(net);
    guint64 ctrl = bit(c->ctrl_rx, NET_F_CTRL_RX) | bit(c->ctrl_rx_extra, NET_F_CTRL_RX_EXTRA) | bit(c->ctrl_vlan, NET_F_CTRL_VLAN) |
                   bit(c->ctrl_mac_addr, NET_F_CTRL_MAC_ADDR) | bit(c->guest_announce, NET_F_GUEST_ANNOUNCE) |
                   bit(c->ctrl_guest_offloads, NET_F_CTRL_GUEST_OFFLOADS) | bit(c->mq && c->queue_pairs > 1, NET_F_MQ);

    return VIRTIO_BIT(NET_F_MAC) | bit(c->csum, NET_F_CSUM) | bit(c->guest_csum, NET_F_GUEST_CSUM) | bit(c->host_mtu, NET_F_MTU) |
           bit(c->guest_tso4, NET_F_GUEST_TSO4) | bit(c->guest_tso6, NET_F_GUEST_TSO6) | bit(c->guest_ecn, NET_F_GUEST_ECN) |
           bit(c->host_tso4, NET_F_HOST_TSO4) | bit(c->host_tso6, NET_F_HOST_TSO6) | bit(c->host_ecn, NET_F_HOST_ECN) |
           bit(c->mrg_rxbuf, NET_F_MRG_RXBUF) | bit(c->status, NET_F_STATUS) | bit(c->ctrl_vq, NET_F_CTRL_VQ) |
           (c->ctrl_vq ? ctrl : 0);
}

static const VirtioDeviceOps net_ops = {
    .device_id = VIRTIO_ID_NET,
    .name = "virtio-net",
    .features_ok = net_features_ok,
    .start = net_start,
    .stop = net_stop,
    .dma = net_dma,
    .queue_start = net_queue_start,
    .queue_stop = net_queue_stop,
};

static const VirtioPciType net_pci = { .ops = &net_ops, .class_code = 0x020000, .in_order = TRUE };

/* ---- link ---- */

/* Device lock held. */
static void set_status(VirtioNet *net, guint16 add)
{
    VirtioDevice *vd = &net->virtio.vd;
    guint16 status = (guint16)((le16_get(vd->config + NET_CONFIG_STATUS) & NET_S_ANNOUNCE) | add);
    guint8 raw[2];

    if (!net_config(net)->status)
        return;
    if (__atomic_load_n(&net->link_up, __ATOMIC_RELAXED))
        status |= NET_S_LINK_UP;
    le16_put(raw, status);
    virtio_config_set(vd, NET_CONFIG_STATUS, raw, sizeof raw);
}

static void link_may_have_changed(VirtioNet *net)
{
    LOCK_SCOPE(&net->virtio.pci.dev.lock);

    __atomic_store_n(&net->link_up, net->cable && net->nd->link_up, __ATOMIC_RELAXED);
    if (net->virtio.vd.n_queues)
        set_status(net, 0);
}

static void link_changed(gpointer user, gboolean up)
{
    link_may_have_changed(user);
}

static const NetdevUserOps user_ops = { .readable = net_readable, .writable = net_writable, .link_changed = link_changed };

void virtio_net_set_link(Device *dev, gboolean up)
{
    VirtioNet *net = (VirtioNet *)dev;

    net->cable = up;
    link_may_have_changed(net);
}

gboolean virtio_net_is(const Device *dev)
{
    return strcmp(dev->type->name, "virtio-net-pci") == 0;
}

/* ---- resolve ---- */

static gboolean parse_mac(const char *text, guint8 mac[6])
{
    for (guint i = 0; i < 6; i++) {
        if (!g_ascii_isxdigit(text[3 * i]) || !g_ascii_isxdigit(text[3 * i + 1]) || text[3 * i + 2] != (i < 5 ? ':' : 0))
            return FALSE;
        mac[i] = (guint8)(g_ascii_xdigit_value(text[3 * i]) << 4 | g_ascii_xdigit_value(text[3 * i + 1]));
    }
    return TRUE;
}

static gboolean has_mac(Device *dev, gpointer text)
{
    const char **mac = text;

    if (virtio_net_is(dev) && prop_bag_is_set(dev->bag, "mac") && strcmp(DEVICE_CONFIG(dev, VirtioNetPciConfig)->mac, *mac) == 0)
        *mac = NULL;
    return *mac != NULL;
}

static gboolean resolve_mac(Device *dev, GError **error)
{
    PropOrigin origin = prop_bag_origin(dev->bag, "mac");
    g_autofree char *text = NULL;
    const char *unused = NULL;
    guint8 mac[6] = { 0x52, 0x54, 0x00 };

    while (origin == ORIGIN_UNSET && !unused) { /* by lot, but not one that the machine has */
        guint32 lot = g_random_int();
        memcpy(mac + 3, &lot, 3);
        g_free(text);
        unused = text = g_strdup_printf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
        device_set_foreach(dev->set, has_mac, &unused);
    }
    if (origin == ORIGIN_UNSET) {
        prop_bag_set_s(dev->bag, "mac", text, ORIGIN_DEFAULT);
        return TRUE;
    }
    text = g_ascii_strdown(DEVICE_CONFIG(dev, VirtioNetPciConfig)->mac, -1);
    if (!parse_mac(text, mac) || (mac[0] & 1)) {
        g_autofree char *given = error_quote(text, -1);
        return error_set(error, "Property 'mac' of device '%s' does not accept '%s': the address of one station, as 52:54:00:12:34:56",
                         dev->id, given);
    }
    prop_bag_set_s(dev->bag, "mac", text, origin);
    return TRUE;
}

typedef struct {
    const char *name;
    guint       offload;
    const char *needs; /* another row, or NULL */
    const char *or_needs;
} OffloadRow;

/* In the order of their needs. */
static const OffloadRow offload_rows[] = {
    { "csum", NET_CSUM, NULL, NULL },
    { "guest_csum", NET_CSUM, NULL, NULL },
    { "host_tso4", NET_TSO4, "csum", NULL },
    { "host_tso6", NET_TSO6, "csum", NULL },
    { "host_ecn", NET_ECN, "host_tso4", "host_tso6" },
    { "guest_tso4", NET_TSO4, "guest_csum", NULL },
    { "guest_tso6", NET_TSO6, "guest_csum", NULL },
    { "guest_ecn", NET_ECN, "guest_tso4", "guest_tso6" },
};

static gboolean is_on(const Device *dev, const char *name)
{
    return name && prop_bag_get_u(dev->bag, (guint)prop_table_row(dev->bag->table, name));
}

static gboolean resolve_offloads(Device *dev, guint can, GError **error)
{
    for (guint i = 0; i < G_N_ELEMENTS(offload_rows); i++) {
        const OffloadRow *row = &offload_rows[i];
        gboolean fits = !row->needs || is_on(dev, row->needs) || is_on(dev, row->or_needs);

        if (!prop_bag_is_set(dev->bag, row->name))
            prop_bag_set_u(dev->bag, row->name, fits && (can & row->offload), ORIGIN_HOST);
        else if (is_on(dev, row->name) && !fits)
            return error_set(error, "Property '%s' of device '%s' is on, and '%s' is off, which it needs", row->name, dev->id, row->needs);
    }
    return TRUE;
}

static gboolean check_size(const Device *dev, const char *name, guint value, GError **error)
{
    return !(value & (value - 1)) || error_set(error, "Property '%s' of device '%s' is %u, not a power of two", name, dev->id, value);
}

static guint n_queues(const VirtioNetPciConfig *c)
{
    return 2u * c->queue_pairs + (c->ctrl_vq ? 1 : 0);
}

static gboolean net_resolve(Device *dev, GError **error)
{
    const VirtioNetPciConfig *c = DEVICE_CONFIG(dev, VirtioNetPciConfig);
    Device *found = device_set_find(dev->set, NS_OBJECT, c->netdev);
    const Netdev *nd = found && netdev_is(found) ? (Netdev *)found : NULL;

    if (!prop_bag_is_set(dev->bag, "queue-pairs"))
        prop_bag_set_u(dev->bag, "queue-pairs", nd && c->mq && c->ctrl_vq ? nd->n_queues : 1, ORIGIN_HOST);
    if (c->queue_pairs > 1 && !(c->mq && c->ctrl_vq))
        return error_set(error, "Property 'queue-pairs' of device '%s' is %u, which takes 'mq' and 'ctrl_vq'", dev->id, c->queue_pairs);
    if (c->host_mtu && c->host_mtu < 68)
        return error_set(error, "Property 'host_mtu' of device '%s' is %u: 0, or 68 to 65535", dev->id, c->host_mtu);
    return resolve_mac(dev, error) && resolve_offloads(dev, nd ? nd->offloads : 0, error) &&
           check_size(dev, "rx_queue_size", c->rx_queue_size, error) && check_size(dev, "tx_queue_size", c->tx_queue_size, error) &&
           virtio_pci_resolve(dev, &net_pci, n_queues(c), error);
}

/* ---- life cycle ---- */

static void fill_config(VirtioNet *net)
{
    const VirtioNetPciConfig *c = net_config(net);
    guint8 *config = net->virtio.vd.config;

    memcpy(config + NET_CONFIG_MAC, net->filter.mac, sizeof net->filter.mac);
    le16_put(config + NET_CONFIG_MAX_PAIRS, c->mq && c->queue_pairs > 1 ? c->queue_pairs : 0);
    le16_put(config + NET_CONFIG_MTU, c->host_mtu);
    set_status(net, 0);
}

/* What the rows say, perhaps a recorded configuration's, and what the back end of this host can do. */
static gboolean check_back_end(VirtioNet *net, GError **error)
{
    const Device *dev = &net->virtio.pci.dev;
    const VirtioNetPciConfig *c = net_config(net);

    for (guint i = 0; i < G_N_ELEMENTS(offload_rows); i++) {
        if (is_on(dev, offload_rows[i].name) && !(net->nd->offloads & offload_rows[i].offload))
            return error_set(error, "Property '%s' of device '%s' is on, and the back end '%s' can not do that", offload_rows[i].name,
                             dev->id, net->nd->dev.id);
    }
    return c->queue_pairs <= net->nd->n_queues ||
           error_set(error, "Property 'queue-pairs' of device '%s' is %u, and the back end '%s' has %u", dev->id, c->queue_pairs,
                     net->nd->dev.id, net->nd->n_queues);
}

static gboolean open_back_end(VirtioNet *net, GError **error)
{
    Device *dev = &net->virtio.pci.dev;
    const VirtioNetPciConfig *c = net_config(net);
    g_autofree char *name = g_strdup_printf("IO %s", dev->id);

    net->nd = netdev_attach(dev, c->netdev, "netdev", &user_ops, net, error);
    if (!net->nd || !check_back_end(net, error))
        return FALSE;
    net->cable = TRUE;
    __atomic_store_n(&net->link_up, net->nd->link_up, __ATOMIC_RELAXED);
    if (prop_bag_is_set(dev->bag, "iothread")) {
        net->iothread = device_link(dev, NS_OBJECT, c->iothread, "iothread", "iothread", error);
        net->thread = net->iothread ? iothread_object_thread(net->iothread) : NULL;
    } else {
        net->thread = net->own = iothread_new(name, error);
    }
    return net->thread != NULL;
}

static void make_pairs(VirtioNet *net)
{
    net->n_pairs = net_config(net)->queue_pairs;
    net->pairs = g_new0(NetPair, net->n_pairs);
    for (guint i = 0; i < net->n_pairs; i++) {
        net->pairs[i] = (NetPair){ .net = net, .index = i, .want = 1514 + NET_HEADER, .bounce = g_malloc(NET_BOUNCE) };
        net_io_init(&net->pairs[i]);
    }
}

static gboolean net_realize(Device *dev, GError **error)
{
    VirtioNet *net = (VirtioNet *)dev;
    const VirtioNetPciConfig *c = net_config(net);
    guint16 sizes[2 * NET_MAX_QUEUES + 1];

    g_mutex_init(&net->filter_lock);
    net->tell_filter = TRUE;
    make_pairs(net);
    for (guint i = 0; i < 2u * c->queue_pairs; i++)
        sizes[i] = i % 2 ? c->tx_queue_size : c->rx_queue_size;
    sizes[2 * c->queue_pairs] = 64;
    if (!open_back_end(net, error) || !virtio_pci_realize(dev, &net_pci, features(net), n_queues(c), sizes, NET_CONFIG_SIZE, error) ||
        !pci_device_claim_boot(&net->virtio.pci, "ethernet", "ethernet-phy@0", error))
        return FALSE;
    forget_driver(net);
    fill_config(net);
    return TRUE;
}

static void net_unrealize(Device *dev)
{
    VirtioNet *net = (VirtioNet *)dev;

    vm_post_cancel(device_set_vm(dev->set), net_ctrl_posted, net);
    virtio_pci_unrealize(dev);
    g_clear_pointer(&net->own, iothread_free);
    if (net->iothread)
        device_unlink(dev, g_steal_pointer(&net->iothread));
    if (net->nd)
        netdev_detach(g_steal_pointer(&net->nd));
    for (guint i = 0; i < net->n_pairs; i++)
        g_free(net->pairs[i].bounce);
    if (net->pairs)
        g_mutex_clear(&net->filter_lock);
    g_clear_pointer(&net->pairs, g_free);
    net->n_pairs = 0;
}

static void net_reset(Device *dev, ResetKind kind)
{
    VirtioNet *net = (VirtioNet *)dev;

    virtio_pci_reset(dev, kind);
    net->announce = FALSE;
    forget_driver(net);
    fill_config(net);
}

static void net_quiesce(Device *dev)
{
    VirtioNet *net = (VirtioNet *)dev;

    net_halt(net);
    unwatch(&net->ctrl_watch);
    virtio_pci_quiesce(dev);
}

static void net_resume(Device *dev)
{
    VirtioNet *net = (VirtioNet *)dev;

    virtio_pci_resume(dev);
    net_go(net);
    ctrl_go(net);
    if (net->announce && net->running && virtio_has(&net->virtio.vd, NET_F_GUEST_ANNOUNCE))
        set_status(net, NET_S_ANNOUNCE);
    net->announce = FALSE;
}

static gboolean net_post_load(Device *dev, GError **error)
{
    VirtioNet *net = (VirtioNet *)dev;

    if (!net_filter_valid(&net->filter))
        return error_set(error, "State of device '%s': its receive filter is none", dev->id);
    if (net->active < 1 || net->active > net->n_pairs)
        return error_set(error, "State of device '%s': %u pairs of queues, the device has %u", dev->id, net->active, net->n_pairs);
    fill_config(net);
    net->announce = TRUE;
    return virtio_pci_post_load(dev, error);
}

static const StateDesc net_state[] = {
    VIRTIO_PCI_ROWS("0.2"),
    STATE_ROW(VirtioNet, active, U16, "0.2"),
    STATE_ROW(VirtioNet, offloads, U64, "0.2"),
    STATE_ROW(VirtioNet, filter.mac, BYTES, "0.2"),
    STATE_ROW(VirtioNet, filter.promisc, U8, "0.2"),
    STATE_ROW(VirtioNet, filter.all_multicast, U8, "0.2"),
    STATE_ROW(VirtioNet, filter.all_unicast, U8, "0.2"),
    STATE_ROW(VirtioNet, filter.no_multicast, U8, "0.2"),
    STATE_ROW(VirtioNet, filter.no_unicast, U8, "0.2"),
    STATE_ROW(VirtioNet, filter.no_broadcast, U8, "0.2"),
    STATE_ROW(VirtioNet, filter.unicast_overflow, U8, "0.2"),
    STATE_ROW(VirtioNet, filter.multicast_overflow, U8, "0.2"),
    STATE_ROW(VirtioNet, filter.n_unicast, U16, "0.2"),
    STATE_ROW(VirtioNet, filter.n_multicast, U16, "0.2"),
    STATE_ROW(VirtioNet, filter.macs, BYTES, "0.2"),
    STATE_ROW(VirtioNet, filter.vlans, BYTES, "0.2"),
    STATE_END,
};

static const DeviceOps ops = {
    .resolve = net_resolve,
    .realize = net_realize,
    .publish = virtio_pci_publish,
    .reset = net_reset,
    .quiesce = net_quiesce,
    .resume = net_resume,
    .places = pci_device_places,
    .unplug_request = pci_device_unplug_request,
    .unpublish = virtio_pci_unpublish,
    .unrealize = net_unrealize,
    .post_load = net_post_load,
    .abi = virtio_pci_abi,
};

const DeviceType virtio_net_pci_type = { "virtio-net-pci", sizeof(VirtioNet), &ops, net_state };

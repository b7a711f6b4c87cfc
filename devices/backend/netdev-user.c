/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * netdev-user.c - the `user` network back end: libslirp behind the NIC's I/O thread.
 *
 * libslirp pushes frames, a NIC pulls them: between the two is a queue. While the NIC takes none (it paused), the stack does not
 * read from its sockets, so the host's peers are slowed down as by any full window, and the queue grows only by what libslirp
 * answers to the guest itself and by what it already holds. What goes beyond QUEUE_BYTES all the same is dropped, which TCP
 * mends.
 *
 * Everything between queue_start and queue_stop happens on the NIC's thread: no frame changes threads on its way.
 *
 * libslirp knows no offloads, and pays for each frame. So the guest's checksums are put in here, which lets it send segments of up
 * to 64 KiB (libslirp takes them); and what libslirp sends in a row is put together for a guest that takes large segments. IPv6 has
 * checksums only: libslirp takes no packet of it above its MTU.
 */
#include "../../schema/generated/devices.h"
#include "net-offload.h"
#include "slirp-stack.h"

extern const DeviceType netdev_user_type;

enum { QUEUE_BYTES = 16 << 20, FRAME_ROOM = NET_HEADER + 65536 + 14 };

typedef struct {
    Netdev      nd;
    SlirpLib   *lib;
    SlirpStack *stack;
    /* ---- the NIC's thread ---- */
    NetFrame   *first, *last; /* for the guest */
    guint       n_frames;
    gsize       queued; /* bytes in them */
    gboolean    paused, in_flush;
    guint8     *gather; /* a frame of the guest in one piece, its header before it; FRAME_ROOM bytes */
    /* ---- any thread ---- */
    guint       offloads; /* atomic: what the driver takes */
} UserNetdev;

/* ---- towards the guest ---- */

static guint offloads_of(UserNetdev *u)
{
    return __atomic_load_n(&u->offloads, __ATOMIC_RELAXED);
}

static void on_frame(gpointer user, const guint8 *frame, gsize len)
{
    UserNetdev *u = user;
    NetFrame *f;

    if (u->queued + len > QUEUE_BYTES) {
        netdev_drop(&u->nd.rx_dropped);
        return;
    }
    u->queued += len;
    if (u->last && (offloads_of(u) & NET_TSO4)) {
        gsize before = u->last->len;
        if (net_frame_add(u->last, frame, len)) {
            u->queued -= len - (u->last->len - before);
            return;
        }
    }
    f = net_frame_new(frame, len);
    *(u->last ? &u->last->next : &u->first) = f;
    u->last = f;
    u->n_frames++;
}

static void on_batch(gpointer user)
{
    UserNetdev *u = user;

    if (!u->first || u->paused)
        return;
    netdev_readable(&u->nd, 0);
    /* Again, after what else there is to do. Within flush() the NIC has still to come for them. */
    if (u->first && !u->paused && !(u->in_flush && u->n_frames <= NET_VISIT))
        slirp_stack_kick(u->stack);
}

static NetFrame *first_frame(UserNetdev *u)
{
    NetFrame *f = u->first;

    if (!f)
        return NULL;
    u->first = f->next;
    if (!u->first)
        u->last = NULL;
    u->queued -= f->len;
    u->n_frames--;
    return f;
}

static gssize user_recv(Netdev *nd, guint index, const struct iovec *iov, guint n)
{
    UserNetdev *u = (UserNetdev *)nd;
    g_autoptr(NetFrame) f = first_frame(u);
    gsize at = 0, len;

    if (!f)
        return NET_AGAIN;
    net_frame_finish(f, offloads_of(u));
    len = NET_HEADER + f->len;
    for (guint i = 0; i < n && at < len; i++) {
        gsize done = 0;
        if (at < NET_HEADER) {
            done = MIN(iov[i].iov_len, NET_HEADER - at);
            memcpy(iov[i].iov_base, f->header + at, done);
            at += done;
        }
        if (at >= NET_HEADER) {
            gsize part = MIN(iov[i].iov_len - done, len - at);
            memcpy((guint8 *)iov[i].iov_base + done, f->data + (at - NET_HEADER), part);
            at += part;
        }
    }
    return (gssize)at;
}

static void user_pause(Netdev *nd, guint index)
{
    UserNetdev *u = (UserNetdev *)nd;

    u->paused = TRUE;
    slirp_stack_block(u->stack, TRUE);
}

static void user_resume(Netdev *nd, guint index)
{
    UserNetdev *u = (UserNetdev *)nd;

    u->paused = FALSE;
    slirp_stack_block(u->stack, FALSE);
    slirp_stack_kick(u->stack);
}

/* ---- from the guest ---- */

/* libslirp wants it in one piece, and looks at it more than once, while the guest may change its memory. */
static int user_send(Netdev *nd, guint index, const struct iovec *iov, guint n)
{
    UserNetdev *u = (UserNetdev *)nd;
    gsize len = 0;

    for (guint i = 0; i < n; i++) {
        if (iov[i].iov_len > FRAME_ROOM - len) {
            netdev_drop(&nd->tx_dropped);
            return 0;
        }
        memcpy(u->gather + len, iov[i].iov_base, iov[i].iov_len);
        len += iov[i].iov_len;
    }
    if (len < NET_HEADER)
        len = NET_HEADER; /* an empty frame, which is dropped */
    net_finish_checksum(u->gather, u->gather + NET_HEADER, len - NET_HEADER);
    if (!slirp_stack_input(u->stack, u->gather + NET_HEADER, len - NET_HEADER))
        netdev_drop(&nd->tx_dropped);
    return 0;
}

static void user_flush(Netdev *nd, guint index)
{
    UserNetdev *u = (UserNetdev *)nd;

    u->in_flush = TRUE;
    slirp_stack_flush(u->stack);
    u->in_flush = FALSE;
}

static void user_set_offloads(Netdev *nd, guint offloads)
{
    __atomic_store_n(&((UserNetdev *)nd)->offloads, offloads, __ATOMIC_RELAXED);
}

static void on_guest_error(gpointer user, const char *message)
{
    UserNetdev *u = user;

    device_guest_error(&u->nd.dev, "%s", message);
}

static const SlirpStackOps stack_ops = { .frame = on_frame, .batch = on_batch, .guest_error = on_guest_error };

/* ---- queues ---- */

static gboolean user_queue_start(Netdev *nd, guint index, IoThread *thread, GError **error)
{
    UserNetdev *u = (UserNetdev *)nd;

    u->paused = FALSE;
    u->gather = g_malloc(FRAME_ROOM);
    if (slirp_stack_start(u->stack, thread, error))
        return TRUE;
    g_clear_pointer(&u->gather, g_free);
    return FALSE;
}

static void user_queue_stop(Netdev *nd, guint index)
{
    UserNetdev *u = (UserNetdev *)nd;

    slirp_stack_stop(u->stack);
    for (NetFrame *f; (f = first_frame(u));)
        net_frame_free(f);
    g_clear_pointer(&u->gather, g_free);
}

static const NetdevOps netdev_ops = {
    .kind = "user",
    .queue_start = user_queue_start,
    .queue_stop = user_queue_stop,
    .recv = user_recv,
    .pause = user_pause,
    .resume = user_resume,
    .send = user_send,
    .flush = user_flush,
    .set_offloads = user_set_offloads,
};

/* ---- the object ---- */

static gboolean settings_of(const Device *dev, SlirpSettings *out, GError **error)
{
    const NetdevUserConfig *c = DEVICE_CONFIG(dev, NetdevUserConfig);
    SlirpWords words = {
        .net = c->net,
        .host = c->host,
        .dhcpstart = c->dhcpstart,
        .dns = c->dns,
        .ipv6_prefix = c->ipv6_prefix,
        .ipv6_prefixlen = c->ipv6_prefixlen,
        .ipv6_host = c->ipv6_host,
        .ipv6_dns = c->ipv6_dns,
        .has_ipv4 = prop_bag_is_set(dev->bag, "ipv4"),
        .ipv4 = c->ipv4,
        .has_ipv6 = prop_bag_is_set(dev->bag, "ipv6"),
        .ipv6 = c->ipv6,
        .restricted = c->restrict_,
        .hostname = c->hostname,
        .domainname = c->domainname,
        .dnssearch = c->dnssearch,
        .tftp = c->tftp,
        .tftp_server = c->tftp_server_name,
        .bootfile = c->bootfile,
        .hostfwd = c->hostfwd,
    };

    return slirp_settings_parse(dev->id, &words, out, error);
}

static gboolean resolve(Device *dev, GError **error)
{
    g_auto(SlirpSettings) settings = { 0 };

    return settings_of(dev, &settings, error);
}

typedef struct {
    const Device *self;
    SlirpLib     *lib;
} Search;

static gboolean find_lib(Device *dev, gpointer user)
{
    Search *s = user;

    if (dev != s->self && dev->type == &netdev_user_type)
        s->lib = ((UserNetdev *)dev)->lib;
    return !s->lib;
}

/* All networks of a machine share one. */
static SlirpLib *share_lib(Device *dev, GError **error)
{
    Search s = { dev, NULL };

    device_set_foreach(dev->set, find_lib, &s);
    return s.lib ? slirp_lib_ref(s.lib) : slirp_lib_new(error);
}

static gboolean realize(Device *dev, GError **error)
{
    UserNetdev *u = (UserNetdev *)dev;
    g_auto(SlirpSettings) settings = { 0 };

    netdev_init(&u->nd, &netdev_ops);
    u->nd.header_len = NET_HEADER;
    u->nd.offloads = NET_CSUM | NET_TSO4;
    if (!settings_of(dev, &settings, error) || !(u->lib = share_lib(dev, error)))
        return FALSE;
    u->stack = slirp_stack_new(u->lib, dev->id, &settings, &stack_ops, u, error);
    return u->stack != NULL;
}

static void unrealize(Device *dev)
{
    UserNetdev *u = (UserNetdev *)dev;

    netdev_exit(&u->nd);
    g_clear_pointer(&u->stack, slirp_stack_free);
    g_clear_pointer(&u->lib, slirp_lib_unref);
}

static const DeviceOps ops = { .resolve = resolve, .realize = realize, .unrealize = unrealize };

const DeviceType netdev_user_type = { "netdev-user", sizeof(UserNetdev), &ops, state_none };

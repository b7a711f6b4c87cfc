/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net-tap.c - the back end `tap`: /dev/net/tun (Documentation/networking/tuntap.rst of Linux).
 *
 * A queue is a descriptor; a packet is a read or a write, preceded by a virtio_net_hdr_v1 where the descriptor has
 * IFF_VNET_HDR. The kernel checks the header once more and does checksums and segmentation itself, or leaves them to the
 * network card; what it may leave to the guest TUNSETOFFLOAD says.
 *
 * A queue that the driver does not use is detached (TUNSETQUEUE), or the kernel would go on spreading flows over it. A
 * detached queue polls as broken: it must not be watched, and the NIC does not start it.
 *
 * Watches belong to the I/O thread: pause() takes the queue's away and resume() puts it back. queue_stop() runs on another
 * thread while these may run, so it has the I/O thread do it.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include "../../schema/generated/devices.h"
#include "netdev.h"

typedef struct Tap Tap;

typedef struct {
    Tap      *tap;
    guint     index;
    int       fd;
    /* ---- I/O thread; constant while it does not run ---- */
    IoThread *thread; /* NULL: stopped */
    IoWatch  *watch;  /* NULL: paused */
    int       out_fd; /* an epoll instance that is readable when FD is writable; -1: not needed so far */
    IoWatch  *out_watch;
} TapQueue;

struct Tap {
    Netdev   nd;
    TapQueue queues[NET_MAX_QUEUES];
    char     ifname[IFNAMSIZ];
    guint    attached; /* Device lock of the NIC */
    gboolean multi;
};

static const NetdevTapConfig *config_of(const Tap *tap)
{
    return DEVICE_CONFIG(tap, NetdevTapConfig);
}

/* ---- the queue, on its I/O thread ---- */

static void readable(gpointer user)
{
    TapQueue *q = user;

    netdev_readable(&q->tap->nd, q->index);
}

static void tap_pause(Netdev *nd, guint index)
{
    TapQueue *q = &((Tap *)nd)->queues[index];

    if (q->watch)
        iothread_unwatch(g_steal_pointer(&q->watch));
}

static void tap_resume(Netdev *nd, guint index)
{
    TapQueue *q = &((Tap *)nd)->queues[index];
    g_autoptr(GError) error = NULL;

    if (q->watch)
        return;
    q->watch = iothread_watch(q->thread, q->fd, FALSE, readable, q, &error);
    if (!q->watch)
        g_warning("Network back end '%s' receives nothing any more: %s", nd->dev.id, error->message);
}

static gssize tap_recv(Netdev *nd, guint index, const struct iovec *iov, guint n)
{
    TapQueue *q = &((Tap *)nd)->queues[index];
    gssize got;

    do
        got = readv(q->fd, iov, (int)n);
    while (got < 0 && errno == EINTR);
    if (got >= 0)
        return got;
    if (errno != EAGAIN) { /* the interface is gone: its descriptor would be ready for ever */
        g_warning("Network back end '%s' receives nothing any more: %s", nd->dev.id, g_strerror(errno));
        tap_pause(nd, index);
    }
    return NET_AGAIN;
}

static void writable(gpointer user)
{
    TapQueue *q = user;

    iothread_unwatch(g_steal_pointer(&q->out_watch));
    netdev_writable(&q->tap->nd, q->index);
}

/* I/O threads watch for reading only, but an epoll instance is readable when something in it is ready. FALSE: not possible. */
static gboolean await_writable(TapQueue *q)
{
    struct epoll_event event = { .events = EPOLLOUT };

    if (q->out_fd < 0) {
        q->out_fd = epoll_create1(EPOLL_CLOEXEC);
        if (q->out_fd < 0)
            return FALSE;
        if (epoll_ctl(q->out_fd, EPOLL_CTL_ADD, q->fd, &event) < 0) {
            auto_fd_close(fd_steal(&q->out_fd));
            return FALSE;
        }
    }
    if (!q->out_watch)
        q->out_watch = iothread_watch(q->thread, q->out_fd, FALSE, writable, q, NULL);
    return q->out_watch != NULL;
}

static int tap_send(Netdev *nd, guint index, const struct iovec *iov, guint n)
{
    TapQueue *q = &((Tap *)nd)->queues[index];
    gssize put;

    do
        put = writev(q->fd, iov, (int)n);
    while (put < 0 && errno == EINTR);
    if (put < 0 && errno == EAGAIN && await_writable(q))
        return NET_AGAIN;
    if (put < 0)
        netdev_drop(&nd->tx_dropped); /* the interface is down, or the kernel does not like the header */
    return 0;
}

/* ---- start and stop ---- */

static gboolean tap_queue_start(Netdev *nd, guint index, IoThread *thread, GError **error)
{
    TapQueue *q = &((Tap *)nd)->queues[index];

    g_assert(!q->thread);
    q->thread = thread;
    q->watch = iothread_watch(thread, q->fd, FALSE, readable, q, error);
    if (!q->watch)
        q->thread = NULL;
    return q->watch != NULL;
}

static void stop(gpointer user)
{
    TapQueue *q = user;

    tap_pause(&q->tap->nd, q->index);
    if (q->out_watch)
        iothread_unwatch(g_steal_pointer(&q->out_watch));
}

static void tap_queue_stop(Netdev *nd, guint index)
{
    TapQueue *q = &((Tap *)nd)->queues[index];

    iothread_call(q->thread, stop, q);
    q->thread = NULL;
}

/* ---- settings ---- */

static guint tun_offloads(guint offloads)
{
    return (offloads & NET_CSUM ? TUN_F_CSUM : 0) | (offloads & NET_TSO4 ? TUN_F_TSO4 : 0) | (offloads & NET_TSO6 ? TUN_F_TSO6 : 0) |
           (offloads & NET_ECN ? TUN_F_TSO_ECN : 0);
}

static void tap_set_offloads(Netdev *nd, guint offloads)
{
    Tap *tap = (Tap *)nd;

    if (ioctl(tap->queues[0].fd, TUNSETOFFLOAD, (gulong)tun_offloads(offloads)) < 0) /* of the interface: all queues */
        g_warning("Network back end '%s': offloads 0x%x: %s", nd->dev.id, offloads, g_strerror(errno));
}

static gboolean attach(const TapQueue *q, gboolean on)
{
    struct ifreq ifr = { .ifr_flags = on ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE };

    return ioctl(q->fd, TUNSETQUEUE, &ifr) == 0;
}

static void tap_set_queues(Netdev *nd, guint n)
{
    Tap *tap = (Tap *)nd;

    if (!tap->multi)
        return;
    for (; tap->attached < n; tap->attached++) {
        if (!attach(&tap->queues[tap->attached], TRUE))
            g_warning("Network back end '%s': queue %u can not be attached: %s", nd->dev.id, tap->attached, g_strerror(errno));
    }
    for (; tap->attached > n; tap->attached--) {
        if (!attach(&tap->queues[tap->attached - 1], FALSE))
            g_warning("Network back end '%s': queue %u can not be detached: %s", nd->dev.id, tap->attached - 1, g_strerror(errno));
    }
}

static const NetdevOps tap_ops = {
    .kind = "tap",
    .queue_start = tap_queue_start,
    .queue_stop = tap_queue_stop,
    .recv = tap_recv,
    .pause = tap_pause,
    .resume = tap_resume,
    .send = tap_send,
    .set_offloads = tap_set_offloads,
    .set_queues = tap_set_queues,
};

/* ---- realize: by name ---- */

static int open_queue(Tap *tap, const char *name, gboolean header, gboolean multi, GError **error)
{
    g_auto(AutoFd) fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    struct ifreq ifr = { .ifr_flags = (short)(IFF_TAP | IFF_NO_PI | (header ? IFF_VNET_HDR : 0) | (multi ? IFF_MULTI_QUEUE : 0)) };

    if (fd < 0) {
        error_set_errno(error, errno, "Network back end '%s': can not open '/dev/net/tun'", tap->nd.dev.id);
        return -1;
    }
    g_strlcpy(ifr.ifr_name, name, sizeof ifr.ifr_name);
    if (ioctl(fd, TUNSETIFF, &ifr) < 0) {
        g_autofree char *given = error_quote(name, -1);
        error_set_errno(error, errno, "Network back end '%s': interface '%s' can not be opened with %s%s", tap->nd.dev.id, given,
                        multi ? "several queues" : "one queue", errno == EINVAL ? " (its own setting may differ)" : "");
        return -1;
    }
    memcpy(tap->ifname, ifr.ifr_name, sizeof tap->ifname);
    tap->ifname[sizeof tap->ifname - 1] = 0;
    return fd_steal(&fd);
}

static gboolean open_queues(Tap *tap, GError **error)
{
    const NetdevTapConfig *c = config_of(tap);

    tap->multi = c->queues > 1;
    tap->nd.n_queues = c->queues;
    for (guint i = 0; i < c->queues; i++) {
        const char *name = i ? tap->ifname : c->ifname ? c->ifname : "";
        tap->queues[i].fd = open_queue(tap, name, c->vnet_hdr, tap->multi, error);
        if (tap->queues[i].fd < 0)
            return FALSE;
    }
    return TRUE;
}

/* ---- realize: descriptors of somebody else's ---- */

/* Whether FD is bound to an interface, and to what kind; FLAGS gets IFF_*. */
static gboolean look_at(Tap *tap, int fd, int *flags, GError **error)
{
    struct ifreq ifr = { .ifr_flags = 0 };
    guint want = IFF_TAP | IFF_NO_PI;

    if (ioctl(fd, TUNGETIFF, &ifr) < 0)
        return error_set_errno(error, errno, "Network back end '%s': descriptor %d is not that of a tap interface", tap->nd.dev.id, fd);
    *flags = (unsigned short)ifr.ifr_flags;
    if (((guint)*flags & want) != want)
        return error_set(error, "Network back end '%s': descriptor %d has flags 0x%x, IFF_TAP and IFF_NO_PI (0x%x) are needed",
                         tap->nd.dev.id, fd, (guint)*flags, want);
    if (tap->ifname[0] && strncmp(tap->ifname, ifr.ifr_name, sizeof tap->ifname) != 0)
        return error_set(error, "Network back end '%s': descriptor %d is of interface '%.15s', the ones before it are of '%s'",
                         tap->nd.dev.id, fd, ifr.ifr_name, tap->ifname);
    g_strlcpy(tap->ifname, ifr.ifr_name, sizeof tap->ifname);
    return TRUE;
}

static gboolean take_fd(Tap *tap, const char *text, int *flags, GError **error)
{
    guint64 number;
    int fd, fd_flags, now = 0;

    if (tap->nd.n_queues == NET_MAX_QUEUES)
        return error_set(error, "Network back end '%s': more than %d descriptors", tap->nd.dev.id, NET_MAX_QUEUES);
    if (!g_ascii_string_to_unsigned(text, 10, 3, INT_MAX, &number, NULL)) {
        g_autofree char *given = error_quote(text, -1);
        return error_set(error, "Network back end '%s': '%s' is no number of a descriptor; names are for netdev_add", tap->nd.dev.id, given);
    }
    fd = (int)number;
    fd_flags = fcntl(fd, F_GETFD);
    if (fd_flags >= 0 && (fd_flags & FD_CLOEXEC)) /* what came over an exec does not have it until somebody takes it */
        return error_set(error, "Network back end '%s': descriptor %d was not inherited, or is in use", tap->nd.dev.id, fd);
    if (!look_at(tap, fd, &now, error))
        return FALSE;
    if (tap->nd.n_queues && ((now ^ *flags) & (IFF_VNET_HDR | IFF_MULTI_QUEUE)))
        return error_set(error, "Network back end '%s': descriptor %d has flags 0x%x, the one before it 0x%x", tap->nd.dev.id, fd,
                         (guint)now, (guint)*flags);
    *flags = now;
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return error_set_errno(error, errno, "Network back end '%s': descriptor %d", tap->nd.dev.id, fd);
    tap->queues[tap->nd.n_queues++].fd = fd;
    return TRUE;
}

/* What fails leaves the descriptors to whoever had them. */
static void forget_fds(Tap *tap)
{
    for (guint i = 0; i < NET_MAX_QUEUES && tap->queues[i].fd >= 0; i++) {
        fcntl(tap->queues[i].fd, F_SETFD, 0);
        tap->queues[i].fd = -1;
    }
}

static gboolean take_fds(Tap *tap, const char *numbers, GError **error)
{
    g_auto(GStrv) list = g_strsplit(numbers, ":", -1);
    int flags = 0;
    gboolean ok = TRUE;

    tap->nd.n_queues = 0;
    for (guint i = 0; ok && list[i]; i++)
        ok = take_fd(tap, list[i], &flags, error);
    tap->multi = (flags & IFF_MULTI_QUEUE) != 0;
    if (ok && tap->nd.n_queues > 1 && !tap->multi)
        ok = error_set(error, "Network back end '%s': %u descriptors of an interface with one queue", tap->nd.dev.id, tap->nd.n_queues);
    tap->nd.header_len = ok && (flags & IFF_VNET_HDR) ? NET_HEADER : 0;
    return ok;
}

/* ---- realize ---- */

static gboolean setting(Tap *tap, int fd, gulong request, const char *name, int value, GError **error)
{
    return ioctl(fd, request, &value) == 0 ||
           error_set_errno(error, errno, "Network back end '%s': %s %d", tap->nd.dev.id, name, value);
}

static gboolean set_up(Tap *tap, GError **error)
{
    const NetdevTapConfig *c = config_of(tap);
    guint try = NET_ALL_OFFLOADS;

    for (guint i = 0; i < tap->nd.n_queues; i++) {
        int fd = tap->queues[i].fd;
        if (tap->nd.header_len && (!setting(tap, fd, TUNSETVNETHDRSZ, "TUNSETVNETHDRSZ", NET_HEADER, error) ||
                                   !setting(tap, fd, TUNSETVNETLE, "TUNSETVNETLE", 1, error)))
            return FALSE;
        if (prop_bag_is_set(tap->nd.dev.bag, "sndbuf") && !setting(tap, fd, TUNSETSNDBUF, "TUNSETSNDBUF", (int)c->sndbuf, error))
            return FALSE;
    }
    if (!tap->nd.header_len)
        return TRUE;
    if (ioctl(tap->queues[0].fd, TUNSETOFFLOAD, (gulong)tun_offloads(try)) < 0)
        try = NET_CSUM; /* the host has no TSO towards it; TX offloads go with it */
    tap->nd.offloads = try;
    return ioctl(tap->queues[0].fd, TUNSETOFFLOAD, 0ul) == 0 ||
           error_set_errno(error, errno, "Network back end '%s': TUNSETOFFLOAD 0", tap->nd.dev.id);
}

static gboolean check_words(const Tap *tap, GError **error)
{
    const NetdevTapConfig *c = config_of(tap);

    if (c->fd && c->fds)
        return error_set(error, "Network back end '%s' has both 'fd' and 'fds'", tap->nd.dev.id);
    if ((c->fd || c->fds) && (c->ifname || prop_bag_origin(tap->nd.dev.bag, "queues") == ORIGIN_CONFIG))
        return error_set(error, "Network back end '%s': '%s' and '%s' exclude each other", tap->nd.dev.id, c->fd ? "fd" : "fds",
                         c->ifname ? "ifname" : "queues");
    return TRUE;
}

static gboolean tap_realize(Device *dev, GError **error)
{
    Tap *tap = (Tap *)dev;
    const NetdevTapConfig *c = config_of(tap);
    const char *numbers = prop_bag_is_set(dev->bag, "fd-numbers") ? c->fd_numbers : c->fds ? c->fds : c->fd;

    netdev_init(&tap->nd, &tap_ops);
    for (guint i = 0; i < NET_MAX_QUEUES; i++)
        tap->queues[i] = (TapQueue){ .tap = tap, .index = i, .fd = -1, .out_fd = -1 };
    if (!check_words(tap, error))
        return FALSE;
    tap->nd.header_len = c->vnet_hdr ? NET_HEADER : 0;
    if (!(numbers ? take_fds(tap, numbers, error) : open_queues(tap, error)) || !set_up(tap, error)) {
        if (numbers)
            forget_fds(tap);
        return FALSE;
    }
    tap->attached = tap->nd.n_queues;
    tap_set_queues(&tap->nd, 1); /* until a driver wants more */
    return TRUE;
}

static void tap_unrealize(Device *dev)
{
    Tap *tap = (Tap *)dev;

    if (!tap->nd.ops)
        return; /* realize was not called */
    netdev_exit(&tap->nd);
    for (guint i = 0; i < NET_MAX_QUEUES; i++) {
        auto_fd_close(fd_steal(&tap->queues[i].out_fd));
        auto_fd_close(fd_steal(&tap->queues[i].fd));
    }
}

static const DeviceOps ops = { .realize = tap_realize, .unrealize = tap_unrealize };

const DeviceType netdev_tap_type = { "netdev-tap", sizeof(Tap), &ops, state_none };

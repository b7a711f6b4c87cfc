/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net-memory.h - a network back end in memory: what the card sends is kept, what it shall receive is queued. It stands in for
 * netdev-tap, whose rows it uses: hence a table of device types of the test's own.
 */
#pragma once

#include <sys/eventfd.h>

#include "net-rig.h"

#define RIG_QUEUES 3

typedef struct RigNet RigNet;

typedef struct {
    RigNet   *net;
    guint     index;
    int       fd; /* an eventfd, readable while there is something to receive */
    IoThread *thread;
    IoWatch  *watch;
    GQueue    in; /* of GBytes: packets with their headers; lock */
} RigQueue;

struct RigNet {
    Netdev     nd;
    RigQueue   queues[RIG_QUEUES];
    GMutex     lock;
    GPtrArray *sent;   /* of GBytes, header and frame; lock */
    guint      refuse; /* sends to be answered NET_AGAIN; lock */
    guint      refused_by; /* lock */
    gint       pauses, offloads, n_used; /* atomic */
};

static inline void rig_readable(gpointer user)
{
    RigQueue *q = user;

    netdev_readable(&q->net->nd, q->index);
}

static inline void rig_resume(Netdev *nd, guint index)
{
    RigQueue *q = &((RigNet *)nd)->queues[index];

    if (!q->watch)
        q->watch = iothread_watch(q->thread, q->fd, FALSE, rig_readable, q, NULL);
}

static inline void rig_stop_watch(gpointer user)
{
    RigQueue *q = user;

    if (q->watch)
        iothread_unwatch(g_steal_pointer(&q->watch));
}

static inline void rig_pause(Netdev *nd, guint index)
{
    __atomic_add_fetch(&((RigNet *)nd)->pauses, 1, __ATOMIC_RELAXED);
    rig_stop_watch(&((RigNet *)nd)->queues[index]);
}

static inline gboolean rig_queue_start(Netdev *nd, guint index, IoThread *thread, GError **error)
{
    g_assert_null(((RigNet *)nd)->queues[index].thread);
    ((RigNet *)nd)->queues[index].thread = thread;
    rig_resume(nd, index);
    return TRUE;
}

static inline void rig_queue_stop(Netdev *nd, guint index)
{
    RigQueue *q = &((RigNet *)nd)->queues[index];

    iothread_call(q->thread, rig_stop_watch, q);
    q->thread = NULL;
}

static inline gssize rig_recv(Netdev *nd, guint index, const struct iovec *iov, guint n)
{
    RigQueue *q = &((RigNet *)nd)->queues[index];
    LOCK_SCOPE(&((RigNet *)nd)->lock);
    g_autoptr(GBytes) packet = g_queue_pop_head(&q->in);
    gsize len = 0;
    guint64 count;

    if (!packet)
        return NET_AGAIN;
    if (g_queue_is_empty(&q->in))
        g_assert_cmpint(read(q->fd, &count, 8), ==, 8);
    gconstpointer data = g_bytes_get_data(packet, &len);
    g_assert_cmpuint(iov_write(iov, n, 0, data, len), ==, len);
    return (gssize)len;
}

static inline int rig_send(Netdev *nd, guint index, const struct iovec *iov, guint n)
{
    RigNet *r = (RigNet *)nd;
    LOCK_SCOPE(&r->lock);
    gsize len = 0;

    if (r->refuse) {
        r->refuse--;
        r->refused_by = index;
        return NET_AGAIN;
    }
    for (guint i = 0; i < n; i++)
        len += iov[i].iov_len;
    guint8 *data = g_malloc(len + 1);
    g_assert_cmpuint(iov_read(iov, n, 0, data, len), ==, len);
    g_ptr_array_add(r->sent, g_bytes_new_take(data, len));
    return 0;
}

static inline void rig_set_offloads(Netdev *nd, guint offloads)
{
    g_assert_cmphex(offloads & ~nd->offloads, ==, 0);
    __atomic_store_n(&((RigNet *)nd)->offloads, (gint)offloads, __ATOMIC_RELAXED);
}

static inline void rig_set_queues(Netdev *nd, guint n)
{
    g_assert_cmpuint(n, <=, nd->n_queues);
    __atomic_store_n(&((RigNet *)nd)->n_used, (gint)n, __ATOMIC_RELAXED);
}

static inline gboolean rig_realize(Device *dev, GError **error)
{
    static const NetdevOps ops = {
        .kind = "test",
        .queue_start = rig_queue_start,
        .queue_stop = rig_queue_stop,
        .recv = rig_recv,
        .pause = rig_pause,
        .resume = rig_resume,
        .send = rig_send,
        .set_offloads = rig_set_offloads,
        .set_queues = rig_set_queues,
    };
    RigNet *r = (RigNet *)dev;
    const NetdevTapConfig *c = DEVICE_CONFIG(dev, NetdevTapConfig);

    netdev_init(&r->nd, &ops);
    r->nd.n_queues = c->queues;
    r->nd.header_len = c->vnet_hdr ? NET_HEADER : 0;
    r->nd.offloads = c->vnet_hdr ? NET_ALL_OFFLOADS : 0;
    g_mutex_init(&r->lock);
    r->sent = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    for (guint i = 0; i < RIG_QUEUES; i++) {
        r->queues[i] = (RigQueue){ .net = r, .index = i, .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
        g_queue_init(&r->queues[i].in);
    }
    return TRUE;
}

static inline void rig_unrealize(Device *dev)
{
    RigNet *r = (RigNet *)dev;

    netdev_exit(&r->nd);
    g_ptr_array_unref(r->sent);
    for (guint i = 0; i < RIG_QUEUES; i++) {
        g_queue_clear_full(&r->queues[i].in, (GDestroyNotify)g_bytes_unref);
        close(r->queues[i].fd);
    }
    g_mutex_clear(&r->lock);
}

static const DeviceOps rig_ops = { .realize = rig_realize, .unrealize = rig_unrealize };
static const DeviceType rig_type = { "netdev-tap", sizeof(RigNet), &rig_ops, state_none };

extern const DeviceType board_type, cpu_hotplug_type, fw_cfg_type, host_bridge_type, iothread_type, lpc_type, mem_hotplug_type, pci_hotplug_type,
    rtc_type, virtio_net_pci_type;

const DeviceType *const device_types[] = { &board_type, &cpu_hotplug_type, &fw_cfg_type, &host_bridge_type, &iothread_type, &lpc_type,
                                           &mem_hotplug_type, &pci_hotplug_type, &rig_type, &rtc_type, &virtio_net_pci_type, NULL };

/* ---- the test's side ---- */

static inline RigNet *rig_net(Rig *r)
{
    return (RigNet *)r->nd;
}

/* The network has a frame for the card's queue Q; HEADER NULL: zeroes. */
static inline void rig_incoming(Rig *r, guint q, const guint8 *header, const guint8 *frame, gsize len)
{
    gsize at = r->nd->header_len;
    guint8 *packet = g_malloc0(at + len + 1);
    guint64 one = 1;
    LOCK_SCOPE(&rig_net(r)->lock);

    if (header)
        memcpy(packet, header, at);
    memcpy(packet + at, frame, len);
    if (g_queue_is_empty(&rig_net(r)->queues[q].in))
        g_assert_cmpint(write(rig_net(r)->queues[q].fd, &one, 8), ==, 8);
    g_queue_push_tail(&rig_net(r)->queues[q].in, g_bytes_new_take(packet, at + len));
}

static inline guint rig_waiting(Rig *r, guint q)
{
    LOCK_SCOPE(&rig_net(r)->lock);
    return rig_net(r)->queues[q].in.length;
}

static inline guint rig_n_sent(Rig *r)
{
    LOCK_SCOPE(&rig_net(r)->lock);
    return rig_net(r)->sent->len;
}

static inline guint8 *rig_sent(Rig *r, guint i, gsize *len)
{
    LOCK_SCOPE(&rig_net(r)->lock);
    return (guint8 *)g_bytes_get_data(g_ptr_array_index(rig_net(r)->sent, i), len);
}

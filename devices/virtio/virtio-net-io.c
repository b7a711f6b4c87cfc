/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtio-net-io.c - the network card's data path (virtio 1.2 sections 5.1.6.2 to 5.1.6.4): all on one I/O thread.
 *
 * Nothing is in flight between two visits, so stopping is taking the watches away. Frames go from guest memory to the
 * back end and back by one writev() or readv() each, without a copy; only the header is always a private copy.
 *
 * Receiving is the hard part: a frame's size is known after it was read, and with mergeable buffers it may need one buffer or
 * fifty. The queue has about as many at hand as the latest packets took (WANT), and behind them one large private buffer, the
 * bounce: what does not fit is copied from there into buffers popped afterwards. If the guest has not enough of them, the whole
 * packet moves to the bounce and waits there (STASHED), and the back end waits too. Buffers that were not used are put back.
 *
 * Interrupts for what was sent wait a while where it was little: a request or an acknowledgement. Nobody waits for that memory, and
 * the driver looks for it by itself when the answer comes, which makes the interrupt, and the sleeping processor that it would wake
 * up, superfluous: whether the driver wants it is asked when the time is over, or the next frame there.
 */
#include "virtio-net-priv.h"

enum { RX_BUDGET = NET_VISIT, TX_BUDGET = 256, HEAD_BYTES = 64, FILTER_BYTES = 18 };
/* What is little, and a while. */
enum { LATE_FRAMES = 2, LATE_BYTES = 4096, LATE_NS = 200000 };

typedef enum {
    RX_DONE,  /* a packet is delivered, or dropped */
    RX_EMPTY, /* the back end has nothing */
    RX_FULL,  /* the guest has no buffer, or too few */
    RX_BROKEN,
} RxResult;

static VirtQueue *rx_vq(const NetPair *p)
{
    return p->net->virtio.vd.queues[2 * p->index].vq;
}

static VirtQueue *tx_vq(const NetPair *p)
{
    return p->net->virtio.vd.queues[2 * p->index + 1].vq;
}

static gboolean has(const NetPair *p, guint bit)
{
    return virtio_has(&p->net->virtio.vd, bit);
}

/* IN without its first SKIP bytes, at most MAX segments of it, into OUT; their number, and their BYTES. */
static guint iov_skip(struct iovec *out, guint max, const struct iovec *in, guint n, gsize skip, gsize *bytes)
{
    guint m = 0;

    *bytes = 0;
    for (guint i = 0; i < n && m < max; i++) {
        gsize part = MIN(skip, in[i].iov_len);

        skip -= part;
        if (part == in[i].iov_len)
            continue;
        out[m++] = (struct iovec){ (guint8 *)in[i].iov_base + part, in[i].iov_len - part };
        *bytes += in[i].iov_len - part;
    }
    return m;
}

/* ---- receive buffers at hand ---- */

static void make_room(NetPair *p)
{
    gsize n_iov = p->pool_end - p->pool_at;

    if (p->first + p->n_chains == NET_RX_CHAINS) {
        memmove(p->chains, p->chains + p->first, p->n_chains * sizeof p->chains[0]);
        p->first = 0;
    }
    if (p->pool_end + NET_IOV <= NET_RX_POOL)
        return;
    memmove(p->pool, p->pool + p->pool_at, n_iov * sizeof p->pool[0]);
    for (guint i = 0; i < p->n_chains; i++)
        p->chains[p->first + i].iov -= p->pool_at;
    p->pool_at = 0;
    p->pool_end = (guint)n_iov;
}

/* RX_DONE: there is one more. RX_EMPTY: a packet can not be spread over more. */
static RxResult pop_one(NetPair *p)
{
    VqChain *c;

    make_room(p);
    if (p->first + p->n_chains == NET_RX_CHAINS || p->pool_end + NET_IOV > NET_RX_POOL)
        return RX_EMPTY;
    c = &p->chains[p->first + p->n_chains];
    c->iov = p->pool + p->pool_end;
    c->max_iov = NET_IOV;
    switch (vq_pop(rx_vq(p), c)) {
    case VQ_EMPTY:
        return RX_FULL;
    case VQ_BROKEN:
        return RX_BROKEN;
    default:
        break;
    }
    p->n_chains++;
    p->pool_end += c->n_in;
    p->have += c->in_len;
    if (c->n_out || c->in_len < NET_HEADER) {
        vq_break(rx_vq(p), "a receive buffer with %u readable segments and %" G_GUINT64_FORMAT " writable bytes", c->n_out, c->in_len);
        return RX_BROKEN;
    }
    return RX_DONE;
}

static void first_is_used(NetPair *p)
{
    VqChain *c = &p->chains[p->first++];

    p->have -= c->in_len;
    p->pool_at += c->n_in;
    if (--p->n_chains == 0)
        p->first = p->pool_at = p->pool_end = 0;
}

static void put_back(NetPair *p)
{
    while (p->n_chains)
        vq_unpop(rx_vq(p), &p->chains[p->first + --p->n_chains]);
    p->first = p->pool_at = p->pool_end = 0;
    p->have = 0;
}

/* As many buffers as the next packet is likely to take: one without mergeable buffers. */
static RxResult get_ready(NetPair *p)
{
    while (p->n_chains == 0 || (p->have < p->want && has(p, NET_F_MRG_RXBUF))) {
        RxResult r = pop_one(p);
        if (r == RX_BROKEN || (r == RX_FULL && p->n_chains == 0))
            return r;
        if (r != RX_DONE)
            break;
    }
    return RX_DONE;
}

/* ---- one packet ---- */

static void deliver(NetPair *p, guint8 *header, gsize total)
{
    VirtQueue *vq = rx_vq(p);
    guint16 n = 0;

    for (gsize left = total; left > 0; n++)
        left -= MIN(left, p->chains[p->first + n].in_len);
    le16_put(header + HDR_NUM_BUFFERS, n);
    iov_write(p->pool + p->pool_at, p->pool_end - p->pool_at, 0, header, NET_HEADER);
    while (n--) {
        VqChain *c = &p->chains[p->first];
        gsize part = MIN(total, c->in_len);

        vq_push(vq, c, (guint32)part);
        total -= part;
        first_is_used(p);
    }
}

static RxResult drop(NetPair *p)
{
    netdev_drop(&p->net->nd->rx_dropped);
    return RX_DONE;
}

/* A packet of TOTAL bytes, HEADER and what follows it: the bytes from PLACED on are at REST, those before are in the buffers. */
static RxResult place(NetPair *p, guint8 *header, gsize total, gsize placed, const guint8 *rest)
{
    while (p->have < total) {
        RxResult r;

        if (!has(p, NET_F_MRG_RXBUF) && p->n_chains)
            return drop(p);
        r = pop_one(p);
        if (r == RX_EMPTY)
            return drop(p);
        if (r != RX_DONE)
            return r;
    }
    if (total > placed)
        iov_write(p->pool + p->pool_at, p->pool_end - p->pool_at, placed, rest, total - placed);
    p->want = (guint)(total > p->want ? total : p->want - (p->want - total) / 8);
    deliver(p, header, total);
    return RX_DONE;
}

/* The whole packet into the bounce, which has what follows PLACED already. */
static void stash(NetPair *p, const guint8 *header, gsize total, gsize placed)
{
    if (total > placed)
        memmove(p->bounce + placed, p->bounce, total - placed);
    memcpy(p->bounce, header, NET_HEADER);
    iov_read(p->pool + p->pool_at, p->pool_end - p->pool_at, NET_HEADER, p->bounce + NET_HEADER, MIN(total, placed) - NET_HEADER);
    p->stashed = (guint)total;
}

static RxResult unstash(NetPair *p)
{
    RxResult r = place(p, p->bounce, p->stashed, NET_HEADER, p->bounce + NET_HEADER);

    if (r == RX_DONE)
        p->stashed = 0;
    return r;
}

static gboolean is_wanted(NetPair *p, const struct iovec *frame, guint n, gsize len)
{
    guint8 head[FILTER_BYTES];
    gsize got = iov_read(frame, n, 0, head, MIN(len, sizeof head));

    return __atomic_load_n(&p->net->link_up, __ATOMIC_RELAXED) && net_filter_takes(p->net, head, got);
}

static RxResult receive(NetPair *p)
{
    Netdev *nd = p->net->nd;
    guint8 header[NET_HEADER] = { 0 };
    guint at = nd->header_len ? 1 : 0, n;
    RxResult r = get_ready(p);
    gsize room, total;
    gssize got;

    if (r != RX_DONE)
        return r;
    p->scratch[0] = (struct iovec){ header, NET_HEADER };
    n = at + iov_skip(p->scratch + at, NET_IOV - 2, p->pool + p->pool_at, p->pool_end - p->pool_at, NET_HEADER, &room);
    p->scratch[n++] = (struct iovec){ p->bounce, NET_BOUNCE };
    got = nd->ops->recv(nd, p->index, p->scratch, n);
    if (got == NET_AGAIN)
        return RX_EMPTY;
    total = (gsize)got - nd->header_len + NET_HEADER;
    if ((gsize)got < nd->header_len || total > NET_BOUNCE || !is_wanted(p, p->scratch + at, n - at, total - NET_HEADER))
        return drop(p);
    if (!has(p, NET_F_GUEST_CSUM))
        header[HDR_FLAGS] = 0;
    r = place(p, header, total, room + NET_HEADER, p->bounce);
    if (r == RX_FULL)
        stash(p, header, total, room + NET_HEADER);
    return r;
}

/* ---- the receive queue ---- */

static void pause_back_end(NetPair *p)
{
    p->paused = TRUE;
    p->net->nd->ops->pause(p->net->nd, p->index);
}

static void receive_some(NetPair *p)
{
    VirtQueue *vq = rx_vq(p);

    vq_kicks_off(vq);
    for (guint i = 0; i < RX_BUDGET;) {
        RxResult r = p->stashed ? unstash(p) : receive(p);

        if (r == RX_EMPTY)
            return;
        if (r == RX_DONE) {
            i++;
        } else if (r == RX_BROKEN || !vq_kicks_on(vq)) {
            pause_back_end(p);
            return;
        } else {
            vq_kicks_off(vq); /* what is pending came since */
        }
    }
}

static void rx_visit(NetPair *p)
{
    VirtQueue *vq = rx_vq(p);

    if (!p->rx_on || !vq_begin(vq)) {
        pause_back_end(p);
        return;
    }
    receive_some(p);
    put_back(p);
    vq_flush(vq);
    if (vq_should_notify(vq))
        virtio_notify_queue(&p->net->virtio.vd, 2 * p->index);
    vq_end(vq);
}

void net_readable(gpointer net, guint index)
{
    NetPair *p = &((VirtioNet *)net)->pairs[index];

    if (p->sending)
        p->answered = TRUE; /* a back end that answers at once: the visits share memory */
    else if (!p->paused)
        rx_visit(p);
}

void net_rx_kicked(gpointer pair)
{
    NetPair *p = pair;

    if (!p->paused)
        return;
    p->paused = FALSE;
    p->net->nd->ops->resume(p->net->nd, p->index);
    rx_visit(p);
}

/* ---- transmitting ---- */

static void tx_wrong(NetPair *p, const char *wrong)
{
    device_guest_error(&p->net->virtio.pci.dev, "a frame is dropped: %s", wrong);
    netdev_drop(&p->net->nd->tx_dropped);
}

/* 0: the frame is gone; NET_AGAIN: it waits. */
static int send_frame(NetPair *p, const VqChain *c)
{
    Netdev *nd = p->net->nd;
    guint8 header[NET_HEADER], head[HEAD_BYTES];
    guint at = nd->header_len ? 1 : 0, n;
    gsize len = c->out_len - NET_HEADER, got, in_iov;
    g_autofree guint8 *copy = NULL;
    const char *wrong;

    iov_read(c->iov, c->n_out, 0, header, NET_HEADER);
    p->scratch[0] = (struct iovec){ header, NET_HEADER };
    n = at + iov_skip(p->scratch + at, NET_IOV - at, c->iov, c->n_out, NET_HEADER, &in_iov);
    got = header[HDR_GSO_TYPE] ? iov_read(p->scratch + at, n - at, 0, head, sizeof head) : 0;
    wrong = len > NET_MAX_FRAME ? "it is too long" : net_header_check(header, p->net->virtio.vd.driver_features, head, got, len);
    if (wrong) {
        tx_wrong(p, wrong);
        return 0;
    }
    if (!__atomic_load_n(&p->net->link_up, __ATOMIC_RELAXED)) {
        netdev_drop(&nd->tx_dropped);
        return 0;
    }
    if (in_iov < len) { /* more segments than a writev() takes */
        copy = g_malloc(len);
        p->scratch[at] = (struct iovec){ copy, iov_read(c->iov, c->n_out, NET_HEADER, copy, len) };
        n = at + 1;
    }
    return nd->ops->send(nd, p->index, p->scratch, n);
}

/* TRUE: there may be another one. */
static gboolean send_one(NetPair *p, guint64 *bytes)
{
    VirtQueue *vq = tx_vq(p);
    VqChain c = { .iov = p->pool, .max_iov = NET_RX_POOL };

    if (vq_pop(vq, &c) != VQ_CHAIN)
        return FALSE;
    if (c.n_in || c.out_len < NET_HEADER) {
        vq_break(vq, "a frame with %u writable segments and %" G_GUINT64_FORMAT " bytes", c.n_in, c.out_len);
        vq_drop(vq, &c);
        return FALSE;
    }
    if (send_frame(p, &c) == NET_AGAIN) {
        vq_unpop(vq, &c);
        p->blocked = TRUE;
        return FALSE;
    }
    *bytes += c.out_len;
    vq_push(vq, &c, 0);
    return TRUE;
}

/* Whether it was little, but something. */
static gboolean send_some(NetPair *p)
{
    VirtQueue *vq = tx_vq(p);
    guint left = TX_BUDGET;
    guint64 bytes = 0;

    do {
        vq_kicks_off(vq);
        while (left && send_one(p, &bytes))
            left--;
    } while (left && !p->blocked && vq_kicks_on(vq));
    if (!left)
        virtio_kick(&p->net->virtio.vd, 2 * p->index + 1); /* others on this thread first */
    return bytes && TX_BUDGET - left <= LATE_FRAMES && bytes <= LATE_BYTES;
}

/* Within a batch. */
static void tell_sent(NetPair *p)
{
    if (vq_should_notify(tx_vq(p)))
        virtio_notify_queue(&p->net->virtio.vd, 2 * p->index + 1);
}

static void tell_late(gpointer pair)
{
    NetPair *p = pair;
    VirtQueue *vq = tx_vq(p);

    if (!vq_begin(vq))
        return;
    tell_sent(p);
    vq_end(vq);
}

static void tx_visit(NetPair *p)
{
    Netdev *nd = p->net->nd;
    VirtQueue *vq = tx_vq(p);
    gboolean little;

    if (!p->tx_on || p->blocked || !vq_begin(vq))
        return;
    if (p->late.due) {
        iothread_not_later(p->net->thread, &p->late);
        tell_sent(p);
    }
    p->sending = TRUE;
    little = send_some(p);
    if (nd->ops->flush)
        nd->ops->flush(nd, p->index);
    p->sending = FALSE;
    vq_flush(vq);
    if (little)
        iothread_later(p->net->thread, &p->late, LATE_NS);
    else
        tell_sent(p);
    vq_end(vq);
    if (p->answered) {
        p->answered = FALSE;
        net_readable(p->net, p->index);
    }
}

void net_tx_kicked(gpointer pair)
{
    tx_visit(pair);
}

void net_writable(gpointer net, guint index)
{
    NetPair *p = &((VirtioNet *)net)->pairs[index];

    p->blocked = FALSE;
    tx_visit(p);
}

/* ---- life ---- */

void net_io_init(NetPair *p)
{
    p->late = (IoLater){ .fn = tell_late, .user = p };
}

void net_io_stop(gpointer pair)
{
    NetPair *p = pair;

    iothread_not_later(p->net->thread, &p->late);
}

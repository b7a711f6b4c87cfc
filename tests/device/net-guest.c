/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net-guest.c - the guest's end of the wire (net-guest.h).
 *
 * `room` is the receive ring: readable() pulls while it is positive and pauses the back end when it is used up. A test that wants a
 * slow guest sets it low.
 */
#include "net-guest.h"

#include <sys/socket.h>

enum { PROTO_TCP = 6, PROTO_UDP = 17, FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16 };

static const guint8 broadcast[6] = { 255, 255, 255, 255, 255, 255 };

/* ---- the NIC; on the I/O thread ---- */

static void nic_readable(gpointer user, guint index)
{
    NetGuest *g = user;
    Packet *p;

    g_assert_cmpuint(index, ==, 0);
    g_assert_false(g_atomic_int_get(&g->stuck));
    for (;;) {
        if (g_atomic_int_get(&g->room) <= 0) {
            g_atomic_int_set(&g->stuck, 1);
            g->nd->ops->pause(g->nd, 0);
            return;
        }
        p = g_new(Packet, 1);
        /* in pieces, as rings have them */
        struct iovec iov[3] = { { p->header, 5 }, { p->header + 5, NET_HEADER - 5 }, { p->data, sizeof p->data } };
        gssize n = g->nd->ops->recv(g->nd, 0, iov, 3);
        if (n == NET_AGAIN)
            break;
        g_assert_cmpint(n, >=, NET_HEADER + ETH);
        p->len = (gsize)n - NET_HEADER;
        g_atomic_int_dec_and_test(&g->room);
        g_async_queue_push(g->in, p);
    }
    g_free(p);
}

static void nic_writable(gpointer user, guint index)
{
    g_assert_not_reached(); /* libslirp takes everything */
}

static const NetdevUserOps nic_ops = { .readable = nic_readable, .writable = nic_writable };

static void send_all(gpointer user)
{
    NetGuest *g = user;

    for (guint i = 0; i < g->out->len; i++) {
        Packet *p = g_ptr_array_index(g->out, i);
        gsize cut = MIN(p->len, 31);
        struct iovec iov[3] = { { p->header, NET_HEADER }, { p->data, cut }, { p->data + cut, p->len - cut } };
        g_assert_cmpint(g->nd->ops->send(g->nd, 0, iov, 3), ==, 0);
    }
    if (g->nd->ops->flush)
        g->nd->ops->flush(g->nd, 0);
}

static void resume(gpointer user)
{
    NetGuest *g = user;

    g_atomic_int_set(&g->stuck, 0);
    g->nd->ops->resume(g->nd, 0);
}

/* ---- the wire ---- */

void guest_put(NetGuest *g, const void *frame, gsize len)
{
    Packet *p = g_new0(Packet, 1);

    g_assert_cmpuint(len, <=, sizeof p->data);
    p->len = len;
    memcpy(p->data, frame, len);
    g_ptr_array_add(g->out, p);
}

void guest_flush(NetGuest *g)
{
    if (!g->out->len)
        return;
    iothread_call(g->thread, send_all, g);
    g_ptr_array_set_size(g->out, 0);
}

static void give_room(NetGuest *g)
{
    g_atomic_int_inc(&g->room);
    if (g_atomic_int_get(&g->stuck))
        iothread_call(g->thread, resume, g);
}

Packet *guest_next(NetGuest *g, guint ms)
{
    Packet *p;

    guest_flush(g);
    p = g_async_queue_timeout_pop(g->in, ms * G_GUINT64_CONSTANT(1000));
    if (p)
        give_room(g);
    return p;
}

void guest_run_until(NetGuest *g, gboolean (*fn)(gpointer user), gpointer user)
{
    gint64 end = g_get_monotonic_time() + 20 * G_TIME_SPAN_SECOND;

    while (!fn(user)) {
        g_autofree Packet *p = g_async_queue_try_pop(g->in);
        if (!p)
            p = guest_next(g, 100);
        else
            give_room(g);
        if (p)
            guest_handle(g, p);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
    guest_flush(g);
}

/* ---- Ethernet, ARP, IP ---- */

static guint32 sum(guint32 start, const guint8 *p, gsize len)
{
    for (; len > 1; p += 2, len -= 2)
        start += be16(p);
    return len ? start + (guint32)(*p << 8) : start;
}

static guint16 fold(guint32 s)
{
    while (s >> 16)
        s = (s & 0xffff) + (s >> 16);
    return (guint16)s;
}

static void put_eth(NetGuest *g, guint8 *f, const guint8 *to, guint type)
{
    memcpy(f, to, 6);
    memcpy(f + 6, g->mac, 6);
    put16(f + 12, type);
}

static void put_arp(NetGuest *g, const guint8 *to, guint op, guint32 target_ip)
{
    guint8 f[42] = { 0 };

    put_eth(g, f, to, 0x0806);
    put16(f + 14, 1);
    put16(f + 16, 0x0800);
    f[18] = 6;
    f[19] = 4;
    put16(f + 20, op);
    memcpy(f + 22, g->mac, 6);
    put32(f + 28, g->ip);
    memcpy(f + 32, op == 2 ? to : (const guint8[6]){ 0 }, 6);
    put32(f + 38, target_ip);
    guest_put(g, f, sizeof f);
}

gboolean guest_arp(NetGuest *g, guint32 ip, guint ms)
{
    gint64 end = g_get_monotonic_time() + ms * 1000;

    put_arp(g, broadcast, 1, ip);
    while (g_get_monotonic_time() < end) {
        g_autofree Packet *p = guest_next(g, ms);
        if (p && p->len >= 42 && be16(p->data + 12) == 0x0806 && be16(p->data + 20) == 2 && be32(p->data + 28) == ip) {
            memcpy(g->router_mac, p->data + 22, 6);
            return TRUE;
        }
    }
    return FALSE;
}

/* Puts an IPv4 packet with LEN bytes from LAYER4 on, whose checksum lies at offset SUM_AT. */
static void put_ip(NetGuest *g, guint32 from, guint32 to, guint8 proto, guint8 *layer4, gsize len, guint sum_at)
{
    guint8 f[2048] = { 0 };
    guint8 *ip = f + IP_AT;
    guint32 pseudo = (from >> 16) + (from & 0xffff) + (to >> 16) + (to & 0xffff) + proto + (guint32)len;

    put_eth(g, f, to == G_MAXUINT32 ? broadcast : g->router_mac, 0x0800);
    ip[0] = 0x45;
    put16(ip + 2, 20 + (guint)len);
    put16(ip + 4, g->ip_id++);
    ip[8] = 64;
    ip[9] = proto;
    put32(ip + 12, from);
    put32(ip + 16, to);
    put16(ip + 10, (guint16)~fold(sum(0, ip, 20)));
    put16(layer4 + sum_at, (guint16)~fold(sum(pseudo, layer4, len)));
    memcpy(f + L4_AT, layer4, len);
    guest_put(g, f, L4_AT + len);
}

void guest_fix_header(Packet *p)
{
    guint8 *ip = p->data + IP_AT;

    put16(ip + 10, 0);
    put16(ip + 10, (guint16)~fold(sum(0, ip, (ip[0] & 15) * 4u)));
}

void guest_put_fragment(NetGuest *g, guint32 to, guint16 id, guint16 offset_field, const void *data, gsize len)
{
    guint8 f[2048] = { 0 };
    guint8 *ip = f + IP_AT;

    put_eth(g, f, g->router_mac, 0x0800);
    ip[0] = 0x45;
    put16(ip + 2, 20 + (guint)len);
    put16(ip + 4, id);
    put16(ip + 6, offset_field);
    ip[8] = 64;
    ip[9] = PROTO_UDP;
    put32(ip + 12, g->ip);
    put32(ip + 16, to);
    put16(ip + 10, (guint16)~fold(sum(0, ip, 20)));
    memcpy(ip + 20, data, len);
    guest_put(g, f, L4_AT + len);
}

/* The bytes above IPv4 if P is a packet of PROTO for us; checks what every host would. */
static const guint8 *get_ip(const NetGuest *g, const Packet *p, guint8 proto, gsize *len)
{
    const guint8 *ip = p->data + IP_AT;

    if (p->len < L4_AT || be16(p->data + 12) != 0x0800 || ip[9] != proto)
        return NULL;
    g_assert_cmphex(ip[0], ==, 0x45);
    g_assert_cmphex(fold(sum(0, ip, 20)), ==, 0xffff);
    g_assert_cmpuint(be16(ip + 2), <=, p->len - ETH);
    g_assert_true(memcmp(p->data, g->mac, 6) == 0 || memcmp(p->data, broadcast, 6) == 0);
    *len = be16(ip + 2) - 20u;
    guint32 s = sum(proto + (guint32)*len, ip + 12, 8);
    if (proto == PROTO_TCP || be16(ip + 26))
        g_assert_cmphex(fold(sum(s, ip + 20, *len)), ==, 0xffff);
    return ip + 20;
}

/* ---- UDP, DHCP ---- */

void guest_put_udp(NetGuest *g, guint32 from, guint32 to, guint16 port, guint16 peer_port, const void *data, gsize len)
{
    guint8 udp[2048] = { 0 };

    put16(udp, port);
    put16(udp + 2, peer_port);
    put16(udp + 4, 8 + (guint)len);
    memcpy(udp + 8, data, len);
    put_ip(g, from, to, PROTO_UDP, udp, 8 + len, 6);
}

Packet *guest_next_udp(NetGuest *g, guint16 port, guint ms, const guint8 **data, gsize *len)
{
    gint64 end = g_get_monotonic_time() + ms * 1000;

    while (g_get_monotonic_time() < end) {
        g_autofree Packet *p = guest_next(g, ms);
        const guint8 *udp = p ? get_ip(g, p, PROTO_UDP, len) : NULL;
        if (udp && be16(udp + 2) == port) {
            *data = udp + 8;
            *len -= 8;
            return g_steal_pointer(&p);
        }
        if (p)
            guest_handle(g, p);
    }
    return NULL;
}

static gboolean dhcp_exchange(NetGuest *g, guint8 type, guint8 answer, Lease *lease)
{
    guint8 m[300] = { 1, 1, 6, 0, 1, 2, 3, 4 };
    guint8 options[] = { 99, 130, 83, 99, 53, 1, type, 50, 4, 0, 0, 0, 0, 55, 4, 1, 3, 6, 12, 255 };
    const guint8 *in;
    gsize len;

    memcpy(m + 28, g->mac, 6);
    put32(options + 9, lease->ip);
    if (!lease->ip)
        memset(options + 7, 0, 6); /* padding */
    memcpy(m + 236, options, sizeof options);
    guest_put_udp(g, 0, G_MAXUINT32, 68, 67, m, sizeof m);
    g_autofree Packet *p = guest_next_udp(g, 68, 300, &in, &len);
    if (!p)
        return FALSE;
    g_assert_cmpuint(len, >, 240);
    g_assert_true(in[0] == 2 && memcmp(in + 4, m + 4, 4) == 0 && memcmp(in + 28, g->mac, 6) == 0);
    lease->ip = be32(in + 16);
    for (gsize at = 240; at + 1 < len && in[at] != 255; at += in[at] ? 2u + in[at + 1] : 1) {
        const guint8 *v = in + at + 2;
        switch (in[at]) {
        case 53:
            g_assert_cmpuint(*v, ==, answer);
            break;
        case 1:
            lease->mask = be32(v);
            break;
        case 3:
            lease->router = be32(v);
            break;
        case 6:
            lease->dns = be32(v);
            break;
        case 12:
            g_free(lease->hostname);
            lease->hostname = g_strndup((const char *)v, in[at + 1]);
            break;
        case 54:
            lease->server = be32(v);
            break;
        default:
            break;
        }
    }
    return TRUE;
}

gboolean guest_dhcp(NetGuest *g, Lease *lease)
{
    memset(lease, 0, sizeof *lease);
    if (!dhcp_exchange(g, 1, 2, lease) || !dhcp_exchange(g, 3, 5, lease))
        return FALSE;
    g->ip = lease->ip;
    g->router = lease->router;
    return TRUE;
}

/* ---- TCP ---- */

static gpointer flow_key(guint16 port, guint16 peer_port)
{
    return GUINT_TO_POINTER((guint)port << 16 | peer_port);
}

static void flow_free(gpointer p)
{
    Flow *f = p;

    g_byte_array_unref(f->in);
    g_byte_array_unref(f->todo);
    g_free(f);
}

static Flow *flow_new(NetGuest *g, guint32 peer, guint16 port, guint16 peer_port)
{
    Flow *f = g_new0(Flow, 1);

    f->g = g;
    f->peer = peer;
    f->port = port;
    f->peer_port = peer_port;
    f->snd_nxt = f->snd_una = 0x1000u * port + 77; /* wraps for some */
    f->in = g_byte_array_new();
    f->todo = g_byte_array_new();
    g_assert_true(g_hash_table_insert(g->flows, flow_key(port, peer_port), f));
    return f;
}

static void put_segment(Flow *f, guint8 flags, const guint8 *data, gsize len)
{
    guint8 tcp[2048] = { 0 };
    gsize header = flags & SYN ? 24 : 20;

    put16(tcp, f->port);
    put16(tcp + 2, f->peer_port);
    put32(tcp + 4, f->snd_nxt);
    put32(tcp + 8, flags & ACK ? f->rcv_nxt : 0);
    tcp[12] = (guint8)(header / 4 << 4);
    tcp[13] = flags;
    put16(tcp + 14, 65535);
    if (flags & SYN) {
        tcp[20] = 2;
        tcp[21] = 4;
        put16(tcp + 22, MSS);
    }
    if (len)
        memcpy(tcp + header, data, len);
    put_ip(f->g, f->g->ip, f->peer, PROTO_TCP, tcp, header + len, 16);
    f->snd_nxt += (guint32)len + (flags & (SYN | FIN) ? 1 : 0);
}

Flow *flow_connect(NetGuest *g, guint32 peer, guint16 port)
{
    Flow *f = flow_new(g, peer, g->next_port++, port);

    put_segment(f, SYN, NULL, 0);
    return f;
}

/* As much as the other side has room for; FIN at the end. */
static void push(Flow *f)
{
    while (f->todo_at < f->todo->len && f->state == FLOW_OPEN) {
        guint32 flying = f->snd_nxt - f->snd_una;
        gsize room = f->window > flying ? f->window - flying : 0, n = MIN(MIN(room, MSS), f->todo->len - f->todo_at);
        if (!n)
            return;
        put_segment(f, ACK | PSH, f->todo->data + f->todo_at, n);
        f->todo_at += n;
    }
}

void flow_send(Flow *f, const void *data, gsize len)
{
    g_byte_array_append(f->todo, data, (guint)len);
    push(f);
}

void flow_close(Flow *f)
{
    g_assert_cmpuint(f->todo_at, ==, f->todo->len);
    f->fin_sent = TRUE;
    put_segment(f, FIN | ACK, NULL, 0);
}

gboolean flow_is_done(const Flow *f)
{
    return f->state == FLOW_RESET || (f->fin_sent && f->fin_seen && f->snd_una == f->snd_nxt);
}

static Flow *flow_for(NetGuest *g, const guint8 *tcp, guint32 peer)
{
    Flow *f = g_hash_table_lookup(g->flows, flow_key(be16(tcp + 2), be16(tcp)));

    if (f || !(tcp[13] & SYN) || be16(tcp + 2) != g->listen_port)
        return f;
    f = flow_new(g, peer, be16(tcp + 2), be16(tcp));
    f->accepted = TRUE;
    return f;
}

static void flow_opening(Flow *f, const guint8 *tcp)
{
    f->rcv_nxt = be32(tcp + 4) + 1;
    put_segment(f, f->accepted ? SYN | ACK : ACK, NULL, 0);
    f->state = FLOW_OPEN;
}

static void flow_data(Flow *f, const guint8 *tcp, gsize len)
{
    gsize header = (tcp[12] >> 4) * 4u, n = len - header;
    gint32 old = (gint32)(f->rcv_nxt - be32(tcp + 4)); /* bytes that came before */
    gboolean fin = tcp[13] & FIN;

    if (!n && !fin)
        return;
    if (old >= 0 && (gsize)old <= n && !f->fin_seen) {
        g_byte_array_append(f->in, tcp + header + old, (guint)(n - (gsize)old));
        f->rcv_nxt += (guint32)(n - (gsize)old) + (fin ? 1 : 0);
        f->fin_seen = fin;
    }
    put_segment(f, ACK, NULL, 0);
}

static Flow *handle_tcp(NetGuest *g, const guint8 *tcp, gsize len, guint32 peer)
{
    Flow *f = flow_for(g, tcp, peer);

    if (!f)
        return NULL;
    if (tcp[13] & RST && flow_is_done(f))
        return f; /* an acknowledgement said twice, the second time to nobody */
    f->window = be16(tcp + 14);
    if (tcp[13] & ACK)
        f->snd_una = be32(tcp + 8);
    if (tcp[13] & RST)
        f->state = FLOW_RESET;
    else if (tcp[13] & SYN && f->state == FLOW_OPENING)
        flow_opening(f, tcp);
    else if (f->state == FLOW_OPEN)
        flow_data(f, tcp, len);
    push(f);
    return f;
}

Flow *guest_handle(NetGuest *g, const Packet *p)
{
    gsize len;
    const guint8 *tcp = get_ip(g, p, PROTO_TCP, &len);

    if (tcp)
        return handle_tcp(g, tcp, len, be32(p->data + IP_AT + 12));
    if (p->len >= 42 && be16(p->data + 12) == 0x0806 && be16(p->data + 20) == 1 && be32(p->data + 38) == g->ip)
        put_arp(g, p->data + 6, 2, be32(p->data + 28));
    return NULL;
}

static gboolean is_open(gpointer f)
{
    return ((Flow *)f)->state != FLOW_OPENING;
}

void flow_wait_open(Flow *f)
{
    guest_run_until(f->g, is_open, f);
}

static gboolean is_sent(gpointer user)
{
    Flow *f = user;

    return (f->todo_at == f->todo->len && f->snd_una == f->snd_nxt) || f->state == FLOW_RESET;
}

void flow_wait_sent(Flow *f)
{
    guest_run_until(f->g, is_sent, f);
}

typedef struct {
    Flow *f;
    gsize len;
} Wanted;

static gboolean has_in(gpointer user)
{
    Wanted *w = user;

    return w->f->in->len >= w->len || w->f->state == FLOW_RESET || w->f->fin_seen;
}

void flow_wait_in(Flow *f, gsize len)
{
    guest_run_until(f->g, has_in, &(Wanted){ f, len });
}

typedef struct {
    NetGuest *g;
    Flow     *found;
} Accept;

static gboolean has_accepted(gpointer user)
{
    Accept *a = user;
    GHashTableIter iter;
    gpointer f;

    g_hash_table_iter_init(&iter, a->g->flows);
    while (!a->found && g_hash_table_iter_next(&iter, NULL, &f))
        if (((Flow *)f)->accepted && ((Flow *)f)->state == FLOW_OPEN)
            a->found = f;
    return a->found != NULL;
}

Flow *guest_accept(NetGuest *g)
{
    Accept a = { g, NULL };

    guest_run_until(g, has_accepted, &a);
    a.found->accepted = FALSE; /* handed out */
    return a.found;
}

/* ---- life ---- */

void guest_start(NetGuest *g)
{
    g_autoptr(GError) error = NULL;

    g->nd = netdev_attach(g->nic, "net0", "netdev", &nic_ops, g, &error);
    g_assert_no_error(error);
    g_atomic_int_set(&g->room, 256);
    g_atomic_int_set(&g->stuck, 0);
    g_assert_true(g->nd->ops->queue_start(g->nd, 0, g->thread, &error));
}

void guest_stop(NetGuest *g)
{
    g->nd->ops->queue_stop(g->nd, 0);
    netdev_detach(g_steal_pointer(&g->nd));
}

NetGuest *guest_new(const char *more_format, ...)
{
    NetGuest *g = g_new0(NetGuest, 1);
    va_list args;

    va_start(args, more_format);
    g_autofree char *more = g_strdup_vprintf(more_format, args);
    va_end(args);
    g->rig = rig_new();
    g->nic = rig_plug(g->rig, "{\"qom-type\":\"iothread\",\"id\":\"nic\"}");
    g->thread = iothread_object_thread(g->nic);
    rig_plug(g->rig, "{\"qom-type\":\"netdev-user\",\"id\":\"net0\"%s}", more);
    g->in = g_async_queue_new_full(g_free);
    g->out = g_ptr_array_new_with_free_func(g_free);
    g->flows = g_hash_table_new_full(NULL, NULL, NULL, flow_free);
    memcpy(g->mac, (guint8[]){ 0x52, 0x54, 0, 0x12, 0x34, 0x56 }, 6);
    g->ip = IP4(10, 0, 2, 15);
    g->router = IP4(10, 0, 2, 2);
    g->next_port = 20000;
    guest_start(g);
    return g;
}

void guest_free(NetGuest *g)
{
    if (g->nd)
        guest_stop(g);
    g_hash_table_unref(g->flows);
    g_ptr_array_unref(g->out);
    rig_free(g->rig);
    g_async_queue_unref(g->in);
    g_free(g);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-netdev-user.c - the user network: a guest made of frames (net-guest.h) on one side, sockets of a network namespace of the
 * test's own on the other.
 */
#include <signal.h>
#include <sys/resource.h>

#include "net-guest.h"
#include "net-host.h"

static gboolean isolated;

#define HOST IP4(10, 0, 2, 2)
#define DNS IP4(10, 0, 2, 3)

/* ---- neighbours ---- */

static void test_arp(void)
{
    g_autoptr(NetGuest) g = guest_new("%s", "");

    g_assert_true(guest_arp(g, HOST, 2000));
    g_assert_true(guest_arp(g, DNS, 2000));
    g_assert_false(guest_arp(g, IP4(10, 0, 2, 77), 100));
}

static void test_dhcp(void)
{
    g_autoptr(NetGuest) g = guest_new("%s", "");
    Lease l;

    g_assert_true(guest_dhcp(g, &l));
    g_assert_cmphex(l.ip, ==, IP4(10, 0, 2, 15));
    g_assert_cmphex(l.mask, ==, IP4(255, 255, 255, 0));
    g_assert_cmphex(l.router, ==, HOST);
    g_assert_cmphex(l.server, ==, HOST);
    g_assert_cmphex(l.dns, ==, DNS);
    g_assert_null(l.hostname);
}

static void test_dhcp_as_told(void)
{
    g_autoptr(NetGuest) g = guest_new(",\"net\":\"192.168.0.0/16\",\"host\":\"192.168.1.1\",\"dns\":\"192.168.1.53\","
                                      "\"dhcpstart\":\"192.168.9.9\",\"hostname\":\"%s\",\"ipv6\":false", "lab-1");
    Lease l;

    g_assert_true(guest_dhcp(g, &l));
    g_assert_cmphex(l.ip, ==, IP4(192, 168, 9, 9));
    g_assert_cmphex(l.mask, ==, IP4(255, 255, 0, 0));
    g_assert_cmphex(l.router, ==, IP4(192, 168, 1, 1));
    g_assert_cmphex(l.dns, ==, IP4(192, 168, 1, 53));
    g_assert_cmpstr(l.hostname, ==, "lab-1");
    g_free(l.hostname);
}

/* IPv6 alone: nobody answers in IPv4, the router advertises itself and the prefix. */
static void test_ipv6_alone(void)
{
    g_autoptr(NetGuest) g = guest_new(",\"ipv6\":true,\"ipv6-prefix\":\"%s\"", "fd00:1::");
    guint8 solicit[ETH + 40 + 8] = { 0x33, 0x33, 0, 0, 0, 2, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 0x86, 0xdd, 0x60 };
    guint8 *ip = solicit + ETH;
    gboolean advertised = FALSE;

    g_assert_false(guest_arp(g, HOST, 100));
    ip[5] = 8;
    ip[6] = 58;
    ip[7] = 255;
    memcpy(ip + 8, (guint8[]){ 0xfe, 0x80, [15] = 9 }, 16);
    memcpy(ip + 24, (guint8[]){ 0xff, 2, [15] = 2 }, 16);
    ip[40] = 133; /* router solicitation */
    guint32 sum = 8 + 58;
    for (guint i = 8; i < 48; i += 2)
        sum += be16(ip + i);
    sum = (sum & 0xffff) + (sum >> 16);
    put16(ip + 42, ~((sum & 0xffff) + (sum >> 16)) & 0xffff);
    guest_put(g, solicit, sizeof solicit);
    for (Packet *p; !advertised && (p = guest_next(g, 2000)); g_free(p))
        if (p->len > 100 && be16(p->data + 12) == 0x86dd && p->data[ETH + 40] == 134)
            for (gsize at = ETH + 56; !advertised && at + 32 <= p->len && p->data[at + 1]; at += p->data[at + 1] * 8u)
                advertised = p->data[at] == 3 && memcmp(p->data + at + 16, (guint8[16]){ 0xfd, 0, 0, 1 }, 16) == 0;
    g_assert_true(advertised);
}

/* A question to the network's name server comes to the host's, and its answer back. */
static void test_dns(void)
{
    guint16 port = 53;
    g_autofree char *dir = NULL, *file = NULL;
    guint8 question[] = "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x02vm\x00\x00\x01\x00\x01", asked[64];
    struct sockaddr_in from;
    socklen_t from_len = sizeof from;
    const guint8 *answer;
    gsize len;

    if (!isolated) {
        g_test_skip("no namespaces of the test's own may be made here");
        return;
    }
    g_auto(AutoFd) server = host_bind(SOCK_DGRAM, &port);
    dir = rig_tmp_new();
    file = g_build_filename(dir, "resolv.conf", NULL);
    g_assert_true(g_file_set_contents(file, "nameserver 127.0.0.1\n", -1, NULL));
    g_autofree char *real = realpath("/etc/resolv.conf", NULL);
    g_assert_cmpint(mount(file, real ? real : "/etc/resolv.conf", NULL, MS_BIND, NULL), ==, 0);

    g_autoptr(NetGuest) g = guest_new("%s", "");
    g_assert_true(guest_arp(g, DNS, 2000));
    guest_put_udp(g, g->ip, DNS, 4321, 53, question, sizeof question - 1);
    guest_flush(g);
    g_assert_true(host_readable(server, 5000));
    gssize n = recvfrom(server, asked, sizeof asked, 0, (struct sockaddr *)&from, &from_len);
    g_assert_cmpmem(asked, n, question, sizeof question - 1);
    asked[2] |= 0x80; /* the answer: none, but said */
    g_assert_cmpint(sendto(server, asked, (gsize)n, 0, (struct sockaddr *)&from, from_len), ==, n);
    g_autofree Packet *p = guest_next_udp(g, 4321, 5000, &answer, &len);
    g_assert_nonnull(p);
    g_assert_cmphex(be32(p->data + IP_AT + 12), ==, DNS);
    g_assert_cmpmem(answer, len, asked, n);
    g_assert_cmpint(umount(real ? real : "/etc/resolv.conf"), ==, 0);
    rig_tmp_remove(g_steal_pointer(&dir));
}

/* ---- connections ---- */

static void fill(guint8 *data, gsize len, guint seed)
{
    for (gsize i = 0; i < len; i++)
        data[i] = (guint8)(seed + i * 31 + i / 251);
}

static gboolean is_done(gpointer f)
{
    return flow_is_done(f);
}

static void check_both_ways(NetGuest *g, Flow *f, int fd, gsize len)
{
    g_autofree guint8 *data = g_malloc(len), *got = g_malloc(len);

    fill(data, len, 1);
    flow_send(f, data, len);
    guest_flush(g);
    g_assert_cmpuint(host_read(fd, got, MIN(len, 8192)), ==, MIN(len, 8192));
    g_assert_cmpmem(got, MIN(len, 8192), data, MIN(len, 8192));
    fill(data, len, 2);
    for (gsize at = 0, n; at < len; at += n) {
        n = MIN(len - at, 16384);
        g_assert_cmpint(write(fd, data + at, n), ==, (gssize)n);
        flow_wait_in(f, at + n);
    }
    g_assert_cmpmem(f->in->data, f->in->len, data, len);
}

static void test_tcp_out(void)
{
    guint16 port = 0;
    g_auto(AutoFd) server = host_bind(SOCK_STREAM, &port);
    g_autoptr(NetGuest) g = guest_new("%s", "");

    g_assert_true(guest_arp(g, HOST, 2000));
    Flow *f = flow_connect(g, HOST, port);
    flow_wait_open(f);
    g_assert_cmpint(f->state, ==, FLOW_OPEN);
    g_auto(AutoFd) fd = accept4(server, NULL, NULL, SOCK_CLOEXEC);
    check_both_ways(g, f, fd, 8000);
    flow_close(f); /* the guest closes first */
    guest_flush(g);
    g_assert_cmpuint(host_read(fd, (guint8[1]){ 0 }, 1), ==, 0);
    close(fd_steal(&fd));
    guest_run_until(g, is_done, f);
    g_assert_true(f->fin_seen);
}

static void test_tcp_refused(void)
{
    guint16 port = host_free_port(SOCK_STREAM);
    g_autoptr(NetGuest) g = guest_new("%s", "");

    g_assert_true(guest_arp(g, HOST, 2000));
    Flow *f = flow_connect(g, HOST, port);
    flow_wait_open(f);
    g_assert_cmpint(f->state, ==, FLOW_RESET);
}

static void test_tcp_in(void)
{
    guint16 port = host_free_port(SOCK_STREAM);
    g_autoptr(NetGuest) g = guest_new(",\"hostfwd\":\"tcp:127.0.0.1:%d-:22\"", port);
    Lease l;

    g_assert_true(guest_dhcp(g, &l));
    g->listen_port = 22;
    g_auto(AutoFd) fd = host_connect(SOCK_STREAM, port);
    Flow *f = guest_accept(g);
    g_assert_cmphex(f->peer, ==, HOST);
    check_both_ways(g, f, fd, 100000 / 16);
    close(fd_steal(&fd)); /* the host closes first */
    flow_wait_in(f, G_MAXSIZE);
    g_assert_true(f->fin_seen);
    flow_close(f);
    guest_run_until(g, is_done, f);
}

static void test_udp(void)
{
    guint16 port = 0, forward = host_free_port(SOCK_DGRAM);
    g_auto(AutoFd) server = host_bind(SOCK_DGRAM, &port);
    g_autoptr(NetGuest) g = guest_new(",\"hostfwd\":\"udp:127.0.0.1:%d-10.0.2.15:69\"", forward);
    g_auto(AutoFd) client = host_connect(SOCK_DGRAM, forward);
    const guint8 *data;
    guint8 buf[64];
    gsize len;

    g_assert_true(guest_arp(g, HOST, 2000));
    guest_put_udp(g, g->ip, HOST, 1000, port, "out", 3);
    guest_flush(g);
    g_assert_true(host_readable(server, 5000));
    g_assert_cmpint(recv(server, buf, sizeof buf, 0), ==, 3);
    g_assert_cmpmem(buf, 3, "out", 3);
    g_assert_cmpint(send(client, "into", 4, 0), ==, 4);
    g_autofree Packet *p = guest_next_udp(g, 69, 5000, &data, &len);
    g_assert_nonnull(p);
    g_assert_cmpmem(data, len, "into", 4);
    guest_put_udp(g, g->ip, be32(p->data + IP_AT + 12), 69, be16(p->data + L4_AT), "back", 4);
    guest_flush(g);
    g_assert_true(host_readable(client, 5000));
    g_assert_cmpint(recv(client, buf, sizeof buf, 0), ==, 4);
    g_assert_cmpmem(buf, 4, "back", 4);
}

/* Fragments are dropped (libslirp 4.7 of Debian 12 does not survive them), and the guest lives on. */
static void test_fragments(void)
{
    guint16 port = 0;
    g_auto(AutoFd) server = host_bind(SOCK_DGRAM, &port);
    g_autoptr(NetGuest) g = guest_new("%s", "");
    guint8 udp[2008] = { 0 };

    g_assert_true(guest_arp(g, HOST, 2000));
    put16(udp, 1000);
    put16(udp + 2, port);
    put16(udp + 4, sizeof udp); /* checksum 0: none */
    guest_put_fragment(g, HOST, 1, 0x2000, udp, 1200);
    guest_put_fragment(g, HOST, 1, 1200 / 8, udp + 1200, sizeof udp - 1200);
    guest_put_fragment(g, HOST, 2, 0x8000, udp, 1200); /* the evil bit leads to the same place */
    guest_flush(g);
    g_assert_cmpuint(g->nd->tx_dropped, ==, 3);
    g_assert_false(host_readable(server, 50));
    put16(udp + 4, 1200);
    guest_put_fragment(g, HOST, 3, 0x4000, udp, 1200); /* "don't fragment" is a whole one */
    guest_flush(g);
    g_assert_true(host_readable(server, 2000));
}

/* What the host sends beyond the guest's frame size comes in fragments that fit together. */
static void test_big_datagram(void)
{
    guint16 port = host_free_port(SOCK_DGRAM);
    g_autoptr(NetGuest) g = guest_new(",\"hostfwd\":\"udp:127.0.0.1:%d-:69\"", port);
    g_auto(AutoFd) fd = host_connect(SOCK_DGRAM, port);
    guint8 data[5000], got[5008] = { 0 };
    gsize have = 0;

    for (guint i = 0; i < sizeof data; i++)
        data[i] = (guint8)(i * 11 + i / 256);
    g_assert_true(guest_arp(g, HOST, 2000));
    g_assert_cmpint(send(fd, data, sizeof data, 0), ==, sizeof data);
    for (Packet *p; have < sizeof got && (p = guest_next(g, 2000)); g_free(p)) {
        const guint8 *ip = p->data + IP_AT;
        if (be16(p->data + 12) == 0x0800 && ip[9] == 17) {
            gsize at = (be16(ip + 6) & 0x1fff) * 8u, n = be16(ip + 2) - 20u;
            g_assert_cmpuint(at + n, <=, sizeof got);
            memcpy(got + at, ip + 20, n);
            have += n;
        } else {
            guest_handle(g, p);
        }
    }
    g_assert_cmpuint(have, ==, sizeof got);
    g_assert_cmpmem(got + 8, sizeof data, data, sizeof data);
}

/* Segments that overtake each other are put in order. */
static void test_reordered(void)
{
    guint16 port = 0;
    g_auto(AutoFd) server = host_bind(SOCK_STREAM, &port);
    g_autoptr(NetGuest) g = guest_new("%s", "");
    guint8 data[10 * MSS], got[10 * MSS];

    g_assert_true(guest_arp(g, HOST, 2000));
    Flow *f = flow_connect(g, HOST, port);
    flow_wait_open(f);
    g_auto(AutoFd) fd = accept4(server, NULL, NULL, SOCK_CLOEXEC);
    for (guint round = 0; round < 50; round++) {
        fill(data, sizeof data, round);
        f->window = 65535;
        flow_send(f, data, (1 + round % 10) * MSS);
        for (guint i = g->out->len - 1; i > 0; i--) { /* any order */
            guint j = (guint)g_test_rand_int_range(0, (gint32)i + 1);
            gpointer p = g->out->pdata[i];
            g->out->pdata[i] = g->out->pdata[j];
            g->out->pdata[j] = p;
        }
        flow_wait_sent(f);
        g_assert_cmpuint(host_read(fd, got, (1 + round % 10) * MSS), ==, (1 + round % 10) * MSS);
        g_assert_cmpmem(got, (1 + round % 10) * MSS, data, (1 + round % 10) * MSS);
    }
}

/* A restricted guest reaches nobody; who is forwarded to it does. */
static void test_restricted(void)
{
    guint16 port = 0, udp = 0, forward = host_free_port(SOCK_STREAM);
    g_auto(AutoFd) server = host_bind(SOCK_STREAM, &port), udp_server = host_bind(SOCK_DGRAM, &udp);
    g_autoptr(NetGuest) g = guest_new(",\"restrict\":true,\"hostfwd\":\"tcp:127.0.0.1:%d-:22\"", forward);

    g_assert_true(guest_arp(g, HOST, 2000));
    flow_connect(g, HOST, port);
    guest_put_udp(g, g->ip, HOST, 1000, udp, "out", 3);
    for (Packet *p; (p = guest_next(g, 100)); g_free(p))
        guest_handle(g, p);
    g_assert_false(host_readable(server, 0));
    g_assert_false(host_readable(udp_server, 0));
    g->listen_port = 22;
    g_auto(AutoFd) fd = host_connect(SOCK_STREAM, forward);
    check_both_ways(g, guest_accept(g), fd, 1000);
}

/* ---- back-pressure ---- */

typedef struct {
    int   fd;
    gsize len;
} Sender;

static gpointer sender(gpointer user)
{
    Sender *s = user;
    g_autofree guint8 *data = g_malloc(s->len);

    fill(data, s->len, 3);
    for (gsize at = 0; at < s->len;) {
        gssize n = write(s->fd, data + at, s->len - at);
        g_assert_cmpint(n, >, 0);
        at += (gsize)n;
    }
    close(s->fd);
    return NULL;
}

static gpointer receiver(gpointer user)
{
    Sender *s = user;
    g_autofree guint8 *data = g_malloc(s->len), *want = g_malloc(s->len);

    fill(want, s->len, 4);
    g_assert_cmpuint(host_read(s->fd, data, s->len), ==, s->len);
    g_assert_cmpmem(data, s->len, want, s->len);
    return NULL;
}

/* Megabytes each way through a ring of ROOM frames: the guest pauses the network again and again, and nothing is lost. */
static void check_bulk(int room)
{
    enum { LEN = 3 << 20 };
    guint16 port = 0;
    g_auto(AutoFd) server = host_bind(SOCK_STREAM, &port);
    g_autoptr(NetGuest) g = guest_new("%s", "");
    g_autofree guint8 *data = g_malloc(LEN);
    Sender s = { .len = LEN };

    g_atomic_int_set(&g->room, room);
    g_assert_true(guest_arp(g, HOST, 2000));
    Flow *f = flow_connect(g, HOST, port);
    flow_wait_open(f);
    s.fd = accept4(server, NULL, NULL, SOCK_CLOEXEC);
    GThread *in = g_thread_new("receiver", receiver, &s);
    fill(data, LEN, 4);
    flow_send(f, data, LEN);
    flow_wait_sent(f);
    g_thread_join(in);
    GThread *out = g_thread_new("sender", sender, &s);
    flow_wait_in(f, LEN);
    g_thread_join(out);
    fill(data, LEN, 3);
    g_assert_cmpmem(f->in->data, f->in->len, data, LEN);
    g_assert_cmpuint(g->nd->rx_dropped + g->nd->tx_dropped, ==, 0);
}

static void test_bulk(void)
{
    check_bulk(256);
}

static void test_slow_guest(void)
{
    check_bulk(2);
}

/* ---- time ---- */

static gint64 thread_cpu_ns(const NetGuest *g)
{
    struct timespec ts;

    g_assert_cmpint(clock_gettime((clockid_t)(~(guint)iothread_id(g->thread) << 3 | 6), &ts), ==, 0); /* the kernel's form of a thread's clock */
    return ts.tv_sec * G_GINT64_CONSTANT(1000000000) + ts.tv_nsec;
}

static guint64 thread_sleeps(const NetGuest *g)
{
    g_autofree char *name = g_strdup_printf("/proc/self/task/%d/status", iothread_id(g->thread)), *text = NULL;

    g_assert_true(g_file_get_contents(name, &text, NULL, NULL));
    return g_ascii_strtoull(strstr(text, "\nvoluntary_ctxt_switches:") + 25, NULL, 10);
}

/* A network where nothing happens does not wake its thread. */
static void test_idle(void)
{
    g_autoptr(NetGuest) g = guest_new("%s", "");
    Lease l;

    g_assert_true(guest_dhcp(g, &l));
    g_assert_null(guest_next(g, 100));
    guint64 before = thread_sleeps(g);
    g_usleep(1200000);
    g_assert_cmpuint(thread_sleeps(g), ==, before);
}

/* Time passes for libslirp by itself: what a guest does not acknowledge is sent again. And a peer that has more for a guest
 * that takes no more waits, without anybody turning round and round meanwhile. */
static void test_unacknowledged(void)
{
    guint16 port = 0;
    g_auto(AutoFd) server = host_bind(SOCK_STREAM, &port);
    g_autoptr(NetGuest) g = guest_new("%s", "");
    g_autofree guint8 *data = g_malloc0(4 << 20);
    guint32 first = 0;
    guint repeated = 0;

    g_assert_true(guest_arp(g, HOST, 2000));
    flow_wait_open(flow_connect(g, HOST, port));
    g_auto(AutoFd) fd = accept4(server, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    g_assert_cmpint(write(fd, data, 4 << 20), >, 100000); /* more than the windows of both together */
    g_usleep(100000);
    gint64 cpu = thread_cpu_ns(g);
    g_usleep(300000);
    g_assert_cmpint(thread_cpu_ns(g) - cpu, <, 30000000);
    for (gint64 end = g_get_monotonic_time() + 10 * G_TIME_SPAN_SECOND; repeated < 2;) {
        g_autofree Packet *p = guest_next(g, 1000);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        if (!p || p->len < 1000)
            continue;
        first = first ? first : be32(p->data + L4_AT + 4);
        repeated += be32(p->data + L4_AT + 4) == first;
    }
}

/* The NIC goes and another comes: connections live on, and who connected meanwhile gets in. */
static void test_other_nic(void)
{
    guint16 port = host_free_port(SOCK_STREAM), out = 0;
    g_auto(AutoFd) server = host_bind(SOCK_STREAM, &out);
    g_autoptr(NetGuest) g = guest_new(",\"hostfwd\":\"tcp:127.0.0.1:%d-:22\"", port);

    g_assert_true(guest_arp(g, HOST, 2000));
    Flow *f = flow_connect(g, HOST, out);
    flow_wait_open(f);
    g_auto(AutoFd) fd = accept4(server, NULL, NULL, SOCK_CLOEXEC);
    guest_stop(g);
    g_auto(AutoFd) late = host_connect(SOCK_STREAM, port);
    g_assert_cmpint(write(fd, "while away", 10), ==, 10);
    g->listen_port = 22;
    guest_start(g);
    flow_wait_in(f, 10);
    g_assert_cmpmem(f->in->data, f->in->len, "while away", 10);
    check_both_ways(g, guest_accept(g), late, 1000);
}

/* ---- bad neighbours ---- */

static void check_alive(NetGuest *g)
{
    while (TRUE) {
        g_autofree Packet *p = guest_next(g, 20);
        if (!p)
            break;
    }
    g_assert_true(guest_arp(g, HOST, 5000));
}

/* Good frames with bytes changed, cut short or grown, and noise. */
static void test_malformed(void)
{
    guint32 seed = g_getenv("TEST_SEED") ? (guint32)atoi(g_getenv("TEST_SEED")) : (guint32)g_get_monotonic_time();
    g_autoptr(NetGuest) g = guest_new("%s", "");
    g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
    guint8 question[100] = { 0 };

    g_test_message("TEST_SEED=%u", seed);
    g_assert_true(guest_arp(g, HOST, 2000));
    guest_put_udp(g, g->ip, DNS, 1, 69, question, sizeof question); /* TFTP, which is off */
    guest_put_udp(g, 0, G_MAXUINT32, 68, 67, question, sizeof question);
    flow_connect(g, HOST, 1);
    Packet *models[3];
    for (guint i = 0; i < 3; i++)
        models[i] = g_memdup2(g_ptr_array_index(g->out, i), sizeof(Packet));
    for (guint i = 0; i < 20000; i++) {
        Packet p = *models[i % 3];
        for (gint n = g_rand_int_range(rand, 0, 4); n > 0; n--)
            p.data[g_rand_int_range(rand, 0, 60)] = (guint8)g_rand_int(rand);
        if (i % 5 == 0)
            p.len = (gsize)g_rand_int_range(rand, 0, 120);
        if (i % 97 == 0)
            p.data[IP_AT] = 0x4f; /* options that are none */
        if (i % 2 == 0)
            guest_fix_header(&p); /* so that it gets further */
        guest_put(g, p.data, p.len);
        if (g->out->len == 64)
            guest_flush(g);
        for (Packet *in; (in = g_async_queue_try_pop(g->in)); g_free(in))
            g_atomic_int_inc(&g->room);
    }
    for (guint i = 0; i < 3; i++)
        g_free(models[i]);
    check_alive(g);
}

static void send_lengths(gpointer user)
{
    NetGuest *g = user;
    g_autofree guint8 *big = g_malloc0(1 << 20);
    struct iovec iov[2] = { { big, 0 }, { big, 0 } };

    big[NET_HEADER + 12] = 8;
    big[NET_HEADER + IP_AT] = 0x45;
    for (gsize len = 0; len < 1 << 20; len += len < 70 ? 1 : len) {
        iov[0].iov_len = len;
        g_assert_cmpint(g->nd->ops->send(g->nd, 0, iov, 1), ==, 0);
        iov[1].iov_len = 65536;
        g_assert_cmpint(g->nd->ops->send(g->nd, 0, iov, 2), ==, 0);
    }
    iov[0].iov_len = iov[1].iov_len = G_MAXSIZE / 2 + 1; /* their sum is 0 */
    g_assert_cmpint(g->nd->ops->send(g->nd, 0, iov, 2), ==, 0);
}

static void test_lengths(void)
{
    g_autoptr(NetGuest) g = guest_new("%s", "");

    iothread_call(g->thread, send_lengths, g);
    g_assert_cmpuint(g->nd->tx_dropped, >, 14);
    check_alive(g);
}

static gboolean hundred_are_open(gpointer user)
{
    NetGuest *g = user;
    GHashTableIter iter;
    gpointer f;
    guint n = 0;

    g_hash_table_iter_init(&iter, g->flows);
    while (g_hash_table_iter_next(&iter, NULL, &f))
        n += ((Flow *)f)->state == FLOW_OPEN;
    return n == 100;
}

/* As many connections as there is room for, and the daemon keeps descriptors for itself. In a process of its own: the limit
 * can not be lifted again by everyone. */
static void test_flow_limit(void)
{
    struct rlimit limit = { 200, 200 };
    guint16 port = 0;

    if (!g_test_subprocess()) {
        g_test_trap_subprocess(NULL, 0, 0);
        g_test_trap_assert_passed();
        return;
    }
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);
    g_auto(AutoFd) server = host_bind(SOCK_STREAM, &port);
    g_assert_cmpint(server, >=, 0);
    g_autoptr(NetGuest) g = guest_new("%s", "");
    g_assert_true(guest_arp(g, HOST, 2000));
    for (guint i = 0; i < 300; i++)
        flow_connect(g, HOST, port);
    guest_flush(g);
    g_assert_cmpuint(g->nd->tx_dropped, ==, 200);
    guest_run_until(g, hundred_are_open, g);
    g_assert_cmpuint(rig_count_fds(), <, 150);
}

/* ---- leaving ---- */

static void test_no_leaks(void)
{
    guint16 port = 0, forward = host_free_port(SOCK_STREAM);
    g_auto(AutoFd) server = host_bind(SOCK_STREAM, &port);
    guint fds, threads;

    rig_free(rig_new()); /* what a first machine leaves with the process */
    fds = rig_count_fds();
    threads = rig_count_threads();
    for (guint round = 0; round < 3; round++) {
        NetGuest *g = guest_new(",\"hostfwd\":\"tcp:127.0.0.1:%d-:22,udp:127.0.0.1:%d-:22\"", forward, forward);
        g->listen_port = 22;
        g_assert_true(guest_arp(g, HOST, 2000));
        Flow *f = flow_connect(g, HOST, port);
        flow_wait_open(f);
        guest_put_udp(g, g->ip, HOST, 1000, port, "out", 3);
        flow_connect(g, IP4(127, 0, 0, 1), 1);
        g_auto(AutoFd) accepted = accept4(server, NULL, NULL, SOCK_CLOEXEC), in = host_connect(SOCK_STREAM, forward);
        g_assert_true(accepted >= 0 && in >= 0);
        guest_accept(g);
        g_assert_cmpuint(rig_count_fds(), >, fds + 6);
        if (round == 1) { /* in use it stays */
            g_autoptr(GError) error = NULL;
            g_assert_false(device_remove(&g->nd->dev, &error));
            g_assert_nonnull(strstr(error->message, "'nic'"));
        }
        guest_stop(g);
        rig_remove(device_set_find(g->rig->set, NS_OBJECT, "net0"));
        g_assert_cmpuint(host_read(accepted, (guint8[1]){ 0 }, 1), ==, 0); /* the peers hear of it */
        guest_free(g);
    }
    for (guint i = 0; i < 500 && rig_count_threads() > threads; i++)
        g_usleep(10000); /* who was joined is seen for a little longer */
    g_assert_cmpuint(rig_count_fds(), ==, fds);
    g_assert_cmpuint(rig_count_threads(), ==, threads);
}

/* Two networks, each on a thread of its own, share libslirp. */
static void test_two_networks(void)
{
    guint16 port = 0;
    g_auto(AutoFd) server = host_bind(SOCK_STREAM, &port);
    g_autoptr(NetGuest) g = guest_new("%s", "");
    Device *second = rig_plug(g->rig, "{\"qom-type\":\"netdev-user\",\"id\":\"net1\",\"net\":\"192.168.7.0/24\"}");

    rig_remove(second);
    g_assert_true(guest_arp(g, HOST, 2000)); /* the library is still there */
    rig_plug(g->rig, "{\"qom-type\":\"netdev-user\",\"id\":\"net1\"}");
    guest_stop(g);
    rig_remove(device_set_find(g->rig->set, NS_OBJECT, "net0"));
    rig_plug(g->rig, "{\"qom-type\":\"netdev-user\",\"id\":\"net0\"}");
    guest_start(g);
    g_assert_true(guest_arp(g, HOST, 2000));
    flow_wait_open(flow_connect(g, HOST, port));
    g_auto(AutoFd) fd = accept4(server, NULL, NULL, SOCK_CLOEXEC);
    g_assert_cmpint(fd, >=, 0);
}

int main(int argc, char **argv)
{
    isolated = host_isolate();
    signal(SIGPIPE, SIG_IGN); /* as the daemon does */
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/netdev-user/arp", test_arp);
    g_test_add_func("/netdev-user/dhcp", test_dhcp);
    g_test_add_func("/netdev-user/dhcp-as-told", test_dhcp_as_told);
    g_test_add_func("/netdev-user/ipv6-alone", test_ipv6_alone);
    g_test_add_func("/netdev-user/dns", test_dns);
    g_test_add_func("/netdev-user/tcp-out", test_tcp_out);
    g_test_add_func("/netdev-user/tcp-refused", test_tcp_refused);
    g_test_add_func("/netdev-user/tcp-in", test_tcp_in);
    g_test_add_func("/netdev-user/udp", test_udp);
    g_test_add_func("/netdev-user/fragments", test_fragments);
    g_test_add_func("/netdev-user/big-datagram", test_big_datagram);
    g_test_add_func("/netdev-user/reordered", test_reordered);
    g_test_add_func("/netdev-user/restricted", test_restricted);
    g_test_add_func("/netdev-user/bulk", test_bulk);
    g_test_add_func("/netdev-user/slow-guest", test_slow_guest);
    g_test_add_func("/netdev-user/idle", test_idle);
    g_test_add_func("/netdev-user/unacknowledged", test_unacknowledged);
    g_test_add_func("/netdev-user/other-nic", test_other_nic);
    g_test_add_func("/netdev-user/malformed", test_malformed);
    g_test_add_func("/netdev-user/lengths", test_lengths);
    g_test_add_func("/netdev-user/flow-limit", test_flow_limit);
    g_test_add_func("/netdev-user/no-leaks", test_no_leaks);
    g_test_add_func("/netdev-user/two-networks", test_two_networks);
    return g_test_run();
}

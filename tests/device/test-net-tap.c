/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-net-tap.c - the network card on real tap interfaces, in a network namespace of the test's own. The test is the card's
 * driver on one side, and on the other it has a packet socket on the interface, so that it sees and makes whole frames.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "net-rig.h"

#define N_FLOWS 1000
#define FLOW_FRAME 100
#define BIG 30000

/* ---- the host's side ---- */

static void interface_up(const char *name)
{
    g_auto(AutoFd) fd = socket(AF_INET, SOCK_DGRAM, 0);
    g_autofree char *ipv6 = g_strdup_printf("/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
    g_auto(AutoFd) off = open(ipv6, O_WRONLY | O_CLOEXEC);
    struct ifreq ifr = { .ifr_flags = IFF_UP | IFF_RUNNING };

    if (off >= 0) /* no frames of its own */
        g_assert_cmpint(write(off, "1", 1), ==, 1);
    g_strlcpy(ifr.ifr_name, name, sizeof ifr.ifr_name);
    g_assert_cmpint(ioctl(fd, SIOCSIFFLAGS, &ifr), ==, 0);
}

/* A packet socket on interface NAME; with HEADER packets have a virtio_net_hdr of 10 bytes. */
static int packet_socket(const char *name, int header)
{
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL)), size = 4 << 20;
    struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)if_nametoindex(name) };

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &header, sizeof header), ==, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&at, sizeof at), ==, 0);
    return fd;
}

/* The next frame that came out of the guest. */
static gsize host_gets(int fd, guint8 *buf, gsize size)
{
    struct sockaddr_ll from;
    socklen_t n = sizeof from;
    gssize len;

    do {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        g_assert_cmpint(poll(&p, 1, 20000), ==, 1);
        n = sizeof from;
        len = recvfrom(fd, buf, size, 0, (struct sockaddr *)&from, &n);
        g_assert_cmpint((int)len, >, 0);
    } while (from.sll_pkttype == PACKET_OUTGOING); /* what the test itself sent */
    return (gsize)len;
}

/* ---- frames ---- */

static guint16 ip_sum(const guint8 *p, gsize len)
{
    guint32 sum = 0;

    for (gsize i = 0; i < len; i += 2)
        sum += (guint32)p[i] << 8 | p[i + 1];
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (guint16)~sum;
}

static void put16(guint8 *p, guint v)
{
    p[0] = (guint8)(v >> 8);
    p[1] = (guint8)v;
}

/* Ethernet, IPv4 and UDP or TCP with PORT, LEN bytes in all; without the transport's checksum. */
static void ip_frame(guint8 *f, gsize len, guint8 proto, guint port)
{
    rig_frame(f, len, port);
    f[12] = 8;
    f[13] = 0;
    memset(f + 14, 0, 40);
    f[14] = 0x45;
    put16(f + 16, (guint)len - 14);
    f[22] = 64;
    f[23] = proto;
    memcpy(f + 26, (const guint8[8]){ 10, 0, 0, 1, 10, 0, 0, 2 }, 8);
    put16(f + 24, ip_sum(f + 14, 20));
    put16(f + 34, 10000 + port);
    put16(f + 36, 9);
    if (proto == 17)
        put16(f + 38, (guint)len - 34);
    else
        f[46] = 0x50, f[47] = 0x10;
}

/* The one's complement sum of TCP's pseudo header: what a driver leaves in the checksum (section 5.1.6.2). */
static guint pseudo(gsize tcp_len)
{
    guint8 p[12] = { 10, 0, 0, 1, 10, 0, 0, 2, 0, 6, 0, 0 };

    put16(p + 10, (guint)tcp_len);
    return (guint16)~ip_sum(p, 12);
}

/* ---- the machine ---- */

static void start(Rig *r, const char *back_end, const char *device, const char *name, guint64 features, guint queues)
{
    rig_start(r, back_end, device);
    interface_up(name);
    rig_go(r, features, queues);
}

static void both_ways(Rig *r, const char *name)
{
    g_auto(AutoFd) fd = packet_socket(name, 0);
    guint8 frame[1514], got[2048];

    for (guint i = 0; i < 30; i++) {
        gsize len = 60 + i * 50;
        rig_frame(frame, len, i);
        memcpy(r->t.ram + RIG_SEND_AT + 64, frame, len);
        rig_send_frame(r, 1, NULL, len);
        gsize n = host_gets(fd, got, sizeof got);
        g_assert_cmpmem(got, n, frame, len);
        rig_give(r, 0, i, 1526);
        g_assert_cmpint(write(fd, frame, len), ==, (gssize)len);
        g_assert_cmpuint(rig_await(r, 0, i), ==, NET_HEADER + len);
        g_assert_cmpmem(rig_buffer(r, i) + NET_HEADER, len, frame, len);
    }
}

static void test_by_name(void)
{
    Rig r;

    for (guint i = 0; i < 3; i++) {
        const char *more = (const char *[]){ "", ",\"vnet_hdr\":false", ",\"sndbuf\":1048576" }[i];
        g_autofree char *back_end = g_strdup_printf(",\"ifname\":\"bp%u\"%s", i, more), *name = g_strdup_printf("bp%u", i);
        start(&r, back_end, "", name, i ? 0 : F(NET_F_MRG_RXBUF), 2);
        g_assert_cmpuint(r.nd->header_len, ==, i == 1 ? 0 : NET_HEADER);
        g_assert_cmphex(r.nd->offloads, ==, i == 1 ? 0 : NET_ALL_OFFLOADS);
        both_ways(&r, name);
        rig_end(&r);
        g_assert_cmpuint(if_nametoindex(name), ==, 0); /* gone with the back end */
    }
}

static int open_tun(const char *name, int flags)
{
    int fd = open("/dev/net/tun", O_RDWR);
    struct ifreq ifr = { .ifr_flags = (short)flags };

    g_assert_cmpint(fd, >=, 0);
    g_strlcpy(ifr.ifr_name, name, sizeof ifr.ifr_name);
    g_assert_cmpint(ioctl(fd, TUNSETIFF, &ifr), ==, 0);
    return fd;
}

static void test_by_descriptor(void)
{
    int fd = open_tun("bpfd", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
    g_autofree char *back_end = g_strdup_printf(",\"fd\":\"%d\"", fd);
    Rig r;

    start(&r, back_end, "", "bpfd", 0, 2);
    g_assert_cmpint(fcntl(fd, F_GETFD) & FD_CLOEXEC, ==, FD_CLOEXEC);
    both_ways(&r, "bpfd");
    rig_end(&r);
    g_assert_cmpint(fcntl(fd, F_GETFD), ==, -1);
}

/* ---- offloads ---- */

/* A packet of 30,000 bytes from the guest reaches the host's stack whole: nobody cut it or summed it up. */
static void test_guest_sends_large(void)
{
    static const guint8 header[NET_HEADER] = { HDR_F_NEEDS_CSUM, GSO_TCPV4, 54, 0, 0xa8, 5, 34, 0, 16, 0, 0, 0 };
    g_autofree guint8 *frame = g_malloc(BIG), *got = g_malloc(65536);
    Rig r;

    start(&r, ",\"ifname\":\"bptso\"", "", "bptso", F(NET_F_CSUM) | F(NET_F_HOST_TSO4), 2);
    g_auto(AutoFd) fd = packet_socket("bptso", 1);
    ip_frame(frame, BIG, 6, 1);
    put16(frame + 50, pseudo(BIG - 34));
    memcpy(r.t.ram + RIG_SEND_AT + 64, frame, BIG);
    rig_send_frame(&r, 1, header, BIG);
    gsize n = host_gets(fd, got, 65536);
    g_assert_cmpuint(got[0], ==, HDR_F_NEEDS_CSUM);
    g_assert_cmpuint(got[1], ==, GSO_TCPV4);
    g_assert_cmpmem(got + 10, n - 10, frame, BIG);
    rig_end(&r);
}

/* The other way round: whole for a guest that wants that, else cut and summed up by the host. */
static void test_guest_gets_large(void)
{
    static const guint8 header[10] = { HDR_F_NEEDS_CSUM, GSO_TCPV4, 54, 0, 0xa8, 5, 34, 0, 16, 0 };
    g_autofree guint8 *packet = g_malloc(10 + BIG);
    guint payload = 0, frames = 0;
    Rig r;

    memcpy(packet, header, 10);
    ip_frame(packet + 10, BIG, 6, 1);
    put16(packet + 10 + 50, pseudo(BIG - 34));
    for (guint whole = 0; whole < 2; whole++) {
        start(&r, ",\"ifname\":\"bptso\"", "", "bptso",
              F(NET_F_MRG_RXBUF) | (whole ? F(NET_F_GUEST_CSUM) | F(NET_F_GUEST_TSO4) : 0), 2);
        g_auto(AutoFd) fd = packet_socket("bptso", 1);
        for (guint i = 0; i < 50; i++)
            rig_give(&r, 0, i, 1526);
        g_assert_cmpint(write(fd, packet, 10 + BIG), ==, 10 + BIG);
        rig_await(&r, 0, 0);
        const guint8 *got = rig_buffer(&r, 0);
        g_assert_cmpuint(got[HDR_GSO_TYPE], ==, whole ? GSO_TCPV4 : 0);
        g_assert_cmpuint(got[HDR_FLAGS], ==, whole ? HDR_F_NEEDS_CSUM : 0);
        g_assert_cmpuint(le16_get(got + HDR_NUM_BUFFERS), ==, whole ? (NET_HEADER + BIG + 1525) / 1526 : 1);
        for (guint i = 0; !whole && payload < BIG - 54; i++, frames++) {
            guint32 len = i ? rig_await(&r, 0, i) : NET_HEADER + 1448 + 54;
            guint8 sum[12 + 1480] = { 10, 0, 0, 1, 10, 0, 0, 2, 0, 6 };
            got = rig_buffer(&r, i) + NET_HEADER;
            gsize tcp = (gsize)(got[16] << 8 | got[17]) - 20;
            put16(sum + 10, (guint)tcp);
            memcpy(sum + 12, got + 34, tcp);
            g_assert_cmphex(ip_sum(sum, 12 + tcp + tcp % 2), ==, 0);
            payload += (guint)tcp - 20;
            g_assert_cmpuint(len, ==, NET_HEADER + 34 + tcp);
        }
        rig_end(&r);
    }
    g_assert_cmpuint(payload, ==, BIG - 54);
    g_assert_cmpuint(frames, ==, (BIG - 54 + 1447) / 1448);
}

/* Flags that were not negotiated, or are wrong, do not reach the host; the frames behind them do. */
static void test_wrong_flags(void)
{
    static const guint8 wrong[][NET_HEADER] = {
        { HDR_F_NEEDS_CSUM, 0, 0, 0, 0, 0, 99, 0, 0, 0 },
        { HDR_F_NEEDS_CSUM, 0, 0, 0, 0, 0, 34, 0, 0xff, 0xff },
        { HDR_F_NEEDS_CSUM, GSO_TCPV4, 54, 0, 0xa8, 5, 34, 0, 16, 0 },
        { HDR_F_NEEDS_CSUM, 3, 42, 0, 0xa8, 5, 34, 0, 6, 0 },
        { 0, GSO_TCPV6, 0, 0, 1, 0, 0, 0, 0, 0 },
    };
    guint8 frame[100], got[256];
    Rig r;

    start(&r, ",\"ifname\":\"bpbad\"", "", "bpbad", F(NET_F_CSUM), 2);
    g_auto(AutoFd) fd = packet_socket("bpbad", 1);
    for (guint i = 0; i < G_N_ELEMENTS(wrong); i++) {
        ip_frame(frame, sizeof frame, 17, i);
        memcpy(r.t.ram + RIG_SEND_AT + 64, frame, sizeof frame);
        rig_send_frame(&r, 1, wrong[i], sizeof frame);
        rig_send_frame(&r, 1, NULL, sizeof frame);
        gsize n = host_gets(fd, got, sizeof got);
        g_assert_cmpuint(got[0] | got[1], ==, 0);
        g_assert_cmpmem(got + 10, n - 10, frame, sizeof frame);
        g_assert_cmpuint(r.nd->tx_dropped, ==, i + 1);
    }
    rig_end(&r);
}

/* ---- many flows ---- */

static guint port_of(const guint8 *frame)
{
    return (guint)(frame[34] << 8 | frame[35]) - 10000;
}

/* Takes what has come into the buffers of queue Q and gives them back. */
static guint take_flows(Rig *r, guint q, guint8 *seen)
{
    guint32 token, len;
    guint n = 0;

    while (drv_take(&r->v.q[q], &token, &len)) {
        const guint8 *frame = rig_buffer(r, token) + NET_HEADER;
        g_assert_cmpuint(len, ==, NET_HEADER + FLOW_FRAME);
        g_assert_cmpuint(port_of(frame), <, N_FLOWS);
        seen[port_of(frame)]++;
        rig_give(r, q, token, 1526);
        n++;
    }
    return n;
}

static void check_seen(const guint8 *seen)
{
    for (guint i = 0; i < N_FLOWS; i++)
        g_assert_cmpuint(seen[i], ==, 1);
}

/* 1,000 flows in both directions over three queues: each arrives, once, and the host spreads them over the queues in use. */
static void test_flows(void)
{
    guint8 frame[FLOW_FRAME], got[256], in[N_FLOWS] = { 0 }, out[N_FLOWS] = { 0 };
    guint by_queue[3] = { 0 }, total = 0;
    Rig r;

    start(&r, ",\"ifname\":\"bpmq\",\"queues\":3", ",\"mq\":true", "bpmq", F(NET_F_MQ) | F(NET_F_CTRL_VQ), 7);
    g_assert_cmpuint(rig_ctrl(&r, 6, 4, 0, "\3\0", 2), ==, 0);
    g_auto(AutoFd) fd = packet_socket("bpmq", 0);
    for (guint q = 0; q < 3; q++) {
        for (guint i = 0; i < 64; i++)
            rig_give(&r, 2 * q, q * 64 + i, 1526);
    }
    for (guint i = 0; i < N_FLOWS; i++) {
        ip_frame(frame, sizeof frame, 17, i);
        memcpy(r.t.ram + RIG_SEND_AT + 64, frame, sizeof frame);
        rig_send_frame(&r, 2 * (i % 3) + 1, NULL, sizeof frame);
        g_assert_cmpint(write(fd, frame, sizeof frame), ==, sizeof frame);
        for (guint q = 0; i % 16 == 0 && q < 3; q++)
            by_queue[q] += take_flows(&r, 2 * q, in);
    }
    for (guint i = 0; i < N_FLOWS; i++) {
        g_assert_cmpuint(host_gets(fd, got, sizeof got), ==, FLOW_FRAME);
        out[port_of(got)]++;
    }
    RIG_AWAIT(({
        total = 0;
        for (guint q = 0; q < 3; q++)
            total += by_queue[q] += take_flows(&r, 2 * q, in);
        total >= N_FLOWS;
    }));
    check_seen(in);
    check_seen(out);
    for (guint q = 0; q < 3; q++)
        g_assert_cmpuint(by_queue[q], >, 50);
    rig_end(&r);
}

/* With one queue in use all of them come by it. */
static void test_one_of_many(void)
{
    guint8 frame[FLOW_FRAME];
    guint8 in[N_FLOWS] = { 0 };
    guint total = 0;
    Rig r;

    start(&r, ",\"ifname\":\"bpmq\",\"queues\":3", ",\"mq\":true", "bpmq", 0, 2);
    g_auto(AutoFd) fd = packet_socket("bpmq", 0);
    for (guint i = 0; i < 64; i++)
        rig_give(&r, 0, i, 1526);
    for (guint i = 0; i < N_FLOWS; i++) {
        ip_frame(frame, sizeof frame, 17, i);
        g_assert_cmpint(write(fd, frame, sizeof frame), ==, sizeof frame);
        total += take_flows(&r, 0, in);
    }
    RIG_AWAIT((total += take_flows(&r, 0, in)) >= N_FLOWS);
    check_seen(in);
    rig_end(&r);
}

/* ---- mistakes ---- */

static void refuse(Rig *r, const char *fragment, const char *more)
{
    g_autofree char *json = g_strdup_printf("{\"qom-type\":\"netdev-tap\",\"id\":\"x\"%s}", more);
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonDoc) doc = json_doc_parse(json, strlen(json), &json_limits_default, &error);
    PropBag *bag = prop_bag_decode(json_doc_root(doc), "qom-type", &error);

    g_assert_no_error(error);
    g_assert_null(device_plug_realize(r->t.set, bag, &error));
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, fragment));
}

static void test_refused(void)
{
    g_auto(AutoFd) tun = open_tun("bptun", IFF_TUN | IFF_NO_PI);
    g_auto(AutoFd) one = open_tun("bpone", IFF_TAP | IFF_NO_PI);
    g_auto(AutoFd) other = open_tun("bpother", IFF_TAP | IFF_NO_PI);
    g_autofree char *with_tun = g_strdup_printf(",\"fd\":\"%d\"", tun), *twice = g_strdup_printf(",\"fds\":\"%d:%d\"", one, other),
                    *both = g_strdup_printf(",\"fd\":\"%d\",\"ifname\":\"x\"", one), *taken = g_strdup_printf(",\"fd\":\"%d\"", other),
                    *same = g_strdup_printf(",\"fds\":\"%d:%d\"", one, one);
    Rig r;

    rig_start(&r, ",\"ifname\":\"bpr\"", "");
    refuse(&r, "'bpr' can not be opened", ",\"ifname\":\"bpr\"");
    refuse(&r, "is not that of a tap", ",\"fd\":\"99\"");
    refuse(&r, "names are for netdev_add", ",\"fd\":\"mine\"");
    refuse(&r, "IFF_TAP", with_tun);
    refuse(&r, "of interface 'bpother'", twice);
    g_assert_cmpint(fcntl(one, F_GETFD), ==, 0); /* given back as it was */
    refuse(&r, "was not inherited, or is in use", same);
    g_assert_cmpint(fcntl(one, F_GETFD), ==, 0);
    g_assert_cmpint(fcntl(other, F_SETFD, FD_CLOEXEC), ==, 0);
    refuse(&r, "was not inherited, or is in use", taken);
    refuse(&r, "exclude each other", both);
    refuse(&r, "can not be opened with several queues", ",\"ifname\":\"bpr\",\"queues\":2");
    g_assert_cmpint(fcntl(one, F_GETFD), >=, 0); /* still the caller's */
    rig_end(&r);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (unshare(CLONE_NEWNET) < 0 || access("/dev/net/tun", R_OK | W_OK) < 0) {
        g_print("1..0 # SKIP no network namespace or no /dev/net/tun: %s\n", g_strerror(errno));
        return 0;
    }
    g_test_add_func("/net-tap/by-name", test_by_name);
    g_test_add_func("/net-tap/by-descriptor", test_by_descriptor);
    g_test_add_func("/net-tap/guest-sends-large", test_guest_sends_large);
    g_test_add_func("/net-tap/guest-gets-large", test_guest_gets_large);
    g_test_add_func("/net-tap/wrong-flags", test_wrong_flags);
    g_test_add_func("/net-tap/flows", test_flows);
    g_test_add_func("/net-tap/one-of-many", test_one_of_many);
    g_test_add_func("/net-tap/refused", test_refused);
    return g_test_run();
}

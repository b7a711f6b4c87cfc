/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-netdev-user-words.c - what can be said about a user network, what is refused and how, and when libslirp is opened.
 */
#include "../../devices/backend/slirp-settings.h"
#include "core-rig.h"
#include "net-host.h"

static gboolean isolated;

#define HOST IP4(10, 0, 2, 2)
#define DNS IP4(10, 0, 2, 3)
#define IP4(a, b, c, d) ((guint32)(a) << 24 | (b) << 16 | (c) << 8 | (d))

static gboolean library_is_loaded(void)
{
    g_autofree char *maps = NULL;

    g_assert_true(g_file_get_contents("/proc/self/maps", &maps, NULL, NULL));
    return strstr(maps, "libslirp") != NULL;
}

/* ---- what can be said ---- */

/* First of all tests: nobody has opened the library. */
static void test_opened_on_use(void)
{
    g_assert_false(library_is_loaded());
    g_autoptr(Rig) rig = rig_new();
    rig_refuse(rig, "'10.0.2.0'", "{\"qom-type\":\"netdev-user\",\"id\":\"n\",\"net\":\"10.0.2.0\"}");
    g_assert_false(library_is_loaded());
    rig_remove(rig_plug(rig, "{\"qom-type\":\"netdev-user\",\"id\":\"n\"}"));
    g_assert_true(library_is_loaded());
}

static void test_refused(void)
{
    static const struct {
        const char *words, *message;
    } bad[] = {
        { "\"net\":\"10.0.2.0\"", "'net' of object 'n' is '10.0.2.0', and may be an IPv4 network" },
        { "\"net\":\"10.0.2.0/28\"", "4 to 27 bits" },
        { "\"net\":\"10.0.2.0/3\"", "4 to 27 bits" },
        { "\"net\":\"10.0.2.0/255.0.255.0\"", "4 to 27 bits" },
        { "\"net\":\"10.0.2.0/255.255.255.248\"", "4 to 27 bits" },
        { "\"net\":\"10.2/24\"", "'10.2/24'" },
        { "\"net\":\"10.0.2.0/24/1\"", "'10.0.2.0/24/1'" },
        { "\"net\":\"\"", "net" },
        { "\"host\":\"10.0.3.2\"", "'host' of object 'n' is '10.0.3.2', and may be an address of a host in the network 10.0.2.0/24" },
        { "\"host\":\"10.0.2.0\"", "host in the network" },
        { "\"host\":\"10.0.2.255\"", "host in the network" },
        { "\"host\":\"router\"", "'router', and may be an IPv4 address" },
        { "\"dns\":\"192.168.1.1\"", "'dns'" },
        { "\"dhcpstart\":\"192.168.1.1\"", "'dhcpstart'" },
        { "\"dns\":\"10.0.2.2\"", "'host' and 'dns' of object 'n' are both 10.0.2.2" },
        { "\"dhcpstart\":\"10.0.2.2\"", "'host' and 'dhcpstart'" },
        { "\"dhcpstart\":\"10.0.2.3\"", "'dns' and 'dhcpstart'" },
        { "\"ipv4\":false,\"ipv6\":false", "one must be on" },
        { "\"ipv6-prefix\":\"10.0.2.0\"", "'ipv6-prefix'" },
        { "\"ipv6-prefixlen\":127", "ipv6-prefixlen" },
        { "\"ipv6-host\":\"fec1::2\"", "'ipv6-host' of object 'n' is 'fec1::2', and may be an IPv6 address of a host in the network fec0::/64" },
        { "\"ipv6-host\":\"fec0::\"", "'ipv6-host'" },
        { "\"ipv6-dns\":\"fec0::2\"", "must differ" },
        { "\"hostname\":\"a-name-of-more-than-thirty-two-bytes\"", "hostname" },
        { "\"dnssearch\":\"a..b\"", "'dnssearch'" },
        { "\"dnssearch\":\"a,\"", "'dnssearch'" },
        { "\"hostfwd\":\"\"", "hostfwd" },
        { "\"hostfwd\":\"tcp::1-:2,\"", "'hostfwd' of object 'n': Host forward '': it has not two sides" },
        { "\"hostfwd\":\"tcp::1\"", "it has not two sides" },
        { "\"hostfwd\":\"tcp::1-2\"", "three and two parts" },
        { "\"hostfwd\":\"sctp::1-:2\"", "neither tcp nor udp" },
        { "\"hostfwd\":\"tcp::0-:2\"", "the host's port is not 1 to 65535" },
        { "\"hostfwd\":\"tcp::65536-:2\"", "the host's port" },
        { "\"hostfwd\":\"tcp::1-:0\"", "the guest's port" },
        { "\"hostfwd\":\"tcp::1-: 2\"", "the guest's port" },
        { "\"hostfwd\":\"tcp:localhost:1-:2\"", "the host's address is not an IPv4 address" },
        { "\"hostfwd\":\"tcp::1-guest:2\"", "the guest's address is not an IPv4 address" },
        { "\"ipv6\":true,\"hostfwd\":\"tcp::1-:2\"", "'hostfwd' of object 'n' needs IPv4, which is off" },
        { "\"hostfwd\":\"tcp:203.0.113.1:1-:2\"", "can not listen on that port of the host: Cannot assign requested address" },
        { "\"guestfwd\":\"tcp::1-cmd\"", "guestfwd" },
        { "\"smb\":\"/\"", "smb" },
    };
    g_autoptr(Rig) rig = rig_new();

    for (guint i = 0; i < G_N_ELEMENTS(bad); i++)
        rig_refuse(rig, bad[i].message, "{\"qom-type\":\"netdev-user\",\"id\":\"n\",%s}", bad[i].words);
}

static void test_port_taken(void)
{
    guint16 port = 0, free_port = host_free_port(SOCK_STREAM);
    g_auto(AutoFd) taken = host_bind(SOCK_STREAM, &port);
    g_assert_cmpint(taken, >=, 0);
    g_autofree char *what = g_strdup_printf("Host forward 'tcp:127.0.0.1:%d-:22': can not listen", port);
    g_autoptr(Rig) rig = rig_new();

    rig_refuse(rig, what, "{\"qom-type\":\"netdev-user\",\"id\":\"n\",\"hostfwd\":\"tcp:127.0.0.1:%d-:22,tcp:127.0.0.1:%d-:22\"}",
               free_port, port);
}

static void test_forward_text(void)
{
    static const char *const texts[] = { "tcp::2222-:22", "udp:127.0.0.1:53-10.0.2.20:5353", "tcp:0.0.0.0:1-:65535" };
    static const char *const canonical[] = { "tcp::2222-:22", "udp:127.0.0.1:53-10.0.2.20:5353", "tcp::1-:65535" };
    SlirpForward f;

    for (guint i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_assert_true(slirp_forward_parse(texts[i], &f, NULL));
        g_autofree char *text = slirp_forward_text(&f);
        g_assert_cmpstr(text, ==, canonical[i]);
    }
    g_assert_true(slirp_forward_parse(":127.0.0.1:80-:8080", &f, NULL)); /* TCP without a word */
    g_assert_false(f.udp);
    g_assert_cmpuint(f.host_port, ==, 80);
    g_assert_cmpuint(f.guest_port, ==, 8080);
}

/* The addresses that nobody gave are where QEMU's are. */
static void test_derived_addresses(void)
{
    static const struct {
        const char *net;
        guint32     host, dns, dhcp;
    } cases[] = {
        { "10.0.2.0/24", HOST, DNS, IP4(10, 0, 2, 15) },
        { "192.168.76.9/24", IP4(192, 168, 76, 2), IP4(192, 168, 76, 3), IP4(192, 168, 76, 15) },
        { "172.20.0.0/255.255.0.0", IP4(172, 20, 2, 2), IP4(172, 20, 2, 3), IP4(172, 20, 2, 15) },
        { "10.9.8.32/27", IP4(10, 9, 8, 34), IP4(10, 9, 8, 35), IP4(10, 9, 8, 47) },
    };

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_auto(SlirpSettings) s = { 0 };
        SlirpWords w = { .net = cases[i].net, .ipv6_prefix = "fec0::5", .ipv6_prefixlen = 64 };
        char text[INET6_ADDRSTRLEN];

        g_assert_true(slirp_settings_parse("n", &w, &s, NULL));
        g_assert_cmphex(ntohl(s.host.s_addr), ==, cases[i].host);
        g_assert_cmphex(ntohl(s.dns.s_addr), ==, cases[i].dns);
        g_assert_cmphex(ntohl(s.dhcp_start.s_addr), ==, cases[i].dhcp);
        g_assert_true(s.ipv4 && s.ipv6);
        g_assert_cmpstr(inet_ntop(AF_INET6, &s.host6, text, sizeof text), ==, "fec0::2");
        g_assert_cmpstr(inet_ntop(AF_INET6, &s.dns6, text, sizeof text), ==, "fec0::3");
    }
}

static void test_versions(void)
{
    static const struct {
        int v4, v6; /* -1: not said */
        gboolean is4, is6;
    } cases[] = { { -1, -1, 1, 1 }, { 1, -1, 1, 0 }, { -1, 1, 0, 1 }, { 0, -1, 0, 1 }, { -1, 0, 1, 0 }, { 1, 1, 1, 1 } };

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_auto(SlirpSettings) s = { 0 };
        SlirpWords w = { .net = "10.0.2.0/24", .ipv6_prefix = "fec0::", .ipv6_prefixlen = 64, .has_ipv4 = cases[i].v4 >= 0,
                         .ipv4 = cases[i].v4 == 1, .has_ipv6 = cases[i].v6 >= 0, .ipv6 = cases[i].v6 == 1 };

        g_assert_true(slirp_settings_parse("n", &w, &s, NULL));
        g_assert_true(s.ipv4 == cases[i].is4 && s.ipv6 == cases[i].is6);
    }
}

/* Without the library the error says what is missing. Its file is hidden in a mount namespace of a process of its own. */
static void test_no_library(void)
{
    if (!isolated) {
        g_test_skip("no namespaces of the test's own may be made here");
        return;
    }
    if (!g_test_subprocess()) {
        g_test_trap_subprocess(NULL, 0, 0);
        g_test_trap_assert_passed();
        return;
    }
    g_assert_false(library_is_loaded());
    g_autofree char *real = realpath("/usr/lib/x86_64-linux-gnu/libslirp.so.0", NULL);
    if (real)
        g_assert_cmpint(mount("/dev/null", real, NULL, MS_BIND, NULL), ==, 0);
    g_autoptr(Rig) rig = rig_new();
    rig_refuse(rig, "need libslirp (Debian: libslirp0), which can not be opened", "{\"qom-type\":\"netdev-user\",\"id\":\"n\"}");
}

int main(int argc, char **argv)
{
    isolated = host_isolate();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/netdev-user-words/opened-on-use", test_opened_on_use);
    g_test_add_func("/netdev-user-words/refused", test_refused);
    g_test_add_func("/netdev-user-words/port-taken", test_port_taken);
    g_test_add_func("/netdev-user-words/forward-text", test_forward_text);
    g_test_add_func("/netdev-user-words/derived-addresses", test_derived_addresses);
    g_test_add_func("/netdev-user-words/versions", test_versions);
    g_test_add_func("/netdev-user-words/no-library", test_no_library);
    return g_test_run();
}

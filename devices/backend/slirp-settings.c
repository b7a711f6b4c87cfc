/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * slirp-settings.c - the words of a `netdev-user`, checked.
 *
 * libslirp takes any addresses and goes wrong later and silently: two roles on one address, or a
 * role outside the network, is a network in which the guest finds nobody. So all of them are checked
 * against each other here, before anything is opened.
 *
 * Addresses are strict dotted quads (inet_pton): inet_aton's "10.2" and octal numbers are mistakes
 * more often than wishes.
 */
#include "slirp-settings.h"

#include <string.h>

#include "../../common/error.h"

enum { MIN_BITS = 4, MAX_BITS = 27, FORWARD_MAX = 127 };

static gboolean refuse(GError **error, const char *id, const char *prop, const char *given, const char *allowed)
{
    g_autofree char *quoted = error_quote(given, -1);

    return error_set(error, "Property '%s' of object '%s' is '%s', and may be %s", prop, id, quoted, allowed);
}

/* ---- IPv4 ---- */

/* 10.0.2.0/24 or 10.0.2.0/255.255.255.0. */
static gboolean parse_mask(const char *text, guint32 *mask)
{
    struct in_addr addr;
    guint64 bits;

    if (g_ascii_string_to_unsigned(text, 10, MIN_BITS, MAX_BITS, &bits, NULL)) {
        *mask = ~(guint32)0 << (32 - bits);
        return TRUE;
    }
    if (inet_pton(AF_INET, text, &addr) != 1)
        return FALSE;
    *mask = ntohl(addr.s_addr);
    /* Ones, then zeroes; as many as above. */
    return (~*mask & (~*mask + 1)) == 0 && *mask >= ~(guint32)0 << (32 - MIN_BITS) && *mask <= ~(guint32)0 << (32 - MAX_BITS);
}

static gboolean parse_net(const char *id, const char *text, SlirpSettings *out, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(text, "/", 2);
    struct in_addr addr;
    guint32 mask;

    if (g_strv_length(parts) != 2 || inet_pton(AF_INET, parts[0], &addr) != 1 || !parse_mask(parts[1], &mask))
        return refuse(error, id, "net", text, "an IPv4 network, ADDRESS/BITS or ADDRESS/MASK, with 4 to 27 bits");
    out->mask.s_addr = htonl(mask);
    out->net.s_addr = addr.s_addr & out->mask.s_addr;
    return TRUE;
}

/* The address of role PROP: as given, or where QEMU's guests know it: x.x.2.HOST as far as the mask leaves that to the host. */
static gboolean parse_role(const char *id, const char *prop, const char *given, guint32 host, const SlirpSettings *s,
                           struct in_addr *out, GError **error)
{
    char net[INET_ADDRSTRLEN];
    guint32 part;

    if (!given)
        out->s_addr = s->net.s_addr | (htonl(0x200 | host) & ~s->mask.s_addr);
    else if (inet_pton(AF_INET, given, out) != 1)
        return refuse(error, id, prop, given, "an IPv4 address");
    part = ntohl(out->s_addr & ~s->mask.s_addr);
    if ((out->s_addr & s->mask.s_addr) == s->net.s_addr && part != 0 && part != ntohl(~s->mask.s_addr))
        return TRUE;
    inet_ntop(AF_INET, &s->net, net, sizeof net);
    g_autofree char *allowed = g_strdup_printf("an address of a host in the network %s/%d", net,
                                               __builtin_popcount(s->mask.s_addr));
    return refuse(error, id, prop, given, allowed);
}

static gboolean check_apart(const char *id, const char *a, struct in_addr addr_a, const char *b, struct in_addr addr_b,
                            GError **error)
{
    char text[INET_ADDRSTRLEN];

    if (addr_a.s_addr != addr_b.s_addr)
        return TRUE;
    return error_set(error, "Properties '%s' and '%s' of object '%s' are both %s, and must differ", a, b, id,
                     inet_ntop(AF_INET, &addr_a, text, sizeof text));
}

static gboolean parse_ipv4(const char *id, const SlirpWords *w, SlirpSettings *s, GError **error)
{
    return parse_net(id, w->net, s, error) && parse_role(id, "host", w->host, 2, s, &s->host, error) &&
           parse_role(id, "dns", w->dns, 3, s, &s->dns, error) &&
           parse_role(id, "dhcpstart", w->dhcpstart, 15, s, &s->dhcp_start, error) &&
           check_apart(id, "host", s->host, "dns", s->dns, error) &&
           check_apart(id, "host", s->host, "dhcpstart", s->dhcp_start, error) &&
           check_apart(id, "dns", s->dns, "dhcpstart", s->dhcp_start, error);
}

/* ---- IPv6 ---- */

static gboolean in_prefix(const struct in6_addr *addr, const SlirpSettings *s)
{
    guint whole = s->prefix6_len / 8, rest = s->prefix6_len % 8;

    if (memcmp(addr, &s->prefix6, whole) != 0)
        return FALSE;
    return rest == 0 || ((addr->s6_addr[whole] ^ s->prefix6.s6_addr[whole]) & (0xff00 >> rest) & 0xff) == 0;
}

static void clear_host_part(SlirpSettings *s)
{
    for (guint bit = s->prefix6_len; bit < 128; bit++)
        s->prefix6.s6_addr[bit / 8] &= (guint8)~(0x80 >> bit % 8);
}

static gboolean parse_role6(const char *id, const char *prop, const char *given, guint8 host, const SlirpSettings *s,
                            struct in6_addr *out, GError **error)
{
    char net[INET6_ADDRSTRLEN];

    if (!given) {
        *out = s->prefix6;
        out->s6_addr[15] |= host;
        return TRUE;
    }
    if (inet_pton(AF_INET6, given, out) == 1 && in_prefix(out, s) && memcmp(out, &s->prefix6, sizeof *out) != 0)
        return TRUE;
    inet_ntop(AF_INET6, &s->prefix6, net, sizeof net);
    g_autofree char *allowed = g_strdup_printf("an IPv6 address of a host in the network %s/%d", net, s->prefix6_len);
    return refuse(error, id, prop, given, allowed);
}

static gboolean parse_ipv6(const char *id, const SlirpWords *w, SlirpSettings *s, GError **error)
{
    s->prefix6_len = w->ipv6_prefixlen;
    if (inet_pton(AF_INET6, w->ipv6_prefix, &s->prefix6) != 1)
        return refuse(error, id, "ipv6-prefix", w->ipv6_prefix, "an IPv6 address");
    clear_host_part(s);
    if (!parse_role6(id, "ipv6-host", w->ipv6_host, 2, s, &s->host6, error) ||
        !parse_role6(id, "ipv6-dns", w->ipv6_dns, 3, s, &s->dns6, error))
        return FALSE;
    if (memcmp(&s->host6, &s->dns6, sizeof s->host6) == 0)
        return error_set(error, "Properties 'ipv6-host' and 'ipv6-dns' of object '%s' are the same address, and must differ", id);
    return TRUE;
}

/* ---- forwards ---- */

static gboolean parse_port(const char *text, guint16 *port)
{
    guint64 n;

    if (!g_ascii_string_to_unsigned(text, 10, 1, 65535, &n, NULL))
        return FALSE;
    *port = (guint16)n;
    return TRUE;
}

static gboolean parse_addr(const char *text, struct in_addr *addr)
{
    addr->s_addr = INADDR_ANY;
    return !*text || inet_pton(AF_INET, text, addr) == 1;
}

static gboolean forward_refused(GError **error, const char *text, const char *what)
{
    g_autofree char *quoted = error_quote(text, -1);

    return error_set(error,
                     "Host forward '%s': %s; it is to be [tcp|udp]:[HOSTADDRESS]:HOSTPORT-[GUESTADDRESS]:GUESTPORT",
                     quoted, what);
}

static gboolean parse_host_side(char **parts, const char *text, SlirpForward *out, GError **error)
{
    out->udp = strcmp(parts[0], "udp") == 0;
    if (!out->udp && *parts[0] && strcmp(parts[0], "tcp") != 0)
        return forward_refused(error, text, "the protocol is neither tcp nor udp");
    if (!parse_addr(parts[1], &out->host_addr))
        return forward_refused(error, text, "the host's address is not an IPv4 address");
    if (!parse_port(parts[2], &out->host_port))
        return forward_refused(error, text, "the host's port is not 1 to 65535");
    return TRUE;
}

gboolean slirp_forward_parse(const char *text, SlirpForward *out, GError **error)
{
    g_auto(GStrv) sides = g_strsplit(strlen(text) <= FORWARD_MAX ? text : "", "-", -1);
    g_auto(GStrv) host = NULL, guest = NULL;

    memset(out, 0, sizeof *out);
    if (g_strv_length(sides) != 2)
        return forward_refused(error, text, "it has not two sides");
    host = g_strsplit(sides[0], ":", -1);
    guest = g_strsplit(sides[1], ":", -1);
    if (g_strv_length(host) != 3 || g_strv_length(guest) != 2)
        return forward_refused(error, text, "its sides have not three and two parts");
    if (!parse_host_side(host, text, out, error))
        return FALSE;
    if (!parse_addr(guest[0], &out->guest_addr))
        return forward_refused(error, text, "the guest's address is not an IPv4 address");
    if (!parse_port(guest[1], &out->guest_port))
        return forward_refused(error, text, "the guest's port is not 1 to 65535");
    return TRUE;
}

static char *addr_text(struct in_addr addr, char *buf)
{
    *buf = '\0';
    if (addr.s_addr != INADDR_ANY)
        inet_ntop(AF_INET, &addr, buf, INET_ADDRSTRLEN);
    return buf;
}

char *slirp_forward_text(const SlirpForward *f)
{
    char host[INET_ADDRSTRLEN], guest[INET_ADDRSTRLEN];

    return g_strdup_printf("%s:%s:%d-%s:%d", f->udp ? "udp" : "tcp", addr_text(f->host_addr, host), f->host_port,
                           addr_text(f->guest_addr, guest), f->guest_port);
}

static gboolean parse_forwards(const char *id, const char *list, SlirpSettings *s, GError **error)
{
    g_auto(GStrv) texts = g_strsplit(list ? list : "", ",", -1);

    if (list && !s->ipv4)
        return error_set(error, "Property 'hostfwd' of object '%s' needs IPv4, which is off", id);
    for (guint i = 0; texts[i]; i++) {
        SlirpForward f;

        if (!slirp_forward_parse(texts[i], &f, error)) {
            g_prefix_error(error, "Property 'hostfwd' of object '%s': ", id);
            return FALSE;
        }
        g_array_append_val(s->forwards, f);
    }
    return TRUE;
}

/* ---- all ---- */

/* One of the two said to be on, and the other not mentioned, means that one alone: as in QEMU. */
static gboolean choose_versions(const char *id, const SlirpWords *w, SlirpSettings *s, GError **error)
{
    s->ipv4 = w->has_ipv4 ? w->ipv4 : !(w->has_ipv6 && w->ipv6);
    s->ipv6 = w->has_ipv6 ? w->ipv6 : !(w->has_ipv4 && w->ipv4);
    if (s->ipv4 || s->ipv6)
        return TRUE;
    return error_set(error, "Properties 'ipv4' and 'ipv6' of object '%s' are both off, and one must be on", id);
}

/* DHCP's option 119 holds 255 bytes in all, a domain name 63 between dots; libslirp would leave out what does not fit. */
static gboolean parse_search(const char *id, const char *list, SlirpSettings *s, GError **error)
{
    if (!list)
        return TRUE;
    s->dnssearch = g_strsplit(list, ",", -1);
    for (guint i = 0; s->dnssearch[i]; i++) {
        const char *label = s->dnssearch[i];

        do {
            gsize len = strcspn(label, ".");
            if (len == 0 || len > 63)
                return refuse(error, id, "dnssearch", list, "domain names separated by commas");
            label += len;
        } while (*label == '.' && *++label);
    }
    if (strlen(list) <= 250)
        return TRUE;
    return error_set(error, "Property 'dnssearch' of object '%s' has %zu bytes, and may have 250", id, strlen(list));
}

gboolean slirp_settings_parse(const char *id, const SlirpWords *w, SlirpSettings *out, GError **error)
{
    g_auto(SlirpSettings) s = {
        .restricted = w->restricted,
        .hostname = w->hostname,
        .domainname = w->domainname,
        .tftp = w->tftp,
        .tftp_server = w->tftp_server,
        .bootfile = w->bootfile,
        .forwards = g_array_new(FALSE, FALSE, sizeof(SlirpForward)),
    };

    if (!choose_versions(id, w, &s, error) || !parse_ipv4(id, w, &s, error) || !parse_ipv6(id, w, &s, error) ||
        !parse_search(id, w->dnssearch, &s, error) || !parse_forwards(id, w->hostfwd, &s, error))
        return FALSE;
    *out = s;
    memset(&s, 0, sizeof s);
    return TRUE;
}

void slirp_settings_clear(SlirpSettings *s)
{
    g_clear_pointer(&s->dnssearch, g_strfreev);
    g_clear_pointer(&s->forwards, g_array_unref);
}

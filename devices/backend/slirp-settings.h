/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * slirp-settings.h - what the words of a `netdev-user` mean: addresses that fit together, and port forwards. Pure
 * functions, any thread.
 */
#pragma once

#include <arpa/inet.h>
#include <glib.h>

/* Network byte order in all addresses, host byte order in ports. */
typedef struct {
    gboolean       udp;
    struct in_addr host_addr;  /* any: all of the host's */
    guint16        host_port;
    struct in_addr guest_addr; /* any: where DHCP begins */
    guint16        guest_port;
} SlirpForward;

typedef struct {
    gboolean        ipv4, ipv6, restricted;
    struct in_addr  net, mask, host, dhcp_start, dns;
    struct in6_addr prefix6, host6, dns6;
    guint8          prefix6_len;
    const char     *hostname, *domainname, *tftp, *tftp_server, *bootfile; /* borrowed, or NULL */
    char          **dnssearch;                                             /* NULL: none */
    GArray         *forwards;                                              /* of SlirpForward */
} SlirpSettings;

/* The rows as the manager gave them; NULL: not given. */
typedef struct {
    const char *net, *host, *dhcpstart, *dns;
    const char *ipv6_prefix, *ipv6_host, *ipv6_dns;
    guint8      ipv6_prefixlen;
    gboolean    has_ipv4, ipv4, has_ipv6, ipv6, restricted;
    const char *hostname, *domainname, *dnssearch, *tftp, *tftp_server, *bootfile, *hostfwd;
} SlirpWords;

/* Errors name the property, its value and what it may be. ID is the back end's. */
gboolean slirp_settings_parse(const char *id, const SlirpWords *words, SlirpSettings *out, GError **error);
void     slirp_settings_clear(SlirpSettings *s);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(SlirpSettings, slirp_settings_clear)

/* One forward, "[tcp|udp]:[HOSTADDRESS]:HOSTPORT-[GUESTADDRESS]:GUESTPORT". */
gboolean slirp_forward_parse(const char *text, SlirpForward *out, GError **error);
/* Caller frees: the form that slirp_forward_parse() reads. */
char    *slirp_forward_text(const SlirpForward *f);

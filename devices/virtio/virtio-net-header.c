/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtio-net-header.c - what the header before a transmitted frame may say (virtio 1.2 section 5.1.6.2).
 *
 * The header is a program for the host's network stack: where to sum, where to put the sum, how to cut. It comes from the
 * guest, so nothing that the driver did not negotiate, or that does not lie within the frame, gets through. The header is a
 * private copy. The frame's first bytes are one too, but the frame itself is guest memory and may change afterwards: what is
 * found in it here only weeds out mistakes, and the host's stack, which copies before it looks, is safe by its own checks.
 */
#include "virtio-net-priv.h"

enum { ETH_HEADER = 14, VLAN_TAG = 4, IPV4_HEADER = 20, IPV6_HEADER = 40, TCP_HEADER = 20, TCP_SUM = 16, PROTO_TCP = 6 };
enum { TYPE_IPV4 = 0x0800, TYPE_IPV6 = 0x86dd, TYPE_VLAN = 0x8100, TYPE_QINQ = 0x88a8 };

static guint be16(const guint8 *p)
{
    return (guint)p[0] << 8 | p[1];
}

static gboolean has(guint64 features, guint bit)
{
    return (features & VIRTIO_BIT(bit)) != 0;
}

/* The frame's type behind at most two VLAN tags; AT gets the offset of what follows it. */
static guint ether_type(const guint8 *head, gsize n, gsize *at)
{
    guint type = 0;

    for (*at = ETH_HEADER; *at <= n && *at <= ETH_HEADER + 2 * VLAN_TAG; *at += VLAN_TAG) {
        type = be16(head + *at - 2);
        if (type != TYPE_VLAN && type != TYPE_QINQ)
            break;
    }
    return type;
}

static const char *check_csum(const guint8 *header, guint64 features, gsize len)
{
    gsize start = le16_get(header + HDR_CSUM_START), offset = le16_get(header + HDR_CSUM_OFFSET);

    if (!has(features, NET_F_CSUM))
        return "a partial checksum, which was not negotiated";
    if (start < ETH_HEADER || start + offset + 2 > len)
        return "a checksum outside the frame";
    return NULL;
}

/* Whether the frame is TCP over the protocol that TYPE names, and csum_start where TCP begins. */
static const char *check_tcp(guint type, const guint8 *header, const guint8 *head, gsize n)
{
    gsize at, start = le16_get(header + HDR_CSUM_START);
    guint found = ether_type(head, n, &at);

    if (found != (type == GSO_TCPV4 ? TYPE_IPV4 : TYPE_IPV6))
        return "segmentation of another protocol than the frame's";
    if (type == GSO_TCPV4 && (at + IPV4_HEADER > n || head[at] >> 4 != 4 || head[at + 9] != PROTO_TCP ||
                              start != at + (head[at] & 15u) * 4u || start < at + IPV4_HEADER))
        return "segmentation where there is no TCP over IPv4";
    if (type == GSO_TCPV6 && (at + IPV6_HEADER > n || head[at] >> 4 != 6 || start < at + IPV6_HEADER))
        return "segmentation where there is no TCP over IPv6";
    return NULL;
}

static const char *check_gso(guint8 *header, guint64 features, const guint8 *head, gsize n, gsize len)
{
    guint type = header[HDR_GSO_TYPE] & ~(guint)GSO_ECN;
    gsize least = le16_get(header + HDR_CSUM_START) + (gsize)TCP_HEADER, hdr_len = le16_get(header + HDR_HDR_LEN);

    if (type != GSO_TCPV4 && type != GSO_TCPV6)
        return "a kind of segmentation that does not exist";
    if (!has(features, type == GSO_TCPV4 ? NET_F_HOST_TSO4 : NET_F_HOST_TSO6))
        return "segmentation that was not negotiated";
    if ((header[HDR_GSO_TYPE] & GSO_ECN) && !has(features, NET_F_HOST_ECN))
        return "segmentation with ECN, which was not negotiated";
    if (!(header[HDR_FLAGS] & HDR_F_NEEDS_CSUM) || le16_get(header + HDR_CSUM_OFFSET) != TCP_SUM)
        return "segmentation without TCP's checksum";
    if (le16_get(header + HDR_GSO_SIZE) == 0)
        return "segments of no bytes";
    if (least > len)
        return "headers that are longer than the frame";
    if (hdr_len < least || hdr_len > len) /* a hint of the driver's (section 5.1.6.2.1) */
        le16_put(header + HDR_HDR_LEN, (guint16)MIN(least, G_MAXUINT16));
    return check_tcp(type, header, head, n);
}

const char *net_header_check(guint8 header[NET_HEADER], guint64 features, const guint8 *head, gsize n, gsize len)
{
    const char *wrong = NULL;

    header[HDR_FLAGS] &= HDR_F_NEEDS_CSUM; /* the device is to ignore the others */
    le16_put(header + HDR_NUM_BUFFERS, 0);
    if (len < ETH_HEADER)
        return "a frame without an Ethernet header";
    if (header[HDR_FLAGS])
        wrong = check_csum(header, features, len);
    else
        memset(header + HDR_CSUM_START, 0, 4);
    if (wrong)
        return wrong;
    if (header[HDR_GSO_TYPE] != GSO_NONE)
        return check_gso(header, features, head, n, len);
    memset(header + HDR_HDR_LEN, 0, 4);
    return NULL;
}

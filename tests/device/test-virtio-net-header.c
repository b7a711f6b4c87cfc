/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-virtio-net-header.c - which headers of transmitted frames get to the host (virtio 1.2 section 5.1.6.2): a table of
 * right ones, and everything that is wrong with one.
 */
#include "../../devices/virtio/virtio-net-priv.h"

#define B(n) (G_GUINT64_CONSTANT(1) << (n))
#define ALL (B(NET_F_CSUM) | B(NET_F_HOST_TSO4) | B(NET_F_HOST_TSO6) | B(NET_F_HOST_ECN))

typedef enum { NONE, ARP, UDP4, TCP4, TCP4_OPTIONS, TCP4_VLAN, TCP4_QINQ, TCP6, TCP6_VLAN } Kind;

/* The frame's first bytes; where its transport header begins. */
static guint frame(guint8 head[64], Kind kind)
{
    guint at = 14;

    memset(head, 0, 64);
    if (kind == TCP4_QINQ)
        head[12] = 0x88, head[13] = 0xa8, at += 4;
    if (kind == TCP4_VLAN || kind == TCP4_QINQ || kind == TCP6_VLAN)
        head[at - 2] = 0x81, head[at - 1] = 0, at += 4;
    if (kind == ARP || kind == NONE) {
        head[12] = 8;
        head[13] = 6;
        return at;
    }
    if (kind == TCP6 || kind == TCP6_VLAN) {
        head[at - 2] = 0x86;
        head[at - 1] = 0xdd;
        head[at] = 0x60;
        head[at + 6] = 6;
        return at + 40;
    }
    head[at - 2] = 8;
    head[at] = kind == TCP4_OPTIONS ? 0x47 : 0x45;
    head[at + 9] = kind == UDP4 ? 17 : 6;
    return at + (kind == TCP4_OPTIONS ? 28 : 20);
}

typedef struct {
    const char *what;
    Kind        kind;
    guint64     features;
    guint8      flags, gso;
    int         start; /* from where the transport header is */
    guint16     offset, gso_size, hdr_len;
    guint       len;
    gboolean    right;
} Case;

static const Case cases[] = {
    { "nothing asked", ARP, 0, 0, 0, 0, 0, 0, 0, 60, TRUE },
    { "no Ethernet header", NONE, ALL, 0, 0, 0, 0, 0, 0, 13, FALSE },
    { "checksum", UDP4, ALL, 1, 0, 0, 6, 0, 0, 60, TRUE },
    { "checksum, not negotiated", UDP4, 0, 1, 0, 0, 6, 0, 0, 60, FALSE },
    { "checksum at the very end", UDP4, ALL, 1, 0, 0, 24, 0, 0, 60, TRUE },
    { "checksum beyond the end", UDP4, ALL, 1, 0, 0, 25, 0, 0, 60, FALSE },
    { "checksum far beyond", UDP4, ALL, 1, 0, 0, 65535, 0, 0, 60, FALSE },
    { "summing from beyond", UDP4, ALL, 1, 0, 60000, 6, 0, 0, 60, FALSE },
    { "summing the Ethernet header", UDP4, ALL, 1, 0, -21, 6, 0, 0, 60, FALSE },
    { "TSO", TCP4, ALL, 1, 1, 0, 16, 1448, 54, 9000, TRUE },
    { "TSO with ECN", TCP4, ALL, 1, 0x81, 0, 16, 1448, 54, 9000, TRUE },
    { "TSO with options", TCP4_OPTIONS, ALL, 1, 1, 0, 16, 1448, 62, 9000, TRUE },
    { "TSO in a VLAN", TCP4_VLAN, ALL, 1, 1, 0, 16, 1448, 58, 9000, TRUE },
    { "TSO in two", TCP4_QINQ, ALL, 1, 1, 0, 16, 1448, 62, 9000, TRUE },
    { "TSO over IPv6", TCP6, ALL, 1, 4, 0, 16, 1428, 74, 9000, TRUE },
    { "TSO over IPv6 in a VLAN", TCP6_VLAN, ALL, 1, 4, 0, 16, 1428, 78, 9000, TRUE },
    { "TSO, hdr_len a lie", TCP4, ALL, 1, 1, 0, 16, 1448, 65535, 9000, TRUE },
    { "TSO, not negotiated", TCP4, B(NET_F_CSUM) | B(NET_F_HOST_TSO6), 1, 1, 0, 16, 1448, 54, 9000, FALSE },
    { "TSO over IPv6, not negotiated", TCP6, B(NET_F_CSUM) | B(NET_F_HOST_TSO4), 1, 4, 0, 16, 1448, 74, 9000, FALSE },
    { "ECN, not negotiated", TCP4, ALL & ~B(NET_F_HOST_ECN), 1, 0x81, 0, 16, 1448, 54, 9000, FALSE },
    { "ECN alone", TCP4, ALL, 1, 0x80, 0, 16, 1448, 54, 9000, FALSE },
    { "UFO", UDP4, ALL, 1, 3, 0, 6, 1448, 42, 9000, FALSE },
    { "USO", UDP4, ALL, 1, 5, 0, 6, 1448, 42, 9000, FALSE },
    { "no such kind", TCP4, ALL, 1, 2, 0, 16, 1448, 54, 9000, FALSE },
    { "both kinds", TCP4, ALL, 1, 0x7f, 0, 16, 1448, 54, 9000, FALSE },
    { "TSO without checksum", TCP4, ALL, 0, 1, 0, 16, 1448, 54, 9000, FALSE },
    { "TSO with another checksum", TCP4, ALL, 1, 1, 0, 6, 1448, 54, 9000, FALSE },
    { "segments of nothing", TCP4, ALL, 1, 1, 0, 16, 0, 54, 9000, FALSE },
    { "TSO of UDP", UDP4, ALL, 1, 1, 0, 16, 1448, 54, 9000, FALSE },
    { "TSO of ARP", ARP, ALL, 1, 1, 20, 16, 1448, 54, 9000, FALSE },
    { "TSO over IPv4 of IPv6", TCP6, ALL, 1, 1, 0, 16, 1448, 54, 9000, FALSE },
    { "TSO over IPv6 of IPv4", TCP4, ALL, 1, 4, 0, 16, 1448, 54, 9000, FALSE },
    { "TSO, TCP is elsewhere", TCP4, ALL, 1, 1, 4, 16, 1448, 54, 9000, FALSE },
    { "TSO over IPv6, TCP in the address", TCP6, ALL, 1, 4, -8, 16, 1448, 74, 9000, FALSE },
    { "TSO of a frame without TCP's header", TCP4, ALL, 1, 1, 0, 16, 1448, 54, 53, FALSE },
};

static void test_headers(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        const Case *c = &cases[i];
        guint8 header[NET_HEADER] = { c->flags, c->gso, 0, 0, 0, 0, 0, 0, 0, 0, 7, 7 }, head[64];
        guint start = (guint)((int)frame(head, c->kind) + c->start);

        le16_put(header + HDR_HDR_LEN, c->hdr_len);
        le16_put(header + HDR_GSO_SIZE, c->gso_size);
        le16_put(header + HDR_CSUM_START, (guint16)start);
        le16_put(header + HDR_CSUM_OFFSET, c->offset);
        const char *wrong = net_header_check(header, c->features, head, MIN(sizeof head, c->len), c->len);
        g_test_message("%s: %s", c->what, wrong ? wrong : "right");
        g_assert_true(c->right == (wrong == NULL));
        g_assert_true(wrong || le16_get(header + HDR_NUM_BUFFERS) == 0);
        if (!wrong && c->gso)
            g_assert_cmpuint(le16_get(header + HDR_HDR_LEN), ==, c->hdr_len > c->len ? start + 20 : c->hdr_len);
    }
}

/* What means nothing does not get through either. */
static void test_zeroed(void)
{
    guint8 header[NET_HEADER], head[64];

    memset(header, 0xff, sizeof header);
    header[HDR_GSO_TYPE] = GSO_NONE;
    header[HDR_FLAGS] = 0xfe;
    frame(head, UDP4);
    g_assert_null(net_header_check(header, 0, head, 60, 60));
    for (guint i = 0; i < NET_HEADER; i++)
        g_assert_cmpuint(header[i], ==, 0);
}

/* Any header at all before any frame: it is refused, or what it asks for lies within the frame. */
static void test_any(void)
{
    static const guint8 gso[] = { 0, 1, 4, 0x81, 0x84, 3, 5 };

    for (guint i = 0; i < 200000; i++) {
        guint8 header[NET_HEADER], head[64];
        gsize len = (gsize)g_test_rand_int_range(0, 200);

        for (guint k = 0; k < NET_HEADER; k++)
            header[k] = (guint8)(k & 1 && k > 2 && k != 11 ? 0 : g_test_rand_int());
        header[HDR_GSO_TYPE] = gso[g_test_rand_int_range(0, G_N_ELEMENTS(gso))];
        frame(head, (Kind)g_test_rand_int_range(0, TCP6_VLAN + 1));
        if (net_header_check(header, ALL, head, MIN(len, sizeof head), len))
            continue;
        g_assert_cmpuint(header[HDR_FLAGS], <=, HDR_F_NEEDS_CSUM);
        if (header[HDR_FLAGS])
            g_assert_cmpuint(le16_get(header + HDR_CSUM_START) + le16_get(header + HDR_CSUM_OFFSET) + 2u, <=, len);
        if (header[HDR_GSO_TYPE])
            g_assert_true(header[HDR_FLAGS] && le16_get(header + HDR_GSO_SIZE) && le16_get(header + HDR_HDR_LEN) <= len);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtio-net-header/cases", test_headers);
    g_test_add_func("/virtio-net-header/zeroed", test_zeroed);
    g_test_add_func("/virtio-net-header/any", test_any);
    return g_test_run();
}

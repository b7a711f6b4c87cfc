/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net-offload.c - checksums and large TCP segments in software.
 *
 * Putting segments together is the hard part: only what the driver can take apart again without a trace may become one. That is
 * what has the same headers but for length, checksums, IPv4's identification and TCP's sequence number, which goes on where the one
 * before ended; is full, or the last; and has no flags but ACK and, on the last, PSH. Frames are private copies of trusted
 * origin, yet everything is checked: a back end's library may hand on what its peer sent.
 */
#include "net-offload.h"

#include "../../common/util.h"

enum { ETH = 14, IPV4 = 20, TCP = 20, L4 = ETH + IPV4, FIRST_ROOM = 16384 };
enum { IP_LEN = ETH + 2, IP_FRAG = ETH + 6, IP_PROTO = ETH + 9, IP_SUM = ETH + 10, IP_FROM = ETH + 12 };
enum { TCP_SEQ = L4 + 4, TCP_ACK_SEQ = L4 + 8, TCP_OFFSET = L4 + 12, TCP_FLAGS = L4 + 13, TCP_SUM = L4 + 16 };
enum { FLAG_PSH = 8, FLAG_ACK = 16, PROTO_TCP = 6 };
/* struct virtio_net_hdr_v1 */
enum { HDR_FLAGS = 0, HDR_GSO_TYPE = 1, HDR_HDR_LEN = 2, HDR_GSO_SIZE = 4, HDR_CSUM_START = 6, HDR_CSUM_OFFSET = 8 };
enum { HDR_F_NEEDS_CSUM = 1, HDR_F_DATA_VALID = 2, GSO_TCPV4 = 1 };

static guint be16(const guint8 *p)
{
    return (guint)p[0] << 8 | p[1];
}

static void put16(guint8 *p, guint v)
{
    p[0] = (guint8)(v >> 8);
    p[1] = (guint8)v;
}

static guint32 be32(const guint8 *p)
{
    return be16(p) << 16 | be16(p + 2);
}

/* ---- sums ---- */

/* The ones' complement sum of section 5 of RFC 1071, in memory's byte order: it does not matter for where the sum is put. */
static guint16 sum_of(const guint8 *p, gsize len, guint64 sum)
{
    guint64 more = 0;
    guint32 word;
    guint16 half;

    for (; len >= 16; p += 16, len -= 16) {
        guint64 w[2];
        memcpy(w, p, sizeof w);
        sum += (w[0] & G_MAXUINT32) + (w[0] >> 32);
        more += (w[1] & G_MAXUINT32) + (w[1] >> 32);
    }
    for (sum += more; len >= 4; p += 4, len -= 4) {
        memcpy(&word, p, sizeof word);
        sum += word;
    }
    for (; len >= 2; p += 2, len -= 2) {
        memcpy(&half, p, sizeof half);
        sum += half;
    }
    if (len) {
        half = 0;
        memcpy(&half, p, 1); /* a byte of nothing behind the last */
        sum += half;
    }
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (guint16)sum;
}

void net_finish_checksum(const guint8 header[NET_HEADER], guint8 *frame, gsize len)
{
    gsize start = le16_get(header + HDR_CSUM_START), at = start + le16_get(header + HDR_CSUM_OFFSET);
    guint16 sum;

    if (!(header[HDR_FLAGS] & HDR_F_NEEDS_CSUM) || at + 2 > len)
        return;
    sum = (guint16)~sum_of(frame + start, len - start, 0); /* the pseudo header's is there already */
    if (!sum)
        sum = 0xffff; /* the same number; in UDP 0 means none */
    memcpy(frame + at, &sum, sizeof sum);
}

/* ---- segments ---- */

/* A TCP segment with data that more can follow; where its data begins, or 0. */
static guint data_at(const guint8 *p, gsize len)
{
    guint at;

    if (len < L4 + TCP || be16(p + 12) != 0x0800 || p[ETH] != 0x45 || p[IP_PROTO] != PROTO_TCP || (be16(p + IP_FRAG) & 0xbfff))
        return 0;
    at = L4 + (guint)(p[TCP_OFFSET] >> 4) * 4;
    if (at < L4 + TCP || len <= at || be16(p + IP_LEN) != len - ETH || (p[TCP_FLAGS] & ~FLAG_PSH) != FLAG_ACK)
        return 0;
    return at;
}

NetFrame *net_frame_new(const guint8 *frame, gsize len)
{
    NetFrame *f = g_malloc(sizeof *f + len);

    *f = (NetFrame){ .len = len, .room = len, .data = f->own, .n = 1 };
    memcpy(f->own, frame, len);
    f->at = data_at(frame, len);
    if (f->at && !(frame[TCP_FLAGS] & FLAG_PSH)) {
        f->mss = (guint16)(len - f->at);
        f->next_seq = be32(frame + TCP_SEQ) + f->mss;
    }
    return f;
}

void net_frame_free(NetFrame *f)
{
    if (f && f->data != f->own)
        g_free(f->data);
    g_free(f);
}

/* All of both headers but length, identification, checksums, sequence number and PSH; both are of AT bytes. */
static gboolean same_headers(const guint8 *a, const guint8 *b, guint at)
{
    return memcmp(a, b, IP_LEN) == 0 && memcmp(a + IP_FRAG, b + IP_FRAG, IP_SUM - IP_FRAG) == 0 &&
           memcmp(a + IP_FROM, b + IP_FROM, TCP_SEQ - IP_FROM) == 0 &&
           memcmp(a + TCP_ACK_SEQ, b + TCP_ACK_SEQ, TCP_FLAGS - TCP_ACK_SEQ) == 0 &&
           memcmp(a + TCP_FLAGS + 1, b + TCP_FLAGS + 1, 2) == 0 && /* the window */
           memcmp(a + TCP_SUM + 2, b + TCP_SUM + 2, at - (TCP_SUM + 2)) == 0;
}

static void make_room(NetFrame *f, gsize len)
{
    guint8 *data;

    if (len <= f->room)
        return;
    f->room = len <= FIRST_ROOM ? FIRST_ROOM : NET_FRAME_MAX;
    data = f->data == f->own ? NULL : f->data;
    data = g_realloc(data, f->room);
    if (f->data == f->own)
        memcpy(data, f->own, f->len);
    f->data = data;
}

gboolean net_frame_add(NetFrame *f, const guint8 *frame, gsize len)
{
    gsize more = len - f->at;

    if (!f->mss || data_at(frame, len) != f->at || more > f->mss || f->len + more > NET_FRAME_MAX ||
        be32(frame + TCP_SEQ) != f->next_seq || !same_headers(f->data, frame, f->at))
        return FALSE;
    make_room(f, f->len + more);
    memcpy(f->data + f->len, frame + f->at, more);
    f->len += more;
    f->next_seq += (guint32)more;
    f->n++;
    f->data[TCP_FLAGS] |= frame[TCP_FLAGS] & FLAG_PSH;
    le16_put(f->header + HDR_GSO_SIZE, f->mss);
    if (more < f->mss || (frame[TCP_FLAGS] & FLAG_PSH))
        f->mss = 0; /* the last one */
    return TRUE;
}

/* TCP's sum of the pseudo header alone, which is what whoever sends or verifies it goes on with. */
static void partial_checksum(guint8 *p, gsize tcp_len)
{
    guint8 pseudo[4] = { 0, PROTO_TCP };
    guint16 sum;

    put16(pseudo + 2, (guint)tcp_len);
    sum = sum_of(p + IP_FROM, 8, sum_of(pseudo, sizeof pseudo, 0));
    memcpy(p + TCP_SUM, &sum, sizeof sum);
}

void net_frame_finish(NetFrame *f, guint offloads)
{
    guint8 *p = f->data;
    guint16 sum;

    if (f->n == 1) {
        f->header[HDR_FLAGS] = offloads & NET_CSUM ? HDR_F_DATA_VALID : 0;
        return;
    }
    put16(p + IP_LEN, (guint)(f->len - ETH));
    put16(p + IP_SUM, 0);
    sum = (guint16)~sum_of(p + ETH, IPV4, 0);
    memcpy(p + IP_SUM, &sum, sizeof sum);
    partial_checksum(p, f->len - L4);
    f->header[HDR_FLAGS] = HDR_F_NEEDS_CSUM;
    f->header[HDR_GSO_TYPE] = GSO_TCPV4;
    le16_put(f->header + HDR_HDR_LEN, (guint16)f->at);
    le16_put(f->header + HDR_CSUM_START, L4);
    le16_put(f->header + HDR_CSUM_OFFSET, TCP_SUM - L4);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-net-offload.c - checksums, and TCP segments put together: what the driver's network stack makes of a large one is what came.
 */
#include "../../devices/backend/net-offload.h"

#include <string.h>

#include "../../common/util.h"

enum { ETH = 14, TCP_AT = 34, MSS = 1460 };

typedef struct {
    gsize  len;
    guint8 b[2000];
} Frame;

static void put16(guint8 *p, guint v)
{
    p[0] = (guint8)(v >> 8);
    p[1] = (guint8)v;
}

static void put32(guint8 *p, guint32 v)
{
    put16(p, v >> 16);
    put16(p + 2, v & 0xffff);
}

/* RFC 1071, word for word. */
static guint sum(const guint8 *p, gsize len, guint s)
{
    for (gsize i = 0; i < len; i++)
        s += i % 2 ? p[i] : (guint)p[i] << 8;
    while (s >> 16)
        s = (s & 0xffff) + (s >> 16);
    return s;
}

static guint pseudo(const guint8 *f, gsize len)
{
    return sum(f + ETH + 12, 8, 6 + (guint)(len - TCP_AT));
}

static void finish(guint8 *f, gsize len)
{
    put16(f + ETH + 2, (guint)(len - ETH));
    put16(f + ETH + 10, 0);
    put16(f + ETH + 10, ~sum(f + ETH, 20, 0) & 0xffff);
    put16(f + TCP_AT + 16, 0);
    put16(f + TCP_AT + 16, ~sum(f + TCP_AT, len - TCP_AT, pseudo(f, len)) & 0xffff);
}

/* A segment of LEN bytes at SEQ; FLAGS of TCP. */
static Frame segment(guint32 seq, gsize len, guint8 flags)
{
    static const guint8 head[] = { 0x52, 0x55, 10, 0, 2, 2, 0x52, 0x54, 0, 1, 2, 3, 8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 2, 2, 10, 0, 2, 15 };
    Frame f = { .len = 54 + len };

    memcpy(f.b, head, sizeof head);
    put16(f.b + TCP_AT, 80);
    put16(f.b + TCP_AT + 2, 40000);
    put32(f.b + TCP_AT + 4, seq);
    put32(f.b + TCP_AT + 8, 77);
    f.b[TCP_AT + 12] = 0x50;
    f.b[TCP_AT + 13] = flags;
    put16(f.b + TCP_AT + 14, 8192);
    for (gsize i = 0; i < len; i++)
        f.b[54 + i] = (guint8)(seq + i + (i >> 8));
    finish(f.b, f.len);
    return f;
}

/* What comes out of a large frame, as the guest's stack takes it apart, is N segments of MSS bytes but for the LAST one. */
static void expect_apart(NetFrame *f, guint32 seq, guint n, gsize mss, gsize last, guint8 last_flags)
{
    net_frame_finish(f, NET_CSUM | NET_TSO4);
    g_assert_cmpuint(f->len, ==, 54 + (n - 1) * mss + last);
    g_assert_cmphex(f->header[0], ==, 1);
    g_assert_cmphex(f->header[1], ==, 1);
    g_assert_cmpuint(le16_get(f->header + 2), ==, 54);
    g_assert_cmpuint(le16_get(f->header + 4), ==, mss);
    g_assert_cmpuint(le16_get(f->header + 6), ==, TCP_AT);
    g_assert_cmpuint(le16_get(f->header + 8), ==, 16);
    g_assert_cmphex(sum(f->data + ETH, 20, 0), ==, 0xffff);
    g_assert_cmpuint((guint)f->data[ETH + 2] << 8 | f->data[ETH + 3], ==, f->len - ETH);
    g_assert_cmphex((guint)f->data[TCP_AT + 16] << 8 | f->data[TCP_AT + 17], ==, pseudo(f->data, f->len));
    for (guint i = 0; i < n; i++) {
        gsize len = i + 1 < n ? mss : last;
        Frame want = segment(seq + (guint32)(i * mss), len, i + 1 < n ? 16 : last_flags), got = { .len = 54 + len };
        memcpy(got.b, f->data, 54);
        memcpy(got.b + 54, f->data + 54 + i * mss, len);
        put32(got.b + TCP_AT + 4, seq + (guint32)(i * mss));
        if (i + 1 < n)
            got.b[TCP_AT + 13] &= (guint8)~8; /* PSH stays with the last */
        finish(got.b, got.len);
        g_assert_cmpmem(got.b, got.len, want.b, want.len);
    }
}

static void test_together(void)
{
    static const gsize sizes[] = { 1, 2, 100, 536, MSS };

    for (guint i = 0; i < G_N_ELEMENTS(sizes); i++) {
        for (guint n = 2; n <= 44; n += n < 4 ? 1 : 20) {
            for (guint last = 1; last <= sizes[i]; last += (guint)sizes[i] / 2 + 1) {
                guint8 flags = last % 2 ? 24 : 16;
                guint32 seq = 0xfffffe00;
                Frame s = segment(seq, sizes[i], 16);
                g_autoptr(NetFrame) f = net_frame_new(s.b, s.len);
                for (guint k = 1; k < n; k++) {
                    s = segment(seq + k * (guint32)sizes[i], k + 1 < n ? sizes[i] : last, k + 1 < n ? 16 : flags);
                    g_assert_true(net_frame_add(f, s.b, s.len));
                }
                expect_apart(f, seq, n, sizes[i], last, flags);
                s = segment(seq + (n - 1) * (guint32)sizes[i] + last, sizes[i], 16);
                if (last < sizes[i] || flags == 24)
                    g_assert_false(net_frame_add(f, s.b, s.len)); /* that was the last */
            }
        }
    }
}

/* As many as one IPv4 packet holds. */
static void test_full(void)
{
    Frame s = segment(0, MSS, 16);
    g_autoptr(NetFrame) f = net_frame_new(s.b, s.len);
    guint n = 1;

    for (;; n++) {
        s = segment(n * MSS, MSS, 16);
        if (!net_frame_add(f, s.b, s.len))
            break;
    }
    g_assert_cmpuint(n, ==, (65535 - 40) / MSS);
    expect_apart(f, 0, n, MSS, MSS, 16);
}

/* A second segment with one thing that is not as it should be stays by itself, and the first as it was. */
static void test_apart(void)
{
    static const struct {
        guint  at; /* byte that differs */
        guint8 by;
    } other[] = { { 0, 1 }, { 6, 1 }, { 12, 8 }, { 14, 0x20 }, { 15, 4 }, { 20, 0x20 }, { 21, 1 }, { 22, 1 }, { 23, 23 }, { 26, 1 }, { 33, 1 },
                  { 35, 1 }, { 37, 1 }, { 38, 1 }, { 41, 1 }, { 45, 1 }, { 46, 0x10 }, { 46, 0xf0 }, { 46, 0x40 }, { 47, 1 }, { 47, 2 }, { 47, 4 },
                  { 47, 16 }, { 47, 32 }, { 47, 64 }, { 49, 1 }, { 53, 1 }, { 17, 1 } };

    for (guint i = 0; i < G_N_ELEMENTS(other); i++) {
        Frame a = segment(1000, 100, 16), b = segment(1100, 100, 16);
        g_autoptr(NetFrame) f = net_frame_new(a.b, a.len);
        b.b[other[i].at] ^= other[i].by;
        g_assert_false(net_frame_add(f, b.b, b.len));
        net_frame_finish(f, NET_CSUM | NET_TSO4);
        g_assert_cmpmem(f->data, f->len, a.b, a.len);
        g_assert_cmphex(f->header[0], ==, 2);
        g_assert_cmphex(f->header[1], ==, 0);
    }
    for (gsize len = ETH; len < 55; len++) { /* too short for a segment with data */
        Frame a = segment(0, 100, 16), b = segment(100, 0, 16);
        g_autoptr(NetFrame) f = net_frame_new(a.b, a.len), g = net_frame_new(b.b, len);
        g_assert_false(net_frame_add(f, b.b, len));
        g_assert_false(net_frame_add(g, a.b, a.len));
    }
}

static void test_longer_or_pushed(void)
{
    Frame a = segment(0, 100, 16), b = segment(100, 101, 16), c = segment(0, 100, 24), d = segment(100, 100, 16);
    g_autoptr(NetFrame) f = net_frame_new(a.b, a.len), g = net_frame_new(c.b, c.len);

    g_assert_false(net_frame_add(f, b.b, b.len));
    g_assert_false(net_frame_add(g, d.b, d.len));
    net_frame_finish(g, 0);
    g_assert_cmphex(g->header[0], ==, 0);
}

/* All lengths, starts and places, against RFC 1071; outside of the frame nothing happens. */
static void test_checksum(void)
{
    guint8 frame[128], copy[128];

    for (gsize len = 2; len < 80; len++) {
        for (guint start = 0; start < 40; start++) {
            for (guint offset = 0; offset < 60; offset += 7) {
                guint8 header[NET_HEADER] = { 1, 0, 0, 0, 0, 0, (guint8)start, 0, (guint8)offset };
                for (guint i = 0; i < sizeof frame; i++)
                    frame[i] = (guint8)(len * 31 + i * 17 + start);
                memcpy(copy, frame, sizeof copy);
                net_finish_checksum(header, frame, len);
                if (start + offset + 2 <= len) {
                    guint want = ~sum(copy + start, len - start, 0) & 0xffff;
                    put16(copy + start + offset, want ? want : 0xffff);
                }
                g_assert_cmpmem(frame, sizeof frame, copy, sizeof copy);
            }
        }
    }
    memcpy(copy, frame, sizeof copy);
    net_finish_checksum((guint8[NET_HEADER]){ 0 }, frame, 60);
    net_finish_checksum((guint8[NET_HEADER]){ 1, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff }, frame, 60);
    g_assert_cmpmem(frame, sizeof frame, copy, sizeof copy);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/net-offload/together", test_together);
    g_test_add_func("/net-offload/full", test_full);
    g_test_add_func("/net-offload/apart", test_apart);
    g_test_add_func("/net-offload/longer-or-pushed", test_longer_or_pushed);
    g_test_add_func("/net-offload/checksum", test_checksum);
    return g_test_run();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-virtio-net.c - the virtio network card as a driver sees it: what it is, frames in both directions, its control queue,
 * its link, and how it comes and goes.
 */
#include "net-memory.h"

#define CTRL_ALL (F(NET_F_CTRL_RX) | F(NET_F_CTRL_VLAN) | F(NET_F_CTRL_RX_EXTRA) | F(NET_F_CTRL_MAC_ADDR))
#define BITS_ALWAYS (F(NET_F_MAC) | F(NET_F_MRG_RXBUF) | F(NET_F_STATUS) | F(NET_F_CTRL_VQ) | CTRL_ALL | F(NET_F_GUEST_ANNOUNCE) | \
                     F(NET_F_CTRL_GUEST_OFFLOADS))
#define BITS_OFFLOAD (F(NET_F_CSUM) | F(NET_F_GUEST_CSUM) | F(NET_F_HOST_TSO4) | F(NET_F_HOST_TSO6) | F(NET_F_HOST_ECN) | \
                      F(NET_F_GUEST_TSO4) | F(NET_F_GUEST_TSO6) | F(NET_F_GUEST_ECN))
#define MAC_GIVEN ",\"mac\":\"52:54:00:01:02:03\""

static const guint8 own_mac[6] = { 0x52, 0x54, 0, 1, 2, 3 };

static guint64 config(Rig *r, guint at, unsigned size)
{
    return mem_in(&r->t, r->v.device + at, size);
}

static guint32 features_low(Rig *r)
{
    return (guint32)vt_features(&r->v) & 0x00ffffff;
}

/* ---- what it is ---- */

static void test_identity(void)
{
    Rig r;

    rig_start(&r, ",\"queues\":3", ",\"mq\":true,\"host_mtu\":9000,\"mac\":\"52:54:00:AB:02:03\"");
    g_assert_cmphex(vt_cfg_in(&r.v, 0, 4), ==, 0x10411af4);
    g_assert_cmphex(vt_cfg_in(&r.v, 8, 4), ==, 0x02000001);
    g_assert_cmphex(features_low(&r), ==, BITS_ALWAYS | BITS_OFFLOAD | F(NET_F_MQ) | F(NET_F_MTU));
    g_assert_cmpuint(vt_in(&r.v, C_NUM_QUEUES, 2), ==, 7);
    g_assert_cmphex(config(&r, 0, 4), ==, 0xab005452);
    g_assert_cmphex(config(&r, 4, 2), ==, 0x0302);
    g_assert_cmphex(config(&r, 6, 2), ==, 1);
    g_assert_cmpuint(config(&r, 8, 2), ==, 3);
    g_assert_cmpuint(config(&r, 10, 2), ==, 9000);
    g_assert_cmpstr(DEVICE_CONFIG(r.dev, VirtioNetPciConfig)->mac, ==, "52:54:00:ab:02:03");
    rig_end(&r);
    rig_start(&r, ",\"vnet_hdr\":false", ",\"ctrl_vq\":false,\"mrg_rxbuf\":false,\"status\":false");
    g_assert_cmphex(features_low(&r), ==, F(NET_F_MAC));
    g_assert_cmpuint(vt_in(&r.v, C_NUM_QUEUES, 2), ==, 2);
    g_assert_cmphex(config(&r, 6, 2), ==, 0);
    rig_end(&r);
}

/* Each row takes its bit away, and with it what needs it. */
static void test_feature_rows(void)
{
    static const struct {
        const char *row;
        guint32     gone;
    } rows[] = {
        { "csum", F(NET_F_CSUM) | F(NET_F_HOST_TSO4) | F(NET_F_HOST_TSO6) | F(NET_F_HOST_ECN) },
        { "guest_csum", F(NET_F_GUEST_CSUM) | F(NET_F_GUEST_TSO4) | F(NET_F_GUEST_TSO6) | F(NET_F_GUEST_ECN) },
        { "host_tso4", F(NET_F_HOST_TSO4) },
        { "host_tso6", F(NET_F_HOST_TSO6) },
        { "host_ecn", F(NET_F_HOST_ECN) },
        { "guest_tso4", F(NET_F_GUEST_TSO4) },
        { "guest_tso6", F(NET_F_GUEST_TSO6) },
        { "guest_ecn", F(NET_F_GUEST_ECN) },
        { "mrg_rxbuf", F(NET_F_MRG_RXBUF) },
        { "status", F(NET_F_STATUS) },
        { "ctrl_rx", F(NET_F_CTRL_RX) },
        { "ctrl_rx_extra", F(NET_F_CTRL_RX_EXTRA) },
        { "ctrl_vlan", F(NET_F_CTRL_VLAN) },
        { "ctrl_mac_addr", F(NET_F_CTRL_MAC_ADDR) },
        { "ctrl_guest_offloads", F(NET_F_CTRL_GUEST_OFFLOADS) },
        { "guest_announce", F(NET_F_GUEST_ANNOUNCE) },
        { "mq", 0 },
    };

    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *json = g_strdup_printf(",\"%s\":false", rows[i].row);
        Rig r;

        rig_start(&r, "", json);
        g_assert_cmphex(features_low(&r), ==, (BITS_ALWAYS | BITS_OFFLOAD) & ~rows[i].gone);
        rig_end(&r);
    }
}

/* A driver that takes a feature without the one it needs is refused (section 5.1.3.1). */
static void test_feature_needs(void)
{
    static const guint64 wrong[] = { F(NET_F_GUEST_TSO4), F(NET_F_GUEST_TSO6), F(NET_F_GUEST_CSUM) | F(NET_F_GUEST_ECN), F(NET_F_HOST_TSO4),
                                     F(NET_F_HOST_TSO6), F(NET_F_CSUM) | F(NET_F_HOST_ECN), F(NET_F_CTRL_RX), F(NET_F_CTRL_VLAN),
                                     F(NET_F_MQ), F(NET_F_CTRL_MAC_ADDR), F(NET_F_GUEST_ANNOUNCE), F(NET_F_CTRL_GUEST_OFFLOADS) };
    Rig r;

    rig_start(&r, ",\"queues\":2", ",\"mq\":true");
    for (guint i = 0; i < G_N_ELEMENTS(wrong); i++)
        g_assert_false(vt_negotiate(&r.v, wrong[i] | F(F_VERSION_1)));
    g_assert_true(vt_negotiate(&r.v, F(NET_F_CSUM) | F(NET_F_HOST_TSO6) | F(NET_F_HOST_ECN) | F(F_VERSION_1)));
    rig_end(&r);
}

static void refuse(Rig *r, const char *fragment, const char *more)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(rig_try(r, "x", NET_SLOT, more, &error));
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, fragment));
}

static void test_refused(void)
{
    g_autoptr(GError) error = NULL;
    Rig r;

    rig_start(&r, ",\"vnet_hdr\":false", "");
    g_assert_false(device_remove(&r.nd->dev, &error));
    g_assert_nonnull(strstr(error->message, "'n'"));
    g_clear_error(&error);
    g_assert_null(board_test_plug(&r.t, "{\"driver\":\"virtio-net-pci\",\"netdev\":\"b6\",\"addr\":\"7\"}", &error));
    g_assert_nonnull(strstr(error->message, "in use by 'n'"));
    g_clear_error(&error);
    g_assert_true(device_remove(r.dev, &error));
    refuse(&r, "back end 'b6' can not", ",\"csum\":true");
    refuse(&r, "'guest_csum' is off", ",\"guest_tso4\":true");
    refuse(&r, "'queue-pairs'", ",\"queue-pairs\":2");
    refuse(&r, "the back end 'b6' has 1", ",\"queue-pairs\":2,\"mq\":true");
    refuse(&r, "'rx_queue_size'", ",\"rx_queue_size\":100");
    refuse(&r, "'host_mtu'", ",\"host_mtu\":67");
    refuse(&r, "'mac'", ",\"mac\":\"53:54:00:00:00:01\"");
    refuse(&r, "'mac'", ",\"mac\":\"52-54-00-00-00-01\"");
    refuse(&r, "there is no iothread 'none'", ",\"iothread\":\"none\"");
    rig_end(&r);
}

/* Without a word an address by lot, which is recorded and no other card's. */
static void test_mac_by_lot(void)
{
    g_autoptr(GError) error = NULL;
    Rig r;

    rig_start(&r, "", "");
    board_test_object(&r.t, "{\"qom-type\":\"netdev-tap\",\"id\":\"b7\"}");
    Device *other = rig_try(&r, "m", 7, "", &error);
    g_assert_no_error(error);
    const char *a = DEVICE_CONFIG(r.dev, VirtioNetPciConfig)->mac, *b = DEVICE_CONFIG(other, VirtioNetPciConfig)->mac;
    g_assert_true(g_str_has_prefix(a, "52:54:00:") && strlen(a) == 17);
    g_assert_cmpstr(a, !=, b);
    g_assert_cmpint(prop_bag_origin(r.dev->bag, "mac"), ==, ORIGIN_DEFAULT);
    g_assert_cmphex(config(&r, 0, 2), ==, 0x5452);
    rig_end(&r);
}

/* ---- transmitting ---- */

static const guint64 ring_kinds[] = { 0, F(F_EVENT_IDX), F(F_PACKED), F(F_PACKED) | F(F_EVENT_IDX), F(F_IN_ORDER), F(F_PACKED) | F(F_IN_ORDER) };

static void test_send(void)
{
    for (guint i = 0; i < 2 * G_N_ELEMENTS(ring_kinds); i++) {
        gboolean header = i % 2;
        gsize at = header ? NET_HEADER : 0, len = 0;
        guint8 frame[1000];
        Rig r;

        rig_start(&r, header ? "" : ",\"vnet_hdr\":false", ",\"packed\":true,\"in_order\":true");
        rig_go(&r, ring_kinds[i / 2], 2);
        for (guint n = 0; n < 200; n++) {
            rig_frame(frame, sizeof frame, n);
            memcpy(r.t.ram + RIG_SEND_AT + 64, frame, sizeof frame);
            rig_send_frame(&r, 1, NULL, 60 + n * 4);
            const guint8 *sent = rig_sent(&r, n, &len);
            g_assert_cmpmem(sent + at, len - at, frame, 60 + n * 4);
            for (guint k = 0; k < at; k++)
                g_assert_cmpuint(sent[k], ==, 0);
        }
        rig_end(&r);
    }
}

/* Header and frame may be cut anywhere (section 2.7.4.1), also into more pieces than a writev() takes. */
static void test_send_pieces(void)
{
    guint8 frame[1400];
    DrvSeg segs[1300];
    gsize len = 0;
    Rig r;

    rig_start(&r, "", ",\"tx_queue_size\":1024");
    r.features = F(F_VERSION_1) | F(F_INDIRECT);
    g_assert_true(vt_negotiate(&r.v, r.features));
    vt_queue(&r.v, 0, 64, 0);
    vt_queue(&r.v, 1, 1024, F(F_INDIRECT));
    vt_driver_ok(&r.v);
    rig_frame(frame, sizeof frame, 3);
    memset(r.t.ram + RIG_SEND_AT, 0, NET_HEADER);
    memcpy(r.t.ram + RIG_SEND_AT + NET_HEADER, frame, sizeof frame);
    static const guint cuts[] = { 1, 2, 5, 11, 12, 13, 100, 1023, 1024 };
    for (guint i = 0; i < G_N_ELEMENTS(cuts); i++) {
        for (guint k = 0; k < cuts[i]; k++)
            segs[k] = (DrvSeg){ RIG_SEND_AT + k, k == cuts[i] - 1 ? (guint32)(NET_HEADER + sizeof frame - k) : 1, FALSE };
        vt_send(&r.v, 1, segs, cuts[i], i);
        rig_await(&r, 1, i);
        const guint8 *sent = rig_sent(&r, i, &len);
        g_assert_cmpmem(sent + NET_HEADER, len - NET_HEADER, frame, sizeof frame);
    }
    rig_end(&r);
}

static void writable_on_thread(gpointer user)
{
    netdev_writable(user, 0);
}

/* A back end without room: the frame waits and is sent once, in its turn. */
static void test_send_blocked(void)
{
    Rig r;
    gsize len = 0;

    rig_start(&r, "", "");
    rig_go(&r, 0, 2);
    rig_net(&r)->refuse = 2;
    for (guint i = 0; i < 5; i++) {
        const DrvSeg seg = { RIG_SEND_AT + i * 256, NET_HEADER + 60 + i, FALSE };
        rig_frame(r.t.ram + RIG_SEND_AT + i * 256 + NET_HEADER, 64, i);
        vt_send(&r.v, 1, &seg, 1, i);
    }
    for (guint k = 0; k < 2; k++) {
        RIG_AWAIT(({ LOCK_SCOPE(&rig_net(&r)->lock); rig_net(&r)->refuse == 1 - k; }));
        g_assert_cmpuint(rig_n_sent(&r), ==, 0);
        iothread_call(rig_net(&r)->queues[0].thread, writable_on_thread, r.nd);
    }
    for (guint i = 0; i < 5; i++) {
        rig_await(&r, 1, i);
        rig_sent(&r, i, &len);
        g_assert_cmpuint(len, ==, NET_HEADER + 60 + i);
    }
    g_assert_cmpuint(rig_n_sent(&r), ==, 5);
    rig_end(&r);
}

/* What the header says is checked against what was negotiated; a wrong one is no reason to stop. */
static void test_send_offloads(void)
{
    guint8 csum[NET_HEADER] = { HDR_F_NEEDS_CSUM, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0 };
    gsize len = 0;
    Rig r;

    rig_start(&r, "", "");
    rig_go(&r, 0, 2);
    rig_send_frame(&r, 1, csum, 100);
    g_assert_cmpuint(rig_n_sent(&r), ==, 0);
    g_assert_cmpuint(r.nd->tx_dropped, ==, 1);
    rig_go(&r, F(NET_F_CSUM), 2);
    rig_send_frame(&r, 1, csum, 100);
    g_assert_cmpmem(rig_sent(&r, 0, &len), NET_HEADER, csum, NET_HEADER);
    csum[HDR_CSUM_START] = 98;
    rig_send_frame(&r, 1, csum, 100);
    g_assert_cmpuint(rig_n_sent(&r), ==, 1);
    g_assert_cmphex(vt_status(&r.v) & S_NEEDS_RESET, ==, 0);
    rig_end(&r);
}

static void test_broken_chains(void)
{
    const DrvSeg in = { RIG_SEND_AT, 100, TRUE }, out = { RIG_SEND_AT, 100, FALSE }, tiny_in = { RIG_SEND_AT, 11, TRUE },
                 tiny_out = { RIG_SEND_AT, 11, FALSE };
    static const guint8 frame[60];
    Rig r;

    rig_start(&r, "", "");
    for (guint i = 0; i < 5; i++) {
        rig_go(&r, F(NET_F_CTRL_VQ), 3);
        vt_send(&r.v, i < 2 ? 1 : i < 4 ? 0 : 2, (const DrvSeg *[]){ &in, &tiny_out, &out, &tiny_in, &in }[i], 1, 1);
        rig_incoming(&r, 0, NULL, frame, sizeof frame);
        RIG_AWAIT(vt_status(&r.v) & S_NEEDS_RESET);
    }
    rig_go(&r, 0, 2); /* and as new */
    rig_send_frame(&r, 1, NULL, 60);
    g_assert_cmpuint(rig_n_sent(&r), ==, 1);
    rig_end(&r);
}

/* ---- receiving ---- */

static void test_receive(void)
{
    for (guint i = 0; i < 4 * G_N_ELEMENTS(ring_kinds); i++) {
        gboolean header = i % 2, mergeable = i / 2 % 2;
        guint8 frame[1514];
        Rig r;

        rig_start(&r, header ? "" : ",\"vnet_hdr\":false", ",\"packed\":true,\"in_order\":true");
        rig_go(&r, ring_kinds[i / 4] | (mergeable ? F(NET_F_MRG_RXBUF) : 0), 2);
        for (guint n = 0; n < 100; n++) {
            gsize len = 60 + n * 14;
            rig_give(&r, 0, n % 16, 1526);
            rig_frame(frame, len, n);
            rig_incoming(&r, 0, NULL, frame, len);
            g_assert_cmpuint(rig_await(&r, 0, n % 16), ==, NET_HEADER + len);
            const guint8 *got = rig_buffer(&r, n % 16);
            g_assert_cmpmem(got + NET_HEADER, len, frame, len);
            g_assert_cmpuint(le16_get(got + HDR_NUM_BUFFERS), ==, 1);
            g_assert_cmpuint(got[HDR_FLAGS] | got[HDR_GSO_TYPE], ==, 0);
            g_assert_cmpuint(got[NET_HEADER + len], ==, 0xee);
        }
        rig_end(&r);
    }
}

/* Collects a packet from mergeable buffers (section 5.1.6.4); tokens come in the order FIRST, FIRST + 1 ... modulo 60. */
static gsize collect(Rig *r, guint *token, guint32 size, guint8 *out)
{
    guint n = 1;
    gsize len = 0;

    for (guint i = 0; i < n; i++, *token = (*token + 1) % 60) {
        guint32 got = rig_await(r, 0, *token);
        g_assert_cmpuint(got, <=, size);
        memcpy(out + len, rig_buffer(r, *token), got);
        len += got;
        if (i == 0)
            n = le16_get(out + HDR_NUM_BUFFERS);
        g_assert_true(i == n - 1 || got == size);
    }
    return len;
}

/* Packets of all sizes over buffers that are too small for most, given back one by one. */
static void test_receive_merged(void)
{
    g_autofree guint8 *frame = g_malloc(NET_MAX_FRAME), *got = g_malloc(NET_BOUNCE + 4096);
    static const guint32 sizes[] = { 12, 13, 64, 200, 1526, 4096 };

    for (guint i = 0; i < 2 * G_N_ELEMENTS(sizes); i++) {
        guint32 size = sizes[i / 2];
        guint token = 0, given = 0;
        Rig r;

        rig_start(&r, "", ",\"packed\":true");
        rig_go(&r, F(NET_F_MRG_RXBUF) | (i % 2 ? F(F_PACKED) : 0), 2);
        for (; given < 60; given++)
            rig_give(&r, 0, given, size);
        for (guint n = 0; n < 40; n++) {
            gsize len = 14 + (n * 7919) % MIN(59 * size - NET_HEADER - 14, NET_MAX_FRAME - 13);
            rig_frame(frame, len, n);
            rig_incoming(&r, 0, NULL, frame, len);
            guint before = token;
            g_assert_cmpuint(collect(&r, &token, size, got), ==, NET_HEADER + len);
            g_assert_cmpmem(got + NET_HEADER, len, frame, len);
            for (; before != token; before = (before + 1) % 60)
                rig_give(&r, 0, before, size);
        }
        rig_end(&r);
    }
}

/* Without buffers the back end waits, and nothing is lost; a packet that was read already waits in the card. */
static void test_back_pressure(void)
{
    g_autofree guint8 *frame = g_malloc(20000), *got = g_malloc(30000);
    guint token = 0;
    Rig r;

    rig_start(&r, "", "");
    rig_go(&r, F(NET_F_MRG_RXBUF), 2);
    for (guint i = 0; i < 10; i++) {
        rig_frame(frame, 20000, i);
        rig_incoming(&r, 0, NULL, frame, 20000);
    }
    RIG_AWAIT(__atomic_load_n(&rig_net(&r)->pauses, __ATOMIC_RELAXED) > 0);
    g_assert_cmpuint(rig_waiting(&r, 0), ==, 10);
    for (guint i = 0; i < 3; i++)
        rig_give(&r, 0, i, 4096);
    RIG_AWAIT(rig_waiting(&r, 0) == 9); /* in the card: five buffers would do */
    g_usleep(2000);
    vt_none_used(&r.v, 0);
    for (guint i = 3; i < 50; i++)
        rig_give(&r, 0, i, 4096);
    for (guint i = 0; i < 10; i++) {
        rig_frame(frame, 20000, i);
        g_assert_cmpuint(collect(&r, &token, 4096, got), ==, NET_HEADER + 20000);
        g_assert_cmpmem(got + NET_HEADER, 20000, frame, 20000);
    }
    rig_end(&r);
}

/* Without mergeable buffers what is too long is dropped, and its buffer is for the next one. */
static void test_receive_too_long(void)
{
    guint8 frame[4000];
    Rig r;

    rig_start(&r, "", "");
    rig_go(&r, 0, 2);
    rig_give(&r, 0, 1, 1526);
    rig_frame(frame, sizeof frame, 0);
    rig_incoming(&r, 0, NULL, frame, 1515);
    rig_incoming(&r, 0, NULL, frame, 13);
    rig_incoming(&r, 0, NULL, frame, 1514);
    g_assert_cmpuint(rig_await(&r, 0, 1), ==, 1526);
    g_assert_cmpmem(rig_buffer(&r, 1) + NET_HEADER, 1514, frame, 1514);
    g_assert_cmpuint(__atomic_load_n(&r.nd->rx_dropped, __ATOMIC_RELAXED), ==, 2);
    rig_end(&r);
}

/* The header of the network gets through; flags to nobody who did not ask for them. */
static void test_receive_header(void)
{
    static const guint8 header[NET_HEADER] = { HDR_F_NEEDS_CSUM, GSO_TCPV4, 54, 0, 0xb4, 5, 34, 0, 16, 0, 9, 9 };
    static const guint8 frame[60];
    Rig r;

    rig_start(&r, "", "");
    rig_go(&r, F(NET_F_GUEST_CSUM) | F(NET_F_GUEST_TSO4), 2);
    rig_give(&r, 0, 1, 1526);
    rig_incoming(&r, 0, header, frame, sizeof frame);
    rig_await(&r, 0, 1);
    g_assert_cmpmem(rig_buffer(&r, 1), HDR_NUM_BUFFERS, header, HDR_NUM_BUFFERS);
    g_assert_cmpuint(le16_get(rig_buffer(&r, 1) + HDR_NUM_BUFFERS), ==, 1);
    rig_go(&r, 0, 2);
    rig_give(&r, 0, 1, 1526);
    rig_incoming(&r, 0, (const guint8[NET_HEADER]){ HDR_F_DATA_VALID }, frame, sizeof frame);
    rig_await(&r, 0, 1);
    g_assert_cmpuint(rig_buffer(&r, 1)[HDR_FLAGS], ==, 0);
    rig_end(&r);
}

/* ---- control queue ---- */

static gboolean hears(Rig *r, const guint8 *to, guint16 vlan)
{
    guint8 frame[64] = { 0 }, last[64] = { 0 };
    guint32 token, len;
    guint taken = 0;

    memcpy(frame, to, 6);
    if (vlan) {
        frame[12] = 0x81;
        frame[14] = (guint8)(vlan >> 8);
        frame[15] = (guint8)vlan;
    }
    rig_give(r, 0, 1, 1526);
    rig_incoming(r, 0, NULL, frame, sizeof frame);
    RIG_AWAIT(rig_waiting(r, 0) == 0);
    memcpy(last, own_mac, 6); /* behind it one that is heard in any case: the first is through when this one is */
    rig_give(r, 0, 2, 1526);
    rig_incoming(r, 0, NULL, last, sizeof last);
    do {
        RIG_AWAIT(drv_take(&r->v.q[0], &token, &len));
        taken++;
    } while (memcmp(rig_buffer(r, token) + NET_HEADER, last, sizeof last) != 0);
    if (taken == 1) { /* token 2 is still with the card */
        rig_incoming(r, 0, NULL, last, sizeof last);
        rig_await(r, 0, 2);
    }
    return taken == 2;
}

static void test_filter(void)
{
    static const guint8 other[6] = { 0x52, 0x54, 0, 9, 9, 9 }, group[6] = { 1, 0, 0x5e, 0, 0, 1 }, all[6] = { 255, 255, 255, 255, 255, 255 };
    guint8 table[4 + 6 + 4 + 6] = { 1 };
    Rig r;

    rig_start(&r, "", MAC_GIVEN);
    rig_go(&r, F(NET_F_CTRL_VQ) | CTRL_ALL, 3);
    g_assert_true(hears(&r, other, 0)); /* until the driver says something else */
    g_assert_cmpuint(rig_ctrl(&r, 2, 0, 0, "\0", 1), ==, 0);
    g_assert_true(!hears(&r, other, 0) && !hears(&r, group, 0) && hears(&r, all, 0));
    g_assert_cmpuint(rig_ctrl(&r, 2, 0, 1, "\1", 1), ==, 0);
    g_assert_true(hears(&r, group, 0));
    g_assert_cmpuint(rig_ctrl(&r, 2, 0, 3, "\1", 1), ==, 0);
    g_assert_true(!hears(&r, group, 0));
    g_assert_cmpuint(rig_ctrl(&r, 2, 0, 3, "\0", 1) | rig_ctrl(&r, 2, 0, 1, "\0", 1), ==, 0);
    g_assert_cmpuint(rig_ctrl(&r, 2, 0, 2, "\1", 1), ==, 0);
    g_assert_true(hears(&r, other, 0));
    g_assert_cmpuint(rig_ctrl(&r, 2, 0, 2, "\0", 1) | rig_ctrl(&r, 2, 0, 5, "\1", 1), ==, 0);
    g_assert_true(!hears(&r, other, 0) && !hears(&r, all, 0));
    memcpy(table + 4, other, 6);
    table[10] = 1;
    memcpy(table + 14, group, 6);
    g_assert_cmpuint(rig_ctrl(&r, 2, 1, 0, table, sizeof table), ==, 0);
    g_assert_true(hears(&r, other, 0) && hears(&r, group, 0));
    g_assert_true(!hears(&r, own_mac, 5));
    g_assert_cmpuint(rig_ctrl(&r, 2, 2, 0, "\5\0", 2), ==, 0);
    g_assert_true(hears(&r, own_mac, 5) && !hears(&r, own_mac, 6));
    g_assert_cmpuint(rig_ctrl(&r, 2, 2, 1, "\5\0", 2), ==, 0);
    g_assert_true(!hears(&r, own_mac, 5));
    rig_end(&r);
}

/* What the tables can not hold, or what is none, and commands that were not negotiated. */
static void test_ctrl_wrong(void)
{
    guint8 table[8 + 65 * 6] = { 65 };
    NetFilter f;
    gboolean vlans;
    Rig r;

    rig_start(&r, "", MAC_GIVEN);
    rig_go(&r, F(NET_F_CTRL_VQ) | CTRL_ALL, 3);
    g_assert_cmpuint(rig_ctrl(&r, 2, 1, 0, table, sizeof table), ==, 0);
    virtio_net_filter(r.dev, &f, &vlans);
    g_assert_true(f.unicast_overflow && !f.multicast_overflow && f.n_unicast == 0 && vlans);
    g_assert_cmpuint(rig_ctrl(&r, 2, 1, 0, table, sizeof table - 1), ==, 1);
    g_assert_cmpuint(rig_ctrl(&r, 2, 1, 0, "\xff\xff\xff\xff\0\0\0\0", 8), ==, 1);
    g_assert_cmpuint(rig_ctrl(&r, 2, 1, 0, table, 3), ==, 1);
    g_assert_cmpuint(rig_ctrl(&r, 2, 1, 1, table, 5), ==, 1);
    g_assert_cmpuint(rig_ctrl(&r, 2, 1, 2, table, 6), ==, 1);
    g_assert_cmpuint(rig_ctrl(&r, 2, 0, 0, table, 2), ==, 1);
    g_assert_cmpuint(rig_ctrl(&r, 2, 0, 6, table, 1), ==, 1);
    g_assert_cmpuint(rig_ctrl(&r, 2, 2, 0, "\0\x10", 2), ==, 1);
    g_assert_cmpuint(rig_ctrl(&r, 2, 3, 0, NULL, 0), ==, 1);
    g_assert_cmpuint(rig_ctrl(&r, 2, 4, 0, "\1\0", 2), ==, 1);
    g_assert_cmpuint(rig_ctrl(&r, 2, 5, 0, "\0\0\0\0\0\0\0\0", 8), ==, 1);
    g_assert_cmpuint(rig_ctrl(&r, 2, 77, 0, NULL, 0), ==, 1);
    rig_go(&r, F(NET_F_CTRL_VQ), 3);
    g_assert_cmpuint(rig_ctrl(&r, 2, 0, 0, "\0", 1), ==, 1);
    g_assert_cmpuint(rig_ctrl(&r, 2, 1, 1, own_mac, 6), ==, 1);
    g_assert_cmpuint(rig_ctrl(&r, 2, 2, 0, "\1\0", 2), ==, 1);
    rig_end(&r);
}

/* The address can be changed; a reset brings the card's own back. One event comes for each query. */
static void test_mac_set(void)
{
    NetFilter f;
    gboolean vlans;
    Rig r;

    rig_start(&r, "", MAC_GIVEN);
    rig_go(&r, F(NET_F_CTRL_VQ) | CTRL_ALL, 3);
    g_assert_cmpuint(rig_ctrl(&r, 2, 1, 1, "\2\1\2\3\4\5", 6), ==, 0);
    g_assert_cmphex(config(&r, 0, 4), ==, 0x03020102);
    g_assert_cmpuint(rig_ctrl(&r, 2, 0, 0, "\0", 1), ==, 0);
    g_assert_cmpuint(r.filter_changes, ==, 1);
    virtio_net_filter(r.dev, &f, &vlans);
    g_assert_cmpmem(f.mac, 6, "\2\1\2\3\4\5", 6);
    g_assert_false(f.promisc);
    g_assert_cmpuint(rig_ctrl(&r, 2, 0, 0, "\0", 1), ==, 0); /* no change */
    g_assert_cmpuint(r.filter_changes, ==, 1);
    g_assert_cmpuint(rig_ctrl(&r, 2, 0, 0, "\1", 1), ==, 0);
    g_assert_cmpuint(r.filter_changes, ==, 2);
    vt_out(&r.v, C_STATUS, 0, 1);
    g_assert_cmphex(config(&r, 0, 4), ==, 0x01005452);
    virtio_net_filter(r.dev, &f, &vlans);
    g_assert_cmpmem(f.mac, 6, own_mac, 6);
    g_assert_true(f.promisc && !vlans);
    rig_end(&r);
}

static gint offloads(Rig *r)
{
    return __atomic_load_n(&rig_net(r)->offloads, __ATOMIC_RELAXED);
}

static void test_guest_offloads(void)
{
    guint8 set[8];
    Rig r;

    rig_start(&r, "", "");
    rig_go(&r, 0, 2);
    g_assert_cmphex(offloads(&r), ==, 0);
    rig_go(&r, F(NET_F_GUEST_CSUM), 2);
    g_assert_cmphex(offloads(&r), ==, NET_CSUM);
    rig_go(&r, F(NET_F_GUEST_CSUM) | F(NET_F_GUEST_TSO4) | F(NET_F_GUEST_TSO6) | F(NET_F_GUEST_ECN) | F(NET_F_CTRL_VQ) |
           F(NET_F_CTRL_GUEST_OFFLOADS), 3);
    g_assert_cmphex(offloads(&r), ==, NET_ALL_OFFLOADS);
    le64_put(set, F(NET_F_GUEST_CSUM) | F(NET_F_GUEST_TSO6));
    g_assert_cmpuint(rig_ctrl(&r, 2, 5, 0, set, 8), ==, 0);
    g_assert_cmphex(offloads(&r), ==, NET_CSUM | NET_TSO6);
    le64_put(set, F(NET_F_CSUM));
    g_assert_cmpuint(rig_ctrl(&r, 2, 5, 0, set, 8), ==, 1);
    g_assert_cmphex(offloads(&r), ==, NET_CSUM | NET_TSO6);
    rig_go(&r, F(NET_F_GUEST_CSUM) | F(NET_F_GUEST_TSO4), 2);
    g_assert_cmphex(offloads(&r), ==, NET_CSUM | NET_TSO4);
    rig_end(&r);
}

static void test_multiqueue(void)
{
    guint8 frame[60];
    Rig r;

    rig_start(&r, ",\"queues\":3", ",\"mq\":true");
    rig_go(&r, F(NET_F_MQ) | F(NET_F_CTRL_VQ), 7);
    g_assert_cmpint(rig_net(&r)->n_used, ==, 1);
    rig_frame(frame, sizeof frame, 1);
    rig_give(&r, 4, 1, 1526);
    rig_incoming(&r, 2, NULL, frame, sizeof frame);
    g_usleep(2000);
    g_assert_cmpuint(rig_waiting(&r, 2), ==, 1); /* not used yet */
    g_assert_cmpuint(rig_ctrl(&r, 6, 4, 0, "\4\0", 2), ==, 1);
    g_assert_cmpuint(rig_ctrl(&r, 6, 4, 0, "\0\0", 2), ==, 1);
    g_assert_cmpuint(rig_ctrl(&r, 6, 4, 0, "\3\0", 2), ==, 0);
    g_assert_cmpint(rig_net(&r)->n_used, ==, 3);
    g_assert_cmpuint(rig_await(&r, 4, 1), ==, NET_HEADER + 60);
    for (guint i = 0; i < 3; i++)
        rig_send_frame(&r, 2 * i + 1, NULL, 60 + i);
    g_assert_cmpuint(rig_n_sent(&r), ==, 3);
    g_assert_cmpuint(rig_ctrl(&r, 6, 4, 0, "\1\0", 2), ==, 0);
    rig_send_frame(&r, 1, NULL, 60);
    rig_go(&r, F(NET_F_CTRL_VQ), 3); /* without MQ the control queue is the third one (section 5.1.2) */
    g_assert_cmpint(rig_net(&r)->n_used, ==, 1);
    g_assert_cmpuint(rig_ctrl(&r, 2, 77, 0, NULL, 0), ==, 1);
    rig_end(&r);
}

/* ---- link ---- */

static void test_link(void)
{
    guint8 frame[60];
    guint64 address;
    guint32 data;
    Rig r;

    rig_start(&r, "", "");
    rig_go(&r, F(NET_F_STATUS), 2);
    while (vm_test_take_msi(r.t.vm, &address, &data))
        continue;
    guint generation = (guint)vt_in(&r.v, C_GENERATION, 1);
    virtio_net_set_link(r.dev, FALSE);
    g_assert_cmpuint(config(&r, 6, 2), ==, 0);
    g_assert_cmpuint(vt_in(&r.v, C_GENERATION, 1), !=, generation);
    vt_expect_msi(&r.v, 2);
    rig_send_frame(&r, 1, NULL, 60);
    g_assert_cmpuint(rig_n_sent(&r), ==, 0);
    rig_give(&r, 0, 1, 1526);
    rig_frame(frame, sizeof frame, 0);
    rig_incoming(&r, 0, NULL, frame, sizeof frame);
    RIG_AWAIT(__atomic_load_n(&r.nd->rx_dropped, __ATOMIC_RELAXED) == 1);
    netdev_set_link(r.nd, FALSE);
    virtio_net_set_link(r.dev, TRUE); /* both have to be up */
    g_assert_cmpuint(config(&r, 6, 2), ==, 0);
    netdev_set_link(r.nd, TRUE);
    g_assert_cmpuint(config(&r, 6, 2), ==, 1);
    rig_incoming(&r, 0, NULL, frame, sizeof frame);
    rig_await(&r, 0, 1);
    rig_send_frame(&r, 1, NULL, 60);
    g_assert_cmpuint(rig_n_sent(&r), ==, 1);
    rig_end(&r);
}

/* ---- coming and going ---- */

static void test_queue_reset(void)
{
    guint8 frame[60];
    Rig r;

    rig_start(&r, "", "");
    rig_go(&r, F(F_RESET) | F(NET_F_CTRL_VQ) | CTRL_ALL, 3);
    rig_frame(frame, sizeof frame, 0);
    for (guint i = 0; i < 3; i++) {
        vt_out(&r.v, C_QUEUE_SELECT, i, 2);
        vt_out(&r.v, C_QUEUE_RESET, 1, 2);
        g_assert_cmpuint(vt_in(&r.v, C_QUEUE_RESET, 2), ==, 0);
        if (i != 1)
            rig_send_frame(&r, 1, NULL, 60);
        vt_queue(&r.v, i, 64, 0);
        board_test_settle();
        rig_send_frame(&r, 1, NULL, 60);
        rig_give(&r, 0, i, 1526);
        rig_incoming(&r, 0, NULL, frame, sizeof frame);
        rig_await(&r, 0, i);
        g_assert_cmpuint(rig_ctrl(&r, 2, 0, 0, "\1", 1), ==, 0);
    }
    rig_end(&r);
}

/* With the machine stopped, and without bus mastering, nothing is read or written; it goes on when that is over. */
static void test_quiesce(void)
{
    const DrvSeg seg = { RIG_SEND_AT, 72, FALSE };
    guint8 frame[60];
    for (guint master = 0; master < 2; master++) {
        Rig r;
        rig_start(&r, "", "");
        rig_go(&r, 0, 2);
        rig_frame(frame, sizeof frame, 0);
        master ? vt_cfg_out(&r.v, 4, 2, 2) : device_set_quiesce(r.t.set);
        rig_give(&r, 0, 1, 1526);
        rig_incoming(&r, 0, NULL, frame, sizeof frame);
        vt_send(&r.v, 1, &seg, 1, 5);
        g_usleep(2000);
        g_assert_cmpuint(rig_waiting(&r, 0), ==, 1);
        g_assert_cmpuint(rig_n_sent(&r), ==, 0);
        master ? vt_cfg_out(&r.v, 4, 6, 2) : device_set_resume(r.t.set);
        rig_await(&r, 0, 1);
        rig_await(&r, 1, 5);
        rig_end(&r);
    }
}

/* Saved and loaded into another machine: the driver goes on, and is asked to announce itself. */
static void test_move(void)
{
    g_autoptr(GError) error = NULL;
    guint8 frame[60];
    Rig a, b;

    rig_start(&a, ",\"queues\":2", ",\"mq\":true" MAC_GIVEN);
    rig_start(&b, ",\"queues\":2", ",\"mq\":true" MAC_GIVEN);
    guint64 features = F(NET_F_CTRL_VQ) | F(NET_F_MQ) | F(NET_F_STATUS) | F(NET_F_GUEST_ANNOUNCE) | CTRL_ALL | F(NET_F_GUEST_CSUM);
    rig_go(&a, features, 5);
    rig_ctrl(&a, 4, 0, 0, "\0", 1);
    rig_ctrl(&a, 4, 1, 1, "\2\1\2\3\4\5", 6);
    rig_ctrl(&a, 4, 2, 0, "\7\0", 2);
    rig_ctrl(&a, 4, 4, 0, "\2\0", 2);
    rig_give(&a, 2, 3, 1526);
    device_set_quiesce(a.t.set);
    device_set_quiesce(b.t.set);
    g_autoptr(GVariant) saved = device_save(a.dev);
    memcpy(b.t.ram, a.t.ram, RAM_SIZE);
    device_load(b.dev, saved, &error);
    g_assert_no_error(error);
    g_autoptr(GVariant) again = device_save(b.dev);
    g_assert_true(g_variant_equal(saved, again));
    device_set_resume(b.t.set);
    g_assert_cmpint(rig_net(&b)->n_used, ==, 2);
    g_assert_cmphex(offloads(&b), ==, NET_CSUM);
    g_assert_cmphex(config(&b, 0, 4), ==, 0x03020102);
    g_assert_cmphex(config(&b, 6, 2), ==, 3);
    memset(frame, 0xff, sizeof frame);
    rig_incoming(&b, 1, NULL, frame, sizeof frame);
    for (guint i = 0; i < VT_MAX_QUEUES; i++) { /* the driver's half moves too */
        b.v.q[i] = a.v.q[i];
        b.v.q[i].mem = b.t.ram;
        b.v.has_q[i] = a.v.has_q[i];
        a.v.has_q[i] = FALSE;
    }
    rig_await(&b, 2, 3);
    g_assert_cmpuint(rig_ctrl(&b, 4, 3, 0, NULL, 0), ==, 0);
    g_assert_cmphex(config(&b, 6, 2), ==, 1);
    g_assert_cmpuint(rig_ctrl(&b, 4, 3, 0, NULL, 0), ==, 1);
    rig_end(&a);
    rig_end(&b);
}

/* Resets and removal while frames come and go. */
static void test_reset_under_load(void)
{
    guint8 frame[60];
    Rig r;

    rig_start(&r, "", "");
    rig_frame(frame, sizeof frame, 0);
    for (guint round = 0; round < 50; round++) {
        rig_go(&r, F(NET_F_MRG_RXBUF), 2);
        for (guint i = 0; i < 20; i++) {
            const DrvSeg seg = { RIG_SEND_AT, 72, FALSE };
            rig_incoming(&r, 0, NULL, frame, sizeof frame);
            rig_give(&r, 0, i, 100);
            vt_send(&r.v, 1, &seg, 1, i);
        }
        if (round % 3 == 1)
            device_set_reset(r.t.set, RESET_WARM), r.v = (vt_close(&r.v), vt_open(&r.t, NET_SLOT));
    }
    g_autoptr(GError) error = NULL;
    g_assert_true(device_remove(r.dev, &error));
    g_assert_true(device_remove(&r.nd->dev, &error));
    rig_end(&r);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FLAG_FATAL);
    g_test_add_func("/virtio-net/identity", test_identity);
    g_test_add_func("/virtio-net/feature-rows", test_feature_rows);
    g_test_add_func("/virtio-net/feature-needs", test_feature_needs);
    g_test_add_func("/virtio-net/refused", test_refused);
    g_test_add_func("/virtio-net/mac-by-lot", test_mac_by_lot);
    g_test_add_func("/virtio-net/send", test_send);
    g_test_add_func("/virtio-net/send-pieces", test_send_pieces);
    g_test_add_func("/virtio-net/send-blocked", test_send_blocked);
    g_test_add_func("/virtio-net/send-offloads", test_send_offloads);
    g_test_add_func("/virtio-net/broken-chains", test_broken_chains);
    g_test_add_func("/virtio-net/receive", test_receive);
    g_test_add_func("/virtio-net/receive-merged", test_receive_merged);
    g_test_add_func("/virtio-net/back-pressure", test_back_pressure);
    g_test_add_func("/virtio-net/receive-too-long", test_receive_too_long);
    g_test_add_func("/virtio-net/receive-header", test_receive_header);
    g_test_add_func("/virtio-net/filter", test_filter);
    g_test_add_func("/virtio-net/ctrl-wrong", test_ctrl_wrong);
    g_test_add_func("/virtio-net/mac-set", test_mac_set);
    g_test_add_func("/virtio-net/guest-offloads", test_guest_offloads);
    g_test_add_func("/virtio-net/multiqueue", test_multiqueue);
    g_test_add_func("/virtio-net/link", test_link);
    g_test_add_func("/virtio-net/queue-reset", test_queue_reset);
    g_test_add_func("/virtio-net/quiesce", test_quiesce);
    g_test_add_func("/virtio-net/move", test_move);
    g_test_add_func("/virtio-net/reset-under-load", test_reset_under_load);
    return g_test_run();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz-virtio-net.c - libFuzzer target: a hostile driver of a network card. Rings, headers, frames and commands are what the
 * input says, written while the card may be looking at them. Whatever it did: each header that got to the back end is one that
 * was negotiated and lies within its frame, what is saved loads and saves alike, and after a reset a well-behaved driver works.
 *
 * The input begins with the features (four bytes). An operation is eight bytes: kind, where (three), value (four).
 */
#include "../device/net-memory.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

#define QUEUES 5
#define NOTIFY (VT_BAR + (NET_SLOT << 20) + 0x3000)
#define OFFERED                                                                                                              \
    (F(NET_F_CSUM) | F(NET_F_GUEST_CSUM) | F(NET_F_CTRL_GUEST_OFFLOADS) | F(NET_F_GUEST_TSO4) | F(NET_F_GUEST_TSO6) |        \
     F(NET_F_GUEST_ECN) | F(NET_F_HOST_TSO4) | F(NET_F_HOST_TSO6) | F(NET_F_HOST_ECN) | F(NET_F_MRG_RXBUF) | F(NET_F_STATUS) | \
     F(NET_F_CTRL_VQ) | F(NET_F_CTRL_RX) | F(NET_F_CTRL_VLAN) | F(NET_F_CTRL_RX_EXTRA) | F(NET_F_GUEST_ANNOUNCE) | F(NET_F_MQ) | \
     F(NET_F_CTRL_MAC_ADDR) | F(F_INDIRECT) | F(F_EVENT_IDX))

static void nothing(gpointer user)
{
}

/* The card has seen everything: what was ready before the first call has run when the second one does. */
static void settle(Rig *r)
{
    IoThread *thread = ((VirtioNet *)r->dev)->thread;

    iothread_call(thread, nothing, NULL);
    iothread_call(thread, nothing, NULL);
    board_test_settle();
    iothread_call(thread, nothing, NULL);
}

static void check_sent(Rig *r, guint64 features)
{
    for (guint i = 0; i < rig_n_sent(r); i++) {
        gsize len = 0;
        const guint8 *h = rig_sent(r, i, &len);
        guint type = h[HDR_GSO_TYPE];

        g_assert_cmpuint(len, >=, NET_HEADER + 14);
        len -= NET_HEADER;
        g_assert_cmpuint(h[HDR_FLAGS], <=, (features & F(NET_F_CSUM)) ? HDR_F_NEEDS_CSUM : 0);
        if (h[HDR_FLAGS])
            g_assert_cmpuint(le16_get(h + HDR_CSUM_START) + le16_get(h + HDR_CSUM_OFFSET) + 2u, <=, len);
        g_assert_true(!type || (type & 0x7f) == (features & F(NET_F_HOST_TSO4) ? GSO_TCPV4 : GSO_TCPV6) ||
                      ((type & 0x7f) == GSO_TCPV6 && (features & F(NET_F_HOST_TSO6))));
        g_assert_true(!(type & GSO_ECN) || (features & F(NET_F_HOST_ECN)));
        g_assert_true(!type || (h[HDR_FLAGS] && le16_get(h + HDR_GSO_SIZE) && le16_get(h + HDR_HDR_LEN) <= len));
    }
    LOCK_SCOPE(&rig_net(r)->lock);
    g_ptr_array_set_size(rig_net(r)->sent, 0);
}

/* Hands the driver's next chain over as it is: descriptor VALUE is its head. */
static void make_available(Rig *r, guint q, guint16 head)
{
    guint8 *avail = r->t.ram + r->v.q[q].config.driver;
    guint16 idx = le16_get(avail + 2);

    le16_put(avail + 4 + 2 * (idx % 64), head % 64);
    le16_put(avail + 2, (guint16)(idx + 1));
}

/* A descriptor that makes some sense: a buffer among the test's own. */
static void describe(Rig *r, guint q, guint32 where, guint32 value)
{
    guint8 *d = r->t.ram + r->v.q[q].config.desc + 16 * (where % 64);

    le64_put(d, RIG_SEND_AT + (value & 0xfff));
    le32_put(d + 8, value >> 12 & 0xffff);
    le16_put(d + 12, (guint16)(value >> 28 & 3));
    le16_put(d + 14, (guint16)((where >> 8) % 64));
}

static void incoming(Rig *r, guint q, guint32 value)
{
    gsize len = value % NET_MAX_FRAME;
    g_autofree guint8 *frame = g_malloc0(len + 14);
    guint8 header[NET_HEADER];

    memset(header, (int)(value >> 24), sizeof header);
    memset(frame, (int)(value >> 16 & 0xff), 14);
    if (rig_waiting(r, q) < 8)
        rig_incoming(r, q, header, frame, len);
}

static void one(Rig *r, const guint8 op[8])
{
    guint32 where = le32_get(op + 1) & 0xffffff, value = le32_get(op + 4);
    guint q = op[1] % QUEUES;

    switch (op[0] % 9) {
    case 0: /* headers, frames, commands */
        le32_put(r->t.ram + RIG_SEND_AT + where % 0x1000, value);
        break;
    case 1: /* the rings, anything */
        le32_put(r->t.ram + VT_RINGS + where % 0x10000, value);
        break;
    case 2:
        describe(r, q, where >> 8, value);
        break;
    case 3:
        make_available(r, q, (guint16)value);
        break;
    case 4: /* a notification, perhaps waited for */
        mem_out(&r->t, NOTIFY + 4 * q, q, 2);
        if (value & 1)
            settle(r);
        break;
    case 5:
        incoming(r, q % 2, value);
        break;
    case 6:
        virtio_net_set_link(r->dev, (value & 3) != 0);
        break;
    case 7: /* a queue is reset, or the machine stands for a moment */
        if (value & 1) {
            vt_out(&r->v, C_QUEUE_SELECT, q, 2);
            vt_out(&r->v, C_QUEUE_RESET, 1, 2);
            break;
        }
        device_set_quiesce(r->t.set);
        device_set_resume(r->t.set);
        break;
    default:
        make_available(r, q, (guint16)value);
        mem_out(&r->t, NOTIFY + 4 * q, q, 2);
        settle(r);
    }
}

static void check_save(Rig *r)
{
    g_autoptr(GError) error = NULL;

    settle(r);
    device_set_quiesce(r->t.set);
    g_autoptr(GVariant) saved = device_save(r->dev);
    device_set_reset(r->t.set, RESET_BEFORE_LOAD);
    device_load(r->dev, saved, &error);
    g_assert_no_error(error);
    g_autoptr(GVariant) again = device_save(r->dev);
    g_assert_true(g_variant_equal(saved, again));
    device_set_resume(r->t.set);
    settle(r);
}

static void check_works(Rig *r)
{
    guint8 frame[60] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

    device_set_reset(r->t.set, RESET_WARM);
    settle(r);
    virtio_net_set_link(r->dev, TRUE);
    while (rig_waiting(r, 0))
        g_bytes_unref(g_queue_pop_head(&rig_net(r)->queues[0].in));
    guint64 count;
    (void)!read(rig_net(r)->queues[0].fd, &count, 8);
    vt_close(&r->v);
    r->v = vt_open(&r->t, NET_SLOT);
    rig_go(r, 0, 2);
    rig_give(r, 0, 1, 1526);
    rig_incoming(r, 0, NULL, frame, sizeof frame);
    g_assert_cmpuint(rig_await(r, 0, 1), ==, NET_HEADER + 60);
    rig_send_frame(r, 1, NULL, 60);
    g_assert_cmpuint(rig_n_sent(r), ==, 1);
}

static void silent(const gchar *domain, GLogLevelFlags level, const gchar *message, gpointer user)
{
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    guint64 features;
    Rig r;

    if (size < 4)
        return 0;
    g_log_set_default_handler(silent, NULL);
    rig_start(&r, ",\"queues\":2", ",\"mq\":true,\"mac\":\"52:54:00:01:02:03\"");
    features = (le32_get(data) & OFFERED) | F(F_VERSION_1) | F(F_RESET);
    if (vt_negotiate(&r.v, features)) {
        for (guint i = 0; i < QUEUES; i++)
            vt_queue(&r.v, i, 64, features);
        vt_driver_ok(&r.v);
        for (gsize i = 4; i + 8 <= size && i < 8 * 1000; i += 8)
            one(&r, data + i);
        settle(&r);
        check_sent(&r, features);
        check_save(&r);
        check_sent(&r, features);
    }
    check_works(&r);
    rig_end(&r);
    return 0;
}

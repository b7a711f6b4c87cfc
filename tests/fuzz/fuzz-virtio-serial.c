/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz-virtio-serial.c - libFuzzer target: a hostile driver of the virtio console. It sets all queues up, and then has rings,
 * buffers and control messages as the input says, while ports come and go, clients connect, talk and leave, and the
 * machine stops, goes on and is reset. Whatever it did: what is saved loads into a machine with the same ports and saves alike, and
 * after a reset a well-behaved driver gets its bytes through.
 *
 * The first byte chooses the rings' features. An operation is eight bytes: kind, argument, offset (two), value (four).
 */
#include "../device/serial-test.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

#define RINGS_SIZE 0xa000u

static void up(SerialTest *s, guint8 features)
{
    guint64 f = ((features & 1) ? F(F_PACKED) : 0) | ((features & 2) ? F(F_EVENT_IDX) : 0) |
                ((features & 4) ? F(F_INDIRECT) : 0) | ((features & 8) ? 0 : MULTIPORT) | F(F_RESET);

    if (!vt_negotiate(&s->v, f | V1))
        return;
    for (guint i = 0; i < 8; i++)
        vt_queue(&s->v, i, i % 3 ? 8 : 4, f);
    vt_driver_ok(&s->v);
}

static void plug_or_unplug(SerialTest *s, guint nr)
{
    g_autofree char *id = g_strdup_printf("p%u", nr);
    Device *dev = device_set_find(s->t.set, NS_DEVICE, id);

    if (dev)
        st_unplug(dev);
    else if (nr)
        st_channel(s, nr, ", \"name\": \"fuzz\"");
    else
        st_console(s);
}

static void client(SerialTest *s, guint nr, guint32 value)
{
    guint8 buf[4096] = { 0 };

    if (s->peer[nr] < 0)
        st_connect(s, nr);
    else if (value % 4 == 0)
        st_disconnect(s, nr);
    else if (value % 4 == 1)
        st_peer_discard(s, nr);
    else if (write(s->peer[nr], buf, value % sizeof buf) < 0)
        g_assert_true(errno == EAGAIN || errno == EPIPE || errno == ECONNRESET);
    board_test_settle();
}

static void stop_or_reset(SerialTest *s, guint32 value)
{
    device_set_quiesce(s->t.set);
    if (value & 1)
        device_set_reset(s->t.set, RESET_WARM);
    device_set_resume(s->t.set);
    if (value & 1)
        st_reopen(s);
}

static void message(SerialTest *s, guint16 at, guint32 value)
{
    guint8 *m = s->t.ram + SAY_AT;
    DrvSeg seg = { SAY_AT, 8, FALSE };

    le32_put(m, at);
    le16_put(m + 4, (guint16)value);
    le16_put(m + 6, (guint16)(value >> 16));
    if (s->v.has_q[CONTROL_OUT] && drv_add(&s->v.q[CONTROL_OUT], &seg, 1, FALSE, 1))
        vt_kick(&s->v, CONTROL_OUT);
}

/* A chain of one buffer of any kind for any queue. */
static void chain(SerialTest *s, guint8 what, guint16 at, guint32 value)
{
    DrvSeg seg = { VT_DATA + at * 16u, value % 0x180000, (what & 8) ? (what & 1) : !(what & 1) };
    guint q = what % 8;

    if (s->v.has_q[q] && drv_add(&s->v.q[q], &seg, 1, FALSE, 2))
        vt_kick(&s->v, q);
}

static void one(SerialTest *s, const guint8 op[8])
{
    guint16 at = le16_get(op + 2);
    guint32 value = le32_get(op + 4);

    switch (op[0] % 11) {
    case 0: message(s, at, value); break;
    case 1: chain(s, op[1], at, value); break;
    case 2: le32_put(s->t.ram + VT_RINGS + at % RINGS_SIZE, value); break;
    case 3: mem_out(&s->t, s->v.notify + 4 * (op[1] % 8), 0, 2); break;
    case 4: plug_or_unplug(s, op[1] % 3); break;
    case 5: client(s, op[1] % 3, value); break;
    case 6: stop_or_reset(s, value); break;
    case 7: up(s, op[1]); break;
    case 8: mem_out(&s->t, s->v.common + at % 0x40, value, 1u << op[1] % 4); break;
    case 9: mem_out(&s->t, s->v.device + at % 16, value, 1u << op[1] % 4); break;
    default: board_test_settle();
    }
}

static void same_ports(SerialTest *a, SerialTest *b)
{
    for (guint nr = 0; nr < 3; nr++) {
        g_autofree char *id = g_strdup_printf("p%u", nr);
        if (device_set_find(a->t.set, NS_DEVICE, id))
            plug_or_unplug(b, nr);
    }
}

static void check_move(SerialTest *a)
{
    g_autoptr(SerialTest) b = st_new(", \"packed\": true");

    same_ports(a, b);
    st_move(a, b);
    device_set_resume(a->t.set);
    st_reopen(a);
}

static void check_works(SerialTest *s)
{
    device_set_reset(s->t.set, RESET_WARM);
    st_reopen(s);
    if (!device_set_find(s->t.set, NS_DEVICE, "p1"))
        plug_or_unplug(s, 1);
    if (s->peer[1] >= 0)
        st_disconnect(s, 1);
    st_go(s, 0);
    st_up(s, 1);
    st_send(s, 1, "works", 7);
    vt_used(&s->v, PORT1_OUT, 7);
    st_peer_reads(s, 1, "works");
}

static void silent(const gchar *domain, GLogLevelFlags level, const gchar *message, gpointer user)
{
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    g_autoptr(SerialTest) s = NULL;

    g_log_set_default_handler(silent, NULL);
    signal(SIGPIPE, SIG_IGN);
    s = st_new(", \"packed\": true");
    plug_or_unplug(s, 0);
    plug_or_unplug(s, 1);
    up(s, size ? data[0] : 0);
    for (gsize i = 1; i + 8 <= size && i < 8 * 1000; i += 8)
        one(s, data + i);
    if (size && (data[0] & 128)) /* costs as much as the rest */
        check_move(s);
    check_works(s);
    return 0;
}

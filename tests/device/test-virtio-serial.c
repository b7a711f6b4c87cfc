/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virtio-serial-pci and its ports: a driver of the tests' own on one side, clients of sockets on the other. */
#include "../../devices/backend/chardev.h"

#include "serial-test.h"

/* ---- what the driver finds ---- */

static void test_identity(void)
{
    g_autoptr(SerialTest) s = st_new("");
    VirtioTest *v = &s->v;

    g_assert_cmphex(vt_cfg_in(v, 0, 4), ==, 0x10431af4);
    g_assert_cmphex(vt_cfg_in(v, 8, 4), ==, 0x07800001);
    g_assert_cmphex(vt_features(v), ==, V1 | F(F_INDIRECT) | F(F_EVENT_IDX) | F(F_RESET) | MULTIPORT | EMERG_WRITE);
    g_assert_cmpuint(vt_in(v, C_NUM_QUEUES, 2), ==, 8);
    g_assert_cmpuint(v->device_len, ==, 12);
    g_assert_cmpuint(mem_in(&s->t, v->device + 4, 4), ==, 3);
    g_assert_cmpuint(mem_in(&s->t, v->device, 4), ==, 0); /* no size: nobody knows the window's */
    vt_out(v, C_QUEUE_SELECT, CONTROL_IN, 2);
    g_assert_cmpuint(vt_in(v, C_QUEUE_SIZE, 2), ==, 32);
    vt_out(v, C_QUEUE_SELECT, PORT1_IN, 2);
    g_assert_cmpuint(vt_in(v, C_QUEUE_SIZE, 2), ==, 128);
}

static void test_rows(void)
{
    g_autoptr(SerialTest) s = st_new(", \"emergency-write\": false, \"queue-size\": 16, \"control-queue-size\": 4");
    g_autoptr(SerialTest) one = st_new_ports(1, "");

    g_assert_cmphex(vt_features(&s->v) & EMERG_WRITE, ==, 0);
    g_assert_cmpuint(s->v.device_len, ==, 8);
    vt_out(&s->v, C_QUEUE_SELECT, 3, 2);
    g_assert_cmpuint(vt_in(&s->v, C_QUEUE_SIZE, 2), ==, 4);
    vt_out(&s->v, C_QUEUE_SELECT, 0, 2);
    g_assert_cmpuint(vt_in(&s->v, C_QUEUE_SIZE, 2), ==, 16);
    g_assert_cmphex(vt_features(&one->v) & (MULTIPORT | EMERG_WRITE), ==, EMERG_WRITE);
    g_assert_cmpuint(vt_in(&one->v, C_NUM_QUEUES, 2), ==, 2);
}

/* ---- control ---- */

static void test_handshake(void)
{
    g_autoptr(SerialTest) s = st_new("");

    st_plug(s, "\"virtconsole\", \"id\": \"con\", \"chardev\": \"null\"");
    Device *channel = st_channel(s, 1, ", \"name\": \"org.test.0\"");
    st_go(s, 0);
    st_expect_none(s); /* before DEVICE_READY */
    st_say(s, 0xffffffff, DEVICE_READY, 1);
    st_expect(s, 0, PORT_ADD, 1);
    st_expect(s, 1, PORT_ADD, 1);
    st_expect_none(s);
    st_say(s, 0, PORT_READY, 1);
    st_expect(s, 0, CONSOLE_PORT, 1);
    st_expect(s, 0, PORT_OPEN, 1);
    st_say(s, 1, PORT_READY, 1);
    st_expect_name(s, 1, "org.test.0");
    st_expect_none(s); /* nobody is connected */
    st_connect(s, 1);
    st_expect(s, 1, PORT_OPEN, 1);
    st_disconnect(s, 1);
    st_expect(s, 1, PORT_OPEN, 0);
    board_test_ports(&s->t, "");
    g_assert_false(chardev_frontend_open(s->chardev[1]));
    st_say(s, 1, PORT_OPEN, 1);
    board_test_ports(&s->t, " p1 open");
    g_assert_true(chardev_frontend_open(s->chardev[1]));
    st_say(s, 1, PORT_OPEN, 1); /* no news */
    board_test_ports(&s->t, "");
    st_say(s, 1, PORT_OPEN, 0);
    board_test_ports(&s->t, " p1 closed");
    g_assert_false(chardev_frontend_open(s->chardev[1]));
    g_assert_nonnull(channel);
}

/* Messages wait for buffers as what is true by then. */
static void test_no_buffers(void)
{
    g_autoptr(SerialTest) s = st_new("");

    Device *dev = st_channel(s, 1, "");
    st_go_without_buffers(s, 0);
    st_say(s, 0, DEVICE_READY, 1);
    for (guint i = 0; i < 100; i++) {
        st_unplug(dev);
        dev = st_channel(s, 1, "");
    }
    st_give(s, 1);
    st_expect(s, 1, PORT_ADD, 1); /* the guest never saw the others */
    for (guint i = 0; i < 100; i++) {
        st_unplug(dev);
        dev = st_channel(s, 1, "");
        st_say(s, 1, PORT_READY, 1); /* too late */
    }
    st_give(s, 4);
    st_expect(s, 1, PORT_REMOVE, 1);
    st_expect(s, 1, PORT_ADD, 1);
    st_expect_none(s);
}

static void test_hostile_messages(void)
{
    static const guint16 bad[][3] = { { 3, PORT_READY, 1 }, { 0xffff, PORT_OPEN, 1 }, { 2, PORT_READY, 1 }, { 0, PORT_OPEN, 1 },
                                      { 1, PORT_ADD, 1 },   { 1, RESIZE, 1 },         { 1, 0xffff, 1 },     { 1, PORT_NAME, 0 } };
    g_autoptr(SerialTest) s = st_new("");

    st_channel(s, 1, "");
    st_go(s, 0);
    st_say(s, 0, DEVICE_READY, 0); /* it gives up, then it does not */
    st_expect_none(s);
    st_say(s, 0, DEVICE_READY, 1);
    st_expect(s, 1, PORT_ADD, 1);
    st_say(s, 0, DEVICE_READY, 1); /* said already */
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++)
        st_say(s, bad[i][0], bad[i][1], bad[i][2]);
    st_say(s, 1, PORT_READY, 0);
    st_expect_none(s);
    board_test_ports(&s->t, "");
    g_assert_cmphex(vt_status(&s->v) & S_NEEDS_RESET, ==, 0);
    st_connect(s, 1);
    st_say(s, 1, PORT_READY, 1);
    st_expect(s, 1, PORT_OPEN, 1);
}

static void test_needs_reset(void)
{
    static const struct {
        guint  queue;
        DrvSeg seg;
    } bad[] = {
        { CONTROL_OUT, { VT_DATA, 7, FALSE } }, { CONTROL_OUT, { VT_DATA, 8, TRUE } },      { CONTROL_IN, { VT_DATA, 7, TRUE } },
        { CONTROL_IN, { VT_DATA, 64, FALSE } }, { PORT1_OUT, { VT_DATA, 8, TRUE } },        { PORT1_IN, { VT_DATA, 8, FALSE } },
        { PORT1_OUT, { RAM_SIZE, 8, FALSE } },  { CONTROL_OUT, { RAM_SIZE - 4, 8, FALSE } },
    };
    g_autoptr(SerialTest) s = st_new("");
    guint32 token, len;

    st_channel(s, 1, "");
    st_connect(s, 1);
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        st_go_without_buffers(s, 0);
        st_give(s, 2);
        st_say(s, 0, DEVICE_READY, 1);
        st_expect(s, 1, PORT_ADD, 1);
        st_say(s, 1, PORT_READY, 1);
        st_expect(s, 1, PORT_OPEN, 1);
        st_say(s, 1, PORT_OPEN, 1);
        g_assert_cmphex(vt_status(&s->v) & S_NEEDS_RESET, ==, 0);
        vt_send(&s->v, bad[i].queue, &bad[i].seg, 1, 99);
        for (guint n = 0; bad[i].queue == CONTROL_IN && n < 2; n++) /* two good buffers lie before it */
            st_disconnect(s, 1), st_connect(s, 1);
        if (bad[i].queue == PORT1_IN)
            st_peer_say(s, 1, "x");
        g_assert_cmphex(vt_status(&s->v) & S_NEEDS_RESET, ==, S_NEEDS_RESET);
        g_assert_cmpuint(bad[i].queue == CONTROL_IN, ==, drv_take(&s->v.q[bad[i].queue], &token, &len));
    }
}

/* ---- bytes ---- */

static const guint64 ring_features[] = { 0, F(F_EVENT_IDX), F(F_INDIRECT) | F(F_EVENT_IDX), F(F_PACKED),
                                         F(F_PACKED) | F(F_EVENT_IDX) | F(F_INDIRECT), F(F_IN_ORDER), F(F_PACKED) | F(F_IN_ORDER) };

static void test_bytes(gconstpointer user)
{
    g_autoptr(SerialTest) s = st_new(", \"packed\": true, \"in_order\": true, \"queue-size\": 8, \"control-queue-size\": 8");

    st_channel(s, 1, "");
    st_channel(s, 2, "");
    st_go(s, *(const guint64 *)user);
    st_up(s, 1);
    st_up(s, 2);
    st_irqs_on(s);
    for (guint i = 0; i < 40; i++) { /* the rings wrap */
        g_autofree char *text = g_strdup_printf("line %u to you", i);
        guint nr = 1 + i % 2;
        st_send(s, nr, text, i);
        vt_expect_msi(&s->v, serial_q(nr) + 1);
        vt_used(&s->v, serial_q(nr) + 1, i);
        st_peer_reads(s, nr, text);
        st_peer_say(s, nr, text);
        vt_expect_no_msi(&s->v); /* no buffer for it yet */
        st_offer(s, nr, 6, i);
        st_offer(s, nr, 100, i + 1000);
        g_assert_cmpuint(vt_used(&s->v, serial_q(nr), i), ==, 6);
        g_assert_cmpuint(vt_used(&s->v, serial_q(nr), i + 1000), ==, strlen(text) - 6);
        g_assert_cmpmem(s->t.ram + IN_AT(i), 6, text, 6);
        g_assert_cmpmem(s->t.ram + IN_AT(i + 1000), strlen(text) - 6, text + 6, strlen(text) - 6);
        st_irqs_on(s);
    }
}

static void test_closed_port_is_not_read(void)
{
    g_autoptr(SerialTest) s = st_new("");

    st_channel(s, 1, "");
    st_go(s, 0);
    st_up(s, 1);
    st_say(s, 1, PORT_OPEN, 0);
    st_offer(s, 1, 100, 1);
    st_peer_say(s, 1, "early");
    vt_none_used(&s->v, PORT1_IN);
    st_say(s, 1, PORT_OPEN, 1);
    g_assert_cmpuint(vt_used(&s->v, PORT1_IN, 1), ==, 5);
    g_assert_cmpmem(s->t.ram + IN_AT(1), 5, "early", 5);
}

/* Nobody listens: what is sent is dropped, as by a port that is not there. */
static void test_nobody(void)
{
    g_autoptr(SerialTest) s = st_new("");

    st_channel(s, 1, "");
    st_go(s, 0);
    st_send(s, 1, "into the void", 1);
    vt_used(&s->v, PORT1_OUT, 1);
    st_send(s, 2, "to no port", 2);
    vt_used(&s->v, PORT2_OUT, 2);
    st_connect(s, 1);
    st_peer_reads(s, 1, "");
}

#define FLOOD (1u << 20)

static void flood(SerialTest *s, guint queue)
{
    const DrvSeg seg = { VT_DATA + 0x100000 - 64, FLOOD, FALSE };

    for (guint i = 0; i < FLOOD; i++)
        s->t.ram[seg.gpa + i] = (guint8)(i * 7 + i / 251);
    g_assert_cmphex(seg.gpa + FLOOD, <=, RAM_SIZE);
    vt_send(&s->v, queue, &seg, 1, 5);
}

static const guint8 *flooded(const SerialTest *s)
{
    return s->t.ram + VT_DATA + 0x100000 - 64;
}

static void test_back_pressure(void)
{
    g_autoptr(SerialTest) s = st_new("");
    g_autoptr(GByteArray) got = g_byte_array_new();

    st_channel(s, 1, "");
    st_channel(s, 2, "");
    st_go(s, 0);
    st_up(s, 1);
    st_up(s, 2);
    flood(s, PORT1_OUT);
    vt_none_used(&s->v, PORT1_OUT);
    for (guint i = 0; i < 20; i++) { /* the other port does not notice, and kicks change nothing */
        st_send(s, 2, "swift", 100 + i);
        vt_used(&s->v, PORT2_OUT, 100 + i);
        vt_kick(&s->v, PORT1_OUT);
    }
    st_peer_reads(s, 2, "swiftswiftswiftswiftswiftswiftswiftswiftswiftswiftswiftswiftswiftswiftswiftswiftswiftswiftswiftswift");
    vt_none_used(&s->v, PORT1_OUT);
    while (got->len < FLOOD)
        g_assert_cmpuint(st_peer_drain(s, 1, got), >, 0);
    g_assert_cmpmem(got->data, got->len, flooded(s), FLOOD);
    vt_used(&s->v, PORT1_OUT, 5);
}

/* A peer that goes lets the guest go on. */
static void test_peer_goes(void)
{
    g_autoptr(SerialTest) s = st_new("");

    st_channel(s, 1, "");
    st_go(s, 0);
    st_up(s, 1);
    flood(s, PORT1_OUT);
    vt_none_used(&s->v, PORT1_OUT);
    st_disconnect(s, 1);
    vt_used(&s->v, PORT1_OUT, 5);
    st_expect(s, 1, PORT_OPEN, 0);
}

static void test_console_drops(void)
{
    g_autoptr(SerialTest) s = st_new("");

    st_console(s);
    st_go(s, 0);
    st_up(s, 0);
    flood(s, 1);
    vt_used(&s->v, 1, 5);
}

static void test_queue_reset(void)
{
    g_autoptr(SerialTest) s = st_new("");
    g_autoptr(GByteArray) got = g_byte_array_new();

    st_channel(s, 1, "");
    st_go(s, F(F_RESET));
    st_up(s, 1);
    flood(s, PORT1_OUT);
    vt_out(&s->v, C_QUEUE_SELECT, PORT1_OUT, 2);
    vt_out(&s->v, C_QUEUE_RESET, 1, 2);
    g_assert_cmphex(vt_in(&s->v, C_QUEUE_ENABLE, 2), ==, 0);
    while (st_peer_drain(s, 1, got) > 0)
        continue;
    g_assert_cmpuint(got->len, <, FLOOD);
    vt_queue(&s->v, PORT1_OUT, 8, F(F_RESET));
    st_send(s, 1, "from its first byte", 6);
    vt_used(&s->v, PORT1_OUT, 6);
    st_peer_reads(s, 1, "from its first byte");
}

/* ---- the driver without MULTIPORT, and before any driver ---- */

static void test_single_port(void)
{
    g_autoptr(SerialTest) s = st_new("");

    st_console(s);
    st_connect(s, 0);
    g_assert_true(vt_negotiate(&s->v, V1));
    vt_queue(&s->v, 0, 0, 0);
    vt_queue(&s->v, 1, 0, 0);
    vt_driver_ok(&s->v);
    board_test_ports(&s->t, " p0 open");
    st_offer(s, 0, 64, 1);
    st_peer_say(s, 0, "login");
    g_assert_cmpuint(vt_used(&s->v, 0, 1), ==, 5);
    st_send(s, 0, "root", 2);
    vt_used(&s->v, 1, 2);
    st_peer_reads(s, 0, "root");
    vt_out(&s->v, C_STATUS, 0, 1);
    board_test_settle();
    board_test_ports(&s->t, " p0 closed");
}

static void test_emergency_write(void)
{
    g_autoptr(SerialTest) s = st_new("");

    mem_out(&s->t, s->v.device + 8, 'a', 4); /* no console: nothing */
    st_console(s);
    st_connect(s, 0);
    mem_out(&s->t, s->v.device + 8, 'b', 4);
    mem_out(&s->t, s->v.device + 8, 'c', 1);
    mem_out(&s->t, s->v.device + 4, 'd', 4); /* read-only */
    st_peer_reads(s, 0, "bc");
    g_assert_cmphex(mem_in(&s->t, s->v.device + 8, 4), ==, 0);
    g_assert_cmpuint(mem_in(&s->t, s->v.device + 4, 4), ==, 3);
}

/* ---- plug and unplug ---- */

static void test_hot_plug(void)
{
    g_autoptr(SerialTest) s = st_new("");

    st_go(s, 0);
    st_say(s, 0, DEVICE_READY, 1);
    device_set_started(s->t.set);
    for (guint i = 0; i < 5; i++) {
        Device *dev = st_channel(s, 1, ", \"name\": \"x\"");
        st_connect(s, 1);
        st_expect(s, 1, PORT_ADD, 1);
        st_say(s, 1, PORT_READY, 1);
        st_expect_name(s, 1, "x");
        st_expect(s, 1, PORT_OPEN, 1);
        st_say(s, 1, PORT_OPEN, 1);
        board_test_ports(&s->t, " p1 open");
        flood(s, PORT1_OUT);
        vt_none_used(&s->v, PORT1_OUT);
        st_unplug(dev);
        vt_used(&s->v, PORT1_OUT, 5); /* the guest does not wait for a port that is no more */
        st_expect(s, 1, PORT_REMOVE, 1);
        board_test_ports(&s->t, " p1 closed");
        st_disconnect(s, 1);
    }
    st_expect_none(s);
}

static void fails(SerialTest *s, const char *members, const char *message)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *json = g_strdup_printf("{\"driver\": %s}", members);

    g_assert_null(board_test_plug(&s->t, json, &error));
    g_assert_cmpstr(error->message, ==, message);
}

static void test_refusals(void)
{
    g_autoptr(SerialTest) s = st_new("");
    g_autoptr(GError) error = NULL;

    st_channel(s, 1, "");
    fails(s, "\"virtserialport\", \"id\": \"x\", \"bus\": \"hub.0\", \"nr\": 1",
          "Property 'nr' of device 'x' is 1, which is the number of device 'p1'");
    fails(s, "\"virtserialport\", \"id\": \"x\", \"nr\": 0", "Property 'nr' of device 'x' is 0, which is a console's");
    fails(s, "\"virtserialport\", \"id\": \"x\", \"nr\": 3", "Property 'nr' of device 'x' is 3, and 'hub' has 3 ports");
    fails(s, "\"virtserialport\", \"id\": \"x\", \"bus\": \"hub\"",
          "Property 'bus' of device 'x': there is no bus 'hub' of a virtio-serial device");
    fails(s, "\"virtserialport\", \"id\": \"x\", \"bus\": \"p1.0\"",
          "Property 'bus' of device 'x': there is no bus 'p1.0' of a virtio-serial device");
    fails(s, "\"virtserialport\", \"id\": \"x\", \"chardev\": \"c1\"", "Property 'chardev' of device 'x': Chardev 'c1' is in use");
    fails(s, "\"virtserialport\", \"id\": \"x\", \"chardev\": \"c9\"", "Property 'chardev' of device 'x': there is no chardev 'c9'");
    fails(s, "\"virtio-serial-pci\", \"id\": \"x\", \"queue-size\": 12",
          "Property 'queue-size' of device 'x' is 12, not a power of two");
    st_plug(s, "\"virtserialport\", \"id\": \"p2\"");
    fails(s, "\"virtserialport\", \"id\": \"x\"", "Device 'x': there is no virtio-serial device with a free port");
    fails(s, "\"virtserialport\", \"id\": \"x\", \"bus\": \"hub.0\"", "Device 'x': no port of 'hub' is free, it has 3");
    g_assert_false(device_remove(device_set_find(s->t.set, NS_DEVICE, "hub"), &error));
    g_assert_cmpstr(error->message, ==, "The device 'hub' is in use by device 'p1'");
    g_assert_false(device_remove(s->chardev[1], NULL));
}

/* ---- resets, stops, saving ---- */

/* A driver is broken off after each of the steps, and another begins. */
static void test_reset_at_each_step(void)
{
    g_autoptr(SerialTest) s = st_new("");

    st_channel(s, 1, "");
    st_connect(s, 1);
    for (guint steps = 0; steps < 14; steps++) {
        st_go(s, 0);
        for (guint i = 0; i < steps % 7; i++)
            st_step(s, i);
        if (steps < 7) {
            vt_out(&s->v, C_STATUS, 0, 1);
        } else {
            device_set_quiesce(s->t.set);
            device_set_reset(s->t.set, RESET_WARM);
            device_set_resume(s->t.set);
            st_reopen(s);
        }
        board_test_settle();
        board_test_ports(&s->t, steps % 7 >= 3 ? " p1 open p1 closed" : "");
        g_assert_false(chardev_frontend_open(s->chardev[1]));
        st_peer_discard(s, 1);
    }
}

static void test_stop_and_cont(void)
{
    g_autoptr(SerialTest) s = st_new("");

    st_channel(s, 1, "");
    st_go(s, 0);
    st_up(s, 1);
    st_offer(s, 1, 64, 1);
    device_set_quiesce(s->t.set);
    st_peer_say(s, 1, "while it stood");
    vt_none_used(&s->v, PORT1_IN);
    device_set_resume(s->t.set);
    board_test_settle();
    g_assert_cmpuint(vt_used(&s->v, PORT1_IN, 1), ==, 14);
    device_set_quiesce(s->t.set);
    st_disconnect(s, 1);
    st_expect_none(s);
    device_set_resume(s->t.set);
    st_expect(s, 1, PORT_OPEN, 0);
}

static void test_save_and_load(gconstpointer user)
{
    const char *rows = ", \"packed\": true, \"in_order\": true";
    g_autoptr(SerialTest) a = st_new(rows);
    g_autoptr(SerialTest) b = st_new(rows);
    g_autoptr(GByteArray) got = g_byte_array_new();

    st_channel(a, 1, "");
    st_channel(b, 1, "");
    st_go(a, *(const guint64 *)user);
    st_up(a, 1);
    flood(a, PORT1_OUT);
    vt_none_used(&a->v, PORT1_OUT);
    st_move(a, b);
    board_test_ports(&b->t, " p1 open");
    g_assert_true(chardev_frontend_open(b->chardev[1]));
    while (st_peer_drain(a, 1, got) > 0)
        continue;
    st_expect(b, 1, PORT_OPEN, 0); /* the peer was A's; nobody listens here, so the rest goes nowhere */
    vt_used(&b->v, PORT1_OUT, 5);
    g_assert_cmpmem(got->data, got->len, flooded(a), got->len);
    st_connect(b, 1);
    st_expect(b, 1, PORT_OPEN, 1);
    st_send(b, 1, "here", 6);
    vt_used(&b->v, PORT1_OUT, 6);
    st_peer_reads(b, 1, "here");
}

/* With a peer at both ends each byte comes once. */
static void test_load_mid_chain(void)
{
    g_autoptr(SerialTest) a = st_new("");
    g_autoptr(SerialTest) b = st_new("");
    g_autoptr(GByteArray) got = g_byte_array_new();

    st_channel(a, 1, "");
    st_channel(b, 1, "");
    st_connect(b, 1);
    st_go(a, 0);
    st_up(a, 1);
    flood(a, PORT1_OUT);
    st_move(a, b);
    while (st_peer_drain(a, 1, got) > 0)
        continue;
    guint first = got->len;
    g_assert_cmpuint(first, >, 0);
    while (got->len < FLOOD)
        g_assert_cmpuint(st_peer_drain(b, 1, got), >, 0);
    g_assert_cmpmem(got->data, got->len, flooded(a), FLOOD);
    vt_used(&b->v, PORT1_OUT, 5);
}

static void refuse(SerialTest *s, GVariant *saved, const char *field, guint at, guint8 value, const char *message)
{
    g_autoptr(GError) error = NULL;
    guint8 bytes[64] = { 0 };
    g_auto(GVariantDict) dict = G_VARIANT_DICT_INIT(saved);

    bytes[at] = value;
    g_variant_dict_insert_value(&dict, field, g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, bytes, sizeof bytes, 1));
    g_autoptr(GVariant) state = g_variant_ref_sink(g_variant_dict_end(&dict));
    g_assert_false(device_load(device_set_find(s->t.set, NS_DEVICE, "hub"), state, &error));
    g_assert_cmpstr(error->message, ==, message);
}

static void test_load_checks(void)
{
    g_autoptr(SerialTest) s = st_new("");

    st_channel(s, 1, "");
    g_autoptr(GVariant) saved = device_save(device_set_find(s->t.set, NS_DEVICE, "hub"));
    refuse(s, saved, "flags", 1, 16, "State of device 'hub': port 1 has flags that are none");
    refuse(s, saved, "flags", 2, 1, "State of device 'hub': the guest knows a port 2, and there is none");
    refuse(s, saved, "pending", 1, 32, "State of device 'hub': port 1 has flags that are none");
    refuse(s, saved, "pending", 2, 8, "State of device 'hub': the guest knows a port 2, and there is none");
    refuse(s, saved, "pending", 5, 1, "State of device 'hub': port 5 has flags that are none");
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN); /* as the daemon has it */
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtio-serial/identity", test_identity);
    g_test_add_func("/virtio-serial/rows", test_rows);
    g_test_add_func("/virtio-serial/control/handshake", test_handshake);
    g_test_add_func("/virtio-serial/control/no-buffers", test_no_buffers);
    g_test_add_func("/virtio-serial/control/hostile", test_hostile_messages);
    g_test_add_func("/virtio-serial/needs-reset", test_needs_reset);
    for (guint i = 0; i < G_N_ELEMENTS(ring_features); i++) {
        g_autofree char *bytes = g_strdup_printf("/virtio-serial/bytes/%u", i);
        g_autofree char *save = g_strdup_printf("/virtio-serial/save-and-load/%u", i);
        g_test_add_data_func(bytes, &ring_features[i], test_bytes);
        g_test_add_data_func(save, &ring_features[i], test_save_and_load);
    }
    g_test_add_func("/virtio-serial/closed-port", test_closed_port_is_not_read);
    g_test_add_func("/virtio-serial/nobody", test_nobody);
    g_test_add_func("/virtio-serial/back-pressure", test_back_pressure);
    g_test_add_func("/virtio-serial/peer-goes", test_peer_goes);
    g_test_add_func("/virtio-serial/console-drops", test_console_drops);
    g_test_add_func("/virtio-serial/queue-reset", test_queue_reset);
    g_test_add_func("/virtio-serial/single-port", test_single_port);
    g_test_add_func("/virtio-serial/emergency-write", test_emergency_write);
    g_test_add_func("/virtio-serial/hot-plug", test_hot_plug);
    g_test_add_func("/virtio-serial/refusals", test_refusals);
    g_test_add_func("/virtio-serial/reset-at-each-step", test_reset_at_each_step);
    g_test_add_func("/virtio-serial/stop-and-cont", test_stop_and_cont);
    g_test_add_func("/virtio-serial/load-mid-chain", test_load_mid_chain);
    g_test_add_func("/virtio-serial/load-checks", test_load_checks);
    return g_test_run();
}

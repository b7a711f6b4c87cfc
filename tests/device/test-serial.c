/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-serial.c - the 16550A as a driver sees it (PC16550D data sheet), over a socket whose other end the test holds. Registers by
 * their offset; the interrupt is looked at on the pin.
 */
#include <sys/socket.h>
#include <sys/un.h>

#include "../../devices/backend/chardev-priv.h"
#include "../../schema/generated/devices.h"
#include "core-rig.h"

#define COM1 0x3f8
enum { RBR = COM1, IER, IIR, LCR, MCR, LSR, MSR, SCR };
#define THR RBR
#define FCR IIR

typedef struct {
    Rig    *rig;
    Device *dev, *chardev;
    int     peer; /* the test's end; -1: no chardev */
    char   *tmp;
} Port;

static guint8 in(Port *p, guint reg)
{
    return (guint8)rig_in(p->rig, reg, 1);
}

static void out(Port *p, guint reg, guint8 value)
{
    rig_out(p->rig, reg, 1, value);
}

static gboolean irq(Port *p)
{
    return irq_pin_level(p->rig->vm, 4);
}

static int connect_to(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(addr.sun_path, path, sizeof addr.sun_path);
    g_assert_cmpint(connect(fd, (struct sockaddr *)&addr, sizeof addr), ==, 0);
    return fd;
}

static Port *port_new(gboolean connected)
{
    Port *p = g_new0(Port, 1);

    p->rig = rig_new();
    p->peer = -1;
    p->tmp = rig_tmp_new();
    rig_plug(p->rig, "{\"driver\":\"board\"}");
    if (connected) {
        p->chardev = rig_plug(p->rig, "{\"chardev\":\"chardev-socket\",\"id\":\"c\",\"path\":\"%s/s\"}", p->tmp);
        g_autofree char *path = g_build_filename(p->tmp, "s", NULL);
        p->peer = connect_to(path);
        rig_settle();
    }
    p->dev = rig_plug(p->rig, "{\"driver\":\"isa-serial\",\"id\":\"com\"%s}", connected ? ",\"chardev\":\"c\"" : "");
    return p;
}

static void port_free(Port *p)
{
    auto_fd_close(p->peer);
    rig_free(p->rig);
    rig_tmp_remove(p->tmp);
    g_free(p);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Port, port_free)

/* The peer sends; the port takes what it has room for. */
static void send_text(Port *p, const char *text)
{
    g_assert_cmpint(write(p->peer, text, strlen(text)), ==, (gssize)strlen(text));
    rig_settle();
}

/* What arrived at the peer, up to 99 bytes. */
static char *received(Port *p)
{
    char buf[100] = "";
    ssize_t n;

    rig_settle();
    n = recv(p->peer, buf, sizeof buf - 1, MSG_DONTWAIT);
    return g_strndup(buf, n > 0 ? (gsize)n : 0);
}

#define ASSERT_RECEIVED(p, wanted)                     \
    G_STMT_START                                       \
    {                                                  \
        g_autofree char *text_ = received(p);          \
        g_assert_cmpstr(text_, ==, wanted);            \
    }                                                  \
    G_STMT_END

/* ---- registers ---- */

static void test_after_reset(void)
{
    g_autoptr(Port) p = port_new(FALSE);

    g_assert_cmphex(in(p, RBR), ==, 0);
    g_assert_cmphex(in(p, IER), ==, 0);
    g_assert_cmphex(in(p, IIR), ==, 1);
    g_assert_cmphex(in(p, LCR), ==, 0);
    g_assert_cmphex(in(p, LSR), ==, 0x60);
    g_assert_cmphex(in(p, MSR), ==, 0xb0);
    g_assert_cmphex(in(p, SCR), ==, 0);
    g_assert_false(irq(p));
}

static void test_registers(void)
{
    g_autoptr(Port) p = port_new(FALSE);

    out(p, SCR, 0x5a);
    g_assert_cmphex(in(p, SCR), ==, 0x5a);
    out(p, IER, 0xf0); /* reserved bits read as zero */
    g_assert_cmphex(in(p, IER), ==, 0);
    out(p, MCR, 0xe0);
    g_assert_cmphex(in(p, MCR), ==, 0);
    out(p, LCR, 0x83);
    out(p, RBR, 0x34);
    out(p, IER, 0x12);
    g_assert_cmphex(in(p, RBR), ==, 0x34);
    g_assert_cmphex(in(p, IER), ==, 0x12);
    out(p, LCR, 0x03);
    g_assert_cmphex(in(p, IER), ==, 0); /* the divisor was not it */
    g_assert_cmphex(in(p, LCR), ==, 0x03);
    out(p, LSR, 0xff); /* read-only */
    out(p, MSR, 0xff);
    g_assert_cmphex(in(p, LSR), ==, 0x60);
    g_assert_cmphex(in(p, MSR), ==, 0xb0);
    out(p, FCR, 0x01);
    g_assert_cmphex(in(p, IIR), ==, 0xc1); /* both bits: a 16550A, whose FIFOs work */
    out(p, FCR, 0x00);
    g_assert_cmphex(in(p, IIR), ==, 0x01);
}

static void test_access_sizes(void)
{
    g_autoptr(Port) p = port_new(FALSE);

    out(p, SCR, 0x77);
    rig_out(p->rig, LCR, 2, 0x1103); /* two bytes: LCR 3, MCR 0x11 */
    g_assert_cmphex(in(p, LCR), ==, 0x03);
    g_assert_cmphex(in(p, MCR), ==, 0x11);
    g_assert_cmphex(rig_in(p->rig, LCR, 2), ==, 0x1103);
    g_assert_cmphex(rig_in(p->rig, SCR, 2), ==, 0xff77); /* beyond the last register: nothing */
    g_assert_cmphex(rig_in(p->rig, LCR, 4) & 0xffff, ==, 0x1103);
    g_assert_cmphex(rig_in(p->rig, COM1 - 1, 2) & 0xff, ==, 0xff);
}

/* ---- receiver ---- */

static void test_receive_without_fifo(void)
{
    g_autoptr(Port) p = port_new(TRUE);

    out(p, IER, 1);
    send_text(p, "ab");
    g_assert_cmphex(in(p, LSR), ==, 0x61);
    g_assert_true(irq(p));
    g_assert_cmphex(in(p, IIR), ==, 0x04);
    g_assert_cmpint(in(p, RBR), ==, 'a');
    g_assert_false(irq(p));
    g_assert_cmphex(in(p, LSR), ==, 0x60); /* the second waits in the socket, not lost */
    rig_settle();
    g_assert_true(irq(p));
    g_assert_cmpint(in(p, RBR), ==, 'b');
    g_assert_cmpint(in(p, RBR), ==, 'b'); /* an empty receiver keeps the last byte */
}

static void test_triggers(void)
{
    static const guint levels[] = { 1, 4, 8, 14 };

    for (guint i = 0; i < G_N_ELEMENTS(levels); i++) {
        g_autoptr(Port) p = port_new(TRUE);
        out(p, FCR, (guint8)(i << 6 | 1));
        out(p, IER, 1);
        for (guint n = 1; n < levels[i]; n++) {
            send_text(p, "x");
            g_assert_false(irq(p));
            g_assert_cmphex(in(p, IIR), ==, 0xc1);
        }
        send_text(p, "x");
        g_assert_true(irq(p));
        g_assert_cmphex(in(p, IIR), ==, 0xc4);
        in(p, RBR);
        g_assert_false(irq(p)); /* below the level again */
    }
}

static void test_timeout(void)
{
    g_autoptr(Port) p = port_new(TRUE);
    /* 8N1 at divisor 12 (9600 baud): four characters of ten bits take 4.17 ms. */
    const gint64 characters = G_GINT64_CONSTANT(4160000), little = 20000;

    out(p, LCR, 3);
    out(p, FCR, 0x81);
    out(p, IER, 1);
    send_text(p, "xy");
    rig_clock_step(p->rig, characters);
    g_assert_false(irq(p));
    rig_clock_step(p->rig, little);
    g_assert_true(irq(p));
    g_assert_cmphex(in(p, IIR), ==, 0xcc);
    g_assert_cmphex(in(p, IIR), ==, 0xcc); /* reading IIR does not clear it */
    g_assert_cmpint(in(p, RBR), ==, 'x');  /* reading a byte does, and starts it anew */
    g_assert_false(irq(p));
    rig_clock_step(p->rig, characters + little);
    g_assert_true(irq(p));
    send_text(p, "z"); /* as does one that arrives */
    g_assert_false(irq(p));
    rig_clock_step(p->rig, characters + little);
    g_assert_cmphex(in(p, IIR), ==, 0xcc);
    send_text(p, "123456"); /* the level is reached: data available comes first */
    g_assert_cmphex(in(p, IIR), ==, 0xc4);
    out(p, FCR, 0x83);
    rig_clock_step(p->rig, 10 * characters);
    g_assert_cmphex(in(p, IIR), ==, 0xc1); /* nothing left that could time out */
}

static void test_input_flow_control(void)
{
    g_autoptr(Port) p = port_new(TRUE);
    g_autoptr(GString) got = g_string_new(NULL);
    g_autoptr(GString) sent = g_string_new(NULL);

    for (guint i = 0; i < 500; i++)
        g_string_append_c(sent, (char)('0' + i % 60));
    out(p, FCR, 0x01);
    send_text(p, sent->str);
    g_assert_cmpuint(rig_settle(), ==, 0); /* full: the main loop rests */
    while (got->len < sent->len) {
        g_assert_true(in(p, LSR) & 1);
        for (guint n = 1 + got->len % 16; n > 0 && (in(p, LSR) & 1); n--)
            g_string_append_c(got, (char)in(p, RBR));
        rig_settle();
    }
    g_assert_cmpstr(got->str, ==, sent->str);
    g_assert_cmphex(in(p, LSR), ==, 0x60); /* no overrun on the way */
}

static Chardev *chr(Port *p)
{
    return (Chardev *)p->chardev;
}

static void test_overrun_and_break(void)
{
    g_autoptr(Port) p = port_new(TRUE);

    out(p, IER, 4);
    chr(p)->fe->receive(chr(p)->fe_user, (const guint8 *)"ab", 2); /* more than can_receive() said */
    g_assert_true(irq(p));
    g_assert_cmphex(in(p, IIR), ==, 0x06);
    g_assert_cmphex(in(p, LSR), ==, 0x63);
    g_assert_cmphex(in(p, LSR), ==, 0x61); /* reading cleared the error */
    g_assert_false(irq(p));
    g_assert_cmpint(in(p, RBR), ==, 'b'); /* without FIFOs the newer overwrites */

    out(p, FCR, 0x01);
    for (guint i = 0; i < 17; i++)
        chr(p)->fe->receive(chr(p)->fe_user, (const guint8 *)"0123456789abcdefg" + i, 1);
    g_assert_cmphex(in(p, LSR), ==, 0x63);
    for (guint i = 0; i < 16; i++)
        g_assert_cmpint(in(p, RBR), ==, "0123456789abcdef"[i]); /* with them it is the newest that is lost */
    g_assert_cmphex(in(p, LSR), ==, 0x60);

    chr(p)->fe->break_received(chr(p)->fe_user);
    g_assert_cmphex(in(p, IIR), ==, 0xc6);
    g_assert_cmphex(in(p, LSR), ==, 0x71);
    g_assert_cmphex(in(p, LSR), ==, 0x61);
    g_assert_cmphex(in(p, RBR), ==, 0);
}

/* ---- transmitter ---- */

static void test_transmit(void)
{
    g_autoptr(Port) p = port_new(TRUE);

    for (const char *c = "hello"; *c; c++) {
        g_assert_cmphex(in(p, LSR), ==, 0x60);
        out(p, THR, (guint8)*c);
    }
    ASSERT_RECEIVED(p, "hello");
}

static void test_thre_latch(void)
{
    g_autoptr(Port) p = port_new(TRUE);

    out(p, IER, 2); /* enabled while empty: at once */
    g_assert_true(irq(p));
    g_assert_cmphex(in(p, IIR), ==, 0x02);
    g_assert_false(irq(p)); /* reading IIR cleared it */
    g_assert_cmphex(in(p, IIR), ==, 0x01);
    out(p, IER, 2); /* not newly enabled */
    g_assert_false(irq(p));
    out(p, THR, 'x'); /* empty again after every byte */
    g_assert_true(irq(p));
    out(p, IER, 0);
    g_assert_false(irq(p));
    out(p, IER, 2);
    g_assert_cmphex(in(p, IIR), ==, 0x02);
}

static void test_iir_priorities(void)
{
    g_autoptr(Port) p = port_new(TRUE);

    out(p, MCR, 0x10); /* loopback: modem lines fall, deltas set */
    out(p, MCR, 0x00);
    chr(p)->fe->receive(chr(p)->fe_user, (const guint8 *)"ab", 2);
    out(p, IER, 0x0f);
    g_assert_cmphex(in(p, IIR), ==, 0x06); /* line status */
    in(p, LSR);
    g_assert_cmphex(in(p, IIR), ==, 0x04); /* data */
    in(p, RBR);
    g_assert_cmphex(in(p, IIR), ==, 0x02); /* transmitter, cleared by this */
    g_assert_cmphex(in(p, IIR), ==, 0x00); /* modem status */
    g_assert_true(irq(p));
    in(p, MSR);
    g_assert_cmphex(in(p, IIR), ==, 0x01);
    g_assert_false(irq(p));
}

/* The peer does not read: bytes wait in the port, the guest is told, nothing is lost. */
static void test_back_pressure(void)
{
    g_autoptr(Port) p = port_new(TRUE);
    guint64 sent = 0, got = 0;
    guint8 buf[8192];

    out(p, FCR, 0x01);
    out(p, IER, 2);
    in(p, IIR);
    while (in(p, LSR) & 0x20) {
        out(p, THR, (guint8)sent++);
        g_assert_cmpuint(sent, <, 2000000); /* bounded */
    }
    g_assert_false(irq(p));
    for (guint i = 0; i < 15; i++) /* the FIFO has room for these, though THRE is clear */
        out(p, THR, (guint8)sent++);
    g_assert_cmphex(in(p, LSR), ==, 0x00);
    while (got < sent) {
        ssize_t n = recv(p->peer, buf, sizeof buf, MSG_DONTWAIT);
        rig_settle();
        for (ssize_t i = 0; i < n; i++)
            g_assert_cmphex(buf[i], ==, (guint8)got++);
    }
    g_assert_cmphex(in(p, LSR), ==, 0x60);
    g_assert_true(irq(p)); /* empty at last */
}

static void test_clear_transmitter(void)
{
    g_autoptr(Port) p = port_new(TRUE);

    out(p, FCR, 0x01);
    while (in(p, LSR) & 0x20)
        out(p, THR, 'x');
    out(p, FCR, 0x05);
    g_assert_cmphex(in(p, LSR), ==, 0x60);
    while (in(p, LSR) & 0x20)
        out(p, THR, 'x');
    out(p, FCR, 0x00); /* changing modes empties both */
    g_assert_cmphex(in(p, LSR), ==, 0x60);
}

static void test_overfull_transmitter(void)
{
    g_autoptr(Port) p = port_new(TRUE);

    while (in(p, LSR) & 0x20) /* without FIFOs */
        out(p, THR, 'x');
    for (guint i = 0; i < 100; i++)
        out(p, THR, 'y');
    g_assert_cmphex(in(p, LSR), ==, 0x00);
}

/* ---- loopback ---- */

static void test_loopback(void)
{
    g_autoptr(Port) p = port_new(TRUE);

    out(p, MCR, 0x10);
    in(p, MSR);
    out(p, THR, 'q');
    g_assert_cmphex(in(p, LSR), ==, 0x61);
    g_assert_cmpint(in(p, RBR), ==, 'q');
    ASSERT_RECEIVED(p, "");
    static const guint8 outputs[] = { 1, 2, 4, 8 }, inputs[] = { 0x20, 0x10, 0x40, 0x80 };
    for (guint i = 0; i < 4; i++) {
        out(p, MCR, 0x10 | outputs[i]);
        g_assert_cmphex(in(p, MSR) & 0xf0, ==, inputs[i]);
    }
    out(p, MCR, 0x14);
    in(p, MSR);
    out(p, MCR, 0x10);
    g_assert_cmphex(in(p, MSR), ==, 0x04); /* the ring indicator's trailing edge */
    out(p, MCR, 0x14);
    g_assert_cmphex(in(p, MSR), ==, 0x40); /* not its leading one */
    out(p, MCR, 0x13);
    g_assert_cmphex(in(p, MSR), ==, 0x37); /* CTS and DSR came, RI went */
    g_assert_cmphex(in(p, MSR), ==, 0x30);
}

static void test_input_after_loopback(void)
{
    g_autoptr(Port) p = port_new(TRUE);

    out(p, MCR, 0x10);
    send_text(p, "a");
    g_assert_cmphex(in(p, LSR), ==, 0x60); /* the line is cut */
    out(p, MCR, 0x00);
    rig_settle();
    g_assert_cmphex(in(p, LSR), ==, 0x61);
    g_assert_cmpint(in(p, RBR), ==, 'a');
}

static void test_loopback_over_waiting_bytes(void)
{
    g_autoptr(Port) p = port_new(TRUE);

    out(p, FCR, 0x01);
    while (in(p, LSR) & 0x20)
        out(p, THR, 'x');
    out(p, MCR, 0x10);
    out(p, THR, 'l');
    g_assert_cmphex(in(p, LSR), ==, 0x01); /* not empty: older bytes wait */
}

/* ---- saving ---- */

static GVariant *state_with(Port *p, const char *field, GVariant *value)
{
    g_autoptr(GVariant) saved = device_save(p->dev);
    g_auto(GVariantDict) dict = G_VARIANT_DICT_INIT(saved);

    g_variant_dict_insert_value(&dict, field, value);
    return g_variant_ref_sink(g_variant_dict_end(&dict));
}

static void test_save_and_load(void)
{
    g_autoptr(Port) p = port_new(TRUE), q = port_new(TRUE);

    out(p, LCR, 0x03);
    out(p, FCR, 0x81);
    out(p, IER, 0x03);
    in(p, IIR);
    while (in(p, LSR) & 0x20)
        out(p, THR, 'x');
    out(p, THR, 'y');
    send_text(p, "abc");
    g_autoptr(GVariant) saved = device_save(p->dev);
    g_assert_true(device_load(q->dev, saved, NULL));
    g_autoptr(GVariant) again = device_save(q->dev);
    g_assert_true(g_variant_equal(saved, again));
    g_assert_cmphex(in(q, LSR), ==, 0x01);
    rig_clock_step(q->rig, 5000000); /* the timeout runs on the other side too */
    g_assert_true(irq(q));
    g_assert_cmphex(in(q, IIR), ==, 0xcc);
    device_set_resume(q->rig->set); /* the waiting bytes go out by themselves */
    g_assert_cmphex(in(q, LSR), ==, 0x61);
    ASSERT_RECEIVED(q, "xy");
    for (const char *c = "abc"; *c; c++)
        g_assert_cmpint(in(q, RBR), ==, *c);
    send_text(q, "d");
    g_assert_cmpint(in(q, RBR), ==, 'd');
}

static void test_load_pending_interrupt(void)
{
    g_autoptr(Port) p = port_new(FALSE), q = port_new(FALSE);

    out(p, IER, 2);
    g_autoptr(GVariant) saved = device_save(p->dev);
    g_assert_true(device_load(q->dev, saved, NULL));
    g_assert_true(irq(q));
    g_assert_cmphex(in(q, IIR), ==, 0x02);
    g_autoptr(GVariant) idle = device_save(q->dev);
    g_assert_true(device_load(p->dev, idle, NULL));
    g_assert_false(irq(p)); /* and one that is gone falls */
}

static void test_load_refused(void)
{
    g_autoptr(Port) p = port_new(TRUE);
    static const struct {
        const char *field;
        guint8      value;
    } bad[] = { { "rx_len", 17 }, { "tx_len", 17 }, { "rx_len", 255 }, { "rx_len", 2 }, { "tx_len", 2 } }; /* 2: FIFOs are off */

    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GVariant) state = state_with(p, bad[i].field, g_variant_new_byte(bad[i].value));
        g_autoptr(GError) error = NULL;
        g_assert_false(device_load(p->dev, state, &error));
        g_assert_nonnull(strstr(error->message, "'com'"));
    }
    g_assert_cmphex(in(p, LSR), ==, 0x60);
}

/* ---- the device ---- */

static void test_reset(void)
{
    g_autoptr(Port) p = port_new(TRUE);

    out(p, FCR, 0x01);
    out(p, IER, 0x0f);
    send_text(p, "0123456789abcdefgh"); /* two more than fit */
    device_set_reset(p->rig->set, RESET_WARM);
    g_assert_false(irq(p));
    g_assert_cmphex(in(p, LSR), ==, 0x60);
    rig_settle(); /* the rest of the input comes in again */
    g_assert_cmpint(in(p, RBR), ==, 'g');
    rig_settle();
    g_assert_cmpint(in(p, RBR), ==, 'h');
}

static void test_resolution(void)
{
    g_autoptr(Rig) rig = rig_new();
    static const guint ports[] = { 0x3f8, 0x2f8, 0x3e8, 0x2e8 }, irqs[] = { 4, 3, 4, 3 };
    Device *com[4];

    rig_plug(rig, "{\"driver\":\"board\"}");
    for (guint i = 0; i < 4; i++) {
        com[i] = rig_plug(rig, "{\"driver\":\"isa-serial\"}");
        const IsaSerialConfig *c = DEVICE_CONFIG(com[i], IsaSerialConfig);
        g_assert_cmpuint(c->index, ==, i);
        g_assert_cmphex(c->iobase, ==, ports[i]);
        g_assert_cmpuint(c->irq, ==, irqs[i]);
        g_assert_cmpint(prop_bag_origin(com[i]->bag, "iobase"), ==, ORIGIN_DEFAULT);
    }
    rig_refuse(rig, "COM4 is taken", "{\"driver\":\"isa-serial\"}");
    rig_remove(com[1]);
    rig_refuse(rig, "'iobase'", "{\"driver\":\"isa-serial\",\"iobase\":1016}");
    rig_refuse(rig, "COM1 is taken", "{\"driver\":\"isa-serial\",\"index\":0}");
    rig_refuse(rig, "index", "{\"driver\":\"isa-serial\",\"index\":4}");
    rig_refuse(rig, "irq", "{\"driver\":\"isa-serial\",\"irq\":16}");
    Device *own = rig_plug(rig, "{\"driver\":\"isa-serial\",\"iobase\":4096,\"irq\":7}");
    g_assert_cmpuint(DEVICE_CONFIG(own, IsaSerialConfig)->index, ==, 1);
}

static void test_chardev_conflicts(void)
{
    g_autoptr(Port) p = port_new(TRUE);
    g_autoptr(GError) error = NULL;

    rig_refuse(p->rig, "'c' is in use", "{\"driver\":\"isa-serial\",\"chardev\":\"c\"}");
    rig_refuse(p->rig, "no chardev 'd'", "{\"driver\":\"isa-serial\",\"chardev\":\"d\"}");
    g_assert_false(device_remove(p->chardev, &error));
    g_assert_nonnull(strstr(error->message, "'com'"));
    rig_remove(p->dev);
    g_assert_cmphex(rig_in(p->rig, COM1, 1), ==, 0xff); /* nothing there */
    g_assert_false(chardev_frontend_open(p->chardev));
    p->dev = rig_plug(p->rig, "{\"driver\":\"isa-serial\",\"id\":\"com\",\"chardev\":\"c\"}");
    send_text(p, "z");
    g_assert_cmpint(in(p, RBR), ==, 'z'); /* the peer stayed */
}

/* A shared pin is up while one of its ports wants it. */
static void test_shared_irq(void)
{
    g_autoptr(Port) p = port_new(FALSE);

    rig_plug(p->rig, "{\"driver\":\"isa-serial\",\"index\":2}");
    out(p, IER, 2);
    rig_out(p->rig, 0x3e9, 1, 2);
    in(p, IIR);
    g_assert_true(irq(p));
    rig_in(p->rig, 0x3ea, 1);
    g_assert_false(irq(p));
}

/* A guest on another thread against input and back pressure on the main loop. */
static gpointer guest(gpointer user)
{
    Port *p = user;
    guint got = 0;

    iobus_thread_enter(p->rig->vm);
    while (got < 20000) {
        if (in(p, LSR) & 1) {
            guint8 byte = in(p, RBR);
            g_assert_cmphex(byte, ==, (guint8)got++);
            while (!(in(p, LSR) & 0x20))
                g_usleep(50);
            out(p, THR, byte);
        }
    }
    iobus_thread_leave(p->rig->vm);
    return NULL;
}

static void test_threads(void)
{
    g_autoptr(Port) p = port_new(TRUE);
    GThread *thread;
    guint sent = 0, got = 0;

    out(p, FCR, 0x01);
    thread = g_thread_new("guest", guest, p);
    while (got < 20000) {
        guint8 buf[64];
        guint n = MIN(sizeof buf, 20000 - sent);
        for (guint i = 0; i < n; i++)
            buf[i] = (guint8)(sent + i);
        ssize_t w = n ? send(p->peer, buf, n, MSG_DONTWAIT) : 0;
        sent += w > 0 ? (guint)w : 0;
        g_main_context_iteration(NULL, FALSE);
        ssize_t r = recv(p->peer, buf, sizeof buf, MSG_DONTWAIT);
        for (ssize_t i = 0; i < r; i++)
            g_assert_cmphex(buf[i], ==, (guint8)got++);
    }
    g_thread_join(thread);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/serial/after-reset", test_after_reset);
    g_test_add_func("/serial/registers", test_registers);
    g_test_add_func("/serial/access-sizes", test_access_sizes);
    g_test_add_func("/serial/receive-without-fifo", test_receive_without_fifo);
    g_test_add_func("/serial/triggers", test_triggers);
    g_test_add_func("/serial/timeout", test_timeout);
    g_test_add_func("/serial/input-flow-control", test_input_flow_control);
    g_test_add_func("/serial/overrun-and-break", test_overrun_and_break);
    g_test_add_func("/serial/transmit", test_transmit);
    g_test_add_func("/serial/thre-latch", test_thre_latch);
    g_test_add_func("/serial/iir-priorities", test_iir_priorities);
    g_test_add_func("/serial/back-pressure", test_back_pressure);
    g_test_add_func("/serial/clear-transmitter", test_clear_transmitter);
    g_test_add_func("/serial/overfull-transmitter", test_overfull_transmitter);
    g_test_add_func("/serial/loopback", test_loopback);
    g_test_add_func("/serial/input-after-loopback", test_input_after_loopback);
    g_test_add_func("/serial/loopback-over-waiting-bytes", test_loopback_over_waiting_bytes);
    g_test_add_func("/serial/save-and-load", test_save_and_load);
    g_test_add_func("/serial/load-pending-interrupt", test_load_pending_interrupt);
    g_test_add_func("/serial/load-refused", test_load_refused);
    g_test_add_func("/serial/reset", test_reset);
    g_test_add_func("/serial/resolution", test_resolution);
    g_test_add_func("/serial/chardev-conflicts", test_chardev_conflicts);
    g_test_add_func("/serial/shared-irq", test_shared_irq);
    g_test_add_func("/serial/threads", test_threads);
    return g_test_run();
}

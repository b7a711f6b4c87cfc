/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * serial-test.h - a machine with a virtio-serial device "hub" of three ports, its driver, and clients of the sockets behind its
 * ports. Port N is device "pN" on chardev "cN".
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "virtio-test.h"

#define SLOT 4
#define V1 F(F_VERSION_1)
#define MULTIPORT F(1)
#define EMERG_WRITE F(2)

enum { CONTROL_IN = 2, CONTROL_OUT, PORT1_IN, PORT1_OUT, PORT2_IN, PORT2_OUT };
enum { DEVICE_READY, PORT_ADD, PORT_REMOVE, PORT_READY, CONSOLE_PORT, RESIZE, PORT_OPEN, PORT_NAME };

/* Buffers: control messages from VT_DATA on, what is sent, what is received. */
#define CONTROL_AT(i) (VT_DATA + 64u * ((i) % 64))
#define SAY_AT (VT_DATA + 0x2000)
#define SEND_AT (VT_DATA + 0x3000)
#define IN_AT(i) (VT_DATA + 0x10000 + 128u * ((i) % 1024))

typedef struct {
    BoardTest  t;
    VirtioTest v;
    char      *tmp;
    Device    *chardev[3];
    int        peer[3]; /* -1: not connected */
    guint32    given, taken; /* control buffers */
    guint32    said;
} SerialTest;

static inline guint serial_q(guint nr)
{
    return nr ? 2 * nr + 2 : 0;
}

/* ---- the machine ---- */

static inline Device *st_plug(SerialTest *s, const char *members)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *json = g_strdup_printf("{\"driver\": %s}", members);
    Device *dev = board_test_plug(&s->t, json, &error);

    g_assert_no_error(error);
    return dev;
}

/* A socket at PATH, or nothing at all. */
static inline Device *st_chardev(SerialTest *s, const char *id, const char *path)
{
    g_autoptr(GError) error = NULL;
    PropBag *bag = prop_bag_new(prop_table_find(path ? "chardev-socket" : "chardev-null"));

    bag->id = g_strdup(id);
    if (path)
        prop_bag_set_s(bag, "path", path, ORIGIN_CONFIG);
    Device *dev = device_plug_realize(s->t.set, bag, &error);
    g_assert_no_error(error);
    device_plug_publish(dev);
    return dev;
}

static inline char *st_path(const SerialTest *s, guint nr)
{
    return g_strdup_printf("%s/%u", s->tmp, nr);
}

static inline SerialTest *st_new_ports(guint ports, const char *rows)
{
    SerialTest *s = g_new0(SerialTest, 1);
    g_autofree char *hub = g_strdup_printf("\"virtio-serial-pci\", \"id\": \"hub\", \"addr\": \"4\", \"vectors\": 9, \"max_ports\": %u%s",
                                           ports, rows);

    s->tmp = g_dir_make_tmp("serial-XXXXXX", NULL);
    s->peer[0] = s->peer[1] = s->peer[2] = -1;
    board_test_init(&s->t, BOARD_DEFAULT);
    board_test_ram(&s->t);
    st_plug(s, hub);
    st_chardev(s, "null", NULL);
    for (guint i = 0; i < 3; i++) {
        g_autofree char *path = st_path(s, i);
        g_autofree char *id = g_strdup_printf("c%u", i);
        s->chardev[i] = st_chardev(s, id, path);
    }
    board_test_power_on(&s->t);
    s->v = vt_open(&s->t, SLOT);
    return s;
}

static inline SerialTest *st_new(const char *rows)
{
    return st_new_ports(3, rows);
}

static inline void st_free(SerialTest *s)
{
    for (guint i = 0; i < 3; i++) {
        g_autofree char *path = st_path(s, i);
        if (s->peer[i] >= 0)
            close(s->peer[i]);
        g_unlink(path);
    }
    vt_close(&s->v);
    board_test_clear(&s->t);
    g_rmdir(s->tmp);
    g_free(s->tmp);
    g_free(s);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SerialTest, st_free)

static inline Device *st_channel(SerialTest *s, guint nr, const char *rows)
{
    g_autofree char *members = g_strdup_printf("\"virtserialport\", \"id\": \"p%u\", \"nr\": %u, \"chardev\": \"c%u\"%s", nr, nr, nr, rows);

    return st_plug(s, members);
}

static inline Device *st_console(SerialTest *s)
{
    return st_plug(s, "\"virtconsole\", \"id\": \"p0\", \"chardev\": \"c0\"");
}

static inline void st_unplug(Device *dev)
{
    g_autoptr(GError) error = NULL;

    device_remove(dev, &error);
    g_assert_no_error(error);
    board_test_settle();
}

/* ---- the clients ---- */

static inline void st_connect(SerialTest *s, guint nr)
{
    g_autofree char *path = st_path(s, nr);
    struct sockaddr_un addr = { .sun_family = AF_UNIX };

    g_strlcpy(addr.sun_path, path, sizeof addr.sun_path);
    s->peer[nr] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(connect(s->peer[nr], (struct sockaddr *)&addr, sizeof addr), ==, 0);
    fcntl(s->peer[nr], F_SETFL, O_NONBLOCK);
    board_test_settle();
}

static inline void st_disconnect(SerialTest *s, guint nr)
{
    close(s->peer[nr]);
    s->peer[nr] = -1;
    board_test_settle();
}

static inline void st_peer_say(SerialTest *s, guint nr, const char *text)
{
    g_assert_cmpint(write(s->peer[nr], text, strlen(text)), ==, (gssize)strlen(text));
    board_test_settle();
}

/* What is there now; bytes. */
static inline guint st_peer_drain(SerialTest *s, guint nr, GByteArray *into)
{
    guint8 buf[65536];
    ssize_t n;

    board_test_settle();
    n = read(s->peer[nr], buf, sizeof buf);
    g_byte_array_append(into, buf, n > 0 ? (guint)n : 0);
    board_test_settle();
    return n > 0 ? (guint)n : 0;
}

static inline void st_peer_reads(SerialTest *s, guint nr, const char *want)
{
    g_autoptr(GByteArray) got = g_byte_array_new();

    while (st_peer_drain(s, nr, got) > 0)
        continue;
    g_assert_cmpmem(got->data, got->len, want, strlen(want));
}

static inline void st_peer_discard(SerialTest *s, guint nr)
{
    g_autoptr(GByteArray) got = g_byte_array_new();

    while (st_peer_drain(s, nr, got) > 0)
        continue;
}

/* ---- the driver ---- */

static inline void st_irqs_on(SerialTest *s)
{
    for (guint i = 0; i < 8; i++) {
        if (s->v.has_q[i] && i != CONTROL_IN && i != CONTROL_OUT)
            drv_irq_on(&s->v.q[i]);
    }
    while (vm_test_take_msi(s->t.vm, &(guint64){ 0 }, &(guint32){ 0 }))
        continue; /* those of the control queues, and older ones */
}

static inline void st_give(SerialTest *s, guint n)
{
    for (guint i = 0; i < n; i++) {
        const DrvSeg seg = { CONTROL_AT(s->given), 64, TRUE };
        vt_send(&s->v, CONTROL_IN, &seg, 1, s->given++);
    }
}

static inline void st_go_without_buffers(SerialTest *s, guint64 features)
{
    g_assert_true(vt_negotiate(&s->v, features | V1 | MULTIPORT));
    vt_msix_start(&s->v, 8);
    for (guint i = 0; i < 8; i++)
        vt_queue(&s->v, i, i == PORT1_OUT ? 0 : 8, features);
    vt_driver_ok(&s->v);
    for (guint i = 0; i < 8; i++)
        drv_irq_off(&s->v.q[i]);
    st_irqs_on(s);
    s->given = s->taken = 0;
}

static inline void st_go(SerialTest *s, guint64 features)
{
    st_go_without_buffers(s, features);
    st_give(s, 6);
}

/* After a reset of the machine. */
static inline void st_reopen(SerialTest *s)
{
    vt_close(&s->v);
    s->v = vt_open(&s->t, SLOT);
}

static inline void st_say(SerialTest *s, guint32 id, guint16 event, guint16 value)
{
    const DrvSeg seg = { SAY_AT, 8, FALSE };
    guint8 *m = s->t.ram + SAY_AT;

    le32_put(m, id);
    le16_put(m + 4, event);
    le16_put(m + 6, value);
    vt_send(&s->v, CONTROL_OUT, &seg, 1, ++s->said);
    g_assert_cmpuint(vt_used(&s->v, CONTROL_OUT, s->said), ==, 0);
}

/* The next message; its buffer is given back. */
static inline void st_expect_bytes(SerialTest *s, guint32 id, guint16 event, guint16 value, const char *name)
{
    const guint8 *m = s->t.ram + CONTROL_AT(s->taken);

    board_test_settle();
    guint32 len = vt_used(&s->v, CONTROL_IN, s->taken++);
    g_assert_cmpuint(le32_get(m), ==, id);
    g_assert_cmpuint(le16_get(m + 4), ==, event);
    g_assert_cmpuint(le16_get(m + 6), ==, value);
    g_assert_cmpmem(m + 8, len - 8, name, strlen(name));
    st_give(s, 1);
}

static inline void st_expect(SerialTest *s, guint32 id, guint16 event, guint16 value)
{
    st_expect_bytes(s, id, event, value, "");
}

static inline void st_expect_name(SerialTest *s, guint32 id, const char *name)
{
    st_expect_bytes(s, id, PORT_NAME, 1, name);
}

static inline void st_expect_none(SerialTest *s)
{
    vt_none_used(&s->v, CONTROL_IN);
}

/* The port NR is connected and the guest has it open. */
static inline void st_up(SerialTest *s, guint nr)
{
    guint32 token, len;

    if (s->peer[nr] < 0)
        st_connect(s, nr);
    st_say(s, 0, DEVICE_READY, 1);
    while (drv_take(&s->v.q[CONTROL_IN], &token, &len))
        s->taken++, st_give(s, 1);
    st_say(s, nr, PORT_READY, 1);
    while (drv_take(&s->v.q[CONTROL_IN], &token, &len))
        s->taken++, st_give(s, 1);
    st_say(s, nr, PORT_OPEN, 1);
    g_string_truncate(s->t.ports, 0);
}

static inline void st_send(SerialTest *s, guint nr, const char *text, guint32 token)
{
    gsize n = strlen(text);
    const DrvSeg segs[2] = { { SEND_AT, 1, FALSE }, { SEND_AT + 1, (guint32)n - 1, FALSE } };

    memcpy(s->t.ram + SEND_AT, text, n);
    vt_send(&s->v, serial_q(nr) + 1, segs, 2, token);
}

static inline void st_offer(SerialTest *s, guint nr, guint32 len, guint32 token)
{
    const DrvSeg seg = { IN_AT(token), len, TRUE };

    vt_send(&s->v, serial_q(nr), &seg, 1, token);
}

/* Step I of a driver's way with port 1, which has a peer. */
static inline void st_step(SerialTest *s, guint i)
{
    switch (i) {
    case 0: st_say(s, 0, DEVICE_READY, 1); st_expect(s, 1, PORT_ADD, 1); break;
    case 1: st_say(s, 1, PORT_READY, 1); st_expect(s, 1, PORT_OPEN, 1); break;
    case 2: st_say(s, 1, PORT_OPEN, 1); break;
    case 3: st_offer(s, 1, 64, 1); break;
    case 4: st_peer_say(s, 1, "in"); g_assert_cmpuint(vt_used(&s->v, PORT1_IN, 1), ==, 2); break;
    default: st_send(s, 1, "out", 2); vt_used(&s->v, PORT1_OUT, 2);
    }
}

/* B goes on where A stands. */
static inline void st_move(SerialTest *a, SerialTest *b)
{
    g_autoptr(GError) error = NULL;
    Device *to = device_set_find(b->t.set, NS_DEVICE, "hub");

    device_set_quiesce(a->t.set);
    g_autoptr(GVariant) saved = device_save(device_set_find(a->t.set, NS_DEVICE, "hub"));
    memcpy(b->t.ram, a->t.ram, RAM_SIZE);
    device_set_reset(b->t.set, RESET_BEFORE_LOAD);
    device_load(to, saved, &error);
    g_assert_no_error(error);
    g_autoptr(GVariant) again = device_save(to);
    g_assert_true(g_variant_equal(saved, again));
    vt_close(&b->v);
    b->v = a->v;
    memset(a->v.has_q, 0, sizeof a->v.has_q);
    b->v.t = &b->t;
    for (guint i = 0; i < VT_MAX_QUEUES; i++)
        b->v.q[i].mem = b->t.ram;
    b->given = a->given;
    b->taken = a->taken;
    b->said = a->said;
    device_set_resume(b->t.set);
    board_test_settle();
}

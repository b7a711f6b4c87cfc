/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net-rig.h - a machine with a virtio network card on a netdev-tap, which is the real one or that of net-memory.h; the test
 * is the card's driver.
 */
#pragma once

#include <sched.h>

#include "../../devices/virtio/virtio-net-priv.h"
#include "virtio-test.h"

#define NET_SLOT 6
#define RIG_BUFFERS VT_DATA
#define RIG_SEND_AT (VT_DATA + 0x100000)

typedef struct {
    BoardTest      t;
    DeviceObserver observer;
    Netdev        *nd;
    Device        *dev;
    VirtioTest     v;
    guint          filter_changes;
    guint64        features;
} Rig;

static inline void rig_on_filter(gpointer user, Device *nic)
{
    g_assert_cmpstr(nic->id, ==, "n");
    ((Rig *)user)->filter_changes++;
}

static inline Device *rig_try(Rig *r, const char *id, guint slot, const char *more, GError **error)
{
    g_autofree char *json = g_strdup_printf("{\"driver\":\"virtio-net-pci\",\"id\":\"%s\",\"addr\":\"%u\",\"netdev\":\"b%u\"%s}", id, slot,
                                            slot, more);

    return board_test_plug(&r->t, json, error);
}

/* A card with more properties of back end and device. */
static inline void rig_start(Rig *r, const char *back_end, const char *device)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *json = g_strdup_printf("{\"qom-type\":\"netdev-tap\",\"id\":\"b%u\"%s}", NET_SLOT, back_end);

    memset(r, 0, sizeof *r);
    board_test_init_empty(&r->t);
    device_set_free(r->t.set);
    r->observer = board_test_observer;
    r->observer.rx_filter_changed = rig_on_filter;
    r->t.set = device_set_new(r->t.vm, &r->observer, r);
    board_test_plug(&r->t, BOARD_DEFAULT, &error);
    g_assert_no_error(error);
    board_test_ram(&r->t);
    r->nd = (Netdev *)board_test_object(&r->t, json);
    r->dev = rig_try(r, "n", NET_SLOT, device, &error);
    g_assert_no_error(error);
    board_test_power_on(&r->t);
    r->v = vt_open(&r->t, NET_SLOT);
}

static inline void rig_end(Rig *r)
{
    vt_close(&r->v);
    board_test_clear(&r->t);
}

/* A driver that accepts FEATURES and uses N queues of 64 entries. */
static inline void rig_go(Rig *r, guint64 features, guint n)
{
    r->features = features | F(F_VERSION_1);
    vt_msix_start(&r->v, n);
    g_assert_true(vt_negotiate(&r->v, r->features));
    vt_out(&r->v, C_CONFIG_VECTOR, n, 2);
    for (guint i = 0; i < n; i++)
        vt_queue(&r->v, i, 64, features);
    vt_driver_ok(&r->v);
}

/* Waits until COND holds, for 20 s. */
#define RIG_AWAIT(cond)                                                                        \
    for (gint64 until_ = g_get_monotonic_time() + 20 * G_TIME_SPAN_SECOND; !(cond);) {         \
        g_assert_cmpint(g_get_monotonic_time(), <, until_);                                    \
        board_test_settle();                                                                   \
        sched_yield();                                                                         \
    }

/* The next used chain of queue Q is TOKEN's. */
static inline guint32 rig_await(Rig *r, guint q, guint32 token)
{
    guint32 got = 0, len = 0;

    RIG_AWAIT(drv_take(&r->v.q[q], &got, &len));
    g_assert_cmphex(got, ==, token);
    return len;
}

/* ---- frames ---- */

static inline void rig_frame(guint8 *frame, gsize len, guint seed)
{
    static const guint8 head[14] = { 0x52, 0x54, 0, 1, 2, 3, 0x52, 0x54, 0, 9, 9, 9, 0x88, 0xb5 };

    for (gsize i = 0; i < len; i++)
        frame[i] = i < 14 ? head[i] : (guint8)(seed + i * 7 + (i >> 8));
}

/* Receive buffer TOKEN of LEN bytes at its place in guest memory. */
static inline guint8 *rig_buffer(Rig *r, guint token)
{
    return r->t.ram + RIG_BUFFERS + token * 4096;
}

static inline void rig_give(Rig *r, guint q, guint token, guint32 len)
{
    const DrvSeg seg = { RIG_BUFFERS + token * 4096, len, TRUE };

    memset(rig_buffer(r, token), 0xee, 4096);
    vt_send(&r->v, q, &seg, 1, token);
}

/* Sends LEN bytes that lie at RIG_SEND_AT behind a header, by queue Q. */
static inline void rig_send_frame(Rig *r, guint q, const guint8 *header, gsize len)
{
    const DrvSeg segs[2] = { { RIG_SEND_AT, NET_HEADER, FALSE }, { RIG_SEND_AT + 64, (guint32)len, FALSE } };

    memset(r->t.ram + RIG_SEND_AT, 0, NET_HEADER);
    if (header)
        memcpy(r->t.ram + RIG_SEND_AT, header, NET_HEADER);
    vt_send(&r->v, q, segs, len ? 2 : 1, 77);
    rig_await(r, q, 77);
}

/* A command of the control queue Q; its acknowledgement. */
static inline guint8 rig_ctrl(Rig *r, guint q, guint8 class, guint8 command, const void *data, guint32 len)
{
    guint8 *at = r->t.ram + RIG_SEND_AT + 0x10000;
    const DrvSeg segs[3] = { { RIG_SEND_AT + 0x10000, 2, FALSE }, { RIG_SEND_AT + 0x10002, len, FALSE }, { RIG_SEND_AT + 0x18000, 1, TRUE } };
    const DrvSeg none[2] = { segs[0], segs[2] };

    at[0] = class;
    at[1] = command;
    if (len)
        memcpy(at + 2, data, len);
    at[0x8000] = 0xee;
    vt_send(&r->v, q, len ? segs : none, len ? 3 : 2, 99);
    g_assert_cmpuint(rig_await(r, q, 99), ==, 1);
    return at[0x8000];
}

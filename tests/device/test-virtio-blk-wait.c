/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-virtio-blk-wait.c - requests of the virtio disk that wait: for the host after an error, for the right to reach memory.
 * They go with the machine when it is saved.
 */
#include "virtio-blk-rig.h"

/* ---- moving to another machine ---- */

/* B, a new disk, is what A was, whose driver goes on with B. */
static gboolean move(Disk *a, Disk *b, GVariant *saved, GError **error)
{
    memcpy(b->t.ram, a->t.ram, RAM_SIZE);
    device_set_reset(b->t.set, RESET_BEFORE_LOAD);
    if (!device_load(b->dev, saved, error))
        return FALSE;
    vt_close(&b->v);
    b->v = a->v;
    b->v.t = &b->t;
    for (guint i = 0; i < VT_MAX_QUEUES; i++)
        b->v.q[i].mem = b->t.ram;
    memset(a->v.has_q, 0, sizeof a->v.has_q);
    device_set_resume(b->t.set);
    return TRUE;
}

/* ---- without the right to reach memory ---- */

enum { MASTER_OFF = 2, MASTER_ON = 6 };

/* Takes what is used of DONE (bits); asserts that it is well. */
static void collect(Disk *d, guint64 *done)
{
    guint32 token, len;

    board_test_settle();
    while (drv_take(&d->v.q[0], &token, &len)) {
        g_assert_cmpuint(len, ==, token % 2 ? 1 : 4097);
        *done |= 1ull << token;
    }
}

/* Bus mastering goes off with requests at every stage: what was not given back by then waits until it is on again, or goes with a reset
 * of the device or the queue, or is done where the machine moved to. */
static void test_bus_master(void)
{
    enum { ON_AGAIN, DEVICE_RESET, QUEUE_RESET, MACHINE_RESET, MOVE, WAYS, N = 40 };

    for (guint how = 0; how < 2 * WAYS; how++) {
        gint64 until = g_get_monotonic_time() + 20 * G_TIME_SPAN_SECOND;
        guint64 done = 0, before;
        Disk d, b;
        disk_start(&d, how >= WAYS ? ",\"aio\":\"threads\"" : "", "");
        go(&d, F(B_FLUSH) | F(F_RESET), 1);
        for (guint i = 0; i < N; i++)
            ask_on(&d, 0, i % 2 ? T_OUT : T_IN, i * 8, 4096, BUF_AT + i * 4096, i);
        vt_cfg_out(&d.v, 4, MASTER_OFF, 2);
        collect(&d, &done);
        before = done;
        ask_on(&d, 0, T_IN, 0, 512, BUF_AT + N * 4096, N); /* is not even looked at */
        for (guint i = 0; i < 20; i++) {
            sched_yield();
            collect(&d, &done);
        }
        g_assert_cmphex(done, ==, before);
        if (how % WAYS == ON_AGAIN) {
            vt_cfg_out(&d.v, 4, MASTER_ON, 2);
        } else if (how % WAYS == MOVE) {
            g_autoptr(GError) error = NULL;
            disk_start(&b, "", "");
            device_set_quiesce(d.t.set);
            g_autoptr(GVariant) saved = device_save(d.dev);
            move(&d, &b, saved, &error);
            g_assert_no_error(error);
            vt_none_used(&b.v, 0);
            vt_cfg_out(&b.v, 4, MASTER_ON, 2);
        } else if (how % WAYS == MACHINE_RESET) {
            device_set_reset(d.t.set, RESET_WARM);
        } else {
            guint64 reg = how % WAYS == DEVICE_RESET ? C_STATUS : C_QUEUE_RESET;
            vt_out(&d.v, (guint)reg, reg == C_STATUS ? 0 : 1, reg == C_STATUS ? 1 : 2);
            while (vt_in(&d.v, (guint)reg, reg == C_STATUS ? 1 : 2) != 0) {
                board_test_settle();
                g_assert_cmpint(g_get_monotonic_time(), <, until);
            }
            collect(&d, &done);
            g_assert_cmphex(done, ==, before);
        }
        Disk *on = how % WAYS == MOVE ? &b : &d;
        while ((how % WAYS == ON_AGAIN || how % WAYS == MOVE) && done != (1ull << N) - 1) {
            guint32 token, len;
            board_test_settle();
            if (drv_take(&on->v.q[0], &token, &len) && token < N)
                done |= 1ull << token;
            g_assert_cmpint(g_get_monotonic_time(), <, until);
        }
        if (on == &b)
            disk_end(&b);
        disk_end(&d);
    }
}

/* ---- saved while requests wait ---- */

/* A write of 512 bytes of BYTE whose header is cut in two, the second half with the data behind it. */
static void write_split(Disk *d, guint q, guint64 sector, guint8 byte, guint32 token)
{
    guint64 at = VT_DATA + 0x100000 + token * 1024;
    DrvSeg segs[3] = { { at, 5, FALSE }, { at + 5, 11 + 512, FALSE }, { at + 1000, 1, TRUE } };

    le32_put(d->t.ram + at, T_OUT);
    le64_put(d->t.ram + at + 8, sector);
    memset(d->t.ram + at + 16, byte, 512);
    d->t.ram[at + 1000] = 0xee;
    vt_send(&d->v, q, segs, 3, token);
}

static guint8 status_of(Disk *d, guint32 token)
{
    return d->t.ram[VT_DATA + 0x100000 + token * 1024 + 1000];
}

static void start_parking(Disk *d, guint64 features)
{
    gint64 until = g_get_monotonic_time() + 20 * G_TIME_SPAN_SECOND;

    disk_start(d, ",\"aio\":\"threads\"", ",\"werror\":\"stop\",\"packed\":true,\"num-queues\":2");
    go(d, F(B_FLUSH) | F(B_MQ) | features, 2);
    limit_file_size(4096);
    for (guint i = 0; i < 6; i++) { /* two of three fail; what is done is given back before them */
        guint errors = d->errors;
        write_split(d, i % 2, i % 3 ? 100 + i : 4, (guint8)(0x90 + i), i);
        if (i % 3 == 0)
            await(d, i % 2, i);
        while (i % 3 && d->errors == errors) {
            board_test_settle();
            g_assert_cmpint(g_get_monotonic_time(), <, until);
        }
    }
    device_set_quiesce(d->t.set);
    limit_file_size(RLIM_INFINITY);
}

/* Requests that wait over a stop are part of what is saved, and done where it is loaded. */
static void test_parked_moves(void)
{
    static const guint64 features[] = { 0, F(F_PACKED), F(F_INDIRECT), F(F_PACKED) | F(F_EVENT_IDX) };
    g_autoptr(GError) error = NULL;

    for (guint i = 0; i < G_N_ELEMENTS(features); i++) {
        Disk a, b;
        guint32 token, len, done = 1 | 1 << 3;
        start_parking(&a, features[i]);
        vt_none_used(&a.v, 0);
        vt_none_used(&a.v, 1);
        disk_start(&b, "", ",\"werror\":\"stop\",\"packed\":true,\"num-queues\":2");
        g_autoptr(GVariant) saved = device_save(a.dev);
        move(&a, &b, saved, &error);
        g_assert_no_error(error);
        gint64 until = g_get_monotonic_time() + 20 * G_TIME_SPAN_SECOND;
        while (done != 0x3f) {
            if (drv_take(&b.v.q[0], &token, &len) || drv_take(&b.v.q[1], &token, &len)) {
                g_assert_cmpuint(len, ==, 1);
                g_assert_cmpuint(status_of(&b, token), ==, OK);
                g_assert_cmpuint(host_byte(&b, (100 + token) * 512 + 511), ==, 0x90 + token);
                done |= 1u << token;
            }
            g_assert_cmpint(g_get_monotonic_time(), <, until);
        }
        g_assert_cmpuint(ask(&b, T_IN, 101, 512), ==, OK); /* and the queues go on */
        g_assert_cmpuint(buf(&b)[0], ==, 0x91);
        disk_end(&b);
        disk_end(&a); /* in A they still wait */
    }
}

/* Saved requests are checked like a guest's: the form when they are loaded, the places when they are done. */
static void test_parked_checked(void)
{
    g_autoptr(GError) error = NULL;
    Disk a, b;

    start_parking(&a, 0);
    disk_start(&b, "", ",\"werror\":\"stop\",\"packed\":true,\"num-queues\":2");
    g_autoptr(GVariant) saved = device_save(a.dev);
    for (guint wrong = 0; wrong < 5; wrong++) {
        g_auto(GVariantDict) dict = G_VARIANT_DICT_INIT(saved);
        g_autoptr(GVariant) field = g_variant_dict_lookup_value(&dict, "parked", G_VARIANT_TYPE_BYTESTRING);
        gsize len;
        const guint8 *bytes = g_variant_get_fixed_array(field, &len, 1);
        g_autofree guint8 *copy = g_memdup2(bytes, len);
        g_assert_cmpuint(len, ==, 4 * (2 + 12 + 3 * 12));
        if (wrong == 0)
            le16_put(copy, 2); /* a queue that is none */
        else if (wrong == 1)
            le32_put(copy + 6, 0xffffffff); /* segments */
        else if (wrong == 2)
            len--;
        else if (wrong == 3)
            le64_put(copy + 14, 0xb0000000); /* no RAM */
        else
            le16_put(copy + 2, 0x7fff); /* a descriptor that is none */
        g_variant_dict_insert_value(&dict, "parked", g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, copy, len, 1));
        g_autoptr(GVariant) state = g_variant_ref_sink(g_variant_dict_end(&dict));
        g_assert_true(move(&a, &b, state, &error) == (wrong > 2));
        if (wrong <= 2) {
            g_assert_nonnull(strstr(error->message, "State of device 'd': field 'parked' has no request"));
            g_clear_error(&error);
        } else {
            g_assert_cmpuint(vt_status(&b.v) & S_NEEDS_RESET, !=, 0);
        }
    }
    disk_end(&b);
    disk_end(&a);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    signal(SIGXFSZ, SIG_IGN);
    g_test_add_func("/virtio-blk-wait/parked-moves", test_parked_moves);
    g_test_add_func("/virtio-blk-wait/parked-checked", test_parked_checked);
    g_test_add_func("/virtio-blk-wait/bus-master", test_bus_master);
    return g_test_run();
}

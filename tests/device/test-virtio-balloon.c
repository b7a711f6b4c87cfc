/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virtio-balloon-pci: memory that is given back and what is left alone, wishes and truth, statistics, hints and reports. */
#include "balloon-test.h"

#define PAGE 4096u
#define PFN(gpa, n) ((guint32)((gpa) / PAGE) + (n))

/* Which pages of MEM are empty, one bit each; the others are as they were. */
static guint32 empty(const guint8 *mem)
{
    guint32 bits = 0;

    for (guint i = 0; i < BT_SIZE / PAGE; i++) {
        const guint8 *p = mem + i * PAGE;
        g_assert_true(*p == 0 || *p == 0xaa);
        g_assert_cmpint(memcmp(p, p + 1, PAGE - 1), ==, 0);
        bits |= (guint32)(*p == 0) << i;
    }
    return bits;
}

static void test_identity(void)
{
    g_autoptr(BalloonTest) b = bt_new("");
    g_autoptr(BalloonTest) all = bt_new(ALL_ROWS);
    g_autoptr(BalloonTest) bare = bt_new(", \"page-poison\": false");

    g_assert_cmphex(vt_cfg_in(&b->v, 0, 4), ==, 0x10451af4);
    g_assert_cmphex(vt_cfg_in(&b->v, 8, 4), ==, 0x00ff0001);
    g_assert_cmphex(vt_features(&b->v), ==, V1 | F(F_INDIRECT) | F(F_EVENT_IDX) | F(F_RESET) | F(B_STATS) | F(B_POISON));
    g_assert_cmpuint(vt_in(&b->v, C_NUM_QUEUES, 2), ==, 3);
    g_assert_cmpuint(b->v.device_len, ==, 16);
    g_assert_cmphex(vt_features(&all->v) & 0xff, ==, F(B_STATS) | F(B_OOM) | F(B_HINT) | F(B_POISON) | F(B_REPORTING));
    g_assert_cmpuint(vt_in(&all->v, C_NUM_QUEUES, 2), ==, 5);
    g_assert_cmpuint(bare->v.device_len, ==, 8);
    g_assert_cmphex(vt_features(&bare->v) & 0xff, ==, F(B_STATS));
}

/* ---- pages ---- */

static const guint64 ring_features[] = { 0, F(F_EVENT_IDX) | F(F_INDIRECT), F(F_PACKED), F(F_PACKED) | F(F_EVENT_IDX) | F(F_IN_ORDER) };

static void test_inflate(gconstpointer user)
{
    const guint32 mixed[] = { PFN(BT_PRIVATE, 3), PFN(BT_SHARED, 15), PFN(BT_PRIVATE, 1), PFN(BT_PRIVATE, 2), PFN(BT_SHARED, 0), PFN(BT_PRIVATE, 1) };
    g_autoptr(BalloonTest) b = bt_new(ALL_ROWS);

    bt_go(b, *(const guint64 *)user | F(B_STATS));
    bt_pages(b, Q_INFLATE, mixed, 6);
    g_assert_cmphex(empty(b->private_mem), ==, 0x000e);
    g_assert_cmphex(empty(b->shared_mem), ==, 0x8001);
    bt_pages(b, Q_DEFLATE, mixed, 6);
    memset(b->private_mem + PAGE, 0xaa, PAGE);
    memset(b->shared_mem, 0xaa, PAGE);
    for (guint i = 0; i < 20; i++) { /* the ring wraps */
        const guint32 one = PFN(BT_PRIVATE, i % 16);
        bt_pages(b, Q_INFLATE, &one, 1);
        bt_pages(b, Q_DEFLATE, &one, 1);
    }
    g_assert_cmphex(empty(b->private_mem), ==, 0xffff);
    g_assert_cmphex(empty(b->shared_mem), ==, 0x8000);
}

/* What is no RAM, or none of an object, or half of it. */
static void test_wrong_pages(void)
{
    const guint32 wrong[] = { PFN(0, 1), PFN(VT_DATA, 0), PFN(RAM_SIZE, 0), 0xffffffff, 0xb0000, PFN(BT_PRIVATE, 16), PFN(BT_PRIVATE, 0xfffff),
                              PFN(BT_SHARED, 15), PFN(BT_SHARED, 16) };
    g_autoptr(BalloonTest) b = bt_new("");

    memset(b->t.ram + PAGE, 0x55, PAGE);
    bt_go(b, 0);
    bt_pages(b, Q_INFLATE, wrong, G_N_ELEMENTS(wrong));
    g_assert_cmphex(b->t.ram[PAGE], ==, 0x55);
    g_assert_cmphex(empty(b->private_mem), ==, 0);
    g_assert_cmphex(empty(b->shared_mem), ==, 0x8000);
    g_assert_cmphex(vt_status(&b->v) & S_NEEDS_RESET, ==, 0);
}

static void test_needs_reset(void)
{
    static const struct {
        guint  queue;
        DrvSeg seg;
    } bad[] = {
        { Q_INFLATE, { VT_DATA, 64, TRUE } },     { Q_INFLATE, { VT_DATA, 65540, FALSE } }, { Q_DEFLATE, { VT_DATA, 4, TRUE } },
        { Q_STATS, { VT_DATA, 10, TRUE } },       { Q_HINT, { VT_DATA, 3, FALSE } },        { Q_HINT, { VT_DATA, 8, FALSE } },
        { Q_REPORT, { VT_DATA, 4096, FALSE } },   { Q_REPORT, { RAM_SIZE, 4096, TRUE } },   { Q_INFLATE, { RAM_SIZE - 4, 8, FALSE } },
    };
    g_autoptr(BalloonTest) b = bt_new(ALL_ROWS);
    guint32 token, len;

    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        bt_go(b, F(B_STATS) | F(B_HINT) | F(B_REPORTING));
        g_assert_cmphex(vt_status(&b->v) & S_NEEDS_RESET, ==, 0);
        vt_send(&b->v, bad[i].queue, &bad[i].seg, 1, 1);
        g_assert_cmphex(vt_status(&b->v) & S_NEEDS_RESET, ==, S_NEEDS_RESET);
        g_assert_false(drv_take(&b->v.q[bad[i].queue], &token, &len));
    }
}

static void report(BalloonTest *b, guint q)
{
    const DrvSeg segs[] = { { BT_PRIVATE + 4 * PAGE, 2 * PAGE, TRUE }, { BT_SHARED + PAGE - 8, 2 * PAGE, TRUE }, { BT_PRIVATE + 64, 100, TRUE } };

    vt_send(&b->v, q, segs, 3, 3);
    vt_used(&b->v, q, 3);
}

static void test_reporting(void)
{
    g_autoptr(BalloonTest) b = bt_new(ALL_ROWS);

    bt_go(b, F(B_STATS) | F(B_HINT) | F(B_REPORTING) | F(B_POISON));
    mem_out(&b->t, b->v.device + 12, 0xaaaaaaaa, 4);
    g_assert_cmphex(mem_in(&b->t, b->v.device + 12, 4), ==, 0xaaaaaaaa);
    report(b, Q_REPORT); /* the guest wants its poison back: nothing is taken */
    g_assert_cmphex(empty(b->private_mem) | empty(b->shared_mem), ==, 0);
    mem_out(&b->t, b->v.device + 12, 0, 4);
    report(b, Q_REPORT);
    g_assert_cmphex(empty(b->private_mem), ==, 0x30);
    g_assert_cmphex(empty(b->shared_mem), ==, 0x2); /* whole pages only */
    bt_go(b, F(B_REPORTING)); /* a driver that takes this feature alone: the queue behind the first two */
    mem_out(&b->t, b->v.device + 12, 1, 4); /* not negotiated */
    g_assert_cmphex(mem_in(&b->t, b->v.device + 12, 4), ==, 0);
    memset(b->private_mem, 0xaa, BT_SIZE);
    report(b, 2);
    g_assert_cmphex(empty(b->private_mem), ==, 0x30);
}

/* ---- wish and truth ---- */

static void test_target(void)
{
    g_autoptr(BalloonTest) b = bt_new("");

    g_assert_true(virtio_balloon_find(b->t.set) == b->dev);
    virtio_balloon_set_target(b->dev, DIMM_SIZE / 4); /* before there is a driver */
    g_assert_cmpuint(mem_in(&b->t, b->v.device, 4), ==, DIMM_SIZE / 4 * 3 / PAGE);
    bt_go(b, 0);
    virtio_balloon_set_target(b->dev, DIMM_SIZE - 5 * PAGE);
    vt_expect_msi(&b->v, 2);
    g_assert_cmpuint(mem_in(&b->t, b->v.device, 4), ==, 5);
    virtio_balloon_set_target(b->dev, DIMM_SIZE - 5 * PAGE); /* no news */
    vt_expect_no_msi(&b->v);
    g_assert_cmpuint(virtio_balloon_actual(b->dev), ==, DIMM_SIZE);
    bt_actual(b, 3);
    g_assert_cmpuint(b->t.balloon_changes, ==, 1);
    g_assert_cmpuint(b->t.balloon, ==, DIMM_SIZE - 3 * PAGE);
    g_assert_cmpuint(virtio_balloon_actual(b->dev), ==, DIMM_SIZE - 3 * PAGE);
    bt_actual(b, 0xffffffff); /* more than there is */
    g_assert_cmpuint(virtio_balloon_actual(b->dev), ==, 0);
    mem_out(&b->t, b->v.device, 7, 4); /* the host's */
    g_assert_cmpuint(mem_in(&b->t, b->v.device, 4), ==, 5);
    vt_out(&b->v, C_STATUS, 0, 1); /* a new driver has all memory, and the wish stays */
    board_test_settle();
    g_assert_cmpuint(b->t.balloon, ==, DIMM_SIZE);
    g_assert_cmpuint(mem_in(&b->t, b->v.device, 4), ==, 5);
    virtio_balloon_set_target(b->dev, G_MAXINT64);
    g_assert_cmpuint(mem_in(&b->t, b->v.device, 4), ==, 0);
}

/* ---- statistics ---- */

static void set_interval(BalloonTest *b, guint seconds)
{
    prop_bag_set_u(b->dev->bag, "guest-stats-polling-interval", seconds, ORIGIN_CONFIG);
    LOCK_SCOPE(&b->dev->lock);
    b->dev->type->ops->row_changed(b->dev, 0);
}

static void expect_stats(BalloonTest *b, const char *part)
{
    g_autofree char *json = b->dev->type->ops->readout(b->dev, "guest-stats");

    g_assert_nonnull(strstr(json, part));
}

static void answer(BalloonTest *b, guint64 free_memory, guint32 token)
{
    const DrvSeg seg = { VT_DATA, 20, FALSE };
    guint8 *s = b->t.ram + VT_DATA;

    le16_put(s, 4);
    le64_put(s + 2, free_memory);
    le16_put(s + 10, 77); /* of a tag that we do not know */
    le64_put(s + 12, 1);
    vt_send(&b->v, Q_STATS, &seg, 1, token);
}

static void test_stats(void)
{
    g_autoptr(BalloonTest) b = bt_new("");

    expect_stats(b, "\"stat-free-memory\":18446744073709551615");
    expect_stats(b, "\"last-update\":0}");
    bt_go(b, F(B_STATS));
    answer(b, 1000, 1);
    expect_stats(b, "\"stat-free-memory\":1000,\"stat-total-memory\":18446744073709551615");
    step(&b->t, 100 * NS_PER_S);
    vt_none_used(&b->v, Q_STATS); /* nobody asks */
    set_interval(b, 2);
    for (guint32 i = 1; i < 20; i++) { /* the ring wraps */
        step(&b->t, 2 * NS_PER_S - 1);
        vt_none_used(&b->v, Q_STATS);
        step(&b->t, 1);
        g_assert_cmpuint(vt_used(&b->v, Q_STATS, i), ==, 0);
        step(&b->t, 2 * NS_PER_S); /* no answer yet: nothing to ask with */
        vt_none_used(&b->v, Q_STATS);
        g_autofree char *want = g_strdup_printf("\"stat-free-memory\":%u,", 5000 + i);
        answer(b, 5000 + i, i + 1);
        expect_stats(b, want);
        set_interval(b, 2);
    }
    set_interval(b, 0);
    step(&b->t, 100 * NS_PER_S);
    vt_none_used(&b->v, Q_STATS);
    vt_out(&b->v, C_STATUS, 0, 1);
    expect_stats(b, "\"stat-free-memory\":18446744073709551615");
}

/* ---- hints ---- */

static void hint_id(BalloonTest *b, guint32 id)
{
    bt_pages(b, Q_HINT, &id, 1);
}

static void hint_free(BalloonTest *b)
{
    const DrvSeg seg = { BT_PRIVATE, 2 * PAGE, TRUE };

    vt_send(&b->v, Q_HINT, &seg, 1, 2);
    vt_used(&b->v, Q_HINT, 2);
}

static void test_hints(void)
{
    g_autoptr(BalloonTest) b = bt_new(ALL_ROWS);

    g_assert_cmpuint(virtio_balloon_hint_start(b->dev), ==, 0); /* no driver */
    bt_go(b, F(B_STATS));
    g_assert_cmpuint(virtio_balloon_hint_start(b->dev), ==, 0); /* one that does not do it */
    bt_go(b, F(B_STATS) | F(B_HINT));
    for (guint32 round = 2; round < 5; round++) {
        g_assert_cmpuint(virtio_balloon_hint_start(b->dev), ==, round);
        vt_expect_msi(&b->v, 4);
        g_assert_cmpuint(mem_in(&b->t, b->v.device + 8, 4), ==, round);
        hint_free(b); /* before it has answered */
        hint_id(b, round - 1); /* late */
        hint_free(b);
        g_assert_cmpuint(virtio_balloon_hinted(b->dev), ==, 0);
        hint_id(b, round);
        hint_free(b);
        hint_free(b);
        g_assert_cmpuint(virtio_balloon_hinted(b->dev), ==, 4 * PAGE);
        hint_id(b, 0);
        hint_free(b);
        g_assert_cmpuint(virtio_balloon_hinted(b->dev), ==, 4 * PAGE);
        virtio_balloon_hint_stop(b->dev);
        g_assert_cmpuint(mem_in(&b->t, b->v.device + 8, 4), ==, 0);
        virtio_balloon_hint_done(b->dev);
        g_assert_cmpuint(mem_in(&b->t, b->v.device + 8, 4), ==, 1);
        while (vm_test_take_msi(b->t.vm, &(guint64){ 0 }, &(guint32){ 0 }))
            continue;
    }
    g_assert_cmphex(empty(b->private_mem), ==, 0); /* a hint takes nothing */
}

/* ---- saving, resets, plugging ---- */

static void test_save_and_load(gconstpointer user)
{
    g_autoptr(BalloonTest) a = bt_new(ALL_ROWS);
    g_autoptr(BalloonTest) b = bt_new(ALL_ROWS);
    g_autoptr(GError) error = NULL;
    const guint32 one = PFN(BT_PRIVATE, 2);

    bt_go(a, *(const guint64 *)user | F(B_STATS) | F(B_HINT) | F(B_REPORTING) | F(B_POISON));
    virtio_balloon_set_target(a->dev, DIMM_SIZE / 2);
    bt_actual(a, 9);
    answer(a, 4, 1); /* lies in the ring */
    virtio_balloon_hint_start(a->dev);
    device_set_quiesce(a->t.set);
    g_autoptr(GVariant) saved = device_save(a->dev);
    memcpy(b->t.ram, a->t.ram, RAM_SIZE);
    device_set_reset(b->t.set, RESET_BEFORE_LOAD);
    device_load(b->dev, saved, &error);
    g_assert_no_error(error);
    g_autoptr(GVariant) again = device_save(b->dev);
    g_assert_true(g_variant_equal(saved, again));
    device_set_resume(b->t.set);
    board_test_settle();
    g_assert_cmpuint(b->t.balloon, ==, DIMM_SIZE - 9 * PAGE);
    expect_stats(b, "\"stat-free-memory\":4,"); /* read again from the ring */
    VirtioTest v = a->v;
    memset(a->v.has_q, 0, sizeof a->v.has_q);
    vt_close(&b->v);
    b->v = v;
    b->v.t = &b->t;
    for (guint i = 0; i < 5; i++)
        b->v.q[i].mem = b->t.ram;
    bt_pages(b, Q_INFLATE, &one, 1);
    g_assert_cmphex(empty(b->private_mem), ==, 4);
    hint_id(b, 2);
    hint_free(b);
    g_assert_cmpuint(virtio_balloon_hinted(b->dev), ==, 2 * PAGE);
    set_interval(b, 1);
    step(&b->t, NS_PER_S);
    vt_used(&b->v, Q_STATS, 1);
}

static void test_reset_at_each_step(void)
{
    const guint32 one = PFN(BT_PRIVATE, 0);
    g_autoptr(BalloonTest) b = bt_new(ALL_ROWS);

    set_interval(b, 1);
    for (guint steps = 0; steps < 12; steps++) {
        bt_go(b, F(B_STATS) | F(B_HINT) | F(B_REPORTING));
        if (steps % 6 > 0)
            answer(b, 1, 1);
        if (steps % 6 > 1)
            bt_pages(b, Q_INFLATE, &one, 1);
        if (steps % 6 > 2)
            bt_actual(b, 1);
        if (steps % 6 > 3)
            virtio_balloon_hint_start(b->dev);
        if (steps % 6 > 4)
            step(&b->t, NS_PER_S);
        if (steps < 6) {
            vt_out(&b->v, C_STATUS, 0, 1);
        } else {
            device_set_quiesce(b->t.set);
            device_set_reset(b->t.set, RESET_WARM);
            device_set_resume(b->t.set);
            b->v = (vt_close(&b->v), vt_open(&b->t, SLOT));
        }
        board_test_settle();
        g_assert_cmpuint(virtio_balloon_actual(b->dev), ==, DIMM_SIZE);
        g_assert_cmpuint(mem_in(&b->t, b->v.device + 8, 4), ==, 0);
        step(&b->t, 3 * NS_PER_S); /* the timer finds nobody */
    }
}

static void test_plug(void)
{
    g_autoptr(BalloonTest) b = bt_new("");
    g_autoptr(GError) error = NULL;

    bt_go(b, F(B_STATS));
    answer(b, 1, 1);
    set_interval(b, 1);
    bt_actual(b, 1);
    g_assert_null(board_test_plug(&b->t, "{\"driver\": \"virtio-balloon-pci\", \"id\": \"c\"}", &error));
    g_assert_cmpstr(error->message, ==, "Device type 'virtio-balloon-pci' can be plugged once, and there is one already");
    g_assert_true(device_remove(b->dev, NULL));
    g_assert_null(virtio_balloon_find(b->t.set));
    step(&b->t, 10 * NS_PER_S);
    board_test_settle();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtio-balloon/identity", test_identity);
    for (guint i = 0; i < G_N_ELEMENTS(ring_features); i++) {
        g_autofree char *inflate = g_strdup_printf("/virtio-balloon/inflate/%u", i);
        g_autofree char *save = g_strdup_printf("/virtio-balloon/save-and-load/%u", i);
        g_test_add_data_func(inflate, &ring_features[i], test_inflate);
        g_test_add_data_func(save, &ring_features[i], test_save_and_load);
    }
    g_test_add_func("/virtio-balloon/wrong-pages", test_wrong_pages);
    g_test_add_func("/virtio-balloon/needs-reset", test_needs_reset);
    g_test_add_func("/virtio-balloon/reporting", test_reporting);
    g_test_add_func("/virtio-balloon/target", test_target);
    g_test_add_func("/virtio-balloon/stats", test_stats);
    g_test_add_func("/virtio-balloon/hints", test_hints);
    g_test_add_func("/virtio-balloon/reset-at-each-step", test_reset_at_each_step);
    g_test_add_func("/virtio-balloon/plug", test_plug);
    return g_test_run();
}

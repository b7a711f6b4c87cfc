/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz-virtio-balloon.c - libFuzzer target: a hostile driver of the memory balloon. Chains of any kind come through its queues, with
 * lists, statistics, hints and reports as the input says, rings are written while they are in use, and the manager wishes, asks and
 * resets in between. Whatever it did: no byte outside the memory that can be given back changes by the device, what is saved loads
 * into another machine and saves alike, and after a reset a well-behaved driver is heard.
 *
 * The first byte chooses features. An operation is eight bytes: kind, argument, offset (two), value (four).
 */
#include "../device/balloon-test.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

#define KEPT (RAM_SIZE - 4096) /* never named by a buffer that is written */

static void up(BalloonTest *b, guint8 what)
{
    guint64 f = ((what & 1) ? F(F_PACKED) : 0) | ((what & 2) ? F(F_EVENT_IDX) : 0) | ((what & 4) ? F(F_INDIRECT) : 0) |
                ((what & 8) ? 0 : F(B_STATS)) | ((what & 16) ? 0 : F(B_HINT)) | ((what & 32) ? 0 : F(B_REPORTING)) |
                ((what & 64) ? F(B_POISON) : 0) | F(F_RESET);

    bt_go(b, f);
}

/* One buffer of lists and the like, or of what is to be given back. */
static void chain(BalloonTest *b, guint8 what, guint16 at, guint32 value)
{
    static const guint64 bases[] = { VT_DATA, BT_PRIVATE, BT_SHARED, VT_DATA };
    DrvSeg seg = { bases[what >> 6] + at, value % 0x12000, (what & 8) != 0 };
    guint q = what % 8;

    if (q < VT_MAX_QUEUES && b->v.has_q[q] && drv_add(&b->v.q[q], &seg, 1, FALSE, 1))
        vt_kick(&b->v, q);
}

static void manager(BalloonTest *b, guint8 what, guint32 value)
{
    switch (what % 5) {
    case 0: virtio_balloon_set_target(b->dev, (guint64)value << 8); break;
    case 1: virtio_balloon_hint_start(b->dev); break;
    case 2: virtio_balloon_hint_stop(b->dev); break;
    case 3: virtio_balloon_hint_done(b->dev); break;
    default: g_free(b->dev->type->ops->readout(b->dev, "guest-stats"));
    }
}

static void stop_or_reset(BalloonTest *b, guint32 value)
{
    device_set_quiesce(b->t.set);
    if (value & 1)
        device_set_reset(b->t.set, RESET_WARM);
    device_set_resume(b->t.set);
    if (value & 1)
        b->v = (vt_close(&b->v), vt_open(&b->t, SLOT));
}

static void one(BalloonTest *b, const guint8 op[8])
{
    guint16 at = le16_get(op + 2);
    guint32 value = le32_get(op + 4);

    switch (op[0] % 10) {
    case 0:
    case 1: chain(b, op[1], at, value); break;
    case 2: le32_put(b->t.ram + VT_RINGS + at % 0x8000, value); break;
    case 3: le32_put(b->t.ram + VT_DATA + at, value); break;
    case 4: manager(b, op[1], value); break;
    case 5: stop_or_reset(b, value); break;
    case 6: up(b, op[1]); break;
    case 7: mem_out(&b->t, b->v.device + at % 20, value, 1u << op[1] % 4); break;
    case 8: step(&b->t, value % 3000000000u); break;
    default: board_test_settle();
    }
}

static void check_move(BalloonTest *a)
{
    g_autoptr(BalloonTest) b = bt_new(ALL_ROWS);
    g_autoptr(GError) error = NULL;

    device_set_quiesce(a->t.set);
    memcpy(b->t.ram, a->t.ram, RAM_SIZE);
    g_autoptr(GVariant) saved = device_save(a->dev);
    device_load(b->dev, saved, &error);
    g_assert_no_error(error);
    g_autoptr(GVariant) again = device_save(b->dev);
    g_assert_true(g_variant_equal(saved, again));
    device_set_resume(b->t.set);
    board_test_settle();
    device_set_resume(a->t.set);
}

static void check_works(BalloonTest *b)
{
    const guint32 pfn = (guint32)(BT_PRIVATE / 4096);

    stop_or_reset(b, 1);
    b->private_mem[0] = 1;
    bt_go(b, 0);
    bt_pages(b, Q_INFLATE, &pfn, 1);
    g_assert_cmpuint(b->private_mem[0], ==, 0);
}

static void silent(const gchar *domain, GLogLevelFlags level, const gchar *message, gpointer user)
{
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    g_autoptr(BalloonTest) b = NULL;

    g_log_set_default_handler(silent, NULL);
    b = bt_new(ALL_ROWS ", \"guest-stats-polling-interval\": 1");
    memset(b->t.ram + KEPT, 0x77, 4096);
    up(b, size ? data[0] : 0);
    for (gsize i = 1; i + 8 <= size && i < 8 * 1000; i += 8)
        one(b, data + i);
    board_test_settle();
    for (guint i = 0; i < 4096; i++)
        g_assert_cmphex(b->t.ram[KEPT + i], ==, 0x77);
    if (size && (data[0] & 128)) /* costs as much as the rest */
        check_move(b);
    check_works(b);
    return 0;
}

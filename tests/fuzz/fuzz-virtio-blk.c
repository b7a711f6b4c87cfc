/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz-virtio-blk.c - libFuzzer target: a hostile driver of a virtio disk. Rings, request headers and the ranges of discard and
 * write-zeroes hold arbitrary bytes and change while they are in use; registers are written in any order; bus mastering goes, the
 * machine stops, resets and moves in between. Whatever it did: nothing outside the disk's buffers is touched (the sanitizers), what is
 * saved loads into another machine, and after a reset a well-behaved driver gets its blocks.
 *
 * An operation is eight bytes: kind, width, offset (two), value (four).
 */
#include "../device/virtio-test.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

#define SLOT 4
#define BAR (VT_BAR + (SLOT << 20))
#define FN (VT_ECAM + (SLOT << 15))
#define NODE "{\"qom-type\":\"blockdev-null-co\",\"id\":\"n\",\"size\":1048576,\"read-zeroes\":true}"
#define DISK "{\"driver\":\"virtio-blk-pci\",\"id\":\"d\",\"addr\":\"4\",\"drive\":\"n\",\"packed\":true,\"queue-size\":16,\"num-queues\":2}"
#define DESCS 16
#define HEADERS VT_DATA
#define QUEUE_BYTES 0x1000

static void machine(BoardTest *t)
{
    g_autoptr(GError) error = NULL;

    board_test_init(t, BOARD_DEFAULT);
    board_test_ram(t);
    g_autoptr(JsonDoc) doc = json_doc_parse(NODE, strlen(NODE), &json_limits_default, &error);
    device_plug_publish(device_plug_realize(t->set, prop_bag_decode(json_doc_root(doc), "qom-type", &error), &error));
    g_assert_no_error(error);
    board_test_plug(t, DISK, &error);
    g_assert_no_error(error);
    board_test_power_on(t);
}

static void map(BoardTest *t)
{
    mem_out(t, FN + 0x20, (guint32)BAR, 4);
    mem_out(t, FN + 0x24, 0, 4);
    mem_out(t, FN + 4, 6, 2);
    board_test_settle();
}

/* A driver that starts both queues; PACKED or not, with the event index or not. */
static void drive(BoardTest *t, guint32 how)
{
    guint64 features = F(9) | F(12) | F(13) | F(14) | F(F_VERSION_1) | F(F_RESET) | F(F_INDIRECT) |
                       (how & 1 ? F(F_PACKED) : 0) | (how & 2 ? F(F_EVENT_IDX) : 0);

    mem_out(t, BAR + C_STATUS, 0, 1);
    board_test_settle();
    mem_out(t, BAR + C_STATUS, S_ACK | S_DRIVER, 1);
    for (guint i = 0; i < 2; i++) {
        mem_out(t, BAR + C_DRIVER_FEATURE_SELECT, i, 4);
        mem_out(t, BAR + C_DRIVER_FEATURE, (guint32)(features >> (32 * i)), 4);
    }
    mem_out(t, BAR + C_STATUS, S_ACK | S_DRIVER | S_FEATURES_OK, 1);
    for (guint i = 0; i < 2; i++) {
        guint64 at = VT_RINGS + i * QUEUE_BYTES;
        mem_out(t, BAR + C_QUEUE_SELECT, i, 2);
        mem_out(t, BAR + C_QUEUE_DESC, at, 8);
        mem_out(t, BAR + C_QUEUE_DRIVER, at + 0x400, 8);
        mem_out(t, BAR + C_QUEUE_DEVICE, at + 0x800, 8);
        mem_out(t, BAR + C_QUEUE_ENABLE, 1, 2);
    }
    mem_out(t, BAR + C_STATUS, S_ACK | S_DRIVER | S_FEATURES_OK | S_DRIVER_OK, 1);
}

/* A request of the kind, sector and lengths that the operation has, in the ring's next places, split or packed. */
static void request(BoardTest *t, const guint8 op[8], guint *next)
{
    guint q = op[1] & 1, head = *next % (DESCS / 4) * 4;
    guint64 ring = VT_RINGS + q * QUEUE_BYTES, header = HEADERS + head * 64;
    guint32 len = op[3] * 256u + op[2] % 16;
    guint8 *desc = t->ram + ring + head * 16;
    guint16 packed = (guint16)((*next / (DESCS / 4)) % 2 ? 1 << 15 : 1 << 7);
    gboolean in = op[1] & 2;

    le32_put(t->ram + header, op[4] % 16);
    le64_put(t->ram + header + 8, le16_get(op + 5) | (op[7] == 0xff ? 0xffffffff00000000ull : 0));
    le64_put(t->ram + header + 32, le16_get(op + 5));
    le32_put(t->ram + header + 40, op[7]);
    le32_put(t->ram + header + 44, op[1] >> 7);
    for (guint i = 0; i < 3; i++) {
        gboolean w = i == 2 || (i == 1 && in);
        guint16 flags = (guint16)((i < 2 ? 1 : 0) | (w ? 2 : 0));
        le64_put(desc + 16 * i, i == 0 ? header : i == 2 ? header + 60 : op[4] % 16 == 11 || op[4] % 16 == 13 ? header + 32 : VT_DATA + 0x1000);
        le32_put(desc + 16 * i + 8, i == 0 ? 16 : i == 2 ? 1 : op[4] % 16 == 11 || op[4] % 16 == 13 ? 16 : len);
        if (op[1] & 4) { /* packed */
            le16_put(desc + 16 * i + 12, (guint16)head);
            le16_put(desc + 16 * i + 14, flags | packed);
        } else {
            le16_put(desc + 16 * i + 12, flags);
            le16_put(desc + 16 * i + 14, (guint16)(head + i + 1));
        }
    }
    if (!(op[1] & 4)) {
        guint8 *avail = t->ram + ring + 0x400;
        guint16 idx = le16_get(avail + 2);
        le16_put(avail + 4 + 2 * (idx % DESCS), (guint16)head);
        le16_put(avail + 2, (guint16)(idx + 1));
    }
    ++*next;
    mem_out(t, BAR + 0x3000 + 4 * q, q, 2);
}

static void stop_or_reset(BoardTest *t, guint32 value)
{
    device_set_quiesce(t->set);
    if (value & 1)
        device_set_reset(t->set, RESET_WARM);
    device_set_resume(t->set);
    if (value & 2)
        map(t);
}

static void one(BoardTest *t, const guint8 op[8], guint *next)
{
    unsigned width = 1u << op[1] % 4;
    guint16 at = le16_get(op + 2);
    guint32 value = le32_get(op + 4);

    switch (op[0] % 10) {
    case 0:
        drive(t, value);
        break;
    case 1: /* anywhere in the BAR */
        mem_out(t, BAR + at % 0x4000, value, width);
        break;
    case 2: /* configuration space */
        mem_out(t, FN + at % 0x200, value, MIN(width, 4));
        break;
    case 3: /* the rings */
        le32_put(t->ram + VT_RINGS + at % (2 * QUEUE_BYTES), value);
        break;
    case 4: /* headers and ranges */
        le32_put(t->ram + HEADERS + at % 0x400, value);
        break;
    case 5: /* bus mastering */
        mem_out(t, FN + 4, value & 1 ? 6 : 2, 2);
        break;
    case 6:
        stop_or_reset(t, value);
        break;
    case 7:
        board_test_settle();
        break;
    case 8:
        map(t);
        break;
    default:
        request(t, op, next);
    }
}

/* The same device in another machine. */
static void check_move(BoardTest *a)
{
    g_autoptr(GError) error = NULL;
    BoardTest b;

    machine(&b);
    device_set_quiesce(a->set);
    board_test_settle(); /* the pin follows the ISR on the main thread */
    memcpy(b.ram, a->ram, RAM_SIZE);
    g_autoptr(GVariant) saved = device_save(device_set_find(a->set, NS_DEVICE, "d"));
    Device *dev = device_set_find(b.set, NS_DEVICE, "d");
    device_set_reset(b.set, RESET_BEFORE_LOAD);
    device_load(dev, saved, &error);
    g_assert_no_error(error);
    g_autoptr(GVariant) again = device_save(dev);
    g_assert_true(g_variant_equal(saved, again));
    device_set_resume(b.set);
    board_test_settle();
    board_test_clear(&b);
    device_set_resume(a->set);
}

static void check_works(BoardTest *t)
{
    const DrvSeg segs[] = { { VT_DATA, 16, FALSE }, { VT_DATA + 0x1000, 512, TRUE }, { VT_DATA + 64, 1, TRUE } };
    guint32 token, len;

    device_set_quiesce(t->set);
    device_set_reset(t->set, RESET_WARM);
    device_set_resume(t->set);
    memset(t->ram + VT_DATA, 0, 64);
    t->ram[VT_DATA + 64] = 0xee;
    memset(t->ram + VT_DATA + 0x1000, 0xee, 512);
    g_auto(VirtioTest) v = vt_open(t, SLOT);
    g_assert_true(vt_negotiate(&v, F(F_VERSION_1)));
    vt_queue(&v, 0, 0, 0);
    vt_driver_ok(&v);
    vt_send(&v, 0, segs, 3, 1);
    while (!drv_take(&v.q[0], &token, &len)) /* libFuzzer's -timeout watches */
        g_thread_yield();
    g_assert_cmpuint(len, ==, 513);
    g_assert_cmpuint(t->ram[VT_DATA + 64] | t->ram[VT_DATA + 0x1000], ==, 0);
}

static void silent(const gchar *domain, GLogLevelFlags level, const gchar *message, gpointer user)
{
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    BoardTest t;
    guint next = 0;

    g_log_set_default_handler(silent, NULL);
    machine(&t);
    map(&t);
    for (gsize i = 0; i + 8 <= size && i < 8 * 500; i += 8)
        one(&t, data + i, &next);
    if (size >= 8 && (data[4] & 1)) /* costs as much as the rest */
        check_move(&t);
    check_works(&t);
    board_test_clear(&t);
    return 0;
}

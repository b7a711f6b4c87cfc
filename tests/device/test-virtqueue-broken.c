/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-virtqueue-broken.c - rings as hostile guests make them. Each breaks the queue with a reason that says what was
 * wrong, once, and nothing is read, written or held afterwards.
 */
#include "virtq-rig.h"

typedef struct {
    guint n;
    char  reason[200];
} Report;

static void report(gpointer user, VirtQueue *vq, const char *reason)
{
    Report *r = user;

    r->n++;
    g_strlcpy(r->reason, reason, sizeof r->reason);
}

static VqRig rig_reporting(Report *rep, guint16 size, guint32 flags)
{
    VqRig r = vq_rig_stopped(size, flags);

    *rep = (Report){ 0 };
    vq_free(r.vq);
    r.vq = vq_new(r.vm, report, rep);
    return r;
}

/* ---- activation ---- */

static void refuse_config(guint32 flags, guint16 size, gint64 desc, gint64 driver, gint64 device, const char *fragment)
{
    Report rep;
    g_auto(VqRig) r = rig_reporting(&rep, 8, flags);
    VqConfig c = r.drv.config;

    c.size = size;
    c.desc += (guint64)desc;
    c.driver += (guint64)driver;
    c.device += (guint64)device;
    g_assert_false(vq_start(r.vq, &c, NULL));
    g_test_message("%s", rep.reason);
    g_assert_cmpuint(rep.n, ==, 1);
    g_assert_nonnull(strstr(rep.reason, fragment));
    g_assert_cmpstr(vq_broken(r.vq), ==, rep.reason);
    g_assert_false(vq_begin(r.vq));
    /* The next try is a new one. */
    g_assert_true(vq_start(r.vq, &r.drv.config, NULL));
    g_assert_null(vq_broken(r.vq));
}

static void test_activation(void)
{
    gint64 end = (gint64)RIG_SIZE;

    refuse_config(0, 0, 0, 0, 0, "queue size 0");
    refuse_config(0, 6, 0, 0, 0, "no power of two");
    refuse_config(VQ_PACKED, 32769, 0, 0, 0, "queue size 32769");
    refuse_config(0, 8, 8, 0, 0, "descriptors at 0x100008");
    refuse_config(0, 8, 0, 1, 0, "driver area");
    refuse_config(0, 8, 0, 0, 2, "device area");
    refuse_config(VQ_PACKED, 8, 0, 2, 0, "no multiple of 4");
    refuse_config(0, 8, end, 0, 0, "is not within one region of RAM");
    refuse_config(0, 8, 0, end, 0, "driver area");
    refuse_config(0, 8, 0, 0, end, "writable RAM");
    refuse_config(0, 32768, 0x90000, 0, 0, "descriptors");               /* runs out of the end */
    refuse_config(0, 8, -(gint64)RIG_BASE - 16, 0, 0, "0xfffffffffffffff0"); /* wraps */
    refuse_config(VQ_PACKED, 8, -(gint64)RIG_BASE - 16, 0, 0, "0xfffffffffffffff0");
}

static void test_read_only_ring(void)
{
    for (guint packed = 0; packed < 2; packed++) {
        Report rep;
        g_auto(VqRig) r = rig_reporting(&rep, 8, packed ? VQ_PACKED : 0);
        VqConfig c = r.drv.config;
        g_assert_true(vm_memory_add(r.vm, 0x4000000, r.second, RIG_SECOND_SIZE, MEM_READONLY, NULL));
        if (packed)
            c.desc = 0x4000000; /* the device writes it */
        else
            c.device = 0x4000000;
        g_assert_false(vq_start(r.vq, &c, NULL));
        g_assert_nonnull(strstr(rep.reason, "writable RAM"));
        c = r.drv.config;
        c.driver = 0x4000000; /* which the device only reads */
        g_assert_true(vq_start(r.vq, &c, NULL));
    }
}

static void test_bad_state(void)
{
    Report rep;
    g_auto(VqRig) r = rig_reporting(&rep, 8, VQ_PACKED);
    VqState s = { .avail_idx = 8 };

    g_assert_false(vq_start(r.vq, &r.drv.config, &s));
    g_assert_nonnull(strstr(rep.reason, "position 8"));
}

/* ---- chains ---- */

typedef void (*Spoil)(VqRig *r, guint8 *desc, guint8 *table);

static void expect_broken(guint32 flags, gboolean indirect, Spoil spoil, const char *fragment)
{
    Report rep;
    g_auto(VqRig) r = rig_reporting(&rep, 8, flags);
    const DrvSeg segs[] = { { DATA, 16, FALSE }, { DATA + 64, 16, FALSE }, { DATA + 128, 16, TRUE } };
    struct iovec iov[8];
    VqChain good = { .iov = iov, .max_iov = 4 }, c = { .iov = iov + 4, .max_iov = 4 };
    guint32 token, len;

    g_assert_true(vq_start(r.vq, &r.drv.config, NULL));
    g_assert_true(drv_add(&r.drv, segs, 1, FALSE, 1));
    g_assert_true(vq_begin(r.vq));
    g_assert_cmpint(vq_pop(r.vq, &good), ==, VQ_CHAIN);
    g_assert_true(drv_add(&r.drv, segs, 3, indirect, 2));
    guint8 *desc = rig_at(&r, r.drv.config.desc) + 16 * (flags & VQ_PACKED ? 1 : r.drv.order[1]);
    spoil(&r, desc, indirect ? rig_at(&r, le64_get(desc)) : NULL);
    g_assert_cmpint(vq_pop(r.vq, &c), ==, VQ_BROKEN);
    g_test_message("%s", rep.reason);
    g_assert_nonnull(strstr(rep.reason, fragment));
    g_assert_cmpuint(rep.n, ==, 1);
    g_assert_cmpint(vq_pop(r.vq, &c), ==, VQ_BROKEN);
    g_assert_false(vq_pending(r.vq));
    /* What was in flight goes nowhere. */
    vq_push(r.vq, &good, 0);
    vq_flush(r.vq);
    g_assert_false(vq_should_notify(r.vq));
    g_assert_false(vq_kicks_on(r.vq));
    vq_end(r.vq);
    g_assert_false(drv_take(&r.drv, &token, &len));
    g_assert_cmpuint(vq_in_flight(r.vq), ==, 0);
    g_assert_cmpuint(rep.n, ==, 1);
}

static void len_zero(VqRig *r, guint8 *desc, guint8 *table) { le32_put((table ? table : desc) + 8, 0); }
static void len_4g(VqRig *r, guint8 *desc, guint8 *table) { le32_put((table ? table : desc) + 8, 0xffffffff); }
static void addr_wraps(VqRig *r, guint8 *desc, guint8 *table) { le64_put(table ? table : desc, G_MAXUINT64 - 4); }
static void addr_mmio(VqRig *r, guint8 *desc, guint8 *table) { le64_put(table ? table : desc, 0xfee00000); }
static void addr_end(VqRig *r, guint8 *desc, guint8 *table) { le64_put(table ? table : desc, RIG_BASE + RIG_SIZE - 15); }
static void write_first(VqRig *r, guint8 *desc, guint8 *table)
{
    guint at = r->drv.config.flags & VQ_PACKED ? 14 : 12;
    guint8 *p = table ? table : desc;

    le16_put(p + at, le16_get(p + at) | 2);
}
static void nested(VqRig *r, guint8 *desc, guint8 *table)
{
    guint at = r->drv.config.flags & VQ_PACKED ? 14 : 12;

    le16_put(table + 16 + at, le16_get(table + 16 + at) | 4);
}
static void indirect_next(VqRig *r, guint8 *desc, guint8 *table)
{
    guint at = r->drv.config.flags & VQ_PACKED ? 14 : 12;

    le16_put(desc + at, le16_get(desc + at) | 1);
}
static void make_indirect(VqRig *r, guint8 *desc, guint8 *table)
{
    guint at = r->drv.config.flags & VQ_PACKED ? 14 : 12;

    le16_put(desc + at, le16_get(desc + at) | 4);
}
static void table_odd(VqRig *r, guint8 *desc, guint8 *table) { le32_put(desc + 8, 40); }
static void table_empty(VqRig *r, guint8 *desc, guint8 *table) { le32_put(desc + 8, 0); }
static void table_huge(VqRig *r, guint8 *desc, guint8 *table) { le32_put(desc + 8, 0xfffffff0); }
static void table_mmio(VqRig *r, guint8 *desc, guint8 *table) { le64_put(desc, 0xfee00000); }
static void table_wraps(VqRig *r, guint8 *desc, guint8 *table) { le64_put(desc, G_MAXUINT64 - 20); }

static void test_common(gconstpointer kind)
{
    guint32 f = GPOINTER_TO_UINT(kind) | VQ_INDIRECT;

    for (guint indirect = 0; indirect < 2; indirect++) {
        expect_broken(f, indirect, len_zero, "0 bytes");
        expect_broken(f, indirect, len_4g, "is not RAM");
        expect_broken(f, indirect, addr_wraps, "0xfffffffffffffffb");
        expect_broken(f, indirect, addr_mmio, "is not RAM");
        expect_broken(f, indirect, addr_end, "is not RAM");
        expect_broken(f, indirect, write_first, "device-readable buffer after");
    }
    expect_broken(f, TRUE, nested, "within an indirect table");
    expect_broken(f, TRUE, indirect_next, "with a next one");
    expect_broken(f, TRUE, table_odd, "table of 40 bytes");
    expect_broken(f, TRUE, table_empty, "table of 0 bytes");
    expect_broken(f, TRUE, table_huge, "table of 4294967280 bytes");
    expect_broken(f, TRUE, table_mmio, "0 bytes"); /* not RAM: no descriptor */
    expect_broken(f, TRUE, table_wraps, "0xffffffffffffffeb");
    expect_broken(GPOINTER_TO_UINT(kind), FALSE, make_indirect, "not negotiated");
}

static void next_out(VqRig *r, guint8 *desc, guint8 *table) { le16_put((table ? table : desc) + 14, 8); }
static void next_self(VqRig *r, guint8 *desc, guint8 *table)
{
    if (table)
        le16_put(table + 14, 0);
    else
        le16_put(desc + 14, (guint16)((desc - rig_at(r, r->drv.config.desc)) / 16));
}
static void head_out(VqRig *r, guint8 *desc, guint8 *table) { le16_put(rig_at(r, r->drv.config.driver) + 4 + 2, 8); }
static void index_jumps(VqRig *r, guint8 *desc, guint8 *table) { le16_put(rig_at(r, r->drv.config.driver) + 2, 11); }
static void index_back(VqRig *r, guint8 *desc, guint8 *table) { le16_put(rig_at(r, r->drv.config.driver) + 2, 0); }

static void test_split(void)
{
    expect_broken(0, FALSE, next_out, "descriptor 8 of 8");
    expect_broken(0, FALSE, next_self, "more than 4 segments");
    expect_broken(VQ_INDIRECT, TRUE, next_out, "entry 8 of an indirect table of 3");
    expect_broken(VQ_INDIRECT, TRUE, next_self, "loop in an indirect table of 3");
    expect_broken(0, FALSE, head_out, "available descriptor 8 of 8");
    expect_broken(0, FALSE, index_jumps, "available index moved from 1 to 11");
    expect_broken(0, FALSE, index_back, "available index moved from 1 to 0");
}

/* A loop is found even where there is room for more segments than the ring has descriptors. */
static void test_loop(gconstpointer kind)
{
    Report rep;
    g_auto(VqRig) r = rig_reporting(&rep, 4, GPOINTER_TO_UINT(kind));
    struct iovec iov[64];
    VqChain c = { .iov = iov, .max_iov = 64 };
    const DrvSeg segs[] = { { DATA, 1, FALSE }, { DATA, 1, FALSE }, { DATA, 1, FALSE }, { DATA, 1, FALSE } };

    g_assert_true(vq_start(r.vq, &r.drv.config, NULL));
    drv_add(&r.drv, segs, 4, FALSE, 0);
    for (guint i = 0; i < 4; i++) {
        guint8 *flags = rig_at(&r, r.drv.config.desc) + 16 * i + (GPOINTER_TO_UINT(kind) ? 14 : 12);
        le16_put(flags, le16_get(flags) | 1);
    }
    g_assert_true(vq_begin(r.vq));
    g_assert_cmpint(vq_pop(r.vq, &c), ==, VQ_BROKEN);
    vq_end(r.vq);
    g_assert_nonnull(strstr(rep.reason, GPOINTER_TO_UINT(kind) ? "more than 4 slots" : "loops"));
}

/* 33 segments of 128 MiB each over the same memory: more than 4 GiB. */
static void test_too_long(void)
{
    Report rep;
    g_auto(VqRig) r = rig_reporting(&rep, 64, 0);
    gsize size = G_GUINT64_CONSTANT(128) << 20;
    guint8 *big = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    struct iovec iov[64];
    VqChain c = { .iov = iov, .max_iov = 64 };
    DrvSeg segs[33];

    for (guint i = 0; i < 33; i++)
        segs[i] = (DrvSeg){ 0x100000000, (guint32)size, TRUE };
    segs[32].len = 1;
    g_assert_true(vm_memory_add(r.vm, 0x100000000, big, size, 0, NULL));
    g_assert_true(vq_start(r.vq, &r.drv.config, NULL));
    drv_add(&r.drv, segs, 32, FALSE, 0); /* exactly 4 GiB is allowed */
    g_assert_true(vq_begin(r.vq));
    g_assert_cmpint(vq_pop(r.vq, &c), ==, VQ_CHAIN);
    g_assert_cmpuint(c.in_len, ==, G_GUINT64_CONSTANT(1) << 32);
    vq_push(r.vq, &c, 0);
    vq_flush(r.vq);
    guint32 token, len;
    g_assert_true(drv_take(&r.drv, &token, &len));
    drv_add(&r.drv, segs, 33, FALSE, 0);
    g_assert_cmpint(vq_pop(r.vq, &c), ==, VQ_BROKEN);
    g_assert_nonnull(strstr(rep.reason, "4294967297"));
    vq_end(r.vq);
    munmap(big, size);
}

static void test_read_only_buffer(void)
{
    Report rep;
    g_auto(VqRig) r = rig_reporting(&rep, 8, 0);
    DrvSeg seg = { 0x4000000, 16, FALSE };
    struct iovec iov[1];
    VqChain c = { .iov = iov, .max_iov = 1 };

    g_assert_true(vm_memory_add(r.vm, 0x4000000, r.second, RIG_SECOND_SIZE, MEM_READONLY, NULL));
    g_assert_true(vq_start(r.vq, &r.drv.config, NULL));
    drv_add(&r.drv, &seg, 1, FALSE, 0);
    seg.write = TRUE;
    drv_add(&r.drv, &seg, 1, FALSE, 0);
    g_assert_true(vq_begin(r.vq));
    g_assert_cmpint(vq_pop(r.vq, &c), ==, VQ_CHAIN); /* a ROM can be read */
    vq_push(r.vq, &c, 0);
    g_assert_cmpint(vq_pop(r.vq, &c), ==, VQ_BROKEN);
    g_assert_nonnull(strstr(rep.reason, "writable RAM"));
    vq_end(r.vq);
}

/* The memory of the rings goes while the queue is in use: the next batch finds out. */
static void test_ring_unmapped(void)
{
    Report rep;
    g_auto(VqRig) r = rig_reporting(&rep, 8, 0);
    VqConfig c = r.drv.config;

    rig_add_second(&r);
    c.device = RIG_BASE + RIG_SIZE;
    g_assert_true(vq_start(r.vq, &c, NULL));
    g_assert_true(vq_begin(r.vq));
    vq_end(r.vq);
    rig_remove_second(&r);
    g_assert_false(vq_begin(r.vq));
    g_assert_cmpuint(rep.n, ==, 1);
    g_assert_nonnull(strstr(rep.reason, "device area at 0x200000"));
    g_assert_false(vq_begin(r.vq));
    g_assert_cmpuint(rep.n, ==, 1);
}

/* What the device itself finds wrong is the same. */
static void test_device_breaks(void)
{
    Report rep;
    g_auto(VqRig) r = rig_reporting(&rep, 8, 0);

    g_assert_true(vq_start(r.vq, &r.drv.config, NULL));
    vq_break(r.vq, "request of type %u", 77);
    vq_break(r.vq, "second");
    g_assert_cmpuint(rep.n, ==, 1);
    g_assert_cmpstr(rep.reason, ==, "request of type 77");
    g_assert_false(vq_begin(r.vq));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtqueue-broken/activation", test_activation);
    g_test_add_func("/virtqueue-broken/read-only-ring", test_read_only_ring);
    g_test_add_func("/virtqueue-broken/state", test_bad_state);
    g_test_add_data_func("/virtqueue-broken/chains/split", GUINT_TO_POINTER(0), test_common);
    g_test_add_data_func("/virtqueue-broken/chains/packed", GUINT_TO_POINTER(VQ_PACKED), test_common);
    g_test_add_func("/virtqueue-broken/split", test_split);
    g_test_add_data_func("/virtqueue-broken/loop/split", GUINT_TO_POINTER(0), test_loop);
    g_test_add_data_func("/virtqueue-broken/loop/packed", GUINT_TO_POINTER(VQ_PACKED), test_loop);
    g_test_add_func("/virtqueue-broken/too-long", test_too_long);
    g_test_add_func("/virtqueue-broken/read-only-buffer", test_read_only_buffer);
    g_test_add_func("/virtqueue-broken/ring-unmapped", test_ring_unmapped);
    g_test_add_func("/virtqueue-broken/device", test_device_breaks);
    return g_test_run();
}

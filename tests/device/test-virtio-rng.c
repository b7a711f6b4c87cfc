/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virtio-rng-pci, and through it the PCI transport: what a driver sees from the first look at configuration space on. */
#include "../../devices/virtio/virtio.h"
#include "virtio-test.h"

#define SLOT 4
#define RNG "{\"driver\": \"virtio-rng-pci\", \"id\": \"rng\", \"addr\": \"4\"}"
#define V1 F(F_VERSION_1)

static const DrvSeg buffer = { VT_DATA, 256, TRUE };

/* A machine with RAM and the device that JSON says, running. */
static Device *start(BoardTest *t, const char *json)
{
    g_autoptr(GError) error = NULL;

    board_test_init(t, BOARD_DEFAULT);
    board_test_ram(t);
    Device *dev = board_test_plug(t, json, &error);
    g_assert_no_error(error);
    board_test_power_on(t);
    return dev;
}

/* Up to DRIVER_OK with one queue and FEATURES, MSI-X on: vector 0 the queue's, 1 for configuration. */
static void go(VirtioTest *v, guint64 features)
{
    vt_msix_start(v, 1);
    g_assert_true(vt_negotiate(v, features | V1));
    vt_out(v, C_CONFIG_VECTOR, 1, 2);
    vt_queue(v, 0, 0, features);
    vt_driver_ok(v);
    drv_irq_on(&v->q[0]);
}

static gboolean all_zero(const guint8 *p, gsize n)
{
    while (n > 0 && !*p)
        p++, n--;
    return n == 0;
}

/* Asks for LEN bytes at VT_DATA and gets them. */
static void ask(VirtioTest *v, guint32 token, guint32 len)
{
    const DrvSeg seg = { VT_DATA, len, TRUE };

    memset(v->t->ram + VT_DATA, 0, len + 16);
    vt_send(v, 0, &seg, 1, token);
    g_assert_cmpuint(vt_used(v, 0, token), ==, len);
    g_assert_false(all_zero(v->t->ram + VT_DATA, len));
    g_assert_true(all_zero(v->t->ram + VT_DATA + len, 16));
}

/* ---- configuration space ---- */

static void test_identity(void)
{
    BoardTest t;

    start(&t, RNG);
    g_auto(VirtioTest) v = vt_open(&t, SLOT);
    g_assert_cmphex(vt_cfg_in(&v, 0, 4), ==, 0x10441af4);
    g_assert_cmphex(vt_cfg_in(&v, 8, 4), ==, 0x00ff0001);
    g_assert_cmphex(vt_cfg_in(&v, 0x2c, 4), ==, 0x11001af4);
    g_assert_cmphex(vt_cfg_in(&v, 0x3d, 1), ==, 1);
    g_assert_true(v.window && v.msix && v.exp && v.device);
    g_assert_cmphex(vt_cfg_in(&v, v.msix + 2, 2), ==, 1); /* two vectors */
    g_assert_cmphex(v.common & 3, ==, 0);
    g_assert_cmphex(v.notify & 1, ==, 0);
    g_assert_cmphex(v.device & 3, ==, 0);
    g_assert_cmphex(vt_features(&v), ==,
                    V1 | F(F_INDIRECT) | F(F_EVENT_IDX) | F(F_RESET));
    g_assert_cmpuint(vt_in(&v, C_NUM_QUEUES, 2), ==, 1);
    vt_out(&v, C_DEVICE_FEATURE_SELECT, 2, 4);
    g_assert_cmphex(vt_in(&v, C_DEVICE_FEATURE, 4), ==, 0);
    board_test_clear(&t);
}

/* Both ends of a link say the same of it (PCIe 7.5.3.6 to 8), and what is on the root bus has none. */
static void test_link(void)
{
    g_autoptr(GError) error = NULL;
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    board_test_plug(&t, "{\"driver\": \"pcie-root-port\", \"id\": \"rp\", \"addr\": \"3\", \"link-speed\": 2, \"link-width\": 4}", &error);
    g_assert_no_error(error);
    board_test_plug(&t, "{\"driver\": \"virtio-rng-pci\", \"bus\": \"rp\"}", &error);
    g_assert_no_error(error);
    board_test_plug(&t, RNG, &error);
    g_assert_no_error(error);
    board_test_power_on(&t);
    VirtioTest port = { .t = &t, .fn = VT_ECAM + (3 << 15) }, behind = { .t = &t, .fn = VT_ECAM + (1 << 20) };
    vt_cfg_out(&port, 0x18, 0x00010100, 4);
    g_assert_cmphex(vt_cfg_in(&behind, 0, 4), ==, 0x10441af4);
    for (behind.exp = vt_cfg_in(&behind, 0x34, 1); vt_cfg_in(&behind, behind.exp, 1) != 0x10;) /* its BAR is nowhere yet */
        behind.exp = vt_cfg_in(&behind, behind.exp + 1, 1);
    g_assert_cmphex(vt_cfg_in(&behind, behind.exp + 0x02, 2) >> 4, ==, 0); /* an endpoint */
    g_assert_cmphex(vt_cfg_in(&behind, behind.exp + 0x0c, 2) & 0x3ff, ==, 4 << 4 | 2);
    g_assert_cmphex(vt_cfg_in(&behind, behind.exp + 0x12, 2) & 0x3ff, ==, 4 << 4 | 2);
    g_assert_cmphex(vt_cfg_in(&behind, behind.exp + 0x2c, 1), ==, 3 << 1); /* 2.5 and 5 GT/s */
    g_assert_cmphex(vt_cfg_in(&port, 0x60 + 0x12, 2) & 0x3ff, ==, 4 << 4 | 2);
    g_auto(VirtioTest) on_root = vt_open(&t, SLOT);
    g_assert_cmphex(vt_cfg_in(&on_root, on_root.exp + 0x02, 2) >> 4, ==, 9); /* integrated */
    g_assert_cmphex(vt_cfg_in(&on_root, on_root.exp + 0x0c, 4), ==, 0);
    board_test_clear(&t);
}

static void test_features_by_rows(void)
{
    BoardTest t;

    start(&t, "{\"driver\": \"virtio-rng-pci\", \"addr\": \"4\", \"packed\": true, \"in_order\": true, "
              "\"indirect_desc\": false, \"event_idx\": false, \"queue_reset\": false}");
    g_auto(VirtioTest) v = vt_open(&t, SLOT);
    g_assert_cmphex(vt_features(&v), ==, V1 | F(F_PACKED) | F(F_IN_ORDER));
    board_test_clear(&t);
}

/* Capabilities are where a record says. */
static Device *plug_recorded(BoardTest *t, const char *capabilities, GError **error)
{
    PropBag *bag = prop_bag_new(prop_table_find("virtio-rng-pci"));

    bag->id = g_strdup("rng");
    prop_bag_set_s(bag, "addr", "4", ORIGIN_CONFIG);
    prop_bag_set_s(bag, "capabilities", capabilities, ORIGIN_HINT);
    Device *dev = device_plug_realize(t->set, bag, error);
    if (dev)
        device_plug_publish(dev);
    return dev;
}

static void test_recorded_capabilities(void)
{
    g_autoptr(GError) error = NULL;
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    board_test_ram(&t);
    g_assert_null(plug_recorded(&t, "common@40,isr@50,device@60,msix@90", &error));
    g_assert_cmpstr(error->message, ==,
                    "Property 'capabilities' of device 'rng': it needs 'notify', and "
                    "'common@40,isr@50,device@60,msix@90' does not name it");
    g_clear_error(&error);
    plug_recorded(&t, "msix@40,device@50,isr@60,notify@70,common@d8", &error);
    g_assert_no_error(error);
    board_test_power_on(&t);
    g_auto(VirtioTest) v = vt_open(&t, SLOT);
    g_assert_cmphex(vt_cfg_in(&v, 0x34, 1), ==, 0x40);
    g_assert_cmphex(vt_cfg_in(&v, 0xd8, 4), ==, 0x01100009);
    g_assert_true(v.msix == 0x40 && !v.exp && !v.window);
    go(&v, 0);
    ask(&v, 1, 16);
    vt_expect_msi(&v, 0);
    board_test_clear(&t);
}

/* What firmware does that can not reach the BAR: section 4.1.4.9. */
static void window(VirtioTest *v, guint32 offset, unsigned size)
{
    vt_cfg_out(v, v->window + 4, 4, 1);
    vt_cfg_out(v, v->window + 8, offset, 4);
    vt_cfg_out(v, v->window + 12, size, 4);
}

static void test_window(void)
{
    BoardTest t;

    start(&t, RNG);
    g_auto(VirtioTest) v = vt_open(&t, SLOT);
    guint32 common = (guint32)(v.common - vt_bar_of(&v, 4, 0)), data = v.window + 16;
    window(&v, common + C_STATUS, 1);
    vt_cfg_out(&v, data, S_ACK, 1);
    g_assert_cmphex(vt_status(&v), ==, S_ACK);
    vt_out(&v, C_STATUS, S_ACK | S_DRIVER, 1);
    g_assert_cmphex(vt_cfg_in(&v, data, 1), ==, S_ACK | S_DRIVER);
    window(&v, common + C_NUM_QUEUES, 2);
    g_assert_cmphex(vt_cfg_in(&v, data, 2), ==, 1);
    window(&v, common + C_DEVICE_FEATURE_SELECT, 4);
    vt_cfg_out(&v, data, 1, 4);
    window(&v, common + C_DEVICE_FEATURE, 4);
    g_assert_cmphex(vt_cfg_in(&v, data, 4), ==, (V1 | F(F_RESET)) >> 32);
    window(&v, common + C_DEVICE_FEATURE, 3); /* no such access: the data stays */
    vt_cfg_in(&v, data, 4);
    window(&v, 0xfffffffc, 4);
    vt_cfg_out(&v, data, 0, 4);
    g_assert_cmphex(vt_status(&v), ==, S_ACK | S_DRIVER);
    board_test_clear(&t);
}

/* ---- the status machine ---- */

static void test_negotiation(void)
{
    BoardTest t;

    start(&t, RNG);
    g_auto(VirtioTest) v = vt_open(&t, SLOT);
    g_assert_false(vt_negotiate(&v, 0));               /* without VERSION_1 */
    g_assert_false(vt_negotiate(&v, V1 | F(F_PACKED))); /* not offered */
    g_assert_false(vt_negotiate(&v, V1 | F(63)));
    g_assert_true(vt_negotiate(&v, V1));
    vt_accept(&v, V1 | F(F_EVENT_IDX)); /* too late */
    vt_out(&v, C_DRIVER_FEATURE_SELECT, 0, 4);
    g_assert_cmphex(vt_in(&v, C_DRIVER_FEATURE, 4), ==, 0);
    vt_out(&v, C_STATUS, S_ACK, 1); /* bits do not go by themselves */
    g_assert_cmphex(vt_status(&v), ==, S_ACK | S_DRIVER | S_FEATURES_OK);
    vt_out(&v, C_STATUS, S_NEEDS_RESET, 1); /* the device's bit */
    g_assert_cmphex(vt_status(&v), ==, S_ACK | S_DRIVER | S_FEATURES_OK);
    vt_out(&v, C_STATUS, 0, 1);
    vt_out(&v, C_STATUS, S_DRIVER_OK, 1); /* out of order */
    g_assert_cmphex(vt_status(&v), ==, 0);
    board_test_clear(&t);
}

static void test_queue_registers(void)
{
    BoardTest t;

    start(&t, RNG);
    g_auto(VirtioTest) v = vt_open(&t, SLOT);
    vt_out(&v, C_QUEUE_SELECT, 0, 2);
    g_assert_cmpuint(vt_in(&v, C_QUEUE_SIZE, 2), ==, 8);
    vt_out(&v, C_QUEUE_ENABLE, 1, 2); /* before FEATURES_OK */
    g_assert_cmpuint(vt_in(&v, C_QUEUE_ENABLE, 2), ==, 0);
    g_assert_true(vt_negotiate(&v, V1));
    for (guint bad = 0; bad < 4; bad++) {
        const guint16 sizes[] = { 0, 3, 16, 0xffff };
        vt_out(&v, C_QUEUE_SIZE, sizes[bad], 2);
        g_assert_cmpuint(vt_in(&v, C_QUEUE_SIZE, 2), ==, 8);
    }
    vt_out(&v, C_QUEUE_DESC, 0x11223344, 4);
    vt_out(&v, C_QUEUE_DESC + 4, 0x55667788, 4);
    g_assert_cmphex(vt_in(&v, C_QUEUE_DESC, 8), ==, G_GUINT64_CONSTANT(0x5566778811223344));
    g_assert_cmphex(vt_in(&v, C_QUEUE_DESC + 4, 4), ==, 0x55667788);
    vt_out(&v, C_QUEUE_DESC, 0, 2); /* no such width */
    g_assert_cmphex(vt_in(&v, C_QUEUE_DESC, 4), ==, 0x11223344);
    vt_out(&v, C_QUEUE_VECTOR, 2, 2); /* there are two */
    g_assert_cmphex(vt_in(&v, C_QUEUE_VECTOR, 2), ==, 0xffff);
    vt_out(&v, C_QUEUE_SELECT, 1, 2);
    g_assert_cmpuint(vt_in(&v, C_QUEUE_SIZE, 2), ==, 0);
    vt_out(&v, C_QUEUE_ENABLE, 1, 2);
    g_assert_cmpuint(vt_in(&v, C_QUEUE_ENABLE, 2), ==, 0);
    board_test_clear(&t);
}

/* ---- data ---- */

static void test_bytes(gconstpointer user)
{
    guint64 features = *(const guint64 *)user;
    BoardTest t;

    start(&t, "{\"driver\": \"virtio-rng-pci\", \"addr\": \"4\", \"packed\": true, \"in_order\": true}");
    g_auto(VirtioTest) v = vt_open(&t, SLOT);
    go(&v, features);
    for (guint i = 0; i < 40; i++) { /* the ring wraps five times */
        ask(&v, i, 1 + i * 37);
        vt_expect_msi(&v, 0);
        drv_irq_on(&v.q[0]);
    }
    vt_expect_no_msi(&v);
    drv_irq_off(&v.q[0]);
    board_test_clear(&t);
}

static void test_large_buffers(void)
{
    const DrvSeg segs[3] = { { VT_DATA, 0x10000, TRUE }, { VT_DATA + 0x10000, 0x10000, TRUE }, { VT_DATA + 0x20000, 16, TRUE } };
    BoardTest t;

    start(&t, RNG);
    g_auto(VirtioTest) v = vt_open(&t, SLOT);
    go(&v, F(F_INDIRECT));
    g_assert_true(drv_add(&v.q[0], segs, 3, TRUE, 9));
    vt_kick(&v, 0);
    board_test_settle();
    g_assert_cmpuint(vt_used(&v, 0, 9), ==, 0x10000); /* less than asked for is allowed */
    g_assert_true(all_zero(t.ram + VT_DATA + 0x10000, 0x10010));
    board_test_clear(&t);
}

/* ---- interrupts ---- */

static void test_pin(void)
{
    BoardTest t;

    start(&t, RNG);
    g_auto(VirtioTest) v = vt_open(&t, SLOT);
    g_assert_true(vt_negotiate(&v, V1));
    vt_queue(&v, 0, 0, 0);
    vt_driver_ok(&v);
    g_assert_false(vt_pin(&v, SLOT));
    ask(&v, 1, 16);
    g_assert_true(vt_pin(&v, SLOT));
    g_assert_cmphex(vt_cfg_in(&v, 6, 2) & 8, ==, 8);
    g_assert_cmphex(mem_in(&t, v.isr, 1), ==, 1);
    g_assert_false(vt_pin(&v, SLOT));
    g_assert_cmphex(mem_in(&t, v.isr, 1), ==, 0);
    ask(&v, 2, 16);
    g_assert_true(vt_pin(&v, SLOT));
    window(&v, (guint32)(v.isr - vt_bar_of(&v, 4, 0)), 1); /* the window's read acts too */
    g_assert_cmphex(vt_cfg_in(&v, v.window + 16, 1), ==, 1);
    g_assert_false(vt_pin(&v, SLOT));
    ask(&v, 3, 16);
    vt_out(&v, C_STATUS, 0, 1);
    g_assert_false(vt_pin(&v, SLOT));
    vt_expect_no_msi(&v);
    board_test_clear(&t);
}

static void test_masked_vector(void)
{
    BoardTest t;

    start(&t, RNG);
    g_auto(VirtioTest) v = vt_open(&t, SLOT);
    go(&v, 0);
    vt_vector(&v, 0, TRUE);
    ask(&v, 1, 16);
    vt_expect_no_msi(&v);
    g_assert_cmphex(mem_in(&t, v.pba, 4), ==, 1);
    vt_vector(&v, 0, FALSE);
    vt_expect_msi(&v, 0);
    g_assert_cmphex(mem_in(&t, v.pba, 4), ==, 0);
    vt_out(&v, C_QUEUE_VECTOR, 0xffff, 2); /* no interrupt wanted */
    ask(&v, 2, 16);
    vt_expect_no_msi(&v);
    vt_out(&v, C_QUEUE_VECTOR, 1, 2); /* shared with configuration changes */
    ask(&v, 3, 16);
    vt_expect_msi(&v, 1);
    g_assert_false(vt_pin(&v, SLOT));
    board_test_clear(&t);
}

static void test_no_msix(void)
{
    BoardTest t;

    start(&t, "{\"driver\": \"virtio-rng-pci\", \"addr\": \"4\", \"vectors\": 0, \"ioeventfd\": false}");
    g_auto(VirtioTest) v = vt_open(&t, SLOT);
    g_assert_cmpuint(v.msix, ==, 0);
    g_assert_true(vt_negotiate(&v, V1));
    vt_out(&v, C_CONFIG_VECTOR, 0, 2);
    g_assert_cmphex(vt_in(&v, C_CONFIG_VECTOR, 2), ==, 0xffff);
    vt_queue(&v, 0, 4, 0);
    vt_driver_ok(&v);
    ask(&v, 1, 16);
    g_assert_true(vt_pin(&v, SLOT));
    board_test_clear(&t);
}

/* ---- the guest's mistakes ---- */

static void expect_needs_reset(VirtioTest *v)
{
    board_test_settle();
    g_assert_cmphex(vt_status(v) & S_NEEDS_RESET, ==, S_NEEDS_RESET);
    vt_expect_msi(v, 1);
    vt_expect_no_msi(v);
    vt_kick(v, 0); /* nothing more comes of it */
    vt_none_used(v, 0);
    go(v, 0);
    g_assert_cmphex(vt_status(v), ==, S_ACK | S_DRIVER | S_FEATURES_OK | S_DRIVER_OK);
    ask(v, 7, 64);
    vt_expect_msi(v, 0);
}

static void test_needs_reset(void)
{
    const DrvSeg readable = { VT_DATA, 16, FALSE }, nowhere = { RAM_SIZE - 8, 16, TRUE };
    BoardTest t;

    start(&t, RNG);
    g_auto(VirtioTest) v = vt_open(&t, SLOT);
    go(&v, 0);
    vt_send(&v, 0, &readable, 1, 1);
    expect_needs_reset(&v);
    vt_send(&v, 0, &nowhere, 1, 1);
    expect_needs_reset(&v);
    le16_put(t.ram + v.q[0].config.driver + 2, 0x4000); /* 16384 chains in a ring of 8 */
    vt_kick(&v, 0);
    expect_needs_reset(&v);
    board_test_clear(&t);
}

static void test_impossible_rings(void)
{
    BoardTest t;

    start(&t, RNG);
    g_auto(VirtioTest) v = vt_open(&t, SLOT);
    vt_msix_start(&v, 1);
    for (guint i = 0; i < 3; i++) {
        const guint64 at[] = { VT_RINGS + 8, RAM_SIZE - 16, ~G_GUINT64_CONSTANT(15) };
        g_assert_true(vt_negotiate(&v, V1));
        vt_out(&v, C_CONFIG_VECTOR, 1, 2);
        vt_queue(&v, 0, 0, 0);
        vt_out(&v, C_QUEUE_DESC, at[i], 8); /* enabled: not taken */
        g_assert_cmphex(vt_in(&v, C_QUEUE_DESC, 8), ==, v.q[0].config.desc);
        g_assert_true(vt_negotiate(&v, V1));
        vt_out(&v, C_CONFIG_VECTOR, 1, 2);
        vt_out(&v, C_QUEUE_DESC, at[i], 8);
        vt_out(&v, C_QUEUE_DRIVER, VT_RINGS, 8);
        vt_out(&v, C_QUEUE_DEVICE, VT_RINGS + 0x1000, 8);
        vt_out(&v, C_QUEUE_ENABLE, 1, 2);
        vt_driver_ok(&v);
        g_assert_cmphex(vt_status(&v) & S_NEEDS_RESET, ==, S_NEEDS_RESET);
        vt_expect_msi(&v, 1);
    }
    board_test_clear(&t);
}

/* ---- resets ---- */

static void test_queue_reset(void)
{
    BoardTest t;

    start(&t, RNG);
    g_auto(VirtioTest) v = vt_open(&t, SLOT);
    go(&v, F(F_RESET));
    ask(&v, 1, 32);
    vt_expect_msi(&v, 0);
    vt_out(&v, C_QUEUE_RESET, 1, 2);
    g_assert_cmphex(vt_in(&v, C_QUEUE_RESET, 2), ==, 0); /* done */
    g_assert_cmphex(vt_in(&v, C_QUEUE_ENABLE, 2), ==, 0);
    g_assert_cmphex(vt_in(&v, C_QUEUE_DESC, 8), ==, 0);
    g_assert_cmphex(vt_in(&v, C_QUEUE_SIZE, 2), ==, 8);
    vt_kick(&v, 0);
    vt_none_used(&v, 0);
    vt_queue(&v, 0, 4, F(F_RESET)); /* again, smaller */
    drv_irq_on(&v.q[0]);
    ask(&v, 2, 32);
    vt_expect_msi(&v, 0);
    g_assert_cmphex(vt_status(&v), ==, S_ACK | S_DRIVER | S_FEATURES_OK | S_DRIVER_OK);
    go(&v, 0);
    vt_out(&v, C_QUEUE_RESET, 1, 2); /* not negotiated */
    g_assert_cmphex(vt_in(&v, C_QUEUE_ENABLE, 2), ==, 1);
    ask(&v, 3, 32);
    board_test_clear(&t);
}

static void expect_as_new(VirtioTest *v)
{
    g_assert_cmphex(vt_status(v), ==, 0);
    g_assert_cmphex(vt_in(v, C_CONFIG_VECTOR, 2), ==, 0xffff);
    vt_out(v, C_QUEUE_SELECT, 0, 2);
    g_assert_cmphex(vt_in(v, C_QUEUE_DESC, 8), ==, 0);
    g_assert_cmphex(vt_in(v, C_QUEUE_ENABLE, 2), ==, 0);
    g_assert_cmphex(vt_in(v, C_QUEUE_SIZE, 2), ==, 8);
    g_assert_cmphex(vt_cfg_in(v, v->msix + 2, 2), ==, 1);
}

static void test_resets(void)
{
    BoardTest t;

    start(&t, RNG);
    g_auto(VirtioTest) v = vt_open(&t, SLOT);
    go(&v, 0);
    vt_cfg_out(&v, v.exp + 8, 0x8000, 2); /* function level reset */
    g_assert_cmphex(vt_cfg_in(&v, 4, 2), ==, 0);
    vt_kick(&v, 0);
    v = (vt_close(&v), vt_open(&t, SLOT));
    expect_as_new(&v);
    go(&v, 0);
    g_assert_true(drv_add(&v.q[0], &buffer, 1, FALSE, 1));
    vt_kick(&v, 0); /* not yet looked at */
    device_set_quiesce(t.set);
    device_set_reset(t.set, RESET_WARM);
    device_set_resume(t.set);
    vt_none_used(&v, 0);
    v = (vt_close(&v), vt_open(&t, SLOT));
    expect_as_new(&v);
    go(&v, 0);
    ask(&v, 2, 64);
    board_test_clear(&t);
}

/* ---- the quota ---- */

static void test_quota(void)
{
    const DrvSeg seg = { VT_DATA, 64, TRUE };
    BoardTest t;

    start(&t, "{\"driver\": \"virtio-rng-pci\", \"addr\": \"4\", \"max-bytes\": 100, \"period\": 1000}");
    g_auto(VirtioTest) v = vt_open(&t, SLOT);
    go(&v, 0);
    ask(&v, 1, 64);
    vt_send(&v, 0, &seg, 1, 2);
    g_assert_cmpuint(vt_used(&v, 0, 2), ==, 36); /* what is left */
    vt_send(&v, 0, &seg, 1, 3);
    vt_none_used(&v, 0);
    step(&t, 999 * NS_PER_MS);
    vt_none_used(&v, 0);
    step(&t, 1 * NS_PER_MS);
    board_test_settle();
    g_assert_cmpuint(vt_used(&v, 0, 3), ==, 64);
    vt_send(&v, 0, &seg, 1, 4);
    g_assert_cmpuint(vt_used(&v, 0, 4), ==, 36);
    step(&t, 5000 * NS_PER_MS); /* unused periods give nothing extra */
    ask(&v, 5, 64);
    vt_send(&v, 0, &seg, 1, 6);
    g_assert_cmpuint(vt_used(&v, 0, 6), ==, 36);
    board_test_clear(&t);
}

/* ---- stopping, saving, unplugging ---- */

static void test_stop_and_cont(void)
{
    BoardTest t;

    start(&t, RNG);
    g_auto(VirtioTest) v = vt_open(&t, SLOT);
    go(&v, 0);
    g_assert_true(drv_add(&v.q[0], &buffer, 1, FALSE, 1));
    vt_kick(&v, 0);
    device_set_quiesce(t.set);
    vt_none_used(&v, 0);
    device_set_resume(t.set);
    board_test_settle();
    g_assert_cmpuint(vt_used(&v, 0, 1), ==, 256);
    vt_expect_msi(&v, 0);
    board_test_clear(&t);
}

/* The device of B is what that of A was; what A's driver does next it does with B. */
static void move(BoardTest *a, BoardTest *b, VirtioTest *v)
{
    g_autoptr(GError) error = NULL;
    Device *from = device_set_find(a->set, NS_DEVICE, "rng"), *to = device_set_find(b->set, NS_DEVICE, "rng");

    device_set_quiesce(a->set);
    g_autoptr(GVariant) saved = device_save(from);
    memcpy(b->ram, a->ram, RAM_SIZE);
    if (vm_clock_ns(a->vm) > vm_clock_ns(b->vm))
        g_assert_true(vm_clock_step_to(b->vm, vm_clock_ns(a->vm), 1000000));
    device_set_reset(b->set, RESET_BEFORE_LOAD);
    g_assert_true(device_load(to, saved, &error));
    g_assert_no_error(error);
    g_autoptr(GVariant) again = device_save(to);
    g_assert_true(g_variant_equal(saved, again));
    device_set_resume(b->set);
    board_test_settle();
    v->t = b;
    v->q[0].mem = b->ram;
}

static void test_save_and_load(gconstpointer user)
{
    guint64 features = *(const guint64 *)user;
    const char *json = "{\"driver\": \"virtio-rng-pci\", \"id\": \"rng\", \"addr\": \"4\", \"packed\": true, \"in_order\": true,"
                       " \"max-bytes\": 1000, \"period\": 100}";
    BoardTest a, b;

    start(&a, json);
    start(&b, json);
    g_auto(VirtioTest) v = vt_open(&a, SLOT);
    go(&v, features);
    for (guint i = 0; i < 11; i++)
        ask(&v, i, 80);
    g_assert_true(drv_add(&v.q[0], &buffer, 1, FALSE, 100));
    vt_kick(&v, 0); /* and not looked at by A */
    vt_vector(&v, 0, TRUE);
    move(&a, &b, &v);
    g_assert_cmpuint(vt_used(&v, 0, 100), ==, 120); /* of 1000 bytes 880 were given */
    vt_send(&v, 0, &buffer, 1, 101);
    vt_none_used(&v, 0);
    step(&b, 100 * NS_PER_MS);
    board_test_settle();
    g_assert_cmpuint(vt_used(&v, 0, 101), ==, 256);
    while (vm_test_take_msi(a.vm, &(guint64){ 0 }, &(guint32){ 0 }))
        continue;
    vt_vector(&v, 0, FALSE);
    vt_expect_msi(&v, 0);
    board_test_clear(&a);
    board_test_clear(&b);
}

/* Without bus mastering nothing is read or written; what was kicked meanwhile is served when it is on again, in the machine
 * where that happens. */
static void test_bus_master(void)
{
    BoardTest a, b;

    start(&a, RNG);
    start(&b, RNG);
    g_auto(VirtioTest) v = vt_open(&a, SLOT);
    go(&v, 0);
    vt_cfg_out(&v, 4, 2, 2);
    vt_send(&v, 0, &buffer, 1, 1);
    vt_none_used(&v, 0);
    vt_cfg_out(&v, 4, 6, 2);
    g_assert_cmpuint(vt_used(&v, 0, 1), ==, 256);
    vt_expect_msi(&v, 0);
    vt_cfg_out(&v, 4, 2, 2);
    vt_send(&v, 0, &buffer, 1, 2);
    move(&a, &b, &v);
    vt_none_used(&v, 0);
    vt_cfg_out(&v, 4, 6, 2);
    g_assert_cmpuint(vt_used(&v, 0, 2), ==, 256);
    vt_cfg_out(&v, 4, 2, 2);
    go(&v, 0); /* a driver that forgot it */
    vt_send(&v, 0, &buffer, 1, 3);
    vt_none_used(&v, 0);
    vt_cfg_out(&v, 4, 6, 2);
    g_assert_cmpuint(vt_used(&v, 0, 3), ==, 256);
    board_test_clear(&a);
    board_test_clear(&b);
}

/* A state that no device has is refused, and changes nothing. */
static void refuse(BoardTest *t, GVariant *saved, const char *field, GVariant *value, const char *message)
{
    g_autoptr(GError) error = NULL;
    g_auto(GVariantDict) dict = G_VARIANT_DICT_INIT(saved);
    Device *dev = device_set_find(t->set, NS_DEVICE, "rng");

    g_variant_dict_insert_value(&dict, field, value);
    g_autoptr(GVariant) state = g_variant_ref_sink(g_variant_dict_end(&dict));
    g_assert_false(device_load(dev, state, &error));
    g_assert_cmpstr(error->message, ==, message);
}

static void test_load_checks(void)
{
    BoardTest t;
    VirtioQueueRegs regs = { .size = 16, .vector = 0xffff };

    start(&t, RNG);
    g_auto(VirtioTest) v = vt_open(&t, SLOT);
    vt_accept(&v, F(63) | F(3)); /* before FEATURES_OK a driver may write what it likes */
    g_autoptr(GVariant) odd = device_save(device_set_find(t.set, NS_DEVICE, "rng"));
    g_assert_true(device_load(device_set_find(t.set, NS_DEVICE, "rng"), odd, NULL));
    g_assert_true(vt_negotiate(&v, V1));
    g_autoptr(GVariant) saved = device_save(device_set_find(t.set, NS_DEVICE, "rng"));
    refuse(&t, saved, "virtio-features", g_variant_new_uint64(F(F_PACKED)),
           "State of device 'rng': features 0x400000000, the device has 0x10130000000");
    refuse(&t, saved, "virtio-config-vector", g_variant_new_uint16(2),
           "State of device 'rng': configuration vector 2 of 2");
    refuse(&t, saved, "virtio-queues", g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, &regs, sizeof regs, 1),
           "State of device 'rng': queue 0 has size 16, at most 8");
    regs.size = 7;
    refuse(&t, saved, "virtio-queues", g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, &regs, sizeof regs - 1, 1),
           "State of device 'rng': field 'virtio-queues' has 39 bytes, wanted 40");
    regs.size = 8;
    regs.enabled = 2;
    refuse(&t, saved, "virtio-queues", g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, &regs, sizeof regs, 1),
           "State of device 'rng': queue 0 has flags that are none");
    g_autoptr(GVariant) after = device_save(device_set_find(t.set, NS_DEVICE, "rng"));
    g_assert_true(g_variant_equal(saved, after));
    board_test_clear(&t);
}

static void test_hot_plug(void)
{
    g_autoptr(GError) error = NULL;
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    board_test_ram(&t);
    device_set_started(t.set);
    for (guint i = 0; i < 3; i++) {
        Device *dev = board_test_plug(&t, RNG, &error);
        g_assert_no_error(error);
        g_auto(VirtioTest) v = vt_open(&t, SLOT);
        go(&v, 0);
        ask(&v, i, 64);
        g_assert_true(drv_add(&v.q[0], &buffer, 1, FALSE, 1));
        vt_kick(&v, 0);
        g_assert_true(device_remove(dev, &error)); /* live, a kick not looked at */
        vt_none_used(&v, 0);
        g_assert_cmphex(vt_cfg_in(&v, 0, 4), ==, 0xffffffff);
        while (vm_test_take_msi(t.vm, &(guint64){ 0 }, &(guint32){ 0 }))
            continue;
    }
    board_test_clear(&t);
}

/* ---- what a manager says ---- */

static void plug_fails(BoardTest *t, const char *json, const char *message)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(board_test_plug(t, json, &error));
    g_assert_cmpstr(error->message, ==, message);
}

static void test_refusals(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    plug_fails(&t, "{\"driver\": \"virtio-rng-pci\", \"id\": \"r\", \"queue-size\": 12}",
               "Property 'queue-size' of device 'r' is 12, not a power of two");
    plug_fails(&t, "{\"driver\": \"virtio-rng-pci\", \"id\": \"r\", \"vectors\": 513}",
               "Property 'virtio-rng-pci.vectors' does not accept 513: uint16 from 0 to 512");
    plug_fails(&t, "{\"driver\": \"virtio-rng-pci\", \"id\": \"r\", \"rng\": \"none\"}",
               "Property 'rng' of device 'r': there is no rng 'none'");
    plug_fails(&t, "{\"driver\": \"virtio-rng-pci\", \"id\": \"r\", \"max-bytes\": 0}",
               "Property 'virtio-rng-pci.max-bytes' does not accept 0: uint64 from 1 to 9223372036854775807");
    board_test_clear(&t);
}

static void test_object(void)
{
    g_autoptr(GError) error = NULL, removal = NULL;
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    board_test_ram(&t);
    Device *object = board_test_plug_as(&t, "qom-type", "{\"qom-type\": \"rng-random\", \"id\": \"o\", \"filename\": \"/dev/random\"}", &error);
    g_assert_no_error(error);
    Device *dev = board_test_plug(&t, "{\"driver\": \"virtio-rng-pci\", \"addr\": \"4\", \"rng\": \"o\"}", &error);
    g_assert_no_error(error);
    board_test_power_on(&t);
    g_assert_false(device_remove(object, &removal));
    g_auto(VirtioTest) v = vt_open(&t, SLOT);
    go(&v, 0);
    ask(&v, 1, 300);
    g_assert_true(device_remove(dev, &error));
    g_assert_true(device_remove(object, &error));
    board_test_clear(&t);
}

/* What is offered is in the fingerprint; what was accepted is not. */
static void test_fingerprint(void)
{
    guint8 before[ABI_HASH_LEN], after[ABI_HASH_LEN], other[ABI_HASH_LEN];
    BoardTest t;

    start(&t, RNG);
    g_auto(VirtioTest) v = vt_open(&t, SLOT);
    abi_fingerprint(t.set, before, NULL);
    go(&v, 0);
    ask(&v, 1, 16);
    abi_invalidate(device_set_find(t.set, NS_DEVICE, "rng"));
    abi_fingerprint(t.set, after, NULL);
    g_assert_cmpmem(before, sizeof before, after, sizeof after);
    board_test_clear(&t);
    start(&t, "{\"driver\": \"virtio-rng-pci\", \"id\": \"rng\", \"addr\": \"4\", \"event_idx\": false}");
    abi_fingerprint(t.set, other, NULL);
    g_assert_cmpint(memcmp(before, other, sizeof before), !=, 0);
    board_test_clear(&t);
}

int main(int argc, char **argv)
{
    static const guint64 split = 0, event = F(F_EVENT_IDX), packed = F(F_PACKED),
                         packed_event = F(F_PACKED) | F(F_EVENT_IDX), in_order = F(F_PACKED) | F(F_IN_ORDER);

    g_test_init(&argc, &argv, NULL);
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FATAL_MASK);
    g_test_add_func("/virtio/identity", test_identity);
    g_test_add_func("/virtio/link", test_link);
    g_test_add_func("/virtio/features-by-rows", test_features_by_rows);
    g_test_add_func("/virtio/recorded-capabilities", test_recorded_capabilities);
    g_test_add_func("/virtio/window", test_window);
    g_test_add_func("/virtio/negotiation", test_negotiation);
    g_test_add_func("/virtio/queue-registers", test_queue_registers);
    g_test_add_data_func("/virtio/bytes/split", &split, test_bytes);
    g_test_add_data_func("/virtio/bytes/split-event-idx", &event, test_bytes);
    g_test_add_data_func("/virtio/bytes/packed", &packed, test_bytes);
    g_test_add_data_func("/virtio/bytes/packed-event-idx", &packed_event, test_bytes);
    g_test_add_data_func("/virtio/bytes/packed-in-order", &in_order, test_bytes);
    g_test_add_func("/virtio/large-buffers", test_large_buffers);
    g_test_add_func("/virtio/pin", test_pin);
    g_test_add_func("/virtio/masked-vector", test_masked_vector);
    g_test_add_func("/virtio/no-msix", test_no_msix);
    g_test_add_func("/virtio/needs-reset", test_needs_reset);
    g_test_add_func("/virtio/impossible-rings", test_impossible_rings);
    g_test_add_func("/virtio/queue-reset", test_queue_reset);
    g_test_add_func("/virtio/resets", test_resets);
    g_test_add_func("/virtio/quota", test_quota);
    g_test_add_func("/virtio/stop-and-cont", test_stop_and_cont);
    g_test_add_data_func("/virtio/save-and-load/split", &split, test_save_and_load);
    g_test_add_data_func("/virtio/save-and-load/packed", &packed_event, test_save_and_load);
    g_test_add_func("/virtio-rng/bus-master", test_bus_master);
    g_test_add_func("/virtio/load-checks", test_load_checks);
    g_test_add_func("/virtio/hot-plug", test_hot_plug);
    g_test_add_func("/virtio/refusals", test_refusals);
    g_test_add_func("/virtio/object", test_object);
    g_test_add_func("/virtio/fingerprint", test_fingerprint);
    return g_test_run();
}

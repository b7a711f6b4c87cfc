/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz-virtio.c - libFuzzer target: a hostile driver of a virtio PCI function. It writes to every register of the BAR and of
 * configuration space in any order and width, writes its rings while they are in use, and lets the machine stop, go on
 * and reset in between. Whatever it did: what is saved loads into another machine and saves alike, and after a
 * reset a well-behaved driver gets its bytes.
 *
 * An operation is eight bytes: kind, width, offset (two), value (four).
 */
#include "../device/virtio-test.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

#define SLOT 4
#define DEVICE "{\"driver\": \"virtio-rng-pci\", \"id\": \"rng\", \"addr\": \"4\", \"packed\": true, \"in_order\": true}"
#define BAR (VT_BAR + (SLOT << 20))

static void machine(BoardTest *t)
{
    g_autoptr(GError) error = NULL;

    board_test_init(t, BOARD_DEFAULT);
    board_test_ram(t);
    board_test_plug(t, DEVICE, &error);
    g_assert_no_error(error);
    board_test_power_on(t);
}

static void touch(BoardTest *t, guint64 at, guint32 value, unsigned width, gboolean write)
{
    if (write)
        mem_out(t, at, value, width);
    else
        (void)mem_in(t, at, width);
}

static void stop_or_reset(BoardTest *t, guint32 value)
{
    device_set_quiesce(t->set);
    if (value & 1)
        device_set_reset(t->set, RESET_WARM);
    device_set_resume(t->set);
}

static void one(BoardTest *t, const guint8 op[8])
{
    unsigned width = 1u << op[1] % 4;
    gboolean write = !(op[1] & 0x80);
    guint16 at = le16_get(op + 2);
    guint32 value = le32_get(op + 4);

    switch (op[0] % 9) {
    case 0: /* common configuration */
        touch(t, BAR + at % 0x40, value, width, write);
        break;
    case 1: /* anywhere in the BAR */
        touch(t, BAR + at % 0x8000, value, width, write);
        break;
    case 2: /* configuration space */
        touch(t, VT_ECAM + (SLOT << 15) + at % 0x200, value, MIN(width, 4), write);
        break;
    case 3: /* the rings */
        le32_put(t->ram + VT_RINGS + at % 0xfffc, value);
        break;
    case 4: /* a notification */
        touch(t, BAR + 0x3000, 0, 2, TRUE);
        break;
    case 5:
        stop_or_reset(t, value);
        break;
    case 6:
        board_test_settle();
        break;
    case 7:
        step(t, value % 1000000);
        break;
    default: /* the BAR comes back to where the other operations look for it */
        touch(t, VT_ECAM + (SLOT << 15) + 0x20, (guint32)BAR, 4, TRUE);
        touch(t, VT_ECAM + (SLOT << 15) + 0x24, 0, 4, TRUE);
        touch(t, VT_ECAM + (SLOT << 15) + 4, 6, 2, TRUE);
        board_test_settle();
    }
}

/* The same device in another machine. */
static void check_move(BoardTest *a)
{
    g_autoptr(GError) error = NULL;
    BoardTest b;

    machine(&b);
    device_set_quiesce(a->set);
    memcpy(b.ram, a->ram, RAM_SIZE);
    g_autoptr(GVariant) saved = device_save(device_set_find(a->set, NS_DEVICE, "rng"));
    g_assert_true(vm_clock_step_to(b.vm, vm_clock_ns(a->vm), 1000000));
    Device *dev = device_set_find(b.set, NS_DEVICE, "rng");
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
    const DrvSeg seg = { VT_DATA, 64, TRUE };

    device_set_reset(t->set, RESET_WARM);
    g_auto(VirtioTest) v = vt_open(t, SLOT);
    g_assert_true(vt_negotiate(&v, F(F_VERSION_1)));
    vt_queue(&v, 0, 0, 0);
    vt_driver_ok(&v);
    vt_send(&v, 0, &seg, 1, 1);
    g_assert_cmpuint(vt_used(&v, 0, 1), ==, 64);
}

static void silent(const gchar *domain, GLogLevelFlags level, const gchar *message, gpointer user)
{
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    BoardTest t;

    g_log_set_default_handler(silent, NULL);
    machine(&t);
    one(&t, (const guint8[8]){ 8 });
    for (gsize i = 0; i + 8 <= size && i < 8 * 2000; i += 8)
        one(&t, data + i);
    if (size >= 8 && (data[4] & 1)) /* costs as much as the rest */
        check_move(&t);
    check_works(&t);
    board_test_clear(&t);
    return 0;
}

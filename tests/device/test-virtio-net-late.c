/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-virtio-net-late.c - interrupts for little that was sent come late, but they come: also when the card stands still meanwhile.
 */
#include "net-memory.h"

static gboolean took_msi(Rig *r, guint vector)
{
    guint64 address;
    guint32 data;

    board_test_settle();
    if (!vm_test_take_msi(r->t.vm, &address, &data))
        return FALSE;
    g_assert_cmphex(data, ==, VT_MSI_DATA(vector));
    return TRUE;
}

/* One frame or many, small or large: the driver that waits for an interrupt gets it, with both kinds of wishes. */
static void test_comes(void)
{
    static const guint64 kinds[] = { 0, F(F_EVENT_IDX), F(F_PACKED), F(F_PACKED) | F(F_EVENT_IDX) };
    static const struct {
        guint n;
        gsize len;
    } cases[] = { { 1, 60 }, { 1, 9000 }, { 2, 60 }, { 3, 60 } };

    for (guint i = 0; i < G_N_ELEMENTS(kinds) * G_N_ELEMENTS(cases); i++) {
        guint n = cases[i % 4].n;
        Rig r;
        rig_start(&r, "", ",\"packed\":true");
        rig_go(&r, kinds[i / 4], 2);
        for (guint k = 0; k < 3; k++) {
            g_assert_false(drv_irq_on(&r.v.q[1]));
            for (guint f = 0; f < n; f++)
                rig_send_frame(&r, 1, NULL, cases[i % 4].len);
            RIG_AWAIT(took_msi(&r, 1));
        }
        rig_end(&r);
    }
}

/* The machine stops, or the function loses the bus, while an interrupt is owed: it comes when that is over. */
static void test_goes_on(void)
{
    for (guint i = 0; i < 20; i++) {
        Rig r;
        rig_start(&r, "", "");
        rig_go(&r, F(F_EVENT_IDX), 2);
        g_assert_false(drv_irq_on(&r.v.q[1]));
        rig_send_frame(&r, 1, NULL, 60);
        i % 2 ? vt_cfg_out(&r.v, 4, 2, 2) : device_set_quiesce(r.t.set);
        i % 2 ? vt_cfg_out(&r.v, 4, 6, 2) : device_set_resume(r.t.set);
        RIG_AWAIT(took_msi(&r, 1));
        rig_end(&r);
    }
}

/* The driver resets the card, or it goes, while an interrupt is owed: nobody looks for it any more. */
static void test_ends(void)
{
    for (guint i = 0; i < 20; i++) {
        Rig r;
        rig_start(&r, "", "");
        rig_go(&r, F(F_EVENT_IDX), 2);
        rig_send_frame(&r, 1, NULL, 60);
        if (i % 2) {
            vt_out(&r.v, C_STATUS, 0, 1);
            rig_go(&r, F(F_EVENT_IDX), 2);
            rig_send_frame(&r, 1, NULL, 60);
        }
        rig_end(&r);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtio-net-late/comes", test_comes);
    g_test_add_func("/virtio-net-late/goes-on", test_goes_on);
    g_test_add_func("/virtio-net-late/ends", test_ends);
    return g_test_run();
}

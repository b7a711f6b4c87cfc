/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* LPC bridge: PM timer, SCI, GPE0, power-off, the ways to reset, where the ACPI block is. */
#include "board-test.h"

#define PM 0x600
#define PM1_STS (PM + 0)
#define PM1_EN (PM + 2)
#define PM1_CNT (PM + 4)
#define PM_TMR (PM + 8)
#define GPE0_STS (PM + 0x20)
#define GPE0_EN (PM + 0x28)
#define LPC 0xf8
#define SCI 9

/* One carry of the 24-bit timer: 2^23 / 3.579545 MHz. */
#define CARRY_NS G_GINT64_CONSTANT(2343484438)

static void test_timer_value(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    guint32 before = inl(&t, PM_TMR);
    step(&t, NS_PER_S);
    g_assert_cmpuint((inl(&t, PM_TMR) - before) & 0xffffff, ==, 3579545);
    /* 24 bits wide */
    step(&t, 10 * NS_PER_S);
    g_assert_cmpuint(inl(&t, PM_TMR) >> 24, ==, 0);
    g_assert_cmpuint(inb(&t, PM_TMR + 1), ==, (inl(&t, PM_TMR) >> 8) & 0xff);
    board_test_clear(&t);
}

static void test_timer_carry(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    /* polled: no timer is needed for the status to be right */
    g_assert_cmpint(vm_clock_next_deadline(t.vm), ==, -1);
    step(&t, CARRY_NS - 1);
    g_assert_cmpuint(inw(&t, PM1_STS), ==, 0);
    step(&t, 1);
    g_assert_cmpuint(inw(&t, PM1_STS), ==, 1);
    g_assert_false(irq_pin_level(t.vm, SCI));

    /* enabled: pending status interrupts at once; the next one when it is due */
    outw(&t, PM1_EN, 1);
    g_assert_true(irq_pin_level(t.vm, SCI));
    outw(&t, PM1_STS, 1);
    g_assert_false(irq_pin_level(t.vm, SCI));
    g_assert_cmpint(vm_clock_next_deadline(t.vm), >, vm_clock_ns(t.vm));
    step(&t, CARRY_NS);
    g_assert_true(irq_pin_level(t.vm, SCI));
    /* and not again until it is cleared */
    g_assert_cmpint(vm_clock_next_deadline(t.vm), ==, -1);
    outw(&t, PM1_EN, 0);
    g_assert_false(irq_pin_level(t.vm, SCI));
    board_test_clear(&t);
}

static void test_power_button(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    pm_power_button(t.set);
    g_assert_cmpuint(inw(&t, PM1_STS), ==, 0x100);
    g_assert_false(irq_pin_level(t.vm, SCI));
    outb(&t, PM1_EN + 1, 0x01); /* byte access to bits 15-8 */
    g_assert_cmpuint(inw(&t, PM1_EN), ==, 0x100);
    g_assert_true(irq_pin_level(t.vm, SCI));
    outw(&t, PM1_STS, 0x0001); /* another bit: stays */
    g_assert_true(irq_pin_level(t.vm, SCI));
    outw(&t, PM1_STS, 0x0100);
    g_assert_false(irq_pin_level(t.vm, SCI));
    board_test_clear(&t);
}

static void test_gpe(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    pm_gpe_set(t.set, 2);
    pm_gpe_set(t.set, 33);
    g_assert_cmpuint(inl(&t, GPE0_STS), ==, 1 << 2);
    g_assert_cmpuint(inb(&t, GPE0_STS + 4), ==, 1 << 1);
    outb(&t, GPE0_EN + 4, 2);
    g_assert_true(irq_pin_level(t.vm, SCI));
    outb(&t, GPE0_STS + 4, 2);
    g_assert_false(irq_pin_level(t.vm, SCI));
    outb(&t, GPE0_EN, 4);
    g_assert_true(irq_pin_level(t.vm, SCI));
    outl(&t, GPE0_STS, 0xffffffff);
    g_assert_false(irq_pin_level(t.vm, SCI));
    board_test_clear(&t);
}

/* What is plugged together raises the interrupt once, with all bits. */
static void test_gpe_of_several(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    outb(&t, GPE0_EN, 0x0e);
    device_plug_begin(t.set);
    pm_gpe_plugged(t.set, 2);
    pm_gpe_plugged(t.set, 3);
    pm_gpe_plugged(t.set, 2);
    g_assert_cmpuint(inl(&t, GPE0_STS), ==, 0);
    g_assert_false(irq_pin_level(t.vm, SCI));
    pm_gpe_set(t.set, 1); /* not by plugging: does not wait */
    g_assert_cmpuint(inl(&t, GPE0_STS), ==, 0x02);
    outb(&t, GPE0_STS, 0x02);
    device_plug_end(t.set);
    g_assert_cmpuint(inl(&t, GPE0_STS), ==, 0x0c);
    g_assert_true(irq_pin_level(t.vm, SCI));
    outb(&t, GPE0_STS, 0x0c);
    pm_gpe_plugged(t.set, 3); /* no bracket: at once, and nothing of before */
    g_assert_cmpuint(inl(&t, GPE0_STS), ==, 0x08);
    board_test_clear(&t);
}

static void test_power_off(void)
{
    BoardTest t;

    board_test_init(&t, "{\"driver\": \"board\", \"s5-sleep-type\": 5}");
    vm_run(t.vm);
    g_assert_cmpuint(inw(&t, PM1_CNT), ==, 1); /* SCI_EN: there is no legacy mode */
    outw(&t, PM1_CNT, 0);
    g_assert_cmpuint(inw(&t, PM1_CNT), ==, 1);
    outw(&t, PM1_CNT, 1 << 13 | 3 << 10); /* a sleep state that this board does not have */
    g_assert_cmpuint(t.shutdowns, ==, 0);
    outw(&t, PM1_CNT, 5 << 10); /* type alone */
    g_assert_cmpuint(t.shutdowns, ==, 0);
    outw(&t, PM1_CNT, 1 << 13 | 5 << 10);
    g_assert_cmpuint(t.shutdowns, ==, 1);
    g_assert_cmpint(t.vm->hold, !=, 0); /* the guest does not run past it */
    g_assert_cmpuint(inw(&t, PM1_CNT), ==, (5 << 10) + 1);
    g_assert_cmpuint(t.resets, ==, 0);
    board_test_clear(&t);
}

static void test_smi_en(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    g_assert_cmpuint(inl(&t, PM + 0x30) & 0x20, ==, 0x20);
    outl(&t, PM + 0x30, 0);
    g_assert_cmpuint(inl(&t, PM + 0x30), ==, 0x20);
    board_test_clear(&t);
}

static void test_resets(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    vm_run(t.vm);
    /* 0xcf9: type first, then bit 2 */
    outb(&t, 0xcf9, 0x02);
    g_assert_cmpuint(t.resets, ==, 0);
    g_assert_cmpuint(inb(&t, 0xcf9), ==, 0x02);
    outb(&t, 0xcf9, 0x06);
    g_assert_cmpuint(t.resets, ==, 1);
    g_assert_cmpint(t.vm->hold, !=, 0);
    /* port 0x92: the rising edge */
    g_assert_cmpuint(inb(&t, 0x92), ==, 0x02);
    outb(&t, 0x92, 0x03);
    g_assert_cmpuint(t.resets, ==, 2);
    outb(&t, 0x92, 0x03);
    g_assert_cmpuint(t.resets, ==, 2);
    /* the keyboard controller that is not there */
    g_assert_cmpuint(inb(&t, 0x64), ==, 0xff);
    outb(&t, 0x64, 0xaa);
    outb(&t, 0x64, 0xff);
    g_assert_cmpuint(t.resets, ==, 2);
    outb(&t, 0x64, 0xfe);
    g_assert_cmpuint(t.resets, ==, 3);
    outb(&t, 0x80, 0x12);
    board_test_clear(&t);
}

/* The address register is not disturbed by the reset register in its midst. */
static void test_reset_port_shares_cf8(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    outl(&t, 0xcf8, 0x80000000);
    outb(&t, 0xcf9, 0x0a);
    g_assert_cmphex(inl(&t, 0xcf8), ==, 0x80000000);
    g_assert_cmphex(inl(&t, 0xcfc), ==, 0x29c08086);
    g_assert_cmphex(inb(&t, 0xcf9), ==, 0x0a);
    board_test_clear(&t);
}

static void test_move_block(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    vm_run(t.vm);
    g_assert_cmphex(cfg_in(&t, LPC, 0x40, 4), ==, 0x601);
    cfg_out(&t, LPC, 0x40, 0xb000, 4);
    g_assert_cmphex(cfg_in(&t, LPC, 0x40, 4), ==, 0xb001);
    g_assert_cmpint(t.vm->hold, !=, 0); /* the guest waits ... */
    board_test_settle();
    g_assert_cmpint(t.vm->hold, ==, 0); /* ... until it is done */
    g_assert_cmpuint(inw(&t, 0xb004), ==, 1);
    g_assert_cmphex(inw(&t, PM1_CNT), ==, 0xffff);
    /* disabled: nowhere */
    cfg_out(&t, LPC, 0x44, 0x00, 1);
    board_test_settle();
    g_assert_cmphex(inw(&t, 0xb004), ==, 0xffff);
    board_test_power_on(&t);
    g_assert_cmpuint(inw(&t, PM1_CNT), ==, 1);
    board_test_clear(&t);
}

/* Onto ports that are taken: an error of the guest's, and no harm. */
static void test_move_block_onto_other(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    cfg_out(&t, LPC, 0x40, 0x500, 4); /* fw_cfg is at 0x510 */
    board_test_settle();
    g_assert_cmphex(inw(&t, 0x504), ==, 0xffff);
    cfg_out(&t, LPC, 0x40, 0x700, 4);
    board_test_settle();
    g_assert_cmphex(inw(&t, 0x704), ==, 1);
    board_test_clear(&t);
}

static void test_move_sci(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    outl(&t, GPE0_EN, 1);
    pm_gpe_set(t.set, 0);
    g_assert_true(irq_pin_level(t.vm, 9));
    cfg_out(&t, LPC, 0x44, 0x81, 1);
    board_test_settle();
    g_assert_false(irq_pin_level(t.vm, 9));
    g_assert_true(irq_pin_level(t.vm, 10));
    board_test_power_on(&t);
    g_assert_false(irq_pin_level(t.vm, 10));
    board_test_clear(&t);
}

static void test_rows(void)
{
    BoardTest t;

    board_test_init(&t, "{\"driver\": \"board\", \"pm-base\": 2048, \"sci-irq\": 11}");
    g_assert_cmphex(inw(&t, 0x804), ==, 1);
    g_assert_cmpuint(pm_base(t.set), ==, 0x800);
    g_assert_cmphex(cfg_in(&t, LPC, 0x44, 1), ==, 0x82);
    outl(&t, 0x828, 1);
    pm_gpe_set(t.set, 0);
    g_assert_true(irq_pin_level(t.vm, 11));
    board_test_clear(&t);
}

/* Saved in the middle of things, it goes on alike elsewhere. */
static void test_save_load(void)
{
    BoardTest a, b;

    board_test_init(&a, BOARD_DEFAULT);
    board_test_init(&b, BOARD_DEFAULT);
    outw(&a, PM1_EN, 0x101);
    outl(&a, GPE0_EN, 6);
    pm_gpe_set(a.set, 2);
    cfg_out(&a, LPC, 0x40, 0xb000, 4);
    cfg_out(&a, LPC, 0x60, 0x0b, 1);
    outb(&a, 0xcf9, 0x0a);
    outb(&a, 0x92, 0x00);
    step(&a, NS_PER_S);
    board_test_settle();
    board_test_move(&a, &b, "ICH9-LPC");
    for (guint i = 0; i < 0x40; i++)
        g_assert_cmphex(inb(&a, 0xb000 + i), ==, inb(&b, 0xb000 + i));
    for (guint i = 0; i < 256; i++)
        g_assert_cmphex(cfg_in(&a, LPC, i, 1), ==, cfg_in(&b, LPC, i, 1));
    g_assert_cmphex(inb(&b, 0xcf9), ==, 0x0a);
    g_assert_cmphex(inb(&b, 0x92), ==, 0x00);
    g_assert_true(irq_pin_level(b.vm, SCI));
    outl(&b, 0xb020, 4);
    g_assert_false(irq_pin_level(b.vm, SCI));
    step(&b, 2 * NS_PER_S); /* the armed carry came along */
    g_assert_true(irq_pin_level(b.vm, SCI));
    board_test_clear(&a);
    board_test_clear(&b);
}

/* A carry that was seen and cleared is not seen again elsewhere. */
static void test_save_load_carry(void)
{
    BoardTest a, b;

    board_test_init(&a, BOARD_DEFAULT);
    board_test_init(&b, BOARD_DEFAULT);
    step(&a, CARRY_NS);
    g_assert_cmpuint(inw(&a, PM1_STS), ==, 1);
    outw(&a, PM1_STS, 1);
    board_test_move(&a, &b, "ICH9-LPC");
    g_assert_cmpuint(inw(&b, PM1_STS), ==, 0);
    step(&b, CARRY_NS);
    g_assert_cmpuint(inw(&b, PM1_STS), ==, 1);
    board_test_clear(&a);
    board_test_clear(&b);
}

static void test_reset_restores(void)
{
    BoardTest t;
    g_autoptr(GVariant) before = NULL, after = NULL;

    board_test_init(&t, BOARD_DEFAULT);
    before = device_save(device_set_part(t.set, "ICH9-LPC"));
    for (guint i = 0; i < 256; i += 4)
        cfg_out(&t, LPC, i, 0xffffffff, 4);
    board_test_settle();
    outb(&t, 0xcf9, 0x0a);
    outb(&t, 0x92, 0);
    board_test_power_on(&t);
    for (guint i = 0; i < 128; i += 4) {
        if (i != 4)
            outl(&t, PM + i, 0xffffffff);
    }
    board_test_power_on(&t);
    after = device_save(device_set_part(t.set, "ICH9-LPC"));
    g_assert_true(g_variant_equal(before, after));
    board_test_clear(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/lpc/pm-timer/value", test_timer_value);
    g_test_add_func("/lpc/pm-timer/carry", test_timer_carry);
    g_test_add_func("/lpc/power-button", test_power_button);
    g_test_add_func("/lpc/gpe", test_gpe);
    g_test_add_func("/lpc/gpe-of-several", test_gpe_of_several);
    g_test_add_func("/lpc/power-off", test_power_off);
    g_test_add_func("/lpc/smi-en", test_smi_en);
    g_test_add_func("/lpc/resets", test_resets);
    g_test_add_func("/lpc/reset-port-shares-cf8", test_reset_port_shares_cf8);
    g_test_add_func("/lpc/move/block", test_move_block);
    g_test_add_func("/lpc/move/block-onto-other", test_move_block_onto_other);
    g_test_add_func("/lpc/move/sci", test_move_sci);
    g_test_add_func("/lpc/rows", test_rows);
    g_test_add_func("/lpc/save-load", test_save_load);
    g_test_add_func("/lpc/save-load-carry", test_save_load_carry);
    g_test_add_func("/lpc/reset-restores", test_reset_restores);
    return g_test_run();
}

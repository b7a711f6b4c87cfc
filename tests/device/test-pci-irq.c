/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* MSI-X, MSI, interrupt pins, function level reset. */
#include <sys/eventfd.h>

#include "pci-test.h"

#define FN fn_at(0, 4, 0)
#define REGS G_GUINT64_CONSTANT(0xe0000000)
#define TABLE(i) (REGS + TABLE_AT + (i) * 16u)
#define PBA (REGS + PBA_AT)
#define MSIX_ON 0x8000
#define MSIX_ALL_MASKED 0x4000

/* A machine with the function at slot 4, decoding and bus master. */
static TestDev *start(BoardTest *t)
{
    board_test_init(t, BOARD_DEFAULT);
    TestDev *d = (TestDev *)pci_plug(t, "pci-testdev", "{\"id\": \"dev\", \"addr\": \"4\"}");
    pci_out(t, FN, PCI_BAR0, (guint32)REGS, 4);
    pci_out(t, FN, PCI_COMMAND, 6, 2);
    return d;
}

static void msix_control(BoardTest *t, guint16 value)
{
    pci_out(t, FN, find_cap(t, FN, PCI_CAP_MSIX) + 2, value, 2);
}

static void program(BoardTest *t, guint i, guint32 data, gboolean masked)
{
    mem_out(t, TABLE(i), 0xfee00000 + i * 4, 4);
    mem_out(t, TABLE(i) + 4, 0, 4);
    mem_out(t, TABLE(i) + 8, data, 4);
    mem_out(t, TABLE(i) + 12, masked, 4);
}

static void fire(BoardTest *t, guint i)
{
    mem_out(t, REGS + REG_FIRE, i, 4);
}

/* The next message is this one. */
static void expect(BoardTest *t, guint64 address, guint32 data)
{
    guint64 a;
    guint32 d;

    g_assert_true(vm_test_take_msi(t->vm, &a, &d));
    g_assert_cmphex(a, ==, address);
    g_assert_cmphex(d, ==, data);
}

static void expect_none(BoardTest *t)
{
    guint64 a;
    guint32 d;

    board_test_settle();
    g_assert_false(vm_test_take_msi(t->vm, &a, &d));
}

/* ---- MSI-X ---- */

static void test_msix_table(void)
{
    BoardTest t;

    start(&t);
    guint cap = find_cap(&t, FN, PCI_CAP_MSIX);
    g_assert_cmphex(pci_in(&t, FN, cap + 2, 2), ==, TEST_VECTORS - 1);
    g_assert_cmphex(pci_in(&t, FN, cap + 4, 4), ==, TABLE_AT);
    g_assert_cmphex(pci_in(&t, FN, cap + 8, 4), ==, PBA_AT);
    g_assert_cmphex(mem_in(&t, TABLE(69) + 12, 4), ==, 1); /* masked from reset */
    g_assert_cmphex(mem_in(&t, TABLE(70), 4), ==, NOTHING);
    for (guint i = 0; i < TEST_VECTORS; i++)
        mem_out(&t, TABLE(i), G_MAXUINT64, 8);
    g_assert_cmphex(mem_in(&t, TABLE(3), 8), ==, G_GUINT64_CONSTANT(0xfffffffffffffffc));
    mem_out(&t, TABLE(3) + 8, G_MAXUINT64, 8);
    g_assert_cmphex(mem_in(&t, TABLE(3) + 8, 8), ==, G_GUINT64_CONSTANT(0x1ffffffff));
    mem_out(&t, TABLE(3) + 8, 0, 2); /* narrower than a register: dropped */
    g_assert_cmphex(mem_in(&t, TABLE(3) + 8, 4), ==, NOTHING);
    mem_out(&t, PBA, 0xff, 8); /* read-only */
    g_assert_cmphex(mem_in(&t, PBA, 8), ==, 0);
    pci_out(&t, FN, cap + 2, 0xffff, 2);
    g_assert_cmphex(pci_in(&t, FN, cap + 2, 2), ==, 0xc000 | (TEST_VECTORS - 1));
    board_test_clear(&t);
}

static void test_msix_masks(void)
{
    BoardTest t;

    start(&t);
    program(&t, 1, 0x41, FALSE);
    program(&t, 65, 0x42, TRUE);
    fire(&t, 1); /* MSI-X is off: that is the pin */
    expect_none(&t);
    mem_out(&t, REGS + REG_LEVEL, 0, 4);
    msix_control(&t, MSIX_ON);
    expect_none(&t);
    fire(&t, 1);
    expect(&t, 0xfee00004, 0x41);
    fire(&t, 65);
    fire(&t, 65);
    expect_none(&t);
    g_assert_cmphex(mem_in(&t, PBA + 8, 8), ==, 2);
    mem_out(&t, TABLE(65) + 12, 0, 4); /* two that were pending are one */
    expect(&t, 0xfee00104, 0x42);
    expect_none(&t);
    g_assert_cmphex(mem_in(&t, PBA + 8, 8), ==, 0);
    msix_control(&t, MSIX_ON | MSIX_ALL_MASKED);
    fire(&t, 1);
    g_assert_cmphex(mem_in(&t, PBA, 4), ==, 2);
    pci_out(&t, FN, PCI_COMMAND, 2, 2); /* no bus master: sends nothing either */
    msix_control(&t, MSIX_ON);
    expect_none(&t);
    pci_out(&t, FN, PCI_COMMAND, 6, 2);
    expect(&t, 0xfee00004, 0x41);
    fire(&t, TEST_VECTORS); /* there is none */
    expect_none(&t);
    board_test_clear(&t);
}

/* What is pending when MSI-X goes off is forgotten. */
static void test_msix_off(void)
{
    BoardTest t;

    start(&t);
    program(&t, 2, 0x50, TRUE);
    msix_control(&t, MSIX_ON);
    fire(&t, 2);
    g_assert_cmphex(mem_in(&t, PBA, 8), ==, 4);
    msix_control(&t, 0);
    g_assert_cmphex(mem_in(&t, PBA, 8), ==, 0);
    mem_out(&t, TABLE(2) + 12, 0, 4);
    msix_control(&t, MSIX_ON);
    expect_none(&t);
    board_test_clear(&t);
}

static void signal_fd(int fd)
{
    guint64 one = 1;

    g_assert_cmpint(write(fd, &one, sizeof one), ==, sizeof one);
}

/* An I/O thread's way: the eventfd, whatever the guest does above it. */
static void test_msix_eventfd(void)
{
    BoardTest t;
    TestDev *d = start(&t);
    int fd = pci_msix_fd(&d->pci.msix, 68, NULL);

    program(&t, 68, 0x60, FALSE);
    msix_control(&t, MSIX_ON);
    board_test_settle();
    signal_fd(fd);
    board_test_settle();
    expect(&t, 0xfee00110, 0x60);
    mem_out(&t, TABLE(68) + 12, 1, 4);
    signal_fd(fd);
    expect_none(&t);
    g_assert_cmphex(mem_in(&t, PBA + 8, 8), ==, 1 << 4);
    mem_out(&t, TABLE(68) + 8, 0x61, 4);
    mem_out(&t, TABLE(68) + 12, 0, 4);
    expect(&t, 0xfee00110, 0x61);
    mem_out(&t, TABLE(68) + 12, 1, 4);
    signal_fd(fd); /* not looked at before it is unmasked */
    mem_out(&t, TABLE(68) + 12, 0, 4);
    board_test_settle();
    expect(&t, 0xfee00110, 0x61);
    expect_none(&t);
    msix_control(&t, 0);
    signal_fd(fd);
    msix_control(&t, MSIX_ON);
    expect_none(&t);
    board_test_clear(&t);
}

static void test_msix_save_load(void)
{
    BoardTest a, b;
    TestDev *from = start(&a);
    g_autoptr(GError) error = NULL;

    board_test_init(&b, BOARD_DEFAULT);
    Device *to = pci_plug(&b, "pci-testdev", "{\"id\": \"dev\", \"addr\": \"4\"}");
    program(&a, 0, 0x70, FALSE);
    program(&a, 66, 0x71, TRUE);
    program(&a, 67, 0x72, TRUE);
    msix_control(&a, MSIX_ON);
    fire(&a, 66);
    signal_fd(pci_msix_fd(&from->pci.msix, 67, NULL)); /* only the eventfd knows */
    device_set_quiesce(a.set);
    g_autoptr(GVariant) saved = device_save(&from->pci.dev);
    g_assert_true(device_load(to, saved, &error));
    board_test_settle();
    g_autoptr(GVariant) again = device_save(to);
    g_assert_true(g_variant_equal(saved, again));
    expect_none(&b);
    g_assert_cmphex(mem_in(&b, PBA + 8, 8), ==, 3 << 2);
    fire(&b, 0);
    expect(&b, 0xfee00000, 0x70);
    mem_out(&b, TABLE(66) + 12, 0, 4);
    expect(&b, 0xfee00108, 0x71);
    mem_out(&b, TABLE(67) + 12, 0, 4);
    expect(&b, 0xfee0010c, 0x72);
    board_test_clear(&a);
    board_test_clear(&b);
}

/* ---- MSI ---- */

static void test_msi(void)
{
    BoardTest t;

    start(&t);
    guint cap = find_cap(&t, FN, PCI_CAP_MSI);
    g_assert_cmphex(pci_in(&t, FN, cap + 2, 2), ==, 0x0184); /* 64-bit, masks, 4 vectors */
    pci_out(&t, FN, cap + 4, 0xfee01000, 4);
    pci_out(&t, FN, cap + 12, 0x5f, 2);
    pci_out(&t, FN, cap + 2, 0x0021, 2); /* 4 of them */
    fire(&t, 2);
    expect(&t, 0xfee01000, 0x5e);
    pci_out(&t, FN, cap + 16, 0xffffffff, 4);
    g_assert_cmphex(pci_in(&t, FN, cap + 16, 4), ==, 0x0f);
    fire(&t, 3);
    expect_none(&t);
    g_assert_cmphex(pci_in(&t, FN, cap + 20, 4), ==, 0x08);
    pci_out(&t, FN, cap + 16, 0, 4);
    expect(&t, 0xfee01000, 0x5f);
    g_assert_cmphex(pci_in(&t, FN, cap + 20, 4), ==, 0);
    pci_out(&t, FN, cap + 2, 0x0001, 2); /* one: it stands for all */
    fire(&t, 3);
    expect(&t, 0xfee01000, 0x5f);
    pci_out(&t, FN, cap + 2, 0x0071, 2); /* more than there are */
    fire(&t, 3);
    expect(&t, 0xfee01000, 0x5f);
    pci_out(&t, FN, cap + 2, 0, 2);
    expect_none(&t);
    board_test_clear(&t);
}

static void test_msi_save_load(void)
{
    BoardTest a, b;
    TestDev *from = start(&a);

    board_test_init(&b, BOARD_DEFAULT);
    Device *to = pci_plug(&b, "pci-testdev", "{\"id\": \"dev\", \"addr\": \"4\"}");
    guint cap = find_cap(&a, FN, PCI_CAP_MSI);
    pci_out(&a, FN, cap + 4, 0xfee02000, 4);
    pci_out(&a, FN, cap + 2, 0x0001, 2);
    pci_out(&a, FN, cap + 16, 1, 4);
    fire(&a, 0);
    g_autoptr(GVariant) saved = device_save(&from->pci.dev);
    g_assert_true(device_load(to, saved, NULL));
    board_test_settle();
    g_assert_cmphex(pci_in(&b, FN, cap + 20, 4), ==, 1);
    pci_out(&b, FN, cap + 16, 0, 4);
    expect(&b, 0xfee02000, 0);
    board_test_clear(&a);
    board_test_clear(&b);
}

/* ---- pins ---- */

static void level(BoardTest *t, guint64 regs, gboolean on)
{
    mem_out(t, regs + REG_LEVEL, on, 4);
}

static void test_pin(void)
{
    BoardTest t;
    TestDev *d = start(&t);
    guint gsi = 16 + pci_pirq(4, 0);

    g_assert_cmpuint(gsi, ==, 20);
    g_assert_cmphex(pci_in(&t, FN, PCI_IRQ_PIN, 1), ==, 1);
    level(&t, REGS, TRUE);
    g_assert_true(irq_pin_level(t.vm, gsi));
    g_assert_cmphex(pci_in(&t, FN, PCI_STATUS, 2) & PCI_STATUS_INTX, !=, 0);
    pci_out(&t, FN, PCI_COMMAND, 0x406, 2); /* interrupt disable */
    g_assert_false(irq_pin_level(t.vm, gsi));
    g_assert_cmphex(pci_in(&t, FN, PCI_STATUS, 2) & PCI_STATUS_INTX, !=, 0);
    pci_out(&t, FN, PCI_COMMAND, 6, 2);
    g_assert_true(irq_pin_level(t.vm, gsi));
    /* and once more elsewhere */
    BoardTest b;
    board_test_init(&b, BOARD_DEFAULT);
    Device *to = pci_plug(&b, "pci-testdev", "{\"id\": \"dev\", \"addr\": \"4\"}");
    g_autoptr(GVariant) saved = device_save(&d->pci.dev);
    g_assert_true(device_load(to, saved, NULL));
    g_assert_true(irq_pin_level(b.vm, gsi));
    g_assert_true(device_remove(to, NULL)); /* it goes with its level */
    g_assert_false(irq_pin_level(b.vm, gsi));
    board_test_clear(&b);
    board_test_power_on(&t);
    g_assert_false(irq_pin_level(t.vm, gsi));
    board_test_clear(&t);
}

/* Slots 4 and 8 share a PIRQ: the pin is high while one of them is. */
static void test_pin_shared(void)
{
    BoardTest t;
    guint64 eight = fn_at(0, 8, 0), regs = 0xe1000000;

    start(&t);
    pci_plug(&t, "pci-testdev", "{\"addr\": \"8\"}");
    pci_out(&t, eight, PCI_BAR0, (guint32)regs, 4);
    pci_out(&t, eight, PCI_COMMAND, 6, 2);
    for (guint i = 0; i < 8; i++) {
        level(&t, REGS, i & 1);
        level(&t, regs, i & 2);
        g_assert_cmpint(irq_pin_level(t.vm, 20), ==, (i & 3) != 0);
    }
    board_test_clear(&t);
}

/* _PRT says the same: slots 0 to 23 turn over E to H, 25 to 29 and 31 have A to D. */
static void test_pirq_table(void)
{
    g_assert_cmpuint(pci_pirq(0, 0), ==, 4);
    g_assert_cmpuint(pci_pirq(1, 0), ==, 5);
    g_assert_cmpuint(pci_pirq(1, 3), ==, 4);
    g_assert_cmpuint(pci_pirq(23, 1), ==, 4);
    g_assert_cmpuint(pci_pirq(24, 1), ==, 5);
    g_assert_cmpuint(pci_pirq(25, 1), ==, 1);
    g_assert_cmpuint(pci_pirq(30, 2), ==, 6);
    g_assert_cmpuint(pci_pirq(31, 3), ==, 3);
}

/* PIRQE's register (0x68) names an ISA interrupt as well; the IOAPIC's own input stays. */
static void test_pirq_routing(void)
{
    BoardTest t;

    start(&t);
    level(&t, REGS, TRUE);
    g_assert_false(irq_pin_level(t.vm, 10));
    cfg_out(&t, 0xf8, 0x68, 10, 1);
    board_test_settle();
    g_assert_true(irq_pin_level(t.vm, 10));
    g_assert_true(irq_pin_level(t.vm, 20));
    cfg_out(&t, 0xf8, 0x68, 11, 1);
    board_test_settle();
    g_assert_false(irq_pin_level(t.vm, 10));
    g_assert_true(irq_pin_level(t.vm, 11));
    level(&t, REGS, FALSE);
    g_assert_false(irq_pin_level(t.vm, 11));
    cfg_out(&t, 0xf8, 0x69, 11, 1); /* PIRQF to the same: wired-OR */
    level(&t, REGS, TRUE);
    g_assert_true(irq_pin_level(t.vm, 11));
    cfg_out(&t, 0xf8, 0x68, 2, 1); /* the cascade: reserved */
    g_assert_false(irq_pin_level(t.vm, 11));
    cfg_out(&t, 0xf8, 0x68, 0x8b, 1); /* off */
    g_assert_false(irq_pin_level(t.vm, 11));
    g_assert_true(irq_pin_level(t.vm, 20));
    board_test_clear(&t);
}

/* MSI enabled while the pin is high: the pin is not used any more. */
static void test_pin_gives_way(void)
{
    BoardTest t;

    start(&t);
    level(&t, REGS, TRUE);
    program(&t, 0, 0x33, FALSE);
    msix_control(&t, MSIX_ON);
    g_assert_false(irq_pin_level(t.vm, 20));
    msix_control(&t, 0);
    g_assert_true(irq_pin_level(t.vm, 20));
    msix_control(&t, MSIX_ON);
    fire(&t, 0);
    expect(&t, 0xfee00000, 0x33);
    board_test_clear(&t);
}

/* ---- function level reset ---- */

static void test_flr(void)
{
    BoardTest t;
    TestDev *d = start(&t);
    guint exp = find_cap(&t, FN, PCI_CAP_EXPRESS), resets = d->resets;

    mem_out(&t, REGS, 5, 4);
    program(&t, 0, 0x80, FALSE);
    msix_control(&t, MSIX_ON);
    vm_run(t.vm);
    pci_out(&t, FN, exp + PCIE_DEVCTL, 0x2810, 2); /* without the bit */
    g_assert_cmpuint(d->resets, ==, resets);
    mem_out(&t, FN + exp + PCIE_DEVCTL, 0xa810, 2);
    g_assert_cmpint(t.vm->hold, !=, 0); /* it is done before the next instruction */
    board_test_settle();
    g_assert_cmpint(t.vm->hold, ==, 0);
    g_assert_cmpuint(d->resets, ==, resets + 1);
    g_assert_cmphex(pci_in(&t, FN, exp + PCIE_DEVCTL, 2), ==, 0x2810);
    g_assert_cmphex(pci_in(&t, FN, PCI_COMMAND, 2), ==, 0);
    g_assert_cmphex(mem_in(&t, REGS, 4), ==, NOTHING);
    g_assert_cmphex(pci_in(&t, FN, find_cap(&t, FN, PCI_CAP_MSIX) + 2, 2), ==, TEST_VECTORS - 1);
    pci_out(&t, FN, PCI_BAR0, (guint32)REGS, 4);
    pci_out(&t, FN, PCI_COMMAND, 6, 2);
    g_assert_cmphex(mem_in(&t, REGS, 4), ==, 0);
    g_assert_cmphex(mem_in(&t, TABLE(0) + 12, 4), ==, 1);
    board_test_clear(&t);
}

/* The function goes while its reset is asked for. */
static void test_flr_and_removal(void)
{
    BoardTest t;
    TestDev *d = start(&t);
    guint exp = find_cap(&t, FN, PCI_CAP_EXPRESS);

    vm_run(t.vm);
    mem_out(&t, FN + exp + PCIE_DEVCTL, 0xa810, 2);
    g_assert_true(device_remove(&d->pci.dev, NULL));
    board_test_settle();
    g_assert_cmpint(t.vm->hold, ==, 0);
    board_test_clear(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pci-irq/msix/table", test_msix_table);
    g_test_add_func("/pci-irq/msix/masks", test_msix_masks);
    g_test_add_func("/pci-irq/msix/off", test_msix_off);
    g_test_add_func("/pci-irq/msix/eventfd", test_msix_eventfd);
    g_test_add_func("/pci-irq/msix/save-load", test_msix_save_load);
    g_test_add_func("/pci-irq/msi/vectors", test_msi);
    g_test_add_func("/pci-irq/msi/save-load", test_msi_save_load);
    g_test_add_func("/pci-irq/pin/level", test_pin);
    g_test_add_func("/pci-irq/pin/shared", test_pin_shared);
    g_test_add_func("/pci-irq/pin/table", test_pirq_table);
    g_test_add_func("/pci-irq/pin/routing", test_pirq_routing);
    g_test_add_func("/pci-irq/pin/gives-way", test_pin_gives_way);
    g_test_add_func("/pci-irq/flr/reset", test_flr);
    g_test_add_func("/pci-irq/flr/removal", test_flr_and_removal);
    return g_test_run();
}

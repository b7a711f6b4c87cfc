/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* PCI configuration space by ports and ECAM, masks, the host bridge's registers, slots of the
 * bus. */
#include "board-test.h"

#define HB 0x00
#define LPC 0xf8
#define ECAM 0xb0000000u

static guint64 ecam(guint64 base, guint devfn, guint reg)
{
    return base + (devfn << 12) + reg;
}

static void test_ids(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    g_assert_cmphex(cfg_in(&t, HB, 0x00, 4), ==, 0x29c08086);
    g_assert_cmphex(cfg_in(&t, HB, 0x08, 4), ==, 0x06000000);
    g_assert_cmphex(cfg_in(&t, HB, 0x2c, 4), ==, 0x11001af4);
    g_assert_cmphex(cfg_in(&t, LPC, 0x00, 4), ==, 0x29188086);
    g_assert_cmphex(cfg_in(&t, LPC, 0x08, 4), ==, 0x06010002);
    g_assert_cmphex(cfg_in(&t, LPC, 0x0e, 1), ==, 0x00);
    board_test_clear(&t);

    board_test_init(&t,
                    "{\"driver\": \"board\", \"host-bridge-device-id\": 4660, \"lpc-revision\": 9, "
                    "\"subsystem-device-id\": 7}");
    g_assert_cmphex(cfg_in(&t, HB, 0x00, 4), ==, 0x12348086);
    g_assert_cmphex(cfg_in(&t, LPC, 0x08, 1), ==, 9);
    g_assert_cmphex(cfg_in(&t, LPC, 0x2e, 2), ==, 7);
    board_test_clear(&t);
}

static void test_widths(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    for (guint reg = 0; reg < 256; reg++) {
        guint32 dword = cfg_in(&t, HB, reg & 0xfc, 4);
        g_assert_cmphex(cfg_in(&t, HB, reg, 1), ==, (dword >> (reg & 3) * 8) & 0xff);
        g_assert_cmphex(mem_in(&t, ecam(ECAM, HB, reg), 1), ==, (dword >> (reg & 3) * 8) & 0xff);
        if (reg % 2 == 0)
            g_assert_cmphex(cfg_in(&t, HB, reg, 2), ==, (dword >> (reg & 2) * 8) & 0xffff);
        if (reg % 4 == 0)
            g_assert_cmphex(mem_in(&t, ecam(ECAM, HB, reg), 4), ==, dword);
    }
    g_assert_cmphex(mem_in(&t, ecam(ECAM, HB, 0x60), 8), ==, 0xb0000001);
    board_test_clear(&t);
}

static void test_nothing_there(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    g_assert_cmphex(cfg_in(&t, 0x08, 0, 4), ==, 0xffffffff);
    g_assert_cmphex(cfg_in(&t, 0x01, 0, 2), ==, 0xffff); /* another function of the device */
    cfg_out(&t, 0x08, 0, 0, 4);
    outl(&t, 0xcf8, 0x80010000); /* another bus */
    g_assert_cmphex(inl(&t, 0xcfc), ==, 0xffffffff);
    outl(&t, 0xcf8, 0x00000000); /* not enabled */
    g_assert_cmphex(inl(&t, 0xcfc), ==, 0xffffffff);
    g_assert_cmphex(mem_in(&t, ecam(ECAM, 0x100, 0), 4), ==, 0xffffffff);
    g_assert_cmphex(mem_in(&t, ecam(ECAM, HB, 0x100), 4), ==, 0xffffffff); /* no extended space */
    mem_out(&t, ecam(ECAM, HB, 0xffc), 0, 4);
    g_assert_cmphex(mem_in(&t, ECAM + (256u << 20) - 4, 4), ==, 0xffffffff);
    board_test_clear(&t);
}

/* The address latch: whole dwords only, reserved bits read as zero. */
static void test_latch(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    outl(&t, 0xcf8, 0xffffffff);
    g_assert_cmphex(inl(&t, 0xcf8), ==, 0x80fffffc);
    outw(&t, 0xcf8, 0);
    outb(&t, 0xcfb, 0);
    g_assert_cmphex(inl(&t, 0xcf8), ==, 0x80fffffc);
    board_test_power_on(&t);
    g_assert_cmphex(inl(&t, 0xcf8), ==, 0);
    board_test_clear(&t);
}

/* Writing ones everywhere changes exactly what the masks allow. */
static void test_masks(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    for (guint reg = 0; reg < 256; reg += 4) {
        if (reg == 0x60 || reg == 0x64)
            continue;
        cfg_out(&t, HB, reg, 0xffffffff, 4);
    }
    g_assert_cmphex(cfg_in(&t, HB, 0x00, 4), ==, 0x29c08086);
    g_assert_cmphex(cfg_in(&t, HB, 0x04, 4), ==, 0x00000006);
    g_assert_cmphex(cfg_in(&t, HB, 0x90, 4), ==, 0x33333330);
    g_assert_cmphex(cfg_in(&t, HB, 0x94, 4), ==, 0x00333333);
    for (guint reg = 0; reg < 256; reg += 4) {
        if (reg != 0x40 && reg != 0x44)
            cfg_out(&t, LPC, reg, 0xffffffff, 4);
    }
    g_assert_cmphex(cfg_in(&t, LPC, 0x60, 4), ==, 0x8f8f8f8f);
    g_assert_cmphex(cfg_in(&t, LPC, 0x68, 4), ==, 0x8f8f8f8f);
    g_assert_cmphex(cfg_in(&t, LPC, 0xf0, 4), ==, 0xffffc001);
    cfg_out(&t, LPC, 0x61, 0x0a, 1); /* one byte of four */
    g_assert_cmphex(cfg_in(&t, LPC, 0x60, 4), ==, 0x8f8f0a8f);
    board_test_power_on(&t);
    g_assert_cmphex(cfg_in(&t, HB, 0x90, 4), ==, 0);
    g_assert_cmphex(cfg_in(&t, LPC, 0x60, 4), ==, 0x80808080);
    board_test_clear(&t);
}

static void test_smram_lock(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    g_assert_cmphex(cfg_in(&t, HB, 0x9d, 1), ==, 0x02);
    cfg_out(&t, HB, 0x9c, 0x4800, 2); /* as part of a wider write */
    g_assert_cmphex(cfg_in(&t, HB, 0x9d, 1), ==, 0x4a);
    cfg_out(&t, HB, 0x9d, 0x58, 1);
    g_assert_cmphex(cfg_in(&t, HB, 0x9d, 1), ==, 0x1a); /* locked and closed */
    cfg_out(&t, HB, 0x9d, 0x00, 1);
    cfg_out(&t, HB, 0x9c, 0x40000000, 4);
    g_assert_cmphex(cfg_in(&t, HB, 0x9d, 1), ==, 0x1a);
    board_test_power_on(&t);
    cfg_out(&t, HB, 0x9d, 0x08, 1);
    g_assert_cmphex(cfg_in(&t, HB, 0x9d, 1), ==, 0x0a);
    board_test_clear(&t);
}

static void test_ecam_moves(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    vm_run(t.vm);
    /* as OVMF: off, then base and enable */
    cfg_out(&t, HB, 0x60, 0, 4);
    cfg_out(&t, HB, 0x64, 0, 4);
    board_test_settle();
    g_assert_cmphex(mem_in(&t, ecam(ECAM, HB, 0), 4), ==, 0xffffffff);
    cfg_out(&t, HB, 0x60, 0xe0000001, 4);
    g_assert_cmpint(t.vm->hold, !=, 0);
    board_test_settle();
    g_assert_cmpint(t.vm->hold, ==, 0);
    g_assert_cmphex(mem_in(&t, ecam(0xe0000000, HB, 0), 4), ==, 0x29c08086);
    g_assert_cmphex(mem_in(&t, ecam(0xe0000000, LPC, 0), 4), ==, 0x29188086);
    /* above 4 GiB, 64 MiB: base bits below 27 count, buses end at 63 */
    cfg_out(&t, HB, 0x64, 0x8, 4);
    cfg_out(&t, HB, 0x60, 0x04000005, 4);
    board_test_settle();
    g_assert_cmphex(mem_in(&t, ecam(0x804000000, HB, 0), 4), ==, 0x29c08086);
    g_assert_cmphex(mem_in(&t, 0x804000000 + (64u << 20), 4), ==, 0xffffffff);
    /* the reserved length is off */
    cfg_out(&t, HB, 0x60, 0x04000007, 4);
    board_test_settle();
    g_assert_cmphex(mem_in(&t, ecam(0x804000000, HB, 0), 4), ==, 0xffffffff);
    board_test_power_on(&t);
    g_assert_cmphex(mem_in(&t, ecam(ECAM, HB, 0), 4), ==, 0x29c08086);
    board_test_clear(&t);
}

/* The same value again is no move: nobody is held. */
static void test_ecam_same_value(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    vm_run(t.vm);
    cfg_out(&t, HB, 0x60, 0xb0000001, 4);
    g_assert_cmpint(t.vm->hold, ==, 0);
    board_test_clear(&t);
}

/* A stop command between the guest's write and the move: the machine stays stopped. */
static void test_ecam_move_while_stopped(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    vm_run(t.vm);
    cfg_out(&t, HB, 0x60, 0xe0000001, 4);
    vm_pause(t.vm);
    board_test_settle();
    g_assert_false(vm_running(t.vm));
    g_assert_cmphex(mem_in(&t, ecam(0xe0000000, HB, 0), 4), ==, 0x29c08086);
    board_test_clear(&t);
}

/* The board goes while a move is queued: nothing is left to run. */
static void test_free_with_queued_move(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    cfg_out(&t, HB, 0x60, 0xe0000001, 4);
    cfg_out(&t, LPC, 0x40, 0xb000, 4);
    device_set_free(t.set);
    board_test_settle();
    vm_free(t.vm);
}

static void test_ecam_rows(void)
{
    BoardTest t;

    board_test_init(&t,
                    "{\"driver\": \"board\", \"ecam-base\": 3758096384, \"ecam-size\": 134217728, "
                    "\"pci-hole32-base\": 2952790016, \"pci-hole32-size\": 805306368}");
    g_assert_cmphex(cfg_in(&t, HB, 0x60, 4), ==, 0xe0000003);
    g_assert_cmphex(pci_ecam_base(t.set), ==, 0xe0000000);
    g_assert_cmphex(mem_in(&t, ecam(0xe0000000, HB, 0), 4), ==, 0x29c08086);
    g_assert_cmphex(mem_in(&t, 0xe0000000 + (128u << 20), 4), ==, 0xffffffff);
    board_test_clear(&t);
}

/* Write-one-to-clear bits, alone and beside ordinary ones. */
static void test_w1c(void)
{
    Device dev = { 0 };
    PciFunction fn;

    pci_function_init(&fn, &dev, 8, 1, 2, 3, 0x020000, 4, 5);
    le16_put(fn.config + 6, 0xf9a0);
    le16_put(fn.w1c + 6, 0xf900);
    le16_put(fn.wmask + 4, 0x0407);
    pci_config_write(&fn, 4, 0x10000007, 4);
    g_assert_cmphex(pci_config_read(&fn, 4, 4), ==, 0xe9a00007);
    pci_config_write(&fn, 6, 0x00ff, 2);
    g_assert_cmphex(pci_config_read(&fn, 6, 2), ==, 0xe9a0);
    pci_config_write(&fn, 7, 0xff, 1);
    g_assert_cmphex(pci_config_read(&fn, 6, 2), ==, 0x00a0);
    /* beyond the end */
    g_assert_cmphex(pci_config_read(&fn, 254, 4), ==, 0xffffffff);
    pci_config_write(&fn, 254, 0, 4);
    g_assert_cmphex(pci_config_read(&fn, 0xffff, 1), ==, 0xff);
}

static void test_slots(void)
{
    BoardTest t;
    g_autoptr(GError) error = NULL;
    Device dev = { .id = (char *)"late" };
    PciFunction *fn = g_new0(PciFunction, 1);

    board_test_init(&t, BOARD_DEFAULT);
    PciBus *bus = pci_root_bus(t.set);
    g_assert_cmpstr(pci_bus_name(bus), ==, "pcie.0");
    pci_function_init(fn, &dev, LPC, 0x1234, 0x5678, 0, 0, 0, 0);
    g_assert_false(pci_bus_claim(bus, fn, &error));
    g_assert_cmpstr(error->message, ==,
                    "Device 'late': PCI slot pcie.0:1f.0 is in use by device 'board.0/ICH9-LPC'");
    fn->devfn = 0x18;
    g_assert_true(pci_bus_claim(bus, fn, NULL));
    g_assert_cmphex(cfg_in(&t, 0x18, 0, 4), ==, 0xffffffff); /* claimed is not yet there */
    pci_bus_publish(bus, fn);
    g_assert_cmphex(cfg_in(&t, 0x18, 0, 4), ==, 0x56781234);
    pci_bus_remove(bus, fn);
    g_assert_cmphex(cfg_in(&t, 0x18, 0, 4), ==, 0xffffffff);
    g_free(fn);
    board_test_clear(&t);
}

static void test_save_load(void)
{
    BoardTest a, b;

    board_test_init(&a, BOARD_DEFAULT);
    board_test_init(&b, BOARD_DEFAULT);
    cfg_out(&a, HB, 0x90, 0x33221110, 4);
    cfg_out(&a, HB, 0x9d, 0x18, 1);
    cfg_out(&a, HB, 0x60, 0xe0000001, 4);
    outl(&a, 0xcf8, 0x80000094);
    board_test_settle();
    board_test_move(&a, &b, "q35-host-bridge");
    g_assert_cmphex(inl(&b, 0xcf8), ==, 0x80000094);
    for (guint reg = 0; reg < 256; reg += 4)
        g_assert_cmphex(mem_in(&a, ecam(0xe0000000, HB, reg), 4), ==,
                        mem_in(&b, ecam(0xe0000000, HB, reg), 4));
    g_assert_cmphex(mem_in(&b, ecam(0xe0000000, HB, 0), 4), ==, 0x29c08086);
    cfg_out(&b, HB, 0x9d, 0, 1);
    g_assert_cmphex(cfg_in(&b, HB, 0x9d, 1), ==, 0x1a); /* the lock came along */
    board_test_clear(&a);
    board_test_clear(&b);
}

/* A record can not change what no guest can. */
static void test_load_keeps_read_only(void)
{
    BoardTest t;
    guint8 raw[256];
    GVariantDict dict;
    g_autoptr(GError) error = NULL;

    board_test_init(&t, BOARD_DEFAULT);
    memset(raw, 0xff, sizeof raw);
    memset(raw + 0x60, 0, 8);
    g_autoptr(GVariant) saved = device_save(device_set_part(t.set, "q35-host-bridge"));
    g_variant_dict_init(&dict, saved);
    g_variant_dict_insert_value(&dict, "config",
                                g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, raw, 256, 1));
    g_autoptr(GVariant) record = g_variant_ref_sink(g_variant_dict_end(&dict));
    g_assert_true(device_load(device_set_part(t.set, "q35-host-bridge"), record, &error));
    g_assert_cmphex(cfg_in(&t, HB, 0, 4), ==, 0x29c08086);
    g_assert_cmphex(cfg_in(&t, HB, 0x90, 4), ==, 0x33333330);
    g_assert_cmphex(cfg_in(&t, HB, 0xfc, 4), ==, 0);
    board_test_clear(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pci-config/ids", test_ids);
    g_test_add_func("/pci-config/widths", test_widths);
    g_test_add_func("/pci-config/nothing-there", test_nothing_there);
    g_test_add_func("/pci-config/latch", test_latch);
    g_test_add_func("/pci-config/masks", test_masks);
    g_test_add_func("/pci-config/w1c", test_w1c);
    g_test_add_func("/pci-config/smram-lock", test_smram_lock);
    g_test_add_func("/pci-config/ecam/moves", test_ecam_moves);
    g_test_add_func("/pci-config/ecam/same-value", test_ecam_same_value);
    g_test_add_func("/pci-config/ecam/move-while-stopped", test_ecam_move_while_stopped);
    g_test_add_func("/pci-config/ecam/free-with-queued-move", test_free_with_queued_move);
    g_test_add_func("/pci-config/ecam/rows", test_ecam_rows);
    g_test_add_func("/pci-config/slots", test_slots);
    g_test_add_func("/pci-config/save-load", test_save_load);
    g_test_add_func("/pci-config/load-keeps-read-only", test_load_keeps_read_only);
    return g_test_run();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz-pci-config.c - libFuzzer target for configuration space: accesses by ports and ECAM in
 * every width, moves of ECAM and of the ACPI block included, with the main loop running now and
 * then. Whatever was written: read-only bytes are what they were, what is saved loads into
 * another machine and saves alike, and a reset brings back the board as configured.
 *
 * An operation is eight bytes: kind, devfn, register (two), value (four).
 */
#include "../device/board-test.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

static guint64 ecam_base(BoardTest *t)
{
    return (cfg_in(t, 0, 0x60, 4) & 0xfc000000u) | (guint64)(cfg_in(t, 0, 0x64, 4) & 0xf) << 32;
}

static void one(BoardTest *t, const guint8 op[8])
{
    unsigned width = 1u << (op[0] >> 3) % 3;
    guint16 reg = le16_get(op + 2);
    guint32 value = le32_get(op + 4);
    /* mostly functions that are there */
    guint8 devfn = op[1] & 0x80 ? op[1] : op[1] & 1 ? 0xf8 : 0x00;

    switch (op[0] & 7) {
    case 0:
        outl(t, 0xcf8, value);
        break;
    case 1:
        cfg_out(t, devfn, (guint8)reg, value, width);
        break;
    case 2:
        mem_out(t, ecam_base(t) + ((guint32)devfn << 12) + reg, value, width);
        break;
    case 3:
        (void)mem_in(t, ecam_base(t) + ((guint32)devfn << 12) + reg, width);
        break;
    case 4:
        port_out(t, (guint16)(0xcf8 + reg % 8), value, width);
        (void)port_in(t, (guint16)(0xcf8 + reg % 8), width);
        break;
    case 5:
        board_test_settle();
        break;
    case 6:
        port_out(t, reg, value, width);
        break;
    default:
        vm_run(t->vm);
    }
}

static void check(BoardTest *a)
{
    BoardTest b;

    g_assert_cmphex(cfg_in(a, 0x00, 0, 4), ==, 0x29c08086);
    g_assert_cmphex(cfg_in(a, 0xf8, 0, 4), ==, 0x29188086);
    board_test_init(&b, "{\"driver\": \"board\", \"max-cpus\": 1}");
    board_test_move(a, &b, "q35-host-bridge");
    board_test_move(a, &b, "ICH9-LPC");
    for (guint reg = 0; reg < 256; reg += 4) {
        g_assert_cmphex(cfg_in(a, 0x00, (guint8)reg, 4), ==, cfg_in(&b, 0x00, (guint8)reg, 4));
        g_assert_cmphex(cfg_in(a, 0xf8, (guint8)reg, 4), ==, cfg_in(&b, 0xf8, (guint8)reg, 4));
    }
    board_test_clear(&b);
    board_test_power_on(a);
    g_assert_cmphex(mem_in(a, 0xb0000000, 4), ==, 0x29c08086);
    g_assert_cmphex(inw(a, 0x604), ==, 1);
}

static void silent(const gchar *domain, GLogLevelFlags level, const gchar *message, gpointer user)
{
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    BoardTest t;

    g_log_set_default_handler(silent, NULL);
    board_test_init(&t, "{\"driver\": \"board\", \"max-cpus\": 1}");
    for (gsize i = 0; i + 8 <= size; i += 8)
        one(&t, data + i);
    board_test_settle();
    check(&t);
    board_test_clear(&t);
    return 0;
}

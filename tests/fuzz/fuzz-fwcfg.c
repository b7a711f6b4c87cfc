/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz-fwcfg.c - libFuzzer target for fw_cfg: the input is a sequence of port accesses and DMA
 * descriptors. Guest RAM is as small as can be, so lengths and addresses meet its end;
 * afterwards the interface must still answer with its signature.
 *
 * Operations, first byte modulo 5: select a key, read data bytes, run a descriptor of ours
 * (control, length, address: 16 bytes) at an offset, write any of the twelve ports in any width,
 * take up to 64 bytes into RAM.
 */
#include "../device/board-test.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

typedef struct {
    const guint8 *at, *end;
} Input;

/* N bytes of the input as a number; zeros after its end. */
static guint64 take(Input *in, unsigned n)
{
    guint64 v = 0;

    for (unsigned i = 0; i < n && in->at < in->end; i++)
        v |= (guint64)*in->at++ << (i * 8);
    return v;
}

static void kick(BoardTest *t, guint64 at)
{
    outl(t, 0x514, GUINT32_SWAP_LE_BE((guint32)(at >> 32)));
    outl(t, 0x518, GUINT32_SWAP_LE_BE((guint32)at));
}

static void run_descriptor(BoardTest *t, Input *in)
{
    guint64 at = take(in, 3);
    guint8 raw[16];

    le64_put(raw, take(in, 8));
    le64_put(raw + 8, take(in, 8));
    vm_memory_write(t->vm, at, raw, sizeof raw);
    kick(t, at);
}

static void one(BoardTest *t, Input *in)
{
    switch (take(in, 1) % 5) {
    case 0:
        outw(t, 0x510, take(in, 2));
        break;
    case 1:
        for (guint64 n = take(in, 1); n > 0; n--)
            (void)inb(t, 0x511);
        break;
    case 2:
        run_descriptor(t, in);
        break;
    case 3: {
        guint16 port = (guint16)(0x510 + take(in, 1) % 12);
        unsigned width = 1u << take(in, 1) % 3;
        port_out(t, port, take(in, 4), width);
        (void)port_in(t, port, width);
        break;
    }
    default: {
        guint64 at = take(in, 3), n = take(in, 1) % 65;
        guint8 raw[64];
        for (guint64 i = 0; i < n; i++)
            raw[i] = (guint8)take(in, 1);
        vm_memory_write(t->vm, at, raw, n);
    }
    }
}

static void silent(const gchar *domain, GLogLevelFlags level, const gchar *message, gpointer user)
{
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    Input in = { data, data + size };
    BoardTest t;

    g_log_set_default_handler(silent, NULL);
    board_test_init(&t, "{\"driver\": \"board\", \"max-cpus\": 1}");
    board_test_ram(&t);
    while (in.at < in.end)
        one(&t, &in);
    outw(&t, 0x510, 0);
    g_assert_cmphex(inb(&t, 0x511), ==, 'Q');
    board_test_clear(&t);
    return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz-virtqueue.c - libFuzzer target: arbitrary ring memory. The input is a header (size, features, where the rings
 * are) and then the content of guest memory, twice: the second part is written over the first while a chain is in
 * flight. Whatever is in it, each segment that a chain has lies within guest memory, and the queue ends.
 */
#include "../device/virtq-rig.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

#define FUZZ_RAM 0x10000

typedef struct {
    Vm     *vm;
    guint8 *low, *high; /* two regions side by side, so that segments and tables cross the border */
} Guest;

static void check_segment(const Guest *g, const struct iovec *v)
{
    const guint8 *p = v->iov_base;
    gboolean low = p >= g->low && p + v->iov_len <= g->low + FUZZ_RAM;
    gboolean high = p >= g->high && p + v->iov_len <= g->high + FUZZ_RAM;

    g_assert_true(v->iov_len > 0 && (low || high));
}

static void check_chain(const Guest *g, const VqChain *c)
{
    guint64 out = 0, in = 0;

    g_assert_cmpuint(c->n_out + c->n_in, <=, c->max_iov);
    g_assert_cmpuint(c->n_out + c->n_in, >, 0);
    for (guint i = 0; i < c->n_out + c->n_in; i++) {
        check_segment(g, &c->iov[i]);
        *(i < c->n_out ? &out : &in) += c->iov[i].iov_len;
    }
    g_assert_cmpuint(out, ==, c->out_len);
    g_assert_cmpuint(in, ==, c->in_len);
}

static void scribble(const Guest *g, const guint8 *data, gsize size)
{
    gsize low = MIN(size, FUZZ_RAM);

    memcpy(g->low, data, low);
    memcpy(g->high, data + low, MIN(size - low, FUZZ_RAM));
}

static void run(const Guest *g, VirtQueue *vq, const guint8 *second, gsize second_size)
{
    enum { DEPTH = 4, SEGS = 40 };
    struct iovec iov[DEPTH][SEGS];
    VqChain c[DEPTH];
    guint n = 0;

    for (guint round = 0; round < 300 && vq_begin(vq); round++) {
        vq_kicks_off(vq);
        for (n = 0; n < DEPTH; n++) {
            c[n] = (VqChain){ .iov = iov[n], .max_iov = SEGS };
            if (vq_pop(vq, &c[n]) != VQ_CHAIN)
                break;
            check_chain(g, &c[n]);
        }
        (void)vq_kicks_on(vq);
        if (round == 3)
            scribble(g, second, second_size);
        for (guint i = 0; i < n; i++) {
            if (c[i].n_in)
                memset(c[i].iov[c[i].n_out].iov_base, 0xa5, 1);
            vq_push(vq, &c[i], (guint32)MIN(c[i].in_len, 1));
        }
        vq_flush(vq);
        (void)vq_should_notify(vq);
        vq_end(vq);
        if (n == 0)
            break;
    }
    g_assert_cmpuint(vq_in_flight(vq), ==, 0);
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    Guest g;
    VqConfig c;

    if (size < 16)
        return 0;
    g.vm = bare_vm_new(VM_ACCEL_TEST, &rig_ops);
    g.low = g_malloc0(FUZZ_RAM + 4096);
    g.high = g_malloc0(FUZZ_RAM + 4096);
    guint8 *low = (guint8 *)(((guintptr)g.low + 4095) & ~(guintptr)4095);
    guint8 *high = (guint8 *)(((guintptr)g.high + 4095) & ~(guintptr)4095);
    Guest aligned = { g.vm, low, high };
    g_assert_true(vm_memory_add(g.vm, 0, low, FUZZ_RAM, 0, NULL));
    g_assert_true(vm_memory_add(g.vm, FUZZ_RAM, high, FUZZ_RAM, 0, NULL));
    c = (VqConfig){ .size = le16_get(data), .flags = data[2] & 15, .desc = (guint64)le16_get(data + 4) << 4,
                    .driver = (guint64)le16_get(data + 6) << 2, .device = (guint64)le16_get(data + 8) << 2 };
    scribble(&aligned, data + 16, size - 16);
    VirtQueue *vq = vq_new(g.vm, NULL, NULL);
    VqState state = { le16_get(data + 10), le16_get(data + 12), data[3] & 1, data[3] >> 1 & 1 };
    if (vq_start(vq, &c, data[3] & 4 ? &state : NULL)) {
        run(&aligned, vq, data + 16 + (size - 16) / 2, (size - 16) / 2);
        vq_stop(vq, NULL);
    }
    vq_free(vq);
    bare_vm_free(g.vm);
    g_free(g.low);
    g_free(g.high);
    return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench-virtqueue.c - user instructions of one pop and push of a chain of three descriptors, under
 * `valgrind --tool=callgrind`: the difference between N and 2N rounds of the device's side. The
 * arguments: split|packed, chains a batch, rounds.
 */
#include "../device/virtq-rig.h"

int main(int argc, char **argv)
{
    guint32 flags = argc > 1 && strcmp(argv[1], "packed") == 0 ? VQ_PACKED | VQ_EVENT_IDX : VQ_EVENT_IDX;
    guint batch = argc > 2 ? (guint)atoi(argv[2]) : 1, rounds = argc > 3 ? (guint)atoi(argv[3]) : 1000;
    g_auto(VqRig) r = vq_rig(256, flags);
    const DrvSeg segs[] = { { DATA, 16, FALSE }, { DATA + 0x1000, 4096, TRUE }, { DATA + 0x3000, 1, TRUE } };
    struct iovec iov[32][4];
    VqChain c[32];
    guint32 token, len;

    for (guint i = 0; i < 32; i++)
        c[i] = (VqChain){ .iov = iov[i], .max_iov = 4 };
    batch = MIN(batch, 32);
    for (guint n = 0; n < rounds; n++) {
        for (guint i = 0; i < batch; i++)
            drv_add(&r.drv, segs, 3, FALSE, i);
        g_assert(vq_begin(r.vq));
        vq_kicks_off(r.vq);
        for (guint i = 0; i < batch; i++)
            g_assert(vq_pop(r.vq, &c[i]) == VQ_CHAIN);
        g_assert(!vq_kicks_on(r.vq));
        vq_end(r.vq);
        /* the I/O is done */
        g_assert(vq_begin(r.vq));
        for (guint i = 0; i < batch; i++)
            vq_push(r.vq, &c[i], 4097);
        vq_flush(r.vq);
        (void)vq_should_notify(r.vq);
        vq_end(r.vq);
        while (drv_take(&r.drv, &token, &len))
            ;
    }
    return 0;
}

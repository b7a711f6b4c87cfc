/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Verbs of a virtio entropy device (virtio 1.2, 5.4): buffers in, bytes out.
 */
#include "virtio.h"

#define MOST 4096u

/* The device may fill less than it was given, but not nothing. */
static void verb_fill(struct vdev *vd, const char *args)
{
    u32 n = (u32)word_number(args, "n", 64), len;
    struct seg segs[2] = {{vd->data, n / 2}, {vd->data + n / 2, n - n / 2}};

    if (n < 2 || n > MOST)
        return;
    memset(vd->data, 0, n + 16);
    if (!queue_request(vd, &vd->queue[0], segs, 0, 2, &len))
        return;
    emit("rng");
    pci_emit_bdf(vd->bdf);
    emit(" n=%u len=%u beyond=%#llx data=", n, len, get64(vd->data + n));
    emit_hex(vd->data, len < 64 ? len : 64);
    emit("\n");
}

/* COUNT buffers one after the other; how many bytes they got, and the or of all dwords. */
static void verb_wrap(struct vdev *vd, const char *args)
{
    u32 count = (u32)word_number(args, "count", 40), done = 0, total = 0, seen = 0, len;
    struct seg seg = {vd->data, 16};

    for (; done < count; done++) {
        if (!queue_request(vd, &vd->queue[0], &seg, 0, 1, &len))
            break;
        total += len;
        seen |= get32(vd->data);
    }
    emit("rng wrap");
    pci_emit_bdf(vd->bdf);
    emit(" count=%u total=%u seen=%#x status=%s\n", done, total, seen, done == count ? "ok" : "bad");
}

/* Buffers that nobody waits for: for a reset right behind. */
static void verb_leave(struct vdev *vd, const char *args)
{
    u32 n = (u32)word_number(args, "n", 4), added = 0;
    struct seg seg = {vd->data, MOST};

    for (; added < n && queue_add(vd, &vd->queue[0], &seg, 0, 1) >= 0;) {
        added++;
    }
    queue_kick(vd, &vd->queue[0]);
    emit("rng left");
    pci_emit_bdf(vd->bdf);
    emit(" n=%u\n", added);
}

const struct verb rng_verbs[] = {
    {"fill", verb_fill}, {"wrap", verb_wrap}, {"leave", verb_leave}, {NULL, NULL}};

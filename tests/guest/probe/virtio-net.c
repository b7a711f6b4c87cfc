/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Verbs of a virtio network card (virtio 1.2, 5.1): frames out, frames in, the control queue.
 *
 * Each receive queue has BUFFERS buffers of the length that `fill` is told, in the device's memory
 * one behind the other; a buffer goes back into the queue when its bytes were printed. With mergeable
 * buffers a frame may be spread over several, which are put together for printing.
 */
#include "virtio.h"

enum { F_CTRL_VQ = 17, F_MQ = 22, F_MRG_RXBUF = 15 };
enum { HEADER = 12, FRAME = 1514, CTRL = 0, SEND = 0x1000, JOINED = 0x2000, RECEIVE = 0x20000 };
enum { CONFIG_MAX_PAIRS = 8, BUFFERS = 4 };

struct net_header {
    u8 flags, gso_type;
    u16 hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};

static u32 pairs(const struct vdev *vd)
{
    return vd->queues / 2;
}

static struct queue *queue_of(struct vdev *vd, const char *args, u32 side)
{
    u32 pair = (u32)word_number(args, "pair", 0);

    return &vd->queue[2 * (pair < pairs(vd) ? pair : 0) + side];
}

/* ---- receiving ---- */

/* By pair and place; LEN is remembered in vd->received. */
static u8 *buffer_of(struct vdev *vd, u32 pair, u32 n)
{
    return vd->data + RECEIVE + (pair * BUFFERS + n) * vd->received;
}

static void verb_fill(struct vdev *vd, const char *args)
{
    u32 len = (u32)word_number(args, "len", 1528), most = DATA_SIZE - RECEIVE, added = 0;

    if (len < HEADER + 14 || len * BUFFERS * pairs(vd) > most)
        len = most / (BUFFERS * pairs(vd)) & ~7u;
    vd->received = len;
    for (u32 pair = 0; pair < pairs(vd); pair++) {
        struct queue *q = &vd->queue[2 * pair];
        for (u32 n = 0; n < BUFFERS; n++) {
            struct seg seg = {buffer_of(vd, pair, n), len};
            int id = queue_add(vd, q, &seg, 0, 1);
            if (id < 0)
                break;
            q->owner[id] = (u16)n;
            added++;
        }
        queue_kick(vd, q);
    }
    emit("net filled");
    pci_emit_bdf(vd->bdf);
    emit(" pairs=%u buffers=%u len=%u\n", pairs(vd), added, len);
}

/* Appends buffer ID to what is JOINED and gives it back to the queue. */
static u32 take_buffer(struct vdev *vd, struct queue *q, u32 id, u32 len, u32 at)
{
    u32 n = q->owner[id];
    u8 *buffer = buffer_of(vd, q->index / 2, n);
    struct seg seg = {buffer, vd->received};
    int again;

    if (len > vd->received)
        len = vd->received;
    memcpy(vd->data + JOINED + at, buffer, len);
    again = queue_add(vd, q, &seg, 0, 1);
    if (again >= 0)
        q->owner[again] = (u16)n;
    queue_kick(vd, q);
    return len;
}

static u32 byte_sum_of(const u8 *p, u32 n)
{
    u32 sum = 0;

    for (u32 i = 0; i < n; i++) {
        sum += p[i];
    }
    return sum;
}

static void print_frame(struct vdev *vd, u32 pair, u32 len, u32 buffers)
{
    const u8 *p = vd->data + JOINED;
    const struct net_header *h = (const struct net_header *)p;

    p += HEADER;
    len -= HEADER;
    emit("net received");
    pci_emit_bdf(vd->bdf);
    emit(" pair=%u len=%u buffers=%u flags=%#x gso=%#x gso_size=%u csum_start=%u csum_offset=%u sum=%u",
         pair, len, buffers, h->flags, h->gso_type, h->gso_size, h->csum_start, h->csum_offset,
         byte_sum_of(p, len));
    emit(" data=");
    emit_hex(p, len < 128 ? len : 128);
    emit("\n");
}

/* One frame. The first buffer says how many there are. */
static bool receive(struct vdev *vd, struct queue *q)
{
    u32 id, len, total, buffers = 1;

    if (!queue_wait(vd, q, &id, &len))
        return false;
    total = take_buffer(vd, q, id, len, 0);
    if (virtio_has(vd, F_MRG_RXBUF))
        buffers = ((const struct net_header *)(vd->data + JOINED))->num_buffers;
    for (u32 i = 1; i < buffers && total < 0x10000; i++) {
        if (!queue_wait(vd, q, &id, &len))
            return false;
        total += take_buffer(vd, q, id, len, total);
    }
    print_frame(vd, q->index / 2, total, buffers);
    return true;
}

/* N frames; fewer are a failure. */
static void verb_receive(struct vdev *vd, const char *args)
{
    u32 n = (u32)word_number(args, "n", 1), come = 0;

    while (come < n && vd->received && receive(vd, queue_of(vd, args, 0))) {
        come++;
    }
    if (come == n)
        return;
    emit("net received");
    pci_emit_bdf(vd->bdf);
    emit(" frames=%u wanted=%u status=timeout\n", come, n);
}

/* What is there already, without waiting: for frames that must not come. */
static void verb_drain(struct vdev *vd, const char *args)
{
    u32 id, len, frames = 0;

    (void)args;
    for (u32 pair = 0; pair < pairs(vd); pair++) {
        while (queue_pop(vd, &vd->queue[2 * pair], &id, &len)) {
            take_buffer(vd, &vd->queue[2 * pair], id, len, 0);
            frames++;
        }
    }
    emit("net drained");
    pci_emit_bdf(vd->bdf);
    emit(" buffers=%u\n", frames);
}

/* ---- sending ---- */

static struct net_header parse_header(const char *args)
{
    return (struct net_header){
        .flags = (u8)word_number(args, "flags", 0),
        .gso_type = (u8)word_number(args, "gso", 0),
        .hdr_len = (u16)word_number(args, "hdr_len", 0),
        .gso_size = (u16)word_number(args, "gso_size", 0),
        .csum_start = (u16)word_number(args, "csum_start", 0),
        .csum_offset = (u16)word_number(args, "csum_offset", 0),
    };
}

/* data=HEX, then bytes that count up until the frame is `len` long; N times, each ended before the next. */
static void verb_send(struct vdev *vd, const char *args)
{
    const char *hex = word_value(args, "data");
    u8 *header = vd->data + SEND, *frame = header + HEADER;
    u32 n = hex ? parse_hex(hex, frame, 256) : 0, len = (u32)word_number(args, "len", n), sent = 0;
    u32 count = (u32)word_number(args, "n", 1), used;
    struct net_header h = parse_header(args);
    struct seg segs[2] = {{header, HEADER}, {frame, len}};

    if (len < n || len > FRAME)
        return;
    memcpy(header, &h, HEADER);
    for (u32 i = n; i < len; i++) {
        frame[i] = (u8)i;
    }
    while (sent < count && queue_request(vd, queue_of(vd, args, 1), segs, 2, 0, &used)) {
        sent++;
    }
    emit("net sent");
    pci_emit_bdf(vd->bdf);
    emit(" frames=%u len=%u status=%s\n", sent, len, sent == count ? "ok" : "timeout");
}

/* ---- the control queue ---- */

/* Its place does not follow from how many pairs are used, but from how many there are (5.1.2). */
static void verb_ctrl(struct vdev *vd, const char *args)
{
    u32 max = vd->config_size >= 10 ? virtio_get16(vd, vd->config, CONFIG_MAX_PAIRS) : 1;
    u32 index = virtio_has(vd, F_MQ) ? 2 * max : 2, len;
    const char *hex = word_value(args, "data");
    u8 *p = vd->data + CTRL, *ack = p + 0x800;
    struct seg segs[3] = {{p, 2}, {p + 2, 0}, {ack, 1}};
    bool empty;

    p[0] = (u8)word_number(args, "class", 0);
    p[1] = (u8)word_number(args, "command", 0);
    segs[1].len = hex ? parse_hex(hex, p + 2, 512) : 0;
    empty = !segs[1].len;
    if (empty)
        segs[1] = segs[2];
    *ack = 0xee;
    if (index >= vd->queues || !virtio_has(vd, F_CTRL_VQ)) {
        emit("error no_control_queue=%u\n", index);
        return;
    }
    if (!queue_request(vd, &vd->queue[index], segs, empty ? 1 : 2, 1, &len))
        return;
    emit("net ctrl");
    pci_emit_bdf(vd->bdf);
    emit(" class=%u command=%u ack=%u len=%u\n", p[0], p[1], *ack, len);
}

const struct verb net_verbs[] = {
    {"fill", verb_fill}, {"receive", verb_receive}, {"drain", verb_drain},
    {"send", verb_send}, {"ctrl", verb_ctrl},       {NULL, NULL},
};

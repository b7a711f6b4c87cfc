/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Verbs of a virtio console device (virtio 1.2, 5.3): control messages both ways, bytes of ports both
 * ways, the emergency write. Nothing is answered by itself: the test says what the driver says.
 */
#include "virtio.h"

enum { F_MULTIPORT = 1, CONTROL_IN = 2, CONTROL_OUT = 3, EMERGENCY = 8 };
enum { BUFFERS = 8, BUFFER = 128, MOST_PORTS = 16, OUT = 0x100, IN = 0x1000, MESSAGE = 8 };

static u32 in_queue(u32 port)
{
    return port ? 2 * port + 2 : 0;
}

static u8 *buffer_of(struct vdev *vd, const struct queue *q, u32 n)
{
    return vd->data + IN + (q->index / 2 * BUFFERS + n) * BUFFER;
}

static void give(struct vdev *vd, struct queue *q, u32 n)
{
    struct seg seg = {buffer_of(vd, q, n), BUFFER};
    int id = queue_add(vd, q, &seg, 0, 1);

    if (id >= 0)
        q->owner[id] = (u16)n;
}

/* Buffers into the control queue and those of the first ports. */
static void verb_fill(struct vdev *vd, const char *args)
{
    u32 filled = 0;

    (void)args;
    for (u32 i = 0; i < vd->queues && i / 2 < MOST_PORTS; i += 2) {
        for (u32 n = 0; n < BUFFERS; n++) {
            give(vd, &vd->queue[i], n);
        }
        queue_kick(vd, &vd->queue[i]);
        filled++;
    }
    emit("serialport filled");
    pci_emit_bdf(vd->bdf);
    emit(" queues=%u\n", filled);
}

/* ---- control messages ---- */

static bool multiport(struct vdev *vd)
{
    if (virtio_has(vd, F_MULTIPORT) && vd->queues > CONTROL_OUT)
        return true;
    emit("error no_control_queue=%u\n", vd->queues);
    return false;
}

static void verb_say(struct vdev *vd, const char *args)
{
    u8 *p = vd->data + OUT;
    u32 port = (u32)word_number(args, "port", 0), len;
    u16 body[2] = {(u16)word_number(args, "event", 0), (u16)word_number(args, "value", 1)};
    struct seg seg = {p, MESSAGE};

    if (!multiport(vd))
        return;
    memcpy(p, &port, 4);
    memcpy(p + 4, body, 4);
    if (!queue_request(vd, &vd->queue[CONTROL_OUT], &seg, 1, 0, &len))
        return;
    emit("serialport said");
    pci_emit_bdf(vd->bdf);
    emit(" port=%u event=%u value=%u\n", port, body[0], body[1]);
}

/* Waits for N messages. */
static void verb_hear(struct vdev *vd, const char *args)
{
    u32 n = (u32)word_number(args, "n", 1), id, len;

    for (u32 i = 0; i < n && multiport(vd); i++) {
        struct queue *q = &vd->queue[CONTROL_IN];
        const u8 *p;
        if (!queue_wait(vd, q, &id, &len)) {
            emit("serialport heard messages=%u wanted=%u status=timeout\n", i, n);
            return;
        }
        p = buffer_of(vd, q, q->owner[id]);
        emit("serialport heard");
        pci_emit_bdf(vd->bdf);
        emit(" port=%u event=%u value=%u len=%u name=", get32(p), get16(p + 4), get16(p + 6), len);
        emit_quoted((const char *)p + MESSAGE, len > MESSAGE ? len - MESSAGE : 0);
        emit("\n");
        give(vd, q, q->owner[id]);
        queue_kick(vd, q);
    }
}

/* ---- bytes ---- */

static struct queue *port_queue(struct vdev *vd, const char *args, u32 side)
{
    u32 index = in_queue((u32)word_number(args, "port", 0)) + side;

    return &vd->queue[index < vd->queues && index / 2 < MOST_PORTS ? index : side];
}

/* data=HEX, n times over. */
static void verb_write(struct vdev *vd, const char *args)
{
    const char *hex = word_value(args, "data");
    u32 n = hex ? parse_hex(hex, vd->data + OUT, 200) : 0, times = (u32)word_number(args, "n", 1);
    struct seg segs[2] = {{vd->data + OUT, n / 2}, {vd->data + OUT + n / 2, n - n / 2}};
    u32 done = 0, len;

    while (n && done < times && queue_request(vd, port_queue(vd, args, 1), n < 2 ? segs + 1 : segs,
                                              n < 2 ? 1 : 2, 0, &len)) {
        done++;
    }
    emit("serialport written");
    pci_emit_bdf(vd->bdf);
    emit(" bytes=%u times=%u status=%s\n", n, done, done == times ? "ok" : "timeout");
}

/* Waits until N bytes have come; each buffer's are a line. */
static void verb_read(struct vdev *vd, const char *args)
{
    u32 n = (u32)word_number(args, "n", 1), come = 0, id, len;
    struct queue *q = port_queue(vd, args, 0);

    while (come < n) {
        if (!queue_wait(vd, q, &id, &len)) {
            emit("serialport read bytes=%u wanted=%u status=timeout\n", come, n);
            return;
        }
        emit("serialport read");
        pci_emit_bdf(vd->bdf);
        emit(" queue=%u len=%u data=", q->index, len);
        emit_hex(buffer_of(vd, q, q->owner[id]), len < BUFFER ? len : BUFFER);
        emit("\n");
        come += len;
        give(vd, q, q->owner[id]);
        queue_kick(vd, q);
    }
}

static void verb_emergency(struct vdev *vd, const char *args)
{
    const char *hex = word_value(args, "data");
    u8 bytes[64];
    u32 n = hex ? parse_hex(hex, bytes, sizeof bytes) : 0;

    for (u32 i = 0; i < n; i++) {
        virtio_set32(vd, vd->config, EMERGENCY, bytes[i]);
    }
    emit("serialport emergency");
    pci_emit_bdf(vd->bdf);
    emit(" bytes=%u\n", n);
}

const struct verb serial_verbs[] = {
    {"fill", verb_fill},   {"say", verb_say},   {"hear", verb_hear},
    {"write", verb_write}, {"read", verb_read}, {"emergency", verb_emergency},
    {NULL, NULL},
};

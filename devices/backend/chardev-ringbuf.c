/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * chardev-ringbuf.c - output kept in memory, the oldest overwritten.
 *
 * Positions are free-running counters over a power-of-two buffer, so full and empty need no flag.
 */
#include "../../schema/generated/devices.h"
#include "chardev-priv.h"

typedef struct {
    Chardev chr;
    guint8 *data;
    gsize   size;
    guint64 head, tail; /* written, read; under the lock */
} RingbufChardev;

extern const DeviceType chardev_ringbuf_type;

static gsize ring_write(Chardev *c, const guint8 *data, gsize len)
{
    RingbufChardev *r = (RingbufChardev *)c;

    for (gsize i = 0; i < len; i++)
        r->data[r->head++ & (r->size - 1)] = data[i];
    if (r->head - r->tail > r->size)
        r->tail = r->head - r->size;
    return len;
}

static gboolean check_kind(Device *chardev, GError **error)
{
    return chardev->type == &chardev_ringbuf_type ||
           error_set(error, "Chardev '%s' is a %s, not a chardev-ringbuf", chardev->id, chardev->type->name);
}

gboolean chardev_ringbuf_read(Device *chardev, gsize len, GByteArray *out, GError **error)
{
    RingbufChardev *r = (RingbufChardev *)chardev;

    if (!check_kind(chardev, error))
        return FALSE;
    LOCK_SCOPE(&chardev->lock);
    while (len-- && r->tail != r->head)
        g_byte_array_append(out, &r->data[r->tail++ & (r->size - 1)], 1);
    return TRUE;
}

gboolean chardev_ringbuf_write(Device *chardev, const guint8 *data, gsize len, GError **error)
{
    if (!check_kind(chardev, error))
        return FALSE;
    LOCK_SCOPE(&chardev->lock);
    ring_write((Chardev *)chardev, data, len);
    return TRUE;
}

static gboolean realize(Device *dev, GError **error)
{
    RingbufChardev *r = (RingbufChardev *)dev;

    chardev_stream_init(&r->chr);
    r->size = DEVICE_CONFIG(dev, ChardevRingbufConfig)->size;
    if (r->size & (r->size - 1))
        return error_set(error, "Property 'size' of device '%s': %zu is not a power of two", dev->id, r->size);
    r->data = g_malloc0(r->size);
    r->chr.write = ring_write;
    r->chr.open = TRUE;
    return TRUE;
}

static void unrealize(Device *dev)
{
    chardev_stream_exit((Chardev *)dev);
    g_free(((RingbufChardev *)dev)->data);
}

static const DeviceOps ops = { .realize = realize, .unrealize = unrealize };

const DeviceType chardev_ringbuf_type = { "chardev-ringbuf", sizeof(RingbufChardev), &ops, state_none };

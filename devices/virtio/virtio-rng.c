/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtio-rng.c - the entropy device (virtio 1.2 section 5.4): one queue of buffers to be filled.
 *
 * It is served on the main thread: a guest asks for some bytes now and then. One visit fills at
 * most BUDGET bytes and comes back for the rest, so that a guest that asks without end slows down
 * nobody but itself; a buffer gets at most CHUNK bytes, which the section leaves to the device.
 *
 * The quota: a period begins with the first byte given after the last one ended. When its bytes are
 * used up, what waits in the queue waits for the timer. Quota and period are state, so that a guest
 * gets no more by being saved and loaded. Likewise it waits for a source that has nothing.
 */
#include "../backend/rng.h"
#include "virtio-pci.h"

#define CHUNK 65536u
#define BUDGET (16 * CHUNK)
#define MAX_SEGMENTS 64
#define NS_PER_MS G_GINT64_CONSTANT(1000000)

typedef struct {
    VirtioPci     virtio;
    Device       *source; /* NULL: the kernel's */
    VmTimer      *timer;
    gint64        period_end; /* virtual clock; -1: no period has begun */
    guint64       given;      /* bytes in this period */
    struct iovec  iov[MAX_SEGMENTS];
} VirtioRng;

static const VirtioRngPciConfig *config_of(const VirtioRng *r)
{
    return DEVICE_CONFIG(r, VirtioRngPciConfig);
}

/* ---- quota ---- */

static guint64 quota_left(VirtioRng *r)
{
    Vm *vm = device_set_vm(r->virtio.pci.dev.set);

    if (r->period_end < 0 || vm_clock_ns(vm) >= r->period_end) {
        r->period_end = -1;
        r->given = 0;
    }
    return config_of(r)->max_bytes - r->given;
}

static void quota_take(VirtioRng *r, guint64 bytes)
{
    Vm *vm = device_set_vm(r->virtio.pci.dev.set);

    if (r->period_end < 0)
        r->period_end = vm_clock_ns(vm) + config_of(r)->period * NS_PER_MS;
    r->given += bytes;
}

/* What there is for the next buffer, by quota and source. */
static gsize available(VirtioRng *r)
{
    gsize quota = MIN(quota_left(r), CHUNK);

    return quota ? rng_ready(r->source, quota) : 0;
}

/* ---- the queue ---- */

/* Bytes written into the chain; 0: it is wrong, and the queue is broken. */
static guint32 fill(VirtioRng *r, VirtQueue *vq, const VqChain *c, guint64 limit)
{
    guint32 left = (guint32)MIN(MIN(c->in_len, CHUNK), limit), done = 0;

    if (c->n_out > 0 || c->n_in == 0) {
        vq_break(vq, "a buffer with %u readable and %u writable segments", c->n_out, c->n_in);
        return 0;
    }
    for (guint i = 0; left > 0; i++) {
        guint32 n = (guint32)MIN(c->iov[i].iov_len, left);
        rng_fill(r->source, c->iov[i].iov_base, n);
        left -= n;
        done += n;
    }
    return done;
}

/* As much as quota, source and BUDGET allow. */
static void serve(VirtioRng *r, VirtQueue *vq)
{
    VqChain chain = { .iov = r->iov, .max_iov = MAX_SEGMENTS };
    guint32 budget = BUDGET;

    do {
        vq_kicks_off(vq);
        while (budget >= CHUNK && vq_pending(vq) && available(r) > 0 && vq_pop(vq, &chain) == VQ_CHAIN) {
            guint32 n = fill(r, vq, &chain, available(r));
            quota_take(r, n);
            budget -= MAX(n, 1);
            vq_push(vq, &chain, n);
        }
    } while (vq_kicks_on(vq) && budget >= CHUNK && available(r) > 0);
}

static void source_ready(gpointer user)
{
    virtio_kick(&((VirtioRng *)user)->virtio.vd, 0);
}

/* What waits comes back as soon as that makes sense. */
static void look_again(VirtioRng *r)
{
    if (available(r) > 0)
        virtio_kick(&r->virtio.vd, 0);
    else if (quota_left(r) > 0)
        rng_wait(r->source, source_ready, r);
    else
        vm_timer_set(r->timer, r->period_end);
}

static void queue_kicked(VirtioDevice *vd, guint index)
{
    VirtioRng *r = (VirtioRng *)vd->dev;
    VirtQueue *vq = vd->queues[index].vq;

    if (!vq_begin(vq))
        return;
    serve(r, vq);
    vq_flush(vq);
    if (vq_should_notify(vq))
        virtio_notify_queue(vd, index);
    if (vq_pending(vq))
        look_again(r);
    vq_end(vq);
}

/* Lock held. */
static void period_over(gpointer user)
{
    VirtioRng *r = user;

    virtio_kick(&r->virtio.vd, 0);
}

/* ---- the device ---- */

static const VirtioDeviceOps rng_ops = { .device_id = VIRTIO_ID_ENTROPY, .name = "virtio-rng" };

static const VirtioPciType rng_pci = { .ops = &rng_ops, .class_code = 0x00ff00, .in_order = TRUE };

static gboolean rng_resolve(Device *dev, GError **error)
{
    guint16 size = config_of((VirtioRng *)dev)->queue_size;

    if (size & (size - 1))
        return error_set(error, "Property 'queue-size' of device '%s' is %u, not a power of two",
                         dev->id, size);
    return virtio_pci_resolve(dev, &rng_pci, 1, error);
}

static gboolean rng_realize(Device *dev, GError **error)
{
    VirtioRng *r = (VirtioRng *)dev;
    const VirtioRngPciConfig *c = config_of(r);

    r->period_end = -1;
    if (prop_bag_is_set(dev->bag, "rng")) {
        r->source = device_link(dev, NS_OBJECT, c->rng, "rng", "rng", error);
        if (!r->source)
            return FALSE;
    }
    if (!virtio_pci_realize(dev, &rng_pci, 0, 1, &c->queue_size, 0, error))
        return FALSE;
    virtio_watch(&r->virtio.vd, 0, queue_kicked);
    r->timer = vm_timer_new(device_set_vm(dev->set), &dev->lock, period_over, r);
    return TRUE;
}

static void rng_reset(Device *dev, ResetKind kind)
{
    VirtioRng *r = (VirtioRng *)dev;

    virtio_pci_reset(dev, kind);
    vm_timer_cancel(r->timer);
    r->period_end = -1;
    r->given = 0;
}

static void rng_unrealize(Device *dev)
{
    VirtioRng *r = (VirtioRng *)dev;

    rng_wait_cancel(r->source, r);
    g_clear_pointer(&r->timer, vm_timer_free);
    virtio_pci_unrealize(dev);
}

static const StateDesc rng_state[] = {
    VIRTIO_PCI_ROWS("0.2"),
    STATE_ROW(VirtioRng, period_end, I64, "0.2"),
    STATE_ROW(VirtioRng, given, U64, "0.2"),
    STATE_END,
};

static const DeviceOps ops = {
    .resolve = rng_resolve,
    .realize = rng_realize,
    .publish = virtio_pci_publish,
    .reset = rng_reset,
    .quiesce = virtio_pci_quiesce,
    .resume = virtio_pci_resume,
    .places = pci_device_places,
    .unplug_request = pci_device_unplug_request,
    .unpublish = virtio_pci_unpublish,
    .unrealize = rng_unrealize,
    .post_load = virtio_pci_post_load,
    .abi = virtio_pci_abi,
};

const DeviceType virtio_rng_pci_type = { "virtio-rng-pci", sizeof(VirtioRng), &ops, rng_state };

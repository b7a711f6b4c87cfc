/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtio.c - registers and status machine, the same for every transport (virtio 1.2 section 4.1.4).
 *
 * The common configuration structure is a view, not memory: a read fills its 60 bytes from the
 * state and takes its part; a write finds the field in a table and calls the setter. So widths and
 * halves are handled once.
 *
 * The hard part is reset while I/O is in flight. The guest's memory must not be written after the
 * driver saw status 0, and the vCPU that wrote 0 must not wait for a disk. So the device is asked
 * to stop; until virtio_stopped() the status reads as before, and further writes are ignored.
 */
#include "virtio.h"

#include <errno.h>
#include <sys/eventfd.h>

#include <glib-unix.h>

/* ---- life cycle ---- */

static guint8 status_get(const VirtioDevice *vd)
{
    return __atomic_load_n(&vd->status, __ATOMIC_ACQUIRE);
}

static void tell_broken(gpointer user)
{
    VirtioDevice *vd = user;
    gpointer observed;
    const DeviceObserver *observer = device_set_observer(vd->dev->set, &observed);
    char reason[sizeof vd->broken_reason];

    {
        LOCK_SCOPE(&vd->broken_lock);
        vd->broken_posted = FALSE;
        memcpy(reason, vd->broken_reason, sizeof reason);
    }
    if (observer && observer->device_error)
        observer->device_error(observed, vd->dev, reason);
}

/* The first reason that the main thread has not heard of counts. */
static void post_broken(VirtioDevice *vd, const char *reason)
{
    LOCK_SCOPE(&vd->broken_lock);

    if (vd->broken_posted)
        return;
    vd->broken_posted = TRUE;
    g_strlcpy(vd->broken_reason, reason, sizeof vd->broken_reason);
    vm_post(device_set_vm(vd->dev->set), tell_broken, vd);
}

static void vq_is_broken(gpointer user, VirtQueue *vq, const char *reason)
{
    VirtioQueue *q = user;
    char text[256];

    g_snprintf(text, sizeof text, "queue %u: %s", (guint)(q - q->vd->queues), reason);
    virtio_needs_reset(q->vd, text);
}

static void queue_regs_reset(VirtioDevice *vd, guint i)
{
    vd->regs[i] = (VirtioQueueRegs){ .size = vd->queues[i].max_size, .vector = VIRTIO_NO_VECTOR };
    if (vd->transport_ops->vector_changed)
        vd->transport_ops->vector_changed(vd->transport, (int)i);
}

static void regs_reset(VirtioDevice *vd)
{
    vd->driver_features = 0;
    vd->device_feature_select = vd->driver_feature_select = 0;
    vd->queue_select = 0;
    vd->config_vector = VIRTIO_NO_VECTOR;
    __atomic_store_n(&vd->isr, 0, __ATOMIC_RELAXED);
    if (vd->transport_ops->vector_changed)
        vd->transport_ops->vector_changed(vd->transport, -1);
    for (guint i = 0; i < vd->n_queues; i++)
        queue_regs_reset(vd, i);
    vd->transport_ops->isr_cleared(vd->transport);
    __atomic_store_n(&vd->status, 0, __ATOMIC_RELEASE);
}

gboolean virtio_init(VirtioDevice *vd, Device *dev, const VirtioDeviceOps *ops, guint64 offered,
                     guint n_queues, const guint16 *max_sizes, guint config_size,
                     const VirtioTransportOps *transport_ops, gpointer transport, guint n_vectors,
                     GError **error)
{
    g_assert(n_queues <= VIRTIO_MAX_QUEUES && config_size <= VIRTIO_MAX_CONFIG);
    g_mutex_init(&vd->broken_lock);
    vd->regs = g_new0(VirtioQueueRegs, n_queues);
    vd->regs_buf = (StateBuf){ (guint8 *)vd->regs, (guint32)(n_queues * sizeof *vd->regs) };
    vd->queues = g_new0(VirtioQueue, n_queues);
    vd->dev = dev;
    vd->ops = ops;
    vd->offered = offered | VIRTIO_BIT(VIRTIO_F_VERSION_1);
    vd->config_size = config_size;
    vd->transport_ops = transport_ops;
    vd->transport = transport;
    vd->n_vectors = n_vectors;
    for (guint i = 0; i < n_queues; i++) {
        VirtioQueue *q = &vd->queues[i];

        q->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (q->kick_fd < 0)
            return error_set_errno(error, errno, "Device '%s': no eventfd for queue %u of %u",
                                   dev->id, i, n_queues);
        q->vd = vd;
        q->max_size = max_sizes[i];
        q->vq = vq_new(device_set_vm(dev->set), vq_is_broken, q);
        vd->n_queues = i + 1;
    }
    regs_reset(vd);
    return TRUE;
}

static void unwatch(VirtioQueue *q)
{
    if (!q->watch)
        return;
    g_source_destroy(q->watch);
    g_clear_pointer(&q->watch, g_source_unref);
}

void virtio_exit(VirtioDevice *vd)
{
    g_assert(!vd->live);
    for (guint i = 0; i < vd->n_queues; i++) {
        VirtioQueue *q = &vd->queues[i];

        unwatch(q);
        vq_free(q->vq);
        auto_fd_close(q->kick_fd);
    }
    if (vd->dev) {
        vm_post_cancel(device_set_vm(vd->dev->set), tell_broken, vd);
        g_mutex_clear(&vd->broken_lock);
        vd->dev = NULL;
    }
    vd->n_queues = 0;
    vd->regs_buf = (StateBuf){ NULL, 0 };
    g_clear_pointer(&vd->regs, g_free);
    g_clear_pointer(&vd->queues, g_free);
}

/* ---- kicks ---- */

int virtio_kick_fd(const VirtioDevice *vd, guint index)
{
    return vd->queues[index].kick_fd;
}

void virtio_kick(VirtioDevice *vd, guint index)
{
    guint64 one = 1;

    if (write(vd->queues[index].kick_fd, &one, sizeof one) < 0)
        return; /* full: it will be looked at anyway */
}

gboolean virtio_queue_ready(const VirtioDevice *vd, guint index)
{
    return vd->live && !vd->resetting && !vd->quiesced && !vd->no_dma && !vd->queues[index].resetting &&
           vq_started(vd->queues[index].vq);
}

static gboolean kicked(gint fd, GIOCondition condition, gpointer user)
{
    VirtioQueue *q = user;
    VirtioDevice *vd = q->vd;
    guint64 count;

    if (read(fd, &count, sizeof count) < 0)
        return G_SOURCE_CONTINUE;
    LOCK_SCOPE(&vd->dev->lock);
    if (virtio_queue_ready(vd, (guint)(q - vd->queues)))
        q->watch_cb(vd, (guint)(q - vd->queues));
    return G_SOURCE_CONTINUE;
}

void virtio_watch(VirtioDevice *vd, guint index, void (*cb)(VirtioDevice *vd, guint index))
{
    vd->queues[index].watch_cb = cb;
}

/* The queue was started. Hundreds of devices may be plugged that no driver uses, and each source costs every turn of the main
 * loop: so there is one only while a queue runs. A kick from before is still in the eventfd. Lock held. */
static void watch(VirtioQueue *q)
{
    if (!q->watch_cb || q->watch)
        return;
    q->watch = g_unix_fd_source_new(q->kick_fd, G_IO_IN);
    g_source_set_callback(q->watch, G_SOURCE_FUNC(kicked), q, NULL);
    g_source_attach(q->watch, NULL);
}

/* ---- interrupts ---- */

void virtio_notify_queue(VirtioDevice *vd, guint index)
{
    vd->transport_ops->notify_queue(vd->transport, index);
}

static void notify_config(VirtioDevice *vd)
{
    if (!(status_get(vd) & VIRTIO_DRIVER_OK))
        return; /* section 2.2: nothing before that */
    vd->transport_ops->notify_config(vd->transport);
}

void virtio_needs_reset(VirtioDevice *vd, const char *reason)
{
    device_guest_error(vd->dev, "%s: needs reset: %s", vd->ops->name, reason);
    if (__atomic_fetch_or(&vd->status, VIRTIO_NEEDS_RESET, __ATOMIC_ACQ_REL) & VIRTIO_NEEDS_RESET)
        return;
    post_broken(vd, reason);
    notify_config(vd);
}

guint8 virtio_isr_read(VirtioDevice *vd)
{
    guint8 isr = __atomic_exchange_n(&vd->isr, 0, __ATOMIC_ACQ_REL);

    vd->transport_ops->isr_cleared(vd->transport);
    return isr;
}

/* ---- starting and stopping ---- */

static guint32 queue_flags(const VirtioDevice *vd)
{
    return (virtio_has(vd, VIRTIO_F_RING_PACKED) ? VQ_PACKED : 0) |
           (virtio_has(vd, VIRTIO_F_EVENT_IDX) ? VQ_EVENT_IDX : 0) |
           (virtio_has(vd, VIRTIO_F_INDIRECT_DESC) ? VQ_INDIRECT : 0) |
           (virtio_has(vd, VIRTIO_F_IN_ORDER) ? VQ_IN_ORDER : 0);
}

static gboolean queue_start(VirtioDevice *vd, guint i, gboolean restore)
{
    const VirtioQueueRegs *r = &vd->regs[i];
    const VqConfig config = { .size = r->size,
                              .flags = queue_flags(vd),
                              .desc = r->desc,
                              .driver = r->driver,
                              .device = r->device };
    const VqState state = { r->avail_idx, r->used_idx, r->avail_wrap, r->used_wrap };

    return vq_start(vd->queues[i].vq, &config, restore ? &state : NULL);
}

static void queues_stop(VirtioDevice *vd)
{
    for (guint i = 0; i < vd->n_queues; i++) {
        vd->queues[i].resetting = FALSE;
        unwatch(&vd->queues[i]);
        if (vq_started(vd->queues[i].vq))
            vq_stop(vd->queues[i].vq, NULL);
    }
}

static void kick_all(VirtioDevice *vd)
{
    for (guint i = 0; i < vd->n_queues; i++) {
        if (vq_started(vd->queues[i].vq))
            virtio_kick(vd, i);
    }
}

void virtio_dma_set(VirtioDevice *vd, gboolean on)
{
    if (vd->no_dma == !on)
        return;
    vd->no_dma = !on;
    if (!vd->live)
        return;
    if (vd->ops->dma)
        vd->ops->dma(vd, on);
    if (on)
        kick_all(vd);
}

/* FALSE: a ring is impossible, NEEDS_RESET is set. */
static gboolean device_start(VirtioDevice *vd, gboolean restore)
{
    for (guint i = 0; i < vd->n_queues; i++) {
        if (vd->regs[i].enabled && !queue_start(vd, i, restore)) {
            queues_stop(vd);
            return FALSE;
        }
    }
    vd->live = TRUE;
    for (guint i = 0; i < vd->n_queues; i++) {
        if (vq_started(vd->queues[i].vq))
            watch(&vd->queues[i]);
    }
    if (vd->ops->start)
        vd->ops->start(vd);
    kick_all(vd);
    return TRUE;
}

/* The driver may see status 0 only when all the rest is as at first. */
static void reset_end(VirtioDevice *vd)
{
    if (vd->ops->reset)
        vd->ops->reset(vd);
    regs_reset(vd);
}

void virtio_stopped(VirtioDevice *vd)
{
    if (!vd->resetting)
        return;
    vd->live = FALSE;
    queues_stop(vd);
    vd->resetting = FALSE;
    reset_end(vd);
}

/* The driver wrote status 0. */
static void reset_begin(VirtioDevice *vd)
{
    if (vd->resetting)
        return;
    if (!vd->live) {
        reset_end(vd);
        return;
    }
    vd->resetting = TRUE;
    if (!vd->ops->stop || vd->ops->stop(vd))
        virtio_stopped(vd);
}

void virtio_reset(VirtioDevice *vd)
{
    reset_begin(vd);
    if (vd->live) {
        vd->ops->drain(vd);
        virtio_stopped(vd);
    }
    vd->resume = FALSE;
}

void virtio_queue_stopped(VirtioDevice *vd, guint index)
{
    VirtioQueue *q = &vd->queues[index];

    if (!q->resetting)
        return; /* the whole device was reset meanwhile */
    q->resetting = FALSE;
    unwatch(q);
    vq_stop(q->vq, NULL);
    queue_regs_reset(vd, index);
}

static void queue_reset(VirtioDevice *vd, guint i)
{
    VirtioQueue *q = &vd->queues[i];

    if (!virtio_has(vd, VIRTIO_F_RING_RESET)) {
        device_guest_error(vd->dev, "queue %u is reset, which was not negotiated", i);
        return;
    }
    if (q->resetting)
        return;
    if (!vd->live || !vq_started(q->vq)) {
        queue_regs_reset(vd, i);
        return;
    }
    q->resetting = TRUE;
    if (!vd->ops->queue_stop || vd->ops->queue_stop(vd, i))
        virtio_queue_stopped(vd, i);
}

static void queue_enable(VirtioDevice *vd, guint i)
{
    if (vd->regs[i].enabled)
        return;
    if (!(status_get(vd) & VIRTIO_FEATURES_OK)) {
        device_guest_error(vd->dev, "queue %u is enabled before FEATURES_OK", i);
        return;
    }
    vd->regs[i].enabled = 1;
    if (!vd->live)
        return;
    if (!virtio_has(vd, VIRTIO_F_RING_RESET)) { /* section 4.1.4.3.2: all of them before DRIVER_OK */
        device_guest_error(vd->dev, "queue %u is enabled after DRIVER_OK", i);
        vd->regs[i].enabled = 0;
    } else if (queue_start(vd, i, FALSE)) {
        watch(&vd->queues[i]);
        if (vd->ops->queue_start)
            vd->ops->queue_start(vd, i);
        virtio_kick(vd, i);
    }
}

/* ---- status ---- */

static gboolean features_fit(VirtioDevice *vd)
{
    guint64 f = vd->driver_features;

    if (f & ~vd->offered) {
        device_guest_error(vd->dev,
                           "features 0x%" G_GINT64_MODIFIER "x, offered were 0x%" G_GINT64_MODIFIER
                           "x",
                           f, vd->offered);
        return FALSE;
    }
    if (!virtio_has(vd, VIRTIO_F_VERSION_1)) {
        device_guest_error(vd->dev, "features without VERSION_1");
        return FALSE;
    }
    return !vd->ops->features_ok || vd->ops->features_ok(vd, f);
}

static void status_write(VirtioDevice *vd, guint8 value)
{
    guint8 old = status_get(vd), added = (guint8)(value & ~old);

    if (value == 0) {
        reset_begin(vd);
        return;
    }
    if (vd->resetting)
        return;
    if (old & ~value & ~VIRTIO_NEEDS_RESET)
        device_guest_error(vd->dev, "status 0x%02x where 0x%02x was: bits are not cleared", value, old);
    added &= (guint8)~VIRTIO_NEEDS_RESET; /* ours */
    if ((added & VIRTIO_FEATURES_OK) && !features_fit(vd))
        added &= (guint8)~VIRTIO_FEATURES_OK;
    if ((added & VIRTIO_DRIVER_OK) && !((old | added) & VIRTIO_FEATURES_OK)) {
        device_guest_error(vd->dev, "DRIVER_OK without FEATURES_OK");
        added &= (guint8)~VIRTIO_DRIVER_OK;
    }
    __atomic_fetch_or(&vd->status, added, __ATOMIC_ACQ_REL);
    if (added & VIRTIO_DRIVER_OK)
        device_start(vd, FALSE);
}

/* ---- common configuration structure ---- */

enum {
    R_DEVICE_FEATURE_SELECT = 0x00,
    R_DEVICE_FEATURE = 0x04,
    R_DRIVER_FEATURE_SELECT = 0x08,
    R_DRIVER_FEATURE = 0x0c,
    R_CONFIG_VECTOR = 0x10,
    R_NUM_QUEUES = 0x12,
    R_STATUS = 0x14,
    R_CONFIG_GENERATION = 0x15,
    R_QUEUE_SELECT = 0x16,
    R_QUEUE_SIZE = 0x18,
    R_QUEUE_VECTOR = 0x1a,
    R_QUEUE_ENABLE = 0x1c,
    R_QUEUE_NOTIFY_OFF = 0x1e,
    R_QUEUE_DESC = 0x20,
    R_QUEUE_DRIVER = 0x28,
    R_QUEUE_DEVICE = 0x30,
    R_QUEUE_NOTIFY_DATA = 0x38,
    R_QUEUE_RESET = 0x3a,
};

/* The half of a 64-bit feature set that SELECT names. */
static guint32 feature_half(guint64 features, guint32 select)
{
    return select < 2 ? (guint32)(features >> (select * 32)) : 0;
}

static void queue_image(const VirtioDevice *vd, guint8 *image)
{
    const VirtioQueueRegs *r = &vd->regs[vd->queue_select];

    le16_put(image + R_QUEUE_SIZE, r->size);
    le16_put(image + R_QUEUE_VECTOR, r->vector);
    le16_put(image + R_QUEUE_ENABLE, r->enabled);
    le16_put(image + R_QUEUE_NOTIFY_OFF, vd->queue_select);
    le64_put(image + R_QUEUE_DESC, r->desc);
    le64_put(image + R_QUEUE_DRIVER, r->driver);
    le64_put(image + R_QUEUE_DEVICE, r->device);
    le16_put(image + R_QUEUE_NOTIFY_DATA, vd->queue_select);
    le16_put(image + R_QUEUE_RESET, vd->queues[vd->queue_select].resetting);
}

guint64 virtio_common_read(VirtioDevice *vd, guint32 offset, unsigned size)
{
    guint8 image[VIRTIO_COMMON_SIZE] = { 0 };

    if (!range_within(offset, size, sizeof image))
        return 0;
    if (offset == R_STATUS && size == 1)
        return status_get(vd);
    le32_put(image + R_DEVICE_FEATURE_SELECT, vd->device_feature_select);
    le32_put(image + R_DEVICE_FEATURE, feature_half(vd->offered, vd->device_feature_select));
    le32_put(image + R_DRIVER_FEATURE_SELECT, vd->driver_feature_select);
    le32_put(image + R_DRIVER_FEATURE, feature_half(vd->driver_features, vd->driver_feature_select));
    le16_put(image + R_CONFIG_VECTOR, vd->config_vector);
    le16_put(image + R_NUM_QUEUES, (guint16)vd->n_queues);
    image[R_STATUS] = status_get(vd);
    image[R_CONFIG_GENERATION] = __atomic_load_n(&vd->config_generation, __ATOMIC_ACQUIRE);
    le16_put(image + R_QUEUE_SELECT, vd->queue_select);
    if (vd->queue_select < vd->n_queues)
        queue_image(vd, image);
    return le_get(image + offset, size);
}

static void driver_feature_write(VirtioDevice *vd, guint32 value)
{
    guint shift = vd->driver_feature_select * 32;

    if (vd->driver_feature_select > 1) {
        if (value)
            device_guest_error(vd->dev, "feature bits from %u", shift);
        return;
    }
    if (status_get(vd) & VIRTIO_FEATURES_OK) {
        device_guest_error(vd->dev, "features are written after FEATURES_OK");
        return;
    }
    vd->driver_features = (vd->driver_features & ~((guint64)0xffffffff << shift)) |
                          (guint64)value << shift;
}

static guint16 vector_checked(VirtioDevice *vd, guint16 value)
{
    return value < vd->n_vectors ? value : VIRTIO_NO_VECTOR;
}

static void vector_write(VirtioDevice *vd, guint16 *vector, int index, guint16 value)
{
    __atomic_store_n(vector, vector_checked(vd, value), __ATOMIC_RELAXED);
    if (vd->transport_ops->vector_changed)
        vd->transport_ops->vector_changed(vd->transport, index);
}

static void queue_size_write(VirtioDevice *vd, guint i, guint16 value)
{
    gboolean packed = virtio_has(vd, VIRTIO_F_RING_PACKED);

    if (value == 0 || value > vd->queues[i].max_size || (!packed && (value & (value - 1))))
        device_guest_error(vd->dev, "size %u of queue %u, at most %u", value, i,
                           vd->queues[i].max_size);
    else
        vd->regs[i].size = value;
}

static void address_write(guint64 *address, guint32 at, guint64 value, unsigned size)
{
    guint8 raw[8];

    le64_put(raw, *address);
    le_put(raw + at, size, value);
    *address = le64_get(raw);
}

static void queue_write(VirtioDevice *vd, guint32 offset, guint64 value, unsigned size)
{
    guint i = vd->queue_select;
    VirtioQueueRegs *r = &vd->regs[i];

    if (i >= vd->n_queues)
        return;
    if (offset == R_QUEUE_ENABLE && value == 1)
        queue_enable(vd, i);
    else if (offset == R_QUEUE_ENABLE)
        device_guest_error(vd->dev, "queue_enable of queue %u is written %u", i, (guint)value);
    else if (offset == R_QUEUE_RESET && value == 1)
        queue_reset(vd, i);
    else if (offset == R_QUEUE_VECTOR)
        vector_write(vd, &r->vector, (int)i, (guint16)value);
    else if (r->enabled)
        device_guest_error(vd->dev, "register 0x%x of queue %u is written while it is enabled", offset, i);
    else if (offset == R_QUEUE_SIZE)
        queue_size_write(vd, i, (guint16)value);
    else if (offset >= R_QUEUE_DESC && offset < R_QUEUE_DRIVER)
        address_write(&r->desc, offset - R_QUEUE_DESC, value, size);
    else if (offset >= R_QUEUE_DRIVER && offset < R_QUEUE_DEVICE)
        address_write(&r->driver, offset - R_QUEUE_DRIVER, value, size);
    else if (offset >= R_QUEUE_DEVICE && offset < R_QUEUE_NOTIFY_DATA)
        address_write(&r->device, offset - R_QUEUE_DEVICE, value, size);
}

/* The width that a register is written with; 0: read-only, or no register begins there. */
static unsigned register_width(guint32 offset)
{
    switch (offset) {
    case R_DEVICE_FEATURE_SELECT:
    case R_DRIVER_FEATURE_SELECT:
    case R_DRIVER_FEATURE:
    case R_QUEUE_DESC:
    case R_QUEUE_DESC + 4:
    case R_QUEUE_DRIVER:
    case R_QUEUE_DRIVER + 4:
    case R_QUEUE_DEVICE:
    case R_QUEUE_DEVICE + 4:
        return 4;
    case R_CONFIG_VECTOR:
    case R_QUEUE_SELECT:
    case R_QUEUE_SIZE:
    case R_QUEUE_VECTOR:
    case R_QUEUE_ENABLE:
    case R_QUEUE_RESET:
        return 2;
    case R_STATUS:
        return 1;
    default:
        return 0;
    }
}

void virtio_common_write(VirtioDevice *vd, guint32 offset, guint64 value, unsigned size)
{
    gboolean whole = size == 8 && offset >= R_QUEUE_DESC && offset <= R_QUEUE_DEVICE && offset % 8 == 0;

    if (size != register_width(offset) && !whole) {
        device_guest_error(vd->dev, "%u bytes are written at 0x%x of the common configuration", size, offset);
        return;
    }
    if (vd->resetting && offset != R_STATUS)
        return;
    switch (offset) {
    case R_DEVICE_FEATURE_SELECT:
        vd->device_feature_select = (guint32)value;
        break;
    case R_DRIVER_FEATURE_SELECT:
        vd->driver_feature_select = (guint32)value;
        break;
    case R_DRIVER_FEATURE:
        driver_feature_write(vd, (guint32)value);
        break;
    case R_CONFIG_VECTOR:
        vector_write(vd, &vd->config_vector, -1, (guint16)value);
        break;
    case R_STATUS:
        status_write(vd, (guint8)value);
        break;
    case R_QUEUE_SELECT:
        vd->queue_select = (guint16)value;
        break;
    default:
        queue_write(vd, offset, value, size);
    }
}

/* ---- device configuration ---- */

guint64 virtio_config_read(VirtioDevice *vd, guint32 offset, unsigned size)
{
    return range_within(offset, size, vd->config_size) ? le_get(vd->config + offset, size) : 0;
}

void virtio_config_write(VirtioDevice *vd, guint32 offset, guint64 value, unsigned size)
{
    guint8 old[8];

    if (!vd->ops->config_written || !range_within(offset, size, vd->config_size)) {
        device_guest_error(vd->dev, "%u bytes are written at 0x%x of the configuration", size, offset);
        return;
    }
    memcpy(old, vd->config + offset, size);
    le_put(vd->config + offset, size, value);
    if (!vd->ops->config_written(vd, offset, size))
        memcpy(vd->config + offset, old, size);
}

void virtio_config_set(VirtioDevice *vd, guint32 offset, const void *bytes, gsize len)
{
    g_assert(range_within(offset, len, vd->config_size));
    if (memcmp(vd->config + offset, bytes, len) == 0)
        return;
    memcpy(vd->config + offset, bytes, len);
    __atomic_add_fetch(&vd->config_generation, 1, __ATOMIC_ACQ_REL);
    notify_config(vd);
}

/* ---- saving ---- */

void virtio_quiesced(VirtioDevice *vd)
{
    vd->quiesced = TRUE;
    for (guint i = 0; i < vd->n_queues; i++) {
        VirtioQueueRegs *r = &vd->regs[i];
        VqState s;

        if (!vq_started(vd->queues[i].vq))
            continue;
        vq_get_state(vd->queues[i].vq, &s);
        r->avail_idx = s.avail_idx;
        r->used_idx = s.used_idx;
        r->avail_wrap = s.avail_wrap;
        r->used_wrap = s.used_wrap;
    }
}

static gboolean check_queue(const VirtioDevice *vd, guint i, GError **error)
{
    const VirtioQueueRegs *r = &vd->regs[i];

    if (r->size > vd->queues[i].max_size)
        return error_set(error, "State of device '%s': queue %u has size %u, at most %u", vd->dev->id,
                         i, r->size, vd->queues[i].max_size);
    if (r->vector != VIRTIO_NO_VECTOR && r->vector >= vd->n_vectors)
        return error_set(error, "State of device '%s': queue %u has vector %u of %u", vd->dev->id, i,
                         r->vector, vd->n_vectors);
    if (r->enabled > 1 || r->avail_wrap > 1 || r->used_wrap > 1)
        return error_set(error, "State of device '%s': queue %u has flags that are none", vd->dev->id, i);
    return TRUE;
}

gboolean virtio_post_load(VirtioDevice *vd, GError **error)
{
    /* Until FEATURES_OK they are what the driver wrote, whatever that is. */
    if ((vd->status & (VIRTIO_FEATURES_OK | VIRTIO_DRIVER_OK)) && (vd->driver_features & ~vd->offered))
        return error_set(error,
                         "State of device '%s': features 0x%" G_GINT64_MODIFIER
                         "x, the device has 0x%" G_GINT64_MODIFIER "x",
                         vd->dev->id, vd->driver_features, vd->offered);
    if (vd->config_vector != VIRTIO_NO_VECTOR && vd->config_vector >= vd->n_vectors)
        return error_set(error, "State of device '%s': configuration vector %u of %u", vd->dev->id,
                         vd->config_vector, vd->n_vectors);
    for (guint i = 0; i < vd->n_queues; i++) {
        if (!check_queue(vd, i, error))
            return FALSE;
    }
    vd->resume = (vd->status & VIRTIO_DRIVER_OK) && !(vd->status & VIRTIO_NEEDS_RESET);
    for (int i = -1; vd->transport_ops->vector_changed && i < (int)vd->n_queues; i++)
        vd->transport_ops->vector_changed(vd->transport, i);
    return TRUE;
}

void virtio_resume(VirtioDevice *vd)
{
    vd->quiesced = FALSE;
    if (vd->resume) {
        vd->resume = FALSE;
        device_start(vd, TRUE);
    } else if (vd->live) {
        kick_all(vd);
    }
}

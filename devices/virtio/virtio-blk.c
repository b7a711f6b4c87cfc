/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtio-blk.c - the virtio disk (virtio 1.2 section 5.2): what it is and how it comes and goes. Its
 * requests are virtio-blk-io.c's, on the I/O thread.
 *
 * The two meet in start, stop, quiesce and resume. Looking at kicks is switched off and on by taking
 * the queues' watches away and putting them back: iothread_unwatch() returns when the callback does
 * not run. What is in flight then is waited for: by a posted blk_stopped() where a vCPU must not
 * wait (stop, queue_stop), and by draining on the main thread where it can (drain, quiesce).
 *
 * Parked requests (policy `stop`) stay in flight over quiesce and resume. They are saved as chains of
 * theirs, and done where they are loaded as if they had just been popped.
 */
#include "../backend/iothread.h"
#include "virtio-blk-priv.h"

static VirtioBlk *blk_of(VirtioDevice *vd)
{
    return (VirtioBlk *)vd->dev;
}

/* ---- watches ---- */

/* Lock held. */
static void watch(BlkQueue *q)
{
    VirtioDevice *vd = &q->blk->virtio.vd;
    g_autoptr(GError) error = NULL;

    if (q->watch || !vq_started(vd->queues[q->index].vq) || __atomic_load_n(&q->stopping, __ATOMIC_RELAXED))
        return;
    q->watch = iothread_watch(q->blk->thread, virtio_kick_fd(vd, q->index), TRUE, blk_queue_kicked, q, &error);
    if (!q->watch)
        virtio_needs_reset(vd, error->message);
}

static void unwatch(BlkQueue *q)
{
    if (q->watch)
        iothread_unwatch(g_steal_pointer(&q->watch));
}

static void blk_queue_start(VirtioDevice *vd, guint index)
{
    BlkQueue *q = &blk_of(vd)->queues[index];

    __atomic_store_n(&q->stopping, 0, __ATOMIC_SEQ_CST);
    watch(q);
}

static void blk_start(VirtioDevice *vd)
{
    VirtioBlk *blk = blk_of(vd);

    blk->stop_all = FALSE;
    iothread_call(blk->thread, vd->no_dma ? blk_hold : blk_release, blk);
    if (blk->parked_state->len) /* loaded */
        iothread_call(blk->thread, blk_load_parked, blk);
    for (guint i = 0; i < vd->n_queues; i++) {
        if (vq_started(vd->queues[i].vq))
            blk_queue_start(vd, i);
    }
}

static gboolean blk_queue_stop(VirtioDevice *vd, guint index)
{
    BlkQueue *q = &blk_of(vd)->queues[index];

    unwatch(q);
    __atomic_store_n(&q->stopping, 1, __ATOMIC_SEQ_CST);
    if (vd->no_dma) /* they would wait for what may never come */
        iothread_call(q->blk->thread, blk_drop_parked, q->blk);
    return __atomic_load_n(&q->users, __ATOMIC_SEQ_CST) == 0;
}

static gboolean blk_stop(VirtioDevice *vd)
{
    gboolean idle = TRUE;

    blk_of(vd)->stop_all = TRUE;
    for (guint i = 0; i < vd->n_queues; i++)
        idle &= blk_queue_stop(vd, i);
    return idle;
}

static gboolean queue_is_idle(const BlkQueue *q)
{
    return __atomic_load_n(&q->stopping, __ATOMIC_SEQ_CST) && __atomic_load_n(&q->users, __ATOMIC_SEQ_CST) == 0;
}

void blk_stopped(gpointer user)
{
    VirtioBlk *blk = user;
    VirtioDevice *vd = &blk->virtio.vd;
    gboolean idle = TRUE;
    LOCK_SCOPE(&blk->virtio.pci.dev.lock);

    for (guint i = 0; i < vd->n_queues; i++) {
        if (!queue_is_idle(&blk->queues[i]))
            idle = FALSE;
        else if (!blk->stop_all)
            virtio_queue_stopped(vd, i);
    }
    if (blk->stop_all && idle)
        virtio_stopped(vd);
}

static void blk_drain(VirtioDevice *vd)
{
    VirtioBlk *blk = blk_of(vd);

    iothread_call(blk->thread, blk_drop_parked, blk);
    block_queue_drain(blk->io);
    iothread_call(blk->thread, blk_drop_parked, blk); /* what failed meanwhile */
}

/* With the machine stopped blk_resume() does what waits. */
static void blk_dma(VirtioDevice *vd, gboolean on)
{
    VirtioBlk *blk = blk_of(vd);

    iothread_call(blk->thread, on ? blk_release : blk_hold, blk);
    if (on && !vd->quiesced)
        iothread_call(blk->thread, blk_retry_parked, blk);
}

/* ---- configuration space ---- */

static gboolean blk_config_written(VirtioDevice *vd, guint32 offset, unsigned size)
{
    return offset == BLK_WRITEBACK && size == 1 && virtio_has(vd, BLK_F_CONFIG_WCE) && vd->config[BLK_WRITEBACK] <= 1;
}

static void set_capacity(VirtioBlk *blk, guint64 size)
{
    guint8 sectors[8];

    le64_put(sectors, size / 512);
    virtio_config_set(&blk->virtio.vd, BLK_CAPACITY, sectors, sizeof sectors);
}

static void resized(gpointer user, guint64 size)
{
    VirtioBlk *blk = user;
    LOCK_SCOPE(&blk->virtio.pci.dev.lock);

    if (blk->virtio.vd.n_queues)
        set_capacity(blk, size);
}

/* Whether there is a write cache is the driver's choice until its reset. */
static void set_writeback(VirtioBlk *blk)
{
    guint8 on = blk_config(blk)->write_cache == VIRTIO_BLK_PCI_WRITE_CACHE_ON;

    __atomic_store_n(&blk->virtio.vd.config[BLK_WRITEBACK], on, __ATOMIC_RELAXED);
}

static void fill_config(VirtioBlk *blk)
{
    const VirtioBlkPciConfig *c = blk_config(blk);
    guint8 *config = blk->virtio.vd.config;
    guint block = c->logical_block_size;

    le64_put(config + BLK_CAPACITY, block_node_size(blk->node) / 512);
    le32_put(config + BLK_SEG_MAX, c->queue_size - 2u);
    le32_put(config + BLK_BLK_SIZE, block);
    config[BLK_PHYSICAL_EXP] = (guint8)(g_bit_nth_msf(c->physical_block_size, -1) - g_bit_nth_msf(block, -1));
    le16_put(config + BLK_MIN_IO, (guint16)(c->min_io_size / block));
    le32_put(config + BLK_OPT_IO, c->opt_io_size / block);
    set_writeback(blk);
    le16_put(config + BLK_NUM_QUEUES, c->num_queues);
    if (c->discard) {
        le32_put(config + BLK_MAX_DISCARD, c->max_discard_sectors);
        le32_put(config + BLK_MAX_DISCARD_SEG, 1);
        le32_put(config + BLK_DISCARD_ALIGN, block / 512);
    }
    if (c->write_zeroes) {
        le32_put(config + BLK_MAX_ZEROES, c->max_write_zeroes_sectors);
        le32_put(config + BLK_MAX_ZEROES_SEG, 1);
        config[BLK_ZEROES_UNMAP] = 1;
    }
}

static void driver_reset(VirtioDevice *vd)
{
    set_writeback((VirtioBlk *)vd->dev);
}

/* A driver that finds FLUSH without CONFIG_WCE takes it that there is a write cache (section 5.2.5.2). */
static guint64 features(const VirtioBlk *blk)
{
    const VirtioBlkPciConfig *c = blk_config(blk);
    gboolean flush = c->config_wce || c->write_cache == VIRTIO_BLK_PCI_WRITE_CACHE_ON;

    return VIRTIO_BIT(BLK_F_SEG_MAX) | VIRTIO_BIT(BLK_F_BLK_SIZE) | VIRTIO_BIT(BLK_F_TOPOLOGY) |
           (flush ? VIRTIO_BIT(BLK_F_FLUSH) : 0) |
           (block_node_limits(blk->node)->read_only ? VIRTIO_BIT(BLK_F_RO) : 0) |
           (c->config_wce ? VIRTIO_BIT(BLK_F_CONFIG_WCE) : 0) | (c->num_queues > 1 ? VIRTIO_BIT(BLK_F_MQ) : 0) |
           (c->discard ? VIRTIO_BIT(BLK_F_DISCARD) : 0) | (c->write_zeroes ? VIRTIO_BIT(BLK_F_WRITE_ZEROES) : 0);
}

static const VirtioDeviceOps blk_ops = {
    .device_id = VIRTIO_ID_BLOCK,
    .name = "virtio-blk",
    .start = blk_start,
    .stop = blk_stop,
    .queue_start = blk_queue_start,
    .queue_stop = blk_queue_stop,
    .drain = blk_drain,
    .dma = blk_dma,
    .config_written = blk_config_written,
    .reset = driver_reset,
};

static const VirtioPciType blk_pci = { .ops = &blk_ops, .class_code = 0x010000 };

/* ---- resolve ---- */

static gboolean count_cpu(Device *dev, gpointer n)
{
    if (device_plug(dev) == PLUG_CPU)
        ++*(guint *)n;
    return TRUE;
}

static gboolean power_of_two(const Device *dev, const char *name, guint value, GError **error)
{
    return !(value & (value - 1)) ||
           error_set(error, "Property '%s' of device '%s' is %u, not a power of two", name, dev->id, value);
}

static gboolean check_sizes(Device *dev, GError **error)
{
    const VirtioBlkPciConfig *c = DEVICE_CONFIG(dev, VirtioBlkPciConfig);

    if (!power_of_two(dev, "queue-size", c->queue_size, error) ||
        !power_of_two(dev, "logical_block_size", c->logical_block_size, error) ||
        !power_of_two(dev, "physical_block_size", c->physical_block_size, error))
        return FALSE;
    if (c->logical_block_size > c->physical_block_size)
        return error_set(error, "Property 'logical_block_size' of device '%s' is %u, and 'physical_block_size' %u: it can not be larger",
                         dev->id, c->logical_block_size, c->physical_block_size);
    if (c->min_io_size % c->logical_block_size || c->min_io_size / c->logical_block_size > 0xffff)
        return error_set(error, "Property 'min_io_size' of device '%s' is %u: 0 to 65535 blocks of %u bytes", dev->id, c->min_io_size,
                         c->logical_block_size);
    if (c->opt_io_size % c->logical_block_size)
        return error_set(error, "Property 'opt_io_size' of device '%s' is %u, not a multiple of the block size %u", dev->id,
                         c->opt_io_size, c->logical_block_size);
    return TRUE;
}

static gboolean blk_resolve(Device *dev, GError **error)
{
    const VirtioBlkPciConfig *c = DEVICE_CONFIG(dev, VirtioBlkPciConfig);
    Device *node = device_set_find(dev->set, NS_OBJECT, c->drive);
    guint cpus = 0;

    device_set_foreach(dev->set, count_cpu, &cpus);
    if (!prop_bag_is_set(dev->bag, "num-queues"))
        prop_bag_set_u(dev->bag, "num-queues", CLAMP(cpus, 1, 64), ORIGIN_DEFAULT);
    if (!prop_bag_is_set(dev->bag, "physical_block_size")) {
        guint host = node && block_is_node(node) ? block_node_limits(node)->block_size : 512;
        prop_bag_set_u(dev->bag, "physical_block_size", CLAMP(host, c->logical_block_size, 65536), ORIGIN_HOST);
    }
    return check_sizes(dev, error) && virtio_pci_resolve(dev, &blk_pci, c->num_queues, error);
}

/* ---- life cycle ---- */

static const BlockUserOps user_ops = { .resized = resized };

static gboolean open_back_end(VirtioBlk *blk, GError **error)
{
    Device *dev = &blk->virtio.pci.dev;
    const VirtioBlkPciConfig *c = blk_config(blk);
    Device *found = device_set_find(dev->set, NS_OBJECT, c->drive);
    gboolean write = found && block_is_node(found) && !block_node_limits(found)->read_only;
    g_autofree char *name = g_strdup_printf("IO %s", dev->id);

    blk->node = block_attach(dev, c->drive, "drive", write, &user_ops, blk, error);
    if (!blk->node)
        return FALSE;
    if (prop_bag_is_set(dev->bag, "iothread")) {
        blk->iothread = device_link(dev, NS_OBJECT, c->iothread, "iothread", "iothread", error);
        blk->thread = blk->iothread ? iothread_object_thread(blk->iothread) : NULL;
    } else {
        blk->thread = blk->own = iothread_new(name, error);
    }
    if (!blk->thread)
        return FALSE;
    blk->io = block_queue_new(blk->node, blk->thread, BLK_IN_FLIGHT, error);
    if (blk->io)
        block_queue_on_batch(blk->io, blk_batch, blk);
    return blk->io != NULL;
}

static gboolean blk_realize(Device *dev, GError **error)
{
    VirtioBlk *blk = (VirtioBlk *)dev;
    const VirtioBlkPciConfig *c = blk_config(blk);
    guint16 sizes[BLK_MAX_QUEUES];

    g_mutex_init(&blk->error_lock);
    blk->parked_state = g_byte_array_new();
    blk->queues = g_new0(BlkQueue, c->num_queues);
    for (guint i = 0; i < c->num_queues; i++) {
        blk->queues[i].blk = blk;
        blk->queues[i].index = i;
        sizes[i] = c->queue_size;
    }
    if (!open_back_end(blk, error) ||
        !virtio_pci_realize(dev, &blk_pci, features(blk), c->num_queues, sizes, BLK_CONFIG_SIZE, error) ||
        !pci_device_claim_boot(&blk->virtio.pci, "scsi", "disk@0,0", error))
        return FALSE;
    fill_config(blk);
    return TRUE;
}

static void blk_unrealize(Device *dev)
{
    VirtioBlk *blk = (VirtioBlk *)dev;
    Vm *vm = device_set_vm(dev->set);

    g_clear_pointer(&blk->io, block_queue_free);
    vm_post_cancel(vm, blk_stopped, blk);
    vm_post_cancel(vm, blk_tell_error, blk);
    virtio_pci_unrealize(dev);
    g_clear_pointer(&blk->own, iothread_free);
    if (blk->iothread)
        device_unlink(dev, g_steal_pointer(&blk->iothread));
    if (blk->node)
        block_detach(dev, g_steal_pointer(&blk->node));
    blk_requests_free(blk);
    if (blk->queues)
        g_mutex_clear(&blk->error_lock);
    g_clear_pointer(&blk->parked_state, g_byte_array_unref);
    g_clear_pointer(&blk->queues, g_free);
}

static void blk_reset(Device *dev, ResetKind kind)
{
    virtio_pci_reset(dev, kind);
    g_byte_array_set_size(((VirtioBlk *)dev)->parked_state, 0);
}

static void blk_quiesce(Device *dev)
{
    VirtioBlk *blk = (VirtioBlk *)dev;

    for (guint i = 0; i < blk->virtio.vd.n_queues; i++)
        unwatch(&blk->queues[i]);
    block_queue_drain(blk->io);
    blk_save_parked(blk); /* its thread has nothing to do now */
    virtio_pci_quiesce(dev);
}

static void blk_resume(Device *dev)
{
    VirtioBlk *blk = (VirtioBlk *)dev;

    virtio_pci_resume(dev);
    g_byte_array_set_size(blk->parked_state, 0);
    for (guint i = 0; i < blk->virtio.vd.n_queues; i++)
        watch(&blk->queues[i]);
    iothread_call(blk->thread, blk_retry_parked, blk);
}

static gboolean check_parked(const VirtioBlk *blk, GError **error)
{
    const VirtioDevice *vd = &blk->virtio.vd;
    const guint8 *at = blk->parked_state->data;
    gsize left = blk->parked_state->len, size;

    for (guint n = 0; left > 0; n++, at += size, left -= size) {
        guint q = left > 2 ? le16_get(at) : G_MAXUINT16;
        size = q < vd->n_queues && vd->regs[q].enabled ? vq_chain_saved_size(at + 2, left - 2) : 0;
        if (!size || n >= BLK_IN_FLIGHT)
            return error_set(error, "State of device '%s': field 'parked' has no request of a queue of its at number %u", vd->dev->id, n);
        size += 2;
    }
    return TRUE;
}

/* The disk may have another size here than it had where the state was saved. */
static gboolean blk_post_load(Device *dev, GError **error)
{
    VirtioBlk *blk = (VirtioBlk *)dev;
    guint8 writeback = blk->virtio.vd.config[BLK_WRITEBACK];

    fill_config(blk);
    blk->virtio.vd.config[BLK_WRITEBACK] = writeback & 1;
    return check_parked(blk, error) && virtio_pci_post_load(dev, error);
}

/* ---- errors and queries ---- */

void blk_tell_error(gpointer user)
{
    VirtioBlk *blk = user;
    gpointer observed;
    const DeviceObserver *observer = device_set_observer(blk->virtio.pci.dev.set, &observed);
    DeviceIoError e;

    {
        LOCK_SCOPE(&blk->error_lock);
        e = blk->error;
        blk->error_posted = FALSE;
    }
    e.node = blk->node->id;
    if (observer && observer->io_error)
        observer->io_error(observed, &e);
}

gboolean virtio_blk_is(const Device *dev)
{
    return strcmp(dev->type->name, "virtio-blk-pci") == 0;
}

Device *virtio_blk_node(Device *dev)
{
    return ((VirtioBlk *)dev)->node;
}

int virtio_blk_parked_error(Device *dev)
{
    return __atomic_load_n(&((VirtioBlk *)dev)->parked_error, __ATOMIC_RELAXED);
}

void virtio_blk_invalid(Device *dev, guint64 counts[BLOCK_N_OPS])
{
    for (guint i = 0; i < BLOCK_N_OPS; i++)
        counts[i] = __atomic_load_n(&((VirtioBlk *)dev)->invalid[i], __ATOMIC_RELAXED);
}

static const StateDesc blk_state[] = {
    VIRTIO_PCI_ROWS("0.2"),
    { .name = "parked", .kind = STATE_ARRAY, .offset = G_STRUCT_OFFSET(VirtioBlk, parked_state), .size = sizeof(GByteArray *), .since = "0.2" },
    STATE_END,
};

static const DeviceOps ops = {
    .resolve = blk_resolve,
    .realize = blk_realize,
    .publish = virtio_pci_publish,
    .reset = blk_reset,
    .quiesce = blk_quiesce,
    .resume = blk_resume,
    .places = pci_device_places,
    .unplug_request = pci_device_unplug_request,
    .unpublish = virtio_pci_unpublish,
    .unrealize = blk_unrealize,
    .post_load = blk_post_load,
    .abi = virtio_pci_abi,
};

const DeviceType virtio_blk_pci_type = { "virtio-blk-pci", sizeof(VirtioBlk), &ops, blk_state };

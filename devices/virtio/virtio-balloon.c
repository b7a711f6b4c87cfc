/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtio-balloon.c - the memory balloon (virtio 1.2 section 5.5): what is wished for and what is so, statistics, and how it comes and
 * goes. Its pages are virtio-balloon-pages.c's.
 *
 * What the manager wants is the register num_pages and stays over resets; what the guest has done is `actual`, which goes back
 * to 0 with the driver: a new driver has all memory.
 *
 * Statistics. The driver keeps one buffer in the queue; its return is the question, and its coming back filled is the answer. So
 * between questions the chain lies in the ring, is read there and put back, and nothing is in flight when state is saved.
 *
 * Which queue is which. Drivers number the queues that come with features they accepted, so the indices of the later ones depend on
 * that choice; where all are accepted they are those of section 5.5.2.
 */
#include "virtio-balloon-priv.h"

#include "../../common/json.h"
#include "../../schema/generated/devices.h"
#include "../mem/memory-backend.h"

#define STAT_SIZE 10 /* tag (16 bits) and value (64), packed */
#define NS_PER_S G_GINT64_CONSTANT(1000000000)

extern const DeviceType virtio_balloon_pci_type;

/* By tag, section 5.5.6.4; names as QEMU has them. */
static const char *const stat_names[BALLOON_STATS] = {
    "stat-swap-in",      "stat-swap-out",     "stat-major-faults", "stat-minor-faults",  "stat-free-memory",  "stat-total-memory",
    "stat-available-memory", "stat-disk-caches", "stat-htlb-pgalloc", "stat-htlb-pgfail", "stat-oom-kills",    "stat-alloc-stalls",
    "stat-async-scans",  "stat-direct-scans", "stat-async-reclaims", "stat-direct-reclaims",
};

static VirtioBalloon *balloon_of(VirtioDevice *vd)
{
    return (VirtioBalloon *)vd->dev;
}

/* ---- wish and truth ---- */

static guint64 total_memory(const VirtioBalloon *b)
{
    DeviceSet *set = b->virtio.pci.dev.set;

    return mem_total(set) + mem_plugged(set);
}

static gboolean is_balloon(Device *dev, gpointer found)
{
    if (dev->type != &virtio_balloon_pci_type)
        return TRUE;
    *(Device **)found = dev;
    return FALSE;
}

Device *virtio_balloon_find(DeviceSet *set)
{
    Device *found = NULL;

    device_set_foreach(set, is_balloon, &found);
    return found;
}

void virtio_balloon_set_target(Device *dev, guint64 bytes)
{
    VirtioBalloon *b = (VirtioBalloon *)dev;
    guint64 total = total_memory(b);
    guint8 pages[4];
    LOCK_SCOPE(&dev->lock);

    le32_put(pages, (guint32)MIN((total - MIN(bytes, total)) / BALLOON_PAGE, G_MAXUINT32));
    virtio_config_set(&b->virtio.vd, BALLOON_NUM_PAGES, pages, sizeof pages);
}

guint64 virtio_balloon_actual(Device *dev)
{
    VirtioBalloon *b = (VirtioBalloon *)dev;
    guint64 total = total_memory(b), held;
    LOCK_SCOPE(&dev->lock);

    held = (guint64)le32_get(b->virtio.vd.config + BALLOON_ACTUAL) * BALLOON_PAGE;
    return total - MIN(held, total);
}

static void tell_manager(gpointer user)
{
    VirtioBalloon *b = user;
    gpointer observed;
    const DeviceObserver *observer = device_set_observer(b->virtio.pci.dev.set, &observed);

    g_atomic_int_set(&b->told, FALSE);
    if (observer && observer->balloon_change)
        observer->balloon_change(observed, virtio_balloon_actual(&b->virtio.pci.dev));
}

static void post_tell(VirtioBalloon *b)
{
    if (g_atomic_int_compare_and_exchange(&b->told, FALSE, TRUE))
        vm_post(device_set_vm(b->virtio.pci.dev.set), tell_manager, b);
}

static gboolean balloon_config_written(VirtioDevice *vd, guint32 offset, unsigned size)
{
    if (range_within(offset - BALLOON_ACTUAL, size, 4)) {
        post_tell(balloon_of(vd));
        return TRUE;
    }
    return range_within(offset - BALLOON_POISON, size, 4) && virtio_has(vd, BALLOON_F_PAGE_POISON);
}

/* ---- statistics ---- */

static void stats_forget(VirtioBalloon *b)
{
    memset(b->stats, 0xff, sizeof b->stats);
    b->last_update = 0;
}

static void stats_arm(VirtioBalloon *b)
{
    Vm *vm = device_set_vm(b->virtio.pci.dev.set);
    guint32 interval = balloon_config(b)->guest_stats_polling_interval;

    if (interval)
        vm_timer_set(b->timer, vm_clock_ns(vm) + interval * NS_PER_S);
    else
        vm_timer_cancel(b->timer);
}

static void stats_parse(VirtioBalloon *b, const VqChain *c)
{
    guint8 s[STAT_SIZE];

    if (c->out_len < STAT_SIZE)
        return; /* a buffer to be asked with */
    memset(b->stats, 0xff, sizeof b->stats);
    for (gsize at = 0; iov_read(c->iov, c->n_out, at, s, STAT_SIZE) == STAT_SIZE && at < STAT_SIZE * 64; at += STAT_SIZE) {
        guint16 tag = le16_get(s);
        if (tag < BALLOON_STATS)
            b->stats[tag] = le64_get(s + 2);
    }
    b->last_update = g_get_real_time() / G_USEC_PER_SEC;
}

/* The driver's buffer: read, and put back; or, to ask, returned. */
static void stats_visit(VirtioDevice *vd, guint index, gboolean ask)
{
    VirtioBalloon *b = balloon_of(vd);
    VirtQueue *vq = vd->queues[index].vq;
    VqChain chain = { .iov = b->iov, .max_iov = BALLOON_MAX_SEGMENTS };

    if (!vq_begin(vq))
        return;
    if (vq_pop(vq, &chain) != VQ_CHAIN) {
        vq_kicks_on(vq);
    } else if (chain.n_in > 0) {
        vq_break(vq, "statistics with %u writable segments", chain.n_in);
        vq_drop(vq, &chain);
    } else if (ask) {
        vq_push(vq, &chain, 0);
    } else {
        stats_parse(b, &chain);
        vq_unpop(vq, &chain);
    }
    vq_kicks_on(vq);
    vq_flush(vq);
    if (vq_should_notify(vq))
        virtio_notify_queue(vd, index);
    vq_end(vq);
}

static void stats_due(gpointer user)
{
    VirtioBalloon *b = user;
    VirtioDevice *vd = &b->virtio.vd;

    if (virtio_has(vd, BALLOON_F_STATS_VQ) && virtio_queue_ready(vd, 2))
        stats_visit(vd, 2, TRUE);
    stats_arm(b);
}

static void balloon_row_changed(Device *dev, guint row)
{
    stats_arm((VirtioBalloon *)dev);
}

static const char *const readouts[] = { "guest-stats", NULL };

static char *balloon_readout(Device *dev, const char *name)
{
    VirtioBalloon *b = (VirtioBalloon *)dev;
    GString *text = g_string_new(NULL);
    JsonOut o = JSON_OUT_INIT(text);
    LOCK_SCOPE(&dev->lock);

    json_out_begin_object(&o);
    json_out_key(&o, "stats");
    json_out_begin_object(&o);
    for (guint i = 0; i < BALLOON_STATS; i++) {
        json_out_key(&o, stat_names[i]);
        json_out_uint(&o, b->stats[i]);
    }
    json_out_end_object(&o);
    json_out_key(&o, "last-update");
    json_out_int(&o, b->last_update);
    json_out_end_object(&o);
    return g_string_free(text, FALSE);
}

/* ---- hints ---- */

static void hint_set(VirtioBalloon *b, guint32 id)
{
    guint8 bytes[4];

    le32_put(bytes, id);
    virtio_config_set(&b->virtio.vd, BALLOON_HINT_ID, bytes, sizeof bytes);
}

guint32 virtio_balloon_hint_start(Device *dev)
{
    VirtioBalloon *b = (VirtioBalloon *)dev;
    LOCK_SCOPE(&dev->lock);

    if (!b->virtio.vd.live || !virtio_has(&b->virtio.vd, BALLOON_F_FREE_PAGE_HINT))
        return 0;
    b->hint_round = MAX(b->hint_round + 1, HINT_FIRST);
    b->hint_live = FALSE;
    b->hinted = 0;
    hint_set(b, b->hint_round);
    return b->hint_round;
}

static void hint_end(Device *dev, guint32 id)
{
    VirtioBalloon *b = (VirtioBalloon *)dev;
    LOCK_SCOPE(&dev->lock);

    b->hint_live = FALSE;
    if (b->virtio.vd.config_size > BALLOON_HINT_ID && virtio_has(&b->virtio.vd, BALLOON_F_FREE_PAGE_HINT))
        hint_set(b, id);
}

void virtio_balloon_hint_stop(Device *dev)
{
    hint_end(dev, HINT_STOP);
}

void virtio_balloon_hint_done(Device *dev)
{
    hint_end(dev, HINT_DONE);
}

guint64 virtio_balloon_hinted(Device *dev)
{
    LOCK_SCOPE(&dev->lock);
    return ((VirtioBalloon *)dev)->hinted;
}

/* ---- virtio ---- */

static void kicked(VirtioDevice *vd, guint index)
{
    guint next = 2;

    if (index == 0)
        balloon_inflate(vd, index);
    else if (index == 1)
        balloon_deflate(vd, index);
    else if (virtio_has(vd, BALLOON_F_STATS_VQ) && index == next++)
        stats_visit(vd, index, FALSE);
    else if (virtio_has(vd, BALLOON_F_FREE_PAGE_HINT) && index == next++)
        balloon_hint(vd, index);
    else if (virtio_has(vd, BALLOON_F_REPORTING) && index == next)
        balloon_report(vd, index);
}

/* The driver is gone: all memory is the guest's again. */
static void forget_driver(VirtioBalloon *b)
{
    guint8 *config = b->virtio.vd.config;

    if (le32_get(config + BALLOON_ACTUAL))
        post_tell(b);
    memset(config + BALLOON_ACTUAL, 0, BALLOON_CONFIG_SIZE - BALLOON_ACTUAL);
    b->hint_live = FALSE;
    b->hint_round = 0;
    b->hinted = 0;
    stats_forget(b);
}

static gboolean balloon_stop(VirtioDevice *vd)
{
    forget_driver(balloon_of(vd));
    return TRUE;
}

static const VirtioDeviceOps balloon_ops = {
    .device_id = VIRTIO_ID_BALLOON,
    .name = "virtio-balloon",
    .stop = balloon_stop,
    .config_written = balloon_config_written,
};

static const VirtioPciType balloon_pci = { .ops = &balloon_ops, .class_code = 0x00ff00, .in_order = TRUE };

/* ---- life cycle ---- */

static guint n_queues(const VirtioBalloonPciConfig *c)
{
    return 3 + c->free_page_hint + c->free_page_reporting;
}

static guint64 features(const VirtioBalloonPciConfig *c)
{
    return VIRTIO_BIT(BALLOON_F_STATS_VQ) | (c->deflate_on_oom ? VIRTIO_BIT(BALLOON_F_DEFLATE_ON_OOM) : 0) |
           (c->free_page_hint ? VIRTIO_BIT(BALLOON_F_FREE_PAGE_HINT) : 0) |
           (c->page_poison ? VIRTIO_BIT(BALLOON_F_PAGE_POISON) : 0) |
           (c->free_page_reporting ? VIRTIO_BIT(BALLOON_F_REPORTING) : 0);
}

static gboolean balloon_resolve(Device *dev, GError **error)
{
    const VirtioBalloonPciConfig *c = balloon_config((VirtioBalloon *)dev);

    if (c->queue_size & (c->queue_size - 1))
        return error_set(error, "Property 'queue-size' of device '%s' is %u, not a power of two", dev->id, c->queue_size);
    return virtio_pci_resolve(dev, &balloon_pci, n_queues(c), error);
}

static gboolean balloon_realize(Device *dev, GError **error)
{
    VirtioBalloon *b = (VirtioBalloon *)dev;
    const VirtioBalloonPciConfig *c = balloon_config(b);
    const guint16 sizes[5] = { c->queue_size, c->queue_size, c->queue_size, c->queue_size, c->queue_size };
    guint config_size = c->page_poison ? BALLOON_CONFIG_SIZE : c->free_page_hint ? BALLOON_POISON : BALLOON_HINT_ID;

    stats_forget(b);
    if (!virtio_pci_realize(dev, &balloon_pci, features(c), n_queues(c), sizes, config_size, error))
        return FALSE;
    for (guint i = 0; i < n_queues(c); i++)
        virtio_watch(&b->virtio.vd, i, kicked);
    b->timer = vm_timer_new(device_set_vm(dev->set), &dev->lock, stats_due, b);
    stats_arm(b);
    return TRUE;
}

static void balloon_reset(Device *dev, ResetKind kind)
{
    virtio_pci_reset(dev, kind);
    forget_driver((VirtioBalloon *)dev); /* also of a state that was loaded and has never run */
}

static void balloon_unrealize(Device *dev)
{
    VirtioBalloon *b = (VirtioBalloon *)dev;

    vm_post_cancel(device_set_vm(dev->set), tell_manager, b);
    g_clear_pointer(&b->timer, vm_timer_free);
    virtio_pci_unrealize(dev);
}

static gboolean balloon_post_load(Device *dev, GError **error)
{
    VirtioBalloon *b = (VirtioBalloon *)dev;

    if (!virtio_pci_post_load(dev, error))
        return FALSE;
    stats_forget(b); /* the answers are of another host's time: they come again */
    stats_arm(b);
    post_tell(b);
    return TRUE;
}

static const StateDesc balloon_state[] = {
    VIRTIO_PCI_ROWS("0.2"),
    STATE_ROW(VirtioBalloon, hint_round, U32, "0.2"),
    STATE_ROW(VirtioBalloon, hint_live, BOOL, "0.2"),
    STATE_ROW(VirtioBalloon, hinted, U64, "0.2"),
    STATE_END,
};

static const DeviceOps ops = {
    .resolve = balloon_resolve,
    .realize = balloon_realize,
    .publish = virtio_pci_publish,
    .reset = balloon_reset,
    .quiesce = virtio_pci_quiesce,
    .resume = virtio_pci_resume,
    .places = pci_device_places,
    .unplug_request = pci_device_unplug_request,
    .unpublish = virtio_pci_unpublish,
    .unrealize = balloon_unrealize,
    .post_load = balloon_post_load,
    .abi = virtio_pci_abi,
    .readouts = readouts,
    .readout = balloon_readout,
    .row_changed = balloon_row_changed,
};

const DeviceType virtio_balloon_pci_type = { "virtio-balloon-pci", sizeof(VirtioBalloon), &ops, balloon_state };

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-virtio.c - the core under a device of the test's own that answers when the test says so: resets and queue resets while
 * chains are in flight, configuration space and its generation, interrupts from an I/O thread.
 *
 *   virtio-testdev   two queues of 16; configuration of 12 bytes, the first four writable unless all ones. Chains are
 *                    taken from a queue at each kick, on an I/O thread where IOTHREAD says so, and kept until finish().
 *
 * As in pci-test.h the program has a table of types of its own.
 */
#include "../../devices/virtio/virtio-pci.h"
#include "../../kvm/iothread.h"
#include "virtio-test.h"

#define SLOT 5
#define N_QUEUES 2
#define MAX_KEPT 16
#define V1 F(F_VERSION_1)

typedef struct {
    VirtioPci    virtio;
    IoThread    *thread; /* NULL: virtio_watch() */
    IoWatch     *watches[N_QUEUES];
    struct iovec iov[N_QUEUES][MAX_KEPT][4];
    VqChain      kept[N_QUEUES][MAX_KEPT];
    guint        n_kept[N_QUEUES];
    guint        starts, stops, queue_starts, queue_stops, drains;
    gboolean     echo; /* on the I/O thread: give each chain back at once */
} TestVirtio;

/* ---- its data path ---- */

static TestVirtio *of(VirtioDevice *vd)
{
    return (TestVirtio *)vd->dev;
}

static void echo(TestVirtio *d, guint i)
{
    VirtioDevice *vd = &d->virtio.vd;
    VirtQueue *vq = vd->queues[i].vq;

    while (d->n_kept[i] > 0) {
        VqChain *c = &d->kept[i][--d->n_kept[i]];
        memset(c->iov[0].iov_base, 0x5a, c->iov[0].iov_len);
        vq_push(vq, c, (guint32)c->in_len);
    }
    vq_flush(vq);
    if (vq_should_notify(vq))
        virtio_notify_queue(vd, i);
}

static void take(VirtioDevice *vd, guint i)
{
    TestVirtio *d = of(vd);
    VirtQueue *vq = vd->queues[i].vq;

    if (!vq_begin(vq))
        return;
    do {
        VqChain *c = &d->kept[i][d->n_kept[i]];
        *c = (VqChain){ .iov = d->iov[i][d->n_kept[i]], .max_iov = 4 };
        if (vq_pop(vq, c) != VQ_CHAIN)
            break;
        d->n_kept[i]++;
        if (d->echo)
            echo(d, i);
    } while (d->n_kept[i] < MAX_KEPT);
    vq_end(vq);
}

static void take_0(gpointer user)
{
    take(user, 0);
}

static void take_1(gpointer user)
{
    take(user, 1);
}

/* What is in flight on queue I is back. */
static void finish(TestVirtio *d, guint i)
{
    VirtQueue *vq = d->virtio.vd.queues[i].vq;

    LOCK_SCOPE(&d->virtio.pci.dev.lock);
    for (guint k = 0; k < d->n_kept[i]; k++)
        vq_drop(vq, &d->kept[i][k]);
    d->n_kept[i] = 0;
}

/* ---- what the core asks it for ---- */

static void watch(TestVirtio *d, guint i)
{
    if (d->thread)
        d->watches[i] = iothread_watch(d->thread, virtio_kick_fd(&d->virtio.vd, i), TRUE, i ? take_1 : take_0,
                                       &d->virtio.vd, NULL);
}

static void unwatch(TestVirtio *d, guint i)
{
    if (d->watches[i])
        iothread_unwatch(d->watches[i]);
    d->watches[i] = NULL;
}

static void dev_start(VirtioDevice *vd)
{
    of(vd)->starts++;
    for (guint i = 0; i < N_QUEUES; i++) {
        if (vq_started(vd->queues[i].vq))
            watch(of(vd), i);
    }
}

static gboolean dev_stop(VirtioDevice *vd)
{
    of(vd)->stops++;
    for (guint i = 0; i < N_QUEUES; i++)
        unwatch(of(vd), i);
    return of(vd)->n_kept[0] + of(vd)->n_kept[1] == 0;
}

static void dev_queue_start(VirtioDevice *vd, guint index)
{
    of(vd)->queue_starts++;
    watch(of(vd), index);
}

static gboolean dev_queue_stop(VirtioDevice *vd, guint index)
{
    of(vd)->queue_stops++;
    unwatch(of(vd), index);
    return of(vd)->n_kept[index] == 0;
}

static void dev_drain(VirtioDevice *vd)
{
    TestVirtio *d = of(vd);

    d->drains++;
    for (guint i = 0; i < N_QUEUES; i++) {
        for (guint k = 0; k < d->n_kept[i]; k++)
            vq_drop(vd->queues[i].vq, &d->kept[i][k]);
        d->n_kept[i] = 0;
    }
}

static gboolean dev_features_ok(VirtioDevice *vd, guint64 features)
{
    return !(features & 1) || (features & 2); /* bit 0 depends on bit 1 */
}

static gboolean dev_config_written(VirtioDevice *vd, guint32 offset, unsigned size)
{
    return offset + size <= 4 && le32_get(vd->config) != G_MAXUINT32;
}

static const VirtioDeviceOps dev_virtio_ops = {
    .device_id = 63,
    .name = "virtio-testdev",
    .features_ok = dev_features_ok,
    .start = dev_start,
    .stop = dev_stop,
    .queue_start = dev_queue_start,
    .queue_stop = dev_queue_stop,
    .drain = dev_drain,
    .config_written = dev_config_written,
};

static const VirtioPciType dev_pci = { .ops = &dev_virtio_ops, .class_code = 0x00ff00 };

static gboolean dev_resolve(Device *dev, GError **error)
{
    return virtio_pci_resolve(dev, &dev_pci, N_QUEUES, error);
}

static gboolean dev_realize(Device *dev, GError **error)
{
    static const guint16 sizes[N_QUEUES] = { MAX_KEPT, MAX_KEPT };
    TestVirtio *d = (TestVirtio *)dev;

    if (!virtio_pci_realize(dev, &dev_pci, 3, N_QUEUES, sizes, 12, error))
        return FALSE;
    le32_put(d->virtio.vd.config + 8, 0xc0ffee);
    if (strcmp(dev->id, "thread") == 0) {
        d->thread = iothread_new("test", error);
        return d->thread != NULL;
    }
    for (guint i = 0; i < N_QUEUES; i++)
        virtio_watch(&d->virtio.vd, i, take);
    return TRUE;
}

/* What is in flight comes back first. */
static void dev_quiesce(Device *dev)
{
    TestVirtio *d = (TestVirtio *)dev;

    for (guint i = 0; i < N_QUEUES; i++) {
        unwatch(d, i);
        if (d->n_kept[i] == 0 || !vq_begin(d->virtio.vd.queues[i].vq))
            continue;
        echo(d, i);
        vq_end(d->virtio.vd.queues[i].vq);
    }
    virtio_pci_quiesce(dev);
}

static void dev_resume(Device *dev)
{
    TestVirtio *d = (TestVirtio *)dev;
    gboolean was_live = d->virtio.vd.live;

    virtio_pci_resume(dev);
    for (guint i = 0; was_live && i < N_QUEUES; i++) {
        if (vq_started(d->virtio.vd.queues[i].vq))
            watch(d, i);
    }
}

static void dev_unrealize(Device *dev)
{
    virtio_pci_unrealize(dev);
    g_clear_pointer(&((TestVirtio *)dev)->thread, iothread_free);
}

static const StateDesc dev_state[] = { VIRTIO_PCI_ROWS("0.2"), STATE_END };

static const DeviceOps dev_ops = {
    .resolve = dev_resolve,
    .realize = dev_realize,
    .publish = virtio_pci_publish,
    .reset = virtio_pci_reset,
    .quiesce = dev_quiesce,
    .resume = dev_resume,
    .unpublish = virtio_pci_unpublish,
    .unrealize = dev_unrealize,
    .post_load = virtio_pci_post_load,
    .abi = virtio_pci_abi,
};

static const DeviceType testdev_type = {
    .name = "virtio-testdev", .size = sizeof(TestVirtio), .ops = &dev_ops, .state = dev_state
};

extern const DeviceType board_type, cpu_hotplug_type, fw_cfg_type, host_bridge_type, lpc_type, mem_hotplug_type, pci_hotplug_type, rtc_type;
const DeviceType *const device_types[] = { &board_type, &cpu_hotplug_type, &fw_cfg_type,   &host_bridge_type,
                                           &lpc_type,   &mem_hotplug_type, &pci_hotplug_type, &rtc_type,    &testdev_type, NULL };

/* ---- the machine ---- */

static TestVirtio *start(BoardTest *t, const char *id)
{
    static PropTable table;
    g_autoptr(GError) error = NULL;

    table = virtio_pci_table;
    table.name = "virtio-testdev";
    table.base = &virtio_pci_table;
    table.flags = TYPE_HOTPLUG | TYPE_HOT_UNPLUG;
    board_test_init(t, BOARD_DEFAULT);
    board_test_ram(t);
    PropBag *bag = prop_bag_new(&table);
    bag->id = g_strdup(id);
    prop_bag_set_s(bag, "addr", "5", ORIGIN_CONFIG);
    Device *dev = device_plug_realize(t->set, bag, &error);
    g_assert_no_error(error);
    device_plug_publish(dev);
    board_test_power_on(t);
    return (TestVirtio *)dev;
}

static void go(VirtioTest *v, guint64 features)
{
    vt_msix_start(v, N_QUEUES);
    g_assert_true(vt_negotiate(v, features | V1));
    vt_out(v, C_CONFIG_VECTOR, N_QUEUES, 2);
    for (guint i = 0; i < N_QUEUES; i++)
        vt_queue(v, i, 0, features);
    vt_driver_ok(v);
    for (guint i = 0; i < N_QUEUES; i++)
        drv_irq_on(&v->q[i]);
}

static const DrvSeg buffer = { VT_DATA, 64, TRUE };

/* Gives queue I one chain, which the device keeps. */
static void give(VirtioTest *v, TestVirtio *d, guint i)
{
    guint before = d->n_kept[i];

    vt_send(v, i, &buffer, 1, 7);
    g_assert_cmpuint(d->n_kept[i], ==, before + 1);
}

/* ---- tests ---- */

static void test_device_decides_features(void)
{
    BoardTest t;

    start(&t, "main");
    g_auto(VirtioTest) v = vt_open(&t, SLOT);
    g_assert_cmphex(vt_cfg_in(&v, 2, 2), ==, 0x1040 + 63);
    g_assert_false(vt_negotiate(&v, V1 | 1));
    g_assert_true(vt_negotiate(&v, V1 | 3));
    board_test_clear(&t);
}

/* The driver reads its old status until the last chain is back, and what it writes meanwhile is lost. */
static void test_reset_in_flight(void)
{
    const guint ok = S_ACK | S_DRIVER | S_FEATURES_OK | S_DRIVER_OK;
    BoardTest t;
    TestVirtio *d = start(&t, "main");
    g_auto(VirtioTest) v = vt_open(&t, SLOT);

    go(&v, 0);
    g_assert_cmpuint(d->starts, ==, 1);
    give(&v, d, 0);
    give(&v, d, 1);
    vt_out(&v, C_STATUS, 0, 1);
    g_assert_cmphex(vt_status(&v), ==, ok);
    vt_out(&v, C_STATUS, 0, 1);
    vt_out(&v, C_STATUS, S_ACK, 1);
    vt_out(&v, C_QUEUE_SELECT, 1, 2);
    g_assert_cmpuint(vt_in(&v, C_QUEUE_SELECT, 2), ==, 1); /* not taken: it was 1 of vt_kick() */
    vt_out(&v, C_QUEUE_SELECT, 0, 2);
    g_assert_cmpuint(vt_in(&v, C_QUEUE_SELECT, 2), ==, 1);
    g_assert_true(drv_add(&v.q[0], &buffer, 1, FALSE, 8));
    mem_out(&t, v.notify, 0, 2);
    board_test_settle();
    g_assert_cmpuint(d->n_kept[0], ==, 1); /* nothing more is taken */
    g_assert_cmpuint(d->stops, ==, 1);
    finish(d, 0);
    finish(d, 1);
    g_assert_cmphex(vt_status(&v), ==, ok);
    g_mutex_lock(&d->virtio.pci.dev.lock);
    virtio_stopped(&d->virtio.vd);
    virtio_stopped(&d->virtio.vd); /* nobody waits any more */
    g_mutex_unlock(&d->virtio.pci.dev.lock);
    g_assert_cmphex(vt_status(&v), ==, 0);
    vt_none_used(&v, 0);
    go(&v, 0);
    give(&v, d, 0);
    board_test_clear(&t); /* the device goes with a chain in flight */
}

static void test_queue_reset_in_flight(void)
{
    BoardTest t;
    TestVirtio *d = start(&t, "main");
    g_auto(VirtioTest) v = vt_open(&t, SLOT);

    go(&v, F(F_RESET));
    give(&v, d, 0);
    give(&v, d, 1);
    vt_out(&v, C_QUEUE_SELECT, 0, 2);
    vt_out(&v, C_QUEUE_RESET, 1, 2);
    g_assert_cmpuint(vt_in(&v, C_QUEUE_RESET, 2), ==, 1); /* still at it */
    vt_out(&v, C_QUEUE_RESET, 1, 2);
    g_assert_cmpuint(d->queue_stops, ==, 1);
    give(&v, d, 1); /* the other works on */
    vt_out(&v, C_QUEUE_SELECT, 0, 2);
    finish(d, 0);
    g_mutex_lock(&d->virtio.pci.dev.lock);
    virtio_queue_stopped(&d->virtio.vd, 0);
    virtio_queue_stopped(&d->virtio.vd, 1); /* was not asked for */
    g_mutex_unlock(&d->virtio.pci.dev.lock);
    g_assert_cmpuint(vt_in(&v, C_QUEUE_RESET, 2), ==, 0);
    g_assert_cmpuint(vt_in(&v, C_QUEUE_ENABLE, 2), ==, 0);
    vt_queue(&v, 0, 8, F(F_RESET));
    g_assert_cmpuint(d->queue_starts, ==, 1);
    give(&v, d, 0);
    give(&v, d, 1);
    /* A reset of the device overtakes that of a queue. */
    vt_out(&v, C_QUEUE_SELECT, 1, 2);
    vt_out(&v, C_QUEUE_RESET, 1, 2);
    vt_out(&v, C_STATUS, 0, 1);
    finish(d, 0);
    finish(d, 1);
    g_mutex_lock(&d->virtio.pci.dev.lock);
    virtio_stopped(&d->virtio.vd);
    virtio_queue_stopped(&d->virtio.vd, 1);
    g_mutex_unlock(&d->virtio.pci.dev.lock);
    g_assert_cmphex(vt_status(&v), ==, 0);
    board_test_clear(&t);
}

/* A reset of the machine or of the function waits for what is in flight. */
static void test_reset_drains(void)
{
    BoardTest t;
    TestVirtio *d = start(&t, "main");
    g_auto(VirtioTest) v = vt_open(&t, SLOT);

    go(&v, 0);
    give(&v, d, 0);
    vt_out(&v, C_STATUS, 0, 1); /* and while the driver's own is under way */
    vt_cfg_out(&v, v.exp + 8, 0x8000, 2);
    g_assert_cmpuint(d->drains, ==, 1);
    vt_close(&v);
    v = vt_open(&t, SLOT);
    g_assert_cmphex(vt_status(&v), ==, 0);
    go(&v, 0);
    give(&v, d, 1);
    device_set_quiesce(t.set);
    g_assert_cmpuint(vt_used(&v, 1, 7), ==, 64);
    device_set_reset(t.set, RESET_WARM);
    g_assert_cmpuint(d->drains, ==, 1);
    device_set_resume(t.set);
    vt_close(&v);
    v = vt_open(&t, SLOT);
    go(&v, 0);
    give(&v, d, 1);
    board_test_clear(&t);
}

static void set_config(TestVirtio *d, guint32 value)
{
    guint8 bytes[4];

    le32_put(bytes, value);
    LOCK_SCOPE(&d->virtio.pci.dev.lock);
    virtio_config_set(&d->virtio.vd, 8, bytes, sizeof bytes);
}

static void test_configuration(void)
{
    BoardTest t;
    TestVirtio *d = start(&t, "main");
    g_auto(VirtioTest) v = vt_open(&t, SLOT);

    g_assert_cmpuint(v.device_len, ==, 12);
    g_assert_cmphex(mem_in(&t, v.device + 8, 4), ==, 0xc0ffee);
    g_assert_cmphex(mem_in(&t, v.device + 9, 1), ==, 0xff);
    vt_msix_start(&v, N_QUEUES);
    guint before = (guint)vt_in(&v, C_GENERATION, 1);
    set_config(d, 1);
    g_assert_cmpuint(vt_in(&v, C_GENERATION, 1), ==, before + 1);
    vt_expect_no_msi(&v); /* no driver yet */
    go(&v, 0);
    set_config(d, 2);
    vt_expect_msi(&v, N_QUEUES);
    set_config(d, 2); /* no change */
    vt_expect_no_msi(&v);
    g_assert_cmpuint(vt_in(&v, C_GENERATION, 1), ==, before + 2);
    mem_out(&t, v.device, 0x12345678, 4);
    g_assert_cmphex(mem_in(&t, v.device, 4), ==, 0x12345678);
    mem_out(&t, v.device, G_MAXUINT32, 4); /* the device will not have it */
    g_assert_cmphex(mem_in(&t, v.device, 4), ==, 0x12345678);
    mem_out(&t, v.device + 4, 1, 4);
    g_assert_cmphex(mem_in(&t, v.device + 4, 4), ==, 0);
    vt_msix_enable(&v, FALSE);
    set_config(d, 3);
    g_assert_true(vt_pin(&v, SLOT));
    g_assert_cmphex(mem_in(&t, v.isr, 1), ==, 2);
    g_assert_false(vt_pin(&v, SLOT));
    board_test_clear(&t);
}

/* ---- on an I/O thread ---- */

/* The main loop runs until the chain is back. */
static void wait_used(VirtioTest *v, guint i, guint32 token)
{
    guint32 got, len;

    while (!drv_take(&v->q[i], &got, &len))
        g_main_context_iteration(NULL, FALSE);
    g_assert_cmphex(got, ==, token);
    g_assert_cmpuint(len, ==, 64);
}

static void wait_msi(VirtioTest *v, guint vector)
{
    guint64 address;
    guint32 data;

    while (!vm_test_take_msi(v->t->vm, &address, &data))
        g_main_context_iteration(NULL, FALSE);
    g_assert_cmphex(data, ==, VT_MSI_DATA(vector));
}

static void test_io_thread(void)
{
    BoardTest t;
    TestVirtio *d = start(&t, "thread");
    g_auto(VirtioTest) v = vt_open(&t, SLOT);

    d->echo = TRUE;
    for (guint round = 0; round < 20; round++) {
        go(&v, F(F_RESET));
        for (guint n = 0; n < 50; n++) {
            g_assert_true(drv_add(&v.q[n % 2], &buffer, 1, FALSE, n));
            vt_kick(&v, n % 2);
            if (n == 25) { /* between kick and answer */
                device_set_quiesce(t.set);
                device_set_resume(t.set);
            }
            wait_used(&v, n % 2, n);
            wait_msi(&v, n % 2);
        }
        g_assert_true(drv_add(&v.q[0], &buffer, 1, FALSE, 99));
        vt_kick(&v, 0);
        vt_out(&v, C_QUEUE_SELECT, 0, 2);
        vt_out(&v, C_QUEUE_RESET, 1, 2);
        while (vt_in(&v, C_QUEUE_RESET, 2))
            g_main_context_iteration(NULL, FALSE);
        g_assert_true(drv_add(&v.q[1], &buffer, 1, FALSE, 99));
        vt_kick(&v, 1);
        vt_out(&v, C_STATUS, 0, 1); /* whatever the thread is at */
        g_assert_cmphex(vt_status(&v), ==, 0);
        board_test_settle();
        while (vm_test_take_msi(t.vm, &(guint64){ 0 }, &(guint32){ 0 }))
            continue;
    }
    board_test_clear(&t);
}

/* Without MSI-X the pin follows although the interrupt came from a thread that takes no lock. */
static void test_io_thread_pin(void)
{
    BoardTest t;
    TestVirtio *d = start(&t, "thread");
    g_auto(VirtioTest) v = vt_open(&t, SLOT);

    d->echo = TRUE;
    go(&v, 0);
    vt_msix_enable(&v, FALSE);
    for (guint n = 0; n < 50; n++) {
        g_assert_true(drv_add(&v.q[0], &buffer, 1, FALSE, n));
        vt_kick(&v, 0);
        while (!vt_pin(&v, SLOT))
            continue;
        g_assert_cmphex(mem_in(&t, v.isr, 1), ==, 1);
        wait_used(&v, 0, n);
        g_assert_false(vt_pin(&v, SLOT));
    }
    board_test_clear(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FATAL_MASK);
    g_test_add_func("/virtio-core/device-decides-features", test_device_decides_features);
    g_test_add_func("/virtio-core/reset-in-flight", test_reset_in_flight);
    g_test_add_func("/virtio-core/queue-reset-in-flight", test_queue_reset_in_flight);
    g_test_add_func("/virtio-core/reset-drains", test_reset_drains);
    g_test_add_func("/virtio-core/configuration", test_configuration);
    g_test_add_func("/virtio-core/io-thread", test_io_thread);
    g_test_add_func("/virtio-core/io-thread-pin", test_io_thread_pin);
    return g_test_run();
}

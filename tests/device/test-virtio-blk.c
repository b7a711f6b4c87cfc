/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-virtio-blk.c - the virtio disk as a driver sees it, on files and on a node that leads nowhere. The
 * device works on its I/O thread: the driver polls the ring, as firmware does.
 */
#include "../../devices/virtio/virtio-blk-priv.h"
#include "virtio-blk-rig.h"

/* ---- what it is ---- */

static void test_identity(void)
{
    Disk d;

    disk_start(&d, "", ",\"physical_block_size\":4096,\"min_io_size\":4096,\"opt_io_size\":65536,\"num-queues\":3,\"queue-size\":64");
    g_assert_cmphex(vt_cfg_in(&d.v, 0, 4), ==, 0x10421af4);
    g_assert_cmphex(vt_cfg_in(&d.v, 8, 4), ==, 0x01000001);
    g_assert_cmphex(vt_features(&d.v), ==, V1 | F(F_INDIRECT) | F(F_EVENT_IDX) | F(F_RESET) | F(B_SEG_MAX) | F(B_BLK_SIZE) |
                    F(B_FLUSH) | F(B_TOPOLOGY) | F(B_WCE) | F(B_MQ) | F(B_DISCARD) | F(B_ZEROES));
    g_assert_cmpuint(vt_in(&d.v, C_NUM_QUEUES, 2), ==, 3);
    g_assert_cmpuint(config(&d, 0, 8), ==, 2048);
    g_assert_cmpuint(config(&d, 12, 4), ==, 62);
    g_assert_cmpuint(config(&d, 20, 4), ==, 512);
    g_assert_cmpuint(config(&d, 24, 1), ==, 3);
    g_assert_cmpuint(config(&d, 26, 2), ==, 8);
    g_assert_cmpuint(config(&d, 28, 4), ==, 128);
    g_assert_cmpuint(config(&d, 32, 1), ==, 1);
    g_assert_cmpuint(config(&d, 34, 2), ==, 3);
    g_assert_cmpuint(config(&d, 36, 4), ==, 4194303);
    g_assert_cmpuint(config(&d, 40, 4), ==, 1);
    g_assert_cmpuint(config(&d, 52, 4), ==, 1);
    disk_end(&d);
    disk_start(&d, ",\"read-only\":true", ",\"config-wce\":false,\"write-cache\":\"off\",\"discard\":false,\"write-zeroes\":false");
    g_assert_cmphex(vt_features(&d.v) & 0xffff, ==, F(B_SEG_MAX) | F(B_RO) | F(B_BLK_SIZE) | F(B_TOPOLOGY));
    g_assert_cmpuint(config(&d, 32, 1), ==, 0);
    g_assert_cmpuint(config(&d, 34, 2), ==, 1); /* one for each CPU, at least */
    g_assert_cmpuint(config(&d, 36, 4), ==, 0);
    disk_end(&d);
}

static void refuse(Disk *d, const char *fragment, const char *more)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(try_disk(d, more, &error));
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, fragment));
    g_assert_null(block_node_user(d->node));
}

static void test_refused(void)
{
    Disk d;
    g_autoptr(GError) error = NULL;

    disk_start(&d, "", "");
    g_assert_false(device_remove(d.node, &error));
    g_assert_nonnull(strstr(error->message, "'d'"));
    g_clear_error(&error);
    g_assert_true(device_remove(d.dev, &error));
    refuse(&d, "'queue-size'", ",\"queue-size\":100");
    refuse(&d, "can not be larger", ",\"logical_block_size\":4096,\"physical_block_size\":512");
    refuse(&d, "power of two", ",\"logical_block_size\":1000");
    refuse(&d, "min_io_size", ",\"min_io_size\":100");
    refuse(&d, "opt_io_size", ",\"opt_io_size\":100");
    refuse(&d, "there is no iothread 'none'", ",\"iothread\":\"none\"");
    refuse(&d, "not a iothread", ",\"iothread\":\"n\"");
    disk_end(&d);
}

/* ---- requests ---- */

static void test_requests(void)
{
    Disk d;
    static const guint64 features[] = { F(B_FLUSH), F(F_PACKED), F(F_EVENT_IDX) | F(B_FLUSH), 0 };

    for (guint i = 0; i < G_N_ELEMENTS(features); i++) {
        disk_start(&d, ",\"discard\":\"unmap\"", ",\"serial\":\"AB-1234\",\"packed\":true");
        go(&d, features[i], 1);
        g_assert_cmpuint(ask(&d, T_IN, 9, 1024), ==, OK);
        g_assert_cmpuint(buf(&d)[0], ==, 9);
        g_assert_cmpuint(buf(&d)[1023], ==, 10);
        await_msi(&d, 0);
        memset(buf(&d), 0x5a, 4096);
        g_assert_cmpuint(ask(&d, T_OUT, 16, 4096), ==, OK);
        g_assert_cmpuint(ask(&d, T_FLUSH, 0, 0), ==, OK);
        g_assert_cmpuint(host_byte(&d, 16 * 512 - 1), ==, 15);
        g_assert_cmpuint(host_byte(&d, 16 * 512), ==, 0x5a);
        g_assert_cmpuint(host_byte(&d, 24 * 512), ==, 24);
        g_assert_cmpuint(ask(&d, T_GET_ID, 0, 20), ==, OK);
        g_assert_cmpmem(buf(&d), 20, "AB-1234\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
        g_assert_cmpuint(ask_range(&d, T_WRITE_ZEROES, 17, 1, 0), ==, OK);
        g_assert_cmpuint(host_byte(&d, 17 * 512), ==, 0);
        g_assert_cmpuint(host_byte(&d, 18 * 512), ==, 0x5a);
        g_assert_cmpuint(ask_range(&d, T_WRITE_ZEROES, 40, 8, 1), ==, OK);
        g_assert_cmpuint(host_byte(&d, 47 * 512), ==, 0);
        g_assert_cmpuint(ask_range(&d, T_DISCARD, 64, 64, 0), ==, OK);
        g_assert_cmpuint(host_byte(&d, 64 * 512), ==, 0);
        disk_end(&d);
    }
}

static void test_wrong_requests(void)
{
    Disk d;
    guint64 invalid[BLOCK_N_OPS];

    disk_start(&d, "", ",\"write-zeroes\":false,\"max-discard-sectors\":8");
    go(&d, F(B_FLUSH), 1);
    g_assert_cmpuint(ask(&d, T_IN, 2048, 512), ==, IOERR);
    g_assert_cmpuint(ask(&d, T_IN, 2047, 1024), ==, IOERR);
    g_assert_cmpuint(ask(&d, T_OUT, G_MAXUINT64, 512), ==, IOERR);
    g_assert_cmpuint(ask(&d, T_OUT, 1ull << 55, 512), ==, IOERR);
    g_assert_cmpuint(ask(&d, T_OUT, 0, 100), ==, IOERR);
    g_assert_cmpuint(ask(&d, 99, 0, 512), ==, UNSUPP);
    g_assert_cmpuint(ask(&d, T_GET_ID, 0, 19), ==, IOERR);
    g_assert_cmpuint(ask_range(&d, T_WRITE_ZEROES, 0, 1, 0), ==, UNSUPP);
    g_assert_cmpuint(ask_range(&d, T_DISCARD, 0, 9, 0), ==, IOERR);
    g_assert_cmpuint(ask_range(&d, T_DISCARD, 0, 8, 1), ==, UNSUPP);
    g_assert_cmpuint(ask_range(&d, T_DISCARD, 2047, 2, 0), ==, IOERR);
    g_assert_cmpuint(ask(&d, T_DISCARD, 0, 8), ==, UNSUPP);
    virtio_blk_invalid(d.dev, invalid);
    g_assert_cmpuint(invalid[BLOCK_READ], ==, 2);
    g_assert_cmpuint(invalid[BLOCK_WRITE], ==, 3);
    g_assert_cmpuint(invalid[BLOCK_DISCARD], ==, 4);
    g_assert_cmpuint(vt_status(&d.v) & S_NEEDS_RESET, ==, 0);
    g_assert_cmpuint(d.errors, ==, 0);
    disk_end(&d);
    disk_start(&d, ",\"read-only\":true", "");
    go(&d, F(B_FLUSH) | F(B_RO), 1);
    g_assert_cmpuint(ask(&d, T_OUT, 0, 512), ==, IOERR);
    g_assert_cmpuint(ask(&d, T_IN, 0, 512), ==, OK);
    disk_end(&d);
}

static guint pool_threads(void)
{
    g_autoptr(GDir) tasks = g_dir_open("/proc/self/task", 0, NULL);
    const char *tid;
    guint n = 0;

    while ((tid = g_dir_read_name(tasks))) {
        g_autofree char *path = g_build_filename("/proc/self/task", tid, "comm", NULL), *comm = NULL;
        n += g_file_get_contents(path, &comm, NULL, NULL) && strcmp(comm, "block pool\n") == 0;
    }
    return n;
}

/* O_DIRECT wants buffers aligned, not the byte of the status: what is aligned needs no thread that copies it. */
static void test_direct(void)
{
    Disk d;

    disk_start(&d, "", "");
    g_auto(AutoFd) fd = open(d.path, O_RDONLY | O_DIRECT | O_CLOEXEC);
    disk_end(&d);
    if (fd < 0) {
        g_test_skip("this file system has no O_DIRECT");
        return;
    }
    disk_start(&d, ",\"cache-direct\":true", "");
    go(&d, 0, 1);
    if (!block_queue_is_uring(((VirtioBlk *)d.dev)->io)) {
        g_test_skip("this host refuses io_uring");
    } else {
        g_assert_cmpuint(ask(&d, T_IN, 8, 4096), ==, OK);
        g_assert_cmpuint(buf(&d)[4095], ==, 15);
        g_assert_cmpuint(pool_threads(), ==, 0);
        ask_on(&d, 0, T_IN, 16, 4096, BUF_AT + 1, 7);
        await(&d, 0, 7);
        g_assert_cmpuint(d.t.ram[STATUS_AT], ==, OK);
        g_assert_cmpuint(buf(&d)[4096], ==, 23);
        g_assert_cmpuint(pool_threads(), ==, 1);
    }
    disk_end(&d);
}

/* Header, data and status may be cut anywhere (section 2.7.4.1). */
static void test_layouts(void)
{
    Disk d;
    const DrvSeg one_of_each[] = { { HEADER_AT, 16, FALSE }, { BUF_AT, 513, TRUE } };
    const DrvSeg pieces[] = { { HEADER_AT, 5, FALSE }, { HEADER_AT + 5, 11, FALSE }, { BUF_AT, 100, TRUE }, { BUF_AT + 100, 412, TRUE }, { STATUS_AT, 1, TRUE } };
    const DrvSeg out[] = { { BUF_AT - 16, 16 + 512, FALSE }, { STATUS_AT, 1, TRUE } };

    disk_start(&d, "", "");
    go(&d, F(B_FLUSH), 1);
    le64_put(d.t.ram + HEADER_AT + 8, 33);
    vt_send(&d.v, 0, one_of_each, 2, 1);
    g_assert_cmpuint(await(&d, 0, 1), ==, 513);
    g_assert_cmpuint(buf(&d)[511], ==, 33);
    g_assert_cmpuint(buf(&d)[512], ==, OK);
    le64_put(d.t.ram + HEADER_AT + 8, 34);
    vt_send(&d.v, 0, pieces, 5, 2);
    g_assert_cmpuint(await(&d, 0, 2), ==, 513);
    g_assert_cmpuint(buf(&d)[511], ==, 34);
    g_assert_cmpuint(d.t.ram[STATUS_AT], ==, OK);
    memset(buf(&d) - 16, 0, 16 + 512);
    le32_put(buf(&d) - 16, T_OUT);
    le64_put(buf(&d) - 8, 35);
    vt_send(&d.v, 0, out, 2, 3);
    await(&d, 0, 3);
    g_assert_cmpuint(host_byte(&d, 35 * 512 + 8), ==, 0);
    disk_end(&d);
}

/* What has no room for header or status breaks the disk, and a reset mends it. */
static void test_broken_requests(void)
{
    static const DrvSeg short_header[] = { { HEADER_AT, 15, FALSE }, { STATUS_AT, 1, TRUE } };
    static const DrvSeg no_status[] = { { HEADER_AT, 16, FALSE }, { BUF_AT, 512, FALSE } };
    static const DrvSeg *const chains[] = { short_header, no_status };
    Disk d;

    disk_start(&d, "", "");
    for (guint i = 0; i < 2; i++) {
        gint64 until = g_get_monotonic_time() + 20 * G_TIME_SPAN_SECOND;
        go(&d, F(B_FLUSH), 1);
        vt_send(&d.v, 0, chains[i], 2, 1);
        while (d.broken != i + 1) { /* the main thread is told after the guest */
            board_test_settle();
            g_assert_cmpint(g_get_monotonic_time(), <, until);
        }
        g_assert_cmphex(vt_status(&d.v) & S_NEEDS_RESET, ==, S_NEEDS_RESET);
        vt_none_used(&d.v, 0);
        g_assert_cmpstr(d.why, ==, i ? "queue 0: a request of 528 readable and 0 writable bytes" : "queue 0: a request of 15 readable and 1 writable bytes");
    }
    go(&d, F(B_FLUSH), 1);
    g_assert_cmpuint(ask(&d, T_IN, 3, 512), ==, OK);
    disk_end(&d);
}

/* ---- write cache ---- */

static void test_write_cache(void)
{
    Disk d;

    disk_start(&d, "", "");
    go(&d, F(B_FLUSH) | F(B_WCE), 1);
    mem_out(&d.t, d.v.device + 32, 0, 1);
    g_assert_cmpuint(config(&d, 32, 1), ==, 0);
    g_assert_cmpuint(ask(&d, T_OUT, 0, 512), ==, OK);
    mem_out(&d.t, d.v.device + 32, 2, 1); /* not a value */
    g_assert_cmpuint(config(&d, 32, 1), ==, 0);
    mem_out(&d.t, d.v.device, 1, 1); /* read-only */
    g_assert_cmpuint(config(&d, 0, 8), ==, 2048);
    go(&d, F(B_FLUSH), 1); /* another driver, which does not know that there is a choice */
    g_assert_cmpuint(config(&d, 32, 1), ==, 1);
    go(&d, F(B_FLUSH) | F(B_WCE), 1);
    mem_out(&d.t, d.v.device + 32, 0, 1);
    g_assert_cmpuint(config(&d, 32, 1), ==, 0);
    device_set_reset(d.t.set, RESET_COLD); /* back to the resolved configuration */
    g_auto(VirtioTest) v = vt_open(&d.t, SLOT);
    g_assert_cmpuint(mem_in(&d.t, v.device + 32, 1), ==, 1);
    disk_end(&d);
}

/* ---- many at once ---- */

static void test_queues(void)
{
    enum { QUEUES = 4, DEPTH = 20, ROUNDS = 10 };
    Disk d;
    guint32 token, len;

    disk_start(&d, "", ",\"num-queues\":4,\"queue-size\":64");
    go(&d, F(B_FLUSH) | F(B_MQ) | F(F_EVENT_IDX), QUEUES);
    for (guint round = 0; round < ROUNDS; round++) {
        guint done = 0;
        for (guint q = 0; q < QUEUES; q++) {
            for (guint i = 0; i < DEPTH; i++) /* all into places of their own; headers alike, but for the queue */
                ask_on(&d, q, T_IN, q * 16, 512, BUF_AT + (q * DEPTH + i) * 512, i);
        }
        gint64 until = g_get_monotonic_time() + 20 * G_TIME_SPAN_SECOND;
        while (done < QUEUES * DEPTH) {
            for (guint q = 0; q < QUEUES; q++) {
                while (drv_take(&d.v.q[q], &token, &len)) {
                    g_assert_cmpuint(len, ==, 513);
                    g_assert_cmpuint(buf(&d)[(q * DEPTH + token) * 512], ==, q * 16);
                    done++;
                }
            }
            g_assert_cmpint(g_get_monotonic_time(), <, until);
        }
        memset(buf(&d), 0xff, QUEUES * DEPTH * 512);
    }
    BlockCounts counts;
    block_node_stats(d.node, &counts);
    g_assert_cmpuint(counts.ops[BLOCK_READ], ==, QUEUES * DEPTH * ROUNDS);
    g_assert_cmpuint(counts.bytes[BLOCK_READ], ==, QUEUES * DEPTH * ROUNDS * 512);
    disk_end(&d);
}

/* Reset, queue reset, quiesce, removal, with requests in flight at each. */
static void test_interrupted(void)
{
    Disk d;

    for (guint how = 0; how < 5; how++) {
        gint64 until = g_get_monotonic_time() + 20 * G_TIME_SPAN_SECOND;
        disk_start(&d, how % 2 ? ",\"aio\":\"threads\"" : "", "");
        go(&d, F(B_FLUSH) | F(F_RESET), 1);
        for (guint i = 0; i < 40; i++)
            ask_on(&d, 0, i % 2 ? T_OUT : T_IN, i * 8, 4096, BUF_AT + i * 4096, i);
        if (how == 0) {
            vt_out(&d.v, C_STATUS, 0, 1);
            while (vt_status(&d.v) != 0) {
                board_test_settle();
                g_assert_cmpint(g_get_monotonic_time(), <, until);
            }
        } else if (how == 1) {
            vt_out(&d.v, C_QUEUE_SELECT, 0, 2);
            vt_out(&d.v, C_QUEUE_RESET, 1, 2);
            while (vt_in(&d.v, C_QUEUE_RESET, 2) != 0) {
                board_test_settle();
                g_assert_cmpint(g_get_monotonic_time(), <, until);
            }
            vt_queue(&d.v, 0, 0, 0);
            g_assert_cmpuint(ask(&d, T_IN, 1, 512), ==, OK);
        } else if (how == 2) {
            device_set_quiesce(d.t.set);
            guint32 token, len, n = 0;
            while (drv_take(&d.v.q[0], &token, &len))
                n++;
            ask_on(&d, 0, T_IN, 1, 512, BUF_AT, 99);
            vt_none_used(&d.v, 0);
            device_set_resume(d.t.set);
            for (; n < 40; n++)
                while (!drv_take(&d.v.q[0], &token, &len))
                    g_assert_cmpint(g_get_monotonic_time(), <, until);
            await(&d, 0, 99);
        } else if (how == 3) {
            g_assert_true(device_remove(d.dev, NULL));
        } else {
            device_set_reset(d.t.set, RESET_WARM);
        }
        disk_end(&d);
    }
}

/* ---- size ---- */

static void test_resize(void)
{
    Disk d;

    disk_start(&d, "", "");
    go(&d, F(B_FLUSH), 1);
    guint64 generation = vt_in(&d.v, C_GENERATION, 1);
    g_assert_cmpuint(ask(&d, T_IN, 2048, 512), ==, IOERR);
    await_msi(&d, 0);
    g_assert_true(block_node_resize(d.node, 2 * DISK_SIZE, NULL));
    await_msi(&d, 1);
    g_assert_cmpuint(config(&d, 0, 8), ==, 4096);
    g_assert_cmpuint(vt_in(&d.v, C_GENERATION, 1), !=, generation);
    g_assert_cmpuint(ask(&d, T_IN, 2048, 512), ==, OK);
    disk_end(&d);
}

/* ---- errors of the host ---- */

static void test_error_policies(void)
{
    static const struct {
        const char    *werror;
        guint8         status;
        DeviceIoAction action;
    } cases[] = { { "report", IOERR, DEVICE_IO_REPORT }, { "ignore", OK, DEVICE_IO_IGNORE }, { "enospc", IOERR, DEVICE_IO_REPORT } };
    Disk d;

    signal(SIGXFSZ, SIG_IGN);
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *more = g_strdup_printf(",\"werror\":\"%s\"", cases[i].werror);
        disk_start(&d, ",\"aio\":\"threads\"", more);
        go(&d, F(B_FLUSH), 1);
        limit_file_size(4096);
        g_assert_cmpuint(ask(&d, T_OUT, 100, 512), ==, cases[i].status);
        limit_file_size(RLIM_INFINITY);
        board_test_settle();
        g_assert_cmpuint(d.errors, ==, 1);
        g_assert_cmpint(d.error.action, ==, cases[i].action);
        g_assert_cmpint(d.error.error, ==, EFBIG);
        g_assert_true(d.error.write && d.error.dev == d.dev);
        g_assert_cmpstr(d.error.node, ==, "n");
        disk_end(&d);
    }
}

/* The request waits over a stop; it is done at the next resume, or dropped by a reset. */
static void test_error_stop(void)
{
    Disk d;

    signal(SIGXFSZ, SIG_IGN);
    for (guint reset = 0; reset < 2; reset++) {
        gint64 until = g_get_monotonic_time() + 20 * G_TIME_SPAN_SECOND;
        disk_start(&d, ",\"aio\":\"threads\"", ",\"werror\":\"stop\"");
        go(&d, F(B_FLUSH), 1);
        limit_file_size(4096);
        memset(buf(&d), 0x99, 512);
        ask_on(&d, 0, T_OUT, 100, 512, BUF_AT, 1);
        while (!d.errors) {
            board_test_settle();
            g_assert_cmpint(g_get_monotonic_time(), <, until);
        }
        g_assert_cmpint(d.error.action, ==, DEVICE_IO_STOP);
        g_assert_cmpint(virtio_blk_parked_error(d.dev), ==, EFBIG);
        device_set_quiesce(d.t.set);
        vt_none_used(&d.v, 0);
        limit_file_size(RLIM_INFINITY);
        if (reset) {
            device_set_reset(d.t.set, RESET_COLD);
            device_set_resume(d.t.set);
            g_assert_cmpuint(host_byte(&d, 100 * 512), ==, 100);
        } else {
            device_set_resume(d.t.set);
            await(&d, 0, 1);
            g_assert_cmpuint(d.t.ram[STATUS_AT], ==, OK);
            g_assert_cmpuint(host_byte(&d, 100 * 512), ==, 0x99);
        }
        g_assert_cmpint(virtio_blk_parked_error(d.dev), ==, 0);
        disk_end(&d);
    }
}

/* ---- threads ---- */

static void test_iothread_by_name(void)
{
    Disk d;
    g_autoptr(GError) error = NULL;

    disk_start(&d, "", "");
    g_assert_true(device_remove(d.dev, NULL));
    Device *thread = board_test_object(&d.t, "{\"qom-type\":\"iothread\",\"id\":\"io\"}");
    d.dev = try_disk(&d, ",\"iothread\":\"io\"", &error);
    g_assert_no_error(error);
    g_assert_false(device_remove(thread, &error));
    board_test_power_on(&d.t);
    vt_close(&d.v);
    d.v = vt_open(&d.t, SLOT);
    go(&d, F(B_FLUSH), 1);
    g_assert_cmpuint(ask(&d, T_IN, 5, 512), ==, OK);
    g_assert_true(device_remove(d.dev, NULL));
    g_assert_true(device_remove(thread, NULL));
    disk_end(&d);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtio-blk/identity", test_identity);
    g_test_add_func("/virtio-blk/refused", test_refused);
    g_test_add_func("/virtio-blk/requests", test_requests);
    g_test_add_func("/virtio-blk/wrong-requests", test_wrong_requests);
    g_test_add_func("/virtio-blk/direct", test_direct);
    g_test_add_func("/virtio-blk/layouts", test_layouts);
    g_test_add_func("/virtio-blk/broken-requests", test_broken_requests);
    g_test_add_func("/virtio-blk/write-cache", test_write_cache);
    g_test_add_func("/virtio-blk/queues", test_queues);
    g_test_add_func("/virtio-blk/interrupted", test_interrupted);
    g_test_add_func("/virtio-blk/resize", test_resize);
    g_test_add_func("/virtio-blk/error-policies", test_error_policies);
    g_test_add_func("/virtio-blk/error-stop", test_error_stop);
    g_test_add_func("/virtio-blk/iothread-by-name", test_iothread_by_name);
    return g_test_run();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-virtio-blk.c - the virtio disk as a driver sees it, on files and on a node that leads nowhere. The
 * device works on its I/O thread: the driver polls the ring, as firmware does.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>

#include "../../devices/virtio/virtio-blk.h"
#include "virtio-test.h"

#define SLOT 5
#define V1 F(F_VERSION_1)
#define DISK_SIZE (1u << 20)
#define HEADER_AT VT_DATA
#define STATUS_AT (VT_DATA + 64)
#define RANGE_AT (VT_DATA + 128)
#define BUF_AT (VT_DATA + 4096)

enum { T_IN, T_OUT, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
enum { OK, IOERR, UNSUPP };
enum { B_SEG_MAX = 2, B_RO = 5, B_BLK_SIZE = 6, B_FLUSH = 9, B_TOPOLOGY = 10, B_WCE = 11, B_MQ = 12, B_DISCARD = 13, B_ZEROES = 14 };

typedef struct {
    BoardTest      t;
    DeviceObserver observer;
    char          *tmp, *path;
    Device        *node, *dev;
    VirtioTest     v;
    guint          errors;
    DeviceIoError  error;
} Disk;

static void on_io_error(gpointer user, const DeviceIoError *e)
{
    Disk *d = user;

    d->errors++;
    d->error = *e;
}

static Device *plug_object(Disk *d, const char *json)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonDoc) doc = json_doc_parse(json, strlen(json), &json_limits_default, &error);
    PropBag *bag = prop_bag_decode(json_doc_root(doc), "qom-type", &error);

    g_assert_no_error(error);
    Device *dev = device_plug_realize(d->t.set, bag, &error);
    g_assert_no_error(error);
    device_plug_publish(dev);
    return dev;
}

static Device *try_disk(Disk *d, const char *more, GError **error)
{
    g_autofree char *json = g_strdup_printf("{\"driver\":\"virtio-blk-pci\",\"id\":\"d\",\"addr\":\"5\",\"drive\":\"n\"%s}", more);

    return board_test_plug(&d->t, json, error);
}

/* A disk of 1 MiB, sector N filled with N, with more properties of node and device, in a folder of its own or in TMP. */
static void disk_start_in(Disk *d, const char *tmp, const char *node, const char *device)
{
    g_autofree guint8 *data = g_malloc(DISK_SIZE);
    g_autoptr(GError) error = NULL;

    *d = (Disk){ .tmp = tmp ? g_strdup(tmp) : g_dir_make_tmp("backplane-XXXXXX", NULL) };
    d->path = g_build_filename(d->tmp, "disk", NULL);
    for (guint i = 0; i < DISK_SIZE; i++)
        data[i] = (guint8)(i / 512);
    if (tmp)
        g_assert_true(g_file_set_contents(d->path, "", 0, NULL) && truncate(d->path, DISK_SIZE) == 0);
    else
        g_assert_true(g_file_set_contents(d->path, (const char *)data, DISK_SIZE, NULL));
    board_test_init_empty(&d->t);
    device_set_free(d->t.set);
    d->observer = board_test_observer;
    d->observer.io_error = on_io_error;
    d->t.set = device_set_new(d->t.vm, &d->observer, d);
    board_test_plug(&d->t, BOARD_DEFAULT, &error);
    g_assert_no_error(error);
    board_test_ram(&d->t);
    g_autofree char *json = g_strdup_printf("{\"qom-type\":\"blockdev-file\",\"id\":\"n\",\"filename\":\"%s\"%s}", d->path, node);
    d->node = plug_object(d, json);
    d->dev = try_disk(d, device, &error);
    g_assert_no_error(error);
    board_test_power_on(&d->t);
    d->v = vt_open(&d->t, SLOT);
}

static void disk_start(Disk *d, const char *node, const char *device)
{
    disk_start_in(d, NULL, node, device);
}

static void disk_end(Disk *d)
{
    vt_close(&d->v);
    board_test_clear(&d->t);
    g_remove(d->path);
    g_rmdir(d->tmp);
    g_free(d->path);
    g_free(d->tmp);
}

static void go(Disk *d, guint64 features, guint queues)
{
    vt_msix_start(&d->v, queues);
    g_assert_true(vt_negotiate(&d->v, features | V1));
    vt_out(&d->v, C_CONFIG_VECTOR, queues, 2);
    for (guint i = 0; i < queues; i++)
        vt_queue(&d->v, i, 0, features);
    vt_driver_ok(&d->v);
}

/* The next used chain is TOKEN's. */
static guint32 await(Disk *d, guint q, guint32 token)
{
    gint64 until = g_get_monotonic_time() + 20 * G_TIME_SPAN_SECOND;
    guint32 got, len;

    while (!drv_take(&d->v.q[q], &got, &len)) {
        g_assert_cmpint(g_get_monotonic_time(), <, until);
        board_test_settle();
        sched_yield();
    }
    g_assert_cmphex(got, ==, token);
    return len;
}

/* The next message, which may come a little after the used chain, is that of VECTOR. */
static void await_msi(Disk *d, guint vector)
{
    gint64 until = g_get_monotonic_time() + 20 * G_TIME_SPAN_SECOND;
    guint64 address;
    guint32 data;

    while (!vm_test_take_msi(d->t.vm, &address, &data)) {
        g_assert_cmpint(g_get_monotonic_time(), <, until);
        board_test_settle();
        sched_yield();
    }
    g_assert_cmphex(data, ==, VT_MSI_DATA(vector));
}

/* Makes a request available: header, N bytes at BUF_AT (to the guest or from it), status. */
static void ask_on(Disk *d, guint q, guint32 type, guint64 sector, guint32 n, guint64 at, guint32 token)
{
    gboolean in = type == T_IN || type == T_GET_ID;
    guint64 header = HEADER_AT + q * 1024;
    DrvSeg segs[3] = { { header, 16, FALSE }, { at, n, in }, { header + 64, 1, TRUE } };

    le32_put(d->t.ram + header, type);
    le32_put(d->t.ram + header + 4, 0);
    le64_put(d->t.ram + header + 8, sector);
    d->t.ram[header + 64] = 0xee;
    if (!n)
        segs[1] = segs[2];
    vt_send(&d->v, q, segs, n ? 3 : 2, token);
}

static guint8 ask(Disk *d, guint32 type, guint64 sector, guint32 n)
{
    ask_on(d, 0, type, sector, n, type == T_DISCARD || type == T_WRITE_ZEROES ? RANGE_AT : BUF_AT, 7);
    guint32 len = await(d, 0, 7);
    g_assert_cmpuint(len, ==, type == T_IN || type == T_GET_ID ? n + 1 : 1);
    return d->t.ram[STATUS_AT];
}

static guint8 ask_range(Disk *d, guint32 type, guint64 sector, guint32 sectors, guint32 flags)
{
    le64_put(d->t.ram + RANGE_AT, sector);
    le32_put(d->t.ram + RANGE_AT + 8, sectors);
    le32_put(d->t.ram + RANGE_AT + 12, flags);
    return ask(d, type, 0, 16);
}

static guint8 *buf(Disk *d)
{
    return d->t.ram + BUF_AT;
}

static guint8 host_byte(Disk *d, guint64 offset)
{
    g_auto(AutoFd) fd = open(d->path, O_RDONLY | O_CLOEXEC);
    guint8 byte = 0;

    g_assert_cmpint(pread(fd, &byte, 1, (off_t)offset), ==, 1);
    return byte;
}

static guint64 config(Disk *d, guint at, unsigned size)
{
    return mem_in(&d->t, d->v.device + at, size);
}

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
        while (!(vt_status(&d.v) & S_NEEDS_RESET))
            g_assert_cmpint(g_get_monotonic_time(), <, until);
        vt_none_used(&d.v, 0);
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

static void limit_file_size(rlim_t limit)
{
    struct rlimit r;

    getrlimit(RLIMIT_FSIZE, &r);
    r.rlim_cur = limit;
    g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &r), ==, 0);
}

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

/* A write of 512 bytes of BYTE whose header is cut in two, the second half with the data behind it. */
static void write_split(Disk *d, guint q, guint64 sector, guint8 byte, guint32 token)
{
    guint64 at = VT_DATA + 0x100000 + token * 1024;
    DrvSeg segs[3] = { { at, 5, FALSE }, { at + 5, 11 + 512, FALSE }, { at + 1000, 1, TRUE } };

    le32_put(d->t.ram + at, T_OUT);
    le64_put(d->t.ram + at + 8, sector);
    memset(d->t.ram + at + 16, byte, 512);
    d->t.ram[at + 1000] = 0xee;
    vt_send(&d->v, q, segs, 3, token);
}

static guint8 status_of(Disk *d, guint32 token)
{
    return d->t.ram[VT_DATA + 0x100000 + token * 1024 + 1000];
}

/* B, a new disk, is what A was, whose driver goes on with B. */
static gboolean move(Disk *a, Disk *b, GVariant *saved, GError **error)
{
    memcpy(b->t.ram, a->t.ram, RAM_SIZE);
    device_set_reset(b->t.set, RESET_BEFORE_LOAD);
    if (!device_load(b->dev, saved, error))
        return FALSE;
    vt_close(&b->v);
    b->v = a->v;
    b->v.t = &b->t;
    for (guint i = 0; i < VT_MAX_QUEUES; i++)
        b->v.q[i].mem = b->t.ram;
    memset(a->v.has_q, 0, sizeof a->v.has_q);
    device_set_resume(b->t.set);
    return TRUE;
}

static void start_parking(Disk *d, guint64 features)
{
    gint64 until = g_get_monotonic_time() + 20 * G_TIME_SPAN_SECOND;

    disk_start(d, ",\"aio\":\"threads\"", ",\"werror\":\"stop\",\"packed\":true,\"num-queues\":2");
    go(d, F(B_FLUSH) | F(B_MQ) | features, 2);
    limit_file_size(4096);
    for (guint i = 0; i < 6; i++) { /* two of three fail; what is done is given back before them */
        guint errors = d->errors;
        write_split(d, i % 2, i % 3 ? 100 + i : 4, (guint8)(0x90 + i), i);
        if (i % 3 == 0)
            await(d, i % 2, i);
        while (i % 3 && d->errors == errors) {
            board_test_settle();
            g_assert_cmpint(g_get_monotonic_time(), <, until);
        }
    }
    device_set_quiesce(d->t.set);
    limit_file_size(RLIM_INFINITY);
}

/* Requests that wait over a stop are part of what is saved, and done where it is loaded. */
static void test_parked_moves(void)
{
    static const guint64 features[] = { 0, F(F_PACKED), F(F_INDIRECT), F(F_PACKED) | F(F_EVENT_IDX) };
    g_autoptr(GError) error = NULL;

    signal(SIGXFSZ, SIG_IGN);
    for (guint i = 0; i < G_N_ELEMENTS(features); i++) {
        Disk a, b;
        guint32 token, len, done = 1 | 1 << 3;
        start_parking(&a, features[i]);
        vt_none_used(&a.v, 0);
        vt_none_used(&a.v, 1);
        disk_start(&b, "", ",\"werror\":\"stop\",\"packed\":true,\"num-queues\":2");
        g_autoptr(GVariant) saved = device_save(a.dev);
        move(&a, &b, saved, &error);
        g_assert_no_error(error);
        gint64 until = g_get_monotonic_time() + 20 * G_TIME_SPAN_SECOND;
        while (done != 0x3f) {
            if (drv_take(&b.v.q[0], &token, &len) || drv_take(&b.v.q[1], &token, &len)) {
                g_assert_cmpuint(len, ==, 1);
                g_assert_cmpuint(status_of(&b, token), ==, OK);
                g_assert_cmpuint(host_byte(&b, (100 + token) * 512 + 511), ==, 0x90 + token);
                done |= 1u << token;
            }
            g_assert_cmpint(g_get_monotonic_time(), <, until);
        }
        g_assert_cmpuint(ask(&b, T_IN, 101, 512), ==, OK); /* and the queues go on */
        g_assert_cmpuint(buf(&b)[0], ==, 0x91);
        disk_end(&b);
        disk_end(&a); /* in A they still wait */
    }
}

/* Saved requests are checked like a guest's: the form when they are loaded, the places when they are done. */
static void test_parked_checked(void)
{
    g_autoptr(GError) error = NULL;
    Disk a, b;

    signal(SIGXFSZ, SIG_IGN);
    start_parking(&a, 0);
    disk_start(&b, "", ",\"werror\":\"stop\",\"packed\":true,\"num-queues\":2");
    g_autoptr(GVariant) saved = device_save(a.dev);
    for (guint wrong = 0; wrong < 5; wrong++) {
        g_auto(GVariantDict) dict = G_VARIANT_DICT_INIT(saved);
        g_autoptr(GVariant) field = g_variant_dict_lookup_value(&dict, "parked", G_VARIANT_TYPE_BYTESTRING);
        gsize len;
        const guint8 *bytes = g_variant_get_fixed_array(field, &len, 1);
        g_autofree guint8 *copy = g_memdup2(bytes, len);
        g_assert_cmpuint(len, ==, 4 * (2 + 12 + 3 * 12));
        if (wrong == 0)
            le16_put(copy, 2); /* a queue that is none */
        else if (wrong == 1)
            le32_put(copy + 6, 0xffffffff); /* segments */
        else if (wrong == 2)
            len--;
        else if (wrong == 3)
            le64_put(copy + 14, 0xb0000000); /* no RAM */
        else
            le16_put(copy + 2, 0x7fff); /* a descriptor that is none */
        g_variant_dict_insert_value(&dict, "parked", g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, copy, len, 1));
        g_autoptr(GVariant) state = g_variant_ref_sink(g_variant_dict_end(&dict));
        g_assert_true(move(&a, &b, state, &error) == (wrong > 2));
        if (wrong <= 2) {
            g_assert_nonnull(strstr(error->message, "State of device 'd': field 'parked' has no request"));
            g_clear_error(&error);
        } else {
            g_assert_cmpuint(vt_status(&b.v) & S_NEEDS_RESET, !=, 0);
        }
    }
    disk_end(&b);
    disk_end(&a);
}

/* ---- threads ---- */

static void test_iothread_by_name(void)
{
    Disk d;
    g_autoptr(GError) error = NULL;

    disk_start(&d, "", "");
    g_assert_true(device_remove(d.dev, NULL));
    Device *thread = plug_object(&d, "{\"qom-type\":\"iothread\",\"id\":\"io\"}");
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
    g_test_add_func("/virtio-blk/layouts", test_layouts);
    g_test_add_func("/virtio-blk/broken-requests", test_broken_requests);
    g_test_add_func("/virtio-blk/write-cache", test_write_cache);
    g_test_add_func("/virtio-blk/queues", test_queues);
    g_test_add_func("/virtio-blk/interrupted", test_interrupted);
    g_test_add_func("/virtio-blk/resize", test_resize);
    g_test_add_func("/virtio-blk/error-policies", test_error_policies);
    g_test_add_func("/virtio-blk/error-stop", test_error_stop);
    g_test_add_func("/virtio-blk/parked-moves", test_parked_moves);
    g_test_add_func("/virtio-blk/parked-checked", test_parked_checked);
    g_test_add_func("/virtio-blk/iothread-by-name", test_iothread_by_name);
    return g_test_run();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtio-blk-rig.h - a disk of 1 MiB on a file, with a driver that polls its rings, for the tests of the virtio disk.
 */
#pragma once

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
    guint          broken; /* times that it was told to need a reset, and why */
    char           why[200];
} Disk;

static inline void on_io_error(gpointer user, const DeviceIoError *e)
{
    Disk *d = user;

    d->errors++;
    d->error = *e;
}

static inline void on_device_error(gpointer user, Device *dev, const char *reason)
{
    Disk *d = user;

    g_assert_true(dev == d->dev);
    d->broken++;
    g_strlcpy(d->why, reason, sizeof d->why);
}

static inline Device *try_disk(Disk *d, const char *more, GError **error)
{
    g_autofree char *json = g_strdup_printf("{\"driver\":\"virtio-blk-pci\",\"id\":\"d\",\"addr\":\"5\",\"drive\":\"n\"%s}", more);

    return board_test_plug(&d->t, json, error);
}

/* A disk of 1 MiB, sector N filled with N, with more properties of node and device, in a folder of its own or in TMP. */
static inline void disk_start_in(Disk *d, const char *tmp, const char *node, const char *device)
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
    d->observer.device_error = on_device_error;
    d->t.set = device_set_new(d->t.vm, &d->observer, d);
    board_test_plug(&d->t, BOARD_DEFAULT, &error);
    g_assert_no_error(error);
    board_test_ram(&d->t);
    g_autofree char *json = g_strdup_printf("{\"qom-type\":\"blockdev-file\",\"id\":\"n\",\"filename\":\"%s\"%s}", d->path, node);
    d->node = board_test_object(&d->t, json);
    d->dev = try_disk(d, device, &error);
    g_assert_no_error(error);
    board_test_power_on(&d->t);
    d->v = vt_open(&d->t, SLOT);
}

static inline void disk_start(Disk *d, const char *node, const char *device)
{
    disk_start_in(d, NULL, node, device);
}

static inline void disk_end(Disk *d)
{
    vt_close(&d->v);
    board_test_clear(&d->t);
    g_remove(d->path);
    g_rmdir(d->tmp);
    g_free(d->path);
    g_free(d->tmp);
}

static inline void go(Disk *d, guint64 features, guint queues)
{
    vt_msix_start(&d->v, queues);
    g_assert_true(vt_negotiate(&d->v, features | V1));
    vt_out(&d->v, C_CONFIG_VECTOR, queues, 2);
    for (guint i = 0; i < queues; i++)
        vt_queue(&d->v, i, 0, features);
    vt_driver_ok(&d->v);
}

/* The next used chain is TOKEN's. */
static inline guint32 await(Disk *d, guint q, guint32 token)
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
static inline void await_msi(Disk *d, guint vector)
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
static inline void ask_on(Disk *d, guint q, guint32 type, guint64 sector, guint32 n, guint64 at, guint32 token)
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

static inline guint8 ask(Disk *d, guint32 type, guint64 sector, guint32 n)
{
    ask_on(d, 0, type, sector, n, type == T_DISCARD || type == T_WRITE_ZEROES ? RANGE_AT : BUF_AT, 7);
    guint32 len = await(d, 0, 7);
    g_assert_cmpuint(len, ==, type == T_IN || type == T_GET_ID ? n + 1 : 1);
    return d->t.ram[STATUS_AT];
}

static inline guint8 ask_range(Disk *d, guint32 type, guint64 sector, guint32 sectors, guint32 flags)
{
    le64_put(d->t.ram + RANGE_AT, sector);
    le32_put(d->t.ram + RANGE_AT + 8, sectors);
    le32_put(d->t.ram + RANGE_AT + 12, flags);
    return ask(d, type, 0, 16);
}

static inline guint8 *buf(Disk *d)
{
    return d->t.ram + BUF_AT;
}

static inline guint8 host_byte(Disk *d, guint64 offset)
{
    g_auto(AutoFd) fd = open(d->path, O_RDONLY | O_CLOEXEC);
    guint8 byte = 0;

    g_assert_cmpint(pread(fd, &byte, 1, (off_t)offset), ==, 1);
    return byte;
}

static inline guint64 config(Disk *d, guint at, unsigned size)
{
    return mem_in(&d->t, d->v.device + at, size);
}

static inline void limit_file_size(rlim_t limit)
{
    struct rlimit r;

    getrlimit(RLIMIT_FSIZE, &r);
    r.rlim_cur = limit;
    g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &r), ==, 0);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * balloon-test.h - a machine with a balloon "b", and guest memory of each kind that can be given back: BT_SIZE bytes of private memory at
 * BT_PRIVATE and of shared memory at BT_SHARED. The rings and lists lie in memory that is no object's.
 */
#pragma once

#include "../../devices/mem/memory-backend.h"
#include "../../devices/virtio/virtio-balloon.h"
#include "virtio-test.h"

#define SLOT 4
#define V1 F(F_VERSION_1)
#define BT_SIZE (64u << 10)
#define BT_PRIVATE G_GUINT64_CONSTANT(0x10000000)
#define BT_SHARED G_GUINT64_CONSTANT(0x20000000)
#define DIMM_SIZE (64u << 20)
#define ALL_ROWS ", \"deflate-on-oom\": true, \"free-page-hint\": true, \"free-page-reporting\": true, \"packed\": true, \"in_order\": true"

enum { B_STATS = 1, B_OOM, B_HINT, B_POISON, B_REPORTING };
enum { Q_INFLATE, Q_DEFLATE, Q_STATS, Q_HINT, Q_REPORT };

typedef struct {
    BoardTest  t;
    VirtioTest v;
    Device    *dev;
    guint8    *private_mem, *shared_mem;
} BalloonTest;

static inline guint8 *bt_memory(BalloonTest *b, guint64 gpa, const char *json)
{
    g_autoptr(GError) error = NULL;
    guint8 *hva = memory_backend_hva(board_test_object(&b->t, json));

    vm_memory_add(b->t.vm, gpa, hva, BT_SIZE, 0, &error);
    g_assert_no_error(error);
    memset(hva, 0xaa, BT_SIZE);
    return hva;
}

static inline BalloonTest *bt_new(const char *rows)
{
    g_autoptr(GError) error = NULL;
    BalloonTest *b = g_new0(BalloonTest, 1);
    g_autofree char *json = g_strdup_printf("{\"driver\": \"virtio-balloon-pci\", \"id\": \"b\", \"addr\": \"4\"%s}", rows);

    board_test_init(&b->t, BOARD_DEFAULT);
    board_test_ram(&b->t);
    b->private_mem = bt_memory(b, BT_PRIVATE, "{\"qom-type\": \"memory-backend-ram\", \"id\": \"p\", \"size\": 65536}");
    b->shared_mem = bt_memory(b, BT_SHARED, "{\"qom-type\": \"memory-backend-memfd\", \"id\": \"s\", \"size\": 65536, \"share\": true}");
    board_test_object(&b->t, "{\"qom-type\": \"memory-backend-ram\", \"id\": \"m\", \"size\": 67108864}");
    g_assert_nonnull(board_test_plug(&b->t, "{\"driver\": \"pc-dimm\", \"id\": \"d\", \"memdev\": \"m\"}", NULL));
    b->dev = board_test_plug(&b->t, json, &error);
    g_assert_no_error(error);
    device_set_reset(b->t.set, RESET_COLD); /* no power-on: the DIMM need not be laid out */
    b->v = vt_open(&b->t, SLOT);
    return b;
}

static inline void bt_free(BalloonTest *b)
{
    vt_close(&b->v);
    vm_memory_remove(b->t.vm, BT_PRIVATE);
    vm_memory_remove(b->t.vm, BT_SHARED);
    board_test_clear(&b->t);
    g_free(b);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BalloonTest, bt_free)

static inline void bt_go(BalloonTest *b, guint64 features)
{
    guint n = 2 + !!(features & F(B_STATS)) + !!(features & F(B_HINT)) + !!(features & F(B_REPORTING));

    g_assert_true(vt_negotiate(&b->v, features | V1));
    if (b->v.msix)
        vt_msix_start(&b->v, n);
    for (guint i = 0; i < n; i++)
        vt_queue(&b->v, i, 8, features);
    vt_driver_ok(&b->v);
}

/* A list of page numbers for queue Q. */
static inline void bt_pages(BalloonTest *b, guint q, const guint32 *pfns, guint n)
{
    const DrvSeg seg = { VT_DATA, 4 * n, FALSE };

    for (guint i = 0; i < n; i++)
        le32_put(b->t.ram + VT_DATA + 4 * i, pfns[i]);
    vt_send(&b->v, q, &seg, 1, 1);
    g_assert_cmpuint(vt_used(&b->v, q, 1), ==, 0);
}

static inline void bt_actual(BalloonTest *b, guint32 pages)
{
    mem_out(&b->t, b->v.device + 4, pages, 4);
    board_test_settle();
}

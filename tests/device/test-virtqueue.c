/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-virtqueue.c - virtqueues against a driver of the test's own: both kinds, all features, wraps, notification
 * between two threads, and the memory map under way. test-virtqueue-broken.c has what hostile guests do.
 */
#include "virtq-rig.h"

#include <poll.h>
#include <sys/eventfd.h>

static const guint32 all_flags[] = {
    0,
    VQ_EVENT_IDX,
    VQ_INDIRECT,
    VQ_EVENT_IDX | VQ_INDIRECT | VQ_IN_ORDER,
    VQ_IN_ORDER,
    VQ_PACKED,
    VQ_PACKED | VQ_EVENT_IDX,
    VQ_PACKED | VQ_INDIRECT,
    VQ_PACKED | VQ_EVENT_IDX | VQ_INDIRECT | VQ_IN_ORDER,
    VQ_PACKED | VQ_IN_ORDER,
};

/* ---- what a chain is ---- */

static void test_chain(gconstpointer flags)
{
    g_auto(VqRig) r = vq_rig(8, GPOINTER_TO_UINT(flags));
    const DrvSeg segs[] = { { DATA, 16, FALSE }, { DATA + 0x1000, 512, FALSE }, { DATA + 0x2000, 1, TRUE } };
    struct iovec iov[4];
    VqChain c = { .iov = iov, .max_iov = 4 };
    guint32 token, len;

    for (guint round = 0; round < 20; round++) { /* wraps more than twice */
        gboolean indirect = (r.drv.config.flags & VQ_INDIRECT) && round % 2;
        g_assert_true(drv_add(&r.drv, segs, 3, indirect, 1000 + round));
        g_assert_true(vq_begin(r.vq));
        g_assert_cmpint(vq_pop(r.vq, &c), ==, VQ_CHAIN);
        g_assert_cmpuint(c.n_out, ==, 2);
        g_assert_cmpuint(c.n_in, ==, 1);
        g_assert_cmpuint(c.out_len, ==, 528);
        g_assert_cmpuint(c.in_len, ==, 1);
        g_assert_true(iov[1].iov_base == rig_at(&r, DATA + 0x1000));
        g_assert_cmpuint(iov[2].iov_len, ==, 1);
        g_assert_cmpuint(vq_in_flight(r.vq), ==, 1);
        g_assert_false(drv_take(&r.drv, &token, &len));
        vq_push(r.vq, &c, round % 2);
        g_assert_false(drv_take(&r.drv, &token, &len)); /* not before the flush */
        vq_flush(r.vq);
        g_assert_true(drv_take(&r.drv, &token, &len));
        g_assert_cmpuint(token, ==, 1000 + round);
        g_assert_cmpuint(len, ==, round % 2);
        g_assert_cmpint(vq_pop(r.vq, &c), ==, VQ_EMPTY);
        vq_end(r.vq);
        g_assert_cmpuint(r.drv.n_free, ==, 8);
    }
    g_assert_null(vq_broken(r.vq));
}

/* Any size and any mixture of chains for a long time: tokens come back once each, with their lengths. */
static void random_run(VqRig *r, GRand *rand)
{
    gboolean in_order = (r->drv.config.flags & VQ_IN_ORDER) != 0;
    guint size = r->drv.config.size;
    g_autofree struct iovec *iov = g_new(struct iovec, 8 * size);
    g_autofree VqChain *pending = g_new0(VqChain, size);
    g_autoptr(GHashTable) out = g_hash_table_new(NULL, NULL);
    guint n_pending = 0, next_token = 1;
    DrvSeg segs[8];

    for (guint step = 0; step < 4000; step++) {
        guint n = (guint)g_rand_int_range(rand, 1, 9), written = 0, n_write = (guint)g_rand_int_range(rand, 0, (gint)n + 1);
        gboolean indirect = (r->drv.config.flags & VQ_INDIRECT) && g_rand_boolean(rand);
        guint32 token, len;
        switch (g_rand_int_range(rand, 0, 4)) {
        case 0:
        case 1:
            for (guint i = 0; i < n; i++)
                segs[i] = (DrvSeg){ DATA + i * 64, (guint32)g_rand_int_range(rand, 1, 64), i >= n - n_write };
            if (drv_add(&r->drv, segs, n, indirect, next_token))
                g_hash_table_insert(out, GUINT_TO_POINTER(next_token), GUINT_TO_POINTER(1)), next_token++;
            break;
        case 2:
            g_assert_true(vq_begin(r->vq));
            for (guint i = 0; i < n && n_pending < size; i++) {
                VqChain *c = &pending[n_pending];
                c->iov = iov + 8 * n_pending; /* the content of the iovecs of others does not matter any more */
                c->max_iov = 8;
                if (vq_pop(r->vq, c) != VQ_CHAIN)
                    break;
                if (g_rand_int_range(rand, 0, 5) == 0) { /* not now */
                    guint16 id = c->id;
                    vq_unpop(r->vq, c);
                    g_assert_cmpint(vq_pop(r->vq, c), ==, VQ_CHAIN);
                    g_assert_cmpuint(c->id, ==, id);
                }
                n_pending++;
            }
            vq_end(r->vq);
            break;
        default:
            g_assert_true(vq_begin(r->vq));
            for (guint i = 0; i < n && n_pending; i++) {
                guint k = in_order ? 0 : (guint)g_rand_int_range(rand, 0, (gint)n_pending);
                written = pending[k].in_len ? (guint)g_rand_int_range(rand, 0, (gint)pending[k].in_len + 1) : 0;
                vq_push(r->vq, &pending[k], written);
                memmove(&pending[k], &pending[k + 1], (--n_pending - k) * sizeof(VqChain));
            }
            vq_flush(r->vq);
            vq_end(r->vq);
            while (drv_take(&r->drv, &token, &len))
                g_assert_true(g_hash_table_remove(out, GUINT_TO_POINTER(token)));
        }
        g_assert_null(vq_broken(r->vq));
    }
    g_assert_cmpuint(next_token, >, 100);
    g_assert_true(vq_begin(r->vq));
    for (guint i = 0; i < n_pending; i++)
        vq_push(r->vq, &pending[i], 0);
    vq_flush(r->vq);
    vq_end(r->vq);
}

static void test_random(gconstpointer flags)
{
    static const guint16 split_sizes[] = { 1, 2, 16, 256 }, packed_sizes[] = { 1, 3, 17, 256 };
    gboolean packed = (GPOINTER_TO_UINT(flags) & VQ_PACKED) != 0;
    g_autoptr(GRand) rand = g_rand_new_with_seed(g_test_rand_int_range(0, G_MAXINT32));

    for (guint i = 0; i < 4; i++) {
        g_auto(VqRig) r = vq_rig(packed ? packed_sizes[i] : split_sizes[i], GPOINTER_TO_UINT(flags));
        random_run(&r, rand);
    }
}

/* In order: three chains with nothing written are one element; one with data has its own. */
static void test_in_order_batch(gconstpointer flags)
{
    g_auto(VqRig) r = vq_rig(8, GPOINTER_TO_UINT(flags) | VQ_IN_ORDER);
    const DrvSeg seg = { DATA, 8, TRUE };
    struct iovec iov[4][1];
    VqChain c[4];
    guint32 token, len;

    for (guint i = 0; i < 4; i++)
        g_assert_true(drv_add(&r.drv, &seg, 1, FALSE, i));
    g_assert_true(vq_begin(r.vq));
    for (guint i = 0; i < 4; i++) {
        c[i] = (VqChain){ .iov = iov[i], .max_iov = 1 };
        g_assert_cmpint(vq_pop(r.vq, &c[i]), ==, VQ_CHAIN);
    }
    for (guint i = 0; i < 4; i++)
        vq_push(r.vq, &c[i], i == 3 ? 8 : 0);
    vq_flush(r.vq);
    vq_end(r.vq);
    for (guint i = 0; i < 4; i++) {
        g_assert_true(drv_take(&r.drv, &token, &len));
        g_assert_cmpuint(token, ==, i);
        g_assert_cmpuint(len, ==, i == 3 ? 8 : 0);
        g_assert_cmpuint(r.drv.batch_left, ==, i == 3 ? 0 : 2 - i);
    }
}

/* ---- notifications ---- */

static void serve_one(VqRig *r)
{
    struct iovec iov[1];
    VqChain c = { .iov = iov, .max_iov = 1 };

    g_assert_cmpint(vq_pop(r->vq, &c), ==, VQ_CHAIN);
    vq_push(r->vq, &c, 0);
    vq_flush(r->vq);
}

static void test_suppression(gconstpointer flags)
{
    g_auto(VqRig) r = vq_rig(4, GPOINTER_TO_UINT(flags));
    const DrvSeg seg = { DATA, 8, TRUE };
    guint32 token, len;

    for (guint round = 0; round < 10; round++) {
        g_assert_true(vq_begin(r.vq));
        g_assert_false(vq_should_notify(r.vq)); /* nothing was used */
        g_assert_false(vq_kicks_on(r.vq));
        g_assert_false(drv_irq_on(&r.drv));
        drv_add(&r.drv, &seg, 1, FALSE, 1);
        g_assert_true(drv_kick(&r.drv));
        vq_kicks_off(r.vq);
        drv_add(&r.drv, &seg, 1, FALSE, 2);
        g_assert_false(drv_kick(&r.drv));
        g_assert_true(vq_kicks_on(r.vq)); /* one came meanwhile */
        serve_one(&r);
        g_assert_true(vq_should_notify(r.vq));
        drv_irq_off(&r.drv);
        serve_one(&r);
        g_assert_false(vq_should_notify(r.vq));
        g_assert_true(drv_irq_on(&r.drv));
        while (drv_take(&r.drv, &token, &len))
            ;
        vq_end(r.vq);
    }
}

typedef struct {
    VqRig   *rig;
    int      kick, irq;
    guint    total, batches, irqs, kicks;
    gboolean done; /* atomic */
} Race;

static void signal_fd(int fd)
{
    guint64 one = 1;

    g_assert_cmpint(write(fd, &one, sizeof one), ==, sizeof one);
}

/* A notification that was lost shows here: nobody would ever signal again. */
static void wait_fd(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    guint64 n;

    g_assert_cmpint(poll(&p, 1, 20000), ==, 1);
    g_assert_cmpint(read(fd, &n, sizeof n), ==, sizeof n);
}

static gpointer race_device(gpointer user)
{
    Race *race = user;
    VirtQueue *vq = race->rig->vq;
    struct iovec iov[4];
    VqChain c = { .iov = iov, .max_iov = 4 };

    for (guint served = 0; served < race->total;) {
        g_assert_true(vq_begin(vq));
        do {
            vq_kicks_off(vq);
            while (vq_pop(vq, &c) == VQ_CHAIN) {
                g_assert_cmpuint(c.out_len, ==, 8);
                guint32 value = (guint32)le64_get(iov[0].iov_base);
                le64_put(iov[1].iov_base, value * 2);
                vq_push(vq, &c, 8);
                served++;
                vq_flush(vq);
                if (value % 3 == 0 && vq_should_notify(vq))
                    signal_fd(race->irq), race->irqs++;
            }
        } while (vq_kicks_on(vq));
        if (vq_should_notify(vq))
            signal_fd(race->irq), race->irqs++;
        vq_end(vq);
        if (served < race->total)
            wait_fd(race->kick), race->batches++;
    }
    return NULL;
}

static void race_driver(Race *race)
{
    Drv *d = &race->rig->drv;
    guint sent = 0, got = 0, size = d->config.size;

    while (got < race->total) {
        while (sent < race->total) {
            guint64 gpa = DATA + (sent % size) * 64;
            const DrvSeg segs[] = { { gpa, 8, FALSE }, { gpa + 8, 8, TRUE } };
            if (sent - got == size || d->n_free < 2)
                break;
            le64_put(rig_at(race->rig, gpa), sent);
            if (!drv_add(d, segs, 2, FALSE, sent))
                break;
            sent++;
            if (sent % 5 == 0 && drv_kick(d))
                signal_fd(race->kick), race->kicks++;
        }
        if (drv_kick(d))
            signal_fd(race->kick), race->kicks++;
        guint32 token, len;
        drv_irq_off(d);
        while (drv_take(d, &token, &len)) {
            g_assert_cmpuint(len, ==, 8);
            g_assert_cmpuint(le64_get(rig_at(race->rig, DATA + (token % size) * 64 + 8)), ==, 2 * token);
            got++;
        }
        if (got < race->total && d->n_free < 2 && !drv_irq_on(d))
            wait_fd(race->irq);
        else if (got < race->total && sent == race->total && !drv_irq_on(d))
            wait_fd(race->irq);
    }
}

/* Driver and device each sleep whenever the other owes them something. */
static void test_race(gconstpointer flags)
{
    g_auto(VqRig) r = vq_rig(16, GPOINTER_TO_UINT(flags));
    Race race = { .rig = &r, .kick = eventfd(0, EFD_CLOEXEC), .irq = eventfd(0, EFD_CLOEXEC), .total = 20000 };
    GThread *device = g_thread_new("device", race_device, &race);

    race_driver(&race);
    g_thread_join(device);
    g_test_message("%u kicks, %u interrupts for %u chains", race.kicks, race.irqs, race.total);
    g_assert_cmpuint(race.kicks, <, race.total);
    close(race.kick);
    close(race.irq);
}

/* ---- saving ---- */

static void test_state(gconstpointer flags)
{
    g_auto(VqRig) r = vq_rig(4, GPOINTER_TO_UINT(flags));
    const DrvSeg seg = { DATA, 8, TRUE };
    VqState state;
    guint32 token, len;

    for (guint round = 0; round < 11; round++) {
        drv_add(&r.drv, &seg, 1, FALSE, round);
        drv_add(&r.drv, &seg, 1, FALSE, round + 100);
        g_assert_true(vq_begin(r.vq));
        serve_one(&r);
        vq_end(r.vq);
        vq_stop(r.vq, &state);
        g_assert_false(vq_begin(r.vq));
        g_assert_true(vq_start(r.vq, &r.drv.config, &state));
        g_assert_true(vq_begin(r.vq));
        g_assert_true(vq_should_notify(r.vq)); /* rather once too often */
        serve_one(&r);
        vq_end(r.vq);
        g_assert_true(drv_take(&r.drv, &token, &len));
        g_assert_cmpuint(token, ==, round);
        g_assert_true(drv_take(&r.drv, &token, &len));
        g_assert_cmpuint(token, ==, round + 100);
    }
}

/* ---- the memory map ---- */

/* A buffer across two regions is two segments; one table may lie across them too. */
static void test_regions(gconstpointer flags)
{
    g_auto(VqRig) r = vq_rig(8, GPOINTER_TO_UINT(flags) | VQ_INDIRECT);
    const guint64 border = RIG_BASE + RIG_SIZE;
    const DrvSeg seg = { border - 16, 48, TRUE };
    struct iovec iov[4];
    VqChain c = { .iov = iov, .max_iov = 4 };

    rig_add_second(&r);
    drv_add(&r.drv, &seg, 1, FALSE, 1);
    drv_add(&r.drv, &seg, 1, TRUE, 2);
    /* The table's one entry, half of it on either side. */
    guint8 *outer = rig_at(&r, r.drv.config.desc) + 16 * (r.drv.config.flags & VQ_PACKED ? 1 : r.drv.order[1]);
    guint8 entry[16];
    memcpy(entry, rig_at(&r, le64_get(outer)), 16);
    memcpy(rig_at(&r, border - 8), entry, 8);
    memcpy(r.second, entry + 8, 8);
    le64_put(outer, border - 8);
    g_assert_true(vq_begin(r.vq));
    for (guint i = 0; i < 2; i++) {
        g_assert_cmpint(vq_pop(r.vq, &c), ==, VQ_CHAIN);
        g_assert_cmpuint(c.n_in, ==, 2);
        g_assert_cmpuint(c.in_len, ==, 48);
        g_assert_true(iov[0].iov_base == rig_at(&r, border - 16) && iov[0].iov_len == 16);
        g_assert_true(iov[1].iov_base == r.second && iov[1].iov_len == 32);
        vq_push(r.vq, &c, 48);
    }
    vq_end(r.vq);
}

static gpointer push_later(gpointer user)
{
    VqChain *c = user;
    VqRig *r = (VqRig *)c->iov[3].iov_base;

    g_usleep(20000);
    g_assert_cmpint(g_atomic_int_get(&r->removed), ==, 0); /* the chain holds the memory */
    memset(c->iov[0].iov_base, 0x5a, c->iov[0].iov_len);
    g_assert_true(vq_begin(r->vq));
    vq_push(r->vq, c, (guint32)c->in_len);
    vq_end(r->vq);
    return NULL;
}

static void test_removal_waits(void)
{
    g_auto(VqRig) r = vq_rig(8, 0);
    const DrvSeg seg = { RIG_BASE + RIG_SIZE + 64, 64, TRUE };
    struct iovec iov[4];
    VqChain c = { .iov = iov, .max_iov = 3 };

    rig_add_second(&r);
    drv_add(&r.drv, &seg, 1, FALSE, 1);
    g_assert_true(vq_begin(r.vq));
    g_assert_cmpint(vq_pop(r.vq, &c), ==, VQ_CHAIN);
    vq_end(r.vq);
    iov[3].iov_base = &r;
    GThread *thread = g_thread_new("push", push_later, &c);
    rig_remove_second(&r); /* returns when the chain is done */
    g_atomic_int_set(&r.removed, 1);
    g_thread_join(thread);
    g_assert_null(vq_broken(r.vq));
}

/* A queue that is never idle does not hold an old map for ever: each chain holds its own. */
static void test_generations(void)
{
    g_auto(VqRig) r = vq_rig(8, 0);
    const DrvSeg seg = { DATA, 64, TRUE };
    struct iovec iov[2][1];
    VqChain c[2] = { { .iov = iov[0], .max_iov = 1 }, { .iov = iov[1], .max_iov = 1 } };
    guint32 token, len;

    for (guint i = 0; i < 50; i++) {
        drv_add(&r.drv, &seg, 1, FALSE, i);
        rig_add_second(&r); /* a new map */
        g_assert_true(vq_begin(r.vq));
        g_assert_cmpint(vq_pop(r.vq, &c[i % 2]), ==, VQ_CHAIN);
        if (i > 0)
            vq_push(r.vq, &c[(i + 1) % 2], 64);
        vq_flush(r.vq);
        vq_end(r.vq);
        while (drv_take(&r.drv, &token, &len))
            ;
        if (i % 2 == 0)
            continue;
        g_assert_true(vq_begin(r.vq)); /* nothing of the second region is in use: its removal waits for nobody */
        vq_push(r.vq, &c[i % 2], 64);
        vq_flush(r.vq);
        vq_end(r.vq);
        while (drv_take(&r.drv, &token, &len))
            ;
        drv_add(&r.drv, &seg, 1, FALSE, 1000);
        rig_remove_second(&r);
        g_assert_true(vq_begin(r.vq));
        g_assert_cmpint(vq_pop(r.vq, &c[i % 2]), ==, VQ_CHAIN);
        vq_end(r.vq);
    }
    g_assert_true(vq_begin(r.vq));
    vq_push(r.vq, &c[1], 0);
    vq_end(r.vq);
}

static void test_iov(void)
{
    char a[4] = "abc", b[4] = "def", out[8] = { 0 };
    struct iovec iov[2] = { { a, 3 }, { b, 3 } };

    g_assert_cmpuint(iov_read(iov, 2, 2, out, 3), ==, 3);
    g_assert_cmpstr(out, ==, "cde");
    g_assert_cmpuint(iov_read(iov, 2, 5, out, 7), ==, 1);
    g_assert_cmpuint(iov_read(iov, 2, 6, out, 7), ==, 0);
    g_assert_cmpuint(iov_write(iov, 2, 1, "1234567", 7), ==, 5);
    g_assert_cmpstr(a, ==, "a12");
    g_assert_cmpstr(b, ==, "345");
}

static void add_for_all(const char *name, void (*fn)(gconstpointer))
{
    for (guint i = 0; i < G_N_ELEMENTS(all_flags); i++) {
        guint32 f = all_flags[i];
        g_autofree char *path = g_strdup_printf("/virtqueue/%s/%s%s%s%s", name, f & VQ_PACKED ? "packed" : "split",
                                                f & VQ_EVENT_IDX ? "-event" : "", f & VQ_INDIRECT ? "-indirect" : "",
                                                f & VQ_IN_ORDER ? "-inorder" : "");
        g_test_add_data_func(path, GUINT_TO_POINTER(f), fn);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    add_for_all("chain", test_chain);
    add_for_all("random", test_random);
    add_for_all("suppression", test_suppression);
    add_for_all("race", test_race);
    add_for_all("state", test_state);
    g_test_add_data_func("/virtqueue/in-order-batch/split", GUINT_TO_POINTER(0), test_in_order_batch);
    g_test_add_data_func("/virtqueue/in-order-batch/packed", GUINT_TO_POINTER(VQ_PACKED), test_in_order_batch);
    g_test_add_data_func("/virtqueue/regions/split", GUINT_TO_POINTER(0), test_regions);
    g_test_add_data_func("/virtqueue/regions/packed", GUINT_TO_POINTER(VQ_PACKED), test_regions);
    g_test_add_func("/virtqueue/removal-waits", test_removal_waits);
    g_test_add_func("/virtqueue/generations", test_generations);
    g_test_add_func("/virtqueue/iov", test_iov);
    return g_test_run();
}

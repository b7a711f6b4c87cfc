/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-block.c - block queues on files: each way in which a request can be carried out (ring,
 * threads, page cache or O_DIRECT) against the same model, and what bounds it.
 */
#include "block-rig.h"

#include <errno.h>
#include <sys/syscall.h>

/* Ours instead of libc's: how often a pool's thread asked for it, and how it ends. */
static struct {
    guint calls;
    int   error;
} syncs;

int fdatasync(int fd)
{
    __atomic_add_fetch(&syncs.calls, 1, __ATOMIC_SEQ_CST);
    errno = __atomic_load_n(&syncs.error, __ATOMIC_SEQ_CST);
    return errno ? -1 : (int)syscall(SYS_fdatasync, fd);
}

static const char *const ways[] = {
    "",
    ",\"aio\":\"threads\"",
    ",\"cache-direct\":true",
    ",\"cache-direct\":true,\"aio\":\"threads\"",
};

static gboolean no_direct(const char *more, const Disk *d)
{
    if (!strstr(more, "cache-direct"))
        return FALSE;
    int fd = open(d->path, O_RDONLY | O_DIRECT | O_CLOEXEC);
    auto_fd_close(fd);
    return fd < 0;
}

/* ---- one by one ---- */

static void test_read_write(gconstpointer more)
{
    g_autoptr(Disk) d = disk_new(1 << 20);
    guint8 out[1536], in[1536];

    if (no_direct(more, d)) {
        g_test_skip("this file system has no O_DIRECT");
        return;
    }
    disk_open(d, more, 4);
    g_assert_cmpuint(block_node_size(d->node), ==, 1 << 20);
    memset(out, 0xa5, sizeof out);
    g_assert_cmpint(disk_do(d, BLOCK_READ, 512, in, sizeof in), ==, 0);
    for (guint i = 0; i < sizeof in; i++)
        g_assert_cmpuint(in[i], ==, (guint8)((i + 512) / 512 + i + 512));
    g_assert_cmpint(disk_do_flags(d, BLOCK_WRITE, BLOCK_FUA, 1024, out, sizeof out), ==, 0);
    disk_host_read(d, 1024, in, sizeof in);
    g_assert_cmpmem(in, sizeof in, out, sizeof out);
    disk_host_read(d, 512, in, 512); /* its neighbours are as they were */
    g_assert_cmpuint(in[0], ==, 1);
    disk_host_read(d, 2560, in, 512);
    g_assert_cmpuint(in[0], ==, 5);
    g_assert_cmpint(disk_do(d, BLOCK_FLUSH, 0, NULL, 0), ==, 0);
    g_assert_cmpint(disk_do(d, BLOCK_READ, 512, in, 0), ==, 0); /* nothing at all */
}

static void test_engine(void)
{
    g_autoptr(Disk) d = disk_new(4096);

    disk_open(d, "", 4);
    if (!block_queue_is_uring(d->q))
        g_test_skip("this host refuses io_uring");
    disk_close(d);
    disk_open(d, ",\"aio\":\"native\"", 4);
    disk_close(d);
    disk_open(d, ",\"aio\":\"threads\"", 4);
    g_assert_false(block_queue_is_uring(d->q));
}

/* A last sector of 100 bytes reads with zeroes behind them; written, it is whole. */
static void test_odd_tail(gconstpointer more)
{
    g_autoptr(Disk) d = disk_new(1024 + 100);
    guint8 buf[1024];

    if (no_direct(more, d)) {
        g_test_skip("this file system has no O_DIRECT");
        return;
    }
    disk_open(d, more, 4);
    g_assert_cmpuint(block_node_size(d->node), ==, 1536);
    memset(buf, 0xff, sizeof buf);
    g_assert_cmpint(disk_do(d, BLOCK_READ, 512, buf, 1024), ==, 0);
    g_assert_cmpuint(buf[512 + 99], ==, (guint8)(2 + 1123));
    for (guint i = 512 + 100; i < 1024; i++)
        g_assert_cmpuint(buf[i], ==, 0);
    g_assert_cmpint(disk_stat(d).st_size, ==, 1124);
    memset(buf, 0x11, sizeof buf);
    g_assert_cmpint(disk_do(d, BLOCK_WRITE, 1024, buf, 512), ==, 0);
    g_assert_cmpint(disk_stat(d).st_size, ==, 1536);
}

static void test_bounds(void)
{
    g_autoptr(Disk) d = disk_new(4096);
    guint8 buf[1024] = { 0 };

    disk_open(d, "", 4);
    g_assert_cmpint(disk_do(d, BLOCK_READ, 3584, buf, 1024), ==, EIO);
    g_assert_cmpint(disk_do(d, BLOCK_WRITE, 4096, buf, 512), ==, EIO);
    g_assert_cmpint(disk_do(d, BLOCK_WRITE, G_MAXUINT64 - 511, buf, 512), ==, EIO);
    g_assert_cmpint(disk_do(d, BLOCK_WRITE_ZEROES, 4096, NULL, 512), ==, EIO);
    g_assert_cmpint(disk_do(d, BLOCK_DISCARD, 3584, NULL, 1024), ==, EIO);
    g_assert_cmpint(disk_stat(d).st_size, ==, 4096);
    disk_close(d);
    disk_open(d, ",\"read-only\":true", 4);
    g_assert_cmpint(disk_do(d, BLOCK_WRITE, 0, buf, 512), ==, EROFS);
    g_assert_cmpint(disk_do(d, BLOCK_WRITE_ZEROES, 0, NULL, 512), ==, EROFS);
    g_assert_cmpint(disk_do(d, BLOCK_READ, 0, buf, 512), ==, 0);
    g_assert_cmpint(disk_do(d, BLOCK_FLUSH, 0, NULL, 0), ==, 0);
}

/* ---- discard and zeroes ---- */

static void test_discard(void)
{
    g_autoptr(Disk) d = disk_new(1 << 20);
    guint8 buf[4096];

    disk_open(d, "", 4);
    gint64 before = disk_stat(d).st_blocks;
    g_assert_cmpint(disk_do(d, BLOCK_DISCARD, 0, NULL, 65536), ==, 0);
    g_assert_cmpint(disk_stat(d).st_blocks, ==, before); /* ignored */
    disk_host_read(d, 512, buf, 512);
    g_assert_cmpuint(buf[0], ==, 1);
    disk_close(d);
    disk_open(d, ",\"discard\":\"unmap\"", 4);
    g_assert_true(block_node_limits(d->node)->discard);
    g_assert_cmpint(disk_do(d, BLOCK_DISCARD, 0, NULL, 65536), ==, 0);
    g_assert_cmpint(disk_stat(d).st_size, ==, 1 << 20);
    if (disk_stat(d).st_blocks == before) {
        g_test_skip("this file system has no holes");
        return;
    }
    g_assert_cmpint(disk_stat(d).st_blocks, <=, before - 128);
    disk_host_read(d, 61440, buf, 4096);
    g_assert_cmpuint(buf[4095], ==, 0);
    disk_host_read(d, 65536, buf, 512);
    g_assert_cmpuint(buf[0], ==, 128);
}

static void test_zeroes(gconstpointer more)
{
    g_autoptr(Disk) d = disk_new(1 << 20);
    guint8 buf[512 * 3];

    if (no_direct(more, d)) {
        g_test_skip("this file system has no O_DIRECT");
        return;
    }
    disk_open(d, more, 4);
    for (guint i = 0; i < 2; i++) {
        guint64 at = 512 + i * 8192;
        g_assert_cmpint(disk_do_flags(d, BLOCK_WRITE_ZEROES, i ? BLOCK_UNMAP : 0, at + 512, NULL, 512), ==, 0);
        disk_host_read(d, at, buf, sizeof buf);
        g_assert_cmpuint(buf[0], ==, (guint8)(at / 512 + at));
        for (guint b = 512; b < 1024; b++)
            g_assert_cmpuint(buf[b], ==, 0);
        g_assert_cmpuint(buf[1024], ==, (guint8)(at / 512 + 2 + at));
    }
    g_assert_cmpint(disk_stat(d).st_size, ==, 1 << 20);
}

/* ---- everything at once, against a model ---- */

#define MODEL_SIZE (256u << 10)
#define SLOTS 48 /* one request each at a time, in a part of the disk of its own */
#define SLOT_SIZE (MODEL_SIZE / SLOTS / 512 * 512)

typedef struct {
    Io            io;
    guint8       *buf;
    struct iovec  iov[3];
    guint64       at;
} Slot;

static void slot_prepare(Slot *s, guint index, GRand *rand)
{
    guint first = (guint)g_rand_int_range(rand, 0, SLOT_SIZE / 512);
    guint n = (guint)g_rand_int_range(rand, 1, (gint32)(SLOT_SIZE / 512 - first) + 1) * 512;
    guint cut[2] = { (guint)g_rand_int_range(rand, 0, (gint32)n), 0 };
    static const guint8 ops[] = { BLOCK_READ, BLOCK_WRITE, BLOCK_WRITE, BLOCK_WRITE_ZEROES, BLOCK_FLUSH };
    guint8 op = ops[g_rand_int_range(rand, 0, G_N_ELEMENTS(ops))];

    if (g_rand_boolean(rand))
        cut[0] = cut[0] / 512 * 512;
    cut[1] = (guint)g_rand_int_range(rand, (gint32)cut[0], (gint32)n + 1);
    s->at = index * SLOT_SIZE + first * 512;
    s->io = io_make((BlockOp)op, s->at, NULL, op == BLOCK_FLUSH ? 0 : n);
    s->io.req.flags = op >= BLOCK_WRITE && g_rand_boolean(rand) ? BLOCK_FUA : 0;
    if (op == BLOCK_READ || op == BLOCK_WRITE) {
        s->iov[0] = (struct iovec){ s->buf, cut[0] };
        s->iov[1] = (struct iovec){ s->buf + cut[0], cut[1] - cut[0] };
        s->iov[2] = (struct iovec){ s->buf + cut[1], n - cut[1] };
        s->io.req.n_iov = 3;
        memset(s->buf, g_rand_int_range(rand, 0, 256), n);
    }
}

static void slot_check(const Slot *s, guint8 *model)
{
    gsize n = (gsize)s->io.req.bytes;

    g_assert_cmpint(s->io.error, ==, 0);
    if (s->io.req.op == BLOCK_READ)
        g_assert_cmpmem(s->buf, n, model + s->at, n);
    else if (s->io.req.op == BLOCK_WRITE)
        memcpy(model + s->at, s->buf, n);
    else if (s->io.req.op == BLOCK_WRITE_ZEROES)
        memset(model + s->at, 0, n);
}

static void test_model(gconstpointer more)
{
    g_autoptr(Disk) d = disk_new(MODEL_SIZE);
    g_autofree guint8 *model = g_malloc(MODEL_SIZE), *after = g_malloc(MODEL_SIZE);
    g_autoptr(GRand) rand = g_rand_new_with_seed((guint32)g_test_rand_int());
    static const guint depths[] = { 1, 7, 64 };
    Slot slots[SLOTS];
    Io ios[SLOTS];

    if (no_direct(more, d)) {
        g_test_skip("this file system has no O_DIRECT");
        return;
    }
    disk_host_read(d, 0, model, MODEL_SIZE);
    for (guint i = 0; i < SLOTS; i++)
        slots[i].buf = g_malloc(SLOT_SIZE);
    for (guint round = 0; round < 30; round++) {
        if (round % 10 == 0) {
            disk_close(d);
            disk_open(d, more, depths[round / 10]);
        }
        for (guint i = 0; i < SLOTS; i++) {
            slot_prepare(&slots[i], i, rand);
            slots[i].io.req.iov = slots[i].iov;
            ios[i] = slots[i].io;
        }
        disk_start(d, ios, SLOTS);
        disk_wait(d);
        for (guint i = 0; i < SLOTS; i++) {
            slots[i].io = ios[i];
            slot_check(&slots[i], model);
        }
    }
    disk_host_read(d, 0, after, MODEL_SIZE);
    g_assert_cmpmem(after, MODEL_SIZE, model, MODEL_SIZE);
    for (guint i = 0; i < SLOTS; i++)
        g_free(slots[i].buf);
}

/* More segments than one system call takes. */
static void test_many_segments(gconstpointer more)
{
    enum { N = 1100 };
    g_autoptr(Disk) d = disk_new(N * 512);
    g_autofree guint8 *buf = g_malloc(N * 512), *model = g_malloc(N * 512);
    g_autofree struct iovec *iov = g_new(struct iovec, N);
    Io io = io_make(BLOCK_READ, 0, NULL, N * 512);

    if (no_direct(more, d)) {
        g_test_skip("this file system has no O_DIRECT");
        return;
    }
    disk_open(d, more, 4);
    for (guint i = 0; i < N; i++)
        iov[i] = (struct iovec){ buf + (N - 1 - i) * 512, 512 };
    io.req.iov = iov;
    io.req.n_iov = N;
    disk_start(d, &io, 1);
    disk_wait(d);
    g_assert_cmpint(io.error, ==, 0);
    disk_host_read(d, 0, model, N * 512);
    for (guint i = 0; i < N; i++)
        g_assert_cmpmem(buf + (N - 1 - i) * 512, 512, model + i * 512, 512);
}

/* ---- ends ---- */

/* All of a batch are back when a queue is drained or goes, done or cancelled. */
static void test_free_in_flight(gconstpointer more)
{
    g_autoptr(Disk) d = disk_new(MODEL_SIZE);
    g_autofree guint8 *buf = g_malloc0(MODEL_SIZE);
    Io ios[200];

    if (no_direct(more, d)) {
        g_test_skip("this file system has no O_DIRECT");
        return;
    }
    for (guint drain = 0; drain < 2; drain++) {
        disk_open(d, more, 8);
        for (guint i = 0; i < G_N_ELEMENTS(ios); i++) {
            ios[i] = io_make(i % 5 ? BLOCK_WRITE : BLOCK_WRITE_ZEROES, i * 1024, buf + i * 1024, 1024);
            ios[i].req.iov = &ios[i].iov;
            ios[i].req.n_iov = 1;
        }
        disk_start(d, ios, G_N_ELEMENTS(ios));
        if (drain)
            block_queue_drain(d->q);
        else
            g_clear_pointer(&d->q, block_queue_free);
        g_assert_cmpuint(d->pending, ==, 0);
        for (guint i = 0; i < G_N_ELEMENTS(ios); i++)
            g_assert_true(ios[i].error == 0 || (!drain && ios[i].error == ECANCELED));
        disk_close(d);
    }
}

static guint flush_syncs(Disk *d, int wanted)
{
    __atomic_store_n(&syncs.calls, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&syncs.error, wanted, __ATOMIC_SEQ_CST);
    g_assert_cmpint(disk_do(d, BLOCK_FLUSH, 0, NULL, 0), ==, wanted);
    return __atomic_load_n(&syncs.calls, __ATOMIC_SEQ_CST);
}

/* A flush asks the host only if something may not be on the disk yet. */
static void test_needless_flushes(void)
{
    g_autoptr(Disk) d = disk_new(8192);
    guint8 buf[512] = { 0 };
    Io writes[2] = { io_make(BLOCK_WRITE, 0, buf, 512), io_make(BLOCK_FLUSH, 0, NULL, 0) };

    disk_open(d, ",\"aio\":\"threads\",\"discard\":\"unmap\"", 4);
    g_assert_cmpuint(flush_syncs(d, 0), ==, 1); /* who knows what was written before */
    g_assert_cmpuint(flush_syncs(d, 0), ==, 0);
    g_assert_cmpint(disk_do(d, BLOCK_READ, 0, buf, 512), ==, 0);
    g_assert_cmpuint(flush_syncs(d, 0), ==, 0);
    static const BlockOp ops[] = { BLOCK_WRITE, BLOCK_WRITE_ZEROES, BLOCK_DISCARD };
    for (guint i = 0; i < G_N_ELEMENTS(ops); i++) {
        g_assert_cmpint(disk_do(d, ops[i], 0, ops[i] == BLOCK_WRITE ? buf : NULL, 512), ==, 0);
        g_assert_cmpuint(flush_syncs(d, 0), ==, 1);
        g_assert_cmpuint(flush_syncs(d, 0), ==, 0);
    }
    g_assert_true(block_node_resize(d->node, 16384, NULL));
    g_assert_cmpuint(flush_syncs(d, 0), ==, 1);

    /* One that fails has flushed nothing. */
    g_assert_cmpint(disk_do(d, BLOCK_WRITE, 0, buf, 512), ==, 0);
    g_assert_cmpuint(flush_syncs(d, EIO), ==, 1);
    g_assert_cmpuint(flush_syncs(d, EIO), ==, 1);
    g_assert_cmpuint(flush_syncs(d, 0), ==, 1);

    /* A write that ends when a flush is at work already is for the next one. */
    writes[0].req.iov = &writes[0].iov;
    writes[0].req.n_iov = 1;
    disk_start(d, writes, 2);
    disk_wait(d);
    g_assert_cmpuint(flush_syncs(d, 0), ==, 1);

    /* Another queue of the file knows of it. */
    BlockQueue *first = g_steal_pointer(&d->q);
    disk_attach(d, d->node, 4);
    g_assert_cmpint(disk_do(d, BLOCK_WRITE, 0, buf, 512), ==, 0);
    BlockQueue *second = d->q;
    d->q = first;
    g_assert_cmpuint(flush_syncs(d, 0), ==, 1);
    d->q = second;
    g_assert_cmpuint(flush_syncs(d, 0), ==, 0);
    block_queue_free(first);
}

/* With no-flush nothing is known to be on the disk, which matters to others on the same file. */
static void test_no_flush(void)
{
    g_autoptr(Disk) d = disk_new(8192);
    guint8 buf[512] = { 0 };

    d->node = rig_plug(d->rig, "{\"qom-type\":\"blockdev-file\",\"id\":\"n\",\"filename\":\"%s\",\"aio\":\"threads\"}", d->path);
    Device *raw = rig_plug(d->rig, "{\"qom-type\":\"blockdev-raw\",\"id\":\"r\",\"file\":\"n\",\"cache-no-flush\":true}");
    disk_attach(d, raw, 4);
    g_assert_cmpint(disk_do(d, BLOCK_WRITE, 0, buf, 512), ==, 0);
    g_assert_cmpuint(flush_syncs(d, 0), ==, 0);
    block_queue_free(g_steal_pointer(&d->q));
    disk_attach(d, d->node, 4);
    g_assert_cmpuint(flush_syncs(d, 0), ==, 1);
    block_queue_free(g_steal_pointer(&d->q));
    rig_remove(raw);
}

static void test_batches_and_stats(void)
{
    g_autoptr(Disk) d = disk_new(0);
    BlockCounts stats;
    guint8 buf[512];
    Io ios[10];

    d->node = rig_plug(d->rig, "{\"qom-type\":\"blockdev-null-co\",\"id\":\"n\",\"size\":4096,\"read-zeroes\":true}");
    disk_attach(d, d->node, 4);
    for (guint i = 0; i < 10; i++) { /* the last two are outside */
        ios[i] = io_make(i % 2 ? BLOCK_WRITE : BLOCK_READ, i * 512, buf, 512);
        ios[i].req.iov = &ios[i].iov;
        ios[i].req.n_iov = 1;
    }
    disk_start(d, ios, 10);
    disk_wait(d);
    block_queue_drain(d->q);
    g_assert_cmpuint(d->batches, ==, 1);
    g_assert_cmpint(ios[7].error, ==, 0);
    g_assert_cmpint(ios[8].error, ==, EIO);
    for (guint gone = 0; gone < 2; gone++) { /* counted on when the queue is gone */
        block_node_stats(d->node, &stats);
        g_assert_cmpuint(stats.ops[BLOCK_READ], ==, 4);
        g_assert_cmpuint(stats.bytes[BLOCK_READ], ==, 2048);
        g_assert_cmpuint(stats.ops[BLOCK_WRITE], ==, 4);
        g_assert_cmpuint(stats.failed[BLOCK_READ], ==, 1);
        g_assert_cmpuint(stats.failed[BLOCK_WRITE], ==, 1);
        g_assert_cmpuint(stats.ops[BLOCK_FLUSH], ==, 0);
        g_clear_pointer(&d->q, block_queue_free);
    }
    g_assert_cmpuint(stats.time_ns[BLOCK_FLUSH], ==, 0);
}

/* Queues leave no thread, descriptor or mapping behind. */
static void test_nothing_left(gconstpointer more)
{
    g_autoptr(Disk) d = disk_new(4096);
    guint fds = rig_count_fds(), threads = rig_count_threads();
    guint8 buf[512];

    if (no_direct(more, d)) {
        g_test_skip("this file system has no O_DIRECT");
        return;
    }
    for (guint i = 0; i < 20; i++) {
        disk_open(d, more, 64);
        g_assert_cmpint(disk_do(d, BLOCK_READ, 0, buf, 512), ==, 0);
        g_assert_cmpint(disk_do(d, BLOCK_WRITE_ZEROES, 0, NULL, 512), ==, 0);
        disk_close(d);
    }
    g_assert_cmpuint(rig_count_fds(), ==, fds);
    for (guint i = 0; i < 200 && rig_count_threads() != threads; i++)
        g_usleep(10000); /* io_uring's workers end a little later */
    g_assert_cmpuint(rig_count_threads(), ==, threads);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        GTestDataFunc fn;
    } each[] = {
        { "read-write", test_read_write }, { "odd-tail", test_odd_tail },           { "zeroes", test_zeroes },
        { "model", test_model },           { "many-segments", test_many_segments }, { "free-in-flight", test_free_in_flight },
        { "nothing-left", test_nothing_left },
    };
    static const char *const names[] = { "ring", "threads", "direct-ring", "direct-threads" };

    g_test_init(&argc, &argv, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(each); i++) {
        for (guint w = 0; w < G_N_ELEMENTS(ways); w++) {
            g_autofree char *path = g_strdup_printf("/block/%s/%s", each[i].name, names[w]);
            g_test_add_data_func(path, ways[w], each[i].fn);
        }
    }
    g_test_add_func("/block/engine", test_engine);
    g_test_add_func("/block/bounds", test_bounds);
    g_test_add_func("/block/discard", test_discard);
    g_test_add_func("/block/needless-flushes", test_needless_flushes);
    g_test_add_func("/block/no-flush", test_no_flush);
    g_test_add_func("/block/batches-and-stats", test_batches_and_stats);
    return g_test_run();
}

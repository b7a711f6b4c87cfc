/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Verbs of a memory balloon (virtio 1.2, 5.5): pages given up and taken back, statistics, reports and
 * hints of free pages. Pages come from a part of RAM that nothing else uses; each is written before it
 * is given up, so what it reads as later tells whether the host took it.
 */
#include "virtio.h"

enum { F_STATS = 1, F_HINT = 3, F_REPORTING = 5 };
enum { Q_INFLATE = 0, Q_DEFLATE = 1 };
enum { CONFIG_ACTUAL = 4, CONFIG_HINT_ID = 8 };
enum { PFNS = 0, STATS = 0x4000, COMMAND = 0x5000, MARK = 0x5eed5eed };
#define PAGES_BASE 0x8000000ull /* 128 MiB */
#define MOST 1024u

static u32 *page(u32 n)
{
    return phys_ptr(PAGES_BASE + n * 4096ull, 4096);
}

/* Queues that come with a feature are numbered in order, without those that were not taken. */
static u32 queue_number(const struct vdev *vd, u32 bit)
{
    u32 n = 2;

    if (bit == F_STATS)
        return n;
    n += virtio_has(vd, F_STATS);
    if (bit == F_HINT)
        return n;
    return n + virtio_has(vd, F_HINT);
}

static struct queue *queue_with(struct vdev *vd, u32 bit)
{
    u32 n = queue_number(vd, bit);

    if (virtio_has(vd, bit) && n < vd->queues)
        return &vd->queue[n];
    emit("error no_queue_for_feature=%u\n", bit);
    return NULL;
}

static u32 count_pages(u32 first, u32 n, u32 value)
{
    u32 found = 0;

    for (u32 i = 0; i < n; i++) {
        found += *(volatile u32 *)page(first + i) == value;
    }
    return found;
}

static void mark_pages(u32 first, u32 n)
{
    for (u32 i = 0; i < n; i++) {
        *(volatile u32 *)page(first + i) = MARK;
    }
}

/* N pages from number FIRST on; then the driver says what the host has of its memory. */
static void move(struct vdev *vd, const char *args, u32 index, const char *name)
{
    u32 first = (u32)word_number(args, "first", 0), n = (u32)word_number(args, "n", 16), len;
    u32 *pfns = (u32 *)(vd->data + PFNS);
    struct seg seg = {pfns, 4 * n};

    if (n < 1 || n > MOST)
        return;
    if (index == Q_INFLATE)
        mark_pages(first, n);
    for (u32 i = 0; i < n; i++) {
        pfns[i] = (u32)(PAGES_BASE >> 12) + first + i;
    }
    if (!queue_request(vd, &vd->queue[index], &seg, 1, 0, &len))
        return;
    vd->sent = index == Q_INFLATE ? vd->sent + n : vd->sent - n;
    virtio_set32(vd, vd->config, CONFIG_ACTUAL, vd->sent);
    emit("balloon %s", name);
    pci_emit_bdf(vd->bdf);
    emit(" n=%u actual=%u", n, virtio_get32(vd, vd->config, CONFIG_ACTUAL));
    /* Looking at a page takes it back from the host. */
    if (index == Q_DEFLATE)
        emit(" zeroed=%u kept=%u", count_pages(first, n, 0), count_pages(first, n, MARK));
    emit("\n");
}

static void verb_inflate(struct vdev *vd, const char *args)
{
    move(vd, args, Q_INFLATE, "inflated");
}

static void verb_deflate(struct vdev *vd, const char *args)
{
    move(vd, args, Q_DEFLATE, "deflated");
}

/* ---- statistics: the device has one buffer, and its return is the question ---- */

/* Tags 0 to n - 1 with the value base + tag. */
static void give_stats(struct vdev *vd, struct queue *q, const char *args)
{
    u32 n = (u32)word_number(args, "n", 6);
    u64 base = word_number(args, "base", 1000);
    u8 *p = vd->data + STATS;
    struct seg seg = {p, 10 * (n < 20 ? n : 20)};

    for (u16 tag = 0; tag < n && tag < 20; tag++) {
        u64 value = base + tag;
        memcpy(p + 10 * tag, &tag, 2);
        memcpy(p + 10 * tag + 2, &value, 8);
    }
    queue_add(vd, q, &seg, 1, 0);
    queue_kick(vd, q);
}

static void verb_stats(struct vdev *vd, const char *args)
{
    struct queue *q = queue_with(vd, F_STATS);

    if (!q)
        return;
    give_stats(vd, q, args);
    emit("balloon stats");
    pci_emit_bdf(vd->bdf);
    emit(" given=1\n");
}

/* Waits for a question and answers it. */
static void verb_answer(struct vdev *vd, const char *args)
{
    struct queue *q = queue_with(vd, F_STATS);
    u32 id, len;
    bool asked = q && queue_wait(vd, q, &id, &len);

    if (asked)
        give_stats(vd, q, args);
    emit("balloon asked");
    pci_emit_bdf(vd->bdf);
    emit(" status=%s\n", asked ? "ok" : "timeout");
}

/* ---- free pages ---- */

/* A block of N pages that the host may have: its buffer itself is the page. */
static void verb_report(struct vdev *vd, const char *args)
{
    struct queue *q = queue_with(vd, F_REPORTING);
    u32 first = (u32)word_number(args, "first", 0), n = (u32)word_number(args, "n", 16), len;
    struct seg seg = {page(first), n * 4096};

    if (!q)
        return;
    mark_pages(first, n);
    if (!queue_request(vd, q, &seg, 0, 1, &len))
        return;
    emit("balloon reported");
    pci_emit_bdf(vd->bdf);
    emit(" n=%u zeroed=%u kept=%u\n", n, count_pages(first, n, 0), count_pages(first, n, MARK));
}

static bool hint_command(struct vdev *vd, struct queue *q, u32 command)
{
    struct seg seg = {vd->data + COMMAND, 4};
    u32 len;

    memcpy(vd->data + COMMAND, &command, 4);
    return queue_request(vd, q, &seg, 1, 0, &len);
}

/* A round: the id that the device's configuration has, blocks, the stop. */
static void verb_hint(struct vdev *vd, const char *args)
{
    struct queue *q = queue_with(vd, F_HINT);
    u32 first = (u32)word_number(args, "first", 0), n = (u32)word_number(args, "n", 16), len;
    u32 round = virtio_get32(vd, vd->config, CONFIG_HINT_ID);
    struct seg seg = {page(first), n * 4096};
    bool ok;

    if (!q)
        return;
    ok = hint_command(vd, q, round) && queue_request(vd, q, &seg, 0, 1, &len) &&
         hint_command(vd, q, 0);
    emit("balloon hinted");
    pci_emit_bdf(vd->bdf);
    emit(" round=%u n=%u status=%s\n", round, n, ok ? "ok" : "bad");
}

const struct verb balloon_verbs[] = {
    {"inflate", verb_inflate}, {"deflate", verb_deflate}, {"stats", verb_stats},
    {"answer", verb_answer},   {"report", verb_report},   {"hint", verb_hint},
    {NULL, NULL},
};

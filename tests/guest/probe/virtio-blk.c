/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Verbs of a virtio disk (virtio 1.2, 5.2): each type of request, many at a time, all queues.
 *
 * A sector's bytes follow from a seed, its number and the place, 32 bits at a time, so that the other
 * side can compute them; on an emulating host a byte at a time would be four times the work.
 */
#include "virtio.h"

#define PATIENCE_US 20000000u

enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
enum { SECTOR = 512, MOST = 16, HEADERS = 0, DATA = 0x2000, SLOT = 0x2000, MOST_DEPTH = 32 };

struct blk_header {
    u32 type, reserved;
    u64 sector;
};

struct blk_range {
    u64 sector;
    u32 count, flags;
};

/* A request's own memory: header, status and MOST sectors. */
struct slot {
    struct blk_header *header;
    u8 *status, *data;
};

static struct slot slot_of(struct vdev *vd, u32 n)
{
    u8 *at = vd->data + HEADERS + 32 * n;

    return (struct slot){(struct blk_header *)at, at + 16, vd->data + DATA + SLOT * n};
}

/* ---- bytes ---- */

static u32 pattern(u32 seed, u64 sector, u32 i)
{
    return seed * 0x9e3779b1u + (u32)sector * 0x85ebca6bu + i * 0xc2b2ae35u;
}

static void fill(u8 *data, u32 seed, u64 sector, u32 n)
{
    for (u32 s = 0; s < n; s++) {
        u32 v = pattern(seed, sector + s, 0), *p = (u32 *)(data + s * SECTOR);
        for (u32 i = 0; i < SECTOR / 4; i++, v += 0xc2b2ae35u) {
            p[i] = v;
        }
    }
}

static bool matches(const u8 *data, u32 seed, u64 sector, u32 n)
{
    for (u32 s = 0; s < n; s++) {
        u32 v = pattern(seed, sector + s, 0);
        const u32 *p = (const u32 *)(data + s * SECTOR);
        for (u32 i = 0; i < SECTOR / 4; i++, v += 0xc2b2ae35u) {
            if (p[i] != v)
                return false;
        }
    }
    return true;
}

/* ---- requests ---- */

/* SIZE bytes of data in up to PIECES parts of whole dwords; the segments in SEGS, how many to *OUT and *IN. */
static void describe(struct slot *slot, u32 type, u64 sector, u32 size, u32 pieces,
                     struct seg *segs, u32 *out, u32 *in)
{
    bool reads = type == T_IN || type == T_GET_ID;
    u32 n = 0, at = 0, part = size / pieces & ~3u;

    *slot->header = (struct blk_header){type, 0, sector};
    *slot->status = 0xee;
    segs[n++] = (struct seg){slot->header, sizeof *slot->header};
    for (u32 i = 0; size && i < pieces; i++) {
        u32 len = i + 1 < pieces ? part : size - at;
        segs[n++] = (struct seg){slot->data + at, len};
        at += len;
    }
    *out = reads ? 1 : n;
    segs[n++] = (struct seg){slot->status, 1};
    *in = n - *out;
}

static int start(struct vdev *vd, struct queue *q, u32 slot_number, u32 type, u64 sector, u32 size)
{
    struct slot slot = slot_of(vd, slot_number);
    struct seg segs[MAX_CHAIN];
    u32 out, in;

    describe(&slot, type, sector, size, 1, segs, &out, &in);
    return queue_add(vd, q, segs, out, in);
}

static struct queue *queue_of(struct vdev *vd, const char *args)
{
    u32 n = (u32)word_number(args, "queue", 0);

    return &vd->queue[n < vd->queues ? n : 0];
}

/* One request by slot 0; false when it did not end. */
static bool request(struct vdev *vd, const char *args, u32 type, u64 sector, u32 size, u32 *len)
{
    struct slot slot = slot_of(vd, 0);
    struct seg segs[MAX_CHAIN];
    u32 out, in, pieces = (u32)word_number(args, "pieces", 1);

    if (pieces < 1 || pieces > MAX_CHAIN - 2)
        pieces = 1;
    describe(&slot, type, sector, size, pieces, segs, &out, &in);
    return queue_request(vd, queue_of(vd, args), segs, out, in, len);
}

static void begin(struct vdev *vd, const char *what, u32 len)
{
    emit("blk %s", what);
    pci_emit_bdf(vd->bdf);
    emit(" result=%u len=%u", *slot_of(vd, 0).status, len);
}

static u32 sectors(const char *args)
{
    u64 n = word_number(args, "n", 1);

    return n > MOST ? MOST : (u32)n;
}

static void verb_read(struct vdev *vd, const char *args)
{
    u64 sector = word_number(args, "sector", 0);
    u32 n = sectors(args), len;
    u8 *data = slot_of(vd, 0).data;

    memset(data, 0xa5, n * SECTOR);
    if (!request(vd, args, T_IN, sector, n * SECTOR, &len))
        return;
    begin(vd, "read", len);
    if (word_value(args, "seed"))
        emit(" data=%s",
             matches(data, (u32)word_number(args, "seed", 0), sector, n) ? "same" : "other");
    emit(" head=");
    emit_hex(data, 16);
    emit("\n");
}

static void verb_write(struct vdev *vd, const char *args)
{
    u64 sector = word_number(args, "sector", 0);
    u32 n = sectors(args), len;

    fill(slot_of(vd, 0).data, (u32)word_number(args, "seed", 0), sector, n);
    if (!request(vd, args, T_OUT, sector, n * SECTOR, &len))
        return;
    begin(vd, "write", len);
    emit("\n");
}

static void verb_flush(struct vdev *vd, const char *args)
{
    u32 len;

    if (!request(vd, args, T_FLUSH, 0, 0, &len))
        return;
    begin(vd, "flush", len);
    emit("\n");
}

static void verb_id(struct vdev *vd, const char *args)
{
    u32 len;
    u8 *data = slot_of(vd, 0).data;

    memset(data, 0, 24);
    if (!request(vd, args, T_GET_ID, 0, 20, &len))
        return;
    begin(vd, "id", len);
    emit(" text=");
    emit_quoted((const char *)data, 20);
    emit("\n");
}

/* Discarding and writing zeroes: ranges of 16 bytes; n sectors each, `ranges` of them one behind the other. */
static void ranges(struct vdev *vd, const char *args, const char *name, u32 type)
{
    struct blk_range *range = (struct blk_range *)slot_of(vd, 0).data;
    u32 count = (u32)word_number(args, "ranges", 1), len;
    u32 n = (u32)word_number(args, "n", 1), flags = options_has_word(args, "unmap");

    count = count > 64 ? 64 : count;
    for (u32 i = 0; i < count; i++) {
        range[i] = (struct blk_range){word_number(args, "sector", 0) + (u64)i * n, n, flags};
    }
    if (!request(vd, args, type, 0, count * 16, &len))
        return;
    begin(vd, name, len);
    emit("\n");
}

static void verb_discard(struct vdev *vd, const char *args)
{
    ranges(vd, args, "discard", T_DISCARD);
}

static void verb_zeroes(struct vdev *vd, const char *args)
{
    ranges(vd, args, "zeroes", T_WRITE_ZEROES);
}

/* A request of a type of the test's choice. */
static void verb_raw(struct vdev *vd, const char *args)
{
    u32 len;

    if (!request(vd, args, (u32)word_number(args, "type", 99), word_number(args, "sector", 0),
                 (u32)word_number(args, "size", 0) % (SLOT + 1), &len))
        return;
    begin(vd, "raw", len);
    emit("\n");
}

/* ---- many ---- */

/* Requests I of a run by a queue: sector FIRST + I, in slot I % DEPTH. */
struct run {
    struct vdev *vd;
    struct queue *q;
    u64 first;
    u32 seed, count, depth, type;
    u32 added, ended, bad;
    u16 owner[MAX_RING]; /* buffer id: request */
};

static bool add_next(struct run *run)
{
    u32 slot = run->added % run->depth;
    u64 sector = run->first + run->added;
    int id;

    if (run->type == T_OUT)
        fill(slot_of(run->vd, slot).data, run->seed, sector, 1);
    id = start(run->vd, run->q, slot, run->type, sector, SECTOR);
    if (id < 0)
        return false;
    run->owner[id] = (u16)run->added++;
    return true;
}

static void end_one(struct run *run, u32 id, u32 len)
{
    u32 request_number = run->owner[id];
    struct slot slot = slot_of(run->vd, request_number % run->depth);

    run->ended++;
    if (*slot.status || len != (run->type == T_IN ? SECTOR + 1 : 1) ||
        (run->type == T_IN && !matches(slot.data, run->seed, run->first + request_number, 1)))
        run->bad++;
}

/*
 * A slot is used again only when all of its round have ended: requests end in any order. As many as
 * fit in the ring or the depth are added for one notification.
 */
static bool do_run(struct run *run)
{
    u32 id, len, before = virtio_queue_interrupts(run->vd, run->q);

    run->added = run->ended = 0;
    while (run->ended < run->count) {
        u32 room = run->depth - (run->added - run->ended);
        while (room-- && run->added < run->count && add_next(run)) {
        }
        if (run->added == run->ended)
            return false; /* the ring is too small for one */
        queue_kick(run->vd, run->q);
        for (u32 pending = run->added - run->ended; pending; pending--) {
            if (!queue_wait(run->vd, run->q, &id, &len))
                return false;
            end_one(run, id, len);
        }
    }
    /* The first one's at least, even if it was quicker than we. */
    return !virtio_interrupts(run->vd) || virtio_queue_interrupts(run->vd, run->q) != before ||
           virtio_await(run->vd, run->q, before, PATIENCE_US);
}

/* COUNT sectors written and read back, DEPTH at a time, so the ring goes round and round. */
static void verb_wrap(struct vdev *vd, const char *args)
{
    struct run run = {.vd = vd, .q = queue_of(vd, args)};
    bool ok;

    run.first = word_number(args, "sector", 0);
    run.seed = (u32)word_number(args, "seed", 1);
    run.count = (u32)word_number(args, "count", 64);
    run.depth = (u32)word_number(args, "depth", 4);
    run.depth = run.depth < 1 || run.depth > MOST_DEPTH ? 1 : run.depth;
    run.type = T_OUT;
    ok = do_run(&run);
    run.type = T_IN;
    ok = ok && do_run(&run);
    emit("blk wrap");
    pci_emit_bdf(vd->bdf);
    emit(" count=%u bad_requests=%u status=%s\n", run.ended, run.bad, ok ? "ok" : "timeout");
}

/* Each queue writes a sector, the next one reads it. */
static void verb_each(struct vdev *vd, const char *args)
{
    struct run run = {.vd = vd, .count = 1, .depth = 1};
    bool ok = true;
    u32 done = 0;

    run.seed = (u32)word_number(args, "seed", 1);
    for (u32 i = 0; ok && i < vd->queues; i++) {
        run.first = word_number(args, "sector", 0) + i;
        run.q = &vd->queue[i];
        run.type = T_OUT;
        ok = do_run(&run);
        run.q = &vd->queue[(i + 1) % vd->queues];
        run.type = T_IN;
        ok = ok && do_run(&run);
        done += ok;
    }
    emit("blk each");
    pci_emit_bdf(vd->bdf);
    emit(" queues=%u bad_requests=%u status=%s\n", done, run.bad, ok ? "ok" : "timeout");
}

/* Requests that nobody waits for: for a reset right behind. */
static void verb_leave(struct vdev *vd, const char *args)
{
    struct queue *q = queue_of(vd, args);
    u32 n = (u32)word_number(args, "n", 4), added = 0;

    for (; added < n && added < MOST_DEPTH &&
           start(vd, q, added, T_IN, word_number(args, "sector", 0), SECTOR) >= 0;) {
        added++;
    }
    if (!options_has_word(args, "silent"))
        queue_kick(vd, q);
    emit("blk left");
    pci_emit_bdf(vd->bdf);
    emit(" n=%u\n", added);
}

/* Waits for what was left. */
static void verb_reap(struct vdev *vd, const char *args)
{
    u32 n = (u32)word_number(args, "n", 1), done = 0, id, len;

    while (done < n && queue_wait(vd, queue_of(vd, args), &id, &len)) {
        done++;
    }
    emit("blk reaped");
    pci_emit_bdf(vd->bdf);
    emit(" n=%u status=%s\n", done, done == n ? "ok" : "timeout");
}

const struct verb blk_verbs[] = {
    {"read", verb_read},       {"write", verb_write},   {"flush", verb_flush}, {"id", verb_id},
    {"discard", verb_discard}, {"zeroes", verb_zeroes}, {"raw", verb_raw},     {"wrap", verb_wrap},
    {"each", verb_each},       {"leave", verb_leave},   {"reap", verb_reap},   {NULL, NULL},
};

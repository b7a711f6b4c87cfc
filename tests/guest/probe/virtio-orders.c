/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `virtio BDF VERB WORDS`: README.md has the verbs. A device must be opened before its own verbs;
 * `open` begins again from a reset each time.
 */
#include "virtio.h"

static const char *const mode_names[] = {
    [MODE_POLL] = "poll", [MODE_MSIX] = "msix", [MODE_INTX] = "intx", [MODE_QUIET] = "quiet"};

/* ---- words ---- */

/* The place of C in the N bytes from P on, or behind them. By one instruction: an order asks often. */
static const char *skip_to(const char *p, char c, size_t n)
{
    bool found = false;

    if (n)
        __asm__ volatile("repne scasb" : "+D"(p), "+c"(n), "=@ccz"(found) : "a"(c) : "memory");
    return found ? p - 1 : p;
}

const char *word_value(const char *args, const char *name)
{
    const char *end = skip_to(args, 0, 1024);

    for (const char *p = args; p < end; p = skip_to(p, ' ', (size_t)(end - p)) + 1) {
        const char *v = str_after(p, name);
        if (v && *v == '=')
            return v + 1;
    }
    return NULL;
}

u64 word_number(const char *args, const char *name, u64 otherwise)
{
    const char *v = word_value(args, name);

    return v ? str_number(v, NULL) : otherwise;
}

static u32 nibble(char c)
{
    return c <= '9' ? (u32)c - '0' : ((u32)c | 0x20) - 'a' + 10;
}

u32 parse_hex(const char *text, u8 *to, u32 max)
{
    u32 n = 0;

    for (; n < max && text[0] > ' ' && text[1] > ' '; text += 2) {
        to[n++] = (u8)(nibble(text[0]) << 4 | nibble(text[1]));
    }
    return n;
}

static void begin(const struct vdev *vd, const char *what)
{
    emit("virtio %s", what);
    pci_emit_bdf(vd->bdf);
}

/* ---- verbs of all devices ---- */

static enum mode parse_mode(const char *args)
{
    const char *v = word_value(args, "mode");

    for (u32 i = 0; v && i < ARRAY_SIZE(mode_names); i++) {
        const char *rest = str_after(v, mode_names[i]);
        if (rest && (!*rest || *rest == ' '))
            return (enum mode)i;
    }
    return MODE_POLL;
}

static struct opening parse_opening(const char *args)
{
    return (struct opening){
        .without = word_number(args, "without", 0),
        .only = word_number(args, "only", ~0ull),
        .mode = parse_mode(args),
        .indirect = options_has_word(args, "indirect"),
        .queues = (u32)word_number(args, "queues", 0),
        .size = (u32)word_number(args, "size", 16),
        .step = (u32)word_number(args, "step", STEP_COUNT),
    };
}

static void print_config(struct vdev *vd)
{
    u8 bytes[64];
    u32 n = vd->config ? vd->config_size : 0;

    for (u32 i = 0; i < n && i < sizeof bytes; i++) {
        bytes[i] = virtio_get8(vd, vd->config, i);
    }
    emit(" generation=%u data=", virtio_get8(vd, vd->common, C_GENERATION));
    emit_hex(bytes, n < sizeof bytes ? n : sizeof bytes);
}

/* What `await` compares with. */
static void remember(struct vdev *vd)
{
    vd->config_interrupts = virtio_config_interrupts(vd);
    vd->generation = virtio_get8(vd, vd->common, C_GENERATION);
}

static void verb_open(struct vdev *vd, const char *args)
{
    struct opening how = parse_opening(args);
    bool ok = virtio_registers(vd) && virtio_open(vd, &how);

    remember(vd);
    begin(vd, "open");
    if (options_has_word(args, "brief")) {
        emit(" features=%#llx device=%#x opened=%u\n", vd->features, virtio_status(vd), ok);
        return;
    }
    emit(" id=%u offered=%#llx features=%#llx device=%#x queues=%u of=%u size=%u vectors=%u mode=%s",
         vd->id, vd->offered, vd->features, virtio_status(vd), vd->queues, virtio_queue_count(vd),
         vd->queues ? vd->queue[0].size : 0, vd->msix_count, mode_names[vd->mode]);
    print_config(vd);
    emit(" opened=%u\n", ok);
}

static void verb_reset(struct vdev *vd, const char *args)
{
    bool ok = virtio_reset(vd);

    (void)args;
    begin(vd, "reset");
    emit(" device=%#x status=%s\n", virtio_status(vd), ok ? "ok" : "bad");
}

static void verb_config(struct vdev *vd, const char *args)
{
    (void)args;
    begin(vd, "config");
    print_config(vd);
    emit("\n");
    remember(vd);
}

/* A change since the last time that the configuration was printed, by its interrupt if there are any. */
static void verb_await(struct vdev *vd, const char *args)
{
    u32 us = (u32)word_number(args, "us", 20000000);
    struct deadline d;
    bool come = false;

    if (virtio_interrupts(vd)) {
        come = virtio_await(vd, NULL, vd->config_interrupts, us);
    } else {
        for (deadline_start(&d, us); !come && !deadline_passed(&d);) {
            come = virtio_get8(vd, vd->common, C_GENERATION) != vd->generation;
        }
    }
    begin(vd, "changed");
    print_config(vd);
    emit(" interrupts=%u status=%s\n", virtio_config_interrupts(vd) - vd->config_interrupts,
         come ? "ok" : "timeout");
    remember(vd);
}

static void verb_write_config(struct vdev *vd, const char *args)
{
    const char *hex = word_value(args, "data");
    u32 off = (u32)word_number(args, "off", 0);
    u8 bytes[16];
    u32 n = hex ? parse_hex(hex, bytes, sizeof bytes) : 0;

    if (n == 4 && off % 4 == 0)
        virtio_set32(vd, vd->config, off, get32(bytes));
    for (u32 i = 0; i < n && n != 4; i++) {
        virtio_set8(vd, vd->config, off + i, bytes[i]);
    }
    verb_config(vd, args);
}

static bool clean(struct vdev *vd)
{
    if (virtio_status(vd))
        return false;
    for (u32 i = 0; i < virtio_queue_count(vd) && i < 4; i++) {
        virtio_set16(vd, vd->common, C_QUEUE_SELECT, (u16)i);
        if (virtio_get16(vd, vd->common, C_QUEUE_ENABLE) ||
            virtio_get32(vd, vd->common, C_QUEUE_DESC))
            return false;
    }
    return true;
}

/* A reset behind each step of an opening. */
static void verb_steps(struct vdev *vd, const char *args)
{
    struct opening how = parse_opening(args);
    u32 opened = 0, reset = 0;

    for (how.step = STEP_RESET; how.step < STEP_COUNT; how.step++) {
        opened += virtio_open(vd, &how);
        reset += virtio_reset(vd) && clean(vd);
    }
    begin(vd, "steps");
    emit(" steps=%u opened=%u reset=%u status=%s\n", STEP_COUNT, opened, reset,
         opened == STEP_COUNT && reset == STEP_COUNT ? "ok" : "bad");
}

static void verb_queue_reset(struct vdev *vd, const char *args)
{
    u32 index = (u32)word_number(args, "queue", 0);
    bool ok = index < vd->queues && virtio_has(vd, F_RING_RESET) &&
              virtio_queue_reset(vd, index, !options_has_word(args, "stay"));

    begin(vd, "queue-reset");
    emit(" queue=%u device=%#x status=%s\n", index, virtio_status(vd), ok ? "ok" : "bad");
}

static void verb_queues(struct vdev *vd, const char *args)
{
    (void)args;
    for (u32 i = 0; i < vd->queues; i++) {
        const struct queue *q = &vd->queue[i];
        begin(vd, "queue");
        emit(" queue=%u size=%u kicks=%u quiet_kicks=%u interrupts=%u free=%u avail=%u used=%u\n", i,
             q->size, q->kicks, q->quiet_kicks, virtio_queue_interrupts(vd, q) - q->interrupts,
             q->free, q->avail, q->used);
    }
}

static void verb_status(struct vdev *vd, const char *args)
{
    (void)args;
    begin(vd, "status");
    emit(" device=%#x isr=%#x\n", virtio_status(vd), virtio_get8(vd, vd->isr, 0));
}

/* An entry masked (or not: on=0), and whether a message waits there. */
static void verb_mask(struct vdev *vd, const char *args)
{
    u32 n = (u32)word_number(args, "entry", 1);
    bool pending = virtio_pending(vd, n), on = word_number(args, "on", 1);

    virtio_mask(vd, n, on);
    begin(vd, "mask");
    emit(" entry=%u on=%u pending=%u\n", n, on, pending);
}

static const struct verb common_verbs[] = {
    {"open", verb_open},
    {"reset", verb_reset},
    {"config", verb_config},
    {"await", verb_await},
    {"write-config", verb_write_config},
    {"steps", verb_steps},
    {"queue-reset", verb_queue_reset},
    {"queues", verb_queues},
    {"status", verb_status},
    {"mask", verb_mask},
    {NULL, NULL},
};

/* ---- which one ---- */

static const struct verb *verbs_of(const struct vdev *vd)
{
    switch (vd->id) {
    case ID_NET:
        return net_verbs;
    case ID_BLOCK:
        return blk_verbs;
    case ID_CONSOLE:
        return serial_verbs;
    case ID_ENTROPY:
        return rng_verbs;
    case ID_BALLOON:
        return balloon_verbs;
    default:
        return &common_verbs[ARRAY_SIZE(common_verbs) - 1];
    }
}

static bool obey_from(const struct verb *verbs, struct vdev *vd, const char *line)
{
    for (; verbs->name; verbs++) {
        const char *rest = str_after(line, verbs->name);
        if (!rest || (*rest && *rest != ' '))
            continue;
        while (*rest == ' ') {
            rest++;
        }
        verbs->fn(vd, rest);
        return true;
    }
    return false;
}

static void complain(const char *what, const char *line)
{
    emit("error %s=", what);
    emit_quoted(line, 100);
    emit("\n");
}

static void virtio_order(const char *args)
{
    const char *rest = args;
    int bdf = pci_parse_bdf(&rest);
    struct vdev *vd = bdf < 0 ? NULL : virtio_find((u16)bdf);

    if (!vd)
        complain("no_device", args);
    else if (obey_from(common_verbs, vd, rest))
        return;
    else if (!vd->queues)
        complain("not_open", args);
    else if (!obey_from(verbs_of(vd), vd, rest))
        complain("unknown_verb", args);
}

bool virtio_obey(const char *line)
{
    const char *rest;

    if ((rest = str_after(line, "virtio ")))
        virtio_order(rest);
    else if ((rest = str_after(line, "pci-setup")))
        pci_setup_order(rest);
    else
        return false;
    return true;
}

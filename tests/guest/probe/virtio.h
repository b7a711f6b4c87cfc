/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Virtio drivers that are told what to do line by line (virtio 1.2). Long mode only.
 *
 *   virtio.c         status, features, registers, interrupts      (sections 2, 3, 4.1)
 *   virtio-queue.c   split and packed rings                       (2.7, 2.8)
 *   virtio-orders.c  the order `virtio BDF VERB WORDS`, and the verbs that all devices have
 *   virtio-NAME.c    the verbs of one device                      (5.x)
 *
 * An order is obeyed as a whole, with interrupts off but where it waits for one.
 */
#ifndef PROBE_VIRTIO_H
#define PROBE_VIRTIO_H

#include "pci.h"

enum {
    F_INDIRECT = 28,
    F_EVENT_IDX = 29,
    F_VERSION_1 = 32,
    F_PACKED = 34,
    F_RING_RESET = 40,
};
enum { S_ACKNOWLEDGE = 1, S_DRIVER = 2, S_DRIVER_OK = 4, S_FEATURES_OK = 8, S_NEEDS_RESET = 64 };

/* struct virtio_pci_common_cfg, 4.1.4.3. */
enum {
    C_DEVICE_SELECT = 0x00,
    C_DEVICE_FEATURES = 0x04,
    C_DRIVER_SELECT = 0x08,
    C_DRIVER_FEATURES = 0x0c,
    C_CONFIG_VECTOR = 0x10,
    C_NUM_QUEUES = 0x12,
    C_STATUS = 0x14,
    C_GENERATION = 0x15,
    C_QUEUE_SELECT = 0x16,
    C_QUEUE_SIZE = 0x18,
    C_QUEUE_VECTOR = 0x1a,
    C_QUEUE_ENABLE = 0x1c,
    C_QUEUE_NOTIFY_OFF = 0x1e,
    C_QUEUE_DESC = 0x20,
    C_QUEUE_DRIVER = 0x28,
    C_QUEUE_DEVICE = 0x30,
    C_QUEUE_RESET = 0x3a,
};

enum { ID_NET = 1, ID_BLOCK = 2, ID_CONSOLE = 3, ID_ENTROPY = 4, ID_BALLOON = 5 };

#define MAX_QUEUES 130
#define MAX_RING 256u
#define MAX_CHAIN 8u
#define NO_VECTOR 0xffff
#define DATA_SIZE 0x80000u /* a device's buffers */

/* How the driver learns that buffers were used. */
enum mode {
    MODE_POLL, /* no interrupt is set up at all */
    MODE_MSIX,
    MODE_INTX,
    MODE_QUIET, /* MSI-X, and the rings ask for none: none may come */
};

struct seg {
    void *addr;
    u32 len;
};

struct queue {
    u16 index, size, vector;
    bool used_wrap, avail_wrap, broken;
    u16 avail, used; /* split: free running; packed: places in the ring */
    u16 free;        /* descriptors */
    u16 next_free;   /* split: the first; packed: the first free buffer id */
    u16 told;        /* split: AVAIL at the last notification */
    u32 since_told;  /* descriptors since then */
    u32 kicks, quiet_kicks;
    u32 interrupts; /* of its vector, before it was opened */
    u64 notify; /* address */
    u8 *desc, *driver, *device, *indirect;
    u16 link[MAX_RING];  /* split: next free; packed: next free id */
    u16 count[MAX_RING]; /* descriptors of a buffer id */
    u16 owner[MAX_RING]; /* what the driver knows a buffer id by */
};

struct vdev {
    u16 bdf, id;
    bool present, indirect; /* indirect: every chain goes by a table */
    enum mode mode;
    u64 common, notify, isr, config, msix;
    u32 notify_multiplier, config_size, msix_count;
    u64 offered, features;
    u32 queues; /* set up */
    u32 config_interrupts; /* both as when the configuration was last printed */
    u8 generation;
    u8 *arena, *arena_end, *data;
    struct queue *queue; /* QUEUES of them */
    /* ---- of one kind of device ---- */
    u32 sent, received; /* serial, net: buffers given by now */
};

/* ---- virtio.c ---- */

/* What `open` is told. */
struct opening {
    u64 without; /* features not to take */
    u64 only;    /* of those offered */
    enum mode mode;
    bool indirect;
    u32 queues, size; /* 0: all there are; at most 16 descriptors each */
    u32 step;         /* stop behind this one */
};

/* The steps of an opening, for resets in between. */
enum step {
    STEP_RESET,
    STEP_ACKNOWLEDGE,
    STEP_DRIVER,
    STEP_FEATURES,
    STEP_FEATURES_OK,
    STEP_VECTORS,
    STEP_QUEUE_WRITTEN,
    STEP_QUEUE_ENABLED,
    STEP_ALL_QUEUES,
    STEP_DRIVER_OK,
    STEP_COUNT,
};

/* The device at an address, its registers found; NULL where there is none, or no room for one more. */
struct vdev *virtio_find(u16 bdf);
/* Finds the registers of a device again, whose BAR may have moved; false: it has none. */
bool virtio_registers(struct vdev *vd);
/* Whether it got to the step that was asked for. */
bool virtio_open(struct vdev *vd, const struct opening *how);
/* Writes 0 and waits until it reads so. */
bool virtio_reset(struct vdev *vd);
u8 virtio_status(struct vdev *vd);
bool virtio_has(const struct vdev *vd, u32 bit);
u64 virtio_offered(struct vdev *vd);
u32 virtio_queue_count(struct vdev *vd);
/* Resets queue INDEX and, when that is done, sets it up again (2.6.1). */
bool virtio_queue_reset(struct vdev *vd, u32 index, bool enable);
bool virtio_interrupts(const struct vdev *vd);
/* Interrupts so far: of the vector, or with INTx those with the ISR's bit for queues. */
u32 virtio_queue_interrupts(struct vdev *vd, const struct queue *q);
u32 virtio_config_interrupts(struct vdev *vd);
/* Waits with interrupts on until *COUNTER's reader says other than BEFORE. */
bool virtio_await(struct vdev *vd, const struct queue *q, u32 before, u32 us);
/* Masks (ON) or opens MSI-X entry N; the pending bit. */
void virtio_mask(struct vdev *vd, u32 n, bool on);
bool virtio_pending(struct vdev *vd, u32 n);

u8 virtio_get8(struct vdev *vd, u64 base, u32 off);
u16 virtio_get16(struct vdev *vd, u64 base, u32 off);
u32 virtio_get32(struct vdev *vd, u64 base, u32 off);
void virtio_set8(struct vdev *vd, u64 base, u32 off, u8 v);
void virtio_set16(struct vdev *vd, u64 base, u32 off, u16 v);
void virtio_set32(struct vdev *vd, u64 base, u32 off, u32 v);
void virtio_set64(struct vdev *vd, u64 base, u32 off, u64 v);
/* From the device's arena, zeroed; NULL when it is used up. */
void *virtio_alloc(struct vdev *vd, u32 size, u32 align);

/* ---- virtio-queue.c ---- */

bool queue_alloc(struct vdev *vd, struct queue *q);
/* Rings as new; their memory stays. */
void queue_init(struct vdev *vd, struct queue *q);
/* N_OUT segments that the device reads, then N_IN that it writes. The buffer's id, or -1: no room. */
int queue_add(struct vdev *vd, struct queue *q, const struct seg *segs, u32 n_out, u32 n_in);
/* Tells the device, if it wants to be told. */
void queue_kick(struct vdev *vd, struct queue *q);
/* A used buffer, if there is one. */
bool queue_pop(struct vdev *vd, struct queue *q, u32 *id, u32 *len);
/* Waits for one. */
bool queue_wait(struct vdev *vd, struct queue *q, u32 *id, u32 *len);
/*
 * Adds, tells, waits, and where interrupts are expected waits for that too; false when the buffer or
 * the interrupt did not come (said on a line of its own).
 */
bool queue_request(struct vdev *vd, struct queue *q, const struct seg *segs, u32 n_out, u32 n_in,
                   u32 *len);

/* ---- virtio-orders.c ---- */

/* Obeys `virtio ...` and `pci-setup ...`; false: it is another line. */
bool virtio_obey(const char *line);
/* A word NAME=VALUE of ARGS: the text behind `=`, or NULL. */
const char *word_value(const char *args, const char *name);
u64 word_number(const char *args, const char *name, u64 otherwise);
/* Hex digits of TEXT up to a blank, as bytes; how many. */
u32 parse_hex(const char *text, u8 *to, u32 max);

struct verb {
    const char *name;
    void (*fn)(struct vdev *vd, const char *args);
};

extern const struct verb blk_verbs[], net_verbs[], rng_verbs[], serial_verbs[], balloon_verbs[];

#endif

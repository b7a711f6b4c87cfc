/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtio.h - the contract between a virtio device and its transport (virtio 1.2 sections 2, 3 and
 * 4.1.4). The device knows features, configuration space and queues; the transport knows addresses
 * and interrupts; what lies between, the registers and the status machine, is virtio.c.
 *
 * Threads. Register accesses and everything that follows from them (start, stop, queue_start ...)
 * run under the Device's lock, on vCPU threads or the main thread. The data path runs elsewhere,
 * mostly on an I/O thread, without that lock, and may call only what is marked [any]. An I/O thread's
 * callback must never take the Device's lock: stop() may wait for the callback under it.
 *
 * Life of a queue: the driver's DRIVER_OK (or queue_enable after a queue reset) checks and starts
 * the VirtQueue, then start() or queue_start() hands it over; from then on it belongs to the data
 * path until stop() or queue_stop() took it back. These return TRUE if nothing is in flight any
 * more; otherwise virtio_stopped() or virtio_queue_stopped() says so later. Until then the driver
 * reads its old status (or queue_reset 1), as sections 2.4 and 4.1.4.3.1 have it, so no thread
 * waits.
 *
 * Machine stopped. Between virtio_quiesced() and virtio_resume() nothing is popped; a device with an
 * I/O thread takes its watches away in its type's quiesce hook and puts them back in resume, a
 * device that uses virtio_watch() need not do anything. A kick is never lost: each queue is kicked
 * once when it starts and at resume.
 *
 * A device's author uses virtio-pci.h, which is the transport, and from here what is below "for the
 * device". For a transport's author:
 *   realize     virtio_init() with transport ops, then ioeventfds on virtio_kick_fd()
 *   registers   virtio_common_read/write(), virtio_isr_read(), virtio_config_read/write() and,
 *               where no ioeventfd took it, virtio_kick(); all offsets within their structures,
 *               Device lock held (virtio_kick: [any])
 *   reset       virtio_reset() in the type's reset hook, and before unrealize
 *   saving      VIRTIO_STATE_ROWS in the state table, virtio_quiesced() at the end of the type's
 *               quiesce hook, virtio_post_load() in its post_load, virtio_resume() in its resume
 */
#pragma once

#include "../core/device.h"
#include "virtqueue.h"

/* Feature bits of section 6. */
enum {
    VIRTIO_F_INDIRECT_DESC = 28,
    VIRTIO_F_EVENT_IDX = 29,
    VIRTIO_F_VERSION_1 = 32,
    VIRTIO_F_ACCESS_PLATFORM = 33,
    VIRTIO_F_RING_PACKED = 34,
    VIRTIO_F_IN_ORDER = 35,
    VIRTIO_F_ORDER_PLATFORM = 36,
    VIRTIO_F_NOTIFICATION_DATA = 38,
    VIRTIO_F_RING_RESET = 40,
};
#define VIRTIO_BIT(n) (G_GUINT64_CONSTANT(1) << (n))

/* Device types of section 5. */
enum {
    VIRTIO_ID_NET = 1,
    VIRTIO_ID_BLOCK = 2,
    VIRTIO_ID_CONSOLE = 3,
    VIRTIO_ID_ENTROPY = 4,
    VIRTIO_ID_BALLOON = 5,
    VIRTIO_ID_SCSI = 8,
};

/* Device status, section 2.1. */
enum {
    VIRTIO_ACKNOWLEDGE = 1,
    VIRTIO_DRIVER = 2,
    VIRTIO_DRIVER_OK = 4,
    VIRTIO_FEATURES_OK = 8,
    VIRTIO_NEEDS_RESET = 64,
    VIRTIO_FAILED = 128,
};

enum {
    VIRTIO_ISR_QUEUE = 1,
    VIRTIO_ISR_CONFIG = 2,
};

#define VIRTIO_NO_VECTOR 0xffff
#define VIRTIO_MAX_QUEUES 130
#define VIRTIO_MAX_CONFIG 256
#define VIRTIO_COMMON_SIZE 0x3c /* struct virtio_pci_common_cfg up to queue_reset */

typedef struct VirtioDevice VirtioDevice;

typedef struct {
    guint16     device_id; /* VIRTIO_ID_* */
    const char *name;      /* for messages */
    /* The driver's choice, already a subset of what was offered and with VERSION_1. FALSE refuses
     * it: FEATURES_OK does not stick. NULL: anything goes. */
    gboolean (*features_ok)(VirtioDevice *vd, guint64 features);
    /* All enabled queues (vq_started()) are started: watch their kick fds, which are signalled once.
     * NULL, as the next three: there is nothing to do, all queues are served by virtio_watch(). */
    void (*start)(VirtioDevice *vd);
    /* No kick is looked at any more, no chain is popped. FALSE: chains are in flight. */
    gboolean (*stop)(VirtioDevice *vd);
    /* The same for one queue, with VIRTIO_F_RING_RESET. */
    void (*queue_start)(VirtioDevice *vd, guint index);
    gboolean (*queue_stop)(VirtioDevice *vd, guint index);
    /* stop() has returned FALSE and nobody can wait: the machine is reset or the device goes. Returns
     * when nothing is in flight; main thread. Needed where stop() can return FALSE. */
    void (*drain)(VirtioDevice *vd);
    /* The function may (ON) or may not reach memory: called while queues are started, start() looks at vd->no_dma itself. When it
     * returns with it off, nothing is popped or given back any more; what the host works on already may still end in its buffers. NULL: the queues are all virtio_watch()ed. */
    void (*dma)(VirtioDevice *vd, gboolean on);
    /* The driver wrote SIZE bytes at OFFSET of the configuration; vd->config has them. NULL: it is
     * read-only. Returns FALSE to take the write back. */
    gboolean (*config_written)(VirtioDevice *vd, guint32 offset, unsigned size);
    /* The driver has reset the device, and nothing is started any more: what it had written to the configuration goes back to what a
     * new driver finds. NULL: nothing does. */
    void (*reset)(VirtioDevice *vd);
} VirtioDeviceOps;

/* Called on any thread, under any locks but the transport's own leaves: never blocks. */
typedef struct {
    /* Fires the vector of queue INDEX, vd->regs[INDEX].vector; without MSI-X INTx and its ISR bit. */
    void (*notify_queue)(gpointer transport, guint index);
    /* Fires vd->config_vector, likewise. */
    void (*notify_config)(gpointer transport);
    /* The ISR was read and is 0: lower INTx. Device lock held. */
    void (*isr_cleared)(gpointer transport);
    /* The driver chose another vector, for queue INDEX or (-1) configuration changes. Device lock
     * held. May be NULL. */
    void (*vector_changed)(gpointer transport, int index);
} VirtioTransportOps;

/* What the driver sees and sets of a queue, and where the device stands in it. Saved as bytes: a
 * fixed layout without holes. */
typedef struct {
    guint64 desc, driver, device;
    guint16 size, vector;
    guint16 avail_idx, used_idx; /* valid after virtio_quiesced() */
    guint8  avail_wrap, used_wrap;
    guint8  enabled, reserved;
    guint32 reserved2;
} VirtioQueueRegs;
G_STATIC_ASSERT(sizeof(VirtioQueueRegs) == 40);

typedef struct {
    VirtioDevice *vd;
    VirtQueue    *vq;
    int           kick_fd;   /* eventfd, non-blocking */
    guint16       max_size;
    gboolean      resetting; /* queue_reset was written, queue_stop() has not finished */
    GSource      *watch;     /* while the queue is started, if it has the callback of virtio_watch(); lock */
    void        (*watch_cb)(VirtioDevice *vd, guint index);
} VirtioQueue;

struct VirtioDevice {
    Device                   *dev;
    const VirtioDeviceOps    *ops;
    const VirtioTransportOps *transport_ops;
    gpointer                  transport;
    guint64                   offered;
    guint                     n_queues, n_vectors, config_size;
    gboolean                  live;      /* between start() and the end of stop() */
    gboolean                  resetting; /* status 0 was written, stop() has not finished */
    gboolean                  resume;    /* loaded, to be started by virtio_resume() */
    gboolean                  quiesced;
    gboolean                  no_dma;    /* virtio_dma_set() */
    /* ---- why it needs a reset, until the main thread has told, under broken_lock ---- */
    GMutex                    broken_lock;
    gboolean                  broken_posted;
    char                      broken_reason[192];
    /* ---- state; see VIRTIO_STATE_ROWS ---- */
    guint64         driver_features;
    guint32         device_feature_select, driver_feature_select;
    guint16         config_vector, queue_select;
    guint8          status;            /* atomic */
    guint8          isr;               /* atomic */
    guint8          config_generation; /* atomic */
    guint8          config[VIRTIO_MAX_CONFIG];
    StateBuf        regs_buf;          /* REGS as bytes */
    /* ---- N_QUEUES of each ---- */
    VirtioQueueRegs *regs;
    VirtioQueue     *queues;
};

#define VIRTIO_ROW_(Type, field_, name_, KIND, since_)                                             \
    { .name = "virtio-" name_, .kind = STATE_##KIND, .offset = G_STRUCT_OFFSET(Type, field_),      \
      .size = sizeof(((Type *)0)->field_), .since = since_ }
/* State rows of the VirtioDevice FIELD within Type. */
#define VIRTIO_STATE_ROWS(Type, field, since_)                                                     \
    VIRTIO_ROW_(Type, field.driver_features, "features", U64, since_),                             \
    VIRTIO_ROW_(Type, field.device_feature_select, "device-feature-select", U32, since_),          \
    VIRTIO_ROW_(Type, field.driver_feature_select, "driver-feature-select", U32, since_),          \
    VIRTIO_ROW_(Type, field.config_vector, "config-vector", U16, since_),                          \
    VIRTIO_ROW_(Type, field.queue_select, "queue-select", U16, since_),                            \
    VIRTIO_ROW_(Type, field.status, "status", U8, since_),                                         \
    VIRTIO_ROW_(Type, field.isr, "isr", U8, since_),                                               \
    VIRTIO_ROW_(Type, field.config_generation, "config-generation", U8, since_),                   \
    VIRTIO_ROW_(Type, field.config, "config", BYTES, since_),                                      \
    VIRTIO_ROW_(Type, field.regs_buf, "queues", BUF, since_)

/* ---- for the transport ---- */

/* In realize, [main]. Rings and kick fds are made; OFFERED are the device's feature bits with the
 * ring's (INDIRECT_DESC ...), from its property rows; VERSION_1 is added. MAX_SIZES has N_QUEUES
 * queue sizes; N_VECTORS is the size of the MSI-X table, 0 without. */
gboolean virtio_init(VirtioDevice *vd, Device *dev, const VirtioDeviceOps *ops, guint64 offered,
                     guint n_queues, const guint16 *max_sizes, guint config_size,
                     const VirtioTransportOps *transport_ops, gpointer transport, guint n_vectors,
                     GError **error);
/* In unrealize; stopped. Also after a failed init, or none. */
void     virtio_exit(VirtioDevice *vd);
int      virtio_kick_fd(const VirtioDevice *vd, guint index);

/* Natural widths; a 64-bit field also as two halves. Anything else reads as the bytes there are and
 * is not written. */
guint64  virtio_common_read(VirtioDevice *vd, guint32 offset, unsigned size);
void     virtio_common_write(VirtioDevice *vd, guint32 offset, guint64 value, unsigned size);
guint8   virtio_isr_read(VirtioDevice *vd);
guint64  virtio_config_read(VirtioDevice *vd, guint32 offset, unsigned size);
void     virtio_config_write(VirtioDevice *vd, guint32 offset, guint64 value, unsigned size);

/* A reset from outside the guest: of the machine or function, or before the end. It is done when
 * this returns. */
void     virtio_reset(VirtioDevice *vd);
void     virtio_quiesced(VirtioDevice *vd);
/* Whether the function may reach memory, which is so until this says otherwise: queues are not served meanwhile, and kicks
 * are not lost. Device lock held. */
void     virtio_dma_set(VirtioDevice *vd, gboolean on);
gboolean virtio_post_load(VirtioDevice *vd, GError **error);
void     virtio_resume(VirtioDevice *vd);

/* ---- for the device ---- */

static inline gboolean virtio_has(const VirtioDevice *vd, guint bit)
{
    return (vd->driver_features & VIRTIO_BIT(bit)) != 0;
}

/* Signals the kick fd of queue INDEX: as if the driver had (section 4.1.5.2). [any] */
void     virtio_kick(VirtioDevice *vd, guint index);
/* For queues served on the main thread, in realize: CB runs there with the Device's lock held after
 * each kick, while the queue is started and the machine runs. It has to leave the queue with kicks
 * on, and must come to an end: where the driver goes on adding chains, virtio_kick() and return. */
void     virtio_watch(VirtioDevice *vd, guint index, void (*cb)(VirtioDevice *vd, guint index));
/* Whether queue INDEX may be served now: for timers and host events. Lock held. */
gboolean virtio_queue_ready(const VirtioDevice *vd, guint index);
/* stop() or queue_stop() returned FALSE and the last chain is back. Device lock held: post it to
 * the main thread. Ignored if nobody waits for it (any more). */
void     virtio_stopped(VirtioDevice *vd);
void     virtio_queue_stopped(VirtioDevice *vd, guint index);
/* Used buffers are there: an interrupt, if the driver wants one (vq_should_notify() said so). [any] */
void     virtio_notify_queue(VirtioDevice *vd, guint index);
/* Changes configuration space; once the driver runs, with an interrupt. Device lock held. */
void     virtio_config_set(VirtioDevice *vd, guint32 offset, const void *bytes, gsize len);
/* The device can not go on until the driver resets it. [any] */
void     virtio_needs_reset(VirtioDevice *vd, const char *reason);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtio-blk-priv.h - private to the virtio disk.
 *
 *   virtio-blk.c     properties, configuration space, life cycle       (main thread, vCPU threads)
 *   virtio-blk-io.c  requests                                          (I/O thread)
 */
#pragma once

#include "../backend/block.h"
#include "virtio-blk.h"
#include "virtio-pci.h"

/* Feature bits, section 5.2.3. */
enum {
    BLK_F_SEG_MAX = 2,
    BLK_F_RO = 5,
    BLK_F_BLK_SIZE = 6,
    BLK_F_FLUSH = 9,
    BLK_F_TOPOLOGY = 10,
    BLK_F_CONFIG_WCE = 11,
    BLK_F_MQ = 12,
    BLK_F_DISCARD = 13,
    BLK_F_WRITE_ZEROES = 14,
};

/* Configuration space, section 5.2.4. */
enum {
    BLK_CAPACITY = 0,
    BLK_SEG_MAX = 12,
    BLK_BLK_SIZE = 20,
    BLK_PHYSICAL_EXP = 24,
    BLK_MIN_IO = 26,
    BLK_OPT_IO = 28,
    BLK_WRITEBACK = 32,
    BLK_NUM_QUEUES = 34,
    BLK_MAX_DISCARD = 36,
    BLK_MAX_DISCARD_SEG = 40,
    BLK_DISCARD_ALIGN = 44,
    BLK_MAX_ZEROES = 48,
    BLK_MAX_ZEROES_SEG = 52,
    BLK_ZEROES_UNMAP = 56,
    BLK_CONFIG_SIZE = 60,
};

#define BLK_MAX_QUEUES 128
#define BLK_IN_FLIGHT 256 /* requests of one disk at a time */

typedef struct VirtioBlk VirtioBlk;
typedef struct BlkReq BlkReq;

typedef struct {
    VirtioBlk *blk;
    guint      index;
    IoWatch   *watch;    /* NULL: nobody looks at kicks; Device lock */
    gint       users;    /* atomic: chains in flight, and who is popping */
    gint       stopping; /* atomic: nothing is popped any more */
    gboolean   starved;  /* I/O thread: chains wait until requests are free */
} BlkQueue;

struct VirtioBlk {
    VirtioPci   virtio;
    Device     *node, *iothread; /* iothread NULL: OWN */
    IoThread   *thread, *own;
    BlockQueue *io;
    BlkQueue   *queues;
    gboolean    stop_all;        /* Device lock: stop(), not queue_stop(), is waited for */
    /* ---- I/O thread ---- */
    BlkReq     *free, *ended, *parked;
    guint       n_in_flight;
    gboolean    held;                 /* no DMA: nothing is popped, what ends is parked to be done again */
    guint64     invalid[BLOCK_N_OPS]; /* read by any thread, as PARKED_ERROR */
    int         parked_error;         /* of the latest on PARKED; 0: there is none */
    GByteArray *parked_state;         /* PARKED as it is saved, while the machine is stopped: {queue u16, chain} ... */
    /* ---- the error to be told, under error_lock ---- */
    GMutex      error_lock;
    gboolean    error_posted;
    DeviceIoError error;
};

static inline const VirtioBlkPciConfig *blk_config(const VirtioBlk *blk)
{
    return DEVICE_CONFIG(blk, VirtioBlkPciConfig);
}

/* ---- virtio-blk-io.c ---- */

/* The queue was kicked. I/O thread. */
void     blk_queue_kicked(gpointer queue);
/* The hook of the block queue. I/O thread. */
void     blk_batch(gpointer blk);
/* Requests that failed and wait for the machine to go on. By iothread_call(). */
void     blk_retry_parked(gpointer blk);
/* Only those of queues that stop. */
void     blk_drop_parked(gpointer blk);
/* PARKED to parked_state, while the I/O thread has nothing to do. Main thread. */
void     blk_save_parked(VirtioBlk *blk);
/* Does what parked_state has: it was loaded, and the queues were started. By iothread_call(). */
void     blk_load_parked(gpointer blk);
/* By iothread_call(): no memory is touched any more, until blk_release(). */
void     blk_hold(gpointer blk);
void     blk_release(gpointer blk);
void     blk_requests_free(VirtioBlk *blk);
/* virtio-blk.c: main thread, posted: a queue that is stopping has no more users. */
void     blk_stopped(gpointer blk);
/* virtio-blk.c: main thread, posted: tells of blk->error. */
void     blk_tell_error(gpointer blk);

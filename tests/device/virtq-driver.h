/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtq-driver.h - a driver's side of a virtqueue for tests, written from virtio 1.2 sections 2.7 and 2.8 alone:
 * it shares nothing with devices/virtio. Rings and indirect tables lie in guest memory that the test has mapped.
 */
#pragma once

#include "../../devices/virtio/virtqueue.h"

typedef struct {
    guint64  gpa;
    guint32  len;
    gboolean write;
} DrvSeg;

typedef struct {
    guint8  *mem; /* host address of guest-physical BASE */
    guint64  base;
    VqConfig config;
    guint16  avail, used;           /* split: free-running; packed: slots */
    guint8   avail_wrap, used_wrap; /* packed */
    guint16  since_kick;            /* slots made available since drv_kick() */
    guint32  n_free;                /* descriptors */
    guint16 *free_desc;             /* split: stack of descriptors; packed: stack of ids */
    guint32  n_free_ids;            /* packed */
    guint16 *chain_len, *next;      /* by head or id; split: links of a chain as the driver knows them */
    guint32 *token;
    guint16 *order;                 /* IN_ORDER: ids in the order of drv_add(), a ring of SIZE */
    guint32  order_head, order_tail;
    guint32  batch_left;            /* IN_ORDER: chains that the last used element stands for */
    guint32  batch_len;
} Drv;

/* Lays the rings out from guest-physical AT (page aligned) within [base, ...) and zeroes them; tables for indirect
 * descriptors follow. Returns the first address behind. */
guint64  drv_init(Drv *d, guint8 *mem, guint64 base, guint64 at, guint16 size, guint32 flags);
void     drv_clear(Drv *d);
/* Makes a chain available (visible at once). FALSE: no room. */
gboolean drv_add(Drv *d, const DrvSeg *segs, guint n, gboolean indirect, guint32 token);
/* The next used chain. */
gboolean drv_take(Drv *d, guint32 *token, guint32 *len);
/* After drv_add(): whether the device wants a kick. */
gboolean drv_kick(Drv *d);
/* Wants an interrupt with the next used chain; TRUE: there is one already. */
gboolean drv_irq_on(Drv *d);
void     drv_irq_off(Drv *d);

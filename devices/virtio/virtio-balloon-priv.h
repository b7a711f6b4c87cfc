/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtio-balloon-priv.h - private to the memory balloon.
 *
 *   virtio-balloon.c        configuration space, statistics, life cycle
 *   virtio-balloon-pages.c  the queues that pages come through
 *
 * All queues are served on the main thread, with the lock held.
 */
#pragma once

#include "virtio-balloon.h"
#include "virtio-pci.h"

#define BALLOON_PAGE 4096u
#define BALLOON_MAX_SEGMENTS 1024 /* the largest queue */
#define BALLOON_MAX_PFNS 16384    /* in one chain */
#define BALLOON_STATS 16

/* Feature bits, section 5.5.3. */
enum {
    BALLOON_F_STATS_VQ = 1,
    BALLOON_F_DEFLATE_ON_OOM = 2,
    BALLOON_F_FREE_PAGE_HINT = 3,
    BALLOON_F_PAGE_POISON = 4,
    BALLOON_F_REPORTING = 5,
};

/* Configuration space, section 5.5.4. */
enum {
    BALLOON_NUM_PAGES = 0,
    BALLOON_ACTUAL = 4,
    BALLOON_HINT_ID = 8,
    BALLOON_POISON = 12,
    BALLOON_CONFIG_SIZE = 16,
};

/* Values of free_page_hint_cmd_id that are no round's. */
enum { HINT_STOP = 0, HINT_DONE = 1, HINT_FIRST = 2 };

typedef struct {
    VirtioPci    virtio;
    VmTimer     *timer;      /* next question for statistics */
    gint64       last_update; /* seconds since 1970; 0: never */
    guint64      stats[BALLOON_STATS];
    gint         told;       /* atomic: an event is posted */
    /* ---- state ---- */
    guint32      hint_round; /* the last one begun */
    gboolean     hint_live;  /* the driver has answered with its id, and not yet stopped */
    guint64      hinted;
    /* ---- */
    guint32      pfns[BALLOON_MAX_PFNS];
    struct iovec iov[BALLOON_MAX_SEGMENTS];
} VirtioBalloon;

static inline const VirtioBalloonPciConfig *balloon_config(const VirtioBalloon *b)
{
    return DEVICE_CONFIG(b, VirtioBalloonPciConfig);
}

/* virtio-balloon-pages.c: for virtio_watch(). */
void balloon_inflate(VirtioDevice *vd, guint index);
void balloon_deflate(VirtioDevice *vd, guint index);
void balloon_hint(VirtioDevice *vd, guint index);
void balloon_report(VirtioDevice *vd, guint index);

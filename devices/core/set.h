/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* set.h - private to devices/core: the inside of a DeviceSet. */
#pragma once

#include "device.h"

typedef struct {
    Device *dev;
    gboolean irq; /* FIRST is a GSI */
    IoSpace space;
    guint64 first, last;
} Claim;

typedef struct {
    Device *user, *used;
} Link;

typedef struct {
    Device *dev;
    guint32 index;
    char   *path; /* owned */
} BootPlace;

typedef struct {
    void   (*fn)(gpointer user); /* NULL: cancelled */
    gpointer user;
} Settle;

#define BOOTINDEX "bootindex"

struct DeviceSet {
    Vm                   *vm;
    const DeviceObserver *observer;
    gpointer              user;
    GHashTable           *by_id[3]; /* DeviceNs -> id -> Device, from CONFIGURED on */
    GHashTable           *next_auto; /* type name -> N: no DRIVER.M with M < N is free */
    GPtrArray            *devices;  /* plug order, from REALIZED on */
    GPtrArray            *parts;
    GArray               *claims;   /* of Claim */
    GArray               *links;    /* of Link */
    GArray               *boot;     /* of BootPlace */
    GArray               *settle;   /* of Settle: what waits for the end of the bracket */
    guint                 brackets; /* open ones */
    GTree                *records;  /* id -> DeviceRecord (record.c) */
    GTree                *reserved; /* place -> DeviceRecord of a device that is not plugged */
    GTree                *expected; /* place -> id, or "", of a device that is about to be plugged there by configuration */
    guint64               next_since;
    char                 *baseline_name; /* NULL: none */
    GHashTable           *baseline; /* type name -> PropBag, or NULL */
    Device               *board;
    guint                 next_seq;
    gboolean              started;
};

void device_destroy(Device *dev); /* from any state: undoes what was done */
gboolean device_removable(const Device *dev, GError **error); /* as far as the core can tell */
void device_unplug_drop(Device *dev); /* forgets the request, if there is one */
void device_release_claims(Device *dev);
void device_release_links(Device *user);
void device_release_boot(Device *dev);
void boot_place_clear(gpointer place);

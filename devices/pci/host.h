/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* host.h - private to devices/pci: what the buses of one machine share. */
#pragma once

#include "../platform/deferred.h"
#include "bus.h"

typedef struct PciMap PciMap;
typedef struct PciIntx PciIntx;

struct PciHost {
    DeviceSet *set;
    Vm        *vm;
    GMutex     lock;       /* visible functions and routes; before device locks */
    PciBus    *root;
    GPtrArray *buses;      /* main thread; parents first */
    GHashTable *by_name;   /* main thread; of PciBus */
    PciBus    *route[256]; /* lock: the bus that a number reaches */
    gint       stale;      /* atomic: a bridge's numbers changed */
    Deferred  *work;
    PciMap    *map;
    PciIntx   *intx;
};

struct PciBus {
    PciHost      *host;
    char         *name;
    PciBus       *parent;
    PciFunction  *bridge;
    guint         n_devfns;
    gboolean      hotplug;
    gint          open;      /* atomic */
    gint          n_visible; /* atomic */
    PciFunction **claimed;   /* main thread */
    PciFunction **visible;   /* changed by the main thread under the host's lock */
};

PciMap *pci_map_new(PciHost *host);
void    pci_map_free(PciMap *map);
/* Brings every BAR to where its registers have it. Main thread, no lock held. */
void    pci_map_update(PciMap *map);
/* Whether the function has, or had at any time, a part in the map: to take it out of the map changes that. Main thread. */
gboolean pci_bars_decoded(const PciFunction *fn);
/* After a write that changed something: asks for an update if BARs or windows moved. Lock held. */
void    pci_decode_written(PciFunction *fn, guint16 offset, unsigned size, guint32 old_value);

PciIntx *pci_intx_new(PciHost *host);
void     pci_intx_free(PciIntx *intx);
void     pci_intx_sync(PciIntx *intx); /* main thread: lines for routes that are new */
/* Where the function's pin ends; after its claim. */
void     pci_intx_claim(PciFunction *fn);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * msix.h - MSI-X (PCI 3.0 section 6.8.2): a table of messages and a pending bit array in a BAR.
 *
 * Each entry is a vector of kvm/irq.c: a device that signals from an I/O thread takes the vector's
 * eventfd once and writes to it; masking, moving and enabling by the guest bind and unbind it
 * beneath, and while the vector is masked the eventfd itself remembers.
 */
#pragma once

#include "bus.h"

#define PCI_MSIX_LENGTH 12
#define PCI_MSIX_MAX 2048

typedef struct {
    PciFunction *fn; /* NULL: the function has no such capability */
    guint8       cap;
    guint        n;
    gint         enabled; /* atomic: enabled by the guest */
    StateBuf     table;   /* 16 bytes a vector, as the guest reads them */
    StateBuf     pba;     /* a bit a vector, whole 64-bit words */
    MsiVector  **vectors;
} PciMsix;

/* N vectors; table and pending bits at these offsets (multiples of 8) of BAR, which must be there and hold them. Main
 * thread, in realize. */
void     pci_msix_init(PciMsix *msix, PciFunction *fn, guint16 cap, guint n, guint bar, guint32 table, guint32 pba);
void     pci_msix_free(PciMsix *msix);
guint32  pci_msix_table_size(guint n);
guint32  pci_msix_pba_size(guint n);

gboolean pci_msix_enabled(const PciMsix *msix); /* [any] */
/* The eventfd of vector I: a write of 1 fires it, from any thread. Lives as long as the capability. Main thread. */
int      pci_msix_fd(PciMsix *msix, guint i, GError **error);

/* Device lock held for all below. */
void     pci_msix_config_written(PciMsix *msix, guint16 offset, unsigned size);
void     pci_msix_reset(PciMsix *msix);
void     pci_msix_post_load(PciMsix *msix);
void     pci_msix_quiesce(PciMsix *msix);  /* pending bits of eventfds become state */
/* Fires vector I; nothing if the guest has not enabled MSI-X or there is no such vector. */
void     pci_msix_notify(PciMsix *msix, guint i);

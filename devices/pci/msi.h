/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * msi.h - message signalled interrupts by the MSI capability (PCI 3.0 section 6.8.1), 64-bit with a
 * mask per vector.
 */
#pragma once

#include "bus.h"

#define PCI_MSI_LENGTH 0x18
#define PCI_MSI_MAX 32

typedef struct {
    PciFunction *fn; /* NULL: the function has no such capability */
    guint8       cap;
    guint        n;       /* vectors: 1, 2, 4, 8, 16 or 32 */
    guint32      pending; /* state: fired while masked */
    MsiVector  **vectors;
} PciMsi;

void     pci_msi_init(PciMsi *msi, PciFunction *fn, guint16 cap, guint n); /* main thread, in realize */
void     pci_msi_free(PciMsi *msi);
/* Device lock held for all below. */
void     pci_msi_config_written(PciMsi *msi, guint16 offset, unsigned size);
void     pci_msi_update(PciMsi *msi); /* after reset or load */
gboolean pci_msi_enabled(const PciMsi *msi);
/* Fires vector N; one that the guest did not enable stands for N modulo those it did. */
void     pci_msi_notify(PciMsi *msi, guint n);

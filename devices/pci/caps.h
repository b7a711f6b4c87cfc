/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * caps.h - the capability lists of a function, at offsets that are recorded.
 *
 * A type names its capabilities in a table. Where each is in the guest's sight is a value like any
 * other: it is resolved once, kept in the row "capabilities" ("msi@48,exp@60,aer@100") and
 * comes back from the hints. What a record does not name the function does not have.
 */
#pragma once

#include "bus.h"

enum {
    PCI_CAP_PM = 0x01,
    PCI_CAP_MSI = 0x05,
    PCI_CAP_VENDOR = 0x09,
    PCI_CAP_SUBSYSTEM = 0x0d,
    PCI_CAP_EXPRESS = 0x10,
    PCI_CAP_MSIX = 0x11,
    PCI_EXT_CAP_AER = 0x0001,
    PCI_EXT_CAP_SERIAL = 0x0003,
    PCI_EXT_CAP_ACS = 0x000d,
};

typedef struct {
    const char *name;    /* in the row; several of one id have several names */
    guint16     id;
    guint16     length;  /* bytes, header included */
    guint8      version; /* extended capabilities: 1 and up; 0: a capability of the first 256 bytes */
    guint16     offset;  /* by default; 0: the lowest that is free */
} PciCapDesc;

#define PCI_EXPRESS_LENGTH 0x3c
#define PCI_PM_LENGTH 8
#define PCI_AER_LENGTH 0x48
#define PCI_ACS_LENGTH 8
#define PCI_SERIAL_LENGTH 12

/* The text of the row for a device without a record. Caller frees. */
char    *pci_caps_plan(const PciCapDesc *caps, guint n);
/* Checks TEXT against the table: known names, once each, in place, no overlap. The error names DEV. */
gboolean pci_caps_check(const Device *dev, const char *text, const PciCapDesc *caps, guint n, GError **error);
/* Writes headers and links of what TEXT, which was checked, names; in order of offsets. */
void     pci_caps_build(PciFunction *fn, const char *text, const PciCapDesc *caps, guint n);
/* Where the capability NAME is; 0: the function does not have it. */
guint16  pci_caps_offset(const char *text, const char *name);

/* ---- contents ---- */

/* Power management (PCI PM 1.2): D0 and D3hot, no reset on the way back. */
void pci_pm_init(PciFunction *fn, guint16 offset);
/* Subsystem ids of a bridge (PCI-to-PCI bridge 1.2 section 3.2.5.13). */
void pci_subsystem_init(PciFunction *fn, guint16 offset, guint16 vendor, guint16 device);
/* Device serial number (PCIe 7.9.3). */
void pci_serial_init(PciFunction *fn, guint16 offset, guint64 serial);
/* Advanced error reporting of a root port (PCIe 7.8.4): the registers; errors are reported by whoever has one. */
void pci_aer_init(PciFunction *fn, guint16 offset);
/* Access control of a downstream port (PCIe 7.7.11). */
void pci_acs_init(PciFunction *fn, guint16 offset);

/* PCI Express capability (PCIe 7.5.3), version 2. */
typedef enum { PCIE_ENDPOINT = 0, PCIE_ROOT_PORT = 4, PCIE_INTEGRATED_ENDPOINT = 9 } PcieKind;

typedef struct {
    PcieKind kind;
    guint8   speed; /* 1: 2.5 GT/s ... 4: 16 GT/s; of the link, as the next two */
    guint8   width; /* lanes */
    guint8   port;
    gboolean flr;   /* endpoints: function level reset */
    gboolean slot;  /* root ports: a slot, with these capabilities (7.5.3.9) */
    guint32  slot_caps;
} PcieDesc;

enum { /* registers of the PCI Express capability */
    PCIE_FLAGS = 0x02,
    PCIE_DEVCAP = 0x04,
    PCIE_DEVCTL = 0x08,
    PCIE_DEVSTA = 0x0a,
    PCIE_LNKCAP = 0x0c,
    PCIE_LNKCTL = 0x10,
    PCIE_LNKSTA = 0x12,
    PCIE_SLTCAP = 0x14,
    PCIE_SLTCTL = 0x18,
    PCIE_SLTSTA = 0x1a,
    PCIE_ROOTCTL = 0x1c,
    PCIE_ROOTSTA = 0x20,
    PCIE_DEVCTL2 = 0x28,
    PCIE_LNKCAP2 = 0x2c,
    PCIE_LNKCTL2 = 0x30,
};

enum {
    PCIE_DEVCTL_FLR = 1 << 15,
    PCIE_LNKCTL_DISABLE = 1 << 4,
    PCIE_LNKCTL_RETRAIN = 1 << 5,
    PCIE_LNKSTA_ACTIVE = 1 << 13,
};

void pcie_cap_init(PciFunction *fn, guint16 offset, const PcieDesc *desc);
/* Endpoints: takes a function level reset out of DEVCTL, which reads as zero there; TRUE if the guest asked for one. */
gboolean pcie_take_flr(PciFunction *fn, guint16 offset);

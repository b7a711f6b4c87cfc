/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bus.h - PCI functions on pcie.0: configuration space as data, reached by ports 0xcf8/0xcfc and ECAM.
 *
 * Behaviour is three byte arrays (value, write mask, write-one-to-clear mask) built at realize; they are also what
 * the fingerprint hashes. A function that must act on a write has a hook, called after the bytes changed.
 */
#pragma once

#include "../core/device.h"

#define PCI_CONFIG_SIZE 4096

typedef struct PciFunction PciFunction;
typedef struct PciBus PciBus;

struct PciFunction {
    Device  *dev;    /* whose lock guards it */
    guint8   devfn;
    guint8   config[PCI_CONFIG_SIZE], wmask[PCI_CONFIG_SIZE], w1c[PCI_CONFIG_SIZE];
    guint16  config_size; /* 256 or 4096 */
    /* Lock held, vCPU thread. OLD_VALUE as before the write. A change of topology is posted. */
    void (*config_written)(PciFunction *fn, guint16 offset, unsigned size, guint32 old_value);
};

/* Fills in the header's constant part; everything read-only until a mask says otherwise. */
void     pci_function_init(PciFunction *fn, Device *dev, guint8 devfn, guint16 vendor, guint16 device, guint8 revision,
                           guint32 class_code, guint16 subsys_vendor, guint16 subsys_device);
guint32  pci_config_read(PciFunction *fn, guint16 offset, unsigned size);
void     pci_config_write(PciFunction *fn, guint16 offset, guint32 value, unsigned size);

PciBus  *pci_bus_new(DeviceSet *set, const char *name);
void     pci_bus_free(PciBus *bus);
/* Claims bus:devfn; errors name the function that has it. Takes effect for the guest with pci_bus_publish(). */
gboolean pci_bus_claim(PciBus *bus, PciFunction *fn, GError **error);
void     pci_bus_publish(PciBus *bus, PciFunction *fn);
void     pci_bus_remove(PciBus *bus, PciFunction *fn); /* returns when no access is in flight */
/* [any] Accesses by number, as ECAM and 0xcf8 make them; all ones where there is nothing. */
guint32  pci_bus_config_read(PciBus *bus, guint8 bus_nr, guint8 devfn, guint16 offset, unsigned size);
void     pci_bus_config_write(PciBus *bus, guint8 bus_nr, guint8 devfn, guint16 offset, guint32 value, unsigned size);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bus.h - PCI functions on pcie.0: configuration space as data, reached by ports 0xcf8/0xcfc and
 * ECAM.
 *
 * Behaviour is three byte arrays (value, write mask, write-one-to-clear mask) built at realize;
 * they are also what the fingerprint hashes. A function that must act on a write has a hook,
 * called after the bytes changed.
 *
 * Locks. A bus has a mutex of its own that is held around each access, and the owning device's
 * lock inside it (order: bus table, then device). So pci_bus_*() is never called under a device
 * lock, and pci_bus_remove() returns only when no access is in flight. Configuration accesses
 * are no data path: one mutex costs nothing.
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
    guint8   at_reset[PCI_CONFIG_SIZE]; /* pci_function_seal(): the resolved configuration */
    guint16  config_size; /* 256 or 4096 */
    /* Lock held, vCPU thread. OLD_VALUE as before the write. A change of topology is posted. */
    void (*config_written)(PciFunction *fn, guint16 offset, unsigned size, guint32 old_value);
};

/* Fills in the header's constant part; everything read-only until a mask says otherwise. */
void pci_function_init(PciFunction *fn, Device *dev, guint8 devfn, guint16 vendor, guint16 device,
                       guint8 revision, guint32 class_code, guint16 subsys_vendor,
                       guint16 subsys_device);
guint32  pci_config_read(PciFunction *fn, guint16 offset, unsigned size);
void     pci_config_write(PciFunction *fn, guint16 offset, guint32 value, unsigned size);

/* Ends the building of a function: what CONFIG holds now is what reset restores and what the
 * fingerprint hashes. */
void     pci_function_seal(PciFunction *fn);
/* Back to the sealed bytes; the hook is not called. Lock held. */
void     pci_function_reset(PciFunction *fn);
/* After a load of CONFIG: bits that no guest can change come from the sealed bytes, whatever the
 * record said. Lock held. */
void     pci_function_post_load(PciFunction *fn);
/* Fingerprint leaves PREFIX "config" (bytes with write mask) and PREFIX "config-w1c". */
void     pci_function_abi(const PciFunction *fn, AbiSink *sink, const char *prefix);
/* A state row for the first SIZE bytes of the configuration of FIELD, a PciFunction within Type. */
#define PCI_STATE_ROW(Type, field_, size_, since_)                                                 \
    {                                                                                              \
        .name = "config", .kind = STATE_BYTES, .offset = G_STRUCT_OFFSET(Type, field_.config),     \
        .size = (size_), .since = since_                                                           \
    }

PciBus  *pci_root_bus(DeviceSet *set); /* pcie.0, the host bridge's; NULL without a board */
const char *pci_bus_name(const PciBus *bus);
PciBus  *pci_bus_new(DeviceSet *set, const char *name);
void     pci_bus_free(PciBus *bus);
/* Claims bus:devfn; errors name the function that has it. Takes effect for the guest with
 * pci_bus_publish(). */
gboolean pci_bus_claim(PciBus *bus, PciFunction *fn, GError **error);
void     pci_bus_publish(PciBus *bus, PciFunction *fn);
void     pci_bus_remove(PciBus *bus, PciFunction *fn); /* returns when no access is in flight */
/* [any] Accesses by number, as ECAM and 0xcf8 make them; all ones where there is nothing. */
guint32 pci_bus_config_read(PciBus *bus, guint8 bus_nr, guint8 devfn, guint16 offset,
                            unsigned size);
void pci_bus_config_write(PciBus *bus, guint8 bus_nr, guint8 devfn, guint16 offset, guint32 value,
                          unsigned size);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pci-device.h - base of all pluggable PCI functions (schema type "pci-device").
 *
 * A type embeds PciDevice first, has rows that begin with PciDeviceConfig, and calls these from
 * hooks of the same name, its own part as noted:
 *
 *   places     pci_device_places()
 *   resolve    pci_device_resolve()    then its own rows
 *   realize    pci_device_realize()    then BARs, contents of capabilities, MSI-X; pci_device_seal() last
 *   publish    pci_device_publish()
 *   reset      pci_device_reset()      then its own registers
 *   quiesce    pci_device_quiesce()    after its own
 *   unpublish  pci_device_unpublish()  first: when it returns no hook runs any more
 *   unrealize  pci_device_unrealize()  last; safe after a failed realize
 *   post_load  pci_device_post_load()  then its own
 *   abi        pci_device_abi()
 *   unplug_request  pci_device_unplug_request()  asks the guest for the function's slot (hotplug.c)
 *
 * State rows: PCI_DEVICE_ROWS(Type, since) where the PciDevice is the member `pci`.
 */
#pragma once

#include "../../schema/generated/devices.h"
#include "bar.h"
#include "caps.h"
#include "msi.h"
#include "msix.h"

typedef struct PciDevice PciDevice;

/* Values of a type where neither manager nor hints say otherwise, and what can not be said. */
typedef struct {
    guint16           vendor, device, subsystem_vendor, subsystem;
    guint8            revision;
    guint32           class_code; /* 24 bits */
    guint8            pin;        /* 1: INTA ...; 0: none */
    gboolean          bridge;     /* header type 1; such a function shares slots with its like (see resolve) */
    const PciCapDesc *caps;
    guint             n_caps;
} PciTypeInfo;

struct PciDevice {
    Device             dev;
    PciFunction        fn;
    const PciTypeInfo *info;
    PciMsix            msix;
    PciMsi             msi;
    guint8             express; /* offset of the PCI Express capability; 0: none */
    /* Optional, set by the type's realize. Lock held, vCPU thread: after the base has looked at the write. */
    void (*config_written)(PciDevice *pci, guint16 offset, unsigned size, guint32 old_value);
};

void     pci_device_places(const PropBag *bag, PlaceSink *sink);
/* addr: 'SLOT' or 'SLOT.FUNCTION' in hexadecimal, 0x or not. Not given: the lowest slot of which every function is free; a bridge
 * with `multifunction` takes the lowest free function of a slot whose functions all are such bridges. */
gboolean pci_device_resolve(Device *dev, const PciTypeInfo *info, GError **error);
gboolean pci_device_realize(Device *dev, const PciTypeInfo *info, GError **error);
void     pci_device_seal(Device *dev);
void     pci_device_publish(Device *dev);
void     pci_device_reset(Device *dev);
void     pci_device_quiesce(Device *dev);
void     pci_device_unpublish(Device *dev);
void     pci_device_unrealize(Device *dev);
void     pci_device_post_load(Device *dev);
void     pci_device_abi(Device *dev, AbiSink *sink);
UnplugAnswer pci_device_unplug_request(Device *dev, gboolean force, GError **error);

/* Where a capability is, by its name in the type's table; 0: this device does not have it. */
guint16  pci_device_cap(const Device *dev, const char *name);

/* One interrupt of the device by whatever the guest enabled: MSI-X or MSI vector N fires on a rising LEVEL, else the pin
 * has LEVEL. Lock held. */
void     pci_device_interrupt(PciDevice *pci, guint n, gboolean level);

#define PCI_DEVICE_ROWS(Type, since_)                                                              \
    { .name = "pci-config", .kind = STATE_BYTES, .offset = G_STRUCT_OFFSET(Type, pci.fn.config),   \
      .size = PCI_CONFIG_STORED, .since = since_ },                                                \
    { .name = "pci-intx", .kind = STATE_BOOL, .offset = G_STRUCT_OFFSET(Type, pci.fn.intx),        \
      .size = sizeof(gboolean), .since = since_ },                                                 \
    { .name = "msi-pending", .kind = STATE_U32, .offset = G_STRUCT_OFFSET(Type, pci.msi.pending),  \
      .size = 4, .since = since_ },                                                                \
    { .name = "msix-table", .kind = STATE_BUF, .offset = G_STRUCT_OFFSET(Type, pci.msix.table),    \
      .size = sizeof(StateBuf), .since = since_ },                                                 \
    { .name = "msix-pba", .kind = STATE_BUF, .offset = G_STRUCT_OFFSET(Type, pci.msix.pba),        \
      .size = sizeof(StateBuf), .since = since_ }

/* In realize, after the claim of its address: the place in the boot order that the row "bootindex" gives it, if it is set. NODE and TAIL as for
 * boot_path_pci(). */
gboolean pci_device_claim_boot(PciDevice *pci, const char *node, const char *tail, GError **error);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtio-pci.h - virtio devices as PCI functions (virtio 1.2 section 4.1), modern only: base of all
 * types in schema "virtio-pci".
 *
 * A type embeds VirtioPci first, its rows begin with VirtioPciConfig, and it calls these from hooks
 * of the same name, its own part as noted:
 *
 *   resolve    virtio_pci_resolve()    after its own rows that say how many queues there are
 *   realize    its back end, then virtio_pci_realize(), then vd.config and virtio_watch()
 *   publish    virtio_pci_publish()
 *   reset      virtio_pci_reset()      then its own
 *   quiesce    its own: nothing is popped any more, what is in flight comes back (or is put back by
 *              vq_unpop()); then virtio_pci_quiesce()
 *   resume     virtio_pci_resume(), then its own
 *   unpublish  virtio_pci_unpublish()  first: when it returns the device is stopped, no hook runs
 *   unrealize  virtio_pci_unrealize(), then its back end; safe after a failed realize
 *   post_load  virtio_pci_post_load(), then its own
 *   abi        virtio_pci_abi()
 *
 * A type with nothing to add at a point names the function itself in its DeviceOps. State rows:
 * VIRTIO_PCI_ROWS(since), first.
 */
#pragma once

#include "../pci/pci-device.h"
#include "virtio.h"

typedef struct {
    const VirtioDeviceOps *ops;
    guint32                class_code; /* 24 bits */
    /* Returns the chains of a queue in the order of their pops: VIRTIO_F_IN_ORDER may be offered. */
    gboolean               in_order;
} VirtioPciType;

typedef struct {
    PciDevice    pci;
    PciTypeInfo  info;
    VirtioDevice vd;
    int         *vector_fds; /* one a vector; the vectors' own */
    gint         intx_asked; /* atomic: an update of the pin is posted */
    guint16      cfg;        /* offset of the capability VIRTIO_PCI_CAP_PCI_CFG; 0: none */
} VirtioPci;

/* N_QUEUES gives the default number of vectors: one each and one for configuration changes. */
gboolean virtio_pci_resolve(Device *dev, const VirtioPciType *type, guint n_queues, GError **error);
/* FEATURES are the device's own bits; the ring's come from the rows of the base. */
gboolean virtio_pci_realize(Device *dev, const VirtioPciType *type, guint64 features, guint n_queues,
                            const guint16 *max_sizes, guint config_size, GError **error);
void     virtio_pci_publish(Device *dev);
void     virtio_pci_reset(Device *dev, ResetKind kind);
void     virtio_pci_quiesce(Device *dev);
void     virtio_pci_resume(Device *dev);
void     virtio_pci_unpublish(Device *dev);
void     virtio_pci_unrealize(Device *dev);
gboolean virtio_pci_post_load(Device *dev, GError **error);
void     virtio_pci_abi(Device *dev, AbiSink *sink);

/* VirtioPci is the first member of every such type. */
#define VIRTIO_PCI_ROWS(since_)                                                                    \
    PCI_DEVICE_ROWS(VirtioPci, since_), VIRTIO_STATE_ROWS(VirtioPci, vd, since_)

static inline VirtioDevice *virtio_pci_vd(Device *dev)
{
    return &((VirtioPci *)dev)->vd;
}

static inline VirtioPci *virtio_pci_of(VirtioDevice *vd)
{
    return (VirtioPci *)vd->dev;
}

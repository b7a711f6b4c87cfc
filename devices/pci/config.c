/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * config.c - a PCI function's configuration space as data (PCI Local Bus 3.0 chapter 6).
 *
 * Three arrays say everything: the value, the bits that a write replaces, the bits that a write
 * of one clears. The masks are as guest visible as the values (a driver that writes all ones and
 * reads back sees them), hence both are in the fingerprint. A guest can write any byte at any
 * time, so nothing here trusts an offset: what is beyond the space reads as ones.
 *
 * Of an extended space (4096 bytes) the first PCI_CONFIG_STORED bytes are kept; no function here
 * has a register beyond them, and hundreds of functions are plugged at once.
 */
#include "host.h"

void pci_function_init(PciFunction *fn, Device *dev, guint8 devfn, guint16 vendor, guint16 device,
                       guint8 revision, guint32 class_code, guint16 subsys_vendor,
                       guint16 subsys_device)
{
    memset(fn, 0, sizeof *fn);
    fn->dev = dev;
    fn->devfn = devfn;
    fn->config_size = 256;
    le16_put(fn->config + PCI_VENDOR, vendor);
    le16_put(fn->config + PCI_DEVICE, device);
    le32_put(fn->config + PCI_REVISION, class_code << 8 | revision);
    le16_put(fn->config + PCI_SUBSYSTEM_VENDOR, subsys_vendor);
    le16_put(fn->config + PCI_SUBSYSTEM, subsys_device);
}

guint32 pci_config_read(PciFunction *fn, guint16 offset, unsigned size)
{
    if (!range_within(offset, size, fn->config_size))
        return (guint32)ones(size);
    if (!range_within(offset, size, PCI_CONFIG_STORED))
        return 0;
    if (fn->config_reading)
        fn->config_reading(fn, offset, size);
    return (guint32)le_get(fn->config + offset, size);
}

void pci_config_write(PciFunction *fn, guint16 offset, guint32 value, unsigned size)
{
    if (!range_within(offset, size, MIN(fn->config_size, PCI_CONFIG_STORED)))
        return;

    guint32 old = (guint32)le_get(fn->config + offset, size);
    for (unsigned i = 0; i < size; i++) {
        guint8 byte = (guint8)(value >> (i * 8));
        guint8 wmask = fn->wmask[offset + i];
        guint8 kept = fn->config[offset + i] & (guint8)~wmask;

        fn->config[offset + i] = (kept | (byte & wmask)) & (guint8) ~(byte & fn->w1c[offset + i]);
    }
    if (fn->config_written)
        fn->config_written(fn, offset, size, old);
    if (fn->bars || fn->secondary)
        pci_decode_written(fn, offset, size, old);
}

void pci_function_seal(PciFunction *fn)
{
    memcpy(fn->at_reset, fn->config, sizeof fn->at_reset);
}

void pci_function_reset(PciFunction *fn)
{
    memcpy(fn->config, fn->at_reset, sizeof fn->config);
}

void pci_function_post_load(PciFunction *fn)
{
    for (guint i = 0; i < PCI_CONFIG_STORED; i++) {
        guint8 changeable = fn->wmask[i] | fn->w1c[i];
        fn->config[i] = (fn->config[i] & changeable) | (fn->at_reset[i] & (guint8)~changeable);
    }
}

/* The leaves are of the whole space, so that they stay when a later build keeps more of it. */
static void leaf(AbiSink *sink, const char *prefix, const char *name, const PciFunction *fn,
                 const guint8 *bytes, const guint8 *mask)
{
    g_autofree char *item = g_strconcat(prefix, name, NULL);
    g_autofree guint8 *whole = g_malloc0(fn->config_size), *whole_mask = g_malloc0(fn->config_size);
    gsize n = MIN(fn->config_size, PCI_CONFIG_STORED);

    memcpy(whole, bytes, n);
    if (mask)
        memcpy(whole_mask, mask, n);
    abi_leaf(sink, item, whole, fn->config_size, mask ? whole_mask : NULL);
}

void pci_function_abi(const PciFunction *fn, AbiSink *sink, const char *prefix)
{
    leaf(sink, prefix, "config", fn, fn->at_reset, fn->wmask);
    leaf(sink, prefix, "config-w1c", fn, fn->w1c, NULL);
}

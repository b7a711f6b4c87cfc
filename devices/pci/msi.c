/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * msi.c - the MSI capability: message, enable and masks live in configuration space, the vectors in
 * kvm/irq.c. After each write that touches them all vectors are told what they are now; that is
 * rare, and a vector that did not change costs nothing.
 *
 * The guest may enable fewer vectors than there are (a power of two). The low bits of the message's
 * data are then the vector's number.
 */
#include "msi.h"

enum {
    CONTROL = 0x02,
    ADDRESS = 0x04,
    DATA = 0x0c,
    MASK = 0x10,
    PENDING = 0x14,
    ENABLE = 1 << 0,
};

void pci_msi_init(PciMsi *msi, PciFunction *fn, guint16 cap, guint n)
{
    guint log = (guint)__builtin_ctz(n);

    g_assert(n <= PCI_MSI_MAX && n == 1u << log);
    msi->fn = fn;
    msi->cap = (guint8)cap;
    msi->n = n;
    msi->vectors = g_new0(MsiVector *, n);
    for (guint i = 0; i < n; i++)
        msi->vectors[i] = msi_vector_new(device_set_vm(fn->dev->set), fn->dev->id);
    le16_put(fn->config + cap + CONTROL, (guint16)(log << 1 | 1 << 7 | 1 << 8));
    le16_put(fn->wmask + cap + CONTROL, ENABLE | 0x70);
    le64_put(fn->wmask + cap + ADDRESS, ~G_GUINT64_CONSTANT(3));
    le16_put(fn->wmask + cap + DATA, 0xffff);
    le32_put(fn->wmask + cap + MASK, n == 32 ? G_MAXUINT32 : (1u << n) - 1);
}

void pci_msi_free(PciMsi *msi)
{
    for (guint i = 0; msi->fn && i < msi->n; i++)
        msi_vector_free(msi->vectors[i]);
    g_clear_pointer(&msi->vectors, g_free);
    msi->fn = NULL;
}

static const guint8 *registers(const PciMsi *msi)
{
    return msi->fn->config + msi->cap;
}

gboolean pci_msi_enabled(const PciMsi *msi)
{
    return msi->fn && (registers(msi)[CONTROL] & ENABLE);
}

/* How many vectors the guest enabled: never more than there are. */
static guint allocated(const PciMsi *msi)
{
    return MIN(1u << (registers(msi)[CONTROL] >> 4 & 7), msi->n);
}

static void show_pending(PciMsi *msi)
{
    le32_put(msi->fn->config + msi->cap + PENDING, msi->pending);
}

static void vector_update(PciMsi *msi, guint i)
{
    const guint8 *r = registers(msi);
    gboolean master = le16_get(msi->fn->config + PCI_COMMAND) & PCI_COMMAND_MASTER;
    gboolean masked = !(r[CONTROL] & ENABLE) || !master || le32_get(r + MASK) >> i & 1;
    guint32 data = (le16_get(r + DATA) & ~(allocated(msi) - 1)) | i;

    msi_vector_set(msi->vectors[i], le64_get(r + ADDRESS), data, masked || i >= allocated(msi));
    if (masked || !(msi->pending >> i & 1))
        return;
    msi->pending &= ~(1u << i);
    if (i < allocated(msi))
        msi_vector_fire(msi->vectors[i]);
}

void pci_msi_update(PciMsi *msi)
{
    if (!msi->fn)
        return;
    if (!pci_msi_enabled(msi))
        msi->pending = 0;
    for (guint i = 0; i < msi->n; i++)
        vector_update(msi, i);
    show_pending(msi);
}

void pci_msi_config_written(PciMsi *msi, guint16 offset, unsigned size)
{
    if (msi->fn && (pci_touches(offset, size, msi->cap, PCI_MSI_LENGTH) ||
                    pci_touches(offset, size, PCI_COMMAND, 2)))
        pci_msi_update(msi);
}

void pci_msi_notify(PciMsi *msi, guint n)
{
    const guint8 *r = registers(msi);
    guint i = n & (allocated(msi) - 1);
    gboolean master = le16_get(msi->fn->config + PCI_COMMAND) & PCI_COMMAND_MASTER;

    if (!pci_msi_enabled(msi))
        return;
    if (master && !(le32_get(r + MASK) >> i & 1)) {
        msi_vector_fire(msi->vectors[i]);
        return;
    }
    msi->pending |= 1u << i;
    show_pending(msi);
}

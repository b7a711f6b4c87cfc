/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * msix.c - MSI-X table, masks and pending bits.
 *
 * A vector is silent while the function has MSI-X off, masks all (function mask), is no bus master,
 * or masks this one; what fires then is kept in one of two places. A signal that came through
 * pci_msix_notify() is a bit of the PBA at once. One that an I/O thread wrote into the eventfd stays
 * in the eventfd, unread, until somebody looks: a read of the PBA, the unmasking, or quiesce.
 *
 * Unmasking: first the vector is opened, then what was pending is fired. In the other order a signal
 * between the two would be kept with nobody to send it. One that comes through the eventfd after
 * the opening is delivered by irq.c.
 */
#include "msix.h"

#include "bar.h"

enum {
    CONTROL = 2,
    TABLE = 4,
    PBA = 8,
    FUNCTION_MASK = 1 << 14,
    ENABLE = 1 << 15,
    ENTRY = 16,
    ENTRY_DATA = 8,
    ENTRY_CONTROL = 12,
};

guint32 pci_msix_table_size(guint n)
{
    return n * ENTRY;
}

guint32 pci_msix_pba_size(guint n)
{
    return (n + 63) / 64 * 8;
}

static guint16 control(const PciMsix *m)
{
    return le16_get(m->fn->config + m->cap + CONTROL);
}

gboolean pci_msix_enabled(const PciMsix *m)
{
    return m->fn && g_atomic_int_get(&m->enabled);
}

/* ---- vectors ---- */

static gboolean pba_get(const PciMsix *m, guint i)
{
    return m->pba.data[i / 8] >> i % 8 & 1;
}

static void pba_put(PciMsix *m, guint i, gboolean pending)
{
    m->pba.data[i / 8] &= (guint8) ~(1u << i % 8);
    m->pba.data[i / 8] |= (guint8)((pending ? 1u : 0u) << i % 8);
}

static gboolean silent(const PciMsix *m, guint i)
{
    return (control(m) & (ENABLE | FUNCTION_MASK)) != ENABLE ||
           !(le16_get(m->fn->config + PCI_COMMAND) & PCI_COMMAND_MASTER) ||
           (m->table.data[i * ENTRY + ENTRY_CONTROL] & 1);
}

static void vector_update(PciMsix *m, guint i)
{
    const guint8 *entry = m->table.data + i * ENTRY;
    gboolean masked = silent(m, i);

    msi_vector_set(m->vectors[i], le64_get(entry), le32_get(entry + ENTRY_DATA), masked);
    if (masked)
        return;
    gboolean pending = pba_get(m, i);
    pba_put(m, i, FALSE);
    pending |= msi_vector_take_pending(m->vectors[i]);
    if (pending)
        msi_vector_fire(m->vectors[i]);
}

static void update_all(PciMsix *m)
{
    for (guint i = 0; i < m->n; i++)
        vector_update(m, i);
}

/* Drops what is pending: while MSI-X is off nothing is. */
static void forget_pending(PciMsix *m)
{
    for (guint i = 0; i < m->n; i++)
        msi_vector_take_pending(m->vectors[i]);
    memset(m->pba.data, 0, m->pba.len);
}

/* Takes over what the eventfds of vectors FIRST to FIRST + N - 1 remember. */
static void collect_pending(PciMsix *m, guint first, guint n)
{
    for (guint i = first; i < MIN(first + n, m->n); i++) {
        if (silent(m, i) && msi_vector_take_pending(m->vectors[i]))
            pba_put(m, i, TRUE);
    }
}

/* ---- the BAR ---- */

static guint64 table_read(gpointer opaque, guint64 offset, unsigned size)
{
    return le_get(((PciMsix *)opaque)->table.data + offset, size);
}

/* Bits that do not exist: the two lowest of the address, all but the lowest of the control word. */
static void entry_trim(guint8 *entry)
{
    entry[0] &= 0xfc;
    le32_put(entry + ENTRY_CONTROL, le32_get(entry + ENTRY_CONTROL) & 1);
}

static void table_write(gpointer opaque, guint64 offset, guint64 value, unsigned size)
{
    PciMsix *m = opaque;
    guint i = (guint)(offset / ENTRY);

    le_put(m->table.data + offset, size, value);
    entry_trim(m->table.data + i * ENTRY);
    vector_update(m, i);
}

static guint64 pba_read(gpointer opaque, guint64 offset, unsigned size)
{
    PciMsix *m = opaque;

    collect_pending(m, (guint)offset * 8, size * 8);
    return le_get(m->pba.data + offset, size);
}

/* Accesses are of 4 or 8 bytes; a narrower write has no meaning and is dropped. */
static const IoOps table_ops = {
    .read = table_read, .write = table_write, .min_size = 4, .max_size = 8
};
static const IoOps pba_ops = { .read = pba_read, .min_size = 4, .max_size = 8 };

/* ---- life ---- */

void pci_msix_init(PciMsix *m, PciFunction *fn, guint16 cap, guint n, guint bar, guint32 table,
                   guint32 pba)
{
    guint8 *c = fn->config + cap;

    g_assert(n >= 1 && n <= PCI_MSIX_MAX && table % 8 == 0 && pba % 8 == 0);
    m->fn = fn;
    m->cap = (guint8)cap;
    m->n = n;
    m->table.len = pci_msix_table_size(n);
    m->table.data = g_malloc0(m->table.len);
    m->pba.len = pci_msix_pba_size(n);
    m->pba.data = g_malloc0(m->pba.len);
    m->vectors = g_new0(MsiVector *, n);
    for (guint i = 0; i < n; i++)
        m->vectors[i] = msi_vector_new(device_set_vm(fn->dev->set), fn->dev->id);
    le16_put(c + CONTROL, (guint16)(n - 1));
    le16_put(fn->wmask + cap + CONTROL, ENABLE | FUNCTION_MASK);
    le32_put(c + TABLE, table | bar);
    le32_put(c + PBA, pba | bar);
    pci_bar_add_part(fn, bar, &(PciBarPart){ .offset = table, .size = m->table.len,
                                             .ops = &table_ops, .opaque = m, .name = "msix-table" });
    pci_bar_add_part(fn, bar, &(PciBarPart){ .offset = pba, .size = m->pba.len, .ops = &pba_ops,
                                             .opaque = m, .name = "msix-pba" });
    pci_msix_reset(m);
}

void pci_msix_free(PciMsix *m)
{
    if (!m->fn)
        return;
    for (guint i = 0; i < m->n; i++)
        msi_vector_free(m->vectors[i]);
    g_clear_pointer(&m->vectors, g_free);
    g_clear_pointer(&m->table.data, g_free);
    g_clear_pointer(&m->pba.data, g_free);
    m->table.len = m->pba.len = 0;
    m->fn = NULL;
}

int pci_msix_fd(PciMsix *m, guint i, GError **error)
{
    g_assert(i < m->n);
    return msi_vector_fd(m->vectors[i], error);
}

void pci_msix_reset(PciMsix *m)
{
    if (!m->fn)
        return;
    g_atomic_int_set(&m->enabled, FALSE);
    memset(m->table.data, 0, m->table.len);
    for (guint i = 0; i < m->n; i++)
        m->table.data[i * ENTRY + ENTRY_CONTROL] = 1;
    /* Masked whatever the control register still says: its reset may come after this. */
    for (guint i = 0; i < m->n; i++)
        msi_vector_set(m->vectors[i], 0, 0, TRUE);
    forget_pending(m);
}

void pci_msix_post_load(PciMsix *m)
{
    if (!m->fn)
        return;
    for (guint i = 0; i < m->n; i++)
        entry_trim(m->table.data + i * ENTRY);
    for (guint i = m->n; i < m->pba.len * 8; i++)
        pba_put(m, i, FALSE);
    g_atomic_int_set(&m->enabled, !!(control(m) & ENABLE));
    update_all(m);
}

void pci_msix_quiesce(PciMsix *m)
{
    if (m->fn)
        collect_pending(m, 0, m->n);
}

void pci_msix_config_written(PciMsix *m, guint16 offset, unsigned size)
{
    if (!m->fn || (!pci_touches(offset, size, m->cap, 4) &&
                   !pci_touches(offset, size, PCI_COMMAND, 2)))
        return;
    gboolean enabled = !!(control(m) & ENABLE);
    if (enabled != m->enabled)
        forget_pending(m);
    g_atomic_int_set(&m->enabled, enabled);
    update_all(m);
}

void pci_msix_notify(PciMsix *m, guint i)
{
    if (!pci_msix_enabled(m) || i >= m->n)
        return;
    if (silent(m, i))
        pba_put(m, i, TRUE);
    else
        msi_vector_fire(m->vectors[i]);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pci-hotplug.c - the register block through which AML learns of PCI functions that come and go: QEMU's documented
 * interface (docs/specs/acpi_pci_hotplug.rst there), 24 ports: up, down, eject, removable, selector, acpi-index (of the slot of the group
 * that was written there last). There are no features.
 *
 * There, the selector selects a bus. Here it selects 32 slots: group 0 is pcie.0, the others are the slots behind root ports, 32
 * to a group, so that a guest with 200 ports looks at 8 groups and not at 200 buses. Only our AML knows.
 *
 * Up and down are pending notifications: reading takes them, so that each is told once. The hard part is a guest that is
 * slower than we: it may eject a slot twice, because it was reminded, or eject what was taken from it by force and has been replaced
 * since. That must not hit the newcomer. So we count the requests that the guest has taken and not answered (OWED). While there
 * are some and none was for the present occupant, an ejection is meant for a former one: it does nothing but announce
 * the present one anew.
 *
 * The hooks run on vCPU threads and may not walk the buses, which belong to the main thread: what is in the slots is
 * mirrored here. An ejection is carried out on the main thread before any vCPU goes on: the guest's next instruction finds
 * the slot empty.
 */
#include "pci-hotplug.h"

#include "../core/unplug.h"
#include "../pci/hotplug.h"
#include "../platform/parts.h"

#define GROUPS PCI_HOTPLUG_GROUPS

enum {
    REG_UP = 0x00,        /* read: device checks to be made */
    REG_DOWN = 0x04,      /* read: ejections asked for */
    REG_EJECT = 0x08,     /* read: features */
    REG_REMOVABLE = 0x0c, /* read */
    REG_SELECTOR = 0x10,
    REG_INDEX = 0x14,     /* write: a slot of the group; read: the acpi-index of what is in it */
};

typedef guint32 SlotBits[GROUPS];

typedef struct {
    Device    dev;
    guint32   selector, index_slot;
    SlotBits  up, down; /* pending */
    SlotBits  asked;    /* the present occupant is asked for */
    SlotBits  told;     /* the guest has taken notice of that */
    guint8    owed[PCI_HOTPLUG_SLOTS]; /* ejections to come, for this or former occupants */
    SlotBits  occupied, removable; /* as the guest sees it */
    guint16   index[PCI_HOTPLUG_SLOTS]; /* likewise: acpi-index of those that are occupied */
    SlotBits  noticed, ejected;    /* not yet heard by the main thread */
    gboolean  again;               /* likewise: announce what is up */
    IoRegion *region;
    Deferred *hear;
} PciHotplug;

static PciHotplug *hotplug_of(DeviceSet *set)
{
    return (PciHotplug *)device_set_part(set, PART_PCI_HOTPLUG);
}

static guint32 bit_of(guint slot)
{
    return 1u << slot % 32;
}

/* ---- registers ---- */

static guint32 take(guint32 *bits)
{
    guint32 taken = *bits;

    *bits = 0;
    return taken;
}

/* The guest will ask its system to eject these. */
static guint32 read_down(PciHotplug *h, guint g)
{
    guint32 bits = take(&h->down[g]), asked = bits & h->asked[g];

    for (guint i = 0; i < 32; i++) {
        if (bits >> i & 1 && h->owed[g * 32 + i] < G_MAXUINT8)
            h->owed[g * 32 + i]++;
    }
    h->told[g] |= asked;
    h->noticed[g] |= asked;
    if (asked)
        deferred_schedule(h->hear);
    return bits;
}

static guint32 read_index(const PciHotplug *h, guint32 g)
{
    guint32 i = h->index_slot;

    return i < 32 && h->occupied[g] >> i & 1 ? h->index[g * 32 + i] : 0;
}

static guint64 regs_read(gpointer opaque, guint64 offset, unsigned size)
{
    PciHotplug *h = opaque;
    guint32 g = h->selector;

    if (offset == REG_SELECTOR)
        return g;
    if (g >= GROUPS)
        return 0;
    switch (offset) {
    case REG_UP:
        return take(&h->up[g]);
    case REG_DOWN:
        return read_down(h, g);
    case REG_REMOVABLE:
        return h->removable[g];
    case REG_INDEX:
        return read_index(h, g);
    default:
        return 0;
    }
}

/* Whether an ejection of slot N, of group G and with bit BIT, is meant for one that is there no more. Counts it. */
static gboolean eject_is_late(PciHotplug *h, guint n, guint g, guint32 bit)
{
    gboolean former = h->down[g] & ~h->asked[g] & bit; /* taken by force, and the guest drops it by itself */

    if (h->owed[n] > 0) {
        h->owed[n]--;
        former = TRUE;
    } else {
        h->down[g] &= ~bit | h->asked[g];
    }
    return former && !(h->told[g] & bit);
}

static void eject(PciHotplug *h, guint g, guint32 bits)
{
    guint32 late = 0;

    bits &= h->removable[g];
    for (guint i = 0; i < 32; i++) {
        if (bits >> i & 1 && eject_is_late(h, g * 32 + i, g, 1u << i))
            late |= 1u << i;
    }
    guint32 gone = bits & h->occupied[g] & ~late;
    late &= h->occupied[g];
    h->up[g] = (h->up[g] & ~gone) | late;
    h->again = h->again || late;
    h->down[g] &= ~gone;
    h->asked[g] &= ~gone;
    h->told[g] &= ~gone;
    h->occupied[g] &= ~gone;
    h->ejected[g] |= gone;
    if (gone)
        deferred_schedule_held(h->hear);
    else if (late)
        deferred_schedule(h->hear);
}

static void regs_write(gpointer opaque, guint64 offset, guint64 value, unsigned size)
{
    PciHotplug *h = opaque;

    if (offset == REG_SELECTOR)
        h->selector = (guint32)value;
    else if (offset == REG_INDEX)
        h->index_slot = (guint32)value;
    else if (offset == REG_EJECT && h->selector < GROUPS)
        eject(h, h->selector, (guint32)value);
}

static const IoOps regs_ops = { .read = regs_read, .write = regs_write, .min_size = 4, .max_size = 4 };

/* ---- what the guest said, on the main thread ---- */

/* Lock held. */
static void mirror_slot(PciHotplug *h, guint n)
{
    PciSlot slot;
    guint32 bit = bit_of(n);
    gboolean there = pci_slot_by_number(h->dev.set, n, &slot);

    h->removable[n / 32] &= ~bit;
    h->occupied[n / 32] &= ~bit;
    if (there && pci_slot_is_removable(&slot))
        h->removable[n / 32] |= bit;
    if (there && pci_slot_is_occupied(&slot))
        h->occupied[n / 32] |= bit;
    h->index[n] = there ? pci_slot_acpi_index(&slot) : 0;
}

static void mirror_slots(PciHotplug *h)
{
    for (guint n = 0; n < PCI_HOTPLUG_SLOTS; n++)
        mirror_slot(h, n);
}

static void hear_eject(PciHotplug *h, guint n)
{
    PciSlot slot;

    if (!pci_slot_by_number(h->dev.set, n, &slot))
        return;
    pci_slot_eject(&slot);
    LOCK_SCOPE(&h->dev.lock);
    mirror_slot(h, n);
    /* Something stayed: the guest has forgotten it, and is told of it as of a newcomer. */
    if (h->occupied[n / 32] & bit_of(n)) {
        h->up[n / 32] |= bit_of(n);
        h->again = TRUE;
    }
}

static void hear_notice(PciHotplug *h, guint n)
{
    PciSlot slot;

    if (pci_slot_by_number(h->dev.set, n, &slot))
        pci_slot_noticed(&slot);
}

static void for_each_bit(PciHotplug *h, guint g, guint32 bits, void (*fn)(PciHotplug *h, guint n))
{
    for (guint i = 0; i < 32; i++) {
        if (bits >> i & 1)
            fn(h, g * 32 + i);
    }
}

static gboolean take_again(PciHotplug *h)
{
    LOCK_SCOPE(&h->dev.lock);
    gboolean again = h->again;

    h->again = FALSE;
    return again;
}

static void hear(gpointer user)
{
    PciHotplug *h = user;
    SlotBits noticed, ejected;

    g_mutex_lock(&h->dev.lock);
    memcpy(noticed, h->noticed, sizeof noticed);
    memcpy(ejected, h->ejected, sizeof ejected);
    memset(h->noticed, 0, sizeof h->noticed);
    memset(h->ejected, 0, sizeof h->ejected);
    g_mutex_unlock(&h->dev.lock);
    for (guint g = 0; g < GROUPS; g++) {
        for_each_bit(h, g, noticed[g], hear_notice);
        for_each_bit(h, g, ejected[g], hear_eject);
    }
    if (take_again(h))
        pm_gpe_set(h->dev.set, PCI_HOTPLUG_GPE);
}

/* ---- what the slots tell ---- */

void pci_hotplug_arrived(DeviceSet *set, guint slot)
{
    PciHotplug *h = hotplug_of(set);
    guint g = slot / 32;
    PciSlot s;

    g_assert(slot < PCI_HOTPLUG_SLOTS && pci_slot_by_number(set, slot, &s));
    g_mutex_lock(&h->dev.lock);
    h->occupied[g] |= bit_of(slot);
    h->index[slot] = pci_slot_acpi_index(&s);
    h->up[g] |= bit_of(slot);
    g_mutex_unlock(&h->dev.lock); /* the PM block has a lock of its own */
    pm_gpe_plugged(set, PCI_HOTPLUG_GPE);
}

void pci_hotplug_request_remove(DeviceSet *set, guint slot)
{
    PciHotplug *h = hotplug_of(set);
    guint g = slot / 32;

    g_assert(slot < PCI_HOTPLUG_SLOTS);
    g_mutex_lock(&h->dev.lock);
    h->down[g] |= bit_of(slot);
    h->asked[g] |= bit_of(slot);
    g_mutex_unlock(&h->dev.lock);
    pm_gpe_set(set, PCI_HOTPLUG_GPE);
}

void pci_hotplug_left(DeviceSet *set, guint slot)
{
    PciHotplug *h = hotplug_of(set);
    guint g = slot / 32;
    guint32 bit = bit_of(slot);

    g_assert(slot < PCI_HOTPLUG_SLOTS);
    g_mutex_lock(&h->dev.lock);
    gboolean ejected = !(h->occupied[g] & bit);
    h->occupied[g] &= ~bit;
    h->asked[g] &= ~bit;
    h->told[g] &= ~bit;
    h->up[g] &= ~bit;
    if (!ejected)
        h->down[g] |= bit;
    g_mutex_unlock(&h->dev.lock);
    if (!ejected)
        pm_gpe_set(set, PCI_HOTPLUG_GPE);
}

/* ---- the device ---- */

static gboolean pci_hotplug_realize(Device *dev, GError **error)
{
    PciHotplug *h = (PciHotplug *)dev;

    h->hear = deferred_new(device_set_vm(dev->set), hear, h);
    return device_claim_io(dev, IO_PIO, board_config(dev->set)->pci_hotplug_base, PCI_HOTPLUG_REG_LEN, "pci-hotplug-base",
                           error);
}

static void pci_hotplug_publish(Device *dev)
{
    PciHotplug *h = (PciHotplug *)dev;
    g_autoptr(GError) error = NULL;

    h->region = iobus_add(device_set_vm(dev->set), IO_PIO, board_config(dev->set)->pci_hotplug_base, PCI_HOTPLUG_REG_LEN,
                          &regs_ops, h, &dev->lock, 0, PART_PCI_HOTPLUG, &error);
    g_assert_no_error(error); /* claimed in realize */
}

static void pci_hotplug_unpublish(Device *dev)
{
    iobus_remove(device_set_vm(dev->set), ((PciHotplug *)dev)->region);
}

static void pci_hotplug_unrealize(Device *dev)
{
    g_clear_pointer(&((PciHotplug *)dev)->hear, deferred_free);
}

/* The guest starts anew, with all that is there. */
static void pci_hotplug_reset(Device *dev, ResetKind kind)
{
    PciHotplug *h = (PciHotplug *)dev;

    h->selector = h->index_slot = 0;
    memset(h->up, 0, sizeof h->up);
    memset(h->down, 0, sizeof h->down);
    memset(h->asked, 0, sizeof h->asked);
    memset(h->told, 0, sizeof h->told);
    memset(h->owed, 0, sizeof h->owed);
    memset(h->noticed, 0, sizeof h->noticed);
    memset(h->ejected, 0, sizeof h->ejected);
    h->again = FALSE;
}

/* What came and went since the reset is no event either: the guest finds what is there. */
static gboolean pci_hotplug_power_on(Device *dev, GError **error)
{
    PciHotplug *h = (PciHotplug *)dev;

    LOCK_SCOPE(&dev->lock);
    mirror_slots(h);
    memset(h->up, 0, sizeof h->up);
    memset(h->down, 0, sizeof h->down);
    return TRUE;
}

/* Slots without an occupant have no news of one. */
static gboolean pci_hotplug_post_load(Device *dev, GError **error)
{
    PciHotplug *h = (PciHotplug *)dev;

    mirror_slots(h);
    for (guint g = 0; g < GROUPS; g++) {
        h->up[g] &= h->occupied[g];
        h->asked[g] &= h->occupied[g];
        h->told[g] &= h->asked[g];
        h->down[g] &= h->removable[g];
    }
    for (guint n = 0; n < PCI_HOTPLUG_SLOTS; n++) {
        if (!(h->removable[n / 32] & bit_of(n)))
            h->owed[n] = 0;
    }
    return TRUE;
}

/* Arrays of words: little endian, as the host. */
#define BITS_ROW(field)                                                                                                 \
    {                                                                                                                   \
        .name = #field, .kind = STATE_BYTES, .offset = G_STRUCT_OFFSET(PciHotplug, field), .size = sizeof(SlotBits),    \
        .since = "0.2"                                                                                                  \
    }

static const StateDesc pci_hotplug_state[] = {
    STATE_ROW(PciHotplug, selector, U32, "0.2"),
    STATE_ROW(PciHotplug, index_slot, U32, "0.2"),
    BITS_ROW(up),
    BITS_ROW(down),
    BITS_ROW(asked),
    BITS_ROW(told),
    STATE_ROW(PciHotplug, owed, BYTES, "0.2"),
    STATE_END,
};

static const DeviceOps pci_hotplug_ops = {
    .realize = pci_hotplug_realize,
    .publish = pci_hotplug_publish,
    .reset = pci_hotplug_reset,
    .power_on = pci_hotplug_power_on,
    .unpublish = pci_hotplug_unpublish,
    .unrealize = pci_hotplug_unrealize,
    .post_load = pci_hotplug_post_load,
};

const DeviceType pci_hotplug_type = {
    .name = PART_PCI_HOTPLUG,
    .size = sizeof(PciHotplug),
    .ops = &pci_hotplug_ops,
    .state = pci_hotplug_state,
};

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mem-hotplug.c - the register block through which AML learns of memory that comes and goes: QEMU's
 * documented interface (docs/specs/acpi_mem_hotplug.rst there), 24 ports.
 *
 *   offset  read                      write
 *   0x00    address, low half         selector of a slot
 *   0x04    address, high half        _OST event
 *   0x08    size, low half            _OST status: completes the report
 *   0x0c    size, high half           -
 *   0x10    proximity domain          -
 *   0x14    bit 0 there, 1 insert     bit 1, 2: clears the event
 *           event, 2 remove event     bit 3: ejects
 *
 * Base RAM is in slots too but is never seen here: it can not go. Slots are mirrored under this device's lock, since the
 * hooks run on vCPU threads; what the guest answers is noted per slot and handed to the main thread, as in cpu-hotplug.c.
 */
#include "mem-hotplug.h"

#include "../core/unplug.h"
#include "../mem/memory-backend.h"
#include "../platform/parts.h"
#include "ost.h"

#define SLOTS 256 /* the upper bound of memory-slots */

enum {
    REG_ADDR_LOW = 0x00,
    REG_ADDR_HIGH = 0x04,
    REG_SIZE_LOW = 0x08,
    REG_SIZE_HIGH = 0x0c,
    REG_NODE = 0x10,
    REG_FLAGS = 0x14,
    REG_SELECTOR = 0x00,
    REG_OST_EVENT = 0x04,
    REG_OST_STATUS = 0x08,
};

enum {
    FLAG_ENABLED = 1 << 0,
    FLAG_INSERT = 1 << 1,
    FLAG_REMOVE = 1 << 2,
    CONTROL_EJECT = 1 << 3,
};

/* What the guest said of a slot and the main thread has not heard. */
enum { SAID_NOTICED = 1 << 0, SAID_EJECT = 1 << 1, SAID_OST = 1 << 2 };

typedef struct {
    Device    dev;
    guint16   n_slots;
    guint32   selector;
    guint8    inserting[SLOTS], removing[SLOTS]; /* event pending */
    guint32   ost_event[SLOTS], ost_status[SLOTS];
    guint8    present[SLOTS], said[SLOTS];
    guint64   addr[SLOTS], size[SLOTS];
    IoRegion *region;
    Deferred *hear;
} MemHotplug;

static MemHotplug *hotplug_of(DeviceSet *set)
{
    return (MemHotplug *)device_set_part(set, PART_MEM_HOTPLUG);
}

/* ---- registers, as dwords ---- */

static guint32 read_dword(const MemHotplug *h, guint64 offset)
{
    guint32 s = h->selector;

    if (s >= h->n_slots)
        return 0;
    switch (offset) {
    case REG_ADDR_LOW:
        return (guint32)h->addr[s];
    case REG_ADDR_HIGH:
        return (guint32)(h->addr[s] >> 32);
    case REG_SIZE_LOW:
        return (guint32)h->size[s];
    case REG_SIZE_HIGH:
        return (guint32)(h->size[s] >> 32);
    case REG_FLAGS:
        return (h->present[s] ? FLAG_ENABLED : 0u) | (h->inserting[s] ? FLAG_INSERT : 0u) |
               (h->removing[s] ? FLAG_REMOVE : 0u);
    default:
        return 0; /* there is one proximity domain */
    }
}

static guint64 regs_read(gpointer opaque, guint64 offset, unsigned size)
{
    return (read_dword(opaque, offset & ~G_GUINT64_CONSTANT(3)) >> (offset & 3) * 8) & ones(size);
}

static void say(MemHotplug *h, guint8 what)
{
    h->said[h->selector] |= what;
    deferred_schedule(h->hear);
}

static void write_flags(MemHotplug *h, guint8 value)
{
    guint32 s = h->selector;

    if (value & FLAG_INSERT)
        h->inserting[s] = 0;
    if ((value & FLAG_REMOVE) && h->removing[s]) {
        h->removing[s] = 0;
        say(h, SAID_NOTICED);
    }
    /* The guest looks at once whether it went, and takes nothing else for success. */
    if ((value & CONTROL_EJECT) && h->present[s]) {
        h->present[s] = 0;
        say(h, SAID_EJECT);
    }
}

static void regs_write(gpointer opaque, guint64 offset, guint64 value, unsigned size)
{
    MemHotplug *h = opaque;

    if (offset == REG_SELECTOR && size == 4) {
        h->selector = (guint32)value;
        return;
    }
    if (h->selector >= h->n_slots)
        return;
    if (offset == REG_FLAGS && size == 1) {
        write_flags(h, (guint8)value);
    } else if (offset == REG_OST_EVENT && size == 4) {
        h->ost_event[h->selector] = (guint32)value;
    } else if (offset == REG_OST_STATUS && size == 4) {
        h->ost_status[h->selector] = (guint32)value;
        say(h, SAID_OST);
    }
}

static const IoOps regs_ops = { .read = regs_read, .write = regs_write, .min_size = 1, .max_size = 4 };

/* ---- what the guest said, on the main thread ---- */

typedef struct {
    guint   slot;
    guint8  said;
    guint32 event, status;
} Answer;

static gboolean take_answer(MemHotplug *h, Answer *out)
{
    LOCK_SCOPE(&h->dev.lock);
    for (guint i = 0; i < h->n_slots; i++) {
        if (h->said[i]) {
            *out = (Answer){ i, h->said[i], h->ost_event[i], h->ost_status[i] };
            h->said[i] = 0;
            return TRUE;
        }
    }
    return FALSE;
}

static void act_on(MemHotplug *h, const Answer *answer)
{
    Device *dimm = mem_device_dimm(h->dev.set, answer->slot);

    if (answer->said & SAID_OST)
        ost_tell(h->dev.set, &(DeviceOst){ FALSE, answer->slot, dimm ? dimm->id : NULL, answer->event, answer->status });
    if (!dimm)
        return;
    if (answer->said & SAID_NOTICED)
        device_unplug_noticed(dimm);
    if (answer->said & SAID_EJECT)
        device_unplug_done(dimm); /* also where nobody asked: the guest does not use it any more */
    else if (answer->said & SAID_OST)
        ost_report(dimm, answer->event, answer->status);
}

static void hear(gpointer user)
{
    Answer answer;

    while (take_answer(user, &answer))
        act_on(user, &answer);
}

/* ---- what the DIMMs tell ---- */

/* Main thread, lock held. */
static void mirror(MemHotplug *h, guint slot)
{
    Device *dimm = mem_device_dimm(h->dev.set, slot);

    h->present[slot] = dimm && (dimm->state == DEVICE_PUBLISHED || dimm->state == DEVICE_UNPLUG_PENDING);
    h->addr[slot] = h->present[slot] ? dimm_address(dimm) : 0;
    h->size[slot] = h->present[slot] ? dimm_size(dimm) : 0;
}

void mem_hotplug_notify(DeviceSet *set, guint index)
{
    MemHotplug *h = hotplug_of(set);

    g_assert(index < h->n_slots);
    {
        LOCK_SCOPE(&h->dev.lock);
        mirror(h, index);
        h->inserting[index] = 1;
    }
    pm_gpe_plugged(set, MEM_HOTPLUG_GPE); /* the PM block has a lock of its own */
}

void mem_hotplug_request_remove(DeviceSet *set, guint index)
{
    MemHotplug *h = hotplug_of(set);

    g_assert(index < h->n_slots);
    {
        LOCK_SCOPE(&h->dev.lock);
        h->removing[index] = 1;
    }
    pm_gpe_set(set, MEM_HOTPLUG_GPE);
}

void mem_hotplug_gone(DeviceSet *set, guint index)
{
    MemHotplug *h = hotplug_of(set);

    g_assert(index < h->n_slots);
    LOCK_SCOPE(&h->dev.lock);
    h->present[index] = h->inserting[index] = h->removing[index] = h->said[index] = 0;
    h->addr[index] = h->size[index] = 0;
}

void mem_hotplug_ost(DeviceSet *set, guint index, guint32 *event, guint32 *status)
{
    MemHotplug *h = hotplug_of(set);

    g_assert(index < h->n_slots);
    LOCK_SCOPE(&h->dev.lock);
    *event = h->ost_event[index];
    *status = h->ost_status[index];
}

/* ---- the device ---- */

static gboolean mem_hotplug_realize(Device *dev, GError **error)
{
    MemHotplug *h = (MemHotplug *)dev;
    const BoardConfig *c = board_config(dev->set);

    h->n_slots = c->memory_slots;
    h->hear = deferred_new(device_set_vm(dev->set), hear, h);
    return device_claim_io(dev, IO_PIO, c->memory_hotplug_base, MEM_HOTPLUG_REG_LEN, "memory-hotplug-base", error);
}

static void mem_hotplug_publish(Device *dev)
{
    MemHotplug *h = (MemHotplug *)dev;
    g_autoptr(GError) error = NULL;

    h->region = iobus_add(device_set_vm(dev->set), IO_PIO, board_config(dev->set)->memory_hotplug_base, MEM_HOTPLUG_REG_LEN,
                          &regs_ops, h, &dev->lock, 0, PART_MEM_HOTPLUG, &error);
    g_assert_no_error(error); /* claimed in realize */
}

static void mem_hotplug_unpublish(Device *dev)
{
    iobus_remove(device_set_vm(dev->set), ((MemHotplug *)dev)->region);
}

static void mem_hotplug_unrealize(Device *dev)
{
    g_clear_pointer(&((MemHotplug *)dev)->hear, deferred_free);
}

static void mem_hotplug_reset(Device *dev, ResetKind kind)
{
    MemHotplug *h = (MemHotplug *)dev;

    h->selector = 0;
    /* The guest starts anew, with all that is there. */
    memset(h->inserting, 0, sizeof h->inserting);
    memset(h->removing, 0, sizeof h->removing);
    memset(h->said, 0, sizeof h->said);
    memset(h->ost_event, 0, sizeof h->ost_event);
    memset(h->ost_status, 0, sizeof h->ost_status);
}

/* What was plugged since the reset is no event either. */
static gboolean mem_hotplug_power_on(Device *dev, GError **error)
{
    MemHotplug *h = (MemHotplug *)dev;

    LOCK_SCOPE(&dev->lock);
    memset(h->inserting, 0, sizeof h->inserting);
    for (guint i = 0; i < h->n_slots; i++)
        mirror(h, i);
    return TRUE;
}

/* Slots that this board does not have hold no events. */
static gboolean mem_hotplug_post_load(Device *dev, GError **error)
{
    MemHotplug *h = (MemHotplug *)dev;

    memset(h->inserting + h->n_slots, 0, SLOTS - h->n_slots);
    memset(h->removing + h->n_slots, 0, SLOTS - h->n_slots);
    for (guint i = 0; i < h->n_slots; i++)
        mirror(h, i);
    return TRUE;
}

#define ARRAY_ROW(field)                                                                                 \
    {                                                                                                    \
        .name = #field, .kind = STATE_BYTES, .offset = G_STRUCT_OFFSET(MemHotplug, field),               \
        .size = sizeof(((MemHotplug *)0)->field), .since = "0.1"                                         \
    }

static const StateDesc mem_hotplug_state[] = {
    STATE_ROW(MemHotplug, selector, U32, "0.1"),
    ARRAY_ROW(inserting),
    ARRAY_ROW(removing),
    ARRAY_ROW(ost_event), /* little endian, as the host */
    ARRAY_ROW(ost_status),
    STATE_END,
};

static const DeviceOps mem_hotplug_ops = {
    .realize = mem_hotplug_realize,
    .publish = mem_hotplug_publish,
    .reset = mem_hotplug_reset,
    .power_on = mem_hotplug_power_on,
    .unpublish = mem_hotplug_unpublish,
    .unrealize = mem_hotplug_unrealize,
    .post_load = mem_hotplug_post_load,
};

const DeviceType mem_hotplug_type = {
    .name = PART_MEM_HOTPLUG,
    .size = sizeof(MemHotplug),
    .ops = &mem_hotplug_ops,
    .state = mem_hotplug_state,
};

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cpu-hotplug.c - the register block through which AML learns of CPUs that come and go: QEMU's
 * documented "modern" interface (docs/specs/acpi_cpu_hotplug.rst there), 12 ports, always in
 * modern mode; the legacy bitmap is not offered, and the write of zero that switches away from
 * it selects CPU 0.
 *
 * The hooks run on vCPU threads and may not walk the device set, which belongs to the main
 * thread. So presence and APIC ids are mirrored here, under this device's lock, when the machine
 * powers on and when CPUs come and go. What the guest answers to a request (it took notice, it
 * ejects, it refuses by _OST) is noted per slot and handed to the main thread, which acts on it.
 */
#include "cpu-hotplug.h"

#include "../core/unplug.h"
#include "../cpu/cpu.h"
#include "../platform/parts.h"
#include "ost.h"

#define SLOTS 1024 /* the upper bound of max-cpus */

enum {
    REG_SELECTOR = 0x0, /* read: command data 2 */
    REG_FLAGS = 0x4,
    REG_COMMAND = 0x5,
    REG_DATA = 0x8,
};

enum {
    FLAG_ENABLED = 1 << 0,
    FLAG_INSERT = 1 << 1,
    FLAG_REMOVE = 1 << 2,
    CONTROL_EJECT = 1 << 3,
};

enum {
    COMMAND_NEXT_EVENT = 0,
    COMMAND_OST_EVENT = 1,
    COMMAND_OST_STATUS = 2,
    COMMAND_CPU_ID = 3,
};

/* What the guest said of a slot and the main thread has not heard; in this order it acts on them. */
enum {
    SAID_NOTICED = 1 << 0, /* cleared the remove event */
    SAID_EJECT = 1 << 1,
    SAID_OST = 1 << 2,
};

typedef struct {
    Device    dev;
    guint16   n_slots;
    guint32   selector;
    guint8    command;
    guint8    inserting[SLOTS], removing[SLOTS]; /* event pending */
    guint32   ost_event[SLOTS], ost_status[SLOTS];
    guint8    present[SLOTS], said[SLOTS];
    guint32   apic_id[SLOTS];
    IoRegion *region;
    Deferred *hear;
} CpuHotplug;

static CpuHotplug *hotplug_of(DeviceSet *set)
{
    return (CpuHotplug *)device_set_part(set, PART_CPU_HOTPLUG);
}

/* ---- registers, as dwords with a mask of the bytes accessed ---- */

static guint32 read_dword(const CpuHotplug *h, guint64 offset)
{
    guint32 s = h->selector;

    if (s >= h->n_slots)
        return 0;
    if (offset == REG_FLAGS)
        return (h->present[s] ? FLAG_ENABLED : 0u) | (h->inserting[s] ? FLAG_INSERT : 0u) |
               (h->removing[s] ? FLAG_REMOVE : 0u);
    if (offset != REG_DATA)
        return 0; /* command data 2: the upper half of an id, and APIC ids have 32 bits */
    switch (h->command) {
    case COMMAND_NEXT_EVENT:
        return s;
    case COMMAND_CPU_ID:
        return h->apic_id[s];
    default:
        return 0;
    }
}

static guint64 regs_read(gpointer opaque, guint64 offset, unsigned size)
{
    return (read_dword(opaque, offset & ~G_GUINT64_CONSTANT(3)) >> (offset & 3) * 8) & ones(size);
}

/* Round from the selected slot, which itself counts; without any event the selector stays. */
static void select_next_event(CpuHotplug *h)
{
    for (guint i = 0; i < h->n_slots; i++) {
        guint s = (h->selector + i) % h->n_slots;
        if (h->inserting[s] || h->removing[s]) {
            h->selector = s;
            return;
        }
    }
}

static void say(CpuHotplug *h, guint8 what)
{
    h->said[h->selector] |= what;
    deferred_schedule(h->hear);
}

static void write_flags(CpuHotplug *h, guint8 value)
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

/* _OST writes the event first; with the status the report is complete. */
static void write_data(CpuHotplug *h, guint32 value)
{
    if (h->command == COMMAND_OST_EVENT) {
        h->ost_event[h->selector] = value;
    } else if (h->command == COMMAND_OST_STATUS) {
        h->ost_status[h->selector] = value;
        say(h, SAID_OST);
    }
}

static void regs_write(gpointer opaque, guint64 offset, guint64 value, unsigned size)
{
    CpuHotplug *h = opaque;

    if (offset == REG_SELECTOR && size == 4) {
        h->selector = (guint32)value;
        return;
    }
    if (h->selector >= h->n_slots)
        return;
    if (offset == REG_FLAGS && size == 1) {
        write_flags(h, (guint8)value);
    } else if (offset == REG_COMMAND && size == 1 && value <= COMMAND_CPU_ID) {
        h->command = (guint8)value;
        if (h->command == COMMAND_NEXT_EVENT)
            select_next_event(h);
    } else if (offset == REG_DATA && size == 4) {
        write_data(h, (guint32)value);
    }
}

static const IoOps regs_ops = {
    .read = regs_read, .write = regs_write, .min_size = 1, .max_size = 4
};

/* ---- what the guest said, on the main thread ---- */

typedef struct {
    guint   index;
    guint8  said;
    guint32 event, status;
} Answer;

static gboolean take_answer(CpuHotplug *h, Answer *out)
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

/* Also where nobody asked: the guest does not use it any more. */
static void eject(CpuHotplug *h, Device *cpu, guint index)
{
    if (cpu_plugged_count(h->dev.set) > 1) {
        device_unplug_done(cpu);
        return;
    }
    device_guest_error(&h->dev, "eject of CPU %u, the machine's last", index);
    LOCK_SCOPE(&h->dev.lock);
    h->present[index] = 1;
}

static void act_on(CpuHotplug *h, const Answer *answer)
{
    CpuSlot slot;

    cpu_slot_get(h->dev.set, answer->index, &slot);
    if (answer->said & SAID_OST)
        ost_tell(h->dev.set, &(DeviceOst){ TRUE, answer->index, slot.cpu ? slot.cpu->id : NULL, answer->event, answer->status });
    if (!slot.cpu)
        return;
    if (answer->said & SAID_NOTICED)
        device_unplug_noticed(slot.cpu);
    if (answer->said & SAID_EJECT)
        eject(h, slot.cpu, answer->index);
    else if (answer->said & SAID_OST)
        ost_report(slot.cpu, answer->event, answer->status);
}

static void hear(gpointer user)
{
    CpuHotplug *h = user;
    Answer answer;

    while (take_answer(h, &answer))
        act_on(h, &answer);
}

/* ---- what the CPUs tell ---- */

void cpu_hotplug_notify(DeviceSet *set, guint index)
{
    CpuHotplug *h = hotplug_of(set);

    g_assert(index < h->n_slots);
    g_mutex_lock(&h->dev.lock);
    h->present[index] = 1;
    h->inserting[index] = 1;
    g_mutex_unlock(&h->dev.lock); /* the PM block has a lock of its own */
    pm_gpe_plugged(set, CPU_HOTPLUG_GPE);
}

void cpu_hotplug_request_remove(DeviceSet *set, guint index)
{
    CpuHotplug *h = hotplug_of(set);

    g_assert(index < h->n_slots);
    g_mutex_lock(&h->dev.lock);
    h->removing[index] = 1;
    g_mutex_unlock(&h->dev.lock);
    pm_gpe_set(set, CPU_HOTPLUG_GPE);
}

void cpu_hotplug_gone(DeviceSet *set, guint index)
{
    CpuHotplug *h = hotplug_of(set);

    g_assert(index < h->n_slots);
    LOCK_SCOPE(&h->dev.lock);
    h->present[index] = h->inserting[index] = h->removing[index] = h->said[index] = 0;
}

void cpu_hotplug_ost(DeviceSet *set, guint index, guint32 *event, guint32 *status)
{
    CpuHotplug *h = hotplug_of(set);

    g_assert(index < h->n_slots);
    LOCK_SCOPE(&h->dev.lock);
    *event = h->ost_event[index];
    *status = h->ost_status[index];
}

/* ---- the device ---- */

static gboolean cpu_hotplug_realize(Device *dev, GError **error)
{
    CpuHotplug *h = (CpuHotplug *)dev;
    const BoardConfig *c = board_config(dev->set);

    h->n_slots = c->max_cpus;
    h->hear = deferred_new(device_set_vm(dev->set), hear, h);
    return device_claim_io(dev, IO_PIO, c->cpu_hotplug_base, CPU_HOTPLUG_REG_LEN,
                           "cpu-hotplug-base", error);
}

static void cpu_hotplug_publish(Device *dev)
{
    CpuHotplug *h = (CpuHotplug *)dev;
    g_autoptr(GError) error = NULL;

    h->region =
        iobus_add(device_set_vm(dev->set), IO_PIO, board_config(dev->set)->cpu_hotplug_base,
                  CPU_HOTPLUG_REG_LEN, &regs_ops, h, &dev->lock, 0, PART_CPU_HOTPLUG, &error);
    g_assert_no_error(error); /* claimed in realize */
}

static void cpu_hotplug_unpublish(Device *dev)
{
    iobus_remove(device_set_vm(dev->set), ((CpuHotplug *)dev)->region);
}

static void cpu_hotplug_unrealize(Device *dev)
{
    g_clear_pointer(&((CpuHotplug *)dev)->hear, deferred_free);
}

static void cpu_hotplug_reset(Device *dev, ResetKind kind)
{
    CpuHotplug *h = (CpuHotplug *)dev;

    h->selector = 0;
    h->command = COMMAND_NEXT_EVENT;
    /* The guest starts anew, with all that is there. */
    memset(h->inserting, 0, sizeof h->inserting);
    memset(h->removing, 0, sizeof h->removing);
    memset(h->said, 0, sizeof h->said);
    memset(h->ost_event, 0, sizeof h->ost_event);
    memset(h->ost_status, 0, sizeof h->ost_status);
}

static gboolean is_plugged(const CpuSlot *slot)
{
    return slot->cpu &&
           (slot->cpu->state == DEVICE_PUBLISHED || slot->cpu->state == DEVICE_UNPLUG_PENDING);
}

/* Main thread, lock held. */
static void mirror_slots(CpuHotplug *h)
{
    CpuSlot slot;

    for (guint i = 0; i < h->n_slots; i++) {
        cpu_slot_get(h->dev.set, i, &slot);
        h->present[i] = is_plugged(&slot);
        h->apic_id[i] = slot.apic_id;
    }
}

/* What was plugged since the reset is no event either: the guest finds it there. */
static gboolean cpu_hotplug_power_on(Device *dev, GError **error)
{
    CpuHotplug *h = (CpuHotplug *)dev;

    LOCK_SCOPE(&dev->lock);
    mirror_slots(h);
    memset(h->inserting, 0, sizeof h->inserting);
    return TRUE;
}

/* Slots that this board does not have hold no events. */
static gboolean cpu_hotplug_post_load(Device *dev, GError **error)
{
    CpuHotplug *h = (CpuHotplug *)dev;
    guint rest = SLOTS - h->n_slots;

    memset(h->inserting + h->n_slots, 0, rest);
    memset(h->removing + h->n_slots, 0, rest);
    h->command = MIN(h->command, COMMAND_CPU_ID);
    mirror_slots(h);
    return TRUE;
}

#define OST_ROW(field)                                                                             \
    {                                                                                              \
        .name = #field, .kind = STATE_BYTES, .offset = G_STRUCT_OFFSET(CpuHotplug, field),         \
        .size = sizeof(((CpuHotplug *)0)->field), .since = "0.1"                                   \
    }

static const StateDesc cpu_hotplug_state[] = {
    STATE_ROW(CpuHotplug, selector, U32, "0.1"),
    STATE_ROW(CpuHotplug, command, U8, "0.1"),
    STATE_ROW(CpuHotplug, inserting, BYTES, "0.1"),
    STATE_ROW(CpuHotplug, removing, BYTES, "0.1"),
    OST_ROW(ost_event), /* little endian, as the host */
    OST_ROW(ost_status),
    STATE_END,
};

static const DeviceOps cpu_hotplug_ops = {
    .realize = cpu_hotplug_realize,
    .publish = cpu_hotplug_publish,
    .reset = cpu_hotplug_reset,
    .power_on = cpu_hotplug_power_on,
    .unpublish = cpu_hotplug_unpublish,
    .unrealize = cpu_hotplug_unrealize,
    .post_load = cpu_hotplug_post_load,
};

const DeviceType cpu_hotplug_type = {
    .name = PART_CPU_HOTPLUG,
    .size = sizeof(CpuHotplug),
    .ops = &cpu_hotplug_ops,
    .state = cpu_hotplug_state,
};

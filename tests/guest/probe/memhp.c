/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory hotplug by the register block at 0xa00 that QEMU documents (docs/specs/acpi_mem_hotplug):
 * a selector for the slot; address, size and proximity domain; flags that show and clear events,
 * and eject; the two words of an _OST report. How many slots there are only AML says: one beyond
 * reads as zeros, and all that may exist are looked at.
 *
 * Memory that comes is written and read back all over, by a pattern of its own addresses: were two
 * places the same memory, the second would have overwritten the first.
 */
#include "hotplug.h"

#define HP_BASE 0xa00
enum { R_ADDR = 0x00, R_SIZE = 0x08, R_NODE = 0x10, R_FLAGS = 0x14 };
enum { W_SELECTOR = 0x00, W_OST_EVENT = 0x04, W_OST_STATUS = 0x08, W_FLAGS = 0x14 };

#define FLAG_PRESENT 0x01
#define FLAG_INSERT 0x02
#define FLAG_REMOVE 0x04
#define EJECT 0x08

#define SLOTS 256
#define SAMPLES 128
#define PATTERN 0x9e3779b97f4a7c15ull

static u8 flags_of(u32 slot)
{
    outl(HP_BASE + W_SELECTOR, slot);
    return inb(HP_BASE + R_FLAGS);
}

static u64 read_pair(u16 reg)
{
    u64 low = inl((u16)(HP_BASE + reg));

    return low | (u64)inl((u16)(HP_BASE + reg + 4)) << 32;
}

static void ost(u32 slot, u32 event, u32 status)
{
    outl(HP_BASE + W_SELECTOR, slot);
    outl(HP_BASE + W_OST_EVENT, event);
    outl(HP_BASE + W_OST_STATUS, status);
}

/* Evenly over the range; the last one is its last quadword. */
static u64 sample(u64 addr, u64 size, u32 i)
{
    return i == SAMPLES ? addr + size - 8 : addr + size / SAMPLES / 8 * 8 * i;
}

/* Samples that do not hold what was written; all of them where the memory can not be reached. */
static u32 test_memory(u64 addr, u64 size)
{
    u32 bad = 0;

    for (u32 i = 0; i <= SAMPLES; i++) {
        volatile u64 *p = phys_ptr(sample(addr, size, i), 8);
        if (!p)
            return SAMPLES + 1;
        *p = sample(addr, size, i) ^ PATTERN;
    }
    for (u32 i = 0; i <= SAMPLES; i++) {
        volatile u64 *p = phys_ptr(sample(addr, size, i), 8);
        bad += *p != (sample(addr, size, i) ^ PATTERN);
    }
    return bad;
}

static void inserted(u32 slot)
{
    u64 addr = read_pair(R_ADDR), size = read_pair(R_SIZE);
    u32 node = inl(HP_BASE + R_NODE), bad = test_memory(addr, size);

    outb(HP_BASE + W_FLAGS, FLAG_INSERT);
    ost(slot, OST_DEVICE_CHECK, OST_SUCCESS);
    emit("memhp-inserted slot=%u addr=%#llx size=%#llx node=%u touched=%u wrong=%u status=%s\n",
         slot, addr, size, node, SAMPLES + 1, bad, bad ? "bad" : "ok");
}

void memhp_eject(u32 slot)
{
    outl(HP_BASE + W_SELECTOR, slot);
    outb(HP_BASE + W_FLAGS, EJECT);
    emit("memhp-removed slot=%u present=%u\n", slot, flags_of(slot) & FLAG_PRESENT);
}

static void asked(u32 slot)
{
    outb(HP_BASE + W_FLAGS, FLAG_REMOVE);
    emit("memhp-asked slot=%u addr=%#llx\n", slot, read_pair(R_ADDR));
    if (temper == WILLING) {
        memhp_eject(slot);
    } else if (temper == REFUSE) {
        ost(slot, OST_EJECT_REQUEST, OST_IN_USE);
        emit("memhp-refused slot=%u\n", slot);
    }
}

/* In this order: a slot may have come and be asked for by one event. */
bool memhp_gpe(void)
{
    bool any = false;

    for (u32 slot = 0; slot < SLOTS; slot++) {
        u8 flags = flags_of(slot);
        if (flags & FLAG_INSERT)
            inserted(slot);
        if (flags & FLAG_REMOVE)
            asked(slot);
        any |= (flags & (FLAG_INSERT | FLAG_REMOVE)) != 0;
    }
    return any;
}

void memhp_status(void)
{
    for (u32 slot = 0; slot < SLOTS; slot++) {
        u8 flags = flags_of(slot);
        if (flags)
            emit("memhp slot=%u flags=%#x addr=%#llx size=%#llx\n", slot, flags,
                 read_pair(R_ADDR), read_pair(R_SIZE));
    }
}

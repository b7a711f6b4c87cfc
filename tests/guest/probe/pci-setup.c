/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What firmware, or an operating system after it, does for PCI: bus numbers, bridge windows, BARs.
 *
 * Bridges that have a number keep it with their windows; `own` throws away what there is and does it
 * all again, BARs included, from the addresses that it is given, which moves everything. Functions on
 * the root bus get addresses out of ROOM; those behind a bridge out of its prefetchable window where
 * the BAR and the window allow, else out of the other one.
 *
 * While a BAR is sized it holds all ones, so memory decoding is off meanwhile.
 */
#include "pci.h"

#define MIB 0x100000ull
#define OWN_WINDOW (2 * MIB)
/* Behind what linux-loader leaves for root ports, which is no more than half of the range. */
#define DEFAULT_ROOM 0xf0000000ull
#define DEFAULT_ROOM_END 0xfe000000ull
enum { BAR_IO = 1, BAR_64 = 4, BAR_PREFETCH = 8 };

struct room {
    u64 next, end;
};

/* What functions on one bus take addresses from. */
struct rooms {
    struct room memory, prefetch;
};

static struct {
    bool own;
    u32 next_bus, bars, bridges, full;
    struct room root;
} setup;

int pci_parse_bdf(const char **s)
{
    u32 part[3] = {0, 0, 0}, n = 0;
    const char *p = *s;

    for (; *p && *p != ' '; p++) {
        u32 low = (u32)*p | 0x20;
        if (*p == ':' || *p == '.')
            n++;
        else if (n < 3 && ((*p >= '0' && *p <= '9') || (low >= 'a' && low <= 'f')))
            part[n] = part[n] * 16 + (*p <= '9' ? (u32)*p - '0' : low - 'a' + 10);
        else
            return -1;
    }
    if (n != 2 || part[0] > 255 || part[1] > 31 || part[2] > 7)
        return -1;
    while (*p == ' ') {
        p++;
    }
    *s = p;
    return (int)(part[0] << 8 | part[1] << 3 | part[2]);
}

void pci_emit_bdf(u16 bdf)
{
    emit(" bdf=%02x:%02x.%u", bdf >> 8, bdf >> 3 & 31, bdf & 7);
}

u8 pci_find_cap(u16 bdf, u8 id, u8 after)
{
    u8 at;

    if (!(pci_get16(bdf, PCI_STATUS) & 0x10))
        return 0;
    at = after ? pci_get8(bdf, (u8)(after + 1)) : pci_get8(bdf, PCI_CAPABILITIES);
    /* A list of more than 48 is a loop. */
    for (u32 i = 0; at >= 0x40 && i < 48; i++) {
        u32 head = pci_read32(bdf, at & 0xfc);
        if ((head & 0xff) == id)
            return at & 0xfc;
        at = (u8)(head >> 8);
    }
    return 0;
}

u64 pci_bar_address(u16 bdf, u32 n)
{
    u8 off = (u8)(PCI_BAR0 + 4 * n);
    u32 low = pci_read32(bdf, off);
    u64 high = (low & 6) == BAR_64 ? pci_read32(bdf, (u8)(off + 4)) : 0;

    return low & BAR_IO ? 0 : high << 32 | (low & ~15u);
}

static u64 take(struct room *room, u64 size)
{
    u64 at = (room->next + size - 1) & ~(size - 1);

    if (!size || at < room->next || at > room->end || room->end - at < size)
        return 0;
    room->next = at + size;
    return at;
}

/* ---- BARs ---- */

/* The writable bits tell the size. */
static u64 bar_size(u16 bdf, u8 off, bool wide)
{
    u64 old = pci_read32(bdf, off), mask;

    pci_set32(bdf, off, ~0u);
    mask = pci_read32(bdf, off) & ~15u;
    pci_set32(bdf, off, (u32)old);
    if (!wide)
        return mask ? (u32)(~mask + 1) : 0;
    old = pci_read32(bdf, (u8)(off + 4));
    pci_set32(bdf, (u8)(off + 4), ~0u);
    mask |= (u64)pci_read32(bdf, (u8)(off + 4)) << 32;
    pci_set32(bdf, (u8)(off + 4), (u32)old);
    return mask ? ~mask + 1 : 0;
}

static u64 bar_place(u64 size, u32 low, struct rooms *rooms)
{
    bool wide = (low & 6) == BAR_64;
    u64 at = wide && (low & BAR_PREFETCH) ? take(&rooms->prefetch, size) : 0;

    if (!at && (wide || rooms->memory.end <= 1ull << 32))
        at = take(&rooms->memory, size);
    return at;
}

static void setup_bar(u16 bdf, u32 n, struct rooms *rooms)
{
    u8 off = (u8)(PCI_BAR0 + 4 * n);
    u32 low = pci_read32(bdf, off);
    bool wide = (low & 6) == BAR_64;
    u64 at = pci_bar_address(bdf, n), size = bar_size(bdf, off, wide);

    if (!size)
        return;
    if (!at || setup.own)
        at = bar_place(size, low, rooms);
    setup.full += !at;
    pci_set32(bdf, off, (u32)at);
    if (wide)
        pci_set32(bdf, (u8)(off + 4), (u32)(at >> 32));
    setup.bars++;
    emit("pci-bar");
    pci_emit_bdf(bdf);
    emit(" n=%u addr=%#llx size=%#llx kind=%s prefetch=%u status=%s\n", n, at, size,
         wide ? "mem64" : "mem32", !!(low & BAR_PREFETCH), at ? "ok" : "bad");
}

/* I/O BARs are left alone: nothing that this program drives has one. */
static void setup_bars(u16 bdf, u32 count, struct rooms *rooms)
{
    u16 command = pci_get16(bdf, PCI_COMMAND);

    pci_set16(bdf, PCI_COMMAND, command & (u16)~PCI_CMD_MEMORY);
    for (u32 n = 0; n < count; n++) {
        u32 low = pci_read32(bdf, (u8)(PCI_BAR0 + 4 * n));
        if (!(low & BAR_IO))
            setup_bar(bdf, n, rooms);
        if ((low & 7) == BAR_64)
            n++;
    }
    pci_set16(bdf, PCI_COMMAND, command | PCI_CMD_MEMORY | PCI_CMD_MASTER);
}

/* ---- bridges ---- */

/* A limit below the base is a closed window. */
static struct room window(u64 base, u64 limit)
{
    struct room room = {base, limit + MIB};

    if (limit < base || !base)
        room.next = room.end = 0;
    return room;
}

static struct room read_memory(u16 bdf)
{
    u32 v = pci_read32(bdf, PCI_MEMORY_WINDOW);

    return window((u64)(v & 0xfff0) << 16, v & 0xfff00000u);
}

static struct room read_prefetch(u16 bdf)
{
    u32 v = pci_read32(bdf, PCI_PREFETCH_WINDOW);

    return window((u64)pci_read32(bdf, PCI_PREFETCH_BASE_HIGH) << 32 | (u64)(v & 0xfff0) << 16,
                  (u64)pci_read32(bdf, PCI_PREFETCH_LIMIT_HIGH) << 32 | (v & 0xfff00000u));
}

/* Registers have bits 31 to 20 of base and limit; the prefetchable window 32 more. */
static u32 window_bits(u64 base, u64 size)
{
    return ((u32)(base + size - 1) & 0xfff00000u) | ((u32)(base >> 16) & 0xfff0);
}

static void open_windows(u16 bdf, struct rooms *outer)
{
    u64 prefetch = take(&outer->prefetch, OWN_WINDOW);
    u64 memory = outer->memory.end <= 1ull << 32 ? take(&outer->memory, OWN_WINDOW) : 0;
    u64 last = prefetch + OWN_WINDOW - 1;

    pci_set32(bdf, PCI_MEMORY_WINDOW, memory ? window_bits(memory, OWN_WINDOW) : 0x0000fff0);
    pci_set32(bdf, PCI_PREFETCH_BASE_HIGH, prefetch ? (u32)(prefetch >> 32) : ~0u);
    pci_set32(bdf, PCI_PREFETCH_LIMIT_HIGH, prefetch ? (u32)(last >> 32) : 0);
    pci_set32(bdf, PCI_PREFETCH_WINDOW, prefetch ? window_bits(prefetch, OWN_WINDOW) : 0x0000fff0);
}

static void setup_bus(u8 bus, struct rooms *rooms);

/* Everything behind must be reached while it is numbered: the last number comes at the end. */
static void setup_bridge(u16 bdf, struct rooms *outer)
{
    u8 secondary = pci_get8(bdf, PCI_PRIMARY + 1);
    struct rooms inner;
    bool fresh = setup.own || !secondary;

    if (fresh) {
        secondary = (u8)setup.next_bus++;
        pci_set8(bdf, PCI_PRIMARY, (u8)(bdf >> 8));
        pci_set8(bdf, PCI_PRIMARY + 1, secondary);
        pci_set8(bdf, PCI_PRIMARY + 2, 255);
        open_windows(bdf, outer);
    }
    inner.memory = read_memory(bdf);
    inner.prefetch = read_prefetch(bdf);
    setup_bars(bdf, 2, outer);
    setup.bridges++;
    emit("pci-bridge");
    pci_emit_bdf(bdf);
    emit(" secondary=%u fresh=%u memory=%#llx memory_end=%#llx prefetch=%#llx prefetch_end=%#llx\n",
         secondary, fresh, inner.memory.next, inner.memory.end, inner.prefetch.next,
         inner.prefetch.end);
    setup_bus(secondary, &inner);
    if (fresh)
        pci_set8(bdf, PCI_PRIMARY + 2, (u8)(setup.next_bus - 1));
}

static void setup_function(u16 bdf, struct rooms *rooms)
{
    u8 hdr = pci_get8(bdf, PCI_HEADER_TYPE) & 0x7f;

    if (hdr == 1)
        setup_bridge(bdf, rooms);
    else if (hdr == 0)
        setup_bars(bdf, 6, rooms);
}

/* All bridges here are ports, which lead to one device. */
static void setup_bus(u8 bus, struct rooms *rooms)
{
    for (u32 devfn = 0; devfn < (bus ? 8 : 256); devfn++) {
        u16 bdf = (u16)(bus << 8 | devfn);
        bool there = (pci_read32(bdf, 0) & 0xffff) != 0xffff;
        if (there)
            setup_function(bdf, rooms);
        if (!(devfn & 7) && !(there && (pci_get8(bdf, PCI_HEADER_TYPE) & 0x80)))
            devfn |= 7;
    }
}

/* A bridge may have come between others that have numbers. */
static void pass_numbered(void)
{
    for (u32 devfn = 0; devfn < 256; devfn++) {
        u16 bdf = (u16)devfn;
        u8 hdr = pci_get8(bdf, PCI_HEADER_TYPE);
        if (hdr != 0xff && (hdr & 0x7f) == 1 && pci_get8(bdf, PCI_PRIMARY + 2) >= setup.next_bus)
            setup.next_bus = pci_get8(bdf, PCI_PRIMARY + 2) + 1u;
        if (!(devfn & 7) && (hdr == 0xff || !(hdr & 0x80)))
            devfn |= 7;
    }
}

static void parse(const char *args)
{
    setup.own = options_has_word(args, "own");
    setup.root = (struct room){DEFAULT_ROOM, DEFAULT_ROOM_END};
    setup.next_bus = 1;
    for (; *args; args++) {
        const char *v;
        if ((v = str_after(args, "memory="))) {
            setup.root.next = str_number(v, NULL);
            setup.root.end = setup.root.next + 512 * MIB;
        } else if ((v = str_after(args, "bus="))) {
            setup.next_bus = (u32)str_number(v, NULL);
        }
    }
}

void pci_setup_order(const char *args)
{
    struct rooms rooms;

    memset(&setup, 0, sizeof setup);
    parse(args);
    if (!setup.own)
        pass_numbered();
    /* On the root bus one range is for both kinds; the copies must not overlap. */
    rooms.memory = rooms.prefetch = setup.root;
    rooms.memory.end -= (setup.root.end - setup.root.next) / 2;
    rooms.prefetch.next = rooms.memory.end;
    setup_bus(0, &rooms);
    emit("pci-setup own=%u bars=%u bridges=%u buses=%u status=%s\n", setup.own, setup.bars,
         setup.bridges, setup.next_bus, setup.full ? "bad" : "ok");
}

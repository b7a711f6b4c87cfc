/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guest-disk.c - the part of the bench's guest that reads from a disk: virtio-blk by PCI, polled, with no feature but VERSION_1.
 *
 * The disk is a function of bus 0. No firmware has run, so its BAR gets an address here. The code may run from ROM: all that changes
 * is at fixed addresses in RAM.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

enum { MAX_QUEUE = 128, CAP_VENDOR = 9, CAP_COMMON = 1, CAP_NOTIFY = 2, CAP_DEVICE = 4 };
enum { NEXT = 1, WRITABLE = 2 };

struct desc { /* virtio 1.2 section 2.7.5 */
    u64 addr;
    u32 len;
    u16 flags, next;
};
struct request { /* section 5.2.6: T_IN is 0 */
    u32 type, reserved;
    u64 sector;
};

#define DESC ((volatile struct desc *)0x200000)
#define AVAIL ((volatile u16 *)0x204000) /* flags, index, ring */
#define USED ((volatile u16 *)0x208000)
#define REQUESTS ((volatile struct request *)0x20c000)
#define STATUS ((volatile u8 *)0x20e000)
#define BUFFERS 0x1000000u
#define BAR_ADDRESS 0xd0000000u

#define REG(type, address) (*(volatile type *)(address))

static u32 in32(u16 port)
{
    u32 v;
    __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static void out32(u16 port, u32 v)
{
    __asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}

static u32 config(u32 slot, u32 at)
{
    out32(0xcf8, 0x80000000u | slot << 11 | (at & 0xfc));
    return in32(0xcfc) >> (at & 3) * 8;
}

static void config_write(u32 slot, u32 at, u32 v)
{
    out32(0xcf8, 0x80000000u | slot << 11 | at);
    out32(0xcfc, v);
}

static u32 bar(u32 slot, u32 n)
{
    u32 at = 0x10 + n * 4, v = config(slot, at);

    if (!(v & ~15u)) {
        config_write(slot, at, BAR_ADDRESS);
        if ((v & 6) == 4)
            config_write(slot, at + 4, 0);
    }
    return config(slot, at) & ~15u;
}

struct disk {
    u32 common, device, notify; /* addresses */
};

static int find(struct disk *d)
{
    u32 slot, cap, notify = 0, multiplier = 0;

    for (slot = 0; slot < 32; slot++)
        if (config(slot, 0) == 0x10421af4 || config(slot, 0) == 0x10011af4)
            break;
    if (slot == 32)
        return 0;
    for (cap = config(slot, 0x34) & 0xff; cap; cap = config(slot, cap + 1) & 0xff) {
        u32 kind = config(slot, cap + 3) & 0xff;
        if ((config(slot, cap) & 0xff) != CAP_VENDOR || (kind != CAP_COMMON && kind != CAP_NOTIFY && kind != CAP_DEVICE))
            continue;
        u32 address = bar(slot, config(slot, cap + 4) & 0xff) + config(slot, cap + 8);
        if (kind == CAP_COMMON)
            d->common = address;
        else if (kind == CAP_DEVICE)
            d->device = address;
        else
            notify = address, multiplier = config(slot, cap + 16);
    }
    config_write(slot, 4, 6); /* memory, bus master */
    REG(u16, d->common + 22) = 0;
    d->notify = notify + REG(u16, d->common + 30) * multiplier;
    return 1;
}

static int start(const struct disk *d)
{
    u32 c = d->common;

    REG(u8, c + 20) = 0;
    REG(u8, c + 20) = 3; /* ACKNOWLEDGE, DRIVER */
    REG(u32, c + 8) = 1; /* features from 32 */
    REG(u32, c + 12) = 1;
    REG(u8, c + 20) = 11;
    if (!(REG(u8, c + 20) & 8))
        return 0;
    REG(u16, c + 22) = 0;
    REG(u16, c + 24) = MAX_QUEUE;
    REG(u32, c + 32) = (u32)DESC;
    REG(u32, c + 40) = (u32)AVAIL;
    REG(u32, c + 48) = (u32)USED;
    REG(u16, c + 28) = 1;
    REG(u8, c + 20) = 15;
    AVAIL[0] = 1; /* no interrupts */
    return 1;
}

static void submit(u32 slot, u32 sector, u32 bytes)
{
    volatile struct desc *d = DESC + slot * 3;

    REQUESTS[slot].sector = sector;
    d[0].addr = (u32)&REQUESTS[slot], d[0].len = 16, d[0].flags = NEXT, d[0].next = (u16)(slot * 3 + 1);
    d[1].addr = BUFFERS + slot * bytes, d[1].len = bytes, d[1].flags = NEXT | WRITABLE, d[1].next = (u16)(slot * 3 + 2);
    d[2].addr = (u32)&STATUS[slot], d[2].len = 1, d[2].flags = WRITABLE;
    STATUS[slot] = 0xff;
    AVAIL[2 + AVAIL[1] % MAX_QUEUE] = (u16)(slot * 3);
    AVAIL[1]++; /* volatile, and the processor keeps the order of stores */
}

/* Reads COUNT times BYTES from pseudo-random places: DEPTH at once, and when all are back the next. 0: something went wrong. */
int disk_reads(u32 count, u32 depth, u32 bytes)
{
    struct disk d = { 0, 0, 0 };
    u32 seed = 12345, places, good = 1;

    if (!find(&d) || !start(&d))
        return 0;
    places = REG(u32, d.device) / (bytes / 512);
    while (count && good) {
        u32 n = count < depth ? count : depth;
        for (u32 i = 0; i < n; i++) {
            seed = seed * 1664525u + 1013904223u;
            submit(i, (seed >> 8) % places * (bytes / 512), bytes);
        }
        REG(u16, d.notify) = 0;
        while (USED[1] != AVAIL[1])
            ;
        for (u32 i = 0; i < n; i++)
            good &= STATUS[i] == 0;
        count -= n;
    }
    return (int)good;
}

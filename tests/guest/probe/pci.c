/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * PCI configuration space by ports 0xcf8/0xcfc and, where MCFG has it, by memory (ECAM); both must
 * show the same. Buses behind bridges are walked when somebody numbered them; this program assigns
 * nothing.
 */
#include "probe.h"

#define BUSES 256

static u8 queue[BUSES];
static u32 queued;
static u32 seen[BUSES / 32];

static struct {
    u32 functions, compared, mismatches, present_where_absent;
} stats;

u32 pci_read32(u16 bdf, u8 off)
{
    outl(0xcf8, 0x80000000u | (u32)bdf << 8 | (off & 0xfc));
    return inl(0xcfc);
}

/* The address register is there to be read back only where mechanism 1 exists. */
static bool mechanism_present(void)
{
    u32 old = inl(0xcf8), v;

    outl(0xcf8, 0x80000000u);
    v = inl(0xcf8);
    outl(0xcf8, old);
    return v == 0x80000000u;
}

/* NULL where ECAM does not reach. */
static volatile u32 *ecam(u16 bdf)
{
    u32 bus = bdf >> 8;

    if (!acpi.ecam || bus < acpi.ecam_first || bus > acpi.ecam_last)
        return NULL;
    return phys_ptr(acpi.ecam + ((u64)bdf << 12) - ((u64)acpi.ecam_first << 20), 4096);
}

/* Nothing compared changes by itself: status bits only follow errors and interrupts. */
static void compare(u16 bdf, const u32 *config, u32 dwords)
{
    volatile u32 *p = ecam(bdf);

    if (!p)
        return;
    for (u32 i = 0; i < dwords; i++) {
        u32 v = p[i];
        stats.compared++;
        if (v == config[i])
            continue;
        stats.mismatches++;
        emit("pci-mismatch bdf=%02x:%02x.%u off=%#x port=%#x ecam=%#x\n", bdf >> 8,
             bdf >> 3 & 31, bdf & 7, i * 4, config[i], v);
    }
}

static void print_function(u16 bdf, const u32 *c, u32 dwords)
{
    u8 hdr = (u8)(c[3] >> 16);

    emit("pci bdf=%02x:%02x.%u vendor=%#04x device=%#04x class=%#06x rev=%#x hdr=%#x", bdf >> 8,
         bdf >> 3 & 31, bdf & 7, c[0] & 0xffff, c[0] >> 16, c[2] >> 8, c[2] & 0xff, hdr);
    if ((hdr & 0x7f) == 0)
        emit(" subvendor=%#04x subsystem=%#04x", c[11] & 0xffff, c[11] >> 16);
    else if ((hdr & 0x7f) == 1)
        emit(" secondary=%u subordinate=%u", c[6] >> 8 & 0xff, c[6] >> 16 & 0xff);
    emit("\n");
    for (u32 i = 0; i < dwords; i += 8) {
        emit("pcibytes bdf=%02x:%02x.%u off=%#02x data=", bdf >> 8, bdf >> 3 & 31, bdf & 7, i * 4);
        emit_hex(c + i, 32);
        emit("\n");
    }
}

/* Bus 0 behind a bridge means not numbered, which the seen bit covers, as it does loops. */
static void enqueue(u32 bus)
{
    if (bus >= BUSES || seen[bus / 32] >> (bus % 32) & 1)
        return;
    seen[bus / 32] |= 1u << (bus % 32);
    queue[queued++] = (u8)bus;
}

/* CONFIG gets its first bytes; false, but for the first dword, where there is no function. */
static bool read_function(u16 bdf, u32 *config, u32 dwords)
{
    config[0] = pci_read32(bdf, 0);
    if ((config[0] & 0xffff) == 0xffff)
        return false;
    for (u32 i = 1; i < dwords; i++) {
        config[i] = pci_read32(bdf, (u8)(i * 4));
    }
    return true;
}

bool pci_report(u16 bdf)
{
    u32 config[64], dwords = options.pci_full ? 64 : 16;

    if (!read_function(bdf, config, dwords))
        return false;
    print_function(bdf, config, dwords);
    return true;
}

/* The header type, or -1 where there is no function. */
static int visit(u16 bdf)
{
    u32 config[64], dwords = options.pci_full ? 64 : 16;
    u8 hdr;

    if (!read_function(bdf, config, dwords)) {
        volatile u32 *p = ecam(bdf);
        if (p && *p != config[0])
            stats.present_where_absent++;
        return -1;
    }
    stats.functions++;
    print_function(bdf, config, dwords);
    compare(bdf, config, dwords);
    hdr = (u8)(config[3] >> 16);
    if ((hdr & 0x7f) == 1)
        enqueue(config[6] >> 8 & 0xff);
    return hdr;
}

/* Functions 1 to 7 only where function 0 says so: others may alias it. */
static void scan_bus(u8 bus)
{
    for (u32 dev = 0; dev < 32; dev++) {
        u16 bdf = (u16)(bus << 8 | dev << 3);
        int hdr = visit(bdf);
        if (hdr < 0 || !(hdr & 0x80))
            continue;
        for (u32 fn = 1; fn < 8; fn++) {
            visit((u16)(bdf | fn));
        }
    }
}

void pci_section(void)
{
    if (!mechanism_present()) {
        emit("pci-total present=0 functions=0 buses=0\n");
        return;
    }
    queued = 0;
    memset(seen, 0, sizeof seen);
    memset(&stats, 0, sizeof stats);
    enqueue(0);
    for (u32 i = 0; i < queued; i++) {
        scan_bus(queue[i]);
    }
    emit("pci-total present=1 functions=%u buses=%u\n", stats.functions, queued);
    if (acpi.ecam)
        emit("pci-ecam present=1 base=%#llx compared=%u mismatches=%u ghosts=%u\n", acpi.ecam,
             stats.compared, stats.mismatches, stats.present_where_absent);
    else
        emit("pci-ecam present=0\n");
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finding and listing the ACPI tables. acpi_init() runs first and silently: the clock, the power
 * off, the CPU list and the interrupt lines all come from here. There is no AML interpreter; the
 * one object that is needed, \_S5, is a constant package, found by its bytes.
 */
#include "probe.h"

#define HEADER_SIZE 36
#define MAX_TABLE (4u << 20)

struct acpi acpi;

u8 byte_sum(const void *data, size_t n)
{
    const u8 *p = data, *end = p + (n & ~(size_t)7);
    u32 sum = 0;

    for (; p < end; p += 8) {
        sum += p[0] + p[1] + p[2] + p[3] + p[4] + p[5] + p[6] + p[7];
    }
    for (size_t i = 0; i < (n & 7); i++) {
        sum += p[i];
    }
    return (u8)sum;
}

/* The signature as a number first: at 1 MIPS the 8192 candidates are worth a cheap test. */
static const u8 *scan_rsdp(u64 from, u64 to)
{
    for (u64 at = from; at < to; at += 16) {
        const u8 *p = phys_ptr(at, 16);
        if (get32(p) == 0x20445352 && !memcmp(p, "RSD PTR ", 8) && byte_sum(p, 20) == 0)
            return p;
    }
    return NULL;
}

/* The loader's word counts more than what lies around in the BIOS area. */
static void find_rsdp(void)
{
    const u8 *p;

    if (boot.rsdp) {
        acpi.rsdp = boot.rsdp;
        acpi.rsdp_source = "pvh";
        return;
    }
    p = scan_rsdp(0xe0000, 0x100000);
    acpi.rsdp = (uintptr_t)p;
    acpi.rsdp_source = "scan";
}

/*
 * A table, wholly reachable, or NULL. The length is the guest's firmware's or the monitor's word:
 * without a limit a wrong one would have us sum up all of memory.
 */
static const u8 *table_at(u64 addr)
{
    const u8 *t = phys_ptr(addr, HEADER_SIZE);

    if (!t || get32(t + 4) < HEADER_SIZE || get32(t + 4) > MAX_TABLE)
        return NULL;
    return phys_ptr(addr, get32(t + 4));
}

typedef void (*table_fn)(u64 addr, const u8 *table, void *arg);

/* Calls fn for each table that the XSDT, else the RSDT names. */
static void each_table(table_fn fn, void *arg)
{
    const u8 *rsdp = phys_ptr(acpi.rsdp, 36);
    bool xsdt;
    const u8 *root;

    if (!rsdp)
        return;
    xsdt = rsdp[15] >= 2 && get64(rsdp + 24);
    root = table_at(xsdt ? get64(rsdp + 24) : get32(rsdp + 16));
    if (!root)
        return;
    for (u32 at = HEADER_SIZE; at + (xsdt ? 8 : 4) <= get32(root + 4); at += xsdt ? 8 : 4) {
        u64 addr = xsdt ? get64(root + at) : get32(root + at);
        fn(addr, table_at(addr), arg);
    }
}

/* Generic address structure: twelve bytes, the address unaligned in most tables. */
static void read_gas(struct gas *g, const u8 *p)
{
    *g = (struct gas){.space = p[0], .bits = p[1], .offset = p[2], .access = p[3]};
    g->addr = get64(p + 4);
}

/*
 * Offsets as in the ACPI specification's FADT table. Fields beyond the length that the table
 * declares belong to later revisions and stay zero.
 */
static void read_fadt(const u8 *t)
{
    u32 len = get32(t + 4);

    acpi.facs = get32(t + 36);
    acpi.dsdt = get32(t + 40);
    acpi.sci = get16(t + 46);
    acpi.smi_cmd = get32(t + 48);
    acpi.acpi_enable = t[52];
    acpi.pm1a_evt = get32(t + 56);
    acpi.pm1a_cnt = get32(t + 64);
    acpi.pm_tmr = get32(t + 76);
    acpi.gpe0 = get32(t + 80);
    acpi.pm1_evt_len = t[88];
    acpi.pm_tmr_len = t[91];
    acpi.gpe0_len = t[92];
    acpi.century = t[108];
    acpi.boot_arch = get16(t + 109);
    acpi.flags = get32(t + 112);
    if (len >= 129) {
        read_gas(&acpi.reset, t + 116);
        acpi.reset_value = t[128];
    }
    /* X_DSDT counts before DSDT when it is set. */
    if (len >= 148 && get64(t + 140))
        acpi.dsdt = get64(t + 140);
    if (len >= 256)
        read_gas(&acpi.sleep_control, t + 244);
}

/* A byte constant of AML at *p, which moves behind it. */
static u8 aml_byte(const u8 **p)
{
    u8 op = *(*p)++;

    return op == 0x0a ? *(*p)++ : op; /* else ZeroOp or OneOp */
}

/* Name (_S5, Package () { a, b, ... }): 08 [5c] "_S5_" 12 length count a b ... */
static void find_s5(const u8 *t)
{
    const u8 *end = t + get32(t + 4) - 8; /* the shortest tail that holds one element */

    for (const u8 *p = t + HEADER_SIZE; p <= end; p++) {
        const u8 *q = p + 4;
        if (*p != '_' || get32(p) != 0x5f35535f || (p[-1] != 0x08 && p[-1] != 0x5c) ||
            *q != 0x12)
            continue;
        q += 1 + 1 + (q[1] >> 6) + 1; /* opcode, length, its further bytes, element count */
        acpi.s5_a = aml_byte(&q);
        acpi.has_s5 = true;
        return;
    }
}

/* SSDTs come here too: some monitors keep \_S5 there, out of the DSDT. */
static void init_table(u64 addr, const u8 *t, void *arg)
{
    (void)arg;
    if (!t)
        return;
    if (!memcmp(t, "FACP", 4) && !acpi.fadt) {
        acpi.fadt = addr;
        read_fadt(t);
    } else if (!memcmp(t, "APIC", 4) && !acpi.madt) {
        acpi.madt = addr;
        madt_read(t);
    } else if (!memcmp(t, "MCFG", 4) && get32(t + 4) >= 60 && !acpi.mcfg) {
        acpi.mcfg = addr;
        acpi.ecam = get64(t + 44);
        acpi.ecam_first = t[54];
        acpi.ecam_last = t[55];
    } else if (!memcmp(t, "SSDT", 4) && !acpi.has_s5) {
        find_s5(t);
    }
}

/* ISA lines go to the pin of their own number unless an override of the MADT says otherwise. */
void acpi_init(void)
{
    const u8 *dsdt;

    for (u32 i = 0; i < 16; i++) {
        acpi.isa_gsi[i] = i;
    }
    find_rsdp();
    each_table(init_table, NULL);
    dsdt = table_at(acpi.dsdt);
    if (dsdt)
        find_s5(dsdt);
}

/* ---- printing ------------------------------------------------------------------------------- */

static void print_header(u64 addr, const u8 *t)
{
    if (!t) {
        emit("acpi table=? addr=%#llx unreadable=1\n", addr);
        return;
    }
    emit("acpi table=%c%c%c%c addr=%#llx len=%u rev=%u checksum=%s oem=", t[0], t[1], t[2], t[3],
         addr, get32(t + 4), t[8], byte_sum(t, get32(t + 4)) ? "bad" : "ok");
    emit_quoted((const char *)t + 10, 6);
    emit(" oemtable=");
    emit_quoted((const char *)t + 16, 8);
    emit(" creator=");
    emit_quoted((const char *)t + 28, 4);
    emit("\n");
}

static void print_gas(const char *name, const struct gas *g)
{
    emit(" %s=%u:%#llx", name, g->space, g->addr);
}

static void print_fadt(void)
{
    emit("acpi fadt pm1a_evt=%#x pm1a_cnt=%#x pm_tmr=%#x gpe0=%#x gpe0_len=%u sci=%u",
         acpi.pm1a_evt, acpi.pm1a_cnt, acpi.pm_tmr, acpi.gpe0, acpi.gpe0_len, acpi.sci);
    emit(" smi_cmd=%#x acpi_enable=%#x century=%#x boot_arch=%#x flags=%#x", acpi.smi_cmd,
         acpi.acpi_enable, acpi.century, acpi.boot_arch, acpi.flags);
    print_gas("reset", &acpi.reset);
    emit(" reset_value=%#x", acpi.reset_value);
    print_gas("sleep_control", &acpi.sleep_control);
    emit(" dsdt=%#llx facs=%#llx\n", acpi.dsdt, acpi.facs);
}

static void print_mcfg(const u8 *t)
{
    for (u32 at = 44; at + 16 <= get32(t + 4); at += 16) {
        emit("acpi mcfg base=%#llx segment=%u bus_first=%u bus_last=%u\n", get64(t + at),
             get16(t + at + 8), t[at + 10], t[at + 11]);
    }
}

/* The DSDT has no place in the list: it hangs from the FADT, and is printed behind it. */
static void print_table(u64 addr, const u8 *t, void *arg)
{
    u32 *hpet = arg;

    print_header(addr, t);
    if (!t)
        return;
    if (!memcmp(t, "FACP", 4)) {
        print_fadt();
        print_header(acpi.dsdt, table_at(acpi.dsdt));
    } else if (!memcmp(t, "APIC", 4)) {
        madt_print(t);
    } else if (!memcmp(t, "MCFG", 4)) {
        print_mcfg(t);
    } else if (!memcmp(t, "SRAT", 4)) {
        srat_print(t);
    } else if (!memcmp(t, "HPET", 4)) {
        ++*hpet;
        emit("acpi hpet present=1 base=%#llx\n", get64(t + 44));
    } else if (!memcmp(t, "WAET", 4)) {
        emit("acpi waet flags=%#x\n", get32(t + 36));
    }
}

static void print_rsdp(void)
{
    const u8 *p = phys_ptr(acpi.rsdp, 36);
    bool two;

    if (!p) {
        emit("acpi rsdp present=0\n");
        return;
    }
    two = p[15] >= 2;
    emit("acpi rsdp present=1 addr=%#llx src=%s rev=%u rsdt=%#x xsdt=%#llx checksum=%s oem=",
         acpi.rsdp, acpi.rsdp_source, p[15], get32(p + 16), two ? get64(p + 24) : 0,
         memcmp(p, "RSD PTR ", 8) || byte_sum(p, 20) || (two && byte_sum(p, 36)) ? "bad" : "ok");
    emit_quoted((const char *)p + 9, 6);
    emit("\n");
}

/*
 * Hardware-reduced machines are always in ACPI mode; others may need the switch: until SCI_EN is
 * set the power block raises SMIs, which nobody here would answer. Without SMI_CMD it is set for
 * good.
 */
void acpi_enable(void)
{
    struct deadline d;

    if (!acpi.pm1a_cnt || !acpi.smi_cmd || (inw((u16)acpi.pm1a_cnt) & 1))
        return;
    outb((u16)acpi.smi_cmd, acpi.acpi_enable);
    for (deadline_start(&d, 100000); !deadline_passed(&d) && !(inw((u16)acpi.pm1a_cnt) & 1);) {
        cpu_pause();
    }
}

void acpi_section(void)
{
    u32 hpet = 0;

    print_rsdp();
    each_table(print_table, &hpet);
    if (!hpet)
        emit("acpi hpet present=0\n");
    emit("acpi s5 found=%u slp_typ=%u\n", acpi.has_s5, acpi.s5_a);
    if (acpi.pm1a_cnt)
        emit("acpi pm1 cnt=%#x sts=%#x en=%#x\n", inw((u16)acpi.pm1a_cnt),
             inw((u16)acpi.pm1a_evt), inw((u16)(acpi.pm1a_evt + acpi.pm1_evt_len / 2)));
    smbios_section();
}

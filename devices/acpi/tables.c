/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tables.c - the static ACPI tables (ACPI 6.3), and how they reach a guest.
 *
 * All tables form one blob in which pointers are offsets; lists say where pointers and checksums are. Whoever
 * places the blob adds its base to each pointer and sums again: the linux-loader by acpi_relocate(), firmware by the
 * linker-loader script. The two differ in one point: firmware may compute a checksum over a field that it
 * does not clear first, so the blob that it gets has zeros there.
 *
 * The FADT states each register block twice, as legacy port and as generic address. Linux complains if
 * they differ, so one function writes both.
 */
#include "view.h"

#include "../../common/util.h"

enum {
    HEADER_LEN = 36,
    HEADER_CHECKSUM = 9,
    RSDP_CHECKSUM = 8,
    RSDP_RSDT = 16,
    RSDP_XSDT = 24,
    RSDP_EXT_CHECKSUM = 32,
    RSDP_V1_LEN = 20,
    RSDP_LEN = 36,
};

typedef struct {
    AcpiTables        *t;
    const BoardConfig *board;
    guint32            start; /* of the table being written */
} Writer;

/* ---- writing ---- */

static void put(Writer *w, unsigned size, guint64 v)
{
    guint8 b[8];

    le_put(b, size, v);
    g_byte_array_append(w->t->blob, b, size);
}

static void put_zeros(Writer *w, guint n)
{
    guint32 old = w->t->blob->len;

    g_byte_array_set_size(w->t->blob, old + n);
    memset(w->t->blob->data + old, 0, n);
}

static void align(Writer *w, guint to)
{
    put_zeros(w, -w->t->blob->len & (to - 1));
}

/* An identification field: TEXT cut or filled with spaces to N bytes. */
static void put_padded(guint8 *to, const char *text, gsize n)
{
    gsize len = MIN(strlen(text), n);

    memset(to, ' ', n);
    memcpy(to, text, len);
}

/* Writes a pointer of SIZE bytes to the table at offset TARGET. */
static void put_pointer(Writer *w, unsigned size, guint32 target)
{
    AcpiPointer p = {.offset = w->t->blob->len, .size = size};

    g_array_append_val(w->t->pointers, p);
    put(w, size, target);
}

static void table_begin(Writer *w, const char *signature, guint8 revision)
{
    guint8 h[HEADER_LEN] = {0};

    align(w, 16);
    w->start = w->t->blob->len;
    memcpy(h, signature, 4);
    h[8] = revision;
    put_padded(h + 10, w->board->acpi_oem_id, 6);
    put_padded(h + 16, w->board->acpi_oem_table_id, 8);
    le32_put(h + 24, 1);
    memcpy(h + 28, "BKPL", 4); /* creator: the program that made the table */
    le32_put(h + 32, 1);
    g_byte_array_append(w->t->blob, h, sizeof h);
}

/* Returns the table's offset. */
static guint32 table_end(Writer *w)
{
    AcpiTable table = {
        .start = w->start,
        .length = w->t->blob->len - w->start,
        .checksum = w->start + HEADER_CHECKSUM,
    };

    le32_put(w->t->blob->data + w->start + 4, table.length);
    g_array_append_val(w->t->tables, table);
    return table.start;
}

/* ---- checksums ---- */

static guint8 sum(const guint8 *p, gsize n)
{
    guint8 s = 0;

    for (gsize i = 0; i < n; i++)
        s += p[i];
    return s;
}

static void set_checksum(guint8 *at, const guint8 *start, gsize n)
{
    *at = 0;
    *at = -sum(start, n);
}

static void set_all_checksums(AcpiTables *t)
{
    for (guint i = 0; i < t->tables->len; i++) {
        const AcpiTable *table = &g_array_index(t->tables, AcpiTable, i);

        set_checksum(t->blob->data + table->checksum, t->blob->data + table->start, table->length);
    }
    set_checksum(t->rsdp + RSDP_CHECKSUM, t->rsdp, RSDP_V1_LEN);
    set_checksum(t->rsdp + RSDP_EXT_CHECKSUM, t->rsdp, RSDP_LEN);
}

/* ---- the tables ---- */

/* FACS (5.2.10): no common header, no checksum, 64-byte alignment. */
static guint32 build_facs(Writer *w)
{
    guint32 start;

    align(w, 64);
    start = w->t->blob->len;
    g_byte_array_append(w->t->blob, (const guint8 *)"FACS", 4);
    put(w, 4, 64);
    put_zeros(w, 24);
    put(w, 1, 2); /* version */
    put_zeros(w, 31);
    return start;
}

/* A register block in the FADT's extended form: a generic address in I/O space, or nothing. */
static void put_gas_io(Writer *w, guint8 bits, guint8 access, guint16 port)
{
    put(w, 1, port ? 1 : 0);
    put(w, 1, port ? bits : 0);
    put(w, 1, 0);
    put(w, 1, port ? access : 0);
    put(w, 8, port);
}

enum {
    FADT_WBINVD = 1 << 0,
    FADT_PROC_C1 = 1 << 2,
    FADT_SLP_BUTTON = 1 << 5, /* no fixed sleep button; the power button is fixed hardware (bit 4 clear) */
    FADT_FIX_RTC = 1 << 6,    /* the RTC does not wake through PM1 */
    FADT_RESET_REG = 1 << 10,
    FADT_PLATFORM_CLOCK = 1 << 15,
    IAPC_LEGACY_DEVICES = 1 << 0,
    IAPC_NO_VGA = 1 << 2,
};

/* The port-number half: bytes 46 to 115. SMI_CMD 0: there is no SMM, the machine is always in ACPI mode. */
static void put_fadt_legacy(Writer *w)
{
    guint16 pm = w->board->pm_base;

    put(w, 2, w->board->sci_irq);
    put(w, 4, 0); /* SMI_CMD */
    put_zeros(w, 4); /* ACPI_ENABLE, ACPI_DISABLE, S4BIOS_REQ, PSTATE_CNT */
    put(w, 4, pm);
    put(w, 4, 0);
    put(w, 4, pm + 4);
    put(w, 4, 0);
    put(w, 4, 0); /* PM2 */
    put(w, 4, pm + 8);
    put(w, 4, pm + 0x20);
    put(w, 4, 0);
    put(w, 1, 4); /* lengths: PM1_EVT, PM1_CNT, PM2_CNT, PM_TMR, GPE0, GPE1 */
    put(w, 1, 2);
    put(w, 1, 0);
    put(w, 1, 4);
    put(w, 1, 16);
    put(w, 1, 0);
    put(w, 1, 0); /* GPE1_BASE */
    put(w, 1, 0); /* CST_CNT */
    put(w, 2, 0xfff); /* C2 and C3 do not exist: latencies beyond their limits */
    put(w, 2, 0xfff);
    put_zeros(w, 8); /* flush size and stride, duty cycle, RTC alarm day and month */
    put(w, 1, 0x32); /* RTC century */
    put(w, 2, IAPC_LEGACY_DEVICES | IAPC_NO_VGA);
    put(w, 1, 0);
    put(w, 4, FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_FIX_RTC | FADT_RESET_REG | FADT_PLATFORM_CLOCK);
}

static void put_fadt_extended(Writer *w, guint32 dsdt)
{
    guint16 pm = w->board->pm_base;

    put_gas_io(w, 8, 1, 0xcf9);
    put(w, 1, 6); /* RESET_VALUE: full reset */
    put(w, 2, 0); /* ARM */
    put(w, 1, 3); /* minor version: 6.3, which defines "online capable" in the MADT */
    put(w, 8, 0); /* X_FIRMWARE_CTRL: must be 0 where the 32-bit field is used */
    put_pointer(w, 8, dsdt);
    put_gas_io(w, 32, 2, pm);
    put_gas_io(w, 0, 0, 0);
    put_gas_io(w, 16, 2, pm + 4);
    put_gas_io(w, 0, 0, 0);
    put_gas_io(w, 0, 0, 0);
    put_gas_io(w, 32, 3, pm + 8);
    put_gas_io(w, 128, 1, pm + 0x20);
    put_gas_io(w, 0, 0, 0);
    put_gas_io(w, 0, 0, 0); /* sleep control and status: hardware-reduced only */
    put_gas_io(w, 0, 0, 0);
    put_zeros(w, 8);        /* hypervisor vendor identity */
}

/* FADT (5.2.9). */
static guint32 build_fadt(Writer *w, guint32 facs, guint32 dsdt)
{
    table_begin(w, "FACP", 6);
    put_pointer(w, 4, facs);
    put_pointer(w, 4, dsdt);
    put(w, 1, 0);
    put(w, 1, 0); /* preferred profile: unspecified */
    put_fadt_legacy(w);
    put_fadt_extended(w, dsdt);
    g_assert(w->t->blob->len - w->start == 276);
    return table_end(w);
}

static guint32 build_dsdt(Writer *w, const AcpiView *v)
{
    table_begin(w, "DSDT", 2); /* 2: integers of 64 bits */
    acpi_dsdt_body(v, w->t->blob);
    return table_end(w);
}

/* Ids up to 254 are told as LAPIC, others as x2APIC: 255 is the broadcast id of the former (5.2.12.12). */
guint acpi_madt_cpu(guint8 out[16], guint32 uid, guint32 apic_id, guint32 flags)
{
    memset(out, 0, 16);
    if (apic_id < 255 && uid < 255) {
        le16_put(out, 0x0800); /* type 0, 8 bytes */
        out[2] = (guint8)uid;
        out[3] = (guint8)apic_id;
        le32_put(out + 4, flags);
        return 8;
    }
    le16_put(out, 0x1009);
    le32_put(out + 4, apic_id);
    le32_put(out + 8, flags);
    le32_put(out + 12, uid);
    return 16;
}

static void put_madt_cpu(Writer *w, guint32 uid, const AcpiCpu *cpu)
{
    guint8 entry[16];
    guint len = acpi_madt_cpu(entry, uid, cpu->apic_id, cpu->plugged ? MADT_ENABLED : MADT_ONLINE_CAPABLE);

    g_byte_array_append(w->t->blob, entry, len);
}

static void put_madt_override(Writer *w, guint8 irq, guint32 gsi, guint16 flags)
{
    put(w, 2, 0x0a02);
    put(w, 1, 0);
    put(w, 1, irq);
    put(w, 4, gsi);
    put(w, 2, flags);
}

static void put_madt_nmi(Writer *w, gboolean x2apic)
{
    put(w, 2, 0x0604);
    put(w, 1, 0xff); /* all processors */
    put(w, 2, 0);
    put(w, 1, 1); /* LINT1 */
    if (!x2apic)
        return;
    put(w, 2, 0x0c0a);
    put(w, 2, 0);
    put(w, 4, 0xffffffff);
    put(w, 1, 1);
    put_zeros(w, 3);
}

/* MADT (5.2.12). IRQ n is pin n, the PIT's too: that is how KVM wires its interrupt controllers, and other wiring would cost
 * a KVM_SET_GSI_ROUTING at start-up. PCI's and the SCI's lines are level, active high. */
static guint32 build_madt(Writer *w, const AcpiView *v)
{
    static const guint8 level_irqs[] = {5, 9, 10, 11};
    gboolean x2apic = FALSE;

    table_begin(w, "APIC", 5);
    put(w, 4, 0xfee00000);
    put(w, 4, 1); /* PCAT_COMPAT: there is a PIC too */
    for (guint i = 0; i < v->cpus->len; i++) {
        const AcpiCpu *cpu = &g_array_index(v->cpus, AcpiCpu, i);

        put_madt_cpu(w, i, cpu);
        x2apic |= cpu->apic_id >= 255 || i >= 255;
    }
    put(w, 2, 0x0c01); /* IOAPIC id 0, GSI base 0 */
    put(w, 2, 0);
    put(w, 4, 0xfec00000);
    put(w, 4, 0);
    for (guint i = 0; i < G_N_ELEMENTS(level_irqs); i++)
        put_madt_override(w, level_irqs[i], level_irqs[i], 0x0d);
    put_madt_nmi(w, x2apic);
    return table_end(w);
}

/* MCFG (PCI firmware specification 4.1.2). Not all buses that the window decodes, but those that there can be: Linux looks for
 * devices on every one of them, 32 slots a bus, before it goes on. */
static guint32 build_mcfg(Writer *w, const AcpiView *v)
{
    table_begin(w, "MCFG", 1);
    put(w, 8, 0);
    put(w, 8, w->board->ecam_base);
    put(w, 2, 0); /* segment */
    put(w, 1, 0);
    put(w, 1, v->last_bus);
    put(w, 4, 0);
    return table_end(w);
}

/* WAET: one read of the PM timer is enough. */
static guint32 build_waet(Writer *w)
{
    table_begin(w, "WAET", 1);
    put(w, 4, 1 << 1);
    return table_end(w);
}

static void put_srat_memory(Writer *w, guint64 base, guint64 len, guint32 flags)
{
    if (len == 0)
        return;
    put(w, 2, 0x2801);
    put(w, 4, 0); /* domain */
    put(w, 2, 0);
    put(w, 8, base);
    put(w, 8, len);
    put(w, 4, 0);
    put(w, 4, flags);
    put(w, 8, 0);
}

static void put_srat_cpu(Writer *w, guint32 uid, const AcpiCpu *cpu)
{
    if (cpu->apic_id < 255 && uid < 255) {
        put(w, 2, 0x1000);
        put(w, 1, 0);
        put(w, 1, cpu->apic_id);
        put(w, 4, 1);
        put_zeros(w, 8);
    } else {
        put(w, 2, 0x1802);
        put(w, 2, 0);
        put(w, 4, 0);
        put(w, 4, cpu->apic_id);
        put(w, 4, 1);
        put_zeros(w, 8);
    }
}

/* SRAT (5.2.16), where memory can be plugged: Linux takes the highest possible address from it, and so its DMA limits. */
static guint32 build_srat(Writer *w, const AcpiView *v)
{
    guint64 low = MIN(v->below_4g, 0xa0000);

    table_begin(w, "SRAT", 3);
    put(w, 4, 1);
    put(w, 8, 0);
    for (guint i = 0; i < v->cpus->len; i++)
        put_srat_cpu(w, i, &g_array_index(v->cpus, AcpiCpu, i));
    put_srat_memory(w, 0, low, 1);
    if (v->below_4g > 0x100000)
        put_srat_memory(w, 0x100000, v->below_4g - 0x100000, 1);
    put_srat_memory(w, G_GUINT64_CONSTANT(1) << 32, v->above_4g, 1);
    put_srat_memory(w, v->device_memory, v->board->max_memory, 1 | 2); /* 2: hot-pluggable */
    return table_end(w);
}

/* RSDT and XSDT (5.2.7, 5.2.8): the same list with pointers of SIZE bytes. */
static guint32 build_root(Writer *w, const char *signature, unsigned size, const guint32 *list, guint n)
{
    table_begin(w, signature, 1);
    for (guint i = 0; i < n; i++)
        put_pointer(w, size, list[i]);
    return table_end(w);
}

/* RSDP (5.2.5.3). The RSDT is for readers that know nothing else, whatever the revision: GRUB's halt takes an address of 0 for a table. */
static void build_rsdp(Writer *w)
{
    guint8 *p = w->t->rsdp;

    memcpy(p, "RSD PTR ", 8);
    put_padded(p + 9, w->board->acpi_oem_id, 6);
    p[15] = 2;
    le32_put(p + 20, RSDP_LEN);
    le32_put(p + RSDP_RSDT, w->t->rsdt);
    le64_put(p + RSDP_XSDT, w->t->xsdt);
}

/* ---- all together ---- */

static guint64 gib_up(guint64 v)
{
    const guint64 gib = G_GUINT64_CONSTANT(1) << 30;

    return (v + gib - 1) / gib * gib;
}

void acpi_view_place(AcpiView *v, const PropBag *board)
{
    const BoardConfig *b = v->board;
    guint64 end = (G_GUINT64_CONSTANT(1) << 32) + v->above_4g, limit = G_GUINT64_CONSTANT(1) << b->phys_bits;

    v->device_memory = 0;
    if (b->memory_slots > 0 && b->max_memory > v->below_4g + v->above_4g) {
        v->device_memory = prop_bag_is_set(board, "device-memory-base") ? b->device_memory_base : gib_up(end);
        end = v->device_memory + b->max_memory;
    }
    v->pci64 = prop_bag_is_set(board, "pci-hole64-base") ? b->pci_hole64_base : gib_up(end);
    /* Where it does not fit, what is left of it. */
    v->pci64_len = v->pci64 < limit ? MIN(b->pci_hole64_size, limit - v->pci64) : 0;
}

AcpiTables *acpi_build_view(const AcpiView *v)
{
    AcpiTables *t = g_new0(AcpiTables, 1);
    Writer w = {.t = t, .board = v->board};
    guint32 list[8], n = 0, facs, dsdt;

    t->blob = g_byte_array_sized_new(16384);
    t->pointers = g_array_new(FALSE, FALSE, sizeof(AcpiPointer));
    t->tables = g_array_new(FALSE, FALSE, sizeof(AcpiTable));
    facs = build_facs(&w);
    dsdt = build_dsdt(&w, v);
    list[n++] = build_fadt(&w, facs, dsdt);
    list[n++] = build_madt(&w, v);
    list[n++] = build_mcfg(&w, v);
    list[n++] = build_waet(&w);
    if (v->device_memory)
        list[n++] = build_srat(&w, v);
    t->rsdt = build_root(&w, "RSDT", 4, list, n);
    t->xsdt = build_root(&w, "XSDT", 8, list, n);
    build_rsdp(&w);
    set_all_checksums(t);
    return t;
}

void acpi_tables_free(AcpiTables *t)
{
    g_byte_array_unref(t->blob);
    g_array_unref(t->pointers);
    g_array_unref(t->tables);
    g_free(t);
}

void acpi_relocate(AcpiTables *t, guint64 base)
{
    for (guint i = 0; i < t->pointers->len; i++) {
        const AcpiPointer *p = &g_array_index(t->pointers, AcpiPointer, i);
        guint8 *at = t->blob->data + p->offset;

        g_assert(p->size == 8 || base + t->blob->len <= G_GUINT64_CONSTANT(1) << 32);
        le_put(at, p->size, le_get(at, p->size) + base);
    }
    le32_put(t->rsdp + RSDP_RSDT, (guint32)(t->rsdt + base));
    le64_put(t->rsdp + RSDP_XSDT, t->xsdt + base);
    set_all_checksums(t);
}

/* ---- the linker-loader script (QEMU docs: "etc/table-loader", hw/acpi/bios-linker-loader) ---- */

#define RSDP_FILE "etc/acpi/rsdp"
#define TABLES_FILE "etc/acpi/tables"

enum { LOADER_ENTRY = 128, LOADER_NAME = 56, LOADER_ALLOCATE = 1, LOADER_ADD_POINTER = 2, LOADER_ADD_CHECKSUM = 3 };

/* Appends a cleared entry of COMMAND that begins with a file name; returns where its other fields go. */
static guint8 *loader_entry(GByteArray *script, guint32 command, const char *file)
{
    guint32 old = script->len;
    guint8 *p;

    g_byte_array_set_size(script, old + LOADER_ENTRY);
    p = script->data + old;
    memset(p, 0, LOADER_ENTRY);
    le32_put(p, command);
    g_strlcpy((char *)p + 4, file, LOADER_NAME);
    return p + 4 + LOADER_NAME;
}

static void loader_allocate(GByteArray *script, const char *file, guint32 alignment, gboolean fseg)
{
    guint8 *p = loader_entry(script, LOADER_ALLOCATE, file);

    le32_put(p, alignment);
    p[4] = fseg ? 2 : 1;
}

static void loader_pointer(GByteArray *script, const char *file, guint32 offset, guint8 size)
{
    guint8 *p = loader_entry(script, LOADER_ADD_POINTER, file);

    g_strlcpy((char *)p, TABLES_FILE, LOADER_NAME);
    le32_put(p + LOADER_NAME, offset);
    p[LOADER_NAME + 4] = size;
}

static void loader_checksum(GByteArray *script, const char *file, guint32 at, guint32 start, guint32 len)
{
    guint8 *p = loader_entry(script, LOADER_ADD_CHECKSUM, file);

    le32_put(p, at);
    le32_put(p + 4, start);
    le32_put(p + 8, len);
}

GByteArray *acpi_loader_script(AcpiTables *t)
{
    GByteArray *script = g_byte_array_new();

    loader_allocate(script, TABLES_FILE, 64, FALSE);
    loader_allocate(script, RSDP_FILE, 16, TRUE);
    for (guint i = 0; i < t->pointers->len; i++) {
        const AcpiPointer *p = &g_array_index(t->pointers, AcpiPointer, i);

        loader_pointer(script, TABLES_FILE, p->offset, p->size);
    }
    for (guint i = 0; i < t->tables->len; i++) {
        const AcpiTable *table = &g_array_index(t->tables, AcpiTable, i);

        t->blob->data[table->checksum] = 0;
        loader_checksum(script, TABLES_FILE, table->checksum, table->start, table->length);
    }
    loader_pointer(script, RSDP_FILE, RSDP_RSDT, 4);
    loader_pointer(script, RSDP_FILE, RSDP_XSDT, 8);
    t->rsdp[RSDP_CHECKSUM] = t->rsdp[RSDP_EXT_CHECKSUM] = 0;
    loader_checksum(script, RSDP_FILE, RSDP_CHECKSUM, 0, RSDP_V1_LEN);
    loader_checksum(script, RSDP_FILE, RSDP_EXT_CHECKSUM, 0, RSDP_LEN);
    return script;
}

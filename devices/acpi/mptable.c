/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mptable.c - the MP configuration table (Intel MultiProcessor Specification 1.4), which says of CPUs, IOAPIC and
 * interrupt lines what the MADT says, for those who came before ACPI.
 *
 * It is here for a second reason: kernels look for it whether they have ACPI or not, and one that finds none maps and scans the whole BIOS area in steps of
 * 16 bytes. Linux flushes a TLB entry for each page each time: 13 ms at full speed, two seconds where KVM emulates that instruction.
 */
#include "view.h"

#include "../../common/util.h"

enum { ENTRY_CPU, ENTRY_BUS, ENTRY_IOAPIC, ENTRY_INT, ENTRY_LINT };
enum { INT_VECTORED = 0, INT_NMI = 1, INT_EXT = 3 };
enum { BUS_PCI = 0, BUS_ISA = 1 };
#define CONFORMS 0x0000   /* to the bus: ISA lines are edge, active high */
#define LEVEL_HIGH 0x000d

static void append(GByteArray *t, const void *bytes, guint len)
{
    g_byte_array_append(t, bytes, len);
}

static void put(GByteArray *t, unsigned size, guint64 value)
{
    guint8 raw[8];

    le_put(raw, size, value);
    append(t, raw, size);
}

/* The byte that makes the sum of LEN bytes zero. */
static guint8 checksum(const guint8 *p, gsize len)
{
    guint8 sum = 0;

    while (len--)
        sum += *p++;
    return (guint8)-sum;
}

static guint put_cpus(GByteArray *t, const AcpiView *v)
{
    guint n = 0;

    for (guint i = 0; i < v->cpus->len; i++) {
        const AcpiCpu *cpu = &g_array_index(v->cpus, AcpiCpu, i);
        if (!cpu->plugged || cpu->apic_id >= 255) /* one byte: larger ids are the MADT's alone */
            continue;
        put(t, 1, ENTRY_CPU);
        put(t, 1, cpu->apic_id);
        put(t, 1, 0x14); /* integrated APIC */
        put(t, 1, n == 0 ? 3 : 1); /* usable; the lowest one boots */
        put(t, 4, cpu->signature);
        put(t, 4, cpu->features);
        put(t, 8, 0);
        n++;
    }
    return n;
}

static void put_bus(GByteArray *t, guint8 id, const char *name)
{
    put(t, 1, ENTRY_BUS);
    put(t, 1, id);
    append(t, name, 6);
}

static void put_interrupt(GByteArray *t, guint8 entry, guint8 type, guint16 flags, guint8 irq, guint8 destination, guint8 pin)
{
    put(t, 1, entry);
    put(t, 1, type);
    put(t, 2, flags);
    put(t, 1, BUS_ISA);
    put(t, 1, irq);
    put(t, 1, destination);
    put(t, 1, pin);
}

/* IRQ n is pin n. 5, 9, 10 and 11 are PCI's and the SCI's; 2 is the cascade and arrives nowhere. */
static guint put_interrupts(GByteArray *t)
{
    guint n = 0;

    for (guint8 irq = 0; irq < 16; irq++) {
        gboolean level = irq == 5 || (irq >= 9 && irq <= 11);
        if (irq == 2)
            continue;
        put_interrupt(t, ENTRY_INT, INT_VECTORED, level ? LEVEL_HIGH : CONFORMS, irq, 0, irq);
        n++;
    }
    put_interrupt(t, ENTRY_LINT, INT_EXT, CONFORMS, 0, 0xff, 0);
    put_interrupt(t, ENTRY_LINT, INT_NMI, CONFORMS, 0, 0xff, 1);
    return n + 2;
}

GByteArray *mp_table_build_view(const AcpiView *v)
{
    static const char header[44] = "PCMP\0\0\4\0BACKPLANQ35         ";
    GByteArray *t = g_byte_array_new();
    guint n;

    append(t, header, sizeof header);
    n = put_cpus(t, v);
    put_bus(t, BUS_PCI, "PCI   ");
    put_bus(t, BUS_ISA, "ISA   ");
    put(t, 1, ENTRY_IOAPIC);
    put(t, 1, 0);    /* id */
    put(t, 1, 0x11); /* version */
    put(t, 1, 1);    /* usable */
    put(t, 4, 0xfec00000);
    n += 3 + put_interrupts(t);
    le16_put(t->data + 4, (guint16)t->len);
    le16_put(t->data + 34, (guint16)n);
    le32_put(t->data + 36, 0xfee00000);
    t->data[7] = checksum(t->data, t->len);
    return t;
}

GByteArray *mp_table_build(DeviceSet *set)
{
    g_autoptr(AcpiView) v = acpi_view_new(set);

    return mp_table_build_view(v);
}

void mp_floating_pointer(guint32 table, guint8 out[16])
{
    memset(out, 0, 16);
    memcpy(out, "_MP_", 4);
    le32_put(out + 4, table);
    out[8] = 1; /* length in units of 16 bytes */
    out[9] = 4; /* MP 1.4 */
    out[10] = checksum(out, 16);
}

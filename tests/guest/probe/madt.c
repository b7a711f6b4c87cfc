/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Processors and interrupt lines: MADT, and the affinities of SRAT. The CPU table that SMP start
 * and CPU hotplug work on is filled here; processors that are not enabled yet are in it too, since
 * they are the ones that can be plugged.
 */
#include "probe.h"

enum {
    MADT_LAPIC = 0,
    MADT_IOAPIC = 1,
    MADT_OVERRIDE = 2,
    MADT_LAPIC_NMI = 4,
    MADT_X2APIC = 9,
    MADT_X2APIC_NMI = 10,
};

struct cpu cpus[MAX_CPUS];
u32 cpu_count;

struct cpu *cpu_find(u32 apic_id, bool add)
{
    for (u32 i = 0; i < cpu_count; i++) {
        if (cpus[i].apic_id == apic_id)
            return &cpus[i];
    }
    if (!add || cpu_count == MAX_CPUS)
        return NULL;
    cpus[cpu_count].apic_id = apic_id;
    return &cpus[cpu_count++];
}

/*
 * A processor may be listed twice, as LAPIC and as x2APIC entry: the id decides, the later entry
 * wins.
 */
static void add_cpu(u32 apic_id, u32 uid, u32 flags)
{
    struct cpu *cpu = cpu_find(apic_id, true);

    if (cpu) {
        cpu->uid = uid;
        cpu->flags = flags;
    }
}

/*
 * Sub-tables of MADT and SRAT begin with a type and a length. The entry at *at, which moves behind
 * it, or NULL at the end or at a broken length.
 */
static const u8 *next_entry(const u8 *t, u32 *at)
{
    const u8 *e = t + *at;

    if (*at + 2 > get32(t + 4) || e[1] < 2 || *at + e[1] > get32(t + 4))
        return NULL;
    *at += e[1];
    return e;
}

/* Only the first I/O APIC: ISA lines are always on it. */
static void read_entry(const u8 *e)
{
    if (e[0] == MADT_LAPIC) {
        add_cpu(e[3], e[2], get32(e + 4));
    } else if (e[0] == MADT_X2APIC) {
        add_cpu(get32(e + 4), get32(e + 12), get32(e + 8));
    } else if (e[0] == MADT_IOAPIC && !acpi.ioapic) {
        acpi.ioapic = get32(e + 4);
        acpi.ioapic_gsi = get32(e + 8);
    } else if (e[0] == MADT_OVERRIDE && e[3] < 16) {
        acpi.isa_gsi[e[3]] = get32(e + 4);
        acpi.isa_flags[e[3]] = get16(e + 8);
    }
}

void madt_read(const u8 *t)
{
    u32 at = 44;
    const u8 *e;

    while ((e = next_entry(t, &at))) {
        read_entry(e);
    }
}

static void print_entry(const u8 *e)
{
    switch (e[0]) {
    case MADT_LAPIC:
        emit("acpi madt-cpu uid=%u apic=%u flags=%#x kind=lapic\n", e[2], e[3], get32(e + 4));
        break;
    case MADT_X2APIC:
        emit("acpi madt-cpu uid=%u apic=%u flags=%#x kind=x2apic\n", get32(e + 12), get32(e + 4),
             get32(e + 8));
        break;
    case MADT_IOAPIC:
        emit("acpi madt-ioapic id=%u addr=%#x gsi=%u\n", e[2], get32(e + 4), get32(e + 8));
        break;
    case MADT_OVERRIDE:
        emit("acpi madt-override bus=%u irq=%u gsi=%u flags=%#x\n", e[2], e[3], get32(e + 4),
             get16(e + 8));
        break;
    /* A uid of all ones means every processor. */
    case MADT_LAPIC_NMI:
        emit("acpi madt-nmi uid=%u flags=%#x lint=%u kind=lapic\n", e[2], get16(e + 3), e[5]);
        break;
    case MADT_X2APIC_NMI:
        emit("acpi madt-nmi uid=%u flags=%#x lint=%u kind=x2apic\n", get32(e + 4), get16(e + 2),
             e[8]);
        break;
    default:
        emit("acpi madt-other type=%u len=%u\n", e[0], e[1]);
    }
}

void madt_print(const u8 *t)
{
    u32 at = 44;
    const u8 *e;

    emit("acpi madt lapic=%#x flags=%#x\n", get32(t + 36), get32(t + 40));
    while ((e = next_entry(t, &at))) {
        print_entry(e);
    }
}

/* The proximity domain of a LAPIC entry is in two pieces, its upper 24 bits an afterthought. */
void srat_print(const u8 *t)
{
    u32 at = 48;
    const u8 *e;

    while ((e = next_entry(t, &at))) {
        if (e[0] == 0)
            emit("acpi srat-cpu apic=%u node=%u flags=%#x kind=lapic\n", e[3],
                 e[2] | e[9] << 8 | e[10] << 16 | (u32)e[11] << 24, get32(e + 4));
        else if (e[0] == 1)
            emit("acpi srat-mem base=%#llx size=%#llx node=%u flags=%#x\n", get64(e + 8),
                 get64(e + 16), get32(e + 2), get32(e + 28));
        else if (e[0] == 2)
            emit("acpi srat-cpu apic=%u node=%u flags=%#x kind=x2apic\n", get32(e + 8),
                 get32(e + 4), get32(e + 12));
    }
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The local APIC, by memory (xAPIC) or by MSRs (x2APIC: when firmware left it on, when an APIC id
 * needs it, or when asked for). All processors use the same way; each AP switches itself.
 */
#include "probe.h"

#define MSR_APIC_BASE 0x1b
#define APIC_BASE_ENABLE (1u << 11)
#define APIC_BASE_X2 (1u << 10)
#define LAPIC_ICR_LOW 0x300
#define LAPIC_ICR_HIGH 0x310
#define ICR_PENDING (1u << 12)
#define SVR_ENABLE 0x100u

bool lapic_x2;
static uintptr_t base = 0xfee00000;

/* x2APIC has a register's MSR at its offset divided by sixteen. */
u32 lapic_read(u32 reg)
{
    return lapic_x2 ? (u32)rdmsr(0x800 + (reg >> 4)) : mmio_read32(base + reg);
}

void lapic_write(u32 reg, u32 v)
{
    if (lapic_x2)
        wrmsr(0x800 + (reg >> 4), v);
    else
        mmio_write32(base + reg, v);
}

/* In x2APIC mode all 32 bits are the id. */
u32 lapic_id(void)
{
    u32 id = lapic_read(LAPIC_ID);

    return lapic_x2 ? id : id >> 24;
}

/* The steps disabled, xAPIC, x2APIC must be taken one by one; a jump is a #GP. */
void lapic_init(bool x2)
{
    u64 msr = rdmsr(MSR_APIC_BASE);
    bool can = cpuid(1, 0).ecx & 1u << 21;

    lapic_x2 = can && (x2 || (msr & APIC_BASE_X2));
    base = msr & 0xfffffffff000ull;
    msr |= APIC_BASE_ENABLE;
    wrmsr(MSR_APIC_BASE, msr);
    if (lapic_x2 && !(msr & APIC_BASE_X2))
        wrmsr(MSR_APIC_BASE, msr | APIC_BASE_X2);
    lapic_write(LAPIC_SVR, SVR_ENABLE | VEC_SPURIOUS);
    lapic_write(LAPIC_TPR, 0);
    lapic_write(LAPIC_LVT_LINT0, LVT_MASKED);
    lapic_write(LAPIC_LVT_TIMER, LVT_MASKED);
}

/*
 * x2APIC has one 64-bit register and no delivery status to wait for. Its WRMSR may overtake stores,
 * those that the receiver is to see; a locked instruction holds it back on any host.
 */
void lapic_ipi(u32 apic_id, u32 command)
{
    if (lapic_x2) {
        __asm__ volatile("lock; addl $0, (%%rsp)" : : : "memory", "cc");
        wrmsr(0x800 + (LAPIC_ICR_LOW >> 4), (u64)apic_id << 32 | command);
        return;
    }
    for (u32 i = 0; i < 100000 && (mmio_read32(base + LAPIC_ICR_LOW) & ICR_PENDING); i++) {
        cpu_pause();
    }
    mmio_write32(base + LAPIC_ICR_HIGH, apic_id << 24);
    mmio_write32(base + LAPIC_ICR_LOW, command);
}

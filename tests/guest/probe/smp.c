/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Application processors. The boot processor starts them one after the other, so a single stack
 * pointer and a single "who" suffice for the hand-over. A started AP sleeps with interrupts on; an
 * IPI wakes it to look for work or for the order to park, which is the last: asleep for good with
 * interrupts off, until an INIT.
 */
#include "probe.h"

#define AP_TRAMPOLINE 0x8000u
#define AP_STACK 2048

extern const u8 ap_trampoline[], ap_trampoline_end[];
extern volatile u64 ap_stack, ap_cr3;

static u8 stacks[MAX_CPUS][AP_STACK] __attribute__((aligned(16)));
static struct cpu *volatile ap_cpu;

static struct {
    volatile u32 round, done, overlapped;
    volatile u64 total;
    u32 each;
} work;

/* One more look after the deadline: this CPU itself may have been the one that was away. */
static bool wait_for(volatile u32 *flag, u32 value, u32 us)
{
    struct deadline d;

    for (deadline_start(&d, us); *flag != value;) {
        if (deadline_passed(&d))
            return *flag == value;
        cpu_pause();
    }
    return true;
}

/* ---- on the AP ------------------------------------------------------------------------------ */

/* By id, not by a per-CPU pointer: there is no GS base to keep one in. */
static void call_handler(void)
{
    struct cpu *cpu = cpu_find(lapic_id(), false);

    if (cpu)
        __atomic_fetch_add(&cpu->ipis, 1, __ATOMIC_SEQ_CST);
}

/* Somebody else was adding at the same time when the total grew by more than our part. */
static void do_work(void)
{
    u64 before = __atomic_load_n(&work.total, __ATOMIC_SEQ_CST);

    for (u32 i = 0; i < work.each; i++) {
        __atomic_fetch_add(&work.total, 1, __ATOMIC_SEQ_CST);
    }
    if (__atomic_load_n(&work.total, __ATOMIC_SEQ_CST) - before > work.each)
        __atomic_fetch_add(&work.overlapped, 1, __ATOMIC_SEQ_CST);
    __atomic_fetch_add(&work.done, 1, __ATOMIC_SEQ_CST);
}

/* A leaf 0xb without a topology (EBX zero) has no id either. */
static u32 leafb_id(void)
{
    return cpuid(0, 0).eax >= 0xb && cpuid(0xb, 0).ebx ? cpuid(0xb, 0).edx : ~0u;
}

static void identify(struct cpu *cpu)
{
    cpu->id_leaf1 = cpuid(1, 0).ebx >> 24;
    cpu->id_leafb = leafb_id();
    cpu->id_lapic = lapic_id();
    cpu->id_signature = cpuid(1, 0).eax;
}

void ap_main(void)
{
    struct cpu *cpu = ap_cpu;

    trap_load();
    lapic_init(lapic_x2);
    identify(cpu);
    /* Rounds from before do not concern a new CPU. Online comes last: the BSP goes on then. */
    cpu->work_seen = work.round;
    cpu->online = 1;
    while (!cpu->parked) {
        if (cpu->work_seen != work.round) {
            cpu->work_seen = work.round;
            do_work();
        }
        __asm__ volatile("sti; hlt; cli" : : : "memory");
    }
    cpu->online = 0;
    for (;;) {
        __asm__ volatile("cli; hlt");
    }
}

/* ---- on the boot processor ------------------------------------------------------------------ */

static bool is_self(const struct cpu *cpu)
{
    return cpu->apic_id == lapic_id();
}

/* All that the AP finds, before the first IPI. */
static void prepare(struct cpu *cpu)
{
    u64 cr3;

    __asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
    memcpy((void *)AP_TRAMPOLINE, ap_trampoline, (size_t)(ap_trampoline_end - ap_trampoline));
    trap_set(VEC_CALL, call_handler);
    ap_cr3 = cr3;
    ap_stack = (uintptr_t)stacks[cpu - cpus] + AP_STACK;
    ap_cpu = cpu;
    cpu->parked = 0;
    cpu->online = 0;
}

/* INIT, then up to two start-ups as the specification has it. */
bool smp_start(struct cpu *cpu)
{
    if (cpu->online)
        return true;
    prepare(cpu);
    lapic_ipi(cpu->apic_id, ICR_INIT);
    delay_us(200);
    lapic_ipi(cpu->apic_id, ICR_SIPI | AP_TRAMPOLINE >> 12);
    if (wait_for(&cpu->online, 1, 50000))
        return true;
    lapic_ipi(cpu->apic_id, ICR_SIPI | AP_TRAMPOLINE >> 12);
    if (wait_for(&cpu->online, 1, 3000000))
        return true;
    lapic_ipi(cpu->apic_id, ICR_INIT); /* or it might come later, on the next one's stack */
    return false;
}

/* For CPUs about to be ejected, and for a machine about to idle. */
void smp_park(struct cpu *cpu)
{
    if (!cpu->online || is_self(cpu))
        return;
    cpu->parked = 1;
    lapic_ipi(cpu->apic_id, ICR_FIXED | VEC_CALL);
    wait_for(&cpu->online, 0, 1000000);
}

void smp_park_all(void)
{
    for (u32 i = 0; i < cpu_count; i++) {
        smp_park(&cpus[i]);
    }
}

static void print_id(const char *name, u32 id)
{
    if (id == ~0u)
        emit(" %s=none", name);
    else
        emit(" %s=%u", name, id);
}

/* Leaf 1 has room for eight bits of the id. */
static bool ids_agree(const struct cpu *cpu)
{
    return cpu->id_leaf1 == (cpu->apic_id & 0xff) &&
           (cpu->id_leafb == ~0u || cpu->id_leafb == cpu->apic_id) &&
           cpu->id_lapic == cpu->apic_id;
}

/* What a processor that came later is: ids, whether of the boot processor's kind; it answers. */
void smp_print_ids(struct cpu *cpu)
{
    u32 before = cpu->ipis;

    print_id("leaf1", cpu->id_leaf1);
    print_id("leafb", cpu->id_leafb);
    print_id("lapic", cpu->id_lapic);
    emit(" signature=%#x ids=%s", cpu->id_signature,
         ids_agree(cpu) && cpu->id_signature == cpuid(1, 0).eax ? "ok" : "bad");
    lapic_ipi(cpu->apic_id, ICR_FIXED | VEC_CALL);
    emit(" ipi=%s", wait_for(&cpu->ipis, before + 1, 5000000) ? "ok" : "bad");
}

static void start_and_print(struct cpu *cpu)
{
    bool ok;

    if (is_self(cpu)) {
        identify(cpu);
        ok = true;
    } else {
        ok = smp_start(cpu);
    }
    emit("smp cpu=%u apic=%u bsp=%u started=%u", (u32)(cpu - cpus), cpu->apic_id, is_self(cpu), ok);
    print_id("leaf1", cpu->id_leaf1);
    print_id("leafb", cpu->id_leafb);
    print_id("lapic", cpu->id_lapic);
    emit(" ids=%s\n", ok && ids_agree(cpu) ? "ok" : "bad");
}

/* The BSP counts, though it never set its own flag. */
static u32 count_online(void)
{
    u32 n = 1;

    for (u32 i = 0; i < cpu_count; i++) {
        n += cpus[i].online && !is_self(&cpus[i]);
    }
    return n;
}

static void test_ipis(void)
{
    u32 sent = 0, answered = 0;

    for (u32 i = 0; i < cpu_count; i++) {
        struct cpu *cpu = &cpus[i];
        u32 before = cpu->ipis;
        if (!cpu->online || is_self(cpu))
            continue;
        sent++;
        lapic_ipi(cpu->apic_id, ICR_FIXED | VEC_CALL);
        answered += wait_for(&cpu->ipis, before + 1, 1000000);
    }
    emit("smp-ipi sent=%u answered=%u status=%s\n", sent, answered,
         sent == answered ? "ok" : "bad");
}

/* A lost update shows in the total, a missing CPU in done. */
static void test_work(u32 n, u32 online)
{
    bool done;

    work.done = work.overlapped = 0;
    work.total = 0;
    work.each = n;
    __atomic_fetch_add(&work.round, 1, __ATOMIC_SEQ_CST);
    for (u32 i = 0; i < cpu_count; i++) {
        if (cpus[i].online && !is_self(&cpus[i]))
            lapic_ipi(cpus[i].apic_id, ICR_FIXED | VEC_CALL);
    }
    do_work();
    done = wait_for(&work.done, online, 120000000);
    emit("smp-work each=%u cpus=%u done=%u total=%llu expected=%llu overlapped=%u status=%s\n", n,
         online, work.done, work.total, (u64)n * online, work.overlapped,
         done && work.total == (u64)n * online ? "ok" : "bad");
}

void smp_section(void)
{
    u32 enabled = 0, online;

    cpu_find(lapic_id(), true); /* a machine without a MADT has this one */
    for (u32 i = 0; i < cpu_count; i++) {
        if ((cpus[i].flags & 1) || cpus[i].online || is_self(&cpus[i])) {
            enabled++;
            start_and_print(&cpus[i]);
        }
    }
    online = count_online();
    emit("smp-total online=%u enabled=%u possible=%u x2apic=%u status=%s\n", online, enabled,
         cpu_count, lapic_x2, online == enabled ? "ok" : "bad");
    test_ipis();
    test_work(options.work, online);
}

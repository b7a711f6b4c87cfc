/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * CPUID as this processor sees it, all leaves with their sub-leaves, and (in long mode) the model
 * specific registers that describe features. Where sub-leaves end is said differently by nearly
 * every leaf, hence the table of rules. A register that does not exist costs a #GP, which trap.c
 * turns into a result; 32-bit mode has no IRET to come back with and reads only what always exists.
 */
#include "probe.h"

enum sub_rule {
    SUB_NONE,
    SUB_EAX_MAX,    /* sub-leaf 0 says the last one in EAX */
    SUB_TYPE_EAX,   /* until EAX[4:0] is zero */
    SUB_TYPE_ECX,   /* until ECX[15:8] is zero */
    SUB_XSAVE,      /* those of the state components that exist */
    SUB_FIXED,      /* a given number */
};

static const struct leaf_rule {
    u32 leaf;
    u8 rule, count;
} leaf_rules[] = {
    {0x4, SUB_TYPE_EAX, 0},  {0x7, SUB_EAX_MAX, 0},  {0xb, SUB_TYPE_ECX, 0},
    {0xd, SUB_XSAVE, 0},     {0xf, SUB_FIXED, 2},    {0x10, SUB_FIXED, 4},
    {0x12, SUB_FIXED, 3},    {0x14, SUB_EAX_MAX, 0}, {0x17, SUB_EAX_MAX, 0},
    {0x18, SUB_EAX_MAX, 0},  {0x1d, SUB_EAX_MAX, 0}, {0x1e, SUB_FIXED, 1},
    {0x1f, SUB_TYPE_ECX, 0}, {0x20, SUB_EAX_MAX, 0}, {0x8000001d, SUB_TYPE_EAX, 0},
    {0x80000020, SUB_FIXED, 2}, {0x80000026, SUB_TYPE_ECX, 0},
};

#define MAX_SUB 40

static struct cpuid print_leaf(u32 leaf, u32 sub)
{
    struct cpuid r = cpuid(leaf, sub);

    emit("cpuid leaf=%#x sub=%#x eax=%#x ebx=%#x ecx=%#x edx=%#x\n", leaf, sub, r.eax, r.ebx,
         r.ecx, r.edx);
    return r;
}

/* Leaf 0xd: sub-leaf i describes component i; which exist is said by sub-leaves 0 (user) and 1. */
static void print_xsave(u32 leaf)
{
    struct cpuid r0 = print_leaf(leaf, 0), r1 = print_leaf(leaf, 1);
    u64 components = ((u64)r0.edx << 32 | r0.eax) | ((u64)r1.edx << 32 | r1.ecx);

    for (u32 i = 2; i < 63; i++) {
        if (components >> i & 1)
            print_leaf(leaf, i);
    }
}

static const struct leaf_rule *rule_of(u32 leaf)
{
    static const struct leaf_rule none;

    for (u32 i = 0; i < ARRAY_SIZE(leaf_rules); i++) {
        if (leaf_rules[i].leaf == leaf)
            return &leaf_rules[i];
    }
    return &none;
}

/* The terminating sub-leaf itself is printed: its contents are part of what a guest sees. */
static bool last_sub(const struct leaf_rule *rule, struct cpuid first, struct cpuid r, u32 sub)
{
    switch (rule->rule) {
    case SUB_EAX_MAX:
        return sub >= first.eax;
    case SUB_TYPE_EAX:
        return (r.eax & 0x1f) == 0;
    case SUB_TYPE_ECX:
        return (r.ecx & 0xff00) == 0;
    case SUB_FIXED:
        return sub + 1 >= rule->count;
    default:
        return true;
    }
}

static void print_subs(u32 leaf)
{
    const struct leaf_rule *rule = rule_of(leaf);
    struct cpuid first, r;

    if (rule->rule == SUB_XSAVE) {
        print_xsave(leaf);
        return;
    }
    first = r = print_leaf(leaf, 0);
    for (u32 sub = 0; !last_sub(rule, first, r, sub) && sub < MAX_SUB;) {
        r = print_leaf(leaf, ++sub);
    }
}

/* A range of leaves whose first one says the last in EAX; limit guards against nonsense. */
static void print_range(u32 base, u32 limit)
{
    u32 last = cpuid(base, 0).eax;

    if (last < base || last > base + limit)
        last = base;
    for (u32 leaf = base; leaf <= last; leaf++) {
        print_subs(leaf);
    }
}

/* CR3 and CR4 are our own doing, CR0 tells what a loader or an INIT left. */
static void print_registers(void)
{
    uintptr_t cr0, cr3, cr4;

    __asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
    __asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    emit("cpu cr0=%#llx cr3=%#llx cr4=%#llx\n", (u64)cr0, (u64)cr3, (u64)cr4);
}

#ifdef __x86_64__

/*
 * Registers that describe the processor or its features, of both vendors and of the hypervisors;
 * none has a side effect on reading. Most are absent on any given processor, and that is shown.
 */
static const u32 feature_msrs[] = {
    0x10, 0x1b, 0x3a, 0x48, 0x8b, 0xce, 0xfe, 0x10a, 0x122, 0x140, 0x174, 0x179, 0x1a0, 0x277,
    0x2ff, 0x345, 0x480, 0x6e0, 0xd90, 0xda0, 0xc0000080, 0xc0000081, 0xc0000082, 0xc0000084,
    0xc0000100, 0xc0000101, 0xc0000102, 0xc0000103, 0xc0000104, 0xc0010010, 0xc0010015,
    0xc001001f, 0xc0010055, 0xc0010114, 0xc0010117, 0xc0011029, 0x4b564d00, 0x4b564d01,
    0x4b564d02, 0x4b564d03, 0x4b564d04, 0x4b564d05, 0x4b564d06, 0x4b564d07, 0x40000000,
    0x40000020,
};

static void print_msrs(void)
{
    u64 value;

    for (u32 i = 0; i < ARRAY_SIZE(feature_msrs); i++) {
        if (rdmsr_safe(feature_msrs[i], &value))
            emit("msr index=%#x value=%#llx\n", feature_msrs[i], value);
        else
            emit("msr index=%#x fault=gp\n", feature_msrs[i]);
    }
}

#else

static void print_msrs(void)
{
    u32 features = cpuid(1, 0).edx;

    if (!(features & 1u << 5))
        return;
    emit("msr index=0x10 value=%#llx\n", rdmsr(0x10));
    if (features & 1u << 9)
        emit("msr index=0x1b value=%#llx\n", rdmsr(0x1b));
    if (!boot.no_long_mode)
        emit("msr index=0xc0000080 value=%#llx\n", rdmsr(0xc0000080));
}

#endif

/* The hypervisor's leaves are only defined when the hypervisor bit is set. */
void cpuid_section(void)
{
    print_range(0, 0x40);
    if (cpuid(1, 0).ecx & 1u << 31) {
        print_range(0x40000000, 0x20);
        /* KVM's own leaves stand here when Hyper-V's take the first place. */
        if (cpuid(0x40000100, 0).eax >= 0x40000100 && cpuid(0x40000100, 0).eax < 0x40000120)
            print_range(0x40000100, 0x20);
    }
    print_range(0x80000000, 0x40);
    print_registers();
    print_msrs();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-host.c - the processor that the test accelerator pretends to have: what
 * KVM_GET_SUPPORTED_CPUID and the feature MSRs would say on a server of 2021 (x86-64-v4). Every
 * value is written down here, so that CPU models, fingerprints and frozen bytes come out the same
 * on any machine that runs the tests. Never change a value: golden files depend on it; a feature
 * that a test needs in addition is added as a new bit only with them.
 *
 * Leaf by leaf after SDM volume 2, CPUID, and Documentation/virt/kvm/x86/cpuid.rst.
 */
#include "test-accel.h"

#define B(n) (1u << (n))
#define INDEXED KVM_CPUID_FLAG_SIGNIFCANT_INDEX
#define LEAF(function_, a, b, c, d)                                                                \
    {                                                                                              \
        .function = (function_), .eax = (a), .ebx = (b), .ecx = (c), .edx = (d)                    \
    }
#define SUB(function_, index_, a, b, c, d)                                                         \
    {                                                                                              \
        .function = (function_), .index = (index_), .flags = INDEXED, .eax = (a), .ebx = (b),      \
        .ecx = (c), .edx = (d)                                                                     \
    }

/* The layout of struct kvm_cpuid2 with room for the entries, which C does not let us initialize. */
typedef struct {
    __u32                   nent, padding;
    struct kvm_cpuid_entry2 entries[32];
} HostCpuid;

static const HostCpuid host_cpuid = {
    .nent = G_N_ELEMENTS(((HostCpuid *)0)->entries),
    .entries = {
        LEAF(0x0, 0xd, 0x756e6547, 0x6c65746e, 0x49656e69), /* GenuineIntel */
        LEAF(0x1, 0x000606a6, 0x00010800,
             /* sse3 pclmulqdq ssse3 fma cx16 pcid sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline
              * aes xsave avx f16c rdrand hypervisor */
             B(0) | B(1) | B(9) | B(12) | B(13) | B(17) | B(19) | B(20) | B(21) | B(22) | B(23) |
                 B(24) | B(25) | B(26) | B(28) | B(29) | B(30) | B(31),
             /* fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx
              * fxsr sse sse2 ss */
             B(0) | B(1) | B(2) | B(3) | B(4) | B(5) | B(6) | B(7) | B(8) | B(9) | B(11) | B(12) |
                 B(13) | B(14) | B(15) | B(16) | B(17) | B(19) | B(23) | B(24) | B(25) | B(26) |
                 B(27)),
        LEAF(0x2, 0x00feff01, 0xf0, 0, 0),
        SUB(0x4, 0, 0x00000121, 0x02c0003f, 0x3f, 0),     /* L1D 48 KiB */
        SUB(0x4, 1, 0x00000122, 0x01c0003f, 0x3f, 0),     /* L1I 32 KiB */
        SUB(0x4, 2, 0x00000143, 0x04c0003f, 0x3ff, 0),    /* L2 1.25 MiB */
        SUB(0x4, 3, 0x00000163, 0x02c0003f, 0x7fff, 0x4), /* L3 24 MiB */
        SUB(0x4, 4, 0, 0, 0, 0),
        LEAF(0x5, 0, 0, 0, 0),
        LEAF(0x6, 0x4, 0, 0, 0), /* arat */
        SUB(0x7, 0, 1,
            /* fsgsbase tsc-adjust bmi1 avx2 smep bmi2 erms invpcid avx512f avx512dq rdseed adx smap
             * avx512ifma clflushopt clwb avx512cd sha avx512bw avx512vl */
            B(0) | B(1) | B(3) | B(5) | B(7) | B(8) | B(9) | B(10) | B(16) | B(17) | B(18) | B(19) |
                B(20) | B(21) | B(23) | B(24) | B(28) | B(29) | B(30) | B(31),
            /* avx512vbmi umip pku avx512vbmi2 gfni vaes vpclmulqdq avx512vnni avx512bitalg
             * avx512vpopcntdq rdpid */
            B(1) | B(2) | B(3) | B(6) | B(8) | B(9) | B(10) | B(11) | B(12) | B(14) | B(22),
            /* fsrm md-clear spec-ctrl stibp arch-capabilities ssbd */
            B(4) | B(10) | B(26) | B(27) | B(29) | B(31)),
        SUB(0x7, 1, 0, 0, 0, 0),
        SUB(0xb, 0, 0, 1, 0x100, 0),
        SUB(0xb, 1, 0, 1, 0x201, 0),
        SUB(0xd, 0, 0x2e7, 0xa88, 0xa88, 0),   /* x87 sse avx avx512 pkru */
        SUB(0xd, 1, 0xf, 0xa88, 0, 0),         /* xsaveopt xsavec xgetbv1 xsaves */
        SUB(0xd, 2, 0x100, 0x240, 0, 0),
        SUB(0xd, 5, 0x40, 0x440, 0, 0),
        SUB(0xd, 6, 0x200, 0x480, 0, 0),
        SUB(0xd, 7, 0x400, 0x680, 0, 0),
        SUB(0xd, 9, 0x8, 0xa80, 0, 0),
        LEAF(0x40000000, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d), /* KVMKVMKVM */
        LEAF(0x40000001,
             /* clocksource nop-io-delay clocksource2 async-pf steal-time pv-eoi pv-unhalt
              * pv-tlb-flush async-pf-vmexit pv-send-ipi poll-control pv-sched-yield async-pf-int
              * msi-ext-dest-id clocksource-stable */
             B(0) | B(1) | B(3) | B(4) | B(5) | B(6) | B(7) | B(9) | B(10) | B(11) | B(12) | B(13) |
                 B(14) | B(15) | B(24),
             0, 0, 0),
        LEAF(0x80000000, 0x80000008, 0, 0, 0),
        LEAF(0x80000001, 0, 0, B(0) | B(5) | B(8), /* lahf abm prefetchw */
             B(11) | B(20) | B(26) | B(27) | B(29)), /* syscall nx pdpe1gb rdtscp lm */
        LEAF(0x80000002, 0x6b636142, 0x6e616c70, 0x65742065, 0x70207473), /* "Backplane test p" */
        LEAF(0x80000003, 0x65636f72, 0x726f7373, 0, 0),                   /* "rocessor" */
        LEAF(0x80000004, 0, 0, 0, 0),
        LEAF(0x80000005, 0, 0, 0, 0),
        LEAF(0x80000006, 0, 0, 0x05007040, 0),
        LEAF(0x80000007, 0, 0, 0, B(8)), /* invariant tsc */
        LEAF(0x80000008, 48 << 8 | TEST_HOST_PHYS_BITS, 0, 0, 0),
    },
};
G_STATIC_ASSERT(G_STRUCT_OFFSET(HostCpuid, entries) == G_STRUCT_OFFSET(struct kvm_cpuid2, entries));

static const struct kvm_msr_entry host_msrs[] = {
    { .index = 0x8b, .data = G_GUINT64_CONSTANT(0x100000000) }, /* IA32_BIOS_SIGN_ID */
    /* IA32_ARCH_CAPABILITIES: rdcl-no ibrs-all skip-l1dfl-vmentry mds-no pschange-mc-no taa-no */
    { .index = 0x10a, .data = B(0) | B(1) | B(3) | B(5) | B(6) | B(8) },
    { .index = 0x345, .data = 0 }, /* IA32_PERF_CAPABILITIES */
};

const struct kvm_cpuid2 *test_host_cpuid(Vm *vm, GError **error)
{
    return (const struct kvm_cpuid2 *)(gconstpointer)&host_cpuid;
}

const struct kvm_msr_entry *test_host_msrs(Vm *vm, guint *n, GError **error)
{
    *n = G_N_ELEMENTS(host_msrs);
    return host_msrs;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * features.c - the names of CPUID feature bits: Intel SDM volume 2 CPUID, AMD APM volume 3 appendix E,
 * Linux Documentation/virt/kvm/x86/cpuid.rst for KVM's word. Names are those that QEMU and libvirt use, so that
 * people find what they know.
 */
#include "features.h"

#include <string.h>

/* clang-format off */
static const char *const bits_1_edx[32] = {
    "fpu", "vme", "de", "pse", "tsc", "msr", "pae", "mce", "cx8", "apic", NULL, "sep", "mtrr", "pge", "mca", "cmov",
    "pat", "pse36", "pn", "clflush", NULL, "ds", "acpi", "mmx", "fxsr", "sse", "sse2", "ss", "ht", "tm", "ia64", "pbe",
};
static const char *const bits_1_ecx[32] = {
    "pni", "pclmulqdq", "dtes64", "monitor", "ds-cpl", "vmx", "smx", "est", "tm2", "ssse3", "cid", NULL, "fma", "cx16", "xtpr", "pdcm",
    NULL, "pcid", "dca", "sse4.1", "sse4.2", "x2apic", "movbe", "popcnt", "tsc-deadline", "aes", "xsave", NULL, "avx", "f16c", "rdrand", "hypervisor",
};
static const char *const bits_6_eax[32] = { [2] = "arat" };
static const char *const bits_7_0_ebx[32] = {
    "fsgsbase", "tsc-adjust", "sgx", "bmi1", "hle", "avx2", NULL, "smep", "bmi2", "erms", "invpcid", "rtm", NULL, NULL, "mpx", NULL,
    "avx512f", "avx512dq", "rdseed", "adx", "smap", "avx512ifma", "pcommit", "clflushopt", "clwb", "intel-pt", "avx512pf", "avx512er", "avx512cd", "sha-ni", "avx512bw", "avx512vl",
};
static const char *const bits_7_0_ecx[32] = {
    NULL, "avx512vbmi", "umip", "pku", NULL, "waitpkg", "avx512vbmi2", NULL, "gfni", "vaes", "vpclmulqdq", "avx512vnni", "avx512bitalg", NULL, "avx512-vpopcntdq", NULL,
    "la57", NULL, NULL, NULL, NULL, NULL, "rdpid", NULL, "bus-lock-detect", "cldemote", NULL, "movdiri", "movdir64b", NULL, "sgxlc", "pks",
};
static const char *const bits_7_0_edx[32] = {
    NULL, NULL, "avx512-4vnniw", "avx512-4fmaps", "fsrm", NULL, NULL, NULL, "avx512-vp2intersect", NULL, "md-clear", NULL, NULL, NULL, "serialize", NULL,
    "tsx-ldtrk", NULL, NULL, "arch-lbr", NULL, NULL, "amx-bf16", "avx512-fp16", "amx-tile", "amx-int8", "spec-ctrl", "stibp", "flush-l1d", "arch-capabilities", "core-capability", "ssbd",
};
static const char *const bits_7_1_eax[32] = {
    [4] = "avx-vnni", [5] = "avx512-bf16", [10] = "fzrm", [11] = "fsrs", [12] = "fsrc", [21] = "amx-fp16", [23] = "avx-ifma",
};
static const char *const bits_d_1_eax[32] = { "xsaveopt", "xsavec", "xgetbv1", "xsaves", "xfd" };
static const char *const bits_kvm[32] = {
    "kvmclock", "kvm-nopiodelay", "kvm-mmu", "kvmclock2", "kvm-asyncpf", "kvm-steal-time", "kvm-pv-eoi", "kvm-pv-unhalt", NULL, "kvm-pv-tlb-flush", "kvm-asyncpf-vmexit",
    "kvm-pv-ipi", "kvm-poll-control", "kvm-pv-sched-yield", "kvm-asyncpf-int", "kvm-msi-ext-dest-id", [24] = "kvmclock-stable-bit",
};
static const char *const bits_80000001_edx[32] = {
    [11] = "syscall", [19] = "mp", [20] = "nx", [22] = "mmxext", [25] = "fxsr-opt", [26] = "pdpe1gb", [27] = "rdtscp", [29] = "lm", [30] = "3dnowext", [31] = "3dnow",
};
static const char *const bits_80000001_ecx[32] = {
    "lahf-lm", "cmp-legacy", "svm", "extapic", "cr8legacy", "abm", "sse4a", "misalignsse", "3dnowprefetch", "osvw", "ibs", "xop", "skinit", "wdt", NULL, "lwp",
    "fma4", "tce", NULL, "nodeid-msr", NULL, "tbm", "topoext", "perfctr-core", "perfctr-nb",
};
static const char *const bits_80000007_edx[32] = { [8] = "invtsc" };
static const char *const bits_80000008_ebx[32] = {
    [0] = "clzero", [2] = "xsaveerptr", [4] = "rdpru", [9] = "wbnoinvd", [12] = "ibpb", [14] = "ibrs", [15] = "amd-stibp", [17] = "stibp-always-on",
    [24] = "amd-ssbd", [25] = "virt-ssbd", [26] = "amd-no-ssb", [28] = "amd-psfd",
};
static const char *const bits_80000021_eax[32] = { [0] = "no-nested-data-bp", [2] = "lfence-always-serializing", [6] = "null-sel-clr-base", [8] = "auto-ibrs" };

const FeatureWordInfo feature_words[FEAT__MAX] = {
    [FEAT_1_EDX] = { "feat-1-edx", 1, 0, 3, bits_1_edx },
    [FEAT_1_ECX] = { "feat-1-ecx", 1, 0, 2, bits_1_ecx },
    [FEAT_6_EAX] = { "feat-6-eax", 6, 0, 0, bits_6_eax },
    [FEAT_7_0_EBX] = { "feat-7-0-ebx", 7, 0, 1, bits_7_0_ebx },
    [FEAT_7_0_ECX] = { "feat-7-0-ecx", 7, 0, 2, bits_7_0_ecx },
    [FEAT_7_0_EDX] = { "feat-7-0-edx", 7, 0, 3, bits_7_0_edx },
    [FEAT_7_1_EAX] = { "feat-7-1-eax", 7, 1, 0, bits_7_1_eax },
    [FEAT_D_1_EAX] = { "feat-d-1-eax", 0xd, 1, 0, bits_d_1_eax },
    [FEAT_KVM] = { "feat-kvm", 0x40000001, 0, 0, bits_kvm },
    [FEAT_80000001_EDX] = { "feat-80000001-edx", 0x80000001, 0, 3, bits_80000001_edx },
    [FEAT_80000001_ECX] = { "feat-80000001-ecx", 0x80000001, 0, 2, bits_80000001_ecx },
    [FEAT_80000007_EDX] = { "feat-80000007-edx", 0x80000007, 0, 3, bits_80000007_edx },
    [FEAT_80000008_EBX] = { "feat-80000008-ebx", 0x80000008, 0, 1, bits_80000008_ebx },
    [FEAT_80000021_EAX] = { "feat-80000021-eax", 0x80000021, 0, 0, bits_80000021_eax },
};
/* clang-format on */

gboolean feature_find(const char *name, FeatureWord *word, guint *bit)
{
    for (guint w = 0; w < FEAT__MAX; w++) {
        for (guint b = 0; b < 32; b++) {
            const char *have = feature_words[w].bits[b];
            if (have && strcmp(have, name) == 0) {
                *word = w;
                *bit = b;
                return TRUE;
            }
        }
    }
    return FALSE;
}

char *feature_names(const FeatureSet *set)
{
    GString *text = g_string_new(NULL);

    for (guint w = 0; w < FEAT__MAX; w++) {
        for (guint b = 0; b < 32; b++) {
            if (!(set->word[w] >> b & 1))
                continue;
            if (text->len)
                g_string_append_c(text, ',');
            if (feature_words[w].bits[b])
                g_string_append(text, feature_words[w].bits[b]);
            else
                g_string_append_printf(text, "%s.%u", feature_words[w].prop, b);
        }
    }
    return g_string_free(text, FALSE);
}

static guint32 reg_of(const struct kvm_cpuid_entry2 *e, guint reg)
{
    const guint32 regs[] = { e->eax, e->ebx, e->ecx, e->edx };
    return regs[reg];
}

void feature_set_read(FeatureSet *set, const struct kvm_cpuid2 *t)
{
    memset(set, 0, sizeof *set);
    for (guint i = 0; i < t->nent; i++) {
        const struct kvm_cpuid_entry2 *e = &t->entries[i];
        for (guint w = 0; w < FEAT__MAX; w++) {
            const FeatureWordInfo *info = &feature_words[w];
            if (e->function == info->leaf && e->index == info->subleaf)
                set->word[w] = reg_of(e, info->reg);
        }
    }
}

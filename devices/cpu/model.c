/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * model.c - CPU models: which values a type's rows take when nobody configured or recorded them.
 *
 * A model wants feature bits; the host grants those that KVM can offer. The result, not the model, is what is recorded: a later host
 * or build that can not give the same bits refuses by name rather than showing the guest another processor. The
 * `host` type wants all that there is, less what ties a guest to this host without use (performance counters, SGX, trace).
 *
 * The vendor is always the host's: system-call instructions and errata handling follow the vendor, and
 * KVM runs on the processor that there is.
 */
#include "model.h"

#include <stdio.h>

#include "../../kvm/caps.h"
#include "../platform/board.h"

#define BIT(n) (1u << (n))

/* 639-page manuals in five lines: the psABI's levels (x86-64 psABI 1.0, table 3.1) over what every 64-bit guest needs. */
#define BASE_1_EDX 0x078bfbffu      /* fpu..sse2 without the odd ones (pn, ds, acpi, ss, ht, tm, pbe) */
#define BASE_1_ECX (BIT(21) | BIT(24) | BIT(31)) /* x2apic, tsc-deadline, hypervisor */
#define BASE_8_1_EDX (BIT(11) | BIT(20) | BIT(29)) /* syscall, nx, lm */
#define V2_1_ECX (BIT(0) | BIT(9) | BIT(13) | BIT(19) | BIT(20) | BIT(23)) /* pni, ssse3, cx16, sse4.1, sse4.2, popcnt */
#define V3_1_ECX (BIT(12) | BIT(22) | BIT(26) | BIT(28) | BIT(29)) /* fma, movbe, xsave, avx, f16c */
#define V3_7_EBX (BIT(3) | BIT(5) | BIT(8)) /* bmi1, avx2, bmi2 */
#define V4_7_EBX (BIT(16) | BIT(17) | BIT(28) | BIT(30) | BIT(31)) /* avx512 f, dq, cd, bw, vl */
#define PARAVIRT (BIT(0) | BIT(1) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(7) | BIT(9) | BIT(11) | BIT(12) | BIT(13) | BIT(14) | BIT(24))

typedef struct {
    const char *type;
    const char *brand; /* NULL: the host's */
    guint32     level, xlevel;
    FeatureSet  wants; /* unused with the host's brand */
} Model;

#define SIGNATURE 0x00060fb1u /* family 15, model 107, stepping 1: what generic models have been for two decades */

static const Model models[] = {
    { .type = "host-x86_64-cpu" },
    { .type = "qemu64-x86_64-cpu", .brand = "QEMU Virtual CPU version 2.5+", .level = 0xd, .xlevel = 0x8000000a,
      .wants.word = { [FEAT_1_EDX] = BASE_1_EDX, [FEAT_1_ECX] = BASE_1_ECX | BIT(0) | BIT(13), [FEAT_6_EAX] = BIT(2),
                      [FEAT_KVM] = PARAVIRT, [FEAT_80000001_EDX] = BASE_8_1_EDX, [FEAT_80000001_ECX] = BIT(0) | BIT(2) } },
    { .type = "x86-64-v1-x86_64-cpu", .brand = "Backplane x86-64-v1", .level = 0xd, .xlevel = 0x80000008,
      .wants.word = { [FEAT_1_EDX] = BASE_1_EDX, [FEAT_1_ECX] = BASE_1_ECX, [FEAT_6_EAX] = BIT(2), [FEAT_KVM] = PARAVIRT,
                      [FEAT_80000001_EDX] = BASE_8_1_EDX } },
    { .type = "x86-64-v2-x86_64-cpu", .brand = "Backplane x86-64-v2", .level = 0xd, .xlevel = 0x80000008,
      .wants.word = { [FEAT_1_EDX] = BASE_1_EDX, [FEAT_1_ECX] = BASE_1_ECX | V2_1_ECX, [FEAT_6_EAX] = BIT(2), [FEAT_KVM] = PARAVIRT,
                      [FEAT_80000001_EDX] = BASE_8_1_EDX, [FEAT_80000001_ECX] = BIT(0) } },
    { .type = "x86-64-v3-x86_64-cpu", .brand = "Backplane x86-64-v3", .level = 0xd, .xlevel = 0x80000008,
      .wants.word = { [FEAT_1_EDX] = BASE_1_EDX, [FEAT_1_ECX] = BASE_1_ECX | V2_1_ECX | V3_1_ECX, [FEAT_6_EAX] = BIT(2),
                      [FEAT_7_0_EBX] = V3_7_EBX, [FEAT_KVM] = PARAVIRT, [FEAT_80000001_EDX] = BASE_8_1_EDX,
                      [FEAT_80000001_ECX] = BIT(0) | BIT(5) } },
    { .type = "x86-64-v4-x86_64-cpu", .brand = "Backplane x86-64-v4", .level = 0xd, .xlevel = 0x80000008,
      .wants.word = { [FEAT_1_EDX] = BASE_1_EDX, [FEAT_1_ECX] = BASE_1_ECX | V2_1_ECX | V3_1_ECX, [FEAT_6_EAX] = BIT(2),
                      [FEAT_7_0_EBX] = V3_7_EBX | V4_7_EBX, [FEAT_KVM] = PARAVIRT, [FEAT_80000001_EDX] = BASE_8_1_EDX,
                      [FEAT_80000001_ECX] = BIT(0) | BIT(5) } },
};

static const Model *model_of(const Device *dev)
{
    for (guint i = 0; i < G_N_ELEMENTS(models); i++) {
        if (strcmp(models[i].type, dev->type->name) == 0)
            return &models[i];
    }
    g_assert_not_reached();
}

static gboolean is_host(const Model *model)
{
    return model->brand == NULL;
}

static const struct kvm_cpuid_entry2 *entry(const struct kvm_cpuid2 *t, guint32 leaf, guint32 subleaf)
{
    for (guint i = 0; i < t->nent; i++) {
        if (t->entries[i].function == leaf && t->entries[i].index == subleaf)
            return &t->entries[i];
    }
    return NULL;
}

/* ---- features ---- */

/* What KVM offers. TSC deadline and x2APIC come from its in-kernel APIC and are not always listed. */
static void host_features(Vm *vm, const struct kvm_cpuid2 *host, FeatureSet *out)
{
    feature_set_read(out, host);
    out->word[FEAT_1_ECX] |= BIT(21) | BIT(31);
    if (vm_has_cap(vm, KVM_CAP_TSC_DEADLINE_TIMER))
        out->word[FEAT_1_ECX] |= BIT(24);
    out->word[FEAT_6_EAX] |= BIT(2); /* the virtual APIC timer never stops */
    out->word[FEAT_1_EDX] &= ~(BIT(28)); /* ht follows from the topology */
    out->word[FEAT_1_ECX] &= ~(BIT(2) | BIT(15) | BIT(27)); /* dtes64, pdcm; osxsave is KVM's */
    out->word[FEAT_7_0_EBX] &= ~(BIT(2) | BIT(25)); /* sgx, intel-pt */
    out->word[FEAT_80000001_ECX] &= ~(BIT(1) | BIT(10) | BIT(23) | BIT(24)); /* cmp-legacy follows from the topology; ibs, perfctr */
    out->word[FEAT_80000001_EDX] &= ~0x0183f3ffu | BIT(29); /* AMD's copies of leaf 1: made from the result */
    out->word[FEAT_80000001_EDX] &= BIT(11) | BIT(19) | BIT(20) | BIT(22) | BIT(25) | BIT(26) | BIT(27) | BIT(29) | BIT(30) | BIT(31);
}

static gboolean apply_word(Device *dev, const char *word, const FeatureSet *host, FeatureSet *set, GError **error)
{
    FeatureWord w;
    guint bit;

    if ((word[0] != '+' && word[0] != '-') || !feature_find(word + 1, &w, &bit)) {
        g_autofree char *given = error_quote(word, -1);
        return error_set(error, "Property 'features' of device '%s': '%s' is not +NAME or -NAME of a known CPU feature",
                         dev->id, given);
    }
    if (word[0] == '-')
        set->word[w] &= ~BIT(bit);
    else if (host->word[w] & BIT(bit))
        set->word[w] |= BIT(bit);
    else
        return error_set(error, "Property 'features' of device '%s': the host has no '%s' to offer", dev->id, word + 1);
    return TRUE;
}

static gboolean apply_changes(Device *dev, const FeatureSet *host, FeatureSet *set, GError **error)
{
    const char *text = DEVICE_CONFIG(dev, X86CpuConfig)->features;

    if (!text || !*text)
        return TRUE;
    g_auto(GStrv) words = g_strsplit(text, ",", -1);
    for (guint i = 0; words[i]; i++) {
        if (!apply_word(dev, words[i], host, set, error))
            return FALSE;
    }
    return TRUE;
}

/* A recorded word that this host can not give is refused by name. */
static gboolean check_recorded(Device *dev, FeatureWord w, const FeatureSet *host, GError **error)
{
    int row = prop_table_row(dev->bag->table, feature_words[w].prop);
    FeatureSet missing = { 0 };

    missing.word[w] = (guint32)prop_bag_get_u(dev->bag, (guint)row) & ~host->word[w];
    if (!missing.word[w])
        return TRUE;
    g_autofree char *names = feature_names(&missing);
    return error_set(error, "Device '%s': property '%s' is recorded as 0x%" G_GINT64_MODIFIER "x and the host offers 0x%x: %s missing",
                     dev->id, feature_words[w].prop, prop_bag_get_u(dev->bag, (guint)row), host->word[w], names);
}

static void log_filtered(Device *dev, const FeatureSet *wants, const FeatureSet *set)
{
    FeatureSet lost;
    gboolean any = FALSE;

    for (guint w = 0; w < FEAT__MAX; w++) {
        lost.word[w] = wants->word[w] & ~set->word[w];
        any |= lost.word[w] != 0;
    }
    if (!any)
        return;
    g_autofree char *names = feature_names(&lost);
    g_info("device '%s' (%s): the host does not offer %s", dev->id, dev->type->name, names);
}

static guint32 recorded_word(const Device *dev, guint w)
{
    return (guint32)prop_bag_get_u(dev->bag, (guint)prop_table_row(dev->bag->table, feature_words[w].prop));
}

/* The manager's `features` change recorded words too: what is configured wins over a hint. */
static gboolean resolve_features(Device *dev, const Model *model, const struct kvm_cpuid2 *kvm, GError **error)
{
    FeatureSet host, set;

    host_features(device_set_vm(dev->set), kvm, &host);
    for (guint w = 0; w < FEAT__MAX; w++)
        set.word[w] = is_host(model) ? host.word[w] : host.word[w] & model->wants.word[w];
    if (!is_host(model))
        log_filtered(dev, &model->wants, &set);
    for (guint w = 0; w < FEAT__MAX; w++) {
        if (prop_bag_is_set(dev->bag, feature_words[w].prop))
            set.word[w] = recorded_word(dev, w);
    }
    if (!apply_changes(dev, &host, &set, error))
        return FALSE;
    for (guint w = 0; w < FEAT__MAX; w++) {
        gboolean recorded = prop_bag_is_set(dev->bag, feature_words[w].prop);
        if (!recorded || recorded_word(dev, w) != set.word[w])
            prop_bag_set_u(dev->bag, feature_words[w].prop, set.word[w], ORIGIN_HOST);
        if (recorded && !check_recorded(dev, w, &host, error))
            return FALSE;
    }
    return TRUE;
}

/* ---- identity ---- */

static void set_u(Device *dev, const char *name, guint64 value, gboolean host)
{
    if (!prop_bag_is_set(dev->bag, name))
        prop_bag_set_u(dev->bag, name, value, host ? ORIGIN_HOST : ORIGIN_DEFAULT);
}

static void set_s(Device *dev, const char *name, const char *value, gboolean host)
{
    if (!prop_bag_is_set(dev->bag, name))
        prop_bag_set_s(dev->bag, name, value, host ? ORIGIN_HOST : ORIGIN_DEFAULT);
}

static void host_brand(const struct kvm_cpuid2 *t, char out[49])
{
    memset(out, 0, 49);
    for (guint i = 0; i < 3; i++) {
        const struct kvm_cpuid_entry2 *e = entry(t, 0x80000002 + i, 0);
        if (e)
            memcpy(out + 16 * i, &e->eax, 16); /* EAX to EDX stand side by side */
    }
    g_strstrip(out);
    if (!g_utf8_validate(out, -1, NULL) || !*out)
        snprintf(out, 49, "Backplane host processor");
    out[47] = '\0';
}

static void resolve_identity(Device *dev, const Model *model, const struct kvm_cpuid2 *kvm)
{
    const struct kvm_cpuid_entry2 *e0 = entry(kvm, 0, 0), *e1 = entry(kvm, 1, 0), *ex = entry(kvm, 0x80000000, 0);
    char vendor[13] = "GenuineIntel", brand[49];
    gboolean host = is_host(model);

    if (e0) {
        memcpy(vendor, &e0->ebx, 4);
        memcpy(vendor + 4, &e0->edx, 4);
        memcpy(vendor + 8, &e0->ecx, 4);
    }
    host_brand(kvm, brand);
    set_s(dev, "vendor", vendor, TRUE);
    set_s(dev, "brand", host ? brand : model->brand, host);
    set_u(dev, "signature", host && e1 ? e1->eax : SIGNATURE, host);
    set_u(dev, "level", host && e0 ? MIN(MAX(e0->eax, 0xd), 0x1f) : model->level ? model->level : 0xd, host);
    set_u(dev, "xlevel", host && ex ? MIN(MAX(ex->eax, 0x80000008), 0x80000021) : MAX(model->xlevel, 0x80000008), host);
}

/* ---- further leaves and MSRs ---- */

/* Leaves made from the other rows and the slot (cpuid.c), and those that a guest of ours does not get. */
static gboolean own_leaf(guint32 leaf)
{
    switch (leaf) {
    case 0: case 1: case 6: case 7: case 0xa: case 0xb: case 0xf: case 0x10: case 0x12: case 0x14: case 0x1f:
    case 0x80000000: case 0x80000001: case 0x80000002: case 0x80000003: case 0x80000004: case 0x80000007:
    case 0x80000008: case 0x8000001b: case 0x8000001e: case 0x8000001f: case 0x80000020: case 0x80000021:
    case 0x80000022: case 0x80000026:
        return TRUE;
    default:
        return leaf >= 0x40000000 && leaf <= 0x4fffffff;
    }
}

/* The XSAVE leaf is every model's: its sizes are the processor's own. Subleaf 1 EAX is a feature word. A model with
 * SVM has that leaf. */
static gboolean wanted_leaf(const Model *model, const struct kvm_cpuid_entry2 *e)
{
    if (own_leaf(e->function) || !(e->eax | e->ebx | e->ecx | e->edx))
        return FALSE;
    return is_host(model) || e->function == 0xd || (e->function == 0x8000000a && (model->wants.word[FEAT_80000001_ECX] & BIT(2)));
}

static void append_leaf(GByteArray *out, const struct kvm_cpuid_entry2 *e)
{
    const guint32 words[] = { e->function, e->index, e->flags, e->eax, e->ebx, e->ecx, e->edx };
    guint8 raw[sizeof words];

    for (guint i = 0; i < G_N_ELEMENTS(words); i++)
        le32_put(raw + i * 4, words[i]);
    g_byte_array_append(out, raw, sizeof raw);
}

/* A generic processor's caches: 32 KiB L1 data and instruction, 512 KiB L2, in both vendors' forms. */
static void append_generic_caches(GByteArray *out)
{
    static const struct kvm_cpuid_entry2 caches[] = {
        { .function = 4, .index = 0, .flags = 1, .eax = 0x121, .ebx = 0x01c0003f, .ecx = 63, .edx = 1 },
        { .function = 4, .index = 1, .flags = 1, .eax = 0x122, .ebx = 0x01c0003f, .ecx = 63, .edx = 1 },
        { .function = 4, .index = 2, .flags = 1, .eax = 0x143, .ebx = 0x01c0003f, .ecx = 1023, .edx = 0 },
        { .function = 0x80000005, .eax = 0x01ff01ff, .ebx = 0x01ff01ff, .ecx = 0x20080140, .edx = 0x20080140 },
        { .function = 0x80000006, .eax = 0, .ebx = 0x42004200, .ecx = 0x02008140, .edx = 0 },
    };

    for (guint i = 0; i < G_N_ELEMENTS(caches); i++)
        append_leaf(out, &caches[i]);
}

static void resolve_leaves(Device *dev, const Model *model, const struct kvm_cpuid2 *kvm)
{
    if (prop_bag_is_set(dev->bag, "cpuid-leaves"))
        return;
    GByteArray *out = g_byte_array_new();
    for (guint i = 0; i < kvm->nent; i++) {
        if (wanted_leaf(model, &kvm->entries[i]))
            append_leaf(out, &kvm->entries[i]);
    }
    if (!is_host(model))
        append_generic_caches(out);
    g_autoptr(GBytes) bytes = g_byte_array_free_to_bytes(out);
    prop_bag_set_bytes(dev->bag, (guint)prop_table_row(dev->bag->table, "cpuid-leaves"), bytes, ORIGIN_HOST);
}

/* VMX capability MSRs mean something only to a guest that sees VMX. */
static gboolean wanted_msr(const X86CpuConfig *config, guint32 index)
{
    gboolean vmx = (config->feat_1_ecx & BIT(5)) != 0;
    gboolean arch_capabilities = (config->feat_7_0_edx & BIT(29)) != 0;

    if (index >= 0x480 && index <= 0x493)
        return vmx;
    if (index == 0x10a)
        return arch_capabilities;
    if (index == 0x345) /* PERF_CAPABILITIES: no counters */
        return FALSE;
    return TRUE;
}

static void append_msr(GByteArray *out, guint64 index, guint64 value)
{
    guint8 raw[16];

    le64_put(raw, index);
    le64_put(raw + 8, value);
    g_byte_array_append(out, raw, sizeof raw);
}

static gboolean resolve_msrs(Device *dev, const Model *model, GError **error)
{
    guint n = 0;

    if (prop_bag_is_set(dev->bag, "feature-msrs"))
        return TRUE;
    const struct kvm_msr_entry *msrs = vm_feature_msrs(device_set_vm(dev->set), &n, error);
    if (!msrs && n)
        return FALSE;
    GByteArray *out = g_byte_array_new();
    for (guint i = 0; is_host(model) && i < n; i++) {
        if (wanted_msr(DEVICE_CONFIG(dev, X86CpuConfig), msrs[i].index))
            append_msr(out, msrs[i].index, msrs[i].data);
    }
    /* HWCR.TscFreqSel: on AMD's processors the TSC counts at P0's frequency, and Linux takes a clear bit for a firmware bug. */
    if (is_host(model) && strcmp(DEVICE_CONFIG(dev, X86CpuConfig)->vendor, "AuthenticAMD") == 0)
        append_msr(out, 0xc0010015, G_GUINT64_CONSTANT(1) << 24);
    g_autoptr(GBytes) bytes = g_byte_array_free_to_bytes(out);
    prop_bag_set_bytes(dev->bag, (guint)prop_table_row(dev->bag->table, "feature-msrs"), bytes, ORIGIN_HOST);
    return TRUE;
}

/* What a hint says: whole records. */
static gboolean check_records(Device *dev, const char *prop, GBytes *bytes, gsize record, GError **error)
{
    gsize n = bytes ? g_bytes_get_size(bytes) : 0;

    return n % record == 0 || error_set(error, "Property '%s' of device '%s': %zu bytes are no whole records of %zu", prop, dev->id,
                                        n, record);
}

gboolean cpu_model_resolve(Device *dev, GError **error)
{
    const Model *model = model_of(dev);
    const struct kvm_cpuid2 *kvm = vm_supported_cpuid(device_set_vm(dev->set), error);

    if (!kvm || !resolve_features(dev, model, kvm, error))
        return FALSE;
    resolve_identity(dev, model, kvm);
    resolve_leaves(dev, model, kvm);
    const X86CpuConfig *config = DEVICE_CONFIG(dev, X86CpuConfig);
    return resolve_msrs(dev, model, error) && check_records(dev, "cpuid-leaves", config->cpuid_leaves, 28, error) &&
           check_records(dev, "feature-msrs", config->feature_msrs, 16, error);
}

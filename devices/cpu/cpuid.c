/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cpuid.c - the CPUID table of one CPU, made from its property rows, the board's topology and its slot. Nothing else
 * goes in, so that the same rows give the same table on any host.
 *
 * The hard part is topology, which processors tell in five ways that must agree: the legacy count in leaf 1, Intel's leaves 4, 0xb and 0x1f, AMD's
 * 0x80000008, 0x8000001d and 0x8000001e. Intel SDM 8.9 "Detecting topology", AMD APM volume 3 E.4 and E.5.
 */
#include "model.h"

#include "../platform/board.h"

typedef struct {
    guint threads, cores, dies;              /* per core, die, socket */
    guint width_thread, width_core, width_die;
    guint per_socket;                        /* logical CPUs */
} Topology;

static Topology topology_of(const BoardConfig *b)
{
    Topology t = { .threads = b->cpu_threads, .cores = b->cpu_cores, .dies = b->cpu_dies };

    t.width_thread = cpu_id_width(t.threads);
    t.width_core = cpu_id_width(t.cores);
    t.width_die = cpu_id_width(t.dies);
    t.per_socket = t.threads * t.cores * t.dies;
    return t;
}

static void add(GArray *t, guint32 leaf, guint32 subleaf, gboolean indexed, guint32 a, guint32 b, guint32 c, guint32 d)
{
    struct kvm_cpuid_entry2 e = {
        .function = leaf,
        .index = subleaf,
        .flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
        .eax = a,
        .ebx = b,
        .ecx = c,
        .edx = d,
    };
    g_array_append_val(t, e);
}

static guint32 word_at(const char *s, guint at)
{
    return le32_get(s + at);
}

/* Twelve bytes, whatever a hint says. */
static guint32 vendor_word(const X86CpuConfig *c, guint at)
{
    char vendor[13] = "";

    g_strlcpy(vendor, c->vendor, sizeof vendor);
    return word_at(vendor, at);
}

static gboolean is_amd(const X86CpuConfig *c)
{
    return strcmp(c->vendor, "AuthenticAMD") == 0 || strcmp(c->vendor, "HygonGenuine") == 0;
}

/* ---- leaves 0 to 7 ---- */

static void add_basic(GArray *t, const X86CpuConfig *c, const Topology *topo, guint32 apic_id, guint32 level)
{
    gboolean many = topo->per_socket > 1;
    guint32 count = MIN(1u << (topo->width_thread + topo->width_core + topo->width_die), 255);

    add(t, 0, 0, FALSE, level, vendor_word(c, 0), vendor_word(c, 8), vendor_word(c, 4));
    add(t, 1, 0, FALSE, c->signature, (apic_id & 0xff) << 24 | (many ? count : 1) << 16 | 8 << 8, c->feat_1_ecx,
        c->feat_1_edx | (many ? 1u << 28 : 0));
    add(t, 6, 0, FALSE, c->feat_6_eax, 0, 0, 0);
    if (level >= 7) {
        add(t, 7, 0, TRUE, c->feat_7_1_eax ? 1 : 0, c->feat_7_0_ebx, c->feat_7_0_ecx, c->feat_7_0_edx);
        if (c->feat_7_1_eax)
            add(t, 7, 1, TRUE, c->feat_7_1_eax, 0, 0, 0);
    }
}

/* Leaves 0xb and 0x1f: SMT, core and (0x1f only) die levels; the level after the last has type 0. */
static void add_topology(GArray *t, const Topology *topo, guint32 apic_id, gboolean with_dies)
{
    guint wt = topo->width_thread, wc = wt + topo->width_core, wd = wc + topo->width_die;

    add(t, 0xb, 0, TRUE, wt, topo->threads, 1 << 8 | 0, apic_id);
    add(t, 0xb, 1, TRUE, wd, topo->per_socket, 2 << 8 | 1, apic_id);
    add(t, 0xb, 2, TRUE, 0, 0, 2, apic_id);
    if (!with_dies)
        return;
    add(t, 0x1f, 0, TRUE, wt, topo->threads, 1 << 8 | 0, apic_id);
    add(t, 0x1f, 1, TRUE, wc, topo->threads * topo->cores, 2 << 8 | 1, apic_id);
    add(t, 0x1f, 2, TRUE, wd, topo->per_socket, 5 << 8 | 2, apic_id);
    add(t, 0x1f, 3, TRUE, 0, 0, 3, apic_id);
}

/* ---- KVM's leaves and the extended ones ---- */

static void add_kvm(GArray *t, const X86CpuConfig *c)
{
    static const char signature[13] = "KVMKVMKVM\0\0\0";

    add(t, 0x40000000, 0, FALSE, 0x40000001, word_at(signature, 0), word_at(signature, 4), word_at(signature, 8));
    add(t, 0x40000001, 0, FALSE, c->feat_kvm, 0, 0, 0);
}

static void add_extended(GArray *t, const X86CpuConfig *c, const BoardConfig *board, const Topology *topo, guint32 apic_id)
{
    gboolean amd = is_amd(c), many = topo->per_socket > 1;
    guint width = topo->width_thread + topo->width_core + topo->width_die;
    char brand[48] = "";
    /* On AMD's processors the low bits of leaf 1 EDX stand here again. */
    guint32 edx = c->feat_80000001_edx | (amd ? c->feat_1_edx & 0x0183f3ff : 0);
    guint32 ecx = c->feat_80000001_ecx | (amd && many ? 1u << 1 : 0); /* cmp_legacy */

    add(t, 0x80000000, 0, FALSE, c->xlevel, amd ? vendor_word(c, 0) : 0, amd ? vendor_word(c, 8) : 0,
        amd ? vendor_word(c, 4) : 0);
    add(t, 0x80000001, 0, FALSE, amd ? c->signature : 0, 0, ecx, edx);
    memcpy(brand, c->brand, MIN(strlen(c->brand), sizeof brand - 1));
    for (guint i = 0; i < 3; i++)
        add(t, 0x80000002 + i, 0, FALSE, word_at(brand, 16 * i), word_at(brand, 16 * i + 4), word_at(brand, 16 * i + 8),
            word_at(brand, 16 * i + 12));
    add(t, 0x80000007, 0, FALSE, 0, 0, 0, c->feat_80000007_edx);
    guint linear = c->feat_7_0_ecx & 1u << 16 ? 57 : 48; /* la57 */
    add(t, 0x80000008, 0, FALSE, linear << 8 | board->phys_bits, c->feat_80000008_ebx,
        amd && many ? width << 12 | (MIN(topo->per_socket, 256) - 1) : 0, 0);
    if (amd && c->xlevel >= 0x8000001e && (c->feat_80000001_ecx & 1u << 22))
        add(t, 0x8000001e, 0, FALSE, apic_id, (topo->threads - 1) << 8 | (apic_id >> topo->width_thread & 0xff), 0, 0);
    if (c->xlevel >= 0x80000021)
        add(t, 0x80000021, 0, FALSE, c->feat_80000021_eax, 0, 0, 0);
}

/* ---- recorded leaves, with the topology's numbers in those that carry some ---- */

static void patch_cache(struct kvm_cpuid_entry2 *e, const Topology *topo)
{
    guint level = e->eax >> 5 & 7;
    guint sharing = level >= 3 ? 1u << (topo->width_thread + topo->width_core) : 1u << topo->width_thread;

    if ((e->eax & 0x1f) == 0)
        return;
    e->eax = (e->eax & 0x3fff) | (MIN(sharing, 4096) - 1) << 14;
    if (e->function == 4)
        e->eax |= (MIN(1u << (topo->width_core + topo->width_die), 64) - 1) << 26;
}

static gboolean for_this_vendor(const X86CpuConfig *c, guint32 leaf)
{
    if (leaf == 2 || leaf == 4)
        return !is_amd(c);
    if (leaf == 0x80000005 || (leaf >= 0x80000019 && leaf <= 0x8000001d) || leaf == 0x8000000a)
        return is_amd(c);
    return TRUE;
}

/* XSAVE state components (SDM volume 1, 13.1) of the features that this CPU has. */
static guint64 xsave_components(const X86CpuConfig *c)
{
    guint64 mask = 3; /* x87, SSE */

    if (c->feat_1_ecx & 1u << 28)
        mask |= 1u << 2; /* AVX */
    if (c->feat_7_0_ebx & 1u << 14)
        mask |= 3u << 3; /* MPX */
    if (c->feat_7_0_ebx & 1u << 16)
        mask |= 7u << 5; /* AVX-512 */
    if (c->feat_7_0_ecx & 1u << 3)
        mask |= 1u << 9; /* protection keys */
    if (c->feat_7_0_edx & 1u << 24)
        mask |= 3u << 17; /* AMX */
    return mask;
}

static const struct kvm_cpuid_entry2 *find(const GArray *t, guint32 leaf, guint32 subleaf)
{
    for (guint i = 0; i < t->len; i++) {
        const struct kvm_cpuid_entry2 *e = &g_array_index(t, struct kvm_cpuid_entry2, i);
        if (e->function == leaf && e->index == subleaf)
            return e;
    }
    return NULL;
}

/* The size of an area for the components in MASK: legacy region and header, then each at its own offset. */
static guint32 xsave_size(const GArray *recorded, guint64 mask)
{
    guint32 size = 576;

    for (guint i = 2; i < 63; i++) {
        const struct kvm_cpuid_entry2 *e = mask >> i & 1 ? find(recorded, 0xd, i) : NULL;
        if (e)
            size = MAX(size, e->ebx + e->eax);
    }
    return size;
}

/* FALSE: a component of a feature that this CPU has not. */
static gboolean patch_xsave(struct kvm_cpuid_entry2 *e, const X86CpuConfig *c, const GArray *recorded)
{
    guint64 mask = xsave_components(c);
    gboolean xsaves = (c->feat_d_1_eax & 1u << 3) != 0;

    if (e->index == 0) {
        e->eax &= (guint32)mask;
        e->edx = 0;
        e->ecx = e->ebx = xsave_size(recorded, e->eax);
    } else if (e->index == 1) {
        e->eax = c->feat_d_1_eax;
        e->ebx = c->feat_d_1_eax & (1u << 1 | 1u << 3) ? e->ebx : 0;
        e->ecx = xsaves ? e->ecx : 0;
        e->edx = xsaves ? e->edx : 0;
    } else {
        return e->ecx & 1 ? xsaves : e->index < 63 && (mask >> e->index & 1);
    }
    return TRUE;
}

static gboolean is_wanted(const X86CpuConfig *c, guint32 leaf, guint32 level)
{
    guint32 limit = leaf >= 0x80000000 ? c->xlevel : level;

    if (leaf > limit || (leaf >= 0x40000000 && leaf <= 0x4fffffff) || !for_this_vendor(c, leaf))
        return FALSE;
    if (leaf == 0xd)
        return (c->feat_1_ecx & 1u << 26) != 0;
    return leaf != 0x8000000a || (c->feat_80000001_ecx & 1u << 2);
}

static GArray *recorded_entries(const X86CpuConfig *c)
{
    GArray *list = g_array_new(FALSE, FALSE, sizeof(struct kvm_cpuid_entry2));
    gsize n = 0;
    const guint8 *raw = c->cpuid_leaves ? g_bytes_get_data(c->cpuid_leaves, &n) : NULL;

    for (; n >= 28; raw += 28, n -= 28)
        add(list, le32_get(raw), le32_get(raw + 4), le32_get(raw + 8) & KVM_CPUID_FLAG_SIGNIFCANT_INDEX, le32_get(raw + 12),
            le32_get(raw + 16), le32_get(raw + 20), le32_get(raw + 24));
    return list;
}

/* Called last: what the other rows say stands, and no leaf stands twice. */
static void add_recorded(GArray *t, const X86CpuConfig *c, const Topology *topo, guint32 level)
{
    g_autoptr(GArray) recorded = recorded_entries(c);

    for (guint i = 0; i < recorded->len; i++) {
        struct kvm_cpuid_entry2 e = g_array_index(recorded, struct kvm_cpuid_entry2, i);
        if (!is_wanted(c, e.function, level) || find(t, e.function, e.index))
            continue;
        if (e.function == 4 || e.function == 0x8000001d)
            patch_cache(&e, topo);
        if (e.function == 0xd && !patch_xsave(&e, c, recorded))
            continue;
        g_array_append_val(t, e);
    }
}

static gint by_leaf(gconstpointer a, gconstpointer b)
{
    const struct kvm_cpuid_entry2 *x = a, *y = b;

    if (x->function != y->function)
        return x->function < y->function ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

GArray *cpu_cpuid_build(const X86CpuConfig *c, const BoardConfig *board, const CpuSlot *slot)
{
    GArray *t = g_array_sized_new(FALSE, FALSE, sizeof(struct kvm_cpuid_entry2), 64);
    Topology topo = topology_of(board);
    gboolean with_dies = topo.dies > 1 && !is_amd(c);
    guint32 level = with_dies ? MAX(c->level, 0x1f) : c->level;

    add_basic(t, c, &topo, slot->apic_id, level);
    if (level >= 0xb)
        add_topology(t, &topo, slot->apic_id, with_dies);
    add_kvm(t, c);
    add_extended(t, c, board, &topo, slot->apic_id);
    add_recorded(t, c, &topo, level);
    g_array_sort(t, by_leaf);
    return t;
}

GArray *cpu_feature_msrs(const X86CpuConfig *c)
{
    GArray *msrs = g_array_new(FALSE, TRUE, sizeof(struct kvm_msr_entry));
    gsize n = 0;
    const guint8 *raw = c->feature_msrs ? g_bytes_get_data(c->feature_msrs, &n) : NULL;

    for (; n >= 16; raw += 16, n -= 16) {
        struct kvm_msr_entry e = { .index = (guint32)le64_get(raw), .data = le64_get(raw + 8) };
        g_array_append_val(msrs, e);
    }
    return msrs;
}

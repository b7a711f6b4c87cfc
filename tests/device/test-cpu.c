/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-cpu.c - CPU slots, models and CPUID: that the five ways in which processors tell their topology agree, for both vendors, and that
 * what is recorded is given exactly or refused by name.
 */
#include "../../devices/cpu/model.h"
#include "../../devices/platform/board.h"
#include "../../devices/core/record.h"
#include "../../devices/core/unplug.h"
#include "core-rig.h"

#define QEMU64 "\"driver\":\"qemu64-x86_64-cpu\""
#define HOST "\"driver\":\"host-x86_64-cpu\""

typedef struct {
    guint sockets, dies, cores, threads;
} Shape;

static const Shape shapes[] = {
    { 1, 1, 1, 1 }, { 2, 1, 3, 2 }, { 1, 1, 240, 1 }, { 2, 2, 3, 2 }, { 4, 1, 256, 1 }, { 1, 1, 128, 2 }, { 1, 3, 1, 1 }, { 1024, 1, 1, 1 },
};

static guint count_of(const Shape *s)
{
    return s->sockets * s->dies * s->cores * s->threads;
}

static Rig *rig_shaped(const Shape *s)
{
    Rig *rig = rig_new();

    rig_plug(rig, "{\"driver\":\"board\",\"max-cpus\":%u,\"cpu-sockets\":%u,\"cpu-dies\":%u,\"cpu-cores\":%u,\"cpu-threads\":%u}",
             count_of(s), s->sockets, s->dies, s->cores, s->threads);
    return rig;
}

static const X86CpuConfig *config_of(Device *cpu)
{
    return DEVICE_CONFIG(cpu, X86CpuConfig);
}

/* ---- slots ---- */

static void test_slots(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(shapes); i++) {
        g_autoptr(Rig) rig = rig_shaped(&shapes[i]);
        const Shape *s = &shapes[i];
        gint64 last = -1;
        g_assert_cmpuint(cpu_slots_count(rig->set), ==, count_of(s));
        for (guint n = 0; n < count_of(s); n++) {
            CpuSlot slot;
            cpu_slot_get(rig->set, n, &slot);
            g_assert_cmpuint(((slot.socket * s->dies + slot.die) * s->cores + slot.core) * s->threads + slot.thread, ==, n);
            g_assert_cmpuint(slot.thread, <, s->threads);
            g_assert_cmpuint(slot.core, <, s->cores);
            g_assert_cmpuint(slot.die, <, s->dies);
            g_assert_cmpint(slot.apic_id, >, last); /* unique, in slot order */
            g_assert_null(slot.cpu);
            last = slot.apic_id;
        }
        g_assert_null(cpu_bsp(rig->set));
    }
}

static void test_apic_ids(void)
{
    g_autoptr(Rig) rig = rig_shaped(&shapes[1]); /* 2 sockets of 3 cores of 2 threads: bits 3+, 1-2, 0 */
    static const guint wanted[] = { 0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13 };

    for (guint i = 0; i < G_N_ELEMENTS(wanted); i++) {
        CpuSlot slot;
        cpu_slot_get(rig->set, i, &slot);
        g_assert_cmpuint(slot.apic_id, ==, wanted[i]);
    }
}

static void assert_place(Device *cpu, guint index, guint socket, guint core, guint thread)
{
    const X86CpuConfig *c = config_of(cpu);

    g_assert_cmpuint(cpu_index(cpu), ==, index);
    g_assert_cmpuint(c->socket_id, ==, socket);
    g_assert_cmpuint(c->die_id, ==, 0);
    g_assert_cmpuint(c->core_id, ==, core);
    g_assert_cmpuint(c->thread_id, ==, thread);
    g_assert_cmpuint(vcpu_apic_id(cpu_vcpu(cpu)), ==, c->apic_id);
    g_assert_cmpuint(vcpu_index(cpu_vcpu(cpu)), ==, index);
}

static void test_plug(void)
{
    g_autoptr(Rig) rig = rig_shaped(&shapes[1]);

    assert_place(rig_plug(rig, "{" QEMU64 ",\"id\":\"all\",\"socket-id\":1,\"die-id\":0,\"core-id\":2,\"thread-id\":1}"), 11, 1, 2, 1);
    assert_place(rig_plug(rig, "{" QEMU64 "}"), 0, 0, 0, 0);
    assert_place(rig_plug(rig, "{" QEMU64 ",\"socket-id\":1}"), 6, 1, 0, 0);
    assert_place(rig_plug(rig, "{" QEMU64 ",\"core-id\":2}"), 4, 0, 2, 0);
    assert_place(rig_plug(rig, "{" QEMU64 ",\"thread-id\":1}"), 1, 0, 0, 1);
    assert_place(rig_plug(rig, "{" QEMU64 ",\"socket-id\":0,\"core-id\":1,\"thread-id\":0}"), 2, 0, 1, 0);
    rig_refuse(rig, "has device 'all' in it", "{" QEMU64 ",\"socket-id\":1,\"core-id\":2,\"thread-id\":1}");
    rig_refuse(rig, "'socket-id' of device", "{" QEMU64 ",\"socket-id\":2}");
    rig_refuse(rig, "the board has 0 to 0", "{" QEMU64 ",\"die-id\":1}");
    rig_refuse(rig, "3, and the board has 0 to 2", "{" QEMU64 ",\"core-id\":3}");
    rig_refuse(rig, "'thread-id'", "{" QEMU64 ",\"thread-id\":4294967295}");
    rig_refuse(rig, "its type is 'host-x86_64-cpu'", "{" HOST "}");
    rig_refuse(rig, "'qemu64-x86_64-cpu.apic-id' not found", "{" QEMU64 ",\"apic-id\":0}");
    g_assert_cmpuint(cpu_plugged_count(rig->set), ==, 6);
    for (guint i = 6; i < 12; i++)
        rig_plug(rig, "{" QEMU64 "}");
    rig_refuse(rig, "12 of max-cpus 12 are taken", "{" QEMU64 "}");
    g_assert_cmpuint(cpu_index(cpu_bsp(rig->set)), ==, 0);
    rig_remove(cpu_bsp(rig->set));
    g_assert_cmpuint(cpu_index(cpu_bsp(rig->set)), ==, 1); /* the lowest plugged */
    rig_plug(rig, "{" QEMU64 "}");
    g_assert_cmpuint(cpu_index(cpu_bsp(rig->set)), ==, 0);
}

static void test_types_after_all_left(void)
{
    g_autoptr(Rig) rig = rig_shaped(&shapes[0]);

    rig_remove(rig_plug(rig, "{" QEMU64 "}"));
    rig_remove(rig_plug(rig, "{" HOST "}")); /* nobody is there to differ from */
}

static void test_hotplug(void)
{
    static const Shape two = { 1, 1, 2, 1 };
    g_autoptr(Rig) rig = rig_shaped(&two);
    guint threads = rig_count_threads();

    rig_plug(rig, "{" QEMU64 "}");
    rig_power_on(rig);
    device_set_started(rig->set);
    Device *cpu = rig_plug(rig, "{" QEMU64 "}");
    rig_out(rig, 0xcd8, 4, 1); /* ACPI's registers: selector, then flags */
    g_assert_cmphex(rig_in(rig, 0xcdc, 1) & 3, ==, 3); /* there, insert event */
    rig_remove(cpu);
    g_assert_cmphex(rig_in(rig, 0xcdc, 1) & 3, ==, 0); /* gone */
    g_assert_cmpuint(rig_count_threads(), ==, threads + 1);
}

/* ---- CPUID ---- */

static const struct kvm_cpuid_entry2 *leaf(GArray *t, guint32 function, guint32 index)
{
    for (guint i = 0; i < t->len; i++) {
        const struct kvm_cpuid_entry2 *e = &g_array_index(t, struct kvm_cpuid_entry2, i);
        if (e->function == function && e->index == index)
            return e;
    }
    return NULL;
}

/* KVM takes the first of two; a table has none, and is in order. */
static void assert_sorted(GArray *t)
{
    for (guint i = 1; i < t->len; i++) {
        const struct kvm_cpuid_entry2 *a = &g_array_index(t, struct kvm_cpuid_entry2, i - 1), *b = a + 1;
        g_assert_true(a->function < b->function || (a->function == b->function && a->index < b->index));
    }
}

static guint per_socket(const Shape *s)
{
    return s->dies * s->cores * s->threads;
}

static void check_common(GArray *t, const Shape *s, const CpuSlot *slot)
{
    const struct kvm_cpuid_entry2 *one = leaf(t, 1, 0);
    gboolean many = per_socket(s) > 1;

    assert_sorted(t);
    g_assert_cmpuint(one->ebx >> 24, ==, slot->apic_id & 0xff);
    g_assert_cmpuint(one->edx >> 28 & 1, ==, many); /* HTT */
    g_assert_cmpuint(one->ebx >> 16 & 0xff, >=, MIN(per_socket(s), 255));
    g_assert_cmpuint(leaf(t, 0x40000000, 0)->eax, ==, 0x40000001);
    g_assert_cmpmem(&leaf(t, 0x40000000, 0)->ebx, 12, "KVMKVMKVM\0\0\0", 12);
    /* Every leaf is below the highest that is told. */
    for (guint i = 0; i < t->len; i++) {
        guint32 function = g_array_index(t, struct kvm_cpuid_entry2, i).function;
        if (function < 0x40000000)
            g_assert_cmphex(function, <=, leaf(t, 0, 0)->eax);
        else if (function >= 0x80000000)
            g_assert_cmphex(function, <=, leaf(t, 0x80000000, 0)->eax);
    }
    /* Leaf 0xb: shifting away the widths leaves the socket. */
    const struct kvm_cpuid_entry2 *smt = leaf(t, 0xb, 0), *core = leaf(t, 0xb, 1);
    g_assert_cmpuint(smt->edx, ==, slot->apic_id);
    g_assert_cmpuint(smt->ebx, ==, s->threads);
    g_assert_cmpuint(smt->ecx, ==, 0x100);
    g_assert_cmpuint(slot->apic_id & ((1u << smt->eax) - 1), ==, slot->thread);
    g_assert_cmpuint(core->ebx, ==, per_socket(s));
    g_assert_cmpuint(core->ecx, ==, 0x201);
    g_assert_cmpuint((guint64)slot->apic_id >> core->eax, ==, slot->socket);
    g_assert_cmpuint(leaf(t, 0xb, 2)->ecx, ==, 2);
}

static void check_intel(GArray *t, const Shape *s, const CpuSlot *slot)
{
    const struct kvm_cpuid_entry2 *l1 = leaf(t, 4, 0), *die = leaf(t, 0x1f, 2);

    g_assert_cmpuint((l1->eax >> 14 & 0xfff) + 1, >=, s->threads);
    g_assert_cmpuint((l1->eax >> 26) + 1, >=, MIN(s->dies * s->cores, 64));
    g_assert_null(leaf(t, 0x8000001e, 0));
    g_assert_cmphex(leaf(t, 0x80000008, 0)->ecx, ==, 0);
    g_assert_cmpint(die != NULL, ==, s->dies > 1);
    if (!die)
        return;
    g_assert_cmpuint(leaf(t, 0x1f, 0)->ebx, ==, s->threads);
    g_assert_cmpuint(leaf(t, 0x1f, 1)->ebx, ==, s->threads * s->cores);
    g_assert_cmpuint(slot->apic_id >> leaf(t, 0x1f, 1)->eax, ==, slot->socket << cpu_id_width(s->dies) | slot->die);
    g_assert_cmpuint(die->ecx, ==, 0x502);
    g_assert_cmpuint(die->eax, ==, leaf(t, 0xb, 1)->eax);
    g_assert_cmpuint(leaf(t, 0x1f, 3)->ecx, ==, 3);
}

static void check_amd(GArray *t, const Shape *s, const CpuSlot *slot)
{
    const struct kvm_cpuid_entry2 *sizes = leaf(t, 0x80000008, 0), *ids = leaf(t, 0x8000001e, 0);
    gboolean many = per_socket(s) > 1;

    g_assert_null(leaf(t, 4, 0)); /* Intel's */
    g_assert_null(leaf(t, 0x1f, 0));
    g_assert_cmpmem(&leaf(t, 0x80000000, 0)->ebx, 4, "Auth", 4);
    g_assert_cmpuint(leaf(t, 0x80000001, 0)->ecx >> 1 & 1, ==, many);
    g_assert_cmphex(leaf(t, 0x80000001, 0)->edx & 0x0183f3ff, ==, leaf(t, 1, 0)->edx & 0x0183f3ff);
    g_assert_cmpuint(sizes->ecx & 0xff, ==, many ? MIN(per_socket(s), 256) - 1 : 0);
    if (many)
        g_assert_cmpuint((guint64)slot->apic_id >> (sizes->ecx >> 12 & 0xf), ==, slot->socket);
    g_assert_cmpuint(ids->eax, ==, slot->apic_id);
    g_assert_cmpuint((ids->ebx >> 8 & 0xff) + 1, ==, s->threads);
    g_assert_cmpuint((leaf(t, 0x8000001d, 0)->eax >> 14 & 0xfff) + 1, >=, s->threads);
}

static GBytes *records(const guint32 *words, guint n)
{
    GByteArray *raw = g_byte_array_new();

    for (guint i = 0; i < 7 * n; i++) {
        guint8 b[4];
        le32_put(b, words[i]);
        g_byte_array_append(raw, b, 4);
    }
    return g_byte_array_free_to_bytes(raw);
}

static void test_topologies(void)
{
    static const guint32 caches[][7] = {
        { 4, 0, 1, 0x121, 0x01c0003f, 63, 1 },
        { 0x8000001d, 0, 1, 0x121, 0x01c0003f, 63, 0 },
    };

    for (guint i = 0; i < G_N_ELEMENTS(shapes); i++) {
        g_autoptr(Rig) rig = rig_shaped(&shapes[i]);
        g_autoptr(GBytes) leaves = records(caches[0], 2);
        X86CpuConfig c = { .vendor = (char *)"GenuineIntel", .brand = (char *)"x", .level = 0xd, .xlevel = 0x80000008,
                           .feat_1_edx = 0x078bfbff, .cpuid_leaves = leaves };
        X86CpuConfig amd = c;
        amd.vendor = (char *)"AuthenticAMD";
        amd.xlevel = 0x8000001e;
        amd.feat_80000001_ecx = 1u << 22; /* topoext */
        for (guint n = 0; n < count_of(&shapes[i]); n += 1 + count_of(&shapes[i]) / 13) {
            CpuSlot slot;
            cpu_slot_get(rig->set, n, &slot);
            g_autoptr(GArray) intel_table = cpu_cpuid_build(&c, board_config(rig->set), &slot);
            g_autoptr(GArray) amd_table = cpu_cpuid_build(&amd, board_config(rig->set), &slot);
            check_common(intel_table, &shapes[i], &slot);
            check_intel(intel_table, &shapes[i], &slot);
            check_common(amd_table, &shapes[i], &slot);
            check_amd(amd_table, &shapes[i], &slot);
        }
    }
}

/* What a hostile hint records can neither stand twice nor replace what other rows say. */
static void test_recorded_leaves(void)
{
    static const guint32 odd[][7] = {
        { 0, 0, 0, 99, 99, 99, 99 },          { 1, 0, 0, 99, 99, 99, 99 },       { 7, 0, 1, 99, 99, 99, 99 },
        { 0x40000000, 0, 0, 99, 99, 99, 99 }, { 0x40000010, 0, 0, 1, 1, 1, 1 },  { 0x80000008, 0, 0, 99, 99, 99, 99 },
        { 5, 0, 0, 1, 2, 3, 4 },              { 5, 0, 0, 5, 6, 7, 8 },           { 0x15, 0, 0, 1, 1, 1, 1 },
        { 0x8000001f, 0, 0, 1, 1, 1, 1 },     { 2, 0, 0, 1, 1, 1, 1 },
    };
    g_autoptr(Rig) rig = rig_shaped(&shapes[0]);
    g_autoptr(GBytes) leaves = records(odd[0], G_N_ELEMENTS(odd));
    X86CpuConfig c = { .vendor = (char *)"short", .brand = (char *)"x", .level = 0xd, .xlevel = 0x80000008, .cpuid_leaves = leaves };
    CpuSlot slot;

    cpu_slot_get(rig->set, 0, &slot);
    g_autoptr(GArray) t = cpu_cpuid_build(&c, board_config(rig->set), &slot);
    assert_sorted(t);
    g_assert_cmpuint(leaf(t, 0, 0)->eax, ==, 0xd);
    g_assert_cmpuint(leaf(t, 7, 0)->ebx, ==, 0);
    g_assert_cmpuint(leaf(t, 0x80000008, 0)->eax & 0xff, ==, board_config(rig->set)->phys_bits);
    g_assert_cmpuint(leaf(t, 5, 0)->eax, ==, 1); /* the first */
    g_assert_null(leaf(t, 0x40000010, 0));
    g_assert_null(leaf(t, 0x15, 0)); /* above the level */
    g_assert_null(leaf(t, 0x8000001f, 0));
}

static GArray *table_of(Device *cpu)
{
    guint n;
    const struct kvm_cpuid_entry2 *e = cpu_cpuid(cpu, &n);
    GArray *t = g_array_new(FALSE, FALSE, sizeof *e);

    g_array_append_vals(t, e, n);
    return t;
}

/* XSAVE's components are those of the features, and the area is as large as they need. */
static void test_xsave(void)
{
    static const struct {
        const char *type, *features;
        guint32     components, size;
    } cases[] = {
        { "x86-64-v1-x86_64-cpu", "", 0, 0 },        { "x86-64-v3-x86_64-cpu", "", 7, 0x340 },
        { "x86-64-v4-x86_64-cpu", "", 0xe7, 0xa80 }, { "host-x86_64-cpu", "", 0x2e7, 0xa88 },
        { "host-x86_64-cpu", "-pku", 0xe7, 0xa80 },  { "host-x86_64-cpu", "-xsave", 0, 0 },
    };

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(Rig) rig = rig_shaped(&shapes[0]);
        Device *cpu = rig_plug(rig, "{\"driver\":\"%s\",\"features\":\"%s\"}", cases[i].type, cases[i].features);
        g_autoptr(GArray) t = table_of(cpu);
        const struct kvm_cpuid_entry2 *zero = leaf(t, 0xd, 0);
        assert_sorted(t);
        g_assert_cmpint(zero != NULL, ==, cases[i].components != 0);
        if (!zero)
            continue;
        g_assert_cmphex(zero->eax, ==, cases[i].components);
        g_assert_cmphex(zero->ecx, ==, cases[i].size);
        g_assert_cmphex(leaf(t, 0xd, 1)->eax, ==, config_of(cpu)->feat_d_1_eax);
        for (guint n = 2; n < 32; n++)
            g_assert_cmpint(leaf(t, 0xd, n) != NULL, ==, cases[i].components >> n & 1);
    }
}

/* ---- models ---- */

static void test_models(void)
{
    for (const char *const *type = cpu_type_names(); *type; type++) {
        g_autoptr(Rig) rig = rig_shaped(&shapes[0]);
        Device *cpu = rig_plug(rig, "{\"driver\":\"%s\"}", *type);
        const X86CpuConfig *c = config_of(cpu);
        g_assert_true(cpu_is_cpu(cpu));
        g_assert_cmpstr(c->vendor, ==, "GenuineIntel");
        g_assert_cmpuint(strlen(c->brand), >, 0);
        g_assert_true(c->feat_80000001_edx & 1u << 29); /* lm */
        g_assert_true(c->feat_1_ecx & 1u << 31);        /* hypervisor */
        for (guint i = 0; i < cpu->bag->table->n_rows; i++)
            g_assert_cmpint(cpu->bag->origin[i], !=, ORIGIN_UNSET);
        g_assert_cmpint((c->feat_7_0_ebx & 1u << 5) != 0, ==, strstr(*type, "v3") || strstr(*type, "v4") || strstr(*type, "host"));
        g_assert_cmpint((c->feat_7_0_ebx & 1u << 16) != 0, ==, strstr(*type, "v4") || strstr(*type, "host"));
    }
}

static void test_features(void)
{
    g_autoptr(Rig) rig = rig_shaped(&shapes[1]);
    const X86CpuConfig *c = config_of(rig_plug(rig, "{" QEMU64 ",\"features\":\"+avx2,-cx16,+pku,-pku\"}"));

    g_assert_true(c->feat_7_0_ebx & 1u << 5);
    g_assert_false(c->feat_1_ecx & 1u << 13);
    g_assert_false(c->feat_7_0_ecx & 1u << 3); /* the last word counts */
    rig_refuse(rig, "the host has no 'svm'", "{" QEMU64 ",\"features\":\"+svm\"}");
    rig_refuse(rig, "'avx2' is not +NAME or -NAME", "{" QEMU64 ",\"features\":\"avx2\"}");
    rig_refuse(rig, "'+warp'", "{" QEMU64 ",\"features\":\"+warp\"}");
    rig_refuse(rig, "'' is not", "{" QEMU64 ",\"features\":\"+avx2,\"}");
    rig_refuse(rig, "'-' is not", "{" QEMU64 ",\"features\":\"-\"}");
}

/* ---- what was recorded ---- */

typedef struct {
    const char *row;
    PropValue   value;
} Known;

/* ROW of the CPU that is plugged next, which has no id, is known to have been VALUE. */
static void recall(Rig *rig, guint n, const Known *known)
{
    g_autofree char *id = g_strdup_printf("qemu64-x86_64-cpu.%u", n);
    DeviceRecord *record = device_record_new(prop_table_find("qemu64-x86_64-cpu"), id);
    int row = prop_table_row(record->bag->table, known->row);

    memset(record->state, RECORD_TODAY, record->bag->table->n_rows);
    prop_bag_set(record->bag, (guint)row, known->value, ORIGIN_HINT);
    record->state[row] = RECORD_VALUE;
    device_set_remember(rig->set, record);
}

static void test_recorded(void)
{
    static const Known bad[] = {
        { "feat-7-0-ebx", { .u = 1u << 4 | 1u << 5 } }, /* hle: this host has none */
        { "apic-id", { .u = 7 } },
        { "cpuid-leaves", { .s = "AAAA" } },
        { "feature-msrs", { .s = "AAAAAAAA" } },
    };
    static const char *const why[] = { "hle missing", "recorded as 7", "3 bytes are no whole records of 28", "6 bytes are no whole" };
    static const Known good = { "feat-7-0-ebx", { .u = 1u << 5 | 1u << 8 } };
    g_autoptr(Rig) rig = rig_shaped(&shapes[1]);

    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        recall(rig, 0, &bad[i]);
        rig_refuse(rig, why[i], "{" QEMU64 "}");
    }
    recall(rig, 0, &good);
    recall(rig, 1, &good);
    Device *plain = rig_plug(rig, "{" QEMU64 "}"), *changed = rig_plug(rig, "{" QEMU64 ",\"features\":\"-avx2,+bmi1\"}");
    g_assert_cmphex(config_of(plain)->feat_7_0_ebx, ==, 1u << 5 | 1u << 8);
    g_assert_cmpint(prop_bag_origin(plain->bag, "feat-7-0-ebx"), ==, ORIGIN_HINT);
    g_assert_cmphex(config_of(changed)->feat_7_0_ebx, ==, 1u << 3 | 1u << 8); /* configuration wins */
}

/* The same rows give the same bytes, whatever host they are on: all of one CPU's values are given to another by its record. */
static void test_same_rows_same_bytes(void)
{
    g_autoptr(Rig) a = rig_shaped(&shapes[1]), b = rig_shaped(&shapes[1]);
    Device *first = rig_plug(a, "{" HOST "}");

    device_set_remember(b->set, device_record_of(first));
    Device *second = rig_plug(b, "{" HOST "}");
    g_autoptr(GArray) x = table_of(first), y = table_of(second);
    g_assert_cmpmem(x->data, x->len * sizeof(struct kvm_cpuid_entry2), y->data, y->len * sizeof(struct kvm_cpuid_entry2));
    g_autoptr(GArray) m = cpu_feature_msrs(config_of(first));
    g_assert_cmpuint(m->len, >, 0);
}

/* A CPU that was taken away comes back to its slot, unless it is told to go elsewhere: then nothing of the old place is left. */
static void test_comes_back(void)
{
    g_autoptr(Rig) rig = rig_shaped(&shapes[1]);

    rig_plug(rig, "{" QEMU64 ",\"id\":\"first\"}");
    for (guint core = 1; core < 3; core++) {
        Device *cpu = rig_plug(rig, "{" QEMU64 ",\"id\":\"moved\",\"core-id\":%u}", core);
        guint32 apic_id = config_of(cpu)->apic_id;
        g_assert_cmpuint(config_of(cpu)->core_id, ==, core);
        g_assert_true(device_unplug(cpu, &(UnplugHow){ 0 }, NULL));
        cpu = rig_plug(rig, "{" QEMU64 ",\"id\":\"moved\"}");
        g_assert_cmpuint(config_of(cpu)->core_id, ==, core);
        g_assert_cmpuint(config_of(cpu)->apic_id, ==, apic_id);
        g_assert_true(device_unplug(cpu, &(UnplugHow){ 0 }, NULL));
    }
}

/* 64 CPUs without numbers or ids: the work for one must not grow with the square of those that are there. */
static void test_many(void)
{
    g_autoptr(Rig) rig = rig_shaped(&shapes[7]);

    for (guint i = 0; i < 64; i++)
        g_assert_cmpuint(cpu_index(rig_plug(rig, "{" QEMU64 "}")), ==, i);
    g_assert_nonnull(device_set_find(rig->set, NS_DEVICE, "qemu64-x86_64-cpu.63"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cpu/slots", test_slots);
    g_test_add_func("/cpu/apic-ids", test_apic_ids);
    g_test_add_func("/cpu/plug", test_plug);
    g_test_add_func("/cpu/types-after-all-left", test_types_after_all_left);
    g_test_add_func("/cpu/hotplug", test_hotplug);
    g_test_add_func("/cpu/topologies", test_topologies);
    g_test_add_func("/cpu/recorded-leaves", test_recorded_leaves);
    g_test_add_func("/cpu/xsave", test_xsave);
    g_test_add_func("/cpu/models", test_models);
    g_test_add_func("/cpu/features", test_features);
    g_test_add_func("/cpu/recorded", test_recorded);
    g_test_add_func("/cpu/same-rows-same-bytes", test_same_rows_same_bytes);
    g_test_add_func("/cpu/comes-back", test_comes_back);
    g_test_add_func("/cpu/many", test_many);
    return g_test_run();
}

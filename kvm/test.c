/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test.c - the test accelerator: the same machine without KVM.
 *
 * No guest instruction ever runs. A qtest client, or a test in process, is the CPU: it makes port
 * and memory accesses, sees interrupts and moves the virtual clock. vCPUs are threads that sleep
 * until they are freed, so that what the daemon tells about them (thread ids, count) is real.
 * Nothing of the kernel is used: irqfds and ioeventfds are refused, so irq.c and iobus.c serve
 * them, and the code paths of an odd host get tested.
 *
 * A message (MSI) is what it is on the bus, a 4-byte write: to the LAPICs' range it is recorded, to
 * RAM it is stored (tests of MSI-X look there), anywhere else it is an MMIO write.
 */
#include "test-accel.h"

#include <sys/syscall.h>
#include <unistd.h>

#include "../common/error.h"
#include "../common/util.h"

#define LAPIC_FIRST G_GUINT64_CONSTANT(0xfee00000)
#define LAPIC_LAST G_GUINT64_CONSTANT(0xfeefffff)
#define MAX_VCPUS 1024

typedef struct {
    Vcpu      vcpu; /* first */
    GThread  *thread;
    GMutex    lock;
    GCond     changed; /* thread id known; end wanted */
    gboolean  end;     /* lock */
    gboolean  bsp;
    VcpuBoot  boot;
    guint64   nmis;
    struct kvm_cpuid2 *cpuid;
} TestVcpu;

/* ---- life cycle ---- */

static gboolean test_open(Vm *vm, GError **error)
{
    TestState *t = g_new0(TestState, 1);

    vm->test = t;
    vm->max_vcpus = MAX_VCPUS;
    t->qtest = qtest_new(vm);
    t->irqchip = test_irqchip_new(vm);
    t->pit = test_pit_new(vm);
    t->server = qtest_server_new(vm);
    return TRUE;
}

static void test_close(Vm *vm)
{
    TestState *t = vm->test;

    qtest_server_free(t->server);
    test_pit_free(t->pit);
    qtest_reset(t->qtest); /* its inputs still reach the irqchip */
    test_irqchip_free(t->irqchip);
    qtest_free(t->qtest);
    g_clear_pointer(&vm->test, g_free);
}

static gboolean test_memory_slot(Vm *vm, const MemRegion *region, gboolean remove, GError **error)
{
    return TRUE;
}

/* ---- interrupts ---- */

static void test_pin_level(Vm *vm, guint gsi, gboolean level)
{
    qtest_pin_changed(vm->test->qtest, gsi, level);
    test_irqchip_pin(vm->test->irqchip, gsi, level);
}

static void test_line_level(Vm *vm, const IrqLine *line, gboolean level)
{
    qtest_line_changed(vm->test->qtest, line, level);
}

static void test_msi_send(Vm *vm, guint64 address, guint32 data)
{
    guint32 bytes = GUINT32_TO_LE(data);

    if (address >= LAPIC_FIRST && address <= LAPIC_LAST)
        test_irqchip_message(vm->test->irqchip, address, data);
    else if (!vm_memory_write(vm, address, &bytes, sizeof bytes))
        iobus_write(vm, IO_MMIO, address, sizeof bytes, data);
}

gboolean vm_test_take_msi(Vm *vm, guint64 *address, guint32 *data)
{
    g_assert(vm->accel == VM_ACCEL_TEST);
    return test_irqchip_take(vm->test->irqchip, address, data);
}

static void test_reset_models(Vm *vm)
{
    test_irqchip_reset(vm->test->irqchip);
    test_pit_reset(vm->test->pit);
}

static GVariant *test_save_models(Vm *vm, GError **error)
{
    GVariantBuilder builder;

    g_variant_builder_init(&builder, G_VARIANT_TYPE_VARDICT);
    test_irqchip_save(vm->test->irqchip, &builder);
    test_pit_save(vm->test->pit, &builder);
    return g_variant_ref_sink(g_variant_builder_end(&builder));
}

/* Both are checked before either changes. */
static gboolean test_load_models(Vm *vm, GVariant *state, GError **error)
{
    TestState *t = vm->test;

    if (!g_variant_is_of_type(state, G_VARIANT_TYPE_VARDICT))
        return error_set(error, "interrupt controllers: the state is of type '%s', not 'a{sv}'",
                         g_variant_get_type_string(state));
    return test_irqchip_load(t->irqchip, state, FALSE, error) &&
           test_pit_load(t->pit, state, FALSE, error) &&
           test_irqchip_load(t->irqchip, state, TRUE, error) &&
           test_pit_load(t->pit, state, TRUE, error);
}

/* ---- vCPUs ---- */

static gpointer vcpu_sleep(gpointer user)
{
    TestVcpu *v = user;

    g_mutex_lock(&v->lock);
    g_atomic_int_set(&v->vcpu.thread_id, (gint)syscall(SYS_gettid));
    g_cond_broadcast(&v->changed);
    while (!v->end)
        g_cond_wait(&v->changed, &v->lock);
    g_mutex_unlock(&v->lock);
    return NULL;
}

static struct kvm_cpuid2 *cpuid_copy(const struct kvm_cpuid_entry2 *entries, guint n)
{
    struct kvm_cpuid2 *c = g_malloc0(sizeof *c + n * sizeof c->entries[0]);

    c->nent = n;
    for (guint i = 0; i < n; i++)
        c->entries[i] = entries[i];
    return c;
}

static Vcpu *test_vcpu_new(Vm *vm, guint index, guint32 apic_id, const VcpuModel *model,
                           GError **error)
{
    TestVcpu *v = g_new0(TestVcpu, 1);

    v->vcpu.vm = vm;
    v->vcpu.index = index;
    v->vcpu.apic_id = apic_id;
    v->cpuid = cpuid_copy(model->cpuid, model->n_cpuid);
    g_mutex_init(&v->lock);
    g_cond_init(&v->changed);
    return &v->vcpu;
}

static gboolean test_vcpu_start(Vcpu *vcpu, GError **error)
{
    TestVcpu *v = (TestVcpu *)vcpu;
    g_autofree char *name = g_strdup_printf("CPU %u/test", vcpu->index);

    v->thread = g_thread_try_new(name, vcpu_sleep, v, error);
    if (!v->thread)
        return FALSE;
    g_mutex_lock(&v->lock);
    while (g_atomic_int_get(&vcpu->thread_id) == 0)
        g_cond_wait(&v->changed, &v->lock);
    g_mutex_unlock(&v->lock);
    return TRUE;
}

static void test_vcpu_free(Vcpu *vcpu)
{
    TestVcpu *v = (TestVcpu *)vcpu;

    if (v->thread) {
        g_mutex_lock(&v->lock);
        v->end = TRUE;
        g_cond_broadcast(&v->changed);
        g_mutex_unlock(&v->lock);
        g_thread_join(v->thread);
    }
    g_cond_clear(&v->changed);
    g_mutex_clear(&v->lock);
    g_free(v->cpuid);
    g_free(v);
}

static gboolean test_vcpu_reset(Vcpu *vcpu, gboolean bsp, GError **error)
{
    TestVcpu *v = (TestVcpu *)vcpu;

    v->bsp = bsp;
    v->boot = (VcpuBoot){ .mode = VCPU_BOOT_RESET_VECTOR };
    return TRUE;
}

static gboolean test_vcpu_set_boot(Vcpu *vcpu, const VcpuBoot *boot, GError **error)
{
    ((TestVcpu *)vcpu)->boot = *boot;
    return TRUE;
}

static char *test_vcpu_dump(Vcpu *vcpu)
{
    static const char *const modes[] = {
        [VCPU_BOOT_RESET_VECTOR] = "reset vector",
        [VCPU_BOOT_PROT32] = "32-bit protected mode",
        [VCPU_BOOT_LONG64] = "64-bit mode",
    };
    const TestVcpu *v = (const TestVcpu *)vcpu;
    const VcpuBoot *b = &v->boot;

#define HEX "%016" G_GINT64_MODIFIER "x"
    return g_strdup_printf(
        "CPU %u (APIC id %u, %s) does not run under the test accelerator; start: %s\n"
        "rip=" HEX " rsp=" HEX " rax=" HEX " rbx=" HEX "\n"
        "rsi=" HEX " cr3=" HEX " gdt=" HEX " nmis=%" G_GUINT64_FORMAT "\n",
        vcpu->index, vcpu->apic_id, v->bsp ? "BSP" : "AP", modes[b->mode], b->rip, b->rsp, b->rax,
        b->rbx, b->rsi, b->cr3, b->gdt, v->nmis);
#undef HEX
}

static void test_vcpu_nmi(Vcpu *vcpu)
{
    ((TestVcpu *)vcpu)->nmis++;
}

static gboolean test_vcpu_get_cpuid(Vcpu *vcpu, struct kvm_cpuid2 **out, GError **error)
{
    const TestVcpu *v = (const TestVcpu *)vcpu;

    *out = cpuid_copy(v->cpuid->entries, v->cpuid->nent);
    return TRUE;
}

static const TestField vcpu_fields[] = {
    TEST_FIELD(TestVcpu, bsp),
    TEST_FIELD(TestVcpu, nmis),
    TEST_FIELD(TestVcpu, boot.mode),
    TEST_FIELD(TestVcpu, boot.rip),
    TEST_FIELD(TestVcpu, boot.rsp),
    TEST_FIELD(TestVcpu, boot.rax),
    TEST_FIELD(TestVcpu, boot.rbx),
    TEST_FIELD(TestVcpu, boot.rsi),
    TEST_FIELD(TestVcpu, boot.cr3),
    TEST_FIELD(TestVcpu, boot.gdt),
    TEST_FIELD(TestVcpu, boot.gdt_limit),
};

static GVariant *test_vcpu_save(Vcpu *vcpu, GError **error)
{
    GVariantBuilder builder;

    g_variant_builder_init(&builder, G_VARIANT_TYPE_VARDICT);
    test_fields_save(&builder, "", vcpu_fields, G_N_ELEMENTS(vcpu_fields), vcpu);
    return g_variant_ref_sink(g_variant_builder_end(&builder));
}

static gboolean test_vcpu_load(Vcpu *vcpu, GVariant *state, GError **error)
{
    TestVcpu *v = (TestVcpu *)vcpu, copy = *v;

    if (!g_variant_is_of_type(state, G_VARIANT_TYPE_VARDICT))
        return error_set(error, "CPU %u: the state is of type '%s', not 'a{sv}'", vcpu->index,
                         g_variant_get_type_string(state));
    if (!test_fields_load(state, "", vcpu_fields, G_N_ELEMENTS(vcpu_fields), &copy, error))
        return FALSE;
    if (copy.boot.mode > VCPU_BOOT_LONG64)
        return error_set(error, "CPU %u: boot.mode is %u, at most %u is known", vcpu->index,
                         copy.boot.mode, VCPU_BOOT_LONG64);
    v->bsp = copy.bsp;
    v->nmis = copy.nmis;
    v->boot = copy.boot;
    return TRUE;
}

/* ---- the host ---- */

static guint test_phys_bits(Vm *vm)
{
    return TEST_HOST_PHYS_BITS;
}

const AccelOps accel_test_ops = {
    .open = test_open,
    .close = test_close,
    .memory_slot = test_memory_slot,
    .pin_level = test_pin_level,
    .line_level = test_line_level,
    .msi_send = test_msi_send,
    .vcpu_new = test_vcpu_new,
    .vcpu_start = test_vcpu_start,
    .vcpu_free = test_vcpu_free,
    .vcpu_reset = test_vcpu_reset,
    .vcpu_set_boot = test_vcpu_set_boot,
    .vcpu_dump = test_vcpu_dump,
    .vcpu_nmi = test_vcpu_nmi,
    .vcpu_get_cpuid = test_vcpu_get_cpuid,
    .vcpu_save = test_vcpu_save,
    .vcpu_load = test_vcpu_load,
    .irqchip_reset = test_reset_models,
    .irqchip_save = test_save_models,
    .irqchip_load = test_load_models,
    .supported_cpuid = test_host_cpuid,
    .feature_msrs = test_host_msrs,
    .phys_bits = test_phys_bits,
};

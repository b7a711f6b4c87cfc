/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vm-rig.c - see vm-rig.h. The machine is torn down in the order that the daemon has: CPUs, regions, memory, Vm. */
#include "vm-rig.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../kvm/caps.h"

#define TIMEOUT_S 20

gboolean rig_have_kvm(void)
{
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        g_test_skip("/dev/kvm can not be opened");
        return FALSE;
    }
    close(fd);
    return TRUE;
}

/* ---- what the observer and the ports do ---- */

static void on_triple_fault(gpointer user, guint cpu_index)
{
    Rig *r = user;

    r->triple_faults++;
    r->reporter = cpu_index;
    r->done = TRUE;
}

static void on_fault(gpointer user, const VcpuFault *fault)
{
    Rig *r = user;

    g_free(r->reason);
    g_free(r->registers);
    r->faults++;
    r->reporter = fault->cpu_index;
    r->reason = g_strdup(fault->reason);
    r->registers = g_strdup(fault->registers);
    r->rip = fault->rip;
    r->insn_len = fault->insn_len;
    r->done = TRUE;
}

static const VmObserver rig_observer = { .triple_fault = on_triple_fault, .fault = on_fault };

static void on_done(gpointer user)
{
    ((Rig *)user)->done = TRUE;
}

static guint64 port_read(gpointer opaque, guint64 offset, unsigned size)
{
    Rig *r = opaque;

    return offset == 3 ? (guint8)(0x5a + g_atomic_int_add(&r->reads, 1)) : 0xff;
}

static void port_write(gpointer opaque, guint64 offset, guint64 value, unsigned size)
{
    Rig *r = opaque;

    if (offset == 0) {
        g_atomic_int_inc(&r->count);
    } else if (offset == 1) {
        vm_post(r->vm, on_done, r);
    } else if (offset == 2) {
        vm_hold(r->vm);
        g_atomic_int_inc(&r->held);
    }
}

static const IoOps port_ops = { .read = port_read, .write = port_write, .min_size = 1, .max_size = 1 };

/* ---- set-up ---- */

Rig *rig_new(void)
{
    Rig    *r = g_new0(Rig, 1);
    GError *error = NULL;

    r->vm = vm_new(VM_ACCEL_KVM, &rig_observer, r, &error);
    g_assert_no_error(error);
    r->ram = mmap(NULL, RIG_RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    g_assert(r->ram != MAP_FAILED);
    vm_memory_add(r->vm, 0, r->ram, RIG_RAM, 0, &error);
    g_assert_no_error(error);
    /* Thread safe without a lock: atomic counters, and vm_hold() and vm_post() that any thread may call. */
    r->ports = iobus_add(r->vm, IO_PIO, 0x80, 4, &port_ops, r, NULL, 0, "rig", &error);
    g_assert_no_error(error);
    return r;
}

void rig_free(Rig *r)
{
    vm_pause(r->vm);
    for (guint i = 0; i < RIG_MAX_CPUS; i++)
        vcpu_free(r->cpus[i]);
    iobus_remove(r->vm, r->ports);
    vm_memory_remove(r->vm, 0);
    vm_free(r->vm);
    munmap(r->ram, RIG_RAM);
    g_free(r->reason);
    g_free(r->registers);
    g_free(r);
}

VcpuModel rig_model(Rig *r)
{
    GError                  *error = NULL;
    const struct kvm_cpuid2 *c = vm_supported_cpuid(r->vm, &error);
    VcpuModel                m;

    g_assert_no_error(error);
    m = (VcpuModel) { .cpuid = c->entries, .n_cpuid = c->nent };
    m.msrs = vm_feature_msrs(r->vm, &m.n_msrs, &error);
    g_assert_no_error(error);
    return m;
}

Vcpu *rig_add_cpu(Rig *r, guint n, gboolean runnable, guint64 rip)
{
    VcpuModel model = rig_model(r);
    VcpuBoot  boot = { .mode = VCPU_BOOT_PROT32, .rip = rip, .rsp = 0x8000 };
    GError   *error = NULL;
    Vcpu     *v = vcpu_new(r->vm, n, n, &model, &error);

    g_assert_no_error(error);
    vcpu_reset(v, runnable, &error);
    g_assert_no_error(error);
    if (runnable) {
        vcpu_set_boot(v, &boot, &error);
        g_assert_no_error(error);
    }
    vcpu_start(v, &error);
    g_assert_no_error(error);
    r->cpus[n] = v;
    return v;
}

void rig_code(Rig *r, guint32 at, const void *code, gsize len)
{
    g_assert(vm_memory_write(r->vm, at, code, len));
}

guint32 rig_ram32(Rig *r, guint32 at)
{
    return __atomic_load_n((guint32 *)(gpointer)(r->ram + at), __ATOMIC_ACQUIRE);
}

/* ---- waiting ---- */

static gboolean on_timeout(gpointer user)
{
    g_error("the guest did not come back within %d s", TIMEOUT_S);
    return G_SOURCE_REMOVE;
}

void rig_wait(Rig *r)
{
    guint timer = g_timeout_add_seconds(TIMEOUT_S, on_timeout, NULL);

    while (!r->done)
        g_main_context_iteration(NULL, TRUE);
    r->done = FALSE;
    g_source_remove(timer);
}

void rig_wait_for(Rig *r, gint *value, gint min)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_S * G_USEC_PER_SEC;

    while (g_atomic_int_get(value) < min) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_main_context_iteration(NULL, FALSE);
        g_thread_yield();
    }
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vcpu-core.c - the kernel's vCPUs: creation, the CPU model, parking and reuse.
 *
 * KVM can not delete a vCPU and (since Linux 5.16) takes no other CPUID once it ran. So an unplugged CPU leaves its
 * core behind, reset and waiting for INIT, with the table that it had; the next CPU of the same APIC id gets it if its
 * table is the same. A parked core stays a possible target of the guest's broadcasts: in its reset
 * state it takes no interrupt, and an INIT or SIPI is remembered until the reset at its next use drops it.
 *
 * To make a vCPU and to give it its CPUID table takes KVM as long as all the rest of a device_add. CPUs are plugged in a row, so who plugs
 * one has the next one's core prepared once the command is answered, while the client thinks about the next. It is parked, like
 * one that was used, until a CPU of its id comes. What all vCPUs of a model have alike when they are new is read from one of them.
 *
 * Cores belong to the main thread; the start-up thread makes the first one before the main thread looks.
 */
#include "kvm-accel.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

/* KVM's MAX_IO_MSRS: entries in one KVM_GET_MSRS or KVM_SET_MSRS. */
#define MSR_BATCH 255

/* Cores that were prepared for nobody: for those who plug in no order. One takes some 20 KiB of the kernel's memory. */
#define MAX_IDLE 4

/* ---- creation ---- */

static gboolean core_map(Vm *vm, VcpuCore *core, GError **error)
{
    void *run = mmap(NULL, vm->kvm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, core->fd, 0);

    if (run == MAP_FAILED)
        return error_set_errno(error, errno, "the run page of the vCPU with APIC id %u can not be mapped", core->id);
    core->run = run;
    core->run_size = vm->kvm->run_size;
    return TRUE;
}

/* KVM_CAP_COALESCED_MMIO's value is the ring's page within the run mapping: the same ring in each. */
static void find_ring(Vm *vm, const VcpuCore *core)
{
    KvmState *s = vm->kvm;
    gsize     page = (gsize)sysconf(_SC_PAGESIZE);
    gsize     offset = kvm_cap(vm->kvm_fd, KVM_CAP_COALESCED_MMIO) * page;

    if (s->ring || offset == 0 || offset + page > core->run_size)
        return;
    s->ring_entries = (page - sizeof *s->ring) / sizeof s->ring->coalesced_mmio[0];
    g_atomic_pointer_set(&s->ring, (struct kvm_coalesced_mmio_ring *)(gpointer)((guint8 *)core->run + offset));
}

VcpuCore *vcpu_core_create(Vm *vm, guint32 id, GError **error)
{
    VcpuCore *core = g_new0(VcpuCore, 1);

    core->id = id;
    core->refused = g_array_new(FALSE, FALSE, sizeof(guint32));
    core->fd = kvm_ioctl(vm->vm_fd, KVM_CREATE_VCPU, id);
    if (core->fd < 0) {
        error_set_errno(error, errno, "KVM can not create a vCPU with APIC id %u (it takes ids below %d)", id,
                        MAX(kvm_cap(vm->kvm_fd, KVM_CAP_MAX_VCPU_ID), (int)vm->max_vcpus));
    } else if (core_map(vm, core, error)) {
        find_ring(vm, core);
        return core;
    }
    vcpu_core_free(core);
    return NULL;
}

void vcpu_core_free(VcpuCore *core)
{
    if (core->run)
        munmap(core->run, core->run_size);
    auto_fd_close(core->fd);
    vcpu_state_free(core->power_on);
    g_free(core->cpuid);
    g_free(core->msrs);
    g_array_unref(core->refused);
    g_free(core);
}

/* ---- the CPU model ---- */

static gboolean same_cpuid(const VcpuCore *core, const VcpuModel *model)
{
    return core->cpuid && core->n_cpuid == model->n_cpuid &&
           memcmp(core->cpuid, model->cpuid, model->n_cpuid * sizeof model->cpuid[0]) == 0;
}

static gboolean same_msrs(const VcpuCore *core, const VcpuModel *model)
{
    return core->n_msrs == model->n_msrs &&
           (model->n_msrs == 0 || memcmp(core->msrs, model->msrs, model->n_msrs * sizeof model->msrs[0]) == 0);
}

static gboolean set_cpuid(VcpuCore *core, const VcpuModel *model, GError **error)
{
    gsize                         len = model->n_cpuid * sizeof model->cpuid[0];
    g_autofree struct kvm_cpuid2 *c = g_malloc0(sizeof *c + len);

    c->nent = model->n_cpuid;
    if (len > 0)
        memcpy(c->entries, model->cpuid, len);
    if (KVM_IOCTL(core->fd, KVM_SET_CPUID2, c) < 0)
        return error_set_errno(error, errno, "KVM refuses the CPUID table of the CPU with APIC id %u (%u entries)",
                               core->id, model->n_cpuid);
    g_free(core->cpuid);
    core->cpuid = g_memdup2(model->cpuid, len);
    core->n_cpuid = model->n_cpuid;
    return TRUE;
}

/* The leaves that say which of its like a processor is (SDM: leaves 1, 0xb and 0x1f; APM: 0x8000001e). All others are the model's. */
static struct kvm_cpuid_entry2 without_id(struct kvm_cpuid_entry2 e)
{
    switch (e.function) {
    case 1:
        e.ebx &= 0x00ffffff;
        break;
    case 0xb:
    case 0x1f:
        e.edx = 0;
        break;
    case 0x8000001e:
        e.eax = e.ebx = e.ecx = 0;
        break;
    default:
        break;
    }
    return e;
}

static gboolean is_like(const VcpuCore *core, const VcpuModel *model)
{
    if (core->n_cpuid != model->n_cpuid || !same_msrs(core, model))
        return FALSE;
    for (guint i = 0; i < model->n_cpuid; i++) {
        struct kvm_cpuid_entry2 a = without_id(core->cpuid[i]), b = without_id(model->cpuid[i]);

        if (memcmp(&a, &b, sizeof a) != 0)
            return FALSE;
    }
    return TRUE;
}

VcpuState *vcpu_core_like(Vm *vm, const VcpuModel *model)
{
    for (guint i = 0; i < vm->kvm->cores->len; i++) {
        const VcpuCore *core = g_ptr_array_index(vm->kvm->cores, i);

        if (core->power_on && is_like(core, model))
            return vcpu_state_ref(core->power_on);
    }
    return NULL;
}

/* Entries of KVM's interface: a head and a flexible array. */
static struct kvm_msrs *msrs_new(const struct kvm_msr_entry *entries, guint n)
{
    struct kvm_msrs *m = g_malloc0(sizeof *m + n * sizeof m->entries[0]);

    m->nmsrs = n;
    memcpy(m->entries, entries, n * sizeof m->entries[0]);
    return m;
}

/* Once a machine: what one vCPU is refused, the others are at every reset too. */
static void tell_refused(Vm *vm, const struct kvm_msr_entry *msr)
{
    GArray *told = vm->kvm->refused_told;

    for (guint i = 0; i < told->len; i++) {
        if (g_array_index(told, guint32, i) == msr->index)
            return;
    }
    g_array_append_val(told, msr->index);
    g_info("KVM refuses MSR 0x%x = 0x%" G_GINT64_MODIFIER "x", msr->index, (guint64)msr->data);
}

/* KVM stops at the first MSR that it refuses and says how many it took. */
void vcpu_core_set_msrs(Vm *vm, VcpuCore *core, const struct kvm_msr_entry *msrs, guint n, GArray *refused)
{
    for (guint done = 0; done < n;) {
        guint                       batch = MIN(n - done, MSR_BATCH);
        g_autofree struct kvm_msrs *m = msrs_new(msrs + done, batch);
        int                         took = KVM_IOCTL(core->fd, KVM_SET_MSRS, m);

        done += MAX(took, 0);
        if (took == (int)batch)
            continue;
        if (vm)
            tell_refused(vm, &msrs[done]);
        if (refused)
            g_array_append_val(refused, msrs[done].index);
        done++;
    }
}

/* The same for reading: what can not be read is not part of this host's state. */
void vcpu_core_get_msrs(VcpuCore *core, GArray *msrs)
{
    struct kvm_msr_entry *e = (struct kvm_msr_entry *)(gpointer)msrs->data;
    guint                 kept = 0;

    for (guint done = 0; done < msrs->len;) {
        guint                       batch = MIN(msrs->len - done, MSR_BATCH);
        g_autofree struct kvm_msrs *m = msrs_new(e + done, batch);
        int                         took = MAX(KVM_IOCTL(core->fd, KVM_GET_MSRS, m), 0);

        memmove(e + kept, m->entries, took * sizeof *e);
        kept += took;
        done += took < (int)batch ? took + 1 : took;
    }
    g_array_set_size(msrs, kept);
}

/* ---- use and reuse ---- */

static VcpuCore *find_core(const KvmState *s, guint32 id)
{
    for (guint i = 0; i < s->cores->len; i++) {
        VcpuCore *core = g_ptr_array_index(s->cores, i);

        if (core->id == id)
            return core;
    }
    return NULL;
}

static gboolean set_model(VcpuCore *core, const VcpuModel *model, GError **error)
{
    if (!same_cpuid(core, model) && !set_cpuid(core, model, error))
        return FALSE;
    if (!core->ran)
        g_clear_pointer(&core->power_on, vcpu_state_free); /* it depends on the model */
    g_free(core->msrs);
    core->msrs = g_memdup2(model->msrs, model->n_msrs * sizeof model->msrs[0]);
    core->n_msrs = model->n_msrs;
    g_array_set_size(core->refused, 0);
    vcpu_core_set_msrs(NULL, core, model->msrs, model->n_msrs, core->refused);
    return TRUE;
}

static void tell_all_refused(Vm *vm, const VcpuCore *core)
{
    for (guint i = 0; i < core->refused->len; i++) {
        for (guint k = 0; k < core->n_msrs; k++) {
            if (core->msrs[k].index == g_array_index(core->refused, guint32, i))
                tell_refused(vm, &core->msrs[k]);
        }
    }
}

static gboolean apply_model(Vm *vm, VcpuCore *core, const VcpuModel *model, GArray *refused, GError **error)
{
    gboolean ready = core->ahead && same_cpuid(core, model) && same_msrs(core, model);

    if (core->ran && !same_cpuid(core, model))
        return error_set(error, "a CPU with APIC id %u ran before with another CPUID table (%u entries, now %u): KVM "
                         "can not change it; plug the same model, or another slot", core->id, core->n_cpuid,
                         model->n_cpuid);
    core->ahead = FALSE;
    if (!ready && !set_model(core, model, error))
        return FALSE;
    if (core->refused->len > 0)
        g_array_append_vals(refused, core->refused->data, core->refused->len);
    tell_all_refused(vm, core);
    return TRUE;
}

static VcpuCore *add_core(Vm *vm, guint32 id, GError **error)
{
    VcpuCore *core = vcpu_core_create(vm, id, error);

    if (core)
        g_ptr_array_add(vm->kvm->cores, core);
    return core;
}

static guint idle_cores(const KvmState *s)
{
    guint n = 0;

    for (guint i = 0; i < s->cores->len; i++)
        n += ((const VcpuCore *)g_ptr_array_index(s->cores, i))->ahead;
    return n;
}

void kvm_vcpu_prepare(Vm *vm, guint32 id, const VcpuModel *model)
{
    VcpuCore *core;

    if (find_core(vm->kvm, id) || idle_cores(vm->kvm) >= MAX_IDLE)
        return;
    core = add_core(vm, id, NULL);
    if (!core || !set_model(core, model, NULL))
        return;
    core->ahead = TRUE;
    core->others = TRUE;
    vcpu_core_snapshot(vm, core, NULL);
}

VcpuCore *vcpu_core_get(Vm *vm, guint32 id, const VcpuModel *model, GArray *refused, GError **error)
{
    VcpuCore *core = find_core(vm->kvm, id);

    if (core && core->in_use) {
        error_set(error, "there is a CPU with APIC id %u already", id);
        return NULL;
    }
    if (!core)
        core = add_core(vm, id, error);
    if (!core || !apply_model(vm, core, model, refused, error))
        return NULL;
    core->in_use = TRUE;
    return core;
}

void vcpu_core_park(Vm *vm, VcpuCore *core)
{
    g_autoptr(GError) error = NULL;

    if (vm->vm_fd < 0) { /* after vm_end(): nobody will want it */
        g_ptr_array_remove_fast(vm->kvm->cores, core);
        return;
    }
    if (core->ran && !vcpu_core_reset(vm, core, FALSE, &error))
        g_warning("APIC id %u stays behind as it was: %s", core->id, error->message);
    core->in_use = FALSE;
}

void vcpu_cores_drop(KvmState *s)
{
    for (guint i = s->cores->len; i > 0; i--) {
        if (!((const VcpuCore *)g_ptr_array_index(s->cores, i - 1))->in_use)
            g_ptr_array_remove_index_fast(s->cores, i - 1);
    }
}

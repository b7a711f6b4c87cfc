/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vcpu-core.c - the kernel's vCPUs: creation, the CPU model, parking and reuse.
 *
 * KVM can not delete a vCPU and (since Linux 5.16) takes no other CPUID once it ran. So an unplugged CPU leaves its
 * core behind, reset and waiting for INIT, with the table that it had; the next CPU of the same APIC id gets it if its
 * table is the same. A parked core stays a possible target of the guest's broadcasts: in its reset
 * state it takes no interrupt, and an INIT or SIPI is remembered until the reset at its next use drops it.
 *
 * Cores belong to the main thread; the start-up thread makes the first one before the main thread looks.
 */
#include "kvm-accel.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

/* KVM's MAX_IO_MSRS: entries in one KVM_GET_MSRS or KVM_SET_MSRS. */
#define MSR_BATCH 255

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
    g_free(core);
}

/* ---- the CPU model ---- */

static gboolean same_cpuid(const VcpuCore *core, const VcpuModel *model)
{
    return core->cpuid && core->n_cpuid == model->n_cpuid &&
           memcmp(core->cpuid, model->cpuid, model->n_cpuid * sizeof model->cpuid[0]) == 0;
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

static gboolean apply_model(Vm *vm, VcpuCore *core, const VcpuModel *model, GArray *refused, GError **error)
{
    if (core->ran && !same_cpuid(core, model))
        return error_set(error, "a CPU with APIC id %u ran before with another CPUID table (%u entries, now %u): KVM "
                         "can not change it; plug the same model, or another slot", core->id, core->n_cpuid,
                         model->n_cpuid);
    if (!same_cpuid(core, model) && !set_cpuid(core, model, error))
        return FALSE;
    if (!core->ran)
        g_clear_pointer(&core->power_on, vcpu_state_free); /* it depends on the model */
    vcpu_core_set_msrs(vm, core, model->msrs, model->n_msrs, refused);
    return TRUE;
}

VcpuCore *vcpu_core_get(Vm *vm, guint32 id, const VcpuModel *model, GArray *refused, GError **error)
{
    VcpuCore *core = find_core(vm->kvm, id);

    if (core && core->in_use) {
        error_set(error, "there is a CPU with APIC id %u already", id);
        return NULL;
    }
    if (!core) {
        core = vcpu_core_create(vm, id, error);
        if (!core)
            return NULL;
        g_ptr_array_add(vm->kvm->cores, core);
    }
    if (!apply_model(vm, core, model, refused, error))
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

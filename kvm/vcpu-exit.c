/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vcpu-exit.c - what KVM_RUN comes back with: accesses go to the I/O bus, everything that ends a vCPU's run becomes
 * a call of the observer on the main thread.
 *
 * The path of an access is the hot one of the whole daemon, so vcpu_exit() looks for it first and
 * nothing on it takes a lock or allocates.
 *
 * A vCPU that can not go on calls vm_hold(), queues a report and posts. The report is memory of its own: the vCPU may run again, fail
 * again, or be unplugged before the main thread has looked. A triple fault and a fault of two vCPUs at the
 * same time are two reports; the second finds what the first's handler made of the machine.
 */
#include "kvm-accel.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>

#define INSN_MAX 15 /* an x86 instruction's length at most */

/* ---- accesses ---- */

/* By size: a copy of variable length costs more than the rest of the exit. */
static guint32 pio_get(const guint8 *p, unsigned size)
{
    return size == 1 ? *p : size == 2 ? le16_get(p) : le32_get(p);
}

static void pio_put(guint8 *p, unsigned size, guint32 value)
{
    if (size == 1)
        *p = value;
    else if (size == 2)
        le16_put(p, value);
    else
        le32_put(p, value);
}

static void exit_io(KvmVcpu *v)
{
    Vm             *vm = v->base.vm;
    struct kvm_run *run = v->core->run;
    guint8         *p = (guint8 *)run + run->io.data_offset;
    unsigned        size = run->io.size;
    guint64         value;

    v->io_pending = TRUE;
    for (guint i = 0; i < run->io.count; i++, p += size) {
        if (run->io.direction == KVM_EXIT_IO_OUT) {
            iobus_write(vm, IO_PIO, run->io.port, size, pio_get(p, size));
        } else {
            iobus_read(vm, IO_PIO, run->io.port, size, &value);
            pio_put(p, size, (guint32)value);
        }
    }
}

/* Usually one piece of 1, 2, 4 or 8 bytes; an access that crosses a page comes in two of any length. */
static void exit_mmio(KvmVcpu *v)
{
    Vm             *vm = v->base.vm;
    struct kvm_run *run = v->core->run;
    unsigned        len = MIN(run->mmio.len, sizeof run->mmio.data);
    guint64         value;

    v->io_pending = TRUE;
    if (run->mmio.is_write) {
        iobus_write(vm, IO_MMIO, run->mmio.phys_addr, len, le64_get(run->mmio.data) & ones(len));
    } else {
        iobus_read(vm, IO_MMIO, run->mmio.phys_addr, len, &value);
        le64_put(run->mmio.data, value); /* KVM takes LEN bytes of the eight */
    }
}

/* ---- reports ---- */

typedef struct {
    gboolean  triple_fault; /* else a fault */
    VcpuFault fault;
} Report;

static void report_free(gpointer report)
{
    g_free(((Report *)report)->fault.registers);
    g_free(report);
}

void vcpu_reports_clear(KvmState *s)
{
    g_queue_clear_full(&s->reports, report_free);
}

static Report *report_take(KvmState *s)
{
    LOCK_SCOPE(&s->lock);
    return g_queue_pop_head(&s->reports);
}

static void deliver(gpointer user)
{
    Vm               *vm = user;
    const VmObserver *o = vm->observer;
    Report           *r;

    while ((r = report_take(vm->kvm))) {
        if (r->triple_fault && o && o->triple_fault)
            o->triple_fault(vm->user, r->fault.cpu_index);
        else if (!r->triple_fault && o && o->fault)
            o->fault(vm->user, &r->fault);
        report_free(r);
    }
}

static void report_send(Vm *vm, gboolean triple_fault, VcpuFault *taken)
{
    Report *r = g_new(Report, 1);

    *r = (Report){ triple_fault, *taken };
    vm_hold(vm);
    {
        LOCK_SCOPE(&vm->kvm->lock);
        g_queue_push_tail(&vm->kvm->reports, r);
    }
    vm_post(vm, deliver, vm);
}

static void exit_shutdown(KvmVcpu *v)
{
    report_send(v->base.vm, TRUE, &(VcpuFault){ .cpu_index = v->base.index });
}

/* One byte of guest memory that may be what the guest failed on (a file cut short, no memory left): the kernel reads
 * it for us and says EFAULT where we would die. */
static gboolean read_carefully(Vm *vm, const int pipe_fds[2], guint64 gpa, guint8 *out)
{
    MemMap     *map = vm_memory_ref_map(vm);
    const void *p = vm_memory_ptr(vm, gpa, 1);
    gboolean    ok = p && write(pipe_fds[1], p, 1) == 1 && read(pipe_fds[0], out, 1) == 1;

    vm_memory_unref_map(vm, map);
    return ok;
}

/* The bytes at CS:RIP through the guest's page tables, as far as they are RAM. */
static void fetch_insn(KvmVcpu *v, VcpuFault *f, guint64 linear)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return;
    while (f->insn_len < INSN_MAX) {
        struct kvm_translation t = { .linear_address = linear + f->insn_len };

        if (KVM_IOCTL(v->core->fd, KVM_TRANSLATE, &t) < 0 || !t.valid ||
            !read_carefully(v->base.vm, fds, t.physical_address, &f->insn[f->insn_len]))
            break;
        f->insn_len++;
    }
    close(fds[0]);
    close(fds[1]);
}

/* KVM gives the bytes since Linux 5.14, where ndata says that there are any. */
static void emulation_insn(const struct kvm_run *run, VcpuFault *f)
{
    if (run->emulation_failure.ndata < 1 ||
        !(run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES))
        return;
    f->insn_len = MIN(run->emulation_failure.insn_size, INSN_MAX);
    memcpy(f->insn, run->emulation_failure.insn_bytes, f->insn_len);
}

static void report(KvmVcpu *v, const char *reason, guint64 code)
{
    VcpuFault        f = { .cpu_index = v->base.index, .reason = reason, .code = code };
    struct kvm_run  *run = v->core->run;
    struct kvm_regs  regs = { 0 };
    struct kvm_sregs sregs = { 0 };

    f.registers = vcpu_core_dump(v->core);
    if (KVM_IOCTL(v->core->fd, KVM_GET_REGS, &regs) == 0)
        f.rip = regs.rip;
    if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR && run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION)
        emulation_insn(run, &f);
    if (f.insn_len == 0 && KVM_IOCTL(v->core->fd, KVM_GET_SREGS, &sregs) == 0)
        fetch_insn(v, &f, sregs.cs.base + regs.rip);
    report_send(v->base.vm, FALSE, &f);
}

static void exit_internal_error(KvmVcpu *v)
{
    guint32 sub = v->core->run->internal.suberror;

    report(v, sub == KVM_INTERNAL_ERROR_EMULATION ? "emulation-failure" : "internal-error", sub);
}

static void exit_rare(KvmVcpu *v)
{
    const struct kvm_run *run = v->core->run;

    switch (run->exit_reason) {
    case KVM_EXIT_INTR:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
        return; /* nothing to do: run again */
    case KVM_EXIT_SHUTDOWN:
        exit_shutdown(v);
        return;
    case KVM_EXIT_INTERNAL_ERROR:
        exit_internal_error(v);
        return;
    case KVM_EXIT_FAIL_ENTRY:
        report(v, "fail-entry", run->fail_entry.hardware_entry_failure_reason);
        return;
    case KVM_EXIT_UNKNOWN:
        report(v, "unknown-exit", run->hw.hardware_exit_reason);
        return;
    case KVM_EXIT_SYSTEM_EVENT: /* Hyper-V, Xen or SEV guests only, none of which we offer */
        report(v, "system-event", run->system_event.type);
        return;
    default:
        report(v, "unexpected-exit", run->exit_reason);
    }
}

void vcpu_exit(KvmVcpu *v)
{
    guint32 reason = v->core->run->exit_reason;

    v->io_pending = FALSE;
    kvm_coalesced_drain(v->base.vm);
    if (G_LIKELY(reason == KVM_EXIT_IO))
        exit_io(v);
    else if (G_LIKELY(reason == KVM_EXIT_MMIO))
        exit_mmio(v);
    else
        exit_rare(v);
}

/* KVM_RUN itself failed: most often the guest touched memory that the host can not give (EFAULT, ENOMEM). */
void vcpu_run_failed(KvmVcpu *v, int err)
{
    const char *reason = err == EFAULT || err == EHWPOISON ? "memory-fault" : err == ENOMEM ? "out-of-memory" : "run-failed";

    v->core->run->exit_reason = KVM_EXIT_UNKNOWN; /* the page still holds the exit before this one */
    report(v, reason, err);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vm.h - one virtual machine on an accelerator: KVM, or the test accelerator, which is the same
 * machine without KVM (docs/design/testing.md section 3).
 *
 * Threads. The main thread owns the Vm: creation, memory, vCPU plug and unplug, run and pause. vCPU
 * threads run KVM_RUN and the region hooks of the I/O bus. Functions marked [any] may be called from
 * any thread; all others from the main thread only.
 *
 * Start-up. vm_new() checks /dev/kvm and its capabilities at once (cheap) and leaves the slow part
 * (KVM_CREATE_VM, irqchip, PIT: several ms of waiting in the kernel) to a helper thread, so that QMP
 * answers meanwhile. vm_ready() waits for it; everything here that needs the VM calls it.
 */
#pragma once

#include <glib.h>

typedef struct Vm Vm;
typedef struct Vcpu Vcpu;

typedef enum { VM_ACCEL_KVM, VM_ACCEL_TEST } VmAccel;

/* Why a vCPU can not go on (KVM API: KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_FAIL_ENTRY, KVM_EXIT_UNKNOWN ...). */
typedef struct {
    guint       cpu_index;
    const char *reason;      /* "emulation-failure", "fail-entry", "unknown-exit", ... */
    guint64     code;        /* suberror or hardware reason */
    guint64     rip;
    guint8      insn[16];    /* instruction bytes where the kernel or guest memory gave them */
    guint       insn_len;
    char       *registers;   /* multi-line dump for the log */
} VcpuFault;

/* Upward calls, all made on the main thread. By the time of either call every vCPU is on its way
 * to a stop (vm_hold()): the handler resets, stays stopped, or calls vm_run() again. The vCPU itself may be gone. */
typedef struct {
    void (*triple_fault)(gpointer user, guint cpu_index);
    void (*fault)(gpointer user, const VcpuFault *fault);
    void (*qtest_gone)(gpointer user); /* test accelerator: the client closed its socket */
} VmObserver;

Vm      *vm_new(VmAccel accel, const VmObserver *observer, gpointer user, GError **error);
gboolean vm_ready(Vm *vm, GError **error);
/* The machine has run for the last time: what is taken from it from here on (memory, lines, CPUs) is taken from nobody, so
 * KVM's VM is closed at once instead of piece by piece, each with its wait in the kernel. Pauses; no vm_run() after it. */
void     vm_end(Vm *vm);
void     vm_free(Vm *vm); /* joins every thread; devices must be gone */

VmAccel  vm_accel(const Vm *vm);                                     /* [any] */
int      vm_kvm_fd(const Vm *vm);  /* /dev/kvm; -1 under the test accelerator [any] */
int      vm_fd(const Vm *vm);      /* the VM; -1 likewise [any] */
guint    vm_max_vcpus(const Vm *vm);                                 /* [any] */
gboolean vm_has_cap(const Vm *vm, guint kvm_cap);                    /* [any] */

/* Lets all vCPUs run. */
void     vm_run(Vm *vm);
/* Stops all vCPUs at a safe point (pending PIO/MMIO completed by one more KVM_RUN with immediate_exit) and returns
 * when all are parked. */
void     vm_pause(Vm *vm);
/* [any] From now on no vCPU passes its safe point until vm_run(). Returns at once; a vCPU thread may call
 * it from a region hook. Used by guest reset and power-off, so that the guest does not run past them. */
void     vm_hold(Vm *vm);
/* [any] The same for work that the main thread does in a moment: whatever vm_run() says meanwhile, no vCPU passes before
 * vm_hold_brief_end(), which ends this hold and no other. */
void     vm_hold_brief(Vm *vm);
void     vm_hold_brief_end(Vm *vm); /* main thread; once for each vm_hold_brief() */
/* Main thread, within a vm_hold_brief(): returns when no vCPU runs guest code, for work that none may see half done. */
void     vm_hold_wait(Vm *vm);
gboolean vm_running(const Vm *vm);                                   /* [any] */

/* [any] Runs FN(user) on the main thread, in order. What has not run at vm_free() is dropped. */
void     vm_post(Vm *vm, void (*fn)(gpointer user), gpointer user);
/* Main thread. Runs at once what was posted before the call: a command that lets the guest go on must not overtake what the
 * guest did last. */
void     vm_post_run(Vm *vm);
/* Main thread. Drops every FN(user) that has not run yet: before USER is freed. */
void     vm_post_cancel(Vm *vm, void (*fn)(gpointer user), gpointer user);

/* ---- clocks (kvm/clock.c) ---- */

/* [any] Virtual clock: ns since creation, standing still while the machine is stopped. Under the test
 * accelerator it moves by clock_step and clock_set only. */
gint64   vm_clock_ns(const Vm *vm);
/* [any] UTC in ns since 1970: the host's clock; under the test accelerator a fixed epoch (2026-01-01
 * 00:00:00) plus the virtual clock. */
gint64   vm_utc_ns(const Vm *vm);

typedef struct VmTimer VmTimer;
/* A timer on the virtual clock. CB runs on the main thread with LOCK held (NULL: none). */
VmTimer *vm_timer_new(Vm *vm, GMutex *lock, void (*cb)(gpointer user), gpointer user);
void     vm_timer_set(VmTimer *timer, gint64 deadline_ns);           /* [any] */
void     vm_timer_cancel(VmTimer *timer);                            /* [any] */
gint64   vm_timer_deadline(const VmTimer *timer);                    /* [any] -1: not set */
void     vm_timer_free(VmTimer *timer); /* main thread, LOCK not held: no callback runs afterwards */

/* ---- test accelerator ---- */

/* Serves the qtest protocol on an open stream socket (the Vm takes the fd). One client at a time. */
gboolean vm_qtest_attach(Vm *vm, int fd, GError **error);
/* The same on a listening socket. */
gboolean vm_qtest_listen(Vm *vm, int listen_fd, GError **error);
/* Feeds one request line and returns the reply lines: for device tests in process and the fuzzer. Caller frees. */
char    *vm_qtest_line(Vm *vm, const char *line);
/* [any] Takes the oldest recorded message to the LAPICs (MSI or from the IOAPIC); FALSE: none. The last 256 are kept. */
gboolean vm_test_take_msi(Vm *vm, guint64 *address, guint32 *data);

/* ---- interrupt controllers, PIT and kvmclock as one record (machine paused) ---- */
void      vm_irqchip_reset(Vm *vm);
GVariant *vm_irqchip_save(Vm *vm, GError **error);
gboolean  vm_irqchip_load(Vm *vm, GVariant *state, GError **error);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vcpu.h - one virtual CPU: a KVM vCPU and the thread that runs it.
 *
 * Kick (docs/design/anchors.md section 6): a request sets the flag, then signals the thread; the signal
 * handler sets immediate_exit in this vCPU's run page, so that a KVM_RUN which is about to start returns at once.
 * Parking: KVM refuses a changed CPUID after the first run, and can not delete a vCPU, so vcpu_free() parks
 * the fd and vcpu_new() with the same id takes it out again.
 */
#pragma once

#include <linux/kvm.h>
#include <sys/types.h>

#include "vm.h"

/* What the CPU model hands in; copied. MSRs that KVM refuses are logged and listed by vcpu_refused_msrs(). */
typedef struct {
    const struct kvm_cpuid_entry2 *cpuid;
    guint                          n_cpuid;
    const struct kvm_msr_entry    *msrs; /* feature MSRs */
    guint                          n_msrs;
} VcpuModel;

/* INDEX: the CPU's number in the machine (thread name "CPU N/KVM"). APIC_ID is also KVM's vCPU id. */
Vcpu    *vcpu_new(Vm *vm, guint index, guint32 apic_id, const VcpuModel *model, GError **error);
/* Does ahead what KVM has to do for a CPU of this id and model, which is likely to be plugged next; vcpu_new() takes up what is there.
 * No promise: what can not be done is left to vcpu_new(), which reports it. At most a few are prepared and not taken. [main] */
void     vcpu_prepare(Vm *vm, guint32 apic_id, const VcpuModel *model);
/* Starts the thread; the vCPU is parked until vm_run(). BSP starts at its reset vector or boot state, any
 * other waits for INIT/SIPI. A CPU plugged while the machine runs starts running at once. */
gboolean vcpu_start(Vcpu *vcpu, GError **error);
void     vcpu_free(Vcpu *vcpu);

guint    vcpu_index(const Vcpu *vcpu);
guint32  vcpu_apic_id(const Vcpu *vcpu);
pid_t    vcpu_thread_id(const Vcpu *vcpu);   /* test accelerator: distinct numbers of threads that sleep */
gboolean vcpu_is_current(const Vcpu *vcpu);  /* [any] */
/* MSRs that KVM refused, of the model or of a loaded state; owned by the vCPU. */
const guint32 *vcpu_refused_msrs(const Vcpu *vcpu, guint *n);

/* Architectural reset state (INIT at power-on). Machine paused. BSP runs, others wait for SIPI. */
gboolean vcpu_reset(Vcpu *vcpu, gboolean bsp, GError **error);

/* Where the first instruction is. Machine paused, after vcpu_reset(), BSP only. */
typedef enum {
    VCPU_BOOT_RESET_VECTOR, /* as vcpu_reset() leaves it: f000:fff0 */
    VCPU_BOOT_PROT32,       /* flat 32-bit protected mode, paging off, interrupts off (PVH, multiboot) */
    VCPU_BOOT_LONG64,       /* 64-bit, paging on with CR3, GDT at gdt (Linux boot protocol: CS 0x10, DS 0x18) */
} VcpuBootMode;

typedef struct {
    VcpuBootMode mode;
    guint64      rip, rsp, rax, rbx, rsi;
    guint64      cr3, gdt;  /* LONG64 */
    guint16      gdt_limit;
} VcpuBoot;
gboolean vcpu_set_boot(Vcpu *vcpu, const VcpuBoot *boot, GError **error);

/* Registers as text: for logs and internal errors. vCPU parked. Caller frees. */
char    *vcpu_dump(Vcpu *vcpu);

/* NMI to this vCPU (inject-nmi). [main] */
void     vcpu_nmi(Vcpu *vcpu);

/* The CPUID table as KVM reports it back (KVM_GET_CPUID2), which may differ from what was set; for tests and fingerprint. */
gboolean vcpu_get_cpuid(Vcpu *vcpu, struct kvm_cpuid2 **out, GError **error); /* g_free() */

/* Whole state as normal-form GVariant a{sv} and back (MSRs, LAPIC, XSAVE ...): machine paused. */
GVariant *vcpu_save(Vcpu *vcpu, GError **error);
gboolean  vcpu_load(Vcpu *vcpu, GVariant *state, GError **error);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * accel.h - private to kvm/: what the two accelerators must provide, and the Vm's parts.
 *
 *   vm.c         life cycle, run / pause / hold, posting to the main thread        (common)
 *   clock.c      virtual clock and timers                                           (common)
 *   memory.c     the memory map                                                     (common)
 *   iobus.c      dispatch tables, ioeventfd fallback                                (common)
 *   irq.c        wired-OR lines, MSI vectors, GSI numbers and the route table       (common)
 *   vcpu.c       vCPU threads over KVM_RUN, kick, park                              (KVM)
 *   vcpu-state.c registers, reset, boot states, save and load                       (KVM)
 *   kvm.c caps.c the KVM accelerator                                                (KVM)
 *   test.c test-irqchip.c  the test accelerator and its register models            (test)
 */
#pragma once

#include "caps.h"
#include "iobus.h"
#include "irq.h"
#include "memory.h"
#include "vcpu.h"
#include "vm.h"

/* Routes as KVM wants them; entry i is for gsi 24 + i. */
typedef struct {
    guint32 gsi;
    guint64 address;
    guint32 data;
} MsiRoute;

typedef struct {
    /* Called by vm_new(): quick checks only. */
    gboolean (*open)(Vm *vm, GError **error);
    /* Waits for the slow part. Idempotent. */
    gboolean (*ready)(Vm *vm, GError **error);
    void (*end)(Vm *vm); /* vm_end(), machine paused. NULL: nothing to do */
    void (*close)(Vm *vm);

    /* A memory slot appears (SIZE from REGION) or, with REMOVE, goes. */
    gboolean (*memory_slot)(Vm *vm, const MemRegion *region, gboolean remove, GError **error);

    /* Pin GSI's wired level changed. [any] */
    void (*pin_level)(Vm *vm, guint gsi, gboolean level);
    /* One input of a pin changed; called before pin_level(), pin locked. May be NULL. [any] */
    void (*line_level)(Vm *vm, const IrqLine *line, gboolean level);
    /* One MSI message. [any] */
    void (*msi_send)(Vm *vm, guint64 address, guint32 data);
    /* Binds FD to GSI (irqfd), or unbinds. FALSE: not available, irq.c serves the fd itself. */
    gboolean (*irqfd)(Vm *vm, int fd, guint gsi, gboolean bind);
    /* Replaces the MSI part of the route table. Main thread; may wait in the kernel. */
    gboolean (*set_msi_routes)(Vm *vm, const MsiRoute *routes, guint n, GError **error);

    /* FALSE: not available, iobus.c signals the fd itself on a matching write. */
    gboolean (*ioeventfd)(Vm *vm, IoSpace space, guint64 addr, unsigned size, gboolean match, guint64 value, int fd, gboolean add);
    /* Coalesced range appears or goes; FALSE: not available. */
    gboolean (*coalesce)(Vm *vm, IoSpace space, guint64 addr, guint64 size, gboolean add);

    /* The whole machine: called by vm_run(), vm_hold_brief_end(), vm_pause() on the main thread. */
    void (*run)(Vm *vm);
    void (*pause)(Vm *vm);
    /* vm->hold was just set: hurries the vCPUs to their safe point. [any], also from a region hook. NULL: nothing to hurry. */
    void (*hold)(Vm *vm);
    /* With vm->hold set: returns when every vCPU is at its safe point. NULL: they are always. */
    void (*hold_wait)(Vm *vm);

    /* vCPUs. */
    Vcpu *(*vcpu_new)(Vm *vm, guint index, guint32 apic_id, const VcpuModel *model, GError **error);
    void (*vcpu_prepare)(Vm *vm, guint32 apic_id, const VcpuModel *model); /* NULL: makes nothing ahead */
    gboolean (*vcpu_start)(Vcpu *vcpu, GError **error);
    void (*vcpu_free)(Vcpu *vcpu);
    gboolean (*vcpu_reset)(Vcpu *vcpu, gboolean bsp, GError **error);
    gboolean (*vcpu_set_boot)(Vcpu *vcpu, const VcpuBoot *boot, GError **error);
    char *(*vcpu_dump)(Vcpu *vcpu);
    void (*vcpu_nmi)(Vcpu *vcpu);
    gboolean (*vcpu_get_cpuid)(Vcpu *vcpu, struct kvm_cpuid2 **out, GError **error);
    GVariant *(*vcpu_save)(Vcpu *vcpu, GError **error);
    gboolean (*vcpu_load)(Vcpu *vcpu, GVariant *state, GError **error);

    /* Irqchip state (PIC, IOAPIC, PIT, clock) as normal-form a{sv}; reset of the same. Machine paused. */
    void (*irqchip_reset)(Vm *vm);
    GVariant *(*irqchip_save)(Vm *vm, GError **error);
    gboolean (*irqchip_load)(Vm *vm, GVariant *state, GError **error);

    /* Host features. */
    const struct kvm_cpuid2 *(*supported_cpuid)(Vm *vm, GError **error);
    const struct kvm_msr_entry *(*feature_msrs)(Vm *vm, guint *n, GError **error);
    guint (*phys_bits)(Vm *vm);
    gboolean (*has_cap)(const Vm *vm, guint cap);
} AccelOps;

extern const AccelOps accel_kvm_ops;
extern const AccelOps accel_test_ops;

/* Each file's private part of the Vm; allocated by its _init, released by its _exit. */
typedef struct VmPosts VmPosts;
typedef struct VmClock VmClock;
typedef struct VmMemory VmMemory;
typedef struct VmBus VmBus;
typedef struct VmIrq VmIrq;
typedef struct KvmState KvmState;
typedef struct TestState TestState;

struct Vm {
    VmAccel           accel;
    const AccelOps   *ops;
    const VmObserver *observer;
    gpointer          user;
    GMainContext     *context; /* the main thread's */
    gint              running; /* atomic: vm_run() .. vm_pause() */
    guint             hold;    /* atomic: not 0: no vCPU passes its safe point; vm.c has the parts */
    int               kvm_fd, vm_fd; /* -1: none; vm_fd from ready() on */
    guint             max_vcpus;     /* open() may lower or raise the default of 1024 */
    VmPosts          *posts;         /* vm.c: what waits for the main thread */
    VmClock          *clock;
    VmMemory         *memory;
    VmBus            *bus;
    VmIrq            *irq;
    KvmState         *kvm;  /* KVM accelerator only */
    TestState        *test; /* test accelerator only */
};

/* Every vCPU implementation's struct begins with this. */
struct Vcpu {
    Vm     *vm;
    guint   index;
    guint32 apic_id;
    gint    thread_id; /* atomic; 0: no thread yet */
    GArray *refused;   /* of guint32: MSRs of the model or a loaded state that KVM did not take. NULL: none */
};


void vm_clock_init(Vm *vm);
void vm_clock_exit(Vm *vm);
void vm_clock_start(Vm *vm); /* vm_run(): virtual time passes */
void vm_clock_stop(Vm *vm);
/* Test accelerator: moves virtual time to TARGET, running each timer due on the way at its own instant. FALSE: gave up after
 * MAX_CALLBACKS (a timer that re-arms itself without end); time stands where it got to. */
gboolean vm_clock_step_to(Vm *vm, gint64 target_ns, guint max_callbacks);
gint64 vm_clock_next_deadline(Vm *vm); /* -1: none */

void vm_memory_init(Vm *vm);
void vm_memory_exit(Vm *vm);
void vm_bus_init(Vm *vm);
void vm_bus_exit(Vm *vm);
void vm_irq_init(Vm *vm);
void vm_irq_exit(Vm *vm);
/* Sends what the eventfds that irq.c serves itself were signalled for: without waiting for the main loop. */
void vm_irq_serve_fds(Vm *vm);
/* For qtest: all lines, oldest first; main thread. */
IrqLine *const *irq_lines(Vm *vm, guint *n);
const char *irq_line_owner(const IrqLine *line);
gboolean irq_pin_level(Vm *vm, guint gsi);

/* A thread that dispatches accesses registers itself once (a vCPU thread; the main thread is by itself): its record holds the table in use. */
void iobus_thread_enter(Vm *vm);
void iobus_thread_leave(Vm *vm);

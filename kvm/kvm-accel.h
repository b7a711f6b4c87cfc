/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * kvm-accel.h - private to the KVM accelerator.
 *
 *   kvm.c          /dev/kvm, the VM and its start-up thread, memory slots
 *   caps.c         required capabilities, CPUID and MSRs that the host offers
 *   kvm-irq.c      interrupt lines, MSIs, routes, irqfd, ioeventfd, coalesced writes, irqchip state
 *   vcpu.c         vCPU threads: kick, park, pause, hold
 *   vcpu-exit.c    what a KVM_RUN returns with
 *   vcpu-core.c    the kernel's vCPUs: creation, CPUID, feature MSRs, parking and reuse
 *   vcpu-state.c   registers: read, write, reset, boot modes, text
 *   vcpu-save.c    registers as a{sv}
 *
 * Locks: KvmState.coalesced_lock, then device locks, then KvmState.lock (a leaf).
 */
#pragma once

#include <pthread.h>

#include "accel.h"

#include "../common/error.h"
#include "../common/lock.h"
#include "../common/util.h"

/* A host that runs ring 0 in KVM's emulator unless the guest asks for its native mode keeps the state of that mode in
 * this MSR, which KVM_GET_MSR_INDEX_LIST does not list (docs/design/testing.md section 2). */
#define MSR_NATIVE_MODE 0x4b564d10

#define NUM_PIC_PINS 16
#define XSAVE_LEGACY_SIZE 4096

typedef struct KvmVcpu KvmVcpu;
typedef struct VcpuCore VcpuCore;

/* ---- registers of one vCPU (vcpu-state.c) ---- */

typedef struct {
    gint                    refs; /* atomic: vCPUs of one model share their power-on state */
    struct kvm_regs         regs;
    struct kvm_sregs        sregs;
    guint64                 pdptrs[4]; /* valid if pdptrs_valid: KVM_SREGS2_FLAGS_PDPTRS_VALID */
    gboolean                pdptrs_valid;
    struct kvm_xcrs         xcrs;
    struct kvm_debugregs    debugregs;
    struct kvm_vcpu_events  events;
    struct kvm_lapic_state  lapic;
    struct kvm_mp_state     mp_state;
    guint32                 tsc_khz; /* 0: unknown */
    guint8                 *xsave;   /* as KVM_GET_XSAVE2 gave it */
    gsize                   xsave_len;
    guint8                 *nested;  /* KVM_GET_NESTED_STATE; NULL: the host has none */
    gsize                   nested_len;
    GArray                 *msrs;    /* of struct kvm_msr_entry */
} VcpuState;

/* The kernel's part of a vCPU. It outlives the Vcpu: KVM can not delete a vCPU, nor change a CPUID in use. */
struct VcpuCore {
    guint32                  id; /* APIC id and KVM's vCPU id */
    int                      fd;
    struct kvm_run          *run;
    gsize                    run_size;
    struct kvm_cpuid_entry2 *cpuid; /* as handed in; NULL: none yet */
    guint                    n_cpuid;
    gboolean                 in_use;
    gboolean                 ahead;    /* made ahead with this model, and nobody has had it yet */
    gboolean                 ran;      /* KVM_RUN was called: the CPUID is fixed */
    gboolean                 written;  /* a whole state was put: what is in KVM is no longer that of a new vCPU */
    struct kvm_msr_entry    *msrs;     /* feature MSRs as handed in with the table */
    guint                    n_msrs;
    GArray                  *refused;  /* of guint32: those of them that KVM did not take */
    gboolean                 fresh;    /* KVM has what POWER_ON says: nothing ran and nothing was written since */
    gboolean                 others;   /* POWER_ON was read from another vCPU of this model, or the guest knows of this one already */
    VcpuState               *power_on; /* taken before the first run; shared, not to be changed */
};

VcpuCore *vcpu_core_create(Vm *vm, guint32 id, GError **error);
/* Takes a parked core with ID, or creates one; sets CPUID and feature MSRs. */
VcpuCore *vcpu_core_get(Vm *vm, guint32 id, const VcpuModel *model, GArray *refused, GError **error);
/* The power-on state of a vCPU of this model, whatever its APIC id; NULL: none is known. */
VcpuState *vcpu_core_like(Vm *vm, const VcpuModel *model);
void      vcpu_core_park(Vm *vm, VcpuCore *core);
void      vcpu_core_free(VcpuCore *core);
void      vcpu_cores_drop(KvmState *s); /* those that no CPU uses: none will */
/* Sets MSRS one by one where the batch stops; indices that KVM refuses are appended to REFUSED, and told once (VM NULL: not told). */
void      vcpu_core_set_msrs(Vm *vm, VcpuCore *core, const struct kvm_msr_entry *msrs, guint n, GArray *refused);
/* Reads as many of MSRS as KVM can; the others are removed. */
void      vcpu_core_get_msrs(VcpuCore *core, GArray *msrs);

VcpuState *vcpu_state_get(Vm *vm, VcpuCore *core, GError **error);
gboolean   vcpu_state_put(Vm *vm, VcpuCore *core, const VcpuState *st, GArray *refused, GError **error);
VcpuState *vcpu_state_copy(const VcpuState *st);
VcpuState *vcpu_state_ref(VcpuState *st);
void       vcpu_state_free(VcpuState *st); /* drops a reference */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VcpuState, vcpu_state_free)
/* Remembers the state at power-on, unless that is done. Before the first run. */
gboolean   vcpu_core_snapshot(Vm *vm, VcpuCore *core, GError **error);
/* Power-on state; BSP runs, any other waits for INIT and SIPI. */
gboolean   vcpu_core_reset(Vm *vm, VcpuCore *core, gboolean bsp, GError **error);
char      *vcpu_core_dump(VcpuCore *core);

/* ---- a vCPU with its thread (vcpu.c) ---- */

struct KvmVcpu {
    Vcpu      base;
    VcpuCore *core;
    GThread  *thread;
    pthread_t pthread; /* KvmState.lock; valid while !parked */
    gint      stop;    /* atomic: this vCPU is asked to its safe point */
    gboolean  quit;    /* KvmState.lock */
    gboolean  parked;  /* KvmState.lock: at the safe point, nothing pending */
    gboolean  io_pending; /* thread: the last exit is completed by the next KVM_RUN */
    void    (*call)(KvmVcpu *v, gpointer user); /* KvmState.lock: wanted of the thread */
    gpointer  call_user;
};

/* Runs FN while this vCPU is at its safe point: on its own thread if that is running, else here. [main] */
void vcpu_call(KvmVcpu *v, void (*fn)(KvmVcpu *v, gpointer user), gpointer user);

Vcpu    *kvm_vcpu_new(Vm *vm, guint index, guint32 apic_id, const VcpuModel *model, GError **error);
void     kvm_vcpu_prepare(Vm *vm, guint32 apic_id, const VcpuModel *model);
gboolean kvm_vcpu_start(Vcpu *vcpu, GError **error);
void     kvm_vcpu_free(Vcpu *vcpu);
gboolean kvm_vcpu_reset(Vcpu *vcpu, gboolean bsp, GError **error);
gboolean kvm_vcpu_set_boot(Vcpu *vcpu, const VcpuBoot *boot, GError **error);
char    *kvm_vcpu_dump(Vcpu *vcpu);
void     kvm_vcpu_nmi(Vcpu *vcpu);
gboolean kvm_vcpu_get_cpuid(Vcpu *vcpu, struct kvm_cpuid2 **out, GError **error);
GVariant *kvm_vcpu_save(Vcpu *vcpu, GError **error);
gboolean kvm_vcpu_load(Vcpu *vcpu, GVariant *state, GError **error);
void     kvm_run(Vm *vm);
void     kvm_pause(Vm *vm);
void     kvm_hold(Vm *vm);
void     kvm_hold_wait(Vm *vm);
/* Installs the kick signal's handler and blocks the signal in the calling thread. Idempotent. */
gboolean vcpu_kick_init(GError **error);

/* Serves one return of KVM_RUN; vCPU thread. */
void     vcpu_exit(KvmVcpu *v);
void     vcpu_run_failed(KvmVcpu *v, int err);
void     vcpu_reports_clear(KvmState *s); /* main: those that nobody was told of */

/* ---- the VM ---- */

typedef struct {
    gsize   msr_list_len; /* indices */
    guint32 *msr_list;    /* what belongs to a vCPU's state */
    struct kvm_cpuid2    *cpuid;
    struct kvm_msr_entry *features;
    guint                 n_features;
} HostFeatures;

/* PIC, IOAPIC and PIT (kvm-irq.c). */
typedef struct {
    struct kvm_irqchip    chip[3]; /* KVM_IRQCHIP_PIC_MASTER, _SLAVE, _IOAPIC */
    struct kvm_pit_state2 pit;
} IrqchipState;

/* A part of the start-up on a thread of its own. Main thread, but for what the thread writes before it was joined. */
typedef struct {
    gboolean begun;
    GThread *thread; /* NULL: not begun, or joined */
    GError  *error;
} StartStep;

struct KvmState {
    StartStep    creation; /* of VM and HOST */
    StartStep    chips;    /* of interrupt controllers, POWER_ON and the first vCPU */
    HostFeatures host;
    IrqchipState power_on;

    gsize        run_size;
    gsize        xsave_size, nested_size; /* nested_size 0: none */
    gboolean     sregs2, tsc_khz, kvmclock_ctrl;

    GMutex       lock;
    GCond        wake;     /* vCPU threads wait: run, quit, a call */
    GCond        at_rest;  /* the main thread waits: parked, call done */
    GPtrArray   *vcpus;    /* of KvmVcpu that have a thread; lock */
    GQueue       reports;  /* vcpu-exit.c: what ended a vCPU's run and waits for the main thread; lock */
    GPtrArray   *cores;    /* of VcpuCore; main thread */
    GArray      *refused_told; /* of guint32: MSRs of which the log says that KVM refuses them; while the machine stands still */

    /* Writes that KVM queued; the ring lies in every run page. */
    GMutex       coalesced_lock;
    struct kvm_coalesced_mmio_ring *ring; /* NULL: no vCPU yet, or no such capability. atomic pointer */
    guint        ring_entries;
    GArray      *zones;    /* of struct kvm_coalesced_mmio_zone that wait for the first run; main thread */
    gboolean     started;  /* vm_run() was called: zones are registered at once */

    gboolean     clock_valid; /* guest clock stands at clock_ns */
    guint64      clock_ns;
};

/* ioctl, again after EINTR; the value, or -1 and errno. */
int kvm_ioctl(int fd, unsigned long request, gulong arg);
#define KVM_IOCTL(fd, request, ptr) kvm_ioctl(fd, request, (gulong)(ptr))

/* caps.c */
gboolean kvm_check_caps(int (*query)(gpointer user, guint cap), gpointer user, GError **error);
gboolean kvm_read_host(int kvm_fd, HostFeatures *host, GError **error);
void     kvm_clear_host(HostFeatures *host);
int      kvm_cap(int kvm_fd, guint cap);

/* kvm-irq.c */
/* Waits for VM and interrupt controllers; begins to make the latter if nobody has. */
gboolean  kvm_chips_ready(Vm *vm, GError **error);
gboolean  kvm_irqchip_get(Vm *vm, IrqchipState *st, GError **error);
void      kvm_coalesced_drain_ring(Vm *vm, struct kvm_coalesced_mmio_ring *ring);
void      kvm_coalesced_flush_zones(Vm *vm);
void      kvm_pin_level(Vm *vm, guint gsi, gboolean level);
void      kvm_msi_send(Vm *vm, guint64 address, guint32 data);
gboolean  kvm_irqfd(Vm *vm, int fd, guint gsi, gboolean bind);
gboolean  kvm_set_msi_routes(Vm *vm, const MsiRoute *routes, guint n, GError **error);
gboolean  kvm_ioeventfd(Vm *vm, IoSpace space, guint64 addr, unsigned size, gboolean match, guint64 value, int fd,
                        gboolean add);
gboolean  kvm_coalesce(Vm *vm, IoSpace space, guint64 addr, guint64 size, gboolean add);
void      kvm_irqchip_reset(Vm *vm);
GVariant *kvm_irqchip_save(Vm *vm, GError **error);
gboolean  kvm_irqchip_load(Vm *vm, GVariant *state, GError **error);
void      kvm_clock_freeze(Vm *vm); /* the guest's kvmclock stands still until kvm_clock_thaw() */
void      kvm_clock_thaw(Vm *vm);

static inline gboolean kvm_ring_empty(const struct kvm_coalesced_mmio_ring *ring)
{
    return __atomic_load_n(&ring->first, __ATOMIC_ACQUIRE) == __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE);
}

/* Writes that KVM queued are done when this returns. [any] */
static inline void kvm_coalesced_drain(Vm *vm)
{
    struct kvm_coalesced_mmio_ring *ring = __atomic_load_n(&vm->kvm->ring, __ATOMIC_ACQUIRE);

    if (ring && G_UNLIKELY(!kvm_ring_empty(ring)))
        kvm_coalesced_drain_ring(vm, ring);
}

/* vcpu-save.c */
GVariant  *vcpu_state_to_variant(const VcpuState *st);
VcpuState *vcpu_state_from_variant(GVariant *v, const VcpuState *base, GError **error);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * kvm.c - the KVM accelerator: /dev/kvm, the VM, its start-up and its memory slots.
 *
 * Start-up is ordered by what the kernel makes one wait for. Creating the interrupt controllers puts devices on KVM's
 * internal bus; since Linux 6.18 that leaves an SRCU grace period of some 6 ms behind, and the next change of a memory slot waits
 * for its end. A slot that is changed before costs 0.1 ms. So there are two steps, each on a helper thread: the VM and
 * what the host offers, begun by vm_new(), while the main thread greets its clients; then, begun with the first memory slot (memory.c
 * sees to it that it comes early) or when somebody needs them, the interrupt controllers and the first vCPU (APIC id 0, which nearly every
 * machine wants; on Intel's processors KVM adds a memory slot of its own then, and waits). For the same reason
 * coalesced ranges are given to KVM at the first vm_run() only (kvm-irq.c).
 *
 * No quirk is disabled (KVM_CAP_DISABLE_QUIRKS2): LINT0_REENABLED is the virtual wire that firmware would set up and
 * direct boots expect, the others differ from hardware in nothing that a guest may rely on, and which of them exist depends
 * on the host's kernel.
 */
#include "kvm-accel.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>

/* Where Intel's processors without unrestricted guests need four pages: below the firmware, as QEMU has it. */
#define IDENTITY_MAP_ADDR 0xfeffc000u
#define TSS_ADDR 0xfeffd000u

int kvm_ioctl(int fd, unsigned long request, gulong arg)
{
    int r;

    do
        r = ioctl(fd, request, arg);
    while (r < 0 && errno == EINTR);
    return r;
}

/* ---- start-up, on the helper thread ---- */

/* Exact exceptions in KVM_GET_VCPU_EVENTS and 32-bit APIC ids in LAPIC state and MSIs: always on, so that the guest
 * sees the same with 2 CPUs and with 300. */
static void enable_options(Vm *vm)
{
    struct kvm_enable_cap payload = { .cap = KVM_CAP_EXCEPTION_PAYLOAD, .args = { 1 } };
    struct kvm_enable_cap x2apic = {
        .cap = KVM_CAP_X2APIC_API,
        .args = { KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK },
    };

    if (kvm_cap(vm->kvm_fd, KVM_CAP_EXCEPTION_PAYLOAD))
        KVM_IOCTL(vm->vm_fd, KVM_ENABLE_CAP, &payload);
    if (kvm_cap(vm->kvm_fd, KVM_CAP_X2APIC_API))
        KVM_IOCTL(vm->vm_fd, KVM_ENABLE_CAP, &x2apic);
}

static gboolean create_irqchip(Vm *vm, GError **error)
{
    struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };

    if (KVM_IOCTL(vm->vm_fd, KVM_CREATE_IRQCHIP, 0) < 0)
        return error_set_errno(error, errno, "KVM can not create the interrupt controllers (KVM_CREATE_IRQCHIP)");
    if (KVM_IOCTL(vm->vm_fd, KVM_CREATE_PIT2, &pit) < 0)
        return error_set_errno(error, errno, "KVM can not create the interval timer (KVM_CREATE_PIT2)");
    return TRUE;
}

static gboolean create_vm(Vm *vm, GError **error)
{
    guint64 identity_map = IDENTITY_MAP_ADDR;

    vm->vm_fd = kvm_ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
    if (vm->vm_fd < 0)
        return error_set_errno(error, errno, "KVM can not create a virtual machine (KVM_CREATE_VM)");
    if (kvm_cap(vm->kvm_fd, KVM_CAP_SET_IDENTITY_MAP_ADDR) &&
        KVM_IOCTL(vm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map) < 0)
        return error_set_errno(error, errno, "KVM_SET_IDENTITY_MAP_ADDR");
    if (kvm_cap(vm->kvm_fd, KVM_CAP_SET_TSS_ADDR) && kvm_ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, TSS_ADDR) < 0)
        return error_set_errno(error, errno, "KVM_SET_TSS_ADDR");
    enable_options(vm);
    return TRUE;
}

static void read_sizes(Vm *vm)
{
    KvmState *s = vm->kvm;
    int       xsave = kvm_cap(vm->vm_fd, KVM_CAP_XSAVE2);

    s->xsave_size = MAX(xsave, XSAVE_LEGACY_SIZE);
    s->nested_size = kvm_cap(vm->kvm_fd, KVM_CAP_NESTED_STATE);
    s->sregs2 = kvm_cap(vm->kvm_fd, KVM_CAP_SREGS2);
    s->tsc_khz = kvm_cap(vm->kvm_fd, KVM_CAP_GET_TSC_KHZ);
    s->kvmclock_ctrl = kvm_cap(vm->kvm_fd, KVM_CAP_KVMCLOCK_CTRL);
}

static gpointer start_vm(gpointer user)
{
    Vm       *vm = user;
    KvmState *s = vm->kvm;

    if (create_vm(vm, &s->creation.error)) {
        read_sizes(vm);
        kvm_read_host(vm->kvm_fd, &s->host, &s->creation.error);
    }
    return NULL;
}

static gpointer start_chips(gpointer user)
{
    Vm       *vm = user;
    KvmState *s = vm->kvm;
    VcpuCore *first;

    if (!create_irqchip(vm, &s->chips.error) || !kvm_irqchip_get(vm, &s->power_on, &s->chips.error))
        return NULL;
    first = vcpu_core_create(vm, 0, &s->chips.error);
    if (first)
        g_ptr_array_add(s->cores, first);
    return NULL;
}

static void step_begin(StartStep *step, const char *name, GThreadFunc fn, Vm *vm)
{
    step->begun = TRUE;
    step->thread = g_thread_try_new(name, fn, vm, &step->error);
}

static gboolean step_wait(StartStep *step, GError **error)
{
    if (step->thread)
        g_thread_join(g_steal_pointer(&step->thread));
    if (step->error && error)
        *error = g_error_copy(step->error);
    return !step->error;
}

static gboolean kvm_ready(Vm *vm, GError **error)
{
    return step_wait(&vm->kvm->creation, error);
}

static void begin_chips(Vm *vm)
{
    if (!vm->kvm->chips.begun)
        step_begin(&vm->kvm->chips, "kvm-chips", start_chips, vm);
}

gboolean kvm_chips_ready(Vm *vm, GError **error)
{
    if (!vm_ready(vm, error))
        return FALSE;
    begin_chips(vm);
    return step_wait(&vm->kvm->chips, error);
}

/* ---- open and close ---- */

static int query_fd(gpointer user, guint cap)
{
    return kvm_cap(GPOINTER_TO_INT(user), cap);
}

static gboolean open_failed(int err, GError **error)
{
    switch (err) {
    case ENOENT:
    case ENODEV:
    case ENXIO:
        return error_set_errno(error, err, "/dev/kvm: this host offers no KVM. Load the module kvm_intel or kvm_amd; "
                               "if that fails, enable virtualization in the firmware, or nested "
                               "virtualization where the host is a virtual machine itself");
    case EACCES:
    case EPERM:
        return error_set_errno(error, err, "/dev/kvm may not be opened by user %u: run as a member of its group "
                               "(usually \"kvm\")", (guint)getuid());
    default:
        return error_set_errno(error, err, "/dev/kvm can not be opened");
    }
}

static gboolean check_host(Vm *vm, GError **error)
{
    KvmState *s = vm->kvm;
    int       version = ioctl(vm->kvm_fd, KVM_GET_API_VERSION, 0);
    int       size;

    if (version != KVM_API_VERSION)
        return error_set(error, "/dev/kvm speaks API version %d; version %d is needed", version, KVM_API_VERSION);
    if (!kvm_check_caps(query_fd, GINT_TO_POINTER(vm->kvm_fd), error))
        return FALSE;
    size = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (size < (int)sizeof(struct kvm_run))
        return error_set(error, "KVM_GET_VCPU_MMAP_SIZE answers %d; at least %zu is needed", size,
                         sizeof(struct kvm_run));
    s->run_size = size;
    vm->max_vcpus = MAX(kvm_cap(vm->kvm_fd, KVM_CAP_MAX_VCPUS), 1);
    return TRUE;
}

static void state_new(Vm *vm)
{
    KvmState *s = g_new0(KvmState, 1);

    g_mutex_init(&s->lock);
    g_mutex_init(&s->coalesced_lock);
    g_cond_init(&s->wake);
    g_cond_init(&s->at_rest);
    s->vcpus = g_ptr_array_new();
    g_queue_init(&s->reports);
    s->cores = g_ptr_array_new_with_free_func((GDestroyNotify)vcpu_core_free);
    s->refused_told = g_array_new(FALSE, FALSE, sizeof(guint32));
    s->zones = g_array_new(FALSE, FALSE, sizeof(struct kvm_coalesced_mmio_zone));
    vm->kvm = s;
}

static gboolean kvm_open(Vm *vm, GError **error)
{
    state_new(vm);
    vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (vm->kvm_fd < 0)
        return open_failed(errno, error);
    if (!check_host(vm, error) || !vcpu_kick_init(error))
        return FALSE;
    step_begin(&vm->kvm->creation, "kvm-start", start_vm, vm);
    return vm->kvm->creation.thread || step_wait(&vm->kvm->creation, error);
}

/* The VM lives on until the last vCPU's descriptor is closed too (vcpu_core_park()). In this order the kernel drops its page
 * tables of the guest's memory as a whole, not page by page when that memory is unmapped. */
static void kvm_end(Vm *vm)
{
    vm_ready(vm, NULL);
    step_wait(&vm->kvm->chips, NULL);
    vcpu_cores_drop(vm->kvm);
    g_atomic_pointer_set(&vm->kvm->ring, NULL);
    auto_fd_close(vm->vm_fd);
    vm->vm_fd = -1;
}

/* Also after a failed open. vCPUs are devices and so are gone. */
static void kvm_close(Vm *vm)
{
    step_wait(&vm->kvm->creation, NULL); /* the threads go by vm->kvm */
    step_wait(&vm->kvm->chips, NULL);
    KvmState *s = g_steal_pointer(&vm->kvm);

    g_assert(s->vcpus->len == 0);
    vcpu_reports_clear(s);
    g_clear_error(&s->creation.error);
    g_clear_error(&s->chips.error);
    g_ptr_array_unref(s->vcpus);
    g_ptr_array_unref(s->cores);
    g_array_unref(s->refused_told);
    g_array_unref(s->zones);
    kvm_clear_host(&s->host);
    g_mutex_clear(&s->lock);
    g_mutex_clear(&s->coalesced_lock);
    g_cond_clear(&s->wake);
    g_cond_clear(&s->at_rest);
    g_free(s);
    auto_fd_close(vm->vm_fd);
    auto_fd_close(vm->kvm_fd);
    vm->vm_fd = vm->kvm_fd = -1;
}

/* ---- memory ---- */

static gboolean kvm_memory_slot(Vm *vm, const MemRegion *region, gboolean remove, GError **error)
{
    struct kvm_userspace_memory_region r = {
        .slot = region->slot,
        .guest_phys_addr = region->gpa,
        .memory_size = remove ? 0 : region->size,
        .userspace_addr = (guintptr)region->hva,
    };

    if (!vm_ready(vm, error))
        return FALSE;
    if (remove && vm->vm_fd < 0)
        return TRUE; /* after vm_end() */
    if (region->flags & MEM_READONLY)
        r.flags |= KVM_MEM_READONLY;
    if (region->flags & MEM_DIRTY_LOG)
        r.flags |= KVM_MEM_LOG_DIRTY_PAGES;
    if (KVM_IOCTL(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &r) < 0)
        return error_set_errno(error, errno, "KVM refuses memory slot %u at 0x%" G_GINT64_MODIFIER "x, %" G_GUINT64_FORMAT
                               " bytes", region->slot, region->gpa, region->size);
    if (!remove)
        begin_chips(vm);
    return TRUE;
}

/* ---- host features ---- */

static const struct kvm_cpuid2 *kvm_supported_cpuid(Vm *vm, GError **error)
{
    return vm_ready(vm, error) ? vm->kvm->host.cpuid : NULL;
}

static const struct kvm_msr_entry *kvm_feature_msrs(Vm *vm, guint *n, GError **error)
{
    *n = 0;
    if (!vm_ready(vm, error))
        return NULL;
    *n = vm->kvm->host.n_features;
    return vm->kvm->host.features;
}

/* CPUID 0x80000008 EAX[7:0] (SDM, APM): KVM's table first, since KVM may take bits away. */
static guint kvm_phys_bits(Vm *vm)
{
    const struct kvm_cpuid2 *c = kvm_supported_cpuid(vm, NULL);
    guint                    eax = 0, ebx, ecx, edx;

    for (guint i = 0; c && i < c->nent; i++) {
        if (c->entries[i].function == 0x80000008)
            eax = c->entries[i].eax;
    }
    if ((eax & 0xff) == 0)
        __get_cpuid(0x80000008, &eax, &ebx, &ecx, &edx);
    return eax & 0xff ? eax & 0xff : 36; /* 36: a processor that does not say (SDM, leaf 0x80000008) */
}

static gboolean kvm_has_cap(const Vm *vm, guint cap)
{
    return kvm_cap(vm->kvm_fd, cap) > 0;
}

const AccelOps accel_kvm_ops = {
    .open = kvm_open,
    .ready = kvm_ready,
    .end = kvm_end,
    .close = kvm_close,
    .memory_slot = kvm_memory_slot,
    .pin_level = kvm_pin_level,
    .msi_send = kvm_msi_send,
    .irqfd = kvm_irqfd,
    .set_msi_routes = kvm_set_msi_routes,
    .ioeventfd = kvm_ioeventfd,
    .coalesce = kvm_coalesce,
    .run = kvm_run,
    .pause = kvm_pause,
    .hold = kvm_hold,
    .hold_wait = kvm_hold_wait,
    .vcpu_new = kvm_vcpu_new,
    .vcpu_prepare = kvm_vcpu_prepare,
    .vcpu_start = kvm_vcpu_start,
    .vcpu_free = kvm_vcpu_free,
    .vcpu_reset = kvm_vcpu_reset,
    .vcpu_set_boot = kvm_vcpu_set_boot,
    .vcpu_dump = kvm_vcpu_dump,
    .vcpu_nmi = kvm_vcpu_nmi,
    .vcpu_get_cpuid = kvm_vcpu_get_cpuid,
    .vcpu_save = kvm_vcpu_save,
    .vcpu_load = kvm_vcpu_load,
    .irqchip_reset = kvm_irqchip_reset,
    .irqchip_save = kvm_irqchip_save,
    .irqchip_load = kvm_irqchip_load,
    .supported_cpuid = kvm_supported_cpuid,
    .feature_msrs = kvm_feature_msrs,
    .phys_bits = kvm_phys_bits,
    .has_cap = kvm_has_cap,
};

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vm.c - the life cycle that both accelerators share: creation, run, pause, hold, and what other threads
 * post to the main thread.
 *
 * Two atomic words decide whether a vCPU may pass its safe point: `running` (main thread: between
 * vm_run() and the end of vm_pause()) and `hold`. An accelerator's vCPU runs while running && !hold. The hold has two parts: a
 * bit that any thread sets and only vm_run() clears, and a count of brief holds that vm_run() leaves alone. So the
 * main thread, moving a window for one vCPU, does not let another run past its own power-off, and a `cont` at
 * that moment does not let any run before the window has moved. The hard part is vm_hold() from a vCPU thread inside
 * a region hook, under a device lock: it only sets the word and lets the accelerator hurry the others; nobody is waited for.
 *
 * Posts are a list of our own and one GSource whose ready time is set by the poster: an idle source a
 * post would be an allocation in the region hooks and could not be cancelled by its pair (FN, USER).
 */
#include "accel.h"

#include "../common/error.h"
#include "../common/lock.h"

#define DEFAULT_MAX_VCPUS 1024

enum { HOLD = 1, HOLD_BRIEF = 2 }; /* the bit; one of the count above it */

typedef struct {
    void (*fn)(gpointer user);
    gpointer user;
} Post;

struct VmPosts {
    GMutex   lock;  /* leaf */
    GQueue   queue; /* of Post; under lock */
    GSource *source;
};

typedef struct {
    GSource base;
    Vm     *vm;
} PostSource;

/* ---- posts ---- */

static Post *posts_take(VmPosts *p)
{
    LOCK_SCOPE(&p->lock);
    return g_queue_pop_head(&p->queue);
}

/* What was there on entry, so that a post which posts itself again does not starve the main loop. */
void vm_post_run(Vm *vm)
{
    VmPosts *p = vm->posts;
    guint    n;

    {
        LOCK_SCOPE(&p->lock);
        n = p->queue.length;
    }
    while (n-- > 0) {
        g_autofree Post *post = posts_take(p);

        if (!post)
            break; /* cancelled, or run, by one that ran before it */
        post->fn(post->user);
    }
}

static gboolean posts_dispatch(GSource *source, GSourceFunc callback, gpointer user)
{
    Vm      *vm = ((PostSource *)source)->vm;
    VmPosts *p = vm->posts;

    g_source_set_ready_time(source, -1);
    vm_post_run(vm);
    LOCK_SCOPE(&p->lock);
    if (p->queue.length > 0)
        g_source_set_ready_time(source, 0);
    return G_SOURCE_CONTINUE;
}

static const GSourceFuncs post_source_funcs = { .dispatch = posts_dispatch };

static void posts_init(Vm *vm)
{
    VmPosts *p = g_new0(VmPosts, 1);

    g_mutex_init(&p->lock);
    g_queue_init(&p->queue);
    p->source = g_source_new((GSourceFuncs *)&post_source_funcs, sizeof(PostSource));
    ((PostSource *)p->source)->vm = vm;
    g_source_set_static_name(p->source, "vm_post");
    g_source_attach(p->source, vm->context);
    vm->posts = p;
}

static void posts_exit(Vm *vm)
{
    VmPosts *p = g_steal_pointer(&vm->posts);

    g_source_destroy(p->source);
    g_source_unref(p->source);
    g_queue_clear_full(&p->queue, g_free);
    g_mutex_clear(&p->lock);
    g_free(p);
}

void vm_post(Vm *vm, void (*fn)(gpointer user), gpointer user)
{
    VmPosts *p = vm->posts;
    Post    *post = g_new(Post, 1);

    *post = (Post) { fn, user };
    LOCK_SCOPE(&p->lock);
    g_queue_push_tail(&p->queue, post);
    if (p->queue.length == 1)
        g_source_set_ready_time(p->source, 0);
}

void vm_post_cancel(Vm *vm, void (*fn)(gpointer user), gpointer user)
{
    VmPosts *p = vm->posts;

    LOCK_SCOPE(&p->lock);
    for (GList *l = p->queue.head; l;) {
        GList *next = l->next;
        Post  *post = l->data;

        if (post->fn == fn && post->user == user) {
            g_queue_delete_link(&p->queue, l);
            g_free(post);
        }
        l = next;
    }
}

/* ---- creation ---- */

static GMainContext *own_context(void)
{
    GMainContext *context = g_main_context_get_thread_default();

    return g_main_context_ref(context ? context : g_main_context_default());
}

static void vm_release(Vm *vm)
{
    vm->ops->close(vm); /* first: an accelerator may have regions, lines and timers of its own */
    vm_irq_exit(vm);
    vm_bus_exit(vm);
    vm_memory_exit(vm);
    vm_clock_exit(vm);
    posts_exit(vm);
    g_main_context_unref(vm->context);
    g_free(vm);
}

Vm *vm_new(VmAccel accel, const VmObserver *observer, gpointer user, GError **error)
{
    Vm *vm = g_new0(Vm, 1);

    vm->accel = accel;
    vm->ops = accel == VM_ACCEL_KVM ? &accel_kvm_ops : &accel_test_ops;
    vm->observer = observer;
    vm->user = user;
    vm->kvm_fd = vm->vm_fd = -1;
    vm->max_vcpus = DEFAULT_MAX_VCPUS;
    vm->context = own_context();
    posts_init(vm);
    vm_clock_init(vm);
    vm_memory_init(vm);
    vm_bus_init(vm);
    vm_irq_init(vm);
    if (!vm->ops->open(vm, error)) {
        vm_release(vm);
        return NULL;
    }
    return vm;
}

gboolean vm_ready(Vm *vm, GError **error)
{
    return vm->ops->ready ? vm->ops->ready(vm, error) : TRUE;
}

void vm_end(Vm *vm)
{
    vm_pause(vm);
    if (vm->ops->end)
        vm->ops->end(vm);
}

void vm_free(Vm *vm)
{
    if (!vm)
        return;
    vm_pause(vm);
    vm_release(vm);
}

VmAccel vm_accel(const Vm *vm)
{
    return vm->accel;
}

int vm_kvm_fd(const Vm *vm)
{
    return vm->kvm_fd;
}

int vm_fd(const Vm *vm)
{
    return vm->vm_fd;
}

guint vm_max_vcpus(const Vm *vm)
{
    return vm->max_vcpus;
}

gboolean vm_has_cap(const Vm *vm, guint kvm_cap)
{
    return vm->ops->has_cap && vm->ops->has_cap(vm, kvm_cap);
}

/* ---- run, pause, hold ---- */

/* The words are written before the accelerator wakes anybody, so that a woken vCPU sees them. */
void vm_run(Vm *vm)
{
    if (!g_atomic_int_get(&vm->running))
        vm_clock_start(vm);
    g_atomic_int_and(&vm->hold, ~(guint)HOLD);
    g_atomic_int_set(&vm->running, TRUE);
    if (vm->ops->run)
        vm->ops->run(vm);
}

void vm_pause(Vm *vm)
{
    if (!g_atomic_int_get(&vm->running))
        return;
    g_atomic_int_or(&vm->hold, HOLD);
    if (vm->ops->pause)
        vm->ops->pause(vm);
    g_atomic_int_set(&vm->running, FALSE);
    vm_clock_stop(vm);
}

static void hurry(Vm *vm)
{
    if (vm->ops->hold)
        vm->ops->hold(vm);
}

void vm_hold(Vm *vm)
{
    g_atomic_int_or(&vm->hold, HOLD);
    hurry(vm);
}

void vm_hold_brief(Vm *vm)
{
    g_atomic_int_add(&vm->hold, HOLD_BRIEF);
    hurry(vm);
}

void vm_hold_wait(Vm *vm)
{
    g_assert(g_atomic_int_get(&vm->hold));
    if (vm->ops->hold_wait)
        vm->ops->hold_wait(vm);
}

void vm_hold_brief_end(Vm *vm)
{
    guint before = (guint)g_atomic_int_add(&vm->hold, -HOLD_BRIEF);

    g_assert(before >= HOLD_BRIEF);
    if (before == HOLD_BRIEF && g_atomic_int_get(&vm->running) && vm->ops->run)
        vm->ops->run(vm);
}

gboolean vm_running(const Vm *vm)
{
    return g_atomic_int_get(&vm->running);
}

/* ---- interrupt controllers ---- */

void vm_irqchip_reset(Vm *vm)
{
    vm->ops->irqchip_reset(vm);
}

GVariant *vm_irqchip_save(Vm *vm, GError **error)
{
    return vm->ops->irqchip_save(vm, error);
}

gboolean vm_irqchip_load(Vm *vm, GVariant *state, GError **error)
{
    return vm->ops->irqchip_load(vm, state, error);
}

/* ---- host features ---- */

const struct kvm_cpuid2 *vm_supported_cpuid(Vm *vm, GError **error)
{
    return vm->ops->supported_cpuid(vm, error);
}

const struct kvm_msr_entry *vm_feature_msrs(Vm *vm, guint *n, GError **error)
{
    return vm->ops->feature_msrs(vm, n, error);
}

guint vm_phys_bits(Vm *vm)
{
    return vm->ops->phys_bits(vm);
}

/* ---- vCPUs: the accelerator's, by its table (what asks for threads is in vcpu.c) ---- */

Vcpu *vcpu_new(Vm *vm, guint index, guint32 apic_id, const VcpuModel *model, GError **error)
{
    return vm->ops->vcpu_new(vm, index, apic_id, model, error);
}

void vcpu_prepare(Vm *vm, guint32 apic_id, const VcpuModel *model)
{
    if (vm->ops->vcpu_prepare)
        vm->ops->vcpu_prepare(vm, apic_id, model);
}

gboolean vcpu_start(Vcpu *vcpu, GError **error)
{
    return vcpu->vm->ops->vcpu_start(vcpu, error);
}

void vcpu_free(Vcpu *vcpu)
{
    if (vcpu)
        vcpu->vm->ops->vcpu_free(vcpu);
}

guint vcpu_index(const Vcpu *vcpu)
{
    return vcpu->index;
}

guint32 vcpu_apic_id(const Vcpu *vcpu)
{
    return vcpu->apic_id;
}

const guint32 *vcpu_refused_msrs(const Vcpu *vcpu, guint *n)
{
    *n = vcpu->refused ? vcpu->refused->len : 0;
    return *n > 0 ? (const guint32 *)(gpointer)vcpu->refused->data : NULL;
}

gboolean vcpu_reset(Vcpu *vcpu, gboolean bsp, GError **error)
{
    return vcpu->vm->ops->vcpu_reset(vcpu, bsp, error);
}

gboolean vcpu_set_boot(Vcpu *vcpu, const VcpuBoot *boot, GError **error)
{
    return vcpu->vm->ops->vcpu_set_boot(vcpu, boot, error);
}

char *vcpu_dump(Vcpu *vcpu)
{
    return vcpu->vm->ops->vcpu_dump(vcpu);
}

void vcpu_nmi(Vcpu *vcpu)
{
    vcpu->vm->ops->vcpu_nmi(vcpu);
}

gboolean vcpu_get_cpuid(Vcpu *vcpu, struct kvm_cpuid2 **out, GError **error)
{
    return vcpu->vm->ops->vcpu_get_cpuid(vcpu, out, error);
}

GVariant *vcpu_save(Vcpu *vcpu, GError **error)
{
    return vcpu->vm->ops->vcpu_save(vcpu, error);
}

gboolean vcpu_load(Vcpu *vcpu, GVariant *state, GError **error)
{
    return vcpu->vm->ops->vcpu_load(vcpu, state, error);
}

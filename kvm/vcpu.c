/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vcpu.c - vCPU threads: the run loop, the kick, parking, pause and hold.
 *
 * No stop may be lost between a thread's look at the request words and its KVM_RUN. The requester writes the word (Vm.hold or
 * KvmVcpu.stop), then signals. The signal's handler writes immediate_exit into the run page of the thread it
 * runs on. The thread clears immediate_exit *before* it looks at the words:
 *
 *   thread                               requester
 *   immediate_exit = 0                   word = 1
 *   look at the words: nothing           signal
 *   KVM_RUN                              (handler, anywhere in the left column: immediate_exit = 1)
 *
 * A signal before the clearing means that the word was written before the look; one after it makes this or the next
 * KVM_RUN return at once. So one signal is enough, and nobody has to repeat it.
 *
 * Safe point: between two KVM_RUNs, with nothing half done. An exit for I/O is finished by KVM only on the
 * next entry, so a thread that stops enters once more with immediate_exit set, which finishes the instruction and
 * runs no other. Then it is `parked` and its registers belong to the main thread.
 *
 * KvmState.lock guards parked, quit, call and the list of vCPUs, and is held while signalling: a thread that is not parked
 * can not have ended, so its pthread_t is good. It is a leaf: vm_hold() takes it under device locks.
 */
#include "kvm-accel.h"

#include <errno.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

/* One below the last: the first few belong to the C library's and others' timers. */
#define KICK_SIGNAL (SIGRTMAX - 1)

static __thread KvmVcpu        *current_vcpu;
static __thread struct kvm_run *current_run;

/* ---- the kick ---- */

#ifdef __has_feature
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1 /* gcc's name */
#endif
#endif

#ifdef __SANITIZE_THREAD__
/* ThreadSanitizer delivers signals late: at the end of the next intercepted call, which would be after a KVM_RUN
 * that should not have started. This name goes past it. */
extern int __sigaction(int sig, const struct sigaction *act, struct sigaction *old);
#define sigaction_direct __sigaction
#define NOT_INSTRUMENTED __attribute__((no_sanitize("thread")))
#else
#define sigaction_direct sigaction
#define NOT_INSTRUMENTED
#endif

NOT_INSTRUMENTED static void on_kick(int sig)
{
    struct kvm_run *run = current_run;

    if (run)
        *(volatile __u8 *)&run->immediate_exit = 1;
}

/* The handler is the same for every Vm of the process, so installing it again changes nothing. SA_RESTART is for
 * system calls of region hooks; KVM_RUN returns EINTR regardless. */
gboolean vcpu_kick_init(GError **error)
{
    struct sigaction act = { .sa_handler = on_kick, .sa_flags = SA_RESTART };
    sigset_t         set;

    sigemptyset(&act.sa_mask);
    if (sigaction_direct(KICK_SIGNAL, &act, NULL) < 0)
        return error_set_errno(error, errno, "the vCPU threads' signal %d can not be installed", KICK_SIGNAL);
    sigemptyset(&set);
    sigaddset(&set, KICK_SIGNAL);
    pthread_sigmask(SIG_BLOCK, &set, NULL); /* and in all threads that this one starts */
    return TRUE;
}

/* KvmState.lock held. */
static void kick_locked(KvmVcpu *v)
{
    if (!v->parked && v != current_vcpu)
        pthread_kill(v->pthread, KICK_SIGNAL);
}

/* ---- the thread ---- */

static gboolean wants_stop(const KvmVcpu *v)
{
    return g_atomic_int_get(&v->base.vm->hold) || g_atomic_int_get(&v->stop);
}

static void set_immediate_exit(KvmVcpu *v, __u8 value)
{
    *(volatile __u8 *)&v->core->run->immediate_exit = value;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* An access that spans pages, or a string instruction, comes back with its next part: at most 1024 of them. */
static void finish_io(KvmVcpu *v)
{
    while (v->io_pending) {
        set_immediate_exit(v, 1);
        v->io_pending = FALSE;
        if (ioctl(v->core->fd, KVM_RUN, 0) == 0)
            vcpu_exit(v);
    }
}

static gboolean may_run_locked(const KvmVcpu *v)
{
    const Vm *vm = v->base.vm;

    return g_atomic_int_get(&vm->running) && !g_atomic_int_get(&vm->hold) && !g_atomic_int_get(&v->stop);
}

static void serve_call_locked(KvmVcpu *v)
{
    if (!v->call)
        return;
    v->call(v, v->call_user);
    v->call = NULL;
    g_atomic_int_set(&v->stop, FALSE);
    g_cond_broadcast(&v->base.vm->kvm->at_rest);
}

/* At the safe point until the machine runs; FALSE if the thread shall end. */
static gboolean park(KvmVcpu *v)
{
    Vm       *vm = v->base.vm;
    KvmState *s = vm->kvm;
    gboolean  quit, was_paused = FALSE;

    finish_io(v);
    g_mutex_lock(&s->lock);
    serve_call_locked(v);
    if (!v->quit && !may_run_locked(v)) {
        v->parked = TRUE;
        g_cond_broadcast(&s->at_rest);
        while (!v->quit && !may_run_locked(v))
            g_cond_wait(&s->wake, &s->lock);
        was_paused = TRUE;
    }
    quit = v->quit;
    v->parked = quit;
    if (was_paused && !quit && v->core->ran && s->kvmclock_ctrl)
        ioctl(v->core->fd, KVM_KVMCLOCK_CTRL, 0); /* the guest's watchdogs forgive the gap; EINVAL: it has no kvmclock */
    v->core->ran |= !quit;
    g_mutex_unlock(&s->lock);
    return !quit;
}

/* Only the kick and what tells of our own bugs gets through: SIGTERM and the like are the main thread's. */
static void thread_signals(void)
{
    static const int open_signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGPROF };
    sigset_t         set;

    sigfillset(&set);
    sigdelset(&set, KICK_SIGNAL);
    for (guint i = 0; i < G_N_ELEMENTS(open_signals); i++)
        sigdelset(&set, open_signals[i]);
    pthread_sigmask(SIG_SETMASK, &set, NULL);
}

static void thread_begin(KvmVcpu *v)
{
    KvmState *s = v->base.vm->kvm;

    current_run = v->core->run;
    current_vcpu = v;
    thread_signals();
    iobus_thread_enter(v->base.vm);
    LOCK_SCOPE(&s->lock);
    v->pthread = pthread_self();
    g_atomic_int_set(&v->base.thread_id, (gint)syscall(SYS_gettid));
    g_cond_broadcast(&s->at_rest);
}

static gpointer vcpu_thread(gpointer user)
{
    KvmVcpu *v = user;
    int      fd = v->core->fd;

    thread_begin(v);
    if (park(v)) {
        for (;;) {
            set_immediate_exit(v, 0);
            if (G_UNLIKELY(wants_stop(v))) {
                if (!park(v))
                    break;
                continue;
            }
            if (G_LIKELY(ioctl(fd, KVM_RUN, 0) == 0)) {
                vcpu_exit(v);
            } else {
                v->io_pending = FALSE; /* whatever it was, this entry finished it */
                if (errno != EINTR && errno != EAGAIN)
                    vcpu_run_failed(v, errno);
            }
        }
    }
    iobus_thread_leave(v->base.vm);
    current_run = NULL;
    current_vcpu = NULL;
    return NULL;
}

gboolean vcpu_is_current(const Vcpu *vcpu)
{
    return current_vcpu && &current_vcpu->base == vcpu;
}

/* A thread that was just started may not have said its number yet. Under the test accelerator the number is
 * there from the start. */
pid_t vcpu_thread_id(const Vcpu *vcpu)
{
    KvmState *s = vcpu->vm->kvm;
    gint      id = g_atomic_int_get(&vcpu->thread_id);

    if (id != 0 || !s || !((const KvmVcpu *)vcpu)->thread)
        return id;
    LOCK_SCOPE(&s->lock);
    while ((id = g_atomic_int_get(&vcpu->thread_id)) == 0)
        g_cond_wait(&s->at_rest, &s->lock);
    return id;
}

/* ---- the whole machine: main thread, but for hold ---- */

void kvm_run(Vm *vm)
{
    KvmState *s = vm->kvm;

    if (!kvm_chips_ready(vm, NULL))
        return;
    if (!s->started)
        kvm_coalesced_flush_zones(vm);
    kvm_clock_thaw(vm);
    LOCK_SCOPE(&s->lock);
    g_cond_broadcast(&s->wake);
}

void kvm_hold(Vm *vm)
{
    KvmState *s = vm->kvm;

    LOCK_SCOPE(&s->lock);
    for (guint i = 0; i < s->vcpus->len; i++)
        kick_locked(g_ptr_array_index(s->vcpus, i));
}

void kvm_hold_wait(Vm *vm)
{
    KvmState *s = vm->kvm;

    LOCK_SCOPE(&s->lock);
    for (guint i = 0; i < s->vcpus->len; i++) {
        const KvmVcpu *v = g_ptr_array_index(s->vcpus, i);

        while (!v->parked)
            g_cond_wait(&s->at_rest, &s->lock);
    }
}

void kvm_pause(Vm *vm)
{
    KvmState *s = vm->kvm;

    kvm_hold(vm);
    kvm_hold_wait(vm);
    kvm_coalesced_drain(vm);
    if (s->started)
        kvm_clock_freeze(vm);
}

/* ---- one vCPU: main thread ---- */

Vcpu *kvm_vcpu_new(Vm *vm, guint index, guint32 apic_id, const VcpuModel *model, GError **error)
{
    KvmVcpu *v;

    if (!kvm_chips_ready(vm, error))
        return NULL;
    v = g_new0(KvmVcpu, 1);
    v->base = (Vcpu) { .vm = vm, .index = index, .apic_id = apic_id };
    v->base.refused = g_array_new(FALSE, FALSE, sizeof(guint32));
    v->parked = TRUE;
    v->core = vcpu_core_get(vm, apic_id, model, v->base.refused, error);
    if (!v->core) {
        kvm_vcpu_free(&v->base);
        return NULL;
    }
    return &v->base;
}

/* The thread counts as parked until it first leaves its safe point, so nobody waits for it to come up. */
gboolean kvm_vcpu_start(Vcpu *vcpu, GError **error)
{
    KvmVcpu  *v = (KvmVcpu *)vcpu;
    KvmState *s = vcpu->vm->kvm;
    char      name[16];

    g_assert(!v->thread);
    if (!vcpu_core_snapshot(vcpu->vm, v->core, error))
        return FALSE;
    g_snprintf(name, sizeof name, "CPU %u/KVM", vcpu->index);
    LOCK_SCOPE(&s->lock); /* a vm_hold() from another CPU finds the thread in the list, or not yet running */
    v->thread = g_thread_try_new(name, vcpu_thread, v, error);
    if (v->thread)
        g_ptr_array_add(s->vcpus, v);
    return v->thread != NULL;
}

static void end_thread(KvmVcpu *v)
{
    KvmState *s = v->base.vm->kvm;

    {
        LOCK_SCOPE(&s->lock);
        v->quit = TRUE;
        g_atomic_int_set(&v->stop, TRUE);
        kick_locked(v);
        g_cond_broadcast(&s->wake);
        g_ptr_array_remove_fast(s->vcpus, v);
    }
    g_thread_join(g_steal_pointer(&v->thread));
}

void kvm_vcpu_free(Vcpu *vcpu)
{
    KvmVcpu *v = (KvmVcpu *)vcpu;

    if (v->thread)
        end_thread(v);
    if (v->core)
        vcpu_core_park(vcpu->vm, v->core);
    g_array_unref(vcpu->refused);
    g_free(v);
}

/* KVM holds a vCPU for itself while it runs, and a halted guest may stay there for ever: so no ioctl on a vCPU that
 * is not parked, but on its own thread. */
void vcpu_call(KvmVcpu *v, void (*fn)(KvmVcpu *v, gpointer user), gpointer user)
{
    KvmState *s = v->base.vm->kvm;

    LOCK_SCOPE(&s->lock);
    if (v->parked) {
        fn(v, user);
        return;
    }
    v->call = fn;
    v->call_user = user;
    g_atomic_int_set(&v->stop, TRUE);
    kick_locked(v);
    while (v->call)
        g_cond_wait(&s->at_rest, &s->lock);
}

static void call_dump(KvmVcpu *v, gpointer user)
{
    *(char **)user = vcpu_core_dump(v->core);
}

char *kvm_vcpu_dump(Vcpu *vcpu)
{
    char *text = NULL;

    vcpu_call((KvmVcpu *)vcpu, call_dump, &text);
    return text;
}

static void call_nmi(KvmVcpu *v, gpointer user)
{
    v->core->fresh = FALSE;
    if (ioctl(v->core->fd, KVM_NMI, 0) < 0)
        g_warning("KVM_NMI to CPU %u: %s", v->base.index, g_strerror(errno));
}

void kvm_vcpu_nmi(Vcpu *vcpu)
{
    vcpu_call((KvmVcpu *)vcpu, call_nmi, NULL);
}

typedef struct {
    struct kvm_cpuid2 *table;
    int                err;
} CpuidCall;

/* KVM answers with what it made of the table: never more entries than it was given. */
static void call_cpuid(KvmVcpu *v, gpointer user)
{
    CpuidCall *c = user;

    c->table = g_malloc0(sizeof *c->table + v->core->n_cpuid * sizeof c->table->entries[0]);
    c->table->nent = v->core->n_cpuid;
    c->err = KVM_IOCTL(v->core->fd, KVM_GET_CPUID2, c->table) < 0 ? errno : 0;
}

gboolean kvm_vcpu_get_cpuid(Vcpu *vcpu, struct kvm_cpuid2 **out, GError **error)
{
    CpuidCall c = { 0 };

    vcpu_call((KvmVcpu *)vcpu, call_cpuid, &c);
    if (c.err) {
        g_free(c.table);
        return error_set_errno(error, c.err, "KVM_GET_CPUID2 of CPU %u", vcpu->index);
    }
    *out = c.table;
    return TRUE;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * clock.c - the virtual clock and its timers.
 *
 * The clock is one atomic word, so that a guest reading its PM timer costs no lock: while the
 * machine runs it holds the difference CLOCK_MONOTONIC - virtual, while it is stopped the virtual
 * time itself; the lowest bit says which (62 bits of ns last 146 years). Under the test accelerator
 * it is always the stopped form, and moved by vm_clock_step_to().
 *
 * Timers stand in an array sorted by deadline, then by order of setting. One GSource wakes the main
 * loop at the earliest deadline. `armed` remembers what it is set to: a later or cancelled deadline
 * leaves it alone (one spurious wake-up at most, then it is right again), so setting a timer from a
 * vCPU thread costs a system call only when the earliest deadline became earlier. No timer, or a
 * stopped machine: no ready time, no wake-up.
 *
 * Locks: a device's lock, then clock->lock. A callback is due when its timer is first in the array,
 * but the device lock it needs comes before ours. So we look, let go, take the device lock, and
 * look again: a timer that was cancelled or moved by the lock's holder meanwhile is not run. Only
 * the main thread runs and frees timers, so the pointer stays good in between.
 */
#include "accel.h"

#include <time.h>

#define NOT_SET (-1)
#define NS_PER_US 1000
/* Callbacks in a row before other sources of the main loop get their turn. */
#define DISPATCH_BATCH 256
/* 2026-01-01 00:00:00 UTC: where the test accelerator's calendar starts. */
#define TEST_EPOCH_NS (G_GINT64_CONSTANT(1767225600) * 1000000000)

struct VmTimer {
    VmClock *clock;
    GMutex  *lock; /* the device's; NULL: none */
    void (*cb)(gpointer user);
    gpointer user;
    gint64   deadline; /* NOT_SET or ns; clock->lock */
    guint64  seq;      /* orders timers of one deadline; clock->lock */
};

struct VmClock {
    Vm       *vm;
    gint64    state; /* atomic: see above */
    GMutex    lock;
    GPtrArray *timers; /* of VmTimer that are set, sorted; lock */
    guint64   seq;     /* lock */
    gint64    armed;   /* deadline that the source is set to, or NOT_SET; lock */
    guint     n_alive; /* timers that exist; main thread */
    GSource  *source;
};

typedef struct {
    GSource  source;
    VmClock *clock;
} ClockSource;

/* ---- the clock ---- */

static gint64 host_ns(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (gint64)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static gint64 state_pack(gint64 value, gboolean passing)
{
    return (gint64)((guint64)value << 1 | (passing ? 1 : 0));
}

static gint64 state_now(gint64 state)
{
    gint64 value = state >> 1;

    return state & 1 ? host_ns(CLOCK_MONOTONIC) - value : value;
}

static gint64 clock_state(const VmClock *clock)
{
    return __atomic_load_n(&clock->state, __ATOMIC_ACQUIRE);
}

static gboolean clock_passes(const VmClock *clock)
{
    return clock_state(clock) & 1;
}

gint64 vm_clock_ns(const Vm *vm)
{
    return state_now(clock_state(vm->clock));
}

gint64 vm_utc_ns(const Vm *vm)
{
    if (vm->accel == VM_ACCEL_TEST)
        return TEST_EPOCH_NS + vm_clock_ns(vm);
    return host_ns(CLOCK_REALTIME);
}

/* ---- the sorted array ---- */

static VmTimer *timer_at(const VmClock *clock, guint i)
{
    return g_ptr_array_index(clock->timers, i);
}

/* The first position whose timer comes after (DEADLINE, SEQ). */
static guint timers_upper_bound(const VmClock *clock, gint64 deadline, guint64 seq)
{
    guint lo = 0, hi = clock->timers->len;

    while (lo < hi) {
        guint mid = lo + (hi - lo) / 2;
        const VmTimer *t = timer_at(clock, mid);

        if (t->deadline < deadline || (t->deadline == deadline && t->seq <= seq))
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void timer_take_out(VmTimer *timer)
{
    VmClock *clock = timer->clock;
    guint after;

    if (timer->deadline == NOT_SET)
        return;
    after = timers_upper_bound(clock, timer->deadline, timer->seq);
    g_assert(after > 0 && timer_at(clock, after - 1) == timer);
    g_ptr_array_remove_index(clock->timers, after - 1);
    timer->deadline = NOT_SET;
}

/* ---- waking the main loop ---- */

/* Lock held. Sets the source to the earliest deadline if that is earlier than what it is set to. */
static void clock_arm(VmClock *clock)
{
    gint64 state = clock_state(clock), earliest, mono;

    if (!(state & 1) || clock->timers->len == 0)
        return;
    earliest = timer_at(clock, 0)->deadline;
    if (clock->armed != NOT_SET && clock->armed <= earliest)
        return;
    clock->armed = earliest;
    /* Rounded up: a source that is ready before its deadline would spin for the rest of the
     * microsecond. */
    if (__builtin_add_overflow(earliest, state >> 1, &mono))
        mono = G_MAXINT64 - NS_PER_US;
    g_source_set_ready_time(clock->source, MAX(mono, 0) / NS_PER_US + (mono % NS_PER_US != 0));
}

static void clock_disarm(VmClock *clock)
{
    clock->armed = NOT_SET;
    g_source_set_ready_time(clock->source, -1);
}

/* ---- running timers ---- */

/* Main thread. Runs the first timer if it is due at NOW. */
static gboolean clock_run_one(VmClock *clock, gint64 now)
{
    VmTimer *timer = NULL;
    GMutex *device_lock;
    gboolean due;

    g_mutex_lock(&clock->lock);
    if (clock->timers->len > 0 && timer_at(clock, 0)->deadline <= now)
        timer = timer_at(clock, 0);
    g_mutex_unlock(&clock->lock);
    if (!timer)
        return FALSE;

    device_lock = timer->lock;
    if (device_lock)
        g_mutex_lock(device_lock);
    g_mutex_lock(&clock->lock);
    due = timer->deadline != NOT_SET && timer->deadline <= now;
    if (due)
        timer_take_out(timer);
    g_mutex_unlock(&clock->lock);
    if (due)
        timer->cb(timer->user); /* may free a timer that has no lock: it is not touched any more */
    if (device_lock)
        g_mutex_unlock(device_lock);
    return TRUE;
}

static gboolean clock_dispatch(GSource *source, GSourceFunc callback, gpointer user)
{
    VmClock *clock = ((ClockSource *)source)->clock;

    g_mutex_lock(&clock->lock);
    clock_disarm(clock);
    g_mutex_unlock(&clock->lock);
    for (guint i = 0; i < DISPATCH_BATCH; i++) {
        /* A callback may have stopped the machine. */
        if (!clock_passes(clock) || !clock_run_one(clock, vm_clock_ns(clock->vm)))
            break;
    }
    g_mutex_lock(&clock->lock);
    clock_arm(clock);
    g_mutex_unlock(&clock->lock);
    return G_SOURCE_CONTINUE;
}

static const GSourceFuncs clock_source_funcs = { .dispatch = clock_dispatch };

/* ---- life cycle ---- */

void vm_clock_init(Vm *vm)
{
    VmClock *clock = g_new0(VmClock, 1);

    clock->vm = vm;
    clock->state = state_pack(0, FALSE);
    clock->armed = NOT_SET;
    clock->timers = g_ptr_array_new();
    g_mutex_init(&clock->lock);
    clock->source = g_source_new((GSourceFuncs *)&clock_source_funcs, sizeof(ClockSource));
    ((ClockSource *)clock->source)->clock = clock;
    g_source_set_static_name(clock->source, "virtual clock");
    g_source_attach(clock->source, vm->context);
    vm->clock = clock;
}

void vm_clock_exit(Vm *vm)
{
    VmClock *clock = vm->clock;

    g_assert(clock->n_alive == 0);
    g_source_destroy(clock->source);
    g_source_unref(clock->source);
    g_ptr_array_unref(clock->timers);
    g_mutex_clear(&clock->lock);
    g_clear_pointer(&vm->clock, g_free);
}

static void clock_set_state(VmClock *clock, gint64 state)
{
    __atomic_store_n(&clock->state, state, __ATOMIC_RELEASE);
}

void vm_clock_start(Vm *vm)
{
    VmClock *clock = vm->clock;

    if (vm->accel == VM_ACCEL_TEST || clock_passes(clock))
        return;
    g_mutex_lock(&clock->lock);
    clock_set_state(clock, state_pack(host_ns(CLOCK_MONOTONIC) - vm_clock_ns(vm), TRUE));
    clock_arm(clock);
    g_mutex_unlock(&clock->lock);
}

void vm_clock_stop(Vm *vm)
{
    VmClock *clock = vm->clock;

    if (!clock_passes(clock))
        return;
    g_mutex_lock(&clock->lock);
    clock_set_state(clock, state_pack(vm_clock_ns(vm), FALSE));
    clock_disarm(clock);
    g_mutex_unlock(&clock->lock);
}

/* Timers that a timer's callback sets within the target run too, each at its own instant. */
gboolean vm_clock_step_to(Vm *vm, gint64 target_ns, guint max_callbacks)
{
    VmClock *clock = vm->clock;

    g_assert(vm->accel == VM_ACCEL_TEST);
    for (guint n = 0;; n++) {
        gint64 next = vm_clock_next_deadline(vm);

        if (next == NOT_SET || next > target_ns)
            break;
        if (n == max_callbacks)
            return FALSE;
        /* A deadline in the past runs now: time never goes back. */
        if (next > vm_clock_ns(vm))
            clock_set_state(clock, state_pack(next, FALSE));
        clock_run_one(clock, vm_clock_ns(vm));
    }
    if (target_ns > vm_clock_ns(vm))
        clock_set_state(clock, state_pack(target_ns, FALSE));
    return TRUE;
}

gint64 vm_clock_next_deadline(Vm *vm)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&vm->clock->lock);

    return vm->clock->timers->len > 0 ? timer_at(vm->clock, 0)->deadline : NOT_SET;
}

/* ---- timers ---- */

VmTimer *vm_timer_new(Vm *vm, GMutex *lock, void (*cb)(gpointer user), gpointer user)
{
    VmTimer *timer = g_new0(VmTimer, 1);

    timer->clock = vm->clock;
    timer->lock = lock;
    timer->cb = cb;
    timer->user = user;
    timer->deadline = NOT_SET;
    vm->clock->n_alive++;
    return timer;
}

void vm_timer_set(VmTimer *timer, gint64 deadline_ns)
{
    VmClock *clock = timer->clock;
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&clock->lock);

    timer_take_out(timer);
    timer->deadline = MAX(deadline_ns, 0);
    timer->seq = clock->seq++;
    g_ptr_array_insert(clock->timers, (gint)timers_upper_bound(clock, timer->deadline, timer->seq),
                       timer);
    clock_arm(clock);
}

void vm_timer_cancel(VmTimer *timer)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&timer->clock->lock);

    timer_take_out(timer);
}

gint64 vm_timer_deadline(const VmTimer *timer)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&timer->clock->lock);

    return timer->deadline;
}

void vm_timer_free(VmTimer *timer)
{
    if (!timer)
        return;
    vm_timer_cancel(timer);
    timer->clock->n_alive--;
    g_free(timer);
}

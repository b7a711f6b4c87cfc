/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-clock.c - the virtual clock: stands still while stopped, timers in order and at their own
 * instants, setting and cancelling from other threads, no wake-up without need.
 */
#include "bare-vm.h"

#define MS G_GINT64_CONSTANT(1000000)

static const AccelOps no_ops = { .memory_slot = bare_slot_ok,
                                 .pin_level = bare_no_pin,
                                 .msi_send = bare_no_msi };

typedef struct {
    Vm      *vm;
    VmTimer *timer;
    GString *log;
    char     name;
    gint64   period; /* re-arms itself */
    gint64   at;     /* virtual time of the last call */
    guint    calls;
} Tick;

static void tick(gpointer user)
{
    Tick *t = user;

    t->calls++;
    t->at = vm_clock_ns(t->vm);
    if (t->log)
        g_string_append_printf(t->log, "%c%" G_GINT64_FORMAT " ", t->name, t->at);
    if (t->period)
        vm_timer_set(t->timer, t->at + t->period);
}

static void tick_init(Tick *t, Vm *vm, GMutex *lock, GString *log, char name)
{
    *t = (Tick){ .vm = vm, .log = log, .name = name };
    t->timer = vm_timer_new(vm, lock, tick, t);
}

/* ---- manual: the test accelerator ---- */

static void test_step(void)
{
    Vm *vm = bare_vm_new(VM_ACCEL_TEST, &no_ops);
    g_autoptr(GString) log = g_string_new(NULL);
    Tick a, b, c;

    tick_init(&a, vm, NULL, log, 'a');
    tick_init(&b, vm, NULL, log, 'b');
    tick_init(&c, vm, NULL, log, 'c');
    g_assert_cmpint(vm_clock_next_deadline(vm), ==, -1);
    vm_timer_set(b.timer, 200);
    vm_timer_set(a.timer, 100);
    vm_timer_set(c.timer, 200); /* the same instant: in the order of setting */
    a.period = 70;
    g_assert_cmpint(vm_clock_next_deadline(vm), ==, 100);
    g_assert_cmpint(vm_timer_deadline(a.timer), ==, 100);

    g_assert_true(vm_clock_step_to(vm, 99, 1000));
    g_assert_cmpstr(log->str, ==, "");
    g_assert_cmpint(vm_clock_ns(vm), ==, 99);
    g_assert_true(vm_clock_step_to(vm, 240, 1000));
    g_assert_cmpstr(log->str, ==, "a100 a170 b200 c200 a240 ");
    g_assert_cmpint(vm_timer_deadline(b.timer), ==, -1);
    g_assert_cmpint(vm_timer_deadline(a.timer), ==, 310);

    /* Time does not go back, and a deadline in the past runs now. */
    g_assert_true(vm_clock_step_to(vm, 5, 1000));
    g_assert_cmpint(vm_clock_ns(vm), ==, 240);
    vm_timer_set(b.timer, -7);
    g_assert_cmpint(vm_timer_deadline(b.timer), ==, 0);
    vm_timer_cancel(a.timer);
    g_assert_true(vm_clock_step_to(vm, 241, 1000));
    g_assert_cmpint(b.at, ==, 240);
    g_assert_cmpint(vm_clock_next_deadline(vm), ==, -1);
    g_assert_cmpint(vm_utc_ns(vm), ==, G_GINT64_CONSTANT(1767225600000000241));

    vm_timer_free(a.timer);
    vm_timer_free(b.timer);
    vm_timer_free(c.timer);
    bare_vm_free(vm);
}

static void test_step_gives_up(void)
{
    Vm *vm = bare_vm_new(VM_ACCEL_TEST, &no_ops);
    Tick t;

    tick_init(&t, vm, NULL, NULL, 't');
    t.period = 1;
    vm_timer_set(t.timer, 1);
    g_assert_false(vm_clock_step_to(vm, G_MAXINT64 / 2, 50));
    g_assert_cmpuint(t.calls, ==, 50);
    g_assert_cmpint(vm_clock_ns(vm), ==, 50);
    vm_timer_free(t.timer);
    bare_vm_free(vm);
}

/* The machine's run and pause do not move a manual clock. */
static void test_manual_ignores_run(void)
{
    Vm *vm = bare_vm_new(VM_ACCEL_TEST, &no_ops);

    vm_clock_start(vm);
    g_usleep(2000);
    g_assert_cmpint(vm_clock_ns(vm), ==, 0);
    vm_clock_stop(vm);
    bare_vm_free(vm);
}

static void free_self(gpointer user)
{
    vm_timer_free(*(VmTimer **)user);
}

static void test_free_in_callback(void)
{
    Vm *vm = bare_vm_new(VM_ACCEL_TEST, &no_ops);
    VmTimer *timer;

    timer = vm_timer_new(vm, NULL, free_self, &timer);
    vm_timer_set(timer, 10);
    g_assert_true(vm_clock_step_to(vm, 20, 10));
    bare_vm_free(vm);
}

/* Many timers in random order run in order. */
static void test_random_order(void)
{
    Vm *vm = bare_vm_new(VM_ACCEL_TEST, &no_ops);
    const char *env = g_getenv("TEST_SEED");
    guint32 seed = env ? (guint32)g_ascii_strtoull(env, NULL, 0) : g_random_int();
    g_autoptr(GRand) rnd = g_rand_new_with_seed(seed);
    Tick t[200];
    gint64 last = 0;

    g_test_message("TEST_SEED=%u", seed);
    for (guint i = 0; i < G_N_ELEMENTS(t); i++)
        tick_init(&t[i], vm, NULL, NULL, 'x');
    for (guint i = 0; i < 2000; i++) {
        Tick *one = &t[g_rand_int_range(rnd, 0, G_N_ELEMENTS(t))];

        if (g_rand_int_range(rnd, 0, 4) == 0)
            vm_timer_cancel(one->timer);
        else
            vm_timer_set(one->timer, g_rand_int_range(rnd, 1, 500));
    }
    while (vm_clock_next_deadline(vm) >= 0) {
        gint64 next = vm_clock_next_deadline(vm);

        g_assert_cmpint(next, >, last);
        for (guint i = 0; i < G_N_ELEMENTS(t); i++)
            g_assert_true(vm_timer_deadline(t[i].timer) == -1 ||
                          vm_timer_deadline(t[i].timer) >= next);
        g_assert_true(vm_clock_step_to(vm, next, G_N_ELEMENTS(t)));
        last = next;
    }
    for (guint i = 0; i < G_N_ELEMENTS(t); i++)
        vm_timer_free(t[i].timer);
    bare_vm_free(vm);
}

/* ---- real time ---- */

static void test_stands_still(void)
{
    Vm *vm = bare_vm_new(VM_ACCEL_KVM, &no_ops);
    gint64 a, b;

    g_assert_cmpint(vm_clock_ns(vm), ==, 0);
    vm_clock_start(vm);
    g_usleep(3000);
    vm_clock_stop(vm);
    a = vm_clock_ns(vm);
    g_assert_cmpint(a, >=, 3 * MS);
    g_usleep(3000);
    g_assert_cmpint(vm_clock_ns(vm), ==, a);
    vm_clock_start(vm);
    b = vm_clock_ns(vm);
    g_assert_cmpint(b, >=, a);
    g_assert_cmpint(b, <, a + 3000 * MS);
    g_assert_cmpint(vm_utc_ns(vm) / 1000 / MS, >=, g_get_real_time() / 1000000 - 1);
    vm_clock_stop(vm);
    bare_vm_free(vm);
}

static void test_runs_on_main_loop(void)
{
    Vm *vm = bare_vm_new(VM_ACCEL_KVM, &no_ops);
    GMutex lock;
    Tick t;

    g_mutex_init(&lock);
    tick_init(&t, vm, &lock, NULL, 't');
    vm_timer_set(t.timer, 2 * MS);
    /* Stopped: not even when its time has come. */
    g_usleep(4000);
    g_assert_false(g_main_context_iteration(NULL, FALSE));
    vm_clock_start(vm);
    while (t.calls == 0)
        g_main_context_iteration(NULL, TRUE);
    g_assert_cmpint(t.at, >=, 2 * MS);
    g_assert_true(g_mutex_trylock(&lock));
    g_mutex_unlock(&lock);
    /* Nothing left: nothing is ready. */
    while (g_main_context_iteration(NULL, FALSE))
        ;
    vm_clock_stop(vm);
    vm_timer_free(t.timer);
    g_mutex_clear(&lock);
    bare_vm_free(vm);
}

typedef struct {
    Tick   *tick;
    GMutex *lock;
    gint    done;
} Setter;

static gpointer set_and_cancel(gpointer user)
{
    Setter *s = user;

    for (guint i = 0; i < 2000; i++) {
        g_mutex_lock(s->lock);
        if (i % 3 == 2)
            vm_timer_cancel(s->tick->timer);
        else
            vm_timer_set(s->tick->timer, vm_clock_ns(s->tick->vm) + (i % 7) * 1000);
        g_mutex_unlock(s->lock);
        vm_timer_deadline(s->tick->timer);
    }
    g_atomic_int_set(&s->done, TRUE);
    g_main_context_wakeup(NULL);
    return NULL;
}

/* Tick's fields are guarded by the lock that the callback runs under: TSan checks that it does. */
static void test_threads(void)
{
    Vm *vm = bare_vm_new(VM_ACCEL_KVM, &no_ops);
    GMutex locks[3];
    Tick ticks[3];
    Setter setters[3];
    GThread *threads[3];
    guint calls = 0;

    vm_clock_start(vm);
    for (guint i = 0; i < 3; i++) {
        g_mutex_init(&locks[i]);
        tick_init(&ticks[i], vm, &locks[i], NULL, 't');
        setters[i] = (Setter){ &ticks[i], &locks[i], FALSE };
        threads[i] = g_thread_new("setter", set_and_cancel, &setters[i]);
    }
    for (guint i = 0; i < 3; i++) {
        while (!g_atomic_int_get(&setters[i].done))
            g_main_context_iteration(NULL, TRUE);
        g_thread_join(threads[i]);
    }
    for (guint i = 0; i < 3; i++) {
        vm_timer_free(ticks[i].timer);
        calls += ticks[i].calls;
        g_mutex_clear(&locks[i]);
    }
    g_test_message("%u callbacks", calls);
    vm_clock_stop(vm);
    bare_vm_free(vm);
}

static gpointer cancel_under_lock(gpointer user)
{
    Setter *s = user;

    g_mutex_lock(s->lock);
    g_atomic_int_set(&s->done, TRUE);
    g_usleep(5000); /* the main thread now waits for the lock with the timer due */
    vm_timer_cancel(s->tick->timer);
    g_mutex_unlock(s->lock);
    return NULL;
}

/* Who holds the device lock and cancels will not see a callback afterwards. */
static void test_cancel_wins(void)
{
    Vm *vm = bare_vm_new(VM_ACCEL_KVM, &no_ops);
    GMutex lock;
    Tick t;
    Setter s = { &t, &lock, FALSE };
    GThread *thread;

    g_mutex_init(&lock);
    tick_init(&t, vm, &lock, NULL, 't');
    thread = g_thread_new("canceller", cancel_under_lock, &s);
    while (!g_atomic_int_get(&s.done))
        g_thread_yield();
    vm_timer_set(t.timer, 0);
    vm_clock_start(vm);
    g_main_context_iteration(NULL, TRUE);
    g_thread_join(thread);
    while (g_main_context_iteration(NULL, FALSE))
        ;
    g_assert_cmpuint(t.calls, ==, 0);
    vm_clock_stop(vm);
    vm_timer_free(t.timer);
    g_mutex_clear(&lock);
    bare_vm_free(vm);
}

/* A timer that always re-arms itself in the past leaves room for others on the main loop. */
static gboolean set_flag(gpointer user)
{
    *(gboolean *)user = TRUE;
    return G_SOURCE_REMOVE;
}

static void test_no_starvation(void)
{
    Vm *vm = bare_vm_new(VM_ACCEL_KVM, &no_ops);
    gboolean ran = FALSE;
    Tick t;

    tick_init(&t, vm, NULL, NULL, 't');
    t.period = -1000000000;
    vm_timer_set(t.timer, 0);
    vm_clock_start(vm);
    g_idle_add_full(G_PRIORITY_DEFAULT, set_flag, &ran, NULL);
    for (guint i = 0; i < 3 && !ran; i++)
        g_main_context_iteration(NULL, TRUE);
    g_assert_true(ran);
    vm_clock_stop(vm);
    vm_timer_free(t.timer);
    bare_vm_free(vm);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/clock/step", test_step);
    g_test_add_func("/clock/step-gives-up", test_step_gives_up);
    g_test_add_func("/clock/manual-ignores-run", test_manual_ignores_run);
    g_test_add_func("/clock/free-in-callback", test_free_in_callback);
    g_test_add_func("/clock/random-order", test_random_order);
    g_test_add_func("/clock/stands-still", test_stands_still);
    g_test_add_func("/clock/runs-on-main-loop", test_runs_on_main_loop);
    g_test_add_func("/clock/threads", test_threads);
    g_test_add_func("/clock/cancel-wins", test_cancel_wins);
    g_test_add_func("/clock/no-starvation", test_no_starvation);
    return g_test_run();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-iothread.c - I/O threads: eventfds need no reading, calls are waited for, and a watch that is
 * taken away neither runs any more nor is used, whoever takes it.
 */
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../../kvm/iothread.h"

static void kick(int fd)
{
    guint64 one = 1;

    g_assert_cmpint(write(fd, &one, sizeof one), ==, sizeof one);
}

typedef struct {
    IoThread *thread;
    IoWatch  *watch;
    int       fd;
    pid_t     tid;
    gint      calls; /* atomic */
    gboolean  alive; /* no atomic: what unwatch guarantees is enough (TSan) */
} Counter;

static void count(gpointer user)
{
    Counter *c = user;

    g_assert_true(c->alive);
    c->tid = gettid();
    g_atomic_int_inc(&c->calls);
}

static void wait_for(gint *value, gint at_least)
{
    while (g_atomic_int_get(value) < at_least)
        g_thread_yield();
}

static IoThread *thread_new(void)
{
    g_autoptr(GError) error = NULL;
    IoThread *t = iothread_new("io", &error);

    g_assert_no_error(error);
    return t;
}

static void counter_init(Counter *c, IoThread *t, void (*cb)(gpointer))
{
    *c = (Counter){ .thread = t, .fd = eventfd(0, EFD_NONBLOCK), .alive = TRUE };
    c->watch = iothread_watch(t, c->fd, TRUE, cb, c, NULL);
    g_assert_nonnull(c->watch);
}

static void nothing(gpointer user)
{
}

/* One call for each kick, though nobody reads the counter; a kick that nobody watched for is not lost. */
static void test_eventfd(void)
{
    IoThread *t = thread_new();
    Counter c;

    g_assert_cmpint(iothread_id(t), >, 0);
    g_assert_cmpint(iothread_id(t), !=, gettid());
    counter_init(&c, t, count);
    kick(c.fd);
    wait_for(&c.calls, 1);
    kick(c.fd);
    wait_for(&c.calls, 2);
    for (guint i = 0; i < 3; i++)
        iothread_call(t, nothing, NULL); /* it has looked for events since */
    g_assert_cmpint(g_atomic_int_get(&c.calls), ==, 2);
    iothread_unwatch(c.watch);
    g_assert_cmpint(c.tid, ==, iothread_id(t));
    kick(c.fd);
    iothread_call(t, nothing, NULL);
    g_assert_cmpint(g_atomic_int_get(&c.calls), ==, 2);
    c.watch = iothread_watch(t, c.fd, TRUE, count, &c, NULL);
    wait_for(&c.calls, 3);
    iothread_unwatch(c.watch);
    iothread_free(t);
    g_assert_cmpint(c.calls, ==, 3);
    close(c.fd);
}

static void read_byte(gpointer user)
{
    Counter *c = user;
    char byte;

    if (read(c->fd, &byte, 1) == 1)
        g_atomic_int_inc(&c->calls);
}

/* Any other fd is left to the callback, which runs as long as there is something. */
static void test_plain_fd(void)
{
    IoThread *t = thread_new();
    Counter c = { .thread = t };
    int fds[2];

    g_assert_cmpint(pipe(fds), ==, 0);
    c.fd = fds[0];
    c.watch = iothread_watch(t, c.fd, FALSE, read_byte, &c, NULL);
    g_assert_cmpint(write(fds[1], "abc", 3), ==, 3);
    wait_for(&c.calls, 3);
    iothread_unwatch(c.watch);
    iothread_free(t);
    close(fds[0]);
    close(fds[1]);
}

static void test_refused(void)
{
    g_autoptr(GError) error = NULL;
    IoThread *t = thread_new();
    int fd = open("/dev/null", O_RDONLY); /* epoll takes no such thing */
    g_autofree char *want =
        g_strdup_printf("File descriptor %d can not be watched: Operation not permitted", fd);

    g_assert_null(iothread_watch(t, fd, FALSE, count, NULL, &error));
    g_assert_nonnull(error);
    g_assert_cmpstr(error->message, ==, want);
    iothread_free(t);
    close(fd);
}

static void note_tid(gpointer user)
{
    *(pid_t *)user = gettid();
}

static void test_call(void)
{
    IoThread *t = thread_new();
    pid_t tid = 0;

    for (guint i = 0; i < 100; i++) {
        tid = 0;
        iothread_call(t, note_tid, &tid);
        g_assert_cmpint(tid, ==, iothread_id(t));
    }
    iothread_free(t);
}

static gpointer call_many(gpointer user)
{
    for (guint i = 0; i < 500; i++) {
        pid_t tid = 0;

        iothread_call(user, note_tid, &tid);
        g_assert_cmpint(tid, ==, iothread_id(user));
    }
    return NULL;
}

static void test_concurrent_calls(void)
{
    IoThread *t = thread_new();
    GThread *threads[3];

    for (guint i = 0; i < 3; i++)
        threads[i] = g_thread_new("caller", call_many, t);
    for (guint i = 0; i < 3; i++)
        g_thread_join(threads[i]);
    iothread_free(t);
}

static void unwatch_self(gpointer user)
{
    Counter *c = user;

    iothread_unwatch(c->watch);
    g_atomic_int_inc(&c->calls);
}

static void test_unwatch_from_callback(void)
{
    IoThread *t = thread_new();
    Counter c;

    counter_init(&c, t, unwatch_self);
    kick(c.fd);
    wait_for(&c.calls, 1);
    kick(c.fd);
    iothread_free(t); /* asserts that no watch is left */
    g_assert_cmpint(c.calls, ==, 1);
    close(c.fd);
}

static void slow(gpointer user)
{
    Counter *c = user;

    g_atomic_int_inc(&c->calls);
    g_usleep(3000);
    g_assert_true(c->alive);
    c->tid = 1;
}

static void test_unwatch_waits(void)
{
    IoThread *t = thread_new();
    Counter c;

    counter_init(&c, t, slow);
    kick(c.fd);
    wait_for(&c.calls, 1);
    iothread_unwatch(c.watch);
    g_assert_cmpint(c.tid, ==, 1); /* it ran to its end */
    c.alive = FALSE;
    iothread_free(t);
    close(c.fd);
}

/* Two watches ready in one batch: the first callback takes the other away, which must not run. */
typedef struct {
    Counter a, b;
    gint    ran; /* by both */
} Pair;

static void pair_ran(Pair *p, Counter *other)
{
    p->ran++;
    if (other->watch)
        iothread_unwatch(g_steal_pointer(&other->watch));
}

static void first_ran(gpointer user)
{
    pair_ran(user, &((Pair *)user)->b);
}

static void second_ran(gpointer user)
{
    pair_ran(user, &((Pair *)user)->a);
}

static void kick_both(gpointer user)
{
    kick(((Pair *)user)->a.fd);
    kick(((Pair *)user)->b.fd);
}

static void drop_rest(gpointer user)
{
    Pair *p = user;

    if (p->a.watch)
        iothread_unwatch(p->a.watch);
    if (p->b.watch)
        iothread_unwatch(p->b.watch);
}

static void test_unwatch_within_batch(void)
{
    IoThread *t = thread_new();

    for (guint round = 0; round < 50; round++) {
        Pair p = { 0 };

        p.a.fd = eventfd(0, EFD_NONBLOCK);
        p.b.fd = eventfd(0, EFD_NONBLOCK);
        p.a.watch = iothread_watch(t, p.a.fd, TRUE, first_ran, &p, NULL);
        p.b.watch = iothread_watch(t, p.b.fd, TRUE, second_ran, &p, NULL);
        /* On the thread, so that both are ready when it next looks. */
        iothread_call(t, kick_both, &p);
        iothread_call(t, drop_rest, &p);
        g_assert_cmpint(p.ran, <=, 1);
        close(p.a.fd);
        close(p.b.fd);
    }
    iothread_free(t);
}

/* Watches come and go while they fire; each Counter is freed as soon as its watch is gone. */
static void test_churn(void)
{
    IoThread *t = thread_new();
    gint calls = 0;

    for (guint round = 0; round < 2000; round++) {
        Counter *c = g_new0(Counter, 1);

        counter_init(c, t, count);
        kick(c->fd);
        if (round % 4 == 0)
            wait_for(&c->calls, 1);
        iothread_unwatch(c->watch);
        c->alive = FALSE;
        calls += c->calls;
        close(c->fd);
        g_free(c);
    }
    g_assert_cmpint(calls, >=, 500);
    iothread_free(t);
}

typedef struct {
    IoThread *thread;
    IoLater   laters[3];
    gint      calls[3]; /* atomic */
} Laters;

static void late(gpointer calls)
{
    g_atomic_int_inc((gint *)calls);
}

/* Asks for three, calls off the second. */
static void ask(gpointer user)
{
    Laters *l = user;

    for (guint i = 0; i < 3; i++) {
        l->laters[i] = (IoLater){ .fn = late, .user = &l->calls[i] };
        iothread_later(l->thread, &l->laters[i], i * 1000000);
    }
    iothread_not_later(l->thread, &l->laters[1]);
    iothread_not_later(l->thread, &l->laters[1]); /* which is no mistake */
}

static void ask_for_far(gpointer user)
{
    Laters *l = user;

    iothread_later(l->thread, &l->laters[0], G_GINT64_CONSTANT(3600000000000));
}

static void call_off(gpointer user)
{
    Laters *l = user;

    iothread_not_later(l->thread, &l->laters[0]);
}

/* What is asked for comes, once, though nothing else happens; what is called off does not; the thread goes on with all else. */
static void test_later(void)
{
    Laters l = { .thread = thread_new() };
    Counter c;

    counter_init(&c, l.thread, count);
    iothread_call(l.thread, ask, &l);
    wait_for(&l.calls[0], 1);
    wait_for(&l.calls[2], 1);
    iothread_call(l.thread, ask_for_far, &l);
    kick(c.fd);
    wait_for(&c.calls, 1);
    iothread_call(l.thread, call_off, &l);
    iothread_unwatch(c.watch);
    iothread_free(l.thread);
    g_assert_cmpint(l.calls[0], ==, 1);
    g_assert_cmpint(l.calls[1], ==, 0);
    g_assert_cmpint(l.calls[2], ==, 1);
    close(c.fd);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/iothread/eventfd", test_eventfd);
    g_test_add_func("/iothread/plain-fd", test_plain_fd);
    g_test_add_func("/iothread/refused", test_refused);
    g_test_add_func("/iothread/call", test_call);
    g_test_add_func("/iothread/concurrent-calls", test_concurrent_calls);
    g_test_add_func("/iothread/unwatch-from-callback", test_unwatch_from_callback);
    g_test_add_func("/iothread/unwatch-waits", test_unwatch_waits);
    g_test_add_func("/iothread/unwatch-within-batch", test_unwatch_within_batch);
    g_test_add_func("/iothread/churn", test_churn);
    g_test_add_func("/iothread/later", test_later);
    return g_test_run();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-irq.c - wired-OR lines; MSI vectors: masked and pending, the irqfd bound lazily and rebound
 * when the message changes, the route table written in batches, and the main loop as fallback.
 */
#include <sys/eventfd.h>
#include <unistd.h>

#include "../../common/error.h"
#include "bare-vm.h"

typedef struct {
    GString *log;
    GMutex   lock;
    gboolean have_irqfd, fail_routes;
    gint     raised[IRQ_PINS]; /* as the interrupt controller would see it */
} Fake;

static void fake_pin(Vm *vm, guint gsi, gboolean level)
{
    Fake *f = vm->user;

    g_mutex_lock(&f->lock);
    g_assert_cmpint(f->raised[gsi], ==, !level);
    f->raised[gsi] = level;
    g_string_append_printf(f->log, "pin%u=%d ", gsi, level);
    g_mutex_unlock(&f->lock);
}

static void fake_line(Vm *vm, const IrqLine *line, gboolean level)
{
    g_assert_nonnull(irq_line_owner(line));
}

static void fake_send(Vm *vm, guint64 address, guint32 data)
{
    Fake *f = vm->user;

    g_mutex_lock(&f->lock);
    g_string_append_printf(f->log, "msi%" G_GINT64_MODIFIER "x/%x ", address, data);
    g_mutex_unlock(&f->lock);
}

static gboolean fake_irqfd(Vm *vm, int fd, guint gsi, gboolean bind)
{
    Fake *f = vm->user;

    g_mutex_lock(&f->lock);
    if (f->have_irqfd)
        g_string_append_printf(f->log, "%cgsi%u ", bind ? '+' : '-', gsi);
    g_mutex_unlock(&f->lock);
    return f->have_irqfd;
}

static gboolean fake_routes(Vm *vm, const MsiRoute *routes, guint n, GError **error)
{
    Fake *f = vm->user;

    if (f->fail_routes)
        return error_set(error, "no room");
    g_mutex_lock(&f->lock); /* other threads send messages meanwhile */
    g_string_append(f->log, "[");
    for (guint i = 0; i < n; i++)
        g_string_append_printf(f->log, "%s%u:%" G_GINT64_MODIFIER "x/%x", i ? " " : "",
                               routes[i].gsi, routes[i].address, routes[i].data);
    g_string_append(f->log, "] ");
    g_mutex_unlock(&f->lock);
    return TRUE;
}

static const AccelOps ops = {
    .pin_level = fake_pin,
    .line_level = fake_line,
    .msi_send = fake_send,
    .irqfd = fake_irqfd,
    .set_msi_routes = fake_routes,
};

typedef struct {
    Vm  *vm;
    Fake fake;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    f->vm = bare_vm_new(VM_ACCEL_TEST, &ops);
    f->vm->user = &f->fake;
    f->fake.log = g_string_new(NULL);
    f->fake.have_irqfd = TRUE;
    g_mutex_init(&f->fake.lock);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    bare_vm_free(f->vm);
    g_string_free(f->fake.log, TRUE);
    g_mutex_clear(&f->fake.lock);
}

static void settle(void)
{
    while (g_main_context_iteration(NULL, FALSE))
        ;
}

static void expect(Fixture *f, const char *log)
{
    settle();
    g_assert_cmpstr(f->fake.log->str, ==, log);
    g_string_truncate(f->fake.log, 0);
}

static void kick(int fd)
{
    guint64 one = 1;

    g_assert_cmpint(write(fd, &one, sizeof one), ==, sizeof one);
}

/* ---- lines ---- */

static void test_wired_or(Fixture *f, gconstpointer data)
{
    IrqLine *a = irq_line_new(f->vm, 9, "a"), *b = irq_line_new(f->vm, 9, "b"),
            *c = irq_line_new(f->vm, 10, "c");
    guint n;

    irq_line_set(a, TRUE);
    irq_line_set(a, TRUE);
    irq_line_set(b, 2);
    irq_line_set(a, FALSE);
    g_assert_true(irq_line_get(b));
    g_assert_false(irq_line_get(a));
    g_assert_true(irq_pin_level(f->vm, 9));
    irq_line_set(c, TRUE);
    expect(f, "pin9=1 pin10=1 ");
    irq_line_free(b); /* lowers it */
    expect(f, "pin9=0 ");
    g_assert_false(irq_pin_level(f->vm, 9));
    g_assert_true(irq_lines(f->vm, &n)[1] == c);
    g_assert_cmpuint(n, ==, 2);
    irq_line_free(a);
    irq_line_free(c);
    expect(f, "pin10=0 ");
}

static gpointer toggle(gpointer user)
{
    for (guint i = 0; i < 20000; i++)
        irq_line_set(user, i & 1);
    irq_line_set(user, FALSE);
    return NULL;
}

/* Levels reach the controller in order: fake_pin() asserts that each is a change. */
static void test_line_threads(Fixture *f, gconstpointer data)
{
    IrqLine *lines[3];
    GThread *threads[3];

    for (guint i = 0; i < 3; i++) {
        lines[i] = irq_line_new(f->vm, 5, "t");
        threads[i] = g_thread_new("toggle", toggle, lines[i]);
    }
    for (guint i = 0; i < 3; i++)
        g_thread_join(threads[i]);
    g_assert_cmpint(f->fake.raised[5], ==, 0);
    for (guint i = 0; i < 3; i++)
        irq_line_free(lines[i]);
}

/* ---- vectors ---- */

static void test_fire(Fixture *f, gconstpointer data)
{
    MsiVector *v = msi_vector_new(f->vm, "dev");

    /* Masked from birth: remembered, once. */
    msi_vector_fire(v);
    msi_vector_fire(v);
    msi_vector_set(v, 0xfee00000, 0x41, FALSE);
    g_assert_true(msi_vector_take_pending(v));
    g_assert_false(msi_vector_take_pending(v));
    msi_vector_fire(v);
    msi_vector_set(v, 0xfee01000, 0x42, FALSE);
    msi_vector_fire(v);
    /* No fd: no GSI, no route, no irqfd. */
    expect(f, "msifee00000/41 msifee01000/42 ");
    msi_vector_free(v);
}

static void test_irqfd(Fixture *f, gconstpointer data)
{
    MsiVector *a = msi_vector_new(f->vm, "a"), *b = msi_vector_new(f->vm, "b");
    int fd_a = msi_vector_fd(a, NULL);

    g_assert_cmpint(fd_a, >=, 0);
    g_assert_cmpint(msi_vector_fd(b, NULL), >=, 0);
    g_assert_cmpint(msi_vector_fd(a, NULL), ==, fd_a);
    expect(f, ""); /* nothing in KVM while nothing is unmasked */
    msi_vector_set(a, 0xfee00000, 0x41, FALSE);
    msi_vector_set(b, 0xfee00000, 0x51, FALSE);
    expect(f, "[24:fee00000/41 25:fee00000/51] +gsi24 +gsi25 "); /* one table for both */

    /* Masking unbinds at once; unmasking with the same message needs no table. */
    msi_vector_set(a, 0xfee00000, 0x41, TRUE);
    g_assert_cmpstr(f->fake.log->str, ==, "-gsi24 ");
    kick(fd_a);
    expect(f, "-gsi24 ");
    g_assert_true(msi_vector_take_pending(a));
    g_assert_false(msi_vector_take_pending(a));
    msi_vector_set(a, 0xfee00000, 0x41, FALSE);
    expect(f, "+gsi24 ");

    /* A new message: unbound first, never bound to a stale route. */
    msi_vector_set(a, 0xfee02000, 0x43, FALSE);
    expect(f, "-gsi24 [24:fee02000/43 25:fee00000/51] +gsi24 ");
    msi_vector_set(a, 0xfee02000, 0x43, FALSE); /* no change */
    expect(f, "");

    msi_vector_free(a);
    expect(f, "-gsi24 ");
    a = msi_vector_new(f->vm, "c");
    msi_vector_fd(a, NULL);
    msi_vector_set(a, 0xfee00000, 0x44, FALSE);
    expect(f, "[24:fee00000/44 25:fee00000/51] +gsi24 "); /* the lowest free again */
    msi_vector_free(a);
    msi_vector_free(b);
}

/* A vector that goes before its update is not looked at; those beside it, first and last of all, are. */
static void test_gone_before_update(Fixture *f, gconstpointer data)
{
    MsiVector *v[5];

    for (guint i = 0; i < 5; i++) {
        v[i] = msi_vector_new(f->vm, "dev");
        g_assert_cmpint(msi_vector_fd(v[i], NULL), >=, 0);
        msi_vector_set(v[i], 0xfee00000, 0x40 + i, FALSE);
    }
    msi_vector_free(v[0]);
    msi_vector_free(v[2]);
    msi_vector_set(v[4], 0xfee00000, 0x60, TRUE);
    msi_vector_set(v[4], 0xfee00000, 0x61, FALSE); /* asked for once */
    expect(f, "[24:fee00000/41 25:fee00000/43 26:fee00000/61] +gsi24 +gsi25 +gsi26 ");
    msi_vector_free(v[1]);
    msi_vector_free(v[4]);
    msi_vector_free(v[3]);
    expect(f, "-gsi24 -gsi26 -gsi25 ");
}

static void test_fallback(Fixture *f, gconstpointer data)
{
    MsiVector *v = msi_vector_new(f->vm, "dev");
    int fd = msi_vector_fd(v, NULL);

    f->fake.have_irqfd = FALSE;
    msi_vector_set(v, 0xfee00000, 0x41, FALSE);
    kick(fd);
    expect(f, "[24:fee00000/41] msifee00000/41 ");
    msi_vector_set(v, 0xfee00000, 0x42, FALSE);
    kick(fd);
    kick(fd);
    expect(f, "msifee00000/42 "); /* once found missing, the table is left alone; one message for
                                     what came together */

    /* Masked: stays in the fd, and is delivered when it is unmasked. */
    msi_vector_set(v, 0xfee00000, 0x42, TRUE);
    kick(fd);
    expect(f, "");
    msi_vector_set(v, 0xfee00000, 0x42, FALSE);
    expect(f, "msifee00000/42 ");
    kick(fd);
    vm_irq_serve_fds(f->vm); /* without the main loop */
    g_assert_cmpstr(f->fake.log->str, ==, "msifee00000/42 ");
    expect(f, "msifee00000/42 ");
    msi_vector_free(v);
}

static void test_routes_fail(Fixture *f, gconstpointer data)
{
    MsiVector *v = msi_vector_new(f->vm, "dev");
    int fd = msi_vector_fd(v, NULL);

    f->fake.fail_routes = TRUE;
    g_test_expect_message("backplane", G_LOG_LEVEL_WARNING, "MSI routes: no room");
    msi_vector_set(v, 0xfee00000, 0x41, FALSE);
    kick(fd);
    expect(f, "msifee00000/41 ");
    g_test_assert_expected_messages();
    msi_vector_free(v);
}

typedef struct {
    MsiVector *v;
    gint       done;
} Setter;

static gpointer set_all_the_time(gpointer user)
{
    Setter *s = user;

    for (guint i = 0; i < 5000; i++) {
        msi_vector_set(s->v, 0xfee00000, 0x40 + i % 5, i % 7 == 0);
        msi_vector_fire(s->v);
        msi_vector_take_pending(s->v);
    }
    msi_vector_set(s->v, 0xfee00000, 0x77, FALSE);
    g_atomic_int_set(&s->done, TRUE);
    g_main_context_wakeup(NULL);
    return NULL;
}

static void test_vector_threads(Fixture *f, gconstpointer data)
{
    Setter s = { msi_vector_new(f->vm, "dev"), FALSE };
    GThread *thread;
    int fd = msi_vector_fd(s.v, NULL);

    f->fake.have_irqfd = FALSE; /* its log is not made for threads */
    thread = g_thread_new("setter", set_all_the_time, &s);
    while (!g_atomic_int_get(&s.done)) {
        kick(fd);
        g_main_context_iteration(NULL, TRUE);
    }
    g_thread_join(thread);
    settle();
    g_string_truncate(f->fake.log, 0);
    kick(fd);
    expect(f, "msifee00000/77 ");
    msi_vector_free(s.v);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, fn) g_test_add("/irq/" name, Fixture, NULL, set_up, fn, tear_down)
    ADD("wired-or", test_wired_or);
    ADD("line-threads", test_line_threads);
    ADD("fire", test_fire);
    ADD("irqfd", test_irqfd);
    ADD("gone-before-update", test_gone_before_update);
    ADD("fallback", test_fallback);
    ADD("routes-fail", test_routes_fail);
    ADD("vector-threads", test_vector_threads);
    return g_test_run();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-iobus.c - the I/O bus: splitting and widening, borders, overlaps, eventfds, and removal
 * while other threads are in the middle of accesses.
 */
#include <sys/eventfd.h>
#include <unistd.h>

#include "../../common/util.h"
#include "bare-vm.h"

/* A region that writes down what its hooks were asked, and reads as its own offset in every byte.
 */
typedef struct {
    GString *log;
    GMutex   lock;
    gboolean alive; /* cleared by the owner when it is "freed" */
    gint     hits;  /* atomic */
} Probe;

static guint64 probe_read(gpointer opaque, guint64 offset, unsigned size)
{
    Probe *p = opaque;
    guint64 v = 0;

    for (unsigned i = 0; i < size; i++)
        v |= ((offset + i) & 0xff) << (8 * i);
    g_string_append_printf(p->log, "r%u@%" G_GINT64_MODIFIER "x ", size, offset);
    return v;
}

static void probe_write(gpointer opaque, guint64 offset, guint64 value, unsigned size)
{
    Probe *p = opaque;

    g_string_append_printf(p->log, "w%u@%" G_GINT64_MODIFIER "x=%" G_GINT64_MODIFIER "x ", size,
                           offset, value);
}

static const AccelOps no_ops = { .memory_slot = bare_slot_ok,
                                 .pin_level = bare_no_pin,
                                 .msi_send = bare_no_msi };
static const IoOps any_size = { probe_read, probe_write, 0, 0, FALSE };
static const IoOps bytes_only = { probe_read, probe_write, 1, 1, FALSE };
static const IoOps dwords_only = { probe_read, probe_write, 4, 4, FALSE };
static const IoOps crooked = { probe_read, probe_write, 1, 8, TRUE };

typedef struct {
    Vm   *vm;
    Probe p;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    f->vm = bare_vm_new(VM_ACCEL_TEST, &no_ops);
    f->p.log = g_string_new(NULL);
    g_mutex_init(&f->p.lock);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    bare_vm_free(f->vm);
    g_string_free(f->p.log, TRUE);
    g_mutex_clear(&f->p.lock);
}

static IoRegion *add(Fixture *f, IoSpace space, guint64 base, guint64 size, const IoOps *ops)
{
    g_autoptr(GError) error = NULL;
    IoRegion *r = iobus_add(f->vm, space, base, size, ops, &f->p, &f->p.lock, 0, "probe", &error);

    g_assert_no_error(error);
    return r;
}

static void expect_log(Fixture *f, const char *log)
{
    g_assert_cmpstr(f->p.log->str, ==, log);
    g_string_truncate(f->p.log, 0);
}

static void expect_read(Fixture *f, IoSpace space, guint64 addr, unsigned size, guint64 want,
                        gboolean claimed)
{
    guint64 v = 0;

    g_assert_cmpint(iobus_read(f->vm, space, addr, size, &v), ==, claimed);
    g_assert_cmphex(v, ==, want);
}

static void test_simple(Fixture *f, gconstpointer data)
{
    IoRegion *r = add(f, IO_MMIO, 0x1000, 0x100, &any_size);

    expect_read(f, IO_MMIO, 0x1010, 4, 0x13121110, TRUE);
    expect_read(f, IO_MMIO, 0x1010, 8, 0x1716151413121110, TRUE);
    g_assert_true(iobus_write(f->vm, IO_MMIO, 0x10fe, 2, 0xffffabcd));
    expect_log(f, "r4@10 r8@10 w2@fe=abcd ");
    /* The same numbers in the other space are nobody's. */
    expect_read(f, IO_PIO, 0x1010, 4, 0xffffffff, FALSE);
    g_assert_false(iobus_write(f->vm, IO_PIO, 0x1010, 4, 0));
    expect_read(f, IO_MMIO, 0xfff, 1, 0xff, FALSE);
    expect_read(f, IO_MMIO, 0x1100, 1, 0xff, FALSE);
    iobus_remove(f->vm, r);
    expect_read(f, IO_MMIO, 0x1010, 4, 0xffffffff, FALSE);
    expect_log(f, "");
}

static void test_split_by_size(Fixture *f, gconstpointer data)
{
    IoRegion *r = add(f, IO_PIO, 0x70, 8, &bytes_only);

    expect_read(f, IO_PIO, 0x70, 4, 0x03020100, TRUE);
    expect_log(f, "r1@0 r1@1 r1@2 r1@3 ");
    iobus_write(f->vm, IO_PIO, 0x72, 2, 0xbbaa);
    expect_log(f, "w1@2=aa w1@3=bb ");
    iobus_remove(f->vm, r);
}

static void test_split_by_alignment(Fixture *f, gconstpointer data)
{
    IoRegion *r = add(f, IO_MMIO, 0x1000, 0x100, &any_size);

    expect_read(f, IO_MMIO, 0x1001, 8, 0x0807060504030201, TRUE);
    expect_log(f, "r1@1 r2@2 r4@4 r1@8 ");
    /* Alignment is relative to the region, not to the address. */
    iobus_remove(f->vm, r);
    r = add(f, IO_MMIO, 0x1002, 0x100, &any_size);
    expect_read(f, IO_MMIO, 0x1002, 4, 0x03020100, TRUE);
    expect_log(f, "r4@0 ");
    iobus_remove(f->vm, r);
    r = add(f, IO_MMIO, 0x1000, 0x100, &crooked);
    expect_read(f, IO_MMIO, 0x1001, 8, 0x0807060504030201, TRUE);
    expect_log(f, "r8@1 ");
    /* Three bytes are no size of a hook. */
    expect_read(f, IO_MMIO, 0x1001, 3, 0x030201, TRUE);
    expect_log(f, "r2@1 r1@3 ");
    iobus_remove(f->vm, r);
}

static void test_widen(Fixture *f, gconstpointer data)
{
    IoRegion *r = add(f, IO_MMIO, 0x1000, 0x10, &dwords_only);

    expect_read(f, IO_MMIO, 0x1006, 1, 0x06, TRUE);
    expect_log(f, "r4@4 ");
    expect_read(f, IO_MMIO, 0x1005, 2, 0x0605, TRUE);
    expect_log(f, "r4@4 ");
    /* Across two registers: each is read once. */
    expect_read(f, IO_MMIO, 0x1003, 2, 0x0403, TRUE);
    expect_log(f, "r4@0 r4@4 ");
    expect_read(f, IO_MMIO, 0x1000, 8, 0x0706050403020100, TRUE);
    expect_log(f, "r4@0 r4@4 ");
    /* A narrow write is dropped, but claimed. */
    g_assert_true(iobus_write(f->vm, IO_MMIO, 0x1004, 2, 0x1234));
    expect_log(f, "");
    /* What is whole in a crooked one is written. */
    iobus_write(f->vm, IO_MMIO, 0x1002, 8, 0x8877665544332211);
    expect_log(f, "w4@4=66554433 ");
    iobus_remove(f->vm, r);
}

static void test_neighbours(Fixture *f, gconstpointer data)
{
    IoRegion *a = add(f, IO_MMIO, 0x1000, 0x10, &any_size);
    IoRegion *b = add(f, IO_MMIO, 0x1012, 0x10, &any_size);

    /* Two bytes of a, a hole of two, then b: its first bytes. */
    expect_read(f, IO_MMIO, 0x100e, 8, 0x03020100ffff0f0e, TRUE);
    expect_log(f, "r2@e r4@0 ");
    iobus_write(f->vm, IO_MMIO, 0x100f, 4, 0x44332211);
    expect_log(f, "w1@f=11 w1@0=44 ");
    iobus_remove(f->vm, a);
    iobus_remove(f->vm, b);
}

static void test_end_of_space(Fixture *f, gconstpointer data)
{
    IoRegion *top = add(f, IO_MMIO, G_MAXUINT64 - 0xfff, 0x1000, &any_size);
    IoRegion *ports = add(f, IO_PIO, 0xfff8, 8, &any_size);

    expect_read(f, IO_MMIO, G_MAXUINT64, 1, 0xff, TRUE);
    expect_log(f, "r1@fff ");
    expect_read(f, IO_MMIO, G_MAXUINT64 - 7, 8, 0xfffefdfcfbfaf9f8, TRUE);
    expect_log(f, "r8@ff8 ");
    /* The part beyond the end wraps to nobody. */
    expect_read(f, IO_MMIO, G_MAXUINT64 - 1, 4, 0xfffffffe | 0xffff0000, TRUE);
    expect_log(f, "r2@ffe ");
    expect_read(f, IO_PIO, 0xfffe, 4, 0xffff0706, TRUE);
    expect_log(f, "r2@6 ");
    iobus_remove(f->vm, top);
    iobus_remove(f->vm, ports);

    top = add(f, IO_MMIO, 0, 0, &any_size); /* the whole space */
    expect_read(f, IO_MMIO, 0, 1, 0, TRUE);
    expect_read(f, IO_MMIO, G_MAXUINT64, 1, 0xff, TRUE);
    expect_log(f, "r1@0 r1@ffffffffffffffff ");
    iobus_remove(f->vm, top);
}

static void expect_refused(Fixture *f, IoSpace space, guint64 base, guint64 size,
                           const char *message)
{
    g_autoptr(GError) error = NULL;
    IoRegion *r =
        iobus_add(f->vm, space, base, size, &any_size, &f->p, NULL, 0, "newcomer", &error);

    g_assert_null(r);
    g_assert_nonnull(error);
    g_assert_cmpstr(error->message, ==, message);
}

static void test_overlap(Fixture *f, gconstpointer data)
{
    IoRegion *r = add(f, IO_MMIO, 0x1000, 0x1000, &any_size), *after, *before;

    expect_refused(f, IO_MMIO, 0x1fff, 1,
                   "MMIO range 0x1fff-0x1fff of 'newcomer' overlaps 0x1000-0x1fff of 'probe'");
    expect_refused(f, IO_MMIO, 0x0, 0x1001,
                   "MMIO range 0x0-0x1000 of 'newcomer' overlaps 0x1000-0x1fff of 'probe'");
    expect_refused(f, IO_MMIO, 0x0, 0x10000,
                   "MMIO range 0x0-0xffff of 'newcomer' overlaps 0x1000-0x1fff of 'probe'");
    expect_refused(
        f, IO_MMIO, 0, 0,
        "MMIO range 0x0-0xffffffffffffffff of 'newcomer' overlaps 0x1000-0x1fff of 'probe'");
    expect_refused(f, IO_PIO, 0xfff8, 0x10,
                   "port range of 'newcomer' from 0xfff8 to 0x10007 is outside the address space");
    expect_refused(
        f, IO_MMIO, G_MAXUINT64, 2,
        "MMIO range of 'newcomer' from 0xffffffffffffffff to 0x0 is outside the address space");
    after = add(f, IO_MMIO, 0x2000, 1, &any_size);
    before = add(f, IO_MMIO, 0xfff, 1, &any_size);
    iobus_remove(f->vm, r);
    iobus_remove(f->vm, before);
    iobus_remove(f->vm, after);
}

static void test_missing_hooks(Fixture *f, gconstpointer data)
{
    static const IoOps none = { NULL, NULL, 0, 0, FALSE };
    IoRegion *r = add(f, IO_PIO, 0x80, 4, &none);

    expect_read(f, IO_PIO, 0x80, 2, 0xffff, TRUE);
    g_assert_true(iobus_write(f->vm, IO_PIO, 0x80, 1, 1));
    iobus_remove(f->vm, r);
}

/* ---- eventfds and coalesced ranges ---- */

static guint64 counter(int fd)
{
    guint64 v = 0;

    return read(fd, &v, sizeof v) == sizeof v ? v : 0;
}

static void test_eventfd_fallback(Fixture *f, gconstpointer data)
{
    IoRegion *r = add(f, IO_MMIO, 0x1000, 0x100, &any_size);
    int any = eventfd(0, EFD_NONBLOCK), two = eventfd(0, EFD_NONBLOCK),
        seven = eventfd(0, EFD_NONBLOCK);

    iobus_eventfd_add(f->vm, IO_MMIO, 0x1008, 0, FALSE, 0, any);
    iobus_eventfd_add(f->vm, IO_MMIO, 0x1004, 2, TRUE, 7, seven);
    iobus_eventfd_add(f->vm, IO_MMIO, 0x1004, 2, FALSE, 0, two);
    iobus_write(f->vm, IO_MMIO, 0x1008, 8, 1);
    iobus_write(f->vm, IO_MMIO, 0x1008, 1, 1);
    g_assert_cmpuint(counter(any), ==, 2);
    iobus_write(f->vm, IO_MMIO, 0x1004, 2, 7);
    g_assert_cmpuint(counter(seven), ==, 1);
    g_assert_cmpuint(counter(two), ==, 1);
    iobus_write(f->vm, IO_MMIO, 0x1004, 2, 8);
    g_assert_cmpuint(counter(seven), ==, 0);
    g_assert_cmpuint(counter(two), ==, 1);
    /* A signal takes the place of the hook; another size reaches the hook. */
    expect_log(f, "");
    iobus_write(f->vm, IO_MMIO, 0x1004, 4, 7);
    expect_log(f, "w4@4=7 ");
    iobus_eventfd_remove(f->vm, IO_MMIO, 0x1004, 2, TRUE, 7, seven);
    iobus_eventfd_remove(f->vm, IO_MMIO, 0x1004, 2, FALSE, 0, two);
    iobus_write(f->vm, IO_MMIO, 0x1004, 2, 7);
    expect_log(f, "w2@4=7 ");
    iobus_eventfd_remove(f->vm, IO_MMIO, 0x1008, 0, FALSE, 0, any);
    iobus_remove(f->vm, r);
    close(any);
    close(two);
    close(seven);
}

static gboolean take_event(Vm *vm, IoSpace space, guint64 addr, unsigned size, gboolean match,
                           guint64 value, int fd, gboolean is_add)
{
    g_string_append_printf(vm->user, "%cfd%d ", is_add ? '+' : '-', fd);
    return TRUE;
}

static gboolean take_range(Vm *vm, IoSpace space, guint64 addr, guint64 size, gboolean is_add)
{
    g_string_append_printf(vm->user, "%c%" G_GINT64_MODIFIER "x+%" G_GINT64_MODIFIER "x ",
                           is_add ? '+' : '-', addr, size);
    return TRUE;
}

static void test_accelerator_takes(void)
{
    static const AccelOps ops = { .ioeventfd = take_event, .coalesce = take_range };
    Vm *vm = bare_vm_new(VM_ACCEL_TEST, &ops);
    g_autoptr(GString) log = g_string_new(NULL);
    IoRegion *r;

    vm->user = log;
    iobus_eventfd_add(vm, IO_MMIO, 0x1008, 0, FALSE, 0, 77);
    iobus_eventfd_remove(vm, IO_MMIO, 0x1008, 0, FALSE, 0, 77);
    r = iobus_add(vm, IO_PIO, 0xcf8, 4, &any_size, NULL, NULL, IO_COALESCED, "latch", NULL);
    iobus_remove(vm, r);
    g_assert_cmpstr(log->str, ==, "+fd77 -fd77 +cf8+4 -cf8+4 ");
    bare_vm_free(vm);
}

/* ---- removal against other threads ---- */

typedef struct {
    Vm      *vm;
    Probe   *probe;
    gint     stop;
    gboolean registered;
} Hammer;

static guint64 checked_read(gpointer opaque, guint64 offset, unsigned size)
{
    Probe *p = opaque;
    guint64 v = p->alive;

    /* Long enough that the main thread removes the region in the middle. */
    for (volatile int i = 0; i < 200; i++)
        ;
    g_assert_true(p->alive);
    g_atomic_int_inc(&p->hits);
    return v;
}

static gpointer hammer(gpointer user)
{
    Hammer *h = user;

    if (h->registered)
        iobus_thread_enter(h->vm);
    while (!g_atomic_int_get(&h->stop)) {
        guint64 v = 0;

        if (iobus_read(h->vm, IO_MMIO, 0x5000, 1, &v))
            g_assert_cmpuint(v, ==, 1);
        else
            g_assert_cmpuint(v, ==, 0xff);
    }
    if (h->registered)
        iobus_thread_leave(h->vm);
    return NULL;
}

/* `alive` is no atomic: that the owner may change it after iobus_remove() is what is tested (TSan
 * sees it too). */
static void test_remove_waits(void)
{
    static const IoOps ops = { checked_read, NULL, 1, 1, FALSE };
    Vm *vm = bare_vm_new(VM_ACCEL_TEST, &no_ops);
    Hammer hammers[4];
    GThread *threads[4];
    gint hits = 0;

    for (guint i = 0; i < 4; i++) {
        hammers[i] = (Hammer){ .vm = vm, .registered = i != 3 };
        threads[i] = g_thread_new("hammer", hammer, &hammers[i]);
    }
    for (guint round = 0; round < 300; round++) {
        Probe *p = g_new0(Probe, 1);
        IoRegion *r, *other;

        p->alive = TRUE;
        r = iobus_add(vm, IO_MMIO, 0x5000, 1, &ops, p, NULL, 0, "hot", NULL);
        other = iobus_add(vm, IO_MMIO, 0x4000 + round, 1, &ops, p, NULL, 0, "other", NULL);
        while (round % 10 == 0 && g_atomic_int_get(&p->hits) == 0)
            g_thread_yield();
        iobus_remove(vm, r);
        iobus_remove(vm, other);
        p->alive = FALSE;
        hits += p->hits;
        g_free(p);
    }
    for (guint i = 0; i < 4; i++)
        g_atomic_int_set(&hammers[i].stop, TRUE);
    for (guint i = 0; i < 4; i++)
        g_thread_join(threads[i]);
    g_test_message("%d accesses hit", hits);
    g_assert_cmpint(hits, >=, 30);
    bare_vm_free(vm);
}

static guint64 nested_read(gpointer opaque, guint64 offset, unsigned size)
{
    guint64 v = 0;

    iobus_read(opaque, IO_PIO, 0x60, 1, &v);
    return v + 1;
}

static void test_nested(Fixture *f, gconstpointer data)
{
    static const IoOps ops = { nested_read, NULL, 1, 1, FALSE };
    IoRegion *inner = add(f, IO_PIO, 0x5c, 8, &any_size);
    IoRegion *outer = iobus_add(f->vm, IO_MMIO, 0x1000, 1, &ops, f->vm, NULL, 0, "outer", NULL);

    expect_read(f, IO_MMIO, 0x1000, 1, 5, TRUE);
    iobus_remove(f->vm, inner);
    expect_read(f, IO_MMIO, 0x1000, 1, 0x00, TRUE); /* 0xff + 1 in a byte */
    iobus_remove(f->vm, outer);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, fn) g_test_add("/iobus/" name, Fixture, NULL, set_up, fn, tear_down)
    ADD("simple", test_simple);
    ADD("split-by-size", test_split_by_size);
    ADD("split-by-alignment", test_split_by_alignment);
    ADD("widen", test_widen);
    ADD("neighbours", test_neighbours);
    ADD("end-of-space", test_end_of_space);
    ADD("overlap", test_overlap);
    ADD("missing-hooks", test_missing_hooks);
    ADD("eventfd-fallback", test_eventfd_fallback);
    ADD("nested", test_nested);
    g_test_add_func("/iobus/accelerator-takes", test_accelerator_takes);
    g_test_add_func("/iobus/remove-waits", test_remove_waits);
    return g_test_run();
}

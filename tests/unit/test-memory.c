/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-memory.c - the memory map: ranges over adjacent regions, nothing written on failure,
 * refusals that name both sides, slot numbers, and removal while other threads read.
 */
#include <string.h>
#include <sys/mman.h>

#include "../../common/error.h"
#include "bare-vm.h"

#define PAGE 4096

/* Logs each slot; refuses those from number vm->max_vcpus up, as a KVM that is out of slots. */
static gboolean log_slot(Vm *vm, const MemRegion *region, gboolean remove, GError **error)
{
    if (!remove && region->slot >= vm->max_vcpus)
        return error_set(error, "out of slots");
    if (vm->user)
        g_string_append_printf(vm->user, "%c%u ", remove ? '-' : '+', region->slot);
    return TRUE;
}

static const AccelOps ops = { .memory_slot = log_slot,
                              .pin_level = bare_no_pin,
                              .msi_send = bare_no_msi };

static Vm *vm_with_slots(guint slots)
{
    Vm *vm = bare_vm_new(VM_ACCEL_TEST, &ops);

    vm->max_vcpus = slots;
    return vm;
}

static guint8 *pages(guint n)
{
    guint8 *p =
        mmap(NULL, (gsize)n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    g_assert_true(p != MAP_FAILED);
    return p;
}

static void add(Vm *vm, guint64 gpa, guint8 *hva, guint64 size)
{
    g_autoptr(GError) error = NULL;

    vm_memory_add(vm, gpa, hva, size, 0, &error);
    g_assert_no_error(error);
}

static void expect_refused(Vm *vm, guint64 gpa, gpointer hva, guint64 size, const char *message)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(vm_memory_add(vm, gpa, hva, size, 0, &error));
    g_assert_nonnull(error);
    g_assert_cmpstr(error->message, ==, message);
}

static void test_copy(void)
{
    Vm *vm = vm_with_slots(8);
    guint8 *ram = pages(3), buf[64], before[3 * PAGE];

    /* In guest order: page 2 of the host's, then page 0; a hole; page 1. */
    add(vm, 0x11000, ram, PAGE);
    add(vm, 0x10000, ram + 2 * PAGE, PAGE);
    add(vm, 0x13000, ram + PAGE, PAGE);

    g_assert_true(vm_memory_write(vm, 0x10ffc, "abcdefgh", 8));
    g_assert_cmpmem(ram + 3 * PAGE - 4, 4, "abcd", 4);
    g_assert_cmpmem(ram, 4, "efgh", 4);
    g_assert_true(vm_memory_read(vm, 0x10ffa, buf, 12));
    g_assert_cmpmem(buf, 12, "\0\0abcdefgh\0\0", 12);
    g_assert_true(vm_memory_fill(vm, 0x10ffe, 0xee, 4));
    g_assert_true(vm_memory_read(vm, 0x10ffc, buf, 8));
    g_assert_cmpmem(buf, 8, "ab\xee\xee\xee\xeegh", 8);

    /* One byte short of RAM: nothing is written at all. */
    memcpy(before, ram, sizeof before);
    g_assert_false(vm_memory_write(vm, 0x11ffc, "12345678", 8));
    g_assert_false(vm_memory_write(vm, 0xfffc, "12345678", 8));
    g_assert_false(vm_memory_fill(vm, 0x10000, 1, 4 * PAGE));
    g_assert_false(vm_memory_read(vm, 0x13ff0, buf, 17));
    g_assert_false(vm_memory_read(vm, G_MAXUINT64, buf, 1));
    g_assert_false(vm_memory_read(vm, G_MAXUINT64 - 3, buf, 8));
    g_assert_false(vm_memory_fill(vm, 0x10000, 1, G_MAXSIZE));
    g_assert_cmpmem(ram, sizeof before, before, sizeof before);
    g_assert_true(vm_memory_read(vm, 0x12345678, buf, 0));

    g_assert_true(vm_memory_ptr(vm, 0x10000, PAGE) == ram + 2 * PAGE);
    g_assert_true(vm_memory_ptr(vm, 0x13fff, 1) == ram + 2 * PAGE - 1);
    g_assert_null(vm_memory_ptr(vm, 0x10fff, 2)); /* adjacent for the guest only */
    g_assert_null(vm_memory_ptr(vm, 0x12000, 1));

    bare_vm_free(vm);
    munmap(ram, 3 * PAGE);
}

/* ROM: readable, but no target, not even as a part of a range. */
static void test_read_only(void)
{
    Vm *vm = vm_with_slots(8);
    guint8 *ram = pages(2), buf[8] = { 1, 2, 3 }, back[8];
    g_autoptr(GError) error = NULL;

    add(vm, 0x10000, ram, PAGE);
    g_assert_true(vm_memory_add(vm, 0x11000, ram + PAGE, PAGE, MEM_READONLY, &error));
    ram[PAGE] = 0x77;
    g_assert_true(vm_memory_read(vm, 0x10ffc, back, sizeof back));
    g_assert_cmphex(back[4], ==, 0x77);
    g_assert_false(vm_memory_write(vm, 0x11000, buf, 1));
    g_assert_false(vm_memory_write(vm, 0x10ffc, buf, sizeof buf));
    g_assert_false(vm_memory_fill(vm, 0x10ffc, 9, sizeof buf));
    g_assert_true(vm_memory_write(vm, 0x10ffc, buf, 4));
    g_assert_cmpmem(ram + PAGE - 4, 4, buf, 4);
    g_assert_cmphex(ram[PAGE], ==, 0x77);
    bare_vm_free(vm);
    munmap(ram, 2 * PAGE);
}

static void test_map(void)
{
    Vm *vm = vm_with_slots(8);
    guint8 *ram = pages(2);
    const MemRegion *r;
    MemMap *map;
    guint n;

    add(vm, 0x8000, ram, PAGE);
    map = vm_memory_ref_map(vm);
    add(vm, 0x1000, ram + PAGE, PAGE);
    /* A reference keeps the old view. */
    r = mem_map_regions(map, &n);
    g_assert_cmpuint(n, ==, 1);
    g_assert_cmphex(r[0].gpa, ==, 0x8000);
    g_assert_null(mem_map_find(map, 0x1000));
    vm_memory_unref_map(vm, map);

    map = vm_memory_ref_map(vm);
    r = mem_map_regions(map, &n);
    g_assert_cmpuint(n, ==, 2);
    g_assert_cmphex(r[0].gpa, ==, 0x1000);
    g_assert_true(mem_map_find(map, 0x8fff) == &r[1]);
    g_assert_null(mem_map_find(map, 0x9000));
    g_assert_true(mem_map_ptr(map, 0x8010, 16) == ram + 16);
    g_assert_null(mem_map_ptr(map, 0x8ff8, 9));
    vm_memory_unref_map(vm, map);
    bare_vm_free(vm);
    munmap(ram, 2 * PAGE);
}

static void test_refusals(void)
{
    Vm *vm = vm_with_slots(2);
    guint8 *ram = pages(4);

    add(vm, 0x10000, ram, 2 * PAGE);
    expect_refused(vm, 0x11000, ram + 2 * PAGE, PAGE,
                   "Memory at 0x11000-0x11fff overlaps memory at 0x10000-0x11fff");
    expect_refused(vm, 0xf000, ram + 2 * PAGE, 2 * PAGE,
                   "Memory at 0xf000-0x10fff overlaps memory at 0x10000-0x11fff");
    expect_refused(vm, 0, ram, 0x20000, "Memory at 0x0-0x1ffff overlaps memory at 0x10000-0x11fff");
    expect_refused(vm, 0x20800, ram, PAGE,
                   "Memory at 0x20800, size 0x1000: address, size and host memory must be "
                   "multiples of 4096, the size not 0");
    expect_refused(vm, 0x20000, ram, 0,
                   "Memory at 0x20000, size 0x0: address, size and host memory must be multiples "
                   "of 4096, the size not 0");
    expect_refused(vm, 0x20000, ram + 1, PAGE,
                   "Memory at 0x20000, size 0x1000: address, size and host memory must be "
                   "multiples of 4096, the size not 0");
    expect_refused(
        vm, 0xfffffffffffff000, ram, 2 * PAGE,
        "Memory at 0xfffffffffffff000, size 0x2000: reaches beyond the 64-bit address space");
    /* The last page is fine; then KVM is out of slots, and the map stays as it is. */
    add(vm, 0xfffffffffffff000, ram + 2 * PAGE, PAGE);
    g_assert_true(vm_memory_write(vm, G_MAXUINT64, "x", 1));
    expect_refused(vm, 0x20000, ram + 3 * PAGE, PAGE, "out of slots");
    g_assert_null(vm_memory_ptr(vm, 0x20000, 1));
    bare_vm_free(vm);
    munmap(ram, 4 * PAGE);
}

static void test_slots(void)
{
    Vm *vm = vm_with_slots(8);
    g_autoptr(GString) log = g_string_new(NULL);
    guint8 *ram = pages(4);

    vm->user = log;
    for (guint i = 0; i < 3; i++)
        add(vm, i * 0x10000, ram + i * PAGE, PAGE);
    vm_memory_remove(vm, 0x10000);
    g_assert_null(vm_memory_ptr(vm, 0x10000, 1));
    add(vm, 0x50000, ram + PAGE, PAGE); /* lowest free */
    add(vm, 0x60000, ram + 3 * PAGE, PAGE);
    g_assert_cmpstr(log->str, ==, "+0 +1 +2 -1 +1 +3 ");
    bare_vm_free(vm);
    munmap(ram, 4 * PAGE);
}

/* ---- threads ---- */

typedef struct {
    Vm  *vm;
    gint stop;
    guint reads, misses;
} Reader;

static gpointer read_all_the_time(gpointer user)
{
    Reader *r = user;

    while (!g_atomic_int_get(&r->stop)) {
        MemMap *map;
        guint8 buf[16];
        const guint8 *p;

        if (vm_memory_read(r->vm, 0x10ff8, buf, sizeof buf))
            r->reads++;
        else
            r->misses++;
        map = vm_memory_ref_map(r->vm);
        p = mem_map_ptr(map, 0x10000, PAGE);
        if (p)
            g_assert_cmphex(p[PAGE - 1], ==, 0x5a);
        vm_memory_unref_map(r->vm, map);
    }
    return NULL;
}

/* The memory is unmapped at once after removal: a reader that were still in would fault. */
/* In the map at once, in the accelerator with the commit; what is gone by then never was there. */
static void test_defer(void)
{
    Vm *vm = vm_with_slots(2);
    g_autoptr(GString) log = g_string_new(NULL);
    g_autoptr(GError) error = NULL;
    guint8 *ram = pages(3);

    vm->user = log;
    vm_memory_defer(vm);
    for (guint i = 0; i < 3; i++)
        add(vm, i * 0x10000, ram + i * PAGE, PAGE);
    vm_memory_remove(vm, 0x10000);
    g_assert_true(vm_memory_write(vm, 0x20000, "x", 1));
    g_assert_cmpstr(log->str, ==, "");

    /* Slot 2 is one too many here: the region stays put off, so that its removal asks nothing of the accelerator either. */
    g_assert_false(vm_memory_commit(vm, &error));
    g_assert_cmpstr(error->message, ==, "out of slots");
    vm_memory_remove(vm, 0x20000);
    g_assert_cmpstr(log->str, ==, "+0 ");
    g_assert_true(vm_memory_commit(vm, NULL));
    g_assert_cmpstr(log->str, ==, "+0 ");
    bare_vm_free(vm);
    munmap(ram, 3 * PAGE);
}

/* KVM gets the likely region early: taken over when it is added, else taken back. */
static void test_expect(void)
{
    Vm *vm = vm_with_slots(8);
    g_autoptr(GString) log = g_string_new(NULL);
    guint8 *ram = pages(2);

    vm->user = log;
    vm_memory_expect(vm, 0, ram, PAGE);
    g_assert_null(vm_memory_ptr(vm, 0, 1)); /* no device's yet */
    vm_memory_expect(vm, 0x10000, ram + PAGE, PAGE); /* one only */
    g_assert_cmpstr(log->str, ==, "+0 ");
    vm_memory_defer(vm);
    add(vm, 0, ram, PAGE);
    g_assert_true(vm_memory_commit(vm, NULL));
    g_assert_true(vm_memory_ptr(vm, 0, 1) == ram);
    vm_memory_remove(vm, 0);
    g_assert_cmpstr(log->str, ==, "+0 -0 ");

    g_string_truncate(log, 0);
    vm_memory_expect(vm, 0, ram, PAGE);
    vm_memory_forget(vm, ram + PAGE); /* another's */
    g_assert_cmpstr(log->str, ==, "+0 ");
    vm_memory_forget(vm, ram);
    g_assert_cmpstr(log->str, ==, "+0 -0 ");

    g_string_truncate(log, 0);
    vm_memory_expect(vm, 0, ram, PAGE);
    add(vm, 0, ram, 2 * PAGE); /* larger than expected */
    g_assert_cmpstr(log->str, ==, "+0 -0 +0 ");
    vm_memory_remove(vm, 0);

    g_string_truncate(log, 0);
    vm_memory_expect(vm, 0, ram, PAGE);
    vm_memory_defer(vm);
    add(vm, 0, ram, 2 * PAGE);
    g_assert_true(vm_memory_commit(vm, NULL));
    g_assert_cmpstr(log->str, ==, "+0 -0 +1 ");
    bare_vm_free(vm);
    munmap(ram, 2 * PAGE);
}

static void test_remove_waits(void)
{
    Vm *vm = vm_with_slots(8);
    guint8 *fixed = pages(1);
    Reader readers[3];
    GThread *threads[3];

    add(vm, 0x11000, fixed, PAGE);
    for (guint i = 0; i < 3; i++) {
        readers[i] = (Reader){ .vm = vm };
        threads[i] = g_thread_new("reader", read_all_the_time, &readers[i]);
    }
    for (guint round = 0; round < 300; round++) {
        guint8 *ram = pages(1), *other = pages(1);

        memset(ram, 0x5a, PAGE);
        add(vm, 0x10000, ram, PAGE);
        add(vm, 0x80000, other, PAGE); /* a second map that contains the first region */
        vm_memory_remove(vm, 0x10000);
        munmap(ram, PAGE);
        vm_memory_remove(vm, 0x80000);
        munmap(other, PAGE);
    }
    for (guint i = 0; i < 3; i++) {
        g_atomic_int_set(&readers[i].stop, TRUE);
        g_thread_join(threads[i]);
        g_test_message("reader %u: %u reads, %u misses", i, readers[i].reads, readers[i].misses);
    }
    bare_vm_free(vm);
    munmap(fixed, PAGE);
}

typedef struct {
    Vm      *vm;
    gint     inside; /* atomic: it holds on to the map */
    gint     done;   /* atomic */
} Holder;

static gpointer hold_reference(gpointer user)
{
    Holder *h = user;
    MemMap *map = vm_memory_ref_map(h->vm);

    g_atomic_int_set(&h->inside, TRUE);
    g_usleep(20000);
    g_atomic_int_set(&h->done, TRUE);
    vm_memory_unref_map(h->vm, map);
    return NULL;
}

#define LARGE (32u << 20)

static gpointer copy_much(gpointer user)
{
    Holder *h = user;
    g_autofree guint8 *buf = g_malloc(LARGE);

    g_atomic_int_set(&h->inside, TRUE);
    vm_memory_read(h->vm, 0x10000000, buf, LARGE);
    g_atomic_int_set(&h->done, TRUE);
    return NULL;
}

/* Runs HOLD on a thread, and removes the region at GPA as soon as it is in the middle of it; then
 * the region's memory is gone. TRUE: it was through by then. */
static gboolean remove_under(Vm *vm, GThreadFunc hold, guint64 gpa, gsize size,
                             gboolean *was_inside)
{
    guint8 *ram = vm_memory_ptr(vm, gpa, size);
    Holder h = { .vm = vm };
    GThread *thread = g_thread_new("holder", hold, &h);
    gboolean done;

    while (!g_atomic_int_get(&h.inside))
        g_thread_yield();
    g_usleep(500);
    *was_inside = !g_atomic_int_get(&h.done);
    vm_memory_remove(vm, gpa);
    done = g_atomic_int_get(&h.done);
    mprotect(ram, size, PROT_NONE);
    g_thread_join(thread);
    return done;
}

static void test_remove_waits_for_references(void)
{
    Vm *vm = vm_with_slots(8);
    guint8 *ram = pages(2);
    gboolean was_inside;

    add(vm, 0x10000, ram, PAGE);
    g_assert_true(remove_under(vm, hold_reference, 0x10000, PAGE, &was_inside));
    g_assert_true(was_inside);
    mprotect(ram, PAGE, PROT_READ | PROT_WRITE);
    /* A reference from before another region came counts too: it has the first one in it. */
    add(vm, 0x10000, ram, PAGE);
    {
        Holder h = { .vm = vm };
        GThread *thread = g_thread_new("holder", hold_reference, &h);

        while (!g_atomic_int_get(&h.inside))
            g_thread_yield();
        add(vm, 0x80000, ram + PAGE, PAGE); /* does not wait */
        vm_memory_remove(vm, 0x10000);
        g_assert_true(g_atomic_int_get(&h.done));
        g_thread_join(thread);
    }
    bare_vm_free(vm);
    munmap(ram, 2 * PAGE);
}

/* The copy takes milliseconds; its memory may go as soon as the removal is over. */
static void test_remove_waits_for_copies(void)
{
    Vm *vm = vm_with_slots(8);
    gboolean was_inside = FALSE;

    for (guint round = 0; round < 20 && !was_inside; round++) {
        guint8 *ram = pages(LARGE / PAGE);

        add(vm, 0x10000000, ram, LARGE);
        remove_under(vm, copy_much, 0x10000000, LARGE, &was_inside);
        munmap(ram, LARGE);
    }
    g_assert_true(was_inside);
    bare_vm_free(vm);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/memory/copy", test_copy);
    g_test_add_func("/memory/read-only", test_read_only);
    g_test_add_func("/memory/map", test_map);
    g_test_add_func("/memory/refusals", test_refusals);
    g_test_add_func("/memory/slots", test_slots);
    g_test_add_func("/memory/defer", test_defer);
    g_test_add_func("/memory/expect", test_expect);
    g_test_add_func("/memory/remove-waits", test_remove_waits);
    g_test_add_func("/memory/remove-waits-for-references", test_remove_waits_for_references);
    g_test_add_func("/memory/remove-waits-for-copies", test_remove_waits_for_copies);
    return g_test_run();
}

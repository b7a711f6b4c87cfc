/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-vcpu.c - vCPU threads on real KVM: accesses, pause, hold, faults, plug and unplug.
 *
 * Guests are a few bytes of flat 32-bit code that any host's KVM can execute or emulate (docs/design/testing.md
 * section 2); each is written out beside its instructions.
 */
#include "../../kvm/irq.h"
#include "vm-rig.h"

#include <dirent.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COUNT_PORT 0x80, 0x00, 0x00, 0x00
#define DONE 0xb2, 0x81, 0xee           /* mov $0x81,%dl; out %al,(%dx) */
#define HANG 0xf4, 0xeb, 0xfd           /* 1: hlt; jmp 1b */
#define COUNTER_AT 0x00, 0x20, 0x00, 0x00 /* 0x2000, imm32 */

/* The C library's ioctl, with a stretch before each KVM_RUN that makes the window for a lost kick wide. */
static gint slow_entry; /* atomic: microseconds */

int ioctl(int fd, unsigned long request, ...)
{
    va_list ap;
    gulong  arg;
    gint64  until;

    va_start(ap, request);
    arg = va_arg(ap, gulong);
    va_end(ap);
    if (request == KVM_RUN && g_atomic_int_get(&slow_entry) > 0) {
        until = g_get_monotonic_time() + g_atomic_int_get(&slow_entry);
        while (g_get_monotonic_time() < until)
            ;
    }
    return (int)syscall(SYS_ioctl, fd, request, arg);
}

static guint entries_in(const char *dir)
{
    DIR  *d = opendir(dir);
    guint n = 0;

    g_assert(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

/* Threads of ours named "CPU N/KVM"; the kernel adds some of its own to a process that runs guests. */
static guint cpu_threads(void)
{
    g_autoptr(GDir) tasks = g_dir_open("/proc/self/task", 0, NULL);
    const char     *tid;
    guint           n = 0;

    while ((tid = g_dir_read_name(tasks))) {
        g_autofree char *path = g_build_filename("/proc/self/task", tid, "comm", NULL);
        g_autofree char *comm = NULL;

        if (g_file_get_contents(path, &comm, NULL, NULL))
            n += g_str_has_prefix(comm, "CPU ") && g_str_has_suffix(g_strchomp(comm), "/KVM");
    }
    return n;
}

/* ---- accesses ---- */

static void test_sixteen_bytes(void)
{
    g_autoptr(Rig) r = NULL;

    if (!rig_have_kvm())
        return;
    r = rig_new();
    RIG_CODE_AT(r, RIG_CODE, 0xba, COUNT_PORT, /* mov $0x80,%edx */
                0xb1, 100,                     /* mov $100,%cl (ecx is 0 after reset) */
                0xee, 0xe2, 0xfd,              /* 1: out %al,(%dx); loop 1b */
                DONE, HANG);
    rig_add_cpu(r, 0, TRUE, RIG_CODE);
    vm_run(r->vm);
    g_assert(vm_running(r->vm));
    rig_wait(r);
    vm_pause(r->vm);
    g_assert(!vm_running(r->vm));
    g_assert_cmpint(r->count, ==, 100);
}

typedef struct {
    guint64 log[32];
    guint   n;
} Log;

static guint64 log_read(gpointer opaque, guint64 offset, unsigned size)
{
    return G_GUINT64_CONSTANT(0x1122334455667788) + offset;
}

static void log_write(gpointer opaque, guint64 offset, guint64 value, unsigned size)
{
    Log *l = opaque;

    if (l->n < G_N_ELEMENTS(l->log))
        l->log[l->n++] = offset << 40 | (guint64)size << 32 | value;
}

static const IoOps log_ops = { .read = log_read, .write = log_write, .min_size = 1, .max_size = 8 };

static void test_mmio(void)
{
    g_autoptr(Rig) r = NULL;
    GMutex    lock;
    Log       log = { 0 };
    IoRegion *region;
    GError   *error = NULL;

    if (!rig_have_kvm())
        return;
    r = rig_new();
    g_mutex_init(&lock);
    region = iobus_add(r->vm, IO_MMIO, 0xd0000000, 0x1000, &log_ops, &log, &lock, 0, "log", &error);
    g_assert_no_error(error);
    RIG_CODE_AT(r, RIG_CODE, 0xbb, 0x00, 0x00, 0x00, 0xd0, /* mov $0xd0000000,%ebx */
                0xb8, 0x78, 0x56, 0x34, 0x12,              /* mov $0x12345678,%eax */
                0x88, 0x43, 0x01,                          /* mov %al,1(%ebx) */
                0x66, 0x89, 0x43, 0x02,                    /* mov %ax,2(%ebx) */
                0x89, 0x43, 0x04,                          /* mov %eax,4(%ebx) */
                0x8b, 0x43, 0x08,                          /* mov 8(%ebx),%eax */
                0xa3, COUNTER_AT,                          /* mov %eax,0x2000 */
                0xba, COUNT_PORT, DONE, HANG);
    rig_add_cpu(r, 0, TRUE, RIG_CODE);
    vm_run(r->vm);
    rig_wait(r);
    vm_pause(r->vm);
    g_assert_cmpuint(log.n, ==, 3);
    g_assert_cmphex(log.log[0], ==, G_GUINT64_CONSTANT(0x0000010100000078));
    g_assert_cmphex(log.log[1], ==, G_GUINT64_CONSTANT(0x0000020200005678));
    g_assert_cmphex(log.log[2], ==, G_GUINT64_CONSTANT(0x0000040412345678));
    g_assert_cmphex(rig_ram32(r, 0x2000), ==, 0x55667790);
    iobus_remove(r->vm, region);
    g_mutex_clear(&lock);
}

static void test_string_io(void)
{
    g_autoptr(Rig) r = NULL;

    if (!rig_have_kvm())
        return;
    r = rig_new();
    RIG_CODE_AT(r, RIG_CODE, 0xfc,                 /* cld */
                0xba, 0x83, 0x00, 0x00, 0x00,      /* mov $0x83,%edx */
                0xbf, COUNTER_AT,                  /* mov $0x2000,%edi */
                0xb9, 0x04, 0x00, 0x00, 0x00,      /* mov $4,%ecx */
                0xf3, 0x6c,                        /* rep insb */
                0xb2, 0x80,                        /* mov $0x80,%dl */
                0xbe, COUNTER_AT,                  /* mov $0x2000,%esi */
                0xb9, 0x00, 0x10, 0x00, 0x00,      /* mov $4096,%ecx */
                0xf3, 0x6e,                        /* rep outsb */
                DONE, HANG);
    rig_add_cpu(r, 0, TRUE, RIG_CODE);
    vm_run(r->vm);
    rig_wait(r);
    vm_pause(r->vm);
    g_assert_cmphex(rig_ram32(r, 0x2000), ==, 0x5d5c5b5a);
    g_assert_cmpint(r->count, ==, 4096);
}

/* Writes that KVM queued are seen before the access that follows them, in order. */
static void test_coalesced(void)
{
    g_autoptr(Rig) r = NULL;
    Log       log = { 0 };
    IoRegion *queued, *other;
    GError   *error = NULL;
    GMutex    lock;

    if (!rig_have_kvm())
        return;
    r = rig_new();
    g_mutex_init(&lock);
    queued = iobus_add(r->vm, IO_PIO, 0x70, 1, &log_ops, &log, &lock, IO_COALESCED, "latch", &error);
    g_assert_no_error(error);
    other = iobus_add(r->vm, IO_PIO, 0x71, 1, &log_ops, &log, &lock, 0, "data", &error);
    g_assert_no_error(error);
    RIG_CODE_AT(r, RIG_CODE, 0xb0, 0x01, 0xe6, 0x70, /* mov $1,%al; out %al,$0x70 */
                0xb0, 0x02, 0xe6, 0x70,              /* 2 */
                0xb0, 0x03, 0xe6, 0x71,              /* 3 to 0x71 */
                0xb0, 0x04, 0xe6, 0x70,              /* 4 */
                0xe6, 0x81, 0xb0, 0x05, 0xe6, 0x70,  /* done; 5 */
                HANG);
    rig_add_cpu(r, 0, TRUE, RIG_CODE);
    vm_run(r->vm);
    rig_wait(r);
    while (log.n < 5) /* the fifth stays queued until somebody looks */
        vm_pause(r->vm), vm_run(r->vm);
    vm_pause(r->vm);
    g_assert_cmpuint(log.n, ==, 5);
    for (guint i = 0; i < 5; i++)
        g_assert_cmphex(log.log[i] & 0xff, ==, i + 1);
    iobus_remove(r->vm, queued);
    iobus_remove(r->vm, other);
    g_mutex_clear(&lock);
}

static void test_ioeventfd(void)
{
    g_autoptr(Rig) r = NULL;
    int           fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    eventfd_t     n = 0;

    if (!rig_have_kvm())
        return;
    r = rig_new();
    iobus_eventfd_add(r->vm, IO_MMIO, 0xd0000000, 4, TRUE, 7, fd);
    RIG_CODE_AT(r, RIG_CODE, 0xb8, 0x07, 0x00, 0x00, 0x00, /* mov $7,%eax */
                0xa3, 0x00, 0x00, 0x00, 0xd0,              /* mov %eax,0xd0000000: signals */
                0x40,                                      /* inc %eax */
                0xa3, 0x00, 0x00, 0x00, 0xd0,              /* another value: nobody's */
                0xba, COUNT_PORT, DONE, HANG);
    rig_add_cpu(r, 0, TRUE, RIG_CODE);
    vm_run(r->vm);
    rig_wait(r);
    vm_pause(r->vm);
    g_assert_cmpint(eventfd_read(fd, &n), ==, 0);
    g_assert_cmpuint(n, ==, 1);
    iobus_eventfd_remove(r->vm, IO_MMIO, 0xd0000000, 4, TRUE, 7, fd);
    close(fd);
}

/* ---- pause and hold ---- */

/* incl 0x2000; out; again */
static void code_count(Rig *r)
{
    RIG_CODE_AT(r, RIG_CODE, 0xba, COUNT_PORT, 0xff, 0x05, COUNTER_AT, 0xee, 0xeb, 0xf7);
}

/* The guest's own count and ours agree after every pause: no access was lost, none done twice. */
static void test_pause_resume(void)
{
    g_autoptr(Rig) r = NULL;
    guint rounds = g_test_slow() ? 10000 : 1000;

    if (!rig_have_kvm())
        return;
    r = rig_new();
    code_count(r);
    rig_add_cpu(r, 0, TRUE, RIG_CODE);
    for (guint i = 0; i < rounds; i++) {
        guint32 ours, guests;

        vm_run(r->vm);
        if (i % 100 == 0)
            rig_wait_for(r, &r->count, g_atomic_int_get(&r->count) + 10);
        vm_pause(r->vm);
        ours = g_atomic_int_get(&r->count);
        guests = rig_ram32(r, 0x2000);
        g_assert_cmpuint(guests - ours, <=, 1);
        g_assert_cmpuint(rig_ram32(r, 0x2000), ==, guests); /* it stands still */
    }
    g_test_message("%u pauses, %d accesses", rounds, r->count);
    g_assert_cmpint(r->count, >, 100);
}

static void pause_storm(Rig *r, guint rounds)
{
    for (guint i = 0; i < rounds; i++) {
        gint64 until = g_get_monotonic_time() + g_test_rand_int_range(0, 60);

        vm_run(r->vm);
        while (g_get_monotonic_time() < until)
            ;
        if (i % 2)
            vm_hold(r->vm);
        vm_pause(r->vm);
    }
}

/* Many pauses at random moments, of CPUs that spin, halt, exit all the time and wait for INIT. The window between a
 * thread's look at the request and its KVM_RUN is a few instructions wide, so it is stretched for half of
 * them. A kick lost on the one that spins would be lost for ever. */
static void test_pause_storm(void)
{
    g_autoptr(Rig) r = NULL;
    guint rounds = g_test_slow() ? 10000 : 1000;

    if (!rig_have_kvm())
        return;
    r = rig_new();
    code_count(r);
    RIG_CODE_AT(r, RIG_CODE + 0x100, 0xeb, 0xfe); /* jmp . */
    RIG_CODE_AT(r, RIG_CODE + 0x200, HANG);
    rig_add_cpu(r, 0, TRUE, RIG_CODE);
    rig_add_cpu(r, 1, TRUE, RIG_CODE + 0x100);
    rig_add_cpu(r, 2, TRUE, RIG_CODE + 0x200);
    rig_add_cpu(r, 3, FALSE, 0);
    pause_storm(r, rounds);
    g_atomic_int_set(&slow_entry, 50);
    pause_storm(r, rounds);
    g_atomic_int_set(&slow_entry, 0);
    g_test_message("%u pauses of 4 vCPUs, %d accesses", 2 * rounds, g_atomic_int_get(&r->count));
}

static int by_value(gconstpointer a, gconstpointer b)
{
    gint64 x = *(const gint64 *)a, y = *(const gint64 *)b;

    return x < y ? -1 : x > y;
}

static void measure_pause(Rig *r, const char *what, gboolean halted)
{
    gint64 us[200];

    for (guint i = 0; i < G_N_ELEMENTS(us); i++) {
        gint32 before = rig_ram32(r, 0x2000);
        gint64 start;

        vm_run(r->vm);
        if (halted)
            g_usleep(500);
        else
            rig_wait_for(r, (gint *)(gpointer)(r->ram + 0x2000), before + 1);
        start = g_get_monotonic_time();
        vm_pause(r->vm);
        us[i] = g_get_monotonic_time() - start;
    }
    qsort(us, G_N_ELEMENTS(us), sizeof us[0], by_value);
    g_test_message("pause of a %s guest: median %" G_GINT64_FORMAT " us, p90 %" G_GINT64_FORMAT " us, max %" G_GINT64_FORMAT
                   " us", what, us[100], us[180], us[199]);
    g_assert_cmpint(us[100], <, 100000); /* a lost kick would wait for ever; this is for a broken one */
}

static void test_kick_latency(void)
{
    g_autoptr(Rig) r = NULL;

    if (!rig_have_kvm())
        return;
    r = rig_new();
    RIG_CODE_AT(r, RIG_CODE, 0xff, 0x05, COUNTER_AT, 0xeb, 0xf8); /* 1: incl 0x2000; jmp 1b */
    RIG_CODE_AT(r, RIG_CODE + 0x100, HANG);
    rig_add_cpu(r, 0, TRUE, RIG_CODE);
    measure_pause(r, "spinning", FALSE);
    rig_add_cpu(r, 1, TRUE, RIG_CODE + 0x100);
    vcpu_free(g_steal_pointer(&r->cpus[0]));
    measure_pause(r, "halted", TRUE);
}

/* The instruction after the access that holds the machine does not run before vm_run(). */
static void test_hold_from_hook(void)
{
    g_autoptr(Rig) r = NULL;

    if (!rig_have_kvm())
        return;
    r = rig_new();
    RIG_CODE_AT(r, RIG_CODE, 0xba, COUNT_PORT, 0xb2, 0x82, /* 1: mov $0x82,%dl */
                0xee, 0xff, 0x05, COUNTER_AT,              /* out; incl 0x2000 */
                0xeb, 0xf7);                               /* jmp to the out */
    rig_add_cpu(r, 0, TRUE, RIG_CODE);
    for (gint i = 1; i <= 200; i++) {
        vm_run(r->vm);
        rig_wait_for(r, &r->held, i);
        g_usleep(i % 10 == 0 ? 1000 : 0);
        g_assert_cmpuint(rig_ram32(r, 0x2000), ==, i - 1);
        g_assert(vm_running(r->vm)); /* held, not paused */
        if (i % 2)
            vm_pause(r->vm);
        g_assert_cmpuint(rig_ram32(r, 0x2000), ==, i - 1);
    }
}

/* One vCPU's hold stops the other, which only computes. */
static void test_hold_stops_others(void)
{
    g_autoptr(Rig) r = NULL;

    if (!rig_have_kvm())
        return;
    r = rig_new();
    RIG_CODE_AT(r, RIG_CODE, 0xff, 0x05, COUNTER_AT, 0xeb, 0xf8); /* 1: incl 0x2000; jmp 1b */
    RIG_CODE_AT(r, RIG_CODE + 0x100, 0xba, COUNT_PORT, 0xb2, 0x82, 0xee, HANG);
    rig_add_cpu(r, 0, TRUE, RIG_CODE);
    vm_run(r->vm);
    rig_wait_for(r, (gint *)(gpointer)(r->ram + 0x2000), 10);
    rig_add_cpu(r, 1, TRUE, RIG_CODE + 0x100); /* plugged while running: starts at once */
    rig_wait_for(r, &r->held, 1);
    for (guint i = 0; i < 100; i++) {
        guint32 before = rig_ram32(r, 0x2000);

        g_usleep(2000);
        if (rig_ram32(r, 0x2000) == before)
            return;
    }
    g_test_message("the other vCPU still runs 200 ms after the hold");
    g_test_fail();
}

static void test_halted(void)
{
    g_autoptr(Rig)               r = NULL;
    g_autofree struct kvm_cpuid2 *cpuid = NULL;
    g_autofree char             *dump = NULL;
    GError                      *error = NULL;

    if (!rig_have_kvm())
        return;
    r = rig_new();
    RIG_CODE_AT(r, RIG_CODE, 0xb8, 0x78, 0x56, 0x34, 0x12, 0xe6, 0x81, HANG); /* mov $0x12345678,%eax; done; hlt */
    rig_add_cpu(r, 0, TRUE, RIG_CODE);
    vm_run(r->vm);
    rig_wait(r);
    /* KVM holds a halted vCPU; asking about it must not wait for its next interrupt. */
    dump = vcpu_dump(r->cpus[0]);
    g_assert_nonnull(strstr(dump, "rax    0000000012345678"));
    g_assert(vcpu_get_cpuid(r->cpus[0], &cpuid, &error));
    g_assert_cmpuint(cpuid->nent, >, 5);
    vm_pause(r->vm);
}

/* lidt, then halted with interrupts off until the NMI comes through a 32-bit interrupt gate. */
static void test_nmi(void)
{
    static const guint8 gdt[] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                  0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0, 0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0 };
    static const guint8 idtr[] = { 0xff, 0x07, 0x00, 0x40, 0x00, 0x00 }; /* limit 0x7ff, base 0x4000 */
    static const guint8 gate[] = { 0x00, 0x11, 0x10, 0x00, 0x00, 0x8e, 0x00, 0x00 }; /* 0x10:0x1100 */
    g_autoptr(Rig) r = NULL;
    VcpuBoot  boot = { .mode = VCPU_BOOT_PROT32, .rip = RIG_CODE, .rsp = 0x8000, .gdt = 0x3000, .gdt_limit = sizeof gdt - 1 };
    GError   *error = NULL;

    if (!rig_have_kvm())
        return;
    r = rig_new();
    rig_code(r, 0x3000, gdt, sizeof gdt);
    rig_code(r, 0x3100, idtr, sizeof idtr);
    rig_code(r, 0x4000 + 2 * 8, gate, sizeof gate);
    RIG_CODE_AT(r, RIG_CODE, 0x0f, 0x01, 0x1d, 0x00, 0x31, 0x00, 0x00, /* lidt 0x3100 */
                0xe6, 0x81, HANG);
    RIG_CODE_AT(r, 0x1100, 0xe6, 0x80, 0xe6, 0x81, HANG); /* count; done */
    rig_add_cpu(r, 0, TRUE, RIG_CODE);
    g_assert(vcpu_set_boot(r->cpus[0], &boot, &error));
    vm_run(r->vm);
    rig_wait(r);
    vcpu_nmi(r->cpus[0]);
    rig_wait(r);
    g_assert_cmpint(r->count, ==, 1);
}

/* ---- what ends a run ---- */

static void test_triple_fault(void)
{
    g_autoptr(Rig) r = NULL;
    VcpuBoot  boot = { .mode = VCPU_BOOT_PROT32, .rip = RIG_CODE + 0x100, .rsp = 0x8000 };
    GError   *error = NULL;

    if (!rig_have_kvm())
        return;
    r = rig_new();
    RIG_CODE_AT(r, RIG_CODE, 0x0f, 0x0b); /* ud2 without an IDT */
    RIG_CODE_AT(r, RIG_CODE + 0x100, 0xba, COUNT_PORT, DONE, HANG);
    rig_add_cpu(r, 0, TRUE, RIG_CODE);
    vm_run(r->vm);
    rig_wait(r);
    g_assert_cmpuint(r->triple_faults, ==, 1);
    g_assert_cmpuint(r->faults, ==, 0);
    g_assert_cmpuint(r->reporter, ==, vcpu_index(r->cpus[0]));
    /* The machine lives on after a reset. */
    vm_pause(r->vm);
    g_assert(vcpu_reset(r->cpus[0], TRUE, &error));
    g_assert(vcpu_set_boot(r->cpus[0], &boot, &error));
    vm_run(r->vm);
    rig_wait(r);
    g_assert_cmpuint(r->triple_faults, ==, 1);
}

/* What a vCPU reported is heard although it is gone. */
static void test_free_before_report(void)
{
    g_autoptr(Rig) r = NULL;

    if (!rig_have_kvm())
        return;
    r = rig_new();
    RIG_CODE_AT(r, RIG_CODE, 0x0f, 0x0b);
    rig_add_cpu(r, 0, TRUE, RIG_CODE);
    vm_run(r->vm);
    g_usleep(300000); /* long enough for one instruction */
    vcpu_free(g_steal_pointer(&r->cpus[0]));
    while (g_main_context_iteration(NULL, FALSE))
        ;
    g_assert_cmpuint(r->triple_faults, ==, 1); /* lost, the machine would stay held for ever */
}

static void test_unmapped(void)
{
    g_autoptr(Rig) r = NULL;

    if (!rig_have_kvm())
        return;
    r = rig_new();
    RIG_CODE_AT(r, RIG_CODE, 0xb8, 0x00, 0x00, 0x00, 0xe0, 0xff, 0xe0); /* jmp *0xe0000000 */
    rig_add_cpu(r, 0, TRUE, RIG_CODE);
    vm_run(r->vm);
    rig_wait(r);
    g_assert_cmpuint(r->faults, ==, 1);
    g_assert_cmpstr(r->reason, ==, "emulation-failure");
    g_assert_cmphex(r->rip, ==, 0xe0000000);
    g_assert_nonnull(strstr(r->registers, "rip    00000000e0000000"));
    g_assert_nonnull(strstr(r->registers, "cr0 "));
    vm_pause(r->vm);
}

/* Memory that the host can not give is a report, not a crash. */
static void test_bad_memory(void)
{
    g_autoptr(Rig) r = NULL;
    void   *none = mmap(NULL, 0x10000, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    GError *error = NULL;

    if (!rig_have_kvm())
        return;
    r = rig_new();
    g_assert(vm_memory_add(r->vm, 0x40000000, none, 0x10000, 0, &error));
    RIG_CODE_AT(r, RIG_CODE, 0xb8, 0x00, 0x00, 0x00, 0x40, 0xff, 0xe0); /* jmp *0x40000000 */
    rig_add_cpu(r, 0, TRUE, RIG_CODE);
    vm_run(r->vm);
    rig_wait(r);
    g_assert_cmpuint(r->faults, ==, 1);
    g_test_message("reported as %s", r->reason); /* by hosts whose emulator fetches: an emulation failure */
    g_assert_true(g_str_equal(r->reason, "memory-fault") || g_str_equal(r->reason, "emulation-failure"));
    g_assert_cmpuint(r->insn_len, ==, 0);
    vm_pause(r->vm);
    vm_memory_remove(r->vm, 0x40000000);
    munmap(none, 0x10000);
}

/* ---- plug and unplug ---- */

static void test_many(void)
{
    g_autoptr(Rig) r = NULL;

    if (!rig_have_kvm())
        return;
    r = rig_new();
    code_count(r);
    for (guint i = 0; i < RIG_MAX_CPUS; i++)
        rig_add_cpu(r, i, i == 0, RIG_CODE);
    vm_run(r->vm);
    rig_wait_for(r, &r->count, 100);
    for (guint i = 0; i < 20; i++) {
        vm_pause(r->vm);
        vm_run(r->vm);
    }
    g_assert_cmpuint(cpu_threads(), ==, RIG_MAX_CPUS);
    for (guint i = 1; i < RIG_MAX_CPUS; i++) {
        g_assert_cmpint(vcpu_thread_id(r->cpus[i]), >, 0);
        g_assert_cmpint(vcpu_thread_id(r->cpus[i]), !=, vcpu_thread_id(r->cpus[i - 1]));
    }
    for (guint i = 0; i < RIG_MAX_CPUS; i++)
        vcpu_free(g_steal_pointer(&r->cpus[i]));
    for (guint i = 0; cpu_threads() > 0; i++) { /* a joined thread's entry goes a little later */
        g_assert_cmpuint(i, <, 1000);
        g_usleep(1000);
    }
}

/* One id, unplugged and plugged again while its neighbour runs: no fd, no thread is left over, and it starts afresh. */
static void test_replug(void)
{
    g_autoptr(Rig) r = NULL;
    guint fds = 0;

    if (!rig_have_kvm())
        return;
    r = rig_new();
    code_count(r);
    RIG_CODE_AT(r, RIG_CODE + 0x100, 0xff, 0x05, 0x04, 0x20, 0x00, 0x00, 0xeb, 0xfe); /* incl 0x2004; jmp . */
    rig_add_cpu(r, 0, TRUE, RIG_CODE);
    vm_run(r->vm);
    for (guint i = 0; i < 50; i++) {
        rig_add_cpu(r, 1, TRUE, RIG_CODE + 0x100);
        rig_wait_for(r, (gint *)(gpointer)(r->ram + 0x2004), i + 1);
        if (i == 0)
            fds = entries_in("/proc/self/fd");
        vcpu_free(g_steal_pointer(&r->cpus[1]));
        rig_wait_for(r, &r->count, g_atomic_int_get(&r->count) + 2); /* the neighbour goes on */
    }
    g_assert_cmpuint(entries_in("/proc/self/fd"), ==, fds);
    g_assert_cmpuint(rig_ram32(r, 0x2004), ==, 50);
}

/* What was prepared is taken up, without another descriptor and whatever the guest sent there meanwhile; wrong guesses are few. */
static void test_prepared(void)
{
    static const guint32 early[] = { 0x4400, 0x4500, 0x4699 }; /* NMI, INIT, SIPI */
    g_autoptr(Rig) r = NULL;
    MsiVector *msi;
    VcpuModel  model;
    guint      fds;

    if (!rig_have_kvm())
        return;
    r = rig_new();
    code_count(r);
    RIG_CODE_AT(r, RIG_CODE + 0x100, 0xff, 0x05, 0x04, 0x20, 0x00, 0x00, 0xeb, 0xfe); /* incl 0x2004; jmp . */
    rig_add_cpu(r, 0, TRUE, RIG_CODE);
    vm_run(r->vm);
    rig_wait_for(r, &r->count, 1);
    model = rig_model(r);
    msi_vector_free(msi_vector_new(r->vm, "guest")); /* what the first one opens stays */
    fds = entries_in("/proc/self/fd");
    vcpu_prepare(r->vm, 1, &model);
    g_assert_cmpuint(entries_in("/proc/self/fd"), ==, fds + 1);
    vcpu_prepare(r->vm, 1, &model); /* it is there */
    g_assert_cmpuint(entries_in("/proc/self/fd"), ==, fds + 1);
    msi = msi_vector_new(r->vm, "guest");
    for (guint i = 0; i < G_N_ELEMENTS(early); i++) {
        msi_vector_set(msi, 0xfee01000, early[i], FALSE); /* for APIC id 1, before there is such a CPU */
        msi_vector_fire(msi);
    }
    msi_vector_free(msi);
    rig_add_cpu(r, 1, TRUE, RIG_CODE + 0x100);
    g_assert_cmpuint(entries_in("/proc/self/fd"), ==, fds + 1);
    rig_wait_for(r, (gint *)(gpointer)(r->ram + 0x2004), 1); /* it starts where it shall */
    for (guint id = 10; id < 30; id++)
        vcpu_prepare(r->vm, id, &model);
    g_assert_cmpuint(entries_in("/proc/self/fd"), <=, fds + 5);
}

static void test_replug_other_model(void)
{
    g_autoptr(Rig) r = NULL;
    VcpuModel  model;
    GError    *error = NULL;
    Vcpu      *v;

    if (!rig_have_kvm())
        return;
    r = rig_new();
    RIG_CODE_AT(r, RIG_CODE, 0xba, COUNT_PORT, DONE, HANG);
    rig_add_cpu(r, 3, TRUE, RIG_CODE);
    model = rig_model(r);
    g_assert_null(vcpu_new(r->vm, 3, 3, &model, &error));
    g_assert_nonnull(strstr(error->message, "there is a CPU with APIC id 3"));
    g_clear_error(&error);
    vm_run(r->vm);
    rig_wait(r);
    vcpu_free(g_steal_pointer(&r->cpus[3]));
    model.n_cpuid--;
    g_assert_null(vcpu_new(r->vm, 3, 3, &model, &error));
    g_assert_nonnull(strstr(error->message, "another CPUID table"));
    g_clear_error(&error);
    v = vcpu_new(r->vm, 4, 4, &model, &error); /* another slot takes it */
    g_assert_no_error(error);
    vcpu_free(v);
    v = vcpu_new(r->vm, 4, 4, &model, &error); /* never ran: any model */
    g_assert_no_error(error);
    vcpu_free(v);
    vcpu_prepare(r->vm, 5, &model);
    model.n_cpuid--;
    v = vcpu_new(r->vm, 5, 5, &model, &error); /* prepared for another: any model too */
    g_assert_no_error(error);
    vcpu_free(v);
}

static void test_bad_id(void)
{
    g_autoptr(Rig) r = NULL;
    g_autoptr(GError) error = NULL;
    VcpuModel model;

    if (!rig_have_kvm())
        return;
    r = rig_new();
    model = rig_model(r);
    g_assert_null(vcpu_new(r->vm, 0, 1u << 24, &model, &error));
    g_assert_nonnull(strstr(error->message, "16777216"));
}

/* ---- cost ---- */

static int count_instructions(pid_t tid)
{
    struct perf_event_attr a = { .type = PERF_TYPE_HARDWARE, .size = sizeof a, .config = PERF_COUNT_HW_INSTRUCTIONS,
                                 .exclude_kernel = 1, .exclude_hv = 1, .exclude_guest = 1 };

    return (int)syscall(SYS_perf_event_open, &a, tid, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

static void test_cost(void)
{
    g_autoptr(Rig) r = NULL;
    guint64 before = 0, after = 0;
    gint    first, last;
    gint64  t;
    int     fd;

    if (!rig_have_kvm())
        return;
    r = rig_new();
    RIG_CODE_AT(r, RIG_CODE, 0xba, COUNT_PORT, 0xee, 0xeb, 0xfd);
    rig_add_cpu(r, 0, TRUE, RIG_CODE);
    fd = count_instructions(vcpu_thread_id(r->cpus[0]));
    vm_run(r->vm);
    rig_wait_for(r, &r->count, 1000);
    vm_pause(r->vm);
    first = r->count;
    g_assert_true(fd < 0 || read(fd, &before, sizeof before) == sizeof before);
    t = g_get_monotonic_time();
    vm_run(r->vm);
    rig_wait_for(r, &r->count, first + 20000);
    vm_pause(r->vm);
    t = g_get_monotonic_time() - t;
    last = r->count;
    g_assert_true(fd < 0 || read(fd, &after, sizeof after) == sizeof after);
    g_test_message("%d exits, %.2f us each", last - first, (double)t / (last - first));
    if (fd < 0 || after == before) {
        g_test_message("user instructions can not be counted here: %s", fd < 0 ? g_strerror(errno) : "the counter stands still");
    } else {
        double each = (double)(after - before) / (last - first);

        g_test_message("%.0f user instructions an exit", each);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && defined(__OPTIMIZE__)
        g_assert_cmpfloat(each, <=, 400);
#endif
    }
    if (fd >= 0)
        close(fd);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    alarm(g_test_slow() ? 1800 : 240); /* a lost kick shows as a hang */
    g_test_add_func("/vcpu/sixteen-bytes", test_sixteen_bytes);
    g_test_add_func("/vcpu/mmio", test_mmio);
    g_test_add_func("/vcpu/string-io", test_string_io);
    g_test_add_func("/vcpu/coalesced", test_coalesced);
    g_test_add_func("/vcpu/ioeventfd", test_ioeventfd);
    g_test_add_func("/vcpu/pause-resume", test_pause_resume);
    g_test_add_func("/vcpu/pause-storm", test_pause_storm);
    g_test_add_func("/vcpu/kick-latency", test_kick_latency);
    g_test_add_func("/vcpu/hold-from-hook", test_hold_from_hook);
    g_test_add_func("/vcpu/hold-stops-others", test_hold_stops_others);
    g_test_add_func("/vcpu/halted", test_halted);
    g_test_add_func("/vcpu/nmi", test_nmi);
    g_test_add_func("/vcpu/triple-fault", test_triple_fault);
    g_test_add_func("/vcpu/free-before-report", test_free_before_report);
    g_test_add_func("/vcpu/unmapped", test_unmapped);
    g_test_add_func("/vcpu/bad-memory", test_bad_memory);
    g_test_add_func("/vcpu/many", test_many);
    g_test_add_func("/vcpu/replug", test_replug);
    g_test_add_func("/vcpu/prepared", test_prepared);
    g_test_add_func("/vcpu/replug-other-model", test_replug_other_model);
    g_test_add_func("/vcpu/bad-id", test_bad_id);
    g_test_add_func("/vcpu/cost", test_cost);
    return g_test_run();
}

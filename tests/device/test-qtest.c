/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-qtest.c - the qtest protocol (docs/design/testing.md section 3): each command's exact
 * replies, its errors, interrupts, the clock, and the same over sockets with clients that split,
 * stuff, stall and leave.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../kvm/iobus.h"
#include "../../kvm/irq.h"
#include "../../kvm/memory.h"
#include "../../kvm/vm.h"

#define RAM_BASE 0x100000
#define RAM_SIZE 0x10000
#define MMIO_BASE 0xd0000000

typedef struct {
    Vm       *vm;
    guint8   *ram;
    GString  *log; /* accesses to the device */
    guint64   reg;
    GMutex    lock;
    IoRegion *ports, *mmio;
    guint     gone;
} Fixture;

static guint64 dev_read(gpointer opaque, guint64 offset, unsigned size)
{
    Fixture *f = opaque;

    g_string_append_printf(f->log, "r%u@%" G_GINT64_MODIFIER "x ", size, offset);
    return f->reg;
}

static void dev_write(gpointer opaque, guint64 offset, guint64 value, unsigned size)
{
    Fixture *f = opaque;

    g_string_append_printf(f->log, "w%u@%" G_GINT64_MODIFIER "x=%" G_GINT64_MODIFIER "x ", size,
                           offset, value);
    f->reg = value;
}

static void on_gone(gpointer user)
{
    ((Fixture *)user)->gone++;
}

static void set_up(Fixture *f, gconstpointer data)
{
    static const VmObserver observer = { .qtest_gone = on_gone };
    static const IoOps ops = { dev_read, dev_write, 0, 0, FALSE };
    g_autoptr(GError) error = NULL;

    f->vm = vm_new(VM_ACCEL_TEST, &observer, f, &error);
    g_assert_no_error(error);
    f->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    g_assert_true(f->ram != MAP_FAILED);
    vm_memory_add(f->vm, RAM_BASE, f->ram, RAM_SIZE, 0, &error);
    g_assert_no_error(error);
    f->log = g_string_new(NULL);
    g_mutex_init(&f->lock);
    f->ports = iobus_add(f->vm, IO_PIO, 0x500, 8, &ops, f, &f->lock, 0, "dev", &error);
    g_assert_no_error(error);
    f->mmio = iobus_add(f->vm, IO_MMIO, MMIO_BASE, 0x1000, &ops, f, &f->lock, 0, "dev", &error);
    g_assert_no_error(error);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    iobus_remove(f->vm, f->ports);
    iobus_remove(f->vm, f->mmio);
    vm_memory_remove(f->vm, RAM_BASE);
    vm_free(f->vm);
    munmap(f->ram, RAM_SIZE);
    g_string_free(f->log, TRUE);
    g_mutex_clear(&f->lock);
}

static void expect(Fixture *f, const char *request, const char *reply)
{
    g_autofree char *got = vm_qtest_line(f->vm, request);

    g_assert_cmpstr(got, ==, reply);
}

static void expect_log(Fixture *f, const char *log)
{
    g_assert_cmpstr(f->log->str, ==, log);
    g_string_truncate(f->log, 0);
}

/* ---- in process ---- */

static void test_ports(Fixture *f, gconstpointer data)
{
    expect(f, "endianness", "OK little\n");
    expect(f, "outb 0x500 0xab", "OK\n");
    expect(f, "outw 1282 513", "OK\n");
    expect(f, "outl 02404 0xdeadbeef\n", "OK\n");
    expect_log(f, "w1@0=ab w2@2=201 w4@4=deadbeef ");
    expect(f, "inl 0x504", "OK 0xdeadbeef\n");
    expect(f, "inw 0x500", "OK 0xbeef\n");
    expect(f, "inb 0x500", "OK 0x00ef\n");
    expect_log(f, "r4@4 r2@0 r1@0 ");
    /* Nobody's: all ones; port 0 is the clients' barrier. */
    expect(f, "inb 0", "OK 0x00ff\n");
    expect(f, "inl 0xfffc", "OK 0xffffffff\n");
    expect(f, "outb 0xffff 0", "OK\n");
}

static void test_memory(Fixture *f, gconstpointer data)
{
    expect(f, "writeq 0x100008 0x1122334455667788", "OK\n");
    expect(f, "readq 0x100008", "OK 0x1122334455667788\n");
    expect(f, "readl 0x100008", "OK 0x0000000055667788\n");
    expect(f, "readw 0x10000c", "OK 0x0000000000003344\n");
    expect(f, "readb 0x10000f", "OK 0x0000000000000011\n");
    g_assert_cmphex(f->ram[8], ==, 0x88);
    expect(f, "writel 0xd0000010 0x12345678", "OK\n");
    expect(f, "readb 0xd0000011", "OK 0x0000000000000078\n");
    expect_log(f, "w4@10=12345678 r1@11 ");
    expect(f, "readq 0x5000", "OK 0xffffffffffffffff\n");
    expect(f, "writeb 0x5000 1", "OK\n");
    expect(f, "readb 0xffffffffffffffff", "OK 0x00000000000000ff\n");
    expect(f, "readw 0xffffffffffffffff",
           "ERR readw: ADDR is 0xffffffffffffffff, at most 0xfffffffffffffffe is possible\n");
}

static void test_bytes(Fixture *f, gconstpointer data)
{
    expect(f, "write 0x100000 5 0x0102030405", "OK\n");
    expect(f, "read 0x100000 6", "OK 0x010203040500\n");
    expect(f, "write 0x100001 4 0xAA", "OK\n"); /* missing bytes are zero */
    expect(f, "read 0x100000 6", "OK 0x01aa00000000\n");
    expect(f, "write 0x100000 0 0x", "OK\n");
    expect(f, "memset 0x100000 3 0x5a", "OK\n");
    expect(f, "b64read 0x100000 4", "OK WlpaAA==\n");
    expect(f, "b64write 0x100010 4 3q2+7w==", "OK\n");
    expect(f, "readl 0x100010", "OK 0x00000000efbeadde\n");
    expect(f, "memset 0x100000 0 1", "OK\n");
    /* From RAM into what is no RAM, and back. */
    expect(f, "write 0x10fffe 4 0x01020304", "OK\n");
    expect(f, "read 0x10fffe 4", "OK 0x0102ffff\n");
    expect(f, "read 0xffffe 4", "OK 0xffff5a5a\n");
}

static void test_bytes_on_mmio(Fixture *f, gconstpointer data)
{
    expect(f, "write 0xd0000020 4 0x78563412", "OK\n");
    expect(f, "read 0xd0000020 4", "OK 0x78563412\n");
    expect_log(f, "w4@20=12345678 r4@20 "); /* one access each */
    expect(f, "write 0xd0000022 3 0x112233", "OK\n");
    expect_log(f, "w2@22=2211 w1@24=33 ");
    expect(f, "write 0xd0000ffe 4 0x11223344", "OK\n"); /* beyond the region: dropped */
    expect_log(f, "w2@ffe=2211 ");
    expect(f, "memset 0xd0000000 12 0xff", "OK\n");
    expect_log(f, "w8@0=ffffffffffffffff w4@8=ffffffff ");
}

static void test_read_only(Fixture *f, gconstpointer data)
{
    guint8 *rom = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    g_assert_true(vm_memory_add(f->vm, 0x200000, rom, 0x1000, MEM_READONLY, NULL));
    rom[0] = 0x42;
    expect(f, "writeb 0x200000 1", "OK\n");
    expect(f, "readb 0x200000", "OK 0x0000000000000042\n");
    vm_memory_remove(f->vm, 0x200000);
    munmap(rom, 0x1000);
}

static void test_errors(Fixture *f, gconstpointer data)
{
    static const char *const cases[][2] = {
        { "", "FAIL Unknown command ''\n" },
        { "bogus 1 2 3 4 5 6 7", "FAIL Unknown command 'bogus'\n" },
        { "INB 0", "FAIL Unknown command 'INB'\n" },
        { " inb 0", "FAIL Unknown command ''\n" },
        { "inb", "ERR inb: the form is 'inb PORT'\n" },
        { "inb  0", "ERR inb: the form is 'inb PORT'\n" },
        { "inb 0 ", "ERR inb: the form is 'inb PORT'\n" },
        { "endianness x", "ERR endianness: the form is 'endianness'\n" },
        { "set_irq_in ioapic unnamed-gpio-in 1 1 1",
          "ERR set_irq_in: the form is 'set_irq_in PATH NAME NUM LEVEL'\n" },
        { "inb 0x10000", "ERR inb: PORT is 0x10000, at most 0xffff is possible\n" },
        { "inb 0x", "ERR inb: PORT '0x' is no number from 0 to 0xffff in C's syntax\n" },
        { "inb -1", "ERR inb: PORT '-1' is no number from 0 to 0xffff in C's syntax\n" },
        { "inb 08", "ERR inb: PORT '08' is no number from 0 to 0xffff in C's syntax\n" },
        { "inb 1f", "ERR inb: PORT '1f' is no number from 0 to 0xffff in C's syntax\n" },
        { "inb 0x1g", "ERR inb: PORT '0x1g' is no number from 0 to 0xffff in C's syntax\n" },
        { "inb 0x10000000000000000",
          "ERR inb: PORT '0x10000000000000000' is no number from 0 to 0xffff in C's syntax\n" },
        { "outb 0x500 256", "ERR outb: VAL is 0x100, at most 0xff is possible\n" },
        { "writel 0 0x100000000",
          "ERR writel: VAL is 0x100000000, at most 0xffffffff is possible\n" },
        { "read 0 0xffffffffffff",
          "ERR read: LEN is 0xffffffffffff, at most 0x1000000 is possible\n" },
        { "read 0 0", "ERR read: LEN is 0\n" },
        { "b64read 0 0", "ERR b64read: LEN is 0\n" },
        { "read 0xffffffffffffffff 2",
          "ERR read: 0x2 bytes from 0xffffffffffffffff leave the address space\n" },
        { "write 0 2 0x112233", "ERR write: 3 bytes of data, and LEN is 2\n" },
        { "write 0 2 112233", "ERR write: the data is not 0x and pairs of hexadecimal digits\n" },
        { "write 0 2 0x1", "ERR write: the data is not 0x and pairs of hexadecimal digits\n" },
        { "write 0 2 0xzz", "ERR write: the data is not 0x and pairs of hexadecimal digits\n" },
        { "write 0 2 ", "ERR write: the data is not 0x and pairs of hexadecimal digits\n" },
        { "b64write 0 2 ????", "ERR b64write: the data is not base64\n" },
        { "b64write 0 2 AAA", "ERR b64write: the data is not base64\n" },
        { "b64write 0 2 AAAA", "ERR b64write: 3 bytes of data, and LEN is 2\n" },
        { "memset 0 1 256", "ERR memset: BYTE is 0x100, at most 0xff is possible\n" },
        { "memset 0 0x8000000 0",
          "ERR memset: LEN is 0x8000000, at most 0x1000000 is possible outside RAM\n" },
        { "irq_intercept_in nosuch", "FAIL Unknown device\n" },
        { "irq_intercept_in apic", "FAIL Unknown device\n" },
        { "irq_intercept_out nosuch", "FAIL Unknown device\n" },
        { "irq_intercept_out pit other", "FAIL Unknown output 'other'\n" },
        { "set_irq_in nosuch unnamed-gpio-in 1 1", "FAIL Unknown device\n" },
        { "set_irq_in ioapic other 1 1", "FAIL Unknown input 'other'\n" },
        { "set_irq_in ioapic unnamed-gpio-in 24 1",
          "ERR set_irq_in: NUM is 0x18, at most 0x17 is possible\n" },
        { "clock_step -1",
          "ERR clock_step: N '-1' is no number from 0 to 0x1fffffffffffffff in C's syntax\n" },
        { "clock_set 0x7fffffffffffffff",
          "ERR clock_set: T is 0x7fffffffffffffff, at most 0x1fffffffffffffff is possible\n" },
    };

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++)
        expect(f, cases[i][0], cases[i][1]);
    expect_log(f, "");
}

/* What is echoed is short and printable. */
static void test_error_quotes(Fixture *f, gconstpointer data)
{
    g_autofree char *word = g_strnfill(100000, 'x');
    g_autofree char *reply = vm_qtest_line(f->vm, word), *reply2 = NULL;
    g_autofree char *number = g_strconcat("inb ", word, NULL);

    g_assert_cmpuint(strlen(reply), <, 300);
    reply2 = vm_qtest_line(f->vm, number);
    g_assert_cmpuint(strlen(reply2), <, 200);
    g_free(g_steal_pointer(&reply));
    reply = vm_qtest_line(f->vm, "a\x01\xff\r");
    for (const char *p = reply; *p != '\n'; p++)
        g_assert_true(g_ascii_isprint(*p));
}

static void count_call(gpointer user)
{
    ++*(guint *)user;
}

static void test_clock(Fixture *f, gconstpointer data)
{
    guint calls = 0;
    VmTimer *timer = vm_timer_new(f->vm, NULL, count_call, &calls);

    expect(f, "clock_step", "OK 0\n"); /* no deadline: stays */
    expect(f, "clock_step 100", "OK 100\n");
    vm_timer_set(timer, 500);
    expect(f, "clock_step", "OK 500\n");
    g_assert_cmpuint(calls, ==, 1);
    expect(f, "clock_set 1000", "OK 1000\n");
    expect(f, "clock_set 10", "OK 1000\n"); /* not back */
    vm_timer_set(timer, 1001);
    expect(f, "clock_step 0", "OK 1000\n");
    g_assert_cmpuint(calls, ==, 1);
    expect(f, "clock_step 1", "OK 1001\n");
    g_assert_cmpuint(calls, ==, 2);
    vm_timer_free(timer);
}

static void test_intercept_in(Fixture *f, gconstpointer data)
{
    IrqLine *a = irq_line_new(f->vm, 4, "a"), *b = irq_line_new(f->vm, 4, "b");

    irq_line_set(a, TRUE); /* before: not reported */
    irq_line_set(a, FALSE);
    expect(f, "irq_intercept_in ioapic", "OK\n");
    irq_line_set(a, TRUE);
    irq_line_set(b, TRUE);
    irq_line_set(a, FALSE);
    expect(f, "inb 0", "IRQ raise 4\nOK 0x00ff\n");
    irq_line_set(b, FALSE);
    expect(f, "inb 0", "IRQ lower 4\nOK 0x00ff\n");
    expect(f, "inb 0", "OK 0x00ff\n");
    /* A change by the request itself comes before its reply. */
    expect(f, "set_irq_in /machine/unattached/ioapic unnamed-gpio-in 23 1", "IRQ raise 23\nOK\n");
    expect(f, "set_irq_in ioapic unnamed-gpio-in 23 0", "IRQ lower 23\nOK\n");
    expect(f, "irq_intercept_in unattached/ioapic", "OK\n"); /* again */
    expect(f, "irq_intercept_out pit", "FAIL IRQ intercept already enabled\n");
    irq_line_free(a);
    irq_line_free(b);
}

static void test_intercept_out(Fixture *f, gconstpointer data)
{
    IrqLine *a = irq_line_new(f->vm, 4, "/machine/peripheral/s0"),
            *b = irq_line_new(f->vm, 5, "/machine/peripheral/s0");
    IrqLine *other = irq_line_new(f->vm, 4, "/machine/peripheral/s1");

    expect(f, "irq_intercept_out peripheral/s0 sysbus-irq", "OK\n");
    irq_line_set(other, TRUE);
    irq_line_set(a, TRUE); /* the pin is high already: the output still changes */
    irq_line_set(b, TRUE);
    expect(f, "inb 0", "IRQ raise 0\nIRQ raise 1\nOK 0x00ff\n");
    expect(f, "irq_intercept_in ioapic", "FAIL IRQ intercept already enabled\n");
    irq_line_free(a);
    irq_line_free(b);
    irq_line_free(other);
}

static void test_msi(Fixture *f, gconstpointer data)
{
    MsiVector *v = msi_vector_new(f->vm, "dev");
    guint64 address, one = 1;
    guint32 msg;
    int fd;

    /* To RAM, as tests of MSI-X program it. */
    msi_vector_set(v, RAM_BASE + 0x40, 0x12345678, FALSE);
    msi_vector_fire(v);
    expect(f, "readl 0x100040", "OK 0x0000000012345678\n");
    g_assert_false(vm_test_take_msi(f->vm, &address, &msg));
    /* To the LAPICs: a record. */
    msi_vector_set(v, 0xfee01000, 0x4041, FALSE);
    msi_vector_fire(v);
    g_assert_true(vm_test_take_msi(f->vm, &address, &msg));
    g_assert_cmphex(address, ==, 0xfee01000);
    g_assert_cmphex(msg, ==, 0x4041);
    g_assert_false(vm_test_take_msi(f->vm, &address, &msg));
    /* To a device. */
    msi_vector_set(v, MMIO_BASE, 7, FALSE);
    msi_vector_fire(v);
    expect_log(f, "w4@0=7 ");
    /* By eventfd: delivered by the next request at the latest. */
    fd = msi_vector_fd(v, NULL);
    msi_vector_set(v, RAM_BASE + 0x44, 9, FALSE);
    g_assert_cmpint(write(fd, &one, sizeof one), ==, sizeof one);
    expect(f, "readl 0x100044", "OK 0x0000000000000009\n");
    msi_vector_free(v);
}

/* ---- over a socket ---- */

static void say(int fd, const char *text)
{
    g_assert_cmpint(write(fd, text, strlen(text)), ==, strlen(text));
}

/* Reads until TEXT came, driving the main loop. */
static void hear(int fd, const char *text)
{
    g_autoptr(GString) got = g_string_new(NULL);

    while (got->len < strlen(text)) {
        char buf[512];
        gssize n = recv(fd, buf, MIN(sizeof buf, strlen(text) - got->len), MSG_DONTWAIT);

        if (n > 0)
            g_string_append_len(got, buf, n);
        else if (n == 0 || errno != EAGAIN)
            break;
        else
            g_main_context_iteration(NULL, TRUE);
    }
    g_assert_cmpstr(got->str, ==, text);
}

static void settle(void)
{
    while (g_main_context_iteration(NULL, FALSE))
        ;
}

static int attach(Fixture *f)
{
    g_autoptr(GError) error = NULL;
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    vm_qtest_attach(f->vm, fds[0], &error);
    g_assert_no_error(error);
    return fds[1];
}

static void test_socket(Fixture *f, gconstpointer data)
{
    int fd = attach(f);
    g_autoptr(GError) error = NULL;

    say(fd, "endianness\n");
    hear(fd, "OK little\n");
    /* In pieces, and several at once. */
    for (const char *p = "outb 0x500 1\n"; *p; p++) {
        char byte[2] = { *p, 0 };

        say(fd, byte);
        settle();
    }
    hear(fd, "OK\n");
    say(fd, "inb 0x500\ninb 0x501\nbogus\ninb 0\nin");
    hear(fd, "OK 0x0001\nOK 0x0001\nFAIL Unknown command 'bogus'\nOK 0x00ff\n");
    say(fd, "b 0\n");
    hear(fd, "OK 0x00ff\n");
    g_assert_cmpint(write(fd, "inb\0 0\n", 7), ==, 7);
    hear(fd, "ERR a NUL byte in the line\n");

    g_assert_false(vm_qtest_attach(f->vm, dup(fd), &error));
    g_assert_cmpstr(error->message, ==, "A qtest client is connected already");
    close(fd);
    settle();
    g_assert_cmpuint(f->gone, ==, 1);
    /* Then another may. */
    fd = attach(f);
    say(fd, "inb 0\n");
    hear(fd, "OK 0x00ff\n");
    close(fd);
}

static void test_socket_events(Fixture *f, gconstpointer data)
{
    IrqLine *line = irq_line_new(f->vm, 11, "dev");
    int fd = attach(f);

    say(fd, "irq_intercept_in ioapic\n");
    hear(fd, "OK\n");
    irq_line_set(line, TRUE); /* unasked */
    hear(fd, "IRQ raise 11\n");
    irq_line_set(line, FALSE);
    hear(fd, "IRQ lower 11\n");
    close(fd);
    settle();
    /* The next client has no intercept of the last one's, nor lines that it drove. */
    fd = attach(f);
    irq_line_set(line, TRUE);
    say(fd, "inb 0\n");
    hear(fd, "OK 0x00ff\n");
    irq_line_free(line);
    close(fd);
}

static gpointer toggle(gpointer user)
{
    for (guint i = 0; i < 200; i++)
        irq_line_set(user, i % 2 == 0);
    return NULL;
}

/* From another thread, as a vCPU or I/O thread would. */
static void test_socket_events_threads(Fixture *f, gconstpointer data)
{
    IrqLine *line = irq_line_new(f->vm, 11, "dev");
    int fd = attach(f);
    GThread *thread;

    say(fd, "irq_intercept_in ioapic\n");
    hear(fd, "OK\n");
    thread = g_thread_new("toggle", toggle, line);
    for (guint i = 0; i < 200; i++)
        hear(fd, i % 2 == 0 ? "IRQ raise 11\n" : "IRQ lower 11\n");
    g_thread_join(thread);
    irq_line_free(line);
    close(fd);
}

static void test_long_line(Fixture *f, gconstpointer data)
{
    int fd = attach(f);
    g_autofree char *filler = g_strnfill(1 << 20, 'a');
    gsize left = 40u << 20, at = 0;

    g_assert_true(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    while (left > 0) {
        gssize n = write(fd, filler + at, MIN((gsize)(1 << 20) - at, left));

        if (n > 0)
            left -= (gsize)n;
        at = n > 0 ? (at + (gsize)n) % (1 << 20) : at;
        g_main_context_iteration(NULL, FALSE);
    }
    hear(fd, "ERR a line of more than 34603008 bytes\n");
    say(fd, "\ninb 0\n");
    hear(fd, "OK 0x00ff\n");
    close(fd);
}

/* A client that asks and never reads is not served for ever, and costs bounded memory. */
static void test_stalled_client(Fixture *f, gconstpointer data)
{
    static const char request[] = "read 0x100000 0x8000\n";
    int fd = attach(f);
    guint asked = 0, blocked = 0, answered = 0;
    gsize bytes = 0;

    g_assert_true(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    while (blocked < 100) {
        gssize n = write(fd, request, sizeof request - 1);

        if (n == sizeof request - 1)
            asked++;
        else
            g_assert_cmpint(n, ==, -1);
        blocked = n < 0 ? blocked + 1 : 0;
        g_main_context_iteration(NULL, FALSE);
    }
    g_test_message("%u requests taken", asked);
    g_assert_cmpuint(asked, >, 10);
    /* Once it reads, all are answered. */
    while (answered < asked) {
        char buf[65536];
        gssize n = recv(fd, buf, sizeof buf, MSG_DONTWAIT);

        if (n < 0) {
            g_main_context_iteration(NULL, TRUE);
            continue;
        }
        bytes += (gsize)n;
        for (gssize i = 0; i < n; i++)
            answered += buf[i] == '\n';
    }
    g_assert_cmpuint(bytes, ==, (gsize)asked * (5 + 2 * 0x8000 + 1));
    close(fd);
}

/* What was asked before the end is answered, the rest of a line is not. */
static void test_half_closed(Fixture *f, gconstpointer data)
{
    int fd = attach(f);

    say(fd, "inb 0\noutb 0x500 3\noutb 0x500 4");
    shutdown(fd, SHUT_WR);
    hear(fd, "OK 0x00ff\nOK\n");
    settle();
    g_assert_cmpuint(f->gone, ==, 1);
    expect_log(f, "w1@0=3 ");
    close(fd);
}

static int connect_to(const struct sockaddr_un *address, socklen_t len)
{
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    g_assert_cmpint(connect(fd, (const struct sockaddr *)address, len), ==, 0);
    return fd;
}

/* An abstract address: nothing to clean up. */
static void test_listen(Fixture *f, gconstpointer data)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    socklen_t len = sizeof(sa_family_t);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0), first, second;

    g_assert_cmpint(bind(listener, (struct sockaddr *)&address, len), ==, 0); /* autobind */
    len = sizeof address;
    g_assert_cmpint(getsockname(listener, (struct sockaddr *)&address, &len), ==, 0);
    g_assert_cmpint(listen(listener, 4), ==, 0);
    g_assert_true(vm_qtest_listen(f->vm, listener, NULL));

    first = connect_to(&address, len);
    second = connect_to(&address, len);
    say(first, "inb 0\n");
    say(second, "endianness\n");
    hear(first, "OK 0x00ff\n");
    settle();
    g_assert_cmpint(recv(second, &(char){ 0 }, 1, MSG_DONTWAIT), ==, -1); /* waits for its turn */
    close(first);
    hear(second, "OK little\n");
    g_assert_cmpuint(f->gone, ==, 1);
    close(second);
    settle();
    g_assert_cmpuint(f->gone, ==, 2);
}

static void test_freed_with_client(void)
{
    g_autoptr(GError) error = NULL;
    Vm *vm = vm_new(VM_ACCEL_TEST, NULL, NULL, &error);
    int fds[2];

    g_assert_no_error(error);
    g_assert_cmpint(vm_fd(vm), ==, -1);
    g_assert_cmpint(vm_kvm_fd(vm), ==, -1);
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    g_assert_true(vm_qtest_attach(vm, fds[0], NULL));
    vm_free(vm); /* with a client connected: it sees the end */
    g_assert_cmpint(recv(fds[1], &(char){ 0 }, 1, 0), ==, 0);
    close(fds[1]);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, fn) g_test_add("/qtest/" name, Fixture, NULL, set_up, fn, tear_down)
    ADD("ports", test_ports);
    ADD("memory", test_memory);
    ADD("bytes", test_bytes);
    ADD("bytes-on-mmio", test_bytes_on_mmio);
    ADD("read-only", test_read_only);
    ADD("errors", test_errors);
    ADD("error-quotes", test_error_quotes);
    ADD("clock", test_clock);
    ADD("intercept-in", test_intercept_in);
    ADD("intercept-out", test_intercept_out);
    ADD("msi", test_msi);
    ADD("socket", test_socket);
    ADD("socket-events", test_socket_events);
    ADD("socket-events-threads", test_socket_events_threads);
    ADD("long-line", test_long_line);
    ADD("stalled-client", test_stalled_client);
    ADD("half-closed", test_half_closed);
    ADD("listen", test_listen);
    g_test_add_func("/qtest/freed-with-client", test_freed_with_client);
    return g_test_run();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Places on a bus, capability lists, BARs: sizes, moves, overlap, events, moves under load. */
#include <sys/eventfd.h>

#include "pci-test.h"

#define FN fn_at(0, 4, 0)
#define DEV4 "{\"id\": \"dev\", \"addr\": \"4\"}"

static void start(BoardTest *t)
{
    board_test_init(t, BOARD_DEFAULT);
    pci_plug(t, "pci-testdev", DEV4);
}

/* ---- places ---- */

static void test_addr_forms(void)
{
    static const struct {
        const char *said, *is;
    } cases[] = { { "4", "04.0" },    { "0x4", "04.0" },  { "04.0", "04.0" }, { "1f.1", "1f.1" },
                  { "1E.7", "1e.7" }, { "0X10.0x3", "10.3" } };

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        BoardTest t;
        g_autofree char *json =
            g_strdup_printf("{\"addr\": \"%s\", \"multifunction\": true}", cases[i].said);
        board_test_init(&t, BOARD_DEFAULT);
        if (g_str_has_prefix(cases[i].is, "1f"))
            pci_plug_fails(&t, "pci-testdev", json,
                           "Property 'addr' of device 'pci-testdev.0': device 'board.0/ICH9-LPC' "
                           "has slot 1f of bus 'pcie.0' for itself; it would need multifunction");
        else
            g_assert_cmpstr(addr_of(pci_plug(&t, "pci-testdev", json)), ==, cases[i].is);
        board_test_clear(&t);
    }
}

static void test_addr_refused(void)
{
    static const char *const bad[] = { "20", "1.8", "x", "1.2.3", ".1", "1.", "-1", "0x", " 4" };
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *json = g_strdup_printf("{\"id\": \"d\", \"addr\": \"%s\"}", bad[i]);
        g_autofree char *message = g_strdup_printf(
            "Property 'addr' of device 'd' does not accept '%s': a slot 0 to 1f, or "
            "'slot.function', in hexadecimal", bad[i]);
        pci_plug_fails(&t, "pci-testdev", json, message);
    }
    pci_plug_fails(&t, "pci-testdev", "{\"id\": \"d\", \"bus\": \"nowhere\"}",
                   "Property 'bus' of device 'd': there is no PCI bus 'nowhere'");
    board_test_clear(&t);
}

static void test_addr_lowest_free(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    pci_plug(&t, "pci-testdev", "{\"id\": \"two\", \"addr\": \"2\"}");
    g_assert_cmpstr(addr_of(pci_plug(&t, "pci-testdev", "{\"id\": \"a\"}")), ==, "01.0");
    g_assert_cmpstr(addr_of(pci_plug(&t, "pci-testdev", "{\"id\": \"b\"}")), ==, "03.0");
    g_assert_true(device_remove(device_set_find(t.set, NS_DEVICE, "a"), NULL));
    Device *again = pci_plug(&t, "pci-testdev", "{\"id\": \"c\"}");
    g_assert_cmpstr(addr_of(again), ==, "01.0");
    g_assert_cmpint(prop_bag_origin(again->bag, "addr"), ==, ORIGIN_DEFAULT);
    pci_plug_fails(&t, "pci-testdev", "{\"id\": \"d\", \"addr\": \"3\"}",
                   "Device 'd': PCI slot pcie.0:03.0 is in use by device 'b'");
    for (guint i = 4; i < 31; i++)
        pci_plug(&t, "pci-testdev", "{}");
    pci_plug_fails(&t, "pci-testdev", "{\"id\": \"d\"}", "Device 'd': bus 'pcie.0' has no free slot");
    board_test_clear(&t);
}

static void test_multifunction(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    pci_plug(&t, "pci-testdev", "{\"id\": \"alone\", \"addr\": \"1\"}");
    pci_plug_fails(&t, "pci-testdev", "{\"id\": \"d\", \"addr\": \"1.1\"}",
                   "Property 'addr' of device 'd': device 'alone' has slot 1 of bus 'pcie.0' for "
                   "itself; it would need multifunction");
    pci_plug(&t, "pci-testdev", "{\"id\": \"second\", \"addr\": \"2.3\"}");
    pci_plug_fails(&t, "pci-testdev", "{\"id\": \"d\", \"addr\": \"2\"}",
                   "Property 'multifunction' of device 'd': it is off, but device 'second' is "
                   "function 3 of slot 2 of bus 'pcie.0' already");
    pci_plug(&t, "pci-testdev", "{\"id\": \"first\", \"addr\": \"2\", \"multifunction\": true}");
    g_assert_cmphex(pci_in(&t, fn_at(0, 2, 0), PCI_HEADER_TYPE, 1), ==, 0x80);
    g_assert_cmphex(pci_in(&t, fn_at(0, 2, 3), 0, 4), ==, 0x56781234);
    g_assert_cmphex(pci_in(&t, fn_at(0, 2, 1), 0, 4), ==, NOTHING);
    board_test_clear(&t);
}

/* The same place said in two ways is one machine; another place is another. */
static void test_fingerprint(void)
{
    static const char *const said[] = { "4", "0x4.0", "5" };
    guint8 root[3][ABI_HASH_LEN];

    for (guint i = 0; i < 3; i++) {
        BoardTest t;
        g_autofree char *json = g_strdup_printf("{\"id\": \"d\", \"addr\": \"%s\"}", said[i]);
        board_test_init(&t, "{\"driver\": \"board\", \"max-cpus\": 1}");
        pci_plug(&t, "pci-testdev", json);
        abi_fingerprint(t.set, root[i], NULL);
        board_test_clear(&t);
    }
    g_assert_cmpmem(root[0], ABI_HASH_LEN, root[1], ABI_HASH_LEN);
    g_assert_cmpint(memcmp(root[0], root[2], ABI_HASH_LEN), !=, 0);
}

/* ---- capabilities ---- */

static void test_caps(void)
{
    BoardTest t;

    start(&t);
    const Device *dev = device_set_find(t.set, NS_DEVICE, "dev");
    g_assert_cmpstr(DEVICE_CONFIG(dev, PciDeviceConfig)->capabilities, ==,
                    "pm@40,msi@48,exp@60,msix@9c,vendor@a8,serial@100");
    g_assert_cmphex(pci_in(&t, FN, PCI_STATUS, 2) & PCI_STATUS_CAPABILITIES, !=, 0);
    g_assert_cmphex(find_cap(&t, FN, PCI_CAP_PM), ==, 0x40);
    g_assert_cmphex(find_cap(&t, FN, PCI_CAP_MSIX), ==, 0x9c);
    g_assert_cmphex(find_cap(&t, FN, PCI_CAP_VENDOR), ==, 0xa8);
    g_assert_cmphex(pci_in(&t, FN, 0xa9, 1), ==, 0); /* the list ends */
    g_assert_cmphex(pci_in(&t, FN, 0x100, 4), ==, 0x00010003);
    g_assert_cmphex(pci_in(&t, FN, 0x104, 4), ==, 0x55667788);
    g_assert_cmphex(pci_in(&t, FN, 0x400, 4), ==, 0); /* extended space, nothing there */
    g_assert_cmphex(pci_in(&t, FN, 0xffc, 4), ==, 0);
    board_test_clear(&t);
}

static void test_caps_text(void)
{
    static const struct {
        const char *text, *bad; /* NULL: fine */
    } cases[] = {
        { "", NULL },
        { "pm@40", NULL },
        { "vendor@f0,pm@40", NULL },
        { "serial@100,exp@80", NULL },
        { "pm", "pm" },
        { "pm@", "pm@" },
        { "pm@3c", "pm@3c" },
        { "pm@42", "pm@42" },
        { "pm@fc", "pm@fc" },
        { "pm@40,msi@44", "msi@44" },
        { "pm@40,pm@80", "pm@80" },
        { "other@40", "other@40" },
        { "exp@c8", "exp@c8" },
        { "serial@1f8", "serial@1f8" },
        { "serial@40", "serial@40" },
        { "pm@100", "pm@100" },
        { "pm@40,", "" },
        { "pm@ffffffffffffffff0", "pm@ffffffffffffffff0" },
    };
    Device dev = { .id = (char *)"d" };

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        gboolean ok = pci_caps_check(&dev, cases[i].text, testdev_caps, G_N_ELEMENTS(testdev_caps),
                                     &error);
        g_assert_cmpint(ok, ==, cases[i].bad == NULL || cases[i].text[0] == '\0');
        if (!cases[i].bad || ok)
            continue;
        g_autofree char *message = g_strdup_printf(
            "Property 'capabilities' of device 'd': '%s' is not a capability of this type at a "
            "free offset", cases[i].bad);
        g_assert_cmpstr(error->message, ==, message);
    }
    g_autoptr(GError) error = NULL;
    g_assert_false(pci_caps_check(&dev, "serial@120", testdev_caps, G_N_ELEMENTS(testdev_caps), &error));
    g_assert_cmpstr(error->message, ==,
                    "Property 'capabilities' of device 'd': the first extended capability is at "
                    "0x120, and must be at 0x100");
}

/* ---- sizes ---- */

static void test_sizing(void)
{
    static const guint32 wanted[6] = { 0xfffff000, 0xffffffe1, 0xfff0000c, 0xffffffff, 0, 0 };
    static const guint32 at_rest[6] = { 0, 1, 0x0c, 0, 0, 0 };
    BoardTest t;

    start(&t);
    for (guint enabled = 0; enabled < 2; enabled++) {
        pci_out(&t, FN, PCI_COMMAND, enabled ? 7 : 0, 2);
        for (guint i = 0; i < 6; i++) {
            g_assert_cmphex(pci_in(&t, FN, PCI_BAR0 + i * 4, 4), ==, at_rest[i]);
            pci_out(&t, FN, PCI_BAR0 + i * 4, 0xffffffff, 4);
            g_assert_cmphex(pci_in(&t, FN, PCI_BAR0 + i * 4, 4), ==, wanted[i]);
            pci_out(&t, FN, PCI_BAR0 + i * 4, 0, 4);
            g_assert_cmphex(pci_in(&t, FN, PCI_BAR0 + i * 4, 4), ==, at_rest[i]);
        }
    }
    board_test_clear(&t);
}

/* ---- where it is ---- */

static void test_enable_and_move(void)
{
    BoardTest t;

    start(&t);
    pci_out(&t, FN, PCI_BAR0, 0xe0000000, 4);
    g_assert_cmphex(mem_in(&t, 0xe0000000, 4), ==, NOTHING); /* not enabled */
    pci_out(&t, FN, PCI_COMMAND, 2, 2);
    mem_out(&t, 0xe0000000, 0x12345678, 4);
    g_assert_cmphex(mem_in(&t, 0xe0000000, 4), ==, 0x12345678);
    g_assert_cmphex(mem_in(&t, 0xe0000010, 4), ==, NOTHING); /* the gap behind the registers */
    pci_out(&t, FN, PCI_BAR0, 0xe1230000, 4);
    g_assert_cmphex(mem_in(&t, 0xe0000000, 4), ==, NOTHING);
    g_assert_cmphex(mem_in(&t, 0xe1230000, 4), ==, 0x12345678);
    pci_out(&t, FN, PCI_BAR0 + 2, 0xe2, 1); /* a byte of it */
    g_assert_cmphex(mem_in(&t, 0xe1e20000, 4), ==, 0x12345678);
    pci_out(&t, FN, PCI_COMMAND, 0, 2);
    g_assert_cmphex(mem_in(&t, 0xe1e20000, 4), ==, NOTHING);
    board_test_clear(&t);
}

static void test_io_bar(void)
{
    BoardTest t;

    start(&t);
    pci_out(&t, FN, PCI_BAR0 + 4, 0xc000, 4);
    pci_out(&t, FN, PCI_COMMAND, 1, 2);
    outl(&t, 0xc000, 0xabcd);
    g_assert_cmphex(inl(&t, 0xc000), ==, 0xabcd);
    pci_out(&t, FN, PCI_BAR0 + 4, 0xffffffff, 4); /* beyond the ports there are */
    g_assert_cmphex(inl(&t, 0xc000), ==, NOTHING);
    g_assert_cmphex(inl(&t, 0xffe0), ==, NOTHING);
    pci_out(&t, FN, PCI_BAR0 + 4, 0xffe0, 4); /* the last ones */
    g_assert_cmphex(inl(&t, 0xffe0), ==, 0xabcd);
    board_test_clear(&t);
}

/* Halves are written one by one: in between the BAR is wherever they say. */
static void test_64bit(void)
{
    BoardTest t;
    guint64 high = G_GUINT64_CONSTANT(0x4500000000);

    start(&t);
    pci_out(&t, FN, PCI_COMMAND, 2, 2);
    pci_out(&t, FN, PCI_BAR0 + 8, 0xd0000000, 4);
    mem_out(&t, 0xd0000000, 7, 4);
    pci_out(&t, FN, PCI_BAR0 + 12, 0x45, 4);
    g_assert_cmphex(mem_in(&t, 0xd0000000, 4), ==, NOTHING);
    g_assert_cmphex(mem_in(&t, high + 0xd0000000, 4), ==, 7);
    pci_out(&t, FN, PCI_BAR0 + 8, 0x00100000, 4);
    g_assert_cmphex(mem_in(&t, high + 0x100000, 4), ==, 7);
    g_assert_cmphex(mem_in(&t, high + 0x100000 + FAR_PART, 4), ==, 7);
    g_assert_cmphex(mem_in(&t, high + 0x100000 + FAR_PART - 4, 4), ==, NOTHING);
    /* the top of the address space: a size is being measured */
    pci_out(&t, FN, PCI_BAR0 + 8, 0xffffffff, 4);
    pci_out(&t, FN, PCI_BAR0 + 12, 0xffffffff, 4);
    g_assert_cmphex(mem_in(&t, ~G_GUINT64_CONSTANT(0xfffff), 4), ==, NOTHING);
    pci_out(&t, FN, PCI_BAR0 + 8, 0xffe00000, 4); /* one below is a place */
    g_assert_cmphex(mem_in(&t, ~G_GUINT64_CONSTANT(0x1fffff), 4), ==, 7);
    board_test_clear(&t);
}

static void test_d3hot(void)
{
    BoardTest t;

    start(&t);
    pci_out(&t, FN, PCI_BAR0, 0xe0000000, 4);
    pci_out(&t, FN, PCI_COMMAND, 2, 2);
    mem_out(&t, 0xe0000000, 3, 4);
    pci_out(&t, FN, 0x44, 3, 2);
    g_assert_cmphex(mem_in(&t, 0xe0000000, 4), ==, NOTHING);
    pci_out(&t, FN, 0x44, 0, 2);
    g_assert_cmphex(mem_in(&t, 0xe0000000, 4), ==, 3);
    board_test_clear(&t);
}

/* The guest finds the BAR moved with its next instruction; a write that moves nothing holds nobody. */
static void test_hold(void)
{
    BoardTest t;

    start(&t);
    pci_out(&t, FN, PCI_BAR0, 0xe0000000, 4);
    vm_run(t.vm);
    mem_out(&t, FN + PCI_BAR0, 0xe1000000, 4);
    g_assert_cmpint(t.vm->hold, ==, 0); /* not decoded: nothing moves */
    mem_out(&t, FN + PCI_COMMAND, 2, 2);
    g_assert_cmpint(t.vm->hold, !=, 0);
    board_test_settle();
    g_assert_cmpint(t.vm->hold, ==, 0);
    g_assert_cmphex(mem_in(&t, 0xe1000000, 4), ==, 0);
    mem_out(&t, FN + PCI_COMMAND, 6, 2); /* bus master alone */
    mem_out(&t, FN + PCI_BAR0, 0xe1000000, 4); /* the same again */
    g_assert_cmpint(t.vm->hold, ==, 0);
    board_test_clear(&t);
}

/* ---- overlap ---- */

static void test_overlap(void)
{
    BoardTest t;
    guint64 five = fn_at(0, 5, 0);

    start(&t);
    pci_plug(&t, "pci-testdev", "{\"id\": \"five\", \"addr\": \"5\"}");
    pci_out(&t, five, PCI_BAR0, 0xe0000000, 4);
    pci_out(&t, five, PCI_COMMAND, 2, 2);
    mem_out(&t, 0xe0000000, 5, 4);
    pci_out(&t, FN, PCI_BAR0, 0xe0000000, 4);
    pci_out(&t, FN, PCI_COMMAND, 2, 2); /* comes later, but is the lower function */
    g_assert_cmphex(mem_in(&t, 0xe0000000, 4), ==, 0);
    mem_out(&t, 0xe0000000, 4, 4);
    pci_out(&t, FN, PCI_BAR0, 0xe0100000, 4);
    g_assert_cmphex(mem_in(&t, 0xe0000000, 4), ==, 5); /* back again */
    g_assert_cmphex(mem_in(&t, 0xe0100000, 4), ==, 4);
    /* a small BAR inside a large one: the large one's parts that do not touch it stay */
    pci_out(&t, five, PCI_BAR0 + 8, 0xe0100000, 4);
    g_assert_cmphex(mem_in(&t, 0xe0100000, 4), ==, 4);
    g_assert_cmphex(mem_in(&t, 0xe0100000 + FAR_PART, 4), ==, 5);
    g_assert_true(device_remove(device_set_find(t.set, NS_DEVICE, "dev"), NULL));
    g_assert_cmphex(mem_in(&t, 0xe0100000, 4), ==, 5);
    board_test_clear(&t);
}

/* The board's own ranges come first, whoever was there before. */
static void test_overlap_fixed(void)
{
    BoardTest t;

    start(&t);
    pci_out(&t, FN, PCI_COMMAND, 3, 2);
    pci_out(&t, FN, PCI_BAR0, ECAM, 4); /* over our own configuration space */
    g_assert_cmphex(pci_in(&t, fn_at(0, 0, 0), 0, 4), ==, 0x29c08086);
    pci_out(&t, FN, PCI_BAR0, 0xe0000000, 4);
    mem_out(&t, 0xe0000000, 9, 4);
    g_assert_cmphex(mem_in(&t, 0xe0000000, 4), ==, 9);
    cfg_out(&t, 0, 0x60, 0xe0000001, 4); /* ECAM moves over the BAR */
    board_test_settle();
    g_assert_cmphex(mem_in(&t, 0xe0000000, 4), ==, 0x29c08086);
    cfg_out(&t, 0, 0x60, ECAM | 1, 4);
    board_test_settle();
    g_assert_cmphex(mem_in(&t, 0xe0000000, 4), ==, 9);
    pci_out(&t, FN, PCI_BAR0 + 4, 0x600, 4); /* the ACPI block */
    g_assert_cmphex(inw(&t, 0x604), ==, 1);
    pci_out(&t, FN, PCI_BAR0 + 4, 0xce0, 4); /* the end of CPU hotplug's ports, which never move */
    g_assert_cmphex(inl(&t, 0xce4), ==, NOTHING);
    pci_out(&t, FN, PCI_BAR0 + 4, 0xb000, 4);
    g_assert_cmphex(inl(&t, 0xb000), ==, 9);
    cfg_out(&t, 0xf8, 0x40, 0xb001, 4); /* PMBASE over the ports */
    board_test_settle();
    g_assert_cmphex(inw(&t, 0xb004), ==, 1);
    board_test_clear(&t);
}

/* ---- events ---- */

static guint64 drain(int fd)
{
    guint64 n = 0;

    if (read(fd, &n, sizeof n) != sizeof n)
        n = 0;
    return n;
}

static void test_events(void)
{
    BoardTest t;
    g_auto(AutoFd) fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

    start(&t);
    TestDev *d = (TestDev *)device_set_find(t.set, NS_DEVICE, "dev");
    pci_bar_add_event(&d->pci.fn, 2, FAR_PART + REG_SCRATCH, 4, FALSE, 0, fd);
    pci_out(&t, FN, PCI_COMMAND, 2, 2);
    pci_out(&t, FN, PCI_BAR0 + 8, 0xd0000000, 4);
    mem_out(&t, 0xd0000000 + FAR_PART, 1, 4);
    mem_out(&t, 0xd0000000 + FAR_PART, 1, 4);
    g_assert_cmpuint(drain(fd), ==, 2);
    g_assert_cmpuint(d->writes, ==, 0);
    mem_out(&t, 0xd0000000, 1, 4); /* the other part has none */
    g_assert_cmpuint(drain(fd), ==, 0);
    pci_out(&t, FN, PCI_BAR0 + 8, 0xd8000000, 4);
    mem_out(&t, 0xd0000000 + FAR_PART, 1, 4);
    g_assert_cmpuint(drain(fd), ==, 0);
    mem_out(&t, 0xd8000000 + FAR_PART, 1, 4);
    g_assert_cmpuint(drain(fd), ==, 1);
    pci_bar_remove_event(&d->pci.fn, 2, FAR_PART + REG_SCRATCH, 4, FALSE, 0, fd); /* while mapped */
    mem_out(&t, 0xd8000000 + FAR_PART, 6, 4);
    g_assert_cmpuint(drain(fd), ==, 0);
    g_assert_cmpuint(d->scratch, ==, 6);
    pci_bar_add_event(&d->pci.fn, 2, REG_SCRATCH, 4, TRUE, 77, fd);
    mem_out(&t, 0xd8000000, 76, 4);
    mem_out(&t, 0xd8000000, 77, 4);
    g_assert_cmpuint(drain(fd), ==, 1);
    board_test_clear(&t); /* goes with the event in place */
}

/* ---- load ---- */

typedef struct {
    BoardTest *t;
    gint       stop, seen;
} Load;

/* Hits both places: each access finds the register or nothing. */
static gpointer hammer(gpointer user)
{
    Load *load = user;

    iobus_thread_enter(load->t->vm);
    while (!g_atomic_int_get(&load->stop)) {
        for (guint i = 0; i < 2; i++) {
            guint64 v = mem_in(load->t, 0xe0000000 + i * 0x1000000u, 4);
            g_assert_true(v == 0x5a5a5a5a || v == NOTHING);
            if (v == 0x5a5a5a5a)
                g_atomic_int_inc(&load->seen);
            mem_out(load->t, 0xe0000000 + i * 0x1000000u, 0x5a5a5a5a, 4);
            mem_in(load->t, FN + PCI_BAR0, 4);
        }
    }
    iobus_thread_leave(load->t->vm);
    return NULL;
}

static void test_move_under_load(void)
{
    BoardTest t;

    start(&t);
    pci_out(&t, FN, PCI_BAR0, 0xe0000000, 4);
    pci_out(&t, FN, PCI_COMMAND, 2, 2);
    mem_out(&t, 0xe0000000, 0x5a5a5a5a, 4);
    Load load = { .t = &t };
    GThread *threads[2];
    for (guint i = 0; i < 2; i++)
        threads[i] = g_thread_new("load", hammer, &load);
    for (guint i = 0; i < 500 || g_atomic_int_get(&load.seen) < 100; i++) {
        pci_out(&t, FN, PCI_BAR0, i & 1 ? 0xe0000000 : 0xe1000000, 4);
        if (i % 16 == 0) {
            pci_out(&t, FN, PCI_COMMAND, 0, 2);
            pci_out(&t, FN, PCI_COMMAND, 2, 2);
        }
    }
    g_assert_true(device_remove(device_set_find(t.set, NS_DEVICE, "dev"), NULL));
    g_atomic_int_set(&load.stop, 1);
    for (guint i = 0; i < 2; i++)
        g_thread_join(threads[i]);
    board_test_clear(&t);
}

/* ---- moved elsewhere ---- */

static void test_save_load(void)
{
    BoardTest a, b;
    g_autoptr(GError) error = NULL;

    start(&a);
    start(&b);
    pci_out(&a, FN, PCI_BAR0, 0xe0000000, 4);
    pci_out(&a, FN, PCI_BAR0 + 12, 0x12, 4);
    pci_out(&a, FN, PCI_COMMAND, 2, 2);
    mem_out(&a, 0xe0000000, 42, 4);
    g_autoptr(GVariant) saved = device_save(device_set_find(a.set, NS_DEVICE, "dev"));
    g_assert_true(device_load(device_set_find(b.set, NS_DEVICE, "dev"), saved, &error));
    board_test_settle();
    g_assert_cmphex(mem_in(&b, 0xe0000000, 4), ==, 42);
    g_assert_cmphex(mem_in(&b, G_GUINT64_CONSTANT(0x1200000000), 4), ==, 42);
    g_autoptr(GVariant) again = device_save(device_set_find(b.set, NS_DEVICE, "dev"));
    g_assert_true(g_variant_equal(saved, again));
    board_test_power_on(&b);
    g_assert_cmphex(mem_in(&b, 0xe0000000, 4), ==, NOTHING);
    board_test_clear(&a);
    board_test_clear(&b);
}

/* A table of another number of vectors is another device's record. */
static void test_load_wrong_length(void)
{
    BoardTest t;
    GVariantDict dict;
    g_autoptr(GError) error = NULL;

    start(&t);
    Device *dev = device_set_find(t.set, NS_DEVICE, "dev");
    g_autoptr(GVariant) saved = device_save(dev);
    g_variant_dict_init(&dict, saved);
    g_variant_dict_insert_value(&dict, "msix-table",
                                g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, "0123456789abcdef", 16, 1));
    g_autoptr(GVariant) record = g_variant_ref_sink(g_variant_dict_end(&dict));
    g_assert_false(device_load(dev, record, &error));
    g_assert_cmpstr(error->message, ==,
                    "State of device 'dev': field 'msix-table' has 16 bytes, wanted 1120");
    board_test_clear(&t);
}

/* Whatever a guest writes: a reset brings back what was there at first. */
static void test_storm(void)
{
    BoardTest t;
    g_autoptr(GRand) r = g_rand_new_with_seed(g_test_rand_int());
    guint32 before[3][64];

    start(&t);
    pci_plug(&t, "pci-testdev", "{\"addr\": \"5\"}");
    pci_plug(&t, "pci-testdev", "{\"addr\": \"6\"}");
    for (guint i = 0; i < 3; i++) {
        for (guint reg = 0; reg < 64; reg++)
            before[i][reg] = pci_in(&t, fn_at(0, 4 + i, 0), reg * 4, 4);
    }
    for (guint i = 0; i < 5000; i++) {
        guint reg = g_rand_boolean(r) ? g_rand_int_range(r, 0, 10) * 4 : g_rand_int_range(r, 0, 512);
        guint32 value = g_rand_boolean(r) ? g_rand_int(r) : 0xe0000007 + (g_rand_int(r) & 0xff000);
        unsigned size = 1u << g_rand_int_range(r, 0, 3);
        mem_out(&t, fn_at(0, 4 + i % 3, 0) + (reg & ~(size - 1)), value, size);
        if (i % 4 == 0)
            board_test_settle();
        mem_in(&t, 0xe0000000 + (g_rand_int(r) & 0xffffc), 4);
    }
    board_test_settle();
    board_test_power_on(&t);
    for (guint i = 0; i < 3; i++) {
        for (guint reg = 0; reg < 64; reg++)
            g_assert_cmphex(pci_in(&t, fn_at(0, 4 + i, 0), reg * 4, 4), ==, before[i][reg]);
    }
    board_test_clear(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pci-bar/addr/forms", test_addr_forms);
    g_test_add_func("/pci-bar/addr/refused", test_addr_refused);
    g_test_add_func("/pci-bar/addr/lowest-free", test_addr_lowest_free);
    g_test_add_func("/pci-bar/addr/multifunction", test_multifunction);
    g_test_add_func("/pci-bar/addr/fingerprint", test_fingerprint);
    g_test_add_func("/pci-bar/capabilities/list", test_caps);
    g_test_add_func("/pci-bar/capabilities/text", test_caps_text);
    g_test_add_func("/pci-bar/sizing", test_sizing);
    g_test_add_func("/pci-bar/enable-and-move", test_enable_and_move);
    g_test_add_func("/pci-bar/io", test_io_bar);
    g_test_add_func("/pci-bar/64-bit", test_64bit);
    g_test_add_func("/pci-bar/d3hot", test_d3hot);
    g_test_add_func("/pci-bar/hold", test_hold);
    g_test_add_func("/pci-bar/overlap/functions", test_overlap);
    g_test_add_func("/pci-bar/overlap/fixed", test_overlap_fixed);
    g_test_add_func("/pci-bar/events", test_events);
    g_test_add_func("/pci-bar/move-under-load", test_move_under_load);
    g_test_add_func("/pci-bar/save-load", test_save_load);
    g_test_add_func("/pci-bar/load-wrong-length", test_load_wrong_length);
    g_test_add_func("/pci-bar/storm", test_storm);
    return g_test_run();
}

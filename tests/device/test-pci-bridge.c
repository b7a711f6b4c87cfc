/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bridges: bus numbers, windows, interrupt pins behind them, resets; root ports and their slots. */
#include "../../devices/acpi/view.h"
#include "../../devices/core/unplug.h"
#include "../../devices/pci/root-port.h"
#include "pci-test.h"

#define PORT fn_at(0, 1, 0)

static void numbers(BoardTest *t, guint64 fn, guint8 primary, guint8 secondary, guint8 subordinate)
{
    pci_out(t, fn, PCI_PRIMARY, primary | secondary << 8 | subordinate << 16, 4);
}

static void memory_window(BoardTest *t, guint64 fn, guint32 first, guint32 last)
{
    pci_out(t, fn, PCI_MEMORY_BASE, first >> 16 | (last & 0xfff00000), 4);
}

static void prefetch_window(BoardTest *t, guint64 fn, guint64 first, guint64 last)
{
    pci_out(t, fn, PCI_PREFETCH_BASE, (guint32)(first >> 16 & 0xfff0) | (guint32)(last & 0xfff00000), 4);
    pci_out(t, fn, PCI_PREFETCH_BASE_HIGH, (guint32)(first >> 32), 4);
    pci_out(t, fn, PCI_PREFETCH_LIMIT_HIGH, (guint32)(last >> 32), 4);
}

static void io_window(BoardTest *t, guint64 fn, guint16 first, guint16 last)
{
    pci_out(t, fn, PCI_IO_BASE, first >> 8 | (last & 0xf000), 2);
}

/* pcie.0 - b1 (slot 1) - b2 (slot 2) - b3 (slot 3) - dev (slot 5) */
static TestDev *start_deep(BoardTest *t)
{
    board_test_init(t, BOARD_DEFAULT);
    pci_plug(t, "pci-testbridge", "{\"id\": \"b1\", \"addr\": \"1\"}");
    pci_plug(t, "pci-testbridge", "{\"id\": \"b2\", \"addr\": \"2\", \"bus\": \"b1\"}");
    pci_plug(t, "pci-testbridge", "{\"id\": \"b3\", \"addr\": \"3\", \"bus\": \"b2\"}");
    return (TestDev *)pci_plug(t, "pci-testdev", "{\"id\": \"dev\", \"addr\": \"5\", \"bus\": \"b3\"}");
}

static void number_deep(BoardTest *t)
{
    numbers(t, fn_at(0, 1, 0), 0, 1, 9);
    numbers(t, fn_at(1, 2, 0), 1, 4, 8);
    numbers(t, fn_at(4, 3, 0), 4, 7, 7);
}

/* ---- bus numbers ---- */

static void test_routing(void)
{
    BoardTest t;

    start_deep(&t);
    for (guint bus = 1; bus < 256; bus++) /* no number yet: nothing is reached but bus 0 */
        g_assert_cmphex(pci_in(&t, fn_at(bus, 5, 0), 0, 4), ==, NOTHING);
    number_deep(&t);
    for (guint bus = 0; bus < 256; bus++) {
        g_assert_cmphex(pci_in(&t, fn_at(bus, 5, 0), 0, 4), ==, bus == 7 ? 0x56781234 : NOTHING);
        g_assert_cmphex(pci_in(&t, fn_at(bus, 3, 0), 0, 4), ==, bus == 4 ? 0x00021234 : NOTHING);
    }
    outl(&t, 0xcf8, 0x80000000u | 7 << 16 | 5 << 11); /* by ports too */
    g_assert_cmphex(inl(&t, 0xcfc), ==, 0x56781234);
    numbers(&t, fn_at(0, 1, 0), 0, 1, 6); /* the first does not pass on 7 any more */
    g_assert_cmphex(pci_in(&t, fn_at(7, 5, 0), 0, 4), ==, NOTHING);
    g_assert_cmphex(pci_in(&t, fn_at(4, 3, 0), 0, 4), ==, 0x00021234);
    numbers(&t, fn_at(0, 1, 0), 0, 5, 9); /* its bus has another number: those below are out of its range */
    g_assert_cmphex(pci_in(&t, fn_at(5, 2, 0), 0, 4), ==, 0x00021234);
    g_assert_cmphex(pci_in(&t, fn_at(4, 3, 0), 0, 4), ==, NOTHING);
    board_test_power_on(&t);
    g_assert_cmphex(pci_in(&t, fn_at(5, 2, 0), 0, 4), ==, NOTHING);
    board_test_clear(&t);
}

/* Two bridges that want the same number: the lower function has it. Nonsense leads nowhere. */
static void test_numbers_overlap(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    pci_plug(&t, "pci-testbridge", "{\"id\": \"a\", \"addr\": \"1\"}");
    pci_plug(&t, "pci-testbridge", "{\"id\": \"b\", \"addr\": \"2\"}");
    pci_plug(&t, "pci-testdev", "{\"bus\": \"a\", \"addr\": \"3\"}");
    pci_plug(&t, "pci-testbridge", "{\"bus\": \"b\", \"addr\": \"3\"}");
    numbers(&t, fn_at(0, 2, 0), 0, 5, 5);
    g_assert_cmphex(pci_in(&t, fn_at(5, 3, 0), 0, 4), ==, 0x00021234);
    numbers(&t, fn_at(0, 1, 0), 0, 5, 5);
    g_assert_cmphex(pci_in(&t, fn_at(5, 3, 0), 0, 4), ==, 0x56781234);
    numbers(&t, fn_at(0, 1, 0), 0, 4, 6); /* a range over it: not passed to the other either */
    g_assert_cmphex(pci_in(&t, fn_at(5, 3, 0), 0, 4), ==, NOTHING);
    numbers(&t, fn_at(0, 1, 0), 0, 0, 255); /* number 0 is no bus */
    g_assert_cmphex(pci_in(&t, fn_at(0, 3, 0), 0, 4), ==, NOTHING);
    g_assert_cmphex(pci_in(&t, fn_at(5, 3, 0), 0, 4), ==, 0x00021234);
    numbers(&t, fn_at(0, 1, 0), 0, 9, 3); /* ends before it begins */
    g_assert_cmphex(pci_in(&t, fn_at(9, 3, 0), 0, 4), ==, NOTHING);
    numbers(&t, fn_at(0, 1, 0), 0, 255, 255);
    g_assert_cmphex(pci_in(&t, fn_at(255, 3, 0), 0, 4), ==, 0x56781234);
    board_test_clear(&t);
}

/* ---- windows ---- */

static void test_windows(void)
{
    BoardTest t;
    guint64 dev = fn_at(7, 5, 0), high = G_GUINT64_CONSTANT(0x4000000000);
    static const guint8 path[3][2] = { { 0, 1 }, { 1, 2 }, { 4, 3 } };

    start_deep(&t);
    number_deep(&t);
    pci_out(&t, dev, PCI_BAR0, 0xe0100000, 4);
    pci_out(&t, dev, PCI_BAR0 + 4, 0xc000, 4);
    pci_out(&t, dev, PCI_BAR0 + 8, 0x00200000, 4);
    pci_out(&t, dev, PCI_BAR0 + 12, (guint32)(high >> 32), 4);
    pci_out(&t, dev, PCI_COMMAND, 3, 2);
    for (guint i = 0; i < 3; i++) { /* open one after the other: only the last opens the way */
        guint64 fn = fn_at(path[i][0], path[i][1], 0);
        g_assert_cmphex(mem_in(&t, 0xe0100000, 4), ==, NOTHING);
        g_assert_cmphex(mem_in(&t, high + 0x200000, 4), ==, NOTHING);
        g_assert_cmphex(inl(&t, 0xc000), ==, NOTHING);
        memory_window(&t, fn, 0xe0100000, 0xe01fffff);
        prefetch_window(&t, fn, high, high + 0x2fffff);
        io_window(&t, fn, 0xc000, 0xcfff);
        pci_out(&t, fn, PCI_COMMAND, 3, 2);
    }
    mem_out(&t, 0xe0100000, 11, 4);
    g_assert_cmphex(mem_in(&t, 0xe0100000, 4), ==, 11);
    g_assert_cmphex(mem_in(&t, high + 0x200000, 4), ==, 11);
    g_assert_cmphex(inl(&t, 0xc000), ==, 11);
    pci_out(&t, fn_at(1, 2, 0), PCI_COMMAND, 2, 2); /* ports closed in the middle */
    g_assert_cmphex(inl(&t, 0xc000), ==, NOTHING);
    g_assert_cmphex(mem_in(&t, 0xe0100000, 4), ==, 11);
    prefetch_window(&t, fn_at(1, 2, 0), high, high + 0x1fffff); /* ends just before the BAR */
    g_assert_cmphex(mem_in(&t, high + 0x200000, 4), ==, NOTHING);
    memory_window(&t, fn_at(0, 1, 0), 0xe0200000, 0xe01fffff); /* closed */
    g_assert_cmphex(mem_in(&t, 0xe0100000, 4), ==, NOTHING);
    prefetch_window(&t, fn_at(0, 1, 0), 0xe0100000, 0xe01fffff); /* either window will do */
    g_assert_cmphex(mem_in(&t, 0xe0100000, 4), ==, 11);
    board_test_clear(&t);
}

/* A pin turns by the slot on each bus: slot 5, 3, 2 and ends in slot 1 of pcie.0. */
static void test_swizzle(void)
{
    BoardTest t;
    TestDev *d = start_deep(&t);
    guint gsi = 16 + pci_pirq(1, (0 + 5 + 3 + 2) % 4);

    g_mutex_lock(&d->pci.dev.lock);
    pci_intx_set(&d->pci.fn, TRUE);
    g_mutex_unlock(&d->pci.dev.lock);
    for (guint i = 16; i < 24; i++)
        g_assert_cmpint(irq_pin_level(t.vm, i), ==, i == gsi);
    board_test_clear(&t);
}

/* ---- root ports ---- */

static void start_port(BoardTest *t, const char *port, gboolean native)
{
    board_test_init(t, BOARD_DEFAULT);
    g_autofree char *json = g_strdup_printf("{\"id\": \"%s\", \"native-hotplug\": %s, \"slot\": 9}", port,
                                            native ? "true" : "false");
    pci_plug(t, "pcie-root-port", json);
}

static void test_port_header(void)
{
    BoardTest t;

    start_port(&t, "rp", FALSE);
    g_assert_cmphex(pci_in(&t, PORT, 0, 4), ==, 0x000c1b36);
    g_assert_cmphex(pci_in(&t, PORT, 8, 4), ==, 0x06040000);
    g_assert_cmphex(pci_in(&t, PORT, PCI_HEADER_TYPE, 1), ==, 1);
    for (guint reg = 0; reg < 0x40; reg += 4)
        pci_out(&t, PORT, reg, 0xffffffff, 4);
    g_assert_cmphex(pci_in(&t, PORT, PCI_BAR0, 4), ==, 0);
    g_assert_cmphex(pci_in(&t, PORT, PCI_PRIMARY, 4), ==, 0x00ffffff);
    g_assert_cmphex(pci_in(&t, PORT, PCI_IO_BASE, 2), ==, 0xf0f0);
    g_assert_cmphex(pci_in(&t, PORT, PCI_MEMORY_BASE, 4), ==, 0xfff0fff0);
    g_assert_cmphex(pci_in(&t, PORT, PCI_PREFETCH_BASE, 4), ==, 0xfff1fff1);
    g_assert_cmphex(pci_in(&t, PORT, PCI_PREFETCH_BASE_HIGH, 4), ==, 0xffffffff);
    g_assert_cmphex(pci_in(&t, PORT, PCI_BRIDGE_CONTROL, 2), ==, 0x43);
    guint exp = find_cap(&t, PORT, PCI_CAP_EXPRESS);
    g_assert_cmphex(exp, ==, 0x60);
    g_assert_cmphex(pci_in(&t, PORT, exp + PCIE_FLAGS, 2), ==, 0x0142);
    g_assert_cmphex(pci_in(&t, PORT, exp + PCIE_SLTCAP, 4), ==, 9u << 19); /* ACPI has the slot */
    g_assert_cmphex(pci_in(&t, PORT, exp + PCIE_LNKSTA, 2) & PCIE_LNKSTA_ACTIVE, ==, 0);
    g_assert_cmphex(pci_in(&t, PORT, exp + PCIE_SLTCTL, 2), ==, 3 << 6 | 3 << 8); /* both lamps off */
    pci_out(&t, PORT, exp + PCIE_SLTCTL, 0xffff, 2);
    g_assert_cmphex(pci_in(&t, PORT, exp + PCIE_SLTCTL, 2), ==, 3 << 6 | 3 << 8);
    g_assert_cmphex(pci_in(&t, PORT, 0x100, 4), ==, 0x14820001);
    g_assert_cmphex(pci_in(&t, PORT, 0x148, 4), ==, 0x0001000d);
    board_test_clear(&t);
}

/* A link has one device: others do not answer, and none plugs there. */
static void test_port_one_slot(void)
{
    BoardTest t;

    start_port(&t, "rp", FALSE);
    numbers(&t, PORT, 0, 3, 3);
    pci_plug_fails(&t, "pci-testdev", "{\"id\": \"d\", \"bus\": \"rp\", \"addr\": \"1\"}",
                   "Property 'addr' of device 'd': bus 'rp' has slots 0 to 0, not 1");
    g_assert_cmpstr(addr_of(pci_plug(&t, "pci-testdev", "{\"id\": \"d\", \"bus\": \"rp\"}")), ==, "00.0");
    pci_plug_fails(&t, "pci-testdev", "{\"id\": \"e\", \"bus\": \"rp\"}", "Device 'e': bus 'rp' has no free slot");
    g_assert_cmphex(pci_in(&t, fn_at(3, 0, 0), 0, 4), ==, 0x56781234);
    g_assert_cmphex(pci_in(&t, fn_at(3, 1, 0), 0, 4), ==, NOTHING);
    g_assert_cmphex(pci_in(&t, fn_at(3, 31, 7), 0, 4), ==, NOTHING);
    guint exp = find_cap(&t, PORT, PCI_CAP_EXPRESS);
    g_assert_cmphex(pci_in(&t, PORT, exp + PCIE_LNKSTA, 2) & PCIE_LNKSTA_ACTIVE, !=, 0);
    g_assert_cmphex(pci_in(&t, PORT, exp + PCIE_SLTCTL, 2), ==, 3 << 6 | 1 << 8); /* power is on */
    g_autoptr(GError) error = NULL;
    g_assert_false(device_remove(device_set_find(t.set, NS_DEVICE, "rp"), &error));
    g_assert_cmpstr(error->message, ==, "The device 'rp' is in use by device 'd'");
    board_test_clear(&t);
}

static void test_port_rows(void)
{
    BoardTest t;

    start_port(&t, "rp", FALSE);
    pci_plug_fails(&t, "pcie-root-port", "{\"id\": \"x\", \"slot\": 9}",
                   "Property 'slot' of device 'x': slot 9 of chassis 0 is that of device 'rp'");
    pci_plug(&t, "pcie-root-port", "{\"id\": \"y\", \"slot\": 9, \"chassis\": 1}");
    pci_plug_fails(&t, "pcie-root-port", "{\"id\": \"x\", \"bus\": \"rp\"}",
                   "Property 'bus' of device 'x': a root port plugs into 'pcie.0', not into 'rp'");
    pci_plug_fails(&t, "pcie-root-port", "{\"id\": \"x\", \"hotplug\": false, \"native-hotplug\": true}",
                   "Property 'native-hotplug' of device 'x' is on, but 'hotplug' is off");
    pci_plug_fails(&t, "pcie-root-port", "{\"id\": \"x\", \"capabilities\": \"msi@40\"}",
                   "Property 'capabilities' of device 'x': a root port has 'exp', and 'msi@40' does not name it");
    pci_plug(&t, "pcie-root-port", "{\"id\": \"cold\", \"hotplug\": false}");
    device_set_started(t.set);
    pci_plug_fails(&t, "pci-testdev", "{\"id\": \"d\", \"bus\": \"cold\"}",
                   "Property 'bus' of device 'd': bus 'cold' does not support hotplugging");
    pci_plug(&t, "pci-testdev", "{\"id\": \"d\", \"bus\": \"rp\"}");
    board_test_clear(&t);
}

/* Bridges share slots, eight to one: 200 fit and each is found behind its number. */
static void test_port_200(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    for (guint i = 0; i < 200; i++) {
        g_autofree char *json = g_strdup_printf("{\"id\": \"rp%u\", \"multifunction\": true}", i);
        g_autofree char *addr = g_strdup_printf("%02x.%x", 1 + i / 8, i % 8);
        g_assert_cmpstr(addr_of(pci_plug(&t, "pcie-root-port", json)), ==, addr);
        g_autofree char *dev = g_strdup_printf("{\"bus\": \"rp%u\"}", i);
        pci_plug(&t, "pci-testdev", dev);
    }
    for (guint i = 0; i < 200; i++)
        numbers(&t, fn_at(0, 1 + i / 8, i % 8), 0, (guint8)(i + 1), (guint8)(i + 1));
    for (guint i = 0; i < 200; i++)
        g_assert_cmphex(pci_in(&t, fn_at(i + 1, 0, 0), 0, 4), ==, 0x56781234);
    g_assert_cmphex(pci_in(&t, fn_at(201, 0, 0), 0, 4), ==, NOTHING);
    g_autoptr(AcpiView) v = acpi_view_new(t.set);
    g_assert_cmpuint(v->last_bus, ==, 255);
    board_test_clear(&t);
}

static void test_secondary_reset(void)
{
    BoardTest t;

    start_port(&t, "rp", FALSE);
    TestDev *d = (TestDev *)pci_plug(&t, "pci-testdev", "{\"id\": \"d\", \"bus\": \"rp\"}");
    numbers(&t, PORT, 0, 3, 3);
    guint resets = d->resets;
    guint64 dev = fn_at(3, 0, 0);
    pci_out(&t, dev, PCI_IRQ_LINE, 0x55, 1);
    pci_out(&t, PORT, PCI_BRIDGE_CONTROL, 0x40, 2);
    g_assert_cmpuint(d->resets, ==, resets + 1);
    g_assert_cmphex(pci_in(&t, dev, 0, 4), ==, NOTHING); /* held */
    pci_out(&t, PORT, PCI_BRIDGE_CONTROL, 0x40, 2);
    g_assert_cmpuint(d->resets, ==, resets + 1);
    pci_out(&t, PORT, PCI_BRIDGE_CONTROL, 0, 2);
    g_assert_cmphex(pci_in(&t, dev, 0, 4), ==, 0x56781234);
    g_assert_cmphex(pci_in(&t, dev, PCI_IRQ_LINE, 1), ==, 0);
    board_test_clear(&t);
}

/* ---- what firmware would do ---- */

static void check_window(BoardTest *t, guint64 port, guint32 memory, guint32 prefetch, guint32 prefetch_high)
{
    g_assert_cmphex(pci_in(t, port, PCI_MEMORY_BASE, 4), ==, memory);
    g_assert_cmphex(pci_in(t, port, PCI_PREFETCH_BASE, 4), ==, prefetch);
    g_assert_cmphex(pci_in(t, port, PCI_PREFETCH_BASE_HIGH, 4), ==, prefetch_high);
    g_assert_cmphex(pci_in(t, port, PCI_PREFETCH_LIMIT_HIGH, 4), ==, prefetch_high);
}

/* A port that takes devices later has room for them; one that never will and is empty has none. */
static void test_assign(void)
{
    BoardTest t;

    board_test_init(&t, "{\"driver\": \"board\", \"pci-hole64-base\": 1099511627776}");
    pci_plug(&t, "pcie-root-port", "{\"id\": \"a\"}");
    pci_plug(&t, "pcie-root-port", "{\"id\": \"b\", \"hotplug\": false}");
    pci_plug(&t, "pcie-root-port", "{\"id\": \"c\", \"hotplug\": false}");
    TestDev *d = (TestDev *)pci_plug(&t, "pci-testdev", "{\"id\": \"d\", \"bus\": \"c\"}");
    guint32 closed = pci_in(&t, fn_at(0, 2, 0), PCI_MEMORY_BASE, 4);
    guint32 closed_prefetch = pci_in(&t, fn_at(0, 2, 0), PCI_PREFETCH_BASE, 4);
    for (guint i = 0; i < 2; i++) { /* a reset and the next start do the same */
        board_test_power_on(&t);
        pci_assign_bridges(t.set);
        for (guint n = 1; n <= 3; n++)
            g_assert_cmphex(pci_in(&t, fn_at(0, n, 0), PCI_PRIMARY, 3), ==, n << 8 | n << 16);
        check_window(&t, fn_at(0, 1, 0), 0xc010c000, 0x01f10001, 0x100);
        check_window(&t, fn_at(0, 2, 0), closed, closed_prefetch, 0);
        check_window(&t, fn_at(0, 3, 0), 0xc020c020, 0x02010201, 0x100);
        guint64 dev = fn_at(3, 0, 0);
        pci_out(&t, dev, PCI_BAR0, 0xc0200000, 4);
        pci_out(&t, dev, PCI_COMMAND, 2, 2);
        pci_out(&t, fn_at(0, 3, 0), PCI_COMMAND, 2, 2);
        mem_out(&t, 0xc0200000 + REG_SCRATCH, 77, 4);
        g_assert_cmpuint(d->scratch, ==, 77);
    }
    board_test_clear(&t);
}

/* With little room each port gets less, and who comes last nothing. Without a window above 4 GiB that one stays closed. */
static void test_assign_tight(void)
{
    BoardTest t;

    board_test_init(&t, "{\"driver\": \"board\", \"pci-hole32-size\": 3145728}");
    for (guint i = 0; i < 4; i++)
        pci_plug(&t, "pcie-root-port", "{}");
    guint32 closed = pci_in(&t, fn_at(0, 1, 0), PCI_MEMORY_BASE, 4);
    guint32 closed_prefetch = pci_in(&t, fn_at(0, 1, 0), PCI_PREFETCH_BASE, 4);
    pci_assign_bridges(t.set);
    for (guint i = 0; i < 3; i++)
        check_window(&t, fn_at(0, 1 + i, 0), (0xc000c000 + (i << 4) + (i << 20)), closed_prefetch, 0);
    check_window(&t, fn_at(0, 4, 0), closed, closed_prefetch, 0);
    board_test_clear(&t);
}

/* ---- the slot's registers ---- */

typedef struct {
    BoardTest t;
    guint     exp;
} Slot;

static void slot_start(Slot *s)
{
    *s = (Slot){ 0 };
    start_port(&s->t, "rp", TRUE);
    board_test_power_on(&s->t);
    device_set_started(s->t.set);
    s->exp = find_cap(&s->t, PORT, PCI_CAP_EXPRESS);
    numbers(&s->t, PORT, 0, 3, 3);
}

static guint16 slot_status(Slot *s)
{
    return (guint16)pci_in(&s->t, PORT, s->exp + PCIE_SLTSTA, 2);
}

static void slot_clear(Slot *s, guint16 events)
{
    pci_out(&s->t, PORT, s->exp + PCIE_SLTSTA, events, 2);
}

static void slot_command(Slot *s, guint16 value)
{
    pci_out(&s->t, PORT, s->exp + PCIE_SLTCTL, value, 2);
}

enum { ABP = 1, PDC = 8, CC = 16, PDS = 64, DLLSC = 256, OFF = 0x7c0, ON = 0x1c0, BLINK = 0x2c0, NO_POWER = 0x400 };

static void test_slot_plug(void)
{
    Slot s;

    slot_start(&s);
    g_assert_cmphex(pci_in(&s.t, PORT, s.exp + PCIE_SLTCAP, 4), ==, 9u << 19 | 0x7b);
    g_assert_cmphex(pci_in(&s.t, PORT, s.exp + PCIE_SLTCTL, 2), ==, OFF);
    g_assert_cmphex(slot_status(&s), ==, 0);
    pci_plug(&s.t, "pci-testdev", "{\"id\": \"d\", \"bus\": \"rp\"}");
    g_assert_cmphex(slot_status(&s), ==, PDS | PDC | ABP);
    g_assert_cmphex(pci_in(&s.t, fn_at(3, 0, 0), 0, 4), ==, NOTHING); /* no power */
    slot_clear(&s, PDC | ABP);
    slot_command(&s, ON);
    g_assert_cmphex(slot_status(&s), ==, PDS | CC | DLLSC);
    g_assert_cmphex(pci_in(&s.t, fn_at(3, 0, 0), 0, 4), ==, 0x56781234);
    g_assert_true(pcie_slot_powered(pci_bus_find(s.t.set, "rp")));
    slot_clear(&s, CC | DLLSC);
    g_assert_cmphex(slot_status(&s), ==, PDS);
    pci_out(&s.t, PORT, s.exp + PCIE_SLTCTL, ON & 0xff, 1); /* half of the register is a command too */
    g_assert_cmphex(slot_status(&s), ==, PDS | CC);
    board_test_clear(&s.t);
}

/* Two functions that come together are one change, when both are there. */
static void test_slot_plug_several(void)
{
    Slot s;
    g_autoptr(GError) error = NULL;

    slot_start(&s);
    Device *d0 = pci_realize(&s.t, "pci-testdev", "{\"id\": \"d0\", \"bus\": \"rp\", \"addr\": \"0\", \"multifunction\": true}", &error);
    Device *d1 = pci_realize(&s.t, "pci-testdev", "{\"id\": \"d1\", \"bus\": \"rp\", \"addr\": \"0.1\"}", &error);
    g_assert_no_error(error);
    device_plug_begin(s.t.set);
    device_plug_publish(d0);
    g_assert_cmphex(slot_status(&s), ==, 0);
    device_plug_publish(d1);
    g_assert_cmphex(slot_status(&s), ==, 0);
    device_plug_end(s.t.set);
    g_assert_cmphex(slot_status(&s), ==, PDS | PDC | ABP);
    slot_clear(&s, PDC | ABP);
    g_assert_true(device_remove(d1, NULL));
    g_assert_cmphex(slot_status(&s), ==, PDS); /* one is left */
    board_test_clear(&s.t);
}

/* The port goes, and with it what it would have been told. */
static void test_slot_goes_in_bracket(void)
{
    BoardTest t;

    start_port(&t, "rp", TRUE);
    device_plug_begin(t.set);
    Device *d = pci_plug(&t, "pci-testdev", "{\"id\": \"d\", \"bus\": \"rp\"}");
    g_assert_true(device_remove(d, NULL));
    g_assert_true(device_remove(device_set_find(t.set, NS_DEVICE, "rp"), NULL));
    device_plug_end(t.set);
    board_test_clear(&t);
}

/* Power goes: nothing reaches the device any more, which is reset. With the lamp off, too, it is released. */
static void test_slot_power_off(void)
{
    Slot s;

    slot_start(&s);
    TestDev *d = (TestDev *)pci_plug(&s.t, "pci-testdev", "{\"id\": \"d\", \"bus\": \"rp\"}");
    slot_command(&s, ON);
    pci_out(&s.t, fn_at(3, 0, 0), PCI_BAR0, 0xe0000000, 4);
    pci_out(&s.t, fn_at(3, 0, 0), PCI_COMMAND, 2, 2);
    memory_window(&s.t, PORT, 0xe0000000, 0xe00fffff);
    pci_out(&s.t, PORT, PCI_COMMAND, 6, 2);
    g_assert_cmphex(mem_in(&s.t, 0xe0000000, 4), ==, 0);
    guint resets = d->resets;
    vm_run(s.t.vm);
    mem_out(&s.t, PORT + s.exp + PCIE_SLTCTL, BLINK | NO_POWER, 2);
    g_assert_cmpint(s.t.vm->hold, !=, 0);
    board_test_settle();
    g_assert_cmpuint(d->resets, ==, resets + 1);
    g_assert_cmphex(mem_in(&s.t, 0xe0000000, 4), ==, NOTHING);
    g_assert_cmphex(pci_in(&s.t, fn_at(3, 0, 0), 0, 4), ==, NOTHING);
    slot_command(&s, BLINK | NO_POWER);
    g_assert_cmpuint(d->resets, ==, resets + 1);
    board_test_ends(&s.t, "");
    slot_clear(&s, 0x1ff);
    slot_command(&s, OFF); /* nobody asked: all the same, the guest has let go */
    board_test_ends(&s.t, " d gone");
    g_assert_cmphex(slot_status(&s), ==, CC | PDC);
    board_test_clear(&s.t);
}

static Device *slot_plug(Slot *s)
{
    return pci_plug(&s->t, "pci-testdev", "{\"id\": \"d\", \"bus\": \"rp\"}");
}

static void slot_ask(Slot *s, gboolean force)
{
    g_autoptr(GError) error = NULL;

    device_unplug(device_set_find(s->t.set, NS_DEVICE, "d"), &(UnplugHow){ .force = force }, &error);
    g_assert_no_error(error);
}

static gboolean slot_pending(Slot *s, UnplugPhase *phase)
{
    gint64 left;

    return device_unplug_info(device_set_find(s->t.set, NS_DEVICE, "d"), phase, &left);
}

/* Asked by the button, noticed, on its way (where the button would call it off), let go; some rounds. */
static void test_slot_unplug(void)
{
    Slot s;
    UnplugPhase phase;

    slot_start(&s);
    for (guint turn = 0; turn < 3; turn++) {
        slot_plug(&s);
        slot_command(&s, ON);
        slot_clear(&s, 0x1ff);
        slot_ask(&s, FALSE);
        g_assert_cmphex(slot_status(&s), ==, PDS | ABP);
        g_assert_true(slot_pending(&s, &phase) && phase == UNPLUG_REQUESTED);
        slot_clear(&s, ABP);
        g_assert_true(slot_pending(&s, &phase) && phase == UNPLUG_NOTIFIED);
        slot_ask(&s, FALSE); /* asked again, it is reminded, but not before it could have begun to blink */
        g_assert_cmphex(slot_status(&s), ==, PDS);
        step(&s.t, NS_PER_S);
        slot_ask(&s, FALSE);
        g_assert_cmphex(slot_status(&s), ==, PDS | ABP);
        slot_clear(&s, ABP);
        slot_command(&s, BLINK);
        slot_ask(&s, FALSE);
        g_assert_cmphex(slot_status(&s), ==, PDS | CC);
        slot_command(&s, BLINK | NO_POWER);
        slot_ask(&s, FALSE);
        board_test_ends(&s.t, "");
        slot_command(&s, OFF);
        board_test_ends(&s.t, " d gone");
    }
    board_test_clear(&s.t);
}

/* The lamp is on again after it blinked: called off. */
static void test_slot_refused(void)
{
    Slot s;
    UnplugPhase phase;

    slot_start(&s);
    slot_plug(&s);
    slot_command(&s, BLINK); /* powering on blinks, too: nobody asked */
    slot_command(&s, ON);
    board_test_ends(&s.t, "");
    slot_command(&s, BLINK); /* asked meanwhile: the button is pressed afterwards */
    slot_clear(&s, 0x1ff);
    slot_ask(&s, FALSE);
    g_assert_cmphex(slot_status(&s), ==, PDS);
    slot_command(&s, ON);
    g_assert_cmphex(slot_status(&s), ==, PDS | CC | ABP);
    board_test_ends(&s.t, "");
    slot_command(&s, ON);
    g_assert_true(slot_pending(&s, &phase));
    slot_command(&s, BLINK);
    slot_command(&s, ON);
    board_test_ends(&s.t, " d stays: the guest keeps the slot in use");
    slot_command(&s, OFF); /* late */
    board_test_ends(&s.t, " d gone");
    board_test_clear(&s.t);
}

/* Plugged while the guest was still busy with the one before: the lamp that it switches off is not meant for this one. */
static void test_slot_fresh(void)
{
    Slot s;

    slot_start(&s);
    slot_plug(&s);
    slot_command(&s, ON);
    slot_ask(&s, TRUE);
    board_test_ends(&s.t, " d gone");
    slot_command(&s, ON | NO_POWER);
    slot_plug(&s);
    slot_command(&s, OFF);
    board_test_ends(&s.t, "");
    g_assert_cmphex(slot_status(&s) & (PDS | ABP), ==, PDS | ABP);
    slot_command(&s, BLINK);
    slot_command(&s, ON);
    g_assert_cmphex(pci_in(&s.t, fn_at(3, 0, 0), 0, 4), ==, 0x56781234);
    slot_command(&s, OFF);
    board_test_ends(&s.t, " d gone");
    board_test_clear(&s.t);
}

/* Without power, or by force, at once. */
static void test_slot_at_once(void)
{
    Slot s;

    slot_start(&s);
    slot_plug(&s);
    slot_ask(&s, FALSE); /* a guest that does not care of slots */
    board_test_ends(&s.t, " d gone");
    slot_plug(&s);
    slot_command(&s, ON);
    slot_ask(&s, FALSE);
    board_test_ends(&s.t, "");
    slot_clear(&s, 0x1ff);
    slot_ask(&s, TRUE);
    board_test_ends(&s.t, " d gone");
    g_assert_cmphex(slot_status(&s), ==, PDC | DLLSC);
    slot_plug(&s); /* the slot has power: no button */
    g_assert_cmphex(slot_status(&s), ==, PDS | PDC | DLLSC);
    board_test_clear(&s.t);
}

/* Taken out with power on: presence and link change, the guest finds nothing. */
static void test_slot_surprise(void)
{
    Slot s;

    slot_start(&s);
    pci_plug(&s.t, "pci-testdev", "{\"id\": \"d\", \"bus\": \"rp\"}");
    slot_command(&s, ON);
    slot_clear(&s, 0x1ff);
    g_assert_true(device_remove(device_set_find(s.t.set, NS_DEVICE, "d"), NULL));
    g_assert_cmphex(slot_status(&s), ==, PDC | DLLSC);
    g_assert_cmphex(pci_in(&s.t, fn_at(3, 0, 0), 0, 4), ==, NOTHING);
    board_test_clear(&s.t);
}

static gboolean took_msi(BoardTest *t)
{
    guint64 a;
    guint32 d;

    return vm_test_take_msi(t->vm, &a, &d);
}

static void test_slot_interrupt(void)
{
    Slot s;

    slot_start(&s);
    guint msi = find_cap(&s.t, PORT, PCI_CAP_MSI);
    guint gsi = 16 + pci_pirq(1, 0);
    PciBus *bus = pci_bus_find(s.t.set, "rp");
    slot_command(&s, OFF | 0x31); /* button, commands, by interrupt */
    g_assert_true(irq_pin_level(s.t.vm, gsi));
    slot_clear(&s, CC);
    g_assert_false(irq_pin_level(s.t.vm, gsi));
    pci_out(&s.t, PORT, msi + 4, 0xfee00000, 4);
    pci_out(&s.t, PORT, msi + 2, 1, 2);
    pci_out(&s.t, PORT, PCI_COMMAND, 4, 2);
    g_assert_false(took_msi(&s.t));
    pcie_slot_push_button(bus);
    g_assert_true(took_msi(&s.t));
    g_assert_false(irq_pin_level(s.t.vm, gsi));
    pcie_slot_push_button(bus); /* it is there already: no edge */
    g_assert_false(took_msi(&s.t));
    slot_clear(&s, ABP);
    pcie_slot_push_button(bus);
    g_assert_true(took_msi(&s.t));
    slot_clear(&s, ABP);
    pci_plug(&s.t, "pci-testdev", "{\"bus\": \"rp\"}"); /* by the button: presence is not enabled */
    g_assert_true(took_msi(&s.t));
    slot_clear(&s, ABP);
    slot_command(&s, ON | 0x1030); /* link state, power on */
    g_assert_true(took_msi(&s.t)); /* command completed and link: one */
    g_assert_false(took_msi(&s.t));
    board_test_clear(&s.t);
}

/* A slot that has a device in it comes up with power, an empty one without. */
static void test_slot_reset(void)
{
    Slot s;

    slot_start(&s);
    pci_plug(&s.t, "pci-testdev", "{\"id\": \"d\", \"bus\": \"rp\"}");
    board_test_power_on(&s.t);
    g_assert_cmphex(pci_in(&s.t, PORT, s.exp + PCIE_SLTCTL, 2), ==, ON);
    g_assert_cmphex(slot_status(&s), ==, PDS);
    numbers(&s.t, PORT, 0, 3, 3);
    g_assert_cmphex(pci_in(&s.t, fn_at(3, 0, 0), 0, 4), ==, 0x56781234);
    pci_out(&s.t, PORT, s.exp + PCIE_LNKCTL, 0x30, 2); /* link off; retraining reads as done */
    g_assert_cmphex(pci_in(&s.t, PORT, s.exp + PCIE_LNKCTL, 2), ==, 0x10);
    g_assert_cmphex(pci_in(&s.t, fn_at(3, 0, 0), 0, 4), ==, NOTHING);
    g_assert_cmphex(slot_status(&s), ==, PDS | DLLSC);
    g_assert_true(device_remove(device_set_find(s.t.set, NS_DEVICE, "d"), NULL));
    board_test_power_on(&s.t);
    g_assert_cmphex(pci_in(&s.t, PORT, s.exp + PCIE_SLTCTL, 2), ==, OFF);
    g_assert_cmphex(slot_status(&s), ==, 0);
    board_test_clear(&s.t);
}

static void test_port_save_load(void)
{
    Slot a, b;
    Slot *slots[2] = { &a, &b };

    for (guint i = 0; i < 2; i++) {
        slot_start(slots[i]);
        pci_plug(&slots[i]->t, "pci-testdev", "{\"id\": \"d\", \"bus\": \"rp\"}");
    }
    slot_clear(&a, 0x1ff);
    slot_command(&a, ON);
    numbers(&a.t, PORT, 0, 8, 9);
    pcie_slot_push_button(pci_bus_find(a.t.set, "rp"));
    g_autoptr(GVariant) saved = device_save(device_set_find(a.t.set, NS_DEVICE, "rp"));
    g_assert_true(device_load(device_set_find(b.t.set, NS_DEVICE, "rp"), saved, NULL));
    board_test_settle();
    g_assert_cmphex(slot_status(&b), ==, slot_status(&a));
    g_assert_cmphex(pci_in(&b.t, fn_at(8, 0, 0), 0, 4), ==, 0x56781234);
    g_assert_cmphex(pci_in(&b.t, fn_at(3, 0, 0), 0, 4), ==, NOTHING);
    g_autoptr(GVariant) again = device_save(device_set_find(b.t.set, NS_DEVICE, "rp"));
    g_assert_true(g_variant_equal(saved, again));
    board_test_clear(&a.t);
    board_test_clear(&b.t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pci-bridge/numbers/routing", test_routing);
    g_test_add_func("/pci-bridge/numbers/overlap", test_numbers_overlap);
    g_test_add_func("/pci-bridge/windows", test_windows);
    g_test_add_func("/pci-bridge/swizzle", test_swizzle);
    g_test_add_func("/pci-bridge/port/header", test_port_header);
    g_test_add_func("/pci-bridge/port/one-slot", test_port_one_slot);
    g_test_add_func("/pci-bridge/port/rows", test_port_rows);
    g_test_add_func("/pci-bridge/port/200", test_port_200);
    g_test_add_func("/pci-bridge/port/secondary-reset", test_secondary_reset);
    g_test_add_func("/pci-bridge/port/save-load", test_port_save_load);
    g_test_add_func("/pci-bridge/assign/windows", test_assign);
    g_test_add_func("/pci-bridge/assign/tight", test_assign_tight);
    g_test_add_func("/pci-bridge/slot/plug", test_slot_plug);
    g_test_add_func("/pci-bridge/slot/plug-several", test_slot_plug_several);
    g_test_add_func("/pci-bridge/slot/goes-in-bracket", test_slot_goes_in_bracket);
    g_test_add_func("/pci-bridge/slot/power-off", test_slot_power_off);
    g_test_add_func("/pci-bridge/slot/unplug", test_slot_unplug);
    g_test_add_func("/pci-bridge/slot/refused", test_slot_refused);
    g_test_add_func("/pci-bridge/slot/fresh", test_slot_fresh);
    g_test_add_func("/pci-bridge/slot/at-once", test_slot_at_once);
    g_test_add_func("/pci-bridge/slot/surprise", test_slot_surprise);
    g_test_add_func("/pci-bridge/slot/interrupt", test_slot_interrupt);
    g_test_add_func("/pci-bridge/slot/reset", test_slot_reset);
    return g_test_run();
}

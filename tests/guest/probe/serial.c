/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Self test of a 16550A, most of it in loopback: the second port where there is one, else the
 * console itself, which is silent and unread meanwhile (characters coming in are lost). Results are
 * collected first and printed when the port is a console again.
 */
#include "probe.h"

enum { DATA = 0, IER = 1, IIR = 2, FCR = 2, LCR = 3, MCR = 4, LSR = 5, MSR = 6, SCR = 7 };

#define MCR_LOOP 0x10

static u16 base;

static u8 get(u16 reg)
{
    return inb(base + reg);
}

static void set(u16 reg, u8 v)
{
    outb(base + reg, v);
}

/* The scratch register does nothing but remember; an absent port does not even that. */
static bool scratch_works(u16 port)
{
    u8 old = inb(port + SCR);
    bool ok;

    outb(port + SCR, 0x5a);
    ok = inb(port + SCR) == 0x5a;
    outb(port + SCR, 0xa5);
    ok = ok && inb(port + SCR) == 0xa5;
    outb(port + SCR, old);
    return ok;
}

/* Some 10 ms for a character to come round. */
static bool wait_lsr(u8 bit)
{
    struct deadline d;

    for (deadline_start(&d, 10000); !deadline_passed(&d);) {
        if (get(LSR) & bit)
            return true;
    }
    return false;
}

/* With DLAB the first two registers are the divisor. It returns: this may be the console. */
static bool test_divisor(void)
{
    u8 lcr = get(LCR), low, high;
    bool ok;

    set(LCR, lcr | 0x80);
    low = get(DATA);
    high = get(IER);
    set(DATA, 0x34);
    set(IER, 0x12);
    ok = get(DATA) == 0x34 && get(IER) == 0x12;
    set(DATA, low);
    set(IER, high);
    set(LCR, lcr);
    return ok;
}

/* DTR shows as DSR, RTS as CTS, OUT1 as RI, OUT2 as DCD. */
static bool test_modem_lines(void)
{
    static const u8 expect[5][2] = {
        {0x00, 0x00}, {0x01, 0x20}, {0x02, 0x10}, {0x04, 0x40}, {0x08, 0x80}};
    bool ok = true;

    for (u32 i = 0; i < 5; i++) {
        set(MCR, MCR_LOOP | expect[i][0]);
        ok = ok && (get(MSR) & 0xf0) == expect[i][1];
    }
    set(MCR, MCR_LOOP);
    return ok;
}

/* All bits, both ways; 0x13 is XOFF, which must not be special. */
static bool test_data(void)
{
    static const u8 data[] = {0x55, 0xaa, 0x00, 0xff, 0x13};

    for (u32 i = 0; i < sizeof data; i++) {
        set(DATA, data[i]);
        if (!wait_lsr(0x01) || get(DATA) != data[i])
            return false;
    }
    return true;
}

/* A burst must come back whole and in order: the FIFO holds sixteen. */
static u32 test_depth(void)
{
    u32 n = 0;

    set(FCR, 0x07);
    for (u32 i = 0; i < 16; i++) {
        set(DATA, (u8)(0x40 + i));
        wait_lsr(0x20);
    }
    while (n < 16 && wait_lsr(0x01) && get(DATA) == 0x40 + n) {
        n++;
    }
    return n;
}

/* The cause as IIR names it: 4 is received data. */
static u8 test_rx_interrupt(void)
{
    u8 iir;

    set(IER, 0x01);
    set(DATA, 0x77);
    wait_lsr(0x01);
    iir = get(IIR) & 0x0f;
    get(DATA);
    set(IER, 0);
    return iir;
}

/* Transmitter empty is an interrupt of its own; reading IIR ends it. First and second value. */
static u32 test_thre_interrupt(void)
{
    u32 first;

    wait_lsr(0x40);
    set(IER, 0x02);
    first = get(IIR) & 0x0f;
    first = first << 8 | (get(IIR) & 0x0f);
    set(IER, 0);
    return first;
}

/* Reading LSR forgets an overrun, so nothing is read between the second character and the look. */
static bool test_overrun(void)
{
    bool seen;

    set(FCR, 0x00);
    set(DATA, 1);
    wait_lsr(0x40);
    set(DATA, 2);
    seen = wait_lsr(0x02);
    get(DATA);
    return seen;
}

static const char *verdict(bool ok)
{
    return ok ? "ok" : "bad";
}

/* Raw values where the line shows them too, verdicts otherwise. */
struct result {
    u8 fifo_off, fifo_on, rx_iir, lsr, lsr_first;
    u32 thre, depth;
    bool divisor, modem, data, overrun;
};

static void run_tests(struct result *r)
{
    set(IER, 0);
    set(LCR, 0x03);
    r->divisor = test_divisor();
    set(FCR, 0x00);
    r->fifo_off = get(IIR) >> 6;
    set(FCR, 0x01);
    r->fifo_on = get(IIR) >> 6;
    set(MCR, MCR_LOOP);
    set(FCR, 0x07);
    r->lsr_first = get(LSR);
    r->modem = test_modem_lines();
    r->data = test_data();
    r->depth = test_depth();
    r->rx_iir = test_rx_interrupt();
    r->thre = test_thre_interrupt();
    r->overrun = test_overrun();
    set(FCR, 0x07);
    set(FCR, 0x01);
    r->lsr = get(LSR);
    set(MCR, 0x03);
    get(MSR);
}

void serial_section(void)
{
    struct result r = {0};
    bool scratch;

    base = options.serial_base;
    if (!base)
        base = scratch_works(COM2) ? COM2 : COM1;
    console_drain();
    scratch = scratch_works(base);
    if (!scratch && get(LSR) == 0xff) {
        emit("serial base=%#x present=0\n", base);
        return;
    }
    run_tests(&r);
    if (base == COM1)
        console_init();
    emit("serial base=%#x present=1 scratch=%s divisor=%s fifo=%s loop_modem=%s loop_data=%s",
         base, verdict(scratch), verdict(r.divisor),
         r.fifo_off == 0 && r.fifo_on == 3 ? "16550a" : "none", verdict(r.modem), verdict(r.data));
    emit(" depth=%u rx_irq=%s thre_irq=%s overrun=%s lsr=%#x thre_iir=%#x rx_iir=%#x\n", r.depth,
         verdict(r.rx_iir == 4), verdict(r.thre == 0x201), verdict(r.overrun), r.lsr, r.thre,
         r.rx_iir);
}

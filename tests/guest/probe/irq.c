/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Does each interrupt source get through? For every source: route it to this processor, let it
 * fire, wait with interrupts on until the expected number came or the time is up, silence it
 * again, print the number. Lines of the ISA bus go by the MADT's overrides, which also say
 * polarity and trigger; the 8259 is tried once in virtual wire mode.
 */
#include "probe.h"

#define IOAPIC_VERSION 1
#define IOAPIC_PIN(n) (0x10 + 2 * (n))
#define PIN_MASKED 0x10000u
#define PIN_ACTIVE_LOW 0x2000u
#define PIN_LEVEL 0x8000u
#define LVT_EXTINT 0x700u
#define TIMER_DIV_16 3

enum { COM_DATA = 0, COM_IER = 1, COM_IIR = 2, COM_MCR = 4, COM_LSR = 5 };

/* An index register and a window. */
static void ioapic_write(u32 reg, u32 v)
{
    mmio_write32((uintptr_t)acpi.ioapic, reg);
    mmio_write32((uintptr_t)acpi.ioapic + 0x10, v);
}

static u32 ioapic_read(u32 reg)
{
    mmio_write32((uintptr_t)acpi.ioapic, reg);
    return mmio_read32((uintptr_t)acpi.ioapic + 0x10);
}

static u32 isa_pin(u32 irq)
{
    return acpi.isa_gsi[irq] - acpi.ioapic_gsi;
}

/*
 * Bus default means edge and active high for ISA. The destination goes in first: with the lower
 * half the pin is open.
 */
void ioapic_route(u32 gsi, u8 vector, u16 flags)
{
    u32 low = vector, pin = gsi - acpi.ioapic_gsi;

    if ((flags & 3) == 3)
        low |= PIN_ACTIVE_LOW;
    if ((flags >> 2 & 3) == 3)
        low |= PIN_LEVEL;
    ioapic_write(IOAPIC_PIN(pin) + 1, lapic_id() << 24);
    ioapic_write(IOAPIC_PIN(pin), low);
}

static void route(u32 irq, u8 vector)
{
    ioapic_route(acpi.isa_gsi[irq], vector, acpi.isa_flags[irq]);
}

static void unroute(u32 irq)
{
    ioapic_write(IOAPIC_PIN(isa_pin(irq)), PIN_MASKED);
}

/*
 * Interrupts of this vector until n have come, within us. Busy waiting, not HLT: whether HLT wakes
 * up is a test of its own, and a source that never fires must not stop the run.
 */
static u32 collect(u8 vector, u32 before, u32 n, u32 us)
{
    struct deadline d;

    irq_enable();
    for (deadline_start(&d, us); irq_count[vector] - before < n && !deadline_passed(&d);) {
        cpu_pause();
    }
    irq_disable();
    return irq_count[vector] - before;
}

static void report(const char *name, u32 gsi, u32 received, u32 wanted)
{
    emit("irq name=%s gsi=%u received=%u wanted=%u status=%s\n", name, gsi, received, wanted,
         received >= wanted ? "ok" : "bad");
}

static void report_local(const char *name, u32 received, u32 wanted)
{
    emit("irq name=%s received=%u wanted=%u status=%s\n", name, received, wanted,
         received >= wanted ? "ok" : "bad");
}

static void timer_oneshot(u32 count)
{
    lapic_write(LAPIC_TIMER_DIV, TIMER_DIV_16);
    lapic_write(LAPIC_LVT_TIMER, VEC_TIMER);
    lapic_write(LAPIC_TIMER_INIT, count);
}

static void timer_stop(void)
{
    lapic_write(LAPIC_TIMER_INIT, 0);
    lapic_write(LAPIC_LVT_TIMER, LVT_MASKED);
}

/* The bus clock in front of the divider; KVM and QEMU have 1 GHz. */
static u32 timer_khz(void)
{
    u32 start, ticks;

    lapic_write(LAPIC_TIMER_DIV, TIMER_DIV_16);
    lapic_write(LAPIC_LVT_TIMER, LVT_MASKED);
    start = clock_read();
    lapic_write(LAPIC_TIMER_INIT, ~0u);
    delay_us(20000);
    ticks = ~0u - lapic_read(LAPIC_TIMER_NOW);
    start = clock_delta(start, clock_read());
    timer_stop();
    return start ? (u32)udiv64((u64)ticks * 16 * (clock_hz() / 1000), start) : 0;
}

/* HLT must end with the interrupt; only tried when that interrupt is known to come. */
static void test_hlt(void)
{
    u32 before = irq_count[VEC_TIMER];

    timer_oneshot(100000);
    __asm__ volatile("sti; hlt; cli" : : : "memory");
    timer_stop();
    report_local("hlt-wake", irq_count[VEC_TIMER] - before, 1);
}

static void test_lapic(void)
{
    u32 before = irq_count[VEC_TIMER], received;

    timer_oneshot(100000);
    received = collect(VEC_TIMER, before, 1, 500000);
    timer_stop();
    report_local("lapic-timer", received, 1);
    if (received)
        test_hlt();
    emit("irq-lapic id=%u version=%#x x2=%u khz=%u\n", lapic_id(), lapic_read(LAPIC_VERSION),
         lapic_x2, timer_khz());
    before = irq_count[VEC_SELF];
    lapic_ipi(lapic_id(), ICR_FIXED | VEC_SELF);
    report_local("self-ipi", collect(VEC_SELF, before, 1, 500000), 1);
}

static void pit_start(u16 count)
{
    outb(0x43, 0x34); /* channel 0, both bytes, rate generator */
    outb(0x40, (u8)count);
    outb(0x40, (u8)(count >> 8));
}

static void pit_stop(void)
{
    outb(0x43, 0x30); /* waits for a count that never comes */
}

/* 100 Hz, slow enough for a host that emulates every instruction of the handler. */
static void test_pit(void)
{
    u32 before = irq_count[VEC_PIT], received;

    route(0, VEC_PIT);
    pit_start(11932);
    received = collect(VEC_PIT, before, 5, 1000000);
    pit_stop();
    unroute(0);
    report("pit", acpi.isa_gsi[0], received, 5);
}

static void pic_eoi(void)
{
    outb(0x20, 0x20);
}

/* Vectors out of the exceptions' way even where all lines stay masked: spurious ones come still. */
static void pic_init(void)
{
    outb(0x20, 0x11);
    outb(0xa0, 0x11);
    outb(0x21, VEC_PIC);
    outb(0xa1, VEC_PIC + 8);
    outb(0x21, 4);
    outb(0xa1, 2);
    outb(0x21, 1);
    outb(0xa1, 1);
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
}

/* ExtINT through LINT0; the I/O APIC's pins are all masked, so it can only be this way. */
static void test_pic(void)
{
    u32 before = irq_count[VEC_PIC], received;

    trap_set(VEC_PIC, pic_eoi);
    lapic_write(LAPIC_LVT_LINT0, LVT_EXTINT);
    outb(0x21, 0xfe);
    pit_start(11932);
    received = collect(VEC_PIC, before, 3, 1000000);
    pit_stop();
    outb(0x21, 0xff);
    lapic_write(LAPIC_LVT_LINT0, LVT_MASKED);
    report_local("pic-pit", received, 3);
}

/* Reading IIR takes back a transmitter interrupt. */
static void serial_handler(void)
{
    inb(COM1 + COM_IIR);
}

/* OUT2 gates the line on PCs. The transmitter is empty already: enabling is enough. */
static void test_serial(void)
{
    u32 before = irq_count[VEC_SERIAL], received;
    u8 mcr = inb(COM1 + COM_MCR);

    console_drain();
    trap_set(VEC_SERIAL, serial_handler);
    route(4, VEC_SERIAL);
    outb(COM1 + COM_MCR, mcr | 0x08);
    outb(COM1 + COM_IER, 0x02);
    received = collect(VEC_SERIAL, before, 1, 500000);
    outb(COM1 + COM_IER, 0);
    outb(COM1 + COM_MCR, mcr);
    unroute(4);
    report("serial", acpi.isa_gsi[4], received, 1);
}

/* The line stays active, and no further edge comes, until register C is read. */
static void rtc_handler(void)
{
    rtc_read(0x0c);
}

/* Flags from before would hold the line up: C is read on both sides. */
static u32 rtc_enable(u8 bits, u32 wanted, u32 us)
{
    u32 before = irq_count[VEC_RTC], received;
    u8 b = rtc_read(0x0b);

    rtc_read(0x0c);
    rtc_write(0x0b, b | bits);
    received = collect(VEC_RTC, before, wanted, us);
    rtc_write(0x0b, b);
    rtc_read(0x0c);
    return received;
}

static void test_rtc(void)
{
    u8 a = rtc_read(0x0a), alarm[3] = {rtc_read(1), rtc_read(3), rtc_read(5)};

    trap_set(VEC_RTC, rtc_handler);
    route(8, VEC_RTC);
    rtc_write(0x0a, (a & 0xf0) | 0x06); /* 1024 Hz */
    report("rtc-periodic", acpi.isa_gsi[8], rtc_enable(0x40, 5, 500000), 5);
    rtc_write(0x0a, a);
    report("rtc-update", acpi.isa_gsi[8], rtc_enable(0x10, 1, 1500000), 1);
    for (u8 i = 0; i < 3; i++) {
        rtc_write((u8)(2 * i + 1), 0xff);
    }
    report("rtc-alarm", acpi.isa_gsi[8], rtc_enable(0x20, 1, 1500000), 1);
    for (u8 i = 0; i < 3; i++) {
        rtc_write((u8)(2 * i + 1), alarm[i]);
    }
    unroute(8);
}

/* Level triggered: the source must be silent before the interrupt ends. */
static void sci_handler(void)
{
    outw((u16)(acpi.pm1a_evt + acpi.pm1_evt_len / 2), 0);
    outw((u16)acpi.pm1a_evt, 0x0001);
}

/* TMR_STS is set when the timer's top bit changes, every 2.35 s (24 bits). */
static void test_sci(void)
{
    u32 before = irq_count[VEC_SCI], received;

    acpi_enable();
    trap_set(VEC_SCI, sci_handler);
    outw((u16)acpi.pm1a_evt, 0x0001);
    route(acpi.sci & 15, VEC_SCI);
    outw((u16)(acpi.pm1a_evt + acpi.pm1_evt_len / 2), 0x0001);
    received = collect(VEC_SCI, before, 1, 2600000);
    sci_handler();
    unroute(acpi.sci & 15);
    report("sci", acpi.isa_gsi[acpi.sci & 15], received, 1);
}

static void mask_all_pins(void)
{
    u32 version = ioapic_read(IOAPIC_VERSION), pins = (version >> 16 & 0xff) + 1;

    emit("irq-ioapic addr=%#llx version=%#x pins=%u\n", acpi.ioapic, version & 0xff, pins);
    for (u32 i = 0; i < pins; i++) {
        ioapic_write(IOAPIC_PIN(i), PIN_MASKED);
    }
}

void irq_section(void)
{
    pic_init();
    test_lapic();
    if (!acpi.ioapic) {
        emit("irq-ioapic addr=0x0\n");
        return;
    }
    mask_all_pins();
    test_pit();
    test_pic();
    test_serial();
    if (rtc_present())
        test_rtc();
    if (options.sci && acpi.pm1a_evt)
        test_sci();
}

/* The timer is the way out when no character comes, or its interrupt does not. */
void irq_wait_serial(void)
{
    timer_oneshot(3125000); /* 50 ms at KVM's and QEMU's 1 GHz */
    if (acpi.ioapic) {
        trap_set(VEC_SERIAL, serial_handler);
        route(4, VEC_SERIAL);
        outb(COM1 + COM_MCR, 0x0b);
        outb(COM1 + COM_IER, 0x01);
    }
    /* STI takes effect behind HLT, so an interrupt before it can not be lost. */
    __asm__ volatile("sti; hlt; cli" : : : "memory");
    timer_stop();
    outb(COM1 + COM_IER, 0);
    if (acpi.ioapic)
        unroute(4);
}

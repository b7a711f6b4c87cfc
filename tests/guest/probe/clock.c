/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The measure of every bounded wait. The ACPI PM timer, since its frequency is given and it needs
 * no interrupt; where there is none (or it stands still) the TSC, calibrated by channel 2 of the
 * PIT, or else taken for 2 GHz: then waits have the wrong length, but still end. Counting
 * instructions would not do: they run at 1 MIPS on one host and at 1000 on another.
 */
#include "probe.h"

#define PM_HZ 3579545u
#define PIT_HZ 1193182u

const char *clock_name = "tsc-guess";
static u32 hz = 2000000000u;
static u16 pm_port;
static u32 pm_mask;

u32 clock_hz(void)
{
    return hz;
}

u32 clock_read(void)
{
    return pm_port ? inl(pm_port) & pm_mask : (u32)rdtsc();
}

/* Modulo the counter's width: the difference is right across one wrap. */
u32 clock_delta(u32 from, u32 to)
{
    return (to - from) & (pm_port ? pm_mask : 0xffffffffu);
}

/*
 * Bit 5 of port 0x61 is the channel's output. Mode 0 drives it low at once; where it stays high no
 * PIT is there (an absent port reads as all ones).
 */
bool pit_oneshot(u16 count)
{
    outb(0x61, (inb(0x61) & 0xfc) | 0x01); /* gate on, speaker off */
    outb(0x43, 0xb0);                      /* channel 2, both bytes, mode 0: output low now */
    outb(0x42, (u8)count);
    outb(0x42, (u8)(count >> 8));
    if (inb(0x61) & 0x20)
        return false;
    for (u32 i = 0; i < 500000; i++) {
        if (inb(0x61) & 0x20)
            return true;
    }
    return false;
}

/* A FADT may promise a timer that the monitor does not have; every wait would be endless. */
static bool pm_timer_moves(void)
{
    u32 first = clock_read();

    for (u32 i = 0; i < 100000; i++) {
        if (clock_read() != first)
            return true;
    }
    return false;
}

static void calibrate_tsc(void)
{
    u64 start = rdtsc(), ticks;

    if (!pit_oneshot(PIT_HZ / 50))
        return;
    /* 32 bits of ticks a second are enough up to 4 GHz, beyond that waits only get shorter. */
    ticks = rdtsc() - start;
    hz = ticks < 0xffffffffu / 50 ? (u32)ticks * 50 : 0xffffffffu;
    clock_name = "tsc-pit";
}

void clock_init(void)
{
    pm_port = (u16)acpi.pm_tmr;
    pm_mask = acpi.flags & FADT_TMR_32 ? 0xffffffffu : 0xffffffu;
    if (pm_port && pm_timer_moves()) {
        hz = PM_HZ;
        clock_name = "pmtimer";
        return;
    }
    pm_port = 0;
    calibrate_tsc();
}

void deadline_start(struct deadline *d, u32 us)
{
    d->passed = 0;
    d->limit = udiv64((u64)us * (hz / 1000), 1000);
    d->last = clock_read();
}

/* To be called at least once per turn of the counter: 4.6 s with a 24-bit PM timer. */
bool deadline_passed(struct deadline *d)
{
    u32 now = clock_read();

    d->passed += clock_delta(d->last, now);
    d->last = now;
    return d->passed >= d->limit;
}

void delay_us(u32 us)
{
    struct deadline d;

    for (deadline_start(&d, us); !deadline_passed(&d);) {
        cpu_pause();
    }
}

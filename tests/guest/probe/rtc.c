/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The clock at 0x70/0x71, read by polling, and how the clocks agree: one second of the RTC in PM
 * timer ticks, 20 ms of the PIT in PM timer ticks and in TSC cycles. Interrupt delivery is tested
 * in irq.c.
 */
#include "probe.h"

#define PIT_20MS 23864u

enum { SECONDS = 0, SECONDS_ALARM = 1, MINUTES = 2, MINUTES_ALARM = 3, HOURS = 4, HOURS_ALARM = 5,
       WEEKDAY = 6, DAY = 7, MONTH = 8, YEAR = 9, REG_A = 10, REG_B = 11, REG_C = 12, REG_D = 13 };

#define A_UIP 0x80
#define B_DM_BINARY 0x04
#define C_UF 0x10
#define C_AF 0x20
#define DONT_CARE 0xff

u8 rtc_read(u8 index)
{
    outb(0x70, index);
    return inb(0x71);
}

void rtc_write(u8 index, u8 v)
{
    outb(0x70, index);
    outb(0x71, v);
}

bool rtc_present(void)
{
    return rtc_read(REG_A) != 0xff || rtc_read(REG_D) != 0xff;
}

/* Binary or BCD, by register B. */
static u32 decode(u8 v, u8 b)
{
    return b & B_DM_BINARY ? v : (v >> 4) * 10u + (v & 15);
}

/* With UIP clear an update is at least 244 us away: time enough for ten reads, even at 1 MIPS. */
static void wait_no_update(void)
{
    struct deadline d;

    for (deadline_start(&d, 10000); !deadline_passed(&d) && (rtc_read(REG_A) & A_UIP);) {
        cpu_pause();
    }
}

static void print_time(void)
{
    u8 b = rtc_read(REG_B), century = acpi.century ? acpi.century : 0x32;
    u8 v[10];

    wait_no_update();
    for (u8 i = 0; i < 10; i++) {
        v[i] = rtc_read(i);
    }
    emit("rtc date=%02u%02u-%02u-%02u time=%02u:%02u:%02u weekday=%u", decode(rtc_read(century), b),
         decode(v[YEAR], b), decode(v[MONTH], b), decode(v[DAY], b), decode(v[HOURS] & 0x7f, b),
         decode(v[MINUTES], b), decode(v[SECONDS], b), v[WEEKDAY]);
    emit(" a=%#x b=%#x c=%#x d=%#x century_index=%#x\n", rtc_read(REG_A), b, rtc_read(REG_C),
         rtc_read(REG_D), century);
}

struct tick {
    bool changed, uip;
    u32 ticks;
};

/* Until the seconds change, at most 1.5 s. */
static void wait_second(struct tick *t)
{
    struct deadline d;
    u8 first = rtc_read(SECONDS);

    *t = (struct tick){0};
    for (deadline_start(&d, 1500000); !deadline_passed(&d) && !t->changed;) {
        t->uip |= (rtc_read(REG_A) & A_UIP) != 0;
        t->changed = rtc_read(SECONDS) != first;
    }
    deadline_passed(&d);
    t->ticks = (u32)d.passed;
}

/* The flags of one update. A monitor may compute the time in one thread, the flags in another. */
static u8 gather_flags(void)
{
    struct deadline d;
    u8 c = 0;

    for (deadline_start(&d, 50000); !deadline_passed(&d) && (~c & (C_UF | C_AF));) {
        c |= rtc_read(REG_C);
    }
    return c;
}

/* An alarm of "don't care" in all three fires every second, whatever the time is. */
static void test_tick(void)
{
    u8 alarm[3] = {rtc_read(SECONDS_ALARM), rtc_read(MINUTES_ALARM), rtc_read(HOURS_ALARM)};
    struct tick first, second;
    u8 c;

    wait_second(&first);
    rtc_write(SECONDS_ALARM, DONT_CARE);
    rtc_write(MINUTES_ALARM, DONT_CARE);
    rtc_write(HOURS_ALARM, DONT_CARE);
    rtc_read(REG_C);
    wait_second(&second);
    c = gather_flags();
    rtc_write(SECONDS_ALARM, alarm[0]);
    rtc_write(MINUTES_ALARM, alarm[1]);
    rtc_write(HOURS_ALARM, alarm[2]);
    emit("rtc-tick tick=%s ms=%u uf=%u af=%u uip=%u\n",
         first.changed && second.changed ? "ok" : "bad",
         (u32)udiv64((u64)second.ticks * 1000, clock_hz()), (c & C_UF) != 0,
         (c & C_AF) != 0, first.uip || second.uip);
}

/* A step back shows as a huge step forward. */
static bool monotonic(u32 reads)
{
    u32 last = clock_read();

    for (u32 i = 0; i < reads; i++) {
        u32 now = clock_read();
        if (clock_delta(last, now) > 0x400000)
            return false;
        last = now;
    }
    return true;
}

/* The RTC's second is the third opinion, in test_tick(). */
static void compare_clocks(void)
{
    u32 start, ticks;
    u64 tsc;

    emit("clock name=%s hz=%u monotonic=%s", clock_name, clock_hz(),
         monotonic(1000) ? "ok" : "bad");
    start = clock_read();
    tsc = rdtsc();
    if (pit_oneshot(PIT_20MS)) {
        ticks = clock_delta(start, clock_read());
        tsc = rdtsc() - tsc;
        emit(" pit_us=20000 us=%u", (u32)udiv64((u64)ticks * 1000000, clock_hz()));
        if (ticks)
            emit(" tsc_khz=%u", (u32)udiv64(tsc * (clock_hz() / 1000), ticks));
    }
    emit("\n");
}

void rtc_section(void)
{
    compare_clocks();
    if (!rtc_present()) {
        emit("rtc present=0\n");
        return;
    }
    print_time();
    test_tick();
}

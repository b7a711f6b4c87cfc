/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The RTC: time in all formats, setting it, its three interrupts, alarm, CMOS RAM, state. */
#include "board-test.h"

#define RTC_IRQ 8
#define B_24H 0x02
#define B_BINARY 0x04
#define EPOCH_YEAR 0x26 /* the test accelerator starts at 2026-01-01 00:00:00 UTC, a Thursday */

static guint8 rd(BoardTest *t, guint8 reg)
{
    outb(t, 0x70, reg);
    return inb(t, 0x71);
}

static void wr(BoardTest *t, guint8 reg, guint8 value)
{
    outb(t, 0x70, reg);
    outb(t, 0x71, value);
}

static void assert_time(BoardTest *t, guint8 hour, guint8 minute, guint8 second)
{
    g_assert_cmphex(rd(t, 4), ==, hour);
    g_assert_cmphex(rd(t, 2), ==, minute);
    g_assert_cmphex(rd(t, 0), ==, second);
}

static void assert_date(BoardTest *t, guint8 century, guint8 year, guint8 month, guint8 day)
{
    g_assert_cmphex(rd(t, 0x32), ==, century);
    g_assert_cmphex(rd(t, 9), ==, year);
    g_assert_cmphex(rd(t, 8), ==, month);
    g_assert_cmphex(rd(t, 7), ==, day);
}

static void test_time_runs(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    assert_date(&t, 0x20, EPOCH_YEAR, 0x01, 0x01);
    assert_time(&t, 0, 0, 0);
    g_assert_cmphex(rd(&t, 6), ==, 5);
    step(&t, (59 + 59 * 60 + 23 * 3600) * NS_PER_S);
    assert_time(&t, 0x23, 0x59, 0x59);
    step(&t, NS_PER_S);
    assert_time(&t, 0, 0, 0);
    assert_date(&t, 0x20, EPOCH_YEAR, 0x01, 0x02);
    g_assert_cmphex(rd(&t, 6), ==, 6);
    g_assert_cmphex(rd(&t, 0x0d), ==, 0x80);
    board_test_clear(&t);
}

static void test_formats(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    step(&t, (13 * 3600 + 45 * 60 + 56) * NS_PER_S);
    assert_time(&t, 0x13, 0x45, 0x56);
    wr(&t, 0x0b, B_24H | B_BINARY);
    assert_time(&t, 13, 45, 56);
    assert_date(&t, 20, 26, 1, 1);
    wr(&t, 0x0b, 0);
    assert_time(&t, 0x81, 0x45, 0x56);
    wr(&t, 0x0b, B_BINARY);
    assert_time(&t, 0x81, 45, 56);
    step(&t, 11 * 3600 * NS_PER_S);
    assert_time(&t, 12, 45, 56); /* after midnight it is 12 AM */
    step(&t, 12 * 3600 * NS_PER_S);
    assert_time(&t, 12 | 0x80, 45, 56);
    board_test_clear(&t);
}

static void test_set_time(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    wr(&t, 0x0b, 0x80 | B_24H);
    static const guint8 regs[][2] = { { 0x32, 0x19 }, { 9, 0x99 }, { 8, 0x12 }, { 7, 0x31 },
                                      { 4, 0x23 },    { 2, 0x59 }, { 0, 0x58 } };
    for (guint i = 0; i < G_N_ELEMENTS(regs); i++)
        wr(&t, regs[i][0], regs[i][1]);
    step(&t, 5 * NS_PER_S);
    assert_time(&t, 0x23, 0x59, 0x58); /* SET: it stands */
    g_assert_cmpuint(t.rtc_changes, ==, 0);
    wr(&t, 0x0b, B_24H);
    g_assert_cmpuint(t.rtc_changes, ==, 1);
    /* 1999-12-31 23:59:58 against 2026-01-01 00:00:05 */
    g_assert_cmpint(t.rtc_offset, ==, 946684798 - (1767225600 + 5));
    assert_time(&t, 0x23, 0x59, 0x58);
    step(&t, 2 * NS_PER_S);
    assert_time(&t, 0, 0, 0);
    assert_date(&t, 0x20, 0x00, 0x01, 0x01);
    /* one register into a running clock */
    wr(&t, 4, 0x10);
    assert_time(&t, 0x10, 0, 0);
    g_assert_cmpuint(t.rtc_changes, ==, 2);
    board_test_clear(&t);
}

/* SET and back without a change in the same second is no change. */
static void test_set_without_change(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    wr(&t, 0x0b, 0x80 | B_24H);
    wr(&t, 0x0b, B_24H);
    g_assert_cmpuint(t.rtc_changes, ==, 0);
    board_test_clear(&t);
}

/* Whatever a guest writes, it reads back while SET, and time goes on from something afterwards. */
static void test_set_rubbish(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    for (guint format = 0; format < 8; format += 2) {
        wr(&t, 0x0b, 0x80 | format);
        for (guint i = 0; i <= 9; i++)
            wr(&t, i, 0xff);
        wr(&t, 0x32, 0xff);
        g_assert_cmphex(rd(&t, 8), ==, 0xff);
        wr(&t, 0x0b, format);
        guint8 second = rd(&t, 0);
        step(&t, NS_PER_S);
        g_assert_cmphex(rd(&t, 0), !=, second);
    }
    board_test_clear(&t);
}

/* Out of the divider's reset the first second lasts half of one. */
static void test_divider(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    step(&t, 300 * NS_PER_MS);
    wr(&t, 0x0a, 0x76);
    step(&t, 10 * NS_PER_S);
    assert_time(&t, 0, 0, 0);
    wr(&t, 0, 0x30);
    wr(&t, 0x0a, 0x26);
    assert_time(&t, 0, 0, 0x30);
    step(&t, 499 * NS_PER_MS);
    assert_time(&t, 0, 0, 0x30);
    step(&t, NS_PER_MS);
    assert_time(&t, 0, 0, 0x31);
    step(&t, 999 * NS_PER_MS);
    assert_time(&t, 0, 0, 0x31);
    step(&t, NS_PER_MS);
    assert_time(&t, 0, 0, 0x32);
    board_test_clear(&t);
}

static void test_uip(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    g_assert_cmphex(rd(&t, 0x0a), ==, 0x26);
    step(&t, NS_PER_S - 244001);
    g_assert_cmphex(rd(&t, 0x0a), ==, 0x26);
    step(&t, 1);
    g_assert_cmphex(rd(&t, 0x0a), ==, 0xa6);
    step(&t, 244000);
    g_assert_cmphex(rd(&t, 0x0a), ==, 0x26);
    wr(&t, 0x0a, 0xa6); /* read-only */
    g_assert_cmphex(rd(&t, 0x0a), ==, 0x26);
    wr(&t, 0x0b, 0x82); /* no update is coming */
    step(&t, NS_PER_S - 1000);
    g_assert_cmphex(rd(&t, 0x0a), ==, 0x26);
    board_test_clear(&t);
}

static void test_no_timer_when_idle(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    g_assert_cmpint(vm_clock_next_deadline(t.vm), ==, -1);
    wr(&t, 0x0b, B_24H | 0x40);
    g_assert_cmpint(vm_clock_next_deadline(t.vm), >, 0);
    wr(&t, 0x0b, B_24H);
    g_assert_cmpint(vm_clock_next_deadline(t.vm), ==, -1);
    board_test_clear(&t);
}

static void test_periodic(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    rd(&t, 0x0c);
    wr(&t, 0x0b, B_24H | 0x40); /* 1024 Hz: every 976562.5 ns */
    guint count = 0;
    for (guint ms = 0; ms < 1000; ms++) {
        step(&t, NS_PER_MS);
        if (irq_pin_level(t.vm, RTC_IRQ)) {
            count++;
            g_assert_cmphex(rd(&t, 0x0c) & 0xc0, ==, 0xc0);
            g_assert_false(irq_pin_level(t.vm, RTC_IRQ));
        }
    }
    g_assert_cmpuint(count, >=, 999);
    /* rates: 15 is 2 Hz, 0 is none, 1 is 256 Hz like 8 */
    wr(&t, 0x0a, 0x2f);
    rd(&t, 0x0c);
    step(&t, NS_PER_S);
    g_assert_true(irq_pin_level(t.vm, RTC_IRQ));
    gint64 at = vm_clock_ns(t.vm);
    rd(&t, 0x0c);
    g_assert_cmpint(vm_clock_next_deadline(t.vm) - at, <=, 500 * NS_PER_MS);
    g_assert_cmpint(vm_clock_next_deadline(t.vm) - at, >, 490 * NS_PER_MS);
    wr(&t, 0x0a, 0x21);
    rd(&t, 0x0c);
    step(&t, vm_clock_next_deadline(t.vm) - vm_clock_ns(t.vm));
    rd(&t, 0x0c);
    g_assert_cmpint(vm_clock_next_deadline(t.vm) - vm_clock_ns(t.vm), ==, 3906250);
    wr(&t, 0x0a, 0x20);
    rd(&t, 0x0c);
    g_assert_cmpint(vm_clock_next_deadline(t.vm), ==, -1);
    board_test_clear(&t);
}

/* Not enabled, the flag still tells a polling guest. */
static void test_polled_flags(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    rd(&t, 0x0c);
    g_assert_cmphex(rd(&t, 0x0c), ==, 0);
    step(&t, NS_PER_MS);
    g_assert_cmphex(rd(&t, 0x0c), ==, 0x40);
    step(&t, NS_PER_S);
    g_assert_cmphex(rd(&t, 0x0c) & 0x90, ==, 0x10);
    g_assert_false(irq_pin_level(t.vm, RTC_IRQ));
    board_test_clear(&t);
}

static void test_update_ended(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    rd(&t, 0x0c);
    wr(&t, 0x0b, B_24H | 0x10);
    step(&t, NS_PER_S - 1);
    g_assert_false(irq_pin_level(t.vm, RTC_IRQ));
    step(&t, 1);
    g_assert_true(irq_pin_level(t.vm, RTC_IRQ));
    g_assert_cmphex(rd(&t, 0x0c) & 0x90, ==, 0x90);
    g_assert_false(irq_pin_level(t.vm, RTC_IRQ));
    step(&t, NS_PER_S);
    g_assert_true(irq_pin_level(t.vm, RTC_IRQ));
    wr(&t, 0x0b, B_24H | 0x80 | 0x10); /* SET takes the enable away */
    g_assert_cmphex(rd(&t, 0x0b), ==, B_24H | 0x80);
    g_assert_false(irq_pin_level(t.vm, RTC_IRQ));
    board_test_clear(&t);
}

static void alarm_at(BoardTest *t, guint8 hour, guint8 minute, guint8 second)
{
    wr(t, 5, hour);
    wr(t, 3, minute);
    wr(t, 1, second);
}

/* Seconds until the alarm interrupts, from 00:00:00; -1: not within two days. */
static gint64 alarm_after(const char *board, guint8 format, guint8 hour, guint8 minute,
                          guint8 second)
{
    BoardTest t;
    gint64 s = -1;

    board_test_init(&t, board);
    wr(&t, 0x0b, format);
    alarm_at(&t, hour, minute, second);
    rd(&t, 0x0c);
    wr(&t, 0x0b, format | 0x20);
    step(&t, 2 * 86400 * NS_PER_S - 1);
    if (irq_pin_level(t.vm, RTC_IRQ)) {
        gint64 at = vm_clock_ns(t.vm);
        g_assert_cmphex(rd(&t, 0x0c) & 0xa0, ==, 0xa0);
        s = vm_clock_next_deadline(t.vm) - at; /* the next one, from the end of the second day */
        s = (s + 1) / NS_PER_S;
    }
    board_test_clear(&t);
    return s;
}

static void test_alarm(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    alarm_at(&t, 0x01, 0x30, 0x15);
    wr(&t, 0x0b, B_24H | 0x20);
    step(&t, (3600 + 30 * 60 + 15) * NS_PER_S - 1);
    g_assert_false(irq_pin_level(t.vm, RTC_IRQ));
    step(&t, 1);
    g_assert_true(irq_pin_level(t.vm, RTC_IRQ));
    g_assert_cmphex(rd(&t, 0x0c) & 0xa0, ==, 0xa0);
    /* tomorrow again */
    step(&t, 86400 * NS_PER_S - 1);
    g_assert_false(irq_pin_level(t.vm, RTC_IRQ));
    step(&t, 1);
    g_assert_true(irq_pin_level(t.vm, RTC_IRQ));
    board_test_clear(&t);
}

static void test_alarm_fields(void)
{
    g_assert_cmpint(alarm_after(BOARD_DEFAULT, B_24H, 0x05, 0x06, 0x07), ==, 5 * 3600 + 6 * 60 + 7);
    g_assert_cmpint(alarm_after(BOARD_DEFAULT, B_24H | B_BINARY, 23, 59, 59), ==, 86399);
    /* any hour; any hour and minute; every second */
    g_assert_cmpint(alarm_after(BOARD_DEFAULT, B_24H, 0xff, 0x06, 0x07), ==, 6 * 60 + 7);
    g_assert_cmpint(alarm_after(BOARD_DEFAULT, B_24H, 0xc0, 0xc0, 0x07), ==, 7);
    g_assert_cmpint(alarm_after(BOARD_DEFAULT, B_24H, 0xff, 0xff, 0xff), ==, 0);
    /* 12 hours: 1 PM, and 12 AM is midnight */
    g_assert_cmpint(alarm_after(BOARD_DEFAULT, 0, 0x81, 0x00, 0x00), ==, 13 * 3600);
    g_assert_cmpint(alarm_after(BOARD_DEFAULT, 0, 0x12, 0x00, 0x01), ==, 1);
    /* never */
    g_assert_cmpint(alarm_after(BOARD_DEFAULT, B_24H, 0x25, 0x00, 0x00), ==, -1);
    g_assert_cmpint(alarm_after(BOARD_DEFAULT, B_24H, 0xff, 0xff, 0x61), ==, -1);
}

static void test_base(void)
{
    BoardTest t;

    board_test_init(&t, "{\"driver\": \"board\", \"rtc-base\": \"2038-01-19T03:14:07\"}");
    assert_date(&t, 0x20, 0x38, 0x01, 0x19);
    assert_time(&t, 0x03, 0x14, 0x07);
    /* the offset reported is against this base, as a manager stores it */
    wr(&t, 0, 0x17);
    g_assert_cmpint(t.rtc_offset, ==, 10);
    board_test_clear(&t);

    g_setenv("TZ", "UTC-5", TRUE); /* five hours ahead */
    tzset();
    board_test_init(&t, "{\"driver\": \"board\", \"rtc-base\": \"localtime\"}");
    assert_time(&t, 0x05, 0, 0);
    board_test_clear(&t);
    g_setenv("TZ", "UTC", TRUE);
    tzset();
}

static void test_cmos(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    g_assert_cmphex(rd(&t, 0x14), ==, 0x02);
    g_assert_cmphex(rd(&t, 0x5f), ==, 0);
    guint sum = 0;
    for (guint i = 0x10; i < 0x2e; i++)
        sum += rd(&t, i);
    g_assert_cmphex(rd(&t, 0x2e) << 8 | rd(&t, 0x2f), ==, sum);
    /* RAM for everybody else; the index has seven bits */
    wr(&t, 0x7f, 0x5a);
    g_assert_cmphex(rd(&t, 0xff), ==, 0x5a);
    g_assert_cmphex(inb(&t, 0x70), ==, 0xff);
    wr(&t, 0x0f, 0x0a);
    board_test_power_on(&t);
    g_assert_cmphex(rd(&t, 0x7f), ==, 0x5a); /* on a battery */
    g_assert_cmphex(rd(&t, 0x0f), ==, 0x00);
    board_test_clear(&t);
}

static void test_reset(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    wr(&t, 4, 0x10);
    wr(&t, 0x0b, B_24H | 0x78);
    step(&t, NS_PER_S);
    g_assert_true(irq_pin_level(t.vm, RTC_IRQ));
    board_test_power_on(&t);
    g_assert_false(irq_pin_level(t.vm, RTC_IRQ));
    g_assert_cmphex(rd(&t, 0x0b), ==, B_24H);
    assert_time(&t, 0x10, 0, 0x01);
    g_assert_cmpint(vm_clock_next_deadline(t.vm), ==, -1);
    board_test_clear(&t);
}

static void test_save_load(void)
{
    BoardTest a, b;

    board_test_init(&a, BOARD_DEFAULT);
    board_test_init(&b, BOARD_DEFAULT);
    wr(&a, 9, 0x42);
    wr(&a, 0x0a, 0x2f);
    alarm_at(&a, 0xff, 0xff, 0x10);
    wr(&a, 0x40, 0x99);
    wr(&a, 0x0b, B_24H | 0x20);
    step(&a, 1500 * NS_PER_MS);
    outb(&a, 0x70, 0x40);
    board_test_move(&a, &b, "mc146818rtc");
    g_assert_cmphex(inb(&b, 0x71), ==, 0x99);
    assert_date(&b, 0x20, 0x42, 0x01, 0x01);
    assert_time(&b, 0, 0, 0x01);
    g_assert_cmpint(vm_clock_next_deadline(a.vm), ==, vm_clock_next_deadline(b.vm));
    step(&b, 9 * NS_PER_S);
    g_assert_true(irq_pin_level(b.vm, RTC_IRQ));
    step(&a, 9 * NS_PER_S);
    for (guint i = 0; i < 128; i++)
        g_assert_cmphex(rd(&a, i), ==, rd(&b, i));
    /* while it stands */
    wr(&a, 0x0b, 0x82);
    wr(&a, 2, 0x33);
    board_test_move(&a, &b, "mc146818rtc");
    g_assert_cmphex(rd(&b, 2), ==, 0x33);
    wr(&b, 0x0b, 0x02);
    g_assert_cmphex(rd(&b, 2), ==, 0x33);
    board_test_clear(&a);
    board_test_clear(&b);
}

/* Flags that were read stay read, and seconds end at the same instant. */
static void test_save_load_phase(void)
{
    BoardTest a, b;

    board_test_init(&a, BOARD_DEFAULT);
    board_test_init(&b, BOARD_DEFAULT);
    step(&a, 300 * NS_PER_MS);
    wr(&a, 0x0a, 0x7f);
    wr(&a, 0x0a, 0x2f); /* seconds end at .8 now, 2 Hz */
    step(&a, 250 * NS_PER_MS);
    rd(&a, 0x0c);
    board_test_move(&a, &b, "mc146818rtc");
    g_assert_cmphex(rd(&b, 0x0c), ==, 0);
    g_assert_cmphex(rd(&b, 0), ==, 0);
    step(&b, 250 * NS_PER_MS);
    g_assert_cmphex(rd(&b, 0), ==, 1);
    board_test_clear(&a);
    board_test_clear(&b);
}

/* A record with a time that no clock shows is refused, and nothing changes. */
static void test_load_refused(void)
{
    static const gint64 bad[] = { G_MAXINT64, G_MININT64, -1, 1000000000 };
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    Device *rtc = device_set_part(t.set, "mc146818rtc");
    g_autoptr(GVariant) good = device_save(rtc);
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        GVariantDict dict;
        g_autoptr(GError) error = NULL;
        g_variant_dict_init(&dict, good);
        g_variant_dict_insert(&dict, i < 2 ? "offset_s" : "phase_ns", "x", bad[i]);
        g_autoptr(GVariant) record = g_variant_ref_sink(g_variant_dict_end(&dict));
        g_assert_false(device_load(rtc, record, &error));
        g_assert_nonnull(strstr(error->message, i < 2 ? "time is out of range" : "phase_ns"));
        g_autoptr(GVariant) now = device_save(rtc);
        g_assert_true(g_variant_equal(now, good));
    }
    board_test_clear(&t);
}

int main(int argc, char **argv)
{
    g_setenv("TZ", "UTC", TRUE);
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/rtc/time-runs", test_time_runs);
    g_test_add_func("/rtc/formats", test_formats);
    g_test_add_func("/rtc/set/time", test_set_time);
    g_test_add_func("/rtc/set/without-change", test_set_without_change);
    g_test_add_func("/rtc/set/rubbish", test_set_rubbish);
    g_test_add_func("/rtc/divider", test_divider);
    g_test_add_func("/rtc/uip", test_uip);
    g_test_add_func("/rtc/no-timer-when-idle", test_no_timer_when_idle);
    g_test_add_func("/rtc/periodic", test_periodic);
    g_test_add_func("/rtc/polled-flags", test_polled_flags);
    g_test_add_func("/rtc/update-ended", test_update_ended);
    g_test_add_func("/rtc/alarm/interrupts", test_alarm);
    g_test_add_func("/rtc/alarm/fields", test_alarm_fields);
    g_test_add_func("/rtc/base", test_base);
    g_test_add_func("/rtc/cmos", test_cmos);
    g_test_add_func("/rtc/reset", test_reset);
    g_test_add_func("/rtc/save-load", test_save_load);
    g_test_add_func("/rtc/save-load-phase", test_save_load_phase);
    g_test_add_func("/rtc/load-refused", test_load_refused);
    return g_test_run();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rtc-time.c - see rtc-time.h. Formats: BCD or binary, 24 hours or 12 with bit 7 for PM
 * (MC146818A data sheet, table 3).
 *
 * Arithmetic is in seconds as gint64: the farthest date that bytes can spell is in the year
 * 16665 or so, which timegm() takes without overflow, months and days out of range included.
 */
#include "rtc-time.h"

#include <time.h>

#define HOUR_PM 0x80
#define ALARM_ANY 0xc0
#define DAY_S 86400

gboolean rtc_is_time_register(guint index)
{
    return index == RTC_CENTURY || (index <= RTC_YEAR && index != RTC_SECONDS_ALARM &&
                                    index != RTC_MINUTES_ALARM && index != RTC_HOURS_ALARM);
}

static guint8 to_reg(gint64 value, guint8 reg_b)
{
    if (reg_b & RTC_B_BINARY)
        return (guint8)value;
    return (guint8)((value / 10 % 10) << 4 | value % 10);
}

static int from_reg(guint8 reg, guint8 reg_b)
{
    return reg_b & RTC_B_BINARY ? reg : (reg >> 4) * 10 + (reg & 0xf);
}

static guint8 hour_to_reg(int hour, guint8 reg_b)
{
    if (reg_b & RTC_B_24H)
        return to_reg(hour, reg_b);
    int h12 = hour % 12 ? hour % 12 : 12;
    return to_reg(h12, reg_b) | (hour >= 12 ? HOUR_PM : 0);
}

static int hour_from_reg(guint8 reg, guint8 reg_b)
{
    if (reg_b & RTC_B_24H)
        return from_reg(reg, reg_b);
    int hour = from_reg(reg & (guint8)~HOUR_PM, reg_b) % 12;
    return reg & HOUR_PM ? hour + 12 : hour;
}

void rtc_encode(gint64 seconds, guint8 reg_b, guint8 *cmos)
{
    time_t t = (time_t)seconds;
    struct tm tm = { .tm_mday = 1, .tm_year = 70 };

    if (!gmtime_r(&t, &tm)) /* a year beyond int: a loaded record can ask for it */
        tm = (struct tm){ .tm_mday = 1, .tm_year = 70, .tm_wday = 4 };
    gint64 year = MAX((gint64)tm.tm_year + 1900, 0);
    cmos[RTC_SECONDS] = to_reg(tm.tm_sec, reg_b);
    cmos[RTC_MINUTES] = to_reg(tm.tm_min, reg_b);
    cmos[RTC_HOURS] = hour_to_reg(tm.tm_hour, reg_b);
    cmos[RTC_DAY_OF_WEEK] = to_reg(tm.tm_wday + 1, reg_b);
    cmos[RTC_DAY_OF_MONTH] = to_reg(tm.tm_mday, reg_b);
    cmos[RTC_MONTH] = to_reg(tm.tm_mon + 1, reg_b);
    cmos[RTC_YEAR] = to_reg(year % 100, reg_b);
    cmos[RTC_CENTURY] = to_reg(year / 100, reg_b);
}

gint64 rtc_decode(const guint8 *cmos, guint8 reg_b)
{
    struct tm tm = {
        .tm_sec = from_reg(cmos[RTC_SECONDS], reg_b),
        .tm_min = from_reg(cmos[RTC_MINUTES], reg_b),
        .tm_hour = hour_from_reg(cmos[RTC_HOURS], reg_b),
        .tm_mday = from_reg(cmos[RTC_DAY_OF_MONTH], reg_b),
        .tm_mon = from_reg(cmos[RTC_MONTH], reg_b) - 1,
        .tm_year =
            from_reg(cmos[RTC_YEAR], reg_b) + from_reg(cmos[RTC_CENTURY], reg_b) * 100 - 1900,
    };
    return timegm(&tm);
}

/* ---- alarm ---- */

/* -1: any; a number that the field never shows: never. */
static int alarm_field(guint8 reg, guint8 reg_b, gboolean hour)
{
    if (reg >= ALARM_ANY)
        return -1;
    return hour ? hour_from_reg(reg, reg_b) : from_reg(reg, reg_b);
}

/* The first value of FIELD (0 to LIMIT-1) at or after FROM; LIMIT: none. */
static int next_field(int field, int from, int limit)
{
    if (field < 0)
        return from < limit ? from : limit;
    return field >= from && field < limit ? field : limit;
}

/* The first match at or after second FROM of a day, or -1. */
static int match_in_day(int from, int h_field, int m_field, int s_field)
{
    int h_from = from / 3600, m_from = from / 60 % 60, s_from = from % 60;

    for (int h = next_field(h_field, h_from, 24); h < 24; h = next_field(h_field, h + 1, 24)) {
        int m0 = h == h_from ? m_from : 0;
        for (int m = next_field(m_field, m0, 60); m < 60; m = next_field(m_field, m + 1, 60)) {
            int s0 = h == h_from && m == m_from ? s_from : 0;
            int s = next_field(s_field, s0, 60);
            if (s < 60)
                return (h * 60 + m) * 60 + s;
        }
    }
    return -1;
}

gint64 rtc_next_alarm(gint64 after, const guint8 *cmos, guint8 reg_b)
{
    int h = alarm_field(cmos[RTC_HOURS_ALARM], reg_b, TRUE);
    int m = alarm_field(cmos[RTC_MINUTES_ALARM], reg_b, FALSE);
    int s = alarm_field(cmos[RTC_SECONDS_ALARM], reg_b, FALSE);
    gint64 start = after + 1;
    gint64 of_day = start % DAY_S < 0 ? start % DAY_S + DAY_S : start % DAY_S;
    gint64 midnight = start - of_day;
    int hit = match_in_day((int)of_day, h, m, s);

    if (hit >= 0)
        return midnight + hit;
    hit = match_in_day(0, h, m, s);
    return hit >= 0 ? midnight + DAY_S + hit : RTC_NEVER;
}

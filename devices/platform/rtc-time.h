/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rtc-time.h - private to devices/platform: the MC146818's time registers as bytes, to and from
 * seconds since 1970. Pure functions; no bytes are invalid, since a guest can write any: what is
 * out of range is carried into the next field.
 */
#pragma once

#include <glib.h>

enum {
    RTC_SECONDS = 0x00,
    RTC_SECONDS_ALARM = 0x01,
    RTC_MINUTES = 0x02,
    RTC_MINUTES_ALARM = 0x03,
    RTC_HOURS = 0x04,
    RTC_HOURS_ALARM = 0x05,
    RTC_DAY_OF_WEEK = 0x06,
    RTC_DAY_OF_MONTH = 0x07,
    RTC_MONTH = 0x08,
    RTC_YEAR = 0x09,
    RTC_CENTURY = 0x32,
};

/* REG_B's format bits. */
enum {
    RTC_B_24H = 1 << 1,
    RTC_B_BINARY = 1 << 2,
};

#define RTC_NEVER G_MAXINT64

gboolean rtc_is_time_register(guint index);
/* Fills the time registers within CMOS for SECONDS, in the format of REG_B. */
void     rtc_encode(gint64 seconds, guint8 reg_b, guint8 *cmos);
gint64   rtc_decode(const guint8 *cmos, guint8 reg_b);
/* The first second after AFTER that matches the alarm registers (0xc0-0xff: any), or RTC_NEVER. */
gint64   rtc_next_alarm(gint64 after, const guint8 *cmos, guint8 reg_b);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * json-out.c - writes JSON into a GString.
 *
 * One flag is enough for the commas: it is set after a value and cleared after an opening bracket
 * or a member's name, whatever the nesting. Strings go out in runs; only what JSON forbids in a
 * string (quotes, backslashes, controls) and bytes that are not UTF-8 are treated one by one.
 */
#include "json.h"

#include <math.h>
#include <string.h>

static inline void separate(JsonOut *o)
{
    if (o->comma)
        g_string_append_c(o->text, ',');
    o->comma = TRUE;
}

void json_out_begin_object(JsonOut *o)
{
    separate(o);
    g_string_append_c(o->text, '{');
    o->comma = FALSE;
}

void json_out_end_object(JsonOut *o)
{
    g_string_append_c(o->text, '}');
    o->comma = TRUE;
}

void json_out_begin_array(JsonOut *o)
{
    separate(o);
    g_string_append_c(o->text, '[');
    o->comma = FALSE;
}

void json_out_end_array(JsonOut *o)
{
    g_string_append_c(o->text, ']');
    o->comma = TRUE;
}

void json_out_null(JsonOut *o)
{
    separate(o);
    g_string_append_len(o->text, "null", 4);
}

void json_out_bool(JsonOut *o, gboolean v)
{
    separate(o);
    g_string_append(o->text, v ? "true" : "false");
}

static void put_number(JsonOut *o, guint64 magnitude, gboolean negative)
{
    char digits[24], *p = digits + sizeof digits;

    do
        *--p = (char)('0' + magnitude % 10);
    while ((magnitude /= 10) > 0);
    if (negative)
        *--p = '-';
    separate(o);
    g_string_append_len(o->text, p, digits + sizeof digits - p);
}

void json_out_int(JsonOut *o, gint64 v)
{
    put_number(o, v < 0 ? -(guint64)v : (guint64)v, v < 0);
}

void json_out_uint(JsonOut *o, guint64 v)
{
    put_number(o, v, FALSE);
}

/* The shorter of the two usual precisions that reads back as the same number. JSON has no
 * infinities. */
void json_out_double(JsonOut *o, double v)
{
    char text[G_ASCII_DTOSTR_BUF_SIZE];

    if (!isfinite(v)) {
        json_out_null(o);
        return;
    }
    g_ascii_formatd(text, sizeof text, "%.15g", v);
    if (g_ascii_strtod(text, NULL) != v)
        g_ascii_formatd(text, sizeof text, "%.17g", v);
    separate(o);
    g_string_append(o->text, text);
}

static void put_escape(GString *text, guchar c)
{
    static const char hex[] = "0123456789abcdef";
    static const char shorts[32] = {
        ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't'
    };

    g_string_append_c(text, '\\');
    if (c >= 0x20) {
        g_string_append_c(text, (char)c);
    } else if (shorts[c]) {
        g_string_append_c(text, shorts[c]);
    } else {
        g_string_append_len(text, "u00", 3);
        g_string_append_c(text, hex[c >> 4]);
        g_string_append_c(text, hex[c & 15]);
    }
}

static inline gboolean plain(guchar c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

static void put_string(GString *text, const char *s)
{
    g_string_append_c(text, '"');
    while (*s) {
        const char *run = s;
        gunichar c;

        while (plain((guchar)*s))
            s++;
        if (s > run)
            g_string_append_len(text, run, s - run);
        if (!*s)
            break;
        if ((guchar)*s < 0x80) {
            put_escape(text, (guchar)*s++);
            continue;
        }
        c = g_utf8_get_char_validated(s, -1);
        if (c == (gunichar)-1 || c == (gunichar)-2) {
            g_string_append_len(text, "\xef\xbf\xbd", 3);
            s++;
        } else {
            g_string_append_len(text, s, g_utf8_next_char(s) - s);
            s = g_utf8_next_char(s);
        }
    }
    g_string_append_c(text, '"');
}

void json_out_key(JsonOut *o, const char *name)
{
    separate(o);
    put_string(o->text, name);
    g_string_append_c(o->text, ':');
    o->comma = FALSE;
}

void json_out_string(JsonOut *o, const char *utf8)
{
    if (!utf8) {
        json_out_null(o);
        return;
    }
    separate(o);
    put_string(o->text, utf8);
}

void json_out_raw(JsonOut *o, const char *json, gssize len)
{
    separate(o);
    g_string_append_len(o->text, json, len);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lines on COM1. A line is put together in memory and sent as a whole, in bursts of the FIFO's
 * sixteen bytes per look at the line status: every port access is an exit to the monitor. Only the
 * boot processor prints, so lines never mix and no lock is needed.
 */
#include <stdarg.h>

#include "probe.h"

enum { THR = 0, IER = 1, FCR = 2, LCR = 3, MCR = 4, LSR = 5 };

#define LSR_DR 0x01
#define LSR_THRE 0x20
#define LSR_TEMT 0x40
/* A reader at the other end may be slow: some 50 s where an exit takes 5 us. */
#define PATIENCE 10000000u

static char line[1024];
static u32 used;
static u32 burst;
static bool dead;

void console_init(void)
{
    outb(COM1 + IER, 0);
    outb(COM1 + LCR, 0x80);
    outb(COM1 + THR, 1); /* divisor 1: 115200 */
    outb(COM1 + IER, 0);
    outb(COM1 + LCR, 0x03);
    outb(COM1 + FCR, 0x01);
    outb(COM1 + MCR, 0x03);
    /* Reading IIR, at FCR's address: both top bits tell a FIFO that works. */
    burst = (inb(COM1 + FCR) & 0xc0) == 0xc0 ? 16 : 1;
    dead = inb(COM1 + LSR) == 0xff;
}

/* On giving up the output is damaged, but the run goes on and ends. */
static void wait_lsr(u8 bits)
{
    for (u32 i = 0; i < PATIENCE && (inb(COM1 + LSR) & bits) != bits; i++) {
        cpu_pause();
    }
}

void console_drain(void)
{
    if (!dead)
        wait_lsr(LSR_THRE | LSR_TEMT);
}

int console_poll(void)
{
    if (dead || !(inb(COM1 + LSR) & LSR_DR))
        return -1;
    return inb(COM1);
}

/* THRE means an empty FIFO, so a whole burst fits without looking again; one instruction sends it. */
static void flush(void)
{
    for (u32 i = 0; i < used && !dead; i += burst) {
        const char *from = line + i;
        size_t n = used - i < burst ? used - i : burst;
        wait_lsr(LSR_THRE);
        __asm__ volatile("rep outsb" : "+S"(from), "+c"(n) : "d"(COM1 + THR) : "memory");
    }
    used = 0;
}

static void put(char c)
{
    /* A line too long is cut, not lost: its end still comes. */
    if (used < sizeof line - 1 || c == '\n')
        line[used++] = c;
    if (c == '\n')
        flush();
}

static void put_string(const char *s)
{
    while (*s) {
        put(*s++);
    }
}

/* Hex without a division, decimal with one per digit. */
static void put_number(u64 v, u32 base, u32 width, char pad)
{
    char text[24];
    u32 n = 0;

    do {
        u64 q = base == 16 ? v >> 4 : udiv64(v, base);
        text[n++] = "0123456789abcdef"[v - q * base];
        v = q;
    } while (v);
    for (; width > n; width--) {
        put(pad);
    }
    while (n) {
        put(text[--n]);
    }
}

/* The part of a conversion between % and its letter. */
struct spec {
    bool alt, wide;
    char pad;
    u32 width;
};

static const char *parse_spec(const char *f, struct spec *s)
{
    *s = (struct spec){.pad = ' '};
    for (; *f == '#' || *f == '0'; f++) {
        if (*f == '#')
            s->alt = true;
        else
            s->pad = '0';
    }
    for (; *f >= '0' && *f <= '9'; f++) {
        s->width = s->width * 10 + (u32)(*f - '0');
    }
    for (; *f == 'l'; f++) {
        s->wide = true;
    }
    return f;
}

void emit(const char *f, ...)
{
    va_list ap;
    struct spec s;

    va_start(ap, f);
    for (; *f; f++) {
        if (*f != '%') {
            put(*f);
            continue;
        }
        f = parse_spec(f + 1, &s);
        if (*f == 's') {
            put_string(va_arg(ap, const char *));
        } else if (*f == 'c') {
            put((char)va_arg(ap, int));
        } else if (*f == 'x' || *f == 'u') {
            u64 v = s.wide ? va_arg(ap, u64) : va_arg(ap, u32);
            if (s.alt)
                put_string("0x");
            put_number(v, *f == 'x' ? 16 : 10, s.width, s.pad);
        } else if (*f == 'd') {
            int v = va_arg(ap, int);
            if (v < 0)
                put('-');
            put_number((u64)(v < 0 ? -(s64)v : v), 10, s.width, s.pad);
        }
    }
    va_end(ap);
}

/* Quotes, backslashes and everything unprintable become \xNN, so that a line stays a line. */
void emit_quoted(const char *s, size_t max)
{
    put('"');
    for (size_t i = 0; i < max && s[i]; i++) {
        if (s[i] >= ' ' && s[i] < 0x7f && s[i] != '"' && s[i] != '\\')
            put(s[i]);
        else
            emit("\\x%02x", (u8)s[i]);
    }
    put('"');
}

void emit_hex(const void *data, size_t n)
{
    const u8 *p = data;

    for (size_t i = 0; i < n; i++) {
        put("0123456789abcdef"[p[i] >> 4]);
        put("0123456789abcdef"[p[i] & 15]);
    }
}

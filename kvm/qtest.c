/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qtest.c - the qtest protocol: one request line in, one reply line out (docs/design/testing.md
 * section 3).
 *
 * The client is the CPU. A request is split at single spaces; a table gives each command its number
 * of words. Replies are those that the clients of this protocol know ("OK 0x%04x" for ports, "OK
 * 0x%016x" for memory); a line that is malformed gets `ERR COMMAND: why`, a request that can not be
 * done `FAIL why`. What we do differently from the protocol's first implementation, on purpose:
 *
 *   - it stops the program on a malformed number, a missing word or a length of 0; we answer ERR
 *     and go on;
 *   - it cuts values down to the access's size and ignores data beyond LEN; we answer ERR;
 *   - an intercepted input is cut off from its device there; here it still reaches it;
 *   - reading what nobody claims gives ones, for memory as for ports; the port must be below
 *     0x10000.
 *
 * Lengths are checked before anything is allocated, and a reply has a limit (MAX_LEN), so that a
 * hostile client gets an error and not our memory.
 *
 * Asynchronous lines: pins and lines change on any thread, so `IRQ raise N` is appended to
 * q->events under the lock (a leaf); each request's reply takes what waits before itself, and the
 * notify hook gets them sent otherwise.
 */
#include <stdlib.h>
#include <string.h>

#include "../common/error.h"
#include "../common/util.h"
#include "test-accel.h"

#define MAX_WORDS 5
#define MAX_LEN (16u << 20)       /* bytes read, written or filled by one request */
#define MAX_RAM_FILL (256u << 20) /* bytes filled where it is all RAM */
#define MAX_EVENTS (1u << 20)     /* bytes of asynchronous lines that may wait */
#define MAX_CALLBACKS 10000000
#define MAX_TIME_NS (G_MAXINT64 / 4)
#define IOAPIC_PATH "/machine/unattached/ioapic"

typedef enum { INTERCEPT_NONE, INTERCEPT_IN, INTERCEPT_OUT } Intercept;

struct Qtest {
    Vm       *vm;
    GMutex    lock;
    GString  *events;    /* lock */
    Intercept intercept; /* lock, as the next */
    char     *owner;     /* INTERCEPT_OUT: whose lines */
    GPtrArray *lines;    /* INTERCEPT_OUT: these, N is the index; compared only, they may be gone */
    IrqLine  *driven[IRQ_PINS]; /* set_irq_in's inputs; main thread */
    void (*notify)(gpointer user);
    gpointer  notify_user;
};

typedef struct {
    Qtest      *q;
    guint       n;
    const char *words[MAX_WORDS]; /* NUL-terminated copies */
    GString    *out;
} Request;

/* ---- replies and arguments ---- */

static void reply(Request *r, const char *format, ...) G_GNUC_PRINTF(2, 3);
static void reply(Request *r, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_string_append_vprintf(r->out, format, args);
    va_end(args);
    g_string_append_c(r->out, '\n');
}

static int digit_of(char c)
{
    return g_ascii_isxdigit(c) ? g_ascii_xdigit_value(c) : 99;
}

/* An unsigned integer as in C: 0x and hexadecimal, a leading 0 and octal, decimal. Nothing else. */
static gboolean parse_number(const char *s, guint64 *value)
{
    guint base = 10;

    if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X')) {
        base = 16;
        s += 2;
    } else if (s[0] == '0' && s[1] != '\0') {
        base = 8;
        s++;
    }
    if (*s == '\0')
        return FALSE;
    for (*value = 0; *s; s++) {
        guint digit = (guint)digit_of(*s);

        if (digit >= base || __builtin_mul_overflow(*value, (guint64)base, value) ||
            __builtin_add_overflow(*value, (guint64)digit, value))
            return FALSE;
    }
    return TRUE;
}

/* Argument I, at most MAX; else replies with the error. */
static gboolean arg(Request *r, guint i, const char *name, guint64 max, guint64 *value)
{
    if (!parse_number(r->words[i], value)) {
        reply(r,
              "ERR %s: %s '%.40s' is no number from 0 to 0x%" G_GINT64_MODIFIER "x in C's syntax",
              r->words[0], name, r->words[i], max);
        return FALSE;
    }
    if (*value > max) {
        reply(r,
              "ERR %s: %s is 0x%" G_GINT64_MODIFIER "x, at most 0x%" G_GINT64_MODIFIER
              "x is possible",
              r->words[0], name, *value, max);
        return FALSE;
    }
    return TRUE;
}

/* ADDR and LEN: words 1 and 2. LEN bytes from ADDR stay within the address space. */
static gboolean arg_range(Request *r, guint64 min_len, guint64 max_len, guint64 *addr, guint64 *len)
{
    if (!arg(r, 1, "ADDR", G_MAXUINT64, addr) || !arg(r, 2, "LEN", max_len, len))
        return FALSE;
    if (*len < min_len) {
        reply(r, "ERR %s: LEN is 0", r->words[0]);
        return FALSE;
    }
    if (*len > 0 && *addr + (*len - 1) < *addr) {
        reply(r,
              "ERR %s: 0x%" G_GINT64_MODIFIER "x bytes from 0x%" G_GINT64_MODIFIER
              "x leave the address space",
              r->words[0], *len, *addr);
        return FALSE;
    }
    return TRUE;
}

/* The access size from the command's last letter. */
static unsigned size_of(const char *command)
{
    switch (command[strlen(command) - 1]) {
    case 'b':
        return 1;
    case 'w':
        return 2;
    case 'l':
        return 4;
    default:
        return 8;
    }
}

/* ---- guest memory: RAM where there is RAM, else MMIO ---- */

/* Length of the piece at ADDR that is of one kind, up to LEN; *REGION is its RAM or NULL. */
static guint64 piece_at(const MemMap *map, guint64 addr, guint64 len, const MemRegion **region)
{
    const MemRegion *regions;
    guint n;

    *region = mem_map_find(map, addr);
    if (*region)
        return MIN(len, (*region)->size - (addr - (*region)->gpa));
    regions = mem_map_regions(map, &n);
    for (guint i = 0; i < n; i++)
        if (regions[i].gpa > addr)
            return MIN(len, regions[i].gpa - addr);
    return len;
}

/* One access where the whole piece is one, else the largest aligned ones, as a copy loop makes
 * them. */
static unsigned mmio_size(guint64 addr, guint64 len)
{
    unsigned size = 8;

    if (len == 1 || len == 2 || len == 4 || len == 8)
        return (unsigned)len;
    while (size > len || (addr & (size - 1)))
        size /= 2;
    return size;
}

static void mmio_read(Vm *vm, guint64 addr, guint8 *buf, guint64 len)
{
    while (len > 0) {
        unsigned size = mmio_size(addr, len);
        guint64 value;

        iobus_read(vm, IO_MMIO, addr, size, &value);
        le_put(buf, size, value);
        addr += size;
        buf += size;
        len -= size;
    }
}

static void mmio_write(Vm *vm, guint64 addr, const guint8 *buf, guint64 len)
{
    while (len > 0) {
        unsigned size = mmio_size(addr, len);

        iobus_write(vm, IO_MMIO, addr, size, le_get(buf, size));
        addr += size;
        buf += size;
        len -= size;
    }
}

static void bytes_read(Vm *vm, guint64 addr, guint8 *buf, guint64 len)
{
    MemMap *map = vm_memory_ref_map(vm);

    while (len > 0) {
        const MemRegion *ram;
        guint64 piece = piece_at(map, addr, len, &ram);

        if (ram)
            memcpy(buf, ram->hva + (addr - ram->gpa), piece);
        else
            mmio_read(vm, addr, buf, piece);
        addr += piece;
        buf += piece;
        len -= piece;
    }
    vm_memory_unref_map(vm, map);
}

/* A write to read-only memory exits as MMIO, as under KVM. */
static void bytes_write(Vm *vm, guint64 addr, const guint8 *buf, guint64 len)
{
    MemMap *map = vm_memory_ref_map(vm);

    while (len > 0) {
        const MemRegion *ram;
        guint64 piece = piece_at(map, addr, len, &ram);

        if (ram && !(ram->flags & MEM_READONLY))
            memcpy(ram->hva + (addr - ram->gpa), buf, piece);
        else
            mmio_write(vm, addr, buf, piece);
        addr += piece;
        buf += piece;
        len -= piece;
    }
    vm_memory_unref_map(vm, map);
}

/* ---- commands ---- */

static void cmd_endianness(Request *r)
{
    reply(r, "OK little");
}

static void cmd_in(Request *r)
{
    guint64 port, value;

    if (!arg(r, 1, "PORT", 0xffff, &port))
        return;
    iobus_read(r->q->vm, IO_PIO, port, size_of(r->words[0]), &value);
    reply(r, "OK 0x%04" G_GINT64_MODIFIER "x", value);
}

static void cmd_out(Request *r)
{
    unsigned size = size_of(r->words[0]);
    guint64 port, value;

    if (!arg(r, 1, "PORT", 0xffff, &port) || !arg(r, 2, "VAL", ones(size), &value))
        return;
    iobus_write(r->q->vm, IO_PIO, port, size, value);
    reply(r, "OK");
}

static void cmd_readx(Request *r)
{
    unsigned size = size_of(r->words[0]);
    guint64 addr;
    guint8 buf[8];

    if (!arg(r, 1, "ADDR", G_MAXUINT64 - (size - 1), &addr))
        return;
    bytes_read(r->q->vm, addr, buf, size);
    reply(r, "OK 0x%016" G_GINT64_MODIFIER "x", le_get(buf, size));
}

static void cmd_writex(Request *r)
{
    unsigned size = size_of(r->words[0]);
    guint64 addr, value;
    guint8 buf[8];

    if (!arg(r, 1, "ADDR", G_MAXUINT64 - (size - 1), &addr) ||
        !arg(r, 2, "VAL", ones(size), &value))
        return;
    le_put(buf, size, value);
    bytes_write(r->q->vm, addr, buf, size);
    reply(r, "OK");
}

static void cmd_read(Request *r)
{
    static const char digits[] = "0123456789abcdef";
    g_autofree guint8 *buf = NULL;
    guint64 addr, len;
    gsize at;

    if (!arg_range(r, 1, MAX_LEN, &addr, &len))
        return;
    buf = g_malloc(len);
    bytes_read(r->q->vm, addr, buf, len);
    g_string_append(r->out, "OK 0x");
    at = r->out->len;
    g_string_set_size(r->out, at + 2 * len);
    for (guint64 i = 0; i < len; i++) {
        r->out->str[at + 2 * i] = digits[buf[i] >> 4];
        r->out->str[at + 2 * i + 1] = digits[buf[i] & 0xf];
    }
    g_string_append_c(r->out, '\n');
}

/* Bytes of "0x..."; those that are missing up to LEN are zero. */
static gboolean parse_hex(Request *r, const char *s, guint8 *buf, guint64 len)
{
    gsize n = strlen(s);

    if (s[0] != '0' || s[1] != 'x' || n % 2 != 0) {
        reply(r, "ERR write: the data is not 0x and pairs of hexadecimal digits");
        return FALSE;
    }
    if (n / 2 - 1 > len) {
        reply(r, "ERR write: %" G_GSIZE_FORMAT " bytes of data, and LEN is %" G_GUINT64_FORMAT,
              n / 2 - 1, len);
        return FALSE;
    }
    for (s += 2; *s; s += 2) {
        if (!g_ascii_isxdigit(s[0]) || !g_ascii_isxdigit(s[1])) {
            reply(r, "ERR write: the data is not 0x and pairs of hexadecimal digits");
            return FALSE;
        }
        *buf++ = (guint8)(g_ascii_xdigit_value(s[0]) << 4 | g_ascii_xdigit_value(s[1]));
    }
    return TRUE;
}

static void cmd_write(Request *r)
{
    g_autofree guint8 *buf = NULL;
    guint64 addr, len;

    if (!arg_range(r, 0, MAX_LEN, &addr, &len))
        return;
    buf = g_malloc0(MAX(len, 1));
    if (!parse_hex(r, r->words[3], buf, len))
        return;
    bytes_write(r->q->vm, addr, buf, len);
    reply(r, "OK");
}

static void cmd_b64read(Request *r)
{
    g_autofree guint8 *buf = NULL;
    g_autofree char *text = NULL;
    guint64 addr, len;

    if (!arg_range(r, 1, MAX_LEN, &addr, &len))
        return;
    buf = g_malloc(len);
    bytes_read(r->q->vm, addr, buf, len);
    text = g_base64_encode(buf, len);
    g_string_append(r->out, "OK ");
    g_string_append(r->out, text);
    g_string_append_c(r->out, '\n');
}

/* g_base64_decode() skips what it does not know; we look first. */
static gboolean base64_ok(const char *s)
{
    gsize digits = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
    gsize pad = strspn(s + digits, "=");

    return s[digits + pad] == '\0' && pad <= 2 && (digits + pad) % 4 == 0;
}

static void cmd_b64write(Request *r)
{
    g_autofree guint8 *data = NULL;
    guint64 addr, len;
    gsize n;

    if (!arg_range(r, 0, MAX_LEN, &addr, &len))
        return;
    if (!base64_ok(r->words[3])) {
        reply(r, "ERR b64write: the data is not base64");
        return;
    }
    data = g_base64_decode(r->words[3], &n);
    if (n != len) {
        reply(r, "ERR b64write: %" G_GSIZE_FORMAT " bytes of data, and LEN is %" G_GUINT64_FORMAT,
              n, len);
        return;
    }
    bytes_write(r->q->vm, addr, data, len);
    reply(r, "OK");
}

static void cmd_memset(Request *r)
{
    guint8 buf[4096];
    guint64 addr, len, byte;

    if (!arg_range(r, 0, MAX_RAM_FILL, &addr, &len) || !arg(r, 3, "BYTE", 0xff, &byte))
        return;
    if (len > MAX_LEN && !vm_memory_ptr(r->q->vm, addr, len)) {
        reply(r,
              "ERR memset: LEN is 0x%" G_GINT64_MODIFIER "x, at most 0x%x is possible outside RAM",
              len, MAX_LEN);
        return;
    }
    memset(buf, (int)byte, sizeof buf);
    for (guint64 piece; len > 0; addr += piece, len -= piece) {
        piece = MIN(len, sizeof buf);
        bytes_write(r->q->vm, addr, buf, piece);
    }
    reply(r, "OK");
}

/* ---- the clock ---- */

static void step_to(Request *r, gint64 target)
{
    Vm *vm = r->q->vm;

    if (vm_clock_step_to(vm, target, MAX_CALLBACKS))
        reply(r, "OK %" G_GINT64_FORMAT, vm_clock_ns(vm));
    else
        reply(r, "FAIL %s: gave up after %d timer callbacks, at %" G_GINT64_FORMAT, r->words[0],
              MAX_CALLBACKS, vm_clock_ns(vm));
}

static void cmd_clock_step(Request *r)
{
    Vm *vm = r->q->vm;
    gint64 now = vm_clock_ns(vm);
    guint64 ns;

    if (r->n == 1) {
        gint64 next = vm_clock_next_deadline(vm);

        step_to(r, next < 0 ? now : next);
    } else if (arg(r, 1, "N", (guint64)(MAX_TIME_NS - MIN(now, MAX_TIME_NS)), &ns)) {
        step_to(r, now + (gint64)ns);
    }
}

static void cmd_clock_set(Request *r)
{
    guint64 ns;

    if (arg(r, 1, "T", MAX_TIME_NS, &ns))
        step_to(r, (gint64)ns);
}

/* ---- interrupts ---- */

/* TRUE if PATH is FULL, or its last parts. */
static gboolean path_matches(const char *full, const char *path)
{
    gsize n = strlen(full), m = strlen(path);

    if (m == 0 || m > n || strcmp(full + n - m, path) != 0)
        return FALSE;
    return m == n || (path[0] != '/' && full[n - m - 1] == '/');
}

/* The owner of a line that PATH names, or NULL. Two owners: it is ambiguous, NULL too. */
static const char *find_owner(Vm *vm, const char *path)
{
    const char *found = NULL;
    guint n;
    IrqLine *const *lines = irq_lines(vm, &n);

    for (guint i = 0; i < n; i++) {
        const char *owner = irq_line_owner(lines[i]);

        if (!path_matches(owner, path))
            continue;
        if (found && strcmp(found, owner) != 0)
            return NULL;
        found = owner;
    }
    return found;
}

static void lines_note(Qtest *q)
{
    guint n;
    IrqLine *const *lines = irq_lines(q->vm, &n);

    for (guint i = 0; i < n; i++)
        if (g_strcmp0(irq_line_owner(lines[i]), q->owner) == 0)
            g_ptr_array_add(q->lines, lines[i]);
}

/* One device at a time; the same one again is no error. */
static void intercept(Request *r, Intercept kind, const char *owner)
{
    Qtest *q = r->q;

    if (q->intercept != INTERCEPT_NONE &&
        (q->intercept != kind || g_strcmp0(q->owner, owner) != 0)) {
        reply(r, "FAIL IRQ intercept already enabled");
        return;
    }
    g_mutex_lock(&q->lock);
    if (q->intercept == INTERCEPT_NONE) {
        q->intercept = kind;
        q->owner = g_strdup(owner);
        lines_note(q);
    }
    g_mutex_unlock(&q->lock);
    reply(r, "OK");
}

static void cmd_intercept_in(Request *r)
{
    if (path_matches(IOAPIC_PATH, r->words[1]))
        intercept(r, INTERCEPT_IN, NULL);
    else
        reply(r, "FAIL Unknown device");
}

static void cmd_intercept_out(Request *r)
{
    const char *owner = find_owner(r->q->vm, r->words[1]);

    if (!owner)
        reply(r, "FAIL Unknown device");
    else if (r->n == 3 && strcmp(r->words[2], "sysbus-irq") != 0 &&
             strcmp(r->words[2], "unnamed-gpio-out") != 0)
        reply(r, "FAIL Unknown output '%.40s'", r->words[2]);
    else
        intercept(r, INTERCEPT_OUT, owner);
}

static void drive_pin(Qtest *q, guint gsi, gboolean level)
{
    if (!q->driven[gsi])
        q->driven[gsi] = irq_line_new(q->vm, gsi, "qtest");
    irq_line_set(q->driven[gsi], level);
}

static void cmd_set_irq_in(Request *r)
{
    guint64 num, level;

    if (!path_matches(IOAPIC_PATH, r->words[1]))
        reply(r, "FAIL Unknown device");
    else if (strcmp(r->words[2], "unnamed-gpio-in") != 0)
        reply(r, "FAIL Unknown input '%.40s'", r->words[2]);
    else if (arg(r, 3, "NUM", IRQ_PINS - 1, &num) && arg(r, 4, "LEVEL", G_MAXINT32, &level)) {
        drive_pin(r->q, (guint)num, level != 0);
        reply(r, "OK");
    }
}

typedef struct {
    const char *name;
    guint       min_words, max_words; /* with the name */
    void (*run)(Request *r);
    const char *usage;
} Command;

static const Command commands[] = {
    { "b64read", 3, 3, cmd_b64read, "ADDR LEN" },
    { "b64write", 4, 4, cmd_b64write, "ADDR LEN BASE64" },
    { "clock_set", 2, 2, cmd_clock_set, "T" },
    { "clock_step", 1, 2, cmd_clock_step, "[N]" },
    { "endianness", 1, 1, cmd_endianness, "" },
    { "inb", 2, 2, cmd_in, "PORT" },
    { "inl", 2, 2, cmd_in, "PORT" },
    { "inw", 2, 2, cmd_in, "PORT" },
    { "irq_intercept_in", 2, 2, cmd_intercept_in, "PATH" },
    { "irq_intercept_out", 2, 3, cmd_intercept_out, "PATH [NAME]" },
    { "memset", 4, 4, cmd_memset, "ADDR LEN BYTE" },
    { "outb", 3, 3, cmd_out, "PORT VAL" },
    { "outl", 3, 3, cmd_out, "PORT VAL" },
    { "outw", 3, 3, cmd_out, "PORT VAL" },
    { "read", 3, 3, cmd_read, "ADDR LEN" },
    { "readb", 2, 2, cmd_readx, "ADDR" },
    { "readl", 2, 2, cmd_readx, "ADDR" },
    { "readq", 2, 2, cmd_readx, "ADDR" },
    { "readw", 2, 2, cmd_readx, "ADDR" },
    { "set_irq_in", 5, 5, cmd_set_irq_in, "PATH NAME NUM LEVEL" },
    { "write", 4, 4, cmd_write, "ADDR LEN 0xHEX" },
    { "writeb", 3, 3, cmd_writex, "ADDR VAL" },
    { "writel", 3, 3, cmd_writex, "ADDR VAL" },
    { "writeq", 3, 3, cmd_writex, "ADDR VAL" },
    { "writew", 3, 3, cmd_writex, "ADDR VAL" },
};

/* ---- requests ---- */

static gint compare_command(gconstpointer name, gconstpointer command)
{
    return strcmp(name, ((const Command *)command)->name);
}

static void request_run(Request *r)
{
    const Command *c =
        bsearch(r->words[0], commands, G_N_ELEMENTS(commands), sizeof commands[0], compare_command);

    if (!c) {
        g_autofree char *quoted = error_quote(r->words[0], -1);
        reply(r, "FAIL Unknown command '%s'", quoted);
    } else if (r->n < c->min_words || r->n > c->max_words) {
        reply(r, "ERR %s: the form is '%s%s%s'", c->name, c->name, *c->usage ? " " : "", c->usage);
    } else {
        c->run(r);
    }
}

/* Cuts LINE at single spaces. What is beyond MAX_WORDS is counted only. */
static void request_split(Request *r, char *line)
{
    for (r->n = 0; line; r->n++) {
        char *space = strchr(line, ' ');

        if (space)
            *space++ = '\0';
        if (r->n < MAX_WORDS)
            r->words[r->n] = line;
        line = space;
    }
}

void qtest_request(Qtest *q, const char *line, gsize len, GString *out)
{
    g_autofree char *copy = g_strndup(line, len);
    g_autoptr(GString) answer = g_string_new(NULL);
    Request r = { .q = q, .out = answer };

    /* What I/O threads signalled so far is delivered before the client looks. */
    vm_irq_serve_fds(q->vm);
    if (memchr(line, '\0', len)) {
        reply(&r, "ERR a NUL byte in the line");
    } else {
        request_split(&r, copy);
        request_run(&r);
    }
    qtest_take_events(q, out);
    g_string_append_len(out, answer->str, (gssize)answer->len);
}

/* ---- asynchronous lines ---- */

gboolean qtest_take_events(Qtest *q, GString *out)
{
    gboolean any;

    g_mutex_lock(&q->lock);
    any = q->events->len > 0;
    g_string_append_len(out, q->events->str, (gssize)q->events->len);
    g_string_truncate(q->events, 0);
    g_mutex_unlock(&q->lock);
    return any;
}

/* Lock held. Without a reader the lines are dropped at the limit: such a client will never see a
 * full story. */
static void event_add(Qtest *q, guint n, gboolean level)
{
    if (q->events->len > MAX_EVENTS)
        return;
    g_string_append_printf(q->events, "IRQ %s %u\n", level ? "raise" : "lower", n);
    if (q->notify)
        q->notify(q->notify_user);
}

void qtest_pin_changed(Qtest *q, guint gsi, gboolean level)
{
    g_mutex_lock(&q->lock);
    if (q->intercept == INTERCEPT_IN)
        event_add(q, gsi, level);
    g_mutex_unlock(&q->lock);
}

void qtest_line_changed(Qtest *q, const IrqLine *line, gboolean level)
{
    guint n;

    g_mutex_lock(&q->lock);
    if (q->intercept == INTERCEPT_OUT && g_ptr_array_find(q->lines, line, &n))
        event_add(q, n, level);
    g_mutex_unlock(&q->lock);
}

/* ---- life cycle ---- */

void qtest_set_notify(Qtest *q, void (*fn)(gpointer user), gpointer user)
{
    g_mutex_lock(&q->lock);
    q->notify = fn;
    q->notify_user = user;
    g_mutex_unlock(&q->lock);
}

void qtest_reset(Qtest *q)
{
    for (guint i = 0; i < IRQ_PINS; i++)
        g_clear_pointer(&q->driven[i], irq_line_free);
    g_mutex_lock(&q->lock);
    q->intercept = INTERCEPT_NONE;
    g_clear_pointer(&q->owner, g_free);
    g_ptr_array_set_size(q->lines, 0);
    g_string_truncate(q->events, 0);
    g_mutex_unlock(&q->lock);
}

Qtest *qtest_new(Vm *vm)
{
    Qtest *q = g_new0(Qtest, 1);

    q->vm = vm;
    q->events = g_string_new(NULL);
    q->lines = g_ptr_array_new();
    g_mutex_init(&q->lock);
    return q;
}

void qtest_free(Qtest *q)
{
    qtest_reset(q);
    g_string_free(q->events, TRUE);
    g_ptr_array_unref(q->lines);
    g_mutex_clear(&q->lock);
    g_free(q);
}

char *vm_qtest_line(Vm *vm, const char *line)
{
    GString *out = g_string_new(NULL);
    gsize len = strlen(line);

    g_assert(vm->accel == VM_ACCEL_TEST);
    if (len > 0 && line[len - 1] == '\n')
        len--;
    qtest_request(vm->test->qtest, line, len, out);
    return g_string_free(out, FALSE);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * aml.c - the AML encoder.
 *
 * The hard part is PkgLength: a block's length stands before its content, counts itself, and takes one to four bytes
 * by its own value. Blocks therefore remember where they began, and closing one inserts the shortest encoding
 * there by moving the content up. Tables are some KB, so the moves cost less than a tree of nodes would. The outermost block is
written in a buffer of its own: most pieces are of one to four bytes, and a call of g_byte_array_append() costs more than they do.
 */
#include "aml.h"

#include <string.h>

#include "../../common/util.h"

enum { BLOCK_PLAIN, BLOCK_PACKAGE, BLOCK_BUFFER, BLOCK_RESOURCES };

static void reserve(Aml *a, guint32 n)
{
    if (a->alloc - a->len >= n)
        return;
    a->alloc = MAX(2 * a->alloc, a->len + n);
    a->alloc = MAX(a->alloc, 1024);
    a->data = g_realloc(a->data, a->alloc);
}

static void append(Aml *a, const void *bytes, guint32 n)
{
    if (a->depth == 0) {
        g_byte_array_append(a->out, bytes, n);
        return;
    }
    reserve(a, n);
    memcpy(a->data + a->len, bytes, n);
    a->len += n;
}

static void put8(Aml *a, guint8 v)
{
    append(a, &v, 1);
}

static void put(Aml *a, unsigned size, guint64 v)
{
    guint8 b[8];

    le_put(b, size, v);
    append(a, b, size);
}

static void put_op(Aml *a, guint16 op)
{
    if (op > 0xff)
        put8(a, op >> 8);
    put8(a, op & 0xff);
}

/* ---- integers, names, strings ---- */

/* ComputationalData of the shortest form; the one-byte constants are opcodes of their own. */
static void put_integer(Aml *a, guint64 v)
{
    if (v <= 1) {
        put8(a, v);
    } else if (v == G_MAXUINT64) {
        put8(a, 0xff);
    } else if (v <= G_MAXUINT8) {
        put8(a, 0x0a);
        put8(a, v);
    } else if (v <= G_MAXUINT16) {
        put8(a, 0x0b);
        put(a, 2, v);
    } else if (v <= G_MAXUINT32) {
        put8(a, 0x0c);
        put(a, 4, v);
    } else {
        put8(a, 0x0e);
        put(a, 8, v);
    }
}

static gboolean name_char(char c, gboolean lead)
{
    return g_ascii_isupper(c) || c == '_' || (!lead && g_ascii_isdigit(c));
}

/* One segment: four characters, filled up with '_'. Returns what follows it. */
static const char *put_segment(Aml *a, const char *s)
{
    char seg[4] = {'_', '_', '_', '_'};
    guint n = 0;

    for (; n < 4 && *s != '\0' && *s != '.'; n++, s++) {
        g_assert(name_char(*s, n == 0));
        seg[n] = *s;
    }
    g_assert(n > 0 && (*s == '\0' || *s == '.'));
    append(a, seg, 4);
    return s;
}

/* NameString (20.2.2): root or parent prefixes, then segments by their number. */
static void put_path(Aml *a, const char *path)
{
    guint segments = 1;

    for (; *path == '\\' || *path == '^'; path++)
        put8(a, *path);
    if (*path == '\0') {
        put8(a, 0);
        return;
    }
    for (const char *p = path; *p != '\0'; p++)
        segments += *p == '.';
    if (segments == 2) {
        put8(a, 0x2e);
    } else if (segments > 2) {
        g_assert(segments <= 255);
        put8(a, 0x2f);
        put8(a, segments);
    }
    for (;;) {
        path = put_segment(a, path);
        if (*path == '\0')
            return;
        path++;
    }
}

static void put_string(Aml *a, const char *s)
{
    put8(a, 0x0d);
    append(a, s, strlen(s) + 1);
}

/* "PNP0A08" compressed (ACPI 6.x 19.3.4): three letters of five bits, four hex digits, big endian. */
static guint32 eisa_id(const char *s)
{
    guint32 v = 0;

    g_assert(strlen(s) == 7);
    for (guint i = 0; i < 3; i++) {
        g_assert(g_ascii_isupper(s[i]));
        v = v << 5 | (guint32)(s[i] - '@');
    }
    for (guint i = 3; i < 7; i++) {
        g_assert(g_ascii_isxdigit(s[i]));
        v = v << 4 | (guint32)g_ascii_xdigit_value(s[i]);
    }
    return GUINT32_SWAP_LE_BE(v);
}

/* ToUUID's byte order (19.6.142): the first three fields little endian, the rest as written. */
static void put_uuid(Aml *a, const char *s)
{
    static const guint8 order[16] = {6, 4, 2, 0, 11, 9, 16, 14, 19, 21, 24, 26, 28, 30, 32, 34};
    guint8 b[16];

    g_assert(strlen(s) == 36);
    for (guint i = 0; i < 16; i++) {
        g_assert(g_ascii_isxdigit(s[order[i]]) && g_ascii_isxdigit(s[order[i] + 1]));
        b[i] = g_ascii_xdigit_value(s[order[i]]) << 4 | g_ascii_xdigit_value(s[order[i] + 1]);
    }
    aml_buffer(a, b, sizeof b);
}

/* ---- terms ---- */

static void put_term(Aml *a, const AmlTerm *t)
{
    switch (t->kind) {
    case AML_T_NONE:
        put8(a, 0);
        break;
    case AML_T_INT:
        put_integer(a, t->u);
        break;
    case AML_T_STRING:
        put_string(a, t->s);
        break;
    case AML_T_EISAID:
        put_integer(a, eisa_id(t->s));
        break;
    case AML_T_UUID:
        put_uuid(a, t->s);
        break;
    case AML_T_REF:
        put_path(a, t->s);
        break;
    case AML_T_SLOT:
    case AML_T_OP:
        put_op(a, t->op);
        break;
    }
    for (guint i = 0; i < t->n; i++)
        put_term(a, &t->args[i]);
}

/* An object is about to be written where the open block may be a package, which counts its elements. */
static void count_element(Aml *a)
{
    if (a->depth > 0 && a->open[a->depth - 1].kind == BLOCK_PACKAGE)
        a->open[a->depth - 1].count++;
}

void aml_stmt(Aml *a, AmlTerm t)
{
    if (t.kind != AML_T_UUID) /* a buffer: counts itself */
        count_element(a);
    put_term(a, &t);
}

void aml_acquire(Aml *a, const char *mutex, guint16 timeout_ms)
{
    put_op(a, 0x5b23);
    put_path(a, mutex);
    put(a, 2, timeout_ms);
}

/* ---- blocks ---- */

/* PkgLength (20.2.4) of VALUE into B; returns its size. The value must count those bytes if it has to. */
static guint encode_pkg_length(guint8 b[4], guint32 value, guint size)
{
    g_assert(value < 1u << 28);
    if (size == 1) {
        b[0] = value;
        return 1;
    }
    b[0] = (size - 1) << 6 | (value & 0xf);
    for (guint i = 1; i < size; i++)
        b[i] = value >> (4 + 8 * (i - 1)) & 0xff;
    return size;
}

/* Bytes that a PkgLength of VALUE takes, where EXTRA times its own size is added to it (0 or 1). */
static guint pkg_length_size(guint32 value, guint extra)
{
    guint size = 1;

    while (size < 4 && value + extra * size >= (size == 1 ? 1u << 6 : 1u << (8 * size - 4)))
        size++;
    return size;
}

static void insert(Aml *a, guint32 at, const void *bytes, guint n)
{
    reserve(a, n);
    memmove(a->data + at + n, a->data + at, a->len - at);
    memcpy(a->data + at, bytes, n);
    a->len += n;
}

static void open_block(Aml *a, guint16 op, guint8 kind)
{
    g_assert(a->depth < AML_MAX_DEPTH);
    put_op(a, op);
    a->open[a->depth].start = a->len;
    a->open[a->depth].kind = kind;
    a->open[a->depth].count = 0;
    a->depth++;
}

static void close_length(Aml *a, guint32 start)
{
    guint32 content = a->len - start;
    guint size = pkg_length_size(content, 1);
    guint8 b[4];

    encode_pkg_length(b, content + size, size);
    insert(a, start, b, size);
}

/* A buffer's size is an integer between PkgLength and bytes. */
static void close_buffer(Aml *a, guint32 start)
{
    g_autoptr(GByteArray) size = g_byte_array_new();
    Aml tmp = AML_INIT(size);

    put_integer(&tmp, a->len - start);
    insert(a, start, size->data, size->len);
    close_length(a, start);
}

/* The outermost block is whole. */
static void flush(Aml *a)
{
    g_byte_array_append(a->out, a->data, a->len);
    g_clear_pointer(&a->data, g_free);
    a->len = a->alloc = 0;
}

void aml_end(Aml *a)
{
    guint32 start, count;
    guint8 kind;

    g_assert(a->depth > 0);
    start = a->open[a->depth - 1].start;
    kind = a->open[a->depth - 1].kind;
    count = a->open[a->depth - 1].count;
    if (kind == BLOCK_RESOURCES)
        put(a, 2, 0x0079); /* end tag; checksum 0: "treat as if it were right" */
    if (kind == BLOCK_PACKAGE) {
        g_assert(count <= 255);
        insert(a, start, &(guint8){count}, 1);
    }
    if (kind == BLOCK_RESOURCES || kind == BLOCK_BUFFER)
        close_buffer(a, start);
    else
        close_length(a, start);
    if (--a->depth == 0)
        flush(a);
}

void aml_scope(Aml *a, const char *path)
{
    open_block(a, 0x10, BLOCK_PLAIN);
    put_path(a, path);
}

void aml_device(Aml *a, const char *path)
{
    open_block(a, 0x5b82, BLOCK_PLAIN);
    put_path(a, path);
}

void aml_method(Aml *a, const char *path, guint n_args, gboolean serialized)
{
    g_assert(n_args <= 7);
    open_block(a, 0x14, BLOCK_PLAIN);
    put_path(a, path);
    put8(a, n_args | (serialized ? 8 : 0));
}

void aml_if(Aml *a, AmlTerm condition)
{
    open_block(a, 0xa0, BLOCK_PLAIN);
    put_term(a, &condition);
}

void aml_else(Aml *a)
{
    open_block(a, 0xa1, BLOCK_PLAIN);
}

void aml_while(Aml *a, AmlTerm condition)
{
    open_block(a, 0xa2, BLOCK_PLAIN);
    put_term(a, &condition);
}

void aml_package(Aml *a)
{
    count_element(a);
    open_block(a, 0x12, BLOCK_PACKAGE);
}

void aml_buffer(Aml *a, const void *bytes, guint len)
{
    count_element(a);
    open_block(a, 0x11, BLOCK_BUFFER);
    append(a, bytes, len);
    aml_end(a);
}

void aml_resources(Aml *a)
{
    count_element(a);
    open_block(a, 0x11, BLOCK_RESOURCES);
}

void aml_return_of(Aml *a)
{
    put8(a, 0xa4);
}

void aml_store_of(Aml *a)
{
    put8(a, 0x70);
}

/* ---- named objects ---- */

void aml_name_of(Aml *a, const char *path)
{
    put8(a, 0x08);
    put_path(a, path);
}

void aml_name(Aml *a, const char *path, AmlTerm value)
{
    aml_name_of(a, path);
    put_term(a, &value);
}

void aml_mutex(Aml *a, const char *path)
{
    put_op(a, 0x5b01);
    put_path(a, path);
    put8(a, 0); /* SyncLevel */
}

void aml_create_field(Aml *a, guint bits, AmlTerm source, AmlTerm byte_index, const char *name)
{
    switch (bits) {
    case 8:
        put8(a, 0x8c);
        break;
    case 16:
        put8(a, 0x8b);
        break;
    case 32:
        put8(a, 0x8a);
        break;
    case 64:
        put8(a, 0x8f);
        break;
    default:
        g_assert_not_reached();
    }
    put_term(a, &source);
    put_term(a, &byte_index);
    put_path(a, name);
}

void aml_region(Aml *a, const char *path, AmlSpace space, guint64 base, guint64 len)
{
    put_op(a, 0x5b80);
    put_path(a, path);
    put8(a, space);
    put_integer(a, base);
    put_integer(a, len);
}

void aml_field(Aml *a, const char *region, AmlAccess access, gboolean lock, AmlUpdate update)
{
    open_block(a, 0x5b81, BLOCK_PLAIN);
    put_path(a, region);
    put8(a, access | (lock ? 0x10 : 0) | update);
}

void aml_field_bits(Aml *a, const char *name, guint bits)
{
    guint8 b[4];

    if (name)
        put_segment(a, name);
    else
        put8(a, 0);
    append(a, b, encode_pkg_length(b, bits, pkg_length_size(bits, 0)));
}

/* ---- resource descriptors ---- */

void aml_res_io(Aml *a, guint16 base, guint8 len)
{
    put8(a, 0x47);
    put8(a, 1); /* decodes 16 bits */
    put(a, 2, base);
    put(a, 2, base);
    put8(a, 1); /* alignment */
    put8(a, len);
}

void aml_res_irq(Aml *a, guint16 irq_mask)
{
    put8(a, 0x22);
    put(a, 2, irq_mask);
}

void aml_res_interrupt(Aml *a, guint flags, const guint32 *gsis, guint n)
{
    put8(a, 0x89);
    put(a, 2, 2 + 4 * n);
    put8(a, 1 | flags); /* bit 0: consumer */
    put8(a, n);
    for (guint i = 0; i < n; i++)
        put(a, 4, gsis[i]);
}

void aml_res_memory32(Aml *a, gboolean writable, guint32 base, guint32 len)
{
    put8(a, 0x86);
    put(a, 2, 9);
    put8(a, writable);
    put(a, 4, base);
    put(a, 4, len);
}

/* An address space descriptor (6.4.3.5) of 16, 32 or 64 bits with both ends fixed, positive decode; GENERAL 1: a consumer's. */
static void put_range(Aml *a, guint8 tag, unsigned size, guint8 type, guint8 general, guint8 specific, guint64 first, guint64 last)
{
    g_assert(first <= last);
    put8(a, tag);
    put(a, 2, 3 + 5 * size);
    put8(a, type);
    put8(a, 0x0c | general); /* minimum and maximum fixed */
    put8(a, specific);
    put(a, size, 0); /* granularity */
    put(a, size, first);
    put(a, size, last);
    put(a, size, 0); /* translation */
    put(a, size, last - first + 1);
}

/* A window that a bridge passes on. */
static void put_window(Aml *a, guint8 tag, unsigned size, guint8 type, guint8 specific, guint64 first, guint64 last)
{
    put_range(a, tag, size, type, 0, specific, first, last);
}

void aml_res_bus(Aml *a, guint16 first, guint16 last)
{
    put_window(a, 0x88, 2, 2, 0, first, last);
}

void aml_res_word_io(Aml *a, guint16 first, guint16 last)
{
    put_window(a, 0x88, 2, 1, 3, first, last); /* 3: the entire range, not only ISA's */
}

void aml_res_dword_memory(Aml *a, gboolean cacheable, guint32 first, guint32 last)
{
    put_window(a, 0x87, 4, 0, cacheable ? 3 : 1, first, last); /* bit 0: writable */
}

void aml_res_qword_memory(Aml *a, gboolean cacheable, guint64 first, guint64 last)
{
    put_window(a, 0x8a, 8, 0, cacheable ? 3 : 1, first, last);
}

void aml_res_qword_own_memory(Aml *a, guint64 first, guint64 last)
{
    put_range(a, 0x8a, 8, 0, 1, 3, first, last);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * json.c - the strict reader: text -> token tape, and access to the tape.
 *
 * The tape is an array of 16-byte tokens in document order; a member is its name's token
 * followed by its value's. A container's token holds how many members or elements it has and the
 * index of the token after its last one, so that siblings are found without looking inside. What
 * kind a token is, its first byte tells. Document, copied text and tokens are one block of memory.
 *
 * No recursion and no separate stack: as long as a container is open, its token's `next` holds the
 * index of the container around it.
 *
 * Duplicate members are looked for when an object closes, since only then is it known how many
 * there are: a few plain names are compared pair by pair, more go through a hash table. The hash is
 * a polynomial over the prime 2^61-1 at a point taken from the kernel's AT_RANDOM bytes: whoever
 * writes the text can not know the point, so two given names collide with a probability under
 * length / 2^58 and an object of 100,000 members costs linear time whatever the names are.
 */
#include "json.h"

#include <math.h>
#include <string.h>
#include <sys/auxv.h>

#include "error.h"

#define NONE         G_MAXUINT32
#define PAIRWISE_MAX 12

const JsonLimits json_limits_default = { 64 << 20, 1024, 1 << 20 };

enum { STRING_ESCAPED = 1, STRING_NUL = 2 };

typedef struct {
    guint32 start, end; /* bytes of the text */
    guint32 next;       /* the token after this value and all within it */
    guint32 info;       /* containers: members or elements; strings: STRING_* */
} JsonToken;

struct JsonDoc {
    const char *text;
    JsonToken *tokens;
    gsize text_room; /* bytes of the block between this and the tokens */
};

typedef enum { STEP_FAIL, STEP_VALUE, STEP_NAME, STEP_AFTER, STEP_END } Step;

typedef struct {
    JsonDoc *doc;
    const guchar *start, *p, *end;
    guint32 n, cap;
    guint32 parent; /* the innermost open container, or NONE */
    guint depth;
    const JsonLimits *limits;
    GError **error;
} Parser;

static Step fail_at(Parser *ps, const guchar *where, const char *what)
{
    error_set(ps->error, "JSON parse error at byte %" G_GSIZE_FORMAT ": %s",
              (gsize)(where - ps->start), what);
    return STEP_FAIL;
}

static Step fail(Parser *ps, const char *what)
{
    return fail_at(ps, ps->p, ps->p == ps->end ? "unexpected end of the text" : what);
}

static inline void skip_space(Parser *ps)
{
    while (ps->p < ps->end && (*ps->p == ' ' || *ps->p == '\n' || *ps->p == '\r' || *ps->p == '\t'))
        ps->p++;
}

/* ---- the tape ---- */

/* Doubles the room for tokens; a copied text moves along. */
static void grow(Parser *ps)
{
    gsize room = ps->doc->text_room;
    JsonDoc *doc = g_realloc(ps->doc, sizeof *doc + room + 2 * ps->cap * sizeof(JsonToken));
    const guchar *text = room ? (const guchar *)(doc + 1) : ps->start;

    ps->p = text + (ps->p - ps->start);
    ps->end = text + (ps->end - ps->start);
    ps->start = text;
    doc->text = (const char *)text;
    doc->tokens = (JsonToken *)((char *)(doc + 1) + room);
    ps->doc = doc;
    ps->cap *= 2;
}

/* Appends a token that starts here; FALSE beyond the limit. */
static gboolean push(Parser *ps)
{
    if (G_UNLIKELY(ps->n >= ps->limits->max_tokens)) {
        error_set(ps->error, "JSON parse error at byte %" G_GSIZE_FORMAT ": more than %u tokens",
                  (gsize)(ps->p - ps->start), ps->limits->max_tokens);
        return FALSE;
    }
    if (G_UNLIKELY(ps->n == ps->cap))
        grow(ps);
    ps->doc->tokens[ps->n] = (JsonToken){ (guint32)(ps->p - ps->start), 0, ps->n + 1, 0 };
    ps->n++;
    return TRUE;
}

/* Ends the token last pushed here. */
static inline JsonToken *finish(Parser *ps)
{
    ps->doc->tokens[ps->n - 1].end = (guint32)(ps->p - ps->start);
    return &ps->doc->tokens[ps->n - 1];
}

/* ---- strings ---- */

/* The first byte at or after P that is not plain ASCII text within a string. */
static const guchar *skip_plain(const guchar *p, const guchar *end)
{
    const guint64 one = G_GUINT64_CONSTANT(0x0101010101010101), top = one << 7;

    while (end - p >= 8) {
        guint64 w, quote, slash;

        memcpy(&w, p, 8);
        quote = w ^ (one * '"');
        slash = w ^ (one * '\\');
        /* Top bits of: bytes over 127, bytes under 32, quotes, backslashes (and at times of their
         * neighbours). */
        if ((w | (w - one * 0x20) | (quote - one) | (slash - one)) & top)
            break;
        p += 8;
    }
    while (p < end && *p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\')
        p++;
    return p;
}

/* The length of the valid UTF-8 sequence of more than one byte at P, or 0 (Unicode 15, table 3-7).
 */
static guint utf8_sequence(const guchar *p, const guchar *end)
{
    gsize rest = (gsize)(end - p);

#define TAIL(i) ((p[i] & 0xc0) == 0x80)
    if (p[0] >= 0xc2 && p[0] <= 0xdf)
        return rest >= 2 && TAIL(1) ? 2 : 0;
    if (p[0] >= 0xe0 && p[0] <= 0xef) {
        guchar low = p[0] == 0xe0 ? 0xa0 : 0x80, high = p[0] == 0xed ? 0x9f : 0xbf;

        return rest >= 3 && p[1] >= low && p[1] <= high && TAIL(2) ? 3 : 0;
    }
    if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        guchar low = p[0] == 0xf0 ? 0x90 : 0x80, high = p[0] == 0xf4 ? 0x8f : 0xbf;

        return rest >= 4 && p[1] >= low && p[1] <= high && TAIL(2) && TAIL(3) ? 4 : 0;
    }
#undef TAIL
    return 0;
}

/* Four hexadecimal digits, or -1. */
static int hex4(const guchar *p, const guchar *end)
{
    int v = 0;

    if (end - p < 4)
        return -1;
    for (guint i = 0; i < 4; i++) {
        int digit = g_ascii_xdigit_value((char)p[i]);

        if (digit < 0)
            return -1;
        v = v << 4 | digit;
    }
    return v;
}

/* Checks the escape at ps->p and steps over it; flags go to *INFO. */
static gboolean check_escape(Parser *ps, guint32 *info)
{
    const guchar *p = ps->p;
    int u, low;

    *info |= STRING_ESCAPED;
    if (ps->end - p >= 2 && p[1] != '\0' && strchr("\"\\/bfnrt", p[1])) {
        ps->p += 2;
        return TRUE;
    }
    if (ps->end - p < 2 || p[1] != 'u' || (u = hex4(p + 2, ps->end)) < 0)
        return fail(ps, "invalid escape in a string");
    ps->p += 6;
    if (u == 0)
        *info |= STRING_NUL;
    if (u < 0xd800 || u > 0xdfff)
        return TRUE;
    low = ps->end - p >= 12 && p[6] == '\\' && p[7] == 'u' ? hex4(p + 8, ps->end) : -1;
    if (u >= 0xdc00 || low < 0xdc00 || low > 0xdfff)
        return fail_at(ps, p, "lone surrogate in a string");
    ps->p += 6;
    return TRUE;
}

/* A string token, quotes included. */
static gboolean take_string(Parser *ps)
{
    guint32 info = 0;

    if (!push(ps))
        return FALSE;
    ps->p++;
    for (;;) {
        ps->p = skip_plain(ps->p, ps->end);
        if (ps->p == ps->end)
            return fail(ps, "");
        if (*ps->p == '"') {
            break;
        } else if (*ps->p == '\\') {
            if (!check_escape(ps, &info))
                return FALSE;
        } else if (*ps->p < 0x20) {
            return fail(ps, "control character in a string");
        } else {
            guint n = utf8_sequence(ps->p, ps->end);

            if (n == 0)
                return fail(ps, "invalid UTF-8 in a string");
            ps->p += n;
        }
    }
    ps->p++;
    finish(ps)->info = info;
    return TRUE;
}

/* Reads the bytes that a checked string stands for, one at a time. */
typedef struct {
    const guchar *p, *end;
    char piece[6]; /* what is left of an escape's UTF-8 form */
    guint at, n;
} Cursor;

static inline Cursor cursor_init(const char *text, const JsonToken *t)
{
    return (Cursor){ .p = (const guchar *)text + t->start + 1,
                     .end = (const guchar *)text + t->end - 1 };
}

static int cursor_escape(Cursor *c)
{
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    const guchar *q = c->p;
    guint32 u;

    c->p += 2;
    if (q[1] != 'u') {
        const char *simple = strchr(from, q[1]);

        return simple ? to[simple - from] : q[1];
    }
    u = (guint32)hex4(q + 2, c->end);
    c->p += 4;
    if (u >= 0xd800 && u <= 0xdfff) {
        u = 0x10000 + ((u - 0xd800) << 10) + ((guint32)hex4(q + 8, c->end) - 0xdc00);
        c->p += 6;
    }
    c->n = (guint)g_unichar_to_utf8(u, c->piece);
    c->at = 1;
    return (guchar)c->piece[0];
}

/* The next byte, or -1. */
static inline int cursor_next(Cursor *c)
{
    if (c->at < c->n)
        return (guchar)c->piece[c->at++];
    if (c->p == c->end)
        return -1;
    return *c->p == '\\' ? cursor_escape(c) : *c->p++;
}

/* ---- duplicate members ---- */

static gboolean names_equal(const char *text, const JsonToken *a, const JsonToken *b)
{
    Cursor ca = cursor_init(text, a), cb = cursor_init(text, b);
    guint32 len = a->end - a->start;
    int x;

    if (!((a->info | b->info) & STRING_ESCAPED))
        return len == b->end - b->start && memcmp(text + a->start, text + b->start, len) == 0;
    do {
        x = cursor_next(&ca);
        if (x != cursor_next(&cb))
            return FALSE;
    } while (x >= 0);
    return TRUE;
}

#define PRIME ((G_GUINT64_CONSTANT(1) << 61) - 1)

/* A*B modulo 2^61-1, for A, B under 2^61. */
static inline guint64 mul_mod(guint64 a, guint64 b)
{
    unsigned __int128 product = (unsigned __int128)a * b;

    return ((guint64)(product & PRIME) + (guint64)(product >> 61)) % PRIME;
}

static guint64 hash_point(void)
{
    const void *random = (const void *)getauxval(AT_RANDOM);
    guint64 point = G_GUINT64_CONSTANT(0x1bd11bdaa9fc1a22);

    if (random)
        memcpy(&point, random, sizeof point);
    return point % PRIME;
}

static guint64 name_hash(const char *text, const JsonToken *t, guint64 point)
{
    Cursor c = cursor_init(text, t);
    guint64 hash = 1, word = 0;
    guint n = 0;

    for (int b; (b = cursor_next(&c)) >= 0;) {
        word = word << 8 | (guint64)b;
        if (++n == 7) {
            hash = (mul_mod(hash, point) + word) % PRIME;
            word = n = 0;
        }
    }
    /* The last word carries its length, else "\0a" would be "a". */
    word |= (guint64)(n + 1) << 56;
    return (mul_mod(hash, point) + word % PRIME) % PRIME;
}

typedef struct {
    guint64 hash;
    guint32 token; /* 0: free (a name is never token 0) */
} NameSlot;

/* The index of a name that stands in OBJECT twice, or 0. */
static guint32 find_duplicate_hashed(const char *text, const JsonToken *tokens, guint32 object)
{
    guint bits = g_bit_storage(tokens[object].info) + 1;
    gsize mask = ((gsize)1 << bits) - 1;
    g_autofree NameSlot *slots = g_new0(NameSlot, mask + 1);
    guint64 point = hash_point();

    for (guint32 i = object + 1; i < tokens[object].next; i = tokens[i + 1].next) {
        guint64 hash = name_hash(text, &tokens[i], point);
        /* Not the low bits alone: short names' hashes are all small differences there. */
        gsize at = (gsize)((hash * G_GUINT64_CONSTANT(0x9e3779b97f4a7c15)) >> (64 - bits));

        for (; slots[at].token; at = (at + 1) & mask) {
            if (slots[at].hash == hash && names_equal(text, &tokens[slots[at].token], &tokens[i]))
                return i;
        }
        slots[at] = (NameSlot){ hash, i };
    }
    return 0;
}

static guint32 find_duplicate(const char *text, const JsonToken *tokens, guint32 object)
{
    gboolean pairwise = tokens[object].info <= PAIRWISE_MAX;
    guint32 end = tokens[object].next;

    for (guint32 i = object + 1; pairwise && i < end; i = tokens[i + 1].next)
        pairwise = !(tokens[i].info & STRING_ESCAPED);
    if (!pairwise)
        return find_duplicate_hashed(text, tokens, object);
    for (guint32 i = object + 1; i < end; i = tokens[i + 1].next) {
        for (guint32 j = object + 1; j < i; j = tokens[j + 1].next) {
            if (names_equal(text, &tokens[i], &tokens[j]))
                return i;
        }
    }
    return 0;
}

/* ---- values ---- */

static gboolean take_word(Parser *ps, const char *word, gsize len)
{
    if ((gsize)(ps->end - ps->p) < len || memcmp(ps->p, word, len) != 0)
        return fail(ps, "expecting a value");
    if (!push(ps))
        return FALSE;
    ps->p += len;
    finish(ps);
    return TRUE;
}

/* Steps over digits; FALSE if there is none. */
static gboolean take_digits(Parser *ps)
{
    const guchar *from = ps->p;

    while (ps->p < ps->end && g_ascii_isdigit(*ps->p))
        ps->p++;
    return ps->p > from;
}

static gboolean take_number(Parser *ps)
{
    if (!push(ps))
        return FALSE;
    if (*ps->p == '-')
        ps->p++;
    if (ps->p < ps->end && *ps->p == '0')
        ps->p++;
    else if (!take_digits(ps))
        return fail(ps, "expecting a digit");
    if (ps->p < ps->end && *ps->p == '.') {
        ps->p++;
        if (!take_digits(ps))
            return fail(ps, "expecting a digit after the decimal point");
    }
    if (ps->p < ps->end && (*ps->p | 0x20) == 'e') {
        ps->p++;
        if (ps->p < ps->end && (*ps->p == '+' || *ps->p == '-'))
            ps->p++;
        if (!take_digits(ps))
            return fail(ps, "expecting a digit in the exponent");
    }
    finish(ps);
    return TRUE;
}

static Step close_container(Parser *ps)
{
    guint32 index = ps->parent, duplicate = 0;
    JsonToken *t = &ps->doc->tokens[index];

    ps->p++;
    ps->parent = t->next;
    ps->depth--;
    t->next = ps->n;
    t->end = (guint32)(ps->p - ps->start);
    if (t->info > 1 && ps->start[t->start] == '{')
        duplicate = find_duplicate((const char *)ps->start, ps->doc->tokens, index);
    if (duplicate) {
        const JsonToken *name = &ps->doc->tokens[duplicate];
        g_autofree char *quoted = error_quote((const char *)ps->start + name->start + 1,
                                              (gssize)(name->end - name->start) - 2);

        error_set(ps->error, "JSON parse error at byte %u: duplicate member '%s'", name->start,
                  quoted);
        return STEP_FAIL;
    }
    return STEP_AFTER;
}

static Step open_container(Parser *ps)
{
    gboolean object = *ps->p == '{';

    if (ps->depth >= ps->limits->max_depth) {
        error_set(ps->error, "JSON parse error at byte %" G_GSIZE_FORMAT ": nested deeper than %u",
                  (gsize)(ps->p - ps->start), ps->limits->max_depth);
        return STEP_FAIL;
    }
    if (!push(ps))
        return STEP_FAIL;
    ps->depth++;
    ps->doc->tokens[ps->n - 1].next = ps->parent;
    ps->parent = ps->n - 1;
    ps->p++;
    skip_space(ps);
    if (ps->p < ps->end && *ps->p == (object ? '}' : ']'))
        return close_container(ps);
    return object ? STEP_NAME : STEP_VALUE;
}

static Step take_value(Parser *ps)
{
    gboolean ok;

    skip_space(ps);
    if (ps->p == ps->end)
        return fail(ps, "");
    if (ps->parent != NONE)
        ps->doc->tokens[ps->parent].info++;
    switch (*ps->p) {
    case '{':
    case '[':
        return open_container(ps);
    case '"':
        ok = take_string(ps);
        break;
    case 't':
        ok = take_word(ps, "true", 4);
        break;
    case 'f':
        ok = take_word(ps, "false", 5);
        break;
    case 'n':
        ok = take_word(ps, "null", 4);
        break;
    case '-':
    case '0' ... '9':
        ok = take_number(ps);
        break;
    default:
        return fail(ps, "expecting a value");
    }
    return ok ? STEP_AFTER : STEP_FAIL;
}

static Step take_name(Parser *ps)
{
    skip_space(ps);
    if (ps->p == ps->end || *ps->p != '"')
        return fail(ps, "expecting a member's name");
    if (!take_string(ps))
        return STEP_FAIL;
    skip_space(ps);
    if (ps->p == ps->end || *ps->p != ':')
        return fail(ps, "expecting ':'");
    ps->p++;
    return STEP_VALUE;
}

/* What follows a complete value. */
static Step take_separator(Parser *ps)
{
    gboolean object;

    skip_space(ps);
    if (ps->parent == NONE)
        return ps->p == ps->end ? STEP_END : fail(ps, "expecting nothing after the value");
    object = ps->start[ps->doc->tokens[ps->parent].start] == '{';
    if (ps->p < ps->end && *ps->p == ',') {
        ps->p++;
        return object ? STEP_NAME : STEP_VALUE;
    }
    if (ps->p < ps->end && *ps->p == (object ? '}' : ']'))
        return close_container(ps);
    return fail(ps, object ? "expecting ',' or '}'" : "expecting ',' or ']'");
}

static JsonDoc *parse(Parser *ps)
{
    Step step = STEP_VALUE;

    while (step != STEP_END) {
        if (step == STEP_VALUE)
            step = take_value(ps);
        else if (step == STEP_NAME)
            step = take_name(ps);
        else if (step == STEP_AFTER)
            step = take_separator(ps);
        else
            break;
    }
    if (step == STEP_END)
        return ps->doc;
    g_free(ps->doc);
    return NULL;
}

/* ---- documents ---- */

static JsonDoc *parse_text(const char *text, gsize len, gboolean copy, const JsonLimits *limits,
                           GError **error)
{
    Parser ps = { .parent = NONE, .limits = limits, .error = error };
    gsize room = copy ? (len + 7) & ~(gsize)7 : 0;
    const char *bytes;

    /* Token offsets have 32 bits. */
    if ((limits->max_bytes && len > limits->max_bytes) || len >= G_MAXUINT32) {
        error_set(error, "JSON text of %" G_GSIZE_FORMAT " bytes is longer than %" G_GSIZE_FORMAT,
                  len, limits->max_bytes ? limits->max_bytes : (gsize)G_MAXUINT32);
        return NULL;
    }
    ps.cap = (guint32)MIN(len / 4, 1024) + 4;
    ps.doc = g_malloc(sizeof *ps.doc + room + ps.cap * sizeof(JsonToken));
    bytes = copy && len ? memcpy(ps.doc + 1, text, len) : text ? text : "";
    *ps.doc = (JsonDoc){ bytes, (JsonToken *)((char *)(ps.doc + 1) + room), room };
    ps.start = ps.p = (const guchar *)bytes;
    ps.end = ps.start + len;
    return parse(&ps);
}

JsonDoc *json_doc_parse(const char *text, gsize len, const JsonLimits *limits, GError **error)
{
    return parse_text(text, len, TRUE, limits, error);
}

JsonDoc *json_doc_parse_static(const char *text, gsize len, const JsonLimits *limits,
                               GError **error)
{
    return parse_text(text, len, FALSE, limits, error);
}

void json_doc_free(JsonDoc *doc)
{
    g_free(doc);
}

JsonVal json_doc_root(const JsonDoc *doc)
{
    return (JsonVal){ doc, 0 };
}

static inline const JsonToken *token(JsonVal v)
{
    return &v.doc->tokens[v.index];
}

static inline char first(JsonVal v)
{
    return v.doc->text[token(v)->start];
}

JsonKind json_kind(JsonVal v)
{
    char c = first(v);

    if (c == '"')
        return JSON_KIND_STRING;
    if (c == '{' || c == '[')
        return c == '{' ? JSON_KIND_OBJECT : JSON_KIND_ARRAY;
    if (c == 't' || c == 'f')
        return JSON_KIND_BOOL;
    return c == 'n' ? JSON_KIND_NULL : JSON_KIND_NUMBER;
}

const char *json_kind_name(JsonKind kind)
{
    static const char *const names[] = { "null", "boolean", "number", "string", "array", "object" };

    return names[kind];
}

const char *json_raw(JsonVal v, gsize *len)
{
    *len = token(v)->end - token(v)->start;
    return v.doc->text + token(v)->start;
}

char *json_dup_raw(JsonVal v)
{
    gsize len;
    const char *raw = json_raw(v, &len);

    return g_strdelimit(g_strndup(raw, len), "\r\n", ' ');
}

/* ---- scalars ---- */

gboolean json_get_bool(JsonVal v, gboolean *out)
{
    char c = first(v);

    if (c != 't' && c != 'f')
        return FALSE;
    *out = c == 't';
    return TRUE;
}

/* The digits of an integer; FALSE for other values and numbers beyond 64 bits. */
static gboolean get_magnitude(JsonVal v, gboolean *negative, guint64 *out)
{
    gsize len;
    const char *p = json_raw(v, &len), *end = p + len;
    guint64 u = 0;

    *negative = *p == '-';
    if (*negative)
        p++;
    for (; p < end; p++) {
        if (!g_ascii_isdigit(*p) || !g_uint64_checked_mul(&u, u, 10) ||
            !g_uint64_checked_add(&u, u, (guint64)(*p - '0')))
            return FALSE;
    }
    *out = u;
    return TRUE;
}

gboolean json_get_int64(JsonVal v, gint64 *out)
{
    gboolean negative;
    guint64 u;

    if (!get_magnitude(v, &negative, &u) || u > (guint64)G_MAXINT64 + negative)
        return FALSE;
    *out = (gint64)(negative ? -u : u);
    return TRUE;
}

gboolean json_get_uint64(JsonVal v, guint64 *out)
{
    gboolean negative;
    guint64 u;

    if (!get_magnitude(v, &negative, &u) || (negative && u != 0))
        return FALSE;
    *out = u;
    return TRUE;
}

gboolean json_get_double(JsonVal v, double *out)
{
    g_autofree char *text = NULL;
    double d;

    if (json_kind(v) != JSON_KIND_NUMBER)
        return FALSE;
    text = json_dup_raw(v);
    d = g_ascii_strtod(text, NULL);
    if (!isfinite(d))
        return FALSE;
    *out = d;
    return TRUE;
}

char *json_dup_string(JsonVal v)
{
    const JsonToken *t = token(v);
    char *out, *p;
    Cursor c;

    if (first(v) != '"' || (t->info & STRING_NUL))
        return NULL;
    if (!(t->info & STRING_ESCAPED))
        return g_strndup(v.doc->text + t->start + 1, t->end - t->start - 2);
    /* An escape is never shorter than what it stands for. */
    out = p = g_malloc(t->end - t->start);
    c = cursor_init(v.doc->text, t);
    for (int b; (b = cursor_next(&c)) >= 0;)
        *p++ = (char)b;
    *p = '\0';
    return out;
}

gboolean json_string_equal(JsonVal v, const char *s)
{
    const JsonToken *t = token(v);
    Cursor c = cursor_init(v.doc->text, t);

    if (first(v) != '"')
        return FALSE;
    if (!(t->info & STRING_ESCAPED))
        return strncmp(v.doc->text + t->start + 1, s, t->end - t->start - 2) == 0 &&
               !s[t->end - t->start - 2];
    for (; *s; s++) {
        if (cursor_next(&c) != (guchar)*s)
            return FALSE;
    }
    return cursor_next(&c) < 0;
}

/* ---- containers ---- */

guint json_size(JsonVal v)
{
    return v.doc && (first(v) == '{' || first(v) == '[') ? token(v)->info : 0;
}

void json_iter_init(JsonIter *it, JsonVal container)
{
    *it = (JsonIter){ .doc = container.doc };
    if (json_size(container) == 0)
        return;
    it->next = container.index + 1;
    it->end = token(container)->next;
    it->object = first(container) == '{';
}

gboolean json_iter_next(JsonIter *it, JsonVal *name, JsonVal *value)
{
    if (it->next >= it->end)
        return FALSE;
    if (it->object)
        *name = (JsonVal){ it->doc, it->next++ };
    *value = (JsonVal){ it->doc, it->next };
    it->next = token(*value)->next;
    return TRUE;
}

gboolean json_member(JsonVal object, const char *name, JsonVal *out)
{
    JsonIter it;
    JsonVal key, value;

    json_iter_init(&it, object);
    while (it.object && json_iter_next(&it, &key, &value)) {
        if (json_string_equal(key, name)) {
            *out = value;
            return TRUE;
        }
    }
    return FALSE;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * framer.c - where one JSON object of a stream ends.
 *
 * Every byte is looked at once, by a pushdown automaton over the structure of JSON: brackets,
 * commas, colons, strings and words; what a word or a string holds is the parser's business. The
 * stack is one bit a level (object or array). Counting brackets would not do: `{"a": ]` would
 * swallow all that follows, while this notices at the first byte that can not continue a JSON text.
 *
 * Being in step again: a broken line is dropped up to its end. Where a '{' at the start of a
 * line can not belong to the message before, only that message is dropped: the client forgot a
 * bracket and has gone on to its next command. A message over a limit may well go on over thousands
 * of lines, so that after such an error only a '{' in the first column starts anew.
 *
 * The buffer holds the unfinished message and what was not looked at yet. Consumed bytes are moved
 * out of it only when they are the larger part: each byte moves at most once for each time that the
 * buffer doubles.
 */
#include "framer.h"

#include <string.h>

#include "../common/error.h"

#define KEEP_MAX 65536 /* an idle framer keeps at most that much room */

typedef enum {
    BETWEEN,      /* outside of any message */
    BROKEN,       /* dropping the rest of a line */
    OVERSIZED,    /* dropping lines until one begins with '{' */
    VALUE,        /* a value must follow */
    VALUE_OR_END, /* after '[' */
    NAME,         /* after ',' within an object */
    NAME_OR_END,  /* after '{' */
    COLON,        /* after a name */
    SEPARATOR,    /* after a value */
} State;

struct Framer {
    JsonLimits limits;
    char *data;
    gsize room, len;   /* allocated, filled */
    gsize start, scan; /* first byte of the message; first byte not looked at */
    guint64 base;      /* stream position of data[0] */
    State state;
    gboolean in_string, escape, in_word;
    gboolean line_start; /* only white space since the last line end */
    guint depth, tokens;
    guint64 *objects; /* one bit a level: it is an object */
};

Framer *framer_new(const JsonLimits *limits)
{
    Framer *f = g_new0(Framer, 1);

    f->limits = *limits;
    f->line_start = TRUE;
    f->objects = g_new0(guint64, limits->max_depth / 64 + 1);
    return f;
}

void framer_free(Framer *f)
{
    if (!f)
        return;
    g_free(f->data);
    g_free(f->objects);
    g_free(f);
}

gsize framer_pending(const Framer *f)
{
    return f->len - f->start;
}

guint64 framer_position(const Framer *f)
{
    return f->base + f->scan;
}

/* ---- the buffer ---- */

static void drop_consumed(Framer *f)
{
    gsize rest = f->len - f->start;

    if (f->start == 0 || rest > f->start)
        return;
    memmove(f->data, f->data + f->start, rest);
    f->base += f->start;
    f->scan -= f->start;
    f->len = rest;
    f->start = 0;
    if (rest == 0 && f->room > KEEP_MAX) {
        g_clear_pointer(&f->data, g_free);
        f->room = 0;
    }
}

void framer_feed(Framer *f, const char *data, gsize len)
{
    drop_consumed(f);
    if (len == 0)
        return;
    if (f->room - f->len < len) {
        f->room = MAX(f->len + len, MIN(f->room * 2, f->room + (16 << 20)));
        f->room = MAX(f->room, 512);
        f->data = g_realloc(f->data, f->room);
    }
    memcpy(f->data + f->len, data, len);
    f->len += len;
}

/* ---- being out of step ---- */

static FramerResult give_up(Framer *f, State state, GError **error, const char *format, ...)
    G_GNUC_PRINTF(4, 5);

static FramerResult give_up(Framer *f, State state, GError **error, const char *format, ...)
{
    g_autofree char *what = NULL;
    va_list args;

    va_start(args, format);
    what = g_strdup_vprintf(format, args);
    va_end(args);
    error_set(error, "JSON parse error, %s", what);
    f->state = state;
    f->in_string = f->in_word = f->escape = FALSE;
    f->depth = f->tokens = 0;
    f->start = f->scan;
    return FRAMER_ERROR;
}

static inline gboolean in_object(const Framer *f)
{
    guint top = f->depth - 1;

    return f->objects[top / 64] >> (top % 64) & 1;
}

static FramerResult unexpected(Framer *f, GError **error)
{
    static const char *const expected[] = {
        [BETWEEN] = "an object",
        [VALUE] = "a value",
        [VALUE_OR_END] = "a value or ']'",
        [NAME] = "a member's name",
        [NAME_OR_END] = "a member's name or '}'",
        [COLON] = "':'",
        [SEPARATOR] = NULL,
    };
    const char *what = expected[f->state];
    g_autofree char *quoted = error_quote(f->data + f->scan, 1);
    gboolean next_line = f->line_start && f->state != BETWEEN && f->data[f->scan] == '{';

    if (!what)
        what = in_object(f) ? "',' or '}'" : "',' or ']'";
    /* A '{' that starts a line is looked at again, as the start of a message. */
    if (!next_line)
        f->scan++;
    return give_up(f, next_line ? BETWEEN : BROKEN, error, "expecting %s, got '%s'", what, quoted);
}

/* 0xff is in step whatever went before. The message that it cuts short gets an answer too. */
static FramerResult resync(Framer *f, GError **error)
{
    gboolean within = f->state > OVERSIZED;

    f->scan++;
    f->start = f->scan;
    f->line_start = TRUE;
    if (within)
        return give_up(f, BETWEEN, error, "message cut short by a 0xff byte");
    f->state = BETWEEN;
    return FRAMER_MORE;
}

/* Drops bytes up to where the framer is in step again. */
static void skip_broken(Framer *f)
{
    const char *p = f->data + f->scan, *end = f->data + f->len;
    const char *line = memchr(p, '\n', (gsize)(end - p));
    const char *reset = memchr(p, 0xff, (gsize)((line ? line : end) - p));

    if (reset) {
        f->scan = (gsize)(reset - f->data) + 1;
        f->state = BETWEEN;
    } else if (line) {
        f->scan = (gsize)(line - f->data) + 1;
        if (f->state == BROKEN)
            f->state = BETWEEN;
    } else {
        f->scan = f->len;
    }
    f->line_start = reset || line;
    f->start = f->scan;
}

/* After a message over a limit: is this the first column of a line that starts a message? */
static void skip_oversized(Framer *f)
{
    if (f->line_start && f->data[f->scan] == '{')
        f->state = BETWEEN;
    else
        skip_broken(f);
}

/* ---- in step ---- */

static gboolean count_token(Framer *f)
{
    return ++f->tokens <= f->limits.max_tokens;
}

static FramerResult too_many_tokens(Framer *f, GError **error)
{
    f->scan++;
    return give_up(f, OVERSIZED, error, "more than %u tokens in a message", f->limits.max_tokens);
}

static FramerResult open_bracket(Framer *f, gboolean object, GError **error)
{
    guint64 bit = G_GUINT64_CONSTANT(1) << (f->depth % 64);

    if (f->depth >= f->limits.max_depth) {
        f->scan++;
        return give_up(f, OVERSIZED, error, "nested deeper than %u", f->limits.max_depth);
    }
    if (object)
        f->objects[f->depth / 64] |= bit;
    else
        f->objects[f->depth / 64] &= ~bit;
    if (f->depth++ == 0)
        f->start = f->scan;
    if (!count_token(f))
        return too_many_tokens(f, error);
    f->state = object ? NAME_OR_END : VALUE_OR_END;
    f->scan++;
    return FRAMER_MORE;
}

static FramerResult close_bracket(Framer *f, gboolean object, GError **error)
{
    gboolean allowed = f->state == SEPARATOR || f->state == (object ? NAME_OR_END : VALUE_OR_END);

    if (!allowed || in_object(f) != object)
        return unexpected(f, error);
    f->scan++;
    f->state = SEPARATOR;
    if (--f->depth > 0)
        return FRAMER_MORE;
    f->state = BETWEEN;
    f->tokens = 0;
    return FRAMER_MESSAGE;
}

static FramerResult take_mark(Framer *f, gboolean allowed, State next, GError **error)
{
    if (!allowed)
        return unexpected(f, error);
    f->scan++;
    f->state = next;
    return FRAMER_MORE;
}

static inline gboolean wants_value(const Framer *f)
{
    return f->state == VALUE || f->state == VALUE_OR_END;
}

static inline gboolean word_byte(guchar c)
{
    return g_ascii_isalnum(c) || c == '-' || c == '+' || c == '.';
}

static FramerResult start_scalar(Framer *f, guchar c, GError **error)
{
    gboolean name = c == '"' && (f->state == NAME || f->state == NAME_OR_END);

    if (!(name || (wants_value(f) && (c == '"' || word_byte(c)))))
        return unexpected(f, error);
    if (!count_token(f))
        return too_many_tokens(f, error);
    f->in_string = c == '"';
    f->in_word = !f->in_string;
    f->state = name ? COLON : SEPARATOR;
    f->scan++;
    return FRAMER_MORE;
}

/* One byte outside of strings and words; white space and 0xff are not left to this. */
static FramerResult take_structure(Framer *f, guchar c, GError **error)
{
    if (f->state == BETWEEN && c != '{')
        return unexpected(f, error);
    switch (c) {
    case '{':
    case '[':
        if (f->state != BETWEEN && !wants_value(f))
            return unexpected(f, error);
        return open_bracket(f, c == '{', error);
    case '}':
    case ']':
        return close_bracket(f, c == '}', error);
    case ':':
        return take_mark(f, f->state == COLON, VALUE, error);
    case ',':
        return take_mark(f, f->state == SEPARATOR, in_object(f) ? NAME : VALUE, error);
    default:
        return start_scalar(f, c, error);
    }
}

/* Bytes of a string or a word, as far as there are. Stops at control characters and 0xff. */
static void skip_scalar(Framer *f)
{
    const guchar *p = (const guchar *)f->data + f->scan, *end = (const guchar *)f->data + f->len;

    if (f->in_word) {
        while (p < end && word_byte(*p))
            p++;
        f->in_word = p == end;
    } else {
        for (; p < end && *p >= 0x20 && *p != 0xff; p++) {
            if (f->escape) {
                f->escape = FALSE;
            } else if (*p == '\\') {
                f->escape = TRUE;
            } else if (*p == '"') {
                f->in_string = FALSE;
                p++;
                break;
            }
        }
    }
    f->scan = (gsize)((const char *)p - f->data);
}

static FramerResult string_control(Framer *f, guchar c, GError **error)
{
    State state = c == '\n' ? BETWEEN : BROKEN;

    f->scan++;
    f->line_start = c == '\n';
    return give_up(f, state, error, "control character 0x%02x in a string", c);
}

static FramerResult skip_space(Framer *f, guchar c)
{
    if (c == '\n')
        f->line_start = TRUE;
    f->scan++;
    if (f->state == BETWEEN)
        f->start = f->scan;
    return FRAMER_MORE;
}

/* Looks at what stands at f->scan; there is at least one byte. */
static FramerResult step(Framer *f, GError **error)
{
    guchar c = (guchar)f->data[f->scan];
    FramerResult result;

    if (f->state == BROKEN || f->state == OVERSIZED) {
        (f->state == BROKEN ? skip_broken : skip_oversized)(f);
        return FRAMER_MORE;
    }
    if (c == 0xff)
        return resync(f, error);
    if (f->in_string && c < 0x20)
        return string_control(f, c, error);
    if (f->in_string || f->in_word) {
        skip_scalar(f);
        return FRAMER_MORE;
    }
    if (c == ' ' || c == '\n' || c == '\r' || c == '\t')
        return skip_space(f, c);
    result = take_structure(f, c, error);
    if (result != FRAMER_ERROR)
        f->line_start = FALSE;
    return result;
}

static gboolean too_long(const Framer *f)
{
    return f->limits.max_bytes && f->scan - f->start > f->limits.max_bytes;
}

FramerResult framer_take(Framer *f, const char **text, gsize *len, GError **error)
{
    FramerResult result = FRAMER_MORE;

    if (f->state == BETWEEN)
        f->start = f->scan;
    while (f->scan < f->len && result == FRAMER_MORE) {
        result = step(f, error);
        if (G_UNLIKELY(too_long(f)) && result != FRAMER_ERROR)
            return give_up(f, result == FRAMER_MESSAGE ? BETWEEN : OVERSIZED, error,
                           "message longer than %" G_GSIZE_FORMAT " bytes", f->limits.max_bytes);
    }
    if (result == FRAMER_MESSAGE) {
        *text = f->data + f->start;
        *len = f->scan - f->start;
    } else if (result == FRAMER_MORE) {
        drop_consumed(f);
    }
    return result;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * JSON as text.
 *
 * A client has two reasons not to push everything through json-glib's tree. First, its integers
 * are signed 64-bit: a size of 2^64-1 that the user typed, or that the daemon answered, would come
 * out as -1. Second, its parser takes more than JSON: `addr=0x10` must be the string "0x10", and
 * json-glib reads it as the number 16. So what passes through us passes as the text that it was,
 * checked here by the grammar of RFC 8259, and json-glib sees only replies from which we show
 * single values.
 *
 * Nesting is limited: the scanner recurses, and so does json-glib behind it.
 */
#include "jtext.h"

#include <string.h>

#define MAX_DEPTH 1024

typedef struct {
    const char *p;
    const char *end;
    guint depth;
} Scan;

typedef gboolean (*ScanItem)(Scan *s);

static gboolean scan_value(Scan *s);

static void
scan_space(Scan *s)
{
    while (s->p < s->end && strchr(" \t\r\n", *s->p) != NULL && *s->p != '\0')
        s->p++;
}

static gboolean
scan_char(Scan *s, char c)
{
    if (s->p == s->end || *s->p != c)
        return FALSE;
    s->p++;
    return TRUE;
}

static gboolean
scan_word(Scan *s, const char *word)
{
    for (; *word != '\0'; word++)
        if (!scan_char(s, *word))
            return FALSE;
    return TRUE;
}

static gboolean
scan_digits(Scan *s)
{
    const char *start = s->p;

    while (s->p < s->end && g_ascii_isdigit(*s->p))
        s->p++;
    return s->p > start;
}

static gboolean
scan_number(Scan *s)
{
    scan_char(s, '-');
    if (!scan_char(s, '0') && !scan_digits(s))
        return FALSE;
    if (scan_char(s, '.') && !scan_digits(s))
        return FALSE;
    if (scan_char(s, 'e') || scan_char(s, 'E')) {
        if (!scan_char(s, '+'))
            scan_char(s, '-');
        return scan_digits(s);
    }
    return TRUE;
}

static gboolean
scan_escape(Scan *s)
{
    if (scan_char(s, 'u')) {
        for (int i = 0; i < 4; i++, s->p++)
            if (s->p == s->end || !g_ascii_isxdigit(*s->p))
                return FALSE;
        return TRUE;
    }
    if (s->p == s->end || *s->p == '\0' || strchr("\"\\/bfnrt", *s->p) == NULL)
        return FALSE;
    s->p++;
    return TRUE;
}

static gboolean
scan_string(Scan *s)
{
    if (!scan_char(s, '"'))
        return FALSE;
    while (!scan_char(s, '"')) {
        if (s->p == s->end || (guchar)*s->p < 0x20)
            return FALSE;
        if (*s->p++ == '\\' && !scan_escape(s))
            return FALSE;
    }
    return TRUE;
}

static gboolean
scan_member(Scan *s)
{
    if (!scan_string(s))
        return FALSE;
    scan_space(s);
    return scan_char(s, ':') && scan_value(s);
}

static gboolean
scan_list(Scan *s, char close, ScanItem item)
{
    s->p++; /* the opening bracket that the caller saw */
    if (++s->depth > MAX_DEPTH)
        return FALSE;
    scan_space(s);
    if (!scan_char(s, close)) {
        do {
            scan_space(s);
            if (!item(s))
                return FALSE;
            scan_space(s);
        } while (scan_char(s, ','));
        if (!scan_char(s, close))
            return FALSE;
    }
    s->depth--;
    return TRUE;
}

static gboolean
scan_value(Scan *s)
{
    scan_space(s);
    if (s->p == s->end)
        return FALSE;
    switch (*s->p) {
    case '{':
        return scan_list(s, '}', scan_member);
    case '[':
        return scan_list(s, ']', scan_value);
    case '"':
        return scan_string(s);
    case 't':
        return scan_word(s, "true");
    case 'f':
        return scan_word(s, "false");
    case 'n':
        return scan_word(s, "null");
    default:
        return scan_number(s);
    }
}

/* The text of a member of @object (valid JSON); NULL if it is no object or has none so named. */
gboolean
jtext_valid(const char *text, gsize length, gsize *bad)
{
    Scan s = { text, text + length, 0 };
    const char *utf8_end = NULL;
    gboolean ok = g_utf8_validate_len(text, length, &utf8_end);

    if (!ok) {
        s.p = utf8_end;
    } else {
        ok = scan_value(&s);
        if (ok)
            scan_space(&s);
        ok = ok && s.p == s.end;
    }
    if (bad != NULL)
        *bad = s.p - text;
    return ok;
}

/* The text of a member of @object (valid JSON); NULL if it is no object or has no such member. */
char *
jtext_member(const char *object, const char *name)
{
    Scan s = { object, object + strlen(object), 0 };
    g_autofree char *quoted = jtext_quote(name);

    scan_space(&s);
    if (!scan_char(&s, '{'))
        return NULL;
    do {
        scan_space(&s);
        const char *key = s.p;
        if (!scan_string(&s))
            return NULL;
        gboolean found = (gsize)(s.p - key) == strlen(quoted) && g_str_has_prefix(key, quoted);
        scan_space(&s);
        scan_char(&s, ':');
        scan_space(&s);
        const char *value = s.p;
        if (!scan_value(&s))
            return NULL;
        if (found)
            return g_strndup(value, s.p - value);
        scan_space(&s);
    } while (scan_char(&s, ','));
    return NULL;
}

/* @string, which is UTF-8, as a JSON string with its quotes. */
char *
jtext_quote(const char *string)
{
    GString *out = g_string_new("\"");

    for (; *string != '\0'; string++) {
        if (*string == '"' || *string == '\\')
            g_string_append_printf(out, "\\%c", *string);
        else if ((guchar)*string < 0x20 || *string == 0x7f)
            g_string_append_printf(out, "\\u%04x", *string);
        else
            g_string_append_c(out, *string);
    }
    g_string_append_c(out, '"');
    return g_string_free(out, FALSE);
}

static void
pretty_newline(GString *out, guint depth)
{
    g_string_append_c(out, '\n');
    for (guint i = 0; i < depth; i++)
        g_string_append(out, "    ");
}

/* Copies the string at @p with its quotes, returns what follows it. */
static const char *
pretty_string(GString *out, const char *p)
{
    Scan s = { p, p + strlen(p), 0 };

    scan_string(&s);
    g_string_append_len(out, p, s.p - p);
    return s.p;
}

/* An opening bracket: empty lists stay on their line. Returns what follows. */
static const char *
pretty_open(GString *out, const char *p, guint *depth)
{
    const char *next = p + 1 + strspn(p + 1, " \t\r\n");

    g_string_append_c(out, *p);
    if (*next == '}' || *next == ']') {
        g_string_append_c(out, *next);
        return next + 1;
    }
    pretty_newline(out, ++*depth);
    return next;
}

/* @text (valid JSON) on several lines, every value spelled as it was. */
char *
jtext_pretty(const char *text)
{
    GString *out = g_string_new(NULL);
    guint depth = 0;
    const char *p = text;

    while (*p != '\0') {
        if (*p == '"') {
            p = pretty_string(out, p);
            continue;
        }
        if (*p == '{' || *p == '[') {
            p = pretty_open(out, p, &depth);
            continue;
        }
        if (*p == '}' || *p == ']')
            pretty_newline(out, --depth);
        if (strchr(" \t\r\n", *p) == NULL)
            g_string_append_c(out, *p);
        if (*p == ',')
            pretty_newline(out, depth);
        if (*p == ':')
            g_string_append_c(out, ' ');
        p++;
    }
    return g_string_free(out, FALSE);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * error.c - the caller's mistakes, in words that are safe to send back.
 *
 * The only delicate part is error_quote(): what it returns goes into logs and replies, so that a
 * client's bytes must neither grow without bound there nor break the line, the terminal or the JSON
 * string that they end up in. The bound holds for the escaped form, so that 200 bytes of controls
 * do not become 800 bytes of reply.
 */
#include "error.h"

#include <stdarg.h>
#include <string.h>

#define QUOTE_MAX 200

/* Looked up each time, since G_DEFINE_QUARK would keep it in a writable global. */
GQuark error_domain(void)
{
    return g_quark_from_static_string("backplane-error");
}

const char *error_class_name(const GError *error)
{
    static const char *const names[] = {
        [ERROR_GENERIC] = "GenericError",
        [ERROR_COMMAND_NOT_FOUND] = "CommandNotFound",
        [ERROR_DEVICE_NOT_ACTIVE] = "DeviceNotActive",
        [ERROR_DEVICE_NOT_FOUND] = "DeviceNotFound",
        [ERROR_KVM_MISSING_CAP] = "KVMMissingCap",
    };

    if (error->domain != ERROR_DOMAIN || error->code < 0 ||
        (gsize)error->code >= G_N_ELEMENTS(names))
        return names[ERROR_GENERIC];
    return names[error->code];
}

/* Writes one character of TEXT (REST bytes are left of it) in printable form to PIECE; returns how
 * many bytes of TEXT that was. */
static gsize quote_piece(const char *text, gsize rest, char piece[8])
{
    gunichar c = g_utf8_get_char_validated(text, (gssize)MIN(rest, 6));
    gsize len;

    if (c == (gunichar)-1 || c == (gunichar)-2 || *text == '\0') {
        g_snprintf(piece, 8, "\\x%02x", (guchar)*text);
        return 1;
    }
    len = (gsize)g_unichar_to_utf8(c, piece);
    piece[len] = '\0';
    if (c == '\n' || c == '\r' || c == '\t')
        g_snprintf(piece, 8, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
    else if (g_unichar_iscntrl(c) || c == 0x2028 || c == 0x2029)
        g_snprintf(piece, 8, c < 0x80 ? "\\x%02x" : "\\u%04x", c);
    return len;
}

char *error_quote(const char *text, gssize len)
{
    gsize n = len < 0 ? strlen(text) : (gsize)len;
    GString *out = g_string_sized_new(MIN(n, QUOTE_MAX) + 4);

    for (gsize i = 0; i < n;) {
        char piece[8];

        i += quote_piece(text + i, n - i, piece);
        if (out->len + strlen(piece) > QUOTE_MAX) {
            g_string_append(out, "...");
            break;
        }
        g_string_append(out, piece);
    }
    return g_string_free(out, FALSE);
}

static void set_va(GError **error, ErrorClass cls, int err, const char *format, va_list args)
{
    g_autofree char *what = NULL;

    if (!error)
        return;
    what = g_strdup_vprintf(format, args);
    if (err)
        g_set_error(error, ERROR_DOMAIN, (int)cls, "%s: %s", what, g_strerror(err));
    else
        g_set_error_literal(error, ERROR_DOMAIN, (int)cls, what);
}

gboolean error_set(GError **error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    set_va(error, ERROR_GENERIC, 0, format, args);
    va_end(args);
    return FALSE;
}

gboolean error_set_class(GError **error, ErrorClass cls, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    set_va(error, cls, 0, format, args);
    va_end(args);
    return FALSE;
}

gboolean error_set_errno(GError **error, int err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    set_va(error, ERROR_GENERIC, err, format, args);
    va_end(args);
    return FALSE;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz-framer.c - any stream in any chunks. The first byte chooses the chunks' size; the outcome
 * must be the same as in one piece, and a document that the strict reader accepts must come through
 * whole.
 */
#include "common/error.h"
#include "qmp/framer.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

static void drain(Framer *f, GString *out)
{
    for (;;) {
        g_autoptr(GError) error = NULL;
        const char *text;
        gsize len;
        FramerResult result = framer_take(f, &text, &len, &error);

        if (result == FRAMER_MORE)
            return;
        if (result == FRAMER_MESSAGE) {
            g_assert_true(len >= 2 && text[0] == '{' && text[len - 1] == '}');
            g_string_append_len(out, text, (gssize)len);
        } else {
            g_assert_cmpuint(strlen(error->message), <, 300);
            g_string_append(out, error->message);
        }
        g_string_append_c(out, '\n');
    }
}

static GString *run(const char *data, gsize size, gsize chunk)
{
    JsonLimits limits = { 0, 16, 50 };
    GString *out = g_string_new(NULL);
    Framer *f = framer_new(&limits);

    for (gsize i = 0; i < size; i += chunk) {
        framer_feed(f, data + i, MIN(chunk, size - i));
        drain(f, out);
    }
    g_assert_cmpuint(framer_position(f), ==, size);
    framer_free(f);
    return out;
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    const char *text = (const char *)data + 1;
    g_autoptr(GString) whole = NULL, pieces = NULL;
    g_autoptr(JsonDoc) doc = NULL;
    JsonLimits limits = { 0, 16, 50 };

    if (size < 2)
        return 0;
    whole = run(text, size - 1, size);
    pieces = run(text, size - 1, 1 + data[0] % 32);
    g_assert_true(g_string_equal(whole, pieces));
    doc = json_doc_parse_static(text, size - 1, &limits, NULL);
    if (doc && json_kind(json_doc_root(doc)) == JSON_KIND_OBJECT) {
        gsize len;
        const char *raw = json_raw(json_doc_root(doc), &len);

        g_assert_cmpuint(whole->len, ==, len + 1);
        g_assert_cmpint(memcmp(whole->str, raw, len), ==, 0);
    }
    return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz-decoders.c - libFuzzer target for the generated decoders: the first byte chooses a type, the
 * rest is JSON. What is accepted must encode to text that is accepted again and encodes to the same
 * text; what is refused has a message.
 */
#include <string.h>

#include "common/error.h"
#include "schema/generated/qmp-types.h"

static const CodecType *const targets[] = {
    &machine_config_codec, /* device_add, object-add and chardev-add in one */
    &chardev_add_arguments_codec,
    &schema_info_codec, /* the widest union */
    &machine_config_info_codec,
    &memory_device_info_codec,
    &cpu_info_fast_codec,
    &status_info_codec,
    &memdev_codec,
};

/* NULL: refused. */
static char *round_trip(const CodecType *type, const char *text, gsize len)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonDoc) doc = json_doc_parse(text, len, &json_limits_default, &error);
    gpointer value;
    char *again;

    if (!doc)
        return NULL;
    value = codec_decode_new(type, json_doc_root(doc), &error);
    if (!value) {
        g_assert_nonnull(error);
        g_assert_cmpuint(strlen(error->message), >, 0);
        g_assert_true(g_utf8_validate(error->message, -1, NULL));
        return NULL;
    }
    g_assert_no_error(error);
    again = codec_encode_text(type, value);
    codec_free(type, value);
    return again;
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    g_autofree char *first = NULL, *second = NULL;
    const CodecType *type;

    if (size == 0)
        return 0;
    type = targets[data[0] % G_N_ELEMENTS(targets)];
    first = round_trip(type, (const char *)data + 1, size - 1);
    if (!first)
        return 0;
    second = round_trip(type, first, strlen(first));
    g_assert_cmpstr(first, ==, second);
    return 0;
}

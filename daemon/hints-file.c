/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hints-file.c - the envelope of a compat-hints file, out and in. See hints-file.h.
 *
 * The hard part is what a damaged or hostile file may cost: an error that says what is wrong with it, and never more time or memory than
 * its size. So lengths are checked before hashes, hashes before contents, and contents are GVariants, which are read in place, after
 * one check of their normal form.
 */
#include "config.h"
#include "hints-file.h"

#include "../common/error.h"
#include "../common/util.h"

#define MAGIC "\x89" "BPHINT\n"
#define ENVELOPE_VERSION 1
#define OLDEST_READER 1
#define HEADER 72
#define PRODUCER_AT 24
#define PRODUCER 48
#define ENTRY 112
#define NAME 24
#define TYPE 40
#define DIGEST 32

/* ---- life ---- */

static void section_free(HintsSection *section)
{
    g_free(section->name);
    g_free(section->type);
    g_clear_pointer(&section->content, g_variant_unref);
    g_free(section);
}

HintsFile *hints_file_new(void)
{
    HintsFile *file = g_new0(HintsFile, 1);

    file->version = ENVELOPE_VERSION;
    file->producer = g_strdup("backplaned " PACKAGE_VERSION);
    file->sections = g_ptr_array_new_with_free_func((GDestroyNotify)section_free);
    return file;
}

void hints_file_free(HintsFile *file)
{
    if (!file)
        return;
    g_ptr_array_unref(file->sections);
    g_free(file->producer);
    g_free(file);
}

static void add(HintsFile *file, const char *name, const char *type, GVariant *content)
{
    HintsSection *section = g_new0(HintsSection, 1);

    section->name = g_strdup(name);
    section->type = g_strdup(type);
    section->content = content ? g_variant_ref_sink(content) : NULL;
    g_ptr_array_add(file->sections, section);
}

void hints_file_add(HintsFile *file, const char *name, GVariant *content)
{
    g_assert(strlen(name) < NAME && strlen(g_variant_get_type_string(content)) < TYPE && file->sections->len < HINTS_MAX_SECTIONS);
    add(file, name, g_variant_get_type_string(content), content);
}

GVariant *hints_file_section(const HintsFile *file, const char *name, const char *type, GError **error)
{
    for (guint i = 0; i < file->sections->len; i++) {
        const HintsSection *section = g_ptr_array_index(file->sections, i);
        if (strcmp(section->name, name) != 0)
            continue;
        if (section->content && strcmp(section->type, type) == 0)
            return section->content;
        error_set(error, "section '%s' has type '%s', and this build reads '%s'", name, section->type, type);
        return NULL;
    }
    return NULL;
}

/* ---- out ---- */

static void digest(const guint8 *data, gsize len, guint8 out[DIGEST])
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    gsize n = DIGEST;

    g_checksum_update(sum, data, (gssize)len);
    g_checksum_get_digest(sum, out, &n);
}

static gsize align8(gsize n)
{
    return (n + 7) & ~(gsize)7;
}

static void put_header(guint8 *to, const HintsFile *file, gsize total)
{
    memcpy(to, MAGIC, 8);
    le16_put(to + 8, ENVELOPE_VERSION);
    le16_put(to + 10, OLDEST_READER);
    le32_put(to + 12, file->sections->len);
    le64_put(to + 16, total);
    g_strlcpy((char *)to + PRODUCER_AT, file->producer, PRODUCER);
}

static void put_section(guint8 *base, guint8 *entry, const HintsSection *section, gsize at)
{
    gsize n = g_variant_get_size(section->content);

    g_strlcpy((char *)entry, section->name, NAME);
    g_strlcpy((char *)entry + NAME, section->type, TYPE);
    le64_put(entry + NAME + TYPE, at);
    le64_put(entry + NAME + TYPE + 8, n);
    if (n > 0)
        g_variant_store(section->content, base + at);
    digest(base + at, n, entry + NAME + TYPE + 16);
}

GBytes *hints_file_encode(const HintsFile *file)
{
    gsize at = HEADER + (gsize)ENTRY * file->sections->len, total = at;

    for (guint i = 0; i < file->sections->len; i++)
        total = align8(total) + g_variant_get_size(((const HintsSection *)g_ptr_array_index(file->sections, i))->content);
    guint8 *data = g_malloc0(total + DIGEST);
    put_header(data, file, total + DIGEST);
    for (guint i = 0; i < file->sections->len; i++) {
        const HintsSection *section = g_ptr_array_index(file->sections, i);
        at = align8(at);
        put_section(data, data + HEADER + (gsize)ENTRY * i, section, at);
        at += g_variant_get_size(section->content);
    }
    digest(data, total, data + total);
    return g_bytes_new_take(data, total + DIGEST);
}

/* ---- in ---- */

static gboolean check_whole(const guint8 *data, gsize len, GError **error)
{
    guint8 sum[DIGEST];

    if (len > HINTS_MAX_BYTES)
        return error_set(error, "%zu bytes, and compat hints have at most %u", len, HINTS_MAX_BYTES);
    if (len < 8 || memcmp(data, MAGIC, 8) != 0)
        return error_set(error, "these are not compat hints: the first bytes are others");
    if (len < HEADER + DIGEST || le64_get(data + 16) != len)
        return error_set(error, "truncated or extended: there are %zu bytes, and it says %" G_GUINT64_FORMAT, len,
                         len < HEADER ? (guint64)HEADER + DIGEST : le64_get(data + 16));
    digest(data, len - DIGEST, sum);
    return memcmp(sum, data + len - DIGEST, DIGEST) == 0 || error_set(error, "damaged: its SHA-256 is not the one that it says");
}

/* A NUL-padded name of N bytes, printable. */
static char *get_text(const guint8 *at, gsize n, GError **error)
{
    gsize len = 0;

    while (len < n && at[len] >= ' ' && at[len] < 0x7f)
        len++;
    if (len > 0 && len < n && at[len] == 0)
        return g_strdup((const char *)at);
    g_autofree char *given = error_quote((const char *)at, (gssize)n);
    error_set(error, "a name in its table of sections is none: '%s'", given);
    return NULL;
}

static gboolean has_section(const HintsFile *file, const char *name)
{
    for (guint i = 0; i < file->sections->len; i++) {
        if (strcmp(((const HintsSection *)g_ptr_array_index(file->sections, i))->name, name) == 0)
            return TRUE;
    }
    return FALSE;
}

static gboolean is_content_type(const char *type)
{
    return g_variant_type_string_is_valid(type) && g_variant_type_is_definite((const GVariantType *)type);
}

static gboolean read_section(HintsFile *file, GBytes *bytes, const guint8 *entry, gsize *from, GError **error)
{
    const guint8 *data = g_bytes_get_data(bytes, NULL);
    gsize end = g_bytes_get_size(bytes) - DIGEST;
    g_autofree char *name = get_text(entry, NAME, error), *type = name ? get_text(entry + NAME, TYPE, error) : NULL;
    guint64 at = le64_get(entry + NAME + TYPE), n = le64_get(entry + NAME + TYPE + 8);
    guint8 sum[DIGEST];

    if (!type)
        return FALSE;
    if (has_section(file, name))
        return error_set(error, "there are two sections '%s'", name);
    if (at % 8 || at < *from || !range_within(at, n, end))
        return error_set(error, "section '%s' at %" G_GUINT64_FORMAT " with %" G_GUINT64_FORMAT " bytes is not between %zu and %zu", name, at,
                         n, *from, end);
    digest(data + at, n, sum);
    if (memcmp(sum, entry + NAME + TYPE + 16, DIGEST) != 0)
        return error_set(error, "section '%s' is damaged: its SHA-256 is not the one that the table says", name);
    *from = at + n;
    if (!is_content_type(type)) {
        add(file, name, type, NULL);
        return TRUE;
    }
    g_autoptr(GBytes) part = g_bytes_new_from_bytes(bytes, at, n);
    g_autoptr(GVariant) content = g_variant_ref_sink(g_variant_new_from_bytes((const GVariantType *)type, part, FALSE));
    if (!g_variant_is_normal_form(content))
        return error_set(error, "section '%s' is not a '%s' in normal form", name, type);
    add(file, name, type, content);
    return TRUE;
}

static gboolean read_sections(HintsFile *file, GBytes *bytes, GError **error)
{
    gsize len;
    const guint8 *data = g_bytes_get_data(bytes, &len);
    guint n = le32_get(data + 12), oldest = le16_get(data + 10);
    gsize from = HEADER + (gsize)ENTRY * n;

    if (oldest > ENVELOPE_VERSION)
        return error_set(error, "it is for readers of version %u or later, and this build reads version %u", oldest, ENVELOPE_VERSION);
    if (n > HINTS_MAX_SECTIONS || from > len - DIGEST)
        return error_set(error, "%u sections, and there can be %u, within %zu bytes", n, HINTS_MAX_SECTIONS, len);
    for (guint i = 0; i < n; i++) {
        if (!read_section(file, bytes, data + HEADER + (gsize)ENTRY * i, &from, error))
            return FALSE;
    }
    return TRUE;
}

HintsFile *hints_file_decode(GBytes *bytes, GError **error)
{
    gsize len;
    const guint8 *data = g_bytes_get_data(bytes, &len);

    if (!check_whole(data, len, error))
        return NULL;
    g_autoptr(HintsFile) file = hints_file_new();
    g_free(file->producer);
    file->version = le16_get(data + 8);
    file->producer = error_quote((const char *)data + PRODUCER_AT, (gssize)strnlen((const char *)data + PRODUCER_AT, PRODUCER));
    return read_sections(file, bytes, error) ? g_steal_pointer(&file) : NULL;
}

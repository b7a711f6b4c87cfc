/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-hints-file.c - the envelope of compat hints: what goes in comes out, the same file is the same bytes, and whatever is done to the bytes is
 * found: cut at each one, changed in each bit, with checksums that are right again too.
 */
#include "../../daemon/hints-file.h"
#include "hints-bytes.h"

static GVariant *numbers(guint n)
{
    GVariantBuilder b;

    g_variant_builder_init(&b, G_VARIANT_TYPE("a(su)"));
    for (guint i = 0; i < n; i++)
        g_variant_builder_add(&b, "(su)", "name", i);
    return g_variant_builder_end(&b);
}

/* Three sections, one of them empty, one whose size is not a multiple of 8. */
static GBytes *sample(void)
{
    g_autoptr(HintsFile) file = hints_file_new();

    hints_file_add(file, "numbers", numbers(5));
    hints_file_add(file, "nothing", g_variant_new_array(G_VARIANT_TYPE_STRING, NULL, 0));
    hints_file_add(file, "text", g_variant_new_string("what a guest saw"));
    return hints_file_encode(file);
}

/* DATA is refused, and what is said has FRAGMENT. */
static void refuse(gconstpointer data, gsize len, const char *fragment)
{
    g_autoptr(GBytes) bytes = g_bytes_new(data, len);
    g_autoptr(GError) error = NULL;

    g_assert_null(hints_file_decode(bytes, &error));
    g_assert_nonnull(error);
    g_assert_cmpuint(strlen(error->message), <, 800);
    if (!strstr(error->message, fragment))
        g_error("'%s' is not in '%s'", fragment, error->message);
}

/* Whatever becomes of DATA: an error or a file, and a file is written again as what it says. */
static gboolean survive(gconstpointer data, gsize len)
{
    g_autoptr(GBytes) bytes = g_bytes_new(data, len);
    g_autoptr(GError) error = NULL;
    g_autoptr(HintsFile) file = hints_file_decode(bytes, &error);

    g_assert_true(!file == (error != NULL));
    for (guint i = 0; file && i < file->sections->len; i++) {
        const HintsSection *section = g_ptr_array_index(file->sections, i);
        g_autofree char *text = section->content ? g_variant_print(section->content, TRUE) : NULL;
        g_assert_true(!section->content || text[0]);
    }
    return file != NULL;
}

/* ---- out and in ---- */

static void test_round(void)
{
    g_autoptr(GBytes) bytes = sample();
    g_autoptr(GError) error = NULL;
    g_autoptr(HintsFile) file = hints_file_decode(bytes, &error);

    g_assert_no_error(error);
    g_assert_cmpuint(file->version, ==, 1);
    g_assert_true(g_str_has_prefix(file->producer, "backplaned "));
    g_assert_cmpuint(file->sections->len, ==, 3);
    GVariant *content = hints_file_section(file, "numbers", "a(su)", &error);
    g_assert_cmpuint(g_variant_n_children(content), ==, 5);
    g_assert_cmpuint(g_variant_n_children(hints_file_section(file, "nothing", "as", &error)), ==, 0);
    g_assert_cmpstr(g_variant_get_string(hints_file_section(file, "text", "s", &error), NULL), ==, "what a guest saw");
    g_assert_null(hints_file_section(file, "absent", "s", &error));
    g_assert_no_error(error);
    g_assert_null(hints_file_section(file, "text", "as", &error));
    g_assert_cmpstr(error->message, ==, "section 'text' has type 's', and this build reads 'as'");
}

static void test_deterministic(void)
{
    g_autoptr(GBytes) one = sample(), two = sample();
    g_autoptr(HintsFile) file = hints_file_decode(one, NULL);
    g_autoptr(GBytes) again = hints_file_encode(file);

    g_assert_true(g_bytes_equal(one, two));
    g_assert_true(g_bytes_equal(one, again)); /* sections stay in their order */
}

/* The layout is for ever: these are the bytes of a file with one section, by hand. */
static void test_layout(void)
{
    g_autoptr(HintsFile) file = hints_file_new();
    guint8 want[HB_HEADER + HB_ENTRY + 8 + HB_DIGEST] = "\x89" "BPHINT\n";

    hints_file_add(file, "t", g_variant_new_string("abc"));
    g_autoptr(GBytes) bytes = hints_file_encode(file);
    le16_put(want + HB_VERSION, 1);
    le16_put(want + HB_OLDEST, 1);
    le32_put(want + HB_SECTIONS, 1);
    strcpy((char *)want + HB_PRODUCER, file->producer);
    strcpy((char *)hb_entry(want, 0) + HB_NAME, "t");
    strcpy((char *)hb_entry(want, 0) + HB_TYPE, "s");
    le64_put(hb_entry(want, 0) + HB_OFFSET, HB_HEADER + HB_ENTRY);
    le64_put(hb_entry(want, 0) + HB_SIZE, 4);
    memcpy(want + HB_HEADER + HB_ENTRY, "abc", 4);
    gsize len = HB_HEADER + HB_ENTRY + 4 + HB_DIGEST;
    hb_seal(want, len);
    gsize n;
    gconstpointer data = g_bytes_get_data(bytes, &n);
    g_assert_cmpmem(data, n, want, len);
}

static void test_empty(void)
{
    g_autoptr(HintsFile) file = hints_file_new();
    g_autoptr(GBytes) bytes = hints_file_encode(file);
    g_autoptr(HintsFile) back = hints_file_decode(bytes, NULL);

    g_assert_cmpuint(g_bytes_get_size(bytes), ==, HB_HEADER + HB_DIGEST);
    g_assert_cmpuint(back->sections->len, ==, 0);
}

/* ---- damage ---- */

static void test_cut(void)
{
    g_autoptr(GBytes) bytes = sample();
    gsize len;
    g_autofree guint8 *data = hb_copy(bytes, &len);

    for (gsize n = 0; n < len; n++) {
        g_autofree guint8 *part = g_memdup2(data, MAX(n, 1)); /* on its own, for a sanitizer to see its end */
        refuse(part, n, n < 8 ? "not compat hints" : "truncated");
        hb_seal(part, n);
        (void)survive(part, n);
    }
    g_autofree guint8 *more = g_malloc0(len + 1);
    memcpy(more, data, len);
    refuse(more, len + 1, "extended");
}

static void test_flip(void)
{
    g_autoptr(GBytes) bytes = sample();
    gsize len;
    g_autofree guint8 *data = hb_copy(bytes, &len), *sealed = g_malloc(len);
    guint accepted = 0;

    for (gsize bit = 0; bit < len * 8; bit++) {
        data[bit / 8] ^= (guint8)(1u << bit % 8);
        refuse(data, len, "");
        memcpy(sealed, data, len);
        hb_seal(sealed, len);
        accepted += survive(sealed, len); /* a name of another spelling, say, is as good */
        data[bit / 8] ^= (guint8)(1u << bit % 8);
    }
    g_assert_cmpuint(accepted, >, 0); /* else nothing got past the checksums */
    g_assert_true(survive(data, len));
}

/* ---- what a table may not say ---- */

/* Writes N bytes of VALUE at AT of a sample, seals it, and it is refused so. */
static void refuse_with(gsize at, gconstpointer value, gsize n, const char *fragment)
{
    g_autoptr(GBytes) bytes = sample();
    gsize len;
    g_autofree guint8 *data = hb_copy(bytes, &len);

    memcpy(data + at, value, n);
    hb_seal(data, len);
    refuse(data, len, fragment);
}

static void refuse_number(gsize at, gsize n, guint64 value, const char *fragment)
{
    guint8 bytes[8];

    le64_put(bytes, value);
    refuse_with(at, bytes, n, fragment);
}

static gsize entry_at(guint i, gsize field)
{
    return HB_HEADER + HB_ENTRY * i + field;
}

static void test_reader(void)
{
    g_autoptr(GBytes) bytes = sample();
    gsize len;
    g_autofree guint8 *data = hb_copy(bytes, &len);

    refuse_number(HB_OLDEST, 2, 2, "for readers of version 2 or later, and this build reads version 1");
    refuse_number(HB_OLDEST, 2, 0xffff, "for readers of version 65535");
    le16_put(data + HB_VERSION, 9); /* a newer one that we can read */
    hb_seal(data, len);
    g_autoptr(GBytes) newer = g_bytes_new(data, len);
    g_autoptr(HintsFile) file = hints_file_decode(newer, NULL);
    g_assert_cmpuint(file->version, ==, 9);
    /* Its table stays readable even if the sections are none of ours. */
    memset(hb_entry(data, 0) + HB_TYPE, 0, 40);
    strcpy((char *)hb_entry(data, 0) + HB_TYPE, "{a new kind of thing}");
    hb_seal(data, len);
    g_autoptr(GBytes) strange = g_bytes_new(data, len);
    g_autoptr(HintsFile) other = hints_file_decode(strange, NULL);
    g_autoptr(GError) error = NULL;
    g_assert_nonnull(other);
    g_assert_null(hints_file_section(other, "numbers", "a(su)", &error));
    g_assert_cmpstr(error->message, ==, "section 'numbers' has type '{a new kind of thing}', and this build reads 'a(su)'");
}

static void test_table(void)
{
    static const char unprintable[24] = "a\nb", long_name[24] = "123456789012345678901234";

    refuse_number(HB_SECTIONS, 4, 65, "65 sections, and there can be 64");
    refuse_number(HB_SECTIONS, 4, G_MAXUINT32, "4294967295 sections");
    refuse_number(HB_SECTIONS, 4, 60, "60 sections"); /* more than there is room for */
    refuse_number(entry_at(1, HB_OFFSET), 8, 0, "section 'nothing' at 0");
    refuse_number(entry_at(0, HB_OFFSET), 8, HB_HEADER, "section 'numbers' at 72"); /* in the table itself */
    refuse_number(entry_at(2, HB_OFFSET), 8, G_MAXUINT64 - 7, "section 'text' at 18446744073709551608");
    refuse_number(entry_at(2, HB_SIZE), 8, G_MAXUINT64, "section 'text'");
    refuse_number(entry_at(0, HB_SIZE), 8, 1 << 20, "section 'numbers'");
    refuse_with(entry_at(0, HB_NAME), "", 1, "name");
    refuse_with(entry_at(0, HB_NAME), long_name, 24, "name"); /* without an end */
    refuse_with(entry_at(0, HB_NAME), unprintable, 24, "a\\nb");
    refuse_with(entry_at(0, HB_NAME), "\xff", 1, "name");
    refuse_with(entry_at(0, HB_TYPE), "", 1, "name");
    refuse_with(entry_at(2, HB_NAME), "numbers", 8, "two sections 'numbers'");
    refuse_with(entry_at(0, HB_TYPE), "as\0\0\0\0\0", 8, "not a 'as' in normal form");
}

/* Sections follow each other: none is in another, and none goes back. */
static void test_order(void)
{
    g_autoptr(GBytes) bytes = sample();
    gsize len;
    g_autofree guint8 *data = hb_copy(bytes, &len);
    guint8 first[HB_ENTRY];

    memcpy(first, hb_entry(data, 0), HB_ENTRY);
    memcpy(hb_entry(data, 0), hb_entry(data, 2), HB_ENTRY);
    memcpy(hb_entry(data, 2), first, HB_ENTRY);
    hb_seal(data, len);
    refuse(data, len, "section 'nothing' at");
    memcpy(hb_entry(data, 0), first, HB_ENTRY);
    le64_put(hb_entry(data, 2) + HB_OFFSET, le64_get(first + HB_OFFSET));
    strcpy((char *)hb_entry(data, 2) + HB_NAME, "again");
    hb_seal(data, len);
    refuse(data, len, "section 'again' at");
}

/* ---- limits ---- */

static void test_sections(void)
{
    g_autoptr(HintsFile) file = hints_file_new();

    for (guint i = 0; i < HINTS_MAX_SECTIONS; i++) {
        g_autofree char *name = g_strdup_printf("section%u", i);
        hints_file_add(file, name, g_variant_new_uint32(i));
    }
    g_autoptr(GBytes) bytes = hints_file_encode(file);
    g_autoptr(HintsFile) back = hints_file_decode(bytes, NULL);
    g_assert_cmpuint(back->sections->len, ==, 64);
}

static void test_size(void)
{
    gsize overhead = HB_HEADER + HB_ENTRY + HB_DIGEST;
    g_autofree guint8 *big = g_malloc0(HINTS_MAX_BYTES + 1);

    for (guint more = 0; more < 2; more++) {
        g_autoptr(HintsFile) file = hints_file_new();
        hints_file_add(file, "big", g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, big, HINTS_MAX_BYTES - overhead + more, 1));
        g_autoptr(GBytes) bytes = hints_file_encode(file);
        gsize len;
        gconstpointer data = g_bytes_get_data(bytes, &len);
        g_assert_cmpuint(len, ==, HINTS_MAX_BYTES + more);
        if (more)
            refuse(data, len, "16777217 bytes, and compat hints have at most 16777216");
        else
            g_assert_true(survive(data, len));
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/hints-file/round", test_round);
    g_test_add_func("/hints-file/deterministic", test_deterministic);
    g_test_add_func("/hints-file/layout", test_layout);
    g_test_add_func("/hints-file/empty", test_empty);
    g_test_add_func("/hints-file/cut", test_cut);
    g_test_add_func("/hints-file/flip", test_flip);
    g_test_add_func("/hints-file/reader", test_reader);
    g_test_add_func("/hints-file/table", test_table);
    g_test_add_func("/hints-file/order", test_order);
    g_test_add_func("/hints-file/limits/sections", test_sections);
    g_test_add_func("/hints-file/limits/size", test_size);
    return g_test_run();
}

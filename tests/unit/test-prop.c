/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-prop.c - property bags: what the decoder takes and refuses, by name and with both values, and that what
 * a manager said comes out again as it was said. The table is the test's own, one row a kind.
 */
#include "../../common/error.h"
#include "../../common/prop.h"

#define U64_MAX_TEXT "18446744073709551615"

typedef struct {
    gboolean flag;
    guint8   u8;
    guint16  u16;
    guint32  u32;
    guint64  u64;
    guint64  size;
    int      colour;
    char    *name;
    char    *link;
    GBytes  *bytes;
    guint32  hidden;
    guint32  computed;
    guint8   dozen;
} GadgetConfig;

static const char *const colours[] = { "red", "green", "blue", NULL };

#define ROW(name_, KIND, field, ...) \
    { .name = name_, .doc = "", .kind = PROP_##KIND, .offset = G_STRUCT_OFFSET(GadgetConfig, field), .since = "0.1", __VA_ARGS__ }

static const PropDesc gadget_rows[] = {
    ROW("flag", BOOL, flag, .max = 1, .has_default = TRUE, .def.u = 1),
    ROW("u8", U8, u8, .max = G_MAXUINT8),
    ROW("u16", U16, u16, .max = G_MAXUINT16),
    ROW("u32", U32, u32, .max = G_MAXUINT32),
    ROW("u64", U64, u64, .max = G_MAXUINT64),
    ROW("size", SIZE, size, .min = 4096, .max = 8192, .has_default = TRUE, .def.u = 4096),
    ROW("colour", ENUM, colour, .enum_names = colours, .has_default = TRUE, .def.u = 2),
    ROW("name", STRING, name, .min = 2, .max = 5, .has_default = TRUE, .def.s = "ann"),
    ROW("link", LINK, link, .max = 127, .link_to = "chardev"),
    ROW("bytes", BYTES, bytes, .max = 4),
    ROW("hidden", U32, hidden, .max = 9, .flags = PROP_INTERNAL),
    ROW("computed", U32, computed, .max = 9, .flags = PROP_AUTO, .has_default = TRUE, .def.u = 3),
    ROW("dozen", U8, dozen, .min = 12, .max = 12),
};
enum { FLAG, U8, U16, U32, U64, SIZE, COLOUR, NAME, LINK, BYTES, HIDDEN, COMPUTED, DOZEN };

static const PropDesc needy_rows[] = {
    ROW("u8", U8, u8, .max = 1, .flags = PROP_REQUIRED),
};

#define TABLE(name_, plug_, rows_, ...)                                                                      \
    { .name = name_, .doc = "", .since = "0.1", .plug = PLUG_##plug_, .rows = rows_, .n_rows = G_N_ELEMENTS(rows_), \
      .config_size = sizeof(GadgetConfig), __VA_ARGS__ }
static const PropTable gadget = TABLE("gadget", ISA, gadget_rows);
static const PropTable needy = TABLE("needy", OBJECT, needy_rows);
static const PropTable talker = TABLE("talker", CHARDEV, needy_rows);
static const PropTable base_type = TABLE("base", ISA, needy_rows, .flags = TYPE_ABSTRACT);
const PropTable *const prop_tables[] = { &base_type, &gadget, &needy, &talker };
const guint prop_n_tables = G_N_ELEMENTS(prop_tables);

static PropBag *decode_as(const char *discriminator, const char *json, GError **error)
{
    g_autoptr(JsonDoc) doc = json_doc_parse(json, strlen(json), &json_limits_default, NULL);

    g_assert_nonnull(doc);
    return prop_bag_decode(json_doc_root(doc), discriminator, error);
}

static PropBag *decode(const char *members)
{
    g_autofree char *json = g_strdup_printf("{\"driver\":\"gadget\"%s%s}", *members ? "," : "", members);
    g_autoptr(GError) error = NULL;
    PropBag *bag = decode_as("driver", json, &error);

    g_assert_no_error(error);
    return bag;
}

/* The message holds each of the texts, and not more of the input than 200 bytes. */
static void assert_says(const GError *error, const char *a, const char *b, const char *c)
{
    g_assert_nonnull(error);
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, a));
    g_assert_nonnull(strstr(error->message, b));
    g_assert_nonnull(strstr(error->message, c));
    g_assert_cmpuint(strlen(error->message), <, 200 + 150);
    g_assert_cmpstr(error_class_name(error), ==, "GenericError");
}

static void refuse(const char *members, const char *property, const char *given, const char *allowed)
{
    g_autofree char *json = g_strdup_printf("{\"driver\":\"gadget\",%s}", members);
    g_autoptr(GError) error = NULL;

    g_assert_null(decode_as("driver", json, &error));
    assert_says(error, property, given, allowed);
}

/* ---- numbers ---- */

static void test_number_borders(void)
{
    static const struct {
        const char *name;
        guint       row;
        const char *min, *max, *below, *above;
        guint64     min_value, max_value;
    } cases[] = {
        { "u8", U8, "0", "255", "-1", "256", 0, 255 },
        { "u16", U16, "0", "65535", "-1", "65536", 0, 65535 },
        { "u32", U32, "0", "4294967295", "-1", "4294967296", 0, G_MAXUINT32 },
        { "u64", U64, "0", U64_MAX_TEXT, "-9223372036854775808", "18446744073709551616", 0, G_MAXUINT64 },
        { "size", SIZE, "4096", "8192", "4095", "8193", 4096, 8192 },
        { "dozen", DOZEN, "12", "12", "11", "13", 12, 12 },
    };

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        const char *texts[] = { cases[i].min, cases[i].max };
        const guint64 values[] = { cases[i].min_value, cases[i].max_value };
        for (guint j = 0; j < 2; j++) {
            g_autofree char *member = g_strdup_printf("\"%s\":%s", cases[i].name, texts[j]);
            g_autoptr(PropBag) bag = decode(member);
            g_assert_cmpuint(prop_bag_get_u(bag, cases[i].row), ==, values[j]);
            g_assert_cmpint(prop_bag_origin(bag, cases[i].name), ==, ORIGIN_CONFIG);
        }
        const char *bad[] = { cases[i].below, cases[i].above };
        for (guint j = 0; j < 2; j++) {
            g_autofree char *member = g_strdup_printf("\"%s\":%s", cases[i].name, bad[j]);
            refuse(member, cases[i].name, bad[j], j ? cases[i].max : cases[i].min);
        }
    }
}

static void test_number_forms(void)
{
    static const char *const bad[] = { "1.5", "1.0", "1e1", "-1.5", "99999999999999999999999999", "1e400", "true", "null",
                                       "\"1\"", "[1]", "{\"a\":1}" };

    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *member = g_strdup_printf("\"u64\":%s", bad[i]);
        refuse(member, "u64", bad[i], "uint64");
    }
}

/* ---- the other kinds ---- */

static void test_bool(void)
{
    g_autoptr(PropBag) no = decode("\"flag\":false");
    g_autoptr(PropBag) yes = decode("\"flag\":true");

    g_assert_false(prop_bag_get_u(no, FLAG));
    g_assert_true(prop_bag_get_u(yes, FLAG));
    refuse("\"flag\":1", "flag", "1", "boolean");
    refuse("\"flag\":\"on\"", "flag", "on", "boolean");
}

static void test_enum(void)
{
    for (guint i = 0; colours[i]; i++) {
        g_autofree char *member = g_strdup_printf("\"colour\":\"%s\"", colours[i]);
        g_autoptr(PropBag) bag = decode(member);
        g_assert_cmpuint(prop_bag_get_u(bag, COLOUR), ==, i);
    }
    refuse("\"colour\":\"Red\"", "gadget.colour", "Red", "red, green, blue");
    refuse("\"colour\":\"\"", "gadget.colour", "''", "red, green, blue");
    refuse("\"colour\":0", "colour", "got 0", "string");
}

static void test_strings(void)
{
    g_autoptr(PropBag) shortest = decode("\"name\":\"ab\"");
    g_autoptr(PropBag) longest = decode("\"name\":\"\\u00e4bcd\""); /* five bytes */
    g_autofree char *huge = g_strnfill(5000, 'x');
    g_autofree char *member = g_strdup_printf("\"name\":\"%s\"", huge);

    g_assert_cmpstr(prop_bag_get_s(shortest, NAME), ==, "ab");
    g_assert_cmpstr(prop_bag_get_s(longest, NAME), ==, "\303\244bcd");
    refuse("\"name\":\"a\"", "gadget.name", "'a' (1 bytes)", "2 to 5");
    refuse("\"name\":\"abcdef\"", "gadget.name", "'abcdef' (6 bytes)", "2 to 5");
    refuse("\"name\":\"\\u00e4\\u00e4\\u00e4\"", "gadget.name", "(6 bytes)", "2 to 5");
    refuse("\"name\":\"ab\\u0000\"", "name", "ab", "string");
    refuse("\"name\":7", "name", "7", "string");
    refuse(member, "gadget.name", "(5000 bytes)", "2 to 5");
}

static void test_link(void)
{
    g_autoptr(PropBag) bag = decode("\"link\":\"chr0\"");

    g_assert_cmpstr(prop_bag_get_s(bag, LINK), ==, "chr0");
    refuse("\"link\":[]", "link", "[]", "string");
}

static void test_bytes(void)
{
    static const char *const bad[] = { "A", "AA", "AAA", "====", "A===", "AB=C", "AA==AAAA", "AA A", "A-_A" };
    g_autoptr(PropBag) full = decode("\"bytes\":\"/+8BAg==\"");
    g_autoptr(PropBag) empty = decode("\"bytes\":\"\"");
    gsize n;
    const guint8 *raw = g_bytes_get_data(prop_bag_get_bytes(full, BYTES), &n);

    g_assert_cmpmem(raw, n, "\xff\xef\x01\x02", 4);
    g_assert_cmpuint(g_bytes_get_size(prop_bag_get_bytes(empty, BYTES)), ==, 0);
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *member = g_strdup_printf("\"bytes\":\"%s\"", bad[i]);
        refuse(member, "bytes", bad[i], "base64");
    }
    refuse("\"bytes\":\"AAAAAAA=\"", "gadget.bytes", "(5 bytes)", "0 to 4"); /* the limit is of the bytes, not of their text */
}

/* ---- whole commands ---- */

static void test_unknown_and_internal(void)
{
    g_autofree char *huge = g_strnfill(3000, 'y');
    g_autofree char *member = g_strdup_printf("\"%s\":1", huge);

    refuse("\"colours\":1", "gadget", "colours", "not found");
    refuse("\"hidden\":1", "gadget", "hidden", "not found");
    refuse("\"\":1", "gadget", "gadget.", "not found");
    refuse(member, "gadget", "yyy", "not found");
}

static void test_required(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GError) no_id = NULL;

    g_assert_null(decode_as("qom-type", "{\"qom-type\":\"needy\",\"id\":\"a\"}", &error));
    assert_says(error, "u8", "missing", "needy");
    g_assert_null(decode_as("qom-type", "{\"qom-type\":\"needy\",\"u8\":0}", &no_id));
    assert_says(no_id, "id", "missing", "");
    g_autoptr(PropBag) bag = decode_as("qom-type", "{\"u8\":0,\"id\":\"a\",\"qom-type\":\"needy\"}", NULL);
    g_assert_nonnull(bag);
    g_assert_cmpstr(bag->id, ==, "a");
}

static void test_types(void)
{
    static const struct {
        const char *discriminator, *json, *text;
    } cases[] = {
        { "driver", "{}", "driver" },
        { "driver", "{\"driver\":7}", "string" },
        { "driver", "{\"driver\":\"nothing\"}", "nothing" },
        { "driver", "{\"driver\":\"needy\",\"u8\":1}", "needy" },
        { "driver", "{\"driver\":\"talker\",\"u8\":1}", "talker" },
        { "driver", "{\"driver\":\"base\",\"u8\":1}", "base" },
        { "qom-type", "{\"qom-type\":\"gadget\",\"id\":\"a\"}", "gadget" },
        { "qom-type", "{\"qom-type\":\"talker\",\"id\":\"a\",\"u8\":1}", "talker" },
        { "driver", "[]", "object" },
    };

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(decode_as(cases[i].discriminator, cases[i].json, &error));
        assert_says(error, cases[i].discriminator, cases[i].text, "");
    }
}

static void test_ids(void)
{
    g_autofree char *longest = g_strnfill(127, 'a'), *longer = g_strnfill(128, 'a'), *huge = g_strnfill(1000, 'a');
    const char *good[] = { "a", "Z", "a-b_c.d9", longest };
    const char *bad[] = { "", "9a", "-a", "_a", "a b", "a/b", "a\303\244", "#block1", longer, huge };

    for (guint i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autofree char *member = g_strdup_printf("\"id\":\"%s\"", good[i]);
        g_autoptr(PropBag) bag = decode(member);
        g_assert_cmpstr(bag->id, ==, good[i]);
    }
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *member = g_strdup_printf("\"id\":\"%s\"", bad[i]);
        g_assert_false(prop_id_valid(bad[i]));
        refuse(member, "'id'", "got '", "127");
    }
    refuse("\"id\":12", "'id'", "12", "string");
    refuse("\"id\":\"a\\u0000\"", "'id'", "a", "string");
}

/* ---- bags ---- */

#define SAID "\"id\":\"g1\",\"flag\":false,\"u8\":255,\"u64\":" U64_MAX_TEXT ",\"size\":8192,\"colour\":\"green\",\"name\":\"q\\\"\\\\x\",\"link\":\"c\",\"bytes\":\"AQI=\""

static char *said(const PropBag *bag)
{
    GString *text = g_string_new(NULL);
    JsonOut out = JSON_OUT_INIT(text);

    prop_bag_encode_said(bag, "driver", &out);
    return g_string_free(text, FALSE);
}

static void test_round_trip(void)
{
    g_autoptr(PropBag) bag = decode(SAID);
    prop_bag_apply_defaults(bag);
    prop_bag_set_u(bag, "computed", 5, ORIGIN_DEFAULT);
    prop_bag_set_u(bag, "hidden", 5, ORIGIN_HINT);

    g_autofree char *first = said(bag);
    g_assert_cmpstr(first, ==, "{\"driver\":\"gadget\"," SAID "}");
    g_autoptr(PropBag) again = decode_as("driver", first, NULL);
    g_assert_nonnull(again);
    g_autofree char *second = said(again);
    g_assert_cmpstr(first, ==, second);

    g_autoptr(PropBag) nothing = decode("");
    g_autofree char *empty = said(nothing);
    g_assert_cmpstr(empty, ==, "{\"driver\":\"gadget\"}");
}

static void test_canonical(void)
{
    g_autoptr(PropBag) bag = decode(SAID);
    static const char *const wanted[] = {
        [FLAG] = "flag=false", [U8] = "u8=255",          [U16] = "u16=null",
        [U32] = "u32=null",    [U64] = ("u64=" U64_MAX_TEXT), [SIZE] = "size=8192",
        [COLOUR] = "colour=\"green\"", [NAME] = "name=\"q\\\"\\\\x\"", [LINK] = "link=\"c\"", [BYTES] = "bytes=\"AQI=\"",
    };

    for (guint i = 0; i < G_N_ELEMENTS(wanted); i++) {
        g_autoptr(GString) text = g_string_new(NULL);
        prop_bag_canonical(bag, i, text);
        g_assert_cmpstr(text->str, ==, wanted[i]);
    }
}

static void test_defaults_and_origins(void)
{
    g_autoptr(PropBag) bag = decode("\"colour\":\"red\"");

    g_assert_false(prop_bag_is_set(bag, "name"));
    prop_bag_set_s(bag, "name", "hint", ORIGIN_HINT);
    prop_bag_apply_defaults(bag);
    g_assert_cmpint(prop_bag_origin(bag, "colour"), ==, ORIGIN_CONFIG);
    g_assert_cmpuint(prop_bag_get_u(bag, COLOUR), ==, 0);
    g_assert_cmpint(prop_bag_origin(bag, "name"), ==, ORIGIN_HINT);
    g_assert_cmpstr(prop_bag_get_s(bag, NAME), ==, "hint");
    g_assert_cmpint(prop_bag_origin(bag, "flag"), ==, ORIGIN_DEFAULT);
    g_assert_true(prop_bag_get_u(bag, FLAG));
    g_assert_cmpint(prop_bag_origin(bag, "computed"), ==, ORIGIN_UNSET); /* the resolve hook's */
    g_assert_cmpint(prop_bag_origin(bag, "u8"), ==, ORIGIN_UNSET);       /* no default */
    prop_bag_unset(bag, NAME);
    g_assert_false(prop_bag_is_set(bag, "name"));
    g_assert_null(prop_bag_get_s(bag, NAME));
    g_assert_cmpstr(prop_origin_name(ORIGIN_HOST), ==, "host");
    g_assert_cmpstr(prop_origin_name(ORIGIN_UNSET), ==, "unset");
}

static void test_copy(void)
{
    g_autoptr(PropBag) bag = decode(SAID);
    g_autoptr(PropBag) copy = prop_bag_copy(bag);

    prop_bag_set_s(bag, "name", "other", ORIGIN_CONFIG);
    g_clear_pointer(&bag, prop_bag_free);
    g_autofree char *text = said(copy);
    g_assert_cmpstr(text, ==, "{\"driver\":\"gadget\"," SAID "}");
}

/* A row set to its own value: what is stored must not be freed before it is copied. */
static void test_set_to_itself(void)
{
    g_autoptr(PropBag) bag = decode(SAID);

    prop_bag_set_s(bag, "name", prop_bag_get_s(bag, NAME), ORIGIN_HINT);
    g_assert_cmpstr(prop_bag_get_s(bag, NAME), ==, "q\"\\x");
    prop_bag_set_bytes(bag, BYTES, prop_bag_get_bytes(bag, BYTES), ORIGIN_HINT);
    g_assert_cmpuint(g_bytes_get_size(prop_bag_get_bytes(bag, BYTES)), ==, 2);
    prop_bag_set(bag, BYTES, (PropValue){ .s = "AAAA" }, ORIGIN_HINT);
    g_assert_cmpuint(g_bytes_get_size(prop_bag_get_bytes(bag, BYTES)), ==, 3);
}

static void test_tables(void)
{
    g_assert_true(prop_table_find("gadget") == &gadget);
    g_assert_true(prop_table_find("base") == &base_type);
    g_assert_true(prop_table_find("talker") == &talker);
    g_assert_null(prop_table_find(""));
    g_assert_null(prop_table_find("zzz"));
    g_assert_cmpint(prop_table_row(&gadget, "dozen"), ==, DOZEN);
    g_assert_cmpint(prop_table_row(&gadget, "doze"), ==, -1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/prop/number-borders", test_number_borders);
    g_test_add_func("/prop/number-forms", test_number_forms);
    g_test_add_func("/prop/bool", test_bool);
    g_test_add_func("/prop/enum", test_enum);
    g_test_add_func("/prop/strings", test_strings);
    g_test_add_func("/prop/link", test_link);
    g_test_add_func("/prop/bytes", test_bytes);
    g_test_add_func("/prop/unknown-and-internal", test_unknown_and_internal);
    g_test_add_func("/prop/required", test_required);
    g_test_add_func("/prop/types", test_types);
    g_test_add_func("/prop/ids", test_ids);
    g_test_add_func("/prop/round-trip", test_round_trip);
    g_test_add_func("/prop/canonical", test_canonical);
    g_test_add_func("/prop/defaults-and-origins", test_defaults_and_origins);
    g_test_add_func("/prop/copy", test_copy);
    g_test_add_func("/prop/set-to-itself", test_set_to_itself);
    g_test_add_func("/prop/tables", test_tables);
    return g_test_run();
}

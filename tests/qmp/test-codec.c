/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-codec.c - what the generator makes of a schema that uses each construct once
 * (schema-fixture/): decoding, encoding, messages, thunks, events, property tables and
 * introspection, against expectations written by hand.
 */
#include <string.h>

#include "tests/qmp/fixture/devices.h"
#include "tests/qmp/fixture/qmp-commands.h"
#include "tests/qmp/fixture/qmp-events.h"

static JsonDoc *parse(const char *text)
{
    g_autoptr(GError) error = NULL;
    JsonDoc *doc = json_doc_parse(text, strlen(text), &json_limits_default, &error);

    g_assert_no_error(error);
    return doc;
}

static gpointer decode_ok(const CodecType *type, const char *text)
{
    g_autoptr(JsonDoc) doc = parse(text);
    g_autoptr(GError) error = NULL;
    gpointer value = codec_decode_new(type, json_doc_root(doc), &error);

    g_assert_no_error(error);
    g_assert_nonnull(value);
    return value;
}

static void refuse(const CodecType *type, const char *text, const char *message)
{
    g_autoptr(JsonDoc) doc = parse(text);
    g_autoptr(GError) error = NULL;

    g_assert_null(codec_decode_new(type, json_doc_root(doc), &error));
    g_assert_error(error, ERROR_DOMAIN, ERROR_GENERIC);
    g_assert_cmpstr(error->message, ==, message);
}

static void assert_encodes(const CodecType *type, gconstpointer value, const char *expected)
{
    g_autofree char *text = codec_encode_text(type, value);

    g_assert_cmpstr(text, ==, expected);
}

/* ---- scalars ---- */

#define SCALARS_REST                                                                               \
    "\"any\":{\"k\":[1,1e3]},\"nothing\":null,\"color\":\"x86_64\",\"default\":{\"n\":255,"        \
    "\"label\":\"l\"}}"
#define SCALARS_TEXT                                                                               \
    "{\"s\":\"a\\\"b\",\"b\":true,\"i8\":-128,\"i16\":-32768,\"i32\":-2147483648,\"i64\":-"        \
    "9223372036854775808,"                                                                         \
    "\"u8\":255,\"u16\":65535,\"u32\":4294967295,\"u64\":18446744073709551615,\"bytes\":"          \
    "18446744073709551615,\"num\":0.5," SCALARS_REST

static void test_scalars(void)
{
    g_autoptr(Scalars) v = decode_ok(&scalars_codec, SCALARS_TEXT);

    g_assert_cmpstr(v->s, ==, "a\"b");
    g_assert_true(v->b);
    g_assert_cmpint(v->i8, ==, G_MININT8);
    g_assert_cmpint(v->i16, ==, G_MININT16);
    g_assert_cmpint(v->i32, ==, G_MININT32);
    g_assert_cmpint(v->i64, ==, G_MININT64);
    g_assert_cmpuint(v->u8, ==, 255);
    g_assert_cmpuint(v->u16, ==, 65535);
    g_assert_cmpuint(v->u32, ==, G_MAXUINT32);
    g_assert_cmpuint(v->u64, ==, G_MAXUINT64);
    g_assert_cmpuint(v->bytes, ==, G_MAXUINT64);
    g_assert_cmpfloat(v->num, ==, 0.5);
    g_assert_cmpstr(v->any, ==, "{\"k\":[1,1e3]}");
    g_assert_cmpint(v->color, ==, COLOR_X86_64);
    g_assert_cmpuint(v->default_->n, ==, 255);
    g_assert_cmpstr(v->default_->label, ==, "l");
    assert_encodes(&scalars_codec, v, SCALARS_TEXT);
}

/* One member of Options or Inner at a time, each a little wrong. */
static void test_wrong_scalars(void)
{
    refuse(&inner_codec, "{\"n\":256}", "Parameter 'n' expects uint8, got 256");
    refuse(&inner_codec, "{\"n\":-1}", "Parameter 'n' expects uint8, got -1");
    refuse(&inner_codec, "{\"n\":1.0}", "Invalid parameter type for 'n', expected: integer");
    refuse(&inner_codec, "{\"n\":1e1}", "Invalid parameter type for 'n', expected: integer");
    refuse(&inner_codec, "{\"n\":\"1\"}", "Invalid parameter type for 'n', expected: integer");
    refuse(&inner_codec, "{\"n\":null}", "Invalid parameter type for 'n', expected: integer");
    refuse(&inner_codec, "{\"n\":1,\"label\":2}",
           "Invalid parameter type for 'label', expected: string");
    refuse(&inner_codec, "{\"n\":1,\"label\":\"a\\u0000b\"}",
           "Parameter 'label' contains a NUL character");
    refuse(&options_codec, "{\"u64\":18446744073709551616}",
           "Parameter 'u64' expects uint64, got 18446744073709551616");
    refuse(&options_codec, "{\"u64\":-1}", "Parameter 'u64' expects uint64, got -1");
    refuse(&options_codec, "{\"flag\":1}", "Invalid parameter type for 'flag', expected: boolean");
    refuse(&options_codec, "{\"color\":7}", "Invalid parameter type for 'color', expected: string");
    refuse(&options_codec, "{\"color\":\"blue\"}",
           "Parameter 'color' does not accept value \"blue\" (accepts: red, light-green, x86_64)");
    refuse(&options_codec, "{\"list\":{}}", "Invalid parameter type for 'list', expected: array");
    refuse(&options_codec, "{\"inner\":[]}",
           "Invalid parameter type for 'inner', expected: object");
    refuse(&derived_codec, "{\"base-name\":\"b\",\"extra\":9223372036854775808}",
           "Parameter 'extra' expects int64, got 9223372036854775808");
}

/* Each narrow integer at the first value that it can not hold, either side. */
static void test_edges(void)
{
    static const struct {
        const char *member, *type, *low, *high;
    } edges[] = {
        { "i8", "int8", "-129", "128" },
        { "i16", "int16", "-32769", "32768" },
        { "i32", "int32", "-2147483649", "2147483648" },
        { "i64", "int64", "-9223372036854775809", "9223372036854775808" },
        { "u16", "uint16", "-1", "65536" },
        { "u32", "uint32", "-1", "4294967296" },
        { "bytes", "uint64", "-1", "18446744073709551616" },
    };

    for (guint i = 0; i < G_N_ELEMENTS(edges); i++) {
        g_autofree char *low = g_strdup_printf("{\"%s\":%s}", edges[i].member, edges[i].low);
        g_autofree char *high = g_strdup_printf("{\"%s\":%s}", edges[i].member, edges[i].high);
        g_autofree char *low_text = g_strdup_printf("Parameter '%s' expects %s, got %s",
                                                    edges[i].member, edges[i].type, edges[i].low);
        g_autofree char *high_text = g_strdup_printf("Parameter '%s' expects %s, got %s",
                                                     edges[i].member, edges[i].type, edges[i].high);
        refuse(&scalars_codec, low, low_text);
        refuse(&scalars_codec, high, high_text);
    }
}

/* ---- members ---- */

static void test_optional(void)
{
    g_autoptr(Options) none = decode_ok(&options_codec, "{}");
    g_autoptr(Options) all = NULL;
    const char *text =
        "{\"s\":\"\",\"flag\":false,\"u64\":0,\"color\":\"red\",\"inner\":{\"n\":0},\"list\":[]}";

    g_assert_null(none->s);
    g_assert_false(none->has_flag);
    g_assert_false(none->has_u64);
    g_assert_false(none->has_color);
    g_assert_null(none->inner);
    g_assert_null(none->list);
    assert_encodes(&options_codec, none, "{}");

    all = decode_ok(&options_codec, text);
    g_assert_true(all->has_flag && !all->flag);
    g_assert_true(all->has_u64 && all->u64 == 0);
    g_assert_true(all->has_color && all->color == COLOR_RED);
    g_assert_cmpuint(all->list->len, ==, 0);
    assert_encodes(&options_codec, all, text);
}

static void test_members(void)
{
    g_autoptr(Derived) d = decode_ok(&derived_codec, "{\"extra\":-5,\"base-name\":\"b\"}");

    g_assert_cmpstr(d->base_name, ==, "b");
    g_assert_cmpint(d->extra, ==, -5);
    assert_encodes(&derived_codec, d, "{\"base-name\":\"b\",\"extra\":-5}");
    refuse(&derived_codec, "{\"extra\":1}", "Parameter 'base-name' is missing");
    refuse(&derived_codec, "{\"base-name\":\"b\"}", "Parameter 'extra' is missing");
    refuse(&derived_codec, "{\"base-name\":\"b\",\"extra\":1,\"Extra\":1}",
           "Parameter 'Extra' is unexpected");
    refuse(&derived_codec, "{\"base-name\":\"b\",\"extra\":1,\"\":1}",
           "Parameter '' is unexpected");
    refuse(&derived_codec, "[]", "Invalid parameter type for 'arguments', expected: object");
    refuse(&options_codec, "{\"inner\":{\"n\":1,\"m\":2}}", "Parameter 'inner.m' is unexpected");
    refuse(&options_codec, "{\"inner\":{}}", "Parameter 'inner.n' is missing");
    refuse(&options_codec, "{\"inner\":{\"n\":999}}", "Parameter 'inner.n' expects uint8, got 999");
    refuse(&options_codec, "{\"list\":[\"a\",\"b\",3]}",
           "Invalid parameter type for 'list[2]', expected: string");
}

/* Messages quote little, however much was given. */
static void test_long_input(void)
{
    g_autofree char *big = g_strnfill(100000, 'x');
    g_autofree char *unknown = g_strdup_printf("{\"%s\":1}", big);
    g_autofree char *value = g_strdup_printf("{\"color\":\"%s\"}", big);
    const char *texts[] = { unknown, value };

    for (guint i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(JsonDoc) doc = parse(texts[i]);
        g_autoptr(GError) error = NULL;
        g_assert_null(codec_decode_new(&options_codec, json_doc_root(doc), &error));
        g_assert_cmpuint(strlen(error->message), <, 400);
    }
}

static void test_lists(void)
{
    const char *text =
        "{\"strs\":[\"\",\"b\"],\"shorts\":[-32768,0,32767],\"longs\":[18446744073709551615,0],"
        "\"flags\":[true,false],\"colors\":[\"light-green\",\"red\"],\"inners\":[{\"n\":1},{\"n\":"
        "2}],\"anys\":[null,{}]}";
    g_autoptr(Lists) v = decode_ok(&lists_codec, text);
    g_autoptr(Lists) empty = g_new0(Lists, 1);

    g_assert_cmpuint(v->strs->len, ==, 2);
    g_assert_cmpstr(g_ptr_array_index(v->strs, 1), ==, "b");
    g_assert_cmpint(g_array_index(v->shorts, gint16, 0), ==, -32768);
    g_assert_cmpuint(g_array_index(v->longs, guint64, 0), ==, G_MAXUINT64);
    g_assert_true(g_array_index(v->flags, gboolean, 0));
    g_assert_cmpint(g_array_index(v->colors, int, 0), ==, COLOR_LIGHT_GREEN);
    g_assert_cmpuint(((Inner *)g_ptr_array_index(v->inners, 1))->n, ==, 2);
    g_assert_cmpstr(g_ptr_array_index(v->anys, 0), ==, "null");
    assert_encodes(&lists_codec, v, text);
    /* a list that a handler did not make is an empty one */
    assert_encodes(&lists_codec, empty,
                   "{\"strs\":[],\"shorts\":[],\"longs\":[],\"flags\":[],\"colors\":[],\"inners\":["
                   "],\"anys\":[]}");
    refuse(&lists_codec, "{\"shorts\":[1,40000]}",
           "Parameter 'shorts[1]' expects int16, got 40000");
    refuse(&lists_codec, "{\"inners\":[{\"n\":1},{\"n\":1,\"label\":[]}]}",
           "Invalid parameter type for 'inners[1].label', expected: string");
}

static void test_union(void)
{
    /* the discriminator need not come first */
    g_autoptr(Shape) square = decode_ok(
        &shape_codec, "{\"side\":3,\"name\":\"q\",\"inner\":{\"n\":4},\"kind\":\"square\"}");
    g_autoptr(Shape) point = decode_ok(&shape_codec, "{\"kind\":\"point\",\"name\":\"p\"}");

    g_assert_cmpint(square->kind, ==, SHAPE_KIND_SQUARE);
    g_assert_cmpint(square->u.square->side, ==, 3);
    g_assert_cmpuint(square->u.square->inner->n, ==, 4);
    assert_encodes(&shape_codec, square,
                   "{\"kind\":\"square\",\"name\":\"q\",\"side\":3,\"inner\":{\"n\":4}}");
    g_assert_cmpint(point->kind, ==, SHAPE_KIND_POINT);
    assert_encodes(&shape_codec, point, "{\"kind\":\"point\",\"name\":\"p\"}");

    refuse(&shape_codec, "{\"name\":\"q\"}", "Parameter 'kind' is missing");
    refuse(&shape_codec, "{\"kind\":\"line\",\"name\":\"q\"}",
           "Parameter 'kind' does not accept value \"line\" (accepts: point, circle, square)");
    refuse(&shape_codec, "{\"kind\":\"circle\",\"name\":\"q\"}", "Parameter 'radius' is missing");
    refuse(&shape_codec, "{\"kind\":\"circle\",\"radius\":1}", "Parameter 'name' is missing");
    refuse(&shape_codec, "{\"kind\":\"circle\",\"radius\":1,\"name\":\"q\",\"side\":1}",
           "Parameter 'side' is unexpected");
    refuse(&shape_codec, "{\"kind\":\"point\",\"name\":\"q\",\"radius\":1}",
           "Parameter 'radius' is unexpected");
    refuse(&shapes_codec, "{\"shapes\":[{\"kind\":\"circle\",\"name\":\"q\",\"radius\":70000}]}",
           "Parameter 'shapes[0].radius' expects uint16, got 70000");
    refuse(&shapes_codec, "{\"shapes\":[1]}",
           "Invalid parameter type for 'shapes[0]', expected: object");
}

/* As deep as the reader lets a document be. */
static void test_depth(void)
{
    GString *text = g_string_new(NULL);
    g_autofree char *deep = NULL;
    g_autoptr(Tree) tree = NULL;
    guint depth = 0;

    for (int i = 0; i < 1023; i++)
        g_string_append(text, "{\"child\":");
    g_string_append(text, "{}");
    for (int i = 0; i < 1023; i++)
        g_string_append_c(text, '}');
    deep = g_string_free(text, FALSE);
    tree = decode_ok(&tree_codec, deep);
    for (const Tree *t = tree; t->child; t = t->child)
        depth++;
    g_assert_cmpuint(depth, ==, 1023);
    assert_encodes(&tree_codec, tree, deep);
}

static void test_bags(void)
{
    const char *text = "{\"devices\":[{\"driver\":\"gadget\",\"id\":\"g\",\"chardev\":\"c\"},{"
                       "\"driver\":\"gadget\",\"chardev\":\"d\"}],"
                       "\"objects\":[{\"qom-type\":\"store\",\"id\":\"m\",\"size\":4096}]}";
    g_autoptr(Plugs) v = decode_ok(&plugs_codec, text);
    const PropBag *first = g_ptr_array_index(v->devices, 0);

    g_assert_null(v->device);
    g_assert_true(first->table == &gadget_table);
    g_assert_cmpstr(first->id, ==, "g");
    assert_encodes(&plugs_codec, v, text);
    refuse(&plugs_codec, "{\"devices\":[{\"driver\":\"gadget\",\"chardev\":\"c\"},{}]}",
           "devices[1]: Parameter 'driver' is missing");
    refuse(&plugs_codec, "{\"device\":[]}",
           "Invalid parameter type for 'device', expected: object");
}

/* ---- commands: the handlers of the fixture ---- */

#define FAKE_MACHINE ((struct Machine *)0x1234)

gboolean cmd_make_derived(struct Machine *m, QmpRequest *req, const MakeDerivedArgs *args,
                          Derived **ret, GError **error)
{
    g_assert_true(m == FAKE_MACHINE);
    if (g_str_equal(args->name, "bad"))
        return error_set_class(error, ERROR_DEVICE_NOT_FOUND, "Device 'bad' not found");
    *ret = g_new0(Derived, 1);
    (*ret)->base_name = g_strdup(args->name);
    (*ret)->extra = args->has_extra ? args->extra : -1;
    return TRUE;
}

gboolean cmd_take_shape(struct Machine *m, QmpRequest *req, const Shape *args, GError **error)
{
    return args->kind == SHAPE_KIND_CIRCLE ? TRUE : error_set(error, "not round");
}

/* Keeps the bag of a device that has an id, leaves others to the thunk. */
gboolean cmd_device_add(struct Machine *m, QmpRequest *req, PropBag **args, GError **error)
{
    g_autoptr(PropBag) kept = (*args)->id ? g_steal_pointer(args) : NULL;

    g_assert_true((kept ? kept : *args)->table == &gadget_table);
    return TRUE;
}

gboolean cmd_query_chardev(struct Machine *m, QmpRequest *req, GPtrArray **ret, GError **error)
{
    *ret = g_ptr_array_new_with_free_func((GDestroyNotify)inner_free);
    g_ptr_array_add(*ret, g_new0(Inner, 1));
    return TRUE;
}

gboolean cmd_qom_get(struct Machine *m, QmpRequest *req, char **ret, GError **error)
{
    *ret = g_strdup("[1]");
    return TRUE;
}

gboolean cmd_qmp_capabilities(struct Machine *m, QmpRequest *req, GError **error)
{
    return TRUE;
}

static const QmpCommandRow *row(const char *name)
{
    for (guint i = 0; i < qmp_n_commands; i++)
        if (g_str_equal(qmp_commands[i].name, name))
            return &qmp_commands[i];
    g_assert_not_reached();
}

/* The result, or "ERROR: " and the message. ARGS NULL: none given. Caller frees. */
static char *run(const char *name, const char *args)
{
    g_autoptr(JsonDoc) doc = args ? parse(args) : NULL;
    JsonVal v = { 0 };
    JsonOut out = JSON_OUT_INIT(g_string_new(NULL));
    g_autoptr(GError) error = NULL;
    QmpRequest req = { 0 };

    if (doc)
        v = json_doc_root(doc);
    if (row(name)->invoke(FAKE_MACHINE, &req, v, &out, &error)) {
        g_assert_no_error(error);
        return g_string_free(out.text, FALSE);
    }
    g_assert_nonnull(error);
    g_assert_cmpuint(out.text->len, ==, 0);
    g_string_free(out.text, TRUE);
    return g_strconcat("ERROR: ", error->message, NULL);
}

static void assert_run(const char *name, const char *args, const char *expected)
{
    g_autofree char *got = run(name, args);

    g_assert_cmpstr(got, ==, expected);
}

static void test_thunks(void)
{
    assert_run("make-derived", "{\"name\":\"n\",\"extra\":7}", "{\"base-name\":\"n\",\"extra\":7}");
    assert_run("make-derived", "{\"name\":\"n\"}", "{\"base-name\":\"n\",\"extra\":-1}");
    assert_run("make-derived", "{\"name\":\"bad\"}", "ERROR: Device 'bad' not found");
    assert_run("make-derived", "{}", "ERROR: Parameter 'name' is missing");
    assert_run("make-derived", NULL, "ERROR: Parameter 'name' is missing");
    assert_run("make-derived", "{\"name\":\"n\",\"extra\":65536}",
               "ERROR: Parameter 'extra' expects uint16, got 65536");
    assert_run("take-shape", "{\"kind\":\"circle\",\"name\":\"c\",\"radius\":1}", "{}");
    assert_run("take-shape", "{\"kind\":\"point\",\"name\":\"c\"}", "ERROR: not round");
    assert_run("take-shape", NULL, "ERROR: Parameter 'kind' is missing");
    assert_run("device_add", "{\"driver\":\"gadget\",\"chardev\":\"c\"}", "{}");
    assert_run("device_add", "{\"driver\":\"gadget\",\"id\":\"g\",\"chardev\":\"c\"}", "{}");
    assert_run("device_add", NULL, "ERROR: Parameter 'driver' is missing");
    assert_run("device_add", "[]",
               "ERROR: Invalid parameter type for 'arguments', expected: object");
    assert_run("query-chardev", "{}", "[{\"n\":0}]");
    assert_run("qom-get", NULL, "[1]");
    assert_run("qmp_capabilities", NULL, "{}");
    assert_run("qmp_capabilities", "{\"x\":1}", "ERROR: Parameter 'x' is unexpected");
    assert_run("qmp_capabilities", "3",
               "ERROR: Invalid parameter type for 'arguments', expected: object");
    assert_run("query-qmp-schema", NULL, qmp_schema_json);
}

static void test_rows(void)
{
    for (guint i = 1; i < qmp_n_commands; i++)
        g_assert_cmpstr(qmp_commands[i - 1].name, <, qmp_commands[i].name);
    g_assert_cmpuint(qmp_n_commands, ==, 7);
    g_assert_cmpuint(row("make-derived")->flags, ==, QMP_ALLOW_READONLY);
    g_assert_cmpuint(row("take-shape")->flags, ==, QMP_ALLOW_OOB);
    g_assert_cmpuint(row("qmp_capabilities")->flags, ==, QMP_NO_NEGOTIATION);
    g_assert_cmpuint(row("device_add")->flags, ==, 0);
}

/* ---- events ---- */

/* The server's part: writes what it is given into the GString that stands for it. */
void qmp_server_event(QmpServer *server, const char *name, const char *data, const char *rate_key)
{
    g_string_append_printf((GString *)server, "%s %s %s;", name, data ? data : "-",
                           rate_key ? rate_key : "-");
}

static void test_events(void)
{
    g_autoptr(GString) seen = g_string_new(NULL);
    QmpServer *server = (QmpServer *)seen;
    const Inner inner = { .n = 9 };

    qmp_event_plain(server);
    qmp_event_full(server, "/p", TRUE, G_MAXUINT64, COLOR_RED, "hi", &inner);
    qmp_event_full(server, "/q", FALSE, 1, COLOR_RED, NULL, NULL);
    qmp_event_one_key(server, TRUE);
    g_assert_cmpstr(seen->str, ==,
                    "PLAIN - -;"
                    "FULL "
                    "{\"path\":\"/"
                    "p\",\"count\":18446744073709551615,\"color\":\"red\",\"note\":\"hi\","
                    "\"inner\":{\"n\":9}} /p;"
                    "FULL {\"path\":\"/q\",\"color\":\"red\"} /q;"
                    "ONE_KEY {\"flag\":true} ;");
}

/* ---- property tables ---- */

static const PropDesc *prop(const char *name)
{
    int i = prop_table_row(&gadget_table, name);

    g_assert_cmpint(i, >=, 0);
    return &gadget_table.rows[i];
}

static void test_tables(void)
{
    g_assert_cmpuint(prop_n_tables, ==, 3);
    g_assert_true(prop_tables[0] == &gadget_table && prop_tables[1] == &store_table &&
                  prop_tables[2] == &x_base_table);
    g_assert_null(prop_tables[3]);
    g_assert_true(gadget_table.base == &x_base_table);
    g_assert_cmpint(gadget_table.plug, ==, PLUG_ISA);
    g_assert_cmpuint(gadget_table.flags, ==, TYPE_HOTPLUG); /* the base's, without ABSTRACT */
    g_assert_cmpuint(x_base_table.flags, ==, TYPE_ABSTRACT | TYPE_HOTPLUG);
    g_assert_cmpint(store_table.plug, ==, PLUG_OBJECT);
    g_assert_cmpuint(gadget_table.config_size, ==, sizeof(GadgetConfig));
    g_assert_cmpuint(gadget_table.n_rows, ==, 11);
    g_assert_cmpstr(gadget_table.rows[0].name, ==, "port"); /* rows of the base come first */
    g_assert_cmpuint(prop("port")->offset, ==, x_base_table.rows[0].offset);
    g_assert_cmpuint(prop("port")->min, ==, 1);
    g_assert_cmpuint(prop("port")->max, ==, 65528);
    g_assert_true(prop("port")->has_before && !prop("limit")->has_before);
    g_assert_cmpuint(prop("port")->before.u, ==, 760);
    g_assert_true(prop("secret")->has_default && prop("secret")->def.u == 0);
    g_assert_true(prop("secret")->has_before && prop("secret")->before.u == 1);
    g_assert_cmpuint(prop("port")->flags, ==, PROP_GUEST);
    /* "defaults" replaces the base's AUTO by a constant, for this type only */
    g_assert_cmpuint(prop("speed")->def.u, ==, 9600);
    g_assert_true(prop("speed")->has_default && !(prop("speed")->flags & PROP_AUTO));
    g_assert_true(!x_base_table.rows[1].has_default);
    g_assert_cmpuint(x_base_table.rows[1].flags, ==, PROP_AUTO | PROP_HOST);
    g_assert_cmpuint(prop("mode")->def.u, ==, GADGET_MODE_SLOW);
    g_assert_cmpstr(prop("mode")->enum_names[GADGET_MODE_X2_APIC], ==, "x2.apic");
    g_assert_cmpuint(prop("limit")->def.u, ==, G_MAXUINT64);
    g_assert_cmpstr(prop("limit")->since, ==, "0.2");
    g_assert_cmpuint(prop("on")->flags, ==, PROP_LIVE);
    g_assert_cmpuint(prop("chardev")->flags, ==, PROP_REQUIRED);
    g_assert_cmpstr(prop("chardev")->link_to, ==, "chardev");
    g_assert_cmpstr(prop("title")->def.s, ==, "a\"b\\c");
    g_assert_cmpuint(prop("title")->max, ==, 8);
    g_assert_false(prop("blob")->has_default || prop("blob")->flags & PROP_AUTO);
    g_assert_cmpuint(prop("secret")->flags, ==, PROP_INTERNAL);
    g_assert_cmpint(prop("bootindex")->kind, ==, PROP_U32);
    g_assert_cmpuint(prop("bootindex")->max, ==, G_MAXINT32);
    g_assert_false(prop("bootindex")->has_default || prop("bootindex")->has_before);
    g_assert_cmpuint(prop("register")->offset, ==, G_STRUCT_OFFSET(GadgetConfig, register_));
}

/* ---- introspection: whoever reads it must be able to follow every name ---- */

static char *member_text(JsonVal object, const char *name)
{
    JsonVal v;

    return json_member(object, name, &v) ? json_dup_string(v) : NULL;
}

static gboolean find_entity(JsonVal list, const char *name, JsonVal *out)
{
    JsonIter it;
    JsonVal unused;

    json_iter_init(&it, list);
    while (json_iter_next(&it, &unused, out)) {
        g_autofree char *n = member_text(*out, "name");
        if (g_str_equal(n, name))
            return TRUE;
    }
    return FALSE;
}

static void assert_refers(JsonVal list, JsonVal entity, const char *member, gboolean must)
{
    g_autofree char *name = member_text(entity, member);
    JsonVal found;

    g_assert_true(name || !must);
    if (name && !find_entity(list, name, &found))
        g_error("introspection: there is no type '%s'", name);
}

static void assert_refers_each(JsonVal list, JsonVal entity, const char *member)
{
    JsonVal parts, part, unused;
    JsonIter it;

    if (!json_member(entity, member, &parts))
        return;
    json_iter_init(&it, parts);
    while (json_iter_next(&it, &unused, &part))
        assert_refers(list, part, "type", TRUE);
}

static void test_introspection(void)
{
    g_autoptr(JsonDoc) doc = parse(qmp_schema_json);
    JsonVal list = json_doc_root(doc), e, unused;
    JsonIter it;

    g_assert_cmpuint(qmp_schema_json_len, ==, strlen(qmp_schema_json));
    json_iter_init(&it, list);
    while (json_iter_next(&it, &unused, &e)) {
        g_autofree char *meta = member_text(e, "meta-type");
        gboolean is_command = g_str_equal(meta, "command");
        assert_refers(list, e, "arg-type", is_command || g_str_equal(meta, "event"));
        assert_refers(list, e, "ret-type", is_command);
        assert_refers(list, e, "element-type", g_str_equal(meta, "array"));
        if (g_str_equal(meta, "object")) {
            assert_refers_each(list, e, "members");
            assert_refers_each(list, e, "variants");
        }
    }
    g_assert_true(find_entity(list, "take-shape", &e));
    g_assert_nonnull(strstr(qmp_schema_json, "\"allow-oob\":true,\"features\":[\"unstable\"]"));
    g_assert_null(strstr(qmp_schema_json, "x-base"));    /* abstract */
    g_assert_null(strstr(qmp_schema_json, "secret"));    /* internal */
    g_assert_null(strstr(qmp_schema_json, "\"Shape\"")); /* masked */
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/codec/scalars", test_scalars);
    g_test_add_func("/codec/wrong-scalars", test_wrong_scalars);
    g_test_add_func("/codec/edges", test_edges);
    g_test_add_func("/codec/optional", test_optional);
    g_test_add_func("/codec/members", test_members);
    g_test_add_func("/codec/long-input", test_long_input);
    g_test_add_func("/codec/lists", test_lists);
    g_test_add_func("/codec/union", test_union);
    g_test_add_func("/codec/depth", test_depth);
    g_test_add_func("/codec/bags", test_bags);
    g_test_add_func("/commands/thunks", test_thunks);
    g_test_add_func("/commands/rows", test_rows);
    g_test_add_func("/events", test_events);
    g_test_add_func("/tables", test_tables);
    g_test_add_func("/introspection", test_introspection);
    return g_test_run();
}

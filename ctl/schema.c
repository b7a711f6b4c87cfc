/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What query-qmp-schema says, for completion and help in the shell.
 *
 * The reply is a flat list of entities that refer to each other by name; types have no telling
 * names. An object's members may depend on one of them, the tag: device_add's on "driver". So the
 * members of an object are asked for together with the words already typed, among which the tag's
 * value may be. A dotted key (backend.data.path) is followed object by object in the same way.
 */
#include "schema.h"
#include "ctl.h"

#include <string.h>

#define MAX_VARIANTS 8

struct Schema {
    JsonNode *root;
    GHashTable *entities; /* name -> JsonObject of root */
};

typedef void (*MemberFunc)(const char *name, const char *type, gboolean optional, gpointer data);

/* Loads the schema, which is the only call that it makes. */
Schema *
schema_load(QmpClient *client, GError **error)
{
    g_autoptr(JsonNode) root = client_query(client, "query-qmp-schema", NULL, error);
    JsonArray *list = ctl_array(root, "query-qmp-schema", error);
    Schema *schema;

    if (list == NULL)
        return NULL;
    schema = g_new0(Schema, 1);
    schema->entities = g_hash_table_new(g_str_hash, g_str_equal);
    for (guint i = 0; i < json_array_get_length(list); i++) {
        JsonObject *entity = ctl_object(json_array_get_element(list, i), "schema", NULL);
        const char *name = ctl_string_member(entity, "name");
        if (name != NULL)
            g_hash_table_insert(schema->entities, (char *)name, entity);
    }
    schema->root = g_steal_pointer(&root);
    return schema;
}

void
schema_free(Schema *schema)
{
    g_hash_table_unref(schema->entities);
    json_node_unref(schema->root);
    g_free(schema);
}

static JsonObject *
schema_entity(const Schema *schema, const char *name)
{
    return name != NULL ? g_hash_table_lookup(schema->entities, name) : NULL;
}

static gboolean
is_a(JsonObject *entity, const char *meta)
{
    return g_strcmp0(ctl_string_member(entity, "meta-type"), meta) == 0;
}

/* The list that is member @name of @entity; NULL if there is none. */
static JsonArray *
list_member(JsonObject *entity, const char *name)
{
    JsonNode *node = entity != NULL ? json_object_get_member(entity, name) : NULL;

    return node != NULL ? ctl_array(node, name, NULL) : NULL;
}

static JsonObject *
list_object(JsonArray *list, guint i)
{
    return ctl_object(json_array_get_element(list, i), "element", NULL);
}

static guint
list_length(JsonArray *list)
{
    return list != NULL ? json_array_get_length(list) : 0;
}

static JsonObject *
command_type(const Schema *schema, const char *command)
{
    JsonObject *entity = schema_entity(schema, command);

    return is_a(entity, "command") ? schema_entity(schema, ctl_string_member(entity, "arg-type"))
                                   : NULL;
}

/* What the words typed give to @key: the text behind "PREFIX KEY=". NULL if it is not there. */
static const char *
typed_value(char **words, const char *prefix, const char *key)
{
    g_autofree char *start = g_strconcat(prefix, key, "=", NULL);

    for (; words != NULL && *words != NULL; words++)
        if (g_str_has_prefix(*words, start))
            return *words + strlen(start);
    return NULL;
}

/* The type that the tag's typed value adds members from. */
static JsonObject *
variant_type(const Schema *schema, JsonObject *type, const char *prefix, char **words)
{
    const char *tag = ctl_string_member(type, "tag");
    const char *value = tag != NULL ? typed_value(words, prefix, tag) : NULL;
    JsonArray *variants = list_member(type, "variants");

    for (guint i = 0; value != NULL && i < list_length(variants); i++) {
        JsonObject *variant = list_object(variants, i);
        if (g_strcmp0(ctl_string_member(variant, "case"), value) == 0)
            return schema_entity(schema, ctl_string_member(variant, "type"));
    }
    return NULL;
}

/* Calls @func for each member of object @type, whose keys begin with @prefix on the line. */
static void
each_member(const Schema *schema, JsonObject *type, const char *prefix, char **words,
            MemberFunc func, gpointer data)
{
    /* a variant may have a tag of its own; a schema that goes in circles must not catch us */
    for (int depth = 0; type != NULL && depth < MAX_VARIANTS; depth++) {
        JsonArray *members = list_member(type, "members");
        for (guint i = 0; i < list_length(members); i++) {
            JsonObject *member = list_object(members, i);
            const char *name = ctl_string_member(member, "name");
            if (name != NULL)
                func(name, ctl_string_member(member, "type"),
                     json_object_has_member(member, "default"), data);
        }
        type = variant_type(schema, type, prefix, words);
    }
}

typedef struct {
    const char *name;
    const char *type;
} MemberSearch;

static void
search_member(const char *name, const char *type, gboolean optional, gpointer data)
{
    MemberSearch *search = data;

    (void)optional;
    if (g_str_equal(name, search->name))
        search->type = type;
}

/* The type of the member that the dotted @path names, the command's own arguments for "". */
static JsonObject *
path_type(const Schema *schema, const char *command, const char *path, char **words)
{
    g_auto(GStrv) parts = g_strsplit(path, ".", -1);
    g_autoptr(GString) prefix = g_string_new(NULL);
    JsonObject *type = command_type(schema, command);

    for (char **part = parts; *part != NULL && **part != '\0'; part++) {
        MemberSearch search = { *part, NULL };
        each_member(schema, type, prefix->str, words, search_member, &search);
        type = schema_entity(schema, search.type);
        g_string_append_printf(prefix, "%s.", *part);
    }
    return type;
}

static int
compare_strings(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* All command names, sorted. */
GPtrArray *
schema_commands(const Schema *schema)
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    GHashTableIter iter;
    gpointer name, entity;

    g_hash_table_iter_init(&iter, schema->entities);
    while (g_hash_table_iter_next(&iter, &name, &entity))
        if (is_a(entity, "command"))
            g_ptr_array_add(names, g_strdup(name));
    g_ptr_array_sort(names, compare_strings);
    return names;
}

typedef struct {
    const Schema *schema;
    const char *prefix;
    GPtrArray *out;
} KeyCollector;

/* An object's key is continued by a dot, any other by the equals sign. */
static void
collect_key(const char *name, const char *type, gboolean optional, gpointer data)
{
    KeyCollector *c = data;
    gboolean object = is_a(schema_entity(c->schema, type), "object");

    (void)optional;
    g_ptr_array_add(c->out, g_strconcat(c->prefix, name, object ? "." : "=", NULL));
}

/* The keys behind @prefix ("", or a dotted one with its last dot), each with its = or dot. */
GPtrArray *
schema_keys(const Schema *schema, const char *command, const char *prefix, char **words)
{
    GPtrArray *keys = g_ptr_array_new_with_free_func(g_free);
    KeyCollector collector = { schema, prefix, keys };

    each_member(schema, path_type(schema, command, prefix, words), prefix, words, collect_key,
                &collector);
    return keys;
}

/* The values that @key can have, where they are a closed set. */
GPtrArray *
schema_values(const Schema *schema, const char *command, const char *key, char **words)
{
    GPtrArray *values = g_ptr_array_new_with_free_func(g_free);
    JsonObject *type = path_type(schema, command, key, words);
    JsonArray *list = is_a(type, "enum") ? list_member(type, "values") : NULL;

    for (guint i = 0; i < list_length(list); i++) {
        JsonNode *node = json_array_get_element(list, i);
        if (JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_STRING)
            g_ptr_array_add(values, g_strdup(json_node_get_string(node)));
    }
    if (g_strcmp0(ctl_string_member(type, "json-type"), "boolean") == 0) {
        g_ptr_array_add(values, g_strdup("true"));
        g_ptr_array_add(values, g_strdup("false"));
    }
    return values;
}

/* A type for people: builtin ones have a json-type, enums their values. */
static char *
type_text(const Schema *schema, const char *name)
{
    JsonObject *type = schema_entity(schema, name);
    const char *json_type = ctl_string_member(type, "json-type");
    JsonArray *values = is_a(type, "enum") ? list_member(type, "values") : NULL;
    GString *text = g_string_new(NULL);

    for (guint i = 0; i < list_length(values); i++)
        if (JSON_NODE_HOLDS_VALUE(json_array_get_element(values, i)))
            g_string_append_printf(text, "%s%s", i > 0 ? "|" : "",
                                   json_array_get_string_element(values, i));
    if (text->len == 0 && json_type == NULL)
        json_type = ctl_string_member(type, "meta-type");
    if (text->len == 0)
        g_string_append(text, json_type != NULL ? json_type : "value");
    return g_string_free(text, FALSE);
}

static void
describe_member(const char *name, const char *type, gboolean optional, gpointer data)
{
    KeyCollector *c = data;
    g_autofree char *text = type_text(c->schema, type);

    g_ptr_array_add(c->out, g_strdup_printf("    %s=%s%s", name, text,
                                            optional ? "  (optional)" : ""));
}

/* The arguments of @command, a line each; NULL if there is no such command. */
char *
schema_describe(const Schema *schema, const char *command)
{
    g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);
    KeyCollector collector = { schema, "", lines };

    if (!is_a(schema_entity(schema, command), "command"))
        return NULL;
    g_ptr_array_add(lines, g_strdup(command));
    each_member(schema, command_type(schema, command), "", NULL, describe_member, &collector);
    g_ptr_array_add(lines, NULL);
    return g_strjoinv("\n", (char **)lines->pdata);
}

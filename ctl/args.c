/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * key=value words made into the arguments of a command.
 *
 * A value that is JSON is taken as JSON, character by character as it was typed (see jtext.c for
 * why there is no JsonNode in between); anything else is a string. Dots in a key build nested
 * objects, in the order in which they were first named. A name can not be both a value and an
 * object, nor be given twice: silently taking the last one hides typing errors.
 */
#include "args.h"
#include "ctl.h"
#include "jtext.h"

#include <string.h>

typedef struct {
    char *key;
    char *json;   /* a value, or */
    Args *object; /* what the longer keys below this one say */
} Item;

struct Args {
    GPtrArray *items;
};

static void
item_free(Item *item)
{
    g_free(item->key);
    g_free(item->json);
    g_clear_pointer(&item->object, args_free);
    g_free(item);
}

Args *
args_new(void)
{
    Args *args = g_new0(Args, 1);

    args->items = g_ptr_array_new_with_free_func((GDestroyNotify)item_free);
    return args;
}

void
args_free(Args *args)
{
    g_ptr_array_unref(args->items);
    g_free(args);
}

static Item *
args_find(Args *args, const char *key)
{
    for (guint i = 0; i < args->items->len; i++) {
        Item *item = args->items->pdata[i];
        if (g_str_equal(item->key, key))
            return item;
    }
    return NULL;
}

static Item *
args_append(Args *args, const char *key)
{
    Item *item = g_new0(Item, 1);

    item->key = g_strdup(key);
    g_ptr_array_add(args->items, item);
    return item;
}

/* The object at @key, made if it is not there. */
static Args *
args_object(Args *args, const char *key, const char *whole_key, GError **error)
{
    Item *item = args_find(args, key);

    if (item == NULL) {
        item = args_append(args, key);
        item->object = args_new();
    }
    if (item->object == NULL)
        g_set_error(error, CTL_ERROR, CTL_ERROR_USAGE,
                    "'%s': '%s' has a value already and can not be an object", whole_key, key);
    return item->object;
}

/* Sets the value at a dotted @key to the JSON text @json. */
gboolean
args_set_json(Args *args, const char *key, const char *json, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(key, ".", -1);
    guint last = g_strv_length(parts) - 1;

    for (guint i = 0; i <= last; i++) {
        if (parts[i][0] == '\0') {
            g_set_error(error, CTL_ERROR, CTL_ERROR_USAGE, "'%s': a part of the key is empty", key);
            return FALSE;
        }
        if (i < last && (args = args_object(args, parts[i], key, error)) == NULL)
            return FALSE;
    }
    if (args_find(args, parts[last]) != NULL) {
        g_set_error(error, CTL_ERROR, CTL_ERROR_USAGE, "'%s' is given twice", key);
        return FALSE;
    }
    args_append(args, parts[last])->json = g_strdup(json);
    return TRUE;
}

gboolean
args_set_string(Args *args, const char *key, const char *value, GError **error)
{
    g_autofree char *json = NULL;

    if (!g_utf8_validate(value, -1, NULL)) {
        g_set_error(error, CTL_ERROR, CTL_ERROR_USAGE, "'%s': the value is not UTF-8", key);
        return FALSE;
    }
    json = jtext_quote(value);
    return args_set_json(args, key, json, error);
}

static gboolean
args_add_pair(Args *args, const char *prefix, const char *pair, GError **error)
{
    const char *equals = strchr(pair, '=');
    g_autofree char *key = NULL;

    if (equals == NULL || equals == pair || !g_utf8_validate(pair, equals - pair, NULL)) {
        g_autofree char *shown = g_utf8_make_valid(pair, -1);
        g_set_error(error, CTL_ERROR, CTL_ERROR_USAGE, "'%s' is not of the form key=value", shown);
        return FALSE;
    }
    key = g_strdup_printf("%s%.*s", prefix, (int)(equals - pair), pair);
    if (jtext_valid(equals + 1, strlen(equals + 1), NULL))
        return args_set_json(args, key, equals + 1, error);
    return args_set_string(args, key, equals + 1, error);
}

/* Adds all @pairs, each key put behind @prefix (which may be "" or end in a dot). */
gboolean
args_add_pairs(Args *args, const char *prefix, char **pairs, GError **error)
{
    for (; *pairs != NULL; pairs++)
        if (!args_add_pair(args, prefix, *pairs, error))
            return FALSE;
    return TRUE;
}

/* The JSON object. */
char *
args_text(const Args *args)
{
    GString *out = g_string_new("{");

    for (guint i = 0; i < args->items->len; i++) {
        const Item *item = args->items->pdata[i];
        g_autofree char *key = jtext_quote(item->key);
        g_autofree char *object = item->object != NULL ? args_text(item->object) : NULL;
        g_string_append_printf(out, "%s%s: %s", i > 0 ? ", " : "", key,
                               object != NULL ? object : item->json);
    }
    g_string_append_c(out, '}');
    return g_string_free(out, FALSE);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Completion in the QMP shell.
 *
 * The first word is a command, the others are its keys, and behind an equals sign stand values
 * where the schema has a closed set of them. As in other shells: what all candidates share is
 * inserted; when that is nothing, they are listed.
 */
#include "complete.h"

#include <stdio.h>
#include <string.h>

#define LIST_WIDTH 80

/* The words before the cursor, the one being typed (perhaps empty) last. */
static char **
line_words(const LineInfo *line)
{
    g_autofree char *text = g_strndup(line->buffer, line->cursor - line->buffer);
    g_auto(GStrv) parts = g_strsplit(text, " ", -1);
    GPtrArray *words = g_ptr_array_new();

    for (guint i = 0; parts[i] != NULL; i++)
        if (parts[i][0] != '\0' || parts[i + 1] == NULL)
            g_ptr_array_add(words, g_strdup(parts[i]));
    if (words->len == 0)
        g_ptr_array_add(words, g_strdup(""));
    g_ptr_array_add(words, NULL);
    return (char **)g_ptr_array_free(words, FALSE);
}

/* All that could stand at @word, of which @typed gets the part that they are to continue. */
static GPtrArray *
candidates(const Schema *schema, char **words, const char *word, const char **typed)
{
    const char *equals = strchr(word, '=');
    const char *dot = strrchr(word, '.');
    g_autofree char *key = NULL;

    *typed = word;
    if (word == words[0])
        return schema_commands(schema);
    if (equals != NULL) {
        *typed = equals + 1;
        key = g_strndup(word, equals - word);
        return schema_values(schema, words[0], key, words);
    }
    key = g_strndup(word, dot != NULL ? dot - word + 1 : 0);
    return schema_keys(schema, words[0], key, words);
}

static gboolean
is_typed(char **words, const char *key)
{
    for (; *words != NULL; words++)
        if (g_str_has_prefix(*words, key))
            return TRUE;
    return FALSE;
}

/* Drops what does not continue @typed, and keys that the line has already. */
static void
keep_matching(GPtrArray *list, const char *typed, char **words)
{
    for (guint i = list->len; i-- > 0;) {
        const char *text = list->pdata[i];
        gboolean key = g_str_has_suffix(text, "=");
        if (!g_str_has_prefix(text, typed) || (key && is_typed(words, text)))
            g_ptr_array_remove_index(list, i);
    }
}

/* The beginning that all of @list share, in whole characters. */
static char *
common_prefix(const GPtrArray *list)
{
    g_autofree char *prefix = g_strdup(list->pdata[0]);

    for (guint i = 1; i < list->len; i++) {
        const char *text = list->pdata[i];
        gsize n = 0;
        while (prefix[n] != '\0' && prefix[n] == text[n])
            n++;
        prefix[n] = '\0';
    }
    return g_utf8_make_valid(prefix, -1);
}

static void
print_list(const GPtrArray *list)
{
    gsize width = 0;

    for (guint i = 0; i < list->len; i++)
        width = MAX(width, strlen(list->pdata[i]) + 2);
    guint columns = MAX(1, LIST_WIDTH / width);
    putchar('\n');
    for (guint i = 0; i < list->len; i++)
        printf("%-*s%s", (int)width, (const char *)list->pdata[i],
               i + 1 == list->len || (i + 1) % columns == 0 ? "\n" : "");
    fflush(stdout);
}

static unsigned char
insert(EditLine *el, const char *text)
{
    return el_insertstr(el, text) == 0 ? CC_REFRESH : CC_ERROR;
}

/* The function behind the Tab key. */
unsigned char
complete_line(EditLine *el, const Schema *schema)
{
    g_auto(GStrv) words = line_words(el_line(el));
    const char *word = words[g_strv_length(words) - 1];
    const char *typed;

    if (schema == NULL)
        return CC_ERROR;
    g_autoptr(GPtrArray) list = candidates(schema, words, word, &typed);
    keep_matching(list, typed, words);
    if (list->len == 0)
        return CC_ERROR;
    g_autofree char *prefix = common_prefix(list);
    const char *rest = prefix + strlen(typed);
    gboolean whole = list->len == 1 && strchr("=.", prefix[strlen(prefix) - 1]) == NULL;
    g_autofree char *addition = g_strconcat(rest, whole ? " " : "", NULL);
    if (*addition != '\0')
        return insert(el, addition);
    print_list(list);
    return CC_REDISPLAY;
}

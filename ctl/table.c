/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tables of text: headings, then cells filled in from left to right, row after row.
 *
 * Cells hold what the daemon said, and parts of that (names, a guest's agent strings) were chosen
 * by others. Nothing in a cell may reach the terminal as a control sequence, so control characters
 * are replaced when a cell is set. Widths count terminal columns, not bytes.
 */
#include "table.h"

#include <stdarg.h>
#include <string.h>

#define COLUMN_GAP 2

struct Table {
    guint columns;
    GPtrArray *cells; /* headings first */
};

static Table *
table_new_empty(void)
{
    Table *table = g_new0(Table, 1);

    table->cells = g_ptr_array_new_with_free_func(g_free);
    return table;
}

static void
table_heading(Table *table, const char *heading)
{
    g_autofree char *upper = g_ascii_strup(heading, -1);

    table_cell(table, upper);
    table->columns++;
}

/* A table with these headings, NULL ending them. */
Table *
table_new(const char *first_heading, ...)
{
    Table *table = table_new_empty();
    va_list ap;

    va_start(ap, first_heading);
    for (const char *h = first_heading; h != NULL; h = va_arg(ap, const char *))
        table_heading(table, h);
    va_end(ap);
    return table;
}

void
table_free(Table *table)
{
    g_ptr_array_unref(table->cells);
    g_free(table);
}

/* @text as it may be shown: valid UTF-8 on one line, without control characters. */
char *
table_clean_text(const char *text)
{
    GString *clean = g_string_new(NULL);
    g_autofree char *valid = g_utf8_make_valid(text, -1);

    for (const char *p = valid; *p != '\0'; p = g_utf8_next_char(p)) {
        gunichar c = g_utf8_get_char(p);
        g_string_append_unichar(clean, g_unichar_iscntrl(c) ? '?' : c);
    }
    return g_string_free(clean, FALSE);
}

/* The next cell; NULL and the empty string show as a dash, so that columns stay readable by awk. */
void
table_cell(Table *table, const char *text)
{
    g_ptr_array_add(table->cells, table_clean_text(text != NULL && *text != '\0' ? text : "-"));
}

void
table_cellf(Table *table, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    va_start(ap, format);
    text = g_strdup_vprintf(format, ap);
    va_end(ap);
    table_cell(table, text);
}

static guint
text_width(const char *text)
{
    guint width = 0;

    for (; *text != '\0'; text = g_utf8_next_char(text)) {
        gunichar c = g_utf8_get_char(text);
        if (!g_unichar_iszerowidth(c))
            width += g_unichar_iswide(c) ? 2 : 1;
    }
    return width;
}

static guint *
column_widths(const Table *table)
{
    guint *widths = g_new0(guint, table->columns + 1);

    for (guint i = 0; i < table->cells->len; i++) {
        guint *width = &widths[i % table->columns];
        *width = MAX(*width, text_width(table->cells->pdata[i]));
    }
    return widths;
}

void
table_print(const Table *table, FILE *out)
{
    g_autofree guint *widths = NULL;

    if (table->columns == 0)
        return;
    widths = column_widths(table);
    for (guint i = 0; i < table->cells->len; i++) {
        const char *cell = table->cells->pdata[i];
        guint column = i % table->columns;
        gboolean last = column + 1 == table->columns;
        int pad = last ? 0 : (int)(widths[column] - text_width(cell) + COLUMN_GAP);
        fprintf(out, "%s%*s%s", cell, pad, "", last ? "\n" : "");
    }
}

/* The names of all members of all @objects, in the order of their first appearance. */
static GPtrArray *
member_names(JsonArray *objects)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    GPtrArray *names = g_ptr_array_new();

    for (guint i = 0; i < json_array_get_length(objects); i++) {
        JsonNode *node = json_array_get_element(objects, i);
        if (!JSON_NODE_HOLDS_OBJECT(node))
            continue;
        g_autoptr(GList) members = json_object_get_members(json_node_get_object(node));
        for (GList *m = members; m != NULL; m = m->next)
            if (g_hash_table_add(seen, m->data))
                g_ptr_array_add(names, m->data);
    }
    return names;
}

/* A table with a column per member, for replies whose members are the daemon's business. */
Table *
table_from_array(JsonArray *objects)
{
    g_autoptr(GPtrArray) names = member_names(objects);
    Table *table = table_new_empty();

    for (guint c = 0; c < names->len; c++)
        table_heading(table, names->pdata[c]);
    for (guint i = 0; i < json_array_get_length(objects); i++) {
        JsonNode *node = json_array_get_element(objects, i);
        if (!JSON_NODE_HOLDS_OBJECT(node))
            continue;
        for (guint c = 0; c < names->len; c++) {
            JsonNode *value = json_object_get_member(json_node_get_object(node), names->pdata[c]);
            g_autofree char *text = table_value_text(value);
            table_cell(table, text);
        }
    }
    return table;
}

/* A JSON value for people: strings without quotes. NULL for no value. */
char *
table_value_text(JsonNode *node)
{
    if (node == NULL || JSON_NODE_HOLDS_NULL(node))
        return NULL;
    if (JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_STRING)
        return g_strdup(json_node_get_string(node));
    return json_to_string(node, FALSE);
}

/* In the largest unit that divides it, so that the figure is exact; odd ones as bytes. */
char *
table_size_text(guint64 bytes)
{
    static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB" };
    guint unit = 0;

    while (unit + 1 < G_N_ELEMENTS(units) && bytes != 0 && bytes % 1024 == 0) {
        bytes /= 1024;
        unit++;
    }
    return g_strdup_printf("%" G_GUINT64_FORMAT " %s", bytes, units[unit]);
}

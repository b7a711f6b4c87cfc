/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <json-glib/json-glib.h>
#include <stdio.h>

/* A table of text, filled cell by cell. Sizes and foreign strings have their own helpers below. */
typedef struct Table Table;

Table *table_new(const char *first_heading, ...) G_GNUC_NULL_TERMINATED;
void table_free(Table *table);
void table_cell(Table *table, const char *text);
void table_cellf(Table *table, const char *format, ...) G_GNUC_PRINTF(2, 3);
void table_print(const Table *table, FILE *out);
Table *table_from_array(JsonArray *objects);
char *table_clean_text(const char *text);
char *table_value_text(JsonNode *node);
char *table_size_text(guint64 bytes);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Table, table_free)

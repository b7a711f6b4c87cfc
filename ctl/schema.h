/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "client.h"

/*
 * The server's schema. @words are those that the line has so far, the command's name first: the
 * value of a tag among them decides which keys there are. Lists are of strings, and the caller's.
 */
typedef struct Schema Schema;

Schema *schema_load(QmpClient *client, GError **error);
void schema_free(Schema *schema);
GPtrArray *schema_commands(const Schema *schema);
GPtrArray *schema_keys(const Schema *schema, const char *command, const char *prefix, char **words);
GPtrArray *schema_values(const Schema *schema, const char *command, const char *key, char **words);
char *schema_describe(const Schema *schema, const char *command);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Schema, schema_free)

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

/*
 * The arguments of a command: an ordered JSON object that is built up. Whatever is wrong with a key
 * or a value is a CTL_ERROR_USAGE that quotes it.
 */
typedef struct Args Args;

Args *args_new(void);
void args_free(Args *args);
gboolean args_set_json(Args *args, const char *key, const char *json, GError **error);
gboolean args_set_string(Args *args, const char *key, const char *value, GError **error);
gboolean args_add_pairs(Args *args, const char *prefix, char **pairs, GError **error);
char *args_text(const Args *args);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Args, args_free)

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

typedef struct Args Args;

Args *args_new(void);
void args_free(Args *args);
gboolean args_set_json(Args *args, const char *key, const char *json, GError **error);
gboolean args_set_string(Args *args, const char *key, const char *value, GError **error);
gboolean args_add_pairs(Args *args, const char *prefix, char **pairs, GError **error);
char *args_text(const Args *args);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Args, args_free)

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

/* JSON as text: checked, taken apart and laid out without a change of any value's spelling. */
gboolean jtext_valid(const char *text, gsize length, gsize *bad);
char *jtext_member(const char *object, const char *name);
char *jtext_quote(const char *string);
char *jtext_pretty(const char *text);

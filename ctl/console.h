/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

/*
 * The far end of a console. @read is called when @fd is readable or, if @poll_ms is not negative,
 * at that interval; it appends to @bytes and returns FALSE at the end of the stream or with @error.
 */
typedef struct {
    int fd; /* -1 for one that is polled */
    int poll_ms;
    gboolean writable;
    gboolean (*read)(gpointer data, GString *bytes, GError **error);
    gpointer data;
} ConsoleEnd;

#define CONSOLE_DETACH_KEY 0x1d /* Ctrl-] */

gboolean console_run(const ConsoleEnd *end, const char *name, int *signal_number, GError **error);
gboolean console_read_fd(gpointer fd, GString *bytes, GError **error);

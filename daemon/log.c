/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * log.c - one writer for everything that goes through g_log().
 *
 * A line a message: continuation lines of a register dump are indented, so that a log reader sees where a message begins. With
 * JOURNAL_STREAM set, lines begin with the <N> priority of sd-daemon(3) instead of a level's name. The chosen level travels
 * as the writer's user data: no global.
 */
#include "log.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct {
    GLogLevelFlags level;
    const char    *name;
    int            priority;
} levels[] = {
    { G_LOG_LEVEL_ERROR, "error", 2 },   { G_LOG_LEVEL_CRITICAL, "critical", 3 }, { G_LOG_LEVEL_WARNING, "warning", 4 },
    { G_LOG_LEVEL_MESSAGE, "notice", 5 }, { G_LOG_LEVEL_INFO, "info", 6 },         { G_LOG_LEVEL_DEBUG, "debug", 7 },
};

typedef struct {
    GLogLevelFlags wanted;
    gboolean       journal;
} LogConfig;

static const char *field_value(const GLogField *fields, gsize n, const char *key)
{
    for (gsize i = 0; i < n; i++) {
        if (strcmp(fields[i].key, key) == 0)
            return fields[i].value;
    }
    return NULL;
}

static void append_indented(GString *line, const char *text)
{
    for (; *text; text++) {
        g_string_append_c(line, *text);
        if (*text == '\n' && text[1])
            g_string_append(line, "    ");
    }
}

static GLogWriterOutput write_line(GLogLevelFlags level, const GLogField *fields, gsize n, gpointer user)
{
    const LogConfig *config = user;
    const char *message = field_value(fields, n, "MESSAGE");

    if (!(level & config->wanted) || !message)
        return G_LOG_WRITER_HANDLED;
    g_autoptr(GString) line = g_string_new(NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(levels); i++) {
        if (!(level & levels[i].level))
            continue;
        if (config->journal)
            g_string_append_printf(line, "<%d>", levels[i].priority);
        else
            g_string_append_printf(line, "backplaned: %s: ", levels[i].name);
        break;
    }
    append_indented(line, message);
    g_string_append_c(line, '\n');
    ssize_t written = write(STDERR_FILENO, line->str, line->len);
    (void)written; /* there is nowhere left to complain to */
    return G_LOG_WRITER_HANDLED;
}

gboolean log_init(const char *level)
{
    static const struct {
        const char    *name;
        GLogLevelFlags last;
    } names[] = { { "error", G_LOG_LEVEL_CRITICAL },
                  { "warning", G_LOG_LEVEL_WARNING },
                  { "info", G_LOG_LEVEL_INFO },
                  { "debug", G_LOG_LEVEL_DEBUG } };

    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        if (strcmp(level, names[i].name) != 0)
            continue;
        LogConfig *config = g_new0(LogConfig, 1);
        config->wanted = (names[i].last << 1) - 1; /* glib's flags grow from ERROR to DEBUG */
        config->journal = g_getenv("JOURNAL_STREAM") != NULL;
        g_log_set_writer_func(write_line, config, g_free);
        return TRUE;
    }
    return FALSE;
}

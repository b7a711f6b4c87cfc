/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The interactive QMP shell.
 *
 * Two things come at any time, keys and events, and a line editor waits for keys only. So the
 * editor reads its characters through shell_read_byte(), which waits for both. An event that comes
 * while a line is being typed is printed in its place: the line is wiped, the event printed, and
 * the line drawn again below. Without a terminal the same function feeds a plain line reader, so a
 * script on standard input sees the same order of things.
 *
 * Ctrl-C ends the shell, as any program: libedit's handler restores the terminal first. (Ctrl-D and
 * `exit` do so too; `quit` is a QMP command and ends the machine.)
 */
#include "shell.h"
#include "args.h"
#include "complete.h"
#include "jtext.h"

#include <errno.h>
#include <histedit.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#define HISTORY_SIZE 1000

typedef struct {
    const Ctl *ctl;
    QmpClient *client;
    Schema *schema; /* NULL where the server has none: then there is no completion */
    EditLine *el;   /* NULL without a terminal */
    History *history;
    char *history_file;
    gboolean editing; /* a prompt is on the screen */
    GError *lost;     /* why the connection ended */
    GError *last;     /* the last command's failure */
} Shell;

/* Carries out `COMMAND key=value...` and prints what it returns. */
gboolean
shell_execute(const Ctl *ctl, QmpClient *client, char **words, GError **error)
{
    g_autoptr(Args) args = args_new();
    g_autofree char *text = NULL, *reply = NULL;

    if (!g_utf8_validate(words[0], -1, NULL)) {
        g_set_error_literal(error, CTL_ERROR, CTL_ERROR_USAGE, "the command is not UTF-8");
        return FALSE;
    }
    if (!args_add_pairs(args, "", words + 1, error))
        return FALSE;
    text = words[1] != NULL ? args_text(args) : NULL;
    reply = client_call(client, words[0], text, error);
    if (reply != NULL)
        ctl_print_json(ctl, reply);
    return reply != NULL;
}

static void
on_event(const char *event, gpointer data)
{
    Shell *shell = data;

    /* \r, then "erase to the end of the line": every terminal in use knows it */
    printf("%s%s\n", shell->editing ? "\r\033[K" : "", event);
    if (shell->editing)
        el_set(shell->el, EL_REFRESH);
    fflush(stdout);
}

/* One byte of input; events are printed meanwhile. 0 at its end, -1 when the connection is lost. */
static int
shell_read_byte(Shell *shell, char *byte)
{
    struct pollfd fds[] = {
        { .fd = STDIN_FILENO, .events = POLLIN },
        { .fd = client_fd(shell->client), .events = POLLIN },
    };

    for (;;) {
        if (poll(fds, G_N_ELEMENTS(fds), -1) < 0) {
            if (errno != EINTR)
                return 0;
            if (shell->editing)
                el_set(shell->el, EL_REFRESH); /* the size changed, or we were in the background */
            continue;
        }
        if (fds[1].revents != 0 && !client_dispatch(shell->client, &shell->lost))
            return -1;
        if (fds[0].revents == 0)
            continue;
        ssize_t n = read(STDIN_FILENO, byte, 1);
        if (n >= 0 || (errno != EINTR && errno != EAGAIN))
            return MAX(n, 0);
    }
}

/* libedit's reader: one character, of as many bytes as it has in this locale. */
static int
shell_read_char(EditLine *el, wchar_t *wc)
{
    mbstate_t state = { 0 };
    Shell *shell = NULL;
    char byte;

    el_get(el, EL_CLIENTDATA, &shell);
    for (;;) {
        int n = shell_read_byte(shell, &byte);
        if (n <= 0)
            return n;
        size_t used = mbrtowc(wc, &byte, 1, &state);
        if (used == (size_t)-1)
            memset(&state, 0, sizeof state); /* not a character here: dropped */
        else if (used != (size_t)-2)
            return 1;
    }
}

static char *
shell_prompt(EditLine *el)
{
    (void)el;
    return (char *)"qmp> "; /* libedit does not write to it */
}

static unsigned char
shell_complete(EditLine *el, int ch)
{
    Shell *shell = NULL;

    (void)ch;
    el_get(el, EL_CLIENTDATA, &shell);
    return complete_line(el, shell->schema);
}

static char *
history_path(void)
{
    g_autofree char *dir = g_build_filename(g_get_user_state_dir(), "backplane", NULL);

    g_mkdir_with_parents(dir, 0700); /* without it there is just no history */
    return g_build_filename(dir, "qmp-history", NULL);
}

static void
shell_open_history(Shell *shell)
{
    HistEvent event;

    shell->history = history_init();
    if (shell->history == NULL)
        return;
    shell->history_file = history_path();
    history(shell->history, &event, H_SETSIZE, HISTORY_SIZE);
    history(shell->history, &event, H_SETUNIQUE, 1);
    history(shell->history, &event, H_LOAD, shell->history_file);
    el_set(shell->el, EL_HIST, history, shell->history);
}

/* Saved at once, since Ctrl-C leaves no later opportunity; libedit makes the file mode 0600. */
static void
shell_remember(Shell *shell, const char *line)
{
    HistEvent event;

    if (shell->history == NULL)
        return;
    history(shell->history, &event, H_ENTER, line);
    history(shell->history, &event, H_SAVE, shell->history_file);
}

static void
shell_open_editor(Shell *shell)
{
    shell->el = el_init("backplanectl", stdin, stdout, stderr);
    if (shell->el == NULL)
        return;
    el_set(shell->el, EL_CLIENTDATA, shell);
    el_set(shell->el, EL_PROMPT, shell_prompt);
    el_set(shell->el, EL_EDITOR, "emacs");
    el_set(shell->el, EL_SIGNAL, 1);
    el_set(shell->el, EL_GETCFN, shell_read_char);
    /* the wide form: the other one leaks the copies that it makes */
    el_wset(shell->el, EL_ADDFN, L"complete", L"Complete the word", shell_complete);
    el_set(shell->el, EL_BIND, "^I", "complete", NULL);
    el_set(shell->el, EL_BIND, "^R", "em-inc-search-prev", NULL);
    shell_open_history(shell);
}

static void
shell_close(Shell *shell)
{
    g_clear_pointer(&shell->el, el_end);
    g_clear_pointer(&shell->history, history_end);
    g_clear_pointer(&shell->schema, schema_free);
    g_clear_error(&shell->lost);
    g_clear_error(&shell->last);
    g_free(shell->history_file);
    client_set_event_func(shell->client, NULL, NULL);
}

static char *
shell_edit_line(Shell *shell)
{
    int length = 0;

    shell->editing = TRUE;
    const char *line = el_gets(shell->el, &length);
    shell->editing = FALSE;
    return line != NULL && length > 0 ? g_strdup(line) : NULL;
}

/* The next line of standard input, NULL at its end. */
static char *
shell_pipe_line(Shell *shell)
{
    g_autoptr(GString) line = g_string_new(NULL);
    char byte;
    int n;

    while ((n = shell_read_byte(shell, &byte)) > 0) {
        g_string_append_c(line, byte);
        if (byte == '\n')
            break;
    }
    if (n < 0 || line->len == 0)
        return NULL;
    return g_string_free(g_steal_pointer(&line), FALSE);
}

static gboolean
shell_help(Shell *shell, const char *command, GError **error)
{
    g_autofree char *text = NULL;

    if (shell->schema == NULL) {
        g_set_error_literal(error, CTL_ERROR, CTL_ERROR_FAILED,
                            "the server has no query-qmp-schema: no help");
        return FALSE;
    }
    if (command != NULL) {
        text = schema_describe(shell->schema, command);
    } else {
        g_autoptr(GPtrArray) names = schema_commands(shell->schema);
        g_ptr_array_add(names, NULL);
        text = g_strjoinv("\n", (char **)names->pdata);
    }
    if (text == NULL)
        g_set_error(error, CTL_ERROR, CTL_ERROR_USAGE, "there is no command '%s'", command);
    else
        puts(text);
    return text != NULL;
}

static gboolean
shell_words(Shell *shell, const char *line, gboolean *end, GError **error)
{
    g_autoptr(GError) wrong = NULL;
    g_auto(GStrv) words = NULL;

    if (!g_shell_parse_argv(line, NULL, &words, &wrong)) {
        if (g_error_matches(wrong, G_SHELL_ERROR, G_SHELL_ERROR_EMPTY_STRING))
            return TRUE; /* nothing but a comment */
        g_set_error_literal(error, CTL_ERROR, CTL_ERROR_USAGE, wrong->message);
        return FALSE;
    }
    *end = g_str_equal(words[0], "exit") && words[1] == NULL;
    if (*end)
        return TRUE;
    if (g_str_equal(words[0], "help"))
        return shell_help(shell, words[1], error);
    return shell_execute(shell->ctl, shell->client, words, error);
}

static gboolean
shell_json(Shell *shell, const char *line, GError **error)
{
    g_autofree char *reply = NULL;

    if (!jtext_valid(line, strlen(line), NULL)) {
        g_set_error_literal(error, CTL_ERROR, CTL_ERROR_USAGE, "this is not JSON");
        return FALSE;
    }
    reply = client_call_text(shell->client, line, error);
    if (reply != NULL)
        ctl_print_json(shell->ctl, reply);
    return reply != NULL;
}

/* Carries out one line; FALSE when the shell has to end. */
static gboolean
shell_line(Shell *shell, char *line)
{
    g_autoptr(GError) wrong = NULL;
    gboolean end = FALSE;

    g_strstrip(line);
    if (*line == '\0')
        return TRUE;
    shell_remember(shell, line);
    if (*line == '{')
        shell_json(shell, line, &wrong);
    else
        shell_words(shell, line, &end, &wrong);
    fflush(stdout);
    if (g_error_matches(wrong, CTL_ERROR, CTL_ERROR_LOST)) {
        shell->lost = g_steal_pointer(&wrong);
        return FALSE;
    }
    if (wrong != NULL) {
        ctl_print_error(wrong);
        g_clear_error(&shell->last);
        shell->last = g_steal_pointer(&wrong);
    }
    return !end;
}

/* A script's failures become its exit status; a person has seen them. */
static gboolean
shell_result(Shell *shell, GError **error)
{
    if (shell->lost != NULL) {
        g_propagate_error(error, g_steal_pointer(&shell->lost));
        return FALSE;
    }
    if (shell->el == NULL && shell->last != NULL) {
        g_propagate_prefixed_error(error, g_steal_pointer(&shell->last), "the last failure: ");
        return FALSE;
    }
    return TRUE;
}

/* Runs until the input ends, or the connection. */
gboolean
shell_run(const Ctl *ctl, QmpClient *client, GError **error)
{
    Shell shell = { .ctl = ctl, .client = client };
    gboolean ok = TRUE;

    shell.schema = schema_load(client, NULL);
    if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO))
        shell_open_editor(&shell);
    client_set_event_func(client, on_event, &shell);
    while (ok) {
        g_autofree char *line = shell.el != NULL ? shell_edit_line(&shell)
                                                 : shell_pipe_line(&shell);
        ok = line != NULL && shell_line(&shell, line);
        if (line == NULL && shell.el != NULL)
            putchar('\n'); /* behind the prompt */
    }
    ok = shell_result(&shell, error);
    shell_close(&shell);
    return ok;
}

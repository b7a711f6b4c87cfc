/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A terminal joined to a character device.
 *
 * The terminal is in raw mode meanwhile, and whatever happens must not stay so. Signals that would
 * end or stop us are therefore blocked and read from a signalfd, in the same poll as everything
 * else: no handler, no global state, and one way out of the loop, which restores the terminal. On
 * SIGTSTP (it can only come from outside: the key is passed on) we restore, stop, and on SIGCONT
 * enter raw mode again; the job control shell changed the modes meanwhile.
 *
 * What is typed may not fit into the device when the guest does not read. The detach key has to
 * work even then, so keys go on being read and are dropped, with a bell; a pipe as input is held
 * instead, since it loses nothing by waiting.
 */
#include "console.h"
#include "ctl.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#define MAX_PENDING 4096

typedef struct {
    const ConsoleEnd *end;
    int signal_fd;
    sigset_t signals;
    gboolean terminal; /* standard input is one */
    gboolean input;    /* standard input has not ended */
    struct termios saved;
    GString *pending; /* typed, not yet taken by the device */
    gboolean detached;
    int signal_number;
} Console;

/* From outside it looks as before: the modes are all that we change. */
static void
restore_terminal(const Console *console)
{
    if (console->terminal)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &console->saved);
}

static void
raw_terminal(const Console *console)
{
    struct termios raw = console->saved;

    if (!console->terminal)
        return;
    cfmakeraw(&raw);
    tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
}

/* Standard output may be a slow or a non-blocking terminal: all of it, in order. */
static gboolean
write_out(const char *bytes, gsize length, GError **error)
{
    while (length > 0) {
        ssize_t n = write(STDOUT_FILENO, bytes, length);
        if (n < 0 && errno == EAGAIN) {
            struct pollfd fd = { .fd = STDOUT_FILENO, .events = POLLOUT };
            poll(&fd, 1, -1);
        } else if (n < 0 && errno != EINTR) {
            g_set_error(error, CTL_ERROR, CTL_ERROR_FAILED, "standard output: %s",
                        g_strerror(errno));
            return FALSE;
        }
        bytes += MAX(n, 0);
        length -= MAX(n, 0);
    }
    return TRUE;
}

/* A ConsoleEnd's read for a plain descriptor. A pty whose other side closed says EIO. */
gboolean
console_read_fd(gpointer fd, GString *bytes, GError **error)
{
    char buffer[4096];
    ssize_t n = read(GPOINTER_TO_INT(fd), buffer, sizeof buffer);

    (void)error;
    if (n > 0)
        g_string_append_len(bytes, buffer, n);
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static gboolean
pump_output(const Console *console, GError **error)
{
    g_autoptr(GString) bytes = g_string_new(NULL);
    gboolean more = console->end->read(console->end->data, bytes, error);

    return write_out(bytes->str, bytes->len, error) && more;
}

/* Queues what was typed; at the detach key the rest is not for the device. */
static void
take_input(Console *console, const char *bytes, gsize length)
{
    const char *key = console->terminal ? memchr(bytes, CONSOLE_DETACH_KEY, length) : NULL;

    if (key != NULL) {
        console->detached = TRUE;
        length = key - bytes;
    }
    if (!console->end->writable)
        return;
    if (console->terminal && console->pending->len + length > MAX_PENDING)
        write_out("\a", 1, NULL);
    else
        g_string_append_len(console->pending, bytes, length);
}

static void
pump_input(Console *console)
{
    char bytes[1024];
    ssize_t n = read(STDIN_FILENO, bytes, sizeof bytes);

    if (n > 0)
        take_input(console, bytes, n);
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        console->input = FALSE;
    /* a terminal that is gone takes its user along */
    if (!console->input && console->terminal)
        console->detached = TRUE;
}

static gboolean
pump_pending(Console *console)
{
    ssize_t n = write(console->end->fd, console->pending->str, console->pending->len);

    if (n > 0)
        g_string_erase(console->pending, 0, n);
    return n >= 0 || errno == EAGAIN || errno == EINTR;
}

static void
stop_and_continue(const Console *console)
{
    restore_terminal(console);
    raise(SIGSTOP); /* SIGTSTP itself is blocked; returns when continued */
    raw_terminal(console);
}

static void
take_signal(Console *console)
{
    struct signalfd_siginfo info;

    if (read(console->signal_fd, &info, sizeof info) != sizeof info)
        return;
    if (info.ssi_signo == SIGTSTP)
        stop_and_continue(console);
    else if (info.ssi_signo == SIGCONT)
        raw_terminal(console);
    else
        console->signal_number = info.ssi_signo;
}

enum { FD_SIGNAL, FD_INPUT, FD_DEVICE, N_FDS };

static void
fill_fds(const Console *console, struct pollfd *fds)
{
    gboolean room = console->terminal || console->pending->len < MAX_PENDING;
    gboolean write = console->pending->len > 0;

    fds[FD_SIGNAL] = (struct pollfd){ .fd = console->signal_fd, .events = POLLIN };
    fds[FD_INPUT] =
        (struct pollfd){ .fd = console->input && room ? STDIN_FILENO : -1, .events = POLLIN };
    fds[FD_DEVICE] =
        (struct pollfd){ .fd = console->end->fd, .events = POLLIN | (write ? POLLOUT : 0) };
}

/* One turn; FALSE when the device's stream has ended, or with @error. */
static gboolean
console_turn(Console *console, GError **error)
{
    struct pollfd fds[N_FDS];
    gboolean open = TRUE;

    fill_fds(console, fds);
    if (poll(fds, N_FDS, console->end->poll_ms) < 0 && errno != EINTR) {
        g_set_error(error, CTL_ERROR, CTL_ERROR_FAILED, "poll: %s", g_strerror(errno));
        return FALSE;
    }
    if (fds[FD_SIGNAL].revents != 0)
        take_signal(console);
    if (fds[FD_INPUT].revents != 0)
        pump_input(console);
    if (fds[FD_DEVICE].revents & POLLOUT)
        open = pump_pending(console);
    if ((fds[FD_DEVICE].revents & ~POLLOUT) != 0 || console->end->fd < 0)
        open = pump_output(console, error) && open;
    return open;
}

static gboolean
console_open(Console *console, GError **error)
{
    static const int caught[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGPIPE };

    console->terminal = tcgetattr(STDIN_FILENO, &console->saved) == 0;
    sigemptyset(&console->signals);
    for (guint i = 0; i < G_N_ELEMENTS(caught); i++)
        sigaddset(&console->signals, caught[i]);
    sigprocmask(SIG_BLOCK, &console->signals, NULL);
    console->signal_fd = signalfd(-1, &console->signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (console->signal_fd < 0)
        g_set_error(error, CTL_ERROR, CTL_ERROR_FAILED, "signalfd: %s", g_strerror(errno));
    return console->signal_fd >= 0;
}

static void
console_close(Console *console)
{
    restore_terminal(console);
    g_string_free(console->pending, TRUE);
    close(console->signal_fd);
}

/*
 * Joins the terminal and @end until the detach key, the end of either side, or a signal, which
 * @signal_number then tells. The signals stay blocked: the caller has only to go away now.
 */
gboolean
console_run(const ConsoleEnd *end, const char *name, int *signal_number, GError **error)
{
    Console console = { .end = end, .input = TRUE };
    g_autoptr(GError) wrong = NULL;
    gboolean open = TRUE;

    if (!console_open(&console, error))
        return FALSE;
    console.pending = g_string_new(NULL);
    if (console.terminal)
        fprintf(stderr, "Connected to %s; Ctrl-] detaches.\n", name);
    raw_terminal(&console);
    while (open && !console.detached && console.signal_number == 0)
        open = console_turn(&console, &wrong);
    if (console.pending->len > 0 && end->fd >= 0)
        pump_pending(&console); /* what was typed just before the detach key */
    console_close(&console);
    *signal_number = console.signal_number;
    if (console.terminal)
        fprintf(stderr, "\n%s: %s.\n", name, open ? "detached" : "closed by the machine");
    if (wrong != NULL)
        g_propagate_error(error, g_steal_pointer(&wrong));
    return error == NULL || *error == NULL;
}

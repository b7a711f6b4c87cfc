/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * start: a daemon for a name, without systemd.
 *
 * A daemon that was killed leaves its socket behind, and the next one can not bind while it is
 * there. Removing it is a race: between "nobody listens" and the unlink another start may have
 * put a fresh socket in that place. So the look, the removal and the start of the daemon happen
 * under a lock (flock on start.lock in the machine's directory), which ends with this process
 * however it ends. The daemon does not inherit it, and must not take it itself.
 *
 * `backplaned --daemonize` returns when its socket listens, or with a failure that it has told on
 * standard error. One connection afterwards is therefore proof enough.
 */
#include "ctl.h"
#include "jtext.h"
#include "paths.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct {
    char *accel;
    char *config;
    char *log;
} StartOptions;

static void
start_options_clear(StartOptions *options)
{
    g_free(options->accel);
    g_free(options->config);
    g_free(options->log);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(StartOptions, start_options_clear)

/* $BACKPLANED, else the one beside this program, else the one in PATH. */
static char *
find_daemon(GError **error)
{
    const char *given = g_getenv("BACKPLANED");
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *dir = self != NULL ? g_path_get_dirname(self) : g_strdup(".");
    g_autofree char *beside = g_build_filename(dir, "backplaned", NULL);
    char *found;

    if (given != NULL && *given != '\0')
        return g_strdup(given);
    if (access(beside, X_OK) == 0)
        return g_steal_pointer(&beside);
    found = g_find_program_in_path("backplaned");
    if (found == NULL)
        g_set_error(error, CTL_ERROR, CTL_ERROR_FAILED,
                    "backplaned is neither at %s nor in PATH: name it by BACKPLANED", beside);
    return found;
}

static gboolean
fail_errno(GError **error, const char *path)
{
    g_set_error(error, CTL_ERROR, CTL_ERROR_FAILED, "%s: %s", path, g_strerror(errno));
    return FALSE;
}

/* Makes the directory of machine @name and locks it. -1 on failure. */
static int
lock_directory(const char *name, GError **error)
{
    g_autofree char *dir = paths_machine_file(name, NULL, error);
    g_autofree char *lock = dir != NULL ? g_build_filename(dir, PATHS_LOCK, NULL) : NULL;
    int fd;

    if (dir == NULL)
        return -1;
    if (g_mkdir_with_parents(dir, 0700) < 0) {
        fail_errno(error, dir);
        return -1;
    }
    fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        fail_errno(error, lock);
    } else if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        g_set_error(error, CTL_ERROR, CTL_ERROR_FAILED,
                    "machine '%s' is being started by another process (%s is locked)", name, lock);
        close(fd);
        fd = -1;
    }
    return fd;
}

/* Under the lock: makes sure that nobody serves @socket, and that no dead socket is in the way. */
static gboolean
clear_socket(const Ctl *ctl, const char *name, const char *socket, GError **error)
{
    g_autoptr(GError) wrong = NULL;
    struct stat st;

    if (lstat(socket, &st) < 0)
        return errno == ENOENT ? TRUE : fail_errno(error, socket);
    if (!S_ISSOCK(st.st_mode)) {
        g_set_error(error, CTL_ERROR, CTL_ERROR_FAILED, "%s is in the way and is no socket",
                    socket);
        return FALSE;
    }
    g_autoptr(QmpClient) client = client_open(socket, ctl_timeout(ctl), &wrong);
    if (client == NULL && g_error_matches(wrong, CTL_ERROR, CTL_ERROR_CONNECT))
        return unlink(socket) == 0 || errno == ENOENT ? TRUE : fail_errno(error, socket);
    g_set_error(error, CTL_ERROR, CTL_ERROR_FAILED, "machine '%s' runs already", name);
    return FALSE;
}

static void
add_option(GPtrArray *argv, const char *option, const char *value)
{
    if (value == NULL)
        return;
    g_ptr_array_add(argv, g_strdup(option));
    g_ptr_array_add(argv, g_strdup(value));
}

static GPtrArray *
daemon_argv(const char *name, const char *socket, const StartOptions *options, char **extra,
            GError **error)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *pidfile = paths_machine_file(name, PATHS_PIDFILE, error);
    g_autofree char *listen = g_strconcat("unix:", socket, NULL);
    char *daemon = pidfile != NULL ? find_daemon(error) : NULL;

    if (daemon == NULL)
        return NULL;
    g_ptr_array_add(argv, daemon);
    add_option(argv, "--name", name);
    add_option(argv, "--qmp", listen);
    add_option(argv, "--pidfile", pidfile);
    add_option(argv, "--accel", options->accel);
    add_option(argv, "--config", options->config);
    add_option(argv, "--log", options->log);
    g_ptr_array_add(argv, g_strdup("--daemonize"));
    for (; *extra != NULL; extra++)
        g_ptr_array_add(argv, g_strdup(*extra));
    g_ptr_array_add(argv, NULL);
    return g_steal_pointer(&argv);
}

/* Waits for the end of @pid; FALSE if that does not come in time. */
static gboolean
wait_process(pid_t pid, double timeout, int *status)
{
    int fd = pidfd_open(pid, 0);
    struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
    int ready = 1;

    if (fd >= 0) {
        int wait_ms = timeout <= 0 ? -1 : (int)MIN(timeout * 1000, G_MAXINT);
        do
            ready = poll(&poll_fd, 1, wait_ms);
        while (ready < 0 && errno == EINTR);
        close(fd);
    }
    if (ready == 0)
        kill(pid, SIGTERM);
    while (waitpid(pid, status, ready == 0 ? WNOHANG : 0) < 0 && errno == EINTR)
        ;
    return ready != 0;
}

static gboolean
run_daemon(char **argv, double timeout, GError **error)
{
    g_autoptr(GError) wrong = NULL;
    int status = 0;
    GPid pid;

    if (!g_spawn_async(NULL, argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL, &pid, &wrong)) {
        g_set_error(error, CTL_ERROR, CTL_ERROR_FAILED, "%s: %s", argv[0], wrong->message);
        return FALSE;
    }
    if (!wait_process(pid, timeout, &status)) {
        g_set_error(error, CTL_ERROR, CTL_ERROR_TIMEOUT,
                    "%s has not come up within %g s and was told to end", argv[0], timeout);
        return FALSE;
    }
    if (!g_spawn_check_wait_status(status, &wrong)) {
        g_set_error(error, CTL_ERROR, CTL_ERROR_FAILED, "%s: %s", argv[0], wrong->message);
        return FALSE;
    }
    return TRUE;
}

static gboolean
start_locked(const Ctl *ctl, const char *name, const StartOptions *options, char **extra,
             GError **error)
{
    g_autofree char *socket = paths_socket(name, error);
    g_autoptr(GPtrArray) argv = NULL;
    g_autoptr(QmpClient) client = NULL;

    if (socket == NULL || !clear_socket(ctl, name, socket, error) ||
        (argv = daemon_argv(name, socket, options, extra, error)) == NULL ||
        !run_daemon((char **)argv->pdata, ctl_timeout(ctl), error))
        return FALSE;
    client = client_open(socket, ctl_timeout(ctl), error);
    if (client == NULL) {
        g_prefix_error(error, "the daemon was started, but: ");
        return FALSE;
    }
    if (ctl->json) {
        g_autofree char *quoted = jtext_quote(socket);
        printf("{\"name\": \"%s\", \"pid\": %d, \"socket\": %s}\n", name,
               (int)paths_machine_pid(name), quoted);
    }
    return TRUE;
}

/* The name may be the first word or -m's; what follows -- is for the daemon. */
static char *
take_name(Ctl *ctl, char ***rest, GError **error)
{
    char *name = g_strdup(ctl->machine);

    if (name == NULL && **rest != NULL && !g_str_equal(**rest, "--"))
        name = g_strdup(*(*rest)++);
    if (name == NULL) {
        g_set_error_literal(error, CTL_ERROR, CTL_ERROR_USAGE, "the machine needs a NAME");
        return NULL;
    }
    if (**rest != NULL && !g_str_equal(**rest, "--")) {
        g_set_error(error, CTL_ERROR, CTL_ERROR_USAGE,
                    "'%s': arguments for backplaned go behind --", **rest);
        g_clear_pointer(&name, g_free);
    } else if (**rest != NULL) {
        (*rest)++;
    }
    return name;
}

gboolean
cmd_start(Ctl *ctl, char ***args, GError **error)
{
    g_auto(StartOptions) options = { NULL, NULL, NULL };
    const GOptionEntry entries[] = {
        { "accel", 'a', 0, G_OPTION_ARG_STRING, &options.accel, NULL, NULL },
        { "config", 'c', 0, G_OPTION_ARG_FILENAME, &options.config, NULL, NULL },
        { "log", 'l', 0, G_OPTION_ARG_STRING, &options.log, NULL, NULL },
        G_OPTION_ENTRY_NULL,
    };
    g_autofree char *name = NULL;
    int lock;

    if (!ctl_parse(ctl, entries, args, 0, CTL_ANY_NUMBER - 1, error))
        return FALSE;
    if (ctl->socket != NULL) {
        g_set_error_literal(error, CTL_ERROR, CTL_ERROR_USAGE,
                            "start takes a NAME, from which the socket follows, and no -s");
        return FALSE;
    }
    char **rest = *args + 1;
    /* checked before the lock, so that a bad name makes no directory */
    if ((name = take_name(ctl, &rest, error)) == NULL || !paths_check_name(name, error))
        return FALSE;
    g_autofree char *socket = paths_socket(name, error);
    if (socket == NULL || (lock = lock_directory(name, error)) < 0)
        return FALSE;
    gboolean ok = start_locked(ctl, name, &options, rest, error);
    close(lock);
    return ok;
}

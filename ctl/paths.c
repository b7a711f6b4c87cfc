/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where a machine of a name has its files, and which machines run.
 *
 * Each machine has a directory in the runtime directory, holding its socket and the pid file of its
 * daemon. Which ones run is told by the pid files and never by connecting: where systemd holds the
 * socket, a connection would start the machine that was asked about.
 */
#include "paths.h"
#include "ctl.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_SOCKET_PATH (sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1)
#define NAME_CHARACTERS G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "._:@+-"

/* The directory of all machines of this user. */
char *
paths_runtime_dir(GError **error)
{
    const char *dir = g_getenv("BACKPLANE_RUNTIME_DIR");

    if (dir != NULL && *dir != '\0')
        return g_strdup(dir);
    if (geteuid() == 0)
        return g_strdup("/run/backplane");
    dir = g_getenv("XDG_RUNTIME_DIR");
    if (dir != NULL && *dir != '\0')
        return g_build_filename(dir, "backplane", NULL);
    g_set_error_literal(error, CTL_ERROR, CTL_ERROR_CONNECT,
                        "XDG_RUNTIME_DIR is not set, so machines have no place: set it, or name "
                        "the socket by -s");
    return NULL;
}

/* A name becomes a directory and a systemd instance: it must be harmless as both. */
gboolean
paths_check_name(const char *name, GError **error)
{
    gsize good = strspn(name, NAME_CHARACTERS);

    if (name[good] != '\0') {
        g_autofree char *shown = g_utf8_make_valid(name, -1);
        g_set_error(error, CTL_ERROR, CTL_ERROR_USAGE,
                    "machine name '%s': only letters, digits and . _ : @ + - are allowed", shown);
        return FALSE;
    }
    if (good == 0 || *name == '.' || *name == '-') {
        g_set_error(error, CTL_ERROR, CTL_ERROR_USAGE,
                    "machine name '%s': it must begin with a letter, a digit or one of _ : @ +",
                    name);
        return FALSE;
    }
    return TRUE;
}

/* The kernel's limit; a longer path would be cut, and another socket meant than the one named. */
gboolean
paths_check_socket(const char *path, GError **error)
{
    if (strlen(path) > 0 && strlen(path) <= MAX_SOCKET_PATH)
        return TRUE;
    g_set_error(error, CTL_ERROR, CTL_ERROR_USAGE,
                "socket path '%s' has %zu bytes: from 1 to %zu are allowed", path, strlen(path),
                MAX_SOCKET_PATH);
    return FALSE;
}

/* A file in the directory of machine @name, or that directory if @file is NULL. */
char *
paths_machine_file(const char *name, const char *file, GError **error)
{
    g_autofree char *dir = NULL;

    if (!paths_check_name(name, error) || (dir = paths_runtime_dir(error)) == NULL)
        return NULL;
    return g_build_filename(dir, name, file, NULL);
}

char *
paths_socket(const char *name, GError **error)
{
    g_autofree char *path = paths_machine_file(name, PATHS_SOCKET, error);

    return path != NULL && paths_check_socket(path, error) ? g_steal_pointer(&path) : NULL;
}

/* The process in the pid file of machine @name if it lives, else 0. */
pid_t
paths_machine_pid(const char *name)
{
    g_autofree char *path = paths_machine_file(name, PATHS_PIDFILE, NULL);
    g_autofree char *text = NULL;
    guint64 pid = 0;

    if (path == NULL || !g_file_get_contents(path, &text, NULL, NULL))
        return 0;
    if (!g_ascii_string_to_unsigned(g_strstrip(text), 10, 1, G_MAXINT32, &pid, NULL))
        return 0;
    /* another user's process can not be signalled, but it is there */
    return kill(pid, 0) == 0 || errno == EPERM ? (pid_t)pid : 0;
}

static int
compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names of the machines that run, sorted. */
GPtrArray *
paths_running(GError **error)
{
    g_autofree char *dir = paths_runtime_dir(error);
    g_autoptr(GDir) entries = NULL;
    GPtrArray *names;
    const char *name;

    if (dir == NULL)
        return NULL;
    names = g_ptr_array_new_with_free_func(g_free);
    entries = g_dir_open(dir, 0, NULL); /* no directory: no machine was ever started */
    while (entries != NULL && (name = g_dir_read_name(entries)) != NULL)
        if (paths_check_name(name, NULL) && paths_machine_pid(name) != 0)
            g_ptr_array_add(names, g_strdup(name));
    g_ptr_array_sort(names, compare_names);
    return names;
}

/* The machine that is meant when none is named. */
char *
paths_default_machine(GError **error)
{
    const char *given = g_getenv("BACKPLANE_MACHINE");
    g_autoptr(GPtrArray) running = NULL;
    g_autofree char *list = NULL;

    if (given != NULL && *given != '\0')
        return g_strdup(given);
    if ((running = paths_running(error)) == NULL)
        return NULL;
    if (running->len == 1)
        return g_strdup(running->pdata[0]);
    if (running->len == 0) {
        g_set_error_literal(error, CTL_ERROR, CTL_ERROR_CONNECT,
                            "no machine runs: name one by -m, or its socket by -s");
        return NULL;
    }
    g_ptr_array_add(running, NULL);
    list = g_strjoinv(", ", (char **)running->pdata);
    g_set_error(error, CTL_ERROR, CTL_ERROR_CONNECT,
                "several machines run (%s): name the one that is meant by -m", list);
    return NULL;
}

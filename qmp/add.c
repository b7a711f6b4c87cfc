/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* add.c - from the words of the command line, or an inherited descriptor, to a listener or session.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>

#include "../common/util.h"
#include "internal.h"

typedef struct {
    gboolean server, readonly;
} Options;

static gboolean parse_switch(const char *spec, const char *word, const char *value, gboolean *out,
                             GError **error)
{
    if (strcmp(value, "on") == 0)
        *out = TRUE;
    else if (strcmp(value, "off") == 0)
        *out = FALSE;
    else
        return error_set(error, "QMP socket '%s': '%s' is neither on nor off", spec, word);
    return TRUE;
}

static gboolean parse_options(const char *spec, char **words, Options *o, GError **error)
{
    for (; *words; words++) {
        gboolean ok;

        if (g_str_has_prefix(*words, "server="))
            ok = parse_switch(spec, *words, *words + strlen("server="), &o->server, error);
        else if (g_str_has_prefix(*words, "readonly="))
            ok = parse_switch(spec, *words, *words + strlen("readonly="), &o->readonly, error);
        else
            ok = error_set(error,
                           "QMP socket '%s': unknown option '%s' (there are server=, readonly=)",
                           spec, *words);
        if (!ok)
            return FALSE;
    }
    return TRUE;
}

static void add_listener(QmpServer *server, QmpListener *l)
{
    g_ptr_array_add(server->listeners, l);
    qmp_server_watch(server, qmp_listener_fd(l), qmp_listener_watch(l), EPOLLIN);
}

static gboolean add_path(QmpServer *server, const char *path, const Options *o, GError **error)
{
    QmpListener *l;

    if (!o->server) {
        int fd = qmp_connect(path, error);

        if (fd >= 0)
            qmp_session_new(server, fd, o->readonly);
        return fd >= 0;
    }
    l = qmp_listener_new(server, path, o->readonly, error);
    if (!l)
        return FALSE;
    add_listener(server, l);
    return TRUE;
}

static gboolean add_number(QmpServer *server, const char *spec, const char *number,
                           const Options *o, GError **error)
{
    guint64 fd;

    if (!g_ascii_string_to_unsigned(number, 10, 0, G_MAXINT, &fd, NULL))
        return error_set(error, "QMP socket '%s': '%s' is not the number of a file descriptor",
                         spec, number);
    if (!o->server)
        return error_set(error, "QMP socket '%s': server=off goes with unix:PATH only", spec);
    return qmp_server_add_fd(server, (int)fd, o->readonly, error);
}

gboolean qmp_server_add(QmpServer *server, const char *spec, GError **error)
{
    g_auto(GStrv) words = g_strsplit(spec, ",", -1);
    Options o = { .server = TRUE };

    if (!words[0])
        return error_set(error, "QMP socket: nothing given");
    if (!parse_options(spec, words + 1, &o, error))
        return FALSE;
    if (g_str_has_prefix(words[0], "unix:"))
        return add_path(server, words[0] + strlen("unix:"), &o, error);
    if (g_str_has_prefix(words[0], "fd:"))
        return add_number(server, spec, words[0] + strlen("fd:"), &o, error);
    return error_set(error, "QMP socket '%s': it is unix:PATH or fd:NUMBER", spec);
}

gboolean qmp_server_add_fd(QmpServer *server, int fd, gboolean readonly, GError **error)
{
    int type = 0, listening = 0, flags;
    socklen_t len = sizeof(int);

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
        return error_set_errno(error, errno, "File descriptor %d can not be used for QMP", fd);
    if (type != SOCK_STREAM)
        return error_set(error, "File descriptor %d is a socket of type %d, not a stream", fd,
                         type);
    flags = fcntl(fd, F_GETFL);
    if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return error_set_errno(error, errno, "File descriptor %d", fd);
    len = sizeof listening;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && listening)
        add_listener(server, qmp_listener_new_fd(server, fd, readonly));
    else
        qmp_session_new(server, fd, readonly);
    return TRUE;
}

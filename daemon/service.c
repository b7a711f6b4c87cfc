/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * service.c - libsystemd, opened on first use: sd_notify and the inherited sockets.
 *
 * The symbols are looked up by name with the types of the library's own header, so a wrong call does not compile. The
 * service manager's environment is taken out of ours: children would answer in our name.
 */
#include "service.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <systemd/sd-daemon.h>

#include "../common/error.h"

struct Service {
    void *library;
    __typeof__(sd_notify) *notify;
    __typeof__(sd_listen_fds_with_names) *listen_fds;
    char **names; /* of the inherited descriptors, in order; NULL: none */
    int    n_fds;
};

static gboolean bind_symbols(Service *s, GError **error)
{
    s->library = dlopen("libsystemd.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!s->library)
        return error_set(error, "started by systemd, but libsystemd can not be opened: %s", dlerror());
    *(void **)&s->notify = dlsym(s->library, "sd_notify");
    *(void **)&s->listen_fds = dlsym(s->library, "sd_listen_fds_with_names");
    if (!s->notify || !s->listen_fds)
        return error_set(error, "libsystemd lacks sd_notify or sd_listen_fds_with_names");
    return TRUE;
}

Service *service_new(GError **error)
{
    if (!g_getenv("NOTIFY_SOCKET") && !g_getenv("LISTEN_FDS"))
        return NULL;
    Service *s = g_new0(Service, 1);
    if (!bind_symbols(s, error)) {
        service_free(s);
        return NULL;
    }
    s->n_fds = s->listen_fds(1, &s->names);
    if (s->n_fds < 0) {
        error_set_errno(error, -s->n_fds, "can not take the sockets inherited from systemd");
        service_free(s);
        return NULL;
    }
    /* libsystemd marks them as its own. Unmarked they are what any inherited descriptor is: free to be taken, once. */
    for (int i = 0; i < s->n_fds; i++)
        fcntl(SD_LISTEN_FDS_START + i, F_SETFD, 0);
    return s;
}

void service_free(Service *s)
{
    if (!s)
        return;
    for (int i = 0; s->names && s->names[i]; i++)
        free(s->names[i]); /* libsystemd's, hence malloc's */
    free(s->names);
    /* The library stays open: unloading one that may have started something gains nothing at the end of a process. */
    g_free(s);
}

int service_take_fd(Service *s, const char *name, GError **error)
{
    g_autoptr(GString) have = g_string_new(NULL);

    for (int i = 0; s && i < s->n_fds; i++) {
        if (strcmp(s->names[i], name) == 0)
            return SD_LISTEN_FDS_START + i;
        g_string_append_printf(have, "%s%s", i ? ", " : "", s->names[i]);
    }
    error_set(error, "no inherited socket is named '%s'; there are: %s", name, have->len ? have->str : "none");
    return -1;
}

static void notify(Service *s, const char *state)
{
    if (s)
        s->notify(0, state);
}

void service_ready(Service *s, const char *status)
{
    g_autofree char *text = g_strdup_printf("READY=1\nSTATUS=%s", status);
    notify(s, text);
}

void service_status(Service *s, const char *status)
{
    if (!s)
        return;
    g_autofree char *text = g_strdup_printf("STATUS=%s", status);
    notify(s, text);
}

void service_stopping(Service *s)
{
    notify(s, "STOPPING=1\nSTATUS=ending");
}

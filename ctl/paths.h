/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <sys/types.h>

/* The files in a machine's directory: the socket, the daemon's process id, the lock of `start`. */
#define PATHS_SOCKET "qmp.sock"
#define PATHS_PIDFILE "backplaned.pid"
#define PATHS_LOCK "start.lock"

char *paths_runtime_dir(GError **error);
gboolean paths_check_name(const char *name, GError **error);
gboolean paths_check_socket(const char *path, GError **error);
char *paths_machine_file(const char *name, const char *file, GError **error);
char *paths_socket(const char *name, GError **error);
pid_t paths_machine_pid(const char *name);
GPtrArray *paths_running(GError **error);
char *paths_default_machine(GError **error);

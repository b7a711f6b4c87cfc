/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * service.h - the service manager above us, where there is one.
 *
 * libsystemd is opened only if the environment says that systemd started us (NOTIFY_SOCKET or LISTEN_FDS): a daemon started
 * by hand pays nothing for it. Every function takes NULL for "no service manager".
 */
#pragma once

#include <glib.h>

typedef struct Service Service;

/* NULL without an error: started by hand. NULL with an error: asked for, and libsystemd is not there. */
Service *service_new(GError **error);
void     service_free(Service *s);

/* The inherited socket named NAME (FileDescriptorName= of the socket unit); -1 with an error naming those there are. */
int      service_take_fd(Service *s, const char *name, GError **error);

void     service_ready(Service *s, const char *status);
void     service_status(Service *s, const char *status);
void     service_stopping(Service *s);

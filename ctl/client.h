/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <json-glib/json-glib.h>

/*
 * A connection, negotiated. One thread, one request at a time. Texts are JSON; those returned are
 * the caller's. Errors are of CTL_ERROR: DAEMON for an error that was answered, and CONNECT,
 * TIMEOUT, LOST or FAILED (the other side speaks no QMP), after which only client_close() is left;
 * but after a TIMEOUT of a call others may follow.
 */
typedef struct QmpClient QmpClient;

/* Called with the text of each event as it comes. */
typedef void (*ClientEventFunc)(const char *event, gpointer data);

QmpClient *client_open(const char *path, double timeout, GError **error);
void client_close(QmpClient *client);
int client_fd(const QmpClient *client);
char *client_call(QmpClient *client, const char *command, const char *arguments, GError **error);
char *client_call_text(QmpClient *client, const char *request, GError **error);
JsonNode *client_query(QmpClient *client, const char *command, const char *arguments,
                       GError **error);
char *client_next_event(QmpClient *client, gint64 deadline, GError **error);
gboolean client_wait_end(QmpClient *client, GError **error);
void client_set_event_func(QmpClient *client, ClientEventFunc func, gpointer data);
gboolean client_dispatch(QmpClient *client, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(QmpClient, client_close)

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The client's side of QMP, synchronous: one request, then its reply.
 *
 * Events may come at any time, before the reply too; they are queued, or handed to a callback where
 * someone wants them at once. Every request of ours carries a number as its id, so that the late
 * reply to a request that was given up (in the shell, after a timeout) is not taken for the reply
 * to the next one. A request that the user wrote goes out byte for byte, and its reply is known by
 * the id that the user gave, or by having none.
 *
 * All waiting is in client_read(), against a deadline in monotonic time; -1 is no deadline.
 */
#include "client.h"
#include "ctl.h"
#include "frame.h"
#include "jtext.h"

#include <gio/gio.h>
#include <gio/gunixsocketaddress.h>
#include <string.h>

#define READ_SIZE (64 * 1024)
#define RETRY_CONNECT_USEC (20 * 1000)

struct QmpClient {
    GSocket *socket;
    char *path;
    double timeout;
    Frame *frame;
    GQueue events; /* of text, while there is no event_func */
    guint64 last_id;
    ClientEventFunc event_func;
    gpointer event_data;
};

void
client_close(QmpClient *client)
{
    g_clear_object(&client->socket);
    g_queue_clear_full(&client->events, g_free);
    frame_free(client->frame);
    g_free(client->path);
    g_free(client);
}

int
client_fd(const QmpClient *client)
{
    return g_socket_get_fd(client->socket);
}

/* Waits until @condition holds. */
static gboolean
client_poll(QmpClient *client, GIOCondition condition, gint64 deadline, const char *what,
            GError **error)
{
    gint64 left = deadline < 0 ? -1 : MAX(0, deadline - g_get_monotonic_time());
    g_autoptr(GError) wrong = NULL;

    if (g_socket_condition_timed_wait(client->socket, condition, left, NULL, &wrong))
        return TRUE;
    if (g_error_matches(wrong, G_IO_ERROR, G_IO_ERROR_TIMED_OUT))
        g_set_error(error, CTL_ERROR, CTL_ERROR_TIMEOUT, "%s: no %s in time", client->path, what);
    else
        g_set_error(error, CTL_ERROR, CTL_ERROR_LOST, "%s: waiting for %s: %s", client->path, what,
                    wrong->message);
    return FALSE;
}

/* Reads once, when there is something. FALSE also at the end of the stream: CTL_ERROR_LOST. */
static gboolean
client_read(QmpClient *client, gint64 deadline, const char *what, GError **error)
{
    char bytes[READ_SIZE];
    g_autoptr(GError) wrong = NULL;
    gssize got;

    if (!client_poll(client, G_IO_IN, deadline, what, error))
        return FALSE;
    got = g_socket_receive(client->socket, bytes, sizeof bytes, NULL, &wrong);
    if (got > 0)
        frame_feed(client->frame, bytes, got);
    else if (!g_error_matches(wrong, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK)) {
        g_set_error(error, CTL_ERROR, CTL_ERROR_LOST, "%s: the connection ended before %s",
                    client->path, what);
        return FALSE;
    }
    return TRUE;
}

/* The next message of any kind. @what names the one hoped for, for errors. */
static char *
client_message(QmpClient *client, gint64 deadline, const char *what, GError **error)
{
    g_autoptr(GError) wrong = NULL;

    for (;;) {
        g_autofree char *text = frame_take(client->frame, &wrong);
        if (text != NULL && jtext_valid(text, strlen(text), NULL))
            return g_steal_pointer(&text);
        if (text != NULL)
            g_set_error(&wrong, CTL_ERROR, CTL_ERROR_FAILED, "a message came that is not JSON");
        if (wrong != NULL) {
            g_propagate_prefixed_error(error, g_steal_pointer(&wrong), "%s: ", client->path);
            return NULL;
        }
        if (!client_read(client, deadline, what, error))
            return NULL;
    }
}

/* Takes @text if it is an event. */
static gboolean
client_take_event(QmpClient *client, char **text)
{
    g_autofree char *name = jtext_member(*text, "event");

    if (name == NULL)
        return FALSE;
    if (client->event_func != NULL) {
        client->event_func(*text, client->event_data);
        g_clear_pointer(text, g_free);
    } else {
        g_queue_push_tail(&client->events, g_steal_pointer(text));
    }
    return TRUE;
}

static gboolean
client_send(QmpClient *client, const char *request, gint64 deadline, GError **error)
{
    g_autofree char *line = g_strconcat(request, "\n", NULL);
    gsize sent = 0, length = strlen(line);

    while (sent < length) {
        g_autoptr(GError) wrong = NULL;
        gssize n;
        if (!client_poll(client, G_IO_OUT, deadline, "room for the request", error))
            return FALSE;
        n = g_socket_send(client->socket, line + sent, length - sent, NULL, &wrong);
        if (n >= 0)
            sent += n;
        else if (!g_error_matches(wrong, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK)) {
            g_set_error(error, CTL_ERROR, CTL_ERROR_LOST, "%s: sending the request: %s",
                        client->path, wrong->message);
            return FALSE;
        }
    }
    return TRUE;
}

/* The "return" of a reply, or its "error" as a GError. */
static char *
client_result(QmpClient *client, const char *reply, GError **error)
{
    g_autofree char *result = jtext_member(reply, "return");
    g_autofree char *failure = jtext_member(reply, "error");
    g_autoptr(JsonNode) node = failure != NULL ? json_from_string(failure, NULL) : NULL;
    JsonObject *object = ctl_object(node, "error", NULL);

    if (result != NULL)
        return g_steal_pointer(&result);
    if (object == NULL) {
        g_set_error(error, CTL_ERROR, CTL_ERROR_FAILED,
                    "%s: a reply has neither \"return\" nor \"error\"", client->path);
        return NULL;
    }
    const char *class = ctl_string_member(object, "class");
    const char *desc = ctl_string_member(object, "desc");
    g_set_error(error, CTL_ERROR, CTL_ERROR_DAEMON, "%s: %s", class != NULL ? class : "(no class)",
                desc != NULL ? desc : "(no description)");
    return NULL;
}

/* Whether @reply answers the request with @id (JSON text, NULL for none). */
static gboolean
reply_matches(const char *reply, const char *id)
{
    g_autofree char *got = jtext_member(reply, "id");
    g_autofree char *error = jtext_member(reply, "error");

    if (got == NULL)
        return id == NULL || error != NULL; /* what could not be read has no id to give back */
    if (id == NULL)
        return FALSE;
    g_autoptr(JsonNode) a = json_from_string(got, NULL);
    g_autoptr(JsonNode) b = json_from_string(id, NULL);
    return a != NULL && b != NULL && json_node_equal(a, b);
}

static char *
client_exchange(QmpClient *client, const char *request, const char *id, const char *what,
                GError **error)
{
    gint64 deadline = ctl_deadline(client->timeout);
    g_autofree char *hoped = g_strdup_printf("reply to %s", what);

    if (!client_send(client, request, deadline, error))
        return NULL;
    for (;;) {
        g_autofree char *text = client_message(client, deadline, hoped, error);
        if (text == NULL)
            return NULL;
        if (!client_take_event(client, &text) && reply_matches(text, id))
            return client_result(client, text, error);
    }
}

/* Carries out @command with @arguments (a JSON object, or NULL); answers the JSON it returned. */
char *
client_call(QmpClient *client, const char *command, const char *arguments, GError **error)
{
    g_autofree char *id = g_strdup_printf("%" G_GUINT64_FORMAT, ++client->last_id);
    g_autofree char *name = jtext_quote(command);
    g_autofree char *request =
        g_strdup_printf("{\"execute\": %s%s%s, \"id\": %s}", name,
                        arguments != NULL ? ", \"arguments\": " : "",
                        arguments != NULL ? arguments : "", id);

    return client_exchange(client, request, id, command, error);
}

/* Sends a whole request (a JSON object) as it is. */
char *
client_call_text(QmpClient *client, const char *request, GError **error)
{
    g_autofree char *id = jtext_member(request, "id");

    return client_exchange(client, request, id, "the request", error);
}

/* As client_call(), with the result parsed. */
JsonNode *
client_query(QmpClient *client, const char *command, const char *arguments, GError **error)
{
    g_autofree char *reply = client_call(client, command, arguments, error);

    return reply != NULL ? json_from_string(reply, error) : NULL;
}

/* The next event, from the queue or as it comes. Replies that come too late are dropped. */
char *
client_next_event(QmpClient *client, gint64 deadline, GError **error)
{
    while (g_queue_is_empty(&client->events)) {
        g_autofree char *text = client_message(client, deadline, "event", error);
        if (text == NULL)
            return NULL;
        client_take_event(client, &text);
    }
    return g_queue_pop_head(&client->events);
}

/* Waits until the daemon has closed the connection, as it does when its process ends. */
gboolean
client_wait_end(QmpClient *client, GError **error)
{
    gint64 deadline = ctl_deadline(client->timeout);
    g_autoptr(GError) wrong = NULL;

    while (wrong == NULL)
        g_free(client_message(client, deadline, "the end of the daemon", &wrong));
    if (g_error_matches(wrong, CTL_ERROR, CTL_ERROR_LOST))
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&wrong));
    return FALSE;
}

/* From now on events go to @func; what is queued goes there at once. */
void
client_set_event_func(QmpClient *client, ClientEventFunc func, gpointer data)
{
    client->event_func = func;
    client->event_data = data;
    for (char *event; func != NULL && (event = g_queue_pop_head(&client->events)) != NULL;) {
        func(event, data);
        g_free(event);
    }
}

/* Reads what has arrived, without waiting, and hands over the events in it. */
gboolean
client_dispatch(QmpClient *client, GError **error)
{
    g_autoptr(GError) wrong = NULL;

    for (;;) {
        g_autofree char *text = client_message(client, 0, "more came", &wrong);
        if (text == NULL)
            break;
        client_take_event(client, &text);
    }
    if (g_error_matches(wrong, CTL_ERROR, CTL_ERROR_TIMEOUT))
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&wrong));
    return FALSE;
}

static GSocket *
make_socket(GError **error)
{
    GSocket *socket =
        g_socket_new(G_SOCKET_FAMILY_UNIX, G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_DEFAULT, error);

    if (socket != NULL)
        g_socket_set_blocking(socket, FALSE);
    return socket;
}

/* A listener whose backlog is full answers EAGAIN, and there is no event to wait for. */
static gboolean
client_connect(QmpClient *client, gint64 deadline, GError **error)
{
    g_autoptr(GSocketAddress) address = g_unix_socket_address_new(client->path);

    for (;;) {
        g_autoptr(GError) wrong = NULL;
        if (g_socket_connect(client->socket, address, NULL, &wrong))
            return TRUE;
        gboolean full = g_error_matches(wrong, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK) ||
                        g_error_matches(wrong, G_IO_ERROR, G_IO_ERROR_PENDING);
        if (full && (deadline < 0 || g_get_monotonic_time() < deadline)) {
            g_usleep(RETRY_CONNECT_USEC);
            continue;
        }
        if (full)
            g_set_error(error, CTL_ERROR, CTL_ERROR_TIMEOUT, "%s: no connection accepted in time",
                        client->path);
        else if (g_error_matches(wrong, G_IO_ERROR, G_IO_ERROR_CONNECTION_REFUSED))
            g_set_error(error, CTL_ERROR, CTL_ERROR_CONNECT,
                        "%s: nobody listens on this socket (the machine has ended)", client->path);
        else
            g_set_error(error, CTL_ERROR, CTL_ERROR_CONNECT, "can not connect: %s: %s",
                        client->path, wrong->message);
        return FALSE;
    }
}

static gboolean
client_greet(QmpClient *client, gint64 deadline, GError **error)
{
    g_autofree char *text = client_message(client, deadline, "greeting", error);
    g_autofree char *greeting = text != NULL ? jtext_member(text, "QMP") : NULL;
    g_autofree char *reply = NULL;

    if (text != NULL && greeting == NULL)
        g_set_error(error, CTL_ERROR, CTL_ERROR_FAILED, "%s: the greeting is not that of QMP",
                    client->path);
    if (greeting == NULL)
        return FALSE;
    reply = client_call(client, "qmp_capabilities", NULL, error);
    return reply != NULL;
}

/* Connects and negotiates. @timeout, in seconds or 0, holds for this and for each later call. */
QmpClient *
client_open(const char *path, double timeout, GError **error)
{
    g_autoptr(QmpClient) client = g_new0(QmpClient, 1);
    gint64 deadline = ctl_deadline(timeout);

    client->path = g_strdup(path);
    client->timeout = timeout;
    client->frame = frame_new();
    g_queue_init(&client->events);
    client->socket = make_socket(error);
    if (client->socket == NULL || !client_connect(client, deadline, error) ||
        !client_greet(client, deadline, error))
        return NULL;
    return g_steal_pointer(&client);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * server.c - the main-loop source that drives listeners and sessions; events.
 *
 * See internal.h for the shape. The source has no prepare or check function: glib polls its one
 * descriptor and compares its ready time, which is 0 while there is a backlog or a session to bury,
 * else the next instant at which a held event or a pause of accept() ends.
 *
 * Out of descriptors, accept() would fail at every iteration with the connection still waiting: all
 * listeners leave the epoll set for a second, or until a session ends, and that is logged once a
 * minute at most.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "internal.h"

#define BATCH        64
#define FLUSH_US     (100 * G_TIME_SPAN_MILLISECOND)
#define WARN_EACH_US (60 * G_USEC_PER_SEC)

/* ---- the epoll set ---- */

static void watch_ctl(QmpServer *server, int op, int fd, QmpWatch *watch, guint32 events)
{
    struct epoll_event event = { .events = events, .data.ptr = watch };

    if (epoll_ctl(server->epoll, op, fd, &event) < 0)
        g_error("epoll_ctl: %s", g_strerror(errno));
}

void qmp_server_watch(QmpServer *server, int fd, QmpWatch *watch, guint32 events)
{
    watch_ctl(server, EPOLL_CTL_ADD, fd, watch, events);
}

void qmp_server_rewatch(QmpServer *server, int fd, QmpWatch *watch, guint32 events)
{
    watch_ctl(server, EPOLL_CTL_MOD, fd, watch, events);
}

static void watch_listeners(QmpServer *server, guint32 events)
{
    for (guint i = 0; i < server->listeners->len; i++) {
        QmpListener *l = g_ptr_array_index(server->listeners, i);

        qmp_server_rewatch(server, qmp_listener_fd(l), qmp_listener_watch(l), events);
    }
}

void qmp_server_pause_accept(QmpServer *server, int err)
{
    gint64 now = g_get_monotonic_time();

    if (server->accept_warned == 0 || now - server->accept_warned > WARN_EACH_US) {
        g_warning("can not accept QMP clients: %s; %u are connected", g_strerror(err),
                  server->sessions.length);
        server->accept_warned = now;
    }
    server->accept_resume = now + G_USEC_PER_SEC;
    watch_listeners(server, 0);
    qmp_server_schedule(server);
}

static void resume_accept(QmpServer *server)
{
    if (server->accept_resume == 0)
        return;
    server->accept_resume = 0;
    watch_listeners(server, EPOLLIN);
}

void qmp_server_schedule(QmpServer *server)
{
    gint64 ready = qmp_rates_next(server->rates);

    if (server->accept_resume && (ready < 0 || server->accept_resume < ready))
        ready = server->accept_resume;
    if (server->backlog.length || server->dead.length)
        ready = 0;
    if (g_source_get_ready_time(server->source) != ready)
        g_source_set_ready_time(server->source, ready);
}

/* ---- sessions ---- */

void qmp_server_add_backlog(QmpServer *server, QmpSession *session)
{
    if (session->in_backlog)
        return;
    session->in_backlog = TRUE;
    g_queue_push_tail_link(&server->backlog, &session->backlog_link);
    if (!server->dispatching)
        qmp_server_schedule(server);
}

static void leave_backlog(QmpServer *server, QmpSession *session)
{
    if (session->in_backlog)
        g_queue_unlink(&server->backlog, &session->backlog_link);
    session->in_backlog = FALSE;
}

void qmp_server_bury(QmpServer *server, QmpSession *session)
{
    if (session->dead)
        return;
    session->dead = TRUE;
    leave_backlog(server, session);
    epoll_ctl(server->epoll, EPOLL_CTL_DEL, session->fd, NULL);
    g_queue_unlink(&server->sessions, &session->link);
    g_queue_push_tail_link(&server->dead, &session->link);
    if (!server->dispatching)
        qmp_server_schedule(server);
}

static void free_dead(QmpServer *server)
{
    GList *link;

    if (server->dead.length)
        resume_accept(server);
    while ((link = g_queue_pop_head_link(&server->dead)))
        qmp_session_free(link->data);
}

guint qmp_server_n_sessions(const QmpServer *server)
{
    return server->sessions.length;
}

/* One turn for each session that is in the backlog now. */
static void serve_backlog(QmpServer *server)
{
    for (guint n = server->backlog.length; n > 0 && server->backlog.head; n--) {
        QmpSession *s = server->backlog.head->data;

        leave_backlog(server, s);
        qmp_session_work(s);
    }
}

/* ---- events ---- */

static void broadcast(QmpServer *server, const char *text, gsize len)
{
    GList *next;

    for (GList *l = server->sessions.head; l; l = next) {
        next = l->next;
        qmp_session_queue_event(l->data, text, len);
    }
}

static void send_due_events(QmpServer *server)
{
    gint64 now = g_get_monotonic_time();
    char *text;

    while ((text = qmp_rates_due(server->rates, now))) {
        broadcast(server, text, strlen(text));
        g_free(text);
    }
    if (server->accept_resume && server->accept_resume <= now)
        resume_accept(server);
}

static void append_timestamp(GString *text)
{
    gint64 now = g_get_real_time();
    JsonOut o = JSON_OUT_INIT(text);

    g_string_append(text, "{\"timestamp\": {\"seconds\": ");
    json_out_int(&o, now / G_USEC_PER_SEC);
    o.comma = FALSE;
    g_string_append(text, ", \"microseconds\": ");
    json_out_int(&o, now % G_USEC_PER_SEC);
    g_string_append(text, "}, \"event\": \"");
}

void qmp_server_event(QmpServer *server, const char *name, const char *data, const char *rate_key)
{
    GString *string = g_string_sized_new(256);
    g_autofree char *text = NULL;
    gsize len;

    append_timestamp(string);
    g_string_append(string, name);
    g_string_append_c(string, '"');
    if (data) {
        g_string_append(string, ", \"data\": ");
        g_string_append(string, data);
    }
    g_string_append(string, "}\r\n");
    len = string->len;
    text = g_string_free(string, FALSE);
    if (!rate_key || qmp_rates_pass(server->rates, name, rate_key, g_get_monotonic_time(), &text))
        broadcast(server, text, len);
    if (rate_key && !server->dispatching)
        qmp_server_schedule(server);
}

/* ---- the source ---- */

typedef struct {
    GSource source;
    QmpServer *server;
} ServerSource;

static gboolean source_dispatch(GSource *source, GSourceFunc callback, gpointer data)
{
    QmpServer *server = ((ServerSource *)source)->server;
    struct epoll_event events[BATCH];
    int n = epoll_wait(server->epoll, events, BATCH, 0);

    server->dispatching = TRUE;
    for (int i = 0; i < n; i++) {
        QmpWatch *watch = events[i].data.ptr;

        watch->ready(watch, events[i].events);
    }
    serve_backlog(server);
    if (server->accept_resume || qmp_rates_next(server->rates) >= 0)
        send_due_events(server);
    free_dead(server);
    server->dispatching = FALSE;
    qmp_server_schedule(server);
    return G_SOURCE_CONTINUE;
}

static const GSourceFuncs source_funcs = { .dispatch = source_dispatch };

static void attach_source(QmpServer *server)
{
    server->source = g_source_new((GSourceFuncs *)&source_funcs, sizeof(ServerSource));
    ((ServerSource *)server->source)->server = server;
    g_source_set_static_name(server->source, "qmp");
    g_source_add_unix_fd(server->source, server->epoll, G_IO_IN);
    g_source_attach(server->source, NULL);
}

static char *make_greeting(const char *package)
{
    GString *text = g_string_new(NULL);
    JsonOut o = JSON_OUT_INIT(text);

    g_string_printf(
        text,
        "{\"QMP\": {\"version\": {\"qemu\": {\"major\": %d, \"minor\": %d, \"micro\": 0}, "
        "\"package\": ",
        QMP_DIALECT_MAJOR, QMP_DIALECT_MINOR);
    json_out_string(&o, package);
    g_string_append(text, "}, \"capabilities\": [\"oob\"]}}\r\n");
    return g_string_free(text, FALSE);
}

QmpServer *qmp_server_new(const QmpServerConfig *config)
{
    QmpServer *server = g_new0(QmpServer, 1);
    QmpServerConfig *own = &server->config;

    *own = *config;
    own->package = g_strdup(config->package);
    own->allowed_uids = g_memdup2(config->allowed_uids, config->n_allowed_uids * sizeof(uid_t));
    own->allowed_gids = g_memdup2(config->allowed_gids, config->n_allowed_gids * sizeof(gid_t));
    server->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (server->epoll < 0)
        g_error("epoll_create1: %s", g_strerror(errno));
    server->listeners = g_ptr_array_new_with_free_func((GDestroyNotify)qmp_listener_free);
    server->greeting = make_greeting(config->package);
    server->read_buffer = g_malloc(QMP_READ_SIZE);
    server->reply = g_string_sized_new(256);
    server->rates = qmp_rates_new();
    server->fdsets = qmp_fdsets_new();
    attach_source(server);
    return server;
}

void qmp_server_flush(QmpServer *server)
{
    gint64 deadline = g_get_monotonic_time() + FLUSH_US;

    for (GList *l = server->sessions.head; l; l = l->next) {
        QmpSession *s = l->data;

        while (qmp_output_flush(s) && s->output.head) {
            struct pollfd p = { .fd = s->fd, .events = POLLOUT };
            gint64 left = deadline - g_get_monotonic_time();

            if (left <= 0 || poll(&p, 1, (int)(left / 1000) + 1) <= 0)
                break;
        }
    }
}

void qmp_server_free(QmpServer *server)
{
    GList *link;

    if (!server)
        return;
    g_assert(!server->dispatching);
    while ((link = g_queue_peek_head_link(&server->sessions))) {
        qmp_output_flush(link->data);
        qmp_server_bury(server, link->data);
    }
    free_dead(server);
    g_ptr_array_unref(server->listeners);
    g_source_destroy(server->source);
    g_source_unref(server->source);
    close(server->epoll);
    qmp_rates_free(server->rates);
    qmp_fdsets_free(server->fdsets);
    g_string_free(server->reply, TRUE);
    g_free(server->read_buffer);
    g_free(server->greeting);
    g_free((char *)server->config.package);
    g_free((uid_t *)server->config.allowed_uids);
    g_free((gid_t *)server->config.allowed_gids);
    g_free(server);
}

char *qmp_server_run(QmpServer *server, const char *command_json)
{
    QmpCommand c = { 0 };
    GString *reply = g_string_new(NULL);

    c.doc =
        json_doc_parse_static(command_json, strlen(command_json), &json_limits_default, &c.error);
    qmp_dispatch(server, NULL, &c, reply);
    g_clear_pointer(&c.doc, json_doc_free);
    g_clear_error(&c.error);
    g_string_truncate(reply, reply->len - 2);
    return g_string_free(reply, FALSE);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * session.c - one client: reading, taking commands in turn, sending.
 *
 * A turn is: read once, run what is complete, send all replies in one go. It ends early after
 * QMP_TURN commands, so that one client can not starve the others (the rest is the backlog), and
 * when QMP_SOFT_LIMIT of output is queued: then nothing more is read either until the peer has
 * taken some, so that a client which sends and never reads makes us hold a bounded amount.
 *
 * Without out-of-band execution a command runs from the framer's own buffer, uncopied. With it, up
 * to QMP_OOB_QUEUE commands are cut out ahead of time; those sent as exec-oob run at once, the
 * others wait in a queue. Errors wait there too: replies keep the order of what they answer.
 *
 * A peer that has shut down its sending side still gets the replies to all it has sent.
 */
#include <errno.h>
#include <malloc.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "internal.h"

#define MAX_PASSED 253 /* the kernel's SCM_MAX_FD */

static void session_ready(QmpWatch *watch, guint32 events);

void qmp_session_new(QmpServer *server, int fd, gboolean readonly)
{
    QmpSession *s = g_new0(QmpSession, 1);

    s->watch.ready = session_ready;
    s->server = server;
    s->fd = fd;
    s->readonly = readonly;
    s->link.data = s->backlog_link.data = s;
    s->framer = framer_new(&json_limits_default);
    s->events = EPOLLIN;
    g_queue_push_tail_link(&server->sessions, &s->link);
    qmp_server_watch(server, fd, &s->watch, s->events);
    qmp_output_append(s, server->greeting, strlen(server->greeting));
    qmp_session_work(s);
}

/* The server has unlinked it. */
void qmp_session_free(QmpSession *s)
{
    close(s->fd);
    g_queue_clear_full(&s->queue, (GDestroyNotify)qmp_command_free);
    qmp_output_clear(s);
    qmp_fds_clear(s);
    framer_free(s->framer);
    g_free(s);
}

gboolean qmp_session_negotiate(QmpSession *s, gboolean oob, GError **error)
{
    if (s->negotiated)
        return error_set_class(error, ERROR_COMMAND_NOT_FOUND,
                               "Capabilities negotiation is already complete, command ignored");
    s->negotiated = TRUE;
    s->oob = oob;
    return TRUE;
}

/* ---- reading ---- */

static void take_control(QmpSession *s, struct msghdr *msg, guint64 start, guint64 end)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
            int fds[MAX_PASSED];
            gsize bytes = c->cmsg_len - CMSG_LEN(0);

            memcpy(fds, CMSG_DATA(c), bytes);
            qmp_fds_received(s, fds, (guint)(bytes / sizeof(int)), start, end);
        }
    }
}

/* Reads once; what came is in the framer. */
static void session_read(QmpSession *s)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(MAX_PASSED * sizeof(int))];
    } control;
    struct iovec iov = { s->server->read_buffer, QMP_READ_SIZE };
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control
    };
    ssize_t n;

    do
        n = recvmsg(s->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        s->eof = TRUE;
        return;
    }
    if (msg.msg_controllen > 0)
        take_control(s, &msg, s->read_end, s->read_end + (guint64)n);
    s->read_end += (guint64)n;
    framer_feed(s->framer, s->server->read_buffer, (gsize)n);
}

/* ---- running ---- */

/* Cuts the next message out of the stream; FALSE if there is none. A kept one has its own copy of
 * the text. */
static gboolean next_command(QmpSession *s, gboolean keep, QmpCommand *c)
{
    const char *text;
    gsize len = 0;
    FramerResult result = framer_take(s->framer, &text, &len, &c->error);

    if (result == FRAMER_MORE)
        return FALSE;
    c->before = s->last_end;
    c->end = s->last_end = framer_position(s->framer);
    c->start = c->end - len;
    if (result == FRAMER_MESSAGE)
        c->doc = (keep ? json_doc_parse : json_doc_parse_static)(text, len, &json_limits_default,
                                                                 &c->error);
    c->oob = c->doc && s->oob && qmp_is_oob(c->doc);
    return TRUE;
}

static void run_command(QmpSession *s, QmpCommand *c)
{
    GString *reply = s->server->reply;

    s->current = c;
    if (!c->oob)
        qmp_fds_forget(s);
    qmp_dispatch(s->server, s, c, reply);
    s->current = NULL;
    qmp_output_take(s, reply);
}

/* Looks ahead: runs what is out of band, queues the rest. FALSE if no complete message is left. */
static gboolean look_ahead(QmpSession *s)
{
    for (guint i = 0;
         i < QMP_TURN && s->queue.length < QMP_OOB_QUEUE && s->output_bytes < QMP_SOFT_LIMIT; i++) {
        QmpCommand *c = g_new0(QmpCommand, 1);

        if (!next_command(s, TRUE, c)) {
            qmp_command_free(c);
            return FALSE;
        }
        if (c->oob) {
            run_command(s, c);
            qmp_command_free(c);
        } else {
            g_queue_push_tail(&s->queue, c);
        }
    }
    return TRUE;
}

/* Runs the next command in order; FALSE if there is none. */
static gboolean run_next(QmpSession *s)
{
    QmpCommand local = { 0 };
    gboolean rest = s->oob && look_ahead(s);
    QmpCommand *queued;

    queued = g_queue_pop_head(&s->queue);
    if (queued) {
        run_command(s, queued);
        qmp_command_free(queued);
        return TRUE;
    }
    /* With out-of-band execution look_ahead() has taken what there is. */
    if (s->oob || !next_command(s, FALSE, &local)) {
        if (!rest && s->fds && framer_pending(s->framer) == 0)
            qmp_fds_settle(s);
        return rest;
    }
    run_command(s, &local);
    g_clear_pointer(&local.doc, json_doc_free);
    g_clear_error(&local.error);
    return TRUE;
}

static void update_events(QmpSession *s)
{
    gboolean full = s->output_bytes >= QMP_SOFT_LIMIT;
    gboolean behind = s->in_backlog && !(s->oob && s->queue.length < QMP_OOB_QUEUE);
    guint32 events = 0;

    if (!s->eof && !full && !behind)
        events |= EPOLLIN;
    if (s->output.head)
        events |= EPOLLOUT;
    if (events != s->events) {
        qmp_server_rewatch(s->server, s->fd, &s->watch, events);
        s->events = events;
    }
}

void qmp_session_work(QmpSession *s)
{
    gboolean more = TRUE;
    guint done = 0;

    s->busy = TRUE;
    while (done < QMP_TURN && s->output_bytes < QMP_SOFT_LIMIT && more && !s->dead) {
        more = run_next(s);
        done++;
    }
    s->busy = FALSE;
    if (s->dead)
        return;
    if (!qmp_output_flush(s)) {
        qmp_server_bury(s->server, s);
        return;
    }
    if (more && s->output_bytes < QMP_SOFT_LIMIT)
        qmp_server_add_backlog(s->server, s);
    else if (s->eof && !more && !s->output.head)
        qmp_server_bury(s->server, s);
    if (!s->dead)
        update_events(s);
}

static void session_ready(QmpWatch *watch, guint32 events)
{
    QmpSession *s = (QmpSession *)watch;

    if (s->dead)
        return;
    if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) && !qmp_output_flush(s)) {
        qmp_server_bury(s->server, s);
        return;
    }
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && !s->eof && s->output_bytes < QMP_SOFT_LIMIT)
        session_read(s);
    /* A session with a backlog has its turn later in this iteration; only what is out of band runs
     * now. */
    if (!s->in_backlog) {
        qmp_session_work(s);
    } else {
        if (s->oob)
            look_ahead(s);
        update_events(s);
    }
}

void qmp_session_queue_event(QmpSession *s, const char *text, gsize len)
{
    if (!s->negotiated || s->dead || s->eof)
        return;
    qmp_output_append(s, text, len);
    s->event_bytes += len;
    if (!s->busy && !qmp_output_flush(s)) {
        qmp_server_bury(s->server, s);
    } else if (MIN(s->output_bytes, s->event_bytes) > QMP_QUOTA) {
        g_warning("a QMP client does not read: disconnected with %" G_GSIZE_FORMAT " bytes unsent",
                  s->output_bytes);
        qmp_output_clear(s);
        malloc_trim(0); /* what it had waiting is many small blocks, which free() keeps */
        qmp_server_bury(s->server, s);
    } else if (!s->busy) {
        update_events(s);
    }
}

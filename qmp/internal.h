/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * internal.h - what the parts of the protocol layer share with each other and with nobody else.
 *
 * One GSource drives everything: it polls one epoll descriptor that holds all sockets, so that
 * 10,000 idle clients cost the main loop nothing, and its ready time serves the backlog (at once)
 * and the rate limits. Whatever happens within one dispatch of it may only mark a session dead;
 * sessions are freed at the dispatch's end, since epoll's batch and the callers up the stack still
 * point to them.
 */
#pragma once

#include <sys/socket.h>

#include "framer.h"
#include "qmp.h"

#define QMP_SOFT_LIMIT (256 << 10) /* queued output at which no more commands are taken */
#define QMP_QUOTA      (16 << 20)  /* queued output at which an event disconnects */
#define QMP_TURN       16          /* commands of one session in one main-loop iteration */
#define QMP_OOB_QUEUE  8           /* commands looked ahead for exec-oob */
#define QMP_MAX_FDS    128         /* descriptors of a session that no command has taken yet */
#define QMP_READ_SIZE  65536
#define QMP_PATH_MAX   107 /* sun_path without its NUL */

/* The release of QEMU whose dialect is spoken. */
#define QMP_DIALECT_MAJOR 7
#define QMP_DIALECT_MINOR 2

/* What an epoll event points to. */
typedef struct QmpWatch QmpWatch;
struct QmpWatch {
    void (*ready)(QmpWatch *watch, guint32 events);
};

/* ---- listen.c ---- */

typedef struct QmpListener QmpListener;

/* Creates the socket at PATH, mode 0600, and listens. */
QmpListener *qmp_listener_new(QmpServer *server, const char *path, gboolean readonly,
                              GError **error);
/* Takes a socket that listens already. */
QmpListener *qmp_listener_new_fd(QmpServer *server, int fd, gboolean readonly);
void qmp_listener_free(QmpListener *l);
QmpWatch *qmp_listener_watch(QmpListener *l);
int qmp_listener_fd(const QmpListener *l);
/* Connects to the socket at PATH; -1 and an error. */
int qmp_connect(const char *path, GError **error);
/* NULL if the peer of FD may speak to us, else why not. Caller frees. */
char *qmp_peer_refusal(QmpServer *server, int fd);

/* ---- server.c ---- */

struct QmpServer {
    QmpServerConfig config; /* with copies of what it points to, except the rows */
    GSource *source;
    int epoll;
    gboolean dispatching;
    GQueue sessions; /* QmpSession.link */
    GQueue backlog;  /* QmpSession.backlog_link: commands left over from the last turn */
    GQueue dead;     /* QmpSession.link */
    GPtrArray *listeners;
    char *greeting;
    char *read_buffer;    /* QMP_READ_SIZE */
    GString *reply;       /* under construction */
    gint64 accept_resume; /* accepting is paused until then; 0: it is not */
    gint64 accept_warned; /* when that was last logged */
    struct QmpRates *rates;
    struct QmpFdsets *fdsets;
};

void qmp_server_watch(QmpServer *server, int fd, QmpWatch *watch, guint32 events);
void qmp_server_rewatch(QmpServer *server, int fd, QmpWatch *watch, guint32 events);
/* A session is to be served again although its socket is silent. */
void qmp_server_add_backlog(QmpServer *server, QmpSession *session);
/* The session is over; it is freed when nothing on the stack can point to it any more. */
void qmp_server_bury(QmpServer *server, QmpSession *session);
/* accept() failed with ERR for want of descriptors or memory. */
void qmp_server_pause_accept(QmpServer *server, int err);
/* Recomputes when the source must run without a socket being ready. */
void qmp_server_schedule(QmpServer *server);

/* ---- rate.c ---- */

typedef struct QmpRates QmpRates;

QmpRates *qmp_rates_new(void);
void qmp_rates_free(QmpRates *rates);
/* TRUE if the event may be sent NOW; else TEXT was kept (taken) in the place of an older one. */
gboolean qmp_rates_pass(QmpRates *rates, const char *name, const char *key, gint64 now,
                        char **text);
/* An event whose second is over, or NULL. Caller frees. */
char *qmp_rates_due(QmpRates *rates, gint64 now);
gint64 qmp_rates_next(const QmpRates *rates); /* when to ask again; -1: not at all */

/* ---- session.c ---- */

typedef struct QmpOutput QmpOutput;

struct QmpSession {
    QmpWatch watch;
    QmpServer *server;
    int fd;
    guint32 events; /* that epoll watches for */
    gboolean readonly, negotiated, oob;
    gboolean eof, dead, busy, in_backlog;
    GList link, backlog_link;
    Framer *framer;
    GQueue queue;     /* QmpCommand *: taken from the framer, not run yet (only with oob) */
    guint64 last_end; /* where the last message ended in the stream */
    guint64 read_end; /* bytes of the stream read so far */
    struct QmpCommand *current;
    GQueue output; /* QmpOutput * */
    gsize output_bytes;
    gsize event_bytes; /* of events, since the output was empty: a big reply is no reason to
                          disconnect */
    GArray *fds;       /* PassedFd, or NULL */
    GHashTable *named; /* getfd: name -> fd, or NULL */
};

void qmp_session_new(QmpServer *server, int fd, gboolean readonly);
void qmp_session_free(QmpSession *s);
/* Takes commands that are there already, as many as a turn allows, and sends. */
void qmp_session_work(QmpSession *s);
void qmp_session_queue_event(QmpSession *s, const char *text, gsize len);
gboolean qmp_session_negotiate(QmpSession *s, gboolean oob, GError **error);

/* ---- output.c: the queue of what a session has to send ---- */

void qmp_output_append(QmpSession *s, const char *data, gsize len);
/* The same; takes the string's memory if that is cheaper than a copy, and empties it. */
void qmp_output_take(QmpSession *s, GString *text);
/* Sends what the peer takes; FALSE if it is gone. */
gboolean qmp_output_flush(QmpSession *s);
void qmp_output_clear(QmpSession *s);

/* ---- fds.c: descriptors that come with messages, by name, and in sets ---- */

/* Descriptors that came with the bytes [START, END) of the stream. Taken. */
void qmp_fds_received(QmpSession *s, const int *fds, guint n, guint64 start, guint64 end);
/* Closes those that came with earlier messages than the current one. */
void qmp_fds_forget(QmpSession *s);
/* No message is begun or waits: closes what the last one left. A pipe's other end sees it now, not at the next command. */
void qmp_fds_settle(QmpSession *s);
/* The next descriptor that came with the current command; -1 and an error if there is none. */
int qmp_fds_take(QmpSession *s, GError **error);
void qmp_fds_clear(QmpSession *s);

typedef struct {
    int fd;
    char *opaque; /* or NULL */
} QmpFdsetFd;

typedef struct {
    gint64 id;
    GArray *fds; /* QmpFdsetFd */
} QmpFdset;

typedef struct QmpFdsets QmpFdsets;

QmpFdsets *qmp_fdsets_new(void);
void qmp_fdsets_free(QmpFdsets *sets);
/* Takes FD into set *ID; -1 picks the lowest free number. */
void qmp_fdsets_add(QmpFdsets *sets, gint64 *id, int fd, const char *opaque);
/* FD -1: all of the set. */
gboolean qmp_fdsets_remove(QmpFdsets *sets, gint64 id, gint64 fd, GError **error);
/* QmpFdset *, by number; borrowed. */
const GPtrArray *qmp_fdsets_list(const QmpFdsets *sets);

/* ---- dispatch.c ---- */

/* One thing that was cut out of the stream. */
typedef struct QmpCommand QmpCommand;
struct QmpCommand {
    JsonDoc *doc; /* or NULL and: */
    GError *error;
    gboolean oob;               /* it is an exec-oob; known before it runs */
    guint64 before, start, end; /* stream positions: end of the message before, and its own bytes */
};

void qmp_command_free(QmpCommand *c);
/* Runs a command and appends its reply to REPLY. SESSION may be NULL. */
void qmp_dispatch(QmpServer *server, QmpSession *session, const QmpCommand *c, GString *reply);
/* TRUE if the document is a command to be run out of band. */
gboolean qmp_is_oob(const JsonDoc *doc);
const QmpCommandRow *qmp_find_command(const QmpServer *server, const char *name);

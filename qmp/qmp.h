/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qmp.h - the protocol layer: bytes -> framed JSON -> checked structs -> handler, and back.
 *
 * Knows no device and no KVM. Everything runs on the main thread. docs/design/qmp.md is the wire.
 *
 *   framer.c    cuts a byte stream into single JSON objects
 *   session.c   one client: reading, turns; output.c what it has to send; fds.c its descriptors and the fd sets
 *   server.c    the main-loop source: all sessions, events; rate.c their rate limits
 *   listen.c    sockets that listen, locks, peer check; add.c the command line's words for them
 *   dispatch.c  finds the command row, runs it, writes the reply
 *   session-commands.c  the commands that concern the protocol only
 */
#pragma once

#include <sys/types.h>

#include "../common/error.h"
#include "../common/json.h"

/* The dialect's version in greeting and query-version: clients switch on QEMU's. */
#define QMP_DIALECT_MAJOR 7
#define QMP_DIALECT_MINOR 2

typedef struct QmpServer QmpServer;
typedef struct QmpSession QmpSession;

/* What a handler sees of the command that it carries out. */
typedef struct QmpRequest QmpRequest;
struct QmpRequest {
    QmpServer  *server;
    QmpSession *session; /* NULL: a command run from the daemon's own start-up (--config) */
};

/* ---- command rows, generated from the schema, sorted by name ---- */

enum {
    QMP_ALLOW_OOB = 1 << 0,
    QMP_ALLOW_READONLY = 1 << 1, /* also on sockets given with readonly=on: queries */
    QMP_NO_NEGOTIATION = 1 << 2, /* valid in negotiation mode: qmp_capabilities only */
};

typedef struct {
    const char *name;
    guint32     flags;
    /* Generated thunk: decodes ARGS (ARGS.doc NULL: none given), calls cmd_NAME(ctx, ...), encodes the result. Writes
     * exactly one JSON value to RET on success (`{}` where nothing is returned). */
    gboolean (*invoke)(gpointer ctx, QmpRequest *req, JsonVal args, JsonOut *ret, GError **error);
} QmpCommandRow;

extern const QmpCommandRow qmp_commands[];
extern const guint qmp_n_commands;
/* The query-qmp-schema reply's "return" value, a constant. */
extern const char qmp_schema_json[];
extern const gsize qmp_schema_json_len;

/* ---- server ---- */

typedef struct {
    const QmpCommandRow *rows;
    guint       n_rows;
    gpointer    ctx;               /* handed to the handlers: the Machine */
    void      (*before_command)(gpointer ctx); /* or NULL: events that it sends come before the reply of the command to be run */
    const char *package;           /* "backplane-X.Y.Z" */
    const uid_t *allowed_uids;     /* peer check; n 0: root and our own uid */
    guint       n_allowed_uids;
    const gid_t *allowed_gids;
    guint       n_allowed_gids;
} QmpServerConfig;

QmpServer *qmp_server_new(const QmpServerConfig *config);
void       qmp_server_free(QmpServer *server); /* sends what is queued, as far as the peers take it at once */

/* SPEC as on the command line: unix:PATH[,server=on|off][,readonly=on], fd:N, fd:NAME (already resolved to a
 * number by the daemon). Creates the socket with mode 0600; a stale one is replaced only under a lock; a path over 107 bytes is refused. */
gboolean qmp_server_add(QmpServer *server, const char *spec, GError **error);
/* A listening or connected stream socket by fd; taken on success. A connected one was handed over by whoever started us,
 * so its peer is not checked. */
gboolean qmp_server_add_fd(QmpServer *server, int fd, gboolean readonly, GError **error);
guint    qmp_server_n_sessions(const QmpServer *server);

/* ---- events: generated qmp_event_*() functions call this ---- */

/* DATA is a JSON object or NULL. RATE_KEY (or NULL): at most one a second per (name, key), the latest wins. Adds the timestamp. */
void qmp_server_event(QmpServer *server, const char *name, const char *data, const char *rate_key);

/* ---- descriptors passed by clients ---- */

/* Takes the descriptor that the session stored by getfd under NAME; -1 and an error if there is none. */
int qmp_session_take_fd(QmpSession *session, const char *name, GError **error);
/* The session has FD (taken) under NAME from now on; one of the same name is closed. */
void qmp_session_store_fd(QmpSession *session, const char *name, int fd);
gboolean qmp_session_close_fd(QmpSession *session, const char *name, GError **error);
/* A dup of the descriptor in fd set N with the access mode wanted (O_RDONLY ...), for "/dev/fdset/N" paths; -1 and an error. */
int qmp_server_fdset_open(QmpServer *server, gint64 set, int flags, GError **error);

/* Sends what is queued for all sessions; blocks for at most 100 ms. For quit. */
void qmp_server_flush(QmpServer *server);

/* Runs one command in process, as if a client had sent it: tests, --config. Returns the reply object's text. Caller frees. */
char *qmp_server_run(QmpServer *server, const char *command_json);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* harness.h - a server with a small table of commands, and clients on real sockets, in one process.
 */
#pragma once

#include "qmp/internal.h"

typedef struct {
    int fd;
    GString *in; /* received, not taken yet */
} Client;

QmpServer *harness_server(void);
/* The same with a peer check. */
QmpServer *harness_server_for(const uid_t *uids, guint n_uids, const gid_t *gids, guint n_gids);

/* A client over a socket pair; greeted already. */
Client *client_new(QmpServer *server, gboolean readonly);
Client *client_connect(const char *path); /* not greeted */
Client *client_negotiated(QmpServer *server, const char *arguments);
void client_free(Client *c);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Client, client_free)

void client_send(Client *c, const char *text);
void client_send_n(Client *c, const char *text, gsize len);
void client_send_fds(Client *c, const char *text, const int *fds, guint n);
/* The next line without its CRLF, which must be there; runs the main loop meanwhile. NULL at EOF.
 */
char *client_line(Client *c);
void client_expect(Client *c, const char *line);
/* The next line is an error of CLS whose text contains DESC. */
void client_expect_error(Client *c, const char *cls, const char *desc);
void client_expect_eof(Client *c);
/* Nothing is there to be read. */
void client_expect_silence(Client *c);

/* Runs the main loop until nothing is to be done at once. */
void harness_settle(void);
guint harness_open_fds(void);

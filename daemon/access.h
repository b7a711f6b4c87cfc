/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* access.h - who may use the QMP sockets: names and numbers from the command line, as the server wants them. */
#pragma once

#include <glib.h>
#include <sys/types.h>

typedef struct {
    GArray *uids; /* of uid_t */
    GArray *gids; /* of gid_t */
} Access;

void     access_init(Access *a);
void     access_clear(Access *a);
/* NAME is a name of the system's user or group database, or a number. */
gboolean access_allow_user(Access *a, const char *name, GError **error);
gboolean access_allow_group(Access *a, const char *name, GError **error);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * access.c - users and groups that may use the QMP sockets besides root and the daemon's own user.
 *
 * The file mode says who can connect, the peer check who may stay: a socket that systemd opened to a group still refuses users that
 * nobody named. Once users are named, they are all: so root and our own user go on the list first.
 */
#include "access.h"

#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include "../common/error.h"

void access_init(Access *a)
{
    uid_t always[] = { 0, geteuid() };

    a->uids = g_array_new(FALSE, FALSE, sizeof(uid_t));
    a->gids = g_array_new(FALSE, FALSE, sizeof(gid_t));
    g_array_append_vals(a->uids, always, G_N_ELEMENTS(always));
}

void access_clear(Access *a)
{
    g_array_unref(a->uids);
    g_array_unref(a->gids);
}

/* TRUE if NAME is a number. */
static gboolean as_number(const char *name, guint32 *out)
{
    guint64 n;

    if (!g_ascii_string_to_unsigned(name, 10, 0, G_MAXUINT32 - 1, &n, NULL))
        return FALSE;
    *out = (guint32)n;
    return TRUE;
}

gboolean access_allow_user(Access *a, const char *name, GError **error)
{
    uid_t uid;

    if (!as_number(name, &uid)) {
        const struct passwd *user = getpwnam(name);
        if (!user)
            return error_set(error, "--allow-user: there is no user '%s'", name);
        uid = user->pw_uid;
    }
    g_array_append_val(a->uids, uid);
    return TRUE;
}

gboolean access_allow_group(Access *a, const char *name, GError **error)
{
    gid_t gid;

    if (!as_number(name, &gid)) {
        const struct group *group = getgrnam(name);
        if (!group)
            return error_set(error, "--allow-group: there is no group '%s'", name);
        gid = group->gr_gid;
    }
    g_array_append_val(a->gids, gid);
    return TRUE;
}

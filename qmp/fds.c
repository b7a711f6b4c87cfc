/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fds.c - file descriptors of clients: as they come with a message, by name, and in sets.
 *
 * SCM_RIGHTS attaches descriptors to bytes, so that is what they are remembered with: the part
 * [start, end) of the stream that one recvmsg() returned. A message may take them if it shares a
 * byte with that part. So may the next message if the part lies wholly between messages: some
 * clients (qemu.qmp among them) send the descriptor with a blank of its own first. But the line end
 * of a message does not hand its descriptors to the next one. What a message leaves is closed when
 * the next one runs, or at once if nothing more has come.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

typedef struct {
    int fd;
    guint64 start, end;
} PassedFd;

/* ---- with messages ---- */

void qmp_fds_received(QmpSession *s, const int *fds, guint n, guint64 start, guint64 end)
{
    if (!s->fds)
        s->fds = g_array_new(FALSE, FALSE, sizeof(PassedFd));
    for (guint i = 0; i < n; i++) {
        PassedFd p = { fds[i], start, end };

        if (s->fds->len < QMP_MAX_FDS)
            g_array_append_val(s->fds, p);
        else
            close(fds[i]);
    }
}

static gboolean came_with(const PassedFd *p, const QmpCommand *c)
{
    return p->start < c->end && (p->end > c->start || p->start >= c->before);
}

void qmp_fds_forget(QmpSession *s)
{
    for (guint i = 0; s->fds && i < s->fds->len;) {
        const PassedFd *p = &g_array_index(s->fds, PassedFd, i);

        if (p->start < s->current->end && !came_with(p, s->current)) {
            close(p->fd);
            g_array_remove_index(s->fds, i);
        } else {
            i++;
        }
    }
}

void qmp_fds_settle(QmpSession *s)
{
    for (guint i = 0; i < s->fds->len;) {
        const PassedFd *p = &g_array_index(s->fds, PassedFd, i);

        if (p->start < s->last_end) {
            close(p->fd);
            g_array_remove_index(s->fds, i);
        } else {
            i++;
        }
    }
}

int qmp_fds_take(QmpSession *s, GError **error)
{
    for (guint i = 0; s && s->current && s->fds && i < s->fds->len; i++) {
        PassedFd p = g_array_index(s->fds, PassedFd, i);

        if (came_with(&p, s->current)) {
            g_array_remove_index(s->fds, i);
            return p.fd;
        }
    }
    error_set(error, "No file descriptor supplied via SCM_RIGHTS");
    return -1;
}

void qmp_fds_clear(QmpSession *s)
{
    for (guint i = 0; s->fds && i < s->fds->len; i++)
        close(g_array_index(s->fds, PassedFd, i).fd);
    g_clear_pointer(&s->fds, g_array_unref);
    g_clear_pointer(&s->named, g_hash_table_unref);
}

/* ---- by name ---- */

static void close_value(gpointer fd)
{
    close(GPOINTER_TO_INT(fd));
}

void qmp_session_store_fd(QmpSession *s, const char *name, int fd)
{
    if (!s->named)
        s->named = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, close_value);
    g_hash_table_replace(s->named, g_strdup(name), GINT_TO_POINTER(fd));
}

int qmp_session_take_fd(QmpSession *s, const char *name, GError **error)
{
    g_autofree char *quoted = NULL;
    gpointer key, fd;

    if (s && s->named && g_hash_table_steal_extended(s->named, name, &key, &fd)) {
        g_free(key);
        return GPOINTER_TO_INT(fd);
    }
    quoted = error_quote(name, -1);
    error_set(error, "File descriptor named '%s' has not been found", quoted);
    return -1;
}

gboolean qmp_session_close_fd(QmpSession *s, const char *name, GError **error)
{
    int fd = qmp_session_take_fd(s, name, error);

    if (fd < 0)
        return FALSE;
    close(fd);
    return TRUE;
}

/* ---- in sets ---- */

struct QmpFdsets {
    GPtrArray *sets; /* QmpFdset *, by id */
};

static void fdset_fd_clear(gpointer data)
{
    QmpFdsetFd *f = data;

    close(f->fd);
    g_free(f->opaque);
}

static void fdset_free(gpointer data)
{
    QmpFdset *set = data;

    g_array_unref(set->fds);
    g_free(set);
}

QmpFdsets *qmp_fdsets_new(void)
{
    QmpFdsets *sets = g_new0(QmpFdsets, 1);

    sets->sets = g_ptr_array_new_with_free_func(fdset_free);
    return sets;
}

void qmp_fdsets_free(QmpFdsets *sets)
{
    g_ptr_array_unref(sets->sets);
    g_free(sets);
}

const GPtrArray *qmp_fdsets_list(const QmpFdsets *sets)
{
    return sets->sets;
}

/* The index of the first set whose number is not under ID. */
static guint fdset_index(const QmpFdsets *sets, gint64 id)
{
    guint i = 0;

    while (i < sets->sets->len && ((QmpFdset *)g_ptr_array_index(sets->sets, i))->id < id)
        i++;
    return i;
}

static QmpFdset *fdset_find(const QmpFdsets *sets, gint64 id)
{
    guint i = fdset_index(sets, id);
    QmpFdset *set = i < sets->sets->len ? g_ptr_array_index(sets->sets, i) : NULL;

    return set && set->id == id ? set : NULL;
}

static gint64 fdset_free_id(const QmpFdsets *sets)
{
    gint64 id = 0;

    while (id < sets->sets->len && ((QmpFdset *)g_ptr_array_index(sets->sets, id))->id == id)
        id++;
    return id;
}

void qmp_fdsets_add(QmpFdsets *sets, gint64 *id, int fd, const char *opaque)
{
    QmpFdsetFd f = { fd, NULL };
    QmpFdset *set;

    if (*id < 0)
        *id = fdset_free_id(sets);
    set = fdset_find(sets, *id);
    if (!set) {
        set = g_new0(QmpFdset, 1);
        set->id = *id;
        set->fds = g_array_new(FALSE, FALSE, sizeof(QmpFdsetFd));
        g_array_set_clear_func(set->fds, fdset_fd_clear);
        g_ptr_array_insert(sets->sets, (int)fdset_index(sets, *id), set);
    }
    f.opaque = g_strdup(opaque);
    g_array_append_val(set->fds, f);
}

gboolean qmp_fdsets_remove(QmpFdsets *sets, gint64 id, gint64 fd, GError **error)
{
    QmpFdset *set = fdset_find(sets, id);
    gboolean found = set && fd < 0;

    if (found)
        g_array_set_size(set->fds, 0);
    for (guint i = 0; set && !found && i < set->fds->len; i++) {
        found = g_array_index(set->fds, QmpFdsetFd, i).fd == fd;
        if (found)
            g_array_remove_index(set->fds, i);
    }
    if (set && set->fds->len == 0)
        g_ptr_array_remove_index(sets->sets, fdset_index(sets, id));
    if (found)
        return TRUE;
    if (fd < 0)
        return error_set(error, "File descriptor named 'fdset-id:%" G_GINT64_FORMAT "' not found",
                         id);
    return error_set(error,
                     "File descriptor named 'fdset-id:%" G_GINT64_FORMAT ", fd:%" G_GINT64_FORMAT
                     "' not found",
                     id, fd);
}

int qmp_server_fdset_open(QmpServer *server, gint64 id, int flags, GError **error)
{
    static const char *const access_names[] = { "read-only", "write-only", "read-write", "no" };
    QmpFdset *set = fdset_find(server->fdsets, id);

    if (!set) {
        error_set(error, "There is no file descriptor set %" G_GINT64_FORMAT, id);
        return -1;
    }
    for (guint i = 0; i < set->fds->len; i++) {
        int fd = g_array_index(set->fds, QmpFdsetFd, i).fd, mode = fcntl(fd, F_GETFL), copy;

        if (mode < 0 || (mode & O_ACCMODE) != (flags & O_ACCMODE))
            continue;
        copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (copy < 0)
            error_set_errno(error, errno, "Can not duplicate a descriptor of set %" G_GINT64_FORMAT,
                            id);
        return copy;
    }
    error_set(error, "File descriptor set %" G_GINT64_FORMAT " has no descriptor with %s access",
              id, access_names[flags & O_ACCMODE]);
    return -1;
}

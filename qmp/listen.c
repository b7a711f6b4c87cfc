/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * listen.c - sockets that clients come in by, and who may.
 *
 * Two daemons must never fight over one path, and a dead one's socket must not be in the way. A
 * connect() alone can not tell: between it and the bind() another daemon may have replaced the
 * socket. So whoever wants PATH first locks PATH.lock and keeps the lock as long as it listens;
 * only its holder replaces a socket, and only one that refuses connections. The lock file is
 * removed with the lock held, so an opener checks afterwards that what it locked is still the file
 * of that name.
 *
 * The mode is set on the descriptor before bind(): Linux creates the socket file with the
 * mode of the socket's inode, so there is no moment in which others could connect, and no umask()
 * which would act on all threads.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "../common/util.h"
#include "internal.h"

#define ACCEPT_BATCH 64

struct QmpListener {
    QmpWatch watch;
    QmpServer *server;
    int fd;
    gboolean readonly;
    char *path, *lock_path; /* NULL: inherited */
    int lock;               /* -1: inherited */
    dev_t dev;              /* of the socket file that we made */
    ino_t ino;
};

/* ---- paths ---- */

static gboolean set_address(struct sockaddr_un *addr, const char *path, GError **error)
{
    if (strlen(path) > QMP_PATH_MAX)
        return error_set(error, "The socket path '%s' has %zu bytes, the longest possible has %d",
                         path, strlen(path), QMP_PATH_MAX);
    if (!*path)
        return error_set(error, "The path of a socket is empty");
    *addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
    strcpy(addr->sun_path, path);
    return TRUE;
}

int qmp_connect(const char *path, GError **error)
{
    struct sockaddr_un addr;
    g_auto(AutoFd) fd = -1;

    if (!set_address(&addr, path, error))
        return -1;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0); /* sends use MSG_DONTWAIT */
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0) {
        error_set_errno(error, errno, "Can not connect to the socket '%s'", path);
        return -1;
    }
    return fd_steal(&fd);
}

static gboolean same_file(int fd, const char *path)
{
    struct stat a, b;

    return fstat(fd, &a) == 0 && lstat(path, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

/* Opens and locks PATH.lock; -1 and an error. */
static int lock_path(const char *lock, const char *path, GError **error)
{
    for (;;) {
        g_auto(AutoFd) fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

        if (fd < 0) {
            error_set_errno(error, errno, "Can not open the lock file '%s'", lock);
            return -1;
        }
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
            if (errno == EWOULDBLOCK)
                error_set(error, "The socket '%s' is in use: another process holds the lock '%s'",
                          path, lock);
            else
                error_set_errno(error, errno, "Can not lock '%s'", lock);
            return -1;
        }
        /* Its last holder may have removed it between our open() and flock(). */
        if (same_file(fd, lock))
            return fd_steal(&fd);
    }
}

/* Makes PATH free, with the lock held. */
static gboolean remove_stale(const struct sockaddr_un *addr, GError **error)
{
    const char *path = addr->sun_path;
    g_auto(AutoFd) probe = -1;
    struct stat st;

    if (lstat(path, &st) < 0)
        return errno == ENOENT || error_set_errno(error, errno, "Can not look at '%s'", path);
    if (!S_ISSOCK(st.st_mode))
        return error_set(error, "'%s' exists and is not a socket", path);
    /* Not blocking: a live listener with a full backlog answers EAGAIN. */
    probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0)
        return error_set_errno(error, errno, "Can not create a socket");
    if (connect(probe, (const struct sockaddr *)addr, sizeof *addr) == 0 || errno == EAGAIN)
        return error_set(error, "The socket '%s' is in use: another process listens on it", path);
    if (errno != ECONNREFUSED)
        return error_set_errno(error, errno, "The socket '%s' exists and can not be tried", path);
    return unlink(path) == 0 ||
           error_set_errno(error, errno, "Can not remove the stale socket '%s'", path);
}

static gboolean bind_private(QmpListener *l, const struct sockaddr_un *addr, GError **error)
{
    struct stat st;

    l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (l->fd < 0 || fchmod(l->fd, 0600) < 0)
        return error_set_errno(error, errno, "Can not create a socket");
    if (bind(l->fd, (const struct sockaddr *)addr, sizeof *addr) < 0)
        return error_set_errno(error, errno, "Can not bind the socket '%s'", l->path);
    if (lstat(l->path, &st) < 0)
        return error_set_errno(error, errno, "Can not look at the new socket '%s'", l->path);
    l->dev = st.st_dev;
    l->ino = st.st_ino;
    if ((st.st_mode & 0777) != 0600)
        return error_set(error, "The socket '%s' got mode %o instead of 600", l->path,
                         st.st_mode & 0777);
    if (listen(l->fd, SOMAXCONN) < 0)
        return error_set_errno(error, errno, "Can not listen on the socket '%s'", l->path);
    return TRUE;
}

static void listener_ready(QmpWatch *watch, guint32 events);

QmpListener *qmp_listener_new_fd(QmpServer *server, int fd, gboolean readonly)
{
    QmpListener *l = g_new0(QmpListener, 1);

    l->watch.ready = listener_ready;
    l->server = server;
    l->fd = fd;
    l->readonly = readonly;
    l->lock = -1;
    return l;
}

QmpListener *qmp_listener_new(QmpServer *server, const char *path, gboolean readonly,
                              GError **error)
{
    struct sockaddr_un addr;
    QmpListener *l;

    if (!set_address(&addr, path, error))
        return NULL;
    l = qmp_listener_new_fd(server, -1, readonly);
    l->path = g_strdup(path);
    l->lock_path = g_strconcat(path, ".lock", NULL);
    l->lock = lock_path(l->lock_path, path, error);
    if (l->lock >= 0 && remove_stale(&addr, error) && bind_private(l, &addr, error))
        return l;
    qmp_listener_free(l);
    return NULL;
}

void qmp_listener_free(QmpListener *l)
{
    struct stat st;

    if (l->ino && lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
        unlink(l->path);
    auto_fd_close(l->fd);
    if (l->lock >= 0) {
        if (same_file(l->lock, l->lock_path))
            unlink(l->lock_path);
        close(l->lock);
    }
    g_free(l->path);
    g_free(l->lock_path);
    g_free(l);
}

QmpWatch *qmp_listener_watch(QmpListener *l)
{
    return &l->watch;
}

int qmp_listener_fd(const QmpListener *l)
{
    return l->fd;
}

/* ---- who may come in ---- */

static gboolean gid_allowed(const QmpServerConfig *c, gid_t gid)
{
    for (guint i = 0; i < c->n_allowed_gids; i++) {
        if (c->allowed_gids[i] == gid)
            return TRUE;
    }
    return FALSE;
}

static gboolean uid_allowed(const QmpServerConfig *c, uid_t uid)
{
    if (c->n_allowed_uids == 0)
        return uid == 0 || uid == geteuid();
    for (guint i = 0; i < c->n_allowed_uids; i++) {
        if (c->allowed_uids[i] == uid)
            return TRUE;
    }
    return FALSE;
}

/* The peer's supplementary groups. */
static gboolean groups_allowed(const QmpServerConfig *c, int fd)
{
    gid_t groups[256];
    socklen_t len = sizeof groups;

    if (c->n_allowed_gids == 0 || getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) < 0)
        return FALSE;
    for (guint i = 0; i < len / sizeof(gid_t); i++) {
        if (gid_allowed(c, groups[i]))
            return TRUE;
    }
    return FALSE;
}

char *qmp_peer_refusal(QmpServer *server, int fd)
{
    struct ucred peer;
    socklen_t len = sizeof peer;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
        return g_strdup_printf("The peer of this socket can not be identified: %s",
                               g_strerror(errno));
    if (uid_allowed(&server->config, peer.uid) || gid_allowed(&server->config, peer.gid) ||
        groups_allowed(&server->config, fd))
        return NULL;
    return g_strdup_printf("User %u, group %u may not use this monitor", peer.uid, peer.gid);
}

/* One line that says why, as far as the socket takes it at once. */
static void refuse(int fd, const char *why)
{
    g_autoptr(GString) text = g_string_new("{\"error\": {\"class\": \"GenericError\", \"desc\": ");
    JsonOut o = JSON_OUT_INIT(text);
    ssize_t ignored;

    json_out_string(&o, why);
    g_string_append(text, "}}\r\n");
    ignored = send(fd, text->str, text->len, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)ignored;
    g_info("QMP client refused: %s", why);
}

static void take_client(QmpListener *l, int client)
{
    g_autofree char *why = qmp_peer_refusal(l->server, client);

    if (why) {
        refuse(client, why);
        close(client);
    } else {
        qmp_session_new(l->server, client, l->readonly);
    }
}

static void listener_ready(QmpWatch *watch, guint32 events)
{
    QmpListener *l = (QmpListener *)watch;

    for (guint i = 0; i < ACCEPT_BATCH; i++) {
        int client = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (client >= 0) {
            take_client(l, client);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            qmp_server_pause_accept(l->server, errno);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return;
        }
    }
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * chardev-socket.c - a stream socket with one peer at a time, as server or client.
 *
 * While a peer is connected the listener is not watched: others wait in its backlog. A path that a
 * living process listens on is refused; one that nobody answers on is a leftover and replaced. A client whose peer went connects again after
 * `reconnect` seconds.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "../../schema/generated/devices.h"
#include "chardev-priv.h"

typedef struct {
    Chardev  chr;
    int      listener;
    guint    accept_source, retry_source;
    gboolean bound; /* the path is ours to remove */
    struct stat st; /* what we bound, to recognise it */
} SocketChardev;

static const ChardevSocketConfig *config_of(const SocketChardev *s)
{
    return DEVICE_CONFIG(&s->chr.dev, ChardevSocketConfig);
}

/* ---- server ---- */

static void start_accepting(SocketChardev *s);
static gboolean accept_again(gpointer user);

/* A peer that hung up, but is not read to its end, gives way to one that is there. */
static void take_peer(SocketChardev *s, int fd)
{
    if (s->chr.open)
        chardev_stream_close(&s->chr);
    chardev_stream_open(&s->chr, fd, fd);
}

static gboolean on_connection(gint fd, GIOCondition condition, gpointer user)
{
    SocketChardev *s = user;
    int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (peer < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED))
        return G_SOURCE_CONTINUE;
    s->accept_source = 0;
    if (peer < 0) /* out of descriptors: the connection waits, and so do we */
        s->retry_source = g_timeout_add_seconds(1, accept_again, s);
    else
        take_peer(s, peer);
    return G_SOURCE_REMOVE;
}

static gboolean accept_again(gpointer user)
{
    SocketChardev *s = user;

    s->retry_source = 0;
    start_accepting(s);
    return G_SOURCE_REMOVE;
}

static void start_accepting(SocketChardev *s)
{
    if (!s->accept_source && !s->retry_source)
        s->accept_source = g_unix_fd_add(s->listener, G_IO_IN, on_connection, s);
}

/* ---- client ---- */

static int connect_to(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    g_auto(AutoFd) fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    strncpy(addr.sun_path, path, sizeof addr.sun_path - 1);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0)
        return -1;
    return fd_steal(&fd);
}

static gboolean retry(gpointer user)
{
    SocketChardev *s = user;
    int fd = connect_to(config_of(s)->path);

    if (fd < 0)
        return G_SOURCE_CONTINUE;
    s->retry_source = 0;
    take_peer(s, fd);
    return G_SOURCE_REMOVE;
}

static void look_for_next(Chardev *c)
{
    SocketChardev *s = (SocketChardev *)c;

    if (s->listener >= 0)
        start_accepting(s);
    else if (config_of(s)->reconnect && config_of(s)->path && !s->retry_source)
        s->retry_source = g_timeout_add_seconds(config_of(s)->reconnect, retry, s);
}

static void peer_gone(Chardev *c)
{
    chardev_stream_close(c);
    look_for_next(c);
}

/* ---- realize ---- */

static gboolean remove_leftover(SocketChardev *s, const char *path, GError **error)
{
    struct stat st;

    if (lstat(path, &st) < 0)
        return TRUE;
    if (!S_ISSOCK(st.st_mode))
        return error_set(error, "Chardev '%s': '%s' is there and is not a socket", s->chr.dev.id, path);
    g_auto(AutoFd) probe = connect_to(path);
    if (probe >= 0 || errno != ECONNREFUSED) /* EAGAIN: its backlog is full; EPROTOTYPE: not a stream; EACCES: not ours */
        return error_set(error, "Chardev '%s': somebody listens on '%s'", s->chr.dev.id, path);
    unlink(path);
    return TRUE;
}

static gboolean listen_on(SocketChardev *s, const char *path, GError **error)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };

    if (!remove_leftover(s, path, error))
        return FALSE;
    strncpy(addr.sun_path, path, sizeof addr.sun_path - 1);
    s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->listener < 0 || fchmod(s->listener, 0600) < 0 || bind(s->listener, (struct sockaddr *)&addr, sizeof addr) < 0)
        return error_set_errno(error, errno, "Chardev '%s': can not listen on '%s'", s->chr.dev.id, path);
    s->bound = lstat(path, &s->st) == 0;
    if (listen(s->listener, 8) < 0)
        return error_set_errno(error, errno, "Chardev '%s': can not listen on '%s'", s->chr.dev.id, path);
    start_accepting(s);
    return TRUE;
}

static gboolean connect_path(SocketChardev *s, const char *path, GError **error)
{
    int fd = connect_to(path);

    if (fd >= 0) {
        chardev_stream_open(&s->chr, fd, fd);
        return TRUE;
    }
    if (!config_of(s)->reconnect)
        return error_set_errno(error, errno, "Chardev '%s': can not connect to '%s'", s->chr.dev.id, path);
    s->retry_source = g_timeout_add_seconds(config_of(s)->reconnect, retry, s);
    return TRUE;
}

/* A descriptor is what it is, whatever `server` says of paths: a listener or a connected socket. */
static gboolean use_fd(SocketChardev *s, int fd, GError **error)
{
    int listening = 0, type = 0;
    socklen_t len = sizeof listening, type_len = sizeof type;
    struct sockaddr_storage peer;
    socklen_t peer_len = sizeof peer;

    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0 || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) < 0)
        return error_set_errno(error, errno, "Chardev '%s': descriptor %d is not a socket", s->chr.dev.id, fd);
    if (type != SOCK_STREAM)
        return error_set(error, "Chardev '%s': descriptor %d is not a stream socket", s->chr.dev.id, fd);
    if (!listening && getpeername(fd, (struct sockaddr *)&peer, &peer_len) < 0)
        return error_set_errno(error, errno, "Chardev '%s': descriptor %d neither listens nor is connected", s->chr.dev.id, fd);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); /* a connection may be gone again when we come to accept it */
    if (!listening) {
        chardev_stream_open(&s->chr, fd, fd);
        return TRUE;
    }
    s->listener = fd;
    start_accepting(s);
    return TRUE;
}

static gboolean realize(Device *dev, GError **error)
{
    SocketChardev *s = (SocketChardev *)dev;
    const ChardevSocketConfig *config = config_of(s);

    chardev_stream_init(&s->chr);
    s->chr.peer_gone = peer_gone;
    s->chr.hung_up = look_for_next;
    s->listener = -1;
    if (config->wait)
        return error_set(error, "Property 'wait' of device '%s': true is not accepted, nothing here waits for a peer", dev->id);
    if (prop_bag_is_set(dev->bag, "fd-number"))
        return use_fd(s, (int)config->fd_number, error);
    if (!config->path)
        return error_set(error, "Chardev '%s': it has neither 'path' nor 'fd'", dev->id);
    return config->server ? listen_on(s, config->path, error) : connect_path(s, config->path, error);
}

static void unlink_ours(SocketChardev *s)
{
    struct stat st;

    if (s->bound && lstat(config_of(s)->path, &st) == 0 && st.st_ino == s->st.st_ino && st.st_dev == s->st.st_dev)
        unlink(config_of(s)->path);
}

static void unrealize(Device *dev)
{
    SocketChardev *s = (SocketChardev *)dev;

    if (s->accept_source)
        g_source_remove(s->accept_source);
    if (s->retry_source)
        g_source_remove(s->retry_source);
    chardev_stream_exit(&s->chr);
    auto_fd_close(s->listener);
    unlink_ours(s);
}

static const DeviceOps ops = { .realize = realize, .unrealize = unrealize };

const DeviceType chardev_socket_type = { "chardev-socket", sizeof(SocketChardev), &ops, state_none };

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * chardev.c - the stream that all chardevs share: bytes in through the main loop, bytes out from any thread.
 *
 * Output is written at once by whoever produces it, normally a vCPU thread in a port access. What a slow peer does not take is kept
 * in a bounded buffer that the main loop drains; beyond it chardev_write() takes less, the front end stops its
 * guest-visible transmitter, and writable() follows when there is room again. Input is read only while the front end
 * has room: can_receive() 0 takes the descriptor out of the main loop, so that an idle machine does not wake.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>

#include "../../schema/generated/devices.h"
#include "chardev-priv.h"
#include "chardev-pty.h"

#define PENDING_MAX 65536

static void remove_source(guint *source)
{
    if (*source)
        g_source_remove(*source);
    *source = 0;
}

static void wake_input(gpointer chardev);

/* The front end hears once that a peer came, and once that it went: before its last bytes are read, if nobody reads them. */
static void tell_opened(Chardev *c, gboolean open)
{
    if (c->told_open == open)
        return;
    c->told_open = open;
    if (c->fe && c->fe->opened)
        c->fe->opened(c->fe_user, open);
}

void chardev_stream_init(Chardev *c)
{
    c->in_fd = c->out_fd = -1;
    c->pending = g_byte_array_new();
}

void chardev_stream_exit(Chardev *c)
{
    vm_post_cancel(device_set_vm(c->dev.set), wake_input, c);
    chardev_stream_close(c);
    g_clear_pointer(&c->pending, g_byte_array_unref);
}

/* ---- input ---- */

static void start_input(Chardev *c);

static void input_ended(Chardev *c)
{
    c->in_source = 0;
    if (c->peer_gone)
        c->peer_gone(c);
}

/* The peer went while nobody reads. What it left can still be read later; nothing is written to it any more. */
static gboolean on_hangup(gint fd, GIOCondition condition, gpointer user)
{
    Chardev *c = user;

    c->hup_source = 0;
    chardev_stream_mute(c);
    tell_opened(c, FALSE);
    c->hung_up(c);
    return G_SOURCE_REMOVE;
}

/* Input rests, but the peer's end is to be noticed: poll() reports it without being asked for anything. */
static void watch_hangup(Chardev *c)
{
    if (c->in_fd >= 0 && !c->hup_source && c->hung_up)
        c->hup_source = g_unix_fd_add(c->in_fd, G_IO_HUP | G_IO_ERR, on_hangup, c);
}

static gboolean on_readable(gint fd, GIOCondition condition, gpointer user)
{
    Chardev *c = user;
    guint8 buf[4096];
    gsize room = c->fe ? c->fe->can_receive(c->fe_user) : 0;

    if (room == 0) {
        g_atomic_int_set(&c->input_blocked, 1);
        c->in_source = 0;
        /* Room may have come between the question and the flag. */
        if (c->fe && c->fe->can_receive(c->fe_user) && g_atomic_int_compare_and_exchange(&c->input_blocked, 1, 0))
            start_input(c);
        else
            watch_hangup(c);
        return G_SOURCE_REMOVE;
    }
    ssize_t n = read(fd, buf, MIN(room, sizeof buf));
    if (n > 0) {
        c->fe->receive(c->fe_user, buf, (gsize)n);
        return G_SOURCE_CONTINUE;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return G_SOURCE_CONTINUE;
    input_ended(c);
    return G_SOURCE_REMOVE;
}

static void start_input(Chardev *c)
{
    if (c->in_fd < 0 || c->in_source)
        return;
    if (!c->fe) {
        watch_hangup(c);
        return;
    }
    remove_source(&c->hup_source);
    c->in_source = g_unix_fd_add(c->in_fd, G_IO_IN | G_IO_HUP | G_IO_ERR, on_readable, c);
}

/* Posted by accept_input; cancelled when the chardev goes. */
static void wake_input(gpointer chardev)
{
    start_input(chardev);
}

void chardev_accept_input(Device *chardev)
{
    Chardev *c = (Chardev *)chardev;

    if (!g_atomic_int_compare_and_exchange(&c->input_blocked, 1, 0))
        return;
    vm_post(device_set_vm(chardev->set), wake_input, c);
}

/* ---- output ---- */

static gboolean on_writable(gint fd, GIOCondition condition, gpointer user)
{
    Chardev *c = user;
    gboolean owed = FALSE, done;

    {
        LOCK_SCOPE(&c->dev.lock);
        ssize_t n = write(fd, c->pending->data, c->pending->len);
        if (n > 0)
            g_byte_array_remove_range(c->pending, 0, (guint)n);
        else if (n < 0 && errno != EAGAIN && errno != EINTR)
            g_byte_array_set_size(c->pending, 0); /* the peer is gone: input will say so */
        done = c->pending->len == 0;
        if (done)
            c->out_source = 0;
        if (c->owed && c->pending->len < PENDING_MAX / 2) {
            owed = TRUE;
            c->owed = FALSE;
        }
    }
    if (owed && c->fe && c->fe->writable)
        c->fe->writable(c->fe_user);
    return done ? G_SOURCE_REMOVE : G_SOURCE_CONTINUE;
}

/* Lock held. */
static gsize keep(Chardev *c, const guint8 *data, gsize len)
{
    gsize room = PENDING_MAX - MIN(c->pending->len, PENDING_MAX);
    gsize taken = MIN(len, room);

    g_byte_array_append(c->pending, data, (guint)taken);
    if (taken < len)
        c->owed = TRUE;
    if (c->pending->len && !c->out_source)
        c->out_source = g_unix_fd_add(c->out_fd, G_IO_OUT | G_IO_ERR | G_IO_HUP, on_writable, c);
    return taken;
}

gsize chardev_write(Device *chardev, const guint8 *data, gsize len)
{
    Chardev *c = (Chardev *)chardev;
    LOCK_SCOPE(&chardev->lock);

    if (c->write)
        return c->write(c, data, len);
    if (c->out_fd < 0)
        return len;
    if (c->pending->len)
        return keep(c, data, len);
    ssize_t n = write(c->out_fd, data, len);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        return len; /* nobody there any more: dropped */
    gsize written = n > 0 ? (gsize)n : 0;
    return written == len ? len : written + keep(c, data + written, len - written);
}

/* ---- open and closed ---- */

static void set_nonblocking(int fd)
{
    int flags = fd >= 0 ? fcntl(fd, F_GETFL) : -1;

    if (flags >= 0 && !(flags & O_NONBLOCK))
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

void chardev_stream_open(Chardev *c, int in_fd, int out_fd)
{
    set_nonblocking(in_fd);
    set_nonblocking(out_fd);
    {
        LOCK_SCOPE(&c->dev.lock);
        c->in_fd = in_fd;
        c->out_fd = out_fd;
    }
    c->open = TRUE;
    start_input(c);
    tell_opened(c, TRUE);
}

void chardev_stream_mute(Chardev *c)
{
    gboolean owed;

    {
        LOCK_SCOPE(&c->dev.lock);
        remove_source(&c->out_source);
        if (c->out_fd >= 0 && c->out_fd != c->in_fd)
            close(c->out_fd);
        c->out_fd = -1;
        g_byte_array_set_size(c->pending, 0);
        owed = c->owed;
        c->owed = FALSE;
    }
    if (owed && c->fe && c->fe->writable)
        c->fe->writable(c->fe_user);
}

void chardev_stream_unmute(Chardev *c)
{
    {
        LOCK_SCOPE(&c->dev.lock);
        c->out_fd = c->in_fd;
        if (!c->in_source)
            watch_hangup(c);
    }
    tell_opened(c, TRUE);
}

void chardev_stream_close(Chardev *c)
{
    remove_source(&c->in_source);
    remove_source(&c->hup_source);
    g_atomic_int_set(&c->input_blocked, 0);
    c->open = FALSE;
    chardev_stream_mute(c);
    auto_fd_close(c->in_fd);
    c->in_fd = -1;
    tell_opened(c, FALSE);
}

/* ---- front ends ---- */

gboolean chardev_attach(Device *chardev, const ChardevFrontend *fe, gpointer user, GError **error)
{
    Chardev *c = (Chardev *)chardev;

    if (c->fe)
        return error_set(error, "Chardev '%s' is in use", chardev->id);
    c->fe = fe;
    c->fe_user = user;
    chardev_set_frontend_open(chardev, TRUE);
    start_input(c);
    c->told_open = FALSE;
    tell_opened(c, c->open && (c->out_fd >= 0 || c->write || c->in_fd < 0));
    return TRUE;
}

void chardev_detach(Device *chardev)
{
    Chardev *c = (Chardev *)chardev;

    remove_source(&c->in_source);
    g_atomic_int_set(&c->input_blocked, 0);
    c->fe = NULL;
    c->fe_user = NULL;
    chardev_set_frontend_open(chardev, FALSE);
    watch_hangup(c);
}

gboolean chardev_frontend_open(Device *chardev)
{
    return g_atomic_int_get(&((Chardev *)chardev)->fe_open);
}

void chardev_set_frontend_open(Device *chardev, gboolean open)
{
    g_atomic_int_set(&((Chardev *)chardev)->fe_open, open);
}

/* ---- names, as query-chardev tells them ---- */

static char *socket_filename(Device *dev)
{
    const ChardevSocketConfig *c = DEVICE_CONFIG(dev, ChardevSocketConfig);

    if (!c->path)
        return g_strdup_printf("fd:%s", c->fd ? c->fd : "");
    return g_strdup_printf("unix:%s%s", c->path, c->server ? ",server=on" : "");
}

char *chardev_filename(Device *dev)
{
    const char *kind = dev->type->name + strlen("chardev-");

    if (strcmp(kind, "pty") == 0)
        return g_strdup_printf("pty:%s", chardev_pty_name(dev));
    if (strcmp(kind, "socket") == 0)
        return socket_filename(dev);
    return g_strdup(kind);
}

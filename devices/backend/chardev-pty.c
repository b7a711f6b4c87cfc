/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * chardev-pty.c - a pseudo-terminal.
 *
 * The hard part is to know whether anybody has it open. While nobody has, the master side is in a permanent hang-up: watching it would spin, and
 * writing to it would fill a buffer that the next visitor reads as history. So the master is watched only while a
 * peer is there, and inotify says when somebody opens the slave side: no polling, and an idle machine sleeps.
 */
#include "chardev-pty.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <termios.h>

#include "chardev-priv.h"

typedef struct {
    Chardev chr;
    int     master, notify;
    guint   notify_source;
    char   *name; /* "/dev/pts/3" */
} PtyChardev;

const char *chardev_pty_name(Device *dev)
{
    return ((PtyChardev *)dev)->name;
}

static gboolean has_peer(const PtyChardev *p)
{
    struct pollfd fd = { .fd = p->master, .events = POLLOUT };

    return poll(&fd, 1, 0) >= 0 && !(fd.revents & POLLHUP);
}

/* Somebody may have come, said something and gone before we looked. */
static gboolean has_input(const PtyChardev *p)
{
    struct pollfd fd = { .fd = p->master, .events = POLLIN };

    return poll(&fd, 1, 0) >= 0 && (fd.revents & POLLIN);
}

/* The stream gets a copy: it closes what it has when the peer goes, and the master stays. */
static void peer_came(PtyChardev *p)
{
    int fd = fcntl(p->master, F_DUPFD_CLOEXEC, 3);

    if (fd >= 0)
        chardev_stream_open(&p->chr, fd, fd);
}

static void peer_gone(Chardev *c)
{
    chardev_stream_close(c);
    if (has_peer((PtyChardev *)c)) /* another one came meanwhile */
        peer_came((PtyChardev *)c);
}

/* Input is not read now; the stream is mute until somebody comes again. */
static void hung_up(Chardev *c)
{
    if (has_peer((PtyChardev *)c))
        chardev_stream_unmute(c);
}

static gboolean on_notify(gint fd, GIOCondition condition, gpointer user)
{
    PtyChardev *p = user;
    char events[4096] __attribute__((aligned(8)));

    while (read(fd, events, sizeof events) > 0)
        ;
    if (!p->chr.open && (has_peer(p) || has_input(p)))
        peer_came(p);
    else if (p->chr.open && has_peer(p))
        chardev_stream_unmute(&p->chr);
    return G_SOURCE_CONTINUE;
}

/* Raw from the start: the guest's terminal settings are the guest's own. */
static gboolean make_raw(PtyChardev *p)
{
    struct termios t;
    g_auto(AutoFd) slave = open(p->name, O_RDWR | O_NOCTTY | O_CLOEXEC);

    if (slave < 0 || tcgetattr(slave, &t) < 0)
        return FALSE;
    cfmakeraw(&t);
    return tcsetattr(slave, TCSANOW, &t) == 0;
}

static gboolean open_pty(PtyChardev *p)
{
    char name[64];

    p->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (p->master < 0 || grantpt(p->master) < 0 || unlockpt(p->master) < 0 || ptsname_r(p->master, name, sizeof name) != 0)
        return FALSE;
    p->name = g_strdup(name);
    p->notify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    return make_raw(p) && p->notify >= 0 && inotify_add_watch(p->notify, p->name, IN_OPEN) >= 0;
}

static gboolean realize(Device *dev, GError **error)
{
    PtyChardev *p = (PtyChardev *)dev;

    chardev_stream_init(&p->chr);
    p->chr.peer_gone = peer_gone;
    p->chr.hung_up = hung_up;
    p->master = p->notify = -1;
    if (!open_pty(p))
        return error_set_errno(error, errno, "Chardev '%s': can not open a pseudo-terminal", dev->id);
    p->notify_source = g_unix_fd_add(p->notify, G_IO_IN, on_notify, p);
    return TRUE;
}

static void unrealize(Device *dev)
{
    PtyChardev *p = (PtyChardev *)dev;

    if (p->notify_source)
        g_source_remove(p->notify_source);
    chardev_stream_exit(&p->chr);
    auto_fd_close(p->notify);
    auto_fd_close(p->master);
    g_free(p->name);
}

static const DeviceOps ops = { .realize = realize, .unrealize = unrealize };

const DeviceType chardev_pty_type = { "chardev-pty", sizeof(PtyChardev), &ops, state_none };

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * chardev-front.h - a front end that remembers what it was told, and the test's end of files, sockets and terminals: for the
 * tests of character back ends.
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>

#include "../../devices/backend/chardev-priv.h"
#include "core-rig.h"

#define PENDING_LIMIT 65536

/* ---- a front end ---- */

typedef struct {
    GMutex    lock; /* as a device's: guards room */
    Device   *chardev;
    GString  *got;
    gsize     room;
    gboolean  open;
    guint     opens, closes, writables;
} Front;

static inline gsize can_receive(gpointer user)
{
    Front *f = user;
    LOCK_SCOPE(&f->lock);

    return f->room;
}

static inline void receive(gpointer user, const guint8 *data, gsize len)
{
    Front *f = user;
    LOCK_SCOPE(&f->lock);

    g_assert_cmpuint(len, <=, f->room);
    f->room -= len;
    g_string_append_len(f->got, (const char *)data, (gssize)len);
}

static inline void writable(gpointer user)
{
    ((Front *)user)->writables++;
}

static inline void opened(gpointer user, gboolean open)
{
    Front *f = user;

    g_assert_cmpint(f->open, !=, open); /* never told twice */
    f->open = open;
    *(open ? &f->opens : &f->closes) += 1;
}

static const ChardevFrontend frontend = { .can_receive = can_receive, .receive = receive, .writable = writable, .opened = opened };

static inline Front *front_new(Device *chardev, gsize room)
{
    Front *f = g_new0(Front, 1);

    g_mutex_init(&f->lock);
    f->chardev = chardev;
    f->got = g_string_new(NULL);
    f->room = room;
    g_assert_true(chardev_attach(chardev, &frontend, f, NULL));
    return f;
}

static inline void front_free(Front *f)
{
    if (chardev_frontend_open(f->chardev))
        chardev_detach(f->chardev);
    g_string_free(f->got, TRUE);
    g_mutex_clear(&f->lock);
    g_free(f);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Front, front_free)

static inline void give_room(Front *f, gsize room)
{
    {
        LOCK_SCOPE(&f->lock);
        f->room = room;
    }
    chardev_accept_input(f->chardev);
    rig_settle();
}

static inline gsize say(Device *chardev, const char *text)
{
    return chardev_write(chardev, (const guint8 *)text, strlen(text));
}

/* ---- the test's ends ---- */

static inline char *read_some(int fd)
{
    char buf[4096];
    ssize_t n;

    rig_settle();
    n = read(fd, buf, sizeof buf - 1);
    return g_strndup(buf, n > 0 ? (gsize)n : 0);
}

#define ASSERT_READS(fd, wanted)                      \
    G_STMT_START                                      \
    {                                                 \
        g_autofree char *text_ = read_some(fd);       \
        g_assert_cmpstr(text_, ==, wanted);           \
    }                                                 \
    G_STMT_END

static inline void tell(int fd, const char *text)
{
    g_assert_cmpint(write(fd, text, strlen(text)), ==, (gssize)strlen(text));
    rig_settle();
}

static inline void set_address(struct sockaddr_un *addr, const char *path)
{
    *addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
    g_strlcpy(addr->sun_path, path, sizeof addr->sun_path);
}

static inline int connect_to(const char *path)
{
    struct sockaddr_un addr;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    set_address(&addr, path);
    if (connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0) {
        close(fd);
        return -1;
    }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    rig_settle();
    return fd;
}

static inline int listen_at(const char *path, int type)
{
    struct sockaddr_un addr;
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

    set_address(&addr, path);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, sizeof addr), ==, 0);
    if (type == SOCK_STREAM)
        g_assert_cmpint(listen(fd, 1), ==, 0);
    return fd;
}

typedef struct {
    Rig  *rig;
    char *tmp, *path;
} ChardevPlace;

static inline ChardevPlace *place_new(const char *name)
{
    ChardevPlace *p = g_new0(ChardevPlace, 1);

    p->rig = rig_new();
    p->tmp = rig_tmp_new();
    p->path = g_build_filename(p->tmp, name, NULL);
    return p;
}

static inline void place_free(ChardevPlace *p)
{
    rig_free(p->rig);
    rig_tmp_remove(p->tmp);
    g_free(p->path);
    g_free(p);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ChardevPlace, place_free)

/* The main loop rests: an idle machine does not wake. Also in time: no source that is ready again and again. */
static inline void assert_idle(void)
{
    struct rusage before, after;

    rig_settle();
    getrusage(RUSAGE_SELF, &before);
    for (guint i = 0; i < 5; i++) {
        g_usleep(2000);
        g_assert_false(g_main_context_iteration(NULL, FALSE));
    }
    getrusage(RUSAGE_SELF, &after);
    g_assert_cmpint(after.ru_utime.tv_sec - before.ru_utime.tv_sec, <=, 1);
}

static inline void assert_file(const char *path, const char *wanted)
{
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, wanted);
}

/* Members of a socket chardev. */
#define SERVER "\"chardev\":\"chardev-socket\",\"id\":\"c\""

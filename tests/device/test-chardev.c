/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-chardev.c - character back ends against real peers: files, FIFOs, pseudo-terminals, sockets. What counts is what happens
 * when a peer is slow, silent, gone, or one of several.
 */
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

static gsize can_receive(gpointer user)
{
    Front *f = user;
    LOCK_SCOPE(&f->lock);

    return f->room;
}

static void receive(gpointer user, const guint8 *data, gsize len)
{
    Front *f = user;
    LOCK_SCOPE(&f->lock);

    g_assert_cmpuint(len, <=, f->room);
    f->room -= len;
    g_string_append_len(f->got, (const char *)data, (gssize)len);
}

static void writable(gpointer user)
{
    ((Front *)user)->writables++;
}

static void opened(gpointer user, gboolean open)
{
    Front *f = user;

    g_assert_cmpint(f->open, !=, open); /* never told twice */
    f->open = open;
    *(open ? &f->opens : &f->closes) += 1;
}

static const ChardevFrontend frontend = { .can_receive = can_receive, .receive = receive, .writable = writable, .opened = opened };

static Front *front_new(Device *chardev, gsize room)
{
    Front *f = g_new0(Front, 1);

    g_mutex_init(&f->lock);
    f->chardev = chardev;
    f->got = g_string_new(NULL);
    f->room = room;
    g_assert_true(chardev_attach(chardev, &frontend, f, NULL));
    return f;
}

static void front_free(Front *f)
{
    if (chardev_frontend_open(f->chardev))
        chardev_detach(f->chardev);
    g_string_free(f->got, TRUE);
    g_mutex_clear(&f->lock);
    g_free(f);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Front, front_free)

static void give_room(Front *f, gsize room)
{
    {
        LOCK_SCOPE(&f->lock);
        f->room = room;
    }
    chardev_accept_input(f->chardev);
    rig_settle();
}

static gsize say(Device *chardev, const char *text)
{
    return chardev_write(chardev, (const guint8 *)text, strlen(text));
}

/* ---- the test's ends ---- */

static char *read_some(int fd)
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

static void tell(int fd, const char *text)
{
    g_assert_cmpint(write(fd, text, strlen(text)), ==, (gssize)strlen(text));
    rig_settle();
}

static void set_address(struct sockaddr_un *addr, const char *path)
{
    *addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
    g_strlcpy(addr->sun_path, path, sizeof addr->sun_path);
}

static int connect_to(const char *path)
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

static int listen_at(const char *path, int type)
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
} Place;

static Place *place_new(const char *name)
{
    Place *p = g_new0(Place, 1);

    p->rig = rig_new();
    p->tmp = rig_tmp_new();
    p->path = g_build_filename(p->tmp, name, NULL);
    return p;
}

static void place_free(Place *p)
{
    rig_free(p->rig);
    rig_tmp_remove(p->tmp);
    g_free(p->path);
    g_free(p);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Place, place_free)

/* The main loop rests: an idle machine does not wake. Also in time: no source that is ready again and again. */
static void assert_idle(void)
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

/* ---- file ---- */

static void assert_file(const char *path, const char *wanted)
{
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, wanted);
}

static void test_file(void)
{
    g_autoptr(Place) p = place_new("f");
    struct stat st;
    static const char *const extra[] = { "", ",\"append\":true", ",\"append\":false" };
    static const char *const after[] = { "one", "oneone", "one" };

    for (guint i = 0; i < 3; i++) {
        Device *c = rig_plug(p->rig, "{\"chardev\":\"chardev-file\",\"id\":\"c\",\"out\":\"%s\"%s}", p->path, extra[i]);
        g_assert_cmpuint(say(c, "one"), ==, 3);
        rig_remove(c);
        assert_file(p->path, after[i]);
    }
    g_assert_cmpint(stat(p->path, &st), ==, 0);
    g_assert_cmpuint(st.st_mode & 07777, ==, 0600);
}

static void test_file_input(void)
{
    g_autoptr(Place) p = place_new("f");
    g_autofree char *in = g_build_filename(p->tmp, "in", NULL);

    g_assert_true(g_file_set_contents(in, "words", -1, NULL));
    Device *c = rig_plug(p->rig, "{\"chardev\":\"chardev-file\",\"id\":\"c\",\"out\":\"%s\",\"in\":\"%s\"}", p->path, in);
    g_autoptr(Front) f = front_new(c, 3);
    rig_settle();
    g_assert_cmpstr(f->got->str, ==, "wor");
    give_room(f, 100);
    g_assert_cmpstr(f->got->str, ==, "words");
    assert_idle(); /* at its end */
}

static void test_file_refused(void)
{
    g_autoptr(Place) p = place_new("f");
    g_autofree char *huge = g_strnfill(1000, 'p');
    const char *kind = "\"chardev\":\"chardev-file\",\"id\":\"c\"";

    rig_refuse(p->rig, "Is a directory", "{%s,\"out\":\"%s\"}", kind, p->tmp);
    rig_refuse(p->rig, "is a directory", "{%s,\"out\":\"%s\",\"in\":\"%s\"}", kind, p->path, p->tmp);
    rig_refuse(p->rig, "No such file", "{%s,\"out\":\"%s/none/x\"}", kind, p->tmp);
    rig_refuse(p->rig, "No such file", "{%s,\"out\":\"%s\",\"in\":\"%s/none\"}", kind, p->path, p->tmp);
    rig_refuse(p->rig, "too long", "{%s,\"out\":\"%s\"}", kind, huge);
    rig_refuse(p->rig, "no descriptor sets", "{%s,\"out\":\"/dev/fdset/1\"}", kind);
}

/* A FIFO without a reader does not block, and what was written waits for one. */
static void test_fifo_output(void)
{
    g_autoptr(Place) p = place_new("fifo");
    g_autoptr(GByteArray) chunk = g_byte_array_new();
    gsize taken = 0, n;

    g_assert_cmpint(mkfifo(p->path, 0600), ==, 0);
    g_byte_array_set_size(chunk, 4096);
    Device *c = rig_plug(p->rig, "{\"chardev\":\"chardev-file\",\"id\":\"c\",\"out\":\"%s\"}", p->path);
    g_autoptr(Front) f = front_new(c, 0);
    say(c, "early");
    g_auto(AutoFd) reader = open(p->path, O_RDONLY | O_NONBLOCK);
    ASSERT_READS(reader, "early");
    while ((n = chardev_write(c, chunk->data, chunk->len)) == chunk->len)
        taken += n;
    g_assert_cmpuint(taken, >=, PENDING_LIMIT);
    g_assert_cmpuint(f->writables, ==, 0);
    assert_idle();
}

/* Writers come and go; none of them ends the input. */
static void test_fifo_input(void)
{
    g_autoptr(Place) p = place_new("fifo");

    g_assert_cmpint(mkfifo(p->path, 0600), ==, 0);
    Device *c = rig_plug(p->rig, "{\"chardev\":\"chardev-file\",\"id\":\"c\",\"out\":\"/dev/null\",\"in\":\"%s\"}", p->path);
    g_autoptr(Front) f = front_new(c, 100);
    assert_idle();
    for (guint i = 1; i <= 3; i++) {
        int writer = open(p->path, O_WRONLY | O_NONBLOCK);
        tell(writer, "x");
        close(writer);
        assert_idle();
        g_assert_cmpuint(f->got->len, ==, i);
    }
}

/* ---- pty ---- */

static const char *pty_path(Device *c, char **owned)
{
    *owned = chardev_filename(c);
    g_assert_true(g_str_has_prefix(*owned, "pty:/dev/pts/"));
    return *owned + strlen("pty:");
}

static void test_pty(void)
{
    g_autoptr(Rig) rig = rig_new();
    Device *c = rig_plug(rig, "{\"chardev\":\"chardev-pty\",\"id\":\"c\"}");
    g_autoptr(Front) f = front_new(c, 100);
    g_autofree char *owned = NULL;
    const char *path = pty_path(c, &owned);
    struct termios t;

    for (guint round = 1; round <= 3; round++) {
        g_assert_false(f->open);
        assert_idle(); /* the master side is hung up, and nobody spins on it */
        for (guint i = 0; i < 100; i++)
            g_assert_cmpuint(say(c, "nobody hears this "), ==, 18);
        int peer = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK);
        rig_settle();
        g_assert_true(f->open);
        ASSERT_READS(peer, ""); /* no history */
        g_assert_cmpint(tcgetattr(peer, &t), ==, 0);
        g_assert_cmpint(t.c_lflag & (ICANON | ECHO | ISIG), ==, 0);
        g_assert_cmpint(t.c_oflag & OPOST, ==, 0);
        say(c, "out\n");
        ASSERT_READS(peer, "out\n");
        tell(peer, "in\3");
        g_assert_cmpuint(f->got->len, ==, 3 * round);
        close(peer);
        rig_settle();
        g_assert_cmpuint(f->closes, ==, round);
    }
}

/* Said and gone before the main loop looked. */
static void test_pty_hasty(void)
{
    g_autoptr(Rig) rig = rig_new();
    Device *c = rig_plug(rig, "{\"chardev\":\"chardev-pty\",\"id\":\"c\"}");
    g_autoptr(Front) f = front_new(c, 100);
    g_autofree char *owned = NULL;
    int peer = open(pty_path(c, &owned), O_RDWR | O_NOCTTY);

    g_assert_cmpint(write(peer, "hello", 5), ==, 5);
    close(peer);
    rig_settle();
    g_assert_cmpstr(f->got->str, ==, "hello");
    g_assert_false(f->open);
    assert_idle();
}

/* The peer goes while the front end takes no input: noticed, no spin, output dropped, and what it said is still there. */
static void test_pty_gone_while_full(void)
{
    g_autoptr(Rig) rig = rig_new();
    Device *c = rig_plug(rig, "{\"chardev\":\"chardev-pty\",\"id\":\"c\"}");
    g_autoptr(Front) f = front_new(c, 0);
    g_autofree char *owned = NULL;
    const char *path = pty_path(c, &owned);
    int peer = open(path, O_RDWR | O_NOCTTY);

    rig_settle();
    tell(peer, "typed");
    close(peer);
    assert_idle();
    for (guint i = 0; i < 10000; i++)
        g_assert_cmpuint(say(c, "dropped output.."), ==, 16);
    peer = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK);
    rig_settle();
    say(c, "new");
    ASSERT_READS(peer, "new");
    give_room(f, 100);
    g_assert_cmpstr(f->got->str, ==, "typed");
    close(peer);
    rig_settle();
    g_assert_false(f->open);
    assert_idle();
}

/* ---- socket, server ---- */

#define SERVER "\"chardev\":\"chardev-socket\",\"id\":\"c\""

static void test_server(void)
{
    g_autoptr(Place) p = place_new("s");
    Device *c = rig_plug(p->rig, "{" SERVER ",\"path\":\"%s\"}", p->path);
    g_autoptr(Front) f = front_new(c, 1000);
    struct stat st;

    g_assert_cmpint(lstat(p->path, &st), ==, 0);
    g_assert_true(S_ISSOCK(st.st_mode));
    g_assert_cmpuint(st.st_mode & 07777, ==, 0600);
    g_assert_cmpuint(say(c, "nobody"), ==, 6);
    int first = connect_to(p->path), second = connect_to(p->path);
    g_assert_true(f->open);
    tell(second, "two"); /* in the backlog: unheard */
    tell(first, "one ");
    g_assert_cmpstr(f->got->str, ==, "one ");
    say(c, "to the first");
    ASSERT_READS(first, "to the first");
    ASSERT_READS(second, "");
    close(first);
    rig_settle();
    g_assert_cmpuint(f->closes, ==, 1);
    g_assert_cmpstr(f->got->str, ==, "one two");
    say(c, "to the second");
    ASSERT_READS(second, "to the second");
    close(second);
    assert_idle();
    g_assert_false(f->open);
    chardev_detach(c);
    rig_remove(c);
    f->chardev = rig_plug(p->rig, "{\"chardev\":\"chardev-null\",\"id\":\"c\"}");
    g_assert_cmpint(lstat(p->path, &st), <, 0);
}

static void test_server_paths(void)
{
    g_autoptr(Place) p = place_new("s");
    struct stat st;

    close(listen_at(p->path, SOCK_STREAM)); /* a leftover */
    Device *c = rig_plug(p->rig, "{" SERVER ",\"path\":\"%s\"}", p->path);
    close(connect_to(p->path));
    rig_remove(c);

    int other = listen_at(p->path, SOCK_STREAM);
    rig_refuse(p->rig, "somebody listens", "{" SERVER ",\"path\":\"%s\"}", p->path);
    int queued[4];
    for (guint i = 0; i < G_N_ELEMENTS(queued); i++) { /* its backlog full: alive all the same */
        struct sockaddr_un addr;
        set_address(&addr, p->path);
        queued[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(queued[i], (struct sockaddr *)&addr, sizeof addr);
    }
    rig_refuse(p->rig, "somebody listens", "{" SERVER ",\"path\":\"%s\"}", p->path);
    for (guint i = 0; i < G_N_ELEMENTS(queued); i++)
        close(queued[i]);
    close(other);
    g_unlink(p->path);

    other = listen_at(p->path, SOCK_DGRAM); /* alive, though it is no stream */
    rig_refuse(p->rig, "somebody listens", "{" SERVER ",\"path\":\"%s\"}", p->path);
    close(other);
    g_unlink(p->path);

    g_assert_true(g_file_set_contents(p->path, "precious", -1, NULL));
    rig_refuse(p->rig, "is not a socket", "{" SERVER ",\"path\":\"%s\"}", p->path);
    assert_file(p->path, "precious");
    rig_refuse(p->rig, "No such file", "{" SERVER ",\"path\":\"%s/none/s\"}", p->tmp);
    rig_refuse(p->rig, "neither 'path' nor 'fd'", "{" SERVER "}");
    rig_refuse(p->rig, "'wait'", "{" SERVER ",\"path\":\"%s.2\",\"wait\":true}", p->path);
    g_unlink(p->path);

    c = rig_plug(p->rig, "{" SERVER ",\"path\":\"%s\"}", p->path); /* what somebody put in its place stays */
    g_unlink(p->path);
    g_assert_true(g_file_set_contents(p->path, "precious", -1, NULL));
    rig_remove(c);
    g_assert_cmpint(lstat(p->path, &st), ==, 0);
}

/* A peer that goes while the front end takes nothing gives way to the next; without another one its words stay. */
static void test_server_gone_while_full(void)
{
    g_autoptr(Place) p = place_new("s");
    Device *c = rig_plug(p->rig, "{" SERVER ",\"path\":\"%s\"}", p->path);
    g_autoptr(Front) f = front_new(c, 0);
    int peer = connect_to(p->path);

    tell(peer, "words");
    close(peer);
    assert_idle();
    g_assert_cmpuint(say(c, "dropped"), ==, 7);
    give_room(f, 100);
    g_assert_cmpstr(f->got->str, ==, "words");
    g_assert_cmpuint(f->closes, ==, 1);

    give_room(f, 0);
    peer = connect_to(p->path);
    tell(peer, "lost");
    close(peer);
    peer = connect_to(p->path);
    g_assert_cmpuint(f->opens, ==, 3);
    say(c, "served");
    ASSERT_READS(peer, "served");
    give_room(f, 100);
    g_assert_cmpstr(f->got->str, ==, "words");
    close(peer);
    rig_settle();
}

static void test_server_without_front_end(void)
{
    g_autoptr(Place) p = place_new("s");
    Device *c = rig_plug(p->rig, "{" SERVER ",\"path\":\"%s\"}", p->path);
    int first = connect_to(p->path), second = connect_to(p->path);

    close(first);
    rig_settle();
    tell(second, "hello");
    g_autoptr(Front) f = front_new(c, 100);
    rig_settle();
    g_assert_cmpstr(f->got->str, ==, "hello"); /* the second's, not the first's end */
    g_assert_true(f->open);
    close(second);
    rig_settle();
}

/* ---- socket, client and descriptors ---- */

static void test_client(void)
{
    g_autoptr(Place) p = place_new("s");
    int server = listen_at(p->path, SOCK_STREAM);
    Device *c = rig_plug(p->rig, "{" SERVER ",\"server\":false,\"path\":\"%s\"}", p->path);
    g_autoptr(Front) f = front_new(c, 100);
    int peer = accept(server, NULL, NULL);

    g_assert_true(f->open);
    tell(peer, "hi");
    g_assert_cmpstr(f->got->str, ==, "hi");
    close(peer);
    close(server);
    rig_settle();
    g_assert_false(f->open);
    assert_idle();
    g_assert_cmpuint(say(c, "nobody"), ==, 6);
    rig_refuse(p->rig, "Connection refused", "{\"chardev\":\"chardev-socket\",\"id\":\"d\",\"server\":false,\"path\":\"%s\"}", p->path);
}

static void test_reconnect(void)
{
    g_autoptr(Place) p = place_new("s");
    Device *c = rig_plug(p->rig, "{" SERVER ",\"server\":false,\"reconnect\":1,\"path\":\"%s\"}", p->path);
    g_autoptr(Front) f = front_new(c, 100);

    g_assert_false(f->open); /* nobody is there yet */
    int server = listen_at(p->path, SOCK_STREAM);
    rig_wait(&f->open);
    close(accept(server, NULL, NULL));
    while (f->open)
        g_main_context_iteration(NULL, TRUE);
    rig_wait(&f->open);
    g_assert_cmpuint(f->opens, ==, 2);
    close(server);
}

static Device *plug_fd(Rig *rig, int fd, GError **error)
{
    PropBag *bag = rig_bag("{" SERVER ",\"fd\":\"name\"}", NULL);
    Device *dev;

    prop_bag_set_u(bag, "fd-number", (guint64)fd, ORIGIN_DEFAULT);
    dev = device_plug_realize(rig->set, bag, error);
    if (dev)
        device_plug_publish(dev);
    return dev;
}

static void test_descriptors(void)
{
    g_autoptr(Place) p = place_new("s");
    int pair[2], fds = (int)rig_count_fds();

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), ==, 0);
    Device *c = plug_fd(p->rig, pair[0], NULL);
    g_autofree char *name = chardev_filename(c);
    g_assert_cmpstr(name, ==, "fd:name");
    g_assert_cmpint(fcntl(pair[0], F_GETFD) & FD_CLOEXEC, !=, 0);
    say(c, "x");
    ASSERT_READS(pair[1], "x");
    close(pair[1]);
    rig_remove(c);

    int server = listen_at(p->path, SOCK_STREAM);
    c = plug_fd(p->rig, server, NULL);
    g_assert_cmpint(fcntl(server, F_GETFL) & O_NONBLOCK, !=, 0);
    int peer = connect_to(p->path);
    say(c, "y");
    ASSERT_READS(peer, "y");
    close(peer);
    rig_remove(c);
    g_assert_cmpint((int)rig_count_fds(), ==, fds);
}

static void test_descriptors_refused(void)
{
    g_autoptr(Place) p = place_new("s");
    int bad[] = { open("/dev/null", O_RDWR), socket(AF_UNIX, SOCK_DGRAM, 0), socket(AF_UNIX, SOCK_STREAM, 0), 9999 };
    static const char *const why[] = { "not a socket", "not a stream", "neither listens nor is connected", "9999" };

    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(plug_fd(p->rig, bad[i], &error));
        g_assert_nonnull(strstr(error->message, why[i]));
        if (bad[i] != 9999)
            g_assert_cmpint(close(bad[i]), ==, 0); /* still the caller's */
    }
}

/* ---- slow peers ---- */

static void test_peer_that_does_not_read(void)
{
    g_autoptr(Place) p = place_new("s");
    Device *c = rig_plug(p->rig, "{" SERVER ",\"path\":\"%s\"}", p->path);
    g_autoptr(Front) f = front_new(c, 0);
    int peer = connect_to(p->path);
    guint64 taken = 0, got = 0;
    guint8 buf[5000];
    gsize n;

    do {
        for (gsize i = 0; i < sizeof buf; i++)
            buf[i] = (guint8)((taken + i) % 251);
        n = chardev_write(c, buf, sizeof buf);
        taken += n;
        g_assert_cmpuint(((Chardev *)c)->pending->len, <=, PENDING_LIMIT);
    } while (n == sizeof buf);
    g_assert_cmpuint(chardev_write(c, buf, 1), ==, 0);
    assert_idle();
    g_assert_cmpuint(f->writables, ==, 0);
    while (got < taken) {
        ssize_t r = read(peer, buf, sizeof buf);
        rig_settle();
        for (ssize_t i = 0; i < r; i++)
            g_assert_cmpuint(buf[i], ==, got++ % 251);
    }
    g_assert_cmpuint(f->writables, ==, 1); /* once for all that was refused */
    g_assert_cmpuint(say(c, "again"), ==, 5);
    ASSERT_READS(peer, "again");
    close(peer);
    rig_settle();
}

/* The peer goes with bytes on the way: the front end is let go. */
static void test_peer_goes_with_bytes_pending(void)
{
    g_autoptr(Place) p = place_new("s");
    Device *c = rig_plug(p->rig, "{" SERVER ",\"path\":\"%s\"}", p->path);
    g_autoptr(Front) f = front_new(c, 0);
    int peer = connect_to(p->path);
    guint8 buf[5000] = { 0 };

    while (chardev_write(c, buf, sizeof buf) == sizeof buf)
        ;
    close(peer);
    rig_settle();
    g_assert_cmpuint(f->writables, ==, 1);
    g_assert_cmpuint(chardev_write(c, buf, sizeof buf), ==, sizeof buf); /* dropped */
    assert_idle();
    peer = connect_to(p->path);
    ASSERT_READS(peer, ""); /* not the last one's rest */
    close(peer);
    rig_settle();
}

/* ---- threads ---- */

typedef struct {
    Device *chardev;
    guint8  mark;
} Writer;

#define LINE 64
#define LINES 3000

static gpointer write_lines(gpointer user)
{
    Writer *w = user;
    guint8 line[LINE];

    memset(line, w->mark, sizeof line);
    for (guint i = 0; i < LINES; i++) {
        gsize done = 0;
        while ((done += chardev_write(w->chardev, line + done, sizeof line - done)) < sizeof line)
            g_usleep(100);
    }
    return NULL;
}

static void test_two_writers(void)
{
    g_autoptr(Place) p = place_new("s");
    Device *c = rig_plug(p->rig, "{" SERVER ",\"path\":\"%s\"}", p->path);
    int peer = connect_to(p->path);
    Writer writers[2] = { { c, 'a' }, { c, 'b' } };
    GThread *threads[2];
    guint counts[2] = { 0 };
    guint8 buf[4096];

    for (guint i = 0; i < 2; i++)
        threads[i] = g_thread_new("writer", write_lines, &writers[i]);
    while (counts[0] + counts[1] < 2 * LINE * LINES) {
        g_main_context_iteration(NULL, FALSE);
        ssize_t n = read(peer, buf, sizeof buf);
        for (ssize_t i = 0; i < n; i++)
            counts[buf[i] - 'a']++;
    }
    g_assert_cmpuint(counts[0], ==, LINE * LINES);
    for (guint i = 0; i < 2; i++)
        g_thread_join(threads[i]);
    close(peer);
    rig_settle();
}

typedef struct {
    Front *front;
    gint   stop; /* atomic */
} Consumer;

/* Takes input away byte by byte, as a guest does. */
static gpointer consume(gpointer user)
{
    Consumer *c = user;

    while (!g_atomic_int_get(&c->stop)) {
        {
            LOCK_SCOPE(&c->front->lock);
            c->front->room = 1 + (c->front->got->len & 7);
        }
        chardev_accept_input(c->front->chardev);
    }
    return NULL;
}

static void test_accept_input_from_a_thread(void)
{
    g_autoptr(Place) p = place_new("s");
    Device *c = rig_plug(p->rig, "{" SERVER ",\"path\":\"%s\"}", p->path);
    g_autoptr(Front) f = front_new(c, 0);
    int peer = connect_to(p->path);
    g_autofree char *text = g_strnfill(20000, 'x');
    Consumer consumer = { f, 0 };
    gboolean all = FALSE;

    g_assert_cmpint(write(peer, text, 20000), ==, 20000);
    GThread *thread = g_thread_new("guest", consume, &consumer);
    while (!all) {
        g_main_context_iteration(NULL, FALSE);
        LOCK_SCOPE(&f->lock);
        all = f->got->len == 20000;
    }
    g_atomic_int_set(&consumer.stop, 1);
    g_thread_join(thread);
    close(peer);
    rig_settle();
}

/* ---- coming and going ---- */

static void test_detach(void)
{
    g_autoptr(Place) p = place_new("s");
    Device *c = rig_plug(p->rig, "{" SERVER ",\"path\":\"%s\"}", p->path);
    Front *f = front_new(c, 3);
    int peer = connect_to(p->path);
    g_autoptr(GError) error = NULL;

    g_assert_false(chardev_attach(c, &frontend, f, &error));
    g_assert_cmpstr(error->message, ==, "Chardev 'c' is in use");
    tell(peer, "abcdef");
    front_free(f); /* blocked */
    assert_idle();
    f = front_new(c, 100);
    g_assert_true(f->open); /* told on arrival */
    rig_settle();
    g_assert_cmpstr(f->got->str, ==, "def");
    guint8 buf[5000] = { 0 };
    while (chardev_write(c, buf, sizeof buf) == sizeof buf)
        ;
    front_free(f); /* owed a call */
    while (read(peer, buf, sizeof buf) > 0)
        rig_settle();
    close(peer);
    rig_settle();
}

/* Removed with everything on the way: a wake-up posted, input blocked, output pending. */
static void test_removal_at_every_moment(void)
{
    guint fds = rig_count_fds();
    static const char *const kinds[] = { SERVER ",\"path\":\"%s\"", "\"chardev\":\"chardev-pty\",\"id\":\"c\"" };

    for (guint moment = 0; moment < 12; moment++) {
        g_autoptr(Place) p = place_new("s");
        g_autofree char *members = g_strdup_printf("{%s}", kinds[moment & 1]);
        g_autofree char *json = g_strdup_printf(members, p->path);
        Device *c = rig_plug(p->rig, "%s", json);
        Front *f = front_new(c, 2);
        g_autofree char *name = chardev_filename(c);
        int peer = moment & 1 ? open(name + 4, O_RDWR | O_NOCTTY | O_NONBLOCK) : connect_to(p->path);
        guint8 buf[5000] = { 0 };

        rig_settle();
        g_assert_cmpint(write(peer, "abcdef", 6), ==, 6);
        if (moment >= 2)
            rig_settle();
        while (moment >= 4 && chardev_write(c, buf, sizeof buf) == sizeof buf)
            ;
        if (moment >= 6)
            chardev_accept_input(c);
        if (moment >= 8)
            close(peer);
        if (moment >= 10)
            rig_settle();
        front_free(f);
        if (moment & 2)
            rig_remove(c);
        if (moment < 8)
            close(peer);
        rig_settle();
    }
    g_assert_cmpuint(rig_count_fds(), ==, fds);
}

/* ---- the rest ---- */

static void test_null(void)
{
    g_autoptr(Rig) rig = rig_new();
    Device *c = rig_plug(rig, "{\"chardev\":\"chardev-null\",\"id\":\"c\"}");
    g_autoptr(Front) f = front_new(c, 100);
    g_autofree char *name = chardev_filename(c);

    g_assert_cmpstr(name, ==, "null");
    g_assert_true(f->open);
    g_assert_cmpuint(say(c, "anything"), ==, 8);
    assert_idle();
}

#define ASSERT_RING(c, most, wanted)                                         \
    G_STMT_START                                                             \
    {                                                                        \
        g_autoptr(GByteArray) bytes_ = g_byte_array_new();                   \
        g_assert_true(chardev_ringbuf_read(c, most, bytes_, NULL));           \
        g_assert_cmpmem(bytes_->data, bytes_->len, wanted, strlen(wanted));  \
    }                                                                        \
    G_STMT_END

static void test_ringbuf(void)
{
    g_autoptr(Rig) rig = rig_new();
    Device *c = rig_plug(rig, "{\"chardev\":\"chardev-ringbuf\",\"id\":\"c\",\"size\":8}");
    g_autoptr(GByteArray) none = g_byte_array_new();
    g_autoptr(GError) error = NULL;

    ASSERT_RING(c, 10, "");
    say(c, "abc");
    ASSERT_RING(c, 2, "ab");
    ASSERT_RING(c, 10, "c");
    say(c, "12345678");
    ASSERT_RING(c, 3, "123");
    say(c, "9abcdef"); /* the oldest goes */
    ASSERT_RING(c, 100, "89abcdef");
    say(c, "0123456789abcdefghij"); /* more than its size at once */
    ASSERT_RING(c, 100, "cdefghij");
    g_assert_true(chardev_ringbuf_write(c, (const guint8 *)"managers", 8, NULL));
    ASSERT_RING(c, G_MAXSIZE, "managers");
    rig_refuse(rig, "not a power of two", "{\"chardev\":\"chardev-ringbuf\",\"id\":\"d\",\"size\":12}");
    rig_plug(rig, "{\"chardev\":\"chardev-ringbuf\",\"id\":\"one\",\"size\":1}");
    Device *other = rig_plug(rig, "{\"chardev\":\"chardev-null\",\"id\":\"n\"}");
    g_assert_false(chardev_ringbuf_read(other, 1, none, &error));
    g_assert_nonnull(strstr(error->message, "'n' is a chardev-null"));
    g_assert_false(chardev_ringbuf_write(other, (const guint8 *)"x", 1, NULL));
}

/* In a child whose standard input and output are a socket of ours: they work, and are as before afterwards. */
static void stdio_child(void)
{
    g_autoptr(Rig) rig = rig_new();

    Device *c = rig_plug(rig, "{\"chardev\":\"chardev-stdio\",\"id\":\"c\"}");
    g_autoptr(Front) f = front_new(c, 100);
    while (f->got->len < 4)
        g_main_context_iteration(NULL, TRUE);
    say(c, f->got->str);
    chardev_detach(c);
    rig_remove(c);
    f->chardev = rig_plug(rig, "{\"chardev\":\"chardev-null\",\"id\":\"c\"}");
    gboolean restored = !(fcntl(STDIN_FILENO, F_GETFL) & O_NONBLOCK) && !(fcntl(STDOUT_FILENO, F_GETFL) & O_NONBLOCK);
    g_assert_cmpint(write(STDOUT_FILENO, restored ? "+" : "-", 1), ==, 1);
}

static void test_stdio(void)
{
    int pair[2], status;
    char buf[16] = "";

    if (g_test_subprocess()) {
        stdio_child();
        _exit(0);
    }
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), ==, 0);
    fcntl(pair[1], F_SETFD, FD_CLOEXEC);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(pair[0], STDIN_FILENO);
        dup2(pair[0], STDOUT_FILENO);
        execl("/proc/self/exe", "test-chardev", "--GTestSubprocess", "-p", "/chardev/stdio", NULL);
        _exit(127);
    }
    close(pair[0]);
    g_assert_cmpint(write(pair[1], "ping", 4), ==, 4);
    g_autoptr(GString) got = g_string_new(NULL);
    ssize_t n;
    while ((n = read(pair[1], buf, sizeof buf)) > 0)
        g_string_append_len(got, buf, n);
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_test_message("%s", got->str);
    g_assert_nonnull(strstr(got->str, "ping"));
    g_assert_nonnull(strstr(got->str, "+"));
    g_assert_cmpint(status, ==, 0);
    close(pair[1]);
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN); /* as the daemon's main() does */
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/chardev/file", test_file);
    g_test_add_func("/chardev/file-input", test_file_input);
    g_test_add_func("/chardev/file-refused", test_file_refused);
    g_test_add_func("/chardev/fifo-output", test_fifo_output);
    g_test_add_func("/chardev/fifo-input", test_fifo_input);
    g_test_add_func("/chardev/pty", test_pty);
    g_test_add_func("/chardev/pty-hasty", test_pty_hasty);
    g_test_add_func("/chardev/pty-gone-while-full", test_pty_gone_while_full);
    g_test_add_func("/chardev/server", test_server);
    g_test_add_func("/chardev/server-paths", test_server_paths);
    g_test_add_func("/chardev/server-gone-while-full", test_server_gone_while_full);
    g_test_add_func("/chardev/server-without-front-end", test_server_without_front_end);
    g_test_add_func("/chardev/client", test_client);
    g_test_add_func("/chardev/reconnect", test_reconnect);
    g_test_add_func("/chardev/descriptors", test_descriptors);
    g_test_add_func("/chardev/descriptors-refused", test_descriptors_refused);
    g_test_add_func("/chardev/peer-that-does-not-read", test_peer_that_does_not_read);
    g_test_add_func("/chardev/peer-goes-with-bytes-pending", test_peer_goes_with_bytes_pending);
    g_test_add_func("/chardev/two-writers", test_two_writers);
    g_test_add_func("/chardev/accept-input-from-a-thread", test_accept_input_from_a_thread);
    g_test_add_func("/chardev/detach", test_detach);
    g_test_add_func("/chardev/removal-at-every-moment", test_removal_at_every_moment);
    g_test_add_func("/chardev/null", test_null);
    g_test_add_func("/chardev/ringbuf", test_ringbuf);
    g_test_add_func("/chardev/stdio", test_stdio);
    return g_test_run();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-chardev-socket.c - socket chardevs: one peer at a time, paths that are taken, clients that come again, descriptors, and removal
 * at every moment.
 */
#include "chardev-front.h"

/* ---- socket, server ---- */

static void test_server(void)
{
    g_autoptr(ChardevPlace) p = place_new("s");
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
    g_autoptr(ChardevPlace) p = place_new("s");
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
    g_autoptr(ChardevPlace) p = place_new("s");
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
    g_autoptr(ChardevPlace) p = place_new("s");
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
    g_autoptr(ChardevPlace) p = place_new("s");
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
    g_autoptr(ChardevPlace) p = place_new("s");
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
    g_autoptr(ChardevPlace) p = place_new("s");
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
    g_autoptr(ChardevPlace) p = place_new("s");
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

/* ---- coming and going ---- */

static void test_detach(void)
{
    g_autoptr(ChardevPlace) p = place_new("s");
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
        g_autoptr(ChardevPlace) p = place_new("s");
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

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN); /* as the daemon's main() does */
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/chardev/server", test_server);
    g_test_add_func("/chardev/server-paths", test_server_paths);
    g_test_add_func("/chardev/server-gone-while-full", test_server_gone_while_full);
    g_test_add_func("/chardev/server-without-front-end", test_server_without_front_end);
    g_test_add_func("/chardev/client", test_client);
    g_test_add_func("/chardev/reconnect", test_reconnect);
    g_test_add_func("/chardev/descriptors", test_descriptors);
    g_test_add_func("/chardev/descriptors-refused", test_descriptors_refused);
    g_test_add_func("/chardev/detach", test_detach);
    g_test_add_func("/chardev/removal-at-every-moment", test_removal_at_every_moment);
    return g_test_run();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-listen.c - sockets by path and by descriptor, stale and live ones, peers, and many clients.
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

typedef struct {
    QmpServer *server;
    char *dir, *path, *spec, *lock;
    guint open_fds;
} Fixture;

static void setup(Fixture *f, gconstpointer data)
{
    harness_settle();
    f->dir = g_dir_make_tmp("qmp-XXXXXX", NULL);
    f->path = g_build_filename(f->dir, "s", NULL);
    f->spec = g_strconcat("unix:", f->path, NULL);
    f->lock = g_strconcat(f->path, ".lock", NULL);
    f->open_fds = harness_open_fds();
    f->server = harness_server();
}

/* No test may leave a descriptor or a file behind. */
static void teardown(Fixture *f, gconstpointer data)
{
    qmp_server_free(f->server);
    g_assert_cmpuint(harness_open_fds(), ==, f->open_fds);
    if (g_rmdir(f->dir) < 0)
        g_error("'%s' was not left empty", f->dir);
    g_free(f->dir);
    g_free(f->path);
    g_free(f->spec);
    g_free(f->lock);
}

static void add(QmpServer *server, const char *spec)
{
    g_autoptr(GError) error = NULL;

    qmp_server_add(server, spec, &error);
    g_assert_no_error(error);
}

static void refuse(QmpServer *server, const char *spec, const char *why)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(qmp_server_add(server, spec, &error));
    if (!strstr(error->message, why))
        g_error("refused by \"%s\", expected: %s", error->message, why);
}

/* Binds a socket of somebody else to the path; listens if BACKLOG is not negative. */
static int foreign_socket(const char *path, int backlog)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(addr.sun_path, path, sizeof addr.sun_path);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, sizeof addr), ==, 0);
    if (backlog >= 0)
        g_assert_cmpint(listen(fd, backlog), ==, 0);
    return fd;
}

/* A new client is greeted and answered. */
static void try_client(const char *path)
{
    g_autoptr(Client) c = client_connect(path);
    g_autofree char *greeting = client_line(c);

    g_assert_true(g_str_has_prefix(greeting, "{\"QMP\": "));
    client_send(c, "{\"execute\":\"qmp_capabilities\",\"id\":1}");
    client_expect(c, "{\"return\": {}, \"id\": 1}");
}

static void test_path(Fixture *f, gconstpointer data)
{
    mode_t mask = umask(0);
    struct stat st;

    add(f->server, f->spec);
    umask(mask);
    g_assert_cmpint(lstat(f->path, &st), ==, 0);
    g_assert_cmpint(st.st_mode & 0777, ==, 0600);
    try_client(f->path);
    try_client(f->path); /* accepts for ever */
}

static void test_bad_specs(Fixture *f, gconstpointer data)
{
    g_autofree char *option = g_strconcat(f->spec, ",color=red", NULL);
    g_autofree char *value = g_strconcat(f->spec, ",readonly=yes", NULL);

    refuse(f->server, "", "nothing given");
    refuse(f->server, "tcp:1", "it is unix:PATH or fd:NUMBER");
    refuse(f->server, "unix:", "path of a socket is empty");
    refuse(f->server, option, "unknown option 'color=red'");
    refuse(f->server, value, "'readonly=yes' is neither on nor off");
    refuse(f->server, "fd:x", "'x' is not the number of a file descriptor");
    refuse(f->server, "fd:12345",
           "File descriptor 12345 can not be used for QMP: Bad file descriptor");
    refuse(f->server, "fd:0,server=off", "server=off goes with unix:PATH only");
    refuse(f->server, "unix:/no/such/folder/s",
           "Can not open the lock file '/no/such/folder/s.lock': No such file");
    refuse(f->server, "unix:/no/such/s,server=off",
           "Can not connect to the socket '/no/such/s': No such file");
}

static void test_long_path(Fixture *f, gconstpointer data)
{
    g_autofree char *fill = g_strnfill(107 - strlen(f->dir) - 1, 'x');
    g_autofree char *longest = g_strdup_printf("unix:%s/%s", f->dir, fill);
    g_autofree char *longer = g_strdup_printf("unix:%s/%sy", f->dir, fill);

    refuse(f->server, longer, "has 108 bytes, the longest possible has 107");
    refuse(f->server, longer, &longer[5]);
    add(f->server, longest);
}

static void test_stale(Fixture *f, gconstpointer data)
{
    close(foreign_socket(f->path, 1)); /* its file stays */
    add(f->server, f->spec);
    try_client(f->path);
}

static void test_live(Fixture *f, gconstpointer data)
{
    int fd = foreign_socket(f->path, 0);

    refuse(f->server, f->spec, "is in use: another process listens on it");
    /* Our own attempt has filled its backlog: it can not be connected to, and is alive all the
     * same. */
    refuse(f->server, f->spec, "is in use: another process listens on it");
    close(fd);
    g_assert_cmpint(g_unlink(f->path), ==, 0);
}

static void test_own(Fixture *f, gconstpointer data)
{
    QmpServer *second = harness_server();

    add(f->server, f->spec);
    refuse(second, f->spec, "is in use: another process holds the lock");
    qmp_server_free(second);
    try_client(f->path); /* the first one is as it was */
}

static void test_lock_held(Fixture *f, gconstpointer data)
{
    int fd = open(f->lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    g_assert_cmpint(flock(fd, LOCK_EX), ==, 0);
    refuse(f->server, f->spec, f->lock);
    /* A lock file that somebody left is not in the way. */
    close(fd);
    add(f->server, f->spec);
}

static void test_not_a_socket(Fixture *f, gconstpointer data)
{
    g_assert_true(g_file_set_contents(f->path, "precious", -1, NULL));
    refuse(f->server, f->spec, "exists and is not a socket");
    g_assert_cmpint(g_unlink(f->path), ==, 0);
    g_assert_cmpint(g_mkdir(f->path, 0700), ==, 0);
    refuse(f->server, f->spec, "exists and is not a socket");
    g_assert_cmpint(g_rmdir(f->path), ==, 0);
}

/* Who has replaced our socket keeps it. */
static void test_replaced(Fixture *f, gconstpointer data)
{
    QmpServer *second = harness_server();
    int fd;

    add(second, f->spec);
    g_assert_cmpint(g_unlink(f->path), ==, 0);
    fd = foreign_socket(f->path, 1);
    qmp_server_free(second);
    g_assert_cmpint(g_access(f->path, F_OK), ==, 0);
    close(fd);
    g_assert_cmpint(g_unlink(f->path), ==, 0);
}

static void test_connect(Fixture *f, gconstpointer data)
{
    int listener = foreign_socket(f->path, 1);
    g_autofree char *spec = g_strconcat(f->spec, ",server=off", NULL);
    g_autofree char *greeting = NULL;
    Client c = { .in = g_string_new(NULL) };

    add(f->server, spec);
    c.fd = accept(listener, NULL, NULL);
    greeting = client_line(&c);
    g_assert_true(g_str_has_prefix(greeting, "{\"QMP\": "));
    client_send(&c, "{\"execute\":\"qmp_capabilities\"}");
    client_expect(&c, "{\"return\": {}}");
    close(c.fd);
    close(listener);
    g_string_free(c.in, TRUE);
    g_assert_cmpint(g_unlink(f->path), ==, 0);
}

static void test_inherited(Fixture *f, gconstpointer data)
{
    g_autofree char *spec = g_strdup_printf("fd:%d", foreign_socket(f->path, 5));

    add(f->server, spec);
    try_client(f->path);
    harness_settle();
    g_assert_cmpuint(qmp_server_n_sessions(f->server), ==, 0);
    try_client(f->path); /* again after EOF */
    g_assert_cmpint(g_unlink(f->path), ==, 0);
}

static void test_bad_fd(Fixture *f, gconstpointer data)
{
    g_autofree char *file = NULL, *datagram = NULL;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC),
        dgram = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    file = g_strdup_printf("fd:%d", null);
    datagram = g_strdup_printf("fd:%d", dgram);
    refuse(f->server, file, "can not be used for QMP: Socket operation on non-socket");
    refuse(f->server, datagram, "is a socket of type 2, not a stream");
    g_assert_cmpint(fcntl(null, F_GETFD), >=, 0); /* not taken */
    close(null);
    close(dgram);
}

static void test_readonly(Fixture *f, gconstpointer data)
{
    g_autofree char *spec = g_strconcat(f->spec, ",readonly=on", NULL), *greeting = NULL;
    g_autoptr(Client) c = NULL;

    add(f->server, spec);
    c = client_connect(f->path);
    greeting = client_line(c);
    client_send(c, "{\"execute\":\"qmp_capabilities\"}{\"execute\":\"emit\"}");
    client_expect(c, "{\"return\": {}}");
    client_expect_error(c, "GenericError", "not allowed on a read-only socket");
}

/* ---- peers ---- */

static void check_peer(Fixture *f, const uid_t *uid, const gid_t *gid, gboolean allowed)
{
    QmpServer *server = harness_server_for(uid, uid ? 1 : 0, gid, gid ? 1 : 0);

    add(server, f->spec);
    if (allowed) {
        try_client(f->path);
    } else {
        g_autoptr(Client) c = client_connect(f->path);
        g_autofree char *desc =
            g_strdup_printf("User %u, group %u may not use this monitor", getuid(), getgid());

        client_expect_error(c, "GenericError", desc);
        client_expect_eof(c);
        g_assert_cmpuint(qmp_server_n_sessions(server), ==, 0);
    }
    qmp_server_free(server);
}

static void test_peers(Fixture *f, gconstpointer data)
{
    uid_t own = getuid(), other = own + 12345;
    gid_t own_group = getgid(), other_group = own_group + 54321;

    check_peer(f, NULL, NULL, TRUE); /* root and ourselves */
    check_peer(f, &own, NULL, TRUE);
    check_peer(f, &other, NULL, FALSE);
    check_peer(f, &other, &own_group, TRUE);
    check_peer(f, &other, &other_group, FALSE);
}

/* ---- many ---- */

static void test_many(Fixture *f, gconstpointer data)
{
    enum { N = 1000 };
    g_autofree Client **clients = g_new(Client *, N);
    struct rlimit old, limit;

    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &old), ==, 0);
    limit = (struct rlimit){ MIN(old.rlim_max, 4096), old.rlim_max };
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);
    if (limit.rlim_cur < 2 * N + 50) {
        g_test_skip("the limit of open files is too low for 1000 clients");
        return;
    }
    add(f->server, f->spec);
    for (guint i = 0; i < N; i++)
        clients[i] = client_connect(f->path);
    for (guint i = 0; i < N; i++) {
        g_autofree char *greeting = client_line(clients[i]);

        g_assert_nonnull(greeting);
        client_send(clients[i], "{\"execute\":\"qmp_capabilities\"}");
    }
    for (guint i = 0; i < N; i++)
        client_expect(clients[i], "{\"return\": {}}");
    g_assert_cmpuint(qmp_server_n_sessions(f->server), ==, N);
    qmp_server_event(f->server, "E", NULL, NULL);
    for (guint i = 0; i < N; i++) {
        g_autofree char *line = client_line(clients[i]);

        g_assert_nonnull(strstr(line, "\"event\": \"E\""));
        client_free(clients[i]);
    }
    harness_settle();
    g_assert_cmpuint(qmp_server_n_sessions(f->server), ==, 0);
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &old), ==, 0);
}

/* Out of descriptors: one warning, no spinning, and the waiting client is served when there are
 * some again. */
static void test_out_of_fds(Fixture *f, gconstpointer data)
{
    g_autoptr(Client) first = NULL, second = NULL;
    g_autofree char *greeting = NULL, *late = NULL;
    struct rlimit old, limit;
    int next;

    add(f->server, f->spec);
    first = client_connect(f->path);
    greeting = client_line(first);
    second = client_connect(f->path);
    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &old), ==, 0);
    next = dup(0);
    close(next);
    limit = (struct rlimit){ (rlim_t)next, old.rlim_max };
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);

    g_test_expect_message("backplane", G_LOG_LEVEL_WARNING,
                          "*can not accept QMP clients*1 are connected*");
    harness_settle();
    g_test_assert_expected_messages();
    g_assert_false(g_main_context_pending(NULL));
    client_send(first, "{\"execute\":\"qmp_capabilities\"}");
    client_expect(first, "{\"return\": {}}");

    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &old), ==, 0);
    late = client_line(second); /* within a second, by itself */
    g_assert_true(g_str_has_prefix(late, "{\"QMP\": "));
}

/* What is queued at the end goes out, as far as the peer takes it. */
static void test_flush(Fixture *f, gconstpointer data)
{
    QmpServer *server = harness_server();
    g_autoptr(Client) c = client_negotiated(server, "{}");
    gint64 start = g_get_monotonic_time();

    client_send(c, "{\"execute\":\"big\",\"arguments\":{\"size\":3000000}}");
    g_main_context_iteration(NULL, FALSE);
    g_main_context_iteration(NULL, FALSE);
    qmp_server_flush(server); /* nobody reads: it gives up */
    g_assert_cmpint(g_get_monotonic_time() - start, <, 5 * G_USEC_PER_SEC);
    qmp_server_event(server, "LAST", NULL, NULL);
    qmp_server_free(server);
}

#define ADD(path, function) g_test_add(path, Fixture, NULL, setup, function, teardown)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("/listen/path", test_path);
    ADD("/listen/bad-specs", test_bad_specs);
    ADD("/listen/long-path", test_long_path);
    ADD("/listen/stale", test_stale);
    ADD("/listen/live", test_live);
    ADD("/listen/own", test_own);
    ADD("/listen/lock-held", test_lock_held);
    ADD("/listen/not-a-socket", test_not_a_socket);
    ADD("/listen/replaced", test_replaced);
    ADD("/listen/connect", test_connect);
    ADD("/listen/inherited", test_inherited);
    ADD("/listen/bad-fd", test_bad_fd);
    ADD("/listen/readonly", test_readonly);
    ADD("/listen/peers", test_peers);
    ADD("/listen/many", test_many);
    ADD("/listen/out-of-fds", test_out_of_fds);
    ADD("/listen/flush", test_flush);
    return g_test_run();
}

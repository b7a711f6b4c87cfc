/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-chardev.c - character back ends against real peers: files, FIFOs, pseudo-terminals, and peers that are slow, silent or gone.
 * Sockets have a program of their own.
 */
#include "chardev-front.h"

/* ---- file ---- */

static void test_file(void)
{
    g_autoptr(ChardevPlace) p = place_new("f");
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
    g_autoptr(ChardevPlace) p = place_new("f");
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
    g_autoptr(ChardevPlace) p = place_new("f");
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
    g_autoptr(ChardevPlace) p = place_new("fifo");
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
    g_autoptr(ChardevPlace) p = place_new("fifo");

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

/* ---- slow peers ---- */

static void test_peer_that_does_not_read(void)
{
    g_autoptr(ChardevPlace) p = place_new("s");
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
    g_autoptr(ChardevPlace) p = place_new("s");
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
    g_autoptr(ChardevPlace) p = place_new("s");
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
    g_autoptr(ChardevPlace) p = place_new("s");
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
    g_test_add_func("/chardev/peer-that-does-not-read", test_peer_that_does_not_read);
    g_test_add_func("/chardev/peer-goes-with-bytes-pending", test_peer_goes_with_bytes_pending);
    g_test_add_func("/chardev/two-writers", test_two_writers);
    g_test_add_func("/chardev/accept-input-from-a-thread", test_accept_input_from_a_thread);
    g_test_add_func("/chardev/null", test_null);
    g_test_add_func("/chardev/ringbuf", test_ringbuf);
    g_test_add_func("/chardev/stdio", test_stdio);
    return g_test_run();
}

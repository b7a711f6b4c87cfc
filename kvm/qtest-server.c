/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qtest-server.c - the qtest protocol on stream sockets: one client at a time, on the main loop,
 * never blocking.
 *
 * One GSource serves the listening socket, the client and the wake-up for asynchronous lines. It
 * carries out at most one request per dispatch: what a request posted to the main thread (a moved
 * BAR, say) is done before the next, since the Vm's own sources are older and so come first.
 *
 * Memory stays bounded whatever the client does: a line has at most MAX_LINE bytes (the rest of a
 * longer one is skipped and answered once), and while MAX_OUT bytes wait to be read by the client
 * no further request is taken. While a client is there, others wait in the listening socket's
 * queue.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <glib-unix.h>

#include "../common/error.h"
#include "../common/util.h"
#include "test-accel.h"

#define MAX_LINE (33u << 20) /* a write of 16 MiB in hexadecimal */
#define MAX_OUT (64u << 10)
#define CHUNK 65536

struct QtestServer {
    Vm      *vm;
    GSource *source;
    int      listen_fd, client_fd; /* -1: none */
    gpointer listen_tag, client_tag;
    GString *in;       /* not yet carried out */
    gsize    searched; /* bytes of IN without a line end */
    gboolean skipping; /* until the end of a line that was too long */
    gboolean eof;      /* the client sends no more; what it sent is still answered */
    GString *out;
    gsize    sent;     /* bytes of OUT */
};

typedef struct {
    GSource      source;
    QtestServer *server;
} ServerSource;

/* ---- the client ---- */

static void wake(gpointer user)
{
    g_source_set_ready_time(((QtestServer *)user)->source, 0);
}

static void client_take(QtestServer *s, int fd)
{
    s->client_fd = fd;
    s->client_tag = g_source_add_unix_fd(s->source, fd, G_IO_IN);
    qtest_reset(s->vm->test->qtest);
    if (s->listen_tag)
        g_source_modify_unix_fd(s->source, s->listen_tag, 0);
}

static void client_drop(QtestServer *s)
{
    g_source_remove_unix_fd(s->source, s->client_tag);
    close(s->client_fd);
    s->client_fd = -1;
    s->client_tag = NULL;
    g_string_truncate(s->in, 0);
    g_string_truncate(s->out, 0);
    s->searched = s->sent = 0;
    s->skipping = s->eof = FALSE;
    qtest_reset(s->vm->test->qtest);
    if (s->listen_tag)
        g_source_modify_unix_fd(s->source, s->listen_tag, G_IO_IN);
}

/* The length of the first whole line in IN, without its end; -1: none. */
static gssize find_line(QtestServer *s)
{
    const char *end = memchr(s->in->str + s->searched, '\n', s->in->len - s->searched);

    if (end)
        return end - s->in->str;
    s->searched = s->in->len;
    return -1;
}

/* Reads more if there is no whole line yet. FALSE: the client is gone. */
static gboolean client_read(QtestServer *s)
{
    gsize old = s->in->len;
    gssize n;

    if (s->eof || find_line(s) >= 0)
        return TRUE;
    g_string_set_size(s->in, old + CHUNK);
    n = recv(s->client_fd, s->in->str + old, CHUNK, MSG_DONTWAIT);
    g_string_truncate(s->in, old + (gsize)MAX(n, 0));
    if (n == 0)
        s->eof = TRUE;
    return n >= 0 || errno == EAGAIN || errno == EINTR;
}

static gboolean client_flush(QtestServer *s)
{
    while (s->sent < s->out->len) {
        gssize n = send(s->client_fd, s->out->str + s->sent, s->out->len - s->sent,
                        MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN;
        s->sent += (gsize)n;
    }
    g_string_truncate(s->out, 0);
    s->sent = 0;
    return TRUE;
}

/* ---- lines ---- */

static void drop_bytes(QtestServer *s, gsize n)
{
    g_string_erase(s->in, 0, (gssize)n);
    s->searched = 0;
}

/* Carries out one request if there is a whole one. TRUE: there may be more. */
static gboolean client_step(QtestServer *s)
{
    gssize len = find_line(s);

    if (len < 0 && s->in->len > MAX_LINE) {
        if (!s->skipping)
            g_string_append_printf(s->out, "ERR a line of more than %u bytes\n", MAX_LINE);
        s->skipping = TRUE;
        drop_bytes(s, s->in->len);
    }
    if (len < 0)
        return FALSE;
    if (!s->skipping)
        qtest_request(s->vm->test->qtest, s->in->str, (gsize)len, s->out);
    s->skipping = FALSE;
    drop_bytes(s, (gsize)len + 1);
    return TRUE;
}

/* ---- the source ---- */

static gboolean client_serve(QtestServer *s)
{
    GIOCondition seen = g_source_query_unix_fd(s->source, s->client_tag);
    gboolean full = s->out->len - s->sent > MAX_OUT, more = FALSE;

    if (seen & (G_IO_IN | G_IO_HUP | G_IO_ERR) && !full && !client_read(s))
        return FALSE;
    if (!full)
        more = client_step(s);
    if (!full)
        qtest_take_events(s->vm->test->qtest, s->out);
    if (!client_flush(s))
        return FALSE;
    if (more)
        wake(s);
    /* After its last byte everything is answered; then it is gone. */
    return !s->eof || more || s->out->len > 0;
}

/* Reading stops while the client does not read, and at its end. */
static void client_watch(QtestServer *s)
{
    GIOCondition want = 0;

    if (!s->eof && s->out->len - s->sent <= MAX_OUT)
        want |= G_IO_IN;
    if (s->out->len > 0)
        want |= G_IO_OUT;
    g_source_modify_unix_fd(s->source, s->client_tag, want);
}

static void server_accept(QtestServer *s)
{
    int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd >= 0)
        client_take(s, fd);
}

static gboolean server_dispatch(GSource *source, GSourceFunc callback, gpointer user)
{
    QtestServer *s = ((ServerSource *)source)->server;
    const VmObserver *observer = s->vm->observer;

    g_source_set_ready_time(source, -1);
    if (s->client_fd < 0) {
        if (s->listen_tag && g_source_query_unix_fd(source, s->listen_tag) & G_IO_IN)
            server_accept(s);
        return G_SOURCE_CONTINUE;
    }
    if (client_serve(s)) {
        client_watch(s);
        return G_SOURCE_CONTINUE;
    }
    client_drop(s);
    /* Last: the observer may end the machine. */
    if (observer && observer->qtest_gone)
        observer->qtest_gone(s->vm->user);
    return G_SOURCE_CONTINUE;
}

static const GSourceFuncs server_funcs = { .dispatch = server_dispatch };

/* ---- public ---- */

gboolean vm_qtest_attach(Vm *vm, int fd, GError **error)
{
    QtestServer *s = vm->accel == VM_ACCEL_TEST ? vm->test->server : NULL;

    if (!s || s->client_fd >= 0) {
        close(fd);
        return error_set(error, s ? "A qtest client is connected already"
                                  : "qtest is only there under the test accelerator");
    }
    if (!g_unix_set_fd_nonblocking(fd, TRUE, error)) {
        close(fd);
        return FALSE;
    }
    client_take(s, fd);
    return TRUE;
}

gboolean vm_qtest_listen(Vm *vm, int listen_fd, GError **error)
{
    QtestServer *s = vm->accel == VM_ACCEL_TEST ? vm->test->server : NULL;

    if (!s || s->listen_fd >= 0) {
        close(listen_fd);
        return error_set(error, s ? "qtest listens on a socket already"
                                  : "qtest is only there under the test accelerator");
    }
    if (!g_unix_set_fd_nonblocking(listen_fd, TRUE, error)) {
        close(listen_fd);
        return FALSE;
    }
    s->listen_fd = listen_fd;
    s->listen_tag = g_source_add_unix_fd(s->source, listen_fd, s->client_fd < 0 ? G_IO_IN : 0);
    return TRUE;
}

QtestServer *qtest_server_new(Vm *vm)
{
    QtestServer *s = g_new0(QtestServer, 1);

    s->vm = vm;
    s->listen_fd = s->client_fd = -1;
    s->in = g_string_new(NULL);
    s->out = g_string_new(NULL);
    s->source = g_source_new((GSourceFuncs *)&server_funcs, sizeof(ServerSource));
    ((ServerSource *)s->source)->server = s;
    g_source_set_static_name(s->source, "qtest");
    g_source_attach(s->source, vm->context);
    qtest_set_notify(vm->test->qtest, wake, s);
    return s;
}

void qtest_server_free(QtestServer *s)
{
    qtest_set_notify(s->vm->test->qtest, NULL, NULL);
    if (s->client_fd >= 0)
        client_drop(s);
    if (s->listen_fd >= 0) {
        g_source_remove_unix_fd(s->source, s->listen_tag);
        close(s->listen_fd);
    }
    g_source_destroy(s->source);
    g_source_unref(s->source);
    g_string_free(s->in, TRUE);
    g_string_free(s->out, TRUE);
    g_free(s);
}

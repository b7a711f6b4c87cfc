/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-netdev-flows.c - a thousand connections at once through the user network, half of them opened by the guest and half by
 * the host through a forward. Each sends a pattern of its own, gets it back and closes; every byte is compared, on whichever side
 * opened it. The host's side is one thread around poll().
 */
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>

#include "net-guest.h"
#include "net-host.h"

enum { EACH = 500, PER_FLOW = 12000 };

#define HOST IP4(10, 0, 2, 2)

static guint8 pattern(guint seed, gsize at)
{
    return (guint8)(seed * 167 + at * 13 + at / 256);
}

/* ---- the host ---- */

typedef struct {
    gboolean echo; /* what comes in goes out; else the pattern goes out and is expected back */
    guint    seed;
    gsize    sent, got;
    guint8   back[PER_FLOW];
} Conn;

typedef struct {
    int        listener;
    guint16    forward;
    GArray    *fds;   /* of struct pollfd; the first is the listener */
    GPtrArray *conns; /* of Conn, by the same index; NULL: closed */
    guint      clients_done, echoes_done;
} Host;

static void host_add(Host *h, int fd, gboolean echo)
{
    struct pollfd p = { fd, POLLIN, 0 };
    Conn *c = g_new0(Conn, 1);

    fcntl(fd, F_SETFL, O_NONBLOCK);
    c->echo = echo;
    c->seed = h->conns->len;
    g_array_append_val(h->fds, p);
    g_ptr_array_add(h->conns, c);
}

static void conn_send(Conn *c, int fd)
{
    gsize end = c->echo ? c->got : PER_FLOW;

    while (c->sent < end) {
        guint8 part[2048];
        gsize n = MIN(end - c->sent, sizeof part);
        for (gsize i = 0; i < n; i++)
            part[i] = c->echo ? c->back[c->sent + i] : pattern(c->seed, c->sent + i);
        gssize w = write(fd, part, n);
        if (w <= 0)
            break;
        c->sent += (gsize)w;
    }
}

/* FALSE: it is over. */
static gboolean conn_serve(Host *h, Conn *c, int fd)
{
    gssize n = 1;

    while (c->got < PER_FLOW && (n = read(fd, c->back + c->got, PER_FLOW - c->got)) > 0) {
        for (gsize i = 0; !c->echo && i < (gsize)n; i++)
            g_assert_cmphex(c->back[c->got + i], ==, pattern(c->seed, c->got + i));
        c->got += (gsize)n;
    }
    conn_send(c, fd);
    if (n < 0) {
        g_assert_cmpint(errno, ==, EAGAIN);
        return TRUE;
    }
    if (!c->echo && c->got == PER_FLOW) {
        h->clients_done++;
        return FALSE;
    }
    if (!c->echo || c->got < PER_FLOW || read(fd, &(char){ 0 }, 1) != 0) {
        g_assert_cmpint(n, !=, 0); /* an end before its time */
        return TRUE;
    }
    h->echoes_done++;
    return FALSE;
}

static void host_serve(Host *h, guint i)
{
    struct pollfd *p = &g_array_index(h->fds, struct pollfd, i);
    Conn *c = g_ptr_array_index(h->conns, i);

    if (!p->revents || !c)
        return;
    if (!conn_serve(h, c, p->fd)) {
        close(p->fd);
        p->fd = -1;
        g_free(c);
        h->conns->pdata[i] = NULL;
        return;
    }
    p->events = (short)(POLLIN | (c->sent < (c->echo ? c->got : PER_FLOW) ? POLLOUT : 0));
}

static gpointer host_main(gpointer user)
{
    Host *h = user;

    for (guint i = 0; i < EACH; i++) {
        host_add(h, host_connect(SOCK_STREAM, h->forward), FALSE);
        g_array_index(h->fds, struct pollfd, h->fds->len - 1).events = POLLIN | POLLOUT;
    }
    while (h->clients_done < EACH || h->echoes_done < EACH) {
        g_assert_cmpint(poll((struct pollfd *)(void *)h->fds->data, h->fds->len, 20000), >, 0);
        if (g_array_index(h->fds, struct pollfd, 0).revents)
            host_add(h, accept4(h->listener, NULL, NULL, SOCK_CLOEXEC), TRUE);
        for (guint i = 1; i < h->fds->len; i++)
            host_serve(h, i);
    }
    return NULL;
}

/* ---- the guest ---- */

static void start_flow(NetGuest *g, guint16 port)
{
    g_autofree guint8 *data = g_malloc(PER_FLOW);
    Flow *f = flow_connect(g, HOST, port);

    for (gsize i = 0; i < PER_FLOW; i++)
        data[i] = pattern(f->port, i);
    flow_send(f, data, PER_FLOW); /* once it is open */
}

static void check_back(const Flow *f)
{
    for (gsize i = 0; i < PER_FLOW; i++)
        g_assert_cmphex(f->in->data[i], ==, pattern(f->port, i));
}

static void guest_serve(Flow *f)
{
    if (f->state == FLOW_RESET)
        g_error("flow %d to %d was reset: %u bytes in, %zu of %u out, FIN %d %d", f->port, f->peer_port, f->in->len, f->todo_at,
                f->todo->len, f->fin_sent, f->fin_seen);
    g_assert_cmpuint(f->in->len, <=, PER_FLOW);
    if (f->accepted && f->in->len > f->todo->len)
        flow_send(f, f->in->data + f->todo->len, f->in->len - f->todo->len);
    if (f->in->len < PER_FLOW || f->todo_at < PER_FLOW || f->fin_sent)
        return;
    if (!f->accepted)
        check_back(f);
    flow_close(f);
}

static guint count_done(NetGuest *g)
{
    GHashTableIter iter;
    gpointer f;
    guint n = 0;

    g_hash_table_iter_init(&iter, g->flows);
    while (g_hash_table_iter_next(&iter, NULL, &f))
        n += flow_is_done(f);
    return n;
}

static void test_thousand(void)
{
    guint16 port = 0, forward = host_free_port(SOCK_STREAM);
    g_autoptr(NetGuest) g = guest_new(",\"hostfwd\":\"tcp:127.0.0.1:%d-:7\"", forward);
    Host h = { .forward = forward, .fds = g_array_new(FALSE, FALSE, sizeof(struct pollfd)), .conns = g_ptr_array_new() };
    gint64 start = g_get_monotonic_time(), seen = start;
    struct rlimit limit; /* as the network raised it: two descriptors a connection are here */

    h.listener = host_bind(SOCK_STREAM, &port);
    g_array_append_val(h.fds, ((struct pollfd){ h.listener, POLLIN, 0 }));
    g_ptr_array_add(h.conns, NULL);
    g_assert_true(guest_arp(g, HOST, 2000));
    g->listen_port = 7;
    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &limit), ==, 0);
    if (limit.rlim_cur < 4 * EACH + 200) {
        close(h.listener);
        g_array_unref(h.fds);
        g_ptr_array_unref(h.conns);
        g_test_skip("too few descriptors may be open at a time here (RLIMIT_NOFILE)");
        return;
    }
    GThread *host = g_thread_new("host", host_main, &h);
    for (guint i = 0; i < EACH; i++)
        start_flow(g, port);
    for (guint done = 0; done < 2 * EACH; done = g->in && g_async_queue_length(g->in) <= 0 ? count_done(g) : done) {
        g_autofree Packet *p = guest_next(g, 50);
        Flow *f = p ? guest_handle(g, p) : NULL;
        if (f)
            guest_serve(f);
        if (p)
            seen = g_get_monotonic_time();
        g_assert_cmpint(g_get_monotonic_time() - seen, <, 20 * G_TIME_SPAN_SECOND);
    }
    guest_flush(g);
    g_thread_join(host);
    g_test_message("%d flows, %d bytes each way: %.2f s, %" G_GUINT64_FORMAT " frames dropped", 2 * EACH, PER_FLOW,
                   (double)(g_get_monotonic_time() - start) / G_USEC_PER_SEC, g->nd->rx_dropped);
    g_assert_cmpuint(g->nd->rx_dropped + g->nd->tx_dropped, ==, 0);
    close(h.listener);
    g_array_unref(h.fds);
    g_ptr_array_unref(h.conns);
}

int main(int argc, char **argv)
{
    host_isolate(); /* nicer, but not needed */
    signal(SIGPIPE, SIG_IGN);
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/netdev-flows/thousand", test_thousand);
    return g_test_run();
}

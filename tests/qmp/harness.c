/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * harness.c - see harness.h. Server and clients share one thread: a client that waits runs the main
 * loop. Waiting ends by an event or, if it never comes, by a failure after ten seconds.
 */
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "schema/generated/qmp-commands.h"

#define PATIENCE_US (10 * G_USEC_PER_SEC)

/* ---- commands: thunks by hand ---- */

static gboolean empty(JsonOut *ret)
{
    json_out_raw(ret, "{}", 2);
    return TRUE;
}

static char *string_arg(JsonVal args, const char *name)
{
    JsonVal v;

    return json_member(args, name, &v) ? json_dup_string(v) : NULL;
}

static gint64 int_arg(JsonVal args, const char *name, gint64 absent)
{
    JsonVal v;

    return json_member(args, name, &v) && json_get_int64(v, &absent) ? absent : absent;
}

static gboolean do_add_fd(gpointer ctx, QmpRequest *req, JsonVal args, JsonOut *ret, GError **error)
{
    g_autofree char *opaque = string_arg(args, "opaque");
    JsonVal v;
    AddFdArgs a = { json_member(args, "fdset-id", &v), int_arg(args, "fdset-id", 0), opaque };
    g_autoptr(AddfdInfo) info = NULL;

    if (!cmd_add_fd(ctx, req, &a, &info, error))
        return FALSE;
    json_out_begin_object(ret);
    json_out_key(ret, "fdset-id");
    json_out_int(ret, info->fdset_id);
    json_out_end_object(ret);
    return TRUE;
}

/* {"size": N}: a reply of N bytes and a few. */
static gboolean do_big(gpointer ctx, QmpRequest *req, JsonVal args, JsonOut *ret, GError **error)
{
    g_autofree char *text = g_strnfill((gsize)int_arg(args, "size", 0), 'x');

    json_out_string(ret, text);
    return TRUE;
}

static gboolean do_capabilities(gpointer ctx, QmpRequest *req, JsonVal args, JsonOut *ret,
                                GError **error)
{
    QMPCapability oob = QMP_CAPABILITY_OOB;
    QmpCapabilitiesArgs a = { g_array_new(FALSE, FALSE, sizeof oob) };
    JsonVal v;
    gboolean ok;

    if (json_member(args, "enable", &v) && json_size(v) > 0)
        g_array_append_val(a.enable, oob);
    ok = cmd_qmp_capabilities(ctx, req, &a, error);
    g_array_unref(a.enable);
    return ok && empty(ret);
}

static gboolean do_closefd(gpointer ctx, QmpRequest *req, JsonVal args, JsonOut *ret,
                           GError **error)
{
    g_autofree char *name = string_arg(args, "fdname");

    return cmd_closefd(ctx, req, &(ClosefdArgs){ name }, error) && empty(ret);
}

static gboolean do_echo(gpointer ctx, QmpRequest *req, JsonVal args, JsonOut *ret, GError **error)
{
    gsize len;
    const char *raw;

    if (!args.doc)
        return empty(ret);
    raw = json_raw(args, &len);
    json_out_raw(ret, raw, (gssize)len);
    return TRUE;
}

/* {"n": N}: that many events before the reply. */
static gboolean do_emit(gpointer ctx, QmpRequest *req, JsonVal args, JsonOut *ret, GError **error)
{
    for (gint64 i = 0; i < int_arg(args, "n", 1); i++)
        qmp_server_event(req->server, "EMITTED", NULL, NULL);
    return empty(ret);
}

/* Fails after it has written a part of its result. */
static gboolean do_fail(gpointer ctx, QmpRequest *req, JsonVal args, JsonOut *ret, GError **error)
{
    json_out_begin_object(ret);
    return error_set_class(error, ERROR_DEVICE_NOT_FOUND, "Device 'x' not found");
}

static gboolean do_getfd(gpointer ctx, QmpRequest *req, JsonVal args, JsonOut *ret, GError **error)
{
    g_autofree char *name = string_arg(args, "fdname");

    return cmd_getfd(ctx, req, &(GetfdArgs){ name }, error) && empty(ret);
}

static gboolean do_query_fdsets(gpointer ctx, QmpRequest *req, JsonVal args, JsonOut *ret,
                                GError **error)
{
    g_autoptr(GPtrArray) sets = NULL;

    if (!cmd_query_fdsets(ctx, req, &sets, error))
        return FALSE;
    json_out_begin_array(ret);
    for (guint i = 0; i < sets->len; i++) {
        FdsetInfo *set = g_ptr_array_index(sets, i);

        json_out_begin_array(ret);
        json_out_int(ret, set->fdset_id);
        for (guint j = 0; j < set->fds->len; j++)
            json_out_string(ret, ((FdsetFdInfo *)g_ptr_array_index(set->fds, j))->opaque);
        json_out_end_array(ret);
    }
    json_out_end_array(ret);
    return TRUE;
}

static gboolean do_remove_fd(gpointer ctx, QmpRequest *req, JsonVal args, JsonOut *ret,
                             GError **error)
{
    JsonVal v;
    RemoveFdArgs a = { int_arg(args, "fdset-id", 0), json_member(args, "fd", &v),
                       int_arg(args, "fd", 0) };

    return cmd_remove_fd(ctx, req, &a, error) && empty(ret);
}

/* Writes the byte "!" into the descriptor of that name and closes it. */
static gboolean do_use_fd(gpointer ctx, QmpRequest *req, JsonVal args, JsonOut *ret, GError **error)
{
    g_autofree char *name = string_arg(args, "fdname");
    int fd = qmp_session_take_fd(req->session, name, error);

    if (fd < 0)
        return FALSE;
    g_assert_cmpint(write(fd, "!", 1), ==, 1);
    close(fd);
    return empty(ret);
}

static const QmpCommandRow rows[] = {
    { "add-fd", 0, do_add_fd },
    { "big", 0, do_big },
    { "closefd", 0, do_closefd },
    { "echo", QMP_ALLOW_READONLY, do_echo },
    { "emit", 0, do_emit },
    { "fail", 0, do_fail },
    { "getfd", 0, do_getfd },
    { "ping", QMP_ALLOW_OOB, do_echo },
    { "qmp_capabilities", QMP_NO_NEGOTIATION, do_capabilities },
    { "query-fdsets", QMP_ALLOW_READONLY, do_query_fdsets },
    { "remove-fd", 0, do_remove_fd },
    { "use-fd", 0, do_use_fd },
};

QmpServer *harness_server_for(const uid_t *uids, guint n_uids, const gid_t *gids, guint n_gids)
{
    return qmp_server_new(&(QmpServerConfig){
        .rows = rows,
        .n_rows = G_N_ELEMENTS(rows),
        .package = "backplane-test",
        .allowed_uids = uids,
        .n_allowed_uids = n_uids,
        .allowed_gids = gids,
        .n_allowed_gids = n_gids,
    });
}

QmpServer *harness_server(void)
{
    return harness_server_for(NULL, 0, NULL, 0);
}

/* ---- clients ---- */

static Client *client_of(int fd)
{
    Client *c = g_new0(Client, 1);

    c->fd = fd;
    c->in = g_string_new(NULL);
    return c;
}

Client *client_new(QmpServer *server, gboolean readonly)
{
    g_autofree char *greeting = NULL;
    Client *c;
    int pair[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
    g_assert_true(qmp_server_add_fd(server, pair[1], readonly, NULL));
    c = client_of(pair[0]);
    greeting = client_line(c);
    g_assert_true(g_str_has_prefix(greeting, "{\"QMP\": {"));
    return c;
}

Client *client_connect(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_assert_cmpint(fd, >=, 0);
    g_strlcpy(addr.sun_path, path, sizeof addr.sun_path);
    if (connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0)
        g_error("connect: %s", g_strerror(errno));
    return client_of(fd);
}

Client *client_negotiated(QmpServer *server, const char *arguments)
{
    Client *c = client_new(server, FALSE);
    g_autofree char *command =
        g_strdup_printf("{\"execute\":\"qmp_capabilities\",\"arguments\":%s}", arguments);

    client_send(c, command);
    client_expect(c, "{\"return\": {}}");
    return c;
}

void client_free(Client *c)
{
    close(c->fd);
    g_string_free(c->in, TRUE);
    g_free(c);
}

void client_send_n(Client *c, const char *text, gsize len)
{
    gint64 end = g_get_monotonic_time() + PATIENCE_US;

    while (len > 0) {
        ssize_t n = send(c->fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0)
            g_main_context_iteration(NULL, FALSE);
        g_assert_true(n >= 0 || errno == EAGAIN);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        text += MAX(n, 0);
        len -= (gsize)MAX(n, 0);
    }
}

void client_send(Client *c, const char *text)
{
    client_send_n(c, text, strlen(text));
}

void client_send_fds(Client *c, const char *text, const int *fds, guint n)
{
    g_autofree char *control = g_malloc0(CMSG_SPACE(n * sizeof(int)));
    struct iovec iov = { (char *)text, strlen(text) };
    struct msghdr msg = { .msg_iov = &iov,
                          .msg_iovlen = 1,
                          .msg_control = control,
                          .msg_controllen = CMSG_SPACE(n * sizeof(int)) };
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(n * sizeof(int));
    memcpy(CMSG_DATA(cmsg), fds, n * sizeof(int));
    g_assert_cmpint(sendmsg(c->fd, &msg, MSG_NOSIGNAL), ==, (gssize)strlen(text));
}

/* Receives what is there; FALSE at EOF. */
static gboolean receive(Client *c)
{
    char buffer[65536];
    ssize_t n = recv(c->fd, buffer, sizeof buffer, MSG_DONTWAIT);

    if (n > 0)
        g_string_append_len(c->in, buffer, n);
    return n > 0 || (n < 0 && errno == EAGAIN);
}

static gboolean on_patience(gpointer data)
{
    *(gboolean *)data = TRUE;
    return G_SOURCE_REMOVE;
}

char *client_line(Client *c)
{
    gint64 end = g_get_monotonic_time() + PATIENCE_US;
    char *at, *line;

    while (!(at = memchr(c->in->str, '\n', c->in->len))) {
        if (!receive(c)) {
            g_assert_cmpuint(c->in->len, ==, 0);
            return NULL;
        }
        if (g_get_monotonic_time() > end)
            g_error("no line came within ten seconds");
        g_main_context_iteration(NULL, FALSE);
    }
    g_assert_true(at > c->in->str && at[-1] == '\r');
    line = g_strndup(c->in->str, (gsize)(at - 1 - c->in->str));
    g_string_erase(c->in, 0, at + 1 - c->in->str);
    return line;
}

void client_expect(Client *c, const char *line)
{
    g_autofree char *got = client_line(c);

    g_assert_cmpstr(got, ==, line);
}

void client_expect_error(Client *c, const char *cls, const char *desc)
{
    g_autofree char *got = client_line(c), *start = NULL;

    start = g_strdup_printf("{\"error\": {\"class\": \"%s\", \"desc\": \"", cls);
    if (!g_str_has_prefix(got, start) || !strstr(got, desc))
        g_error("\"%s\" instead of the error %s: %s", got, cls, desc);
}

void client_expect_eof(Client *c)
{
    g_autofree char *line = client_line(c);

    g_assert_null(line);
}

void client_expect_silence(Client *c)
{
    harness_settle();
    g_assert_true(receive(c));
    g_assert_cmpstr(c->in->str, ==, "");
}

void harness_settle(void)
{
    gboolean impatient = FALSE;
    guint timer = g_timeout_add_seconds(10, on_patience, &impatient);

    for (guint idle = 0; idle < 3; idle++) {
        if (g_main_context_iteration(NULL, FALSE))
            idle = 0;
        g_assert_false(impatient);
    }
    g_source_remove(timer);
}

guint harness_open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    guint n = 0;

    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-session.c - what one client sees: negotiation, replies, order, quotas, descriptors, events.
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    QmpServer *server;
    guint open_fds;
} Fixture;

static void setup(Fixture *f, gconstpointer data)
{
    harness_settle(); /* the main context keeps a descriptor from its first use on */
    f->open_fds = harness_open_fds();
    f->server = harness_server();
}

/* No test may leave a descriptor behind. */
static void teardown(Fixture *f, gconstpointer data)
{
    qmp_server_free(f->server);
    g_assert_cmpuint(harness_open_fds(), ==, f->open_fds);
}

/* ---- negotiation and form ---- */

static void test_greeting(Fixture *f, gconstpointer data)
{
    g_autoptr(Client) c = NULL;
    int pair[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
    g_assert_true(qmp_server_add_fd(f->server, pair[1], FALSE, NULL));
    c = g_new0(Client, 1);
    c->fd = pair[0];
    c->in = g_string_new(NULL);
    client_expect(c,
                  "{\"QMP\": {\"version\": {\"qemu\": {\"major\": 7, \"minor\": 2, \"micro\": 0}, "
                  "\"package\": \"backplane-test\"}, \"capabilities\": [\"oob\"]}}");
    g_assert_cmpuint(qmp_server_n_sessions(f->server), ==, 1);
}

static void test_negotiation(Fixture *f, gconstpointer data)
{
    g_autoptr(Client) c = client_new(f->server, FALSE);

    client_send(c, "{\"execute\":\"echo\"}");
    client_expect_error(c, "CommandNotFound",
                        "Expecting capabilities negotiation with 'qmp_capabilities'");
    client_send(c, "{\"execute\":\"no-such\"}");
    client_expect_error(c, "CommandNotFound",
                        "Expecting capabilities negotiation with 'qmp_capabilities'");
    client_send(c, "{\"execute\":\"qmp_capabilities\"}");
    client_expect(c, "{\"return\": {}}");
    client_send(c, "{\"execute\":\"qmp_capabilities\"}");
    client_expect_error(c, "CommandNotFound",
                        "Capabilities negotiation is already complete, command ignored");
    client_send(c, "{\"execute\":\"no-such\"}");
    client_expect_error(c, "CommandNotFound", "The command no-such has not been found");
    client_send(c, "{\"execute\":\"echo\",\"arguments\":{\"a\":[1]}}");
    client_expect(c, "{\"return\": {\"a\":[1]}}");
}

static void test_ids(Fixture *f, gconstpointer data)
{
    static const char *const ids[] = { "null",
                                       "true",
                                       "17",
                                       "18446744073709551616",
                                       "1.50e+1",
                                       "\"\\u00e9\\n\"",
                                       "[1, {\"a\" : 2}]",
                                       "{\"x\" :{}}" };
    g_autoptr(Client) c = client_negotiated(f->server, "{}");

    for (guint i = 0; i < G_N_ELEMENTS(ids); i++) {
        g_autofree char *good = g_strdup_printf("{\"id\" : %s, \"execute\":\"echo\"}", ids[i]);
        g_autofree char *bad = g_strdup_printf("{\"execute\":\"fail\",\"id\":%s}", ids[i]);
        g_autofree char *good_reply = g_strdup_printf("{\"return\": {}, \"id\": %s}", ids[i]);
        g_autofree char *bad_reply =
            g_strdup_printf("{\"error\": {\"class\": \"DeviceNotFound\", \"desc\": "
                            "\"Device 'x' not found\"}, \"id\": %s}",
                            ids[i]);

        client_send(c, good);
        client_expect(c, good_reply);
        client_send(c, bad);
        client_expect(c, bad_reply);
    }
    client_send(c, "{\"execute\":\"echo\",\"id\":[1,\n\"\\n\",\r\n{\"a\":\n2}]}"); /* a reply is one line whatever came */
    client_expect(c, "{\"return\": {}, \"id\": [1, \"\\n\",  {\"a\": 2}]}");
}

static void test_form(Fixture *f, gconstpointer data)
{
    static const char *const bad[][2] = {
        { "{}", "QMP input lacks member 'execute'" },
        { "{\"execute\":1}", "QMP input member 'execute' must be a string" },
        { "{\"execute\":\"echo\",\"arguments\":[]}",
          "QMP input member 'arguments' must be an object" },
        { "{\"execute\":\"echo\",\"x\\ty\":1}", "QMP input member 'x\\\\ty' is unexpected" },
        { "{\"exec-oob\":\"ping\"}", "QMP input member 'exec-oob' is unexpected" },
        { "{\"execute\":\"echo\",\"execute\":\"echo\"}", "duplicate member 'execute'" },
        { "{\"execute\":\"echo\",\"id\":\"\\ud800\"}", "lone surrogate" },
        { "{\"execute\":\"echo\",\"id\":01}", "JSON parse error" },
        { "{\"execute\":\"echo\\u0000\"}", "The command echo\\\\u0000 has not been found" },
        { "[]\n", "JSON parse error, expecting an object" },
        { "rubbish\n", "JSON parse error, expecting an object" },
    };
    g_autoptr(Client) c = client_negotiated(f->server, "{}");

    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        client_send(c, bad[i][0]);
        client_expect_error(c, i == 8 ? "CommandNotFound" : "GenericError", bad[i][1]);
    }
    client_send(c, "{\"execute\":\"echo\",\"bad\":1,\"id\":5}");
    client_expect(c, "{\"error\": {\"class\": \"GenericError\", \"desc\": \"QMP input member 'bad' "
                     "is unexpected\"}, "
                     "\"id\": 5}");
}

/* No error repeats more than 200 bytes of what came. */
static void test_short_errors(Fixture *f, gconstpointer data)
{
    g_autoptr(Client) c = client_negotiated(f->server, "{}");
    g_autofree char *letters = g_strnfill(1 << 20, 'x');
    const char *const forms[] = { "{\"execute\":\"%s\"}", "{\"execute\":\"echo\",\"%s\":1}", "%s\n",
                                  "{\"%s\":1,\"%s\":2}" };

    for (guint i = 0; i < G_N_ELEMENTS(forms); i++) {
        g_auto(GStrv) parts = g_strsplit(forms[i], "%s", -1);
        g_autofree char *text = g_strjoinv(letters, parts), *reply = NULL;

        client_send(c, text);
        reply = client_line(c);
        g_assert_true(g_str_has_prefix(reply, "{\"error\""));
        g_assert_cmpuint(strlen(reply), <, 350);
    }
    client_expect_silence(c);
}

static void test_split(Fixture *f, gconstpointer data)
{
    const char *text = "{\"execute\":\"echo\",\"id\":1}\r\nrubbish\n{\"execute\":\"echo\","
                       "\"arguments\":{\"a\":\"}\"}}";
    g_autoptr(Client) c = client_negotiated(f->server, "{}");

    for (gsize split = 0; split <= strlen(text); split++) {
        client_send_n(c, text, split);
        harness_settle();
        client_send(c, text + split);
        client_expect(c, "{\"return\": {}, \"id\": 1}");
        client_expect_error(c, "GenericError", "got 'r'");
        client_expect(c, "{\"return\": {\"a\":\"}\"}}");
    }
}

static void test_pipeline(Fixture *f, gconstpointer data)
{
    g_autoptr(Client) c = client_negotiated(f->server, "{}");
    g_autoptr(GString) text = g_string_new(NULL);

    for (guint i = 0; i < 5000; i++)
        g_string_append_printf(text, "{\"execute\":\"echo\",\"id\":%u}", i);
    client_send(c, text->str);
    for (guint i = 0; i < 5000; i++) {
        g_autofree char *expected = g_strdup_printf("{\"return\": {}, \"id\": %u}", i);

        client_expect(c, expected);
    }
    client_expect_silence(c);
}

/* Who has sent all and shut down that side still gets all replies. */
static void test_half_close(Fixture *f, gconstpointer data)
{
    g_autoptr(Client) c = client_negotiated(f->server, "{}");

    for (guint i = 0; i < 100; i++)
        client_send(c, "{\"execute\":\"big\",\"arguments\":{\"size\":9000}}");
    g_assert_cmpint(shutdown(c->fd, SHUT_WR), ==, 0);
    for (guint i = 0; i < 100; i++) {
        g_autofree char *line = client_line(c);

        g_assert_cmpuint(strlen(line), ==, 9000 + strlen("{\"return\": \"\"}"));
    }
    client_expect_eof(c);
    harness_settle();
    g_assert_cmpuint(qmp_server_n_sessions(f->server), ==, 0);
}

static void test_gone(Fixture *f, gconstpointer data)
{
    Client *c = client_negotiated(f->server, "{}");

    client_send(c, "{\"execute\":\"big\",\"arguments\":{\"size\":3000000}}{\"execute\":\"echo\"}");
    client_free(c);
    harness_settle();
    g_assert_cmpuint(qmp_server_n_sessions(f->server), ==, 0);
}

static void test_big_reply(Fixture *f, gconstpointer data)
{
    g_autoptr(Client) c = client_negotiated(f->server, "{}");
    g_autofree char *line = NULL;

    client_send(c, "{\"execute\":\"big\",\"arguments\":{\"size\":5000000},\"id\":7}");
    line = client_line(c);
    g_assert_cmpuint(strlen(line), ==, 5000000 + strlen("{\"return\": \"\", \"id\": 7}"));
    g_assert_true(g_str_has_suffix(line, "x\", \"id\": 7}"));
}

static void test_readonly(Fixture *f, gconstpointer data)
{
    g_autoptr(Client) c = client_new(f->server, TRUE);

    client_send(c, "{\"execute\":\"qmp_capabilities\"}");
    client_expect(c, "{\"return\": {}}");
    client_send(c, "{\"execute\":\"echo\"}");
    client_expect(c, "{\"return\": {}}");
    client_send(c, "{\"execute\":\"big\"}");
    client_expect_error(c, "GenericError", "The command big is not allowed on a read-only socket");
}

static void test_run(Fixture *f, gconstpointer data)
{
    g_autofree char *good = qmp_server_run(f->server, "{\"execute\":\"echo\",\"id\":1}");
    g_autofree char *bad = qmp_server_run(f->server, "{\"execute\":");
    g_autofree char *fd =
        qmp_server_run(f->server, "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"a\"}}");

    g_assert_cmpstr(good, ==, "{\"return\": {}, \"id\": 1}");
    g_assert_true(g_str_has_prefix(
        bad, "{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error"));
    g_assert_nonnull(strstr(fd, "No file descriptor supplied"));
}

/* ---- out of band ---- */

static void test_oob(Fixture *f, gconstpointer data)
{
    g_autoptr(Client) c = client_negotiated(f->server, "{\"enable\":[\"oob\"]}");

    client_send(c, "{\"execute\":\"echo\",\"id\":1}{\"execute\":\"echo\",\"id\":2}x\n{\"exec-oob\":"
                   "\"ping\",\"id\":3}");
    client_expect(c, "{\"return\": {}, \"id\": 3}");
    client_expect(c, "{\"return\": {}, \"id\": 1}");
    client_expect(c, "{\"return\": {}, \"id\": 2}");
    client_expect_error(c, "GenericError", "got 'x'");
    client_send(c, "{\"exec-oob\":\"echo\"}");
    client_expect_error(c, "GenericError", "The command echo does not support OOB");
    client_send(c, "{\"exec-oob\":\"ping\",\"execute\":\"ping\"}");
    client_expect_error(c, "GenericError", "QMP input member 'execute' clashes with 'exec-oob'");
    client_send(c, "{\"exec-oob\":\"none\"}");
    client_expect_error(c, "CommandNotFound", "The command none has not been found");
}

static void test_oob_pipeline(Fixture *f, gconstpointer data)
{
    g_autoptr(Client) c = client_negotiated(f->server, "{\"enable\":[\"oob\"]}");
    g_autoptr(GString) text = g_string_new(NULL);
    guint next = 0;

    for (guint i = 0; i < 1000; i++)
        g_string_append_printf(text, "{\"execute\":\"echo\",\"id\":%u}", i);
    client_send(c, text->str);
    client_send(c, "{\"exec-oob\":\"ping\"}");
    while (next < 1000) {
        g_autofree char *line = client_line(c), *expected = NULL;

        expected = g_strdup_printf("{\"return\": {}, \"id\": %u}", next);
        if (strcmp(line, "{\"return\": {}}") == 0)
            continue;
        g_assert_cmpstr(line, ==, expected);
        next++;
    }
}

/* More out-of-band commands than a turn and the output's limit take; all are answered, before EOF
 * too. */
static void test_oob_flood(Fixture *f, gconstpointer data)
{
    g_autoptr(Client) c = client_negotiated(f->server, "{\"enable\":[\"oob\"]}");
    g_autofree char *letters = g_strnfill(50000, 'x');
    g_autofree char *command =
        g_strdup_printf("{\"exec-oob\":\"ping\",\"arguments\":{\"a\":\"%s\"}}", letters);

    for (guint i = 0; i < 8; i++)
        client_send(c, command);
    for (guint i = 0; i < 500; i++)
        client_send(c, "{\"exec-oob\":\"ping\"}");
    g_assert_cmpint(shutdown(c->fd, SHUT_WR), ==, 0);
    for (guint i = 0; i < 508; i++) {
        g_autofree char *line = client_line(c);

        g_assert_cmpuint(strlen(line), ==,
                         i < 8 ? 50000 + strlen("{\"return\": {\"a\":\"\"}}") : 14);
    }
    client_expect_eof(c);
}

/* ---- quotas ---- */

/* A client that sends and never reads is held back, costs a bounded amount, and stalls nobody. */
static void test_no_reader(Fixture *f, gconstpointer data)
{
    g_autoptr(Client) lazy = client_negotiated(f->server, "{}");
    g_autoptr(Client) other = client_negotiated(f->server, "{}");
    QmpSession *s = g_queue_peek_head(&f->server->sessions);
    const char *command = "{\"execute\":\"big\",\"arguments\":{\"size\":1000}}";
    gsize sent = 0;

    for (guint stalled = 0; stalled < 50;) {
        ssize_t n = send(lazy->fd, command, strlen(command), MSG_DONTWAIT | MSG_NOSIGNAL);

        stalled = n < 0 ? stalled + 1 : 0;
        sent += (gsize)MAX(n, 0);
        g_main_context_iteration(NULL, FALSE);
        g_assert_cmpuint(s->output_bytes, <, 2 * QMP_SOFT_LIMIT);
        g_assert_cmpuint(framer_pending(s->framer), <, 3 * QMP_READ_SIZE);
    }
    g_test_message("held back after %" G_GSIZE_FORMAT " bytes", sent);
    client_send(other, "{\"execute\":\"echo\"}");
    client_expect(other, "{\"return\": {}}");

    /* Once it reads, all its replies are there. */
    for (gsize i = 0; i < sent / strlen(command); i++) {
        g_autofree char *line = client_line(lazy);

        g_assert_cmpuint(strlen(line), ==, 1000 + strlen("{\"return\": \"\"}"));
    }
}

/* Held back: no work at all, although its input is waiting. */
static void test_no_spin(Fixture *f, gconstpointer data)
{
    g_autoptr(Client) lazy = client_negotiated(f->server, "{}");

    for (guint i = 0; i < 10; i++)
        client_send(lazy, "{\"execute\":\"big\",\"arguments\":{\"size\":1000000}}");
    harness_settle();
    g_assert_false(g_main_context_pending(NULL));
}

/* Events that nobody reads end in a disconnection; other clients get every one. */
static void test_event_quota(Fixture *f, gconstpointer data)
{
    Client *lazy = client_negotiated(f->server, "{}");
    g_autoptr(Client) other = client_negotiated(f->server, "{}");
    g_autofree char *letters = g_strnfill(100000, 'x');
    g_autofree char *payload = g_strdup_printf("{\"x\":\"%s\"}", letters);
    guint n = 0;

    g_test_expect_message("backplane", G_LOG_LEVEL_WARNING, "*does not read*");
    while (qmp_server_n_sessions(f->server) == 2 && n < 1000) {
        g_autofree char *line = NULL;

        qmp_server_event(f->server, "BIG", payload, NULL);
        line = client_line(other);
        g_assert_cmpuint(strlen(line), >, 100000);
        n++;
    }
    g_test_assert_expected_messages();
    g_assert_cmpuint(n, >=, 150);
    g_assert_cmpuint(n, <=, 180);
    client_send(other, "{\"execute\":\"echo\"}");
    client_expect(other, "{\"return\": {}}");
    client_free(lazy);
}

/* One reply may be bigger than the quota; events beside it do not disconnect. */
static void test_reply_over_quota(Fixture *f, gconstpointer data)
{
    g_autoptr(Client) c = client_negotiated(f->server, "{}");
    g_autofree char *reply = NULL, *event = NULL;

    client_send(c, "{\"execute\":\"big\",\"arguments\":{\"size\":20000000}}");
    harness_settle();
    qmp_server_event(f->server, "BESIDE", NULL, NULL);
    reply = client_line(c);
    event = client_line(c);
    g_assert_cmpuint(strlen(reply), >, QMP_QUOTA);
    g_assert_nonnull(strstr(event, "BESIDE"));
}

/* A client with thousands of commands waiting does not delay another's by more than a turn. */
static void test_fairness(Fixture *f, gconstpointer data)
{
    g_autoptr(Client) busy = client_negotiated(f->server, "{}");
    g_autoptr(Client) other = client_negotiated(f->server, "{}");
    g_autoptr(GString) text = g_string_new(NULL);
    QmpSession *s = g_queue_peek_head(&f->server->sessions);

    for (guint i = 0; i < 1000; i++)
        g_string_append(text, "{\"execute\":\"echo\"}");
    client_send(busy, text->str);
    client_send(other, "{\"execute\":\"echo\"}");
    g_main_context_iteration(NULL, FALSE);
    g_main_context_iteration(NULL, FALSE);
    g_assert_true(s->in_backlog);
    client_expect(other, "{\"return\": {}}");
    g_assert_true(s->in_backlog);
}

/* ---- events ---- */

static void test_events(Fixture *f, gconstpointer data)
{
    g_autoptr(Client) a = client_negotiated(f->server, "{}");
    g_autoptr(Client) b = client_negotiated(f->server, "{}");
    g_autoptr(Client) deaf = client_new(f->server, FALSE);
    gint64 before = g_get_real_time(), sent;
    g_autofree char *line = NULL, *same = NULL;
    g_autoptr(JsonDoc) doc = NULL;
    JsonVal stamp, v, event;
    gint64 seconds = 0, microseconds = 0;

    qmp_server_event(f->server, "HAPPENED", "{\"a\":1}", NULL);
    line = client_line(a);
    same = client_line(b);
    g_assert_cmpstr(line, ==, same);
    g_assert_true(g_str_has_suffix(line, "}, \"event\": \"HAPPENED\", \"data\": {\"a\":1}}"));
    client_expect_silence(deaf);

    doc = json_doc_parse(line, strlen(line), &json_limits_default, NULL);
    g_assert_true(json_member(json_doc_root(doc), "event", &event));
    g_assert_true(json_member(json_doc_root(doc), "timestamp", &stamp));
    g_assert_true(json_member(stamp, "seconds", &v) && json_get_int64(v, &seconds));
    g_assert_true(json_member(stamp, "microseconds", &v) && json_get_int64(v, &microseconds));
    sent = seconds * G_USEC_PER_SEC + microseconds;
    g_assert_cmpint(sent, >=, before);
    g_assert_cmpint(sent, <=, g_get_real_time());
    g_assert_cmpint(microseconds, <, G_USEC_PER_SEC);
}

/* What a command causes comes before its reply. */
static void test_event_order(Fixture *f, gconstpointer data)
{
    g_autoptr(Client) c = client_negotiated(f->server, "{}");

    client_send(c, "{\"execute\":\"emit\",\"arguments\":{\"n\":2}}");
    for (guint i = 0; i < 2; i++) {
        g_autofree char *line = client_line(c);

        g_assert_nonnull(strstr(line, "EMITTED"));
    }
    client_expect(c, "{\"return\": {}}");
}

/* At most one a second for each name and key; the latest wins and comes when the second is over. */
static void test_rate_limit(Fixture *f, gconstpointer data)
{
    g_autoptr(Client) c = client_negotiated(f->server, "{}");
    const char *const expected[] = { "\"a1\"", "\"b1\"", "\"other1\"", "\"a3\"" };
    gint64 start = g_get_monotonic_time();

    qmp_server_event(f->server, "R", "\"a1\"", "a");
    qmp_server_event(f->server, "R", "\"a2\"", "a");
    qmp_server_event(f->server, "R", "\"b1\"", "b");
    qmp_server_event(f->server, "R", "\"a3\"", "a");
    qmp_server_event(f->server, "OTHER", "\"other1\"", "a");
    for (guint i = 0; i < G_N_ELEMENTS(expected); i++) {
        g_autofree char *line = client_line(c);

        g_assert_nonnull(strstr(line, expected[i]));
    }
    g_assert_cmpint(g_get_monotonic_time() - start, >=, G_USEC_PER_SEC * 9 / 10);
}

static void test_rates(void)
{
    QmpRates *rates = qmp_rates_new();
    gint64 second = G_USEC_PER_SEC;
    char *text = g_strdup("held");

    g_assert_cmpint(qmp_rates_next(rates), ==, -1);
    g_assert_true(qmp_rates_pass(rates, "E", "k", 100, &text));
    g_assert_nonnull(text);
    g_assert_false(qmp_rates_pass(rates, "E", "k", 200, &text));
    g_assert_null(text);
    g_assert_cmpint(qmp_rates_next(rates), ==, 100 + second);
    g_assert_null(qmp_rates_due(rates, 99 + second));
    text = qmp_rates_due(rates, 100 + second);
    g_assert_cmpstr(text, ==, "held");
    /* It was sent a second ago at earliest: the next one is held again. */
    g_assert_false(qmp_rates_pass(rates, "E", "k", 101 + second, &text));
    text = qmp_rates_due(rates, 100 + 2 * second);
    g_assert_nonnull(text);
    /* A silent second later nothing is left. */
    g_assert_null(qmp_rates_due(rates, 100 + 3 * second));
    g_assert_cmpint(qmp_rates_next(rates), ==, -1);
    g_free(text);
    qmp_rates_free(rates);
}

/* ---- descriptors ---- */

static void make_pipe(int ends[2])
{
    g_assert_cmpint(pipe2(ends, O_CLOEXEC | O_NONBLOCK), ==, 0);
}

/* The writing end went elsewhere: closed, or used first. */
static void expect_pipe(int end, gboolean used)
{
    char byte;

    g_assert_cmpint(read(end, &byte, 1), ==, used ? 1 : 0);
    close(end);
}

/* Sends the writing end of a new pipe with TEXT; returns the reading end. */
static int send_pipe(Client *c, const char *text)
{
    int ends[2];

    make_pipe(ends);
    client_send_fds(c, text, &ends[1], 1);
    close(ends[1]);
    return ends[0];
}

#define GETFD(name) "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"" name "\"}}\n"
#define USE(name)   "{\"execute\":\"use-fd\",\"arguments\":{\"fdname\":\"" name "\"}}\n"

static void test_getfd(Fixture *f, gconstpointer data)
{
    g_autoptr(Client) c = client_negotiated(f->server, "{}");
    int end = send_pipe(c, GETFD("a"));

    client_expect(c, "{\"return\": {}}");
    client_send(c, USE("a"));
    client_expect(c, "{\"return\": {}}");
    expect_pipe(end, TRUE);
    client_send(c, USE("a"));
    client_expect_error(c, "GenericError", "File descriptor named 'a' has not been found");
    client_send(c, GETFD("b"));
    client_expect_error(c, "GenericError", "No file descriptor supplied via SCM_RIGHTS");
}

/* Some clients send the descriptor with a blank of its own before the command, or with its first
 * byte. */
static void test_getfd_ahead(Fixture *f, gconstpointer data)
{
    g_autoptr(Client) c = client_negotiated(f->server, "{}");
    int end = send_pipe(c, " ");

    harness_settle();
    client_send(c, GETFD("a") USE("a"));
    client_expect(c, "{\"return\": {}}");
    client_expect(c, "{\"return\": {}}");
    expect_pipe(end, TRUE);
    end = send_pipe(c, "{");
    harness_settle();
    client_send(c, &GETFD("b")[1]);
    client_send(c, USE("b"));
    client_expect(c, "{\"return\": {}}");
    client_expect(c, "{\"return\": {}}");
    expect_pipe(end, TRUE);
}

/* A descriptor belongs to the message that it came with, not to a later one. */
static void test_getfd_not_later(Fixture *f, gconstpointer data)
{
    g_autoptr(Client) c = client_negotiated(f->server, "{}");
    int end = send_pipe(c, "{\"execute\":\"echo\"}\r\n");

    client_expect(c, "{\"return\": {}}");
    client_send(c, GETFD("a"));
    client_expect_error(c, "GenericError", "No file descriptor supplied via SCM_RIGHTS");
    expect_pipe(end, FALSE);
}

static void test_getfd_two(Fixture *f, gconstpointer data)
{
    g_autoptr(Client) c = client_negotiated(f->server, "{}");
    int a[2], b[2];

    make_pipe(a);
    make_pipe(b);
    client_send_fds(c, GETFD("a") GETFD("b"), (int[]){ a[1], b[1] }, 2);
    close(a[1]);
    close(b[1]);
    client_expect(c, "{\"return\": {}}");
    client_expect(c, "{\"return\": {}}");
    client_send(c, USE("a"));
    client_expect(c, "{\"return\": {}}");
    expect_pipe(a[0], TRUE);
    client_send(c, "{\"execute\":\"closefd\",\"arguments\":{\"fdname\":\"b\"}}");
    client_expect(c, "{\"return\": {}}");
    expect_pipe(b[0], FALSE);
}

static void test_getfd_replaces(Fixture *f, gconstpointer data)
{
    g_autoptr(Client) c = client_negotiated(f->server, "{}");
    int first = send_pipe(c, GETFD("a")), second;

    client_expect(c, "{\"return\": {}}");
    second = send_pipe(c, GETFD("a"));
    client_expect(c, "{\"return\": {}}");
    expect_pipe(first, FALSE);
    first = send_pipe(c, GETFD("1a"));
    client_expect_error(c, "GenericError",
                        "Parameter 'fdname' expects a name not starting with a digit");
    expect_pipe(first, FALSE);
    /* What a session has stored ends with it. */
    shutdown(c->fd, SHUT_RDWR);
    harness_settle();
    expect_pipe(second, FALSE);
}

/* A client can not fill the daemon's table of descriptors. */
static void test_many_fds(Fixture *f, gconstpointer data)
{
    g_autoptr(Client) c = client_negotiated(f->server, "{}");
    guint before = harness_open_fds();
    int fds[200];

    for (guint i = 0; i < G_N_ELEMENTS(fds); i++)
        fds[i] = 0;
    for (guint i = 0; i < 5; i++) {
        client_send_fds(c, " ", fds, G_N_ELEMENTS(fds));
        harness_settle();
    }
    g_assert_cmpuint(harness_open_fds(), ==, before + QMP_MAX_FDS);
    client_send(c, "{\"execute\":\"echo\"} {\"execute\":\"echo\"}");
    client_expect(c, "{\"return\": {}}");
    client_expect(c, "{\"return\": {}}");
    g_assert_cmpuint(harness_open_fds(), ==, before);
}

static void test_fdsets(Fixture *f, gconstpointer data)
{
    g_autoptr(Client) c = client_negotiated(f->server, "{}");
    g_autoptr(GError) none = NULL, access = NULL;
    int end = send_pipe(c, "{\"execute\":\"add-fd\",\"arguments\":{\"opaque\":\"x\"}}"), copy;

    client_expect(c, "{\"return\": {\"fdset-id\":0}}");
    g_assert_cmpint(qmp_server_fdset_open(f->server, 3, O_RDONLY, &none), ==, -1);
    g_assert_cmpstr(none->message, ==, "There is no file descriptor set 3");
    g_assert_cmpint(qmp_server_fdset_open(f->server, 0, O_RDONLY, &access), ==, -1);
    g_assert_cmpstr(access->message, ==,
                    "File descriptor set 0 has no descriptor with read-only access");
    copy = qmp_server_fdset_open(f->server, 0, O_WRONLY, NULL);
    g_assert_cmpint(copy, >=, 0);

    client_send(c, "{\"execute\":\"remove-fd\",\"arguments\":{\"fdset-id\":0}}");
    client_expect(c, "{\"return\": {}}");
    client_send(c, "{\"execute\":\"remove-fd\",\"arguments\":{\"fdset-id\":0}}");
    client_expect_error(c, "GenericError", "File descriptor named 'fdset-id:0' not found");
    g_assert_cmpint(write(copy, "!", 1), ==, 1); /* the copy lives on */
    close(copy);
    expect_pipe(end, TRUE);
}

static void test_fdset_numbers(Fixture *f, gconstpointer data)
{
    g_autoptr(Client) c = client_negotiated(f->server, "{}");
    const char *const numbers[] = { "5", "0", "1", "5" };
    int zero = 0;

    for (guint i = 0; i < G_N_ELEMENTS(numbers); i++) {
        g_autofree char *command = g_strdup_printf(
            "{\"execute\":\"add-fd\",\"arguments\":{\"fdset-id\":%s,\"opaque\":\"%u\"}}",
            numbers[i], i);
        g_autofree char *reply = g_strdup_printf("{\"return\": {\"fdset-id\":%s}}", numbers[i]);

        client_send_fds(c, command, &zero, 1);
        client_expect(c, reply);
    }
    client_send_fds(c, "{\"execute\":\"add-fd\"}", &zero, 1);
    client_expect(c, "{\"return\": {\"fdset-id\":2}}");
    client_send(c, "{\"execute\":\"query-fdsets\"}");
    client_expect(c, "{\"return\": [[0,\"1\"],[1,\"2\"],[2,null],[5,\"0\",\"3\"]]}");
    client_send_fds(c, "{\"execute\":\"add-fd\",\"arguments\":{\"fdset-id\":-1}}", &zero, 1);
    client_expect_error(c, "GenericError", "Parameter 'fdset-id' expects a non-negative value");
    client_send(c, "{\"execute\":\"remove-fd\",\"arguments\":{\"fdset-id\":5,\"fd\":99999}}");
    client_expect_error(c, "GenericError",
                        "File descriptor named 'fdset-id:5, fd:99999' not found");
}

#define ADD(path, function) g_test_add(path, Fixture, NULL, setup, function, teardown)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("/session/greeting", test_greeting);
    ADD("/session/negotiation", test_negotiation);
    ADD("/session/ids", test_ids);
    ADD("/session/form", test_form);
    ADD("/session/short-errors", test_short_errors);
    ADD("/session/split", test_split);
    ADD("/session/pipeline", test_pipeline);
    ADD("/session/half-close", test_half_close);
    ADD("/session/gone", test_gone);
    ADD("/session/big-reply", test_big_reply);
    ADD("/session/readonly", test_readonly);
    ADD("/session/run", test_run);
    ADD("/session/oob", test_oob);
    ADD("/session/oob-pipeline", test_oob_pipeline);
    ADD("/session/oob-flood", test_oob_flood);
    ADD("/session/no-reader", test_no_reader);
    ADD("/session/no-spin", test_no_spin);
    ADD("/session/event-quota", test_event_quota);
    ADD("/session/reply-over-quota", test_reply_over_quota);
    ADD("/session/fairness", test_fairness);
    ADD("/session/events", test_events);
    ADD("/session/event-order", test_event_order);
    ADD("/session/rate-limit", test_rate_limit);
    g_test_add_func("/session/rates", test_rates);
    ADD("/session/getfd", test_getfd);
    ADD("/session/getfd-ahead", test_getfd_ahead);
    ADD("/session/getfd-not-later", test_getfd_not_later);
    ADD("/session/getfd-two", test_getfd_two);
    ADD("/session/getfd-replaces", test_getfd_replaces);
    ADD("/session/many-fds", test_many_fds);
    ADD("/session/fdsets", test_fdsets);
    ADD("/session/fdset-numbers", test_fdset_numbers);
    return g_test_run();
}

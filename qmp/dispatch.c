/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dispatch.c - one command: its outer form, its row, its reply.
 *
 * The order of the checks and the words of the errors are QEMU's, since clients match them: in
 * negotiation mode every other command is "not found" with a text of its own, and afterwards so is
 * qmp_capabilities. The result is written straight into the reply; if the handler fails after all,
 * what was written is cut off again. `id` goes back as the bytes that came,
 * on one line: a line break between its tokens becomes a space.
 */
#include <string.h>

#include "internal.h"

void qmp_command_free(QmpCommand *c)
{
    if (!c)
        return;
    g_clear_pointer(&c->doc, json_doc_free);
    g_clear_error(&c->error);
    g_free(c);
}

const QmpCommandRow *qmp_find_command(const QmpServer *server, const char *name)
{
    guint low = 0, high = server->config.n_rows;

    while (low < high) {
        guint middle = (low + high) / 2;
        int order = strcmp(name, server->config.rows[middle].name);

        if (order == 0)
            return &server->config.rows[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

gboolean qmp_is_oob(const JsonDoc *doc)
{
    JsonVal v;

    return json_member(json_doc_root(doc), "exec-oob", &v);
}

/* The members of a command. */
typedef struct {
    JsonVal name, arguments, id; /* doc NULL: not there */
    const char *key;             /* "execute" or "exec-oob" */
} Envelope;

static gboolean take_name(Envelope *e, const char *key, JsonVal value, GError **error)
{
    if (json_kind(value) != JSON_KIND_STRING)
        return error_set(error, "QMP input member '%s' must be a string", key);
    if (e->key)
        return error_set(error, "QMP input member '%s' clashes with '%s'", key, e->key);
    e->key = key;
    e->name = value;
    return TRUE;
}

static gboolean take_member(Envelope *e, gboolean oob, JsonVal key, JsonVal value, GError **error)
{
    g_autofree char *name = NULL, *quoted = NULL;

    if (json_string_equal(key, "execute"))
        return take_name(e, "execute", value, error);
    if (oob && json_string_equal(key, "exec-oob"))
        return take_name(e, "exec-oob", value, error);
    if (json_string_equal(key, "id"))
        return TRUE;
    if (json_string_equal(key, "arguments")) {
        e->arguments = value;
        return json_kind(value) == JSON_KIND_OBJECT ||
               error_set(error, "QMP input member 'arguments' must be an object");
    }
    name = json_dup_raw(key);
    quoted = error_quote(name + 1, (gssize)strlen(name) - 2);
    return error_set(error, "QMP input member '%s' is unexpected", quoted);
}

/* The id is found first, so that it comes back whatever else is wrong. */
static gboolean open_envelope(Envelope *e, const JsonDoc *doc, gboolean oob, GError **error)
{
    JsonVal root = json_doc_root(doc), key, value;
    JsonIter it;

    if (json_kind(root) != JSON_KIND_OBJECT)
        return error_set(error, "QMP input must be a JSON object");
    json_member(root, "id", &e->id);
    json_iter_init(&it, root);
    while (json_iter_next(&it, &key, &value)) {
        if (!take_member(e, oob, key, value, error))
            return FALSE;
    }
    return e->key || error_set(error, "QMP input lacks member 'execute'");
}

static gboolean not_found(JsonVal name, GError **error)
{
    g_autofree char *raw = json_dup_raw(name);
    g_autofree char *quoted = error_quote(raw + 1, (gssize)strlen(raw) - 2);

    return error_set_class(error, ERROR_COMMAND_NOT_FOUND, "The command %s has not been found",
                           quoted);
}

/* Whether the session may run ROW now. */
static gboolean may_run(const QmpSession *s, const QmpCommandRow *row, const Envelope *e,
                        GError **error)
{
    if (s && s->negotiated && (row->flags & QMP_NO_NEGOTIATION))
        return error_set_class(error, ERROR_COMMAND_NOT_FOUND,
                               "Capabilities negotiation is already complete, command ignored");
    if (strcmp(e->key, "exec-oob") == 0 && !(row->flags & QMP_ALLOW_OOB))
        return error_set(error, "The command %s does not support OOB", row->name);
    if (s && s->readonly && !(row->flags & (QMP_ALLOW_READONLY | QMP_NO_NEGOTIATION)))
        return error_set(error, "The command %s is not allowed on a read-only socket", row->name);
    return TRUE;
}

static gboolean run(QmpServer *server, QmpSession *s, const Envelope *e, JsonOut *out,
                    GError **error)
{
    QmpRequest request = { server, s };
    g_autofree char *name = json_dup_string(e->name);
    const QmpCommandRow *row = name ? qmp_find_command(server, name) : NULL;

    if (s && !s->negotiated && !(row && (row->flags & QMP_NO_NEGOTIATION)))
        return error_set_class(error, ERROR_COMMAND_NOT_FOUND,
                               "Expecting capabilities negotiation with 'qmp_capabilities'");
    if (!row)
        return not_found(e->name, error);
    return may_run(s, row, e, error) &&
           row->invoke(server->config.ctx, &request, e->arguments, out, error);
}

static void write_error(GString *reply, const GError *error)
{
    JsonOut o = JSON_OUT_INIT(reply);

    g_string_append(reply, "{\"error\": {\"class\": \"");
    g_string_append(reply, error_class_name(error));
    g_string_append(reply, "\", \"desc\": ");
    json_out_string(&o, error->message);
    g_string_append_c(reply, '}');
}

void qmp_dispatch(QmpServer *server, QmpSession *session, const QmpCommand *c, GString *reply)
{
    g_autoptr(GError) error = c->error ? g_error_copy(c->error) : NULL;
    JsonOut out = JSON_OUT_INIT(reply);
    Envelope e = { 0 };
    gsize start = reply->len;

    if (server->config.before_command)
        server->config.before_command(server->config.ctx);
    g_string_append_len(reply, "{\"return\": ", 11);
    if (error || !open_envelope(&e, c->doc, session && session->oob, &error) ||
        !run(server, session, &e, &out, &error)) {
        g_assert(error);
        g_string_truncate(reply, start);
        write_error(reply, error);
    }
    if (e.id.doc) {
        gsize len, at = reply->len + 8;
        const char *raw = json_raw(e.id, &len);

        g_string_append_len(reply, ", \"id\": ", 8);
        g_string_append_len(reply, raw, (gssize)len);
        g_strdelimit(reply->str + at, "\r\n", ' ');
    }
    g_string_append_len(reply, "}\r\n", 3);
}

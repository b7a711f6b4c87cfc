/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cmd-char.c - chardevs. QEMU's chardev-add nests its arguments; behind the wire a chardev is a type with
 * property rows like any other, and the two functions here translate between both.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "../common/util.h"
#include "../devices/backend/chardev.h"
#include "../schema/generated/devices.h"
#include "handlers.h"

/* ---- from the wire ---- */

static gboolean close_with_errno(int fd, const char *what, GError **error)
{
    error_set_errno(error, errno, "%s", what);
    close(fd);
    return FALSE;
}

static gboolean take_socket_fd(QmpRequest *req, PropBag *bag, const char *name, GError **error)
{
    guint64 number;
    int fd;

    handler_say_s(bag, "fd", name);
    if (g_ascii_isdigit(name[0])) { /* inherited: not ours to close if the command fails, as with QEMU */
        if (!g_ascii_string_to_unsigned(name, 10, 3, G_MAXINT, &number, error))
            return FALSE;
        fd = (int)number;
        int flags = fcntl(fd, F_GETFD);
        if (flags >= 0 && (flags & FD_CLOEXEC)) /* what came over an exec does not have it until somebody takes it */
            return error_set(error, "chardev-add: descriptor %d was not inherited, or is in use", fd);
    } else {
        if (!req->session)
            return error_set(error, "chardev-add: 'fd' '%s' is a name, and there is no session that has it", name);
        fd = qmp_session_take_fd(req->session, name, error);
        if (fd < 0)
            return FALSE;
        int kept = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (kept < 0)
            return close_with_errno(fd, "chardev-add: dup", error);
        qmp_session_store_fd(req->session, name, kept);
    }
    prop_bag_set_u(bag, "fd-number", (guint64)fd, ORIGIN_DEFAULT);
    return TRUE;
}

static gboolean socket_from_args(QmpRequest *req, PropBag *bag, const ChardevSocket *s, GError **error)
{
    if (s->has_wait && s->wait)
        return error_set(error, "chardev-add: 'wait' true is not accepted: nothing here waits for a peer");
    if (s->has_reconnect && (s->reconnect < 0 || s->reconnect > 86400))
        return error_set(error, "chardev-add: 'reconnect' is %" G_GINT64_FORMAT ", and may be 0 to 86400", s->reconnect);
    handler_say_u(bag, s->has_server, "server", (guint64)s->server);
    handler_say_u(bag, s->has_wait, "wait", (guint64)s->wait);
    handler_say_u(bag, s->has_reconnect, "reconnect", (guint64)s->reconnect);
    if (s->addr->type == SOCKET_ADDRESS_TYPE_FD)
        return take_socket_fd(req, bag, s->addr->u.fd->data->str, error);
    const char *path = s->addr->u.unix_->data->path;
    if (strlen(path) > 107 || !*path) {
        g_autofree char *given = error_quote(path, -1);
        return error_set(error, "chardev-add: the path '%s' has %zu bytes, a socket's has 1 to 107", given, strlen(path));
    }
    handler_say_s(bag, "path", path);
    return TRUE;
}

static gboolean ringbuf_from_args(PropBag *bag, const ChardevRingbuf *r, GError **error)
{
    if (r->has_size && (r->size <= 0 || r->size > 67108864 || (r->size & (r->size - 1))))
        return error_set(error, "chardev-add: 'size' of a ringbuf is %" G_GINT64_FORMAT
                         ", and may be a power of two up to 67108864", r->size);
    handler_say_u(bag, r->has_size, "size", (guint64)r->size);
    return TRUE;
}

static gboolean backend_from_args(QmpRequest *req, PropBag *bag, const ChardevBackend *b, GError **error)
{
    switch (b->type) {
    case CHARDEV_BACKEND_KIND_FILE:
        handler_say_s(bag, "out", b->u.file->data->out);
        handler_say_s(bag, "in", b->u.file->data->in);
        handler_say_u(bag, b->u.file->data->has_append, "append", (guint64)b->u.file->data->append);
        return TRUE;
    case CHARDEV_BACKEND_KIND_SOCKET:
        return socket_from_args(req, bag, b->u.socket->data, error);
    case CHARDEV_BACKEND_KIND_STDIO:
        handler_say_u(bag, b->u.stdio->data->has_signal, "signal", (guint64)b->u.stdio->data->signal);
        return TRUE;
    case CHARDEV_BACKEND_KIND_RINGBUF:
        return ringbuf_from_args(bag, b->u.ringbuf->data, error);
    default:
        return TRUE;
    }
}

PropBag *chardev_bag_from_args(QmpRequest *req, const ChardevAddArguments *args, GError **error)
{
    g_autofree char *type = g_strdup_printf("chardev-%s", chardev_backend_kind_names[args->backend->type]);
    g_autoptr(PropBag) bag = prop_bag_new(prop_table_find(type));

    if (!prop_id_valid(args->id)) {
        g_autofree char *given = error_quote(args->id, -1);
        error_set(error, "Parameter 'id' expects an identifier, got '%s'", given);
        return NULL;
    }
    bag->id = g_strdup(args->id);
    return backend_from_args(req, bag, args->backend, error) ? g_steal_pointer(&bag) : NULL;
}

int chardev_bag_named_fd(const PropBag *bag)
{
    const ChardevSocketConfig *c = bag->config;

    if (strcmp(bag->table->name, "chardev-socket") != 0 || !prop_bag_is_set(bag, "fd-number") || g_ascii_isdigit(c->fd[0]))
        return -1;
    return (int)c->fd_number;
}

void chardev_use_up_name(QmpRequest *req, const ChardevAddArguments *args)
{
    const ChardevBackend *b = args->backend;

    if (!req->session || b->type != CHARDEV_BACKEND_KIND_SOCKET || b->u.socket->data->addr->type != SOCKET_ADDRESS_TYPE_FD)
        return;
    const char *name = b->u.socket->data->addr->u.fd->data->str;
    if (!g_ascii_isdigit(name[0]))
        qmp_session_close_fd(req->session, name, NULL);
}

/* ---- to the wire: what was said, and nothing else ---- */

static gboolean said(const PropBag *bag, const char *name)
{
    return prop_bag_origin(bag, name) == ORIGIN_CONFIG;
}

static ChardevSocket *socket_to_args(const PropBag *bag)
{
    const ChardevSocketConfig *c = bag->config;
    ChardevSocket *s = g_new0(ChardevSocket, 1);
    SocketAddressLegacy *addr = g_new0(SocketAddressLegacy, 1);

    if (said(bag, "fd")) {
        addr->type = SOCKET_ADDRESS_TYPE_FD;
        addr->u.fd = g_new0(FdSocketAddressWrapper, 1);
        addr->u.fd->data = g_new0(FdSocketAddress, 1);
        addr->u.fd->data->str = g_strdup(c->fd);
    } else {
        addr->type = SOCKET_ADDRESS_TYPE_UNIX;
        addr->u.unix_ = g_new0(UnixSocketAddressWrapper, 1);
        addr->u.unix_->data = g_new0(UnixSocketAddress, 1);
        addr->u.unix_->data->path = g_strdup(c->path);
    }
    s->addr = addr;
    s->has_server = said(bag, "server");
    s->server = c->server;
    s->has_wait = said(bag, "wait");
    s->wait = c->wait;
    s->has_reconnect = said(bag, "reconnect");
    s->reconnect = c->reconnect;
    return s;
}

static ChardevFile *file_to_args(const PropBag *bag)
{
    const ChardevFileConfig *c = bag->config;
    ChardevFile *f = g_new0(ChardevFile, 1);

    f->out = g_strdup(c->out);
    f->in = g_strdup(c->in);
    f->has_append = said(bag, "append");
    f->append = c->append;
    return f;
}

/* A new wrapper of TYPE around DATA: QEMU's unions have one for each variant. */
#define WRAP(Type, value)              \
    ({                                 \
        Type *w_ = g_new0(Type, 1);    \
        w_->data = (value);            \
        w_;                            \
    })

static ChardevBackend *backend_to_args(const PropBag *bag)
{
    ChardevBackend *b = g_new0(ChardevBackend, 1);
    const char *kind = bag->table->name + strlen("chardev-");

    while (strcmp(chardev_backend_kind_names[b->type], kind) != 0)
        b->type++;
    if (b->type == CHARDEV_BACKEND_KIND_FILE) {
        b->u.file = WRAP(ChardevFileWrapper, file_to_args(bag));
    } else if (b->type == CHARDEV_BACKEND_KIND_SOCKET) {
        b->u.socket = WRAP(ChardevSocketWrapper, socket_to_args(bag));
    } else if (b->type == CHARDEV_BACKEND_KIND_STDIO) {
        b->u.stdio = WRAP(ChardevStdioWrapper, g_new0(ChardevStdio, 1));
        b->u.stdio->data->has_signal = said(bag, "signal");
        b->u.stdio->data->signal = ((const ChardevStdioConfig *)bag->config)->signal;
    } else if (b->type == CHARDEV_BACKEND_KIND_RINGBUF) {
        b->u.ringbuf = WRAP(ChardevRingbufWrapper, g_new0(ChardevRingbuf, 1));
        b->u.ringbuf->data->has_size = said(bag, "size");
        b->u.ringbuf->data->size = (gint64)((const ChardevRingbufConfig *)bag->config)->size;
    } else {
        b->u.pty = WRAP(ChardevCommonWrapper, g_new0(ChardevCommon, 1)); /* pty and null: the same variant type */
    }
    return b;
}

ChardevAddArguments *chardev_args_from_bag(const PropBag *bag)
{
    ChardevAddArguments *args = g_new0(ChardevAddArguments, 1);

    args->id = g_strdup(bag->id);
    args->backend = backend_to_args(bag);
    return args;
}

/* ---- commands ---- */

gboolean cmd_chardev_add(Machine *m, QmpRequest *req, const ChardevAddArguments *args, ChardevReturn **ret, GError **error)
{
    g_autoptr(PropBag) bag = NULL;

    if (!machine_check_alive(m, "chardev-add", error) || !(bag = chardev_bag_from_args(req, args, error)))
        return FALSE;
    int named = chardev_bag_named_fd(bag);
    Device *dev = machine_plug(m, g_steal_pointer(&bag), error);
    if (!dev) {
        auto_fd_close(named);
        return FALSE;
    }
    chardev_use_up_name(req, args);
    *ret = g_new0(ChardevReturn, 1);
    if (args->backend->type == CHARDEV_BACKEND_KIND_PTY) {
        g_autofree char *name = chardev_filename(dev);
        (*ret)->pty = g_strdup(name + strlen("pty:"));
    }
    return TRUE;
}

gboolean cmd_chardev_remove(Machine *m, QmpRequest *req, const ChardevRemoveArgs *args, GError **error)
{
    Device *dev = handler_find(m, NS_CHARDEV, args->id, error);

    return dev && device_remove(dev, error);
}

static gboolean add_chardev(Device *dev, gpointer list)
{
    if (device_ns(dev) != NS_CHARDEV)
        return TRUE;
    ChardevInfo *info = g_new0(ChardevInfo, 1);
    info->label = g_strdup(dev->id);
    info->filename = chardev_filename(dev);
    info->frontend_open = chardev_frontend_open(dev);
    g_ptr_array_add(list, info);
    return TRUE;
}

gboolean cmd_query_chardev(Machine *m, QmpRequest *req, GPtrArray **ret, GError **error)
{
    *ret = REPLY_LIST(chardev_info_free);
    device_set_foreach(m->devices, add_chardev, *ret);
    return TRUE;
}

gboolean cmd_query_chardev_backends(Machine *m, QmpRequest *req, GPtrArray **ret, GError **error)
{
    *ret = REPLY_LIST(chardev_backend_info_free);
    for (guint i = 0; i < CHARDEV_BACKEND_KIND__MAX; i++) {
        ChardevBackendInfo *info = g_new0(ChardevBackendInfo, 1);
        info->name = g_strdup(chardev_backend_kind_names[i]);
        g_ptr_array_add(*ret, info);
    }
    return TRUE;
}

/* ---- ringbuf ---- */

static Device *find_ringbuf(Machine *m, const char *id, GError **error)
{
    Device *dev = handler_find(m, NS_CHARDEV, id, error);

    if (dev && strcmp(dev->type->name, "chardev-ringbuf") != 0) {
        error_set(error, "Chardev '%s' is a %s, not a chardev-ringbuf", dev->id, dev->type->name);
        return NULL;
    }
    return dev;
}

/* UTF-8 that is none becomes U+FFFD. */
static char *bytes_text(const GByteArray *bytes, DataFormat format)
{
    if (format == DATA_FORMAT_BASE64)
        return g_base64_encode(bytes->data, bytes->len);
    return g_utf8_make_valid((const char *)bytes->data, bytes->len);
}

gboolean cmd_ringbuf_read(Machine *m, QmpRequest *req, const RingbufReadArgs *args, char **ret, GError **error)
{
    Device *dev = find_ringbuf(m, args->device, error);
    g_autoptr(GByteArray) bytes = g_byte_array_new();

    if (!dev)
        return FALSE;
    if (args->size <= 0)
        return error_set(error, "ringbuf-read: 'size' is %" G_GINT64_FORMAT ", and must be greater than zero", args->size);
    if (!chardev_ringbuf_read(dev, (gsize)args->size, bytes, error))
        return FALSE;
    *ret = bytes_text(bytes, args->has_format ? args->format : DATA_FORMAT_UTF8);
    return TRUE;
}

gboolean cmd_ringbuf_write(Machine *m, QmpRequest *req, const RingbufWriteArgs *args, GError **error)
{
    Device *dev = find_ringbuf(m, args->device, error);

    if (!dev)
        return FALSE;
    if (!args->has_format || args->format == DATA_FORMAT_UTF8)
        return chardev_ringbuf_write(dev, (const guint8 *)args->data, strlen(args->data), error);
    gsize n = 0;
    g_autofree guchar *raw = g_base64_decode(args->data, &n);
    return chardev_ringbuf_write(dev, raw, n, error);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * session-commands.c - the commands that concern the protocol only: negotiation, what can be said,
 * and file descriptors. The machine is not looked at. query-qmp-schema needs no handler: its thunk
 * writes the constant.
 */
#include "../schema/generated/qmp-commands.h"
#include "internal.h"

gboolean cmd_qmp_capabilities(struct Machine *m, QmpRequest *req, const QmpCapabilitiesArgs *args,
                              GError **error)
{
    gboolean oob = FALSE;

    if (!req->session)
        return error_set(error, "Capabilities are negotiated by a client, not from within");
    for (guint i = 0; args->enable && i < args->enable->len; i++)
        oob |= g_array_index(args->enable, QMPCapability, i) == QMP_CAPABILITY_OOB;
    return qmp_session_negotiate(req->session, oob, error);
}

gboolean cmd_query_version(struct Machine *m, QmpRequest *req, VersionInfo **ret, GError **error)
{
    VersionInfo *info = g_new0(VersionInfo, 1);

    info->qemu = g_new0(VersionTriple, 1);
    info->qemu->major = QMP_DIALECT_MAJOR;
    info->qemu->minor = QMP_DIALECT_MINOR;
    info->package = g_strdup(req->server->config.package);
    *ret = info;
    return TRUE;
}

gboolean cmd_query_commands(struct Machine *m, QmpRequest *req, GPtrArray **ret, GError **error)
{
    const QmpServerConfig *config = &req->server->config;

    *ret = g_ptr_array_new_full(config->n_rows, (GDestroyNotify)command_info_free);
    for (guint i = 0; i < config->n_rows; i++) {
        CommandInfo *info = g_new0(CommandInfo, 1);

        info->name = g_strdup(config->rows[i].name);
        g_ptr_array_add(*ret, info);
    }
    return TRUE;
}

gboolean cmd_getfd(struct Machine *m, QmpRequest *req, const GetfdArgs *args, GError **error)
{
    int fd = qmp_fds_take(req->session, error);

    if (fd < 0)
        return FALSE;
    /* The descriptor came with this command and with no other: a refused one is closed. */
    if (g_ascii_isdigit(args->fdname[0])) {
        close(fd);
        return error_set(error, "Parameter 'fdname' expects a name not starting with a digit");
    }
    qmp_session_store_fd(req->session, args->fdname, fd);
    return TRUE;
}

gboolean cmd_closefd(struct Machine *m, QmpRequest *req, const ClosefdArgs *args, GError **error)
{
    return qmp_session_close_fd(req->session, args->fdname, error);
}

gboolean cmd_add_fd(struct Machine *m, QmpRequest *req, const AddFdArgs *args, AddfdInfo **ret,
                    GError **error)
{
    gint64 id = args->has_fdset_id ? args->fdset_id : -1;
    int fd = qmp_fds_take(req->session, error);

    if (fd < 0)
        return FALSE;
    if (args->has_fdset_id && id < 0) {
        close(fd);
        return error_set(error, "Parameter 'fdset-id' expects a non-negative value");
    }
    qmp_fdsets_add(req->server->fdsets, &id, fd, args->opaque);
    *ret = g_new0(AddfdInfo, 1);
    (*ret)->fdset_id = id;
    (*ret)->fd = fd;
    return TRUE;
}

gboolean cmd_remove_fd(struct Machine *m, QmpRequest *req, const RemoveFdArgs *args, GError **error)
{
    if (args->has_fd && args->fd < 0)
        return error_set(error, "Parameter 'fd' expects a non-negative value");
    return qmp_fdsets_remove(req->server->fdsets, args->fdset_id, args->has_fd ? args->fd : -1,
                             error);
}

static FdsetInfo *fdset_info(const QmpFdset *set)
{
    FdsetInfo *info = g_new0(FdsetInfo, 1);

    info->fdset_id = set->id;
    info->fds = g_ptr_array_new_with_free_func((GDestroyNotify)fdset_fd_info_free);
    for (guint i = 0; i < set->fds->len; i++) {
        const QmpFdsetFd *f = &g_array_index(set->fds, QmpFdsetFd, i);
        FdsetFdInfo *one = g_new0(FdsetFdInfo, 1);

        one->fd = f->fd;
        one->opaque = g_strdup(f->opaque);
        g_ptr_array_add(info->fds, one);
    }
    return info;
}

gboolean cmd_query_fdsets(struct Machine *m, QmpRequest *req, GPtrArray **ret, GError **error)
{
    const GPtrArray *sets = qmp_fdsets_list(req->server->fdsets);

    *ret = g_ptr_array_new_with_free_func((GDestroyNotify)fdset_info_free);
    for (guint i = 0; i < sets->len; i++)
        g_ptr_array_add(*ret, fdset_info(g_ptr_array_index(sets, i)));
    return TRUE;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hints-io.c - reading and writing compat hints where the client has them.
 *
 * A file is replaced whole or not at all: it is written beside its name, synced, renamed, and the folder synced, so that after a crash of
 * the host there is the old one or the new one. The descriptor of a client is used up by the command, whether that succeeds or not.
 */
#include "hints-io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "../common/error.h"
#include "../common/util.h"

static guint members(const char *a, const char *b, const char *c, const char *d)
{
    return (a != NULL) + (b != NULL) + (c != NULL) + (d != NULL);
}

/* ---- in ---- */

/* Nothing else is read or written: whoever holds the other end of a pipe could let the whole machine wait. */
static gboolean is_file(int fd, GError **error)
{
    struct stat st;

    return (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) || error_set(error, "it is neither a file nor a memfd");
}

static GBytes *read_all(int fd, GError **error)
{
    struct stat st;

    if (!is_file(fd, error))
        return NULL;
    if (fstat(fd, &st) != 0 || st.st_size > HINTS_MAX_BYTES) {
        error_set(error, "%" G_GINT64_FORMAT " bytes, and compat hints have at most %u", (gint64)st.st_size, HINTS_MAX_BYTES);
        return NULL;
    }
    g_autofree guint8 *data = g_malloc(MAX((gsize)st.st_size, 1));
    gsize have = 0;
    gssize n;
    while (have < (gsize)st.st_size && (n = pread(fd, data + have, (gsize)st.st_size - have, (off_t)have)) != 0) {
        if (n < 0 && errno != EINTR) {
            error_set_errno(error, errno, "can not read");
            return NULL;
        }
        have += n > 0 ? (gsize)n : 0;
    }
    return g_bytes_new_take(g_steal_pointer(&data), have);
}

static int take_fd(QmpRequest *req, const char *name, GError **error)
{
    if (req->session)
        return qmp_session_take_fd(req->session, name, error);
    error_set(error, "'fd' '%s' is a name, and there is no session that has it", name);
    return -1;
}

static GBytes *bytes_from(QmpRequest *req, const HintsSource *from, GError **error)
{
    g_auto(AutoFd) fd = -1;

    if (from->data) {
        gsize len;
        g_autofree guchar *data = g_base64_decode(from->data, &len);
        g_autofree char *again = g_base64_encode(data, len);
        if (strcmp(again, from->data) != 0) {
            error_set(error, "'data' is not base64");
            return NULL;
        }
        return g_bytes_new_take(g_steal_pointer(&data), len);
    }
    if (from->fd) {
        fd = take_fd(req, from->fd, error);
    } else {
        fd = open(from->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0) {
            int err = errno;
            g_autofree char *given = error_quote(from->file, -1);
            error_set_errno(error, err, "can not open '%s'", given);
        }
    }
    return fd < 0 ? NULL : read_all(fd, error);
}

Hints *hints_from(QmpRequest *req, const HintsSource *from, const char *command, GError **error)
{
    g_autoptr(GBytes) bytes = NULL;
    Hints *hints = NULL;

    if (members(from->file, from->fd, from->data, from->baseline) != 1)
        error_set(error, "'from' needs one of 'file', 'fd', 'data' and 'baseline', and has %u", members(from->file, from->fd, from->data, from->baseline));
    else if (from->baseline)
        hints = hints_read_baseline(from->baseline, error);
    else if ((bytes = bytes_from(req, from, error)))
        hints = hints_read(bytes, error);
    if (!hints)
        g_prefix_error(error, "%s: ", command);
    return hints;
}

/* ---- out ---- */

static gboolean write_all(int fd, GBytes *bytes, GError **error)
{
    gsize len, done = 0;
    const guint8 *data = g_bytes_get_data(bytes, &len);

    while (done < len) {
        gssize n = write(fd, data + done, len - done);
        if (n < 0 && errno != EINTR)
            return error_set_errno(error, errno, "can not write");
        done += n > 0 ? (gsize)n : 0;
    }
    return TRUE;
}

static gboolean sync_folder(const char *path, GError **error)
{
    g_autofree char *dir = g_path_get_dirname(path);
    g_auto(AutoFd) fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return (fd >= 0 && fsync(fd) == 0) || error_set_errno(error, errno, "can not sync the folder '%s'", dir);
}

static gboolean write_beside(int fd, const char *beside, const char *path, GBytes *bytes, GError **error)
{
    if (!write_all(fd, bytes, error))
        return FALSE;
    if (fsync(fd) != 0)
        return error_set_errno(error, errno, "can not sync '%s'", beside);
    if (rename(beside, path) != 0)
        return error_set_errno(error, errno, "can not rename '%s'", beside);
    return TRUE;
}

static gboolean to_file(const char *path, GBytes *bytes, GError **error)
{
    g_autofree char *beside = g_strdup_printf("%s.XXXXXX", path);
    struct stat st;

    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) /* which a rename would replace, were it /dev/null */
        return error_set(error, "it is there and no file");
    g_auto(AutoFd) fd = g_mkstemp_full(beside, O_WRONLY | O_CLOEXEC, 0644);

    if (fd < 0)
        return error_set_errno(error, errno, "can not make a file beside it");
    if (write_beside(fd, beside, path, bytes, error))
        return sync_folder(path, error);
    unlink(beside);
    return FALSE;
}

static gboolean to_fd(QmpRequest *req, const char *name, GBytes *bytes, GError **error)
{
    g_auto(AutoFd) fd = take_fd(req, name, error);

    return fd >= 0 && is_file(fd, error) && write_all(fd, bytes, error) && (fsync(fd) == 0 || error_set_errno(error, errno, "can not sync"));
}

gboolean hints_to(QmpRequest *req, const HintsTarget *to, GBytes *bytes, GError **error)
{
    guint n = members(to->file, to->fd, NULL, NULL);

    if (n != 1)
        return error_set(error, "compat-hints-export: 'to' needs one of 'file' and 'fd', and has %u", n);
    if (to->file ? to_file(to->file, bytes, error) : to_fd(req, to->fd, bytes, error))
        return TRUE;
    g_autofree char *given = error_quote(to->file ? to->file : to->fd, -1);
    g_prefix_error(error, "compat-hints-export: '%s': ", given);
    return FALSE;
}

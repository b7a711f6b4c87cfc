/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * chardev-file.c - the kinds that are descriptors and no more: file, stdio and null.
 *
 * A FIFO is a file here. Opened for writing alone it would block until somebody reads, or fail; opened for both it does neither, and what
 * is written waits in the pipe for its reader. Read from, it does not end with its first writer either.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <termios.h>

#include "../../schema/generated/devices.h"
#include "chardev-priv.h"

typedef struct {
    Chardev        chr;
    gboolean       terminal; /* `saved` is to be restored */
    struct termios saved;
    int            flags[2]; /* of descriptors 0 and 1: O_NONBLOCK is shared with everybody who has them. -1: unknown */
} StdioChardev;

static void close_stream(Device *dev)
{
    chardev_stream_exit((Chardev *)dev);
}

/* ---- file ---- */

static gboolean is_fifo(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISFIFO(st.st_mode);
}

static gboolean refuse_directory(Device *dev, int fd, const char *path, GError **error)
{
    struct stat st;

    if (fstat(fd, &st) < 0 || !S_ISDIR(st.st_mode))
        return TRUE;
    g_autofree char *given = error_quote(path, -1);
    return error_set(error, "Property 'in' of device '%s': '%s' is a directory", dev->id, given);
}

static gboolean file_realize(Device *dev, GError **error)
{
    const ChardevFileConfig *config = DEVICE_CONFIG(dev, ChardevFileConfig);
    Chardev *c = (Chardev *)dev;
    int flags = is_fifo(config->out) ? O_RDWR : O_WRONLY | O_CREAT | (config->append ? O_APPEND : O_TRUNC);
    g_auto(AutoFd) in = -1;

    chardev_stream_init(c);
    g_auto(AutoFd) out = device_open_path(dev, "out", config->out, flags | O_NONBLOCK | O_NOCTTY, 0600, error);
    if (out < 0)
        return FALSE;
    if (config->in) {
        flags = is_fifo(config->in) ? O_RDWR : O_RDONLY;
        in = device_open_path(dev, "in", config->in, flags | O_NONBLOCK | O_NOCTTY, 0, error);
        if (in < 0 || !refuse_directory(dev, in, config->in, error))
            return FALSE;
    }
    chardev_stream_open(c, fd_steal(&in), fd_steal(&out));
    return TRUE;
}

/* ---- stdio ---- */

static void make_raw(StdioChardev *s)
{
    struct termios raw;

    if (tcgetattr(STDIN_FILENO, &s->saved) < 0)
        return;
    s->terminal = TRUE;
    raw = s->saved;
    cfmakeraw(&raw);
    if (DEVICE_CONFIG(&s->chr.dev, ChardevStdioConfig)->signal)
        raw.c_lflag |= ISIG;
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

static gboolean stdio_realize(Device *dev, GError **error)
{
    StdioChardev *s = (StdioChardev *)dev;

    chardev_stream_init(&s->chr);
    for (int i = 0; i < 2; i++)
        s->flags[i] = fcntl(i, F_GETFL);
    /* Copies: closing them with the chardev leaves the daemon its own. */
    g_auto(AutoFd) in = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
    g_auto(AutoFd) out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    if (in < 0 || out < 0)
        return error_set_errno(error, errno, "Chardev '%s': standard input or output is closed", dev->id);
    make_raw(s);
    chardev_stream_open(&s->chr, fd_steal(&in), fd_steal(&out));
    return TRUE;
}

static void stdio_unrealize(Device *dev)
{
    StdioChardev *s = (StdioChardev *)dev;

    if (s->terminal)
        tcsetattr(STDIN_FILENO, TCSANOW, &s->saved);
    close_stream(dev);
    for (int i = 0; i < 2; i++) {
        if (s->flags[i] >= 0)
            fcntl(i, F_SETFL, s->flags[i]);
    }
}

/* ---- null ---- */

static gboolean null_realize(Device *dev, GError **error)
{
    Chardev *c = (Chardev *)dev;

    chardev_stream_init(c);
    c->open = TRUE;
    return TRUE;
}

static const DeviceOps file_ops = { .realize = file_realize, .unrealize = close_stream };
static const DeviceOps stdio_ops = { .realize = stdio_realize, .unrealize = stdio_unrealize };
static const DeviceOps null_ops = { .realize = null_realize, .unrealize = close_stream };

const DeviceType chardev_file_type = { "chardev-file", sizeof(Chardev), &file_ops, state_none };
const DeviceType chardev_stdio_type = { "chardev-stdio", sizeof(StdioChardev), &stdio_ops, state_none };
const DeviceType chardev_null_type = { "chardev-null", sizeof(Chardev), &null_ops, state_none };

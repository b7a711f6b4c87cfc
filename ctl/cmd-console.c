/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * console: which chardev, and how to get at its other side.
 *
 * query-chardev tells each chardev's "filename", which names the kind and the place:
 * `pty:/dev/pts/N`, `unix:PATH,server=on` (with `disconnected:` before it while nobody is there),
 * or `ringbuf`, which is no stream: it is read by ringbuf-read, ten times a second.
 */
#include "ctl.h"
#include "args.h"
#include "console.h"
#include "paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#define RINGBUF_INTERVAL_MS 100
#define RINGBUF_READ_SIZE 65536

typedef enum { CHARDEV_OTHER, CHARDEV_PTY, CHARDEV_SOCKET, CHARDEV_RINGBUF } ChardevKind;

typedef struct {
    char *label;
    char *path;
    ChardevKind kind;
} Chardev;

static void
chardev_clear(Chardev *chardev)
{
    g_free(chardev->label);
    g_free(chardev->path);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Chardev, chardev_clear)

/* Kind and place in @filename. */
static void
parse_filename(Chardev *chardev, const char *filename)
{
    const char *server;

    if (g_str_has_prefix(filename, "disconnected:"))
        filename += strlen("disconnected:");
    if (g_str_has_prefix(filename, "pty:")) {
        chardev->kind = CHARDEV_PTY;
        chardev->path = g_strdup(filename + strlen("pty:"));
    } else if (g_str_has_prefix(filename, "unix:") &&
               (server = g_strrstr(filename, ",server")) != NULL &&
               !g_str_has_prefix(server, ",server=off")) {
        filename += strlen("unix:");
        chardev->kind = CHARDEV_SOCKET;
        chardev->path = g_strndup(filename, server - filename);
    } else if (g_str_equal(filename, "ringbuf") || g_str_has_prefix(filename, "ringbuf:")) {
        chardev->kind = CHARDEV_RINGBUF;
    }
}

static gboolean
no_console(GPtrArray *usable, const char *wanted, GError **error)
{
    g_autofree char *list = NULL;

    g_ptr_array_add(usable, NULL);
    list = g_strjoinv(", ", (char **)usable->pdata);
    if (wanted != NULL)
        g_set_error(error, CTL_ERROR, CTL_ERROR_FAILED,
                    "chardev '%s' is not there; those that can be attached to: %s", wanted,
                    *list != '\0' ? list : "none");
    else if (*list == '\0')
        g_set_error_literal(error, CTL_ERROR, CTL_ERROR_FAILED,
                            "the machine has no pty, listening socket or ringbuf chardev");
    else
        g_set_error(error, CTL_ERROR, CTL_ERROR_USAGE, "name one of the chardevs %s", list);
    return FALSE;
}

/* One entry of query-chardev; FALSE if it is not of the expected form. */
static gboolean
read_chardev(JsonNode *node, Chardev *chardev)
{
    JsonObject *item = ctl_object(node, "query-chardev", NULL);
    const char *label = ctl_string_member(item, "label");
    const char *filename = ctl_string_member(item, "filename");

    if (label == NULL || filename == NULL)
        return FALSE;
    chardev->label = g_strdup(label);
    parse_filename(chardev, filename);
    return TRUE;
}

/* Fills @chardev from the one called @wanted, or from the only one that can be attached to. */
static gboolean
choose_chardev(JsonArray *list, const char *wanted, Chardev *chardev, GError **error)
{
    g_autoptr(GPtrArray) usable = g_ptr_array_new_with_free_func(g_free);
    gboolean found = FALSE;

    for (guint i = 0; i < json_array_get_length(list); i++) {
        g_auto(Chardev) one = { NULL, NULL, CHARDEV_OTHER };
        if (!read_chardev(json_array_get_element(list, i), &one))
            continue;
        if (one.kind != CHARDEV_OTHER)
            g_ptr_array_add(usable, g_strdup(one.label));
        if (wanted != NULL ? g_str_equal(one.label, wanted) : one.kind != CHARDEV_OTHER) {
            chardev_clear(chardev);
            *chardev = one;
            one = (Chardev){ NULL, NULL, CHARDEV_OTHER };
            found = TRUE;
        }
    }
    if (!found || (wanted == NULL && usable->len != 1))
        return no_console(usable, wanted, error);
    if (chardev->kind == CHARDEV_OTHER)
        g_set_error(error, CTL_ERROR, CTL_ERROR_FAILED,
                    "chardev '%s' is no pty, listening socket or ringbuf", wanted);
    return chardev->kind != CHARDEV_OTHER;
}

/* Raw on this side too: the guest's terminal echoes, the pty must not do so as well. */
static int
open_pty(const char *path, GError **error)
{
    int fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    struct termios modes;

    if (fd < 0) {
        g_set_error(error, CTL_ERROR, CTL_ERROR_CONNECT, "%s: %s", path, g_strerror(errno));
    } else if (tcgetattr(fd, &modes) == 0) {
        cfmakeraw(&modes);
        tcsetattr(fd, TCSANOW, &modes);
    }
    return fd;
}

static int
open_socket(const char *path, GError **error)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd;

    if (!paths_check_socket(path, error))
        return -1;
    g_strlcpy(address.sun_path, path, sizeof address.sun_path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) < 0) {
        int wrong = errno;
        close(fd);
        fd = -1;
        errno = wrong;
    }
    if (fd < 0)
        g_set_error(error, CTL_ERROR, CTL_ERROR_CONNECT, "%s: %s", path,
                    errno == EAGAIN ? "somebody else is connected" : g_strerror(errno));
    return fd;
}

static gboolean
run_stream(Ctl *ctl, const Chardev *chardev, GError **error)
{
    int fd = chardev->kind == CHARDEV_PTY ? open_pty(chardev->path, error)
                                          : open_socket(chardev->path, error);
    ConsoleEnd end = { fd, -1, TRUE, console_read_fd, GINT_TO_POINTER(fd) };

    if (fd < 0)
        return FALSE;
    gboolean ok = console_run(&end, chardev->label, &ctl->ended_by, error);
    close(fd);
    return ok;
}

typedef struct {
    QmpClient *client;
    char *arguments;
} Ringbuf;

/* Base64, since what a guest wrote need not be UTF-8. Reads until the buffer is empty. */
static gboolean
ringbuf_read(gpointer data, GString *bytes, GError **error)
{
    Ringbuf *ringbuf = data;
    gsize got = 0;

    do {
        g_autoptr(JsonNode) node =
            client_query(ringbuf->client, "ringbuf-read", ringbuf->arguments, error);
        if (node == NULL)
            return FALSE;
        if (!JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_STRING) {
            g_set_error_literal(error, CTL_ERROR, CTL_ERROR_FAILED,
                                "ringbuf-read: the reply is not a string");
            return FALSE;
        }
        g_autofree guchar *chunk = g_base64_decode(json_node_get_string(node), &got);
        g_string_append_len(bytes, (const char *)chunk, got);
    } while (got == RINGBUF_READ_SIZE);
    return TRUE;
}

static void
ignore_event(const char *event, gpointer data)
{
    (void)event;
    (void)data;
}

static gboolean
run_ringbuf(Ctl *ctl, QmpClient *client, const Chardev *chardev, GError **error)
{
    g_autoptr(Args) args = args_new();
    g_autofree char *size = g_strdup_printf("%d", RINGBUF_READ_SIZE);
    g_autofree char *text = NULL;

    if (!args_set_string(args, "device", chardev->label, error) ||
        !args_set_json(args, "size", size, error) ||
        !args_set_string(args, "format", "base64", error))
        return FALSE;
    text = args_text(args);
    Ringbuf ringbuf = { client, text };
    ConsoleEnd end = { -1, RINGBUF_INTERVAL_MS, FALSE, ringbuf_read, &ringbuf };
    client_set_event_func(client, ignore_event, NULL); /* else they would pile up */
    return console_run(&end, chardev->label, &ctl->ended_by, error);
}

gboolean
cmd_console(Ctl *ctl, char ***args, GError **error)
{
    g_autoptr(QmpClient) client = NULL;
    g_autoptr(JsonNode) node = NULL;
    g_auto(Chardev) chardev = { NULL, NULL, CHARDEV_OTHER };
    JsonArray *list;

    if (!ctl_parse(ctl, NULL, args, 0, 1, error) || (client = ctl_connect(ctl, error)) == NULL)
        return FALSE;
    node = client_query(client, "query-chardev", NULL, error);
    list = ctl_array(node, "query-chardev", error);
    if (list == NULL || !choose_chardev(list, (*args)[1], &chardev, error))
        return FALSE;
    if (chardev.kind == CHARDEV_RINGBUF)
        return run_ringbuf(ctl, client, &chardev, error);
    g_clear_pointer(&client, client_close); /* a console is left open for days */
    return run_stream(ctl, &chardev, error);
}

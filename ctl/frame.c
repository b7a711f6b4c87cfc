/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A byte stream cut into JSON objects.
 *
 * QMP has no length prefix and its line ends carry no meaning: servers differ in CRLF, LF and
 * pretty-printing, and a read returns any piece of any number of messages. An object ends where its
 * braces balance outside of strings, so that is what is counted here, with the state kept between
 * reads: each byte is looked at once, however the stream is cut. Whether the object is proper JSON
 * is not decided here.
 */
#include "frame.h"
#include "ctl.h"

#include <string.h>

#define MAX_MESSAGE (64 * 1024 * 1024)

struct Frame {
    GByteArray *buffer;
    gsize scanned; /* bytes of the buffer that the state below includes */
    guint depth;
    gboolean in_string;
    gboolean escaped;
};

Frame *
frame_new(void)
{
    Frame *frame = g_new0(Frame, 1);

    frame->buffer = g_byte_array_new();
    return frame;
}

void
frame_free(Frame *frame)
{
    g_byte_array_unref(frame->buffer);
    g_free(frame);
}

void
frame_feed(Frame *frame, const char *bytes, gsize length)
{
    g_byte_array_append(frame->buffer, (const guint8 *)bytes, length);
}

/* Takes one byte into account; TRUE when it closed the outermost brace. */
static gboolean
frame_step(Frame *frame, char c)
{
    if (frame->in_string) {
        if (!frame->escaped && c == '"')
            frame->in_string = FALSE;
        frame->escaped = !frame->escaped && c == '\\';
        return FALSE;
    }
    if (c == '"')
        frame->in_string = TRUE;
    else if (c == '{' || c == '[')
        frame->depth++;
    else if ((c == '}' || c == ']') && frame->depth > 0)
        return --frame->depth == 0;
    return FALSE;
}

/* Between messages only white space may stand. FALSE at anything that cannot begin an object. */
static gboolean
frame_skip_space(Frame *frame, GError **error)
{
    gsize n = 0;

    while (n < frame->buffer->len && strchr("\r\n\t ", frame->buffer->data[n]) != NULL &&
           frame->buffer->data[n] != '\0')
        n++;
    g_byte_array_remove_range(frame->buffer, 0, n);
    if (frame->buffer->len == 0 || frame->buffer->data[0] == '{')
        return TRUE;
    g_set_error(error, CTL_ERROR, CTL_ERROR_FAILED,
                "byte 0x%02x where a message must begin: this is no QMP server",
                frame->buffer->data[0]);
    return FALSE;
}

/* The next complete object, or NULL: without @error set, more bytes are needed. */
char *
frame_take(Frame *frame, GError **error)
{
    if (frame->scanned == 0 && !frame_skip_space(frame, error))
        return NULL;
    while (frame->scanned < frame->buffer->len) {
        if (!frame_step(frame, frame->buffer->data[frame->scanned++]))
            continue;
        char *text = g_strndup((const char *)frame->buffer->data, frame->scanned);
        g_byte_array_remove_range(frame->buffer, 0, frame->scanned);
        frame->scanned = 0;
        return text;
    }
    if (frame->buffer->len > MAX_MESSAGE)
        g_set_error(error, CTL_ERROR, CTL_ERROR_FAILED, "a message of more than %d MiB came",
                    MAX_MESSAGE / (1024 * 1024));
    return NULL;
}

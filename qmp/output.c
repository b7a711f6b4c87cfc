/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * output.c - what a session still has to send.
 *
 * A queue of blocks: small replies and events share blocks, a big reply (the introspection
 * document) brings its own memory. Only the first block may be sent in part. The count of bytes
 * includes the unused room, so that it is what the queue costs rather than what it says.
 */
#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include "internal.h"

#define BLOCK_ROOM 2048
#define TAKE_MIN   8192 /* strings from here on are taken rather than copied */

struct QmpOutput {
    char *data; /* `own`, or allocated apart */
    gsize sent, len, room;
    char own[];
};

static QmpOutput *block_new(QmpSession *s, gsize room)
{
    QmpOutput *b = g_malloc(sizeof *b + room);

    *b = (QmpOutput){ .data = b->own, .room = room };
    s->output_bytes += sizeof *b + room;
    g_queue_push_tail(&s->output, b);
    return b;
}

static void block_free(QmpSession *s, QmpOutput *b)
{
    s->output_bytes -= sizeof *b + b->room;
    if (b->data != b->own)
        g_free(b->data);
    g_free(b);
}

void qmp_output_append(QmpSession *s, const char *data, gsize len)
{
    QmpOutput *b = g_queue_peek_tail(&s->output);

    if (!b || b->data != b->own || b->room - b->len < len)
        b = block_new(s, MAX(len, BLOCK_ROOM));
    memcpy(b->data + b->len, data, len);
    b->len += len;
}

void qmp_output_take(QmpSession *s, GString *text)
{
    QmpOutput *b;

    if (text->len < TAKE_MIN) {
        qmp_output_append(s, text->str, text->len);
        g_string_truncate(text, 0);
        return;
    }
    b = block_new(s, 0);
    b->len = text->len;
    b->room = text->allocated_len;
    b->data = text->str;
    s->output_bytes += b->room;
    /* The caller's string goes on with memory of its own. */
    text->str = g_malloc(256);
    text->allocated_len = 256;
    text->len = 0;
    text->str[0] = '\0';
}

/* Drops N sent bytes from the front. */
static void advance(QmpSession *s, gsize n)
{
    QmpOutput *b;

    while ((b = g_queue_peek_head(&s->output)) && n >= b->len - b->sent) {
        n -= b->len - b->sent;
        block_free(s, g_queue_pop_head(&s->output));
    }
    if (b)
        b->sent += n;
}

gboolean qmp_output_flush(QmpSession *s)
{
    while (s->output.head) {
        struct iovec iov[16];
        struct msghdr msg = { .msg_iov = iov };
        ssize_t n;

        for (GList *l = s->output.head; l && msg.msg_iovlen < G_N_ELEMENTS(iov); l = l->next) {
            QmpOutput *b = l->data;

            iov[msg.msg_iovlen++] = (struct iovec){ b->data + b->sent, b->len - b->sent };
        }
        do
            n = sendmsg(s->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
        while (n < 0 && errno == EINTR);
        if (n < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK;
        advance(s, (gsize)n);
    }
    s->event_bytes = 0;
    return TRUE;
}

void qmp_output_clear(QmpSession *s)
{
    QmpOutput *b;

    while ((b = g_queue_pop_head(&s->output)))
        block_free(s, b);
}

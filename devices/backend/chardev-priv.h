/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * chardev-priv.h - private to the chardev back ends: what all of them share.
 *
 * A chardev's Device.lock guards output (descriptor and buffer), which any thread may use; everything else belongs to the
 * main thread. No front end is called with the lock held.
 */
#pragma once

#include "chardev.h"

typedef struct Chardev Chardev;

struct Chardev {
    Device                 dev;
    const ChardevFrontend *fe;
    gpointer               fe_user;
    int                    in_fd, out_fd; /* -1: none; out_fd under the lock */
    guint                  in_source, out_source; /* main loop sources, 0: none */
    guint                   hup_source;    /* in place of in_source while nobody takes input */
    gint                   fe_open;       /* atomic */
    gint                   input_blocked; /* atomic: the front end was full, chardev_accept_input() wakes */
    GByteArray            *pending;       /* under the lock: taken from the front end, not yet by the peer */
    gboolean               owed;          /* under the lock: a write was cut short, writable() is owed */
    gboolean               open;          /* a peer is there */
    gboolean               told_open;     /* what the front end was told of that */
    /* What the kinds add; each may be NULL. */
    void (*peer_gone)(Chardev *c);        /* end of input or a broken pipe; main thread */
    void (*hung_up)(Chardev *c);          /* the peer went while nobody takes input, the stream is mute; main thread */
    gsize (*write)(Chardev *c, const guint8 *data, gsize len); /* instead of the descriptor; lock held */
};

void chardev_stream_init(Chardev *c);
/* Takes both descriptors (they may be the same) and starts input; they become non-blocking. Tells the front end that the peer is there. */
void chardev_stream_open(Chardev *c, int in_fd, int out_fd);
/* Stops and closes; what was pending is dropped. Tells the front end. */
void chardev_stream_close(Chardev *c);
/* From now on output is dropped, as without a peer; input goes on. Unmute: only where both descriptors are the same. */
void chardev_stream_mute(Chardev *c);
void chardev_stream_unmute(Chardev *c);
void chardev_stream_exit(Chardev *c);

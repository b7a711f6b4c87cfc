/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * chardev.h - character back ends as their users (serial port, debug console, virtio-serial) see them.
 *
 * Threads: chardev_write() may be called from any thread, under the user's device lock; it never blocks: what the
 * peer does not take is kept in a bounded buffer, and beyond it the user is told to wait (short count). The front end's
 * callbacks run on the main thread without its lock.
 */
#pragma once

#include "../core/device.h"

typedef struct {
    /* Bytes that the front end can take now; 0 stops reading until chardev_accept_input(). */
    gsize (*can_receive)(gpointer user);
    void (*receive)(gpointer user, const guint8 *data, gsize len);
    void (*writable)(gpointer user);            /* after a short write: there is room again */
    void (*opened)(gpointer user, gboolean open); /* the peer came or went */
    void (*break_received)(gpointer user);
} ChardevFrontend;

/* Claims the chardev CHARDEV (a Device of NS_CHARDEV) for one front end: a second user is refused by name. */
gboolean chardev_attach(Device *chardev, const ChardevFrontend *fe, gpointer user, GError **error);
void     chardev_detach(Device *chardev);

/* [any] Bytes taken: all, or fewer if the buffer is full (then writable() follows). Without a peer bytes are dropped, and counted as taken. */
gsize    chardev_write(Device *chardev, const guint8 *data, gsize len);
/* [any] The front end has room again. */
void     chardev_accept_input(Device *chardev);

/* query-chardev. Caller frees the name: "pty:/dev/pts/3", "unix:/path,server=on", "file", "null" ... */
char    *chardev_filename(Device *chardev);
gboolean chardev_frontend_open(Device *chardev);
/* [any] What chardev_frontend_open() says: whether the guest uses the front end. Attaching sets it, detaching clears it; for front
 * ends that know better. */
void     chardev_set_frontend_open(Device *chardev, gboolean open);

/* ringbuf: copies out and removes at most LEN bytes; writes from the manager's side. */
gboolean chardev_ringbuf_read(Device *chardev, gsize len, GByteArray *out, GError **error);
gboolean chardev_ringbuf_write(Device *chardev, const guint8 *data, gsize len, GError **error);

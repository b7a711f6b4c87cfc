/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * slirp-stack.h - one network stack of libslirp, run by an I/O thread.
 *
 * Main thread, but for what is marked [thread]: on the thread that runs it.
 */
#pragma once

#include "../../kvm/iothread.h"
#include "slirp-lib.h"
#include "slirp-settings.h"

typedef struct SlirpStack SlirpStack;

typedef struct {
    /* A frame for the guest, without a check sequence; LEN is at least 14. [thread] */
    void (*frame)(gpointer user, const guint8 *frame, gsize len);
    /* Those frames that came in a row are complete. [thread] */
    void (*batch)(gpointer user);
    /* The guest did something foolish, or more than it may. [thread] */
    void (*guest_error)(gpointer user, const char *message);
} SlirpStackOps;

/* Host ports listen from now on; who connects waits until a thread runs the stack. SETTINGS' strings are copied. */
SlirpStack *slirp_stack_new(SlirpLib *lib, const char *id, const SlirpSettings *settings, const SlirpStackOps *ops, gpointer user,
                            GError **error);
void        slirp_stack_free(SlirpStack *s); /* stopped; every connection ends */

/* Connections live on from one thread to the next; what comes while no thread runs the stack waits in the host's sockets. */
gboolean    slirp_stack_start(SlirpStack *s, IoThread *thread, GError **error);
void        slirp_stack_stop(SlirpStack *s); /* no hook runs, or will */

/* A frame from the guest, 14 to 65,549 bytes. FALSE: dropped, for its length, as a fragment, or since it would open one
 * connection too many.
 * frame() may be called from within, batch() follows later. [thread] */
gboolean    slirp_stack_input(SlirpStack *s, const guint8 *frame, gsize len);
/* Those frames were all for now: batch() is called at once. [thread] */
void        slirp_stack_flush(SlirpStack *s);
/* While there is no room for frames nothing is read from sockets. [thread] */
void        slirp_stack_block(SlirpStack *s, gboolean blocked);

/* Calls batch() soon. */
void        slirp_stack_kick(SlirpStack *s);

gboolean    slirp_stack_add_forward(SlirpStack *s, const SlirpForward *f, GError **error);
/* FALSE: there is none on that host port. */
gboolean    slirp_stack_remove_forward(SlirpStack *s, const SlirpForward *f);
guint       slirp_stack_flows(SlirpStack *s); /* sockets of connections now */

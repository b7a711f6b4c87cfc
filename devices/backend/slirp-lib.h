/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * slirp-lib.h - libslirp, opened when the first `user` network is made: nobody else pays for it.
 *
 * One SlirpLib serves all networks of a machine. libslirp keeps its clock and the name servers' addresses in variables of its
 * own that all networks share, so every call into it is made under LOCK, whichever network it is for.
 */
#pragma once

#include <glib.h>
#include <libslirp.h>

typedef struct {
    GMutex lock;
    guint  n_users; /* main thread */
    void  *library;
    guint  n_flows, max_flows; /* sockets that guests or their peers caused: there are, and there may be; lock */
    __typeof__(slirp_new)            *create;
    __typeof__(slirp_cleanup)        *cleanup;
    __typeof__(slirp_pollfds_fill)   *pollfds_fill;
    __typeof__(slirp_pollfds_poll)   *pollfds_poll;
    __typeof__(slirp_input)          *input;
    __typeof__(slirp_add_hostfwd)    *add_hostfwd;
    __typeof__(slirp_remove_hostfwd) *remove_hostfwd;
} SlirpLib;

/* [main] The caller is its first user. Errors: not installed, too old. */
SlirpLib *slirp_lib_new(GError **error);
SlirpLib *slirp_lib_ref(SlirpLib *lib);
void      slirp_lib_unref(SlirpLib *lib);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net-offload.h - what a network card's driver leaves to its card, done in software, for back ends that have no kernel to do it:
 * checksums of what the guest sends, and TCP segments for the guest put together into large ones (virtio 1.2 section 5.1.6).
 */
#pragma once

#include "netdev.h"

enum { NET_FRAME_MAX = 65535 + 14 };

/* A frame on its way to the guest, or several segments of one TCP connection that follow each other. */
typedef struct NetFrame {
    struct NetFrame *next; /* the owner's */
    gsize    len;
    guint8   header[NET_HEADER];
    /* ---- private ---- */
    guint16  mss;       /* bytes of TCP in a segment; 0: nothing can be added */
    guint    n, at;     /* segments; where their data begins */
    guint32  next_seq;
    gsize    room;
    guint8  *data;      /* OWN, or more */
    guint8   own[];
} NetFrame;

/* A copy of LEN bytes, 14 to NET_FRAME_MAX. */
NetFrame *net_frame_new(const guint8 *frame, gsize len);
void      net_frame_free(NetFrame *f);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(NetFrame, net_frame_free)
/* Whether the frame became part of F: the next segment of its connection, with the same acknowledgement, window and options. */
gboolean  net_frame_add(NetFrame *f, const guint8 *frame, gsize len);
/* Before it is handed over: lengths, checksums and header. OFFLOADS is what the driver takes. */
void      net_frame_finish(NetFrame *f, guint offloads);

/* FRAME is whole, also on the wire: the checksum that HEADER asks for is put in, unless it lies outside. */
void      net_finish_checksum(const guint8 header[NET_HEADER], guint8 *frame, gsize len);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net-guest.h - a guest without a machine, on the wire of a network back end: frames in and out, and as much of ARP, UDP,
 * DHCP and TCP as it takes to be a good or a bad neighbour. All functions are for the test's thread; frames cross over to the
 * back end's I/O thread and back as a NIC's would. The wire loses nothing, so TCP here never sends anything twice.
 */
#pragma once

#include "../../devices/backend/iothread.h"
#include "../../devices/backend/netdev.h"
#include "core-rig.h"

enum { ETH = 14, IP_AT = 14, L4_AT = 34, MSS = 1460 };

#define IP4(a, b, c, d) ((guint32)(a) << 24 | (b) << 16 | (c) << 8 | (d))

typedef struct {
    gsize  len;
    guint8 header[NET_HEADER];
    guint8 data[2048];
} Packet;

typedef struct {
    Rig         *rig;
    Device      *nic; /* an I/O thread object stands for it */
    IoThread    *thread;
    Netdev      *nd;
    GAsyncQueue *in;    /* of Packet */
    gint         room;  /* atomic: frames that the ring still has room for */
    gint         stuck; /* atomic: it was full, pause() was called */
    guint8       mac[6], router_mac[6];
    guint32      ip, router;
    guint16      ip_id, next_port;
    GHashTable  *flows; /* of Flow, by both ports */
    GPtrArray   *out;   /* of Packet: sent by guest_flush() */
    guint16      listen_port; /* accepts on it; 0: on none */
} NetGuest;

typedef enum { FLOW_OPENING, FLOW_OPEN, FLOW_RESET } FlowState;

typedef struct {
    NetGuest   *g;
    FlowState   state;
    gboolean    accepted;        /* the other side opened it */
    guint32     peer;            /* its address */
    guint16     port, peer_port; /* ours and its */
    guint32     snd_nxt, snd_una, rcv_nxt, window;
    gboolean    fin_sent, fin_seen;
    GByteArray *in;   /* received */
    GByteArray *todo; /* to be sent, as its window allows */
    gsize       todo_at; /* up to here it is */
} Flow;

/* Plugs a netdev-user "net0" with MORE properties (",\"a\":1"), starts its queue. */
NetGuest *guest_new(const char *more_format, ...) G_GNUC_PRINTF(1, 2);
void      guest_free(NetGuest *g);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(NetGuest, guest_free)
void      guest_stop(NetGuest *g); /* the NIC goes; the network stays */
void      guest_start(NetGuest *g);

/* Raw frames: into the batch, and the batch onto the wire. */
void      guest_put(NetGuest *g, const void *frame, gsize len);
void      guest_flush(NetGuest *g);
/* The next frame, NULL after MS milliseconds without one. Free with g_free(). */
Packet   *guest_next(NetGuest *g, guint ms);
/* Handles what comes (ARP, TCP) until FN says TRUE; the test fails after 20 s. */
void      guest_run_until(NetGuest *g, gboolean (*fn)(gpointer user), gpointer user);
/* Handles one frame: answers ARP, feeds flows. The flow that it was for, or NULL. */
Flow     *guest_handle(NetGuest *g, const Packet *p);

/* Asks who has IP; FALSE: nobody answered within MS. */
gboolean  guest_arp(NetGuest *g, guint32 ip, guint ms);
/* UDP over IPv4; the next datagram for PORT within MS. */
void      guest_put_udp(NetGuest *g, guint32 from, guint32 to, guint16 port, guint16 peer_port, const void *data, gsize len);
Packet   *guest_next_udp(NetGuest *g, guint16 port, guint ms, const guint8 **data, gsize *len);

/* One fragment of a UDP datagram: OFFSET_FIELD is IPv4's, 0x2000 for "more" and the offset in units of 8 bytes. */
void      guest_put_fragment(NetGuest *g, guint32 to, guint16 id, guint16 offset_field, const void *data, gsize len);

/* Makes the checksum of what may be an IPv4 header right. */
void      guest_fix_header(Packet *p);

typedef struct {
    guint32 ip, router, dns, mask, server;
    char   *hostname;
} Lease;
/* DISCOVER and REQUEST; takes the address. FALSE: no answer. */
gboolean  guest_dhcp(NetGuest *g, Lease *lease);

Flow     *flow_connect(NetGuest *g, guint32 peer, guint16 port); /* sends SYN */
void      flow_send(Flow *f, const void *data, gsize len);
void      flow_close(Flow *f); /* FIN after what is left to send */
void      flow_wait_open(Flow *f);
void      flow_wait_sent(Flow *f); /* and acknowledged */
void      flow_wait_in(Flow *f, gsize len);
gboolean  flow_is_done(const Flow *f); /* both directions are closed */
/* The flow that the other side opened, waiting for it. */
Flow     *guest_accept(NetGuest *g);

static inline guint16 be16(const guint8 *p)
{
    return (guint16)(p[0] << 8 | p[1]);
}

static inline guint32 be32(const guint8 *p)
{
    return (guint32)p[0] << 24 | (guint32)p[1] << 16 | (guint32)p[2] << 8 | p[3];
}

static inline void put16(guint8 *p, guint v)
{
    p[0] = (guint8)(v >> 8);
    p[1] = (guint8)v;
}

static inline void put32(guint8 *p, guint32 v)
{
    put16(p, v >> 16);
    put16(p + 2, v & 0xffff);
}

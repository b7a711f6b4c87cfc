/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * slirp-stack.c - libslirp in an epoll loop.
 *
 * libslirp is made for poll(): before each sleep it lists all descriptors with what it waits for, after it it asks about
 * each. Handing a thousand of them to the kernel every time would cost more than the traffic, so they stand in an epoll
 * set of ours, and only what changed since the last list goes to the kernel (`refill`). The I/O thread watches that set as
 * one descriptor, and needs to know nothing of directions; while the guest has no room it does not.
 *
 * A descriptor's number may come back for another socket right after it was closed. libslirp says so before it closes one
 * (unregister), which is when it leaves our table.
 *
 * Input from the guest changes what is to be waited for. The list is made once for all frames of a batch, when it is over (`flush`).
 * `kick` is for whoever is not on the thread, or wants to be called later.
 *
 * Time: libslirp wants to be called after 2 or 500 ms while it has something to time, and once a second for nothing, which is
 * left out. IPv6's router advertisements have timers of their own.
 */
#include "slirp-stack.h"

#include <errno.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>

#include "../../common/error.h"
#include "../../common/lock.h"
#include "../../common/util.h"

enum { BATCH = 256, ROUNDS = 16, FRAME_MIN = 14, FRAME_MAX = 65535 + 14, IDLE_MS = 1000, NEVER = -1 };

/* By descriptor. */
typedef struct {
    guint8  wanted; /* SLIRP_POLL_*, as epoll knows it; 0: it is not in the set */
    guint8  ready;  /* of this round */
    gboolean flow;  /* of a connection, counts */
    guint32 round;  /* it was last listed */
} Slot;

typedef struct {
    SlirpTimerCb cb;
    void        *opaque;
    gint64       at; /* ms, or NEVER */
} Timer;

struct SlirpStack {
    SlirpLib            *lib;
    Slirp               *slirp;
    const SlirpStackOps *ops;
    gpointer             user;
    int                  set_fd, timer_fd, kick_fd; /* the first holds the sockets */
    IoThread            *thread; /* NULL: stopped */
    IoWatch             *kick_watch, *timer_watch, *set_watch; /* the last is the thread's */
    /* ---- under lib->lock ---- */
    GArray   *slots;  /* of Slot, by descriptor */
    GArray   *listed; /* of int: descriptors in the set */
    guint32   round;
    GSList   *timers;
    gint64    poll_at, armed; /* ms, or NEVER */
    guint     flows;
    gboolean  kicked, input; /* the list has to be made anew, and will be */
};

static gint64 now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * G_GINT64_CONSTANT(1000000000) + ts.tv_nsec;
}

static gint64 now_ms(void)
{
    return now_ns() / 1000000;
}

static Slot *slot_of(SlirpStack *s, int fd)
{
    if ((guint)fd >= s->slots->len)
        g_array_set_size(s->slots, (guint)fd + 1);
    return &g_array_index(s->slots, Slot, fd);
}

/* ---- what libslirp asks of us; lock held ---- */

static ssize_t on_packet(const void *buf, size_t len, void *opaque)
{
    SlirpStack *s = opaque;

    if (s->thread)
        s->ops->frame(s->user, buf, len);
    return (ssize_t)len; /* what could not be delivered is lost, as on any network */
}

static void on_guest_error(const char *msg, void *opaque)
{
    SlirpStack *s = opaque;

    s->ops->guest_error(s->user, msg);
}

static int64_t on_clock(void *opaque)
{
    return now_ns();
}

static void *on_timer_new(SlirpTimerCb cb, void *cb_opaque, void *opaque)
{
    SlirpStack *s = opaque;
    Timer *t = g_new0(Timer, 1);

    t->cb = cb;
    t->opaque = cb_opaque;
    t->at = NEVER;
    s->timers = g_slist_prepend(s->timers, t);
    return t;
}

static void on_timer_free(void *timer, void *opaque)
{
    SlirpStack *s = opaque;

    s->timers = g_slist_remove(s->timers, timer);
    g_free(timer);
}

static void on_timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
    ((Timer *)timer)->at = expire_ms;
}

/* A socket of a connection; listening ones are not registered. FD may be -1: there was none to be had. */
static void on_register(int fd, void *opaque)
{
    SlirpStack *s = opaque;

    if (fd < 0 || slot_of(s, fd)->flow)
        return;
    slot_of(s, fd)->flow = TRUE;
    s->flows++;
    s->lib->n_flows++;
}

static void on_unregister(int fd, void *opaque)
{
    SlirpStack *s = opaque;
    Slot *slot;

    if (fd < 0)
        return;
    slot = slot_of(s, fd);
    if (slot->flow) {
        s->flows--;
        s->lib->n_flows--;
    }
    if (slot->wanted)
        epoll_ctl(s->set_fd, EPOLL_CTL_DEL, fd, NULL);
    *slot = (Slot){ 0 }; /* `listed` loses it at the next list */
}

static void kick(SlirpStack *s)
{
    guint64 one = 1;

    if (s->kicked)
        return;
    s->kicked = TRUE;
    while (write(s->kick_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

/* Something is to be waited for anew: which is done anyway after what it is told from within. */
static void on_notify(void *opaque)
{
    SlirpStack *s = opaque;

    if (!s->input)
        kick(s);
}

static const SlirpCb callbacks = {
    .send_packet = on_packet,
    .guest_error = on_guest_error,
    .clock_get_ns = on_clock,
    .timer_new = on_timer_new,
    .timer_free = on_timer_free,
    .timer_mod = on_timer_mod,
    .register_poll_fd = on_register,
    .unregister_poll_fd = on_unregister,
    .notify = on_notify,
};

/* ---- the poll set ---- */

static guint32 to_epoll(int events)
{
    return (events & SLIRP_POLL_IN ? EPOLLIN : 0) | (events & SLIRP_POLL_OUT ? EPOLLOUT : 0) |
           (events & SLIRP_POLL_PRI ? EPOLLPRI : 0); /* ERR and HUP are always told */
}

static guint8 from_epoll(guint32 events)
{
    return (guint8)((events & EPOLLIN ? SLIRP_POLL_IN : 0) | (events & EPOLLOUT ? SLIRP_POLL_OUT : 0) |
                    (events & EPOLLPRI ? SLIRP_POLL_PRI : 0) | (events & EPOLLERR ? SLIRP_POLL_ERR : 0) |
                    (events & EPOLLHUP ? SLIRP_POLL_HUP : 0));
}

static gboolean may_grow(const SlirpStack *s)
{
    return s->lib->n_flows < s->lib->max_flows;
}

static int add_poll(int fd, int events, void *opaque)
{
    SlirpStack *s = opaque;
    Slot *slot = slot_of(s, fd);
    struct epoll_event ev = { .events = to_epoll(events), .data.fd = fd };

    if (!slot->flow && !may_grow(s))
        return fd; /* who connects waits until there is room */
    slot->round = s->round;
    if (slot->wanted == events)
        return fd;
    if (!slot->wanted) {
        g_array_append_val(s->listed, fd);
        if (!slot->flow)
            listen(fd, SOMAXCONN); /* libslirp's queue is for one; datagram sockets refuse */
    }
    if (epoll_ctl(s->set_fd, slot->wanted ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &ev) < 0)
        g_warning("libslirp's descriptor %d can not be watched: %s", fd, g_strerror(errno));
    slot->wanted = (guint8)events;
    return fd;
}

static int get_ready(int fd, void *opaque)
{
    return slot_of(opaque, fd)->ready;
}

static void drop_unlisted(SlirpStack *s)
{
    for (guint i = 0; i < s->listed->len;) {
        int fd = g_array_index(s->listed, int, i);
        Slot *slot = slot_of(s, fd);

        if (slot->wanted && slot->round == s->round) {
            i++;
            continue;
        }
        if (slot->wanted)
            epoll_ctl(s->set_fd, EPOLL_CTL_DEL, fd, NULL);
        slot->wanted = 0;
        g_array_remove_index_fast(s->listed, i);
    }
}

static void arm(SlirpStack *s)
{
    gint64 at = s->poll_at;
    struct itimerspec spec = { 0 };

    for (GSList *l = s->timers; l; l = l->next) {
        const Timer *t = l->data;
        if (t->at != NEVER && (at == NEVER || t->at < at))
            at = t->at;
    }
    if (s->armed != NEVER && (at == NEVER || at >= s->armed))
        return; /* it comes too early, once: cheaper than to set it for each packet */
    if (at == s->armed)
        return;
    s->armed = at;
    if (at != NEVER) {
        at = MAX(at, 1); /* 0 would mean never */
        spec.it_value.tv_sec = at / 1000;
        spec.it_value.tv_nsec = at % 1000 * 1000000;
    }
    timerfd_settime(s->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

static void refill(SlirpStack *s)
{
    guint32 timeout = G_MAXUINT32;

    s->round++;
    s->lib->pollfds_fill(s->slirp, &timeout, add_poll, s);
    drop_unlisted(s);
    s->poll_at = timeout >= IDLE_MS ? NEVER : now_ms() + timeout;
    arm(s);
}

static void run_timers(SlirpStack *s)
{
    gint64 now = now_ms();

    for (GSList *l = s->timers; l; l = l->next) {
        Timer *t = l->data;
        if (t->at == NEVER || t->at > now)
            continue;
        t->at = NEVER;
        t->cb(t->opaque); /* sets it anew; no timer comes or goes */
    }
    if (s->armed != NEVER && s->armed <= now)
        s->armed = NEVER;
}

/* What is ready and what is due, then the list of what to wait for. */
static void one_round(SlirpStack *s, const struct epoll_event *events, int n)
{
    LOCK_SCOPE(&s->lib->lock);

    s->kicked = FALSE;
    s->input = TRUE; /* whatever libslirp tells from here on is in the list */
    for (int i = 0; i < n; i++)
        slot_of(s, events[i].data.fd)->ready = from_epoll(events[i].events);
    run_timers(s);
    s->lib->pollfds_poll(s->slirp, 0, get_ready, s);
    for (int i = 0; i < n; i++)
        slot_of(s, events[i].data.fd)->ready = 0;
    refill(s);
    s->input = FALSE;
}

/* libslirp takes one datagram of a socket in a round: several rounds, so that the NIC gets them together. */
static void on_sockets(gpointer user)
{
    SlirpStack *s = user;
    struct epoll_event events[BATCH];

    for (guint left = ROUNDS; left > 0; left--) {
        int n = epoll_wait(s->set_fd, events, BATCH, 0);
        if (n <= 0)
            break;
        one_round(s, events, n);
    }
    s->ops->batch(s->user);
}

static void serve_now(SlirpStack *s)
{
    one_round(s, NULL, 0);
    s->ops->batch(s->user);
}

static void on_kick(gpointer user)
{
    serve_now(user);
}

/* ---- frames ---- */

static gboolean is_ipv4(const guint8 *frame, gsize len)
{
    return len >= FRAME_MIN + 20 && frame[12] == 0x08 && frame[13] == 0x00;
}

/* libslirp 4.7 as Debian 12 has it puts fragments together in memory that is not theirs: its lists of them are two types to the
 * compiler, which keeps an old end of the list. Any fragmented datagram can end the process. */
static gboolean is_fragment(const guint8 *frame, gsize len)
{
    const guint8 *ip = frame + FRAME_MIN;

    return is_ipv4(frame, len) && ((ip[6] & 0xbf) || ip[7]);
}

/* Whether libslirp may make a socket for it: a TCP SYN, and any other protocol's packet. */
static gboolean opens_flow(const guint8 *frame, gsize len)
{
    const guint8 *ip = frame + FRAME_MIN;
    gsize header;

    len -= FRAME_MIN;
    if (frame[12] == 0x86 && frame[13] == 0xdd) {
        if (len < 54 || ip[6] == IPPROTO_ICMPV6) /* neighbours are to be found at all times */
            return FALSE;
        return ip[6] != IPPROTO_TCP || (ip[53] & (TH_SYN | TH_ACK)) == TH_SYN;
    }
    if (!is_ipv4(frame, len + FRAME_MIN))
        return FALSE;
    header = (ip[0] & 15) * 4u;
    return ip[9] != IPPROTO_TCP || len < header + 14 || (ip[header + 13] & (TH_SYN | TH_ACK)) == TH_SYN;
}

gboolean slirp_stack_input(SlirpStack *s, const guint8 *frame, gsize len)
{
    if (len < FRAME_MIN || len > FRAME_MAX)
        return FALSE;
    if (is_fragment(frame, len)) {
        s->ops->guest_error(s->user, "fragments of IPv4 datagrams are not taken");
        return FALSE;
    }
    LOCK_SCOPE(&s->lib->lock);
    if (!may_grow(s) && opens_flow(frame, len)) {
        s->ops->guest_error(s->user, "it has as many connections as it may have, no more are opened");
        return FALSE;
    }
    s->input = TRUE;
    s->lib->input(s->slirp, frame, (int)len);
    return TRUE;
}

void slirp_stack_flush(SlirpStack *s)
{
    if (s->input)
        serve_now(s);
}

void slirp_stack_kick(SlirpStack *s)
{
    LOCK_SCOPE(&s->lib->lock);
    kick(s);
}

void slirp_stack_block(SlirpStack *s, gboolean blocked)
{
    g_autoptr(GError) error = NULL;

    if (blocked)
        g_clear_pointer(&s->set_watch, iothread_unwatch);
    else if (!s->set_watch && !(s->set_watch = iothread_watch(s->thread, s->set_fd, FALSE, on_sockets, s, &error)))
        g_warning("%s", error->message);
}

/* ---- forwards ---- */

gboolean slirp_stack_add_forward(SlirpStack *s, const SlirpForward *f, GError **error)
{
    LOCK_SCOPE(&s->lib->lock);
    if (s->lib->add_hostfwd(s->slirp, f->udp, f->host_addr, f->host_port, f->guest_addr, f->guest_port) < 0) {
        int err = errno;
        g_autofree char *text = slirp_forward_text(f);
        return error_set_errno(error, err, "Host forward '%s': can not listen on that port of the host", text);
    }
    refill(s);
    return TRUE;
}

gboolean slirp_stack_remove_forward(SlirpStack *s, const SlirpForward *f)
{
    LOCK_SCOPE(&s->lib->lock);
    return s->lib->remove_hostfwd(s->slirp, f->udp, f->host_addr, f->host_port) == 0;
}

guint slirp_stack_flows(SlirpStack *s)
{
    LOCK_SCOPE(&s->lib->lock);
    return s->flows;
}

/* ---- life ---- */

static gboolean open_own(SlirpStack *s, const char *id, GError **error)
{
    s->set_fd = epoll_create1(EPOLL_CLOEXEC);
    s->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    s->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (s->set_fd >= 0 && s->kick_fd >= 0 && s->timer_fd >= 0)
        return TRUE;
    return error_set_errno(error, errno, "Network '%s': no descriptors for its loop", id);
}

static void make_slirp(SlirpStack *s, const SlirpSettings *set)
{
    SlirpConfig config = {
        .version = 1, /* all that is wanted, and any libslirp knows it */
        .restricted = set->restricted,
        .in_enabled = set->ipv4,
        .vnetwork = set->net,
        .vnetmask = set->mask,
        .vhost = set->host,
        .in6_enabled = set->ipv6,
        .vprefix_addr6 = set->prefix6,
        .vprefix_len = set->prefix6_len,
        .vhost6 = set->host6,
        .vhostname = set->hostname,
        .tftp_server_name = set->tftp_server,
        .tftp_path = set->tftp,
        .bootfile = set->bootfile,
        .vdhcp_start = set->dhcp_start,
        .vnameserver = set->dns,
        .vnameserver6 = set->dns6,
        .vdnssearch = (const char **)set->dnssearch,
        .vdomainname = set->domainname,
    };
    LOCK_SCOPE(&s->lib->lock);

    s->slirp = s->lib->create(&config, &callbacks, s);
    g_assert(s->slirp);
}

SlirpStack *slirp_stack_new(SlirpLib *lib, const char *id, const SlirpSettings *settings, const SlirpStackOps *ops, gpointer user,
                            GError **error)
{
    SlirpStack *s = g_new0(SlirpStack, 1);

    s->lib = lib;
    s->ops = ops;
    s->user = user;
    s->set_fd = s->kick_fd = s->timer_fd = -1;
    s->poll_at = s->armed = NEVER;
    s->slots = g_array_new(FALSE, TRUE, sizeof(Slot));
    s->listed = g_array_new(FALSE, FALSE, sizeof(int));
    if (!open_own(s, id, error)) {
        slirp_stack_free(s);
        return NULL;
    }
    make_slirp(s, settings);
    for (guint i = 0; i < settings->forwards->len; i++) {
        if (slirp_stack_add_forward(s, &g_array_index(settings->forwards, SlirpForward, i), error))
            continue;
        g_prefix_error(error, "Property 'hostfwd' of object '%s': ", id);
        slirp_stack_free(s);
        return NULL;
    }
    return s;
}

void slirp_stack_free(SlirpStack *s)
{
    if (!s)
        return;
    g_assert(!s->thread);
    if (s->slirp) {
        LOCK_SCOPE(&s->lib->lock);
        s->lib->cleanup(s->slirp);
        g_assert(s->flows == 0);
    }
    g_assert(!s->timers);
    auto_fd_close(s->set_fd);
    auto_fd_close(s->kick_fd);
    auto_fd_close(s->timer_fd);
    g_array_unref(s->slots);
    g_array_unref(s->listed);
    g_free(s);
}

gboolean slirp_stack_start(SlirpStack *s, IoThread *thread, GError **error)
{
    g_assert(!s->thread);
    s->thread = thread;
    /* Draining a timerfd is the same read as an eventfd's. */
    s->kick_watch = iothread_watch(thread, s->kick_fd, TRUE, on_kick, s, error);
    s->timer_watch = s->kick_watch ? iothread_watch(thread, s->timer_fd, TRUE, on_kick, s, error) : NULL;
    s->set_watch = s->timer_watch ? iothread_watch(thread, s->set_fd, FALSE, on_sockets, s, error) : NULL;
    if (!s->set_watch) {
        slirp_stack_stop(s);
        return FALSE;
    }
    /* Whatever happened while nobody ran it. */
    LOCK_SCOPE(&s->lib->lock);
    kick(s);
    return TRUE;
}

static void stop_sockets(gpointer user)
{
    g_clear_pointer(&((SlirpStack *)user)->set_watch, iothread_unwatch);
}

void slirp_stack_stop(SlirpStack *s)
{
    if (!s->thread)
        return;
    g_clear_pointer(&s->kick_watch, iothread_unwatch);
    g_clear_pointer(&s->timer_watch, iothread_unwatch);
    iothread_call(s->thread, stop_sockets, s);
    s->thread = NULL;
}

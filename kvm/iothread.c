/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * iothread.c - a thread around epoll for device data paths.
 *
 * Lifetimes are the hard part. epoll_wait() hands out a batch of IoWatch pointers; a watch that is
 * taken away meanwhile must neither run again nor be freed before the batch is over. So:
 *
 *   - Before each callback the thread notes the watch as `current` and then looks whether it is
 *     dead. After the callback it clears `current` and looks again.
 *   - iothread_unwatch() removes the fd from epoll, marks the watch dead, and then waits while it is
 *     `current` (unless the caller is this thread: then nothing of it runs but the caller), and
 *     leaves it in `graveyard`.
 *   - The graveyard is emptied between batches, when no pointer to its watches is left.
 *
 * Each of the two writes first and looks then (sequentially consistent), so at least one sees the
 * other; a callback therefore costs no lock. Whoever finds the watch dead after its callback wakes
 * the one who waits.
 *
 * Eventfds are watched edge-triggered: each write is an event, and the counter is left to grow, so
 * a kick costs no read(). A watch on one that was ever signalled begins with a call, which is why a
 * kick that came while nobody watched is not lost.
 *
 * What is to be done later bounds the time that epoll_wait() sleeps, so that asking for it and calling it off again, which is the
 * rule, costs no system call.
 *
 * `wake` is an eventfd in the same epoll set; its data pointer is NULL. It stands for "look at
 * calls and stop".
 */
#include "iothread.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "../common/error.h"
#include "../common/lock.h"
#include "../common/util.h"

#define BATCH 32

typedef struct {
    void (*fn)(gpointer);
    gpointer user;
    gboolean done;
} Call;

struct IoThread {
    GThread   *thread;
    pid_t      tid; /* 0 until it runs; lock */
    int        epoll_fd, wake_fd;
    GMutex     lock;
    GCond      changed;   /* tid, current and Call.done */
    GQueue     calls;     /* of Call, owned by the waiting caller; lock */
    IoWatch   *current;   /* whose callback runs; atomic */
    GPtrArray *graveyard; /* of IoWatch; lock */
    gboolean   buried;    /* something is in it; atomic */
    guint      n_watches; /* lock */
    gboolean   stop;      /* lock */
    IoLater   *laters;    /* the thread's; few */
};

struct IoWatch {
    IoThread *thread;
    int       fd;
    gboolean  dead; /* atomic; set under thread->lock */
    void (*cb)(gpointer);
    gpointer user;
};

/* ---- the thread ---- */

static void watch_run(IoThread *t, IoWatch *w)
{
    __atomic_store_n(&t->current, w, __ATOMIC_SEQ_CST);
    if (!__atomic_load_n(&w->dead, __ATOMIC_SEQ_CST))
        w->cb(w->user);
    __atomic_store_n(&t->current, NULL, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&w->dead, __ATOMIC_SEQ_CST)) {
        LOCK_SCOPE(&t->lock);
        g_cond_broadcast(&t->changed);
    }
}

/* Runs what iothread_call() left; TRUE when the thread is to end. */
static gboolean calls_run(IoThread *t)
{
    gboolean stop;
    Call *call;

    g_mutex_lock(&t->lock);
    while ((call = g_queue_pop_head(&t->calls))) {
        g_mutex_unlock(&t->lock);
        call->fn(call->user);
        g_mutex_lock(&t->lock);
        call->done = TRUE;
        g_cond_broadcast(&t->changed);
    }
    stop = t->stop;
    g_mutex_unlock(&t->lock);
    return stop;
}

static void graveyard_empty(IoThread *t)
{
    LOCK_SCOPE(&t->lock);
    g_ptr_array_set_size(t->graveyard, 0);
    __atomic_store_n(&t->buried, FALSE, __ATOMIC_RELAXED);
}

static gint64 now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * G_GINT64_CONSTANT(1000000000) + ts.tv_nsec;
}

void iothread_later(IoThread *t, IoLater *l, gint64 ns)
{
    g_assert(!l->due);
    l->due = now_ns() + ns;
    l->next = t->laters;
    t->laters = l;
}

void iothread_not_later(IoThread *t, IoLater *l)
{
    IoLater **p = &t->laters;

    if (!l->due)
        return;
    while (*p != l)
        p = &(*p)->next;
    *p = l->next;
    l->due = 0;
}

static void laters_run(IoThread *t)
{
    gint64 now = now_ns();
    IoLater *l = t->laters, *next;

    for (; l; l = next) {
        next = l->next;
        if (l->due > now)
            continue;
        iothread_not_later(t, l);
        l->fn(l->user);
        next = t->laters; /* it may have changed anything */
    }
}

static int sleep_for_events(IoThread *t, struct epoll_event *events)
{
    gint64 first = G_MAXINT64, left;
    struct timespec ts;

    if (!t->laters)
        return epoll_wait(t->epoll_fd, events, BATCH, -1);
    for (const IoLater *l = t->laters; l; l = l->next)
        first = MIN(first, l->due);
    left = MAX(first - now_ns(), 0);
    ts = (struct timespec){ .tv_sec = left / 1000000000, .tv_nsec = left % 1000000000 };
    return epoll_pwait2(t->epoll_fd, events, BATCH, &ts, NULL);
}

static gpointer iothread_main(gpointer user)
{
    IoThread *t = user;
    struct epoll_event events[BATCH];
    gboolean stop = FALSE;

    g_mutex_lock(&t->lock);
    t->tid = gettid();
    g_cond_broadcast(&t->changed);
    g_mutex_unlock(&t->lock);
    while (!stop) {
        int n = sleep_for_events(t, events);

        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr)
                watch_run(t, events[i].data.ptr);
            else
                stop = calls_run(t);
        }
        if (t->laters)
            laters_run(t);
        if (__atomic_load_n(&t->buried, __ATOMIC_ACQUIRE))
            graveyard_empty(t);
    }
    return NULL;
}

/* ---- life cycle ---- */

static void wake(IoThread *t)
{
    guint64 one = 1;

    while (write(t->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static void iothread_release(IoThread *t)
{
    auto_fd_close(t->epoll_fd);
    auto_fd_close(t->wake_fd);
    g_ptr_array_unref(t->graveyard);
    g_cond_clear(&t->changed);
    g_mutex_clear(&t->lock);
    g_free(t);
}

static gboolean iothread_open(IoThread *t, const char *name, GError **error)
{
    struct epoll_event ev = { .events = EPOLLIN | EPOLLET };

    t->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    t->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (t->epoll_fd < 0 || t->wake_fd < 0 ||
        epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, t->wake_fd, &ev) < 0)
        return error_set_errno(error, errno, "I/O thread '%s': no epoll instance", name);
    return TRUE;
}

IoThread *iothread_new(const char *name, GError **error)
{
    IoThread *t = g_new0(IoThread, 1);

    g_mutex_init(&t->lock);
    g_cond_init(&t->changed);
    g_queue_init(&t->calls);
    t->graveyard = g_ptr_array_new_with_free_func(g_free);
    t->epoll_fd = t->wake_fd = -1;
    if (!iothread_open(t, name, error) ||
        !(t->thread = g_thread_try_new(name, iothread_main, t, error))) {
        iothread_release(t);
        return NULL;
    }
    g_mutex_lock(&t->lock);
    while (t->tid == 0)
        g_cond_wait(&t->changed, &t->lock);
    g_mutex_unlock(&t->lock);
    return t;
}

void iothread_free(IoThread *t)
{
    if (!t)
        return;
    g_assert(g_thread_self() != t->thread);
    g_mutex_lock(&t->lock);
    g_assert(t->n_watches == 0 && !t->laters);
    t->stop = TRUE;
    g_mutex_unlock(&t->lock);
    wake(t);
    g_thread_join(t->thread);
    iothread_release(t);
}

pid_t iothread_id(const IoThread *t)
{
    return t->tid; /* does not change after iothread_new() */
}

/* ---- watches and calls ---- */

IoWatch *iothread_watch(IoThread *t, int fd, gboolean is_eventfd, void (*cb)(gpointer),
                        gpointer user, GError **error)
{
    IoWatch *w = g_new0(IoWatch, 1);
    struct epoll_event ev = { .events = is_eventfd ? EPOLLIN | EPOLLET : EPOLLIN, .data.ptr = w };

    w->thread = t;
    w->fd = fd;
    w->cb = cb;
    w->user = user;
    /* Under the lock: CB may run, and take the watch away, before we are back. */
    g_mutex_lock(&t->lock);
    t->n_watches++;
    if (epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
        error_set_errno(error, errno, "File descriptor %d can not be watched", fd);
        t->n_watches--;
        g_clear_pointer(&w, g_free);
    }
    g_mutex_unlock(&t->lock);
    return w;
}

void iothread_unwatch(IoWatch *w)
{
    IoThread *t = w->thread;

    g_mutex_lock(&t->lock);
    g_assert(!w->dead);
    __atomic_store_n(&w->dead, TRUE, __ATOMIC_SEQ_CST);
    t->n_watches--;
    epoll_ctl(t->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
    while (__atomic_load_n(&t->current, __ATOMIC_SEQ_CST) == w && g_thread_self() != t->thread)
        g_cond_wait(&t->changed, &t->lock);
    g_ptr_array_add(t->graveyard, w);
    __atomic_store_n(&t->buried, TRUE, __ATOMIC_RELEASE);
    g_mutex_unlock(&t->lock);
}

void iothread_call(IoThread *t, void (*fn)(gpointer), gpointer user)
{
    Call call = { .fn = fn, .user = user };

    g_assert(g_thread_self() != t->thread);
    g_mutex_lock(&t->lock);
    g_queue_push_tail(&t->calls, &call);
    g_mutex_unlock(&t->lock);
    wake(t);
    g_mutex_lock(&t->lock);
    while (!call.done)
        g_cond_wait(&t->changed, &t->lock);
    g_mutex_unlock(&t->lock);
}

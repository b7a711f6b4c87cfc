/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rng.c - sources of random bytes for guests: `rng-builtin` is the host kernel's generator, `rng-random` a file.
 *
 * The kernel's generator is reached by getrandom(2), which needs no descriptor and, once the host is up, neither blocks nor runs
 * dry: since Linux 5.18 /dev/random and /dev/urandom are the same. So a `filename` of these two is the builtin.
 *
 * Any other file (/dev/hwrng, a pipe from a daemon) may take its time: a thread reads it, when there is a guest that waits and no
 * more than that guest asked for, into a small pool. What is in the pool is handed out on the main thread, which therefore sees it grow
 * only. The file is open without blocking, and the thread waits in poll(), so that it can be told to stop; files that poll() says are
 * ready and are not (hwrng), at their end (they may grow) or broken are looked at again after a while.
 */
#include "rng.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../common/lock.h"
#include "../../common/util.h"
#include "../../schema/generated/devices.h"

#define POOL 4096
enum { NOT_READY_MS = 10, AT_END_MS = 100, BROKEN_MS = 1000 };

typedef struct {
    void (*fn)(gpointer user);
    gpointer user;
} Waiter;

typedef struct {
    Device   dev;
    int      fd, stop_fd; /* of a file; -1: the kernel's generator */
    GThread *thread;
    GArray  *waiters;     /* Waiter; main thread */
    GMutex   lock;        /* of what follows */
    GCond    wanted_cond;
    gboolean stop;
    gsize    wanted, n;   /* bytes to be read; in the pool */
    guint8   pool[POOL];
} RngSource;

/* ---- the reader's thread ---- */

/* FALSE: it is time to stop. */
static gboolean wait_for(const RngSource *s, int fd, int timeout_ms)
{
    struct pollfd fds[2] = { { .fd = s->stop_fd, .events = POLLIN }, { .fd = fd, .events = POLLIN } };

    while (poll(fds, 2, timeout_ms) < 0)
        g_assert(errno == EINTR);
    return fds[0].revents == 0;
}

/* 0: it is time to stop. */
static gsize read_some(const RngSource *s, guint8 *buf, gsize len)
{
    gboolean said = FALSE;

    while (wait_for(s, s->fd, -1)) {
        gssize n = read(s->fd, buf, len);

        if (n > 0)
            return (gsize)n;
        gboolean again = n < 0 && (errno == EAGAIN || errno == EINTR);
        if (!again && !said)
            g_warning("object '%s': no random bytes: %s", s->dev.id, n < 0 ? g_strerror(errno) : "the file has come to its end");
        said = said || !again;
        if (!wait_for(s, -1, again ? NOT_READY_MS : n == 0 ? AT_END_MS : BROKEN_MS))
            break;
    }
    return 0;
}

static void filled(gpointer source)
{
    RngSource *s = source;
    GArray *waiters = g_steal_pointer(&s->waiters);

    s->waiters = g_array_new(FALSE, FALSE, sizeof(Waiter));
    for (guint i = 0; i < waiters->len; i++) {
        const Waiter *w = &g_array_index(waiters, Waiter, i);
        w->fn(w->user);
    }
    g_array_unref(waiters);
}

/* Bytes to be read, when there are some. 0: it is time to stop. */
static gsize next_read(RngSource *s)
{
    LOCK_SCOPE(&s->lock);
    while (!s->stop && s->wanted == 0)
        g_cond_wait(&s->wanted_cond, &s->lock);
    return s->stop ? 0 : s->wanted;
}

static gpointer reader(gpointer source)
{
    RngSource *s = source;
    guint8 buf[POOL];
    gsize len;

    while ((len = next_read(s)) > 0 && (len = read_some(s, buf, len)) > 0) {
        LOCK_SCOPE(&s->lock);
        memcpy(s->pool, buf, len); /* it was empty when they were asked for */
        s->n = len;
        s->wanted = 0;
        vm_post(device_set_vm(s->dev.set), filled, s);
    }
    return NULL;
}

/* ---- for devices ---- */

static void fill_from_kernel(guint8 *at, gsize len)
{
    while (len > 0) {
        gssize n = getrandom(at, len, 0);

        g_assert(n > 0 || errno == EINTR);
        if (n > 0) {
            at += n;
            len -= (gsize)n;
        }
    }
}

static RngSource *file_of(Device *source)
{
    RngSource *s = (RngSource *)source;

    return s && s->fd >= 0 ? s : NULL;
}

gsize rng_ready(Device *source, gsize len)
{
    RngSource *s = file_of(source);

    if (!s)
        return len;
    LOCK_SCOPE(&s->lock);
    if (s->n == 0 && s->wanted == 0) {
        s->wanted = MIN(len, POOL);
        g_cond_signal(&s->wanted_cond);
    }
    return MIN(s->n, len);
}

void rng_fill(Device *source, void *buf, gsize len)
{
    RngSource *s = file_of(source);

    if (!s) {
        fill_from_kernel(buf, len);
        return;
    }
    LOCK_SCOPE(&s->lock);
    g_assert(len <= s->n);
    memcpy(buf, s->pool, len);
    s->n -= len;
    memmove(s->pool, s->pool + len, s->n);
    explicit_bzero(s->pool + s->n, len); /* nobody else's */
}

void rng_wait(Device *source, void (*fn)(gpointer user), gpointer user)
{
    RngSource *s = file_of(source);

    rng_wait_cancel(source, user);
    if (s)
        g_array_append_vals(s->waiters, &(Waiter){ fn, user }, 1);
}

void rng_wait_cancel(Device *source, gpointer user)
{
    RngSource *s = file_of(source);

    for (guint i = s ? s->waiters->len : 0; i > 0; i--) {
        if (g_array_index(s->waiters, Waiter, i - 1).user == user)
            g_array_remove_index(s->waiters, i - 1);
    }
}

/* ---- the objects ---- */

static gboolean builtin_realize(Device *dev, GError **error)
{
    ((RngSource *)dev)->fd = -1;
    return TRUE;
}

static gboolean open_file(RngSource *s, const char *name, GError **error)
{
    struct stat st;

    s->fd = open(name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (s->fd < 0 || fstat(s->fd, &st) < 0)
        return error_set(error, "Property 'filename' of object '%s': can not open '%s': %s", s->dev.id, name, g_strerror(errno));
    return !S_ISDIR(st.st_mode) || error_set(error, "Property 'filename' of object '%s': '%s' is a folder", s->dev.id, name);
}

static gboolean random_realize(Device *dev, GError **error)
{
    RngSource *s = (RngSource *)dev;
    const char *name = DEVICE_CONFIG(dev, RngRandomConfig)->filename;

    s->fd = s->stop_fd = -1;
    if (strcmp(name, "/dev/urandom") == 0 || strcmp(name, "/dev/random") == 0)
        return TRUE;
    g_mutex_init(&s->lock);
    g_cond_init(&s->wanted_cond);
    s->waiters = g_array_new(FALSE, FALSE, sizeof(Waiter));
    if (!open_file(s, name, error))
        return FALSE;
    s->stop_fd = eventfd(0, EFD_CLOEXEC);
    s->thread = s->stop_fd < 0 ? NULL : g_thread_try_new("rng", reader, s, NULL);
    return s->thread || error_set(error, "Object '%s': there is no descriptor or no thread left to read '%s'", dev->id, name);
}

static void random_unrealize(Device *dev)
{
    RngSource *s = (RngSource *)dev;

    if (!s->waiters)
        return;
    if (s->thread) {
        g_mutex_lock(&s->lock);
        s->stop = TRUE;
        g_cond_signal(&s->wanted_cond);
        g_mutex_unlock(&s->lock);
        eventfd_write(s->stop_fd, 1);
        g_thread_join(s->thread);
        vm_post_cancel(device_set_vm(dev->set), filled, s);
    }
    auto_fd_close(s->fd);
    auto_fd_close(s->stop_fd);
    g_clear_pointer(&s->waiters, g_array_unref);
    explicit_bzero(s->pool, sizeof s->pool);
    g_mutex_clear(&s->lock);
    g_cond_clear(&s->wanted_cond);
}

static const DeviceOps builtin_ops = { .realize = builtin_realize };
static const DeviceOps random_ops = { .realize = random_realize, .unrealize = random_unrealize };

const DeviceType rng_builtin_type = { "rng-builtin", sizeof(RngSource), &builtin_ops, state_none };
const DeviceType rng_random_type = { "rng-random", sizeof(RngSource), &random_ops, state_none };

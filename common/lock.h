/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lock.h - GMutex by scope, visible to ThreadSanitizer.
 *
 * glib's mutexes are futexes inside an uninstrumented library: ThreadSanitizer sees neither the lock nor the order that it makes, and
 * reports races that are none. These wrappers tell it; in an ordinary build they are g_mutex_lock() and
 * g_mutex_unlock() and nothing else.
 */
#pragma once

#include <glib.h>

#if defined(__SANITIZE_THREAD__)
#define LOCK_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define LOCK_TSAN 1
#endif
#endif

#ifdef LOCK_TSAN
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
#define LOCK_ACQUIRED(m) __tsan_acquire(m)
#define LOCK_RELEASING(m) __tsan_release(m)
#else
#define LOCK_ACQUIRED(m) ((void)0)
#define LOCK_RELEASING(m) ((void)0)
#endif

static inline void lock_take(GMutex *m)
{
    g_mutex_lock(m);
    LOCK_ACQUIRED(m);
}

static inline void lock_drop(GMutex *m)
{
    LOCK_RELEASING(m);
    g_mutex_unlock(m);
}

static inline void lock_wait(GCond *cond, GMutex *m)
{
    LOCK_RELEASING(m);
    g_cond_wait(cond, m);
    LOCK_ACQUIRED(m);
}

static inline GMutex *lock_scope_enter(GMutex *m)
{
    if (m)
        lock_take(m);
    return m;
}

static inline void lock_scope_leave(GMutex **m)
{
    if (*m)
        lock_drop(*m);
}

/* Holds MUTEX (NULL: nothing) until the end of the enclosing scope. */
#define LOCK_SCOPE(mutex)                                                                             \
    __attribute__((cleanup(lock_scope_leave), unused)) GMutex *G_PASTE(lock_scope_, __LINE__) = \
        lock_scope_enter(mutex)

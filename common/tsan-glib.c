/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tsan-glib.c - lets ThreadSanitizer see glib's locks.
 *
 * The distribution's glib is not instrumented and its GMutex and GCond are made of futexes, so TSan
 * knows nothing of the order that they make, and reports every field they guard. Linked into a TSan
 * program (or preloaded), these definitions come before glib's, call them, and tell TSan. In other
 * builds the file is empty.
 */
#include <glib.h>

#ifdef __has_feature
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif

#ifdef __SANITIZE_THREAD__

#include <dlfcn.h>

void __tsan_acquire(void *addr);
void __tsan_release(void *addr);

#define REAL(name) ((__typeof__(&name))real_function(#name))

static void *real_function(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

void (g_mutex_lock)(GMutex *mutex)
{
    REAL(g_mutex_lock)(mutex);
    __tsan_acquire(mutex);
}

gboolean (g_mutex_trylock)(GMutex *mutex)
{
    gboolean got = REAL(g_mutex_trylock)(mutex);

    if (got)
        __tsan_acquire(mutex);
    return got;
}

void (g_mutex_unlock)(GMutex *mutex)
{
    __tsan_release(mutex);
    REAL(g_mutex_unlock)(mutex);
}

void (g_cond_wait)(GCond *cond, GMutex *mutex)
{
    __tsan_release(mutex);
    REAL(g_cond_wait)(cond, mutex);
    __tsan_acquire(mutex);
}

gboolean (g_cond_wait_until)(GCond *cond, GMutex *mutex, gint64 end_time)
{
    gboolean signalled;

    __tsan_release(mutex);
    signalled = REAL(g_cond_wait_until)(cond, mutex, end_time);
    __tsan_acquire(mutex);
    return signalled;
}

#endif

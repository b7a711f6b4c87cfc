/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lock.h - GMutex by scope: LOCK_SCOPE (&dev->lock) holds it to the end of the enclosing block. */
#pragma once

#include <glib.h>

static inline GMutex *lock_scope_enter(GMutex *m)
{
    if (m)
        g_mutex_lock(m);
    return m;
}

static inline void lock_scope_leave(GMutex **m)
{
    if (*m)
        g_mutex_unlock(*m);
}

/* Holds MUTEX (NULL: nothing) until the end of the enclosing scope. */
#define LOCK_SCOPE(mutex)                                                                         \
    __attribute__((cleanup(lock_scope_leave), unused)) GMutex *G_PASTE(lock_scope_, __LINE__) = \
        lock_scope_enter(mutex)

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * iothread.h - a thread with its own epoll loop for device data paths: ioeventfd in, irqfd out, no GMainContext.
 * Handlers of one IoThread never run concurrently with each other.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

typedef struct IoThread IoThread;
typedef struct IoWatch IoWatch;

IoThread *iothread_new(const char *name, GError **error);
void      iothread_free(IoThread *t); /* stops and joins; all watches must be gone */
pid_t     iothread_id(const IoThread *t);

/* Calls CB on T whenever FD is readable. IS_EVENTFD, also for a timerfd that runs out once: after each write to it, and at the beginning
 * if it was ever written to; it is never read. Any thread. */
IoWatch  *iothread_watch(IoThread *t, int fd, gboolean is_eventfd, void (*cb)(gpointer), gpointer user, GError **error);
/* Returns when CB does not run and will not run again. Not from T itself, unless from within that CB. */
void      iothread_unwatch(IoWatch *w);
/* Runs FN on T and waits for it. Not from T. */
void      iothread_call(IoThread *t, void (*fn)(gpointer), gpointer user);

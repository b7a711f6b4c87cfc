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

/* Something that T is to do in a while, unless it is called off before: for what mostly is. On T itself, all of it. FN and USER are the
 * caller's, the rest is private; zero it first. */
typedef struct IoLater {
    void (*fn)(gpointer user);
    gpointer        user;
    gint64          due; /* CLOCK_MONOTONIC, ns; 0: not asked for */
    struct IoLater *next;
} IoLater;
/* At the earliest NS nanoseconds from now, and soon after. Not asked for yet. */
void      iothread_later(IoThread *t, IoLater *l, gint64 ns);
void      iothread_not_later(IoThread *t, IoLater *l);

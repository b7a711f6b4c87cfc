/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* net-host.h - the host's end: a network of the test's own with a loopback interface, and sockets on it. */
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>

#include "../../common/util.h"

/* Before any thread is started. With a network of its own no port is anybody else's; FALSE: not allowed here. */
static inline gboolean host_isolate(void)
{
    struct ifreq req = { .ifr_flags = IFF_UP, .ifr_name = "lo" };
    g_auto(AutoFd) fd = -1;

    if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return FALSE;
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &req) == 0;
}

static inline struct sockaddr_in host_addr(guint16 port)
{
    return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

/* A bound socket (a listening one for TCP); *PORT 0: any, filled in. */
static inline int host_bind(int type, guint16 *port)
{
    struct sockaddr_in addr = host_addr(*port);
    socklen_t len = sizeof addr;
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), one = 1;

    g_assert_cmpint(fd, >=, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, len), ==, 0);
    if (type == SOCK_STREAM)
        g_assert_cmpint(listen(fd, 1024), ==, 0);
    g_assert_cmpint(getsockname(fd, (struct sockaddr *)&addr, &len), ==, 0);
    *port = ntohs(addr.sin_port);
    return fd;
}

/* A port that nobody uses now. */
static inline guint16 host_free_port(int type)
{
    guint16 port = 0;
    int fd = host_bind(type, &port);

    close(fd);
    return port;
}

static inline int host_connect(int type, guint16 port)
{
    struct sockaddr_in addr = host_addr(port);
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(connect(fd, (struct sockaddr *)&addr, sizeof addr), ==, 0);
    return fd;
}

static inline gboolean host_readable(int fd, int ms)
{
    struct pollfd p = { fd, POLLIN, 0 };

    return poll(&p, 1, ms) == 1;
}

/* Exactly LEN bytes, or fewer at the end of the stream; waits at most 10 s for each. */
static inline gsize host_read(int fd, void *buf, gsize len)
{
    gsize got = 0;

    while (got < len) {
        g_assert_true(host_readable(fd, 10000));
        gssize n = read(fd, (guint8 *)buf + got, len - got);
        if (n <= 0)
            break;
        got += (gsize)n;
    }
    return got;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * netload.c - both ends of the network figures and tests: the host's peer and, as a static program in the guest, its partner.
 *
 *   netload serve ADDR PORT                 for ever: echo on PORT; a sink and a source of TCP on +1 and +2, of datagrams on +3 and +4
 *   netload send ADDR PORT MIB              that many MiB into the sink
 *   netload recv ADDR PORT MIB              and out of the source
 *   netload usend ADDR PORT N SIZE          N datagrams of SIZE bytes, the other end acknowledges what came
 *   netload urecv ADDR PORT N SIZE          the other way round
 *   netload flows ADDR PORT N BYTES         N connections at the same time; each gets its own BYTES back, or this fails
 *   netload datagrams ADDR PORT N           N datagrams of all sizes, one at a time; each comes back as it was, or this fails
 *
 * Clients print one line: bytes or packets, seconds. A stream of datagrams has a window, or most of them would be thrown away by
 * the first full queue and nothing would be measured: the sender is at most WINDOW ahead of what the receiver has told, each
 * datagram carries its number, and who hears nothing for a while goes on.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { WINDOW = 256, ACK_EVERY = 64, BATCH = 32, LOST_MS = 100, CHUNK = 1 << 18, DATAGRAM = 65507, PATIENCE_MS = 60000 };
enum { USEND_PORT = 3, URECV_PORT = 4 };

static void die(const char *what)
{
    fprintf(stderr, "netload: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static struct sockaddr_in address(const char *addr, int port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };

    if (inet_pton(AF_INET, addr, &a.sin_addr) != 1)
        die(addr);
    return a;
}

static int opened(const char *addr, int port, int type, int server)
{
    struct sockaddr_in a = address(addr, port);
    int fd = socket(AF_INET, type, 0), one = 1, big = 4 << 20;

    if (fd < 0)
        die("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (type == SOCK_STREAM) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    } else {
        setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &big, sizeof big);
        setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &big, sizeof big);
    }
    if (server ? bind(fd, (struct sockaddr *)&a, sizeof a) : connect(fd, (struct sockaddr *)&a, sizeof a))
        die(addr);
    if (server && type == SOCK_STREAM && listen(fd, 4096))
        die("listen");
    return fd;
}

/* ---- streams of TCP ---- */

static void push(int fd, uint64_t bytes)
{
    static char zeroes[CHUNK];

    while (bytes) {
        ssize_t n = write(fd, zeroes, bytes < CHUNK ? bytes : CHUNK);
        if (n <= 0)
            return;
        bytes -= (uint64_t)n;
    }
}

static uint64_t pull(int fd, uint64_t bytes)
{
    char *buf = malloc(CHUNK);
    uint64_t got = 0;

    while (got < bytes) {
        ssize_t n = read(fd, buf, bytes - got < CHUNK ? bytes - got : CHUNK);
        if (n <= 0)
            break;
        got += (uint64_t)n;
    }
    free(buf);
    return got;
}

static void tcp_stream(const char *addr, int port, uint64_t bytes, int sending)
{
    int fd = opened(addr, port + (sending ? 1 : 2), SOCK_STREAM, 0);
    double began = now();
    uint64_t done = bytes;

    if (sending) {
        push(fd, bytes);
        shutdown(fd, SHUT_WR);
        pull(fd, 1); /* the sink has it all */
    } else {
        done = pull(fd, bytes);
    }
    close(fd);
    printf("%llu %.6f\n", (unsigned long long)done, now() - began);
    if (done != bytes)
        die("the stream ended early");
}

/* ---- streams of datagrams ---- */

/* To an FD that is connected. */
static void udp_push(int fd, uint32_t n, size_t size)
{
    static char buf[BATCH][DATAGRAM];
    struct iovec iov[BATCH];
    struct mmsghdr msgs[BATCH] = { 0 };
    uint32_t sent = 0, known = 0;

    for (int i = 0; i < BATCH; i++) {
        iov[i] = (struct iovec){ buf[i], size };
        msgs[i].msg_hdr = (struct msghdr){ .msg_iov = &iov[i], .msg_iovlen = 1 };
    }
    while (known < n) {
        uint32_t ack = 0, m = 0;
        struct pollfd p = { fd, POLLIN, 0 };

        for (; m < BATCH && sent + m < n && sent + m - known < WINDOW; m++)
            memcpy(buf[m], &(uint32_t){ sent + m + 1 }, 4);
        if (m) {
            int done = sendmmsg(fd, msgs, m, 0);
            sent += done > 0 ? (uint32_t)done : 0;
        }
        if (sent < n && sent - known < WINDOW && recv(fd, &ack, 4, MSG_DONTWAIT) < 0)
            continue;
        if (!ack && poll(&p, 1, LOST_MS) > 0)
            recv(fd, &ack, 4, 0);
        if (ack > known)
            known = ack;
        else if (!ack)
            known = sent = sent < n ? sent : n - 1; /* lost: on with it, and the last one again */
    }
}

static uint32_t udp_pull(int fd, uint32_t n)
{
    static char buf[BATCH][2048];
    struct iovec iov[BATCH];
    struct mmsghdr msgs[BATCH] = { 0 };
    uint32_t got = 0, last = 0, told = 0;

    for (int i = 0; i < BATCH; i++) {
        iov[i] = (struct iovec){ buf[i], sizeof buf[i] };
        msgs[i].msg_hdr = (struct msghdr){ .msg_iov = &iov[i], .msg_iovlen = 1 };
    }
    while (last < n) {
        int m = recvmmsg(fd, msgs, BATCH, MSG_WAITFORONE, NULL);
        for (int i = 0; i < m; i++) {
            uint32_t number;
            memcpy(&number, buf[i], 4);
            got++;
            last = number > last ? number : last;
        }
        if (m < 0 && errno != ECONNREFUSED && errno != EINTR)
            break;
        if (last - told >= ACK_EVERY || last == n) {
            send(fd, &last, 4, 0);
            told = last;
        }
    }
    return got;
}

/* The request is number and size of the datagrams; a byte says that the other end is ready for them. */
static void udp_stream(const char *addr, int port, uint32_t n, uint32_t size, int sending)
{
    int fd = opened(addr, port + (sending ? USEND_PORT : URECV_PORT), SOCK_DGRAM, 0);
    uint32_t request[2] = { n, size }, got = n;
    double began = now();

    if (send(fd, request, sizeof request, 0) < 0 || (sending && recv(fd, request, 4, 0) < 0))
        die("the request");
    if (sending)
        udp_push(fd, n, size);
    else
        got = udp_pull(fd, n);
    printf("%u %.6f\n", got, now() - began);
}

/* ---- the server ---- */

typedef struct {
    const char *addr;
    int         port, gives; /* an end that sends */
} Where;

static pthread_barrier_t listening;

static void *tcp_echo(void *user)
{
    const Where *w = user;
    int ep = epoll_create1(0), listener = opened(w->addr, w->port, SOCK_STREAM, 1);
    struct epoll_event ev = { .events = EPOLLIN, .data.fd = listener }, events[64];
    static char buf[1 << 16];

    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &ev);
    pthread_barrier_wait(&listening);
    for (;;) {
        int n = epoll_wait(ep, events, 64, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd, one = 1;
            ssize_t got;
            if (fd == listener) {
                ev.data.fd = accept(listener, NULL, NULL);
                setsockopt(ev.data.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                epoll_ctl(ep, EPOLL_CTL_ADD, ev.data.fd, &ev);
            } else if ((got = read(fd, buf, sizeof buf)) <= 0) {
                close(fd);
            } else {
                for (ssize_t at = 0, put; at < got && (put = write(fd, buf + at, (size_t)(got - at))) > 0;)
                    at += put;
            }
        }
    }
    return NULL;
}

static void *udp_echo(void *user)
{
    const Where *w = user;
    int fd = opened(w->addr, w->port, SOCK_DGRAM, 1);
    static char buf[1 << 16];

    pthread_barrier_wait(&listening);
    for (;;) {
        struct sockaddr_in from;
        socklen_t len = sizeof from;
        ssize_t n = recvfrom(fd, buf, sizeof buf, 0, (struct sockaddr *)&from, &len);
        if (n >= 0)
            sendto(fd, buf, (size_t)n, 0, (struct sockaddr *)&from, len);
    }
    return NULL;
}

static void *tcp_end(void *user)
{
    const Where *w = user;
    int listener = opened(w->addr, w->port, SOCK_STREAM, 1);

    pthread_barrier_wait(&listening);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (w->gives)
            push(fd, UINT64_MAX);
        else
            pull(fd, UINT64_MAX);
        close(fd);
    }
    return NULL;
}

static void *udp_end(void *user)
{
    const Where *w = user;
    int told = 0;

    for (;;) {
        int fd = opened(w->addr, w->port, SOCK_DGRAM, 1);
        if (!told++)
            pthread_barrier_wait(&listening);
        uint32_t request[2] = { 0, 0 };
        struct sockaddr_in from;
        socklen_t len = sizeof from;
        struct timeval patience = { 2, 0 };
        recvfrom(fd, request, sizeof request, 0, (struct sockaddr *)&from, &len);
        if (connect(fd, (struct sockaddr *)&from, len) == 0) {
            setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
            if (w->gives) {
                udp_push(fd, request[0], request[1]);
            } else {
                send(fd, "", 1, 0);
                udp_pull(fd, request[0]);
            }
        }
        close(fd);
    }
    return NULL;
}

static void serve(const char *addr, int port)
{
    static void *(*const ends[])(void *) = { tcp_echo, tcp_end, tcp_end, udp_end, udp_end, udp_echo };
    static Where where[6];
    pthread_t thread;

    pthread_barrier_init(&listening, NULL, 7);
    for (int i = 0; i < 6; i++) {
        where[i] = (Where){ addr, i == 5 ? port : port + i, i == 2 || i == URECV_PORT };
        pthread_create(&thread, NULL, ends[i], &where[i]);
    }
    pthread_barrier_wait(&listening);
    puts("ready");
    fflush(stdout);
    pause();
}

/* ---- many at once, and all sizes ---- */

/* Byte AT of what flow I sends: no two flows send the same, and no two parts of one. */
static uint8_t pattern(uint32_t i, uint32_t at)
{
    uint32_t x = i * 2654435761u + at / 4 * 40503u;

    x ^= x >> 15;
    x *= 2246822519u;
    return (uint8_t)(x >> (8 * (at % 4)));
}

typedef struct {
    uint32_t sent, got;
} Flow;

static void wait_all_open(struct pollfd *p, int n)
{
    for (int i = 0; i < n; i++) {
        int err = 0;
        socklen_t len = sizeof err;

        if (poll(&p[i], 1, PATIENCE_MS) <= 0 || getsockopt(p[i].fd, SOL_SOCKET, SO_ERROR, &err, &len) || err) {
            fprintf(stderr, "netload: connection %d of %d: %s\n", i, n, strerror(err));
            exit(1);
        }
    }
}

/* One step of flow I; whether it is over. */
static int flow_step(uint32_t i, struct pollfd *p, Flow *f, uint32_t bytes)
{
    uint8_t buf[16384];
    uint32_t n = bytes - f->sent < sizeof buf ? bytes - f->sent : sizeof buf;
    ssize_t m;

    if ((p->revents & POLLOUT) && n) {
        for (uint32_t k = 0; k < n; k++)
            buf[k] = pattern(i, f->sent + k);
        m = write(p->fd, buf, n);
        f->sent += m > 0 ? (uint32_t)m : 0;
    }
    if (p->revents & (POLLIN | POLLHUP | POLLERR)) {
        m = read(p->fd, buf, sizeof buf);
        if (m == 0 || (m < 0 && errno != EAGAIN))
            die("a connection ended early");
        for (ssize_t k = 0; k < m; k++) {
            if (buf[k] != pattern(i, f->got++)) {
                fprintf(stderr, "netload: flow %u: byte %u is wrong\n", i, f->got - 1);
                exit(1);
            }
        }
    }
    p->events = f->sent < bytes ? POLLIN | POLLOUT : POLLIN;
    return f->got == bytes;
}

static void flows(const char *addr, int port, int n, uint32_t bytes)
{
    struct sockaddr_in a = address(addr, port);
    struct pollfd *p = calloc((size_t)n, sizeof *p);
    Flow *f = calloc((size_t)n, sizeof *f);
    double began = now();

    for (int i = 0; i < n; i++) {
        p[i] = (struct pollfd){ socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), POLLOUT, 0 };
        if (p[i].fd < 0 || (connect(p[i].fd, (struct sockaddr *)&a, sizeof a) && errno != EINPROGRESS))
            die("connect");
    }
    wait_all_open(p, n);
    for (int over = 0; over < n;) {
        if (poll(p, (nfds_t)n, PATIENCE_MS) <= 0)
            die("the connections stand still");
        for (int i = 0; i < n; i++) {
            if (p[i].revents && flow_step((uint32_t)i, &p[i], &f[i], bytes)) {
                p[i].fd = ~p[i].fd; /* poll() passes it over; open until the last is done */
                over++;
            }
        }
    }
    printf("%llu %.6f\n", (unsigned long long)n * bytes, now() - began);
}

static void datagrams(const char *addr, int port, uint32_t n)
{
    int fd = opened(addr, port, SOCK_DGRAM, 0), wrong = 0;
    struct pollfd p = { fd, POLLIN, 0 };
    static uint8_t out[1473], in[1474];
    double began = now();

    for (uint32_t i = 0; i < n; i++) {
        uint32_t size = i * 389 % 1473; /* what fits a frame: 389 and 1473 have no common divisor */
        ssize_t got = -1;
        for (uint32_t k = 0; k < size; k++)
            out[k] = pattern(i, k);
        for (int again = 0; again < 5 && got < 0; again++) {
            send(fd, out, size, 0);
            if (poll(&p, 1, 5000) > 0)
                got = recv(fd, in, sizeof in, 0);
        }
        wrong += got != (ssize_t)size || memcmp(in, out, size);
    }
    printf("%u %.6f\n", n, now() - began);
    if (wrong) {
        fprintf(stderr, "netload: %d of %u datagrams came back wrong or not at all\n", wrong, n);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    struct rlimit files = { 8192, 8192 };
    const char *what = argc > 1 ? argv[1] : "", *addr = argc > 2 ? argv[2] : "";
    int port = argc > 3 ? atoi(argv[3]) : 0;
    uint32_t a = argc > 4 ? (uint32_t)atoi(argv[4]) : 0, b = argc > 5 ? (uint32_t)atoi(argv[5]) : 0;

    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN);
    if (!strcmp(what, "serve"))
        serve(addr, port);
    else if (!strcmp(what, "send") || !strcmp(what, "recv"))
        tcp_stream(addr, port, (uint64_t)a << 20, what[0] == 's');
    else if ((!strcmp(what, "usend") || !strcmp(what, "urecv")) && b >= 4 && b <= 2048)
        udp_stream(addr, port, a, b, what[1] == 's');
    else if (!strcmp(what, "flows"))
        flows(addr, port, (int)a, b);
    else if (!strcmp(what, "datagrams"))
        datagrams(addr, port, a);
    else
        return fprintf(stderr, "netload: what is '%s'?\n", what), 2;
    return 0;
}

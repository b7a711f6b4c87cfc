/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * block-pool.c - a few threads per queue for what io_uring does not do, or for all of it.
 *
 * Requests come from the queue's thread and end there: a thread of the pool runs block_sync(), puts
 * the request on `ended` and signals the eventfd that the queue's I/O thread watches. Threads start
 * when a request finds none idle, and stay until the queue goes. If not even one can be started the
 * queue's own thread does the work.
 */
#include "block-priv.h"

#include <errno.h>
#include <sys/eventfd.h>

#define MAX_THREADS 8

struct BlockPool {
    BlockQueue        *q;
    const BlockTarget *target;
    int                fd;
    GMutex             lock;
    GCond              work;
    BlockReq          *todo, **todo_tail; /* lock */
    BlockReq          *ended;             /* lock; latest first: requests are independent */
    guint              n_idle;            /* lock */
    gboolean           stop;              /* lock */
    guint              n_threads;         /* queue's thread */
    GThread           *threads[MAX_THREADS];
};

static void push_ended(BlockPool *p, BlockReq *req)
{
    static const guint64 one = 1;
    gboolean signal = p->ended == NULL;

    req->next = p->ended;
    p->ended = req;
    while (signal && write(p->fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static BlockReq *take_todo(BlockPool *p)
{
    BlockReq *req = p->todo;

    p->todo = req->next;
    if (!p->todo)
        p->todo_tail = &p->todo;
    req->next = NULL;
    return req;
}

static gpointer worker(gpointer user)
{
    BlockPool *p = user;

    g_mutex_lock(&p->lock);
    while (!p->stop) {
        if (!p->todo) {
            p->n_idle++;
            g_cond_wait(&p->work, &p->lock);
            p->n_idle--;
            continue;
        }
        BlockReq *req = take_todo(p);
        g_mutex_unlock(&p->lock);
        req->result = block_sync(p->target, req);
        g_mutex_lock(&p->lock);
        push_ended(p, req);
    }
    g_mutex_unlock(&p->lock);
    return NULL;
}

BlockPool *block_pool_new(BlockQueue *q, const BlockTarget *t, GError **error)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    BlockPool *p;

    if (fd < 0) {
        error_set_errno(error, errno, "Node '%s': no eventfd", t->leaf->dev.id);
        return NULL;
    }
    p = g_new0(BlockPool, 1);
    p->q = q;
    p->target = t;
    p->fd = fd;
    p->todo_tail = &p->todo;
    g_mutex_init(&p->lock);
    g_cond_init(&p->work);
    return p;
}

void block_pool_free(BlockPool *p)
{
    if (!p)
        return;
    g_mutex_lock(&p->lock);
    g_assert(!p->todo && !p->ended);
    p->stop = TRUE;
    g_cond_broadcast(&p->work);
    g_mutex_unlock(&p->lock);
    for (guint i = 0; i < p->n_threads; i++)
        g_thread_join(p->threads[i]);
    close(p->fd);
    g_cond_clear(&p->work);
    g_mutex_clear(&p->lock);
    g_free(p);
}

int block_pool_fd(const BlockPool *p)
{
    return p->fd;
}

/* FALSE: there is no thread at all. */
static gboolean start_thread(BlockPool *p)
{
    GThread *thread = p->n_threads < MAX_THREADS ? g_thread_try_new("block pool", worker, p, NULL) : NULL;

    if (thread)
        p->threads[p->n_threads++] = thread;
    return p->n_threads > 0;
}

void block_pool_submit(BlockPool *p, BlockReq *req)
{
    gboolean busy;

    req->next = NULL;
    {
        LOCK_SCOPE(&p->lock);
        *p->todo_tail = req;
        p->todo_tail = &req->next;
        busy = p->n_idle == 0;
        if (!busy)
            g_cond_signal(&p->work);
    }
    if (!busy || start_thread(p))
        return;
    LOCK_SCOPE(&p->lock);
    req = take_todo(p);
    req->result = block_sync(p->target, req);
    push_ended(p, req);
}

void block_pool_reap(BlockPool *p)
{
    BlockReq *req, *next;

    {
        LOCK_SCOPE(&p->lock);
        req = p->ended;
        p->ended = NULL;
    }
    for (; req; req = next) {
        next = req->next;
        block_complete(p->q, req, req->result);
    }
}

BlockReq *block_pool_cancel(BlockPool *p)
{
    LOCK_SCOPE(&p->lock);
    BlockReq *list = p->todo;

    p->todo = NULL;
    p->todo_tail = &p->todo;
    return list;
}

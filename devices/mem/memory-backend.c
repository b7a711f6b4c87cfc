/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory-backend.c - host memory: memory-backend-ram, -memfd and -file.
 *
 * Memory is sparse: nothing is reserved, so a machine may have more than its host. With prealloc every page is wanted before the guest
 * runs; that takes seconds for large machines, so a thread of its own does it and the first `cont` waits for it. What the host
 * can not have at all is refused at once: asking the kernel for it would have it kill somebody.
 *
 * Huge pages are asked for, and mappings begin where one can: loading a kernel into anonymous memory takes a quarter of
 * the time so, and the guest's page faults are few. For memfd and files it depends on the host's settings (shmem_enabled).
 */
#include "memory-backend.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>

#include "../../schema/generated/devices.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define CHUNK (G_GUINT64_CONSTANT(64) << 20) /* populated between two looks at `stop` */

#define HUGE_PAGE ((gsize)2 << 20)

typedef struct {
    Device   dev;
    guint8  *hva;
    GThread *prealloc; /* running or to be joined */
    gint     stop;     /* atomic: the object goes, whether all is there or not */
    int      prealloc_error; /* errno of the thread, once it was joined */
} MemoryBackend;

static const MemoryBackendConfig *config_of(Device *dev)
{
    return DEVICE_CONFIG(dev, MemoryBackendConfig);
}

guint8 *memory_backend_hva(Device *backend)
{
    return ((MemoryBackend *)backend)->hva;
}

guint64 memory_backend_size(Device *backend)
{
    return config_of(backend)->size;
}

/* ---- giving back ---- */

typedef struct {
    const guint8 *hva;
    guint64       len;
    Device       *found;
} RangeSearch;

static gboolean holds_range(Device *dev, gpointer user)
{
    RangeSearch *search = user;

    if (!g_str_has_prefix(dev->type->name, "memory-backend-") || !memory_backend_hva(dev))
        return TRUE;
    guint64 at = (guint64)((guintptr)search->hva - (guintptr)memory_backend_hva(dev));
    if (!range_within(at, search->len, memory_backend_size(dev)))
        return TRUE;
    search->found = dev;
    return FALSE;
}

/* Shared memory is a file's, which keeps it until there is a hole; private memory is the mapping's. */
gboolean memory_backend_discard(DeviceSet *set, guint8 *hva, guint64 len)
{
    RangeSearch search = { hva, len, NULL };

    device_set_foreach(set, holds_range, &search);
    if (!search.found)
        return FALSE;
    const PropBag *bag = search.found->bag;
    gboolean share = prop_bag_get_u(bag, (guint)prop_table_row(bag->table, "share")) != 0;
    return madvise(hva, len, share ? MADV_REMOVE : MADV_DONTNEED) == 0;
}

/* ---- preallocation ---- */

static gpointer populate(gpointer user)
{
    MemoryBackend *mb = user;
    guint64 size = config_of(&mb->dev)->size;

    for (guint64 at = 0; at < size && !g_atomic_int_get(&mb->stop); at += CHUNK) {
        while (madvise(mb->hva + at, MIN(CHUNK, size - at), MADV_POPULATE_WRITE) < 0) {
            if (errno != EINTR && errno != EAGAIN)
                return GINT_TO_POINTER(errno);
        }
    }
    return NULL;
}

static void join(MemoryBackend *mb)
{
    if (mb->prealloc)
        mb->prealloc_error = GPOINTER_TO_INT(g_thread_join(g_steal_pointer(&mb->prealloc)));
}

gboolean memory_backend_ready(Device *backend, GError **error)
{
    MemoryBackend *mb = (MemoryBackend *)backend;

    join(mb);
    if (mb->prealloc_error)
        return error_set_errno(error, mb->prealloc_error, "Memory object '%s': can not preallocate %" G_GUINT64_FORMAT " bytes",
                               backend->id, config_of(backend)->size);
    return TRUE;
}

static gboolean check_host_has(Device *dev, GError **error)
{
    const MemoryBackendConfig *config = config_of(dev);
    struct sysinfo info;

    if (!config->prealloc || sysinfo(&info) < 0)
        return TRUE;
    guint64 host = (guint64)info.totalram * info.mem_unit;
    if (config->size <= host)
        return TRUE;
    return error_set(error,
                     "Property 'size' of memory object '%s': prealloc wants %" G_GUINT64_FORMAT
                     " bytes and the host has %" G_GUINT64_FORMAT,
                     dev->id, config->size, host);
}

/* Address space of SIZE bytes that begins at a huge page; NULL: there is none, the kernel shall choose. */
static void *reserve_aligned(guint64 size)
{
    guint8 *p;

    if (size > G_MAXSIZE - HUGE_PAGE)
        return NULL;
    p = mmap(NULL, size + HUGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    gsize before = -(guintptr)p & (HUGE_PAGE - 1);
    if (before > 0)
        munmap(p, before);
    munmap(p + before + size, HUGE_PAGE - before);
    return p + before;
}

/* Maps SIZE bytes of FD (-1: anonymous). */
static gboolean map(MemoryBackend *mb, int fd, gboolean share, GError **error)
{
    guint64 size = config_of(&mb->dev)->size;
    int flags = (share ? MAP_SHARED : MAP_PRIVATE) | MAP_NORESERVE | (fd < 0 ? MAP_ANONYMOUS : 0);
    void *at = reserve_aligned(size);
    void *p = mmap(at, size, PROT_READ | PROT_WRITE, flags | (at ? MAP_FIXED : 0), fd, 0);

    if (p == MAP_FAILED && at)
        munmap(at, size);
    if (p == MAP_FAILED)
        return error_set_errno(error, errno, "Memory object '%s': can not map %" G_GUINT64_FORMAT " bytes",
                               mb->dev.id, size);
    mb->hva = p;
    madvise(p, size, MADV_DONTDUMP); /* a core file of ours is not the place for the guest's memory */
    madvise(p, size, MADV_HUGEPAGE); /* a hint: hosts without it go on with small pages */
    if (config_of(&mb->dev)->prealloc)
        mb->prealloc = g_thread_new("prealloc", populate, mb);
    return TRUE;
}

static gboolean check_size(Device *dev, GError **error)
{
    guint64 size = config_of(dev)->size;

    if (size % 4096)
        return error_set(error,
                         "Property 'size' of memory object '%s': %" G_GUINT64_FORMAT " is not a multiple of 4096",
                         dev->id, size);
    return check_host_has(dev, error);
}

static gboolean ram_realize(Device *dev, GError **error)
{
    return map((MemoryBackend *)dev, -1, DEVICE_CONFIG(dev, MemoryBackendRamConfig)->share, error);
}

static gboolean memfd_realize(Device *dev, GError **error)
{
    g_auto(AutoFd) fd = memfd_create(dev->id, MFD_CLOEXEC);

    if (fd < 0 || ftruncate(fd, (off_t)config_of(dev)->size) < 0)
        return error_set_errno(error, errno, "Memory object '%s': memfd of %" G_GUINT64_FORMAT " bytes", dev->id,
                               config_of(dev)->size);
    return map((MemoryBackend *)dev, fd, DEVICE_CONFIG(dev, MemoryBackendMemfdConfig)->share, error);
}

/* Extends FD to SIZE bytes; what is longer stays so. */
static gboolean extend(Device *dev, int fd, const char *path, guint64 size, GError **error)
{
    struct stat st;

    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && ((guint64)st.st_size >= size || ftruncate(fd, (off_t)size) == 0))
        return TRUE;
    int err = errno;
    g_autofree char *given = error_quote(path, -1);
    if (!S_ISREG(st.st_mode))
        return error_set(error, "Property 'mem-path' of memory object '%s': '%s' is not a regular file", dev->id, given);
    return error_set_errno(error, err,
                           "Property 'mem-path' of memory object '%s': can not extend '%s' from %" G_GUINT64_FORMAT
                           " to %" G_GUINT64_FORMAT " bytes",
                           dev->id, given, (guint64)st.st_size, size);
}

static gboolean file_realize(Device *dev, GError **error)
{
    const MemoryBackendFileConfig *config = DEVICE_CONFIG(dev, MemoryBackendFileConfig);
    /* O_NONBLOCK: of a FIFO or a terminal we want the refusal, not the wait. */
    g_auto(AutoFd) fd = device_open_path(dev, "mem-path", config->mem_path, O_RDWR | O_CREAT | O_NONBLOCK | O_NOCTTY, 0600, error);

    return fd >= 0 && extend(dev, fd, config->mem_path, config->base.size, error) &&
           map((MemoryBackend *)dev, fd, config->share, error);
}

static void unrealize(Device *dev)
{
    MemoryBackend *mb = (MemoryBackend *)dev;

    g_atomic_int_set(&mb->stop, 1);
    join(mb);
    if (mb->hva)
        munmap(mb->hva, config_of(dev)->size);
    mb->hva = NULL;
}

static const DeviceOps ram_ops = { .resolve = check_size, .realize = ram_realize, .unrealize = unrealize };
static const DeviceOps memfd_ops = { .resolve = check_size, .realize = memfd_realize, .unrealize = unrealize };
static const DeviceOps file_ops = { .resolve = check_size, .realize = file_realize, .unrealize = unrealize };

const DeviceType memory_backend_ram_type = { "memory-backend-ram", sizeof(MemoryBackend), &ram_ops, state_none };
const DeviceType memory_backend_memfd_type = { "memory-backend-memfd", sizeof(MemoryBackend), &memfd_ops, state_none };
const DeviceType memory_backend_file_type = { "memory-backend-file", sizeof(MemoryBackend), &file_ops, state_none };

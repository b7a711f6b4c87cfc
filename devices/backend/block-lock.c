/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * block-lock.c - an image is written by one program at a time.
 *
 * Open file description locks on single bytes, placed as QEMU places them, so that each keeps the
 * other out: byte 100 + p says "I use permission p", byte 200 + p "I let nobody else use p". Both
 * are read locks, which all can have at once; whether somebody stands in the way is asked with
 * F_OFD_GETLK for a write lock. After taking our own: two who come at the same moment see each
 * other, and both may give up, but never do both go on.
 *
 * Where the file system knows no locks the image is used without.
 *
 * A lock ends with the last reference to the open file description, and a ring that was closed may keep one for a while: so it is
 * given up by word when the node goes.
 */
#include "block-priv.h"

#include <errno.h>
#include <fcntl.h>

enum { PERM_CONSISTENT_READ = 1, PERM_WRITE = 2, PERM_WRITE_UNCHANGED = 4, PERM_RESIZE = 8 };
#define N_PERMS 4
#define BASE_USED 100
#define BASE_UNSHARED 200

static const char *const perm_names[N_PERMS] = { "consistent read", "write", "write unchanged", "resize" };

static gboolean lock_byte(int fd, int byte)
{
    struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

    return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

static gboolean byte_is_locked(int fd, int byte)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static gboolean lock_bytes(int fd, guint used, guint unshared)
{
    for (int p = 0; p < N_PERMS; p++) {
        if (((used >> p & 1) && !lock_byte(fd, BASE_USED + p)) ||
            ((unshared >> p & 1) && !lock_byte(fd, BASE_UNSHARED + p)))
            return FALSE;
    }
    return TRUE;
}

static gboolean refuse(Device *dev, const char *path, int perm, GError **error)
{
    g_autofree char *given = error_quote(path, -1);

    return error_set(error, "Node '%s': failed to get \"%s\" lock: is another process using the image '%s'?", dev->id,
                     perm_names[perm], given);
}

/* Locks FD for reading, or for WRITE. WANTED: the file system must know locks. */
gboolean block_lock(Device *dev, int fd, const char *path, gboolean write, gboolean wanted, GError **error)
{
    guint used = PERM_CONSISTENT_READ | (write ? PERM_WRITE | PERM_RESIZE : 0);
    guint unshared = PERM_WRITE | PERM_RESIZE;

    if (!lock_bytes(fd, used, unshared)) {
        if (errno == EAGAIN || errno == EACCES) /* somebody holds write locks there, which QEMU never does */
            return refuse(dev, path, 1, error);
        if (!wanted)
            return TRUE;
        return error_set_errno(error, errno, "Node '%s': property 'locking' is on, and the file system has no locks", dev->id);
    }
    for (int p = 0; p < N_PERMS; p++) {
        if (((used >> p & 1) && byte_is_locked(fd, BASE_UNSHARED + p)) ||
            ((unshared >> p & 1) && byte_is_locked(fd, BASE_USED + p)))
            return refuse(dev, path, p, error);
    }
    return TRUE;
}

void block_unlock(int fd)
{
    struct flock lock = { .l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = BASE_USED, .l_len = BASE_UNSHARED + N_PERMS - BASE_USED };

    (void)fcntl(fd, F_OFD_SETLK, &lock);
}

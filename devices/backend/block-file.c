/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * block-file.c - file and host_device: what is opened, how it may be accessed.
 *
 * With cache-direct the kernel wants offsets, lengths and buffers aligned. By how much it says for
 * block devices (BLKSSZGET) and, from Linux 6.1 on, for files (STATX_DIOALIGN); otherwise 4096 is
 * right everywhere.
 */
#include "block-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "../../schema/generated/devices.h"

#define DIOALIGN 0x2000u /* STATX_DIOALIGN, which glibc 2.36 does not have */

static const BlockdevFileConfig *config_of(const BlockNode *n)
{
    return DEVICE_CONFIG(n, BlockdevFileConfig);
}

/* ---- limits ---- */

/* struct statx of Linux 6.1: two words where older headers have spare ones. */
static gboolean dio_alignment(int fd, guint32 *mem, guint32 *offset)
{
    union {
        guint8  bytes[256];
        guint32 words[64];
    } stx = { { 0 } };
    enum { MASK = 0, DIO_MEM_ALIGN = 0x98 / 4, DIO_OFFSET_ALIGN = 0x9c / 4 };

    if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH, DIOALIGN, &stx) < 0 || !(stx.words[MASK] & DIOALIGN))
        return FALSE;
    *mem = stx.words[DIO_MEM_ALIGN];
    *offset = stx.words[DIO_OFFSET_ALIGN];
    return *mem && *offset;
}

static void find_limits(BlockNode *n)
{
    int sector = 0;
    unsigned physical = 0;

    if (n->is_bdev && ioctl(n->fd, BLKPBSZGET, &physical) == 0 && physical >= 512)
        n->limits.block_size = physical;
    if (!n->direct)
        return;
    n->limits.align = n->limits.mem_align = 4096;
    if (n->is_bdev && ioctl(n->fd, BLKSSZGET, &sector) == 0 && sector >= 512)
        n->limits.align = n->limits.mem_align = (guint32)sector;
    else
        (void)dio_alignment(n->fd, &n->limits.mem_align, &n->limits.align);
    n->limits.align = MAX(n->limits.align, 512);
}

static gboolean find_size(BlockNode *n, GError **error)
{
    off_t size = lseek(n->fd, 0, SEEK_END);

    if (size < 0)
        return error_set_errno(error, errno, "Node '%s': '%s' has no size", n->dev.id, n->filename);
    n->size = ((guint64)size + 511) & ~G_GUINT64_CONSTANT(511);
    return TRUE;
}

/* ---- opening ---- */

static gboolean check_kind(BlockNode *n, gboolean device, GError **error)
{
    struct stat st;

    if (fstat(n->fd, &st) < 0)
        return error_set_errno(error, errno, "Node '%s': '%s'", n->dev.id, n->filename);
    n->is_bdev = S_ISBLK(st.st_mode);
    if (device && !n->is_bdev)
        return error_set(error, "Property 'filename' of node '%s': '%s' is not a block device", n->dev.id, n->filename);
    if (!device && !S_ISREG(st.st_mode))
        return error_set(error, "Property 'filename' of node '%s': '%s' is not a regular file%s", n->dev.id, n->filename,
                         n->is_bdev ? ": driver 'host_device' is for block devices" : "");
    return TRUE;
}

/* auto-read-only: for writing if that is possible. */
static int open_it(BlockNode *n, GError **error)
{
    const BlockdevFileConfig *c = config_of(n);
    int flags = O_NONBLOCK | O_NOCTTY | (n->direct ? O_DIRECT : 0);
    g_autoptr(GError) first = NULL;
    int fd = -1;

    if (!n->limits.read_only) {
        fd = device_open_path(&n->dev, "filename", c->filename, flags | O_RDWR, 0, &first);
        if (fd >= 0 || !c->base.auto_read_only) {
            if (first)
                g_propagate_error(error, g_steal_pointer(&first));
            return fd;
        }
        n->limits.read_only = TRUE;
        n->limits.discard = FALSE;
    }
    return device_open_path(&n->dev, "filename", c->filename, flags | O_RDONLY, 0, error);
}

static gboolean open_node(Device *dev, const char *driver, gboolean device, GError **error)
{
    BlockNode *n = (BlockNode *)dev;
    const BlockdevFileConfig *c = config_of(n);

    block_node_init(n, driver);
    n->filename = error_quote(c->filename, -1);
    n->threads = c->aio == BLOCKDEV_FILE_AIO_THREADS;
    n->fd = open_it(n, error);
    if (n->fd < 0 || !check_kind(n, device, error) || !find_size(n, error))
        return FALSE;
    n->locked = c->locking != BLOCKDEV_FILE_LOCKING_OFF;
    if (n->locked &&
        !block_lock(dev, n->fd, c->filename, !n->limits.read_only, c->locking == BLOCKDEV_FILE_LOCKING_ON, error))
        return FALSE;
    find_limits(n);
    return TRUE;
}

static gboolean file_realize(Device *dev, GError **error)
{
    return open_node(dev, "file", FALSE, error);
}

static gboolean host_device_realize(Device *dev, GError **error)
{
    return open_node(dev, "host_device", TRUE, error);
}

static gboolean resolve(Device *dev, GError **error)
{
    if (!prop_bag_is_set(dev->bag, "locking"))
        prop_bag_set_u(dev->bag, "locking", BLOCKDEV_FILE_LOCKING_AUTO, ORIGIN_DEFAULT);
    return TRUE;
}

static void unrealize(Device *dev)
{
    block_node_exit((BlockNode *)dev);
}

static const DeviceOps file_ops = { .resolve = resolve, .realize = file_realize, .unrealize = unrealize };
static const DeviceOps device_ops = { .resolve = resolve, .realize = host_device_realize, .unrealize = unrealize };

const DeviceType blockdev_file_type = { "blockdev-file", sizeof(BlockNode), &file_ops, state_none };
const DeviceType blockdev_host_device_type = { "blockdev-host-device", sizeof(BlockNode), &device_ops, state_none };

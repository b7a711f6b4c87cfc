/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * block.c - block nodes: who uses them, how large they are, what was done with them.
 */
#include "block-priv.h"

#include <errno.h>
#include <sys/stat.h>

#include "../../schema/generated/devices.h"

static BlockNode *node_of(const Device *dev)
{
    return (BlockNode *)dev;
}

gboolean block_is_node(const Device *dev)
{
    return g_str_has_prefix(dev->type->name, "blockdev-");
}

void block_node_init(BlockNode *n, const char *driver)
{
    const BlockdevConfig *config = DEVICE_CONFIG(n, BlockdevConfig);

    n->driver = driver;
    n->fd = -1;
    n->users = g_array_new(FALSE, FALSE, sizeof(BlockUser));
    n->queues = g_ptr_array_new();
    n->no_flush = config->cache_no_flush;
    n->direct = config->cache_direct;
    n->limits = (BlockLimits){ .align = 1, .mem_align = 1, .block_size = 512, .read_only = config->read_only };
    n->limits.discard = config->discard == BLOCKDEV_DISCARD_UNMAP && !config->read_only;
    n->flushed = BLOCK_NEVER_FLUSHED;
    g_mutex_init(&n->rmw);
}

void block_node_exit(BlockNode *n)
{
    if (!n->users)
        return; /* realize did not get as far as init */
    g_assert(n->users->len == 0 && n->queues->len == 0);
    if (n->child)
        block_detach(&n->dev, &g_steal_pointer(&n->child)->dev);
    if (n->locked)
        block_unlock(n->fd);
    auto_fd_close(fd_steal(&n->fd));
    g_clear_pointer(&n->filename, g_free);
    g_clear_pointer(&n->users, g_array_unref);
    g_clear_pointer(&n->queues, g_ptr_array_unref);
    g_mutex_clear(&n->rmw);
}

/* ---- size ---- */

guint64 block_node_size(Device *node)
{
    return __atomic_load_n(&node_of(node)->size, __ATOMIC_RELAXED);
}

/* Tells the users too, raw nodes above among them. */
void block_node_set_size(BlockNode *n, guint64 size)
{
    __atomic_store_n(&n->size, size, __ATOMIC_RELAXED);
    for (guint i = 0; i < n->users->len; i++) {
        const BlockUser *u = &g_array_index(n->users, BlockUser, i);
        if (u->ops && u->ops->resized)
            u->ops->resized(u->opaque, size);
    }
}

const BlockLimits *block_node_limits(Device *node)
{
    return &node_of(node)->limits;
}

void block_node_target(BlockNode *n, BlockTarget *t)
{
    t->base = 0;
    for (; n->child; n = n->child)
        t->base += n->base;
    t->leaf = n;
    t->fd = n->fd;
}

gboolean block_node_resize(Device *node, guint64 size, GError **error)
{
    BlockNode *n = node_of(node);
    BlockTarget t;

    if (n->limits.read_only)
        return error_set(error, "Node '%s' is read-only", node->id);
    if (size % 512)
        return error_set(error, "Node '%s': size %" G_GUINT64_FORMAT " is no multiple of 512", node->id, size);
    block_node_target(n, &t);
    if (n->fixed_size || t.fd < 0)
        return error_set(error, "Node '%s' (%s) has the size that it was configured with", node->id, n->driver);
    if (t.leaf->is_bdev) {
        if (size <= block_node_size(node))
            return TRUE; /* as QEMU: the device itself stays as it is */
        return error_set(error, "Node '%s': a block device of %" G_GUINT64_FORMAT " bytes can not grow to %" G_GUINT64_FORMAT,
                         node->id, block_node_size(node), size);
    }
    if (size > G_MAXINT64 - t.base)
        return error_set(error, "Node '%s': size %" G_GUINT64_FORMAT " is more than a file can have", node->id, size);
    if (ftruncate(t.fd, (off_t)(t.base + size)) < 0)
        return error_set_errno(error, errno, "Node '%s': can not resize '%s' to %" G_GUINT64_FORMAT " bytes", node->id,
                               t.leaf->filename, t.base + size);
    __atomic_add_fetch(&t.leaf->changes, 1, __ATOMIC_RELEASE); /* the size is for the next flush too */
    block_node_set_size(t.leaf, t.base + size);
    return TRUE;
}

/* ---- users ---- */

static gboolean check_users(BlockNode *n, Device *user, gboolean write, GError **error)
{
    for (guint i = 0; i < n->users->len; i++) {
        const BlockUser *u = &g_array_index(n->users, BlockUser, i);
        if (write || u->write)
            return error_set(error, "Node '%s' is used by '%s'%s, so '%s' can not use it%s", n->dev.id, u->dev->id,
                             u->write ? " for writing" : "", user->id, write ? " for writing" : "");
    }
    return TRUE;
}

Device *block_attach(Device *user, const char *node_name, const char *prop, gboolean write, const BlockUserOps *ops,
                     gpointer opaque, GError **error)
{
    BlockUser u = { user, write, ops, opaque };
    Device *node = device_link(user, NS_OBJECT, node_name, "blockdev", prop, error);

    if (!node)
        return NULL;
    if (write && node_of(node)->limits.read_only)
        error_set(error, "Property '%s' of '%s': node '%s' is read-only", prop, user->id, node->id);
    else if (check_users(node_of(node), user, write, error)) {
        g_array_append_val(node_of(node)->users, u);
        return node;
    }
    device_unlink(user, node);
    return NULL;
}

void block_detach(Device *user, Device *node)
{
    GArray *users = node_of(node)->users;

    for (guint i = 0; i < users->len; i++) {
        if (g_array_index(users, BlockUser, i).dev == user) {
            g_array_remove_index(users, i);
            device_unlink(user, node);
            return;
        }
    }
    g_assert_not_reached();
}

/* ---- what queries show ---- */

const char *block_node_driver(const Device *node)
{
    return node_of(node)->driver;
}

const char *block_node_filename(const Device *node)
{
    BlockTarget t;

    block_node_target(node_of(node), &t);
    return t.leaf->filename;
}

gint64 block_node_allocated(const Device *node)
{
    BlockTarget t;
    struct stat st;

    block_node_target(node_of(node), &t);
    return t.fd >= 0 && fstat(t.fd, &st) == 0 && S_ISREG(st.st_mode) ? st.st_blocks * (gint64)512 : -1;
}

Device *block_node_child(const Device *node)
{
    BlockNode *child = node_of(node)->child;

    return child ? &child->dev : NULL;
}

Device *block_node_user(const Device *node)
{
    GArray *users = node_of(node)->users;

    return users->len ? g_array_index(users, BlockUser, 0).dev : NULL;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * block-nodes.c - raw (a window into another node) and null-co (nothing at all).
 */
#include "block-priv.h"

#include "../../schema/generated/devices.h"

static void unrealize(Device *dev)
{
    block_node_exit((BlockNode *)dev);
}

/* ---- raw ---- */

/* The child's size changed: what is left behind the offset. */
static void child_resized(gpointer user, guint64 size)
{
    BlockNode *n = user;

    if (!n->fixed_size)
        block_node_set_size(n, size > n->base ? (size - n->base) & ~G_GUINT64_CONSTANT(511) : 0);
}

static const BlockUserOps raw_user = { .resized = child_resized };

static gboolean place(BlockNode *n, const BlockdevRawConfig *c, GError **error)
{
    guint64 below = block_node_size(&n->child->dev);

    n->fixed_size = prop_bag_is_set(n->dev.bag, "size");
    n->size = n->fixed_size ? c->size : below - MIN(below, c->offset);
    if (c->offset % 512 || n->size % 512)
        return error_set(error, "Node '%s': offset %" G_GUINT64_FORMAT " and size %" G_GUINT64_FORMAT " are to be multiples of 512",
                         n->dev.id, c->offset, n->size);
    if (!range_within(c->offset, n->size, below))
        return error_set(error,
                         "Node '%s': offset %" G_GUINT64_FORMAT " and size %" G_GUINT64_FORMAT
                         " are not within the %" G_GUINT64_FORMAT " bytes of node '%s'",
                         n->dev.id, c->offset, n->size, below, n->child->dev.id);
    n->base = c->offset;
    return TRUE;
}

static gboolean raw_realize(Device *dev, GError **error)
{
    BlockNode *n = (BlockNode *)dev;
    const BlockdevRawConfig *c = DEVICE_CONFIG(dev, BlockdevRawConfig);
    Device *found;
    gboolean write;

    block_node_init(n, "raw");
    found = device_set_find(dev->set, NS_OBJECT, c->file);
    write = !n->limits.read_only;
    if (write && c->base.auto_read_only && found && block_is_node(found) && ((BlockNode *)found)->limits.read_only)
        write = FALSE;
    n->child = (BlockNode *)block_attach(dev, c->file, "file", write, &raw_user, n, error);
    if (!n->child || !place(n, c, error))
        return FALSE;
    n->limits = n->child->limits;
    n->limits.read_only = !write;
    n->limits.discard = write && n->limits.discard && c->base.discard == BLOCKDEV_DISCARD_UNMAP;
    return TRUE;
}

/* ---- null-co ---- */

static gboolean null_realize(Device *dev, GError **error)
{
    BlockNode *n = (BlockNode *)dev;
    const BlockdevNullCoConfig *c = DEVICE_CONFIG(dev, BlockdevNullCoConfig);

    block_node_init(n, "null-co");
    n->filename = g_strdup("null-co://");
    n->size = c->size;
    n->read_zeroes = c->read_zeroes;
    if (c->size % 512)
        return error_set(error, "Property 'size' of node '%s': %" G_GUINT64_FORMAT " is no multiple of 512", dev->id, c->size);
    return TRUE;
}

static const DeviceOps raw_ops = { .realize = raw_realize, .unrealize = unrealize };
static const DeviceOps null_ops = { .realize = null_realize, .unrealize = unrealize };

const DeviceType blockdev_raw_type = { "blockdev-raw", sizeof(BlockNode), &raw_ops, state_none };
const DeviceType blockdev_null_co_type = { "blockdev-null-co", sizeof(BlockNode), &null_ops, state_none };

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cmd-block.c - block nodes. blockdev-add says in QEMU's words what object-add says by property
 * rows; the functions here translate. A node is found by its node-name, which is its object's id.
 */
#include "../devices/virtio/virtio-blk.h"
#include "../schema/generated/devices.h"
#include "handlers.h"

#include <errno.h>

/* ---- blockdev-add ---- */

/* SIZE of the wire is signed; the row's own range decides about the rest. */
static gboolean say_size(PropBag *bag, gboolean given, const char *name, gint64 value, GError **error)
{
    guint row = (guint)prop_table_row(bag->table, name);
    const PropDesc *desc = &bag->table->rows[row];

    if (given && (value < 0 || (guint64)value < desc->min || (guint64)value > desc->max))
        return error_set(error, "Parameter '%s' is %" G_GINT64_FORMAT ", and may be %" G_GUINT64_FORMAT
                         " to %" G_GUINT64_FORMAT, name, value, desc->min, desc->max);
    handler_say_u(bag, given, name, (guint64)value);
    return TRUE;
}

static gboolean file_from_args(PropBag *bag, const BlockdevOptionsFile *f, GError **error)
{
    G_STATIC_ASSERT((int)BLOCKDEV_AIO_OPTIONS_IO_URING == BLOCKDEV_FILE_AIO_IO_URING &&
                    (int)BLOCKDEV_AIO_OPTIONS_THREADS == BLOCKDEV_FILE_AIO_THREADS);
    G_STATIC_ASSERT((int)ON_OFF_AUTO_AUTO == BLOCKDEV_FILE_LOCKING_AUTO && (int)ON_OFF_AUTO_OFF == BLOCKDEV_FILE_LOCKING_OFF);
    if (!*f->filename || strlen(f->filename) > 1023)
        return error_set(error, "Parameter 'filename' has %zu bytes, and may have 1 to 1023", strlen(f->filename));
    prop_bag_set_s(bag, "filename", f->filename, ORIGIN_CONFIG);
    handler_say_u(bag, f->has_aio, "aio", f->aio);
    handler_say_u(bag, f->has_locking, "locking", f->locking);
    return TRUE;
}

static gboolean raw_from_args(PropBag *bag, const BlockdevOptionsRaw *r, GError **error)
{
    g_autoptr(JsonDoc) doc = json_doc_parse(r->file, strlen(r->file), &json_limits_default, error);
    g_autofree char *name = doc ? json_dup_string(json_doc_root(doc)) : NULL;

    if (!name || !prop_id_valid(name))
        return error_set(error, "Parameter 'file' is to be the name of a node: the node below is added first, by a command of its own");
    prop_bag_set_s(bag, "file", name, ORIGIN_CONFIG);
    return say_size(bag, r->has_offset, "offset", r->offset, error) && say_size(bag, r->has_size, "size", r->size, error);
}

static gboolean variant_from_args(PropBag *bag, const BlockdevOptions *o, GError **error)
{
    switch (o->driver) {
    case BLOCKDEV_DRIVER_FILE:
        return file_from_args(bag, o->u.file, error);
    case BLOCKDEV_DRIVER_HOST_DEVICE:
        return file_from_args(bag, o->u.host_device, error);
    case BLOCKDEV_DRIVER_RAW:
        return raw_from_args(bag, o->u.raw, error);
    case BLOCKDEV_DRIVER_NULL_CO:
        handler_say_u(bag, o->u.null_co->has_read_zeroes, "read-zeroes", (guint64)o->u.null_co->read_zeroes);
        return say_size(bag, o->u.null_co->has_size, "size", o->u.null_co->size, error);
    default:
        g_assert_not_reached();
    }
}

static gboolean check_name(const BlockdevOptions *o, GError **error)
{
    g_autofree char *given = error_quote(o->node_name ? o->node_name : "", -1);

    if (!o->node_name)
        return error_set(error, "'node-name' must be specified for the root node");
    if (!prop_id_valid(o->node_name))
        return error_set(error, "Invalid node-name: '%s'", given);
    if (o->has_detect_zeroes && o->detect_zeroes != BLOCKDEV_DETECT_ZEROES_OPTIONS_OFF)
        return error_set(error, "Parameter 'detect-zeroes' is '%s', and may be 'off'",
                         blockdev_detect_zeroes_options_names[o->detect_zeroes]);
    return TRUE;
}

static PropBag *bag_from_args(const BlockdevOptions *o, GError **error)
{
    static const char *const types[] = {
        [BLOCKDEV_DRIVER_FILE] = "blockdev-file",
        [BLOCKDEV_DRIVER_HOST_DEVICE] = "blockdev-host-device",
        [BLOCKDEV_DRIVER_NULL_CO] = "blockdev-null-co",
        [BLOCKDEV_DRIVER_RAW] = "blockdev-raw",
    };
    G_STATIC_ASSERT(G_N_ELEMENTS(types) == BLOCKDEV_DRIVER__MAX);
    G_STATIC_ASSERT((int)BLOCKDEV_DISCARD_OPTIONS_UNMAP == BLOCKDEV_DISCARD_UNMAP);
    g_autoptr(PropBag) bag = prop_bag_new(prop_table_find(types[o->driver]));

    if (!check_name(o, error))
        return NULL;
    bag->id = g_strdup(o->node_name);
    handler_say_u(bag, o->has_read_only, "read-only", (guint64)o->read_only);
    handler_say_u(bag, o->has_auto_read_only, "auto-read-only", (guint64)o->auto_read_only);
    handler_say_u(bag, o->has_discard, "discard", o->discard);
    handler_say_u(bag, o->cache && o->cache->has_direct, "cache-direct", o->cache ? (guint64)o->cache->direct : 0);
    handler_say_u(bag, o->cache && o->cache->has_no_flush, "cache-no-flush", o->cache ? (guint64)o->cache->no_flush : 0);
    return variant_from_args(bag, o, error) ? g_steal_pointer(&bag) : NULL;
}

gboolean cmd_blockdev_add(Machine *m, QmpRequest *req, const BlockdevOptions *args, GError **error)
{
    PropBag *bag;

    if (!machine_check_alive(m, "blockdev-add", error) || !(bag = bag_from_args(args, error)))
        return FALSE;
    return machine_plug(m, bag, error) != NULL;
}

static Device *find_node(Machine *m, const char *name, GError **error)
{
    Device *dev = device_set_find(m->devices, NS_OBJECT, name);
    g_autofree char *given = error_quote(name, -1);

    if (dev && block_is_node(dev))
        return dev;
    error_set(error, "Failed to find node with node-name='%s'", given);
    return NULL;
}

gboolean cmd_blockdev_del(Machine *m, QmpRequest *req, const BlockdevDelArgs *args, GError **error)
{
    Device *node = find_node(m, args->node_name, error);

    return node && device_remove(node, error);
}

static Device *find_either(Machine *m, const char *device, const char *node_name, GError **error)
{
    Device *dev;

    if (!device == !node_name) {
        error_set(error, "block_resize: either 'device' or 'node-name' is to be given");
        return NULL;
    }
    if (node_name)
        return find_node(m, node_name, error);
    dev = handler_find(m, NS_DEVICE, device, error);
    if (dev && !virtio_blk_is(dev)) {
        error_set(error, "Device '%s' is a %s, not a disk", dev->id, dev->type->name);
        return NULL;
    }
    return dev ? virtio_blk_node(dev) : NULL;
}

gboolean cmd_block_resize(Machine *m, QmpRequest *req, const BlockResizeArgs *args, GError **error)
{
    Device *node;

    if (!machine_check_alive(m, "block_resize", error) || !(node = find_either(m, args->device, args->node_name, error)))
        return FALSE;
    if (args->size < 0)
        return error_set(error, "Parameter 'size' expects a >0 size");
    return block_node_resize(node, (guint64)args->size, error);
}

/* ---- queries ---- */

static BlockDeviceInfo *node_info(Device *node)
{
    BlockDeviceInfo *info = g_new0(BlockDeviceInfo, 1);
    const BlockdevConfig *config = DEVICE_CONFIG(node, BlockdevConfig);
    gint64 allocated = block_node_allocated(node);

    info->file = g_strdup(block_node_filename(node));
    info->node_name = g_strdup(node->id);
    info->ro = block_node_limits(node)->read_only;
    info->drv = g_strdup(block_node_driver(node));
    info->detect_zeroes = BLOCKDEV_DETECT_ZEROES_OPTIONS_OFF;
    info->image = g_new0(ImageInfo, 1);
    info->image->filename = g_strdup(info->file);
    info->image->format = g_strdup(info->drv);
    info->image->virtual_size = (gint64)block_node_size(node);
    info->image->has_actual_size = allocated >= 0;
    info->image->actual_size = allocated;
    info->cache = g_new0(BlockdevCacheInfo, 1);
    info->cache->writeback = TRUE;
    info->cache->direct = config->cache_direct;
    info->cache->no_flush = config->cache_no_flush;
    return info;
}

static gboolean add_node(Device *dev, gpointer list)
{
    if (device_ns(dev) == NS_OBJECT && block_is_node(dev))
        g_ptr_array_add(list, node_info(dev));
    return TRUE;
}

gboolean cmd_query_named_block_nodes(Machine *m, QmpRequest *req, const QueryNamedBlockNodesArgs *args, GPtrArray **ret,
                                     GError **error)
{
    *ret = REPLY_LIST(block_device_info_free);
    device_set_foreach(m->devices, add_node, *ret);
    return TRUE;
}

/* ---- disks ---- */

/* QEMU's clients know a virtio disk by the device within the PCI function. */
static char *disk_path(Device *disk)
{
    g_autofree char *path = device_path(disk);

    return g_strconcat(path, "/virtio-backend", NULL);
}

static gboolean add_disk(Device *dev, gpointer list)
{
    if (!virtio_blk_is(dev))
        return TRUE;
    BlockInfo *info = g_new0(BlockInfo, 1);
    info->device = g_strdup("");
    info->qdev = disk_path(dev);
    info->type = g_strdup("unknown");
    info->inserted = node_info(virtio_blk_node(dev));
    info->has_io_status = TRUE;
    switch (virtio_blk_parked_error(dev)) {
    case 0:
        info->io_status = BLOCK_DEVICE_IO_STATUS_OK;
        break;
    case ENOSPC:
        info->io_status = BLOCK_DEVICE_IO_STATUS_NOSPACE;
        break;
    default:
        info->io_status = BLOCK_DEVICE_IO_STATUS_FAILED;
    }
    g_ptr_array_add(list, info);
    return TRUE;
}

gboolean cmd_query_block(Machine *m, QmpRequest *req, GPtrArray **ret, GError **error)
{
    *ret = REPLY_LIST(block_info_free);
    device_set_foreach(m->devices, add_disk, *ret);
    return TRUE;
}

static BlockDeviceStats *stats_of(Device *node, const guint64 invalid[BLOCK_N_OPS])
{
    BlockDeviceStats *s = g_new0(BlockDeviceStats, 1);
    BlockCounts b;

    block_node_stats(node, &b);
    s->rd_bytes = (gint64)b.bytes[BLOCK_READ];
    s->wr_bytes = (gint64)(b.bytes[BLOCK_WRITE] + b.bytes[BLOCK_WRITE_ZEROES]);
    s->unmap_bytes = (gint64)b.bytes[BLOCK_DISCARD];
    s->rd_operations = (gint64)b.ops[BLOCK_READ];
    s->wr_operations = (gint64)(b.ops[BLOCK_WRITE] + b.ops[BLOCK_WRITE_ZEROES]);
    s->flush_operations = (gint64)b.ops[BLOCK_FLUSH];
    s->unmap_operations = (gint64)b.ops[BLOCK_DISCARD];
    s->rd_total_time_ns = (gint64)b.time_ns[BLOCK_READ];
    s->wr_total_time_ns = (gint64)(b.time_ns[BLOCK_WRITE] + b.time_ns[BLOCK_WRITE_ZEROES]);
    s->flush_total_time_ns = (gint64)b.time_ns[BLOCK_FLUSH];
    s->unmap_total_time_ns = (gint64)b.time_ns[BLOCK_DISCARD];
    s->failed_rd_operations = (gint64)b.failed[BLOCK_READ];
    s->failed_wr_operations = (gint64)(b.failed[BLOCK_WRITE] + b.failed[BLOCK_WRITE_ZEROES]);
    s->failed_flush_operations = (gint64)b.failed[BLOCK_FLUSH];
    s->failed_unmap_operations = (gint64)b.failed[BLOCK_DISCARD];
    s->invalid_rd_operations = (gint64)invalid[BLOCK_READ];
    s->invalid_wr_operations = (gint64)(invalid[BLOCK_WRITE] + invalid[BLOCK_WRITE_ZEROES]);
    s->invalid_unmap_operations = (gint64)invalid[BLOCK_DISCARD];
    return s;
}

static gboolean add_stats(Device *dev, gpointer list)
{
    guint64 invalid[BLOCK_N_OPS] = { 0 };
    BlockStats *info;

    if (!virtio_blk_is(dev))
        return TRUE;
    info = g_new0(BlockStats, 1);
    virtio_blk_invalid(dev, invalid);
    info->device = g_strdup("");
    info->qdev = disk_path(dev);
    info->node_name = g_strdup(virtio_blk_node(dev)->id);
    info->stats = stats_of(virtio_blk_node(dev), invalid);
    g_ptr_array_add(list, info);
    return TRUE;
}

static gboolean add_node_stats(Device *dev, gpointer list)
{
    static const guint64 none[BLOCK_N_OPS];
    BlockStats *info;

    if (device_ns(dev) != NS_OBJECT || !block_is_node(dev))
        return TRUE;
    info = g_new0(BlockStats, 1);
    info->node_name = g_strdup(dev->id);
    info->stats = stats_of(dev, none);
    g_ptr_array_add(list, info);
    return TRUE;
}

gboolean cmd_query_blockstats(Machine *m, QmpRequest *req, const QueryBlockstatsArgs *args, GPtrArray **ret, GError **error)
{
    *ret = REPLY_LIST(block_stats_free);
    device_set_foreach(m->devices, args->has_query_nodes && args->query_nodes ? add_node_stats : add_stats, *ret);
    return TRUE;
}

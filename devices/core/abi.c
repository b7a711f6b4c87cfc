/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi.c - the guest-ABI fingerprint. See abi.h for the tree.
 *
 * Leaves are made anew from the rows and the types' abi hooks only when a device was invalidated; its leaf list and node hash are
 * cached on the device. The board is invalidated by every plug and unplug: tables list the devices.
 */
#include "abi.h"

#include "set.h"

struct AbiSink {
    Device     *dev;
    const char *part; /* type name of the board's part whose hook runs, or NULL */
    GPtrArray  *leaves;
};

void abi_leaf_free(AbiLeaf *leaf)
{
    g_free(leaf->device);
    g_free(leaf->item);
    g_bytes_unref(leaf->bytes);
    g_clear_pointer(&leaf->mask, g_bytes_unref);
    g_free(leaf);
}

static void hash_sized(GChecksum *sum, gconstpointer data, gsize len)
{
    guint8 n[8];

    le64_put(n, len);
    g_checksum_update(sum, n, sizeof n);
    if (len)
        g_checksum_update(sum, data, (gssize)len);
}

static void hash_finish(GChecksum *sum, guint8 out[ABI_HASH_LEN])
{
    gsize n = ABI_HASH_LEN;
    g_checksum_get_digest(sum, out, &n);
}

static void hash_bytes(GChecksum *sum, GBytes *bytes)
{
    gsize n = 0;
    gconstpointer data = bytes ? g_bytes_get_data(bytes, &n) : NULL;
    hash_sized(sum, data, n);
}

void abi_leaf(AbiSink *sink, const char *name, const void *bytes, gsize len, const void *mask)
{
    AbiLeaf *leaf = g_new0(AbiLeaf, 1);

    leaf->device = g_strdup(sink->dev->id);
    leaf->item = sink->part ? g_strdup_printf("%s:%s", sink->part, name) : g_strdup(name);
    leaf->bytes = g_bytes_new(bytes, len);
    leaf->mask = mask ? g_bytes_new(mask, len) : NULL;

    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    hash_sized(sum, leaf->item, strlen(leaf->item));
    hash_bytes(sum, leaf->bytes);
    hash_bytes(sum, leaf->mask);
    hash_finish(sum, leaf->hash);
    g_ptr_array_add(sink->leaves, leaf);
}

static void add_property_leaves(AbiSink *sink)
{
    const PropBag *bag = sink->dev->bag;
    g_autoptr(GString) text = g_string_new(NULL);

    for (guint i = 0; i < bag->table->n_rows; i++) {
        if (!(bag->table->rows[i].flags & PROP_GUEST))
            continue;
        g_autofree char *name = g_strdup_printf("prop:%s", bag->table->rows[i].name);
        g_string_truncate(text, 0);
        prop_bag_canonical(bag, i, text);
        abi_leaf(sink, name, text->str, text->len, NULL);
    }
}

static void call_hook(AbiSink *sink, Device *dev)
{
    if (!dev->type->ops->abi)
        return;
    sink->part = dev->parent ? dev->type->name : NULL;
    dev->type->ops->abi(dev, sink);
    sink->part = NULL;
}

static gint by_item(gconstpointer a, gconstpointer b)
{
    return strcmp((*(AbiLeaf *const *)a)->item, (*(AbiLeaf *const *)b)->item);
}

static void node_hash(Device *dev)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);

    const char *type = prop_table_first_name(dev->bag->table);
    hash_sized(sum, type, strlen(type));
    for (guint i = 0; i < dev->abi_leaves->len; i++) {
        const AbiLeaf *leaf = g_ptr_array_index(dev->abi_leaves, i);
        hash_sized(sum, leaf->item, strlen(leaf->item));
        g_checksum_update(sum, leaf->hash, ABI_HASH_LEN);
    }
    hash_finish(sum, dev->abi_node);
}

static void refresh(Device *dev)
{
    if (dev->abi_leaves)
        return;
    dev->abi_leaves = g_ptr_array_new_with_free_func((GDestroyNotify)abi_leaf_free);
    AbiSink sink = { .dev = dev, .leaves = dev->abi_leaves };
    add_property_leaves(&sink);
    call_hook(&sink, dev);
    for (guint i = 0; i < dev->set->parts->len; i++) {
        Device *part = g_ptr_array_index(dev->set->parts, i);
        if (part->parent == dev)
            call_hook(&sink, part);
    }
    g_ptr_array_sort(dev->abi_leaves, by_item);
    node_hash(dev);
}

void abi_invalidate(Device *dev)
{
    g_clear_pointer(&dev->abi_leaves, g_ptr_array_unref);
}

static gint by_id(gconstpointer a, gconstpointer b)
{
    return strcmp((*(Device *const *)a)->id, (*(Device *const *)b)->id);
}

static gpointer leaf_copy(gconstpointer src, gpointer unused)
{
    const AbiLeaf *leaf = src;
    AbiLeaf *copy = g_memdup2(leaf, sizeof *leaf);

    copy->device = g_strdup(leaf->device);
    copy->item = g_strdup(leaf->item);
    g_bytes_ref(copy->bytes);
    if (copy->mask)
        g_bytes_ref(copy->mask);
    return copy;
}

void abi_fingerprint(DeviceSet *set, guint8 root[ABI_HASH_LEN], GPtrArray **leaves)
{
    g_autoptr(GPtrArray) visible = g_ptr_array_new();
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func((GDestroyNotify)abi_leaf_free);

    for (guint i = 0; i < set->devices->len; i++) {
        Device *dev = g_ptr_array_index(set->devices, i);
        if (device_ns(dev) == NS_DEVICE)
            g_ptr_array_add(visible, dev);
    }
    g_ptr_array_sort(visible, by_id);
    for (guint i = 0; i < visible->len; i++) {
        Device *dev = g_ptr_array_index(visible, i);
        refresh(dev);
        hash_sized(sum, dev->id, strlen(dev->id));
        g_checksum_update(sum, dev->abi_node, ABI_HASH_LEN);
        for (guint j = 0; leaves && j < dev->abi_leaves->len; j++)
            g_ptr_array_add(all, leaf_copy(g_ptr_array_index(dev->abi_leaves, j), NULL));
    }
    hash_finish(sum, root);
    if (leaves)
        *leaves = g_steal_pointer(&all);
}

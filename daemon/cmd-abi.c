/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cmd-abi.c - the guest-ABI fingerprint on the wire, and two machines beside each other.
 *
 * Comparing needs no more than the leaves that query-guest-abi with detail lists: both lists are in the order of devices and items, so one
 * walk through both finds what is in one only and what is not the same.
 */
#include "../devices/core/abi.h"
#include "handlers.h"

char *handler_hex(const guint8 *bytes, gsize len)
{
    static const char digits[] = "0123456789abcdef";
    char *text = g_malloc(2 * len + 1);

    for (gsize i = 0; i < len; i++) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 15];
    }
    text[2 * len] = '\0';
    return text;
}

/* Property leaves are text; the rest is bytes, and its writable bits where it has some. */
static char *leaf_value(const AbiLeaf *leaf)
{
    gsize n, mask_len;
    const guint8 *bytes = g_bytes_get_data(leaf->bytes, &n);

    if (g_str_has_prefix(leaf->item, "prop:"))
        return g_strndup((const char *)bytes, n);
    g_autofree char *text = handler_hex(bytes, n);
    if (!leaf->mask)
        return g_steal_pointer(&text);
    const guint8 *mask = g_bytes_get_data(leaf->mask, &mask_len);
    g_autofree char *mask_text = handler_hex(mask, mask_len);
    return g_strdup_printf("%s/%s", text, mask_text);
}

static GPtrArray *wire_leaves(const GPtrArray *leaves)
{
    GPtrArray *list = REPLY_LIST(guest_abi_leaf_free);

    for (guint i = 0; i < leaves->len; i++) {
        const AbiLeaf *leaf = g_ptr_array_index(leaves, i);
        GuestAbiLeaf *out = g_new0(GuestAbiLeaf, 1);
        out->device = g_strdup(leaf->device);
        out->item = g_strdup(leaf->item);
        out->hash = handler_hex(leaf->hash, ABI_HASH_LEN);
        out->value = leaf_value(leaf);
        g_ptr_array_add(list, out);
    }
    return list;
}

char *handler_fingerprint(Machine *m)
{
    guint8 root[ABI_HASH_LEN];

    if (!device_set_board(m->devices))
        return NULL;
    abi_fingerprint(m->devices, root, NULL);
    return handler_hex(root, sizeof root);
}

static gboolean need_board(Machine *m, const char *command, GError **error)
{
    return device_set_board(m->devices) ||
           error_set(error, "%s: there is no board yet, and so nothing that a guest could see", command);
}

gboolean cmd_query_guest_abi(Machine *m, QmpRequest *req, const QueryGuestAbiArgs *args, GuestAbiInfo **ret, GError **error)
{
    g_autoptr(GPtrArray) leaves = NULL;
    guint8 root[ABI_HASH_LEN];

    if (!need_board(m, "query-guest-abi", error))
        return FALSE;
    abi_fingerprint(m->devices, root, args->has_detail && args->detail ? &leaves : NULL);
    *ret = g_new0(GuestAbiInfo, 1);
    (*ret)->fingerprint = handler_hex(root, sizeof root);
    (*ret)->leaves = leaves ? wire_leaves(leaves) : NULL;
    return TRUE;
}

/* ---- two machines ---- */

static int compare_leaves(const GuestAbiLeaf *a, const GuestAbiLeaf *b)
{
    int by_device = strcmp(a->device, b->device);

    return by_device ? by_device : strcmp(a->item, b->item);
}

static gint by_place(gconstpointer a, gconstpointer b)
{
    return compare_leaves(*(GuestAbiLeaf *const *)a, *(GuestAbiLeaf *const *)b);
}

/* OURS or THEIRS may be NULL: there is no such leaf. */
static void add_difference(GPtrArray *list, const GuestAbiLeaf *ours, const GuestAbiLeaf *theirs)
{
    const GuestAbiLeaf *either = ours ? ours : theirs;
    GuestAbiDifference *d = g_new0(GuestAbiDifference, 1);

    d->device = g_strdup(either->device);
    d->item = g_strdup(either->item);
    d->ours = ours ? g_strdup(ours->value) : NULL;
    d->theirs = theirs ? g_strdup(theirs->value) : NULL;
    g_ptr_array_add(list, d);
}

static GPtrArray *differences(const GPtrArray *ours, const GPtrArray *theirs)
{
    GPtrArray *list = REPLY_LIST(guest_abi_difference_free);
    guint i = 0, j = 0;

    while (i < ours->len || j < theirs->len) {
        const GuestAbiLeaf *a = i < ours->len ? g_ptr_array_index(ours, i) : NULL, *b = j < theirs->len ? g_ptr_array_index(theirs, j) : NULL;
        int order = !a ? 1 : !b ? -1 : compare_leaves(a, b);
        if (order != 0)
            add_difference(list, order < 0 ? a : NULL, order < 0 ? NULL : b);
        else if (strcmp(a->value, b->value) != 0)
            add_difference(list, a, b);
        i += order <= 0;
        j += order >= 0;
    }
    return list;
}

gboolean cmd_guest_abi_compare(Machine *m, QmpRequest *req, const GuestAbiCompareArgs *args, GuestAbiComparison **ret, GError **error)
{
    g_autoptr(GPtrArray) leaves = NULL, ours = NULL, theirs = g_ptr_array_new();
    guint8 root[ABI_HASH_LEN];

    if (!need_board(m, "guest-abi-compare", error))
        return FALSE;
    if (!args->other->leaves)
        return error_set(error, "guest-abi-compare: 'other' has no leaves: it is to be what query-guest-abi with 'detail' answered");
    abi_fingerprint(m->devices, root, &leaves);
    ours = wire_leaves(leaves);
    g_ptr_array_extend(theirs, args->other->leaves, NULL, NULL);
    g_ptr_array_sort(ours, by_place);
    g_ptr_array_sort(theirs, by_place);
    *ret = g_new0(GuestAbiComparison, 1);
    (*ret)->differences = differences(ours, theirs);
    (*ret)->equal = (*ret)->differences->len == 0;
    return TRUE;
}

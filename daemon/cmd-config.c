/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cmd-config.c - the configuration out and in, and the guest-ABI fingerprint.
 *
 * Out: what the manager said, and nothing else; each thing's own property bag knows which rows were configured. In: one transaction
 * (transaction.c), in which a device may refer to one before it.
 */
#include "../common/util.h"
#include "../devices/core/abi.h"
#include "handlers.h"

/* ---- out ---- */

static gboolean said_one(Device *dev, gpointer user)
{
    MachineConfig *config = user;

    if (dev->implicit)
        return TRUE;
    PropBag *bag = prop_bag_copy(dev->bag);
    g_free(bag->id);
    bag->id = g_strdup(dev->id); /* a generated id stands in the configuration like a given one */
    switch (device_ns(dev)) {
    case NS_CHARDEV:
        g_ptr_array_add(config->chardevs, chardev_args_from_bag(bag));
        prop_bag_free(bag);
        break;
    case NS_OBJECT:
        g_ptr_array_add(config->objects, bag);
        break;
    case NS_DEVICE:
        g_ptr_array_add(config->devices, bag);
        break;
    }
    return TRUE;
}

static MachineConfig *said(Machine *m)
{
    MachineConfig *config = g_new0(MachineConfig, 1);

    config->chardevs = REPLY_LIST(chardev_add_arguments_free);
    config->objects = REPLY_LIST(prop_bag_free);
    config->devices = REPLY_LIST(prop_bag_free);
    device_set_foreach(m->devices, said_one, config);
    return config;
}

static PropertyOrigin wire_origin(PropOrigin origin)
{
    G_STATIC_ASSERT((int)PROPERTY_ORIGIN_HOST == (int)ORIGIN_HOST && (int)PROPERTY_ORIGIN_CONFIG == (int)ORIGIN_CONFIG);
    return (PropertyOrigin)origin;
}

/* What would have been taken had the manager said nothing: the row's constant default, where it has one. */
static GPtrArray *losers(const PropBag *bag, const PropBag *defaults, guint row)
{
    if (bag->origin[row] == ORIGIN_DEFAULT || defaults->origin[row] == ORIGIN_UNSET)
        return NULL;
    GPtrArray *list = REPLY_LIST(lost_value_free);
    LostValue *lost = g_new0(LostValue, 1);
    lost->origin = PROPERTY_ORIGIN_DEFAULT;
    lost->value = handler_prop_json(defaults, row);
    g_ptr_array_add(list, lost);
    return list;
}

static gboolean resolved_one(Device *dev, gpointer list)
{
    ResolvedDevice *r = g_new0(ResolvedDevice, 1);
    g_autoptr(PropBag) defaults = prop_bag_new(dev->bag->table);

    prop_bag_apply_defaults(defaults);
    r->id = g_strdup(dev->id);
    r->type = g_strdup(dev->type->name);
    r->ns = (PlugNamespace)device_ns(dev);
    r->properties = REPLY_LIST(resolved_property_free);
    for (guint i = 0; i < dev->bag->table->n_rows; i++) {
        const PropDesc *row = &dev->bag->table->rows[i];
        ResolvedProperty *p = g_new0(ResolvedProperty, 1);
        p->name = g_strdup(row->name);
        p->value = handler_prop_json(dev->bag, i);
        p->origin = wire_origin(dev->bag->origin[i]);
        p->guest_visible = (row->flags & PROP_GUEST) != 0;
        p->lost = losers(dev->bag, defaults, i);
        g_ptr_array_add(r->properties, p);
    }
    g_ptr_array_add(list, r);
    return TRUE;
}

gboolean cmd_query_machine_config(Machine *m, QmpRequest *req, const QueryMachineConfigArgs *args,
                                  MachineConfigInfo **ret, GError **error)
{
    *ret = g_new0(MachineConfigInfo, 1);
    if (!args->has_resolved || !args->resolved) {
        (*ret)->config = said(m);
        return TRUE;
    }
    (*ret)->resolved = REPLY_LIST(resolved_device_free);
    device_set_foreach(m->devices, resolved_one, (*ret)->resolved);
    return TRUE;
}

/* ---- in ---- */

static guint length(const GPtrArray *list)
{
    return list ? list->len : 0;
}

gboolean cmd_machine_config_load(Machine *m, QmpRequest *req, const MachineConfigLoadArgs *args,
                                 MachineConfigLoaded **ret, GError **error)
{
    gboolean dry_run = args->has_dry_run && args->dry_run;

    if (!machine_check_alive(m, "machine-config-load", error) || !plug_together(m, req, args->config, dry_run, NULL, error))
        return FALSE;
    *ret = g_new0(MachineConfigLoaded, 1);
    (*ret)->devices = length(args->config->devices);
    (*ret)->objects = length(args->config->objects);
    (*ret)->chardevs = length(args->config->chardevs);
    return TRUE;
}

/* Takes a document as query-machine-config gives it ({"config": ...}) or the configuration alone. */
static gboolean load_document(Machine *m, const char *text, gsize len, GError **error)
{
    g_autoptr(JsonDoc) doc = json_doc_parse(text, len, &json_limits_default, error);
    g_autoptr(MachineConfig) config = NULL;
    JsonVal root, inner;

    if (!doc)
        return FALSE;
    root = json_doc_root(doc);
    if (json_kind(root) == JSON_KIND_OBJECT && json_member(root, "config", &inner))
        root = inner;
    if (!machine_config_decode(root, &config, error))
        return FALSE;
    QmpRequest req = { .server = m->server };
    MachineConfigLoadArgs args = { .config = config };
    g_autoptr(MachineConfigLoaded) loaded = NULL;
    return cmd_machine_config_load(m, &req, &args, &loaded, error);
}

gboolean config_load_file(Machine *m, const char *path, GError **error)
{
    g_autofree char *text = NULL;
    gsize len;

    if (!g_file_get_contents(path, &text, &len, error))
        return FALSE;
    if (load_document(m, text, len, error))
        return TRUE;
    g_prefix_error(error, "--config %s: ", path);
    return FALSE;
}

/* ---- the guest ABI ---- */

static char *hex(const guint8 *bytes, gsize len)
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
    g_autofree char *text = hex(bytes, n);
    if (!leaf->mask)
        return g_steal_pointer(&text);
    const guint8 *mask = g_bytes_get_data(leaf->mask, &mask_len);
    g_autofree char *mask_text = hex(mask, mask_len);
    return g_strdup_printf("%s/%s", text, mask_text);
}

gboolean cmd_query_guest_abi(Machine *m, QmpRequest *req, const QueryGuestAbiArgs *args, GuestAbiInfo **ret, GError **error)
{
    gboolean detail = args->has_detail && args->detail;
    g_autoptr(GPtrArray) leaves = NULL;
    guint8 root[ABI_HASH_LEN];

    if (!device_set_board(m->devices))
        return error_set(error, "query-guest-abi: there is no board yet, and so nothing that a guest could see");
    abi_fingerprint(m->devices, root, detail ? &leaves : NULL);
    *ret = g_new0(GuestAbiInfo, 1);
    (*ret)->fingerprint = hex(root, sizeof root);
    if (!detail)
        return TRUE;
    (*ret)->leaves = REPLY_LIST(guest_abi_leaf_free);
    for (guint i = 0; i < leaves->len; i++) {
        const AbiLeaf *leaf = g_ptr_array_index(leaves, i);
        GuestAbiLeaf *out = g_new0(GuestAbiLeaf, 1);
        out->device = g_strdup(leaf->device);
        out->item = g_strdup(leaf->item);
        out->hash = hex(leaf->hash, ABI_HASH_LEN);
        out->value = leaf_value(leaf);
        g_ptr_array_add((*ret)->leaves, out);
    }
    return TRUE;
}

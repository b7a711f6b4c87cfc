/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cmd-types.c - the qom- family over our type table and device set: what types there are, what is plugged, and what
 * its properties are.
 *
 * Clients of QEMU walk a tree of objects. Ours has the branches that they look at: /machine/peripheral,
 * /machine/unattached (the board's parts), /objects and /chardevs.
 */
#include "handlers.h"

static const char *prop_type_name(const PropDesc *row)
{
    static const char *const names[] = {
        [PROP_BOOL] = "bool",     [PROP_U8] = "uint8",   [PROP_U16] = "uint16", [PROP_U32] = "uint32",
        [PROP_U64] = "uint64",    [PROP_SIZE] = "size",  [PROP_ENUM] = "enum",  [PROP_STRING] = "string",
        [PROP_LINK] = "string",   [PROP_BYTES] = "string",
    };
    return names[row->kind];
}

char *handler_prop_json(const PropBag *bag, guint row)
{
    GString *text = g_string_new(NULL);
    JsonOut out = JSON_OUT_INIT(text);

    prop_bag_write(bag, row, &out);
    return g_string_free(text, FALSE);
}

/* ---- types ---- */

/* Roots of the tree of types, beyond our tables' own bases. */
static const char *root_type(const PropTable *table)
{
    return table->plug == PLUG_OBJECT ? "user-creatable" : table->plug == PLUG_CHARDEV ? "chardev" : "device";
}

static gboolean implements(const PropTable *table, const char *name)
{
    if (!name || strcmp(name, "object") == 0 || strcmp(name, root_type(table)) == 0)
        return TRUE;
    for (const PropTable *t = table; t; t = t->base) {
        if (strcmp(t->name, name) == 0)
            return TRUE;
    }
    return FALSE;
}

static void add_type(GPtrArray *list, const char *name, const char *parent, gboolean abstract)
{
    ObjectTypeInfo *info = g_new0(ObjectTypeInfo, 1);

    info->name = g_strdup(name);
    info->parent = g_strdup(parent);
    info->has_abstract = abstract;
    info->abstract = abstract;
    g_ptr_array_add(list, info);
}

gboolean cmd_qom_list_types(Machine *m, QmpRequest *req, const QomListTypesArgs *args, GPtrArray **ret, GError **error)
{
    GPtrArray *list = REPLY_LIST(object_type_info_free);

    for (guint i = 0; i < prop_n_tables; i++) {
        const PropTable *t = prop_tables[i];
        gboolean abstract = (t->flags & TYPE_ABSTRACT) != 0;
        if ((abstract && args->has_abstract && !args->abstract) || !implements(t, args->implements))
            continue;
        add_type(list, t->name, t->base ? t->base->name : root_type(t), abstract);
    }
    for (guint i = 0; device_types[i]; i++) {
        const char *name = device_types[i]->name; /* the board's parts have no properties of their own */
        if (!prop_table_find(name) && (!args->implements || strcmp(args->implements, "device") == 0))
            add_type(list, name, "device", FALSE);
    }
    *ret = list;
    return TRUE;
}

static ObjectPropertyInfo *property_info(const char *name, const char *type, const char *description)
{
    ObjectPropertyInfo *info = g_new0(ObjectPropertyInfo, 1);

    info->name = g_strdup(name);
    info->type = g_strdup(type);
    info->description = g_strdup(description);
    return info;
}

static GPtrArray *table_properties(const PropTable *table)
{
    GPtrArray *list = REPLY_LIST(object_property_info_free);
    g_autoptr(PropBag) defaults = prop_bag_new(table);

    prop_bag_apply_defaults(defaults);
    for (guint i = 0; i < table->n_rows; i++) {
        const PropDesc *row = &table->rows[i];
        if (row->flags & PROP_INTERNAL)
            continue;
        ObjectPropertyInfo *info = property_info(row->name, prop_type_name(row), row->doc);
        if (defaults->origin[i] != ORIGIN_UNSET)
            info->default_value = handler_prop_json(defaults, i);
        g_ptr_array_add(list, info);
    }
    return list;
}

static gboolean type_properties(const char *type, GPtrArray **ret, GError **error)
{
    const PropTable *table = prop_table_find(type);

    if (table) {
        *ret = table_properties(table);
        return TRUE;
    }
    if (device_type_find(type)) {
        *ret = REPLY_LIST(object_property_info_free);
        return TRUE;
    }
    g_autofree char *given = error_quote(type, -1);
    return error_set_class(error, ERROR_DEVICE_NOT_FOUND, "Type '%s' not found", given);
}

gboolean cmd_device_list_properties(Machine *m, QmpRequest *req, const DeviceListPropertiesArgs *args, GPtrArray **ret,
                                    GError **error)
{
    const PropTable *table = prop_table_find(args->typename);

    if (table && (table->flags & TYPE_ABSTRACT))
        return error_set(error, "Type '%s' is abstract and can not be plugged; qom-list-types lists those based on it", table->name);
    return type_properties(args->typename, ret, error);
}

gboolean cmd_qom_list_properties(Machine *m, QmpRequest *req, const QomListPropertiesArgs *args, GPtrArray **ret,
                                 GError **error)
{
    return type_properties(args->typename, ret, error);
}

/* ---- the tree ---- */

static void add_child(GPtrArray *list, const char *name, const char *type)
{
    g_autofree char *child = g_strdup_printf("child<%s>", type);

    g_ptr_array_add(list, property_info(name, child, NULL));
}

typedef struct {
    GPtrArray *list;
    DeviceNs   ns;
} Children;

static gboolean add_device(Device *dev, gpointer user)
{
    Children *c = user;

    if (device_ns(dev) == c->ns)
        add_child(c->list, dev->id, dev->type->name);
    return TRUE;
}

static gboolean add_part(Device *part, gpointer list)
{
    add_child(list, part->type->name, part->type->name);
    return TRUE;
}

static gboolean list_container(Machine *m, const char *path, GPtrArray *list)
{
    static const struct {
        const char *path;
        DeviceNs    ns;
    } containers[] = { { "/machine/peripheral", NS_DEVICE }, { "/objects", NS_OBJECT }, { "/chardevs", NS_CHARDEV } };

    for (guint i = 0; i < G_N_ELEMENTS(containers); i++) {
        if (strcmp(path, containers[i].path) != 0)
            continue;
        Children children = { .list = list, .ns = containers[i].ns };
        device_set_foreach(m->devices, add_device, &children);
        return TRUE;
    }
    if (strcmp(path, "/") == 0) {
        add_child(list, "machine", "container");
        add_child(list, "objects", "container");
        add_child(list, "chardevs", "container");
    } else if (strcmp(path, "/machine") == 0) {
        add_child(list, "peripheral", "container");
        add_child(list, "unattached", "container");
    } else if (strcmp(path, "/machine/unattached") == 0) {
        device_set_foreach_part(m->devices, add_part, list);
    } else {
        return FALSE;
    }
    return TRUE;
}

static Device *by_path(Machine *m, const char *path, GError **error)
{
    Device *dev = device_set_by_path(m->devices, path);

    if (!dev) {
        g_autofree char *given = error_quote(path, -1);
        error_set_class(error, ERROR_DEVICE_NOT_FOUND, "Device '%s' not found", given);
    }
    return dev;
}

gboolean cmd_qom_list(Machine *m, QmpRequest *req, const QomListArgs *args, GPtrArray **ret, GError **error)
{
    g_autoptr(GPtrArray) list = REPLY_LIST(object_property_info_free);

    if (!list_container(m, args->path, list)) {
        Device *dev = by_path(m, args->path, error);
        if (!dev)
            return FALSE;
        g_ptr_array_add(list, property_info("type", "string", NULL));
        for (guint i = 0; dev->bag && i < dev->bag->table->n_rows; i++) {
            const PropDesc *row = &dev->bag->table->rows[i];
            g_ptr_array_add(list, property_info(row->name, prop_type_name(row), NULL));
        }
        for (const char *const *name = dev->type->ops->readouts; name && *name; name++)
            g_ptr_array_add(list, property_info(*name, "readout", NULL));
    }
    *ret = g_steal_pointer(&list);
    return TRUE;
}

/* The row of the property, or -1 with an error. */
static int find_row(const Device *dev, const char *property, GError **error)
{
    int row = dev->bag ? prop_table_row(dev->bag->table, property) : -1;

    if (row < 0) {
        g_autofree char *given = error_quote(property, -1);
        error_set(error, "Property '%s.%s' not found", dev->type->name, given);
    }
    return row;
}

gboolean cmd_qom_get(Machine *m, QmpRequest *req, const QomGetArgs *args, char **ret, GError **error)
{
    Device *dev = by_path(m, args->path, error);

    if (!dev)
        return FALSE;
    if (strcmp(args->property, "type") == 0) {
        *ret = g_strdup_printf("\"%s\"", dev->type->name);
        return TRUE;
    }
    if (dev->type->ops->readouts && g_strv_contains(dev->type->ops->readouts, args->property)) {
        *ret = dev->type->ops->readout(dev, args->property);
        return TRUE;
    }
    int row = find_row(dev, args->property, error);
    if (row < 0)
        return FALSE;
    *ret = handler_prop_json(dev->bag, (guint)row);
    return TRUE;
}

gboolean cmd_qom_set(Machine *m, QmpRequest *req, const QomSetArgs *args, GError **error)
{
    Device *dev = by_path(m, args->path, error);
    int row = dev ? find_row(dev, args->property, error) : -1;

    if (row < 0)
        return FALSE;
    if (!(dev->bag->table->rows[row].flags & PROP_LIVE))
        return error_set(error, "Property '%s' of '%s' can not be changed while it is plugged", args->property, dev->id);
    g_autoptr(JsonDoc) doc = json_doc_parse(args->value, strlen(args->value), &json_limits_default, error);
    if (!doc)
        return FALSE;
    LOCK_SCOPE(&dev->lock);
    if (!prop_bag_set_json(dev->bag, (guint)row, json_doc_root(doc), ORIGIN_CONFIG, error))
        return FALSE;
    if (dev->type->ops->row_changed)
        dev->type->ops->row_changed(dev, (guint)row);
    return TRUE;
}

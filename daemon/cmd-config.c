/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cmd-config.c - the configuration out and in.
 *
 * Out: what the manager said, and nothing else; each thing's own property bag knows which rows were configured. In: one transaction
 * (transaction.c), in which a device may refer to one before it.
 */
#include "../devices/core/record.h"
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

/* What else there was to take, the strongest first. CANDIDATES is a bag to work with. */
static GPtrArray *losers(const Device *dev, PropBag *candidates, guint row)
{
    static const PropOrigin order[] = { ORIGIN_HINT, ORIGIN_BEFORE, ORIGIN_BASELINE, ORIGIN_DEFAULT };
    GPtrArray *list = NULL;

    for (guint i = 0; i < G_N_ELEMENTS(order); i++) {
        if (order[i] <= (PropOrigin)dev->bag->origin[row] || !device_candidate(dev->set, dev->id, order[i], candidates, row))
            continue;
        if (candidates->origin[row] != order[i]) /* `before` can be that there was no value */
            continue;
        LostValue *lost = g_new0(LostValue, 1);
        lost->origin = wire_origin(order[i]);
        lost->value = handler_prop_json(candidates, row);
        list = list ? list : REPLY_LIST(lost_value_free);
        g_ptr_array_add(list, lost);
    }
    return list;
}

static gboolean resolved_one(Device *dev, gpointer list)
{
    ResolvedDevice *r = g_new0(ResolvedDevice, 1);
    g_autoptr(PropBag) candidates = prop_bag_new(dev->bag->table);

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
        p->lost = losers(dev, candidates, i);
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

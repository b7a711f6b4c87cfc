/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * record.c - records of devices by id, and the places that they reserve. See record.h.
 *
 * The hard part is who may have a place. A type names the places of its devices from their rows alone (DeviceOps.places), so that a
 * record, which is rows and nothing else, names the same ones. The table "reserved" has those of absent devices. A device
 * that is allocated looks there and goes around; one that was told where to go takes it, and the absent device is then
 * without: its rows of that place become "today's default", so that its return finds another place instead of an error.
 *
 * Ids and places come from files of anybody: trees, since names can be chosen that all have one hash.
 */
#include "record.h"

#include "set.h"

#define RECORDS_MAX_GONE 1024

typedef void (*PlaceFn)(const char *const *rows, const Place *place, gpointer user);

struct PlaceSink {
    PlaceFn  fn;
    gpointer user;
};

/* ---- records ---- */

DeviceRecord *device_record_new(const PropTable *table, const char *id)
{
    DeviceRecord *record = g_new0(DeviceRecord, 1);

    record->type = device_type_find(table->name);
    record->id = g_strdup(id);
    record->bag = prop_bag_new(table);
    record->state = g_new0(guint8, MAX(table->n_rows, 1));
    return record;
}

DeviceRecord *device_record_copy(const DeviceRecord *record)
{
    DeviceRecord *copy = g_new0(DeviceRecord, 1);

    *copy = *record;
    copy->id = g_strdup(record->id);
    copy->bag = prop_bag_copy(record->bag);
    copy->state = g_memdup2(record->state, record->bag->table->n_rows);
    return copy;
}

void device_record_free(DeviceRecord *record)
{
    if (!record)
        return;
    prop_bag_free(record->bag);
    g_free(record->state);
    g_free(record->id);
    g_free(record);
}

/* The states that rows of DEV, with the bag of RECORD, have in it; what counts no longer is taken out of the bag. */
static void set_states(DeviceRecord *record, const Device *dev)
{
    const PropTable *table = record->bag->table;
    const DeviceRecord *known = device_set_record(dev->set, dev->id);

    for (guint i = 0; i < table->n_rows; i++) {
        gboolean refresh = known && known->bag->table == table && known->state[i] == RECORD_REFRESH;
        if (!(table->rows[i].flags & PROP_GUEST) || refresh)
            prop_bag_unset(record->bag, i);
        if (record->bag->origin[i] != ORIGIN_UNSET) {
            record->bag->origin[i] = ORIGIN_HINT;
            record->state[i] = RECORD_VALUE;
        } else {
            record->state[i] = refresh || table->rows[i].flags & PROP_AUTO ? RECORD_TODAY : RECORD_NONE;
        }
    }
}

/* Takes BAG. */
static DeviceRecord *record_with(const Device *dev, PropBag *bag)
{
    DeviceRecord *record = g_new0(DeviceRecord, 1);

    record->type = dev->type;
    record->id = g_strdup(dev->id);
    record->bag = bag;
    record->state = g_new0(guint8, MAX(bag->table->n_rows, 1));
    set_states(record, dev);
    return record;
}

DeviceRecord *device_record_of(const Device *dev)
{
    return record_with(dev, prop_bag_copy(dev->bag));
}

/* ---- what the host can give ---- */

gboolean device_record_host_check(DeviceSet *set, const DeviceRecord *record, GError **error)
{
    g_autofree Device *dev = g_malloc0(record->type->size);

    if (!record->type->ops->host_check)
        return TRUE;
    dev->type = record->type;
    dev->set = set;
    dev->id = record->id;
    dev->bag = prop_bag_copy(record->bag);
    gboolean ok = record->type->ops->host_check(dev, error);
    prop_bag_free(dev->bag);
    return ok;
}

void device_record_drop_host(DeviceRecord *record)
{
    for (guint i = 0; i < record->bag->table->n_rows; i++) {
        if (!(record->bag->table->rows[i].flags & PROP_HOST) || record->state[i] != RECORD_VALUE)
            continue;
        prop_bag_unset(record->bag, i);
        record->state[i] = RECORD_TODAY;
    }
}

/* ---- places ---- */

static gint place_order(gconstpointer a, gconstpointer b, gpointer unused)
{
    const Place *x = a, *y = b;

    if (x->value != y->value)
        return x->value < y->value ? -1 : 1;
    int kind = x->kind == y->kind ? 0 : strcmp(x->kind, y->kind);
    return kind ? kind : strcmp(x->scope, y->scope);
}

static void place_free(gpointer key)
{
    Place *p = key;

    g_free((char *)p->scope);
    g_free(p);
}

static Place *place_copy(const Place *place)
{
    Place *copy = g_memdup2(place, sizeof *place);

    copy->scope = g_strdup(place->scope);
    return copy;
}

GTree *device_places_new(void)
{
    return g_tree_new_full(place_order, NULL, place_free, NULL);
}

static gint id_order(gconstpointer a, gconstpointer b, gpointer unused)
{
    return strcmp(a, b);
}

GTree *device_records_new(void)
{
    return g_tree_new_full(id_order, NULL, NULL, (GDestroyNotify)device_record_free);
}

void device_place(PlaceSink *sink, const char *const *rows, Place place)
{
    sink->fn(rows, &place, sink->user);
}

static void foreach_place(const DeviceType *type, const PropBag *bag, PlaceFn fn, gpointer user)
{
    static const char *const boot_rows[] = { BOOTINDEX, NULL };
    PlaceSink sink = { fn, user };
    int boot = prop_table_row(bag->table, BOOTINDEX);

    if (boot >= 0 && bag->origin[boot] != ORIGIN_UNSET)
        fn(boot_rows, &(Place){ "boot index", "", prop_bag_get_u(bag, (guint)boot), NULL }, user);
    if (type->ops->places)
        type->ops->places(bag, &sink);
}

typedef struct {
    DeviceSet    *set;
    DeviceRecord *record;
    const Device *dev;
    const char   *id;
} PlaceWalk;

static void reserve(const char *const *rows, const Place *place, gpointer user)
{
    const PlaceWalk *walk = user;

    if (!g_tree_lookup(walk->set->reserved, place))
        g_tree_insert(walk->set->reserved, place_copy(place), walk->record);
}

static void unreserve(const char *const *rows, const Place *place, gpointer user)
{
    const PlaceWalk *walk = user;

    if (g_tree_lookup(walk->set->reserved, place) == walk->record)
        g_tree_remove(walk->set->reserved, place);
}

/* Another device has the place. */
static void lose(const char *const *rows, const Place *place, gpointer user)
{
    const PlaceWalk *walk = user;
    DeviceRecord *record = g_tree_lookup(walk->set->reserved, place);

    if (!record)
        return;
    g_tree_remove(walk->set->reserved, place);
    g_message("device '%s' has %s 0x%" G_GINT64_MODIFIER "x%s%s now, which was kept for '%s'", walk->dev->id, place->kind, place->value,
              *place->scope ? " of " : "", place->scope, record->id);
    for (guint i = 0; rows[i]; i++) {
        guint row = (guint)prop_table_row(record->bag->table, rows[i]);
        prop_bag_unset(record->bag, row);
        record->state[row] = RECORD_TODAY;
    }
}

void device_places_taken(Device *dev)
{
    PlaceWalk walk = {
        .set = dev->set, .record = device_ns(dev) == NS_DEVICE ? device_set_record(dev->set, dev->id) : NULL, .dev = dev
    };

    if (walk.record)
        foreach_place(walk.record->type, walk.record->bag, unreserve, &walk);
    if (g_tree_nnodes(dev->set->reserved) > 0)
        foreach_place(dev->type, dev->bag, lose, &walk);
    for (guint i = 0; walk.record && i < walk.record->bag->table->n_rows; i++) {
        if (walk.record->state[i] == RECORD_REFRESH)
            walk.record->state[i] = RECORD_TODAY;
    }
}

/* ---- places of devices that are about to come ---- */

static void expect(const char *const *rows, const Place *place, gpointer user)
{
    const PlaceWalk *walk = user;
    Place *key = place_copy(place);

    g_tree_replace(walk->set->expected, key, (gpointer)walk->id);
}

void device_places_expect(DeviceSet *set, const GPtrArray *bags)
{
    if (g_tree_nnodes(set->expected) > 0) {
        g_tree_unref(set->expected);
        set->expected = device_places_new();
    }
    for (guint i = 0; bags && i < bags->len; i++) {
        const PropBag *bag = g_ptr_array_index(bags, i);
        PlaceWalk walk = { .set = set, .id = bag->id ? bag->id : "" };
        foreach_place(device_type_find(bag->table->name), bag, expect, &walk);
    }
}

static gboolean is_others(const DeviceSet *set, const Place *place, const char *id)
{
    const char *owner = g_tree_lookup(set->expected, place);

    return owner && strcmp(owner, id) != 0;
}

typedef struct {
    const DeviceSet    *set;
    const DeviceRecord *record;
    const PropBag      *bag;
    guint8             *rows;
} YieldSearch;

/* Whether the manager gives row NAME another value than the record has. */
static gboolean says_else(const YieldSearch *search, const char *name)
{
    int row = name ? prop_table_row(search->bag->table, name) : -1;

    return row >= 0 && search->bag->origin[row] == ORIGIN_CONFIG && !prop_bag_row_equal(search->bag, search->record->bag, (guint)row);
}

static void look_at_place(const char *const *rows, const Place *place, gpointer user)
{
    YieldSearch *search = user;
    gboolean yields = is_others(search->set, place, search->record->id) || says_else(search, place->scope_row);

    for (guint i = 0; rows[i]; i++)
        yields |= says_else(search, rows[i]);
    if (yields && !search->rows)
        search->rows = g_new0(guint8, search->bag->table->n_rows);
    for (guint i = 0; yields && rows[i]; i++)
        search->rows[prop_table_row(search->bag->table, rows[i])] = TRUE;
}

guint8 *device_record_yields(const DeviceSet *set, const DeviceRecord *record, const PropBag *bag)
{
    YieldSearch search = { set, record, bag, NULL };

    foreach_place(record->type, record->bag, look_at_place, &search);
    return search.rows;
}

/* ---- looking for a place ---- */

guint64 device_place_since(const Device *dev, Place place)
{
    const DeviceRecord *record = g_tree_lookup(dev->set->reserved, &place);

    if (is_others(dev->set, &place, dev->id))
        return PLACE_NEVER;
    return record && strcmp(record->id, dev->id) != 0 ? record->since : 0;
}

PlaceSearch device_place_search(const Device *dev)
{
    return (PlaceSearch){ .dev = dev };
}

gboolean device_place_offer(PlaceSearch *search, guint value, guint64 reserved)
{
    if (reserved == PLACE_NEVER || (search->found && reserved != 0 && search->since <= reserved))
        return FALSE;
    search->found = TRUE;
    search->value = value;
    search->since = reserved;
    return reserved == 0;
}

gboolean device_place_try(PlaceSearch *search, guint value, Place place)
{
    return device_place_offer(search, value, device_place_since(search->dev, place));
}

/* ---- the table of records ---- */

static gboolean is_plugged(const DeviceSet *set, const DeviceRecord *record)
{
    return device_set_find(set, NS_DEVICE, record->id) != NULL;
}

DeviceRecord *device_set_record(const DeviceSet *set, const char *id)
{
    return g_tree_lookup(set->records, id);
}

gboolean device_set_forget(DeviceSet *set, const char *id)
{
    PlaceWalk walk = { .set = set, .record = device_set_record(set, id) };

    if (!walk.record)
        return FALSE;
    foreach_place(walk.record->type, walk.record->bag, unreserve, &walk);
    g_tree_remove(set->records, id);
    return TRUE;
}

void device_set_remember(DeviceSet *set, DeviceRecord *record)
{
    PlaceWalk walk = { .set = set, .record = record };

    device_set_forget(set, record->id);
    record->since = ++set->next_since;
    g_tree_insert(set->records, record->id, record);
    if (!is_plugged(set, record))
        foreach_place(record->type, record->bag, reserve, &walk);
}

static gboolean take_places(Device *dev, gpointer set)
{
    PlaceWalk walk = { .set = set, .dev = dev };

    if (device_ns(dev) == NS_DEVICE && dev->state >= DEVICE_PUBLISHED)
        foreach_place(dev->type, dev->bag, lose, &walk);
    return TRUE;
}

void device_set_remember_all(DeviceSet *set, GPtrArray *records)
{
    for (guint i = 0; i < records->len; i++)
        device_set_remember(set, g_ptr_array_index(records, i));
    g_ptr_array_set_free_func(records, NULL);
    g_ptr_array_unref(records);
    if (g_tree_nnodes(set->reserved) > 0)
        device_set_foreach(set, take_places, set);
}

void device_set_refresh(DeviceSet *set, const char *id, const PropTable *table, const guint *rows, guint n)
{
    Device *dev = device_set_find(set, NS_DEVICE, id);
    DeviceRecord *known = device_set_record(set, id);
    DeviceRecord *record = known && known->bag->table == table ? device_record_copy(known)
                           : dev ? device_record_of(dev) : device_record_new(table, id);

    for (guint i = 0; i < n; i++) {
        prop_bag_unset(record->bag, rows[i]);
        record->state[rows[i]] = dev ? RECORD_REFRESH : RECORD_TODAY;
    }
    device_set_remember(set, record);
}

typedef struct {
    const DeviceSet *set;
    DeviceRecord    *oldest;
    guint            n;
} GoneSearch;

static gboolean look_at_gone(gpointer id, gpointer value, gpointer user)
{
    GoneSearch *search = user;
    DeviceRecord *record = value;

    if (!record->removed || is_plugged(search->set, record))
        return FALSE;
    search->n++;
    if (!search->oldest || record->since < search->oldest->since)
        search->oldest = record;
    return FALSE;
}

void device_remember(Device *dev)
{
    DeviceSet *set = dev->set;
    GoneSearch search = { .set = set };

    if (g_tree_nnodes(set->records) >= RECORDS_MAX_GONE) {
        g_tree_foreach(set->records, look_at_gone, &search);
        if (search.n >= RECORDS_MAX_GONE)
            device_set_forget(set, search.oldest->id);
    }
    DeviceRecord *record = record_with(dev, g_steal_pointer(&dev->bag));
    record->removed = TRUE;
    device_set_remember(set, record);
}

static gboolean add_record(gpointer id, gpointer record, gpointer list)
{
    g_ptr_array_add(list, record);
    return FALSE;
}

GPtrArray *device_set_records(const DeviceSet *set)
{
    GPtrArray *list = g_ptr_array_new();

    g_tree_foreach(set->records, add_record, list);
    return list;
}

/* ---- baseline ---- */

void device_set_baseline(DeviceSet *set, const char *name, GHashTable *bags)
{
    g_free(set->baseline_name);
    g_clear_pointer(&set->baseline, g_hash_table_unref);
    set->baseline_name = g_strdup(name);
    set->baseline = bags;
}

const char *device_set_baseline_name(const DeviceSet *set)
{
    return set->baseline_name;
}

GHashTable *device_set_baseline_bags(const DeviceSet *set)
{
    return set->baseline;
}

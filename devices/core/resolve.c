/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * resolve.c - where each value of a device comes from: docs/design/compat-hints.md section 1, and nowhere else.
 *
 *   configuration > hint > before > baseline > today's default
 *
 * It is decided for each row by itself, before the device exists. A record that knows a row ends the search, also when it says that there
 * was no value: today's default, which may be younger than the record, is not taken then. What is still unset is for the type's resolve
 * hook, which computes a default or reads the host.
 */
#include "record.h"

#include "set.h"

/* What is known of a device besides its configuration. */
typedef struct {
    const DeviceRecord *record;   /* of this id and type, or NULL */
    const PropBag      *baseline; /* of this type, or NULL */
    guint8             *yields;   /* rows of the record that do not count: configuration says otherwise. NULL: none */
} Sources;

static Sources sources_of(const DeviceSet *set, const char *id, const PropTable *table)
{
    const DeviceRecord *record = table->plug < PLUG_OBJECT ? device_set_record(set, id) : NULL;

    return (Sources){
        .record = record && record->bag->table == table ? record : NULL,
        .baseline = set->baseline ? g_hash_table_lookup(set->baseline, table->name) : NULL,
    };
}

static RecordState recorded(const Sources *from, guint row)
{
    return from->record && !(from->yields && from->yields[row]) ? (RecordState)from->record->state[row] : RECORD_TODAY;
}

static gboolean candidate(const Sources *from, PropOrigin origin, PropBag *into, guint row)
{
    const PropDesc *desc = &into->table->rows[row];

    switch (origin) {
    case ORIGIN_HINT:
        if (recorded(from, row) != RECORD_VALUE)
            return FALSE;
        prop_bag_copy_row(into, from->record->bag, row, ORIGIN_HINT);
        return TRUE;
    case ORIGIN_BEFORE:
        if (!desc->has_before || recorded(from, row) != RECORD_UNKNOWN)
            return FALSE;
        if (!desc->before_none) /* else it is decided: it has none */
            prop_bag_set(into, row, desc->before, ORIGIN_BEFORE);
        return TRUE;
    case ORIGIN_BASELINE:
        if (!from->baseline || from->baseline->origin[row] == ORIGIN_UNSET)
            return FALSE;
        prop_bag_copy_row(into, from->baseline, row, ORIGIN_BASELINE);
        return TRUE;
    case ORIGIN_DEFAULT:
        if (!desc->has_default || desc->flags & PROP_AUTO)
            return FALSE;
        prop_bag_set(into, row, desc->def, ORIGIN_DEFAULT);
        return TRUE;
    default:
        return FALSE;
    }
}

gboolean device_candidate(const DeviceSet *set, const char *id, PropOrigin origin, PropBag *into, guint row)
{
    Sources from = sources_of(set, id, into->table);
    gboolean guest = (into->table->rows[row].flags & PROP_GUEST) != 0;

    return (guest || origin == ORIGIN_DEFAULT) && candidate(&from, origin, into, row);
}

/* The row is guest-visible and not configured. */
static void resolve_guest_row(PropBag *bag, const Sources *from, guint row)
{
    gboolean today = from->record && from->record->state[row] >= RECORD_TODAY; /* an explicit wish, which leaves out the baseline too */

    if (recorded(from, row) == RECORD_NONE || candidate(from, ORIGIN_HINT, bag, row) || candidate(from, ORIGIN_BEFORE, bag, row))
        return;
    if (!today && candidate(from, ORIGIN_BASELINE, bag, row))
        return;
    candidate(from, ORIGIN_DEFAULT, bag, row);
}

gboolean device_resolve(Device *dev, GError **error)
{
    PropBag *bag = dev->bag;
    Sources from = sources_of(dev->set, dev->id, bag->table);
    const DeviceRecord *other = device_set_record(dev->set, dev->id);

    if (other && !from.record && device_ns(dev) == NS_DEVICE)
        g_message("device '%s' is a %s: what is known of a %s of this id does not count", dev->id, bag->table->name,
                  other->bag->table->name);
    g_autofree guint8 *yields = from.record ? device_record_yields(dev->set, from.record, bag) : NULL;
    from.yields = yields;
    for (guint i = 0; i < bag->table->n_rows; i++) {
        if (bag->origin[i] != ORIGIN_UNSET)
            continue;
        if (bag->table->rows[i].flags & PROP_GUEST)
            resolve_guest_row(bag, &from, i);
        else
            candidate(&from, ORIGIN_DEFAULT, bag, i);
    }
    if (dev->type->ops->resolve && !dev->type->ops->resolve(dev, error))
        return FALSE;
    dev->state = DEVICE_CONFIGURED;
    return TRUE;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * record.h - what is remembered of devices by their ids: compat hints (docs/design/compat-hints.md) as a device set holds them.
 *
 * A record has, for each guest-visible row of a type, what a device of this id had. Records come in by an import, and from devices
 * that were taken away; they are what device_resolve() looks at. A device that is not plugged keeps its places (a PCI slot, a CPU
 * slot, ...) by its record: others are allocated around them.
 *
 * Main thread only.
 */
#pragma once

#include "device.h"

typedef enum {
    RECORD_UNKNOWN, /* the record's writer did not know the property: what devices did before there was one */
    RECORD_VALUE,   /* as in the bag */
    RECORD_NONE,    /* known, and it had no value */
    RECORD_TODAY,   /* today's default: not decided when it was written, or an explicit wish */
    RECORD_REFRESH, /* the same, and the device that is plugged does not have it yet */
} RecordState;

typedef struct {
    const DeviceType *type;
    char    *id;
    PropBag *bag;   /* the rows of RECORD_VALUE are set, as ORIGIN_HINT */
    guint8  *state; /* RecordState, one a row */
    guint64  since; /* of its reservation: counts records in the order in which they came */
    gboolean removed; /* here, not by an import */
} DeviceRecord;

DeviceRecord *device_record_new(const PropTable *table, const char *id);
DeviceRecord *device_record_copy(const DeviceRecord *record);
void          device_record_free(DeviceRecord *record);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DeviceRecord, device_record_free)

/* Whether this host can give what RECORD says (DeviceOps.host_check); the error says what it can not. Nothing is plugged. */
gboolean      device_record_host_check(DeviceSet *set, const DeviceRecord *record, GError **error);
/* What comes from hosts is today's default from now on. */
void          device_record_drop_host(DeviceRecord *record);

/* What DEV would be remembered by if it went now. Free with device_record_free(). */
DeviceRecord *device_record_of(const Device *dev);

/* Takes RECORD; it replaces one of the same id, and reserves its places if no such device is plugged. */
void          device_set_remember(DeviceSet *set, DeviceRecord *record);
/* Takes RECORDS and what is in it, in this order. Places that plugged devices have are not reserved: an absent device whose record has
 * one finds another. */
void          device_set_remember_all(DeviceSet *set, GPtrArray *records);
/* DEV is gone but for its memory: its bag becomes its record. At most 1024 that are not plugged are kept so; the longest gone is forgotten. */
void          device_remember(Device *dev);
/* Borrowed; NULL: nothing is known. */
DeviceRecord *device_set_record(const DeviceSet *set, const char *id);
/* The explicit way to today's defaults: ROWS of what is remembered of ID, a device of TABLE's type that may be plugged, count no longer. */
void          device_set_refresh(DeviceSet *set, const char *id, const PropTable *table, const guint *rows, guint n);
gboolean      device_set_forget(DeviceSet *set, const char *id); /* FALSE: there is none */
/* All records, of devices that are plugged too, by id. Free with g_ptr_array_unref(). */
GPtrArray    *device_set_records(const DeviceSet *set);

/* Defaults of a whole release for types whose devices have no record: BAGS is type name -> PropBag, whose set rows count. Takes BAGS. */
void          device_set_baseline(DeviceSet *set, const char *name, GHashTable *bags);
const char   *device_set_baseline_name(const DeviceSet *set); /* NULL: none */
GHashTable   *device_set_baseline_bags(const DeviceSet *set);

/* ---- resolution (resolve.c) ---- */

/* config, else hint, before, baseline, default; then the type's resolve hook. */
gboolean device_resolve(Device *dev, GError **error);
/* Sets ROW of INTO to what ORIGIN has to say for a device ID; FALSE: nothing. Constant defaults only. */
gboolean device_candidate(const DeviceSet *set, const char *id, PropOrigin origin, PropBag *into, guint row);

/* ---- places ---- */

/* Keyed by Place; keyed by id, of DeviceRecord, which it owns. */
GTree        *device_places_new(void);
GTree        *device_records_new(void);

/* The devices of BAGS (of PropBag) are about to be plugged: where they are told to be, nobody else goes by a record or by allocation. NULL: no
 * longer. Borrowed until then. */
void          device_places_expect(DeviceSet *set, const GPtrArray *bags);
/* The rows of RECORD that put a device where it can not be any more, for it is expected to be another's place, or BAG's configuration puts the
 * device elsewhere: a flag for each row, or NULL if there are none. Free with g_free(). */
guint8       *device_record_yields(const DeviceSet *set, const DeviceRecord *record, const PropBag *bag);

/* A device has its places now: no longer reserved for it; whoever had them reserved loses them. */
void     device_places_taken(Device *dev);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * prop.h - property rows: the one description of everything that can be said about a pluggable
 * type (device, object or chardev back end).
 *
 * schema/devices/<type>.json is the source. The generator (schema/gen) turns each type into a config struct, a
 * constant array of PropDesc rows (those of its base types first) and a PropTable, and all tables
 * into one sorted directory. Rows drive the decoder of device_add and object-add, introspection,
 * resolution (docs/design/compat-hints.md section 1), configuration dumps and the guest-ABI fingerprint. Nothing
 * that a guest can see comes from anywhere else.
 *
 * A PropBag is one set of values for one table: a config struct and, per row, where its value came
 * from. ORIGIN_UNSET means that the field's content is meaningless.
 */
#pragma once

#include "json.h"

typedef enum {
    PROP_BOOL,   /* gboolean */
    PROP_U8,     /* guint8 */
    PROP_U16,    /* guint16 */
    PROP_U32,    /* guint32 */
    PROP_U64,    /* guint64 */
    PROP_SIZE,   /* guint64, bytes */
    PROP_ENUM,   /* int, an index into PropDesc.enum_names */
    PROP_STRING, /* char * */
    PROP_LINK,   /* char *: the id of an object, chardev or bus */
    PROP_BYTES,  /* GBytes *: base64 on the wire */
} PropKind;

enum {
    PROP_GUEST = 1 << 0,    /* the guest can see it: takes part in hints and fingerprint */
    PROP_REQUIRED = 1 << 1, /* must be configured */
    PROP_INTERNAL = 1 << 2, /* never accepted from a manager; hints only */
    PROP_LIVE = 1 << 3,     /* qom-set may change it while plugged */
    PROP_AUTO = 1 << 4,     /* no constant default: the type's resolve hook computes one */
    PROP_HOST = 1 << 5,     /* with AUTO: the default is read from the host (origin "host") */
};

typedef enum {
    ORIGIN_UNSET,
    ORIGIN_CONFIG,
    ORIGIN_HINT,
    ORIGIN_BEFORE,
    ORIGIN_BASELINE,
    ORIGIN_DEFAULT,
    ORIGIN_HOST,
} PropOrigin;

const char *prop_origin_name(PropOrigin origin); /* "unset", "config", ... */

/* A value outside a config struct. Which member counts follows from the row's kind. */
typedef struct {
    guint64     u; /* BOOL, U8..U64, SIZE, ENUM */
    const char *s; /* STRING, LINK; BYTES as base64 text */
} PropValue;

typedef struct {
    const char        *name; /* wire name; never reused for another meaning */
    const char        *doc;
    PropKind           kind;
    guint32            flags;
    guint32            offset; /* into the config struct; the generator asserts the member's size */
    const char        *since;
    gboolean           has_default, has_before;
    gboolean           before_none; /* with has_before: devices had no value then */
    PropValue          def;        /* today's default */
    PropValue          before;     /* what devices did before the property existed */
    guint64            min, max;   /* numbers: inclusive; strings and BYTES (decoded): length in bytes */
    const char *const *enum_names; /* ENUM: NULL-terminated */
    const char        *link_to;    /* LINK: "chardev", "memory-backend", "pci-bus", ... */
} PropDesc;

typedef enum {
    PLUG_BOARD,     /* the board itself */
    PLUG_CPU,       /* a CPU slot of the board */
    PLUG_MEMORY,    /* a DIMM slot */
    PLUG_ISA,       /* fixed ports */
    PLUG_PCI,       /* a PCI slot */
    PLUG_VSERPORT,  /* a port of a virtio-serial device */
    PLUG_BOOT,      /* firmware and kernel loaders: no bus */
    PLUG_OBJECT,    /* host side: object-add */
    PLUG_CHARDEV,   /* host side: chardev-add */
} PlugKind;

enum {
    TYPE_HOTPLUG = 1 << 0,    /* may be plugged after the first cont */
    TYPE_HOT_UNPLUG = 1 << 1, /* may be unplugged after the first cont */
    TYPE_SINGLETON = 1 << 2,  /* at most one */
    TYPE_ABSTRACT = 1 << 3,   /* a base only: can not be plugged */
};

typedef struct PropTable PropTable;
struct PropTable {
    const char      *name;
    const char      *was;   /* the name that it had at first, if that is another: what is stored knows it by that one */
    const char      *doc;
    const char      *since;
    const PropTable *base; /* NULL at the root; its rows come first, at the same offsets */
    PlugKind         plug;
    guint32          flags;
    const PropDesc  *rows;
    guint            n_rows;
    gsize            config_size;
};

/* The generated directory, sorted by name. */
extern const PropTable *const prop_tables[];
extern const guint prop_n_tables;
/* By its name, or the one that it had at first. */
const PropTable *prop_table_find(const char *name);
const char *prop_table_first_name(const PropTable *table);
/* The row's index, or -1. */
int prop_table_row(const PropTable *table, const char *name);

typedef struct {
    const PropTable *table;
    char            *id;     /* NULL: none given */
    gpointer         config; /* the generated struct, table->config_size bytes, owned */
    guint8          *origin; /* PropOrigin, one a row */
} PropBag;

PropBag *prop_bag_new(const PropTable *table);
PropBag *prop_bag_copy(const PropBag *bag);
void     prop_bag_free(PropBag *bag);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(PropBag, prop_bag_free)

/* Decodes the JSON object of a device_add ("driver") or object-add ("qom-type") command: DISCRIMINATOR names
 * the member that holds the type. Checks kinds, ranges, names, the id's characters and required
 * members; INTERNAL and unknown members are refused by name. */
PropBag *prop_bag_decode(JsonVal object, const char *discriminator, GError **error);

/* Sets row ROW from a JSON value, checked. */
gboolean prop_bag_set_json(PropBag *bag, guint row, JsonVal v, PropOrigin origin, GError **error);
/* Sets row ROW; strings and bytes are copied. For BYTES, V.s is base64. */
void prop_bag_set(PropBag *bag, guint row, PropValue v, PropOrigin origin);
void prop_bag_set_bytes(PropBag *bag, guint row, GBytes *bytes, PropOrigin origin);
/* Sets by name: for resolve hooks. It is our own bug if there is no such row. */
void prop_bag_set_u(PropBag *bag, const char *name, guint64 u, PropOrigin origin);
void prop_bag_set_s(PropBag *bag, const char *name, const char *s, PropOrigin origin);
gboolean prop_bag_is_set(const PropBag *bag, const char *name);
PropOrigin prop_bag_origin(const PropBag *bag, const char *name);
void     prop_bag_unset(PropBag *bag, guint row);
/* Takes over FROM's value of row ROW, which must be set; both bags are of one table. */
void     prop_bag_copy_row(PropBag *bag, const PropBag *from, guint row, PropOrigin origin);
gboolean prop_bag_row_equal(const PropBag *a, const PropBag *b, guint row);

/* Row ROW's value; the getter must fit its kind. Borrowed. */
guint64     prop_bag_get_u(const PropBag *bag, guint row);
const char *prop_bag_get_s(const PropBag *bag, guint row);
GBytes     *prop_bag_get_bytes(const PropBag *bag, guint row);

/* Applies the constant defaults to all rows still unset, except AUTO ones. */
void prop_bag_apply_defaults(PropBag *bag);

/* Row ROW's value, which must be set, as a floating GVariant (prop-variant.c); and back, checked. */
GVariant *prop_bag_get_variant(const PropBag *bag, guint row);
gboolean  prop_bag_set_variant(PropBag *bag, guint row, GVariant *value, PropOrigin origin, GError **error);
/* For messages: whatever size VALUE (b, t, s, ay, y) has, this is short and fit to be shown. Caller frees. */
char     *prop_variant_text(GVariant *value);

/* Writes row ROW's value as JSON. */
void prop_bag_write(const PropBag *bag, guint row, JsonOut *out);
/* Writes {DISCRIMINATOR: type, "id": id, ...} with the rows whose origin is CONFIG: the manager's own words. */
void prop_bag_encode_said(const PropBag *bag, const char *discriminator, JsonOut *out);
/* The row's value as canonical bytes for hashing: "name=" and the JSON text. */
void prop_bag_canonical(const PropBag *bag, guint row, GString *out);

/* TRUE if ID is a valid id: a letter first, then letters, digits, '-', '.', '_'; at most 127 bytes. */
gboolean prop_id_valid(const char *id);

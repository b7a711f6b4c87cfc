/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hints.h - compat hints between their file (hints-file.h) and the device set's records (devices/core/record.h).
 * Main thread only.
 */
#pragma once

#include "../devices/core/record.h"
#include "hints-file.h"

/* The sections "types", "values", "devices", "baseline" (hints.c). */
#define HINT_TYPES "a(sas)"
#define HINT_VALUES "av"
#define HINT_DEVICES "a(suuau)"
#define HINT_BASELINE "(sa(ua(uu)))"

/* What stands for a value that is none, as a byte. */
enum { HINT_VALUE_NONE, HINT_VALUE_TODAY };

/* Something in hints that this build can not use. */
typedef enum {
    HINT_UNKNOWN,     /* a section, type or property that this build does not have */
    HINT_UNSUPPORTED, /* a value that it does not take */
} HintLossKind;

typedef struct {
    HintLossKind kind;
    char        *id;       /* NULL: a section or a baseline's value */
    char        *property; /* NULL: all of them */
    char        *reason;
} HintLoss;

typedef struct {
    char       *producer;
    GPtrArray  *records;  /* of DeviceRecord, in the order of their reservations */
    char       *baseline_name; /* NULL: none */
    GHashTable *baseline; /* type name -> PropBag */
    GPtrArray  *losses;   /* of HintLoss */
} Hints;

void hints_free(Hints *hints);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Hints, hints_free)

/* For what reads them. */
Hints *hints_new(void);
gboolean hints_baseline_name_valid(const char *name);
void   hints_baseline_new(Hints *hints, const char *name);
void   hints_lose(Hints *hints, HintLossKind kind, const char *id, const char *property, char *reason); /* takes REASON */

/* Everything that is known of SET's devices: of those that are plugged, then those that are not. Deterministic. N (or NULL) gets the number of records. */
GBytes *hints_write(const DeviceSet *set, guint *n);
/* Errors: what can not be read at all. What can be read and not be used is in the result's losses. */
Hints  *hints_read(GBytes *bytes, GError **error);
/* A release's defaults: compat-db/NAME/defaults.json. */
Hints  *hints_read_baseline(const char *name, GError **error);
/* Makes them count for what is plugged from now on. Takes all that HINTS has; it can only be freed then. */
void    hints_adopt(Hints *hints, DeviceSet *set);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* handlers.h - what the command handlers (cmd-*.c) share. Their own prototypes are generated. */
#pragma once

#include "machine.h"

#include "../schema/generated/qmp-commands.h"

/* --config: loads a whole document, as machine-config-load does. */
gboolean config_load_file(Machine *m, const char *path, GError **error);

/* --hints: imports compat hints, as compat-hints-import does. */
gboolean hints_import_file(Machine *m, const char *path, GError **error);

/* Plugs all of WHAT with one notification of the guest, or nothing: the error names the member. DRY_RUN: nothing in any case. IDS (or NULL) gets the ids
 * of the devices, those that were generated too; free with g_ptr_array_unref(). (transaction.c) */
gboolean plug_together(Machine *m, QmpRequest *req, const MachineConfig *what, gboolean dry_run, GPtrArray **ids, GError **error);

/* A chardev's configuration in chardev-add's shape, both ways (cmd-char.c). */
PropBag             *chardev_bag_from_args(QmpRequest *req, const ChardevAddArguments *args, GError **error);
ChardevAddArguments *chardev_args_from_bag(const PropBag *bag);
/* The descriptor that a bag from chardev_bag_from_args() has by its name, or -1. Plugging takes it; who fails to plug closes it. */
int                  chardev_bag_named_fd(const PropBag *bag);
/* The chardev is there to stay: the name is used up, as with QEMU. Before that a failure or a dry run changes nothing. */
void                 chardev_use_up_name(QmpRequest *req, const ChardevAddArguments *args);

/* The device, object or chardev ID, or an error of class DeviceNotFound that says what was looked for. */
Device *handler_find(Machine *m, DeviceNs ns, const char *id, GError **error);
/* Sets a property as the client said it, where it did. */
void    handler_say_s(PropBag *bag, const char *name, const char *value);
void    handler_say_u(PropBag *bag, gboolean given, const char *name, guint64 value);
/* A property's value as JSON text; "null" if it has none. Caller frees. */
char   *handler_prop_json(const PropBag *bag, guint row);
/* BYTES in hexadecimal. Caller frees. */
char   *handler_hex(const guint8 *bytes, gsize len);
/* The machine's fingerprint in hexadecimal, or NULL while there is no board. Caller frees. */
char   *handler_fingerprint(Machine *m);
/* A list for a reply, of elements freed by FREE. */
#define REPLY_LIST(free) g_ptr_array_new_with_free_func((GDestroyNotify)(free))

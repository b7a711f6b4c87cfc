/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* handlers.h - what the command handlers (cmd-*.c) share. Their own prototypes are generated. */
#pragma once

#include "machine.h"

#include "../schema/generated/qmp-commands.h"

/* --config: loads a whole document, as machine-config-load does. */
gboolean config_load_file(Machine *m, const char *path, GError **error);

/* A chardev's configuration in chardev-add's shape, both ways (cmd-char.c). */
PropBag          *chardev_bag_from_args(QmpRequest *req, const ChardevAddArgs *args, GError **error);
ChardevAddArgs   *chardev_args_from_bag(const PropBag *bag);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* log.h - where the daemon's log goes: standard error, in the form that the journal understands when systemd started us. */
#pragma once

#include <glib.h>

/* LEVEL: "error", "warning", "info" or "debug"; FALSE if it is none of them. */
gboolean log_init(const char *level);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* hints-io.h - where a client has its compat hints: files, descriptors, base64. */
#pragma once

#include "../qmp/qmp.h"
#include "../schema/generated/qmp-types.h"
#include "hints.h"

/* COMMAND stands before what is wrong. */
Hints   *hints_from(QmpRequest *req, const HintsSource *from, const char *command, GError **error);
gboolean hints_to(QmpRequest *req, const HintsTarget *to, GBytes *bytes, GError **error);

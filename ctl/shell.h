/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "ctl.h"

gboolean shell_run(const Ctl *ctl, QmpClient *client, GError **error);
gboolean shell_execute(const Ctl *ctl, QmpClient *client, char **words, GError **error);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "ctl.h"

/* @ctl says how replies are printed; @client is connected, and stays the caller's. */
gboolean shell_run(const Ctl *ctl, QmpClient *client, GError **error);
gboolean shell_execute(const Ctl *ctl, QmpClient *client, char **words, GError **error);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* net-user.h - netdev_add's words for a `user` network, as property rows. */
#pragma once

#include "../common/prop.h"
#include "../schema/generated/qmp-types.h"

/* Errors name the parameter. What the values mean is the object's to check. */
gboolean net_user_from_args(PropBag *bag, const NetdevUserOptions *args, GError **error);

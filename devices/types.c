/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* types.c - the table of all device types, in alphabetical order, one line each (and its declaration). */
#include "core/device.h"

/* clang-format off */

const DeviceType *const device_types[] = {
    NULL,
};

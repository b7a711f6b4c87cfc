/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "../core/device.h"

const char *chardev_pty_name(Device *dev); /* "/dev/pts/3" */

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* starter.h - private to devices/boot: what linux-loader and firmware share. Main thread. */
#pragma once

#include "../core/device.h"
#include "../cpu/cpu.h"

/* PATH as errors name it: "Property 'kernel' of device 'boot': '/path'". Caller frees. */
char    *boot_file_name(const Device *dev, const char *prop, const char *path);
/* A descriptor for reading, or -1. What kind of file it is has not been checked. */
int      boot_file_open(Device *dev, const char *prop, const char *path, GError **error);
/* In realize: no other device starts the machine. */
gboolean boot_check_alone(Device *dev, GError **error);
/* The CPU that starts, or NULL with an error: there is none for DEV's WHAT. */
Device  *boot_find_cpu(Device *dev, const char *what, GError **error);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* types.c - the table of all device types, in alphabetical order, one line each (and its declaration). */
#include "core/device.h"

/* clang-format off */

extern const DeviceType iothread_type;
extern const DeviceType memory_backend_file_type;
extern const DeviceType memory_backend_memfd_type;
extern const DeviceType memory_backend_ram_type;
extern const DeviceType pc_dimm_type;

const DeviceType *const device_types[] = {
    &iothread_type,
    &memory_backend_file_type,
    &memory_backend_memfd_type,
    &memory_backend_ram_type,
    &pc_dimm_type,
    NULL,
};

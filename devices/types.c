/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* types.c - the table of all device types, in alphabetical order, one line each (and its declaration). */
#include "core/device.h"

/* clang-format off */

extern const DeviceType blockdev_file_type;
extern const DeviceType blockdev_host_device_type;
extern const DeviceType blockdev_null_co_type;
extern const DeviceType blockdev_raw_type;
extern const DeviceType board_type;
extern const DeviceType chardev_file_type;
extern const DeviceType chardev_null_type;
extern const DeviceType chardev_pty_type;
extern const DeviceType chardev_ringbuf_type;
extern const DeviceType chardev_socket_type;
extern const DeviceType chardev_stdio_type;
extern const DeviceType cpu_hotplug_type;
extern const DeviceType firmware_type;
extern const DeviceType fw_cfg_type;
extern const DeviceType host_bridge_type;
extern const DeviceType host_x86_64_cpu_type;
extern const DeviceType iothread_type;
extern const DeviceType isa_debug_exit_type;
extern const DeviceType isa_debugcon_type;
extern const DeviceType isa_serial_type;
extern const DeviceType linux_loader_type;
extern const DeviceType lpc_type;
extern const DeviceType mem_hotplug_type;
extern const DeviceType memory_backend_file_type;
extern const DeviceType memory_backend_memfd_type;
extern const DeviceType memory_backend_ram_type;
extern const DeviceType netdev_tap_type;
extern const DeviceType netdev_user_type;
extern const DeviceType pc_dimm_type;
extern const DeviceType pci_hotplug_type;
extern const DeviceType pcie_root_port_type;
extern const DeviceType qemu64_x86_64_cpu_type;
extern const DeviceType rng_builtin_type;
extern const DeviceType rng_random_type;
extern const DeviceType rtc_type;
extern const DeviceType virtconsole_type;
extern const DeviceType virtio_balloon_pci_type;
extern const DeviceType virtio_blk_pci_type;
extern const DeviceType virtio_net_pci_type;
extern const DeviceType virtio_rng_pci_type;
extern const DeviceType virtio_serial_pci_type;
extern const DeviceType virtserialport_type;
extern const DeviceType x86_64_v1_x86_64_cpu_type;
extern const DeviceType x86_64_v2_x86_64_cpu_type;
extern const DeviceType x86_64_v3_x86_64_cpu_type;
extern const DeviceType x86_64_v4_x86_64_cpu_type;

const DeviceType *const device_types[] = {
    &blockdev_file_type,
    &blockdev_host_device_type,
    &blockdev_null_co_type,
    &blockdev_raw_type,
    &board_type,
    &chardev_file_type,
    &chardev_null_type,
    &chardev_pty_type,
    &chardev_ringbuf_type,
    &chardev_socket_type,
    &chardev_stdio_type,
    &cpu_hotplug_type,
    &firmware_type,
    &mem_hotplug_type,
    &pci_hotplug_type,
    &fw_cfg_type,
    &host_bridge_type,
    &host_x86_64_cpu_type,
    &iothread_type,
    &isa_debug_exit_type,
    &isa_debugcon_type,
    &isa_serial_type,
    &linux_loader_type,
    &lpc_type,
    &memory_backend_file_type,
    &memory_backend_memfd_type,
    &memory_backend_ram_type,
    &netdev_tap_type,
    &netdev_user_type,
    &pc_dimm_type,
    &pcie_root_port_type,
    &qemu64_x86_64_cpu_type,
    &rng_builtin_type,
    &rng_random_type,
    &rtc_type,
    &virtconsole_type,
    &virtio_balloon_pci_type,
    &virtio_blk_pci_type,
    &virtio_net_pci_type,
    &virtio_rng_pci_type,
    &virtio_serial_pci_type,
    &virtserialport_type,
    &x86_64_v1_x86_64_cpu_type,
    &x86_64_v2_x86_64_cpu_type,
    &x86_64_v3_x86_64_cpu_type,
    &x86_64_v4_x86_64_cpu_type,
    NULL,
};

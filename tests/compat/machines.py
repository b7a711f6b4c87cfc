# SPDX-License-Identifier: LGPL-2.1-or-later
"""The reference machines of compat-db (docs/design/compat-hints.md section 4): configurations as a manager would give them, which leave open
what a manager leaves open. They run under the test accelerator with named CPU models, so that what they show depends on no host.

Never edited once a release was made with them: each release's folder has its own copies of what it was given.
"""

MIB, GIB = 1 << 20, 1 << 30


def memory(n, size):
    return ([{"qom-type": "memory-backend-ram", "id": "ram%d" % i, "size": size} for i in range(n)],
            [{"driver": "pc-dimm", "id": "dimm%d" % i, "memdev": "ram%d" % i} for i in range(n)])


def cpus(n, model="x86-64-v2-x86_64-cpu"):
    return [{"driver": model, "id": "cpu%d" % i} for i in range(n)]


def ports(n):
    return [{"driver": "pcie-root-port", "id": "rp%d" % i, "multifunction": True} for i in range(n)]


def null_disk(i, size=GIB):
    return {"qom-type": "blockdev-null-co", "id": "node%d" % i, "size": size}


def small():
    objects, dimms = memory(1, 256 * MIB)
    return {"chardevs": [{"id": "serial", "backend": {"type": "null", "data": {}}}],
            "objects": objects + [null_disk(0)],
            "devices": cpus(1, "qemu64-x86_64-cpu") + dimms + [
                {"driver": "isa-serial", "id": "serial0", "chardev": "serial"},
                {"driver": "virtio-blk-pci", "id": "disk0", "drive": "node0"}]}


def server():
    """Four CPUs and six devices, some behind root ports, some told where to be."""
    objects, dimms = memory(2, GIB)
    return {"chardevs": [{"id": "console", "backend": {"type": "null", "data": {}}}, {"id": "agent", "backend": {"type": "null", "data": {}}}],
            "objects": objects + [null_disk(0), null_disk(1, 8 * GIB), {"qom-type": "netdev-user", "id": "net0"},
                                  {"qom-type": "rng-random", "id": "random"}],
            "devices": [{"driver": "board", "id": "board", "max-cpus": 8, "cpu-sockets": 2, "uuid": "0b6e7ea2-4d5b-4b9c-9a6d-2f3a1c5d7e90",
                         "smbios-serial": "SN-1"}] + cpus(4) + dimms + ports(4) + [
                {"driver": "virtio-blk-pci", "id": "disk0", "drive": "node0", "bus": "rp0", "serial": "root", "bootindex": 1},
                {"driver": "virtio-blk-pci", "id": "disk1", "drive": "node1", "bus": "rp1"},
                {"driver": "virtio-net-pci", "id": "net", "netdev": "net0", "bus": "rp2"},
                {"driver": "virtio-serial-pci", "id": "vserial", "addr": "10"},
                {"driver": "virtio-rng-pci", "id": "rng", "rng": "random"},
                {"driver": "virtio-balloon-pci", "id": "balloon"},
                {"driver": "virtconsole", "id": "console0", "chardev": "console"},
                {"driver": "virtserialport", "id": "agent0", "name": "org.example.agent", "chardev": "agent"}]}


def large():
    """64 CPUs, and 200 devices: a hundred ports and what is in them."""
    objects, dimms = memory(4, 2 * GIB)
    kinds = [lambda i: {"driver": "virtio-blk-pci", "drive": "node%d" % i, "serial": "disk-%d" % i}, lambda i: {"driver": "virtio-rng-pci"},
             lambda i: {"driver": "virtio-balloon-pci"} if i == 2 else {"driver": "virtio-rng-pci", "max-bytes": 4096, "period": 1000},
             lambda i: {"driver": "virtio-serial-pci", "max_ports": 4}]
    devices = [dict(kinds[i % 4](i), id="dev%d" % i, bus="rp%d" % i) for i in range(100)]
    return {"objects": objects + [null_disk(i) for i in range(0, 100, 4)],
            "devices": [{"driver": "board", "id": "board", "max-cpus": 64, "cpu-threads": 2, "memory-slots": 8}] + cpus(64, "x86-64-v3-x86_64-cpu") +
                       dimms + ports(100) + devices}


def everything(kernel):
    """One of each type at least, with properties set that nobody needs. KERNEL is a file's name."""
    objects, dimms = memory(1, 512 * MIB)
    return {"chardevs": [{"id": "c%d" % i, "backend": {"type": "null", "data": {}}} for i in range(4)],
            "objects": objects + [null_disk(0), null_disk(1), {"qom-type": "netdev-user", "id": "net0"}, {"qom-type": "iothread", "id": "io0"}],
            "devices": [{"driver": "board", "id": "board", "max-cpus": 4, "rtc-base": "2026-01-31T12:30:00", "smbios-product": "Everything"}] +
                       cpus(2, "x86-64-v1-x86_64-cpu") + dimms + [
                {"driver": "isa-serial", "id": "com1", "chardev": "c0"}, {"driver": "isa-serial", "id": "com2"},
                {"driver": "isa-debugcon", "id": "debugcon", "chardev": "c1"}, {"driver": "isa-debug-exit", "id": "debugexit"},
                {"driver": "linux-loader", "id": "loader", "kernel": kernel, "append": "console=ttyS0 quiet"},
                {"driver": "pcie-root-port", "id": "native", "native-hotplug": True, "chassis": 3, "slot": 7},
                {"driver": "pcie-root-port", "id": "narrow", "link-speed": 2, "link-width": 4, "hotplug": False},
                {"driver": "virtio-blk-pci", "id": "disk0", "drive": "node0", "iothread": "io0", "bus": "native", "num-queues": 3, "queue-size": 64,
                 "vectors": 2, "write-cache": "off", "discard": False},
                {"driver": "virtio-blk-pci", "id": "disk1", "drive": "node1", "packed": True, "logical_block_size": 4096, "physical_block_size": 4096},
                {"driver": "virtio-net-pci", "id": "net", "netdev": "net0", "mac": "52:54:00:00:00:01", "bus": "narrow"},
                {"driver": "virtio-serial-pci", "id": "vserial", "vectors": 0},
                {"driver": "virtconsole", "id": "console0", "chardev": "c2"},
                {"driver": "virtserialport", "id": "port", "chardev": "c3", "nr": 9, "name": "nine"},
                {"driver": "virtio-rng-pci", "id": "rng", "addr": "1e.1"}, {"driver": "virtio-rng-pci", "id": "rng0", "addr": "1e.0", "multifunction": True},
                {"driver": "virtio-balloon-pci", "id": "balloon", "deflate-on-oom": True}]}


def all_machines(kernel):
    return {"small": small(), "server": server(), "large": large(), "everything": everything(kernel)}

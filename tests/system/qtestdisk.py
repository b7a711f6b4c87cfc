# SPDX-License-Identifier: LGPL-2.1-or-later
"""A driver for virtio disks that works through the qtest protocol, for tests of the daemon with `--accel test`.

The guest's RAM is a file that this process maps too, so data and rings are read and written in place; only registers and
kicks go through the socket. One split ring a disk, driven from virtio 1.2 sections 2.7, 4.1.4 and 5.2.

    d = DiskDaemon(folder)
    disk = d.plug("d0", slot, node={"driver": "file", ...}, iothread=...)
    d.start()
    disk.submit([Req(disk, T_OUT, sector, data)]); disk.wait()
"""
import mmap
import os
import struct
import time

from blackbox import MIB, PATIENCE, Daemon, QmpError
from qtest import Qtest

T_IN, T_OUT, T_FLUSH, T_GET_ID, T_DISCARD, T_WRITE_ZEROES = 0, 1, 4, 8, 11, 13
OK, IOERR, UNSUPP = 0, 1, 2
ECAM, BARS = 0xb0000000, 0xe0000000
QUEUE = 64         # descriptors, three a request
AREA = 4 * MIB     # of guest memory, for each disk
DATA_AT = 64 << 10 # within it
NEEDS_RESET = 64


class Guest(Qtest):
    def read(self, address, size):
        return self.number(f"read{'_bw_l___q'[size]} {address:#x}")

    def write(self, address, value, size):
        self.ask(f"write{'_bw_l___q'[size]} {address:#x} {value:#x}")


class Disk:
    """A virtio-blk-pci function and its driver."""

    def __init__(self, daemon, name, slot, area):
        self.d, self.name, self.slot, self.area = daemon, name, slot, area
        self.free, self.out, self.next_avail, self.seen = [], {}, 0, 0

    # ---- registers

    def config(self, register, size=4):
        return self.d.q.read(ECAM + (self.slot << 15) + register, size)

    def config_out(self, register, value, size):
        self.d.q.write(ECAM + (self.slot << 15) + register, value, size)

    def find(self):
        """Maps the BAR and finds the structures in it; bus mastering goes on."""
        assert self.config(0) == 0x10421af4, hex(self.config(0))
        bar = BARS + (self.slot << 20)
        self.config_out(0x20, bar, 4)
        self.config_out(0x24, 0, 4)
        self.config_out(4, 6, 2)
        at, self.where = self.config(0x34, 1), {}
        while at:
            if self.config(at, 1) == 9 and self.config(at + 3, 1) != 5:
                self.where[self.config(at + 3, 1)] = bar + self.config(at + 8)
            at = self.config(at + 1, 1)

    def common(self, offset, size):
        return self.d.q.read(self.where[1] + offset, size)

    def common_out(self, offset, value, size):
        self.d.q.write(self.where[1] + offset, value, size)

    def status(self):
        return self.common(0x14, 1)

    def reset(self):
        self.common_out(0x14, 0, 1)
        end = time.monotonic() + 10 * PATIENCE
        while self.status():
            assert time.monotonic() < end, "the reset does not end"

    def start(self, features=1 << 9):
        """From reset to DRIVER_OK, with VIRTIO_BLK_F_FLUSH unless FEATURES say otherwise."""
        self.reset()
        self.common_out(0x14, 3, 1)
        for half, value in enumerate((features & 0xffffffff, features >> 32 | 1)):
            self.common_out(8, half, 4)
            self.common_out(12, value, 4)
        self.common_out(0x14, 11, 1)
        assert self.status() == 11, self.status()
        self.common_out(0x16, 0, 2)
        self.common_out(0x18, QUEUE, 2)
        for offset, at in ((0x20, 0), (0x28, 0x1000), (0x30, 0x2000)):
            self.common_out(offset, self.area + at, 8)
        self.d.ram[self.area:self.area + 0x4000] = bytes(0x4000)
        self.common_out(0x1c, 1, 2)
        self.common_out(0x14, 15, 1)
        self.free, self.out, self.next_avail, self.seen = list(range(QUEUE // 3)), {}, 0, 0

    # ---- memory

    def put(self, offset, data):
        self.d.ram[self.area + offset:self.area + offset + len(data)] = data

    def get(self, offset, size):
        return self.d.ram[self.area + offset:self.area + offset + size]

    def u16(self, offset):
        return struct.unpack_from("<H", self.d.ram, self.area + offset)[0]

    # ---- requests

    def submit(self, requests, kick=True):
        """Makes them available; each is (type, sector, data or number of bytes to read, token)."""
        for kind, sector, data, token in requests:
            i = self.free.pop()
            size = data if isinstance(data, int) else len(data)
            at, head = DATA_AT + i * (128 << 10), 3 * i
            assert size <= 128 << 10
            self.put(0x3000 + 32 * i, struct.pack("<IIQ", kind, 0, sector) + b"\xee")
            if not isinstance(data, int):
                self.put(at, data)
            header = self.area + 0x3000 + 32 * i
            descs = struct.pack("<QIHH", header, 16, 1, head + (1 if size else 2))
            descs += struct.pack("<QIHH", self.area + at, size, 3 if isinstance(data, int) else 1, head + 2)
            self.put(16 * head, descs + struct.pack("<QIHH", header + 16, 1, 2, 0))
            self.put(0x1000 + 4 + 2 * (self.next_avail % QUEUE), struct.pack("<H", head))
            self.next_avail += 1
            self.out[head] = (i, kind, sector, size, token)
        self.put(0x1002, struct.pack("<H", self.next_avail & 0xffff))
        if kick:
            self.kick()

    def kick(self):
        self.d.q.write(self.where[2], 0, 2)

    def done(self):
        """What came back since the last look: (token, status, data read)."""
        found = []
        while self.seen != self.u16(0x2002):
            head = struct.unpack("<I", self.get(0x2004 + 8 * (self.seen % QUEUE), 4))[0]
            i, kind, _sector, size, token = self.out.pop(head)
            data = self.get(DATA_AT + i * (128 << 10), size) if kind in (T_IN, T_GET_ID) else None
            found.append((token, self.get(0x3000 + 32 * i + 16, 1)[0], data))
            self.free.append(i)
            self.seen = (self.seen + 1) & 0xffff
        return found

    def wait(self, timeout=20):
        """All that is out."""
        found, end = [], time.monotonic() + timeout * PATIENCE
        while self.out:
            found += self.done()
            assert time.monotonic() < end, f"{self.name}: {len(self.out)} requests do not come back"
        return found

    def ask(self, kind, sector, data=0):
        """One request alone: its status and data."""
        self.submit([(kind, sector, data, None)])
        [(_, status, read)] = self.wait()
        return status, read


class DiskDaemon(Daemon):
    """A daemon with a machine of the test accelerator; plug() disks, then start()."""

    def __init__(self, directory, memory=64 * MIB, **options):
        if os.path.exists(f"{directory}/qtest"):
            os.unlink(f"{directory}/qtest")  # of one that was killed
        super().__init__("--qtest", f"unix:{directory}/qtest", directory=directory, **options)
        self.disks, self.q, self.ram = [], None, None
        c = self.c
        ram = os.path.join(directory, "ram")
        c.call("device_add", driver="board", id="board", max_cpus=1)
        c.call("device_add", driver="qemu64-x86_64-cpu")
        c.call("object-add", qom_type="memory-backend-file", id="m0", size=memory, mem_path=ram, share=True)
        c.call("device_add", driver="pc-dimm", id="dimm0", memdev="m0")
        with open(ram, "r+b") as f:
            self.ram = mmap.mmap(f.fileno(), memory)

    def add_node(self, node):
        """Requests that a killed daemon left in the kernel's ring go on after its end, and hold the image's lock until they are done."""
        end = time.monotonic() + 20 * PATIENCE
        while True:
            try:
                self.c.call("blockdev-add", **node)
                return
            except QmpError as e:
                if "lock" not in e.desc or time.monotonic() > end:
                    raise
            time.sleep(0.002)

    def plug(self, name, slot, node, **options):
        """A disk on the block node that blockdev-add makes of NODE; one of its own below if it has a member `below`."""
        node = dict(node)
        if "below" in node:
            self.add_node({"node-name": name + "-file", **node.pop("below")})
            node["file"] = name + "-file"
        self.add_node({"node-name": name + "-node", **node})
        if "iothread" in options:
            self.c.call("object-add", qom_type="iothread", id=options["iothread"])
        self.c.call("device_add", driver="virtio-blk-pci", id=name, drive=name + "-node", addr=f"{slot:x}", **options)
        self.disks.append(Disk(self, name, slot, MIB * 8 + AREA * len(self.disks)))
        return self.disks[-1]

    def start(self):
        self.c.call("cont")
        self.q = Guest(self.path("qtest"))
        for disk in self.disks:
            disk.find()
            disk.start()

    def kill(self):
        super().kill()
        if self.q:
            self.q.close()
        if self.ram:
            self.ram.close()

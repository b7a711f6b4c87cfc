#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The virtio disk under Linux: ext4 on it over a reset of the machine, what its driver finds, a resize while it runs, discard, and
data that must be on the host after a flush."""

import hashlib

from backplane import *
from linuxguest import boot_linux, come_up, power_off, VIRTIO_PCI

MODULES = (*VIRTIO_PCI, "virtio_blk", "crc16", "mbcache", "jbd2",
           "crc32c_generic", "libcrc32c", "ext4")


def boot(m, linux, *disks):
    """A machine with DISKS: (image, options of its node, options of the disk)."""
    def plug():
        for i, (path, node, disk) in enumerate(disks):
            m("blockdev-add", driver="file", filename=path, node_name="disk%d" % i, discard="unmap", **node)
            m("device_add", driver="virtio-blk-pci", id="d%d" % i, drive="disk%d" % i, serial="BP-000%d" % i, **disk)
    return boot_linux(m, linux, MODULES, plug)


def image(m, size, name="disk.img", ext4=False):
    path = m.path(name)
    with open(path, "wb") as f:
        f.truncate(size)
    if ext4:
        subprocess.run(["mkfs.ext4", "-q", "-F", path], check=True, stdout=subprocess.DEVNULL)
    return path


def no_complaints(c, m):
    log = m.console.run("dmesg -r")
    c.true(not re.search(r"(?i)(virtio|vda|ext4).*(fail|error|warn|corrupt)", log), "complaints", log)


@case("virtio-blk: ext4 is mounted, written, and there again after a reset")
def _(c):
    linux = linux_guest(c)
    if not shutil.which("mkfs.ext4"):
        c.skip("mkfs.ext4 is not installed")
    with Machine(c) as m:
        load = boot(m, linux, (image(m, 64 * MIB, ext4=True), {}, {}))
        run = m.console.run
        c.equal(run("cat /sys/block/vda/size").strip(), str(64 * MIB // 512), "sectors")
        c.equal(run("cat /sys/block/vda/serial; echo").strip(), "BP-0000", "serial number")
        c.equal(run("cat /sys/block/vda/queue/write_cache").strip(), "write back", "write cache")
        c.equal(run("ls /sys/block/vda/mq | wc -l").strip(), "2", "queues: one a CPU")
        run("mkdir -p /m && mount -t ext4 /dev/vda /m")
        run("dd if=/dev/urandom of=/m/data bs=64k count=200 2>/dev/null; sync", 120)
        digest = run("md5sum < /m/data")
        run("umount /m")
        no_complaints(c, m)
        m("system_reset")
        come_up(m, load)
        run("mkdir -p /m && mount -t ext4 /dev/vda /m")
        c.equal(run("md5sum < /m/data"), digest, "what was written before the reset")
        run("rm /m/data; umount /m")
        no_complaints(c, m)
        stats = m("query-blockstats")[0]["stats"]
        c.true(stats["wr_bytes"] >= 200 * 65536 and stats["rd_operations"] > 10 and stats["flush_operations"] > 0, "counts", stats)
        c.true(stats["wr_total_time_ns"] > 0 and stats["failed_rd_operations"] == stats["invalid_rd_operations"] == 0, "counts", stats)
        power_off(m)


def write_and_compare(c, m, path, disk):
    """Random blocks, flushed: the host has them, and so has the disk when the guest has forgotten them."""
    run = m.console.run
    run("dd if=/dev/urandom of=/tmp/r bs=1M count=4 2>/dev/null")
    run("dd if=/tmp/r of=/dev/%s bs=64k seek=16 conv=fsync 2>/dev/null" % disk, 60)
    with open(path, "rb") as f:
        f.seek(MIB)
        there = hashlib.md5(f.read(4 * MIB)).hexdigest()
    c.equal(run("md5sum < /tmp/r").split()[0], there, "the host's copy of " + disk)
    run("echo 3 > /proc/sys/vm/drop_caches")
    c.equal(run("dd if=/dev/%s bs=64k skip=16 count=64 2>/dev/null | md5sum" % disk).split()[0], there, disk + " read back")


@case("virtio-blk: the same bytes in guest and host, whatever the back end and the ring; resized and discarded while the guest runs")
def _(c):
    linux = linux_guest(c)
    ways = [({}, {}), ({"aio": "threads"}, {"packed": True}), ({"cache": {"direct": True}}, {"write_cache": "off", "config_wce": False})]
    with Machine(c) as m:
        paths = [image(m, 16 * MIB, "disk%d" % i) for i in range(len(ways))]
        boot(m, linux, *[(path, node, disk) for path, (node, disk) in zip(paths, ways)])
        for path, disk in zip(paths, ("vda", "vdb", "vdc")):
            write_and_compare(c, m, path, disk)
        c.equal(m.console.run("cat /sys/block/vdc/queue/write_cache").strip(), "write through", "write cache of vdc")
        m("block_resize", device="d0", size=32 * MIB)
        m.console.run("for i in 1 2 3 4 5 6 7 8 9; do [ $(cat /sys/block/vda/size) = 65536 ] && break; sleep 1; done", 30)
        c.equal(m.console.run("cat /sys/block/vda/size").split()[-1], "65536", "sectors after the resize")
        before = os.stat(paths[0]).st_blocks
        m.console.run("blkdiscard /dev/vda || busybox blkdiscard /dev/vda", 60)
        c.true(before - os.stat(paths[0]).st_blocks >= 4 * MIB // 512, "space given back", (before, os.stat(paths[0]).st_blocks))
        no_complaints(c, m)
        power_off(m)


main()

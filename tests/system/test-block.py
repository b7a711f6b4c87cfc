#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Block nodes over QMP, in the words that QEMU's clients use: blockdev-add, blockdev-del, block_resize and
query-named-block-nodes; files, locks and descriptors seen from outside."""
import os
import sys
import tempfile
sys.dont_write_bytecode = True
# pylint: disable=wrong-import-position
from blackbox import MIB, Daemon, main, test  # noqa: E402


class Disk:
    """An image of 1 MiB for one test."""
    def __enter__(self):
        self.t = tempfile.TemporaryDirectory(prefix="bb-", dir="/tmp")
        self.path = os.path.join(self.t.name, "disk.img")
        with open(self.path, "wb") as f:
            f.truncate(MIB)
        return self

    def __exit__(self, *_):
        self.t.cleanup()


def nodes(d):
    return {n["node-name"]: n for n in d.c.call("query-named-block-nodes", flat=True)}


def add(d, *parts, **options):
    if parts:
        d.c.refused("blockdev-add", *parts, **options)
    else:
        d.c.call("blockdev-add", **options)


def delete(d, name):
    d.c.call("blockdev-del", **{"node-name": name})


@test
def what_libvirt_does(d):
    """A storage node and a format node above it, looked at, resized, taken away from the top."""
    with Disk() as disk:
        add(d, **{"driver": "file", "filename": disk.path, "node-name": "libvirt-1-storage", "auto-read-only": True,
                  "discard": "unmap", "cache": {"direct": False, "no-flush": False}})
        add(d, **{"node-name": "libvirt-1-format", "read-only": False, "discard": "unmap", "driver": "raw",
                  "file": "libvirt-1-storage", "detect-zeroes": "off"})
        found = nodes(d)
        assert set(found) == {"libvirt-1-storage", "libvirt-1-format"}, found
        node = found["libvirt-1-format"]
        assert (node["drv"], node["ro"], node["file"]) == ("raw", False, disk.path), node
        assert node["image"]["virtual-size"] == MIB and node["image"]["actual-size"] == 0, node
        assert node["cache"] == {"writeback": True, "direct": False, "no-flush": False}, node
        d.c.refused("blockdev-del", "libvirt-1-format", **{"node-name": "libvirt-1-storage"})
        d.c.call("block_resize", **{"node-name": "libvirt-1-format", "size": 2 * MIB})
        assert os.path.getsize(disk.path) == 2 * MIB
        assert nodes(d)["libvirt-1-storage"]["image"]["virtual-size"] == 2 * MIB
        delete(d, "libvirt-1-format")
        delete(d, "libvirt-1-storage")
        assert not nodes(d)


@test
def each_option_arrives(d):
    with Disk() as disk:
        add(d, **{"driver": "file", "filename": disk.path, "node-name": "f", "aio": "threads", "locking": "on",
                  "cache": {"no-flush": True}, "read-only": True})
        add(d, **{"driver": "raw", "file": "f", "node-name": "r", "offset": 512, "size": 4096, "read-only": True})
        add(d, **{"driver": "null-co", "node-name": "z", "size": 65536, "read-zeroes": True})
        found = nodes(d)
        assert found["f"]["cache"]["no-flush"] and found["f"]["ro"] and found["r"]["ro"] and not found["z"]["ro"]
        assert found["r"]["image"]["virtual-size"] == 4096 and found["z"]["image"]["virtual-size"] == 65536
        said = {o["id"]: o for o in d.c.call("query-machine-config")["config"]["objects"]}
        assert said["f"] == {"qom-type": "blockdev-file", "id": "f", "read-only": True, "cache-no-flush": True,
                             "filename": disk.path, "aio": "threads", "locking": "on"}, said["f"]
        assert said["r"]["offset"] == 512 and said["z"]["read-zeroes"], said
        for name in "rfz":
            delete(d, name)


@test
def the_configuration_brings_nodes_back(d):
    with Disk() as disk:
        add(d, **{"driver": "file", "filename": disk.path, "node-name": "f"})
        add(d, **{"driver": "raw", "file": "f", "node-name": "r"})
        config = d.c.call("query-machine-config")["config"]
        delete(d, "r")
        delete(d, "f")
        d.c.call("machine-config-load", config=config)
        assert d.c.call("query-machine-config")["config"] == config
        assert nodes(d)["r"]["file"] == disk.path
        delete(d, "r")
        delete(d, "f")


@test
def what_is_refused(d):
    with Disk() as disk:
        file = {"driver": "file", "filename": disk.path}
        add(d, "node-name", "must be specified", **file)
        add(d, "Invalid node-name", "#block1", **file, **{"node-name": "#block1"})
        add(d, "Invalid node-name", **file, **{"node-name": ""})
        add(d, "filename", "0 bytes", driver="file", filename="", **{"node-name": "n"})
        add(d, "filename", "2000 bytes", driver="file", filename="x" * 2000, **{"node-name": "n"})
        add(d, "No such file", driver="file", filename="/nowhere/x", **{"node-name": "n"})
        add(d, "not a block device", driver="host_device", filename=disk.path, **{"node-name": "n"})
        add(d, "detect-zeroes", "unmap", **file, **{"node-name": "n", "detect-zeroes": "unmap"})
        add(d, "name of a node", driver="raw", file=file, **{"node-name": "n"})
        add(d, "name of a node", driver="raw", file=7, **{"node-name": "n"})
        add(d, "offset", "-1", driver="raw", file="f", offset=-1, **{"node-name": "n"})
        add(d, "size", "-512", driver="null-co", size=-512, **{"node-name": "n"})
        add(d, "qcow2", driver="qcow2", file="f", **{"node-name": "n"})
        d.c.refused("blockdev-add", "there is no blockdev 'none'", kind="DeviceNotFound", driver="raw", file="none",
                    **{"node-name": "n"})
        d.c.refused("blockdev-del", "Failed to find node", "none", **{"node-name": "none"})
        d.c.refused("block_resize", "either", "node-name", size=512)
        d.c.refused("block_resize", "Failed to find node", size=512, **{"node-name": "none"})
        assert not nodes(d)


@test
def resizing(d):
    with Disk() as disk:
        add(d, **{"driver": "file", "filename": disk.path, "node-name": "f"})
        for size, word in ((-1, "size"), (513, "513"), (2 ** 63 - 512, "resize")):
            d.c.refused("block_resize", word, size=size, **{"node-name": "f"})
        assert os.path.getsize(disk.path) == MIB
        d.c.call("block_resize", size=0, **{"node-name": "f"})
        assert os.path.getsize(disk.path) == 0
        delete(d, "f")
        add(d, **{"driver": "file", "filename": disk.path, "node-name": "f", "read-only": True})
        d.c.refused("block_resize", "read-only", size=512, **{"node-name": "f"})
        delete(d, "f")


@test
def two_machines_want_one_image(d):
    with Disk() as disk:
        file = {"driver": "file", "filename": disk.path, "node-name": "f"}
        with Daemon(name="second") as other:
            add(d, **file)
            other.c.refused("blockdev-add", "lock", disk.path, **file)
            other.c.refused("blockdev-add", "lock", disk.path, **file, **{"read-only": True})
            delete(d, "f")
            add(other, **file)
            d.c.refused("blockdev-add", "lock", **file)
        add(d, **file)  # the lock went with the other machine
        delete(d, "f")


@test
def a_descriptor_that_the_client_passes(d):
    with Disk() as disk:
        fd = os.open(disk.path, os.O_RDWR)
        number = d.c.call("add-fd", fds=[fd])["fdset-id"]
        os.close(fd)
        add(d, **{"driver": "file", "filename": f"/dev/fdset/{number}", "node-name": "f"})
        assert nodes(d)["f"]["image"]["virtual-size"] == MIB
        delete(d, "f")
        d.c.call("remove-fd", **{"fdset-id": number})


@test
def disks(d):
    """query-block, query-blockstats and block_resize by the disk's id."""
    with Disk() as disk, Daemon(name="disks") as own:
        c = own.c
        c.call("blockdev-add", driver="file", filename=disk.path, **{"node-name": "f"})
        c.call("device_add", driver="virtio-blk-pci", id="virtio-disk0", drive="f", serial="S1", werror="stop")
        c.refused("blockdev-del", "virtio-disk0", **{"node-name": "f"})
        c.refused("device_add", "virtio-disk0", driver="virtio-blk-pci", id="other", drive="f")
        qdev = "/machine/peripheral/virtio-disk0/virtio-backend"
        block, = c.call("query-block")
        assert (block["device"], block["qdev"], block["io-status"]) == ("", qdev, "ok"), block
        assert block["inserted"]["node-name"] == "f" and not block["removable"], block
        stats, = c.call("query-blockstats")
        assert (stats["qdev"], stats["node-name"]) == (qdev, "f"), stats
        assert not any(stats["stats"].values()), stats
        by_node, = c.call("query-blockstats", **{"query-nodes": True})
        assert by_node["node-name"] == "f" and "qdev" not in by_node, by_node
        c.call("block_resize", device="virtio-disk0", size=4096)
        assert os.path.getsize(disk.path) == 4096
        c.refused("block_resize", "either", size=512, device="virtio-disk0", **{"node-name": "f"})
        c.refused("block_resize", "not a disk", size=512, device="board")
        c.refused("block_resize", "none", kind="DeviceNotFound", size=512, device="none")
        config = c.call("query-machine-config")["config"]
        assert {o["id"]: o.get("serial") for o in config["devices"]}["virtio-disk0"] == "S1", config


sys.exit(main(lambda: Daemon(), guard=True))  # pylint: disable=unnecessary-lambda

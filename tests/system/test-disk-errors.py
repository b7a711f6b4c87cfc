#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Disks that fail: a guest that breaks its rings, and a host that has no space left.

The second needs a small file system of its own: a tmpfs in a mount namespace, which root has, and others where the host allows
user namespaces.
"""
import os
import struct
import subprocess
import sys
import tempfile
import time
sys.dont_write_bytecode = True
# pylint: disable=wrong-import-position
from blackbox import MIB, Skip, main, test  # noqa: E402
from qtestdisk import IOERR, NEEDS_RESET, OK, T_FLUSH, T_IN, T_OUT, DiskDaemon  # noqa: E402

PIECE = 64 << 10


def unshare():
    """Runs this program in a mount namespace of its own, if it can be had."""
    if "DISK_ERRORS_UNSHARED" in os.environ:
        return
    words = ["unshare", "-m", "--propagation", "private"] + ([] if os.geteuid() == 0 else ["-r"])
    able = subprocess.run([*words, "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0
    os.environ["DISK_ERRORS_UNSHARED"] = "1" if able else "0"
    if able:
        os.execvp("unshare", [*words, sys.executable, *sys.argv])


class Full:
    """A tmpfs of 1 MiB with an image of 4 MiB on it."""

    def __enter__(self):
        if os.environ["DISK_ERRORS_UNSHARED"] != "1":
            raise Skip("no mount namespace to be had")
        self.t = tempfile.TemporaryDirectory(prefix="bb-", dir="/tmp")
        self.small = os.path.join(self.t.name, "small")
        os.mkdir(self.small)
        self.mount("size=1M")
        self.image = os.path.join(self.small, "disk")
        with open(self.image, "wb") as f:
            f.truncate(4 * MIB)
        return self

    def mount(self, options):
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", self.small], check=True)

    def grow(self):
        self.mount("remount,size=8M")

    def __exit__(self, *_):
        subprocess.run(["umount", "-l", self.small], check=True)
        self.t.cleanup()


def pattern(i):
    return struct.pack("<Q", 0x1122334455660000 + i) * (PIECE // 8)


def state(d):
    return d.c.call("query-status")["status"]


def io_status(d):
    [disk] = [b for b in d.c.call("query-block") if b["qdev"].startswith("/machine/peripheral/d/")]
    return disk["io-status"]


def stopped(d):
    """The two events of a stop for lack of space, in either order; what the first says."""
    e = d.c.wait_event("BLOCK_IO_ERROR")["data"]
    d.c.wait_event("STOP")
    assert (e["action"], e["nospace"], e["operation"], e["node-name"]) == ("stop", True, "write", "d-node"), e
    assert "No space left" in e["reason"], e
    assert (state(d), io_status(d)) == ("io-error", "nospace")
    return e


def fill(disk, n):
    disk.submit([(T_OUT, i * PIECE // 512, pattern(i), i) for i in range(n)])


def settle(disk):
    """What comes back until nothing more does."""
    found, quiet = [], time.monotonic()
    while time.monotonic() - quiet < 0.05:
        more = disk.done()
        found += more
        if more:
            quiet = time.monotonic()
    return found


@test
def a_full_file_system_stops_the_machine_until_it_has_room():
    for aio in ("io_uring", "threads"):
        with Full() as full, DiskDaemon(full.t.name) as d:
            disk = d.plug("d", 3, {"driver": "file", "filename": full.image, "aio": aio}, werror="enospc", rerror="stop")
            d.start()
            fill(disk, 20)
            stopped(d)
            done = {token: status for token, status, _ in settle(disk)}
            assert set(done.values()) == {OK} and 12 <= len(done) <= 16, done
            d.c.call("cont")  # and there is still no room
            d.c.wait_event("RESUME")
            stopped(d)
            assert not settle(disk)
            full.grow()
            d.c.call("cont")
            done.update({token: status for token, status, _ in disk.wait()})
            assert done == {i: OK for i in range(20)}, done
            assert (state(d), io_status(d)) == ("running", "ok")
            for i in range(20):
                assert disk.ask(T_IN, i * PIECE // 512, PIECE) == (OK, pattern(i)), i
            assert disk.ask(T_FLUSH, 0)[0] == OK
            with open(full.image, "rb") as f:
                assert f.read(20 * PIECE) == b"".join(pattern(i) for i in range(20))


@test
def a_reset_drops_what_waits():
    with Full() as full, DiskDaemon(full.t.name) as d:
        disk = d.plug("d", 3, {"driver": "file", "filename": full.image}, werror="stop")
        d.start()
        fill(disk, 20)
        stopped(d)
        written = {token for token, _, _ in settle(disk)}
        full.grow()
        d.c.call("system_reset")
        assert (state(d), io_status(d)) == ("io-error", "ok")
        d.c.call("cont")
        disk.find()
        disk.start()
        assert 12 <= len(written) <= 16, written
        for i in written:
            assert disk.ask(T_IN, i * PIECE // 512, PIECE) == (OK, pattern(i)), i
        assert disk.ask(T_IN, 19 * PIECE // 512, PIECE) == (OK, bytes(PIECE))


@test
def report_tells_the_guest():
    with Full() as full, DiskDaemon(full.t.name) as d:
        disk = d.plug("d", 3, {"driver": "file", "filename": full.image}, werror="report")
        d.start()
        fill(disk, 20)
        done = [status for _, status, _ in disk.wait()]
        assert set(done) == {OK, IOERR} and 12 <= done.count(OK) <= 16, done
        e = d.c.wait_event("BLOCK_IO_ERROR")["data"]
        assert (e["action"], e["nospace"]) == ("report", True), e
        assert state(d) == "running"


@test
def a_disk_that_its_guest_breaks_is_told_of_once_a_second():
    with tempfile.TemporaryDirectory(prefix="bb-", dir="/tmp") as folder:
        image = os.path.join(folder, "disk")
        with open(image, "wb") as f:
            f.truncate(MIB)
        with DiskDaemon(folder) as d:
            disk = d.plug("d", 3, {"driver": "file", "filename": image})
            other = d.plug("e", 4, {"driver": "null-co", "size": MIB})
            d.start()
            began = time.monotonic()
            for _ in range(30):
                disk.put(0, struct.pack("<QIHH", disk.area + 0x3000, 16, 1, 0))  # a chain that never ends
                disk.put(0x1002, struct.pack("<HH", 1, 0))
                disk.kick()
                while not disk.status() & NEEDS_RESET:
                    assert time.monotonic() - began < 20
                disk.start()
            e = d.c.wait_event("DEVICE_ERROR")["data"]
            assert (e["device"], e["path"]) == ("d", "/machine/peripheral/d"), e
            assert e["reason"] == "queue 0: descriptor chain at 0 loops", e
            d.c.in_step()
            told = 1 + sum(e["event"] == "DEVICE_ERROR" for e in d.c.events)
            assert told <= 2 + (time.monotonic() - began), told
            assert disk.ask(T_IN, 0, 512) == (OK, bytes(512))  # the driver's reset mends it
            assert other.ask(T_FLUSH, 0)[0] == OK
            assert state(d) == "running"


unshare()
sys.exit(main())

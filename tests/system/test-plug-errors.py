#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What can not be plugged, unplugged, or started: each refusal names the thing, what was given and what is possible, and
leaves nothing behind: no descriptor, thread, memory, file, or change of the machine."""
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
sys.dont_write_bytecode = True
# pylint: disable=wrong-import-position
from blackbox import BUILD, GIB, MIB, Daemon, QmpError, Skip, build_machine, main, test  # noqa: E402

PROBE = os.path.join(BUILD, "tests/guest/probe-pvh.elf")
MULTIBOOT = os.path.join(BUILD, "tests/guest/probe.elf")


def add(d, *parts, kind="GenericError", **arguments):
    return d.c.refused("device_add", *parts, kind=kind, **arguments)


def add_object(d, *parts, kind="GenericError", **arguments):
    return d.c.refused("object-add", *parts, kind=kind, **arguments)


def add_chardev(d, kind_of, *parts, id="x", **data):  # pylint: disable=redefined-builtin
    return d.c.refused("chardev-add", *parts, id=id, backend={"type": kind_of, "data": data})


class Files:
    """A directory of files for one test."""
    def __init__(self):
        self.t = tempfile.TemporaryDirectory(prefix="bb-", dir="/tmp")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.t.cleanup()

    def path(self, name):
        return os.path.join(self.t.name, name)

    def make(self, name, data=b""):
        with open(self.path(name), "wb") as f:
            f.write(data)
        return self.path(name)


# ---- files

@test
def files_that_are_not_there_or_are_none(d):
    with Files() as f:
        empty, none = f.make("empty"), f.path("none")
        fifo = f.path("fifo")
        os.mkfifo(fifo)
        for path, why in ((none, "No such file"), (f.t.name, "directory"), (empty, "empty"), (f.path("empty/x"), "Not a directory"),
                          ("/dev/null", "regular file"), (fifo, "regular file"), (f.path("x" * 300), "too long")):
            add(d, path[:200], why, driver="linux-loader", id="boot", kernel=path)
            add(d, path[:200], why, driver="firmware", id="boot", file=path)
            if os.path.exists(PROBE):
                add(d, path[:200], why, driver="linux-loader", id="boot", kernel=PROBE, initrd=path)
        for path, why in ((f.t.name, "directory"), (f.path("no/file"), "No such file"), (f.path("empty/x"), "Not a directory")):
            add_chardev(d, "file", path, why, out=path)
        add_chardev(d, "file", none, "No such file", **{"out": f.path("made"), "in": none})
        for path, why in ((f.t.name, ""), (f.path("no/file"), "No such file"), ("/dev/null", "regular file")):
            add_object(d, path, why, qom_type="memory-backend-file", id="mf", size=MIB, mem_path=path)
        for path, why in ((f.path("no/sock"), "No such file"), (empty, "not a socket"), (f.t.name, "not a socket")):
            add_chardev(d, "socket", path, why, addr={"type": "unix", "data": {"path": path}})
        add_chardev(d, "socket", none, "No such file", addr={"type": "unix", "data": {"path": none}}, server=False)
        add_chardev(d, "socket", "108", "107", addr={"type": "unix", "data": {"path": "/" + "x" * 107}})
        add_chardev(d, "socket", d.path("qmp"), addr={"type": "unix", "data": {"path": d.path("qmp")}})


@test
def files_that_may_not_be_read(_d):
    if os.geteuid() != 0:
        raise Skip("needs root, to become somebody else")
    with Files() as f:
        os.chmod(f.t.name, 0o777)
        secret = f.make("secret", b"x" * 4096)
        os.chmod(secret, 0o600)
        program = ("import os,sys\nos.setgid(65534);os.setuid(65534)\nos.execv(sys.argv[1],sys.argv[1:])")
        wrapper = f.make("daemon", ("#!/bin/sh\nexec %s -c '%s' '%s' \"$@\"\n" % (sys.executable, program, os.environ.get("BACKPLANED", "./backplaned"))).encode())
        os.chmod(wrapper, 0o755)
        p = subprocess.run([wrapper, "--version"], capture_output=True, check=False)
        if p.returncode:
            raise Skip("nobody can not run the daemon where it lies")
        import blackbox  # pylint: disable=import-outside-toplevel
        saved, blackbox.DAEMON = blackbox.DAEMON, wrapper
        try:
            os.mkdir(f.path("d"))
            os.chmod(f.path("d"), 0o777)
            with Daemon(directory=f.path("d")) as d:
                build_machine(d.c)
                before = d.vitals()
                add(d, secret, "Permission denied", driver="linux-loader", kernel=secret)
                add(d, secret, "Permission denied", driver="firmware", file=secret)
                add_chardev(d, "file", secret, "Permission denied", out=secret)
                add_object(d, secret, "Permission denied", qom_type="memory-backend-file", id="mf", size=4096, mem_path=secret)
                d.unchanged(before)
        finally:
            blackbox.DAEMON = saved


@test
def kernels_cut_short(d):
    """At every length up to the headers' end and at some beyond, of each kind of file."""
    for source in (PROBE, MULTIBOOT):
        if not os.path.exists(source):
            raise Skip(f"{source} is not built")
        with open(source, "rb") as file:
            whole = file.read()
        with Files() as f:
            lengths = list(range(1, 400, 7)) + [n for n in (1024, 4096, 8192, len(whole) // 2) if n < len(whole)]
            for n in lengths:
                path = f.make("cut", whole[:n])
                try:
                    d.c.call("device_add", driver="linux-loader", id="boot", kernel=path)
                    d.c.call("device_del", id="boot")  # what was cut off was not to be loaded
                    d.c.wait_event("DEVICE_DELETED")
                    assert n >= 4096, f"{n} bytes of {source} are taken"
                except QmpError as e:
                    assert path in e.desc, e


@test
def kernels_that_are_corrupt(d):
    if not os.path.exists(PROBE):
        raise Skip("the probe guest is not built")
    with open(PROBE, "rb") as file:
        good = file.read()

    def with_bytes(at, data):
        return good[:at] + data + good[at + len(data):]
    phoff = struct.unpack_from("<I" if good[4] == 1 else "<Q", good, 28 if good[4] == 1 else 32)[0]
    cases = {"text": b"hello, world\n" * 1000, "zeros": bytes(65536), "a script": b"#!/bin/sh\nexit 0\n" * 50, "gzip": b"\x1f\x8b\x08" + bytes(9000),
             "ARM": with_bytes(18, struct.pack("<H", 40)), "big endian": with_bytes(5, b"\2"), "a class of 3": with_bytes(4, b"\3"),
             "program headers beyond the end": with_bytes(28 if good[4] == 1 else 32, b"\xf0\xff\xff\x7f"),
             "no program headers": with_bytes(44 if good[4] == 1 else 56, b"\0\0"),
             "65535 program headers": with_bytes(44 if good[4] == 1 else 56, b"\xff\xff"),
             "small program headers": with_bytes(42 if good[4] == 1 else 54, b"\x08\0"),
             "a segment beyond the file": with_bytes(phoff + (16 if good[4] == 1 else 32), b"\xff\xff\xff\x7f"),
             "bzImage without a magic": b"MZ" + bytes(0x1fe - 2) + b"\x55\xaa" + bytes(10000)}
    with Files() as f:
        for name, data in cases.items():
            path = f.make("kernel", data)
            try:
                d.c.call("device_add", driver="linux-loader", id="boot", kernel=path)
            except QmpError as e:
                assert path in e.desc and len(e.desc) < 500, f"{name}: {e}"
                continue
            raise AssertionError(f"{name} was taken")
        path = f.make("kernel", good)
        for protocol in ("linux", "multiboot"):
            try:
                d.c.call("device_add", driver="linux-loader", id="boot", kernel=path, protocol=protocol)
                d.c.call("device_del", id="boot")
            except QmpError as e:
                assert protocol in e.desc and path in e.desc, e
        add(d, "append", "8192", driver="linux-loader", id="boot", kernel=path, append="x" * 8192)


# ---- names and numbers

@test
def ids(d):
    add(d, "dimm0", kind="GenericError", driver="pc-dimm", id="dimm0", memdev="m0")
    add(d, "serial0", "Duplicate", driver="isa-serial", id="serial0")
    add_object(d, "m0", "Duplicate", qom_type="memory-backend-ram", id="m0", size=4096)
    add_chardev(d, "null", "con", id="con")
    for name in ("", "0x", "a b", "a/b", "\u00e4", "-a", ".a", "a\n", "x" * 2000, "../a", "a'b", 'a"b', "/machine/peripheral/serial0"):
        add(d, "id", driver="isa-serial", id=name)
        add_object(d, "id", qom_type="iothread", id=name)
        add_chardev(d, "null", "id", id=name)
    # one name may stand for a device, an object and a chardev
    d.c.call("object-add", qom_type="iothread", id="serial0")
    d.c.call("chardev-add", id="serial0", backend={"type": "null", "data": {}})
    d.c.call("object-del", id="serial0")
    d.c.call("chardev-remove", id="serial0")


@test
def types(d):
    add(d, "no-such", driver="no-such")
    add(d, "x86-cpu", driver="x86-cpu")
    add(d, "memory-backend-ram", driver="memory-backend-ram", id="x", size=4096)
    add(d, "driver", id="x")
    add_object(d, "isa-serial", qom_type="isa-serial", id="x")
    add_object(d, "memory-backend", qom_type="memory-backend", id="x", size=4096)
    add(d, "no-such-property", driver="isa-serial", id="x", no_such_property=1)
    add(d, "apic-id", driver="qemu64-x86_64-cpu", id="x", apic_id=3)


@test
def boards(d):
    add(d, "board", "once", driver="board", id="board2")
    with Daemon() as empty:
        before = empty.vitals()
        for arguments, parts in (({"max_cpus": 0}, ("max-cpus", "0", "1024")), ({"max_cpus": 1025}, ("max-cpus", "1025", "1024")),
                                 ({"max_cpus": 6, "cpu_sockets": 4}, ("4", "6")), ({"phys_bits": 53}, ("phys-bits", "53", "52")),
                                 ({"uuid": "x" * 36}, ("uuid",)), ({"rtc_base": "yesterday"}, ("rtc-base", "yesterday")),
                                 ({"ecam_base": 0x80001000}, ("ecam-base",)), ({"pm_base": 0x601}, ("pm-base",)),
                                 ({"cpu_type": "no-such-cpu"}, ("cpu-type", "no-such-cpu")), ({"memory_slots": 257}, ("257", "256")),
                                 ({"pci_hole32_base": 0xfeb00000}, ("pci-hole32",)), ({"lowmem": MIB + 1}, ("lowmem",)),
                                 ({"max_memory": 1 << 52, "phys_bits": 36}, ("max-memory",)), ({"acpi_oem_id": "LONGNAME"}, ("acpi-oem-id", "6"))):
            try:
                empty.c.call("device_add", driver="board", id="board", **arguments)
            except QmpError as e:
                for part in parts:
                    assert part in e.desc, f"{arguments}: {part!r} is not in {e.desc!r}"
                continue
            raise AssertionError(f"{arguments} was taken")
        for arguments in ({"driver": "isa-serial", "chardev": "none"}, {"driver": "pc-dimm", "memdev": "none"},
                          {"driver": "linux-loader", "kernel": "/none"}, {"driver": "qemu64-x86_64-cpu", "features": "+no-such"}):
            try:
                empty.c.call("device_add", **arguments)
            except QmpError as e:
                assert "none" in e.desc or "no-such" in e.desc, e
                continue
            raise AssertionError(f"{arguments} was taken")
        empty.unchanged(before)  # the board that came with the attempt has gone with it
        assert not empty.has_board()


@test
def processors(d):
    add(d, "core-id", "4", "3", driver="qemu64-x86_64-cpu", core_id=4)
    add(d, "socket-id", "1", "0", driver="qemu64-x86_64-cpu", socket_id=1)
    add(d, "thread-id", driver="qemu64-x86_64-cpu", thread_id=1)
    add(d, "core-id 0", "qemu64-x86_64-cpu.0", driver="qemu64-x86_64-cpu", core_id=0, socket_id=0, die_id=0, thread_id=0)
    add(d, "host-x86_64-cpu", "qemu64-x86_64-cpu", driver="host-x86_64-cpu", id="other")
    for features in ("+no-such", "sse", "+", ",", "+sse,,", "+sse;+sse2", "-no-such"):
        add(d, "features", driver="qemu64-x86_64-cpu", features=features)
    for i in range(2):
        d.c.call("device_add", driver="qemu64-x86_64-cpu", id=f"c{i}")
    add(d, "c2", "4", driver="qemu64-x86_64-cpu", id="c2")
    for i in range(2):
        d.c.call("device_del", id=f"c{i}")


@test
def memory(d):
    limit = [p["value"] for r in d.c.call("query-machine-config", resolved=True)["resolved"] if r["id"] == "board"
             for p in r["properties"] if p["name"] == "max-memory"][0]
    for size in (0, 1, 4095, 4097, 1 << 47):
        add_object(d, "size", size, qom_type="memory-backend-ram", id="mx", size=size)
    add_object(d, "size", qom_type="memory-backend-ram", id="mx")
    d.c.call("object-add", qom_type="memory-backend-ram", id="big", size=limit)
    add(d, "dimm1", limit, driver="pc-dimm", id="dimm1", memdev="big")
    d.c.call("object-del", id="big")
    add(d, "none", kind="DeviceNotFound", driver="pc-dimm", id="dimm1", memdev="none")
    add(d, "m0", "dimm0", driver="pc-dimm", id="dimm1", memdev="m0")
    d.c.call("object-add", qom_type="memory-backend-ram", id="m1", size=MIB)
    add(d, "slot", "0", "dimm0", driver="pc-dimm", id="dimm1", memdev="m1", slot=0)
    add(d, "slot", "255", "32", driver="pc-dimm", id="dimm1", memdev="m1", slot=255)
    add(d, "node", "1", driver="pc-dimm", id="dimm1", memdev="m1", node=1)
    d.c.call("object-del", id="m1")
    d.c.call("object-add", qom_type="iothread", id="io")
    add(d, "io", "iothread", "memory-backend", driver="pc-dimm", id="dimm1", memdev="io")
    d.c.call("object-del", id="io")


@test
def memory_beyond_the_host(d):
    with open("/proc/meminfo", encoding="ascii") as f:
        available = int([line for line in f if line.startswith("MemAvailable")][0].split()[1]) << 10
    for kind, more in (("ram", {}), ("memfd", {})):
        size = (available * 4) // GIB * GIB + GIB
        began = time.monotonic()
        text = add_object(d, "mx", size, qom_type=f"memory-backend-{kind}", id="mx", size=size, prealloc=True, **more)
        assert time.monotonic() - began < 10, "it tried first"
        assert str(size) in text and any(c.isdigit() for c in text.replace(str(size), "")), f"the host's value is missing: {text}"
        d.c.call("object-add", qom_type=f"memory-backend-{kind}", id="mx", size=size)  # sparse: it may be more than the host has
        d.c.call("object-del", id="mx")
    with Files() as f:
        path = f.path("mem")
        text = add_object(d, "mx", qom_type="memory-backend-file", id="mx", mem_path=path, size=1 << 46, prealloc=True)
        assert not os.path.exists(path), f"the refused object leaves {path}"


@test
def links(d):
    add(d, "chardev", "none", kind="DeviceNotFound", driver="isa-serial", id="s2", chardev="none")
    add(d, "chardev", "m0", driver="isa-serial", id="s2", chardev="m0", kind="DeviceNotFound")  # an object, not a chardev
    add(d, "con", "in use", driver="isa-serial", id="s2", chardev="con")
    add(d, "con", driver="isa-debugcon", id="s2", chardev="con")
    add(d, "index", driver="isa-serial", id="s2", index=0)
    add(d, "0x3f8", driver="isa-serial", id="s2", index=1, iobase=0x3f8)
    d.c.call("chardev-add", id="n", backend={"type": "null", "data": {}})
    add(d, "iobase", driver="isa-debugcon", id="s2", chardev="n", iobase=0x3fa)
    add(d, "iobase", driver="isa-debugcon", id="s2", chardev="n", iobase=0x70)
    d.c.call("chardev-remove", id="n")


@test
def ringbufs(d):
    for size in (0, -1, 3, 1 << 27, 4097):
        add_chardev(d, "ringbuf", "size", size, size=size)
    d.c.refused("ringbuf-read", "none", kind="DeviceNotFound", device="none", size=1)
    d.c.refused("ringbuf-read", "size", "0", device="con", size=0)
    d.c.refused("ringbuf-read", "size", device="con", size=-5)
    d.c.call("chardev-add", id="n", backend={"type": "null", "data": {}})
    d.c.refused("ringbuf-read", "'n'", "chardev-null", device="n", size=1)
    d.c.refused("ringbuf-write", "'n'", "chardev-null", device="n", data="x")
    d.c.call("chardev-remove", id="n")


# ---- unplug

@test
def unplugging_what_is_not_there(d):
    for name in ("none", "", "/machine/peripheral/none", "m0", "con", "/machine", "/", "x" * 5000):
        d.c.refused("device_del", "not found", kind="DeviceNotFound", id=name)
    for name in ("none", "serial0", "con", "", "/objects/m0"):
        d.c.refused("object-del", "not found", kind="DeviceNotFound", id=name)
    for name in ("none", "serial0", "m0", ""):
        d.c.refused("chardev-remove", "not found", kind="DeviceNotFound", id=name)


@test
def unplugging_what_is_in_use(d):
    d.c.refused("object-del", "m0", "in use", "dimm0", id="m0")
    d.c.refused("chardev-remove", "con", "in use", "serial0", id="con")
    d.c.refused("device_del", "board", id="board")


@test
def properties(d):
    for arguments, parts in (({"path": "/machine/none", "property": "x"}, ("/machine/none",)),
                             ({"path": "/machine/peripheral/serial0", "property": "none"}, ("none",))):
        for command, more in (("qom-get", {}), ("qom-set", {"value": 1})):
            try:
                d.c.call(command, **arguments, **more)
            except QmpError as e:
                assert all(p in e.desc for p in parts), e
                continue
            raise AssertionError(f"{command} {arguments}")
    for value in (1, "2", None, True, [], {}):
        d.c.refused("qom-set", "irq", path="/machine/peripheral/serial0", property="irq", value=value)
    d.c.refused("device-list-properties", "none", kind="DeviceNotFound", typename="none")
    d.c.refused("qom-list", "/none", kind="DeviceNotFound", path="/none")


# ---- a machine that has started

@test
def after_the_start(_d):
    with Daemon() as d:
        build_machine(d.c)
        d.c.call("object-add", qom_type="memory-backend-ram", id="m1", size=MIB)
        d.c.call("chardev-add", id="n", backend={"type": "null", "data": {}})
        d.c.call("cont")
        for running in (True, False):
            if not running:
                d.c.call("stop")
            before = d.vitals()
            add(d, "isa-serial", "started", driver="isa-serial", id="s2", chardev="n")
            add(d, "addr", "0x1000", "device memory", driver="pc-dimm", id="dimm1", memdev="m1", addr=4096)
            add(d, "dimm0", driver="pc-dimm", id="dimm1", memdev="m1", slot=0)
            add(d, "isa-debugcon", driver="isa-debugcon", id="dc", chardev="n")
            add(d, "board", driver="board", id="b2")
            if os.path.exists(PROBE):
                add(d, "linux-loader", driver="linux-loader", id="l", kernel=PROBE)
            d.c.refused("device_del", "serial0", "unplug", id="serial0")
            d.c.refused("device_del", "dimm0", "unplug", id="dimm0")
            d.c.refused("device_del", "board", id="board")
            d.c.refused("object-del", "in use", id="m0")
            add(d, "core-id", "4", driver="qemu64-x86_64-cpu", core_id=4)
            d.unchanged(before)
        d.c.call("device_add", driver="qemu64-x86_64-cpu", id="late")  # and what can be plugged then still can


@test
def starting_what_is_not_complete(_d):
    """Each refusal of cont names what is missing; the machine stays in prelaunch and empty-handed."""
    with Daemon() as d:
        d.c.refused("cont", "CPU")
        assert not d.has_board(), "cont has brought a board"
        d.c.call("device_add", driver="board", id="board")
        d.c.refused("cont", "CPU")
        d.c.call("device_add", driver="qemu64-x86_64-cpu")
        before = d.vitals()
        d.c.refused("cont", "memory")
        d.unchanged(before)
        d.c.call("object-add", qom_type="memory-backend-ram", id="m0", size=MIB)
        d.c.refused("cont", "memory")  # an object is no module
        d.c.call("device_add", driver="pc-dimm", memdev="m0", addr=1 << 32)
        before = d.vitals()
        d.c.refused("cont", "addr")  # base RAM begins at 0
        d.unchanged(before)
        assert not [e for e in d.c.events if e["event"] == "RESUME"]


# What firmware would find in fw_cfg is made by the first cont, also by one that fails: hence "abi" below.

@test
def starting_a_kernel_that_has_changed(_d):
    """What was checked at the plug is what is loaded: a file that was cut short since is found, by name."""
    if not os.path.exists(PROBE):
        raise Skip("the probe guest is not built")
    with open(PROBE, "rb") as file:
        good = file.read()
    with Files() as f, Daemon() as d:
        build_machine(d.c)
        path = f.make("kernel", good)
        d.c.call("device_add", driver="linux-loader", id="boot", kernel=path)
        os.truncate(path, 2000)
        before = d.vitals()
        text = d.c.refused("cont", path)
        assert "short" in text or "truncated" in text, text
        assert d.c.call("query-status")["status"] == "prelaunch"
        d.unchanged(before, but=["abi"])
        f.make("kernel", good)
        d.c.call("cont")
        assert d.c.call("query-status")["status"] == "running"
        after = d.view()
        with Daemon() as other:  # one that started at the first attempt
            build_machine(other.c)
            other.c.call("device_add", driver="linux-loader", id="boot", kernel=path)
            other.c.call("cont")
            assert other.view() == after


@test
def a_kernel_without_room(_d):
    """RAM too small for the kernel or its initrd: cont says so with both sizes."""
    if not os.path.exists(PROBE):
        raise Skip("the probe guest is not built")
    with Files() as f, Daemon() as d:
        d.c.call("device_add", driver="board", id="board", max_cpus=1)
        d.c.call("device_add", driver="qemu64-x86_64-cpu")
        d.c.call("object-add", qom_type="memory-backend-ram", id="m0", size=MIB)
        d.c.call("device_add", driver="pc-dimm", id="dimm0", memdev="m0")
        d.c.call("device_add", driver="linux-loader", id="boot", kernel=PROBE)
        before = d.vitals()
        d.c.refused("cont", PROBE)
        d.unchanged(before, but=["abi"])
        d.c.call("device_del", id="boot")
        d.c.call("object-add", qom_type="memory-backend-ram", id="m1", size=15 * MIB)
        d.c.call("device_add", driver="pc-dimm", id="dimm1", memdev="m1")
        big = f.make("initrd")
        os.truncate(big, 64 * MIB)
        d.c.call("device_add", driver="linux-loader", id="boot", kernel=PROBE, initrd=big)
        before = d.vitals()
        d.c.refused("cont", big)
        d.unchanged(before, but=["abi"])


def shared():
    d = Daemon()
    build_machine(d.c)
    return d


@test
def the_end_of_a_device_is_told_before_another_has_its_name(_):
    """Commands that were sent together: what the first has ended is told before the second is answered, to whomever."""
    with Daemon() as d:
        build_machine(d.c, cpus=1)
        with d.client() as other:
            for _ in range(20):
                d.c.call("device_add", driver="virtio-rng-pci", id="x")
                d.c.send(b"".join(json.dumps({"execute": name, "arguments": arguments}).encode() for name, arguments in (
                    ("device_del", {"id": "x"}), ("device_add", {"driver": "virtio-rng-pci", "id": "x"}), ("device_del", {"id": "x"}), ("query-name", {}))))
                got = [d.c.message() for _ in range(6)]
                assert [m.get("event", "return" if "return" in m else m) for m in got] == \
                    ["return", "DEVICE_DELETED", "return", "return", "DEVICE_DELETED", "return"], got
                other.call("query-name")
                assert [e["event"] for e in other.events] == ["DEVICE_DELETED"] * 2, other.events
                other.events.clear()


if __name__ == "__main__":
    sys.exit(main(shared, guard=True))

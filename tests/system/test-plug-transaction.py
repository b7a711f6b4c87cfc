#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""device-plug-transaction: all or nothing, members that refer to each other, before the first instruction and while the guest runs."""
import socket
import sys
import tempfile
sys.dont_write_bytecode = True
# pylint: disable=wrong-import-position
from blackbox import MIB, Daemon, build_machine, main, test  # noqa: E402
from qtest import Qtest  # noqa: E402

EMPTY = {"chardevs": [], "objects": [], "devices": []}
CPU = "qemu64-x86_64-cpu"
GPE0_STS, GPE0_EN, CPU_SELECTOR, CPU_FLAGS, MEM_SELECTOR, MEM_FLAGS = 0x620, 0x628, 0xCD8, 0xCDC, 0xA00, 0xA14


def plug(d, devices, **more):
    return d.c.call("device-plug-transaction", devices=devices, **more)["devices"]


def refused(d, devices, *parts, kind="GenericError", **more):
    return d.c.refused("device-plug-transaction", *parts, kind=kind, devices=devices, **more)


def config(d):
    return d.c.call("query-machine-config")["config"]


def port(name, **more):
    return {"driver": "pcie-root-port", "id": name, "multifunction": True, **more}


def rng(name, bus, **more):
    return {"driver": "virtio-rng-pci", "id": name, "bus": bus, **more}


def chardev(name, **data):
    return {"id": name, "backend": {"type": "file" if data else "null", "data": data}}


def memory(name, size=64 * MIB):
    return {"qom-type": "memory-backend-ram", "id": name, "size": size}


def same_after(d, before):
    """What the machine is, to the last descriptor and thread."""
    now = d.vitals()
    for key in ("view", "fds", "threads"):
        assert now[key] == before[key], f"{key}: {str(before[key])[:800]}, now {str(now[key])[:800]}"


class Guest(Qtest):
    def flags(self, selector, register, n):
        """Slot by slot: 1 there, 2 insert event."""
        seen = []
        for i in range(n):
            self.ask(f"outl {selector} {i}")
            seen.append(self.number(f"inb {register}"))
        return seen


def started(*arguments, **more):
    d = Daemon(*arguments, **more)
    d.c.call("device_add", driver="board", id="board", max_cpus=8, max_memory=1 << 30, memory_slots=4)
    plug(d, [{"driver": CPU, "id": "cpu0"}, {"driver": "pc-dimm", "id": "dimm0", "memdev": "m0"}, port("rp0"), port("rp1"),
             port("native", **{"native-hotplug": True}), port("cold", hotplug=False)], objects=[memory("m0")])
    d.c.call("cont")
    return d


def whole():
    """Something of each kind, each referring to what can be referred to."""
    return {"chardevs": [chardev("con"), chardev("log", out="/dev/null")],
            "objects": [memory("m0"), memory("m1"), {"qom-type": "rng-random", "id": "seed"}],
            "devices": [{"driver": "board", "id": "board", "max-cpus": 4}, {"driver": CPU, "id": "cpu0"}, {"driver": "pc-dimm", "id": "dimm0", "memdev": "m0"},
                        port("rp0"), rng("rng0", "rp0", rng="seed"), {"driver": "isa-serial", "id": "s0", "chardev": "con"}, port("rp1"),
                        {"driver": "pc-dimm", "id": "dimm1", "memdev": "m1"}, rng("rng1", "rp1"), {"driver": CPU, "id": "cpu1"}]}


# ---- success

@test
def one_transaction_is_the_same_machine_as_one_by_one():
    everything = whole()
    with Daemon() as one, Daemon() as two:
        ids = plug(one, everything["devices"], objects=everything["objects"], chardevs=everything["chardevs"])
        assert ids == [t["id"] for t in everything["devices"]], ids
        for thing in everything["chardevs"]:
            two.c.call("chardev-add", **thing)
        for thing in everything["objects"]:
            two.c.call("object-add", **thing)
        for thing in everything["devices"]:
            two.c.call("device_add", **thing)
        assert config(one) == config(two) == everything, config(one)
        assert one.c.call("query-guest-abi") == two.c.call("query-guest-abi")
        one.c.call("cont")


@test
def generated_ids_are_told():
    with Daemon() as d:
        assert plug(d, []) == []
        assert not d.has_board()
        ids = plug(d, [{"driver": CPU}, {"driver": "pcie-root-port"}, {"driver": CPU}])
        assert ids == [CPU + ".0", "pcie-root-port.0", CPU + ".1"], ids
        assert d.has_board()  # the first that needs one brings it, as with device_add
        assert plug(d, [rng("r", "pcie-root-port.0")]) == ["r"]


@test
def two_hundred_ports_and_devices():
    """Eight ports to a slot; functions and ids as one would give them by hand, and all gone again one by one."""
    with Daemon() as d:
        build_machine(d.c)
        before = d.vitals()
        ids = plug(d, [port(f"p{i}") for i in range(200)] + [rng(f"r{i}", f"p{i}") for i in range(200)])
        assert len(ids) == 400
        bridges = [x for x in d.c.call("query-pci")[0]["devices"] if "pci_bridge" in x]
        assert [(x["qdev_id"], x["slot"] * 8 + x["function"]) for x in bridges] == [(f"p{i}", 8 + i) for i in range(200)]
        assert [x["pci_bridge"]["devices"][0]["qdev_id"] for x in bridges] == [f"r{i}" for i in range(200)]
        for kind in "rp":
            for i in range(200):
                d.c.call("device_del", id=f"{kind}{i}")
        for _ in range(400):
            d.c.wait_event("DEVICE_DELETED")
        same_after(d, before)


# ---- nothing

@test
def rollback_at_every_member():
    """A member that fails at its last step, at each place, on an empty and on a furnished machine."""
    bad = {"chardevs": chardev("bad", out="/no/such/file"),
           "objects": {"qom-type": "memory-backend-file", "id": "bad", "size": 4096, "mem-path": "/no/such/file"},
           "devices": {"driver": "linux-loader", "id": "bad", "kernel": "/no/such/file"}}
    with Daemon() as empty, Daemon() as full:
        build_machine(full.c, cpus=1)
        for d in (empty, full):
            all_of = whole()
            if d is full:
                all_of["chardevs"][0]["id"] = all_of["devices"][5]["chardev"] = "con2"
                all_of["objects"][0]["id"] = all_of["devices"][2]["memdev"] = "m02"
                all_of["devices"][2]["id"], all_of["devices"][5]["index"] = "dimm02", 1
                del all_of["devices"][0]
            before = d.vitals()
            for section, thing in bad.items():
                for i in range(len(all_of[section]) + 1):
                    changed = dict(all_of, **{section: all_of[section][:i] + [thing] + all_of[section][i:]})
                    refused(d, changed["devices"], f"{section}[{i}] ('bad')", "/no/such/file", objects=changed["objects"], chardevs=changed["chardevs"])
                    same_after(d, before)
                twice = dict(all_of, **{section: all_of[section] + all_of[section][-1:]})
                refused(d, twice["devices"], f"{section}[{len(all_of[section])}]", "uplicate", objects=twice["objects"], chardevs=twice["chardevs"])
                same_after(d, before)
            plug(d, all_of["devices"], objects=all_of["objects"], chardevs=all_of["chardevs"], dry_run=True)
            same_after(d, before)
            d.unchanged(before)
            plug(d, all_of["devices"], objects=all_of["objects"], chardevs=all_of["chardevs"])


@test
def the_member_is_named():
    with Daemon() as d:
        before = d.vitals()
        refused(d, [port("a"), rng("r", "b"), port("b")], "devices[1] ('r')", "'b'", kind="DeviceNotFound")  # not what comes later
        refused(d, [port("a"), {"driver": "virtio-rng-pci", "bus": "nowhere"}], "devices[1] ('virtio-rng-pci')", "'nowhere'", kind="DeviceNotFound")
        refused(d, [port("a"), rng("r", "a"), rng("s", "a")], "devices[2] ('s')", "'a' has no free slot")
        refused(d, [port("a"), rng("r", "a"), rng("s", "a", addr="0")], "devices[1] ('r')", "'a' has no free slot")  # it is kept for who says it
        refused(d, [port("a"), rng("r", "a", addr="0"), rng("s", "a", addr="0")], "devices[2] ('s')", "in use by device 'r'")
        refused(d, [port("a"), port("a")], "devices[1] ('a')", "Duplicate device ID 'a'")
        refused(d, [{"driver": CPU, "id": "c"}, {"driver": "pc-dimm", "id": "m", "memdev": "none"}], "devices[1] ('m')", "'none'", kind="DeviceNotFound")
        # what the schema refuses
        refused(d, [port("a"), port("b", nonsense=1)], "devices[1]", "nonsense")
        refused(d, [port("a"), {"driver": "nope"}], "devices[1]", "nope")
        refused(d, [port("a"), 5], "devices[1]")
        refused(d, [port("a"), {"id": "b"}], "devices[1]", "driver")
        d.c.refused("device-plug-transaction", "'devices'")
        d.c.refused("device-plug-transaction", "'actions'", devices=[], actions=[])
        same_after(d, before)


@test
def a_descriptor_passed_by_name():
    """It stays the client's until the transaction succeeds."""
    with Daemon() as d:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            d.c.call("getfd", fds=[theirs.fileno()], fdname="console")
            before = d.vitals()
            chardevs = [{"id": "c", "backend": {"type": "socket", "data": {"addr": {"type": "fd", "data": {"str": "console"}}, "server": False}}}]
            refused(d, [{"driver": "isa-serial", "id": "s", "chardev": "none"}], "'none'", chardevs=chardevs, kind="DeviceNotFound")
            same_after(d, before)
            plug(d, [{"driver": "isa-serial", "id": "s", "chardev": "c"}], chardevs=chardevs, dry_run=True)
            same_after(d, before)
            plug(d, [{"driver": "isa-serial", "id": "s", "chardev": "c"}], chardevs=chardevs)
            d.c.refused("closefd", "console", fdname="console")


# ---- while the guest runs

@test
def a_running_guest_is_told_of_all():
    """CPUs and modules of one transaction: all insert events are there when the first interrupt's bits are."""
    with tempfile.TemporaryDirectory(prefix="bb-", dir="/tmp") as t, started("--qtest", f"unix:{t}/qtest", directory=t) as d:
        guest = Guest(d.path("qtest"))
        guest.ask(f"outb {GPE0_EN} 0x0c")
        assert guest.flags(CPU_SELECTOR, CPU_FLAGS, 4) == [1, 0, 0, 0] and guest.number(f"inb {GPE0_STS}") == 0
        before = d.vitals()
        more = [{"driver": CPU, "id": "cpu1"}, {"driver": "pc-dimm", "id": "dimm1", "memdev": "m1", "slot": 2}, rng("r0", "rp0"), {"driver": CPU, "id": "cpu2"}]
        for at in range(len(more) + 1):
            for wrong, part in (({"driver": "isa-serial", "id": "x"}, "does not support hotplugging"), (rng("x", "cold"), "does not support hotplugging"),
                                (rng("x", "none"), "'none'")):
                refused(d, more[:at] + [wrong] + more[at:], f"devices[{at}] ('x')", part, objects=[memory("m1", 128 * MIB)],
                        kind="DeviceNotFound" if part == "'none'" else "GenericError")
                same_after(d, before)
                assert guest.flags(CPU_SELECTOR, CPU_FLAGS, 4) == [1, 0, 0, 0], "CPUs that the guest sees"
                assert guest.flags(MEM_SELECTOR, MEM_FLAGS, 4) == [0] * 4, "modules that the guest sees"
                assert guest.number(f"inb {GPE0_STS}") == 0, "an event of a transaction that failed"
        d.unchanged(before)
        plug(d, more, objects=[memory("m1", 128 * MIB)])
        assert guest.flags(CPU_SELECTOR, CPU_FLAGS, 4) == [1, 3, 3, 0]
        assert guest.flags(MEM_SELECTOR, MEM_FLAGS, 4) == [0, 0, 3, 0]
        assert guest.number(f"inb {GPE0_STS}") & 0x0c == 0x0c
        assert len(d.c.call("query-cpus-fast")) == 3
        guest.close()


@test
def many_failures_leave_nothing():
    with started() as d:
        more = [{"driver": CPU, "id": "cpu1"}, {"driver": "pc-dimm", "id": "dimm1", "memdev": "m1"}, rng("r0", "rp0"), rng("r1", "rp1"), rng("x", "rp1")]
        refused(d, more, "no free slot", objects=[memory("m1", 128 * MIB)])
        before = d.vitals()
        for _ in range(200):
            refused(d, more, "devices[4] ('x')", "no free slot", objects=[memory("m1", 128 * MIB)])
        d.unchanged(before, memory=2 * MIB)


@test
def stopped_and_after_a_reset():
    with started() as d:
        d.c.call("stop")
        plug(d, [{"driver": CPU, "id": "cpu1"}, rng("r0", "rp0")])
        d.c.call("system_reset")
        plug(d, [{"driver": CPU, "id": "cpu2"}, rng("r1", "native")])
        d.c.call("cont")
        assert len(d.c.call("query-cpus-fast")) == 3


if __name__ == "__main__":
    sys.exit(main())

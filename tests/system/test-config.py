#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The configuration out and in: the manager's own words after any history, the same machine in a fresh daemon, all or nothing."""
import json
import os
import random
import subprocess
import sys
import tempfile
sys.dont_write_bytecode = True
# pylint: disable=wrong-import-position
from blackbox import BUILD, DAEMON, MIB, PATIENCE, Daemon, QmpError, build_machine, main, test  # noqa: E402

PROBE = os.path.join(BUILD, "tests/guest/probe-pvh.elf")
EMPTY = {"chardevs": [], "objects": [], "devices": []}


def config(d):
    return d.c.call("query-machine-config")["config"]


def fingerprint(d):
    return d.c.call("query-guest-abi")["fingerprint"]


def resolved(d):
    return {(r["id"], p["name"]): p for r in d.c.call("query-machine-config", resolved=True)["resolved"] for p in r["properties"]}


def load(d, document, **more):
    return d.c.call("machine-config-load", config=document, **more)


# ---- out

@test
def nothing_said_is_nothing():
    with Daemon() as d:
        assert d.c.call("query-machine-config") == {"config": EMPTY}
        assert d.c.call("query-machine-config", resolved=False) == {"config": EMPTY}
        assert d.c.call("query-machine-config", resolved=True) == {"resolved": []}
        d.c.refused("query-guest-abi", "board")


@test
def exact_words():
    """What was said comes back as it was said: neither defaults nor conversions."""
    said = {
        "chardevs": [
            {"id": "a", "backend": {"type": "null", "data": {}}},
            {"id": "b", "backend": {"type": "ringbuf", "data": {"size": 4096}}},
            {"id": "c", "backend": {"type": "ringbuf", "data": {}}},
            {"id": "d", "backend": {"type": "file", "data": {"out": "/dev/null", "append": False}}},
            {"id": "e", "backend": {"type": "socket", "data": {"addr": {"type": "unix", "data": {"path": "/tmp/bb-\u00e4"}}, "wait": False, "reconnect": 0}}},
            {"id": "f", "backend": {"type": "pty", "data": {}}}],
        "objects": [
            {"qom-type": "iothread", "id": "io"},
            {"qom-type": "memory-backend-memfd", "id": "m0", "size": 2097152, "share": True},
            {"qom-type": "memory-backend-ram", "id": "m1", "size": 1048576, "prealloc": False},
            {"qom-type": "memory-backend-ram", "id": "m2", "size": 2**46}],
        "devices": [
            {"driver": "board", "id": "b0", "max-cpus": 12, "cpu-threads": 2, "uuid": "12345678-1234-1234-1234-123456789ABC",
             "rtc-base": "2026-01-31T12:30:00", "smbios-serial": "", "smbios-product": "Gr\u00fc\u00df\" \\\n\u20ac", "fw-cfg-dma": True, "pci-hole64-size": 0},
            {"driver": "qemu64-x86_64-cpu", "id": "cpu-b", "core-id": 3, "thread-id": 1, "features": ""},
            {"driver": "qemu64-x86_64-cpu", "id": "cpu-a"},
            {"driver": "pc-dimm", "id": "d1", "memdev": "m1", "slot": 5},
            {"driver": "pc-dimm", "id": "d0", "memdev": "m0"},
            {"driver": "isa-serial", "id": "s", "index": 1, "chardev": "b"},
            {"driver": "isa-serial", "id": "t"},
            {"driver": "isa-debugcon", "id": "dc", "chardev": "a", "readback": 0}]}
    with Daemon() as one, Daemon() as two:
        for thing in said["chardevs"]:
            one.c.call("chardev-add", **thing)
        for thing in said["objects"]:
            one.c.call("object-add", **thing)
        for thing in said["devices"]:
            one.c.call("device_add", **thing)
        assert config(one) == said, config(one)
        one.c.call("chardev-remove", id="e")
        without = dict(said, chardevs=[c for c in said["chardevs"] if c["id"] != "e"])
        assert load(two, config(one)) == {"devices": 8, "objects": 4, "chardevs": 5}
        assert config(two) == without
        assert fingerprint(one) == fingerprint(two)
        assert {k: v for k, v in resolved(one).items() if k[0] != "f"} == {k: v for k, v in resolved(two).items() if k[0] != "f"}


@test
def a_board_that_nobody_plugged():
    """It is in the resolved form and not in the plain one; loading makes it again."""
    with Daemon() as one, Daemon() as two:
        one.c.call("device_add", driver="isa-serial", id="s")
        assert config(one) == dict(EMPTY, devices=[{"driver": "isa-serial", "id": "s"}])
        assert resolved(one)["board", "max-cpus"]["value"] == 240
        load(two, config(one))
        assert config(two) == config(one) and fingerprint(two) == fingerprint(one)
        one.c.call("device_del", id="s")
        assert config(one) == EMPTY and one.has_board(), "the board stays: a guest-visible thing does not vanish by itself"
        load(one, dict(EMPTY, devices=[{"driver": "isa-serial", "id": "s"}]))
        assert fingerprint(two) == fingerprint(one)


@test
def generated_ids():
    with Daemon() as one, Daemon() as two:
        one.c.call("device_add", driver="board", max_cpus=3)
        for _ in range(3):
            one.c.call("device_add", driver="qemu64-x86_64-cpu")
        ids = [t["id"] for t in config(one)["devices"]]
        assert len(set(ids)) == 4 and all(ids), ids
        one.c.call("device_del", id=ids[3])  # the last: a gap would be filled by whoever comes next, since no slot was said
        load(two, config(one))
        assert config(one) == config(two) and fingerprint(one) == fingerprint(two), (config(one), config(two))
        for d in (one, two):  # the next generated one clashes with none
            d.c.call("device_add", driver="qemu64-x86_64-cpu")
            assert len({t["id"] for t in config(d)["devices"]}) == 4
        assert fingerprint(one) == fingerprint(two)


class History:
    """Plugs and unplugs at random, and keeps what the configuration must then be."""

    def __init__(self, d, r):
        self.d, self.r, self.said, self.n = d, r, {"chardevs": [], "objects": [], "devices": []}, 0
        self.add("devices", "device_add", {"driver": "board", "id": "board", "max-cpus": 8})

    def add(self, section, command, thing):
        try:
            self.d.c.call(command, **thing)
        except QmpError:
            return
        self.said[section].append(thing)

    def step(self):
        r, self.n = self.r, self.n + 1
        name = f"x{self.n}"
        dimms = [t["memdev"] for t in self.said["devices"] if t["driver"] == "pc-dimm"]
        free = [t["id"] for t in self.said["objects"] if t["id"] not in dimms]
        choice = r.randrange(9)
        if choice == 0:
            self.add("chardevs", "chardev-add", {"id": name, "backend": r.choice([
                {"type": "null", "data": {}}, {"type": "ringbuf", "data": {"size": 1 << r.randrange(20)}}])})
        elif choice == 1:
            self.add("objects", "object-add", {"qom-type": "memory-backend-ram", "id": name, "size": r.randrange(1, 9) * MIB})
        elif choice == 2 and free:
            self.add("devices", "device_add", {"driver": "pc-dimm", "id": name, "memdev": r.choice(free),
                                               **r.choice([{}, {}, {"slot": r.randrange(32)}])})
        elif choice == 3:
            self.add("devices", "device_add", {"driver": "qemu64-x86_64-cpu", "id": name, **r.choice([{}, {"core-id": r.randrange(8)}])})
        elif choice == 4:
            chardevs = [t["id"] for t in self.said["chardevs"]]
            self.add("devices", "device_add", {"driver": "isa-serial", "id": name,
                                               **({"chardev": r.choice(chardevs)} if chardevs and r.randrange(2) else {}),
                                               **r.choice([{}, {"index": r.randrange(4)}])})
        else:
            section, command = r.choice([("devices", "device_del"), ("objects", "object-del"), ("chardevs", "chardev-remove")])
            if not self.said[section]:
                return
            thing = r.choice(self.said[section])
            if thing["id"] == "board":
                return
            try:
                self.d.c.call(command, id=thing["id"])
            except QmpError:
                return
            self.said[section].remove(thing)


@test
def many_histories():
    """After each of many random histories: exact words, and a machine that is the same when its addresses are loaded with it."""
    seed = int(os.environ.get("TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
    r = random.Random(seed)
    print(f"# TEST_SEED={seed}")
    for _ in range(12):
        with Daemon() as one, Daemon() as two:
            h = History(one, r)
            for i in range(60):
                h.step()
                if i % 20 == 19:
                    assert config(one) == h.said, f"{config(one)}\n{h.said}"
            # what nobody gave was allocated in plug order; said as it was resolved, it is the same whatever the history
            full = json.loads(json.dumps(h.said))
            values = resolved(one)
            for thing in full["devices"]:
                for name in {"pc-dimm": ["slot"], "isa-serial": ["index", "iobase", "irq"],
                             "qemu64-x86_64-cpu": ["socket-id", "die-id", "core-id", "thread-id"]}.get(thing["driver"], ()):
                    thing[name] = values[thing["id"], name]["value"]
            devices = full["devices"][1:]
            r.shuffle(devices)
            full["devices"][1:] = devices
            for section in ("chardevs", "objects"):
                r.shuffle(full[section])
            load(two, full)
            assert config(two) == full
            a, b = (x.c.call("query-guest-abi", detail=True) for x in (one, two))
            assert a == b, [(p, q) for p, q in zip(a["leaves"], b["leaves"]) if p != q][:3]
            started = h.said["devices"] and any(t["driver"] == "pc-dimm" for t in h.said["devices"]) and any(
                t["driver"] == "qemu64-x86_64-cpu" for t in h.said["devices"])
            if started:
                for d in (one, two):
                    d.c.call("cont")
                assert fingerprint(one) == fingerprint(two)
                assert config(one) == h.said and config(two) == full, "starting changes no word of it"


@test
def plug_order_does_not_matter():
    with Daemon() as one, Daemon() as two:
        things = [("object-add", {"qom-type": "memory-backend-ram", "id": "m0", "size": 8 * MIB}),
                  ("object-add", {"qom-type": "memory-backend-ram", "id": "m1", "size": 16 * MIB}),
                  ("device_add", {"driver": "board", "id": "board", "max-cpus": 4}),
                  ("device_add", {"driver": "qemu64-x86_64-cpu", "id": "c0", "core-id": 0}),
                  ("device_add", {"driver": "qemu64-x86_64-cpu", "id": "c2", "core-id": 2}),
                  ("device_add", {"driver": "pc-dimm", "id": "d0", "memdev": "m0", "slot": 0}),
                  ("device_add", {"driver": "pc-dimm", "id": "d1", "memdev": "m1", "slot": 1}),
                  ("device_add", {"driver": "isa-serial", "id": "s0", "index": 0}),
                  ("device_add", {"driver": "isa-serial", "id": "s1", "index": 1})]
        for command, thing in things:
            one.c.call(command, **thing)
        for command, thing in things[:3] + things[:2:-1]:
            two.c.call(command, **thing)
        for _ in ("prelaunch", "running"):
            a, b = (d.c.call("query-guest-abi", detail=True) for d in (one, two))
            assert a == b, [(p, q) for p, q in zip(a["leaves"], b["leaves"]) if p != q][:3]
            one.c.call("cont")
            two.c.call("cont")
        before = fingerprint(one)
        one.c.call("device_add", driver="qemu64-x86_64-cpu", id="c1", core_id=1)
        assert fingerprint(one) != before, "a CPU more is something that the guest sees"
        one.c.call("device_del", id="c1", force=True)
        assert fingerprint(one) == before


@test
def added_while_it_runs():
    """A machine that grew is the same as one that is built at once from what it became."""
    with Daemon() as one, Daemon() as two:
        one.c.call("device_add", driver="board", id="board", max_cpus=4, max_memory=1 << 34)
        one.c.call("device_add", driver="qemu64-x86_64-cpu", id="c0")
        for i, size in enumerate((8 * MIB, 256 * MIB, 1024 * MIB, 4 * MIB)):
            one.c.call("object-add", qom_type="memory-backend-ram", id=f"m{i}", size=size)
        one.c.call("device_add", driver="pc-dimm", id="d0", memdev="m0")
        one.c.call("cont")
        for i in (1, 2, 3):
            one.c.call("device_add", driver="pc-dimm", id=f"d{i}", memdev=f"m{i}")
        one.c.call("device_del", id="d1", force=True)
        one.c.call("device_add", driver="qemu64-x86_64-cpu", id="c3", core_id=3)
        values, document = resolved(one), config(one)
        for thing in document["devices"]:
            for name in {"board": ["lowmem", "device-memory-base", "pci-hole64-base"], "pc-dimm": ["slot", "addr"],
                         "qemu64-x86_64-cpu": ["core-id"]}[thing["driver"]]:
                thing[name] = values[thing["id"], name]["value"]
        load(two, document)
        two.c.call("cont")
        a, b = (d.c.call("query-guest-abi", detail=True) for d in (one, two))
        assert a == b, [(p, q) for p, q in zip(a["leaves"], b["leaves"]) if p != q][:3]
        assert one.c.call("query-memory-devices") == two.c.call("query-memory-devices")
        for d in (one, two):
            assert d.c.call("query-memory-size-summary") == {"base-memory": 8 * MIB, "plugged-memory": 1028 * MIB}
            d.c.call("system_reset")
        assert fingerprint(one) == fingerprint(two) == a["fingerprint"], "a reset changes nothing"


@test
def what_the_guest_can_not_see():
    """Ids, chardevs and host-side choices are not in the fingerprint; each guest-visible value is."""
    base = {"devices": [{"driver": "board", "id": "board", "max-cpus": 4}, {"driver": "isa-serial", "id": "s"}]}
    prints = {}
    for name, document in {
            "base": base,
            "a chardev": {"chardevs": [{"id": "c", "backend": {"type": "null", "data": {}}}],
                          "devices": [base["devices"][0], {"driver": "isa-serial", "id": "s", "chardev": "c"}]},
            "max-cpus": {"devices": [{"driver": "board", "id": "board", "max-cpus": 5}, base["devices"][1]]},
            "serial number": {"devices": [{"driver": "board", "id": "board", "max-cpus": 4, "smbios-serial": "x"}, base["devices"][1]]},
            "default said": {"devices": [{"driver": "board", "id": "board", "max-cpus": 4, "memory-slots": 32}, base["devices"][1]]},
            "index": {"devices": [base["devices"][0], {"driver": "isa-serial", "id": "s", "index": 2}]}}.items():
        with Daemon() as d:
            load(d, document)
            prints[name] = fingerprint(d)
    assert prints["base"] == prints["a chardev"] == prints["default said"], prints
    assert len({prints[n] for n in ("base", "max-cpus", "serial number", "index")}) == 4, prints


# ---- the resolved form

@test
def origins():
    with Daemon() as d:
        d.c.call("device_add", driver="board", id="board", max_cpus=4, smbios_product="Backplane Virtual Machine")
        d.c.call("device_add", driver="isa-serial", id="s", irq=5)
        v = resolved(d)
        for key, value, origin, lost in (
                (("board", "max-cpus"), 4, "config", [{"origin": "default", "value": 240}]),
                (("board", "smbios-product"), "Backplane Virtual Machine", "config", [{"origin": "default", "value": "Backplane Virtual Machine"}]),
                (("board", "memory-slots"), 32, "default", None), (("board", "cpu-cores"), 4, "default", None),
                (("board", "lowmem"), None, "unset", None),
                (("s", "irq"), 5, "config", None), (("s", "index"), 0, "default", None), (("s", "chardev"), None, "unset", None)):
            p = v[key]
            assert (p["value"], p["origin"], p.get("lost")) == (value, origin, lost), (key, p)
        assert v["board", "phys-bits"]["origin"] == "host", v["board", "phys-bits"]
        assert v["board", "max-cpus"]["guest-visible"] and not v["s", "chardev"]["guest-visible"]
        names = {p["name"] for p in d.c.call("device-list-properties", typename="board")}
        assert {n for i, n in v if i == "board"} >= names - {"id", "type"}, names
        for kind, ns in (("board", "device"), ("isa-serial", "device")):
            assert any(x["type"] == kind and x["ns"] == ns for x in d.c.call("query-machine-config", resolved=True)["resolved"])


@test
def what_the_first_cont_decides_is_recorded():
    with Daemon() as d, Daemon() as again:
        build_machine(d.c, memory=64 * MIB)
        before, said = resolved(d), config(d)
        assert before["dimm0", "addr"]["origin"] == "unset"
        d.c.call("cont")
        after = resolved(d)
        for key in (("board", "lowmem"), ("board", "device-memory-base"), ("board", "pci-hole64-base"), ("dimm0", "addr")):
            assert after[key]["origin"] == "default" and after[key]["value"] is not None, (key, after[key])
        assert after["board", "device-memory-base"]["value"] == 1 << 32
        assert after["dimm0", "addr"]["value"] == 0
        assert config(d) == said
        # said in full it is the same machine
        full = json.loads(json.dumps(said))
        for thing in full["devices"]:
            for name in {"board": ["lowmem", "device-memory-base", "pci-hole64-base"], "dimm0": ["addr", "slot"]}.get(thing["id"], ()):
                thing[name] = after[thing["id"], name]["value"]
        load(again, full)
        again.c.call("cont")
        assert fingerprint(again) == fingerprint(d)


# ---- in

def whole_machine(path):
    return {"chardevs": [{"id": "con", "backend": {"type": "ringbuf", "data": {"size": 4096}}},
                         {"id": "sock", "backend": {"type": "socket", "data": {"addr": {"type": "unix", "data": {"path": path}}}}}],
            "objects": [{"qom-type": "memory-backend-memfd", "id": "m0", "size": 64 * MIB}, {"qom-type": "iothread", "id": "io"}],
            "devices": [{"driver": "board", "id": "board", "max-cpus": 4}, {"driver": "qemu64-x86_64-cpu", "id": "cpu0"},
                        {"driver": "pc-dimm", "id": "dimm0", "memdev": "m0"}, {"driver": "isa-serial", "id": "s0", "chardev": "con"},
                        {"driver": "isa-serial", "id": "s1", "chardev": "sock"}]}


@test
def dry_run_changes_nothing():
    with Daemon() as d:
        path = d.path("chr")
        document = whole_machine(path)
        before = d.vitals()
        assert load(d, document, dry_run=True) == {"devices": 5, "objects": 2, "chardevs": 2}
        assert not os.path.exists(path)
        d.unchanged(before)
        assert config(d) == EMPTY
        bad = dict(document, devices=document["devices"] + [{"driver": "pc-dimm", "id": "dimm1", "memdev": "none"}])
        d.c.refused("machine-config-load", "none", kind="DeviceNotFound", config=bad, dry_run=True)
        d.unchanged(before)
        load(d, document)
        assert config(d) == document and os.path.exists(path)
        d.c.call("cont")
        before = d.vitals()
        more = {"devices": [{"driver": "qemu64-x86_64-cpu", "id": "cpu1"}]}
        load(d, more, dry_run=True)
        d.unchanged(before)
        d.c.refused("machine-config-load", "cpu0", config={"devices": [{"driver": "qemu64-x86_64-cpu", "id": "cpu0"}]}, dry_run=True)
        d.unchanged(before)


@test
def rollback_at_every_position():
    """A thing that can not be plugged, at each place of the document, on an empty and on a furnished machine."""
    with Daemon() as empty, Daemon() as full:
        build_machine(full.c)
        for d in (empty, full):
            document = whole_machine(d.path("chr"))
            if d is full:
                document = json.loads(json.dumps(document).replace('"con"', '"con2"').replace('"m0"', '"m02"').replace('dimm0', 'dimm02')
                                      .replace('"s0"', '"s02"'))
                del document["devices"][0]
            bad = {"chardevs": {"id": "bad", "backend": {"type": "file", "data": {"out": "/no/such/file"}}},
                   "objects": {"qom-type": "memory-backend-file", "id": "bad", "size": 4096, "mem-path": "/no/such/file"},
                   "devices": {"driver": "linux-loader", "id": "bad", "kernel": "/no/such/file"}}
            before = d.vitals()
            for section, thing in bad.items():
                for i in range(len(document[section]) + 1):
                    changed = dict(document, **{section: document[section][:i] + [thing] + document[section][i:]})
                    d.c.refused("machine-config-load", "bad" if section != "devices" else "'kernel'", "/no/such/file", config=changed)
                    now = d.vitals()
                    assert now["view"] == before["view"] and now["fds"] == before["fds"] and now["threads"] == before["threads"], (section, i)
                    assert not os.path.exists(d.path("chr")), (section, i)
            d.unchanged(before)
            for section in bad:  # and a name that stands twice
                twice = dict(document, **{section: document[section] + document[section][-1:]})
                d.c.refused("machine-config-load", config=twice)
                d.unchanged(before)
            load(d, document)


@test
def sections_can_be_left_out():
    with Daemon() as d:
        assert load(d, {}) == {"devices": 0, "objects": 0, "chardevs": 0}
        assert not d.has_board()
        load(d, {"objects": [{"qom-type": "iothread", "id": "io"}]})
        d.c.refused("machine-config-load", "no-such", config={"no-such": []})
        d.c.refused("machine-config-load", "config", config=[])
        d.c.refused("machine-config-load", "'config'")


@test
def from_a_file():
    """--config takes the document and query-machine-config's whole answer; a mistake ends the start with one line that names it."""
    with tempfile.TemporaryDirectory(prefix="bb-", dir="/tmp") as t:
        document, path = whole_machine(t + "/chr"), t + "/config.json"

        def write(text):
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)

        def refused(*parts):
            p = subprocess.run([DAEMON, "--name", "x", "--accel", "test", "--qmp", f"unix:{t}/q", "--pidfile", t + "/pid", "--config", path],
                               stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20 * PATIENCE, check=False)
            assert p.returncode == 1, (p.returncode, p.stderr)
            for part in parts:
                assert part in p.stderr, p.stderr
            assert sorted(os.listdir(t)) in (["config.json"], []), os.listdir(t)
        prints = []
        for text in (json.dumps(document), json.dumps({"config": document}), json.dumps({"config": document}, indent=4) + "\n\n"):
            write(text)
            with Daemon("--config", path) as d:
                assert config(d) == document
                prints.append(fingerprint(d))
        assert len(set(prints)) == 1
        for text, parts in (("", ("JSON",)), ("{", ("JSON",)), ("[]", ("object",)), ("{} {}", ("JSON",)), ('{"x": 1}', ("'x'",)), ('{"config": 5}', ("config",)),
                            (json.dumps(dict(document, devices=[{"driver": "nope"}])), ("nope",)),
                            (json.dumps({"devices": [{"driver": "isa-serial", "chardev": "none"}]}), ("none",)),
                            ('{"devices": [], "devices": []}', ("devices",))):
            write(text)
            refused(path, *parts)
        os.unlink(path)
        refused(path, "No such file")


@test
def a_started_machine_takes_more():
    with Daemon() as d:
        build_machine(d.c)
        d.c.call("cont")
        load(d, {"devices": [{"driver": "qemu64-x86_64-cpu", "id": "more"}]})
        assert len(d.c.call("query-cpus-fast")) == 3
        before = d.vitals()
        d.c.refused("machine-config-load", "started", config={"devices": [{"driver": "qemu64-x86_64-cpu", "id": "more2"}, {"driver": "isa-serial", "id": "s9"}]})
        d.unchanged(before)


if __name__ == "__main__":
    sys.exit(main())

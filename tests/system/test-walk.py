#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""CPUs, memory, disks and network cards plugged and unplugged at random, all together and without a pause, with a guest that is willing,
refuses, or is silent. A model (walkmodel.py) says of each command whether it succeeds or with what it is refused, and which events
follow; queries and registers are compared with it on the way. In the end the machine is the one that a fresh daemon makes of its resolved
configuration, and when all is unplugged the daemon holds what it held before. TEST_SEED repeats a walk, TEST_STEPS gives it another length.
"""
import glob
import json
import os
import random
import re
import struct
import sys
import tempfile
from collections import Counter, deque

sys.dont_write_bytecode = True
# pylint: disable=wrong-import-position
from blackbox import SOURCE, Daemon, Skip, diag, main, test  # noqa: E402
from qtest import Qtest  # noqa: E402
from walkmodel import (CPU, CPUS, GIB, HUB, HUB_PORTS, LAMP_BLINKS, LAMP_OFF, LAMP_ON, MIB, MODULES, MS, OTHER_CPU, Model, Object, Port,  # noqa: E402
                       PORTS, Refusal)

STEPS = int(os.environ.get("TEST_STEPS", "0")) or (100000 if os.environ.get("TEST_LONG") else 10000)
ECAM, EXPRESS = 0xb0000000, 0x60
GPE0, CPU_REGS, MEM_REGS, PCI_REGS = 0x620, 0xCD8, 0xA00, 0xCC0
IGNORED = {"ACPI_DEVICE_OST"}  # held to one a second: query-acpi-ospm-status is looked at instead
FUNCTIONS = {"virtio-rng-pci": 0x10441af4, "virtio-blk-pci": 0x10421af4, "virtio-net-pci": 0x10411af4,
             HUB: 0x10431af4}
FILES = 3
ROOT_SLOTS_FREE = 6


class Guest(Qtest):
    """Requests in one go; the last one is a barrier: what they led to is done."""

    def all(self, *lines):
        self.sock.sendall(("\n".join(lines) + "\nendianness\n").encode())
        got = []
        for line in (*lines, "endianness"):
            reply = self.file.readline().split()
            assert reply and reply[0] == "OK", f"qtest: {line!r}: {reply}"
            got.append(reply[1:])
        return [int(g[0], 0) if g else None for g in got[:-1]]


class Walk:
    def __init__(self, daemon, seed, tap, kernel=None):
        """KERNEL: the guest of a machine with KVM, which does not answer. Without it a client of the qtest protocol is the guest."""
        self.d, self.c, self.r, self.tap, self.kernel = daemon, daemon.c, random.Random(seed), tap, kernel
        self.seed, self.log, self.n = seed, deque(maxlen=60), 0
        self.temper, self.plan, self.owes, self.numbered = "willing", {}, set(), False
        self.count, self.forgotten = Counter(), 0
        self.build()
        if kernel:
            self.every_cpu()
        else:
            self.q = Guest(daemon.path("qtest"))
            self.m.now = self.q.number("clock_step 0")

    # ---- the machine that the walk begins and ends with

    def build(self):
        ports = {}
        for i in range(4):
            ports[f"a{i}"] = Port(0x10 + i)
            ports[f"n{i}"] = Port(0x18 + i, native=True)
        ports["cold"] = Port(0x20, hotplug=False)
        for slot in range(5 + ROOT_SLOTS_FREE, 0x1f):
            ports[f"x{slot:x}"] = Port(slot << 3, hotplug=False)
        self.m = Model(ports, 64 * MIB, 3 * GIB)
        plug = [{"driver": "board", "id": "board", "max-cpus": CPUS, "memory-slots": MODULES, "max-memory": 3 * GIB},
                {"driver": CPU, "id": "c0"}, {"driver": "pc-dimm", "id": "base", "memdev": "mbase"},
                {"driver": "isa-serial", "id": "serial0", "chardev": "con"}]
        plug += [{"driver": "pcie-root-port", "id": i, "addr": f"{p.devfn >> 3:x}.{p.devfn & 7}", "multifunction": True, "hotplug": p.hotplug,
                  "native-hotplug": p.native} for i, p in ports.items()]
        if self.kernel:
            plug.append({"driver": "linux-loader", "id": "boot", "kernel": self.kernel})
        plug.append({"driver": "virtio-rng-pci", "id": "coldrng", "bus": "cold"})
        self.c.call("machine-config-load", config={
            "chardevs": [{"id": "con", "backend": {"type": "null", "data": {}}}],
            "objects": [{"qom-type": "memory-backend-ram", "id": "mbase", "size": 64 * MIB}], "devices": plug})
        m = self.m
        m.chardevs["con"] = "serial0"
        m.add_object("mbase", Object("memory-backend-ram", 64 * MIB))
        for spec in plug[1:3] + plug[-1:]:
            refusals, t = m.realize(spec)
            assert not refusals, refusals
            m.publish([t])
            t.cold = spec["driver"] != CPU
            t.size = m.base_size if t.kind == "dimm" else 0
        m.started = m.off = True
        self.c.call("cont")
        m.cont()
        board = next(r for r in self.c.call("query-machine-config", resolved=True)["resolved"] if r["type"] == "board")
        m.memory_base = next(p["value"] for p in board["properties"] if p["name"] == "device-memory-base")

    def every_cpu(self):
        """KVM's vCPUs are kept for the next CPU of the slot: there are all from now on."""
        for i in range(1, CPUS):
            name, arguments, refusals = self.plug({"driver": CPU, "id": f"c{i}", "core-id": i})
            assert not refusals
            self.c.call(name, **arguments)
            self.c.call("device_del", id=f"c{i}", force=True)
            self.m.device_del(f"c{i}", True, 0)
        self.events()

    # ---- commands: each is predicted, then sent; many at once

    def commands(self, n):
        expected = []
        for _ in range(n):
            name, arguments, refusals = self.command()
            self.count[arguments.get("driver", name) if name == "device_add" else name, not refusals] += 1
            expected.append((name, arguments, refusals))
            self.log.append(f"{self.n} {name} {json.dumps(arguments)} -> {refusals or 'ok'}")
            expected += [("compat-hints-forget", {"id": i}, []) for i in self.just_gone()]
        self.c.send(b"".join(json.dumps({"execute": x, "arguments": a}).encode() + b"\n" for x, a, _ in expected))
        for name, arguments, refusals in expected:
            reply = self.c.reply()
            if refusals:
                assert "error" in reply, f"{name} {arguments} was not refused, as {refusals}"
                assert any(x.fits(reply["error"]) for x in refusals), f"{name} {arguments}: {reply['error']}, not {refusals}"
            else:
                assert "return" in reply, f"{name} {arguments}: {reply['error']}, which the state does not explain"
        self.events()

    def just_gone(self):
        """Devices that have gone and are not forgotten: their places would be kept for them, and what comes back would be as it was. That
        is the subject of other walks (tests of the compat hints)."""
        gone = [x[1] for x in self.m.due[self.forgotten:] if x[0] == "DEVICE_DELETED"]
        self.forgotten = len(self.m.due)
        return gone

    def events(self):
        """What is due has been told, and no more; each device's in order."""
        def of(device, story):
            return [s for s in story if s[1] == device]

        gone = self.just_gone()
        due, self.m.due, self.forgotten = self.m.due, [], 0
        for _ in range(3):  # how a device ended is told behind the reply
            if len([e for e in self.c.events if e["event"] not in IGNORED]) < len(due):
                self.c.call("query-name")
        told = [(e["event"], e.get("data", {}).get("device"), e.get("data", {}).get("path"), e.get("data", {}).get("reason"))
                for e in self.c.events if e["event"] not in IGNORED]
        self.c.events.clear()
        for i in gone:
            self.c.call("compat-hints-forget", id=i)
        for device in {x[1] for x in due + told}:
            a, b = of(device, due), of(device, told)
            self.count.update(x[3] and re.sub(r"'.*|\d.*", "", x[3]) for x in b if x[3])
            same = [x[:3] for x in a] == [x[:3] for x in b] and all(not x[3] or x[3] in (y[3] or "") for x, y in zip(a, b))
            assert same, f"events of {device}: due are {a}, told were {b}"
        self.count.update(x[0] for x in told)

    def command(self):
        kinds = ((self.add_cpu, 10), (self.add_dimm, 10), (self.add_function, 22), (self.add_port, 6), (self.add_object, 12), (self.del_object, 8), (self.chardev, 3),
                 (self.device_del, 32), (self.bundle, 4), (self.run_state, 1))
        return self.r.choices([k for k, _ in kinds], [w for _, w in kinds])[0]()

    def plug(self, spec):
        refusals, t = self.m.realize(spec)
        if t:
            self.m.publish([t])
        return "device_add", spec, refusals

    def id(self, letter, n):
        """Mostly one of a small pool, so that ids are met again; now and then none, or another kind's."""
        x = self.r.random()
        if x < 0.1:
            return {}
        if x < 0.13:
            return {"id": self.r.choice(["board", "serial0", "a0", "c1", "d1", "p1"])} if x < 0.12 else {"id": f"{CPU}.1"}
        return {"id": f"{letter}{self.r.randrange(n)}"}

    def cpu_spec(self):
        spec = {"driver": CPU if self.r.random() < 0.97 else OTHER_CPU, **self.id("c", 10)}
        if self.r.random() < 0.6:
            spec["core-id"] = self.r.randrange(CPUS + 1)
        return spec

    def name_of(self, prefix, pool):
        mine = [o for o, x in self.m.objects.items() if x.kind.startswith(prefix) and not self.m.user_of(o)]
        if mine and self.r.random() < 0.8:
            return self.r.choice(sorted(mine))
        return self.r.choice([f"{pool}{self.r.randrange(8)}", self.r.choice(sorted(self.m.objects))])

    def dimm_spec(self):
        spec = {"driver": "pc-dimm", **self.id("d", 10), "memdev": self.name_of("memory-backend", "m")}
        if self.r.random() < 0.5:
            spec["slot"] = self.r.randrange(MODULES + 1)
        if self.r.random() < 0.2:
            spec["addr"] = self.m.memory_base + self.r.randrange(-1, 26) * 128 * MIB + self.r.choice([0, 0, 0, 0, 4096, 512])
        return spec

    def function_spec(self):
        driver = self.r.choice(list(FUNCTIONS))
        spec = {"driver": driver, **self.id("p", 20)}
        if driver == "virtio-blk-pci":
            spec["drive"] = self.name_of("blockdev", "b")
        elif driver == HUB:
            spec["max_ports"] = HUB_PORTS
        elif driver == "virtio-net-pci":
            spec["netdev"] = self.name_of("netdev", "w")
        bus = self.r.choice(["pcie.0", "pcie.0", "pcie.0"] + [f"{k}{i}" for k in "an" for i in range(4)] * 2 + ["cold", "nowhere"])
        if bus != "pcie.0" or self.r.random() < 0.5:
            spec["bus"] = bus
        if self.r.random() < 0.5:
            slot = self.r.randrange(1, 8 + ROOT_SLOTS_FREE) if bus == "pcie.0" else self.r.random() < 0.03
            spec["addr"] = f"{int(slot):x}" if self.r.random() < 0.4 else f"{int(slot):x}.{self.r.randrange(3)}"
        if self.r.random() < 0.5:
            spec["multifunction"] = True
        return spec

    def port_spec(self):
        spec = {"driver": self.r.choice(PORTS), **self.id("v", 8)}
        hubs = sorted(t.id for t in self.m.things.values() if t.spec["driver"] == HUB)
        if self.r.random() < 0.7:
            spec["bus"] = self.r.choice(hubs + ["p1"]) + ".0"
        if self.r.random() < 0.4:
            spec["nr"] = self.r.randrange(HUB_PORTS + 1)
        if self.r.random() < 0.6:
            spec["chardev"] = self.r.choice(["con", "k0", "k1", "k2"])
        return spec

    def add_port(self):
        return self.plug(self.port_spec())

    def add_cpu(self):
        return self.plug(self.cpu_spec())

    def add_dimm(self):
        return self.plug(self.dimm_spec())

    def add_function(self):
        if self.r.random() < 0.02:
            return self.plug(self.r.choice([{"driver": "pcie-root-port", "id": "late"}, {"driver": "isa-serial", "id": "late"},
                                            {"driver": "board", "id": "late"}]))
        return self.plug(self.function_spec())

    def object_spec(self):
        """(object-add's arguments, what it is)"""
        i, kind = self.r.randrange(8), self.r.choice("mmbbw")
        name = f"{kind}{i}" if self.r.random() < 0.95 else self.r.choice(["mbase", "m1", "b1"])
        if kind == "m":
            what, size = self.r.choice(["ram", "memfd"]), self.r.choice([128, 128, 256, 384, 512, 1024]) * MIB
            return {"qom-type": f"memory-backend-{what}", "id": name, "size": size}, Object(f"memory-backend-{what}", size)
        if kind == "b" and self.r.random() < 0.5:
            path = self.d.path(f"disk{self.r.randrange(FILES)}")
            return {"qom-type": "blockdev-file", "id": name, "filename": path}, Object("blockdev-file", file=path)
        if kind == "b":
            return {"qom-type": "blockdev-null-co", "id": name, "size": MIB}, Object("blockdev-null-co")
        if self.tap and self.r.random() < 0.5:
            return {"qom-type": "netdev-tap", "id": name}, Object("netdev-tap")
        return {"qom-type": "netdev-user", "id": name}, Object("netdev-user")

    def add_object(self):
        spec, made = self.object_spec()
        refusals = self.m.add_object(spec["id"], made)
        kind, _, driver = made.kind.partition("-")
        if kind == "memory" or self.r.random() < 0.2:
            return "object-add", spec, refusals
        rest = {k: v for k, v in spec.items() if k not in ("qom-type", "id")}
        if kind == "blockdev":
            return "blockdev-add", {"driver": driver, "node-name": spec["id"], **rest}, refusals
        return "netdev_add", {"type": driver, "id": spec["id"], **rest}, refusals

    def del_object(self):
        known = [o for o in self.m.objects if o != "mbase" or self.r.random() < 0.2]
        name = self.r.choice(sorted(known)) if known and self.r.random() < 0.9 else f"m{self.r.randrange(9)}"
        command = self.r.choice(["object-del", {"m": "object-del", "b": "blockdev-del", "w": "netdev_del"}[name[0]]])
        return command, {"node-name" if command == "blockdev-del" else "id": name}, self.m.del_object(name, command)

    def chardev(self):
        name, known = self.r.choice(["con", "k0", "k1", "k2"]), self.m.chardevs
        if self.r.random() < 0.5:
            refusals = [Refusal("Duplicate chardev ID", f"'{name}'")] if name in known else []
            known.setdefault(name, None)
            backend = self.r.choice([{"type": "null", "data": {}}, {"type": "ringbuf", "data": {"size": 4096}}, {"type": "pty", "data": {}},
                                     {"type": "file", "data": {"out": "/dev/null"}}])
            return "chardev-add", {"id": name, "backend": backend}, refusals
        if name not in known:
            return "chardev-remove", {"id": name}, [Refusal(f"Chardev '{name}' not found", kind="DeviceNotFound")]
        if known[name]:
            return "chardev-remove", {"id": name}, [Refusal(f"'{name}' is in use by device '{known[name]}'")]
        del known[name]
        return "chardev-remove", {"id": name}, []

    def device_del(self):
        known = sorted(self.m.things)
        name = self.r.choice(known) if self.r.random() < 0.95 else self.r.choice(["none", "p1", "serial0", "board", "a1", "n0", "c9"])
        arguments, timeout = {"id": name}, 0
        if name in self.m.things and self.r.random() < 0.1:
            arguments["id"] = self.m.things[name].path()
        force = self.r.random() < 0.15
        if force or self.r.random() < 0.1:
            arguments["force"] = force
        if self.r.random() < 0.4 and not self.kernel:
            timeout = arguments["timeout"] = self.r.choice([0, 1, 20, 500, 5000])
        return "device_del", arguments, self.m.device_del(arguments["id"], force, timeout)

    def bundle(self):
        """Some of each; nothing of it if a member fails."""
        m, made, refusals, careful = self.m, [], [], self.r.random() < 0.6
        document = {"objects": [], "devices": []}
        for _ in range(self.r.randrange(3)):
            spec, what = self.object_spec()
            failed = [] if refusals else m.add_object(spec["id"], what)
            if failed and careful:
                continue  # it would fail: let it be
            made += [] if refusals or failed else [spec["id"]]
            document["objects"].append(spec)
            refusals = refusals or [x.within(f"objects[{len(document['objects']) - 1}] ('{spec['id']}')") for x in failed]
        for _ in range(self.r.randrange(1, 5)):
            spec = self.r.choice([self.cpu_spec, self.dimm_spec, self.function_spec, self.function_spec, self.port_spec])()
            failed, plugged = self.realize_all(document["devices"] + [spec])
            for t in plugged:
                m.take_back(t)
            if not (failed and careful):  # else it would fail: let it be
                document["devices"].append(spec)
        failed, plugged = ([], []) if refusals else self.realize_all(document["devices"])
        refusals = refusals or failed
        if self.r.random() < 0.2:
            document["dry-run"] = True
        if refusals or "dry-run" in document:
            for t in plugged:
                m.take_back(t)
            for name in made:
                del m.objects[name]
        else:
            m.publish(plugged)
        return "device-plug-transaction", document, refusals

    def realize_all(self, specs):
        """(refusals, devices) of a transaction's members, up to the first that fails."""
        plugged, failed = [], []
        self.m.expect(specs)
        for i, spec in enumerate(specs):
            failed, t = self.m.realize(spec)
            if failed:
                failed = [x.within(f"devices[{i}] ('{spec.get('id', spec['driver'])}')") for x in failed]
                break
            plugged.append(t)
        self.m.expect([])
        return failed, plugged

    def run_state(self):
        m, x = self.m, self.r.random()
        if x < 0.4:
            name, act = "stop", m.stop
        elif x < 0.8:
            name, act = "cont", m.cont
        else:
            name, act = "system_reset", m.reset
        was_off = m.off
        act()
        self.forget(name == "system_reset" or was_off)
        return name, {}, []

    def forget(self, all_of_it):
        """A guest that begins knows nothing."""
        if all_of_it:
            self.numbered, self.plan = False, {}
            self.owes.clear()

    # ---- the guest

    def note(self, text):
        self.log.append(f"{self.n} guest ({self.temper}): {text}")

    def barrier(self):
        self.c.call("query-name")
        self.events()

    def equal(self, got, want, what):
        assert got == want, f"{what}: {got}, not {want}"

    def guest(self):
        if not self.m.running or self.kernel:
            return
        self.r.choices([self.slot, self.pci_event, self.pci_eject, self.native, self.of_its_own, self.clock], [40, 20, 12, 40, 2, 6])[0]()
        self.barrier()

    def registers(self, kind, i):
        """(selecting slot I, the port of its flags)"""
        base = CPU_REGS if kind == "cpu" else MEM_REGS
        return f"outl {base} {i}", base + (4 if kind == "cpu" else 0x14)

    def slot(self):
        """A look at a CPU's or a module's slot, and what the guest does about it."""
        kind = self.r.choice(["cpu", "dimm"])
        regs = self.m.cpus if kind == "cpu" else self.m.modules
        pending = [i for i in range(CPUS) if regs.insert[i] or regs.remove[i]]
        i = self.r.choice(pending) if pending and self.r.random() < 0.8 else self.r.randrange(CPUS)
        select, flags = self.registers(kind, i)
        seen = self.q.all(select, f"inb {flags}", f"inb {GPE0}")
        self.equal(seen[1], regs.flags(i), f"flags of {kind} slot {i}")
        self.equal(seen[2] & 0xe, self.m.gpe, "GPE0_STS")
        if self.r.random() < 0.3:
            self.q.ask(f"outb {GPE0} 0x0e")
            self.m.gpe = 0
        if regs.insert[i]:
            self.q.ask(f"outb {flags} 2")
            regs.insert[i] = False
        if (kind, i) in self.owes and not regs.remove[i] and self.r.random() < 0.5:
            self.eject(kind, i)
        elif regs.remove[i] and (self.temper != "silent" or self.r.random() < 0.2):
            self.answer(kind, i)

    def answer(self, kind, i):
        select, flags = self.registers(kind, i)
        self.q.all(select, f"outb {flags} 4")
        self.m.notice(kind, i)
        if self.temper == "willing":
            self.eject(kind, i)
        elif self.temper == "refusing":
            self.ost(kind, i, self.r.choice([3, 0x103]), self.r.choice([1, 2, 0x80, 0x81, 0x82, 0x83, 0x77]))
        elif self.r.random() < 0.5:
            self.owes.add((kind, i))
            self.ost(kind, i, 3, 0x84)
        else:
            self.note(f"has noticed {kind} {i}")

    def eject(self, kind, i):
        self.note(f"ejects {kind} {i}")
        self.owes.discard((kind, i))
        select, flags = self.registers(kind, i)
        seen = self.q.all(select, f"outb {flags} 8", f"inb {flags}")
        last = kind == "cpu" and len(self.m.of_kind("cpu")) == 1
        self.m.eject_slot(kind, i)
        assert last or not seen[2] & 1, f"{kind} {i} is there right after its ejection"
        if self.r.random() < 0.5:
            self.ost(kind, i, 3, 0)

    def ost(self, kind, i, event, status):
        self.note(f"reports {event:#x} {status:#x} of {kind} {i}")
        if kind == "cpu":
            self.q.all(f"outl {CPU_REGS} {i}", f"outb {CPU_REGS + 5} 1", f"outl {CPU_REGS + 8} {event}", f"outb {CPU_REGS + 5} 2",
                       f"outl {CPU_REGS + 8} {status}")
        else:
            self.q.all(f"outl {MEM_REGS} {i}", f"outl {MEM_REGS + 4} {event}", f"outl {MEM_REGS + 8} {status}")
        self.m.report(kind, i, event, status)

    def group(self):
        g = self.r.choice([0, 1])
        numbers = [n for n in self.m.pci if n // 32 == g]
        if g:
            numbers = [n for n in numbers if n < 64]
        return g, numbers

    def bits(self, numbers):
        return sum(1 << n % 32 for n in numbers)

    def pci_event(self):
        """What AML does: device checks, then requests to eject."""
        g, numbers = self.group()
        up, down = self.q.all(f"outl {PCI_REGS + 16} {g}", f"inl {PCI_REGS}", f"inl {PCI_REGS + 4}")[1:]
        taken = self.m.read_down(numbers)
        self.equal(up, self.bits(self.m.read_up(numbers)), f"slots of group {g} that came")
        self.equal(down, self.bits(taken), f"slots of group {g} that shall go")
        for n in taken:
            self.owes.add(n)
            if self.temper == "willing":
                self.eject_function(n)

    def eject_function(self, n):
        self.note(f"ejects PCI slot {n}")
        self.owes.discard(n)
        self.q.all(f"outl {PCI_REGS + 16} {n // 32}", f"outl {PCI_REGS + 8} {1 << n % 32}")
        self.m.eject_pci(n)

    def pci_eject(self):
        late = sorted(x for x in self.owes if not isinstance(x, tuple))
        if late and self.temper != "refusing":
            self.eject_function(self.r.choice(late))

    def of_its_own(self):
        """Ejects what nobody asked for."""
        x = self.r.random()
        if x < 0.3:
            self.eject(self.r.choice(["cpu", "dimm"]), self.r.randrange(CPUS))
        else:
            self.eject_function(self.r.choice(sorted(n for n in self.m.pci if n not in (0, 31))))

    def native(self):
        name = f"n{self.r.randrange(4)}"
        port = self.m.ports[name]
        at = ECAM + (port.devfn << 12) + EXPRESS + 0x18
        control, status = self.q.all(f"readw {at}", f"readw {at + 2}")
        present = bool(self.m.seen(name))
        self.equal((control >> 8 & 3, control >> 10 & 1, status & 1, status >> 6 & 1), (port.lamp, port.off, port.button, present),
                   f"lamp, power off, button, presence of slot {name}")
        plan = self.plan.setdefault(name, [])
        if not plan and port.button and (self.temper != "silent" or self.r.random() < 0.3):
            self.note(f"clears the button of {name}")
            self.q.all(f"writew {at + 2} 0x11f")
            self.m.clear_button(name)
            if self.temper != "silent":
                plan += self.slot_plan(port)
        elif plan:
            self.command_slot(name, at, *plan.pop(0))
        elif self.r.random() < 0.05:  # nonsense
            self.command_slot(name, at, self.r.choice([LAMP_ON, LAMP_BLINKS, LAMP_OFF]), self.r.random() < 0.5)

    def slot_plan(self, port):
        """As Linux does it: blinking, switching, and the lamp that says that it is done."""
        if port.off:
            return [(LAMP_BLINKS, True), (LAMP_BLINKS, False), (LAMP_ON, False)]
        if self.temper == "refusing":
            return [(LAMP_BLINKS, False), (LAMP_ON, False)]
        return [(LAMP_BLINKS, False), (LAMP_BLINKS, True), (LAMP_OFF, True)]

    def command_slot(self, name, at, lamp, off):
        self.note(f"switches {name}: lamp {lamp}, {'no ' if off else ''}power")
        self.q.all(f"writew {at} {0xc0 | lamp << 8 | off << 10:#x}")
        self.m.command_slot(name, lamp, off)

    def clock(self):
        ns = self.r.choice([1, 20, 100, 600, 2000]) * MS
        self.note(f"time passes: {ns // MS} ms")
        got = self.q.number(f"clock_step {ns}")
        self.m.step_clock(ns)
        self.equal(got, self.m.now, "the clock")

    # ---- all that can be asked

    def same(self, got, want, what):
        if got == want:
            return
        raise AssertionError(f"{what}: too much {[x for x in got if x not in want]}, missing {[x for x in want if x not in got]}")

    def check(self):
        self.log.append(f"{self.n} all is looked at")
        m, call = self.m, self.c.call
        self.equal(call("query-status")["running"], m.running, "running")
        things = {k: {t.slot: t for t in m.of_kind(k)} for k in ("cpu", "dimm")}
        self.same([(c["props"]["core-id"], c.get("qom-path")) for c in call("query-hotpluggable-cpus")],
                  [(i, things["cpu"][i].path() if i in things["cpu"] else None) for i in range(CPUS)], "CPU slots")
        self.same([(c["cpu-index"], c["qom-path"]) for c in call("query-cpus-fast")],
                  [(i, t.path()) for i, t in sorted(things["cpu"].items())], "CPUs")
        self.same(sorted((d["data"]["id"], d["data"]["slot"], d["data"]["addr"], d["data"]["size"], d["data"]["memdev"], d["data"]["hotplugged"])
                         for d in call("query-memory-devices")),
                  sorted((t.id, t.slot, t.addr, t.size, f"/objects/{t.uses[0]}", not t.cold) for t in things["dimm"].values()), "modules")
        hot = sum(t.size for t in things["dimm"].values() if not t.cold)
        self.equal(call("query-memory-size-summary"), {"base-memory": m.base_size, "plugged-memory": hot}, "memory")
        self.same(sorted((j["device"], j["path"], j["state"], j.get("timeout")) for j in call("query-unplug-jobs")["jobs"]),
                  sorted((t.id, t.path(), t.job, None if t.deadline is None else max(0, t.deadline - m.now) // MS)
                         for t in m.things.values() if t.job), "requests to unplug")
        self.same(sorted(o["id"] for o in call("query-memdev")), sorted(o for o, x in m.objects.items() if x.kind.startswith("memory")), "memory objects")
        self.same(sorted(n["node-name"] for n in call("query-named-block-nodes")),
                  sorted(o for o, x in m.objects.items() if x.kind.startswith("blockdev")), "block nodes")
        self.same(sorted((b["qdev"], b["inserted"]["node-name"]) for b in call("query-block")),
                  sorted((t.path() + "/virtio-backend", t.uses[0]) for t in m.things.values() if t.spec["driver"] == "virtio-blk-pci"), "disks")
        self.same(sorted(r["name"] for r in call("query-rx-filter")),
                  sorted(t.id for t in m.things.values() if t.spec["driver"] == "virtio-net-pci"), "network cards")
        self.same(sorted(x["label"] for x in call("query-chardev")), sorted(m.chardevs), "chardevs")
        self.check_pci()
        self.check_reports()
        config = call("query-machine-config")["config"]
        fixed = ["board", "serial0"] + (["boot"] if self.kernel else [])
        self.same(sorted(d["id"] for d in config["devices"]), sorted([*m.things, *m.ports, *fixed]), "devices")
        self.equal(len(config["devices"]), len(m.things) + len(m.ports) + len(fixed), "number of devices")
        self.same(sorted(o["id"] for o in config["objects"]), sorted(m.objects), "objects")
        if m.running and not self.kernel:
            self.look()

    def check_pci(self):
        seen = []
        for f in self.c.call("query-pci")[0]["devices"]:
            if f["qdev_id"] and "pci_bridge" not in f:
                seen.append(("pcie.0", f["slot"], f["function"], f["qdev_id"]))
            seen += [(f["qdev_id"], b["slot"], b["function"], b["qdev_id"]) for b in f.get("pci_bridge", {}).get("devices", [])]
        self.same(sorted(seen), sorted((t.bus, t.slot, t.function, t.id) for t in self.m.things.values() if t.visible), "PCI functions")

    def check_reports(self):
        want = []
        for kind, regs, n in (("DIMM", self.m.modules, MODULES), ("CPU", self.m.cpus, CPUS)):
            for i in range(n):
                t = self.m.in_slot(kind.lower(), i)
                named = {"device": t.id} if t and not t.cold else {}
                want.append({**named, "slot": str(i), "slot-type": kind, "source": regs.ost[i][0], "status": regs.ost[i][1]})
        self.same(self.c.call("query-acpi-ospm-status"), want, "what the guest reported")

    def look(self):
        """What a guest finds in configuration space, by ECAM and by ports."""
        m = self.m
        number = {name: i + 1 for i, name in enumerate(m.ports)}
        if not self.numbered:
            self.q.all(*(f"writel {ECAM + (p.devfn << 12) + 0x18:#x} {number[n] << 8 | number[n] << 16:#x}" for n, p in m.ports.items()))
            self.numbered = True
        places = [("pcie.0", s, f) for s in (1, *range(5, 5 + ROOT_SLOTS_FREE)) for f in range(3)] + [(b, 0, f) for b in m.ports if b[0] in "anc" for f in range(3)]
        lines, want, where = [], [], []
        for bus, slot, f in places:
            t = m.functions(bus, slot).get(f)
            nr = number.get(bus, 0)
            if self.r.random() < 0.5:
                lines.append(f"readl {ECAM + (nr << 20 | slot << 15 | f << 12):#x}")
            else:
                lines += [f"outl 0xcf8 {1 << 31 | nr << 16 | slot << 11 | f << 8:#x}", "inl 0xcfc"]
                want.append(None)
                where.append(None)
            where.append((bus, slot, f, t and t.id))
            there = t and t.visible and not (bus in m.ports and m.ports[bus].off)
            want.append(FUNCTIONS[t.spec["driver"]] if there else 0xffffffff)
        got = self.q.all(*lines)
        assert got == want, f"configuration space: {[(p, hex(g or 0), hex(w or 0)) for p, g, w in zip(where, got, want) if g != w]}"

    # ---- the walk

    def step(self):
        self.n += 1
        if self.r.random() < 0.05:
            self.temper = self.r.choice(["willing", "willing", "refusing", "silent"])
        try:
            if not self.m.running and self.r.random() < 0.1:
                self.log.append(f"{self.n} cont")
                self.forget(self.m.off)
                self.start()
            if self.r.random() < 0.5:
                self.commands(self.r.randrange(1, 7))
            else:
                self.guest()
            if self.n % 50 == 0:
                self.check()
        except Exception as e:
            diag("\n".join(self.log))
            raise AssertionError(f"step {self.n} of the walk with TEST_SEED={self.seed}: {e}") from e

    def start(self):
        if not self.m.running:
            self.c.call("cont")
            self.m.cont()
        self.events()

    def clear(self):
        """All that was plugged is taken away."""
        if all(t.job for t in self.m.of_kind("cpu")):  # each has ejected what it was not asked for
            self.c.call("system_reset")
            self.m.reset()
            self.forget(True)
        keep = self.keep()
        for name in sorted((n for n, t in self.m.things.items() if not t.cold and n != keep), key=lambda n: self.m.things[n].kind != "port"):
            self.c.call("device_del", id=name, force=True)
            self.m.gone(self.m.things[name])
        for name in [o for o in self.m.objects if o != "mbase"]:
            self.c.call("object-del", id=name)
            del self.m.objects[name]
        for name in [n for n, user in self.m.chardevs.items() if not user]:
            self.c.call("chardev-remove", id=name)
            del self.m.chardevs[name]
        self.events()
        self.check()

    def keep(self):
        """One CPU has to stay, one that nobody asked for."""
        return min((t for t in self.m.of_kind("cpu") if not t.job), key=lambda t: t.slot).id


# ---- before and after

def kvm_usable():
    return os.access("/dev/kvm", os.R_OK | os.W_OK)


def held(d):
    """Descriptors by kind, threads, mappings that have a name, and how many have none."""
    fds = Counter(re.sub(r"\[\d+\]|/tmp/[^ ]*", "", os.readlink(f"/proc/{d.pid}/fd/{f}")) for f in d.fds())
    with open(f"/proc/{d.pid}/maps", encoding="ascii", errors="replace") as f:
        names = [line.split(None, 5)[5].strip().replace(" (deleted)", "") if len(line.split(None, 5)) > 5 else "" for line in f]
    return {"descriptors": fds, "threads": d.status("Threads"), "mappings": Counter(n for n in names if n and n[0] != "["),
            "private": sum(not n for n in names), "rss": d.rss()}


def compare(before, after):
    for key in ("descriptors", "threads", "mappings"):
        assert after[key] == before[key], f"{key}: {before[key]}, now {after[key]}"
    assert after["private"] <= before["private"] + 32, f"mappings without a name: {before['private']}, now {after['private']}"
    assert after["rss"] <= before["rss"] + 16 * MIB, f"memory: {before['rss'] >> 10} KiB, now {after['rss'] >> 10} KiB"


def internal_properties():
    """Those of devices that are never taken from a manager: they follow from the build, or are recorded in hints."""
    names = set()
    for path in glob.glob(os.path.join(SOURCE, "schema/devices/*.json")):
        with open(path, encoding="utf-8") as f:
            names |= {p["name"] for kind in json.load(f) if "device" in kind for p in kind.get("props", []) if p.get("internal")}
    return names


def document(d):
    """The configuration with all values as they turned out: the resolved form as a document that can be loaded."""
    config = d.c.call("query-machine-config")["config"]
    internal = internal_properties()
    full = {"chardevs": config["chardevs"], "objects": [], "devices": []}
    for r in d.c.call("query-machine-config", resolved=True)["resolved"]:
        values = {p["name"]: p["value"] for p in r["properties"]
                  if p["value"] is not None and not (r["ns"] == "device" and p["name"] in internal)}
        if r["ns"] == "object":
            full["objects"].append({"qom-type": r["type"], "id": r["id"], **values})
        elif r["ns"] == "device":
            full["devices"].append({"driver": r["type"], "id": r["id"], **values})
    return full


def rebuilt(d, folder, **how):
    """A fresh daemon loads what D has become: its fingerprint has to be the same."""
    full = document(d)
    for o in full["objects"]:
        if o["qom-type"] == "blockdev-file":
            o["filename"] += ".copy"  # the file itself is locked
        o.pop("ifname", None)
    with Daemon(directory=folder, **how) as other:
        other.c.call("machine-config-load", config=full)
        other.c.call("cont")
        a, b = (x.c.call("query-guest-abi", detail=True) for x in (d, other))
        differ = [(p, q) for p, q in zip(a["leaves"], b["leaves"]) if p != q][:3]
        assert a == b, f"the machine that was rebuilt differs: {len(a['leaves'])} and {len(b['leaves'])} leaves, {str(differ)[:3000]}"


def walk(seed, steps, kernel=b""):
    """How often what happened."""
    with tempfile.TemporaryDirectory(prefix="bb-", dir="/tmp") as folder:
        os.mkdir(f"{folder}/other")
        if kernel:
            with open(f"{folder}/kernel", "wb") as f:
                f.write(kernel)
        how = {"accel": "kvm"} if kernel else {}
        with Daemon(*([] if kernel else ["--qtest", f"unix:{folder}/qtest"]), directory=folder, **how) as d:
            for i in range(FILES):
                for name in (f"disk{i}", f"disk{i}.copy"):
                    with open(d.path(name), "wb") as f:
                        f.truncate(MIB)
            w = Walk(d, seed, os.geteuid() == 0 and os.access("/dev/net/tun", os.W_OK), f"{folder}/kernel" if kernel else None)
            for _ in range(400):  # what comes with the first use stays: libraries, pools
                w.step()
            w.clear()
            before = held(d)
            for _ in range(steps):
                w.step()
            w.start()
            rebuilt(d, f"{folder}/other", **how)
            w.clear()
            compare(before, held(d))
            rebuilt(d, f"{folder}/other", **how)
            left = d.c.call("query-guest-abi")
            d.c.call("system_reset")
            assert d.c.call("query-guest-abi") == left, "a reset shows the guest another machine"
            w.count["ms of the daemon's CPU time"] = int(d.cpu_seconds() * 1000)
            return w.count


def seed():
    value = int(os.environ.get("TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
    diag(f"TEST_SEED={value}")
    return value


def told(count):
    return "\n".join(f"{n:6} {k if isinstance(k, str) else k[0] + (' done' if k[1] else ' refused')}" for k, n in sorted(count.items(), key=str))


@test
def all_kinds_together():
    count = walk(seed(), STEPS)
    for kind in (CPU, "pc-dimm", *FUNCTIONS, *PORTS, "device-plug-transaction", "device_del", "object-add", "object-del", "blockdev-add", "blockdev-del",
                 "netdev_add", "netdev_del", "chardev-add", "chardev-remove"):
        assert count[kind, True] > STEPS / 1000 and count[kind, False] > STEPS / 1000, f"{kind}: {count[kind, True]} done, {count[kind, False]} refused"
    assert count["DEVICE_DELETED"] > STEPS / 10 and count["DEVICE_UNPLUG_GUEST_ERROR"] > STEPS / 100, count
    return told(count)


@test
def with_kvm():
    """CPUs that are real, memory that is mapped into a guest: one that halts, and says nothing."""
    if not kvm_usable():
        raise Skip("no usable /dev/kvm")
    # Multiboot, loaded at 1 MiB: cli; hlt; jmp to the hlt.
    at, code = 0x100000, b"\xfa\xf4\xeb\xfd"
    header = struct.pack("<8I", 0x1badb002, 1 << 16, -(0x1badb002 + (1 << 16)) & 0xffffffff, at, at, at + 32 + len(code), at + 32 + len(code), at + 32)
    return told(walk(seed(), STEPS // 20, header + code))


if __name__ == "__main__":
    sys.exit(main(limit=1200))

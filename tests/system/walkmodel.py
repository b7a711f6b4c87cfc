# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is plugged, as the design says it (docs/design/machine.md, Unplug): the model that tests/system/test-walk.py holds a daemon to.

Everything that can be plugged is tried on the model first. realize() and the del_*() methods answer with the list of refusals that the
daemon may choose from, empty where it has to agree, and then change the model. What is due as an event is appended to `due`.
"""
MIB, GIB, MS = 1 << 20, 1 << 30, 1000000
CPU, OTHER_CPU = "qemu64-x86_64-cpu", "x86-64-v2-x86_64-cpu"
CPUS = MODULES = 8
HUB, HUB_PORTS, PORTS = "virtio-serial-pci", 4, ("virtconsole", "virtserialport")
LAMP_ON, LAMP_BLINKS, LAMP_OFF = 1, 2, 3
NOT_FOUND = "DeviceNotFound"
FIXED = ("board", "serial0")  # devices that are there from start to end, besides the ports


class Refusal:
    """An error that the state explains: its class, and what its text has."""

    def __init__(self, *parts, kind="GenericError"):
        self.parts, self.kind = [str(p) for p in parts], kind

    def within(self, member):
        return Refusal(member, *self.parts, kind=self.kind)

    def fits(self, error):
        return error["class"] == self.kind and all(p in error["desc"] for p in self.parts)

    def __repr__(self):
        return f"{self.kind}: {' ... '.join(self.parts)}"


class Thing:
    """A device."""

    def __init__(self, spec, kind, seq):
        self.spec, self.kind, self.seq = spec, kind, seq
        self.id = None
        self.job, self.deadline, self.timeout = None, None, 0  # None, "requested" or "notified"
        self.slot = self.function = self.bus = None            # a CPU's and a module's slot, too
        self.visible = self.cold = False
        self.uses = []                                         # ids of objects
        self.size = self.addr = 0
        self.hub, self.nr, self.chardev = None, None, None     # of a virtio-serial port

    def path(self):
        return f"/machine/peripheral/{self.id}"


class Object:
    def __init__(self, kind, size=0, file=None):
        self.kind, self.size, self.file = kind, size, file  # kind: the type's name


class Port:
    def __init__(self, devfn, native=False, hotplug=True):
        self.devfn, self.native, self.hotplug = devfn, native, hotplug
        self.lamp, self.off, self.button = LAMP_OFF, native, False
        self.pressed = self.later = self.fresh = False
        self.until = 0


class Slots:
    """The registers of the CPUs' or the modules' controller, slot by slot."""

    def __init__(self, n):
        self.present, self.insert, self.remove = [False] * n, [False] * n, [False] * n
        self.ost = [(0, 0)] * n

    def flags(self, i):
        return self.present[i] | self.insert[i] << 1 | self.remove[i] << 2

    def clear(self, i):
        self.present[i] = self.insert[i] = self.remove[i] = False


class PciSlot:
    """One slot in the registers of the PCI controller."""

    def __init__(self):
        self.up = self.down = self.asked = self.told = self.occupied = False
        self.owed = 0


class Model:
    def __init__(self, ports, base_size, max_memory):
        self.things, self.objects, self.chardevs, self.seq = {}, {}, {}, 0
        self.ports = ports
        self.max_memory, self.base_size, self.memory_base = max_memory, base_size, 0
        self.running = self.started = self.off = False  # off: reset, and not powered on since
        self.now = self.gpe = 0
        self.board = {}  # functions of the board's own, and ports, on pcie.0
        for name, devfn in [("host bridge", 0), ("lpc", 0xf8)] + [(n, p.devfn) for n, p in ports.items()]:
            t = Thing({"multifunction": name in ports}, "pci", 0)
            t.id, t.cold, t.visible, t.function = name, True, True, devfn & 7
            self.board.setdefault(devfn >> 3, {})[devfn & 7] = t
        self.cpus, self.modules = Slots(CPUS), Slots(MODULES)
        self.pci = {n: PciSlot() for n in list(range(32)) + [32 + p.devfn for p in ports.values() if p.hotplug and not p.native]}
        self.due = []
        self.expected = {}  # place -> id, or None, of the member of a transaction that is told to be there

    # ---- looking

    def of_kind(self, kind):
        return [t for t in self.things.values() if t.kind == kind]

    def in_slot(self, kind, slot):
        return next((t for t in self.things.values() if t.kind == kind and t.slot == slot), None)

    def functions(self, bus, slot=0):
        there = {t.function: t for t in self.things.values() if t.kind == "pci" and t.bus == bus and t.slot == slot}
        return {**there, **self.board.get(slot, {})} if bus == "pcie.0" else there

    def seen(self, bus, slot=0):
        return [t for f, t in sorted(self.functions(bus, slot).items()) if t.visible]

    def user_of(self, name):
        return next((t for t in self.things.values() if name in t.uses), None)

    def number(self, bus, slot):
        """ACPI's number of a slot; None: ACPI does not control it."""
        if bus == "pcie.0":
            return slot
        port = self.ports[bus]
        return 32 + port.devfn if port.hotplug and not port.native else None

    def place(self, number):
        if number < 32:
            return "pcie.0", number
        return next(b for b, p in self.ports.items() if p.devfn == number - 32), 0

    def removable(self, number):
        return not any(t.cold for t in self.functions(*self.place(number)).values())

    def port_of(self, hub):
        return next((t for t in self.things.values() if t.hub == hub.id), None)

    # ---- plugging, up to the point where the guest could see it

    def expect(self, specs):
        """A transaction of SPECS begins, or has ended: who is told where to be has that place before all others."""
        self.expected = {}
        for spec in specs:
            if spec["driver"] in PORTS and "nr" in spec and "bus" in spec:
                self.expected["port", spec["bus"], spec["nr"]] = spec.get("id")
            elif spec["driver"] == "pc-dimm" and "slot" in spec:
                self.expected["dimm", spec["slot"]] = spec.get("id")
            elif "addr" in spec and spec["driver"] != "pc-dimm":
                slot, _, function = spec["addr"].partition(".")
                self.expected["pci", spec.get("bus", "pcie.0"), int(slot, 16), int(function or "0", 16)] = spec.get("id")

    def others(self, t, *place):
        return place in self.expected and self.expected[place] != t.id

    def others_slot(self, t, slot):
        """Who is multifunction can be function 0 of a slot whose others are to come."""
        functions = [f for f in range(8) if self.others(t, "pci", t.bus, slot, f)]
        return 0 in functions or (functions and not t.spec.get("multifunction"))

    def name(self, thing, refusals):
        thing.id = thing.spec.get("id")
        if thing.id in self.things or thing.id in self.ports or thing.id in FIXED:
            refusals.append(Refusal("Duplicate device ID", f"'{thing.id}'"))
        if thing.id is None:
            n = 0
            while f"{thing.spec['driver']}.{n}" in self.things:
                n += 1
            thing.id = f"{thing.spec['driver']}.{n}"

    def link(self, thing, prop, kind, refusals, in_use):
        name = thing.spec[prop]
        found, user = self.objects.get(name), self.user_of(name)
        if not found:
            refusals.append(Refusal(f"Property '{prop}' of device '{thing.id}'", f"there is no {kind} '{name}'", kind=NOT_FOUND))
            return None
        if not found.kind.startswith(kind):
            refusals.append(Refusal(f"Property '{prop}'", f"'{name}' is a {found.kind}, not a {kind}"))
        if user:
            refusals.append(Refusal(f"'{name}'", in_use, f"'{user.id}'"))
        thing.uses = [name]
        return found

    def realize_cpu(self, t, refusals):
        core = t.spec.get("core-id")
        taken = {c.slot for c in self.of_kind("cpu")}
        if t.spec["driver"] != CPU:
            refusals.append(Refusal(f"'{t.id}'", t.spec["driver"], CPU))
        if core is not None and core >= CPUS:
            refusals.append(Refusal(f"Property 'core-id' of device '{t.id}'", core, f"0 to {CPUS - 1}"))
        free = [i for i in range(CPUS) if i not in taken and core in (None, i)]
        if not free:
            refusals.append(Refusal(f"Device '{t.id}'", "no free CPU slot", f"{len(taken)} of max-cpus {CPUS}"))
        else:
            t.slot = free[0]

    def alignment(self, size):
        return min(max(size & -size, 128 * MIB), GIB)

    def in_the_way(self, at, size):
        return [d for d in self.of_kind("dimm") if not d.cold and at < d.addr + d.size and d.addr < at + size]

    def lowest_free(self, size):
        to, at = self.alignment(size), self.memory_base
        while at + size <= self.memory_base + self.max_memory:
            others = self.in_the_way(at, size)
            if not others:
                return at
            at = -(-max(d.addr + d.size for d in others) // to) * to
        return None

    def realize_dimm(self, t, refusals):
        taken = {d.slot: d for d in self.of_kind("dimm")}
        t.slot = t.spec.get("slot", next((i for i in range(MODULES) if i not in taken and not self.others(t, "dimm", i)), None))
        if t.slot is None:
            refusals.append(Refusal(f"Device '{t.id}'", f"all {MODULES} memory slots"))
        elif t.slot >= MODULES:
            refusals.append(Refusal(f"Property 'slot' of device '{t.id}'", t.slot, f"memory-slots {MODULES}"))
        elif t.slot in taken:
            refusals.append(Refusal(f"Property 'slot' of device '{t.id}'", f"slot {t.slot} has device '{taken[t.slot].id}' in it"))
        backend = self.link(t, "memdev", "memory-backend", refusals, "in use by device")
        if not backend or not backend.kind.startswith("memory-backend"):
            return
        t.size = backend.size
        have = sum(d.size for d in taken.values()) + t.size
        if have > self.max_memory:
            refusals.append(Refusal(f"Device '{t.id}'", t.size, have, self.max_memory))
        end = self.memory_base + self.max_memory
        if "addr" not in t.spec:
            t.addr = self.lowest_free(t.size)
            if t.addr is None:
                refusals.append(Refusal(f"Device '{t.id}'", "no room", t.size))
            return
        t.addr, where = t.spec["addr"], f"Property 'addr' of device '{t.id}'"
        if t.addr % 4096:
            refusals.append(Refusal(where, "multiple of 4096"))
        if t.addr < self.memory_base or t.addr + t.size > end:
            refusals.append(Refusal(where, f"{t.addr:#x}", "not within device memory"))
        refusals += [Refusal(where, f"overlaps device '{d.id}'") for d in self.in_the_way(t.addr, t.size)]

    def find_place(self, t, refusals):
        slots = 32 if t.bus == "pcie.0" else 1
        if "addr" not in t.spec:
            free = [s for s in range(slots) if not self.functions(t.bus, s) and not self.others_slot(t, s)]
            t.slot, t.function = (free[0] if free else None), 0
            if not free:
                refusals.append(Refusal(f"Device '{t.id}'", f"bus '{t.bus}' has no free slot"))
            return
        slot, _, function = t.spec["addr"].partition(".")
        t.slot, t.function = int(slot, 16), int(function or "0", 16)
        where = f"Property 'addr' of device '{t.id}'"
        if t.slot >= slots:
            refusals.append(Refusal(where, f"bus '{t.bus}' has slots 0 to {slots - 1:x}, not {t.slot:x}"))
            return
        others = self.functions(t.bus, t.slot)
        first = others.get(0)
        if t.function in others:
            refusals.append(Refusal(f"Device '{t.id}'", "in use by device", f"'{others[t.function].id}'"))
        if t.function and first and not first.spec.get("multifunction"):
            refusals.append(Refusal(where, f"'{first.id}'", "multifunction"))
        if t.function and first and first.visible:
            refusals.append(Refusal(where, f"'{first.id}'", "the guest looks for no other function"))
        if not t.function and any(others) and not t.spec.get("multifunction"):
            refusals += [Refusal(f"Property 'multifunction' of device '{t.id}'", f"device '{o.id}'") for f, o in others.items() if f]

    def realize_pci(self, t, refusals):
        t.bus = t.spec.get("bus", "pcie.0")
        if t.bus not in self.ports and t.bus != "pcie.0":
            refusals.append(Refusal(f"Property 'bus' of device '{t.id}'", f"'{t.bus}'", kind=NOT_FOUND))
        elif t.bus != "pcie.0" and not self.ports[t.bus].hotplug and self.started:
            refusals.append(Refusal(f"bus '{t.bus}' does not support hotplugging"))
        else:
            self.find_place(t, refusals)
        if t.spec["driver"] == "virtio-blk-pci":
            self.link(t, "drive", "blockdev", refusals, "used by")
        elif t.spec["driver"] == "virtio-net-pci":
            self.link(t, "netdev", "netdev", refusals, "in use by")

    def realize_port(self, t, refusals):
        """A port of a virtio-serial hub."""
        hubs = {h.id: {p.nr: p for p in self.of_kind("port") if p.hub == h.id} for h in self.things.values() if h.spec["driver"] == HUB}
        lowest = 0 if t.spec["driver"] == "virtconsole" else 1
        free = {h: next((n for n in range(lowest, HUB_PORTS) if n not in taken and not self.others(t, "port", h + ".0", n)), None)
                for h, taken in hubs.items()}
        name = t.spec.get("chardev")
        if name is not None and name not in self.chardevs:
            refusals.append(Refusal(f"Property 'chardev' of device '{t.id}'", f"there is no chardev '{name}'", kind=NOT_FOUND))
        elif name is not None and self.chardevs[name]:
            refusals.append(Refusal(f"Property 'chardev' of device '{t.id}'", f"'{name}'", "in use"))
        bus = t.spec.get("bus")
        t.hub, t.chardev = bus[:-2] if bus else next((h for h in hubs if free[h] is not None), None), name
        if t.hub not in hubs:
            refusals.append(Refusal(f"'{t.id}'", f"'{bus}'" if bus else "no virtio-serial device with a free port"))
            return
        t.nr = t.spec.get("nr", free[t.hub])
        if t.nr is None:
            refusals.append(Refusal(f"Device '{t.id}'", f"no port of '{t.hub}' is free"))
        elif t.nr >= HUB_PORTS or (t.nr == 0 and lowest):
            refusals.append(Refusal(f"Property 'nr' of device '{t.id}'", t.nr))
        elif t.nr in hubs[t.hub]:
            refusals.append(Refusal(f"Property 'nr' of device '{t.id}'", t.nr, f"'{hubs[t.hub][t.nr].id}'"))

    def realize(self, spec):
        """(refusals, the device): it is there, but not published."""
        kind = "cpu" if spec["driver"] in (CPU, OTHER_CPU) else "dimm" if spec["driver"] == "pc-dimm" else "pci"
        kind = "port" if spec["driver"] in PORTS else kind
        self.seq += 1
        t, refusals = Thing(spec, kind, self.seq), []
        if spec["driver"] in ("pcie-root-port", "isa-serial", "board"):
            what = "can be plugged once" if spec["driver"] == "board" else "does not support hotplugging"
            return [Refusal(spec["driver"], what), Refusal("does not support hotplugging")], None
        self.name(t, refusals)
        {"cpu": self.realize_cpu, "dimm": self.realize_dimm, "pci": self.realize_pci, "port": self.realize_port}[kind](t, refusals)
        if refusals:
            return refusals, None
        self.things[t.id] = t
        if t.chardev:
            self.chardevs[t.chardev] = t.id
        return [], t

    def take_back(self, t):
        """What was only realized."""
        del self.things[t.id]
        if t.chardev:
            self.chardevs[t.chardev] = None

    # ---- publishing

    def publish(self, things):
        """All of THINGS with one notification."""
        was = {p: bool(self.seen(p)) for p in self.ports}
        for t in things:
            if t.kind == "pci":
                self.publish_function(t)
            elif t.kind != "port":
                regs = self.cpus if t.kind == "cpu" else self.modules
                regs.present[t.slot] = regs.insert[t.slot] = True
                self.gpe |= 4 if t.kind == "cpu" else 8
        for name, there in was.items():
            self.below_changed(name, there)

    def publish_function(self, t):
        others = self.functions(t.bus, t.slot)
        if t.function and not (0 in others and others[0].visible):
            t.published = True
            return
        t.visible = t.published = True
        if not t.function:
            for o in others.values():
                o.visible = o.visible or getattr(o, "published", False)
        n = self.number(t.bus, t.slot)
        if n is not None:
            self.pci[n].occupied = self.pci[n].up = True
            self.gpe |= 2

    def below_changed(self, name, was):
        port, there = self.ports[name], bool(self.seen(name))
        if not port.native or there == was:
            return
        port.pressed = port.later = False
        port.fresh = there and port.off
        port.button = port.button or port.fresh

    # ---- going

    def gone(self, t):
        self.take_back(t)
        self.due.append(("DEVICE_DELETED", t.id, t.path(), None))
        if t.kind == "cpu":
            self.cpus.clear(t.slot)
        elif t.kind == "dimm":
            self.modules.clear(t.slot)
        elif t.visible:
            self.function_left(t)

    def function_left(self, t):
        if t.bus != "pcie.0":
            self.below_changed(t.bus, True)
        n = self.number(t.bus, t.slot)
        if n is None or self.seen(t.bus, t.slot):
            return
        s = self.pci[n]
        if s.occupied:  # by force: the guest did not eject it
            s.down = True
            self.gpe |= 2
        s.occupied = s.asked = s.told = s.up = False

    def let_go(self, t):
        """The guest has; but a hub with ports stays."""
        if not self.port_of(t):
            self.gone(t)
        elif t.job:
            self.failed(t, f"the guest let go of it, but it is in use by device '{self.port_of(t).id}'")

    def failed(self, t, reason):
        t.job = t.deadline = None
        self.due.append(("DEVICE_UNPLUG_GUEST_ERROR", t.id, t.path(), reason))

    def last_cpu(self, t):
        return not any(c is not t and not c.job for c in self.of_kind("cpu"))

    def device_del(self, name, force, timeout):
        t = self.things.get(name.rpartition("/")[2] if name.startswith("/machine/peripheral/") else name)
        if not t:
            if name in self.ports:
                return [Refusal(f"'{name}'", "does not support hot unplug"), Refusal(f"'{name}'", "in use by device")]
            if name in FIXED:
                return [Refusal(f"'{name}'", "does not support hot unplug")]
            return [Refusal(f"Device '{name}' not found", kind=NOT_FOUND)]
        if t.kind == "dimm" and t.cold:
            return [Refusal(f"'{t.id}'", "base RAM", "does not support hot unplug")]
        if t.kind == "cpu" and self.last_cpu(t):
            return [Refusal(f"'{t.id}'", "no CPU would be left")]
        if t.kind == "pci" and t.bus != "pcie.0" and not self.ports[t.bus].hotplug:
            return [Refusal(f"'{t.id}'", "does not support hot unplug")]
        if self.port_of(t):
            return [Refusal(f"The device '{t.id}' is in use by device '{self.port_of(t).id}'")]
        if self.off or force or t.kind == "port" or (t.kind == "pci" and not t.visible):
            self.gone(t)
            return []
        n = self.number(t.bus, t.slot) if t.kind == "pci" else None
        if n is not None and not self.removable(n):
            return [Refusal(f"'{t.id}'", "does not support hot unplug")]
        if t.kind == "pci" and n is None and not self.ask_port(self.ports[t.bus]):
            self.gone(t)
            return []
        self.ask(t, n)
        t.job = t.job or "requested"
        if timeout:
            t.timeout, t.deadline = timeout, self.now + timeout * MS
        return []

    def ask(self, t, n):
        if t.kind == "cpu":
            self.cpus.remove[t.slot] = True
            self.gpe |= 4
        elif t.kind == "dimm":
            self.modules.remove[t.slot] = True
            self.gpe |= 8
        elif n is not None:
            self.pci[n].down = self.pci[n].asked = True
            self.gpe |= 2

    def press(self, port):
        if not port.pressed or self.now >= port.until:
            port.pressed = port.button = True
            port.until = self.now + 1000 * MS

    def ask_port(self, port):
        """False: there is nobody to ask, for the slot has no power."""
        if port.lamp == LAMP_BLINKS:
            port.later = not port.pressed
        elif port.off:
            return False
        else:
            self.press(port)
        return True

    # ---- objects

    def add_object(self, name, made):
        if name in self.objects:
            return [Refusal("Duplicate object ID", f"'{name}'")]
        if made.file and any(o.file == made.file for o in self.objects.values()):
            return [Refusal(f"'{name}'", "lock")]
        self.objects[name] = made
        return []

    def del_object(self, name, command):
        found = self.objects.get(name)
        if command == "blockdev-del" and not (found and found.kind.startswith("blockdev")):
            return [Refusal("Failed to find node", f"'{name}'")]
        if command == "netdev_del" and not (found and found.kind.startswith("netdev")):
            return [Refusal(f"Device '{name}' not found", kind=NOT_FOUND)]
        if not found:
            return [Refusal(f"'{name}' not found", kind=NOT_FOUND)]
        user = self.user_of(name)
        if user:
            return [Refusal(f"The object '{name}' is in use by device '{user.id}'")]
        del self.objects[name]
        return []

    # ---- the guest

    def eject_slot(self, kind, i):
        """The guest lets go of a CPU or a module, asked or not."""
        regs = self.cpus if kind == "cpu" else self.modules
        t = self.in_slot(kind, i)
        if not regs.present[i]:
            return
        if kind == "cpu" and len(self.of_kind("cpu")) == 1:
            return  # logged; it stays
        self.gone(t)

    def notice(self, kind, i):
        regs = self.cpus if kind == "cpu" else self.modules
        t = self.in_slot(kind, i)
        if regs.remove[i] and t and t.job:
            t.job = "notified"
        regs.remove[i] = False

    def report(self, kind, i, event, status):
        (self.cpus if kind == "cpu" else self.modules).ost[i] = (event, status)
        t = self.in_slot(kind, i)
        if not t or not t.job or event not in (3, 0x103) or status == 0 or (kind == "dimm" and t.cold):
            return
        if status == 0x84:
            t.job = "notified"
        else:
            self.failed(t, f"(_OST status {status:#x})")

    def read_up(self, numbers):
        taken = [n for n in numbers if self.pci[n].up]
        for n in taken:
            self.pci[n].up = False
        return taken

    def read_down(self, numbers):
        taken = [n for n in numbers if self.pci[n].down]
        for n in taken:
            s = self.pci[n]
            s.down, s.owed, s.told = False, min(s.owed + 1, 255), s.told or s.asked
            if s.asked:
                for t in self.seen(*self.place(n)):
                    t.job = t.job and "notified"
        return taken

    def eject_pci(self, n):
        s = self.pci[n]
        if not self.removable(n):
            return
        former = s.down and not s.asked
        if s.owed:
            s.owed, former = s.owed - 1, True
        elif not s.asked:
            s.down = False
        if former and not s.told:  # it is meant for one that is not there any more
            if s.occupied:
                s.up, self.gpe = True, self.gpe | 2
            return
        if s.occupied:
            s.up = s.down = s.asked = s.told = s.occupied = False
            for t in reversed(self.seen(*self.place(n))):
                self.let_go(t)
            s.occupied = s.up = bool(self.seen(*self.place(n)))  # what stays is announced anew
            self.gpe |= 2 * s.up

    def clear_button(self, name):
        port = self.ports[name]
        if port.button:
            for t in self.seen(name):
                t.job = t.job and "notified"
        port.button = False

    def command_slot(self, name, lamp, off):
        port = self.ports[name]
        was_lamp, was_off = port.lamp, port.off
        port.lamp, port.off = lamp, off
        if not off:
            port.fresh = False
        if was_lamp == LAMP_BLINKS and lamp == LAMP_ON and not off:
            later, port.pressed, port.later = port.later, False, False
            if later:
                self.press(port)
                return
            for t in self.seen(name):
                if t.job:
                    self.failed(t, "the guest keeps the slot in use")
        if off and lamp == LAMP_OFF and not (was_off and was_lamp == LAMP_OFF) and not port.fresh:
            for t in reversed(self.seen(name)):
                self.let_go(t)

    # ---- time and run states

    def step_clock(self, ns):
        self.now += ns
        late = [t for t in self.things.values() if t.deadline is not None and t.deadline <= self.now]
        for t in late:
            self.failed(t, f"the guest did not let go of it within {t.timeout} ms")

    def power_on(self):
        """The guest begins, and finds what is there: there are no events of before."""
        self.off, self.gpe = False, 0
        for kind, regs in (("cpu", self.cpus), ("dimm", self.modules)):
            for i in range(CPUS):
                regs.clear(i)
            for t in self.of_kind(kind):
                regs.present[t.slot] = kind == "cpu" or not t.cold
        for n, s in self.pci.items():
            s.up = s.down = False
            s.occupied = bool(self.seen(*self.place(n)))

    def cont(self):
        if self.running:
            return
        if self.off:
            self.power_on()
        self.running = True
        self.due.append(("RESUME", None, None, None))

    def stop(self):
        if self.running:
            self.due.append(("STOP", None, None, None))
        self.running = False

    def reset(self):
        for t in sorted((t for t in self.things.values() if t.job), key=lambda t: -t.seq):
            if t.kind == "cpu" and self.last_cpu(t):
                self.failed(t, "no CPU would be left")
            else:
                self.let_go(t)
        self.due.append(("RESET", None, None, None))
        self.off, self.gpe = True, 0
        for regs in (self.cpus, self.modules):
            regs.ost = [(0, 0)] * CPUS
        for s in self.pci.values():
            s.up = s.down = s.asked = s.told = False
            s.owed = 0
        for name, port in self.ports.items():
            there = bool(self.seen(name))
            port.off, port.lamp = port.native and not there, LAMP_ON if there else LAMP_OFF
            port.button = port.pressed = port.later = port.fresh = False
        if self.running:
            self.power_on()

# SPDX-License-Identifier: LGPL-2.1-or-later
"""A machine whose probe guest serves: it plays the guest's half of hotplug (`serve`, tests/guest/probe/README.md) and says line by line
what it sees and does. What the tests of that share.
"""

from backplane import *

ENDS = ("DEVICE_DELETED", "DEVICE_UNPLUG_GUEST_ERROR")
GPE_PCI, GPE_CPU, GPE_MEMORY = 1 << 1, 1 << 2, 1 << 3
PORTS = {"rp0": {}, "rp1": {}, "native0": {"native-hotplug": True}, "native1": {"native-hotplug": True}}
BEHIND_PORTS = 32  # the number of the slot behind the port at devfn 0 (docs/design/machine.md)
NOTHING = (1 << 64) - 1


class Served:
    """A machine whose guest serves; and how its requests ended."""

    def __init__(self, c, words="", max_cpus=8):
        self.c, self.m = c, Machine(c)
        self.words, self.max_cpus = words, max_cpus
        self.asked = {}  # id: how many events there were when it was asked for
        self.orderly = True  # nothing is taken away while the guest is at it

    def __enter__(self):
        m = self.m.__enter__()
        try:
            m.board(**{"max-cpus": self.max_cpus, "max-memory": 8 * GIB, "memory-slots": 8})
            m.cpu("cpu0")
            m.memory(256 * MIB)
            m.serial()
            for id, props in PORTS.items():
                m("device_add", driver="pcie-root-port", id=id, **props)
            m.loader(append="probe=serve " + self.words)
            m.cont()
            self.saw("ready")
        except Exception:
            m.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, *exc):
        if not exc[0]:
            self.m.check_state("running")
            self.m.quit()
            if self.orderly:
                self.c.equal(self.m.guest.run.problems(), [], "what the probe calls bad")
        self.m.__exit__(*exc)

    # ---- the guest

    def saw(self, section, **fields):
        return self.m.guest.wait_for(section, 60 * PATIENCE, **fields)

    def order(self, line):
        return self.m.guest.command(line, 60 * PATIENCE)

    def temper(self, name):
        self.c.equal(self.order("temper " + name).one("temper")["is"], name, "the guest's temper")

    def forget(self):
        """What comes next is awaited among what the guest says from now on."""
        self.order("peek 0x1000")

    # ---- the machine

    def add(self, driver, id, **props):
        self.m("device_add", driver=driver, id=id, **props)

    def add_memory(self, id, size=128 * MIB, **props):
        self.m("object-add", **{"qom-type": "memory-backend-memfd", "id": "backend-" + id, "size": size})
        self.add("pc-dimm", id, memdev="backend-" + id, **props)

    def drop_backend(self, id):
        self.m("object-del", id="backend-" + id)

    def ask(self, *ids, **how):
        for id in ids:
            self.asked.setdefault(id, len(self.m.qmp.events))
            self.m("device_del", id=id, **how)

    def end(self, id, want="DEVICE_DELETED", reason=None):
        """Waits for the end of the request for ID, in whatever order requests end; it is the only one."""
        since = self.asked.pop(id)
        qmp = self.m.qmp
        qmp.taken = since
        event = qmp.wait(want, 60, device=id)
        qmp.settle()
        ends = [e["event"] for e in qmp.events[since:] if e["event"] in ENDS and e["data"].get("device") == id]
        self.c.equal(ends, [want], "the ends of the request for " + id)
        if reason:
            self.c.contains(event["data"]["reason"], reason, "why %s stays" % id)
        self.c.equal([j["device"] for j in self.m("query-unplug-jobs")["jobs"] if j["device"] == id], [], "requests for %s after its end" % id)

    def gone(self, *ids, **how):
        """Asks, and the guest lets go."""
        self.ask(*ids, **how)
        for id in ids:
            self.end(id)

    def state(self, id):
        return [j["state"] for j in self.m("query-unplug-jobs")["jobs"] if j["device"] == id]

    def own_wish(self, id, order, **fields):
        """The guest lets go without having been asked, or late."""
        self.asked[id] = len(self.m.qmp.events)
        self.order(order)
        self.end(id)

    def config_of(self, id):
        [value] = [l["value"] for l in self.m("query-guest-abi", detail=True)["leaves"] if l["device"] == id and l["item"] == "config"]
        return value.split("/")[0]


def cpus_in_guest(s, want):
    run = s.order("smp work=200")
    s.c.equal(sorted(run.smp), sorted(want), "APIC ids of the CPUs that work in the guest")
    s.c.equal((run.one("smp-work")["status"], run.one("smp-ipi")["status"]), ("ok", "ok"), "their work and interrupts")


def came_up(s, sel):
    line = s.saw("cpuhp-inserted", sel=sel)
    s.c.equal([line[k] for k in ("arch_id", "started", "leaf1", "lapic", "ids", "ipi")], [sel, 1, sel, sel, "ok", "ok"], "CPU %d in the guest" % sel)


def ost(s, kind, slot):
    [entry] = [e for e in s.m("query-acpi-ospm-status") if e["slot-type"] == kind and e["slot"] == str(slot)]
    return entry["source"], entry["status"]


def memory_came(s, id):
    [dimm] = [d["data"] for d in s.m("query-memory-devices") if d["data"]["id"] == id]
    line = s.saw("memhp-inserted", slot=dimm["slot"])
    s.c.equal((line["addr"], line["size"], line["node"], line["wrong"]), (dimm["addr"], dimm["size"], 0, 0), "module %s in the guest" % id)
    s.saw("sci-done")
    s.c.equal(ost(s, "DIMM", dimm["slot"]), (1, 0), "the report on its insertion")
    return dimm


def peek(s, address):
    return s.order("peek 0x%x" % address).one("peek")["value"]


def seen_whole(s, id, where):
    """The guest's first sight of ID, at address WHERE: its configuration space as the fingerprint has it."""
    seen = s.m.guest.run.pci[where]["config"].hex()
    s.c.equal(len(seen) in (128, 512) and seen, s.config_of(id)[:len(seen)], "the configuration of %s at first sight" % id)


PCI_PLACES = {"on-root": ("pcie.0", "0x10", "00:10.0", 16), "behind0": ("rp0", "0", "01:00.0", None), "behind1": ("rp1", "0", "02:00.0", None)}


def pci_slots(s):
    """The number of each place, from where the ports are."""
    ports = {d["qdev_id"]: d["slot"] << 3 | d["function"] for d in s.m("query-pci")[0]["devices"]}
    return {id: n if n is not None else BEHIND_PORTS + ports[bus] for id, (bus, _, _, n) in PCI_PLACES.items()}


def native(s, id):
    """The port's address and index in the guest."""
    n = [p for p in PORTS if p.startswith("native")].index(id)
    [line] = [l for l in s.m.guest.run.lines("slot") if l["n"] == n][:1]
    return line["bdf"], n, "%02x:00.0" % line["secondary"]


def commands(s, since, bdf):
    return [l["ctl"] >> 8 & 7 for l in s.m.guest.run.all[since:] if l.section == "slot-command" and l["bdf"] == bdf]


LAMP_ON, LAMP_BLINKS, LAMP_OFF, POWER_OFF = 1, 2, 3, 4


def takes(s, id, port):
    """A device is plugged into the empty slot: button and presence, power, link; the guest sees it whole."""
    bdf, _, where = native(s, port)
    mark = len(s.m.guest.run.all)
    s.add("virtio-rng-pci", id, bus=port)
    event = s.saw("slot-event", bdf=bdf)
    s.c.equal((event["button"], event["presence"], event["present"]), (1, 1, 1), "the first event of a plug into " + port)
    line = s.saw("slot-inserted", bdf=bdf)
    s.c.equal((line["link"], line["functions"]), (1, 1), "link and functions behind " + port)
    s.saw("slot-on", bdf=bdf, present=1)
    s.saw("slot-event", bdf=bdf, link=1, button=0)
    s.c.equal(commands(s, mark, bdf), [LAMP_BLINKS | POWER_OFF, LAMP_BLINKS, LAMP_ON], "the guest's commands")
    seen_whole(s, id, where)


def plug(s, *devices, objects=()):
    s.m("device-plug-transaction", devices=list(devices), objects=list(objects))

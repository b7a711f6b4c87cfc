#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guest's half of every hotplug exchange, played by the probe guest: CPUs, memory, PCI functions by ACPI and in native slots.

It gives back what it is asked for, refuses or is silent as it is told. Each request must end in exactly one event.
"""

import io

from served import *


@case("the reader of the guest's lines, against a recording", needs_kvm=False)
def _(c):
    with contextlib.redirect_stdout(io.StringIO()) as said:
        probe.selftest()
    c.true(said.getvalue().startswith("ok: 4 runs"), "the runs that were read", said.getvalue())


# ---- CPUs

@case("CPUs: onlined, given back, six times in the same slots")
def _(c):
    with Served(c) as s:
        vitals = None
        for turn in range(6):
            for i in (3, 1):
                s.add("host-x86_64-cpu", "cpu%d" % i, **{"core-id": i})
                came_up(s, i)
                s.saw("sci-done")
                c.equal(ost(s, "CPU", i), (1, 0), "the report on the insertion")
            cpus_in_guest(s, [0, 1, 3])
            vitals = vitals or (s.m.threads(), s.m.fds())
            c.equal((s.m.threads(), s.m.fds()), vitals, "threads and descriptors of the daemon in turn %d" % turn)
            s.gone("cpu1", "cpu3")
            for i in (1, 3) if turn == 0 else ():
                c.equal(ost(s, "CPU", i), (3, 0x84), "the report on the ejection: in progress, and nothing after it")
            cpus_in_guest(s, [0])
        c.equal(s.m.threads(), vitals[0] - 2, "threads of the daemon")
        c.true(all(l["present"] == 0 for l in s.m.guest.run.lines("cpuhp-removed")), "what the guest ejected is not there", None)
        c.equal(len(s.m.guest.run.lines("cpuhp-removed")), 12, "ejections")


@case("CPUs: refused, then silent and past its time, late, by force, and the slot used again")
def _(c):
    with Served(c) as s:
        s.add("host-x86_64-cpu", "cpu2", **{"core-id": 2})
        came_up(s, 2)
        s.temper("refuse")
        for _ in range(3):
            s.ask("cpu2")
            s.end("cpu2", "DEVICE_UNPLUG_GUEST_ERROR", "device in use (_OST status 0x81)")
            s.saw("cpuhp-refused", sel=2)
        cpus_in_guest(s, [0, 2])
        s.temper("silent")
        s.ask("cpu2", timeout=1)
        s.end("cpu2", "DEVICE_UNPLUG_GUEST_ERROR", "did not let go of it within 1 ms")
        s.forget()
        s.own_wish("cpu2", "eject cpu 2")  # late, after the request's end
        s.add("host-x86_64-cpu", "again", **{"core-id": 2})
        came_up(s, 2)
        s.ask("again")
        s.saw("cpuhp-asked", sel=2)
        c.equal(s.state("again"), ["notified"], "the request that the guest has seen and not answered")
        s.ask("again")  # the same request: the guest is reminded
        s.saw("cpuhp-asked", sel=2)
        c.equal(s.state("again"), ["notified"], "the request, asked again")
        s.m.refused("device_add", "slot", driver="host-x86_64-cpu", id="other", **{"core-id": 2})
        s.ask("again", force=True)
        s.end("again")
        events = len(s.m.qmp.events)
        c.equal(s.order("eject cpu 2").one("cpuhp-removed")["present"], 0, "what was taken by force, ejected")
        s.m.qmp.settle()
        c.equal([e["event"] for e in s.m.qmp.events[events:]], [], "events of an ejection of nothing")
        s.temper("willing")
        s.add("host-x86_64-cpu", "other", **{"core-id": 2})
        came_up(s, 2)
        cpus_in_guest(s, [0, 2])
        s.own_wish("other", "eject cpu 2")
        cpus_in_guest(s, [0])


# ---- memory

@case("memory: written all over, given back, refused, silent, by force")
def _(c):
    with Served(c) as s:
        fds = None
        for turn in range(4):
            s.add_memory("small")
            small = memory_came(s, "small")
            s.add_memory("large", GIB)
            large = memory_came(s, "large")
            c.true(small["addr"] + small["size"] <= large["addr"], "the modules do not overlap", (small, large))
            c.true(peek(s, large["addr"]) != NOTHING, "memory is there", None)
            fds = fds or s.m.fds()
            c.equal(s.m.fds(), fds, "descriptors of the daemon in turn %d" % turn)
            s.gone("small")
            c.equal(peek(s, small["addr"]), NOTHING, "where a module was")
            c.true(peek(s, large["addr"]) != NOTHING, "the other one stays", None)
            s.gone("large")
            c.equal(peek(s, large["addr"]), NOTHING, "where the other one was")
            s.drop_backend("small")
            s.drop_backend("large")
        for id in ("small", "large"):
            s.m("compat-hints-forget", id=id)  # or what comes next would go around their addresses
        s.add_memory("kept")
        kept = memory_came(s, "kept")
        s.temper("refuse")
        s.ask("kept")
        s.end("kept", "DEVICE_UNPLUG_GUEST_ERROR", "device in use (_OST status 0x81)")
        c.equal(ost(s, "DIMM", kept["slot"]), (3, 0x81), "the report of the refusal")
        c.true(peek(s, kept["addr"]) != NOTHING, "what was refused stays", None)
        s.temper("silent")
        s.ask("kept", timeout=1)
        s.end("kept", "DEVICE_UNPLUG_GUEST_ERROR", "within 1 ms")
        s.forget()
        s.ask("kept")
        s.saw("memhp-asked", slot=kept["slot"])
        c.equal(s.state("kept"), ["notified"], "the request")
        s.ask("kept", force=True)
        s.end("kept")
        c.equal(peek(s, kept["addr"]), NOTHING, "where it was")
        s.drop_backend("kept")
        s.m("compat-hints-forget", id="kept")
        s.add_memory("next", 256 * MIB)
        c.equal(memory_came(s, "next")["addr"], kept["addr"], "the address that is free again")
        s.own_wish("next", "eject mem %d" % kept["slot"])


# ---- PCI by ACPI

@case("PCI by ACPI: on pcie.0 and behind ports: whole at first sight, ejected, silent, late, by force, replaced")
def _(c):
    with Served(c, "pci=full") as s:
        slots, fds = pci_slots(s), None
        for turn in range(3):
            for id, (bus, addr, where, _) in PCI_PLACES.items():
                s.add("virtio-rng-pci", id, bus=bus, addr=addr)
                line = s.saw("pcihp-inserted", slot=slots[id])
                c.equal((line["bdf"], line["functions"]), (where, 1), "%s in the guest" % id)
                seen_whole(s, id, where)
            fds = fds or s.m.fds()
            c.equal(s.m.fds(), fds, "descriptors of the daemon in turn %d" % turn)
            s.gone(*PCI_PLACES)
            for id in PCI_PLACES:
                s.saw("pcihp-removed", slot=slots[id], present=0)
        s.temper("silent")
        for id, (bus, addr, where, _) in PCI_PLACES.items():
            s.forget()
            s.add("virtio-rng-pci", id, bus=bus, addr=addr)
            s.saw("pcihp-inserted", slot=slots[id])
            s.ask(id, timeout=1)
            s.end(id, "DEVICE_UNPLUG_GUEST_ERROR", "within 1 ms")
            s.forget()
            s.own_wish(id, "eject pci %d" % slots[id])  # late
            s.forget()
            s.add("virtio-rng-pci", id, bus=bus, addr=addr)
            s.saw("pcihp-inserted", slot=slots[id])
            s.ask(id)
            s.saw("pcihp-asked", slot=slots[id], present=1)
            c.equal(s.state(id), ["notified"], "the request for " + id)
            s.ask(id, force=True)
            s.end(id)
            s.saw("pcihp-asked", slot=slots[id], present=0)  # that it is gone is told too
            replaced(s, id, bus, addr, slots[id])


def replaced(s, id, bus, addr, slot):
    """The guest has been asked for a device that went by force, and has not ejected it: when it does, the newcomer stays."""
    s.add("virtio-rng-pci", "new", bus=bus, addr=addr)
    s.saw("pcihp-inserted", slot=slot, functions=1)
    events = len(s.m.qmp.events)
    removed = s.order("eject pci %d" % slot).one("pcihp-removed")
    s.c.equal(removed["present"], 1, "the newcomer in place of %s, which the guest ejects late" % id)
    s.m.qmp.settle()
    s.c.equal([e["event"] for e in s.m.qmp.events[events:]], [], "events of an ejection that comes late")
    s.forget()
    while s.m("query-pci") and s.order("eject pci %d" % slot).one("pcihp-removed")["present"]:
        pass
    s.asked["new"] = events
    s.end("new")


@case("PCI by ACPI: functions of a slot come with function 0, and go together")
def _(c):
    with Served(c) as s:
        slots = pci_slots(s)
        for bus, place, slot in (("pcie.0", "00:1a.", 0x1a), ("rp1", "02:00.", slots["behind1"])):
            number = "%x" % slot if bus == "pcie.0" else "0"
            before = s.order("sci").one("sci-status")["n"]
            for fn in (3, 1, 0):
                s.add("virtio-rng-pci", "f%d" % fn, bus=bus, addr="%s.%d" % (number, fn), multifunction=True)
            c.equal(s.saw("pcihp-inserted", slot=slot)["functions"], 3, "functions that the guest sees")
            s.saw("sci-done")
            c.equal(s.order("sci").one("sci-status")["n"], before + 1, "interrupts for a slot of three functions")
            for fn in (0, 1, 3):
                seen_whole(s, "f%d" % fn, place + str(fn))
            for fn in (0, 1, 3):
                s.asked["f%d" % fn] = len(s.m.qmp.events)
            s.m("device_del", id="f1")  # its slot
            for fn in (0, 1, 3):
                s.end("f%d" % fn)
            s.saw("pcihp-removed", slot=slot, present=0)


# ---- native slots

def native_rounds(c, words):
    with Served(c, words) as s:
        bdf, n, _ = native(s, "native0")
        for _ in range(3):
            takes(s, "a", "native0")
            mark = len(s.m.guest.run.all)
            s.ask("a")
            s.ask("a")  # the same request
            s.end("a")
            s.saw("slot-off", bdf=bdf, present=0, seen=0)
            s.c.equal(commands(s, mark, bdf), [LAMP_BLINKS, LAMP_BLINKS | POWER_OFF, LAMP_OFF | POWER_OFF], "the guest's commands to let go")
            c.equal(len([l for l in s.m.guest.run.all[mark:] if l.section == "slot-asked"]), 1, "presses of the button")
            s.forget()
        status = [l for l in s.order("status").lines("slot") if l["bdf"] == bdf][0]
        c.equal((status["present"], status["powered"], status["link"]), (0, 0, 0), "the slot in the end")
        c.true(status["irq"] >= 3 * 6, "every command and every event is an interrupt", status)


@case("native slot by MSI: button, power, link; unplug by button, lamp and power off")
def _(c):
    native_rounds(c, "pci=full")


@case("the same by the port's interrupt pin")
def _(c):
    native_rounds(c, "slots=intx")


@case("native slots: refused, silent and late, surprise removal, the guest's own wish")
def _(c):
    with Served(c) as s:
        bdf, n, _ = native(s, "native0")
        bdf1, n1, _ = native(s, "native1")
        takes(s, "a", "native0")
        takes(s, "b", "native1")
        s.own_wish("b", "slot %d off" % n1)
        s.forget()
        s.temper("refuse")
        s.ask("a")
        s.end("a", "DEVICE_UNPLUG_GUEST_ERROR", "keeps the slot in use")
        s.saw("slot-refused", bdf=bdf)
        s.temper("silent")
        s.ask("a")
        s.saw("slot-asked", bdf=bdf)
        c.equal(s.state("a"), ["notified"], "the request: the guest has cleared the button")
        s.order("slot %d off" % n)  # late
        s.end("a")
        s.temper("willing")
        takes(s, "c", "native0")
        takes(s, "d", "native1")
        for id, port in (("c", bdf), ("d", bdf1)):  # surprise: nobody is asked
            mark = len(s.m.guest.run.all)
            s.ask(id, force=True)
            s.end(id)
            s.saw("slot-lost", bdf=port)
            s.saw("slot-off", bdf=port, present=0)
            c.equal([l.section for l in s.m.guest.run.all[mark:] if l.section == "slot-asked"], [], "requests of a surprise removal")
        takes(s, "e", "native0")
        s.gone("e")


# ---- together

@case("a transaction: CPUs, memory and functions by one interrupt, native slots by one event each")
def _(c):
    with Served(c) as s:
        slots = pci_slots(s)
        bdf, _, _ = native(s, "native0")
        many = ["m%02x%d" % (slot, fn) for slot in range(0x11, 0x15) for fn in range(8)]
        for turn in range(3):
            crowd = many if turn == 0 else []  # to take long: who tells of each at once is caught
            before, mark = s.order("sci").one("sci-status")["n"], len(s.m.guest.run.all)
            plug(s, {"driver": "host-x86_64-cpu", "id": "cpu1", "core-id": 1}, {"driver": "host-x86_64-cpu", "id": "cpu2", "core-id": 2},
                 *({"driver": "virtio-rng-pci", "id": id, "bus": "pcie.0", "addr": id[1:3] + "." + id[3], "multifunction": True} for id in crowd),
                 {"driver": "pc-dimm", "id": "m", "memdev": "backend-m"},
                 *({"driver": "virtio-rng-pci", "id": id, "bus": bus, "addr": addr} for id, (bus, addr, _, _) in PCI_PLACES.items()),
                 *({"driver": "virtio-rng-pci", "id": "n%d" % fn, "bus": "native0", "addr": "0.%d" % fn, "multifunction": True} for fn in (0, 2)),
                 objects=[{"qom-type": "memory-backend-memfd", "id": "backend-m", "size": 128 * MIB}])
            s.saw("slot-on", bdf=bdf)
            run = s.order("sci")  # what was pending is served before
            lines = s.m.guest.run.all[mark:]
            sci = [l for l in lines if l.section == "sci"]
            c.equal(([l["gpe"] for l in sci], run.one("sci-status")["n"]), ([GPE_PCI | GPE_CPU | GPE_MEMORY], before + 1), "system control interrupts")
            c.equal([(l["sel"], l["started"]) for l in lines if l.section == "cpuhp-inserted"], [(1, 1), (2, 1)], "CPUs")
            c.equal([l["wrong"] for l in lines if l.section == "memhp-inserted"], [0], "modules")
            c.equal(sorted(l["slot"] for l in lines if l.section == "pcihp-inserted"),
                    sorted([*slots.values(), *(range(0x11, 0x15) if crowd else ())]), "slots")
            c.equal([l["functions"] for l in lines if l.section == "slot-inserted"], [2], "functions in the native slot, at once")
            c.equal([l["presence"] for l in lines if l.section == "slot-event"][:1], [1], "the first event of the native slot")
            cpus_in_guest(s, [0, 1, 2])
            s.asked["n0"] = s.asked["n2"] = len(s.m.qmp.events)
            s.gone("cpu1", "m", "cpu2", *PCI_PLACES)
            for id in crowd:
                s.asked[id] = len(s.m.qmp.events)
            for id in crowd[::8]:
                s.m("device_del", id=id)  # its slot
            for id in crowd:
                s.end(id)
            s.m("device_del", id="n2")
            s.end("n0")
            s.end("n2")
            s.drop_backend("m")
            s.saw("slot-off", bdf=bdf, present=0)


@case("a reset ends all requests of a silent guest; the machine is as before, and goes on")
def _(c):
    with Served(c) as s:
        fingerprint = s.m("query-guest-abi")["fingerprint"]
        things = ["cpu1", "m", "on-root", "behind0", "a"]
        for _ in range(2):
            s.add("host-x86_64-cpu", "cpu1", **{"core-id": 1})
            came_up(s, 1)
            s.add_memory("m")
            memory_came(s, "m")
            for id in ("on-root", "behind0"):
                s.add("virtio-rng-pci", id, bus=PCI_PLACES[id][0], addr=PCI_PLACES[id][1])
                s.saw("pcihp-inserted")
            takes(s, "a", "native0")
            s.temper("silent")
            s.ask(*things)
            s.m("system_reset")
            for id in things:
                s.end(id)
            s.drop_backend("m")
            s.saw("probe")
            s.saw("ready")
            c.equal(s.m("query-guest-abi")["fingerprint"], fingerprint, "the fingerprint when all is gone")
            status = s.order("status")
            c.equal(status.one("sci-status")["n"], 0, "interrupts of the guest that starts anew")
            c.equal([l["sel"] for l in status.lines("cpuhp") if l["flags"]], [0], "CPUs there or with events")


@case("what the guest has not got to let go of: cold slots, base RAM, the last CPU, slots that are empty or do not exist")
def _(c):
    with Served(c) as s:
        before, seen = s.m("query-machine-config"), len(s.m.qmp.events)
        for order in (*("pci %d" % n for n in (0, 1, 5, 31, 32, 40, 56, 64, 287)), "mem 0", "mem 1", "mem 255", "cpu 1", "cpu 7", "cpu 8", "cpu 1023"):
            s.order("eject " + order)
        c.equal(s.m("query-machine-config"), before, "the machine")
        c.equal(s.m.guest.run.lines("memhp-removed")[0]["present"], 0, "base RAM in the registers")
        c.equal({e["event"] for e in s.m.qmp.events[seen:]}, set(), "events")
        s.order("eject cpu 0")
        s.m.qmp.settle()
        c.equal(s.m("query-machine-config"), before, "the machine without its last CPU")
        cpus_in_guest(s, [0])


@case("while it is stopped: what comes and is asked for is told when it goes on, once")
def _(c):
    with Served(c) as s:
        slots, (bdf, _, _) = pci_slots(s), native(s, "native0")
        for turn in range(2):
            mark = len(s.m.guest.run.all)
            s.m.stop()
            s.add("host-x86_64-cpu", "cpu4", **{"core-id": 4})
            s.add_memory("m")
            s.add("virtio-rng-pci", "on-root", bus="pcie.0", addr="0x10")
            s.add("virtio-rng-pci", "a", bus="native0")
            # Gone before the guest has seen it: it hears nothing of it, or finds nothing.
            s.add("virtio-rng-pci", "never", bus="rp0")
            s.ask("never", force=True)
            s.end("never")
            s.m.cont()
            s.saw("slot-on", bdf=bdf, present=1)
            s.forget()
            lines = s.m.guest.run.all[mark:]
            c.equal([l["gpe"] for l in lines if l.section == "sci"], [GPE_PCI | GPE_CPU | GPE_MEMORY], "system control interrupts")
            c.equal([l["functions"] for l in lines if l.section == "pcihp-inserted"], [1], "functions of the slots that came")
            c.equal([l["present"] for l in lines if l.section == "pcihp-asked"], [0], "slots that are to be ejected")
            cpus_in_guest(s, [0, 4])
            s.m.stop()
            s.ask("cpu4", "m", "on-root", "a", timeout=1)  # of the guest's time: it stands still
            c.equal(len(s.m("query-unplug-jobs")["jobs"]), 4, "requests")
            s.ask("cpu4", "m", "on-root", "a", timeout=600000)
            s.m.cont()
            for id in ("cpu4", "m", "on-root", "a"):
                s.end(id)
            s.drop_backend("m")
            s.saw("slot-off", bdf=bdf, present=0)
            c.equal(slots["on-root"], s.m.guest.run.lines("pcihp-removed")[-1]["slot"], "the slot that was ejected last")


@case("native slots: functions go together; taken by force while the guest is at it; another device in its place")
def _(c):
    with Served(c) as s:
        bdf, n, where = native(s, "native0")
        for turn in range(2):
            plug(s, *({"driver": "virtio-rng-pci", "id": "n%d" % fn, "bus": "native0", "addr": "0.%d" % fn, "multifunction": True} for fn in (0, 5)))
            c.equal(s.saw("slot-inserted", bdf=bdf)["functions"], 2, "functions")
            s.saw("slot-on", bdf=bdf)
            s.asked["n0"] = s.asked["n5"] = len(s.m.qmp.events)
            s.m("device_del", id="n5")
            s.end("n0")
            s.end("n5")
            s.saw("slot-off", bdf=bdf, present=0)
            s.forget()
        s.temper("silent")
        takes(s, "a", "native0")
        s.ask("a")
        s.saw("slot-asked", bdf=bdf)
        s.order("slot %d blink" % n)  # on its way
        s.ask("a")  # does not press the button now
        s.ask("a", force=True)
        s.end("a")
        s.saw("slot-lost", bdf=bdf)
        s.saw("slot-off", bdf=bdf, present=0)
        c.equal(len(s.m.guest.run.lines("slot-asked")), 3, "presses of the button: for two functions twice, and for one")
        s.forget()
        takes(s, "b", "native0")
        # By force, and another one at once: the guest finds a device that it does not know.
        s.m.stop()
        s.ask("b", force=True)
        s.end("b")
        s.add("virtio-rng-pci", "b2", bus="native0")
        s.m.cont()
        s.saw("slot-inserted", bdf=bdf, functions=1)
        seen_whole(s, "b2", where)
        s.temper("willing")
        s.gone("b2")


@case("a processor whose APIC id needs x2APIC comes and goes")
def _(c):
    with Served(c, max_cpus=300) as s:
        for _ in range(2):
            for i in (17, 299):
                s.add("host-x86_64-cpu", "cpu%d" % i, **{"core-id": i})
                line = s.saw("cpuhp-inserted", sel=i)
                c.equal([line[k] for k in ("arch_id", "started", "leaf1", "leafb", "lapic", "ids", "ipi")], [i, 1, i & 255, i, i, "ok", "ok"],
                        "CPU %d in the guest" % i)
            cpus_in_guest(s, [0, 17, 299])
            s.gone("cpu299", "cpu17")
        cpus_in_guest(s, [0])


@case("plugged while the guest starts: it is told when it begins to listen, once")
def _(c):
    with Served(c) as s:
        bdf, _, where = native(s, "native0")
        for turn in range(2):
            s.m("system_reset")
            s.add("host-x86_64-cpu", "cpu1")
            s.add_memory("m")
            s.add("virtio-rng-pci", "on-root", bus="pcie.0", addr="0x10")
            s.add("virtio-rng-pci", "a", bus="native0")
            s.saw("probe")
            s.saw("slot-on", bdf=bdf, present=1)
            s.forget()
            lines = s.m.guest.run.all
            c.equal([(l["sel"], l["started"]) for l in lines if l.section == "cpuhp-inserted"], [(1, 1)], "CPUs")
            c.equal([l["wrong"] for l in lines if l.section == "memhp-inserted"], [0], "modules")
            c.equal([l["slot"] for l in lines if l.section == "pcihp-inserted"], [16], "slots")
            seen_whole(s, "a", where)
            s.gone("cpu1", "m", "on-root", "a")
            s.drop_backend("m")


@case("a processor takes itself away; the next start is on another one")
def _(c):
    with Served(c) as s:
        s.add("host-x86_64-cpu", "cpu1")
        came_up(s, 1)
        s.asked["cpu0"] = len(s.m.qmp.events)
        s.m.guest.send("eject cpu 0")  # the one that says it
        s.end("cpu0")
        s.m.check_state("running")
        s.m("system_reset")
        s.saw("probe")
        s.saw("ready")
        cpus_in_guest(s, [1])
        s.add("host-x86_64-cpu", "cpu0", **{"core-id": 0})
        came_up(s, 0)
        cpus_in_guest(s, [0, 1])
        s.gone("cpu0")


@case("a device that another one uses stays when the guest lets go of it; the guest is told that it is there")
def _(c):
    with Served(c) as s:
        s.m("chardev-add", id="null", backend={"type": "null", "data": {}})
        slots = pci_slots(s)
        for id, (bus, addr, where, _) in PCI_PLACES.items():
            s.add("virtio-serial-pci", id, bus=bus, addr=addr)
            s.saw("pcihp-inserted", slot=slots[id])
            s.temper("silent")
            s.ask(id)
            s.saw("pcihp-asked", slot=slots[id])
            s.add("virtserialport", "p", bus=id + ".0", chardev="null", name="x")
            s.temper("willing")
            c.equal(s.order("eject pci %d" % slots[id]).one("pcihp-removed")["present"], 1, "what the guest lets go of is in use")
            s.end(id, "DEVICE_UNPLUG_GUEST_ERROR", "in use by device 'p'")
            s.saw("pcihp-inserted", slot=slots[id], functions=1)
            s.order("eject pci %d" % slots[id])  # nobody asked
            s.saw("pcihp-inserted", slot=slots[id], functions=1)
            s.m("device_del", id="p")
            s.gone(id)


@case("the power button is a fixed event, and leaves hotplug alone")
def _(c):
    with Served(c) as s:
        for n in (1, 2):
            s.m("system_powerdown")
            line = s.saw("sci")
            c.equal((line["n"], line["pm1"], line["gpe"]), (n, 0x100, 0), "the interrupt of the button")
        s.add("host-x86_64-cpu", "cpu1")
        came_up(s, 1)


main()

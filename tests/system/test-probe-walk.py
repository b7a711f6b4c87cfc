#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A random walk of plugs and unplugs with the probe guest willing, refusing and silent: what is wrong in the state of a thing shows.

A hundred steps in `make check`, ten thousand in `make check-long`; TEST_SEED takes a walk again.
"""

from served import *

LONG = bool(os.environ.get("TEST_LONG"))


class Walk:
    """Things of all kinds come and go in random order, while the guest's temper changes; only what the state explains may fail."""

    def __init__(self, s, rng):
        self.s, self.rng, self.m = s, rng, s.m
        self.things = {"cpu%d" % i: ("host-x86_64-cpu", {"core-id": i}) for i in (1, 2, 3)}
        self.things.update({"module%d" % i: ("pc-dimm", {"memdev": "backend%d" % i}) for i in (0, 1)})
        for i in (0, 1):
            self.m("object-add", **{"qom-type": "memory-backend-memfd", "id": "backend%d" % i, "size": (128 << i) * MIB})
        places = [("pcie.0", "10"), ("pcie.0", "11"), ("rp0", "0"), ("rp1", "0"), ("native0", "0"), ("native1", "0")]
        self.things.update({"pci%d" % i: ("virtio-rng-pci", {"bus": bus, "addr": addr}) for i, (bus, addr) in enumerate(places)})
        self.slots = {"pci0": 16, "pci1": 17, **{"pci%d" % (i + 2): n for i, n in enumerate(list(pci_slots(s).values())[1:])}}
        self.state = dict.fromkeys(self.things, "absent")
        self.seen = len(self.m.qmp.events)
        self.counts = {}

    def listen(self):
        """The events that have come: each request ends once, and what nobody asked for goes only if the guest wishes."""
        self.m.qmp.settle()
        self.heed()

    def heed(self):
        events = self.m.qmp.events[self.seen:]
        self.seen += len(events)
        for e in events:
            id = e.get("data", {}).get("device")
            if e["event"] not in ENDS or not id:
                continue
            self.counts[e["event"]] = self.counts.get(e["event"], 0) + 1
            deleted = e["event"] == "DEVICE_DELETED"
            self.s.c.true(self.state[id] == "pending" or (deleted and self.state[id] == "present"), "%s of a thing that is %s" % (e, self.state[id]))
            self.state[id] = "absent" if deleted else "present"

    def add(self, id):
        driver, props = self.things[id]
        self.s.add(driver, id, **props)
        self.state[id] = "present"

    def add_several(self):
        """By one transaction; with one that can not be, nothing comes."""
        ids = [id for id, state in self.state.items() if state == "absent" and self.rng.random() < 0.5]
        devices = [dict(driver=self.things[id][0], id=id, **self.things[id][1]) for id in ids]
        if self.rng.random() < 0.3:
            devices.insert(self.rng.randrange(len(devices) + 1), {"driver": "virtio-rng-pci", "id": "x", "bus": "nowhere"})
            self.m.refused("device-plug-transaction", "nowhere", devices=devices)
            return
        self.m("device-plug-transaction", devices=devices)
        self.state.update(dict.fromkeys(ids, "present"))

    def reset(self):
        """Ends all requests; what is there stays."""
        self.m("system_reset")
        self.listen()
        self.s.c.equal([id for id, state in self.state.items() if state == "pending"], [], "requests after a reset")
        self.s.saw("probe")
        self.s.saw("ready")

    def ask(self, id, **how):
        """It may be gone by the guest's own wish before the daemon hears of the request. What was told before the reply was before the request."""
        try:
            self.m("device_del", id=id, **how)
        except QmpError as error:
            if error.error_class != "DeviceNotFound":
                raise
            self.listen()
            self.s.c.equal(self.state[id], "absent", "the state of %s, which was not found" % id)
            return
        self.heed()
        if self.state[id] == "present":
            self.state[id] = "pending"

    def guest_lets_go(self):
        """By its own wish, or late."""
        kind = self.rng.choice(("cpu", "mem", "pci", "slot"))
        if kind == "slot":
            self.s.order("slot %d %s" % (self.rng.randrange(2), self.rng.choice(("off", "blink", "lamp", "on"))))
        else:
            n = {"cpu": (1, 2, 3), "mem": (1, 2), "pci": list(self.slots.values())}[kind]
            self.s.order("eject %s %d" % (kind, self.rng.choice(n)))

    def step(self):
        id, action = self.rng.choice(list(self.things)), self.rng.random()
        self.listen()
        if action < 0.2 and self.m.state == "paused":
            self.m.cont()
        elif action < 0.05:
            self.s.temper(self.rng.choice(("willing", "willing", "refuse", "silent")))
        elif action < 0.15:
            self.guest_lets_go()
        elif action < 0.17:
            self.m.stop()
        elif action < 0.19:
            self.reset()
        elif action < 0.22:
            self.add_several()
        elif self.state[id] == "absent":
            self.add(id)
        else:
            self.ask(id, **self.rng.choice(({}, {}, {}, {"timeout": 5}, {"force": True})))

    def end(self):
        """All that is left is asked for of a willing guest; a native slot that was asked within this second is switched off by the guest itself."""
        self.m.cont()
        self.s.temper("willing")
        for n in (0, 1):
            self.s.order("slot %d off" % n)
        self.listen()
        left = [id for id, state in self.state.items() if state != "absent"]
        for id in left:
            self.ask(id)
        while any(state != "absent" for state in self.state.values()):
            self.s.c.true(self.m.qmp._receive(time.monotonic() + 60 * PATIENCE) is not None, "stuck: %s" % {k: v for k, v in self.state.items() if v != "absent"})
            if self.s.c.failures:
                return
            self.listen()


def descriptors(pid):
    """But for vCPUs, which are kept for the next CPU in their slot, and made ahead."""
    folder = "/proc/%d/fd" % pid
    return sum("kvm-vcpu" not in os.readlink(os.path.join(folder, fd)) for fd in os.listdir(folder))


@case("a random walk")
def _(c):
    rng = seed()
    with Served(c) as s:
        s.orderly = False
        fingerprint = s.m("query-guest-abi")["fingerprint"]
        w, vitals = Walk(s, rng), None
        for turn in range(200 if LONG else 2):
            for _ in range(50):
                w.step()
            w.end()
            if c.failures:
                break
            s.forget()
            now = (s.m.threads(), descriptors(s.m.process.pid))
            vitals = vitals or now
            c.equal((turn, *now), (turn, *vitals), "threads and descriptors of the daemon")
            c.equal(s.m("query-guest-abi")["fingerprint"], fingerprint, "the fingerprint when all is gone")
            c.equal(s.m("query-unplug-jobs"), {"jobs": []}, "requests")
        c.note("ends: %s" % w.counts)


main()

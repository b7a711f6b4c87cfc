# SPDX-License-Identifier: LGPL-2.1-or-later
"""The probe guest as driver of virtio devices: orders on COM1 (`virtio BDF VERB WORDS`, tests/guest/probe/README.md) and their answers.
Every order's lines are free of complaints, or the case says which it wants."""

import struct

from backplane import *

MODES = ("poll", "msix", "quiet")
LONG = "TEST_LONG" in os.environ  # all combinations, where a few of each kind do for every day
INDIRECT, EVENT_IDX, PACKED, RING_RESET = 28, 29, 34, 40
STEPS = 10  # enum step in virtio.h


class Driven:
    """A machine whose guest drives devices. PLUG(m) makes them; where they are is looked up by id."""

    def __init__(self, c, plug, memory=256 * MIB):
        self.c, self.plug, self.memory = c, plug, memory
        self.m = Machine(c)

    def __enter__(self):
        m = self.m.__enter__()
        try:
            m.board(**{"max-cpus": 1})
            m.cpu("cpu0")
            m.memory(self.memory)
            m.serial()
            self.plug(m)
            m.loader(append="probe=wait")
            m.cont()
            self.ready()
        except Exception:
            m.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, *exc):
        if not exc[0]:
            self.m.check_state("running")
        self.m.__exit__(*exc)

    def ready(self):
        self.m.guest.wait_for("ready", 20 * PATIENCE)
        self.setup = self.order("pci-setup")

    def order(self, line, good=True):
        """The lines that answer it."""
        run = self.m.guest.command(line, 30 * PATIENCE)
        if good:
            self.c.equal([p for p in run.problems()], [], "what the probe calls bad after '%s'" % line)
        return run

    def where(self, id):
        """The address of that device, as the guest has numbered the buses."""
        def find(devices):
            for d in devices:
                if d["qdev_id"] == id:
                    return "%02x:%02x.%d" % (d["bus"], d["slot"], d["function"])
                found = find(d.get("pci_bridge", {}).get("devices", []))
                if found:
                    return found
            return None
        return find(self.m("query-pci")[0]["devices"])

    def device(self, id):
        return Driver(self, id)


class Driver:
    """The guest's driver of one device."""

    def __init__(self, driven, id):
        self.driven, self.c, self.m = driven, driven.c, driven.m
        self.id, self.bdf = id, driven.where(id)

    def __call__(self, verb, words="", good=True, **fields):
        """The last line of the answer but `ready`."""
        words += "".join(" %s=%s" % (k, "%#x" % v if k in ("without", "only") else v) for k, v in fields.items())
        return self.driven.order("virtio %s %s %s" % (self.bdf, verb, words), good).all[-2]

    def lines(self, verb, words="", **fields):
        words += "".join(" %s=%s" % (k, v) for k, v in fields.items())
        return self.driven.order("virtio %s %s %s" % (self.bdf, verb, words)).all[1:-1]

    def open(self, words="", opened=1, **fields):
        line = self("open", words, **fields)
        self.c.equal(line["opened"], opened, "opening %s with %s %s: %s" % (self.id, words, fields, line.raw))
        if opened:
            self.c.equal(line["device"], 15, "the status of " + self.id)
        return line

    def offers(self, bit):
        return self.offered >> bit & 1

    @property
    def offered(self):
        return self("open")["offered"]

    def steps(self, words=""):
        line = self("steps", words)
        self.c.equal((line["opened"], line["reset"]), (STEPS, STEPS), "openings of %s, and resets in them" % self.id)

    def interrupts(self):
        """Of the queues' vectors, since the opening."""
        return [l["interrupts"] for l in self.lines("queues")]


def config(line, form, offset):
    return struct.unpack_from("<" + form, bytes.fromhex(line.text["data"]), offset)[0]


# ---- disks

SECTOR = 512
ZEROES = bytes(SECTOR)


def sector_bytes(seed, sector):
    """What the guest makes of a seed (virtio-blk.c)."""
    first = (seed * 0x9E3779B1 + sector * 0x85EBCA6B) & 0xFFFFFFFF
    return struct.pack("<128I", *((first + i * 0xC2B2AE35) & 0xFFFFFFFF for i in range(128)))


def disk_file(m, name, size=8 * MIB):
    with open(m.path(name), "wb") as f:
        f.truncate(size)
    return m.path(name)


def add_disk(m, id, size=8 * MIB, node=None, **props):
    m("blockdev-add", driver="file", filename=disk_file(m, id, size), node_name="node-" + id, discard="unmap", **(node or {}))
    m("device_add", driver="virtio-blk-pci", id=id, drive="node-" + id, **props)


def on_disk(m, name, sector, n=1):
    with open(m.path(name), "rb") as f:
        f.seek(sector * SECTOR)
        return f.read(n * SECTOR)

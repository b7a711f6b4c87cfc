#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""query-pci and the plugging of PCI functions, over QMP; the test accelerator is enough."""

from backplane import *
from qtest import Qtest

ALL_ONES = (1 << 32) - 1


class Cpu(Qtest):
    @staticmethod
    def address(bus, slot, function, register):
        return 0xB0000000 | bus << 20 | slot << 15 | function << 12 | register

    def read(self, where, width="l"):
        return self.number("read%s 0x%x" % (width, self.address(*where)))

    def write(self, where, value, width="l"):
        self.ask("write%s 0x%x 0x%x" % (width, self.address(*where), value))


def machine(c, folder):
    return Machine(c, "--accel", "test", "--qtest", "unix:" + os.path.join(folder, "qtest"), cwd=folder)


@case("an empty machine has no bus; a board has its two functions", needs_kvm=False)
def _(c):
    with tempfile.TemporaryDirectory(prefix="bp-") as folder, machine(c, folder) as m:
        c.equal(m("query-pci"), [], "the list without a board")
        m.board()
        buses = m("query-pci")
        c.equal([b["bus"] for b in buses], [0], "buses")
        c.equal(buses[0]["devices"], [
            {"bus": 0, "slot": 0, "function": 0, "class_info": {"desc": "Host bridge", "class": 0x600}, "irq_pin": 0, "qdev_id": "",
             "id": {"vendor": 0x8086, "device": 0x29C0, "subsystem-vendor": 0x1AF4, "subsystem": 0x1100}, "regions": []},
            {"bus": 0, "slot": 31, "function": 0, "class_info": {"desc": "ISA bridge", "class": 0x601}, "irq_pin": 0, "qdev_id": "",
             "id": {"vendor": 0x8086, "device": 0x2918, "subsystem-vendor": 0x1AF4, "subsystem": 0x1100}, "regions": []}], "functions")


@case("a port is seen as the guest has programmed it, by the id that it was plugged with", needs_kvm=False)
def _(c):
    with tempfile.TemporaryDirectory(prefix="bp-") as folder, machine(c, folder) as m:
        m("device_add", driver="pcie-root-port", id="rp", addr="3", multifunction=True)
        m("device_add", driver="pcie-root-port", id="other", addr="0x3.0x5")
        cpu = Cpu(m.path("qtest"))
        c.equal(cpu.read((0, 3, 5, 0)), 0x000C1B36, "the function's ids")
        c.equal(cpu.read((0, 3, 1, 0)), ALL_ONES, "a function that is not there")
        cpu.write((0, 3, 5, 0x18), 0x070700)
        cpu.write((0, 3, 5, 0x20), 0xE010E000)
        seen = {d["qdev_id"]: d for d in m("query-pci")[0]["devices"]}["other"]
        c.equal((seen["slot"], seen["function"], seen["class_info"]["class"], seen["irq_pin"]), (3, 5, 0x604, 1), "the function")
        bus = seen["pci_bridge"]["bus"]
        c.equal((bus["number"], bus["secondary"], bus["subordinate"]), (0, 7, 7), "its numbers")
        c.equal(bus["memory_range"], {"base": 0xE0000000, "limit": 0xE01FFFFF}, "its window")
        c.true(bus["prefetchable_range"]["limit"] < bus["prefetchable_range"]["base"], "a closed window", bus["prefetchable_range"])
        c.true("devices" not in seen["pci_bridge"], "nothing is behind it")
        cpu.close()


@case("addresses: lowest free and recorded, ports of one slot by eights, refused by name", needs_kvm=False)
def _(c):
    with tempfile.TemporaryDirectory(prefix="bp-") as folder, machine(c, folder) as m:
        for i in range(10):
            m("device_add", driver="pcie-root-port", id="rp%d" % i, multifunction=True)
        places = [(d["slot"], d["function"]) for d in m("query-pci")[0]["devices"] if d["qdev_id"]]
        c.equal(places, [(1 + i // 8, i % 8) for i in range(10)], "places")
        resolved = {(r["id"], p["name"]): p["value"] for r in m("query-machine-config", resolved=True)["resolved"]
                    for p in r["properties"]}
        c.equal([resolved["rp%d" % i, "addr"] for i in (0, 7, 8)], ["01.0", "01.7", "02.0"], "recorded addresses")
        m.refused("device_add", "rp2", "01.2", driver="pcie-root-port", id="x", addr="1.2", multifunction=True)
        m.refused("device_add", "addr", "'x'", "20", driver="pcie-root-port", id="x", addr="20")
        m.refused("device_add", "bus", "'x'", "nowhere", driver="pcie-root-port", id="x", bus="nowhere")
        c.equal(len(m("query-pci")[0]["devices"]), 12, "functions after what was refused")


main()

#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a guest reports on slots by _OST, as ACPI_DEVICE_OST and query-acpi-ospm-status; a qtest client is the guest."""
import os
import sys
import tempfile
import time
sys.dont_write_bytecode = True
# pylint: disable=wrong-import-position
from blackbox import GIB, MIB, Daemon, build_machine, main, test  # noqa: E402
from qtestdisk import Qtest  # noqa: E402


def cpu_ost(q, slot, event, status):
    for line in (f"outl 0xcd8 {slot}", "outb 0xcdd 1", f"outl 0xce0 {event}", "outb 0xcdd 2", f"outl 0xce0 {status}"):
        q.ask(line)


def dimm_ost(q, slot, event, status):
    for line in (f"outl 0xa00 {slot}", f"outl 0xa04 {event}", f"outl 0xa08 {status}"):
        q.ask(line)


def told(d):
    return d.c.wait_event("ACPI_DEVICE_OST")["data"]["info"]


def slots(d, kind):
    return [s for s in d.c.call("query-acpi-ospm-status") if s["slot-type"] == kind]


@test
def reports_in_the_shape_of_qemu():
    with tempfile.TemporaryDirectory(prefix="bb-", dir="/tmp") as folder:
        with Daemon("--qtest", f"unix:{folder}/qtest", directory=folder) as d:
            c = d.c
            assert c.call("query-acpi-ospm-status") == []
            c.call("device_add", driver="board", id="board", max_cpus=4, max_memory=4 * GIB, memory_slots=3)
            build_machine_on(c)
            c.call("cont")
            q = Qtest(os.path.join(folder, "qtest"))
            assert [s["slot"] for s in slots(d, "CPU")] == ["0", "1", "2", "3"]
            assert slots(d, "DIMM")[0] == {"slot": "0", "slot-type": "DIMM", "source": 0, "status": 0}  # base RAM is in none
            assert slots(d, "DIMM")[1] == {"slot": "1", "slot-type": "DIMM", "source": 0, "status": 0}
            c.call("object-add", qom_type="memory-backend-ram", id="m1", size=128 * MIB)
            c.call("device_add", driver="pc-dimm", id="more", memdev="m1")
            c.call("device_add", driver="qemu64-x86_64-cpu", id="two")
            [more] = [s for s in slots(d, "DIMM") if s.get("device") == "more"]
            dimm_ost(q, int(more["slot"]), 1, 0)
            want = {"device": "more", "slot": more["slot"], "slot-type": "DIMM", "source": 1, "status": 0}
            assert told(d) == want
            assert want in slots(d, "DIMM")
            [two] = [s for s in slots(d, "CPU") if s.get("device") == "two"]
            cpu_ost(q, int(two["slot"]), 0x103, 0x84)
            assert told(d) == {"device": "two", "slot": two["slot"], "slot-type": "CPU", "source": 0x103, "status": 0x84}
            cpu_ost(q, 3, 3, 0x81)
            assert told(d) == {"slot": "3", "slot-type": "CPU", "source": 3, "status": 0x81}
            c.call("system_reset")
            assert {s["source"] for s in c.call("query-acpi-ospm-status")} == {0}
            q.close()


def build_machine_on(c):
    c.call("device_add", driver="qemu64-x86_64-cpu")
    c.call("object-add", qom_type="memory-backend-ram", id="m0", size=64 * MIB)
    c.call("device_add", driver="pc-dimm", id="dimm0", memdev="m0")


@test
def a_refusal_ends_the_request_and_is_reported():
    with tempfile.TemporaryDirectory(prefix="bb-", dir="/tmp") as folder:
        with Daemon("--qtest", f"unix:{folder}/qtest", directory=folder) as d:
            build_machine(d.c, cpus=1)
            d.c.call("device_add", driver="qemu64-x86_64-cpu", id="other")
            d.c.call("cont")
            q = Qtest(os.path.join(folder, "qtest"))
            d.c.call("device_del", id="other")
            cpu_ost(q, 1, 3, 0x82)
            assert (told(d)["device"], d.c.wait_event("DEVICE_UNPLUG_GUEST_ERROR")["data"]["device"]) == ("other", "other")
            began = time.monotonic()
            for i in range(300):  # a guest that reports all the time: one event a second, the last one wins
                cpu_ost(q, 1, 3, 0x200 + i)
            reports = 1
            while told(d)["status"] != 0x200 + 299:
                reports += 1
            assert reports <= 2 + (time.monotonic() - began), reports
            q.close()


sys.exit(main())

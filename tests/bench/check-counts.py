#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The figures of docs/bench.md that can be counted, against their limits: TAP. No wall time is looked at."""

import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import hotplug
import measure
import monitor
import net

TOP = os.environ.get("top_builddir", ".")
GUEST = os.path.join(TOP, "tests/bench/guest.elf")
number = failed = 0


def report(ok, text):
    global number, failed
    number += 1
    failed += not ok
    print("%s %d - %s" % ("ok" if ok else "not ok", number, text), flush=True)


def skip(text, why):
    global number
    number += 1
    print("ok %d - %s # SKIP %s" % (number, text, why), flush=True)


def at_most(text, value, limit):
    report(value <= limit, "%s: %d, at most %d" % (text, value, limit))


def counted(mon, tmp, kvm):
    """By valgrind: user instructions."""
    rows = [("user instructions, start to quit", 4_000_000, lambda: measure.start_to_quit(mon, tmp)),
            ("user instructions, query-status", 60_000, lambda: measure.a_command(mon, tmp, "query-status", 200)),
            ("user instructions, query-qmp-schema", 1_000_000, lambda: measure.a_command(mon, tmp, "query-qmp-schema", 4))]
    exits = [("user instructions, an exit: " + k, 400, lambda k=k: measure.an_exit(mon, tmp, GUEST, k)) for k in monitor.KINDS]
    reads = [("user instructions, a 4 KiB read, %d at a time" % depth, limit, lambda d=depth: measure.a_read(mon, tmp, GUEST, d))
             for depth, limit in ((32, 2500), (1, 3000))]
    for text, limit, value in rows + exits + reads:
        if not measure.valgrind():
            skip(text, "no valgrind: tests/fetch-peers valgrind could not get it")
        elif not kvm:
            skip(text, "no usable /dev/kvm")
        else:
            at_most(text, value(), limit)


def plugging(mon, tmp, kvm):
    """What a plug costs, whatever is plugged already; and what many devices take."""
    if not kvm:
        return skip("cost of plugging", "no usable /dev/kvm")
    if measure.valgrind():
        at_most("user instructions, device_add virtio-rng-pci, 200 root ports", measure.a_plug(mon, tmp, 200), 120_000)
        few, many = (measure.a_plug(mon, tmp, n, remove=True) for n in (32, 200))
        at_most("user instructions, device_add and device_del, 200 root ports", many, 120_000)
        at_most("user instructions more for both than with 32", many - few, few // 33)
    else:
        skip("user instructions of device_add", "no valgrind: tests/fetch-peers valgrind could not get it")
    at_most("resident KiB, 200 root ports and 200 virtio-rng-pci", measure.many_devices(mon, tmp)[1], 12 << 10)
    hotplug.limits(mon, tmp, GUEST, at_most)


def packets(mon, tmp, kvm):
    """What a packet of 64 bytes costs through tap."""
    text = "user instructions, a packet of 64 bytes sent and one received by Linux through tap"
    why = "no usable /dev/kvm" if not kvm else "no valgrind" if not measure.valgrind() else net.why_not()
    if why:
        return skip(text, why)
    net.netpeer.Namespace()
    with net.netpeer.server("0.0.0.0", net.PORT):
        at_most(text, net.both_ways(mon, tmp), 1700)


def resting(mon, tmp, kvm):
    if not kvm:
        return skip("memory and CPU of a halted guest", "no usable /dev/kvm")
    resident, anonymous, cpu, switches = measure.at_rest(mon, tmp, GUEST)
    at_most("resident KiB, 256 MiB guest halted", resident, 8 << 10)
    at_most("anonymous KiB, 256 MiB guest halted", anonymous, 1536)
    at_most("CPU time of the idle machine in ns", cpu, 0)
    at_most("context switches of the idle machine", switches, 0)


def main():
    sanitized = b"__asan_init" in open(monitor.Backplane().binary, "rb").read()
    if sanitized:
        print("1..0 # SKIP a sanitizer's build has other counts")
        return 0
    subprocess.run([os.path.join(os.environ.get("top_srcdir", "."), "tests/fetch-peers"), "valgrind"], cwd=TOP, check=False,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    kvm = os.access("/dev/kvm", os.R_OK | os.W_OK)
    mon = monitor.Backplane()
    with tempfile.TemporaryDirectory(prefix="bench") as tmp:
        counted(mon, tmp, kvm)
        plugging(mon, tmp, kvm)
        resting(mon, tmp, kvm)
        if kvm:
            size, _ = measure.rubbish(mon, tmp)
            at_most("bytes of the answer to a line of 1 MiB of rubbish", size, 1024)
        packets(mon, tmp, kvm)  # the last: it moves this process into another network namespace
    print("1..%d" % number)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

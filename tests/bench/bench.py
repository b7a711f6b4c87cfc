#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Ours beside Debian's QEMU, as a Markdown table: what docs/bench.md holds. `make bench` runs it.

    bench.py [--runs N] [--only counts|times|plugs|blk|linux|net]

Counts first: they mean the same on every machine. Wall times are medians of runs that alternate between the columns (A B C A B C
...), so that what else the host does falls on all alike, and are to be read as ratios. Nothing passes or fails here.
"""

import argparse
import datetime
import glob
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import blk
import hotplug
import measure
import monitor
import net
from monitor import now

TOP = os.environ.get("top_builddir", ".")
BUILT = os.path.join(TOP, "tests/bench")
COMMAND_LINE = "console=ttyS0 panic=-1 reboot=t quiet run=none"
SKIPPED = {}


def guest_of(mon):
    return os.path.join(BUILT, mon.guest)


def progress(text):
    print(text, file=sys.stderr, flush=True)


class Table:
    """Rows of name, limit, and a text a column."""

    def __init__(self, columns):
        self.columns, self.rows = columns, []

    def add(self, name, limit, values):
        self.rows.append((name, limit, [values.get(c, "-") for c in self.columns]))

    def print(self):
        print("| figure | wanted | %s |" % " | ".join(self.columns))
        print("|---|---|%s" % ("---|" * len(self.columns)))
        for name, limit, values in self.rows:
            print("| %s | %s | %s |" % (name, limit, " | ".join(values)))


def each(mons, fn):
    """FN of every monitor as text; what one can not do is a dash, with the reason below the table."""
    out = {}
    for mon in mons:
        try:
            value = fn(mon)
        except (monitor.Failed, OSError, AssertionError, AttributeError) as e:
            SKIPPED["%s: %s" % (mon.name, str(e)[:160])] = True
            continue
        if value is not None:
            out[mon.name] = value if isinstance(value, str) else "{:,}".format(value)
    return out


# ---- counts ----

def counts(table, mons, tmp):
    if measure.valgrind():
        progress("user instructions")
        table.add("user instructions, start to `quit`", "4 M", each(mons, lambda m: measure.start_to_quit(m, tmp)))
        table.add("user instructions, `query-status`", "60 k", each(mons, lambda m: measure.a_command(m, tmp, "query-status", 200)))
        table.add("user instructions, `query-qmp-schema`", "1 M", each(mons, lambda m: measure.a_command(m, tmp, "query-qmp-schema", 2)))
        for kind in monitor.KINDS:
            table.add("user instructions, one exit: " + kind, "400", each(mons, lambda m, k=kind: measure.an_exit(m, tmp, guest_of(m), k)))
        with_ports = [m for m in mons if m.name != "QEMU microvm"]
        for n in (32, 200):
            table.add("user instructions, `device_add` virtio-rng-pci, %d root ports plugged" % n, "120 k",
                      each(with_ports, lambda m, n=n: measure.a_plug(m, tmp, n)))
        table.add("allocations, start to `quit`", "", each(mons, lambda m: measure.allocations(m, tmp)))
    else:
        SKIPPED["user instructions: no valgrind (tests/fetch-peers valgrind could not get it)"] = True
    progress("system calls, memory")
    table.add("system calls, start to `quit`", "", each(mons, lambda m: measure.system_calls(m, tmp)))
    rest = {}
    for mon in mons:
        try:
            rest[mon.name] = measure.at_rest(mon, tmp, guest_of(mon))
        except (monitor.Failed, OSError) as e:
            SKIPPED["%s: %s" % (mon.name, e)] = True
    table.add("resident / anonymous KiB, 256 MiB guest halted", "8192 / 1536",
              {n: "%d / %d" % r[:2] for n, r in rest.items()})
    table.add("2 s of an idle machine: CPU us / context switches", "0 / 0", {n: "%d / %d" % (r[2] // 1000, r[3]) for n, r in rest.items()})


# ---- wall times ----

def median(values):
    return statistics.median(values)


def out_of_step():
    """The kernel's grace periods end with its tick (4 ms here), and a run that starts when another has just ended is in step with it."""
    time.sleep(random.uniform(0, 0.02))


def floor_ms():
    began = now()
    with subprocess.Popen([os.path.join(BUILT, "floor")], stdout=subprocess.PIPE) as p:
        p.stdout.readline()
        took = now() - began
    return took * 1e3


def to_ready(mon, tmp, put):
    """A run that is told to quit at once."""
    with mon.start(tmp, run=False) as vm:
        put(mon.name, "ready", (vm.qmp.ready - vm.spawned) * 1e3)
        vm.quit()


def to_first_byte(mon, tmp, put):
    image = monitor.patch_guest(guest_of(mon), os.path.join(tmp, "guest"), 0, 0)
    with mon.start(tmp, guest=image) as vm:
        put(mon.name, "first", (vm.first_byte() - vm.spawned) * 1e3)
        if not vm.qmp:
            vm.connect()
        began = now()
        put(mon.name, "quit", (vm.quit() - began) * 1e3)


def to_rubbish(mon, tmp, put):
    put(mon.name, "rubbish", measure.rubbish(mon, tmp)[1])


def times(table, mons, tmp, runs):
    progress("start and end, %d alternating runs" % runs)
    seen = {}

    def put(name, what, value):
        seen.setdefault((name, what), []).append(value)

    # QEMU takes seconds to answer rubbish: not in between, and not often.
    for what, step, times_ in (("ready", to_ready, runs), ("first", to_first_byte, runs), ("rubbish", to_rubbish, min(runs, 3))):
        for _ in range(times_):
            out_of_step()
            put("floor", what, floor_ms())
            for mon in mons:
                out_of_step()
                step(mon, tmp, put)

    def row(text, limit, what, ratio):
        values = {}
        base = median(seen["floor", what]) if ratio else 0
        for mon in mons:
            ms = median(seen[mon.name, what])
            values[mon.name] = "%.1f ms" % ms + (" (%.2f x floor)" % (ms / base) if ratio else "")
        table.add(text + (" (floor: %.1f ms)" % base if ratio else ""), limit, values)

    row("spawn to capabilities answered", "0.8 x floor", "ready", True)
    row("spawn to the guest's first byte", "1.4 x floor", "first", True)
    row("`quit` to the process's end, guest halted", "", "quit", False)
    row("a line of 1 MiB of rubbish answered", "20 ms", "rubbish", False)


def plugs(table, mons, tmp, runs):
    """Wall times of plugging, and the memory that it takes."""
    mons = [m for m in mons if m.name != "QEMU microvm"]  # it has no PCI Express ports
    progress("plugging, %d alternating runs" % runs)
    seen = {}

    def put(mon, what, values):
        seen.setdefault((mon.name, what), []).extend(values)

    for _ in range(runs):
        for mon in mons:
            out_of_step()
            put(mon, "many", [measure.many_devices(mon, tmp)])
            put(mon, "cpu", measure.cpu_plugs(mon, tmp, guest_of(mon)))
            put(mon, "off", measure.unplugs_of_off(mon, tmp, guest_of(mon)))

    def row(text, limit, what):
        table.add(text, limit, {m.name: "%.2f ms" % median(seen[m.name, what]) for m in mons})

    table.add("spawn to a machine with 200 root ports and 200 virtio-rng-pci, resident", "60 ms, 12 MB",
              {m.name: "%.0f ms, %.1f MB" % tuple(median(v) for v in zip(*((t, r / 1024) for t, r in seen[m.name, "many"]))) for m in mons})
    row("`device_add` of a CPU, guest halted", "0.3 ms", "cpu")
    row("`device_del` to DEVICE_DELETED, slot controlled by the guest and off", "1 ms", "off")
    hotplug.rows(table, mons, tmp, runs, guest_of)


def disks(table, mons, tmp, runs):
    mons = [m for m in mons if m.name != "QEMU microvm"]  # its disks are not by PCI
    progress("disks, %d alternating runs" % runs)
    blk.counts(table, mons, tmp, guest_of, each)
    try:
        blk.times(table, mons, tmp, guest_of, runs)
    except (monitor.Failed, OSError) as e:
        SKIPPED["disks: %s" % e] = True


# ---- Linux ----

def linux():
    """Kernel, initrd and command line for this host, or the reason why not."""
    guests = os.path.join(os.environ.get("BACKPLANE_TEST_GUESTS", "../shared/guests"), "linux-6.12")
    initrd = os.path.join(guests, "initrd.gz")
    append = COMMAND_LINE
    if not os.path.exists(initrd):
        return None, "no %s" % initrd
    if measure.is_native_kind():
        intel = "GenuineIntel" in open("/proc/cpuinfo").read()
        kernel = os.path.join(guests, "vmlinux-intel" if intel else "vmlinux")
        append += " no-kvmapf no-steal-acc" if intel else ""
    else:
        images = sorted(glob.glob(os.path.join(measure.PEERS, "boot/vmlinuz-*-cloud-amd64")))
        if not images:
            return None, "no kernel: tests/fetch-peers linux-image-cloud-amd64"
        kernel = images[-1]
    return {"kernel": kernel, "initrd": initrd, "append": append}, None


def boot(mon, tmp, kernel):
    """Milliseconds from spawn to the guest's power-off, as the monitor's end says it, and CPU milliseconds."""
    with mon.start(tmp, cpus=2, kernel=kernel) as vm:
        took = vm.gone() - vm.spawned
        usage = os.wait4(vm.pid, 0)[2]
        vm.process.returncode = 0
    return took * 1e3, (usage.ru_utime + usage.ru_stime) * 1e3


def boots(table, tmp, runs):
    kernel, why = linux()
    if not kernel:
        SKIPPED["Linux: " + why] = True
        return
    ours, memfd = monitor.Backplane(), monitor.Backplane()
    memfd.memory, memfd.name = "memory-backend-memfd", "memfd"
    mons = [ours, memfd, monitor.Qemu("microvm,pit=off,pic=off,rtc=on")]
    mons = [m for m in mons if not m.missing()]
    progress("Linux, %d alternating runs" % runs)
    seen = {m.name: [] for m in mons}
    for r in range(runs + 1):
        for mon in mons:
            value = boot(mon, tmp, kernel)
            if r:  # the first brings files into the page cache
                seen[mon.name].append(value)
    base = median([v[0] for v in seen["QEMU microvm"]]) if "QEMU microvm" in seen else None

    def text(name):
        wall, cpu = (median(c) for c in zip(*seen[name]))
        return "%.0f ms" % wall + (" (%.2f x microvm)" % (wall / base) if base else "") + ", CPU %.0f ms" % cpu

    name = "Linux with `run=none`, 2 CPUs, spawn to power-off"
    table.add(name, "0.8 x microvm", {m.name: text(m.name) for m in mons if m is not memfd})
    table.add(name + ", RAM of `memory-backend-memfd`", "", {ours.name: text("memfd")})


# ---- the network ----

def networks(table, mons, tmp, runs):
    if why := net.why_not():
        SKIPPED["network: " + why] = True
        return
    progress("network, %d alternating runs" % runs)
    net.netpeer.Namespace()
    net.rows(table, mons, tmp, runs)
    if measure.valgrind():
        progress("user instructions a packet")
        with net.netpeer.server("0.0.0.0", net.PORT):
            net.count_rows(table, mons, tmp)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15, help="alternating runs of each wall time")
    parser.add_argument("--only", choices=("counts", "times", "plugs", "blk", "linux", "net"))
    args = parser.parse_args()
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        sys.exit("bench: no usable /dev/kvm")
    mons = [monitor.Backplane(), monitor.Qemu("q35"), monitor.Qemu("microvm,pit=off,pic=off,rtc=on")]
    for mon in mons:
        if mon.missing():
            SKIPPED["%s: %s" % (mon.name, mon.missing())] = True
    table = Table([m.name for m in mons])
    mons = [m for m in mons if not m.missing()]
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="bench") as tmp:
        if args.only in (None, "times"):
            times(table, mons, tmp, args.runs)
        if args.only in (None, "plugs"):
            plugs(table, mons, tmp, max(args.runs // 3, 1))
        if args.only in (None, "blk"):
            disks(table, mons, tmp, max(args.runs // 2, 3))
        if args.only in (None, "linux"):
            boots(table, tmp, args.runs)
        if args.only in (None, "counts"):
            counts(table, mons, tmp)
        if args.only in (None, "net"):  # the last: it moves this process into another network namespace
            networks(table, mons, tmp, max(args.runs // 3, 1))
    print("`make bench` on %s; %s; load %.1f when it began; %d runs.\n"
          % (datetime.date.today(), measure.host(), load, args.runs))
    table.print()
    for reason in SKIPPED:
        print("\n- %s" % reason)
    return 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: LGPL-2.1-or-later
"""The bench's figures of disks: what a read costs, counted with guest-disk.c; and what Linux sees, with a guest of each monitor on a
disk of its own with the same content. The two Linux guests run the same program over and over, in turns (A B A B ...): who is not
its turn is stopped, so that each has the machine to itself.
"""

import os
import re
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../system"))
import backplane
import measure
import monitor

PREAD = os.path.join(os.environ.get("top_builddir", "."), "tests/bench/pread")
MODULES = ("virtio", "virtio_ring", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk")
LAST_LINE = re.compile(rb"seq write 1M:[^\n]*\n")
LATENCY = re.compile(r"4k random (read|write) QD1 .* p50 ([\d.]+)")


# ---- page cache reads of 1 MiB ----

def pread_cpu(path, mib=1024):
    return float(subprocess.run([PREAD, path, str(mib)], stdout=subprocess.PIPE, check=True).stdout)


def cpu_seconds(mons, tmp, guest_of, runs):
    """{monitor's name, or "pread": CPU seconds of each run, of 1 GiB}."""
    seen = {}
    for _ in range(runs):
        seen.setdefault("pread", []).append(pread_cpu(measure.disk_file(tmp, 256)))
        for mon in mons:
            seen.setdefault(mon.name, []).append(measure.read_cpu(mon, tmp, guest_of(mon)))
    return seen


# ---- Linux ----

class Guest:
    """Linux with a disk in the page cache, which measures it ROUNDS times; the first only warms up."""

    def __init__(self, mon, tmp, number, rounds, requests):
        folder = os.path.join(tmp, "linux%d" % number)
        os.mkdir(folder)
        self.name = mon.name
        linux = backplane._find_linux()
        initrd, load = backplane.with_modules(linux, folder, *MODULES)
        run = load + ["bench blk /dev/vda %d" % requests] * (rounds + 1)
        kernel = {"kernel": linux.kernel, "initrd": initrd, "append": linux.words + " quiet run=" + ";".join(run).replace(" ", ",")}
        self.at = 0
        # Each has its file: the program writes.
        self.vm = mon.start(folder, mib=512, kernel=kernel, disk=(measure.disk_file(folder, 256), False))
        try:
            if not self.vm.qmp:
                self.vm.connect()
            self._round()
        except BaseException:
            self.close()
            raise

    def _round(self):
        """What the program says until its end; then the guest stops."""
        while not (end := LAST_LINE.search(self.vm.text, self.at)):
            self.vm.more()
        self.vm.qmp.command("stop")
        text, self.at = self.vm.text[self.at:end.end()], end.end()
        return text.decode(errors="replace")

    def round(self):
        """{"read", "write": p50 in microseconds}."""
        self.vm.qmp.command("cont")
        return {what: float(us) for what, us in LATENCY.findall(self._round())}

    def close(self):
        self.vm.__exit__()


def latencies(mons, tmp, rounds, requests=2000):
    """{name: {"read", "write": microseconds of each round}}."""
    linux = backplane._find_linux()
    if isinstance(linux, str):
        raise monitor.Failed(linux)
    guests, seen = [], {m.name: {"read": [], "write": []} for m in mons}
    try:
        for i, mon in enumerate(mons):
            guests.append(Guest(mon, tmp, i, rounds, requests))
        for _ in range(rounds):
            for g in guests:
                for what, us in g.round().items():
                    seen[g.name][what].append(us)
    finally:
        for g in guests:
            g.close()
    return seen


# ---- rows ----

def counts(table, mons, tmp, guest_of, each):
    for depth, limit in ((32, "2.5 k"), (1, "3.0 k")):
        if measure.valgrind():
            table.add("user instructions, a 4 KiB read from the page cache, depth %d" % depth, limit,
                      each(mons, lambda m, d=depth: measure.a_read(m, tmp, guest_of(m), d)))
        table.add("system calls of such a read, depth %d" % depth, "",
                  each(mons, lambda m, d=depth: measure.read_calls(m, tmp, guest_of(m), d)))


def times(table, mons, tmp, guest_of, runs):
    seen = {n: statistics.median(v) for n, v in cpu_seconds(mons, tmp, guest_of, runs).items()}
    bare = seen.pop("pread")
    table.add("CPU seconds per GiB, 1 MiB reads from the page cache (bare pread: %.3f)" % bare, "1.19 x pread",
              {n: "%.3f (%.2f x pread)" % (s, s / bare) for n, s in seen.items()})
    seen = latencies(mons, tmp, runs)
    for what in ("read", "write"):
        p50 = {n: statistics.median(v[what]) for n, v in seen.items()}
        base = p50.get("QEMU q35")
        table.add("Linux, 4 KiB %ss at depth 1, page cache, p50" % what, "QEMU / 1.15",
                  {n: "%.0f us" % us + (" (QEMU / %.2f)" % (base / us) if base else "") for n, us in p50.items()})

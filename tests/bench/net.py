# SPDX-License-Identifier: LGPL-2.1-or-later
"""The bench's network figures: a Linux guest of each monitor, both up at the same time, measured in turns (A B A B ...) through the
same kind of back end, against the same peer (netload.c) in a network namespace of this process's own.

A guest is driven by a shell that it connects to this process; commands and answers are lines over its network, before and after
what is measured. CPU time is that of the monitor's threads, those that run the guest's processors apart: what the guest does with
a packet is in these, what the monitor does is in the others.
"""

import os
import re
import select
import socket
import statistics
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../system"))
import backplane
import measure
import monitor
import netpeer

MODULES = ("virtio", "virtio_ring", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "failover", "net_failover", "virtio_net")
PORT, SHELL = 7000, 7100
GIB = 1 << 30
VCPU = re.compile(r"CPU \d+|vcpu")
MIB_OF = {"tap": 256, "user": 32}
PACKETS_OF = {"tap": 100000, "user": 10000}


def why_not():
    """Why nothing can be measured here; None."""
    if not os.access(netpeer.NETLOAD, os.X_OK):
        return "no %s" % netpeer.NETLOAD
    if not netpeer.may():
        return "no root, or no /dev/net/tun"
    linux = backplane._find_linux()
    return linux if isinstance(linux, str) else None


class Guest:
    """A monitor with Linux and a network card on BACK, "tap" or "user"; the NUMBER-th one."""

    def __init__(self, mon, tmp, back, number, prefix=()):
        self.name, self.back, self.tap = mon.name, back, "bench%d" % number
        self.host, own = ("10.9.%d.1" % number, "10.9.%d.2" % number) if back == "tap" else ("10.0.2.2", "10.0.2.15")
        self.shell = socket.create_server(("0.0.0.0", SHELL + number))
        folder = os.path.join(tmp, "%s-%d" % (back, number))
        os.makedirs(folder, exist_ok=True)
        linux = backplane._find_linux()
        initrd, modules = backplane.with_modules(linux, folder, *MODULES, files=netpeer.netload_files())
        run = [*modules, "ip addr add %s/24 dev eth0" % own, "ip link set eth0 up",
               "nc %s %d|sh 2>&1|nc %s %d" % (self.host, SHELL + number, self.host, SHELL + number)]
        kernel = {"kernel": linux.kernel, "initrd": initrd,
                  "append": linux.words + " run=" + ";".join(run).replace(" ", ",")}
        start = self._start_ours if isinstance(mon, monitor.Backplane) else self._start_qemu
        start(mon, folder, kernel, prefix)
        try:
            self._connect()
        except BaseException:
            self.close()
            raise

    def _start_ours(self, mon, tmp, kernel, prefix):
        self.vm = mon.start(tmp, cpus=2, mib=512, kernel=kernel, run=False, prefix=prefix)
        arguments = {"ifname": self.tap} if self.back == "tap" else {}
        self.vm.qmp.command("netdev_add", type=self.back, id="h", **arguments)
        if self.back == "tap":
            netpeer.configure(self.tap, self.host)
        self.vm.qmp.command("device_add", driver="virtio-net-pci", id="n", netdev="h")
        self.vm.qmp.command("cont")

    def _start_qemu(self, mon, tmp, kernel, prefix):
        if self.back == "tap":
            os.close(netpeer.open_tap(self.tap, persist=True))
            netpeer.configure(self.tap, self.host)
        netdev = "tap,id=h,ifname=%s,script=no,downscript=no,vhost=off" % self.tap if self.back == "tap" else "user,id=h"
        self.vm = mon.start(tmp, cpus=2, mib=512, kernel=kernel, prefix=prefix, words=("-name", "bench,debug-threads=on", "-netdev", netdev, "-device", "virtio-net-pci,netdev=h"))

    def _connect(self):
        self.shell.settimeout(120)
        ends = [self.shell.accept()[0], self.shell.accept()[0]]
        for end in ends:  # one is the shell's input, the other takes what is sent to it for nothing
            end.settimeout(60)
            end.sendall(b"echo\n")
        self.out = select.select(ends, [], [], 60)[0][0]
        self.into = ends[self.out is ends[0]]
        self.lines = b""
        self.run("true")

    def run(self, command):
        """What COMMAND prints in the guest."""
        self.into.sendall(command.encode() + b"; echo END $?\n")
        while not (match := re.search(rb"END (\d+)\n", self.lines)):
            more = self.out.recv(65536)
            if not more:
                raise monitor.Failed("the guest's shell has ended")
            self.lines += more
        text, self.lines = self.lines[:match.start()].decode(), self.lines[match.end():]
        if match.group(1) != b"0":
            raise monitor.Failed("%s: in the guest: %s: %s" % (self.name, command, text))
        return text

    def load(self, words):
        """(amount, seconds) as netload in the guest says."""
        kind, *rest = words.split()
        amount, seconds = self.run("/net/netload %s %s %d %s" % (kind, self.host, PORT, " ".join(rest))).split()[-2:]
        return int(amount), float(seconds)

    def cpu(self):
        """CPU seconds of the threads that run processors, and of all others."""
        vcpus = others = 0
        tasks = "/proc/%d/task" % self.pid()
        for t in os.listdir(tasks):
            spent = int(open("%s/%s/schedstat" % (tasks, t)).read().split()[0]) / 1e9
            if VCPU.search(open("%s/%s/comm" % (tasks, t)).read()):
                vcpus += spent
            else:
                others += spent
        return vcpus, others

    def pid(self):
        return self.vm.pid

    def close(self):
        for s in (self.shell, getattr(self, "out", None), getattr(self, "into", None)):
            if s:
                s.close()
        self.vm.__exit__()


# ---- what is measured ----

def streams(guest, mib, packets):
    """One round of everything that counts CPU time: {what: (amount, seconds, vCPU seconds, other seconds)}."""
    out = {}
    for what, words in (("send", "send %d" % mib), ("recv", "recv %d" % mib), ("usend", "usend %d 64" % packets), ("urecv", "urecv %d 64" % packets)):
        before = guest.cpu()
        amount, seconds = guest.load(words)
        after = guest.cpu()
        out[what] = (amount, seconds, after[0] - before[0], after[1] - before[1])
    return out


def round_trips(guest, n):
    out = {}
    for what in ("udp", "tcp"):
        text = guest.run("bench %s %s %d %d" % (what, guest.host, PORT, n))
        out[what] = float(re.search(r"p50[ =:]*([\d.]+)", text).group(1))
    return out


def in_turns(mons, tmp, back, runs):
    """{(monitor's name, what): [of each run]}: the tuples of streams(), and round trips in microseconds."""
    seen, guests = {}, []
    try:
        for i, mon in enumerate(mons):
            guests.append(Guest(mon, tmp, back, i))
        for _ in range(runs):
            for g in guests:
                for what, value in (*round_trips(g, 1000).items(), *streams(g, MIB_OF[back], PACKETS_OF[back]).items()):
                    seen.setdefault((g.name, what), []).append(value)
    finally:
        for g in guests:
            g.close()
    return seen


def rows(table, mons, tmp, runs):
    """Adds the rows of both back ends. This process is in a namespace of its own."""
    mons = [m for m in mons if m.name != "QEMU microvm"]
    names = {"send": "guest sends", "recv": "guest receives", "usend": "guest sends", "urecv": "guest receives"}
    with netpeer.server("0.0.0.0", PORT):
        for back in ("tap", "user"):
            seen = in_turns(mons, tmp, back, runs)

            def row(name, limit, what, text, of):
                values = {m.name: statistics.median(of(v) for v in seen[m.name, what]) for m in mons}
                best = values.get("backplane")
                table.add("%s: %s" % (back, name), limit, {n: text % v + ("" if n == "backplane" or not best else " (%.2f x ours)" % (v / best))
                                                            for n, v in values.items()})

            for what in ("udp", "tcp"):
                row("%s round trip, p50" % what.upper(), "1.15 x", what, "%.0f us", lambda v: v)
            for what in ("send", "recv"):
                row("TCP, %s" % names[what], "1.15 x", what, "%.0f MB/s", lambda v: v[0] / v[1] / 1e6)
                row("TCP, %s, CPU seconds per GiB" % names[what], "1.5 x", what, "%.3f", lambda v: (v[2] + v[3]) / v[0] * GIB)
                row("the same without the processors' threads", "", what, "%.3f", lambda v: v[3] / v[0] * GIB)
            for what in ("usend", "urecv"):
                row("UDP of 64 bytes, %s, packets a CPU second" % names[what], "1.5 x", what, "%.0f", lambda v: v[0] / (v[2] + v[3]))
                row("the same without the processors' threads", "", what, "%.0f", lambda v: v[0] / max(v[3], 1e-9))


def run_counted(mon, tmp, back, loads):
    """User instructions of a whole run of MON with LOADS in the guest."""
    out = os.path.join(tmp, "cachegrind")
    g = Guest(mon, tmp, back, 0, measure.valgrind() + ["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=" + out])
    try:
        for words in loads:
            g.load(words)
        if not g.vm.qmp:
            g.vm.connect()
        g.vm.quit()
    finally:
        g.close()
    return int(re.search(r"^summary: (\d+)", open(out).read(), re.M).group(1))


def per_packet(mon, tmp, back, n=20000):
    """User instructions a packet that the guest sends, and that it receives: differences of runs."""
    base = run_counted(mon, tmp, back, ())
    return [(run_counted(mon, tmp, back, ["%s %d 64" % (kind, n)]) - base) // n for kind in ("usend", "urecv")]


def both_ways(mon, tmp, n=10000):
    """User instructions of a packet that the guest sends and one that it receives, together, through tap: one difference."""
    loads = ["usend %d 64" % n, "urecv %d 64" % n]
    return (run_counted(mon, tmp, "tap", loads) - run_counted(mon, tmp, "tap", ())) // n


def count_rows(table, mons, tmp):
    mons = [m for m in mons if m.name != "QEMU microvm"]
    for back in ("tap", "user"):
        counts = {m.name: per_packet(m, tmp, back) for m in mons}
        for i, what in enumerate(("guest sends", "guest receives")):
            table.add("%s: user instructions a packet of 64 bytes, %s" % (back, what), "", {n: "{:,}".format(c[i]) for n, c in counts.items()})

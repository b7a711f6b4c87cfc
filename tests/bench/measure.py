# SPDX-License-Identifier: LGPL-2.1-or-later
"""The bench's figures that do not depend on time: instructions, bytes, memory, system calls. Each function takes a monitor
(monitor.py) and a folder for throw-away files.

User instructions come from valgrind's cachegrind: what the process executes outside of the kernel, the same in every run
to within a per mille. Where a figure is for one command or exit, it is the difference of two runs, divided.
"""

import os
import re
import shutil
import subprocess
import time

import monitor

PEERS = os.path.join(os.environ.get("BACKPLANE_PEERS", "build/peers"), "root")
RUBBISH = b"x" * (1 << 20) + b"\n"


def valgrind():
    """The words that run valgrind, installed or unpacked by tests/fetch-peers; None."""
    unpacked = os.path.join(PEERS, "usr/bin/valgrind")
    if os.access(unpacked, os.X_OK):
        return ["env", "VALGRIND_LIB=" + os.path.join(PEERS, "usr/libexec/valgrind"), unpacked]
    return ["valgrind"] if shutil.which("valgrind") else None


class Counted:
    """A monitor under cachegrind; .total is there after the block."""

    def __init__(self, mon, tmp, **start):
        self.out = os.path.join(tmp, "cachegrind")
        prefix = valgrind() + ["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=" + self.out]
        self.vm = mon.start(tmp, prefix=prefix, **start)

    def __enter__(self):
        return self.vm.__enter__()

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.vm.quit()
                self.total = int(re.search(r"^summary: (\d+)", open(self.out).read(), re.M).group(1))
        finally:
            self.vm.__exit__()


def start_to_quit(mon, tmp):
    with (run := Counted(mon, tmp, run=False)):
        pass
    return run.total


def a_command(mon, tmp, name, n):
    """User instructions of one command of this name."""
    request = b'{"execute":"%s"}\n' % name.encode()
    totals = []
    for count in (1, 1 + n):
        with (run := Counted(mon, tmp, run=False)) as vm:
            for _ in range(count):
                vm.qmp.raw(request)
        totals.append(run.total)
    return (totals[1] - totals[0]) // n


def an_exit(mon, tmp, guest, kind, n=10000):
    """User instructions of one exit of this kind (monitor.KINDS)."""
    totals = []
    turns = n // 2 if kind == "PCI config" else n
    for count in (turns // 10, turns // 10 + turns):
        image = monitor.patch_guest(guest, os.path.join(tmp, "guest"), monitor.KINDS[kind], count)
        with (run := Counted(mon, tmp, guest=image)) as vm:
            vm.until(b"!")
            if not vm.qmp:
                vm.connect()
        totals.append(run.total)
    return (totals[1] - totals[0]) // n


def disk_file(tmp, mib=64):
    """A file of MIB MiB that is in the page cache."""
    path = os.path.join(tmp, "disk-%d" % mib)
    if not os.path.exists(path):
        piece = os.urandom(1 << 20)
        with open(path, "wb") as f:
            for _ in range(mib):
                f.write(piece)
    return path


def a_read(mon, tmp, guest, depth, size=4096, n=4000):
    """User instructions of one read of SIZE bytes from the page cache, DEPTH at a time."""
    totals = []
    for count in (depth, depth + n):
        image = monitor.patch_guest(guest, os.path.join(tmp, "guest"), monitor.DISK_READS, count, depth, size)
        with (run := Counted(mon, tmp, guest=image, disk=(disk_file(tmp), False))) as vm:
            vm.until(b"!")
            if not vm.qmp:
                vm.connect()
        totals.append(run.total)
    return (totals[1] - totals[0]) // n


def read_calls(mon, tmp, guest, depth, n=2000):
    """System calls of one 4 KiB read from the page cache, DEPTH at a time, by all threads; None where there is no strace."""
    if not shutil.which("strace"):
        return None
    out, totals = os.path.join(tmp, "strace"), []
    for count in (depth, depth + n):
        image = monitor.patch_guest(guest, os.path.join(tmp, "guest"), monitor.DISK_READS, count, depth)
        with mon.start(tmp, guest=image, disk=(disk_file(tmp), False), prefix=["strace", "-f", "-c", "-o", out]) as vm:
            vm.until(b"!")
            if not vm.qmp:
                vm.connect()
            vm.quit()
        totals.append(int(re.search(r"^100.00\s.*total$", open(out).read(), re.M).group(0).split()[3]))
    return round((totals[1] - totals[0]) / n, 2)


def read_cpu(mon, tmp, guest, mib=1024, depth=8):
    """CPU seconds, but for the guest's processors, of MIB reads of 1 MiB from the page cache."""
    image = monitor.patch_guest(guest, os.path.join(tmp, "guest"), monitor.DISK_READS, mib, depth, 1 << 20)
    with mon.start(tmp, guest=image, disk=(disk_file(tmp, 256), False)) as vm:
        vm.first_byte()
        began = vm.cpu_but_vcpus()
        vm.until(b"!")
        took = vm.cpu_but_vcpus() - began
        if not vm.qmp:
            vm.connect()
        vm.quit()
    return took * 1024 / mib


def a_plug(mon, tmp, n_ports, n=20, remove=False):
    """User instructions of device_add virtio-rng-pci into one of N_PORTS root ports; with REMOVE those of device_del too."""
    totals = []
    for count in (2, 2 + n):
        with (run := Counted(mon, tmp, run=False, devices=monitor.ports(n_ports))) as vm:
            for device in monitor.rngs(count):
                vm.qmp.command("device_add", **device)
                if remove:
                    vm.qmp.command("device_del", id=device["id"])
                    vm.qmp.event("DEVICE_DELETED")
        totals.append(run.total)
    return (totals[1] - totals[0]) // n


def many_devices(mon, tmp, n=200):
    """(milliseconds, resident KiB) of a machine with N root ports and a virtio-rng-pci in each: from the monitor's start until it answers."""
    with mon.start(tmp, run=False, devices=monitor.ports(n) + monitor.rngs(n)) as vm:
        vm.qmp.command("query-status")
        took = monitor.now() - vm.spawned
        resident = vm.memory()[0]
        vm.quit()
    return took * 1e3, resident


def cpu_plugs(mon, tmp, guest, n=16):
    """Milliseconds of each of N device_adds of a CPU, the guest halted."""
    image = monitor.patch_guest(guest, os.path.join(tmp, "guest"), 0, 0)
    times = []
    with mon.start(tmp, guest=image, max_cpus=n + 1) as vm:
        vm.until(b"!")
        if not vm.qmp:
            vm.connect()
        free = [s for s in vm.qmp.command("query-hotpluggable-cpus") if "qom-path" not in s]
        for i, slot in enumerate(sorted(free, key=lambda s: sorted(s["props"].items()))):
            began = monitor.now()
            vm.qmp.command("device_add", driver=slot["type"], id="more%d" % i, **slot["props"])
            times.append((monitor.now() - began) * 1e3)
        vm.quit()
    return times


def unplugs_of_off(mon, tmp, guest, n=8):
    """Milliseconds from device_del to DEVICE_DELETED of each of N devices in slots of their own, which the guest has never switched on."""
    image = monitor.patch_guest(guest, os.path.join(tmp, "guest"), 0, 0)
    slots = [dict(p, **mon.native) for p in monitor.ports(n)]
    times = []
    with mon.start(tmp, guest=image, devices=slots, words=mon.native_words) as vm:
        vm.until(b"!")
        if not vm.qmp:
            vm.connect()
        for device in monitor.rngs(n):
            vm.qmp.command("device_add", **device)
        for device in monitor.rngs(n):
            began = monitor.now()
            vm.qmp.command("device_del", id=device["id"])
            vm.qmp.event("DEVICE_DELETED")
            times.append((monitor.now() - began) * 1e3)
        vm.quit()
    return times


def rubbish(mon, tmp):
    """Bytes of the answer to a line of 1 MiB, and milliseconds until it is there."""
    with mon.start(tmp, run=False) as vm:
        began = monitor.now()
        line = vm.qmp.raw(RUBBISH)
        took = monitor.now() - began
        assert b'"error"' in line, line[:200]
        vm.qmp.command("query-status")
        vm.quit()
    return len(line), took * 1e3


def at_rest(mon, tmp, guest, seconds=2.0):
    """(resident KiB, anonymous KiB, CPU nanoseconds, context switches) of a machine of 256 MiB whose guest has halted."""
    image = monitor.patch_guest(guest, os.path.join(tmp, "guest"), 0, 0)

    def switches(pid):
        tasks = "/proc/%d/task" % pid
        return sum(int(n) for t in os.listdir(tasks)
                   for n in re.findall(r"ctxt_switches:\s+(\d+)", open("%s/%s/status" % (tasks, t)).read()))

    with mon.start(tmp, guest=image) as vm:
        vm.until(b"!")
        if not vm.qmp:
            vm.connect()
        time.sleep(0.5)  # what follows the start: the end of I/O, a thread that goes to sleep
        resident, anonymous = vm.memory()
        cpu, n = vm.cpu_seconds(), switches(vm.pid)
        time.sleep(seconds)
        cpu, n = vm.cpu_seconds() - cpu, switches(vm.pid) - n
        vm.quit()
    return resident, anonymous, round(cpu * 1e9), n


def system_calls(mon, tmp):
    """System calls from start to quit; None where there is no strace."""
    if not shutil.which("strace"):
        return None
    out = os.path.join(tmp, "strace")
    with mon.start(tmp, run=False, prefix=["strace", "-f", "-c", "-o", out]) as vm:
        vm.quit()
    total = re.search(r"^100.00\s.*total$", open(out).read(), re.M).group(0)
    return int(total.split()[3])  # % of time, seconds, us a call, calls


def allocations(mon, tmp):
    """Calls of the allocator from start to quit, by memcheck; None where memcheck does not run."""
    log = os.path.join(tmp, "memcheck")
    prefix = valgrind() + ["--tool=memcheck", "--undef-value-errors=no", "--log-file=" + log]
    try:
        with mon.start(tmp, run=False, prefix=prefix) as vm:
            vm.quit()
    except monitor.Failed:
        return None
    found = re.search(r"total heap usage: ([\d,]+) allocs", open(log).read())
    return int(found.group(1).replace(",", "")) if found else None


def host():
    """What kind of host this is, in a few words."""
    processor = re.search(r"^vendor_id\s*:\s*(\S+)", open("/proc/cpuinfo").read(), re.M).group(1)
    kernel = os.uname().release
    modules = open("/proc/modules").read() if os.path.exists("/proc/modules") else ""
    kind = next((m for m in ("kvm_pvm", "kvm_amd", "kvm_intel") if m in modules), "KVM")
    return "%s, %d CPUs, Linux %s, %s" % (processor, os.cpu_count(), kernel, kind)


def is_native_kind():
    """Whether this host is of the kind that shared/guests/linux-6.12 is made for; its own tool says so, built by make."""
    tool = os.path.join(os.environ.get("top_builddir", "."), "tests/bench/host-kind")
    return subprocess.run([tool], check=False).returncode == 0

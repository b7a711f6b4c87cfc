# SPDX-License-Identifier: LGPL-2.1-or-later
"""The bench's figures of hot plugging: CPUs, devices of each kind, and a guest that lets go. Each function takes a monitor (monitor.py)
and a folder for throw-away files; times are lists of milliseconds."""

import json
import os
import re
import select
import shutil
import statistics

import measure
import monitor
from monitor import now

PORT = 0x80001000  # configuration address of 00:02.0, the first of monitor.ports()
TAP = "bpbench0"
KINDS = {  # of devices: what is made once before, and the arguments of device_add
    "virtio-rng-pci": ([], {}),
    "virtio-blk-pci": ([("blockdev-add", {"driver": "null-co", "node-name": "n0", "size": 1 << 30})], {"drive": "n0"}),
    "virtio-net-pci": ([("netdev_add", {"type": "tap", "id": "t0", "ifname": TAP})], {"netdev": "t0"}),
    "virtio-serial-pci": ([], {}),
    "virtio-balloon-pci": ([], {}),
}


def native_port(mon):
    return [dict(p, **mon.native) for p in monitor.ports(1)]


def halted(mon, tmp, guest, **start):
    image = monitor.patch_guest(guest, os.path.join(tmp, "guest"), 0, 0)
    return mon.start(tmp, guest=image, **start)


def ready(vm):
    vm.until(b"!")
    if not vm.qmp:
        vm.connect()


# ---- CPUs ----

def free_slots(vm):
    free = [s for s in vm.qmp.command("query-hotpluggable-cpus") if "qom-path" not in s]
    return sorted(free, key=lambda s: sorted(s["props"].items()))


def plug_cpu(vm, i, slot):
    vm.qmp.command("device_add", driver=slot["type"], id="more%d" % i, **slot["props"])


def first_cpu(mon, tmp, guest):
    """Of the first CPU that comes to a machine."""
    with halted(mon, tmp, guest, max_cpus=8) as vm:
        ready(vm)
        slot = free_slots(vm)[0]
        began = now()
        plug_cpu(vm, 0, slot)
        took = now() - began
        vm.quit()
    return [took * 1e3]


def cpu_instructions(mon, tmp, guest, n=8, remove=False):
    """User instructions of device_add of a CPU to a running machine, all threads; with REMOVE those of its device_del by force too."""
    totals = []
    for count in (2, 2 + n):
        image = monitor.patch_guest(guest, os.path.join(tmp, "guest"), 0, 0)
        with (run := measure.Counted(mon, tmp, guest=image, max_cpus=n + 4)) as vm:
            ready(vm)
            for i, slot in enumerate(free_slots(vm)[:count]):
                plug_cpu(vm, i, slot)
                if remove:
                    vm.qmp.command("device_del", id="more%d" % i, force=True)
                    vm.qmp.event("DEVICE_DELETED")
        totals.append(run.total)
    return (totals[1] - totals[0]) // n


def cpu_system_calls(mon, tmp, guest):
    """System calls from the command's arrival to its reply, of the second CPU that comes to a machine; None where there is no strace."""
    if not shutil.which("strace"):
        return None
    out = os.path.join(tmp, "strace")
    with halted(mon, tmp, guest, max_cpus=8, prefix=["strace", "-f", "-o", out]) as vm:
        ready(vm)
        for i, slot in enumerate(free_slots(vm)[:2]):
            plug_cpu(vm, i, slot)
            for _ in range(3):
                vm.qmp.command("query-status")  # what the daemon does for itself after the reply is done
        pid = vm.qmp.command("query-cpus-fast") and daemon_pid(out)
        vm.quit()
    calls = [line.split(None, 1)[1] for line in open(out) if line.startswith(pid + " ")]
    begins = [i for i, call in enumerate(calls) if "recvmsg" in call and "device_add" in call and "resumed" not in call or
              "recvmsg resumed" in call and "device_add" in call]
    rest = calls[begins[-1] + 1:]
    return sum("resumed>" not in call for call in rest[:next(i for i, call in enumerate(rest) if call.startswith("sendmsg("))])


def daemon_pid(trace):
    """The main thread: the one that serves QMP."""
    return re.search(r"^(\d+) +(?:recvmsg\(|<\.\.\. recvmsg resumed).*qmp_capabilities", open(trace).read(), re.M).group(1)


# ---- devices of each kind ----

def prepare(vm, mon, kind):
    for name, arguments in KINDS[kind][0]:
        vm.qmp.command(name, **dict(arguments, **(mon.tap if name == "netdev_add" else {})))


def unplug(vm, id):
    """Seconds from device_del to DEVICE_DELETED. (QEMU has an event for a device's inner part too.)"""
    replied = over = None
    began = now()
    vm.qmp.sock.sendall(b'{"execute":"device_del","arguments":{"id":"%s"}}\n' % id.encode())
    while not replied or not over:
        message = json.loads(vm.qmp.line())
        if "error" in message:
            raise monitor.Failed("device_del: %s" % message["error"]["desc"])
        replied = replied or "return" in message
        if message.get("event") == "DEVICE_DELETED" and message["data"].get("device") == id:
            over = now()
    return over - began


def plug_and_unplug(vm, kind):
    """Seconds of device_add, and from device_del to DEVICE_DELETED."""
    began = now()
    vm.qmp.command("device_add", driver=kind, id="d0", bus="p0", **KINDS[kind][1])
    return now() - began, unplug(vm, "d0")


def plugs_of(mon, tmp, guest, kind, n=8):
    """(device_add, device_del to DEVICE_DELETED): the guest is halted, and has not switched the slot on."""
    with halted(mon, tmp, guest, devices=native_port(mon), words=mon.native_words) as vm:
        ready(vm)
        prepare(vm, mon, kind)
        both = [plug_and_unplug(vm, kind) for _ in range(n)]
        vm.quit()
    return [[seconds * 1e3 for seconds in column] for column in zip(*both)]


def instructions_of(mon, tmp, kind, n=8):
    """User instructions of device_add and device_del of a device of this kind, before the start."""
    totals = []
    for count in (2, 2 + n):
        with (run := measure.Counted(mon, tmp, run=False, devices=monitor.ports(1))) as vm:
            prepare(vm, mon, kind)
            for _ in range(count):
                plug_and_unplug(vm, kind)
        totals.append(run.total)
    return (totals[1] - totals[0]) // n


# ---- a guest that lets go ----

def let_go(vm, id):
    """Asks for device ID. Seconds from the guest's '-', which it writes just before it switches the slot off, to DEVICE_DELETED."""
    said = over = None
    vm.text = b""
    vm.qmp.sock.sendall(b'{"execute":"device_del","arguments":{"id":"%s"}}\n' % id.encode())
    while said is None or over is None:
        readable = select.select([vm.serial, vm.qmp.sock], [], [], 30)[0]
        at = now()
        if not readable:
            raise monitor.Failed("the guest said %r; no DEVICE_DELETED" % vm.text)
        if vm.serial in readable:
            vm.text += os.read(vm.serial, 65536)
            said = said or (at if b"-" in vm.text else None)
        if vm.qmp.sock in readable:
            vm.qmp.buf += vm.qmp.sock.recv(1 << 20)
        while b"\n" in vm.qmp.buf:
            message = json.loads(vm.qmp.line())
            if message.get("event") == "DEVICE_DELETED" and message["data"].get("device") == id:
                over = at
    return over - said


def acknowledged(mon, tmp, guest, n=8):
    """What an unplug takes beyond the guest's own time, in a native slot."""
    image = monitor.patch_guest(guest, os.path.join(tmp, "guest"), monitor.SLOT, PORT)
    times = []
    with mon.start(tmp, guest=image, devices=native_port(mon), words=mon.native_words) as vm:
        ready(vm)
        for i in range(n):
            vm.text = b""
            vm.qmp.command("device_add", driver="virtio-rng-pci", id="d%d" % i, bus="p0")
            vm.until(b"+")
            times.append(let_go(vm, "d%d" % i) * 1e3)
        vm.quit()
    return times


# ---- the table ----

def have_tap():
    return os.geteuid() == 0 and os.access("/dev/net/tun", os.R_OK | os.W_OK)


def kinds():
    return [k for k in KINDS if k != "virtio-net-pci" or have_tap()]


def rows(table, mons, tmp, runs, guest_of):
    """Medians of RUNS that alternate between the monitors."""
    seen = {}

    def put(mon, what, values):
        seen.setdefault((what, mon.name), []).extend(values)

    for _ in range(runs):
        for mon in mons:
            put(mon, "first", first_cpu(mon, tmp, guest_of(mon)))
            put(mon, "let go", acknowledged(mon, tmp, guest_of(mon)))
            for kind in kinds():
                added, removed = plugs_of(mon, tmp, guest_of(mon), kind)
                put(mon, "add " + kind, added)
                put(mon, "del " + kind, removed)

    def median(what, mon):
        return statistics.median(seen[what, mon.name])

    table.add("`device_add` of the first CPU that comes", "0.3 ms", {m.name: "%.2f ms" % median("first", m) for m in mons})
    table.add("a guest switches a native slot off, to DEVICE_DELETED", "1 ms", {m.name: "%.2f ms" % median("let go", m) for m in mons})
    for kind in kinds():
        table.add("`device_add` %s / `device_del` to DEVICE_DELETED, slot off" % kind, "1 ms",
                  {m.name: "%.2f / %.2f ms" % (median("add " + kind, m), median("del " + kind, m)) for m in mons})


# ---- the limits ----

def limits(mon, tmp, guest, at_most):
    """What can be counted, told to AT_MOST(text, value, limit)."""
    calls = cpu_system_calls(mon, tmp, guest)
    if calls is not None:
        at_most("system calls from device_add of a CPU to its reply", calls, 20)
    if not measure.valgrind():
        return
    at_most("user instructions, device_add of a CPU", cpu_instructions(mon, tmp, guest), 150_000)
    at_most("user instructions, device_add of a CPU and its device_del by force", cpu_instructions(mon, tmp, guest, remove=True), 200_000)
    for kind in sorted(set(kinds()) & {"virtio-blk-pci", "virtio-net-pci"}):
        at_most("user instructions, device_add and device_del, " + kind, instructions_of(mon, tmp, kind), 300_000)

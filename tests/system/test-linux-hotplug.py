#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""CPUs and memory come and go in a running Linux, which is told by ACPI, agrees or refuses, and has nothing to complain about."""

from backplane import *
from linuxguest import guest_until

LONG = bool(os.environ.get("TEST_LONG"))
ROUNDS = int(os.environ.get("TEST_ROUNDS", 200))  # of the long form
CPU = "/sys/devices/system/cpu"


def boot(c, cpus=1, max_cpus=4, words="", memory=512 * MIB, **build):
    linux = linux_guest(c)
    m = Machine(c)
    m.build(cpus=cpus, max_cpus=max_cpus, memory=memory, kernel=linux.kernel, initrd=linux.initrd, serial="console",
            append="%s run=shell %s" % (linux.words, words), **build)
    m.cont()
    m.console.start_shell()
    m.console.run("dmesg -n 1")  # what the kernel says stays in its log
    return m


def online(m):
    return m.console.run("cat %s/online" % CPU).strip()


def add_cpu(m, n):
    m.cpu("cpu%d" % n, core_id=n)
    guest_until(m, "[ -e %s/cpu%d/online ]" % (CPU, n), "CPU %d in the guest" % n)
    m.console.run("echo 1 > %s/cpu%d/online" % (CPU, n))


def ended(m, seen, name, kind):
    """How the request for NAME ended: one event, and no other."""
    event = m.wait(kind, 30, device=name)
    ends = [e["event"] for e in m.qmp.events[seen:] if e["event"] in ("DEVICE_DELETED", "DEVICE_UNPLUG_GUEST_ERROR") and e["data"]["device"] == name]
    m.c.equal(ends, [kind], "the ends of the request for " + name)
    return event


def remove(m, name, kind="DEVICE_DELETED", **how):
    seen = len(m.qmp.events)
    m("device_del", id=name, **how)
    return ended(m, seen, name, kind)


@case("CPUs are added, onlined, used, offlined and taken away, twice over; CPU 0 is not given away")
def _(c):
    with boot(c) as m:
        fds = None
        for turn in range(2):
            for n in (1, 2, 3):
                add_cpu(m, n)
            c.equal(online(m), "0-3", "CPUs online")
            c.equal(m.console.run("for i in 0 1 2 3; do taskset -p $((1 << i)) $$ > /dev/null; awk '{print $39}' /proc/self/stat; done").split(),
                    ["0", "1", "2", "3"], "where programs ran")
            m.console.run("taskset -p f $$ > /dev/null")
            m.console.run("echo 0 > %s/cpu2/online" % CPU)  # by itself, before it is asked
            for n in (3, 1, 2):
                remove(m, "cpu%d" % n)
                guest_until(m, "[ ! -e %s/cpu%d ]" % (CPU, n), "CPU %d is no longer in the guest" % n)
            c.equal(online(m), "0", "CPUs online after they are gone")
            c.equal(m("query-unplug-jobs"), {"jobs": []}, "requests")
            fds = fds or m.fds()
        c.equal(m.fds(), fds, "descriptors of the daemon")
        c.equal(complaints(m.console.run("dmesg -r")), [], "complaints of the kernel")
        add_cpu(m, 1)
        event = remove(m, "cpu0", "DEVICE_UNPLUG_GUEST_ERROR")
        c.true("refused" in event["data"]["reason"], "the reason of CPU 0", event)
        c.equal(len(m("query-cpus-fast")), 2, "CPUs")
        m.quit()


MEMORY = "/sys/devices/system/memory"


def guest_kib(m):
    return int(m.console.run("grep MemTotal /proc/meminfo").split()[1])


def add_memory(m, name, size, **props):
    """A DIMM by that name; the guest takes it by itself."""
    m("object-add", qom_type="memory-backend-memfd", id="of-" + name, size=size)
    before = guest_kib(m)
    m("device_add", driver="pc-dimm", id=name, memdev="of-" + name, **props)
    guest_until(m, "[ $(awk '/MemTotal/ {print $2}' /proc/meminfo) -ge %d ]" % (before + size // 1024 * 9 // 10), "memory in the guest")


def dimms(m):
    return {d["data"]["id"]: (d["data"]["addr"], d["data"]["size"], d["data"]["slot"], d["data"]["hotplugged"]) for d in m("query-memory-devices")}


def device_memory(m):
    """What /proc/iomem has above 4 GiB as (start, size)."""
    lines = (re.match(r" *([0-9a-f]+)-([0-9a-f]+) : (.*)", l) for l in m.console.run("cat /proc/iomem").splitlines())
    return [(int(l.group(1), 16), int(l.group(2), 16) + 1 - int(l.group(1), 16)) for l in lines if l and l.group(3).startswith("System RAM")
            and int(l.group(1), 16) >= 4 * GIB]


@case("memory is added, used, taken away and added again; after a reset it is there from the start; base RAM stays")
def _(c):
    with boot(c, cpus=2, memory=256 * MIB, words="memhp_default_state=online_movable") as m:
        small = guest_kib(m)
        for turn in range(2):
            add_memory(m, "one", 256 * MIB)
            add_memory(m, "two", GIB)
            at = 4 * GIB
            c.equal(dimms(m), {"dimm0": (0, 256 * MIB, 0, False), "one": (at, 256 * MIB, 1, True), "two": (at + GIB, GIB, 2, True)}, "DIMMs")
            c.equal(device_memory(m), [(at, 256 * MIB), (at + GIB, GIB)], "memory in /proc/iomem")
            c.equal(m("query-memory-size-summary"), {"base-memory": 256 * MIB, "plugged-memory": GIB + 256 * MIB}, "the summary")
            if turn == 0:  # more than there was at first
                c.equal(m.console.run("mkdir /big; mount -t tmpfs -o size=900m x /big; dd if=/dev/zero of=/big/x bs=1M count=300 2>/dev/null; "
                                      "wc -c < /big/x; umount /big").strip(), str(300 * MIB), "bytes in a file in memory")
            m.refused("object-del", "one", id="of-one")
            for name in ("two", "one"):
                remove(m, name, timeout=60000)
                m("object-del", id="of-" + name)
            guest_until(m, "[ $(awk '/MemTotal/ {print $2}' /proc/meminfo) -le %d ]" % (small + 1024), "the guest has what it had")
            c.equal(device_memory(m), [], "memory in /proc/iomem")
        m.refused("device_del", "base RAM", id="dimm0")
        m.refused("device_del", "base RAM", id="dimm0", force=True)
        add_memory(m, "three", 512 * MIB, slot=7)
        c.equal(complaints(m.console.run("dmesg -r")), [], "complaints of the kernel")
        m("system_reset")
        m.console.start_shell()
        at = 4 * GIB + 512 * MIB  # what "one" and "two" had is kept for them
        c.equal(device_memory(m), [(at, 512 * MIB)], "memory in /proc/iomem after a reset")
        c.equal(complaints(m.console.run("dmesg -r")), [], "complaints of the kernel after a reset")
        remove(m, "three", timeout=60000)
        m.quit()


if LONG:
    @case("%d rounds of both together, under load" % ROUNDS)
    def _(c):
        with boot(c, cpus=2, max_cpus=5, words="memhp_default_state=online_movable") as m:
            # Something to do for all CPUs that there are, and for memory wherever it is.
            m.console.run("mkdir /big; mount -t tmpfs x /big; for i in 0 1 2; do (while :; do dd if=/dev/urandom of=/big/$i bs=64k count=200 2> /dev/null; "
                          "md5sum /big/$i > /dev/null; done) & done")
            small, fds = guest_kib(m), None
            for turn in range(ROUNDS):
                cpus = [2, 3, 4] if turn % 2 else [4, 2, 3]
                for n in cpus:
                    add_cpu(m, n)
                add_memory(m, "one", 128 * MIB)
                c.equal(online(m), "0-4", "CPUs online")
                if turn % 3 == 0:
                    m.console.run("echo 0 > %s/cpu%d/online" % (CPU, cpus[0]))
                for n in cpus[turn % 3:] + cpus[:turn % 3]:
                    remove(m, "cpu%d" % n)
                remove(m, "one", timeout=60000)
                m("object-del", id="of-one")
                guest_until(m, "[ $(awk '/MemTotal/ {print $2}' /proc/meminfo) -le %d ]" % (small + 1024), "the guest has what it had")
                c.equal(online(m), "0-1", "CPUs online after they are gone")
                fds = fds or m.fds()
                c.equal((turn, m.fds()), (turn, fds), "descriptors of the daemon")
            c.equal(m("query-unplug-jobs"), {"jobs": []}, "requests")
            c.equal(complaints(m.console.run("dmesg -r")), [], "complaints of the kernel")
            m.quit()


main()

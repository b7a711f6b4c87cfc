#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""CPUs and memory come and go in a running Linux, which is told by ACPI, agrees or refuses, and has nothing to complain about."""

from backplane import *

CPU = "/sys/devices/system/cpu"


def boot(c, cpus=1, max_cpus=4, words="", **build):
    linux = linux_guest(c)
    m = Machine(c)
    m.build(cpus=cpus, max_cpus=max_cpus, memory=512 * MIB, kernel=linux.kernel, initrd=linux.initrd, serial="console",
            append="%s run=shell %s" % (linux.words, words), **build)
    m.cont()
    m.console.start_shell()
    m.console.run("dmesg -n 1")  # what the kernel says stays in its log
    return m


def guest_until(m, condition, what, timeout=20):
    """Waits in the guest's shell for CONDITION; fails with WHAT."""
    steps = int(timeout * PATIENCE * 20)
    answer = m.console.run("n=0; until %s; do n=$((n+1)); [ $n -ge %d ] && break; usleep 50000; done; [ $n -lt %d ] && echo came"
                           % (condition, steps, steps), timeout * PATIENCE + 20)
    m.c.equal(answer.strip(), "came", what)


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


@case("CPUs are added, onlined, used, offlined and taken away, three times over; CPU 0 is not given away")
def _(c):
    with boot(c) as m:
        fds = None
        for turn in range(3):
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


main()

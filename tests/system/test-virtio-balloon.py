#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The memory balloon under Linux: what the guest gives back is gone from its free memory and from the daemon's resident memory, and
comes back; its statistics; free pages that it reports by itself."""

from backplane import *
from linuxguest import boot_linux, VIRTIO_PCI

MODULES = (*VIRTIO_PCI, "virtio_balloon")
SIZE = 512 * MIB
BALLOON = "/machine/peripheral/balloon0"


def boot(m, linux, **balloon):
    boot_linux(m, linux, MODULES, lambda: m("device_add", driver="virtio-balloon-pci", id="balloon0", **balloon), cpus=1, memory=SIZE)


def meminfo(m, name):
    """Bytes of that line of the guest's /proc/meminfo."""
    return int(re.search(name + r":\s+(\d+) kB", m.console.run("cat /proc/meminfo")).group(1)) * 1024


def resident(m):
    with open("/proc/%d/status" % m.process.pid) as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1)) * 1024


def balloon_to(m, size):
    m("balloon", value=size)
    deadline = time.monotonic() + 30 * PATIENCE
    while m("query-balloon")["actual"] != min(size, SIZE) and time.monotonic() < deadline:
        m.console.run("sleep 0.3")
    return m("query-balloon")["actual"]


def touch_memory(m, mib):
    """The guest has had that much in use: the host has it resident."""
    m.console.run("mkdir -p /t && mount -t tmpfs -o size=90% none /t && dd if=/dev/zero of=/t/x bs=1M count={} 2>/dev/null; rm /t/x; umount /t".format(mib), 60)


@case("virtio-balloon: memory goes and comes, in the guest and on the host; statistics")
def _(c):
    linux = linux_guest(c)
    with Machine(c) as m:
        boot(m, linux, guest_stats_polling_interval=1)
        c.equal(m("query-balloon")["actual"], SIZE, "actual before")
        touch_memory(m, 300)
        free, total, rss = meminfo(m, "MemFree"), meminfo(m, "MemTotal"), resident(m)
        c.true(rss > 300 * MIB, "resident memory of a guest that has used it", rss)
        c.equal(balloon_to(m, 384 * MIB), 384 * MIB, "actual with the balloon")
        event = m.wait("BALLOON_CHANGE")
        c.true(384 * MIB <= event["data"]["actual"] < SIZE, "BALLOON_CHANGE", event)
        low = meminfo(m, "MemFree")
        c.equal(total - meminfo(m, "MemTotal"), 128 * MIB, "memory that the guest has lost")
        c.true(free - low > 112 * MIB, "free memory that the guest has lost", free - low)
        c.true(rss - resident(m) > 64 * MIB, "resident memory that the host has won", rss - resident(m))
        c.equal(balloon_to(m, 2 * GIB), SIZE, "actual after")
        m.console.run("sleep 1.5")
        c.equal(meminfo(m, "MemTotal"), total, "all of the guest's memory again")
        c.true(meminfo(m, "MemFree") - low > 64 * MIB, "free memory that is back, but for lists of the CPU's own", meminfo(m, "MemFree") - low)
        stats = m("qom-get", path=BALLOON, property="guest-stats")
        c.true(abs(stats["last-update"] - time.time()) < 10, "time of the statistics", stats)
        c.true(abs(stats["stats"]["stat-total-memory"] - meminfo(m, "MemTotal")) < MIB, "total memory in the statistics", stats)
        c.true(0 < stats["stats"]["stat-free-memory"] <= SIZE, "free memory in the statistics", stats)
        m("qom-set", path=BALLOON, property="guest-stats-polling-interval", value=0)
        c.true("guest-stats" in [p["name"] for p in m("qom-list", path=BALLOON)], "guest-stats is listed")
        m.refused("balloon", "a size is wanted", value=0)
        log = m.console.run("dmesg -r")
        c.true(not re.search(r"(?i)balloon.*(fail|error|warn|out of puff)", log), "complaints", log)


@case("virtio-balloon: free pages that the guest reports leave the host's memory")
def _(c):
    linux = linux_guest(c)
    with Machine(c) as m:
        boot(m, linux, free_page_reporting=True, page_poison=False)
        touch_memory(m, 300)
        m.console.run("echo 3 > /proc/sys/vm/drop_caches; sleep 5", 30)
        if "1" != m.console.run("cut -c 6 /sys/bus/virtio/devices/virtio0/features").strip():
            c.skip("this kernel reports no free pages")
        c.true(resident(m) < 250 * MIB, "resident memory", resident(m))


main()

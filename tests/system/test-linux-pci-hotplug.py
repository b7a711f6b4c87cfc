#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Disks, network cards and sources of random numbers come and go in a running Linux, on pcie.0 and behind root ports: by ACPI, and by
the native slots of PCI Express, which take the driver six seconds from the button to the end.

A few rounds in `make check`, two hundred in `make check-long`.
"""

import ctypes
import fcntl
import struct

from backplane import *
from linuxguest import boot_linux, come_up, guest_until, VIRTIO_PCI

LONG = bool(os.environ.get("TEST_LONG"))
ROUNDS = int(os.environ.get("TEST_ROUNDS", 200))  # of the long form
MODULES = (*VIRTIO_PCI, "virtio_blk", "rng-core", "virtio-rng", "failover", "net_failover", "virtio_net")
PORTS = {"rp0": {}, "rp1": {}, "native0": {"native-hotplug": True}, "native1": {"native-hotplug": True}, "native2": {"native-hotplug": True},
         "rp2": {}}
CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK = 0x8914, 0x8916, 0x891c
# This process and its daemons are in a network namespace of their own, for the interfaces of the cards.
HAVE_NETWORK = os.geteuid() == 0 and os.path.exists("/dev/net/tun") and ctypes.CDLL(None).unshare(CLONE_NEWNET) == 0


class Disk:
    driver = "virtio-blk-pci"

    def __init__(self, m, name):
        self.marker = b"this is " + name.encode()
        with open(m.path(name), "wb") as f:
            f.write(self.marker.ljust(1 << 20, b"\0"))
        if not any(n["node-name"] == name for n in m("query-named-block-nodes")):
            m("blockdev-add", driver="file", filename=m.path(name), node_name=name)
        self.props = {"drive": name, "serial": name}

    def check(self, m, where):
        """The disk at WHERE, a PCI address, is this one."""
        path = "/sys/bus/pci/devices/%s/virtio*/block/*" % where
        guest_until(m, "ls -d %s 2> /dev/null | grep -q vd" % path, "a disk at " + where)
        seen = m.console.run("d=/dev/$(basename %s); dd if=$d bs=64 count=1 2> /dev/null | tr -d '\\0'; echo; cat %s/serial; echo" % (path, path))
        m.c.equal(seen.split("\n")[:2], [self.marker.decode(), self.props["serial"]], "the disk at " + where)


class Rng:
    driver, props = "virtio-rng-pci", {}

    def __init__(self, m, name):
        pass

    def check(self, m, where):
        path = "/sys/bus/pci/devices/%s/virtio*/driver" % where
        guest_until(m, "ls -d %s 2> /dev/null | grep -q virtio" % path, "a driver at " + where)
        m.c.equal(m.console.run("readlink %s | grep -o '[a-z_]*rng$'; dd if=/dev/hwrng bs=32 count=1 2> /dev/null | wc -c" % path).split(),
                  ["virtio_rng", "32"], "random numbers from " + where)


class Nic:
    """A card on a tap interface of its own network, 10.7.N.0/24."""
    driver, count = "virtio-net-pci", 0

    def __init__(self, m, name):
        Nic.count += 1
        self.number, self.mac = Nic.count, "52:54:00:07:00:%02x" % Nic.count
        self.tap = "hot%d" % self.number
        m("netdev_add", type="tap", id="of-" + name, ifname=self.tap)
        self.up()
        self.props = {"netdev": "of-" + name, "mac": self.mac}

    def up(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            for request, value in ((SIOCSIFADDR, "10.7.%d.1" % self.number), (SIOCSIFNETMASK, "255.255.255.0")):
                fcntl.ioctl(s, request, struct.pack("16sHH4s8x", self.tap.encode(), socket.AF_INET, 0, socket.inet_aton(value)))
            fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sH14x", self.tap.encode(), 0x41))

    def check(self, m, where):
        path = "/sys/bus/pci/devices/%s/virtio*/net/*" % where
        guest_until(m, "ls -d %s 2> /dev/null | grep -q net" % path, "a network card at " + where)
        m.console.run("i=$(basename %s); ip addr add 10.7.%d.2/24 dev $i; ip link set $i up" % (path, self.number))
        m.c.equal(m.console.run("cat %s/address" % path).strip(), self.mac, "the address at " + where)
        guest_until(m, "ping -c 1 -W 1 10.7.%d.1 > /dev/null" % self.number, "an answer through the card at " + where)


class Thing:
    """A device that comes and goes at a place: BUS and, on pcie.0, SLOT."""

    def __init__(self, m, name, kind, bus, slot=0):
        self.m, self.name, self.bus = m, name, bus
        self.kind = kind(m, name)
        self.props = dict(self.kind.props, bus=bus, addr="%x" % slot)
        number = 0 if bus == "pcie.0" else 1 + list(PORTS).index(bus)
        self.where = "0000:%02x:%02x.0" % (number, slot)
        self.seen = 0

    def add(self):
        self.m("device_add", driver=self.kind.driver, id=self.name, **self.props)

    def check(self):
        self.kind.check(self.m, self.where)

    def ask(self, **how):
        self.seen = len(self.m.qmp.events)
        self.m("device_del", id=self.name, **how)

    def surprise(self):
        """By force. Linux's virtio driver would wait for ever for a device that is not there to be reset (vp_reset()): it is taken off first."""
        self.m.console.run("echo %s > /sys/bus/pci/drivers/virtio-pci/unbind" % self.where)
        self.ask(force=True)

    def gone(self, visible=False):
        m = self.m
        m.qmp.taken = self.seen  # in whatever order they end
        try:
            m.wait("DEVICE_DELETED", 30, device=self.name)
        except Timeout:
            m.c.note("requests: %s" % m("query-unplug-jobs"))
            raise
        ends = [e["event"] for e in m.qmp.events[self.seen:] if e["event"].startswith("DEVICE_") and e["data"]["device"] == self.name]
        m.c.equal(ends, ["DEVICE_DELETED"], "the ends of the request for " + self.name)
        if not visible:
            guest_until(m, "[ ! -e /sys/bus/pci/devices/%s ]" % self.where, "%s is no longer in the guest" % self.name)


def released(m, port):
    """The guest is done with the native slot: power and lamp are off, as it does a second later. It is deaf until then."""
    guest_until(m, "[ $(xxd -p -s 0x79 -l 1 /sys/bus/pci/devices/0000:00:%02x.0/config) = 17 ]" % (1 + list(PORTS).index(port)), port + " is released")


def boot(c):
    m = Machine(c)

    def plug():
        for id, props in PORTS.items():
            m("device_add", driver="pcie-root-port", id=id, **props)
        m("device_add", driver="virtio-blk-pci", id="busy", addr="1e", **Disk(m, "busy").props)
    load = boot_linux(m, linux_guest(c), MODULES, plug, memory=512 * MIB, words="quiet")
    keep_busy(m)
    return m, load


def keep_busy(m):
    m.console.run("dmesg -n 1")
    # Something to do meanwhile, for a CPU and a disk.
    m.console.run("(while :; do dd if=/dev/$(basename /sys/bus/pci/devices/0000:00:1e.0/virtio*/block/*) of=/dev/null bs=4k count=64 iflag=direct 2> /dev/null; usleep 5000; done) &")


def no_complaints(c, m):
    c.equal(complaints(m.console.run("dmesg -r")), [], "complaints of the kernel")


@case("ACPI: disks, cards and rngs on pcie.0 and behind ports, under I/O")
def _(c):
    m, _ = boot(c)
    with m:
        things = [Thing(m, "on-root", Disk, "pcie.0", 0x10), Thing(m, "r1", Rng, "pcie.0", 0x1d),
                  Thing(m, "behind", Disk, "rp0"), Thing(m, "r2", Rng, "rp1")]
        if HAVE_NETWORK:
            things += [Thing(m, "net-on-root", Nic, "pcie.0", 0x11), Thing(m, "net-behind", Nic, "rp2")]
        fds = None
        for turn in range(ROUNDS if LONG else 3):
            for t in things:
                t.add()
            for t in things:
                t.check()
            for t in things if turn % 2 else reversed(things):
                t.ask()
            for t in things:
                t.gone()
            c.equal(m("query-unplug-jobs"), {"jobs": []}, "requests")
            fds = fds or m.fds()
            c.equal((turn, m.fds()), (turn, fds), "descriptors of the daemon")
        no_complaints(c, m)
        m.quit()


def replaced(m, bus, slot, number):
    """By ACPI: a disk is taken by force, and another device put in its place before the guest has let go; the guest empties the slot."""
    disk, rng = Thing(m, "d" + bus, Disk, bus, slot), Thing(m, "r" + bus, Rng, bus, slot)
    disk.add()
    disk.check()
    disk.surprise()
    rng.add()
    disk.gone(visible=True)
    rng.check()
    rng.seen = len(m.qmp.events)
    m.console.run("echo 0 > /sys/bus/pci/slots/%s/power" % number)
    rng.gone()


@case("native slots: the button, the guest's own power-off, surprise; meanwhile by ACPI: force; a reset")
def _(c):
    m, load = boot(c)
    with m:
        before = m("query-guest-abi")["fingerprint"]
        by_button, by_guest, surprise = (Thing(m, "a", Disk, "native0"), Thing(m, "b", Nic if LONG and HAVE_NETWORK else Rng, "native1"),
                                         Thing(m, "c", Disk, "native2"))
        for turn in range(ROUNDS if LONG else 1):
            waits = turn % 20 == 0  # six seconds
            things = [by_button, by_guest, surprise] if waits else [by_guest, surprise]
            for t in things:
                t.add()
            for t in things:
                t.check()
            if waits:
                by_button.ask()
                by_button.ask()  # the same request: a second press of the button would call it off
            by_guest.seen = len(m.qmp.events)
            m.console.run("echo 0 > /sys/bus/pci/slots/%d/power" % list(PORTS).index("native1"))
            by_guest.gone()
            surprise.surprise()
            surprise.gone()
            if waits:
                replaced(m, "pcie.0", 0x10, "16")
                replaced(m, "rp0", 0, "32")
                by_button.gone()
            released(m, "native1")
            released(m, "native2")
        c.equal(m("query-guest-abi")["fingerprint"], before, "the fingerprint when all is gone")
        no_complaints(c, m)
        stays, goes = Thing(m, "stays", Disk, "rp0"), Thing(m, "goes", Rng, "rp1")
        stays.add()
        goes.add()
        goes.check()
        m.stop()
        goes.ask()
        m("system_reset")
        m.wait("DEVICE_DELETED", 10, device="goes")
        m.cont()
        come_up(m, load)
        keep_busy(m)
        stays.check()
        c.true("virtio" not in m.console.run("ls /sys/bus/pci/devices/%s 2> /dev/null || true" % goes.where), "what was asked for is gone")
        stays.ask()
        stays.gone()
        no_complaints(c, m)
        m.quit()


main()

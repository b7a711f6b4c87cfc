#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Virtio devices under Linux: its drivers find them, use them by MSI-X and by the interrupt pin, and have nothing to complain about."""

from backplane import *
from linuxguest import boot_linux, come_up, power_off, VIRTIO_PCI

MODULES = (*VIRTIO_PCI, "rng-core", "virtio-rng")


def boot(m, linux, *devices):
    def plug():
        for device in devices:
            m("device_add", **device)
    return boot_linux(m, linux, MODULES, plug)


def interrupts(m, name):
    """Interrupts so far of the lines of /proc/interrupts that name it, and the lines."""
    lines = [l for l in m.console.run("cat /proc/interrupts").splitlines() if name in l]
    return sum(int(x) for l in lines for x in l.split()[1:3]), lines


def check_random(c, m, size):
    """SIZE bytes from /dev/hwrng: all there, and no two reads alike."""
    run = m.console.run
    c.equal(run("cat /sys/class/misc/hw_random/rng_current").strip(), "virtio_rng.0", "the current generator")
    sums = set()
    for _ in range(2):
        run("dd if=/dev/hwrng of=/tmp/r bs=%d count=1 iflag=fullblock 2>/dev/null" % size, 60)
        c.equal(run("wc -c < /tmp/r").strip(), str(size), "bytes of /dev/hwrng")
        sums.add(run("md5sum < /tmp/r"))
        packed = int(run("gzip -c /tmp/r | wc -c"))
        c.true(packed >= size, "random bytes do not compress", packed)
    c.equal(len(sums), 2, "different contents")


def check_rng(c, m, packed):
    check_random(c, m, 8192)
    count, lines = interrupts(m, "virtio0-input")
    c.true(count > 0 and lines and all("MSI" in l for l in lines), "interrupts of the queue by MSI-X", lines)
    log = m.console.run("dmesg -r")
    c.true(not re.search(r"(?i)virtio.*(fail|error|warn)|pci 0000:00:01.*(fail|bug|can't)", log), "complaints", log)
    seen = m.console.run("cat /sys/bus/virtio/devices/virtio0/features").strip()
    bits = {i for i, bit in enumerate(seen) if bit == "1"}
    c.equal(bits, {28, 29, 32, 40} | ({34} if packed else set()), "accepted features")


@case("virtio-rng: /dev/hwrng gives random bytes by MSI-X, over stop and cont")
def _(c):
    linux = linux_guest(c)
    with Machine(c) as m:
        m("object-add", qom_type="rng-random", id="host", filename="/dev/urandom")
        boot(m, linux, {"driver": "virtio-rng-pci", "id": "rng", "rng": "host"})
        check_rng(c, m, False)
        m.stop()
        m.cont()
        check_random(c, m, 4096)
        power_off(m)


@case("virtio-rng with packed rings, over a reset of the machine")
def _(c):
    linux = linux_guest(c)
    with Machine(c) as m:
        load = boot(m, linux, {"driver": "virtio-rng-pci", "id": "rng", "packed": True})
        check_rng(c, m, True)
        m("system_reset")
        come_up(m, load)
        check_rng(c, m, True)
        power_off(m)


@case("virtio-rng without MSI-X behind a root port: interrupts by the pin")
def _(c):
    linux = linux_guest(c)
    with Machine(c) as m:
        boot(m, linux, {"driver": "pcie-root-port", "id": "port"}, {"driver": "virtio-rng-pci", "id": "rng", "bus": "port", "vectors": 0})
        check_random(c, m, 8192)
        count, lines = interrupts(m, "virtio0")
        c.true(count > 0 and lines and all("IO-APIC" in l for l in lines), "interrupts by the pin", lines)
        power_off(m)


main()

#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What Linux shows of a machine by lspci -vvv, /proc/iomem, /proc/interrupts and dmidecode is what was configured: after its start, with
more plugged into it while it runs, and after a reboot."""

import copy

from backplane import *
from guestview import compare, View, Wanted
from linuxguest import boot_linux, come_up, guest_until, VIRTIO_PCI

MODULES = (*VIRTIO_PCI, "virtio_blk", "rng-core", "virtio-rng", "net_failover", "failover", "virtio_net", "virtio_console", "virtio_balloon")
BOARD = {
    "max-cpus": 8, "cpu-sockets": 2, "cpu-cores": 2, "cpu-threads": 2, "memory-slots": 8, "max-memory": 4 * GIB,
    "lowmem": 512 * MIB, "device-memory-base": 8 * GIB, "sci-irq": 10, "host-bridge-revision": 3, "subsystem-device-id": 0x1234,
    "uuid": "01234567-89ab-cdef-0123-456789abcdef", "smbios-bios-version": "7", "smbios-bios-date": "02/28/2026", "smbios-manufacturer": "Maker",
    "smbios-product": "A product", "smbios-version": "v", "smbios-serial": "SN 1", "smbios-sku": "SKU 2", "smbios-family": "Family",
    "smbios-chassis-manufacturer": "Tin", "smbios-chassis-version": "c", "smbios-chassis-serial": "SN 3", "smbios-chassis-asset": "tag 4",
    "smbios-chassis-sku": "SKU 5", "smbios-cpu-manufacturer": "Chips", "smbios-cpu-version": "pc", "smbios-cpu-max-speed": 3456,
    "smbios-cpu-current-speed": 1234, "smbios-memory-manufacturer": "Modules",
}
PORTS = (
    {"id": "rp0", "addr": "3.0", "multifunction": True, "chassis": 1, "port": 1},
    {"id": "rp1", "addr": "3.1", "multifunction": True, "chassis": 2, "slot": 9, "port": 2, "link-speed": 2, "link-width": 4},
    {"id": "empty", "addr": "3.2", "multifunction": True, "chassis": 1, "port": 3},
    {"id": "native", "addr": "4", "chassis": 3, "slot": 77, "native-hotplug": True, "link-speed": 3, "link-width": 8},
    {"id": "bare", "hotplug": False, "link-speed": 1, "link-width": 1},
)


def disk(m, name, **props):
    with open(m.path(name), "wb") as f:
        f.truncate(1 << 20)
    m("blockdev-add", driver="file", filename=m.path(name), node_name=name)
    m.qmp.call("device_add", {"driver": "virtio-blk-pci", "id": name, "drive": name, **props})


def network(m, name, **props):
    m("netdev_add", type="user", id="of-" + name)
    m.qmp.call("device_add", {"driver": "virtio-net-pci", "id": name, "netdev": "of-" + name, **props})


def module(m, name, size, **props):
    m("object-add", qom_type="memory-backend-memfd", id="of-" + name, size=size)
    m("device_add", driver="pc-dimm", id=name, memdev="of-" + name, **props)


def device(m, driver, id, **props):
    m.qmp.call("device_add", {"driver": driver, "id": id, **props})


def plug(m):
    for i, (socket, core, thread) in enumerate(((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0))):
        m.cpu("cpu%d" % i, socket_id=socket, core_id=core, thread_id=thread)
    module(m, "one", 512 * MIB, slot=0)
    module(m, "two", 256 * MIB, slot=2)
    module(m, "far", 512 * MIB, slot=5, addr=9 * GIB)
    for port in PORTS:
        device(m, "pcie-root-port", **port)
    disk(m, "root-disk", addr="10", serial="S0", **{"num-queues": 3, "acpi-index": 16383})
    disk(m, "port-disk", bus="rp0", addr="0", multifunction=True)
    device(m, "virtio-rng-pci", "port-rng", bus="rp0", addr="0.1", vectors=0)
    device(m, "virtio-rng-pci", "root-rng", vectors=0)
    network(m, "port-net", bus="rp1", mac="52:54:00:11:22:33", **{"acpi-index": 2})
    network(m, "native-net", bus="native", vectors=7)
    device(m, "virtio-serial-pci", "channels", vectors=2)
    device(m, "virtio-balloon-pci", "balloon", addr="1e")


def check(c, m, what, booted=None):
    seen, wanted = View(m, rescanned=booted is not None), Wanted(m)
    c.equal(compare(seen, wanted, booted), [], "differences " + what)
    c.equal(complaints(m.console.run("dmesg -r")), [], "complaints of the kernel " + what)
    return seen, wanted


# What lies in one of the texts, what it would be in another machine.
MUTANTS = (
    ("names", "16383", "16382"),
    ("lspci", "(rev 03)", "(rev 04)"), ("lspci", "[8086:29c0]", "[8086:29c1]"), ("lspci", "Class [0200]", "Class [0280]"),
    ("lspci", "Subsystem: Device [1af4:1234]", "Subsystem: Device [1af4:1100]"), ("lspci", "Physical Slot: 16425", "Physical Slot: 41"),
    ("lspci", "Physical Slot: 77", "Physical Slot: 78"), ("lspci", "(64-bit, prefetchable)", "(64-bit, non-prefetchable)"),
    ("lspci", "[size=32K]", "[size=16K]"), ("lspci", "(64-bit, ", "(32-bit, "), ("lspci", "Region 4: Memory at 3000", "Region 4: [virtual] Memory at 3000"),
    ("lspci", "secondary=03", "secondary=04"), ("lspci", "[size=32M]", "[size=16M]"), ("lspci", "Memory behind bridge: c0", "Memory behind bridge: d0"),
    ("lspci", "Capabilities: [60]", "Capabilities: [64]"), ("lspci", "\tCapabilities: [148 v1] Access Control Services\n", ""),
    ("lspci", "Count=7", "Count=8"), ("lspci", "size=0000000c multiplier", "size=00000008 multiplier"), ("lspci", "Root Port (Slot+)", "Root Port (Slot-)"),
    ("lspci", "LnkSta:\tSpeed 5GT/s", "LnkSta:\tSpeed 2.5GT/s (downgraded)"), ("lspci", "LnkCap:\tPort #2", "LnkCap:\tPort #0"),
    ("lspci", "Width x8, ASPM", "Width x1, ASPM"), ("lspci", "HotPlug+", "HotPlug-"), ("lspci", "Slot #77", "Slot #7"), ("lspci", "PwrInd On", "PwrInd Unknown"),
    ("lspci", "PresDet+", "PresDet-"), ("lspci", "DLActive+", "DLActive-"), ("lspci", "UnsupReq- AuxPwr", "UnsupReq+ AuxPwr"),
    ("lspci", "<MAbort-", "<MAbort+"), ("lspci", "BusMaster+", "BusMaster-"), ("lspci", "pin A", "pin B"),
    ("lspci", "driver in use: virtio-pci", "driver in use: none"), ("lspci", "ACSCap:", "ACSCap !!!"), ("lspci", "00:1e.0 Class", "00:1d.0 Class"),
    ("iomem", "240000000-", "248000000-"), ("iomem", " : IOAPIC 0", " : HPET 0"), ("iomem", "b0000000-bfffffff : PCI ", "b0000000-b7ffffff : PCI "),
    ("iomem", " : PCI Bus 0000:04", " : PCI Bus 0000:05"), ("iomem", " : 0000:00:1e.0", " : 0000:00:1d.0"), ("iomem", "c0000000-febfffff", "c0000000-fdffffff"),
    ("interrupts", "-req.2", "-req.3"), ("interrupts", "-inflate", "-deflate"), ("interrupts", "fasteoi   acpi", "edge   acpi"),
    ("interrupts", "IO-APIC  10-", "IO-APIC   9-"), ("interrupts", "-virtqueues", "-input.0"), ("interrupts", "rtc0", "rtc1"), ("interrupts", "CPU3", "    "),
    ("dmi", "UUID: 01", "UUID: 10"), ("dmi", "SN 1", "SN 2"), ("dmi", "tag 4", "tag 5"), ("dmi", "Core Enabled: 1", "Core Enabled: 2"),
    ("dmi", "Thread Count: 4", "Thread Count: 2"), ("dmi", "Status: Populated", "Status: Unpopulated"), ("dmi", "1234 MHz", "Unknown"),
    ("dmi", "Number Of Devices: 8", "Number Of Devices: 3"), ("dmi", "Locator: DIMM 5", "Locator: DIMM 4"), ("dmi", "Size: 256 MB", "Size: 128 MB"),
    ("dmi", "DMI type 32", "DMI type 33"), ("dmi", "Ending Address: 0x0010FFFFFFF", "Ending Address: 0x0010FFFFF"), ("dmi", "Maximum Capacity: 4", "Maximum Capacity: 2"),
    ("dmi", "Socket Designation: CPU 1", "Socket Designation: <BAD INDEX>"), ("dmi", "Version: pc", "Version: <OUT OF SPEC>"), ("dmi", "\tID: ", "\tID: 0"),
)


def check_mutants(c, seen, wanted):
    """That there are no differences means something."""
    for name, old, new in MUTANTS:
        mutant = copy.copy(seen)
        text = getattr(seen, name)
        setattr(mutant, name, text.replace(old, new, 1))
        c.true(old in text and compare(mutant, wanted), "%s with %r in the place of %r is taken for right" % (name, new, old))


@case("lspci, iomem, interrupts and dmidecode: what was configured, what was plugged while it ran, and after a reboot")
def _(c):
    linux = linux_guest(c)
    try:
        files = programs("pciutils", "libpci3", "libkmod2", "dmidecode", run=("usr/bin/lspci", "usr/sbin/dmidecode"))
    except OSError as error:
        c.skip("lspci and dmidecode can not be had: %s" % error)
    with Machine(c) as m:
        load = boot_linux(m, linux, MODULES, lambda: plug(m), cpus=0, memory=0, board=BOARD, files=files, words="quiet memhp_default_state=online")
        seen, booted = check(c, m, "after the start")
        check_mutants(c, seen, booted)
        m.cpu("late-cpu", socket_id=1, core_id=1, thread_id=1)
        module(m, "late-module", 256 * MIB, slot=7)
        disk(m, "late-disk", addr="12")
        network(m, "late-net", bus="empty", **{"acpi-index": 5})
        guest_until(m, "grep -q 0 /sys/devices/system/cpu/cpu*/online", "the CPU")
        m.console.run("echo 1 > $(grep -l 0 /sys/devices/system/cpu/cpu*/online)")
        for where in ("00:12.0", "03:00.0"):
            guest_until(m, "ls -d /sys/bus/pci/drivers/virtio-pci/0000:%s/virtio*/driver > /dev/null 2>&1" % where, "a driver for " + where)
        guest_until(m, "grep -q '^2.*System RAM' /proc/iomem", "memory")
        check(c, m, "with more plugged into it", booted)
        m.console.send("reboot -f\n")
        m.wait("RESET", 30, guest=True)
        come_up(m, load)
        check(c, m, "after a reboot")
        m.quit()


main()

#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""SeaBIOS and GRUB from Debian's packages start from a virtio disk, look at the machine and power it off (grub.py).

Two machines run at the same time, because GRUB takes some 17 seconds of a processor's time where KVM emulates it. What it says is
compared with QEMU's in long-grub.py, with more starts.
"""

import calendar

from grub import *


def check_date(c, lines):
    match = re.fullmatch(r"(\d+-\d+-\d+ \d+:\d+:\d+) (\w+)", " ".join(lines))
    if c.true(match, "the date", lines):
        at = calendar.timegm(time.strptime(match.group(1), "%Y-%m-%d %H:%M:%S"))
        c.true(abs(at - time.time()) < 60, "GRUB's clock is UTC", lines)
        c.equal(match.group(2), time.strftime("%A", time.gmtime(at)), "the day of the week")


def ram_of(lines):
    """[(first, length)] of RAM in the answer to lsmmap, which must be in order and not overlap."""
    found = [(int(m.group(1), 16), int(m.group(2), 16), m.group(3)) for m in
             (re.fullmatch(r"base_addr = 0x(\w+), length = 0x(\w+), (.*)", line) for line in lines)]
    return [(first, length) for first, length, kind in found if kind == "available RAM"]


def tables_of(lines):
    """The signatures in the answer to lsacpi, each with a good checksum."""
    return [m.group(1) for m in (re.match(r"(\w{4}) +\d+B rev=\d+ chksum=0x\w+ \(valid\) OEM=BACKPL BACKPLAN ", line) for line in lines) if m]


@case("GRUB from a virtio disk, on pcie.0 and behind a root port: what it sees, then halt")
def _(c):
    files = grub_files(c)
    with GrubMachine(c, "--action", "shutdown=poweroff") as a, GrubMachine(c) as b:
        a.furnish(files, [("first-plugged", {"bootindex": 2}), ("first-booted", {"bootindex": 1})])
        b.furnish(files, [("behind", {"bootindex": 0, "bus": "port"})], cpus=4, memory=4 * GIB, ports=("port",))
        a.cont()
        b.cont()
        for m in (a, b):
            m.grub.prompt()
            m.check_log()
        grubs = (a.grub, b.grub)

        pci_a, pci_b = run_all(grubs, "lspci")
        c.equal(pci_a, ["00:00.0 8086:29c0 [0600] Host Bridge", "00:01.0 1af4:1042 [0100] SCSI Controller",
                        "00:02.0 1af4:1042 [0100] SCSI Controller", "00:1f.0 8086:2918 [0601] ISA Bridge"], "lspci")
        c.equal(pci_b[-1], "01:00.0 1af4:1042 [0100] SCSI Controller", "lspci behind the port")

        map_a, map_b = run_all(grubs, "lsmmap")
        c.equal(ram_of(map_a)[0], (0, 0x9FC00), "RAM below 640 KiB")
        c.true(512 * MIB - MIB < sum(ram_of(map_a)[-1]) <= 512 * MIB, "the end of RAM", map_a)
        c.equal(ram_of(map_b)[-1], (4 * GIB, 2 * GIB), "RAM above 4 GiB")

        acpi_a, acpi_b = run_all(grubs, "lsacpi")
        for lines, cpus in ((acpi_a, 1), (acpi_b, 4)):
            c.equal(tables_of(lines)[:4], ["XSDT", "FACP", "APIC", "MCFG"], "tables")
            c.true(not [line for line in lines if "invalid" in line], "checksums", lines)
            c.equal([line for line in lines if "Flags=00000001" in line and "LAPIC ACPI_ID" in line],
                    ["  LAPIC ACPI_ID=%02x APIC_ID=%02x Flags=00000001" % (i, i) for i in range(cpus)], "processors")

        for lines in run_all(grubs, "date"):
            check_date(c, lines)
        c.equal(a.grub.marker(), "first-booted", "the disk with the lowest bootindex")
        c.equal(a.grub.marker("hd1"), "first-plugged", "the other disk")
        c.equal(b.grub.marker(), "behind", "the disk behind the port")
        a.halt()
        b.halt()
        c.equal(a.exit_status(), 0, "the exit status where shutdown means the end")
        b.check_state("shutdown")
        c.note("%.1f s of a processor's time each" % b.cpu_seconds())
        b.quit()


main()

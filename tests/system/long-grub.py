#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""SeaBIOS and GRUB as in test-grub.py, at length: the same disk under Debian's QEMU q35, another boot order, resets, strict boot.

What GRUB says of the two machines is compared line by line, with nothing taken out but the clock. A line that only one side has must
be explained by the configuration, in EXPLAINED; any other fails. A minute or two for each case where KVM emulates the guest.
"""

import collections

from grub import *

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../bench"))
import monitor  # noqa: E402  how a QEMU that was only unpacked is started

OURS, THEIRS = "ours", "QEMU"

# (command, side, pattern, why)
EXPLAINED = [
    ("lspci", THEIRS, r"^00:1f\.2 8086:2922 \[0106\] SATA |^00:1f\.3 8086:2930 \[0c05\] Serial Bus ", "q35 always has the AHCI and SMBus functions of ICH9; our board has no fixed disk controller and no SMBus"),
    ("lsmmap", None, r"^base_addr = 0x100000, length = 0x[0-9a-f]+, available RAM$|^base_addr = 0x[17]ff[0-9a-f]{5}, length = 0x[0-9a-f]+, reserved RAM$",
     "SeaBIOS keeps the tables at the end of low RAM, and they differ in length"),
    ("lsmmap", THEIRS, r"^base_addr = 0xfeffc000, length = 0x4000, reserved RAM$", "QEMU reserves pages for KVM's TSS and identity map; ours lie in what is not RAM and are in no map"),
    ("lsmmap", THEIRS, r"^base_addr = 0xfd00000000, length = 0x300000000, reserved RAM$", "QEMU keeps AMD's HyperTransport hole free"),
    ("lsacpi", None, r"^No RSDPv[12]$|^RSDPv[12] signature|^RSDT=|^len=36 chksum|^[RX]SDT +\d+B",
     "q35's RSDP is of revision 0 with an RSDT only; ours is of revision 2 with both"),
    ("lsacpi", None, r"^(FACP|APIC|MCFG|WAET) +\d+B rev=\d+ .* OEM=(BACKPL BACKPLAN|BOCHS  BXPC)", "other OEM names, later revisions of the tables"),
    ("lsacpi", THEIRS, r"^HPET +\d+B", "our board has no HPET: guests have the PM timer and kvmclock"),
    ("lsacpi", THEIRS, r"^  Int Override bus=0 src=0 GSI=00000002 ", "q35 has the PIT at pin 2 of the IOAPIC; our IRQ n is pin n, the PIT's too, which is KVM's own wiring"),
    ("lsacpi", OURS, r"^SRAT +\d+B", "ours has an SRAT where memory can be plugged, and here it can"),
]


def explained(command, side, line):
    return next((why for c, s, pattern, why in EXPLAINED if c == command and s in (None, side) and re.search(pattern, line)), None)


def compare(c, command, ours, theirs):
    for side, left, right in ((OURS, ours, theirs), (THEIRS, theirs, ours)):
        for line in (collections.Counter(left) - collections.Counter(right)).elements():
            why = explained(command, side, line)
            c.true(why, "%s: only in %s: %s" % (command, side, line))
            c.note("%s: only in %s: %s (%s)" % (command, side, line, why))


class Q35:
    """The same disk under Debian's QEMU, with the same CPUs, memory and places."""

    def __init__(self, c, folder, image, cpus, memory, port):
        self.qemu = monitor.Qemu("q35")
        if self.qemu.missing():
            c.skip(self.qemu.missing())
        path = os.path.join(folder, "qemu-com1")
        disk = "virtio-blk-pci,drive=d,disable-legacy=on,bootindex=0"
        plugs = ["-device", "pcie-root-port,id=rp,addr=1", "-device", disk + ",bus=rp"] if port else ["-device", disk + ",addr=1"]
        self.process = subprocess.Popen(
            [*self.qemu.environment(), self.qemu.binary, *self.qemu.roms(), "-M", "q35", "-accel", "kvm", "-cpu", "host,-arch-capabilities",
             "-smp", str(cpus), "-m", str(memory // MIB), "-display", "none", "-nodefaults", "-no-user-config",
             "-drive", "if=none,id=d,format=raw,file=" + image, *plugs, "-serial", "unix:%s,server=on,wait=on" % path], stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 30 * PATIENCE
        while not os.path.exists(path):  # it waits for us there
            c.true(time.monotonic() < deadline and self.process.poll() is None, "QEMU did not start")
            if c.failures:
                raise Closed("no QEMU")
            time.sleep(0.01)
        self.console = Console(path)
        self.grub = Grub(self.console)

    def end(self):
        self.process.kill()
        self.process.wait()
        self.console.close()


def add_comparison(title, cpus, memory, port):
    @case(title)
    def _(c):
        files = grub_files(c)
        with GrubMachine(c) as m:
            m.furnish(files, [("marker", {"bootindex": 0, **({"bus": "rp"} if port else {})})], cpus=cpus, memory=memory,
                      ports=("rp",) if port else ())
            q35 = Q35(c, m.path(""), make_disk(files, m.path("qemu.img"), "marker"), cpus, memory, port)
            try:
                m.cont()
                grubs = (m.grub, q35.grub)
                for grub in grubs:
                    grub.prompt()
                for command in ("lspci", "lsmmap", "lsacpi"):
                    compare(c, command, *run_all(grubs, command))
                dates = [time.strptime(" ".join(lines), "%Y-%m-%d %H:%M:%S %A") for lines in run_all(grubs, "date")]
                c.true(abs(time.mktime(dates[0]) - time.mktime(dates[1])) <= 10, "the same clock", dates)
                c.equal([grub.marker() for grub in grubs], ["marker", "marker"], "the marker")
                m.check_log()
                m.halt()
                q35.grub.ask("halt")
                c.equal(q35.process.wait(60 * PATIENCE), 0, "QEMU's status")
            except Timeout:
                c.note("QEMU's console:\n" + q35.console.text[-2000:])
                raise
            finally:
                q35.end()


def digest(path):
    with open(path, "rb") as f:
        return f.read()


@case("two disks: bootindex says which starts, also when it is the later one; resets start again, and change nothing on the disks")
def _(c):
    files = grub_files(c)
    with GrubMachine(c) as a, GrubMachine(c) as b:
        for m, (left, right) in ((a, (1, 2)), (b, (2, 1))):
            m.furnish(files, [("left", {"bootindex": left}), ("right", {"bootindex": right})], cpus=2, memory=3 * GIB)
            m.cont()
        before = [digest(image) for m in (a, b) for image in m.images]
        for m, first, second in ((a, "left", "right"), (b, "right", "left")):
            m.grub.prompt()
            c.equal([m.grub.marker(), m.grub.marker("hd1")], [first, second], "the order of disks")
        a("system_reset")  # at GRUB's prompt
        b.grub.ask("reboot")  # GRUB's own way
        for m, first in ((a, "left"), (b, "right")):
            m.wait("RESET", 60)
            m.grub.prompt()
            c.equal(m.grub.marker(), first, "the first disk after the reset")
            m.check_log()
            m.halt()
            m.check_state("shutdown")
            m.quit()
        c.true(before == [digest(image) for m in (a, b) for image in m.images], "a disk has changed")


@case("boot-strict: a disk without a place in the order is not tried, one without boot sector neither; without it the first is")
def _(c):
    files = grub_files(c)
    with GrubMachine(c) as a, GrubMachine(c) as b, GrubMachine(c) as lax:
        a.furnish(files, [("unordered", {})], boot_strict=True)
        b.furnish(files, [("blank", {"bootindex": 0})], boot_strict=True)
        with open(b.images[0], "r+b") as f:
            f.write(bytes(512))
        lax.furnish(files, [("unordered", {})])
        for m in (a, b, lax):
            m.cont()
        for m in (a, b):
            m.bios_log.expect(r"No bootable device\.", BOOT_PATIENCE)
            m.check_state("running")
        c.true("Booting from Hard Disk" not in a.bios_log.text, "boot-strict leaves nothing to try", a.bios_log.text[-500:])
        c.contains(b.bios_log.text, "Boot failed: not a bootable disk", "the log with a blank disk")
        for m in (a, b):
            m.quit()
        lax.grub.prompt()
        c.equal(lax.grub.marker(), "unordered", "the disk without bootindex")
        lax.halt()


add_comparison("as under QEMU's q35: a disk on pcie.0, 1 CPU, 512 MiB", 1, 512 * MIB, False)
add_comparison("as under QEMU's q35: a disk behind a root port, 4 CPUs, 4 GiB", 4, 4 * GIB, True)
main()

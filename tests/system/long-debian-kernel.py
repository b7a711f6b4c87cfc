#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Debian's stock kernel where KVM can only emulate it: what it prints up to where it stops, against QEMU's q35 and microvm.

On such a host (docs/design/testing.md, section 2) the kernel gets to "Booting paravirtualized kernel on KVM" in a minute or two and soon
ends in an internal error. Up to there every line is compared, numbers and names that differ by design taken out first. A line that only
one side has must be explained by the configuration, in EXPLAINED; any other fails. Up to half an hour: part of `make check-long`.
"""

import collections

from backplane import *

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../bench"))
import monitor  # noqa: E402  how a QEMU that was only unpacked is started

WORDS = "console=ttyS0 earlyprintk=ttyS0,115200 panic=-1 nokaslr"
LAST = "Booting paravirtualized kernel on KVM"
PATIENT = 900  # seconds for one boot; the bzImage unpacks itself at a million instructions a second

# Numbers that follow from the clock, the host or where a table stands.
NORMAL = [(r"^\[[ \d.]+\] ", ""), (r"\b0x[0-9a-fA-F]+\b", "0x#"), (r"\b[0-9a-f]{5,16}\b", "#"), (r"\b[0-9A-F]{8,16} [0-9A-F]{6}\b", "#"),
          (r"\b(BOCHS|BACKPL) +(BXPC|BACKPLAN)? *", "OEM "), (r"\b(BXPC|BKPL) +#?\d*", "ID "), (r"\b\d+(\.\d+)?\b", "N"), (r" +", " ")]

EXPLAINED = [
    ("BIOS|DMI|SMBIOS|EDD|ROM|efi:", "ours starts the kernel without firmware, q35 with SeaBIOS; microvm has no SMBIOS"),
    ("e820|PM: hibernation|nosave|available for PCI|Early memory node|unavailable ranges|Zone|node N|last_pfn|NODE_DATA|Faking|NUMA|Initmem|DMA|Normal|Device|Movable",
     "the memory maps differ by what firmware reserves; ours is checked below and by test-probe.py"),
    (r"ACPI: (RSDP|RSDT|XSDT|FACP|FACS|DSDT|SSDT|APIC|HPET|WAET|SRAT|MCFG|Reserving|PM-Timer)|SRAT|HPET|hpet|MCFG",
     "boards differ in their tables; ours are checked by test-probe.py"),
    (r"INT_SRC_OVR|IOAPIC|LAPIC_NMI|MADT|IRQ|MPTABLE|MP-table|MTRR|PAT|Disabled", "boards differ in their interrupt wiring and firmware sets MTRRs"),
    (r"tsc:|clocksource|sched offset|kvm-clock|kvm-guest|TSC|Hypervisor|NX |APIC:|x2apic|CPU\d|smpboot", "processor models differ in features"),
    (r"Command line|bootconsole|Unknown kernel|printk|KASLR|early console|Probing|RAMDISK|random|percpu|Built|Policy|mem auto-init|Memory:|cpuset|setup_", "loaders"),
]


def lines_of(text):
    """Normalised lines up to LAST, in order."""
    found = []
    for line in text.replace("\r", "").splitlines():
        if not line.startswith("["):
            continue
        for pattern, by in NORMAL:
            line = re.sub(pattern, by, line)
        found.append(line.strip())
        if LAST in line:
            break
    return found


def boot_ours(c, kernel):
    with Machine(c) as m:
        m.build(cpus=2, memory=512 * MIB, kernel=kernel, append=WORDS, serial="console")
        m.cont()
        m.console.expect(LAST, PATIENT)
        fault = m.wait("INTERNAL_ERROR", PATIENT)["data"]
        m.check_state("internal-error")
        c.note("stops at %s" % fault["instruction-bytes"])
        return m.console.text


def boot_qemu(c, machine, kernel):
    qemu = monitor.Qemu(machine)
    if qemu.missing():
        c.skip(qemu.missing())
    with tempfile.TemporaryDirectory(prefix="bp-") as folder:
        out = os.path.join(folder, "serial")
        process = subprocess.Popen([*qemu.environment(), qemu.binary, *qemu.roms(), "-M", machine, "-accel", "kvm", "-cpu", "host,-arch-capabilities", "-smp", "2", "-m", "512",
                                    "-display", "none", "-nodefaults", "-no-reboot", "-serial", "file:" + out, "-kernel", kernel,
                                    "-append", WORDS], stdin=subprocess.DEVNULL)
        try:
            deadline, text = time.monotonic() + PATIENT * PATIENCE, ""
            while LAST not in text and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.5)  # a file can not be waited for
                if os.path.exists(out):
                    with open(out, errors="replace") as f:
                        text = f.read()
            c.true(LAST in text, "QEMU's %s did not get there" % machine, text[-500:])
            return text
        finally:
            process.kill()
            process.wait()


def explained(line):
    return next((why for pattern, why in EXPLAINED if re.search(pattern, line)), None)


def compare(c, ours, theirs, name):
    for what, left, right in (("only in ours", ours, theirs), ("only in " + name, theirs, ours)):
        for line in (collections.Counter(left) - collections.Counter(right)):
            why = explained(line)
            c.true(why, "%s: %s" % (what, line))
            c.note("%s: %s (%s)" % (what, line, why))


def add_case(title, form, machine):
    @case(title)
    def _(c):
        if not host_is_pvm():
            c.skip("this host runs the kernel to its end: test-linux.py")
        try:
            bzimage, elf = debian_kernel()
        except (OSError, IndexError) as error:
            c.skip("Debian's cloud kernel can not be had: %s" % error)
        text = boot_ours(c, bzimage if form == "bzImage" else elf)
        check_ours(c, text)
        # QEMU gets the unpacked one: what it prints is the same, and unpacking takes firmware's page tables a quarter of an hour here
        compare(c, lines_of(text), lines_of(boot_qemu(c, machine, elf)), machine)


def check_ours(c, text):
    for need in (r"Linux version .*Debian", r"Command line: " + re.escape(WORDS), r"Hypervisor detected: KVM", r"kvm-clock: Using msrs",
                 r"e820: \[mem 0x0000000000100000-0x000000001fff[0-9a-f]{4}\] usable", r"ACPI: RSDP .*BACKPL", r"ACPI: FACP", r"ACPI: DSDT",
                 r"ACPI: APIC", r"ACPI: MCFG", r"IOAPIC\[0\]: apic_id 0, version \d+, address 0xfec00000, GSI 0-23",
                 r"Using ACPI \(MADT\) for SMP configuration", r"(smpboot|CPU topo): Allow(ing|ed) 2 (present )?CPUs"):
        c.true(re.search(need, text), "the kernel did not print " + need)
    c.true(not re.search(r"Firmware Bug|ACPI (BIOS )?(Error|Warning)|MP-BIOS bug", text), "complaints about the firmware")


add_case("bzImage as shipped, against q35", "bzImage", "q35")
add_case("its ELF file by PVH, against microvm", "ELF", "microvm")
main()

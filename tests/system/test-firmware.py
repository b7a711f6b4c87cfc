#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Debian's SeaBIOS on KVM, without a disk: what its log on port 0x402 says of the machine, up to "No bootable device".

Two machines run at the same time, because each takes seconds where KVM emulates firmware's instructions.
"""

from backplane import *


def seabios(c):
    try:
        return os.path.join(fetch_peers("seabios"), "usr/share/seabios/bios-256k.bin")
    except OSError as error:
        c.skip("Debian's seabios can not be had: %s" % error)


def plug(m, cpus, memory, max_cpus=None, **firmware):
    """A machine with firmware; its log as a Console."""
    m.board(max_cpus=max_cpus or cpus)
    for i in range(cpus):
        m.cpu("cpu%d" % i)
    m.memory(memory)
    path = m.path("log402")
    m("chardev-add", id="log402", backend={"type": "socket", "data": {
        "addr": {"type": "unix", "data": {"path": path}}, "server": True, "wait": False}})
    m("device_add", driver="isa-debugcon", id="debug0", chardev="log402")
    m("device_add", driver="firmware", id="fw", **firmware)
    return Console(path)


def ram(first, last):
    """What SeaBIOS says of a range of RAM."""
    return r"qemu/e820: addr 0x%016x len 0x%016x \[RAM\]\r?\n" % (first, last - first)


def setup(log, cpus, max_cpus, ranges):
    """From the first line to where CPUs are counted and tables taken, each found behind the one before."""
    log.expect(r"SeaBIOS \(version ")
    log.expect(r"Running on QEMU \(q35\)")
    log.expect(r"Found QEMU fw_cfg\r?\nQEMU fw_cfg DMA interface supported")
    for first, last in ranges:
        log.expect(ram(first, last))
    log.expect(r"Relocating init from 0x000[cde][0-9a-f]{4} to 0x")  # out of RAM that PAM has opened
    log.expect(r"Moving pm_base to 0x600\r?\n")
    log.expect(r"PCIe: using q35 mmconfig at 0xb0000000\r?\n")
    log.expect(r"init bdf=00:00\.0 id=8086:29c0\r?\n")
    log.expect(r"init bdf=00:1f\.0 id=8086:2918\r?\n")
    log.expect(r"Found %d cpu\(s\) max supported %d cpu\(s\)\r?\n" % (cpus, max_cpus))
    log.expect(r"Copying SMBIOS 3\.0 from ")
    log.expect(r"table\(50434146\)=0x[0-9a-f]+ \(via xsdt\)\r?\n")  # FACP, through the table loader's pointers
    log.expect(r"ACPI: parse DSDT at 0x[0-9a-f]+ \(len \d+\)\r?\n")


LOW = [(0, 0x9FC00)]


@case("SeaBIOS sees RAM, CPUs and tables, finds nothing to start; again after a reset, at its end and half way")
def _(c):
    image = seabios(c)
    small, large = LOW + [(MIB, 512 * MIB)], LOW + [(MIB, 2 * GIB), (4 * GIB, 8 * GIB)]
    with Machine(c) as a, Machine(c) as b:
        log_a = plug(a, 1, 512 * MIB, max_cpus=4, file=image)
        a.serial("console")
        log_b = plug(b, 2, 6 * GIB, file=image, reboot_timeout=4294967295, boot_strict=True)
        a.cont()
        b.cont()
        try:
            setup(log_b, 2, 2, large)
            b("system_reset")  # from RAM, with another CPU started
            setup(log_a, 1, 4, small)
            setup(log_b, 2, 2, large)
            log_a.expect(r"No bootable device\.  Retrying in 60 seconds")
            a("system_reset")  # from RAM that PAM has locked
            log_b.expect(r"No bootable device\.\r?\n")
            setup(log_a, 1, 4, small)
        finally:
            for m, log in ((a, log_a), (b, log_b)):
                if log.mark < len(log.data) or sys.exc_info()[0]:
                    c.note("log at 0x402:\n" + log.text[-1500:] if sys.exc_info()[0] else "%d bytes of log" % len(log.data))
                m.check_state("running")
                log.close()
        c.contains(log_a.text, "Booting from Hard Disk", "the log without boot-strict")
        c.true("Booting from" not in log_b.text, "boot-strict leaves nothing to try", log_b.text[-500:])
        for text in (log_a.text, log_b.text):
            c.equal(re.findall(r"(?im)^.*(?:WARNING|romfile_loader|corrupt|checksum|unable|parse error).*$", text), [], "complaints of SeaBIOS")
        a.console.expect(r"SeaBIOS \(version ", 5)  # its screen
        a.console.expect(r"No bootable device", 5)
        for m in (a, b):
            c.equal([e["event"] for e in m.qmp.events], ["RESUME", "RESET"], "events")
            m.quit()


@case("firmware and linux-loader: one of them, named; the machine that is left starts", needs_kvm=False)
def _(c):
    image = seabios(c)
    with Machine(c, "--accel", "test") as m:
        m.board(max_cpus=1)
        m.cpu(driver="qemu64-x86_64-cpu")
        m.memory(64 * MIB)
        m("device_add", driver="firmware", id="bios", file=image)
        m.refused("device_add", "'boot' (linux-loader)", "'bios' (firmware)", driver="linux-loader", id="boot", kernel=PROBE_PVH)
        m("device_del", id="bios")
        m.wait("DEVICE_DELETED", device="bios")
        m.loader()
        m.refused("device_add", "'bios' (firmware)", "'boot' (linux-loader)", driver="firmware", id="bios", file=image)
        m("device_del", id="boot")
        m.wait("DEVICE_DELETED", device="boot")
        m("device_add", driver="firmware", id="bios", file=image)
        m.cont()
        m.refused("device_del", "'bios'", "does not support hot unplug", id="bios")
        m.check_state("running")
        m.quit()


main()

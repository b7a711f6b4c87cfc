#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Linux as a guest: boots to a shell without a complaint, sees all CPUs, memory, tables and the time, and ends as it should.

Which kernel it is depends on the host: backplane.linux_guest().
"""

import binascii

from backplane import *


def boot(m, linux, words="run=shell", cpus=1, memory=GIB, **build):
    m.build(cpus=cpus, memory=memory, kernel=build.pop("kernel", linux.kernel), initrd=linux.initrd, serial="console",
            append=linux.words + " " + words, **build)
    m.cont()
    if words == "run=shell":
        m.console.start_shell(120)


def check_memory(c, m, size):
    kib = int(m.console.run("grep MemTotal /proc/meminfo").split()[1])
    # The kernel keeps page structs (1.6 %), its own image and some tables.
    c.true(size * 0.93 - 48 * MIB <= kib * 1024 <= size, "MemTotal of %d MiB" % (size // MIB), kib)
    ram = [re.search(r"(?i)([0-9a-f]+)-([0-9a-f]+) : System RAM", l) for l in m.console.run("cat /proc/iomem").splitlines()]
    total = sum(int(r.group(2), 16) - int(r.group(1), 16) + 1 for r in ram if r)
    c.true(size - MIB <= total <= size, "System RAM in /proc/iomem", total)


def check_cpus(c, m, cpus):
    run = m.console.run
    c.equal(run("cat /sys/devices/system/cpu/online").strip(), "0" if cpus == 1 else "0-%d" % (cpus - 1), "CPUs online")
    info = run("grep -E '^(apicid|initial apicid)' /proc/cpuinfo").split("\n")
    ids = [int(l.rpartition(":")[2]) for l in info if l.startswith("apicid")]
    c.equal(ids, list(range(cpus)), "APIC ids")
    ticks = run("for i in 1 2; do grep LOC: /proc/interrupts; usleep 300000; done").splitlines()
    first, second = ([int(x) for x in l.split()[1:1 + cpus]] for l in ticks)
    c.equal(len(first), cpus, "CPUs with a timer")
    c.true(all(b >= a > 0 for a, b in zip(first, second)), "timer interrupts of each CPU", ticks)


def check_time(c, m):
    before = time.time()
    seen = int(m.console.run("cat /sys/class/rtc/rtc0/since_epoch"))
    c.true(int(before) - 1 <= seen <= time.time() + 1, "the RTC's time", (seen, before))
    system = int(m.console.run("date +%s"))
    c.true(int(before) - 2 <= system <= time.time() + 2, "the system time", (system, before))


def check_tables(c, m):
    """Checksums, and the bytes against the fingerprint's."""
    leaves = {l["item"][5:9]: bytes.fromhex(l["value"]) for l in m("query-guest-abi", detail=True)["leaves"]
              if l["device"] == "board" and l["item"].startswith("acpi:")}
    names = m.console.run("cd /sys/firmware/acpi/tables; for i in *; do [ -f $i ] && echo $i; done; cd /").split()
    c.true({"APIC", "FACP", "DSDT", "MCFG", "WAET"} <= set(names), "tables in sysfs", names)
    for name in names:
        text = m.console.run("xxd -p /sys/firmware/acpi/tables/%s" % name)
        data = binascii.unhexlify(text.replace("\n", ""))
        if name == "FACS":
            continue
        c.equal((sum(data) & 0xFF, int.from_bytes(data[4:8], "little")), (0, len(data)), "checksum and length of " + name)
        if name in ("APIC", "MCFG", "WAET", "SRAT"):  # those without addresses of other tables
            c.equal(data.hex(), leaves.get(name, b"").hex(), "the bytes of " + name)


def check_log(c, m):
    log = m.console.run("dmesg -r")
    c.equal(complaints(log), [], "complaints of the kernel")
    c.true("Firmware Bug" not in log, "'Firmware Bug' in the kernel's log")
    for need in (r"ACPI: \d+ ACPI AML tables successfully acquired", r"ACPI: Using IOAPIC for interrupt routing",
                 r"Power Button \[PWRF\]", r"ttyS0 at I/O 0x3f8 \(irq = 4.*16550A", r"rtc_cmos.*setting system clock",
                 r"kvm-clock|PVM|[Hh]ypervisor"):
        c.true(re.search(need, log), "the kernel's log has no " + need)
    return log


def add_boot_case(cpus, size):
    @case("%d CPUs and %g GiB: boots to a shell, all is right, powers off" % (cpus, size / GIB))
    def _(c):
        linux = linux_guest(c)
        with Machine(c) as m:
            boot(m, linux, cpus=cpus, memory=size)
            c.equal(m.console.run("echo $((6 * 7))"), "42\n", "an answer of the shell")
            check_cpus(c, m, cpus)
            check_memory(c, m, size)
            check_time(c, m)
            check_log(c, m)
            if size == 512 * MIB:
                check_tables(c, m)
            m.console.send("poweroff -f\n")
            m.wait("SHUTDOWN", 30, guest=True, reason="guest-shutdown")
            m.wait("STOP")
            m.check_state("shutdown")


for _cpus in (1, 2, 8):
    for _size in (512 * MIB, 6 * GIB):
        add_boot_case(_cpus, _size)


@case("the stock kernel as a bzImage")
def _(c):
    linux = linux_guest(c)
    if not linux.bzimage:
        c.skip("the kernel for this host is an ELF file only")
    with Machine(c) as m:
        boot(m, linux, cpus=2, kernel=linux.bzimage)
        check_cpus(c, m, 2)
        check_log(c, m)
        m.console.send("poweroff -f\n")
        m.wait("SHUTDOWN", 30, guest=True, reason="guest-shutdown")


@case("bench cpu runs to its end")
def _(c):
    linux = linux_guest(c)
    with Machine(c) as m:
        boot(m, linux, "quiet run=bench,cpu", cpus=2)
        m.wait("SHUTDOWN", 120, guest=True, reason="guest-shutdown")
        for line in (r"loop: \d+ Miter/s", r"getppid .*us", r"anon page fault .*us", r"fork\+exit\+wait .*us", r"pipe ping-pong .*us", r"DONE "):
            c.true(re.search(line, m.console.text), "the benchmark's output has no " + line)
        c.true("Call Trace" not in m.console.text, "a call trace")


@case("a CPU plugged before cont and one plugged before a reset are there")
def _(c):
    linux = linux_guest(c)
    with Machine(c) as m:
        m.board(max_cpus=4)
        m.cpu("a")
        m.memory(GIB)
        m.serial("console")
        m.loader(linux.kernel, linux.words + " run=shell", initrd=linux.initrd)
        m.cpu("b")
        m.cont()
        m.console.start_shell()
        check_cpus(c, m, 2)
        c.equal(m.console.run("cat /sys/devices/system/cpu/possible").strip(), "0-3", "possible CPUs")
        m.cpu("c")
        m("system_reset")
        m.console.start_shell()
        check_cpus(c, m, 3)
        check_log(c, m)
        m.check_state("running")


@case("reboot by the guest: RESET, and it comes up again")
def _(c):
    linux = linux_guest(c)
    with Machine(c) as m:
        boot(m, linux, cpus=2)
        for _ in range(2):
            seen = len(m.qmp.events)
            m.console.send("reboot -f\n")
            m.wait("RESET", 30, guest=True, reason="guest-reset")
            m.console.start_shell()
            c.equal([e["event"] for e in m.qmp.events[seen:]], ["RESET"], "the events")
            m.check_state("running")
            check_cpus(c, m, 2)
        m("set-action", shutdown="poweroff")
        m.console.send("poweroff -f\n")
        c.equal(m.exit_status(), 0, "the exit status")


# ---- PCI Express

def config_space(m, address):
    """The first 512 bytes: no function has registers behind them."""
    return bytes.fromhex(m.console.run("head -c 512 /sys/bus/pci/devices/0000:%s/config | xxd -p" % address).replace("\n", ""))


def check_config(c, m, device, address):
    """Bits that no guest can change are in the guest as the fingerprint has them."""
    leaves = {l["item"]: l["value"] for l in m("query-guest-abi", detail=True)["leaves"] if l["device"] == device}
    value, mask = (bytes.fromhex(x) for x in leaves["config"].split("/"))
    w1c = bytes.fromhex(leaves["config-w1c"])
    seen = config_space(m, address)
    c.equal(len(seen), 512, "the size of the extended configuration space of " + device)
    wrong = [hex(i) for i, b in enumerate(seen) if (b ^ value[i]) & ~(mask[i] | w1c[i])]
    c.equal(wrong, [], "registers of %s that are not as configured" % device)
    return seen


def check_bridges(c, m, ports):
    """Numbers and windows are those of query-pci, and the guest has the windows as resources."""
    on_root = {d["qdev_id"]: d for d in m("query-pci")[0]["devices"]}
    iomem = m.console.run("cat /proc/iomem")
    for number, (device, address) in enumerate(ports.items(), 1):
        config = check_config(c, m, device, address)
        c.equal(config[0x18:0x1B], bytes((0, number, number)), "the bus numbers of " + device)
        bus = on_root[device]["pci_bridge"]["bus"]
        c.equal((bus["number"], bus["secondary"], bus["subordinate"]), (0, number, number), "query-pci's of " + device)
        for window, least in ("memory_range", 2 * MIB), ("prefetchable_range", 32 * MIB):
            base, limit = bus[window]["base"], bus[window]["limit"]
            c.true(limit - base + 1 >= least, "room in the %s of %s" % (window, device), (base, limit))
            c.contains(iomem, "%x-%x : PCI Bus 0000:%02x" % (base, limit, number), "/proc/iomem")


@case("root ports: numbers, windows and slots without a complaint")
def _(c):
    linux = linux_guest(c)
    ports = {"rp0": "00:01.0", "rp1": "00:01.1", "native": "00:04.0"}
    with Machine(c) as m:
        m.board(max_cpus=2)
        for id in ports:
            m("device_add", driver="pcie-root-port", id=id, **({"native-hotplug": True, "addr": "4"} if id == "native"
                                                               else {"multifunction": True}))
        m.cpu("a")
        m.memory(512 * MIB)
        m.serial("console")
        m.loader(linux.kernel, linux.words + " run=shell", initrd=linux.initrd)
        m.cont()
        before = m("query-guest-abi")["fingerprint"]
        m.console.start_shell()
        log = check_log(c, m)
        c.equal(re.findall(r"pci 0000:(\S+): \[1b36:000c\] type 01 class 0x060400 PCIe Root Port", log), list(ports.values()), "ports")
        check_bridges(c, m, ports)
        if "pciehp" in log:  # a kernel that has the driver
            c.equal(re.findall(r"pcieport 0000:(\S+): pciehp: Slot #(\d+)", log), [("00:04.0", "2")], "native slots")
        m.check_state("running")
        c.equal(m("query-guest-abi")["fingerprint"], before, "the fingerprint after the guest's changes")


# ---- the console under load

@case("64 KiB out of the guest, 64 KiB through it both ways: nothing is lost")
def _(c):
    linux = linux_guest(c)
    with Machine(c) as m:
        boot(m, linux, cpus=2)
        text = m.console.run("seq 1 13000", 120)
        c.equal(text.split(), [str(i) for i in range(1, 13001)], "13000 numbers")
        payload = bytes(seed().choices(range(256), k=65536))
        # Raw both ways; dd stops by itself after so many bytes. Nothing is sent before it listens.
        m.console.send("stty raw -echo; echo go''; dd bs=64 count=1024 iflag=fullblock 2>/dev/null | tee /tmp/in; stty -raw; echo; md5sum < /tmp/in\n")
        m.console.expect(r"go\r?\n")
        began = m.console.mark
        for at in range(0, len(payload), 4096):
            m.console.send(payload[at:at + 4096])
            # A terminal's input has no flow control of its own (its queue is 4 KiB): whoever pastes waits for the echo.
            with m.console.changed:
                m.console.changed.wait_for(lambda: len(m.console.data) >= began + at + 4096, 60 * PATIENCE)
        echoed = bytes(m.console.data[began:began + 65536])
        c.equal(len(echoed), 65536, "bytes that came back")
        c.true(echoed == payload, "the first wrong byte", next((i for i, (x, y) in enumerate(zip(echoed, payload)) if x != y), None))
        m.console.mark = began + 65536
        m.console.expect(r"END-0\r\n")
        c.equal(m.console.run("wc -c < /tmp/in").strip(), "65536", "bytes in the guest")


@case("four busy CPUs under stop and cont, 100 times: no complaint, no lost work")
def _(c):
    linux = linux_guest(c)
    with Machine(c) as m:
        boot(m, linux, cpus=4)
        m.console.run("for i in 1 2 3 4; do (seq 1 100000 | md5sum > /tmp/sum$i; : > /tmp/done$i) & done; true")
        for _ in range(100):
            m.stop()
            m.cont()
        sums = m.console.run("while [ $(ls /tmp/done* 2>/dev/null | wc -l) -lt 4 ]; do usleep 50000; done; cat /tmp/sum*", 120)
        c.equal(sums.split()[::2], [m.console.run("seq 1 100000 | md5sum").split()[0]] * 4, "sums")
        c.equal(complaints(m.console.run("dmesg -r")), [], "complaints of the kernel")
        check_cpus(c, m, 4)
        m.check_state("running")


main()

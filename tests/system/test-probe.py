#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the probe guest sees, against what was plugged and what QMP says about it.

Every run must be free of complaints of its own (probe.Run.problems()); on top of that the memory map, ACPI tables, SMBIOS, PCI
configuration bytes, CPUs, CPUID and the clock are compared with the configuration, query-guest-abi and the other queries.
"""

import calendar
import struct
import time

from backplane import *

# What a full run looks at. The slow ones (irq, rtc: a few seconds) are asked for where they matter.
QUICK = "probe=cpuid,memmap,acpi,pci,smp,cpuhp"
E820_RAM = 1
CPUID_ENTRY = 40  # struct kvm_cpuid_entry2


def abi(m):
    """Leaves of the fingerprint: values by device and item, bytes where they are not text."""
    leaves = {}
    for leaf in m("query-guest-abi", detail=True)["leaves"]:
        value = leaf["value"]
        if leaf["item"].endswith(":config"):
            value = value.split("/")[0]  # the bytes; behind them is which bits can be written
        if not leaf["item"].startswith("prop:") and re.fullmatch(r"(?:[0-9a-f]{2})*", value):
            value = bytes.fromhex(value)
        leaves[leaf["device"], leaf["item"]] = value
    return leaves


def run_probe(c, m, append, timeout=60, **build):
    """Builds, boots and checks what holds for every machine; the run."""
    m.build(append=append, **build)
    before = abi(m)
    m.cont()
    run = m.finish(timeout)
    m.check_state("shutdown")
    c.equal(run.problems(), [], "what the probe calls bad")
    c.equal(run.end, "poweroff", "how it ended")
    done = run.sections_done
    if "memmap" in done:
        check_memory(c, m, run, build.get("memory", 512 * MIB))
    if "acpi" in done:
        check_acpi(c, m, run)
        check_madt(c, m, run)
    if "pci" in done:
        check_pci(c, m, run, before)
    if "smp" in done:
        check_smp(c, m, run)
    if "cpuhp" in done:
        check_cpuhp(c, m, run)
    return run


# ---- the checks

def check_memory(c, m, run, size):
    c.equal(m("query-memory-size-summary")["base-memory"], size, "base-memory")
    c.equal(sum(d["data"]["size"] for d in m("query-memory-devices")), size, "the sum of the DIMMs")
    lowmem = size if size <= 2816 * MIB else 2 * GIB
    ram = [(0, lowmem)] + ([(4 * GIB, size - lowmem)] if size > lowmem else [])
    for source, ranges in run.mem.items():
        usable = sorted((base, length) for base, length, kind in ranges if kind == E820_RAM)
        for base, length in usable:
            c.true(any(b <= base and base + length <= b + n for b, n in ram),
                   "%s calls 0x%x+0x%x RAM, which is none" % (source, base, length), ram)
        # Every byte above 1 MiB is in the map: RAM, but for what the loader's tables take.
        inside = [(base, length, kind) for base, length, kind in ranges
                  if base >= MIB and any(b <= base < b + n for b, n in ram)]
        c.equal(sum(length for _, length, _ in inside), size - MIB, "the bytes of RAM in the map from " + source)
        c.true(sum(length for _, length, kind in inside if kind != E820_RAM) <= MIB, "tables take more than 1 MiB", ranges)
    if "fwcfg" in run.mem:
        data = abi(m)["board", "memory-map"]
        c.equal([struct.unpack_from("<QQI", data, i) for i in range(0, len(data), 20)], run.mem["fwcfg"],
                "the memory map of query-guest-abi")
    if run.mode == 64:
        c.equal(run.one("mem-test")["skipped"], 0, "ranges that the probe could not reach")
    c.true(run.one("mem-test")["touched"] >= 1, "no memory was touched")


def check_acpi(c, m, run):
    leaves, by_signature = abi(m), {}
    for (device, item), data in leaves.items():
        if item.startswith("acpi:") and item != "acpi:RSDP":
            by_signature.setdefault(item[5:9], data)
    for signature in ("FACP", "DSDT", "APIC", "MCFG", "WAET"):
        c.true(signature in run.tables, "there is no table " + signature, list(run.tables))
    for signature, lines in run.tables.items():
        data = by_signature.get(signature)
        if data is None or signature == "FACS":
            continue
        c.equal((lines[0]["len"], lines[0]["rev"]), (len(data), data[8]), "length and revision of " + signature)
        c.equal(lines[0]["oem"].strip("\0 "), data[10:16].decode().strip("\0 "), "OEM id of " + signature)
    c.equal(run.one("acpi", "rsdp")["checksum"], "ok", "the RSDP's checksum")
    mcfg = run.one("acpi", "mcfg")
    c.equal((mcfg["base"], mcfg["bus_first"]), (leaves_number(leaves, "ecam-base"), 0), "the MCFG")
    c.equal(run.one("acpi", "s5")["found"], 1, "_S5 found")


def leaves_number(leaves, name):
    return int(leaves["board", "prop:" + name].split("=")[1])


def apic_ids(slots):
    """The ids that the topology numbers lead to: each level takes the bits that its largest number needs (CPUID leaf 0xb)."""
    props = [s["props"] for s in slots]
    ids = []
    for p in props:
        value, shift = 0, 0
        for level in ("thread-id", "core-id", "die-id", "socket-id"):
            value |= p[level] << shift
            shift += max(q[level] for q in props).bit_length()
        ids.append(value)
    return ids


def check_madt(c, m, run):
    slots = m("query-hotpluggable-cpus")
    want = [(i, a, 1 if "qom-path" in s else 2) for i, (s, a) in enumerate(zip(slots, apic_ids(slots)))]
    c.equal([(e["uid"], e["apic"], e["flags"] & 3) for e in run.madt_cpus], want, "the MADT's processors (uid, APIC id, flags)")
    c.true(all((e["kind"] == "x2apic") == (e["apic"] > 254) for e in run.madt_cpus), "kind of the MADT's processor entries")
    c.true(run.has("acpi", "madt-ioapic"), "no I/O APIC in the MADT")
    overrides = {l["irq"]: l["gsi"] for l in run.lines("acpi", "madt-override")}
    c.equal(overrides.get(0, 0), 0, "the GSI of the timer, which KVM wires to pin 0")


def check_pci(c, m, run, before):
    """Configuration bytes as the fingerprint had them before the guest ran."""
    for address, item in (("00:00.0", "q35-host-bridge:config"), ("00:1f.0", "ICH9-LPC:config")):
        config = bytes(run.pci[address]["config"]) if address in run.pci else b""
        c.true(len(config) >= 64, "no configuration bytes of " + address, list(run.pci))
        c.equal(config.hex(), before["board", item][:len(config)].hex(), "configuration bytes of " + address)
    c.equal(run.one("pci-ecam")["present"], 1, "ECAM present")
    c.equal((run.one("pci-ecam")["mismatches"], run.one("pci-ecam")["ghosts"]), (0, 0), "ECAM against the ports")


def check_smp(c, m, run):
    slots = m("query-hotpluggable-cpus")
    plugged = [a for s, a in zip(slots, apic_ids(slots)) if "qom-path" in s]
    c.equal(sorted(run.smp), sorted(plugged), "APIC ids of the CPUs that came up")
    c.true(all(cpu["started"] == 1 and cpu["ids"] == "ok" for cpu in run.smp.values()), "not all CPUs came up right", run.smp)
    total = run.one("smp-total")
    c.equal((total["online"], total["enabled"], total["possible"]), (len(plugged), len(plugged), len(slots)),
            "CPUs online, enabled, possible")
    work = run.one("smp-work")
    c.equal((work["total"], work["cpus"]), (work["expected"], len(plugged)), "the common work")
    c.equal(len(m("query-cpus-fast")), len(plugged), "CPUs in query-cpus-fast")


def check_cpuhp(c, m, run):
    slots = m("query-hotpluggable-cpus")
    seen = run.cpuhp
    c.equal([seen[i]["arch_id"] for i in range(len(slots)) if i in seen], apic_ids(slots), "ids in the hotplug registers")
    c.equal([seen[i]["present"] for i in range(len(slots)) if i in seen], [int("qom-path" in s) for s in slots],
            "presence in the hotplug registers")


# ---- CPUs

def add_cpu_case(cpus, max_cpus, words, **build):
    @case("%d CPUs of %d: everything the probe looks at is right" % (cpus, max_cpus))
    def _(c):
        with Machine(c) as m:
            run = run_probe(c, m, words, cpus=cpus, max_cpus=max_cpus, timeout=120, **build)
            c.equal(run.boot, "pvh", "the boot protocol")


add_cpu_case(1, 1, "")
add_cpu_case(2, 5, "pci=full sci")
add_cpu_case(8, 8, "probe=acpi,irq,smp,cpuhp work=20000")
add_cpu_case(64, 64, QUICK)
add_cpu_case(3, 300, "probe=acpi,smp,cpuhp")


def add_topology_case(sockets, dies, cores, threads):
    @case("topology of %d sockets, %d dies, %d cores, %d threads" % (sockets, dies, cores, threads))
    def _(c):
        count = sockets * dies * cores * threads
        with Machine(c) as m:
            run = run_probe(c, m, "probe=cpuid,acpi,smp,cpuhp", cpus=count, board={
                "cpu-sockets": sockets, "cpu-dies": dies, "cpu-cores": cores, "cpu-threads": threads})
            slots = [s["props"] for s in m("query-hotpluggable-cpus")]
            c.equal([(p["socket-id"], p["die-id"], p["core-id"], p["thread-id"]) for p in slots],
                    [(s, d, k, t) for s in range(sockets) for d in range(dies) for k in range(cores) for t in range(threads)],
                    "the slots")
            if (0xB, 0) in run.cpuid and run.cpuid[0xB, 0]["ebx"]:
                smt, core = run.cpuid[0xB, 0], run.cpuid[0xB, 1]
                c.equal((smt["eax"] & 31, smt["ebx"]), ((threads - 1).bit_length(), threads), "CPUID leaf 0xb, threads")
                shift = sum((n - 1).bit_length() for n in (threads, cores, dies))
                c.equal((core["eax"] & 31, core["ebx"]), (shift, threads * cores * dies), "CPUID leaf 0xb, the package")


for topology in ((2, 1, 2, 2), (1, 2, 3, 2), (4, 1, 1, 1), (1, 1, 1, 4), (3, 1, 5, 1)):
    add_topology_case(*topology)


@case("CPUID: what every host passes on")
def _(c):
    with Machine(c) as m:
        run = run_probe(c, m, "probe=cpuid", cpus=2, cpu_type="qemu64-x86_64-cpu")
        leaves = abi(m)
        c.equal(run.vendor, leaves["cpu0", "prop:vendor"].split('"')[1], "the vendor")
        c.equal(run.cpuid[1, 0]["eax"], int(leaves["cpu0", "prop:signature"].split("=")[1]), "family, model, stepping")
        c.equal(run.cpuid[1, 0]["ebx"] >> 16 & 0xFF, 2, "logical processors in leaf 1")
        brand = b"".join(struct.pack("<4I", *(run.cpuid[0x80000002 + i, 0][r] for r in ("eax", "ebx", "ecx", "edx")))
                         for i in range(3)).rstrip(b"\0").decode()
        c.equal(brand, leaves["cpu0", "prop:brand"].split('"')[1], "the brand")
        c.equal(struct.pack("<3I", *(run.cpuid[0x40000000, 0][r] for r in ("ebx", "ecx", "edx"))), b"KVMKVMKVM\0\0\0",
                "the hypervisor's signature")
        bits = int(leaves["board", "prop:phys-bits"].split("=")[1])
        c.equal(run.cpuid[0x80000008, 0]["eax"] & 0xFF, bits, "physical address bits")
        c.true(run.cpuid[1, 0]["ecx"] >> 31, "the hypervisor bit is not set")
        check_offered(c, run, leaves["cpu0", "cpuid"])


def check_offered(c, run, table):
    """Nothing that the table offers is missing: hosts add to it, and do not take away."""
    for at in range(0, len(table), CPUID_ENTRY):
        leaf, sub, _, *want = struct.unpack_from("<7I", table, at)
        registers = {1: ("ecx", "edx"), 7: ("ebx", "ecx"), 0x80000001: ("ecx", "edx")}.get(leaf, ())
        for register in registers if (leaf, sub) in run.cpuid else ():
            value = want[("eax", "ebx", "ecx", "edx").index(register)]
            missing = value & ~run.cpuid[leaf, sub][register]
            c.equal(missing, 0, "missing in CPUID leaf 0x%x.%d %s" % (leaf, sub, register))


def add_cpuid_case(model):
    @case("CPUID is the table handed in, bit by bit: " + model)
    def _(c):
        if not kvm_keeps_cpuid():
            c.skip("this host's KVM_GET_CPUID2 does not return what KVM_SET_CPUID2 was given")
        # Bits that follow the guest's CR4 and XCR0, or the CPU.
        dynamic = {(1, 0): (0, 0xFF000000, 1 << 27, 0), (7, 0): (0, 0, 1 << 4, 0), (0xD, 0): (0, ~0, 0, 0), (0xD, 1): (0, ~0, 0, 0)}
        with Machine(c) as m:
            run = run_probe(c, m, "probe=cpuid", cpus=1, cpu_type=model)
            table = abi(m)["cpu0", "cpuid"]
            for at in range(0, len(table), CPUID_ENTRY):
                leaf, sub, _, *want = struct.unpack_from("<7I", table, at)
                if (leaf, sub) in run.cpuid:
                    masks = dynamic.get((leaf, sub), (0,) * 4)
                    got = [run.cpuid[leaf, sub][r] & ~k for r, k in zip(("eax", "ebx", "ecx", "edx"), masks)]
                    c.equal(["%08x" % x for x in got], ["%08x" % (x & ~k) for x, k in zip(want, masks)],
                            "CPUID leaf 0x%x.%d" % (leaf, sub))


add_cpuid_case("qemu64-x86_64-cpu")
add_cpuid_case("host-x86_64-cpu")


# ---- memory

def add_memory_case(size, backend, words="probe=memmap,acpi,pci", image=PROBE_PVH, boot="pvh", **extra):
    @case("%g GiB from %s by %s%s" % (size / GIB, backend, os.path.basename(image), " in 32-bit mode" if "mode=32" in words else ""))
    def _(c):
        with Machine(c) as m:
            run = run_probe(c, m, words, memory=size, backend=backend, kernel=image, **extra)
            c.equal(run.boot, boot, "the boot protocol")
            c.equal(run.mode, 32 if "mode=32" in words else 64, "the mode")
            c.true(m.resident() < 400 * MIB, "untouched memory takes host memory", m.resident())


for gib in (0.5, 2.75, 3, 6, 64):
    add_memory_case(int(gib * GIB), "memfd")
for gib in (0.5, 64):
    add_memory_case(int(gib * GIB), "ram")
for gib in (0.5, 6, 64):
    add_memory_case(int(gib * GIB), "memfd", image=PROBE_MULTIBOOT, boot="multiboot", protocol="multiboot")
add_memory_case(3 * GIB, "memfd", image=PROBE_FLAT, boot="multiboot", words="probe=memmap,acpi,pci,smp", cpus=2)
add_memory_case(3 * GIB, "memfd", words="probe=cpuid,memmap,acpi,pci,serial,rtc mode=32")
add_memory_case(GIB, "ram", words="probe=memmap,acpi mode=32", image=PROBE_MULTIBOOT, boot="multiboot", protocol="multiboot")


@case("RAM of several DIMMs is one, in slot order")
def _(c):
    with Machine(c) as m:
        m.board(max_cpus=1)
        m.cpu()
        for number, (size, slot) in enumerate(((256 * MIB, 2), (GIB, 0), (4 * GIB, 1))):
            m("object-add", qom_type="memory-backend-memfd", id="m%d" % number, size=size)
            m("device_add", driver="pc-dimm", id="d%d" % number, memdev="m%d" % number, slot=slot)
        m.serial()
        m.loader(append="probe=memmap")
        m.cont()
        run = m.finish()
        c.equal(run.problems(), [], "what the probe calls bad")
        check_memory(c, m, run, 5 * GIB + 256 * MIB)
        found = {d["data"]["id"]: (d["data"]["slot"], d["data"]["addr"]) for d in m("query-memory-devices")}
        # Slot 0 is 0-1 GiB, slot 1 is 1-2 and 4-7 GiB, slot 2 follows.
        c.equal(found, {"d1": (0, 0), "d2": (1, GIB), "d0": (2, 7 * GIB)}, "slots and addresses of the DIMMs")


# ---- identity and time

SMBIOS = {"smbios-bios-vendor": "Vendor 0", "smbios-bios-version": "V 0.1", "smbios-bios-date": "02/29/2024",
          "smbios-manufacturer": "Maker", "smbios-product": "Product <&\"'>", "smbios-version": "rev 7", "smbios-serial": "SN-0001",
          "smbios-sku": "sku 5", "smbios-family": "fam", "smbios-chassis-manufacturer": "Case", "smbios-chassis-version": "C1",
          "smbios-chassis-serial": "CSN", "smbios-chassis-asset": "asset-9", "smbios-cpu-manufacturer": "CPU maker",
          "smbios-cpu-version": "CPU 3", "smbios-memory-manufacturer": "RAM maker"}


@case("SMBIOS and ACPI carry the board's properties")
def _(c):
    text = "00112233-4455-6677-8899-aabbccddeeff"
    with Machine(c) as m:
        run = run_probe(c, m, "probe=acpi", cpus=2, memory=GIB, board=dict(SMBIOS, **{
            "uuid": text, "acpi-oem-id": "OEMID1", "acpi-oem-table-id": "TABLEID1"}))
        c.equal(m("query-uuid")["UUID"], text, "query-uuid")
        check_smbios(c, run, text)
        for signature in ("FACP", "DSDT", "APIC", "MCFG"):
            line = run.tables[signature][0]
            c.equal((line["oem"], line["oemtable"]), ("OEMID1", "TABLEID1"), "OEM ids of " + signature)


def check_smbios(c, run, uuid):
    by_type = {}
    for structure in run.smbios.values():
        by_type.setdefault(structure["type"], []).append(structure)
    c.equal(sorted(by_type), [0, 1, 3, 4, 16, 17, 19, 32, 127], "types of SMBIOS structures")

    def string(kind, offset):
        structure = by_type[kind][0]
        index = structure["data"][offset]
        return structure["strings"][index - 1] if index else ""
    # Offsets of string numbers: SMBIOS 3.x, 7.1 to 7.18.
    for kind, offset, name in ((0, 4, "bios-vendor"), (0, 5, "bios-version"), (0, 8, "bios-date"), (1, 4, "manufacturer"),
                               (1, 5, "product"), (1, 6, "version"), (1, 7, "serial"), (1, 25, "sku"), (1, 26, "family"),
                               (3, 4, "chassis-manufacturer"), (3, 6, "chassis-version"), (3, 7, "chassis-serial"),
                               (3, 8, "chassis-asset"), (4, 7, "cpu-manufacturer"), (4, 16, "cpu-version"),
                               (17, 23, "memory-manufacturer")):
        c.equal(string(kind, offset), SMBIOS["smbios-" + name], "SMBIOS type %d, %s" % (kind, name))
    # The first three fields of a UUID are little endian there.
    raw = bytes.fromhex(uuid.replace("-", ""))
    c.equal(by_type[1][0]["data"][8:24], raw[3::-1] + raw[5:3:-1] + raw[7:5:-1] + raw[8:], "the UUID in SMBIOS type 1")
    c.equal(len(by_type[4]), 1, "sockets in SMBIOS")
    size = struct.unpack_from("<H", by_type[17][0]["data"], 12)[0]
    c.equal(size, 1024, "MiB of the DIMM in SMBIOS type 17")


def guest_clock(run):
    line = run.one("rtc")
    return calendar.timegm(time.strptime("%s %s" % (line["date"], line["time"]), "%Y-%m-%d %H:%M:%S"))


def add_clock_case(base, offset, fixed=None, zone=None):
    @case("the clock with rtc-base=%s%s" % (base, " in zone " + zone if zone else ""))
    def _(c):
        with Machine(c, env={"TZ": zone} if zone else None) as m:
            began = time.time()
            run = run_probe(c, m, "probe=rtc", board={"rtc-base": base})
            low, high = (began, time.time()) if fixed is None else (fixed, fixed + time.time() - began)
            seen = guest_clock(run)
            c.true(int(low) + offset <= seen <= int(high) + 1 + offset, "the guest's clock is off by %g s" % (seen - low - offset), seen)
            c.equal(run.one("rtc")["weekday"], time.gmtime(seen).tm_wday % 7 + 2 if time.gmtime(seen).tm_wday < 6 else 1, "the weekday")
            c.equal(run.one("rtc-tick")["tick"], "ok", "the seconds' tick")


add_clock_case("utc", 0)
add_clock_case("localtime", 5 * 3600 + 1800, zone="TST-05:30")
add_clock_case("2024-02-28T23:59:58", 0, fixed=calendar.timegm((2024, 2, 28, 23, 59, 58)))
add_clock_case("1999-12-31T23:59:59", 0, fixed=calendar.timegm((1999, 12, 31, 23, 59, 59)))

main()

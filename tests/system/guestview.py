# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a Linux guest shows of its machine by lspci -vvv, /proc/iomem, /proc/interrupts and dmidecode (and acpi_index in sysfs), and what it should show by
the machine's configuration: query-machine-config's resolved values, query-pci, query-memory-devices, query-cpus-fast.

    seen = View(m)                    # runs them in the guest's shell
    wanted = Wanted(m)                # asks the daemon
    compare(seen, wanted)             # the differences, as text; none: all is as configured

The two know nothing of each other, and nothing here is computed by the daemon's own code: a rule of docs/design/machine.md (which
interrupt a pin ends in, how a slot is numbered) is written down a second time.
"""
import base64
import gzip
import re

from backplane import GIB, MIB

QUEUES = {  # the queues that Linux's drivers want an interrupt for
    "virtio-blk-pci": lambda p: ["req.%d" % i for i in range(p["num-queues"])],
    "virtio-net-pci": lambda p: ["input.0", "output.0"],
    "virtio-rng-pci": lambda p: ["input"],
    "virtio-balloon-pci": lambda p: ["inflate", "deflate", "stats"],
    "virtio-serial-pci": None,  # many: they have to share here
}
SPEEDS = {1: "2.5GT/s", 2: "5GT/s", 3: "8GT/s", 4: "16GT/s", 5: "32GT/s"}
# Words by which lspci and dmidecode say that something is wrong, or is not there.
ODD_PCI = re.compile(r"!!!|BAD|access denied|\[virtual\]|<unassigned>|<ignored>|\[disabled|<chain|\?\?|[Uu]nknown|type 3|downgraded|overdriven|^\S+ .*rev ff")
ODD_DMI = re.compile(r"BAD|SPEC>|[Ww]rong|[Bb]roken|[Ii]nvalid|mismatch|[Tt]runcated|!!|Unknown|No SMBIOS")
EXCUSED = re.compile("|".join((
    r"VirtIO: <unknown>$",  # lspci 3.9 does not know VIRTIO_PCI_CAP_PCI_CFG
    r" behind bridge: .* \[disabled\]",  # a port without one, which is compared
    # QEMU says no more of these
    r"^\t(Voltage|External Clock|Security Status|Total Width|Data Width|Speed|Rank|Configured Memory Speed|\w+ Voltage): Unknown$",
)))


# ---- what the guest says

def paragraphs(text):
    return [p.split("\n") for p in text.strip("\n").split("\n\n") if p.strip()]


def parse_lspci(text):
    """{address: {head..., lines: [...], caps: {offset: (title, [lines])}}}"""
    functions = {}
    for lines in paragraphs(text):
        head = re.match(r"(\S+) Class \[(\w+)\]: Device \[(\w+):(\w+)\](?: \(rev (\w+)\))?(.*)$", lines[0])
        assert head and not head.group(6), lines[0]
        f = functions[head.group(1)] = {"ids": tuple(int(x or "0", 16) for x in head.group(2, 3, 4, 5)), "lines": [], "caps": {}}
        body = f["lines"]
        for line in lines[1:]:
            cap = re.match(r"\tCapabilities: \[(\w+)(?: v\d)?\] (.*)", line)
            if cap:
                body = []
                f["caps"][int(cap.group(1), 16)] = (cap.group(2), body)
            elif re.match(r"\t[^\t]", line):
                body = f["lines"]
                body.append(line.strip())
            else:
                body.append(line.strip())
    return functions


def parse_iomem(text):
    """[(depth, start, end, name)]"""
    lines = (re.match(r"( *)(\w+)-(\w+) : (.*)", l) for l in text.splitlines())
    return [(len(l.group(1)) // 2, int(l.group(2), 16), int(l.group(3), 16), l.group(4)) for l in lines]


def parse_interrupts(text):
    """(number of CPUs, {(chip, input): (trigger, {names})}) of the numbered ones."""
    lines, found = text.splitlines(), {}
    for line in lines[1:]:
        match = re.match(r" *\d+:(?: +\d+)+ +(\S+) +(\d+)-(\w+) +(.*)$", line)
        if not match:
            continue
        chip, number, trigger, names = match.group(1), int(match.group(2)), match.group(3), match.group(4)
        if chip == "PCI-MSI":  # of Linux before 6.5: all functions in one
            chip, number = "PCI-MSIX-0000:%02x:%02x.%d" % (number >> 19, number >> 14 & 31, number >> 11 & 7), number & 0x7FF
        found[(chip, number)] = (trigger, set(names.split(", ")))
    return len(lines[0].split()), found


def parse_dmi(text):
    """[(type, {field: value})]; a field's list is its values joined."""
    found = []
    for lines in paragraphs(text):
        head = re.match(r"Handle 0x\w+, DMI type (\d+), \d+ bytes", lines[0])
        if not head:
            continue
        fields, last = {}, None
        for line in lines[2:]:
            if line.startswith("\t\t"):
                fields[last] = (fields[last] + "; " + line.strip()).lstrip("; ")
            else:
                last, _, value = line.strip().partition(":")
                fields[last] = value.strip()
        found.append((int(head.group(1)), fields))
    return found


class View:
    """What the guest shows, as text. RESCANNED: it has looked for devices since it booted, and made plans for ports' I/O windows then,
    which it does not write into their registers before there is a use for them: lspci shows the plan."""

    def __init__(self, m, rescanned=False):
        self.rescanned = rescanned
        # packed: a serial port costs an exit a byte
        run = lambda command: gzip.decompress(base64.b64decode(m.console.run("(%s) | gzip -c | base64" % command))).decode()
        # lspci would like the list of modules that the initrd has not got
        self.lspci = run("/usr/bin/lspci -vvv -nn 2> /tmp/err; grep -v 'Unable to load libkmod' /tmp/err; true")
        self.iomem = run("cat /proc/iomem")
        self.interrupts = run("cat /proc/interrupts")
        self.dmi = run("/usr/sbin/dmidecode 2>&1")
        self.names = run("cd /sys/bus/pci/devices; grep . */acpi_index || true; cd /")
        links = run("cd /sys/bus/pci/devices; ls -d */virtio*; cd /").split()
        self.virtio = {link.partition("/")[0][5:]: link.partition("/")[2] for link in links}


# ---- what it should show

class Wanted:
    def __init__(self, m):
        self.config = {d["id"]: dict({p["name"]: p["value"] for p in d["properties"]}, driver=d["type"])
                       for d in m("query-machine-config", resolved=True)["resolved"] if d["ns"] == "device"}
        self.board = self.config["board"]
        self.leaves = {(l["device"], l["item"]): bytes.fromhex(l["value"].split("/")[0])
                       for l in m("query-guest-abi", detail=True)["leaves"] if l["item"].startswith("virtio-")}
        self.memory = [d["data"] for d in m("query-memory-devices")]
        self.base = m("query-memory-size-summary")["base-memory"]
        self.cpus = m("query-cpus-fast")
        self.functions = {}  # {address: (of query-pci, port's id or None)}
        self._walk(m("query-pci")[0]["devices"], None)

    def _walk(self, devices, port):
        for d in devices:
            self.functions["%02x:%02x.%d" % (d["bus"], d["slot"], d["function"])] = (d, port)
            if "pci_bridge" in d:
                self._walk(d["pci_bridge"].get("devices", []), d["qdev_id"])

    def ids(self, address):
        """(class, vendor, device, revision, subsystem)"""
        d, b = self.functions[address][0], self.board
        p = self.config.get(d["qdev_id"])
        if p:
            return (d["class_info"]["class"], p["vendor-id"], p["device-id"], p["revision"],
                    (p["subsystem-vendor-id"], p["subsystem-device-id"]))
        part = {"00:00.0": "host-bridge", "00:1f.0": "lpc"}[address]
        return (d["class_info"]["class"], b[part + "-vendor-id"], b[part + "-device-id"], b[part + "-revision"],
                (b["subsystem-vendor-id"], b["subsystem-device-id"]))

    def slot_number(self, address):
        """What the guest knows its slot by; None: none."""
        d, port = self.functions[address]
        p = self.config.get(port)
        if p:
            return p["slot"] if p["native-hotplug"] else 32 + p["slot"] + 8192 * p["chassis"]
        cold = [f for a, (f, up) in self.functions.items() if not up and f["slot"] == d["slot"]
                and self.config.get(f["qdev_id"], {}).get("driver", "pcie-root-port") == "pcie-root-port"]
        return None if cold else d["slot"]

    def input_of(self, address):
        """The IOAPIC's, of the function's pin."""
        d, port = self.functions[address]
        pin, slot = d["irq_pin"] - 1, d["slot"]
        if port:
            pin, slot = (pin + slot) % 4, next(f["slot"] for f, _ in self.functions.values() if f["qdev_id"] == port)
        assert slot < 25 or slot == 30
        return 20 + (slot + pin) % 4

    def below_4g(self):
        return min(self.base, self.board["lowmem"])


class Differences(list):
    def equal(self, what, seen, want):
        if seen != want:
            self.append("%s: %r, not %r" % (what, seen, want))


def size_text(n):
    for unit, shift in ("G", 30), ("M", 20), ("K", 10):
        if n >> shift:
            return "%d%s" % (n >> shift, unit)
    return str(n)


def range_text(base, limit, width):
    if base > limit:
        return "%0*x-%0*x [disabled]" % (width, base, width, limit)
    return "%0*x-%0*x [size=%s]" % (width, base, width, limit, size_text(limit + 1 - base))


# ---- PCI

def line_of(lines, start):
    found = [l[len(start):].strip() for l in lines if l.startswith(start)]
    return found[0] if len(found) == 1 else found or None


def capability(name, p, w, address):
    """(title, beginnings of lines that are there) of the capability NAME."""
    d, port = w.functions[address]
    virtio = "Vendor Specific Information: VirtIO: "
    leaf = lambda item: w.leaves[(d["qdev_id"], item)]
    at = lambda offset, size, more="": ["BAR=4 offset=%08x size=%08x%s" % (offset, size, more)]
    if name == "common":
        return virtio + "CommonCfg", at(0, 0x3C)
    if name == "isr":
        return virtio + "ISR", at(0x1000, 1)
    if name == "device":
        return virtio + "DeviceCfg", at(0x2000, max(4, int.from_bytes(leaf("virtio-config-size"), "little")))
    if name == "notify":
        return virtio + "Notify", at(0x3000, 2 * len(leaf("virtio-queues")), " multiplier=00000004")
    if name == "cfg":
        return virtio + "<unknown>", ["BAR=0 offset=00000000 size=00000000"]
    if name == "pm":
        return "Power Management version 3", ["Flags: PMEClk- DSI- D1- D2-", "Status: D0 NoSoftRst+"]
    if name == "msix":
        return "MSI-X: Enable+ Count=%d Masked-" % p["vectors"], ["Vector table: BAR=4 offset=00004000", "PBA: BAR=4 offset=00006000"]
    if name == "ssvid":
        return "Subsystem: Device [%04x:%04x]" % w.ids(address)[4], []
    if name == "msi":
        return "MSI: Enable+ Count=1/1 Maskable+ 64bit+", []
    if name == "aer":
        return "Advanced Error Reporting", ["UESta:\tDLP- SDES- TLP- FCP- CmpltTO- CmpltAbrt- UnxCmplt- RxOF- MalfTLP- ECRC- UnsupReq- ACSViol-",
                                            "CESta:\tRxErr- BadTLP- BadDLLP- Rollover- Timeout- AdvNonFatalErr-"]
    if name == "acs":
        return "Access Control Services", ["ACSCap:\tSrcValid+ TransBlk+ ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl- DirectTrans+"]
    assert name == "exp", name
    return express(p, w, d, port)


def express(p, w, d, port):
    no_errors = "DevSta:\tCorrErr- NonFatalErr- FatalErr- UnsupReq- AuxPwr- TransPend-"
    if p["driver"] != "pcie-root-port" and not port:
        return "Express (v2) Root Complex Integrated Endpoint, MSI 00", ["ExtTag- RBE+ FLReset+", no_errors]
    link = p if p["driver"] == "pcie-root-port" else w.config[port]
    speed = "Speed %s, Width x%d" % (SPEEDS[link["link-speed"]], link["link-width"])
    if port:
        return "Express (v2) Endpoint, MSI 00", ["LnkCap:\tPort #0, " + speed, "LnkSta:\t" + speed, "ExtTag- AttnBtn- AttnInd- PwrInd- RBE+ FLReset+",
                                                 no_errors]
    present, native = bool(d["pci_bridge"].get("devices")), p["native-hotplug"]
    return "Express (v2) Root Port (Slot+), MSI 00", [
        "LnkCap:\tPort #%d, %s" % (p["port"], speed), "LnkSta:\t" + speed, "TrErr- Train- SlotClk- DLActive%s" % "-+"[present],
        "SltCap:\tAttnBtn{0} PwrCtrl{0} MRL- AttnInd{0} PwrInd{0} HotPlug{0} Surprise{0}".format("-+"[native]), "Slot #%d, " % p["slot"],
        "Control: AttnInd Off, PwrInd %s, Power-" % ("On" if present else "Off"),
        "SltSta:\tStatus: AttnBtn- PowerFlt- MRL- CmdCplt- PresDet%s" % "-+"[present], "Changed: MRL- PresDet- LinkState-", no_errors]


def compare_capabilities(out, address, f, w):
    p = w.config.get(w.functions[address][0]["qdev_id"], {"capabilities": ""})
    places = dict(reversed(c.split("@")) for c in p["capabilities"].split(",") if c)
    out.equal(address + "'s capabilities are at", sorted(f["caps"]), sorted(int(x, 16) for x in places))
    for offset, name in places.items():
        title, lines = f["caps"].get(int(offset, 16), ("none", []))
        want, beginnings = capability(name, p, w, address)
        out.equal("%s's capability '%s'" % (address, name), title, want)
        for b in beginnings:
            if not any(l.startswith(b) for l in lines):
                out.append("%s's capability '%s' says no %r: %s" % (address, name, b, lines))


def compare_bridge(out, address, f, d, rescanned):
    bus = d["pci_bridge"]["bus"]
    numbers = "primary=%02x, secondary=%02x, subordinate=%02x, sec-latency=0" % (bus["number"], bus["secondary"], bus["subordinate"])
    out.equal(address + "'s buses", line_of(f["lines"], "Bus:"), numbers)
    for start, window, width in (("I/O", "io_range", 4), ("Memory", "memory_range", 8), ("Prefetchable memory", "prefetchable_range", 8)):
        seen = line_of(f["lines"], start + " behind bridge:")
        seen = re.sub(r" \[(16|32|64)-bit\]$", "", str(seen))  # lspci 3.9 says 32 of an open prefetchable window, whatever it is
        width *= 2 if window == "prefetchable_range" and bus[window]["base"] > bus[window]["limit"] else 1
        if rescanned and window == "io_range" and re.match(r"\w000-\wfff \[size=4K\]$", seen):
            continue
        out.equal("%s's window '%s'" % (address, start), seen, range_text(bus[window]["base"], bus[window]["limit"], width))


def compare_function(out, address, f, w, rescanned):
    d, port = w.functions[address]
    ids = w.ids(address)
    out.equal(address + "'s ids in query-pci", (d["id"]["vendor"], d["id"]["device"]), ids[1:3])
    out.equal(address + "'s class, ids and revision", f["ids"], ids[:4])
    out.equal(address + "'s subsystem", line_of(f["lines"], "Subsystem:"), "Device [%04x:%04x]" % ids[4])
    slot = w.slot_number(address)
    out.equal(address + "'s slot", line_of(f["lines"], "Physical Slot:"), None if slot is None else str(slot))
    has_caps = d["qdev_id"] in w.config
    status = "Cap%s 66MHz- UDF- FastB2B- ParErr- DEVSEL=fast >TAbort- <TAbort- <MAbort- >SERR- <PERR- INTx-" % "-+"[has_caps]
    out.equal(address + "'s status", line_of(f["lines"], "Status:"), status)
    decodes = "pci_bridge" not in d or any(open_windows(d))
    out.equal(address + "'s memory and DMA", re.findall(r"(?:Mem|BusMaster)[-+]", line_of(f["lines"], "Control:")), ["Mem" + "-+"[decodes], "BusMaster+"])
    pin = line_of(f["lines"], "Interrupt:")
    out.equal(address + "'s pin", pin and pin.split(" routed")[0], "pin A" if d["irq_pin"] else None)
    regions = ["%d: Memory at %x (%s-bit, %sprefetchable) [size=%s]" % (r["bar"], r["address"], 64 if r["mem_type_64"] else 32,
                                                                       "" if r["prefetch"] else "non-", size_text(r["size"])) for r in d["regions"]]
    out.equal(address + "'s regions", [l[7:] for l in f["lines"] if l.startswith("Region ")], regions)
    driver = {"pcie-root-port": "pcieport"}.get(w.config.get(d["qdev_id"], {}).get("driver"), "virtio-pci" if has_caps else None)
    out.equal(address + "'s driver", line_of(f["lines"], "Kernel driver in use:"), driver)
    if "pci_bridge" in d:
        compare_bridge(out, address, f, d, rescanned)
    compare_capabilities(out, address, f, w)


def compare_pci(seen, w):
    out = Differences()
    functions = parse_lspci(seen.lspci)
    out.equal("functions", sorted(functions), sorted(w.functions))
    for address in sorted(functions.keys() & w.functions.keys()):
        compare_function(out, address, functions[address], w, seen.rescanned)
    out += ["lspci: " + l for l in seen.lspci.splitlines() if ODD_PCI.search(l) and not EXCUSED.search(l)]
    return out


# ---- memory map

def merged(ranges):
    result = []
    for start, end in sorted(ranges):
        if result and start == result[-1][1] + 1:
            result[-1] = (result[-1][0], end)
        else:
            result.append((start, end))
    return result


def open_windows(d):
    """(first, last address) of the memory windows of a bridge of query-pci."""
    ranges = [d["pci_bridge"]["bus"][r] for r in ("memory_range", "prefetchable_range")]
    return [(r["base"], r["limit"]) for r in ranges if r["base"] < r["limit"]]


def wanted_ranges(w):
    """[(start, end, name)] of all that is no RAM."""
    b = w.board
    window = lambda base, size: (base, base + size - 1)
    want = [(*window(b["ecam-base"], b["ecam-size"]), "PCI ECAM"), (0xFEC00000, 0xFEC003FF, "IOAPIC 0"),
            (*window(b["pci-hole32-base"], b["pci-hole32-size"]), "PCI Bus 0000:00"),
            (*window(b["pci-hole64-base"], b["pci-hole64-size"]), "PCI Bus 0000:00")]
    for address, (d, _) in w.functions.items():
        want += [(*window(r["address"], r["size"]), "0000:" + address) for r in d["regions"]]
        if "pci_bridge" in d:
            want += [(*r, "PCI Bus 0000:%02x" % d["pci_bridge"]["bus"]["secondary"]) for r in open_windows(d)]
    return sorted(want)


def wanted_ram(w):
    ram = [(0, w.below_4g() - 1)] + ([(4 * GIB, 4 * GIB + w.base - w.below_4g() - 1)] if w.base > w.below_4g() else [])
    return merged(ram + [(d["addr"], d["addr"] + d["size"] - 1) for d in w.memory if d["hotplugged"]])


def compare_iomem(seen, w):
    out, ram, rest = Differences(), [], []
    ecam = w.board["ecam-base"]
    for depth, start, end, name in parse_iomem(seen.iomem):
        if name.startswith("System RAM") or name in ("Reserved", "ACPI Tables", "ACPI Non-volatile Storage") and start != ecam:
            ram.append((start, end))
        elif re.match(r"Kernel |virtio-pci|pnp |System ROM|Reserved|Crash kernel", name):
            continue
        else:
            rest.append((start, end, re.sub(r"^PCI (ECAM|MMCONFIG) 0000 \[bus 00-ff\]$", "PCI ECAM", name)))
    out.equal("RAM in /proc/iomem", merged(ram), wanted_ram(w))
    for r in sorted(set(rest) ^ set(wanted_ranges(w))):
        out.append("/proc/iomem %s %x-%x %s" % ("has" if r in rest else "lacks", *r))
    return out


# ---- interrupts

def wanted_interrupts(seen, w):
    """{(chip, input): (trigger, {names})}"""
    want = {("IO-APIC", 4): ("edge", {"ttyS0"}), ("IO-APIC", 8): ("edge", {"rtc0"}), ("IO-APIC", w.board["sci-irq"]): ("fasteoi", {"acpi"})}
    for address, virtio in seen.virtio.items():
        p = w.config[w.functions[address][0]["qdev_id"]]
        queues = QUEUES[p["driver"]]
        names = ["config"] + (queues(p) if queues else ["many"] * 99)
        if p["vectors"] < 2:
            want.setdefault(("IO-APIC", w.input_of(address)), ("fasteoi", set()))[1].add(virtio)
            continue
        if p["vectors"] < len(names):
            names = ["config", "virtqueues"]
        for i, name in enumerate(names):
            want[("PCI-MSIX-0000:" + address, i)] = ("edge", {virtio + "-" + name})
    return want


def compare_interrupts(seen, w):
    out = Differences()
    cpus, found = parse_interrupts(seen.interrupts)
    out.equal("CPUs in /proc/interrupts", cpus, len(w.cpus))
    out.equal("virtio devices", sorted(seen.virtio), sorted(a for a, (d, _) in w.functions.items()
                                                            if w.config.get(d["qdev_id"], {}).get("driver", "").startswith("virtio-")))
    want = wanted_interrupts(seen, w)
    ports = {"0000:" + a for a, (d, _) in w.functions.items() if "pci_bridge" in d}
    for where in sorted(found.keys() | want.keys()):
        if where[0].partition("-0000")[0] in ("PCI-MSI", "PCI-MSIX") and where[0].partition("-0000")[1] and where[0][-12:] in ports:
            continue  # a port's own
        out.equal("interrupt %s %d" % where, found.get(where), want.get(where))
    return out


# ---- SMBIOS

def dmi_size(n):
    return "%d GB" % (n // GIB) if n % GIB == 0 else "%d MB" % (n // MIB)


def wanted_processor(w, socket):
    b, props = w.board, [c["props"] for c in w.cpus if c["props"]["socket-id"] == socket]
    first = next((p for p in w.config.values() if p["driver"].endswith("-cpu") and p["socket-id"] == socket), None)
    identity = first["signature"].to_bytes(4, "little") + first["feat-1-edx"].to_bytes(4, "little") if first else bytes(8)
    cores = b["cpu-cores"] * b["cpu-dies"]
    want = {"Socket Designation": "CPU %d" % socket, "Manufacturer": b["smbios-cpu-manufacturer"], "Version": b["smbios-cpu-version"],
            "ID": identity.hex(" ").upper(), "Status": "Populated, Enabled" if props else "Unpopulated",
            "Max Speed": "%d MHz" % b["smbios-cpu-max-speed"], "Current Speed": "%d MHz" % b["smbios-cpu-current-speed"],
            "Core Count": str(cores), "Thread Count": str(cores * b["cpu-threads"]),
            "Characteristics": "; ".join(["64-bit capable"] + ["Multi-Core"] * (cores > 1) + ["Hardware Thread"] * (b["cpu-threads"] > 1))}
    enabled = len({(p["die-id"], p["core-id"]) for p in props})
    return dict(want, **{"Core Enabled": str(enabled)} if enabled else {})


def wanted_mapped(start, size):
    return {"Starting Address": "0x%011X" % start, "Ending Address": "0x%011X" % (start + size - 1), "Range Size": dmi_size(size)}


def wanted_dmi(w):
    """[(type, {field: value})] in the order of the table."""
    b, said = w.board, lambda row: w.board["smbios-" + row] or "Not Specified"
    low = w.below_4g()
    want = [
        (0, {"Vendor": said("bios-vendor"), "Version": said("bios-version"), "Release Date": said("bios-date")}),
        (1, {"Manufacturer": said("manufacturer"), "Product Name": said("product"), "Version": said("version"), "Serial Number": said("serial"),
             "UUID": b["uuid"], "SKU Number": said("sku"), "Family": said("family")}),
        (3, {"Manufacturer": said("chassis-manufacturer"), "Version": said("chassis-version"), "Serial Number": said("chassis-serial"),
             "Asset Tag": said("chassis-asset"), "SKU Number": said("chassis-sku")})]
    want += [(4, wanted_processor(w, s)) for s in range(b["cpu-sockets"])]
    want += [(16, {"Maximum Capacity": dmi_size(b["max-memory"]), "Number Of Devices": str(b["memory-slots"])})]
    sizes = {d["slot"]: dmi_size(d["size"]) for d in w.memory}
    want += [(17, {"Locator": "DIMM %d" % slot, "Size": sizes.get(slot, "No Module Installed")}) for slot in range(b["memory-slots"])]
    want += [(19, wanted_mapped(0, low))] + ([(19, wanted_mapped(4 * GIB, w.base - low))] if w.base > low else [])
    return want + [(32, {"Status": "No errors detected"}), (127, {})]


def compare_dmi(seen, w):
    out = Differences()
    found, want = parse_dmi(seen.dmi), wanted_dmi(w)
    out.equal("structures", [t for t, _ in found], [t for t, _ in want])
    for n, ((kind, fields), (_, wanted)) in enumerate(zip(found, want)):
        for name, value in wanted.items():
            out.equal("structure %d of type %d: %s" % (n, kind, name), fields.get(name), value)
    out += ["dmidecode: " + l for l in seen.dmi.splitlines() if ODD_DMI.search(l) and not EXCUSED.search(l)]
    return out


def compare_names(seen, w):
    out = Differences()
    want = {a: w.config[d["qdev_id"]]["acpi-index"] for a, (d, _) in w.functions.items() if d["qdev_id"] in w.config}
    out.equal("acpi_index in sysfs", {l[5:12]: int(l.partition(":")[2].rpartition(":")[2]) for l in seen.names.splitlines()},
              {a: n for a, n in want.items() if n})
    return out


def compare(seen, w, booted=None):
    """BOOTED: what the machine was like when the guest last booted, as the SMBIOS tables tell; W if it is still so."""
    return compare_names(seen, w) + compare_pci(seen, w) + compare_iomem(seen, w) + compare_interrupts(seen, w) + compare_dmi(seen, booted or w)

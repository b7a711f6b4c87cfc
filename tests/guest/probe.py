#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads what the probe guest says (probe/README.md has the grammar) and drives it.

As a module:
    run = parse_runs(text)[-1]          every boot in a serial log, noise around it ignored
    run.cpuid[(0x1, 0)]["ecx"]          the views: cpuid, msr, mem, tables, pci, fwcfg, smp, irq ...
    run.lines("acpi", "madt-cpu")       or the plain lines of a section
    run.problems()                      what the guest itself calls bad
    with Guest.spawn(argv) as guest:    a monitor with the guest's COM1 on its stdin and stdout
        guest.wait_for("ready")
        run = guest.command("probe smp")
    Guest(reader_fd, writer_fd)         the same over a socket, pty or pipe that somebody else made

As a program:
    probe.py --selftest                 checks the parser against probe/transcript.txt
    probe.py FILE                       prints the last run in FILE as JSON, problems to stderr
    probe.py --qemu kvm|tcg IMAGE [WORDS [QEMU-ARGUMENT ...]]    runs it on QEMU, a peer to compare
"""

import json
import os
import re
import select
import subprocess
import sys
import time

SECTION = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*$")
TOKEN = re.compile(r'\s*(?:([A-Za-z_][\w-]*)=("(?:[^"\\]|\\x[0-9a-f]{2})*"|\S*)|(\S+))')
ESCAPE = re.compile(r"\\x([0-9a-f]{2})")
BAD_VALUES = ("bad", "error", "timeout")


def parse_value(text):
    """A quoted string, a hex or decimal number, or the word itself."""
    if text.startswith('"'):
        return ESCAPE.sub(lambda m: chr(int(m.group(1), 16)), text[1:-1])
    if re.fullmatch(r"0x[0-9a-f]+", text):
        return int(text, 16)
    if re.fullmatch(r"0|-?[1-9][0-9]*", text):
        return int(text)
    return text


class Line:
    """One line: section, bare words behind it, fields by name; raw values in .text."""

    def __init__(self, raw, section, words, fields, text):
        self.raw, self.section, self.words = raw, section, words
        self.fields, self.text = fields, text

    def __getitem__(self, key):
        return self.fields[key]

    def __contains__(self, key):
        return key in self.fields

    def get(self, key, default=None):
        return self.fields.get(key, default)

    def __repr__(self):
        return "Line(%r)" % self.raw


def parse_line(raw):
    """A Line, or None for what is no line of the probe."""
    raw = raw.strip("\r\n")
    section, _, rest = raw.partition(" ")
    if not SECTION.match(section):
        return None
    words, fields, text = [], {}, {}
    at = 0
    while at < len(rest):
        match = TOKEN.match(rest, at)
        if not match:
            return None
        key, value, word = match.groups()
        if word:
            words.append(word)
        else:
            fields[key], text[key] = parse_value(value), value
        at = match.end()
    if words and not fields:
        return None  # prose
    return Line(raw, section, words, fields, text)


class Run:
    """What one boot of the probe said."""

    def __init__(self, banner):
        self.all = [banner]
        self.banner = banner

    # ---- plain access

    def lines(self, section, word=None):
        return [l for l in self.all if l.section == section and (word is None or word in l.words)]

    def one(self, section, word=None):
        """The last such line: in an interactive run the latest answer."""
        found = self.lines(section, word)
        if not found:
            raise KeyError("no line %s %s" % (section, word or ""))
        return found[-1]

    def has(self, section, word=None):
        return bool(self.lines(section, word))

    @property
    def mode(self):
        return self.banner["mode"]

    @property
    def boot(self):
        return self.banner["boot"]

    @property
    def end(self):
        """How it ended; None while it runs or when it was cut short."""
        found = self.lines("end")
        return found[-1]["how"] if found else None

    @property
    def sections_done(self):
        return [l["section"] for l in self.lines("done")]

    # ---- views

    @property
    def cpuid(self):
        return {(l["leaf"], l["sub"]): {r: l[r] for r in ("eax", "ebx", "ecx", "edx")}
                for l in self.lines("cpuid")}

    @property
    def vendor(self):
        leaf = self.cpuid[(0, 0)]
        return b"".join(leaf[r].to_bytes(4, "little") for r in ("ebx", "edx", "ecx")).decode()

    @property
    def msr(self):
        """Value by index; None where reading it is a fault."""
        return {l["index"]: l.get("value") for l in self.lines("msr")}

    @property
    def mem(self):
        """Per source a list of (base, size, type)."""
        maps = {}
        for l in self.lines("mem"):
            maps.setdefault(l["src"], []).append((l["base"], l["size"], l["type"]))
        return maps

    @property
    def fwcfg(self):
        return {l["name"]: {"key": l["key"], "size": l["size"]} for l in self.lines("fwcfg-file")}

    @property
    def tables(self):
        """ACPI table lines by signature; a list each, since there may be several SSDTs."""
        found = {}
        for l in self.lines("acpi"):
            if "table" in l:
                found.setdefault(l.text["table"], []).append(l.fields)
        return found

    @property
    def madt_cpus(self):
        return [l.fields for l in self.lines("acpi", "madt-cpu")]

    @property
    def smbios(self):
        """Structures: type, handle, bytes, strings."""
        found = {}
        for l in self.lines("smbios"):
            if "handle" in l:
                found[l["handle"]] = {"type": l["type"], "strings": [],
                                      "data": bytes.fromhex(l.text["data"])}
        for l in self.lines("smbios-string"):
            found[l["handle"]]["strings"].append(str(l["text"]))
        return found

    @property
    def pci(self):
        """Functions by address, each with its fields and config bytes."""
        found = {}
        for l in self.lines("pci"):
            found[l["bdf"]] = dict(l.fields, config=bytearray())
        for l in self.lines("pcibytes"):
            config = found[l["bdf"]]["config"]
            config[l["off"]:] = bytes.fromhex(l.text["data"])
        return found

    @property
    def smp(self):
        return {l["apic"]: l.fields for l in self.lines("smp")}

    @property
    def irq(self):
        return {l["name"]: l["received"] for l in self.lines("irq")}

    @property
    def cpuhp(self):
        return {l["sel"]: l.fields for l in self.lines("cpuhp")}

    def problems(self):
        """Lines in which the guest reports something bad, and sections begun but not done."""
        bad = [l.raw for l in self.all
               if l.section in ("fault", "error", "mem-bad", "pci-mismatch") or "failed" in l
               or any(v in BAD_VALUES for v in l.fields.values())]
        open_section = None
        for l in self.all:
            if l.section == "begin":
                open_section = l["section"]
            elif l.section == "done":
                open_section = None
        if open_section and open_section not in ("serve", "wait"):
            bad.append("section %s was not finished" % open_section)
        return bad

    def to_json(self):
        def pairs(view):
            return {"%#x.%#x" % k: v for k, v in view.items()}
        return {"boot": self.boot, "mode": self.mode, "cmdline": self.banner["cmdline"],
                "cpuid": pairs(self.cpuid), "msr": {hex(k): v for k, v in self.msr.items()},
                "mem": self.mem, "fwcfg": self.fwcfg, "tables": self.tables,
                "madt_cpus": self.madt_cpus,
                "pci": {k: dict(v, config=v["config"].hex()) for k, v in self.pci.items()},
                "smp": self.smp, "irq": self.irq, "cpuhp": self.cpuhp, "end": self.end,
                "problems": self.problems()}


class Parser:
    """Takes a serial stream in pieces of any size; a line `probe version=...` begins a run."""

    def __init__(self):
        self.runs, self.rest = [], ""

    def feed(self, text):
        """The new lines of the probe in it."""
        *complete, self.rest = (self.rest + text).split("\n")
        return [line for line in map(self._take, complete) if line]

    def _take(self, raw):
        # Firmware writes to the same port, and does not always end its line.
        start = raw.find("probe version=")
        line = parse_line(raw[start:] if start > 0 else raw)
        if line and line.section == "probe" and "version" in line:
            self.runs.append(Run(line))
        elif line and self.runs:
            self.runs[-1].all.append(line)
        else:
            return None
        return line


def parse_runs(text):
    parser = Parser()
    parser.feed(text if text.endswith("\n") else text + "\n")
    return parser.runs


class Timeout(Exception):
    pass


class Guest:
    """A running probe whose COM1 is a pair of file descriptors."""

    def __init__(self, reader, writer, process=None):
        self.reader, self.writer, self.process = reader, writer, process
        self.parser, self.log, self.pending = Parser(), "", []
        self.eof = False

    @classmethod
    def spawn(cls, argv, **kwargs):
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   bufsize=0, **kwargs)
        return cls(process.stdout.fileno(), process.stdin.fileno(), process)

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.close()

    def close(self):
        if self.process:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()
            self.process.stdin.close()
            self.process.stdout.close()

    @property
    def run(self):
        """The latest boot, or None before the first banner."""
        return self.parser.runs[-1] if self.parser.runs else None

    def _read(self, timeout):
        if not select.select([self.reader], [], [], max(timeout, 0))[0]:
            return
        try:
            data = os.read(self.reader, 65536)
        except OSError:  # a pty whose other end is gone
            data = b""
        if not data:
            self.eof = True
            return
        text = data.decode("latin-1")
        self.log += text
        self.pending += self.parser.feed(text)

    def wait_for(self, section, timeout=60.0, **fields):
        """The next line of that section with those fields, not looked at before."""
        deadline = time.monotonic() + timeout
        while True:
            while self.pending:
                line = self.pending.pop(0)
                if line.section == section and all(line.get(k) == v for k, v in fields.items()):
                    return line
            if self.eof or time.monotonic() >= deadline:
                raise Timeout("no line %s %s %s; the last output was:\n%s" % (
                    section, fields, "before the end" if self.eof else "within %gs" % timeout,
                    self.log[-2000:]))
            self._read(min(deadline - time.monotonic(), 1.0))

    def send(self, line):
        os.write(self.writer, (line + "\n").encode())

    def command(self, line, timeout=60.0):
        """Sends an interactive line and waits until the probe is ready again; the lines of the
        answer, as a Run with the banner in front."""
        before = len(self.run.all)
        self.send(line)
        self.wait_for("ready", timeout)
        answer = Run(self.run.banner)
        answer.all += self.run.all[before:]
        return answer

    def finish(self, timeout=60.0):
        """Reads to the end of the stream; the exit status when there is a process."""
        deadline = time.monotonic() + timeout
        while not self.eof:
            if time.monotonic() >= deadline:
                raise Timeout("still running; the last output was:\n" + self.log[-2000:])
            self._read(1.0)
        return self.process.wait(max(deadline - time.monotonic(), 1)) if self.process else None


def qemu_argv(accel, image, words="", *extra, machine="q35", cpu="qemu64,-pni", smp="2",
              memory="512"):
    """A peer to settle arguments with. qemu64 without SSE3: a KVM that emulates ring 0 refuses
    some processors' models, not this one."""
    return ["qemu-system-x86_64", "-M", machine, "-accel", accel, "-cpu", cpu, "-smp", smp,
            "-m", memory, "-display", "none", "-nodefaults", "-no-reboot", "-serial", "stdio",
            "-kernel", image, "-append", words, *extra]


def selftest():
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "probe", "transcript.txt")
    with open(path, encoding="latin-1") as f:
        text = f.read()
    check_values()
    runs = parse_runs(text)
    assert len(runs) == 4, len(runs)
    check_full_run(runs[0])
    check_broken_run(runs[1])
    check_served_run(runs[2])
    check_driven_run(runs[3])
    check_pieces(text)
    print("ok: %d runs, %d lines" % (len(runs), sum(len(r.all) for r in runs)))


def check_values():
    assert parse_value("0x1f") == 31 and parse_value("10") == 10 and parse_value("-3") == -3
    assert parse_value("00:1f.0") == "00:1f.0" and parse_value("010") == "010"
    assert parse_value('"a\\x22b\\x5c c"') == 'a"b\\ c' and parse_value("") == ""
    line = parse_line('acpi madt-cpu uid=1 oem="A = B" kind=lapic')
    assert line.words == ["madt-cpu"] and line["oem"] == "A = B" and line["kind"] == "lapic"
    assert parse_line("Booting from ROM..") is None and parse_line("") is None
    assert parse_line("iPXE (http://ipxe.org) 00:02.0") is None


def check_full_run(run):
    assert (run.boot, run.mode, run.end) == ("pvh", 64, "poweroff")
    assert run.problems() == [], run.problems()
    assert run.sections_done == ["cpuid", "memmap", "acpi", "pci", "serial", "rtc", "irq", "smp",
                                 "cpuhp"]
    assert run.cpuid[(0, 0)]["eax"] >= 1 and len(run.vendor) == 12
    assert run.msr[0x1b] & 0xfffff000 == 0xfee00000 and None in run.msr.values()
    assert set(run.mem) == {"pvh", "fwcfg"} and (0x0, 0x9fc00, 1) in run.mem["pvh"]
    assert run.one("mem-test")["bad"] == 0 and run.one("mem-test")["touched"] == 6
    assert run.fwcfg["etc/e820"]["size"] % 20 == 0
    assert all(t["checksum"] == "ok" for ts in run.tables.values() for t in ts)
    assert {"FACP", "DSDT", "APIC", "MCFG"} <= set(run.tables)
    assert [c["apic"] for c in run.madt_cpus if c["flags"] & 1] == [0, 1]
    assert any(s["type"] == 1 and "QEMU" in s["strings"] for s in run.smbios.values())
    bridge = run.pci["00:1f.0"]
    assert (bridge["vendor"], bridge["device"]) == (0x8086, 0x2918) and len(bridge["config"]) == 64
    assert bridge["config"][0:4] == b"\x86\x80\x18\x29"
    assert run.smp[1]["started"] == 1 and run.one("smp-total")["online"] == 2
    assert run.irq["pit"] >= 5 and run.one("serial")["fifo"] == "16550a"
    assert run.cpuhp[2]["present"] == 0 and run.one("cpuhp-total")["possible"] == 3
    json.dumps(run.to_json())


def check_broken_run(run):
    """The second run was edited: its problems must all be found."""
    bad = run.problems()
    assert run.end is None and len(bad) == 4, bad
    assert any("loop_data=bad" in b for b in bad) and any(b.startswith("fault ") for b in bad)
    assert any(b.startswith("mem-bad") for b in bad) and "section serial was not finished" in bad


def check_served_run(run):
    """Hotplug, orders and their answers; the run ended within the loop that serves."""
    assert run.problems() == [] and run.end == "poweroff" and run.sections_done == []
    assert [l["n"] for l in run.lines("sci")] == [l["n"] for l in run.lines("sci-done")] == list(range(1, 8))
    assert run.one("cpuhp-inserted")["started"] == 1 and run.one("cpuhp-removed")["present"] == 0
    assert run.one("memhp-inserted")["wrong"] == 0 and run.one("slot-inserted")["link"] == 1
    assert run.one("sci")["pm1"] == 0x100 and [l["n"] for l in run.lines("ready")] == list(range(7))
    assert len(run.pci["03:00.0"]["config"]) == 64


def check_driven_run(run):
    """Orders about PCI and virtio, obeyed while it waited for lines."""
    assert run.problems() == [] and run.end == "poweroff", run.problems()
    assert [l["bdf"] for l in run.lines("pci-bar")] == ["00:01.0", "01:00.0", "00:03.0", "00:04.0", "00:05.0"]
    assert [l["id"] for l in run.lines("virtio", "open")] == [2, 4, 1, 3, 5]
    assert [l["result"] for l in run.lines("blk", "read")] == [0, 1] and run.one("blk", "id")["text"] == "SERIAL"
    assert bytes.fromhex(run.one("net", "received").text["data"])[12:14] == b"\x08\x06"
    assert run.one("balloon", "deflated")["zeroed"] == 8 and len(run.lines("ready")) == 23


def check_pieces(text):
    parser = Parser()
    for i in range(0, len(text), 7):
        parser.feed(text[i:i + 7])
    whole = parse_runs(text)
    assert [[l.raw for l in r.all] for r in parser.runs] == [[l.raw for l in r.all] for r in whole]


def main(args):
    if args == ["--selftest"]:
        selftest()
        return 0
    if len(args) >= 3 and args[0] == "--qemu":
        with Guest.spawn(qemu_argv(*args[1:])) as guest:
            try:
                guest.finish(300)
            finally:
                sys.stdout.write(guest.log)
            return 1 if not guest.run or guest.run.problems() else 0
    if len(args) == 1 and not args[0].startswith("-"):
        with open(args[0], encoding="latin-1") as f:
            runs = parse_runs(f.read())
        if not runs:
            sys.exit("no run of the probe in " + args[0])
        json.dump(runs[-1].to_json(), sys.stdout, indent=1)
        print()
        for problem in runs[-1].problems():
            print("problem:", problem, file=sys.stderr)
        return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

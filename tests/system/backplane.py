# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the system tests share: a daemon and its QMP client, standard machines, the guests, the host, TAP.

    @case("a guest powers off")
    def _(c):
        with Machine(c) as m:
            m.build(cpus=2, memory=512 * MIB, kernel=PROBE, append="probe=smp")
            m.cont()
            m.wait("SHUTDOWN", guest=True, reason="guest-shutdown")
            m.check_state("shutdown")
    main()

A case is one TAP line. Its checks go on after a failure and are all reported, with the daemon's log, events and console. Machine
follows the run state by the events alone, so check_state() also proves that events and query-status agree. Leaving a Machine
always ends and reaps its daemon. TEST_SEED gives a random test its seed back; arguments of a test program choose cases by words.
"""

import array
import contextlib
import fcntl
import glob
import importlib.util
import json
import lzma
import os
import random
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

MIB, GIB = 1 << 20, 1 << 30
HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.environ.get("top_srcdir", os.path.dirname(os.path.dirname(HERE)))
BUILD = os.environ.get("top_builddir", SOURCE)
DAEMON = os.environ.get("BACKPLANED", os.path.join(BUILD, "backplaned"))
PROBE_PVH = os.path.join(BUILD, "tests/guest/probe-pvh.elf")
PROBE_MULTIBOOT = os.path.join(BUILD, "tests/guest/probe.elf")
PROBE_FLAT = os.path.join(BUILD, "tests/guest/probe.bin")
PATIENCE = float(os.environ.get("TEST_PATIENCE", "1"))  # factor on all timeouts, for slow hosts


def _load_probe():
    spec = importlib.util.spec_from_file_location("probe", os.path.join(SOURCE, "tests/guest/probe.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


probe = _load_probe()


# ---- TAP

class Skip(Exception):
    pass


class Case:
    """Collects what failed in one case; says it when the case is over."""

    def __init__(self):
        self.failures, self.checks, self.notes = [], 0, []

    def true(self, condition, what, seen=None):
        self.checks += 1
        if not condition:
            where = traceback.extract_stack(limit=3)[-2]
            if where.name in ("equal", "contains"):
                where = traceback.extract_stack(limit=3)[-3]
            self.failures.append("%s:%d: %s%s" % (os.path.basename(where.filename), where.lineno, what,
                                                  "" if seen is None else "; seen: %s" % (seen,)))
        return condition

    def equal(self, got, want, what):
        return self.true(got == want, "%s is %r, not %r" % (what, got, want))

    def contains(self, text, part, what):
        return self.true(part in text, "%s does not have %r" % (what, part), text)

    def note(self, text):
        self.notes.append(text)

    @staticmethod
    def skip(reason):
        raise Skip(reason)


_cases = []


def case(title, needs_kvm=True):
    def register(function):
        _cases.append((title, needs_kvm, function))
        return function
    return register


def diag(text):
    for line in str(text).splitlines():
        print("# " + line.encode("ascii", "backslashreplace").decode())


def _run(number, title, needs_kvm, function):
    c = Case()
    began = time.monotonic()
    try:
        if needs_kvm and not kvm_usable():
            c.skip("no usable /dev/kvm")
        function(c)
        if not c.checks:
            c.failures.append("nothing was checked")
    except Skip as reason:
        if not c.failures:
            diag("\n".join(c.notes))
            print("ok %d - %s # SKIP %s" % (number, title, reason), flush=True)
            return True
    except Exception:  # the case is broken off; the rest of the program still runs
        c.failures.append(traceback.format_exc())
    print("%sok %d - %s" % ("not " if c.failures else "", number, title))
    diag("\n".join(c.failures + c.notes + ["%.1f s" % (time.monotonic() - began)]))
    sys.stdout.flush()
    return not c.failures


def main():
    words = [a for a in sys.argv[1:] if not a.startswith("-")]
    chosen = [x for x in _cases if all(w in x[0] for w in words)]
    print("1..%d" % len(chosen), flush=True)
    good = [_run(i, *x) for i, x in enumerate(chosen, 1)]
    sys.exit(0 if all(good) else 1)


def seed():
    """The seed of a random test, said and taken back by TEST_SEED."""
    value = int(os.environ.get("TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
    diag("TEST_SEED=%d" % value)
    return random.Random(value)


# ---- QMP

class QmpError(Exception):
    def __init__(self, command, error):
        super().__init__("%s: %s: %s" % (command, error["class"], error["desc"]))
        self.error_class, self.desc = error["class"], error["desc"]


class Timeout(Exception):
    pass


class Closed(Exception):
    pass


class Qmp:
    """One session. Every event is kept in .events and handed to .on_event in order."""

    def __init__(self, path=None, sock=None, timeout=10):
        self.events, self.on_event, self.taken = [], None, 0
        self.buffer = b""
        self.sock = sock or self._connect(path, timeout)
        self.greeting = self._receive(time.monotonic() + timeout * PATIENCE)
        self.command("qmp_capabilities")

    @staticmethod
    def _connect(path, timeout):
        deadline = time.monotonic() + timeout * PATIENCE
        while True:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.connect(path)
                return sock
            except OSError as error:
                sock.close()
                if time.monotonic() > deadline:
                    raise Timeout("no daemon at %s: %s" % (path, error)) from None
                time.sleep(0.002)  # there is nothing to wait for before the socket is there

    def close(self):
        self.sock.close()

    def _receive(self, deadline):
        """The next message; None when the deadline passes."""
        while b"\n" not in self.buffer:
            left = deadline - time.monotonic()
            if not select.select([self.sock], [], [], max(left, 0))[0]:
                return None
            try:
                data = self.sock.recv(1 << 20)
            except ConnectionResetError:
                data = b""
            if not data:
                raise Closed("the daemon closed the connection")
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        message = json.loads(line)
        if "event" in message:
            self.events.append(message)
            if self.on_event:
                self.on_event(message)
        return message

    def command(self, name, /, fds=(), reply_within=30, **arguments):
        """The reply's value; QmpError for an error. Underscores in names stand for dashes."""
        return self.call(name, {k.replace("_", "-"): v for k, v in arguments.items()}, fds, reply_within)

    def call(self, name, arguments, fds=(), reply_within=30):
        """The same for arguments of any name."""
        request = {"execute": name, "arguments": arguments}
        data = json.dumps(request).encode() + b"\n"
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sent = self.sock.sendmsg([data], rights)
        if sent < len(data):
            self.sock.sendall(data[sent:])
        deadline = time.monotonic() + reply_within * PATIENCE
        while True:
            reply = self._receive(deadline)
            if reply is None:
                raise Timeout("no reply to %s within %g s" % (name, reply_within * PATIENCE))
            if "error" in reply:
                raise QmpError(name, reply["error"])
            if "return" in reply:
                return reply["return"]

    def wait(self, name, timeout=30, **data):
        """The next event of that name with those data that was not waited for before."""
        deadline = time.monotonic() + timeout * PATIENCE
        while True:
            while self.taken < len(self.events):
                event = self.events[self.taken]
                self.taken += 1
                if event["event"] == name and all(event.get("data", {}).get(k.replace("_", "-")) == v
                                                  for k, v in data.items()):
                    return event
            if self._receive(deadline) is None:
                raise Timeout("no event %s %s within %g s" % (name, data or "", timeout * PATIENCE))

    def settle(self):
        """Takes what has arrived. A reply comes after all events before it."""
        self.command("query-name")


# ---- the console of a guest

class Console:
    """A serial port on a socket, read by a thread so that the guest never waits for the test."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(path)
        self.data, self.mark, self.eof = bytearray(), 0, False
        self.paused = False
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        while True:
            try:
                data = self.sock.recv(65536)
            except OSError:
                data = b""
            with self.changed:
                self.data += data
                self.eof = not data
                self.changed.notify_all()
            if not data:
                return

    def send(self, text):
        self.sock.sendall(text.encode() if isinstance(text, str) else text)

    def expect(self, pattern, timeout=60):
        """Waits for a regular expression behind what was found before, of 4 KiB at most; its match."""
        compiled = re.compile(pattern.encode() if isinstance(pattern, str) else pattern, re.M)
        deadline = time.monotonic() + timeout * PATIENCE
        begin = self.mark
        with self.changed:
            while True:
                data = bytes(self.data)
                match = compiled.search(data, begin)
                if match:
                    self.mark = match.end()
                    return match
                begin = max(begin, len(data) - 4096)  # what comes byte by byte is not looked through each time
                left = deadline - time.monotonic()
                if self.eof or left <= 0:
                    raise Timeout("console: no %r %s; the last output was:\n%s" % (
                        pattern, "before the end" if self.eof else "within %g s" % (timeout * PATIENCE),
                        self.text[-3000:]))
                self.changed.wait(left)

    def start_shell(self, timeout=60):
        """From the prompt of the guest's shell to a loop that says nothing but what it is asked for."""
        self.expect(r"# ", timeout)
        self.send("stty -echo; echo read''y; while read -r l; do eval \"$l\"; echo EN''D-$?; done\n")
        self.expect(r"ready\r\n")

    def run(self, command, timeout=60):
        """What a command prints in the guest."""
        self.send(command + "\n")
        began = self.mark
        match = self.expect(r"^END-(\d+)\r\n", timeout)
        text = bytes(self.data[began:self.mark - len(match.group(0))]).decode("latin-1").replace("\r\n", "\n")
        if match.group(1) != b"0":
            raise AssertionError("in the guest: %s: status %s: %s" % (command, match.group(1).decode(), text[-1000:]))
        return text

    @property
    def text(self):
        return bytes(self.data).decode("latin-1").replace("\r", "")

    def close(self):
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.sock.close()


# ---- the machine

STOPPED_BY = {"SHUTDOWN": "shutdown", "INTERNAL_ERROR": "internal-error"}


class Machine:
    """A daemon with one QMP session, and what was plugged into it."""

    def __init__(self, c, *arguments, name="t", cwd=None, env=None):
        self.c = c
        self.cwd = cwd or tempfile.mkdtemp(prefix="bp-")
        self.own_cwd = not cwd
        self.sequence, self.status, self.guest, self.console = 0, None, None, None
        self.state, self.shutting_down = "prelaunch", False
        self.log_path = self.path("log")
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([DAEMON, "--name", name, "--qmp", "unix:" + self.path("qmp"), *arguments],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(os.environ, **(env or {})))
        try:
            self.qmp = Qmp(self.path("qmp"))
        except Exception:
            self._reap()
            diag(self.log())
            raise
        self.qmp.on_event = self._follow

    def path(self, name):
        return os.path.join(self.cwd, name)

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    # ---- life

    def __enter__(self):
        return self

    def __exit__(self, kind, *_exc):
        self._reap()
        if (kind and kind is not Skip) or self.c.failures:
            self._explain()
        for end in (self.qmp, self.guest and self.guest_socket, self.console):
            if end:
                end.close()
        if self.own_cwd:
            shutil.rmtree(self.cwd, ignore_errors=True)

    def _reap(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def _explain(self):
        self.c.note("log of the daemon:\n" + self.log()[-4000:])
        self.c.note("events: %s" % [(e["event"], e.get("data")) for e in self.qmp.events][-40:])
        if self.guest:
            self.c.note("console:\n" + self.guest.log[-2000:])
        if self.console:
            self.c.note("console:\n" + self.console.text[-2000:])

    def _follow(self, event):
        """The state as the events tell it."""
        name = event["event"]
        if name == "RESUME":
            self.state, self.shutting_down = "running", False
        elif name == "SHUTDOWN":
            self.shutting_down = True
        elif name == "STOP":
            self.state = "shutdown" if self.shutting_down else "paused"
        elif name == "INTERNAL_ERROR":
            self.state = "internal-error"
        elif name == "RESET":
            self.shutting_down = False
            if self.state in ("shutdown", "internal-error"):
                self.state = "paused"

    def check_state(self, want):
        got = self.qmp.command("query-status")
        self.c.equal(got["status"], want, "the state")
        self.c.equal(got["running"], want == "running", "'running' in state %s" % want)
        self.c.equal(self.state, want, "the state by the events")

    def __call__(self, name, /, **arguments):
        return self.qmp.command(name, **arguments)

    def wait(self, event, timeout=30, **data):
        return self.qmp.wait(event, timeout, **data)

    def refused(self, command, *parts, **arguments):
        """Expects an error whose text has all PARTS; the text."""
        try:
            value = self.qmp.command(command, **arguments)
        except QmpError as error:
            for part in parts:
                self.c.contains(error.desc, part, "the error of " + command)
            return error.desc
        self.c.true(False, "%s %s was not refused" % (command, arguments), value)
        return ""

    def cont(self):
        self("cont")

    def stop(self):
        self("stop")

    def exit_status(self, timeout=20):
        """Waits for the daemon to end by itself."""
        with contextlib.suppress(Closed):
            while self.qmp._receive(time.monotonic() + timeout * PATIENCE) is not None:
                pass
        try:
            return self.process.wait(timeout * PATIENCE)
        except subprocess.TimeoutExpired:
            raise Timeout("the daemon has not ended within %g s" % (timeout * PATIENCE)) from None

    def quit(self):
        """An orderly end, checked."""
        self("quit")
        self.c.equal(self.exit_status(), 0, "the exit status after quit")

    # ---- what the host sees

    def threads(self):
        return len(os.listdir("/proc/%d/task" % self.process.pid))

    def fds(self):
        return len(os.listdir("/proc/%d/fd" % self.process.pid))

    def cpu_seconds(self):
        with open("/proc/%d/stat" % self.process.pid) as f:
            fields = f.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident(self):
        with open("/proc/%d/statm" % self.process.pid) as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    # ---- plugging

    def board(self, **props):
        self("device_add", driver="board", id="board", **props)

    def cpu(self, id=None, driver="host-x86_64-cpu", **props):
        if id:
            props["id"] = id
        self("device_add", driver=driver, **props)

    def memory(self, size, backend="memfd", **props):
        n = self.sequence
        self.sequence += 1
        self("object-add", qom_type="memory-backend-" + backend, id="ram%d" % n, size=size, **props)
        self("device_add", driver="pc-dimm", id="dimm%d" % n, memdev="ram%d" % n)

    def serial(self, kind="probe"):
        """COM1: 'probe' is read as the probe guest's, 'console' as text by a thread, None is no port."""
        if not kind:
            return
        path = self.path("com1")
        self("chardev-add", id="com1", backend={"type": "socket", "data": {
            "addr": {"type": "unix", "data": {"path": path}}, "server": True, "wait": False}})
        self("device_add", driver="isa-serial", id="serial0", chardev="com1")
        if kind == "console":
            self.console = Console(path)
            return
        self.guest_socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.guest_socket.connect(path)
        self.guest = probe.Guest(self.guest_socket.fileno(), self.guest_socket.fileno())

    def loader(self, kernel=PROBE_PVH, append="", **props):
        self("device_add", driver="linux-loader", id="boot", kernel=kernel, append=append, **props)

    def build(self, cpus=1, memory=512 * MIB, kernel=PROBE_PVH, append="", board=None, cpu_type="host-x86_64-cpu",
              backend="memfd", serial="probe", max_cpus=None, initrd=None, **loader):
        """A machine that `cont` can start. BOARD: properties, or None for just max-cpus."""
        self.board(**dict({"max-cpus": max_cpus or cpus}, **(board or {})))
        for i in range(cpus):
            self.cpu("cpu%d" % i, cpu_type)
        self.memory(memory, backend)
        self.serial(serial)
        if initrd:
            loader["initrd"] = initrd
        self.loader(kernel, append, **loader)

    def finish(self, timeout=60):
        """Waits for the guest's power-off and reads its output to the end; the probe's run."""
        self.wait("SHUTDOWN", timeout, guest=True, reason="guest-shutdown")
        self.guest.wait_for("end", 5 * PATIENCE)
        return self.guest.run


# ---- the host

_KVM_CREATE_VM, _KVM_CREATE_VCPU = 0xAE01, 0xAE41
_KVM_GET_MSRS = 0xC008AE88
_KVM_GET_SUPPORTED_CPUID, _KVM_SET_CPUID2, _KVM_GET_CPUID2 = 0xC008AE05, 0x4008AE90, 0xC008AE91


@contextlib.contextmanager
def _kvm_vcpu():
    fds = [os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)]
    try:
        fds.append(fcntl.ioctl(fds[0], _KVM_CREATE_VM, 0))
        fds.append(fcntl.ioctl(fds[1], _KVM_CREATE_VCPU, 0))
        yield fds[0], fds[2]
    finally:
        for fd in reversed(fds):
            os.close(fd)


def kvm_usable():
    try:
        with _kvm_vcpu():
            return True
    except OSError:
        return False


def host_is_pvm():
    """The kind of host of docs/design/testing.md section 2, told by an MSR that only it has."""
    buffer = bytearray(struct.pack("<IIIIQ", 1, 0, 0x4B564D11, 0, 0))
    try:
        with _kvm_vcpu() as (_, vcpu):
            return fcntl.ioctl(vcpu, _KVM_GET_MSRS, buffer) == 1 and struct.unpack_from("<Q", buffer, 16)[0] == 0x4D5650
    except OSError:
        return False


def host_vendor():
    with open("/proc/cpuinfo") as f:
        match = re.search(r"^vendor_id\s*:\s*(\S+)", f.read(), re.M)
    return match.group(1) if match else ""


def _cpuid_table(fd, request, entries=256):
    buffer = bytearray(8 + 40 * entries)
    struct.pack_into("<I", buffer, 0, entries)
    fcntl.ioctl(fd, request, buffer)
    count = struct.unpack_from("<I", buffer, 0)[0]
    rows = [struct.unpack_from("<7I", buffer, 8 + 40 * i) for i in range(count)]
    return {(r[0], r[1]): r for r in rows}


def kvm_keeps_cpuid():
    """Whether KVM_GET_CPUID2 returns the features that were set: some hosts add their own."""
    with _kvm_vcpu() as (system, vcpu):
        table = _cpuid_table(system, _KVM_GET_SUPPORTED_CPUID)
        rows = []
        for (leaf, sub), row in table.items():
            leaf_max = {0: 7}.get(leaf)
            if leaf in (7, 0xD, 0x14, 0x19) or (leaf > 7 and leaf < 0x40000000):
                continue
            row = list(row)
            if leaf_max:
                row[3] = leaf_max
            if leaf == 1:
                row[5] &= ~(3 << 26)  # ECX without XSAVE and OSXSAVE
            rows.append(tuple(row))
        rows.append((7, 0, 1, 0, 0, 0, 0))
        buffer = bytearray(struct.pack("<II", len(rows), 0) + b"".join(struct.pack("<7I12x", *r) for r in rows))
        fcntl.ioctl(vcpu, _KVM_SET_CPUID2, buffer)
        seen = _cpuid_table(vcpu, _KVM_GET_CPUID2)
        return seen.get((1, 0), (0,) * 7)[5] & (1 << 26) == 0 and seen.get((7, 0), (0,) * 7)[4] == 0


def memory_available():
    with open("/proc/meminfo") as f:
        return int(re.search(r"MemAvailable:\s*(\d+)", f.read()).group(1)) * 1024


# ---- Linux

GUESTS = os.environ.get("BACKPLANE_TEST_GUESTS", os.path.join(SOURCE, "../shared/guests"))
PEERS = os.path.join(BUILD, "build/peers")
WORDS = "console=ttyS0 panic=-1 reboot=t"


class Linux:
    """The Linux guest that fits this host: kernel (ELF), bzimage (or None), initrd, words of the command line."""

    def __init__(self, kernel, initrd, words, bzimage=None):
        self.kernel, self.initrd, self.words, self.bzimage = kernel, initrd, words, bzimage


def fetch_peers(*packages):
    """The root that Debian packages are unpacked in, each fetched once. OSError if one can not be had."""
    result = subprocess.run([os.path.join(SOURCE, "tests/fetch-peers"), *packages], cwd=BUILD, capture_output=True, text=True)
    if result.returncode:
        raise OSError(result.stderr.strip()[-300:])
    return os.path.join(PEERS, "root")


def debian_kernel():
    """(bzImage, ELF) of Debian's cloud kernel."""
    root = fetch_peers("linux-image-cloud-amd64")
    bzimage = sorted(glob.glob(os.path.join(root, "boot/vmlinuz-*cloud-amd64")))[-1]
    release = os.path.basename(bzimage).partition("-")[2]
    elf = os.path.join(PEERS, "vmlinux-" + release)
    if not os.path.exists(elf):
        with open(elf + ".new", "wb") as f:
            f.write(decompress_bzimage(bzimage))
        os.rename(elf + ".new", elf)
    return bzimage, elf


def decompress_bzimage(path):
    """The ELF kernel in a bzImage; the header says where it is, its first bytes how it is packed."""
    with open(path, "rb") as f:
        image = f.read()
    setup = (image[0x1F1] or 4) * 512 + 512
    offset, length = struct.unpack_from("<II", image, 0x248)
    packed = image[setup + offset:setup + offset + length]
    tools = {b"\x1f\x8b": ["gzip", "-dc"], b"\xfd7": ["xz", "-dc"], b"\x28\xb5": ["zstd", "-dc"],
             b"\x02!": ["lz4", "-dc"], b"BZ": ["bzip2", "-dc"], b"\x5d\x00": ["lzma", "-dc"]}
    tool = tools.get(packed[:2])
    if not tool or not shutil.which(tool[0]):
        raise OSError("%s: packed by %s, which is not installed" % (path, tool[0] if tool else packed[:4]))
    # The last four bytes are the size, which the packer would call rubbish.
    result = subprocess.run(tool, input=packed, capture_output=True)
    if result.stdout[:4] != b"\x7fELF":
        raise OSError("%s: %s" % (path, result.stderr.decode(errors="replace")[-200:]))
    return result.stdout


def cpio(files):
    """A newc archive of {name: bytes}, all executable, with the folders that they are in."""
    folders = sorted({name[:i] for name in files for i, x in enumerate(name) if x == "/"})
    entries = [(n, 0o40755, b"") for n in folders] + [(n, 0o100755, d) for n, d in files.items()] + [("TRAILER!!!", 0, b"")]
    out = []
    for number, (name, mode, data) in enumerate(entries, 1):
        name = name.encode() + b"\0"
        head = b"070701" + b"".join(b"%08X" % x for x in (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)) + name
        out += [head, b"\0" * (-len(head) % 4), data, b"\0" * (-len(data) % 4)]
    return b"".join(out)


def with_modules(linux, folder, *names, files=None):
    """(initrd, commands for the shell) for drivers that Debian's kernel has as modules, named in the order of loading; others have them
    built in. FOLDER takes the longer initrd, which has FILES too, {name: bytes}."""
    files = dict(files or {})
    if linux.bzimage:
        release = os.path.basename(linux.bzimage).partition("-")[2]
        for name in names:
            found = glob.glob(os.path.join(PEERS, "root/lib/modules", release, "kernel/**", name + ".ko*"), recursive=True)
            if found:  # else it is built in
                with open(found[0], "rb") as f:
                    data = f.read()
                files["modules/%s.ko" % name] = lzma.decompress(data) if found[0].endswith(".xz") else data
    if not files:
        return linux.initrd, []
    path = os.path.join(folder, "initrd")
    with open(linux.initrd, "rb") as f, open(path, "wb") as out:
        image = f.read()
        out.write(image + b"\0" * (-len(image) % 4) + cpio(files))
    return path, ["insmod /" + name for name in files if name.startswith("modules/")]


def programs(*packages, run):
    """The files of {name: bytes} that a guest needs to RUN programs (paths) of Debian PACKAGES: with what they are linked to, which the
    packages have or, like libc, this host."""
    root, files, wanted = fetch_peers(*packages), {}, list(run)
    while wanted:
        name = wanted.pop()
        places = [name] if "/" in name else [d + "/x86_64-linux-gnu/" + name for d in ("usr/lib", "lib")]
        found = next(x for top in (root, "/") for x in (os.path.join(top, p) for p in places) if os.path.exists(x))
        with open(found, "rb") as f:
            files[name if "/" in name else "lib/x86_64-linux-gnu/" + name] = f.read()
        needed = re.findall(r"\(NEEDED\).*\[(.*)\]", subprocess.run(["readelf", "-dW", found], capture_output=True, text=True, check=True).stdout)
        wanted += [n for n in needed if n not in wanted and "lib/x86_64-linux-gnu/" + n not in files]
    with open("/lib64/ld-linux-x86-64.so.2", "rb") as f:
        files["lib64/ld-linux-x86-64.so.2"] = f.read()
    return files


_linux = None


def linux_guest(c):
    """The Linux guest for this host; skips when none can be had."""
    global _linux
    if _linux is None:
        _linux = _find_linux()
    if isinstance(_linux, str):
        c.skip(_linux)
    return _linux


def _find_linux():
    folder = os.path.join(GUESTS, "linux-6.12")
    initrd = os.path.join(folder, "initrd.gz")
    if not os.path.exists(initrd):
        return "no %s (BACKPLANE_TEST_GUESTS)" % initrd
    if not host_is_pvm():
        try:
            bzimage, elf = debian_kernel()
        except (OSError, IndexError, subprocess.CalledProcessError) as error:
            return "Debian's cloud kernel can not be had: %s" % error
        return Linux(elf, initrd, WORDS, bzimage)
    guest = Linux(os.path.join(folder, "vmlinux"), initrd, WORDS)
    if host_vendor() == "GenuineIntel" and not _comes_up(guest):
        diag("vmlinux does not come up on this Intel host: vmlinux-intel is taken")
        guest = Linux(os.path.join(folder, "vmlinux-intel"), initrd, WORDS + " no-kvmapf no-steal-acc")
    return guest


def _comes_up(guest):
    try:
        with Machine(Case()) as m:
            m.build(cpus=1, memory=512 * MIB, kernel=guest.kernel, initrd=guest.initrd, serial="console",
                    append=guest.words + " run=none")
            m.cont()
            m.wait("SHUTDOWN", 30, guest=True, reason="guest-shutdown")
            return True
    except (Timeout, Closed, QmpError):
        return False


# A complaint is a line of level 4 (warning) or worse, or one with a word of trouble in it.
TROUBLE = re.compile(r"error|warn|fail|\bbugs?\b|\bbad\b|invalid|unable|conflict|mismatch|unexpected|inconsisten|\bstuck\b|\bstall|lockup"
                     r"|call trace|oops", re.I)
ALLOWED = re.compile("|".join((
    r"report a bug$",                                # "Using host bridge windows from ACPI; if necessary, use ... and report a bug"
    r"PMU not available due to virtualization",      # true
    r"Unknown kernel command line parameters|^ +GLIBC_TUNABLES=",  # run=, which is for /init
    r"^(Spectre|MDS|TAA|MMIO Stale|RETBleed|SRSO|ITS|VMSCAPE|Transient|L1TF|Meltdown|Speculative|Register File|GDS)",  # the host's processor
    r"x86/(cpu|bugs|speculation):",                  # likewise
    r"RAS: Correctable Errors collector initialized",
    r"hrtimer: interrupt took",                      # of a guest that had to wait for its processor
    r"Processor Platform Limit event detected|Consider compiling CPUfreq support",  # of a kernel without it that sees a processor object
)))


def complaints(dmesg):
    """Lines of `dmesg -r` that nobody has excused."""
    found = []
    for line in dmesg.splitlines():
        match = re.match(r"<(\d+)>\[[^]]*\] ?(.*)", line)
        if match and (int(match.group(1)) & 7 <= 4 or TROUBLE.search(match.group(2))) and not ALLOWED.search(match.group(2)):
            found.append(line)
    return found

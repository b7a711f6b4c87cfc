# SPDX-License-Identifier: LGPL-2.1-or-later
"""Monitors that the bench starts: ours and Debian's QEMU as q35 and as microvm, all behind one face.

    with Backplane().start(tmp, guest=image) as vm:     machine built over QMP (QEMU: by its command line) and started
        t = vm.first_byte() - vm.spawned                seconds
        vm.qmp.command("query-status")
        vm.quit()

The serial port is a FIFO that this process reads; the time is taken when the byte arrives here, for all alike.
"""

import glob
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import time

MAGIC = b"BENCHARG"
KINDS = {"unclaimed port": 0, "serial LSR": 1, "PCI config": 2, "MMIO": 3}
DISK_READS = 4  # and what no exit is counted of
SLOT = 5  # the guest serves a root port's slot
CAPS = b'{"execute":"qmp_capabilities"}\n'
VCPU = re.compile(r"CPU \d+|vcpu")
now = time.monotonic


class Failed(Exception):
    pass


def patch_guest(path, out, kind, count, depth=1, size=4096):
    """The guest's file with its numbers set; the last two are of the disk's reads."""
    data = bytearray(open(path, "rb").read())
    at = data.index(MAGIC) + len(MAGIC)
    data[at:at + 16] = b"".join(n.to_bytes(4, "little") for n in (kind, count, depth, size))
    with open(out, "wb") as f:
        f.write(data)
    return out


class Qmp:
    """A client that does as little as it can while time runs: lines in, lines out."""

    def __init__(self, path, alive, timeout=60):
        self.sock = socket.socket(socket.AF_UNIX)
        self.buf = b""
        self.events = []
        end = now() + timeout
        while True:
            try:
                self.sock.connect(path)
                break
            except OSError:
                if now() > end or not alive():
                    raise Failed("nobody listens at %s" % path)
                time.sleep(0.0001)
        self.sock.settimeout(timeout)
        self.line()
        self.raw(CAPS)
        self.ready = now()

    def line(self):
        while b"\n" not in self.buf:
            more = self.sock.recv(1 << 20)
            if not more:
                raise Failed("QMP: end of file")
            self.buf += more
        line, self.buf = self.buf.split(b"\n", 1)
        return line

    def raw(self, request):
        """The reply's line, not decoded; events before it are put by."""
        self.sock.sendall(request)
        while True:
            line = self.line()
            if not line.startswith((b'{"timestamp"', b'{"event"')) and b'"event": ' not in line[:80]:
                return line
            self.events.append(json.loads(line)["event"])

    def event(self, name):
        """Waits for the next event of that name that nobody took."""
        while name not in self.events:
            message = json.loads(self.line())
            assert "event" in message, message
            self.events.append(message["event"])
        self.events.remove(name)

    def command(self, name, **arguments):
        request = {"execute": name, "arguments": arguments} if arguments else {"execute": name}
        reply = json.loads(self.raw(json.dumps(request).encode() + b"\n"))
        if "error" in reply:
            raise Failed("%s: %s" % (name, reply["error"]["desc"]))
        return reply["return"]


def ports(n):
    """N root ports, eight to a slot of pcie.0 from the second on, as device_add takes them."""
    return [{"driver": "pcie-root-port", "id": "p%d" % i, "bus": "pcie.0", "addr": "%x.%x" % (2 + i // 8, i % 8), "chassis": 1 + i // 200, "slot": i,
             "multifunction": True} for i in range(n)]


def rngs(n):
    return [{"driver": "virtio-rng-pci", "id": "r%d" % i, "bus": "p%d" % i} for i in range(n)]


class Running:
    """One run of a monitor."""

    def __init__(self, tmp, argv, stderr=subprocess.DEVNULL):
        self.fifo = os.path.join(tmp, "serial")
        self.path = os.path.join(tmp, "qmp")
        for stale in (self.fifo, self.path):
            if os.path.exists(stale):
                os.unlink(stale)
        os.mkfifo(self.fifo)
        self.serial = os.open(self.fifo, os.O_RDONLY | os.O_NONBLOCK)
        self.keep = os.open(self.fifo, os.O_WRONLY)  # so that the FIFO never ends
        self.text = b""
        self.qmp = None
        self.stderr = open(os.path.join(tmp, "stderr"), "w+")
        self.spawned = now()
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self.stderr, stderr=self.stderr)
        self.pid = self.process.pid

    def connect(self):
        self.qmp = Qmp(self.path, lambda: self.process.poll() is None)
        return self.qmp

    def until(self, wanted, timeout=120):
        """When WANTED has come out of the serial port."""
        end = now() + timeout
        while wanted not in self.text:
            self.more(max(0, end - now()))
        return now()

    def more(self, timeout=120):
        """Reads on at the serial port."""
        if not select.select([self.serial], [], [], timeout)[0]:
            raise Failed("the guest says nothing more; the last was %r" % self.text[-200:])
        self.text += os.read(self.serial, 65536)

    def first_byte(self):
        return self.until(b"@")

    def gone(self, timeout=60):
        """When the process had ended."""
        end = now() + timeout
        fd = os.pidfd_open(self.pid)
        try:
            if not select.select([fd], [], [], max(0, end - now()))[0]:
                raise Failed("it does not end")
            return now()
        finally:
            os.close(fd)

    def quit(self):
        self.qmp.command("quit")
        return self.gone()

    def memory(self):
        """Resident and anonymous KiB."""
        text = open("/proc/%d/smaps_rollup" % self.pid).read()
        return tuple(int(re.search(r"^%s:\s+(\d+)" % what, text, re.M).group(1)) for what in ("Rss", "Anonymous"))

    def cpu_seconds(self):
        return time.clock_gettime((~self.pid << 3) | 2)

    def cpu_but_vcpus(self):
        """CPU seconds of all threads, those that have ended too, but for those that run the guest's processors."""
        vcpus = 0
        for task in glob.glob("/proc/%d/task/*" % self.pid):
            try:
                if VCPU.search(open(task + "/comm").read()):
                    vcpus += int(open(task + "/schedstat").read().split()[0])
            except OSError:
                pass  # it has just ended
        return self.cpu_seconds() - vcpus / 1e9

    def words(self):
        self.stderr.flush()
        self.stderr.seek(0)
        return self.stderr.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for fd in (self.serial, self.keep):
            os.close(fd)
        if self.qmp:
            self.qmp.sock.close()
        self.stderr.close()


class Backplane:
    name = "backplane"
    guest = "guest.elf"
    native, native_words = {"native-hotplug": True}, []  # what has the guest control a root port's slot: a property, words of the command line
    memory = "memory-backend-ram"  # of Linux guests; QEMU's is of that kind too
    tap = {}  # what netdev_add of a tap wants besides

    def __init__(self):
        self.binary = os.environ.get("BACKPLANED", "./backplaned")

    def missing(self):
        return None if os.access(self.binary, os.X_OK) else "%s: not built" % self.binary

    def plug(self, vm, guest, mib, cpus, kernel, max_cpus):
        plug, q = vm.qmp.command, "device_add"
        if cpus > 1 or max_cpus:
            plug(q, driver="board", id="board", **{"max-cpus": max_cpus or cpus})
        plug("object-add", **{"qom-type": self.memory if kernel else "memory-backend-memfd", "id": "ram0", "size": mib << 20})
        plug(q, driver="pc-dimm", id="dimm0", memdev="ram0")
        plug("chardev-add", id="s0", backend={"type": "file", "data": {"out": vm.fifo}})
        plug(q, driver="isa-serial", id="serial0", chardev="s0")
        if kernel:
            plug(q, driver="linux-loader", id="boot0", **kernel)
        elif guest:
            plug(q, driver="linux-loader", id="boot0", kernel=guest)
        for slot in plug("query-hotpluggable-cpus")[:cpus] if cpus > 1 else [{"props": {"socket-id": 0, "core-id": 0, "thread-id": 0}}]:
            plug(q, driver="host-x86_64-cpu", id="cpu%d" % vm.n_cpus, **slot["props"])
            vm.n_cpus += 1

    def start(self, tmp, guest=None, mib=256, cpus=1, kernel=None, run=True, prefix=(), devices=(), max_cpus=0, words=(), disk=None):
        """DEVICES are plugged, MAX_CPUS (0: CPUS) can be; WORDS are for the command line; DISK is (file, whether O_DIRECT)."""
        vm = Running(tmp, [*prefix, self.binary, "--name", "bench", "--qmp", "unix:" + os.path.join(tmp, "qmp"), *words])
        vm.n_cpus = 0
        try:
            vm.connect()
            if guest or kernel:
                self.plug(vm, guest, mib, cpus, kernel, max_cpus)
            if disk:
                vm.qmp.command("blockdev-add", driver="file", filename=disk[0], cache={"direct": disk[1]}, **{"node-name": "f0"})
                vm.qmp.command("device_add", driver="virtio-blk-pci", id="disk0", drive="f0")
            if devices:
                vm.qmp.command("device-plug-transaction", devices=list(devices))
            if guest or kernel:
                if kernel:
                    vm.qmp.command("set-action", shutdown="poweroff")
            vm.built = now()
            if run and (guest or kernel):
                vm.qmp.command("cont")
            vm.continued = now()
        except (Failed, OSError) as e:
            text = vm.words()
            vm.__exit__()
            raise Failed("%s; it said: %s" % (e, text[-500:]))
        return vm


class Qemu:
    """Debian's package: what is installed, or what tests/fetch-peers unpacked."""
    guest = "guest.rom"
    tap = {"script": "no", "downscript": "no"}
    native = {}
    native_words = ["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"]

    def __init__(self, machine):
        self.machine = machine
        self.name = {"q35": "QEMU q35", "microvm": "QEMU microvm"}[machine.split(",")[0]]
        peers = os.environ.get("BACKPLANE_PEERS", "build/peers")
        self.root = os.path.join(peers, "root")
        self.binary = shutil.which("qemu-system-x86_64") or os.path.join(self.root, "usr/bin/qemu-system-x86_64")

    def roms(self):
        """Where an unpacked one finds what it would look for below /usr."""
        if not self.is_unpacked():
            return []
        return [word for part in ("share/seabios", "share/qemu", "lib/ipxe/qemu")
                for word in ("-L", os.path.join(self.root, "usr", part))]

    def is_unpacked(self):
        return os.path.realpath(self.binary).startswith(os.path.realpath(self.root) + "/")

    def missing(self):
        if not os.access(self.binary, os.X_OK):
            return "no qemu-system-x86_64: tests/bench/fetch-qemu has not been run, or could not get it"
        return None

    def environment(self):
        if not self.is_unpacked():
            return []
        libs = glob.glob(os.path.join(self.root, "usr/lib/x86_64-linux-gnu")) + glob.glob(os.path.join(self.root, "lib/x86_64-linux-gnu"))
        return ["env", "LD_LIBRARY_PATH=" + ":".join(libs)]

    def start(self, tmp, guest=None, mib=256, cpus=1, kernel=None, run=True, prefix=(), devices=(), max_cpus=0, words=(), disk=None):
        if disk:  # threads with names, so that the processors' can be told
            node = {"driver": "file", "filename": disk[0], "node-name": "f0", "cache": {"direct": disk[1]}}
            words = (*words, "-name", "bench,debug-threads=on", "-blockdev", json.dumps(node), "-device", "virtio-blk-pci,drive=f0")
        argv = [*self.environment(), *prefix, self.binary, "-nodefaults", "-no-user-config", "-display", "none", "-accel", "kvm", *words,
                "-machine", self.machine if kernel else self.machine.replace(",rtc=on", ",rtc=off"), *self.roms(), "-m", str(mib), "-smp", "%d,maxcpus=%d" % (cpus, max_cpus or cpus), "-no-reboot",
                "-qmp", "unix:%s,server=on,wait=off" % os.path.join(tmp, "qmp"),
                "-chardev", "file,id=s0,path=%s" % os.path.join(tmp, "serial"), "-serial", "chardev:s0"]
        if kernel:
            argv += ["-cpu", "host,-arch-capabilities", "-kernel", kernel["kernel"], "-append", kernel["append"], "-initrd", kernel["initrd"]]
        else:
            argv += ["-cpu", "qemu64,-pni"] + (["-bios", guest] if guest else [])
        for device in devices:
            argv += ["-device", json.dumps(device)]
        if not run:
            argv.append("-S")
        vm = Running(tmp, argv)
        if not run:
            vm.connect()
        return vm

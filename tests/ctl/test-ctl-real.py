#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every command of backplanectl against the real daemon, under the test accelerator. Prints TAP.

BACKPLANECTL and BACKPLANED name the programs (./backplanectl, ./backplaned).
"""
import json
import os
import re
import socket
import stat
import subprocess
import sys
import time
sys.dont_write_bytecode = True
# pylint: disable=wrong-import-position
from harness import (  # noqa: E402
    CONNECT, CTL, DAEMON, FAILED, LOST, OK, TIMEOUT, USAGE, Terminal, has, main, rows, same, test)

BACKPLANED = os.path.abspath(os.environ.get("BACKPLANED", os.path.join(os.path.dirname(CTL), "backplaned")))


class Machine:
    """A machine of a box; everything by backplanectl."""

    def __init__(self, box, name="vm1", *extra, daemon=()):
        self.box, self.name, self.qtest = box, name, os.path.join(box.dir, name + ".qtest")
        box.env["BACKPLANED"] = BACKPLANED
        box.ctl("start", name, "--accel", "test", *extra, "--", "--qtest", "unix:" + self.qtest, *daemon, socket=False)
        with open(self.path("backplaned.pid"), encoding="ascii") as f:
            self.pid = int(f.read())
        close = box.close

        def end():
            try:
                os.kill(self.pid, 9)
            except ProcessLookupError:
                pass
            close()
        box.close = end

    def path(self, name):
        return os.path.join(self.box.run_dir, self.name, name)

    def __call__(self, *args, rc=OK, **options):
        return self.box.ctl("-m", self.name, *args, socket=False, rc=rc, **options)[0]

    def fails(self, *args, rc=DAEMON):
        out, err = self.box.ctl("-m", self.name, *args, socket=False, rc=rc)
        same(out, "")
        assert err.startswith("backplanectl: ") and len(err) < 2000, err
        return err

    def json(self, *args):
        return json.loads(self("--json", *args))

    def popen(self, *args):
        p = subprocess.Popen([CTL, "-m", self.name, *args], env=self.box.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.box.processes.append(p)
        return p

    def furnish(self):
        self("plug", "board", "id=board", "max-cpus=8", "cpu-type=qemu64-x86_64-cpu")
        self("cpus", "2")
        self("plug", "--object", "memory-backend-ram", "id=m0", "size=67108864")
        self("plug", "pc-dimm", "id=d0", "memdev=m0")


def gone(pid):
    """Ended; whoever inherited it may take its time to reap it."""
    for _ in range(1000):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
                if f.read().rpartition(")")[2].split()[0] in "ZX":
                    return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


# --- start, list, quit ---

@test
def start_list_quit(box):
    one, two = Machine(box, "vm1"), Machine(box, "vm2", "--log", "debug")
    table = rows(box.ctl("list", socket=False)[0])
    same(table[0], ["NAME", "STATE", "PID", "SOCKET"])
    same([r[:3] for r in table[1:]], [["vm1", "prelaunch", str(one.pid)], ["vm2", "prelaunch", str(two.pid)]])
    same(os.stat(one.path("qmp.sock")).st_mode & 0o777, 0o600)
    listed = json.loads(box.ctl("--json", "list", socket=False)[0])
    same({m["name"] for m in listed}, {"vm1", "vm2"})
    has(box.ctl("status", socket=False, rc=CONNECT)[1], "vm1", "vm2")
    same(one("quit"), "")
    assert gone(one.pid)
    assert not os.path.exists(one.path("qmp.sock")) and not os.path.exists(one.path("backplaned.pid"))
    has(box.ctl("status", socket=False)[0], "vm2")  # the only one left is the one that is meant
    has(box.ctl("-m", "vm1", "status", socket=False, rc=CONNECT)[1], "vm1/qmp.sock")


@test
def start_what_runs_already(box):
    Machine(box)
    _, err = box.ctl("start", "vm1", "--accel", "test", socket=False, rc=FAILED)
    has(err, "vm1")
    same(err.count("\n"), 1)


@test
def start_what_can_not(box):
    box.env["BACKPLANED"] = BACKPLANED
    bad = os.path.join(box.dir, "bad.json")
    with open(bad, "w", encoding="utf-8") as f:
        f.write('{"devices": [{"driver": "no-such"}]}')
    for arguments, part in ((["--config", bad], "no-such"), (["--config", "/none"], "/none"), (["--accel", "none"], "none"),
                            (["--log", "loud"], "loud"), (["--", "--nonsense"], "nonsense")):
        _, err = box.ctl("start", "vm9", *(["--accel", "test"] if "--accel" not in arguments else []), *arguments, socket=False, rc=FAILED)
        has(err, part)
    same(rows(box.ctl("list", socket=False)[0])[1:], [])


@test
def start_after_a_crash(box):
    m = Machine(box)
    os.kill(m.pid, 9)
    assert gone(m.pid)
    m.fails("status", rc=CONNECT)
    same(rows(box.ctl("list", socket=False)[0])[1:], [])
    os.unlink(m.qtest)
    m = Machine(box)
    has(m("status"), "prelaunch")


@test
def start_with_a_configuration(box):
    one = Machine(box)
    one.furnish()
    path = os.path.join(box.dir, "c.json")
    one("config", "dump", path)
    two = Machine(box, "vm2", "--config", path)
    same(two.json("config", "dump"), one.json("config", "dump"))
    same(two("abi"), one("abi"))


@test
def hints(box):
    """A machine is stopped, and started again as its guest knows it, from the configuration and a file that nobody looks into."""
    config, hints_file = os.path.join(box.dir, "c.json"), os.path.join(box.dir, "c.hints")
    one = Machine(box)
    one.furnish()
    one("plug", "virtio-rng-pci", "id=gone")
    one("plug", "virtio-rng-pci", "id=rng")
    one("unplug", "gone", "--wait")
    one("config", "dump", config)
    same(one("hints", "export", hints_file), "")
    same(one("hints", "diff", hints_file).split("\n")[1].split()[:2], ["ignored-absent", "gone"])
    if os.getuid() == 0:  # a device is written to, not replaced
        device = os.path.join(box.dir, "null")
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        for words in (("hints", "export"), ("config", "dump")):
            same(one(*words, device), "")
            assert stat.S_ISCHR(os.stat(device).st_mode), words
        has(one.fails("qmp", "compat-hints-export", f'to={{"file":"{device}"}}', rc=DAEMON), "no file")
    two = Machine(box, "vm2", daemon=("--hints", hints_file))
    two("config", "load", config)
    same(two("abi"), one("abi"))
    three = Machine(box, "vm3")
    same(three("hints", "import", hints_file), "")
    three("config", "load", config)
    same(three("abi"), one("abi"))
    has(three("hints", "check", hints_file), "VERDICT", "applied", "rng", "addr")
    three("plug", "virtio-rng-pci", "id=gone")  # where it was
    same([r for r in three.json("config", "dump", "--resolved") if r["id"] == "gone"][0]["properties"][1]["origin"], "hint")
    has(three("hints", "refresh", "gone", "addr"), "addr")
    three("unplug", "gone", "--wait")
    same(three("hints", "forget", "gone"), "")
    has(three.fails("hints", "forget", "gone", rc=DAEMON), "'gone'")
    has(three.fails("hints", "check", config, rc=DAEMON), "not compat hints")
    has(three.fails("hints", "import", "--baseline", "0.0", rc=DAEMON), "baseline '0.0'")
    has(three.box.ctl("hints", "import", rc=USAGE)[1], "FILE or --baseline")
    assert "rng" in three.json("hints", "describe", hints_file)["description"]["devices"]


# --- what is there ---

@test
def status(box):
    m = Machine(box)
    has(m("status"), "vm1", "prelaunch", "there is no board yet", "none")
    m.furnish()
    same(rows(m("status")), [["name", "vm1"], ["state", "prelaunch"], ["accel", "test"], ["cpus", "2", "of", "8"],
                             ["memory", "64", "MiB", "base,", "0", "bytes", "plugged"], [], ["DEVICE", "TYPE"], ["board", "board"],
                             ["cpu0", "qemu64-x86_64-cpu"], ["cpu1", "qemu64-x86_64-cpu"], ["d0", "pc-dimm"]])
    same(m.json("status")["status"]["status"] if "status" in m.json("status") else None, "prelaunch")


@test
def plug_and_unplug(box):
    m = Machine(box)
    m.furnish()
    same(m("plug", "--chardev", "rb", "ringbuf", "size=4096"), "")
    pty = m("plug", "--chardev", "con", "pty").strip()
    assert re.fullmatch(r"/dev/pts/\d+", pty) and os.path.exists(pty), pty
    m("plug", "--chardev", "s", "socket", "addr.type=unix", f"addr.data.path={box.dir}/s")
    m("plug", "--object", "iothread", "id=io")
    m("plug", "isa-serial", "id=s0", "chardev=con")
    has(m.fails("plug", "isa-serial", "id=s0"), "GenericError", "Duplicate", "'s0'")
    has(m.fails("plug", "isa-serial", "id=s1", "chardev=none"), "DeviceNotFound", "none")
    has(m.fails("plug", "isa-serial", "id=s1", "irq=99"), "irq", "99")
    has(m.fails("plug", "nonsense"), "nonsense")
    has(m.fails("unplug", "none"), "DeviceNotFound: Device 'none' not found")
    has(m.fails("unplug", "--chardev", "con"), "in use")
    has(m.fails("unplug", "--object", "m0"), "in use", "d0")
    same(m("unplug", "s0", "--wait"), "")
    m("unplug", "d0")
    m("unplug", "--object", "m0")
    m("unplug", "--object", "io")
    for c in ("rb", "con", "s"):
        m("unplug", "--chardev", c)
    config = m.json("config", "dump")
    same([d["id"] for d in config["devices"]], ["board", "cpu0", "cpu1"])
    same((config["chardevs"], config["objects"]), ([], []))
    m("cont", rc=DAEMON)


@test
def cpus(box):
    m = Machine(box)
    m.furnish()
    table = rows(m("cpus"))
    same(table[0], ["SLOT", "SOCKET", "DIE", "CORE", "THREAD", "STATE", "CPU", "TID", "TYPE", "QOM-PATH"])
    same([r[5] for r in table[1:]], ["plugged"] * 2 + ["free"] * 6)
    assert all(os.path.exists(f"/proc/{m.pid}/task/{r[7]}") for r in table[1:3]), table
    m("cpus", "4")
    same(len(m.json("qmp", "query-cpus-fast")), 4)
    m("cont")
    m("cpus", "5")  # while it runs
    same([r[5] for r in rows(m("cpus"))[1:]], ["plugged"] * 5 + ["free"] * 3)
    m("unplug", "cpu1", "--wait", "force=true")  # nobody is there to let go of it
    m("cpus", "5")
    same([r[9] for r in rows(m("cpus"))[1:6]], [f"/machine/peripheral/cpu{i}" for i in range(5)])
    has(m.fails("cpus", "9", rc=FAILED), "8")
    has(m.fails("cpus", "1", rc=FAILED), "unplug")


@test
def memory(box):
    m = Machine(box)
    m.furnish()
    m("plug", "--object", "memory-backend-memfd", "id=m1", "size=1610612736")
    m("plug", "pc-dimm", "id=d1", "memdev=m1")
    before = rows(m("memory"))
    m("cont")
    after = rows(m("memory"))
    same(after[0], ["base", "1600", "MiB"])
    same(after[4:], [["d0", "dimm", "64", "MiB", "-", "0x0", "/objects/m0"], ["d1", "dimm", "1536", "MiB", "-", "0x4000000", "/objects/m1"]])
    same(before[0], after[0])
    same(m.json("memory")["devices"][1]["data"]["id"], "d1")


# --- configuration ---

@test
def config(box):
    one, two = Machine(box, "vm1"), Machine(box, "vm2")
    one.furnish()
    text = one("config", "dump")
    out = box.ctl("-m", "vm2", "config", "load", "--dry-run", "-", socket=False, stdin=text)[0]
    same(two.json("config", "dump"), {"chardevs": [], "objects": [], "devices": []})
    box.ctl("-m", "vm2", "config", "load", "-", socket=False, stdin=text)
    same(two("config", "dump"), text)
    same(two("abi"), one("abi"))
    assert re.fullmatch(r"[0-9a-f]{64}\n", one("abi")), one("abi")
    detail = rows(one("abi", "--detail"))
    same(detail[2], ["DEVICE", "ITEM", "HASH", "VALUE"])
    assert len(detail) > 60 and max(len(line) for line in one("abi", "--detail").splitlines()) < 200
    resolved = {d["id"]: d for d in one.json("config", "dump", "--resolved")}
    same(resolved["cpu0"]["type"], "qemu64-x86_64-cpu")
    same([p["origin"] for p in resolved["board"]["properties"] if p["name"] == "max-cpus"], ["config"])
    has(box.ctl("-m", "vm2", "config", "load", "-", socket=False, stdin=text, rc=DAEMON)[1], "GenericError")
    same(json.loads(out), {"devices": 4, "objects": 1, "chardevs": 0})
    has(two("status"), "2 of 8")


# --- life ---

@test
def run_states(box):
    m = Machine(box)
    has(m.fails("cont"), "GenericError: cont: the machine has no CPU")
    m.furnish()
    m("wait", "prelaunch")
    same(m("cont"), "")
    m("wait", "running")
    m("cont")
    m("stop")
    m("stop")
    has(m("status"), "paused")
    m("reset")
    has(m("status"), "paused")
    m("cont")
    m("powerdown")
    m.fails("-t", "0.2", "wait", "shutdown", rc=TIMEOUT)  # nobody in there heeds the button
    has(m("status"), "running")
    m("quit")


@test
def waiting_and_events(box):
    m = Machine(box)
    m.furnish()
    events = m.popen("events", "--count", "3")
    stop = m.popen("events", "--count", "1", "STOP")
    waits = m.popen("wait", "running")
    reset = m.popen("wait", "RESET")
    end = time.monotonic() + 20
    while len(os.listdir(f"/proc/{m.pid}/fd")) < 4 + 8 and time.monotonic() < end:
        time.sleep(0.01)  # the four are connected; whether they have negotiated shows in what they get
    time.sleep(0.2)
    m("cont")
    m("stop")
    m("reset")
    names = [json.loads(line)["event"] for line in events.communicate(timeout=20)[0].splitlines()]
    same(names, ["RESUME", "STOP", "RESET"])
    same(json.loads(stop.communicate(timeout=20)[0])["event"], "STOP")
    same((waits.wait(20), reset.wait(20), events.returncode), (0, 0, 0))
    watch = m.popen("events")
    watch2 = m.popen("wait", "paused") and m.popen("wait", "running")
    time.sleep(0.2)
    m("quit")
    has(watch.communicate(timeout=20)[0], "SHUTDOWN", "host-qmp-quit")
    same((watch.returncode, watch2.wait(20)), (LOST, LOST))


@test
def a_guest_that_powers_off(box):
    """What a client of qtest does as the CPU: ACPI power-off; then set-action."""
    m = Machine(box)
    m.furnish()
    m("cont")
    q = socket.socket(socket.AF_UNIX)
    q.connect(m.qtest)

    def access(text):
        q.sendall(text.encode() + b"\n")
        reply = b""
        while not reply.endswith(b"\n") or not [line for line in reply.splitlines() if not line.startswith(b"IRQ")]:
            reply += q.recv(4096)
        assert reply.splitlines()[-1].startswith(b"OK"), reply
    shutdown = m.popen("wait", "SHUTDOWN")
    time.sleep(0.2)
    access("outl 0xcf8 0x8000f840")
    access("outl 0xcfc 0x601")
    access("outl 0xcf8 0x8000f844")
    access("outb 0xcfc 0x80")
    access("outw 0x604 0x2000")  # SLP_EN with SLP_TYP 0: S5
    same(shutdown.wait(20), 0)
    m("wait", "shutdown")
    has(m.fails("cont"), "shutdown", "system_reset")
    m("reset")
    has(m("status"), "paused")
    m("qmp", "set-action", "shutdown=poweroff")
    q.close()


def power_off_ends(m):
    m("cont")
    with socket.socket(socket.AF_UNIX) as q:
        q.connect(m.qtest)
        for text in ("outl 0xcf8 0x8000f840", "outl 0xcfc 0x601", "outl 0xcf8 0x8000f844", "outb 0xcfc 0x80", "outw 0x604 0x2000"):
            q.sendall(text.encode() + b"\n")
        assert gone(m.pid)
    assert not os.path.exists(m.path("backplaned.pid"))


@test
def a_second_power_off_ends_it(box):
    m = Machine(box)
    m.furnish()
    m("qmp", "set-action", "shutdown=poweroff")
    power_off_ends(m)


@test
def the_daemon_was_started_to_end_with_its_guest(box):
    m = Machine(box, daemon=("--action", "reboot=shutdown,shutdown=poweroff"))
    m.furnish()
    power_off_ends(m)
    for bad in ("shutdown=no", "shutdown", "poweroff=shutdown", "", "reboot=reset,", "shutdown=poweroff,reboot=pause"):
        p = subprocess.run([BACKPLANED, "--name", "x", "--qmp", "unix:" + box.dir + "/x", "--action", bad], capture_output=True, text=True, check=False)
        same(p.returncode, 2)
        has(p.stderr, "--action: '" + bad.split(",")[-1] + "' is not")


# --- console ---

@test
def console_of_a_pty(box):
    m = Machine(box)
    m.furnish()
    m("plug", "--chardev", "con", "pty")
    m("plug", "isa-serial", "id=s0", "chardev=con")
    m("cont")
    with socket.socket(socket.AF_UNIX) as q:
        q.connect(m.qtest)
        os.symlink(m.path("qmp.sock"), box.dir + "/q")
        t = Terminal(box, "console")
        t.wait_raw()
        for c in b"hello, world\r\n":
            q.sendall(b"outb 0x3f8 %d\n" % c)
            q.recv(100)
        t.expect("hello, world")
        t.type("K")
        end, got = time.monotonic() + 10, b""
        while b"0x004b" not in got and time.monotonic() < end:
            q.sendall(b"inb 0x3f8\n")
            got = q.recv(100)
        has(got, b"0x004b")
        t.type("\x1d")
        t.end(OK)


@test
def console_of_a_ringbuf(box):
    m = Machine(box)
    m.furnish()
    m("plug", "--chardev", "rb", "ringbuf", "size=4096")
    m("plug", "isa-serial", "id=s0", "chardev=rb")
    m("cont")
    with socket.socket(socket.AF_UNIX) as q:
        q.connect(m.qtest)
        for c in b"from the guest\n":
            q.sendall(b"outb 0x3f8 %d\n" % c)
            q.recv(100)
    os.symlink(m.path("qmp.sock"), box.dir + "/q")
    t = Terminal(box, "console", "rb")
    t.expect("from the guest")
    t.wait_raw()
    t.type("\x1d")
    t.end(OK)
    has(m.fails("console", "none", rc=FAILED), "none")


# --- qmp ---

@test
def qmp(box):
    m = Machine(box)
    same(m.json("qmp", "query-name"), {"name": "vm1"})
    same(m.json("qmp", '{"execute": "query-kvm"}')["enabled"], False)
    has(m.fails("qmp", "no-such"), "CommandNotFound", "no-such")
    has(m.fails("qmp", "query-name", "x=1"), "'x'", "unexpected")
    out = m("qmp", stdin="query-name\nno-such\nquery-status\n", rc=DAEMON)
    has(out, "vm1", "prelaunch")
    same(m("qmp", "chardev-add", "id=log", "backend.type=ringbuf", "backend.data.size=65536").strip(), "{}")
    has(m("help"), "plug", "config")
    m("no-such-command", rc=USAGE)


@test
def shell_completes_from_the_schema(box):
    m = Machine(box)
    m.furnish()
    os.symlink(m.path("qmp.sock"), box.dir + "/q")
    t = Terminal(box, "qmp")
    t.prompt()
    t.type("query-hotpl\t\n")
    t.expect("uggable-cpus")
    t.expect("vcpus-count")
    t.prompt()
    t.type("device_add driver=isa-deb")
    t.type("\t\t")
    t.expect("ug.*isa-debug-exit.*isa-debugcon")
    t.type("\x15exit\n")
    t.end(OK)


if __name__ == "__main__":
    sys.exit(main())

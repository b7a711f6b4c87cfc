#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Run states under fire: manager and guest act at the same moment, in random order.

Whatever the order, the events tell the whole story (the state that they lead to is what query-status says), the guest's power-off
and reset are told exactly once and never happen to the machine after the one that asked, and the daemon lives. With the test
accelerator the guest is a qtest client; with KVM it is a few instructions that reset, fault, power off and move a window as
fast as they can on two CPUs. The seed is printed; SEED=N repeats a run.
"""
import json
import os
import random
import socket
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from blackbox import Daemon, QmpError, Skip, build_machine, diag, main, test  # pylint: disable=wrong-import-position

# Multiboot, 32 bits: by three bits of the TSC it writes 6 to port 0xcf9, executes ud2 without an IDT, powers off, flips
# PCIEXBAR between 0xa0000000 and 0xb0000000, or waits a little; then again.
GUEST = bytes.fromhex(
    "02b0ad1b00000100fe4f51e400001000000010006e0010006e001000200010000f31c1e80483e007741448741a48741b487424b9204e0000f390e2fcebe2"
    "66baf90cb006eeebd90f0bebd566ba040666b8002066efebc966baf80cb860000080ef66bafc0ced3500000010efebb2")
OFF, RESET = "outw 0x604 0x2000", "outb 0xcf9 6"


class Story:
    """The state that the events lead to."""

    def __init__(self, c):
        self.c, self.state, self.seen = c, c.call("query-status")["status"], []

    def replay(self):
        for e in self.c.events:
            name = e["event"]
            if name == "RESUME":
                assert self.state in ("prelaunch", "paused"), f"RESUME in state {self.state}"
                self.state = "running"
            elif name == "STOP":
                assert self.state in ("running", "shutdown", "dying"), f"STOP in state {self.state}"
                self.state = "paused" if self.state == "running" else self.state
            elif name == "SHUTDOWN":
                assert self.state != "shutdown", "SHUTDOWN of what is shut down"
                self.state = "shutdown"
            elif name == "RESET" and self.state == "shutdown":
                self.state = "paused"
            self.seen.append((name, e.get("data", {}).get("guest")))
        self.c.events.clear()

    def check(self, before):
        status = self.c.call("query-status")
        self.replay()
        assert status["status"] == self.state, f"{status} after {self.seen}, from {before}"
        assert status["running"] == (self.state == "running")


def pipeline(c, commands):
    """Sends all at once; how many were refused."""
    c.send(b"".join(json.dumps({"execute": name}).encode() + b"\n" for name in commands))
    return [("error" in c.reply()) for _ in commands]


class Qtest:
    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(path)
        self.file = self.sock.makefile("r")

    def send(self, line):
        self.sock.sendall(line.encode() + b"\n")

    def reply(self):
        line = self.file.readline()
        assert line.startswith("OK"), f"qtest: {line!r}"

    def ask(self, line):
        self.send(line)
        self.reply()


class QtestDaemon(Daemon):
    def __init__(self):
        directory = tempfile.mkdtemp(prefix="bb-", dir="/tmp")
        super().__init__("--qtest", f"unix:{directory}/qtest", directory=directory)
        self.own = True
        self.c.call("query-name")  # answered by the main loop, hence after the qtest socket is there


def seeded(name):
    seed = int(os.environ.get("SEED", random.randrange(1 << 32)))
    diag(f"{name}: SEED={seed}")
    return random.Random(seed)


def one_step(r, c, q, story):
    before = story.state
    wish = r.choice([OFF, RESET, None])
    commands = r.choice([[], ["stop"], ["cont"], ["stop", "cont"], ["system_reset"], ["system_reset", "cont"],
                         ["stop", "system_reset"], ["cont", "stop", "cont"], ["system_powerdown"], ["inject-nmi"]])
    if wish and r.random() < 0.7:
        q.send(wish)
        pipeline(c, commands)
        q.reply()
    else:
        pipeline(c, commands)
        if wish:
            q.ask(wish)
    q.ask("endianness")  # what the last request posted is done before the next
    story.seen.clear()
    story.check(before)
    if before != "shutdown":
        assert story.seen.count(("SHUTDOWN", True)) == (wish == OFF), f"{wish}, {commands} from {before}: {story.seen}"
        assert story.seen.count(("RESET", True)) == (wish == RESET), f"{wish}, {commands} from {before}: {story.seen}"


@test
def power_off_and_reset_before_the_first_cont():
    with QtestDaemon() as d:
        build_machine(d.c)
        q = Qtest(d.path("qtest"))
        story = Story(d.c)
        q.ask(RESET)
        q.ask("endianness")
        story.check("prelaunch")
        assert story.state == "prelaunch"
        q.ask(OFF)
        q.ask("endianness")
        story.check("prelaunch")
        assert story.state == "shutdown"
        d.c.refused("cont", "shutdown")
        d.c.call("system_reset")
        d.c.call("cont")
        story.check("shutdown")
        assert story.state == "running"


@test
def manager_and_qtest_client_in_random_order():
    r = seeded("qtest")
    with QtestDaemon() as d:
        build_machine(d.c)
        q, story = Qtest(d.path("qtest")), Story(d.c)
        for _ in range(400):
            one_step(r, d.c, q, story)
            if story.state == "shutdown" and r.random() < 0.5:
                d.c.call("system_reset")
            if r.random() < 0.5 and story.state != "shutdown":
                d.c.call("cont")
            if r.random() < 0.1:
                q.ask("outb 0x70 0")
                q.ask(f"outb 0x71 {r.randrange(60)}")
            story.check("between")


@test
def a_guest_that_resets_faults_and_powers_off_all_the_time():
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        raise Skip("/dev/kvm can not be opened")
    r = seeded("kvm")
    with Daemon(accel="kvm") as d:
        build_machine(d.c)
        with open(d.path("kernel"), "wb") as f:
            f.write(GUEST + bytes(512))
        d.c.call("device_add", driver="linux-loader", id="boot", kernel=d.path("kernel"))
        story, counts = Story(d.c), {}
        spare = False
        end = time.monotonic() + 8
        while time.monotonic() < end:
            before = story.state
            pipeline(d.c, r.choice([["cont"], ["stop"], ["stop", "cont"], ["system_reset"], ["stop", "system_reset", "cont"],
                                    ["system_reset", "cont"], ["query-cpus-fast"], ["inject-nmi"]]))
            if r.random() < 0.2:
                try:
                    if spare:
                        d.c.call("device_del", id="spare", force=True)
                    else:
                        d.c.call("device_add", driver="qemu64-x86_64-cpu", id="spare")
                    spare = not spare
                except QmpError as e:
                    raise AssertionError(f"{e} from {before}") from e
            if r.random() < 0.5:
                time.sleep(r.random() * 0.004)
            story.seen.clear()
            d.c.call("stop")  # the guest acts between any two looks: state and events agree when it stands
            story.check(before)
            for name, _ in story.seen:
                counts[name] = counts.get(name, 0) + 1
        diag(str(counts))
        assert counts.get("RESET", 0) > 5 and counts.get("SHUTDOWN", 0) > 0, f"nothing happened: {counts}"


sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every way a machine starts, stops, resets and ends: the events in their order, the state after each, the exit status.

Machine.check_state() compares query-status with what the events alone would tell, so each use of it is a check of both.
"""

from backplane import *

WAIT = "probe=wait"


def names(m, since=0):
    """The events since, as (name, data)."""
    m.qmp.settle()
    return [(e["event"], e.get("data")) for e in m.qmp.events[since:]]


def ready(c, append=WAIT, **build):
    """A running machine whose probe waits for orders on COM1; a context manager's body gets it."""
    @contextlib.contextmanager
    def body():
        with Machine(c) as m:
            m.build(append=append, **build)
            m.cont()
            m.guest.wait_for("ready", 30 * PATIENCE)
            yield m
    return body()


GUEST_OFF = ("SHUTDOWN", {"guest": True, "reason": "guest-shutdown"})
GUEST_RESET = ("RESET", {"guest": True, "reason": "guest-reset"})
HOST_RESET = ("RESET", {"guest": False, "reason": "host-qmp-system-reset"})


# ---- power-off

@case("power-off by the guest: state shutdown, the daemon stays, system_reset and cont lead on")
def _(c):
    with ready(c, cpus=2) as m:
        c.equal(names(m), [("RESUME", None)], "events up to here")
        m.guest.send("end poweroff")
        m.wait("STOP")
        c.equal(names(m, 1), [GUEST_OFF, ("STOP", None)], "events of the power-off")
        m.check_state("shutdown")
        m.refused("cont", "cont", "shutdown", "system_reset")
        m.stop()
        m.check_state("shutdown")
        m("system_reset")
        c.equal(names(m, 3), [HOST_RESET], "events of the reset")
        m.check_state("paused")
        m.cont()
        m.guest.wait_for("probe", 30 * PATIENCE)
        m.guest.wait_for("ready", 30 * PATIENCE)
        m.check_state("running")
        m.quit()


@case("power-off with set-action shutdown=poweroff ends the daemon with status 0")
def _(c):
    with ready(c) as m:
        m("set-action", shutdown="poweroff")
        m.guest.send("end poweroff")
        c.equal(m.exit_status(), 0, "the exit status")
        c.equal([(e["event"], e.get("data")) for e in m.qmp.events], [("RESUME", None), GUEST_OFF], "the events")
        c.true(not os.path.exists(m.path("qmp")), "the socket is still there")


def add_debug_exit_case(number):
    @case("debug-exit of %d ends the daemon with status %d" % (number, 2 * number + 1 & 0xFF))
    def _(c):
        with Machine(c) as m:
            m.board(max_cpus=1)
            m("device_add", driver="isa-debug-exit", id="exit")
            m.cpu()
            m.memory(512 * MIB)
            m.serial()
            m.loader(append="probe=memmap end=debug-exit:%d" % number)
            m.cont()
            c.equal(m.exit_status(), 2 * number + 1 & 0xFF, "the exit status")


for _number in (0, 5, 127):
    add_debug_exit_case(_number)


# ---- resets

def add_reset_case(how, cpus):
    @case("reset by the guest (%s), %d CPUs: RESET, it runs again; with reboot=shutdown it is a shutdown" % (how, cpus))
    def _(c):
        with ready(c, cpus=cpus, append="probe=smp,wait") as m:
            for _ in range(3):
                seen = len(m.qmp.events)
                m.guest.send("end " + how)
                m.wait("RESET", guest=True, reason="guest-reset")
                m.guest.wait_for("probe", 30 * PATIENCE)
                m.guest.wait_for("ready", 60 * PATIENCE)
                c.equal(names(m, seen), [GUEST_RESET], "events of the reset")
                m.check_state("running")
                c.equal(m.guest.run.one("smp-total")["online"], cpus, "CPUs that came up again")
                c.equal(m.guest.run.problems(), [], "what the probe calls bad")
            seen = len(m.qmp.events)
            m("set-action", reboot="shutdown")
            m.guest.send("end " + how)
            m.wait("STOP")
            c.equal(names(m, seen), [("SHUTDOWN", {"guest": True, "reason": "guest-reset"}), ("STOP", None)],
                    "events with reboot=shutdown")
            m.check_state("shutdown")


# The FADT's reset register, port 0xcf9 and a triple fault; port 0x64 is what `reset` falls back to.
for _how in ("reset", "cf9", "triple"):
    add_reset_case(_how, 2)


@case("reset by port 0x64 through the keyboard controller's pulse (Linux, reboot=k)")
def _(c):
    linux = linux_guest(c)
    with Machine(c) as m:
        m.build(cpus=1, memory=GIB, kernel=linux.kernel, initrd=linux.initrd, serial="console",
                append=linux.words.replace("reboot=t", "reboot=k") + " run=reboot,-f")
        m("set-action", reboot="shutdown")
        m.cont()
        m.wait("SHUTDOWN", 60, guest=True, reason="guest-reset")
        m.wait("STOP")
        m.check_state("shutdown")


@case("reboot=shutdown and shutdown=poweroff: a reset ends the daemon")
def _(c):
    with ready(c) as m:
        m("set-action", reboot="shutdown", shutdown="poweroff")
        m.guest.send("end cf9")
        c.equal(m.exit_status(), 0, "the exit status")
        c.equal(m.qmp.events[-1].get("data"), {"guest": True, "reason": "guest-reset"}, "the last event")


@case("system_reset in each state")
def _(c):
    with Machine(c) as m:
        m.build(cpus=2, append="probe=smp,wait")
        m("system_reset")
        c.equal(names(m), [HOST_RESET], "events in prelaunch")
        m.check_state("prelaunch")
        m.cont()
        m.guest.wait_for("ready", 30 * PATIENCE)
        for _ in range(5):
            seen = len(m.qmp.events)
            m("system_reset")
            c.equal(names(m, seen), [HOST_RESET], "events while running")
            m.check_state("running")
            m.guest.wait_for("probe", 30 * PATIENCE)
            m.guest.wait_for("ready", 30 * PATIENCE)
        m.stop()
        seen = len(m.qmp.events)
        m("system_reset")
        m("system_reset")
        c.equal(names(m, seen), [HOST_RESET] * 2, "events while paused")
        m.check_state("paused")
        m.cont()
        m.guest.wait_for("probe", 30 * PATIENCE)
        m.guest.wait_for("ready", 30 * PATIENCE)
        c.equal(m.guest.run.one("smp-total")["online"], 2, "CPUs after a reset while paused")
        # In the middle of the guest's start, where APs may be anywhere.
        for _ in range(20):
            m("system_reset")
        m.guest.wait_for("ready", 60 * PATIENCE)
        m.check_state("running")
        m.quit()


# ---- errors of KVM

@case("KVM gives up: internal-error, its event and the log tell registers; a reset brings the machine back")
def _(c):
    with ready(c, cpus=2, append="probe=smp,wait") as m:
        for _ in range(2):
            seen = len(m.qmp.events)
            m.guest.send("end internal-error")
            event = m.wait("INTERNAL_ERROR")["data"]
            c.equal([n for n, _ in names(m, seen)], ["STOP", "INTERNAL_ERROR"], "the events")
            m.check_state("internal-error")
            c.equal(event["cpu-index"], 0, "the CPU")
            c.equal(event["rip"], 0xD0000000, "RIP")
            c.equal(event["reason"], "emulation-failure", "the reason")
            c.true(re.search("(?i)rip.*d0000000", event["registers"].replace("\n", " ")), "RIP in the registers", event["registers"])
            c.contains(m.log(), event["registers"].splitlines()[0], "the log")
            m.refused("cont", "internal-error", "system_reset")
            m.stop()
            m.check_state("internal-error")
            m("system_reset")
            m.check_state("paused")
            m.cont()
            m.guest.wait_for("probe", 30 * PATIENCE)
            m.guest.wait_for("ready", 30 * PATIENCE)
            c.equal(m.guest.run.one("smp-total")["online"], 2, "CPUs after it")
        m.quit()


# ---- stop and cont

@case("stop and cont 200 times under four CPUs that count together: nothing is lost")
def _(c):
    with ready(c, cpus=4, append=WAIT) as m:
        threads = m.threads()
        for turn in range(4):
            m.guest.send("probe smp work=100000")
            m.guest.wait_for("smp-ipi", 30 * PATIENCE)
            for _ in range(50):
                m.stop()
                m.cont()
            m.check_state("running")
            m.guest.wait_for("smp-work", 120 * PATIENCE, status="ok")
            m.guest.wait_for("ready", 30 * PATIENCE)
        c.equal(len(m.guest.run.lines("smp-work")), 4, "rounds of work")
        c.equal(len(names(m)), 401, "STOP and RESUME events (and the first RESUME)")
        c.true(all(l["overlapped"] > 1 for l in m.guest.run.lines("smp-work")), "the CPUs did not work at once")
        c.equal(m.threads(), threads, "threads of the daemon")
        m.stop()
        m.stop()
        m.cont()
        m.cont()
        c.equal(names(m, 401), [("STOP", None), ("RESUME", None)], "events of doubled stop and cont")
        m.quit()


@case("a stopped guest does not run, and goes on where it was")
def _(c):
    with ready(c) as m:
        m.stop()
        m.guest.send("probe rtc")
        before = m.cpu_seconds()
        time.sleep(0.5)  # the time in which nothing may happen
        c.true(m.cpu_seconds() - before <= 0.02, "a stopped machine takes CPU time", m.cpu_seconds() - before)
        m.guest._read(0)
        c.equal([l["section"] for l in m.guest.run.lines("begin")], ["wait"], "sections begun while stopped")
        m.cont()
        m.guest.wait_for("ready", 30 * PATIENCE)
        c.equal(m.guest.run.problems(), [], "what the probe calls bad")


@case("an idle machine takes no CPU time")
def _(c):
    with Machine(c) as m:
        m.build(cpus=4, append="probe=smp end=idle")
        m.cont()
        m.guest.wait_for("end", 30 * PATIENCE)
        m.qmp.settle()
        time.sleep(0.3)  # the last CPU may be on its way to HLT
        before = m.cpu_seconds()
        time.sleep(2)  # the measurement
        c.true(m.cpu_seconds() - before <= 0.011, "seconds of CPU time in 2 s", m.cpu_seconds() - before)
        m.check_state("running")
        m.quit()


# ---- the power button

@case("system_powerdown: POWERDOWN, and Linux powers off")
def _(c):
    linux = linux_guest(c)
    with Machine(c) as m:
        m.build(cpus=1, memory=GIB, kernel=linux.kernel, initrd=linux.initrd, serial="console",
                append=linux.words + " run=shell")
        m.refused("system_powerdown", "prelaunch", "running")
        m.cont()
        m.console.expect(r"[#$] ")
        # What acpid would do, by the one sign of the button that needs no driver of event nodes.
        m.console.send("n=/sys/firmware/acpi/interrupts/ff_pwr_btn; read a b < $n; echo wai''ting for $a; c=$a; "
                       "while [ \"$c\" = \"$a\" ]; do usleep 20000; read c b < $n; done; echo pressed $c; poweroff -f\n")
        m.console.expect(r"waiting for 0")
        m("system_powerdown")
        m.wait("POWERDOWN")
        m.console.expect(r"pressed 1\s")
        m.wait("SHUTDOWN", 20, guest=True, reason="guest-shutdown")
        m.wait("STOP")
        m.check_state("shutdown")
        m.refused("system_powerdown", "shutdown", "running")


# ---- the daemon's end

def in_state(m, state):
    m.build(append=WAIT)
    if state == "prelaunch":
        return
    m.cont()
    m.guest.wait_for("ready", 30 * PATIENCE)
    if state == "paused":
        m.stop()
    elif state != "running":
        m.guest.send("end " + {"shutdown": "poweroff", "internal-error": "internal-error"}[state])
        m.wait({"shutdown": "STOP", "internal-error": "INTERNAL_ERROR"}[state])
    m.check_state(state)


def add_end_case(state):
    @case("quit, SIGTERM and SIGINT in state %s" % state)
    def _(c):
        for how in ("quit", signal.SIGTERM, signal.SIGINT):
            with Machine(c) as m:
                in_state(m, state)
                if how == "quit":
                    m("quit")
                else:
                    m.process.send_signal(how)
                c.equal(m.exit_status(), 0, "the exit status after %s" % how)
                last = m.qmp.events[-1]
                c.equal((last["event"], last.get("data")), ("SHUTDOWN", {
                    "guest": False, "reason": "host-qmp-quit" if how == "quit" else "host-signal"}), "the last event")
                c.true(not os.path.exists(m.path("qmp")), "the socket is still there")


for _state in ("prelaunch", "running", "paused", "shutdown", "internal-error"):
    add_end_case(_state)


@case("an empty daemon ends by quit and by SIGTERM; two SIGTERMs are not too many")
def _(c):
    # Several times: KVM starts in the background meanwhile.
    for signals in (0, 1, 2) * 10:
        with Machine(c) as m:
            if signals == 0:
                m("quit")
            for _ in range(signals):
                m.process.send_signal(signal.SIGTERM)
            # A second one ends at once, in whatever state the first has left it: killed, if it was not over before.
            status = m.exit_status()
            c.true(status in ((0,) if signals < 2 else (0, -signal.SIGTERM)), "the exit status after %d signals" % signals, status)


@case("SIGKILL: the next daemon takes the same socket")
def _(c):
    with tempfile.TemporaryDirectory(prefix="bp-") as folder:
        with Machine(c, cwd=folder) as m:
            m.build(append=WAIT)
            m.cont()
            m.guest.wait_for("ready", 30 * PATIENCE)
            m.process.kill()
            m.process.wait()
            c.true(os.path.exists(m.path("qmp")), "there was nothing left to trip over")
        with Machine(c, cwd=folder) as m:
            m.build(append=WAIT)
            m.cont()
            m.guest.wait_for("ready", 30 * PATIENCE)
            m.check_state("running")
            m.quit()


# ---- machines that can not start

@case("cont of an incomplete machine names what is missing and changes nothing")
def _(c):
    with Machine(c) as m:
        steps = (("CPU", lambda: m.board(max_cpus=2)), ("CPU", m.cpu), ("memory", lambda: m.memory(512 * MIB)),
                 ("firmware or a linux-loader", lambda: m.serial()))
        for missing, step in steps:
            before = m("query-machine-config"), m("query-cpus-fast")
            m.refused("cont", missing)
            m.check_state("prelaunch")
            c.equal((m("query-machine-config"), m("query-cpus-fast")), before, "the machine after a refused cont")
            step()
        m.refused("cont", "linux-loader")
        c.equal(names(m), [], "events so far")
        m.loader(append="probe=memmap,smp")
        m.cont()
        c.equal(m.finish().problems(), [], "what the probe calls bad")


@case("cont of a kernel that does not fit: refused, repaired, continued")
def _(c):
    with Machine(c) as m:
        m.board(max_cpus=1)
        m.cpu()
        m("object-add", qom_type="memory-backend-memfd", id="small", size=MIB)
        m("device_add", driver="pc-dimm", id="d0", memdev="small")
        m.serial()
        m.loader(append="probe=memmap,smp")
        for _ in range(2):
            text = m.refused("cont")
            c.true(re.search("probe-pvh|kernel|RAM|memory", text), "the error does not tell what does not fit", text)
            m.check_state("prelaunch")
        m("object-add", qom_type="memory-backend-memfd", id="more", size=256 * MIB)
        m("device_add", driver="pc-dimm", id="d1", memdev="more")
        m.cont()
        c.equal(m.finish().problems(), [], "what the probe calls bad")
        c.equal(m("query-memory-size-summary")["base-memory"], 257 * MIB, "base memory")


@case("100 machines one after the other in one place: nothing stays behind")
def _(c):
    with tempfile.TemporaryDirectory(prefix="bp-") as folder:
        for _ in range(100 if os.environ.get("TEST_LONG") else 10):
            with Machine(c, cwd=folder) as m:
                m.build(append="probe=memmap")
                m("set-action", shutdown="poweroff")
                m.cont()
                c.equal(m.exit_status(), 0, "the exit status")
                os.unlink(m.path("com1")) if os.path.exists(m.path("com1")) else None
        c.equal(sorted(os.listdir(folder)), ["log"], "files left behind")


main()

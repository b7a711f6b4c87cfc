#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""CPUs come and go: before the first instruction, while the guest polls the hotplug registers, while it is stopped, over resets.

`probe=cpuhp cpuhp=wait:N` has the guest start each CPU that is inserted until N are there, and then count together with all.
"""

from backplane import *


def slots_of(m):
    return m("query-hotpluggable-cpus")


def counts(c, m, plugged, base_threads, running=True):
    """query-cpus-fast, query-hotpluggable-cpus and the daemon's threads agree on how many there are."""
    fast = m("query-cpus-fast")
    c.equal(len(fast), plugged, "CPUs in query-cpus-fast")
    c.equal(sorted(x["qom-path"] for x in fast), sorted(s["qom-path"] for s in slots_of(m) if "qom-path" in s), "their paths")
    tasks = {int(t) for t in os.listdir("/proc/%d/task" % m.process.pid)}
    ids = {x["thread-id"] for x in fast}
    c.true(ids <= tasks and len(ids) == plugged, "thread ids are not the daemon's threads", (ids, tasks))
    c.equal(len(tasks), base_threads + plugged, "threads of the daemon")


def polling(m, cpus, max_cpus, words="", **build):
    """A running guest that has counted CPUS processors and waits for orders; the daemon's threads without vCPUs."""
    m.build(cpus=cpus, max_cpus=max_cpus, append="probe=smp,wait " + words, **build)
    m.cont()
    m.guest.wait_for("ready", 60 * PATIENCE)
    return m.threads() - cpus


def expect_cpus(m, target, order=None):
    """Sends the guest waiting for TARGET processors."""
    m.guest.send(order or "probe cpuhp cpuhp=wait:%d timeout=60" % target)
    m.guest.wait_for("cpuhp-waiting", 30 * PATIENCE)


@case("plugged before cont, in any order: the guest finds the same machine")
def _(c):
    seen = []
    for order in ((0, 1, 2, 3), (3, 1, 0, 2)):
        with Machine(c) as m:
            m.board(**{"max-cpus": 8, "cpu-sockets": 2, "cpu-cores": 2, "cpu-threads": 2})
            slots = slots_of(m)
            for i in order:
                m.cpu("cpu%d" % i, **slots[i]["props"])
            m.memory(512 * MIB)
            m.serial()
            m.loader(append="probe=acpi,smp,cpuhp")
            fingerprint = m("query-guest-abi")["fingerprint"]
            m.cont()
            run = m.finish()
            c.equal(run.problems(), [], "what the probe calls bad")
            seen.append((fingerprint, run.madt_cpus, run.smp.keys(), [l["bsp"] for l in run.lines("smp")]))
            c.equal([x["cpu-index"] for x in sorted(m("query-cpus-fast"), key=lambda x: x["qom-path"])], [0, 1, 2, 3], "indices")
    c.equal(seen[0], seen[1], "what the two orders show")


@case("the boot CPU is the lowest plugged, wherever that is")
def _(c):
    with Machine(c) as m:
        m.board(max_cpus=8)
        for i in (5, 2, 7):
            m.cpu("c%d" % i, core_id=i)
        m.memory(512 * MIB)
        m.serial()
        m.loader(append="probe=acpi,smp")
        m.cont()
        run = m.finish()
        c.equal(run.problems(), [], "what the probe calls bad")
        c.equal([(l["apic"], l["bsp"]) for l in run.lines("smp")], [(2, 1), (5, 0), (7, 0)], "APIC ids, boot CPU first")
        c.equal([e["flags"] & 1 for e in run.madt_cpus], [0, 0, 1, 0, 0, 1, 0, 1], "enabled in the MADT")


@case("what can not be plugged is refused and changes nothing")
def _(c):
    with Machine(c) as m:
        base = polling(m, 2, 4)
        before = m("query-machine-config"), m("query-guest-abi"), slots_of(m), m.fds()
        m.refused("device_add", "core-id", driver="host-x86_64-cpu", id="x", core_id=4)
        m.refused("device_add", "socket-id", driver="host-x86_64-cpu", id="x", socket_id=1)
        m.refused("device_add", "'x'", "slot", driver="host-x86_64-cpu", id="x", core_id=1)
        m.refused("device_add", "cpu1", driver="host-x86_64-cpu", id="cpu1")
        m.refused("device_add", "qemu64", driver="qemu64-x86_64-cpu", id="x")
        m.refused("device_add", "nonsense", driver="host-x86_64-cpu", id="x", nonsense=1)
        m.refused("device_del", "not found", id="cpu7")
        c.equal((m("query-machine-config"), m("query-guest-abi"), slots_of(m), m.fds()), before, "the machine after refused plugs")
        m.cpu("cpu2")
        m.cpu("cpu3")
        m.refused("device_add", "4", driver="host-x86_64-cpu", id="x")
        counts(c, m, 4, base)
        m.check_state("running")


@case("CPUs plugged while the guest polls the registers: started, working, there after a reset")
def _(c):
    with Machine(c) as m:
        base = polling(m, 1, 8)
        expect_cpus(m, 4)
        for i in (1, 2, 3):
            m.cpu("cpu%d" % i)
            line = m.guest.wait_for("cpuhp-inserted", 30 * PATIENCE)
            c.equal((line["sel"], line["arch_id"], line["started"]), (i, i, 1), "the insertion as the guest sees it")
        c.equal(m.guest.wait_for("cpuhp-waited", 30 * PATIENCE)["status"], "ok", "the guest's wait")
        work = m.guest.wait_for("smp-work", 60 * PATIENCE)
        c.equal((work["cpus"], work["status"]), (4, "ok"), "CPUs that work")
        m.guest.wait_for("ready", 30 * PATIENCE)
        counts(c, m, 4, base)
        m("system_reset")
        m.guest.wait_for("probe", 30 * PATIENCE)
        m.guest.wait_for("ready", 60 * PATIENCE)
        c.equal(m.guest.run.one("smp-total")["online"], 4, "CPUs after the reset")
        acpi = m.guest.command("probe acpi cpuhp", 30 * PATIENCE)
        c.equal([e["flags"] & 3 for e in acpi.madt_cpus], [1] * 4 + [2] * 4, "the MADT after the reset")
        c.true(all(e["flags"] == e["present"] for e in acpi.cpuhp.values()), "hotplug events after the reset", acpi.cpuhp)
        c.equal([r.problems() for r in m.guest.parser.runs], [[], []], "what the probe calls bad")
        m.quit()


@case("a slot is unplugged and plugged again 20 times; its id is free again")
def _(c):
    with Machine(c) as m:
        base = polling(m, 1, 4)
        fds = None
        for turn in range(20):
            m.cpu("again", core_id=2)
            expect_cpus(m, 2)
            line = m.guest.wait_for("cpuhp-inserted", 30 * PATIENCE)
            c.equal((line["sel"], line["started"]), (2, 1), "the insertion as the guest sees it")
            m.guest.wait_for("smp-work", 30 * PATIENCE, status="ok", cpus=2)
            m.guest.wait_for("ready", 30 * PATIENCE)
            counts(c, m, 2, base)
            path = [s["qom-path"] for s in slots_of(m) if s["props"]["core-id"] == 2][0]
            m("device_del", id="again", force=True)
            m.wait("DEVICE_DELETED", device="again", path=path)
            counts(c, m, 1, base)
            c.equal([s["props"]["core-id"] for s in slots_of(m) if "qom-path" in s], [0], "slots in use")
            m.refused("device_del", "not found", id="again")
            # Removal by force; this guest believes in its CPU until it starts anew.
            m("system_reset")
            m.guest.wait_for("probe", 30 * PATIENCE)
            m.guest.wait_for("ready", 30 * PATIENCE)
            c.equal(m.guest.run.one("smp-total")["online"], 1, "CPUs after unplug and reset")
            if turn == 0:
                fds = m.fds()
        c.equal(m.fds(), fds, "descriptors of the daemon after 20 turns")
        m.check_state("running")
        # Another slot under the old id.
        m.cpu("again", core_id=3)
        expect_cpus(m, 2)
        c.equal(m.guest.wait_for("cpuhp-inserted", 30 * PATIENCE)["sel"], 3, "the new slot")
        m.quit()


@case("the guest is asked for CPUs and gives them back, 8 times: each request ends once")
def _(c):
    with Machine(c) as m:
        base = polling(m, 1, 4)
        fds = None
        for turn in range(8):
            expect_cpus(m, 3)
            for i in (1, 2):
                m.cpu("cpu%d" % i)
                c.equal(m.guest.wait_for("cpuhp-inserted", 30 * PATIENCE)["started"], 1, "started")
            m.guest.wait_for("smp-work", 30 * PATIENCE, status="ok", cpus=3)
            m.guest.wait_for("ready", 30 * PATIENCE)
            fds = fds or m.fds()
            seen = len(m.qmp.events)
            for i in (2, 1):
                m("device_del", id="cpu%d" % i)
                m("device_del", id="cpu%d" % i)  # the same request
            c.equal([(j["device"], j["state"]) for j in m("query-unplug-jobs")["jobs"]], [("cpu1", "requested"), ("cpu2", "requested")], "requests")
            counts(c, m, 3, base)
            m.refused("device_add", "cpu1", driver="host-x86_64-cpu", id="cpu1")
            m.refused("device_add", "slot", driver="host-x86_64-cpu", id="other", core_id=2)
            expect_cpus(m, 1)
            c.equal({m.wait("DEVICE_DELETED")["data"]["device"] for _ in range(2)}, {"cpu1", "cpu2"}, "what is gone")
            m.guest.wait_for("cpuhp-waited", 30 * PATIENCE, status="ok")
            m.guest.wait_for("ready", 30 * PATIENCE)
            counts(c, m, 1, base)
            c.equal(len(m.qmp.events), seen + 2, "events")
        c.equal(m.fds(), fds, "descriptors of the daemon after 8 turns")
        c.equal(m.guest.run.problems(), [], "what the probe calls bad")
        m.quit()


@case("a guest that does not answer: timeout, force, reset and power-off each end the request once")
def _(c):
    with Machine(c) as m:
        polling(m, 1, 8)
        for i in range(1, 6):
            m.cpu("cpu%d" % i)
        began = time.monotonic()
        m("device_del", id="cpu1", timeout=200)
        c.true(0 < m("query-unplug-jobs")["jobs"][0]["timeout"] <= 200, "the time left")
        event = m.wait("DEVICE_UNPLUG_GUEST_ERROR", device="cpu1", path="/machine/peripheral/cpu1")
        c.true(0.2 <= time.monotonic() - began < 5, "the time it took", time.monotonic() - began)
        c.contains(event["data"]["reason"], "200 ms", "the reason")
        c.equal(m("query-unplug-jobs"), {"jobs": []}, "requests")
        m("device_del", id="cpu1")
        m("device_del", id="cpu1", force=True)
        m.wait("DEVICE_DELETED", device="cpu1")
        m("device_del", id="cpu2")
        m("system_reset")
        m.wait("DEVICE_DELETED", device="cpu2")
        m.guest.wait_for("probe", 30 * PATIENCE)
        m.guest.wait_for("ready", 60 * PATIENCE)
        c.equal(m.guest.run.one("smp-total")["online"], 4, "CPUs after the reset")
        m("device_del", id="cpu3")
        m.guest.send("end poweroff")
        m.wait("SHUTDOWN", 30, guest=True)
        m.wait("DEVICE_DELETED", device="cpu3")
        m("device_del", id="cpu4")  # nobody is there to be asked
        m.wait("DEVICE_DELETED", device="cpu4")
        m("device_del", id="cpu5")
        m.wait("DEVICE_DELETED", device="cpu5")
        m.refused("device_del", "no CPU would be left", id="cpu0")
        ends = [e["data"]["device"] for e in m.qmp.events if e["event"].startswith("DEVICE_")]
        c.equal(ends, ["cpu1", "cpu1", "cpu2", "cpu3", "cpu4", "cpu5"], "the ends of all requests")


@case("plugged and unplugged while paused: the guest finds it when it goes on")
def _(c):
    with Machine(c) as m:
        base = polling(m, 2, 4)
        m.stop()
        m.cpu("cpu2")
        m.cpu("cpu3")
        m("device_del", id="cpu3", force=True)
        m.wait("DEVICE_DELETED", device="cpu3")
        m.check_state("paused")
        counts(c, m, 3, base)
        m.cont()
        m.guest.send("probe cpuhp cpuhp=wait:3")
        line = m.guest.wait_for("cpuhp-inserted", 30 * PATIENCE)
        c.equal((line["sel"], line["started"]), (2, 1), "the insertion as the guest sees it")
        m.guest.wait_for("smp-work", 30 * PATIENCE, status="ok", cpus=3)
        m.guest.wait_for("ready", 30 * PATIENCE)
        c.equal(m.guest.run.problems(), [], "what the probe calls bad")
        m.quit()


@case("between a reset and cont: part of what the guest finds at its start")
def _(c):
    with Machine(c) as m:
        polling(m, 1, 4)
        m.stop()
        m("system_reset")
        m.cpu("cpu1")
        m.cpu("cpu2", core_id=3)
        m.cont()
        m.guest.wait_for("probe", 30 * PATIENCE)
        m.guest.wait_for("ready", 30 * PATIENCE)
        c.equal(m.guest.run.one("smp-total")["online"], 3, "CPUs")
        answer = m.guest.command("probe acpi cpuhp", 30 * PATIENCE)
        c.equal([e["flags"] & 1 for e in answer.madt_cpus], [1, 1, 0, 1], "enabled in the MADT")
        c.equal(answer.problems(), [], "what the probe calls bad")
        m.quit()


@case("from 1 to 64 CPUs at once, while they are started")
def _(c):
    with Machine(c) as m:
        base = polling(m, 1, 64)
        expect_cpus(m, 64)
        slowest = 0
        for i in range(1, 64):
            began = time.monotonic()
            m.cpu("cpu%d" % i)
            slowest = max(slowest, time.monotonic() - began)
        c.note("the slowest device_add took %.1f ms" % (slowest * 1000))
        c.equal(m.guest.wait_for("cpuhp-waited", 120 * PATIENCE)["status"], "ok", "the guest's wait")
        work = m.guest.wait_for("smp-work", 120 * PATIENCE)
        c.equal((work["cpus"], work["status"]), (64, "ok"), "CPUs that work")
        m.guest.wait_for("ready", 30 * PATIENCE)
        c.equal(m.guest.run.problems(), [], "what the probe calls bad")
        counts(c, m, 64, base)
        for i in range(1, 64):
            m("device_del", id="cpu%d" % i, force=True)
        for i in range(1, 64):
            m.wait("DEVICE_DELETED", device="cpu%d" % i)
        counts(c, m, 1, base)
        m.check_state("running")
        m.quit()


@case("stop and cont with plugged CPUs that wait for their SIPI; they can be started afterwards")
def _(c):
    with Machine(c) as m:
        base = polling(m, 1, 4)
        for i in (1, 2, 3):
            m.cpu("cpu%d" % i)
        for _ in range(20):
            m.stop()
            m.cont()
        counts(c, m, 4, base)
        m.guest.send("probe cpuhp cpuhp=wait:4")
        for _ in range(3):
            c.equal(m.guest.wait_for("cpuhp-inserted", 30 * PATIENCE)["started"], 1, "started after all")
        m.guest.wait_for("smp-work", 30 * PATIENCE, status="ok", cpus=4)
        m.guest.wait_for("ready", 30 * PATIENCE)
        c.equal(m.guest.run.problems(), [], "what the probe calls bad")
        m.quit()


@case("an idle machine with CPUs that nobody has started takes no CPU time")
def _(c):
    with Machine(c) as m:
        m.build(cpus=8, append="probe=memmap end=idle")
        m.cont()
        m.guest.wait_for("end", 30 * PATIENCE)
        time.sleep(0.2)  # on its way to HLT
        before = m.cpu_seconds()
        time.sleep(1)  # the measurement
        c.true(m.cpu_seconds() - before <= 0.011, "seconds of CPU time in 1 s", m.cpu_seconds() - before)


main()

#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tests of backplanectl against a scripted QMP server (fake-qmp.py). Prints TAP.

BACKPLANECTL names the binary (./backplanectl). Words on the command line choose the tests whose
names contain them.
"""
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
sys.dont_write_bytecode = True
# pylint: disable=wrong-import-position
from harness import (
    CONNECT, CTL, DAEMON, FAILED, HERE, LOST, OK, TIMEOUT, USAGE, Close, Error, Raw, Sequence,
    Silent, With, event, fake, has, main, requests, rows, same, test)  # noqa: E402

# --- plain commands ---

@test
def run_state_commands(box):
    server = box.serve({c: {} for c in ("stop", "cont", "system_reset", "system_powerdown")})
    for command in ("stop", "cont", "reset", "powerdown"):
        same(box.ctl(command), ("", ""))
    same(box.ctl("stop", "--json")[0], "{}\n")
    same([r[0] for r in requests(server)],
         ["stop", "cont", "system_reset", "system_powerdown", "stop"])
    assert all("arguments" not in r for r in server.requests)
    _, err = box.ctl("stop", "now", rc=USAGE)
    has(err, "'now'", "usage: backplanectl [OPTION ...] stop")


@test
def error_reply(box):
    box.serve({"cont": Error("GenericError", "the machine has no CPU"),
               "stop": Error("DeviceNotFound", "\u001b[2Jx\ny")})
    same(box.ctl("cont", rc=DAEMON),
         ("", "backplanectl: error: GenericError: the machine has no CPU\n"))
    same(box.ctl("stop", rc=DAEMON)[1], "backplanectl: error: DeviceNotFound: ?[2Jx?y\n")


SLOTS = [{"type": "host-x86_64-cpu", "vcpus-count": 1, **more,
          "props": {"socket-id": 0, "core-id": c, "thread-id": 0}} for c, more in
         [(3, {}), (10, {}), (2, {"qom-path": "/machine/peripheral/b"}), (1, {}),
          (0, {"qom-path": "/machine/peripheral/a"})]]
STATUS = {
    "query-status": {"status": "running", "running": True}, "query-name": {"name": "vm\u001b[31m1"},
    "query-kvm": {"enabled": True, "present": True}, "query-hotpluggable-cpus": SLOTS,
    "query-memory-size-summary": {"base-memory": 1 << 30, "plugged-memory": 1536 << 20},
    "qom-list": [{"name": "type", "type": "string"},
                 {"name": "net0", "type": "child<virtio-net-pci>"}]}


@test
def status_table(box):
    server = box.serve(STATUS)
    out, _ = box.ctl("status")
    same(rows(out), [["name", "vm?[31m1"], ["state", "running"], ["accel", "kvm"],
                     ["cpus", "2", "of", "5"],
                     ["memory", "1", "GiB", "base,", "1536", "MiB", "plugged"], [],
                     ["DEVICE", "TYPE"], ["net0", "virtio-net-pci"]])
    has(str(requests(server)), "('qom-list', {'path': '/machine/peripheral'})")
    same(json.loads(box.ctl("--json", "status")[0])["cpus"], SLOTS)


@test
def status_of_an_empty_machine(box):
    box.serve({"query-status": {"status": "prelaunch"}, "query-kvm": {"enabled": False},
               "query-hotpluggable-cpus": Error("GenericError", "there is no board")})
    out, _ = box.ctl("status")
    has(out, "state    prelaunch", "accel    test", "cpus     - (GenericError: there is no board)")
    reply = json.loads(box.ctl("status", "-j")[0])
    same((reply["cpus"], reply["kvm"]), (None, {"enabled": False}))
    box.serve({"query-status": Error("GenericError", "no")})
    box.ctl("status", rc=DAEMON)


@test
def plug_device(box):
    server = box.serve({"device_add": {}})
    same(box.ctl("plug", "virtio-net-pci", "id=n0", "mac=52:54:00:12:34:56", "addr=0x10", "n=010",
                 "big=18446744073709551615", "on=true", "list=[1, 2]", "text=\"5\"", "empty=",
                 "a.b.c=1", "a.b.d=x=y", "uml=ä", "sci=1e2", "nul=null", "q='x'")[0], "")
    same(requests(server), [("device_add", {
        "driver": "virtio-net-pci", "id": "n0", "mac": "52:54:00:12:34:56", "addr": "0x10",
        "n": "010", "big": 18446744073709551615, "on": True, "list": [1, 2], "text": "5",
        "empty": "", "a": {"b": {"c": 1, "d": "x=y"}}, "uml": "ä", "sci": 100.0, "nul": None,
        "q": "'x'"})])
    same(list(server.requests[0]["arguments"])[:3], ["driver", "id", "mac"])


@test
def plug_object_and_chardev(box):
    server = box.serve({"object-add": {}, "chardev-add": {"pty": "/dev/pts/7"}})
    box.ctl("plug", "--object", "memory-backend-ram", "id=m0", "size=1073741824")
    same(box.ctl("plug", "--chardev", "c0", "pty")[0], "/dev/pts/7\n")
    box.ctl("plug", "--chardev", "c1", "socket", "addr.type=unix", "addr.data.path=/x",
            "server=true")
    same(requests(server), [
        ("object-add", {"qom-type": "memory-backend-ram", "id": "m0", "size": 1073741824}),
        ("chardev-add", {"id": "c0", "backend": {"type": "pty", "data": {}}}),
        ("chardev-add", {"id": "c1", "backend": {"type": "socket", "data": {
            "addr": {"type": "unix", "data": {"path": "/x"}}, "server": True}}})])


@test
def plug_refuses_bad_words(box):
    server = box.serve({"device_add": {}})
    for words, parts in [(["d", "x"], ["'x'", "key=value"]), (["d", "=1"], ["'=1'"]),
                         (["d", "x=1", "x=2"], ["'x'", "twice"]), (["d", "driver=e"], ["twice"]),
                         (["d", "x=1", "x.y=2"], ["'x.y'", "'x'"]), (["d", "x..y=2"], ["'x..y'"]),
                         (["--chardev", "c0"], ["TYPE"]), ([], ["missing"]),
                         (["--object", "--chardev", "a", "b"], ["--object", "--chardev"]),
                         (["--nonsense"], ["--nonsense"])]:
        _, err = box.ctl("plug", *words, rc=USAGE)
        has(err, "usage: backplanectl [OPTION ...] plug", *parts)
    same(requests(server), [])


@test
def unplug(box):
    server = box.serve({"device_del": {}, "object-del": {}, "chardev-remove": {}})
    box.ctl("unplug", "n0", "force=true")
    box.ctl("unplug", "--object", "m0")
    box.ctl("unplug", "c0", "--chardev")
    box.ctl("unplug", "--object", "m0", "--wait", rc=USAGE)
    same(requests(server), [("device_del", {"id": "n0", "force": True}),
                            ("object-del", {"id": "m0"}), ("chardev-remove", {"id": "c0"})])


@test
def unplug_wait(box):
    done = event("DEVICE_DELETED", device="n0", path="/x")
    other = event("DEVICE_DELETED", device="n1", path="/x")
    box.serve({"device_del": Sequence([
        With({}, before=[other], after=[done]), With({}, before=[done]),
        With({}, after=[other, event("DEVICE_UNPLUG_GUEST_ERROR", device="n0", path="/x", reason="the guest refused: device busy")]),
        With({}, before=[other])])})
    box.ctl("unplug", "--wait", "n0")
    box.ctl("unplug", "--wait", "n0")
    _, err = box.ctl("unplug", "--wait", "n0", rc=DAEMON)
    has(err, "error: DEVICE_UNPLUG_GUEST_ERROR: n0 stays: the guest refused: device busy")
    _, err = box.ctl("-t", "0.3", "unplug", "--wait", "n0", rc=TIMEOUT)
    has(err, "n0")


@test
def cpus_table(box):
    cpus = [{"cpu-index": 0, "thread-id": 101, "qom-path": "/machine/peripheral/a"},
            {"cpu-index": 7, "thread-id": 102, "qom-path": "/machine/peripheral/b"}]
    box.serve({"query-hotpluggable-cpus": SLOTS, "query-cpus-fast": cpus})
    table = rows(box.ctl("cpus")[0])
    same(table[0][:6], ["SLOT", "SOCKET", "DIE", "CORE", "THREAD", "STATE"])
    same([(r[3], r[5], r[6], r[7]) for r in table[1:]],
         [("0", "plugged", "0", "101"), ("1", "free", "-", "-"), ("2", "plugged", "7", "102"),
          ("3", "free", "-", "-"), ("10", "free", "-", "-")])
    same(json.loads(box.ctl("cpus", "--json")[0]), {"slots": SLOTS, "cpus": cpus})


@test
def cpus_plug(box):
    full = Error("GenericError", "no more")
    server = box.serve({"query-hotpluggable-cpus": SLOTS, "device_add": Sequence([{}, {}, full])})
    box.ctl("cpus", "2")
    box.ctl("cpus", "4")
    same([a for c, a in requests(server) if c == "device_add"],
         [{"driver": "host-x86_64-cpu", "id": f"cpu{i}", "socket-id": 0, "core-id": i,
           "thread-id": 0} for i in (1, 3)])
    _, err = box.ctl("cpus", "5", rc=DAEMON)
    has(err, "2 of 5 CPUs are there: GenericError: no more")
    has(box.ctl("cpus", "1", rc=FAILED)[1], "2 CPUs are there")
    has(box.ctl("cpus", "6", rc=FAILED)[1], "room for 5")
    for bad in ("0", "x", "-1", "1.5", "99999999999"):
        box.ctl("cpus", "--", bad, rc=USAGE)


@test
def memory(box):
    devices = [{"type": "dimm", "data": {"id": "d0", "size": 1 << 27, "addr": 1 << 32,
                                         "memdev": "/objects/m0"}},
               {"type": "virtio-mem", "data": {"id": "v0", "size": 0, "memaddr": 2**64 - 4096,
                                               "requested-size": 2**64 - 1, "memdev": "m1"}}]
    summary = {"base-memory": 3 << 30, "plugged-memory": 0}
    box.serve({"query-memory-size-summary": summary, "query-memory-devices": devices})
    same(rows(box.ctl("memory")[0]), [
        ["base", "3", "GiB"], ["plugged", "0", "bytes"], [],
        ["ID", "TYPE", "SIZE", "REQUESTED", "ADDRESS", "MEMDEV"],
        ["d0", "dimm", "128", "MiB", "-", "0x100000000", "/objects/m0"],
        ["v0", "virtio-mem", "0", "bytes", "18446744073709551615", "bytes", "0xfffffffffffff000",
         "m1"]])
    same(json.loads(box.ctl("memory", "--json")[0]), {"summary": summary, "devices": devices})


@test
def config_dump(box):
    config = {"devices": [{"driver": "board", "max-memory": 2**64 - 1, "x": [], "y": {}}]}
    resolved = [{"id": "board", "type": "board", "ns": "device", "properties": []}]
    server = box.serve({"query-machine-config": {"config": config, "resolved": resolved}})
    out, _ = box.ctl("config", "dump")
    same(out, json.dumps(config, indent=4) + "\n")
    box.ctl("config", "dump", "--resolved", box.dir + "/out")
    with open(box.dir + "/out", encoding="utf-8") as f:
        same(f.read(), json.dumps(resolved, indent=4) + "\n")
    same(requests(server), [("query-machine-config", None),
                            ("query-machine-config", {"resolved": True})])
    has(box.ctl("config", "dump", "/nowhere/x", rc=FAILED)[1], "/nowhere/x")
    box.ctl("config", "dump", "--dry-run", rc=USAGE)
    box.serve({"query-machine-config": {}})
    has(box.ctl("config", "dump", rc=FAILED)[1], "no config")
    has(box.ctl("config", "dump", "--resolved", rc=FAILED)[1], "no resolved")


@test
def config_load(box):
    server = box.serve({"machine-config-load": {}})
    text = '{\n "devices": [\n  {"driver": "board", "max-memory": 18446744073709551615}]\n}\n'
    path = box.dir + "/c.json"
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    same(box.ctl("config", "load", path), ("", ""))
    box.ctl("config", "load", "--dry-run", "-", stdin=text)
    config = json.loads(text)
    same(requests(server), [("machine-config-load", {"config": config}),
                            ("machine-config-load", {"config": config, "dry-run": True})])
    has(box.ctl("config", "load", "-", stdin='{\n"a": 1,\n"b": 0x1}', rc=FAILED)[1], "line 3")
    has(box.ctl("config", "load", "-", stdin="[]", rc=FAILED)[1], "object")
    has(box.ctl("config", "load", "/nowhere/x", rc=FAILED)[1], "/nowhere/x")
    has(box.ctl("config", "load", rc=USAGE)[1], "FILE")
    has(box.ctl("config", "eat", rc=USAGE)[1], "'eat'")
    same(len(server.requests), 2)


@test
def abi(box):
    server = box.serve({"query-guest-abi": {"fingerprint": "abc123", "leaves": [
        {"device": "board", "item": "acpi", "hash": "01"},
        {"device": "net0", "item": "config", "hash": "02", "more": 7},
        {"device": "x", "item": "y", "hash": "03", "value": "\u00e4" * 41}]}})
    same(rows(box.ctl("abi", "--detail")[0]), [
        ["abc123"], [], ["DEVICE", "ITEM", "HASH", "MORE", "VALUE"],
        ["board", "acpi", "01", "-", "-"], ["net0", "config", "02", "7", "-"],
        ["x", "y", "03", "-", "\u00e4" * 37 + "..."]])
    server.replies["query-guest-abi"] = {"fingerprint": "abc123"}
    same(box.ctl("abi")[0], "abc123\n")
    same(requests(server), [("query-guest-abi", {"detail": True}), ("query-guest-abi", None)])


@test
def qmp_one_command(box):
    server = box.serve({"query-x": {"big": 2**64 - 1, "list": [], "s": 'a"{\\'}})
    out, _ = box.ctl("qmp", "query-x", "a.b=1", "c=d")
    same(out, json.dumps(server.replies["query-x"], indent=4) + "\n")
    same(box.ctl("--json", "qmp", "query-x")[0], json.dumps(server.replies["query-x"]) + "\n")
    box.ctl("qmp", '{"execute": "query-x", "arguments": {"n": 1}, "id": {"a": [1]}}')
    box.ctl("qmp", '{"execute": "query-x"}')
    same(requests(server), [("query-x", {"a": {"b": 1}, "c": "d"}), ("query-x", None),
                            ("query-x", {"n": 1}), ("query-x", None)])
    same((server.requests[2]["id"], "id" in server.requests[3]), ({"a": [1]}, False))
    has(box.ctl("qmp", "{'execute': 'query-x'}", rc=USAGE)[1], "not JSON")
    box.ctl("qmp", '{"execute": "query-x"}', "x=1", rc=USAGE)
    box.ctl("qmp", "nonsense", rc=DAEMON)


# --- events ---

@test
def events(box):
    told = [event("STOP"), event("RTC_CHANGE", offset=1), event("RESUME"), event("STOP")]
    server = box.serve()

    def emit(session):
        for e in told:
            session.send(e)
    server.ready = emit
    out, _ = box.ctl("events", "--count", "3")
    same([json.loads(line) for line in out.splitlines()], told[:3])
    out, _ = box.ctl("events", "--count", "2", "STOP", "RESUME")
    same([json.loads(line) for line in out.splitlines()], [told[0], told[2]])
    out, err = box.ctl("-t", "0.3", "events", "RESET", rc=TIMEOUT)
    has(err, "no event in time")
    box.ctl("events", "--count", "-1", rc=USAGE)


@test
def events_come_at_once_and_end_by_signal(box):
    server = box.serve()
    p = box.popen("events", stdout=subprocess.PIPE, text=True)
    server.wait_for(lambda: server.sessions)
    server.sessions[0].send(event("POWERDOWN"))
    same(json.loads(p.stdout.readline())["event"], "POWERDOWN")
    p.send_signal(signal.SIGINT)
    same(p.wait(10), -signal.SIGINT)


@test
def wait_for_a_state(box):
    server = box.serve({"query-status": Sequence([
        {"status": "prelaunch"}, {"status": "running"}, {"status": "paused"}])})
    p = box.popen("wait", "paused", "--json", stdout=subprocess.PIPE, text=True)
    server.wait_request("query-status")
    server.sessions[0].send(event("RESUME"))
    server.wait_request("query-status", 2)
    assert p.poll() is None
    server.sessions[0].send(event("STOP"))
    same((json.loads(p.stdout.readline()), p.wait(10)), ({"status": "paused"}, OK))
    has(box.ctl("wait", "pausd", rc=USAGE)[1], "'pausd'", "prelaunch, running, paused")
    has(box.ctl("-t", "0.3", "wait", "running", rc=TIMEOUT)[1], "waiting for running")
    same(len(server.requests), 4)


@test
def wait_for_an_event(box):
    server = box.serve()
    p = box.popen("wait", "RESET", "--json", stdout=subprocess.PIPE, text=True)
    server.wait_for(lambda: server.sessions)
    server.sessions[0].send(event("STOP"))
    server.sessions[0].send(event("RESET", guest=True))
    same((json.loads(p.communicate()[0])["data"], p.returncode), ({"guest": True}, OK))
    p = box.popen("wait", "RESET", stderr=subprocess.PIPE, text=True)
    server.wait_for(lambda: len(server.sessions) == 2)
    server.sessions[1].close()
    has(p.communicate()[1], "waiting for RESET", "connection ended")
    same(p.returncode, LOST)


# --- the stream ---

@test
def framing(box):
    for options in ({"eol": "\n"}, {"eol": "\r\n"}, {"eol": ""}, {"indent": 2}, {"chunk": 1},
                    {"chunk": 7, "eol": "\n", "indent": 1}):
        box.serve({"query-name": With({"name": 'a}"\\{é'}, before=[event("STOP", x="}{")],
                                      after=[event("RESUME")])}, **options)
        same(json.loads(box.ctl("-j", "qmp", "query-name")[0]), {"name": 'a}"\\{é'})


@test
def late_and_foreign_replies_are_not_taken(box):
    box.serve({"x": Raw(b'{"return": "old", "id": 77}\n{"return": "none"}\n'
                        b'{"return": "mine", "id": {id}}\n')})
    same(box.ctl("-j", "qmp", "x")[0], '"mine"\n')
    box.serve({"x": Raw(b'{"error": {"class": "GenericError", "desc": "bad line"}}\n')})
    has(box.ctl("qmp", "x", rc=DAEMON)[1], "bad line")


@test
def large_messages(box):
    server = box.serve({"x": lambda arguments, _: arguments})
    path = box.dir + "/big.json"
    with open(path, "w", encoding="utf-8") as f:
        json.dump({"pad": ["x" * 1000] * 4000}, f)
    server.replies["machine-config-load"] = lambda arguments, _: arguments["config"]
    out, _ = box.ctl("-j", "config", "load", path)
    same(len(json.loads(out)["pad"]), 4000)


@test
def lost_connections(box):
    for reply in (Close(), Close(b'{"return": {"a'), Close(b'{"event": "SHUTDOWN"}\r\n')):
        box.serve({"query-status": reply})
        has(box.ctl("qmp", "query-status", rc=LOST)[1], "ended before reply to query-status")
    box.serve(greeting=Close())
    has(box.ctl("stop", rc=LOST)[1], "ended before greeting")


@test
def timeouts(box):
    box.serve({"x": Silent(), "y": Raw(b'{"return"')})
    for command in ("x", "y"):
        start = time.monotonic()
        has(box.ctl("--timeout", "0.4", "qmp", command, rc=TIMEOUT)[1], "reply to " + command)
        assert 0.4 <= time.monotonic() - start < 5
    box.serve(greeting=Silent())
    has(box.ctl("--timeout", "0.2", "stop", rc=TIMEOUT)[1], "no greeting in time")
    for bad in ("-5", "nan", "x", "1e30"):
        box.ctl("--timeout=" + bad, "stop", rc=USAGE)


@test
def servers_that_are_no_qmp(box):
    for data in (b"SSH-2.0-OpenSSH\r\n", b'{"hello": 1}\r\n', b'{"QMP": tru}\r\n', b"[1]\n",
                 b'{"QMP":' + b"[" * 5000 + b"]" * 5000 + b"}", b'{"QMP": "\xff"}'):
        box.serve(greeting=Raw(data))
        box.ctl("stop", rc=FAILED)
    box.serve({"x": Raw(b'{"id": {id}}'), "query-chardev": 5, "query-status": []})
    has(box.ctl("qmp", "x", rc=FAILED)[1], "neither")
    has(box.ctl("console", rc=FAILED)[1], "not a list")
    has(box.ctl("wait", "running", rc=FAILED)[1], "not an object")


# --- which machine ---

@test
def sockets_that_do_not_answer(box):
    has(box.ctl("stop", rc=CONNECT)[1], box.dir + "/q", "No such file")
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(box.dir + "/q")
    dead.close()
    has(box.ctl("stop", rc=CONNECT)[1], box.dir + "/q", "nobody listens")


@test
def long_socket_paths(box):
    name = "n" * (107 - len(box.run_dir) - len("//qmp.sock"))
    server = box.serve({"stop": {}}, name=name)
    same(len(box.run_dir + "/" + name + "/qmp.sock"), 107)
    box.ctl("-m", name, "stop", socket=False)
    same(len(server.requests), 1)
    _, err = box.ctl("-m", name + "n", "stop", socket=False, rc=USAGE)
    has(err, f"{box.run_dir}/{name}n/qmp.sock", "108 bytes", "107")
    has(box.ctl("-s", "/" + "x" * 107, "stop", socket=False, rc=USAGE)[1], "108 bytes")
    box.ctl("start", name + "n", socket=False, rc=USAGE)
    assert not os.path.exists(f"{box.run_dir}/{name}n")


@test
def machine_names(box):
    a, b = (box.serve({"stop": {}}, name=n) for n in ("alpha", "beta"))
    has(box.ctl("stop", socket=False, rc=CONNECT)[1], "alpha, beta")
    box.ctl("-m", "alpha", "stop", socket=False)
    box.ctl("stop", "-m", "alpha", socket=False)
    box.env["BACKPLANE_MACHINE"] = "beta"
    box.ctl("stop", socket=False)
    box.ctl("-m", "beta", "stop", "-m", "alpha", socket=False)
    box.ctl("stop", "-m", "alpha")  # -s before the command, -m behind it: the later one
    same((len(a.requests), len(b.requests)), (4, 1))
    del box.env["BACKPLANE_MACHINE"]
    box.machine("alpha", pid=2**22 + 5)  # greater than any process id can be: it has ended
    box.ctl("stop", socket=False)
    same(len(b.requests), 2)
    os.unlink(box.run_dir + "/alpha/backplaned.pid")
    box.ctl("stop", socket=False)
    same(len(b.requests), 3)
    os.unlink(box.run_dir + "/beta/backplaned.pid")
    has(box.ctl("stop", socket=False, rc=CONNECT)[1], "no machine runs")
    for bad in ("", "..", ".x", "a/b", "-x", "a b", "ä"):
        has(box.ctl("--machine=" + bad, "stop", socket=False, rc=USAGE)[1], f"'{bad}'")
    has(box.ctl("-m", "alpha", "stop", rc=USAGE)[1], "only one can be meant")


@test
def runtime_directory_of_users(box):
    if os.geteuid() != 0:
        return "needs root, to be another user"
    del box.env["BACKPLANE_RUNTIME_DIR"]
    box.env["XDG_RUNTIME_DIR"] = box.dir + "/xdg"
    program = ("import os, sys\nos.setgroups([])\nos.setgid(65534)\nos.setuid(65534)\n"
               "os.execv(sys.argv[1], sys.argv[1:])")
    os.chmod(box.dir, 0o755)
    shutil.copy(CTL, box.dir + "/ctl")
    def as_nobody():
        return subprocess.run([sys.executable, "-c", program, box.dir + "/ctl", "-m", "vm", "stop"],
                              env=box.env, capture_output=True, text=True, check=False)
    has(as_nobody().stderr, box.dir + "/xdg/backplane/vm/qmp.sock")
    del box.env["XDG_RUNTIME_DIR"]
    p = as_nobody()
    has(p.stderr, "XDG_RUNTIME_DIR is not set")
    same(p.returncode, CONNECT)
    has(box.ctl("-m", "no-such-vm", "stop", socket=False, rc=CONNECT)[1],
        "/run/backplane/no-such-vm/qmp.sock")


@test
def list_machines(box):
    same(box.ctl("list", socket=False)[0].split(), ["NAME", "STATE", "PID", "SOCKET"])
    box.serve({"query-status": {"status": "paused"}}, name="b")
    box.serve({"query-status": {"status": "running"}}, name="a")
    box.serve(name="mute", greeting=Silent())
    sleeping = box.serve(name="activated")
    os.unlink(box.run_dir + "/activated/backplaned.pid")
    box.machine("stale", pid=2**22 + 5)
    box.machine("nosocket")
    out, _ = box.ctl("list", "-t", "0.3", socket=False)
    same(rows(out)[1:], [["a", "running", str(os.getpid()), box.run_dir + "/a/qmp.sock"],
                         ["b", "paused", str(os.getpid()), box.run_dir + "/b/qmp.sock"],
                         ["mute", "no", "answer", str(os.getpid()),
                          box.run_dir + "/mute/qmp.sock"]])
    same(sleeping.connections, 0)
    reply = json.loads(box.ctl("--json", "list", "-t", "0.3", socket=False)[0])
    same(reply[0], {"name": "a", "status": "running", "pid": os.getpid(),
                    "socket": box.run_dir + "/a/qmp.sock"})


# --- start and quit ---

def start_box(box):
    box.env["BACKPLANED"] = os.path.join(HERE, "fake-qmp.py")
    box.env["FAKE_QMP_ARGV"] = box.dir + "/argv"


@test
def start_and_quit(box):
    start_box(box)
    out, _ = box.ctl("--json", "start", "vm", "--accel", "test", "--config", "/c.json", "--log",
                     "debug", "--", "--qtest", "unix:/q", socket=False)
    reply = json.loads(out)
    same(reply["socket"], box.run_dir + "/vm/qmp.sock")
    with open(box.dir + "/argv", encoding="utf-8") as f:
        same(json.load(f), ["--name", "vm", "--qmp", "unix:" + box.run_dir + "/vm/qmp.sock",
                            "--pidfile", box.run_dir + "/vm/backplaned.pid", "--accel", "test",
                            "--config", "/c.json", "--log", "debug", "--daemonize", "--qtest",
                            "unix:/q"])
    same(os.stat(box.run_dir + "/vm").st_mode & 0o777, 0o700)
    has(box.ctl("list", socket=False)[0], f"vm    prelaunch  {reply['pid']}")
    has(box.ctl("start", "-m", "vm", socket=False, rc=FAILED)[1], "'vm' runs already")
    box.ctl("quit", socket=False)
    # quit returned, so nobody listens any more; the socket that is left is replaced
    has(box.ctl("-m", "vm", "stop", socket=False, rc=CONNECT)[1], "nobody listens")
    box.ctl("start", "-m", "vm", socket=False)
    box.ctl("-m", "vm", "quit", socket=False)


@test
def start_replaces_a_socket_only_under_the_lock(box):
    start_box(box)
    path = box.machine("vm", pid=2**22 + 5)
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(path)
    dead.close()
    inode = os.stat(path).st_ino
    with open(box.run_dir + "/vm/start.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        has(box.ctl("start", "vm", socket=False, rc=FAILED)[1], "being started", "start.lock")
        same(os.stat(path).st_ino, inode)
    os.unlink(path)
    with open(path, "w", encoding="ascii"):
        has(box.ctl("start", "vm", socket=False, rc=FAILED)[1], "in the way", path)


@test
def start_failures(box):
    start_box(box)
    box.env["FAKE_QMP_FAIL"] = "1"
    has(box.ctl("start", "vm", socket=False, rc=FAILED)[1], "fake: told to fail", "fake-qmp.py")
    del box.env["FAKE_QMP_FAIL"]
    box.env["FAKE_QMP_HANG"] = "1"
    has(box.ctl("-t", "0.5", "start", "vm", socket=False, rc=TIMEOUT)[1], "0.5 s")
    box.env["BACKPLANED"] = "/nowhere/backplaned"
    has(box.ctl("start", "vm", socket=False, rc=FAILED)[1], "/nowhere/backplaned")
    shutil.copy(CTL, box.dir + "/ctl")
    env = {**box.env, "PATH": "/nowhere"}
    del env["BACKPLANED"]
    p = subprocess.run([box.dir + "/ctl", "start", "vm"], env=env, capture_output=True, text=True,
                       check=False)
    has(p.stderr, box.dir + "/backplaned")
    same(p.returncode, FAILED)
    box.ctl("start", socket=False, rc=USAGE)
    has(box.ctl("start", "-m", "vm", "x", socket=False, rc=USAGE)[1], "'x'", "behind --")
    has(box.ctl("start", "vm", "x", socket=False, rc=USAGE)[1], "'x'", "behind --")
    box.ctl("start", "vm", rc=USAGE)


@test
def quit_without_a_reply(box):
    box.serve({"quit": Close()})
    same(box.ctl("quit"), ("", ""))
    box.serve({"quit": {}})
    has(box.ctl("-t", "0.3", "quit", rc=TIMEOUT)[1], "end of the daemon")
    box.serve({"quit": Error("GenericError", "no")})
    box.ctl("quit", rc=DAEMON)


# --- the program itself ---

@test
def help_and_version(box):
    out, _ = box.ctl("help", socket=False)
    commands = re.findall(r"^  ([a-z]+) ", out, re.M)
    same(commands, ["start", "list", "status", "plug", "unplug", "cpus", "memory", "console",
                    "config", "hints", "abi", "stop", "cont", "reset", "powerdown", "quit", "events", "wait",
                    "qmp", "help"])
    for command in commands:
        text, _ = box.ctl("help", command, socket=False)
        assert text.startswith(f"usage: backplanectl [OPTION ...] {command}"), text
        same(box.ctl(command, "--help", socket=False)[0], text)
    same(box.ctl("--help", socket=False)[0], out)
    assert re.fullmatch(r"backplanectl \d+\.\d+\S*\n", box.ctl("--version", socket=False)[0])
    has(box.ctl("help", "fly", socket=False, rc=USAGE)[1], "'fly'")
    has(box.ctl("fly", rc=USAGE)[1], "'fly'")
    has(box.ctl(socket=False, rc=USAGE)[1], "Commands:", "a command is missing")
    has(box.ctl("--fly", "stop", rc=USAGE)[1], "--fly")
    with open("/dev/full", "w", encoding="ascii") as full:
        p = subprocess.run([CTL, "help"], stdout=full, stderr=subprocess.PIPE, check=False)
    same((p.returncode, p.stderr), (FAILED, b"backplanectl: standard output: write error\n"))


@test
def manual_names_every_command(box):
    page = os.path.join(HERE, "../../docs/man/backplanectl.1")
    with open(page, encoding="utf-8") as f:
        text = f.read()
    for command in re.findall(r"^  ([a-z]+) ", box.ctl("help", socket=False)[0], re.M):
        assert re.search(rf"^\.It Cm {command}\b", text, re.M), f"{command} is not in the manual"


@test
def bash_completion(box):
    if not shutil.which("bash"):
        return "needs bash"
    os.makedirs(box.run_dir + "/vm1")
    box.serve({"query-commands": [{"name": "query-status"}, {"name": "query-name"}]}, name="vm2")
    script = os.path.join(HERE, "../../contrib/bash-completion/backplanectl")
    os.symlink(CTL, box.dir + "/backplanectl")
    env = {**box.env, "PATH": box.dir + ":" + box.env["PATH"]}

    def complete(*words):
        program = (f'source "{script}"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
                   '_backplanectl; printf "%s\\n" "${COMPREPLY[@]}"')
        p = subprocess.run(["bash", "-c", program, "-", "backplanectl", *words], env=env, text=True,
                           capture_output=True, check=True)
        same(p.stderr, "")
        return sorted(p.stdout.split())
    same(complete("st"), ["start", "status", "stop"])
    same(complete("-m", ""), ["vm1", "vm2"])
    same(complete("--js"), ["--json"])
    same(complete("-m", "vm2", "config", ""), ["dump", "load"])
    same(complete("config", "load", "--"), ["--dry-run", "--json", "--machine", "--socket",
                                            "--timeout"])
    same(complete("wait", "pa"), ["paused"])
    same(complete("-m", "vm2", "qmp", "query-"), ["query-name", "query-status"])
    same(complete("help", "po"), ["powerdown"])
    same(complete("start", "--accel", ""), ["kvm", "test"])
    known = complete("")
    same([c for c in re.findall(r"^  ([a-z]+) ", box.ctl("help", socket=False)[0], re.M)
          if c not in known], [])


if __name__ == "__main__":
    sys.exit(main())

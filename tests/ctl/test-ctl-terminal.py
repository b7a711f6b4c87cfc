#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tests of backplanectl on a terminal: the console and the QMP shell. Prints TAP.

BACKPLANECTL names the binary (./backplanectl). Words on the command line choose the tests whose
names contain them.
"""
import base64
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import termios
import threading
sys.dont_write_bytecode = True
# pylint: disable=wrong-import-position
from harness import (
    CONNECT, FAILED, LOST, OK, USAGE, Sequence, Terminal, With, event, has, main, requests,
    same, test)  # noqa: E402

# --- the console ---

def chardevs(*pairs):
    return {"query-chardev": [{"label": l, "filename": f, "frontend-open": True} for l, f in pairs]}


def pty_chardev(box):
    master, slave = pty.openpty()
    box.serve(chardevs(("mon", "null"), ("con", "pty:" + os.ttyname(slave))))
    return master, slave


@test
def console_on_a_pty(box):
    device, slave = pty_chardev(box)
    t = Terminal(box, "console")
    t.expect("Connected to con.*detaches")
    t.wait_raw()
    os.write(device, b"login: \xc3\xa9")
    t.expect("login: é")
    t.type("root\r\x03\x1a\x1c")
    same(os.read(device, 100), b"root\r\x03\x1a\x1c")
    t.type("last\x1dnot this")
    t.expect("con: detached")
    t.end(OK)
    same(os.read(device, 100), b"last")
    os.close(slave)


@test
def console_ends_with_the_machine(box):
    device, slave = pty_chardev(box)
    t = Terminal(box, "console", "con")
    t.wait_raw()
    t.expect("Connected")
    os.close(slave)
    os.close(device)
    t.expect("closed by the machine")
    t.end(OK)


@test
def console_restores_the_terminal_on_signals(box):
    pty_chardev(box)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        t = Terminal(box, "console", "con")
        t.expect("Connected")
        t.wait_raw()
        t.process.send_signal(number)
        t.end(128 + number)


@test
def console_stops_and_continues(box):
    device, _slave = pty_chardev(box)
    t = Terminal(box, "console", "con")
    t.expect("Connected")
    t.wait_raw()
    t.process.send_signal(signal.SIGTSTP)
    _, status = os.waitpid(t.process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status), status
    same(termios.tcgetattr(t.slave), t.before)
    t.process.send_signal(signal.SIGCONT)
    t.wait_raw()
    os.write(device, b"again")
    t.expect("again")
    t.type("\x1d")
    t.end(OK)


@test
def console_detaches_from_a_device_that_does_not_read(box):
    path = box.dir + "/con.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    box.serve(chardevs(("con", f"disconnected:unix:{path},server=on")))
    t = Terminal(box, "console")
    connection, _ = listener.accept()
    t.wait_raw()
    for _ in range(3000):
        t.type("x" * 200)
        if "\a" in t.text or select.select([t.master], [], [], 0)[0]:
            t.text += os.read(t.master, 4096).decode()
            if "\a" in t.text:
                break
    t.expect("\a")
    t.type("\x1d")
    t.end(OK)
    connection.close()
    listener.close()


@test
def console_on_a_socket_from_a_pipe(box):
    path = box.dir + "/con.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(1)
    box.serve(chardevs(("con", f"unix:{path},server=on"), ("out", "unix:/x")))
    got = []

    def guest():
        connection, _ = listener.accept()
        data = b""
        while len(data) < 300001:
            data += connection.recv(65536)
        got.append(data)
        connection.sendall(b"seen\n")
        connection.close()
    threading.Thread(target=guest, daemon=True).start()
    out, err = box.ctl("console", stdin="y" * 300000 + "\x1d")
    same((out, err), ("seen\n", ""))
    same(got[0][-2:], b"y\x1d")
    listener.close()


@test
def console_on_a_ringbuf(box):
    chunks = [base64.b64encode(b"boot \xff").decode(), base64.b64encode(b"done").decode(), ""]
    server = box.serve({**chardevs(("log", "ringbuf")), "ringbuf-read": Sequence(chunks)})
    p = box.popen("console", "log", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                  stderr=subprocess.DEVNULL)
    out = b""
    while len(out) < 10:
        out += os.read(p.stdout.fileno(), 100)
    same(out, b"boot \xffdone")
    same(server.requests[1]["arguments"], {"device": "log", "size": 65536, "format": "base64"})
    server.sessions[0].close()
    same(p.wait(10), LOST)


@test
def console_choices(box):
    box.serve(chardevs(("a", "pty:/dev/pts/x"), ("b", "ringbuf"), ("c", "unix:/x"), ("d", "null")))
    has(box.ctl("console", rc=USAGE)[1], "a, b")
    has(box.ctl("console", "z", rc=FAILED)[1], "'z'", "a, b")
    has(box.ctl("console", "d", rc=FAILED)[1], "'d'")
    has(box.ctl("console", "c", rc=FAILED)[1], "'c'")
    has(box.ctl("console", "a", rc=CONNECT)[1], "/dev/pts/x")
    box.serve(chardevs(("d", "null")))
    has(box.ctl("console", rc=FAILED)[1], "no pty")


# --- the shell ---

SCHEMA = [
    {"name": "query-status", "meta-type": "command", "arg-type": "0", "ret-type": "0"},
    {"name": "query-name", "meta-type": "command", "arg-type": "0", "ret-type": "0"},
    {"name": "device_add", "meta-type": "command", "arg-type": "1", "ret-type": "0"},
    {"name": "chardev-add", "meta-type": "command", "arg-type": "5", "ret-type": "0"},
    {"name": "0", "meta-type": "object", "members": []},
    {"name": "1", "meta-type": "object", "tag": "driver", "members": [
        {"name": "driver", "type": "2"}, {"name": "id", "type": "str", "default": None}],
     "variants": [{"case": "board", "type": "3"}, {"case": "virtio-rng-pci", "type": "4"}]},
    {"name": "2", "meta-type": "enum", "values": ["board", "virtio-rng-pci", "virtio-blk-pci"]},
    {"name": "3", "meta-type": "object", "members": [
        {"name": "max-cpus", "type": "int", "default": None}]},
    {"name": "4", "meta-type": "object", "members": [{"name": "addr", "type": "str"}]},
    {"name": "5", "meta-type": "object", "members": [
        {"name": "id", "type": "str"}, {"name": "backend", "type": "6"}]},
    {"name": "6", "meta-type": "object", "tag": "type", "members": [{"name": "type", "type": "7"}],
     "variants": []},
    {"name": "7", "meta-type": "enum", "values": ["pty", "ringbuf"]},
    {"name": "str", "meta-type": "builtin", "json-type": "string"},
    {"name": "int", "meta-type": "builtin", "json-type": "int"}]


def shell_server(box, **replies):
    return box.serve({"query-qmp-schema": SCHEMA, "device_add": {}, "chardev-add": {},
                      "query-status": {"status": "running"}, **replies})


@test
def shell_completes(box):
    server = shell_server(box)
    t = Terminal(box, "qmp")
    t.prompt()
    t.type("quer\t")
    t.expect("y-")  # the rest of what all have in common
    t.type("\t")
    t.expect("query-name +query-status")
    t.type("st\t\r")
    t.expect('"status": "running"')
    t.prompt()
    t.type("dev\tdr\tboa\tma\t4 i\tb0\r")
    server.wait_request("device_add")
    same(server.requests[-1]["arguments"], {"driver": "board", "max-cpus": 4, "id": "b0"})
    t.expect("{}")
    t.prompt()
    t.type("device_add id=x \tb\t\r")  # id is there, so only driver= is left
    server.wait_request("device_add", 2)
    same(server.requests[-1]["arguments"], {"id": "x", "driver": "board"})
    t.expect("{}")
    t.prompt()
    t.type("ch\tid\tx b\tt\tr\t\r")
    server.wait_request("chardev-add")
    same(server.requests[-1]["arguments"], {"id": "x", "backend": {"type": "ringbuf"}})
    t.expect("{}")
    t.prompt()
    t.type("help device_add\r")
    t.expect("driver=board.virtio-rng-pci.*id=string  .optional")
    t.type("exit\r")
    t.end(OK)


@test
def shell_prints_events_while_a_line_is_typed(box):
    server = shell_server(box)
    t = Terminal(box, "qmp")
    t.prompt()
    t.type("query-st")
    t.expect("query-st")
    server.sessions[0].send(event("RESUME"))
    t.expect('"event": "RESUME".*\n.*qmp> query-st')
    t.type("atus\r")
    t.expect('"status": "running"')
    same(server.requests[-1]["execute"], "query-status")
    server.sessions[0].close()
    t.expect("connection ended")
    t.end(LOST)


@test
def shell_history(box):
    server = shell_server(box)
    t = Terminal(box, "qmp")
    t.prompt()
    t.type("query-status\r")
    t.expect('"running"')
    t.prompt()
    t.type("\x04")
    t.end(OK)
    path = box.dir + "/state/backplane/qmp-history"
    same(os.stat(path).st_mode & 0o777, 0o600)
    t = Terminal(box, "qmp")
    t.prompt()
    t.type("\x1b[A")
    t.expect("query-status")
    t.type("\r")
    server.wait_request("query-status", 2)
    t.prompt()
    t.type("nonsense\r")
    t.expect("error: CommandNotFound")
    t.prompt()
    t.type("\x03")
    same(t.process.wait(10), -signal.SIGINT)
    same(termios.tcgetattr(t.slave), t.before)


@test
def shell_from_a_pipe(box):
    server = shell_server(box, **{"query-name": With({"name": "x"}, before=[event("STOP")])})
    script = '\nquery-name\n  {"execute": "query-status", "id": 5}  \ndevice_add driver=board ' \
             'text="a b" json=\'{"x": 1}\'\n# a comment\nhelp\nexit\nquery-status\n'
    out, err = box.ctl("-j", "qmp", stdin=script)
    same(err, "")
    same(json.loads(out.splitlines()[0])["event"], "STOP")
    same(out.splitlines()[1:], ['{"name": "x"}', '{"status": "running"}', "{}", "chardev-add",
                                "device_add", "query-name", "query-status"])
    same(server.requests[3]["arguments"], {"driver": "board", "text": "a b", "json": {"x": 1}})
    same(len(server.requests), 4)
    out, err = box.ctl("qmp", stdin="nonsense\nx y\n'\nquery-status", rc=USAGE)
    has(err, "error: CommandNotFound", "key=value", "the last failure")
    has(out, "running")
    box.serve()
    box.ctl("qmp", stdin="help\n", rc=FAILED)


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A QMP server with scripted replies, for the tests of backplanectl.

As a module (load_fake() in test-ctl.py): FakeQmp(path, replies) serves in threads. `replies` maps a
command to what it returns, or to one of the classes below, or to a function of (arguments, session)
that returns any of those. A list subclass Sequence gives one reply after the other. Every request
is kept in `requests`.

As a program it takes backplaned's options --name, --qmp unix:PATH, --pidfile and --daemonize and
serves a small machine until `quit`, which is what `backplanectl start` needs. FAKE_QMP_ARGV names a
file that gets its arguments, FAKE_QMP_FAIL makes it fail, FAKE_QMP_HANG makes it never come up.
"""
import json
import os
import socket
import sys
import threading
import time

GREETING = {"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0},
                                "package": "backplane-0.0.0"}, "capabilities": ["oob"]}}


class Error(Exception):
    """An error reply."""
    def __init__(self, klass, desc):
        super().__init__(desc)
        self.body = {"class": klass, "desc": desc}


class Raw:
    """Bytes instead of a reply; {id} in them is replaced by the request's id."""
    def __init__(self, data):
        self.data = data


class Close:
    """The connection ends, after `data` of a reply."""
    def __init__(self, data=b""):
        self.data = data


class Silent:
    """No reply, ever."""


class Sequence(list):
    """One reply after the other; the last one stays."""


class With:
    """Events before and after a reply."""
    def __init__(self, reply, before=(), after=()):
        self.reply, self.before, self.after = reply, before, after


def event(name, **data):
    return {"event": name, "data": data, "timestamp": {"seconds": 1, "microseconds": 2}}


class Session:
    def __init__(self, server, connection):
        self.server, self.connection = server, connection
        self.lock = threading.Lock()

    def send_bytes(self, data):
        step = self.server.chunk or len(data) or 1
        with self.lock:
            for i in range(0, len(data), step):
                self.connection.sendall(data[i:i + step])
                if self.server.chunk:
                    time.sleep(0.0005)

    def send(self, message):
        text = json.dumps(message, indent=self.server.indent)
        self.send_bytes((text.replace("\n", self.server.eol) + self.server.eol).encode())

    def close(self):
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def answer(self, request):
        reply = self.server.replies.get(request["execute"], Error(
            "CommandNotFound", f"The command {request['execute']} has not been found"))
        if callable(reply) and not isinstance(reply, type):
            reply = reply(request.get("arguments"), self)
        if isinstance(reply, Sequence):
            reply = reply.pop(0) if len(reply) > 1 else reply[0]
        before, after = (reply.before, reply.after) if isinstance(reply, With) else ((), ())
        reply = reply.reply if isinstance(reply, With) else reply
        ident = {"id": request["id"]} if "id" in request else {}
        for e in before:
            self.send(e)
        if isinstance(reply, Close):
            self.send_bytes(reply.data)
            self.close()
        elif isinstance(reply, Raw):
            self.send_bytes(reply.data.replace(b"{id}", json.dumps(request.get("id")).encode()))
        elif isinstance(reply, Error):
            self.send({"error": reply.body, **ident})
        elif not isinstance(reply, Silent):
            self.send({"return": reply, **ident})
        for e in after:
            self.send(e)

    def run(self):
        decoder, buffer = json.JSONDecoder(), ""
        if isinstance(self.server.greeting, Raw):
            self.send_bytes(self.server.greeting.data)
        elif isinstance(self.server.greeting, Close):
            self.close()
        elif not isinstance(self.server.greeting, Silent):
            self.send(self.server.greeting)
        while True:
            data = self.connection.recv(65536)
            if not data:
                return
            buffer += data.decode()
            while buffer.strip():
                buffer = buffer.lstrip()
                try:
                    request, end = decoder.raw_decode(buffer)
                except ValueError:
                    break
                buffer = buffer[end:]
                if request.get("execute") == "qmp_capabilities":
                    self.send({"return": {}, "id": request["id"]})
                    self.server.ready(self)
                    continue
                with self.server.changed:
                    self.server.requests.append(request)
                    self.server.changed.notify_all()
                self.answer(request)


class FakeQmp:
    def __init__(self, path, replies=None, eol="\r\n", chunk=0, indent=None, greeting=GREETING,
                 replace=True):
        self.replies, self.eol, self.chunk, self.indent = replies or {}, eol, chunk, indent
        self.greeting, self.requests, self.sessions, self.connections = greeting, [], [], 0
        self.changed = threading.Condition()
        self.ended = threading.Event()
        if replace and os.path.exists(path):
            os.unlink(path)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(16)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        session = Session(self, connection)
        try:
            session.run()
        except OSError:
            pass
        finally:
            session.close()
            connection.close()

    def ready(self, session):
        with self.changed:
            self.sessions.append(session)
            self.changed.notify_all()

    def wait_for(self, condition, timeout=10):
        """Waits until condition() holds, which may look at requests and sessions."""
        with self.changed:
            if not self.changed.wait_for(condition, timeout):
                raise AssertionError(f"waited in vain; requests: {self.requests}")

    def wait_request(self, command, count=1):
        self.wait_for(lambda: sum(r["execute"] == command for r in self.requests) >= count)

    def close(self):
        # shutdown wakes the thread in accept(); close alone would leave it listening
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        for session in self.sessions:
            session.close()


def program(argv):
    options, i = {}, 0
    while i < len(argv):
        if argv[i] in ("--name", "--qmp", "--pidfile", "--accel", "--config", "--log"):
            options[argv[i][2:]] = argv[i + 1]
            i += 1
        i += 1
    if "FAKE_QMP_ARGV" in os.environ:
        with open(os.environ["FAKE_QMP_ARGV"], "w", encoding="utf-8") as f:
            json.dump(argv, f)
    if "FAKE_QMP_FAIL" in os.environ:
        sys.exit("fake: told to fail")
    if "FAKE_QMP_HANG" in os.environ:
        time.sleep(60)
    ready_read, ready_write = os.pipe()
    if os.fork():
        os.close(ready_write)
        sys.exit(0 if os.read(ready_read, 1) == b"y" else "fake: no start")
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    ended = threading.Event()

    def leave(_arguments, _session):
        threading.Timer(0.05, ended.set).start()  # after the reply
        return {}

    server = FakeQmp(options["qmp"][len("unix:"):], {
        "query-status": {"status": "prelaunch", "running": False},
        "query-name": {"name": options["name"]}, "quit": leave},
        replace=False)
    with open(options["pidfile"], "w", encoding="utf-8") as f:
        f.write(f"{os.getpid()}\n")
    os.write(ready_write, b"y")
    os.close(ready_write)
    ended.wait(60)
    server.close()


if __name__ == "__main__":
    program(sys.argv[1:])

# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the black-box tests share: a daemon of their own, raw QMP clients, and what must not change; TAP.

    @test
    def a_command_too_many(d):          # d: the Daemon that all tests of the file share
        c = d.client()
        c.send(b"rubbish")
        assert "..." in c.error()
    sys.exit(main(lambda: Daemon(), guard=True))

With guard, each test is followed by a look at the daemon: it lives, has as many descriptors and threads as before, no more
than some MiB more memory, and the machine (configuration and fingerprint) is what it was. A Daemon that ends badly, or whose
log shows an assertion or a message of glib's, fails the test. Words on the command line choose tests by name.
"""
import array
import fcntl
import json
import os
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
import traceback

MIB, GIB = 1 << 20, 1 << 30
HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.environ.get("top_srcdir", os.path.dirname(os.path.dirname(HERE)))
BUILD = os.environ.get("top_builddir", SOURCE)
DAEMON = os.environ.get("BACKPLANED", os.path.join(BUILD, "backplaned"))
PATIENCE = float(os.environ.get("TEST_PATIENCE", "1"))  # a factor on all limits of time, for slow hosts


class QmpError(Exception):
    def __init__(self, command, error):
        super().__init__(f"{command}: {error['class']}: {error['desc']}")
        self.kind, self.desc = error["class"], error["desc"]


class Closed(Exception):
    pass


def readable(sock, seconds):
    poll = select.poll()  # select() ends at descriptor 1023
    poll.register(sock, select.POLLIN | select.POLLHUP)
    return poll.poll(seconds * 1000)


class Client:
    """One QMP connection. Nothing is hidden: bytes go out as they are given."""

    def __init__(self, path=None, sock=None, negotiate=True, oob=False):
        self.buffer, self.events = b"", []
        if sock is None:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.connect(path)
        self.sock = sock
        self.greeting = None
        if negotiate is not None:
            self.greeting = self.message()
        if negotiate:
            self.call("qmp_capabilities", **({"enable": ["oob"]} if oob else {}))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, data, fds=()):
        if fds:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
            data = data[self.sock.sendmsg([data], rights):]
        self.sock.sendall(data)

    def drained(self):
        """Waits until the daemon has read all that was sent."""
        end = time.monotonic() + 10 * PATIENCE
        while struct.unpack("i", fcntl.ioctl(self.sock, termios.TIOCOUTQ, b"\0\0\0\0"))[0]:
            assert time.monotonic() < end, "the daemon does not read"
            time.sleep(0.0005)

    def line(self, timeout=20):
        """The next line as bytes; None when TIMEOUT passes; Closed at the end of the stream."""
        end = time.monotonic() + timeout * PATIENCE
        pieces = [self.buffer]
        while b"\n" not in pieces[-1]:
            if not readable(self.sock, max(end - time.monotonic(), 0)):
                self.buffer = b"".join(pieces)
                return None
            try:
                data = self.sock.recv(1 << 20)
            except ConnectionResetError:
                data = b""
            if not data:
                raise Closed("the daemon closed the connection")
            pieces.append(data)
        line, _, self.buffer = b"".join(pieces).partition(b"\n")
        assert line.endswith(b"\r"), f"a line ends in bare LF: {line[-80:]!r}"
        return line[:-1]

    def message(self, timeout=20):
        """The next message, events included."""
        line = self.line(timeout)
        assert line is not None, f"no message within {timeout * PATIENCE} s"
        m = json.loads(line)
        if "event" in m:
            self.events.append(m)
        return m

    def reply(self, timeout=20):
        while True:
            m = self.message(timeout)
            if "event" not in m:
                return m

    def error(self, timeout=20, kind="GenericError"):
        """The next reply, which must be an error of KIND; its text."""
        r = self.reply(timeout)
        assert "error" in r, f"no error but {str(r)[:300]}"
        assert r["error"]["class"] == kind, f"class {r['error']}, not {kind}"
        assert len(r["error"]["desc"].encode()) <= 1000, f"a long error: {r['error']['desc']}"
        return r["error"]["desc"]

    def call(self, name, fds=(), timeout=20, **arguments):
        """The reply's value; QmpError for an error. Underscores of argument names stand for dashes."""
        request = {"execute": name}
        if arguments:
            request["arguments"] = {k.replace("_", "-"): v for k, v in arguments.items()}
        self.send(json.dumps(request).encode() + b"\n", fds)
        r = self.reply(timeout)
        if "error" in r:
            raise QmpError(name, r["error"])
        return r["return"]

    def refused(self, name, *parts, kind="GenericError", fds=(), **arguments):
        """Sends a command that must be refused, in a text that has all PARTS; the text."""
        try:
            got = self.call(name, fds, **arguments)
        except QmpError as e:
            for part in parts:
                assert str(part) in e.desc, f"{name}: {part!r} is not in {e.desc!r}"
            assert e.kind == kind, f"{name}: {e}, not of class {kind}"
            assert "\n" not in e.desc and len(e.desc.encode()) <= 1000, f"{name}: {e.desc!r}"
            return e.desc
        raise AssertionError(f"{name} {str(arguments)[:300]} was not refused: {got}")

    def wait_event(self, name, timeout=20):
        """The next event of that name that nobody took."""
        end = time.monotonic() + timeout * PATIENCE
        while True:
            for i, e in enumerate(self.events):
                if e["event"] == name:
                    return self.events.pop(i)
            left = end - time.monotonic()
            assert left > 0, f"no event {name}"
            m = self.message(max(left, 0.001))
            assert "event" in m, f"a reply without a command: {m}"

    def in_step(self):
        """The next command gets the next reply."""
        token = f"step-{time.monotonic_ns()}"
        self.send(json.dumps({"execute": "query-name", "id": token}).encode() + b"\n")
        r = self.reply()
        assert r.get("id") == token and "return" in r, f"out of step: {str(r)[:300]}"


class Daemon:
    def __init__(self, *arguments, accel="test", name="t", directory=None, files=None, qmp=True):
        self.own = directory is None
        self.directory = directory or tempfile.mkdtemp(prefix="bb-", dir="/tmp")
        self.log_path = self.path("log")
        listen = ["--qmp", "unix:" + self.path("qmp")] if qmp else []

        def limit():
            if files:
                resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([DAEMON, "--name", name, "--accel", accel, *listen, *arguments],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=limit)
        self.pid = self.process.pid
        self.c = None
        if qmp:
            self.await_socket(self.path("qmp"))
            self.c = self.client()

    def path(self, name):
        return os.path.join(self.directory, name)

    def await_socket(self, path):
        end = time.monotonic() + 20 * PATIENCE
        while True:  # there is nothing to wait for before the socket is there
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
                try:
                    s.connect(path)
                    return
                except OSError as e:
                    assert self.process.poll() is None, f"the daemon ended: {self.log()}"
                    assert time.monotonic() < end, f"no daemon at {path}: {e}"
            time.sleep(0.002)

    def client(self, name="qmp", **options):
        return Client(self.path(name), **options)

    def log(self):
        with open(self.log_path, errors="replace", encoding="utf-8") as f:
            return f.read()

    # ---- what must stay as it was

    def fds(self):
        return sorted(os.listdir(f"/proc/{self.pid}/fd"), key=int)

    def status(self, key):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as f:
            for line in f:
                if line.startswith(key + ":"):
                    return int(line.split()[1])
        raise KeyError(key)

    def cpu_seconds(self):
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as f:
            words = f.read().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def rss(self):
        return self.status("VmRSS") << 10

    def view(self):
        """All that says what the machine is."""
        abi = self.c.call("query-guest-abi", detail=True) if self.has_board() else None
        return {"config": self.c.call("query-machine-config"), "resolved": self.c.call("query-machine-config", resolved=True),
                "abi": abi, "status": self.c.call("query-status"), "chardevs": self.c.call("query-chardev")}

    def has_board(self):
        return any(d["type"] == "board" for d in self.c.call("query-machine-config", resolved=True)["resolved"])

    def vitals(self):
        return {"view": self.view(), "fds": len(self.fds()), "threads": self.status("Threads"), "rss": self.rss()}

    def unchanged(self, before, memory=8 * MIB, but=()):
        """Compares with vitals() from before; connections that were just closed get a moment."""
        assert self.process.poll() is None, f"the daemon died: {self.process.returncode}"
        end = time.monotonic() + 5 * PATIENCE
        while len(self.fds()) != before["fds"] and time.monotonic() < end:
            time.sleep(0.002)
        now = self.vitals()
        for key, value in before["view"].items():
            if key in but:
                continue
            assert now["view"][key] == value, f"{key} changed:\n{str(value)[:1000]}\n{str(now['view'][key])[:1000]}"
        assert now["fds"] == before["fds"], f"descriptors: {before['fds']}, now {now['fds']}: " + str(
            [os.readlink(f"/proc/{self.pid}/fd/{f}") for f in self.fds()][-20:])
        assert now["threads"] == before["threads"], f"threads: {before['threads']}, now {now['threads']}"
        assert now["rss"] <= before["rss"] + memory, f"memory: {before['rss'] >> 10} KiB, now {now['rss'] >> 10} KiB"

    # ---- the end

    def end(self):
        """Quits and looks at how it went; fails for a bad end or what the log should not have."""
        try:
            if self.process.poll() is None and self.c:
                self.c.call("quit")
                self.c.close()
                self.process.wait(10 * PATIENCE)
            status, text = self.process.poll(), self.log()
            assert self.c is None or status == 0, f"the daemon ended with status {status}\n{text[-2000:]}"
            for word in ("CRITICAL", "GLib", "ssertion", "AddressSanitizer", "runtime error"):
                assert word not in text, f"the log has {word!r}:\n{text[-2000:]}"
        finally:
            self.kill()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.c:
            self.c.close()
        if self.own:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind:
            diag(self.log()[-2000:])
            self.kill()
        else:
            self.end()


def build_machine(c, cpus=2, memory=64 * MIB, max_cpus=4):
    """A machine in which something of each kind is plugged."""
    c.call("device_add", driver="board", id="board", max_cpus=max_cpus)
    for _ in range(cpus):
        c.call("device_add", driver="qemu64-x86_64-cpu")
    c.call("object-add", qom_type="memory-backend-ram", id="m0", size=memory)
    c.call("device_add", driver="pc-dimm", id="dimm0", memdev="m0")
    c.call("chardev-add", id="con", backend={"type": "ringbuf", "data": {"size": 4096}})
    c.call("device_add", driver="isa-serial", id="serial0", chardev="con")


# ---- TAP

class Skip(Exception):
    pass


_tests = []


def test(function):
    _tests.append(function)
    return function


def diag(text):
    for line in str(text).splitlines():
        print("# " + line.encode("ascii", "backslashreplace").decode()[:2000], flush=True)


def _run(function, daemon, guard):
    if not daemon:
        return function()
    assert daemon.process.poll() is None, f"the daemon died before: {daemon.process.returncode}"
    before = daemon.vitals() if guard else None
    said = function(daemon)
    if guard:
        daemon.unchanged(before)
    return said


def _too_long(_number, _frame):
    raise TimeoutError("the test takes too long")


def main(shared=None, guard=False, limit=120):
    """Runs all tests, with one Daemon that SHARED makes if it is given; the exit status."""
    if not os.access(DAEMON, os.X_OK):
        print(f"Bail out! {DAEMON} is not there: name it by BACKPLANED")
        return 1
    chosen = [t for t in _tests if not sys.argv[1:] or any(w in t.__name__ for w in sys.argv[1:])]
    print(f"1..{len(chosen) + (1 if shared else 0)}", flush=True)
    signal.signal(signal.SIGALRM, _too_long)
    failed, daemon = 0, shared() if shared else None
    for number, function in enumerate(chosen, 1):
        name, began = function.__name__.replace("_", " "), time.monotonic()
        signal.alarm(int(limit * PATIENCE))
        try:
            if daemon and daemon.process.poll() is not None:
                daemon = shared()
            said = _run(function, daemon, guard)
            print(f"ok {number} - {name}")
            if said:
                diag(said)
        except Skip as reason:
            print(f"ok {number} - {name} # SKIP {reason}")
        except Exception:  # pylint: disable=broad-except
            failed += 1
            print(f"not ok {number} - {name}")
            diag(traceback.format_exc())
            if daemon:  # whatever is wrong with it, the next test gets a fresh one
                diag(daemon.log()[-1500:])
                daemon.kill()
                daemon = shared()
        finally:
            signal.alarm(0)
        diag(f"{time.monotonic() - began:.2f} s")
    if shared:
        try:
            daemon.end()
            print(f"ok {len(chosen) + 1} - the daemon ends well")
        except Exception:  # pylint: disable=broad-except
            failed += 1
            print(f"not ok {len(chosen) + 1} - the daemon ends well")
            diag(traceback.format_exc())
    return 1 if failed else 0

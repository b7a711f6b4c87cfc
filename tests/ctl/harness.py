# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of backplanectl share: a box for each test, a terminal, and the TAP loop.

BACKPLANECTL names the binary (./backplanectl).
"""
import importlib.util
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
CTL = os.path.abspath(os.environ.get("BACKPLANECTL", "./backplanectl"))
spec = importlib.util.spec_from_file_location("fake_qmp", os.path.join(HERE, "fake-qmp.py"))
fake = importlib.util.module_from_spec(spec)
sys.dont_write_bytecode = True
spec.loader.exec_module(fake)
Error, Raw, Close, Silent, Sequence, With, event = (
    fake.Error, fake.Raw, fake.Close, fake.Silent, fake.Sequence, fake.With, fake.event)

OK, DAEMON, USAGE, CONNECT, TIMEOUT, LOST, FAILED = range(7)
tests = []


def test(function):
    tests.append(function)
    return function


class Box:
    """A test's directory, environment and servers."""
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="ctl-", dir="/tmp")
        self.run_dir = os.path.join(self.dir, "run")
        os.mkdir(self.run_dir)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("BACKPLANE", "FAKE"))}
        self.env.update(BACKPLANE_RUNTIME_DIR=self.run_dir, HOME=self.dir, LC_ALL="C.UTF-8",
                        XDG_STATE_HOME=self.dir + "/state", TERM="xterm")
        self.servers, self.processes = [], []

    def serve(self, replies=None, name=None, **options):
        path = os.path.join(self.dir, "q") if name is None else self.machine(name)
        server = fake.FakeQmp(path, replies, **options)
        self.servers.append(server)
        return server

    def machine(self, name, pid=None):
        """The directory and pid file of a running machine; returns its socket's path."""
        os.makedirs(os.path.join(self.run_dir, name), exist_ok=True)
        with open(os.path.join(self.run_dir, name, "backplaned.pid"), "w", encoding="ascii") as f:
            f.write(f"{pid or os.getpid()}\n")
        return os.path.join(self.run_dir, name, "qmp.sock")

    def ctl(self, *args, socket=True, stdin="", rc=OK, timeout=20):
        """Runs backplanectl, checks its status, returns (stdout, stderr)."""
        command = [CTL] + (["-s", self.dir + "/q"] if socket else []) + list(args)
        p = subprocess.run(command, input=stdin, capture_output=True, text=True, env=self.env,
                           timeout=timeout, check=False)
        assert p.returncode == rc, f"{args}: status {p.returncode}, not {rc}\n{p.stdout}{p.stderr}"
        return p.stdout, p.stderr

    def popen(self, *args, **options):
        p = subprocess.Popen([CTL, "-s", self.dir + "/q", *args], env=self.env, **options)
        self.processes.append(p)
        return p

    def close(self):
        for p in self.processes:
            p.kill()
            p.wait()
        for server in self.servers:
            server.close()
        shutil.rmtree(self.dir)


def same(got, want):
    assert got == want, f"got  {got!r}\nwant {want!r}"


def has(text, *parts):
    for part in parts:
        assert part in text, f"{part!r} is not in {text!r}"


def requests(server):
    return [(r["execute"], r.get("arguments")) for r in server.requests]


def rows(table):
    return [line.split() for line in table.splitlines()]


class Terminal:
    """backplanectl on a pty of its own, of which this is the person's side."""
    def __init__(self, box, *args):
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.text = ""
        self.process = subprocess.Popen(
            [CTL, "-s", box.dir + "/q", *args], env=box.env, stdin=self.slave, stdout=self.slave,
            stderr=self.slave, start_new_session=True,
            preexec_fn=lambda: __import__("fcntl").ioctl(0, termios.TIOCSCTTY, 0))
        box.processes.append(self.process)

    def type(self, text):
        os.write(self.master, text.encode())

    def expect(self, pattern, timeout=10):
        """Reads until the text shows the pattern; what is up to its end is taken."""
        end = time.monotonic() + timeout
        while not (match := re.search(pattern, self.text, re.S)):
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.master], [], [], left)[0]:
                raise AssertionError(f"{pattern!r} did not come; screen: {self.text!r}")
            self.text += os.read(self.master, 65536).decode(errors="replace")
        self.text = self.text[match.end():]
        return match

    def wait_modes(self, on=0, off=0):
        """Waits for local modes of the terminal, a change of which no event tells."""
        for _ in range(1000):
            modes = termios.tcgetattr(self.slave)[3]
            if modes & on == on and not modes & off:
                return
            time.sleep(0.01)
        raise AssertionError(f"the terminal's local modes are {modes:#x}")

    def wait_raw(self):
        self.wait_modes(off=termios.ICANON | termios.ECHO | termios.ISIG)

    def prompt(self):
        """libedit prints its prompt first and sets the modes then: Ctrl-D in between is lost."""
        self.expect("qmp> ")
        self.wait_modes(off=termios.ICANON)

    def end(self, rc):
        same(self.process.wait(10), rc)
        same(termios.tcgetattr(self.slave), self.before)


def too_long(_number, _frame):
    raise TimeoutError("the test takes too long")


def main():
    if not os.access(CTL, os.X_OK):
        print(f"Bail out! {CTL} is not there: name it by BACKPLANECTL")
        return 1
    chosen = [t for t in tests if not sys.argv[1:] or any(w in t.__name__ for w in sys.argv[1:])]
    # where we run in the background of a script it is ignored, and children inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGALRM, too_long)
    print(f"1..{len(chosen)}")
    failed = 0
    for number, function in enumerate(chosen, 1):
        box = Box()
        signal.alarm(60)  # for all that waits without a limit of its own
        name = function.__name__.replace("_", " ")
        try:
            skip = function(box)
            print(f"ok {number} - {name}" + (f" # SKIP {skip}" if skip else ""), flush=True)
        except Exception:  # pylint: disable=broad-except
            failed += 1
            for line in traceback.format_exc().splitlines():
                print("# " + line)
            print(f"not ok {number} - {name}", flush=True)
        finally:
            signal.alarm(0)
            box.close()
    return 1 if failed else 0

#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Virtio consoles and channels under Linux: bytes in both directions, who has what open, ports that come and go, and a client that
does not read."""

from backplane import *
from linuxguest import boot_linux, VIRTIO_PCI

MODULES = (*VIRTIO_PCI, "virtio_console")
AGENT = "org.test.agent.0"


def chardev(m, name):
    m("chardev-add", id=name, backend={"type": "socket", "data": {
        "addr": {"type": "unix", "data": {"path": m.path(name)}}, "server": True, "wait": False}})


def port(m, ident, driver="virtserialport", **props):
    chardev(m, ident)
    m("device_add", driver=driver, id=ident, bus="hub.0", chardev=ident, **props)


def client(m, name):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(m.path(name))
    sock.settimeout(20 * PATIENCE)
    return sock


def receive(sock, size):
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            break
        data += part
    return data


def boot(m, linux, **hub):
    def plug():
        m("device_add", driver="virtio-serial-pci", id="hub", **hub)
        port(m, "con", "virtconsole")
        port(m, "agent", name=AGENT)
    boot_linux(m, linux, MODULES, plug)


def until(m, test):
    """Waits for the shell's TEST to be true; whether it was."""
    return "yes" in m.console.run("for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do %s && echo yes && break; sleep 0.2; done" % test, 30)


def node(m, name):
    """The guest's device file for the port of that name."""
    found = m.console.run("grep -l '^%s$' /sys/class/virtio-ports/*/name" % name).strip()
    return "/dev/" + found.split("/")[4] if found else ""


def daemon_memory(m):
    """Bytes that are the daemon's alone: not the guest's memory, which is shared."""
    with open("/proc/%d/status" % m.process.pid) as f:
        return int(re.search(r"RssAnon:\s+(\d+)", f.read()).group(1)) * 1024


def frontend_open(m, name):
    return [x["frontend-open"] for x in m("query-chardev") if x["label"] == name][0]


def no_complaints(c, m):
    log = m.console.run("dmesg -r")
    c.true(not re.search(r"(?i)(virtio|vport|hvc).*(fail|error|warn|unable|invalid)", log), "complaints", log)


def check_console(c, m):
    with contextlib.closing(client(m, "con")) as con:
        c.true(until(m, "[ -c /dev/hvc0 ]"), "/dev/hvc0")
        m.console.run("(exec 3<>/dev/hvc0; stty raw -echo <&3; echo from guest >&3)")
        c.equal(receive(con, 11), b"from guest\n", "what the guest wrote to hvc0")
        m.console.run("(head -n 1 /dev/hvc0 > /tmp/con) & sleep 0.2")
        con.sendall(b"from host\n")
        c.true(until(m, "grep -q 'from host' /tmp/con"), "what the host wrote to hvc0")


def check_channel(c, m, path):
    """A megabyte there and back, whole."""
    data = random.Random(5).randbytes(MIB)
    c.equal(frontend_open(m, "agent"), False, "open before")
    with contextlib.closing(client(m, "agent")) as agent:
        m.console.run("(exec 3<>%s; head -c %d <&3 > /tmp/a; cat /tmp/a >&3; sleep 0.3) & sleep 0.1" % (path, len(data)))
        m.wait("VSERPORT_CHANGE", id="agent", open=True)
        c.equal(frontend_open(m, "agent"), True, "open")
        agent.sendall(data)
        c.true(receive(agent, len(data)) == data, "a megabyte there and back")
        m.wait("VSERPORT_CHANGE", 20, id="agent", open=False)
    c.equal(frontend_open(m, "agent"), False, "open after")


def check_slow_client(c, m, path):
    """One that does not read stops the writer, and nobody else; no memory is taken for it."""
    with contextlib.closing(client(m, "agent")) as agent:
        before = daemon_memory(m)
        m.console.run("(head -c 8388608 /dev/zero > %s; echo done > /tmp/done) & sleep 1" % path)
        c.equal(m.console.run("cat /tmp/done 2>/dev/null; true").strip(), "", "the writer has ended")
        check_console(c, m)
        c.true(daemon_memory(m) - before < MIB, "memory for a client that does not read", daemon_memory(m) - before)
        c.equal(len(receive(agent, 8 * MIB)), 8 * MIB, "bytes in the end")
        c.true(until(m, "[ -s /tmp/done ]"), "the writer's end")


def check_plug(c, m):
    for i in range(3):
        name = "port%d" % i
        port(m, name, name="org.test.%d" % i)
        c.true(until(m, "grep -q org.test.%d /sys/class/virtio-ports/*/name" % i), "the new port in the guest")
        with contextlib.closing(client(m, name)) as sock:
            m.console.run("echo %s > %s" % (name, node(m, "org.test.%d" % i)))
            c.equal(receive(sock, 6), name.encode() + b"\n", "what came through it")
            m("device_del", id=name)
            m.wait("DEVICE_DELETED", device=name)
        c.true(until(m, "! grep -q org.test.%d /sys/class/virtio-ports/*/name" % i), "the port has gone in the guest")
        m("chardev-remove", id=name)


@case("virtio-serial: a console and a named channel in both directions, a client that does not read, ports that come and go")
def _(c):
    linux = linux_guest(c)
    with Machine(c) as m:
        boot(m, linux)
        c.true(until(m, "grep -q %s /sys/class/virtio-ports/*/name" % AGENT), "the channel's name")
        path = node(m, AGENT)
        check_console(c, m)
        check_channel(c, m, path)
        check_slow_client(c, m, path)
        check_plug(c, m)
        m.stop()
        m.cont()
        check_console(c, m)
        no_complaints(c, m)


@case("virtio-serial: packed rings, interrupts by the pin")
def _(c):
    linux = linux_guest(c)
    with Machine(c) as m:
        boot(m, linux, packed=True, vectors=0)
        check_console(c, m)
        check_channel(c, m, node(m, AGENT))
        no_complaints(c, m)


main()

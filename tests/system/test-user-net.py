#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The user network under Linux, the daemon in a network namespace of the test's own: an address by DHCP, pings, TCP out of the guest
and into it by a host forward, many connections at a time; and what the daemon pays and refuses."""

import ctypes
import fcntl
import hashlib
import struct
import threading

from backplane import *
from linuxguest import boot_linux, VIRTIO_PCI

MODULES = (*VIRTIO_PCI, "failover", "net_failover", "virtio_net")
CLONE_NEWNET = 0x40000000
FLOWS = 1000 if os.environ.get("TEST_LONG") else 60
DHCP_SCRIPT = r"""printf '#!/bin/sh\n[ "$1" = bound ] || exit 0\nip addr add $ip/$mask dev $interface\nip route add default via $router\necho $dns > /tmp/dns\n' > /tmp/s; chmod +x /tmp/s"""


def own_network():
    """This process and its daemons get a namespace with nothing but a loopback interface: no port is anybody else's."""
    if os.geteuid() != 0 or ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, 0x8914, struct.pack("16sH14x", b"lo", 0x41))
    return True


HAVE_NETWORK = own_network()


class Echo:
    """A server on 127.0.0.1: echoes each connection to its end, but none before there are HOLD of them."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self.listener.getsockname()[1]
        self.hold = self.now = 0
        self.changed = threading.Condition()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            s, _ = self.listener.accept()
            threading.Thread(target=self._serve, args=(s,), daemon=True).start()

    def _count(self, n):
        with self.changed:
            self.now += n
            self.changed.notify_all()

    def _serve(self, s):
        self._count(1)
        with self.changed:
            if not self.changed.wait_for(lambda: self.now >= self.hold, 100):
                return s.close()
            if self.now >= self.hold:
                self.hold = 0
                self.changed.notify_all()
        with s:
            while True:
                data = s.recv(65536)
                if not data:
                    break
                s.sendall(data)
        self._count(-1)


def boot(m, linux, forward):
    def plug():
        m.qmp.call("netdev_add", {"type": "user", "id": "u", "hostname": "plank", "hostfwd": [{"str": "tcp:127.0.0.1:%d-:7000" % forward}]})
        m("device_add", driver="virtio-net-pci", id="net0", netdev="u")
    boot_linux(m, linux, MODULES, plug)


def get_address(c, m):
    run = m.console.run
    run(DHCP_SCRIPT)
    run("ip link set eth0 up; udhcpc -i eth0 -s /tmp/s -n -q -f", 60)
    c.contains(run("ip addr show eth0"), "10.0.2.15/24", "the address")
    c.equal(run("cat /tmp/dns").strip(), "10.0.2.3", "the name server")


def guest_sends(c, m, echo, mib):
    """MIB of random bytes out and back: they are the same."""
    run = m.console.run
    run("dd if=/dev/urandom of=/tmp/r bs=1M count=%d 2>/dev/null" % mib, 60)
    run("nc 10.0.2.2 %d < /tmp/r > /tmp/back" % echo.port, 120)
    c.equal(run("md5sum < /tmp/back"), run("md5sum < /tmp/r"), "what came back to the guest")


def host_sends(c, m, forward, mib):
    data = os.urandom(mib << 20)
    m.console.run("rm -f /tmp/sum; (nc -l -p 7000 > /tmp/in; md5sum < /tmp/in > /tmp/sum) & usleep 200000")
    with socket.create_connection(("127.0.0.1", forward), 10) as s:
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        s.settimeout(60)
        s.recv(1)
    m.console.run("for i in $(seq 50); do [ -s /tmp/sum ] && break; usleep 200000; done", 60)
    c.equal(m.console.run("cat /tmp/sum").split()[0], hashlib.md5(data).hexdigest(), "what the host sent")


def many_at_once(c, m, echo):
    """No connection gets its answer before all are open."""
    run = m.console.run
    echo.hold = FLOWS
    run("mkdir -p /tmp/f; for i in $(seq %d); do echo flow $i | nc 10.0.2.2 %d > /tmp/f/$i & done; wait" % (FLOWS, echo.port), 120)
    right = "for i in $(seq %d); do [ \"$(cat /tmp/f/$i)\" = \"flow $i\" ] && echo $i; done | wc -l" % FLOWS
    c.equal(run(right, 60).strip(), str(FLOWS), "connections that got their own bytes back")
    c.equal(echo.hold, 0, "whether they were there at the same time")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


@case("user network: DHCP, ping, TCP in both directions, %d connections at once" % FLOWS)
def _(c):
    if not HAVE_NETWORK:
        c.skip("no network namespace")
    linux = linux_guest(c)
    echo, forward = Echo(), free_port()
    with Machine(c) as m:
        boot(m, linux, forward)
        get_address(c, m)
        run = m.console.run
        c.contains(run("ping -c 3 -i 0.2 10.0.2.2", 60), " 0% packet loss", "pings of the host")
        guest_sends(c, m, echo, 2)
        host_sends(c, m, forward, 2)
        many_at_once(c, m, echo)
        run("ping -c 1 -W 1 -s 8000 10.0.2.2; true", 60)  # in fragments: not taken, and harmless
        c.contains(run("ping -c 1 10.0.2.2", 60), " 0% packet loss", "a ping after fragments")
        log = run("dmesg -r | grep -iE 'virtio|eth[0-9]'; true")
        c.true(not re.search(r"(?i)(virtio|eth\d).*(fail|error|warn|hang|timed out)", log), "complaints", log)
        m.console.send("poweroff -f\n")
        m.wait("SHUTDOWN", 30, guest=True, reason="guest-shutdown")


def maps_libslirp(m):
    with open("/proc/%d/maps" % m.process.pid) as f:
        return "libslirp" in f.read()


@case("user network: libslirp is opened with the first one; what netdev_add refuses; nothing is left behind")
def _(c):
    if not HAVE_NETWORK:
        c.skip("no network namespace")
    with Machine(c) as m:
        m("query-status")
        c.true(not maps_libslirp(m), "libslirp is not there at start")
        m.refused("netdev_add", "'net' of object 'u' is '10.0.2.0/30'", type="user", id="u", net="10.0.2.0/30")
        m.refused("netdev_add", "'hostname' has 33 bytes", type="user", id="u", hostname="x" * 33)
        m.refused("netdev_add", "'ipv6-prefixlen' is 127", **{"type": "user", "id": "u", "ipv6-prefixlen": 127})
        m.refused("netdev_add", "the host's port", type="user", id="u", hostfwd=[{"str": "tcp::0-:1"}])
        m.refused("netdev_add", "comma", type="user", id="u", dnssearch=[{"str": "a,b"}])
        m.refused("netdev_add", "'smb' is unexpected", type="user", id="u", smb="/")
        c.true(not maps_libslirp(m), "nor after mistakes")
        before = m.fds()
        for i in range(3):
            m("netdev_add", type="user", id="u", hostfwd=[{"str": "tcp:127.0.0.1:7077-:22"}, {"str": "udp:127.0.0.1:7077-:22"}])
            m.refused("netdev_add", "'tcp:127.0.0.1:7077-:22': can not listen", type="user", id="v", hostfwd=[{"str": "tcp:127.0.0.1:7077-:22"}])
            m("netdev_add", type="user", id="v")
            m("netdev_del", id="u")
            m("netdev_del", id="v")
        c.true(maps_libslirp(m), "libslirp is there")
        c.equal(m.fds(), before, "descriptors")


main()

#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The virtio network card under Linux, on tap interfaces in a network namespace of the test's own: pings and TCP in both
directions, several queues, the link, a card that comes and goes, and the commands of the network back ends."""

import ctypes
import fcntl
import hashlib
import struct
import threading

from backplane import *
from linuxguest import boot_linux, come_up, power_off, VIRTIO_PCI

MODULES = (*VIRTIO_PCI, "failover", "net_failover", "virtio_net")
CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR, IFF_MULTI_QUEUE = 0x400454ca, 2, 0x1000, 0x4000, 0x100
SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK = 0x8914, 0x8916, 0x891c
MAC = "52:54:00:12:34:56"

# ---- the host's side: this process and its daemons are in a network namespace of their own ----


def own_network():
    if os.geteuid() != 0 or not os.path.exists("/dev/net/tun"):
        return False
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        return False
    return True


HAVE_NETWORK = own_network()


def need_network(c):
    if not HAVE_NETWORK:
        c.skip("no network namespace or no /dev/net/tun")


def configure(name, address):
    """Interface NAME has ADDRESS/24 and is up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        for request, value in ((SIOCSIFADDR, address), (SIOCSIFNETMASK, "255.255.255.0")):
            fcntl.ioctl(s, request, struct.pack("16sHH4s8x", name.encode(), socket.AF_INET, 0, socket.inet_aton(value)))
        fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sH14x", name.encode(), 0x41))


def open_tap(name, flags=0):
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | flags))
    return fd


def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def host_pings(address, count):
    """Answers to COUNT pings of 56 to 1456 bytes."""
    answers = 0
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as s:
        s.settimeout(5)
        for i in range(count):
            data = bytes(8 + (i * 100) % 1400)
            body = struct.pack("!BBHHH", 8, 0, 0, 77, i) + data
            body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
            s.sendto(body, (address, 0))
            while True:
                reply = s.recv(4096)[20:]
                if reply[:1] == b"\0" and reply[4:8] == struct.pack("!HH", 77, i):
                    break
            answers += reply[8:] == data
    return answers


class Server:
    """Sums up what each connection sends, and answers with as many bytes as its first line says."""

    def __init__(self, address):
        self.listener = socket.create_server((address, 0))
        self.port = self.listener.getsockname()[1]
        self.sums = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(s,), daemon=True).start()

    def _serve(self, s):
        digest, n = hashlib.md5(), 0
        with s:
            while True:
                data = s.recv(1 << 18)
                if not data:
                    break
                digest.update(data)
                n += len(data)
            self.sums.append((n, digest.hexdigest()))

    def wait(self, count):
        end = time.monotonic() + 60
        while len(self.sums) < count and time.monotonic() < end:
            time.sleep(0.02)
        return self.sums

    def close(self):
        self.listener.close()


# ---- the guest's side ----


def set_link(m, name, up):
    m.qmp.call("set_link", {"name": name, "up": up})


def guest_address(m, address, name="eth0"):
    m.console.run("ip addr add %s/24 dev %s && ip link set %s up" % (address, name, name))


def no_complaints(c, m):
    log = m.console.run("dmesg -r | grep -iE 'virtio|eth[0-9]'; true")
    c.true(not re.search(r"(?i)(virtio|eth\d).*(fail|error|warn|hang|timed out)", log), "complaints", log)


def guest_sends(c, m, server, address, mib):
    """MIB of random bytes by TCP from the guest: the host has the same."""
    run = m.console.run
    run("dd if=/dev/urandom of=/tmp/r bs=1M count=%d 2>/dev/null" % mib, 60)
    before = len(server.sums)
    run("nc %s %d < /tmp/r" % (address, server.port), 120)
    sums = server.wait(before + 1)
    c.equal(sums[-1], (mib << 20, run("md5sum < /tmp/r").split()[0]), "what the guest sent")


def host_sends(c, m, address, mib):
    """The other way round."""
    data = os.urandom(mib << 20)
    m.console.run("(nc -l -p 7000 > /tmp/in; md5sum < /tmp/in > /tmp/sum) & usleep 100000")
    with socket.create_connection((address, 7000), 10) as s:
        s.sendall(data)
    m.console.run("for i in $(seq 50); do [ -s /tmp/sum ] && break; usleep 200000; done", 60)
    c.equal(m.console.run("cat /tmp/sum").split()[0], hashlib.md5(data).hexdigest(), "what the host sent")


@case("virtio-net: pings and TCP in both directions through a tap made by its name; again after a reset")
def _(c):
    need_network(c)
    linux = linux_guest(c)
    with Machine(c) as m:
        def plug():
            m("netdev_add", type="tap", id="hostnet0", ifname="bp0", script="no", downscript="no")
            m("device_add", driver="virtio-net-pci", id="net0", netdev="hostnet0", mac=MAC)
        load = boot_linux(m, linux, MODULES, plug)
        configure("bp0", "10.9.0.1")
        run = m.console.run
        server = Server("10.9.0.1")
        for again in range(2):
            c.equal(run("cat /sys/class/net/eth0/address").strip(), MAC, "address")
            guest_address(m, "10.9.0.2")
            c.contains(run("ping -c 1 -s 8000 10.9.0.1", 60), " 0% packet loss", "the guest's ping")
            c.equal(host_pings("10.9.0.2", 50), 50, "answers to the host's pings")
            guest_sends(c, m, server, "10.9.0.1", 8)
            host_sends(c, m, "10.9.0.2", 8)
            no_complaints(c, m)
            if not again:
                m("system_reset")
                come_up(m, load)
        server.close()
        power_off(m)


@case("virtio-net: two queues by passed descriptors, the link, the filter and its event")
def _(c):
    need_network(c)
    linux = linux_guest(c)
    with Machine(c) as m:
        fds = [open_tap("bp1", IFF_MULTI_QUEUE) for _ in range(2)]
        for i, fd in enumerate(fds):
            m.qmp.command("getfd", fds=[fd], fdname="tap%d" % i)
            os.close(fd)

        def plug():
            m.qmp.call("netdev_add", {"type": "tap", "id": "h", "fds": "tap0:tap1"})
            m("device_add", driver="virtio-net-pci", id="n", netdev="h", mq=True)
        boot_linux(m, linux, MODULES, plug)
        configure("bp1", "10.9.1.1")
        run = m.console.run
        mac = run("cat /sys/class/net/eth0/address").strip()
        c.true(mac.startswith("52:54:00:"), "an address by lot", mac)
        guest_address(m, "10.9.1.2")
        c.equal(run("ls -d /sys/class/net/eth0/queues/rx-* | wc -l").strip(), "2", "queues")
        c.equal(host_pings("10.9.1.2", 20), 20, "answers")
        host_sends(c, m, "10.9.1.2", 4)
        m.wait("NIC_RX_FILTER_CHANGED", 10, path="/machine/peripheral/n/virtio-backend")
        info = m.qmp.call("query-rx-filter", {"name": "n"})[0]
        c.equal((info["main-mac"], info["promiscuous"], info["broadcast-allowed"]), (mac, False, True), "the filter")
        c.true("33:33:00:00:00:01" in info["multicast-table"] or "01:00:5e:00:00:01" in info["multicast-table"], "groups", info)
        run("ip link set eth0 promisc on")
        m.wait("NIC_RX_FILTER_CHANGED", 10)
        c.equal(m("query-rx-filter")[0]["promiscuous"], True, "promiscuous")
        for up in (False, True):
            set_link(m, "n", up)
            run("for i in $(seq 50); do [ $(cat /sys/class/net/eth0/carrier) = %d ] && break; usleep 200000; done" % up, 30)
            c.equal(run("cat /sys/class/net/eth0/carrier").strip(), str(int(up)), "carrier")
        c.equal(host_pings("10.9.1.2", 20), 20, "answers after the link was down")
        m("stop")
        m.cont()
        c.equal(host_pings("10.9.1.2", 20), 20, "answers after a stop")
        no_complaints(c, m)
        power_off(m)


@case("netdev_add and the commands around it: what they refuse, and that nothing is left behind")
def _(c):
    need_network(c)
    with Machine(c) as m:
        before = None
        for i in range(20):
            fd = open_tap("bp2")
            m.qmp.command("getfd", fds=[fd], fdname="tap")
            os.close(fd)
            m.refused("netdev_add", "'1x'", type="tap", id="1x", fd="tap")
            m("netdev_add", type="tap", id="h", fd="tap")
            m.refused("netdev_add", "has not been found", type="tap", id="h2", fd="tap")
            m.refused("netdev_add", "'h'", type="tap", id="h", ifname="bp3")
            m("device_add", driver="virtio-net-pci", id="n", netdev="h")
            m.refused("netdev_del", "'n'", id="h")
            set_link(m, "h", False)
            set_link(m, "h", True)
            m("device_del", id="n")
            m("netdev_del", id="h")
            m.refused("netdev_del", "'h'", id="h")
            before = before or m.fds()  # the first round opens what all need
        m.refused("netdev_add", "vhost", type="tap", id="h", vhost=True)
        m.refused("netdev_add", "script", type="tap", id="h", script="/etc/ifup")
        m.refused("netdev_add", "'queues'", type="tap", id="h", queues=65)
        m.refused("netdev_add", "'ifname'", type="tap", id="h", ifname="x" * 16)
        m.refused("netdev_add", "not that of a tap", type="tap", id="h", fd="999")
        for command, arguments in (("set_link", {"name": "nobody", "up": True}), ("query-rx-filter", {"name": "nobody"})):
            try:
                m.qmp.call(command, arguments)
                c.true(False, "%s was not refused" % command)
            except QmpError as error:
                c.contains(error.desc, "nobody", "the error")
        c.equal(m("query-rx-filter"), [], "filters")
        c.equal(m.fds(), before, "descriptors")


@case("virtio-net: the address drawn by lot and what the host can do are recorded, and rebuild the same machine")
def _(c):
    need_network(c)
    prints = []
    given = {"netdev": "h"}
    for _again in range(2):
        with Machine(c) as m:
            m("netdev_add", type="tap", id="h", ifname="bp4")
            m.qmp.call("device_add", dict(given, driver="virtio-net-pci", id="n"))
            resolved = next(d for d in m("query-machine-config", resolved=True)["resolved"] if d["id"] == "n")
            rows = {p["name"]: p for p in resolved["properties"]}
            given = {name: rows[name]["value"] for name in ("netdev", "addr", "mac", "queue-pairs", "csum", "guest_csum", "host_tso4")}
            c.equal(rows["host_tso4"]["value"], True, "segmentation by the host")
            prints.append(m("query-guest-abi"))
    c.equal(prints[0], prints[1], "the fingerprint")


main()

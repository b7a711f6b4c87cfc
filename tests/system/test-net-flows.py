#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Much at the same time through the network card under Linux: a thousand TCP connections in both directions, each with its own bytes
and open until the last one has them all, datagrams of all sizes, long streams. Once through a tap whose other end is in another
namespace than the daemon, once through the user network. Both ends are tests/bench/netload.c, which looks at every byte."""

from backplane import *
from linuxguest import boot_linux, power_off, VIRTIO_PCI
from netpeer import configure, load, may, Namespace, netload_files, open_tap, server

MODULES = (*VIRTIO_PCI, "failover", "net_failover", "virtio_net")
LONG = bool(os.environ.get("TEST_LONG"))
PORT = 7000
FLOW_BYTES = 20000


def boot(m, linux, plug, address):
    boot_linux(m, linux, MODULES, plug, files=netload_files())
    m.console.run("ip addr add %s/24 dev eth0 && ip link set eth0 up" % address)


def from_guest(c, m, host, flows, datagrams, mib):
    """Connections, datagrams and streams that the guest begins; netload fails where a byte is not what it should be."""
    run = m.console.run
    c.equal(run("/net/netload flows %s %d %d %d" % (host, PORT, flows, FLOW_BYTES), 120).split()[0], str(flows * FLOW_BYTES), "bytes of the flows")
    c.equal(run("/net/netload datagrams %s %d %d" % (host, PORT, datagrams), 120).split()[0], str(datagrams), "datagrams")
    for kind in ("send", "recv"):
        c.equal(run("/net/netload %s %s %d %d" % (kind, host, PORT, mib), 120).split()[0], str(mib << 20), "bytes of the stream")


def from_host(c, address, flows, datagrams, port=PORT):
    ok, text = load("flows", address, port, flows, FLOW_BYTES)
    c.true(ok and text.split()[0] == str(flows * FLOW_BYTES), "%d flows into the guest" % flows, text)
    ok, text = load("datagrams", address, port, datagrams)
    c.true(ok and text.split()[0] == str(datagrams), "%d datagrams into the guest" % datagrams, text)


def serve_in_guest(m):
    m.console.run("/net/netload serve 0.0.0.0 %d > /tmp/ready & until [ -s /tmp/ready ]; do usleep 20000; done" % PORT)


def no_complaints(c, m):
    log = m.console.run("dmesg -r | grep -iE 'virtio|eth[0-9]'; true")
    c.true(not re.search(r"(?i)(virtio|eth\d).*(fail|error|warn|hang|timed out)", log), "complaints", log)


def need(c):
    if not may():
        c.skip("no root, or no /dev/net/tun")
    Namespace()
    return linux_guest(c)


@case("tap between two namespaces: 1000 connections each way, datagrams, streams; all bytes arrive, each where it belongs")
def _(c):
    linux = need(c)
    there = Namespace(enter=False)
    with there:
        fd = open_tap("flows")
        configure("flows", "10.9.0.1")
    with Machine(c) as m:
        def plug():
            m.qmp.command("getfd", fds=[fd], fdname="tap")
            os.close(fd)
            m("netdev_add", type="tap", id="h", fd="tap")
            m("device_add", driver="virtio-net-pci", id="n", netdev="h")
        with there, server("10.9.0.1", PORT):
            boot(m, linux, plug, "10.9.0.2")
            from_guest(c, m, "10.9.0.1", 1000, 1500, 512 if LONG else 64)
            serve_in_guest(m)
            from_host(c, "10.9.0.2", 1000, 1500)
        no_complaints(c, m)
        power_off(m)


FLOWS = 1000 if LONG else 300


@case("user network: %d connections each way, datagrams, streams; all bytes arrive, each where it belongs" % FLOWS)
def _(c):
    linux = need(c)
    with Machine(c) as m:
        def plug():
            m.qmp.call("netdev_add", {"type": "user", "id": "u", "hostfwd": [{"str": "%s:127.0.0.1:7777-:%d" % (p, PORT)} for p in ("tcp", "udp")]})
            m("device_add", driver="virtio-net-pci", id="n", netdev="u")
        with server("127.0.0.1", PORT):
            boot(m, linux, plug, "10.0.2.15")
            from_guest(c, m, "10.0.2.2", FLOWS, 1000, 128 if LONG else 16)
            serve_in_guest(m)
            from_host(c, "127.0.0.1", FLOWS, 1000, 7777)
        no_complaints(c, m)
        power_off(m)


main()

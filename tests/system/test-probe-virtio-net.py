#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Virtio network cards, consoles and balloons, and all devices by their pins, driven by the probe guest on KVM: what the guest says it
saw, against QMP, the frames at the other end of a tap, and the bytes of sockets."""

import ctypes
import fcntl

from driven import *

# ---- the network

CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR, IFF_MULTI_QUEUE = 0x400454CA, 2, 0x1000, 0x4000, 0x100
SIOCSIFFLAGS = 0x8914
MAC = "52:54:00:12:34:56"
RAW_MAC = bytes.fromhex(MAC.replace(":", ""))
OTHER = bytes.fromhex("020000000001")
BROADCAST = b"\xff" * 6
# What a feature needs to be there as well (5.1.3.1): who does without the second does without the first.
CSUM, GUEST_CSUM, CTRL_VQ = 0, 1, 17
NEEDS = {2: CTRL_VQ, 7: GUEST_CSUM, 8: GUEST_CSUM, 9: GUEST_CSUM, 11: CSUM, 12: CSUM, 13: CSUM, 18: CTRL_VQ, 19: CTRL_VQ, 20: CTRL_VQ, 21: CTRL_VQ,
         22: CTRL_VQ, 23: CTRL_VQ}
TYPE = b"\x88\xb5"  # for experiments (IEEE 802)


def check_arp(c, n):
    """The gateway of the `user` back end answers."""
    n("fill")
    ask = BROADCAST + RAW_MAC + bytes.fromhex("0806" "0001080006040001") + RAW_MAC + bytes((10, 0, 2, 15)) + bytes(6) + bytes((10, 0, 2, 2))
    c.equal(n("send", data=ask.hex())["frames"], 1, "frames sent")
    frame = bytes.fromhex(n("receive").text["data"])
    c.equal((frame[12:14].hex(), frame[20:22].hex(), frame[28:32], frame[32:38]), ("0806", "0002", bytes((10, 0, 2, 2)), RAW_MAC),
            "protocol, operation, who answers, to whom")
    return frame[6:12]


def internet_checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ping_frame(gateway, number, size):
    """An echo request to 10.0.2.2."""
    body = struct.pack("!BBHHH", 8, 0, 0, 77, number) + bytes(i & 255 for i in range(size))
    body = body[:2] + struct.pack("!H", internet_checksum(body)) + body[4:]
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), number, 0, 64, 1, 0, bytes((10, 0, 2, 15)), bytes((10, 0, 2, 2)))
    head = head[:10] + struct.pack("!H", internet_checksum(head)) + head[12:]
    return gateway + RAW_MAC + b"\x08\x00" + head + body


@case("network, `user` back end: ARP and pings by each mode and ring, the link, resets at every step")
def _(c):
    def plug(m):
        for id, packed in (("split", False), ("packed", True)):
            m("netdev_add", type="user", id="u-" + id)
            m("device_add", driver="virtio-net-pci", id=id, netdev="u-" + id, mac=MAC if packed else "52:54:00:12:34:56", packed=packed)
    with Driven(c, plug) as g:
        for id in ("split", "packed"):
            n = g.device(id)
            for mode in MODES:
                line = n.open(mode=mode)
                c.equal(bytes.fromhex(line.text["data"])[:6], RAW_MAC, "the address in the configuration")
                gateway = check_arp(c, n)
                for number in range(3):  # more than the four buffers, with the ARP
                    frame = ping_frame(gateway, number, 40)
                    n("send", data=frame.hex())
                    answer = bytes.fromhex(n("receive").text["data"])
                    c.equal((answer[:6], answer[34], answer[38:]), (RAW_MAC, 0, frame[38:]), "the answer to the ping")
                count = n.interrupts()
                c.true(min(count[:2]) > 0 if mode == "msix" else max(count) == 0, "interrupts with mode=" + mode, count)
            for mode in ("poll", "msix"):
                n.open(mode=mode)
                for up in (False, True):
                    g.m("set_link", name=id, up=up)
                    line = n("await")
                    c.equal(config(line, "H", 6) & 1, int(up), "the link in the configuration")
            n.steps("mode=msix")
        n.open(without=1 << CTRL_VQ, opened=0)


def own_network():
    """This process and its daemons get a network namespace of their own."""
    if os.geteuid() != 0 or not os.path.exists("/dev/net/tun"):
        return False
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        return False
    # No frames but the test's.
    for name in ("all", "default"):
        with contextlib.suppress(FileNotFoundError), open("/proc/sys/net/ipv6/conf/%s/disable_ipv6" % name, "w") as f:
            f.write("1")
    return True


HAVE_NETWORK = own_network()


def need_network(c):
    if not HAVE_NETWORK:
        c.skip("no network namespace or no /dev/net/tun")


class Tap:
    """The other end of a tap: whole frames in both directions."""

    def __init__(self, name):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sH14x", name.encode(), 0x41))
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5))
        self.socket.bind((name, 0x88B5))
        self.socket.settimeout(20 * PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.socket.close()

    def send(self, frame):
        self.socket.send(frame)

    def receive(self):
        """The next frame that the guest sent."""
        while True:
            frame, (_, _, kind, _, _) = self.socket.recvfrom(70000)
            if kind != 4:  # PACKET_OUTGOING: our own
                return frame


def counting(head, size):
    """What the guest's `send` makes of it (virtio-net.c)."""
    return head + bytes(i & 255 for i in range(len(head), size))


def add_tap(m, id, queues=1, **props):
    m("netdev_add", type="tap", id="h-" + id, ifname="t" + id, queues=queues)
    m("device_add", driver="virtio-net-pci", id=id, netdev="h-" + id, mac=MAC, **props)


def check_frames(c, n, tap, pair=0, sizes=(60, 1514)):
    for size in sizes:
        head = OTHER + RAW_MAC + TYPE + bytes((pair, size & 255))
        n("send", data=head.hex(), len=size, pair=pair)
        c.equal(tap.receive(), counting(head, size), "the frame of %d bytes that the guest sent by pair %d" % (size, pair))


def check_received(c, n, tap, frame, buffers=1, pair=0):
    tap.send(frame)
    line = n("receive", pair=pair)
    c.equal((line["len"], line["sum"], line["buffers"]), (len(frame), sum(frame), buffers), "length, sum and buffers of a received frame")
    c.equal(bytes.fromhex(line.text["data"]), frame[:128], "its bytes")


@case("network, tap: frames both ways, bytes compared; mergeable buffers; a guest without buffers")
def _(c):
    need_network(c)

    def plug(m):
        add_tap(m, "split")
        add_tap(m, "packed", packed=True)
    with Driven(c, plug) as g:
        for id in ("split", "packed"):
            n = g.device(id)
            with Tap("t" + id) as tap:
                for mode, words in (("poll", ""), ("msix", "indirect"), ("msix", "without=%#x" % (1 << EVENT_IDX | 1 << 15))):
                    n.open(words, mode=mode)
                    n("fill")
                    check_frames(c, n, tap)
                    for i in range(6):  # round the four buffers
                        check_received(c, n, tap, RAW_MAC + OTHER + TYPE + bytes(46 + i * 200) + bytes((i,)))
                n.open(mode="msix")
                n("fill", len=256)
                # With the header of 12 bytes.
                frame = RAW_MAC + OTHER + TYPE + os.urandom(700)
                check_received(c, n, tap, frame, -(-(12 + len(frame)) // 256))
                n.open(mode="msix")
                tap.send(RAW_MAC + OTHER + TYPE + b"early" + bytes(50))
                n("fill")
                c.equal(bytes.fromhex(n("receive").text["data"])[14:19], b"early", "a frame from before there were buffers")


@case("network, tap: each feature off, each alone with what it needs, and what the driver may not choose")
def _(c):
    need_network(c)
    with Driven(c, lambda m: add_tap(m, "n")) as g, Tap("tn") as tap:
        n = g.device("n")
        offered = n.offered
        for bit in [b for b in range(64) if offered >> b & 1 and b != 32]:
            needing = sum(1 << b for b, other in NEEDS.items() if other == bit)
            if needing & offered:
                c.equal(n.open(without=1 << bit, opened=0)["device"] & 8, 0, "FEATURES_OK without feature %d" % bit)
            for words in ("without=%#x" % (1 << bit | needing), "only=%#x" % (1 << 32 | 1 << bit | 1 << NEEDS.get(bit, 32))):
                if "only" in words and (not LONG or bit in (9, 13)):
                    continue  # ECN needs TSO as well
                n.open("brief " + words)
                n("fill")
                check_frames(c, n, tap, sizes=(60,))
                check_received(c, n, tap, RAW_MAC + OTHER + TYPE + bytes((bit,)) * 60)


@case("network, tap: the control queue: receive modes, addresses, VLANs, offloads, what it refuses")
def _(c):
    need_network(c)
    RX, MACS, VLAN, OFFLOADS = 0, 1, 2, 5
    with Driven(c, lambda m: add_tap(m, "n")) as g, Tap("tn") as tap:
        n = g.device("n")
        n.open(mode="msix")
        n("fill")

        def ctrl(of, command, data=b"", ack=0):
            line = n("ctrl", "class=%d command=%d%s" % (of, command, " data=" + data.hex() if data else ""))
            c.equal(line["ack"], ack, "the answer to class %d, command %d with %s" % (of, command, data.hex()))

        def filter_says(**want):
            info = g.m.qmp.call("query-rx-filter", {"name": "n"})[0]
            c.equal({k: info[k.replace("_", "-")] for k in want}, want, "query-rx-filter")

        def passes(*frames):
            """Which of them come through: a marker to our address ends the list."""
            marker = RAW_MAC + OTHER + TYPE + b"end" + bytes(60)
            for i, (to, tag) in enumerate(frames):
                tap.send(to + OTHER + tag + TYPE + bytes((i,)) * 60)
            tap.send(marker)
            got = []
            while True:
                data = bytes.fromhex(n("receive").text["data"])
                if data[14:17] == b"end":
                    return got
                got.append((data[:6], data[12:16] if data[12:14] == b"\x81\x00" else b""))

        group, stranger, mine = bytes.fromhex("01005e000005"), bytes.fromhex("520000000009"), bytes.fromhex("525400aabbcc")
        tagged = [(RAW_MAC, b"\x81\x00" + struct.pack("!H", 5)), (RAW_MAC, b"\x81\x00" + struct.pack("!H", 6))]
        all_frames = [(RAW_MAC, b""), (BROADCAST, b""), (group, b""), (stranger, b""), (mine, b"")]
        c.equal(passes(*all_frames), all_frames, "frames that come while promiscuous")
        ctrl(RX, 0, b"\0")
        filter_says(promiscuous=False)
        c.equal(passes(*all_frames, *tagged), all_frames[:2], "own address and broadcast, without a VLAN")
        ctrl(RX, 1, b"\1")
        c.equal(passes(*all_frames), all_frames[:3], "with all multicast")
        ctrl(RX, 1, b"\0")
        ctrl(RX, 2, b"\1")
        c.equal(passes(*all_frames), all_frames[:2] + all_frames[3:], "with all unicast")
        ctrl(RX, 2, b"\0")
        ctrl(MACS, 0, struct.pack("<I", 1) + mine + struct.pack("<I", 1) + group)
        c.equal(passes(*all_frames), all_frames[:3] + all_frames[4:], "with a table of addresses")
        ctrl(MACS, 0, struct.pack("<II", 0, 0))
        ctrl(RX, 5, b"\1")
        c.equal(passes(*all_frames), all_frames[:1], "without broadcasts")
        ctrl(RX, 5, b"\0")
        ctrl(VLAN, 0, struct.pack("<H", 5))
        c.equal(passes(*tagged), tagged[:1], "with VLAN 5")
        ctrl(VLAN, 1, struct.pack("<H", 5))
        c.equal(passes(*tagged), [], "without VLAN 5 again")
        ctrl(RX, 0, b"\1")
        ctrl(MACS, 1, mine)
        filter_says(main_mac="52:54:00:aa:bb:cc")
        ctrl(MACS, 1, RAW_MAC)
        ctrl(OFFLOADS, 0, struct.pack("<Q", 0))
        ctrl(OFFLOADS, 0, struct.pack("<Q", 1 << 40), 1)
        for of, command, data in ((RX, 99, b"\1"), (RX, 0, b""), (MACS, 1, b"short"), (VLAN, 0, struct.pack("<H", 4096)), (4, 0, b"\1\0"), (99, 0, b"\1")):
            ctrl(of, command, data, 1)
        check_frames(c, n, tap)


@case("network, tap: 1 to 64 pairs of queues; queues are reset and set up again")
def _(c):
    need_network(c)

    def plug(m):
        add_tap(m, "n", queues=64, mq=True)
    with Driven(c, plug) as g, Tap("tn") as tap:
        n = g.device("n")
        for pairs in (1, 2, 64):
            line = n.open(mode="msix", size=4)
            c.equal((line["queues"], config(line, "H", 8)), (129, 64), "queues and pairs")
            n("fill", len=128)
            c.equal(n("ctrl", "class=4 command=0 data=" + struct.pack("<H", pairs).hex())["ack"], 0, "%d pairs" % pairs)
            for pair in sorted({0, pairs // 2, pairs - 1}):
                check_frames(c, n, tap, pair, (60,))
        for pairs in (0, 65):
            c.equal(n("ctrl", "class=4 command=0 data=" + struct.pack("<H", pairs).hex())["ack"], 1, "%d pairs" % pairs)
        n("queue-reset", queue=1)
        check_frames(c, n, tap, 0, (60,))


# ---- consoles

READY, PORT_ADD, PORT_READY, CONSOLE, OPEN, NAME = 0, 1, 3, 4, 6, 7


def add_hub(m, id, ports, **props):
    """A property's name with an underscore: not by Machine's way with names."""
    m.qmp.call("device_add", dict(props, driver="virtio-serial-pci", id=id, max_ports=ports))


def listen(m, id):
    m("chardev-add", id=id, backend={"type": "socket", "data": {
        "addr": {"type": "unix", "data": {"path": m.path(id)}}, "server": True, "wait": False}})


def connect(m, id):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(m.path(id))
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


def check_hello(c, s, ports):
    """The driver says it is there, and hears of PORTS."""
    s("fill")
    s("say", event=READY)
    if ports:
        heard = s.lines("hear", n=len(ports))
        c.equal([(l["port"], l["event"]) for l in heard], [(p, PORT_ADD) for p in ports], "ports that the driver is told of")


def come_up(c, s, mode, words=""):
    s.open(words, mode=mode)
    check_hello(c, s, [0, 1])
    s("say", port=0, event=PORT_READY)
    heard = s.lines("hear", n=1)
    c.equal((heard[0]["port"], heard[0]["event"]), (0, CONSOLE), "what the driver is told of the console")
    s("say", port=1, event=PORT_READY)
    heard = s.lines("hear", n=1)
    c.equal((heard[0]["port"], heard[0]["event"], heard[0]["name"]), (1, NAME, "org.test.0"), "what it is told of the channel")


@case("consoles: control messages, bytes both ways on a console and a named channel, by each mode and ring")
def _(c):
    def plug(m):
        for id, packed in (("split", False), ("packed", True)):
            add_hub(m, id, 3, packed=packed)
            for kind, name in (("con", {}), ("chan", {"name": "org.test.0"})):
                listen(m, kind + "-" + id)
                m("device_add", driver="virtconsole" if kind == "con" else "virtserialport", id=kind + "-" + id, bus=id + ".0",
                  chardev=kind + "-" + id, **name)
    with Driven(c, plug) as g:
        m = g.m
        for id in ("split", "packed"):
            s = g.device(id)
            with contextlib.ExitStack() as stack:
                for mode, words in (("poll", ""), ("msix", "")) if id == "split" else (("msix", "indirect"), ("quiet", "")):
                    come_up(c, s, mode, words)
                    for port, kind in enumerate(("con", "chan")):
                        sock = connect(m, kind + "-" + id)
                        heard = s.lines("hear", n=1)
                        c.equal([(l["port"], l["event"], l["value"]) for l in heard], [(port, OPEN, 1)], "the client is there")
                        s("say", port=port, event=OPEN)
                        data = ("%s-%s-%s " % (id, mode, kind)).encode()
                        s("write", port=port, data=data.hex(), n=6)
                        c.equal(receive(sock, 6 * len(data)), 6 * data, "what the guest wrote")
                        text = os.urandom(300)
                        sock.sendall(text)
                        read = b"".join(bytes.fromhex(l.text["data"]) for l in s.lines("read", port=port, n=300))
                        c.equal(read, text, "what the guest read")
                        s("say", port=port, event=OPEN, value=0)
                        sock.close()
                        heard = s.lines("hear", n=1)
                        c.equal([(l["port"], l["event"], l["value"]) for l in heard], [(port, OPEN, 0)], "the client is gone")
                s.steps("mode=msix")


@case("consoles: the emergency write, and a driver that knows no ports")
def _(c):
    def plug(m):
        add_hub(m, "s", 2)
        listen(m, "con")
        m("device_add", driver="virtconsole", id="con", bus="s.0", chardev="con")
    with Driven(c, plug) as g:
        s = g.device("s")
        sock = connect(g.m, "con")
        s.open()
        s("emergency", data=b"help\n".hex())
        c.equal(receive(sock, 5), b"help\n", "the emergency write")
        for without in (1 << 1, 1 << 2, 1 << RING_RESET, 1 << 28, 1 << 29):
            s.open(without=without, mode="msix")
            s("fill")
            if without == 1 << 1:
                s("write", data=b"plain".hex())
                c.equal(receive(sock, 5), b"plain", "what the guest wrote")
                sock.sendall(b"back")
                c.equal(bytes.fromhex(s("read", n=4).text["data"]), b"back", "what the guest read")
        sock.close()


# ---- the balloon

def check_balloon(c, b):
    c.equal(b("inflate", n=8)["actual"], 8, "pages in the balloon")
    line = b("deflate", n=8)
    c.equal((line["actual"], line["zeroed"]), (0, 8), "pages, and those that the host had taken")


@case("balloon: pages go and come, statistics, reports, hints, targets, resets")
def _(c):
    def plug(m):
        m("device_add", driver="virtio-balloon-pci", id="b", **{"free-page-reporting": True, "free-page-hint": True, "packed": True})
    with Driven(c, plug) as g:
        b = g.device("b")
        for mode in MODES:
            b.open(mode=mode)
            check_balloon(c, b)
        for mode in ("poll", "msix"):
            b.open(mode=mode)
            g.m("balloon", value=192 * MIB)
            line = b("await")
            c.equal(config(line, "I", 0), 64 * MIB // 4096, "pages that the host wants")
            b("inflate", n=300)
            c.equal(g.m("query-balloon")["actual"], 256 * MIB - 300 * 4096, "query-balloon")
            g.m.wait("BALLOON_CHANGE", actual=256 * MIB - 300 * 4096)
            b("deflate", n=300)
            g.m("balloon", value=256 * MIB)
            b("await")
        b.open(mode="msix")
        b("stats", n=6, base=5000)
        g.m("qom-set", path="/machine/peripheral/b", property="guest-stats-polling-interval", value=1)
        c.equal(b("answer", n=6, base=7000)["status"], "ok", "the question")
        c.equal(b("answer", n=6, base=9000)["status"], "ok", "the next one")
        g.m("qom-set", path="/machine/peripheral/b", property="guest-stats-polling-interval", value=0)
        stats = g.m("qom-get", path="/machine/peripheral/b", property="guest-stats")["stats"]
        c.true(stats["stat-swap-in"] in (7000, 9000) and stats["stat-total-memory"] == stats["stat-swap-in"] + 5, "statistics", stats)
        line = b("report", n=8)
        c.equal(line["zeroed"], 8, "reported pages that the host has taken")
        b.steps("mode=msix")
        offered = b.offered
        for bit in [x for x in range(64) if offered >> x & 1 and x != 32]:
            b.open("brief", without=1 << bit, mode="msix")
            check_balloon(c, b)


# ---- without MSI-X

@case("no MSI-X at all: every device interrupts by its pin, on pcie.0 and behind a port")
def _(c):
    def plug(m):
        m("device_add", driver="pcie-root-port", id="port")
        m("device_add", driver="pcie-root-port", id="port2")
        m("netdev_add", type="user", id="u")
        add_disk(m, "d", bus="port", vectors=0)
        m("device_add", driver="virtio-rng-pci", id="r", bus="port2", vectors=0)
        m("device_add", driver="virtio-net-pci", id="n", netdev="u", vectors=0)
        add_hub(m, "s", 2, vectors=0)
        m("device_add", driver="virtio-balloon-pci", id="b", vectors=0)
    with Driven(c, plug) as g:
        for id in "drnsb":
            driver = g.device(id)
            c.equal(driver.open(opened=0, mode="msix", good=True)["vectors"], 0, "vectors of " + id)
            driver.steps("mode=intx")
            driver.open(mode="intx")
            {"d": lambda: c.equal(driver("wrap", count=8)["bad_requests"], 0, "requests"),
             "r": lambda: c.equal(driver("wrap", count=8)["total"], 128, "random bytes"),
             "n": lambda: check_arp(c, driver),
             "s": lambda: check_hello(c, driver, []),
             "b": lambda: check_balloon(c, driver)}[id]()
            if id == "d":
                g.m("block_resize", node_name="node-d", size=16 * MIB)
                c.equal(driver("await")["interrupts"], 1, "interrupts of the resize")
            c.true(max(driver.interrupts()) > 0, "interrupts of " + id, driver.interrupts())


main()

#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What clients can do to the QMP socket, by malice or mistake: each gets a clear short answer, and nothing else happens."""
import json
import os
import random
import resource
import select
import socket
import subprocess
import sys
import tempfile
import time
sys.dont_write_bytecode = True
# pylint: disable=wrong-import-position
sys.setrecursionlimit(10000)  # for json, at the depth that the protocol allows
from blackbox import (DAEMON, MIB, PATIENCE, Client, Closed, Daemon, QmpError, Skip, build_machine, main, readable, test)  # noqa: E402

STATUS = b'{"execute":"query-status"}\n'


def one_error(c, data, *parts, kind="GenericError"):
    """DATA costs one short error, then the stream is in step."""
    c.send(data)
    text = c.error(kind=kind)
    for part in parts:
        assert part in text, f"{part!r} is not in {text!r} for {data[:80]!r}"
    c.in_step()


# ---- the text

@test
def broken_lines(d):
    with d.client() as c:
        for line in (b"rubbish", b"'", b'"', b"{]", b"[}", b"{,}", b'{"a"}', b'{"a":}', b'{"a":1,}', b'{"a":01}', b'{"a":+1}', b'{"a":.5}',
                     b'{"a":1.}', b'{"a":0x10}', b'{"a":1e}', b'{"a":NaN}', b'{"a":-}', b"{'a':1}", b'{"a":tru}', b'{"a":nulL}', b'{a:1}',
                     b'{"a":"\\x"}', b'{"a":"\\u12"}', b'{"a":"\\u12g4"}', b'{"a":"\t"}', b'{"a":"\x1f"}', b'{"a" 1}', b'{"a":1 "b":2}',
                     b"{/**/}", b"{#}", b"GET / HTTP/1.1", b"\x16\x03\x01\x02\x00\x01\x00", b"\x1b[2J", b"}", b"]", b",", b":", b"\xc3\x28",
                     b'{"execute":"query-status"}}', b'{"execute":"query-status"},'):
            c.send(line + b"\n")
            replies = []
            c.send(b'{"execute":"query-name","id":"end"}\n')
            while not replies or replies[-1].get("id") != "end":
                replies.append(c.reply())
            errors = [r for r in replies if "error" in r]
            assert len(errors) == 1, f"{line!r} cost {len(errors)} errors: {replies}"
            assert len(errors[0]["error"]["desc"]) <= 300, errors


@test
def not_a_command(d):
    with d.client() as c:
        for request, part in ((b"[]", "object"), (b"[1,2]", "object"), (b"1", "object"), (b'"x"', "object"), (b"null", "object"),
                              (b"true", "object"), (b"{}", "execute"), (b'{"execute":1}', "execute"), (b'{"execute":null}', "execute"),
                              (b'{"execute":[]}', "execute"), (b'{"execute":"stop","arguments":[]}', "arguments"),
                              (b'{"execute":"stop","arguments":null}', "arguments"), (b'{"execute":"stop","more":1}', "more"),
                              (b'{"exec-oob":"stop"}', "exec-oob"), (b'{"arguments":{}}', "execute")):
            one_error(c, request + b"\n", part)
        one_error(c, b'{"execute":""}', kind="CommandNotFound")
        one_error(c, b'{"execute":"no-such"}', "no-such", kind="CommandNotFound")
        one_error(c, b'{"execute":"query-status\\u0000"}', kind="CommandNotFound")
        one_error(c, b'{"execute":"QUERY-STATUS"}', kind="CommandNotFound")


@test
def duplicate_members(d):
    with d.client() as c:
        one_error(c, b'{"execute":"query-status","execute":"quit"}', "duplicate member 'execute'")
        one_error(c, b'{"execute":"query-status","\\u0065xecute":"quit"}', "duplicate member")
        one_error(c, b'{"execute":"query-status","id":1,"id":2}', "duplicate member 'id'")
        one_error(c, b'{"execute":"device_add","arguments":{"driver":"board","driver":"pc-dimm"}}', "duplicate member 'driver'")


@test
def strings(d):
    """Lone surrogates, NULs, bytes that are no UTF-8; and what is right comes back as it went."""
    with d.client() as c:
        for text in (b"\\ud800", b"\\udfff", b"\\udc00\\ud800", b"\\ud800\\ud800", b"\\ud83dx", b"\\ud83d\\u0041"):
            one_error(c, b'{"execute":"query-status","id":"' + text + b'"}', "surrogate")
        for text in (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\x80"):
            c.send(b'{"execute":"query-status","id":"' + text + b'"}\n')
            assert "error" in c.reply()
            c.send(b"\n")
            time.sleep(0)
            c.send(b'{"execute":"query-name","id":"end"}\n')
            while (r := c.reply()).get("id") != "end":
                assert "error" in r, r
        one_error(c, b'{"execute":"query-status","id":"a\0b"}\n')
        one_error(c, b'{"execute":"query-status",\0"id":1}\n')
        c.send(b'{"execute":"query-status","id":"a\\u0000b\\ud83d\\ude00\xf0\x9f\x98\x80"}')
        assert c.reply()["id"] == "a\0b\U0001f600\U0001f600"
        c.refused("chardev-remove", id="a\0b")
        c.refused("object-del", "not found", kind="DeviceNotFound", id="\U0001f600")


@test
def huge_numbers(d):
    with d.client() as c:
        for number in (b"1e400", b"-1e400", b"18446744073709551616", b"9" * 5000, b"-" + b"9" * 5000, b"1e" + b"9" * 5000, b"0." + b"1" * 5000):
            request = b'{"execute":"ringbuf-read","arguments":{"device":"con","size":' + number + b'}}\n'
            one_error(c, request, "size")
            c.send(b'{"execute":"query-name","id":' + number + b"}\n")  # an id is echoed whatever it is
            assert b'"id": ' + number + b"}" in c.line()
        for number in ("-1", "0", "9223372036854775807", "-9223372036854775808"):
            c.send(b'{"execute":"closefd","arguments":{"fdname":' + number.encode() + b"}}")
            assert "string" in c.error()
        c.refused("remove-fd", 2**63 - 1, fdset_id=2**63 - 1)


@test
def ids_of_every_type(d):
    with d.client() as c:
        for value in (None, True, False, 0, -1, 1.5, 2**64, "", "x" * 10000, "\u00e4\u20ac", [], [[], {}], {}, {"a": {"b": [1, None]}}):
            c.send(json.dumps({"execute": "query-name", "id": value}).encode())
            r = c.reply()
            assert "return" in r and "id" in r and r["id"] == value, r
            c.send(json.dumps({"id": value, "execute": "no-such"}).encode())
            r = c.reply()
            assert r["error"]["class"] == "CommandNotFound" and r["id"] == value, r
        c.send(b'{"execute":"query-name"}')
        assert "id" not in c.reply()
        c.send(b'{"id":"there","execute":"stop","junk":1}')
        assert c.reply()["id"] == "there"


@test
def depth(d):
    with d.client() as c:
        for n in (1025, 10000, 1 << 20):
            one_error(c, b'{"execute":"query-name","id":' + b"[" * n + b"]" * n + b"}\n", "1024")
            one_error(c, b'{"a":' * n + b"1" + b"}" * n + b"\n", "1024")
        n = 1000
        c.send(b'{"execute":"query-name","id":' + b"[" * n + b"]" * n + b"}\n")
        assert "return" in c.reply()
        one_error(c, b"[" * (1 << 20) + b"\n")  # never closed


@test
def tokens(d):
    with d.client() as c:
        one_error(c, b'{"execute":"query-name","id":[' + b"1," * (1 << 20) + b"1]}\n", "1048576")
        one_error(c, b'{"execute":"query-name","arguments":{' + b",".join(b'"a%d":1' % i for i in range(200000)) + b"}}\n")


@test
def megabytes(d):
    """1 MiB of anything costs little and one short answer; the bound of time is generous, QEMU takes 3 to 9 s."""
    shuffled = bytearray(random.Random(1).randbytes(MIB))
    for forbidden in b"\n\r\xff":
        shuffled = shuffled.replace(bytes([forbidden]), b"?")
    lines = {"noise": bytes(shuffled), "letters": b"x" * MIB, "brackets": b"[" * MIB, "braces": b'{"a":' * (MIB // 5),
             "digits": b"1" * MIB, "quotes": b"'" * MIB, "a string without end": b'{"execute":"' + b"x" * MIB,
             "backslashes": b'{"execute":"' + b"\\" * MIB, "spaces, then rubbish": b" " * MIB + b"x", "NULs": b"\0" * MIB}
    worst = (0, "")
    with d.client() as c:
        for name, line in lines.items():
            began = time.monotonic()
            c.send(line + b"\n")
            c.error()
            worst = max(worst, (time.monotonic() - began, name))
            c.in_step()
        for request, kind in ((b'{"execute":"%s"}', "CommandNotFound"), (b'{"%s":1}', "GenericError"),
                              (b'{"execute":"object-del","arguments":{"id":"%s"}}', "DeviceNotFound"),
                              (b'{"execute":"object-del","arguments":{"%s":1}}', "GenericError"),
                              (b'{"execute":"qom-list","arguments":{"path":"%s"}}', "DeviceNotFound"),
                              (b'{"execute":"device_add","arguments":{"driver":"%s"}}', "GenericError"),
                              (b'{"execute":"device_add","arguments":{"driver":"isa-serial","id":"%s"}}', "GenericError"),
                              (b'{"execute":"set-action","arguments":{"reboot":"%s"}}', "GenericError"),
                              (b'{"execute":"closefd","arguments":{"fdname":"%s"}}', "GenericError")):
            began = time.monotonic()
            for text in (b"x" * MIB, "\u20ac".encode() * (MIB // 3), b"\\u0001" * (MIB // 6), b"\\n" * (MIB // 2)):
                c.send(request % text)
                desc = c.error(kind=kind)
                assert len(desc.encode()) <= 400, f"{len(desc)} bytes: {desc}"
            worst = max(worst, ((time.monotonic() - began) / 4, request.decode()))
            c.in_step()
        c.send(b'{"execute":"query-name","id":"' + b"y" * MIB + b'"}')
        assert c.reply()["id"] == "y" * MIB
    assert worst[0] < 2 * PATIENCE, worst
    return "slowest: %.4f s, %s" % worst


@test
def larger_than_allowed(d):
    """64 MiB of one message: one error; what follows is read again."""
    with d.client() as c:
        piece = b"x" * MIB
        c.send(b'{"execute":"query-name","id":"')
        for _ in range(65):
            c.send(piece)
        c.send(b'"}\n')
        assert "67108864" in c.error(60)
        c.in_step()


@test
def split_at_every_byte(d):
    script = ('{"execute":"query-name","id":"\u00e4\\ud83d\\ude00\\\\\\""}\r\n \t[1]\n{"execute":"no-such","id":[1.5e3,-7,null,true,{"a":"}{"}]}'
              '{"execute":"query-status","id":12}rubbish "\n{"execute":"query-name","id":13}').encode()

    def collect(pieces, wait):
        with d.client() as c:
            for piece in pieces:
                c.send(piece)
                if wait:
                    c.drained()
            got = []
            while True:
                r = c.reply()
                got.append((r.get("id"), r.get("return", r.get("error"))))
                if r.get("id") == 13:
                    return got

    whole = collect([script], False)
    assert len(whole) == 6, whole
    for i in range(1, len(script)):
        split = collect([script[:i], script[i:]], True)
        assert split == whole, f"split at {i}: {split}\nwhole: {whole}"
    single = collect([bytes([b]) for b in script], True)
    assert single == whole, f"byte by byte: {single}"


@test
def resynchronisation(d):
    """0xff ends whatever was begun, without an answer of its own."""
    with d.client() as c:
        for begun in (b"", b"{", b'{"execute":"query-st', b'{"execute":"query-status","id":"\\', b'{"a":[[[[{"b":', b'{"execute":1', b"12", b'"x'):
            c.send(begun + b"\xff" + b'{"execute":"query-name","id":"sync"}\n')
            got = [c.reply()]
            while got[-1].get("id") != "sync":
                got.append(c.reply())
            assert len(got) <= 2 and "return" in got[-1], f"{begun!r}: {got}"
        c.send(b"\xff" * 100000)
        c.in_step()
        c.send((b"\xff" + STATUS) * 100)
        errors = [r for r in (c.reply() for _ in range(100)) if "return" not in r]
        assert not errors, errors


@test
def a_hundred_random_streams(d):
    """Valid commands with bytes changed, removed and doubled: after 0xff and a line end the next command is answered."""
    seed = int(os.environ.get("TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
    print(f"# TEST_SEED={seed}", flush=True)
    r = random.Random(seed)
    texts = [STATUS, b'{"execute":"qom-list","arguments":{"path":"/machine"},"id":[1,{"a":"b\\u00e4"}]}\r\n',
             b'{"execute":"machine-config-load","arguments":{"config":{"devices":[{"driver":"isa-serial","id":"zz"}]},"dry-run":true}}\n',
             b'{"execute":"query-machine-config","arguments":{"resolved":false}}\n']
    with d.client() as c:
        for _ in range(100):
            data = bytearray(b"".join(r.choice(texts) for _ in range(10)))
            for _ in range(r.randrange(1, 6)):
                at = r.randrange(len(data))
                data[at:at + r.randrange(3)] = r.randbytes(r.randrange(3))
            data = bytes(data).replace(b"quit", b"QUIT")
            c.send(data + b'\xff\n{"execute":"query-name","id":"sync"}\n')
            while (m := c.reply()).get("id") != "sync":
                assert "return" in m or len(m["error"]["desc"]) < 700, m


# ---- sessions

@test
def negotiation(d):
    with d.client(negotiate=False) as c:
        assert c.greeting["QMP"]["capabilities"] == ["oob"], c.greeting
        for request in (STATUS, b'{"execute":"no-such"}', b'{"execute":"quit"}'):
            c.send(request)
            assert "negotiation" in c.error(kind="CommandNotFound")
        c.refused("qmp_capabilities", "no-such", enable=["no-such"])
        c.refused("qmp_capabilities", "unexpected", junk=1)
        c.call("qmp_capabilities")
        c.refused("qmp_capabilities", "already complete", kind="CommandNotFound")
        c.in_step()


@test
def out_of_band(d):
    with d.client(oob=True) as c:
        for _ in range(20):
            c.send(b'{"exec-oob":"query-status","id":1}')
            assert "OOB" in c.error()
        c.send(b'{"exec-oob":"no-such"}')
        c.error(kind="CommandNotFound")
        c.send(b'{"exec-oob":"query-status","execute":"query-status"}')
        assert "clashes" in c.error()
        c.send(b"".join(b'{"execute":"query-name","id":%d}' % i for i in range(1000)))
        assert [c.reply()["id"] for _ in range(1000)] == list(range(1000))
        c.send(b'rubbish\n{"execute":"query-name","id":"x"}{"exec-oob":"query-name","id":"y"}\n')
        got = [c.reply() for _ in range(3)]
        assert sorted(str(r.get("id")) for r in got) == ["None", "x", "y"], got
        order = [r.get("id") for r in got if r.get("id") != "y"]
        assert order == [None, "x"], got


@test
def no_events_before_negotiation(d):
    with d.client(negotiate=False) as early, d.client() as c:
        c.call("system_reset")
        c.wait_event("RESET")
        early.call("qmp_capabilities")
        early.in_step()
        assert not early.events, early.events


@test
def half_closed(d):
    """A client that has ended its sending still gets all replies."""
    c = d.client()
    c.send(b"".join(b'{"execute":"query-name","id":%d}' % i for i in range(500)))
    c.sock.shutdown(socket.SHUT_WR)
    assert [c.reply()["id"] for _ in range(500)] == list(range(500))
    try:
        c.line()
    except Closed:
        c.close()
        return
    raise AssertionError("the connection stays open")


@test
def ten_thousand_connections_in_waves(d):
    began = time.monotonic()
    for wave in range(20):
        clients = [d.client(negotiate=None) for _ in range(500)]
        for i, c in enumerate(clients):
            if i % 4 == 0:
                c.message()
            elif i % 4 == 1:
                c.send(b'{"execute":"qmp_capabilities"}{"execute":"query-st')
            elif i % 4 == 2:
                c.send(b'{"execute":"qmp_capabilities"}' + STATUS * 3)
        d.c.in_step()
        for c in clients if wave % 2 else reversed(clients):
            c.close()
    return f"{(time.monotonic() - began) / 10000 * 1e6:.0f} us each"


@test
def ten_thousand_connections_at_once(_d):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    n = min(10000, (hard if hard != resource.RLIM_INFINITY else 1 << 20) - 200)
    resource.setrlimit(resource.RLIMIT_NOFILE, (n + 200, hard))
    with Daemon(files=n + 100) as d:
        build_machine(d.c)
        before = d.vitals()
        clients = [d.client() for _ in range(n)]
        used = d.cpu_seconds()
        for c in (clients[0], clients[n // 2], clients[-1]):
            c.in_step()
        d.c.call("system_reset")
        for c in clients:
            c.wait_event("RESET")
        each = (d.rss() - before["rss"]) / n
        for c in clients:
            c.close()
        d.unchanged(before, memory=80 * MIB)
        used = d.cpu_seconds() - used
        assert each < 8192, f"{each} bytes a connection"
    return f"{n} connections, {each:.0f} bytes each, an event to all and their end {used:.2f} s of CPU"


@test
def more_connections_than_descriptors(_d):
    """Those beyond the limit wait in the queue of the socket, the daemon neither spins nor fails, and they are served in time."""
    with Daemon(files=100) as d:
        build_machine(d.c)
        before = d.vitals()
        clients = [d.client(negotiate=None) for _ in range(150)]
        d.c.in_step()
        used = d.cpu_seconds()
        time.sleep(0.5)  # what it does with its time while it can not accept
        used = d.cpu_seconds() - used
        assert used < 0.2, f"{used} s of CPU in half a second"
        d.c.in_step()
        d.c.refused("chardev-add", id="x", backend={"type": "file", "data": {"out": d.path("out")}})
        for c in clients[:75]:
            c.close()
        for c in clients[75:]:
            assert "QMP" in c.message()
        for c in clients:
            c.close()
        d.unchanged(before)
        d.c.call("chardev-add", id="x", backend={"type": "file", "data": {"out": d.path("out")}})


@test
def a_client_that_never_reads_its_replies(d):
    """It makes the daemon hold a bounded amount, and nobody else waits."""
    before = d.rss()
    with d.client() as c:
        c.sock.setblocking(False)
        sent, request = 0, b'{"execute":"query-qmp-schema"}\n' * 1000
        end = time.monotonic() + 3 * PATIENCE
        while time.monotonic() < end:
            try:
                sent += c.sock.send(request)
            except BlockingIOError:
                break
        worst = 0
        for _ in range(50):
            began = time.monotonic()
            d.c.in_step()
            worst = max(worst, time.monotonic() - began)
        grown = d.rss() - before
        assert grown < 16 * MIB, f"{grown >> 10} KiB for {sent} bytes of commands"
        assert worst < 1 * PATIENCE, worst
        c.sock.setblocking(True)
        used = d.cpu_seconds()
        time.sleep(0.2)
        assert d.cpu_seconds() - used < 0.1, "it spins on a client that does not read"
        for _ in range(3):  # and when the client does read, it goes on
            c.reply()
    return f"grown by {grown >> 10} KiB, slowest answer to another {worst * 1000:.1f} ms"


@test
def clients_that_never_read_their_events(_d):
    """They are disconnected when 16 MiB wait for them; memory is bounded, the machine and the others go on."""
    with Daemon() as d:  # an empty machine, whose reset is little more than the event
        before, deaf, peak, resets = d.rss(), [d.client() for _ in range(2)], 0, 0
        while not all(hung_up(c) for c in deaf):
            d.c.send(b'{"execute":"system_reset"}\n' * 2000)
            got, tail = 0, b""
            while got < 2000:
                data = tail + d.c.sock.recv(1 << 20)
                got += data.count(b'"return"')
                tail = data[-7:]
            assert tail.endswith(b"}}\r\n"[-4:]), tail
            resets += 2000
            peak = max(peak, d.rss() - before)
            assert resets < 500000, f"still connected after {resets} events; {peak >> 10} KiB"
        d.c.in_step()
        for c in deaf:
            c.close()
        assert peak < 2 * 16 * MIB + 16 * MIB, f"{peak >> 10} KiB"
        after = d.rss() - before
        assert after < 8 * MIB, f"{after >> 10} KiB are not given back"
    return f"gone after at most {resets} events, {peak >> 10} KiB, {after >> 10} KiB left"


def hung_up(c):
    """Whether the daemon has closed the other end, without reading what waits here."""
    p = select.poll()
    p.register(c.sock, 0)
    return any(flags & select.POLLHUP for _, flags in p.poll(0))


@test
def many_clients_that_never_read(d):
    before = d.rss()
    deaf = [d.client() for _ in range(50)]
    for c in deaf:
        c.sock.setblocking(False)
        try:
            for _ in range(200):
                c.sock.send(b'{"execute":"query-qmp-schema"}\n' * 10)
        except BlockingIOError:
            pass
    began = time.monotonic()
    for _ in range(20):
        d.c.in_step()
    waited = time.monotonic() - began
    grown = d.rss() - before
    for c in deaf:
        c.close()
    assert grown < 50 * MIB, f"{grown >> 10} KiB"
    assert waited < 5 * PATIENCE, waited
    return f"{grown >> 10} KiB for 50, {waited / 20 * 1000:.1f} ms an answer to another"


@test
def clients_that_vanish_with_work_waiting(d):
    for i in range(200):
        c = d.client(negotiate=None)
        c.send(b'{"execute":"qmp_capabilities"}' + b'{"execute":"query-machine-config","arguments":{"resolved":true}}' * (i % 40))
        c.close()
    d.c.in_step()


# ---- descriptors

def pipes(n):
    ends = [os.pipe() for _ in range(n)]
    return [r for r, _ in ends], [w for _, w in ends]


def close_all(*lists):
    for fds in lists:
        for fd in fds:
            os.close(fd)


@test
def descriptors(d):
    """Every descriptor that is not kept is closed: its pipe's other end tells."""
    reads, writes = pipes(1)
    with d.client() as c:
        c.refused("getfd", "SCM_RIGHTS", fdname="a")
        c.refused("add-fd", "SCM_RIGHTS")
        c.call("getfd", fds=writes, fdname="a")
        c.call("getfd", fds=writes, fdname="a")  # replaces
        c.refused("getfd", fds=writes, fdname="0a")  # a digit first is for numbers
        c.refused("getfd", "SCM_RIGHTS", fdname="b")
        got = c.call("add-fd", fds=writes, opaque="x")
        c.call("add-fd", fds=writes, fdset_id=got["fdset-id"])
        assert len(c.call("query-fdsets")[0]["fds"]) == 2
        c.refused("add-fd", "non-negative", fds=writes, fdset_id=-1)
        c.refused("remove-fd", got["fdset-id"], fdset_id=got["fdset-id"], fd=987654)
        c.refused("remove-fd", "77", fdset_id=77)
        c.call("remove-fd", fdset_id=got["fdset-id"])
        assert c.call("query-fdsets") == []
        c.call("closefd", fdname="a")
        c.refused("closefd", "'a'", fdname="a")
        c.call("query-name", fds=writes)  # nobody wants it
        c.send(b"rubbish\n", writes)
        c.error()
        c.call("getfd", fds=writes, fdname="left")  # goes with the session
    close_all(writes)
    gone(reads)


def gone(reads):
    """All copies of the other ends are closed."""
    for i, r in enumerate(reads):
        assert readable(r, 10 * PATIENCE), f"descriptor {i} is still open somewhere"
        assert os.read(r, 1) == b""
    close_all(reads)


@test
def too_many_descriptors(d):
    reads, writes = pipes(250)
    with d.client() as c:
        c.call("query-name", fds=writes)
        c.in_step()
        c.call("getfd", fds=writes, fdname="first")  # the first one; the others are closed
        c.in_step()
        c.send(b" " * 10, writes)
        c.send(b" ", writes)
        c.in_step()
        for _ in range(20):
            c.send(b" ", writes[:100])
            c.drained()
        fds = len(d.fds())
        assert fds < 400, f"{fds} descriptors"
        c.in_step()
    close_all(writes)
    gone(reads)


@test
def descriptors_split_from_their_command(d):
    """A descriptor that comes with any byte of a command belongs to it, and to no other."""
    reads, writes = pipes(1)
    request = b'{"execute":"getfd","arguments":{"fdname":"f"}}'
    with d.client() as c:
        for i in range(0, len(request) - 1, 3):
            c.send(request[:i] or b" ")
            c.send(request[i:i + 1], writes)
            c.send(request[i + 1:] if i else request[1:])
            assert "return" in c.reply(), i
            c.call("closefd", fdname="f")
        c.send(b'{"execute":"query-name"}', writes)
        c.reply()
        c.refused("getfd", "SCM_RIGHTS", fdname="f")
    close_all(writes)
    gone(reads)


@test
def descriptors_as_chardevs(d):
    """A chardev takes a named descriptor once; a failure closes it; a set's number is no path into the host's files."""
    reads, writes = pipes(2)
    with d.client() as c:
        # a pipe is no socket: refused or taken, nothing may leak
        c.call("getfd", fds=writes[:1], fdname="p")
        try:
            c.call("chardev-add", id="fdc", backend={"type": "socket", "data": {"addr": {"type": "fd", "data": {"str": "p"}}, "server": False}})
            c.call("chardev-remove", id="fdc")
        except QmpError as e:
            assert "fdc" in e.desc or "p" in e.desc, e
        c.refused("chardev-add", "none", id="fdc", backend={"type": "socket", "data": {"addr": {"type": "fd", "data": {"str": "none"}}}})
        for path in ("/dev/fdset/7", "/dev/fdset/x", "/dev/fdset/", "/dev/fdset/-1", "/dev/fdset/99999999999999999999"):
            c.refused("chardev-add", id="fdc", backend={"type": "file", "data": {"out": path}})
        set_id = c.call("add-fd", fds=writes[1:])["fdset-id"]
        c.call("chardev-add", id="fdc", backend={"type": "file", "data": {"out": f"/dev/fdset/{set_id}"}})
        c.call("chardev-remove", id="fdc")
        c.call("remove-fd", fdset_id=set_id)
        # by number: what was inherited and nobody has, never the daemon's own sockets, this session's among them
        for number in range(3, 40):
            c.refused("chardev-add", id="fdc", backend={"type": "socket", "data": {"addr": {"type": "fd", "data": {"str": str(number)}}, "server": False}})
        c.in_step()
    close_all(writes)
    gone(reads)


# ---- sockets

@test
def read_only_sockets(_d):
    directory = tempfile.mkdtemp(prefix="bb-", dir="/tmp")
    d = Daemon("--qmp", f"unix:{directory}/ro,readonly=on")
    try:
        build_machine(d.c)
        commands = {row["name"] for row in d.c.call("query-commands")}
        queries = {n for n in commands if n.startswith(("query-", "qom-list", "device-list")) or n in ("qom-get", "guest-abi-compare")}
        with Client(f"{directory}/ro") as c:
            before = d.view()
            refused = set()
            for name in sorted(commands):
                c.send(json.dumps({"execute": name}).encode())
                r = c.reply()
                if "read-only" in str(r.get("error")):
                    refused.add(name)
            assert refused == commands - queries - {"qmp_capabilities"}, refused ^ (commands - queries)
            assert c.call("query-status")["status"] == "prelaunch"
            d.c.call("system_reset")
            c.wait_event("RESET")
            r, w = os.pipe()
            c.refused("getfd", "read-only", fds=[w], fdname="x")
            os.close(w)
            gone([r])
            assert d.view() == before
        d.end()
    finally:
        d.kill()
        os.rmdir(directory)


def start(directory, *arguments, status):
    p = subprocess.run([DAEMON, "--name", "second", "--accel", "test", *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                       text=True, timeout=20 * PATIENCE, cwd=directory, check=False)
    assert p.returncode == status, f"status {p.returncode}: {p.stderr}"
    return p.stderr


@test
def a_second_daemon_on_a_live_socket(d):
    path = d.path("qmp")
    err = start(d.directory, "--qmp", "unix:" + path, status=1)
    assert path in err and "in use" in err and err.count("\n") == 1, err
    d.client().close()
    err = start(d.directory, "--qmp", "unix:" + d.path("log"), status=1)
    assert d.path("log") in err and "not a socket" in err, err


@test
def a_stale_socket_is_taken_over(_d):
    d = Daemon()
    directory = d.directory
    d.own = False
    d.process.kill()
    d.kill()
    assert os.path.exists(directory + "/qmp"), "kill -9 leaves the socket"
    with Daemon(directory=directory) as d:
        d.c.in_step()
        assert os.stat(directory + "/qmp").st_mode & 0o777 == 0o600
    assert sorted(os.listdir(directory)) == ["log"], os.listdir(directory)
    os.unlink(directory + "/log")
    os.rmdir(directory)


@test
def paths_of_sockets(_d):
    with tempfile.TemporaryDirectory(prefix="bb-", dir="/tmp") as t:
        long = os.path.join(t, "x" * (107 - len(t) - 1))
        assert len(long) == 107
        d = Daemon("--qmp", "unix:" + long)
        Client(long).close()
        d.end()
        err = start(t, "--qmp", "unix:" + long + "y", status=1)
        assert "108 bytes" in err and "107" in err, err
        err = start(t, "--qmp", "unix:" + t + "/no/such", status=1)
        assert t + "/no/such" in err and "No such file" in err, err
        err = start(t, "--qmp", "unix:", status=1)
        assert "empty" in err, err
        for spec in ("tcp:1.2.3.4:5", "unix:a,server=maybe", "unix:a,readonly=2", "unix:a,b=c", "unix:a,readonly", "fd:99", "fd:none", "fd:-1", "fd:", ""):
            err = start(t, "--qmp", spec, status=1)
            assert err.startswith("backplaned: ") and err.count("\n") == 1, (spec, err)
            assert spec.split(",")[-1] in err or spec.partition(":")[2] in err, (spec, err)
        assert os.listdir(t) == [], os.listdir(t)


@test
def the_daemon_connects(_d):
    """server=off: it connects to who waits for it, greets, and goes on when that ends."""
    with tempfile.TemporaryDirectory(prefix="bb-", dir="/tmp") as t, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(t + "/wait")
        server.listen()
        with Daemon("--qmp", f"unix:{t}/wait,server=off") as d:
            server.settimeout(10 * PATIENCE)
            peer = server.accept()[0]
            peer.settimeout(None)
            with Client(sock=peer) as c:
                c.in_step()
            d.c.in_step()
            assert d.process.poll() is None
        err = start(t, "--qmp", f"unix:{t}/nobody,server=off", status=1)
        assert t + "/nobody" in err, err


@test
def inherited_descriptors(_d):
    """fd:N as a listener, which accepts again after a client has left, and as a connection."""
    with tempfile.TemporaryDirectory(prefix="bb-", dir="/tmp") as t, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(t + "/l")
        listener.listen()
        ours, theirs = socket.socketpair()
        p = subprocess.Popen([DAEMON, "--name", "fd", "--accel", "test", "--qmp", f"fd:{listener.fileno()}", "--qmp", f"fd:{theirs.fileno()}"],
                             pass_fds=[listener.fileno(), theirs.fileno()], stderr=subprocess.DEVNULL)
        theirs.close()
        with Client(sock=ours) as c:
            for _ in range(3):
                with Client(t + "/l") as other:
                    other.in_step()
            c.in_step()
        with Client(t + "/l") as c:
            c.call("quit")
        assert p.wait(10 * PATIENCE) == 0
        assert os.path.exists(t + "/l"), "an inherited socket's path is its maker's"


@test
def another_user(d):
    """Only root and the daemon's own user may speak to it, whatever the socket's mode was changed to."""
    if os.geteuid() != 0:
        raise Skip("needs root, to become somebody else")
    os.chmod(d.directory, 0o755)
    os.chmod(d.path("qmp"), 0o777)
    program = ("import os,socket,sys\nos.setgid(65534);os.setuid(65534)\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n"
               "d=b''\nwhile 1:\n x=s.recv(9999)\n if not x: break\n d+=x\nprint(d.decode())")
    p = subprocess.run([sys.executable, "-c", program, d.path("qmp")], capture_output=True, text=True, timeout=20, check=False)
    os.chmod(d.path("qmp"), 0o600)
    assert p.returncode == 0, p.stderr
    assert json.loads(p.stdout)["error"]["desc"].startswith("User 65534, group 65534"), p.stdout


def shared():
    d = Daemon()
    build_machine(d.c)
    d.c.call("cont")
    return d


if __name__ == "__main__":
    sys.exit(main(shared, guard=True))

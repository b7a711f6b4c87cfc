#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""PCI, virtio disks and random numbers, driven by the probe guest on KVM: what the guest says it saw, against what was configured over
QMP and against the bytes in files."""

from driven import *


def check_transfers(c, m, d, name, seed):
    """Whole requests and pieces; the host has what the guest wrote and the guest reads what the host wrote."""
    for n, pieces in ((1, 1), (16, 6)):
        c.equal(d("write", sector=8, n=n, seed=seed, pieces=pieces)["result"], 0, "writing")
        c.equal(on_disk(m, name, 8, n), b"".join(sector_bytes(seed, 8 + i) for i in range(n)), "the file")
        line = d("read", sector=8, n=n, seed=seed, pieces=pieces)
        c.equal((line["result"], line["data"], line["len"]), (0, "same", n * SECTOR + 1), "reading")
    with open(m.path(name), "r+b") as f:
        f.seek(100 * SECTOR)
        f.write(sector_bytes(seed + 1, 100))
    c.equal(d("read", sector=100, seed=seed + 1)["data"], "same", "what the host wrote")


def check_commands(c, m, d, name):
    c.equal(d("flush")["result"], 0, "flushing")
    line = d("id")
    c.equal((line["result"], line["text"]), (0, "SERIAL-" + name), "the serial number")
    for command in ("discard", "zeroes"):
        d("write", sector=0, n=16, seed=5)
        c.equal(d(command, "unmap" if command == "zeroes" else "", sector=8, n=8)["result"], 0, command)
        c.equal(on_disk(m, name, 8, 8), 8 * ZEROES, "the file after " + command)
        c.equal(on_disk(m, name, 0, 8), b"".join(sector_bytes(5, i) for i in range(8)), "what is beside it")
        c.equal(d("read", sector=8)["head"], "0" * 32, "the sector after " + command)
    c.equal(d("raw", type=99)["result"], 2, "a type that does not exist")
    c.equal(d("raw", type=8, size=20)["result"], 0, "the serial number, raw")
    for command, sector in (("read", 8 * MIB // SECTOR), ("write", 8 * MIB // SECTOR - 1)):
        c.equal(d(command, sector=sector, n=2)["result"], 1, command + " beyond the end")
    c.equal(d("discard", "unmap", sector=0)["result"], 2, "discarding with a flag")
    c.equal(d("zeroes", sector=8 * MIB // SECTOR)["result"], 1, "zeroes beyond the end")


@case("disk: each command by polling, by MSI-X, with interrupts suppressed; a read-only one")
def _(c):
    def plug(m):
        add_disk(m, "d0", serial="SERIAL-d0")
        m("device_add", driver="pcie-root-port", id="port")
        add_disk(m, "d1", serial="SERIAL-d1", bus="port", packed=True)
        m("blockdev-add", driver="file", filename=disk_file(m, "ro"), node_name="ro", read_only=True)
        m("device_add", driver="virtio-blk-pci", id="ro", drive="ro")
    with Driven(c, plug) as g:
        for id in ("d0", "d1"):
            d = g.device(id)
            for seed, mode in enumerate(MODES if id == "d0" or LONG else MODES[1:2]):
                line = d.open(mode=mode)
                c.equal(config(line, "Q", 0), 8 * MIB // SECTOR, "capacity")
                check_transfers(c, g.m, d, id, 10 * seed)
                check_commands(c, g.m, d, id)
                count = d.interrupts()[0]
                c.true(count >= 19 if mode == "msix" else count == 0, "interrupts with mode=%s, of 19 requests" % mode, count)
        d = g.device("ro")
        c.true(d.offers(5), "VIRTIO_BLK_F_RO", hex(d.offered))
        c.equal([d("write")["result"], d("zeroes")["result"], d("read")["result"]], [1, 1, 0], "writing to a read-only disk")
        stats = {s["device"] or s["qdev"]: s["stats"] for s in g.m("query-blockstats")}
        seen = [s for name, s in stats.items() if "d0" in name][0]
        # In each of 3 modes; zeroes count as written.
        c.equal((seen["rd_operations"], seen["wr_operations"], seen["flush_operations"]), (3 * 5, 3 * 5, 3), "operations in query-blockstats")


@case("disk: the write cache is the driver's choice; a resize tells it")
def _(c):
    with Driven(c, lambda m: add_disk(m, "d")) as g:
        d = g.device("d")
        for mode in ("poll", "msix"):
            c.equal(config(d.open(mode=mode), "B", 32), 1, "writeback")
            for value, want in ((0, 0), (1, 1), (255, 1), (0, 0)):
                line = d("write-config", "off=32 data=%02x" % value)
                c.equal(config(line, "B", 32), want, "writeback after writing %d" % value)
                c.equal(d("write", seed=value)["result"], 0, "writing")
                c.equal(on_disk(g.m, "d", 0), sector_bytes(value, 0), "the file")
            # Another driver finds it as it was (it is on again), and not knowing of FLUSH has it written through.
            d.open(mode=mode, without=1 << 9 | 1 << 11)
            c.equal(d("write", seed=3)["result"], 0, "writing")
        for mode, size in (("poll", 16 * MIB), ("msix", 4 * MIB), ("msix", 12 * MIB)):
            d.open(mode=mode)
            g.m("block_resize", node_name="node-d", size=size)
            line = d("await")
            c.equal(config(line, "Q", 0), size // SECTOR, "the new capacity")
            c.equal(line["interrupts"], 1 if mode == "msix" else 0, "interrupts of the change")
            c.equal([d("read", sector=size // SECTOR - 1 + i)["result"] for i in (0, 1)], [0, 1], "reading around the end")


@case("disk: each feature off, and each alone")
def _(c):
    def plug(m):
        add_disk(m, "split", serial="SERIAL-split")
        add_disk(m, "packed", packed=True, **{"num-queues": 2})
    with Driven(c, plug) as g:
        for id in ("split", "packed"):
            d = g.device(id)
            offered = d.offered
            for bit in [b for b in range(64) if offered >> b & 1 and (id == "split" or b > 24)]:
                for words in ("without=%#x" % (1 << bit), "only=%#x" % (1 << 32 | 1 << bit)):
                    line = d.open("brief " + words, opened=int(bit != 32 or "only" in words))
                    if not line["opened"]:
                        c.equal(line["device"] & 8, 0, "FEATURES_OK without VERSION_1")
                        continue
                    c.equal(d("write", sector=bit, seed=bit)["result"], 0, "writing with " + line.text["features"])
                    line = d("read", sector=bit, seed=bit)
                    c.equal((line["result"], line["data"]), (0, "same"), "reading")


@case("disk: rings go round, in every form of them, at every size")
def _(c):
    def plug(m):
        for form in ("split", "packed"):
            add_disk(m, form, packed=form == "packed")
    with Driven(c, plug) as g:
        for form in ("split", "packed"):
            d = g.device(form)
            for i, (without, indirect, size, mode) in enumerate((
                    (0, "", 16, "msix"), (0, "indirect", 4, "msix"), (1 << EVENT_IDX, "", 8, "msix"), (1 << EVENT_IDX, "indirect", 2, "poll"),
                    (1 << INDIRECT, "", 4, "quiet"), (0, "", 256, "poll"), (0, "indirect", 1, "msix"))):
                if not LONG and (i + (form == "packed")) % 2:
                    continue
                d.open(indirect, without=without, size=size, mode=mode)
                line = d("wrap", count=20, depth=6, sector=32 * i, seed=i)
                c.equal((line["count"], line["bad_requests"]), (20, 0), "requests")
                c.equal(on_disk(g.m, form, 32 * i, 20), b"".join(sector_bytes(i, 32 * i + k) for k in range(20)), "the file")
                queue = d("queues")
                c.equal((queue["size"], queue["free"]), (size, size), "the ring")
                c.true((queue["interrupts"] > 0) == (mode == "msix"), "interrupts with mode=" + mode, queue["interrupts"])
                if form == "split":
                    c.equal((queue["avail"], queue["used"]), (40, 40), "where the ring stands")


@case("disk: 1 to 64 queues, with a vector each and with fewer")
def _(c):
    def plug(m):
        add_disk(m, "own", **{"num-queues": 64})
        add_disk(m, "shared", vectors=3, **{"num-queues": 7, "packed": True})
    with Driven(c, plug) as g:
        for id, all_queues, counts in (("own", 64, (1, 2, 33, 64) if LONG else (2, 64)), ("shared", 7, (1, 7))):
            d = g.device(id)
            for n in counts:
                line = d.open(mode="msix", queues=n, size=4)
                c.equal((line["queues"], line["of"], config(line, "H", 34)), (n, all_queues, all_queues), "queues")
                line = d("each", seed=n, sector=n)
                c.equal((line["queues"], line["bad_requests"]), (n, 0), "queues that wrote and read")
                c.equal(on_disk(g.m, id, n, n), b"".join(sector_bytes(n, n + k) for k in range(n)), "the file")
                c.true(min(d.interrupts()) >= 1, "an interrupt of each queue", d.interrupts())


@case("disk: resets at every step, with requests in flight, of single queues, and of the machine")
def _(c):
    def plug(m):
        for form in ("split", "packed"):
            add_disk(m, form, packed=form == "packed", **{"num-queues": 3})
    with Driven(c, plug) as g:
        for round_number in range(2):
            for form in ("split", "packed") if LONG or not round_number else ("packed",):
                d = g.device(form)
                for mode in ("poll", "msix", "intx") if LONG else ("msix",):
                    d.steps("mode=" + mode)
                for silent in ("", "silent"):
                    d.open(mode="msix")
                    c.equal(d("leave", silent, n=5, queue=1)["n"], 5, "requests left behind")
                    d("reset")
                d.open(mode="msix")
                d("leave", n=5, queue=1)
                c.equal(d("queue-reset", queue=1)["device"], 15, "the status after a queue's reset")
                c.equal(d("wrap", queue=1, count=8)["bad_requests"], 0, "requests by the queue that was reset")
                d("queue-reset", "stay", queue=2)
                c.equal(d("wrap", queue=0, count=8)["bad_requests"], 0, "requests while a queue is off")
                d("leave", n=5, queue=0)
            if not round_number:
                # Requests are in flight, a queue is off.
                g.m("system_reset")
                g.m.wait("RESET", guest=False)
                g.ready()


@case("MSI-X: a masked message waits in its pending bit")
def _(c):
    with Driven(c, lambda m: add_disk(m, "d")) as g:
        d = g.device("d")
        d.open(mode="msix")
        d("mask", entry=1)
        d("leave", n=1)
        for _ in range(200):
            line = d("mask", entry=1)
            if line["pending"]:
                break
        c.equal((line["pending"], d.interrupts()[0]), (1, 0), "pending, and interrupts")
        d("mask", entry=1, on=0)
        c.equal(d("reap")["n"], 1, "the request")
        c.equal(d("wrap", count=1)["status"], "ok", "requests after that")
        c.true(d.interrupts()[0] >= 2, "interrupts after that")
        c.equal(d("mask", entry=1, on=0)["pending"], 0, "pending after that")


# ---- PCI

def check_bars(c, g):
    """What the guest has set up is what query-pci says."""
    seen = {}

    def walk(devices):
        for d in devices:
            bdf = "%02x:%02x.%d" % (d["bus"], d["slot"], d["function"])
            for r in d["regions"]:
                seen[bdf, r["bar"]] = (r["address"], r["size"])
            if "pci_bridge" in d:
                bus = d["pci_bridge"]["bus"]
                windows[bdf] = (bus["secondary"], bus["memory_range"]["base"], bus["prefetchable_range"]["base"])
                walk(d["pci_bridge"].get("devices", []))
    windows = {}
    walk(g.m("query-pci")[0]["devices"])
    run = g.setup
    for l in run.lines("pci-bar"):
        c.equal(seen.get((l["bdf"], l["n"])), (l["addr"], l["size"]), "BAR %d of %s" % (l["n"], l["bdf"]))
    for l in run.lines("pci-bridge"):
        number, memory, prefetch = windows.get(l["bdf"], (None,) * 3)
        # Closed windows have no base.
        c.equal((number, memory if l["memory"] else 0, prefetch), (l["secondary"], l["memory"], l["prefetch"]), "numbers and windows of " + l["bdf"])
    return len(run.lines("pci-bar")), len(run.lines("pci-bridge"))


@case("PCI: buses and windows as they are left for a kernel, and set up by the guest itself, again and elsewhere")
def _(c):
    def plug(m):
        for i in range(3):
            m("device_add", driver="pcie-root-port", id="port%d" % i)
        add_disk(m, "d0")
        add_disk(m, "d1", bus="port1")
        m("device_add", driver="virtio-rng-pci", id="r2", bus="port2")
    with Driven(c, plug) as g:
        c.equal(check_bars(c, g), (3, 3), "BARs and bridges")
        c.equal([l["fresh"] for l in g.setup.lines("pci-bridge")], [0, 0, 0], "bridges that had to be numbered")
        high = g.setup.lines("pci-bridge")[0]["prefetch"]
        c.true(high >= 1 << 32, "the prefetchable windows are above 4 GiB", hex(high))
        for i, words in enumerate(("", "own", "own bus=32 memory=0xd8000000", "own bus=200 memory=%#x" % (high + 4 * GIB), "own")):
            if words:
                g.setup = g.order("pci-setup " + words)
                c.equal(check_bars(c, g), (3, 3), "BARs and bridges after pci-setup " + words)
                c.equal([l["fresh"] for l in g.setup.lines("pci-bridge")], [1, 1, 1], "bridges that were numbered")
            for id in ("d0", "d1"):
                d = g.device(id)
                d.open(mode=("msix", "intx")[i % 2])
                c.equal(d("wrap", count=6, seed=i)["bad_requests"], 0, "requests of %s after pci-setup %s" % (id, words))
            r = g.device("r2")
            r.open(mode="msix")
            c.equal(r("fill", n=32)["len"], 32, "random bytes after pci-setup " + words)


# ---- random numbers

@case("random numbers: by each mode and ring, through resets")
def _(c):
    def plug(m):
        m("device_add", driver="virtio-rng-pci", id="split")
        m("device_add", driver="virtio-rng-pci", id="packed", packed=True)
    with Driven(c, plug) as g:
        for id in ("split", "packed"):
            r = g.device(id)
            seen = set()
            for mode in MODES:
                for words in ("", "indirect", "without=%#x" % (1 << EVENT_IDX)):
                    r.open(words, mode=mode)
                    line = r("fill", n=48)
                    c.equal((line["len"], line["beyond"]), (48, 0), "bytes, and what is behind them")
                    seen.add(line.text["data"])
                line = r("wrap", count=20)
                c.equal((line["count"], line["total"], line["seen"]), (20, 320, 0xFFFFFFFF), "buffers, bytes, and which bits were ever set")
            c.equal(len(seen), 9, "different bytes each time")
            r.steps()
            r.open()
            r("leave", n=4)
            r("queue-reset")
            r("wrap", count=3)
            r("leave", n=4)
            r("reset")


main()

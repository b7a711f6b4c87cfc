#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Data: random patterns through every back end, the daemon killed at random points; what was written and flushed is there.

Each disk is modelled block by block: what its content is, or, while a write is out, what it may be: the old or the new,
sector by sector. A kill leaves requests in the middle; the daemon that follows must show nothing else, through the device and
in the image file. The end of a process loses nothing that the kernel took, so a completed write counts like a flushed one.
Five seconds; with TEST_LONG=1 a hundred GiB (DATA_GIB=N: N of them), with progress.
TEST_SEED=N repeats a run's choices, not its moments.
"""
import os
import random
import struct
import sys
import tempfile
import time
sys.dont_write_bytecode = True
# pylint: disable=wrong-import-position
from blackbox import GIB, MIB, diag, main, test  # noqa: E402
from qtestdisk import OK, QUEUE, T_FLUSH, T_IN, T_OUT, T_WRITE_ZEROES, DiskDaemon  # noqa: E402

LONG = "TEST_LONG" in os.environ
SECTOR, BLOCK = 512, 16 << 10
SIZE = 128 * MIB if LONG else 4 * MIB  # of each disk
WANTED = int(float(os.environ.get("DATA_GIB", 100)) * GIB) if LONG else 0
SECONDS = 5
MOST = 8            # blocks in a request: 128 KiB
OFFSET = MIB        # where the raw node begins in its file
FOLDER = os.environ.get("DATA_FOLDER", "/var/tmp")  # a real file system: tmpfs may not know O_DIRECT

ZEROES = bytes(BLOCK)


class Model:
    """What the blocks of one disk hold. A content is bytes, or a place in the pool of random bytes."""

    def __init__(self, name, pool, image, offset):
        self.name, self.pool, self.image, self.offset = name, pool, image, offset
        self.content = [ZEROES] * (SIZE // BLOCK)
        self.writing = {}  # block -> what a write that is out would make of it
        self.reading = {}  # block -> reads that are out

    def bytes_of(self, content):
        return content if isinstance(content, bytes) else self.pool[content:content + BLOCK]

    def check(self, block, data, where):
        """DATA is what BLOCK may hold; it is what it holds from now on."""
        want = self.bytes_of(self.content[block])
        if data == want:
            return 0
        assert block in self.writing, f"{self.name}, {where}: block {block} is not what was written last: " + self.tell(data, want)
        new = self.bytes_of(self.writing[block])
        for at in range(0, BLOCK, SECTOR):
            sector = data[at:at + SECTOR]
            assert sector in (want[at:at + SECTOR], new[at:at + SECTOR]), \
                f"{self.name}, {where}: sector {at // SECTOR} of block {block} is neither the old nor the new one"
        self.content[block] = bytes(data)
        return 1

    @staticmethod
    def tell(data, want):
        wrong = [at // SECTOR for at in range(0, BLOCK, SECTOR) if data[at:at + SECTOR] != want[at:at + SECTOR]]
        return f"sectors {wrong[:40]}, the first is {bytes(data[wrong[0] * SECTOR:][:16]).hex()}, not {bytes(want[wrong[0] * SECTOR:][:16]).hex()}"


class Load:
    """Random requests on one disk."""

    def __init__(self, r, disk, model):
        self.r, self.disk, self.model, self.bytes = r, disk, model, 0

    def pick(self):
        """Blocks in a row of which none is being written; for writing, none read either."""
        n = self.r.randint(1, MOST)
        first = self.r.randrange(SIZE // BLOCK - n)
        return range(first, first + n)

    def one(self):
        m, blocks = self.model, self.pick()
        kind = self.r.choices((T_OUT, T_IN, T_WRITE_ZEROES, T_FLUSH), (60, 30, 4, 6))[0]
        if kind == T_FLUSH:
            return (kind, 0, 0, (kind, ()))
        if any(b in m.writing or (kind != T_IN and m.reading.get(b)) for b in blocks):
            return None
        sector, size = blocks[0] * BLOCK // SECTOR, len(blocks) * BLOCK
        self.bytes += size
        if kind == T_IN:
            for b in blocks:
                m.reading[b] = m.reading.get(b, 0) + 1
            return (kind, sector, size, (kind, blocks))
        if kind == T_WRITE_ZEROES:
            m.writing.update((b, ZEROES) for b in blocks)
            return (kind, 0, struct.pack("<QII", sector, size // SECTOR, self.r.randrange(2)), (kind, blocks))
        at = self.r.randrange(len(m.pool) - size)
        m.writing.update((b, at + i * BLOCK) for i, b in enumerate(blocks))
        return (kind, sector, m.pool[at:at + size], (kind, blocks))

    def submit(self):
        wanted = self.r.randint(1, max(len(self.disk.free), 1))
        requests = [q for q in (self.one() for _ in range(min(wanted, len(self.disk.free)))) if q]
        if requests:
            self.disk.submit(requests)

    def collect(self):
        m = self.model
        for (kind, blocks), status, data in self.disk.done():
            assert status == OK, f"{m.name}: request {kind} of blocks {blocks} ended with status {status}"
            for i, b in enumerate(blocks):
                if kind == T_IN:
                    m.reading[b] -= 1
                    m.check(b, data[i * BLOCK:(i + 1) * BLOCK], "read back")
                else:
                    m.content[b] = m.writing.pop(b)

    def verify(self):
        """All of it through the device and in the file, after a start: what was in the middle is settled now."""
        m, step, torn = self.model, MOST * BLOCK, 0
        for at in range(0, SIZE, step):
            status, data = self.disk.ask(T_IN, at // SECTOR, step)
            assert status == OK
            for i in range(MOST):
                torn += m.check(at // BLOCK + i, data[i * BLOCK:(i + 1) * BLOCK], "after a kill")
        m.writing, m.reading = {}, {}
        with open(m.image, "rb") as f:
            f.seek(m.offset)
            for b in range(SIZE // BLOCK):
                m.check(b, f.read(BLOCK), "in the file")
        self.bytes += SIZE
        return torn


def disks(folder):
    """Name, block node, device's options, offset in the image."""
    image = lambda name: os.path.join(folder, name)  # noqa: E731
    return [
        ("cache", {"driver": "file", "filename": image("cache"), "discard": "unmap"}, {}, 0),
        ("direct", {"driver": "file", "filename": image("direct"), "cache": {"direct": True}}, {"write_cache": "off"}, 0),
        ("window", {"driver": "raw", "offset": OFFSET, "size": SIZE,
                    "below": {"driver": "file", "filename": image("window")}}, {}, OFFSET),
        ("threads", {"driver": "file", "filename": image("threads"), "aio": "threads"}, {"iothread": "io"}, 0),
    ]


def make_images(folder):
    for name, _, _, offset in disks(folder):
        with open(os.path.join(folder, name), "wb") as f:
            f.write(b"\xa5" * offset)
            f.truncate(offset + SIZE + offset)


def power_on(folder):
    d = DiskDaemon(folder)
    try:
        for slot, (name, node, options, _) in enumerate(disks(folder), 3):
            d.plug(name, slot, node, **options)
        d.start()
    except BaseException:
        diag(d.log()[-2000:])
        d.kill()
        raise
    return d


def one_life(r, folder, models, enough):
    """From a start to the kill; the bytes moved, and the blocks that the kill before had left between old and new."""
    d = power_on(folder)
    loads = [Load(r, disk, m) for disk, m in zip(d.disks, models)]
    try:
        torn = sum(load.verify() for load in loads)
        end = time.monotonic() + r.uniform(0.05, 10 if LONG else 0.6)
        while time.monotonic() < end and not enough(sum(load.bytes for load in loads)):
            for load in loads:
                load.submit()
                load.collect()
        time.sleep(r.random() * 0.003)
        assert d.process.poll() is None, d.log()[-2000:]
        d.process.kill()
        d.process.wait()
        for load in loads:
            load.collect()  # the guest's memory outlives the daemon
        return sum(load.bytes for load in loads), torn
    finally:
        d.kill()


def check_margins(folder):
    with open(os.path.join(folder, "window"), "rb") as f:
        assert f.read(OFFSET) == b"\xa5" * OFFSET, "bytes before the window were written"
        f.seek(OFFSET + SIZE)
        assert f.read() == bytes(OFFSET), "bytes behind the window were written"


@test
def nothing_is_lost_that_was_written_and_flushed():
    seed = int(os.environ.get("TEST_SEED", random.randrange(1 << 32)))
    diag(f"TEST_SEED={seed}")
    r = random.Random(seed)
    pool = r.randbytes(16 * MIB)
    with tempfile.TemporaryDirectory(prefix="bb-", dir=FOLDER) as folder:
        make_images(folder)
        models = [Model(name, pool, os.path.join(folder, name), offset) for name, _, _, offset in disks(folder)]
        began, moved, torn, lives, told = time.monotonic(), 0, 0, 0, 0
        while moved < WANTED if LONG else time.monotonic() - began < SECONDS:
            n, t = one_life(r, folder, models, lambda now, so_far=moved: LONG and so_far + now >= WANTED)
            moved, torn, lives = moved + n, torn + t, lives + 1
            if LONG and time.monotonic() - told > 10:
                told = time.monotonic()
                diag(f"{moved / GIB:.1f} of {WANTED / GIB:.0f} GiB, {lives} kills, {torn} blocks found in the middle, {told - began:.0f} s")
        d = power_on(folder)  # and the last one ends well
        torn += sum(Load(r, disk, m).verify() for disk, m in zip(d.disks, models))
        d.end()
        check_margins(folder)
        assert lives >= (1 if LONG else 3), lives
        return f"{moved / MIB:.0f} MiB, {lives} kills, {torn} blocks found in the middle of a write"


sys.exit(main(limit=24 * 3600 if LONG else 120))

#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guest's memory and what it is made of on the host: anonymous, memfd, files; allocated before or when touched."""

import mmap

from backplane import *


def start(m, object_type, size, words="probe=memmap,wait", **props):
    m.board(max_cpus=1)
    m.cpu()
    m("object-add", qom_type="memory-backend-" + object_type, id="ram0", size=size, **props)
    m("device_add", driver="pc-dimm", id="dimm0", memdev="ram0")
    m.serial()
    m.loader(append=words)
    m.cont()
    m.guest.wait_for("ready", 30 * PATIENCE)


def resident_pages(path):
    """Bytes of a file that the host has blocks or pages for."""
    return os.stat(path).st_blocks * 512


def add_sparse_case(kind):
    @case("64 GiB from %s: more than the host has, and only what is touched costs" % kind)
    def _(c):
        with Machine(c) as m:
            start(m, kind, 64 * GIB)
            c.equal(m.guest.run.problems(), [], "what the probe calls bad")
            c.true(m.guest.run.one("mem-test")["touched"] >= 6, "places that were written and read", m.guest.run.one("mem-test").raw)
            c.true(m.resident() < 200 * MIB, "bytes resident", m.resident())
            c.equal(m("query-memory-size-summary")["base-memory"], 64 * GIB, "base memory")
            m.quit()


for _kind in ("ram", "memfd"):
    add_sparse_case(_kind)


def add_prealloc_case(kind):
    @case("prealloc of 256 MiB from %s: there before the guest runs" % kind)
    def _(c):
        if memory_available() < GIB:
            c.skip("the host has less than 1 GiB to spare")
        with Machine(c) as m:
            extra = {"mem_path": m.path("ram"), "share": True} if kind == "file" else {}
            before = m.resident()
            start(m, kind, 256 * MIB, prealloc=True, **extra)
            c.equal(m.guest.run.problems(), [], "what the probe calls bad")
            if kind == "file":
                c.true(resident_pages(m.path("ram")) >= 256 * MIB, "bytes of the file with blocks", resident_pages(m.path("ram")))
            else:
                c.true(m.resident() - before >= 256 * MIB, "bytes resident", m.resident() - before)
            c.equal([(d["id"], d["prealloc"]) for d in m("query-memdev")], [("ram0", True)], "query-memdev")
            m.quit()


for _kind in ("ram", "memfd", "file"):
    add_prealloc_case(_kind)


@case("prealloc of more than the host has is refused, and nothing is left")
def _(c):
    with Machine(c) as m:
        m("object-add", qom_type="memory-backend-ram", id="ram0", size=MIB)  # KVM is up after that
        m("object-del", id="ram0")
        fds, before = m.fds(), m.resident()
        began = time.monotonic()
        for kind in ("ram", "memfd"):
            m.refused("object-add", "ram0", qom_type="memory-backend-" + kind, id="ram0", size=1 << 44, prealloc=True)
        c.true(time.monotonic() - began < 5, "seconds until the refusal", time.monotonic() - began)
        c.equal((m("query-memdev"), m.fds()), ([], fds), "objects and descriptors")
        c.true(m.resident() - before < 16 * MIB, "bytes resident", m.resident() - before)
        m.check_state("prelaunch")


def add_file_case(share):
    @case("a file%s: the guest's writes %s it" % (", shared" if share else "", "reach" if share else "do not reach"))
    def _(c):
        size = 512 * MIB
        with Machine(c) as m:
            path = m.path("ram")
            start(m, "file", size, mem_path=path, share=share)
            c.equal(m.guest.run.problems(), [], "what the probe calls bad")
            c.equal(os.path.getsize(path), size, "the file's size")
            with open(PROBE_PVH, "rb") as f:
                image = f.read()
            # The kernel stands at 1 MiB, loaded by the daemon; its data and stack in there are what the guest writes.
            with open(path, "rb") as f, mmap.mmap(f.fileno(), size, prot=mmap.PROT_READ) as ram:
                text = image[image.index(b"cpuhp-waited"):][:12]
                found = ram.find(text, MIB, 3 * MIB)
                if share:
                    c.true(found > 0, "the guest's image is not in the file")
                    live = ram[MIB:3 * MIB]
                    m.guest.command("probe smp", 30 * PATIENCE)
                    c.true(ram[MIB:3 * MIB] != live, "the guest's writes did not reach the file")
                else:
                    c.true(not any(ram[at:at + MIB].strip(b"\0") for at in range(0, 4 * MIB, MIB)), "traces of the guest in the file")
            m.quit()
            c.equal(os.path.getsize(path), size, "the file's size afterwards")


for _share in (True, False):
    add_file_case(_share)


@case("a file that is there already is used as it is, extended and never shortened")
def _(c):
    with Machine(c) as m:
        path = m.path("ram")
        with open(path, "wb") as f:
            f.seek(300 * MIB)
            f.write(b"kept")
        start(m, "file", 256 * MIB, mem_path=path, share=True)
        c.equal(m.guest.run.problems(), [], "what the probe calls bad")
        c.equal(os.path.getsize(path), 300 * MIB + 4, "the file's size")
        m.quit()
        with open(path, "rb") as f:
            f.seek(300 * MIB)
            c.equal(f.read(), b"kept", "what stood behind the guest's part")


@case("objects in use stay, objects of an ended daemon are gone")
def _(c):
    with Machine(c) as m:
        start(m, "memfd", 512 * MIB)
        m.refused("object-del", "ram0", "dimm0", id="ram0")
        m.refused("device_del", "dimm0", id="dimm0")
        fds = m.fds()
        for i in range(50):
            m("object-add", qom_type="memory-backend-memfd", id="x%d" % i, size=GIB)
        for i in range(50):
            m("object-del", id="x%d" % i)
        c.equal(m.fds(), fds, "descriptors after 50 objects came and went")
        c.equal(len(m("query-memdev")), 1, "objects")
        m.check_state("running")
        m.quit()


main()

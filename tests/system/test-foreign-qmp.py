#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Clients that nobody here wrote: the qemu.qmp library and qmp-shell, from Debian's source package of QEMU, as they are."""
import asyncio
import os
import pty
import re
import select
import subprocess
import sys
import time
sys.dont_write_bytecode = True
# pylint: disable=wrong-import-position
from blackbox import BUILD, PATIENCE, SOURCE, Daemon, Skip, main, test  # noqa: E402

PYTHON = os.path.join(os.environ.get("BACKPLANE_PEERS", os.path.join(BUILD, "build/peers")), "qemu/python")
_absent = []


def peer():
    """The library's folder; fetched once."""
    if not _absent:
        p = subprocess.run([os.path.join(SOURCE, "tests/fetch-qemu-source"), "python"], cwd=BUILD, capture_output=True, text=True, check=False)
        _absent.append(p.stderr.strip() if p.returncode else "")
        sys.path.insert(0, PYTHON)
        asyncio.set_event_loop(asyncio.new_event_loop())  # asyncio.run() leaves none, and qemu.qmp.legacy wants one
    if _absent[0]:
        raise Skip(_absent[0])
    return PYTHON


def shell(d, *arguments, text):
    """qmp-shell with TEXT as its input; what it prints."""
    env = dict(os.environ, PYTHONPATH=peer(), HOME=d.directory)
    p = subprocess.run([sys.executable, "-m", "qemu.qmp.qmp_shell", *arguments, d.path("qmp")], input=text, capture_output=True, text=True,
                       timeout=30 * PATIENCE, env=env, check=False)
    assert p.returncode == 0, f"status {p.returncode}: {p.stdout}{p.stderr}"
    return p.stdout


@test
def library_greeting_and_commands(d):
    peer()
    from qemu.qmp import ExecuteError, QMPClient  # pylint: disable=import-outside-toplevel,import-error

    async def talk():
        qmp = QMPClient("test")
        await qmp.connect(d.path("qmp"))
        assert qmp.greeting.QMP.version["qemu"]["major"] == 7 and "oob" in qmp.greeting.QMP.capabilities, qmp.greeting
        assert await qmp.execute("query-status") == {"running": False, "singlestep": False, "status": "prelaunch"}
        await qmp.execute("device_add", {"driver": "board", "id": "board", "max-cpus": 2})
        try:
            await qmp.execute("device_add", {"driver": "board", "id": "again"})
        except ExecuteError as e:
            assert e.error_class == "GenericError" and "once" in str(e), e
        else:
            raise AssertionError("the second board was taken")
        # many at once: replies find their commands by id
        schema, names = await asyncio.gather(qmp.execute("query-qmp-schema"), asyncio.gather(*[qmp.execute("query-name") for _ in range(50)]))
        assert len(schema) > 100 and names == [{"name": "t"}] * 50
        await qmp.disconnect()
    asyncio.get_event_loop().run_until_complete(talk())


@test
def library_events(d):
    peer()
    from qemu.qmp import EventListener, QMPClient  # pylint: disable=import-outside-toplevel,import-error

    async def talk():
        qmp = QMPClient("test")
        await qmp.connect(d.path("qmp"))
        with qmp.listener("RESET") as listener:
            await qmp.execute("system_reset")
            event = await asyncio.wait_for(listener.get(), 10 * PATIENCE)
            assert event["data"] == {"guest": False, "reason": "host-qmp-system-reset"}, event
            assert set(event["timestamp"]) == {"seconds", "microseconds"}, event
        everything = EventListener()
        with qmp.listen(everything):
            await qmp.execute("device_add", {"driver": "isa-serial", "id": "s"})
            await qmp.execute("device_del", {"id": "s"})
            event = await asyncio.wait_for(everything.get(), 10 * PATIENCE)
            assert event["event"] == "DEVICE_DELETED" and event["data"]["device"] == "s", event
        await qmp.disconnect()
    asyncio.get_event_loop().run_until_complete(talk())


@test
def library_descriptors(d):
    """It sends a descriptor with a blank of its own, before the command."""
    peer()
    from qemu.qmp.legacy import QEMUMonitorProtocol  # pylint: disable=import-outside-toplevel,import-error
    qmp = QEMUMonitorProtocol(d.path("qmp"))
    qmp.connect()
    r, w = os.pipe()
    try:
        qmp.send_fd_scm(w)
        assert qmp.cmd("getfd", {"fdname": "x"}) == {"return": {}}
        assert qmp.cmd("closefd", {"fdname": "x"}) == {"return": {}}
        assert "error" in qmp.cmd("closefd", {"fdname": "x"})
        assert qmp.command("query-name") == {"name": "t"}
        qmp.clear_events()
        qmp.command("system_reset")
        assert qmp.pull_event(wait=10.0 * PATIENCE)["event"] == "RESET"
    finally:
        qmp.close()
        os.close(w)
    assert select.select([r], [], [], 10 * PATIENCE)[0] and os.read(r, 1) == b""
    os.close(r)


@test
def library_waits_for_the_daemon(_d):
    """server=off: the library listens, and the daemon comes."""
    peer()
    from qemu.qmp.legacy import QEMUMonitorProtocol  # pylint: disable=import-outside-toplevel,import-error
    with Daemon() as holder:
        path = holder.path("wait")
        qmp = QEMUMonitorProtocol(path, server=True)
        with Daemon("--qmp", f"unix:{path},server=off") as d:
            greeting = qmp.accept(10.0 * PATIENCE)
            assert "QMP" in greeting, greeting
            assert qmp.command("query-name") == {"name": "t"}
            qmp.close()
            d.c.in_step()


@test
def shell_commands(d):
    text = shell(d, text="query-version\nobject-add qom-type=memory-backend-ram id=m9 size=4096\nquery-memdev\n"
                 "chardev-add id=c backend={'type':'ringbuf','data':{'size':1024}}\nringbuf-write device=c data=hello\nringbuf-read device=c size=10\n"
                 "object-del id=m9\nobject-del id=m9\nchardev-remove id=c\nno-such\n")
    assert "Connected to QEMU 7.2" in text, text
    for part in ('"package": "backplane-', '"id": "m9"', '"return": "hello"', '"class": "DeviceNotFound"', '"class": "CommandNotFound"'):
        assert part in text, f"{part!r} is not in {text}"


@test
def shell_verbose_and_pretty(d):
    text = shell(d, "-v", "-p", text="query-status\n")
    assert '"execute": "query-status"' in text and re.search(r'"status": "prelaunch"', text), text


@test
def shell_on_a_terminal(d):
    """As a person sees it: prompt, completion of a command by Tab, an answer, an event, the end by Ctrl-D."""
    env = dict(os.environ, PYTHONPATH=peer(), HOME=d.directory, TERM="xterm")
    master, slave = pty.openpty()
    p = subprocess.Popen([sys.executable, "-m", "qemu.qmp.qmp_shell", d.path("qmp")], stdin=slave, stdout=slave, stderr=slave, env=env,
                         start_new_session=True)
    os.close(slave)
    screen = ""

    def expect(pattern):
        nonlocal screen
        end = time.monotonic() + 20 * PATIENCE
        while not (m := re.search(pattern, screen)):
            assert select.select([master], [], [], max(end - time.monotonic(), 0))[0], f"{pattern!r} did not come: {screen!r}"
            screen += os.read(master, 65536).decode(errors="replace")
        screen = screen[m.end():]
    try:
        expect(r"\(QEMU\) ")
        os.write(master, b"query-status\n")
        expect(r'"status": "prelaunch"')
        expect(r"\(QEMU\) ")
        os.write(master, b"query-hotpl\t\n")
        expect(r"query-hotpluggable-cpus[^(]*(there is no board|vcpus-count)")
        expect(r"\(QEMU\) ")
        os.write(master, b"system_reset\n")
        expect(r"\(QEMU\) ")
        os.write(master, b"\n")
        expect(r"RESET")
        expect(r"\(QEMU\) ")  # the end of file is for the shell's line editor, which now listens
        os.write(master, b"\x04")
        assert p.wait(10 * PATIENCE) == 0
    finally:
        p.kill()
        p.wait()
        os.close(master)


@test
def the_daemon_ends_under_the_library(_d):
    peer()
    from qemu.qmp import QMPClient  # pylint: disable=import-outside-toplevel,import-error
    with Daemon() as d:
        async def talk():
            qmp = QMPClient("test")
            await qmp.connect(d.path("qmp"))
            with qmp.listener("SHUTDOWN") as listener:
                assert await qmp.execute("quit") == {}
                event = await asyncio.wait_for(listener.get(), 10 * PATIENCE)
                assert event["data"]["reason"] == "host-qmp-quit", event
            try:
                await qmp.disconnect()
            except EOFError:
                pass
        asyncio.get_event_loop().run_until_complete(talk())
        d.process.wait(10 * PATIENCE)
        d.c.close()
        d.c = None


if __name__ == "__main__":
    sys.exit(main(Daemon))

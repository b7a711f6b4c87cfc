# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Linux guest in its shell, as tests of devices want it.

    boot_linux(m, linux, MODULES, lambda: m("device_add", ...))
    m.console.run("...")
    power_off(m)
"""
from backplane import GIB, PATIENCE, with_modules

# What Debian's kernel needs before any driver of a virtio device, in this order.
VIRTIO_PCI = ("virtio", "virtio_ring", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci")


def boot_linux(m, linux, modules, plug, cpus=2, memory=GIB, words="", board=None, files=None):
    """Starts a machine with what PLUG, a function, plugs, up to its shell with the drivers of MODULES and FILES, {name: bytes}. BOARD:
    its properties; PLUG brings what CPUS and MEMORY are 0 of. Returns the commands that load the drivers, for come_up() after a reset."""
    initrd, load = with_modules(linux, m.path(""), *modules, files=files)
    m.board(**(board or {"max_cpus": cpus}))
    for i in range(cpus):
        m.cpu("cpu%d" % i)
    if memory:
        m.memory(memory)
    m.serial("console")
    plug()
    m.loader(linux.kernel, linux.words + " run=shell " + words, initrd=initrd)
    m.cont()
    come_up(m, load)
    return load


def come_up(m, load):
    m.console.start_shell(120)
    for command in load:
        m.console.run(command)


def power_off(m):
    m.console.send("poweroff -f\n")
    m.wait("SHUTDOWN", 30, guest=True, reason="guest-shutdown")


def guest_until(m, condition, what, timeout=20):
    """Waits in the guest's shell for CONDITION; fails with WHAT."""
    steps = int(timeout * PATIENCE * 50)
    answer = m.console.run("n=0; until %s; do n=$((n+1)); [ $n -ge %d ] && break; usleep 20000; done; [ $n -lt %d ] && echo came"
                           % (condition, steps, steps), timeout * PATIENCE + 20)
    m.c.equal(answer.strip(), "came", what)

#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which guest tests/demo shows on this host: prints shell assignments of kind (linux, probe, none), why, kernel, initrd, words
and drivers (a command for the guest's shell). The argument is a folder for what has to be made.

BACKPLANE_DEMO (linux, probe, test) chooses instead of the host.
"""
import gzip
import os
import shlex
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "system"))
import backplane  # noqa: E402  pylint: disable=wrong-import-position

DRIVERS = ("virtio", "virtio_ring", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk", "failover", "net_failover", "virtio_net")

INIT = b"""#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /bin /sbin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
exec sh </dev/ttyS0 >/dev/ttyS0 2>&1
"""


def busybox_initrd():
    """An initrd with a shell and nothing else, of Debian's busybox-static."""
    path = os.path.join(backplane.PEERS, "initrd-demo.gz")
    if not os.path.exists(path):
        with open(os.path.join(backplane.fetch_peers("busybox-static"), "bin/busybox"), "rb") as f:
            busybox = f.read()
        with open(path + ".new", "wb") as f:
            f.write(gzip.compress(backplane.cpio({"bin/busybox": (0o755, busybox), "init": (0o755, INIT), "dev/.keep": (0o644, b"")})))
        os.rename(path + ".new", path)
    return path


def linux():
    """The guest, or a text that says why there is none."""
    try:
        return backplane.linux_guest(backplane.Case())
    except backplane.Skip as reason:
        if backplane.host_is_pvm():
            return str(reason)
    try:
        bzimage, elf, _ = backplane.debian_kernel()
        return backplane.Linux(elf, busybox_initrd(), backplane.WORDS, bzimage)
    except (OSError, IndexError) as error:
        return f"Debian's kernel can not be had: {error}"


def choose():
    wanted = os.environ.get("BACKPLANE_DEMO", "")
    if wanted == "test":
        return {"kind": "none", "why": "as BACKPLANE_DEMO says"}
    if not os.path.exists("/dev/kvm"):
        return {"kind": "none", "why": "this host has no /dev/kvm"}
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return {"kind": "none", "why": "/dev/kvm is there, but this user may not open it (group kvm, usually)"}
    if not backplane.kvm_usable():
        return {"kind": "none", "why": "/dev/kvm is there, but no virtual machine can be made with it"}
    guest = "as BACKPLANE_DEMO says" if wanted == "probe" else linux()
    if isinstance(guest, str):
        if not os.path.exists(backplane.PROBE_PVH):
            return {"kind": "none", "why": guest}
        return {"kind": "probe", "why": guest, "kernel": backplane.PROBE_PVH, "initrd": "", "words": ""}
    initrd, load = backplane.with_modules(guest, sys.argv[1], *DRIVERS)
    return {"kind": "linux", "why": "", "kernel": guest.kernel, "initrd": initrd, "words": guest.words, "drivers": "; ".join(load) or ":"}


if __name__ == "__main__":
    for name, value in choose().items():
        print(f"{name}={shlex.quote(value)}")

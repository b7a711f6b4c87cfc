# SPDX-License-Identifier: LGPL-2.1-or-later
"""Network namespaces with a peer in them, and netload (tests/bench/netload.c) on both sides: what network tests and the bench share.

    here = Namespace()                 this process, and what it starts, is in it from now on
    there = Namespace(enter=False)     another one
    with there: fd = open_tap("t0")    made there, used from here
"""

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import subprocess

from backplane import BUILD

CLONE_NEWNET = 0x40000000
TUNSETIFF, TUNSETPERSIST, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x400454ca, 0x400454cb, 2, 0x1000, 0x4000
SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK = 0x8914, 0x8916, 0x891c
NETLOAD = os.path.join(BUILD, "tests/bench/netload")
LIBC = ctypes.CDLL(None, use_errno=True)


def may():
    """Whether this process may have namespaces and taps."""
    return os.geteuid() == 0 and os.path.exists("/dev/net/tun")


class Namespace:
    """A network namespace with its loopback interface up. `with` moves this thread into it for a while."""

    def __init__(self, enter=True):
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            if LIBC.unshare(CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "no network namespace")
            self.fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
            configure("lo")
            if not enter:
                LIBC.setns(before, CLONE_NEWNET)
        finally:
            os.close(before)

    def __enter__(self):
        self.before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        assert LIBC.setns(self.fd, CLONE_NEWNET) == 0
        return self

    def __exit__(self, *_):
        assert LIBC.setns(self.before, CLONE_NEWNET) == 0
        os.close(self.before)


def configure(name, address=None):
    """Interface NAME is up, with ADDRESS/24."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        for request, value in ((SIOCSIFADDR, address), (SIOCSIFNETMASK, "255.255.255.0")) if address else ():
            fcntl.ioctl(s, request, struct.pack("16sHH4s8x", name.encode(), socket.AF_INET, 0, socket.inet_aton(value)))
        fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sH14x", name.encode(), 0x41))


def open_tap(name, flags=0, persist=False):
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | flags))
    if persist:
        fcntl.ioctl(fd, TUNSETPERSIST, 1)
    return fd


@contextlib.contextmanager
def server(address, port):
    """netload's server on ADDRESS of the namespace that this thread is in."""
    process = subprocess.Popen([NETLOAD, "serve", address, str(port)], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"ready\n", "netload does not serve"
        yield
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def load(*words, timeout=120):
    """netload on this side: (ended well, what it said)."""
    done = subprocess.run([NETLOAD, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, check=False)
    return done.returncode == 0, done.stdout.decode()


def netload_files():
    """What goes into a guest's initrd."""
    with open(NETLOAD, "rb") as n:
        return {"net/netload": n.read()}

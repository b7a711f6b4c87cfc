# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guest is a client of the qtest protocol: docs/design/testing.md section 3."""
import socket


class Qtest:
    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(path)
        self.file = self.sock.makefile("r", newline="\n")

    def ask(self, line):
        """The words of the answer to LINE, behind OK. Reports of interrupts are passed over."""
        self.sock.sendall(line.encode() + b"\n")
        while True:
            reply = self.file.readline()
            if not reply:
                raise ConnectionResetError("the daemon is gone")
            words = reply.split()
            if words[0] != "IRQ":
                assert words[0] == "OK", f"qtest: {line!r}: {reply!r}"
                return words[1:]

    def number(self, line):
        return int(self.ask(line)[0], 0)

    def close(self):
        self.file.close()
        self.sock.close()

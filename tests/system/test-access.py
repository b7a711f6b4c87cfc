#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may use the QMP socket: root and the daemon's user, and who was named; others get one error, whatever the mode."""
import json
import os
import socket
import subprocess
import sys
import tempfile

NOBODY = 65534
DAEMON = os.environ.get('BACKPLANED', './backplaned')


def answer_to(uid, path):
    """The first line that a process of this user reads from the socket, by way of a pipe."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(r)
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(uid)
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(10)
        s.connect(path)
        os.write(w, s.makefile('rb').readline())
        os._exit(0)
    os.close(w)
    with os.fdopen(r, 'rb') as f:
        line = f.read()
    os.waitpid(pid, 0)
    return json.loads(line)


def with_daemon(options, uid):
    with tempfile.TemporaryDirectory() as d:
        os.chmod(d, 0o755)
        path = os.path.join(d, 'qmp.sock')
        p = subprocess.Popen([DAEMON, '--name', 'access', '--accel', 'test', '--log', 'error', '--qmp', 'unix:' + path,
                              '--daemonize', '--pidfile', os.path.join(d, 'pid')] + options)
        assert p.wait(20) == 0
        mode = os.stat(path).st_mode & 0o777
        os.chmod(path, 0o666)
        try:
            return mode, answer_to(uid, path)
        finally:
            with open(os.path.join(d, 'pid')) as f:
                os.kill(int(f.read()), 15)


def main():
    if os.geteuid() != 0:
        print('1..0 # SKIP needs root, to become somebody else')
        return 0
    tests = []
    mode, reply = with_daemon([], 0)
    tests.append(('the socket is made with mode 0600', mode == 0o600, oct(mode)))
    tests.append(('root is greeted', 'QMP' in reply, reply))
    _, reply = with_daemon([], NOBODY)
    tests.append(('a stranger gets an error that names him', 'User 65534' in reply.get('error', {}).get('desc', ''), reply))
    _, reply = with_daemon(['--allow-user', 'nobody'], NOBODY)
    tests.append(('a user that was named is greeted', 'QMP' in reply, reply))
    _, reply = with_daemon(['--allow-user', 'nobody'], 0)
    tests.append(('root is greeted beside him', 'QMP' in reply, reply))
    _, reply = with_daemon(['--allow-group', str(NOBODY)], 1234)
    tests.append(('a member of a group that was named is greeted', 'QMP' in reply, reply))
    _, reply = with_daemon(['--allow-group', '4242'], 1234)
    tests.append(('a member of another group is not', 'error' in reply, reply))
    p = subprocess.run([DAEMON, '--name', 'x', '--qmp', 'unix:/x', '--allow-user', 'no-such-user'], capture_output=True, text=True)
    tests.append(('an unknown name is refused by name', p.returncode != 0 and "'no-such-user'" in p.stderr, p.stderr))
    print('1..%d' % len(tests))
    for i, (name, ok, seen) in enumerate(tests, 1):
        print('%sok %d - %s' % ('' if ok else 'not ', i, name))
        if not ok:
            print('# saw %r' % (seen,))
    return 0


if __name__ == '__main__':
    sys.exit(main())

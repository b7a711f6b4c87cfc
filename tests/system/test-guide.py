#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The commands of docs/guide/*.md, run as they stand, in order, in an empty folder. Writes TAP: a line a block."""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
sys.dont_write_bytecode = True
# pylint: disable=wrong-import-position
from backplane import BUILD, DAEMON, SOURCE, kvm_usable  # noqa: E402


def blocks(path):
    """(heading, commands) of each block that is shell."""
    heading, out = "", []
    with open(path, encoding="utf-8") as f:
        for part in re.split(r"^(## [^\n]*|```sh\n.*?^```)$", f.read(), flags=re.M | re.S):
            if part.startswith("## "):
                heading = part[3:]
            elif part.startswith("```sh"):
                out.append((heading, part[6:-3]))
    return out


def run(path, number):
    folder = tempfile.mkdtemp(prefix="guide-")
    tools = os.path.abspath(BUILD)
    env = dict(os.environ, PATH=tools + ":" + os.environ["PATH"], BACKPLANED=os.path.abspath(DAEMON), HOME=folder,
               BACKPLANE_COMPAT_DB=os.path.join(os.path.abspath(SOURCE), "compat-db"), BACKPLANE_RUNTIME_DIR=folder)
    bad = 0
    try:
        for heading, commands in blocks(path):
            number += 1
            p = subprocess.run(["bash", "-e", "-o", "pipefail", "-c", commands], cwd=folder, env=env, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False)
            print("%s %d - %s: %s" % ("not ok" if p.returncode else "ok", number, os.path.basename(path), heading), flush=True)
            if p.returncode:
                bad += 1
                print("\n".join("# " + line for line in (commands + p.stdout).splitlines()))
    finally:
        subprocess.run(["bash", "-c", "for m in $(backplanectl list | awk 'NR > 1 {print $1}'); do backplanectl -m $m quit; done"], cwd=folder, env=env,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(folder)
    return number, bad


def main():
    guides = sorted(glob.glob(os.path.join(SOURCE, "docs/guide/*.md")))
    if not kvm_usable():
        print("1..0 # SKIP KVM is not usable here, and the guides' machines run on it")
        return 0
    print("1..%d" % sum(len(blocks(g)) for g in guides))
    number = failed = 0
    for guide in guides:
        number, bad = run(guide, number)
        failed += bad
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

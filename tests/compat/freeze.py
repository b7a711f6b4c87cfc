#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""freeze.py RELEASE: writes compat-db/RELEASE (make release-freeze RELEASE=0.1): defaults, and the reference machines as this build makes
them. What is there is never written again. The working tree must be a commit: its tree's id is how the release is found again."""
import base64
import json
import os
import re
import subprocess
import sys
sys.dont_write_bytecode = True
# pylint: disable=wrong-import-position
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import machines  # noqa: E402
import releases  # noqa: E402


def git(*words):
    return subprocess.run(("git", "-C", releases.SOURCE) + words, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def main(release):
    folder = os.path.join(releases.COMPAT_DB, release)
    if not re.fullmatch(r"[0-9]+\.[0-9]+", release):
        sys.exit("release-freeze: '%s' is no release such as 0.1" % release)
    if os.path.exists(folder):
        sys.exit("release-freeze: %s is there: a release is frozen once" % folder)
    if git("status", "--porcelain", "--untracked-files=no"):
        sys.exit("release-freeze: there are changes that are not committed, and the release is what a commit holds")
    os.makedirs(folder)
    with open(os.path.join(folder, "release.json"), "x", encoding="utf-8") as f:
        json.dump({"release": release, "tree": git("rev-parse", "HEAD^{tree}")}, f, indent=1)
        f.write("\n")
    subprocess.run((sys.executable, os.path.join(releases.SOURCE, "schema/gen/main.py"), "--defaults", os.path.join(releases.SOURCE, "schema"),
                    os.path.join(folder, "defaults.json")), check=True)
    for name, config in machines.all_machines(releases.KERNEL).items():
        with releases.daemon() as d:
            releases.start(d, config)
            hints = d.c.call("compat-hints-export")
            releases.Reference(release, name).write(config, base64.b64decode(hints["data"]), releases.abi(d))
        print("%s: %d records, %d bytes of hints, %s" % (name, hints["records"], hints["size"], hints["fingerprint"]))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])

# SPDX-License-Identifier: LGPL-2.1-or-later
"""What compat-db has of releases, and how a reference machine is made by today's build."""
import gzip
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.environ.get("top_srcdir", os.path.dirname(os.path.dirname(HERE))), "tests/system"))
# pylint: disable=wrong-import-position
from blackbox import BUILD, SOURCE, Daemon  # noqa: E402

COMPAT_DB = os.path.join(SOURCE, "compat-db")
KERNEL = os.path.join(BUILD, "tests/guest/probe-pvh.elf")
KERNEL_WORD = "@KERNEL@"  # in a committed configuration: where the kernel is, is not the guest's business


def with_kernel(config, old, new):
    return json.loads(json.dumps(config).replace(json.dumps(old), json.dumps(new)))


class Reference:
    """One machine of a release: what was given, and what that release's binary wrote."""

    def __init__(self, release, name):
        self.release, self.name = release, name
        self.base = os.path.join(COMPAT_DB, release, "machines", name)

    def __str__(self):
        return "%s of %s" % (self.name, self.release)

    def config(self):
        with open(self.base + ".config.json", encoding="utf-8") as f:
            return with_kernel(json.load(f), KERNEL_WORD, KERNEL)

    def hints(self):
        return self.base + ".hints"

    def abi(self):
        with gzip.open(self.base + ".abi.json.gz", "rt") as f:
            return json.load(f)

    def write(self, config, hints, abi):
        os.makedirs(os.path.dirname(self.base), exist_ok=True)
        with open(self.base + ".config.json", "x", encoding="utf-8") as f:
            json.dump(with_kernel(config, KERNEL, KERNEL_WORD), f, indent=1)
            f.write("\n")
        with open(self.hints(), "xb") as f:
            f.write(hints)
        with open(self.base + ".abi.json.gz", "xb") as f, gzip.GzipFile("", "wb", 9, f, mtime=0) as z:
            z.write(json.dumps(abi, indent=0, sort_keys=True).encode())


def releases():
    """Frozen releases, oldest first."""
    names = [n for n in os.listdir(COMPAT_DB) if os.path.exists(os.path.join(COMPAT_DB, n, "release.json"))]
    return sorted(names, key=lambda n: [int(x) for x in n.split(".")])


def references(release):
    folder = os.path.join(COMPAT_DB, release, "machines")
    return [Reference(release, n[:-len(".hints")]) for n in sorted(os.listdir(folder)) if n.endswith(".hints")]


def start(d, config, hints=None, baseline=None):
    """Makes the machine in daemon D and lets it begin: only then is memory laid out."""
    if baseline:
        d.c.call("compat-hints-import", **{"from": {"baseline": baseline}})
    if hints:
        d.c.call("compat-hints-import", **{"from": {"file": hints}})
    d.c.call("machine-config-load", config=config)
    d.c.call("cont")
    d.c.call("stop")


def abi(d):
    return d.c.call("query-guest-abi", detail=True)


def daemon(*args):
    os.environ["BACKPLANE_COMPAT_DB"] = COMPAT_DB  # where an installed daemon has its own
    return Daemon(*args)

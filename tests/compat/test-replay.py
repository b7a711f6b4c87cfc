#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every machine of every release, made again by today's build from its configuration and the hints that the release's binary wrote: the guest
sees the same bytes. A default or a byte that changed without a property row for it fails here, by name."""
import base64
import os
import subprocess
import sys
import tempfile
sys.dont_write_bytecode = True
# pylint: disable=wrong-import-position
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import releases  # noqa: E402
from blackbox import main, test  # noqa: E402


def told(differences):
    return "; ".join("%s %s: now %s, was %s" % (d["device"], d["item"], str(d.get("ours"))[:80], str(d.get("theirs"))[:80]) for d in differences[:5])


def check_same(d, golden):
    differences = d.c.call("guest-abi-compare", other=golden)["differences"]
    assert not differences, "%d items differ: %s" % (len(differences), told(differences))
    assert releases.abi(d)["fingerprint"] == golden["fingerprint"], "the same leaves, and another fingerprint"


def replay(reference):
    def run():
        golden = reference.abi()
        with releases.daemon() as d:
            releases.start(d, reference.config(), hints=reference.hints())
            check_same(d, golden)
            d.c.call("system_reset")
            d.c.call("cont")
            d.c.call("stop")
            check_same(d, golden)  # a reset changes nothing
            again = base64.b64decode(d.c.call("compat-hints-export")["data"])
        with releases.daemon() as d, tempfile.NamedTemporaryFile() as f:  # and once more from today's hints
            f.write(again)
            f.flush()
            releases.start(d, reference.config(), hints=f.name)
            check_same(d, golden)
            assert base64.b64decode(d.c.call("compat-hints-export")["data"]) == again
    run.__name__ = "%s_%s" % (reference.release.replace(".", "_"), reference.name)
    run.__doc__ = "%s looks as it did" % reference
    return run


@test
def registry():
    """compat-db/properties.json is what the schema says."""
    committed = os.path.join(releases.COMPAT_DB, "properties.json")
    gen = os.path.join(releases.SOURCE, "schema/gen/main.py")
    now = subprocess.run((sys.executable, gen, "--registry", os.path.join(releases.SOURCE, "schema"), "-"), check=True, stdout=subprocess.PIPE).stdout
    with open(committed, "rb") as f:
        assert f.read() == now, "the registry is out of date: make schema-golden, read the difference, commit it"


@test
def releases_are_frozen():
    """A release has all that the rules ask for."""
    for release in releases.releases():
        folder = os.path.join(releases.COMPAT_DB, release)
        for name in ("release.json", "defaults.json"):
            assert os.path.exists(os.path.join(folder, name)), "%s has no %s" % (release, name)
        assert {r.name for r in releases.references(release)} >= {"small", "server", "large", "everything"}


for _release in releases.releases():
    for _reference in releases.references(_release):
        test(replay(_reference))

if __name__ == "__main__":
    sys.exit(main())

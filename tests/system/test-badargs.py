#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Each argument of each command with each thing that can be wrong with it, against a running machine. The cases are made
from the schema (schema/gen/badargs.py): all are refused with one clear error, and the machine is what it was."""
import collections
import json
import os
import subprocess
import sys
sys.dont_write_bytecode = True
# pylint: disable=wrong-import-position
from blackbox import MIB, SOURCE, Daemon, build_machine, diag, main, test  # noqa: E402

# What a wrong value may be called: the wire's own words for wrong types, or a refusal that names a thing.
CLASSES = {"GenericError", "CommandNotFound", "DeviceNotFound", "DeviceNotActive"}


def cases():
    out = subprocess.run([sys.executable, os.path.join(SOURCE, "schema/gen/badargs.py"), os.path.join(SOURCE, "schema")],
                         capture_output=True, text=True, check=True).stdout
    by_command = collections.defaultdict(list)
    for line in out.splitlines():
        case = json.loads(line)
        by_command[case["command"]].append(case)
    return by_command


def mentions(desc, case):
    """An error says what is wrong: a name out of the request or a number of it, not just that something is."""
    words = {w.strip("'\"") for w in desc.replace(":", " ").split()}
    request = json.loads(case["request"])
    names = set()

    def collect(value):
        if isinstance(value, dict):
            for k, v in value.items():
                names.add(k)
                collect(v)
        elif isinstance(value, list):
            for v in value:
                collect(v)
        else:
            names.add(str(value))
    collect(request.get("arguments"))
    names.add(request["execute"])
    return any(n and n in desc for n in names) or "missing" in words or "arguments" in words


def run(d, view, command, wanted):
    """One connection for all cases of a command, pipelined; the replies in order."""
    wrong = []
    with d.client(negotiate=command != "qmp_capabilities") as c:
        for start in range(0, len(wanted), 200):
            batch = wanted[start:start + 200]
            c.send("".join(case["request"] + "\n" for case in batch).encode())
            for case in batch:
                r = c.reply()
                if "error" not in r:
                    wrong.append(f"not refused: {case['why']}: {case['request'][:300]} -> {str(r)[:200]}")
                    continue
                desc = r["error"]["desc"]
                if r["error"]["class"] not in CLASSES or len(desc.encode()) > 600 or not desc or "\n" in desc:
                    wrong.append(f"a bad error: {case['why']}: {case['request'][:300]} -> {r['error']}")
                elif not mentions(desc, case):
                    wrong.append(f"names nothing: {case['why']}: {case['request'][:300]} -> {desc}")
    now = d.view()
    for key, value in view.items():
        if now[key] != value:
            wrong.append(f"{command}: {key} changed")
    assert not wrong, f"{len(wrong)} of {len(wanted)}:\n" + "\n".join(wrong[:8])


def whole(d):
    view, failed, count = d.view(), [], 0
    for command, wanted in cases().items():
        count += len(wanted)
        try:
            run(d, view, command, wanted)
        except AssertionError as e:
            failed.append(f"{command}: {e}")
    assert count > 3000, f"only {count} cases"
    for text in failed:
        diag(text)
    assert not failed, f"{len(failed)} commands took something wrong"
    return f"{count} cases"


@test
def the_empty_machine_refuses_all():
    with Daemon() as d:
        before = d.vitals()
        said = whole(d)
        d.unchanged(before, memory=4 * MIB)
    return said


@test
def a_running_machine_refuses_all():
    with Daemon() as d:
        build_machine(d.c)
        d.c.call("cont")
        before = d.vitals()
        said = whole(d)
        d.unchanged(before, memory=4 * MIB)
    return said


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""query-qmp-schema as QEMU's clients read it, and that it tells the truth about the commands, events, types and properties."""
import json
import os
import sys
sys.dont_write_bytecode = True
# pylint: disable=wrong-import-position
from blackbox import SOURCE, build_machine, Daemon, main, test  # noqa: E402

META = {"builtin": {"json-type"}, "enum": {"values"}, "array": {"element-type"}, "object": {"members"}, "alternate": {"members"},
        "command": {"arg-type", "ret-type"}, "event": {"arg-type"}}
OPTIONAL = {"enum": {"members"}, "object": {"tag", "variants"}, "command": {"allow-oob"}}
JSON_TYPES = {"string", "number", "int", "boolean", "null", "object", "array", "value"}


class Schema:
    def __init__(self, d):
        self.entities = d.c.call("query-qmp-schema")
        self.by_name = {e["name"]: e for e in self.entities}
        assert len(self.by_name) == len(self.entities), "a name stands twice"

    def members(self, type_name):
        return {m["name"]: m for m in self.by_name[type_name]["members"]}

    def query(self, path):
        """libvirt's notation: COMMAND[/arg-type|/ret-type]/member/... ; '*' before an optional one, '+' before a variant, '^' a value."""
        words = path.split("/")
        e = self.by_name.get(words[0])
        if e is None:
            return False
        if e["meta-type"] == "event":
            words.insert(1, "arg-type")
        if len(words) == 1:
            return True
        e = self.by_name[e[words[1]]]
        for word in words[2:]:
            while e["meta-type"] == "array":
                e = self.by_name[e["element-type"]]
            if word.startswith("^"):
                return e["meta-type"] == "enum" and word[1:] in e["values"]
            if e["meta-type"] != "object":
                return False
            if word.startswith("+"):
                found = [v["type"] for v in e.get("variants", []) if v["case"] == word[1:]]
            else:
                found = [m["type"] for m in e["members"] if m["name"] == word.lstrip("*") and (not word.startswith("*") or "default" in m)]
            if not found:
                return False
            e = self.by_name[found[0]]
        return True


@test
def the_shape(d):
    """QEMU's SchemaInfo: each entity has the members of its kind and no others, and names only what is there."""
    s = Schema(d)
    for e in s.entities:
        need = META[e["meta-type"]] | {"name", "meta-type"}
        have = set(e) - {"features"}
        assert need <= have <= need | OPTIONAL.get(e["meta-type"], set()), e
        assert all(isinstance(f, str) for f in e.get("features", [])), e
        for key in ("arg-type", "ret-type", "element-type"):
            assert key not in e or e[key] in s.by_name, e
        if e["meta-type"] == "builtin":
            assert e["json-type"] in JSON_TYPES, e
        if e["meta-type"] == "enum":
            assert e["values"] == [m["name"] for m in e["members"]] and len(set(e["values"])) == len(e["values"]), e
        if e["meta-type"] == "object":
            check_object(s, e)
        if e["meta-type"] in ("command", "event"):
            assert s.by_name[e["arg-type"]]["meta-type"] == "object", e
        if e["meta-type"] not in ("command", "event", "builtin"):
            assert e["name"].startswith("[") or e["name"].isdigit(), f"the name {e['name']} of a type is not masked"
    kinds = {e["meta-type"] for e in s.entities}
    assert {"builtin", "enum", "array", "object", "command", "event"} <= kinds, kinds


def check_object(s, e):
    names = [m["name"] for m in e["members"]]
    assert len(set(names)) == len(names), e
    for m in e["members"]:
        assert {"name", "type"} <= set(m) <= {"name", "type", "default", "features"}, m
        assert m["type"] in s.by_name, m
        assert m.get("default") is None, f"QEMU's default is null, which means optional: {m}"
    assert ("tag" in e) == ("variants" in e), e
    if "tag" in e:
        tag = s.by_name[[m["type"] for m in e["members"] if m["name"] == e["tag"]][0]]
        assert tag["meta-type"] == "enum", e
        cases = [v["case"] for v in e["variants"]]
        assert set(cases) <= set(tag["values"]) and len(set(cases)) == len(cases), e
        for v in e["variants"]:
            assert set(v) == {"case", "type"} and s.by_name[v["type"]]["meta-type"] == "object", v
            clash = set(names) & set(m["name"] for m in s.by_name[v["type"]]["members"])
            assert not clash, f"{clash} stand in the base and in variant {v['case']}"


@test
def everything_can_be_reached(d):
    """No entity that no command or event leads to, and no command that the one list has and the other has not."""
    s = Schema(d)
    commands = {e["name"] for e in s.entities if e["meta-type"] == "command"}
    listed = {c["name"] for c in d.c.call("query-commands")}
    assert commands == listed, commands ^ listed
    todo, seen = [e["name"] for e in s.entities if e["meta-type"] in ("command", "event")], set()
    while todo:
        e = s.by_name[todo.pop()]
        if e["name"] in seen:
            continue
        seen.add(e["name"])
        todo += [e[k] for k in ("arg-type", "ret-type", "element-type") if k in e]
        if e["meta-type"] == "object":
            todo += [x["type"] for x in e["members"] + e.get("variants", [])]
    assert seen == set(s.by_name), set(s.by_name) - seen
    events = {e["name"] for e in s.entities if e["meta-type"] == "event"}
    assert {"STOP", "RESUME", "RESET", "SHUTDOWN", "POWERDOWN", "DEVICE_DELETED", "GUEST_PANICKED"} <= events, events


@test
def the_same_twice(d):
    d.c.send(b'{"execute":"query-qmp-schema"}' * 3)
    first = d.c.line()
    assert first == d.c.line() == d.c.line()
    with d.client() as other:
        other.send(b'{"execute":"query-qmp-schema"}')
        assert other.line() == first


@test
def what_managers_ask(d):
    """Questions of libvirt's probe (docs/design/libvirt.md), in its notation."""
    s = Schema(d)
    for path in ("device_add/arg-type/driver", "device_del", "object-add/arg-type/+memory-backend-memfd/*share", "object-add/arg-type/qom-type/^iothread",
                 "chardev-add/arg-type/backend/+ringbuf", "query-hotpluggable-cpus/ret-type/props/*socket-id", "query-cpus-fast/ret-type/thread-id",
                 "query-status/ret-type/status/^prelaunch", "set-action/arg-type/*shutdown/^pause", "SHUTDOWN/reason/^guest-reset",
                 "query-memory-devices/ret-type/+dimm/data/addr", "query-machine-config/arg-type/*resolved", "DEVICE_DELETED/*device", "SHUTDOWN/guest"):
        assert s.query(path), path
    for path in ("no-such", "device_add/arg-type/no-such-member", "object-add/arg-type/qom-type/^no-such", "query-status/ret-type/*status", "migrate-no-such"):
        assert not s.query(path), path


@test
def arguments_are_what_it_says(d):
    """The schema's word against the daemon's: a mandatory argument is missed, an optional one is not."""
    s = Schema(d)
    for e in s.entities:
        if e["meta-type"] != "command" or e["name"] in ("quit", "qmp_capabilities", "device_add", "object-add", "cont", "stop", "system_reset", "system_powerdown", "inject-nmi"):
            continue
        mandatory = {n for n, m in s.members(e["arg-type"]).items() if "default" not in m}
        d.c.send(('{"execute":"%s"}' % e["name"]).encode())
        r = d.c.reply()
        missing = "is missing" in r.get("error", {}).get("desc", "")
        assert missing == bool(mandatory), f"{e['name']}: mandatory {mandatory}, and the answer to none is {str(r)[:300]}"
        if missing:
            assert any(f"'{n}'" in r["error"]["desc"] for n in mandatory), r


@test
def device_types_and_properties(d):
    """device_add, qom-list-types and device-list-properties tell of the same types and properties."""
    s = Schema(d)
    union = s.by_name[s.by_name["device_add"]["arg-type"]]
    drivers = set(s.by_name[[m["type"] for m in union["members"] if m["name"] == union["tag"]][0]]["values"]) if "tag" in union else set()
    types = {t["name"]: t for t in d.c.call("qom-list-types")}
    assert drivers and drivers <= set(types), drivers - set(types)
    assert not [n for n in drivers if types[n].get("abstract")]
    for v in union["variants"]:
        listed = {p["name"]: p for p in d.c.call("device-list-properties", typename=v["case"])}
        for name, m in s.members(v["type"]).items():
            assert name in listed, f"{v['case']}: {name} is in the schema and not in device-list-properties"
            kind = s.by_name[m["type"]]
            if kind["meta-type"] == "builtin" and kind["json-type"] == "boolean":
                assert listed[name]["type"] == "bool", (v["case"], listed[name])
        assert all(p.get("description") for n, p in listed.items() if n in s.members(v["type"])), v["case"]
    d.c.refused("device-list-properties", "x86-cpu", typename="x86-cpu")


@test
def command_line_options(d):
    options = {o["option"] for o in d.c.call("query-command-line-options")}
    for o in d.c.call("query-command-line-options"):
        assert set(o) == {"option", "parameters"}, o
        for p in o["parameters"]:
            assert {"name", "type"} <= set(p) <= {"name", "type", "help", "default"} and p["type"] in ("string", "boolean", "number", "size"), p
    for option in options:
        assert d.c.call("query-command-line-options", option=option)[0]["option"] == option
    d.c.refused("query-command-line-options", "no-such", option="no-such")


@test
def the_tree(d):
    """qom-list leads to every plugged thing; qom-get reads each of its properties; types are what is plugged."""
    def walk(path):
        for p in d.c.call("qom-list", path=path):
            below = path.rstrip("/") + "/" + p["name"]
            if p["type"].startswith("child<"):
                found[below] = p["type"][6:-1]
                walk(below)
            elif not p["type"].startswith("link<"):
                d.c.call("qom-get", path=path, property=p["name"])
    found = {}
    walk("/machine")
    walk("/objects")
    for path, kind in (("/machine/peripheral/serial0", "isa-serial"), ("/machine/peripheral/dimm0", "pc-dimm"), ("/objects/m0", "memory-backend-ram")):
        assert found.get(path) == kind, (path, found)
    for cpu in d.c.call("query-cpus-fast"):
        assert cpu["qom-path"] in found, (cpu, found)


@test
def the_golden_file(d):
    """What the daemon says is what is committed, but for the names of types: a change of the wire is a visible diff."""
    with open(os.path.join(SOURCE, "tests/qmp/schema.golden.json"), encoding="utf-8") as f:
        golden = json.load(f)
    said = d.c.call("query-qmp-schema")
    assert len(golden) == len(said)

    def expand(entities):
        by_name = {e["name"]: e for e in entities}

        def one(name, above):
            e = dict(by_name[name])
            if name in above:
                return "a type that it is in"
            if e["meta-type"] != "builtin":
                del e["name"]
            for key in ("arg-type", "ret-type", "element-type"):
                if key in e:
                    e[key] = one(e[key], above + [name])
            for key in ("members", "variants"):
                if key in e and e["meta-type"] == "object":
                    e[key] = [dict(m, type=one(m["type"], above + [name])) for m in e[key]]
            return e
        return {e["name"]: one(e["name"], []) for e in entities if e["meta-type"] in ("command", "event")}
    a, b = expand(golden), expand(said)
    assert a == b, "make schema-golden, and look at the diff: " + ", ".join(n for n in set(a) | set(b) if a.get(n) != b.get(n))


def shared():
    d = Daemon()
    build_machine(d.c)
    return d


if __name__ == "__main__":
    sys.exit(main(shared, guard=True))

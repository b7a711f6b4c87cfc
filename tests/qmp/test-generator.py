#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The generator's own behaviour: each mistake in a schema is named with its file and definition, nothing is written for a
bad schema, and the output depends on the schema alone. Writes TAP."""

import json
import os
import subprocess
import sys
import tempfile

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..')
GEN = os.path.join(TOP, 'schema', 'gen')
FIXTURE = os.path.join(TOP, 'tests', 'qmp', 'schema-fixture')

PROP = {'name': 'port', 'type': 'uint8', 'doc': 'x', 'since': '0.1'}
MEMBER = {'name': 'a', 'type': 'str', 'doc': 'x'}
VALUES = [{'name': 'a', 'doc': 'x'}]


def device(**kw):
    return [dict({'device': 'dev', 'doc': 'x', 'since': '0.1', 'plug': 'isa', 'props': []}, **kw)]


def prop(**kw):
    return device(props=[dict(PROP, **kw)])


def struct(*members, **kw):
    return [dict({'struct': 'S', 'doc': 'x', 'members': list(members)}, **kw)]


def command(**kw):
    return [dict({'command': 'do-it', 'doc': 'x'}, **kw)]


def union(**kw):
    return struct(MEMBER) + [dict({'union': 'U', 'doc': 'x', 'discriminator': 'type', 'variants': {'s': 'S'}}, **kw)]


# what is wrong, the file's content (a string: as it is), part of the message
TOP_CASES = [
    ('not JSON', '[{"struct":', 'bad.json: Expecting'),
    ('not UTF-8', b'["\xff"]', 'bad.json:'),
    ('a member twice', '[{"struct": "S", "struct": "T"}]', "bad.json: member 'struct' is there twice"),
    ('not a list', '3', 'bad.json: a schema file is one array of definitions'),
    ('no known kind', [{'strct': 'S'}], 'bad.json: a definition that is none of section, enum'),
    ('a device outside devices/', device(), 'bad.json: a definition that is none of'),
    ('no doc', [{'struct': 'S', 'members': []}], "bad.json: struct 'S': member 'doc' is missing"),
    ('empty doc', struct(doc=' '), "bad.json: struct 'S': 'doc' must be a text"),
    ('member without doc', struct({'name': 'a', 'type': 'str'}), "bad.json: struct 'S', member 'a': member 'doc' is missing"),
    ('unknown key', struct(membres=[]), "bad.json: struct 'S': unknown member 'membres' (allowed: base"),
    ('unknown type', struct(dict(MEMBER, type='strr')), "bad.json: struct 'S', member 'a': unknown type 'strr'"),
    ('list of lists', struct(dict(MEMBER, type=[['str']])), 'a list type is ["ElementType"]'),
    ('bad member name', struct(dict(MEMBER, name='Foo_bar')), "member 'Foo_bar': names are lower-case-with-dashes"),
    ('member twice', struct(MEMBER, MEMBER), "bad.json: struct 'S', member 'a': is the same as 'a'"),
    ('optional not a bool', struct(dict(MEMBER, optional=1)), "'optional' must be true or false"),
    ('bad type name', struct(struct='my-struct'), "struct 'my-struct': names of types are CamelCase"),
    ('a name of the generator', struct(struct='DeviceAdd'), "struct 'DeviceAdd': is a name that the generator defines"),
    ('defined twice', struct() + struct(), "bad.json: struct 'S': is defined already in"),
    ('base unknown', struct(base='T'), "struct 'S': base 'T' is not a struct"),
    ('base of itself', struct(base='S'), "struct 'S': is its own base"),
    ('member of the base again', struct(MEMBER) + struct(MEMBER, struct='T', base='S'), "struct 'T': member 'a' is in its base too"),
    ('contains itself', struct(dict(MEMBER, type='T')) + struct(dict(MEMBER, type='S'), struct='T'),
     "struct 'S': must contain itself without end"),
    ('empty enum', [{'enum': 'E', 'doc': 'x', 'values': []}], "enum 'E': 'values' must be a list that is not empty"),
    ('value without doc', [{'enum': 'E', 'doc': 'x', 'values': [{'name': 'a'}]}], "enum 'E', value 'a': member 'doc' is missing"),
    ('value twice', [{'enum': 'E', 'doc': 'x', 'values': VALUES + VALUES}], "enum 'E', value 'a': is the same as 'a'"),
    ('values the same in C', [{'enum': 'E', 'doc': 'x', 'values': [{'name': 'a-b', 'doc': 'x'}, {'name': 'a_b', 'doc': 'x'}]}],
     "value 'a_b': is the same as 'a-b'"),
    ('variant unknown', union(variants={'s': 'T'}), "union 'U': variant 's': 'T' is not a struct"),
    ('variant clashes', union(base=[MEMBER]), "union 'U': variant 's': member 'a' is in the base too"),
    ('tag not an enum', union(**{'discriminator-type': 'S'}), "union 'U': discriminator-type 'S' is not an enum"),
    ('tag without the value', union(**{'discriminator-type': 'E'}) + [{'enum': 'E', 'doc': 'x', 'values': VALUES}],
     "union 'U': variant 's' is not a value of E"),
    ('bad command name', command(command='do_it'), "command 'do_it': names of commands are lower-case-with-dashes"),
    ('returns a list', command(returns=['str']), "command 'do-it': commands return objects"),
    ('returns nothing known', command(returns='T'), "command 'do-it': unknown type 'T'"),
    ('arguments unknown', command(arguments='T'), "command 'do-it': arguments 'T' is not a struct"),
    ('bad event name', [{'event': 'Stop', 'doc': 'x'}], "event 'Stop': names of events are UPPER_CASE"),
    ('rate-key unknown', [{'event': 'E', 'doc': 'x', 'rate-key': 'k'}], "event 'E': rate-key 'k' is not a str member"),
]
DEVICE_CASES = [
    ('no since', [{'device': 'dev', 'doc': 'x', 'props': []}], "devices/bad.json: device 'dev': member 'since' is missing"),
    ('no plug', [{'device': 'dev', 'doc': 'x', 'since': '0.1', 'props': []}], "device 'dev': member 'plug' is missing"),
    ('bad plug', device(plug='usb'), "device 'dev': plug 'usb' is none of board"),
    ('bad flag', device(flags=['hot']), "device 'dev': flag 'hot' is none of hotplug"),
    ('bad since', device(since='now'), "device 'dev': 'since' must be a release"),
    ('base unknown', device(base='nothing'), "device 'dev': base 'nothing' is not defined"),
    ('base of itself', device(base='dev'), "device 'dev': is its own base"),
    ('plug of an object', [{'object': 'o', 'doc': 'x', 'since': '0.1', 'plug': 'isa', 'props': []}], "object 'o': 'plug' is for devices"),
    ('defaults without base', device(defaults={'x': 1}), "device 'dev': defaults: its base has no property 'x'"),
    ('default of the base out of range', prop(range=[1, 9]) + device(device='d2', base='dev', defaults={'port': 10}),
     "device 'd2', default of 'port': default 10 is not an integer of 1 to 9"),
    ('property unknown type', prop(type='int'), "device 'dev', property 'port': unknown type 'int'"),
    ('property without doc', device(props=[{'name': 'p', 'type': 'str', 'since': '0.1'}]), "property 'p': member 'doc' is missing"),
    ('property twice', device(props=[PROP, PROP]), "device 'dev': property 'port' is there twice"),
    ('property of the base again', prop() + device(device='d2', base='dev', props=[PROP]), "device 'd2': property 'port' is there twice"),
    ('reserved name', prop(name='id'), "property 'id': the core defines this name"),
    ('default out of range', prop(default=256), "property 'port': default 256 is not an integer of 0 to 255"),
    ('default of another type', prop(default='1'), "property 'port': default \"1\" is not an integer"),
    ('default a boolean', prop(default=True), 'default true is not an integer'),
    ('before out of range', prop(range=[4, 8], before=3), 'before 3 is not an integer of 4 to 8'),
    ('range backwards', prop(range=[8, 4]), "'range' must be [min, max] within the type"),
    ('range beyond the type', prop(range=[0, 256]), "'range' must be [min, max] within the type"),
    ('enum default', prop(type='enum:a|b', default='c'), 'default "c" is not one of a, b'),
    ('enum with auto', prop(type='enum:auto|b', default='auto'), 'default "auto" is ambiguous'),
    ('enum twice', prop(type='enum:a|a'), "bad list of values in 'enum:a|a'"),
    ('required with default', prop(required=True, default=1), 'a required property has no default'),
    ('host without auto', prop(host=True, default=1), "'host' is for defaults that are \"auto\""),
    ('internal and required', prop(internal=True, required=True), 'an internal property can not be required'),
    ('bootindex of another name', prop(type='bootindex', guest=True), "type and name 'bootindex' go together"),
    ('bootindex of another type', prop(name='bootindex', guest=True), "type and name 'bootindex' go together"),
    ('bootindex that the guest does not see', prop(name='bootindex', type='bootindex'), 'a bootindex is visible to the guest'),
    ('bootindex with a default', prop(name='bootindex', type='bootindex', guest=True, default=1), 'unset where nobody gives one'),
    ('link of a number', prop(link='chardev'), "'link' says what a property of type link refers to"),
    ('long default', prop(type='str', range=[0, 3], default='four'), 'default "four" is not of 0 to 3 bytes'),
]

count = 0
failed = 0


def report(ok, name, text=''):
    global count, failed
    count += 1
    failed += not ok
    print('%s %d - %s' % ('ok' if ok else 'not ok', count, name))
    if not ok:
        for line in text.splitlines():
            print('# ' + line)


def run(*args):
    return subprocess.run([sys.executable, os.path.join(GEN, 'main.py')] + list(args), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True)


def check_bad(name, content, expected, folder):
    with tempfile.TemporaryDirectory() as tmp:
        src, out = os.path.join(tmp, 'schema'), os.path.join(tmp, 'out')
        os.makedirs(os.path.join(src, 'devices'))
        if not isinstance(content, (str, bytes)):
            content = json.dumps(content)
        with open(os.path.join(src, folder, 'bad.json'), 'wb') as f:
            f.write(content if isinstance(content, bytes) else content.encode())
        p = run(src, out)
        ok = p.returncode == 1 and expected in p.stderr and 'Traceback' not in p.stderr and not os.path.exists(out)
        report(ok, name, 'expected: %s\ngot: %s' % (expected, p.stderr))


def contents(path):
    out = {}
    for name in sorted(os.listdir(path)):
        with open(os.path.join(path, name), 'rb') as f:
            out[name] = (f.read(), os.stat(os.path.join(path, name)).st_mtime_ns)
    return out


def check_output():
    with tempfile.TemporaryDirectory() as tmp:
        one, two = os.path.join(tmp, 'one'), os.path.join(tmp, 'two')
        p = run(FIXTURE, one)
        report(p.returncode == 0 and not p.stderr, 'the fixture is good', p.stderr)
        env = dict(os.environ, PYTHONHASHSEED='7')
        subprocess.run([sys.executable, os.path.join(GEN, 'main.py'), FIXTURE, two], env=env, check=True)
        first, second = contents(one), contents(two)
        report({k: v[0] for k, v in first.items()} == {k: v[0] for k, v in second.items()}, 'two runs write the same')
        run(FIXTURE, one)
        report(contents(one) == first, 'files that do not change keep their time')
        os.remove(os.path.join(one, 'qmp-types.h'))
        run(FIXTURE, one)
        report(contents(one)['qmp-types.h'][0] == first['qmp-types.h'][0], 'a lost file comes back')


def check_introspection():
    """The readable document of the fixture, entity by entity; what is masked is checked by test-codec."""
    p = run('--golden', FIXTURE, '-')
    entities = {x['name']: x for x in json.loads(p.stdout)}
    member = entities['q_make-derived-arg']['members'][1]
    expected = {
        'take-shape': {'name': 'take-shape', 'meta-type': 'command', 'arg-type': 'Shape', 'ret-type': 'q_empty',
                       'allow-oob': True, 'features': ['unstable']},
        'query-chardev': {'name': 'query-chardev', 'meta-type': 'command', 'arg-type': 'q_empty', 'ret-type': '[Inner]'},
        'q_empty': {'name': 'q_empty', 'meta-type': 'object', 'members': []},
        '[Inner]': {'name': '[Inner]', 'meta-type': 'array', 'element-type': 'Inner'},
        'int': {'name': 'int', 'meta-type': 'builtin', 'json-type': 'int'},
        'any': {'name': 'any', 'meta-type': 'builtin', 'json-type': 'value'},
        'PLAIN': {'name': 'PLAIN', 'meta-type': 'event', 'arg-type': 'q_empty'},
        'ShapeKind': {'name': 'ShapeKind', 'meta-type': 'enum', 'values': ['point', 'circle', 'square'],
                      'members': [{'name': 'point'}, {'name': 'circle'}, {'name': 'square'}]},
        'Shape': {'name': 'Shape', 'meta-type': 'object', 'tag': 'kind',
                  'members': [{'name': 'kind', 'type': 'ShapeKind'}, {'name': 'name', 'type': 'str'}],
                  'variants': [{'case': 'point', 'type': 'q_empty'}, {'case': 'circle', 'type': 'Circle'},
                               {'case': 'square', 'type': 'Square'}]},
        'DeviceAdd': {'name': 'DeviceAdd', 'meta-type': 'object', 'tag': 'driver',
                      'members': [{'name': 'driver', 'type': 'DeviceAddKind'}, {'name': 'id', 'type': 'str', 'default': None}],
                      'variants': [{'case': 'gadget', 'type': 'q_gadget'}]},
    }
    for name, entity in expected.items():
        report(entities.get(name) == entity, 'introspection of ' + name, json.dumps(entities.get(name)))
    report(member == {'name': 'extra', 'type': 'int', 'default': None}, 'introspection of an optional member', str(member))
    props = {m['name']: m for m in entities['q_gadget']['members']}
    report('secret' not in props and 'default' not in props['chardev'] and 'default' in props['port'],
           'introspection of properties', str(props))


def check_badargs():
    p = subprocess.run([sys.executable, os.path.join(GEN, 'badargs.py'), FIXTURE], stdout=subprocess.PIPE, universal_newlines=True)
    lines = [json.loads(x) for x in p.stdout.splitlines()]
    seen = {x['why'] for x in lines if x['command'] == 'make-derived'}
    for why in ("'name' missing", "'name': null for str", "'extra': more than the most", "unknown member 'no-such-member'"):
        report(why in seen, 'bad arguments: ' + why)
    report(all(json.loads(x['request'])['execute'] == x['command'] for x in lines), 'bad arguments are JSON')


def main():
    check_output()
    check_introspection()
    check_badargs()
    for folder, cases in (('', TOP_CASES), ('devices', DEVICE_CASES)):
        for name, content, expected in cases:
            check_bad(name, content, expected, folder)
    print('1..%d' % count)
    return 1 if failed else 0


sys.exit(main())

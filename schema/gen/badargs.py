# SPDX-License-Identifier: LGPL-2.1-or-later
"""Usage: badargs.py SCHEMADIR             one JSON line a case that every Backplane must refuse
          badargs.py --valid SCHEMADIR     lines that must be decoded: what the cases are made from
          badargs.py --handlers SCHEMADIR  C: a handler for each command that answers "handler reached"

A case is {"command", "why", "request"}: REQUEST is the command's text as it goes over the wire. Each starts from valid
arguments and has exactly one thing wrong: a wrong JSON type, a value just out of range, a member too many or missing, at
any depth, for each argument of each command and each property of each pluggable type. So a reply that is not an error, or a
change of the machine, is a bug.
"""

import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

from emit_commands import handler_stub  # noqa: E402
from model import BAGS, BUILTINS, Enum, Schema, SchemaError, Union  # noqa: E402

WRONG = [('null', None), ('a boolean', True), ('an integer', 1), ('a fraction', 1.5), ('a string', 'no-such-text'),
         ('an array', []), ('an object', {})]
RANGES = {'int': (-2**63, 2**63 - 1), 'int8': (-128, 127), 'int16': (-2**15, 2**15 - 1), 'int32': (-2**31, 2**31 - 1),
          'int64': (-2**63, 2**63 - 1), 'uint8': (0, 255), 'uint16': (0, 65535), 'uint32': (0, 2**32 - 1),
          'uint64': (0, 2**64 - 1), 'size': (0, 2**64 - 1)}
FITS = {'str': ('a string',), 'bool': ('a boolean',), 'int': ('an integer',), 'null': ('null',),
        'number': ('an integer', 'a fraction')}


class Cases:
    """Each function yields pairs (why, value) for one type; the caller puts the value where it belongs."""

    def __init__(self, schema):
        self.schema = schema
        self.inside = []  # a type that contains itself is entered once

    # -- values that are right --

    def good(self, ref):
        return [] if ref.is_list else self.good_type(ref.name)

    def good_type(self, name):
        if name in BUILTINS:
            return {'str': 'text', 'bool': True, 'number': 1.5, 'any': 1, 'null': None}.get(name, 1)
        if name in BAGS:
            return self.good_bag(name, self.schema.plugged_by(name)[0])
        d = self.schema.types[name]
        if isinstance(d, Enum):
            return d.values[0][0]
        if isinstance(d, Union):
            return self.good_union(d, *d.variants[0])
        return self.good_members(self.schema.all_members(d))

    def good_members(self, members):
        return {m.name: self.good(m.ref) for m in members if not m.optional}

    def good_union(self, u, value, variant):
        out = {u.discriminator: value}
        out.update(self.good_members([m for m in u.base_members if m.name != u.discriminator]))
        out.update(self.good_members(self.schema.all_members(self.schema.types[variant])))
        return out

    def good_prop(self, p):
        if p.enum:
            return p.enum[0]
        if p.type in ('str', 'link'):
            return 'x' * max(p.min, min(4, p.max))
        return {'bool': True, 'bytes': ''}.get(p.type, p.min)

    def good_bag(self, bag, p):
        out = {BAGS[bag][1]: p.name}
        if bag == 'ObjectAdd':
            out['id'] = 'bad0'
        out.update({r.name: self.good_prop(r) for r in self.schema.rows(p) if r.required})
        return out

    # -- values with one thing wrong --

    def wrong_kind(self, fits, expected):
        return [('%s for %s' % (what, expected), value) for what, value in WRONG if what not in fits]

    def bad(self, ref):
        if not ref.is_list:
            yield from self.bad_type(ref.name)
            return
        yield from self.wrong_kind(('an array',), 'a list')
        good = self.good_type(ref.name)
        for why, value in self.bad_type(ref.name):
            yield 'first element: ' + why, [value]
            yield 'second element: ' + why, [good, value]

    def bad_type(self, name):
        if name == 'any':
            return
        if name in BUILTINS:
            yield from self.wrong_kind(FITS[BUILTINS[name][2]], name)
            if name == 'str':
                yield 'a NUL in a string', 'a\0b'
            if name in RANGES:
                low, high = RANGES[name]
                yield 'less than the least', low - 1
                yield 'more than the most', high + 1
                yield 'an integer with a fraction', 1.0
            return
        if name in BAGS:
            yield from self.bad_bag(name)
            return
        if name in self.inside:
            return
        self.inside.append(name)
        yield from self.bad_defined(self.schema.types[name])
        self.inside.pop()

    def bad_defined(self, d):
        if isinstance(d, Enum):
            yield from self.wrong_kind(('a string',), 'an enum')
            yield 'no such value', 'no-such-value'
            yield 'a value in capitals', d.values[0][0].upper() + '_'
        elif isinstance(d, Union):
            yield from self.bad_union(d)
        else:
            yield from self.wrong_kind(('an object',), 'an object')
            members = self.schema.all_members(d)
            yield from self.bad_members(members, self.good_members(members))

    def bad_members(self, members, good):
        yield "unknown member 'no-such-member'", dict(good, **{'no-such-member': 1})
        for m in members:
            if not m.optional:
                yield "'%s' missing" % m.name, {k: v for k, v in good.items() if k != m.name}
            for why, value in self.bad(m.ref):
                yield "'%s': %s" % (m.name, why), dict(good, **{m.name: value})

    def bad_union(self, u):
        yield from self.wrong_kind(('an object',), 'an object')
        for value, variant in u.variants:
            members = list(u.base_members) + self.schema.all_members(self.schema.types[variant])
            for why, bad in self.bad_members(members, self.good_union(u, value, variant)):
                yield '%s: %s' % (value, why), bad

    def bad_bag(self, bag):
        kind, tag, _ = BAGS[bag]
        yield from self.wrong_kind(('an object',), 'an object')
        yield "'%s' missing" % tag, {'id': 'bad0'}
        yield 'no such type', {tag: 'no-such-type', 'id': 'bad0'}
        for p in self.schema.pluggables.values():
            if p.kind != kind or 'abstract' in p.flags:
                yield '%s: not to be named here' % p.name, {tag: p.name, 'id': 'bad0'}
        for p in self.schema.plugged_by(bag):
            for why, value in self.bad_props(bag, p):
                yield '%s: %s' % (p.name, why), value

    def bad_props(self, bag, p):
        good = self.good_bag(bag, p)
        for why, value in self.wrong_kind(('a string',), 'an id'):
            yield "'id': " + why, dict(good, id=value)
        for value in ('', '0', 'a b', 'a/b', 'a\0b', '\u00e4', 'a"b'):
            yield "'id': odd characters", dict(good, id=value)
        yield "unknown property 'no-such-property'", dict(good, **{'no-such-property': 1})
        if bag == 'ObjectAdd':
            yield "'id' missing", {k: v for k, v in good.items() if k != 'id'}
        for r in self.schema.rows(p):
            if r.required:
                yield "'%s' missing" % r.name, {k: v for k, v in good.items() if k != r.name}
            for why, value in self.bad_prop(r):
                yield "'%s': %s" % (r.name, why), dict(good, **{r.name: value})

    def bad_prop(self, r):
        if r.internal:
            yield 'for hints only', self.good_prop(r)
            return
        if r.type in ('bool', 'bytes', 'str', 'link', 'enum'):
            yield from self.wrong_kind(('a boolean',) if r.type == 'bool' else ('a string',), r.type)
        else:
            yield from self.wrong_kind(('an integer',), r.type)
            yield 'less than the least', r.min - 1
            yield 'more than the most', r.max + 1
            yield 'an integer with a fraction', float(min(r.min, 2**52))
        if r.type == 'enum':
            yield 'no such value', 'no-such-value'
        if r.type in ('str', 'link'):
            yield 'too long', 'x' * (r.max + 1)
            yield 'a NUL in a string', 'a\0b'
            if r.min:
                yield 'too short', 'x' * (r.min - 1)
        if r.type == 'bytes':
            yield 'not base64', '*'

    # -- commands --

    def command(self, c):
        if isinstance(c.args, str):
            yield from self.bad_type(c.args)
        else:
            yield from self.wrong_kind(('an object',), 'arguments')
            yield from self.bad_members(c.args or [], self.good_members(c.args or []))

    def valid(self, c):
        """As little as possible, then everything at once; for unions each variant."""
        if isinstance(c.args, str) and c.args in BAGS:
            return [self.good_bag(c.args, p) for p in self.schema.plugged_by(c.args)]
        d = self.schema.types[c.args] if isinstance(c.args, str) else None
        if isinstance(d, Union):
            return [self.good_union(d, v, t) for v, t in d.variants]
        members = self.schema.all_members(d) if d else c.args or []
        return [self.good_members(members), {m.name: self.good(m.ref) for m in members}]


def request(command, args):
    return json.dumps({'execute': command, 'arguments': args}, separators=(',', ':'))


def main(argv):
    if len(argv) not in (2, 3) or (len(argv) == 3 and argv[1] not in ('--valid', '--handlers')):
        sys.stderr.write(__doc__)
        return 2
    schema = Schema(argv[-1])
    cases = Cases(schema)
    if argv[1] == '--handlers':
        sys.stdout.write('#include "schema/generated/qmp-commands.h"\n\n')
        for c in schema.commands.values():
            sys.stdout.write(handler_stub(schema, c))
        return 0
    for name, c in schema.commands.items():
        found = [('valid', a) for a in cases.valid(c)] if argv[1] == '--valid' else cases.command(c)
        for why, args in found:
            print(json.dumps({'command': name, 'why': why, 'request': request(name, args)}))
    return 0


if __name__ == '__main__':
    try:
        sys.exit(main(sys.argv))
    except SchemaError as e:
        sys.exit('schema: %s' % e)

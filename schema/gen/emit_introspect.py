# SPDX-License-Identifier: LGPL-2.1-or-later
"""query-qmp-schema in QEMU's SchemaInfo form, as a constant.

Names of commands and events are interface; names of types are not, so they are masked by numbers in the order of
first use, as QEMU does; built-in types keep theirs. With masking off (the golden file of tests/qmp) they stay readable.
"""

import json

from model import BAGS, BUILTINS, PROP_KINDS, Enum, Ref, Union
from writer import banner, c_string

JSON_TYPES = {'str': 'string', 'int': 'int', 'number': 'number', 'bool': 'boolean', 'any': 'value', 'null': 'null'}


class Introspection:
    def __init__(self, schema, mask):
        self.schema = schema
        self.mask = mask
        self.names = {}   # our name -> shown name
        self.queue = []   # functions that make the entity of each used type
        self.out = []

    def build(self):
        for name, c in sorted(self.schema.commands.items()):
            self._command(name, c)
        for name, e in sorted(self.schema.events.items()):
            info = {'name': name, 'meta-type': 'event', 'arg-type': self._args(name + '-data', e.data)}
            self._emit(info, e.features)
        while self.queue:
            self.queue.pop(0)()
        return self.out

    def _emit(self, info, features=()):
        if features:
            info['features'] = list(features)
        self.out.append(info)

    def _command(self, name, c):
        arg = self._use(Ref(c.args, False)) if isinstance(c.args, str) else self._args(name + '-arg', c.args or [])
        info = {'name': name, 'meta-type': 'command', 'arg-type': arg,
                'ret-type': self._use(c.returns) if c.returns else self._args('', [])}
        if c.oob:
            info['allow-oob'] = True
        self._emit(info, c.features)

    def _name(self, key, make):
        """Registers a type on first use; MAKE(shown name) emits it later."""
        if key not in self.names:
            shown = str(sum(1 for k in self.names if not k.startswith('[') and k not in JSON_TYPES)) \
                if self.mask else key
            self.names[key] = shown
            self.queue.append(lambda: make(shown))
        return self.names[key]

    def _args(self, key, members):
        if not members:
            return self._name('q_empty', lambda n: self._emit({'name': n, 'meta-type': 'object', 'members': []}))
        return self._name('q_' + key, lambda n: self._object(n, members))

    def _use(self, ref):
        if not ref.is_list:
            return self._use_name(ref.name)
        element = self._use_name(ref.name)
        shown = '[%s]' % element
        if shown not in self.names:
            self.names[shown] = shown
            self.queue.append(lambda: self._emit({'name': shown, 'meta-type': 'array', 'element-type': element}))
        return shown

    def _use_name(self, name):
        if name in BUILTINS:
            return self._builtin(BUILTINS[name][2])
        if name in BAGS:
            return self._name(name, lambda n: self._bag(n, name))
        d = self.schema.types[name]
        if isinstance(d, Enum):
            return self._name(name, lambda n: self._enum(n, [v for v, _ in d.values], d.features))
        if isinstance(d, Union):
            return self._name(name, lambda n: self._union(n, d))
        return self._name(name, lambda n: self._object(n, self.schema.all_members(d), d.features))

    def _builtin(self, name):
        if name not in self.names:
            self.names[name] = name
            self.queue.append(lambda: self._emit({'name': name, 'meta-type': 'builtin',
                                                  'json-type': JSON_TYPES[name]}))
        return name

    def _enum(self, shown, values, features=()):
        self._emit({'name': shown, 'meta-type': 'enum', 'members': [{'name': v} for v in values],
                    'values': list(values)}, features)

    def _members(self, members):
        out = []
        for m in members:
            info = {'name': m.name, 'type': self._use(m.ref)}
            if m.optional:
                info['default'] = None
            if m.features:
                info['features'] = list(m.features)
            out.append(info)
        return out

    def _object(self, shown, members, features=()):
        self._emit({'name': shown, 'meta-type': 'object', 'members': self._members(members)}, features)

    def _union(self, shown, u):
        with_members = dict(u.variants)
        tag = self.schema.types[u.tag_enum]
        cases = []
        for value, _ in tag.values:
            t = with_members.get(value)
            cases.append({'case': value, 'type': self._use_name(t) if t else self._args('', [])})
        self._emit({'name': shown, 'meta-type': 'object', 'members': self._members(u.base_members),
                    'tag': u.discriminator, 'variants': cases}, u.features)

    # -- the unions over all pluggable types: straight from their property rows --

    def _bag(self, shown, name):
        _, tag, _ = BAGS[name]
        types = self.schema.plugged_by(name)
        kinds = self._name(name + 'Kind', lambda n: self._enum(n, [p.name for p in types]))
        ident = {'name': 'id', 'type': self._builtin('str')}
        if name == 'DeviceAdd':
            ident['default'] = None
        cases = []
        for p in types:
            cases.append({'case': p.name, 'type': self._pluggable(p)})
        self._emit({'name': shown, 'meta-type': 'object', 'members': [{'name': tag, 'type': kinds}, ident],
                    'tag': tag, 'variants': cases})

    def _pluggable(self, p):
        rows = [r for r in self.schema.rows(p) if not r.internal]
        if not rows:
            return self._args('', [])
        return self._name('q_' + p.name, lambda n: self._props(n, p, rows))

    def _props(self, shown, p, rows):
        members = []
        for r in rows:
            if r.enum:
                owner = self.schema.owner(p, r)
                t = self._name('q_%s-%s' % (owner.name, r.name), lambda n, v=r.enum: self._enum(n, v))
            else:
                t = self._builtin(PROP_KINDS[r.type][2])
            info = {'name': r.name, 'type': t}
            if not r.required:
                info['default'] = None
            members.append(info)
        self._emit({'name': shown, 'meta-type': 'object', 'members': members})


def document(schema, mask=True):
    return Introspection(schema, mask).build()


def source(schema):
    """A string literal, cut into lines between entities."""
    items = [json.dumps(x, separators=(',', ':'), ensure_ascii=True) for x in document(schema)]
    lines = ['    %s\n' % c_string(('[' if i == 0 else ',') + x) for i, x in enumerate(items)] or ['    "["\n']
    return (banner('What query-qmp-schema returns.') + '\n#include "qmp/qmp.h"\n\nconst char qmp_schema_json[] =\n'
            + ''.join(lines) + '    "]";\nconst gsize qmp_schema_json_len = sizeof qmp_schema_json - 1;\n')


def golden(schema):
    """Readable, one entity after the other by name: for diffs."""
    items = sorted(document(schema, mask=False), key=lambda x: (x['meta-type'], x['name']))
    return json.dumps(items, indent=1) + '\n'

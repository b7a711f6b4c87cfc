# SPDX-License-Identifier: LGPL-2.1-or-later
"""The schema in memory: reads the JSON files, checks every definition, resolves names.

Every mistake is a SchemaError that names file and definition; nothing is generated from a schema that
has one. The emitters only see checked objects, so they contain no checks of their own.
"""

import glob
import json
import os
import re

BUILTINS = {
    # schema name: (C type, codec kind, name in introspection)
    'str': ('char *', 'STR', 'str'),
    'bool': ('gboolean', 'BOOL', 'bool'),
    'int': ('gint64', 'I64', 'int'),
    'int8': ('gint8', 'I8', 'int'),
    'int16': ('gint16', 'I16', 'int'),
    'int32': ('gint32', 'I32', 'int'),
    'int64': ('gint64', 'I64', 'int'),
    'uint8': ('guint8', 'U8', 'int'),
    'uint16': ('guint16', 'U16', 'int'),
    'uint32': ('guint32', 'U32', 'int'),
    'uint64': ('guint64', 'U64', 'int'),
    'size': ('guint64', 'U64', 'int'),
    'number': ('double', 'DOUBLE', 'number'),
    'any': ('char *', 'ANY', 'any'),
    'null': (None, 'NULL', 'null'),
}
# Unions over all pluggable types: (kind of definition, discriminator, codec kind)
BAGS = {'DeviceAdd': ('device', 'driver', 'DEVICE'), 'ObjectAdd': ('object', 'qom-type', 'OBJECT')}

PROP_KINDS = {
    # schema name: (C type, PropKind, name in introspection)
    'bool': ('gboolean', 'BOOL', 'bool'),
    'uint8': ('guint8', 'U8', 'int'),
    'uint16': ('guint16', 'U16', 'int'),
    'uint32': ('guint32', 'U32', 'int'),
    'uint64': ('guint64', 'U64', 'int'),
    'size': ('guint64', 'SIZE', 'int'),
    'bootindex': ('guint32', 'U32', 'int'),
    'enum': ('int', 'ENUM', None),
    'str': ('char *', 'STRING', 'str'),
    'link': ('char *', 'LINK', 'str'),
    'bytes': ('GBytes *', 'BYTES', 'str'),
}
PROP_MAX = {'bool': 1, 'uint8': 0xff, 'uint16': 0xffff, 'uint32': 0xffffffff, 'uint64': 2**64 - 1,
            'size': 2**64 - 1, 'bootindex': 2**31 - 1, 'str': 1023, 'link': 1023, 'bytes': 65535}
DEVICE_PLUGS = ('board', 'cpu', 'memory', 'isa', 'pci', 'vserport', 'boot')
TYPE_FLAGS = ('hotplug', 'hot-unplug', 'singleton', 'abstract')

C_WORDS = set('''auto break case char const continue default do double else enum extern float for goto if inline
int long register restrict return short signed sizeof static struct switch typedef union unsigned void volatile
while asm typeof linux unix i386 bool true false'''.split())

# QEMU's own names that break our rules for new ones; nothing may be added here that is not QEMU's.
QEMU_UNDERSCORES = {'qmp_capabilities', 'device_add', 'device_del', 'system_reset', 'system_powerdown',
                    'system_wakeup', 'block_resize', 'netdev_add', 'netdev_del', 'set_link'}
QEMU_BARE_RETURNS = {'query-commands', 'query-command-line-options', 'query-qmp-schema', 'query-fdsets',
                     'query-chardev', 'query-chardev-backends', 'ringbuf-read', 'qom-list-types', 'qom-list',
                     'qom-get', 'qom-list-properties', 'device-list-properties', 'query-hotpluggable-cpus',
                     'query-cpus-fast', 'query-cpu-definitions', 'query-memory-devices', 'query-memdev',
                     'query-machines', 'query-iothreads', 'query-pci', 'query-acpi-ospm-status',
                     'query-named-block-nodes', 'query-block', 'query-blockstats',
                     'query-rx-filter'}

QEMU_MEMBERS = {'UUID', 'class_info', 'io_range', 'irq_pin', 'mem_type_64', 'memory_range', 'pci_bridge',
                'prefetchable_range', 'qdev_id',
                'backing_file_depth', 'detect_zeroes', 'bps_rd', 'bps_wr', 'iops_rd', 'iops_wr',
                'write_threshold', 'vnet_hdr', 'rd_bytes', 'wr_bytes', 'unmap_bytes', 'wr_highest_offset', 'rd_merged',
                'wr_merged', 'unmap_merged', 'idle_time_ns', 'account_invalid', 'account_failed', 'timed_stats',
                'rd_operations', 'rd_total_time_ns', 'failed_rd_operations', 'invalid_rd_operations',
                'wr_operations', 'wr_total_time_ns', 'failed_wr_operations', 'invalid_wr_operations',
                'flush_operations', 'flush_total_time_ns', 'failed_flush_operations',
                'invalid_flush_operations', 'unmap_operations', 'unmap_total_time_ns',
                'failed_unmap_operations', 'invalid_unmap_operations'}

RE_TYPE = re.compile(r'[A-Z][A-Za-z0-9]*$')
RE_NAME = re.compile(r'[a-z][a-z0-9]*(-[a-z0-9]+)*$')
RE_QEMU_NAME = re.compile(r'[a-z][a-z0-9]*([_-][a-z0-9]+)*$')
RE_EVENT = re.compile(r'[A-Z][A-Z0-9]*(_[A-Z0-9]+)*$')
RE_VALUE = re.compile(r'[A-Za-z0-9][A-Za-z0-9_.-]*$')
RE_PLUGGABLE = re.compile(r'[a-z][a-zA-Z0-9_.-]*$')
RE_PROP = re.compile(r'[a-z][a-z0-9]*([._-][a-z0-9]+)*$')
RE_SINCE = re.compile(r'[0-9]+\.[0-9]+(\.[0-9]+)?$')


def release(text):
    return tuple(int(n) for n in text.split('.'))


class SchemaError(Exception):
    """A mistake in the schema, ready to be shown."""


# ---- names in C ----

def snake(name):
    """StatusInfo -> status_info, QMPCapability -> qmp_capability, isa-serial -> isa_serial."""
    name = re.sub(r'([a-z0-9])([A-Z])', r'\1_\2', name)
    name = re.sub(r'([A-Z]+)([A-Z][a-z])', r'\1_\2', name)
    return re.sub(r'[-.]', '_', name).lower()


def upper(name):
    return snake(name).upper()


def camel(name):
    """isa-serial -> IsaSerial, host-x86_64-cpu -> HostX8664Cpu."""
    return ''.join(p[:1].upper() + p[1:] for p in re.split(r'[-_.]', name))


def member_c(name):
    c = re.sub(r'[-.]', '_', name)
    return c + '_' if c in C_WORDS else c


# ---- checked definitions ----

class Ref:
    """A use of a type: its name and whether it is a list."""

    def __init__(self, name, is_list):
        self.name = name
        self.is_list = is_list


class Member:
    def __init__(self, name, ref, doc, optional, features):
        self.name = name
        self.ref = ref
        self.doc = doc
        self.optional = optional
        self.features = features
        self.c = member_c(name)


class Def:
    """Common to all: where it stands, its name and documentation."""

    def __init__(self, where, name, doc, section):
        self.where = where
        self.name = name
        self.doc = doc
        self.section = section
        self.features = []


class Enum(Def):
    values = ()  # of (name, doc)


class Struct(Def):
    base = None     # name of a struct
    members = ()    # own ones
    size_name = ''


class Union(Def):
    discriminator = ''
    tag_enum = ''
    base_members = ()  # with the discriminator first
    variants = ()      # of (value, struct name), in the order of the enum


class Command(Def):
    args = None     # None, list of Member, or the name of a struct or bag
    returns = None  # None or Ref
    oob = readonly = negotiation = constant = False


class Event(Def):
    data = ()
    rate_key = None


class Prop:
    def __init__(self, **kw):
        self.__dict__.update(kw)
        self.c = member_c(self.name)


class Pluggable(Def):
    kind = ''       # device, object or chardev
    base = None
    plug = None
    flags = ()
    props = ()      # own ones
    defaults = None # of base rows
    since = ''
    was = None      # the name that it had at first

    @property
    def config(self):
        return camel(self.name) + 'Config'

    @property
    def table(self):
        return snake(self.name) + '_table'


class Section:
    def __init__(self, name, title, doc):
        self.name, self.title, self.doc = name, title, doc
        self.order = 0


# ---- reading ----

def _no_duplicates(pairs):
    seen = {}
    for key, value in pairs:
        if key in seen:
            raise ValueError("member '%s' is there twice" % key)
        seen[key] = value
    return seen


def _load_file(path, shown):
    try:
        with open(path, encoding='utf-8') as f:
            data = json.load(f, object_pairs_hook=_no_duplicates)
    except (OSError, ValueError) as e:
        raise SchemaError('%s: %s' % (shown, e)) from None
    if isinstance(data, dict):
        data = [data]
    if not isinstance(data, list) or not all(isinstance(d, dict) for d in data):
        raise SchemaError('%s: a schema file is one array of definitions' % shown)
    return data


class Schema:
    """All definitions, by kind and name; dictionaries keep the order of the files."""

    def __init__(self, srcdir):
        self.srcdir = srcdir
        self.types = {}       # Enum, Struct, Union
        self.commands = {}
        self.events = {}
        self.pluggables = {}
        self.sections = []
        self._section = None
        for path in sorted(glob.glob(os.path.join(srcdir, '*.json'))):
            self._read(path, top=True)
        for path in sorted(glob.glob(os.path.join(srcdir, 'devices', '*.json'))):
            self._read(path, top=False)
        self.sections.sort(key=lambda s: (s.order, s.name))
        self._resolve()

    # -- one definition: checks of form --

    def _fail(self, where, text):
        raise SchemaError('%s: %s' % (where, text))

    def _keys(self, where, d, allowed, required=('doc',)):
        for key in d:
            if key not in allowed and key not in required:
                self._fail(where, "unknown member '%s' (allowed: %s)"
                           % (key, ', '.join(sorted(set(allowed) | set(required)))))
        for key in required:
            if key not in d:
                self._fail(where, "member '%s' is missing" % key)

    def _doc(self, where, d):
        doc = d.get('doc')
        if isinstance(doc, list) and doc and all(isinstance(x, str) for x in doc):
            doc = ' '.join(doc)
        if not isinstance(doc, str) or not doc.strip():
            self._fail(where, "'doc' must be a text that says what it is")
        return ' '.join(doc.split())

    def _flag(self, where, d, key):
        v = d.get(key, False)
        if not isinstance(v, bool):
            self._fail(where, "'%s' must be true or false" % key)
        return v

    def _features(self, where, d):
        f = d.get('features', [])
        if not isinstance(f, list) or not all(isinstance(x, str) and RE_NAME.match(x) for x in f):
            self._fail(where, "'features' must be a list of names")
        return f

    def _ref(self, where, t):
        if isinstance(t, list):
            if len(t) != 1 or not isinstance(t[0], str):
                self._fail(where, 'a list type is ["ElementType"], got %s' % json.dumps(t))
            return Ref(t[0], True)
        if not isinstance(t, str):
            self._fail(where, 'a type is a name or ["Name"], got %s' % json.dumps(t))
        return Ref(t, False)

    def _members(self, where, items):
        if not isinstance(items, list):
            self._fail(where, 'members must be a list')
        out, seen = [], {}
        for d in items:
            if not isinstance(d, dict) or not isinstance(d.get('name'), str):
                self._fail(where, 'each member needs a name')
            name = d['name']
            here = "%s, member '%s'" % (where, name)
            self._keys(here, d, ('optional', 'features'), ('name', 'type', 'doc'))
            if not RE_NAME.match(name) and name not in QEMU_MEMBERS:
                self._fail(here, 'names are lower-case-with-dashes')
            c = member_c(name)
            if c in seen:
                self._fail(here, "is the same as '%s'" % seen[c])
            seen[c] = name
            out.append(Member(name, self._ref(here, d['type']), self._doc(here, d),
                              self._flag(here, d, 'optional'), self._features(here, d)))
        return out

    def _read(self, path, top):
        shown = os.path.relpath(path, os.path.dirname(os.path.abspath(self.srcdir)) or '.')
        self._section = Section(os.path.basename(path)[:-5], os.path.basename(path)[:-5], '')
        if top:
            self.sections.append(self._section)
        kinds = ('section', 'enum', 'struct', 'union', 'command', 'event') if top else \
            ('device', 'object', 'chardev')
        for d in _load_file(path, shown):
            kind = next((k for k in kinds if k in d), None)
            if kind is None:
                self._fail(shown, 'a definition that is none of %s: %s'
                           % (', '.join(kinds), json.dumps(d)[:80]))
            name = d[kind]
            where = "%s: %s '%s'" % (shown, kind, name)
            if not isinstance(name, str):
                self._fail(where, 'the name must be a string')
            if kind in ('device', 'object', 'chardev'):
                self._pluggable(where, kind, name, d)
            else:
                getattr(self, '_def_' + kind)(where, name, d)

    def _add(self, table, d):
        if d.name in table:
            self._fail(d.where, 'is defined already in %s' % table[d.name].where)
        table[d.name] = d

    def _type_name(self, where, name):
        if not RE_TYPE.match(name):
            self._fail(where, 'names of types are CamelCase')
        if name in BUILTINS or name in BAGS:
            self._fail(where, 'is a name that the generator defines')

    def _def_section(self, where, name, d):
        self._keys(where, d, ('order',), ('section', 'doc'))
        if not isinstance(d.get('order', 0), int):
            self._fail(where, "'order' must be a number")
        self._section.order = d.get('order', 0)
        self._section.title = name
        self._section.doc = self._doc(where, d)

    def _def_enum(self, where, name, d):
        self._keys(where, d, ('features',), ('enum', 'doc', 'values'))
        self._type_name(where, name)
        e = Enum(where, name, self._doc(where, d), self._section)
        e.features = self._features(where, d)
        if not isinstance(d['values'], list) or not d['values']:
            self._fail(where, "'values' must be a list that is not empty")
        values, seen = [], {}
        for v in d['values']:
            if not isinstance(v, dict) or not isinstance(v.get('name'), str):
                self._fail(where, 'each value needs a name')
            here = "%s, value '%s'" % (where, v['name'])
            self._keys(here, v, (), ('name', 'doc'))
            if not RE_VALUE.match(v['name']):
                self._fail(here, 'not a fit name')
            if upper(v['name']) in seen:
                self._fail(here, "is the same as '%s'" % seen[upper(v['name'])])
            seen[upper(v['name'])] = v['name']
            values.append((v['name'], self._doc(here, v)))
        e.values = values
        self._add(self.types, e)

    def _def_struct(self, where, name, d):
        self._keys(where, d, ('base', 'features'), ('struct', 'doc', 'members'))
        self._type_name(where, name)
        s = Struct(where, name, self._doc(where, d), self._section)
        s.base = d.get('base')
        s.features = self._features(where, d)
        s.members = self._members(where, d['members'])
        self._add(self.types, s)

    def _def_union(self, where, name, d):
        self._keys(where, d, ('base', 'discriminator-type', 'features'),
                   ('union', 'doc', 'discriminator', 'variants'))
        self._type_name(where, name)
        u = Union(where, name, self._doc(where, d), self._section)
        u.features = self._features(where, d)
        u.discriminator = d['discriminator']
        u.base_members = self._members(where, d.get('base', []))
        if not isinstance(d['variants'], dict) or not d['variants']:
            self._fail(where, "'variants' must be an object that is not empty")
        u.variants = list(d['variants'].items())
        tag = d.get('discriminator-type')
        if tag is None:
            tag = name + 'Kind'
            e = Enum(where, tag, 'Which variant of ' + name + ' it is.', self._section)
            e.values = [(v, 'See ' + t + '.') for v, t in u.variants]
            for v, _ in e.values:
                if not RE_VALUE.match(v):
                    self._fail(where, "'%s' is not a fit name of a variant" % v)
            self._add(self.types, e)
        u.tag_enum = tag
        if any(m.name == u.discriminator for m in u.base_members):
            self._fail(where, 'the discriminator is declared by the union itself')
        u.base_members.insert(0, Member(u.discriminator, Ref(tag, False), 'Which variant it is.', False, []))
        self._add(self.types, u)

    def _def_command(self, where, name, d):
        self._keys(where, d, ('arguments', 'returns', 'oob', 'readonly', 'features', 'negotiation', 'constant'),
                   ('command', 'doc'))
        if not RE_NAME.match(name) and name not in QEMU_UNDERSCORES:
            self._fail(where, 'names of commands are lower-case-with-dashes')
        c = Command(where, name, self._doc(where, d), self._section)
        args = d.get('arguments')
        c.args = args if args is None or isinstance(args, str) else self._members(where, args)
        c.returns = self._ref(where, d['returns']) if 'returns' in d else None
        for key in ('oob', 'readonly', 'negotiation', 'constant'):
            setattr(c, key, self._flag(where, d, key))
        if c.constant and (name != 'query-qmp-schema' or args):
            self._fail(where, "'constant' is for query-qmp-schema")
        c.features = self._features(where, d)
        self._add(self.commands, c)

    def _def_event(self, where, name, d):
        self._keys(where, d, ('data', 'rate-key', 'features'), ('event', 'doc'))
        if not RE_EVENT.match(name):
            self._fail(where, 'names of events are UPPER_CASE')
        e = Event(where, name, self._doc(where, d), self._section)
        e.data = self._members(where, d.get('data', []))
        e.rate_key = d.get('rate-key')
        e.features = self._features(where, d)
        if e.rate_key and e.rate_key != '*':
            key = [m for m in e.data if m.name == e.rate_key]
            if not key or key[0].ref.name != 'str' or key[0].ref.is_list:
                self._fail(where, "rate-key '%s' is not a str member of the event" % e.rate_key)
        self._add(self.events, e)

    # -- device types --

    def _since(self, where, d):
        if not isinstance(d['since'], str) or not RE_SINCE.match(d['since']):
            self._fail(where, "'since' must be a release such as \"0.1\"")
        return d['since']

    def _pluggable(self, where, kind, name, d):
        self._keys(where, d, ('base', 'plug', 'flags', 'defaults', 'was'), (kind, 'doc', 'since', 'props'))
        if not RE_PLUGGABLE.match(name):
            self._fail(where, 'not a fit name')
        p = Pluggable(where, name, self._doc(where, d), None)
        p.kind, p.base, p.plug = kind, d.get('base'), d.get('plug')
        p.since = self._since(where, d)
        p.was = d.get('was')
        if p.was is not None and not (isinstance(p.was, str) and RE_PLUGGABLE.match(p.was)):
            self._fail(where, "'was' must be the name that the type had at first")
        p.flags = d.get('flags')
        p.defaults = d.get('defaults', {})
        if kind != 'device' and p.plug is not None:
            self._fail(where, "'plug' is for devices; this is %s" % kind)
        if p.plug is not None and p.plug not in DEVICE_PLUGS:
            self._fail(where, "plug '%s' is none of %s" % (p.plug, ', '.join(DEVICE_PLUGS)))
        for f in p.flags or ():
            if f not in TYPE_FLAGS:
                self._fail(where, "flag '%s' is none of %s" % (f, ', '.join(TYPE_FLAGS)))
        if not isinstance(p.defaults, dict):
            self._fail(where, "'defaults' must be an object: property of the base -> value")
        if not isinstance(d['props'], list):
            self._fail(where, "'props' must be a list")
        p.props = [self._prop(where, x) for x in d['props']]
        self._add(self.pluggables, p)

    def _prop(self, where, d):
        if not isinstance(d, dict) or not isinstance(d.get('name'), str):
            self._fail(where, 'each property needs a name')
        here = "%s, property '%s'" % (where, d['name'])
        self._keys(here, d, ('default', 'before', 'guest', 'required', 'internal', 'live', 'host', 'range', 'link'),
                   ('name', 'type', 'doc', 'since'))
        if not RE_PROP.match(d['name']):
            self._fail(here, 'names of properties are lower-case-with-dashes')
        if d['name'] in ('id', 'driver', 'qom-type'):
            self._fail(here, 'the core defines this name')
        p = Prop(name=d['name'], doc=self._doc(here, d), since=self._since(here, d), where=here, enum=None,
                 link=d.get('link'), auto=False, has_default=False, default=None, has_before=False, before=None,
                 before_none=False)
        p.type, p.enum = self._prop_type(here, d['type'])
        for key in ('guest', 'required', 'internal', 'live', 'host'):
            setattr(p, key, self._flag(here, d, key))
        p.min, p.max = self._range(here, p, d.get('range'))
        if (p.type == 'link') != ('link' in d):
            self._fail(here, "'link' says what a property of type link refers to")
        if (p.type == 'bootindex') != (p.name == 'bootindex'):
            self._fail(here, "type and name 'bootindex' go together")
        if p.type == 'bootindex' and (not p.guest or {'default', 'required'} & set(d)):
            self._fail(here, 'a bootindex is visible to the guest, and unset where nobody gives one')
        if 'default' in d:
            self._set_default(here, p, d['default'])
        if 'before' in d:
            p.has_before, p.before_none = True, d['before'] is None
            p.before = (0, None) if p.before_none else self._value(here, p, d['before'], 'before')
        if p.required and (p.has_default or p.auto):
            self._fail(here, 'a required property has no default')
        if p.host and not p.auto:
            self._fail(here, "'host' is for defaults that are \"auto\"")
        if p.internal and p.required:
            self._fail(here, 'an internal property can not be required')
        return p

    def _set_default(self, where, p, v):
        if v == 'auto':
            if p.enum and 'auto' in p.enum:
                self._fail(where, "default \"auto\" is ambiguous: the enum has a value of that name")
            p.auto, p.has_default, p.default = True, False, None
        else:
            p.auto, p.has_default, p.default = False, True, self._value(where, p, v, 'default')

    def _prop_type(self, where, t):
        if not isinstance(t, str):
            self._fail(where, 'a type of a property is a name')
        if t.startswith('enum:'):
            values = t[5:].split('|')
            if len(set(upper(v) for v in values)) != len(values) or not all(RE_VALUE.match(v) for v in values):
                self._fail(where, "bad list of values in '%s'" % t)
            return 'enum', values
        if t not in PROP_KINDS or t == 'enum':
            self._fail(where, "unknown type '%s' (there are %s)"
                       % (t, ', '.join(k if k != 'enum' else 'enum:A|B' for k in PROP_KINDS)))
        return t, None

    def _range(self, where, p, r):
        top = len(p.enum) - 1 if p.enum else PROP_MAX[p.type]
        if r is None:
            return 0, top
        if p.type in ('bool', 'enum'):
            self._fail(where, "no range fits a %s" % p.type)
        ok = isinstance(r, list) and len(r) == 2 and all(isinstance(x, int) and not isinstance(x, bool) for x in r)
        limit = top if p.type.startswith('uint') or p.type == 'size' else 2**32 - 1
        if not ok or not 0 <= r[0] <= r[1] <= limit:
            self._fail(where, "'range' must be [min, max] within the type, got %s" % json.dumps(r))
        return r[0], r[1]

    def _value(self, where, p, v, what):
        """Checks a default or before; answers (u, s) as in PropValue."""
        def bad(expected):
            self._fail(where, "%s %s is not %s" % (what, json.dumps(v), expected))
        if p.type == 'bool':
            if not isinstance(v, bool):
                bad('true or false')
            return int(v), None
        if p.type == 'enum':
            if v not in p.enum:
                bad('one of ' + ', '.join(p.enum))
            return p.enum.index(v), None
        if p.type in ('str', 'link', 'bytes'):
            if not isinstance(v, str):
                bad('a string')
            if p.type != 'bytes' and not p.min <= len(v.encode()) <= p.max:
                bad('of %d to %d bytes' % (p.min, p.max))
            return 0, v
        if isinstance(v, bool) or not isinstance(v, int) or not p.min <= v <= p.max:
            bad('an integer of %d to %d' % (p.min, p.max))
        return v, None

    # -- checks that need all files --

    def _check_ref(self, where, ref):
        name = ref.name
        if name not in BUILTINS and name not in BAGS and name not in self.types:
            self._fail(where, "unknown type '%s'" % name)
        if ref.is_list and name == 'null':
            self._fail(where, 'a list of null makes no sense')

    def _check_members(self, where, members):
        if len(members) > 64:
            self._fail(where, 'more than 64 members')
        for m in members:
            self._check_ref("%s, member '%s'" % (where, m.name), m.ref)

    def _resolve(self):
        for d in list(self.types.values()):
            if isinstance(d, Struct):
                self._check_members(d.where, self.all_members(d))
                names = [m.c for m in self.all_members(d)]
                for n in names:
                    if names.count(n) > 1:
                        self._fail(d.where, "member '%s' is in its base too" % n)
            elif isinstance(d, Union):
                self._resolve_union(d)
        seen = {}
        for d in self.types.values():
            if not isinstance(d, Enum):
                self._check_finite(d)
            c = snake(d.name)
            if c in seen:
                self._fail(d.where, 'has the same C name as %s' % seen[c])
            seen[c] = d.where
        for c in self.commands.values():
            self._resolve_command(c)
        for e in self.events.values():
            self._check_members(e.where, e.data)
        for p in self.pluggables.values():
            self._resolve_pluggable(p)
        for p in self.pluggables.values():
            if any(p.was == q.name or (p.was and q is not p and p.was == q.was) for q in self.pluggables.values()):
                self._fail(p.where, "'was': '%s' is another type's name" % p.was)
        tables = {}
        for p in self.pluggables.values():
            for c in (p.table, p.config):
                if c in tables:
                    self._fail(p.where, 'has the same C name as %s' % tables[c])
                tables[c] = p.where

    def _check_finite(self, d, inside=()):
        """A value that must contain another of its own type can not be written down."""
        if d.name in inside:
            self._fail(d.where, 'must contain itself without end')
        members = d.base_members if isinstance(d, Union) else self.all_members(d)
        for m in members:
            inner = self.types.get(m.ref.name)
            if not m.optional and not m.ref.is_list and isinstance(inner, (Struct, Union)):
                self._check_finite(inner, inside + (d.name,))

    def _resolve_union(self, u):
        self._check_members(u.where, u.base_members)
        e = self.types.get(u.tag_enum)
        if not isinstance(e, Enum):
            self._fail(u.where, "discriminator-type '%s' is not an enum" % u.tag_enum)
        names = [v for v, _ in e.values]
        base = {m.name for m in u.base_members}
        for value, t in u.variants:
            if value not in names:
                self._fail(u.where, "variant '%s' is not a value of %s" % (value, u.tag_enum))
            s = self.types.get(t)
            if not isinstance(s, Struct):
                self._fail(u.where, "variant '%s': '%s' is not a struct" % (value, t))
            for m in self.all_members(s):
                if m.name in base:
                    self._fail(u.where, "variant '%s': member '%s' is in the base too" % (value, m.name))
        u.variants.sort(key=lambda v: names.index(v[0]))

    def _resolve_command(self, c):
        if isinstance(c.args, str):
            if c.args not in BAGS and not isinstance(self.types.get(c.args), (Struct, Union)):
                self._fail(c.where, "arguments '%s' is not a struct" % c.args)
        elif c.args is not None:
            self._check_members(c.where, c.args)
        if c.returns:
            self._check_ref(c.where, c.returns)
            plain = not c.returns.is_list and isinstance(self.types.get(c.returns.name), (Struct, Union))
            if not plain and c.name not in QEMU_BARE_RETURNS:
                self._fail(c.where, 'commands return objects (only some of QEMU\'s do not)')
            if c.returns.name in BAGS:
                self._fail(c.where, '%s can not be returned' % c.returns.name)

    def all_members(self, s):
        """A struct's members, those of its bases first."""
        chain, out = [], []
        while s is not None:
            if s in chain:
                self._fail(s.where, 'is its own base')
            chain.insert(0, s)
            if s.base is None:
                break
            base = self.types.get(s.base)
            if not isinstance(base, Struct):
                self._fail(s.where, "base '%s' is not a struct" % s.base)
            s = base
        for x in chain:
            out += x.members
        return out

    def _resolve_pluggable(self, p):
        chain = self.chain(p)
        base = chain[-2] if len(chain) > 1 else None
        if base and base.kind != p.kind:
            self._fail(p.where, "base '%s' is of another kind (%s)" % (base.name, base.kind))
        if p.plug is None:
            p.plug = p.kind if p.kind != 'device' else next((b.plug for b in reversed(chain) if b.plug), None)
        if p.plug is None:
            self._fail(p.where, "member 'plug' is missing (%s)" % ', '.join(DEVICE_PLUGS))
        if p.flags is None:
            inherited = next((b.flags for b in reversed(chain) if b.flags is not None), ())
            p.flags = [f for f in inherited if f != 'abstract']
        if p.kind != 'device' and 'abstract' not in p.flags:  # host side: no guest to ask
            p.flags = list(p.flags) + [f for f in ('hotplug', 'hot-unplug') if f not in p.flags]
        seen = {}
        for row in self.rows(p):
            if row.name in seen or row.c in seen.values():
                self._fail(p.where, "property '%s' is there twice (or in its base too)" % row.name)
            seen[row.name] = row.c
        for row in self.rows(p):
            if row.guest and not row.has_before and release(row.since) > release(p.since):
                self._fail(p.where, "property '%s' is younger than the type and needs 'before': what its devices were before %s "
                           "(null: they had none)" % (row.name, row.since))
        for row in p.props:
            if row.c == 'base':
                self._fail(p.where, "property 'base' clashes with the base's struct")
        for name in p.defaults:
            if not base or all(r.name != name for r in self.rows(base)):
                self._fail(p.where, "defaults: its base has no property '%s'" % name)

    def chain(self, p):
        """The type and its bases, root first."""
        out = [p]
        while out[0].base is not None:
            base = self.pluggables.get(out[0].base)
            if base is None:
                self._fail(out[0].where, "base '%s' is not defined" % out[0].base)
            if base in out:
                self._fail(p.where, 'is its own base')
            out.insert(0, base)
        return out

    def rows(self, p):
        """All property rows, those of the bases first, with this type's defaults put in."""
        out = []
        for t in self.chain(p):
            for i, row in enumerate(out):
                if row.name in t.defaults:
                    row = Prop(**{k: v for k, v in row.__dict__.items() if k != 'c'})
                    self._set_default("%s, default of '%s'" % (t.where, row.name), row, t.defaults[row.name])
                    row.required = False
                    out[i] = row
            out += t.props
        return out

    def owner(self, p, prop):
        """The type of the chain whose struct holds the property."""
        for t in self.chain(p):
            if any(x.name == prop.name for x in t.props):
                return t
        raise AssertionError(prop.name)

    def plugged_by(self, bag):
        """The concrete types that DeviceAdd or ObjectAdd can name, sorted."""
        kind = BAGS[bag][0]
        return [p for _, p in sorted(self.pluggables.items()) if p.kind == kind and 'abstract' not in p.flags]

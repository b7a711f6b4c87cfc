# SPDX-License-Identifier: LGPL-2.1-or-later
"""devices.h and devices.c: config structs, property rows and tables of all pluggable types."""

from model import PROP_KINDS, member_c, snake, upper
from writer import banner, c_string, c_uint


def enum_const(owner, prop, value):
    return '%s_%s_%s' % (upper(owner.name), upper(prop.name), upper(value))


def _by_base(schema):
    """Types sorted by name, but each behind its base: the struct is a member."""
    out = []

    def add(p):
        if p in out:
            return
        if p.base:
            add(schema.pluggables[p.base])
        out.append(p)
    for _, p in sorted(schema.pluggables.items()):
        add(p)
    return out


def _config_struct(p, schema):
    out = ['/* %s: %s */' % (p.name, p.doc.replace('*/', '* /'))]
    for prop in p.props:
        if prop.enum:
            out.append('enum {')
            out += ['    %s,' % enum_const(p, prop, v) for v in prop.enum]
            out.append('};')
    out.append('typedef struct {')
    if p.base:
        out.append('    %s base;' % schema.pluggables[p.base].config)
    for prop in p.props:
        ctype = PROP_KINDS[prop.type][0]
        out.append('    %s%s%s;' % (ctype, '' if ctype.endswith('*') else ' ', prop.c))
    if not p.base and not p.props:
        out.append('    char none; /* no properties */')
    out.append('} %s;' % p.config)
    out.append('extern const PropTable %s;' % p.table)
    return '\n'.join(out) + '\n'


def header(schema):
    parts = [banner('Config structs of all pluggable types.'),
             '#pragma once\n', '#include "common/prop.h"\n']
    parts += [_config_struct(p, schema) for p in _by_base(schema)]
    return '\n'.join(parts)


def _flags(names, prefix):
    return ' | '.join(prefix + n.upper().replace('-', '_') for n in names) or '0'


def _prop_value(v):
    u, s = v
    return '{ .s = %s }' % c_string(s) if s is not None else '{ .u = %s }' % c_uint(u)


def _row(schema, p, prop):
    owner = schema.owner(p, prop)
    flags = [f for f in ('guest', 'required', 'internal', 'live', 'auto', 'host') if getattr(prop, f)]
    lines = ['.name = %s' % c_string(prop.name), '.doc = %s' % c_string(prop.doc),
             '.kind = PROP_%s, .flags = %s' % (PROP_KINDS[prop.type][1], _flags(flags, 'PROP_')),
             '.offset = G_STRUCT_OFFSET(%s, %s), .since = %s' % (owner.config, prop.c, c_string(prop.since)),
             '.min = %s, .max = %s' % (c_uint(prop.min), c_uint(prop.max))]
    if prop.has_default:
        lines.append('.has_default = TRUE, .def = %s' % _prop_value(prop.default))
    if prop.has_before:
        lines.append('.has_before = TRUE, .before_none = %s, .before = %s'
                     % ('TRUE' if prop.before_none else 'FALSE', _prop_value(prop.before)))
    if prop.enum:
        lines.append('.enum_names = %s_%s_names' % (snake(owner.name), member_c(prop.name)))
    if prop.link:
        lines.append('.link_to = %s' % c_string(prop.link))
    return '    {\n' + ''.join('        %s,\n' % x for x in lines) + '    },\n'


def _table(schema, p):
    rows = schema.rows(p)
    out = []
    for prop in p.props:
        if prop.enum:
            out.append('static const char *const %s_%s_names[] = { %s, NULL };\n'
                       % (snake(p.name), prop.c, ', '.join(c_string(v) for v in prop.enum)))
        out.append('_Static_assert(sizeof(((%s *)0)->%s) == sizeof(%s), "%s.%s");\n'
                   % (p.config, prop.c, PROP_KINDS[prop.type][0], p.name, prop.name))
    if p.base:
        out.append('_Static_assert(G_STRUCT_OFFSET(%s, base) == 0, "%s: rows of the base keep their offsets");\n'
                   % (p.config, p.name))
    if rows:
        out.append('static const PropDesc %s_rows[] = {\n' % snake(p.name))
        out += [_row(schema, p, prop) for prop in rows]
        out.append('};\n')
    out.append('const PropTable %s = {\n' % p.table)
    out.append('    .name = %s,\n    .doc = %s,\n    .since = %s,\n'
               % (c_string(p.name), c_string(p.doc), c_string(p.since)))
    if p.was:
        out.append('    .was = %s,\n' % c_string(p.was))
    if p.base:
        out.append('    .base = &%s,\n' % schema.pluggables[p.base].table)
    out.append('    .plug = PLUG_%s, .flags = %s,\n' % (p.plug.upper(), _flags(p.flags, 'TYPE_')))
    if rows:
        out.append('    .rows = %s_rows, .n_rows = %d,\n' % (snake(p.name), len(rows)))
    out.append('    .config_size = sizeof(%s),\n};\n' % p.config)
    return ''.join(out)


def source(schema):
    parts = [banner('Property rows and tables of all pluggable types.'), '#include "devices.h"\n']
    parts += [_table(schema, p) for p in _by_base(schema)]
    names = sorted(schema.pluggables.values(), key=lambda p: p.name.encode())
    parts.append('const PropTable *const prop_tables[] = {\n%s    NULL,\n};\nconst guint prop_n_tables = %d;\n'
                 % (''.join('    &%s,\n' % p.table for p in names), len(names)))
    return '\n'.join(parts)

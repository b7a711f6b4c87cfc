# SPDX-License-Identifier: LGPL-2.1-or-later
"""compat-db/properties.json, the registry of everything that a guest can see by a property, and a release's defaults.json, which an import
takes as a baseline (docs/design/compat-hints.md section 4)."""

import json


def _types(schema):
    return [p for _, p in sorted(schema.pluggables.items()) if p.kind == 'device' and 'abstract' not in p.flags]


def _wire(prop, value):
    """A default or `before` as JSON has it."""
    u, s = value
    if s is not None:
        return s
    if prop.enum:
        return prop.enum[u]
    return bool(u) if prop.type == 'bool' else u


def _document(value):
    return json.dumps(value, indent=1, sort_keys=True) + '\n'


def _row(prop):
    out = {'type': 'enum:' + '|'.join(prop.enum) if prop.enum else prop.type, 'since': prop.since}
    if prop.auto:
        out['default'] = 'auto: read from the host' if prop.host else 'auto'
    elif prop.has_default:
        out['default'] = _wire(prop, prop.default)
    if prop.has_before:
        out['before'] = None if prop.before_none else _wire(prop, prop.before)
    return out


def registry(schema):
    return _document({p.was or p.name: {prop.name: _row(prop) for prop in schema.rows(p) if prop.guest} for p in _types(schema)})


def defaults(schema):
    """Those that are constants: what is computed is not a release's but the machine's."""
    return _document({p.was or p.name: {prop.name: _wire(prop, prop.default) for prop in schema.rows(p) if prop.guest and prop.has_default and not prop.auto}
                      for p in _types(schema)})

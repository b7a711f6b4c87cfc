# SPDX-License-Identifier: LGPL-2.1-or-later
"""qmp-types.h and qmp-types.c: enums, structs and unions with their codec tables (schema/codec.h)."""

from model import BAGS, BUILTINS, Enum, Struct, Union, camel, member_c, snake, upper
from writer import banner, c_string

POINTER_KINDS = ('STR', 'ANY', 'STRUCT', 'DEVICE', 'OBJECT')


def kind_of(schema, ref):
    if ref.name in BUILTINS:
        return BUILTINS[ref.name][1]
    if ref.name in BAGS:
        return BAGS[ref.name][2]
    return 'ENUM' if isinstance(schema.types[ref.name], Enum) else 'STRUCT'


def is_pointer(schema, ref):
    return ref.is_list or kind_of(schema, ref) in POINTER_KINDS


def c_type(schema, ref):
    """The C type of a field; ends in '*' if it is a pointer. None for null."""
    if ref.is_list:
        return 'GPtrArray *' if kind_of(schema, ref) in POINTER_KINDS else 'GArray *'
    if ref.name in BUILTINS:
        return BUILTINS[ref.name][0]
    if ref.name in BAGS:
        return 'PropBag *'
    return ref.name if isinstance(schema.types[ref.name], Enum) else ref.name + ' *'


def declare(ctype, name):
    return '%s%s%s' % (ctype, '' if ctype.endswith('*') else ' ', name)


def has_flag(schema, m):
    """Whether a has_ flag stands before the member."""
    return m.optional and not is_pointer(schema, m.ref) and m.ref.name != 'null'


def fields(schema, members):
    out = []
    for m in members:
        ctype = c_type(schema, m.ref)
        if ctype is None:
            continue
        if has_flag(schema, m):
            out.append('gboolean has_%s;' % m.c)
        note = ' /* of %s */' % element(schema, m.ref) if m.ref.is_list else ''
        out.append(declare(ctype, m.c) + ';' + note)
    return out


def element(schema, ref):
    inner = c_type(schema, type(ref)(ref.name, False))
    return inner


def codec_args(schema, ref, optional):
    """The initializers kind, flags and type of a CodecMember."""
    kind = kind_of(schema, ref)
    flags = [f for f, on in (('CODEC_OPTIONAL', optional), ('CODEC_LIST', ref.is_list)) if on]
    out = '.kind = CODEC_%s' % kind
    if flags:
        out += ', .flags = ' + ' | '.join(flags)
    if kind == 'ENUM':
        out += ', .type = %s_names' % snake(ref.name)
    elif kind == 'STRUCT':
        out += ', .type = &%s_codec' % snake(ref.name)
    return out


def codec_member(schema, struct, m):
    if c_type(schema, m.ref) is None:
        place = ''
    else:
        at = 'G_STRUCT_OFFSET(%s, %s)' % (struct, m.c)
        has = 'G_STRUCT_OFFSET(%s, has_%s)' % (struct, m.c) if has_flag(schema, m) else at
        place = '\n      .offset = %s, .has_offset = %s,\n     ' % (at, has)
    return '    { .name = %s,%s %s },\n' % (c_string(m.name), place, codec_args(schema, m.ref, m.optional))


def codec_table(schema, struct, members, static, extra=''):
    """The CodecType STRUCT_codec of a C struct."""
    name = snake(struct)
    out = ''
    if members:
        out += 'static const CodecMember %s_members[] = {\n%s};\n' % (
            name, ''.join(codec_member(schema, struct, m) for m in members))
    out += '%sconst CodecType %s_codec = {\n' % ('static ' if static else '', name)
    if members:
        out += '    .members = %s_members, .n_members = %d,\n' % (name, len(members))
    return out + '    .size = sizeof(%s),\n%s};\n' % (struct, extra)


def struct_text(schema, name, members, extra=()):
    lines = fields(schema, members) + list(extra)
    if not lines:
        lines = ['char none; /* no members */']
    return 'struct %s {\n%s};\n' % (name, ''.join('    %s\n' % x for x in lines))


def _comment(d):
    return '/* %s */\n' % d.doc.replace('*/', '* /')


def _enum_header(e):
    p = upper(e.name)
    return (_comment(e) + 'typedef enum {\n' + ''.join('    %s_%s,\n' % (p, upper(v)) for v, _ in e.values)
            + '    %s__MAX,\n} %s;\nextern const char *const %s_names[];\n' % (p, e.name, snake(e.name)))


def _variant_member(value):
    c = member_c(snake(value))
    return '_' + c if c[0].isdigit() else c


def _union_fields(u):
    out = ['union {']
    out += ['    %s *%s;' % (t, _variant_member(v)) for v, t in u.variants]
    return out + ['} u;']


def all_fields(schema, d):
    """Members of the C struct's table and extra lines of its declaration."""
    if isinstance(d, Union):
        return d.base_members, _union_fields(d)
    return schema.all_members(d), []


def header(schema):
    enums = [d for d in schema.types.values() if isinstance(d, Enum)]
    structs = [d for d in schema.types.values() if isinstance(d, (Struct, Union))]
    parts = [banner('Types of the wire. Names and ownership: schema/README.md.'),
             '#pragma once\n', '#include "schema/codec.h"\n']
    parts += [_enum_header(e) for e in enums]
    parts.append(''.join('typedef struct %s %s;\n' % (d.name, d.name) for d in structs))
    for d in structs:
        members, extra = all_fields(schema, d)
        parts.append(_comment(d) + struct_text(schema, d.name, members, extra))
    for d in structs:
        n = snake(d.name)
        parts.append(
            'extern const CodecType %s_codec;\n'
            'void     %s_free(%s *value);\n'
            'gboolean %s_decode(JsonVal v, %s **value, GError **error);\n'
            'void     %s_encode(const %s *value, JsonOut *out);\n'
            'G_DEFINE_AUTOPTR_CLEANUP_FUNC(%s, %s_free)\n'
            % (n, n, d.name, n, d.name, n, d.name, d.name, n))
    return '\n'.join(parts)


def _enum_source(e):
    n, p = snake(e.name), upper(e.name)
    return ('const char *const %s_names[] = {\n%s    NULL,\n};\n'
            '_Static_assert(G_N_ELEMENTS(%s_names) == %s__MAX + 1, "names of %s");\n'
            % (n, ''.join('    [%s_%s] = %s,\n' % (p, upper(v), c_string(v)) for v, _ in e.values), n, p, e.name))


def _struct_source(schema, d):
    n = snake(d.name)
    members, _ = all_fields(schema, d)
    extra = '    .destroy = destroy_%s,\n' % n
    out = ''
    if isinstance(d, Union):
        out += 'static const CodecType *const %s_variants[%s__MAX] = {\n%s};\n' % (
            n, upper(d.tag_enum), ''.join('    [%s_%s] = &%s_codec,\n' % (upper(d.tag_enum), upper(v), snake(t))
                                          for v, t in d.variants))
        extra += '    .variants = %s_variants, .variant_offset = G_STRUCT_OFFSET(%s, u),\n' % (n, d.name)
    out = 'static void destroy_%s(gpointer value)\n{\n    codec_free(&%s_codec, value);\n}\n\n' % (n, n) + out
    out += codec_table(schema, d.name, members, False, extra)
    out += ('\nvoid %s_free(%s *value)\n{\n    codec_free(&%s_codec, value);\n}\n' % (n, d.name, n))
    out += ('\ngboolean %s_decode(JsonVal v, %s **value, GError **error)\n{\n'
            '    *value = codec_decode_new(&%s_codec, v, error);\n    return *value != NULL;\n}\n' % (n, d.name, n))
    out += ('\nvoid %s_encode(const %s *value, JsonOut *out)\n{\n    codec_encode(&%s_codec, value, out);\n}\n'
            % (n, d.name, n))
    return out


def source(schema):
    parts = [banner('Tables of the types of the wire.'), '#include "qmp-types.h"\n']
    for d in schema.types.values():
        parts.append(_enum_source(d) if isinstance(d, Enum) else _struct_source(schema, d))
    return '\n'.join(parts)


def args_struct(command):
    """The name of the struct of a command's own arguments."""
    return camel(command.name) + 'Args'

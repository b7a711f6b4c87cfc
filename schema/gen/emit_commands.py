# SPDX-License-Identifier: LGPL-2.1-or-later
"""qmp-commands.h/.c (handlers' prototypes, thunks, rows) and qmp-events.h/.c."""

from emit_types import (args_struct, c_type, codec_args, codec_table, declare, fields, has_flag, is_pointer,
                        struct_text)
from model import BAGS, camel, snake
from writer import banner, c_string


def _sorted(table):
    return [d for _, d in sorted(table.items(), key=lambda kv: kv[0].encode())]


def _own_args(c):
    return isinstance(c.args, list) and len(c.args) > 0


def _prototype(schema, c):
    args = ['struct Machine *m', 'QmpRequest *req']
    if isinstance(c.args, str) and c.args in BAGS:
        args.append('PropBag **args')
    elif isinstance(c.args, str):
        args.append('const %s *args' % c.args)
    elif _own_args(c):
        args.append('const %s *args' % args_struct(c))
    if c.returns and not c.constant:
        args.append(declare(c_type(schema, c.returns), '*ret' if is_pointer(schema, c.returns) else ' *ret')
                    .replace('  *', ' *'))
    args.append('GError **error')
    return 'gboolean cmd_%s(%s);' % (snake(c.name), ', '.join(args))


def commands_header(schema):
    parts = [banner('Arguments and handlers of the commands. Rules: schema/README.md.'),
             '#pragma once\n', '#include "qmp/qmp.h"\n#include "qmp-types.h"\n', 'struct Machine;\n']
    for c in _sorted(schema.commands):
        text = '/* %s: %s */\n' % (c.name, c.doc.replace('*/', '* /'))
        if _own_args(c):
            name = args_struct(c)
            text += 'typedef %s' % struct_text(schema, name, c.args).replace('};\n', '} %s;\n' % name)
        if not c.constant:
            text += _prototype(schema, c) + '\n'
        parts.append(text)
    return '\n'.join(parts)


def handler_stub(schema, c):
    """A handler for tests that proves that it was called."""
    if c.constant:
        return ''
    return '%s\n{\n    return error_set(error, "handler reached");\n}\n\n' % _prototype(schema, c)[:-1]


def _ret_name(c):
    return 'ret_%s' % snake(c.name)


def _encode_ret(schema, c):
    """Statements that write the result and free it."""
    if not c.returns:
        return '    json_out_begin_object(ret);\n    json_out_end_object(ret);\n'
    out = '    codec_encode_field(&%s, &r, ret);\n' % _ret_name(c)
    if is_pointer(schema, c.returns):
        out += '    codec_clear_field(&%s, &r);\n' % _ret_name(c)
    return out


def _call(c, args):
    return 'cmd_%s(%s)' % (snake(c.name), ', '.join(['ctx', 'req'] + args + (['&r'] if c.returns else []) + ['error']))


def _thunk_body(schema, c):
    local = ''
    if c.returns:
        ctype = c_type(schema, c.returns)
        local = '    %s = %s;\n' % (declare(ctype, 'r'), 'NULL' if ctype.endswith('*') else '0')
    if isinstance(c.args, str) and c.args in BAGS:
        return ('    g_autoptr(PropBag) a = codec_decode_bag(args, %s, error);\n' % c_string(BAGS[c.args][1])
                + local + '\n    if (!a || !%s)\n        return FALSE;\n' % _call(c, ['&a']))
    if c.args:
        struct = c.args if isinstance(c.args, str) else args_struct(c)
        codec = snake(struct) + '_codec'
        return ('    %s a = { 0 };\n    gboolean ok;\n' % struct + local
                + '\n    if (!codec_decode(&%s, args, &a, error))\n        return FALSE;\n' % codec
                + '    ok = %s;\n    codec_clear(&%s, &a);\n    if (!ok)\n        return FALSE;\n'
                % (_call(c, ['&a']), codec))
    return local + ('\n' if local else '') + '    if (!codec_decode_nothing(args, error) || !%s)\n        return FALSE;\n' \
        % _call(c, [])


def _thunk(schema, c):
    out = ''
    if _own_args(c):
        out += codec_table(schema, args_struct(c), c.args, True) + '\n'
    if c.returns and not c.constant:
        out += 'static const CodecMember %s = { %s };\n' % (_ret_name(c), codec_args(schema, c.returns, False))
    out += ('static gboolean invoke_%s(gpointer ctx, QmpRequest *req, JsonVal args, JsonOut *ret, GError **error)\n{\n'
            % snake(c.name))
    if c.constant:
        out += ('    if (!codec_decode_nothing(args, error))\n        return FALSE;\n'
                '    json_out_raw(ret, qmp_schema_json, (gssize)qmp_schema_json_len);\n')
    else:
        out += _thunk_body(schema, c) + _encode_ret(schema, c)
    return out + '    return TRUE;\n}\n'


def commands_source(schema):
    commands = _sorted(schema.commands)
    parts = [banner('Thunks and rows of the commands.'), '#include "qmp-commands.h"\n']
    parts += [_thunk(schema, c) for c in commands]
    rows = ''
    for c in commands:
        flags = [f for f, on in (('QMP_ALLOW_OOB', c.oob), ('QMP_ALLOW_READONLY', c.readonly),
                                 ('QMP_NO_NEGOTIATION', c.negotiation)) if on]
        rows += '    { %s, %s, invoke_%s },\n' % (c_string(c.name), ' | '.join(flags) or '0', snake(c.name))
    parts.append('const QmpCommandRow qmp_commands[] = {\n%s    { NULL, 0, NULL },\n};\n'
                 'const guint qmp_n_commands = %d;\n' % (rows, len(commands)))
    return '\n'.join(parts)


# ---- events ----

def _event_function(schema, e):
    args = ['QmpServer *server']
    for m in e.data:
        ctype = c_type(schema, m.ref)
        if ctype is None:
            continue
        if has_flag(schema, m):
            args.append('gboolean has_%s' % m.c)
        args.append(declare('const ' + ctype if ctype.endswith('*') else ctype, m.c))
    if e.rate_key == '*':
        args.append('const char *rate_key')
    return 'void qmp_event_%s(%s)' % (snake(e.name), ', '.join(args))


def events_header(schema):
    parts = [banner('One function an event.'), '#pragma once\n', '#include "qmp/qmp.h"\n#include "qmp-types.h"\n']
    for e in _sorted(schema.events):
        note = ''
        if e.rate_key is not None:
            note = ' At most one a second%s.' % (' for each ' + e.rate_key.replace('*', 'rate_key') if e.rate_key else '')
        parts.append('/* %s%s */\n%s;\n' % (e.doc.replace('*/', '* /'), note, _event_function(schema, e)))
    return '\n'.join(parts)


def _event_source(schema, e):
    key = 'NULL' if e.rate_key is None else c_string('') if e.rate_key == '' else 'rate_key' if e.rate_key == '*' else \
        next(m.c for m in e.data if m.name == e.rate_key)
    call = '    qmp_server_event(server, %s, %%s, %s);\n' % (c_string(e.name), key)
    if not e.data:
        return '%s\n{\n%s}\n' % (_event_function(schema, e), call % 'NULL')
    struct = camel(e.name.lower()) + 'Event'
    out = 'typedef struct {\n%s} %s;\n' % (''.join('    %s\n' % f for f in fields(schema, e.data)), struct)
    out += codec_table(schema, struct, e.data, True)
    values = ''
    for m in e.data:
        ctype = c_type(schema, m.ref)
        if ctype is None:
            continue
        if has_flag(schema, m):
            values += '        .has_%s = has_%s,\n' % (m.c, m.c)
        cast = '(%s)' % ctype if ctype.endswith('*') else ''
        values += '        .%s = %s%s,\n' % (m.c, cast, m.c)
    out += ('\n%s\n{\n    const %s data = {\n%s    };\n    g_autofree char *text = codec_encode_text(&%s_codec, &data);\n\n'
            '%s}\n' % (_event_function(schema, e), struct, values, snake(struct), call % 'text'))
    return out


def events_source(schema):
    return '\n'.join([banner('One function an event.'), '#include "qmp-events.h"\n']
                     + [_event_source(schema, e) for e in _sorted(schema.events)])

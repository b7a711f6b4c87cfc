# SPDX-License-Identifier: LGPL-2.1-or-later
"""Usage: main.py SCHEMADIR OUTDIR          writes the generated C and backplane-qmp.7
          main.py --golden SCHEMADIR FILE   writes the readable introspection document ("-": to stdout)
          main.py --registry SCHEMADIR FILE writes compat-db/properties.json
          main.py --defaults SCHEMADIR FILE writes a release's defaults.json

Everything is generated or nothing is: a mistake in the schema leaves the output folder as it was.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import emit_commands    # noqa: E402
import emit_devices     # noqa: E402
import emit_introspect  # noqa: E402
import emit_manual      # noqa: E402
import emit_registry    # noqa: E402
import emit_types       # noqa: E402
from model import Schema, SchemaError  # noqa: E402
from writer import write_if_changed    # noqa: E402

OUTPUTS = {
    'devices.h': emit_devices.header,
    'devices.c': emit_devices.source,
    'qmp-types.h': emit_types.header,
    'qmp-types.c': emit_types.source,
    'qmp-commands.h': emit_commands.commands_header,
    'qmp-commands.c': emit_commands.commands_source,
    'qmp-events.h': emit_commands.events_header,
    'qmp-events.c': emit_commands.events_source,
    'qmp-schema.c': emit_introspect.source,
    'backplane-qmp.7': emit_manual.manual,
}

DOCUMENTS = {
    '--golden': emit_introspect.golden,
    '--registry': emit_registry.registry,
    '--defaults': emit_registry.defaults,
}


def main(argv):
    if len(argv) == 4 and argv[1] in DOCUMENTS:
        text = DOCUMENTS[argv[1]](Schema(argv[2]))
        if argv[3] == '-':
            sys.stdout.write(text)
        else:
            write_if_changed(argv[3], text)
        return 0
    if len(argv) != 3 or argv[1].startswith('-'):
        sys.stderr.write(__doc__)
        return 2
    schema = Schema(argv[1])
    texts = {name: emit(schema) for name, emit in OUTPUTS.items()}
    os.makedirs(argv[2], exist_ok=True)
    for name, text in texts.items():
        write_if_changed(os.path.join(argv[2], name), text)
    return 0


if __name__ == '__main__':
    try:
        sys.exit(main(sys.argv))
    except (SchemaError, OSError) as e:
        sys.exit('schema: %s' % e)

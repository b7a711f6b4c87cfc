#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Makes ./configure from a git checkout. Arguments are not taken: run ./configure next.
set -e
cd "$(dirname "$0")"
exec autoreconf --force --install --verbose

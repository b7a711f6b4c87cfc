#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The tarball: `make dist`, built outside its source folder, without Python and with warnings as errors, installed into a DESTDIR;
# what is installed is complete and works. Takes a minute or two, hence one of check-long. Prints TAP.
set -u
top=${top_builddir:-$(cd "$(dirname "$0")/../.." && pwd)}
dir=$(mktemp -d /tmp/long-dist.XXXXXX) || exit 99
trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
unset MAKEFLAGS MFLAGS MAKELEVEL
count=0
failed=0
result() {
    count=$((count + 1))
    if [ "$1" = 0 ]; then echo "ok $count - $2"; else failed=1; echo "not ok $count - $2"; fi
}
step() { # step NAME COMMAND...: shows the end of its output if it fails
    local name=$1 status
    shift
    "$@" >"$dir/log" 2>&1
    status=$?
    [ $status = 0 ] || tail -n 30 "$dir/log" | sed 's/^/# /'
    result $status "$name"
    return $status
}
give_up() { echo "1..$count"; exit 1; }

# A PATH with all programs but Python.
mkdir "$dir/bin"
IFS=: read -r -a folders <<<"$PATH:/usr/sbin:/sbin"
for folder in "${folders[@]}"; do
    for program in "$folder"/*; do
        case ${program##*/} in python* | pypy* | pyenv*) continue ;; esac
        [ -x "$program" ] && [ ! -e "$dir/bin/${program##*/}" ] && ln -s "$program" "$dir/bin/${program##*/}"
    done
done 2>/dev/null
bare() { env -i HOME="$dir" PATH="$dir/bin" LC_ALL=C.UTF-8 "$@"; }
! bare sh -c 'command -v python3 || command -v python' >/dev/null
result $? "there is no Python"

step "make dist" make -C "$top" --no-print-directory dist || give_up
tarball=$(ls -t "$top"/backplane-*.tar.xz | head -n 1)
mv "$tarball" "$dir/" && tarball=$dir/${tarball##*/}
step "the tarball unpacks" tar -C "$dir" -xf "$tarball" || give_up
source=$(echo "$dir"/backplane-*/)
! find "$source" -name '*.o' -o -name '*.log' -o -name '*.trs' -o -name .git | grep . | sed 's/^/# /' | grep .
result $? "nothing that was built is in it"
# What git has and a tarball has not is not part of the program.
if git -C "$top" rev-parse >/dev/null 2>&1; then
    git -C "$top" ls-files | grep -v -E '(^|/)\.gitignore$|^(autogen\.sh|tests/fuzz/corpus/|\.ci/)' |
        while read -r file; do [ -e "$source/$file" ] || echo "$file"; done >"$dir/missing"
    sed 's/^/# missing: /' "$dir/missing"
    ! [ -s "$dir/missing" ]
    result $? "every file of the project is in it"
fi

chmod -R a-w "$source"
mkdir "$dir/build" && cd "$dir/build" || give_up
step "configure, outside the source folder, which is read-only" bare "$source/configure" --prefix=/usr --sysconfdir=/etc --enable-werror || give_up
step "make" bare make -j2 || give_up
for program in backplaned backplanectl; do
    file -L "$program" | grep -q ELF
    result $? "./$program is a program, no script around one"
done
step "make install DESTDIR=" bare make install DESTDIR="$dir/root" || give_up
(cd "$dir/root" && find . -type f | sort) >"$dir/installed"
for file in usr/bin/backplaned usr/bin/backplanectl usr/share/man/man8/backplaned.8 usr/share/man/man1/backplanectl.1 \
    usr/share/man/man7/backplane-qmp.7 usr/lib/systemd/system/backplane@.service usr/lib/systemd/system/backplane@.socket \
    usr/share/bash-completion/completions/backplanectl; do
    grep -q -x "./$file" "$dir/installed" || grep -q "/${file##*/}\$" "$dir/installed"
    result $? "${file##*/} is installed"
done
[ "$(wc -l <"$dir/installed")" = 8 ]
result $? "and nothing else"
sed 's/^/# /' "$dir/installed"
daemon=$(sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' "$dir/root/usr/lib/systemd/system/backplane@.service")
[ -x "$dir/root$daemon" ]
result $? "the unit starts $daemon, which is there"
version=$("$dir/root$daemon" --version)
[ "$version" = "backplaned $(basename "$source" | sed 's/^backplane-//')" ]
result $? "it says its version: $version"
export BACKPLANE_RUNTIME_DIR=$dir/run BACKPLANED=$dir/root$daemon
mkdir "$dir/run"
ctl=$(find "$dir/root" -name backplanectl -perm -1 -type f | head -n 1)
"$ctl" start installed --accel test && [ "$("$ctl" -j qmp query-name)" = '{"name":"installed"}' ] && "$ctl" quit
result $? "the installed programs work together"
step "make uninstall" bare make uninstall DESTDIR="$dir/root"
! (cd "$dir/root" && find . -type f | grep .)
result $? "leaves nothing"
cd / || exit 99
echo "1..$count"
exit $failed

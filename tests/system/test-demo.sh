#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The demo of ./quickstart, each of its pages: it ends well, shows what it promises, says nothing on standard error, leaves nothing behind.
# Prints TAP.
set -u
demo=$(dirname "$0")/../demo
out=$(mktemp -d /tmp/test-demo.XXXXXX) || exit 99
trap 'rm -rf "$out"' EXIT
chmod 755 "$out"
count=0
failed=0
result() {
    count=$((count + 1))
    if [ "$1" = 0 ]; then echo "ok $count - $2"; else failed=1; echo "not ok $count - $2"; fi
}
left_behind() { ls -d /tmp/backplane-demo.* 2>/dev/null | grep -v -x -F -f "$out/before"; }

# page NAME WANTED... -- COMMAND...: runs it and looks for each WANTED text.
page() {
    local name=$1 wanted=() began=$SECONDS status missing=0
    shift
    while [ "$1" != -- ]; do wanted+=("$1"); shift; done
    shift
    ls -d /tmp/backplane-demo.* >"$out/before" 2>/dev/null || echo none >"$out/before"
    timeout -s INT 120 "$@" >"$out/text" 2>"$out/errors" </dev/null
    status=$?
    result $status "$name: it ends well, after $((SECONDS - began)) s"
    for text in "${wanted[@]}"; do
        grep -q -e "$text" "$out/text" || { echo "# there is no '$text'"; missing=1; }
    done
    [ $status = 0 ] && [ $missing = 0 ] || tail -n 60 "$out/text" | sed 's/^/# /'
    result $missing "$name: it shows what it promises"
    sed 's/^/# /' "$out/errors"
    ! [ -s "$out/errors" ]
    result $? "$name: nothing is wrong on the way"
    ! left_behind
    result $? "$name: nothing is left behind"
}
skip() { count=$((count + 1)); echo "ok $count - $1 # SKIP $2"; }

if [ -r /dev/kvm ] && [ -w /dev/kvm ]; then
    # With a Linux guest or, where there is none for this host, with the probe: as ./quickstart chooses.
    page "as it comes" "boots\|guest runs" "4 CPUs online\|present=3" "state    shutdown" "$(printf '%s' '"max-cpus": 4')" "cpus     [34] of 4" \
        "512 MiB plugged\|present=3" "disk vda: 64 MiB, serial number demo\|present=3" "network card eth0: 52:54:00:00:00:01\|present=3" -- "$demo"
    page "the probe guest" "cpuhp-waiting present=2" "smp-total online=3" "state    shutdown" -- env BACKPLANE_DEMO=probe "$demo"
else
    skip "the guests" "no usable /dev/kvm"
fi
page "without KVM" "test accelerator\|--accel test" "cpus     3 of 4" '"driver": "board"' "state    paused" -- env BACKPLANE_DEMO=test "$demo"
if [ "$(id -u)" != 0 ]; then
    skip "another user" "needs root, to become one"
elif ! runuser -u nobody -- test -x "$demo" || ! runuser -u nobody -- test -x "${BACKPLANED:-./backplaned}"; then
    skip "another user" "who may not read this folder"
else
    page "another user" "/dev/kvm\|no /dev/kvm\|Linux guest\|probe" "cpus     [34] of 4" -- runuser -u nobody -- "$demo"
fi
echo "1..$count"
exit $failed

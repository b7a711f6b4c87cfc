#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The units under a real systemd. Prints TAP; skips with the reason where systemd can not be run.
#
#   BACKPLANED, BACKPLANECTL   the programs (./backplaned, ./backplanectl)
#   WITH_SYSTEMD               the tool that runs a command beside a private systemd
#   top_srcdir                 the source tree
set -u
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
top_srcdir=$(realpath "${top_srcdir:-$here/../..}")
tool=${WITH_SYSTEMD:-$top_srcdir/../shared/tools/with-systemd}
machine=test1
service=backplane@$machine.service
socket_unit=backplane@$machine.socket

skip() { echo "1..0 # SKIP $*"; exit 0; }

# Outside: substitutes the units and starts systemd, with this script inside.
outside() {
    local daemon ctl dir status
    [[ -x $tool ]] || skip "$tool is not there: name it by WITH_SYSTEMD"
    [[ $(id -u) == 0 ]] || skip "needs root, for a systemd of its own"
    [[ -x /lib/systemd/systemd ]] || skip "systemd is not installed"
    daemon=$(realpath -e "${BACKPLANED:-./backplaned}" 2>/dev/null) ||
        skip "backplaned is not built"
    ctl=$(realpath -e "${BACKPLANECTL:-./backplanectl}" 2>/dev/null) ||
        skip "backplanectl is not built"
    # /tmp is the one place that is the same inside and writable
    dir=$(mktemp -d /tmp/test-service.XXXXXX)
    mkdir "$dir/bin" "$dir/units"
    ln -s "$daemon" "$dir/bin/backplaned"
    ln -s "$ctl" "$dir/bin/backplanectl"
    cp "$top_srcdir/contrib/systemd/backplane@.socket" "$dir/units/"
    sed "s,@bindir@,$dir/bin,g" "$top_srcdir/contrib/systemd/backplane@.service.in" \
        >"$dir/units/backplane@.service"
    "$tool" --units "$dir/units" -- "${BASH_SOURCE[0]}" --inside "$dir"
    status=$?
    rm -rf "$dir"
    ((status == 77)) && skip "systemd can not be run here"
    exit $status
}

count=0 failed=0
result() { # result STATUS NAME
    ((count++))
    if (($1 == 0)); then
        echo "ok $count - $2"
    else
        failed=1
        echo "not ok $count - $2"
    fi
}

show() { systemctl show --value -p "$2" "$1"; }

# Waits until a property has a value. systemctl has no way to wait for one, so it is asked again;
# a value that does not come is printed.
property_becomes() { # property_becomes UNIT PROPERTY VALUE
    local value
    for _ in {1..100}; do
        value=$(show "$1" "$2")
        [[ $value == "$3" ]] && return 0
        sleep 0.1
    done
    echo "# $2 of $1 is '$value', not '$3'"
    return 1
}

status_follows() { property_becomes $service StatusText "$1"; }
ctl() { "$dir/bin/backplanectl" -m $machine "$@" 2>&1 | sed 's/^/# /'; return "${PIPESTATUS[0]}"; }
main_pid() { show $service MainPID; }

# A machine that cont accepts: under the test accelerator board, CPU and RAM will do.
build_machine() {
    ctl plug board id=board &&
        ctl cpus 1 &&
        ctl plug --object memory-backend-ram id=m0 size=16777216 &&
        ctl plug pc-dimm id=d0 memdev=m0
}

test_units() {
    systemd-analyze --man=no verify "/etc/systemd/system/$service" \
        "/etc/systemd/system/$socket_unit" >"$dir/verify" 2>&1
    result $? "systemd-analyze verifies the units"
    ! grep -E 'backplane@' "$dir/verify" | sed 's/^/# /' | grep .
    result $? "it has no remark on them"
}

test_activation() {
    systemctl start $socket_unit
    result $? "the socket starts"
    [[ $(stat -c %a:%U /run/backplane/$machine/qmp.sock) == 600:root ]]
    result $? "the socket is its owner's"
    [[ $(stat -c %a /run/backplane/$machine) == 700 ]]
    result $? "its directory too"
    property_becomes $service ActiveState inactive
    result $? "nothing runs yet"
    ! "$dir/bin/backplanectl" list | grep -q $machine
    result $? "list does not start it"
    property_becomes $service ActiveState inactive
    result $? "it still does not run"
    ctl wait prelaunch
    result $? "the first connection is answered"
    property_becomes $service ActiveState active
    result $? "the service is active"
    "$dir/bin/backplanectl" list | grep -q "$machine *prelaunch *$(main_pid)"
    result $? "list shows the service's process"
}

test_run_state() {
    status_follows prelaunch
    result $? "StatusText is prelaunch"
    build_machine
    result $? "a machine is built"
    ctl cont
    result $? "cont"
    status_follows running
    result $? "StatusText is running"
    ctl stop
    status_follows paused
    result $? "StatusText is paused"
}

test_stop() {
    local pid
    pid=$(main_pid)
    # a shell that has been answered is negotiated, so the event must reach it before the end
    coproc SHELL_IO { timeout 20 "$dir/bin/backplanectl" -m $machine --json qmp 2>"$dir/lost"; }
    local reply rest shell=$SHELL_IO_PID
    echo query-status >&"${SHELL_IO[1]}"
    read -r -t 20 reply <&"${SHELL_IO[0]}"
    [[ $reply == *'"paused"'* ]]
    result $? "the machine is paused"
    exec {rest}<&"${SHELL_IO[0]}" # bash closes its own when the process ends
    systemctl stop $service 2>&1 | sed 's/^/# /'
    grep '"SHUTDOWN"' <&"$rest" | grep -q '"host-signal"'
    result $? "a client is told SHUTDOWN by host-signal"
    wait "$shell"
    (($? == 5))
    result $? "and then loses its connection"
    [[ $(show $service Result):$(show $service ExecMainStatus) == success:0 ]]
    result $? "the service stops with success"
    ! kill -0 "$pid" 2>/dev/null
    result $? "the process is gone"
    [[ ! -e /run/backplane/$machine/backplaned.pid ]]
    result $? "its pid file is gone"
    property_becomes $socket_unit ActiveState active
    result $? "the socket stays"
}

test_restart() {
    local pid
    ctl wait prelaunch
    result $? "the next connection starts an empty machine"
    pid=$(main_pid)
    ctl plug board id=board
    systemctl restart $service
    result $? "restart"
    [[ $(main_pid) != "$pid" ]]
    result $? "it is another process"
    ctl plug board id=board
    result $? "on an empty machine, over the same socket"
    status_follows prelaunch
    result $? "StatusText is prelaunch again"
}

test_crash() {
    systemctl kill -s KILL $service
    property_becomes $service ActiveState failed
    result $? "a killed machine fails and is not restarted"
    ctl wait prelaunch
    result $? "the socket starts it all the same"
    ctl quit
    property_becomes $service ActiveState inactive
    result $? "quit ends the service"
    [[ $(show $service Result) == success ]]
    result $? "with success"
}

test_arguments() {
    mkdir -p /etc/backplane
    echo "BACKPLANED_ARGS=--nonsense --accel test" >/etc/backplane/$machine.conf
    ! systemctl start $service 2>/dev/null
    result $? "a bad BACKPLANED_ARGS fails the start"
    [[ $(show $service ExecMainStatus) == 2 ]]
    result $? "with the daemon's usage status"
    echo "BACKPLANED_ARGS=--accel test" >/etc/backplane/$machine.conf
    systemctl reset-failed $service $socket_unit
    systemctl start $socket_unit $service
    result $? "and a good one does not"
}

test_end() {
    systemctl stop $socket_unit
    property_becomes $service ActiveState inactive
    result $? "stopping the socket stops the service"
    [[ ! -e /run/backplane/$machine/qmp.sock ]]
    result $? "the socket's path is removed"
}

inside() {
    dir=$1
    # without /dev/kvm, and the same everywhere
    mkdir -p /etc/backplane
    echo "BACKPLANED_ARGS=--accel test" >/etc/backplane/$machine.conf
    test_units
    test_activation
    test_run_state
    test_stop
    test_restart
    test_crash
    test_arguments
    test_end
    echo "1..$count"
    ((failed)) && journalctl --no-pager -q -u $service | tail -n 40 | sed 's/^/# /'
    exit $failed
}

case ${1:-} in
    --inside) inside "$2" ;;
    *) outside ;;
esac

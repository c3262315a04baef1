#!/bin/bash
# What systemd does for the promise, shown on a real one: it boots as process 1 of namespaces of its own, from a Debian 12
# made by debootstrap, with the programs and modules that `cargo xtask package` built.
#
#     cargo xtask package && cargo build -p stillpoint-tests && tests/systemd.sh [SYSTEM]
#
# Not part of the test command: it needs root, the programs debootstrap, dpkg-deb, unshare and nsenter, a control group (version 2)
# that it may make groups in, overlayfs, and, where the folder SYSTEM does not hold a Debian yet, the network.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$here/target}
system=${1:-$target/systemd/bookworm}
work=$(mktemp -d /tmp/stillpoint-systemd.XXXXXX)
group=''
init=''
passed=0

fail() { echo "✘ $*" >&2; exit 1; }
ok() { passed=$((passed + 1)); echo "✔ $* ($SECONDS s)"; }

# In the system that runs.
inside() { nsenter --target "$init" --all -- env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 "$@"; }

wait_for() {
    local what=$1 end=$((SECONDS + 60))
    shift
    until "$@" > /dev/null 2>&1; do
        [ $SECONDS -lt $end ] || fail "waited 60 s for this: $what"
        sleep 0.05
    done
}

expect() {
    local what=$1 wanted=$2 got=$3
    [ "$wanted" = "$got" ] || fail "$what: expected \"$wanted\", got \"$got\""
}

# Its own mount, process, control group … namespaces, and a boot id as the kernel would give a new one.
boot() {
    cat /proc/sys/kernel/random/uuid > "$work/boot_id"
    cat > "$work/boot" << BOOT
set -eu
mount -t overlay overlay -o lowerdir=$system,upperdir=$work/disk/changes,workdir=$work/disk/work $work/disk/root
cd $work/disk/root
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount --bind $work/boot_id proc/sys/kernel/random/boot_id
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for n in null zero full random urandom tty; do touch dev/\$n; mount --bind /dev/\$n dev/\$n; done
mkdir dev/shm dev/pts
mount -t tmpfs tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs tmpfs tmp
mkdir -p old
pivot_root . old
umount -l old
exec env -i container=unshare PATH=/usr/sbin:/usr/bin /lib/systemd/systemd --system
BOOT
    (
        echo 0 > "$group/cgroup.procs"
        exec unshare --fork --kill-child --pid --mount --uts --ipc --cgroup --propagation private bash "$work/boot"
    ) > "$work/boot.log" 2>&1 < /dev/null &
    outer=$!
    wait_for 'process 1' pgrep --parent "$outer" --exact systemd
    init=$(pgrep --parent "$outer" --exact systemd)
    wait_for 'the bus' inside busctl --system --quiet status org.freedesktop.systemd1
}

# As a loss of power.
power_off() {
    kill -KILL "$init"
    wait "$outer" 2> /dev/null || true
    wait_for 'every process is gone' grep -q '^populated 0' "$group/cgroup.events"
    find "$group" -mindepth 1 -depth -type d -exec rmdir {} +
    init=''
}

clean() {
    [ -z "$init" ] || kill -KILL "$init" 2> /dev/null || true
    if [ -n "$group" ]; then
        for _ in $(seq 100); do
            find "$group" -depth -type d -exec rmdir {} + 2> /dev/null && break
            sleep 0.05
        done
    fi
    umount -l "$work/disk" 2> /dev/null || true
    rm -rf "$work"
}
trap clean EXIT

[ "$(id -u)" = 0 ] || fail 'this needs root'
if [ ! -x "$system/lib/systemd/systemd" ]; then
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,sqlite3 bookworm "$system"
fi
unified=$(findmnt --noheadings --first-only --output TARGET --types cgroup2) || fail 'no control groups of version 2 here'
group=$unified/stillpoint-systemd-$$
mkdir "$group"
mkdir "$work/disk"
mount -t tmpfs tmpfs "$work/disk"
disk=$work/disk/changes
mkdir -p "$disk" "$work/disk/work" "$work/disk/root"

# A package as packaging/README.md wants it, in two versions.
put() { install -D --mode="$1" "$2" "$3"; }
for version in 1.0.0 2.0.0; do
    deb=$work/deb-$version
    put 755 "$target/debug/stillpoint" "$deb/usr/bin/stillpoint"
    put 755 "$target/debug/stillpoint-engine" "$deb/usr/libexec/stillpoint/stillpoint-engine"
    put 644 "$here/packaging/systemd/stillpoint-recover.service" "$deb/usr/lib/systemd/system/stillpoint-recover.service"
    put 644 "$here/packaging/systemd/stillpoint.tmpfiles" "$deb/usr/lib/tmpfiles.d/stillpoint.conf"
    for script in preinst prerm postinst postrm; do put 755 "$here/packaging/debian/$script" "$deb/DEBIAN/$script"; done
    cat > "$deb/DEBIAN/control" << CONTROL
Package: stillpoint
Version: $version
Architecture: $(dpkg --print-architecture)
Maintainer: nobody <nobody@localhost>
Description: a test's package
CONTROL
    mkdir -p "$disk/srv/packages"
    dpkg-deb --build -Znone --root-owner-group "$deb" "$disk/srv/packages/$version.deb" > /dev/null
    rm -r "$deb"
done
put 755 "$target/debug/fake-server" "$disk/usr/bin/fake-server"
put 755 "$target/debug/fake-client" "$disk/usr/bin/fake-client"
put 644 "$here/packaging/systemd/agent-drop-in.conf" "$disk/etc/systemd/system/asks.service.d/stillpoint.conf"
for file in allowed_signers policy.toml; do
    put 644 "$target/stillpoint/trust/$file" "$disk/etc/stillpoint/trust/$file"
done
mkdir -p "$disk/srv/bundles"
cp -r --no-preserve=ownership "$target"/stillpoint/modules/sqlite-* "$target"/stillpoint/guests/fake-* "$disk/srv/bundles"
install -d "$disk/srv/fake/faults"
cat > "$disk/etc/stillpoint/workload.conf" << 'CONF'
[workload orders]
workload_name = sqlite
dbnames       = /srv/orders.db
ipc_folder    = /srv
timeout       = 90

[workload fake-server-disk]
workload_name = fake
command_path  = /usr/bin
linux_user    = backup
credString    = -u root -S /srv/fake/socket
timeout       = 90
CONF
chmod 600 "$disk/etc/stillpoint/workload.conf"
# A server beside which the machine boots: it is up when this test wants it.
cat > "$disk/etc/systemd/system/fake.service" << 'UNIT'
[Service]
ExecStart=/bin/sh -c 'sleep infinity | exec fake-server /srv/fake'
[Install]
WantedBy=multi-user.target
UNIT
for agent in stays asks; do
    cat > "$disk/etc/systemd/system/$agent.service" << 'UNIT'
[Service]
Type=notify
NotifyAccess=all
KillMode=control-group
ExecStartPre=/bin/sh -c 'until echo "SELECT STATE;" | fake-client --socket=/srv/fake/socket; do sleep 0.1; done'
ExecStart=/bin/sh -c 'stillpoint freeze && systemd-notify --ready && exec sleep infinity'
[Install]
WantedBy=multi-user.target
UNIT
done

fake() { printf '%s;\n' "$1" | inside fake-client --socket=/srv/fake/socket --user=test; }
orders() { inside sqlite3 /srv/orders.db "$1"; }
writes() { orders 'INSERT INTO t VALUES (1)'; }
stands_still() {
    ! writes > /dev/null 2>&1 || fail "$1: SQLite takes writes"
    expect "$1: the fake server" "'readonly backup'" "$(fake 'SELECT FROZEN')"
}
goes_on() {
    writes || fail "$1: SQLite takes no writes"
    expect "$1: the fake server" "''" "$(fake 'SELECT FROZEN')"
    expect "$1: status" 'nothing is frozen' "$(inside stillpoint status)"
}
freeze() { inside stillpoint freeze > /dev/null 2>&1 || fail 'it did not freeze'; }
scopes() { inside systemctl list-units --plain --no-legend "stillpoint-$1-*.scope" | cut -d ' ' -f 1; }
none_left() { [ -z "$(scopes '*')" ]; }
# How a command ended, and what it said.
code_of() { set +e; said=$("$@" 2>&1); code=$?; set -e; }

boot
expect 'process 1' systemd "$(inside cat /proc/1/comm)"
echo "systemd $(inside systemctl --version | head -1) is process 1"
package() { inside dpkg --install "/srv/packages/$1.deb" 2>&1; }
code_of package 1.0.0
expect "the first installation ($said)" 0 "$code"
expect 'recovery at boot' enabled "$(inside systemctl is-enabled stillpoint-recover.service)"
ok 'dpkg installs it, and recovery at boot is enabled'
for bundle in "$disk"/srv/bundles/*; do
    code_of inside stillpoint module install --yes "/srv/bundles/${bundle##*/}"
    expect "module install ${bundle##*/} ($said)" 0 "$code"
done
ok 'modules are installed and granted, and compiled by an engine within its walls'
orders 'PRAGMA journal_mode = WAL; CREATE TABLE t (x)' > /dev/null
inside systemctl start fake.service
wait_for 'the fake server' fake 'SELECT STATE'

inside systemd-analyze verify stillpoint-recover.service asks.service || fail 'a unit is not accepted'
expect 'systemd-analyze verify says nothing' '' "$(inside systemd-analyze verify stillpoint-recover.service 2>&1)"
ok 'systemd accepts the units'
expect 'the folder of sockets' '700 root' "$(inside stat --format '%a %U' /run/stillpoint)"
ok 'tmpfiles made /run/stillpoint'

for how in stop kill; do
    inside systemctl start stays.service
    stands_still "the agent froze"
    expect 'scopes of the keeper' 1 "$(scopes keeper | wc -w)"
    expect 'scopes of the guard' 1 "$(scopes guard | wc -w)"
    if [ $how = stop ]; then
        inside systemctl stop stays.service
    else
        inside systemctl kill --signal=KILL stays.service
        wait_for 'the agent is gone' inside sh -c '! systemctl is-active stays.service'
        inside systemctl reset-failed stays.service
    fi
    expect 'processes of the agent' '' "$(inside sh -c 'cat /sys/fs/cgroup/system.slice/stays.service/cgroup.procs 2> /dev/null')"
    stands_still "after systemctl $how"
    expect 'scopes of the keeper' 1 "$(scopes keeper | wc -w)"
    expect 'scopes of the guard' 1 "$(scopes guard | wc -w)"
    code_of inside stillpoint --output json thaw
    expect "thaw after systemctl $how ($said)" 0 "$code"
    ! grep -q 'SP-GUARD' <<< "$said" || fail "a warning: $said"
    goes_on "after the thaw"
    wait_for 'the scopes are gone' none_left
    ok "systemctl $how of the agent's unit: keeper and guard hold in scopes of their own, thaw ends it: $(
        grep -o '"verdict":"[a-z-]*"' <<< "$said" | head -1)"
done

freeze
for change in 'install /srv/packages/2.0.0.deb' 'remove stillpoint' 'purge stillpoint'; do
    code_of inside sh -c "dpkg --$change 2>&1"
    [ "$code" != 0 ] || fail "dpkg --$change: $said"
    grep -q 'refused: a backup cycle is under way' <<< "$said" || fail "dpkg --$change: $said"
    stands_still "dpkg --$change"
    expect "the version after dpkg --$change" 'installed 1.0.0' "$(
        inside dpkg-query --show --showformat '${db:Status-Status} ${Version}' stillpoint)"
done
code_of inside stillpoint thaw
expect "thaw after what was refused ($said)" 0 "$code"
goes_on 'after the thaw'
code_of package 2.0.0
expect "upgrade while nothing is frozen ($said)" 0 "$code"
ok 'dpkg neither upgrades nor removes it while it holds; afterwards it does'

inside systemctl start asks.service
stands_still 'the agent froze'
inside systemctl stop asks.service
goes_on 'the agent that asks for it was stopped'
ok "an agent's unit with the drop-in thaws when it is stopped"

freeze
stands_still 'frozen'
inside systemctl kill --signal=KILL "$(scopes keeper)"
wait_for 'the guard thaws' writes
wait_for 'the guard is done' none_left
goes_on 'the keeper was killed with its scope'
code_of inside stillpoint thaw
expect "the verdict ($said)" 5 "$code"
grep -q 'SP-GUARD-001' <<< "$said" || fail "the guard left no word: $said"
ok "systemctl kill of the keeper's scope: the guard thawed"

freeze
first=$(scopes guard)
inside systemctl kill --signal=KILL "$first"
another() { [ "$(scopes guard | wc -w)" = 1 ] && [ "$(scopes guard)" != "$first" ]; }
wait_for 'another guard, in another scope' another
stands_still 'the guard was replaced'
code_of inside stillpoint thaw
expect "thaw with the second guard ($said)" 0 "$code"
goes_on 'with the second guard'
wait_for 'the scopes are gone' none_left
ok "systemctl kill of the guard's scope: another took its place, in a scope of its own"

freeze
inside systemctl stop "$(scopes keeper)"
wait_for 'nothing is left' none_left
goes_on "the keeper's scope was stopped"
code_of inside stillpoint thaw
[ "$code" = 5 ] || fail "a hold that was stopped is no success: $code $said"
ok "systemctl stop of the keeper's scope, as at shutdown: everything was thawed"

# Neither is left: nobody but the service manager knows.
lose_both() {
    local keeper guard
    keeper=$(scopes keeper) guard=$(scopes guard)
    inside systemctl kill --signal=STOP "$keeper"
    inside systemctl kill --signal=KILL "$guard"
    inside systemctl kill --signal=KILL "$keeper"
}
freeze
lose_both
wait_for 'recovery settles it' inside sh -c '[ "$(stillpoint status)" = "nothing is frozen" ]'
goes_on 'both were lost'
freeze
inside systemctl stop fake.service
lose_both
wait_for 'recovery was tried, and is tried again' inside sh -c \
    '[ "$(systemctl show --value --property NRestarts stillpoint-recover.service)" -ge 1 ]'
inside systemctl start fake.service
wait_for 'recovery settles it' inside sh -c '[ "$(stillpoint status)" = "nothing is frozen" ]'
goes_on 'both were lost, and the server was down'
ok 'keeper and guard were both killed: the recovery service was started by that, and settled it'

freeze
inside systemctl start stillpoint-recover.service
wait_for 'it has ended' inside sh -c '! systemctl is-active stillpoint-recover.service'
stands_still 'recovery beside a keeper'
expect 'recovery beside a keeper' exec-condition "$(inside systemctl show --value --property Result stillpoint-recover.service)"
inside stillpoint thaw > /dev/null
ok 'the recovery service leaves a cycle under way alone'

inside systemctl stop dbus.socket dbus.service 2> /dev/null
freeze
code_of inside stillpoint --output json thaw
expect "thaw without a bus ($said)" 0 "$code"
for id in SP-GUARD-004 SP-GUARD-005; do grep -q $id <<< "$said" || fail "no $id: $said"; done
inside systemctl start dbus.socket
ok 'without the bus it goes on, and says so'

freeze
stands_still 'frozen'
power_off
boot
wait_for 'recovery was tried, and is tried again' inside sh -c \
    '[ "$(systemctl show --value --property NRestarts stillpoint-recover.service)" -ge 1 ]'
wait_for 'the boot is done' inside systemctl is-active multi-user.target
code_of inside stillpoint status
expect "status while the server is down ($said)" 6 "$code"
inside systemctl start fake.service
wait_for 'the server is up' fake 'SELECT STATE'
wait_for 'recovery settles it' inside sh -c '[ "$(stillpoint status)" = "nothing is frozen" ]'
wait_for 'the service has ended' inside sh -c '! systemctl is-active stillpoint-recover.service'
expect 'the service' success "$(inside systemctl show --value --property Result stillpoint-recover.service)"
expect 'the server' "'OPEN'" "$(fake 'SELECT STATE')"
goes_on 'after the boot'
ok "boot after a loss of power: recovery tried again until the server was up ($(
    inside systemctl show --value --property NRestarts stillpoint-recover.service) times), and settled it"

# As a database that is enabled: it ends after the keeper.
inside systemctl --quiet enable fake.service
inside systemctl start stays.service
stands_still 'the agent froze'
inside systemctl --no-block halt
wait_for 'the machine is down' grep -q '^populated 0' "$group/cgroup.events"
wait "$outer" 2> /dev/null || true
find "$group" -mindepth 1 -depth -type d -exec rmdir {} +
boot
wait_for 'the boot is done' inside systemctl is-active multi-user.target
wait_for 'the server is up' fake 'SELECT STATE'
wait_for 'recovery was asked for' inside sh -c \
    '[ "$(systemctl show --value --property ExecMainExitTimestampMonotonic stillpoint-recover.service)" != 0 ] ||
     [ "$(systemctl show --value --property Result stillpoint-recover.service)" != success ]'
expect 'recovery found nothing to do' exec-condition "$(
    inside systemctl show --value --property Result stillpoint-recover.service)"
goes_on 'after the shutdown'
ok 'an orderly shutdown in the middle of a hold: the keeper thawed before the server ended'

inside systemctl --quiet enable stays.service
power_off
boot
wait_for 'the boot is done' inside systemctl is-active multi-user.target
stands_still 'an agent froze at boot'
expect 'scopes of the keeper' 1 "$(scopes keeper | wc -w)"
code_of inside stillpoint --output json thaw
expect "thaw of what an agent froze at boot ($said)" 0 "$code"
! grep -q 'SP-GUARD' <<< "$said" || fail "a warning: $said"
goes_on 'after the boot'
ok 'an agent that is a part of the boot, and freezes in it: neither waits for the other'

inside dpkg --remove stillpoint > /dev/null 2>&1 || fail 'dpkg does not remove it'
[ -z "$(inside sh -c 'command -v stillpoint')" ] || fail 'it is still there'
ok 'dpkg removes it'

echo "$passed of $passed"

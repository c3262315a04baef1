#!/bin/sh
# Tries the Oracle module on a real instance, and writes a report. Use a TEST database: it archives logs, and puts the
# database into backup mode for a few seconds, five times. Nothing is snapshotted and no data is read or written.
#
#   modules/oracle/try-it.sh SID ORACLE_HOME LINUX_USER [REPORT]
#
# As root, with stillpoint and its oracle module installed. It uses a state folder of its own, so that nothing of an
# installation is touched but what that reads: modules, grants and trust.
#
# The report holds versions, names of instances, paths and Oracle's errors. Read it before you send it.
set -u

if [ $# -lt 3 ]; then
    sed -n '2,11s/^# \{0,1\}//p' "$0"
    exit 2
fi
sid=$1 home=$2 user=$3 report=${4:-stillpoint-oracle-report.txt}
[ "$(id -u)" = 0 ] || { echo "this needs root, which starts sqlplus as $user" >&2; exit 2; }
[ -x "$home/bin/sqlplus" ] || { echo "there is no $home/bin/sqlplus" >&2; exit 2; }
command -v stillpoint >/dev/null || { echo "there is no program stillpoint on the path" >&2; exit 2; }

site=$(mktemp -d) || exit 1
ended() {
    # Whatever happened: nothing is left in backup mode by us. Where that fails, the ledger is kept.
    if stillpoint --state-dir "$site" recover >/dev/null 2>&1 || [ $? -eq 5 ]; then rm -rf "$site"; else
        echo "SOMETHING MAY STILL BE IN BACKUP MODE: stillpoint --state-dir $site recover" >&2
    fi
}
trap ended EXIT
trap 'exit 1' INT TERM HUP
chmod 755 "$site"
mkdir -p "$site/etc" "$site/lib" "$site/ipc"
chown "$user" "$site/ipc" && chmod 770 "$site/ipc"
# The server writes the copy of the control file.
chgrp "$(stat -c %G "$home/bin/oracle")" "$site/ipc"
# STILLPOINT_STATE_DIR: an installation elsewhere, as  stillpoint --state-dir  takes it.
etc=${STILLPOINT_STATE_DIR:+$STILLPOINT_STATE_DIR/etc} lib=${STILLPOINT_STATE_DIR:+$STILLPOINT_STATE_DIR/lib}
cp -r "${etc:-/etc/stillpoint}/trust" "${etc:-/etc/stillpoint}/grants" "$site/etc/" || exit 2
cp -r "${lib:-/var/lib/stillpoint}/modules" "$site/lib/" || exit 2
cat >"$site/etc/workload.conf" <<CONF
[workload try]
workload_name = oracle
linux_user    = $user
instance      = $sid
home          = $home
ipc_folder    = $site/ipc
timeout       = 60
CONF
chmod 600 "$site/etc/workload.conf"

failed=0 hold=${STILLPOINT_TRY_SECONDS:-5}
: >"$report" || exit 2
step() { # what, expected exit code, command …
    printf '\n== %s\n' "$1"
    expected=$2
    shift 2
    "$@" 2>&1
    code=$?
    printf '(exit %s, expected %s)\n' "$code" "$expected"
    [ "$code" = "$expected" ] || { failed=$((failed + 1)); echo "!! NOT AS EXPECTED"; }
}
sp() { stillpoint --state-dir "$site" "$@"; }
sql() {
    # As the module's client is started, so that what it prints is seen raw.
    setpriv --reuid="$user" --regid="$(id -g "$user")" --init-groups env -i ORACLE_SID="$sid" ORACLE_HOME="$home" \
        NLS_LANG=AMERICAN_AMERICA.AL32UTF8 LC_ALL=C.UTF-8 PATH=/usr/bin:/bin \
        timeout 60 "$home/bin/sqlplus" -S -L -R 3 /nolog
}
lines() { sed -n '/^setup/,/^\]/s/^ *"\(.*\)",$/\1/p' "$site"/lib/modules/oracle-*/module.toml; }
raw() {
    { printf 'SET DEFINE OFF\nCONNECT / AS SYSBACKUP\n'; lines; echo "PROMPT ready;"; cat; } | sql
}
active() {
    echo "SELECT 'ACTIVE ' || TO_CHAR(COUNT(*)) FROM v\$backup WHERE status = 'ACTIVE';" | raw | grep ACTIVE
}
nothing_active() {
    # The guard may be about to end it.
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        seen=$(active)
        case $seen in *'ACTIVE 0"'*) break ;; esac
        sleep 1
    done
    echo "$seen"
    case $seen in *'ACTIVE 0"'*) ;; *) return 1 ;; esac
}

{
    echo "Stillpoint's Oracle module on a real Oracle, $(date -u +%Y-%m-%dT%H:%M:%SZ)"
    uname -srm
    stillpoint --version
    stillpoint module list
    # 1. The client: what it prints, byte for byte.
    printf '\n== what sqlplus prints\n'
    raw <<'SQL' | cat -A
SELECT banner FROM v$version;
SELECT instance_name, version, status, archiver FROM v$instance;
SELECT 'a "quoted", text', TO_CHAR(12345678901234567890), 7, NULL FROM dual;
SELECT 'no row' FROM dual WHERE 1 = 0;
SELECT nothing FROM nowhere;
ALTER DATABASE END BACKUP;
HOST id
PROMPT stillpoint-tag;
SQL
    # 2. Every read that the module declares.
    printf '\n== every read of the module\n'
    sed -n "s/^text *= \"\(SELECT.*\)\"$/\1;/p" "$site"/lib/modules/oracle-*/module.toml | raw | cat -A
    # 3. Cycles.
    step "check" 0 sp check
    step "nothing is in backup mode" 0 nothing_active
    step "a cycle of $hold seconds" 0 sp run -- sleep "$hold"
    step "nothing is in backup mode" 0 nothing_active
    ls -l "$site/ipc"
    step "freeze" 0 sp freeze
    step "what is in backup mode while it holds" 0 active
    step "thaw" 0 sp --output json thaw
    step "nothing is in backup mode" 0 nothing_active
    # 4. The keeper is killed: the guard ends the backup.
    step "freeze" 0 sp freeze
    keeper=$(pgrep -f "keeper .*$site" | head -n 1)
    step "the keeper is killed" 0 kill -9 "$keeper"
    step "nothing is in backup mode" 0 nothing_active
    step "its verdict" 5 sp thaw
    # 5. Somebody else's backup mode is left alone.
    echo 'ALTER DATABASE BEGIN BACKUP;' | raw
    step "a freeze beside another backup is refused" 4 sp freeze
    step "and the other backup stands" 0 active
    echo 'ALTER DATABASE END BACKUP;' | raw
    step "nothing is in backup mode" 0 nothing_active
    step "the record" 0 sp record show
    printf '\n%s steps were not as expected\n' "$failed"
} >>"$report" 2>&1
echo "the report is $report; read it, then send it to the project: $failed steps were not as expected"
[ "$failed" = 0 ]

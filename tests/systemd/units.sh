#!/bin/bash
# units.sh CMAKE BUILD GUEST: installs the build into a machine that the real systemd boots, and runs the shipped units
# there: their sandbox, activation, watchdog, descriptor store, reload, several pools, and clients of another user
# through all of it. Status 77: this machine does not allow it.
set -euo pipefail

export cmake=$1 build=$2 guest=$3
. "$(dirname "$0")/stage.sh"

missing=$(stage_possible) || {
  echo "SKIPPED: the units cannot run here: $missing"
  exit 77
}

fail() {
  echo "FAILED: $*" >&2
  stage journalctl --no-pager --output short-precise 2>/dev/null | tail -n 60 >&2
  exit 1
}

expect() { # WHAT EXPECTED FOUND
  [ "$2" = "$3" ] || fail "$1: expected \"$2\", found \"$3\""
}

say() {
  echo "-- $*"
}

stage_furnish() { # ROOT
  DESTDIR=$1 "$cmake" --install "$build" --prefix /usr >/dev/null
  cp "$guest" "$1/usr/bin/guest"
  cat >"$1/etc/buddyd.conf" <<'TEXT'
[buddyd]
workers = 2
socket-mode = 0660
socket-group = buddyd
metrics-socket = /run/buddyd/metrics.sock
[pool default]
size = 16M
backing = memfd
TEXT
  mkdir "$1/etc/buddyd"
  cat >"$1/etc/buddyd/second.conf" <<'TEXT'
[pool second]
size = 8M
backing = posix-shm
TEXT
  mkdir -p "$1/etc/systemd/system/buddyd.service.d"
  printf '[Service]\nWatchdogSec=5s\n' >"$1/etc/systemd/system/buddyd.service.d/watchdog.conf"
}

property() { # UNIT PROPERTY
  stage systemctl show --property "$2" --value "$1"
}

figure() { # NAME BUDDYCTL-OPTION...
  local name=$1
  shift
  stage buddyctl "$@" stats --json | sed -n "s/.*\"$name\":\\([0-9]*\\).*/\\1/p"
}

# Until a figure is this one, within 20 s.
await() { # VALUE NAME BUDDYCTL-OPTION...
  local value=$1 found tries
  shift
  for tries in $(seq 200); do
    found=$(figure "$@" 2>/dev/null) || true
    [ "$found" != "$value" ] || return 0
    sleep 0.1
  done
  fail "$*: expected $value, found \"$found\""
}

guest_looks() { # an open guest must answer "mine"
  local answer=
  echo look >&"${GUEST[1]}"
  IFS= read -r -t 30 -u "${GUEST[0]}" answer || true
  expect "what the client finds $1" mine "$answer"
}

stage_begin /
stage systemd-sysusers buddyd.conf
stage systemd-tmpfiles --create buddyd.conf

say "verify is silent, and the exposure is at most 0.5"
man=no
[ ! -x /usr/bin/man ] || man=yes
found=$(stage systemd-analyze verify --man=$man buddyd.service buddyd.socket buddyd@x.service buddyd@x.socket 2>&1) || true
expect "systemd-analyze verify" "" "$found"
for unit in buddyd.service buddyd@.service; do
  stage systemd-analyze security --offline=true --threshold=5 --no-pager "/usr/lib/systemd/system/$unit" >"$stage_folder.out" ||
    fail "$unit: $(tail -n 1 "$stage_folder.out")"
  echo "$unit: $(tail -n 1 "$stage_folder.out")"
done
rm "$stage_folder.out"

say "the first client starts the service"
stage systemctl start buddyd.socket
expect "the service before a client" inactive "$(property buddyd.service ActiveState)"
coproc GUEST { stage setpriv --reuid nobody --regid buddyd --clear-groups \
  env BUDDYD_SOCKET=/run/buddyd/buddyd.sock guest default stranger; }
IFS= read -r -t 20 -u "${GUEST[0]}" answer || answer=
expect "the first client" mine "$answer"
expect "the service" active/running "$(property buddyd.service ActiveState)/$(property buddyd.service SubState)"
expect "the status that the daemon gave" "Serving 1 pool on /run/buddyd/buddyd.sock" \
  "$(property buddyd.service StatusText)"

say "the daemon is in its sandbox, and sees its clients as they are"
pid=$(property buddyd.service MainPID)
state=$(stage sed -n 's/^\(Uid\|CapBnd\|CapEff\|NoNewPrivs\|Seccomp\):\t//p' "/proc/$pid/status" | tr '\t\n' '  ')
uid=$(stage id -u buddyd)
expect "uid, capabilities, privileges and filter of the daemon" \
  "$uid $uid $uid $uid 0000000000000000 0000000000000000 1 2 " "$state"
expect "what it sees of the file system" "dev etc lib lib32 lib64 proc root run sys tmp usr var" \
  "$(stage ls "/proc/$pid/root" | grep -v libx32 | tr '\n' ' ' | sed 's/ $//')"
stage nsenter --target "$pid" --mount touch /etc/buddyd.conf 2>/dev/null && fail "the daemon's /etc can be written"
client=$(stage buddyctl clients --json)
nobody=$(stage id -u nobody)
guest_pid=$(sed -n 's/.*"pid":\([0-9]*\).*/\1/p' <<<"$client")
grep -q "\"name\":\"stranger\".*\"uid\":$nobody[,}]" <<<"$client" || fail "the client is not seen as it is: $client"
expect "the client's process" guest "$(stage cat "/proc/$guest_pid/comm")"

say "kill -9: the next daemon has the pool from the descriptor store"
stage kill -KILL "$pid"
guest_looks "after the kill"
expect "restarts" 1 "$(figure restarts)"
expect "held bytes" 65536 "$(figure held_bytes)"

say "a daemon that hangs is replaced by the watchdog"
pid=$(property buddyd.service MainPID)
stage kill -STOP "$pid"
guest_looks "after the watchdog"
expect "restarts" 2 "$(figure restarts)"
[ "$(property buddyd.service MainPID)" != "$pid" ] || fail "the daemon that hung is still there"

say "metrics on a socket of their own"
expect "the socket" "srw-rw---- buddyd" "$(stage stat --format '%A %G' /run/buddyd/metrics.sock)"

say "reload"
pid=$(property buddyd.service MainPID)
stage sh -c 'sed "/^\[pool/a grace = 77" /etc/buddyd.conf >/etc/new && mv /etc/new /etc/buddyd.conf' # as editors do
stage systemctl reload buddyd.service
stage journalctl --quiet --output cat _SYSTEMD_UNIT=buddyd.service BUDDYD_POOL=default |
  grep -q "grace is 77 now" || fail "the reload does not reach the daemon"
expect "the service" active/running "$(property buddyd.service ActiveState)/$(property buddyd.service SubState)"
expect "its process" "$pid" "$(property buddyd.service MainPID)"
guest_looks "after the reload"

say "a client of another user that dies while there is no daemon is reclaimed"
stage kill -STOP "$pid"
stage kill -KILL "$guest_pid" # the frozen one does not see it
stage kill -KILL "$pid"
await 0 held_bytes
expect "restarts" 3 "$(figure restarts)"

say "the journal has all of that, with fields, and explains it"
journal() { # FIELD=VALUE... : how many entries match
  stage journalctl --quiet --output cat _SYSTEMD_UNIT=buddyd.service "$@" | wc -l
}
expect "entries of the pool's first daemon" 1 "$(journal MESSAGE_ID=14edeb2212ac4d948a677642c1132e93 PRIORITY=5)"
expect "take-overs" 3 "$(journal MESSAGE_ID=2f5575620b8c404691ff80482d3c0180 BUDDYD_POOL=default)"
expect "returns of the client" 2 "$(journal MESSAGE_ID=ae1ff566c89644eb97d9c390724e361d BUDDYD_CLIENT_NAME=stranger)"
expect "its end" 1 "$(journal MESSAGE_ID=eb66f716598e438ea8040a650c465471 "BUDDYD_UID=$nobody" "BUDDYD_PID=$guest_pid" \
  BUDDYD_RANGES=1 BUDDYD_BYTES=65536)"
expect "entries without an id" "$(journal)" \
  "$(stage journalctl --quiet --output json _SYSTEMD_UNIT=buddyd.service | grep -c '"MESSAGE_ID":')"
stage journalctl --update-catalog
stage journalctl --catalog --output short MESSAGE_ID=eb66f716598e438ea8040a650c465471 |
  grep -q 'returned for it: 1 ranges, 65536 bytes' || fail "the catalog does not explain a client's end"

say "several pools: an instance with a socket and a configuration of its own, in POSIX shared memory"
stage systemctl start buddyd@second.socket
second="--socket /run/buddyd/second.sock --pool second"
stage buddyctl $second alloc 64K >/dev/null
stage kill -KILL "$(property buddyd@second.service MainPID)"
expect "held bytes of the second pool" 65536 "$(figure held_bytes $second)"
expect "its restarts" 1 "$(figure restarts $second)"
expect "the other service" active "$(property buddyd.service ActiveState)"

say "a configuration error is one line and no loop of restarts"
stage systemctl start buddyd@none.service 2>/dev/null && fail "an instance without a configuration started"
expect "what became of it" "exit-code 2 0" \
  "$(property buddyd@none.service Result) $(property buddyd@none.service ExecMainStatus) $(property buddyd@none.service NRestarts)"

say "a clean stop leaves nothing"
stage systemctl stop buddyd@second.socket buddyd.service buddyd@second.service buddyd@none.socket
expect "results" "success success" "$(property buddyd.service Result) $(property buddyd@second.service Result)"
expect "/dev/shm" "" "$(stage ls /dev/shm)"
echo "all of it"

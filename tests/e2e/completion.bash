#!/bin/bash
# completion.bash COMPLETION BUDDYCTL BUDDYD GUEST: calls the completion as bash does, against a daemon with two pools
# and a client: it must offer every command and option that the help has, and the daemon's clients, offsets and pools.
set -euo pipefail

completion=$1 buddyctl=$2 buddyd=$3 guest=$4
work=$(mktemp -d "${TMPDIR:-/tmp}/buddyd-completion.XXXXXX")
daemon= client=

end() {
  exec 3>&-
  [ -z "$client" ] || wait "$client" || true
  [ -z "$daemon" ] || { kill "$daemon" && wait "$daemon"; } 2>/dev/null || true
  rm -rf "$work"
}
trap end EXIT
trap 'exit 1' INT TERM

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

# What is offered for the words of a line, the last of which is being typed; sorted, in one line.
offered() { # WORD...
  COMP_WORDS=(buddyctl "$@")
  COMP_CWORD=$#
  COMPREPLY=()
  _buddyctl "$buddyctl" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}" || true
  printf '%s\n' "${COMPREPLY[@]}" | LC_ALL=C sort | tr '\n' ' ' | sed 's/^ *//; s/ $//'
}

expect() { # EXPECTED WORD...
  local expected found
  expected=$(tr ' ' '\n' <<<"$1" | LC_ALL=C sort | tr '\n' ' ' | sed 's/^ *//; s/ $//')
  shift
  found=$(offered "$@")
  [ "$found" = "$expected" ] || fail "buddyctl $*<TAB> offers \"$found\", not \"$expected\""
}

set +u # completions are written for interactive shells
. "$completion"
[ "$(complete -p buddyctl)" = "complete -F _buddyctl buddyctl" ] || fail "not bound to buddyctl"

commands=$("$buddyctl" --help | sed -n 's/^  \([a-z][a-z-]*\) .*/\1/p')
[ "$(wc -w <<<"$commands")" -ge 9 ] || fail "the help names nearly no command: $commands"
expect "$(echo $commands)" ""
expect "$(for command in $commands; do [[ $command != st* ]] || echo "$command"; done)" st
expect "--socket --pool --help --version" --
for command in $commands; do
  options=$("$buddyctl" "$command" --help | sed -n 's/^  \(-[a-z], \)*\(--[a-z-]*\).*/\2/p')
  grep -qx -- --socket <<<"$options" || fail "the help of $command names no options"
  expect "$(echo $options)" "$command" --
  expect "$(echo $options)" --pool x "$command" --
done
expect "id name pid uid held cached waiting" clients --sort ""
expect "cached" clients --sort c
expect "share client" map --by ""
expect "openmetrics prometheus" metrics --format ""
expect "pid,uid" clients --columns pid,u
expect "pid,uid" clients -o pid,u
touch "$work/file"
expect "$work/file" --socket "$work/f"

# Without a daemon nothing is offered, and nothing said.
export BUDDYD_SOCKET=$work/socket
expect "" ranges --client ""
expect "" free ""

cat >"$work/config" <<TEXT
[pool completion-$$-a]
size = 4M
backing = memfd
[pool completion-$$-b]
size = 4M
backing = memfd
TEXT
"$buddyd" --config "$work/config" 2>"$work/log" &
daemon=$!
pool=completion-$$-a
until "$buddyctl" --pool "$pool" ping >/dev/null 2>&1; do
  kill -0 "$daemon" 2>/dev/null || fail "buddyd ended: $(cat "$work/log")"
  sleep 0.05
done
mkfifo "$work/input" "$work/output"
"$guest" "$pool" client <"$work/input" >"$work/output" &
client=$!
exec 3>"$work/input"
read -r answer <"$work/output"
[ "$answer" = mine ] || fail "the client says \"$answer\""

id=$("$buddyctl" --pool "$pool" clients --json | grep -o '"id":[0-9]*' | tr -dc '0-9')
expect "$id" --pool "$pool" ranges --client ""
expect "" --pool "completion-$$-b" ranges --client ""
offset=$("$buddyctl" --pool "$pool" alloc 64K --json | grep -o '"offset":[0-9]*' | tr -dc '0-9')
expect "$offset" --pool "$pool" free ""
pools="completion-$$-a completion-$$-b"
for command in $commands; do
  operand=$("$buddyctl" "$command" --help | sed -n '1s/.*\[OPTION\.\.\.\] //p')
  case $operand in
    ID) expect "$id" --pool "$pool" "$command" "" ;;
    POOL | "[POOL]") expect "$pools" "$command" "" ;;
    OFFSET | "") ;;
    *) expect "" --pool "$pool" "$command" "" ;;
  esac
done
expect "$pools" --pool ""
expect "${pools#* }" stats --pool "completion-$$-b"
echo "$(wc -w <<<"$commands") commands with all of their options; clients, offsets and pools of the daemon"

#!/bin/sh
# help.sh PROGRAM...: the --help of each program, and of each command that one of them names, fits a screen of 80
# columns and 24 lines, the last of which is the prompt; and goes to standard output with status 0.
set -eu

failed=

look() { # PROGRAM [COMMAND]
  text=$("$@" --help 2>/dev/null) || { echo "$*: --help ends with status $?"; failed=yes; return; }
  name=$(basename "$1")
  lines=$(printf '%s\n' "$text" | wc -l)
  columns=$(printf '%s\n' "$text" | LC_ALL=C.UTF-8 awk '{ if (length($0) > most) most = length($0) } END { print most }')
  shift
  if [ "$lines" -lt 3 ] || [ "$lines" -gt 23 ] || [ "$columns" -gt 80 ]; then
    echo "$name${1:+ $1} --help: $lines lines of at most $columns columns do not fit 80x24"
    failed=yes
  fi
}

count=0
for program in "$@"; do
  look "$program"
  for command in $("$program" --help | sed -n 's/^  \([a-z][a-z-]*\) .*/\1/p'); do
    look "$program" "$command"
    count=$((count + 1))
  done
done
[ "$count" -ge 9 ] || { echo "only $count commands were found"; exit 1; }
[ -z "$failed" ] || exit 1
echo "$count commands and $# programs"

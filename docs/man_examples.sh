#!/bin/sh
# man_examples.sh PAGE CC HEADER-FOLDER LIBRARY BUDDYD FLAGS: takes every whole program out of the man page, compiles it as a
# reader would, and runs it against a daemon of its own.
set -eu

page=$1 cc=$2 headers=$3 library=$4 buddyd=$5 flags=$6
work=$(mktemp -d "${TMPDIR:-/tmp}/buddyd-examples.XXXXXX")
daemon=

end() {
  status=$?
  [ -z "$daemon" ] || { kill "$daemon" && wait "$daemon"; } 2>/dev/null || true
  rm -rf "$work"
  exit $status
}
trap end EXIT
trap 'exit 1' INT TERM

# Literal blocks with a main(); in scdoc's text a backslash is written twice.
awk -v work="$work" '
  /^```$/ { if (inside && text ~ /int main\(/) printf "%s", text >(work "/example" ++count ".c"); inside = !inside; text = ""; next }
  inside { gsub(/\\\\/, "\\"); text = text $0 "\n" }' "$page"
[ -e "$work/example1.c" ] || { echo "$page has no whole example"; exit 1; }

export BUDDYD_SOCKET="$work/socket"
pool=examples-$$
"$buddyd" --pool "$pool" --size 4M --backing memfd 2>"$work/log" &
daemon=$!
until [ -S "$BUDDYD_SOCKET" ] && grep -q ready: "$work/log"; do
  kill -0 "$daemon" 2>/dev/null || { cat "$work/log"; exit 1; }
  sleep 0.05
done

count=0
for source in "$work"/example*.c; do
  program=${source%.c}
  "$cc" -std=c17 -Wall -Wextra -Wpedantic -Werror $flags "-I$headers" "$source" "$library" "-Wl,-rpath,$(dirname "$library")" \
    -o "$program"
  timeout 60 "$program" "$pool" >"$work/output" || { echo "$(basename "$source") ends with status $?"; exit 1; }
  [ -s "$work/output" ] || { echo "$(basename "$source") says nothing"; exit 1; }
  count=$((count + 1))
done
echo "$count whole examples compiled and run"

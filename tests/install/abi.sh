#!/bin/sh
# abi.sh ROOT LIBRARY: the library's binary interface is that of the last release with additions at most; and the
# comparison notices what it is for: a call that is gone and a field that is elsewhere, but not a new call.
set -eu

root=$1 library=$2
dump=$root/client/abi/libbuddyclient.so.0.abi
work=$(mktemp -d "${TMPDIR:-/tmp}/buddyd-abi.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

"$root/scripts/abi" check "$library"

sed 's/buddyclient_lookup/buddyclient_look_up/' "$dump" >"$work/gone.abi"
sed "/name='buddyclient_range' size/,/<\/class-decl>/s/layout-offset-in-bits='64'/layout-offset-in-bits='32'/" "$dump" >"$work/moved.abi"
awk -v name="'buddyclient_lookup'" '
  index($0, "<elf-symbol name=" name) { next }
  index($0, "<function-decl name=" name) { inside = 1 }
  !inside { print }
  /<\/function-decl>/ { inside = 0 }' "$dump" >"$work/new.abi"
for was in gone moved new; do
  ! cmp -s "$dump" "$work/$was.abi" || { echo "$was.abi is not another interface"; exit 1; }
done
for was in gone moved; do
  if "$root/scripts/abi" check "$library" "$work/$was.abi" >"$work/log" 2>&1; then
    echo "not noticed: $was"
    cat "$work/log"
    exit 1
  fi
done
"$root/scripts/abi" check "$library" "$work/new.abi" >/dev/null || { echo "a new call is taken for a fault"; exit 1; }

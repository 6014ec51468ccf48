#!/bin/sh
# catalog.sh EVENTS CATALOG: every event of the log has an entry in the journal's catalog under its id and name, the
# catalog has no other, and journalctl can read it.
set -eu

work=$(mktemp -d "${TMPDIR:-/tmp}/buddyd-catalog.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

tr -d '\n\\' <"$1" | grep -o 'X([A-Z_]*, *LOG_[A-Z]*, *"[0-9a-f]*")' |
  sed 's/X(\([A-Z_]*\), *[A-Z_]*, *"\([0-9a-f]*\)")/\2 \1/' | sort >"$work/events"
awk '/^# [A-Z_]*$/ { name = $2 } /^-- / { print $2, name }' "$2" | sort >"$work/catalog"
[ "$(wc -l <"$work/events")" -gt 10 ] || { echo "$1 has nearly no events"; exit 1; }
diff "$work/events" "$work/catalog" || { echo "events (<) and catalog (>) differ"; exit 1; }

mkdir -p "$work/root/usr/lib/systemd/catalog" "$work/root/var/lib/systemd/catalog"
cp "$2" "$work/root/usr/lib/systemd/catalog/"
SYSTEMD_LOG_LEVEL=warning journalctl --root="$work/root" --update-catalog
[ "$(journalctl --root="$work/root" --list-catalog --quiet | wc -l)" = "$(wc -l <"$work/events")" ] || {
  echo "journalctl does not read all of $2"
  exit 1
}

#!/bin/sh
# man_calls.sh HEADER PAGE: every call that the header declares has a section of its own in the man page.
calls=$(sed -n 's/^[a-z].*[ *]\(buddyclient_[a-z_]*\)(.*/\1/p' "$1")
[ -n "$calls" ] || { echo "$1 declares no call"; exit 1; }
status=0
for call in $calls; do
  grep -q "^## $call\$" "$2" || { echo "$2 has no section for $call"; status=1; }
done
exit $status

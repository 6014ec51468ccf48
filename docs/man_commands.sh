#!/bin/sh
# man_commands.sh BUDDYCTL PAGE BUDDYD PAGE SOURCES PAGE: the man pages have every command and every option that the programs'
# help has, and every key that the configuration knows.
buddyctl=$1 buddyctl_page=$2 buddyd=$3 buddyd_page=$4 sources=$5 config_page=$6
status=0
count=0

has() { # PAGE TEXT
  count=$((count + 1))
  grep -qF -- "$2" "$1" || { echo "$(basename "$1") does not say $2"; status=1; }
}

options() { # PROGRAM [COMMAND]
  "$@" --help | grep -o -- '--[a-z][a-z-]*' | sort -u
}

for command in $("$buddyctl" --help | sed -n 's/^  \([a-z][a-z-]*\) .*/\1/p'); do
  has "$buddyctl_page" "*$command*"
  for option in $(options "$buddyctl" "$command"); do
    has "$buddyctl_page" "*$option"
  done
done
for option in $(options "$buddyd"); do
  has "$buddyd_page" "*$option"
done
keys=$(sed -n 's/^ *{"\([a-z-]*\)", *SETTING_.*/\1/p' "$sources"/*.c | sort -u)
[ -n "$keys" ] || { echo "$sources knows no key"; exit 1; }
for key in $keys; do
  has "$config_page" "*$key*"
done
[ "$count" -gt 40 ] || { echo "only $count things were looked for"; exit 1; }
[ $status = 0 ] && echo "$count commands, options and keys are in the man pages"
exit $status

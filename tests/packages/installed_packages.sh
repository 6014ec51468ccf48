#!/bin/bash
# installed_packages.sh FOLDER: installs the packages of FOLDER into a new Debian 12 that the real systemd has booted, and
# uses them there: the units, buddyctl, the library for programs in C through pkg-config and CMake, an upgrade, a
# removal. The Debian is made once, beside FOLDER, from the archive that this machine's apt uses; it has nothing in it
# but what the packages depend on and a compiler. An overlay keeps it as it is.
set -euo pipefail

export packages=$1
root=$(cd "$(dirname "$0")/../.." && pwd -P)
export consumer=$root/tests/install
. "$root/scripts/dependencies"
. "$root/tests/systemd/stage.sh"

fail() {
  echo "FAILED: $*" >&2
  [ -z "$stage_pid" ] || stage journalctl --no-pager --output short-precise 2>/dev/null | tail -n 40 >&2
  exit 1
}

expect() { # WHAT EXPECTED FOUND
  [ "$2" = "$3" ] || fail "$1: expected \"$2\", found \"$3\""
}

say() {
  echo "-- $*"
}

missing=$(stage_possible) || fail "a Debian cannot be booted here: $missing"
packages_need $package_test_packages

# The first alternative of each dependency, without its version.
dependencies() {
  local package
  for package in "$packages"/{libbuddyclient0,libbuddyclient-dev,buddyd,buddyctl}_*.deb; do
    dpkg-deb --field "$package" Depends | tr ',' '\n' | sed 's/[(|].*//; s/ //g' | grep -v '^libbuddyclient0$'
  done | sort -u
}

suite=bookworm
debian=$(dirname "$packages")/debian
wanted=$(printf '%s,' systemd gcc g++ libc6-dev cmake make pkg-config $(dependencies) | sed 's/,$//')
if [ "$(cat "$debian/made-with" 2>/dev/null)" != "$wanted" ]; then
  say "making a Debian 12 in $debian"
  mirror=$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(SITE)' 'Created-By: Packages' |
    awk -v suite=$suite '$1 == suite && $2 == "main" && !found { print $3; found = 1 }')
  [ -n "$mirror" ] || fail "this machine's apt has no source for $suite"
  rm -rf "$debian"
  mkdir -p "$debian"
  debootstrap --variant=minbase --include="$wanted" $suite "$debian" "$mirror" >"$debian.log" 2>&1 </dev/null || {
    tail -n 20 "$debian.log" >&2
    fail "debootstrap, see $debian.log"
  }
  rm -f "$debian"/var/cache/apt/archives/*.deb
  echo "$wanted" >"$debian/made-with"
fi

stage_furnish() { # ROOT
  mkdir "$1/packages"
  cp "$packages"/{libbuddyclient0,libbuddyclient-dev,buddyd,buddyctl}_*.deb "$1/packages"
  cp -r "$consumer/use_buddyclient.c" "$consumer/consumer" "$1/packages"
}

property() { # UNIT PROPERTY
  stage systemctl show --property "$2" --value "$1"
}

stage_begin "$debian"

say "installation"
stage sh -c 'dpkg --install /packages/*.deb' >"$stage_folder.dpkg" 2>&1 || fail "$(cat "$stage_folder.dpkg")"
rm "$stage_folder.dpkg"
expect "the socket" "active enabled" "$(property buddyd.socket ActiveState) $(property buddyd.socket UnitFileState)"
expect "the service, before anybody connects" inactive "$(property buddyd.service ActiveState)"
stage buddyctl ping
expect "the service" active "$(property buddyd.service ActiveState)"
stage buddyctl stats --json | grep -q '"pool":"default","backing":"memfd"' || fail "buddyctl stats"
stage buddyctl check >/dev/null || fail "buddyctl check"
expect "kinds of events in the journal's catalog" "$(stage grep -c '^-- ' /usr/lib/systemd/catalog/buddyd.catalog)" \
  "$(stage journalctl --list-catalog --quiet | grep -c ' buddyd:')"
stage test -s /usr/share/bash-completion/completions/buddyctl || fail "no completion"
for page in man1/buddyctl.1 man3/buddyclient.3 man5/buddyd.conf.5 man8/buddyd.8; do
  stage test -s "/usr/share/man/$page.gz" || fail "no manual page $page"
done

say "programs in C and C++"
version=$(stage pkg-config --modversion buddyclient)
socket=/run/buddyd/buddyd.sock
stage sh -c 'cd /packages && cc -Wall -Werror use_buddyclient.c -o shared $(pkg-config --cflags --libs buddyclient)'
expect "a program with the shared library" "$version" "$(stage /packages/shared $socket default)"
stage sh -c 'cd /packages && cc -Wall -Werror use_buddyclient.c -o static $(pkg-config --cflags buddyclient) \
  -Wl,-Bstatic $(pkg-config --static --libs buddyclient) -Wl,-Bdynamic'
expect "a program with the archive" "$version" "$(stage /packages/static $socket default)"
stage sh -c 'cd /packages && cmake -S consumer -B build -DSOURCE=/packages/use_buddyclient.c && cmake --build build' \
  >"$stage_folder.cmake" 2>&1 || fail "$(cat "$stage_folder.cmake")"
rm "$stage_folder.cmake"
for program in use_c use_cpp; do
  expect "$program of CMake" "$version" "$(stage /packages/build/$program $socket default)"
done

say "who may connect"
expect "a member of the group" "$version" \
  "$(stage setpriv --reuid nobody --regid buddyd --clear-groups /packages/shared $socket default)"
stage setpriv --reuid nobody --regid nogroup --clear-groups /packages/shared $socket default >/dev/null 2>&1 &&
  fail "somebody outside of the group may connect"

say "an upgrade leaves the daemon and what is held alone"
stage buddyctl alloc 1M >/dev/null
pid=$(property buddyd.service MainPID)
stage sh -c 'dpkg --install /packages/*.deb' >/dev/null 2>&1
expect "the daemon" "$pid" "$(property buddyd.service MainPID)"
stage systemctl kill --signal KILL buddyd.service
stage buddyctl stats --json | grep -q '"held_bytes":1048576,' || fail "the next daemon does not hold what was held"
[ "$(property buddyd.service MainPID)" != "$pid" ] || fail "there is no next daemon"

say "removal"
stage dpkg --purge buddyd buddyctl libbuddyclient-dev libbuddyclient0 >/dev/null 2>&1 || fail "dpkg --purge"
expect "what is left" "" "$(stage find /etc /usr /run /dev/shm -name '*buddy*' -not -path '*/dpkg/*' -not -path '/run/log/*' 2>/dev/null)"
echo "the packages work in a new Debian 12"

#!/bin/sh
# Installs the build into an empty prefix and uses what is there as a stranger would: through pkg-config and
# through the CMake package, shared and static, in C and in C++, also after the prefix was moved. Then compares the
# library's symbols with what the header declares.
#
# usage: installed_library.sh CMAKE BUILD CC SANITIZE VERSION
set -eu

cmake=$1 build=$2 cc=$3 sanitize=$4 version=$5
case $cc in
*clang*) cxx=$(dirname "$cc")/$(basename "$cc" | sed 's/clang/clang++/') ;;
*) cxx=${CXX:-c++} ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/buddyd-install-XXXXXX")
daemon=

end() {
        status=$?
        if [ -n "$daemon" ]; then
                kill "$daemon" 2>/dev/null && wait "$daemon" || true
        fi
        rm -rf "$work"
        exit $status
}
trap end EXIT
trap 'exit 1' INT TERM

fail() {
        echo "installed_library: $*" >&2
        exit 1
}

# Installed in one place, used in another.
"$cmake" --install "$build" --prefix "$work/first" >"$work/log" || fail "$(tail -5 "$work/log")"
mv "$work/first" "$work/prefix"
prefix=$work/prefix
pc=$(find "$prefix" -name buddyclient.pc)
[ -n "$pc" ] || fail "no buddyclient.pc"
so=$(find "$prefix" -name 'libbuddyclient.so.0')
archive=$(find "$prefix" -name 'libbuddyclient.a')
[ -n "$so" ] && [ -n "$archive" ] || fail "no libbuddyclient.so.0 or libbuddyclient.a"
libdir=$(dirname "$so")
grep -rlF "$work/first" "$prefix/include" "$libdir" --include='*buddyclient*' && fail "the files above name the prefix they were installed to"
export PKG_CONFIG_PATH="$(dirname "$pc")${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}"

[ "$(pkg-config --modversion buddyclient)" = "$version" ] || fail "pkg-config names another version"

# A daemon, also from the prefix, for the programs to talk to.
buddyd=$(find "$prefix" -type f -name buddyd -perm -u+x | head -n 1)
[ -n "$buddyd" ] || fail "no buddyd"
pool=install-test-$$
"$buddyd" --socket "$work/sock" --pool "$pool" --size 1M --reset 2>"$work/daemon.log" &
daemon=$!

# use PROGRAM: alone, and with the daemon, which may need a moment until it answers for the first time.
use() {
        [ "$("$@")" = "$version" ] || fail "$1 fails by itself"
        tries=0
        until "$@" "$work/sock" "$pool" >/dev/null 2>"$work/use.log"; do
                kill -0 "$daemon" 2>/dev/null || fail "buddyd ended: $(cat "$work/daemon.log")"
                tries=$((tries + 1))
                [ "$tries" -lt 200 ] || fail "$1 with a daemon: $(cat "$work/use.log")"
                sleep 0.05
        done
}

# The operator's tool needs no search path for libraries.
buddyctl=$(find "$prefix" -type f -name buddyctl -perm -u+x | head -n 1)
[ -n "$buddyctl" ] || fail "no buddyctl"
"$buddyctl" --version >/dev/null || fail "buddyctl does not start"

warnings="-Wall -Wextra -Wpedantic -Werror"
cp "$here/use_buddyclient.c" "$work/use.c"
cp "$here/use_buddyclient.c" "$work/use.cpp"

# pkg-config. Flags are words on purpose.
# shellcheck disable=SC2086,SC2046
{
        "$cc" -std=c99 $warnings $sanitize "$work/use.c" -o "$work/c-shared" \
                $(pkg-config --cflags --libs buddyclient)
        "$cxx" -std=c++11 $warnings $sanitize "$work/use.cpp" -o "$work/cpp-shared" \
                $(pkg-config --cflags --libs buddyclient)
        "$cc" -std=c17 $warnings $sanitize $(pkg-config --cflags buddyclient) "$work/use.c" \
                -o "$work/c-static" "$archive" $(pkg-config --libs libprotobuf-c) -pthread
        "$cc" $sanitize $(pkg-config --cflags buddyclient) "$work/use.c" -o "$work/c-private" \
                -Wl,-Bstatic $(pkg-config --static --libs buddyclient) -Wl,-Bdynamic
}
use env LD_LIBRARY_PATH="$libdir" "$work/c-shared"
use env LD_LIBRARY_PATH="$libdir" "$work/cpp-shared"
use "$work/c-static"
use "$work/c-private"

# The CMake package.
for static in OFF ON; do
        "$cmake" -S "$here/consumer" -B "$work/consumer-$static" -DCMAKE_PREFIX_PATH="$prefix" \
                -DCMAKE_C_COMPILER="$cc" -DCMAKE_CXX_COMPILER="$cxx" -DSOURCE="$work/use.c" \
                -DCMAKE_C_FLAGS="$sanitize" -DCMAKE_CXX_FLAGS="$sanitize" \
                -Dbuddyclient_USE_STATIC_LIBS=$static >"$work/log" 2>&1 &&
                "$cmake" --build "$work/consumer-$static" >>"$work/log" 2>&1 ||
                fail "the CMake package (static: $static): $(cat "$work/log")"
        use "$work/consumer-$static/use_c"
        use "$work/consumer-$static/use_cpp"
done

# Symbols: exactly the functions of the header, in the library and in the archive.
"$cc" -E -P "$prefix"/include/buddyclient.h | grep -o 'buddyclient_[a-z0-9_]* *(' |
        tr -d ' (' | sort -u >"$work/declared"
nm -D --defined-only "$so" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' |
        sort -u >"$work/exported"
nm -g --defined-only "$archive" | awk 'NF == 3 { print $3 }' | sort -u >"$work/archived"
[ "$(wc -l <"$work/declared")" -gt 20 ] || fail "the header declares nearly nothing"
diff -u "$work/declared" "$work/exported" >&2 || fail "header and libbuddyclient.so.0 differ"
diff -u "$work/declared" "$work/archived" >&2 || fail "header and libbuddyclient.a differ"
readelf -d "$so" | grep -q 'SONAME.*\[libbuddyclient\.so\.0\]' || fail "the soname is another"

kill -TERM "$daemon"
wait "$daemon" || fail "buddyd ended with status $?"
daemon=
echo "installed_library: $(wc -l <"$work/declared") functions; pkg-config and CMake, shared and static, C and C++"

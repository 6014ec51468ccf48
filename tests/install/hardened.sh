#!/bin/bash
# hardened.sh FLAGS FILE...: each ELF file is position-independent, binds everything before it starts, then makes its tables
# read-only, has no executable stack, calls the checks of the stack protector and of _FORTIFY_SOURCE; and where there is debug
# information, every unit of it was compiled with all of FLAGS (separated by semicolons).
set -u

fail() {
  echo "$file: $*" >&2
  failed=yes
}

expect() { # TEXT PATTERN WHAT
  grep -Eq -- "$2" <<<"$1" || fail "$3"
}

expect_units() {
  local units flag without
  units=$(readelf --debug-dump=info "$file" 2>/dev/null | grep 'DW_AT_producer.*: GNU C')
  [ -n "$units" ] || return 0
  for flag in ${flags//;/ }; do
    case $flag in -D* | -U*) continue ;; esac # no part of what the compiler writes down
    without=$(grep -vc -e " $flag\( \|$\|=\)" <<<"$units")
    [ "$without" = 0 ] || fail "$without units were compiled without $flag"
  done
}

flags=$1
shift
failed=
for file in "$@"; do
  header=$(readelf -h "$file") segments=$(readelf -lW "$file") dynamic=$(readelf -dW "$file")
  symbols=$(readelf -W --dyn-syms "$file")
  expect "$header" 'Type: +DYN' "it is not position-independent"
  expect "$segments" 'GNU_RELRO' "no segment becomes read-only (-z relro)"
  expect "$segments" 'GNU_STACK .* RW +0x' "its stack is executable"
  expect "$dynamic" 'BIND_NOW|FLAGS_1.*NOW' "it binds lazily (-z now)"
  expect "$symbols" '__stack_chk_fail' "no stack protector"
  expect "$symbols" '__[a-z]+_chk(@|$)' "no call is checked (_FORTIFY_SOURCE)"
  expect_units
done
[ -z "$failed" ] || exit 1
echo "$# files: position-independent, read-only relocations, bound at the start, checked calls and stacks"

#!/bin/sh
# The library exports exactly the committed list: a lost symbol breaks programs, an extra one becomes a promise.
#   symbols_test.sh LIBRARY LIST
set -eu
library=$1 list=$2
exported=$(nm -D --defined-only "$library" | awk '$2 != "A" {sub(/@.*/, "", $3); print $3}' | LC_ALL=C sort)
if [ "$exported" != "$(cat "$list")" ]; then
  echo "exported symbols differ from $list (< library, > list):"
  printf '%s\n' "$exported" | diff - "$list" || true
  exit 1
fi
# LibTorch does not survive dlclose followed by dlopen.
readelf -d "$library" | grep -q NODELETE || { echo "$library is not linked with -z nodelete"; exit 1; }
readelf -d "$library" | grep -q 'SONAME.*\[libltxv\.so\.0\]' || { echo "$library has another soname than libltxv.so.0"; exit 1; }

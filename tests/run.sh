#!/bin/sh
# Sets up, builds everything and runs the tests, except those labelled slow. Works from any folder and again after a change.
#
#   tests/run.sh [ctest options, for instance -R media]
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"
third_party/setup.sh
cmake --preset release -DLTXV_BUILD_TESTS=ON -DLTXV_BUILD_EXAMPLES=ON
cmake --build build
jobs=$(nproc 2>/dev/null || echo 2)
exec ctest --test-dir build --output-on-failure --label-exclude slow --parallel "$jobs" --timeout 600 "$@"

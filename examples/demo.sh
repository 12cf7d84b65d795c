#!/bin/sh
# From a clean clone to a video: sets up, builds the program, generates with the bundled model.
#
#   examples/demo.sh ["PROMPT"]        writes out.mp4 and out.png (a contact sheet) into the current folder
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
prompt=${1:-a red circle moves to the right on a black background}

"$root/third_party/setup.sh"
build="$root/build"
[ -e "$build/build.ninja" ] || (cd "$root" && cmake --preset release -DLTXV_BUILD_TESTS=OFF >/dev/null)
echo "demo: building (a few minutes the first time)"
cmake --build "$build" --target ltxv_cli

"$build/bin/ltxv" generate "$prompt" -o out.mp4
# The same seed gives the same clip: the sheet shows the frames of out.mp4.
"$build/bin/ltxv" generate "$prompt" -o out.png --quiet
echo "demo: wrote $PWD/out.mp4 and $PWD/out.png"

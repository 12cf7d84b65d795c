#!/bin/sh
# An installed library serves users without the build tree: a C program through pkg-config, a C++ program through find_package.
#   install_test.sh SOURCE_DIR BUILD_DIR CMAKE CC
set -eu
source=$1 build=$2 cmake=$3 cc=$4
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT INT TERM
unset LD_LIBRARY_PATH
# The examples ask for the model's preset: one that takes a moment.
model="$folder/model"
cp -r "$source/tests/golden/tiny_model" "$model"
echo '{"name": "tiny", "preset": {"width": 64, "height": 32, "num_frames": 9, "num_inference_steps": 2}}' >"$model/ltxv.json"

"$cmake" --install "$build" --prefix "$folder/first" >"$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
# Moved: nothing in the prefix may hold its own path.
mv "$folder/first" "$folder/prefix"
if grep -rIl "$folder/first" "$folder/prefix"; then
  echo "these installed files hold the prefix they were installed to"
  exit 1
fi

export PKG_CONFIG_PATH="$folder/prefix/lib/pkgconfig"
# shellcheck disable=SC2046
"$cc" -std=c99 -Wall -Wextra -Werror "$source/examples/minimal_c/main.c" $(pkg-config --cflags --libs ltxv) -o "$folder/minimal_c"
"$folder/minimal_c" "a red circle" "$folder/c.png" "$model" 2>/dev/null
test -s "$folder/c.png"

"$cmake" -S "$source/examples/minimal_cpp" -B "$folder/cpp" -DCMAKE_PREFIX_PATH="$folder/prefix" >"$folder/log" 2>&1 &&
  "$cmake" --build "$folder/cpp" >>"$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
"$folder/cpp/minimal_cpp" "a red circle" "$folder/cpp.png" "$model" >/dev/null 2>&1
test -s "$folder/cpp.png"

test "$("$folder/prefix/bin/ltxv" --version)" = "ltxv $(pkg-config --modversion ltxv)"
# The bundled model is found from the installed library, by name.
if [ -e "$source/examples/shapes/model/model_index.json" ]; then
  "$folder/prefix/bin/ltxv" info shapes | grep -q "$folder/prefix/share/ltxv/models/shapes"
fi

#!/bin/sh
# Collects what tests/gpu/check.sh needs on a machine that has LibTorch 2.11 with CUDA 13 and nothing else: programs, the library and its
# plug-in, sentencepiece, golden files and reference cases.
#
#   tests/gpu/pack.sh BUILD OUT [CASES [VERSIONS]]
#
# BUILD   a build with CUDA kernels, tests and the benchmark program (cmake --preset bench)
# OUT     a folder, made new: check.sh and one archive
# CASES   reference cases as tests/oracle_check.py takes them; VERSIONS a comma list of its folders (default v095)
# Exit codes: 0 done, 1 something is missing or the archive is larger than 26 MiB.
set -eu

[ $# -ge 2 ] || { echo "usage: pack.sh BUILD OUT [CASES [VERSIONS]]" >&2; exit 1; }
top=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
build=$(CDPATH='' cd -- "$1" && pwd)
out=$2
cases=${3:-}
versions=${4:-v095}
limit=$((26 * 1024 * 1024))
fail() { echo "pack: $*" >&2; exit 1; }

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
mkdir -p "$stage/bin" "$stage/lib" "$stage/system" "$stage/tests" "$stage/share/ltxv/models"
for program in ltxv gpu_kernel_checks; do
  [ -x "$build/bin/$program" ] || fail "$build/bin/$program is missing: build it with LTXV_CUDA=ON"
  cp "$build/bin/$program" "$stage/bin/"
done
[ -x "$build/bin/ltxv-bench" ] && cp "$build/bin/ltxv-bench" "$stage/bin/"
cp "$build/lib/libltxv.so.0" "$stage/lib/" || fail "$build/lib/libltxv.so.0 is missing"
cp "$build/lib/libltxv_cuda.so" "$stage/lib/" || fail "$build/lib/libltxv_cuda.so is missing"
strip --strip-unneeded "$stage"/bin/* "$stage"/lib/*

# What the library loads but the C and C++ libraries, LibTorch and CUDA, which the machine has, and FFmpeg: with its codecs it is 130 MB,
# and nothing here reads or writes a video. Libraries of its names and symbols stand in, whose functions do nothing.
needed=$(readelf -d "$build/lib/libltxv.so.0" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
others='^(libc|libm|libdl|librt|libpthread|libresolv|libstdc\+\+|libgcc_s|libgomp|libtorch|libc10|libcu|libnv|ld-linux)'
for library in $needed; do
  case $library in
    libav*|libsw*)
      node=$(echo "${library%.so.*}" | tr a-z A-Z)_${library##*.so.}
      printf '%s { global: *; };\n' "$node" >"$stage/stand_in.map"
      echo 'static const char absent[4096] = "none";' >"$stage/stand_in.c"
      nm -D --undefined-only "$build/lib/libltxv.so.0" | sed -n "s/^ *U \(.*\)@$node\$/const void *\1(void) { return absent; }/p" >>"$stage/stand_in.c"
      ${CC:-cc} -shared -fPIC -Wl,-soname,"$library" -Wl,--version-script,"$stage/stand_in.map" -o "$stage/system/$library" "$stage/stand_in.c" ||
        fail "no stand-in for $library" ;;
    *)
      echo "$library" | grep -qE "$others" && continue
      path=$(ldd "$build/lib/libltxv.so.0" | awk -v name="$library" '$1 == name { print $3 }')
      { echo "$path"; ldd "$path" | awk '$2 == "=>" { print $3 }'; } | while read -r file; do
        basename "$file" | grep -qE "$others" || cp -L "$file" "$stage/system/"
      done ;;
  esac
done
rm -f "$stage"/stand_in.*
strip --strip-unneeded "$stage"/system/*

cp -r "$top/tests/golden" "$stage/tests/golden"
cp "$top/tests/oracle_check.py" "$stage/tests/"
mkdir -p "$stage/tests/full_size" "$stage/src/pipeline" "$stage/tests/gpu"
cp "$top/tests/full_size/make_checkpoint.py" "$stage/tests/full_size/"
mkdir -p "$stage/examples/bench"
cp "$top/examples/bench/make_random_model.py" "$top/examples/bench/baseline.py" "$stage/examples/bench/"
cp -r "$top/src/pipeline/specs" "$stage/src/pipeline/specs"
cp "$top"/tests/gpu/*.py "$stage/tests/gpu/"
if [ -n "$cases" ]; then
  mkdir "$stage/cases"
  for version in $(echo "$versions" | tr , ' '); do
    [ -d "$cases/$version" ] || fail "$cases/$version is missing"
    cp -r "$cases/$version" "$stage/cases/"
  done
  # Cases of single layers and of other stored types are not run from here.
  rm -rf "$stage"/cases/*/transformer "$stage"/cases/*/model_original "$stage"/cases/*/vae/tiled_* "$stage"/cases/*/vae/encode_17f
fi
git -C "$top" rev-parse HEAD >"$stage/commit" 2>/dev/null || echo unknown >"$stage/commit"
git -C "$top" diff --quiet HEAD 2>/dev/null || echo "with changes that are not committed" >>"$stage/commit"

rm -rf "$out"
mkdir -p "$out"
cp "$top/tests/gpu/check.sh" "$out/"
tar -C "$stage" -c . | xz -9e -T0 >"$out/pack.tar.xz"
size=$(wc -c <"$out/pack.tar.xz")
echo "pack: $out/pack.tar.xz, $((size / 1024)) KiB"
[ "$size" -le "$limit" ] || fail "the archive is larger than 26 MiB; name fewer VERSIONS"

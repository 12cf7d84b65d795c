#!/bin/sh
# Collects what tests/gpu/check.sh needs on a machine that has LibTorch 2.11 with CUDA 13 and nothing else: programs, the library and its
# plug-in, FFmpeg, sentencepiece and what they need, golden files and reference cases.
#
#   tests/gpu/pack.sh BUILD OUT [CASES [VERSIONS]]
#
# BUILD   a build with CUDA kernels, tests and the benchmark program (cmake --preset bench)
# OUT     a folder, made new: check.sh and one archive
# CASES   reference cases as tests/oracle_check.py takes them; VERSIONS a comma list of its folders (default v095)
# Exit codes: 0 done, 1 something is missing or the archive is larger than 60 MiB.
set -eu

[ $# -ge 2 ] || { echo "usage: pack.sh BUILD OUT [CASES [VERSIONS]]" >&2; exit 1; }
top=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
build=$(CDPATH='' cd -- "$1" && pwd)
out=$2
cases=${3:-}
versions=${4:-v095}
limit=$((60 * 1024 * 1024))
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

# Everything the programs load but the C and C++ libraries, LibTorch and CUDA, which the machine has.
own='/(libc|libm|libdl|librt|libpthread|libresolv|libstdc\+\+|libgcc_s|libgomp)\.so|/ld-linux'
torch='/(libltxv|libtorch|libc10|libcuda|libcudart|libcublas|libcudnn|libcufft|libcurand|libcusparse|libcusolver|libcupti|libcufile|libnv|libnccl)[^/]*\.so'
ldd "$build/lib/libltxv.so.0" "$build/bin/gpu_kernel_checks" | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u |
  grep -vE "$own|$torch" |
  while read -r library; do cp -L "$library" "$stage/system/"; done
strip --strip-unneeded "$stage"/system/* 2>/dev/null || true
# 30 MB of tables for texts that nothing here converts, wanted by name alone: an empty library of that name.
for library in "$stage"/system/libicudata.so.*; do
  [ -e "$library" ] || continue
  name=$(basename "$library")
  symbol=$(nm -D --defined-only "$library" | awk '/icudt/ { print $3; exit }')
  printf 'const char %s[64] = {0};\n' "${symbol:-icudt_dat}" | ${CC:-cc} -shared -fPIC -x c - -Wl,-soname,"$name" -o "$library" ||
    fail "no C compiler for the empty $name"
done

cp -r "$top/tests/golden" "$stage/tests/golden"
cp "$top/tests/oracle_check.py" "$stage/tests/"
mkdir -p "$stage/tests/full_size" "$stage/src/pipeline" "$stage/tests/gpu"
cp "$top/tests/full_size/make_checkpoint.py" "$stage/tests/full_size/"
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
[ "$size" -le "$limit" ] || fail "the archive is larger than 60 MiB; name fewer VERSIONS"

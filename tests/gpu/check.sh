#!/bin/sh
# Every check that needs a GPU, in under nine minutes, on a machine with Python, LibTorch 2.11 and CUDA 13 and without a network.
#
#   check.sh [OUT [OPTION...]]   OUT: where the record goes (default: $OUT, else the working folder); options are those of check.py
#
# Run it from the folder that tests/gpu/pack.sh wrote. The record, gpu-check.json, belongs under docs/gpu/ once it has been read; what a
# step printed lies beside it. A step that fails does not stop the others; one that cannot run says so in the record.
# Exit codes: 0 all that ran passed, 1 a step failed, 77 there is no GPU here.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
out=${1:-${OUT:-.}}
[ $# -eq 0 ] || shift
mkdir -p "$out"
out=$(CDPATH='' cd -- "$out" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python=$(command -v python3 || command -v python) || { echo "check: no python3 here" >&2; exit 1; }
# xz is not everywhere; Python's tarfile is.
"$python" -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])' "$here/pack.tar.xz" "$work"
torch=$("$python" -c 'import importlib.util, os; s = importlib.util.find_spec("torch"); print(os.path.dirname(s.origin) if s else "")')
[ -n "$torch" ] || { echo "check: no torch package for $python" >&2; exit 1; }
# LibTorch's own cuDNN before a system's: a system's CUDA in front of it silently takes other attention kernels.
packages=$(dirname "$torch")
libraries="$work/lib:$torch/lib"
for folder in "$packages"/nvidia/*/lib; do [ -d "$folder" ] && libraries="$libraries:$folder"; done
libraries="$libraries:$work/system${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
# For these programs only: what else runs here keeps its own libraries.
mv "$work/bin" "$work/real"
mkdir "$work/bin"
for program in "$work"/real/*; do
  wrapper="$work/bin/$(basename "$program")"
  printf '#!/bin/sh\nLD_LIBRARY_PATH="%s" exec "%s" "$@"\n' "$libraries" "$program" >"$wrapper"
  chmod +x "$wrapper"
done
status=0
LTXV_CHECK_LIBRARIES=$libraries "$python" "$work/tests/gpu/check.py" --pack "$work" --out "$out" "$@" || status=$?
exit "$status"

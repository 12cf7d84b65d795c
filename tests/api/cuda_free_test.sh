#!/bin/sh
# The library itself must not need CUDA: a run on the CPU never maps LibTorch's CUDA part, only the plug-in does.
# usage: cuda_free_test.sh LIBRARY [PLUGIN]
set -eu
needed() { readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'; }
case $(needed "$1") in *torch_cpu*) ;; *) echo "$1: readelf names no libtorch_cpu: this test looks at the wrong file" >&2; exit 1 ;; esac
if needed "$1" | grep -E '^lib(torch_cuda|c10_cuda|cuda|cudart|cublas|cudnn|nvidia)'; then
  echo "$1 links CUDA" >&2
  exit 1
fi
[ $# -lt 2 ] && exit 0
needed "$2" | grep -q '^libtorch_cuda' || { echo "$2 does not bring LibTorch's CUDA part with it" >&2; exit 1; }
nm -D --defined-only "$2" | awk '{ print $3 }' | sort | tr '\n' ' ' | grep -qx 'ltxv_cuda_plugin ltxv_cuda_services ' || {
  echo "$2 exports something else than its two functions:" >&2
  nm -D --defined-only "$2" >&2
  exit 1
}

#!/bin/sh
# Prepares this machine to build libltxv: system packages, and LibTorch in third_party/.venv. Safe to run again: the second time takes
# well under a second. Needs Debian 12, Ubuntu 22.04 or newer; elsewhere it names what is missing.
#
#   third_party/setup.sh
#
# LTXV_TORCH_ROOT=/path/to/libtorch   uses that LibTorch (an unpacked archive, or .../site-packages/torch) instead of a private one.
# Exit codes: 0 ready, 3 packages are missing and cannot be installed from here, 1 anything else.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
venv="$here/.venv"
stamp="$here/.stamp-torch"

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# ---- system packages -----------------------------------------------------------------------------------------------------------------
packages="g++ make cmake ninja-build pkg-config python3 python3-venv ca-certificates
libavcodec-dev libavformat-dev libavutil-dev libswscale-dev libsentencepiece-dev nlohmann-json3-dev libcli11-dev libgtest-dev"

if command -v dpkg-query >/dev/null 2>&1; then
  missing=""
  for package in $packages; do
    state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
  done
  if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ]; then
      as_root=""
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
      as_root="sudo"
    else
      say "these packages are missing, and installing them needs root. Run:" >&2
      printf '  sudo apt-get update && sudo apt-get install -y --no-install-recommends%s\n' "$missing" >&2
      exit 3
    fi
    say "installing system packages:$missing"
    # The lists may be absent (fresh container) or old; a failed update is only fatal if the packages then cannot be had.
    $as_root apt-get update -qq || say "apt-get update failed; trying with the lists at hand"
    # env: sudo may drop variables, and a question from a package would wait for ever.
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null ||
      fail "apt-get install failed for:$missing"
  fi
else
  for tool in c++ cmake ninja pkg-config python3; do
    command -v "$tool" >/dev/null 2>&1 || { say "not a Debian or Ubuntu system: please install the counterparts of: $packages" >&2; exit 3; }
  done
fi

# ---- LibTorch ------------------------------------------------------------------------------------------------------------------------
if [ -n "${LTXV_TORCH_ROOT:-}" ]; then
  [ -e "$LTXV_TORCH_ROOT/lib/libtorch_cpu.so" ] || fail "LTXV_TORCH_ROOT is '$LTXV_TORCH_ROOT', but lib/libtorch_cpu.so is not in it"
  say "ready, with the LibTorch at $LTXV_TORCH_ROOT"
  exit 0
fi

# The wheel is built for CUDA, and libtorch_cpu.so itself needs a few CUDA libraries to load, also where no GPU is. Without a CUDA toolkit
# two small packages bring them; with one, only what the toolkit lacks is fetched. --no-deps: the full set is 4.7 GB, this is 1.2.
has_cuda=yes
for library in libcudart.so.13 libcupti.so.13 libcublas.so.13 libcudnn.so.9; do
  # ldconfig lies in /sbin, which a user's PATH may lack.
  PATH="$PATH:/sbin:/usr/sbin" ldconfig -p 2>/dev/null | grep -qF "$library" || has_cuda=no
done
if [ "$has_cuda" = yes ]; then
  flavour="system CUDA 13"
  wheels="torch==2.11.0 nvidia-cusparselt-cu13==0.8.0 nvidia-nvshmem-cu13==3.4.5 nvidia-cufile==1.15.1.6"
else
  flavour="CPU"
  wheels="torch==2.11.0 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85"
fi

wanted="$wheels"
if [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && ls "$venv"/lib/python3*/site-packages/torch/lib/libtorch_cpu.so >/dev/null 2>&1; then
  say "ready ($flavour LibTorch in third_party/.venv)"
  exit 0
fi

say "fetching $flavour LibTorch into third_party/.venv (about 0.6 GB to download)"
rm -f "$stamp"
[ -x "$venv/bin/python3" ] || python3 -m venv "$venv" || fail "python3 -m venv failed"
# pip takes proxies and indexes from its own configuration and environment. --no-compile: nothing here runs Python.
# shellcheck disable=SC2086
"$venv/bin/python3" -m pip install --quiet --disable-pip-version-check --no-input --no-deps --no-compile $wheels ||
  fail "pip could not install: $wheels"
ls "$venv"/lib/python3*/site-packages/torch/lib/libtorch_cpu.so >/dev/null || fail "the torch package holds no lib/libtorch_cpu.so"
printf '%s' "$wanted" >"$stamp"
say "ready"

#!/usr/bin/env python3
"""tests/gpu/check.py against programs that pretend: what it records, what it leaves out, how it ends.

    check_test.py CHECK_PY
"""
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = """#!/bin/sh
case "$1 $2" in
  "list ") [ -n "$PRETEND_NO_GPU" ] && { echo "skipped: no NVIDIA driver"; exit 77; }
    echo '{"event":"device","name":"Pretend","arch":90,"memory_bytes":1,"versions":"CUDA 13.0, cuDNN 9.19.0","seed":1}'
    echo '{"event":"kernel","op":"attention","variant":"cuda_mma","arch":80,"hash":"other architecture","verified":0}'
    echo '{"event":"kernel","op":"attention","variant":"cuda_mma","arch":90,"hash":"good","verified":0}'
    echo '{"event":"kernel","op":"vae_norm","variant":"cuda","arch":90,"hash":"bad","verified":0}' ;;
  "check attention"|"small attention") echo '{"event":"check","op":"attention","variant":"cuda_mma","case":"a","good":true,"error":0.001,"tolerance":0.01,"note":""}' ;;
  "check vae_norm"|"small vae_norm") echo '{"event":"check","op":"vae_norm","variant":"cuda","case":"b","good":false,"error":1,"tolerance":0.01,"note":"far off"}'; exit 1 ;;
  "small ") echo 'something is wrong'; exit 1 ;;
  "bench attention") echo '{"event":"bench","bench":"attention","name":"'"$LTXV_KERNELS"'","median_ms":1}' ;;
  *) exit 2 ;;
esac
"""
SANITIZER = """#!/bin/sh
while [ "$1" != "${1#--}" ]; do shift 2; done
exec "$@"
"""


def write(path, text):
    path.write_text(text)
    path.chmod(0o755)


def run(folder, only, env, tools=True):
    pack, out, bin_folder = folder / "pack", folder / "out", folder / "tools"
    for made in (pack / "bin", out, bin_folder):
        made.mkdir(parents=True, exist_ok=True)
    (pack / "commit").write_text("abc\n")
    write(pack / "bin/gpu_kernel_checks", PROGRAM)
    if tools:
        write(bin_folder / "compute-sanitizer", SANITIZER)
    path = f"{bin_folder}:/usr/bin:/bin"
    done = subprocess.run([sys.executable, sys.argv[1], "--pack", str(pack), "--out", str(out), "--only", only],
                          env={**os.environ, "PATH": path, **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, json.loads((out / "gpu-check.json").read_text()), done.stdout.decode()


def states(record):
    return {s["step"]: s["state"] for s in record["steps"]}


def main():
    with tempfile.TemporaryDirectory() as folder:
        status, record, text = run(Path(folder), "correctness,sanitizer,attention", {})
        assert status == 1, text
        assert record["arch"] == 90 and record["commit"] == "abc", record
        # Only what passed both, with the hash of this architecture.
        assert record["kernels"] == [{"op": "attention", "variant": "cuda_mma", "hash": "good"}], record["kernels"]
        seen = states(record)
        assert seen["correctness-attention-cuda_mma"] == "passed" and seen["correctness-vae_norm-cuda"] == "failed", seen
        assert seen["sanitizer-racecheck-attention-cuda_mma"] == "passed" and seen["oracle"] == "not run", seen
        # What is measured are the kernels that passed.
        assert [b["name"] for b in record["benches"]] == ["attention=cuda_mma"], record["benches"]
        assert "far off" in next(s["note"] for s in record["steps"] if s["step"] == "correctness-vae_norm-cuda")
        assert len(record["checks"]) == 2 and [k["hash"] for k in record["code"]] == ["other architecture", "good", "bad"]
    with tempfile.TemporaryDirectory() as folder:
        status, record, text = run(Path(folder), "correctness", {})  # no sanitizer ran: nothing is recorded as checked
        assert status == 1 and record["kernels"] == [], text
    with tempfile.TemporaryDirectory() as folder:
        status, record, text = run(Path(folder), "", {"PRETEND_NO_GPU": "1"})
        assert status == 77 and states(record) == {"list": "not run"} and record["kernels"] == [], text
    print("ok")


if __name__ == "__main__":
    main()

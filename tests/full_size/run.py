#!/usr/bin/env python3
"""Full-size checkpoints with random weights through the program: doctor, info, one step at 64x64x9, and the peak memory of the process.

    python tests/full_size/run.py --program build/bin/ltxv --folder /data [CASE ...] [--keep]

Exits with 77 (skipped) where numpy is missing or the disk has no room. What is written is deleted, unless --keep is given.
"""

import argparse
import json
import os
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

SKIPPED = 77
HERE = Path(__file__).parent
# Case: checkpoint, the T5-XXL that runs too, what the process may take at most in 1e9 bytes (resident, mapped file pages included).
CASES = {"2b": ("2b-0.9.8", "t5-xxl", 6), "2b-t5-fp16": ("2b-0.9.8", "t5-xxl-fp16", 6), "2b-t5-fp32": ("2b-0.9.8", "t5-xxl-fp32", 6),
         "2b-0.9.0": ("2b-0.9.0", None, 8), "13b-fp8": ("13b-0.9.8-fp8", None, 16)}
GIGABYTES = {"2b-0.9.8": 6.4, "2b-0.9.0": 9.4, "13b-0.9.8-fp8": 15.7, "t5-xxl": 9.6, "t5-xxl-fp16": 9.6, "t5-xxl-fp32": 19.1}


def write_embeds(path: Path) -> None:
    """A prompt of eight tokens, for cases without a text encoder."""
    import numpy as np

    embeds = np.random.Generator(np.random.Philox(5)).standard_normal((1, 8, 4096), dtype=np.float32)
    mask = np.ones((1, 8), dtype=np.int64)
    sizes = [embeds.nbytes, embeds.nbytes + mask.nbytes]
    header = json.dumps({"prompt_embeds": {"dtype": "F32", "shape": [1, 8, 4096], "data_offsets": [0, sizes[0]]},
                         "prompt_attention_mask": {"dtype": "I64", "shape": [1, 8], "data_offsets": sizes}}).encode()
    header += b" " * (-len(header) % 8)
    path.write_bytes(struct.pack("<Q", len(header)) + header + embeds.tobytes() + mask.tobytes())


def measured(words: list[str], cwd: Path) -> tuple[int, float, float, float]:
    """Exit code, seconds by the clock and of processor time, peak resident bytes in 1e9."""
    print("$", " ".join(words), flush=True)
    begin = time.monotonic()
    process = subprocess.Popen(words, cwd=cwd)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, time.monotonic() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e9


def make(kind: str, path: Path) -> None:
    if not path.exists():
        subprocess.run([sys.executable, str(HERE / "make_checkpoint.py"), kind, str(path)], check=True)


def run_case(name: str, program: str, folder: Path) -> bool:
    kind, t5_kind, most = CASES[name]
    checkpoint = folder / f"{kind}.safetensors"
    make(kind, checkpoint)
    words = [program, "generate"]
    if t5_kind:
        t5 = folder / t5_kind
        make(t5_kind, t5)
        words += ["a lighthouse at dusk", "--text-encoder", str(t5 / "text_encoder"), "--tokenizer", str(t5 / "tokenizer")]
    else:
        write_embeds(folder / "embeds.safetensors")
        words += ["--prompt-embeds", "embeds.safetensors", "--guidance", "1"]
    words += ["-m", str(checkpoint), "--width", "64", "--height", "64", "--frames", "9", "--sigmas", "1", "--quiet", "-o", "out.mp4"]
    checked_code, *checked = measured([program, "doctor", str(checkpoint)], folder)
    described_code, *described = measured([program, "info", str(checkpoint)], folder)
    code, seconds, busy, gigabytes = measured(words, folder)
    good = checked_code == 0 and described_code == 0 and code == 0 and gigabytes <= most
    print(f"{name}: doctor {checked[0]:.1f} s, {checked[2]:.2f} GB; info {described[0]:.1f} s, {described[2]:.2f} GB; "
          f"one step {seconds:.1f} s ({busy:.1f} s of processor time), peak {gigabytes:.2f} GB (at most {most}): {'good' if good else 'NOT GOOD'}", flush=True)
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--program", required=True)
    parser.add_argument("--folder", type=Path, required=True, help="where the checkpoints are written")
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    try:
        import numpy  # noqa: F401
    except ImportError:
        print("numpy is missing")
        return SKIPPED
    unknown = [c for c in args.cases if c not in CASES]
    if unknown:
        parser.error(f"{unknown[0]} is not one of {', '.join(CASES)}")
    folder = args.folder.resolve() / "ltxv-full-size"
    program = str(Path(args.program).resolve())
    failed = False
    for name in args.cases or CASES:
        folder.mkdir(parents=True, exist_ok=True)
        kind, t5_kind, _ = CASES[name]
        needed = [k for k in (kind, t5_kind) if k and not (folder / k).exists() and not (folder / f"{k}.safetensors").exists()]
        room = shutil.disk_usage(folder).free / 1e9
        if room < sum(GIGABYTES[k] for k in needed) + 2:
            print(f"{name}: {folder} has {room:.0f} GB free, which is not enough")
            return SKIPPED
        try:
            failed |= not run_case(name, program, folder)
        finally:
            if not args.keep:
                shutil.rmtree(folder)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

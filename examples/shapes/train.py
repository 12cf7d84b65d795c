"""Command line of the training stages; see README.md for the order and the times used."""

from __future__ import annotations

import argparse
from pathlib import Path

import common


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=("text", "encoder", "decoder", "cache", "transformer", "export", "restart"))
    parser.add_argument("--work", type=Path, default=Path("work"), help="folder of checkpoints")
    parser.add_argument("--minutes", type=float, default=5, help="length of the stage in minutes of processor time a rank")
    parser.add_argument("--begin", type=float, help="encoder, decoder: go on from a checkpoint as if this part of the stage was done")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch", type=int, default=8, help="clips per rank")
    parser.add_argument("--clips", type=int, default=16000, help="cache: number of clips")
    parser.add_argument("--no-compile", action="store_true", help="do without torch.compile")
    parser.add_argument("--output", type=Path, default=Path("model"), help="export, restart: model folder")
    args = parser.parse_args()
    common.setup(args.seed)
    seconds = args.minutes * 60
    if args.stage == "text":
        import text
        text.train(args.work, seconds, args.seed)
    elif args.stage in ("encoder", "decoder"):
        import vae
        stage = vae.train_encoder if args.stage == "encoder" else vae.train_decoder
        stage(args.work, seconds, args.seed, args.batch, not args.no_compile, args.begin)
    elif args.stage == "cache":
        import vae
        vae.cache(args.work, args.clips, args.seed)
    elif args.stage == "transformer":
        import denoiser
        denoiser.train(args.work, seconds, args.seed, args.batch, not args.no_compile)
    elif args.stage == "restart":
        import restart
        restart.restart(args.output, args.work)
    else:
        import export
        export.export(args.work, args.output)


if __name__ == "__main__":
    main()

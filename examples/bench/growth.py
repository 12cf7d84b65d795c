#!/usr/bin/env python3
"""How the cost of the library grows with frames, pixels, steps and threads: runs ltxv-bench, writes a record and a picture of it.

  cmake --preset bench && cmake --build build
  pip install matplotlib
  python examples/bench/growth.py --build build --output docs/records/growth.json --plot docs/images/growth.png
  python examples/bench/growth.py --from docs/records/growth.json --plot growth.png          # the picture again, without measuring

One process at a time and a fresh one for each point; a point is the median of what the process measured, with its smallest and largest.
The bundled model by default, in f32: what grows is the same for every size of model, the share of each part is not.
"""
import argparse
import datetime
import json
import os
import pathlib
import sys

from compare import Child, cpu_name, words

WIDTH, FRAMES, STEPS = 128, 17, 8
TITLES = {"frames": "frames", "pixels": "side of the picture, pixels", "steps": "denoising steps", "threads": "threads"}


class Bench:
    def __init__(self, args):
        self.args = args

    def run(self, task, **options):
        model = {"model": self.args.model} if self.args.model else {}
        options = {**model, "threads": self.args.threads, "runs": self.args.runs, **options}
        return Child([self.args.build / "bin/ltxv-bench", task, *words(options)]).json

    def step(self, **options):
        return self.run("step", **{"width": WIDTH, "height": WIDTH, "frames": FRAMES, "steps": STEPS, **options})["step_seconds"]

    def decode(self, frames, side):
        return self.run("decode", shape=f"{(frames - 1) // 8 + 1},{side // 32},{side // 32}")["warm_seconds"]

    def whole(self, **options):
        return self.run("generate", **{"width": WIDTH, "height": WIDTH, "frames": FRAMES, "steps": STEPS, **options})["warm_seconds"]


def point(x, seconds):
    return dict(x=x, **{key: seconds[key] for key in ("median", "min", "max")})


def measure(bench, most_threads):
    frames, sides, steps = (9, 17, 33, 65, 129), (64, 96, 128, 192, 256), (2, 4, 8, 16, 32)
    series = {"frames": {}, "pixels": {}, "steps": {}, "threads": {}}
    series["frames"]["denoising step"] = [point(n, bench.step(frames=n)) for n in frames]
    series["frames"]["decode"] = [point(n, bench.decode(n, WIDTH)) for n in frames]
    series["pixels"]["denoising step"] = [point(s, bench.step(width=s, height=s)) for s in sides]
    series["pixels"]["decode"] = [point(s, bench.decode(FRAMES, s)) for s in sides]
    series["steps"]["whole run"] = [point(n, bench.whole(steps=n)) for n in steps]
    threads = [n for n in (1, 2, 4, 8, 16, 32) if n <= most_threads]
    large = dict(width=256, height=256, frames=65)
    series["threads"]["denoising step, 65 frames of 256x256"] = [point(n, bench.step(threads=n, **large)) for n in threads]
    series["threads"]["whole run, 65 frames of 256x256"] = [point(n, bench.whole(threads=n, **large)) for n in threads]
    return series


def plot(record, path):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 4, figsize=(16, 4), constrained_layout=True)
    for panel, (kind, lines) in zip(panels, record["series"].items()):
        for name, points in lines.items():
            xs, ys = [p["x"] for p in points], [1000 * p["median"] for p in points]
            spread = [[1000 * (p["median"] - p["min"]) for p in points], [1000 * (p["max"] - p["median"]) for p in points]]
            panel.errorbar(xs, ys, yerr=spread, marker="o", markersize=4, capsize=2, label=name)
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.set_xticks(sorted({p["x"] for points in lines.values() for p in points}))
        panel.get_xaxis().set_major_formatter(matplotlib.ticker.ScalarFormatter())
        panel.set_xlabel(TITLES[kind])
        panel.set_ylabel("milliseconds")
        panel.grid(True, which="major", alpha=0.3)
        panel.legend(fontsize=8)
    figure.suptitle(f"ltxv {record['version']}, {record['model']}, {record['processor']}, {record['threads']} threads, {record['date']}", fontsize=10)
    figure.savefig(path, dpi=80)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"))
    parser.add_argument("--model", default="", help="default: the bundled one")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--runs", type=int, default=4, help="of each process; the first one is not counted")
    parser.add_argument("--output", type=pathlib.Path)
    parser.add_argument("--from", dest="source", type=pathlib.Path, help="a record, instead of measuring")
    parser.add_argument("--plot", type=pathlib.Path)
    args = parser.parse_args()
    if args.source:
        record = json.loads(args.source.read_text())
    else:
        bench = Bench(args)
        about = bench.run("step", width=WIDTH, height=WIDTH, frames=9, steps=2, runs=1)
        record = dict(date=datetime.date.today().isoformat(), version=about["version"], model=pathlib.Path(about["engine"]["model"]).name,
                      processor=f"{cpu_name()}, {about['library']['cpu_capability']}", threads=args.threads, load_average=os.getloadavg()[0],
                      command=" ".join(sys.argv[1:]), series=measure(bench, args.threads))
    if args.output:
        args.output.write_text(json.dumps(record, indent=1) + "\n")
    if args.plot:
        plot(record, args.plot)
    for kind, lines in record["series"].items():
        for name, points in lines.items():
            print(f"{kind:8} {name:40} " + "  ".join(f"{p['x']}: {1000 * p['median']:.1f} ms" for p in points))


if __name__ == "__main__":
    main()

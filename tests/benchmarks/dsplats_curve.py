"""Whether a training follows the curve of an earlier one: the same preset, stopped early, beside the log of that training.

python tests/benchmarks/dsplats_curve.py SET BOX ANY --log priors/weights/dsplats-nano.csv --share 0.05 --devices 2
python tests/benchmarks/dsplats_curve.py SET BOX ANY --log priors/weights/dsplats-nano.csv --stage 2 --preset joint --init FIRST

The log holds the trainings that followed each other, by `stage`; FIRST are the weights of the first. Batches are a function of seed
and step, so that losses can be compared step by step; what differs is rounding, which grows.
"""

import argparse
import csv
import tempfile
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from gen3d.pipeline.configuration import override, read_preset
from gen3d.pipeline.progress import Silent
from gen3d.pipeline.training.run import TrainingJob
from gen3d.pipeline.training.settings import DsplatsSettings
from gen3d.pipeline.training.train_dsplats import train_dsplats

COLUMN = "train/psnr/given"
WINDOW = 5  # logged steps that are averaged


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+")
    parser.add_argument("--log", required=True)
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--stage", default="1")
    parser.add_argument("--init")
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--devices", type=int, default=1)
    options = parser.parse_args()
    settings = override(DsplatsSettings(), read_preset("train/dsplats", options.preset), options.preset)
    steps = round(options.share * settings.steps)
    logged = curve(Path(options.log), steps, options.stage)
    if len(logged) < WINDOW:
        parser.error(f"{options.log} holds {len(logged)} rows of the first {steps} steps; give a larger --share, or another log")
    strategy = "ddp" if options.devices > 1 else "auto"
    with tempfile.TemporaryDirectory() as folder:
        job = TrainingJob(Path(folder), steps, settings.clip, accelerator="cpu", devices=options.devices, strategy=strategy)
        train_dsplats(options.sets, settings, job, Silent(), options.init)
        if getattr(rank_zero_only, "rank", 0):
            return  # the first process has all figures
        (path,) = Path(folder).glob("logs/*/metrics.csv")
        mine = curve(path, steps, options.stage)
    print(f"{COLUMN}, means of {WINDOW} logged steps\n\n| step | logged | now | difference |\n|---|---|---|---|")
    common = sorted(mine.keys() & logged.keys())
    differences = []
    for start in range(0, len(common) - WINDOW + 1, WINDOW):
        window = common[start : start + WINDOW]
        then, now = (sum(each[step] for step in window) / WINDOW for each in (logged, mine))
        differences.append(now - then)
        print(f"| {window[-1] + 1} | {then:.2f} | {now:.2f} | {now - then:+.2f} |")
    print(f"\nlargest difference {max(map(abs, differences)):.2f} dB, mean {sum(differences) / len(differences):+.2f} dB")


def curve(path: Path, steps: int, stage: str) -> dict[int, float]:
    """Values by step, of one of the trainings of a log if it says which."""
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    chosen = [row for row in rows if row.get("stage", stage) == stage and row.get(COLUMN)]
    return {int(row["step"]): float(row[COLUMN]) for row in chosen if int(row["step"]) < steps}


if __name__ == "__main__":
    main()

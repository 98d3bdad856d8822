"""Whether objects vanish on the way from one sentence to another: the foreground of every frame beside that of its neighbours.

python tests/benchmarks/text_interpolation.py SET --field FIELD --attributes ATTRIBUTES --pairs 10

SET is what gen3d data render wrote; neighbours among the captions of its test objects, in an order by chance, are the pairs.
"""

import argparse
import tempfile
from itertools import pairwise
from pathlib import Path

import torch

from gen3d.pipeline.objects.holdout import in_any_order
from gen3d.pipeline.objects.object_set import ObjectSet
from gen3d.pipeline.progress import Silent
from gen3d.pipeline.run import Run
from gen3d.pipeline.stages.settings import TextSettings
from gen3d.pipeline.stages.text import Interpolate
from gen3d.priors.volume.interpolate import End
from gen3d.priors.volume.shipped import shipped_model

WHITE = 250  # what is darker in some channel is foreground


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set")
    parser.add_argument("--field", default="")
    parser.add_argument("--attributes", default="")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--frames", type=int, default=TextSettings().frames)
    options = parser.parse_args()
    model = shipped_model(options.field, options.attributes)
    objects = ObjectSet(options.set).select(split="test")
    captions = [objects.record(each).caption for each in in_any_order(record.id for record in objects.records)]
    print("| from | to | least foreground beside a neighbour's |\n|---|---|---|")
    lowest = []
    for one, other in list(pairwise(captions[: options.pairs + 1])):
        lowest.append(least(model, one, other, options.frames))
        print(f"| {one} | {other} | {lowest[-1]:.3f} |", flush=True)
    print(f"\nlowest of all {min(lowest):.3f}")


def least(model, one, other, frames):
    """The smallest ratio of the foreground of a frame to that of one beside it."""
    settings = TextSettings(prompt=one, other=other, frames=frames)
    ends = (End(model.told([one]), settings.seed), End(model.told([other]), settings.seed))
    with tempfile.TemporaryDirectory() as folder, Run.create(Path(folder) / "run", "text", settings) as run:
        pictures = list(Interpolate(run, settings, model).frames(ends, Silent()))
    counts = torch.tensor([float((picture.amin(-1) < WHITE).sum()) for picture in pictures]).clamp_min(1)
    ratios = counts[1:] / counts[:-1]
    return float(torch.minimum(ratios, 1 / ratios).min())


if __name__ == "__main__":
    main()

"""Whether sentences become what they say: captions of test objects, made and compared with the training objects.

python tests/benchmarks/gvgen_prompts.py SET --field FIELD --attributes ATTRIBUTES --prompts 100

SET is what gen3d data render wrote with --fit box: its training objects are the gallery, its test objects give the captions and, with
their own pictures, the ceiling. What is made is drawn as the set is.
"""

import argparse
import hashlib
import itertools

import torch

from gen3d.pipeline.evaluation.gallery import features
from gen3d.pipeline.evaluation.prompts import agreement, by_chance, described, known_objects, shares, way
from gen3d.pipeline.objects.object_set import ObjectSet
from gen3d.pipeline.objects.views import LONGEST_SIDE, RING, ObjectViews, ring_cameras
from gen3d.pipeline.progress import Silent
from gen3d.pipeline.stages.place import normalised
from gen3d.priors.perceptual import load_lpips
from gen3d.priors.samplers.driver import per_sample
from gen3d.priors.samplers.named import SOLVERS, solver_and_grid
from gen3d.priors.volume.generate import Sampling, generate
from gen3d.priors.volume.shipped import shipped_model
from gen3d.priors.volume.volume import visible
from gen3d.renderers.frames import move_gaussians, rigid
from gen3d.renderers.rendering import rasterize


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set")
    parser.add_argument("--field", default="")
    parser.add_argument("--attributes", default="")
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--solvers", nargs="+", choices=SOLVERS, default=["ghvb"])
    parser.add_argument("--steps", type=int, nargs="+", default=[12])
    parser.add_argument("--guidance", type=float, nargs="+", default=[3.0])
    parser.add_argument("--seeds", type=int, default=1, help="samples of each prompt, for diversity")
    options = parser.parse_args()
    objects, lpips = ObjectSet(options.set), load_lpips("alex")
    describe, model, size = features(lpips), shipped_model(options.field, options.attributes), objects.manifest.settings.size
    known = known_objects(objects.select(split="train"), describe, Silent())
    test = objects.select(split="test")
    order = sorted(range(len(test)), key=lambda number: hashlib.sha256(test.records[number].id.encode()).digest())[: options.prompts]
    asked = [test.records[number] for number in order]
    chance = by_chance(asked, known.records)
    true = [described(test.read(number, range(RING)), describe) for number in order]
    ceiling = shares([agreement(record, *known.nearest(views)) for record, views in zip(asked, true, strict=True)])
    copies = [known.nearest(known.numbers[number].float(), without=record.id)[1] for number, record in enumerate(known.records[:100])]
    print("| what | " + " | ".join(chance) + " | LPIPS to the nearest |\n|---|" + "---|" * (len(chance) + 1))
    print("| chance | " + " | ".join(f"{share:.3f}" for share in chance.values()) + " | |")
    print("| true objects | " + " | ".join(f"{share:.3f} ± {half:.3f}" for share, half in ceiling.values()) + " | |")
    print(f"| training objects, to the nearest other | | | | {sum(copies) / len(copies):.4f} |")
    for solver, steps, guidance in itertools.product(options.solvers, options.steps, options.guidance):
        sampling = Sampling(steps, *solver_and_grid(solver, steps), guidance)
        made = [
            [described(drawn(model, record.caption, seed, sampling, size), describe) for seed in range(options.seeds)] for record in asked
        ]
        found = [agreement(record, *known.nearest(views[0])) for record, views in zip(asked, made, strict=True)]
        ours = shares(found)
        cells = [
            f"{share:.3f} ± {half:.3f} ({100 * way(share, chance[name], ceiling[name][0]):.0f} %)" for name, (share, half) in ours.items()
        ]
        distance = sum(each.distance for each in found) / len(found)
        print(f"| {solver}, {steps} steps, guidance {guidance:g} | " + " | ".join(cells) + f" | {distance:.4f} |", flush=True)
        if options.seeds > 1:
            apart = [float((one - other).square().sum()) / RING for views in made for one, other in itertools.combinations(views, 2)]
            print(f"\ndiversity over {options.seeds} seeds: LPIPS {sum(apart) / len(apart):.4f}\n", flush=True)


@torch.inference_mode()
def drawn(model, prompt, seed, sampling, size):
    """The eight views around what a prompt becomes."""
    volume = generate(model, model.told([prompt]), per_sample([seed]), 1, sampling)
    splats = visible(volume.gaussians().unbatched())
    if splats.count:
        splats = move_gaussians(normalised(splats), rigid(torch.eye(3), scale=LONGEST_SIDE))
    cameras = ring_cameras(size)
    shown = rasterize(splats, cameras, background=torch.ones(3))
    return ObjectViews(cameras, shown.rgb.clamp(0, 1), torch.ones_like(shown.alpha))


if __name__ == "__main__":
    main()

"""Whether sentences become what they say: captions of test objects, made and compared with the training objects.

python tests/benchmarks/gvgen_prompts.py SET VOLUMES --field FIELD --attributes ATTRIBUTES --prompts 100

SET is what gen3d data render wrote with --fit box: its training objects are the gallery, its test objects give the captions and, with
their own pictures, the ceiling. VOLUMES is what gen3d data volumes wrote: those of the test objects are what the networks can reach,
those of training objects are copies, beside which what is made is new or not. All are drawn as the set is. With --teleport, one exact
step replaces those whose noise drowns all differences of training objects.
"""

import argparse
import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gen3d.pipeline.evaluation.gallery import features
from gen3d.pipeline.evaluation.prompts import agreement, by_chance, described, known_objects, shares, way
from gen3d.pipeline.objects.holdout import in_any_order
from gen3d.pipeline.objects.object_set import ObjectSet
from gen3d.pipeline.objects.views import LONGEST_SIDE, RING, ObjectViews, ring_cameras
from gen3d.pipeline.progress import Silent
from gen3d.pipeline.volumes.surface import FILLED
from gen3d.pipeline.volumes.volume_set import VolumeSet
from gen3d.priors.perceptual import load_lpips
from gen3d.priors.samplers.analytic import Gaussian
from gen3d.priors.samplers.driver import Noise, Probe, per_sample, sample
from gen3d.priors.samplers.guidance import CFG
from gen3d.priors.samplers.named import SOLVERS, solver_and_grid
from gen3d.priors.samplers.predictions import Denoiser
from gen3d.priors.samplers.starts import from_noise
from gen3d.priors.samplers.teleporting import Statistics, safe_start, teleport
from gen3d.priors.told import Told
from gen3d.priors.volume.field import distance_field
from gen3d.priors.volume.generate import Sampling, generate
from gen3d.priors.volume.shipped import shipped_model
from gen3d.priors.volume.volume import GaussianVolume, visible
from gen3d.renderers.frames import move_gaussians, rigid
from gen3d.renderers.rendering import rasterize

RANK = 256  # principal components of the training fields
COPIES = 100


@dataclass(frozen=True, slots=True)
class Teleported(Sampling):
    """Sampling that begins where normal data with the statistics of the training fields lead.

    Attributes:
        fields: their mean and covariance, normalised.
    """

    fields: Gaussian | None = None

    def run(self, denoiser: Denoiser, noise: torch.Tensor, told: Told | None, source: Noise | None, probes: Sequence[Probe]):
        """See `Sampling`; attributes that are sampled, too, are left alone."""
        if noise.shape[1] != 1:
            return Sampling.run(self, denoiser, noise, told, source, probes)
        start = safe_start(self.grid, self.fields)
        x = teleport(from_noise(self.grid, noise), self.grid.coefs[0], self.grid.coefs[start], self.fields)
        guided = CFG(denoiser, self.guidance)
        return sample(guided, self.solver, self.grid.since(start), x, told, probes=probes, noise=source).prediction.x0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set")
    parser.add_argument("volumes")
    parser.add_argument("--field", default="")
    parser.add_argument("--attributes", default="")
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--solvers", nargs="+", choices=SOLVERS, default=["ghvb"])
    parser.add_argument("--steps", type=int, nargs="+", default=[12])
    parser.add_argument("--guidance", type=float, nargs="+", default=[3.0])
    parser.add_argument("--teleport", action="store_true", help="also begin by one exact step")
    parser.add_argument("--seeds", type=int, default=1, help="samples of each prompt, for diversity")
    options = parser.parse_args()
    objects, lpips = ObjectSet(options.set), load_lpips("alex")
    describe, model, size = features(lpips), shipped_model(options.field, options.attributes), objects.manifest.settings.size
    known = known_objects(objects.select(split="train"), describe, Silent())
    test = objects.select(split="test")
    asked = [test.record(each) for each in in_any_order(record.id for record in test.records)[: options.prompts]]
    chance = by_chance(asked, known.records)
    true = [described(test.read(record.id, range(RING)), describe) for record in asked]
    ceiling = shares([agreement(record, *known.nearest(views)) for record, views in zip(asked, true, strict=True)])
    fitted = VolumeSet(options.volumes)
    places = {record.id: number for number, record in enumerate(fitted.records)}

    def as_fitted(record):
        return described(drawn(GaussianVolume.of_generated(fitted.read(places[record.id])), size), describe)

    reached = shares([agreement(record, *known.nearest(as_fitted(record))) for record in asked])
    others = [known.nearest(known.numbers[number].float(), without=record.id)[1] for number, record in enumerate(known.records[:COPIES])]
    copies = [known.nearest(as_fitted(record))[1] for record in known.records[:COPIES]]
    print("| what | " + " | ".join(chance) + " | LPIPS to the nearest |\n|---|" + "---|" * (len(chance) + 1))
    print("| chance | " + " | ".join(f"{share:.3f}" for share in chance.values()) + " | |")
    for name, row in (("true objects", ceiling), ("their volumes", reached)):
        print(f"| {name} | " + " | ".join(interval(*each) for each in row.values()) + " | |")
    print(f"| volumes of training objects (copies) | | | | {sum(copies) / len(copies):.4f} |")
    print(f"| training objects, to the nearest other | | | | {sum(others) / len(others):.4f} |", flush=True)
    fields = statistics(fitted.select("train"), model.field) if options.teleport else None
    ways = itertools.product(options.solvers, options.steps, options.guidance, [None, fields] if fields else [None])
    for solver, steps, guidance, jump in ways:
        sampling = Sampling(steps, *solver_and_grid(solver, steps), guidance)
        if jump:
            sampling = Teleported(steps, sampling.solver, sampling.grid, guidance, jump)
        made = [
            [described(drawn(made_of(model, record, seed, sampling), size), describe) for seed in range(options.seeds)] for record in asked
        ]
        found = [agreement(record, *known.nearest(views[0])) for record, views in zip(asked, made, strict=True)]
        ours = shares(found)
        cells = [f"{interval(*each)}, {100 * way(each[0], chance[name], ceiling[name][0]):.0f} % of the way" for name, each in ours.items()]
        distance = sum(each.distance for each in found) / len(found)
        saved = f", teleported past {safe_start(sampling.grid, jump)} of them" if jump else ""
        print(f"| {solver}, {steps} steps{saved}, guidance {guidance:g} | " + " | ".join(cells) + f" | {distance:.4f} |", flush=True)
        if options.seeds > 1:
            apart = [float((one - other).square().sum()) / RING for views in made for one, other in itertools.combinations(views, 2)]
            print(f"\ndiversity over {options.seeds} seeds: LPIPS {sum(apart) / len(apart):.4f}\n", flush=True)


def interval(share, low, high):
    """A share and where it may lie."""
    return f"{share:.3f} ({low:.2f}-{high:.2f})"


def statistics(volumes, network):
    """Mean and covariance of the normalised fields of the training objects."""
    found = Statistics(RANK)
    for start in range(0, len(volumes), RANK):
        part = [distance_field(GaussianVolume.of_generated(volumes.read(i))) for i in range(start, min(len(volumes), start + RANK))]
        found.add(network.statistics.normalise(torch.stack(part)))
    return found.gaussian()


@torch.inference_mode()
def made_of(model, record, seed, sampling):
    """What the caption of an object becomes; every object has noise of its own."""
    own = int(hashlib.sha256(record.id.encode()).hexdigest()[:12], 16)
    batch = generate(model, model.told([record.caption]), per_sample([own + seed]), 1, sampling)
    return GaussianVolume(batch.values[0])


@torch.inference_mode()
def drawn(volume, size):
    """The eight views around a volume, as large as the set's objects."""
    splats = move_gaussians(visible(volume.gaussians()), rigid(torch.eye(3), scale=LONGEST_SIDE / FILLED))
    cameras = ring_cameras(size)
    shown = rasterize(splats, cameras, background=torch.ones(3))
    return ObjectViews(cameras, shown.rgb.clamp(0, 1), torch.ones_like(shown.alpha))


if __name__ == "__main__":
    main()

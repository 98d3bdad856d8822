"""What sampling is worth: solvers by evaluations, the best of four samples, and how much samples differ where nothing is seen.

python tests/benchmarks/dsplats_sampling.py SET --weights RUN/dsplats.safetensors --objects 32

SET is what gen3d data render wrote; its hold-out of training objects is asked for the seven views around the given one. Settings are
chosen here, so that the test objects stay unseen.
"""

import argparse
import itertools
import time

import torch

from gen3d.pipeline.evaluation.baselines import Bench
from gen3d.pipeline.evaluation.networks import NetworkMethod
from gen3d.pipeline.evaluation.object_scores import score
from gen3d.pipeline.evaluation.objects_protocol import FOUR, Predicted, Question, chosen, over_white, protocol_of
from gen3d.pipeline.evaluation.settings import ObjectsSettings
from gen3d.pipeline.objects.holdout import split_off
from gen3d.pipeline.objects.object_set import ObjectSet
from gen3d.pipeline.objects.views import RING
from gen3d.pipeline.progress import Silent
from gen3d.pipeline.stages.refine import refined
from gen3d.priors.multiview.shipped import shipped_model
from gen3d.priors.multiview.views import draw
from gen3d.priors.perceptual import load_lpips
from gen3d.priors.samplers.named import SOLVERS

HIDDEN = slice(2, 5)  # of the seven views: 135, 180 and 225 degrees
TRIES = 4


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set")
    parser.add_argument("--weights", default="")
    parser.add_argument("--objects", type=int, default=32)
    parser.add_argument("--solvers", nargs="+", default=list(SOLVERS))
    parser.add_argument("--steps", type=int, nargs="+", default=[3, 5, 10, 20, 50])
    parser.add_argument("--tries", type=int, default=3, help="evaluations of the samples whose best and whose differences are measured")
    parser.add_argument("--refine", type=int, default=60, help="steps of the refinement of splats of one and of four views")
    options = parser.parse_args()
    model = shipped_model(options.weights)
    size = model.network.settings.size
    _, kept = split_off(ObjectSet(options.set).select(split="train"), 96)
    count, protocol = min(options.objects, len(kept)), protocol_of(ObjectsSettings(size=size))
    objects = [kept.read(number, range(RING)) for number in range(count)]
    cases = [case(views, range(1, RING)) for views in objects]
    lpips = {"alex": load_lpips("alex")}

    def method(solver="ghvb", steps=3):
        settings = ObjectsSettings(size=size, solver=solver, steps=steps)
        return NetworkMethod(model, Bench(protocol, lambda: kept, Silent(), settings))

    def judged(answers):
        """PSNR and LPIPS over all views, LPIPS over hidden ones."""
        figures = [score([answer], truth, lpips)[0] for answer, (_, truth) in zip(answers, cases, strict=True)]
        rows = {name: torch.tensor([each[name] for each in figures]) for name in ("psnr", "lpips_alex", "iou")}
        return [float(rows["psnr"].mean()), float(rows["lpips_alex"].mean()), float(rows["lpips_alex"][:, HIDDEN].mean())], rows

    print(f"{count} objects of the hold-out, {size} pixels\n")
    print("| solver | evaluations | PSNR | LPIPS | LPIPS of hidden sides | seconds |\n|---|---|---|---|---|---|")
    plain = method()
    one_step = timed("one step", 1, judged, lambda question: plain.mean(question.given), plain, cases)
    for solver, steps in itertools.product(options.solvers, options.steps):
        each = method(solver, steps)
        timed(solver, steps, judged, lambda question, each=each: each.sample(question.given, 0), each, cases)
    each = method(steps=options.tries)
    with torch.inference_mode():
        splats = [[each.sample(question.given, seed) for question, _ in cases] for seed in range(TRIES)]
        tries, own = (
            [[each.shown(made, view(question)) for made, (question, _) in zip(row, cases, strict=True)] for row in splats]
            for view in (lambda question: question.targets, lambda question: question.given.cameras)
        )
    rows = [judged(answers)[1] for answers in tries]
    psnr = torch.stack([row["psnr"].mean(1) for row in rows])
    hidden = torch.stack([row["psnr"][:, HIDDEN].mean(1) for row in rows])
    distance = torch.stack([row["lpips_alex"].mean(1) for row in rows])
    one, one_hidden = one_step["psnr"].mean(), one_step["psnr"][:, HIDDEN].mean()
    print(f"\n{TRIES} samples of {options.tries} evaluations; best by PSNR: {psnr.amax(0).mean():.2f} dB; one step {one:.2f}")
    print(f"hidden sides: best {hidden.amax(0).mean():.2f} dB; one step {one_hidden:.2f}")
    print(f"best by LPIPS: {distance.amin(0).mean():.4f}; one step {one_step['lpips_alex'].mean():.4f}")
    print(f"deviation over seeds: hidden sides {deviation(tries, HIDDEN):.4f}, the given view {deviation(own, slice(None)):.4f}")
    others = [number for number in range(RING) if number not in FOUR]
    between = [case(views, others) for views in objects]
    for steps in (0, options.refine):
        found = [
            [beside(plain, views, known, question, truth, steps) for views, (question, truth) in zip(objects, between, strict=True)]
            for known in ((0,), FOUR)
        ]
        one, four = (sum(each) / len(each) for each in found)
        print(f"views between those that are given, {steps} steps of refinement: from one {one:.2f} dB, from four {four:.2f} dB")


def case(views, asked):
    """The question and its answer: front view to others around."""
    return Question(chosen(views, [0]), views.cameras.select(list(asked))), over_white(chosen(views, asked))


def beside(method, views, known, question, truth, steps):
    """PSNR of other views, of what the network makes of the known ones in one step; refined as the verb does it."""
    given = chosen(views, known)
    with torch.inference_mode():
        splats = method.mean(given).unbatched()
    if steps:
        pictures = list(zip(over_white(given).rgb, given.alpha, strict=True))
        cameras = [given.cameras.select([number]) for number in range(len(known))]
        splats, _ = refined(splats, pictures, cameras, steps, Silent())
    with torch.inference_mode():
        shown = draw(splats, question.targets)
    return float(torch.tensor(score([Predicted(shown.rgb, shown.alpha)], truth, {})[0]["psnr"]).mean())


def timed(name, evaluations, judged, make, method, cases):
    """A row of the table."""
    began = time.perf_counter()
    with torch.inference_mode():
        answers = [method.shown(make(question), question.targets) for question, _ in cases]
    seconds = (time.perf_counter() - began) / len(cases)
    (psnr, lpips, hidden), rows = judged(answers)
    print(f"| {name} | {evaluations} | {psnr:.2f} | {lpips:.4f} | {hidden:.4f} | {seconds:.2f} |", flush=True)
    return rows


def deviation(tries: list[list[Predicted]], views: slice) -> float:
    """Root mean square deviation of colours over seeds, mean over objects."""
    each = [torch.stack([answers[number].rgb[views] for answers in tries]).clamp(0, 1) for number in range(len(tries[0]))]
    return float(torch.stack([part.var(0).mean().sqrt() for part in each]).mean())


if __name__ == "__main__":
    main()

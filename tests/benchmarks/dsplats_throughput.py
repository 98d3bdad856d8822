"""Objects that training takes in a second, and where the time of a step goes.

python tests/benchmarks/dsplats_throughput.py SET --device cpu --threads 1
"""

import argparse
import time
from dataclasses import replace

import torch

from gen3d.pipeline.objects.object_set import ObjectSet
from gen3d.pipeline.training.batches import StepBatches
from gen3d.pipeline.training.dsplats import network_views, render_loss
from gen3d.pipeline.training.optimizers import matrices_of, optimizer_of
from gen3d.pipeline.training.settings import DsplatsSettings
from gen3d.priors.multiview.network import MultiviewNetwork

PARTS = ("data", "network", "render and loss", "gradients", "optimiser")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batches", type=int, nargs="+", default=[4, 12])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print("| optimiser | kind of step | objects | objects a second | " + " | ".join(f"{part}, ms" for part in PARTS) + " |")
    print("|---|---|---|---|" + "---|" * len(PARTS))
    for optimizer in ("adamw", "muon"):
        for joint in (0.0, 1.0):
            for batch in options.batches:
                seconds = measured(
                    options, DsplatsSettings(optimizer=optimizer, warmup=0.0, joint=joint, objects=batch, joint_objects=batch)
                )
                kind = "four views, three noised" if joint else "one given view"
                parts = " | ".join(f"{1000 * each / batch:.1f}" for each in seconds)
                print(f"| {optimizer} | {kind} | {batch} | {batch / sum(seconds):.1f} | {parts} |", flush=True)


def measured(options, settings):
    """Seconds of each part of a step."""
    objects = ObjectSet(options.set).select(split="train")
    settings = replace(settings, network=replace(settings.network, size=objects.manifest.settings.size))
    torch.manual_seed(0)
    network = MultiviewNetwork(settings.network).to(options.device)
    batches = StepBatches([objects.of_rank(0, max(1, len(objects) // 64))], settings)
    optimizer = optimizer_of(network, settings, matrices_of(network), network.ENDS)
    total = [0.0] * len(PARTS)
    for step in range(-6, options.steps):  # the first steps read pictures and find out which kernels are fast
        marks = [time.perf_counter()]

        def mark(marks=marks):
            if options.device == "cuda":
                torch.cuda.synchronize()
            marks.append(time.perf_counter())

        batch = batches[step + 6].to(torch.device(options.device))
        mark()
        with torch.autocast(options.device, dtype=torch.bfloat16):
            splats = network(network_views(batch))
            mark()
            loss, _ = render_loss(splats, batch, settings)
        mark()
        optimizer.zero_grad()
        loss.backward()
        mark()
        optimizer.step()
        mark()
        if step >= 0:
            total = [before + after - start for before, start, after in zip(total, marks[:-1], marks[1:], strict=True)]
    return [each / options.steps for each in total]


if __name__ == "__main__":
    main()

"""`gen3d train`: train a prior from a rendered set, on one device or many."""

import dataclasses
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

from gen3d.cli.parser import Parser
from gen3d.cli.progress import Bar
from gen3d.cli.report import Report, short
from gen3d.errors import UsageError
from gen3d.pipeline.training.settings import DsplatsSettings, TrainingSettings
from gen3d.pipeline.training.volume_settings import AttributeSettings, FieldSettings

SMALLER = "--objects 8"
PRIORS = {"dsplats": DsplatsSettings, "gvgen-field": FieldSettings, "gvgen-attributes": AttributeSettings}
# What trains each: a function, and the module of the same name.
TRAININGS = {"dsplats": "train_dsplats", "gvgen-field": "train_gvgen", "gvgen-attributes": "train_gvgen"}


def configure(parser: Parser) -> None:
    """Add the flags."""
    parser.add_input("prior", "dsplats, pictures to splats; gvgen-field and gvgen-attributes, words to splats", kind=Literal[tuple(PRIORS)])
    parser.flags.add_argument(
        "--data", type=str, nargs="+", help="sets of one library, from gen3d data render; for gvgen volumes, from gen3d data volumes"
    )
    parser.flags.add_argument("--out", type=str, help="folder of checkpoints, logs and weights; a training goes on from what is there")
    parser.flags.add_argument("--init", type=str, help="a file of weights to begin with")
    place = parser.flags.add_argument_group("where it runs")
    place.add_argument("--accelerator", type=Literal["auto", "cpu", "cuda"], default="auto", help="cpu or cuda")
    place.add_argument("--devices", type=int, default=1, help="processes on a machine")
    place.add_argument("--nodes", type=int, default=1, help="machines, under torchrun or SLURM")
    place.add_argument("--strategy", type=str, default="auto", help="Lightning's strategy: auto, ddp, fsdp")
    place.add_argument("--precision", type=Literal["32-true", "bf16-mixed"], default="bf16-mixed", help="of the network")
    place.add_argument("--accumulate", type=int, default=1, help="batches of a step")
    place.add_argument("--every", type=float, default=5.0, help="minutes between checkpoints")
    parser.add_settings_of(PRIORS)


def execute(options: SimpleNamespace) -> Report:
    """Train, and write the weights."""
    for name in ("data", "out"):
        if getattr(options, name) is None:
            raise UsageError(f"gen3d train needs --{name}; see gen3d train --help")
    from lightning.pytorch.utilities import rank_zero_only

    from gen3d.pipeline.training.run import TrainingJob

    settings: TrainingSettings = options.settings
    name = TRAININGS[options.prior]
    train: Any = getattr(import_module(f"gen3d.pipeline.training.{name}"), name)
    job = TrainingJob(
        Path(options.out),
        settings.steps,
        settings.clip,
        settings.check,
        options.every,
        options.accelerator,
        options.devices,
        options.nodes,
        options.strategy,
        options.precision,
        options.accumulate,
    )
    worker = bool(getattr(rank_zero_only, "rank", 0))  # only the first process tells
    with Bar(quiet=options.quiet or worker) as progress:
        trained = train(options.data, settings, job, progress, options.init)
    if worker:
        return Report({}, "", silent=True)
    facts = {"weights": trained.weights, "steps": settings.steps, "seconds": round(trained.seconds, 1), **trained.figures}
    figures = ", ".join(f"{name} {value:.2f}{' dB' * ('psnr' in name)}" for name, value in trained.figures.items())
    text = f"step {settings.steps:,} reached, {trained.seconds / 60:.1f} minutes in this run: {figures}\n  {short(trained.weights)}"
    return Report({**facts, "settings": dataclasses.asdict(settings)}, text)

"""Which optimiser moves which weights."""

from collections.abc import Collection

import torch
from torch import nn

from gen3d.pipeline.training.muon import Muon
from gen3d.pipeline.training.settings import TrainingSettings

BETAS = (0.9, 0.98)  # of Adam


def matrices_of(network: nn.Module) -> frozenset[str]:
    """The names of parameters of two and more dimensions."""
    return frozenset(name for name, parameter in network.named_parameters() if parameter.ndim > 1)


def optimizer_of(
    network: nn.Module, settings: TrainingSettings, matrices: Collection[str], ends: tuple[str, ...], adopted: float | None = None
) -> torch.optim.Optimizer:
    """AdamW, or Muon for all matrices between the first layer and the last, which it does not suit.

    Args:
        network: whole, or in the pieces of FSDP.
        settings: of the training.
        matrices: names of the parameters that are.
        ends: what the names of first layers and of the last begin with.
        adopted: learning rate of what lies between, as a share of the others', where it was brought by a pretrained network; else None.
    """
    if settings.optimizer == "muon":
        matrices = {name for name in matrices if not name.startswith(ends)}
    known = {name.replace("_fsdp_wrapped_module.", ""): parameter for name, parameter in network.named_parameters()}
    large, small = ([p for name, p in known.items() if (name in matrices) == wanted] for wanted in (True, False))
    if settings.optimizer == "muon":
        return Muon(large, small, settings.rate, settings.decay, betas=BETAS)
    brought = {id(p) for name, p in known.items() if adopted is not None and not name.startswith(ends)}
    rates = {True: (adopted or 0.0) * settings.rate, False: settings.rate}
    groups = [
        {"params": chosen, "weight_decay": decay, "lr": rate}
        for decay, parameters in ((settings.decay, large), (0.0, small))
        for old, rate in rates.items()
        if (chosen := [p for p in parameters if (id(p) in brought) == old])
    ]
    return torch.optim.AdamW(groups, settings.rate, betas=BETAS)

"""The settings of training. Standard library only: the command line imports this."""

from dataclasses import dataclass, field

from gen3d.errors import UsageError
from gen3d.priors.multiview.settings import VIEWS, MultiviewSettings
from gen3d.ranges import check_choices, check_ranges, numbers

LOSSES = ("log", "square")
OPTIMIZERS = ("adamw", "muon")
WEIGHTS = ("uniform", "snr", "min_snr", "velocity", "v")


@dataclass(frozen=True)
class TrainingSettings:
    """What every training has.

    Attributes:
        steps: of optimisation.
        optimizer: adamw; or muon, for matrices, with adamw for the rest.
        rate: highest learning rate.
        decay: of the weights.
        clip: norm that gradients are scaled down to.
        average: decay of the moving average of the weights, which is what counts at the end.
        balance: how much more often objects of rare tiers come than their number says, from 0 (not) to 1 (all tiers alike).
        holdout: training objects that are kept for measuring.
        check: steps between two measurements.
        seed: of all randomness.
    """

    steps: int = 14_000
    optimizer: str = "adamw"
    rate: float = 1e-3
    decay: float = 0.02
    clip: float = 1.0
    average: float = 0.999
    balance: float = 0.3
    holdout: int = 96
    check: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        check_choices(self, optimizer=OPTIMIZERS)
        check_ranges(self, steps=(1, 10**8), rate=(0, 1), decay=(0, 1), clip=(0, 1e9), average=(0, 1), balance=(0, 1))
        check_ranges(self, holdout=(1, 10**6), check=(1, 10**8), seed=(0, 2**32 - 1))


@dataclass(frozen=True)
class DsplatsSettings(TrainingSettings):
    """Training of a multiview network.

    Attributes:
        network: its shapes.
        pretrained: a hub's name or the folder of a Stable Diffusion pipeline to begin with; the network then works on its latents and
            reads captions.
        adopted: learning rate of what the pretrained network brings, as a share of `rate`.
        untold: share of the objects whose caption is left out, for guidance.
        objects: of a step in which one given view is reconstructed, over all devices.
        joint_objects: of a step with noised views, over all devices.
        views: of an object in a step with noised views.
        given: how often none, one, ... and all of these views are given in such a step; the others are noised.
        targets: further views that the splats are compared with.
        joint: share of the steps that have noised views, once they begin.
        warmup: share of all steps before noised views begin.
        loss: of a view: log of its error, so that every object counts alike as it does in decibels; or square, the error itself.
        floor: added to errors before their logarithm is taken: views that are better hardly count.
        alpha: weight of the squared error of opacity.
        depth: weight of the squared error of depth where an object is, in units of its bounding sphere's radius; 0 leaves it out.
        latent: weight of the squared error of latents, for networks that work on them; 0 leaves it out.
        perceptual: weight of LPIPS; 0 leaves it out.
        perceptual_below: noise, as a time of the path, up to which LPIPS counts: above, and from one given view, renders are means of what
            can be.
        weight: of the error of noised steps: uniform, snr, min_snr, velocity or v.
        checkpointing: of gradients: features are computed again on the way back, which takes a third more time and less memory.
    """

    network: MultiviewSettings = field(default_factory=MultiviewSettings)
    pretrained: str = ""
    adopted: float = 1.0
    untold: float = 0.1
    objects: int = 24
    joint_objects: int = 8
    views: int = VIEWS
    given: tuple[float, ...] = (0.1, 0.6, 0.1, 0.05, 0.15)
    targets: int = 3
    joint: float = 0.4
    warmup: float = 0.3
    loss: str = "log"
    floor: float = 2e-3
    alpha: float = 0.3
    depth: float = 0.0
    latent: float = 0.0
    perceptual: float = 0.0
    perceptual_below: float = 0.5
    weight: str = "uniform"
    checkpointing: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices(self, weight=WEIGHTS, loss=LOSSES)
        shares = dict.fromkeys(("joint", "warmup", "perceptual_below", "untold", "adopted"), (0.0, 1.0))
        check_ranges(self, objects=(1, 10**4), joint_objects=(1, 10**4), views=(1, 16), targets=(1, 64), **shares)
        check_ranges(self, floor=(0, 1), alpha=(0, 100), depth=(0, 100), perceptual=(0, 100), latent=(0, 100))
        object.__setattr__(self, "given", numbers("given", self.given))
        if len(self.given) != self.views + 1 or min(self.given) < 0 or not sum(self.given):
            told = ", ".join(f"{each:g}" for each in self.given)
            raise UsageError(f"given is {told}; give {self.views + 1} chances, for none to all of the {self.views} views")
        if self.loss == "log" and not self.floor:
            raise UsageError("floor is 0 and the logarithm of an error of 0 is no number; give some, such as 0.002")
        if not self.pretrained and (self.network.latents or self.latent):
            raise UsageError("latents are those of a pretrained autoencoder; say whose with --pretrained")
        if self.optimizer == "muon" and self.adopted != 1:
            raise UsageError(f"adopted is {self.adopted:g} and muon moves all matrices at one rate; say --optimizer adamw")

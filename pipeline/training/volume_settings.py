"""The settings of the trainings of GVGEN's two networks. Standard library only: the command line imports this."""

from dataclasses import dataclass, field

from gen3d.errors import UsageError
from gen3d.pipeline.training.settings import WEIGHTS, TrainingSettings
from gen3d.priors.volume.settings import VolumeNetworkSettings
from gen3d.ranges import check_choices, check_ranges

SMALLEST = 32  # pixels along the sides of pictures that LPIPS can compare


@dataclass(frozen=True)
class VolumeTrainingSettings(TrainingSettings):
    """What both networks have.

    Attributes:
        network: its shapes; its size is that of the volumes.
        objects: of a step, over all devices.
        phrases: ways to ask for each object that are encoded once and for all.
        dropped: chance of each word of a name to be left out of a phrase.
        recolored: share of the objects whose colour channels are exchanged, and which are asked for by their new colours; of those that
            are told by sentences.
        untold: share of the objects of which nothing is told, for guidance.
        checkpointing: of gradients: features are computed again on the way back, which takes a third more time and less memory.
    """

    network: VolumeNetworkSettings = field(default_factory=VolumeNetworkSettings)
    objects: int = 32
    phrases: int = 8
    dropped: float = 0.15
    recolored: float = 0.25
    untold: float = 0.1
    checkpointing: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, objects=(1, 10**4), phrases=(1, 64), dropped=(0, 1), recolored=(0, 1), untold=(0, 1))


@dataclass(frozen=True)
class FieldSettings(VolumeTrainingSettings):
    """`gen3d train gvgen-field`: noise and a sentence to where an object is.

    Attributes:
        kind: what is predicted: x0, v, or flow, which also says how noise is added.
        weight: of the error of what is expected: uniform, snr, min_snr, velocity or v.
    """

    kind: str = "v"
    weight: str = "v"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices(self, kind=("x0", "v", "flow"), weight=WEIGHTS)
        check_weight(self.kind, self.weight)


@dataclass(frozen=True)
class AttributeSettings(VolumeTrainingSettings):
    """`gen3d train gvgen-attributes`: where an object is and a sentence to the attributes of its splats.

    Attributes:
        kind: none gives the mean of the attributes that an object can have; x0, v or flow learn to sample them.
        weight: of the error at each level of noise, where there is noise: uniform, snr, min_snr, velocity or v.
        blur: deviation of the noise on the fields, which when they are generated are not as clean as those of fitted objects.
        volume: weight of the squared error of the normalised attributes at the end of the first fifth of the steps; 1 at their beginning.
        render: weight of the error of pictures from then on; it rises from 0.
        views: that pictures are drawn in, of each object.
        pixels: along their sides.
        ssim: share of 1 - SSIM in the error of pictures; the rest is the mean absolute difference.
        perceptual: weight of LPIPS of the pictures beside both; 0 leaves it out.
    """

    kind: str = "none"
    weight: str = "v"
    blur: float = 0.05
    volume: float = 0.1
    render: float = 1.0
    views: int = 2
    pixels: int = 64
    ssim: float = 0.2
    perceptual: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices(self, kind=("none", "x0", "v", "flow"), weight=WEIGHTS)
        check_weight(self.kind, self.weight)
        check_ranges(self, blur=(0, 1), volume=(0, 100), render=(0, 100), views=(1, 64), pixels=(16, 1024), ssim=(0, 1), perceptual=(0, 10))
        if self.perceptual and self.pixels < SMALLEST:
            raise UsageError(f"pixels is {self.pixels} and LPIPS needs {SMALLEST}; say --pixels 64, or --perceptual 0")
        if not self.volume and not self.render:
            raise UsageError("volume and render are both 0, and nothing else teaches; raise one of them")


def check_weight(kind: str, weight: str) -> None:
    """Make sure that errors of x0 are not weighted without bound: those of a network of x0 do not vanish where there is no noise.

    Raises:
        UsageError: they are.
    """
    if kind == "x0" and weight not in ("uniform", "min_snr"):
        raise UsageError(f"the weight {weight} has no bound where there is no noise, and the kind is x0; say --weight min_snr or uniform")

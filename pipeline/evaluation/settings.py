"""The settings of evaluations on objects. Standard library only: the command line imports this."""

from dataclasses import dataclass

from gen3d.errors import UsageError
from gen3d.priors.samplers.named import SOLVERS
from gen3d.ranges import check_choices, check_ranges

PROTOCOLS = ("objects-v1", "nano")
ELEVATIONS = (0, 20)
NETS = ("alex", "vgg", "both", "none")


@dataclass(frozen=True)
class ObjectsSettings:
    """An evaluation of methods that see one picture of an object.

    Attributes:
        protocol: objects-v1, or nano, whose cameras stand nearer (see `objects_protocol`).
        size: width and height of the pictures in pixels; 64, 128 and 256 are compared.
        elevation: of the given view and of those around the object in degrees, 20 or 0.
        methods: names with commas between, or groups of them: all, baselines, networks, reaches, ceilings.
        over: method that the others are compared with, object by object; best is the baseline with the highest PSNR.
        lpips: networks that perceptual distances are measured with: alex, vgg, both or none.
        limit: test objects of each tier, those with the smallest hashes of their ids; 0 takes all.
        holdout: training objects that settings of baselines are chosen on.
        weights: a file that gen3d train dsplats wrote, for networks; the shipped ones when empty.
        solver: of the networks that sample.
        steps: evaluations of the network for a sample.
        seed: of samples.
    """

    protocol: str = "objects-v1"
    size: int = 64
    elevation: int = 20
    methods: str = "all"
    over: str = "best"
    lpips: str = "both"
    limit: int = 0
    holdout: int = 96
    weights: str = ""
    solver: str = "ghvb"
    steps: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        check_choices(self, protocol=PROTOCOLS, lpips=NETS, solver=SOLVERS)
        check_ranges(self, size=(16, 1024), limit=(0, 10**9), holdout=(1, 10**6), steps=(1, 1000), seed=(0, 2**62))
        if self.elevation not in ELEVATIONS:
            raise UsageError(f"the setting elevation is {self.elevation}; choose one of {', '.join(map(str, ELEVATIONS))}")
        if self.protocol == "nano" and self.elevation != 20:
            raise UsageError(f"the setting elevation is {self.elevation}; the protocol nano has 20 only")

"""The settings of whole jobs. Standard library only: the command line imports this."""

import dataclasses
from dataclasses import dataclass, field

from gen3d.errors import UsageError
from gen3d.pipeline.fitting.settings import FittingSettings
from gen3d.pipeline.meshing.settings import MeshSettings
from gen3d.pipeline.scenes.settings import SceneSettings
from gen3d.priors.multiview.settings import VIEWS
from gen3d.priors.samplers.named import SOLVERS
from gen3d.ranges import UNLIMITED, check_choices, check_ranges, numbers

STEPS = {"views": 3, "volumes": 12}


@dataclass(frozen=True)
class ImageSettings:
    """`gen3d image`: a picture of an object becomes splats.

    Attributes:
        route: views imagines further views and makes splats of all; volumes makes a volume of splats, with weights that read pictures.
        mode: of views: sampled draws one of the objects that the picture can show; one-step their mean, blurred where nothing is seen.
        solver: of the samples: ghvb, ddim, dpm++2m or heun.
        steps: evaluations of the network for a sample; 0 takes 3 for views, beyond which the nano network gained nothing, 12 for volumes.
        guidance: how much more than it would by itself the network follows the pictures; 1 leaves it alone and takes half the time.
        seeds: samples, of which the best is kept.
        seed: the only source of randomness.
        azimuth: where each picture was taken from, degrees around the object: 0 sees its front, 90 its left side as it looks at you.
        elevation: degrees above the horizon that the pictures were taken from.
        refine: steps in which the splats are brought closer to the pictures, at most 256 pixels large.
        weights: a file that gen3d train dsplats wrote; the shipped ones when empty.
        field: of volumes: a file that gen3d train gvgen-field wrote, with an encoder of pictures.
        attributes: of volumes: a file that gen3d train gvgen-attributes wrote, with the same encoder.
        device: auto, cpu or cuda.
        backend: rasterizer: auto, gsplat, native or reference.
        mesh: the textured mesh that is made of the result; method none makes none.
    """

    route: str = "views"
    mode: str = "sampled"
    solver: str = "ghvb"
    steps: int = 0
    guidance: float = 1.0
    seeds: int = 1
    seed: int = 0
    azimuth: tuple[float, ...] = (0.0,)
    elevation: float = 20.0
    refine: int = 60
    weights: str = ""
    field: str = ""
    attributes: str = ""
    device: str = "auto"
    backend: str = "auto"
    mesh: MeshSettings = dataclasses.field(default_factory=MeshSettings)

    def __post_init__(self) -> None:
        check_choices(self, route=("views", "volumes"), mode=("sampled", "one-step"), solver=SOLVERS)
        if self.route == "volumes" and (len(self.azimuth) > 1 or not self.field or not self.attributes):
            raise UsageError("the route volumes takes one picture, and networks that read pictures: give --field and --attributes")
        check_choices(self, device=("auto", "cpu", "cuda"), backend=("auto", "gsplat", "native", "reference"))
        check_ranges(self, steps=(0, 1000), seeds=(1, 64), seed=(0, 2**62), elevation=(-60.0, 80.0), refine=(0, 10_000), guidance=(0, 20))
        object.__setattr__(self, "azimuth", numbers("azimuth", self.azimuth))
        if not 1 <= len(self.azimuth) <= VIEWS or len({each % 360 for each in self.azimuth}) < len(self.azimuth):
            told = ", ".join(f"{each:g}" for each in self.azimuth)
            raise UsageError(f"azimuth is [{told}]; give one for each picture, all different, at most {VIEWS}")
        idle = ("field", "attributes") if self.route == "views" else ("weights",)
        if used := [name for name in idle if getattr(self, name)]:
            raise UsageError(f"the route {self.route} has no use for {' and '.join(used)}; leave it out, or choose the other --route")

    @property
    def evaluations(self) -> int:
        """Of the network for a sample."""
        return self.steps or STEPS[self.route]


@dataclass(frozen=True)
class TextSettings:
    """`gen3d text`: a sentence becomes splats.

    Attributes:
        prompt: what to make; words without a flag are meant before it.
        other: another prompt, or the same for another seed: a video leads from the one to the other.
        frames: of this video.
        solver: of the samples: ghvb, ddim, dpm++2m or heun.
        steps: evaluations of the network for a sample.
        guidance: how much more than it would by itself the network follows the words; 1 leaves it alone and takes half the time.
        seeds: samples, of which the best is kept.
        seed: the only source of randomness.
        field: a file that gen3d train gvgen-field wrote; the shipped one when empty.
        attributes: a file that gen3d train gvgen-attributes wrote; the shipped one when empty.
        device: auto, cpu or cuda.
        backend: rasterizer: auto, gsplat, native or reference.
        mesh: the textured mesh that is made of the result; method none makes none.
    """

    prompt: str = ""
    other: str = ""
    frames: int = 48
    solver: str = "ghvb"
    steps: int = 12
    guidance: float = 3.0
    seeds: int = 1
    seed: int = 0
    field: str = ""
    attributes: str = ""
    device: str = "auto"
    backend: str = "auto"
    mesh: MeshSettings = dataclasses.field(default_factory=MeshSettings)

    def __post_init__(self) -> None:
        for name in ("prompt", "other"):
            object.__setattr__(self, name, " ".join(getattr(self, name).split()))
        check_choices(self, solver=SOLVERS)
        check_choices(self, device=("auto", "cpu", "cuda"), backend=("auto", "gsplat", "native", "reference"))
        check_ranges(self, steps=(1, 1000), seeds=(1, 64), seed=(0, 2**62), guidance=(0, 50), frames=(2, 10_000))
        if self.other and self.seeds > 1:
            raise UsageError(f"seeds is {self.seeds} and a video leads between two samples; say --seeds 1")

    @property
    def evaluations(self) -> int:
        """Of the network for a sample."""
        return self.steps


@dataclass(frozen=True)
class PhotosSettings:
    """`gen3d photos`: a folder of photos with cameras becomes splats.

    Attributes:
        max_size: longest side of the photos in pixels after downscaling.
        holdout: every n-th photo is held out for evaluation when the scene names no split; 0 holds out none.
        format: of the cameras: transforms, colmap, or auto to tell from the files in the folder.
        seed: the only source of randomness.
        device: auto, cpu or cuda.
        devices: number of processes that share the views.
        backend: rasterizer: auto, gsplat, native or reference.
        fitting: the optimisation.
        mesh: the textured mesh that is made of the result; method none makes none.
    """

    max_size: int = 800
    holdout: int = 8
    format: str = "auto"
    seed: int = 0
    device: str = "auto"
    devices: int = 1
    backend: str = "auto"
    fitting: FittingSettings = field(default_factory=FittingSettings)
    mesh: MeshSettings = field(default_factory=MeshSettings)

    def __post_init__(self) -> None:
        check_choices(self, format=("auto", "transforms", "colmap"))
        check_choices(self, device=("auto", "cpu", "cuda"), backend=("auto", "gsplat", "native", "reference"))
        check_ranges(self, devices=(1, UNLIMITED), holdout=(0, UNLIMITED), max_size=(16, UNLIMITED), seed=(0, 2**63 - 1))

    @property
    def scene(self) -> SceneSettings:
        """How the photos are read."""
        return SceneSettings(self.max_size, self.holdout, self.format)

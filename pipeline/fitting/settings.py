"""How splats are fitted to photos. Standard library only: the command line imports this."""

from dataclasses import dataclass, field, replace
from typing import Self

from gen3d.errors import UsageError
from gen3d.ranges import UNLIMITED, check_choices, check_ranges

POSITIVE, FRACTION, COUNT = (1e-12, UNLIMITED), (0.0, 1.0), (1, UNLIMITED)
NOT_NEGATIVE = (0.0, UNLIMITED)


@dataclass(frozen=True)
class RateSettings:
    """Learning rates at the start of a fit, per parameter group; positions are in units of the scene's extent.

    Attributes:
        means: position rate relative to the extent; decays to `means_end` of itself.
        means_end: the fraction of the position rate that is left at the end.
        scales: rate of the log-scales.
        quats: rate of the quaternions.
        opacities: rate of the logit-opacities.
        sh0: rate of the base colours.
        sh_rest: rate of the view-dependent colours.
        cooldown: the part of the steps, at the end, over which all rates fall to zero in a straight line: what single photos
            pull the splats to and fro by averages out.
    """

    means: float = 4.8e-4
    means_end: float = 0.01
    scales: float = 1e-2
    quats: float = 1e-3
    opacities: float = 5e-2
    sh0: float = 5e-3
    sh_rest: float = 1e-3
    cooldown: float = 0.2

    def __post_init__(self) -> None:
        rates = ("means", "scales", "quats", "opacities", "sh0", "sh_rest")
        check_ranges(self, means_end=(1e-12, 1.0), cooldown=FRACTION, **dict.fromkeys(rates, NOT_NEGATIVE))


@dataclass(frozen=True)
class DensifySettings:
    """How the number of splats grows.

    Attributes:
        strategy: default (clone, split, prune), mcmc (relocate and add) or pool (one splat at most for each node of a grid).
        cap: the count that is not exceeded.
        grow_gradient: default strategy: splats whose mean screen gradient (in half image sizes) exceeds this grow, 2e-4 in
            Kerbl et al. 2023, or 8e-4 with `absgrad`; 0 draws as many as a straight line to the cap asks for, with probability by gradient.
        absgrad: default strategy: screen gradients add up magnitudes over pixels, which finds blurred textures (Ye et al. 2024, AbsGS).
        reset_every: default strategy: steps between two opacity resets; 0 never resets.
        start: fraction of the steps before the first change.
        stop: fraction of the steps after which nothing is added.
        prune_stop: fraction of the steps after which nothing is removed.
        every: steps between two changes; short fits change at least a dozen times while they grow.
        prune_opacity: splats fainter than this are removed or relocated.
        noise: MCMC only: rate of the position noise.
        nodes: pool only: nodes along a side of the grid, whose splats a fit begins with.
    """

    strategy: str = "default"
    cap: int = 100_000
    grow_gradient: float = 0.0
    absgrad: bool = True
    reset_every: int = 0
    start: float = 0.02
    stop: float = 0.5
    prune_stop: float = 0.8
    every: int = 100
    prune_opacity: float = 5e-3
    noise: float = 5e5
    nodes: int = 32

    def __post_init__(self) -> None:
        check_choices(self, strategy=("default", "mcmc", "pool"))
        check_ranges(self, cap=COUNT, every=COUNT, reset_every=NOT_NEGATIVE, grow_gradient=NOT_NEGATIVE, noise=NOT_NEGATIVE)
        check_ranges(self, nodes=(2, 128), start=FRACTION, stop=FRACTION, prune_stop=FRACTION, prune_opacity=(1e-6, 0.5))


@dataclass(frozen=True)
class FittingSettings:
    """A fit from initial splats to the end of its budget.

    Attributes:
        steps: optimisation steps; 0 derives them from `seconds`.
        seconds: time budget that calibration turns into steps once, before the first step.
        looks: the budget is not used up beyond 3,000 steps and so many looks at each photo, after which a fit learns the photos
            by heart; 0 always uses it up.
        views_per_step: photos a step looks at, over all devices together; 0 is one for each device.
        sh_degree: highest harmonics degree, reached in equal parts over the first half.
        half_resolution: fraction of the steps at half resolution.
        ssim_weight: λ of (1 - λ) L1 + λ (1 - SSIM).
        opacity_regularizer: weight of the mean opacity.
        scale_regularizer: weight of the mean scale, in units of the extent.
        random_background: draw cut-out objects on random colours, not on white; scenes are always drawn on black.
        refine_cameras: also optimise the training cameras; the corrections serve the fit, cameras/ keeps the poses as given.
        exposure: also optimise a colour gain and offset for each training photo.
        antialias: draw with Mip-Splatting's opacity compensation.
        initial_splats: most splats to start from when the scene has no points.
        rates: learning rates.
        densify: densification.
        checkpoints: checkpoints written on the way, at equal intervals of steps.
    """

    steps: int = 0
    seconds: float = 430.0
    looks: int = 90
    views_per_step: int = 0
    sh_degree: int = 2
    half_resolution: float = 0.35
    ssim_weight: float = 0.4
    opacity_regularizer: float = 0.02
    scale_regularizer: float = 0.0
    random_background: bool = True
    refine_cameras: bool = False
    exposure: bool = False
    antialias: bool = False
    initial_splats: int = 10_000
    rates: RateSettings = field(default_factory=RateSettings)
    densify: DensifySettings = field(default_factory=DensifySettings)
    checkpoints: int = 10

    def __post_init__(self) -> None:
        check_ranges(
            self,
            steps=NOT_NEGATIVE,
            seconds=POSITIVE,
            looks=NOT_NEGATIVE,
            views_per_step=NOT_NEGATIVE,
            initial_splats=(10, UNLIMITED),
            checkpoints=NOT_NEGATIVE,
        )
        check_ranges(self, sh_degree=(0, 3), half_resolution=FRACTION, ssim_weight=FRACTION)
        check_ranges(self, opacity_regularizer=NOT_NEGATIVE, scale_regularizer=NOT_NEGATIVE)

    def for_devices(self, count: int) -> Self:
        """The settings with the number of views per step that `count` devices share.

        Raises:
            UsageError: they cannot share it equally.
        """
        views = self.views_per_step or count
        if views % count:
            raise UsageError(
                f"views_per_step is {views} and devices is {count}; every device needs the same number of views: "
                f"set --fitting.views_per_step to a multiple of {count}, or to 0"
            )
        return replace(self, views_per_step=views)

"""What a splat is: `Gaussians` to draw, `GaussianParameters` to optimise."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gen3d.renderers import harmonics
from gen3d.renderers.quaternions import quaternion_to_matrix


@dataclass(frozen=True, slots=True)
class Gaussians:
    """Drawable splats: activated, immutable, any batch shape `*b` before the count `n`.

    Attributes:
        means: centres `[*b, n, 3]` in scene units.
        scales: standard deviations `[*b, n, 3]` along the splat's own axes, > 0, scene units.
        quats: rotations `[*b, n, 4]`, wxyz, splat axes to world. Renderers normalise them.
        opacities: `[*b, n]` in [0, 1].
        sh: harmonics `[*b, n, k, 3]`, k = (degree + 1)², of display-referred sRGB minus 0.5.
    """

    means: Float[Tensor, "*b n 3"]
    scales: Float[Tensor, "*b n 3"]
    quats: Float[Tensor, "*b n 4"]
    opacities: Float[Tensor, "*b n"]
    sh: Float[Tensor, "*b n k 3"]

    def __post_init__(self) -> None:
        shape = self.opacities.shape
        wanted = {"means": (*shape, 3), "scales": (*shape, 3), "quats": (*shape, 4)}
        for name, size in wanted.items():
            given = tuple(getattr(self, name).shape)
            if given != size:
                raise ValueError(f"{name} has shape {given}; opacities of shape {tuple(shape)} ask for {size}")
        if self.sh.shape[:-2] != shape or self.sh.shape[-1] != 3:
            raise ValueError(f"sh has shape {tuple(self.sh.shape)}; it must be {(*shape, 'k', 3)}")
        harmonics.degree_of(self.sh.shape[-2])

    @property
    def count(self) -> int:
        """Number of splats n."""
        return self.opacities.shape[-1]

    @property
    def batch_shape(self) -> torch.Size:
        """The shape `*b` before the count."""
        return self.opacities.shape[:-1]

    @property
    def degree(self) -> int:
        """Degree of the harmonics, 0 to 3."""
        return harmonics.degree_of(self.sh.shape[-2])

    @property
    def covariances(self) -> Float[Tensor, "*b n 3 3"]:
        """World covariances R S² Rᵀ."""
        factor = quaternion_to_matrix(self.quats) * self.scales[..., None, :]
        return factor @ factor.mT

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move or cast every tensor, with the arguments of `torch.Tensor.to`."""
        return replace(self, **{f.name: getattr(self, f.name).to(*args, **kwargs) for f in fields(self)})

    def detach(self) -> Self:
        """The same splats outside the autograd graph."""
        return replace(self, **{f.name: getattr(self, f.name).detach() for f in fields(self)})

    def unbatched(self) -> Self:
        """The splats of the only scene of a batch `[1, n]`."""
        return replace(self, **{f.name: getattr(self, f.name).squeeze(0) for f in fields(self)})

    def select(self, index: Tensor) -> Self:
        """Splats by boolean mask or integer index `[m]` along the count axis."""
        axis = len(self.batch_shape)
        index = index.nonzero().squeeze(-1) if index.dtype == torch.bool else index
        return replace(self, **{f.name: getattr(self, f.name).index_select(axis, index) for f in fields(self)})

    def with_degree(self, degree: int) -> Self:
        """The same splats with harmonics cut or zero-padded to `degree`."""
        count = harmonics.coefficient_count(degree)
        missing = max(0, count - self.sh.shape[-2])
        return replace(self, sh=nn.functional.pad(self.sh[..., :count, :], (0, 0, 0, missing)))


class GaussianParameters(nn.Module):
    """The raw twin of unbatched `Gaussians` that an optimiser moves.

    Log-scales, logit-opacities, unnormalised quaternions; the harmonics are split into degree 0 and the rest because
    they learn at different rates. The count may differ between a module and the state it loads.
    """

    NAMES = ("means", "log_scales", "quats", "logit_opacities", "sh0", "sh_rest")
    means: nn.Parameter
    log_scales: nn.Parameter
    quats: nn.Parameter
    logit_opacities: nn.Parameter
    sh0: nn.Parameter
    sh_rest: nn.Parameter

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name in self.NAMES:
            setattr(self, name, nn.Parameter(tensors[name].detach().clone().contiguous()))

    @classmethod
    def from_gaussians(cls, gaussians: Gaussians) -> Self:
        """Invert the activations. Opacities are kept inside [1e-4, 1 - 1e-4] so that the logit stays finite."""
        return cls(
            {
                "means": gaussians.means,
                "log_scales": gaussians.scales.log(),
                "quats": gaussians.quats,
                "logit_opacities": gaussians.opacities.clamp(1e-4, 1 - 1e-4).logit(),
                "sh0": gaussians.sh[:, :1],
                "sh_rest": gaussians.sh[:, 1:],
            }
        )

    @property
    def count(self) -> int:
        """Number of splats n."""
        return self.means.shape[0]

    def activated(self, degree: int | None = None, *, unit_quats: bool = True) -> Gaussians:
        """The drawable splats, differentiable.

        Args:
            degree: keeps only the lower harmonics; None keeps all.
            unit_quats: False leaves the quaternions at any length, which renderers normalise anyway: a training step
                need not pay for it twice.
        """
        rest: Tensor = self.sh_rest
        wanted = rest.shape[1] if degree is None else harmonics.coefficient_count(degree) - 1
        if wanted < rest.shape[1]:  # even a slice of everything would cost its backward pass a copy
            rest = rest[:, :wanted]
        return Gaussians(
            means=self.means,
            scales=self.log_scales.exp(),
            quats=nn.functional.normalize(self.quats, dim=-1) if unit_quats else self.quats,
            opacities=self.logit_opacities.sigmoid(),
            sh=torch.cat([self.sh0, rest], 1) if rest.shape[1] else self.sh0,
        )

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any, **kwargs: Any) -> None:
        # Densification changes the count, so the module takes the size of what it loads.
        for name in self.NAMES:
            if (tensor := state_dict.get(prefix + name)) is not None:
                getattr(self, name).data = torch.empty_like(tensor, device=getattr(self, name).device)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

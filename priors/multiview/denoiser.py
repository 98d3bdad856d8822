"""A denoiser whose expected clean views are renders of splats, so that all views agree (DSplats, DiffusionGS)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gen3d.priors.multiview.network import Views
from gen3d.priors.multiview.views import draw, to_pictures
from gen3d.priors.samplers.coefficients import Coef
from gen3d.priors.samplers.paths import Cosine, Path
from gen3d.priors.samplers.predictions import Prediction, implied_eps, on_path
from gen3d.renderers.cameras import Cameras
from gen3d.renderers.gaussians import Gaussians

Encode = Callable[[Float[Tensor, "b v 3 h w"]], Float[Tensor, "b v 4 hl wl"]]
PATH: Path = Cosine()  # that the networks are trained on


@dataclass(frozen=True)
class SplatDenoiser:
    """Noised views to the splats behind them; `aux` of every prediction are the splats.

    The state are pixels, or latents where there is an encoder: then what is expected is the render, encoded again.

    Attributes:
        network: views and a condition to splats.
        cameras: of the views `[b, v]`.
        given: views that are known `[b, v]`.
        pictures: what is known, colours over white in [-1, 1], `[b, v, 3, h, w]`; anything in views that are not given.
        alpha: opacity of what is known `[b, v, h, w]`.
        encode: pictures in [-1, 1] `[b, v, 3, h, w]` to latents `[b, v, 4, h / 8, w / 8]`; None for pixels.
        backend: of `rasterize`.
    """

    network: Callable[[Views, Any], Gaussians]
    cameras: Cameras
    given: Bool[Tensor, "b v"]
    pictures: Float[Tensor, "b v 3 h w"]
    alpha: Float[Tensor, "b v h w"]
    encode: Encode | None = None
    backend: str = "auto"

    @cached_property
    def clean(self) -> Float[Tensor, "b v c ..."]:
        """What is known, as states hold it."""
        return self.pictures if self.encode is None else self.encode(self.pictures)

    def __call__(self, x: Float[Tensor, "b v c ..."], c: Coef, condition: Any = None) -> Prediction:
        """See `Denoiser`; given views come out as they are, whatever is in their place in x."""
        state, own = on_path(PATH, x, c)
        known = self.given[:, :, None, None, None]
        times = torch.as_tensor(own.t, dtype=torch.float32).to(x.device).expand(self.given.shape)
        mixed = torch.where(known, self.clean, state)
        if self.encode is None:
            views = Views(mixed, self.alpha, self.given, times, self.cameras)
        else:
            views = Views(self.pictures, self.alpha, self.given, times, self.cameras, mixed)
        splats = self.network(views, condition)
        shown = to_pictures(draw(splats, self.cameras, backend=self.backend)).to(x)
        x0 = torch.where(known, self.clean, shown if self.encode is None else self.encode(shown))
        return Prediction(x0, implied_eps(x, x0, c), splats)


@dataclass(frozen=True)
class ViewGuidance:
    """Away from what the network would make without the given views; the splats are those of the network itself.

    Attributes:
        denoiser: of some given views.
        scale: 1 changes nothing; what differs because views are given counts so many times.
    """

    denoiser: SplatDenoiser
    scale: float

    def __call__(self, x: Float[Tensor, "b v c ..."], c: Coef, condition: Any = None) -> Prediction:
        """See `Denoiser`."""
        told = self.denoiser(x, c, condition)
        if self.scale == 1:
            return told
        nothing = replace(self.denoiser, given=torch.zeros_like(self.denoiser.given))(x, c, condition)
        x0 = torch.where(self.denoiser.given[:, :, None, None, None], told.x0, torch.lerp(nothing.x0, told.x0, self.scale))
        return Prediction(x0, implied_eps(x, x0, c), told.aux)

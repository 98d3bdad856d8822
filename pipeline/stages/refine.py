"""Splats brought closer to the pictures they were made of, which have more pixels than networks see."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.pipeline.objects.views import ring_cameras
from gen3d.pipeline.progress import Progress
from gen3d.priors.multiview.views import draw
from gen3d.renderers.cameras import Cameras
from gen3d.renderers.gaussians import Gaussians

RATES = {"means": 2e-4, "scales": 5e-3, "quats": 2e-3, "opacities": 2e-2, "sh": 5e-3}  # of Adam; scales and opacities as logarithms
ANCHOR = 64  # pixels of the views from elsewhere that hold the rest in its place
KEPT = 2.0  # weight of those views beside pictures of one side
SIDES = 4  # of an object; pictures of all leave nothing to be held


def refined(
    splats: Gaussians,
    pictures: Sequence[tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w"]]],
    cameras: Sequence[Cameras],
    steps: int,
    progress: Progress,
    *,
    backend: str = "auto",
) -> tuple[Gaussians, float]:
    """Splats after some steps against the pictures; sides that they do not show are held by renders of the splats as they come.

    Args:
        splats: of one object, in the frame of the cameras.
        pictures: colours over white in [0, 1] and alpha of each.
        cameras: of each picture `[1]`, of its size.
        steps: of optimisation.
        progress: told of every step.
        backend: of `rasterize`.

    Returns:
        the splats, and the PSNR of the pictures in dB.
    """
    device = splats.means.device
    ring, weight = ring_cameras(ANCHOR).to(device), KEPT * (1 - (sides(cameras) - 1) / (SIDES - 1))
    wanted = [
        (rgb[None].to(device), alpha[None].to(device), camera.to(device)) for (rgb, alpha), camera in zip(pictures, cameras, strict=True)
    ]
    with torch.inference_mode(False), torch.enable_grad():
        values = {name: tensor.detach().clone().requires_grad_() for name, tensor in _free(splats).items()}
        anchor = draw(splats, ring, backend=backend)
        kept = [anchor.rgb.detach().clone(), anchor.alpha.detach().clone()]
        optimizer = torch.optim.Adam([{"params": [values[name]], "lr": rate} for name, rate in RATES.items()], betas=(0.9, 0.99))
        progress.start("refine", steps)
        for step in range(steps):
            current = _bound(splats, values)
            loss = torch.stack([_error(current, camera, rgb, alpha, backend=backend) for rgb, alpha, camera in wanted]).sum()
            if weight:
                loss = loss + weight * _error(current, ring, *kept, backend=backend)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            progress.advance(step + 1)
        progress.finish()
    with torch.no_grad():
        final = _bound(splats, values).detach()
        seen = [_error(final, camera, rgb, backend=backend) for rgb, _, camera in wanted]
    return final, float(-10 * torch.stack(seen).mean().clamp_min(1e-12).log10())


def sides(cameras: Sequence[Cameras]) -> int:
    """How many of the four sides of an object pictures show, each the one that it is nearest to."""
    places = torch.cat([camera.positions for camera in cameras])
    return len({round(float(angle) * SIDES) % SIDES for angle in torch.atan2(places[:, 0], places[:, 2]) / (2 * torch.pi)})


def _free(splats: Gaussians) -> dict[str, Tensor]:
    """What is optimised, without bounds."""
    opacities = splats.opacities.clamp(1e-4, 1 - 1e-4).logit()
    return {"means": splats.means, "scales": splats.scales.log(), "quats": splats.quats, "opacities": opacities, "sh": splats.sh}


def _bound(splats: Gaussians, values: dict[str, Tensor]) -> Gaussians:
    quats = torch.nn.functional.normalize(values["quats"], dim=-1)
    changed = {"scales": values["scales"].exp(), "quats": quats, "opacities": values["opacities"].sigmoid(), "sh": values["sh"]}
    return replace(splats, means=values["means"], **changed)


def _error(splats: Gaussians, cameras: Cameras, rgb: Tensor, alpha: Tensor | None = None, *, backend: str) -> Tensor:
    """Mean squared error of colours over white, and of opacity."""
    drawn = draw(splats, cameras, backend=backend)
    error = (drawn.rgb - rgb).square().mean()
    return error if alpha is None else error + (drawn.alpha - alpha).square().mean()

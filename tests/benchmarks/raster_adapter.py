"""The front door `rasterize` as raster_bench's bench.py wants it: float32 tensors in, pictures and autograd gradients out.

`python bench.py --inputs inputs --impl gen3d=tests/benchmarks/raster_adapter.py`
"""

import torch

from gen3d.renderers.cameras import Cameras
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.harmonics import SH0, rgb_to_sh0
from gen3d.renderers.rendering import rasterize


class Renderer:
    """One scene of raster_bench; its colours become harmonics of degree 0.

    Black channels are lifted by 1e-6: rounding would push half of them below the clamp at 0, where there is no gradient.
    """

    def __init__(self, scene, threads):
        torch.set_num_threads(threads)
        tensors = {key: torch.as_tensor(value) for key, value in scene.items()}
        self.parameters = {key: tensors[key] for key in ("means", "scales", "quats", "opacities")}
        self.parameters["sh"] = rgb_to_sh0(tensors["colors"].clamp_min(1e-6))[:, None]
        self.cameras = Cameras(tensors["viewmat"][None], tensors["K"][None], int(scene["width"]), int(scene["height"]))
        self.background = tensors["background"]
        self.upstream = [tensors["v_image"][None], tensors["v_alpha"][None]]

    def draw(self, parameters):
        rendering = rasterize(Gaussians(**parameters), self.cameras, background=self.background)
        return rendering.rgb, rendering.alpha

    @torch.no_grad()
    def forward(self):
        rgb, alpha = self.draw(self.parameters)
        return rgb[0], alpha[0]

    def forward_backward(self):
        leaves = {key: value.detach().requires_grad_() for key, value in self.parameters.items()}
        torch.autograd.backward(self.draw(leaves), self.upstream)
        gradients = {key: leaf.grad for key, leaf in leaves.items()}
        return {**gradients, "colors": gradients.pop("sh")[:, 0] / SH0}

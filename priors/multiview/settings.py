"""The shapes of multiview networks. Standard library only: the command line imports this."""

from dataclasses import dataclass

from gen3d.errors import UsageError
from gen3d.ranges import check_choices, check_ranges, widths

LATENT = 8  # pixels along a latent of Stable Diffusion
WIDEST = 8192  # channels
VIEWS = 4  # of an object that networks see together, unless they are trained otherwise
HEADS = ("layers", "lgm", "splatter", "gs-lrm", "diffusiongs", "diffsplat")


@dataclass(frozen=True)
class MultiviewSettings:
    """A U-Net over views and the head that turns its features into splats.

    Attributes:
        size: width and height of the views in pixels.
        patch: pixels along a cell, the finest grid of the U-Net.
        channels: of the levels of the U-Net, each half as wide as the one before.
        attention: levels, counted from the coarsest, whose blocks have attention over all views.
        depth: residual blocks of a level.
        heads: of attention.
        groups: of group normalisation; divides all channels.
        text: width of the tokens that cross-attention reads.
        upsamplings: blocks above the U-Net, each of which doubles the grid of cells that splats are anchored at.
        latents: whether what is noised are the latents of Stable Diffusion's autoencoder, a cell each, not pixels.
        source: of the autoencoder and the words, for networks of latents: a hub's name or a folder.
        head: how numbers become splats, see `splat_head`.
        layers: splats of a cell.
    """

    size: int = 64
    patch: int = 2
    channels: tuple[int, ...] = (48, 96, 192)
    attention: int = 1
    depth: int = 1
    heads: int = 4
    groups: int = 16
    text: int = 32
    upsamplings: int = 0
    latents: bool = False
    source: str = ""
    head: str = "layers"
    layers: int = 8

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", widths(self.channels, WIDEST))
        check_choices(self, head=HEADS)
        check_ranges(
            self,
            size=(16, 1024),
            patch=(1, 16),
            depth=(1, 4),
            heads=(1, 64),
            groups=(1, 64),
            text=(1, 4096),
            layers=(1, 64),
            upsamplings=(0, 4),
        )
        if self.latents and self.patch != LATENT:
            raise UsageError(f"the patch is {self.patch}; a latent stands for {LATENT} pixels, so choose {LATENT}")
        if self.patch % 2**self.upsamplings:
            raise UsageError(f"cells of {self.patch} pixels cannot be halved {self.upsamplings} times; lower upsamplings")
        grid = self.size / self.patch / 2 ** (len(self.channels) - 1)
        if grid != int(grid) or any(width % self.groups or width % self.heads for width in self.channels):
            raise UsageError(
                f"views of {self.size} pixels in cells of {self.patch} do not halve {len(self.channels) - 1} times, "
                f"or {self.groups} groups or {self.heads} heads do not divide the channels {self.channels}; choose multiples"
            )
        if not 0 <= self.attention <= len(self.channels):
            raise UsageError(f"attention is {self.attention}; there are {len(self.channels)} levels")

    @property
    def cell(self) -> int:
        """Pixels along a cell that splats are anchored at."""
        return self.patch // 2**self.upsamplings

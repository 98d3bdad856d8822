"""The shapes of volume networks. Standard library only: the command line imports this."""

from dataclasses import dataclass

from gen3d.errors import UsageError
from gen3d.ranges import check_ranges, widths

WIDEST = 4096  # channels


@dataclass(frozen=True)
class VolumeNetworkSettings:
    """A 3D U-Net over the nodes of a volume that reads sentences.

    Attributes:
        size: nodes along a side.
        patch: nodes along a cell, the finest grid of the network.
        channels: of its levels, each with half as many cells along a side as the one before.
        depth: residual blocks of a level.
        attention: levels, counted from the coarsest, whose blocks are followed by attention over cells and over words.
        head: channels of an attention head.
        groups: of group normalisation; divides all channels.
        text: width of the tokens that are read.
        encoder: that makes them: of sentences minilm, a hub's name or a folder; of pictures dsplats, the file of a multiview network, or
            a hub's DINO, such as facebook/dinov2-small.
    """

    size: int = 16
    patch: int = 2
    channels: tuple[int, ...] = (40, 80)
    depth: int = 1
    attention: int = 1
    head: int = 20
    groups: int = 8
    text: int = 384
    encoder: str = "minilm"

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", widths(self.channels, WIDEST))
        check_ranges(self, size=(4, 64), patch=(1, 4), depth=(1, 4), head=(1, 256), groups=(1, 64), text=(1, 8192))
        grid = self.size / self.patch / 2 ** (len(self.channels) - 1)
        if grid != int(grid) or any(width % self.groups for width in self.channels):
            raise UsageError(
                f"volumes of {self.size} nodes in cells of {self.patch} do not halve {len(self.channels) - 1} times, "
                f"or {self.groups} groups do not divide the channels {self.channels}; choose multiples"
            )
        attended = self.channels[max(0, len(self.channels) - self.attention) :]
        if not 0 <= self.attention <= len(self.channels) or any(width % self.head for width in attended):
            raise UsageError(
                f"attention is {self.attention} and heads have {self.head} channels; the levels have {self.channels}, which heads must "
                "divide"
            )

"""Volume networks of a few channels, and something to tell them."""

import torch

from gen3d.priors.told import Told
from gen3d.priors.volume.settings import VolumeNetworkSettings

TINY = VolumeNetworkSettings(size=8, channels=(16, 32), head=8, groups=8, text=12)


def told(b, n=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(n) < torch.tensor([n, n - 2] * b)[:b, None]
    return Told(torch.randn(b, n, 12, generator=generator), mask, torch.randn(b, 12, generator=generator))


def awake(net):
    """A network whose silent layers speak."""
    for parameter in net.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return net.eval()

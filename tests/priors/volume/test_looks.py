"""What looks alike tells what it is."""

import torch

from gen3d.priors.perceptual import Lpips
from gen3d.priors.volume.looks import AXES, described, looks_of


def test_names_of_what_looks_alike_are_asked():
    generator = torch.Generator().manual_seed(0)
    kinds = torch.nn.functional.normalize(torch.randn(3, 12, generator=generator), dim=-1)
    middles = 3 * torch.randn(3, 100, generator=generator)
    owners = torch.arange(60) % 3
    rows = middles[owners] + 0.3 * torch.randn(60, 100, generator=generator)
    looks = looks_of(list(rows), kinds[owners])
    assert looks.numbers.shape == (60, min(AXES, 59))
    for kind in range(3):
        seen = middles[kind] + 0.3 * torch.randn(100, generator=generator)
        scores = [looks.agreement(seen, kinds[other]) for other in range(3)]
        assert scores.index(max(scores)) == kind
        assert max(scores) > 0.9


def test_descriptions_are_of_all_views_together():
    torch.manual_seed(0)
    lpips, views = Lpips("alex").eval(), torch.rand(8, 64, 64, 3)
    whole = described(lpips, views)
    assert whole.shape == (64 + 192 + 384 + 256 + 256,)
    assert torch.allclose(described(lpips, views.roll(3, 0)), whole, atol=1e-6)  # the order does not count
    assert not torch.allclose(described(lpips, views * 0.5), whole, atol=1e-4)

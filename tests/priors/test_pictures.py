"""Pictures as tokens."""

import torch
from scenes import TINY, ring, some_views

from gen3d.priors.multiview.generate import GivenViews
from gen3d.priors.multiview.network import MultiviewNetwork
from gen3d.priors.pictures import PictureEncoder


def test_pictures_become_tokens_of_their_own():
    torch.manual_seed(0)
    encoder, some = PictureEncoder(MultiviewNetwork(TINY)), some_views(3, 1)
    given = GivenViews(some.pictures, some.alpha, ring(3, 1))
    found = encoder(given)
    assert found.tokens.shape == (3, 4 * 4, encoder.width)
    assert found.mask.all()
    assert torch.allclose(found.pooled.norm(dim=-1), torch.ones(3))
    alone = encoder(GivenViews(some.pictures[1:2], some.alpha[1:2], ring(1, 1)))
    assert torch.allclose(alone.tokens[0], found.tokens[1], atol=1e-5)
    assert not torch.allclose(found.tokens[0], found.tokens[1], atol=1e-3)
    assert not encoder.network.unet.mid_block._forward_hooks

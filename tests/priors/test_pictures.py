"""Pictures as tokens."""

import pytest
import torch
from scenes import TINY, ring, some_views

from gen3d.errors import BadInput
from gen3d.priors.multiview.network import MultiviewNetwork
from gen3d.priors.multiview.views import GivenViews
from gen3d.priors.pictures import HubPictures, PictureEncoder, load_picture_encoder, reads_pictures


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


def test_vision_transformers_are_read_by_name(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 14, "image_size": 28}
    transformers.Dinov2Model(transformers.Dinov2Config(**shape)).save_pretrained(tmp_path / "dinov2-tiny")
    assert reads_pictures(str(tmp_path / "dinov2-tiny"))
    assert not reads_pictures("minilm")
    encoder, some = load_picture_encoder(str(tmp_path / "dinov2-tiny")), some_views(2, 1)
    assert isinstance(encoder, HubPictures)
    assert (encoder.width, encoder.size) == (16, 224)
    found = encoder(GivenViews(some.pictures, some.alpha, ring(2, 1)))
    assert found.tokens.shape == (2, 8 * 8, 16)
    assert torch.allclose(found.pooled.norm(dim=-1), torch.ones(2), atol=1e-5)
    assert not torch.allclose(found.pooled[0], found.pooled[1], atol=1e-4)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "num_register_tokens": 4}
    transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**shape)).save_pretrained(tmp_path / "dinov3-tiny")
    later = load_picture_encoder(str(tmp_path / "dinov3-tiny"))
    assert later.size == 256
    assert later(GivenViews(some.pictures, some.alpha, ring(2, 1))).tokens.shape == (2, 8 * 8, 16)
    with pytest.raises(BadInput, match="holds no picture encoder"):
        load_picture_encoder(str(tmp_path / "dinov2-nothing"))

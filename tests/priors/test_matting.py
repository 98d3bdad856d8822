"""The mask network, where its weights are in the cache."""

import pytest
import torch

from gen3d.errors import BadInput, MissingWeights
from gen3d.priors.matting import Matting
from gen3d.priors.zoo import cache_root, list_weights

pytest.importorskip("onnxruntime")
ROOT = cache_root()  # the real one: tests have caches of their own
CACHED = any(stored.present for stored in list_weights() if stored.weight.name == "u2net-p")


@pytest.mark.skipif(not CACHED, reason="u2net-p is not in the cache; gen3d models pull u2net-p")
def test_an_object_stands_out_and_a_plain_picture_is_empty():
    matting = Matting(root=ROOT, offline=True)
    y, x = torch.meshgrid(torch.linspace(-1, 1, 120), torch.linspace(-1, 1, 160), indexing="ij")
    ball = (x**2 + y**2 < 0.3).float()
    image = torch.stack([0.8 * ball + 0.2, 0.3 + 0.1 * ball * x, 0.25 - 0.1 * ball * y], -1).clamp(0, 1)
    found = matting(image)
    assert found.shape == (120, 160)
    assert float(((found > 0.5) == (ball > 0.5)).float().mean()) > 0.97
    assert float(matting(torch.full((64, 64, 3), 0.5)).mean()) < 0.5


def test_weights_that_are_none_are_told(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"no network")
    with pytest.raises(BadInput, match="does not hold the mask network"):
        Matting(weights=tmp_path / "net.onnx")
    with pytest.raises(MissingWeights, match="u2net-p"):
        Matting(root=tmp_path, offline=True)

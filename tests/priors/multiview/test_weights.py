"""Networks as files."""

import json
import resource

import pytest
import torch
from safetensors.torch import save_file
from scenes import TINY, some_views

from gen3d.errors import BadInput
from gen3d.priors.multiview.network import MultiviewNetwork
from gen3d.priors.multiview.weights import load_network, save_network


@pytest.fixture
def network():
    torch.manual_seed(0)
    made = MultiviewNetwork(TINY)
    torch.nn.init.normal_(made.unet.conv_out.weight, std=0.1)
    return made.eval()


@pytest.mark.parametrize(("bits", "error"), [(16, 2e-3), (8, 0.05)])
def test_a_network_comes_back(network, tmp_path, bits, error):
    save_network(network, tmp_path / "net.safetensors", bits=bits)
    again = load_network(tmp_path / "net.safetensors")
    assert again.settings == TINY
    assert not again.training
    views = some_views(1, 2)
    with torch.no_grad():
        assert (again(views).means - network(views).means).abs().max() < error
    count = sum(p.numel() for p in network.parameters())
    assert (tmp_path / "net.safetensors").stat().st_size < count * bits / 8 * 1.2 + 40_000


@pytest.mark.parametrize(
    "settings",
    [{"size": 16, "unknown": 3}, {"size": 5000}, {"head": "x"}, [], {"size": 64, "channels": [8192, 8192], "depth": 4, "groups": 64}],
    ids=["unknown", "size", "head", "list", "huge"],
)
def test_settings_of_a_file_that_cannot_be_are_told_before_anything_is_made_of_them(settings, tmp_path):
    told = {"format": "gen3d-multiview-1", "settings": json.dumps(settings)}
    save_file({"a": torch.zeros(1)}, tmp_path / "strange.safetensors", told)
    began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadInput, match=r"strange\.safetensors cannot be read .* its settings and its tensors contradict each other"):
        load_network(tmp_path / "strange.safetensors")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - began < 1_000_000  # KiB; the last would take 180 GB


def test_other_files_are_told_apart(network, tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(BadInput, match="holds something and gen3d-multiview-1 is read; give a file that gen3d train dsplats wrote"):
        load_network(tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(BadInput, match="cannot be read as weights"):
        load_network(tmp_path / "text.safetensors")
    with pytest.raises(ValueError, match="weights of 4 bits"):
        save_network(network, tmp_path / "x.safetensors", bits=4)

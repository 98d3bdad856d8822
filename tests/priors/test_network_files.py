"""Tensors in 8 bits."""

import pytest
import torch

from gen3d.errors import BadInput
from gen3d.priors.network_files import quantised, read_network, write_network


def test_rows_keep_their_own_precision():
    value = torch.tensor([[1.0, -0.5, 0.3], [1e-4, -2e-4, 0.0], [0.0, 0.0, 0.0]])
    numbers, step = quantised(value)
    assert numbers.dtype == torch.int8
    error = (numbers.float() * step.float()[:, None] - value).abs().amax(1) / value.abs().amax(1).clamp_min(1e-9)
    assert float(error.max()) < 5e-3
    assert numbers[1, 1] == -127


def test_files_say_what_they_are(tmp_path):
    tensors = {"matrix": torch.randn(4, 6), "vector": torch.randn(4), "scalar": torch.tensor(2.0)}
    for bits, most in ((8, 0.02), (16, 2e-3)):
        write_network(tensors, {"format": "some-1", "note": "x"}, tmp_path / "w.safetensors", bits=bits)
        again, told = read_network(tmp_path / "w.safetensors", "some-1", "gen3d train")
        assert told["note"] == "x"
        assert all(torch.allclose(again[name], value, atol=most) for name, value in tensors.items())
    with pytest.raises(BadInput, match="holds some-1 and other-1 is read; give a file that gen3d train wrote"):
        read_network(tmp_path / "w.safetensors", "other-1", "gen3d train")
    (tmp_path / "w.safetensors").write_bytes(b"nothing")
    for path in ("w.safetensors", "absent.safetensors"):
        with pytest.raises(BadInput, match="cannot be read as weights"):
            read_network(tmp_path / path, "some-1", "gen3d train")
    with pytest.raises(ValueError, match="weights of 4 bits"):
        write_network(tensors, {}, tmp_path / "x.safetensors", bits=4)

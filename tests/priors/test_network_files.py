"""Tensors in 8 bits."""

import pytest
import torch

from gen3d.priors.network_files import quantised


def test_rows_keep_their_own_precision():
    value = torch.tensor([[1.0, -0.5, 0.3], [1e-4, -2e-4, 0.0]])
    numbers, step = quantised(value)
    assert numbers.dtype == torch.int8
    assert (numbers.float() * step.float()[:, None] - value).abs().amax(1).tolist() == pytest.approx([0, 0], abs=5e-3)
    assert numbers[1, 1] == -127

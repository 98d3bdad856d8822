import io
import struct

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gen3d.errors import BadInput
from gen3d.pipeline.formats import splat
from gen3d.pipeline.formats.contents import SplatContents, cleaned, finite
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.harmonics import rgb_to_sh0, sh0_to_rgb
from gen3d.renderers.quaternions import quaternion_to_matrix


def encoded(gaussians: Gaussians) -> bytes:
    stream = io.BytesIO()
    splat.encode(stream, SplatContents(gaussians))
    return stream.getvalue()


def decoded(data: bytes) -> Gaussians:
    gaussians = splat.decode(data, "x.splat").gaussians
    return cleaned(gaussians, finite(gaussians))


def test_bytes_of_one_splat():
    data = struct.pack("<6f8B", 1, 2, 3, 0.1, 0.2, 0.3, 255, 0, 51, 102, 128, 128, 0, 128)
    one = decoded(data)
    assert one.means.tolist() == [[1, 2, 3]]
    torch.testing.assert_close(one.scales, torch.tensor([[0.1, 0.2, 0.3]]))
    torch.testing.assert_close(sh0_to_rgb(one.sh[:, 0]), torch.tensor([[1.0, 0.0, 0.2]]))
    torch.testing.assert_close(one.opacities, torch.tensor([0.4]))
    assert one.quats.tolist() == [[0, 0, -1, 0]]
    again = decoded(encoded(one))
    torch.testing.assert_close(quaternion_to_matrix(again.quats), quaternion_to_matrix(one.quats), rtol=0, atol=1e-6)


def test_most_important_splats_come_first(splats):
    before = splats(200, 0)
    after = decoded(encoded(before))
    importance = after.scales.prod(-1) * after.opacities
    assert (importance[1:] <= importance[:-1] * 1.1).all()  # opacities are rounded after sorting
    assert torch.equal(after.means.sort(0).values, before.means.sort(0).values)


def test_ties_keep_their_order(splats):
    same = splats(1, 0).select(torch.zeros(50, dtype=torch.long))
    numbered = Gaussians(torch.arange(150.0).reshape(50, 3), same.scales, same.quats, same.opacities, same.sh)
    assert torch.equal(decoded(encoded(numbered)).means, numbered.means)


@given(seed=st.integers(0, 2**31), color=st.floats(-0.5, 1.5), opacity=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_rounding_errors_are_bounded(seed, color, opacity):
    quats = torch.nn.functional.normalize(torch.randn(1, 4, generator=torch.Generator().manual_seed(seed)), dim=-1)
    before = Gaussians(torch.zeros(1, 3), torch.ones(1, 3), quats, torch.tensor([opacity]), rgb_to_sh0(torch.full((1, 1, 3), color)))
    after = decoded(encoded(before))
    half = 0.5 / 255 + 1e-6
    assert (sh0_to_rgb(after.sh) - min(max(color, 0), 1)).abs().max() <= half
    assert abs(float(after.opacities[0]) - opacity) <= half
    # Four components, each off by at most 1/256 (1/128 next to 1, which is clipped), turn by twice the angle between them.
    cosine = float((after.quats * quats).sum().abs().clamp(max=1))
    assert np.degrees(2 * np.arccos(cosine)) < np.degrees(2 * (3 / 256**2 + 1 / 128**2) ** 0.5)


@given(st.binary(min_size=4, max_size=4), st.binary(min_size=4, max_size=4))
@settings(max_examples=100, deadline=None)
def test_bytes_are_fixed_points(rgba, quat):
    first = decoded(struct.pack("<6f", 0, 0, 0, 1, 1, 1) + rgba + quat)
    second = decoded(encoded(first))
    assert encoded(second)[24:28] == rgba
    turned = quaternion_to_matrix(first.quats) - quaternion_to_matrix(second.quats)
    assert turned.abs().max() < 0.03


@pytest.mark.parametrize("size", [1, 31, 33, 63])
def test_sizes_that_do_not_fit(size):
    with pytest.raises(BadInput, match=f"x.splat has {size} bytes, not a multiple of 32"):
        splat.decode(bytes(size), "x.splat")


def test_zero_rotation_and_scale_become_harmless():
    one = decoded(struct.pack("<6f8B", 0, 0, 0, 0, 1, -2, 9, 9, 9, 9, 128, 128, 128, 128))
    assert one.quats.tolist() == [[1, 0, 0, 0]]
    assert (one.scales > 0).all()

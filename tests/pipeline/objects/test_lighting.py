"""Soft light from normals."""

import torch

from gen3d.pipeline.objects.lighting import SoftLight, soft_light


def test_surfaces_are_brighter_towards_the_lamp_and_never_brighter_than_unlit():
    light = SoftLight(azimuth=90.0, elevation=30.0, ambient=0.4)
    normals = torch.tensor([[1.0, 0, 0], [0, 0, 1], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])
    rgb = torch.tensor([0.8, 0.4, 0.0]).expand(5, 3)
    towards, side, away, up, down = light.shade(rgb, normals)
    assert towards[0] > side[0] > away[0] > 0
    assert up[0] > down[0]
    assert (light.shade(rgb, normals) <= rgb + 1e-6).all()
    # The hue stays: linear light is multiplied.
    assert torch.allclose(away[2], torch.tensor(0.0))
    assert torch.equal(light.shade(rgb, torch.zeros(5, 3)), light.shade(rgb, torch.zeros(5, 3)).clamp(0, 1))
    assert torch.allclose(light.shade(rgb, torch.zeros(5, 3)), rgb, atol=1e-6)


def test_lights_are_deterministic_and_differ():
    assert soft_light("a", 0) == soft_light("a", 0)
    assert len({soft_light(name, seed) for name in "abc" for seed in range(3)}) == 9
    for seed in range(50):
        light = soft_light("a", seed)
        assert 20 <= light.elevation <= 75
        assert 0.35 <= light.ambient <= 0.65

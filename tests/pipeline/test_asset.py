import json

import pytest
import torch

import gen3d
from gen3d.errors import BadInput
from gen3d.pipeline.asset import Asset, load
from gen3d.pipeline.paths import robust_box, turntable
from gen3d.renderers.frames import move_gaussians, rigid, world_to_frame
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.rendering import rasterize


def splats(count: int = 40) -> Gaussians:
    generator = torch.Generator().manual_seed(0)
    return Gaussians(
        means=torch.rand(count, 3, generator=generator) - 0.5,
        scales=torch.rand(count, 3, generator=generator) * 0.1 + 0.02,
        quats=torch.nn.functional.normalize(torch.randn(count, 4, generator=generator), dim=-1),
        opacities=torch.rand(count, generator=generator) * 0.8 + 0.1,
        sh=torch.randn(count, 4, 3, generator=generator) * 0.2,
    )


def test_save_and_load(tmp_path):
    before = Asset(splats(), unit="metre", provenance={"seed": 3})
    facts = before.save(tmp_path / "x.ply")
    after = gen3d.load(tmp_path / "x.ply")
    assert (facts.count, facts.frame, after.unit, after.frame) == (40, "ply", "metre", "gltf")
    torch.testing.assert_close(after.gaussians.means, before.gaussians.means)
    assert json.loads(json.dumps(after.provenance)) == {"file": "x.ply", "format": "ply", "frame": "ply", "dropped": 0}


def test_an_asset_of_another_frame_is_saved_in_the_world(tmp_path):
    world = splats()
    turned = Asset(move_gaussians(world, rigid(world_to_frame("zup"))), frame="zup")
    turned.save(tmp_path / "x.ply", frame="ydown")
    torch.testing.assert_close(load(tmp_path / "x.ply").gaussians.means, world.means)


def test_the_option_names_the_frame(tmp_path):
    Asset(splats()).save(tmp_path / "x.splat", frame="ydown")
    right, wrong = load(tmp_path / "x.splat", "ydown"), load(tmp_path / "x.splat")
    torch.testing.assert_close(right.gaussians.means.sort(0).values, splats().means.sort(0).values)
    torch.testing.assert_close(wrong.gaussians.means, right.gaussians.means * torch.tensor([-1.0, 1.0, -1.0]))


def test_render_is_rasterize():
    asset = Asset(splats())
    cameras = turntable(robust_box(asset.gaussians), 2, width=24, height=16)
    drawn = asset.render(cameras, backend="reference", channels=("rgb", "depth"))
    wanted = rasterize(asset.gaussians, cameras, backend="reference", channels=("rgb", "depth"))
    assert torch.equal(drawn.rgb, wanted.rgb)
    assert torch.equal(drawn.depth, wanted.depth)


def test_missing_file(tmp_path):
    with pytest.raises(BadInput, match="does not exist"):
        gen3d.load(tmp_path / "x.ply")

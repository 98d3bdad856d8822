"""Reading sets: any order, any process, any part."""

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.utils.data import DataLoader

from gen3d.errors import BadInput
from gen3d.pipeline.objects.object_set import ObjectSet

FIELDS = ("rgb", "alpha", "depth", "normal")


def equal(first, second):
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in FIELDS)


def test_random_access_equals_sequential(rendered, library):
    sequential = list(rendered)
    assert len(sequential) == len(rendered) == 5
    for number in (3, 0, 4, 1, 2, 3, -1):
        assert equal(rendered[number], sequential[number])
    for number, name in enumerate(library.ids):
        assert equal(rendered[name], sequential[number])
    assert [rendered.record(number).id for number in range(5)] == library.ids
    assert sum(equal(sequential[0], other) for other in sequential) == 1


def test_shapes_and_ranges(rendered):
    views = rendered["ball"]
    assert views.rgb.shape == views.normal.shape == (10, 24, 24, 3)
    assert views.alpha.shape == views.depth.shape == (10, 24, 24)
    assert views.cameras.shape == (10,)
    assert (views.cameras.width, views.cameras.height) == (24, 24)
    assert all(getattr(views, name).dtype == torch.float32 for name in FIELDS)
    assert 0 <= views.rgb.min() < views.rgb.max() <= 1
    assert views.depth[views.alpha > 0].min() >= 0.75
    some = rendered.read("ball", [4, 1])
    assert torch.equal(some.rgb, views.rgb[[4, 1]])
    assert torch.equal(some.cameras.world_to_camera, views.cameras.world_to_camera[[4, 1]])


def test_selection_by_split_and_tier(rendered):
    assert [record.id for record in rendered.select(split="train").records] == ["ball", "bar", "cone", "ring"]
    assert [record.id for record in rendered.select(tier="lowpoly").records] == ["cone", "cube", "ring"]
    chosen = rendered.select(split="train", tier="lowpoly")
    assert [record.id for record in chosen.records] == ["cone", "ring"]
    assert equal(chosen[1], rendered["ring"])
    with pytest.raises(BadInput, match="no object has tier scan and split test; the library has lowpoly/test"):
        rendered.select(split="test", tier="scan")
    with pytest.raises(BadInput, match=r"has no object .ball. among its 2; manifest\.json names them"):
        chosen["ball"]
    with pytest.raises(BadInput, match=r"has no object .bell. among its 5; did you mean ball\?"):
        rendered["bell"]
    with pytest.raises(IndexError):
        chosen[2]


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_shares_of_ranks_are_disjoint_and_complete(rendered, world_size):
    shares = [[record.id for record in rendered.of_rank(rank, world_size).records] for rank in range(world_size)]
    ids = [name for share in shares for name in share]
    assert sorted(ids) == sorted(record.id for record in rendered.records)
    assert len(set(ids)) == len(ids)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert shares == [[record.id for record in rendered.of_rank(rank, world_size).records] for rank in range(world_size)]
    with pytest.raises(ValueError, match=f"the rank is {world_size} of {world_size}"):
        rendered.of_rank(world_size, world_size)


def test_threads_and_copies_share_a_set(rendered):
    expected = list(rendered)
    copy = pickle.loads(pickle.dumps(rendered))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(copy.__getitem__, [*range(5)] * 6))
    assert all(equal(views, expected[number % 5]) for number, views in enumerate(found))


def test_processes_share_a_set(rendered):
    loader = DataLoader(rendered, batch_size=None, shuffle=False, num_workers=2)
    assert all(equal(views, expected) for views, expected in zip(loader, rendered, strict=True))


def test_damage_of_a_shard_is_told_in_a_sentence(rendered):
    rendered.verify()
    record = rendered.record("cone")
    path = rendered.folder / record.shard
    data = bytearray(path.read_bytes())
    data[record.offset + 30] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadInput, match="the object 'cone' does not match its checksum; copy the set again, or give the gen3d data render"):
        rendered["cone"]
    assert equal(rendered["ball"], rendered[0])
    with pytest.raises(BadInput, match=f"{record.shard} is damaged: it does not match its checksum; copy the set again"):
        rendered.verify()
    path.write_bytes(data[:100])
    with pytest.raises(BadInput, match="does not match its checksum"):
        rendered["cone"]
    with pytest.raises(BadInput, match=r"has 100 bytes and [\d,]+ are expected"):
        rendered.verify()
    path.unlink()
    with pytest.raises(BadInput, match="cannot be read: No such file"):
        rendered["cone"]
    with pytest.raises(BadInput, match="cannot be read: No such file"):
        rendered.verify()


def test_a_set_without_geometry(library, tmp_path):
    from gen3d.pipeline.objects.render_set import render_set
    from gen3d.pipeline.objects.settings import RenderSettings
    from gen3d.pipeline.progress import Silent

    render_set(library.folder, tmp_path / "flat", RenderSettings(size=24, views=10, geometry=False), Silent(), workers=1)
    render_set(library.folder, tmp_path / "full", RenderSettings(size=24, views=10), Silent(), workers=1)
    flat, full = ObjectSet(tmp_path / "flat"), ObjectSet(tmp_path / "full")
    assert flat[2].depth is None
    assert flat[2].normal is None
    assert torch.equal(flat[2].rgb, full[2].rgb)
    assert torch.equal(flat[2].alpha, full[2].alpha)


def test_reading_needs_no_package_that_training_machines_lack():
    code = "import gen3d.pipeline.objects.object_set, gen3d.pipeline.objects.lighting, sys; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    tops = {name.split(".")[0] for name in done.stdout.split()}
    assert not tops & {"open3d", "embreex", "trimesh", "lightning", "diffusers", "xatlas", "sklearn"}

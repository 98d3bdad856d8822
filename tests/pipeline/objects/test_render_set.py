"""Libraries become sets: the same on every machine, whatever happens on the way."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gen3d.errors import BadInput, Interrupted, MissingDependency, UsageError
from gen3d.pipeline.objects import render_set as job
from gen3d.pipeline.objects import shards
from gen3d.pipeline.objects.drawing import draw_views
from gen3d.pipeline.objects.folders import find_objects
from gen3d.pipeline.objects.manifest import read_manifest
from gen3d.pipeline.objects.object_set import ObjectSet
from gen3d.pipeline.objects.render_set import render_set
from gen3d.pipeline.objects.settings import RenderSettings
from gen3d.pipeline.objects.views import placement_of
from gen3d.pipeline.progress import Silent

REAL = Path(__file__).parents[4] / "shared/data/objects"


class Listener(Silent):
    """Keeps what a job tells."""

    def __init__(self):
        self.notes, self.steps = [], []

    def note(self, message):
        self.notes.append(message)

    def advance(self, step, **figures):
        self.steps.append((step, figures))


@pytest.fixture(autouse=True)
def two_a_shard(monkeypatch):
    monkeypatch.setattr("gen3d.pipeline.objects.planning.OBJECTS", 2)


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def test_a_set_is_a_function_of_library_and_settings(library, tmp_path, small):
    for name in ("first", "second"):
        render_set(library.folder, tmp_path / name, small, Silent(), workers=1)
    render_set(library.folder, tmp_path / "other", replace(small, seed=1), Silent(), workers=1)
    first, other = ObjectSet(tmp_path / "first"), ObjectSet(tmp_path / "other")
    assert content(tmp_path / "first") == content(tmp_path / "second")
    assert sorted(content(tmp_path / "first")) == ["00000.shard", "00001.shard", "00002.shard", "manifest.json"]
    assert torch.equal(first["cube"].rgb[:8], other["cube"].rgb[:8])
    assert not torch.equal(first["cube"].alpha[8:], other["cube"].alpha[8:])


def test_processes_do_not_change_the_set(library, tmp_path, small):
    render_set(library.folder, tmp_path / "one", small, Silent(), workers=1)
    render_set(library.folder, tmp_path / "two", small, Silent(), workers=2)
    assert content(tmp_path / "one") == content(tmp_path / "two")


@pytest.mark.parametrize("killed", [True, False])
def test_a_second_run_goes_on_where_the_first_stopped(library, tmp_path, small, monkeypatch, killed):
    render_set(library.folder, tmp_path / "whole", small, Silent(), workers=1)
    draw, drawn = job.draw_entry, []

    def stop(entry, **rest):
        if len(drawn) == 3:
            raise KeyboardInterrupt
        drawn.append(entry.id)
        return draw(entry, **rest)

    target = tmp_path / "set"
    monkeypatch.setattr(job, "draw_entry", stop)
    if killed:  # nothing is written at the end; what there is was written on the way
        write, written = shards.write_manifest, []
        monkeypatch.setattr(shards, "EVERY", -1.0)
        monkeypatch.setattr(shards, "write_manifest", lambda *given: len(written) > 1 or (written.append(1), write(*given)))
    with pytest.raises(Interrupted, match="interrupted with 2 of 5 objects done; the same command goes on from there"):
        render_set(library.folder, target, small, Silent(), workers=1)
    monkeypatch.undo()
    monkeypatch.setattr("gen3d.pipeline.objects.planning.OBJECTS", 2)
    (target / ".00001-abcdefgh.shard").write_bytes(b"half")
    assert not read_manifest(target).complete
    assert len(ObjectSet(target)) == 2
    listener = Listener()
    report = render_set(library.folder, target, small, listener, workers=1)
    assert report.reused == 2
    assert [step for step, _ in listener.steps] == [3, 4, 5]
    assert content(target) == content(tmp_path / "whole")
    assert not (target / ".00001-abcdefgh.shard").exists()
    assert render_set(library.folder, target, small, Silent(), workers=1).reused == 5


def test_damaged_and_outdated_shards_are_rendered_again(library, tmp_path, small):
    target = tmp_path / "set"
    render_set(library.folder, target, small, Silent(), workers=1)
    before = content(target)
    (target / "00000.shard").write_bytes(before["00000.shard"][:-1] + b"x")
    (target / "00001.shard").unlink()
    listener = Listener()
    assert render_set(library.folder, target, small, listener, workers=1).reused == 1
    assert [note.split()[0] for note in listener.notes] == ["00000.shard", "00001.shard"]
    assert all(note.endswith("; it is rendered again") for note in listener.notes)
    assert content(target) == before

    (library.folder / "ring.ply").write_bytes((library.folder / "cube.ply").read_bytes())
    listener = Listener()
    assert render_set(library.folder, target, small, listener, workers=1).reused == 4
    assert listener.notes == ["00002.shard holds other objects than the library now; it is rendered again"]
    library.save(kept=4)
    assert render_set(library.folder, target, small, Silent(), workers=1).reused == 4
    assert sorted(content(target)) == ["00000.shard", "00001.shard", "manifest.json"]


def test_bad_meshes_are_listed_and_passed_over(library, tmp_path, small, write_mesh_file):
    library.break_one("bar")
    (library.folder / "cone.ply").unlink()
    write_mesh_file(library.folder / "ring.ply", [[0, 0, 0], [1, 0, 0], [2, 0, 0]], [[0, 1, 2]], (1, 1, 1))
    listener = Listener()
    report = render_set(library.folder, tmp_path / "set", small, listener, workers=1)
    failures = {each.id: each for each in report.manifest.failures}
    assert list(failures) == ["bar", "cone", "ring"]
    assert failures["bar"].file == "bar.ply"
    assert failures["bar"].reason.startswith("bar.ply is not a readable ply file")
    assert failures["cone"].reason == "cone.ply does not exist; give the path of a file"
    assert failures["ring"].reason == "ring.ply shows nothing from any side: its faces have no area; export it again"
    assert str(tmp_path) not in (tmp_path / "set" / "manifest.json").read_text()
    assert listener.steps[-1] == (5, {"failed": 3})
    assert report.manifest.complete
    assert [record.id for record in ObjectSet(tmp_path / "set").records] == ["ball", "cube"]
    assert render_set(library.folder, tmp_path / "set", small, Silent(), workers=1).reused == 2


def test_what_is_lost_with_a_process_is_named_within_the_library(library, small):
    from gen3d.pipeline.objects.drawing import failure
    from gen3d.pipeline.objects.folders import find_objects

    found = failure(find_objects(library.folder)[1], library.folder, shards.DIED)
    assert (found.id, found.file, found.reason) == ("bar", "bar.ply", shards.DIED)


def test_nothing_to_show_is_an_error(library, tmp_path, small):
    for name in library.ids:
        library.break_one(name)
    with pytest.raises(BadInput, match=r"none of the 5 meshes in .* could be drawn; the first, ball\.ply: ball\.ply is not a readable"):
        render_set(library.folder, tmp_path / "set", small, Silent(), workers=1)


def test_without_embree_nothing_is_begun(library, tmp_path, small, monkeypatch):
    def missing(module, *, extra, purpose):
        raise MissingDependency(f"{purpose} needs {module}")

    monkeypatch.setattr(job, "require", missing)
    with pytest.raises(MissingDependency, match="drawing meshes needs embreex"):
        render_set(library.folder, tmp_path / "set", small, Silent(), workers=1)
    assert not (tmp_path / "set").exists()


class TestTarget:
    def test_other_settings_are_refused(self, library, tmp_path, small):
        render_set(library.folder, tmp_path / "set", small, Silent(), workers=1)
        before = content(tmp_path / "set")
        changed = replace(small, size=32, seed=4)
        with pytest.raises(UsageError, match=r"was rendered with --size 24 --seed 0; give the same settings, choose another --out, or add"):
            render_set(library.folder, tmp_path / "set", changed, Silent(), workers=1)
        assert content(tmp_path / "set") == before
        report = render_set(library.folder, tmp_path / "set", changed, Silent(), workers=1, overwrite=True)
        assert report.reused == 0
        assert ObjectSet(tmp_path / "set")[0].alpha.shape[-1] == 32

    def test_folders_of_other_things_stay_as_they_are(self, library, tmp_path, small):
        before = content(library.folder)
        for overwrite in (False, True):
            with pytest.raises(UsageError, match="holds files that are no rendered set; choose another --out"):
                render_set(library.folder, library.folder, small, Silent(), workers=1, overwrite=overwrite)
        assert content(library.folder) == before
        assert not (library.folder / ".lock").exists()
        (tmp_path / "file").touch()
        with pytest.raises(UsageError, match="is a file; name the folder of the set"):
            render_set(library.folder, tmp_path / "file", small, Silent(), workers=1)

    def test_a_damaged_manifest_is_told_and_may_be_replaced(self, library, tmp_path, small):
        render_set(library.folder, tmp_path / "set", small, Silent(), workers=1)
        path = tmp_path / "set" / "manifest.json"
        text = path.read_text()
        path.write_text(text.replace('"planned": 5', '"planned": "5"'))
        with pytest.raises(BadInput, match="is damaged"):
            render_set(library.folder, tmp_path / "set", small, Silent(), workers=1)
        render_set(library.folder, tmp_path / "set", small, Silent(), workers=1, overwrite=True)
        assert path.read_text() == text

    def test_two_jobs_do_not_share_a_folder(self, library, tmp_path, small):
        from gen3d.pipeline.lock import lock_folder, release

        (tmp_path / "set").mkdir()
        lock = lock_folder(tmp_path / "set")
        with pytest.raises(UsageError, match="another gen3d works in"):
            render_set(library.folder, tmp_path / "set", small, Silent(), workers=1)
        release(lock)


class TestPictures:
    """What is in a set against the geometry that it was drawn from."""

    def test_known_points_are_where_the_pictures_show_them(self, tmp_path, write_mesh_file):
        """Three small balls of pure colours, far from the middle of a large box of nothing."""
        trimesh = pytest.importorskip("trimesh")
        pytest.importorskip("embreex")
        places = torch.tensor([[4.0, 1.0, 2.0], [-3.0, 2.0, 1.0], [0.5, -2.0, -4.0]])
        balls = [trimesh.creation.icosphere(subdivisions=2, radius=0.4) for _ in places]
        parts = [trimesh.Trimesh(ball.vertices + place.numpy(), ball.faces) for ball, place in zip(balls, places, strict=True)]
        colors = torch.eye(3).mul(255).byte().repeat_interleave(len(balls[0].vertices), 0)
        whole = trimesh.util.concatenate(parts)
        trimesh.Trimesh(whole.vertices, whole.faces, vertex_colors=colors.numpy(), process=False).export(tmp_path / "balls.ply")
        render_set(tmp_path, tmp_path / "set", RenderSettings(size=96, views=14), Silent(), workers=1)
        objects = ObjectSet(tmp_path / "set")
        record, views = objects.record("balls"), objects["balls"]
        placed = record.scale * (places - torch.tensor(record.centre))
        checked = 0
        for view in range(14):
            pose, matrix = views.cameras.world_to_camera[view], views.cameras.intrinsics[view]
            local = placed @ pose[:3, :3].mT + pose[:3, 3]
            expected = local[:, :2] / local[:, 2:] * matrix[0, 0] + matrix[:2, 2]
            for ball in range(3):
                weight = views.alpha[view] * (views.rgb[view, ..., ball] > 0.9)
                radius = 0.4 * record.scale * float(matrix[0, 0] / local[ball, 2])
                if float(weight.sum()) < 0.95 * torch.pi * radius**2:
                    continue  # another ball is in front
                rows, columns = torch.meshgrid(torch.arange(96) + 0.5, torch.arange(96) + 0.5, indexing="ij")
                seen = torch.stack([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
                assert (seen - expected[ball]).norm() < 0.3
                middle = views.depth[view, int(seen[1]), int(seen[0])]
                assert float(middle) == pytest.approx(float(local[ball, 2]) - 0.4 * record.scale, abs=0.01)
                checked += 1
        assert checked > 30

    def test_depth_and_normals_lie_on_the_ball(self, rendered):
        views = rendered["ball"]
        inside = views.alpha == 1
        rows, columns = torch.meshgrid(torch.arange(24) + 0.5, torch.arange(24) + 0.5, indexing="ij")
        for view in range(10):
            pose, matrix = views.cameras.world_to_camera[view], views.cameras.intrinsics[view]
            rays = torch.stack([(columns - matrix[0, 2]) / matrix[0, 0], (rows - matrix[1, 2]) / matrix[1, 1], torch.ones(24, 24)], -1)
            points = (views.depth[view][..., None] * rays - pose[:3, 3]) @ pose[:3, :3]
            chosen = points[inside[view]]
            near = (rays / rays.norm(dim=-1, keepdim=True) @ pose[:3, :3] * -views.normal[view]).sum(-1)[inside[view]] > 0.5
            assert near.sum() > 100
            assert (chosen.norm(dim=-1)[near] - 0.5).abs().max() < 0.02
            cosines = (chosen / chosen.norm(dim=-1, keepdim=True) * views.normal[view][inside[view]]).sum(-1)[near]
            assert cosines.min() > 0.97

    def test_edges_are_not_dark(self, rendered):
        views = rendered["cube"]
        soft = (views.alpha > 0) & (views.alpha < 1)
        assert soft.sum() > 100
        assert (views.rgb[soft] * 255 - torch.tensor([240.0, 130, 30])).abs().max() <= 2
        assert not views.rgb[views.alpha == 0].any()

    def test_the_front_is_seen_at_azimuth_0_and_x_at_90(self, tmp_path, write_mesh_file):
        pytest.importorskip("embreex")
        size = 0.5
        write_mesh_file(tmp_path / "front.ply", [[-size, -size, 0], [size, -size, 0], [0, size, 0]], [[0, 1, 2]], (200, 30, 35))
        render_set(tmp_path, tmp_path / "set", RenderSettings(size=32, views=8), Silent(), workers=1)
        views = ObjectSet(tmp_path / "set")["front"]
        covered = views.alpha.sum((1, 2))
        assert covered.argmax() in (0, 4)
        assert covered[2] < 0.1 * covered[0]
        assert views.normal[0][views.alpha[0] == 1].mean(0)[2] > 0.99

    def test_facts_of_the_library_are_kept(self, rendered):
        record = rendered.record("cube")
        assert (record.tier, record.split, record.licence, record.attribution) == ("lowpoly", "test", "CC0", "A")
        assert record.colors == ("orange",)
        assert record.caption == "orange cube, shapes"
        assert record.scale == pytest.approx(1 / 3**0.5)
        assert rendered.record("ball").scale == pytest.approx(0.25)


@pytest.mark.skipif(not REAL.is_dir(), reason="the object library is not beside the checkout")
def test_real_objects(tmp_path):
    pytest.importorskip("embreex")
    content = json.loads((REAL / "manifest.json").read_text())
    chosen = [record for record in content["objects"] if record["tier"] == "scan"][:2] + content["objects"][-2:]
    (tmp_path / "library").mkdir()
    for record in chosen:
        (tmp_path / "library" / record["file"]).write_bytes((REAL / record["file"]).read_bytes())
    (tmp_path / "library" / "manifest.json").write_text(json.dumps({"objects": chosen}))
    report = render_set(tmp_path / "library", tmp_path / "set", RenderSettings(size=32, views=8), Silent(), workers=1)
    assert not report.manifest.failures
    assert {record.id for record in ObjectSet(tmp_path / "set").records} == {record["id"] for record in chosen}


def test_boxes_keep_their_depth(library, tmp_path, small):
    fitted = replace(small, fit="box")
    render_set(library.folder, tmp_path / "set", fitted, Silent(), workers=1)
    objects = ObjectSet(tmp_path / "set")
    mesh = next(each for each in find_objects(library.folder) if each.id == "cube").read()
    placed = placement_of(mesh, "box").place(mesh)
    drawn, kept = draw_views(placed, objects["cube"].cameras), objects["cube"]
    both = (drawn.alpha > 0) & (kept.alpha > 0)
    assert float(drawn.depth[both].min()) < 1.25 - 0.5 < float(drawn.depth[both].max())
    assert torch.allclose(kept.depth[both], drawn.depth[both], atol=0.003)
    with pytest.raises(UsageError, match="was rendered with --fit box"):
        render_set(library.folder, tmp_path / "set", small, Silent(), workers=1)

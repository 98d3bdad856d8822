"""Pictures of a protocol are drawn once, and are the same every time."""

from dataclasses import replace

import pytest
import torch

from gen3d.errors import BadInput, UsageError
from gen3d.pipeline.evaluation import protocol_set as module
from gen3d.pipeline.evaluation.protocol_drawing import draw
from gen3d.pipeline.evaluation.protocol_set import fingerprint, protocol_set
from gen3d.pipeline.lock import lock_folder, release
from gen3d.pipeline.objects.folders import find_objects
from gen3d.pipeline.objects.library import select
from gen3d.pipeline.objects.views import placement_of
from gen3d.pipeline.progress import Silent


class Notes(Silent):
    def __init__(self):
        self.notes = []

    def note(self, message):
        self.notes.append(message)


@pytest.fixture
def drawn(library, protocol, tmp_path):
    def make(folder="pictures", progress=None, workers=1, protocol=protocol):
        entries = select(find_objects(library.folder), split="train")
        return protocol_set(library.folder, entries, protocol, tmp_path / folder, progress or Silent(), workers=workers)

    return make


def test_every_object_in_every_view(drawn, library, protocol):
    objects = drawn()
    assert [record.id for record in objects.records] == ["o0", "o2", "o3", "o5"]
    assert {record.tier for record in objects.records} == {"scan", "lowpoly"}
    views = objects.read("o3")
    assert torch.equal(views.cameras.world_to_camera, protocol.cameras.world_to_camera)
    mesh = find_objects(library.folder)[3].read()
    again = draw(placement_of(mesh, protocol.fit).place(mesh), protocol)
    assert torch.allclose(views.over(torch.ones(3)), again.over(torch.ones(3)), atol=1 / 255)
    assert torch.allclose(views.alpha, again.alpha, atol=0.51 / 255)


def test_nothing_is_drawn_twice(drawn, monkeypatch):
    first = fingerprint(drawn())

    def fail(*_, **__):
        raise AssertionError("drawn again")

    monkeypatch.setattr(module, "draw_object", fail)
    assert fingerprint(drawn()) == first


def test_several_may_read_and_one_may_draw(drawn, tmp_path):
    first = fingerprint(drawn())
    lock = lock_folder(tmp_path / "pictures")
    assert fingerprint(drawn()) == first
    (tmp_path / "pictures" / "00000.shard").unlink()
    with pytest.raises(UsageError, match=r"another gen3d works in .*; wait until it ends"):
        drawn()
    release(lock)
    assert fingerprint(drawn()) == first


def test_the_pictures_are_the_same_in_another_folder_and_on_other_processes(drawn):
    one, two = drawn("one"), drawn("two", workers=2)
    assert fingerprint(one) == fingerprint(two)
    assert (one.folder / "00000.shard").read_bytes() == (two.folder / "00000.shard").read_bytes()
    assert fingerprint(one.select(tier="scan")) != fingerprint(one)


def test_damaged_pictures_are_drawn_again(drawn):
    objects, notes = drawn(), Notes()
    before = fingerprint(objects)
    shard = objects.folder / "00000.shard"
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    assert fingerprint(drawn(progress=notes)) == before
    assert notes.notes == ["00000.shard is damaged: it does not match its checksum; it is rendered again"]


def test_other_views_are_drawn_again(drawn, protocol):
    before = fingerprint(drawn())
    lower = replace(protocol, top=((0.0, 50.0), (90.0, 50.0)))
    assert fingerprint(drawn(protocol=lower)) != before
    assert drawn(protocol=lower).records[0].elevations[-1] == 50.0


def test_a_bad_mesh_is_left_out_with_a_note(drawn, library):
    library.spoil("o2")
    notes = Notes()
    assert [record.id for record in drawn(progress=notes).records] == ["o0", "o3", "o5"]
    assert notes.notes[0].startswith("o2.ply is left out: o2.ply ")
    for each in ("o0", "o3", "o5"):
        library.spoil(each)
    with pytest.raises(BadInput, match=r"none of the 4 objects in .* can be drawn; repair the meshes"):
        drawn()

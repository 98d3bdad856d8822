"""Objects of folders with and without a manifest."""

import pytest

from gen3d.errors import BadInput
from gen3d.pipeline.objects.folders import find_objects, split_of


def test_a_manifest_is_believed(library):
    assert [entry.id for entry in find_objects(library.folder)] == library.ids


def test_without_a_manifest_files_are_objects(tmp_path):
    for name in (
        "redBarrel_02.glb",
        "chairs/old-chair.OBJ",
        "chairs/stool.stl",
        "stool.ply",
        "twin.ply",
        "twin.obj",
        "notes.txt",
        ".x/a.glb",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    entries = {entry.id: entry for entry in find_objects(tmp_path)}
    assert list(entries) == ["chairs/old-chair", "chairs/stool", "redBarrel_02", "stool", "twin.obj", "twin.ply"]
    assert entries["redBarrel_02"].caption == "red barrel"
    assert (entries["chairs/old-chair"].caption, entries["chairs/old-chair"].category) == ("old chair", "chairs")
    assert entries["stool"].path == tmp_path / "stool.ply"
    assert {(entry.tier, entry.licence, entry.attribution) for entry in entries.values()} == {("unknown", "unknown", "")}


def test_a_name_of_digits_is_kept(tmp_path):
    (tmp_path / "0042.glb").touch()
    assert find_objects(tmp_path)[0].caption == "0042"


def test_splits_follow_from_ids():
    sides = [split_of(f"object {number}") for number in range(2000)]
    assert set(sides) == {"train", "test"}
    assert 150 < sides.count("test") < 250
    assert [split_of("a"), split_of("b"), split_of("chair")] == [split_of("a"), split_of("b"), split_of("chair")]


def test_folders_without_objects_are_refused(tmp_path):
    with pytest.raises(BadInput, match=r"holds no meshes \(\.glb, .*give a folder with at least one"):
        find_objects(tmp_path)
    with pytest.raises(BadInput, match="does not exist; give a folder of meshes"):
        find_objects(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="is not a folder"):
        find_objects(tmp_path / "file")
    (tmp_path / "manifest.json").write_text('{"objects": []}')
    with pytest.raises(BadInput, match="lists no objects"):
        find_objects(tmp_path)

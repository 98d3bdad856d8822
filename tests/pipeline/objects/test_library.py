"""Object libraries: the manifest is read, checked and filtered."""

import json
import os
from pathlib import Path

import pytest

from gen3d.errors import BadInput
from gen3d.pipeline.objects.library import read_library, select

REAL = Path(__file__).parents[4] / "shared/data/objects"


def record(name, **changes):
    base = {"id": name, "file": f"{name}.glb", "caption": name, "tier": "scan", "split": "test", "licence": "CC0", "attribution": "A"}
    return {**base, "colors": ["red"], "faces": 12, **changes}


def write(folder, *records):
    (folder / "manifest.json").write_text(json.dumps({"objects": records}))
    return folder


def test_entries_come_in_order_of_ids(tmp_path):
    entries = read_library(write(tmp_path, record("b"), record("a", category="tool")))
    assert [entry.id for entry in entries] == ["a", "b"]
    assert entries[0].path == tmp_path / "a.glb"
    assert entries[0].category == "tool"
    assert entries[0].colors == ("red",)


def test_selection_by_tier_and_split(tmp_path):
    entries = read_library(write(tmp_path, record("a"), record("b", tier="lowpoly"), record("c", split="train")))
    assert [entry.id for entry in select(entries, tier="scan")] == ["a", "c"]
    assert [entry.id for entry in select(entries, split="test")] == ["a", "b"]
    assert [entry.id for entry in select(entries, tier="scan", split="test")] == ["a"]
    assert select(entries) == entries
    with pytest.raises(BadInput, match="no object has tier textured and split test; the library has lowpoly/test, scan/test, scan/train"):
        select(entries, tier="textured", split="test")


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([record("a"), record("a")], "lists the object 'a' twice"),
        ([record("a", file="../secret.glb")], "must lie in the library's folder"),
        ([record("a", file=os.sep + "secret.glb")], "must lie in the library's folder"),
        ([record("a", colors="red")], "must be a list of words"),
        ([record("a", licence=None)], "each needs the texts"),
        (["a"], "each needs the texts"),
    ],
)
def test_broken_manifests_are_refused(tmp_path, records, message):
    with pytest.raises(BadInput, match=message):
        read_library(write(tmp_path, *records))


def test_folders_that_are_no_library_are_refused(tmp_path):
    with pytest.raises(BadInput, match="does not exist"):
        read_library(tmp_path)
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(BadInput, match="no list `objects`"):
        read_library(tmp_path)


@pytest.mark.skipif(not REAL.is_dir(), reason="the object library is not beside the checkout")
def test_the_real_library():
    entries = read_library(REAL)
    assert len(entries) == 1774
    assert len(select(entries, tier="scan", split="test")) == 16
    mesh = select(entries, tier="scan", split="test")[0].read()
    assert mesh.texture is not None
    assert float((mesh.vertices.amax(0) - mesh.vertices.amin(0)).max()) == pytest.approx(1, abs=0.02)

"""manifest.json of sets: written, read, and refused when it lies."""

import json
import re

import pytest

from gen3d.errors import BadInput
from gen3d.pipeline.objects.manifest import is_set, read_manifest, write_manifest


def test_what_is_written_is_read(rendered, tmp_path):
    write_manifest(tmp_path, rendered.manifest)
    assert read_manifest(tmp_path) == rendered.manifest
    assert rendered.manifest.complete
    lines = (tmp_path / "manifest.json").read_text().splitlines()
    assert sum('"id":"' in line for line in lines) == 5


def test_fields_of_later_versions_are_passed_over(rendered):
    path = rendered.folder / "manifest.json"
    content = json.loads(path.read_text())
    content["objects"][0]["mood"] = "good"
    path.write_text(json.dumps(content))
    assert read_manifest(rendered.folder) == rendered.manifest


def change(content, place, value):
    *outer, last = place
    for key in outer:
        content = content[key]
    content[last] = value


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (["version"], 2, "has version 2 and 1 is read; render the set again"),
        (["format"], "other", "is not the manifest of a rendered set"),
        (["settings", "size"], "large", "is damaged"),
        (["settings", "size"], 10**9, "is damaged"),
        (["settings", "speed"], 3, "is damaged"),
        (["settings"], [], "is damaged"),
        (["lens", "fov"], None, "is damaged"),
        (["lens", "fov"], float("nan"), "is damaged"),
        (["lens", "fov"], 180.0, "no camera has the lens"),
        (["lens", "near"], 3.0, "no camera has the lens"),
        (["planned"], "five", "is damaged"),
        (["objects"], {}, "is damaged"),
        (["objects", 0], 3, "is damaged"),
        (["objects", 0, "offset"], -5, "does not lie within a shard"),
        (["objects", 0, "offset"], 10**9, "does not lie within a shard"),
        (["objects", 0, "sizes"], [10, -3], "does not lie within a shard"),
        (["objects", 0, "sizes"], [], "does not lie within a shard"),
        (["objects", 0, "sizes"], [10], "has not as many views as the set"),
        (["objects", 0, "shard"], "00009.shard", "does not lie within a shard"),
        (["objects", 0, "azimuths"], [0.0], "has not as many views as the set"),
        (["objects", 0, "caption"], None, "is damaged"),
        (["objects", 0, "colors"], [3], "is damaged"),
        (["objects", 0, "id"], "bar", "an id appears twice"),
        (["shards", 0, "file"], "../00000.shard", "does not lie in the folder of the set"),
        (["shards", 0, "file"], "/etc/passwd", "does not lie in the folder of the set"),
    ],
)
def test_lies_are_refused(rendered, place, value, reason):
    path = rendered.folder / "manifest.json"
    content = json.loads(path.read_text())
    change(content, place, value)
    path.write_text(json.dumps(content))
    with pytest.raises(BadInput, match=reason):
        read_manifest(rendered.folder)


def test_other_folders_are_no_sets(tmp_path, library):
    with pytest.raises(BadInput, match=re.escape("holds no rendered set (it has no manifest.json); make one with gen3d data render")):
        read_manifest(tmp_path)
    assert not is_set(tmp_path)
    assert not is_set(library.folder)
    (tmp_path / "manifest.json").write_text("{")
    assert not is_set(tmp_path)
    with pytest.raises(BadInput, match="is not valid JSON"):
        read_manifest(tmp_path)

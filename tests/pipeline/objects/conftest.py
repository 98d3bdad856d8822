import json
from types import SimpleNamespace

import numpy as np
import pytest

from gen3d.pipeline.objects.settings import RenderSettings

SMALL = RenderSettings(size=24, views=10)


@pytest.fixture
def small():
    """Settings of sets that are rendered in a moment."""
    return SMALL


@pytest.fixture
def write_mesh_file():
    """Write a mesh of trimesh with one display-referred colour, or one a vertex, as PLY."""
    trimesh = pytest.importorskip("trimesh")

    def write(path, vertices, faces, color):
        path.parent.mkdir(parents=True, exist_ok=True)
        colors = np.broadcast_to(np.uint8([*color, 255]), (len(vertices), 4))
        trimesh.Trimesh(vertices, faces, vertex_colors=colors, process=False).export(path)
        return path

    return write


@pytest.fixture
def library(tmp_path, write_mesh_file):
    """Five shapes of different colours, tiers and splits with a manifest; `break_one` spoils a file."""
    trimesh = pytest.importorskip("trimesh")
    pytest.importorskip("embreex")
    folder = tmp_path / "library"
    shapes = {
        "ball": (trimesh.creation.icosphere(subdivisions=3, radius=2.0), (40, 80, 200)),
        "bar": (trimesh.creation.box((0.1, 0.1, 3.0)), (200, 30, 35)),
        "cone": (trimesh.creation.cone(0.5, 1.0), (50, 150, 60)),
        "cube": (trimesh.creation.box((1.0, 1.0, 1.0)), (240, 130, 30)),
        "ring": (trimesh.creation.torus(0.5, 0.1, major_sections=16, minor_sections=8), (248, 218, 50)),
    }
    records = []
    for number, (name, (shape, color)) in enumerate(shapes.items()):
        write_mesh_file(folder / f"{name}.ply", shape.vertices, shape.faces, color)
        record = {"id": name, "file": f"{name}.ply", "caption": name, "colors": [], "category": "shapes", "attribution": "A"}
        records.append(
            {**record, "tier": "scan" if number < 2 else "lowpoly", "split": "test" if number == 3 else "train", "licence": "CC0"}
        )

    def save(kept=5):
        (folder / "manifest.json").write_text(json.dumps({"objects": records[:kept]}))

    save()
    return SimpleNamespace(
        folder=folder, ids=list(shapes), save=save, break_one=lambda name: (folder / f"{name}.ply").write_bytes(b"ply\nno")
    )


@pytest.fixture
def rendered(library, tmp_path, small, monkeypatch):
    """A finished set of the library, two objects a shard."""
    from gen3d.pipeline.objects.object_set import ObjectSet
    from gen3d.pipeline.objects.render_set import render_set
    from gen3d.pipeline.progress import Silent

    monkeypatch.setattr("gen3d.pipeline.objects.planning.OBJECTS", 2)
    render_set(library.folder, tmp_path / "set", small, Silent(), workers=1)
    return ObjectSet(tmp_path / "set")

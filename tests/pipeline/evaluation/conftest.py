"""A protocol of small pictures, sets of made-up objects that need no renderer, and a library of small meshes that does."""

import hashlib
import json
import zlib
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from gen3d.pipeline.evaluation.baselines import Bench
from gen3d.pipeline.evaluation.objects_protocol import protocol_of
from gen3d.pipeline.evaluation.settings import ObjectsSettings
from gen3d.pipeline.objects.encoding import encode_views
from gen3d.pipeline.objects.manifest import write_manifest
from gen3d.pipeline.objects.object_set import ObjectSet
from gen3d.pipeline.objects.planning import lens_of
from gen3d.pipeline.objects.records import ObjectRecord, SetManifest, Shard
from gen3d.pipeline.objects.settings import RenderSettings
from gen3d.pipeline.objects.views import ObjectViews
from gen3d.pipeline.progress import Silent


@pytest.fixture
def protocol():
    """objects-v1 with pictures of 24 pixels and few rays."""
    return replace(protocol_of(ObjectsSettings(size=24)), rays=2)


@pytest.fixture
def blob(protocol):
    """Views of a made-up object: an upright ellipse, the same from everywhere, one colour a view."""

    def make(width=6.0, height=8.0, color=(0.2, 0.4, 0.6), colors=None):
        count, size = len(protocol.angles), protocol.size
        y, x = torch.meshgrid(torch.arange(size) - (size - 1) / 2, torch.arange(size) - (size - 1) / 2, indexing="ij")
        alpha = ((x / width) ** 2 + (y / height) ** 2 <= 1).float().expand(count, size, size)
        painted = torch.tensor([color] * count if colors is None else colors)[:, None, None]
        return ObjectViews(protocol.cameras, painted * alpha[..., None], alpha.clone())

    return make


@pytest.fixture
def make_set(tmp_path, protocol):
    """Write a set of made-up objects: views by id; an id that ends in =name has this name."""

    def make(folder, objects, *, tier="scan", split="train"):
        data, records = bytearray(), []
        for each, views in sorted(objects.items()):
            content = encode_views(views, geometry=False)[0]
            azimuths, elevations = zip(*protocol.angles, strict=True)
            told = {"name": each.split("=")[-1], "caption": each, "colors": (), "category": "", "licence": "CC0", "attribution": ""}
            place = {"shard": "00000.shard", "offset": len(data), "sizes": (len(content),), "crc32": zlib.crc32(content)}
            seen = {"centre": (0.0, 0.0, 0.0), "scale": 1.0, "azimuths": azimuths, "elevations": elevations}
            records.append(ObjectRecord(id=each, tier=tier, split=split, **told, **seen, **place))
            data += content
        settings = RenderSettings(size=protocol.size, views=len(protocol.angles), geometry=False)
        shard = Shard("00000.shard", len(data), hashlib.sha256(data).hexdigest(), "")
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "00000.shard").write_bytes(data)
        write_manifest(tmp_path / folder, SetManifest(settings, lens_of(settings), len(records), (shard,), (), tuple(records)))
        return ObjectSet(tmp_path / folder)

    return make


@pytest.fixture
def bench_of(protocol):
    """A bench whose training objects are those of a set."""
    return lambda objects, holdout=2, **settings: Bench(protocol, lambda: objects, Silent(), ObjectsSettings(holdout=holdout, **settings))


@pytest.fixture
def library(tmp_path):
    """Six boxes and balls with a manifest, two of them test objects."""
    trimesh = pytest.importorskip("trimesh")
    pytest.importorskip("embreex")
    folder = tmp_path / "library"
    folder.mkdir()
    shapes = [trimesh.creation.box((1.0, 0.4 + 0.2 * i, 0.8)) for i in range(4)] + [trimesh.creation.icosphere(2, r) for r in (1.0, 3.0)]
    records = []
    for number, shape in enumerate(shapes):
        shape.visual.vertex_colors = [40 * number, 200 - 30 * number, 90, 255]
        shape.export(folder / f"o{number}.ply")
        told = {"caption": f"thing {number}", "licence": "CC0", "attribution": "A", "tier": "scan" if number % 2 else "lowpoly"}
        records.append({"id": f"o{number}", "file": f"o{number}.ply", "split": "test" if number in (1, 4) else "train", **told})
    (folder / "manifest.json").write_text(json.dumps({"objects": records}))
    return SimpleNamespace(folder=folder, spoil=lambda name: (folder / f"{name}.ply").write_bytes(b"ply\nno"))

"""Drawing the views of a protocol: of a mesh, and of an object of a library."""

from pathlib import Path

from gen3d.pipeline.evaluation.objects_protocol import ObjectsProtocol
from gen3d.pipeline.objects.drawing import Drawn, attempted, record_of
from gen3d.pipeline.objects.encoding import encode_views
from gen3d.pipeline.objects.library import ObjectEntry
from gen3d.pipeline.objects.records import Failure
from gen3d.pipeline.objects.rendering import straight_color
from gen3d.pipeline.objects.views import ObjectViews, placement_of
from gen3d.renderers.mesh import Mesh
from gen3d.renderers.mesh_renderer import render_mesh


def draw(mesh: Mesh, protocol: ObjectsProtocol) -> ObjectViews:
    """What the cameras of a protocol see of a mesh that is placed.

    Raises:
        MissingDependency: the package embreex is not installed.
    """
    drawn = render_mesh(mesh, protocol.cameras, supersample=protocol.rays)
    return ObjectViews(protocol.cameras, straight_color(drawn), drawn.alpha)


def draw_object(entry: ObjectEntry, protocol: ObjectsProtocol, library: Path) -> Drawn | Failure:
    """An object's record, still without a place in a shard, and its pictures; or why there are none.

    Raises:
        MissingDependency: no mesh can be drawn on this machine.
    """
    return attempted(lambda: _drawn(entry, protocol), entry, library)


def _drawn(entry: ObjectEntry, protocol: ObjectsProtocol) -> Drawn:
    mesh = entry.read()
    placement = placement_of(mesh, protocol.fit)
    files = encode_views(draw(placement.place(mesh), protocol), geometry=False)
    azimuths, elevations = zip(*protocol.angles, strict=True)
    return record_of(entry, placement, (azimuths, elevations), files), b"".join(files)

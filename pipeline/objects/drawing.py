"""From an object of a library to its pictures in a set."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from gen3d.errors import BadInput, MissingDependency
from gen3d.pipeline.formats.meshes import read_mesh
from gen3d.pipeline.objects.encoding import encode_views
from gen3d.pipeline.objects.library import ObjectEntry
from gen3d.pipeline.objects.records import Failure, ObjectRecord
from gen3d.pipeline.objects.rendering import straight_color
from gen3d.pipeline.objects.settings import RenderSettings
from gen3d.pipeline.objects.views import DISTANCE, REACH, ObjectViews, Placement, object_cameras, placement_of, training_views
from gen3d.pipeline.objects.words import dominant_colors, make_caption
from gen3d.renderers.cameras import Cameras
from gen3d.renderers.mesh import Mesh
from gen3d.renderers.mesh_renderer import render_mesh

RAYS, RAYS_FINE, FINE = 4, 3, 96  # along each side of a pixel, and of one in pictures from 96 pixels on: 46.5 dB against 100 rays
Drawn = tuple[ObjectRecord, bytes]


def draw_views(mesh: Mesh, cameras: Cameras) -> ObjectViews:
    """What cameras `[v]` see of a mesh, float32.

    Raises:
        MissingDependency: the package embreex is not installed.
    """
    drawn = render_mesh(mesh, cameras, supersample=RAYS if cameras.width < FINE else RAYS_FINE)
    return ObjectViews(cameras, straight_color(drawn), drawn.alpha, drawn.depth, drawn.normal)


def draw_entry(entry: ObjectEntry, settings: RenderSettings, library: Path) -> Drawn | Failure:
    """An object's record, still without a place in a shard, and its pictures; or why there are none.

    Args:
        entry: of the library.
        settings: of the set.
        library: the folder that files of failures are named within.

    Raises:
        MissingDependency: no mesh can be drawn on this machine.
    """
    return attempted(lambda: _drawn(entry, settings), entry, library)


def attempted(draw: Callable[[], Drawn], entry: ObjectEntry, library: Path) -> Drawn | Failure:
    """What a drawing gives, or why it gives nothing: one bad mesh must not end a job, whatever it breaks.

    Raises:
        MissingDependency: no mesh can be drawn on this machine.
    """
    try:
        return draw()
    except MissingDependency:
        raise
    except Exception as error:
        return failure(entry, library, _sentence(error))


def failure(entry: ObjectEntry, library: Path, reason: str) -> Failure:
    """An object that could not be drawn; paths of this machine are left out, as the set may be passed on."""
    file = entry.path.relative_to(library).as_posix()
    return Failure(entry.id, file, reason.replace(str(entry.path), file), "")


def _drawn(entry: ObjectEntry, settings: RenderSettings) -> Drawn:
    mesh = read_mesh(entry.path, None if settings.frame == "auto" else settings.frame)
    placement = placement_of(mesh, settings.fit)
    azimuths, elevations = training_views(entry.id, settings.views, settings.seed, settings.ring)
    views = draw_views(placement.place(mesh), object_cameras(azimuths, elevations, settings.size))
    if not bool(views.alpha.any()):
        raise BadInput(f"{entry.path} shows nothing from any side: its faces have no area; export it again")
    near, far = (DISTANCE + sign * REACH[settings.fit] for sign in (-1, 1))
    files = encode_views(views, geometry=settings.geometry, quality=settings.quality, near=near, far=far)
    colors = dominant_colors(views.rgb, views.alpha)
    record = record_of(entry, placement, (azimuths, elevations), files)
    return replace(record, caption=make_caption(entry.caption, colors, entry.category), colors=colors), b"".join(files)


def record_of(
    entry: ObjectEntry, placement: Placement, angles: tuple[tuple[float, ...], tuple[float, ...]], files: Sequence[bytes]
) -> ObjectRecord:
    """What a manifest says of an object that is drawn, still without a place in a shard.

    Args:
        entry: of the library.
        placement: in its pictures.
        angles: azimuths and elevations of its views in degrees.
        files: what its pictures are encoded as.
    """
    return ObjectRecord(
        id=entry.id,
        name=entry.caption,
        caption=entry.caption,
        colors=entry.colors,
        category=entry.category,
        tier=entry.tier,
        split=entry.split,
        licence=entry.licence,
        attribution=entry.attribution,
        centre=placement.centre,
        scale=placement.scale,
        azimuths=angles[0],
        elevations=angles[1],
        shard="",
        offset=0,
        sizes=tuple(len(file) for file in files),
        crc32=0,
    )


def _sentence(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    if isinstance(error, BadInput):
        return lines[0]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__

"""What the manifest of a rendered set says: of its objects, its shards, its cameras, and of what went wrong."""

from dataclasses import dataclass

from gen3d.pipeline.objects.settings import RenderSettings


@dataclass(frozen=True, slots=True)
class ObjectRecord:
    """One object of a set.

    Attributes:
        id: unique name.
        name: words for it, lower case.
        caption: a phrase made of its name, colours and category.
        colors: dominant colour words of its pictures.
        category: what kind of thing it is.
        tier: kind of origin, such as scan, textured or lowpoly.
        split: train or test.
        licence: of the mesh and of these pictures.
        attribution: whom the licence asks to be named.
        centre: of the object in its file.
        scale: p -> scale (p - centre) leads from the file to the views.
        azimuths: of the cameras, degrees.
        elevations: of the cameras, degrees.
        shard: the file that holds the pictures.
        offset: of their first byte.
        sizes: bytes of the colours and, where they are kept, of depth and normals behind them.
        crc32: over these bytes.
    """

    id: str
    name: str
    caption: str
    colors: tuple[str, ...]
    category: str
    tier: str
    split: str
    licence: str
    attribution: str
    centre: tuple[float, ...]
    scale: float
    azimuths: tuple[float, ...]
    elevations: tuple[float, ...]
    shard: str
    offset: int
    sizes: tuple[int, ...]
    crc32: int


@dataclass(frozen=True, slots=True)
class Failure:
    """An object that could not be rendered.

    Attributes:
        id: its name.
        file: the mesh file within the library.
        reason: a sentence.
        shard: the file that would hold it.
    """

    id: str
    file: str
    reason: str
    shard: str


@dataclass(frozen=True, slots=True)
class Shard:
    """A file of pictures.

    Attributes:
        file: name within the set.
        bytes: its size.
        sha256: over its content.
        inputs: digest of the objects that it was to hold: entries of the library and contents of their files.
    """

    file: str
    bytes: int
    sha256: str
    inputs: str


@dataclass(frozen=True, slots=True)
class Lens:
    """What all cameras share.

    Attributes:
        fov: degrees.
        distance: from the origin.
        near: depth of the first step of quantised depths.
        far: depth of the last step.
    """

    fov: float
    distance: float
    near: float
    far: float


@dataclass(frozen=True, slots=True)
class SetManifest:
    """manifest.json.

    Attributes:
        settings: how the set was rendered.
        lens: what all cameras share.
        planned: objects that the library holds.
        shards: files that are finished.
        failures: objects that could not be rendered.
        objects: those that could, in order of their ids.
    """

    settings: RenderSettings
    lens: Lens
    planned: int
    shards: tuple[Shard, ...] = ()
    failures: tuple[Failure, ...] = ()
    objects: tuple[ObjectRecord, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every object of the library was rendered, or at least tried."""
        return len(self.objects) + len(self.failures) == self.planned
